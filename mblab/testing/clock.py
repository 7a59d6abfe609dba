"""A clock for tests: it stands still until it is moved.

a test -> [clock] -> driver
"""

from __future__ import annotations

import threading

from mblab.timing.durations import NS, Duration, duration_ns

__all__ = ["ManualClock"]


class ManualClock:
    """A clock that stands still until a test moves it: `lab.start("5s", clock=clock, cost=0.1)`, then `advance`."""

    virtual = False

    def __init__(self) -> None:
        self._now = 0
        self._moved = threading.Condition()
        self._waiting_for: int | None = None
        self._frozen = False

    def start(self) -> None:
        """Make now t = 0."""
        with self._moved:
            self._now, self._frozen = 0, False

    def now_ns(self) -> int:
        """Return nanoseconds since the start."""
        return self._now

    def wait_until(self, deadline_ns: int, wake: threading.Event, *, spin: bool = False) -> bool:  # noqa: ARG002
        """Wait for a test to move the clock to the deadline, or for `wake`."""
        with self._moved:
            while self._now < deadline_ns:
                if wake.is_set():
                    return False
                self._waiting_for = deadline_ns
                self._moved.notify_all()
                self._moved.wait(0.005)  # `wake` is set without telling this condition
            self._waiting_for = None
        return not wake.is_set()

    def freeze(self) -> None:
        """Tell a waiting `advance` that the run stands still."""
        with self._moved:
            self._frozen = True
            self._moved.notify_all()

    def thaw(self) -> None:
        """Undo `freeze`."""
        with self._moved:
            self._frozen = False

    def jump(self, to_ns: int) -> None:
        """Move to a later time at once."""
        with self._moved:
            self._now = max(self._now, to_ns)
            self._moved.notify_all()

    def advance(self, by: Duration, timeout_s: float = 30.0) -> None:
        """Move the clock on, and return when the run waits for a later time, stands still or has ended."""
        with self._moved:
            self._now += duration_ns(by, "by")
            self._moved.notify_all()
            self.settle(timeout_s)

    def settle(self, timeout_s: float = 30.0) -> None:
        """Return when the run waits for a later time, stands still or has ended.

        Raises:
            TimeoutError: It did not within `timeout_s` seconds of real time.
        """
        with self._moved:
            done = self._moved.wait_for(
                lambda: self._frozen or (self._waiting_for is not None and self._waiting_for > self._now), timeout_s
            )
        if not done:
            raise TimeoutError(f"the run did not settle at {self._now / NS} s")

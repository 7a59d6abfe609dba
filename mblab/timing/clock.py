"""What time it is on a run's clock, and how to wait for a time on it.

All clocks count int64 nanoseconds from the run's start. They differ only in what waiting means: a wall clock waits, a
virtual clock is there at once, a manual clock (in `mblab.testing`) waits until a test moves it.

    [clock] -> engine (reads it) and drivers (wait on it)
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

__all__ = ["Clock", "VirtualClock", "WallClock"]

SPIN_NS = 200_000  # a timed wait wakes 50 to 150 µs late; the last stretch is spun where that matters


class Clock(Protocol):
    """A run's clock; one thread waits on it, any thread may read it."""

    @property
    def virtual(self) -> bool:
        """Whether idle time is skipped instead of waited for."""
        ...

    def start(self) -> None:
        """Make now t = 0."""
        ...

    def now_ns(self) -> int:
        """Return nanoseconds since the start, without the time it stood frozen."""
        ...

    def wait_until(self, deadline_ns: int, wake: threading.Event, *, spin: bool = False) -> bool:
        """Return True once `deadline_ns` has come, or False as soon as `wake` is set."""
        ...

    def freeze(self) -> None:
        """Stop the clock where it is."""
        ...

    def thaw(self) -> None:
        """Go on from where it stopped."""
        ...

    def jump(self, to_ns: int) -> None:
        """Move on to a later time at once; an earlier one changes nothing."""
        ...


class WallClock:
    """Real time, from `time.perf_counter_ns`: monotonic, untouched by changes of the system's date."""

    virtual = False

    def __init__(self) -> None:
        self._origin = time.perf_counter_ns()
        self._frozen: int | None = 0

    def start(self) -> None:
        self._frozen = None
        self._origin = time.perf_counter_ns()

    def now_ns(self) -> int:
        frozen = self._frozen
        return time.perf_counter_ns() - self._origin if frozen is None else frozen

    def wait_until(self, deadline_ns: int, wake: threading.Event, *, spin: bool = False) -> bool:
        deadline = deadline_ns + self._origin
        left = deadline - time.perf_counter_ns() - (SPIN_NS if spin else 0)
        while left > 0:
            if wake.wait(left / 1e9):
                return False
            left = deadline - time.perf_counter_ns() - (SPIN_NS if spin else 0)
        if wake.is_set():
            return False
        while spin and time.perf_counter_ns() < deadline:
            pass
        return True

    def freeze(self) -> None:
        if self._frozen is None:
            self._frozen = time.perf_counter_ns() - self._origin

    def thaw(self) -> None:
        if self._frozen is not None:
            self._origin = time.perf_counter_ns() - self._frozen
            self._frozen = None

    def jump(self, to_ns: int) -> None:
        ahead = to_ns - self.now_ns()
        if ahead > 0 and self._frozen is not None:
            self._frozen = to_ns
        elif ahead > 0:
            self._origin -= ahead


class VirtualClock:
    """Time that passes only while a batch runs: waiting jumps to the deadline, measured work moves the clock on.

    Attributes:
        measures: False where a batch takes what it is declared to: no time passes but by a wait or a jump.
    """

    virtual = True

    def __init__(self) -> None:
        self.measures = True
        self._base = 0
        self._since: int | None = None

    def start(self) -> None:
        self._base, self._since = 0, None

    def now_ns(self) -> int:
        since = self._since
        return self._base if since is None else self._base + time.perf_counter_ns() - since

    def wait_until(self, deadline_ns: int, wake: threading.Event, *, spin: bool = False) -> bool:  # noqa: ARG002
        if wake.is_set():
            return False
        self._base = deadline_ns  # also backwards: what the driver itself took since the batch ended does not count
        self._since = time.perf_counter_ns() if self.measures else None
        return True

    def freeze(self) -> None:
        self._base, self._since = self.now_ns(), None

    def thaw(self) -> None:
        pass  # the next wait sets it going

    def jump(self, to_ns: int) -> None:
        self._base, self._since = max(self.now_ns(), to_ns), None

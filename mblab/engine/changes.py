"""Changes of knobs, from when they are accepted until the batch boundary at which they act.

lab, autopilot, controls= -> [changes] -> engine
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterable

from mblab.engine.settings import Change, Control, CurrentSettings
from mblab.timing.clock import Clock

__all__ = ["Changes"]


class Changes:
    """One queue in order of (time, coming); any thread hands in, the one that turns the engine takes out.

    Args:
        current: The settings that a change moves when it is accepted.
        clock: The run's.
        scripted: Changes known beforehand; they do not move `current`.

    Attributes:
        pending: (time, order of coming, change) of those that do not act yet; empty as a rule.
    """

    def __init__(self, current: CurrentSettings, clock: Clock, scripted: Iterable[Control] = ()) -> None:
        self._current, self._clock = current, clock
        self._lock = threading.Lock()
        self._order = itertools.count()
        self.pending: list[tuple[int, int, Control]] = sorted((c.at_ns, next(self._order), c) for c in scripted)

    def accept(self, change: Change, at_ns: int | None = None) -> None:
        """Take a change; its time is read here.

        Args:
            change: What moves.
            at_ns: When, on the run's clock, if not now: what decides on a batch's record moves knobs at its end.

        Raises:
            SettingError: What the change would leave breaks a rule; nothing has moved.
        """
        with self._lock:
            self._current.move(change)
            at = self._clock.now_ns() if at_ns is None else at_ns
            bisect.insort(self.pending, (at, next(self._order), Control(at, change)))

    def before(self, start_ns: int) -> bool:
        """Return whether one was accepted before a nominal start: it acts on that batch already.

        What is accepted after this was asked at a batch's start has a later time, and is about the batches after it.
        """
        with self._lock:
            return bool(self.pending) and self.pending[0][0] < start_ns

    def take(self) -> Control:
        """Take the oldest."""
        with self._lock:
            return self.pending.pop(0)[2]

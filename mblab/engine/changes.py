"""Changes of knobs, from when they are accepted until the batch boundary at which they act.

lab, autopilot, controls= -> [changes] -> engine
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterable
from dataclasses import replace

from mblab.engine import forks
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
        self._acting = current.settings  # what was taken has left these; scripted changes move them too
        self._renew()
        forks.in_child(self, Changes._renew)
        self._order = itertools.count()
        self.pending: list[tuple[int, int, Control]] = sorted((c.at_ns, next(self._order), c) for c in scripted)
        self._last_ns = -1  # time of the newest that was accepted or taken; the next one's is later

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def accept(self, change: Change, at_ns: int | None = None) -> None:
        """Take a change; its time is read here, and no two have the same: the later one's is a nanosecond later.

        Args:
            change: What moves.
            at_ns: When, on the run's clock, if not now: what decides on a batch's record moves knobs at its end.

        Raises:
            SettingError: What the change would leave breaks a rule; nothing has moved.
        """
        with self._lock:
            at = max(self._clock.now_ns() if at_ns is None else at_ns, self._last_ns + 1)
            taken = {pending_ns for pending_ns, _, _ in self.pending}
            while at in taken:
                at += 1
            pending = [*self.pending]
            bisect.insort(pending, (at, next(self._order), Control(at, change)))
            settings = self._acting
            for _, _, control in pending:  # also those scripted for later must still keep the rules
                settings = replace(settings, **control.change)
            self._current.move(change)
            self._last_ns, self.pending = at, pending

    def before(self, start_ns: int) -> bool:
        """Return whether one was accepted before a nominal start: it acts on that batch already.

        What is accepted after this was asked at a batch's start has a later time, and is about the batches after it.
        """
        with self._lock:
            return bool(self.pending) and self.pending[0][0] < start_ns

    @property
    def next_ns(self) -> int | None:
        """When the oldest was asked for, None without any."""
        with self._lock:
            return self.pending[0][0] if self.pending else None

    def jump(self, to_ns: int) -> bool:
        """Move the clock on to a start at once, or return False: a change was accepted before it, and acts on it.

        What is accepted from here on has the time that the clock was moved to.
        """
        with self._lock:
            if self.pending and self.pending[0][0] < to_ns:
                return False
            self._clock.jump(to_ns)
            return True

    def take(self) -> Control:
        """Take the oldest."""
        with self._lock:
            at, _, control = self.pending.pop(0)
            self._last_ns = max(self._last_ns, at)
            self._acting = replace(self._acting, **control.change)
            return control

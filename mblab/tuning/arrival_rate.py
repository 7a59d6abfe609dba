"""At which rate rows arrive, batch by batch: what is noticed of a step, and what is remembered of bursts.

batches of a run -> [arrival_rate] -> autopilot
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np

from mblab.timing.durations import NS

__all__ = ["RateWatch"]

MEMORY_NS: Final = 60 * NS
WINDOWS: Final = 64
LEAST: Final = 1e-9  # rows a second, where there are none: their logarithm is taken
FEW_BURSTS: Final = 3  # by which their level is known


class RateWatch:
    """The rate of arrivals, batch by batch: steady ones averaged, a step noticed at once, bursts remembered."""

    def __init__(self) -> None:
        self._windows: deque[tuple[float, float]] = deque(maxlen=WINDOWS)  # (rows, seconds) since the last step
        self._odd: list[tuple[float, float]] = []  # windows that are off, and may be the beginning of a step
        self._ups: deque[tuple[int, float]] = deque(maxlen=8)  # when a step up came, and to which rate
        self._calms: deque[float] = deque(maxlen=8)  # the rate before each of them
        self._settling = self._rising = False
        self.stepped = ""

    @property
    def rate(self) -> float:
        """Rows a second since the last step; 0 before there is anything to go by."""
        seconds = sum(s for _, s in self._windows)
        return sum(n for n, _ in self._windows) / seconds if seconds > 0 else 0.0

    def note(self, rows: int, seconds: float, at_ns: int) -> None:
        """Take what arrived between two starts.

        A window that is off by more than chance explains is kept apart; a second one on the same side makes it a step,
        and a window that is off by two fifths does so alone. The first window of a step lies partly before it, so the
        second replaces it.
        """
        self.stepped = ""
        if seconds <= 0:
            return
        usual, window = self.rate, (float(rows), seconds)
        expected = max(usual * seconds, 1.0)
        off, chance = rows / expected - 1, 1 / math.sqrt(expected)
        settled = self._settling
        if self._settling:
            self._settling = False
            if abs(off) > max(0.05, 3 * chance):
                self._windows.clear()
                self.stepped = f"settled at {rows / seconds:,.0f} rows a second"
        elif len(self._windows) >= 2 and abs(off) > max(0.15, 4 * chance):
            self._odd = [*(w for w in self._odd if (w[0] > usual * w[1]) == (off > 0)), window]
            if len(self._odd) >= 2 or abs(off) > 0.4:
                self._step(usual, window, at_ns)
            return
        self._odd = []
        self._windows.append(window)
        if self._rising and self._ups:
            self._ups[-1] = (self._ups[-1][0], self.rate)
            if settled and self._is_new_level():
                self._ups, self._calms = deque([self._ups[-1]], maxlen=8), deque([self._calms[-1]], maxlen=8)

    def _step(self, usual: float, window: tuple[float, float], at_ns: int) -> None:
        found = window[0] / window[1]
        self._windows.clear()
        self._windows.append(window)
        self._odd, self._settling, self._rising = [], True, found > usual
        if self._rising:
            self._ups.append((at_ns, found))
            self._calms.append(usual)
        self.stepped = f"stepped, {usual:,.0f} → {found:,.0f} rows a second"

    def _is_new_level(self) -> bool:
        """Return whether the present rate is neither that of the bursts so far nor of the calm between them.

        Then they are over. Bursts of very different heights have no level of their own, so nothing is new beside them.
        """
        if len(self._ups) <= FEW_BURSTS:
            return False
        bursts, calms = [rate for _, rate in self._ups][:-1], [*self._calms][:-1]
        now, *levels = (np.log(np.maximum(rates, LEAST)) for rates in (self.rate, bursts, calms))
        off = [abs(now - level.mean()) for level in levels]
        usual = [max(0.25, 4 * float(level.std())) for level in levels]
        return bool(off[0] > usual[0] and off[1] > usual[1])

    def is_silent(self, now_ns: int) -> bool:
        """Return whether more windows of the same length without rows would leave all as it is."""
        windows = self._windows
        alike = len(windows) == WINDOWS and windows.count(windows[0]) == WINDOWS and windows[0][0] == 0
        return alike and not self._settling and not self._odd and self.planned(now_ns) == 0

    def planned(self, now_ns: int) -> float:
        """Return the rate to plan for: the present one, or that of bursts which keep coming back."""
        recent = [(at, rate) for at, rate in self._ups if now_ns - at <= MEMORY_NS]
        if len(recent) < 2:
            return self.rate
        between = (recent[-1][0] - recent[0][0]) / (len(recent) - 1)
        if now_ns - recent[-1][0] > 3 * between:  # they have stopped
            return self.rate
        return max(self.rate, *(rate for _, rate in recent))

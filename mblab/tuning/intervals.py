"""The intervals that somebody asks about: a list of them, or the range in which to look.

what a cell typed -> [intervals] -> sweep, whatif, decision
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from mblab.errors import SettingError, SettingTypeError, shown
from mblab.timing.durations import NS, Duration, interval_ns

__all__ = ["LOWEST_NS", "Intervals", "Span", "check_intervals", "check_span"]

Intervals = Sequence[Duration] | np.ndarray | pd.Series | pd.Index
LOWEST_NS: Final = 1_000_000


def check_intervals(intervals: object, knob: str = "interval") -> list[int]:
    """Return intervals in ns, ascending, each once."""
    if isinstance(intervals, str) or not isinstance(intervals, Sequence | np.ndarray | pd.Series | pd.Index):
        raise SettingTypeError(
            f"intervals must be a list of durations such as ['100ms', '1s'], got {shown(intervals)}."
        )
    if not len(intervals):
        raise SettingError("intervals must name at least one interval, got an empty list.")
    return sorted({interval_ns(i, knob) for i in intervals})


@dataclass(frozen=True, slots=True)
class Span:
    """The intervals worth a look, in ns."""

    low_ns: int
    high_ns: int

    def grid(self, count: int) -> list[int]:
        """Return intervals of equal ratio, to three digits, each once."""
        points = np.geomspace(self.low_ns / NS, self.high_ns / NS, count)
        return sorted({max(LOWEST_NS, interval_ns(float(f"{p:.3g}"))) for p in points})


def check_span(intervals: Intervals | None) -> Span | None:
    """Return the range that a pair or list of durations covers; None stays None.

    Raises:
        SettingError: Not at least two durations.
    """
    if intervals is None:
        return None
    if isinstance(intervals, str) or not hasattr(intervals, "__iter__"):
        raise SettingTypeError(f"intervals must be a pair of durations such as ('50ms', '5s'), got {shown(intervals)}.")
    chosen = sorted({interval_ns(i, "intervals") for i in intervals})
    if len(chosen) < 2:
        raise SettingError(f"intervals must span a range, from a shortest to a longest, got {shown(intervals)}.")
    return Span(chosen[0], chosen[-1])

"""Silences: stretches of source time in which no row arrives.

    replay, simulate -> [gaps] -> feed

Exactly one silence lies in each stretch of `every`, drawn from the seed and the stretch's number, so that any of them
is known without those before it, and the mean rate of silences is not a matter of luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.errors import SettingError, SettingTypeError, did_you_mean, shown
from mblab.sources.modifiers.draws import check_seed, draws, plain_range, range_ns, told_range
from mblab.sources.modifiers.modified import Flags, Modified, deeds
from mblab.support.arguments import plain
from mblab.timing.durations import duration_ns, format_s
from mblab.timing.times import Times

__all__ = ["Gaps", "RowsOfAGap"]

GAPS_KEY = 8
RowsOfAGap = Literal["delay", "drop"]


@dataclass(frozen=True, repr=False)
class Gaps(Modified):
    """Silences in a stream; made by `source.with_gaps`.

    Attributes:
        every: Seconds of source time; there is one silence in each stretch of it.
        length: Seconds of source time, or the (lo, hi) it is drawn from, evenly.
        rows: What becomes of the rows in a silence: delay or drop.
        seed: Seed of the draws.
    """

    every: float
    length: float | tuple[float, float]
    rows: RowsOfAGap
    seed: int

    def __post_init__(self) -> None:
        if range_ns(self.length)[1] >= duration_ns(self.every):
            raise SettingError(
                f"length must be below every={format_s(self.every)} so that rows come between two silences, "
                f"got {told_range(self.length)}."
            )
        if not isinstance(self.rows, str):
            raise SettingTypeError(f"rows must be 'delay' or 'drop', got {shown(self.rows)}.")
        if self.rows not in ("delay", "drop"):
            hint = did_you_mean(self.rows, ("delay", "drop"))
            raise SettingError(f"rows must be 'delay' or 'drop', got {shown(self.rows)}{hint}")
        check_seed(self)

    def describe(self) -> str:
        """Return one line for people."""
        fate = "held up" if self.rows == "delay" else "lost"
        every = format_s(self.every)
        return f"{self.source.describe()}, silent for {told_range(self.length)} every {every}, the rows {fate}"

    def silences(self, stretch: int) -> tuple[int, int]:
        """Return begin and end, in ns of source time, of the silence in a stretch, counted from 0."""
        return _silence(self.seed, duration_ns(self.every), *range_ns(self.length), stretch)

    def _call(self) -> str:
        every = plain(self.every)
        return f".with_gaps({every}, {plain_range(self.length)}, {self.rows!r}, seed={self.seed})"

    def _deed(self) -> str:
        return "delayed" if self.rows == "delay" else "dropped"

    def _changes(self, first: int, arrival_ns: Times) -> tuple[npt.NDArray[np.intp], Times, Flags]:  # noqa: ARG002
        stretch = arrival_ns // duration_ns(self.every)
        numbers, where = np.unique(stretch, return_inverse=True)
        bounds = np.array([self.silences(int(k)) for k in numbers], np.int64).reshape(-1, 2)[where.reshape(-1)]
        inside = (bounds[:, 0] <= arrival_ns) & (arrival_ns < bounds[:, 1])
        if self.rows == "drop":
            kept = np.flatnonzero(~inside)
            return kept, np.zeros(len(kept), np.int64), np.zeros(len(kept), np.bool_)
        return np.arange(len(inside)), np.where(inside, bounds[:, 1] - arrival_ns, 0), inside

    def _ledger(self, rows: int | None) -> pd.DataFrame:
        known = super()._ledger(rows)
        if self.rows == "delay":
            return known
        number = self._history(rows)[0]
        upto = int(number.max()) + 1 if len(number) else 0
        if rows is None:
            upto = sum(len(block.rows) for block in self.source.open())
        lost = np.setdiff1d(np.arange(upto), number)
        mine = deeds(np.searchsorted(number, lost), "dropped", np.zeros(len(lost)))
        mine["original"] = pd.Series(lost.tolist(), dtype=object)
        return pd.concat([known, mine]).sort_values("row", kind="stable", ignore_index=True)


@lru_cache(4096)
def _silence(seed: int, every_ns: int, lo_ns: int, hi_ns: int, stretch: int) -> tuple[int, int]:
    where, share = draws(seed, GAPS_KEY, stretch, 1)[:, 0]
    length = lo_ns + round(share * (hi_ns - lo_ns))
    begin = stretch * every_ns + round(where * (every_ns - length))
    return begin, begin + length

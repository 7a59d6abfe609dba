"""Silences: stretches of source time in which no row arrives.

    draws -> [gaps] -> modified

Exactly one silence lies in each stretch of `every`, drawn from the seed and the stretch's number, so that any of them
is known without those before it, and the mean rate of silences is not a matter of luck.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import pandas as pd

from mblab.errors import SettingError
from mblab.sources.base import Block
from mblab.sources.modifiers.draws import Range, draws, plain_range, range_ns, range_s, told_range
from mblab.sources.modifiers.modifier import Flags, History, Rows, delays, ledger_rows
from mblab.support.arguments import one_of, plain, whole
from mblab.timing.durations import Duration, duration_ns, format_s, seconds
from mblab.timing.times import Times

__all__ = ["Gaps", "RowsOfAGap"]

GAPS_KEY = 8
RowsOfAGap = Literal["delay", "drop"]
FATES: tuple[RowsOfAGap, ...] = get_args(RowsOfAGap)


@dataclass(frozen=True, slots=True, init=False)
class Gaps:
    """Silences in a stream.

    Attributes:
        every: Seconds of source time; there is one silence in each stretch of it.
        length: Seconds of source time, or the (lo, hi) it is drawn from, evenly.
        rows: What becomes of the rows in a silence: delay or drop.
        seed: Seed of the draws.
    """

    every: float
    length: Range
    rows: RowsOfAGap
    seed: int

    def __init__(
        self, every: Duration, length: Duration | tuple[Duration, Duration], rows: RowsOfAGap, seed: int
    ) -> None:
        object.__setattr__(self, "every", seconds(duration_ns(every, "every", minimum_ns=1)))
        object.__setattr__(self, "length", range_s(length, "length"))
        if range_ns(self.length)[1] >= duration_ns(self.every):
            raise SettingError(
                f"length must be below every={format_s(self.every)} so that rows come between two silences, "
                f"got {told_range(self.length)}."
            )
        object.__setattr__(self, "rows", one_of(rows, "rows", FATES))
        object.__setattr__(self, "seed", whole(seed, "seed"))

    def silences(self, stretch: int) -> tuple[int, int]:
        """Return begin and end, in ns of source time, of the silence in a stretch, counted from 0."""
        return _silence(self.seed, duration_ns(self.every), *range_ns(self.length), stretch)

    def apply(self, rows: Rows) -> Rows:
        """Return the rows, those in a silence at its end or not at all."""
        inside, end_ns = self._silent(rows.arrival_ns)
        if self.rows == "drop":
            return rows.take(~inside)
        return rows.delayed(np.where(inside, end_ns - rows.arrival_ns, 0), inside)

    def _silent(self, arrival_ns: Times) -> tuple[Flags, Times]:
        """Return which rows arrive within the silence of their stretch, and the end of it."""
        stretches, where = np.unique(arrival_ns // duration_ns(self.every), return_inverse=True)
        begin_ns, end_ns = np.array([self.silences(int(k)) for k in stretches], np.int64)[where.reshape(-1)].T
        return (begin_ns <= arrival_ns) & (arrival_ns < end_ns), end_ns

    def ledger(self, given: Iterator[Block], made: History) -> pd.DataFrame:
        """Return the rows that were held up; or those that were lost, each where the next one stands."""
        if self.rows == "delay":
            return delays(made, "delayed")
        lost = np.setdiff1d(np.arange(sum(len(block.rows) for block in given)), made.number)
        # the rows that are left are in their order, so as many of them stand before a lost one as have lower numbers
        noted = ledger_rows(np.searchsorted(made.number, lost), "dropped")
        return noted.assign(original=pd.Series(lost.tolist(), dtype=object))

    def describe(self) -> str:
        """Return what goes wrong, in a phrase for people."""
        fate = "held up" if self.rows == "delay" else "lost"
        return f"silent for {told_range(self.length)} every {format_s(self.every)}, the rows {fate}"

    def code(self) -> str:
        """Return the call that modifies a source."""
        return f".with_gaps({plain(self.every)}, {plain_range(self.length)}, {self.rows!r}, seed={self.seed})"


@lru_cache(4096)
def _silence(seed: int, every_ns: int, lo_ns: int, hi_ns: int, stretch: int) -> tuple[int, int]:
    # k·every ≤ begin ≤ begin + length ≤ (k + 1)·every: the length is drawn first, then where it fits
    where, share = draws(seed, GAPS_KEY, stretch, 1)[:, 0]
    length = lo_ns + round(share * (hi_ns - lo_ns))
    begin = stretch * every_ns + round(where * (every_ns - length))
    return begin, begin + length

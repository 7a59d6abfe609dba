"""Rows that come late, and rows that come twice.

draws -> [timing] -> modified
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mblab.sources.base import Block
from mblab.sources.modifiers.draws import Range, draws, plain_range, range_ns, range_s, told_range
from mblab.sources.modifiers.modifier import History, Rows, delays
from mblab.support.arguments import number, plain, whole
from mblab.timing.durations import Duration, duration_ns, seconds

__all__ = ["Duplicates", "Late"]

# spawn keys: modifiers of one seed draw apart from each other and from the arrivals; gaps and poison have 8 and 9
LATE_KEY, DUPLICATES_KEY = 3, 4


@dataclass(frozen=True, slots=True, init=False)
class Late:
    """Some rows arrive late.

    Attributes:
        fraction: Share of the rows, from 0 to 1.
        delay: Seconds of source time, or the (lo, hi) it is drawn from, evenly.
        seed: Seed of the draws.
    """

    fraction: float
    delay: Range
    seed: int

    def __init__(self, fraction: float, delay: Duration | tuple[Duration, Duration], seed: int) -> None:
        object.__setattr__(self, "fraction", number(fraction, "fraction", zero=True, most=1))
        object.__setattr__(self, "seed", whole(seed, "seed"))
        object.__setattr__(self, "delay", range_s(delay, "delay"))

    def apply(self, rows: Rows) -> Rows:
        """Return the rows, some of them later."""
        chance, share = draws(self.seed, LATE_KEY, int(rows.number[0]), len(rows.number))
        lo, hi = range_ns(self.delay)
        late = chance < self.fraction
        return rows.delayed(np.where(late, lo + np.rint(share * (hi - lo)), 0).astype(np.int64), late)

    def ledger(self, given: Iterator[Block], made: History) -> pd.DataFrame:  # noqa: ARG002
        """Return the rows that came late."""
        return delays(made, "late")

    def describe(self) -> str:
        """Return what goes wrong, in a phrase for people."""
        return f"{100 * self.fraction:.3g} % of its rows late by {told_range(self.delay)}"

    def code(self) -> str:
        """Return the call that modifies a source."""
        return f".with_late({plain(self.fraction)}, {plain_range(self.delay)}, seed={self.seed})"


@dataclass(frozen=True, slots=True, init=False)
class Duplicates:
    """Some rows arrive twice.

    Attributes:
        fraction: Share of the rows, from 0 to 1.
        delay: Seconds of source time from a row to its copy.
        seed: Seed of the draws.
    """

    fraction: float
    delay: float
    seed: int

    def __init__(self, fraction: float, delay: Duration, seed: int) -> None:
        object.__setattr__(self, "fraction", number(fraction, "fraction", zero=True, most=1))
        object.__setattr__(self, "seed", whole(seed, "seed"))
        object.__setattr__(self, "delay", seconds(duration_ns(delay, "delay")))

    def apply(self, rows: Rows) -> Rows:
        """Return the rows, some of them with a later copy behind them."""
        twice = draws(self.seed, DUPLICATES_KEY, int(rows.number[0]), len(rows.number))[0] < self.fraction
        at = np.repeat(np.arange(len(twice)), 1 + twice)
        copy = np.concatenate([[False], at[1:] == at[:-1]])
        return rows.take(at).delayed(np.where(copy, duration_ns(self.delay), 0), copy)

    def ledger(self, given: Iterator[Block], made: History) -> pd.DataFrame:  # noqa: ARG002
        """Return the copies."""
        return delays(made, "duplicate")

    def describe(self) -> str:
        """Return what goes wrong, in a phrase for people."""
        return f"{100 * self.fraction:.3g} % of its rows twice"

    def code(self) -> str:
        """Return the call that modifies a source."""
        return f".with_duplicates({plain(self.fraction)}, {plain(self.delay)}, seed={self.seed})"

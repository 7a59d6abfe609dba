"""What a modifier is: a value that says what becomes of some rows, and what the ledger notes of it.

A modifier knows rows by their numbers. It keeps nothing from one call to the next, so the same rows are always changed
in the same way; what is held back, and where a stream stands, is the business of `Modified`.

    draws -> [modifier] -> timing, gaps, poison -> modified
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.sources.base import Block
from mblab.sources.modifiers.draws import Draws
from mblab.timing.durations import NS
from mblab.timing.times import Times

__all__ = ["Flags", "History", "Modifier", "Rows", "delays", "ledger_rows"]

Flags = npt.NDArray[np.bool_]


class Rows(NamedTuple):
    """Rows on their way through a modifier.

    Attributes:
        frame: The rows.
        arrival_ns: When they arrive now.
        number: Their numbers in the stream that is modified, counted from 0.
        delay_ns: What the modifier added to their arrival.
        touched: Whether the modifier did anything to them; a copy is touched, its original is not.
        event_times: When they happened, where the frame does not hold it; no modifier changes that.
    """

    frame: pd.DataFrame
    arrival_ns: Times
    number: Times
    delay_ns: Times
    touched: Flags
    event_times: pd.Series | None = None

    @classmethod
    def untouched(cls, block: Block, first: int) -> Rows:
        """Return the rows of a block, of which the first one has number `first`."""
        count = len(block.arrival_ns)
        number = np.arange(first, first + count)
        untouched = np.zeros(count, np.bool_)
        return cls(block.rows, block.arrival_ns, number, np.zeros(count, np.int64), untouched, block.event_times)

    def take(self, which: slice | Flags | npt.NDArray[np.intp]) -> Rows:
        """Return the rows at a slice, a mask or indices."""
        return Rows(
            self.frame.iloc[which],
            self.arrival_ns[which],
            self.number[which],
            self.delay_ns[which],
            self.touched[which],
            None if self.event_times is None else self.event_times.iloc[which],
        )

    def delayed(self, by_ns: Times, touched: Flags) -> Rows:
        """Return the rows with so much added to their arrivals."""
        return self._replace(arrival_ns=self.arrival_ns + by_ns, delay_ns=by_ns, touched=touched)

    def joined(self, later: Rows) -> Rows:
        """Return these rows and `later` ones in order of arrival; on a tie, lower numbers go first."""
        if not len(self.number):
            return later.in_order()
        times = [each.event_times for each in (self, later) if each.event_times is not None]
        return Rows(
            pd.concat([self.frame, later.frame]),
            np.concatenate([self.arrival_ns, later.arrival_ns]),
            np.concatenate([self.number, later.number]),
            np.concatenate([self.delay_ns, later.delay_ns]),
            np.concatenate([self.touched, later.touched]),
            pd.concat(times) if times else None,
        ).in_order()

    def in_order(self) -> Rows:
        """Return the rows in order of arrival, stable."""
        if (self.arrival_ns[1:] >= self.arrival_ns[:-1]).all():
            return self
        return self.take(np.argsort(self.arrival_ns, kind="stable"))


class History(NamedTuple):
    """The rows that a modifier has given out, in their order; as in `Rows`."""

    number: Times
    delay_ns: Times
    touched: Flags


class Modifier(Protocol):
    """Something that goes wrong on the way.

    Attributes:
        seed: Seed of its draws.
    """

    @property
    def seed(self) -> int: ...

    def apply(self, rows: Rows) -> Rows:
        """Return what becomes of some rows, at least one and none of them touched; arrivals may be out of order."""
        ...

    def ledger(self, given: Iterator[Block], made: History) -> pd.DataFrame:
        """Return what was done, in the ledger's columns, by row given out.

        Args:
            given: The stream that was modified, as far as rows of it were given out; it is read if need be.
            made: What was given out.
        """
        ...

    def describe(self) -> str:
        """Return what goes wrong, in a phrase for people."""
        ...

    def code(self) -> str:
        """Return the call that modifies a source, such as `.with_late(0.05, 10, seed=1)`."""
        ...


def ledger_rows(rows: Times, kind: str, delay_s: Draws | float = 0.0) -> pd.DataFrame:
    """Return rows of a ledger, as yet without a column and an original."""
    return pd.DataFrame(
        {
            "row": rows,
            "kind": pd.Series([kind] * len(rows), dtype="str"),
            "delay_s": np.broadcast_to(delay_s, len(rows)).astype(np.float64),
            "column": pd.Series([None] * len(rows), dtype="str"),
            "original": pd.Series([None] * len(rows), dtype=object),
        }
    )


def delays(made: History, kind: str) -> pd.DataFrame:
    """Return the rows of a ledger about rows that came later."""
    return ledger_rows(np.flatnonzero(made.touched), kind, made.delay_ns[made.touched] / NS)

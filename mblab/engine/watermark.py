"""How far event time has come: the newest time among all rows that earlier batches took.

It follows the cuts, one after the other, and looks at the rows only when somebody asks: a batch leaves behind where it
stood, which is three references.

    feed -> cut -> [watermark] -> ctx.watermark
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from mblab.engine.feed import Cut

__all__ = ["Mark", "Watermark"]


class _Block:
    """A block of rows that is being cut, with the newest time up to each of its rows, once somebody asked."""

    __slots__ = ("_newest", "rows", "times")

    def __init__(self, rows: pd.DataFrame, times: pd.Series) -> None:
        self.rows, self.times = rows, times
        self._newest: pd.Series[Any] | None = None

    def newest(self, upto: int) -> Any:
        """Return the newest time of the first rows; a missing one takes nothing back."""
        if not upto:
            return None
        if upto == len(self.times):
            return self.times.max()
        if self._newest is None:
            self._newest = self.times.cummax().ffill()
        return self._newest.iloc[upto - 1]


class Mark(NamedTuple):
    """Where a watermark stood before a batch.

    Attributes:
        peak: Newest event time of the blocks that were cut to their end.
        block: The block being cut, None before the first.
        upto: How many of its rows were taken.
    """

    peak: Any = None
    block: _Block | None = None
    upto: int = 0

    @property
    def value(self) -> Any:
        """The newest event time among the rows of all earlier batches, None before there is one."""
        return self.peak if self.block is None else _newer(self.peak, self.block.newest(self.upto))


class Watermark:
    """The watermark of one stream; without event times it stays where it is."""

    def __init__(self) -> None:
        self._mark = Mark()

    def follow(self, cut: Cut) -> Mark:
        """Return where it stood before a cut, and go on behind it."""
        before = self._mark
        if not len(cut.arrival_ns):
            return before
        peak, block = before.peak, before.block
        for rows, _, _, times in cut.pieces:
            if times is None:
                return before
            if block is None or block.rows is not rows:
                peak = peak if block is None else _newer(peak, block.newest(len(block.rows)))
                block = _Block(rows, times)
        self._mark = Mark(peak, block, cut.pieces[-1][2])
        return before


def _newer(one: Any, other: Any) -> Any:
    if other is None or other is pd.NaT or other != other:  # noqa: PLR0124
        return one
    return other if one is None or other > one else one

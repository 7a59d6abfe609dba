"""What goes wrong on the way: a source around a source.

Rows get a later arrival, a copy or another value, some are lost, and the stream is put in order again; event times
stay. What was done stands in the `ledger`, so a lesson or a test can compare what a step found with it.

    replay, simulate -> [modified] -> feed

Times and delays are source time. A row is drawn by its number (in blocks of 4,096 rows, from the seed), so the result
does not depend on how the rows were cut into blocks, and a row is held back only until the stream has passed its new
arrival, so an endless source stays small.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mblab.errors import SettingError
from mblab.sources.base import Block, Exportable, Position
from mblab.sources.modifiers.gaps import Gaps, RowsOfAGap
from mblab.sources.modifiers.modifier import History, Modifier, Rows, ledger_rows
from mblab.sources.modifiers.poison import Poison, PoisonKind
from mblab.sources.modifiers.timing import Duplicates, Late
from mblab.timing.durations import Duration

__all__ = ["Modifiable", "Modified"]


class Modifiable(Exportable):
    """A source that can be disturbed, and written out as code."""

    @property
    def seed(self) -> int:
        """The seed from which that of the next modifier is counted: 0 where nothing is drawn."""
        return 0

    @property
    def ledger(self) -> pd.DataFrame:
        """What modifiers did to the rows, one row a change, by row number.

        Columns: `row` (int64, number of the row in this source's own order, from 0), `kind` (str: late, duplicate,
        delayed, dropped or poison), `delay_s` (float64 source seconds that were added to its arrival), `column` and
        `original` (which value was changed and what it was; else null). A dropped row is gone: `row` is that of the
        next one, and `original` the number it had before.

        It is computed when asked for. A source that ends is read through; one that is endless as far as its `open` has
        been read by anyone.
        """
        return _nothing_done()

    def with_late(
        self, fraction: float, delay: Duration | tuple[Duration, Duration], seed: int | None = None
    ) -> Modified:
        """Return this source with some rows arriving late, drawn independently.

        Args:
            fraction: Share of the rows, from 0 to 1.
            delay: Source time by which they are late; (lo, hi) draws it evenly.
            seed: Whole number; None takes one more than the seed before it in the chain (0 for a replay).
        """
        return self._modified(Late(fraction, delay, self._next(seed)))

    def with_duplicates(self, fraction: float, delay: Duration = 0, seed: int | None = None) -> Modified:
        """Return this source with some rows arriving twice, drawn independently.

        Args:
            fraction: Share of the rows, from 0 to 1.
            delay: Source time after which the copy arrives; with 0 it follows at once.
            seed: Whole number; None takes one more than the seed before it in the chain (0 for a replay).
        """
        return self._modified(Duplicates(fraction, delay, self._next(seed)))

    def with_gaps(
        self,
        every: Duration,
        length: Duration | tuple[Duration, Duration],
        rows: RowsOfAGap = "delay",
        seed: int | None = None,
    ) -> Modified:
        """Return this source with silences: one in each stretch of `every`, at a random place within it.

        Args:
            every: Source time; the k-th silence lies wholly between k·every and (k+1)·every.
            length: How long a silence is, in source time, below `every`; (lo, hi) draws it evenly.
            rows: What becomes of the rows in it: `delay` lets them all arrive at its end, as after an outage of the
                line; `drop` loses them, as after an outage of the sender.
            seed: Whole number; None takes one more than the seed before it in the chain (0 for a replay).
        """
        return self._modified(Gaps(every, length, rows, self._next(seed)))

    def with_poison(
        self, fraction: float, column: str | None = None, kind: PoisonKind = "type", seed: int | None = None
    ) -> Modified:
        """Return this source with spoiled values in one column, drawn independently.

        Args:
            fraction: Share of the rows, from 0 to 1.
            column: The column; None takes the first one that holds numbers.
            kind: `type` puts text (`"poison"`; -1 into text) and so makes the column `object`; `null` puts the missing
                value of the column's dtype, and makes whole numbers float64 and bool `object`; `range` puts a value far
                outside: the lowest one a number's dtype holds, or 1970-01-01 for a time.
            seed: Whole number; None takes one more than the seed before it in the chain (0 for a replay).
        """
        poison = Poison(fraction, column, kind, self._next(seed))
        if kind == "type" and column is not None and column == self.event_time:
            raise SettingError(
                f"column={column!r} is the event time, which must stay a time; use kind='null' or kind='range'."
            )
        return self._modified(poison)

    def _next(self, seed: int | None) -> int:
        return self.seed + 1 if seed is None else seed

    def _modified(self, modifier: Modifier) -> Modified:
        return Modified(self, (modifier,))


class _Step(NamedTuple):
    """Rows on their way out, and where the stream stands before them."""

    rows: Rows
    position: dict[str, Any]


@dataclass(frozen=True, repr=False)
class Modified(Modifiable):
    """A source to whose rows things happen, one after the other; made by `source.with_late` and its like.

    Its position is one of the last modifier. That of a modifier holds the position, in the stream it modifies, of the
    oldest block of which a row is still held back (`source`, whose first row is `row`), the number of the row that was
    read next (`from_row`), and how far rows had been given out (up to the arrival `after_ns`, `out_row` of them).

    Attributes:
        source: The source that is modified.
        modifiers: What happens to its rows, in this order.
    """

    source: Modifiable
    modifiers: tuple[Modifier, ...]
    _read: list[int] = field(default_factory=lambda: [0], init=False, repr=False, compare=False)  # rows anyone has read

    @property
    def name(self) -> str:
        """Name of the source that is modified."""
        return self.source.name

    @property
    def speedup(self) -> float:
        """Source seconds that pass in one second of a run."""
        return self.source.speedup

    @property
    def endless(self) -> bool:
        """Whether it never ends by itself."""
        return self.source.endless

    @property
    def event_time(self) -> str | None:
        """Column with the time things happened; modifiers leave it alone."""
        return self.source.event_time

    @property
    def seed(self) -> int:
        """The seed of the last modifier."""
        return self.modifiers[-1].seed

    @property
    def input_path(self) -> Path | None:
        """The file the rows come from, or None."""
        return self.source.input_path

    @property
    def frame(self) -> pd.DataFrame | None:
        """The frame the rows come from, unmodified, or None."""
        return self.source.frame

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The user's functions that the source calls."""
        return self.source.functions

    @property
    def ledger(self) -> pd.DataFrame:
        """What modifiers did to the rows; see `Modifiable.ledger`."""
        return self._ledger(len(self.modifiers), self._read[0] if self.endless else None)

    def open(self, position: Position | None = None) -> Iterator[Block]:
        """Return the blocks from a position on, in order of the new arrivals."""
        for block in self._blocks(len(self.modifiers), position):
            self._read[0] = max(self._read[0], block.position["out_row"] + len(block.rows))
            yield block

    def describe(self) -> str:
        """Return one line for people."""
        return ", ".join([self.source.describe(), *(modifier.describe() for modifier in self.modifiers)])

    def code(self, input: str) -> str:  # noqa: A002
        """Return the Python expression that makes this source again."""
        return self.source.code(input) + self._calls()

    def __repr__(self) -> str:
        """Return the calls that made it."""
        return repr(self.source) + self._calls()

    def _calls(self) -> str:
        return "".join(modifier.code() for modifier in self.modifiers)

    def _modified(self, modifier: Modifier) -> Modified:
        return Modified(self.source, (*self.modifiers, modifier))

    def _blocks(self, depth: int, position: Position | None = None) -> Iterator[Block]:
        """Return the stream behind the first `depth` modifiers."""
        if depth == 0:
            yield from self.source.open(position)
            return
        for rows, where in self._steps(depth, position):
            times = None if rows.event_times is None else rows.event_times.reset_index(drop=True)
            yield Block(rows.frame.reset_index(drop=True), rows.arrival_ns, where, times)

    def _steps(self, depth: int, position: Position | None = None) -> Iterator[_Step]:
        """Let the last of the first `depth` modifiers change the stream before it, and put that in order again."""
        modifier = self.modifiers[depth - 1]
        start = position or {"source": None, "row": 0, "from_row": 0, "after_ns": -1, "out_row": 0}
        row, after_ns, out_row = start["row"], start["after_ns"], start["out_row"]
        begun: deque[tuple[int, Position]] = deque()  # blocks with rows that are held back
        held: Rows | None = None

        def where() -> dict[str, Any]:
            oldest, source = begun[0]
            return {"source": source, "row": oldest, "from_row": row, "after_ns": after_ns, "out_row": out_row}

        for block in self._blocks(depth - 1, start["source"]):
            if not len(block.rows):
                continue
            begun.append((row, block.position))
            new = modifier.apply(Rows.untouched(block, row))
            again = row < start["from_row"]  # read once more, for the rows of it that were still held back
            if again:
                new = new.take(new.arrival_ns > after_ns)
            held = new.in_order() if held is None else held.joined(new)
            if not again:
                newest = int(block.arrival_ns[-1])
                passed = int(np.searchsorted(held.arrival_ns, newest, side="right"))
                if passed:
                    yield _Step(held.take(slice(passed)), where())
                held, out_row, after_ns = held.take(slice(passed, None)), out_row + passed, newest
            row += len(block.rows)
            _let_go(begun, int(held.number.min()) if len(held.number) else row)
        if held and len(held.number):
            yield _Step(held, where())

    def _ledger(self, depth: int, rows: int | None) -> pd.DataFrame:
        """Return what the first `depth` modifiers did to the first `rows` rows behind them; None means to all."""
        if depth == 0:
            return _nothing_done()
        made = self._history(depth, rows)
        upto = int(made.number.max()) + 1 if len(made.number) else 0
        read = None if rows is None else upto
        before = self._ledger(depth - 1, read)
        mine = self.modifiers[depth - 1].ledger(_first(self._blocks(depth - 1), read), made)
        # where the rows of the stream before it stand now; of a row and its copies, the row itself comes first
        moved = pd.Series(np.arange(len(made.number)), index=made.number)[~pd.Index(made.number).duplicated()]
        if rows is None:  # rows that were dropped at the end stand before the one after the last
            moved = pd.concat([moved, pd.Series([len(made.number)], index=[upto])])
        before = before[before["row"].isin(moved.index)]
        before = before.assign(row=moved.reindex(before["row"]).to_numpy(np.int64))
        return pd.concat([before, mine]).sort_values("row", kind="stable", ignore_index=True)

    def _history(self, depth: int, rows: int | None) -> History:
        """Return what the last of `depth` modifiers has given out: `rows` rows, or all."""
        seen = [History(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_))]
        for step in self._steps(depth) if rows != 0 else ():
            seen.append(History(step.rows.number, step.rows.delay_ns, step.rows.touched))
            if rows is not None and step.position["out_row"] + len(step.rows.number) >= rows:
                break
        return History(*(np.concatenate(parts)[:rows] for parts in zip(*seen, strict=True)))


def _nothing_done() -> pd.DataFrame:
    return ledger_rows(np.empty(0, np.int64), "")


def _first(blocks: Iterator[Block], rows: int | None) -> Iterator[Block]:
    """Yield blocks up to the first `rows` rows; None means all of them."""
    left = rows
    for block in blocks if rows != 0 else ():
        if left is None or len(block.rows) <= left:
            yield block
        else:
            yield Block(block.rows.iloc[:left], block.arrival_ns[:left], block.position)
        left = None if left is None else left - len(block.rows)
        if left is not None and left <= 0:
            return


def _let_go(begun: deque[tuple[int, Position]], oldest: int) -> None:
    """Forget the blocks of which nothing from row `oldest` on is needed."""
    while len(begun) > 1 and begun[1][0] <= oldest:
        begun.popleft()

"""What goes wrong on the way: rows that come late or twice, silences, spoiled values.

A modifier is a source around a source. It gives rows a later arrival and puts the stream in order again; event times
stay. What it did stands in the `ledger`, so a lesson or a test can compare what a step found with what was done.

    replay, simulate -> [disorder] -> feed

Times and delays are source time. A row is drawn by its number (in blocks of 4,096 rows, from the seed), so the result
does not depend on how the rows were cut into blocks, and a row is held back only until the stream has passed its new
arrival, so an endless source stays small.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.sources.base import Block, Position, Source
from mblab.sources.modifiers.draws import Draws, check_range, check_seed, draws, plain_range, range_ns, told_range
from mblab.support.arguments import number, plain
from mblab.timing.durations import NS, Duration, duration_ns, seconds
from mblab.timing.times import Times

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mblab.sources.modifiers.gaps import Gaps, RowsOfAGap
    from mblab.sources.modifiers.poison import Poison, PoisonKind

__all__ = [
    "Around",
    "Duplicates",
    "Flags",
    "Late",
    "Modifiable",
    "Modified",
    "deeds",
]

# spawn keys: modifiers of one seed draw apart from each other and from the arrivals; gaps and poison have 8 and 9
LATE_KEY, DUPLICATES_KEY = 3, 4

Flags = npt.NDArray[np.bool_]


class Modifiable(Source):
    """A source that can be disturbed, and written out as code."""

    @property
    def input_path(self) -> Path | None:
        """The file the rows come from, or None."""
        return None

    @property
    def frame(self) -> pd.DataFrame | None:
        """The frame the rows come from, with all its columns in arrival order, or None."""
        return None

    @property
    def ledger(self) -> pd.DataFrame:
        """What modifiers did to the rows, one row a deed, by row number.

        Columns: `row` (int64, number of the row in this source's own order, from 0), `kind` (str: late, duplicate,
        delayed, dropped or poison), `delay_s` (float64 source seconds that were added to its arrival), `column` and
        `original` (which value was changed and what it was; else null). A dropped row is gone: `row` is that of the
        next one, and `original` the number it had before.

        It is computed when asked for. A source that ends is read through; one that is endless as far as its `open` has
        been read by anyone.
        """
        return self._ledger(None)

    @abstractmethod
    def code(self, input: str) -> str:  # noqa: A002  the word of the exported script's options
        """Return the Python expression that makes this source again.

        Args:
            input: Expression for the file or frame it reads; a source that needs none ignores it.
        """

    def with_late(self, fraction: float, delay: Duration | tuple[Duration, Duration], seed: int | None = None) -> Late:
        """Return this source with some rows arriving late, drawn independently.

        Args:
            fraction: Share of the rows, from 0 to 1.
            delay: Source time by which they are late; (lo, hi) draws it evenly.
            seed: Whole number; None takes one more than the seed before it in the chain (0 for a replay).
        """
        return Late(self, fraction, check_range(delay, "delay"), self._next_seed(seed))

    def with_duplicates(self, fraction: float, delay: Duration = 0, seed: int | None = None) -> Duplicates:
        """Return this source with some rows arriving twice, drawn independently.

        Args:
            fraction: Share of the rows, from 0 to 1.
            delay: Source time after which the copy arrives; with 0 it follows at once.
            seed: Whole number; None takes one more than the seed before it in the chain (0 for a replay).
        """
        return Duplicates(self, fraction, seconds(duration_ns(delay, "delay")), self._next_seed(seed))

    def with_gaps(
        self,
        every: Duration,
        length: Duration | tuple[Duration, Duration],
        rows: RowsOfAGap = "delay",
        seed: int | None = None,
    ) -> Gaps:
        """Return this source with silences: one in each stretch of `every`, at a random place within it.

        Args:
            every: Source time; the k-th silence lies wholly between k·every and (k+1)·every.
            length: How long a silence is, in source time, below `every`; (lo, hi) draws it evenly.
            rows: What becomes of the rows in it: `delay` lets them all arrive at its end, as after an outage of the
                line; `drop` loses them, as after an outage of the sender.
            seed: Whole number; None takes one more than the seed before it in the chain (0 for a replay).
        """
        from mblab.sources.modifiers.gaps import Gaps

        every_s = seconds(duration_ns(every, "every", minimum_ns=1))
        return Gaps(self, every_s, check_range(length, "length"), rows, self._next_seed(seed))

    def with_poison(
        self, fraction: float, column: str | None = None, kind: PoisonKind = "type", seed: int | None = None
    ) -> Poison:
        """Return this source with spoiled values in one column, drawn independently.

        Args:
            fraction: Share of the rows, from 0 to 1.
            column: The column; None takes the first one that holds numbers.
            kind: `type` puts text (`"poison"`; -1 into text) and so makes the column `object`; `null` puts the missing
                value of the column's dtype, and makes whole numbers float64 and bool `object`; `range` puts a value far
                outside: the lowest one a number's dtype holds, or 1970-01-01 for a time.
            seed: Whole number; None takes one more than the seed before it in the chain (0 for a replay).
        """
        from mblab.sources.modifiers.poison import Poison

        return Poison(self, fraction, column, kind, self._next_seed(seed))

    def _next_seed(self, seed: int | None) -> int:
        return getattr(self, "seed", 0) + 1 if seed is None else seed

    def _ledger(self, rows: int | None) -> pd.DataFrame:  # noqa: ARG002  nothing was done to any row
        """Return the deeds on the first `rows` rows; None means as far as is known."""
        return deeds(np.empty(0, np.int64), "", np.empty(0))


def deeds(rows: Times, kind: str, delay_s: Draws) -> pd.DataFrame:
    """Return rows of a ledger about arrivals."""
    return pd.DataFrame(
        {
            "row": rows,
            "kind": pd.Series([kind] * len(rows), dtype="str"),
            "delay_s": delay_s,
            "column": pd.Series([None] * len(rows), dtype="str"),
            "original": pd.Series([None] * len(rows), dtype=object),
        }
    )


class _Rows(NamedTuple):
    """Rows on their way through a modifier.

    Attributes:
        frame: The rows.
        arrival_ns: When they arrive now; never decreasing once `joined`.
        number: Their numbers in the source that is modified.
        delay_ns: What was added to their arrival.
        touched: Whether the modifier did anything to them; a copy is touched, its original is not.
    """

    frame: pd.DataFrame
    arrival_ns: Times
    number: Times
    delay_ns: Times
    touched: Flags

    def take(self, which: Any) -> _Rows:
        """Return the rows at a slice, a mask or indices."""
        return _Rows(self.frame.iloc[which], *(values[which] for values in self[1:]))

    def joined(self, later: _Rows) -> _Rows:
        """Return these rows and `later` ones in order of arrival; on a tie, lower numbers go first."""
        frame = pd.concat([self.frame, later.frame]) if len(self.frame) else later.frame
        both = _Rows(frame, *(np.concatenate(pair) for pair in zip(self[1:], later[1:], strict=True)))
        return both.take(np.argsort(both.arrival_ns, kind="stable"))


class _Step(NamedTuple):
    """One block on its way out, and where it stands."""

    rows: _Rows
    position: dict[str, Any]


@dataclass(frozen=True, repr=False)
class Around(Modifiable):
    """A source around a source.

    Attributes:
        source: The source that is modified.
    """

    source: Modifiable
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
    def input_path(self) -> Path | None:
        """The file the rows come from, or None."""
        return self.source.input_path

    @property
    def frame(self) -> pd.DataFrame | None:
        """The frame the rows come from, unmodified, or None."""
        return self.source.frame

    def code(self, input: str) -> str:  # noqa: A002
        """Return the Python expression that makes this source again."""
        return f"{self.source.code(input)}{self._call()}"

    def __repr__(self) -> str:
        """Return the calls that made it."""
        return f"{self.source!r}{self._call()}"

    @abstractmethod
    def _call(self) -> str:
        """Return the call that puts it around its source."""

    @property
    def ledger(self) -> pd.DataFrame:
        """What modifiers did to the rows; see `Modifiable.ledger`."""
        return self._ledger(self._read[0] if self.endless else None)


@dataclass(frozen=True, repr=False)
class Modified(Around):
    """A source whose rows arrive otherwise than those of the source it is around.

    Its position holds the position of the oldest block of which a row is still held back (`source`, whose first row is
    `row`), the block that was read next (`from_row`) and how far the rows had been given out (`after_ns`, `out_row`).
    """

    def open(self, position: Position | None = None) -> Iterator[Block]:
        """Return the blocks from a position on, in order of the new arrivals."""
        for rows, where in self._steps(position):
            self._read[0] = max(self._read[0], where["out_row"] + len(rows.frame))
            yield Block(rows.frame.reset_index(drop=True), rows.arrival_ns, where)

    @abstractmethod
    def _deed(self) -> str:
        """Return the kind that the ledger records."""

    @abstractmethod
    def _changes(self, first: int, arrival_ns: Times) -> tuple[npt.NDArray[np.intp], Times, Flags]:
        """Return, for rows from number `first` on: which go out, with what delay in ns, which touched."""

    def _steps(self, position: Position | None) -> Iterator[_Step]:
        start = position or {"source": None, "row": 0, "from_row": 0, "after_ns": -1, "out_row": 0}
        row, after_ns, out_row = start["row"], start["after_ns"], start["out_row"]
        begun: deque[tuple[int, Position]] = deque()  # blocks with rows that are held back
        held: _Rows | None = None

        def where() -> dict[str, Any]:
            return {
                "source": begun[0][1],
                "row": begun[0][0],
                "from_row": row,
                "after_ns": after_ns,
                "out_row": out_row,
            }

        for block in self.source.open(start["source"]):
            if not len(block.rows):
                continue
            begun.append((row, block.position))
            new = self._modified(block, row)
            again = row < start["from_row"]  # read once more, for the rows of it that were still held back
            if again:
                new = new.take(new.arrival_ns > after_ns)
            held = held.joined(new) if held else new.take(np.argsort(new.arrival_ns, kind="stable"))
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

    def _modified(self, block: Block, row: int) -> _Rows:
        take, delay_ns, touched = self._changes(row, block.arrival_ns)
        return _Rows(block.rows.iloc[take], block.arrival_ns[take] + delay_ns, row + take, delay_ns, touched)

    def _ledger(self, rows: int | None) -> pd.DataFrame:
        number, delay_ns, touched = self._history(rows)
        out_row = np.arange(len(number))
        mine = deeds(out_row[touched], self._deed(), delay_ns[touched] / NS)
        upto = None if rows is None else int(number.max()) + 1 if len(number) else 0
        inner = self.source._ledger(upto)  # noqa: SLF001  its own class
        copies = touched if self._deed() == "duplicate" else np.zeros(len(number), np.bool_)
        moved = pd.Series(out_row[~copies], index=number[~copies])
        if rows is None:  # rows that were dropped at the end stand before the one after the last
            after = pd.Series([len(number)], index=[int(number.max()) + 1 if len(number) else 0])
            moved = pd.concat([moved, after])
        inner = inner[inner["row"].isin(moved.index)]
        inner = inner.assign(row=moved.reindex(inner["row"]).to_numpy(np.int64))
        return pd.concat([inner, mine]).sort_values("row", kind="stable", ignore_index=True)

    def _history(self, rows: int | None) -> tuple[Times, Times, Flags]:
        """Return number, delay and whether touched of the first rows that are given out."""
        seen = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_))]
        for step in self._steps(None) if rows != 0 else ():
            seen.append((step.rows.number, step.rows.delay_ns, step.rows.touched))
            if rows is not None and step.position["out_row"] + len(step.rows.number) >= rows:
                break
        number, delay_ns, touched = (np.concatenate(parts)[:rows] for parts in zip(*seen, strict=True))
        return number, delay_ns, touched


def _let_go(begun: deque[tuple[int, Position]], oldest: int) -> None:
    """Forget the blocks of which nothing from row `oldest` on is needed."""
    while len(begun) > 1 and begun[1][0] <= oldest:
        begun.popleft()


@dataclass(frozen=True, repr=False)
class Late(Modified):
    """Some rows arrive late; made by `source.with_late`.

    Attributes:
        fraction: Share of the rows, from 0 to 1.
        delay: Seconds of source time, or the (lo, hi) it is drawn from, evenly.
        seed: Seed of the draws.
    """

    fraction: float
    delay: float | tuple[float, float]
    seed: int

    def __post_init__(self) -> None:
        _check(self)

    def describe(self) -> str:
        """Return one line for people."""
        return f"{self.source.describe()}, {100 * self.fraction:.3g} % of its rows late by {told_range(self.delay)}"

    def _call(self) -> str:
        return f".with_late({plain(self.fraction)}, {plain_range(self.delay)}, seed={self.seed})"

    def _deed(self) -> str:
        return "late"

    def _changes(self, first: int, arrival_ns: Times) -> tuple[npt.NDArray[np.intp], Times, Flags]:
        chance, share = draws(self.seed, LATE_KEY, first, len(arrival_ns))
        lo, hi = range_ns(self.delay)
        late = chance < self.fraction
        return np.arange(len(late)), np.where(late, lo + np.rint(share * (hi - lo)), 0).astype(np.int64), late


@dataclass(frozen=True, repr=False)
class Duplicates(Modified):
    """Some rows arrive twice; made by `source.with_duplicates`.

    Attributes:
        fraction: Share of the rows, from 0 to 1.
        delay: Seconds of source time from a row to its copy.
        seed: Seed of the draws.
    """

    fraction: float
    delay: float
    seed: int

    def __post_init__(self) -> None:
        _check(self)

    def describe(self) -> str:
        """Return one line for people."""
        return f"{self.source.describe()}, {100 * self.fraction:.3g} % of its rows twice"

    def _call(self) -> str:
        return f".with_duplicates({plain(self.fraction)}, {plain(self.delay)}, seed={self.seed})"

    def _deed(self) -> str:
        return "duplicate"

    def _changes(self, first: int, arrival_ns: Times) -> tuple[npt.NDArray[np.intp], Times, Flags]:
        twice = draws(self.seed, DUPLICATES_KEY, first, len(arrival_ns))[0] < self.fraction
        take = np.repeat(np.arange(len(twice)), 1 + twice)
        copy = np.concatenate([[False], take[1:] == take[:-1]]) if len(take) else np.empty(0, np.bool_)
        return take, np.where(copy, duration_ns(self.delay), 0), copy


def _check(modified: Late | Duplicates) -> None:
    object.__setattr__(modified, "fraction", number(modified.fraction, "fraction", zero=True, most=1))
    check_seed(modified)

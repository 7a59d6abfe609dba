"""A real data set as a stream: its rows arrive when they arrived then.

The arrival of a row is its arrival time minus the first one; a replay so begins at 0, but for a recording, whose times
are kept. Rows stay as they are, but for the times in them when a loop begins again. This room knows what a column of
times means and how files are read, but no clock: `speedup` is carried to the feed.

    frame, files, recording -> tables -> [replayed] -> modifiers -> feed
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mblab.errors import SourceError
from mblab.sources.base import Block, Position, SourceWarning
from mblab.sources.csv import CsvFiles
from mblab.sources.looping import Extent, Measure, moved
from mblab.sources.mending import read_first, rows_read_first
from mblab.sources.modifiers.modified import Modifiable
from mblab.sources.recording import Recording, recording_in
from mblab.support.arguments import plain
from mblab.tables.base import ArrowTable, FrameTable, Table
from mblab.tables.files import FilesTable, open_path
from mblab.tables.parquet import ParquetTable
from mblab.tables.repeated_hour import Ambiguous, firsts, second_passes
from mblab.tables.sorting import SortedTable
from mblab.tables.timestamps import dates_as_numbers, epoch_ns, misfit, plain_times
from mblab.timing.durations import NS
from mblab.timing.times import LATEST_NS, Times

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Replay"]


@dataclass(frozen=True, repr=False)
class Replay(Modifiable):
    """Rows of a frame or a file with the times they arrived; made by `replay`.

    Attributes:
        data: The file, also as `csv` gives it, or the frame in arrival order with all its columns.
        arrival: Column with the arrival times; None: `event_time` serves, or `rate` does.
        event_time: Column with the time things happened; it is in the rows unless `columns` leaves it out.
        speedup: Source seconds that pass in one second of a run.
        rate: Rows per second; the rows then arrive in file order at i/rate.
        columns: Columns the rows have; None means all.
        limit: Number of rows after which it ends; None means all.
        loop: Whether it begins again, and again, when it comes to its end.
        sort: Whether the rows were, or a file will be, put in order of arrival.
        tz: Where naive arrival times were taken; None means UTC.
        unit: What numeric arrival times count in.
        flatten: Whether what stands in objects are columns, such as `device.id`.
        ambiguous: What becomes of arrival times that come twice where clocks are set back.
    """

    data: Path | CsvFiles | pd.DataFrame = field(compare=False)
    arrival: str | None = None
    event_time: str | None = None
    speedup: float = 1.0
    rate: float | None = None
    columns: tuple[str, ...] | None = None
    limit: int | None = None
    loop: bool = False
    sort: bool = False
    tz: str | None = None
    unit: str = "s"
    flatten: bool = False
    ambiguous: Ambiguous = "raise"
    recording: Recording | None = field(init=False, compare=False)
    table: Table = field(init=False, compare=False)
    same: object = field(init=False)  # two replays are equal when they read the same file, or share one frame

    def __post_init__(self) -> None:
        if isinstance(self.data, pd.DataFrame):
            table: Table = FrameTable(self.data)
        elif isinstance(self.data, CsvFiles):
            table = open_path(self.data.path, self.data.types, self.data.dialect)
        else:
            table = open_path(self.data, flatten=self.flatten)
        found = recording_in(table.schema) if isinstance(table, ParquetTable) else None
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "recording", found)
        if found is not None and self.event_time is None:
            object.__setattr__(self, "event_time", found.event_time)
        object.__setattr__(self, "same", self.data if self.frame is None else id(self.data))

    @property
    def name(self) -> str:
        """The file's name, or `DataFrame`."""
        return self.input_path.name if self.input_path is not None else "DataFrame"

    @property
    def endless(self) -> bool:
        """Whether it never ends by itself: a loop without a limit."""
        return self.loop and self.limit is None

    @property
    def input_path(self) -> Path | None:
        """The file the rows come from, or None."""
        if isinstance(self.data, CsvFiles):
            return self.data.path
        return self.data if isinstance(self.data, Path) else None

    @property
    def frame(self) -> pd.DataFrame | None:
        """The frame the rows come from, with all its columns in arrival order, or None."""
        return self.data if isinstance(self.data, pd.DataFrame) else None

    @property
    def num_rows(self) -> int | None:
        """How many rows it has in one round; None when only reading tells."""
        rows = self.table.num_rows
        return rows if rows is None or self.limit is None else min(rows, self.limit)

    @property
    def clock_column(self) -> str | None:
        """The column that tells when rows arrive; None with `rate`."""
        if self.rate is not None:
            return None
        return self.arrival or (self.recording.arrival if self.recording else self.event_time)

    @property
    def keeps_times(self) -> bool:
        """Whether arrivals are kept as the data has them, as in a recording, and not counted from the first one."""
        return self.recording is not None and self.clock_column == self.recording.arrival

    @property
    def kept(self) -> list[str]:
        """The columns the rows have."""
        hidden = self.recording.hidden if self.recording else ()
        return list(self.columns or [c for c in self.table.names if c not in hidden])

    @property
    def timed(self) -> list[str]:
        """The columns whose times move on in a loop: those the rows have, and the event times beside them."""
        return [*self.kept, *self._beside]

    @property
    def _beside(self) -> list[str]:
        """The event-time column, where the rows do not have it."""
        return [] if self.event_time is None or self.event_time in self.kept else [self.event_time]

    @property
    def needed(self) -> list[str] | None:
        """The columns that must be there and sound; None means all."""
        if self.columns is None:
            return None
        return list(dict.fromkeys(c for c in (*self.columns, self.clock_column, self.event_time) if c is not None))

    def open(self, position: Position | None = None) -> Iterator[Block]:
        """Return the blocks from a position on: a frame in one, files in pieces of 100,000 rows.

        A position is {"row": n}, and in a loop {"round": r, "row": n} with n counted within the round.

        Raises:
            SourceError: The file cannot be read, or its arrival times have nulls or step back.
            SourceChanged: The file was written to since `replay` looked at it.
        """
        start = position or {"row": 0}
        return self._blocks(int(start.get("round", 0)), int(start["row"]))

    def describe(self) -> str:
        """Return one line for people."""
        known = "" if self.num_rows is None else f": {self.num_rows:,} rows"
        by = "as recorded" if self.keeps_times else f"by {self.clock_column}"
        pace = f"{plain(self.rate)} rows/s" if self.rate else f"{by}, {plain(self.speedup)} times real speed"
        return f"replay of {self.name}{known}, {pace}{', over and over' if self.loop else ''}"

    def code(self, input: str) -> str:  # noqa: A002
        """Return the Python expression that makes this source again from `input`, a file or a frame."""
        return f"mblab.{self._call(self.data.code(input) if isinstance(self.data, CsvFiles) else input)}"

    def __repr__(self) -> str:
        """Return the call that made it, with a frame in short."""
        if isinstance(self.data, pd.DataFrame):
            return self._call(f"<DataFrame, {len(self.data):,} rows>")
        return self._call(repr(self.data if isinstance(self.data, CsvFiles) else str(self.data)))

    def _call(self, data: str) -> str:
        given = {
            "arrival": self.arrival and repr(self.arrival),
            "event_time": self.event_time and repr(self.event_time),
            "speedup": None if self.speedup == 1 else plain(self.speedup),
            "rate": self.rate and plain(self.rate),
            "columns": self.columns and repr(list(self.columns)),
            "limit": self.limit,
            "loop": self.loop or None,
            "sort": self.sort or None,
            "tz": self.tz and repr(self.tz),
            "unit": None if self.unit == "s" else repr(self.unit),
            "flatten": self.flatten or None,
            "ambiguous": None if self.ambiguous == "raise" else repr(self.ambiguous),
        }
        return f"replay({', '.join([data, *(f'{k}={v}' for k, v in given.items() if v is not None)])})"

    def _blocks(self, turn: int, start: int) -> Iterator[Block]:
        table, columns, beside = self._table, self.kept, self._beside
        extent = self._measured(table) if turn else None
        while True:
            given = turn * extent.rows if extent else 0
            shift = turn * extent.period_ns if extent else 0
            measure = Measure(self)
            row = start
            for frame, times in self._pass(table, start, given):
                rows = frame if self.limit is None else frame.iloc[: max(0, self.limit - given - row)]
                if not len(rows):
                    return
                where = {"round": turn, "row": row} if self.loop else {"row": row}
                if extent and turn:
                    rows = moved(rows, extent.moved, turn)
                kept = rows[columns] if list(rows.columns) != columns else rows
                arrival, happened = times[: len(rows)], rows[beside[0]] if beside else None
                arrival = np.minimum(arrival, LATEST_NS - shift) + shift if shift else arrival
                yield Block(kept, arrival, where, happened)
                if self.loop and extent is None:
                    measure.add(frame, times)
                row += len(rows)
            if not self.loop:
                return
            extent = extent or measure.extent()
            turn, start = turn + 1, 0

    def _pass(self, table: Table, start: int, given: int) -> Iterator[tuple[pd.DataFrame, Times]]:
        """Yield all rows from number `start` on, with their arrivals; `given` rows were in rounds before."""
        timed, clock = self.timed, self.clock_column
        read = timed if clock is None or clock in timed else [*timed, clock]
        zero = 0 if self.keeps_times else self._first_ns(table) if start else None
        row, before = start, None
        for frame in table.read(read, start):
            if row == start:  # all pieces have the same dtypes
                self.refuse_misfits(table, frame)
                if self.frame is None:
                    self.warn_of_dates(frame)
            if clock is None:
                yield frame, _even_ns(given + row, len(frame), self.rate or 1)
            else:
                times = self.times_of(frame, row)
                before = self._check_order(times, frame[clock], row, before)
                zero = times[0] if zero is None else zero
                if int(times[-1]) - int(zero) >= 2**63:
                    raise SourceError(
                        f"column {clock!r} of {self.name} must span less than 292 years, but has "
                        f"{frame[clock].iloc[-1]} in row {row + len(frame) - 1}."
                    )
                yield frame, times - zero
            row += len(frame)

    def refuse_misfits(self, table: Table, frame: pd.DataFrame) -> None:
        """Name the value that makes a column of times one of text, wherever it stands."""
        if self.frame is not None:
            return
        for name in {self.clock_column, self.event_time} & {*map(str, frame.columns)}:
            if pd.api.types.is_string_dtype(frame[name].dtype):
                said = misfit(part[name] for part in table.read([str(name)]))
                if said:
                    raise said

    def warn_of_dates(self, frame: pd.DataFrame) -> None:
        """Say which columns of times hold numbers that look like dates; rows are replayed all the same."""
        for name in dict.fromkeys([self.clock_column, self.event_time]):
            said = dates_as_numbers(frame[name], self._unit) if name in frame.columns else None
            if said:
                warnings.warn(said if self.frame is not None else read_first(said), SourceWarning, stacklevel=3)

    def times_of(self, frame: pd.DataFrame, row: int = 0) -> Times:
        """Return the arrival times of rows in ns, as the column has them."""
        inferred = self.ambiguous == "infer" and len(frame) > 0  # no rows are asked about before a run, which reads all
        first = firsts(self._second, row, len(frame)) if inferred else self._known_first
        with nullcontext() if self.frame is not None else rows_read_first():
            return epoch_ns(frame[self.clock_column], tz=self.tz, unit=self._unit, row=row, first=first)

    @property
    def _unit(self) -> str:
        return "ns" if self.keeps_times else self.unit

    @property
    def _known_first(self) -> bool | None:
        return self.ambiguous if isinstance(self.ambiguous, bool) else None

    @cached_property
    def _second(self) -> tuple[tuple[int, int], ...]:
        """The rows that are in the second pass of an hour that comes twice, by the order of all rows."""
        clock = str(self.clock_column)
        return second_passes((plain_times(part[clock]) for part in self._table.read([clock])), str(self.tz))

    @cached_property
    def _table(self) -> Table:
        """The rows in the order in which they are read: sorted, or the files by their first arrival."""
        table, clock = self.table, self.clock_column
        if isinstance(table, FilesTable):
            table.check_names(self.needed)
        if clock is None or not isinstance(table, ArrowTable):
            return table
        if self.sort:
            return SortedTable(table, clock, self.tz, self._unit, self.needed, self._known_first)
        if isinstance(table, FilesTable):
            alone = (replace(table, parts=(part,)) if clock in table.keys else part for part in table.full)
            heads = [(next(part.read([clock]), None), part) for part in alone]
            first = self.ambiguous == "infer" or self._known_first  # files that begin in an hour that comes twice
            begun = [
                (int(epoch_ns(frame[clock].iloc[:1], tz=self.tz, unit=self._unit, first=first)[0]), i)
                for i, (frame, _) in enumerate(heads)
                if frame is not None
            ]
            return replace(table, parts=tuple(table.full[i] for _, i in sorted(begun)))
        return table

    def _measured(self, table: Table) -> Extent:
        """Return what one round measures, by reading what is needed for it."""
        measure = Measure(self)
        for frame, times in self._pass(table, 0, 0):
            measure.add(frame, times)
        return measure.extent()

    def _first_ns(self, table: Table) -> int | None:
        if self.clock_column is None:
            return None
        return int(self.times_of(next(table.read([self.clock_column])).iloc[:1])[0])

    def _check_order(
        self, times: Times, shown_times: pd.Series, row: int, before: tuple[int, object] | None
    ) -> tuple[int, object]:
        """Return the last time, as ns and as it is written, or raise at the first one that steps back."""
        last = before or (int(times[0]), shown_times.iloc[0])
        back = np.flatnonzero(times < np.concatenate([[last[0]], times[:-1]]))  # a difference could overflow
        if back.size:
            at = int(back[0])
            earlier = shown_times.iloc[at - 1] if at else last[1]
            raise SourceError(
                f"column {shown_times.name!r} of {self.name} must not step back, but row {row + at} (from 0) has "
                f"{shown_times.iloc[at]} after {earlier}; pass sort=True, or sort the file."
            )
        return int(times[-1]), shown_times.iloc[-1]


def _even_ns(first: int, length: int, rate: float) -> Times:
    """Return round(i/rate) ns of `length` rows from number `first` on."""
    step = NS / rate
    if step.is_integer() and (first + length) * step < LATEST_NS:  # one pass over the rows instead of six
        return np.arange(first, first + length, dtype=np.int64) * int(step)
    times: Times = np.minimum(np.rint(np.arange(first, first + length) * float(NS) / rate), LATEST_NS).astype(np.int64)
    return times

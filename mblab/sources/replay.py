"""A real data set as a stream: its rows arrive when they arrived then.

The arrival of a row is its arrival time minus the first one; a replay so begins at 0. Rows stay as they are. This room
knows what a column of times means and how files are read, but no clock: `speedup` is carried to the feed.

    frame or file -> files, timestamps -> [replay] -> disorder -> feed
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mblab.arrivals import check_number, check_whole, plain
from mblab.durations import NS
from mblab.errors import ColumnError, SettingError, SettingTypeError, SourceError, missing_column, shown
from mblab.sources.base import Block, Position, Times
from mblab.sources.disorder import Modifiable
from mblab.sources.files import FrameTable, Table, open_table, tidy_frame
from mblab.sources.timestamps import check_tz, check_unit, epoch_ns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Replay", "SourceWarning", "replay"]


class SourceWarning(UserWarning):
    """A source was used otherwise than it came, such as sorted."""


@dataclass(frozen=True, repr=False)
class Replay(Modifiable):
    """Rows of a frame or a file with the times they arrived; made by `replay`.

    Attributes:
        data: The file, or the frame in arrival order with all its columns.
        arrival: Column with the arrival times; None: `event_time` serves, or `rate` does.
        event_time: Column with the time things happened; it is in the rows unless `columns` leaves it out.
        speedup: Source seconds that pass in one second of a run.
        rate: Rows per second; the rows then arrive in file order at i/rate.
        columns: Columns the rows have; None means all.
        limit: Number of rows after which it ends; None means all.
        sort: Whether the rows were, or a file will be, put in order of arrival.
        tz: Where naive arrival times were taken; None means UTC.
        unit: What numeric arrival times count in.
    """

    data: Path | pd.DataFrame = field(compare=False)
    arrival: str | None = None
    event_time: str | None = None
    speedup: float = 1.0
    rate: float | None = None
    columns: tuple[str, ...] | None = None
    limit: int | None = None
    sort: bool = False
    tz: str | None = None
    unit: str = "s"
    table: Table = field(init=False, compare=False)
    same: object = field(init=False)  # two replays are equal when they read the same file, or share one frame

    def __post_init__(self) -> None:
        table = FrameTable(self.data) if isinstance(self.data, pd.DataFrame) else open_table(self.data)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "same", self.data if isinstance(self.data, Path) else id(self.data))

    @property
    def name(self) -> str:
        """The file's name, or `DataFrame`."""
        return self.data.name if isinstance(self.data, Path) else "DataFrame"

    @property
    def endless(self) -> bool:
        """Whether it never ends by itself: never."""
        return False

    @property
    def input_path(self) -> Path | None:
        """The file the rows come from, or None."""
        return self.data if isinstance(self.data, Path) else None

    @property
    def frame(self) -> pd.DataFrame | None:
        """The frame the rows come from, with all its columns in arrival order, or None."""
        return self.data if isinstance(self.data, pd.DataFrame) else None

    @property
    def clock_column(self) -> str | None:
        """The column that tells when rows arrive; None with `rate`."""
        return None if self.rate is not None else self.arrival or self.event_time

    def open(self, position: Position | None = None) -> Iterator[Block]:
        """Return the blocks from a position {"row": n} on: a frame in one, a file in pieces of 100,000 rows.

        Raises:
            SourceError: The file cannot be read, or its arrival times have nulls or step back.
            SourceChanged: The file was written to since `replay` looked at it.
        """
        return self._blocks(0 if position is None else int(position["row"]))

    def describe(self) -> str:
        """Return one line for people."""
        rows = self.table.num_rows
        known = "" if rows is None else f": {rows if self.limit is None else min(rows, self.limit):,} rows"
        pace = (
            f"{plain(self.rate)} rows/s"
            if self.rate
            else f"by {self.clock_column}, {plain(self.speedup)} times real speed"
        )
        return f"replay of {self.name}{known}, {pace}"

    def code(self, input: str) -> str:  # noqa: A002
        """Return the Python expression that makes this source again from `input`, a file or a frame."""
        return f"mblab.{self._call(input)}"

    def __repr__(self) -> str:
        """Return the call that made it, with a frame in short."""
        rows = f"<DataFrame, {len(self.data):,} rows>" if isinstance(self.data, pd.DataFrame) else repr(str(self.data))
        return self._call(rows)

    def _call(self, data: str) -> str:
        given = {
            "arrival": self.arrival and repr(self.arrival),
            "event_time": self.event_time and repr(self.event_time),
            "speedup": None if self.speedup == 1 else plain(self.speedup),
            "rate": self.rate and plain(self.rate),
            "columns": self.columns and repr(list(self.columns)),
            "limit": self.limit,
            "sort": self.sort or None,
            "tz": self.tz and repr(self.tz),
            "unit": None if self.unit == "s" else repr(self.unit),
        }
        return f"replay({', '.join([data, *(f'{k}={v}' for k, v in given.items() if v is not None)])})"

    def _blocks(self, start: int) -> Iterator[Block]:
        table = self._sorted_file() if self.sort and isinstance(self.data, Path) else self.table
        kept = list(self.columns or self.table.sample.columns)
        clock = self.clock_column
        read = kept if clock is None or clock in kept else [*kept, clock]
        zero = self._first_ns(table) if start else None
        row, before = start, None
        for frame in table.read(read, start):
            rows = frame if self.limit is None else frame.iloc[: max(0, self.limit - row)]
            if not len(rows):
                return
            if clock is None:
                times = _even_ns(row, len(rows), self.rate or 1)
            else:
                times = epoch_ns(rows[clock], tz=self.tz, unit=self.unit, row=row)
                before = self._check_order(times, rows[clock], row, before)
                zero = times[0] if zero is None else zero
                times = times - zero
            yield Block(rows[kept] if len(read) > len(kept) else rows, times, {"row": row})
            row += len(rows)

    def _first_ns(self, table: Table) -> Any:
        if self.clock_column is None:
            return None
        first = next(table.read([self.clock_column])).iloc[:1]
        return epoch_ns(first[self.clock_column], tz=self.tz, unit=self.unit)[0]

    def _check_order(self, times: Times, shown_times: pd.Series, row: int, before: tuple[int, Any] | None) -> Any:
        """Return the last time, as ns and as it is written, or raise at the first one that steps back."""
        last = before or (int(times[0]), shown_times.iloc[0])
        back = np.flatnonzero(np.diff(times, prepend=last[0]) < 0)
        if back.size:
            at = int(back[0])
            earlier = shown_times.iloc[at - 1] if at else last[1]
            raise SourceError(
                f"column {shown_times.name!r} of {self.name} must not step back, but row {row + at} (from 0) has "
                f"{shown_times.iloc[at]} after {earlier}; pass sort=True, which sorts in memory, or sort the file."
            )
        return int(times[-1]), shown_times.iloc[-1]

    def _sorted_file(self) -> FrameTable:
        pieces = list(self.table.read(list(self.table.sample.columns)))
        whole = pd.concat(pieces, ignore_index=True) if pieces else self.table.sample
        return FrameTable(_in_order(whole, self.clock_column or "", self.tz, self.unit)[0])


def replay(
    data: Any,
    *,
    arrival: str | None = None,
    event_time: str | None = None,
    speedup: float = 1.0,
    rate: float | None = None,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    sort: bool = False,
    tz: str | None = None,
    unit: str = "s",
) -> Replay:
    """Return a data set as a source.

    Args:
        data: DataFrame, Arrow table or record batch, or the path of a .parquet or .csv file. Later changes to a frame
            do not show; of its index, named levels become columns and others are dropped.
        arrival: Column that tells when the lab could first see a row; without it `event_time` serves.
        event_time: Column that tells when a row happened.
        speedup: Source seconds that pass in one second of a run.
        rate: Rows per second, for data without times: row i arrives at i/rate, in the data's order.
        columns: Columns that the rows keep; the arrival column need not be one of them.
        limit: Number of rows, in arrival order, after which the replay ends.
        sort: Sort by arrival (stable): a frame without the warning, a file in memory.
        tz: Time zone that timestamps without one were taken in; None means UTC.
        unit: What numeric arrival times count in: s ms us ns min h.

    Raises:
        SettingError: An argument is out of its range, or there is nothing to take arrival times from.
        ColumnError: A column is not there.
        SourceError: The data is empty, cannot be read, or has arrival times that cannot be used; what only reading a
            file tells is raised when it is opened.

    >>> trips = pd.DataFrame({"seen": [10.0, 12.5], "km": [1, 2]})
    >>> block = next(replay(trips, arrival="seen").open())
    >>> block.arrival_ns.tolist()
    [0, 2500000000]
    """
    if rate is not None:
        _check_rate(rate, arrival, speedup, sort)
    if not isinstance(sort, bool | np.bool_):
        raise SettingTypeError(f"sort must be True or False, got {shown(sort)}.")
    source = Replay(
        _data(data),
        arrival=_column_name(arrival, "arrival"),
        event_time=_column_name(event_time, "event_time"),
        speedup=check_number(speedup, "speedup"),
        rate=None if rate is None else check_number(rate, "rate"),
        columns=_column_names(columns),
        limit=None if limit is None else check_whole(limit, "limit", 1),
        sort=bool(sort),
        tz=check_tz(tz),
        unit=check_unit(unit),
    )
    _check_columns(source)
    if source.frame is None or source.clock_column is None:
        return source
    frame, moved = _in_order(source.frame, source.clock_column, source.tz, source.unit)
    if not moved:
        return source
    if not sort:
        warnings.warn(
            f"column {source.clock_column!r} steps back in {moved:,} row(s), so the rows were sorted by it (stable); "
            "pass sort=True to do so without this warning.",
            SourceWarning,
            stacklevel=2,
        )
    return replace(source, data=frame)


def _data(data: Any) -> Path | pd.DataFrame:
    """Return the path, or the data as a frame of our own."""
    if isinstance(data, str | Path):
        return Path(data).expanduser()
    if isinstance(data, pd.DataFrame):
        return tidy_frame(data)
    import pyarrow as pa

    if isinstance(data, pa.Table | pa.RecordBatch):
        return tidy_frame(data.to_pandas(date_as_object=False))
    raise SettingTypeError(
        f"data must be a DataFrame, an Arrow table, or the path of a .parquet or .csv file, got {shown(data)} "
        f"({type(data).__name__})."
    )


def _column_name(value: object, knob: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise SettingTypeError(f"{knob} must be the name of a column, got {shown(value)} ({type(value).__name__}).")
    return value


def _column_names(values: object) -> tuple[str, ...] | None:
    if values is None:
        return None
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise SettingTypeError(f"columns must be a list of column names, got {shown(values)}.")
    names = tuple(_column_name(value, "columns") or "" for value in values)
    if not names or len(set(names)) < len(names):
        raise SettingError(f"columns must name at least one column, each once, got {shown(list(names))}.")
    return names


def _check_rate(rate: object, arrival: object, speedup: object, sort: object) -> None:
    for knob, given in (("arrival", arrival is not None), ("speedup", speedup != 1), ("sort", sort is True)):
        if given:
            raise SettingError(
                f"rate={shown(rate)} replays rows evenly in their order, so {knob}= cannot hold; leave one out."
            )


def _check_columns(source: Replay) -> None:
    """Raise when the data has no rows, or not the columns that are asked for."""
    sample = source.table.sample
    twice = sorted({str(c) for c in sample.columns[sample.columns.duplicated()]})
    if twice:
        raise ColumnError(f"{source.name} must name each column once, but has {twice} more than once; rename them.")
    asked = [
        ("arrival", source.arrival),
        ("event_time", source.event_time),
        *(("columns", c) for c in source.columns or ()),
    ]
    for knob, name in asked:
        if name is not None and name not in sample.columns:
            raise missing_column(knob, name, sample.columns)
    if source.table.num_rows == 0:
        raise SourceError(f"{source.name} has no rows to replay; it has the columns {shown(list(sample.columns))}.")
    if source.rate is None and source.clock_column is None:
        likely = [str(c) for c, dtype in sample.dtypes.items() if pd.api.types.is_datetime64_any_dtype(dtype)]
        raise SettingError(
            f"replay() must know when rows arrive: name arrival= or event_time= (columns that hold times: {likely}), "
            "or give rate= in rows per second."
        )
    if source.frame is None and source.clock_column is not None:
        epoch_ns(sample[source.clock_column], tz=source.tz, unit=source.unit)


def _in_order(frame: pd.DataFrame, clock: str, tz: str | None, unit: str) -> tuple[pd.DataFrame, int]:
    """Return the frame in order of arrival, and how many rows step back in it as it is."""
    times = epoch_ns(frame[clock], tz=tz, unit=unit)
    moved = int((np.diff(times) < 0).sum())
    return (frame.iloc[np.argsort(times, kind="stable")].reset_index(drop=True) if moved else frame), moved


def _even_ns(first: int, length: int, rate: float) -> Times:
    times: Times = np.rint(np.arange(first, first + length) * float(NS) / rate).astype(np.int64)
    return times

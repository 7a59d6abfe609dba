"""What a replay is asked for: the arguments checked, and the data with them, before the first row is read.

frame, files, knobs -> [replay] -> replayed
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from mblab.errors import SettingError, SettingTypeError, SourceError, missing_column, shown
from mblab.sources.base import SourceWarning
from mblab.sources.csv import CsvFiles
from mblab.sources.mending import rows_read_first
from mblab.sources.replayed import Replay
from mblab.support.arguments import column_name, column_names, flag, number, one_of, user_path, whole
from mblab.tables.base import Table, each_once, tidy_frame
from mblab.tables.files import ENDINGS, FilesTable
from mblab.tables.flat import flat_frame
from mblab.tables.parquet import ParquetTable
from mblab.tables.repeated_hour import Ambiguous, check_ambiguous
from mblab.tables.rows import frame_of_any, has_unnamed_times
from mblab.tables.timestamps import UNITS, check_tz, plain_times

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pyarrow as pa

    from mblab.tables.rows import ArrowStream

    Data: TypeAlias = CsvFiles | str | os.PathLike[str] | pd.DataFrame | pa.RecordBatch | ArrowStream

__all__ = ["Replay", "SourceWarning", "replay"]


def replay(
    data: Data,
    *,
    arrival: str | None = None,
    event_time: str | None = None,
    speedup: float = 1.0,
    rate: float | None = None,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    loop: bool = False,
    sort: bool = False,
    tz: str | None = None,
    unit: str = "s",
    flatten: bool = False,
    ambiguous: Ambiguous = "raise",
) -> Replay:
    """Return a data set as a source.

    Args:
        data: DataFrame (pandas, or any that speaks Arrow), Arrow table or record batch, or the path of a .parquet,
            .csv, .jsonl or .ndjson file (or .json with one object a line), text also packed as .csv.gz, .zst or .bz2;
            `mblab.sources.csv(path, sep=";")` for CSV that is written otherwise, or to name types. Wildcards take many
            files, all with the same columns, in order of their first arrivals (with `rate`: by name, part-2 before
            part-10), and a folder all that are in it and below; keys in the names of folders, such as `region=eu`, are
            columns too, of the types that `pandas.read_parquet(folder)` gives, unless the files have such a column.
            Later changes to a frame do not show; of its index, named levels become columns and others are dropped. Of a
            CSV file, empty values, NA, NaN, null and their like are null, but where they stand in quotes in a column of
            text. A column has the one type that fits all of it, and is text where a number would not keep the digits:
            of 081109, a phone number's +49, or an id longer than a float's digits.
        arrival: Column that tells when the lab could first see a row; without it `event_time` serves. The file of
            `mblab.record` needs neither: it has its own.
        event_time: Column that tells when a row happened.
        speedup: Source seconds that pass in one second of a run.
        rate: Rows per second, for data without times: row i arrives at i/rate, in the data's order.
        columns: Columns that the rows keep; the arrival column need not be one of them.
        limit: Number of rows, in arrival order, after which the replay ends.
        loop: Begin again at the end, for ever (or up to `limit`): each round arrives later than the one before by the
            span of the arrivals and one mean gap. Event times and arrival times in the rows move on by as much, so that
            time does not step back; with `rate` event times move on by their own span.
        sort: Sort by arrival (stable): a frame without the warning; files of more than a million rows through sorted
            runs in a temporary folder, so memory stays flat.
        tz: Time zone that timestamps without one were taken in; None means UTC.
        unit: What numeric arrival times count in: s ms us ns min h.
        flatten: Make columns such as `device.id` of what stands in objects: JSON's, Arrow's structs, dicts in a frame;
            lists, and Arrow's maps, stay in one cell. Without it, objects are dicts and lists are lists.
        ambiguous: What becomes, with `tz`, of local times that come twice where clocks are set back, in pandas' words:
            `raise` refuses them; `infer` tells the first pass of that hour from the second by the order of the rows,
            which step back or repeat once in it; True takes all for the first, in summer time, False for the second.

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
    sort, loop, flatten = flag(sort, "sort"), flag(loop, "loop"), flag(flatten, "flatten")
    named = rate is not None or arrival is not None or event_time is not None
    rows = _data(data, named)
    source = Replay(
        flat_frame(rows, "the rows") if flatten and isinstance(rows, pd.DataFrame) else rows,
        arrival=column_name(arrival, "arrival"),
        event_time=column_name(event_time, "event_time"),
        speedup=number(speedup, "speedup"),
        rate=None if rate is None else number(rate, "rate"),
        columns=column_names(columns),
        limit=None if limit is None else whole(limit, "limit", least=1),
        loop=loop,
        sort=sort,
        tz=check_tz(tz),
        unit=one_of(unit, "unit", [*UNITS]),
        flatten=flatten,
        ambiguous=check_ambiguous(ambiguous, tz, sort),
    )
    _check_columns(source)
    if source.frame is None:
        return source
    frame, moved = (source.frame, 0) if source.clock_column is None else _in_order(source, source.frame)
    source.warn_of_dates(frame)
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


def _data(data: Data, named: bool) -> Path | CsvFiles | pd.DataFrame:
    """Return the path, or the data as a frame of our own; `named` is whether it was said when rows arrive."""
    if isinstance(data, CsvFiles):
        return data
    if isinstance(data, str | Path):
        return user_path(data, "data")
    frame = frame_of_any(data)
    if frame is None:
        raise SettingTypeError(
            f"data must be a DataFrame, an Arrow table, or the path of a {ENDINGS} file, got {shown(data)} "
            f"({type(data).__name__})."
        )
    if not named and has_unnamed_times(frame):
        raise SettingError(
            "replay() must know when rows arrive: the index holds times but has no name, so give it one and name it, "
            "replay(rows.rename_axis('time'), arrival='time')."
        )
    return tidy_frame(frame)


def _check_rate(rate: float, arrival: str | None, speedup: float, sort: bool) -> None:
    for knob, given in (("arrival", arrival is not None), ("speedup", speedup != 1), ("sort", sort is True)):
        if given:
            raise SettingError(
                f"rate={shown(rate)} replays rows evenly in their order, so {knob}= cannot hold; leave one out."
            )


def _check_columns(source: Replay) -> None:
    """Raise when the data has no rows, or not the columns that are asked for."""
    sample = source.table.sample
    needed = source.needed
    each_once([c for c in sample.columns if needed is None or c in needed], source.name)
    if isinstance(source.table, FilesTable) and isinstance(source.table.parts[0], ParquetTable):
        source.table.check_names(needed)
        source.table.check_types(needed or source.table.names)
    if source.table.num_rows == 0:
        raise SourceError(f"{source.name} has no rows to replay; it has the columns {shown(list(sample.columns))}.")
    if not len(sample.columns) and not source.table.names:
        raise SourceError(f"{source.name} has no columns, so there is nothing to replay.")
    asked = [
        ("arrival", source.arrival),
        ("event_time", source.event_time),
        *(("columns", c) for c in source.columns or ()),
        *(("types", c) for c in (source.data.types if isinstance(source.data, CsvFiles) else ())),
    ]
    for knob, name in asked:
        if name is not None and name not in sample.columns and name not in source.table.names:
            raise missing_column(knob, name, source.table.names)
    if source.rate is None and source.clock_column is None:
        if any(isinstance(part, ParquetTable) and part.has_unnamed_times for part in _parts(source.table)):
            raise SettingError(
                f"replay() must know when rows arrive: the index in {source.name} holds times but has no name, so give "
                "it one and name it, replay(pd.read_parquet(path).rename_axis('time'), arrival='time')."
            )
        likely = [str(c) for c, dtype in sample.dtypes.items() if pd.api.types.is_datetime64_any_dtype(dtype)]
        raise SettingError(
            f"replay() must know when rows arrive: name arrival= or event_time= (columns that hold times: {likely}), "
            "or give rate= in rows per second."
        )
    source.refuse_misfits(source.table, sample)
    clock, happened = source.clock_column, source.event_time
    if source.frame is None and clock is not None and clock in sample.columns:
        source.times_of(_beginning(source.table, sample, clock))
    if happened is not None and happened in sample.columns:
        with nullcontext() if source.frame is not None else rows_read_first():
            rows = _beginning(source.table, sample, happened) if source.frame is None else source.frame
            plain_times(rows[happened])


def _parts(table: Table) -> tuple[Table, ...]:
    return table.parts[:1] if isinstance(table, FilesTable) else (table,)


def _beginning(table: Table, sample: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return no rows, or the first ones where the column is of text, so that one can be shown."""
    if not pd.api.types.is_string_dtype(sample[column].dtype):
        return sample
    return next(table.read([column]), sample)


def _in_order(source: Replay, frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the frame in order of arrival, and how many rows step back in it as it is."""
    times = source.times_of(frame)
    moved = int((times[1:] < times[:-1]).sum())
    return (frame.iloc[np.argsort(times, kind="stable")].reset_index(drop=True) if moved else frame), moved

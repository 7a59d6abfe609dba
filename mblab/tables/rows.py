"""What a user's function may return as rows: a frame, an Arrow table, a list of dicts, a dict of columns.

returned value -> [rows] -> poll, steps
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray

from mblab.errors import SourceError, shown
from mblab.tables.arrow import as_pandas, said
from mblab.tables.base import EXACT, tidy_frame

__all__ = [
    "ArrowStream",
    "as_frame",
    "frame_of_any",
    "frame_of_columns",
    "frame_of_dicts",
    "has_unnamed_times",
    "is_column",
    "joined_rows",
    "plain_column",
    "stacked",
]

ARROW_WAYS: Final = ("__arrow_c_stream__", "__arrow_c_array__")
FLOATS: Final = (np.dtype(np.float64), pd.Float64Dtype())
SINGLE: Final = frozenset({int, float, str, bool, type(None), bytes, pd.Timestamp, pd.Timedelta, dt.datetime, dt.date})


def frame_of_any(value: object) -> pd.DataFrame | None:
    """Return a frame of pandas, or of any library that speaks Arrow, as one of pandas; None when it is none.

    A frame speaks Arrow that hands itself over by `__arrow_c_stream__` (pyarrow's tables and readers, Polars, DuckDB)
    or `__arrow_c_array__` (a record batch). A reader is read to its end.

    Raises:
        SourceError: It holds what pandas cannot, or reading it fails.
    """
    if isinstance(value, pd.DataFrame):
        return value
    if isinstance(value, pd.Series | type) or not any(hasattr(value, way) for way in ARROW_WAYS):
        return None
    import pyarrow as pa

    try:
        if hasattr(value, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(value)
        else:
            batch = pa.record_batch(value)
            reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except (pa.ArrowInvalid, TypeError):  # a column alone
        return None
    try:
        table = reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"the rows of {type(value).__name__} cannot be read: {said(error)}.") from None
    return as_pandas(table)


def has_unnamed_times(frame: pd.DataFrame) -> bool:
    """Return whether the index holds times, but has no name, so that it would be dropped without a word."""
    index = frame.index
    return isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) and index.name is None


class ArrowStream(Protocol):
    """A table of any library that hands itself over as Arrow does: pyarrow, Polars, DuckDB."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def as_frame(value: object, who: str, *, unnamed_times: bool = False) -> pd.DataFrame:
    """Return rows as a frame with a RangeIndex; None is no rows.

    Args:
        value: DataFrame, any frame that speaks Arrow, list of dicts (rows), dict of equal lists (columns), dict of
            values of which some are single (one row, whose lists are cells), or None.
        who: Whose value it is, for the message.
        unnamed_times: Whether an index of times without a name may be dropped, as any other without one is.

    Raises:
        SourceError: It is anything else, or would lose an index of times.

    >>> as_frame([{"a": 1}, {"a": 2}], "fn")["a"].tolist()
    [1, 2]
    """
    if value is None:
        return pd.DataFrame()
    frame = frame_of_any(value)
    if frame is not None:
        if not unnamed_times and has_unnamed_times(frame):
            raise SourceError(
                f"{who}() returned rows whose index holds times but has no name, so that they would be lost; give it "
                "one, rows.rename_axis('time'), or drop it, rows.reset_index(drop=True)."
            )
        return tidy_frame(frame)
    rule = f"{who}() must return rows: a DataFrame, an Arrow table, a list of dicts, a dict of columns, or None"
    if isinstance(value, Mapping):
        columns = {str(name): part for name, part in value.items()}
        if not columns:
            return pd.DataFrame()
        if not all(map(is_column, columns.values())):
            whole = [name for name, part in columns.items() if isinstance(part, pd.DataFrame | pd.Series | pd.Index)]
            if whole:
                raise SourceError(f"{rule}, but the dict has a column in {whole[0]!r} beside single values.")
            return frame_of_dicts([columns])
        try:
            made = frame_of_columns(columns)
        except (ValueError, TypeError, SourceError) as error:
            raise SourceError(f"{rule}, but the dict's columns make no frame: {said(error)}.") from None
        series = [part for part in columns.values() if isinstance(part, pd.Series)]
        if series and all(part.index.equals(series[0].index) for part in series) and len(series[0]) == len(made):
            return as_frame(made.set_axis(series[0].index), who, unnamed_times=unnamed_times)
        return made
    if isinstance(value, list | tuple) and all(isinstance(row, Mapping) for row in value):
        return frame_of_dicts(value)
    raise SourceError(f"{rule}, got {shown(value)} ({type(value).__name__}).")


def is_column(value: object) -> bool:
    """Return whether a value in a dict is a column: a list, an array or series of any library; not one of 0 dimensions.

    >>> is_column([1]), is_column(np.array([1])), is_column(np.float64(1)), is_column("text"), is_column({"a": 1})
    (True, True, False, False, False)
    """
    if type(value) in SINGLE or isinstance(value, np.generic | Mapping | pd.DataFrame):
        return False
    if isinstance(value, list | tuple | pd.Series | pd.Index | ExtensionArray):
        return True
    if hasattr(value, "__array__"):
        return int(np.ndim(value)) > 0
    return not isinstance(value, type) and any(hasattr(value, way) for way in ARROW_WAYS)


def frame_of_columns(columns: Mapping[Any, Any]) -> pd.DataFrame:
    """Return columns as a frame, by place and not by index; a null leaves large whole numbers as they are.

    Raises:
        ValueError: They differ in length, or one has more than one dimension.
        SourceError: pandas cannot hold one.
    """
    held = {name: plain_column(part) for name, part in columns.items()}
    return _whole(pd.DataFrame(held), lambda name: held[name])


def frame_of_dicts(rows: Sequence[Mapping[Any, Any]]) -> pd.DataFrame:
    """Return rows as a frame; what one lacks is null, which leaves large whole numbers as they are.

    >>> frame_of_dicts([{"id": 2**60 + 1}, {"v": 1}])["id"].tolist()
    [1152921504606846977, <NA>]
    """
    if len(rows) == 1:  # as most steps give: looking at its values takes a hundredth of looking at the frame
        return pd.DataFrame([{k: v.item() if _is_point(v) else v for k, v in rows[0].items()}])
    return _whole(pd.DataFrame(list(rows)), lambda name: [row.get(name) for row in rows])


def _is_point(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 0


def plain_column(part: Any) -> Any:
    """Return a column of any library as one that pandas takes by place."""
    if isinstance(part, pd.Series):
        return part.array
    if isinstance(part, list | tuple | np.ndarray | pd.Index | ExtensionArray):
        return part
    if any(hasattr(part, way) for way in ARROW_WAYS):
        import pyarrow as pa

        as_arrow = pa.chunked_array(part) if hasattr(part, "__arrow_c_stream__") else pa.array(part)
        return as_pandas(pa.table([as_arrow], names=["column"]))["column"].array
    return np.asarray(part)


def _whole(frame: pd.DataFrame, values_of: Callable[[Any], Any]) -> pd.DataFrame:
    """Return a frame with whole numbers beyond 2**53 that are no floats for a null beside them, and without points."""
    for name, dtype in frame.dtypes.items():
        if dtype == np.float64:
            if _is_wide(frame[name]) and (kept := _kept(values_of(name))) is not None:
                frame[name] = kept
        elif isinstance(dtype, np.dtype) and dtype.kind == "O" and any(map(_is_point, frame[name])):
            frame[name] = [v.item() if _is_point(v) else v for v in frame[name]]
    return frame


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return frames one below the other, with a RangeIndex; what one lacks is null.

    Whole numbers beyond 2**53 that meet nulls, or other whole numbers that are held as floats for a null beside them,
    are Int64 and no floats.

    >>> stacked([pd.DataFrame({"id": [2**60 + 1]}), pd.DataFrame({"v": [1]})])["id"].tolist()
    [1152921504606846977, <NA>]
    """
    whole = joined_rows(frames)
    for at, dtype in enumerate(whole.dtypes):
        if dtype not in FLOATS or not _is_wide(whole.iloc[:, at]):
            continue
        name = whole.columns[at]
        parts = [frame[name] if name in frame else pd.Series(pd.NA, frame.index, "Int64") for frame in frames]
        if any(part.ndim > 1 for part in parts) or not any(
            part.dtype.kind in "iu" and _is_wide(part) for part in parts
        ):
            continue
        try:
            whole[name] = pd.concat([part.astype("Int64") for part in parts], ignore_index=True)
        except (TypeError, ValueError, OverflowError):  # fractions, or beyond int64: they are measurements
            continue
    return whole


def joined_rows(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return frames one below the other, as pandas joins them, also where half a character is in a column's name.

    >>> half = pd.DataFrame([[1]], columns=pd.Index([chr(0xD800)], dtype=object))
    >>> joined_rows([half, pd.DataFrame({"v": [1]})]).shape
    (2, 2)
    """
    try:
        return pd.concat(frames, ignore_index=True)
    except UnicodeEncodeError:  # pandas makes one index of text of all names
        names: list[Any] = list(dict.fromkeys(name for frame in frames for name in frame))
        places = {name: at for at, name in enumerate(names)}
        whole = pd.concat([frame.set_axis([places[n] for n in frame], axis=1) for frame in frames], ignore_index=True)
        return whole.set_axis(pd.Index(names, dtype="object"), axis=1)


def _is_wide(column: pd.Series) -> bool:
    """Return whether a column of numbers holds one from which on float64 rounds whole numbers."""
    return bool((np.abs(column.to_numpy(np.float64, na_value=np.nan)) >= EXACT).any())


def _kept(values: Any) -> pd.Series | None:
    """Return whole numbers beside nulls in a type that holds them; None when they are something else."""
    if not isinstance(values, list | tuple):
        return None
    plain = [None if value is pd.NA else value for value in values]
    if not all(value is None or type(value) is int or isinstance(value, np.integer) for value in plain):
        return None
    plain = [None if value is None else int(value) for value in plain]
    known = [value for value in plain if value is not None]
    kind = "Int64" if max(map(abs, known)) < 2**63 else "UInt64" if 0 <= min(known) <= max(known) < 2**64 else "object"
    return pd.Series(plain, dtype=kind)

"""What a user's function may return as rows: a frame, an Arrow table, a list of dicts, a dict of columns.

returned value -> [rows] -> poll
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pandas as pd

from mblab.errors import SourceError, shown
from mblab.tables.arrow import as_pandas, said
from mblab.tables.base import tidy_frame

__all__ = ["ArrowStream", "as_frame", "frame_of_any", "has_unnamed_times"]

ARROW_WAYS = ("__arrow_c_stream__", "__arrow_c_array__")


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
        single = [not isinstance(part, list | tuple) and not hasattr(part, "__array__") for part in columns.values()]
        if any(single) or not columns:
            whole = [name for name, part in columns.items() if isinstance(part, pd.DataFrame | pd.Series | pd.Index)]
            if whole:
                raise SourceError(f"{rule}, but the dict has a column in {whole[0]!r} beside single values.")
            return pd.DataFrame([columns]) if columns else pd.DataFrame()
        try:
            return tidy_frame(pd.DataFrame(columns))
        except (ValueError, TypeError) as error:
            raise SourceError(f"{rule}, but the dict's columns make no frame: {error}.") from None
    if isinstance(value, list | tuple) and all(isinstance(row, Mapping) for row in value):
        return pd.DataFrame(list(value))
    raise SourceError(f"{rule}, got {shown(value)} ({type(value).__name__}).")

"""What a user's function may return as rows: a frame, an Arrow table, a list of dicts, a dict of columns.

returned value -> [rows] -> poll
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pandas as pd

from mblab.errors import SourceError, shown
from mblab.tables.base import as_pandas, tidy_frame

__all__ = ["ArrowStream", "as_frame"]


class ArrowStream(Protocol):
    """A table of any library that hands itself over as Arrow does: pyarrow, Polars, DuckDB."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def as_frame(value: object, who: str) -> pd.DataFrame:
    """Return rows as a frame with a RangeIndex; None is no rows.

    Args:
        value: DataFrame, Arrow table or record batch, list of dicts (rows), dict of equal lists (columns), dict of
            values of which some are single (one row, whose lists are cells), or None.
        who: Whose value it is, for the message.

    Raises:
        SourceError: It is anything else.

    >>> as_frame([{"a": 1}, {"a": 2}], "fn")["a"].tolist()
    [1, 2]
    """
    if value is None:
        return pd.DataFrame()
    if isinstance(value, pd.DataFrame):
        return tidy_frame(value)
    if type(value).__module__.startswith("pyarrow") and hasattr(value, "to_pandas") and hasattr(value, "schema"):
        return tidy_frame(as_pandas(value))
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

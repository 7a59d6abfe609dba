"""What kind of column a database needs for a batch's values, and those values as it takes them.

rows -> [columns] -> sqlite
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd

from mblab.errors import SinkError, shown
from mblab.tables.values import arrow_to_numpy, is_nested, iso, json_text

__all__ = ["DECLARED", "UNKNOWN", "column_kind", "column_values", "fitted"]

UNKNOWN: Final = "unknown"  # no value was seen yet
OF_DTYPE: Final = {
    "b": "boolean", "i": "integer", "u": "integer", "f": "real", "M": "timestamp", "m": "seconds",
}  # fmt: skip
DECLARED: Final = {
    UNKNOWN: "", "boolean": "BOOLEAN", "integer": "INTEGER", "real": "REAL", "text": "TEXT", "blob": "BLOB",
    "date": "DATE", "timestamp": "TIMESTAMP", "timestamp utc": "TIMESTAMP", "seconds": "REAL", "json": "JSON",
}  # fmt: skip
OF_TYPE: Final = (
    (bool | np.bool_, "boolean"), (int | np.integer, "integer"), (float | np.floating, "real"), (str, "text"),
    (bytes | bytearray | memoryview, "blob"), (pd.Timestamp | dt.datetime | np.datetime64, "timestamp"),
    (dt.date, "date"), (dt.timedelta | np.timedelta64, "seconds"),
)  # fmt: skip
WRITE: Final[dict[str, Callable[[Any], Any]]] = {
    "boolean": int, "integer": int, "real": float, "seconds": lambda v: pd.Timedelta(v).total_seconds(), "text": str,
    "blob": bytes, "date": lambda v: v.isoformat(), "json": json_text,
}  # fmt: skip
MAX_INTEGER: Final = 2**63 - 1
MAX_EXACT: Final = 2**53  # beyond it a float leaves whole numbers out


def column_kind(column: pd.Series[Any], where: str) -> str:
    """Return what kind of values a column holds, by its dtype or, of Python objects, by all of them.

    Args:
        column: A column of a batch.
        where: What the message begins with.

    Raises:
        SinkError: Its values are of several kinds.
    """
    dtype = column.dtype
    if column.isna().all() and dtype.kind in "Of":
        return UNKNOWN
    if isinstance(dtype, pd.CategoricalDtype):
        return column_kind(pd.Series(column.cat.categories), where)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return "timestamp utc"
    if isinstance(dtype, pd.StringDtype | pd.PeriodDtype | pd.IntervalDtype):
        return "text"
    if isinstance(dtype, pd.ArrowDtype):
        plain = arrow_to_numpy(column)
        return "text" if isinstance(plain.dtype, pd.ArrowDtype) else column_kind(plain, where)
    if dtype.kind in OF_DTYPE:
        return OF_DTYPE[dtype.kind]
    kinds = {_kind_of(value) for value in column[~column.isna()]}
    if kinds == {"integer", "real"}:
        return "real"
    if len(kinds) > 1:
        raise SinkError(f"{where} mixes {' and '.join(sorted(kinds))}; make its values of one type.")
    return kinds.pop() if kinds else UNKNOWN


def _kind_of(value: object) -> str:
    if is_nested(value):
        return "json"
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return "timestamp utc"
    return next((kind for types, kind in OF_TYPE if isinstance(value, types)), "text")


def fitted(before: str, brings: str, column: pd.Series[Any], where: str) -> str:
    """Return the kind a column has after a batch.

    Raises:
        SinkError: A value would change by it.
    """
    if brings in (UNKNOWN, before):
        return before
    if before == UNKNOWN:
        return brings
    if before == "integer" and brings == "real" and _is_whole(column):
        return before
    if before == "real" and brings == "integer" and (column.dropna().abs() <= MAX_EXACT).all():
        return before
    raise SinkError(f"{where} is {before} in the table but {brings} in this batch; return one type from every batch.")


def _is_whole(column: pd.Series[Any]) -> bool:
    return all(math.isfinite(v) and float(v).is_integer() for v in column.dropna())


def column_values(column: pd.Series[Any], kind: str, where: str) -> list[Any]:
    """Return a column's values as `sqlite3` takes them, None for a missing one.

    Raises:
        SinkError: An integer needs more than 64 bits.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = [*column_values(pd.Series(column.cat.categories), kind, where), None]
        return [known[code] for code in column.cat.codes]
    if isinstance(column.dtype, pd.ArrowDtype):
        column = arrow_to_numpy(column)
    if kind in ("timestamp", "timestamp utc"):
        return [*_times(column, kind)]
    present = column.astype(object).where(column.notna(), None).tolist()
    write = WRITE.get(kind, lambda value: value)
    values: list[Any] = [None if v is None else write(v) for v in present]
    if kind == "integer" and (big := [v for v in values if v is not None and not -MAX_INTEGER - 1 <= v <= MAX_INTEGER]):
        raise SinkError(f"{where} holds {shown(big[0])}, and an integer of SQLite has 64 bits; make it text or float.")
    return values


def _times(column: pd.Series[Any], kind: str) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Return times as text, with six digits of a second so that it sorts, or nine where one needs them."""
    if column.dtype.kind != "M":
        column = pd.to_datetime(column, utc=True) if kind == "timestamp utc" else pd.to_datetime(column)
    plain: Any = column
    micro = plain.dt.as_unit("us")
    return iso(micro if (micro == plain)[plain.notna()].all() else plain.dt.as_unit("ns"), " ")

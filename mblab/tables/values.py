"""A value as plain Python, as JSON and as text: one rule for sinks, saved runs and what a script prints.

How a value is written never depends on the other rows of its batch.

    rows, figures, states -> [values] -> Python's own values, JSON, ISO 8601
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pandas as pd

from mblab.tables.casting import UNITS

__all__ = ["arrow_to_numpy", "as_json", "as_python", "is_nested", "iso", "json_text", "spans"]

NESTED = (dict, list, tuple, set, frozenset, np.ndarray)


def arrow_to_numpy(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of an Arrow dtype as the NumPy or pandas dtype that says the same; others as they are."""
    if not isinstance(column.dtype, pd.ArrowDtype):
        return column
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pa.array(column)
    if pa.types.is_run_end_encoded(values.type):
        values = pc.run_end_decode(values)
        column = pd.Series(pd.arrays.ArrowExtensionArray(values))
    if (pa.types.is_nested(values.type) and not pa.types.is_dictionary(values.type)) or pa.types.is_interval(
        values.type
    ):
        return pd.Series(values.to_pylist(), dtype=object)  # else lists of times would be arrays of numbers
    if pa.types.is_time(values.type):
        return pd.Series(values.cast(pa.string()).to_pylist(), dtype=object)  # Python's has no nanoseconds
    as_integers = pa.types.is_integer(values.type) and values.null_count
    if as_integers or (pa.types.is_boolean(values.type) and values.null_count):  # else they would become floats
        return column.convert_dtypes(dtype_backend="numpy_nullable")
    return pd.Series(values.to_pandas())


def iso(times: pd.Series[Any], separator: str = "T") -> np.ndarray[Any, np.dtype[np.object_]]:
    """Return times as ISO 8601 with all digits of their unit, those of a time zone in UTC; None for a missing one."""
    zoned = isinstance(times.dtype, pd.DatetimeTZDtype)
    utc = times.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else times
    text = np.datetime_as_string(utc.to_numpy()).astype(object)
    if separator != "T":
        text = np.array([t.replace("T", separator) for t in text], dtype=object)
    if zoned:
        text += "+00:00"
    text[times.isna().to_numpy()] = None
    return text


def spans(column: pd.Series[Any]) -> list[str | None]:
    """Return time spans as pandas writes one, with all digits of their unit; None for a missing one.

    >>> spans(pd.Series(pd.to_timedelta([1500, None], unit="ms")).astype("timedelta64[ms]"))
    ['0 days 00:00:01.500', None]
    """
    digits = UNITS[np.datetime_data(column.to_numpy().dtype)[0]]
    whole = 10**digits
    texts: list[str | None] = []
    for value, missing in zip(column.to_numpy().view(np.int64).tolist(), column.isna().tolist(), strict=True):
        total, rest = divmod(value, whole)
        days, seconds = divmod(total, 86_400)
        text = f"{days} days {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        texts.append(None if missing else f"{text}.{rest:0{digits}d}" if digits else text)
    return texts


def is_nested(value: object) -> bool:
    """Return whether a value holds others, so that it is written as JSON."""
    return isinstance(value, NESTED)


def as_python(value: Any) -> Any:
    """Return a scalar of NumPy's as Python's own; anything else, and NumPy's times, as it is.

    >>> as_python(np.int64(5)), as_python(np.float64("nan")), as_python("UA")
    (5, nan, 'UA')
    """
    is_scalar = isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64)
    return value.item() if is_scalar else value


def json_text(value: Any) -> str:
    """Return a value as JSON that every reader takes: what JSON has no number for, NaN and the infinities, is null."""
    return json.dumps(as_json(value), ensure_ascii=False, allow_nan=False)


def as_json(value: Any) -> Any:
    """Return what JSON holds of a value.

    Times are ISO 8601, time spans its durations, bytes base64; decimals, and what JSON has no word for, their text.

    >>> as_json({"a": [1.5, float("inf")], "at": pd.Timestamp("2026-01-01"), 3: b"x"})
    {'a': [1.5, None], 'at': '2026-01-01T00:00:00', '3': 'eA=='}
    """
    if value is None or isinstance(value, str | bool | int):
        return value if type(value) in (str, bool, int) or value is None else _of_base(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, NESTED):
        if isinstance(value, np.ndarray) and value.dtype.kind not in "mM":  # of nanoseconds it makes numbers
            value = value.tolist()
        return [as_json(inner) for inner in value]
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        return as_json(value.item()) if value.dtype.kind != "V" else str(value)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return as_json(pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value))
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)


def _of_base(value: Any) -> Any:
    """Return a member of a str or int subclass, such as an Enum, as the plain value it is."""
    return str.__str__(value) if isinstance(value, str) else int(value)

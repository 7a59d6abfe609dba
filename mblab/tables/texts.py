"""Values as our sinks write them, out of text again: the other half of what the sinks for CSV and JSON lines do.

text, JSON -> [texts] -> Arrow -> own
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mblab.tables.arrow import is_json, json_kind
from mblab.tables.casting import cast_text, is_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LONE", "built", "from_texts", "is_told", "is_written_as_text", "plain_times"]


LONE: Final = "NA"  # a missing value that would leave its line empty, which readers of CSV pass over


def plain_times(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of Python's times or time spans as pandas' own, if that holds them; others as they are."""
    if column.dtype != object:
        return column
    kind = pd.api.types.infer_dtype(column, skipna=True)
    try:
        if kind in ("timedelta", "timedelta64"):
            return pd.Series(pd.to_timedelta(column))
        if kind in ("datetime", "datetime64"):
            made = pd.Series(pd.to_datetime(column))
            return column if made.dtype.kind != "M" else made
    except (ValueError, TypeError, OverflowError):  # of several zones, or beyond what a unit holds
        return column
    return column


def is_told(kind: pa.DataType) -> bool:
    """Return whether values of an Arrow type come back from what our sinks write of them."""
    import pyarrow as pa

    t = pa.types
    if is_json(kind):
        return True
    if t.is_dictionary(kind):
        return is_told(kind.value_type) and not t.is_nested(kind.value_type)
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return is_told(kind.value_type) and not t.is_null(kind.value_type)
    if t.is_struct(kind):
        return kind.num_fields > 0 and all(is_told(kind.field(i).type) for i in range(kind.num_fields))
    return any(is_it(kind) for is_it in (
        t.is_null, t.is_boolean, t.is_integer, t.is_floating, t.is_decimal, t.is_date, t.is_time, t.is_timestamp,
        t.is_duration, is_text, _is_binary,
    ))  # fmt: skip


def is_written_as_text(kind: pa.DataType) -> bool:
    """Return whether a value is text in JSON."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return is_written_as_text(kind.value_type)
    if is_json(kind):
        return False
    plain = (pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_nested)
    return not any(is_it(kind) for is_it in plain)


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    t = pa.types
    return any(i(kind) for i in (t.is_binary, t.is_large_binary, t.is_fixed_size_binary, t.is_binary_view))


def from_texts(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return texts as the values of a type that they were written of.

    Raises:
        pa.ArrowInvalid: One of them is none.
    """
    import pyarrow as pa

    t = pa.types
    if t.is_dictionary(kind):
        return from_texts(text, kind.value_type).dictionary_encode().cast(kind)
    if t.is_null(kind):
        return pa.nulls(len(text), kind)
    if t.is_timestamp(kind):
        return _times(text, kind)
    if _is_binary(kind):
        try:
            return pa.array([None if v is None else base64.b64decode(v) for v in text.to_pylist()], kind)
        except binascii.Error as error:
            raise pa.ArrowInvalid(str(error)) from None
    return cast_text(text, kind)


def _times(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return times; Arrow reads the years 0 to 9999, and NumPy all of them."""
    import pyarrow as pa

    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        values = ["NaT" if v is None else v.removesuffix("+00:00") for v in text.to_pylist()]
        try:
            found = np.array(values, f"datetime64[{kind.unit}]")
        except ValueError as error:
            raise pa.ArrowInvalid(str(error)) from None
        return pa.array(found, pa.timestamp(kind.unit)).view(kind)


def built(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return what JSON holds of values as the values of a type that it was written of, also in lists and dicts.

    Raises:
        pa.ArrowInvalid: One of them is none.
    """
    import pyarrow as pa

    t = pa.types
    if is_json(kind):
        texts = [None if value is None else json.dumps(value) for value in values]
        return pa.ExtensionArray.from_storage(json_kind(), pa.array(texts, pa.string()))
    if t.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        parts = [built([None if v is None else v.get(f.name) for v in values], f.type) for f in fields]
        return pa.StructArray.from_arrays(parts, fields=fields, mask=pa.array([v is None for v in values]))
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        inner = built([x for v in values if v is not None for x in v], kind.value_type)
        ends = np.cumsum([0, *(0 if v is None else len(v) for v in values)])
        offsets = pa.array(ends, pa.int32(), mask=np.array([*(v is None for v in values), False]))
        return pa.ListArray.from_arrays(offsets, inner).cast(kind)
    if is_written_as_text(kind):
        return from_texts(pa.array(values, pa.string()), kind)
    if t.is_dictionary(kind):
        return built(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, pa.float64()).cast(kind) if t.is_float16(kind) else pa.array(values, kind)

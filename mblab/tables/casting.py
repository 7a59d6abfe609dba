"""Texts as values of one Arrow type, for all that reads text: ours, a user's, anybody's.

texts -> [casting] -> inference, texts
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NULLS", "UNITS", "cast_text", "is_text"]

SPAN: Final = (  # as pandas writes them, and as ISO 8601
    r"^P?(?P<days>-?\d+)(?: days \+?|DT)(?P<hours>\d+)[:H](?P<minutes>\d+)[:M](?P<seconds>\d+)(?:\.(?P<rest>\d+))?S?$"
)
NULLS: Final = (  # what stands for nothing, as Arrow has it
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA", "NULL",
    "NaN", "n/a", "nan", "null",
)  # fmt: skip
UNITS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9}  # and how many digits of a second they have


def is_text(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is one of text."""
    import pyarrow as pa

    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def cast_text(text: pa.Array, kind: pa.DataType, decimal: str = ".") -> pa.Array:
    """Return texts as values of a type, as they are written.

    Args:
        text: The texts.
        kind: The type.
        decimal: What stands before the fraction of a number.

    Raises:
        pa.ArrowInvalid: One of them is no such value, or has digits that the type does not keep.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(kind):
        if text.null_count < len(text):
            raise pa.ArrowInvalid("not null")
        return pa.nulls(len(text))
    if decimal != "." and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        if pc.any(pc.match_substring(text, ".")).as_py():
            raise pa.ArrowInvalid(f"a point where decimals are written with {decimal}")
        text = pc.replace_substring(text, decimal, ".")
    if pa.types.is_time(kind):
        day = pc.binary_join_element_wise("1970-01-01T", text.cast(pa.string()), "")
        return day.cast(pa.timestamp(kind.unit)).cast(kind)
    if pa.types.is_duration(kind):
        return _spans(text.cast(pa.string()), kind)
    return text.cast(kind)


def _spans(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return time spans as they are mostly written, or as pandas reads them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts, digits = pc.extract_regex(text, SPAN), UNITS[kind.unit]
    if parts.null_count != text.null_count:
        return _spans_of_pandas(text, kind)
    rest = pc.utf8_rpad(pc.struct_field(parts, "rest"), 9, "0")
    if pc.any(pc.match_substring_regex(pc.utf8_slice_codeunits(rest, digits), "[1-9]")).as_py():
        raise pa.ArrowInvalid(f"a time span finer than {kind.unit}")
    total = pa.scalar(0, pa.int64())
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1)):
        total = pc.add_checked(total, pc.multiply_checked(pc.struct_field(parts, name).cast(pa.int64()), size))
    fraction = pc.utf8_slice_codeunits(rest, 0, digits).cast(pa.int64()) if digits else 0
    whole = pc.add_checked(pc.multiply_checked(total, 10**digits), fraction)
    return pc.if_else(parts.is_null(), None, whole).cast(kind)


def _spans_of_pandas(text: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    try:
        found = pd.Series(pd.to_timedelta(text.to_pandas()))
        made = found.dt.as_unit(kind.unit)
    except (ValueError, pd.errors.OutOfBoundsTimedelta) as error:
        raise pa.ArrowInvalid(str(error)) from None
    if not np.array_equal(made.dt.as_unit("ns").to_numpy(), found.dt.as_unit("ns").to_numpy(), equal_nan=True):
        raise pa.ArrowInvalid(f"a time span finer than {kind.unit}")
    return pa.array(made, kind)

"""What the columns of a text file of our own are, as the sink noted it: each one's Arrow type and its dtype.

A column that one batch brings as numbers and the next as times has no note, and is read as that of any file.

    batches -> [notes] -> marker -> [notes] -> own
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mblab.tables.arrow import is_json, json_kind
from mblab.tables.casting import is_text
from mblab.tables.given import Dtype, Given
from mblab.tables.texts import is_told, is_written_as_text, plain_times
from mblab.tables.values import arrow_to_numpy, is_nested

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Notes", "is_settled", "joined", "noted", "packed", "unpacked"]

Notes = dict[str, Given | None]  # by column; None: without a note

MOST_CATEGORIES: Final = 1000  # that are noted; of more, those that occur come back
CODE: Final = b"dtype"  # of a field's metadata
ARROW, CATEGORY, OPEN, NONE = "arrow", "category", "", "?"


def noted(rows: pd.DataFrame, *, in_json: bool) -> Notes:
    """Return what the columns of a batch are.

    Args:
        rows: A batch.
        in_json: Whether numbers and truth are told from text where they stand.
    """
    return {str(name): _noted(plain_times(column), in_json) for name, column in rows.items()}


def is_settled(rows: pd.DataFrame) -> bool:
    """Return whether dtypes alone say what the columns are: no values have to be looked at."""
    return all(dtype.kind != "O" or isinstance(dtype, pd.StringDtype) for dtype in rows.dtypes)


def _noted(column: pd.Series[Any], in_json: bool) -> Given:
    import pyarrow as pa

    dtype = column.dtype
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        return Given(pa.string(), dtype if isinstance(dtype, pd.PeriodDtype) and _is_told_period(dtype) else None)
    if isinstance(dtype, pd.ArrowDtype):
        kind = dtype.pyarrow_dtype
        kind = kind.value_type if pa.types.is_run_end_encoded(kind) else kind
        return Given(kind, pd.ArrowDtype(kind)) if is_told(kind) else Given(_untold(arrow_to_numpy(column), in_json))
    if dtype.kind == "O" and not isinstance(dtype, pd.StringDtype | pd.CategoricalDtype):
        return Given(_kind_of_objects(column, in_json))
    if isinstance(dtype, pd.SparseDtype):
        return _noted(pd.Series(np.asarray(column)), in_json)
    if isinstance(dtype, pd.CategoricalDtype):
        held = _noted(pd.Series(dtype.categories), in_json)
        kind = pa.dictionary(pa.int32(), held.kind, bool(dtype.ordered))
        if not is_told(kind) or is_json(held.kind):
            return Given(held.kind)
        is_text = dtype.categories.dtype == object and pa.types.is_string(held.kind)
        as_it_is = is_text or (held.dtype == dtype.categories.dtype and not isinstance(held.dtype, pd.PeriodDtype))
        return Given(kind, dtype if as_it_is and len(dtype.categories) <= MOST_CATEGORIES else None)
    try:
        return Given(pa.Array.from_pandas(column.iloc[:0]).type, dtype)
    except (pa.ArrowException, TypeError):  # complex numbers and long doubles
        return Given(pa.float64() if dtype.kind == "f" else pa.string())


def _kind_of_objects(column: pd.Series[Any], in_json: bool) -> pa.DataType:
    """Return the Arrow type of Python's objects by all of them."""
    import pyarrow as pa

    try:
        kind = pa.Array.from_pandas(column).type
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError):
        return _untold(column, in_json)
    if pa.types.is_nested(kind):
        return json_kind() if _is_json_s_own(kind) or not is_told(kind) else kind
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or not is_told(kind):  # several units or zones
        return pa.string()
    return kind


def _untold(column: pd.Series[Any], in_json: bool) -> pa.DataType:
    """Return the type of values that have no Arrow type, or one that is written as what it is not."""
    import pyarrow as pa

    return json_kind() if in_json or all(is_nested(value) for value in column.dropna()) else pa.string()


def _is_json_s_own(kind: pa.DataType) -> bool:
    """Return whether JSON holds all values of a nested type as they are."""
    import pyarrow as pa

    t = pa.types
    if t.is_struct(kind):
        return all(_is_json_s_own(kind.field(i).type) for i in range(kind.num_fields))
    if t.is_list(kind):
        return _is_json_s_own(kind.value_type)
    return not is_written_as_text(kind) or t.is_string(kind)


def _is_told_period(dtype: pd.PeriodDtype) -> bool:
    """Return whether a period comes back from its text; of weeks and of other beginnings of a year it does not."""
    some = pd.Series(pd.period_range("2026-01-01", periods=2, freq=dtype.freq))
    try:
        return bool((some.astype(str).astype(dtype) == some).all())
    except (ValueError, TypeError):
        return False


# -- several batches ----------------------------------------------------------------------------------------------


def joined(one: Notes, other: Notes, *, as_text: bool) -> Notes:
    """Return what columns are over all batches.

    Args:
        one: Of the batches before.
        other: Of one more; a column that it lacks, or brings, is null in the others.
        as_text: Whether a column that is text in one batch can be read as text in all of them.
    """
    import pyarrow as pa

    nothing = Given(pa.null())
    names = [*one, *(name for name in other if name not in one)]
    return {name: _joined(one.get(name, nothing), other.get(name, nothing), as_text=as_text) for name in names}


def _joined(one: Given | None, other: Given | None, *, as_text: bool) -> Given | None:
    import pyarrow as pa

    if one is None or other is None or one == other:
        return one if one == other else None
    t = pa.types
    for known, more in ((one, other), (other, one)):
        if t.is_null(more.kind):
            return known if known.dtype is None or not _has_no_null(known.dtype) else Given(known.kind)
    if one.kind == other.kind:
        return Given(one.kind, _joined_categories(one.dtype, other.dtype))
    if t.is_dictionary(one.kind) and t.is_dictionary(other.kind) and one.kind.value_type == other.kind.value_type:
        return Given(pa.dictionary(pa.int32(), one.kind.value_type))
    texts = [is_text(kind) for kind in (one.kind, other.kind)]
    if any(texts):
        return Given(pa.string() if as_text or all(texts) else json_kind())
    if is_json(one.kind) or is_json(other.kind) or (t.is_nested(one.kind) != t.is_nested(other.kind)):
        return Given(json_kind() if not as_text else pa.string())
    if (t.is_decimal(one.kind) and t.is_decimal(other.kind)) or (t.is_nested(one.kind) and t.is_nested(other.kind)):
        try:
            both = [pa.schema([("x", given.kind)]) for given in (one, other)]
            return Given(pa.unify_schemas(both, promote_options="permissive").field(0).type)
        except pa.ArrowException:
            return None
    return None


def _has_no_null(dtype: Dtype) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "iub"


def _joined_categories(one: Dtype | None, other: Dtype | None) -> Dtype | None:
    """Return a dtype with the categories of both, in the order in which they came."""
    if not (isinstance(one, pd.CategoricalDtype) and isinstance(other, pd.CategoricalDtype)):
        return None
    known = one.categories
    more = known.append(other.categories[~other.categories.isin(known)])
    if len(more) > MOST_CATEGORIES or more.dtype != known.dtype:
        return None
    return pd.CategoricalDtype(more, ordered=bool(one.ordered and other.ordered and len(more) == len(known)))


# -- as text ------------------------------------------------------------------------------------------------------


def packed(notes: Notes) -> str:
    """Return notes as text for a marker: an Arrow stream without rows, whose fields say the dtypes."""
    import pyarrow as pa

    fields, arrays = [], []
    for name, note in notes.items():
        given = note or Given(pa.null())
        code = NONE if note is None else _code_of(given.dtype)
        fields.append(pa.field(name, given.kind, metadata={CODE: code.encode()}))
        arrays.append(_empty(given))
    schema, buffer = pa.schema(fields), pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, schema) as stream:
        stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return base64.b64encode(zlib.compress(buffer.getvalue().to_pybytes())).decode()


def _empty(given: Given) -> pa.Array:
    """Return no values of a type, with their categories."""
    import pyarrow as pa

    if not pa.types.is_dictionary(given.kind) or not isinstance(given.dtype, pd.CategoricalDtype):
        return pa.array([], given.kind)
    categories = pa.Array.from_pandas(given.dtype.categories, type=given.kind.value_type)
    return pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), categories, ordered=given.kind.ordered)


def unpacked(text: str | None) -> Notes | None:
    """Return the notes of a marker; None where there are none, or they cannot be read."""
    import pyarrow as pa

    notes: Notes = {}
    try:
        batch = pa.ipc.open_stream(zlib.decompress(base64.b64decode(text or ""))).read_next_batch()
        for field, values in zip(batch.schema, batch.columns, strict=True):
            code = field.metadata[CODE].decode()
            notes[field.name] = None if code == NONE else Given(field.type, _dtype_of(code, values))
    except (pa.ArrowException, zlib.error, ValueError, TypeError, KeyError, NotImplementedError):
        return None
    return notes


def _code_of(dtype: Dtype | None) -> str:
    if dtype is None:
        return OPEN
    if isinstance(dtype, pd.ArrowDtype):
        return ARROW
    if isinstance(dtype, pd.CategoricalDtype):
        return f"{CATEGORY} {_code_of(dtype.categories.dtype)}"
    if isinstance(dtype, pd.StringDtype):
        return "str" if dtype.na_value is not pd.NA else f"string[{dtype.storage}]"
    return str(dtype)


def _dtype_of(code: str, values: pa.Array) -> Dtype | None:
    if code == OPEN:
        return None
    if code == ARROW:
        return pd.ArrowDtype(values.type)
    if code.startswith(CATEGORY):
        of_categories = code.removeprefix(CATEGORY).strip()
        held = values.dictionary.to_pandas(date_as_object=True)
        dtype = None if of_categories == "object" else _dtype_of(of_categories, values.dictionary)
        categories = pd.Index(held if dtype is None else held.astype(dtype), dtype=dtype or object)
        return pd.CategoricalDtype(categories, ordered=values.type.ordered)
    return pd.api.types.pandas_dtype(code)

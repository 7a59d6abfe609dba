"""Which Arrow type a column has over all batches: that of its first value, if no later value changes by it.

rows -> [schemas] -> parquet
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mblab.errors import SinkError
from mblab.tables.arrow import as_arrow, pandas_notes
from mblab.tables.casting import is_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["arrow_table", "cast_table", "decided_schema", "first_line", "merged_schema"]


def arrow_table(rows: pd.DataFrame, path: Path, batch_id: int) -> pa.Table:
    """Return rows as an Arrow table.

    Dictionaries get one index type, for the number of categories changes; one without categories is null.
    """
    import pyarrow as pa

    try:
        table = as_arrow(rows)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError) as error:
        name, reason = _culprit(rows) or ("", first_line(error))
        raise SinkError(
            f"{path} cannot take column {name!r} of batch {batch_id}: {reason}; give it one type in the step."
        ) from None
    for at, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            coded = pa.dictionary(pa.int32(), column.type.value_type, column.type.ordered)
            has_none = column.null_count == len(column) and not any(len(chunk.dictionary) for chunk in column.chunks)
            plain = pa.nulls(len(column)) if has_none else column.cast(coded)
            table = table.set_column(at, table.field(at).name, plain)
    return table


def first_line(error: Exception) -> str:
    """Return what Arrow says, on one line."""
    return str(error).splitlines()[0].rstrip(".")


def _culprit(rows: pd.DataFrame) -> tuple[str, str] | None:
    """Return (column, reason) of the first column that Arrow cannot take."""
    import pyarrow as pa

    for name, column in rows.items():
        try:
            as_arrow(column.to_frame())
        except (pa.ArrowException, OverflowError, UnicodeError, TypeError) as error:
            return str(name), first_line(error)
    return None


def merged_schema(pinned: pa.Schema | None, table: pa.Table, path: Path, batch_id: int) -> pa.Schema:
    """Return the schema of earlier parts with what this batch tells of columns that were all null."""
    import pyarrow as pa

    if pinned is None or pinned.equals(table.schema):
        return table.schema if pinned is None else pinned
    fields = []
    for old, new in zip(pinned, table.schema, strict=True):
        try:
            fields.append(pa.unify_schemas([pa.schema([old]), pa.schema([new])]).field(0))
        except pa.ArrowTypeError:
            if _is_empty_list(old.type) and pa.types.is_map(new.type):
                fields.append(new)
                continue
            if not _is_same_kind(old.type, new.type):
                raise _misfit(path, old.name, old.type, new.type, batch_id, "") from None
            fields.append(old)
    merged = pa.schema(fields, pinned.metadata)
    return pinned if merged.equals(pinned) else merged.with_metadata(table.schema.metadata)


def cast_table(table: pa.Table, schema: pa.Schema, path: Path, batch_id: int) -> pa.Table:
    """Return the table with the types of a schema.

    Raises:
        SinkError: A value would change by it.
    """
    import pyarrow as pa

    columns = []
    for column, wanted in zip(table.columns, schema, strict=True):
        try:
            columns.append(column if column.type == wanted.type else _cast_column(column, wanted.type))
        except pa.ArrowException as error:
            reason = f" ({first_line(error)})"
            raise _misfit(path, wanted.name, wanted.type, column.type, batch_id, reason) from None
    return pa.Table.from_arrays(columns, schema=schema)


def _cast_column(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    """Return a column of another type.

    Raises:
        pa.ArrowInvalid: A value would change by it.
    """
    import pyarrow as pa

    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind)
    if _is_empty_list(column.type) and pa.types.is_map(kind):
        return pa.array(column.to_pylist(), kind)
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    made = whole.cast(kind)
    _refuse_changes(whole, made)
    return made


def _refuse_changes(values: pa.Array, made: pa.Array) -> None:
    """Compare after a cast what Arrow's own check lets through: it rounds floats and decimals in silence.

    Raises:
        pa.ArrowInvalid: A value has changed.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    t, kind = pa.types, values.type
    if kind == made.type:
        return
    if t.is_dictionary(kind) or t.is_dictionary(made.type):
        _refuse_changes(*(v.dictionary_decode() if t.is_dictionary(v.type) else v for v in (values, made)))
    elif t.is_list(kind):
        _refuse_changes(values.flatten(), made.flatten())
    elif t.is_struct(kind):
        for field in _fields(kind):
            _refuse_changes(pc.struct_field(values, field.name), pc.struct_field(made, field.name))
    elif any(t.is_floating(k) or t.is_decimal(k) for k in (kind, made.type)):
        back = made.cast(kind)
        same = pc.equal(back, values)
        if t.is_floating(kind):
            same = pc.or_(same, pc.and_(pc.is_nan(back), pc.is_nan(values)))
        at = pc.index(same, value=False).as_py()
        if at >= 0:
            raise pa.ArrowInvalid(f"{values[at].as_py()} would become {made[at].as_py()}")


def _is_empty_list(kind: pa.DataType) -> bool:
    """Return whether a type is that of lists without a value, which could be maps."""
    import pyarrow as pa

    return bool(pa.types.is_list(kind) and pa.types.is_null(kind.value_type))


def _misfit(path: Path, name: str, old: pa.DataType, new: pa.DataType, batch_id: int, reason: str) -> SinkError:
    return SinkError(
        f"{path} has column {name!r} as {old} but batch {batch_id} brings {new}{reason}; "
        "give it one type in the step, for example with .astype."
    )


def decided_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema that every reader takes: text where no value was seen yet."""
    import pyarrow as pa

    return pa.schema([f.with_type(_decided_type(f.type)) for f in schema], _decided_notes(schema))


def _decided_notes(schema: pa.Schema) -> dict[bytes, bytes] | None:
    """Return a schema's metadata without pandas' note that a column is of Arrow's null, which no text can become."""
    noted = pandas_notes(schema)
    nulls = [column for column in noted.get("columns", []) if column["numpy_type"] == "null[pyarrow]"]
    for column in nulls:
        column["numpy_type"] = "object"
    return {**schema.metadata, b"pandas": json.dumps(noted).encode()} if nulls else schema.metadata


def _decided_type(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_null(kind):
        return pa.large_string()
    if pa.types.is_struct(kind):
        return pa.struct([f.with_type(_decided_type(f.type)) for f in _fields(kind)])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_decided_type(kind.value_type)))
    return kind


def _fields(kind: pa.DataType) -> Iterator[pa.Field]:
    return (kind.field(i) for i in range(kind.num_fields))


def _is_same_kind(old: pa.DataType, new: pa.DataType) -> bool:
    """Return whether values of one type are values of the other, so that a safe cast changes none of them."""
    import pyarrow as pa

    t = pa.types
    if t.is_map(old) and _is_empty_list(new):
        return True
    if t.is_list(old) and t.is_list(new):
        return _is_same_kind(old.value_type, new.value_type)
    if t.is_struct(old) and t.is_struct(new):
        known = {f.name: f.type for f in _fields(old)}
        return all(f.name in known and _is_same_kind(known[f.name], f.type) for f in _fields(new))
    if t.is_dictionary(old) or t.is_dictionary(new):
        return _is_same_kind(*(k.value_type if t.is_dictionary(k) else k for k in (old, new)))
    if t.is_timestamp(old) and t.is_timestamp(new):
        return (old.tz is None) == (new.tz is None)
    kinds = (
        lambda k: t.is_integer(k) or t.is_floating(k) or t.is_decimal(k),
        is_text,
        lambda k: t.is_binary(k) or t.is_large_binary(k),
        t.is_duration,
        t.is_date,
    )
    return old == new or t.is_null(new) or any(is_kind(old) and is_kind(new) for is_kind in kinds)

"""What an Arrow table is as a frame: values as they are, nested ones as lists and dicts.

    Arrow table -> [arrow] -> frame -> [arrow] -> Arrow table

Pandas' own way makes floats of whole numbers in a struct or a list that has nulls too, and fails at the notes that it
writes itself about columns of Arrow's lists. Here a nested value is what Python has for it; a list of floats is a NumPy
array, which holds it as it is in an eighth of the room, and a map is a list of pairs.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mblab.errors import SourceError, shown
from mblab.tables.same import same

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "as_arrow",
    "as_pandas",
    "is_json",
    "is_nested_kind",
    "json_columns",
    "json_kind",
    "kind_said",
    "lost_field",
    "pandas_notes",
    "said",
]

MOST_DIGITS: Final = 38  # of Arrow's decimals in 128 bits
NOTED: Final = {"name", "field_name", "pandas_type", "numpy_type", "metadata"}  # what pandas says of each column


def as_pandas(table: pa.Table | pa.RecordBatch, *, dates_as_times: bool = True) -> pd.DataFrame:
    """Return an Arrow table as a frame.

    Args:
        table: The rows.
        dates_as_times: Whether days become datetime64; else they are `datetime.date`.

    Raises:
        SourceError: A column is of a type that pandas has no counterpart for, or holds a value that Python has none
            for.
    """
    import pyarrow as pa

    failures = (pa.ArrowException, NotImplementedError, ValueError, OverflowError)
    try:
        return _frame(table, dates_as_times)
    except failures as error:
        for name, column in zip(table.schema.names, table.columns, strict=True):
            try:
                _frame(pa.table([column], names=[name]), dates_as_times)
            except failures as own:
                what = "hold" if not _is_made_here(column.type) or not len(column) else f"hold, for {said(own)}"
                raise SourceError(
                    f"column {name!r} is {kind_said(column.type)}, which pandas cannot {what}; convert it."
                ) from None
        raise SourceError(f"the rows make no frame: {said(error)}.") from None


def as_arrow(rows: pd.DataFrame, *, as_json: Container[str] = ()) -> pa.Table:
    """Return a frame as an Arrow table without its index; lists of pairs that begin with texts are maps.

    Python's decimals have room for as many digits as there are, so that a later part of them fits as well.

    Args:
        rows: The frame.
        as_json: Columns of lists and dicts that become JSON text, which `as_pandas` gives back as lists and dicts.

    Raises:
        ArrowException: A column holds what no one type of Arrow's holds.
        TypeError: JSON has no word for what a column holds.
    """
    import pyarrow as pa

    maps: dict[Any, pa.Array] = {}
    for name, column in rows.items():
        cells: list[Any] = column.tolist() if column.dtype == object else []
        if str(name) in as_json:
            texts = [_json_of(cell, str(name)) for cell in column]
            maps[name] = pa.ExtensionArray.from_storage(json_kind(), pa.array(texts, pa.string()))
        elif any(_holds_pairs(cell) for cell in cells):
            kind = _kind_of(cells)
            maps[name] = pa.array([_with_none(cell, kind) for cell in cells], kind)
    if not maps:
        return _with_room(pa.Table.from_pandas(rows, preserve_index=False), rows)
    plain = rows.copy(deep=False)
    for name in maps:
        plain[name] = None
    table = pa.Table.from_pandas(plain, preserve_index=False)
    for name, values in maps.items():
        table = table.set_column(rows.columns.get_loc(name), str(name), values)
    return _with_room(table, rows)


def _with_room(table: pa.Table, rows: pd.DataFrame) -> pa.Table:
    """Return the table with the widest type for Python's decimals; Arrow's is as narrow as those of one part."""
    import pyarrow as pa

    for at, (field, dtype) in enumerate(zip(table.schema, rows.dtypes, strict=True)):
        if pa.types.is_decimal(field.type) and isinstance(dtype, np.dtype):
            narrow = field.type.precision <= MOST_DIGITS
            wide = pa.decimal128(MOST_DIGITS, field.type.scale) if narrow else pa.decimal256(76, field.type.scale)
            table = table.set_column(at, field.with_type(wide), table.column(at).cast(wide))
    return table


def _json_of(cell: object, name: str) -> str | None:
    if not isinstance(cell, list | dict):
        if not (cell is None or cell is pd.NA or cell is pd.NaT or cell != cell):  # noqa: PLR0124
            raise TypeError(f"column {shown(name)} holds {shown(cell, 60)} beside lists and dicts")
        return None
    text = json.dumps(cell)
    if not same(json.loads(text), cell):
        raise TypeError(f"column {shown(name)} holds {shown(cell, 60)}, which JSON does not give back")
    return text


def lost_field(was: pa.DataType, becomes: pa.DataType) -> str | None:
    """Return a field of a struct, at any depth, that a cast would leave out in silence; None for none."""
    import pyarrow as pa

    types = pa.types
    if types.is_struct(was) and types.is_struct(becomes):
        for field in was:
            at = becomes.get_field_index(field.name)
            if at < 0:
                return str(field.name)
            if (found := lost_field(field.type, becomes.field(at).type)) is not None:
                return found
    elif types.is_map(was) and types.is_map(becomes):
        return lost_field(was.item_type, becomes.item_type)
    elif hasattr(was, "value_type") and hasattr(becomes, "value_type"):
        return lost_field(was.value_type, becomes.value_type)
    return None


def json_columns(frames: Sequence[pd.DataFrame]) -> frozenset[str]:
    """Return the columns of lists and dicts that Arrow's types would change, or do not take, and JSON does not.

    Arrow has one type for all dicts of a column: each would have the names of all, and every list one kind of values.
    """
    return frozenset(
        str(name)
        for name, column in frames[0].items()
        if any(name in frame and frame[name].dtype == object for frame in frames)
        and _is_better_in_json([cell for frame in frames if name in frame for cell in frame[name]])
    )


def _is_better_in_json(cells: list[Any]) -> bool:
    import pyarrow as pa

    nested = [cell for cell in cells if isinstance(cell, list | dict)]
    if not nested or any(not isinstance(cell, list | dict) and not pd.api.types.is_scalar(cell) for cell in cells):
        return False
    if any(not isinstance(cell, list | dict) and not pd.isna(cell) for cell in cells):
        return False
    failures = (pa.ArrowException, TypeError, ValueError, OverflowError, SourceError)
    try:
        if as_pandas(as_arrow(pd.DataFrame({"cells": pd.Series(nested, dtype=object)})))["cells"].tolist() == nested:
            return False
    except failures:
        pass
    try:
        return bool(json.loads(json.dumps(nested)) == nested)
    except failures:
        return False


def _holds_pairs(cell: Any) -> bool:
    """Return whether a cell is a list of pairs that begin with texts, or has one in it."""
    if isinstance(cell, dict):
        return any(map(_holds_pairs, cell.values()))
    return isinstance(cell, list) and (_are_pairs(cell) or any(map(_holds_pairs, cell)))


def _are_pairs(cell: list[Any]) -> bool:
    return bool(cell) and all(isinstance(v, tuple) and len(v) == 2 and isinstance(v[0], str) for v in cell)


def _kind_of(cells: Iterable[Any]) -> pa.DataType:
    """Return the Arrow type of nested cells, with maps for lists of pairs; what is missing settles nothing."""
    import pyarrow as pa

    known = [cell for cell in cells if not _is_missing(cell)]
    values = [cell for cell in known if cell == cell]  # noqa: PLR0124  NaN is a number beside numbers only
    if not values:
        return pa.float64() if known else pa.null()
    if all(isinstance(v, dict) for v in values):
        names = dict.fromkeys(name for v in values for name in v)
        return pa.struct([(name, _kind_of(v.get(name) for v in values)) for name in names])
    if all(isinstance(v, list) for v in values):
        inner = [part for v in values for part in v]
        if inner and all(_are_pairs(v) for v in values if v):
            return pa.map_(pa.string(), _kind_of(item for _, item in inner))
        return pa.list_(_kind_of(inner))
    kind = pa.array(values, from_pandas=True).type
    return pa.float64() if len(values) < len(known) and pa.types.is_integer(kind) else kind


def _is_missing(cell: Any) -> bool:
    return cell is None or cell is pd.NA or cell is pd.NaT


def _with_none(cell: Any, kind: pa.DataType) -> Any:
    """Return a cell of an Arrow type with None for what is missing in it, however that is said."""
    import pyarrow as pa

    types = pa.types
    if _is_missing(cell) or (isinstance(cell, float) and cell != cell and not types.is_floating(kind)):  # noqa: PLR0124
        return None
    if types.is_struct(kind):
        return {field.name: _with_none(cell.get(field.name), field.type) for field in kind}
    if types.is_map(kind):
        return [(key, _with_none(item, kind.item_type)) for key, item in cell]
    return [_with_none(part, kind.value_type) for part in cell] if types.is_list(kind) else cell


def _frame(table: pa.Table | pa.RecordBatch, dates_as_times: bool) -> pd.DataFrame:
    import pyarrow as pa

    schema = table.schema
    nested = [i for i, f in enumerate(schema) if _is_made_here(f.type)]
    kept = [pa.nulls(table.num_rows) if i in nested else column for i, column in enumerate(table.columns)]
    noted = pandas_notes(schema)
    for column in noted.get("columns", []):
        if column["field_name"] in {schema.field(i).name for i in nested} or not _is_dtype(column["numpy_type"]):
            column["numpy_type"] = "object"
    plain = pa.table(kept, names=schema.names)
    if noted:
        plain = plain.replace_schema_metadata({b"pandas": json.dumps(noted).encode()})
    frame: pd.DataFrame = plain.to_pandas(date_as_object=not dates_as_times)
    places = [i for i, name in enumerate(schema.names) if name not in noted.get("index_columns", [])]
    for i in nested:
        cells = _cells(table.column(i))
        frame.isetitem(places.index(i), np.fromiter(cells, dtype=object, count=len(cells)))
    return frame


def is_nested_kind(kind: pa.DataType) -> bool:
    """Return whether cells of an Arrow type hold others."""
    import pyarrow as pa

    return bool(pa.types.is_nested(kind)) or is_json(kind)


def _is_made_here(kind: pa.DataType) -> bool:
    """Return whether cells of an Arrow type are made lists and dicts here; pandas makes arrays of lists of floats."""
    import pyarrow as pa

    one_level = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_nested_kind(kind) and not (one_level and pa.types.is_floating(kind.value_type))


def _cells(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a nested column's cells; None for a missing one."""
    if is_json(column.type):
        return [None if text is None else json.loads(text) for text in column.to_pylist()]
    cells: list[Any] = column.to_pylist()
    return cells


def json_kind() -> pa.DataType:
    """Return the Arrow type of JSON text that becomes lists and dicts in a frame."""
    import pyarrow as pa

    return pa.opaque(pa.string(), "json", "mblab")


def is_json(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is that of `json_kind`."""
    import pyarrow as pa

    return isinstance(kind, pa.BaseExtensionType) and kind == json_kind()


def kind_said(kind: pa.DataType) -> str:
    """Return an Arrow type for a message: by its name, or by what it stands for where that is ours."""
    return "lists or objects" if is_json(kind) else str(kind)


def pandas_notes(schema: pa.Schema) -> dict[str, Any]:
    """Return what pandas noted of the frame that became an Arrow table; nothing where it did not, or is damaged."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        columns = [*noted["columns"]]
    except (ValueError, KeyError, TypeError):
        return {}
    whole = all(isinstance(c, dict) and c.keys() >= NOTED for c in columns)
    return noted if whole and isinstance(noted.get("index_columns"), list) else {}


def _is_dtype(name: str) -> bool:
    try:
        pd.api.types.pandas_dtype(name)
    except (TypeError, ValueError, NotImplementedError):
        return False
    return True


def said(error: Exception) -> str:
    """Return what Arrow or the system says, as the end of a sentence without its full stop."""
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__

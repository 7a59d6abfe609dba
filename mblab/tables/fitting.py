"""Values that have types of their own, in JSON and Parquet, as the types that are given for their columns.

table -> [fitting] -> jsonl, parquet
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mblab.errors import SourceError, shown
from mblab.tables.base import cast
from mblab.tables.inference import is_text, parsed

if TYPE_CHECKING:
    import pyarrow as pa

    from mblab.tables.given import Given

__all__ = ["fitted", "misfit_error"]


def fitted(table: pa.Table, wanted: pa.Schema, given: Mapping[str, Given], path: Path) -> pa.Table:
    """Return a table with the types of a schema, of which some are given.

    Raises:
        SourceError: A value does not fit.
    """
    for i, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if name in given and column.type != wanted.field(name).type:
            kind = given[name].for_own(column.type)
            table = table.set_column(i, name, _as_given(column, name, replace(given[name], kind=kind), path))
    return cast(table, wanted, path)


def misfit_error(where: str, value: object, name: str, given: Given) -> SourceError:
    """Return the error that names a value which does not fit the type that is given for its column."""
    import pyarrow as pa

    text = str(value)
    is_number = text.replace(".", "", 1).lstrip("+-").isdigit() and pa.types.is_integer(given.kind)
    way = f"types={{{name!r}: {'float64' if is_number and '.' in text else 'str'!r}}}"
    said = f"{given} as before" if given.settled else str(given)
    return SourceError(
        f"{where} has {shown(value)} in column {name!r}, which must be {said}; mend it, or name a type that fits all, "
        f"such as {way}."
    )


def _as_given(column: pa.ChunkedArray, name: str, given: Given, path: Path) -> pa.ChunkedArray:
    import pyarrow as pa

    failures = (pa.ArrowInvalid, pa.ArrowNotImplementedError)
    is_other = given.settled and _class(column.type) != _class(given.kind)
    if is_text(column.type) and pa.types.is_timestamp(given.kind):
        is_other = False  # in JSON times are texts
    if not is_other:
        try:
            return pa.chunked_array([_converted(chunk, given.kind) for chunk in column.chunks], given.kind)
        except failures:
            pass
    for value in column.drop_null():
        try:
            if is_other:
                raise pa.ArrowInvalid("another kind of value")
            _converted(pa.array([value.as_py()], column.type), given.kind)
        except failures:
            raise misfit_error(f"{path}", value.as_py(), name, given) from None
    return pa.nulls(len(column), given.kind)


def _converted(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return parsed(values, kind) if is_text(values.type) else values.cast(kind)


def _class(kind: pa.DataType) -> Any:
    """Return what tells kinds of values apart that no cast makes of one another."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if is_text(kind):
        return "text"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "numbers"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "times", getattr(kind, "tz", None)
    return str(kind)

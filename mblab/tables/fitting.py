"""Values that have types of their own, in JSON and Parquet, as the types that are given for their columns.

table -> [fitting] -> jsonl, parquet
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mblab.errors import SourceError, shown
from mblab.tables.arrow import is_json, lost_field
from mblab.tables.base import cast
from mblab.tables.casting import NULLS, is_text
from mblab.tables.inference import first_that, parsed

if TYPE_CHECKING:
    import pyarrow as pa

    from mblab.tables.given import Given

__all__ = ["as_given", "fitted", "is_as_given", "misfit_error"]


def fitted(table: pa.Table, wanted: pa.Schema, given: Mapping[str, Given], path: Path) -> pa.Table:
    """Return a table with the types of a schema, of which some are given.

    Raises:
        SourceError: A value does not fit.
    """
    for i, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if name in given and (column.type != wanted.field(name).type or not given[name].settled):
            kind = given[name].for_own(column.type)
            table = table.set_column(i, name, _fitted_column(column, name, replace(given[name], kind=kind), path))
    return cast(table, wanted, path)


def misfit_error(where: str, value: object, name: str, given: Given) -> SourceError:
    """Return the error that names a value which does not fit the type that is given for its column."""
    import pyarrow as pa

    text = str(value)
    is_number = text.replace(".", "", 1).lstrip("+-").isdigit() and pa.types.is_integer(given.kind)
    fits = "object" if isinstance(value, list | dict) else "float64" if is_number and "." in text else "str"
    said = f"{given} as before" if given.settled else str(given)
    if isinstance(given.dtype, pd.CategoricalDtype) and given.dtype.categories is not None:
        fits, said = "category", f"one of the categories {shown(given.dtype.categories.tolist())}"
    way = f"types={{{name!r}: {fits!r}}}"
    return SourceError(
        f"{where} has {shown(value)} in column {name!r}, which must be {said}; mend it, or name a type that fits all, "
        f"such as {way}."
    )


def as_given(values: pa.Array, given: Given, decimal: str = ".", nulls: Sequence[str] = NULLS) -> pa.Array:
    """Return values as those of a type that is given.

    Raises:
        pa.ArrowInvalid: One of them is none; pa.ArrowNotImplementedError where none ever is.
    """
    import pyarrow as pa

    found = parsed(values, given.kind, decimal, nulls) if is_text(values.type) else _converted(values, given)
    if not given.keeps(found):
        raise pa.ArrowInvalid(f"none of {given}")
    return found


def is_as_given(values: pa.Array, given: Given, decimal: str = ".", nulls: Sequence[str] = NULLS) -> bool:
    """Return whether all values are of a type that is given, or null."""
    import pyarrow as pa

    try:
        as_given(values, given, decimal, nulls)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def _fitted_column(column: pa.ChunkedArray, name: str, given: Given, path: Path) -> pa.ChunkedArray:
    import pyarrow as pa

    failures = (pa.ArrowInvalid, pa.ArrowNotImplementedError)
    is_other = given.settled and _class(column.type) != _class(given.kind)
    if is_text(column.type) and pa.types.is_timestamp(given.kind):
        is_other = False  # in JSON times are texts
    if not is_other:
        try:
            return pa.chunked_array([as_given(chunk, given) for chunk in column.chunks], given.kind)
        except failures:
            pass
    values = column.drop_null().combine_chunks()
    if not len(values):
        return pa.nulls(len(column), given.kind)
    at = 0 if is_other else first_that(values, lambda part: not is_as_given(part, given))
    raise misfit_error(f"{path}", values[at].as_py(), name, given)


def _converted(values: pa.Array, given: Given) -> pa.Array:
    """Return values of another type as those of the given one, which must say all that they do.

    Arrow takes any number for truth, a moment for its day, and leaves out fields.
    """
    import pyarrow as pa

    if isinstance(values.type, pa.BaseExtensionType) and values.type != given.kind and not is_json(values.type):
        raise pa.ArrowInvalid("what stands for a value is not it")  # such as the number of a month
    if pa.types.is_dictionary(given.kind) and not pa.types.is_dictionary(values.type):
        found = values.cast(given.kind.value_type).dictionary_encode().cast(given.kind)
    else:
        found = values.cast(given.kind)
    if given.settled or values.type == given.kind:
        return found
    if (field := lost_field(values.type, given.kind)) is not None:
        raise pa.ArrowInvalid(f"no field {field}")
    if not _says_as_much(values, found):
        raise pa.ArrowInvalid("not the same")
    return found


def _says_as_much(values: pa.Array, found: pa.Array) -> bool:
    """Return whether nothing is lost by a cast, but for digits of numbers that were asked for with fewer."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(found.type):
        made = found.cast(pa.float64()).filter(pc.is_finite(values.cast(pa.float64()))) if len(found) else found
        return not pc.any(pc.is_inf(made.cast(pa.float64()))).as_py()
    try:
        back = found.cast(values.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return True
    if pa.types.is_floating(values.type):
        return bool(pc.all(pc.equal(values, back)).as_py() is not False)
    return bool(back.equals(values))


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

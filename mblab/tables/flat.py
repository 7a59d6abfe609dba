"""Values in values as columns: what stands in an object gets a name such as `device.id`.

Only objects are flattened: dicts, Arrow's structs, JSON's objects. Lists and Arrow's maps stay in one cell.

    rows with objects in them -> [flat] -> rows of single values and lists
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mblab.tables.base import EXACT, each_once

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["flat_frame", "flat_schema", "flat_table", "leaves"]


def leaves(row: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is no object in a row, by the path of names that leads to it.

    >>> dict(leaves({"device": {"id": "a", "fw": {"v": 2}}, "gps": [9.1, 48.2]}))
    {'device.id': 'a', 'device.fw.v': 2, 'gps': [9.1, 48.2]}
    """
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def flat_table(table: pa.Table) -> pa.Table:
    """Return an Arrow table whose structs are columns, level by level."""
    import pyarrow as pa

    while any(pa.types.is_struct(f.type) for f in table.schema):
        table = table.flatten()
    return table


def flat_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema that `flat_table` gives, with the metadata of before."""
    return flat_table(schema.empty_table()).schema.with_metadata(schema.metadata)


def flat_frame(frame: pd.DataFrame, owner: str) -> pd.DataFrame:
    """Return a frame whose columns of dicts, or of Arrow's structs, are columns each; others are as they were.

    Args:
        frame: The rows.
        owner: Whose they are, for the message.

    Raises:
        ColumnError: Two columns would have one name.

    >>> flat_frame(pd.DataFrame({"device": [{"id": 1}, None], "v": [1, 2]}), "rows").columns.tolist()
    ['device.id', 'v']
    """
    columns: list[tuple[Any, pd.Series]] = []
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        columns += _expanded(column) if _holds_objects(column) else [(name, column)]
    if all(one is other for (one, _), other in zip(columns, frame.columns, strict=False)):
        return frame
    each_once((name for name, _ in columns), f"flatten=True of {owner}")
    return pd.DataFrame(dict(columns), index=frame.index)


def _holds_objects(column: pd.Series) -> bool:
    """Return whether all values of a column are objects, of which there is at least one."""
    if isinstance(column.dtype, pd.ArrowDtype):
        import pyarrow as pa

        return bool(pa.types.is_struct(column.dtype.pyarrow_dtype))
    if column.dtype != object:
        return False
    known = column[column.notna()]
    return bool(len(known)) and all(isinstance(value, Mapping) for value in known)


def _expanded(column: pd.Series) -> list[tuple[str, pd.Series]]:
    """Return what stands in a column's objects as columns; what an object lacks is null."""
    rows = [dict(leaves({column.name: value})) if isinstance(value, Mapping) else {} for value in column]
    names = dict.fromkeys(name for row in rows for name in row)
    return [(name, _column([row.get(name) for row in rows], column.index)) for name in names]


def _column(values: list[Any], index: pd.Index) -> pd.Series:
    """Return values as a column; a null makes whole numbers float64, or Int64 where float64 would change them."""
    known = [value for value in values if value is not None]
    whole = bool(known) and all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in known)
    if whole and len(known) < len(values) and EXACT < max(map(abs, known)) < 2**63:
        return pd.Series(values, index=index, dtype="Int64")
    if any(isinstance(value, list | tuple | np.ndarray) for value in known):
        return pd.Series(np.fromiter(values, dtype=object, count=len(values)), index=index)
    return pd.Series(values, index=index, dtype=None if known else object)

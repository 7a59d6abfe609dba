"""A frame in a Parquet file from which it comes back as it was: names, dtypes, every value with its type.

A column that Parquet would give back otherwise (of values of several types, dates beside times, tuples, sparse ones)
stands there as JSON text; what it was is noted in the file. Others read such a file as any other.

    frame -> [stored] -> .parquet -> [stored] -> frame
"""

from __future__ import annotations

import io
import json
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mblab.errors import SettingError, shown
from mblab.tables.arrow import as_arrow, as_pandas
from mblab.tables.exact import Code, Unholdable, column_code, column_of, decode, exact_json
from mblab.tables.same import column_difference

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_frame", "write_frame"]

NOTES: Final = b"mblab frame"
ARROW: Final = "arrow"  # noted of a column that has its own type in the file, and an Arrow dtype in the frame
KEPT: Final = frozenset({"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32",
                         "float64", "datetime64[us]", "datetime64[ns]"})  # fmt: skip


def write_frame(name: str, frame: pd.DataFrame, path: Path) -> None:
    """Write a frame without its index.

    Args:
        name: Of the frame, for messages.
        frame: With a RangeIndex.
        path: Where to.

    Raises:
        SettingError: A column holds what no file can; the message names it.
        OSError: As the system says.
    """
    import pyarrow.parquet as pq

    fields = [*_field_names(frame.columns)]
    plain, texts = frame.copy(deep=False), {}
    plain.attrs, plain.columns = {}, pd.Index(fields)
    for at, (field, label) in enumerate(zip(fields, frame.columns, strict=True)):
        column = frame.iloc[:, at]
        if _comes_back(column):
            continue
        if isinstance(column.dtype, pd.ArrowDtype):
            texts[field] = ARROW
        else:
            texts[field], values = _as_text(name, label, column)
            plain.isetitem(at, pd.array(values, dtype="str"))
    try:
        notes = {"names": exact_json(frame.columns), "attrs": exact_json(frame.attrs), "texts": texts}
    except Unholdable as what:
        raise SettingError(
            f"run.{name} cannot be saved: its attrs or names hold {what}, which no file can give back; leave it out in "
            "the step."
        ) from None
    table = as_arrow(plain)
    metadata = {**(table.schema.metadata or {}), NOTES: json.dumps(notes).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def read_frame(path: Path) -> pd.DataFrame:
    """Return a frame that `write_frame` wrote.

    Raises:
        ValueError: The file is damaged; or another error that says so.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    frame = as_pandas(table, dates_as_times=False)
    notes = (table.schema.metadata or {}).get(NOTES)
    if notes is None:
        return frame
    about = json.loads(notes)
    for at, field in enumerate(frame.columns):
        kind = about["texts"].get(field)
        if kind == ARROW:
            column = table.column(at)
            frame.isetitem(at, pd.array(column, dtype=pd.ArrowDtype(column.type)))
        elif kind is not None:
            frame.isetitem(at, _as_series(kind, frame.iloc[:, at]))  # type: ignore[arg-type]
    names = decode(json.loads(about["names"]))
    if not isinstance(names, pd.Index) or len(names) != frame.shape[1]:
        raise ValueError(f"{path.name} notes other columns than it has")
    frame.columns = names
    frame.attrs.update(decode(json.loads(about["attrs"])))
    return frame


def _field_names(labels: pd.Index) -> Iterator[str]:
    """Yield a name of its own for each column, as text that a file can hold."""
    used: set[str] = set()
    for label in labels:
        wish = str(label).encode("utf-8", "backslashreplace").decode()
        name, count = wish, 1
        while name in used:
            name, count = f"{wish}.{count}", count + 1
        used.add(name)
        yield name


def _comes_back(column: pd.Series[Any]) -> bool:
    """Return whether Parquet gives a column back as it is: known of plain dtypes, tried for all others."""
    import pyarrow.parquet as pq

    if str(column.dtype) in KEPT:
        return True
    alone = pd.DataFrame({"column": column.reset_index(drop=True)})
    try:
        table: pa.Table = as_arrow(alone)
        file = io.BytesIO()
        pq.write_table(table, file)
        again = as_pandas(pq.read_table(io.BytesIO(file.getvalue())), dates_as_times=False)
        with np.errstate(all="ignore"):
            return column_difference(alone["column"], again["column"]) is None
    except Exception:  # Arrow's, and whatever the values' own methods raise
        return False


def _as_series(dtype: str | Code, texts: Iterable[str]) -> pd.Series[Any]:
    """Return the column that `_as_text` wrote."""
    values = column_of(dtype, [json.loads(text) for text in texts])
    column: pd.Series[Any] = pd.Series(values, dtype=values.dtype)
    return column


def _as_text(name: str, label: Hashable, column: pd.Series[Any]) -> tuple[Any, list[str]]:
    """Return what says a column's dtype, and each of its values as JSON text, once they were seen to come back.

    Raises:
        SettingError: They do not.
    """
    try:
        dtype, codes = column_code(column)
        texts = [json.dumps(code, allow_nan=False) for code in codes]
        said = column_difference(column, _as_series(json.loads(json.dumps(dtype)), texts))
    except Unholdable as what:
        said = f"holds {what}"
    except Exception as error:  # whatever the values' own methods raise
        said = f"holds what cannot be written ({type(error).__name__})"
    if said is None:
        return dtype, texts
    raise SettingError(
        f"run.{name} cannot be saved: column {shown(label)} {said}, which no file can give back; make text of it in "
        "the step, for example with .astype('str')."
    )

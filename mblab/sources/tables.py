"""Rows by number, out of a frame or a file, in large pieces.

A table is read from any row on, some columns of it, and every piece has the same dtypes. Files are decoded 100,000 rows
at a time: decoding is dear and cutting is cheap. This room knows no arrival times.

    frame, file -> [tables] -> replay, watch
"""

from __future__ import annotations

import itertools
import json
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from mblab.errors import SourceChanged, SourceError

__all__ = [
    "DECODE_ROWS",
    "ArrowTable",
    "FileTable",
    "FrameTable",
    "Table",
    "as_pandas",
    "reading",
    "recut",
    "tidy_frame",
]

DECODE_ROWS = 100_000


class Table(Protocol):
    """Rows by number."""

    @property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with the columns and, as far as known without reading all, the dtypes."""
        ...

    @property
    def names(self) -> list[str]:
        """Return the names of all columns, also those that only reading tells."""
        return list(self.sample.columns)

    @property
    def num_rows(self) -> int | None:
        """Return how many rows there are; None when only reading them tells."""
        ...

    def read(self, columns: Sequence[str], start: int = 0) -> Iterator[pd.DataFrame]:
        """Return the rows from number `start` on, in their order, each piece with a RangeIndex from 0."""
        ...


@dataclass(frozen=True, eq=False)
class FrameTable(Table):
    """A frame in memory: one piece, not copied."""

    frame: pd.DataFrame

    @property
    def sample(self) -> pd.DataFrame:
        """Return the frame without its rows."""
        return self.frame.iloc[:0]

    @property
    def num_rows(self) -> int:
        """Return the number of rows."""
        return len(self.frame)

    def read(self, columns: Sequence[str], start: int = 0) -> Iterator[pd.DataFrame]:
        """Return the rows from `start` on in one piece."""
        if start < len(self.frame):
            whole = list(columns) == list(self.frame.columns)  # choosing columns copies them
            chosen = self.frame if whole else self.frame[list(columns)]
            yield chosen.iloc[start:].reset_index(drop=True)


class ArrowTable(Table):
    """Rows that are decoded as Arrow tables, and become frames with dtypes that hold for all of them."""

    @property
    @abstractmethod
    def schema(self) -> Any:
        """Return the Arrow schema that fits every row."""

    @property
    @abstractmethod
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes."""

    @property
    @abstractmethod
    def num_rows(self) -> int | None:
        """Return how many rows there are; None when only reading them tells."""

    @abstractmethod
    def arrow(self, columns: Sequence[str], start: int = 0, types: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Return Arrow tables from row `start` on that end at multiples of 100,000 rows.

        Args:
            columns: Columns to read, in this order.
            start: Number of the first row.
            types: Arrow types that columns shall have instead of those of the schema.
        """

    @abstractmethod
    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere."""

    def dictionaries(self, column: str) -> Iterator[Any]:  # noqa: ARG002
        """Return the categories of a dictionary column, piece by piece."""
        return iter(())

    def read(self, columns: Sequence[str], start: int = 0) -> Iterator[pd.DataFrame]:
        """Return the rows from `start` on in pieces that end at multiples of 100,000 rows."""
        tables = self.arrow(columns, start)
        first = next(tables, None)
        if first is None:
            return
        schema, dtypes = self.schema, self.dtypes(columns)
        for table in itertools.chain([first], tables):
            yield frame_of(table.replace_schema_metadata(schema.metadata), dtypes)

    def dtypes(self, columns: Sequence[str]) -> dict[str, Any]:
        """Return each column's dtype for all rows: a null anywhere makes an integer float64, as in one piece."""
        import pyarrow as pa

        schema = pa.schema([self.schema.field(c) for c in columns], self.schema.metadata)
        return _dtypes(schema, self.holes, self.dictionaries)


@dataclass(frozen=True)
class FileTable(ArrowTable):
    """A file that must stay what it was when its table was made."""

    path: Path
    stamp: tuple[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stamp", self._stamp())

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read: {error.strerror}.") from None
        return found.st_size, found.st_mtime_ns

    def check_unchanged(self) -> None:
        """Raise `SourceChanged` when the file was written to since."""
        if self._stamp() != self.stamp:
            raise SourceChanged(f"{self.path} has changed since replay() looked at it; call replay() again.")


def tidy_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with a RangeIndex, sharing its data copy-on-write; named index levels become columns.

    >>> tidy_frame(pd.DataFrame({"a": [1, 2]}, index=pd.Index([7, 8], name="key"))).to_dict("list")
    {'key': [7, 8], 'a': [1, 2]}
    """
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    unnamed = [i for i, name in enumerate(frame.index.names) if name not in named]
    kept = frame.reset_index(level=unnamed, drop=True) if unnamed else frame
    return kept.reset_index() if named else kept.copy(deep=False)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what Arrow and the system say about a file into one sentence."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        said = str(error).splitlines()[0]
        raise SourceError(f"{path} cannot be read: {said.rstrip('.')}.") from None


def plain_index(schema: Any) -> Any:
    """Return the schema as if its frame had no index: named levels are columns, an unnamed one is left out."""
    import pyarrow as pa

    metadata = dict(schema.metadata or {})
    if b"pandas" in metadata:
        noted = json.loads(metadata[b"pandas"])
        metadata[b"pandas"] = json.dumps({**noted, "index_columns": []}).encode()
    return pa.schema([f for f in schema if not re.fullmatch(r"__index_level_\d+__", f.name)], metadata)


def as_pandas(table: Any) -> pd.DataFrame:
    """Return an Arrow table as a frame."""
    frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    return frame


def recut(batches: Iterable[Any], first: int, start: int) -> Iterator[Any]:
    """Yield tables that begin with row `start` and end at multiples of `DECODE_ROWS`, whatever the batches.

    Args:
        batches: Arrow record batches.
        first: Number of their first row.
        start: Number of the first row wanted.
    """
    import pyarrow as pa

    held: list[Any] = []
    row = first
    for batch in batches:
        rest = batch.slice(max(0, start - row))
        row += batch.num_rows
        while rest.num_rows:
            room = DECODE_ROWS - (row - rest.num_rows) % DECODE_ROWS
            held.append(rest.slice(0, room))
            rest = rest.slice(room)
            if held[-1].num_rows == room:
                yield pa.Table.from_batches(held)
                held = []
    if held:
        yield pa.Table.from_batches(held)


def _dtypes(
    schema: Any, holes: Callable[[str], bool], dictionaries: Callable[[str], Iterable[Any]] = lambda _: ()
) -> dict[str, Any]:
    """Return each column's dtype for the whole file: a null anywhere makes an integer float64, as in one piece.

    Args:
        schema: Arrow types of the columns.
        holes: Whether a column has nulls anywhere.
        dictionaries: The pieces of a dictionary column's categories.
    """
    import pyarrow as pa

    full, holed = _dtypes_of(schema.serialize().to_pybytes())
    found: dict[str, Any] = {}
    for name, kind in zip(schema.names, schema.types, strict=True):
        if pa.types.is_dictionary(kind):
            names = pd.Index([c for piece in dictionaries(name) for c in piece.to_pylist()]).unique()
            found[name] = pd.CategoricalDtype(names, ordered=kind.ordered)
        else:
            found[name] = holed[name] if holed[name] != full[name] and holes(name) else full[name]
    return found


@lru_cache(64)
def _dtypes_of(schema: bytes) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return what the columns of a serialised schema become without nulls, and with them; many files share one."""
    import pyarrow as pa

    read = pa.ipc.read_schema(pa.py_buffer(schema))
    full, holed = read.empty_table(), pa.table([pa.nulls(1, f.type) for f in read], schema=read)
    return as_pandas(full).dtypes.to_dict(), as_pandas(holed).dtypes.to_dict()


def frame_of(table: Any, dtypes: dict[str, Any]) -> pd.DataFrame:
    """Return the table as a frame with exactly these dtypes."""
    frame = as_pandas(table)
    other = {c: dtypes[str(c)] for c, dtype in frame.dtypes.items() if dtypes[str(c)] != dtype}
    return frame.astype(other) if other else frame

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
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionDtype

from mblab.errors import ColumnError, SourceChanged, SourceError, shown
from mblab.tables.arrow import as_pandas, kind_said, pandas_notes, said
from mblab.tables.given import Dtype, Given, made

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "DECODE_ROWS",
    "EXACT",
    "ArrowTable",
    "Dtype",
    "FileTable",
    "FrameTable",
    "NullTable",
    "Table",
    "as_pandas",
    "cast",
    "each_once",
    "has_wide",
    "is_rounded",
    "reading",
    "recut",
    "sample_of",
    "tidy_frame",
    "unnamed_times",
]

DECODE_ROWS = 100_000
UNNAMED_LEVEL = r"__index_level_\d+__"  # what pandas calls a level of an index without a name
OTHERWISE = (pd.PeriodDtype, pd.IntervalDtype, pd.DatetimeTZDtype, pd.CategoricalDtype)  # made by `astype`
NO_NULL = "iubSU"  # kinds of NumPy's dtypes that hold no null
EXACT = 2**53  # up to which float64 holds every whole number


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
    def given(self) -> Mapping[str, Given]:
        """Return the types that columns shall have, by name; of other columns the rows decide."""
        return {}

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
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
    def arrow(
        self, columns: Sequence[str], start: int = 0, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Return Arrow tables from row `start` on that end at multiples of 100,000 rows.

        Args:
            columns: Columns to read, in this order.
            start: Number of the first row.
            types: Arrow types that columns shall have instead of those of the schema.
        """

    @abstractmethod
    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere."""

    @abstractmethod
    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one anywhere that float64 cannot."""

    @abstractmethod
    def dictionaries(self, column: str) -> Iterator[pa.Array]:
        """Return the categories of a dictionary column, piece by piece."""

    def look(self, columns: Sequence[str]) -> None:
        """Find what will be asked of some columns and only reading tells, in one pass; here there is nothing."""

    def check_types(self, columns: Sequence[str]) -> None:
        """Refuse columns that cannot be read; here there are none.

        Raises:
            SourceError: A column holds values of several kinds.
        """

    def read(self, columns: Sequence[str], start: int = 0) -> Iterator[pd.DataFrame]:
        """Return the rows from `start` on in pieces that end at multiples of 100,000 rows."""
        tables = self.arrow(columns, start)
        first = next(tables, None)
        if first is None:
            return
        schema, dtypes = self.schema, self.dtypes(columns)
        for table in itertools.chain([first], tables):
            yield frame_of(table.replace_schema_metadata(schema.metadata), dtypes)

    def dtypes(self, columns: Sequence[str]) -> dict[str, Dtype]:
        """Return each column's dtype for all rows.

        A null anywhere makes whole numbers float64, as in one piece, or Int64 where float64 would change them.
        """
        import pyarrow as pa

        self.look(columns)
        whole = self.schema
        full, holed = _dtypes_of(pa.schema([whole.field(c) for c in columns], whole.metadata).serialize().to_pybytes())
        found: dict[str, Dtype] = {}
        for name in columns:
            kind = whole.field(name).type
            given = self.given.get(name)
            if given is not None and given.dtype is not None and not given.is_open:
                found[name] = given.dtype
                self._refuse_holes(name, given.dtype)
            elif pa.types.is_dictionary(kind):
                names = pd.Index([c for piece in self.dictionaries(name) for c in piece.to_pylist()]).unique()
                found[name] = pd.CategoricalDtype(names, ordered=kind.ordered)
            elif holed[name] == full[name] or not self.holes(name):
                found[name] = full[name]
            elif kind in nullable() and self.wide(name):
                found[name] = nullable()[kind]
            else:
                found[name] = holed[name]
        return found

    def _refuse_holes(self, name: str, dtype: Dtype) -> None:
        """Raise when a column has nulls, which its given dtype does not hold."""
        if isinstance(dtype, np.dtype) and dtype.kind in NO_NULL and self.holes(name):
            way = {"b": "boolean", "S": "str", "U": "str"}.get(dtype.kind, str(dtype).title().replace("Ui", "UI"))
            raise SourceError(
                f"column {name!r} must be {dtype}, but has nulls, which it does not hold; name a type that does, such "
                f"as types={{{name!r}: {way!r}}}."
            )


@dataclass(frozen=True)
class NullTable(ArrowTable):
    """Rows that lack their columns, which are null of the types that are known for them.

    Attributes:
        lacking: Names of the columns.
        types: What is known of their types, by name.
        rows: How many rows there are.
    """

    lacking: Sequence[str]
    types: Mapping[str, Given]
    rows: int

    @property
    def given(self) -> Mapping[str, Given]:
        """Return what is known of the columns' types, by name."""
        return self.types

    @property
    def num_rows(self) -> int:
        """Return the number of rows."""
        return self.rows

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema; null of a column of which nothing is known."""
        import pyarrow as pa

        return pa.schema([(n, self.types[n].kind if n in self.types else pa.null()) for n in self.lacking])

    @property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes."""
        return sample_of(self.schema)

    def arrow(
        self, columns: Sequence[str], start: int = 0, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Return the rows from `start` on in one table."""
        import pyarrow as pa

        wanted = pa.schema([(c, (types or {}).get(c, self.schema.field(c).type)) for c in columns])
        yield pa.table([pa.nulls(self.rows - start, f.type) for f in wanted], schema=wanted)

    def holes(self, column: str) -> bool:  # noqa: ARG002
        """Return that there are nulls."""
        return True

    def wide(self, column: str) -> bool:  # noqa: ARG002
        """Return that there is no number."""
        return False

    def dictionaries(self, column: str) -> Iterator[pa.Array]:  # noqa: ARG002
        """Return no categories."""
        return iter(())


class _Facts(NamedTuple):
    """What reading a column tells; see `ArrowTable`."""

    holes: bool
    wide: bool
    dictionaries: list[pa.Array]


@dataclass(frozen=True)
class FileTable(ArrowTable):
    """A file that must stay what it was when its table was made.

    Attributes:
        path: The file.
        types: Types that columns shall have, by name.
    """

    path: Path
    types: Mapping[str, Given] = field(default_factory=dict)
    stamp: tuple[int, int] = field(init=False, repr=False)

    @property
    def given(self) -> Mapping[str, Given]:
        """Return the types that columns shall have, by name."""
        return self.types

    def is_converted(self, column: str) -> bool:
        """Return whether a column becomes of a type that somebody named, so that the file's own facts do not hold."""
        return column in self.types and not self.types[column].is_loose

    def is_unsaid(self, column: str) -> bool:
        """Return whether only reading tells what is asked of a column: if there are nulls, and which categories."""
        import pyarrow as pa

        given = self.given.get(column)
        if self.is_converted(column) and given is not None and given.dtype is not None and not given.is_open:
            return isinstance(given.dtype, np.dtype) and given.dtype.kind in NO_NULL
        return self.is_converted(column) or bool(pa.types.is_dictionary(self.schema.field(column).type))

    @cached_property
    def _facts(self) -> dict[str, _Facts]:
        return {}

    def look(self, columns: Sequence[str]) -> None:
        """Read the columns of which nothing else tells what will be asked, in one pass."""
        self._read_facts([c for c in columns if self.is_unsaid(c)])

    def _read_facts(self, columns: Sequence[str]) -> dict[str, _Facts]:
        """Return what reading some columns tells; those that were not read before are read together."""
        import pyarrow as pa

        new = [c for c in columns if c not in self._facts]
        found = {c: _Facts(holes=False, wide=False, dictionaries=[]) for c in new}
        for table in self.arrow(new) if new else ():
            for name, column in zip(new, table.columns, strict=True):
                holes, wide, pieces = found[name]
                if pa.types.is_dictionary(column.type):  # mostly the same one again and again
                    pieces += [d for d in (chunk.dictionary for chunk in column.chunks) if d not in pieces[-1:]]
                wide = wide or (pa.types.is_integer(column.type) and has_wide(column))
                found[name] = _Facts(holes or column.null_count > 0, wide, pieces)
        self._facts.update(found)
        return self._facts

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere, by reading it."""
        return self._read_facts([column])[column].holes

    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one anywhere that float64 cannot, by reading it."""
        return self._read_facts([column])[column].wide

    def dictionaries(self, column: str) -> Iterator[pa.Array]:
        """Return the categories of a dictionary column, piece by piece, by reading it."""
        return iter(self._read_facts([column])[column].dictionaries)

    def as_given(self, schema: pa.Schema) -> pa.Schema:
        """Return a schema with the types that are given for columns in the place of those that were found."""
        import pyarrow as pa

        if not self.types:
            return schema
        kinds = [f.with_type(self.types[f.name].for_own(f.type)) if f.name in self.types else f for f in schema]
        other = {kind.name for kind, f in zip(kinds, schema, strict=True) if kind.type != f.type}
        return pa.schema(kinds, without_notes(schema, other))

    def __post_init__(self) -> None:
        object.__setattr__(self, "stamp", self._stamp())

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read: {error.strerror}.") from None
        return found.st_size, found.st_mtime_ns

    def unchanged(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Yield what is read of the file for as long as it stays what it was; none of it is of a mixture.

        Raises:
            SourceChanged: It was written to since.
        """
        self._check()
        while True:
            try:
                table = next(tables, None)
            except SourceError:
                self._check()
                raise
            self._check()
            if table is None:
                return
            yield table

    def _check(self) -> None:
        if self._stamp() != self.stamp:
            raise SourceChanged(f"{self.path} has changed since replay() looked at it; call replay() again.")


def tidy_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with a RangeIndex, sharing its data copy-on-write; named index levels become columns.

    >>> tidy_frame(pd.DataFrame({"a": [1, 2]}, index=pd.Index([7, 8], name="key"))).to_dict("list")
    {'key': [7, 8], 'a': [1, 2]}
    """
    if frame.columns.nlevels > 1:
        raise ColumnError(
            f"rows must have one name a column, but have {frame.columns.nlevels} levels of them, such as "
            f"{shown(next(iter(frame.columns), None))}; join them, for example "
            "rows.columns = ['_'.join(map(str, c)) for c in rows.columns]."
        )
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
        raise SourceError(f"{path} cannot be read: {said(error)}.") from None


def plain_index(schema: pa.Schema) -> pa.Schema:
    """Return the schema as if its frame had no index, and text for names.

    Named levels are columns, an unnamed one is left out.
    """
    import pyarrow as pa

    metadata = dict(schema.metadata or {})
    if b"pandas" in metadata:
        noted = pandas_notes(schema)
        metadata[b"pandas"] = json.dumps({**noted, "index_columns": [], "column_indexes": []} if noted else {}).encode()
    return pa.schema([f for f in schema if not re.fullmatch(UNNAMED_LEVEL, f.name)], metadata)


def without_notes(schema: pa.Schema, columns: Container[str]) -> dict[bytes, bytes]:
    """Return a schema's metadata without what pandas noted of some columns."""
    metadata = dict(schema.metadata or {})
    if noted := pandas_notes(schema):
        kept = [column for column in noted["columns"] if column["field_name"] not in columns]
        metadata[b"pandas"] = json.dumps({**noted, "columns": kept}).encode()
    return metadata


def unnamed_times(schema: pa.Schema) -> bool:
    """Return whether pandas put an index of times into a file that has no name, so that it is no column."""
    import pyarrow as pa

    kinds = [f.type for f in schema if re.fullmatch(UNNAMED_LEVEL, f.name)]
    return any(pa.types.is_timestamp(kind) or pa.types.is_duration(kind) for kind in kinds)


def sample_of(schema: pa.Schema) -> pd.DataFrame:
    """Return no rows of a schema; columns that no frame can hold are left out, for reading them says why."""
    empty = schema.empty_table()
    try:
        return as_pandas(empty)
    except SourceError:
        kept = [i for i in range(len(schema)) if _holds(empty.select([i]))]
        return as_pandas(empty.select(kept))


def _holds(table: pa.Table) -> bool:
    try:
        as_pandas(table)
    except SourceError:
        return False
    return True


def cast(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """Return the table with the types of a schema.

    Raises:
        SourceError: A column has a value that its type cannot hold.
    """
    import pyarrow as pa

    try:
        return table.cast(schema)
    except pa.ArrowException:
        for name, column in zip(table.column_names, table.columns, strict=True):
            try:
                column.cast(schema.field(name).type)
            except pa.ArrowException as error:
                raise SourceError(
                    f"{path} holds column {name!r} as {kind_said(column.type)}, which must go with the others as "
                    f"{kind_said(schema.field(name).type)}, but {said(error)}; make them the same."
                ) from None
        raise


def has_wide(column: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether an Arrow column of whole numbers holds one that float64 cannot."""
    import pyarrow.compute as pc

    ends = pc.min_max(column).as_py()
    return ends["max"] is not None and max(-ends["min"], ends["max"]) > EXACT


def is_rounded(digits: str) -> bool:
    """Return whether float64 changes a whole number, beyond the digits a writer of float64 leaves out.

    >>> is_rounded("9007199254740993"), is_rounded("12345678901234567000")
    (True, False)
    """
    nearest = float(digits)
    return int(nearest) != int(digits) and Decimal(repr(nearest)) != Decimal(digits)


def each_once(names: Iterable[Hashable], owner: str | Path) -> None:
    """Raise `ColumnError` when a name is there more than once."""
    columns = pd.Index(list(names), dtype=object)
    if twice := sorted({str(c) for c in columns[columns.duplicated()]}):
        raise ColumnError(f"{owner} must name each column once, but has {twice} more than once; rename them.")


def recut(batches: Iterable[pa.RecordBatch], first: int, start: int) -> Iterator[pa.Table]:
    """Yield tables that begin with row `start` and end at multiples of `DECODE_ROWS`, whatever the batches.

    Args:
        batches: Arrow record batches.
        first: Number of their first row.
        start: Number of the first row wanted.
    """
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
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


@lru_cache(64)
def _dtypes_of(schema: bytes) -> tuple[dict[str, Dtype], dict[str, Dtype]]:
    """Return what the columns of a serialised schema become without nulls, and with them; many files share one."""
    import pyarrow as pa

    read = pa.ipc.read_schema(pa.py_buffer(schema))
    full, holed = read.empty_table(), pa.table([pa.nulls(1, f.type) for f in read], schema=read)
    with np.errstate(invalid="ignore"):  # pandas makes whole numbers of the null ends of an interval
        return _dtypes_in(full), _dtypes_in(holed)


def _dtypes_in(table: pa.Table) -> dict[str, Dtype]:
    return {str(name): dtype for name, dtype in as_pandas(table).dtypes.items()}


def frame_of(table: pa.Table, dtypes: Mapping[str, Dtype]) -> pd.DataFrame:
    """Return the table as a frame with exactly these dtypes."""
    import pyarrow as pa

    plain, direct = table, _direct(table, dtypes)
    for name in direct:
        at = table.column_names.index(name)
        plain = plain.set_column(at, name, pa.nulls(table.num_rows))
    frame = as_pandas(plain)
    for name, dtype in direct.items():
        frame[name] = pd.Series(dtype.__from_arrow__(table.column(name)))
    other = {str(c): dtypes[str(c)] for c, dtype in frame.dtypes.items() if dtypes[str(c)] != dtype}
    for name in table.column_names:
        dtype = dtypes.get(name)
        if isinstance(dtype, pd.CategoricalDtype) and name not in other and dtype.categories is not None:
            frame[name] = frame[name].cat.set_categories(dtype.categories)  # equal dtypes may have them in other order
    for name, dtype in other.items():
        try:
            frame[name] = made(frame[name], dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise SourceError(f"column {name!r} must be {dtype}, but {said(error)}; name another type.") from None
    return frame


def _direct(table: pa.Table, dtypes: Mapping[str, Dtype]) -> dict[str, Any]:
    """Return the dtypes that take Arrow's values as they are, not by way of what pandas makes of them without a note.

    Of whole numbers beside nulls it makes float64, and for some it has nothing.
    """
    noted = {column["field_name"] for column in pandas_notes(table.schema).get("columns", [])}
    return {
        name: dtypes[name]
        for name in table.column_names
        if name in dtypes
        and isinstance(dtypes[name], ExtensionDtype)
        and hasattr(dtypes[name], "__from_arrow__")
        and not isinstance(dtypes[name], OTHERWISE)
        and not (isinstance(dtypes[name], pd.StringDtype) and dtypes[name] == _made_of(table.schema.field(name).type))
        and (name not in noted or isinstance(dtypes[name], pd.Int64Dtype | pd.UInt64Dtype))
    }


@lru_cache(64)
def _made_of(kind: pa.DataType) -> Dtype:
    """Return what pandas makes of a type of Arrow's without a note."""
    import pyarrow as pa

    return _dtypes_in(pa.schema([("made", kind)]).empty_table())["made"]


@lru_cache(1)
def nullable() -> dict[pa.DataType, pd.Int64Dtype | pd.UInt64Dtype]:
    """Return the dtypes that hold whole numbers beside nulls, by Arrow type."""
    import pyarrow as pa

    return {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}

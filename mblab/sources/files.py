"""Rows out of a frame or a file, in large pieces.

A table is read from any row on, some columns of it, and every piece has the same dtypes. Files are decoded 100,000 rows
at a time: decoding is dear and cutting is cheap. This room knows no arrival times.

    frame, .parquet, .csv -> [files] -> replay
"""

from __future__ import annotations

import csv
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from mblab.errors import SourceChanged, SourceError, did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["DECODE_ROWS", "CsvTable", "FrameTable", "ParquetTable", "Table", "open_table", "tidy_frame"]

DECODE_ROWS = 100_000
PARSE_BYTES = 1 << 22  # of a CSV file at a time; a line must fit


class Table(Protocol):
    """Rows by number."""

    @property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with the columns and, as far as known without reading all, the dtypes."""
        ...

    @property
    def num_rows(self) -> int | None:
        """Return how many rows there are; None when only reading them tells."""
        ...

    def read(self, columns: Sequence[str], start: int = 0) -> Iterator[pd.DataFrame]:
        """Return the rows from number `start` on, in their order, each piece with a RangeIndex from 0."""
        ...


@dataclass(frozen=True, eq=False)
class FrameTable:
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


@dataclass(frozen=True)
class _File:
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


@dataclass(frozen=True)
class ParquetTable(_File):
    """A Parquet file."""

    @cached_property
    def _schema(self) -> Any:
        with _reading(self.path):
            return _plain_index(self._open().schema_arrow)

    @cached_property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes."""
        return _to_pandas(self._schema.empty_table())

    @cached_property
    def num_rows(self) -> int:
        """Return the number of rows, from the file's footer."""
        with _reading(self.path):
            return int(self._open().metadata.num_rows)

    def read(self, columns: Sequence[str], start: int = 0) -> Iterator[pd.DataFrame]:
        """Return the rows from `start` on in pieces that end at multiples of 100,000 rows."""
        import pyarrow as pa

        self.check_unchanged()
        with _reading(self.path):
            file = self._open()
            schema = pa.schema([self._schema.field(c) for c in columns], self._schema.metadata)
            dtypes = _dtypes(schema, lambda c: self._holes(file, c), lambda c: self._dictionaries(file, c))
            group_rows = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            begins = np.concatenate([[0], np.cumsum(group_rows)]).astype(int)
            first = int(np.searchsorted(begins, start, side="right")) - 1
            groups = list(range(first, len(group_rows)))
            if groups:
                batches = file.iter_batches(DECODE_ROWS, row_groups=groups, columns=list(columns))
                for table in _recut(batches, int(begins[first]), start):
                    yield _frame(table.select(list(columns)).replace_schema_metadata(schema.metadata), dtypes)

    def _open(self) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self.path, pre_buffer=False)  # with it, iter_batches keeps all it has read

    def _holes(self, file: Any, column: str) -> bool:
        """Return whether the column has nulls anywhere: from the footer, else by reading it."""
        at = file.schema_arrow.get_field_index(column)
        footer = [file.metadata.row_group(g).column(at) for g in range(file.num_row_groups)]
        if all(c.path_in_schema == column and c.statistics and c.statistics.has_null_count for c in footer):
            return any(c.statistics.null_count for c in footer)
        return any(batch.column(0).null_count for batch in file.iter_batches(columns=[column]))

    def _dictionaries(self, file: Any, column: str) -> Iterator[Any]:
        """Return the categories of the column, piece by piece."""
        return (batch.column(0).dictionary for batch in file.iter_batches(columns=[column]))


@dataclass(frozen=True)
class CsvTable(_File):
    """A CSV file with a header: commas, double quotes, UTF-8; times in ISO 8601 are read as such."""

    @property
    def num_rows(self) -> int | None:
        """Return 0 when there are none, else None: only reading it all would tell."""
        with _reading(self.path):
            return None if any(batch.num_rows for batch in self._open()) else 0

    @cached_property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes as the beginning of the file has them."""
        with _reading(self.path):
            return _to_pandas(self._open().schema.empty_table())

    def read(self, columns: Sequence[str], start: int = 0) -> Iterator[pd.DataFrame]:
        """Return the rows from `start` on in pieces that end at multiples of 100,000 rows.

        The file is gone through once before, to find for each column the one type that fits all of it.
        """
        import pyarrow as pa

        self.check_unchanged()
        with _reading(self.path):
            schema, holes = self._survey
            dtypes = _dtypes(pa.schema([schema.field(c) for c in columns]), holes.__contains__)
            types = {c: schema.field(c).type for c in columns}
            for table in _recut(self._open(types, columns), 0, start):
                yield _frame(table, dtypes)

    def _open(self, types: dict[str, Any] | None = None, columns: Sequence[str] = ()) -> Any:
        from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

        return open_csv(
            self.path,
            read_options=ReadOptions(use_threads=False, block_size=PARSE_BYTES),  # with threads a bad row has no number
            parse_options=ParseOptions(newlines_in_values=True),
            convert_options=ConvertOptions(
                column_types=types,
                include_columns=list(columns),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    @cached_property
    def _survey(self) -> tuple[Any, set[str]]:
        """Return the schema that fits every row, and the columns that have nulls.

        Arrow's streaming reader types a column by the first block it sees. Where a later value does not fit, the column
        moves on to the next type in Arrow's own order of inference, and the file is gone through again.
        """
        import pyarrow as pa

        types: dict[str, Any] = {}
        while True:
            try:
                reader = self._open(types)
                holes = {
                    n
                    for batch in reader
                    for n, c in zip(batch.schema.names, batch.columns, strict=True)
                    if c.null_count
                }
            except pa.ArrowInvalid as error:
                misfit = re.match(r"In CSV column #(\d+): .*conversion error to", str(error))
                if not misfit:
                    raise
                name = list(self.sample.columns)[int(misfit[1])]
                types[name] = _next_type(types.get(name, self._open().schema.field(name).type))
            else:
                if coded := [f.name for f in reader.schema if pa.types.is_binary(f.type)]:
                    raise SourceError(
                        f"{self.path} must be UTF-8 text, but column {coded[0]!r} is not; save it as UTF-8."
                    )
                return reader.schema, holes


def open_table(path: Path) -> ParquetTable | CsvTable:
    """Return the table behind a path, by the path's ending.

    Raises:
        SourceError: There is no such file, it is a folder, or its ending is neither .parquet nor .csv.
    """
    if path.is_dir():
        raise SourceError(f"{path} is a folder; replay() reads one .parquet or .csv file.")
    if not path.exists():
        siblings = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        where = "" if path.parent.is_dir() else f" (there is no folder {path.parent} either)"
        hint = did_you_mean(path.name, siblings)
        raise SourceError(f"{path} does not exist{where}{hint or '; paths are relative to the working directory.'}")
    kinds: dict[str, type[ParquetTable | CsvTable]] = {".parquet": ParquetTable, ".csv": CsvTable}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise SourceError(f"{path} must end in .parquet or .csv; read other files yourself and replay the frame.")
    return kind(path)


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
def _reading(path: Path) -> Iterator[None]:
    """Turn what Arrow and the system say about a file into one sentence."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        said = str(error).splitlines()[0]
        ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): ?(.*)", said)
        if ragged:
            record, want, got, text = ragged.groups()
            line = f"{path}, line {_line(path, int(record))},"
            raise SourceError(f"{line} must have {want} values like the header, got {got}: {shown(text)}.") from None
        raise SourceError(f"{path} cannot be read: {said.rstrip('.')}.") from None


def _line(path: Path, record: int) -> int:
    """Return the line on which a CSV record ends; Arrow counts records, without blank lines."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        return next(islice((reader.line_num for values in reader if values), record - 1, None), record)


def _plain_index(schema: Any) -> Any:
    """Return the schema as if its frame had no index: named levels are columns, an unnamed one is left out."""
    import pyarrow as pa

    metadata = dict(schema.metadata or {})
    if b"pandas" in metadata:
        noted = json.loads(metadata[b"pandas"])
        metadata[b"pandas"] = json.dumps({**noted, "index_columns": []}).encode()
    return pa.schema([f for f in schema if not re.fullmatch(r"__index_level_\d+__", f.name)], metadata)


def _to_pandas(table: Any) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    return frame


def _recut(batches: Iterable[Any], first: int, start: int) -> Iterator[Any]:
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

    full = _to_pandas(schema.empty_table()).dtypes
    holed = _to_pandas(pa.table([pa.nulls(1, f.type) for f in schema], schema=schema)).dtypes
    found: dict[str, Any] = {}
    for name, kind in zip(schema.names, schema.types, strict=True):
        if pa.types.is_dictionary(kind):
            names = pd.Index([c for piece in dictionaries(name) for c in piece.to_pylist()]).unique()
            found[name] = pd.CategoricalDtype(names, ordered=kind.ordered)
        else:
            found[name] = holed[name] if holed[name] != full[name] and holes(name) else full[name]
    return found


def _frame(table: Any, dtypes: dict[str, Any]) -> pd.DataFrame:
    """Return the table as a frame with exactly these dtypes."""
    frame = _to_pandas(table)
    return frame.astype({c: dtype for c, dtype in dtypes.items() if frame[c].dtype != dtype})


def _next_type(kind: Any) -> Any:
    """Return the type that Arrow's inference tries after this one; text takes everything."""
    import pyarrow as pa

    order = [
        *(pa.null(), pa.int64(), pa.bool_(), pa.date32(), pa.time32("s")),
        *(pa.timestamp("s"), pa.timestamp("s", "UTC"), pa.timestamp("ns"), pa.timestamp("ns", "UTC")),
        *(pa.float64(), pa.string()),
    ]
    return order[order.index(kind) + 1] if kind in order[:-1] else pa.string()

"""Rows out of a CSV file.

    .csv, .csv.gz -> dialects -> [csv] -> files

Every value is read as text first, and becomes what all of its column is; so quotes, blanks and null words mean the same
wherever a file is cut. What was read to find the types is kept for the rows themselves where it is not much.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd

from mblab.errors import SourceError, shown
from mblab.tables.arrow import as_pandas
from mblab.tables.base import FileTable, reading, recut
from mblab.tables.casting import is_text
from mblab.tables.dialects import COMMAS, HEAD_BYTES, UTF8, Dialect, Opening, looked_at, opened
from mblab.tables.fitting import as_given, is_as_given, misfit_error
from mblab.tables.inference import Column, first_that, given_column, parsed, taken_in
from mblab.tables.together import all_taken_in

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CsvTable"]

PARSE_BYTES = 1 << 23  # of a file at a time; a line must fit
KEPT_BYTES: Final = 1 << 26  # of texts, of all files of a table


class _Survey(NamedTuple):
    """What only reading all of a file tells.

    Attributes:
        columns: What is known of each column.
        texts: The rows as texts, where they are not much; else None.
        values: The rows with numbers where a column holds them, else as texts, where they are not much; else None.
    """

    columns: dict[str, Column]
    texts: list[pa.RecordBatch] | None
    values: list[pa.RecordBatch] | None

    def kept_for(self, wanted: pa.Schema) -> list[pa.RecordBatch] | None:
        """Return all rows, as what values of a schema can be made of; None where they are not kept."""
        if self.values and all(_fits(batch.schema.field(f.name).type, f.type) for batch in self.values for f in wanted):
            return self.values
        return self.texts


class _Kept:
    """Rows that are kept while they are not more than so many bytes; then none."""

    def __init__(self, most_bytes: int) -> None:
        self.room = most_bytes
        self.batches: list[pa.RecordBatch] | None = []

    def take(self, batch: pa.RecordBatch) -> None:
        """Take more rows."""
        self.room -= batch.nbytes
        if self.room < 0:
            self.batches = None
        if self.batches is not None:
            self.batches.append(batch)


def _fits(kept: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether values of a type can be made of what is kept."""
    return kept == wanted or is_text(kept)


class _Begin(NamedTuple):
    """How the rows begin.

    Attributes:
        names: Names of the columns.
        texts: The first rows as texts; None where there are none.
    """

    names: list[str]
    texts: pa.RecordBatch | None


@dataclass(frozen=True)
class CsvTable(FileTable):
    """A CSV file with a header and double quotes; times in ISO 8601 are read as such.

    Attributes:
        dialect: How it is written.
        kept_bytes: How much of its texts, and of their values, is kept between finding the types and reading the rows.
    """

    dialect: Dialect = COMMAS
    kept_bytes: int = KEPT_BYTES

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_survey", "_begin", "schema")}

    @property
    def num_rows(self) -> int | None:
        """Return 0 when there are none, else None: only reading it all would tell."""
        return 0 if self._begin.texts is None else None

    @cached_property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema that fits every row; the file is gone through once to find it."""
        import pyarrow as pa

        return pa.schema([(name, column.type) for name, column in self.columns.items()])

    @property
    def columns(self) -> dict[str, Column]:
        """Return what is known of each column from all rows."""
        return self._survey.columns

    @property
    def names(self) -> list[str]:
        """Return the names of all columns."""
        return self._begin.names

    @cached_property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes as the beginning of the file has them."""
        import pyarrow as pa

        names, texts = self._begin
        known = [self._known_of(name) for name in names]
        if texts is not None:
            known, _ = self._taken_in(known, texts)
        return as_pandas(pa.schema(zip(names, [c.type for c in known], strict=True)).empty_table())

    def arrow(
        self, columns: Sequence[str], start: int = 0, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Return the rows from `start` on in tables that end at multiples of 100,000 rows."""
        return self.unchanged(self._read(columns, start, types))

    def _read(self, columns: Sequence[str], start: int, types: Mapping[str, pa.DataType] | None) -> Iterator[pa.Table]:
        import pyarrow as pa

        found = self.columns
        wanted = pa.schema([(c, (types or {}).get(c, found[c].type)) for c in columns])
        kept = self._survey.kept_for(wanted)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in self._texts(columns) if kept is None else kept:
                values = [self._values(batch.column(f.name), f.type) for f in wanted]
                yield pa.RecordBatch.from_arrays(values, schema=wanted)

        with self._reading():
            yield from recut(batches(), 0, start)

    def _values(self, column: pa.Array, kind: pa.DataType) -> pa.Array:
        return parsed(column, kind, *self._written) if is_text(column.type) else column

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere."""
        return self.columns[column].is_null

    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one anywhere that float64 cannot."""
        return self.columns[column].is_wide

    @cached_property
    def _opening(self) -> Opening:
        with reading(self.path):
            return looked_at(self.path, self.dialect)

    @cached_property
    def _begin(self) -> _Begin:
        """Return the names and the first rows: of a little, where that is enough for a row."""
        import pyarrow as pa

        with self._reading():
            for size in (HEAD_BYTES, PARSE_BYTES):
                try:
                    reader = self._open(self._opening.names, size, others=True)
                    names = reader.schema.names
                    if len(set(names)) < len(names) or not all(map(is_text, reader.schema.types)):
                        reader = self._open(names, size)
                    return _Begin(names, next((batch for batch in reader if batch.num_rows), None))
                except pa.ArrowInvalid as error:
                    if size == PARSE_BYTES or "straddling" not in str(error):
                        raise
        raise AssertionError

    def _texts(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows as texts; null words that stand in quotes are texts as well."""
        if columns:
            yield from self._open(columns, PARSE_BYTES)

    def _open(self, columns: Sequence[str], size: int, *, others: bool = False) -> pa.RecordBatchReader:
        """Return a reader of some columns as texts, with the others as Arrow takes them or without."""
        import pyarrow as pa
        from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

        opening = self._opening
        return open_csv(
            opened(self.path),
            read_options=ReadOptions(
                use_threads=False,  # with threads a bad row has no number
                block_size=size,
                skip_rows=opening.skip,
                encoding=opening.encoding,
            ),
            parse_options=ParseOptions(delimiter=self.dialect.sep, newlines_in_values=True),
            convert_options=ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=[] if others else list(dict.fromkeys(columns)),
                null_values=self.dialect.nulls,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    @cached_property
    def _survey(self) -> _Survey:
        """Return what only reading all of the file tells.

        Raises:
            SourceError: A value does not fit a type that is given, or a quote is opened and not closed.
        """
        import pyarrow as pa

        names = self.names
        known = [self._known_of(name) for name in names]
        texts, values = _Kept(self.kept_bytes), _Kept(self.kept_bytes)
        row, last = 0, None
        with self._reading():
            for batch in self._texts(names):
                known, columns = self._taken_in(known, batch, row)
                row, last = row + batch.num_rows, batch if batch.num_rows else last
                texts.take(batch)
                values.take(pa.RecordBatch.from_arrays(columns, names))
            ending = "" if last is None else last.column(last.num_columns - 1)[-1].as_py() or ""
            if "\n" in ending and not self._ends_in_a_quote():
                raise SourceError(
                    f"{self.path}, line {self._begun()}, opens a quote that is never closed; close it, or double "
                    "the quotes that belong to a text."
                )
        return _Survey(dict(zip(names, known, strict=True)), texts.batches, values.batches)

    @property
    def _written(self) -> tuple[str, tuple[str, ...]]:
        """How values are written: what stands before a fraction, and what stands for nothing."""
        return self.dialect.decimal, self.dialect.nulls

    def _known_of(self, name: str) -> Column:
        """Return what is known of a column before it is read: that it holds numbers, or times, if that is settled."""
        import pyarrow as pa

        given = self.types.get(name)
        if given is None or not given.is_loose:
            return Column(pa.null())
        if pa.types.is_timestamp(given.kind):
            return Column(pa.timestamp("s" if given.kind.unit == "s" else "ns", given.kind.tz and "UTC"))
        if pa.types.is_date(given.kind):
            return Column(pa.date32())
        return Column(
            pa.int64() if pa.types.is_integer(given.kind) else pa.float64(), whole=pa.types.is_integer(given.kind)
        )

    def _taken_in(
        self, known: list[Column], texts: pa.RecordBatch, row: int = 0
    ) -> tuple[list[Column], list[pa.Array]]:
        """Return what is known of all columns with more rows, the first of them a certain one, and their values."""
        names = texts.schema.names
        free = [i for i, name in enumerate(names) if name not in self.types]
        facts, numbers = all_taken_in([known[i] for i in free], [texts.column(i) for i in free], *self._written)
        found, values = list(known), list(texts.columns)
        for i, fact, number in zip(free, facts, numbers, strict=True):
            found[i], values[i] = fact, number
        for i, name in enumerate(names):
            if name in self.types:
                found[i] = self._given_taken_in(known[i], name, texts.column(i), row)
        return found, values

    def _given_taken_in(self, known: Column, name: str, text: pa.Array, row: int) -> Column:
        """Return what is known of a column whose type is given with more of its texts, the first of them in a row."""
        import pyarrow as pa

        given = self.types[name]
        if given.is_loose:
            found = taken_in(known, text, *self._written)
            if given.goes_with(found.type):
                return found
            at = first_that(text, lambda part: not given.goes_with(taken_in(known, part, *self._written).type))
            raise misfit_error(f"{self.path}, line {self._line(row + at + 2)},", text[at].as_py(), name, given)
        try:
            return given_column(known, as_given(text, given, *self._written))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            at = first_that(text, lambda part: not is_as_given(part, given, *self._written))
            where = f"{self.path}, line {self._line(row + at + 2)},"
            raise misfit_error(where, text[at].as_py(), name, given) from None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what Arrow says about a file into one sentence, with the line where it can be told."""
        import pyarrow as pa

        path = self.path
        with reading(path):
            try:
                yield
            except UnicodeError:  # the names in the header are decoded late
                raise self._not_text(None) from None
            except pa.ArrowException as error:
                text = str(error)
                if "Empty CSV file" in text:
                    raise SourceError(f"{path} has no rows: it must have a header, and a line for each row.") from None
                if "straddling object" in text:
                    raise SourceError(
                        f"{path}, line {self._begun()}, begins a row of more than {PARSE_BYTES >> 20} MB, as when a "
                        "quote is opened and never closed; close it, or save the rows as Parquet."
                    ) from None
                coded = re.match(r"In CSV column #(\d+): .*invalid UTF8", text)
                if coded:
                    raise self._not_text(self._open([], PARSE_BYTES, others=True).schema.names[int(coded[1])]) from None
                ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): ?(.*)", text.splitlines()[0])
                if not ragged:
                    raise
                record, want, got, row = ragged.groups()
                line = f"{path}, line {self._line(int(record))},"
                raise SourceError(f"{line} must have {want} values like the header, got {got}: {shown(row)}.") from None

    def _not_text(self, column: str | None) -> SourceError:
        """Return the error that names the first line which is not of the encoding."""
        where = "in the header" if column is None else f"in column {column!r}"
        if self._opening.encoding != UTF8:
            return SourceError(
                f"{self.path} must be text in {self._opening.encoding}, but is not; name another encoding=."
            )
        way = "save it as UTF-8, or say what it is, for example mblab.sources.csv(path, encoding='latin-1')"
        with opened(self.path) as file:
            for number, line in enumerate(io.BufferedReader(file), 1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    return SourceError(f"{self.path}, line {number}, must be UTF-8 text, but is not {where}; {way}.")
        return SourceError(f"{self.path} must be UTF-8 text, but is not {where}; {way}.")

    def _line(self, record: int) -> int:
        """Return the line on which a CSV record ends; Arrow counts records, without blank lines."""
        skipped = self._opening.skip
        with self._plain() as file:
            lines = islice(file, skipped, None)
            reader = csv.reader(lines, delimiter=self.dialect.sep)
            return skipped + next(islice((reader.line_num for values in reader if values), record - 1, None), record)

    def _begun(self) -> int:
        """Return the line that begins the first row of more than `PARSE_BYTES`, else the last row."""
        begun, size, inside = 1, 0, False
        with self._plain() as file:
            for number, line in enumerate(file, 1):
                if not inside:
                    begun, size = number, 0
                size += len(line)
                inside ^= line.count('"') % 2 == 1
                if size > PARSE_BYTES:
                    break
        return begun

    def _ends_in_a_quote(self) -> bool:
        last = ""
        with self._plain() as file:
            while part := file.read(1 << 20):
                last = (last + part)[-1024:]
        return last.rstrip().endswith('"')

    def _plain(self) -> io.TextIOWrapper:
        """Return the file as text, for a message."""
        return io.TextIOWrapper(
            io.BufferedReader(opened(self.path)), encoding=self._opening.encoding, errors="replace", newline=""
        )

"""Rows out of a CSV file.

.csv -> [csv] -> files
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from mblab.errors import SourceError, shown
from mblab.tables.base import FileTable, as_pandas, has_wide, is_rounded, reading, recut

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CsvTable", "fits_after"]

PARSE_BYTES = 1 << 22  # of a file at a time; a line must fit


class _Survey(NamedTuple):
    """What only reading all of a file tells.

    Attributes:
        schema: Arrow types that fit every row.
        holes: Columns that have nulls.
        wide: Columns of numbers beyond those that float64 holds exactly.
    """

    schema: pa.Schema
    holes: set[str]
    wide: set[str]


@dataclass(frozen=True)
class CsvTable(FileTable):
    """A CSV file with a header: commas, double quotes, UTF-8; times in ISO 8601 are read as such."""

    @property
    def num_rows(self) -> int | None:
        """Return 0 when there are none, else None: only reading it all would tell."""
        with _reading(self.path):
            return None if any(batch.num_rows for batch in self._open()) else 0

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema that fits every row; the file is gone through once to find it."""
        with _reading(self.path):
            return self._survey.schema

    @cached_property
    def names(self) -> list[str]:
        """Return the names of all columns."""
        with _reading(self.path):
            return _names(self._open(), self.path)

    @cached_property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes as the beginning of the file has them."""
        with _reading(self.path):
            reader = self._open()
            _names(reader, self.path)
            return as_pandas(reader.schema.empty_table())

    def arrow(
        self, columns: Sequence[str], start: int = 0, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Return the rows from `start` on in tables that end at multiples of 100,000 rows."""
        return self.unchanged(self._read(columns, start, types))

    def _read(self, columns: Sequence[str], start: int, types: Mapping[str, pa.DataType] | None) -> Iterator[pa.Table]:
        with _reading(self.path):
            schema = self._survey.schema
            wanted = {c: (types or {}).get(c, schema.field(c).type) for c in columns}
            yield from recut(self._open(wanted, columns), 0, start)

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere."""
        with _reading(self.path):
            return column in self._survey.holes

    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one anywhere that float64 cannot."""
        with _reading(self.path):
            return column in self._survey.wide

    def _open(self, types: dict[str, pa.DataType] | None = None, columns: Sequence[str] = ()) -> pa.RecordBatchReader:
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
    def _survey(self) -> _Survey:
        """Return what only reading all of the file tells.

        Arrow's streaming reader types a column by the first block it sees. Where a later value does not fit, the column
        moves on to the next type in Arrow's own order of inference, and the file is gone through again.

        Raises:
            SourceError: Text is not UTF-8, or a quote is opened and not closed.
        """
        import pyarrow as pa

        types: dict[str, pa.DataType] = {}
        while True:
            try:
                found = self._gone_through(types)
            except pa.ArrowInvalid as error:
                misfit = re.match(r"In CSV column #(\d+): .*conversion error to", str(error))
                if not misfit:
                    raise
                name = self.names[int(misfit[1])]
                kind = types.get(name, self._open().schema.field(name).type)
                if pa.types.is_string(kind):
                    raise _not_text(self.path, name) from None
                types[name] = fits_after(kind)
                continue
            if coded := [f.name for f in found.schema if pa.types.is_binary(f.type)]:
                raise _not_text(self.path, coded[0])
            rounded = [n for n in found.wide if pa.types.is_float64(found.schema.field(n).type)]
            whole = {name: kind for name in rounded if (kind := self._whole(name)) is not None}
            if not whole:
                return found
            types |= whole

    def _gone_through(self, types: dict[str, pa.DataType]) -> _Survey:
        import pyarrow as pa

        holes, wide, last = set(), set(), None
        reader = self._open(types)
        for batch in reader:
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if column.null_count:
                    holes.add(name)
                kind = column.type
                if (pa.types.is_integer(kind) or pa.types.is_float64(kind)) and name not in wide and has_wide(column):
                    wide.add(name)
            last = batch if batch.num_rows else last
        ending = None if last is None else last.column(last.num_columns - 1)[-1].as_py()
        if isinstance(ending, str) and "\n" in ending and not _ends_in_a_quote(self.path):
            raise SourceError(
                f"{self.path}, line {_begun(self.path)}, opens a quote that is never closed; close it, or double "
                "the quotes that belong to a text."
            )
        return _Survey(reader.schema, holes, wide)

    def _whole(self, column: str) -> pa.DataType | None:
        """Return the type that keeps a column of whole numbers which float64 would round; None when it would not."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rounds, least, most = False, 0, 0
        for batch in self._open({column: pa.string()}, [column]):
            text = pc.utf8_trim_whitespace(batch.column(0)).drop_null()
            if not pc.all(pc.match_substring_regex(text, r"^[+-]?\d+$"), min_count=0).as_py():
                return None
            for number in text.filter(pc.match_substring_regex(text, r"^-|\d{16}")).to_pylist():
                least, most = min(least, int(number)), max(most, int(number))
                rounds = rounds or is_rounded(number)
        if not rounds:
            return None
        return pa.uint64() if least >= 0 and most < 2**64 else pa.string()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what Arrow says about a file into one sentence, with the line where it can be told."""
    import pyarrow as pa

    with reading(path):
        try:
            yield
        except UnicodeDecodeError:  # the names in the header are decoded late
            raise _not_text(path, None) from None
        except pa.ArrowException as error:
            text = str(error)
            if "Empty CSV file" in text:
                raise SourceError(f"{path} has no rows: it must have a header, and a line for each row.") from None
            if "straddling object" in text:
                raise SourceError(
                    f"{path}, line {_begun(path)}, begins a row of more than {PARSE_BYTES >> 20} MB, as when a "
                    "quote is opened and never closed; close it, or save the rows as Parquet."
                ) from None
            ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): ?(.*)", text.splitlines()[0])
            if not ragged:
                raise
            record, want, got, row = ragged.groups()
            line = f"{path}, line {_line(path, int(record))},"
            raise SourceError(f"{line} must have {want} values like the header, got {got}: {shown(row)}.") from None


def _names(reader: pa.RecordBatchReader, path: Path) -> list[str]:
    """Return the names of the columns.

    Raises:
        SourceError: There is one, and it looks like several.
    """
    names: list[str] = reader.schema.names
    parted = re.search(r"[;\t|]", names[0]) if len(names) == 1 else None
    if parted:
        raise SourceError(
            f"{path} must part columns by commas, but its header {shown(names[0])} seems to use {parted[0]!r}; save it "
            f"with commas, or replay pd.read_csv(path, sep={parted[0]!r})."
        )
    return names


def _not_text(path: Path, column: str | None) -> SourceError:
    """Return the error that names the first line which is not UTF-8."""
    where = "in the header" if column is None else f"in column {column!r}"
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return SourceError(
                    f"{path}, line {number}, must be UTF-8 text, but is not {where}; save it as UTF-8, or replay "
                    "pd.read_csv(path, encoding='latin-1')."
                )
    return SourceError(f"{path} must be UTF-8 text, but is not {where}; save it as UTF-8.")


def _line(path: Path, record: int) -> int:
    """Return the line on which a CSV record ends; Arrow counts records, without blank lines."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        return next(islice((reader.line_num for values in reader if values), record - 1, None), record)


def _begun(path: Path) -> int:
    """Return the line that begins the first row of more than `PARSE_BYTES`, else the last row."""
    begun, size, inside = 1, 0, False
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not inside:
                begun, size = number, 0
            size += len(line)
            inside ^= line.count(b'"') % 2 == 1
            if size > PARSE_BYTES:
                break
    return begun


def _ends_in_a_quote(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1024))
        return file.read().rstrip().endswith(b'"')


def fits_after(kind: pa.DataType) -> pa.DataType:
    """Return the type that Arrow's inference tries after this one; text takes everything."""
    import pyarrow as pa

    order = [
        *(pa.null(), pa.int64(), pa.bool_(), pa.date32(), pa.time32("s")),
        *(pa.timestamp("s"), pa.timestamp("s", "UTC"), pa.timestamp("ns"), pa.timestamp("ns", "UTC")),
        *(pa.float64(), pa.string()),
    ]
    return order[order.index(kind) + 1] if kind in order[:-1] else pa.string()

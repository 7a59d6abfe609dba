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
from typing import Any

import pandas as pd

from mblab.errors import SourceError, shown
from mblab.sources.tables import FileTable, as_pandas, reading, recut

__all__ = ["CsvTable", "fits_after"]

PARSE_BYTES = 1 << 22  # of a file at a time; a line must fit


@dataclass(frozen=True)
class CsvTable(FileTable):
    """A CSV file with a header: commas, double quotes, UTF-8; times in ISO 8601 are read as such."""

    @property
    def num_rows(self) -> int | None:
        """Return 0 when there are none, else None: only reading it all would tell."""
        with _reading(self.path):
            return None if any(batch.num_rows for batch in self._open()) else 0

    @property
    def schema(self) -> Any:
        """Return the Arrow schema that fits every row; the file is gone through once to find it."""
        with _reading(self.path):
            return self._survey[0]

    @cached_property
    def names(self) -> list[str]:
        """Return the names of all columns."""
        with _reading(self.path):
            return list(self._open().schema.names)

    @cached_property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes as the beginning of the file has them."""
        with _reading(self.path):
            return as_pandas(self._open().schema.empty_table())

    def arrow(self, columns: Sequence[str], start: int = 0, types: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Return the rows from `start` on in tables that end at multiples of 100,000 rows."""
        self.check_unchanged()
        with _reading(self.path):
            schema = self._survey[0]
            wanted = {c: (types or {}).get(c, schema.field(c).type) for c in columns}
            yield from recut(self._open(wanted, columns), 0, start)

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere."""
        with _reading(self.path):
            return column in self._survey[1]

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
                types[name] = fits_after(types.get(name, self._open().schema.field(name).type))
            else:
                if coded := [f.name for f in reader.schema if pa.types.is_binary(f.type)]:
                    raise SourceError(
                        f"{self.path} must be UTF-8 text, but column {coded[0]!r} is not; save it as UTF-8."
                    )
                return reader.schema, holes


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what Arrow says about a file into one sentence, with the line where it can be told."""
    import pyarrow as pa

    with reading(path):
        try:
            yield
        except pa.ArrowException as error:
            ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): ?(.*)", str(error).splitlines()[0])
            if not ragged:
                raise
            record, want, got, text = ragged.groups()
            line = f"{path}, line {_line(path, int(record))},"
            raise SourceError(f"{line} must have {want} values like the header, got {got}: {shown(text)}.") from None


def _line(path: Path, record: int) -> int:
    """Return the line on which a CSV record ends; Arrow counts records, without blank lines."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        return next(islice((reader.line_num for values in reader if values), record - 1, None), record)


def fits_after(kind: Any) -> Any:
    """Return the type that Arrow's inference tries after this one; text takes everything."""
    import pyarrow as pa

    order = [
        *(pa.null(), pa.int64(), pa.bool_(), pa.date32(), pa.time32("s")),
        *(pa.timestamp("s"), pa.timestamp("s", "UTC"), pa.timestamp("ns"), pa.timestamp("ns", "UTC")),
        *(pa.float64(), pa.string()),
    ]
    return order[order.index(kind) + 1] if kind in order[:-1] else pa.string()

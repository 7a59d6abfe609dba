"""Rows out of a text file that a sink of ours wrote, as they were written.

    .csv, .jsonl + marker -> notes, texts -> [own] -> files

What the columns are is in the marker, so nothing is guessed: not from an id with zeros in front, not from the text NA.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from mblab.errors import SourceError
from mblab.tables.arrow import is_json, is_nested_kind, said
from mblab.tables.base import FileTable, cast, frame_of, reading, recut, sample_of
from mblab.tables.given import Dtype, Given
from mblab.tables.markers import crc_of, marker_file, read_marker
from mblab.tables.notes import Notes, unpacked
from mblab.tables.texts import LONE, built, from_texts, is_written_as_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OwnTable", "notes_beside"]

BLOCK_BYTES: Final = 1 << 24  # that are parsed at a time; a line of CSV must fit
NOTHING: Final = ["", LONE]  # texts that are the same stand in quotes


def notes_beside(path: Path) -> Notes | None:
    """Return what the columns of a file are, when a sink of ours wrote it and it has the length that this left it with.

    Whether it holds the same, `OwnTable` looks when it is read.
    """
    path = path.resolve()
    marker = read_marker(marker_file(path))
    notes = None if marker is None else unpacked(marker.types)
    if marker is None or notes is None:
        return None
    try:
        size = path.stat().st_size
        mark = marker.settled(size)
        if mark is None or not size or mark.bytes != size:
            return None
        with path.open("rb") as file:
            begin = file.readline()
    except OSError:
        return None
    return notes if path.suffix.lower() != ".csv" or _header(begin) == [*notes] else None


def _header(line: bytes) -> list[str]:
    """Return the names in a first line; none where it is no whole header."""
    try:
        return next(csv.reader([line.decode()], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return []


@dataclass(frozen=True)
class OwnTable(FileTable):
    """A text file that a sink of ours wrote; as anybody's, once its digest shows that others wrote to it since.

    Attributes:
        noted: What its columns are by what the sink noted.
        plain: The same file as anybody's, for columns without a note.
    """

    noted: Notes = field(default_factory=dict)
    plain: FileTable | None = None

    def __post_init__(self) -> None:
        FileTable.__post_init__(self)
        kept = {name: note if _agrees(self.types.get(name), note) else None for name, note in self.noted.items()}
        object.__setattr__(self, "noted", kept)

    @cached_property
    def notes(self) -> Notes:
        """What its columns are; the file is gone through once to see that it holds what the sink wrote."""
        marker = read_marker(marker_file(self.path.resolve()))
        mark = None if marker is None else marker.settled(self.stamp[0])
        with reading(self.path), self.path.open("rb") as file:
            if mark is not None and crc_of(lambda length, _: file.read(length), mark.bytes) == mark.crc:
                return self.noted
        return dict.fromkeys(self._plain.names)

    @property
    def names(self) -> list[str]:
        """Return the names of all columns; in CSV the header has them."""
        return list(self.noted if self.path.suffix.lower() == ".csv" else self.notes)

    @property
    def num_rows(self) -> int | None:
        """Return None: there are rows, and only reading it all would tell how many."""
        return None

    @property
    def given(self) -> Mapping[str, Given]:
        """Return the types that are noted, or that somebody names instead."""
        return {**self.types, **{name: given for name, given in self.notes.items() if given is not None}}

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema that fits every row."""
        import pyarrow as pa

        return pa.schema([(name, given.kind if given else self._plain.schema.field(name).type)
                          for name, given in self.notes.items()])  # fmt: skip

    @property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes as noted, and else as the beginning of the file has them."""
        import pyarrow as pa

        noted = {name: given for name, given in self.noted.items() if given is not None}
        schema = pa.schema([(name, given.kind) for name, given in noted.items()])
        dtypes = {str(name): dtype for name, dtype in sample_of(schema).dtypes.items()}
        dtypes |= {name: given.dtype for name, given in noted.items() if given.dtype is not None}
        found = frame_of(schema.empty_table(), dtypes)
        if len(noted) < len(self.noted):
            found = pd.concat([found, self._plain.sample.drop(columns=[*noted], errors="ignore")], axis=1)
        return found[[name for name in self.noted if name in found.columns]]

    @property
    def _plain(self) -> FileTable:
        assert self.plain is not None
        return self.plain

    def arrow(
        self, columns: Sequence[str], start: int = 0, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Return the rows from `start` on in tables that end at multiples of 100,000 rows."""
        return self.unchanged(self._read(columns, start, types or {}))

    def _read(self, columns: Sequence[str], start: int, types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
        import pyarrow as pa

        known = {name: given.kind for name in columns if (given := self.notes[name]) is not None}
        others = [name for name in columns if name not in known]
        parts = []
        if known or not others:
            parts.append(self._noted(known, start))
        if others:
            parts.append(self._plain.arrow(others, start, {c: types[c] for c in others if c in types}))
        for tables in zip(*parts, strict=True):
            found = {name: table.column(name) for table in tables for name in table.column_names}
            table = pa.table({name: found[name] for name in columns})
            other = {name: kind for name, kind in types.items() if name in known and known[name] != kind}
            if other:
                wanted = pa.schema([(f.name, other.get(f.name, f.type)) for f in table.schema])
                table = cast(table, wanted, self.path)
            yield table

    def _noted(self, known: Mapping[str, pa.DataType], start: int) -> Iterator[pa.Table]:
        """Yield columns that have a note."""
        import pyarrow as pa

        with reading(self.path):
            try:
                if self.path.suffix.lower() == ".csv":
                    yield from recut(self._of_csv(known), 0, start)
                else:
                    first, blocks = self._blocks(start)
                    yield from recut((_of_lines(text, known) for text in blocks), first, start)
            except pa.ArrowInvalid as error:
                raise SourceError(
                    f"{self.path} cannot be read by what is noted of its columns beside it ({said(error)}); delete "
                    f"{marker_file(self.path.resolve()).name} to read it as any file."
                ) from None

    def _of_csv(self, known: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

        names = [*known] or self.names[:1]
        texts = open_csv(
            self.path,
            read_options=ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=ParseOptions(newlines_in_values=True),
            convert_options=ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=names, null_values=NOTHING,
                strings_can_be_null=True, quoted_strings_can_be_null=False,
            ),
        )  # fmt: skip
        for batch in texts:
            values = [_of_texts(batch.column(name), kind) for name, kind in known.items()]
            yield pa.RecordBatch.from_arrays(values, names=[*known])

    def _blocks(self, start: int) -> tuple[int, Iterator[bytes]]:
        """Return the number of a row up to the wanted one, and the lines from it on; a row is a line."""
        first, offset = 0, 0
        for text in self._lines(0):
            rows = text.count(b"\n")
            if first + rows > start:
                break
            first, offset = first + rows, offset + len(text)
        return first, self._lines(offset)

    def _lines(self, offset: int) -> Iterator[bytes]:
        """Yield whole lines, from an offset on."""
        with self.path.open("rb") as file:
            file.seek(offset)
            rest = b""
            while read := file.read(BLOCK_BYTES):
                whole, end, more = read.rpartition(b"\n")
                if end:
                    yield rest + whole + end
                    rest = more
                else:
                    rest += more

    def is_unsaid(self, column: str) -> bool:
        """Return whether only reading tells what is asked of a column: where a note has no dtype."""
        given = self.notes[column]
        return given is not None and given.dtype is None

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere."""
        if self.notes[column] is None:
            return self._plain.holes(column)
        return super().holes(column)

    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one anywhere that float64 cannot."""
        if self.notes[column] is None:
            return self._plain.wide(column)
        return super().wide(column)

    def dictionaries(self, column: str) -> Iterator[pa.Array]:
        """Return the categories of a dictionary column, piece by piece."""
        return self._plain.dictionaries(column) if self.notes[column] is None else super().dictionaries(column)

    def dtypes(self, columns: Sequence[str]) -> dict[str, Dtype]:
        """Return each column's dtype for all rows."""
        noted = {c: given.dtype for c in columns if (given := self.notes[c]) is not None and given.dtype is not None}
        found = super().dtypes([c for c in columns if c not in noted])
        return {c: noted.get(c, found.get(c)) for c in columns}  # type: ignore[misc]


def _agrees(given: Given | None, note: Given | None) -> bool:
    """Return whether a note says what is asked of a column, or more."""
    if given is None or note is None:
        return given is None
    return given in (note, Given(note.kind)) or (given.settled and given.for_own(note.kind) == note.kind)


def _of_texts(text: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if is_json(kind):
        return pa.ExtensionArray.from_storage(kind, text)
    if is_nested_kind(kind):
        return built([None if v is None else json.loads(v) for v in text.to_pylist()], kind)
    return from_texts(text, kind)


def _of_lines(text: bytes, known: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    """Return lines of JSON objects as the columns that they were written of."""
    import pyarrow as pa
    import pyarrow.json as pj

    if any(is_nested_kind(kind) for kind in known.values()):
        objects = [json.loads(line) for line in text.split(b"\n") if line]
        columns = [built([row.get(name) for row in objects], kind) for name, kind in known.items()]
        return pa.RecordBatch.from_arrays(columns, names=[*known])
    table = pj.read_json(
        io.BytesIO(text),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=pj.ParseOptions(
            explicit_schema=pa.schema([(name, _as_json(kind)) for name, kind in known.items()]),
            unexpected_field_behavior="ignore" if known else "infer",
        ),
    )
    columns = []
    for name, kind in known.items():
        values: Any = table.column(name).combine_chunks()
        columns.append(from_texts(values, kind) if is_written_as_text(kind) else _coded(values, kind))
    return pa.RecordBatch.from_arrays(columns, names=[*known])


def _as_json(kind: pa.DataType) -> pa.DataType:
    """Return the Arrow type that JSON's values of a type are parsed as."""
    import pyarrow as pa

    if is_written_as_text(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        return _as_json(kind.value_type)
    return pa.float64() if pa.types.is_float16(kind) else kind


def _coded(values: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _coded(values, kind.value_type).dictionary_encode().cast(kind)
    return values if values.type == kind else values.cast(kind)

"""Rows out of a JSONL file: one object a line.

    .jsonl, .ndjson, .json -> [jsonl] -> files

The file is gone through once before it is read, to find the one type of each column that fits all of it. Numbers are
int64, or float64 when any of them has a fraction; text that is a time in ISO 8601 throughout is read as a time; lists
and objects are cells, or columns with `flatten`; a column holds one kind of value. A column that is missing from a line
is null there.

Arrow parses blocks of lines. It has no type for a list of numbers and text, or for objects of different kinds, so where
nested values are wanted, or Arrow fails, the lines are gone through in Python, and Arrow gets them without such values.
"""

from __future__ import annotations

import bisect
import codecs
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from mblab.errors import SourceError, shown
from mblab.tables.arrow import as_pandas, is_json, json_kind
from mblab.tables.base import FileTable, has_wide, reading, recut
from mblab.tables.dialects import opened
from mblab.tables.fitting import fitted
from mblab.tables.json_rows import Digits, kind_of_type, rows_in, too_large

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["JsonlTable"]

BLOCK_BYTES = 1 << 23  # that are parsed at a time
MOST_DEEP = 200  # brackets on a line; Arrow parses nested values by recursion and may not come back
MOST_BYTES = (1 << 31) - (1 << 16)  # Arrow's largest block; a line must fit


class _Lines(NamedTuple):
    """Whole lines of the file.

    Attributes:
        offset: Where they begin, in bytes.
        line: Number of the first one, from 1.
        text: The lines.
    """

    offset: int
    line: int
    text: bytes


@dataclass(slots=True)
class _Column:
    """What is known of a column.

    Attributes:
        kind: Arrow type as parsed: null, bool, int64, double, string, or that of nested values.
        holes: Whether it has nulls.
        wide: Whether it has a whole number that float64 cannot hold.
        times: Arrow types of time that all its text fits so far.
        fault: Why it cannot be read, if so.
    """

    kind: pa.DataType
    holes: bool
    wide: bool
    times: tuple[pa.DataType, ...]
    fault: SourceError | None = None


@dataclass(slots=True)
class _Survey:
    columns: dict[str, _Column] = field(default_factory=dict)
    begins: list[tuple[int, int, int]] = field(default_factory=list)  # row, offset, line of each block
    rows: int = 0
    unseen: bool = False  # whether a line is such that Arrow must not see it, or cannot even pass over it
    flattened: bool = False  # whether there are objects that became columns


@dataclass(frozen=True)
class JsonlTable(FileTable):
    """A file with one JSON object a line, in UTF-8.

    Attributes:
        flatten: Whether what stands in objects are columns, such as `device.id`.
    """

    flatten: bool = False

    @property
    def num_rows(self) -> int | None:
        """Return 0 when there are none, else None until it was gone through."""
        if "_survey" in self.__dict__:
            return self._survey.rows
        return None if any(lines.text.strip() for lines in self._blocks(BLOCK_BYTES)) else 0

    @cached_property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes as the beginning of the file has them."""
        found = _Survey()
        for lines in self._blocks(1 << 16):
            self._take_in(found, lines)
            if found.rows:
                break
        return as_pandas(self.as_given(_schema(found)).empty_table())

    def check_types(self, columns: Sequence[str]) -> None:
        """Refuse columns that hold values of several kinds, or one that no type holds.

        Raises:
            SourceError: One of the columns does; the message names the line.
        """
        for name in columns:
            known = self._survey.columns.get(name)
            if known is not None and known.fault is not None:
                raise known.fault

    @property
    def names(self) -> list[str]:
        """Return the names of all columns; a column may appear late, so the file is gone through to find them."""
        return list(self.schema.names)

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema that fits every row; the file is gone through once to find it."""
        return self.as_given(_schema(self._survey))

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere."""
        known = self._survey.columns.get(column)
        return known is None or (super().holes(column) if self.is_converted(column) else known.holes)

    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one anywhere that float64 cannot."""
        if self.is_converted(column):
            return super().wide(column)
        known = self._survey.columns.get(column)
        return known is not None and known.wide

    def arrow(
        self, columns: Sequence[str], start: int = 0, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Return the rows from `start` on in tables that end at multiples of 100,000 rows."""
        return self.unchanged(self._read(columns, start, types))

    def _read(self, columns: Sequence[str], start: int, types: Mapping[str, pa.DataType] | None) -> Iterator[pa.Table]:
        import pyarrow as pa

        self.check_types(columns)
        survey, schema = self._survey, self.schema
        own = {f.name: f.type for f in schema}
        wanted = pa.schema([(c, (types or {}).get(c, own.get(c, pa.null()))) for c in columns])
        kinds = pa.schema([(c, survey.columns[c].kind if c in survey.columns else pa.null()) for c in columns])
        plain = not (survey.unseen or any(is_json(f.type) for f in kinds))
        at = max(0, bisect.bisect_right(survey.begins, (start, self.stamp[0], 0)) - 1)
        if at >= len(survey.begins):
            return
        row, offset, line = survey.begins[at]

        def batches() -> Iterator[pa.RecordBatch]:
            for lines in self._blocks(BLOCK_BYTES, offset, line):
                table = self._parse(lines, kinds, others="ignore") if plain else self._nested(lines, kinds)
                if table is not None:
                    yield from fitted(table, wanted, self.types, self.path).to_batches()

        with reading(self.path):
            yield from recut(batches(), row, start)

    @cached_property
    def _survey(self) -> _Survey:
        found = _Survey()
        for lines in self._blocks(BLOCK_BYTES):
            self._take_in(found, lines)
        return found

    def _blocks(self, size: int, offset: int = 0, line: int = 1) -> Iterator[_Lines]:
        """Yield the file from an offset on in blocks of whole lines."""
        with reading(self.path), opened(self.path) as file:
            begin = file.read(len(codecs.BOM_UTF8))
            rest = b"" if offset or begin == codecs.BOM_UTF8 else begin
            offset = offset or len(begin) - len(rest)
            _skip(file, offset - len(begin))
            while True:
                read = file.read(size)
                cut = read.rfind(b"\n") + 1
                if read and not cut:
                    rest += read
                    if len(rest) > MOST_BYTES:
                        raise SourceError(f"{self.path}, line {line}, is over 2 GB long; put one object on each line.")
                    continue
                text, rest = (rest + read[:cut], read[cut:]) if read else (rest, b"")
                if text:
                    yield _Lines(offset, line, text)
                    offset += len(text)
                    line += text.count(b"\n")
                if not read:
                    return

    def _parse(self, lines: _Lines, kinds: pa.Schema, others: str) -> pa.Table | None:
        """Return lines as an Arrow table, None when they are blank; `kinds` are the types that are known."""
        import pyarrow as pa
        import pyarrow.json as pj

        if not lines.text.strip():
            return None
        return pj.read_json(
            io.BytesIO(lines.text),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(lines.text) + 1),
            parse_options=pj.ParseOptions(explicit_schema=kinds or pa.schema([]), unexpected_field_behavior=others),
        )

    def _take_in(self, found: _Survey, lines: _Lines) -> None:
        """Add what some lines tell to a survey.

        Raises:
            SourceError: One of them is no row; the message names it.
        """
        import pyarrow as pa

        known = {n: c.kind for n, c in found.columns.items()}
        if self._is_noted(found, lines, known):
            return
        found.unseen = found.unseen or self.flatten or not self._is_parsed(lines)
        words = {name: kind_of_type(kind) for name, kind in known.items()}
        rows = rows_in(self.path, lines.text, lines.line, words, flatten=self.flatten)
        for name, fault in rows.faults.items():
            column = found.columns.setdefault(name, _Column(pa.null(), found.rows > 0, False, ()))
            column.fault = column.fault or fault
        table = rows.table()
        kept = {name: kind for name, kind in known.items() if name not in rows.faults}
        self._note(found, lines, table, _all_merged(kept, table), [*rows.columns])
        found.flattened = found.flattened or self.flatten

    def _is_noted(self, found: _Survey, lines: _Lines, known: dict[str, pa.DataType]) -> bool:
        """Add lines to a survey as Arrow takes them; return whether it does."""
        import pyarrow as pa

        try:
            lines.text.decode()
            if _is_no_table(lines.text):
                found.unseen = True
                return False
            table = self._inferred(lines, known)
            if table is not None:
                self._note(found, lines, table, _all_merged(known, table), _as_written(table.schema.names, lines.text))
        except (pa.ArrowException, UnicodeDecodeError, TypeError):
            return False
        return True

    def _is_parsed(self, lines: _Lines) -> bool:
        """Return whether Arrow can pass over what it is not asked for."""
        import pyarrow as pa

        try:
            if _is_no_table(lines.text):
                return False
            self._parse(lines, pa.schema([]), others="ignore")
        except pa.ArrowException:
            return False
        return True

    def _inferred(self, lines: _Lines, known: dict[str, pa.DataType]) -> pa.Table | None:
        """Return lines as an Arrow table in the types that Arrow finds, but for times: all of the file decides.

        Raises:
            TypeError: There are objects that shall be columns.
        """
        import pyarrow as pa

        text = {n: kind for n, kind in known.items() if pa.types.is_string(kind)}
        table = self._parse(lines, pa.schema(text.items()), others="infer")
        if table is not None and any(pa.types.is_timestamp(f.type) for f in table.schema):
            # Arrow takes text for times by the block it sees
            text |= {f.name: pa.string() for f in table.schema if pa.types.is_timestamp(f.type)}
            table = self._parse(lines, pa.schema(text.items()), others="infer")
        if self.flatten and table is not None and any(pa.types.is_struct(f.type) for f in table.schema):
            raise TypeError("objects")
        return table

    def _note(
        self, found: _Survey, lines: _Lines, table: pa.Table, merged: dict[str, pa.DataType], names: Sequence[str]
    ) -> None:
        """Add parsed lines to a survey; `merged` are the types that fit them and all before, `names` their order."""
        import pyarrow as pa

        begun = found.rows > 0
        known = found.columns.keys() - set(table.schema.names)
        for name in names:
            kind, values = merged[name], table.column(name)
            column = found.columns.setdefault(name, _Column(kind, begun, False, _times()))
            column.kind = kind
            if (pa.types.is_integer(values.type) or pa.types.is_float64(values.type)) and has_wide(values):
                column.wide = True
                if pa.types.is_float64(values.type):
                    column.fault = column.fault or self._rounded(lines, name)
            column.holes = column.holes or values.null_count > 0
            column.times = (
                tuple(t for t in column.times if pa.types.is_string(kind) and _are_times(values, t))
                if (values.null_count < len(values))
                else column.times
            )
        for name in known:
            found.columns[name].holes = True
        found.begins.append((found.rows, lines.offset, lines.line))
        found.rows += table.num_rows

    def _nested(self, lines: _Lines, kinds: pa.Schema) -> pa.Table | None:
        """Return wanted columns of lines as an Arrow table that has nested values as JSON text; None for no rows."""
        words = {f.name: kind_of_type(f.type) for f in kinds}
        rows = rows_in(self.path, lines.text, lines.line, words, flatten=self.flatten, only={*kinds.names})
        return rows.table({f.name: f.type for f in kinds}) if rows.num_rows else None

    def _rounded(self, lines: _Lines, name: str) -> SourceError | None:
        """Return the error that names the first whole number of a column that float64 would change."""
        for number, raw in enumerate(lines.text.split(b"\n"), lines.line):
            if re.search(rb"\d{16}", raw) and raw.strip():
                value = json.loads(raw, parse_int=Digits).get(name)
                if isinstance(value, Digits) and too_large(value):
                    return SourceError(
                        f"{self.path}, line {number}, has {shown(value)} in column {name!r}, which neither int64 nor "
                        "float64 holds; write such numbers as text."
                    )
        return None


def _skip(file: pa.NativeFile, size: int) -> None:
    """Go on by so many bytes, also in a file that is packed."""
    if size > 0 and file.seekable():
        file.seek(size, io.SEEK_CUR)
        return
    while size > 0:
        size -= len(file.read(min(BLOCK_BYTES, size)))


def _times() -> tuple[pa.DataType, ...]:
    """Return the types that text may be a time of: nanoseconds, and microseconds where those do not reach."""
    import pyarrow as pa

    return tuple(pa.timestamp(unit, tz) for unit in ("ns", "us") for tz in (None, "UTC"))


def _as_written(names: Iterable[str], text: bytes) -> list[str]:
    """Return names in the order of the first object, which Arrow does not keep; what it lacks comes behind."""
    first = next(line for line in text.split(b"\n") if line.strip())
    order = [name for name in json.loads(first, parse_int=Digits) if name in names]
    return [*order, *(name for name in names if name not in order)]


def _is_no_table(text: bytes) -> bool:
    """Return whether a line is no object, or nested so deeply, that Arrow would take the process down with it."""
    objects = text.startswith(b"{") + text.count(b"\n{")
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    if objects != lines and re.search(rb"^[ \t\r]*[^{\s]", text, re.MULTILINE):
        return True
    if text.count(b"[") + text.count(b"{") - lines < MOST_DEEP:
        return False
    return any(
        len(line) > MOST_DEEP and line.count(b"[") + line.count(b"{") > MOST_DEEP and _is_deep(line)
        for line in text.split(b"\n")
    )


def _is_deep(line: bytes) -> bool:
    """Return whether brackets stand too deep in one another, leaving out those in texts."""
    plain = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", line)
    depth = deepest = 0
    for bracket in re.findall(rb"[][{}]", plain):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest > MOST_DEEP


def _schema(found: _Survey) -> pa.Schema:
    """Return the types of a survey's columns, without those that only say that there is no object to flatten."""
    import pyarrow as pa

    inside = {name[:at] for name in found.columns for at in range(len(name)) if name[at] == "."}
    return pa.schema(
        [
            (n, c.times[0] if pa.types.is_string(c.kind) and c.times else c.kind)
            for n, c in found.columns.items()
            if not (found.flattened and n in inside and pa.types.is_null(c.kind) and c.fault is None)
        ]
    )


def _all_merged(known: Mapping[str, pa.DataType], table: pa.Table) -> dict[str, pa.DataType]:
    """Return the types of a table's columns that also fit what is known of them; `TypeError` when the kinds differ."""
    import pyarrow as pa

    return {f.name: _merged(known.get(f.name, pa.null()), f.type) for f in table.schema}


def _merged(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_nested(other):
        other = json_kind()
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    raise TypeError("mixed")


def _are_times(values: pa.ChunkedArray, kind: pa.DataType) -> bool:
    import pyarrow as pa

    try:
        values.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True

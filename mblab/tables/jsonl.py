"""Rows out of a JSONL file: one object a line, plain values only.

    .jsonl, .ndjson -> [jsonl] -> files

The file is gone through once before it is read, to find the one type of each column that fits all of it. Numbers are
int64, or float64 when any of them has a fraction; text that is a time in ISO 8601 throughout is read as a time; a
column holds one kind of value. A column that is missing from a line is null there.
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
from mblab.tables.base import FileTable, as_pandas, cast, has_wide, is_rounded, reading, recut

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
        kind: Arrow type as parsed: null, bool, int64, double or string.
        holes: Whether it has nulls.
        wide: Whether it has a whole number that float64 cannot hold.
        times: Arrow types of time that all its text fits so far.
    """

    kind: pa.DataType
    holes: bool
    wide: bool
    times: tuple[pa.DataType, ...]


@dataclass(slots=True)
class _Survey:
    columns: dict[str, _Column] = field(default_factory=dict)
    begins: list[tuple[int, int, int]] = field(default_factory=list)  # row, offset, line of each block
    rows: int = 0


@dataclass(frozen=True)
class JsonlTable(FileTable):
    """A file with one JSON object a line, in UTF-8."""

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
        return as_pandas(_schema(found).empty_table())

    @property
    def names(self) -> list[str]:
        """Return the names of all columns; a column may appear late, so the file is gone through to find them."""
        return list(self._survey.columns)

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema that fits every row; the file is gone through once to find it."""
        return _schema(self._survey)

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere."""
        known = self._survey.columns.get(column)
        return known is None or known.holes

    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one anywhere that float64 cannot."""
        known = self._survey.columns.get(column)
        return known is not None and known.wide

    def arrow(
        self, columns: Sequence[str], start: int = 0, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Return the rows from `start` on in tables that end at multiples of 100,000 rows."""
        return self.unchanged(self._read(columns, start, types))

    def _read(self, columns: Sequence[str], start: int, types: Mapping[str, pa.DataType] | None) -> Iterator[pa.Table]:
        import pyarrow as pa

        survey, schema = self._survey, self.schema
        own = {f.name: f.type for f in schema}
        wanted = pa.schema([(c, (types or {}).get(c, own.get(c, pa.null()))) for c in columns])
        kinds = pa.schema([(c, survey.columns[c].kind if c in survey.columns else pa.null()) for c in columns])
        at = max(0, bisect.bisect_right(survey.begins, (start, self.stamp[0], 0)) - 1)
        if at >= len(survey.begins):
            return
        row, offset, line = survey.begins[at]

        def batches() -> Iterator[pa.RecordBatch]:
            for lines in self._blocks(BLOCK_BYTES, offset, line):
                table = self._parse(lines, kinds, others="ignore")
                if table is not None:
                    yield from cast(table, wanted, self.path).to_batches()

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
        with reading(self.path), self.path.open("rb") as file:
            if not offset and file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
                offset = len(codecs.BOM_UTF8)
            file.seek(offset)
            rest = b""
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
            SourceError: One of them cannot be used; the message names it.
        """
        import pyarrow as pa

        known = {n: c.kind for n, c in found.columns.items()}
        text = {n: kind for n, kind in known.items() if pa.types.is_string(kind)}
        try:
            lines.text.decode()
            if _is_no_table(lines.text):
                raise TypeError("no objects")
            table = self._parse(lines, pa.schema(text.items()), others="infer")
            if table is not None and any(pa.types.is_timestamp(f.type) for f in table.schema):
                # Arrow takes text for times by the block it sees; here all of the file decides
                text |= {f.name: pa.string() for f in table.schema if pa.types.is_timestamp(f.type)}
                table = self._parse(lines, pa.schema(text.items()), others="infer")
            if table is None:
                return
            merged = {f.name: _merged(known.get(f.name, pa.null()), f.type) for f in table.schema}
        except (pa.ArrowException, UnicodeDecodeError, TypeError) as error:
            raise self._blamed(lines, known, error) from None
        begun = found.rows > 0
        for name in _as_written(merged, lines.text):
            kind = merged[name]
            values = table.column(name)
            column = found.columns.setdefault(name, _Column(kind, begun, False, _times()))
            column.kind = kind
            if (pa.types.is_integer(values.type) or pa.types.is_float64(values.type)) and has_wide(values):
                column.wide = True
                if pa.types.is_float64(values.type):
                    self._refuse_rounded(lines, name)
            column.holes = column.holes or values.null_count > 0
            column.times = (
                tuple(t for t in column.times if pa.types.is_string(kind) and _are_times(values, t))
                if (values.null_count < len(values))
                else column.times
            )
        for name in known.keys() - set(table.schema.names):
            found.columns[name].holes = True
        found.begins.append((found.rows, lines.offset, lines.line))
        found.rows += table.num_rows

    def _blamed(self, lines: _Lines, known: dict[str, pa.DataType], error: Exception) -> SourceError:
        """Return the error that names the line at fault."""
        kinds = {name: _kind_of_type(kind) for name, kind in known.items()}
        for number, raw in enumerate(lines.text.split(b"\n"), lines.line):
            if not raw.strip():
                continue
            where = f"{self.path}, line {number},"
            try:
                row = json.loads(raw.decode(), object_pairs_hook=_once)
            except _Twice as twice:
                return SourceError(f"{where} has column {twice.args[0]!r} twice; name each once.")
            except UnicodeDecodeError:
                return SourceError(f"{where} must be UTF-8 text, but is not; save the file as UTF-8.")
            except RecursionError:
                return SourceError(f"{where} holds values that are nested too deeply; flatten them.")
            except ValueError as said:
                return SourceError(f"{where} is no JSON ({said}): {shown(raw.decode(errors='replace').strip())}.")
            if not isinstance(row, dict):
                way = (
                    "; read an array of them with pandas, and replay pd.read_json(path)"
                    if isinstance(row, list)
                    else ""
                )
                return SourceError(f"{where} must be one JSON object, got {shown(row)}{way}.")
            for name, value in row.items():
                if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
                    return SourceError(f"{where} has text in column {name!r} that is no Unicode: {shown(value)}.")
                kind = _kind_of(value)
                if kind is None:
                    continue
                if kind == "a nested value":
                    return SourceError(
                        f"{where} has a nested value in column {name!r}: {shown(value)}; flatten it, for example with "
                        "pandas.json_normalize, and replay the frame."
                    )
                if kinds.setdefault(name, kind) not in (kind, None):
                    return SourceError(
                        f"{where} has {kind} in column {name!r}, which holds {kinds[name]} before: {shown(value)}; "
                        "a column must hold one kind of value."
                    )
                kinds[name] = kind
        return SourceError(f"{self.path} cannot be read near line {lines.line}: {str(error).rstrip('.')}.")

    def _refuse_rounded(self, lines: _Lines, name: str) -> None:
        """Raise at the first whole number of a column that float64 would change."""
        for number, raw in enumerate(lines.text.split(b"\n"), lines.line):
            if re.search(rb"\d{16}", raw) and raw.strip():
                value = json.loads(raw, parse_int=_Digits).get(name)
                if isinstance(value, _Digits) and abs(int(value)) >= 2**63 and is_rounded(value):
                    raise SourceError(
                        f"{self.path}, line {number}, has {value} in column {name!r}, which neither int64 nor float64 "
                        "holds; write such numbers as text."
                    )


class _Digits(str):
    """A whole number as it is written."""


class _Twice(Exception):
    """A name that is twice in one object."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return row


def _times() -> tuple[pa.DataType, ...]:
    """Return the types that text may be a time of: nanoseconds, and microseconds where those do not reach."""
    import pyarrow as pa

    return tuple(pa.timestamp(unit, tz) for unit in ("ns", "us") for tz in (None, "UTC"))


def _as_written(names: Iterable[str], text: bytes) -> list[str]:
    """Return names in the order of the first object, which Arrow does not keep; what it lacks comes behind."""
    first = next(line for line in text.split(b"\n") if line.strip())
    order = [name for name in json.loads(first) if name in names]
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
    import pyarrow as pa

    return pa.schema(
        [(n, c.times[0] if pa.types.is_string(c.kind) and c.times else c.kind) for n, c in found.columns.items()]
    )


def _merged(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that holds both; `TypeError` when the kinds differ, or one is nested."""
    import pyarrow as pa

    if pa.types.is_nested(other):
        raise TypeError("nested")
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


def _kind_of(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "numbers"
    return "text" if isinstance(value, str) else "a nested value"


def _kind_of_type(kind: pa.DataType) -> str | None:
    import pyarrow as pa

    if pa.types.is_null(kind):
        return None
    if pa.types.is_boolean(kind):
        return "true or false"
    return "text" if pa.types.is_string(kind) else "numbers"

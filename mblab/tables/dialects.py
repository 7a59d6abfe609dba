"""How a text file is packed, encoded and parted into columns: named, found by how it begins, or refused.

path -> [dialects] -> csv, jsonl
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeGuard

from mblab.errors import SettingError, SettingTypeError, SourceError, shown
from mblab.tables.casting import NULLS
from mblab.tables.sniffing import SEPARATORS, decimal_of, knobs_of, line_that_reads, seems

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "COMMAS",
    "HEAD_BYTES",
    "PACKED",
    "UTF8",
    "Dialect",
    "Opening",
    "checked",
    "first_lines",
    "looked_at",
    "opened",
    "unpacked",
]

PACKED: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}  # ending to Arrow's name of how it is packed
HEAD_BYTES: Final = 1 << 16
UTF8: Final = "utf8"  # as Arrow calls what it reads without Python's help
MARKS: Final = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
ANY_NUMBER: Final = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
ANY_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?|\d\d?:\d\d(:\d\d.*)?|\d\d?[./]\d\d?[./]\d{4}.*")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV file is written.

    Attributes:
        sep: What stands between two values.
        decimal: What stands before the fraction of a number.
        encoding: Name of its encoding; None: UTF-8, or what a byte order mark says.
        na_values: What stands for nothing besides the usual words.
    """

    sep: str = ","
    decimal: str = "."
    encoding: str | None = None
    na_values: tuple[str, ...] = ()

    @property
    def nulls(self) -> tuple[str, ...]:
        """All that stands for nothing."""
        return (*NULLS, *self.na_values)


COMMAS: Final = Dialect()


@dataclass(frozen=True, slots=True)
class Opening:
    """How a CSV file begins.

    Attributes:
        encoding: Name of its encoding; UTF-8, with a mark or without, is `UTF8`.
        skip: Lines before the header.
        names: What the header seems to name.
    """

    encoding: str
    skip: int
    names: tuple[str, ...]


def checked(sep: str, decimal: str, encoding: str | None, na_values: str | Collection[str] | None = None) -> Dialect:
    """Return a dialect that somebody named.

    Raises:
        SettingError: A separator is not one character, an encoding is not known, or what stands for nothing is no text.
    """
    for knob, value, such in (("sep", sep, "';' or '\\t'"), ("decimal", decimal, "','")):
        if not isinstance(value, str):
            raise SettingTypeError(f"{knob} must be one character, such as {such}, got {shown(value)}.")
        if len(value) != 1 or not value.isascii() or value.isalnum() or value in '"\r\n':
            raise SettingError(f"{knob} must be one character, such as {such}, got {shown(value)}.")
    if sep == decimal:
        raise SettingError(f"sep and decimal must differ, got {shown(sep)} for both.")
    words = _null_words(na_values)
    if encoding is None:
        return Dialect(str(sep), str(decimal), None, words)
    if not isinstance(encoding, str):
        raise SettingTypeError(f"encoding must be the name of one, such as 'latin-1', got {shown(encoding)}.")
    if not _is_of_files(encoding):
        raise SettingError(
            f"encoding must be one that Python knows for text files, such as 'latin-1', got {shown(encoding)}."
        )
    plain = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
    return Dialect(str(sep), str(decimal), None if plain else encoding, words)


def _null_words(na_values: str | Collection[str] | None) -> tuple[str, ...]:
    """Return what stands for nothing, once each and without blanks around it."""
    listed = [na_values] if isinstance(na_values, str) else na_values
    if listed is None:
        return ()
    if not isinstance(listed, Collection) or isinstance(listed, Mapping | bytes) or not _are_texts(listed):
        raise SettingTypeError(
            f"na_values must be a text or a list of texts, such as ['?', '-'], which hold in all columns, got "
            f"{shown(na_values)}."
        )
    words = [word.strip() for word in (sorted(listed) if isinstance(listed, set | frozenset) else listed)]
    return tuple(dict.fromkeys(word for word in words if word not in NULLS))


def _are_texts(values: Collection[object]) -> TypeGuard[Collection[str]]:
    return all(isinstance(value, str) for value in values)


def _is_of_files(encoding: str) -> bool:
    """Return whether an encoding reads lines of text piece by piece, as base64 and that of host names do not."""
    text = "a,b\n1,2\n"
    try:
        coded, decoder = text.encode(encoding), codecs.getincrementaldecoder(encoding)()
        return "".join(decoder.decode(coded[i : i + 1]) for i in range(len(coded))) == text
    except (LookupError, ValueError):
        return False


def unpacked(path: Path) -> str:
    """Return the ending of a file's name without what tells how it is packed.

    >>> unpacked(Path("day-1.csv.gz")), unpacked(Path("day.1.JSONL"))
    ('.csv', '.jsonl')
    """
    name = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return name.suffix.lower()


def opened(path: Path) -> pa.NativeFile:
    """Return a file's bytes, unpacked."""
    import pyarrow as pa

    return pa.input_stream(str(path), compression=PACKED.get(path.suffix.lower()))


def looked_at(path: Path, dialect: Dialect) -> Opening:
    """Return how a CSV file begins.

    Raises:
        SourceError: It is not written as the dialect says, or has no header.
    """
    with opened(path) as file:
        head = file.read(HEAD_BYTES)
    encoding = dialect.encoding or next((name for mark, name in MARKS.items() if head.startswith(mark)), UTF8)
    if b"\0" in head[:4] and encoding == UTF8:
        raise SourceError(
            f"{path} is UTF-16 or UTF-32 text; say which, for example mblab.sources.csv(path, encoding='utf-16-le')."
        )
    try:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    except UnicodeError:  # of UTF-16 without a byte order mark
        raise SourceError(f"{path} must be text in {encoding}, but is not; name another encoding=.") from None
    lines = text.lstrip("\ufeff").splitlines(keepends=True)
    whole = lines if len(head) < HEAD_BYTES else lines[:-1]
    note = re.fullmatch(r'"?sep=(.)"?\s*', lines[0], re.IGNORECASE) if lines else None
    if note and note[1] != dialect.sep:
        raise SourceError(
            f"{path}, line 1, is Excel's note that columns are parted by {note[1]!r}; replay "
            f"mblab.sources.csv(path{_knobs(whole[1:], note[1])}), or pd.read_csv(path, sep={note[1]!r}, skiprows=1)."
        )
    rows = _rows(whole[1:] if note else whole, dialect.sep)
    widths = {len(row) for row in rows}
    if not note and whole and (widths != {max(widths, default=2)} or widths == {1} or whole[0].startswith("#")):
        _refuse_notes(path, whole, dialect)
    _refuse_other_separator(path, whole[1:] if note else whole, rows, dialect)
    _refuse_headerless(path, rows)
    return Opening(encoding, 1 if note else 0, tuple(rows[0]) if rows else ())


def first_lines(path: Path) -> list[str]:
    """Return the first lines of a text file in UTF-8; none when it is no text."""
    with opened(path) as file:
        head = file.read(HEAD_BYTES)
    text = codecs.getincrementaldecoder("utf-8-sig")("replace").decode(head)
    lines = text.splitlines()
    return [] if "\0" in text else lines if len(head) < HEAD_BYTES else lines[:-1]


def _refuse_notes(path: Path, lines: list[str], dialect: Dialect) -> None:
    """Raise when lines stand before the header that are no rows."""
    found = seems([line.rstrip("\r\n") for line in lines])
    if found and found.notes and dialect.sep in (",", found.sep):
        raise SourceError(
            f"{path}, line 1, must be a header, but {shown(lines[0].strip())} is a note, and line {found.notes + 1} "
            f"seems to be the header; replay {line_that_reads(found)}."
        )


def _rows(lines: list[str], sep: str) -> list[list[str]]:
    """Return the first rows of some lines; fewer where one breaks off."""
    rows = []
    try:
        for row in csv.reader(lines, delimiter=sep):
            rows += [row] if row else []
            if len(rows) == 20:
                break
    except csv.Error:
        pass
    return rows


def _refuse_other_separator(path: Path, lines: list[str], rows: list[list[str]], dialect: Dialect) -> None:
    """Raise when another separator parts all of the first lines alike, and this one does not."""
    alike = len({len(row) for row in rows}) == 1
    if not rows or (alike and len(rows[0]) > 1 and dialect.sep != ","):
        return
    header = lines[0].strip() if lines else ""
    for sep in (*SEPARATORS[1:], SEPARATORS[0]):  # a comma may as well part decimals
        others = _rows(lines, sep)
        if sep == dialect.sep or not others or len(others[0]) < 2:
            continue
        also = len({len(row) for row in others}) == 1 and len(others) > 1
        # where commas part the lines alike as well, they may stand in decimals and one name
        if len(rows[0]) == 1 or (
            also and (not alike or (decimal_of(others[1:], sep) == "," and len(others[0]) >= len(rows[0])))
        ):
            raise SourceError(
                f"{path} must part columns by {_said(dialect.sep)}, but its header {shown(header)} seems to use "
                f"{sep!r}; save it with commas, or replay pd.read_csv(path{_knobs(lines, sep)}), or as a file "
                f"mblab.sources.csv(path{_knobs(lines, sep)})."
            )


def _said(sep: str) -> str:
    return "commas" if sep == "," else repr(sep)


def _knobs(lines: list[str], sep: str) -> str:
    """Return how a call goes on that says how some lines are written, header first."""
    return knobs_of(sep, decimal_of(_rows(lines, sep)[1:], sep))


def _refuse_headerless(path: Path, rows: list[list[str]]) -> None:
    """Raise when the first line holds values instead of names: times or numbers, as the line below it has them."""
    if len(rows) < 2 or len(rows[0]) != len(rows[1]):
        return
    names = [value.strip() for value in rows[0]]
    kinds, below = ([_kind(value.strip()) for value in row] for row in rows[:2])
    if kinds != below or set(kinds) == {"text"} or _may_be_names(names, kinds):
        return
    raise SourceError(
        f"{path}, line 1, must be a header, but {shown(names)} are values like those below; put a line of names "
        "before it, or replay pd.read_csv(path, header=None, names=[…])."
    )


def _may_be_names(names: list[str], kinds: list[str]) -> bool:
    """Return whether numbers in a header name columns: 0, 1, 2 of a table without names, years, or quantiles."""
    if "time" in kinds:
        return False
    numbers = [float(name.replace(",", ".")) for name, kind in zip(names, kinds, strict=True) if kind != "text"]
    steps = {after - before for before, after in pairwise(numbers)}
    if "number" in kinds:
        return min(steps, default=0) > 0 and len(numbers) + ("text" in kinds) > 2
    if not steps:
        return "text" in kinds
    return len(steps) == 1 and (steps == {1} or (min(steps) > 0 and len(numbers) > 2))


def _kind(value: str) -> str:
    if ANY_TIME.fullmatch(value):
        return "time"
    if not ANY_NUMBER.fullmatch(value):
        return "text"
    return "whole" if value.lstrip("+-").isdigit() else "number"

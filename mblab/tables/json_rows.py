"""Lines of JSON gone through in Python, one by one: what Arrow has no type for, and which line is at fault.

    lines -> [json_rows] -> columns, faults -> jsonl

It takes ten times as long as Arrow, so it is done where nested values are wanted, or Arrow fails.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mblab.errors import SourceError, shown
from mblab.support.json import Json
from mblab.tables.arrow import is_json, json_kind
from mblab.tables.base import is_rounded
from mblab.tables.flat import leaves

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Digits", "JsonRows", "kind_of_type", "rows_in", "too_large"]

MOST_DIGITS: Final = 308  # of a whole number; float64 ends there
NESTED: Final = "lists or objects"
ARRAY_WAY: Final = "; read an array of them with pandas, and replay pd.read_json(path)"


class Digits(str):
    """A whole number as it is written."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "numbers",
    float: "numbers",
    Digits: "numbers",
    str: "text",
    list: NESTED,
    dict: NESTED,
}


@dataclass(slots=True)
class JsonRows:
    """The rows on some lines, by columns.

    Attributes:
        columns: Values of each column in the order in which the names appear, None for a missing one; nested ones as
            their JSON text.
        kinds: What a column holds, in words; None while it holds nothing.
        faults: Why a column cannot be read; the values that stand in its way are missing.
        num_rows: How many there are.
    """

    columns: dict[str, list[Any]]
    kinds: dict[str, str | None]
    faults: dict[str, SourceError]
    num_rows: int

    def table(self, types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
        """Return the rows as an Arrow table: columns of some types, or all in those that their values need."""
        import pyarrow as pa

        if types is None:
            types = {name: self._type(name, values) for name, values in self.columns.items()}
        missing = [None] * self.num_rows
        made = [_array(self.columns.get(name, missing), kind) for name, kind in types.items()]
        return pa.table(made, names=list(types))

    def _type(self, name: str, values: list[Any]) -> pa.DataType:
        import pyarrow as pa

        kind = self.kinds.get(name)
        if kind == "numbers":
            whole = all(type(v) is int and -(2**63) <= v < 2**63 for v in values if v is not None)
            return pa.int64() if whole else pa.float64()
        if kind is None or all(value is None for value in values):
            return pa.null()
        return {"text": pa.string(), "true or false": pa.bool_()}.get(kind, json_kind())


def rows_in(
    path: Path,
    text: bytes,
    line: int,
    known: Mapping[str, str | None],
    *,
    flatten: bool = False,
    only: Container[str] | None = None,
) -> JsonRows:
    """Return the rows on some lines.

    Args:
        path: The file, for messages.
        text: The lines.
        line: Number of the first one.
        known: What columns hold before, in words.
        flatten: Whether what stands in objects are columns.
        only: Columns that are wanted; None means all.

    Raises:
        SourceError: A line is no row; the message names it.
    """
    found = JsonRows({}, {**known}, {}, 0)
    columns, kinds = found.columns, found.kinds
    for number, raw in enumerate(text.split(b"\n"), line):
        if not raw.strip():
            continue
        row, at = _row(path, number, raw), found.num_rows
        for name, value in leaves(row) if flatten else row.items():
            if only is not None and name not in only:
                continue
            values = columns.setdefault(name, [])
            if value is None or name in found.faults:
                continue
            kind = KINDS[type(value)]
            if kind is not kinds.get(name) or not _is_plain(value) or len(values) > at:
                said = _why_not(name, value, kind, kinds.get(name), twice=len(values) > at)
                if said:
                    found.faults[name] = SourceError(f"{path}, line {number}, {said}")
                    continue
                kinds[name] = kind
            if len(values) < at:
                values.extend([None] * (at - len(values)))
            values.append(json.dumps(value) if kind is NESTED else value)
        found.num_rows += 1
    for values in columns.values():
        values.extend([None] * (found.num_rows - len(values)))
    return found


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if is_json(kind):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, pa.string()))
    if pa.types.is_null(kind):
        return pa.nulls(len(values))
    if pa.types.is_float64(kind):
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, kind)


def _row(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    """Return the object on a line.

    Raises:
        SourceError: There is none.
    """
    where = f"{path}, line {number},"
    try:
        row = _loaded(raw.decode())
    except _Twice as twice:
        raise SourceError(f"{where} has column {twice.args[0]!r} twice; name each once.") from None
    except UnicodeDecodeError:
        raise SourceError(f"{where} must be UTF-8 text, but is not; save the file as UTF-8.") from None
    except RecursionError:
        raise SourceError(f"{where} holds values that are nested too deeply; flatten them.") from None
    except ValueError as said:
        text = raw.decode(errors="replace").strip()
        way = {"[": ARRAY_WAY, "{": "; an object must stand on one line"}.get(text[:1], "")
        raise SourceError(f"{where} is no JSON ({said}): {shown(text)}{way}.") from None
    if not isinstance(row, dict):
        way = ARRAY_WAY if isinstance(row, list) else ""
        raise SourceError(f"{where} must be one JSON object, got {shown(row)}{way}.")
    return row


class _Twice(Exception):
    """A name that is twice in one object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return row


def _whole(digits: str) -> int | Digits:
    return int(digits) if len(digits) <= MOST_DIGITS else Digits(digits)


USUAL: Final = json.JSONDecoder(object_pairs_hook=_once)
LONG: Final = json.JSONDecoder(object_pairs_hook=_once, parse_int=_whole)


def _loaded(text: str) -> Any:
    """Return what JSON says; a whole number with more digits than Python takes, as its digits."""
    try:
        return USUAL.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # sys.get_int_max_str_digits()
        return LONG.decode(text)


def _is_plain(value: Json) -> bool:
    """Return whether a value needs no second look: text of ASCII, a number within int64, anything else."""
    if isinstance(value, str):
        return value.isascii() and not isinstance(value, Digits)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _why_not(name: str, value: Json, kind: str, before: str | None, *, twice: bool) -> str:
    """Return why a value cannot be in its column, which holds a kind before; empty when it can."""
    if twice:
        return f"has {name!r} twice, as a name and as a path of names; leave flatten=True out."
    if kind == "text" and isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        return f"has text in column {name!r} that is no Unicode: {shown(value)}."
    if kind == "numbers" and not isinstance(value, float) and too_large(str(value)):
        return (
            f"has {shown(Digits(value))} in column {name!r}, which neither int64 nor float64 holds; write such numbers "
            "as text."
        )
    if before in (kind, None):
        return ""
    if kind == NESTED:
        way = "with flatten=True" if isinstance(value, dict) else "before it is written"
        return (
            f"has a nested value in column {name!r}: {shown(value)}; flatten it {way}, for the column holds {before} "
            "before."
        )
    return (
        f"has {kind} in column {name!r}, which holds {before} before: {shown(value)}; a column must hold one kind of "
        "value."
    )


def too_large(digits: str) -> bool:
    """Return whether a whole number is beyond int64, and one that float64 would change.

    >>> too_large("9223372036854775807"), too_large("9223372036854775809"), too_large("9" * 5000)
    (False, True, True)
    """
    if len(digits) < len(str(2**63)):
        return False
    return len(digits) > MOST_DIGITS or (not -(2**63) <= int(digits) < 2**63 and is_rounded(digits))


def kind_of_type(kind: pa.DataType) -> str | None:
    """Return what a column of an Arrow type holds, in words; None when that is nothing."""
    import pyarrow as pa

    if pa.types.is_null(kind):
        return None
    if pa.types.is_boolean(kind):
        return KINDS[bool]
    if is_json(kind):
        return NESTED
    return KINDS[str] if pa.types.is_string(kind) else KINDS[int]

"""What columns of text hold that stand side by side: those of plain numbers are looked at together.

    texts of a block -> [together] -> csv
                            |
                        inference

A look costs the same for a short column as for a long one, so in a wide file each is taken at all columns at once. What
is not a plain number goes through `inference` column by column; the facts are the same either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from mblab.tables.base import EXACT
from mblab.tables.casting import NULLS, cast_text
from mblab.tables.inference import (
    LENGTHS,
    LOOKED_AT,
    SHORT,
    WHOLE,
    Column,
    has_huge,
    is_cut,
    letters_of,
    taken_in,
    zeros_in,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["all_taken_in"]

SAMPLE: Final = 20  # texts of which one that is not null tells what a column may be
HUGE: Final = 300  # letters below which a number without an exponent is finite


class _Plain(NamedTuple):
    """A column of numbers that may turn out to be plain.

    Attributes:
        at: Its number among the columns.
        text: Its texts.
        values: The numbers that they are.
        before: How many long numbers were looked at before, by their length.
        may_be_huge: Whether one may be more than a float64 holds.
    """

    at: int
    text: pa.Array
    values: pa.Array
    before: tuple[int, ...]
    may_be_huge: bool


def all_taken_in(
    known: Sequence[Column], texts: Sequence[pa.Array], decimal: str = ".", nulls: Sequence[str] = NULLS
) -> tuple[list[Column], list[pa.Array]]:
    """Return what is known of columns with more of their texts, as `taken_in` does, and their values.

    Values of numbers are of the type that these texts have on their own; other columns remain texts.
    """
    found: list[Column | None] = [None] * len(texts)
    values = list(texts)
    plain = [
        column
        for at, (before, text) in enumerate(zip(known, texts, strict=True))
        if (column := _plain_numbers(at, before, text, decimal))
    ]
    for column, facts in zip(plain, _facts(plain, decimal), strict=True):
        if facts is not None:
            found[column.at] = known[column.at].joined(facts)
            values[column.at] = column.values
    return [
        taken_in(before, text, decimal, nulls) if facts is None else facts
        for before, text, facts in zip(known, texts, found, strict=True)
    ], values


def _plain_numbers(at: int, known: Column, text: pa.Array, decimal: str) -> _Plain | None:
    """Return a column as numbers; None where they are not plainly such, or not of the kind that is known."""
    import pyarrow as pa

    if known.type != known.kind or known.kind not in (pa.null(), pa.int64(), pa.float64()):
        return None
    first = next((cell for cell in text[:SAMPLE].to_pylist() if cell is not None), "")
    if not first[-1:].isdecimal() or not first.lstrip("+-")[:1].isdecimal():
        return None
    begins, lengths, letters = letters_of(text)
    written = letters[begins[0] : begins[-1] + lengths[-1]].tobytes()
    point = decimal.encode() in written
    if not point and (known.kind == pa.float64() or not WHOLE.fullmatch(first)):
        return None
    kind = pa.float64() if point or known.kind == pa.float64() else pa.int64()
    try:
        values = cast_text(text, kind, decimal)
    except pa.ArrowInvalid:
        return None
    before = known.looked_at if known.kind == kind else (0,) * LENGTHS
    return _Plain(at, text, values, before, b"e" in written or b"E" in written or bool(lengths.max() > HUGE))


def _facts(plain: Sequence[_Plain], decimal: str) -> list[Column | None]:
    """Return what is known of columns of numbers; None of those that are not plain."""
    import pyarrow as pa

    if not plain:
        return []
    odd = set(_owners(plain)[zeros_in(pa.concat_arrays([column.text for column in plain]))].tolist())
    floats = [column for column in plain if pa.types.is_float64(column.values.type)]
    fractions = iter(_fractions(floats, decimal))
    return [
        None if facts is None or i in odd else replace(facts, holes=column.text.null_count > 0)
        for i, column in enumerate(plain)
        for facts in [next(fractions) if pa.types.is_float64(column.values.type) else _whole(column)]
    ]


def _owners(plain: Sequence[_Plain]) -> np.ndarray[Any, Any]:
    """Return of which column each text is, when they stand one after the other."""
    return np.repeat(np.arange(len(plain)), [len(column.text) for column in plain])


def _whole(column: _Plain) -> Column | None:
    """Return what is known of whole numbers; None where float64 may change one."""
    import pyarrow as pa

    values = column.values.drop_null() if column.values.null_count else column.values
    numbers = values.to_numpy()
    least, most = min(0, int(numbers.min())), max(0, int(numbers.max()))
    return Column(pa.int64(), least=least, most=most) if max(-least, most) <= EXACT else None


def _fractions(floats: Sequence[_Plain], decimal: str) -> list[Column | None]:
    """Return what is known of numbers with a point; None where float64 may change one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not floats:
        return []
    text = pa.concat_arrays([column.text for column in floats])
    at, owners, looked_at = _long(text, floats)
    long = text.take(pa.array(at))
    written = pa.concat_arrays([column.values for column in floats]).take(pa.array(at)).cast(pa.string())
    other = np.flatnonzero(pc.not_equal(long, written).to_numpy(zero_copy_only=False))
    digits = long.take(pa.array(other)).to_pylist()
    changed = {
        owner
        for owner, number in zip(owners[other].tolist(), digits, strict=True)
        if is_cut(number.replace(decimal, "."))
    }
    return [
        None
        if i in changed or (column.may_be_huge and has_huge(column.text, column.values))
        else Column(pa.float64(), whole=False, looked_at=tuple(looked_at[i]))
        for i, column in enumerate(floats)
    ]


def _long(
    text: pa.Array, floats: Sequence[_Plain]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[list[int]]]:
    """Return where the first long numbers of each length of each column stand, whose they are, and how many."""
    _, lengths, _ = letters_of(text)
    room = np.maximum(0, LOOKED_AT - np.array([column.before for column in floats])).ravel()
    at = np.flatnonzero(lengths >= SHORT)
    group = _owners(floats)[at] * LENGTHS + np.minimum(lengths[at] - SHORT, LENGTHS - 1)
    wanted = room[group] > 0
    at, group = at[wanted], group[wanted]
    order = np.argsort(group.astype(np.min_scalar_type(len(room))), kind="stable")
    sizes = np.bincount(group, minlength=len(room))
    place = np.arange(len(at)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each within its group
    first = order[place < np.repeat(room, sizes)]
    return at[first], group[first] // LENGTHS, np.minimum(sizes, room).reshape(-1, LENGTHS).tolist()

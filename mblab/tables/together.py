"""What columns of text hold that stand side by side: those of plain numbers are looked at together.

    texts of a block -> [together] -> csv
                            |
                        inference

A look costs the same for a short column as for a long one, so in a wide file each is taken at many columns at once:
their texts stand one column after the other, as many as a processor's cache holds. What is not a plain number goes
through `inference` column by column; the facts are the same either way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from mblab.tables.base import EXACT
from mblab.tables.casting import NULLS, cast_text
from mblab.tables.inference import (
    AT_ONCE,
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
NUMBER: Final = re.compile(r"[+-]?\d+([.,]\d*)?([eE][+-]?\d+)?")
FIRST_ROWS: Final = 8 * LOOKED_AT  # of a block, by which most lengths of numbers are known


class _Numbers(NamedTuple):
    """Columns of plain numbers of one kind, one after the other.

    Attributes:
        at: Their numbers among the columns.
        text: Their texts.
        values: The numbers that they are.
        rows: How many each of them has.
        holes: Whether they have nulls.
    """

    at: list[int]
    text: pa.Array
    values: pa.Array
    rows: int
    holes: list[bool]

    def of(self, column: int) -> tuple[pa.Array, pa.Array]:
        """Return the texts and the numbers of one of them."""
        begin = column * self.rows
        return self.text.slice(begin, self.rows), self.values.slice(begin, self.rows)


def all_taken_in(
    known: Sequence[Column], texts: Sequence[pa.Array], decimal: str = ".", nulls: Sequence[str] = NULLS
) -> tuple[list[Column], list[pa.Array]]:
    """Return what is known of columns with more of their texts, as `taken_in` does, and their values.

    Values of numbers are of the type that these texts have on their own; other columns remain texts.
    """
    found: list[Column | None] = [None] * len(texts)
    values = list(texts)
    kinds = [_plain_kind(before, text, decimal) for before, text in zip(known, texts, strict=True)]
    for columns, kind in _alike(kinds, len(texts[0]) if texts else 0):
        numbers = _numbers(columns, texts, kind, decimal)
        if numbers is None:
            continue
        for i, (at, facts) in enumerate(zip(numbers.at, _facts(numbers, known, decimal), strict=True)):
            if facts is not None:
                found[at] = known[at].joined(facts)
                values[at] = numbers.of(i)[1]
    return [
        taken_in(before, text, decimal, nulls) if facts is None else facts
        for before, text, facts in zip(known, texts, found, strict=True)
    ], values


def _alike(kinds: Sequence[pa.DataType | None], rows: int) -> Iterator[tuple[list[int], pa.DataType]]:
    """Yield columns of one type, as many as fit a processor's cache when each has so many rows."""
    import pyarrow as pa

    most = max(1, AT_ONCE // max(1, rows))
    for kind in (pa.int64(), pa.float64()):
        columns = [at for at, own in enumerate(kinds) if own == kind]
        for low in range(0, len(columns), most):
            yield columns[low : low + most], kind


def _plain_kind(known: Column, text: pa.Array, decimal: str) -> pa.DataType | None:
    """Return the type of numbers that a column seems to hold; None for another, or one that does not go with others."""
    import pyarrow as pa

    if known.type != known.kind or known.kind not in (pa.null(), pa.int64(), pa.float64()):
        return None
    first = next((cell for cell in text[:SAMPLE].to_pylist() if cell is not None), "")
    if not NUMBER.fullmatch(first):
        return None
    begins, lengths, letters = letters_of(text)
    if decimal.encode() in letters[begins[0] : begins[-1] + lengths[-1]].tobytes():
        return pa.float64()
    return None if known.kind == pa.float64() or not WHOLE.fullmatch(first) else pa.int64()


def _numbers(columns: list[int], texts: Sequence[pa.Array], kind: pa.DataType, decimal: str) -> _Numbers | None:
    """Return those of some columns that are numbers of a type; None where none is."""
    import pyarrow as pa

    if not columns:
        return None
    text = pa.concat_arrays([texts[at] for at in columns])
    try:
        values = cast_text(text, kind, decimal)
    except pa.ArrowInvalid:
        return _numbers([at for at in columns if _is_cast(texts[at], kind, decimal)], texts, kind, decimal)
    return _Numbers(columns, text, values, len(texts[columns[0]]), [texts[at].null_count > 0 for at in columns])


def _is_cast(text: pa.Array, kind: pa.DataType, decimal: str) -> bool:
    import pyarrow as pa

    try:
        cast_text(text, kind, decimal)
    except pa.ArrowInvalid:
        return False
    return True


def _facts(numbers: _Numbers, known: Sequence[Column], decimal: str) -> list[Column | None]:
    """Return what is known of columns of numbers; None of those that are not plain."""
    import pyarrow as pa

    if pa.types.is_int64(numbers.values.type):
        facts = _whole(numbers)
    else:
        facts = _fractions(numbers, [known[at] for at in numbers.at], decimal)
    for odd in np.unique(zeros_in(numbers.text) // numbers.rows).tolist():
        facts[odd] = None
    return facts


def _whole(numbers: _Numbers) -> list[Column | None]:
    """Return what is known of whole numbers; None where float64 may change one."""
    import pyarrow as pa

    values = numbers.values.fill_null(0).to_numpy().reshape(-1, numbers.rows)
    ends = zip(values.min(1, initial=0).tolist(), values.max(1, initial=0).tolist(), numbers.holes, strict=True)
    return [
        Column(pa.int64(), holes, least=least, most=most) if max(-least, most) <= EXACT else None
        for least, most, holes in ends
    ]


def _fractions(numbers: _Numbers, known: Sequence[Column], decimal: str) -> list[Column | None]:
    """Return what is known of numbers with a point; None where float64 may change one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    at, looked_at = _long(numbers, known)
    long, written = numbers.text.take(at), numbers.values.take(at).cast(pa.string())
    other = np.flatnonzero(pc.not_equal(long, written).to_numpy(zero_copy_only=False))
    digits = long.take(pa.array(other)).to_pylist()
    owners = (at.to_numpy()[other] // numbers.rows).tolist()
    changed = {owner for owner, number in zip(owners, digits, strict=True) if is_cut(number.replace(decimal, "."))}
    if np.isinf(numbers.values.to_numpy(zero_copy_only=False)).any():
        changed |= {i for i in range(len(known)) if has_huge(*numbers.of(i))}
    return [
        None if i in changed else Column(pa.float64(), holes, whole=False, looked_at=tuple(counts))
        for i, (counts, holes) in enumerate(zip(looked_at, numbers.holes, strict=True))
    ]


def _long(numbers: _Numbers, known: Sequence[Column]) -> tuple[pa.Array, list[list[int]]]:
    """Return where the first long numbers of each length of each column stand, and how many those are."""
    import pyarrow as pa

    lengths = letters_of(numbers.text)[1].reshape(-1, numbers.rows)
    seen = [column.looked_at if pa.types.is_float64(column.kind) else (0,) * LENGTHS for column in known]
    room = np.maximum(0, LOOKED_AT - np.array(seen))
    found, looked_at = [np.empty(0, np.intp)], np.zeros_like(room)
    if lengths.max() < SHORT:
        return pa.array(found[0]), looked_at.tolist()
    for begin, end in ((0, FIRST_ROWS), (FIRST_ROWS, numbers.rows)):
        owners, rows, sizes = _first_long(lengths[:, begin:end], room - looked_at)
        found.append(owners * numbers.rows + rows + begin)
        looked_at += sizes
    return pa.array(np.concatenate(found)), looked_at.tolist()


def _first_long(
    lengths: np.ndarray[Any, Any], room: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return columns and rows of the first long numbers, up to so many of each length, and how many those are."""
    over = np.minimum(lengths, SHORT + LENGTHS - 1).ravel()
    is_open = np.concatenate([np.zeros(SHORT, bool), room.any(axis=0)])
    at = np.flatnonzero(is_open.take(over))
    owners, rows = np.divmod(at, lengths.shape[1])
    group = owners * LENGTHS + over[at] - SHORT
    order = np.argsort(group.astype(np.min_scalar_type(room.size)), kind="stable")
    sizes = np.bincount(group, minlength=room.size)
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each within its group
    first = order[place < np.repeat(room.ravel(), sizes)]
    return owners[first], rows[first], np.minimum(sizes, room.ravel()).reshape(room.shape)

"""What a column of text holds: whole numbers, numbers, truth, times, or text.

    text -> [inference] -> csv

Facts are taken in block by block, and joined in any order to the same: so a column's type depends neither on where a
file is cut nor on which of several comes first. A column is text when a number would not keep what is written: leading
zeros, the plus sign of a whole number, digits beyond those of a float64.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mblab.tables.base import EXACT, is_rounded
from mblab.tables.casting import NULLS, cast_text, is_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "LENGTHS",
    "LOOKED_AT",
    "SHORT",
    "WHOLE",
    "Column",
    "first_that",
    "given_column",
    "has_huge",
    "is_cut",
    "letters_of",
    "parsed",
    "taken_in",
    "zeros_in",
]

MINUS, PLUS, ZERO = ord("-"), ord("+"), ord("0")
IN_NUMBER: Final = np.isin(np.arange(256), list(b"0123456789xX"))  # whether a letter after a zero makes it odd
SHORT: Final = 17  # letters below which a number has no digits that a float64 does not keep
LENGTHS: Final = 8  # from there on that are told apart
LOOKED_AT: Final = 20  # numbers of each length; a float64's writer is known by then
SAMPLE: Final = 100  # texts that mostly tell a column of text
WHOLE: Final = re.compile(r"[+-]?\d+")
TIME: Final = re.compile(r"\d+[-:]")
LETTERS: Final = re.compile(r"[g-su-wyG-SU-WY]")  # that stand in no number and no time
WORDS: Final = re.compile(r"[+-]?(true|false|inf|nan)", re.IGNORECASE)  # that are values nevertheless
NS_DAYS: Final = 106_751  # from 1970 that nanoseconds hold
AT_ONCE: Final = 1 << 16  # texts, so that what is found on the way stays in a processor's cache
FINE: Final = 26  # letters of a time with microseconds


@dataclass(frozen=True)
class Column:
    """What is known of the texts of a column.

    Attributes:
        kind: Arrow type that fits each of them: null, int64, float64, bool, date32, time32, timestamp or string.
        holes: Whether there are nulls.
        quoted: Whether a null word stands in quotes, which is null unless the column is text.
        least: The smallest whole number, or 0.
        most: The largest whole number, or 0.
        whole: Whether its numbers are written without a point.
        plus: Whether one of them is written with a plus sign.
        rounded: Whether float64 changes one of the whole numbers.
        far: Whether a time is beyond what nanoseconds since 1970 hold.
        fine: Whether a time has more digits than microseconds hold.
        looked_at: How many long numbers were looked at, by their length.
    """

    kind: pa.DataType
    holes: bool = False
    quoted: bool = False
    least: int = 0
    most: int = 0
    whole: bool = True
    plus: bool = False
    rounded: bool = False
    far: bool = False
    fine: bool = False
    looked_at: tuple[int, ...] = (0,) * LENGTHS

    @cached_property
    def type(self) -> pa.DataType:
        """The Arrow type that keeps all of it."""
        import pyarrow as pa

        kind = self.kind
        if pa.types.is_timestamp(kind) and kind.unit == "ns" and self.far:
            return pa.string() if self.fine else pa.timestamp("us", kind.tz)
        if pa.types.is_float64(kind) and self.whole and (self.plus or self.rounded):
            return pa.string() if self.plus or self.least < 0 or self.most >= 2**64 else pa.uint64()
        return kind

    @property
    def is_null(self) -> bool:
        """Whether it has nulls, as of the type that it has."""
        import pyarrow as pa

        return self.holes or (self.quoted and not pa.types.is_string(self.type))

    @property
    def is_wide(self) -> bool:
        """Whether it has a whole number that float64 does not hold."""
        return max(-self.least, self.most) > EXACT

    def joined(self, other: Column) -> Column:
        """Return what is known of both together."""
        return Column(
            _joined_kind(self, other),
            self.holes or other.holes,
            self.quoted or other.quoted,
            min(self.least, other.least),
            max(self.most, other.most),
            self.whole and other.whole,
            self.plus or other.plus,
            self.rounded or other.rounded,
            self.far or other.far,
            self.fine or other.fine,
            tuple(a + b for a, b in zip(self.looked_at, other.looked_at, strict=True)),
        )


def taken_in(known: Column, text: pa.Array, decimal: str = ".", nulls: Sequence[str] = NULLS) -> Column:
    """Return what is known of a column with more of its texts, of which null words in quotes are not null."""
    import pyarrow as pa

    if text.null_count and not known.holes:
        known = replace(known, holes=True)
    if pa.types.is_string(known.kind):
        return known
    values = text.drop_null() if text.null_count else text
    if not len(values):
        return known
    found = None if pa.types.is_null(known.kind) else _kept(values, known, decimal)
    return known.joined(found or _found(values, decimal, nulls))


def given_column(known: Column, values: pa.Array) -> Column:
    """Return what is known of a column whose type is given, with more of its values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = Column(values.type, holes=known.holes or values.null_count > 0, least=known.least, most=known.most)
    if pa.types.is_integer(values.type) and values.null_count < len(values):
        ends = pc.min_max(values).as_py()
        found = replace(found, least=min(known.least, ends["min"]), most=max(known.most, ends["max"]))
    return found


def parsed(text: pa.Array, kind: pa.DataType, decimal: str = ".", nulls: Sequence[str] = NULLS) -> pa.Array:
    """Return texts as values of a type; null words are null unless it is one of text.

    Raises:
        pa.ArrowInvalid: One of them is no such value.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text(kind):
        return text.cast(kind)
    if pa.types.is_dictionary(kind):
        return parsed(text, kind.value_type, decimal, nulls).dictionary_encode().cast(kind)
    try:
        values = cast_text(text, kind, decimal)
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(text)
        values = cast_text(pc.if_else(pc.is_in(trimmed, pa.array(nulls)), None, trimmed), kind, decimal)
    if pa.types.is_floating(kind) and has_huge(text, values):
        raise pa.ArrowInvalid(f"a number beyond {kind}")
    return values


def first_that(text: pa.Array, is_odd: Callable[[pa.Array], bool]) -> int:
    """Return the number of the first text with which texts are odd; all of them together are known to be."""
    begin, end = 0, len(text)  # up to `begin` they are not, up to `end` they are
    while end - begin > 1:
        middle = (begin + end) // 2
        begin, end = (begin, middle) if is_odd(text.slice(0, middle)) else (middle, end)
    return begin


def _kept(values: pa.Array, known: Column, decimal: str) -> Column | None:
    """Return what is known of texts that go with what is known already, None when they do not."""
    import pyarrow as pa

    kind = known.kind if pa.types.is_string(known.type) else known.type
    try:
        return _column(values, cast_text(values, kind, decimal), known, decimal)
    except pa.ArrowInvalid:
        return None


def _found(values: pa.Array, decimal: str, nulls: Sequence[str]) -> Column:
    """Return what is known of texts on their own, of which null words in quotes and blanks around do not count."""
    import pyarrow as pa

    if _is_said(values[0].as_py(), nulls):
        return Column(pa.string())
    found = _as_written(values, decimal)
    if not pa.types.is_string(found.kind):
        return found
    for part in (values[:SAMPLE], values):  # most text shows itself at once
        plain = _plain(part, nulls)
        found = _as_written(plain, decimal) if len(plain) else Column(pa.null())
        if pa.types.is_string(found.kind):
            return found
    return replace(found, quoted=len(plain) < len(values))


def _as_written(values: pa.Array, decimal: str) -> Column:
    """Return what is known of texts on their own; the first of them says what they can be at all."""
    import pyarrow as pa

    for kind in _order(_like(values[0].as_py())):
        try:
            cast_text(values[:1], kind, decimal)  # most of them end here; Arrow would go on to the last one that fails
            return _column(values, cast_text(values, kind, decimal), Column(kind), decimal)
        except pa.ArrowInvalid:
            continue
    return Column(pa.string())


def _column(text: pa.Array, values: pa.Array, known: Column, decimal: str) -> Column:
    """Return what is known of texts and of the values that they are."""
    import pyarrow as pa

    kind = values.type
    if pa.types.is_integer(kind):
        return _of_whole(text, values)
    if pa.types.is_float64(kind):
        return _of_numbers(text, values, known, decimal)
    if pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
        return _of_times(text, values)
    return Column(kind)


def _of_whole(text: pa.Array, values: pa.Array) -> Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(zeros_in(text)):
        return Column(pa.string())
    ends = pc.min_max(values).as_py()
    least, most = min(0, ends["min"]), max(0, ends["max"])
    rounded = False
    if max(-least, most) > EXACT:
        wide = values.filter(pc.or_(pc.greater(values, EXACT), pc.less(values, -EXACT)))
        rounded = any(is_rounded(str(number)) for number in wide.to_pylist())
    return Column(pa.int64(), least=least, most=most, rounded=rounded)


def _of_numbers(text: pa.Array, values: pa.Array, known: Column, decimal: str) -> Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(zeros_in(text)) or has_huge(text, values):
        return Column(pa.string())
    if known.whole and not pc.any(pc.match_substring(text, decimal)).as_py() and _are_whole(text):
        least, most, rounded = 0, 0, False
        for number in text.filter(pc.match_substring_regex(text, r"^-|\d{16}")).to_pylist():
            least, most = min(least, int(number)), max(most, int(number))
            rounded = rounded or is_rounded(number)
        plus = pc.any(pc.starts_with(text, "+")).as_py()
        return Column(pa.float64(), least=least, most=most, plus=plus, rounded=rounded)
    at, looked_at = _long(text, known.looked_at)
    if not len(at):
        return Column(pa.float64(), whole=False)
    long = text.take(at)
    other = pc.not_equal(long, values.take(at).cast(pa.string()))
    if any(is_cut(digits.replace(decimal, ".")) for digits in long.filter(other).to_pylist()):
        return Column(pa.string())
    return Column(pa.float64(), whole=False, looked_at=looked_at)


def _of_times(text: pa.Array, values: pa.Array) -> Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_date32(kind) or kind.unit != "ns":
        days = pc.min_max(values.cast(pa.date32(), safe=False).cast(pa.int32())).as_py()
        far = max(-days["min"], days["max"]) >= NS_DAYS
        split = pa.types.is_timestamp(kind) and kind.unit == "us"
        return Column(pa.timestamp("ns", kind.tz) if split else kind, far=far)
    fine = pc.max(pc.binary_length(text)).as_py() > FINE
    fine = fine and pc.any(pc.match_substring_regex(text, r"[.,]\d{7}")).as_py()
    return Column(kind, fine=fine)


def _joined_kind(one: Column, other: Column) -> pa.DataType:
    """Return the kind that fits the texts of both."""
    import pyarrow as pa

    kinds = [one.kind, other.kind]
    if kinds[0] == kinds[1] or pa.types.is_null(kinds[1]):
        return kinds[0]
    if pa.types.is_null(kinds[0]):
        return kinds[1]
    if set(kinds) == {pa.int64(), pa.float64()}:
        return pa.float64()
    if set(kinds) == {pa.int64(), pa.bool_()}:
        number = one if pa.types.is_integer(one.kind) else other
        return pa.bool_() if number.least == 0 and number.most <= 1 else pa.string()
    times = [kind for kind in kinds if pa.types.is_timestamp(kind)]
    if len(times) == 2 and times[0].tz == times[1].tz:
        return pa.timestamp("ns", times[0].tz)
    if len(times) == 1 and times[0].tz is None and pa.date32() in kinds:
        return times[0]
    return pa.string()


def _is_said(text: str, nulls: Sequence[str]) -> bool:
    """Return whether a text is no null word and has letters that are in no value of another kind, as most text has."""
    plain = text.strip()
    return bool(LETTERS.search(plain)) and plain not in nulls and not WORDS.match(plain)


def _like(first: str) -> str:
    """Return what a text looks like that begins a column; it is that, or text."""
    found = TIME.match(first)
    if found and first[found.end() - 1] == ":":
        return "clock"
    if found:
        return "day" if len(first) == 10 else "zone" if re.search("[Zz+-]", first[10:]) else "time"
    if first[1:2].isalpha():
        return "word"
    return "bit" if first in {"0", "1"} else "number" if "." in first or "," in first else "whole"


@lru_cache(8)
def _order(like: str) -> tuple[pa.DataType, ...]:
    """Return the kinds in the order in which they are tried; text takes what is left."""
    import pyarrow as pa

    return {
        "word": (pa.bool_(), pa.float64()),  # true, inf
        "bit": (pa.int64(), pa.bool_(), pa.float64()),
        "whole": (pa.int64(), pa.float64()),
        "number": (pa.float64(),),
        "clock": (pa.time32("s"),),
        "day": (pa.date32(), *(pa.timestamp(unit) for unit in ("s", "ns", "us"))),
        "time": tuple(pa.timestamp(unit) for unit in ("s", "ns", "us")),
        "zone": tuple(pa.timestamp(unit, "UTC") for unit in ("s", "ns", "us")),
    }[like]


def _plain(values: pa.Array, nulls: Sequence[str]) -> pa.Array:
    """Return texts without null words and blanks around them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(values)
    return trimmed.filter(pc.invert(pc.is_in(trimmed, pa.array(nulls))))


def letters_of(text: pa.Array) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return where texts begin, how long they are, and the letters of all."""
    _, offsets, letters = text.buffers()
    ends = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    return ends[:-1], ends[1:] - ends[:-1], np.frombuffer(letters, np.uint8)


def zeros_in(text: pa.Array) -> np.ndarray[Any, Any]:
    """Return where numbers stand that have zeros in front, or are written in hexadecimal digits."""
    begins, lengths, letters = letters_of(text)
    odd = [
        low + _zeros_in(begins[low : low + AT_ONCE], lengths[low : low + AT_ONCE], letters)
        for low in range(0, len(text) if len(letters) else 0, AT_ONCE)
    ]
    return np.concatenate(odd) if odd else np.empty(0, np.intp)


def _zeros_in(
    begins: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any], letters: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    at = begins.astype(np.intp)
    first = letters.take(at, mode="clip")  # where there is no letter the length says so
    signed = (first == MINUS) | (first == PLUS)
    at += signed
    zero = (letters.take(at, mode="clip") == ZERO) & (lengths > signed + np.int32(1))
    if not zero.any():
        return np.empty(0, np.intp)
    at += 1
    odd: np.ndarray[Any, Any] = np.flatnonzero(zero & IN_NUMBER.take(letters.take(at, mode="clip")))
    return odd


def has_huge(text: pa.Array, values: pa.Array) -> bool:
    """Return whether a number is too large for float64, such as the id 46E85123."""
    import pyarrow.compute as pc

    beyond = text.filter(pc.is_inf(values))
    return bool(len(beyond) and pc.any(pc.match_substring_regex(beyond, r"\d")).as_py())


def _are_whole(text: pa.Array) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(text, f"^{WHOLE.pattern}$"), min_count=0).as_py())


def _long(text: pa.Array, before: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], tuple[int, ...]]:
    """Return where the first long numbers of each length stand, and how many those are; some were looked at before."""
    _, lengths, _ = letters_of(text)
    found = [np.empty(0, np.int64)]
    if min(before) < LOOKED_AT and lengths.max() >= SHORT:
        over = np.minimum(lengths - SHORT, LENGTHS - 1)
        found = [np.flatnonzero(over == i)[: max(0, LOOKED_AT - seen)] for i, seen in enumerate(before)]
    return np.concatenate(found), tuple(map(len, found)) if len(found) == LENGTHS else (0,) * LENGTHS


def is_cut(digits: str) -> bool:
    """Return whether a fraction has digits that its float64 does not: neither the shortest ones of it nor its own.

    >>> is_cut("1225717802.1679841607"), is_cut("1.000000000000000056e-01"), is_cut("0.10")
    (True, False, False)
    """
    if "." not in digits:
        return False
    written, value = Decimal(digits), float(digits)
    if written == Decimal(repr(value)):
        return False
    own = Decimal(value)
    return written != _rounded(own, max(1, len(written.as_tuple().digits) - written.adjusted() + own.adjusted()))


def _rounded(number: Decimal, digits: int) -> Decimal:
    import decimal

    return decimal.Context(prec=digits, rounding=decimal.ROUND_HALF_EVEN).plus(number)

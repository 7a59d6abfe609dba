"""Whether a frame that was written and read again is the same: names, dtypes, index, and every value with its type.

`==` is not enough: 1 equals True and 1.0, a list an array, and a date is told apart from midnight only by its type.

    what was, what came back -> [same] -> None, or the first difference in words -> exports, saved runs
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionDtype

from mblab.errors import shown

__all__ = ["column_difference", "difference", "same"]


def same(one: Any, other: Any) -> bool:
    """Return whether two values are of the same type and equal, all the way down; NaN is NaN.

    >>> same([1, (2.5, None)], [1, (2.5, None)]), same([1], np.array([1])), same(True, 1)
    (True, False, False)
    """
    if type(one) is not type(other):
        return False
    if one is other:
        return True
    for kind, rule in RULES:
        if isinstance(one, kind):
            return rule(one, other)
    return _written_alike(one, other)


def difference(one: pd.DataFrame, other: pd.DataFrame) -> str | None:
    """Return the first way in which a frame that came back is another one, as part of a sentence; None for none.

    >>> difference(pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.0]}))
    "column 'a' is int64 and comes back as float64"
    """
    if type(one) is not type(other):
        return f"a {type(one).__name__} comes back as a {type(other).__name__}"
    names, back = list(one.columns), list(other.columns)
    if not same(names, back):
        at = next((i for i, pair in enumerate(zip(names, back, strict=False)) if not same(*pair)), len(back))
        came = (
            f"comes back as {shown(back[at])}" if at < len(back) and len(names) == len(back) else "does not come back"
        )
        return f"column {shown(names[at])} {came}" if at < len(names) else f"column {shown(back[at])} comes besides"
    if not same(list(one.columns.names), list(other.columns.names)):
        return f"the name of its columns, {shown(one.columns.name)}, comes back as {shown(other.columns.name)}"
    for at, name in enumerate(names):
        if said := column_difference(one.iloc[:, at], other.iloc[:, at]):
            return f"column {shown(name)} {said}"
    if said := _index_difference(one.index, other.index):
        return f"its index {said}"
    if not same(one.attrs, other.attrs):
        return f"its attrs {shown(one.attrs)} come back as {shown(other.attrs)}"
    return None


def column_difference(one: pd.Series[Any], other: pd.Series[Any]) -> str | None:
    """Return how a column that came back is another one, such as "is int64 and comes back as float64"; None if not."""
    if len(one) != len(other):
        return f"has {len(one):,} rows and comes back with {len(other):,}"
    was, came = one.dtype, other.dtype
    if isinstance(was, pd.CategoricalDtype) and isinstance(came, pd.CategoricalDtype):
        said = _index_difference(was.categories, came.categories)
        if said or was.ordered != came.ordered:
            return f"comes back with other categories: {said or 'ordered otherwise'}"
        return None if one.cat.codes.equals(other.cat.codes) else "comes back with other values"
    if was != came:
        return "is {} and comes back as {}".format(*_told_apart(was, came))
    plain = isinstance(was, pd.StringDtype) or (isinstance(was, np.dtype) and was.kind != "O")
    return None if plain and one.array.equals(other.array) else _first_other(one, other)


def _first_other(one: pd.Series[Any], other: pd.Series[Any]) -> str | None:
    for row, (value, back) in enumerate(zip(one, other, strict=True)):
        if not same(value, back):
            was, came = (f"{shown(v, 60)} ({type(v).__name__})" for v in (value, back))
            return f"holds {was} in row {row} and comes back with {came}"
    return None


def _index_difference(one: pd.Index, other: pd.Index) -> str | None:
    if not same(list(one.names), list(other.names)):
        return f"is named {shown(list(one.names))} and comes back as {shown(list(other.names))}"
    if type(one) is not type(other) or (one.nlevels == 1 and one.dtype != other.dtype):
        return f"is {type(one).__name__} of {one.dtype} and comes back as {type(other).__name__} of {other.dtype}"
    if isinstance(one, pd.RangeIndex) and not one.equals(other):
        return f"is {one!r} and comes back as {other!r}"
    freq = getattr(one, "freq", None)
    if freq != getattr(other, "freq", None):
        return f"has the frequency {freq.freqstr if freq is not None else None} and comes back without"
    for level in range(one.nlevels if one.nlevels > 1 else 0):
        if said := _index_difference(one.get_level_values(level), other.get_level_values(level)):
            return said
    if one.nlevels > 1 or isinstance(one, pd.RangeIndex):
        return None
    return column_difference(pd.Series(one.array, dtype=one.dtype), pd.Series(other.array, dtype=other.dtype))


def _same_items(one: Sequence[Any] | deque[Any], other: Sequence[Any] | deque[Any]) -> bool:
    limits = getattr(one, "maxlen", None) == getattr(other, "maxlen", None)  # of a deque
    return limits and len(one) == len(other) and all(map(same, one, other))


def _same_dicts(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    factories = getattr(one, "default_factory", None) is getattr(other, "default_factory", None)
    return factories and _same_items(list(one.items()), list(other.items()))


def _same_sets(one: AbstractSet[Any], other: AbstractSet[Any]) -> bool:
    return {(type(v), v) for v in one} == {(type(v), v) for v in other}


def _same_arrays(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape or one.flags.f_contiguous != other.flags.f_contiguous:
        return False
    if one.dtype.hasobject:
        return _same_items(one.ravel().tolist(), other.ravel().tolist())
    return one.tobytes() == other.tobytes()


def _same_series(one: pd.Series[Any], other: pd.Series[Any]) -> bool:
    if not same(one.name, other.name) or not same(one.attrs, other.attrs):
        return False
    return column_difference(one, other) is None and _index_difference(one.index, other.index) is None


def _written_alike(one: Any, other: Any) -> bool:
    """Compare values of any other type: 1.0 and 1.00, or two zones of one moment, are equal and yet not the same."""
    if getattr(one, "unit", None) != getattr(other, "unit", None) or repr(one) != repr(other):
        return False
    equal = one == other
    return equal is True or equal is np.True_


def _told_apart(one: np.dtype[Any] | ExtensionDtype, other: np.dtype[Any] | ExtensionDtype) -> tuple[str, str]:
    """Return two dtypes in words, longer where they are the same in few."""
    return (str(one), str(other)) if str(one) != str(other) else (repr(one), repr(other))


RULES: tuple[tuple[type | tuple[type, ...], Callable[[Any, Any], bool]], ...] = (
    (np.generic, lambda one, other: one.dtype == other.dtype and one.tobytes() == other.tobytes()),
    ((str, int, bool, bytes), lambda one, other: bool(one == other)),
    ((float, Decimal), lambda one, other: repr(one) == repr(other)),
    (complex, lambda one, other: same(one.real, other.real) and same(one.imag, other.imag)),
    (dict, _same_dicts),
    ((list, tuple, deque), _same_items),
    ((set, frozenset), _same_sets),
    (np.ndarray, _same_arrays),
    (pd.DataFrame, lambda one, other: difference(one, other) is None),
    (pd.Series, _same_series),
    (pd.Index, lambda one, other: _index_difference(one, other) is None),
)

"""Whether two values or columns are the same, whatever they hold; numbers by no more than 1e-9 of the largest.

outputs, states -> [equality] -> verdict, recut, rerun
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["comparable", "equal", "named_once", "same_value", "sortable"]

TOLERANCE: Final = 1e-9


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose columns can be sorted, grouped and summed whatever they hold.

    Names become texts, each once; time spans seconds; what is in a column of objects and is no text, its written form.

    >>> comparable(pd.DataFrame([[[1, 2], 3]], columns=["a", "a"])).to_dict("records")
    [{'a': '[1, 2]', 'a.1': 3}]
    """
    found = named_once(frame)
    for name in found.columns:
        column = found[name]
        if pd.api.types.is_timedelta64_dtype(column):
            found[name] = column.dt.total_seconds()
        elif (
            column.dtype == object or pd.api.types.is_complex_dtype(column) or isinstance(column.dtype, pd.PeriodDtype)
        ):
            found[name] = [v if isinstance(v, str) or v is None else _written(v) for v in column]
    return found


def named_once(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a shallow copy of a frame whose column names are texts, each once."""
    found, names = frame.copy(deep=False), list[str]()
    for label in frame.columns:
        name, count = str(label), 0
        while name in names:
            count += 1
            name = f"{label}.{count}"
        names.append(name)
    found.columns = pd.Index(names, dtype=object)
    return found


def _written(value: Any) -> str | float | None:
    """Return a value as text, numbers in it to nine digits."""
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else f"{value:.9g}"
    if isinstance(value, complex | np.complexfloating):
        return f"{value:.9g}"
    if isinstance(value, np.ndarray):
        return _written(value.tolist())
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(str(_written(v)) for v in value) + "]"
    return repr(sorted(value, key=repr)) if isinstance(value, set | frozenset) else str(value)


def sortable(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column that can be sorted by: objects by how they are written."""
    return column if column.dtype != object else column.map(repr)


def equal(one: pd.Series[Any], other: pd.Series[Any]) -> npt.NDArray[np.bool_]:
    """Return where two columns of equal length hold the same value; missing equals missing."""
    if _is_real(one) and _is_real(other):
        a, b = (c.to_numpy(np.float64, na_value=np.nan) for c in (one, other))
        finite = np.abs(np.concatenate([a[np.isfinite(a)], b[np.isfinite(b)]]))
        near = np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * float(finite.max(initial=0.0)), equal_nan=True)
        return np.asarray(near, np.bool_)
    if one.dtype == other.dtype and one.dtype != object and not isinstance(one.dtype, pd.CategoricalDtype):
        left, right = one.reset_index(drop=True), other.reset_index(drop=True)
        return np.asarray((left.isna() & right.isna()) | (left == right).fillna(value=False), np.bool_)
    return np.array([same_value(a, b) for a, b in zip(one, other, strict=True)], np.bool_)


def _is_real(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column)) and not pd.api.types.is_complex_dtype(column)


def same_value(one: Any, other: Any, depth: int = 6) -> bool:
    """Return whether two values are the same, within the tolerance for numbers, also inside containers.

    Objects that do not say when they are equal are compared by what they hold; functions and the like, of which nobody
    can tell, count as the same.
    """
    if depth == 0 or one is other:
        return True
    inside = _same_inside(one, other, depth - 1)
    if inside is not None:
        return inside
    if isinstance(one, int | float | np.number) and isinstance(other, int | float | np.number):
        return bool(np.isclose(float(one), float(other), rtol=TOLERANCE, atol=0.0, equal_nan=True))
    missing = [v is None or v is pd.NaT or v is pd.NA or (isinstance(v, float) and np.isnan(v)) for v in (one, other)]
    if any(missing):
        return all(missing)
    try:
        return bool(one == other)
    except (TypeError, ValueError):
        return repr(one) == repr(other)


def _same_inside(one: Any, other: Any, depth: int) -> bool | None:
    """Return whether two containers or opaque objects hold the same; None for anything else."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_value(one[k], other[k], depth) for k in one)
    if isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
        same_shape = list(one.columns) == list(other.columns) and len(one) == len(other)
        return same_shape and all(equal(one.iloc[:, i], other.iloc[:, i]).all() for i in range(one.shape[1]))
    if isinstance(one, pd.Series | pd.Index) and isinstance(other, pd.Series | pd.Index):
        return len(one) == len(other) and bool(equal(pd.Series(one), pd.Series(other)).all())
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and bool(equal(pd.Series(one.ravel()), pd.Series(other.ravel())).all())
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(same_value(a, b, depth) for a, b in zip(one, other, strict=True))
    if type(one) is type(other) and getattr(type(one), "__eq__", None) is object.__eq__:
        return same_value(getattr(one, "__dict__", {}), getattr(other, "__dict__", {}), depth)
    return None

"""Whether what came out of one cut is what came out of another, column by column.

    emissions of two cuts -> equality -> [verdict] -> recut

A cut's output is compared with the reference's at every end that both share, in the first of these ways that fits:

    same rows       within each range the rows are the same, one after the other (what a row-wise function gives)
    another order   the same, but the rows' order within the range differs (a keyed step puts keys together)
    running result  only where a step keeps state: the newest emission, or the newest row of each key, is the same (a
                    running total speaks of everything so far, however often it is emitted)
    adds up         summed over each range the numbers are the same, by key where rows have one (a count a batch)
    changes         none of these
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from mblab.checks.equality import comparable, equal, sortable

__all__ = ["CHANGES", "SAME", "Emissions", "Verdict", "compare_emissions", "worst"]

SAME: Final = "same rows"
ORDER: Final = "same rows, another order"
RUNNING: Final = "same running result"
ADDS: Final = "adds up"
CHANGES: Final = "changes"
RANKED: Final = (SAME, RUNNING, ORDER, ADDS, CHANGES)

Emissions = Sequence[tuple[int, pd.DataFrame]]  # (row after which it was emitted, its rows)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a column fared.

    Attributes:
        how: One of the ways above.
        at: Row after which it differs, counted from 1; 0 when it does not.
        one: Its value in the reference there, where a single one can be shown.
        other: In the other cut.
    """

    how: str
    at: int = 0
    one: Any = None
    other: Any = None


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict that says most against a column."""
    return max(verdicts, key=lambda v: RANKED.index(v.how))


def compare_emissions(
    one: Emissions, other: Emissions, ends: Sequence[int], *, running: bool, key: Sequence[str] = (), adds: bool = True
) -> dict[str, Verdict]:
    """Return column → verdict for two cuts of the same rows.

    Args:
        one: The reference.
        other: Another cut.
        ends: Rows at which both end a batch, ascending.
        running: Whether a step keeps state, so that an emission may speak of everything so far.
        key: Columns by which a keyed step's rows are known.
        adds: Whether to accept numbers that add up.
    """
    one, other = ([(at, comparable(frame)) for at, frame in emissions] for emissions in (one, other))
    pairs = list(zip(_by_range(one, ends), _by_range(other, ends), strict=True))
    columns = list(dict.fromkeys(c for a, b in pairs for f in (a, b) for c in f.columns))
    if all(len(a) == len(b) for a, b in pairs):
        return _same_rows(pairs, ends, columns)
    names = _key_of([frame for _, frame in (*one, *other)], key)
    verdicts = {}
    if running:
        newest = [(_newest(one, end), _newest(other, end)) for end in ends]
        verdicts = _compared(newest, ends, columns, RUNNING)
        if names:
            by_key = [(_newest_by(one, end, names), _newest_by(other, end, names)) for end in ends]
            kept = _compared(by_key, ends, columns, RUNNING)
            verdicts = min((verdicts, kept), key=lambda v: sum(x.how == CHANGES for x in v.values()))
    verdicts = {name: verdicts.get(name, Verdict(CHANGES)) for name in columns}
    if adds and any(v.how == CHANGES for v in verdicts.values()):
        sums = [(_sums(a, names), _sums(b, names)) for a, b in pairs]
        numbers = [c for c in columns if any(c in f.columns for p in sums for f in p)]
        added = _compared(sums, ends, numbers, ADDS)
        if all(len(a) == len(b) for a, b in sums):
            verdicts |= {n: v for n, v in added.items() if verdicts[n].how == CHANGES}
    values = [n for n in columns if n not in names]
    if values:  # the key itself is no result, unless it is what changes
        return {n: v for n, v in verdicts.items() if n in values or v.how == CHANGES}
    return {n: Verdict(CHANGES, v.at) if v.how == ADDS else v for n, v in verdicts.items()}


def _by_range(emissions: Emissions, ends: Sequence[int]) -> list[pd.DataFrame]:
    found, low = [], 0
    for end in ends:
        frames = [frame for at, frame in emissions if low < at <= end]
        found.append(pd.concat(frames, ignore_index=True) if frames else pd.DataFrame())
        low = end
    return found


def _newest(emissions: Emissions, end: int) -> pd.DataFrame:
    return next((frame for at, frame in reversed(emissions) if at <= end), pd.DataFrame())


def _newest_by(emissions: Emissions, end: int, names: Sequence[str]) -> pd.DataFrame:
    """Return the newest row of each key, in the keys' order."""
    frames = [frame for at, frame in emissions if at <= end]
    if not frames:
        return pd.DataFrame()
    newest = pd.concat(frames, ignore_index=True).drop_duplicates(list(names), keep="last")
    return newest.sort_values(list(names), key=sortable, kind="stable", ignore_index=True)


def _sums(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the sum of each column of numbers, by key."""
    numbers = [c for c in frame.columns if c not in names and _is_number(frame[c])]
    if frame.empty:
        return pd.DataFrame()
    if not names:
        return pd.DataFrame({c: [frame[c].sum(skipna=False)] for c in numbers})
    grouped = frame.groupby(list(names), dropna=False, sort=False, observed=True)[numbers].sum().reset_index()
    return grouped.sort_values(list(names), key=sortable, kind="stable", ignore_index=True)


def _key_of(frames: Sequence[pd.DataFrame], key: Sequence[str]) -> list[str]:
    """Return the columns that tell the rows of one emission apart: those of a keyed step, else labels first.

    Empty when every emission is a single row, or when no columns do.
    """
    if key and all(set(key) <= set(f.columns) for f in frames):
        return list(key)
    if all(len(f) <= 1 for f in frames):
        return []
    columns = [c for c in frames[0].columns if all(c in f.columns for f in frames)]
    label = [
        c for c in columns if not _is_number(frames[0][c]) and not pd.api.types.is_datetime64_any_dtype(frames[0][c])
    ]
    times = [c for c in columns if pd.api.types.is_datetime64_any_dtype(frames[0][c])]
    whole = [c for c in columns if pd.api.types.is_integer_dtype(frames[0][c])]
    names = list(label)
    for more in (None, *times, *whole):
        names += [] if more is None else [more]
        try:
            if names and not any(f.duplicated(names).any() for f in frames):
                return names
        except TypeError:  # lists and the like
            return []
    return []


def _same_rows(
    pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]], ends: Sequence[int], columns: Sequence[str]
) -> dict[str, Verdict]:
    direct = _compared(pairs, ends, columns, SAME)
    if not any(v.how == CHANGES for v in direct.values()):
        return direct
    told = [c for c in columns if all(_same_bag(a, b, c) for a, b in pairs)]
    if not told:
        return direct
    ordered = [
        tuple(f.sort_values(told, key=sortable, kind="stable", ignore_index=True) if len(f) else f for f in p)
        for p in pairs
    ]
    sorted_ = _compared(ordered, ends, columns, ORDER)  # type: ignore[arg-type]
    better = sum(v.how == CHANGES for v in sorted_.values()) < sum(v.how == CHANGES for v in direct.values())
    return sorted_ if better else direct


def _same_bag(one: pd.DataFrame, other: pd.DataFrame, column: str) -> bool:
    if column not in one.columns or column not in other.columns:
        return one.empty and other.empty
    a, b = (f[column].sort_values(key=sortable, ignore_index=True) for f in (one, other))
    return bool(equal(a, b).all())


def _is_number(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column)) and not pd.api.types.is_bool_dtype(column)


def _compared(
    pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]], ends: Sequence[int], columns: Sequence[str], how: str
) -> dict[str, Verdict]:
    """Return `how` for columns that are the same in all pairs, else where they first differ."""
    verdicts = {}
    for name in columns:
        found = Verdict(how)
        for (one, other), end in zip(pairs, ends, strict=True):
            if len(one) == 0 and len(other) == 0:
                continue
            if name not in one.columns and name not in other.columns:
                continue
            if name not in one.columns or name not in other.columns or len(one) != len(other):
                found = Verdict(CHANGES, end)
                break
            wrong = np.flatnonzero(~equal(one[name], other[name]))
            if len(wrong):
                found = Verdict(CHANGES, end, one[name].iloc[wrong[0]], other[name].iloc[wrong[0]])
                break
        verdicts[name] = found
    return verdicts

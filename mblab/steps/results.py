"""What a step may return, and what becomes of it: a frame, of one's own, with a RangeIndex when somebody reads it.

what the function returned -> [results] -> the next step, sinks
"""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mblab.errors import SourceError, StepError, shown
from mblab.support.frames import shallow
from mblab.tables.rows import frame_of_any, frame_of_columns, frame_of_dicts, is_column, plain_column, stacked

__all__ = ["Part", "as_rows", "joined", "part_of", "tidy"]

Part = dict[Any, Any] | pd.DataFrame


def _frame_rows(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a frame of our own with the same rows and index, checked so that `tidy` will take it."""
    if isinstance(frame.columns, pd.MultiIndex):
        raise StepError(
            f"{name} returned columns in {frame.columns.nlevels} levels ({shown(list(frame.columns)[:2])}); "
            "give each column one name."
        )
    index = frame.index
    if type(index) is not pd.RangeIndex or index.name is not None:  # one that only counts is told at once
        levels = [n for n in index.names if n is not None]
        twice = [n for n in levels if n in frame.columns] + [n for i, n in enumerate(levels) if n in levels[:i]]
        if twice:
            raise StepError(
                f"{name} returned {twice[0]!r} twice, as an index level and as a column; "
                "drop one, e.g. with .reset_index(drop=True)."
            )
    return shallow(frame)  # the function may keep the frame and change it later, in place


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what a step gave with a RangeIndex: named index levels become columns, other indexes are dropped.

    It takes longer than the rest of a small batch, so it is done for those who read the rows: the next step, a sink,
    whoever looks at `run.output`.

    >>> tidy(pd.DataFrame({"n": [3]}, index=pd.Index(["UA"], name="carrier"))).to_dict("records")
    [{'carrier': 'UA', 'n': 3}]
    """
    index = rows.index
    if type(index) is pd.RangeIndex and index.start == 0 and index.step == 1 and index.name is None:
        return rows
    named = [i for i, name in enumerate(index.names) if name is not None]
    if not named:
        return rows.reset_index(drop=True)
    if index.nlevels == 1:
        plain = rows.copy(deep=False)
        plain.index = pd.RangeIndex(len(plain))
        plain.insert(0, index.name, index.array, allow_duplicates=False)
        return plain
    for level in reversed(range(index.nlevels)):
        if index.names[level] is None:
            rows = rows.droplevel(level)
    return rows.reset_index()


def _given_frame(result: object, name: str) -> pd.DataFrame | None:
    """Return a frame as one of pandas, None when it is none."""
    try:
        return frame_of_any(result)
    except SourceError as error:
        raise StepError(f"{name} returned a {type(result).__name__} that makes no frame: {error}") from None


def _series_rows(series: pd.Series[Any], name: str) -> pd.DataFrame:
    if all(n is None for n in series.index.names) and not isinstance(series.index, pd.RangeIndex):
        return pd.DataFrame([series.to_list()], columns=[str(label) for label in series.index])
    return _frame_rows(series.to_frame(name if series.name is None else series.name), name)


def _is_pandas(value: object) -> bool:
    return isinstance(value, pd.DataFrame | pd.Series | pd.Index)


def _dict_rows(row: Mapping[Any, Any], name: str) -> pd.DataFrame | None:
    if not row:
        return None
    columns = [v for v in row.values() if is_column(v)]
    if len(columns) < len(row):
        whole = [k for k, v in row.items() if _is_pandas(v)]
        if whole:
            raise StepError(
                f"{name} returned a dict with a {type(row[whole[0]]).__name__} in {whole[0]!r} beside single values; "
                "return one figure each, or a frame, such as batch.assign(n=len(batch))."
            )
        return frame_of_dicts([row])
    row = {k: plain_column(v) for k, v in row.items()}
    lengths = {str(k): len(v) for k, v in row.items()}
    if len(set(lengths.values())) > 1:
        raise StepError(f"{name} returned a dict of columns that differ in length ({shown(lengths)}); make them equal.")
    try:
        return frame_of_columns(row)
    except (ValueError, TypeError, SourceError) as error:
        raise StepError(f"{name} returned a dict of columns that make no frame: {str(error).rstrip('.')}.") from None


def as_rows(result: object, name: str) -> pd.DataFrame | None:
    """Return what a step gave as a frame for `tidy`, or None for no rows.

    A DataFrame, or a frame of another library that speaks Arrow: itself. A Series: with a named or range index one
    column, with any other one row. A dict: one row, or a frame of equal lists. A list of dicts: rows. A scalar: one
    row, in a column called after the step.

    Raises:
        StepError: Anything else.

    >>> as_rows({"n": 3, "late": 1}, "count").to_dict("records")
    [{'n': 3, 'late': 1}]
    """
    rows: pd.DataFrame | None
    if result is None:
        return None
    if (frame := _given_frame(result, name)) is not None:
        rows = _frame_rows(frame, name)
    elif isinstance(result, pd.Series):
        rows = _series_rows(result, name)
    elif isinstance(result, Mapping):
        rows = _dict_rows(result, name)
    elif isinstance(result, list) and all(isinstance(r, Mapping) for r in result):
        rows = frame_of_dicts(result) if result else None
    elif isinstance(
        result, str | bytes | numbers.Number | np.generic | pd.Timestamp | pd.Timedelta
    ) or pd.api.types.is_scalar(result):
        rows = pd.DataFrame({name: [result]})
    else:
        kind = type(result).__name__
        raise StepError(
            f"{name} returned {shown(result, 60)}, of type {kind}; return a DataFrame, a Series, "
            "a dict, a list of dicts, a number or text, or None for no rows."
        )
    return rows if rows is not None and len(rows) else None


def part_of(result: object, name: str) -> Part | None:
    """Return what a keyed step gave for one key, of our own: a dict for a row of single values, else a tidy frame.

    >>> part_of({"n": 3}, "count"), part_of(3, "count")
    ({'n': 3}, {'count': 3})
    """
    if isinstance(result, dict) and result and not any(is_column(v) or _is_pandas(v) for v in result.values()):
        return dict(result)
    if isinstance(result, numbers.Number | str):
        return {name: result}
    rows = as_rows(result, name)
    return None if rows is None else tidy(rows)


def joined(parts: Sequence[Part]) -> pd.DataFrame | None:
    """Return the parts of all keys as one frame, in order; None for no rows.

    Dicts that follow each other become one frame at once: a frame for each would take longer than most work.
    """
    frames: list[pd.DataFrame] = []
    for kind, group in itertools.groupby(parts, type):
        held: list[Any] = list(group)
        frames += [frame_of_dicts(held)] if kind is dict else held
    if len(frames) < 2:
        return frames[0] if frames else None
    return stacked(frames)

"""How a step is called: what it is given, once a batch or once a key, and what is said when it fails.

cut, step, state -> [invoke] -> runner
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from mblab.engine.feed import Cut
from mblab.engine.watermark import Mark
from mblab.errors import BatchError, MblabError, StepError, did_you_mean, shown
from mblab.steps.results import Part, as_rows, joined, part_of, tidy
from mblab.steps.state import State, StateStore, tidy_key
from mblab.steps.step import Step, user_line
from mblab.support.frames import cut
from mblab.timing.durations import NS
from mblab.timing.schedule import Trigger

__all__ = ["BatchContext", "Saved", "call_step"]

Saved = list[tuple[Step, State]]  # the steps that were called, each with a snapshot of its state before the batch


class BatchContext:
    """What a step may know of its batch, as its third argument `ctx`.

    Attributes:
        batch_id: Counted from 0 within the run.
        attempt: Counted from 1; 2 and more when an earlier try failed.
        run_id: 12 hex digits; with `batch_id` the key under which an effect of your own can be made idempotent.
    """

    __slots__ = ("_cut", "_mark", "_trigger", "attempt", "batch_id", "run_id")

    def __init__(self, batch_id: int, attempt: int, run_id: str, trigger: Trigger, cut: Cut, mark: Mark) -> None:
        self.batch_id = batch_id
        self.attempt = attempt
        self.run_id = run_id
        self._trigger = trigger
        self._cut = cut
        self._mark = mark

    @property
    def interval_s(self) -> float:
        """The interval this batch's due time was computed with, in seconds."""
        return self._trigger.interval_ns / NS

    @property
    def start_s(self) -> float:
        """Its nominal start, in seconds of the run's clock."""
        return self._trigger.start_ns / NS

    @property
    def replay(self) -> bool:
        """Whether this batch is run again."""
        return self.attempt > 1

    @property
    def arrivals(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Arrival of each row of the first step's batch: float64 seconds of the run's clock."""
        return self._cut.arrival_ns / NS

    @property
    def watermark(self) -> Any:
        """Newest event time among the rows of all earlier batches; None before there is one."""
        return self._mark.value

    def __repr__(self) -> str:
        return f"BatchContext(batch_id={self.batch_id}, attempt={self.attempt}, start_s={self.start_s})"


def call_step(
    step: Step, rows: pd.DataFrame, states: StateStore, context: BatchContext, saved: Saved
) -> pd.DataFrame | None:
    """Return what a step makes of some rows, None for no rows.

    Args:
        step: Whose function is called.
        rows: What the step before it gave.
        states: Changed in place by the step.
        context: What it may know of the batch.
        saved: Takes a snapshot of the step's state before it is called.

    Raises:
        BatchError: It failed.
    """
    rows = tidy(rows)
    try:
        if step.kind == "keyed":
            return _call_by_key(step, rows, states, context, saved)
        arguments: tuple[Any, ...] = (rows, context)
        if "state" in step.parameters:
            saved.append((step, states.snapshot(step)))
            arguments = (rows, states.of(step), context)
        return as_rows(step.fn(*arguments[: len(step.parameters)]), step.name)
    except Exception as error:
        raise _batch_error(error, step, context.batch_id, rows) from error


def _call_by_key(
    step: Step, rows: pd.DataFrame, states: StateStore, context: BatchContext, saved: Saved
) -> pd.DataFrame | None:
    groups = _by_key(step, rows)
    by_key = states.of(step)
    saved.append((step, states.snapshot(step, [key for key, _ in groups])))
    parts: list[Part] = []
    for key, rows_of_key in groups:
        roles: dict[str, Any] = {"batch": rows_of_key, "ctx": context}
        if "state" in step.parameters:
            roles["state"] = by_key.setdefault(key, {})
        part = part_of(step.fn(*(roles[p] for p in step.parameters)), step.name)
        if part is not None:
            parts.append(part)
    return joined(parts)


def _by_key(step: Step, rows: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    """Return (key, its rows) in order of first appearance; a missing key is a key."""
    assert step.key is not None
    absent = [k for k in step.key if k not in rows.columns]
    if absent:
        raise _NoSuchKey(absent[0])
    if len(step.key) == 1:
        with _hashable(step.key, rows):
            codes, keys = pd.factorize(rows[step.key[0]], use_na_sentinel=False)
        labels = [tidy_key(k) for k in keys]
    else:
        grouped = rows.groupby(list(step.key), sort=False, dropna=False, observed=True)
        with _hashable(step.key, rows):
            codes = np.asarray(grouped.ngroup(), np.int64)
        firsts = rows.loc[~pd.Series(codes).duplicated(), list(step.key)]
        labels = [tidy_key(tuple(k)) for k in firsts.itertuples(index=False)]
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(labels)))
    by_key = rows.take(order)
    groups, low = [], 0
    for label, high in zip(labels, ends.tolist(), strict=True):
        groups.append((label, cut(by_key, low, high)))
        low = high
    return groups


@contextmanager
def _hashable(key: Sequence[str], rows: pd.DataFrame) -> Iterator[None]:
    """Name the column that holds what cannot be a key."""
    try:
        yield
    except (TypeError, NotImplementedError):  # the latter of Arrow's lists, structs and maps
        for name in key:
            for value in rows[name]:
                if not _has_hash(value):
                    raise StepError(
                        f"column {name!r} holds {type(value).__name__}s such as {shown(value, 40)}, which cannot be "
                        "keys; make texts or tuples of them in a step before, or name another column."
                    ) from None
        raise


def _has_hash(value: object) -> bool:
    """Return whether a value can be a key; a tuple that holds a list cannot, though tuples can."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


class _NoSuchKey(KeyError):
    """A keyed step's rows lack the column of its key."""


GROUPED = "Column not found: "  # what pandas puts before the name when a grouped frame is asked for a column
SEVERAL = re.compile(r"not in index$|^None of \[|^Columns not found")  # its sentences about a list of columns


def _batch_error(error: Exception, step: Step, batch_id: int, rows: pd.DataFrame) -> BatchError:
    """Say which function failed, on which batch, at which line of the user's cell."""
    if isinstance(error, BatchError):
        return error
    if isinstance(error, MblabError):
        line, _ = user_line(error, step)
        return BatchError(
            f"batch {batch_id}: {error}", step=step.name, batch_id=batch_id, line=line or step.first_line or None
        )
    line, code = user_line(error, step)
    where = f" at line {line}" if line else ""
    what = f"{type(error).__name__}: {error}"
    column = error.args[0] if isinstance(error, KeyError) and error.args else None
    column = column.removeprefix(GROUPED) if isinstance(column, str) else None
    names = None if column is None else _asked_columns(error, rows)
    holder = f"batch {batch_id}" if names is rows.columns else "the frame there"
    have = "" if names is None else shown([str(c) for c in names], 160)
    if column is not None and names is not None and SEVERAL.search(column):
        text = f"{step.name} reads columns{where} that {holder} does not hold: {column}; it holds {have}"
    elif column is not None and names is not None and column not in names:
        hint = did_you_mean(column, names)
        text = f"{step.name} reads column {column!r}{where}, but {holder} holds {have}{hint}"
    else:
        text = f"{step.name} failed on batch {batch_id}{where}: {what}"
    if code:
        text += f"\n    {code}"
    return BatchError(text, step=step.name, batch_id=batch_id, line=line)


def _asked_columns(error: Exception, rows: pd.DataFrame) -> pd.Index[Any] | None:
    """Return the columns of the frame that was asked for one it lacks: the batch's own, another frame's, or None.

    Only where it was pandas that raised; a `KeyError` out of the user's own dict is about no column.
    """
    if isinstance(error, _NoSuchKey):
        return rows.columns
    entered: dict[str, Any] | None = None  # what pandas was called with, last
    for frame, _ in traceback.walk_tb(error.__traceback__):
        inside = str(frame.f_globals.get("__name__", "")).startswith("pandas.")
        if not inside:
            entered = None  # what raised lies deeper
        elif entered is None:
            entered = frame.f_locals
    if entered is None:
        return None
    asked: Any = entered.get("self", entered.get("left"))
    if hasattr(asked, "obj"):  # a grouped frame; or .loc, which takes a row's label before a column's
        if hasattr(asked, "axis") and not isinstance(entered.get("key"), tuple):
            return None
        asked = asked.obj
    if isinstance(asked, pd.DataFrame):
        return rows.columns if asked.columns.equals(rows.columns) else asked.columns
    if isinstance(asked, pd.Series) and asked.index.equals(rows.columns):  # one row of it
        return rows.columns
    return None

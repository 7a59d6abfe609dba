"""How a step is called: what it is given, once a batch or once a key, and what is said when it fails.

cut, steps, state -> [calls] -> engine
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from mblab.engine.feed import Cut
from mblab.errors import BatchError, MblabError, did_you_mean, shown
from mblab.steps.results import Part, as_rows, joined, part_of, tidy
from mblab.steps.state import StateStore, tidy_key
from mblab.steps.step import Step, user_line
from mblab.timing.durations import NS
from mblab.timing.schedule import Trigger

__all__ = ["BatchContext", "Saved", "call_all", "put_back"]

Saved = list[tuple[Step, Any]]  # (step, savepoint of its state before the batch; of a keyed step key → savepoint)


class BatchContext:
    """What a step may know of its batch, as its third argument `ctx`.

    Attributes:
        batch_id: Counted from 0 within the run.
        attempt: Counted from 1; 2 and more when an earlier try failed.
        run_id: 12 hex digits; with `batch_id` the key under which an effect of your own can be made idempotent.
        interval_s: The interval this batch's due time was computed with, in seconds.
        start_s: Its nominal start, in seconds of the run's clock.
        replay: Whether this batch is run again.
    """

    __slots__ = ("_cut", "_event_time", "attempt", "batch_id", "interval_s", "replay", "run_id", "start_s")

    def __init__(
        self, batch_id: int, attempt: int, run_id: str, trigger: Trigger, cut: Cut, event_time: str | None
    ) -> None:
        self.batch_id = batch_id
        self.attempt = attempt
        self.run_id = run_id
        self.interval_s = trigger.interval_ns / NS
        self.start_s = trigger.start_ns / NS
        self.replay = attempt > 1
        self._cut = cut
        self._event_time = event_time

    @property
    def arrivals(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Arrival of each row of the first step's batch: float64 seconds of the run's clock."""
        return self._cut.arrival_ns / NS

    @property
    def watermark(self) -> Any:
        """Newest event time among the rows of all earlier batches; None before there is one."""
        return self._cut.watermark(self._event_time)

    def __repr__(self) -> str:
        return f"BatchContext(batch_id={self.batch_id}, attempt={self.attempt}, start_s={self.start_s})"


def call_all(
    steps: Iterable[Step], rows: pd.DataFrame, states: StateStore, context: BatchContext, saved: Saved
) -> pd.DataFrame | None:
    """Return what the steps make of a batch, one after the other, or None for no rows.

    Args:
        steps: In order.
        rows: The batch.
        states: Changed in place by the steps.
        context: What they may know of the batch.
        saved: Takes a savepoint of each step's state, before the step is called.

    Raises:
        BatchError: A step failed; `put_back` undoes what the steps did to the state.
    """
    for step in steps:
        result = _call(step, rows, states, context, saved)
        if result is None:
            return None
        rows = result
    return rows if len(rows) else None


def put_back(states: StateStore, saved: Saved) -> None:
    """Let every step remember what it remembered before the batch."""
    for step, state in saved:
        (states.restore_keys if step.kind == "keyed" else states.restore_whole)(step.uid, state)


def _call(
    step: Step, rows: pd.DataFrame, states: StateStore, context: BatchContext, saved: Saved
) -> pd.DataFrame | None:
    rows = tidy(rows)
    try:
        if step.kind == "keyed":
            return _call_by_key(step, rows, states, context, saved)
        arguments: tuple[Any, ...] = (rows, context)[: len(step.parameters)]
        if "state" in step.parameters:
            saved.append((step, states.save_whole(step.uid)))
            arguments = (rows, states.whole(step.uid), context)[: len(step.parameters)]
        return as_rows(step.fn(*arguments), step.name)
    except Exception as error:
        raise _batch_error(error, step, context.batch_id, rows) from error


def _call_by_key(
    step: Step, rows: pd.DataFrame, states: StateStore, context: BatchContext, saved: Saved
) -> pd.DataFrame | None:
    groups = _by_key(step, rows)
    by_key = states.keyed(step.uid)
    saved.append((step, states.save_keys(step.uid, [key for key, _ in groups])))
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
        raise KeyError(absent[0])
    if len(step.key) == 1:
        codes, keys = pd.factorize(rows[step.key[0]], use_na_sentinel=False)
        labels = [tidy_key(k) for k in keys]
    else:
        grouped = rows.groupby(list(step.key), sort=False, dropna=False, observed=True)
        codes = np.asarray(grouped.ngroup(), np.int64)
        firsts = rows.loc[~pd.Series(codes).duplicated(), list(step.key)]
        labels = [tidy_key(tuple(k)) for k in firsts.itertuples(index=False)]
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(labels)))
    by_key = rows.take(order)
    groups, low = [], 0
    for label, high in zip(labels, ends.tolist(), strict=True):
        part = by_key.iloc[low:high]
        part.index = pd.RangeIndex(high - low)
        groups.append((label, part))
        low = high
    return groups


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
    have = shown([str(c) for c in rows.columns], 160)
    column = error.args[0] if isinstance(error, KeyError) and error.args else None
    column = column.removeprefix(GROUPED) if isinstance(column, str) else None
    if column is not None and SEVERAL.search(column):
        text = f"{step.name} reads columns{where} that batch {batch_id} does not hold: {column}; it holds {have}"
    elif column is not None and column not in rows.columns:
        hint = did_you_mean(column, rows.columns)
        text = f"{step.name} reads column {column!r}{where}, but batch {batch_id} holds {have}{hint}"
    else:
        text = f"{step.name} failed on batch {batch_id}{where}: {what}"
    if code:
        text += f"\n    {code}"
    return BatchError(text, step=step.name, batch_id=batch_id, line=line)

"""Claims for a pytest of your own: this function does not depend on where the batches are cut.

function + frame -> recut -> [claims] -> testing
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mblab.checks.recut import CutCheck, check_cuts, same_as_batch
from mblab.checks.trial import Recording
from mblab.engine.pipeline import Pipeline
from mblab.engine.settings import Settings
from mblab.errors import SettingError, SettingTypeError, shown
from mblab.steps.step import make_step
from mblab.timing.durations import NS

__all__ = ["assert_cut_invariant", "assert_same_as_batch"]


def assert_cut_invariant(
    fn: Callable[..., Any], frame: pd.DataFrame, *, key: str | Sequence[str] | None = None
) -> None:
    """Claim that a step's result does not depend on where the batches are cut.

    The frame's rows, in their order, are cut into batches in several ways; `lab.check` says what counts as the same.

    Args:
        fn: As under `@lab.batch`: f(batch), f(batch, state) or f(batch, state, ctx).
        frame: At least 4 rows; more find more, from some dozens on.
        key: As in `@lab.batch(key=…)`.

    Raises:
        AssertionError: It does depend; the message says which column, why, and shows the two values.

    >>> frame = pd.DataFrame({"delay": range(20)})
    >>> assert_cut_invariant(lambda batch: batch[batch["delay"] > 5], frame)
    >>> assert_cut_invariant(lambda batch: {"mean_delay": batch["delay"].mean()}, frame)
    Traceback (most recent call last):
    ...
    AssertionError: mean_delay changes with the batch cut; keep sum and count in state
    ...
    """
    _claim(check_cuts(*_prepared(fn, frame, key, "assert_cut_invariant")))


def assert_same_as_batch(
    fn: Callable[..., Any], frame: pd.DataFrame, *, key: str | Sequence[str] | None = None
) -> None:
    """Claim that after the last row the batches have given what one batch of all rows gives.

    Either all rows one after the other are the same, or, for a function with state, the last result is. Stricter than
    `assert_cut_invariant` in that numbers that merely add up are not the same.

    Args:
        fn: As under `@lab.batch`.
        frame: At least 4 rows, in order.
        key: As in `@lab.batch(key=…)`.

    Raises:
        AssertionError: They gave something else; the message says which column, and shows the two values.

    >>> def total(batch, state):
    ...     state["sum"] = state.get("sum", 0) + batch["delay"].sum()
    ...     return state["sum"]
    >>> assert_same_as_batch(total, pd.DataFrame({"delay": range(20)}))
    """
    _claim(same_as_batch(*_prepared(fn, frame, key, "assert_same_as_batch")))


def _prepared(
    fn: Callable[..., Any], frame: pd.DataFrame, key: str | Sequence[str] | None, claim: str
) -> tuple[Pipeline, Recording]:
    if not isinstance(frame, pd.DataFrame):
        raise SettingTypeError(f"{claim} needs a DataFrame of rows, got {shown(frame, 40)}.")
    if len(frame) < 4:
        raise SettingError(f"{claim} needs at least 4 rows to cut in several ways, got {len(frame)}.")
    rows = frame.reset_index(drop=True)
    arrival = np.arange(len(rows), dtype=np.int64) * (8 * NS) // len(rows)  # eight intervals of equal size
    recording = Recording(rows, arrival)
    step = make_step(fn, "batch", key=list(key) if key is not None and not isinstance(key, str) else key)
    return Pipeline(recording, (step,), (), Settings(NS)), recording


def _claim(check: CutCheck) -> None:
    if not check.ok:
        told = check.table[~check.table["verdict"].str.startswith("same") & (check.table["verdict"] != "adds up")]
        raise AssertionError(f"{check.text}\n\n{told.to_string(index=False)}")

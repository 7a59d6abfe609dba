"""The steps on one batch after the other, with the state they keep: called, and undone as a whole.

Whoever wants to see what steps make of rows takes this and nothing else: the engine for a run, the tuner for its
probes, the checks for what would have been.

    steps + state, cut + context -> [runner] -> engine, checks, tuning
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from mblab.engine.invoke import BatchContext, Saved, call_step
from mblab.steps.results import tidy
from mblab.steps.state import StateStore
from mblab.steps.step import Step

__all__ = ["Called", "StepsRunner"]


class Called(NamedTuple):
    """What the steps made of a batch.

    Attributes:
        result: What the last step gave, None for no rows.
        saved: Snapshots of the states before the batch, of the steps that were called.
    """

    result: pd.DataFrame | None
    saved: Saved

    @property
    def rows(self) -> pd.DataFrame | None:
        """The result with a RangeIndex, None for no rows."""
        return None if self.result is None else tidy(self.result)


class StepsRunner:
    """Calls steps on batches.

    Attributes:
        steps: In order; may be replaced between two batches.
        states: What they remember.
    """

    def __init__(self, steps: Sequence[Step], states: StateStore | None = None) -> None:
        self.steps = steps
        self.states = StateStore() if states is None else states

    def call(self, rows: pd.DataFrame, context: BatchContext) -> Called:
        """Return what the steps make of a batch; the states are changed by it.

        Raises:
            BatchError: A step failed; the states are as before.
        """
        saved: Saved = []
        try:
            for step in self.steps:
                result = call_step(step, rows, self.states, context, saved)
                if result is None:
                    return Called(None, saved)
                rows = result
        except BaseException:
            self.undo(saved)
            raise
        return Called(rows if len(rows) else None, saved)

    def undo(self, saved: Saved) -> None:
        """Let every step remember what it remembered before a batch."""
        for step, state in saved:
            self.states.restore(step, state)

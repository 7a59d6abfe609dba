"""A new version beside the old, on the same batches: does it give the same, and what does it cost?

After each batch of a run the steps are called again on its rows, with the new version in place of the old and a state
of their own. The run's output, state and sinks never see it. It works in the run's own thread between two batches, so
that functions that share something are never called at once; on the real clock a slow shadow makes the next batch late,
and no other figure changes.

    listeners -> history -> runner -> [shadow] -> lab
"""

from __future__ import annotations

import html
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from mblab.checks.rerun import difference
from mblab.checks.trial import call_again
from mblab.engine.engine import Engine
from mblab.engine.listeners import Listeners
from mblab.engine.pipeline import Pipeline
from mblab.engine.records import BatchRecord
from mblab.engine.runner import StepsRunner
from mblab.errors import BatchError
from mblab.timing.durations import NS, format_s

__all__ = ["Shadow", "ShadowReport"]

TABLE: Final = ("batch_id", "rows_old", "rows_new", "same", "columns", "old_s", "new_s", "error")
BATCHES_KEPT: Final = 100_000
CELLS_KEPT: Final = 1_000
logger = logging.getLogger("mblab")


@dataclass(frozen=True)
class ShadowReport:
    """What a shadow has found so far.

    Attributes:
        text: One line: in how many batches it differs, in which columns, and what it costs.
        table: One row a batch with rows: batch_id, rows_old, rows_new (int64: rows of output), same (bool), columns
            (str: those that differ), old_s, new_s (float64: seconds in the steps), error (str: of the new version).
        diff: The first cells that differ, at most 1 000: batch_id, row, column, old, new.
        cost_ratio: Median of new_s / median of old_s; NaN before there is a batch.
    """

    text: str
    table: pd.DataFrame
    diff: pd.DataFrame
    cost_ratio: float

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        shown = str(self.diff.head(20).to_html(index=False)) if len(self.diff) else ""
        return f"<p>{html.escape(self.text)}</p>{shown}"


class Shadow:
    """A new version of a step beside the old one; `with lab.shadow(fn) as shadow:` stops it at the end.

    Args:
        name: The step it stands beside.
        recipe: Returns the lab's pipeline with the new version in place; None when the step is gone.
        listeners: Where to hear of batches.
        adopt: Puts the new version into the lab.
    """

    def __init__(
        self, name: str, recipe: Callable[[], Pipeline | None], listeners: Listeners, adopt: Callable[[], None]
    ) -> None:
        self.name = name
        self._recipe, self._listeners, self._adopt = recipe, listeners, adopt
        self._rows: deque[tuple[Any, ...]] = deque(maxlen=BATCHES_KEPT)
        self._cells: list[pd.DataFrame] = []
        self._cells_held = 0
        self._engine: Engine | None = None
        self._runner: StepsRunner | None = None
        listeners.watch(self)

    def stop(self) -> None:
        """End it; what it found stays readable."""
        self._listeners.unwatch(self)
        self._engine = self._runner = None

    def adopt(self) -> None:
        """End it, and let the new version replace the old from the next batch on; the run's own state stays."""
        self.stop()
        self._adopt()

    def report(self) -> ShadowReport:
        """Return what it has found so far."""
        table = pd.DataFrame(list(self._rows), columns=list(TABLE)).astype(
            {
                "batch_id": np.int64, "rows_old": np.int64, "rows_new": np.int64, "same": bool, "columns": "str",
                "old_s": float, "new_s": float, "error": "str",
            }
        )  # fmt: skip
        columns = ["batch_id", "row", "column", "old", "new"]
        diff = pd.concat(list(self._cells), ignore_index=True) if self._cells else pd.DataFrame(columns=columns)
        old, new = table["old_s"].median(), table["new_s"].median()
        ratio = float(new / old) if len(table) and old > 0 else float("nan")
        return ShadowReport(self._text(table, old, new), table, diff, ratio)

    def _text(self, table: pd.DataFrame, old: float, new: float) -> str:
        if table.empty:
            return f"the shadow of {self.name} has seen no batch with rows yet"
        other, failed = table[~table["same"]], int((table["error"] != "").sum())
        cost = f"it takes {format_s(new)} a batch where the old one takes {format_s(old)} (medians)"
        if other.empty:
            return f"the new {self.name} gives the same in all {len(table):,} batches; {cost}"
        names = sorted({name for text in other["columns"] for name in text.split(", ") if name})
        where = f", in {', '.join(names)}" if names else ""
        fails = f", and fails on {failed:,} of them" if failed else ""
        return f"the new {self.name} differs in {len(other):,} of {len(table):,} batches{where}{fails}; {cost}"

    def __enter__(self) -> Shadow:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Shadow({self.report().text})"

    # -- in the run's thread ----------------------------------------------------------------------------------------

    def __call__(self, engine: Engine, record: BatchRecord) -> None:
        """Take a batch's record, in the run's thread."""
        try:
            self._look(engine, record)
        except Exception:
            logger.exception("the shadow of %s failed on batch %d and was stopped", self.name, record.batch_id)
            self.stop()

    def rests(self, engine: Engine) -> bool:  # noqa: ARG002
        """Return whether batches without rows change nothing: always, for they are not compared."""
        return True

    def slept(self, engine: Engine, last: BatchRecord) -> None:
        """Take the last of many batches without rows."""

    def _look(self, engine: Engine, record: BatchRecord) -> None:
        batch = engine.history.find(record.batch_id)
        recipe = self._recipe()
        if batch is None or recipe is None:
            return
        runner = self._runner
        if runner is None or self._engine is not engine:  # a run it has not seen: from the state before this batch on
            runner = StepsRunner(recipe.steps, engine.states.copy())
            runner.undo(batch.saved)
            self._engine, self._runner = engine, runner
        runner.steps = recipe.steps
        error, rows = "", None
        began = time.perf_counter()
        try:
            rows = call_again(runner, batch, engine.run_id, batch.attempt)
        except BatchError as failure:
            error = str(failure).partition("\n")[0]
        took = time.perf_counter() - began
        old, new = (pd.DataFrame() if frame is None else frame for frame in (batch.output, rows))
        cells = pd.DataFrame() if error or old.equals(new) else difference(old, new, CELLS_KEPT)
        if len(cells) and self._cells_held < CELLS_KEPT:
            kept = cells.head(CELLS_KEPT - self._cells_held).rename(columns={"recorded": "old", "output": "new"})
            kept.insert(0, "batch_id", record.batch_id)
            self._cells.append(kept)
            self._cells_held += len(kept)
        names = ", ".join(dict.fromkeys(cells["column"])) if len(cells) else ""
        same = not error and cells.empty
        self._rows.append((record.batch_id, len(old), len(new), same, names, record.processing_ns / NS, took, error))

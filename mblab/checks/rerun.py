"""A batch again: the same rows and the state it had, with the steps as they are today.

history -> runner -> [rerun] -> lab
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from mblab.charts import markup
from mblab.checks.equality import equal, named_once
from mblab.checks.trial import call_again
from mblab.engine.engine import Engine
from mblab.engine.history import Remembered
from mblab.engine.pipeline import Pipeline
from mblab.engine.runner import StepsRunner
from mblab.errors import BatchError, HistoryGone, SettingError, shown
from mblab.tables.values import as_python

__all__ = ["DIFF_COLUMNS", "Rerun", "check_batch_id", "difference", "remembered", "run_again"]

DIFF_COLUMNS: Final = ("row", "column", "recorded", "output")


@dataclass(frozen=True)
class Rerun:
    """What a batch gives with today's steps.

    Attributes:
        batch_id: The batch.
        output: The rows of the last step now; empty when there are none, or when a step failed.
        recorded: The rows it gave when it ran; empty when there were none.
        diff: One row a cell that differs: row (int64, from 0), column (str), recorded and output (object; None where
            that side has no such row or column).
        error: What a step raised, or None.
    """

    batch_id: int
    output: pd.DataFrame
    recorded: pd.DataFrame
    diff: pd.DataFrame
    error: BatchError | None = None

    @property
    def same(self) -> bool:
        """Whether it gave the recorded rows."""
        return self.error is None and self.diff.empty

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Rerun(batch {self.batch_id} fails: {self.error})"
        if self.same:
            return f"Rerun(batch {self.batch_id}: the same {len(self.recorded):,} rows as recorded)"
        columns = ", ".join(dict.fromkeys(self.diff["column"]))
        rows = self.diff["row"].nunique()
        return f"Rerun(batch {self.batch_id}: {rows:,} of {len(self.recorded):,} rows differ, in {columns})"

    def _repr_html_(self) -> str:
        parts = []
        if self.error is not None:
            parts.append(markup.folded("Error today", markup.error_html(self.error)))
        elif not self.same:
            count = len(self.diff)
            cells = f"{count:,} cell{'s' if count > 1 else ''}"
            parts.append(markup.folded(f"What differs: {cells}", markup.difference_html(self.diff)))
        sides = {"Recorded": self.recorded, "Today": self.output}
        parts += [
            markup.folded(f"{name}: {len(rows):,} rows", markup.table_html(rows), unfolded=False)
            for name, rows in sides.items()
        ]
        title = repr(self).removeprefix("Rerun(").removesuffix(")")
        return markup.framed(title if self.error is None else f"batch {self.batch_id} fails today", "", parts)


def remembered(engine: Engine, batch_id: int, verb: str) -> Remembered:
    """Return a batch as it was.

    Args:
        engine: What ran it.
        batch_id: Its number; the batch that halted the run is one of them.
        verb: Who asks, for the message.

    Raises:
        HistoryGone: The batch is older than what is kept.
        SettingError: There was no such batch, or it was empty.
    """
    found = engine.remembered(batch_id)
    if found is None:
        done = engine.batches
        if batch_id >= done:
            newest = f"the newest is {done - 1}" if done else "none has run yet"
            raise SettingError(f"{verb}({batch_id}): there is no such batch; {newest}.")
        if engine.history.ids and batch_id > engine.history.ids[0]:
            raise SettingError(f"{verb}({batch_id}): that batch was empty; it had no rows.")
        oldest = f"the oldest is {engine.history.ids[0]}" if engine.history.ids else "there is none"
        raise HistoryGone(
            f"batch {batch_id} is no longer kept, {oldest}; Lab(history=…) keeps more than the newest "
            "batches (at most a million rows of them)."
        )
    return found


def run_again(pipeline: Pipeline, engine: Engine, batch_id: int) -> Rerun:
    """Return what a batch of a run gives now; nothing is delivered, no state changes.

    Args:
        pipeline: The recipe with today's steps; a step that is new, or of another kind or key, has an empty state.
        engine: What ran the batch.
        batch_id: Its number; the batch that halted the run is one of them.

    Raises:
        HistoryGone: The batch is older than what is kept.
        SettingError: There was no such batch.
    """
    found = remembered(engine, batch_id, "rerun")
    runner = StepsRunner(pipeline.steps)
    runner.undo(found.saved)
    recorded = pd.DataFrame() if found.output is None else found.output
    try:
        rows = call_again(runner, found, engine.run_id, found.attempt + 1)
    except BatchError as error:
        return Rerun(batch_id, pd.DataFrame(), recorded, _no_difference(), error)
    output = pd.DataFrame() if rows is None else rows
    return Rerun(batch_id, output, recorded, difference(recorded, output))


def difference(recorded: pd.DataFrame, output: pd.DataFrame, most: int = 100_000) -> pd.DataFrame:
    """Return one row a cell in which two outputs differ; rows are compared by position, numbers within 1e-9.

    Args:
        recorded: One output.
        output: The other.
        most: How many cells of a column are listed at most.

    >>> difference(pd.DataFrame({"n": [1, 2]}), pd.DataFrame({"n": [1, 3]}))
       row column recorded output
    0    1      n        2      3
    """
    cells = []
    one, other = named_once(recorded), named_once(output)
    for name in dict.fromkeys([*one.columns, *other.columns]):
        a, b = (f[name] if name in f.columns else pd.Series([], dtype=object) for f in (one, other))
        both, longest = min(len(a), len(b)), max(len(a), len(b))
        wrong = [*np.flatnonzero(~equal(a.iloc[:both], b.iloc[:both])).tolist(), *range(both, longest)]
        for row in wrong[:most]:
            values = [as_python(side.iloc[row]) if row < len(side) else None for side in (a, b)]
            cells.append((row, name, *values))
    found = pd.DataFrame(cells, columns=list(DIFF_COLUMNS), dtype=object).astype({"row": np.int64, "column": "str"})
    return found.sort_values("row", kind="stable", ignore_index=True)


def _no_difference() -> pd.DataFrame:
    return difference(pd.DataFrame(), pd.DataFrame())


def check_batch_id(k: int, verb: str = "rerun") -> int:
    """Return a batch's number, or raise `SettingError`."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0:
        raise SettingError(f"{verb} needs the number of a batch, 0 or more, got {shown(k)}.")
    return int(k)

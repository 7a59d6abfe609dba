"""A batch opened: the rows it was given, what came out, what each step remembered before, and its error.

history, run -> [inspection] -> lab
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from mblab.charts import markup
from mblab.checks.rerun import remembered
from mblab.engine.engine import Engine
from mblab.errors import SettingError, shown
from mblab.timing.durations import format_s

__all__ = ["Inspection", "inspect_batch"]

STATE_LETTERS: Final = 800


@dataclass(frozen=True)
class Inspection:
    """One batch of a run, as it was.

    Attributes:
        batch_id: Its number.
        rows: What the first step was given, with the source's dtypes and a fresh RangeIndex.
        arrival_s: When each row arrived, float64 seconds of the run's clock.
        output: What the last step gave; empty when it gave no rows, or failed.
        state_before: Step's name → what it remembered before the batch; of a keyed step key → state, only the batch's
            keys, None for a key it had not seen. Of a step that was not called there is nothing.
        facts: Its row of `run.batches`.
        error: What it failed with, or None.
    """

    batch_id: int
    rows: pd.DataFrame
    arrival_s: Any
    output: pd.DataFrame
    state_before: dict[str, Any]
    facts: dict[str, Any]
    error: BaseException | None = None

    def __repr__(self) -> str:
        parts = [self._headline(), self._figures(), "", f"rows in ({len(self.rows):,}):", _text(self.rows)]
        parts += ["", f"rows out ({len(self.output):,}):", _text(self.output)]
        for name, state in self.state_before.items():
            parts += ["", f"{name} remembered before:", f"  {shown(state, STATE_LETTERS)}"]
        if self.error is not None:
            parts += ["", f"error: {self.error}"]
        return "\n".join(parts)

    def _headline(self) -> str:
        f = self.facts
        return f"batch {self.batch_id}: {f.get('status', '?')}, {len(self.rows):,} rows in, {len(self.output):,} out"

    def _figures(self) -> str:
        f = self.facts
        said = [f"started at {f['start_s']:.3f} s", f"took {format_s(f['batch_duration_s'])}"] if "start_s" in f else []
        if f.get("latency_p50_s", float("nan")) == f.get("latency_p50_s"):
            said.append(f"latency p50 {format_s(f['latency_p50_s'])}, p95 {format_s(f['latency_p95_s'])}")
        said += [f"version {f['version']}, attempt {f['attempt']}"] if "version" in f else []
        return ", ".join(said)

    def _repr_html_(self) -> str:
        parts = []
        if self.error is not None:
            parts.append(markup.folded("Error", markup.error_html(self.error)))
        parts.append(markup.folded(f"Rows in: {len(self.rows):,}", markup.table_html(self.rows)))
        parts.append(markup.folded(f"Rows out: {len(self.output):,}", markup.table_html(self.output)))
        for name, state in self.state_before.items():
            parts.append(markup.folded(f"{name} remembered before", markup.state_html(state)))
        return markup.framed(self._headline(), self._figures(), parts)


def _text(frame: pd.DataFrame) -> str:
    return frame.to_string(max_rows=8, max_cols=12) if len(frame) else "  none"


def inspect_batch(
    engine: Engine, batches: pd.DataFrame, error: BaseException | None, batch_id: int | None
) -> Inspection:
    """Return a batch of a run as it was; None takes the newest that is kept, or the one that failed.

    Args:
        engine: What ran it.
        batches: The run's `batches`.
        error: What halted the run, or None.
        batch_id: Its number, or None.

    Raises:
        HistoryGone: The batch is older than what is kept.
        SettingError: There was no such batch, or it was empty.
    """
    if batch_id is None:
        ids = [engine.failed.batch_id] if engine.failed is not None else engine.history.ids[-1:]
        if not ids:
            raise SettingError("inspect() found no batch with rows yet; run one with lab.step().")
        batch_id = ids[0]
    found = remembered(engine, batch_id, "inspect")
    mine = batches[batches.batch_id == batch_id]
    return Inspection(
        batch_id=batch_id,
        rows=found.cut.rows(),
        arrival_s=found.cut.arrival_ns / 1e9,
        output=pd.DataFrame() if found.output is None else found.output.copy(deep=False),
        state_before=found.states,
        facts={} if mine.empty else dict(mine.iloc[-1]),
        error=error if engine.failed is not None and engine.failed.batch_id == batch_id else None,
    )

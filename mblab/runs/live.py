"""A run of this process: what its engine, its driver and its log know, while it is on and afterwards.

engine, driver, metrics, provenance -> [live] -> view -> run
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.engine.driver import Driver
from mblab.engine.engine import Engine
from mblab.engine.records import RunStatus
from mblab.engine.settings import Control
from mblab.metrics import RunLog
from mblab.runs.provenance import provenance_of
from mblab.runs.view import HowFar, Measured, Standing, summary_of
from mblab.sinks.memory import MemorySink
from mblab.timing.durations import NS, exact_text

__all__ = ["ATTEMPT_COLUMNS", "LiveRun", "written_controls"]

ATTEMPT_COLUMNS: Final = ("batch_id", "attempt", "start_s", "duration_s", "error")
ATTEMPT_TYPES: Final = {
    "batch_id": "int64", "attempt": "int64", "start_s": "float64", "duration_s": "float64", "error": "str",
}  # fmt: skip


def written_controls(controls: Iterable[Control]) -> dict[str, dict[str, Any]]:
    """Return knobs that were moved in the form `controls=` takes, with times to the nanosecond."""
    written: dict[str, dict[str, Any]] = {}
    for control in controls:
        change: dict[str, Any] = {**control.change}
        if "interval_ns" in change:
            change["interval"] = exact_text(change.pop("interval_ns"))
        written.setdefault(exact_text(control.at_ns), {}).update(change)
    return written


class LiveRun:
    """A run of this process, as a `RunView`."""

    def __init__(self, name: str, engine: Engine, driver: Driver, log: RunLog, output: MemorySink) -> None:
        self.run_id, self.name = engine.run_id, name
        self._engine, self._driver, self._log, self._output = engine, driver, log, output

    @property
    def status(self) -> RunStatus:
        return self._driver.status

    @property
    def error(self) -> BaseException | None:
        return self._driver.error

    def batches(self) -> pd.DataFrame:
        return self._log.batches(self._engine.failed)

    def records(self) -> pd.DataFrame:
        return self._log.records()

    def output(self) -> pd.DataFrame:
        return self._output.frame()

    def state(self) -> dict[str, Any]:
        return {step.name: self._engine.states.snapshot(step) for step in self._engine.pipeline.steps}

    def attempts(self) -> pd.DataFrame:
        """Return every try: those of batches that took several, and the only one of each other batch."""
        extra = list(self._engine.attempts)
        several = {a.batch_id for a in extra}
        rows = [(a.batch_id, a.attempt, a.start_ns / NS, a.duration_ns / NS, a.error) for a in extra]
        frame = self._log.batches()
        once = frame[(frame.status != "empty") & ~frame.batch_id.isin(several)]
        rows += list(zip(once.batch_id, once.attempt, once.start_s, once.batch_duration_s, once.error, strict=True))
        tries = pd.DataFrame(rows, columns=list(ATTEMPT_COLUMNS)).astype(ATTEMPT_TYPES)
        return tries.sort_values(["batch_id", "attempt"], ignore_index=True)

    def failures(self) -> Sequence[int]:
        return [a.batch_id for a in self._engine.attempts if a.error]

    def controls(self) -> dict[str, dict[str, Any]]:
        return written_controls(self._engine.controls)

    def provenance(self) -> dict[str, Any]:
        return provenance_of(self._driver)

    def last(self) -> dict[str, Any] | None:
        return self._log.last()

    def after(self, batch_id: int) -> dict[str, Any]:
        return self._log.after(batch_id, self._engine.failed)

    def share_over(self, latency_ns: int) -> float:
        return self._log.share_over(latency_ns)

    def summary(self) -> pd.Series[Any]:
        return summary_of(self)

    def measured(self, from_s: float | None, to_s: float | None) -> Measured:
        return Measured(*self._log.summary_parts(from_s, to_s, self._engine.failed))

    def standing(self) -> Standing:
        timetable, ended, horizon = self._engine.timetable, self._driver.horizon_ns is not None, self._horizon_ns()
        rows, oldest = self._waiting(horizon)
        return Standing(
            horizon_s=horizon / NS,
            triggers_missed=timetable.missed_until(horizon) if ended else timetable.missed,
            backlog_rows=rows,
            oldest_backlog_age_s=float("nan") if oldest is None else (horizon - oldest) / NS,
            drained=self.status == "finished" and self._engine.duration_ns is None,
        )

    def waiting(self) -> npt.NDArray[np.float64]:
        if not self._driver.idle:
            return np.empty(0)
        engine = self._engine
        return np.concatenate([engine.planned_arrivals, engine.feed.left(self._horizon_ns())]) / NS

    def _horizon_ns(self) -> int:
        end = self._driver.horizon_ns
        return self._driver.clock.now_ns() if end is None else end

    def _waiting(self, horizon_ns: int) -> tuple[int, int | None]:
        """Return (rows with A < horizon that no batch took, arrival of the oldest)."""
        engine = self._engine
        if not self._driver.idle:  # the feed belongs to the thread that turns the engine
            last = self._log.last()
            return (int(last["backlog_rows"]) if last else 0), None
        planned, left = engine.planned_arrivals, engine.feed.left(horizon_ns)  # cut, but failed or aborted; never cut
        oldest = planned if len(planned) else left
        return len(planned) + len(left), int(oldest[0]) if len(oldest) else None

    def how_far(self) -> HowFar:
        length_ns = self._engine.duration_ns
        length_s = None if length_ns is None else length_ns / NS
        return HowFar(self._horizon_ns() / NS, length_s, self._engine.feed.taken)

    def wait(self, timeout_s: float | None) -> bool:
        return self._driver.wait(timeout_s)

"""What any run can be asked: one that is on, one on disk, and later one on Spark.

The question is the same for all, so whoever looks at a run does not know which of them it is.

    engine, log -> live ┐
                        ├-> [view] -> run
    folder     -> saved ┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.engine.records import RunStatus
from mblab.metrics import LogBuckets, Totals, summarise
from mblab.metrics.quantiles import Floats
from mblab.timing.durations import format_s

__all__ = ["HowFar", "Measured", "RunView", "Standing", "headline", "summary_of"]


class HowFar(NamedTuple):
    """How far a run is.

    Attributes:
        now_s: Time on the run's clock.
        length_s: The length asked for, or None.
        rows: Rows that batches have taken.
    """

    now_s: float
    length_s: float | None
    rows: int


class Measured(NamedTuple):
    """What the batches of a run, or of a part of it, measured.

    Attributes:
        batches: Their rows of `run.batches`.
        totals: Their sums; of a whole run also those of batches that are no longer kept.
        latencies_s: Of their records that are held.
        sketch: Of their records that are not, or None.
    """

    batches: pd.DataFrame
    totals: Totals
    latencies_s: Floats
    sketch: LogBuckets | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands now, or stood when it ended: what cannot be read off its batches.

    Attributes:
        horizon_s: Its length: the one it ran for, or so far.
        triggers_missed: Triggers that no batch started at.
        backlog_rows: Rows that arrived within the horizon and that no batch took.
        oldest_backlog_age_s: Age of the oldest of them at the horizon, NaN without any.
        drained: Whether it ended because its source had no more rows.
    """

    horizon_s: float
    triggers_missed: int
    backlog_rows: int
    oldest_backlog_age_s: float
    drained: bool


class RunView(Protocol):
    """What any run can be asked; what each frame holds stands at the property of `Run` with its name."""

    run_id: str
    name: str

    @property
    def status(self) -> RunStatus: ...
    @property
    def error(self) -> BaseException | None: ...
    def batches(self) -> pd.DataFrame: ...
    def records(self) -> pd.DataFrame: ...
    def output(self) -> pd.DataFrame: ...
    def state(self) -> dict[str, Any]: ...
    def attempts(self) -> pd.DataFrame: ...
    def controls(self) -> dict[str, dict[str, Any]]: ...
    def provenance(self) -> dict[str, Any]: ...
    def last(self) -> dict[str, Any] | None:
        """Return the newest row of `batches` as a dict, or None."""
        ...

    def after(self, batch_id: int) -> dict[str, Any]:
        """Return the columns of the batches behind one."""
        ...

    def share_over(self, latency_ns: int) -> float:
        """Return the share of the held records that took longer, NaN without records."""
        ...

    def summary(self) -> pd.Series[Any]:
        """Return the summary of the whole run."""
        ...

    def measured(self, from_s: float | None, to_s: float | None) -> Measured:
        """Return what the batches with from ≤ start < to measured; without bounds, all."""
        ...

    def standing(self) -> Standing: ...
    def waiting(self) -> npt.NDArray[np.float64]: ...
    def failures(self) -> Sequence[int]:
        """Return the batch of each attempt that failed."""
        ...

    def how_far(self) -> HowFar: ...
    def wait(self, timeout_s: float | None) -> bool:
        """Wait until it has ended; return False when it halted or the time is up first."""
        ...


def summary_of(view: RunView, from_s: float | None = None, to_s: float | None = None) -> pd.Series[Any]:
    """Return the summary of what a view holds, or of its batches with from ≤ start < to."""
    measured, standing, failures = view.measured(from_s, to_s), view.standing(), view.failures()
    batches = measured.batches
    length_s = max(standing.horizon_s, float(batches.end_s.max()) if len(batches) else 0.0)
    if from_s is not None or to_s is not None:
        length_s = max(0.0, min(length_s, length_s if to_s is None else to_s) - max(0.0, from_s or 0.0))
        left = int(batches.backlog_rows.iloc[-1]) if len(batches) else 0
        standing = replace(standing, backlog_rows=left, oldest_backlog_age_s=float("nan"))
        chosen = set(batches.batch_id)
        failures = [batch_id for batch_id in failures if batch_id in chosen]
    about = {
        "run_id": view.run_id,
        "triggers_missed": standing.triggers_missed,
        "duration_s": length_s,
        "horizon_s": standing.horizon_s,
        "backlog_rows": standing.backlog_rows,
        "oldest_backlog_age_s": standing.oldest_backlog_age_s,
        "failures": len(failures),
    }
    return summarise(*measured, about)


def headline(summary: pd.Series[Any], *, backlog: bool = False) -> str:
    """Return a summary in one line.

    Args:
        summary: As `run.summary()`.
        backlog: Whether it counts the rows that are waiting.

    >>> headline(pd.Series({"rows": 1200, "batches": 1, "latency_p50_s": 0.5, "latency_p95_s": 1.2, "load": 0.25,
    ...                     "regime": "on_schedule"}))
    '1,200 rows in 1 batch, latency p50 500 ms, p95 1.2 s, load 0.25, on schedule'
    """
    s = summary
    latency = f", latency p50 {format_s(s.latency_p50_s)}, p95 {format_s(s.latency_p95_s)}" if s.rows else ""
    batches = "1 batch" if s.batches == 1 else f"{s.batches:,} batches"
    waiting = f", backlog {s.backlog_rows:,}" if backlog else ""
    return f"{s.rows:,} rows in {batches}{latency}, load {s.load:.2f}{waiting}, {s.regime.replace('_', ' ')}"

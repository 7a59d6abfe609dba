"""The run in one column of figures: sums over all its batches, quantiles, and whether it keeps up.

log -> [summary] -> run, tuning
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.engine.records import DELIVERED
from mblab.metrics.quantiles import Floats, Ints, LogBuckets
from mblab.timing.policies import RULES

__all__ = ["KEEPS_UP", "Totals", "behind_of", "behind_rows", "regime", "summarise", "totals_between"]

KEEPS_UP: Final = ("on_schedule", "catching_up")
OWN_ROWS: Final = [name for name, rule in RULES.items() if rule.every_trigger]
BEHIND: Final = 0.05  # share of the records beyond which a run is catching up
ROUNDING = 1e-9  # sums of seconds in floats: a load of exactly 1 may come out a little below


@dataclass(slots=True)
class Totals:
    """Sums over all batches of a run, those that are no longer kept included.

    Attributes:
        behind: Rows that waited for an earlier batch or in the backlog.
        left: Rows that the newest batch left to the next one.
    """

    batches: int = 0
    empty: int = 0
    rows: int = 0
    behind: int = 0
    left: int = 0
    latency_sum_s: float = 0.0
    latency_max_s: float = float("nan")
    scheduling_sum_s: float = 0.0
    processing_sum_s: float = 0.0
    duration_sum_s: float = 0.0
    interval_sum_s: float = 0.0
    staleness_max_s: float = float("nan")
    last_delivery_s: float = float("nan")

    def add(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add some batches, in order."""
        ran = np.isin(columns["status"], DELIVERED)
        rows = columns["num_input_rows"]
        full = ran & (rows > 0)
        self.batches += len(rows)
        self.empty += int((columns["status"] == "empty").sum())
        self.rows += int(rows[full].sum())
        behind, self.left = behind_of(columns, self.left)
        self.behind += int(behind[full].sum())
        self.latency_sum_s += float((columns["latency_mean_s"][full] * rows[full]).sum())
        self.scheduling_sum_s += float(columns["scheduling_delay_s"].sum())
        self.processing_sum_s += float(columns["processing_time_s"][full].sum())
        self.duration_sum_s += float(columns["batch_duration_s"].sum())
        self.interval_sum_s += float(columns["interval_s"].sum())
        if full.any():
            self.latency_max_s = float(np.fmax(self.latency_max_s, columns["latency_max_s"][full].max()))
            ends = np.concatenate([[self.last_delivery_s], columns["end_s"][full]])
            gaps = np.diff(ends)
            gaps = gaps[~np.isnan(gaps)]
            if len(gaps):
                self.staleness_max_s = float(np.fmax(self.staleness_max_s, gaps.max()))
            self.last_delivery_s = float(ends[-1])

    def add_alike(self, count: int, interval_s: float) -> None:
        """Add some batches without rows, which cost nothing."""
        self.batches += count
        self.empty += count
        self.interval_sum_s += count * interval_s


def behind_rows(rows: Ints, late: npt.NDArray[np.bool_], left: Ints) -> Ints:
    """Return how many rows of each batch waited for an earlier batch or in the backlog.

    Of a batch that started late all rows waited for the one before; of one on time those did that had been left over.

    Args:
        rows: Of each batch.
        late: Whether it started after it was due.
        left: Rows that the batch before it left in the backlog; 0 where each trigger has rows of its own.

    >>> behind_rows(np.array([10, 10, 10]), np.array([False, True, False]), np.array([0, 0, 4])).tolist()
    [0, 10, 4]
    """
    return np.where(late, rows, np.minimum(rows, left))


def behind_of(columns: Mapping[str, npt.NDArray[Any]], left: int = 0) -> tuple[Ints, int]:
    """Return the same of the columns of `run.batches`, and what their last batch leaves to the next.

    Args:
        columns: Of consecutive batches.
        left: Rows that the batch before them left.
    """
    if not len(columns["num_input_rows"]):
        return np.empty(0, np.int64), left
    own = np.isin(columns["policy"], OWN_ROWS)
    leaves = np.concatenate([[left], np.where(own, 0, columns["backlog_rows"])])
    late = columns["scheduling_delay_s"] > 0
    return behind_rows(columns["num_input_rows"], late, np.where(own, 0, leaves[:-1])), int(leaves[-1])


def totals_between(batches: pd.DataFrame, from_s: float, to_s: float) -> tuple[pd.DataFrame, Totals]:
    """Return the batches with from ≤ start < to, and their sums."""
    chosen = batches[(batches.start_s >= from_s) & (batches.start_s < to_s)]
    before = batches[batches.start_s < from_s]
    _, left = behind_of({name: before[name].to_numpy() for name in before.columns})
    totals = Totals(left=left)
    totals.add({name: chosen[name].to_numpy() for name in chosen.columns})
    return chosen, totals


def _theil_sen(x: Floats, y: Floats, most: int = 300) -> float:
    """Return the median of the slopes between all pairs of points (Theil 1950, Sen 1968), of evenly chosen points."""
    if len(x) > most:
        chosen = np.linspace(0, len(x) - 1, most).astype(np.int64)
        x, y = x[chosen], y[chosen]
    i, j = np.triu_indices(len(x), 1)
    apart = x[j] > x[i]
    slopes = (y[j] - y[i])[apart] / (x[j] - x[i])[apart]
    return float(np.median(slopes)) if len(slopes) else 0.0


def regime(
    start_s: Floats, backlog: Floats, rows: Floats, *, load: float, behind_share: float, arrival_rate: float
) -> str:
    """Return on_schedule, catching_up, self_clocked or unsustainable.

    Args:
        start_s: Start of each batch, in seconds.
        backlog: Rows each batch left waiting.
        rows: Rows each batch took.
        load: Σ batch duration / Σ interval.
        behind_share: Share of the records that waited for an earlier batch or in the backlog.
        arrival_rate: Rows a second.
    """
    if len(start_s) > 2:
        half = start_s >= (start_s[0] + start_s[-1]) / 2
        slope = _theil_sen(start_s[half], backlog[half]) if backlog[half].any() else 0.0
        grown = slope * (start_s[-1] - start_s[half][0])
        some = rows[half][rows[half] > 0]
        batch = float(some.mean()) if len(some) else 1.0
        if slope > 0.01 * arrival_rate and grown > batch:
            return "unsustainable"
    if load >= 1 - ROUNDING:
        return "self_clocked"
    return "catching_up" if behind_share > BEHIND else "on_schedule"


def summarise(
    frame: pd.DataFrame,
    totals: Totals,
    latencies_s: Floats,
    sketch: LogBuckets | None,
    facts: Mapping[str, Any],
) -> pd.Series[Any]:
    """Return the summary of a run, or of a part of it.

    Args:
        frame: The batches, as in `run.batches`.
        totals: Their sums; may cover more batches than the frame still holds.
        latencies_s: Latencies of the records that are held.
        sketch: Those of the records that are not, or None.
        facts: run_id, triggers_missed, duration_s, horizon_s, backlog_rows, oldest_backlog_age_s, failures.
    """
    if sketch is None:
        held = np.quantile(latencies_s, [0.5, 0.95, 0.99]) if len(latencies_s) else np.full(3, np.nan)
    else:
        sketch.add(latencies_s)
        held = np.array([sketch.quantile(q) for q in (0.5, 0.95, 0.99)])
    full = totals.batches - totals.empty
    duration = facts["duration_s"]
    arriving = min(duration, facts["horizon_s"])  # the last batch may end later, when no row counts any more
    load = totals.duration_sum_s / totals.interval_sum_s if totals.interval_sum_s else 0.0
    behind_share = totals.behind / totals.rows if totals.rows else 0.0
    wake = frame["wake_delay_s"].to_numpy()
    during = frame[frame["start_s"] <= facts["horizon_s"]]  # what queue runs after the end only shrinks the backlog
    values = {
        "run_id": facts["run_id"],
        "rows": totals.rows,
        "batches": totals.batches,
        "batches_empty": totals.empty,
        "triggers_missed": facts["triggers_missed"],
        "duration_s": duration,
        "latency_mean_s": totals.latency_sum_s / totals.rows if totals.rows else float("nan"),
        "latency_p50_s": float(held[0]),
        "latency_p95_s": float(held[1]),
        "latency_p99_s": float(held[2]),
        "latency_max_s": totals.latency_max_s,
        "scheduling_delay_mean_s": totals.scheduling_sum_s / totals.batches if totals.batches else float("nan"),
        "processing_time_mean_s": totals.processing_sum_s / full if full else float("nan"),
        "wake_delay_p99_s": float(np.quantile(wake, 0.99)) if len(wake) else float("nan"),
        "load": load,
        "behind_share": behind_share,
        "throughput": totals.rows / duration if duration else float("nan"),
        "backlog_rows": facts["backlog_rows"],
        "oldest_backlog_age_s": facts["oldest_backlog_age_s"],
        "staleness_max_s": totals.staleness_max_s,
        "regime": regime(
            during["start_s"].to_numpy(),
            during["backlog_rows"].to_numpy().astype(np.float64),
            during["num_input_rows"].to_numpy().astype(np.float64),
            load=load,
            behind_share=behind_share,
            arrival_rate=(totals.rows + facts["backlog_rows"]) / arriving if arriving else 0.0,
        ),
        "failures": facts["failures"],
        "quantiles": "exact" if sketch is None else "sketch",
    }
    return pd.Series(values, name="summary", dtype=object)

"""The same pipeline at several intervals, side by side: the freshest of them, and the shortest that the work fits into.

run -> cost -> [sweep] -> lab
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mblab.charts.display import Shown
from mblab.errors import SettingError
from mblab.metrics import KEEPS_UP
from mblab.runs.run import Run
from mblab.support.progress import Progress
from mblab.timing.durations import NS, format_s
from mblab.tuning.cost import CostModel
from mblab.tuning.curve import CURVE_COLUMNS
from mblab.tuning.target import freshest

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Sweep", "run_sweep"]


@dataclass(frozen=True)
class Sweep(Shown):
    """What several intervals measured.

    Attributes:
        table: One row an interval, ascending: interval_s, latency_mean_s, latency_p50_s, latency_p95_s, latency_p99_s,
            num_input_rows_mean, load, throughput (float64), backlog_rows (int64), regime (str).
        runs: Interval in seconds → its run.
        shortest_s: T*, the shortest interval the work fits into, by the law of all batches; NaN when it cannot be told.
        clock: wall or virtual.
    """

    table: pd.DataFrame
    runs: dict[float, Run]
    shortest_s: float
    clock: str

    @property
    def freshest_s(self) -> float:
        """The interval with the lowest p95 among those that keep up, in seconds, NaN where none does.

        Of those whose p95 is within 5 % of the lowest it is the one with the lowest load.
        """
        kept = self.table[self.table.regime.isin(KEEPS_UP) & self.table.latency_p95_s.notna()]
        if not len(kept):
            return float("nan")
        return float(kept.interval_s.iloc[freshest(kept.latency_p95_s.to_numpy(), kept.load.to_numpy())])

    def plot(self) -> alt.VConcatChart:
        """Return latency and load against the interval as an Altair chart, with T* marked."""
        from mblab import charts

        marks = [] if np.isnan(self.shortest_s) else [(self.shortest_s, f"T* {format_s(self.shortest_s)}")]
        return charts.curve_chart(self.table, marks=marks, title=f"Latency against interval ({self.clock} clock)")

    def __repr__(self) -> str:
        found = "no rows"
        best = self.table.dropna(subset=["latency_p95_s"]).nsmallest(1, "latency_p95_s")
        for interval, p95 in zip(best.interval_s, best.latency_p95_s, strict=True):
            found = f"lowest p95 {format_s(p95)} at {format_s(interval)}"
        shortest = "" if np.isnan(self.shortest_s) else f", T* {format_s(self.shortest_s)}"
        return f"Sweep({len(self.table)} intervals: {found}{shortest})"


def run_sweep(intervals_ns: Sequence[int], once: Callable[[int], Run], clock: str) -> Sweep:
    """Run once per interval, the longest first (it warms the function up on the largest batches), and tabulate."""
    runs: dict[float, Run] = {}
    done = 0
    with Progress("sweep", len(intervals_ns), "intervals", lambda: done) as progress:
        for interval in sorted(intervals_ns, reverse=True):
            runs[interval / NS] = once(interval)
            done += 1
            progress.tick()
    runs = dict(sorted(runs.items()))
    summaries = {interval: run.summary() for interval, run in runs.items()}
    table = pd.DataFrame([_row(interval, s) for interval, s in summaries.items()], columns=list(CURVE_COLUMNS))
    return Sweep(table, runs, _shortest_interval_s(list(runs.values())), clock)


def _shortest_interval_s(runs: Sequence[Run]) -> float:
    """Return T* by the batches of all runs, NaN where they do not tell it."""
    rates = [rate for run in runs if not np.isnan(rate := _arrival_rate(run))]
    try:
        law = CostModel.of(*(run.batches for run in runs))
    except SettingError:  # there is no batch with rows
        return float("nan")
    return law.shortest_interval_s(float(np.median(rates)) if rates else float("nan"))


def _arrival_rate(run: Run) -> float:
    """Return the rows a second of a run's records, NaN for fewer than two."""
    arrivals = run.records.arrival_s.to_numpy()
    span = float(arrivals[-1] - arrivals[0]) if len(arrivals) > 1 else 0.0
    return (len(arrivals) - 1) / span if span > 0 else float("nan")


def _row(interval_s: float, s: pd.Series[Any]) -> dict[str, Any]:
    full = s.batches - s.batches_empty
    same = {name: s[name] for name in CURVE_COLUMNS if name in s.index}
    return same | {"interval_s": interval_s, "num_input_rows_mean": s.rows / full if full else 0.0}

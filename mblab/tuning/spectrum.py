"""From row at a time to one batch: what the size of a batch costs, and what it buys.

Batches of many sizes, each of a fixed number of rows, go through the steps; their measured durations and the recorded
arrivals give the latency. A batch of n rows starts when its last row is there and the batch before it is done:

    c_k = max(r_k, c_{k−1}) + S(n),  so  c_k = (k + 1)·S + max_{j ≤ k} (r_j − j·S)

with r_k the arrival of its last row and S the median duration (Lindley, "The theory of queues with a single server",
1952).

    recording -> probe -> [spectrum] -> lab
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mblab.charts.display import Shown
from mblab.checks.trial import Recording
from mblab.engine.pipeline import Pipeline
from mblab.errors import SettingError
from mblab.support.progress import Progress
from mblab.timing.durations import NS, format_s
from mblab.tuning.arrays import Floats, Ints
from mblab.tuning.probe import Prober

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Spectrum", "latencies_s", "measure_spectrum", "sizes_of"]

COLUMNS: Final = (
    "batch_rows", "interval_s", "calls", "batch_duration_s", "row_cost_s", "overhead", "load", "latency_mean_s",
    "latency_p95_s", "regime",
)  # fmt: skip
CALLS: Final = 3  # of each size at least, where there are rows for it
WARM_UP_SHARE: Final = 0.2  # of the budget, at most


@dataclass(frozen=True)
class Spectrum(Shown):
    """What batches of every size cost, and the latency they give.

    Attributes:
        table: One row a size, ascending: batch_rows, calls (int64: rows of a batch, how often it was measured),
            interval_s (how long as many rows take to arrive), batch_duration_s (median), row_cost_s = duration / rows,
            overhead (share of the duration that larger batches save), load = duration / interval, latency_mean_s,
            latency_p95_s (float64), regime (on_schedule or unsustainable).
        rows_per_second: Rate of the recorded arrivals.
    """

    table: pd.DataFrame
    rows_per_second: float

    @property
    def best(self) -> pd.Series[Any]:
        """The row of the table with the lowest mean latency."""
        fitting = self.table[self.table["regime"] == "on_schedule"]
        return fitting.iloc[int(fitting["latency_mean_s"].to_numpy().argmin())]

    def plot(self) -> alt.VConcatChart:
        """Return latency, cost of a row and load against the batch's size as an Altair chart."""
        from mblab import charts

        return charts.spectrum_chart(self.table, title=self._headline())

    def _headline(self) -> str:
        one, all_, best = self.table.iloc[0], self.table.iloc[-1], self.best
        mean = "no end (cannot keep up)" if one["regime"] == "unsustainable" else format_s(one["latency_mean_s"])
        return (
            f"mean latency: {mean} row at a time, {format_s(best['latency_mean_s'])} in batches of "
            f"{best['batch_rows']:,}, {format_s(all_['latency_mean_s'])} in one batch; a row costs "
            f"{format_s(one['row_cost_s'])} alone, {format_s(all_['row_cost_s'])} among {all_['batch_rows']:,}"
        )

    def __repr__(self) -> str:
        return f"Spectrum({self._headline()})"

    def _text(self) -> str:
        return f"{self!r}\n{self.table.to_string(index=False)}"


def sizes_of(rows: int) -> list[int]:
    """Return batch sizes from 1 to all rows, about two a decade.

    >>> sizes_of(250)
    [1, 3, 10, 32, 100, 250]
    """
    steps = round(2 * np.log10(rows)) if rows > 1 else 0
    ladder = {round(10 ** (i / 2)) for i in range(steps + 1)}
    return sorted({n for n in ladder if n <= 0.7 * rows} | {1, rows})


def latencies_s(arrival_ns: Ints, size: int, duration_s: float) -> Floats:
    """Return each row's latency when every `size` rows are a batch that takes `duration_s`; the last may be smaller.

    >>> latencies_s(np.array([0, 10**9, 2 * 10**9, 3 * 10**9]), 2, 0.5).tolist()
    [1.5, 0.5, 1.5, 0.5]
    """
    rows = len(arrival_ns)
    ends = np.append(np.arange(size, rows, size), rows)
    ready = arrival_ns[ends - 1] / NS
    k = np.arange(len(ends))
    done = (k + 1) * duration_s + np.maximum.accumulate(ready - k * duration_s)
    return np.asarray(np.repeat(done, np.diff(ends, prepend=0)) - arrival_ns / NS, np.float64)


def measure_spectrum(pipeline: Pipeline, recording: Recording, budget_s: float) -> Spectrum:
    """Return the spectrum of a pipeline's steps.

    Args:
        pipeline: The recipe; its sinks are not called.
        recording: Rows from the start of the source; the largest batch holds them all.
        budget_s: How long to measure, in seconds; a size whose first batches take longer overdraws it.

    Raises:
        SettingError: There is no step, or there are fewer than 2 rows.
        BatchError: A step failed.
    """
    if not pipeline.steps:
        raise SettingError("spectrum needs a step to measure; define one with @lab.batch first.")
    rows = len(recording.rows)
    if rows < 2:
        raise SettingError(f"spectrum needs at least 2 rows, got {rows}.")
    settings = replace(pipeline.settings, speedup=None)  # the recording is on the run's clock already
    recorded = replace(pipeline, source=recording, sinks=(), settings=settings)
    sizes = sizes_of(rows)
    with Prober(recorded) as warm:
        warm.warm_up(1, WARM_UP_SHARE * budget_s)
    durations: dict[int, list[float]] = {}
    with Progress("spectrum", len(sizes), "sizes", lambda: len(durations)) as progress:
        for size in reversed(sizes):
            durations[size] = _measured(recorded, size, rows // size, budget_s / len(sizes))
            progress.tick()
    span = (int(recording.arrival_ns[-1]) - int(recording.arrival_ns[0])) / NS
    rate = (rows - 1) / span if span > 0 else float("nan")
    found = [_row(n, durations[n], recording.arrival_ns, rate) for n in sizes]
    cheapest = min(r["row_cost_s"] for r in found)
    for row in found:
        row["overhead"] = 1 - cheapest / row["row_cost_s"] if row["row_cost_s"] else 0.0
    return Spectrum(pd.DataFrame(found, columns=list(COLUMNS)), rate)


def _measured(pipeline: Pipeline, size: int, most: int, budget_s: float) -> list[float]:
    """Return the durations of batches of one size, one after the other, as the state grows.

    Args:
        pipeline: The recipe, on a recording.
        size: Rows of a batch.
        most: How many such batches the recording holds; where these are too few it begins again, state and all.
        budget_s: How long to measure.
    """
    found: list[float] = []
    while len(found) < CALLS:
        with Prober(pipeline) as prober:
            for _ in range(most):
                found.append(prober.probe(size))
                if len(found) >= CALLS and prober.spent_s >= budget_s:
                    return found
    return found


def _row(size: int, durations: list[float], arrival_ns: Ints, rate: float) -> dict[str, Any]:
    duration = float(np.median(durations))
    latencies = latencies_s(arrival_ns, size, duration)
    load = duration * rate / size
    return {
        "batch_rows": size,
        "interval_s": size / rate,
        "calls": len(durations),
        "batch_duration_s": duration,
        "row_cost_s": duration / size,
        "load": load,
        "latency_mean_s": float(latencies.mean()),
        "latency_p95_s": float(np.quantile(latencies, 0.95)),
        "regime": "unsustainable" if load >= 1 and size < len(arrival_ns) else "on_schedule",
    }

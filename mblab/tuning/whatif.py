"""What another interval would do: all of them at once, without running a single batch.

Every interval is a lane; the lanes step together through the same schedule functions as the engine, on arrays. The
latencies follow from the batches, exactly for the mean and the maximum; quantiles are exact up to 4 096 rows and from
that many evenly chosen rows beyond.

    arrivals + cost + schedule -> [whatif] -> curve
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.arrivals import Arrivals
from mblab.durations import NS, Duration, duration_ns, format_s
from mblab.engine import check_cost
from mblab.errors import SettingError, SettingTypeError, shown
from mblab.metrics import regime
from mblab.schedule import check_cap, check_policy, follow
from mblab.sources.base import Source
from mblab.sources.feed import Feed
from mblab.tuning.sweep import CURVE_COLUMNS, check_intervals

__all__ = ["CostTable", "Curve", "curve_of", "predict"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SAMPLE_ROWS = 4096


@dataclass(frozen=True)
class CostTable:
    """A cost read off measured batches: the mean duration at each size, on a line between and beyond them.

    Attributes:
        rows: Batch sizes, ascending, each once.
        seconds: Mean duration at that size.
    """

    rows: Floats
    seconds: Floats

    @classmethod
    def of(cls, batches: pd.DataFrame) -> CostTable:
        """Return the cost of a run's batches (`num_input_rows`, `batch_duration_s`).

        Raises:
            SettingError: There is no batch with rows to learn from.
        """
        some = batches[batches.num_input_rows > 0]
        if some.empty:
            raise SettingError(
                "a cost can only be read off batches with rows, and there are none yet; run a while first."
            )
        mean = some.groupby("num_input_rows").batch_duration_s.mean()
        return cls(mean.index.to_numpy(np.float64), mean.to_numpy(np.float64))

    def __call__(self, n: Any) -> Any:
        """Return the cost of n rows in seconds; n may be an array."""
        wanted = np.asarray(n, np.float64)
        if len(self.rows) == 1:
            return np.full(wanted.shape, self.seconds[0])
        slope, _ = np.polyfit(self.rows, self.seconds, 1)
        slope = max(float(slope), 0.0)
        inside = np.interp(wanted, self.rows, self.seconds)
        below = np.maximum(self.seconds[0] - slope * (self.rows[0] - wanted), 0.0)
        above = self.seconds[-1] + slope * (wanted - self.rows[-1])
        return np.where(wanted < self.rows[0], below, np.where(wanted > self.rows[-1], above, inside))


@dataclass(frozen=True)
class Curve:
    """Latency, load and backlog against the interval, as predicted.

    Attributes:
        table: One row an interval, ascending: interval_s, latency_mean_s, latency_p50_s, latency_p95_s, latency_p99_s,
            num_input_rows_mean, load, throughput (float64), backlog_rows (int64), regime (str).
    """

    table: pd.DataFrame

    def plot(self) -> Any:
        """Return latency and load against the interval as an Altair chart."""
        from mblab import charts

        return charts.curve_chart(self.table, title="Predicted latency against interval")

    def __repr__(self) -> str:
        best = self.table.dropna(subset=["latency_p95_s"]).nsmallest(1, "latency_p95_s")
        found = [
            f"lowest p95 {format_s(p)} at {format_s(i)}"
            for i, p in zip(best.interval_s, best.latency_p95_s, strict=True)
        ]
        return f"Curve({len(self.table)} intervals: {found[0] if found else 'no rows'})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:  # noqa: ARG002
        from mblab import charts

        return charts.mimebundle(self.plot(), repr(self))


@dataclass(slots=True)
class _Lanes:
    """The batches of all lanes, one list entry a step, one array element a lane that was still going."""

    lane: list[Ints] = field(default_factory=list)
    start: list[Ints] = field(default_factory=list)
    end: list[Ints] = field(default_factory=list)
    high: list[Ints] = field(default_factory=list)
    rows: list[Ints] = field(default_factory=list)
    backlog: list[Ints] = field(default_factory=list)


def _cost_ns(cost: Callable[[Any], Any], workers: int = 1) -> Callable[[Ints], Ints]:
    """Return the declared cost in ns for an array of row counts; asked with the array, else row by row."""
    fixed = check_cost(cost)
    assert fixed is not None
    if isinstance(workers, bool) or not isinstance(workers, int | np.integer):
        raise SettingTypeError(f"workers must be a whole number, got {shown(workers)}.")
    if workers < 1:
        raise SettingError(f"workers must be at least 1, got {workers}.")

    def cost_of(rows: Ints) -> Ints:
        ns = np.zeros(len(rows), np.int64)
        full = np.flatnonzero(rows)
        if not len(full):
            return ns
        shares = -(-rows[full] // workers)
        try:
            seconds = np.asarray(fixed(shares), np.float64)  # type: ignore[arg-type]
            if seconds.shape == ():
                seconds = np.full(len(full), float(seconds))
        except (TypeError, ValueError):
            seconds = np.array([float(fixed(int(n))) for n in shares])
        if seconds.shape != full.shape or not np.isfinite(seconds).all() or (seconds < 0).any():
            raise SettingError(
                f"cost must give a finite number of seconds, 0 or more, for each batch, got {shown(seconds)}."
            )
        ns[full] = np.rint(seconds * NS).astype(np.int64)
        return ns

    return cost_of


def _step_all(
    arrivals: Ints, intervals: Ints, horizon: int, policy: str, cap: int | None, cost_of: Callable[[Ints], Ints]
) -> _Lanes:
    """Run every lane until its next start (`queue`: grid point) is past the horizon."""
    lanes = _Lanes()
    lane = np.arange(len(intervals))
    due, taken = intervals.copy(), np.zeros(len(intervals), np.int64)
    start, queue = due.copy(), policy == "queue"
    while True:
        going = (due if queue else start) <= horizon
        if not going.all():
            lane, due, start, taken = lane[going], due[going], start[going], taken[going]
        if not len(lane):
            return lanes
        available = arrivals.searchsorted(due if queue else start)
        high = available if cap is None else np.minimum(available, taken + cap)
        rows = high - taken
        end = start + cost_of(rows)
        lanes.lane.append(lane)
        lanes.start.append(start)
        lanes.end.append(end)
        lanes.high.append(high)
        lanes.rows.append(rows)
        lanes.backlog.append((arrivals.searchsorted(start) if queue else available) - high)
        due, start = follow(policy, due, start, end, intervals[lane])
        taken = high


def curve_of(
    arrivals: Ints,
    intervals_ns: Sequence[int],
    *,
    cost: Callable[[Any], Any],
    horizon_ns: int,
    policy: str = "asap",
    max_rows_per_batch: int | None = None,
    workers: int = 1,
) -> Curve:
    """Return the curve for arrivals in ns, ascending; see `predict`."""
    intervals = np.asarray(intervals_ns, np.int64)
    lanes = _step_all(arrivals, intervals, horizon_ns, policy, max_rows_per_batch, _cost_ns(cost, workers))
    columns = {name: np.concatenate(getattr(lanes, name) or [np.empty(0, np.int64)]) for name in _Lanes.__slots__}
    order = np.argsort(columns["lane"], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    edges = columns["lane"].searchsorted(np.arange(len(intervals) + 1))
    sums = np.concatenate([[0.0], np.cumsum(arrivals / NS)])
    due_rows = int(arrivals.searchsorted(horizon_ns))
    rows = []
    for i, interval in enumerate(intervals.tolist()):
        mine = {name: values[edges[i] : edges[i + 1]] for name, values in columns.items()}
        rows.append(_row_of(mine, interval, arrivals, sums, horizon_ns, due_rows))
    return Curve(pd.DataFrame(rows, columns=list(CURVE_COLUMNS)))


def _row_of(
    lane: dict[str, Ints], interval: int, arrivals: Ints, sums: Floats, horizon: int, due_rows: int
) -> dict[str, Any]:
    counts, ends = lane["rows"], lane["end"]
    done = int(lane["high"][-1]) if len(counts) else 0
    duration = max(horizon, int(ends.max(initial=0))) / NS
    load = float((ends - lane["start"]).sum() / (interval * len(ends))) if len(ends) else 0.0
    quantiles = np.full(3, np.nan)
    mean = float("nan")
    if done:
        mean = float(((ends / NS) * counts).sum() - sums[done]) / done
        chosen = np.arange(done) if done <= SAMPLE_ROWS else np.linspace(0, done - 1, SAMPLE_ROWS).astype(np.int64)
        latencies = ends[lane["high"].searchsorted(chosen, side="right")] - arrivals[chosen]
        quantiles = np.quantile(latencies, [0.5, 0.95, 0.99]) / NS
    left = max(0, due_rows - done)
    during = lane["start"] <= horizon
    return {
        "interval_s": interval / NS,
        "latency_mean_s": mean,
        "latency_p50_s": float(quantiles[0]),
        "latency_p95_s": float(quantiles[1]),
        "latency_p99_s": float(quantiles[2]),
        "num_input_rows_mean": done / np.count_nonzero(counts) if done else 0.0,
        "load": load,
        "backlog_rows": left,
        "regime": regime(
            lane["start"][during] / NS,
            lane["backlog"][during].astype(np.float64),
            counts[during].astype(np.float64),
            load=load,
            arrival_rate=(done + left) / duration if duration else 0.0,
        ),
        "throughput": done / duration if duration else float("nan"),
    }


def _arrivals_ns(source: object, horizon: int, seed: int) -> Ints:
    """Return the arrivals with A < horizon, in ns of the run's clock."""
    if isinstance(source, Arrivals):
        return np.rint(source.times(horizon / NS, seed) * NS).astype(np.int64)
    if isinstance(source, Source):
        feed = Feed(source)
        return feed.take(feed.waiting(horizon)).arrival_ns
    raise SettingTypeError(
        f"predict needs arrivals or a source, got {shown(source, 40)}; "
        "for measured times use mblab.arrivals.trace(times)."
    )


def predict(
    arrivals: Any,
    intervals: Any,
    *,
    cost: Any,
    duration: Duration = "60s",
    policy: str = "asap",
    max_rows_per_batch: int | None = None,
    seed: int = 0,
    workers: int = 1,
) -> Curve:
    """Return latency, load and backlog at many intervals, without running anything.

    Args:
        arrivals: Arrivals such as `mblab.arrivals.poisson(200)`, or a source, of which only the arrival times are used.
        intervals: List of durations.
        cost: What a batch of n rows takes, in seconds: a number, a function of n (asked with an int64 array where it
            can take one), or the frame of a run's batches, whose measured durations are interpolated.
        duration: Length of each run, on the run's clock.
        policy: asap, skip or queue.
        max_rows_per_batch: Cap, or None.
        seed: Of random arrivals.
        workers: How many processors share each batch, its rows dealt out evenly; it ends when the largest share is
            done, so a batch of n rows takes the cost of ⌈n/workers⌉.

    Raises:
        SettingError: An argument breaks its rule.

    >>> from mblab import arrivals
    >>> curve = predict(arrivals.constant(1000), ["500ms", "1s"], cost=lambda n: 0.1 + 2e-4 * n)
    >>> curve.table[["interval_s", "latency_mean_s", "load", "regime"]]
       interval_s  latency_mean_s  load       regime
    0         0.5            0.45   0.4  on_schedule
    1         1.0            0.80   0.3  on_schedule
    """
    chosen = check_intervals(intervals)
    horizon = duration_ns(duration, "duration", minimum_ns=1)
    cap = check_cap(max_rows_per_batch, check_policy(policy))
    declared = CostTable.of(cost) if isinstance(cost, pd.DataFrame) else cost
    if declared is None:
        raise SettingTypeError("cost must be a number of seconds, a function of n or a run's batches, got None.")
    times = _arrivals_ns(arrivals, horizon, seed)
    return curve_of(
        times, chosen, cost=declared, horizon_ns=horizon, policy=policy, max_rows_per_batch=cap, workers=workers
    )

"""What another interval would do: all of them at once, without running a single batch.

arrivals + cost -> lanes, bundle -> [whatif] -> curve
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mblab.charts.display import Shown
from mblab.engine.engine import check_cost
from mblab.errors import SettingError, SettingTypeError, shown
from mblab.support.arguments import number
from mblab.timing.durations import NS, Duration, duration_ns, format_s
from mblab.timing.schedule import Policy, check_cap, check_policy
from mblab.tuning.bundle import LANES, Bundle
from mblab.tuning.cost import CostModel
from mblab.tuning.lanes import Bools, Ints, LaneCost, Outcome, run_lanes
from mblab.tuning.sweep import CURVE_COLUMNS, check_intervals
from mblab.tuning.trace import trace_of

SETTINGS = ("policy", "max_rows_per_batch", "load_factor")

__all__ = ["Curve", "curve_of", "lane_cost", "predict"]


@dataclass(frozen=True)
class Curve(Shown):
    """Latency, load and backlog against the interval, as predicted.

    Attributes:
        table: One row an interval, ascending: interval_s, latency_mean_s, latency_p50_s, latency_p95_s, latency_p99_s,
            num_input_rows_mean, load, throughput (float64), backlog_rows (int64), regime (str). With bands also
            latencies and load with `_lo` and `_hi`, num_input_rows_max, batches_per_hour, cost_per_hour (CPU seconds;
            busy seconds where the work is mostly waiting) and extrapolated (whether batches would be a third larger
            than any that was tried).
    """

    table: pd.DataFrame

    def only(self, **settings: Any) -> Curve:
        """Return the part of a curve of several settings, such as `curve.only(policy="skip", load_factor=2)`.

        Raises:
            SettingError: A setting or its value is not in the table.
        """
        table = self.table
        for name, value in settings.items():
            if name not in SETTINGS or name not in table.columns:
                have = [n for n in SETTINGS if n in table.columns]
                raise SettingError(f"only({name}=…): the curve holds one of it; there are {have} to choose from.")
            same = table[name].isna() if value is None else table[name] == value
            if not same.fillna(value=False).any():
                raise SettingError(f"only({name}={shown(value)}): there are {table[name].drop_duplicates().tolist()}.")
            table = table[same.fillna(value=False)]
        return Curve(table.reset_index(drop=True))

    def plot(self, measured: Any = None) -> Any:
        """Return latency and load against the interval as an Altair chart.

        Args:
            measured: A sweep, or a table such as `sweep.table`, drawn as rings over the curve.
        """
        from mblab import charts

        if self.table.interval_s.duplicated().any():
            raise SettingError("a chart shows one setting; choose with curve.only(policy=…, max_rows_per_batch=…, …).")
        points = getattr(measured, "table", measured)
        return charts.curve_chart(self.table, measured=points, title="Predicted latency against interval")

    def __repr__(self) -> str:
        best = self.table.dropna(subset=["latency_p95_s"]).nsmallest(1, "latency_p95_s")
        found = [
            f"lowest p95 {format_s(p)} at {format_s(i)}"
            for i, p in zip(best.interval_s, best.latency_p95_s, strict=True)
        ]
        return f"Curve({len(self.table)} intervals: {found[0] if found else 'no rows'})"

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, Any]:
        if self.table.interval_s.duplicated().any():
            return {"text/plain": repr(self), "text/html": self.table.to_html(index=False)}
        return super()._repr_mimebundle_(include, exclude)


def lane_cost(cost: Callable[[Any], Any], workers: int = 1) -> LaneCost:
    """Return the declared cost in ns for an array of row counts; asked with the array, else row by row."""
    fixed = check_cost(cost)
    assert fixed is not None

    def cost_of(lane: Ints, rows: Ints, seen: Ints, at_once: Bools) -> Ints:  # noqa: ARG001
        full = np.flatnonzero(rows)
        if not len(full):
            return np.zeros(len(rows), np.int64)
        some = rows if len(full) == len(rows) else rows[full]
        shares = some if workers == 1 else -(-some // workers)
        try:
            seconds = np.asarray(fixed(shares), np.float64)  # type: ignore[arg-type]
            if seconds.shape == ():
                seconds = np.full(len(full), float(seconds))
        except (TypeError, ValueError):
            seconds = np.array([float(fixed(int(n))) for n in shares])
        if seconds.shape != full.shape or not (seconds.min() >= 0 and seconds.max() < np.inf):  # NaN is neither
            raise SettingError(
                f"cost must give a finite number of seconds, 0 or more, for each batch, got {shown(seconds)}."
            )
        cost_ns = np.rint(seconds * NS).astype(np.int64)
        if some is rows:
            return cost_ns
        ns = np.zeros(len(rows), np.int64)
        ns[full] = cost_ns
        return ns

    return cost_of


def curve_of(
    arrivals: Ints,
    intervals_ns: Sequence[int],
    *,
    cost: Callable[[Any], Any] | CostModel,
    horizon_ns: int,
    policy: str = "asap",
    max_rows_per_batch: int | None = None,
    workers: int = 1,
    lanes: int = LANES,
    seed: int = 0,
) -> Curve:
    """Return the curve for arrivals in ns, ascending; see `predict`. A `CostModel` gives one with bands."""
    intervals = np.asarray(intervals_ns, np.int64)
    if isinstance(cost, CostModel):
        bundle = Bundle.of(
            arrivals,
            intervals,
            cost=cost,
            horizon_ns=horizon_ns,
            policy=policy,
            max_rows_per_batch=max_rows_per_batch,
            lanes=lanes,
            seed=seed,
            workers=workers,
        )
        return Curve(bundle.table())
    outcome = run_lanes(
        arrivals,
        intervals,
        cost=lane_cost(cost, workers),
        horizon_ns=horizon_ns,
        policy=policy,
        max_rows_per_batch=max_rows_per_batch,
    )
    return Curve(_table(intervals, outcome, [outcome.regime(i) for i in range(len(intervals))]))


def _table(intervals: Ints, outcome: Outcome, regimes: list[str]) -> pd.DataFrame:
    """Return one row a lane, in the columns of a curve."""
    columns = {
        "interval_s": intervals / NS,
        "latency_mean_s": outcome.mean_s,
        **{f"latency_{name}_s": outcome.quantiles_s[:, i] for i, name in enumerate(("p50", "p95", "p99"))},
        "num_input_rows_mean": outcome.rows_mean,
        "load": outcome.load,
        "backlog_rows": outcome.left.astype(np.int64),
        "regime": regimes,
        "throughput": outcome.throughput,
    }
    return pd.DataFrame(columns)[list(CURVE_COLUMNS)]


def check_workers(value: object) -> int:
    """Return over how many workers a batch is split, or raise `SettingError`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise SettingTypeError(f"workers must be a whole number, got {shown(value)}.")
    if value < 1:
        raise SettingError(f"workers must be at least 1, got {value}.")
    return int(value)


def predict(
    arrivals: Any,
    intervals: Any,
    *,
    cost: Any,
    duration: Duration = "60s",
    policy: str | Sequence[str] = "asap",
    max_rows_per_batch: int | Sequence[int | None] | None = None,
    load_factor: float | Sequence[float] = 1.0,
    seed: int = 0,
    workers: int = 1,
) -> Curve:
    """Return latency, load and backlog at many intervals, without running anything.

    Args:
        arrivals: Arrivals such as `mblab.arrivals.poisson(200)`, or a source, of which only the arrival times are used.
        intervals: List of durations.
        cost: What a batch of n rows takes, in seconds: a number, a function of n (asked with an int64 array where it
            can take one), or a `CostModel`, whose uncertainty becomes bands: columns ending in `_lo` and `_hi`, which
            hold 95 %. The frame of a run's batches stands for `CostModel.of(run.batches)`.
        duration: Length of each run, on the run's clock.
        policy: asap, skip or queue; of policies, caps and loads a list may be given, and every combination that can be
            run comes into the table, with columns policy, max_rows_per_batch and load_factor.
        max_rows_per_batch: Cap, or None.
        load_factor: How many times as fast the rows come.
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
    declared = CostModel.of(cost) if isinstance(cost, pd.DataFrame) else cost
    if declared is None:
        raise SettingTypeError("cost must be a number of seconds, a function of n or a run's batches, got None.")
    settings, several = _combined(policy, max_rows_per_batch, load_factor)
    trace = trace_of(arrivals, round(horizon * max(1.0, *(factor for _, _, factor in settings))), seed=seed)
    shares = check_workers(workers)
    parts = []
    for rule, cap, factor in settings:
        times = trace.arrival_ns if factor == 1 else trace.at_load(factor).arrival_ns
        part = curve_of(
            times[: times.searchsorted(horizon)],
            chosen,
            cost=declared,
            horizon_ns=horizon,
            policy=rule,
            max_rows_per_batch=cap,
            workers=shares,
            seed=seed,
        ).table
        if several:
            part = part.assign(policy=rule, max_rows_per_batch=pd.array([cap] * len(part), "Int64"), load_factor=factor)
        parts.append(part)
    return Curve(pd.concat(parts, ignore_index=True) if several else parts[0])


def _combined(policy: Any, cap: Any, factor: Any) -> tuple[list[tuple[Policy, int | None, float]], bool]:
    """Return every combination of policy, cap and load that can be run, and whether there were lists."""
    several = any(isinstance(value, list | tuple) for value in (policy, cap, factor))
    policies, caps, factors = (list(v) if isinstance(v, list | tuple) else [v] for v in (policy, cap, factor))
    checked = [number(f, "load_factor") for f in factors]
    found = []
    for rule, most, f in itertools.product(map(check_policy, policies), caps, checked):
        if several and rule == "queue" and most is not None and len(policies) > 1:
            continue  # the grid fixes its rows, so no cap can hold; the other policies have it
        found.append((rule, check_cap(most, rule), f))
    return found, several

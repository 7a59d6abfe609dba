"""What another interval would do: all of them at once, without running a single batch.

arrivals + cost -> simulate, ensemble -> [whatif] -> curve
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from mblab.arrivals import Arrivals
from mblab.engine.cost import check_cost, cost_ns
from mblab.engine.settings import check_cap, check_policy
from mblab.errors import SettingTypeError
from mblab.sources.base import Source
from mblab.support.arguments import number, whole
from mblab.timing.durations import MAX_NS, NS, Duration, duration_ns
from mblab.timing.policies import RULES, Policy
from mblab.tuning.arrays import Bools, Floats, Ints
from mblab.tuning.arrival_times import arrival_times_of
from mblab.tuning.cost import CostModel
from mblab.tuning.curve import CURVE_COLUMNS, Curve
from mblab.tuning.ensemble import Ensemble
from mblab.tuning.intervals import Intervals, check_intervals
from mblab.tuning.simulate import CostOfRuns, Outcome, simulate_runs

__all__ = ["Cost", "curve_of", "declared_costs", "predict"]

Cost = float | Callable[[int], float] | Callable[[Ints], Floats] | CostModel
One = TypeVar("One", str, int | None, float)


def declared_costs(cost: Cost, workers: int = 1) -> CostOfRuns:
    """Return the declared cost in ns for an array of row counts; asked with the array, else row by row."""
    fixed: Callable[[Any], Any] | None = check_cost(cost)
    assert fixed is not None

    def cost_of(run: Ints, rows: Ints, seen: Ints, at_once: Bools) -> Ints:  # noqa: ARG001
        full = np.flatnonzero(rows)
        if not len(full):
            return np.zeros(len(rows), np.int64)
        some = rows if len(full) == len(rows) else rows[full]
        shares = some if workers == 1 else -(-some // workers)
        try:
            seconds = np.asarray(fixed(shares), np.float64)
            if seconds.shape == ():
                seconds = np.full(len(full), float(seconds))
            known = seconds.shape == full.shape and bool(seconds.min() >= 0 and seconds.max() < MAX_NS / NS)
        except Exception:  # it may know single numbers only
            known = False
        each = np.rint(seconds * NS).astype(np.int64) if known else np.array([cost_ns(fixed, int(n)) for n in shares])
        if some is rows:
            return each
        ns = np.zeros(len(rows), np.int64)
        ns[full] = each
        return ns

    return cost_of


def curve_of(
    arrivals: Ints,
    intervals_ns: Sequence[int],
    *,
    cost: Cost,
    horizon_ns: int,
    policy: str = "asap",
    max_rows_per_batch: int | None = None,
    workers: int = 1,
    seed: int = 0,
    drain: bool = False,
) -> Curve:
    """Return the curve for arrivals in ns, ascending; see `predict`. A `CostModel` gives one with bands.

    With `drain` each run ends when all rows are taken, whenever that is.
    """
    intervals = np.asarray(intervals_ns, np.int64)
    if isinstance(cost, CostModel):
        ensemble = Ensemble.of(
            arrivals,
            intervals,
            cost=cost,
            horizon_ns=horizon_ns,
            policy=policy,
            max_rows_per_batch=max_rows_per_batch,
            seed=seed,
            workers=workers,
            drain=drain,
        )
        return Curve(ensemble.table())
    outcome = simulate_runs(
        arrivals,
        intervals,
        cost=declared_costs(cost, workers),
        horizon_ns=horizon_ns,
        policy=policy,
        max_rows_per_batch=max_rows_per_batch,
        drain=drain,
    )
    return Curve(_table(intervals, outcome, [outcome.regime(i) for i in range(len(intervals))]))


def _table(intervals: Ints, outcome: Outcome, regimes: list[str]) -> pd.DataFrame:
    """Return one row a run, in the columns of a curve."""
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


def predict(
    arrivals: Arrivals | Source,
    intervals: Intervals,
    *,
    cost: Cost | pd.DataFrame,
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
    known = arrival_times_of(arrivals, round(horizon * max(1.0, *(factor for _, _, factor in settings))), seed=seed)
    shares = whole(workers, "workers", least=1)
    parts = []
    for rule, cap, factor in settings:
        times = known.at_load(factor).arrival_ns
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


def _combined(
    policy: str | Sequence[str], cap: int | Sequence[int | None] | None, factor: float | Sequence[float]
) -> tuple[list[tuple[Policy, int | None, float]], bool]:
    """Return every combination of policy, cap and load that can be run, and whether there were lists."""
    several = any(isinstance(value, list | tuple) for value in (policy, cap, factor))
    policies, caps, factors = _as_list(policy), _as_list(cap), _as_list(factor)
    checked = [number(f, "load_factor") for f in factors]
    found = []
    for rule, most, f in itertools.product(map(check_policy, policies), caps, checked):
        if several and not RULES[rule].caps and most is not None and len(policies) > 1:
            continue  # the grid fixes its rows, so no cap can hold; the other policies have it
        found.append((rule, check_cap(most, rule), f))
    return found, several


def _as_list(value: One | Sequence[One]) -> list[One]:
    """Return what a list or tuple holds, or the one value that stands for it."""
    return list(value) if isinstance(value, list | tuple) else [value]  # type: ignore[list-item]

"""Why a run falls behind, or not, and what would help, in one paragraph with figures.

run.batches, run.records -> cost, simulate -> [diagnosis] -> lab
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from mblab.metrics import KEEPS_UP
from mblab.runs.run import Run
from mblab.timing.durations import NS, format_s
from mblab.tuning.arrays import Ints
from mblab.tuning.cost import CostModel
from mblab.tuning.delays import Before
from mblab.tuning.simulate import simulate_runs
from mblab.tuning.whatif import declared_costs

__all__ = ["diagnosis"]

COMFORT: Final = 0.8  # a load with room for a bad minute
NEWEST: Final = 2000  # batches that are looked at
WAITS: Final = {
    "batching_wait_s": "waiting for the trigger",
    "scheduling_wait_s": "waiting for the batch before",
    "backlog_wait_s": "waiting behind a cap",
    "processing_wait_s": "being processed",
}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of the newest stretch of a run, under its present settings."""

    batches: pd.DataFrame
    arrivals: Ints
    interval_s: float
    policy: str
    cap: int | None
    rate: float
    load: float
    regime: str
    backlog: int
    model: CostModel

    @property
    def told_apart(self) -> bool:
        """Whether batches differ enough in size to tell fixed cost from cost per row."""
        low, high = self.model.probes.num_input_rows.quantile([0.05, 0.95])
        return bool(high > 1.1 * low)

    def at(self, interval_s: float) -> tuple[float, str]:
        """Return load and regime that another interval, without a cap, would bring to the same rows."""
        horizon = int(self.arrivals[-1]) + 1
        outcome = simulate_runs(
            self.arrivals,
            np.array([round(interval_s * NS)]),
            cost=declared_costs(self.model),
            horizon_ns=max(horizon, round(interval_s * NS)),
            policy=self.policy,
        )
        return float(outcome.load[0]), outcome.regime(0)


def diagnosis(run: Run) -> str:
    """Return one paragraph about a run."""
    facts = _facts_of(run)
    if facts is None:
        return "No batch with rows has been delivered yet, so there is nothing to diagnose."
    said = [_state(facts), _where_time_goes(run, facts)]
    said += _causes(facts)
    said += _cures(facts) if facts.regime not in KEEPS_UP or facts.load > COMFORT else _could_be_fresher(run, facts)
    return " ".join(said)


def _facts_of(run: Run) -> _Facts | None:
    batches = run.batches.tail(NEWEST)
    if not len(batches) or not (batches.num_input_rows > 0).any():
        return None
    settings = batches[["interval_s", "policy"]].assign(cap=batches.max_rows_per_batch.fillna(0))
    same = (settings == settings.iloc[-1]).all(axis=1).to_numpy()
    changed = np.flatnonzero(~same)
    stretch = batches.iloc[changed[-1] + 1 :] if len(changed) else batches
    if (stretch.num_input_rows > 0).sum() < 3:  # too little to go by since the last change
        stretch = batches
    since = float(stretch.start_s.iloc[0] - stretch.interval_s.iloc[0])
    records = run.records
    arrivals = np.rint((records.arrival_s[records.arrival_s >= since].to_numpy() - since) * NS).astype(np.int64)
    if len(arrivals) < 2:
        return None
    whole = run.summary(max(since, 0.0), None) if since > 0 else run.summary()
    backlog = max(int(whole.backlog_rows), int(stretch.backlog_rows.max()))
    cap = stretch.max_rows_per_batch.iloc[-1] if (stretch.backlog_rows > 0).any() else np.nan  # one that acts shows
    rate = len(arrivals) / (int(arrivals[-1]) + 1) * NS
    duration = stretch.batch_duration_s.sum()
    return _Facts(
        stretch,
        arrivals,
        float(stretch.interval_s.iloc[-1]),
        str(stretch.policy.iloc[-1]),
        None if np.isnan(cap) else int(cap),
        rate,
        float(duration / stretch.interval_s.sum()),
        str(whole.regime),
        backlog,
        CostModel.of(stretch),
    )


def _state(f: _Facts) -> str:
    every, load = format_s(f.interval_s), f"load {f.load:.2f}"
    if f.regime == "unsustainable":
        return (
            f"The run falls behind: at one batch every {every} ({load}) the backlog grows, {f.backlog:,} rows by now."
        )
    if f.regime == "self_clocked":
        return f"The work does not fit into the interval: a batch takes {f.load:.1f}× the {every}, so each starts late."
    late = float((f.batches.scheduling_delay_s > 1e-6).mean())
    if late > 0.02:
        return f"The run keeps up at one batch every {every} ({load}), but {late:.0%} of its batches started late."
    return f"The run keeps up at one batch every {every} ({load}), and its batches start on time."


def _where_time_goes(run: Run, f: _Facts) -> str:
    records = run.records.tail(200_000)
    slow = records[records.latency_s >= records.latency_s.quantile(0.9)]
    shares = {name: float(slow[name].sum()) for name in WAITS}
    total = sum(shares.values())
    if total <= 0:
        return f"{f.rate:,.0f} rows arrive a second."
    name = max(shares, key=lambda n: shares[n])
    some = f.batches[f.batches.num_input_rows > 0]
    sink = float(some.sink_time_s.sum() / max(some.batch_duration_s.sum(), 1e-12))
    text = f"The slowest tenth of its rows spends {shares[name] / total:.0%} of their latency {WAITS[name]}"
    return f"{text}; sinks take {sink:.0%} of a batch's time." if sink > 0.2 else f"{text}."


def _causes(f: _Facts) -> list[str]:
    said = [f.model.explain()] if len(f.model.probes) >= 5 and f.told_apart else []
    counts = np.bincount((f.arrivals // NS).astype(np.int64))
    if len(counts) >= 8 and counts.mean() > 0 and counts.max() > 2.5 * counts.mean():
        peak = counts.max() / counts.mean()
        said.append(f"Rows come in bursts: the busiest second brings {peak:.1f}× the mean of {counts.mean():,.0f}.")
    if f.model.grows:
        cost = format_s(f.model.growth_s * f.rate * 60)
        said.append(f"Its state makes it slower as it runs: each minute adds {cost} to a batch.")
    took, cpu = float(f.model.probes.seconds.sum()), float(f.model.probes.cpu_s.sum())
    # on a virtual clock nothing comes before; it may go by a declared cost, which no CPU time explains
    if f.model.before != Before() and cpu < 0.5 * took:
        said.append(f"{1 - cpu / took:.0%} of a batch's time is waiting, not computing.")
    return said


def _cures(f: _Facts) -> list[str]:
    """Return what would help: the cap, the interval, a faster function."""
    if f.cap is not None:
        takes = f.cap / max(f.interval_s, float(f.model(f.cap)))
        if takes < f.rate:
            text = f"The cap lets {takes:,.0f} of {f.rate:,.0f} rows a second through"
            load, regime = f.at(f.interval_s)
            if f.told_apart and regime not in KEEPS_UP:
                return [f"{text}, but without it the load would be {load:.2f}.", *_interval_cure(f)]
            enough = f"{f.rate * f.interval_s * 1.25:,.0f} rows"
            return [f"{text}: it must go, or grow to {enough} and more, if batches of that size fit into the interval."]
    if not f.told_apart:
        size = f"{f.model.rows_probed[1]:,} rows"
        return [f"All batches have about {size}, so what others would cost is not known; lab.calibrate() finds out."]
    marginal = float(f.model(f.model.rows_probed[1])) / f.model.rows_probed[1] * f.rate
    if marginal >= 1 and _fitting(f) is None:
        need = f"{f.rate:,.0f} rows a second need {marginal:.1f} seconds of work a second even in large batches"
        return [
            f"{need}, so no interval helps: the function must be {marginal / COMFORT:.1f}× as fast, or its rows fewer."
        ]
    return _interval_cure(f)


def _interval_cure(f: _Facts) -> list[str]:
    fitting, faster = _fitting(f), _faster(f)
    if fitting is None:
        return [f"No interval up to {format_s(16 * f.interval_s)} brings the load to {COMFORT}; but {faster} would."]
    load, _ = f.at(fitting)
    return [f"An interval of {format_s(fitting)} would bring the load to {load:.2f}; so would {faster}."]


def _faster(f: _Facts) -> str:
    """Return how much faster the function must be to fit into the interval as it is."""
    low, high = 1.0, 64.0
    for _ in range(12):
        middle = float(np.sqrt(low * high))
        slower = _Facts(**{name: getattr(f, name) for name in f.__slots__} | {"model": f.model.scaled(1 / middle)})
        load, regime = slower.at(f.interval_s)
        low, high = (low, middle) if load <= COMFORT and regime in KEEPS_UP else (middle, high)
    return f"a function {high:.1f}× as fast at the present {format_s(f.interval_s)}"


def _fitting(f: _Facts) -> float | None:
    """Return the shortest of some longer intervals that is comfortable, in seconds."""
    for factor in np.geomspace(1.0, 16.0, 25)[1:]:
        interval = float(f"{f.interval_s * factor:.2g}")
        load, regime = f.at(interval)
        if load <= COMFORT and regime in KEEPS_UP:
            return interval
    return None


def _could_be_fresher(run: Run, f: _Facts) -> list[str]:
    """Return how much shorter the interval could be, where that is worth saying."""
    found = None
    for factor in np.geomspace(1.0, 1 / 16, 25)[1:]:
        interval = float(f"{f.interval_s * factor:.2g}")
        if interval < 0.001:
            break
        load, regime = f.at(interval)
        if load > COMFORT or regime not in KEEPS_UP:
            break
        found = interval, load
    if found is None or found[0] > 0.7 * f.interval_s:
        return ["There is nothing to mend."]
    p95 = float(run.summary().latency_p95_s)
    shorter = f"Nothing must be mended; for fresher results than a p95 of {format_s(p95)} the interval could go down to"
    return [f"{shorter} {format_s(found[0])} (load {found[1]:.2f})."]

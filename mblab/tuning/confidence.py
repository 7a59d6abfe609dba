"""How far a prediction can be trusted: each doubt as a sentence, with the figure behind it.

cost, ensemble, choice -> [confidence] -> decision
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from mblab.engine.pipeline import Pipeline
from mblab.timing.durations import NS, format_s
from mblab.tuning.arrival_times import ArrivalTimes
from mblab.tuning.cost import CostModel
from mblab.tuning.ensemble import Ensemble
from mblab.tuning.target import NAMES, SAME, SURE, Choice, Target, choose

__all__ = ["Verdict", "doubts", "limit_of_load", "notes_on", "refusal", "verdict_of"]

Verdict = Literal["trusted", "check", "refuse"]

CLEAN_P95, CLEAN_P99 = 20, 60  # batches without a pause that a limit on p95 or p99 asks for
CERTAIN_P95, CERTAIN_P99 = 60, 300  # so many that pauses too rare to be seen cannot reach it (3/N, rule of three)
FEW_PAUSES: Final = 4
LITTLE: Final = 0.05
LATE_S: Final = 0.003  # a quiet machine's timers wake within a tenth of that


def verdict_of(choice: Choice, reasons: list[str]) -> Verdict:
    """Return trusted, check or refuse."""
    if choice.index is None:
        return "refuse"
    return "check" if reasons else "trusted"


def refusal(ensemble: Ensemble, choice: Choice, model: CostModel, arrivals: ArrivalTimes) -> str:
    """Return why no interval is advised, and the way on."""
    at, load = choice.nearest, ensemble.middle("load")
    if choice.chance[ensemble.extrapolated].max(initial=0.0) >= SURE:
        need = float(ensemble.middle("num_input_rows_max")[ensemble.extrapolated].min())
        return (
            f"intervals that might do bring batches of {need:,.0f} rows and more, and the largest tried has "
            f"{ensemble.rows_largest:,}; a larger budget= reaches further."
        )
    if not (load[~ensemble.extrapolated] < 1).any():
        low, high = ensemble.intervals[[0, -1]] / NS
        text = f"the work does not fit into any interval from {format_s(low)} to {format_s(high)}"
        slope = float(model(model.rows_probed[1])) / model.rows_probed[1] * arrivals.rate
        if slope >= 1:
            text += f"; {arrivals.rate:,.0f} rows a second need {slope:.1f} seconds of work a second"
        return f"{text} ({model.explain()[:-1]}). A faster function, fewer rows or more workers are needed."
    p95, named = format_s(ensemble.middle("latency_p95_s")[at]), format_s(ensemble.intervals[at] / NS)
    return (
        f"the nearest, {named}, keeps the limits with {choice.chance[at]:.0%} probability (p95 {p95}, "
        f"load {load[at]:.2f}); loosen a limit or give a larger budget=."
    )


def doubts(
    ensemble: Ensemble, target: Target, at: int, model: CostModel, pipeline: Pipeline, *, effects: bool
) -> list[str]:
    """Return what speaks against trusting the prediction at one interval."""
    high = ensemble.band("load")[1][at]
    found = [] if model.declared else _pauses(model, target)
    if (
        high > LITTLE and not model.declared
    ):  # work of a twentieth of an interval may be off by a lot, and nobody would feel it
        found += [*_fit(model), *_machine(model)]
    if high >= 1:
        found.append(f"The cliff is near: load may reach {high:.2f}.")
    if model.grows:
        found.append(_growth(ensemble, at, model))
    dry = [s.target for s in pipeline.sinks if s.effects]
    if dry and not effects:
        found.append(f"{dry[0]} stayed dry while trying, so its time is not in the figures; effects=True includes it.")
    return found


def _pauses(model: CostModel, target: Target) -> list[str]:
    tried, seen = model.pauses.tried, model.pauses.count
    p95, p99 = "latency_p95_s" in target.limits, "latency_p99_s" in target.limits
    if seen == 0:
        if p99 and tried < CLEAN_P99:
            return [f"No pause seen in {tried} probes: p99 is not promised."]
        if p95 and tried < CLEAN_P95:
            return [f"No pause seen in {tried} probes: p95 is not promised."]
        return []
    if (p95 or p99) and seen < FEW_PAUSES:
        mean = format_s(float(model.pauses.seconds.mean()))
        return [f"{seen} of {tried} probes paused for {mean}: too few to know how often, and the tail hangs on it."]
    return []


def _fit(model: CostModel) -> list[str]:
    found = []
    error = model.scores.get(model.form, float("nan"))
    if error > 0.15:
        found.append(
            f"The law misses sizes it was not tried at by {error:.0%}: the cost is not smooth in the batch's rows."
        )
    if model.spread > 0.12:
        found.append(f"Batches of one size differ by {model.spread:.0%} from each other.")
    if len(model.probes) < 8:
        found.append(f"Only {len(model.probes)} batches could be tried; a larger budget= tells more.")
    return found


def _machine(model: CostModel) -> list[str]:
    found = []
    if model.contention > 1.3:
        found.append(f"The machine was busy with something else: batches took {model.contention:.1f}× their CPU time.")
    elif model.before.wake_sd_s > LATE_S:
        late = format_s(model.before.wake_s + model.before.wake_sd_s)
        found.append(f"The machine was busy with something else: timers woke up to {late} late.")
    elif model.unsteadiness > 0.1:
        found.append(f"The machine's speed changed by {model.unsteadiness:.0%} while trying.")
    rested = model.probes.idle_s.to_numpy() > 0
    if 4 <= rested.sum() <= len(rested) - 4:
        rows, seen, took = (model.probes[c].to_numpy(np.float64) for c in ("num_input_rows", "seen_rows", "seconds"))
        ratio = took / np.maximum(model.work_s(rows, seen), 1e-9)
        cold = float(np.median(ratio[rested]) / np.median(ratio[~rested]))
        if abs(cold - 1) > 0.15:
            found.append(f"After a rest a batch takes {cold:.2f}× as long as right after another.")
    return found


def _growth(ensemble: Ensemble, at: int, model: CostModel) -> str:
    """Return until when the work fits, where each batch costs more than the one before: (T − S(n)) / (growth·λ)."""
    interval = ensemble.intervals[at] / NS
    rows, rate = float(ensemble.middle("num_input_rows_mean")[at]), float(ensemble.middle("throughput")[at])
    left = interval - float(model(rows))
    until = left / max(model.growth_s * rate, 1e-12)
    return (
        f"A batch costs more the longer it runs: at {format_s(interval)} the work fits for another {format_s(until)}."
    )


def limit_of_load(ensemble: Ensemble, target: Target, at: int, widen: float = 1.0) -> str:
    """Return what the limit of load costs in latency at the interval chosen, empty where it costs none."""
    if "load" not in target.limits or target.objective not in ("fastest", "latency"):
        return ""
    free, latency = choose(ensemble, target.at_any_load, widen).index, ensemble.middle(target.quantile)
    if free is None or latency[free] * (1 + SAME) >= latency[at]:
        return ""
    return (
        f"Without the limit of load it would be {format_s(ensemble.intervals[free] / NS)}, {NAMES[target.quantile]} "
        f"{format_s(latency[free])} at load {ensemble.middle('load')[free]:.2f}."
    )


def notes_on(model: CostModel, target: Target, arrivals: ArrivalTimes, ensemble: Ensemble, choice: Choice) -> list[str]:
    """Return what is good to know and no reason for doubt."""
    found = []
    tried, seen = model.pauses.tried, model.pauses.count
    for name, enough, certain in (("p99", CLEAN_P99, CERTAIN_P99), ("p95", CLEAN_P95, CERTAIN_P95)):
        if not model.declared and seen == 0 and f"latency_{name}_s" in target.limits and enough <= tried < certain:
            found.append(
                f"No pause was seen in {tried} batches; up to {3 / tried:.0%} could pause without having shown, "
                f"and {name} would feel it."
            )
            break
    if choice.index is not None and ensemble.intervals[choice.index] > arrivals.horizon_ns / 3:
        found.append("A longer interval might do too, but takes more of the source to judge by; duration= gives more.")
    if not arrivals.whole:
        found.append(f"Judged by the first {format_s(arrivals.horizon_ns / NS)} of the source.")
    if ensemble.extrapolated.any():
        first = ensemble.intervals[ensemble.extrapolated][0] / NS
        found.append(
            f"From {format_s(first)} on batches would be larger than any tried; those intervals were left out."
        )
    if len(model.warm_s) > 1 and model.warm_s[0] > 2 * model.warm_s[-1]:
        found.append(
            f"The first call took {model.warm_s[0] / model.warm_s[-1]:.1f}× a warm one; a run's first batches will too."
        )
    return found

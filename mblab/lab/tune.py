"""How a lab finds its interval: by trying several, by predicting all, and by moving it while it runs.

control -> [tune] -> tuning -> sweep, law, advice, autopilot
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mblab.engine.pipeline import Pipeline
from mblab.errors import SettingError
from mblab.lab.control import Control, RunRequest
from mblab.runs.run import Run
from mblab.sources.live.base import Live
from mblab.timing.durations import Duration, duration_ns, interval_ns, seconds

if TYPE_CHECKING:
    from mblab.engine.cost import Cost
    from mblab.tuning.advice import Advice
    from mblab.tuning.autopilot import Autopilot
    from mblab.tuning.cost import CostModel
    from mblab.tuning.ensemble import Price
    from mblab.tuning.intervals import Intervals
    from mblab.tuning.sweep import Sweep
    from mblab.tuning.target import Objective, Target
    from mblab.tuning.track_record import TrackRecord
    from mblab.tuning.tuner import Tuner
    from mblab.tuning.verification import Verification

__all__ = ["MIN_BUDGET_NS", "Trying", "Wanted", "autopilot", "calibrate", "sweep", "tune"]

MIN_BUDGET_NS = 50_000_000
FEWEST_BATCHES = 8  # with rows, from which a law can be read


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an interval must keep, as it was asked for.

    Attributes:
        p95: Latency that 95 % of the rows must keep, or None.
        p99: Latency that 99 % of the rows must keep, or None.
        load: Largest share of an interval that its batch may take, or None.
        objective: What to look for among the intervals that keep them, or None.
    """

    p95: Duration | None
    p99: Duration | None
    load: float | None
    objective: Objective | None

    def target(self) -> Target:
        """Return it checked and completed."""
        from mblab.tuning.target import Target

        return Target.of(self.p95, self.p99, self.load, self.objective)


@dataclass(frozen=True, slots=True)
class Trying:
    """How batches are tried.

    Attributes:
        budget: How long, in real time.
        intervals: Pair of durations whose batch sizes are tried; None finds one that fits.
        duration: How much of the source to look at, on the run's clock; None: a minute.
        effects: Whether sinks take part.
    """

    budget: Duration
    intervals: Intervals | None = None
    duration: Duration | None = None
    effects: bool = False


def sweep(control: Control, intervals: Intervals, request: RunRequest) -> Sweep:
    """Run the pipeline once at each interval, and compare."""
    from mblab.tuning.intervals import check_intervals
    from mblab.tuning.sweep import run_sweep

    control.refuse_inside("sweep")
    chosen = check_intervals(intervals)
    if request.length_ns is None and control.source.endless:
        raise SettingError(f"{control.source.name} never ends by itself, so sweep() needs a duration, such as '20s'.")

    def once(interval: int) -> Run:
        driver, run = control.prepare(_at(interval, pipeline), request)
        driver.run()
        return run

    with control.beginning:
        control.stop()
        pipeline = control.pipeline
        return run_sweep(chosen, once, str(request.clock))


def calibrate(control: Control, trying: Trying) -> CostModel:
    """Try batches of many sizes, and return the law of what they cost."""
    from mblab.tuning.intervals import check_span

    span = check_span(trying.intervals)
    with _tuner(control, trying, "calibrate") as tuner:
        tuner.calibrate(span)
        return tuner.law()


def tune(
    control: Control,
    wanted: Wanted,
    trying: Trying,
    cost: Cost | float | None,
    price: Price | None,
    ledger: TrackRecord,
) -> Advice:
    """Try batches unless their cost is declared, predict every interval, and say which one, and why."""
    from mblab.tuning.arrival_times import arrival_times_of_run
    from mblab.tuning.cost import CostModel
    from mblab.tuning.decision import Search, find_by_batches, pilot_span
    from mblab.tuning.ensemble import check_price
    from mblab.tuning.intervals import check_span
    from mblab.tuning.tuner import READ_SHARE, declared_law, find, known_arrivals

    control.refuse_inside("tune")
    target, span, priced = wanted.target(), check_span(trying.intervals), check_price(price)
    pipeline, effects, widen = control.pipeline, trying.effects, ledger.widen
    if isinstance(control.source, Live):
        run, took = _learnt_from(control, "tune"), 0.0
        search = Search(target, arrival_times_of_run(run), pipeline, True, widen, priced)
        found = find_by_batches(CostModel.of(run.batches), search, span)
    elif cost is not None:
        arrivals, took = known_arrivals(pipeline, trying.duration, READ_SHARE * _budget_s(trying)), 0.0
        law = declared_law(cost, arrivals, pilot_span(target, span))
        found = find_by_batches(law, Search(target, arrivals, pipeline, True, widen, priced), span)
    else:
        with _tuner(control, trying, "tune") as tuner:
            found = find(tuner, Search(target, tuner.arrivals, pipeline, effects, widen, priced), span)
            took = tuner.elapsed_s
    return found.advice(
        target,
        widen=widen,
        now_s=seconds(control.settings.interval_ns),
        took_s=took,
        do_apply=lambda interval: control.change({"interval": interval}),
        do_verify=lambda advice, length: _verify(
            control, advice, pipeline, RunRequest(length, effects=effects), ledger
        ),
    )


def autopilot(
    control: Control, wanted: Wanted, trying: Trying, cost: Cost | float | None, model: CostModel | None
) -> Autopilot:
    """Return an autopilot that moves the interval of the runs that begin from now on, in place of an earlier one."""
    from mblab.tuning.arrival_times import arrival_times_of
    from mblab.tuning.autopilot import Autopilot
    from mblab.tuning.cost import CostModel
    from mblab.tuning.decision import HORIZON_NS, pilot_span
    from mblab.tuning.intervals import check_span
    from mblab.tuning.tuner import declared_law

    control.refuse_inside("autotune")
    target = wanted.target()
    span = pilot_span(target, check_span(trying.intervals))
    if model is None and cost is not None:
        model = declared_law(cost, arrival_times_of(control.source, HORIZON_NS, speedup=control.settings.speedup), span)
    elif model is None and isinstance(control.source, Live):
        model = CostModel.of(_learnt_from(control, "autotune").batches)
    elif model is None:
        model = calibrate(control, replace(trying, intervals=(seconds(span.low_ns), seconds(span.high_ns))))
    me = weakref.ref(control)  # the run's thread holds the pilot, and must not hold the lab

    def move(interval_ns: int, at_ns: int) -> None:
        if (lab := me()) is not None:
            lab.move_interval(interval_ns, at_ns)

    pilot = Autopilot(model, target, span.low_ns, span.high_ns, move)
    control.steer_by(pilot)
    return pilot


def _at(interval: int, pipeline: Pipeline) -> Pipeline:
    """Return a recipe at an interval in ns."""
    return replace(pipeline, settings=replace(pipeline.settings, interval_ns=interval))


def _learnt_from(control: Control, verb: str) -> Run:
    """Return the newest run, of a live source, whose rows cannot be had to try batches with."""
    run = control.last_run
    if run is None or (run.batches.num_input_rows > 0).sum() < FEWEST_BATCHES:
        raise SettingError(
            f"{control.source.name} is live, so batches cannot be tried beforehand; run it for a while first, and "
            f"{verb}() learns from that run."
        )
    return run


def _verify(
    control: Control, advice: Advice, pipeline: Pipeline, request: RunRequest, ledger: TrackRecord
) -> Verification:
    """Run a recipe at the interval that was advised, and hold what came against what was predicted."""
    from mblab.tuning.arrival_times import arrival_times_of, arrival_times_of_run
    from mblab.tuning.verification import verified

    control.refuse_inside("verify")
    assert advice.interval is not None
    assert request.length_ns is not None
    chosen, live = interval_ns(advice.interval), isinstance(pipeline.source, Live)
    arrivals = None if live else arrival_times_of(pipeline.source, request.length_ns, speedup=pipeline.settings.speedup)
    with control.beginning:
        control.stop()
        driver, run = control.prepare(_at(chosen, pipeline), request)
        control.turn(driver)
    arrivals = arrivals or arrival_times_of_run(run)  # of a live source it is known afterwards
    found = verified(run, advice.model, advice.target, arrivals, chosen, pipeline.settings, ledger.widen)
    ledger.add(found.checked)
    return found


def _budget_s(trying: Trying) -> float:
    return seconds(duration_ns(trying.budget, "budget", minimum_ns=MIN_BUDGET_NS))


def _tuner(control: Control, trying: Trying, label: str) -> Tuner:
    """Return what tries batches, from a copy of the live run's state if one is on."""
    from mblab.tuning.tuner import Tuner

    driver = control.active
    return Tuner(
        control.pipeline,
        budget_s=_budget_s(trying),
        label=label,
        duration=trying.duration,
        states=None if driver is None else driver.engine.states.copy(),
        seen_rows=0 if driver is None else driver.engine.feed.taken,
        effects=trying.effects,
    )

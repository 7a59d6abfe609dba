"""The part of a lab that finds its interval: by trying several, by predicting all, and by moving it while it runs.

workbench, tuning -> [intervals] -> handle
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mblab.engine.engine import Engine
from mblab.engine.pipeline import Pipeline
from mblab.errors import SettingError
from mblab.lab.workbench import Workbench
from mblab.runs.run import Run
from mblab.sources.live.base import Live
from mblab.timing.clock import Clock
from mblab.timing.durations import Duration, duration_ns, interval_ns, seconds

if TYPE_CHECKING:
    from mblab.tuning.advice import Advice
    from mblab.tuning.autopilot import Autopilot
    from mblab.tuning.cost import CostModel
    from mblab.tuning.ledger import Ledger
    from mblab.tuning.sweep import Sweep
    from mblab.tuning.tuner import Tuner
    from mblab.tuning.verification import Verification

__all__ = ["Intervals"]

MIN_BUDGET_NS = 50_000_000
FEWEST_BATCHES = 8  # with rows, from which a law can be read


class Intervals(Workbench):
    """The part of a lab that finds its interval."""

    _ledger: Ledger | None = None
    _pilot: Autopilot | None = None

    def sweep(
        self,
        intervals: Any,
        duration: Duration | None = None,
        *,
        clock: str = "wall",
        cost: Any = None,
        effects: bool = False,
    ) -> Sweep:
        """Run the pipeline once at each interval, and compare.

        Args:
            intervals: List of durations.
            duration: Of each run, on the run's clock; None runs each until the source is drained.
            clock: `wall`, or `virtual`.
            cost: Declared cost, as for `run`.
            effects: Whether sinks take part; otherwise results stay in memory.
        """
        from mblab.tuning.sweep import check_intervals, run_sweep

        chosen = check_intervals(intervals)
        length = None if duration is None else duration_ns(duration, "duration", minimum_ns=1)
        if length is None and self._source.endless:
            raise SettingError(f"{self._source.name} never ends by itself, so sweep() needs a duration, such as '20s'.")
        self._stop_active()
        pipeline = self.pipeline

        def once(interval: int) -> Run:
            recipe = replace(pipeline, settings=replace(pipeline.settings, interval_ns=interval))
            driver, run = self._prepare(recipe, length, clock, cost, None, effects=effects)
            driver.run()
            return run

        return run_sweep(chosen, once, clock)

    def calibrate(
        self, budget: Duration = "5s", *, intervals: Any = None, duration: Duration | None = None, effects: bool = False
    ) -> CostModel:
        """Try batches of many sizes for a few seconds, on real rows, and return the law of what they cost.

        Rows come from the beginning of the source; the state is a copy of the live run's, else a throw-away one that
        grows as in a run. Nothing is delivered and nothing remembered.

        Args:
            budget: How long to try, in real time.
            intervals: Pair of durations: the range whose batch sizes are tried; None finds one that fits.
            duration: How much of the source to look at, on the run's clock; None: a minute.
            effects: Whether sinks take part, with all they do outside this process.

        Raises:
            BatchError: A step failed on the rows it was tried on.
        """
        from mblab.tuning.question import check_span

        span = check_span(intervals)
        with self._tuner(budget, "calibrate", duration, effects) as tuner:
            tuner.calibrate(span)
            return tuner.law()

    def tune(
        self,
        *,
        p95: Duration | None = None,
        p99: Duration | None = None,
        load: float | None = None,
        objective: str | None = None,
        budget: Duration = "5s",
        intervals: Any = None,
        duration: Duration | None = None,
        effects: bool = False,
        price: Any = None,
    ) -> Advice:
        """Find the interval: try batches for a few seconds, predict every interval, and say which one, and why.

        Args:
            p95: Latency that 95 % of the rows must keep.
            p99: Latency that 99 % of the rows must keep.
            load: Largest share of an interval that its batch may take; None: 0.7 for the fastest, else 0.8.
            objective: fastest, cheapest, latency or knee; None: the cheapest that keeps the latencies asked for, and
                without any the fastest.
            budget: How long to try at most, in real time; nothing is tried when the source is live: then the newest
                run's batches and arrivals tell.
            intervals: Pair of durations, the range to look in; None finds it.
            duration: How much of the source to judge by, on the run's clock; None: a minute.
            effects: Whether sinks take part, with all they do outside this process.
            price: What a batch costs, a number or a function of its rows; None counts CPU seconds.

        Raises:
            BatchError: A step failed on the rows it was tried on.
            SettingError: An argument breaks its rule.
        """
        from mblab.tuning.advice import Target
        from mblab.tuning.bundle import check_price
        from mblab.tuning.cost import CostModel
        from mblab.tuning.question import Question, check_span, find_by_batches
        from mblab.tuning.trace import trace_of_run
        from mblab.tuning.tuner import find

        target, span, priced = Target.of(p95, p99, load, objective), check_span(intervals), check_price(price)
        pipeline, widen = self.pipeline, self.ledger.widen
        if isinstance(self._source, Live):
            run, took = self._learnt_from("tune"), 0.0
            question = Question(target, trace_of_run(run), pipeline, True, widen, priced)
            found = find_by_batches(CostModel.of(run.batches), question, span)
        else:
            with self._tuner(budget, "tune", duration, effects) as tuner:
                found = find(tuner, Question(target, tuner.trace, pipeline, effects, widen, priced), span)
                took = tuner.elapsed_s
        return found.advice(
            target,
            widen=widen,
            now_s=self.interval,
            took_s=took,
            do_apply=lambda interval: self.change(interval=interval),
            do_verify=lambda advice, length: self._verify(advice, pipeline, length, effects=effects),
        )

    def autotune(
        self,
        duration: Duration | None = None,
        *,
        p95: Duration | None = None,
        p99: Duration | None = None,
        load: float | None = None,
        objective: str | None = None,
        budget: Duration = "2s",
        intervals: Any = None,
        clock: str | Clock = "wall",
        cost: Any = None,
        model: CostModel | None = None,
    ) -> Run:
        """Start a run whose interval moves by itself: as arrivals or the cost of a batch change, to where the law says.

        It behaves as `start` does. Every move is in `run.controls`, and with its reason in `run.decisions`.

        Args:
            duration: How long, on the run's clock; None ends when the source is drained.
            p95: Latency that 95 % of the rows must keep; p99, load and objective as for `tune`.
            p99: Latency that 99 % of the rows must keep.
            load: Largest share of an interval that its batch may take.
            objective: fastest, cheapest, latency or knee.
            budget: How long to try batches beforehand, in real time; nothing is tried when the cost is known, or when
                the source is live: then the newest run's batches tell.
            intervals: Pair of durations: the range it may move in.
            clock: `wall` or `virtual`.
            cost: Declared cost, as for `run` (virtual clock only).
            model: A law from `calibrate`, to begin with.

        Raises:
            SettingError: An argument breaks its rule.
        """
        from mblab.tuning.advice import Target
        from mblab.tuning.autopilot import Autopilot
        from mblab.tuning.cost import CostModel
        from mblab.tuning.question import HORIZON_NS, check_span, pilot_span
        from mblab.tuning.trace import trace_of
        from mblab.tuning.tuner import declared_law

        target = Target.of(p95, p99, load, objective)
        span = pilot_span(target, check_span(intervals))
        if model is None and cost is None and isinstance(self._source, Live):
            model = CostModel.of(self._learnt_from("autotune").batches)
        elif model is None and cost is None:
            model = self.calibrate(budget, intervals=(seconds(span.low_ns), seconds(span.high_ns)))
        elif model is None:
            model = declared_law(cost, trace_of(self._source, HORIZON_NS, speedup=self._settings.speedup), span)
        pilot = Autopilot(model, target, span.low_ns, span.high_ns, self._move)
        if self._pilot is not None:
            self._listeners.unwatch(self._pilot)
        self._pilot = pilot
        self._listeners.watch(pilot)
        run = self.start(duration, clock=clock, cost=cost)
        run.follow(pilot)
        return run

    def _learnt_from(self, verb: str) -> Run:
        """Return the newest run, of a live source, whose rows cannot be had to try batches with."""
        run = self.last_run
        if run is None or (run.batches.num_input_rows > 0).sum() < FEWEST_BATCHES:
            raise SettingError(
                f"{self._source.name} is live, so batches cannot be tried beforehand; run it for a while first, and "
                f"{verb}() learns from that run."
            )
        return run

    def _move(self, engine: Engine, to_ns: int, at_ns: int) -> None:
        """Set the interval at a time of a run's clock: what the autopilot does, in the thread that turns the engine."""
        with self._lock:
            self._settings = replace(self._settings, interval_ns=to_ns)
            engine.request({"interval_ns": to_ns}, at_ns)
            engine.pipeline = self.pipeline

    def _verify(self, advice: Advice, pipeline: Pipeline, duration: Duration, *, effects: bool) -> Verification:
        from mblab.tuning.trace import trace_of, trace_of_run
        from mblab.tuning.verification import verified

        assert advice.interval is not None
        chosen, length = interval_ns(advice.interval), duration_ns(duration, minimum_ns=1)
        live = isinstance(pipeline.source, Live)
        trace = None if live else trace_of(pipeline.source, length, speedup=pipeline.settings.speedup)
        self._stop_active()
        recipe = replace(pipeline, settings=replace(pipeline.settings, interval_ns=chosen))
        driver, run = self._prepare(recipe, length, "wall", None, None, effects=effects)
        self._turn(driver)
        trace = trace or trace_of_run(run)  # of a live source it is known afterwards
        found = verified(run, advice.model, advice.target, trace, chosen, pipeline.settings, self.ledger.widen)
        self.ledger.add(found.checked)
        return found

    @property
    def ledger(self) -> Ledger:
        """What verified advice predicted and what came, by which later bands are widened or narrowed.

        `lab.ledger.keep("tuning.jsonl")` keeps it in a file, over sessions.
        """
        if self._ledger is None:
            from mblab.tuning.ledger import Ledger

            self._ledger = Ledger()
        return self._ledger

    def _tuner(self, budget: Duration, label: str, duration: Duration | None, effects: bool) -> Tuner:
        from mblab.tuning.tuner import Tuner

        driver, states, seen = self._driver, None, 0
        if driver is not None and not driver.ended:
            states, seen = driver.engine.states.copy(), driver.engine.feed.taken
        return Tuner(
            self.pipeline,
            budget_s=seconds(duration_ns(budget, "budget", minimum_ns=MIN_BUDGET_NS)),
            label=label,
            duration=duration,
            states=states,
            seen_rows=seen,
            effects=effects,
        )

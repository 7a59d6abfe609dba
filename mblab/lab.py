"""The user's handle: put a pipeline together, run it, move its knobs, look at it.

source, steps, sinks, settings -> pipeline -> engine + clock + driver -> run
                                    [lab] holds them all
"""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

import numpy as np
import pandas as pd

from mblab import host, overrides
from mblab.checks.questions import Questions
from mblab.clock import Clock, VirtualClock, WallClock
from mblab.drivers import Driver
from mblab.durations import NS, Duration, duration_ns, format_s, interval_ns, seconds
from mblab.engine import Engine, check_cost
from mblab.errors import SettingError, SettingTypeError, did_you_mean, shown
from mblab.facts import LiveFacts
from mblab.knobs import checked_change, checked_controls, clock_of, settings_after, whole_number
from mblab.listeners import Listeners
from mblab.metrics import RunLog
from mblab.pipeline import OnError, Pipeline, Settings
from mblab.progress import Progress
from mblab.run import Run, read_run
from mblab.schedule import Policy, check_cap, check_policy
from mblab.sinks.base import Sink
from mblab.sinks.memory import MemorySink
from mblab.sources.base import Source
from mblab.sources.live import Live, refuse_speedup
from mblab.steps import Chain, Kind, Step, make_step, names_of

if TYPE_CHECKING:
    from mblab.tuning.advice import Advice
    from mblab.tuning.autopilot import Autopilot
    from mblab.tuning.cost import CostModel
    from mblab.tuning.ledger import Ledger
    from mblab.tuning.sweep import Sweep
    from mblab.tuning.tuner import Tuner
    from mblab.tuning.verification import Verification
    from mblab.tuning.whatif import Curve

__all__ = ["Description", "Lab", "known_labs", "load_run"]

F = TypeVar("F", bound=Callable[..., Any])
RUNS_KEPT = 20
MIN_BUDGET_NS = 50_000_000

_labs: weakref.WeakValueDictionary[str, Lab] = weakref.WeakValueDictionary()


def known_labs() -> list[Lab]:
    """Return the labs of this process, the newest of each name."""
    return list(_labs.values())


class Description(str):
    """Text that shows itself as it reads."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Lab(Questions):
    """A micro-batch pipeline under your hands.

    Args:
        source: Where rows come from: `mblab.replay(…)`, `mblab.simulate(…)`.
        interval: Time between two triggers: a string with a unit, a `timedelta`, or seconds; at least 1 ms.
        policy: What a batch that overruns its interval does to the next: `asap`, `skip` or `queue`.
        max_rows_per_batch: Cap on a batch's rows (oldest first, the rest waits), or None. Not with `queue`.
        name: What the lab is known by: a new lab of the same name stops the old one's run.
        on_error: What a failing step does: `halt` keeps the batch, and `resume()` runs it again.
        run_empty: Whether steps are called for a batch with no rows.
        batches_limit: How many of the newest batches `run.batches` keeps.
        output_limit: How many of the newest rows `run.output` keeps.
        history: How many of the newest batches `rerun` can run again (and at most a million rows of them).
        ui: False makes `start()` behave as in a notebook run without a person; None asks `MBLAB_UI` and the kernel.

    Raises:
        SettingError: A knob breaks its rule; the message says which, and the way on.
    """

    display_hook: ClassVar[Callable[[Lab], Any] | None] = None

    def __init__(
        self,
        source: Source,
        *,
        interval: Duration = "1s",
        policy: Policy = "asap",
        max_rows_per_batch: int | None = None,
        name: str = "lab",
        on_error: OnError = "halt",
        run_empty: bool = False,
        batches_limit: int = 100_000,
        output_limit: int = 1_000_000,
        history: int = 200,
        ui: bool | None = None,
    ) -> None:
        if not isinstance(source, Source):
            data = isinstance(source, pd.DataFrame | str | os.PathLike)
            hint = "; wrap the data: mblab.replay(data, arrival=…)" if data else ""
            raise SettingTypeError(f"source must be a source of rows, got {shown(source, 40)}{hint}.")
        self._source = source
        self._settings = Settings(interval_ns(interval), policy, max_rows_per_batch, name, on_error, run_empty)
        self._batches_limit = whole_number(batches_limit, "batches_limit")
        self._output_limit = whole_number(output_limit, "output_limit")
        if ui is not None and not isinstance(ui, bool):
            raise SettingTypeError(f"ui must be True, False or None, got {shown(ui)}.")
        self._history = whole_number(history, "history")
        self._ui = ui
        self._ledger: Ledger | None = None
        self._pilot: Autopilot | None = None
        self._listeners = Listeners()
        self._sinks: tuple[Sink, ...] = ()
        self._runs: deque[Run] = deque(maxlen=RUNS_KEPT)
        self._driver: Driver | None = None
        self._let_go: weakref.finalize[..., Any] | None = None
        self._lock = threading.RLock()
        me = weakref.ref(self)
        self._chain = Chain(lambda: lab._changed() if (lab := me()) else None)
        old = _labs.get(name)
        if old is not None and old._stop_active():
            host.say(f"mblab: stopped the run of the earlier lab {name!r}.")
        _labs[name] = self

    # -- the pipeline -----------------------------------------------------------------------------------------------

    @overload
    def batch(self, fn: F) -> F: ...
    @overload
    def batch(
        self, fn: None = None, *, key: str | list[str] | None = None, name: str | None = None
    ) -> Callable[[F], F]: ...
    def batch(self, fn: F | None = None, *, key: Any = None, name: str | None = None) -> Any:
        """Add a step that is called once a batch: f(batch), f(batch, state) or f(batch, state, ctx).

        With `key=` it is called once per key and batch, in order of first appearance, with a state of its own per key.
        Defining it again replaces it at the next batch and keeps its state. Returns the function unchanged.
        """
        return self._define(fn, "batch", key, name)

    @overload
    def map(self, fn: F) -> F: ...
    @overload
    def map(self, fn: None = None, *, name: str | None = None) -> Callable[[F], F]: ...
    def map(self, fn: F | None = None, *, name: str | None = None) -> Any:
        """Add a step whose rows are independent of each other: f(batch) or f(batch, ctx); it keeps no state."""
        return self._define(fn, "map", None, name)

    def _define(self, fn: Any, kind: Kind, key: Any, name: str | None) -> Any:
        if fn is None:
            return lambda function: self._define(function, kind, key, name)
        self._chain.add(make_step(fn, kind, key=key, name=name))
        return fn

    def to(self, sink: Sink) -> None:
        """Deliver the last step's rows to a sink, from the next batch on; one with the same target is replaced."""
        if not isinstance(sink, Sink):
            hint = "; wrap the function: mblab.sinks.call(fn)" if callable(sink) else ""
            if isinstance(sink, str | os.PathLike):
                hint = "; name the format: mblab.sinks.parquet(path) or mblab.sinks.csv(path)"
            raise SettingTypeError(f"lab.to needs a sink, got {shown(sink, 40)}{hint}.")
        self._sinks = (*(s for s in self._sinks if s.target != sink.target), sink)
        self._changed()

    def on_batch(self, fn: F) -> F:
        """Call `fn(last_progress)`, the batch's row of `run.batches` as a dict, after each batch of this lab's runs.

        It is called in the run's own thread before the next batch, so it should be quick, and it may move the lab's
        knobs. One that raises is logged (logger `mblab`), and the run goes on. A function of the same name replaces
        the earlier one; `lab.remove(name)` takes it out. Returns the function unchanged.
        """
        self._listeners.add(fn)
        return fn

    def remove(self, name: str) -> None:
        """Take a step or an `on_batch` function (by name) or a sink (by target) out, from the next batch on."""
        if self._chain.remove(name) or self._listeners.remove(name):
            return
        if any(s.target == name for s in self._sinks):
            self._sinks = tuple(s for s in self._sinks if s.target != name)
            self._changed()
            return
        known = [s.name for s in self.steps] + [s.target for s in self._sinks]
        raise SettingError(f"remove({shown(name)}): no such step or sink; there are {known}{did_you_mean(name, known)}")

    @property
    def source(self) -> Source:
        """Where rows come from."""
        return self._source

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, in the order in which they are called."""
        return self._chain.steps

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Where the last step's rows go."""
        return self._sinks

    @property
    def name(self) -> str:
        """What the lab is known by."""
        return self._settings.name

    @property
    def pipeline(self) -> Pipeline:
        """The recipe as it stands: what a run, the export and the tuner take."""
        steps = self._chain.steps
        return Pipeline(self._source, steps, self._sinks, self._settings, 1 + self._chain.swaps)

    def _changed(self) -> None:
        driver = self._driver
        if driver is not None and not driver.ended:
            driver.adopt(self.pipeline)

    # -- the knobs --------------------------------------------------------------------------------------------------

    @property
    def interval(self) -> float:
        """Time between two triggers, in seconds; set it while a run is on and the grid goes on from its last point."""
        return seconds(self._settings.interval_ns)

    @interval.setter
    def interval(self, value: Duration) -> None:
        self.change(interval=value)

    @property
    def policy(self) -> Policy:
        """What an overrun does: asap, skip or queue."""
        return self._settings.policy

    @policy.setter
    def policy(self, value: Policy) -> None:
        self.change(policy=value)

    @property
    def max_rows_per_batch(self) -> int | None:
        """Cap on a batch's rows, or None."""
        return self._settings.max_rows_per_batch

    @max_rows_per_batch.setter
    def max_rows_per_batch(self, value: int | None) -> None:
        self.change(max_rows_per_batch=value)

    @property
    def speedup(self) -> float:
        """Source seconds that pass in one second of a run."""
        return self._settings.speedup or self._source.speedup

    @speedup.setter
    def speedup(self, value: float) -> None:
        self.change(speedup=value)

    def change(self, **knobs: Any) -> None:
        """Move several knobs at the same moment: interval, policy, max_rows_per_batch, speedup.

        Raises:
            SettingError: A value breaks its rule; nothing is changed then.
        """
        if "speedup" in knobs:
            refuse_speedup(self._source)
        with self._lock:
            change = checked_change(knobs, self._settings)
            self._settings = settings_after(self._settings, change)
            driver = self._driver
            if driver is not None and not driver.ended:
                driver.request(change)
                driver.adopt(self.pipeline)

    # -- runs -------------------------------------------------------------------------------------------------------

    def run(
        self,
        duration: Duration | None = None,
        *,
        clock: str | Clock = "wall",
        cost: Any = None,
        controls: Mapping[Any, Mapping[str, Any]] | None = None,
    ) -> Run:
        """Run from the beginning, and return when it is over.

        Args:
            duration: How long, on the run's clock; None ends when the source is drained.
            clock: `wall`, or `virtual`: the function really runs, its measured time moves the clock, idle time is
                skipped.
            cost: Seconds that n rows cost, a number or a function of n; replaces the measured time (virtual clock
                only).
            controls: Time → knobs to move then, such as `{"20s": {"interval": "500ms"}}`.

        Raises:
            BatchError: A step failed; the batch stays planned, `lab.last_run` holds the partial run, and after mending
                the function `lab.resume()` goes on with it.
            SettingError: An argument breaks its rule.
            KeyboardInterrupt: Ctrl-C; the batch in hand was finished, `lab.last_run` holds the run.
        """
        driver, run = self._begin(duration, clock, cost, controls, blocking=True)
        self._turn(driver)
        return run

    def start(
        self,
        duration: Duration | None = None,
        *,
        clock: str | Clock = "wall",
        cost: Any = None,
        controls: Mapping[Any, Mapping[str, Any]] | None = None,
    ) -> Run:
        """Run from the beginning in the background, and return at once; arguments as `run`.

        In a notebook that is run without a person (papermill) it is `run`: nobody could press a button there.
        """
        if self.headless:
            return self.run(duration, clock=clock, cost=cost, controls=controls)
        driver, run = self._begin(duration, clock, cost, controls, blocking=False)
        driver.start()
        return run

    def _begin(self, duration: Any, clock: Any, cost: Any, controls: Any, *, blocking: bool) -> tuple[Driver, Run]:
        duration, clock, cost, effects = overrides.begin(self, duration, clock, cost)
        length = None if duration is None else duration_ns(duration, "duration", minimum_ns=1)
        if length is None and self._source.endless and blocking:
            raise SettingError(
                f"{self._source.name} never ends by itself, so run() needs a duration, such as lab.run('30s')."
            )
        if self._stop_active():
            host.say(f"mblab: stopped the run of {self.name!r} that was on.")
        driver, run = self._prepare(
            self.pipeline, length, clock, cost, controls, effects=effects, listeners=self._listeners
        )
        if self._let_go is not None:
            self._let_go.detach()  # else every driver there ever was would live as long as the lab
        self._let_go = weakref.finalize(self, driver.stop, wait=False)
        self._driver = driver
        self._runs.append(run)
        return driver, run

    def _prepare(
        self,
        pipeline: Pipeline,
        length: int | None,
        clock: Any,
        cost: Any,
        controls: Any,
        *,
        effects: bool = True,
        listeners: Listeners | None = None,
    ) -> tuple[Driver, Run]:
        """Return what turns a pipeline, and the run to look at it by; nothing moves yet."""
        the_clock = clock_of(clock)
        declared = check_cost(getattr(cost, "sampler", lambda: cost)())  # a law draws scatter and pauses for each run
        if declared is not None and clock == "wall":
            raise SettingError(
                "cost= declares what a batch costs, which only a virtual clock can follow; add clock='virtual'."
            )
        log, output = RunLog(self._batches_limit), MemorySink(self._output_limit)
        engine = Engine(
            pipeline,
            the_clock,
            run_id=secrets.token_hex(6),
            note=log.note,
            output=output,
            duration_ns=length,
            cost=declared,
            controls=checked_controls(controls, pipeline.settings),
            effects=effects,
            history=0 if listeners is None else self._history,
        )
        engine.open()
        driver = Driver(engine, the_clock, listeners, log.last)
        return driver, Run(LiveFacts(self.name, engine, driver, log, output), what_if, diagnosed)

    def _turn(self, driver: Driver) -> None:
        """Turn a driver in this thread, with a bar."""
        engine = driver.engine
        length = engine.duration_ns
        total, unit = (None, "rows") if length is None else (length / NS, "s")
        with Progress(
            self.name, total, unit, lambda: engine.feed.taken if length is None else engine.last_end_ns / NS
        ) as progress:
            driver.run(progress.tick)

    def _stop_active(self) -> bool:
        driver = self._driver
        if driver is None or driver.ended:
            return False
        driver.stop()
        return True

    def _active(self, verb: str) -> Driver:
        if self._driver is None or self._driver.ended:
            raise SettingError(f"{verb}() needs a run that is on; begin one with lab.start() or lab.run().")
        return self._driver

    def pause(self) -> None:
        """Freeze the run's clock after the batch in hand."""
        self._active("pause").pause()

    def resume(self) -> Run:
        """End a pause or a halt: a batch that failed is run again, with the steps as they are now.

        A run that blocked its caller does so again, until it is over or halts once more.
        """
        driver = self._active("resume")
        driver.adopt(self.pipeline)
        driver.resume()
        return self._runs[-1]

    def step(self, n: int = 1) -> pd.DataFrame:
        """Run the next n batches at once, freeze the clock again, and return their rows of `run.batches`.

        Without a run that is on it begins a paused one.
        """
        count = whole_number(n, "n")
        driver = self._driver
        if driver is None or driver.ended:
            driver, _ = self._begin(None, "wall", None, None, blocking=False)
        driver.adopt(self.pipeline)
        records = driver.step(count)
        batches = self._runs[-1].batches
        return batches[batches.batch_id.isin([r.batch_id for r in records])].reset_index(drop=True)

    def stop(self) -> None:
        """End the run after the batch in hand; without one that is on it does nothing."""
        self._stop_active()

    def reset(self) -> None:
        """Stop, and forget: runs, their state and their output. Steps, sinks and settings stay."""
        self._stop_active()
        self._driver = None
        self._runs.clear()

    @property
    def last_run(self) -> Run | None:
        """The newest run, or None."""
        return self._runs[-1] if self._runs else None

    @property
    def runs(self) -> list[Run]:
        """The newest 20 runs, oldest first."""
        return list(self._runs)

    @property
    def headless(self) -> bool:
        """Whether nobody can press a button: told so by `ui=` or `MBLAB_UI`, or a kernel without stdin (papermill)."""
        return host.headless(self._ui)

    # -- looking ----------------------------------------------------------------------------------------------------

    def try_batch(self, n: int = 100) -> pd.DataFrame:
        """Return what the steps make of the first n rows, as one batch, from an empty state; nothing else happens."""
        rows = whole_number(n, "n")
        pipeline = replace(self.pipeline, sinks=())
        clock = WallClock() if isinstance(self._source, Live) else VirtualClock()
        engine = Engine(pipeline, clock, run_id="0" * 12, note=lambda _: None, output=MemorySink(1))
        try:
            return engine.trial(rows)
        finally:
            engine.feed.close()

    def describe(self) -> Description:
        """Return the lab in words: source, steps, sinks with what they guarantee, settings."""
        s = self._settings
        cap = "no cap" if s.max_rows_per_batch is None else f"at most {s.max_rows_per_batch:,} rows a batch"
        speed = "" if self.speedup == 1 else f", speed-up {self.speedup:g}"
        lines = [f"lab {s.name!r}: every {format_s(self.interval)}, policy {s.policy}, {cap}{speed}"]
        lines.append(f"  source  {self._source.describe()}")
        for step in self.steps:
            key = f" by {', '.join(step.key)}" if step.key else ""
            lines.append(f"  step    {step.name} ({step.kind}{key}, version {step.version})")
        lines += [f"  sink    {sink.describe()}" for sink in self._sinks]
        if not self._sinks:
            lines.append("  sink    memory: run.output")
        if self.last_run is not None:
            lines.append(f"  run     {self.last_run!r}")
        return Description("\n".join(lines))

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
        from mblab.tuning.tuner import check_span

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
            budget: How long to try, in real time.
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
        from mblab.tuning.tuner import check_span, find

        target, span, priced = Target.of(p95, p99, load, objective), check_span(intervals), check_price(price)
        pipeline = self.pipeline
        with self._tuner(budget, "tune", duration, effects) as tuner:
            found = find(tuner, target, span, pipeline=pipeline, effects=effects, widen=self.ledger.widen, price=priced)
            took = tuner.elapsed_s
        return found.advice(
            target,
            widen=self.ledger.widen,
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
        from mblab.tuning.trace import trace_of
        from mblab.tuning.tuner import HORIZON_NS, check_span, declared_law, pilot_span

        target = Target.of(p95, p99, load, objective)
        span = pilot_span(target, check_span(intervals))
        if model is None and cost is None and isinstance(self._source, Live):
            model = self._law_of_last_run()
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

    def _law_of_last_run(self) -> CostModel:
        """Return what the newest run's batches cost: a live source has no rows to try batches with."""
        from mblab.tuning.cost import CostModel

        run = self.last_run
        batches = None if run is None else run.batches
        if batches is None or (batches.num_input_rows > 0).sum() < 8:
            raise SettingError(
                f"{self._source.name} is live, so batches cannot be tried beforehand; run it for a while first, and "
                "autotune() learns from that run, or give it a model=."
            )
        return CostModel.of(batches)

    def _move(self, engine: Engine, to_ns: int, at_ns: int) -> None:
        """Set the interval at a time of a run's clock: what the autopilot does, in the thread that turns the engine."""
        with self._lock:
            self._settings = replace(self._settings, interval_ns=to_ns)
            engine.request({"interval_ns": to_ns}, at_ns)
            engine.pipeline = self.pipeline

    def _verify(self, advice: Advice, pipeline: Pipeline, duration: Duration, *, effects: bool) -> Verification:
        from mblab.tuning.trace import trace_of
        from mblab.tuning.verification import verified

        assert advice.interval is not None
        chosen, length = interval_ns(advice.interval), duration_ns(duration, minimum_ns=1)
        trace = trace_of(pipeline.source, length, speedup=pipeline.settings.speedup)
        self._stop_active()
        recipe = replace(pipeline, settings=replace(pipeline.settings, interval_ns=chosen))
        driver, run = self._prepare(recipe, length, "wall", None, None, effects=effects)
        self._turn(driver)
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

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the pipeline as a script that runs without the notebook; returns its path.

        Raises:
            ExportError: A name the steps read cannot be carried along; the message says which, and where.
        """
        from mblab.export import write_script

        return write_script(self.pipeline, Path(path))

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        steps = names_of(self.steps)
        return f"Lab({self.name!r}: {self._source.name} → {steps}, every {format_s(self.interval)}, {self.policy})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if Lab.display_hook is not None:
            return Lab.display_hook(self)
        if self.last_run is None or self.last_run.last_progress is None:
            return {"text/plain": str(self.describe())}
        return self.last_run._repr_mimebundle_(include, exclude)


def what_if(run: Run, interval: Any, *, policy: str | None, max_rows_per_batch: int | None) -> Curve:
    """Return the curve of a run's own arrivals and costs: what `run.what_if` calls."""
    from mblab.tuning.sweep import check_intervals
    from mblab.tuning.whatif import CostTable, curve_of

    batches, summary = run.batches, run.summary()
    rule = check_policy(policy or (batches.policy.iloc[-1] if len(batches) else "asap"))
    arrivals = np.rint(run.records.arrival_s.to_numpy() * NS).astype(np.int64)
    since = int(arrivals[0]) if len(arrivals) < summary["rows"] else 0  # of a long run only the newest records are kept
    horizon = round(float(summary.duration_s) * NS)
    if summary.backlog_rows and len(arrivals):
        horizon = int(arrivals[-1]) + 1  # later rows arrived, but nobody noted when
    return curve_of(
        arrivals - since,
        check_intervals(interval if isinstance(interval, list | tuple | np.ndarray) else [interval]),
        cost=CostTable.of(batches),
        horizon_ns=horizon - since,
        policy=rule,
        max_rows_per_batch=check_cap(max_rows_per_batch, rule),
    )


def diagnosed(run: Run) -> Description:
    """Return why a run falls behind, or not: what `run.diagnose` calls."""
    from mblab.tuning.diagnosis import diagnosis

    return Description(diagnosis(run))


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Return a run that `run.save` wrote.

    Raises:
        SettingError: The folder holds no run, or one that cannot be read.
    """
    return read_run(folder, what_if, diagnosed)

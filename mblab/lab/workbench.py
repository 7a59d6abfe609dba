"""The part of a lab that puts a pipeline together, moves its knobs and runs it.

source, steps, sinks, settings -> pipeline -> engine + clock + driver -> run
                                    [workbench] holds them all
"""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

import pandas as pd

from mblab.engine.driver import Driver
from mblab.engine.engine import Engine, check_cost
from mblab.engine.listeners import Listeners
from mblab.engine.pipeline import OnError, Pipeline, Settings
from mblab.engine.settings import checked_change, checked_controls, clock_of, settings_after, whole_number
from mblab.errors import SettingError, SettingTypeError, did_you_mean, shown
from mblab.lab import overrides
from mblab.lab.answers import diagnosed, what_if
from mblab.metrics import RunLog
from mblab.runs.facts import LiveFacts
from mblab.runs.run import Run
from mblab.sinks.base import Sink
from mblab.sinks.memory import MemorySink
from mblab.sources.base import Source
from mblab.sources.live.base import refuse_speedup
from mblab.steps.chain import Chain
from mblab.steps.step import Kind, Step, make_step
from mblab.support import jupyter
from mblab.support.progress import Progress
from mblab.timing.clock import Clock
from mblab.timing.durations import NS, Duration, duration_ns, interval_ns, seconds
from mblab.timing.schedule import Policy

__all__ = ["Workbench", "workbenches"]

F = TypeVar("F", bound=Callable[..., Any])
RUNS_KEPT = 20

_labs: weakref.WeakValueDictionary[str, Workbench] = weakref.WeakValueDictionary()


def workbenches() -> list[Workbench]:
    """Return the labs of this process, the newest of each name."""
    return list(_labs.values())


class Workbench:
    """A recipe at hand, its knobs, and its runs; arguments as `Lab`."""

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
            jupyter.say(f"mblab: stopped the run of the earlier lab {name!r}.")
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
    def policy(self) -> str:  # not Policy: Tab in a notebook offers nothing for an object with a Literal property
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
            jupyter.say(f"mblab: stopped the run of {self.name!r} that was on.")
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
        return jupyter.headless(self._ui)

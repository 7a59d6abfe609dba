"""What a lab holds, and the hand that moves it: the recipe put together, its knobs, its runs begun and ended.

A `Control` does the work of a `Lab` and has none of its words: what each verb means stands there.

    source, steps, sinks, settings -> [control]: pipeline -> engine + clock + driver -> run
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar

import pandas as pd

from mblab.engine import forks
from mblab.engine.cost import Cost, check_cost
from mblab.engine.driver import Driver
from mblab.engine.engine import Engine
from mblab.engine.listeners import Listeners, Watcher
from mblab.engine.paths import refuse_meeting
from mblab.engine.pipeline import Pipeline
from mblab.engine.settings import (
    CurrentSettings,
    Settings,
    change_between,
    checked_change,
    checked_controls,
    clock_of,
)
from mblab.errors import MblabError, SettingError, SettingTypeError, did_you_mean, shown
from mblab.lab.inspect import diagnose, what_if
from mblab.metrics import RunLog
from mblab.runs.live import LiveRun
from mblab.runs.run import Run
from mblab.sinks.base import Sink
from mblab.sinks.memory import MemorySink
from mblab.sources.base import Source
from mblab.sources.live.base import refuse_speedup
from mblab.steps.chain import Chain
from mblab.steps.step import Kind, make_step
from mblab.support import jupyter
from mblab.support.arguments import whole
from mblab.support.progress import Progress
from mblab.timing.clock import Clock
from mblab.timing.durations import NS, Duration, duration_ns
from mblab.timing.policies import Policy

__all__ = ["ClockName", "Control", "Controls", "Knobs", "Limits", "RunRequest", "check_source", "stop_all"]

F = TypeVar("F", bound=Callable[..., Any])
ClockName = Literal["wall", "virtual"]
Controls = Mapping[Any, Mapping[str, Duration | None]]  # time → knobs; a union of keys would refuse mixed literals
RUNS_KEPT = 20


class Knobs(TypedDict, total=False):
    """What may be moved while a run is on."""

    interval: Duration
    policy: Policy
    max_rows_per_batch: int | None
    speedup: float


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of the newest of each a run keeps.

    Attributes:
        batches: Batches in `run.batches`.
        output: Rows in `run.output`.
        history: Batches that can be run again.
    """

    batches: int
    output: int
    history: int

    def __post_init__(self) -> None:
        whole(self.batches, "batches_limit", least=1)
        whole(self.output, "output_limit", least=1)
        whole(self.history, "history", least=1)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """How a run is asked for.

    Attributes:
        duration: How long, on the run's clock; None ends when the source is drained.
        clock: wall, virtual, or a clock.
        cost: Declared cost, or None where it is measured.
        controls: Time → knobs to move then.
        effects: Whether sinks that reach outside the process take part.
    """

    duration: Duration | None = None
    clock: ClockName | Clock = "wall"
    cost: Cost | float | None = None
    controls: Controls | None = None
    effects: bool = True

    def __post_init__(self) -> None:
        _ = self.length_ns  # what cannot be is refused before anything is stopped for it
        check_cost(self.cost)

    @property
    def length_ns(self) -> int | None:
        """The duration in ns, or None."""
        return None if self.duration is None else duration_ns(self.duration, "duration", minimum_ns=1)


_controls: weakref.WeakValueDictionary[str, Control] = weakref.WeakValueDictionary()


def stop_all() -> None:
    """End every run of this process that is on."""
    for control in list(_controls.values()):
        control.stop()


def check_source(source: Source) -> Source:
    """Return a source; what could become one is named with the way to it."""
    if not isinstance(source, Source):
        data = isinstance(source, pd.DataFrame | str | os.PathLike) or hasattr(source, "__arrow_c_stream__")
        hint = "; wrap the data: mblab.replay(data, arrival=…)" if data else ""
        raise SettingTypeError(f"source must be a source of rows, got {shown(source, 40)}{hint}.")
    return source


class Control:
    """A recipe at hand, its knobs, and its runs.

    Attributes:
        source: Where rows come from.
        chain: The steps.
        sinks: Where the last step's rows go.
        listeners: Who hears of every batch.
        driver: What turns the newest run, or None.
        beginning: Held by whoever begins or forgets runs: two at once are done one after the other.
        runs: The newest runs, oldest first.
    """

    def __init__(self, source: Source, settings: Settings, limits: Limits) -> None:
        self.source = source
        self._current = CurrentSettings(settings)
        self.sinks: tuple[Sink, ...] = ()
        self.listeners = Listeners()
        self.driver: Driver | None = None
        self.runs: deque[Run] = deque(maxlen=RUNS_KEPT)
        self._limits = limits
        self._let_go: weakref.finalize[..., Any] | None = None
        self._renew()
        forks.in_child(self, Control._renew)
        me = weakref.ref(self)
        self.chain = Chain(lambda: control.hand_over() if (control := me()) else None)
        self._pilot: Watcher | None = None

    def _renew(self) -> None:
        self._lock = threading.RLock()  # of the knobs: never held while a run is waited for
        self.beginning = threading.RLock()  # of whoever begins a run, from ending the one before until this one is on

    def take_name(self) -> None:
        """Be what the name stands for from now on; the run of the one before is stopped."""
        name = self.settings.name
        before = _controls.get(name)
        if before is not None and before.stop():
            jupyter.say(f"mblab: stopped the run of the earlier lab {name!r}.")
        _controls[name] = self

    @property
    def settings(self) -> Settings:
        """The knobs as they stand; a run that is on goes by them from its next boundary on."""
        return self._current.settings

    # -- the recipe -------------------------------------------------------------------------------------------------

    @property
    def pipeline(self) -> Pipeline:
        """The recipe as it stands."""
        steps = self.chain.steps
        return Pipeline(self.source, steps, self.sinks, self.settings, 1 + self.chain.swaps)

    def hand_over(self) -> None:
        """Give a run that is on the recipe as it stands."""
        if (driver := self.active) is not None:
            driver.adopt(self.pipeline)

    def define(self, fn: F | None, kind: Kind, key: str | list[str] | None, name: str | None) -> F | Callable[[F], F]:
        """Add a step and return its function; without one return what takes it."""

        def add(function: F) -> F:
            self.chain.add(make_step(function, kind, key=key, name=name))
            return function

        return add if fn is None else add(fn)

    def deliver_to(self, sink: Sink) -> None:
        """Add a sink, in place of one with the same target."""
        if not isinstance(sink, Sink):
            hint = "; wrap the function: mblab.sinks.call(fn)" if callable(sink) else ""
            if isinstance(sink, str | os.PathLike):
                hint = "; name the format: mblab.sinks.parquet(path) or mblab.sinks.csv(path)"
            raise SettingTypeError(f"lab.to needs a sink, got {shown(sink, 40)}{hint}.")
        sinks = (*(s for s in self.sinks if s.target != sink.target), sink)
        refuse_meeting(self.source, sinks)
        self.sinks = sinks
        self.hand_over()

    def remove(self, name: str) -> None:
        """Take out a step or listener by name, or a sink by target."""
        if self.chain.remove(name) or self.listeners.remove(name):
            return
        targets = [s.target for s in self.sinks]
        if name in targets:
            self.sinks = tuple(s for s in self.sinks if s.target != name)
            self.hand_over()
            return
        known = [s.name for s in self.chain.steps] + targets
        raise SettingError(f"remove({shown(name)}): no such step or sink; there are {known}{did_you_mean(name, known)}")

    # -- the knobs --------------------------------------------------------------------------------------------------

    def change(self, knobs: Knobs) -> None:
        """Move several knobs at the same moment."""
        if "speedup" in knobs:
            refuse_speedup(self.source)
        with self._lock:
            change, driver = checked_change(knobs), self.active
            if driver is not None:
                driver.change(change)
            else:
                self._current.move(change)

    def move_interval(self, to_ns: int, at_ns: int) -> None:
        """Set the interval at a time of a run's clock: what the autopilot does, in the thread that turns the engine."""
        assert self.driver is not None
        self.driver.change({"interval_ns": to_ns}, at_ns)

    def steer_by(self, pilot: Watcher) -> None:
        """Let an autopilot hear of every batch, in place of the one before it."""
        if self._pilot is not None:
            self.listeners.unwatch(self._pilot)
        self._pilot = pilot
        self.listeners.watch(pilot)

    # -- runs -------------------------------------------------------------------------------------------------------

    @property
    def active(self) -> Driver | None:
        """What turns the run that is on, or None."""
        driver = self.driver  # read once: another thread may end the run meanwhile
        return None if driver is None or driver.ended else driver

    @property
    def last_run(self) -> Run | None:
        """The newest run, or None."""
        return self.runs[-1] if self.runs else None

    def run(self, request: RunRequest) -> Run:
        """Run from the beginning, in this thread."""
        if request.length_ns is None and self.source.endless:
            raise SettingError(
                f"{self.source.name} never ends by itself, so run() needs a duration, such as lab.run('30s')."
            )
        self.refuse_inside("run")
        driver, run = self._begin(request)
        try:
            self.turn(driver)
        except KeyboardInterrupt:
            driver.stop()  # Ctrl-C may have come before it could be taken as an order
            raise
        return run

    def start(self, request: RunRequest) -> Run:
        """Run from the beginning, in a thread of its own."""
        self.refuse_inside("start")
        with self.beginning:
            driver, run = self._begin(request)
            driver.start()
        return run

    def refuse_inside(self, verb: str) -> None:
        """Refuse a verb that would wait for the very run that it is called in."""
        if (driver := self.active) is not None:
            driver.refuse_inside(verb)

    def _begin(self, request: RunRequest) -> tuple[Driver, Run]:
        """Make a run the lab's newest, and return it with what will turn it; one that is on is stopped."""
        with self.beginning:
            if self.stop():
                jupyter.say(f"mblab: stopped the run of {self.settings.name!r} that was on.")
            pipeline = self.pipeline
            driver, run = self.prepare(pipeline, request, self.listeners)
            if self._let_go is not None:
                self._let_go.detach()  # else every driver there ever was would live as long as the lab
            self._let_go = weakref.finalize(self, driver.stop, wait=False)
            try:
                self._take_on(driver, run, pipeline)
            except BaseException:
                driver.stop()
                raise
            return driver, run

    def _take_on(self, driver: Driver, run: Run, begun_with: Pipeline) -> None:
        """Let a run hear from here on of what is moved; what was moved while its source was opened it is told now."""
        with self._lock:
            if moved := change_between(begun_with.settings, self.settings):
                driver.change(moved)
            driver.adopt(self.pipeline)
            self.driver = driver
            self.runs.append(run)

    def prepare(
        self, pipeline: Pipeline, request: RunRequest, listeners: Listeners | None = None
    ) -> tuple[Driver, Run]:
        """Return what turns a pipeline, and the run to look at it by; nothing moves yet.

        Args:
            pipeline: The recipe.
            request: How long, on which clock.
            listeners: Who hears of every batch; a run without them is not the lab's own: the lab's knobs do not move
                it, and it remembers no batch.
        """
        cost = check_cost(_drawn(request.cost))
        clock = clock_of(request.clock, measures=cost is None)
        if cost is not None and request.clock == "wall":
            raise SettingError(
                "cost= declares what a batch costs, which only a virtual clock can follow; add clock='virtual'."
            )
        log, output = RunLog(self._limits.batches), MemorySink(self._limits.output)
        engine = Engine(
            pipeline,
            clock,
            run_id=secrets.token_hex(6),
            note=log.note,
            note_alike=log.note_alike,
            output=output,
            current=None if listeners is None else self._current,
            duration_ns=request.length_ns,
            cost=cost,
            controls=checked_controls(request.controls, pipeline.settings),
            effects=request.effects,
            history=0 if listeners is None else self._limits.history,
        )
        try:
            engine.open()
        except BaseException:
            with contextlib.suppress(MblabError):
                engine.close()
            raise
        driver = Driver(engine, clock, listeners, log.last)
        return driver, Run(LiveRun(self.settings.name, engine, driver, log, output), what_if, diagnose)

    def turn(self, driver: Driver) -> None:
        """Turn a driver in this thread, with a bar."""
        engine = driver.engine
        length = engine.duration_ns
        total, unit = (None, "rows") if length is None else (length / NS, "s")
        with Progress(
            self.settings.name, total, unit, lambda: engine.feed.taken if length is None else engine.last_end_ns / NS
        ) as progress:
            driver.run(progress.tick)

    def _needed(self, verb: str) -> Driver:
        """Return what turns the run that is on; a verb needs one."""
        driver = self.active
        if driver is None:
            raise SettingError(f"{verb}() needs a run that is on; begin one with lab.start() or lab.run().")
        return driver

    def pause(self) -> None:
        """Freeze the run's clock after the batch in hand."""
        self._needed("pause").pause()

    def resume(self) -> Run:
        """End a pause or a halt, with the recipe as it stands."""
        driver = self._needed("resume")
        driver.adopt(self.pipeline)
        driver.resume()
        return self.runs[-1]

    def step(self, count: int, request: Callable[[], RunRequest]) -> pd.DataFrame:
        """Run the next batches, and return their rows of `run.batches`; without a run that is on, one is begun so."""
        self.refuse_inside("step")
        with self.beginning:
            driver, run = self.active, self.last_run
            if driver is None or run is None:
                driver, run = self._begin(request())
        driver.adopt(self.pipeline)
        records = driver.step(count)
        batches = run.batches
        return batches[batches.batch_id.isin([r.batch_id for r in records])].reset_index(drop=True)

    def stop(self) -> bool:
        """End the run that is on, and return whether there was one."""
        driver = self.active
        if driver is None:
            return False
        driver.stop()
        return True

    def reset(self) -> None:
        """Stop, and forget the runs."""
        self.refuse_inside("reset")
        with self.beginning:
            self.stop()
            self.driver = None
            self.runs.clear()


def _drawn(cost: Cost | float | None) -> Cost | float | None:
    """Return a declared cost; of a law its draws, so that scatter and pauses come anew in each run."""
    sampler: Callable[[], Cost] | None = getattr(cost, "sampler", None)
    return cost if sampler is None else sampler()

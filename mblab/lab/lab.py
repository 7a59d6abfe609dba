"""The user's handle on a pipeline: all that can be done with it, in the words of its user.

Every method says what it means here and leaves the doing to the rooms beside it.

    control, tune, inspect -> [lab] -> a notebook, a script, the terminal
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Unpack, overload

import pandas as pd

from mblab.engine.pipeline import Pipeline
from mblab.engine.settings import KNOBS, OnError, Settings
from mblab.errors import SettingError, did_you_mean
from mblab.lab import inspect, tune
from mblab.lab.control import ClockName, Control, Controls, Knobs, Limits, RunRequest, check_source
from mblab.lab.inspect import Description
from mblab.lab.tune import Trying, Wanted
from mblab.runs.run import Run, read_run
from mblab.sinks.base import Sink
from mblab.sources.base import Source
from mblab.steps.chain import names_of
from mblab.steps.step import Step
from mblab.support import jupyter
from mblab.support.arguments import flag, whole
from mblab.timing.clock import Clock
from mblab.timing.durations import Duration, format_s, interval_ns, seconds
from mblab.timing.policies import Policy

if TYPE_CHECKING:
    from mblab.checks.inspection import Inspection
    from mblab.checks.recut import CutCheck
    from mblab.checks.rerun import Rerun
    from mblab.checks.shadow import Shadow
    from mblab.engine.cost import Cost
    from mblab.tuning.advice import Advice
    from mblab.tuning.cost import CostModel
    from mblab.tuning.ensemble import Price
    from mblab.tuning.intervals import Intervals
    from mblab.tuning.spectrum import Spectrum
    from mblab.tuning.sweep import Sweep
    from mblab.tuning.target import Objective
    from mblab.tuning.track_record import TrackRecord

__all__ = ["Lab", "known_labs", "load_run"]

F = TypeVar("F", bound=Callable[..., Any])

_labs: weakref.WeakValueDictionary[str, Lab] = weakref.WeakValueDictionary()


def known_labs() -> list[Lab]:
    """Return the labs of this process, the newest of each name."""
    return list(_labs.values())


class Lab:
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

    _display_hook: ClassVar[Callable[[Lab], dict[str, Any]] | None] = None
    _request_hook: ClassVar[Callable[[Lab, RunRequest], RunRequest] | None] = None

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
        self._control = Control(
            check_source(source),
            Settings(interval_ns(interval), policy, max_rows_per_batch, name, on_error, run_empty),
            Limits(batches_limit, output_limit, history),
        )
        self._ui = None if ui is None else flag(ui, "ui")
        self._ledger: TrackRecord | None = None
        self._control.take_name()
        _labs[name] = self

    # -- the pipeline -----------------------------------------------------------------------------------------------

    @overload
    def batch(self, fn: F) -> F: ...
    @overload
    def batch(
        self, fn: None = None, *, key: str | list[str] | None = None, name: str | None = None
    ) -> Callable[[F], F]: ...
    def batch(
        self, fn: F | None = None, *, key: str | list[str] | None = None, name: str | None = None
    ) -> F | Callable[[F], F]:
        """Add a step that is called once a batch: f(batch), f(batch, state) or f(batch, state, ctx).

        With `key=` it is called once per key and batch, in order of first appearance, with a state of its own per key.
        Defining it again replaces it at the next batch and keeps its state. Returns the function unchanged.
        """
        return self._control.define(fn, "batch", key, name)

    @overload
    def map(self, fn: F) -> F: ...
    @overload
    def map(self, fn: None = None, *, name: str | None = None) -> Callable[[F], F]: ...
    def map(self, fn: F | None = None, *, name: str | None = None) -> F | Callable[[F], F]:
        """Add a step whose rows are independent of each other: f(batch) or f(batch, ctx); it keeps no state."""
        return self._control.define(fn, "map", None, name)

    def to(self, sink: Sink) -> None:
        """Deliver the last step's rows to a sink, from the next batch on; one with the same target is replaced."""
        self._control.deliver_to(sink)

    def on_batch(self, fn: F) -> F:
        """Call `fn(last_progress)`, the batch's row of `run.batches` as a dict, after each batch of this lab's runs.

        It is called in the run's own thread before the next batch, so it should be quick, and it may move the lab's
        knobs, `stop()` and `pause()`, as a step may; what would wait for the run, such as `start()` or `run.wait()`, is
        a `SettingError` there. One that raises is logged (logger `mblab`), and the run goes on. A function of the same
        name replaces the earlier one; `lab.remove(name)` takes it out. Returns the function unchanged.
        """
        self._control.listeners.add(fn)
        return fn

    def remove(self, name: str) -> None:
        """Take a step or an `on_batch` function (by name) or a sink (by target) out, from the next batch on."""
        self._control.remove(name)

    @property
    def source(self) -> Source:
        """Where rows come from."""
        return self._control.source

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps, in the order in which they are called."""
        return self._control.chain.steps

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Where the last step's rows go."""
        return self._control.sinks

    @property
    def name(self) -> str:
        """What the lab is known by."""
        return self._control.settings.name

    @property
    def pipeline(self) -> Pipeline:
        """The recipe as it stands: what a run, the export and the tuner take."""
        return self._control.pipeline

    # -- the knobs --------------------------------------------------------------------------------------------------

    @property
    def interval(self) -> float:
        """Time between two triggers, in seconds; set it while a run is on and the grid goes on from its last point."""
        return seconds(self._control.settings.interval_ns)

    @interval.setter
    def interval(self, value: Duration) -> None:
        self.change(interval=value)

    @property
    def policy(self) -> str:  # not Policy: Tab in a notebook offers nothing for an object with a Literal property
        """What an overrun does: asap, skip or queue."""
        return self._control.settings.policy

    @policy.setter
    def policy(self, value: Policy) -> None:
        self.change(policy=value)

    @property
    def max_rows_per_batch(self) -> int | None:
        """Cap on a batch's rows, or None."""
        return self._control.settings.max_rows_per_batch

    @max_rows_per_batch.setter
    def max_rows_per_batch(self, value: int | None) -> None:
        self.change(max_rows_per_batch=value)

    @property
    def speedup(self) -> float:
        """Source seconds that pass in one second of a run."""
        return self._control.settings.speedup or self.source.speedup

    @speedup.setter
    def speedup(self, value: float) -> None:
        self.change(speedup=value)

    def change(self, **knobs: Unpack[Knobs]) -> None:
        """Move several knobs at the same moment: interval, policy, max_rows_per_batch, speedup.

        Raises:
            SettingError: A value breaks its rule; nothing is changed then.
        """
        self._control.change(knobs)

    # -- runs -------------------------------------------------------------------------------------------------------

    def run(
        self,
        duration: Duration | None = None,
        *,
        clock: ClockName | Clock = "wall",
        cost: Cost | float | None = None,
        controls: Controls | None = None,
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
        return self._control.run(self._request(duration, clock, cost, controls))

    def start(
        self,
        duration: Duration | None = None,
        *,
        clock: ClockName | Clock = "wall",
        cost: Cost | float | None = None,
        controls: Controls | None = None,
    ) -> Run:
        """Run from the beginning in the background, and return at once; arguments as `run`.

        In a notebook that is run without a person (papermill) it is `run`: nobody could press a button there.
        """
        begin = self._control.run if self.headless else self._control.start
        return begin(self._request(duration, clock, cost, controls))

    def _request(
        self,
        duration: Duration | None = None,
        clock: ClockName | Clock = "wall",
        cost: Cost | float | None = None,
        controls: Controls | None = None,
    ) -> RunRequest:
        """Return how a run is asked for, after whoever overrides that."""
        request = RunRequest(duration, clock, cost, controls)
        return request if Lab._request_hook is None else Lab._request_hook(self, request)

    def pause(self) -> None:
        """Freeze the run's clock after the batch in hand, and return then; a `step(n)` ends there too."""
        self._control.pause()

    def resume(self) -> Run:
        """End a pause or a halt: a batch that failed is run again, with the steps as they are now.

        A run that blocked its caller does so again, until it is over or halts once more.
        """
        return self._control.resume()

    def step(self, n: int = 1) -> pd.DataFrame:
        """Run the next n batches at once, freeze the clock again, and return their rows of `run.batches`.

        Without a run that is on it begins a paused one.

        Raises:
            BatchError: A step failed, as in `run`.
            KeyboardInterrupt: Ctrl-C; the batch in hand was finished, and the run stands paused.
        """
        return self._control.step(whole(n, "n", least=1), self._request)

    def stop(self) -> None:
        """End the run after the batch in hand; without one that is on it does nothing."""
        self._control.stop()

    def reset(self) -> None:
        """Stop, and forget: runs, their state and their output. Steps, sinks and settings stay."""
        self._control.reset()

    @property
    def last_run(self) -> Run | None:
        """The newest run, or None."""
        return self._control.last_run

    @property
    def runs(self) -> list[Run]:
        """The newest 20 runs, oldest first."""
        return list(self._control.runs)

    @property
    def headless(self) -> bool:
        """Whether nobody can press a button: told so by `ui=` or `MBLAB_UI`, or a kernel without stdin (papermill)."""
        return jupyter.headless(self._ui)

    # -- a look at the steps ----------------------------------------------------------------------------------------

    def try_batch(self, n: int = 100) -> pd.DataFrame:
        """Return what the steps make of the first n rows, as one batch, from an empty state; nothing else happens."""
        return inspect.try_batch(self.pipeline, n)

    def inspect(self, k: int | None = None) -> Inspection:
        """Return batch k of the newest run opened: rows in, rows out, what each step remembered before, its error.

        Without k the newest batch, which is the one that halted the run if one did. It shows itself in a notebook. The
        newest 200 batches are kept (`history=`).

        Raises:
            HistoryGone: Batch k is no longer kept.
            SettingError: There was no such batch, or it was empty.
        """
        return inspect.inspect(self._control.driver, self.last_run, k)

    def rerun(self, k: int) -> Rerun:
        """Run batch k of the newest run again, with today's steps and the state it had; return both and their diff.

        Nothing is delivered and no state changes. The batch that halted a run can be tried like this before
        `resume()`. The newest 200 batches are kept (`history=`).

        Raises:
            HistoryGone: Batch k is no longer kept.
            SettingError: There was no such batch, or it was empty.
        """
        return inspect.rerun(self.pipeline, self._control.driver, k)

    def check(self, rows: int = 5_000) -> CutCheck:
        """Return whether the result depends on where the batches are cut, in words and as a table.

        The source's first rows (of a live source: those of the newest run) are put through the steps in several cuts,
        from an empty state; nothing is delivered or remembered, but effects of the functions' own do happen. A result
        may pass in one of four ways: the same rows (row-wise functions), the same running result at every row where two
        cuts both end a batch (functions with state), numbers that add up (a count a batch), or, without output, the
        same state.

        Args:
            rows: How many rows to record at most; of these at most the first 64 batches are used.

        Raises:
            BatchError: A step fails on these rows however they are cut.
        """
        return inspect.check(self.pipeline, self._control.driver, rows)

    def shadow(self, fn: Callable[..., Any], *, beside: str | None = None) -> Shadow:
        """Run a new version of a step beside the old one on the same batches, before switching; return the handle.

        `.report()` says how its output differs and what it costs, `.stop()` ends it, `.adopt()` switches. It has a
        state of its own, which begins as a copy of the run's; the run's output, state and sinks never see it, and later
        runs of this lab are shadowed too until it is stopped.

        Args:
            fn: The new version, called as the old one is (same kind, same key).
            beside: Name of the step; None takes the function's namesake, or the only step.

        Raises:
            SettingError: It is not clear which step is meant.
        """
        control, me = self._control, weakref.ref(self._control)  # the shadow must not keep the lab

        def recipe() -> Pipeline | None:
            return None if (control := me()) is None else control.pipeline

        return inspect.shadow(control.chain, recipe, control.listeners, fn, beside)

    def spectrum(self, rows: int = 20_000, *, budget: Duration = "3s") -> Spectrum:
        """Measure batches of every size, from row at a time to one batch of all rows; return cost and latency of each.

        The source's first rows (of a live source: those of the newest run) are used, from an empty state; nothing is
        delivered or remembered.

        Args:
            rows: How many rows to record at most; the largest batch holds them all.
            budget: How long to measure, in real time.

        Raises:
            BatchError: A step fails on one of the sizes.
        """
        return inspect.spectrum(self.pipeline, self._control.driver, rows, budget)

    # -- the interval -----------------------------------------------------------------------------------------------

    def sweep(
        self,
        intervals: Intervals,
        duration: Duration | None = None,
        *,
        clock: ClockName | Clock = "wall",
        cost: Cost | float | None = None,
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
        return tune.sweep(self._control, intervals, RunRequest(duration, clock, cost, effects=effects))

    def calibrate(
        self,
        budget: Duration = "5s",
        *,
        intervals: Intervals | None = None,
        duration: Duration | None = None,
        effects: bool = False,
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
        return tune.calibrate(self._control, Trying(budget, intervals, duration, effects))

    def tune(
        self,
        *,
        p95: Duration | None = None,
        p99: Duration | None = None,
        load: float | None = None,
        objective: Objective | None = None,
        budget: Duration = "5s",
        intervals: Intervals | None = None,
        duration: Duration | None = None,
        effects: bool = False,
        cost: Cost | float | None = None,
        price: Price | None = None,
    ) -> Advice:
        """Find the interval: try batches for a few seconds, predict every interval, and say which one, and why.

        Args:
            p95: Latency that 95 % of the rows must keep.
            p99: Latency that 99 % of the rows must keep.
            load: Largest share of an interval that its batch may take; None: 0.7 for the fastest, no limit for
                latency, else 0.8.
            objective: fastest (the lowest latency; of those within 5 % of it the lowest load), latency (the same
                without a limit of load), cheapest or knee; None: the cheapest that keeps the latencies asked for, and
                without any the fastest. The latency is p95, or p99 where only that is asked for.
            budget: How long to try at most, in real time; nothing is tried when the source is live: then the newest
                run's batches and arrivals tell.
            intervals: Pair of durations, the range to look in; None finds it.
            duration: How much of the source to judge by, on the run's clock; None: a minute.
            effects: Whether sinks take part, with all they do outside this process.
            cost: A declared cost, seconds or a function of a batch's rows, as for `run`: then nothing is tried.
            price: What a batch costs, a number or a function of its rows; None counts CPU seconds.

        Raises:
            BatchError: A step failed on the rows it was tried on.
            SettingError: An argument breaks its rule.
        """
        wanted, trying = Wanted(p95, p99, load, objective), Trying(budget, intervals, duration, effects)
        return tune.tune(self._control, wanted, trying, cost, price, self.ledger)

    def autotune(
        self,
        duration: Duration | None = None,
        *,
        p95: Duration | None = None,
        p99: Duration | None = None,
        load: float | None = None,
        objective: Objective | None = None,
        budget: Duration = "2s",
        intervals: Intervals | None = None,
        clock: ClockName | Clock = "wall",
        cost: Cost | float | None = None,
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
        wanted = Wanted(p95, p99, load, objective)
        pilot = tune.autopilot(self._control, wanted, Trying(budget, intervals), cost, model)
        run = self.start(duration, clock=clock, cost=cost)
        run.follow(pilot)
        return run

    @property
    def ledger(self) -> TrackRecord:
        """What verified advice predicted and what came, by which later bands are widened or narrowed.

        `lab.ledger.keep("tuning.jsonl")` keeps it in a file, over sessions.
        """
        if self._ledger is None:
            from mblab.tuning.track_record import TrackRecord

            self._ledger = TrackRecord()
        return self._ledger

    # -- in words, and as a script ----------------------------------------------------------------------------------

    def describe(self) -> Description:
        """Return the lab in words: source, steps, sinks with what they guarantee, settings."""
        return inspect.describe(self.pipeline, self.last_run)

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

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise SettingError(f"{name!r} is no knob of a lab; there are {[*KNOBS]}{did_you_mean(name, KNOBS)}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        steps = names_of(self.steps)
        return f"Lab({self.name!r}: {self.source.name} → {steps}, every {format_s(self.interval)}, {self.policy})"

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]:
        if Lab._display_hook is not None:
            return Lab._display_hook(self)
        if self.last_run is None or self.last_run.last_progress is None:
            return {"text/plain": str(self.describe())}
        bundle: dict[str, Any] = self.last_run._repr_mimebundle_(include, exclude)
        return bundle


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Return a run that `run.save` wrote.

    Raises:
        SettingError: The folder holds no run, or one that cannot be read.
    """
    return read_run(folder, inspect.what_if, inspect.diagnose)

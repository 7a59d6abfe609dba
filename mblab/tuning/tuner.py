"""From seconds of probing to a law and a decision: which sizes to try, and for which intervals.

probe, trace -> cost -> [tuner] -> lab
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd

from mblab.durations import NS, Duration, duration_ns, format_s, interval_ns, seconds
from mblab.engine import check_cost
from mblab.errors import SettingError, SettingTypeError, shown
from mblab.pipeline import Pipeline, Settings
from mblab.progress import Progress
from mblab.state import StateStore
from mblab.tuning.advice import Advice, Choice, Target, choose
from mblab.tuning.bundle import LANES, Bundle, Price
from mblab.tuning.cost import HOST_SD, Before, CostModel
from mblab.tuning.judge import doubts, notes_on, refusal, verdict_of
from mblab.tuning.lanes import run_lanes
from mblab.tuning.probe import Prober, ladder, rows_wanted, wake_lateness_s
from mblab.tuning.trace import Trace, trace_of
from mblab.tuning.whatif import Curve

__all__ = ["Finding", "Span", "Tuner", "check_span", "declared_law", "find", "pilot_span"]

HORIZON_NS = 60 * NS
LOWEST_NS = 1_000_000
LONGEST_NS = 600 * NS
SCOUT_S = (0.02, 0.1, 0.5, 2.0)  # what arrives in this long is tried first, to see which intervals are worth a look
GRID, FINER, STEP = 40, 9, 1.12  # intervals looked at, those added around the choice, and how far around it
ROUGH, ROUGH_NS = 8, 20 * NS  # lanes of a first look, and how far it looks
MANY_BATCHES = 500  # tell what headroom there is …
MOST_BATCHES = 3_000  # … and what an interval comes to; of the shortest intervals less of the arrivals is looked at
SETTLED_PROBES, SETTLED_SD, SETTLED_SHARE = 24, 0.01, 0.4  # the share, for a machine's speed changes over seconds
MOST_LOAD = 16.0
SCOUT_SHARE, WARM_SHARE, READ_SHARE = 0.12, 0.2, 0.1  # of the budget


@dataclass(frozen=True, slots=True)
class Span:
    """The intervals worth a look, in ns."""

    low_ns: int
    high_ns: int

    def grid(self, count: int) -> list[int]:
        """Return intervals of equal ratio, to three digits, each once."""
        points = np.geomspace(self.low_ns / NS, self.high_ns / NS, count)
        return sorted({max(LOWEST_NS, interval_ns(float(f"{p:.3g}"))) for p in points})


def check_span(intervals: object) -> Span | None:
    """Return the range that a pair or list of durations covers; None stays None.

    Raises:
        SettingError: Not at least two durations.
    """
    if intervals is None:
        return None
    if isinstance(intervals, str) or not hasattr(intervals, "__iter__"):
        raise SettingTypeError(f"intervals must be a pair of durations such as ('50ms', '5s'), got {shown(intervals)}.")
    chosen = sorted({interval_ns(i, "intervals") for i in intervals})
    if len(chosen) < 2:
        raise SettingError(f"intervals must span a range, from a shortest to a longest, got {shown(intervals)}.")
    return Span(chosen[0], chosen[-1])


class Tuner:
    """One calibration: probes and the law they give; a context manager.

    Args:
        pipeline: The recipe.
        budget_s: Seconds of probing, reading the source included.
        label: What the bar says.
        duration: How much of the source to judge by, on the run's clock; None: all of it, at most a minute.
        states: State of a live run to begin with; None begins with an empty one.
        seen_rows: Rows that state has seen.
        trace: Arrivals where they are known already.
        effects: Whether sinks that reach outside the process take part.
        host_sd: Relative spread of the machine's speed.
        seed: Of everything random.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        budget_s: float,
        label: str = "calibrate",
        duration: Duration | None = None,
        states: StateStore | None = None,
        seen_rows: int = 0,
        trace: Trace | None = None,
        effects: bool = False,
        host_sd: float = HOST_SD,
        seed: int = 0,
    ) -> None:
        self._begun = time.perf_counter()
        self.budget_s, self._host_sd = budget_s, host_sd
        self._progress = Progress(label, budget_s, "s", lambda: self.elapsed_s)
        self.trace = trace or _known(pipeline, duration, READ_SHARE * budget_s)
        if len(self.trace.arrival_ns) < 2:
            raise SettingError(
                f"{pipeline.source.name} brings {len(self.trace.arrival_ns)} rows in "
                f"{format_s(seconds(self.trace.horizon_ns))}, which is too few to tune by; "
                "give it a longer duration or a source with more rows."
            )
        self.prober = Prober(pipeline, states=states, seen_rows=seen_rows, effects=effects, seed=seed)
        self._late_s = 0.0, 0.0
        self._settled, self._look_at = False, SETTLED_PROBES  # the next look is at so many probes

    def __enter__(self) -> Tuner:
        self._progress.__enter__()
        self.prober.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.prober.__exit__(kind, error, trace)
        self._progress.__exit__(kind, error, trace)

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._begun

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget_s - self.elapsed_s

    def law(self) -> CostModel:
        """Return what the probes so far say."""
        prober = self.prober
        return CostModel.fit(
            prober.frame(),
            before=Before(*self._late_s, prober.turn_s, prober.read_s),
            host_sd=self._host_sd,
            truncated=prober.truncated,
            warm_s=tuple(prober.warm_s),
        )

    def settled(self) -> bool:
        """Return whether more probes would hardly change the law: many, none of which paused, and all of one mind."""
        prober = self.prober
        if prober.count >= self._look_at and self.elapsed_s >= SETTLED_SHARE * self.budget_s:
            self._look_at = prober.count + prober.count // 4
            law = self.law()
            sure = (law.doubt(np.array(prober.reached, np.float64)) < SETTLED_SD).all()
            self._settled = bool(sure) and not law.pauses.count and not prober.truncated
        return self._settled

    def calibrate(
        self, span: Span | None, *, longest_ns: int | None = None, share: float = 1.0, settle: bool = False
    ) -> Span:
        """Probe the sizes that a range of intervals brings.

        Args:
            span: The range; None finds it from a first look at the cost.
            longest_ns: The longest interval that can be of use, or None.
            share: Of the budget that is left after warming up.
            settle: Whether to stop earlier once the law is settled.

        Returns:
            The range.
        """
        prober, rate, budget = self.prober, self.trace.rate, self.budget_s
        self._late_s = wake_lateness_s() if budget >= 1 else (0.0, 0.0)
        usual = max(1, min(len(self.trace.arrival_ns), round(rate * SCOUT_S[1])))
        prober.warm_up(usual, WARM_SHARE * budget)
        self._progress.tick()
        if span is None:
            span = self._scout(rate, longest_ns)
        low, high = rows_wanted(self.trace.arrival_ns, span.low_ns, span.high_ns)
        high = max(low + 1, min(high, len(self.trace.arrival_ns))) if self.trace.whole else high
        enough = self.settled if settle else lambda: False
        prober.climb(ladder(low, high), max(0.05 * budget, share * self.left_s), self._progress.tick, enough)
        return span

    def _scout(self, rate: float, longest_ns: int | None) -> Span:
        """Try a few sizes and return the intervals around the shortest that the work fits into."""
        prober = self.prober
        for size in sorted({max(1, round(rate * s)) for s in SCOUT_S}):
            took = prober.probe(size)
            self._progress.tick()
            if took > 0.05 * self.budget_s or prober.spent_s > (WARM_SHARE + SCOUT_SHARE) * self.budget_s:
                break
        law = self.law()
        most = law.rows_probed[1]
        fixed = float(law(1))
        marginal = max(0.0, float(law(most)) - fixed) / most
        shortest = fixed / (1 - marginal * rate) if marginal * rate < 0.95 else 20 * fixed
        high = longest_ns or min(LONGEST_NS, round(max(16 * shortest, 0.2) * NS))
        high = max(8 * LOWEST_NS, min(high, self.trace.horizon_ns // 2))  # a longer one would bring no two batches
        low = round(min(max(shortest / 1.5, 0.002), high / NS / 8) * NS)  # below the shortest that fits all is the same
        return Span(max(LOWEST_NS, low), max(high, 4 * LOWEST_NS))

    def refine(self, sizes: np.ndarray[tuple[int], np.dtype[np.int64]], budget_s: float) -> None:
        """Probe sizes that a candidate would bring."""
        self.prober.refine(sizes, budget_s, self._progress.tick)


def _known(pipeline: Pipeline, duration: Duration | None, within_s: float) -> Trace:
    """Return the arrivals to judge by: to the end of the source, or for a minute."""
    horizon = HORIZON_NS if duration is None else duration_ns(duration, "duration", minimum_ns=1)
    trace = trace_of(pipeline.source, horizon, speedup=pipeline.settings.speedup, within_s=within_s)
    if trace.whole and len(trace.arrival_ns) and duration is None:  # silence after the last row would look like rest
        return Trace(trace.arrival_ns, min(horizon, int(trace.arrival_ns[-1]) + 1), True)
    return trace


@dataclass(frozen=True)
class Finding:
    """What the tuner found, before it is anybody's advice."""

    bundle: Bundle
    choice: Choice
    model: CostModel
    reasons: list[str]
    notes: list[str]
    fits: tuple[float, float]
    headroom: float

    def advice(self, target: Target, *, widen: float, now_s: float, took_s: float, **hands: Any) -> Advice:
        """Return it as advice; `hands` are what the lab does for it: do_apply, do_verify."""
        at, table = self.choice.nearest, self.bundle.table(widen)
        return Advice(
            None if self.choice.index is None else float(self.bundle.intervals[at] / NS),
            verdict_of(self.choice, self.reasons),
            tuple(self.reasons),
            tuple(self.notes),
            target,
            Curve(table),
            self.model,
            float(self.choice.chance[at]),
            table.iloc[at],
            self.fits,
            self.headroom,
            self.bundle.cost_unit,
            now_s,
            took_s,
            **hands,
        )


def declared_law(cost: Any, trace: Trace, span: Span) -> CostModel:
    """Return the law of a declared cost: a number, a function of n, or a law already.

    Args:
        cost: As `lab.run` takes it.
        trace: Arrivals, for the sizes that can occur.
        span: Intervals, likewise.
    """
    if isinstance(cost, CostModel):
        return cost
    function = check_cost(cost)
    assert function is not None
    high = rows_wanted(trace.arrival_ns, span.low_ns, span.high_ns)[1]
    sizes = sorted({round(float(n)) for n in np.geomspace(1, max(high, 2), 48)})
    seconds_each = [float(function(n)) for n in sizes]
    return CostModel.fit(pd.DataFrame({"num_input_rows": sizes, "seconds": seconds_each}), host_sd=0.0)


def pilot_span(target: Target, span: Span | None) -> Span:
    """Return the intervals an autopilot may set: up to what the latency asked for allows, else a minute."""
    if span is not None:
        return span
    latency = target.latency_s
    high = HORIZON_NS if latency is None else max(4 * LOWEST_NS, round(latency / 0.9 * NS))
    return Span(max(LOWEST_NS, min(5 * LOWEST_NS, high // 200)), high)


def find(
    tuner: Tuner,
    target: Target,
    span: Span | None,
    *,
    pipeline: Pipeline,
    effects: bool,
    widen: float = 1.0,
    price: Price | None = None,
) -> Finding:
    """Probe, decide, probe where the decision lies, and decide again.

    Args:
        tuner: Open.
        target: Limits and objective.
        span: Range of intervals; None finds it.
        pipeline: The recipe, for its policy, cap and sinks.
        effects: Whether sinks took part.
        widen: Factor on the bands, from the ledger.
        price: Of a batch of n rows, or None.
    """
    settings, trace = pipeline.settings, tuner.trace
    latency = target.latency_s
    longest = None if latency is None else max(4 * LOWEST_NS, round(latency / 0.9 * NS))

    def bundle_of(model: CostModel, intervals: list[int], lanes: int, horizon_ns: int) -> Bundle:
        ns = np.array(intervals, np.int64)
        return Bundle.of(
            trace.arrival_ns,
            ns,
            cost=model,
            horizon_ns=np.minimum(horizon_ns, MOST_BATCHES * ns),
            policy=settings.policy,
            max_rows_per_batch=settings.max_rows_per_batch,
            lanes=lanes,
            price=price,
        )

    span = tuner.calibrate(span, longest_ns=longest, share=0.7, settle=True)
    grid, near, spend = span.grid(GRID), -1, False
    while True:
        begun, before = tuner.elapsed_s, near
        rough = bundle_of(tuner.law(), grid, ROUGH, max(grid[-1], min(trace.horizon_ns, ROUGH_NS)))
        near = choose(rough, target, widen).nearest
        last_look = (tuner.elapsed_s - begun) * trace.horizon_ns / min(trace.horizon_ns, ROUGH_NS) * LANES / ROUGH / 2
        left = tuner.left_s - 1.5 * last_look
        sizes = rough.sizes[near][rough.sizes[near] <= 1.3 * rough.rows_largest]
        out_of_time = left < 0.05 * tuner.budget_s or not len(sizes)
        if out_of_time or (near == before and not spend and tuner.settled()):
            model = tuner.law()
            around = Span(max(LOWEST_NS, round(grid[near] / STEP)), round(grid[near] * STEP))
            bundle = bundle_of(model, sorted({*grid, *around.grid(FINER)}), LANES, trace.horizon_ns)
            choice = choose(bundle, target, widen)
            if choice.index is not None or out_of_time:
                break
            spend = True  # before it refuses it tries all that it may
        else:
            tuner.refine(sizes, min(max(0.12 * tuner.budget_s, left / 3), left))
    notes = notes_on(model, target, trace, bundle, choice)
    fits = _fits(bundle)
    if choice.index is None:
        return Finding(bundle, choice, model, [refusal(bundle, choice, model, trace)], notes, fits, float("nan"))
    reasons = doubts(bundle, target, choice.index, model, pipeline, effects=effects)
    room = _headroom(model, trace, int(bundle.intervals[choice.index]), settings)
    return Finding(bundle, choice, model, reasons, notes, fits, room)


def _fits(bundle: Bundle) -> tuple[float, float]:
    """Return the shortest and longest interval of the grid that keep up; infinite where the grid's end still does."""
    steady = (bundle.middle("load") < 1) & np.array([r != "unsustainable" for r in bundle.regimes])
    at = np.flatnonzero(steady)
    if not len(at):
        return float("nan"), float("nan")
    last = float("inf") if at[-1] == len(steady) - 1 else float(bundle.intervals[at[-1]] / NS)
    return float(bundle.intervals[at[0]] / NS), last


def _headroom(model: CostModel, trace: Trace, interval_ns: int, settings: Settings) -> float:
    """Return how many times the load the interval still keeps up with, at most 16."""

    def keeps_up(factor: float) -> bool:
        faster = trace.at_load(factor)
        law = model.lanes(1, points=1)
        outcome = run_lanes(
            faster.arrival_ns,
            np.array([interval_ns]),
            cost=law.ns,
            horizon_ns=max(interval_ns, min(faster.horizon_ns, MANY_BATCHES * interval_ns)),
            policy=settings.policy,
            max_rows_per_batch=settings.max_rows_per_batch,
        )
        return outcome.regime(0) == "on_schedule"

    low, high = 1.0, MOST_LOAD
    if keeps_up(high):
        return high
    for _ in range(7):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if keeps_up(middle) else (low, middle)
    return low

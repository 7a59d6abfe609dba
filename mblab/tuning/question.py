"""Which interval, for these arrivals, keeps this target: the question, and what a law of the cost finds.

bundle, advice, judge -> [question] -> tuner, lab
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mblab.engine.pipeline import Pipeline, Settings
from mblab.errors import SettingError, SettingTypeError, shown
from mblab.timing.durations import NS, format_s, interval_ns
from mblab.tuning.advice import Advice, Choice, Target, choose
from mblab.tuning.bundle import LANES, Bundle, Price
from mblab.tuning.cost import CostModel
from mblab.tuning.judge import doubts, notes_on, refusal, verdict_of
from mblab.tuning.lanes import run_lanes
from mblab.tuning.trace import Trace
from mblab.tuning.whatif import Curve

__all__ = [
    "GRID", "HORIZON_NS", "ROUGH", "ROUGH_NS", "Finding", "Question", "Span", "check_span", "find_by_batches",
    "pilot_span", "span_around",
]  # fmt: skip

HORIZON_NS = 60 * NS
LOWEST_NS = 1_000_000
LONGEST_NS = 600 * NS
GRID, FINER, STEP = 40, 9, 1.12  # intervals looked at, those added around the choice, and how far around it
ROUGH, ROUGH_NS = 8, 20 * NS  # lanes of a first look, and how far it looks
MANY_BATCHES = 500  # tell what headroom there is …
MOST_BATCHES = 3_000  # … and what an interval comes to; of the shortest intervals less of the arrivals is looked at
MOST_LOAD = 16.0


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


def span_around(law: CostModel, trace: Trace, longest_ns: int | None) -> Span:
    """Return the intervals around the shortest that the work fits into."""
    most, rate = law.rows_probed[1], trace.rate
    fixed = float(law(1))
    marginal = max(0.0, float(law(most)) - fixed) / most
    shortest = fixed / (1 - marginal * rate) if marginal * rate < 0.95 else 20 * fixed
    high = longest_ns or min(LONGEST_NS, round(max(16 * shortest, 0.2) * NS))
    high = max(8 * LOWEST_NS, min(high, trace.horizon_ns // 2))  # a longer one would bring no two batches
    low = round(min(max(shortest / 1.5, 0.002), high / NS / 8) * NS)  # below the shortest that fits all is the same
    return Span(max(LOWEST_NS, low), max(high, 4 * LOWEST_NS))


def pilot_span(target: Target, span: Span | None) -> Span:
    """Return the intervals an autopilot may set: up to what the latency asked for allows, else a minute."""
    if span is not None:
        return span
    latency = target.latency_s
    high = HORIZON_NS if latency is None else max(4 * LOWEST_NS, round(latency / 0.9 * NS))
    return Span(max(LOWEST_NS, min(5 * LOWEST_NS, high // 200)), high)


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


@dataclass(frozen=True)
class Question:
    """What is asked: which interval, for these arrivals, keeps this target?

    Attributes:
        target: Limits and objective.
        trace: When rows arrive.
        pipeline: The recipe, for its policy, cap and sinks.
        effects: Whether sinks took part in what was measured.
        widen: Factor on the bands, from the ledger.
        price: Of a batch of n rows, or None.
    """

    target: Target
    trace: Trace
    pipeline: Pipeline
    effects: bool = True
    widen: float = 1.0
    price: Price | None = None

    @property
    def longest_ns(self) -> int | None:
        """The longest interval that can be of use, or None."""
        latency = self.target.latency_s
        return None if latency is None else max(4 * LOWEST_NS, round(latency / 0.9 * NS))

    def look(self, model: CostModel, intervals: list[int], lanes: int, horizon_ns: int) -> tuple[Bundle, Choice]:
        """Return what intervals come to, and which of them is chosen."""
        settings, ns = self.pipeline.settings, np.array(intervals, np.int64)
        bundle = Bundle.of(
            self.trace.arrival_ns,
            ns,
            cost=model,
            horizon_ns=np.minimum(horizon_ns, MOST_BATCHES * ns),
            policy=settings.policy,
            max_rows_per_batch=settings.max_rows_per_batch,
            lanes=lanes,
            price=self.price,
        )
        return bundle, choose(bundle, self.target, self.widen)

    def glance(self, model: CostModel, grid: list[int]) -> tuple[Bundle, Choice]:
        """Return the same for a grid, with few lanes and for less of the time."""
        return self.look(model, grid, ROUGH, max(grid[-1], min(self.trace.horizon_ns, ROUGH_NS)))

    def settle(self, model: CostModel, grid: list[int], near: int) -> Finding:
        """Return the finding, from the grid and some more intervals around the one that a glance chose."""
        around = Span(max(LOWEST_NS, round(grid[near] / STEP)), round(grid[near] * STEP))
        bundle, choice = self.look(model, sorted({*grid, *around.grid(FINER)}), LANES, self.trace.horizon_ns)
        notes, fits = notes_on(model, self.target, self.trace, bundle, choice), _fits(bundle)
        looked = MOST_BATCHES * int(bundle.intervals[choice.nearest])
        if looked < self.trace.horizon_ns:
            notes.append(
                f"An interval this short was judged by {MOST_BATCHES:,} batches, the first {format_s(looked / NS)}."
            )
        if choice.index is None:
            said = [refusal(bundle, choice, model, self.trace)]
            return Finding(bundle, choice, model, said, notes, fits, float("nan"))
        reasons = doubts(bundle, self.target, choice.index, model, self.pipeline, effects=self.effects)
        room = _headroom(model, self.trace, int(bundle.intervals[choice.index]), self.pipeline.settings)
        return Finding(bundle, choice, model, reasons, notes, fits, room)


def find_by_batches(model: CostModel, question: Question, span: Span | None) -> Finding:
    """Decide by the law of a run's batches, without trying any: what is left where rows cannot be had ahead of time."""
    if span is None:
        span = span_around(model, question.trace, question.longest_ns)
    grid = span.grid(GRID)
    return question.settle(model, grid, question.glance(model, grid)[1].nearest)


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

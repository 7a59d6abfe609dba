"""Which interval, for these arrivals, keeps this target: a search over intervals by a law of the cost.

target, arrival times, cost -> ensemble, confidence -> [decision] -> tuner, lab
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from mblab.engine.pipeline import Pipeline
from mblab.engine.settings import Settings
from mblab.metrics import KEEPS_UP
from mblab.timing.durations import NS, Duration, format_s
from mblab.tuning.advice import Advice
from mblab.tuning.arrival_times import ArrivalTimes
from mblab.tuning.confidence import doubts, limit_of_load, notes_on, refusal, verdict_of
from mblab.tuning.cost import CostModel
from mblab.tuning.curve import Curve
from mblab.tuning.ensemble import MEMBERS, Ensemble, PriceOfRows
from mblab.tuning.intervals import LOWEST_NS, Span
from mblab.tuning.simulate import simulate_runs
from mblab.tuning.target import Choice, Target, choose
from mblab.tuning.verification import Verification

__all__ = [
    "GRID", "HORIZON_NS", "ROUGH", "ROUGH_NS", "Finding", "Search", "find_by_batches", "pilot_span", "span_around",
]  # fmt: skip

HORIZON_NS: Final = 60 * NS
LONGEST_NS: Final = 600 * NS
GRID, FINER, STEP = 40, 9, 1.12  # intervals looked at, those added around the choice, and how far around it
ROUGH, ROUGH_NS = 8, 20 * NS  # members of a first look, and how far it looks
MANY_BATCHES: Final = 500  # tell what headroom there is …
MOST_BATCHES: Final = 3_000  # … and what an interval comes to; of the shortest less of the arrivals is looked at
MOST_LOAD: Final = 16.0


def span_around(law: CostModel, arrivals: ArrivalTimes, longest_ns: int | None) -> Span:
    """Return the intervals around the shortest that the work fits into.

    That is T* = a / (1 − bλ), with a = S(1) and b the slope from there to the largest batch tried.
    """
    most, rate = law.rows_probed[1], arrivals.rate
    fixed = float(law(1))
    marginal = max(0.0, float(law(most)) - fixed) / most
    shortest = fixed / (1 - marginal * rate) if marginal * rate < 0.95 else 20 * fixed
    high = longest_ns or min(LONGEST_NS, round(max(16 * shortest, 0.2) * NS))
    high = max(8 * LOWEST_NS, min(high, arrivals.horizon_ns // 2))  # a longer one would bring no two batches
    low = round(min(max(shortest / 1.5, 0.002), high / NS / 8) * NS)  # below the shortest that fits all is the same
    return Span(max(LOWEST_NS, low), max(high, 4 * LOWEST_NS))


def pilot_span(target: Target, span: Span | None) -> Span:
    """Return the intervals an autopilot may set: up to what the latency asked for allows, else a minute."""
    if span is not None:
        return span
    high = target.longest_ns or HORIZON_NS
    return Span(max(LOWEST_NS, min(5 * LOWEST_NS, high // 200)), high)


@dataclass(frozen=True)
class Finding:
    """What the tuner found, before it is anybody's advice."""

    ensemble: Ensemble
    choice: Choice
    model: CostModel
    reasons: list[str]
    notes: list[str]
    held_up: str
    fits: tuple[float, float]
    headroom: float

    def advice(
        self,
        target: Target,
        *,
        widen: float,
        now_s: float,
        took_s: float,
        do_apply: Callable[[float], None],
        do_verify: Callable[[Advice, Duration], Verification],
    ) -> Advice:
        """Return it as advice; the last two are what the lab does for it."""
        at, table = self.choice.nearest, self.ensemble.table(widen)
        return Advice(
            None if self.choice.index is None else float(self.ensemble.intervals[at] / NS),
            verdict_of(self.choice, self.reasons),
            tuple(self.reasons),
            tuple(self.notes),
            self.held_up,
            target,
            Curve(table),
            self.model,
            float(self.choice.chance[at]),
            table.iloc[at],
            self.fits,
            self.headroom,
            self.ensemble.cost_unit,
            now_s,
            took_s,
            do_apply,
            do_verify,
        )


@dataclass(frozen=True)
class Search:
    """Which interval, for these arrivals, keeps this target?

    Attributes:
        target: Limits and objective.
        arrivals: When rows arrive.
        pipeline: The recipe, for its policy, cap and sinks.
        effects: Whether sinks took part in what was measured.
        widen: Factor on the bands, from the track record.
        price: Of a batch of n rows, or None.
    """

    target: Target
    arrivals: ArrivalTimes
    pipeline: Pipeline
    effects: bool = True
    widen: float = 1.0
    price: PriceOfRows | None = None

    def evaluate(
        self, model: CostModel, intervals: list[int], members: int, horizon_ns: int
    ) -> tuple[Ensemble, Choice]:
        """Return what intervals come to, and which of them is chosen."""
        settings, ns = self.pipeline.settings, np.array(intervals, np.int64)
        ensemble = Ensemble.of(
            self.arrivals.arrival_ns,
            ns,
            cost=model,
            horizon_ns=np.minimum(horizon_ns, MOST_BATCHES * ns),
            policy=settings.policy,
            max_rows_per_batch=settings.max_rows_per_batch,
            members=members,
            price=self.price,
        )
        return ensemble, choose(ensemble, self.target, self.widen)

    def evaluate_roughly(self, model: CostModel, grid: list[int]) -> tuple[Ensemble, Choice]:
        """Return the same for a grid, with few members and for less of the time."""
        return self.evaluate(model, grid, ROUGH, max(grid[-1], min(self.arrivals.horizon_ns, ROUGH_NS)))

    def decide(self, model: CostModel, grid: list[int], near: int) -> Finding:
        """Return the finding, from the grid and some more intervals around the one that was chosen roughly."""
        around = Span(max(LOWEST_NS, round(grid[near] / STEP)), round(grid[near] * STEP))
        ensemble, choice = self.evaluate(model, sorted({*grid, *around.grid(FINER)}), MEMBERS, self.arrivals.horizon_ns)
        notes, fits = notes_on(model, self.target, self.arrivals, ensemble, choice), _fits(ensemble)
        looked = MOST_BATCHES * int(ensemble.intervals[choice.nearest])
        if looked < self.arrivals.horizon_ns:
            notes.append(
                f"An interval this short was judged by {MOST_BATCHES:,} batches, the first {format_s(looked / NS)}."
            )
        if choice.index is None:
            said = [refusal(ensemble, choice, model, self.arrivals)]
            return Finding(ensemble, choice, model, said, notes, "", fits, float("nan"))
        reasons = doubts(ensemble, self.target, choice.index, model, self.pipeline, effects=self.effects)
        room = _headroom(model, self.arrivals, int(ensemble.intervals[choice.index]), self.pipeline.settings)
        held_up = limit_of_load(ensemble, self.target, choice.index, self.widen)
        return Finding(ensemble, choice, model, reasons, notes, held_up, fits, room)


def find_by_batches(model: CostModel, search: Search, span: Span | None) -> Finding:
    """Decide by the law of a run's batches, without trying any: what is left where rows cannot be had ahead of time."""
    if span is None:
        span = span_around(model, search.arrivals, search.target.longest_ns)
    grid = span.grid(GRID)
    return search.decide(model, grid, search.evaluate_roughly(model, grid)[1].nearest)


def _fits(ensemble: Ensemble) -> tuple[float, float]:
    """Return the shortest and longest interval of the grid that keep up; infinite where the grid's end still does."""
    steady = ensemble.keeps_up
    at = np.flatnonzero(steady)
    if not len(at):
        return float("nan"), float("nan")
    last = float("inf") if at[-1] == len(steady) - 1 else float(ensemble.intervals[at[-1]] / NS)
    return float(ensemble.intervals[at[0]] / NS), last


def _headroom(model: CostModel, arrivals: ArrivalTimes, interval_ns: int, settings: Settings) -> float:
    """Return how many times the load the interval still keeps up with, at most 16."""

    def keeps_up(factor: float) -> bool:
        faster = arrivals.at_load(factor)
        outcome = simulate_runs(
            faster.arrival_ns,
            np.array([interval_ns]),
            cost=model.drawn(1, points=1).ns,
            horizon_ns=max(interval_ns, min(faster.horizon_ns, MANY_BATCHES * interval_ns)),
            policy=settings.policy,
            max_rows_per_batch=settings.max_rows_per_batch,
        )
        return outcome.regime(0) in KEEPS_UP

    low, high = 1.0, MOST_LOAD
    if keeps_up(high):
        return high
    for _ in range(7):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if keeps_up(middle) else (low, middle)
    return low

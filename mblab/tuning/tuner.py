"""From seconds of probing to a law and a decision: which sizes to try, and for which intervals.

probe, arrival_times -> cost -> decision -> [tuner] -> lab
"""

from __future__ import annotations

import time
from dataclasses import replace
from types import TracebackType
from typing import Final

import numpy as np
import pandas as pd

from mblab.engine.cost import check_cost
from mblab.engine.pipeline import Pipeline
from mblab.errors import SettingError
from mblab.steps.state import StateStore
from mblab.support.progress import Progress
from mblab.timing.durations import Duration, duration_ns, format_s, seconds
from mblab.tuning.arrays import Ints
from mblab.tuning.arrival_times import ArrivalTimes, arrival_times_of
from mblab.tuning.cost import HOST_SD, CostModel
from mblab.tuning.decision import GRID, HORIZON_NS, ROUGH, ROUGH_NS, Finding, Search, span_around
from mblab.tuning.delays import Before
from mblab.tuning.ensemble import MEMBERS
from mblab.tuning.intervals import Span
from mblab.tuning.probe import Prober, ladder, rows_wanted, wake_lateness_s
from mblab.tuning.whatif import Cost

__all__ = ["READ_SHARE", "Tuner", "declared_law", "find", "known_arrivals"]

SCOUT_S: Final = (0.02, 0.1, 0.5, 2.0)  # what arrives in so long is tried first, to find the intervals worth a look
SETTLED_PROBES, SETTLED_SD, SETTLED_SHARE = 24, 0.01, 0.4  # the share, for a machine's speed changes over seconds
SCOUT_SHARE, WARM_SHARE, READ_SHARE = 0.12, 0.2, 0.1  # of the budget


class Tuner:
    """One calibration: probes and the law they give; a context manager.

    Args:
        pipeline: The recipe.
        budget_s: Seconds of probing, reading the source included.
        label: What the bar says.
        duration: How much of the source to judge by, on the run's clock; None: all of it, at most a minute.
        states: State of a live run to begin with; None begins with an empty one.
        seen_rows: Rows that state has seen.
        arrivals: Those where they are known already.
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
        arrivals: ArrivalTimes | None = None,
        effects: bool = False,
        host_sd: float = HOST_SD,
        seed: int = 0,
    ) -> None:
        self._begun = time.perf_counter()
        self.budget_s, self._host_sd = budget_s, host_sd
        self._progress = Progress(label, budget_s, "s", lambda: self.elapsed_s)
        self.arrivals = arrivals or known_arrivals(pipeline, duration, READ_SHARE * budget_s)
        if len(self.arrivals.arrival_ns) < 2:
            raise SettingError(
                f"{pipeline.source.name} brings {len(self.arrivals.arrival_ns)} rows in "
                f"{format_s(seconds(self.arrivals.horizon_ns))}, which is too few to tune by; "
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
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.prober.__exit__(kind, error, traceback)
        self._progress.__exit__(kind, error, traceback)

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
        prober, rate, budget = self.prober, self.arrivals.rate, self.budget_s
        self._late_s = wake_lateness_s() if budget >= 1 else (0.0, 0.0)
        usual = max(1, min(len(self.arrivals.arrival_ns), round(rate * SCOUT_S[1])))
        prober.warm_up(usual, WARM_SHARE * budget)
        self._progress.tick()
        if span is None:
            span = self._scout(rate, longest_ns)
        low, high = rows_wanted(self.arrivals.arrival_ns, span.low_ns, span.high_ns)
        high = max(low + 1, min(high, len(self.arrivals.arrival_ns))) if self.arrivals.whole else high
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
        return span_around(self.law(), self.arrivals, longest_ns)

    def refine(self, sizes: Ints, budget_s: float) -> None:
        """Probe sizes that a candidate would bring."""
        self.prober.refine(sizes, budget_s, self._progress.tick)


def known_arrivals(pipeline: Pipeline, duration: Duration | None, within_s: float) -> ArrivalTimes:
    """Return the arrivals to judge by: to the end of the source, or for a minute."""
    horizon = HORIZON_NS if duration is None else duration_ns(duration, "duration", minimum_ns=1)
    arrivals = arrival_times_of(pipeline.source, horizon, speedup=pipeline.settings.speedup, within_s=within_s)
    if duration is None and arrivals.whole and len(arrivals.arrival_ns):  # silence behind the last row is no rest
        return ArrivalTimes(arrivals.arrival_ns, min(horizon, int(arrivals.arrival_ns[-1]) + 1), True)
    return arrivals


def declared_law(cost: Cost, arrivals: ArrivalTimes, span: Span) -> CostModel:
    """Return the law of a declared cost: a number, a function of n, or a law already.

    Args:
        cost: As `lab.run` takes it.
        arrivals: For the sizes that can occur.
        span: Intervals, likewise.
    """
    if isinstance(cost, CostModel):
        return cost
    function = check_cost(cost)
    assert function is not None
    high = rows_wanted(arrivals.arrival_ns, span.low_ns, span.high_ns)[1]
    sizes = sorted({round(float(n)) for n in np.geomspace(1, max(high, 2), 48)})
    seconds_each = [float(function(n)) for n in sizes]
    law = CostModel.fit(pd.DataFrame({"num_input_rows": sizes, "seconds": seconds_each}), host_sd=0.0)
    return replace(law, declared=True)


def find(tuner: Tuner, search: Search, span: Span | None) -> Finding:
    """Probe, decide, probe where the decision lies, and decide again.

    Args:
        tuner: Open.
        search: What is looked for.
        span: Range of intervals; None finds it.
    """
    horizon_ns = search.arrivals.horizon_ns
    grid = tuner.calibrate(span, longest_ns=search.target.longest_ns, share=0.7, settle=True).grid(GRID)
    near, spend = -1, False
    while True:
        begun, before = tuner.elapsed_s, near
        rough, choice = search.evaluate_roughly(tuner.law(), grid)
        near = choice.nearest
        last_look = (tuner.elapsed_s - begun) * horizon_ns / min(horizon_ns, ROUGH_NS) * MEMBERS / ROUGH / 2
        left = tuner.left_s - 1.5 * last_look
        sizes = rough.sizes[near][rough.sizes[near] <= 1.3 * rough.rows_largest]
        out_of_time = left < 0.05 * tuner.budget_s or not len(sizes)
        if out_of_time or (near == before and not spend and tuner.settled()):
            found = search.decide(tuner.law(), grid, near)
            if found.choice.index is not None or out_of_time:
                return found
            spend = True  # before it refuses it tries all that it may
        else:
            tuner.refine(sizes, min(max(0.12 * tuner.budget_s, left / 3), left))

"""Which interval, how sure, and why: the answer of the tuner, in words and as a chart.

cost, bundle -> [advice] -> lab
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import pandas as pd

from mblab.charts.display import Shown
from mblab.errors import SettingError, SettingTypeError, did_you_mean, shown
from mblab.timing.durations import Duration, duration_ns, format_s, seconds
from mblab.tuning.bundle import Bundle
from mblab.tuning.cost import CostModel
from mblab.tuning.whatif import Curve

__all__ = ["OBJECTIVES", "SURE", "Advice", "Choice", "Objective", "Target", "Verdict", "choose"]

Objective = Literal["fastest", "cheapest", "latency", "knee"]
Verdict = Literal["trusted", "check", "refuse"]
OBJECTIVES: Final[tuple[str, ...]] = get_args(Objective)
SURE: Final = 0.8  # share of the lanes that must keep every limit
FULL: Final = {"fastest": 0.7}
USUAL_LOAD: Final = 0.8
MEANT: Final = {
    "fastest": "the shortest",
    "cheapest": "the cheapest",
    "latency": "the one with the lowest p95",
    "knee": "the best trade of latency against cost",
}
NAMES: Final = {
    "latency_mean_s": "mean",
    "latency_p50_s": "p50",
    "latency_p95_s": "p95",
    "latency_p99_s": "p99",
    "load": "load",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What the user wants.

    Attributes:
        limits: Measure → highest value allowed: latency_p95_s, latency_p99_s (seconds), load.
        objective: What to look for among the intervals that keep them.
    """

    limits: Mapping[str, float]
    objective: Objective

    @classmethod
    def of(cls, p95: Duration | None, p99: Duration | None, load: float | None, objective: str | None) -> Target:
        """Check and complete what was asked for.

        Raises:
            SettingError: A limit or the objective breaks its rule.
        """
        limits: dict[str, float] = {}
        for name, value in (("p95", p95), ("p99", p99)):
            if value is not None:
                limits[f"latency_{name}_s"] = seconds(duration_ns(value, name, minimum_ns=1_000_000))
        chosen = objective or ("cheapest" if limits else "fastest")
        if not isinstance(chosen, str):
            raise SettingTypeError(f"objective must be one of {list(OBJECTIVES)}, got {shown(objective)}.")
        if chosen not in OBJECTIVES:
            raise SettingError(
                f"objective must be one of {list(OBJECTIVES)}, got {shown(objective)}{did_you_mean(chosen, OBJECTIVES)}"
            )
        if load is not None and (isinstance(load, bool) or not isinstance(load, int | float | np.number)):
            raise SettingTypeError(f"load must be a number above 0 and at most 1, got {shown(load)}.")
        if load is not None and not 0 < load <= 1:
            raise SettingError(f"load must be above 0 and at most 1 (1 is a full interval), got {shown(load)}.")
        limits["load"] = FULL.get(chosen, USUAL_LOAD) if load is None else float(load)
        return cls(limits, chosen)  # type: ignore[arg-type]

    @property
    def latency_s(self) -> float | None:
        """Return the tightest latency limit, or None."""
        found = [limit for name, limit in self.limits.items() if name != "load"]
        return min(found) if found else None

    def __str__(self) -> str:
        said = [f"{NAMES[n]} ≤ {f'{v:.2g}' if n == 'load' else format_s(v)}" for n, v in self.limits.items()]
        return " and ".join(said)


@dataclass(frozen=True, slots=True)
class Choice:
    """Where on a bundle's grid the answer lies.

    Attributes:
        index: Of the interval; None when none will do.
        nearest: Of the interval that comes nearest.
        chance: Each interval's probability of keeping every limit.
    """

    index: int | None
    nearest: int
    chance: Any


def choose(bundle: Bundle, target: Target, widen: float = 1.0) -> Choice:
    """Return the best interval among those that keep the limits with 80 % probability and were within what was tried.

    Args:
        bundle: What every interval came to.
        target: Limits and objective.
        widen: Factor on the spread.
    """
    chance = bundle.chance(target.limits, widen)
    steady = np.array([r != "unsustainable" for r in bundle.regimes]) & (bundle.middle("load") < 1)
    fit = np.flatnonzero((chance >= SURE) & steady & ~bundle.extrapolated)
    load_left = np.where(np.isfinite(bundle.middle("load")), bundle.middle("load"), np.inf)
    nearest = int(np.lexsort((load_left, -np.where(steady, chance, -1.0)))[0])
    if not len(fit):
        return Choice(None, nearest, chance)
    p95, cost = bundle.middle("latency_p95_s")[fit], np.maximum(bundle.cost_per_hour[fit], 1e-9)
    if target.objective == "fastest":
        best = 0
    elif target.objective == "cheapest":
        # costs that differ by less than what can be told apart are equal; of equals the shorter interval is fresher
        best = int(np.flatnonzero(cost <= cost.min() * 1.005)[0])
    elif target.objective == "latency":
        best = int(np.argmin(p95))
    else:
        best = int(np.argmin(_spread_out(np.log(p95)) + _spread_out(np.log(cost))))
    return Choice(int(fit[best]), int(fit[best]), chance)


def _spread_out(values: Any) -> Any:
    return (values - values.min()) / max(float(np.ptp(values)), 1e-9)


@dataclass(frozen=True)
class Advice(Shown):
    """An interval, and why.

    Attributes:
        interval: Seconds; None when the tuner refuses.
        verdict: trusted; check (it is the best guess, and a reason says what may be wrong with it); refuse.
        reasons: What speaks against trusting it, in plain words.
        notes: What else is good to know.
        target: What was asked for.
        curve: Every interval that was looked at, with bands.
        model: The law it rests on.
        chance: Probability that every limit is kept.
        predicted: The curve's row at the interval (when refused: at the one that comes nearest).
        fits: Shortest and longest interval the work fits into; infinite where no end was seen.
        headroom: How many times as many rows it would still keep up with; NaN when refused.
        cost_unit: Of cost_per_hour: CPU s, busy s or money.
        now_s: The lab's interval when it was asked, in seconds.
        seconds: How long the tuner took.
    """

    interval: float | None
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    target: Target
    curve: Curve
    model: CostModel
    chance: float
    predicted: pd.Series[Any]
    fits: tuple[float, float]
    headroom: float
    cost_unit: str
    now_s: float
    seconds: float
    do_apply: Callable[[float], None]
    do_verify: Callable[[Advice, Any], Any]

    @property
    def why(self) -> str:
        """The decision in a sentence or two, with what speaks against it."""
        p = self.predicted
        if self.interval is None:
            return f"No interval is advised for {self.target}: {' '.join(self.reasons)}"
        text = (
            f"Every {format_s(self.interval)}: p95 {_banded(p, 'latency_p95_s')}, load {_banded(p, 'load', '')}, "
            f"{_amount(p.cost_per_hour)} {self.cost_unit} an hour; of the intervals that keep {self.target} with at "
            f"least {SURE:.0%} probability (this one: {self.chance:.0%}) it is {MEANT[self.target.objective]}."
        )
        return " ".join([text, *self.reasons])

    def explain(self) -> str:
        """Return the whole reasoning: the law, the range that fits, headroom, and every reason and note."""
        lines = [self.why, self.model.explain()]
        low, high = self.fits
        if np.isfinite(low):
            end = "" if np.isinf(high) else f" to {format_s(high)}"
            lines.append(f"The work fits into intervals from {format_s(low)}{end or ' on'}.")
        if np.isfinite(self.headroom):
            most = "more than 16" if self.headroom >= 16 else f"{self.headroom:.1f}"
            lines.append(f"There is headroom: {most}× the load before it falls behind.")
        lines += self.notes
        lines.append(
            f"Verdict: {self.verdict}, after {format_s(self.seconds)} and {len(self.model.probes)} batches tried."
        )
        return "\n".join(lines)

    def plot(self, measured: Any = None) -> Any:
        """Return the curve with bands as an Altair chart: the advised interval, the one in use, and T* marked.

        Args:
            measured: A sweep, or a table such as `sweep.table`, drawn as rings over the curve.
        """
        from mblab import charts

        marks = [(self.now_s, f"now {format_s(self.now_s)}")]
        if np.isfinite(self.fits[0]):
            marks.append((self.fits[0], f"T* {format_s(self.fits[0])}"))
        if self.interval is not None:
            marks.append((self.interval, f"advised {format_s(self.interval)}"))
        points = getattr(measured, "table", measured)
        return charts.curve_chart(self.curve.table, marks=marks, measured=points, title=self._headline())

    def plot_cost(self) -> Any:
        """Return latency against cost as an Altair chart, with the intervals nothing beats, and the advised one."""
        from mblab import charts

        return charts.cost_chart(self.curve.table, advised_s=self.interval, unit=self.cost_unit, title=self._headline())

    def apply(self) -> None:
        """Set the lab's interval.

        Raises:
            SettingError: The tuner refused.
        """
        self.do_apply(self._given("apply"))

    def verify(self, duration: Duration = "20s") -> Any:
        """Run the pipeline at the interval on the real clock, and hold what comes against what was predicted.

        Sinks stay dry. The figures go into `lab.ledger`, which widens or narrows the bands of later advice.

        Args:
            duration: Of the run.

        Raises:
            SettingError: The tuner refused.
        """
        self._given("verify")
        return self.do_verify(self, duration)

    def _given(self, verb: str) -> float:
        if self.interval is None:
            raise SettingError(f"{verb}() needs an interval, and none was advised: {' '.join(self.reasons)}")
        return self.interval

    def _headline(self) -> str:
        if self.interval is None:
            return f"No interval advised for {self.target}"
        return f"Advised: every {format_s(self.interval)} for {self.target} ({self.verdict})"

    def __repr__(self) -> str:
        if self.interval is None:
            return f"Advice(refuse: {self.why})"
        return f"Advice({format_s(self.interval)}, {self.verdict}: {self.why})"

    def _text(self) -> str:
        return self.explain()


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _banded(row: pd.Series[Any], name: str, unit: str = "s") -> str:
    """Return a value with its band: `1.9 s (1.8 s to 2 s)`."""
    write = format_s if unit else (lambda v: f"{v:.2f}" if v >= 0.1 else f"{v:.2g}")
    return f"{write(row[name])} ({write(row[f'{name}_lo'])} to {write(row[f'{name}_hi'])})"

"""What somebody wants of an interval, and which of those that were predicted has it.

what a cell typed, ensemble -> [target] -> decision, autopilot
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from mblab.support.arguments import number, one_of
from mblab.timing.durations import NS, Duration, duration_ns, format_s, seconds
from mblab.tuning.arrays import Floats
from mblab.tuning.ensemble import Ensemble
from mblab.tuning.intervals import LOWEST_NS

__all__ = ["NAMES", "SAME", "SURE", "Choice", "Objective", "Target", "choose", "freshest"]

Objective = Literal["fastest", "cheapest", "latency", "knee"]
OBJECTIVES: Final[tuple[Objective, ...]] = get_args(Objective)
SURE: Final = 0.8  # share of an ensemble's members that must keep every limit
SAME: Final = 0.05  # latencies that differ by less are equal to whoever waits; of those the machine's rest decides
USUAL_LOAD: Final = 0.8
MOST_LOAD: Final[dict[Objective, float | None]] = {"fastest": 0.7, "latency": None}  # where nobody says one
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
        limits: Measure → highest value allowed: latency_p95_s, latency_p99_s (seconds), load; each may be missing.
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
        chosen = one_of(objective or ("cheapest" if limits else "fastest"), "objective", OBJECTIVES)
        usual = MOST_LOAD.get(chosen, USUAL_LOAD)
        most = usual if load is None else number(load, "load", most=1, hint="; 1 is a full interval")
        return cls(limits if most is None else limits | {"load": most}, chosen)

    @property
    def quantile(self) -> str:
        """The latency to be low: p99 where only that was asked for, else p95."""
        return "latency_p99_s" if {"latency_p99_s"} == {*self.limits} - {"load"} else "latency_p95_s"

    @property
    def at_any_load(self) -> Target:
        """The same without a limit of load."""
        return Target({name: limit for name, limit in self.limits.items() if name != "load"}, self.objective)

    @property
    def latency_s(self) -> float | None:
        """Return the tightest latency limit, or None."""
        found = [limit for name, limit in self.limits.items() if name != "load"]
        return min(found) if found else None

    @property
    def longest_ns(self) -> int | None:
        """Return the longest interval that can be of use, or None: p95 is .95·T and more."""
        return None if self.latency_s is None else max(4 * LOWEST_NS, round(self.latency_s / 0.9 * NS))

    def __str__(self) -> str:
        said = [f"{NAMES[n]} ≤ {f'{v:.2g}' if n == 'load' else format_s(v)}" for n, v in self.limits.items()]
        return " and ".join(said) or "staying on schedule"


@dataclass(frozen=True, slots=True)
class Choice:
    """Where on an ensemble's grid the answer lies.

    Attributes:
        index: Of the interval; None when none will do.
        nearest: Of the interval that comes nearest.
        chance: Each interval's probability of keeping every limit.
    """

    index: int | None
    nearest: int
    chance: Floats


def choose(ensemble: Ensemble, target: Target, widen: float = 1.0) -> Choice:
    """Return the best interval among those that keep the limits with 80 % probability and were within what was tried.

    Args:
        ensemble: What every interval came to.
        target: Limits and objective.
        widen: Factor on the spread.
    """
    chance = ensemble.chance(target.limits, widen)
    steady = ensemble.keeps_up
    fit = np.flatnonzero((chance >= SURE) & steady & ~ensemble.extrapolated)
    load_left = np.where(np.isfinite(ensemble.middle("load")), ensemble.middle("load"), np.inf)
    nearest = int(np.lexsort((load_left, -np.where(steady, chance, -1.0)))[0])
    if not len(fit):
        return Choice(None, nearest, chance)
    latency, cost = ensemble.middle(target.quantile)[fit], np.maximum(ensemble.cost_per_hour[fit], 1e-9)
    if target.objective in ("fastest", "latency"):
        best = freshest(latency, ensemble.middle("load")[fit])
    elif target.objective == "cheapest":
        # costs that differ by less than what can be told apart are equal; of equals the shorter interval is fresher
        best = int(np.flatnonzero(cost <= cost.min() * 1.005)[0])
    else:
        best = int(np.argmin(_spread_out(np.log(latency)) + _spread_out(np.log(cost))))
    return Choice(int(fit[best]), int(fit[best]), chance)


def freshest(latency: Floats, load: Floats) -> int:
    """Return where the latency is lowest; of those within 5 % of it, where the load is.

    >>> freshest(np.array([0.065, 0.025, 0.026, 0.040]), np.array([0.58, 0.23, 0.20, 0.10]))
    2
    """
    near = np.flatnonzero(latency <= (1 + SAME) * latency.min())
    return int(near[np.argmin(load[near])])


def _spread_out(values: Floats) -> Floats:
    """Return values on a scale from 0 to 1."""
    scaled: Floats = (values - values.min()) / max(float(np.ptp(values)), 1e-9)
    return scaled

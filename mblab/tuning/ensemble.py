"""Each interval simulated many times, on laws as they might also have come out of the probes: middle and spread.

A member of the ensemble is a law of its own: the first four are the best guess, the others are drawn.

    cost + simulate -> [ensemble] -> whatif, target, verification
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from mblab.errors import SettingError
from mblab.metrics.summary import ROUNDING
from mblab.support.arguments import number
from mblab.timing.durations import NS
from mblab.tuning.arrays import Bools, Floats, Ints
from mblab.tuning.cost import CostModel
from mblab.tuning.curve import CURVE_COLUMNS
from mblab.tuning.simulate import Outcome, simulate_runs

__all__ = ["BANDED", "MEMBERS", "POINTS", "Ensemble", "Price", "check_price"]

MEMBERS: Final = 20
POINTS: Final = 4  # members on the best guess itself; they differ in the scatter of their batches
EXACT_ROWS: Final = 2_000_000  # of all runs together
SAMPLE: Final = 384  # rows a run of which a curve's quantiles are taken: a rank is off by 1/384 at most
BANDED: Final = ("latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "load")
Z95: Final = 1.96

PriceOfRows = Callable[[int], float] | Callable[[Ints], Floats]
Price = float | PriceOfRows


def check_price(price: Price | None) -> PriceOfRows | None:
    """Return what a batch of n rows costs in the user's money, as a function of n; None stays None."""
    if price is None or callable(price):
        return price
    fixed = number(price, "price", zero=True, hint="; or a function of a batch's rows")
    return lambda n: np.full(np.shape(n), fixed)


@dataclass(frozen=True)
class Ensemble:
    """What every interval came to in every member.

    Attributes:
        intervals: ns, ascending.
        values: Measure → [interval, member]: those of a curve, and num_input_rows_max.
        regimes: One an interval: whether the best guess keeps up, and if it does, on which side of 1 its load is.
        cost_per_hour: Of the best guess: CPU seconds, busy seconds or money an hour.
        cost_unit: Which of them.
        rows_largest: Largest batch the law has been tried on.
        sizes: Of the best guess's batches with rows, one array an interval.
    """

    intervals: Ints
    values: Mapping[str, Floats]
    regimes: list[str]
    batches_per_hour: Floats
    cost_per_hour: Floats
    cost_unit: str
    rows_largest: int
    sizes: list[Ints]

    @classmethod
    def of(
        cls,
        arrivals: Ints,
        intervals: Ints,
        *,
        cost: CostModel,
        horizon_ns: int | Ints,
        policy: str = "asap",
        max_rows_per_batch: int | None = None,
        members: int = MEMBERS,
        seed: int = 0,
        price: PriceOfRows | None = None,
        workers: int = 1,
        sample: int = SAMPLE,
        drain: bool = False,
    ) -> Ensemble:
        """Simulate every interval in every member; see `simulate_runs`. Each interval may have a horizon of its own.

        Where all rows of all runs are few, quantiles are taken of all of them.
        """
        drawn = cost.drawn(members, seed=seed, points=min(POINTS, members))

        def cost_of(run: Ints, rows: Ints, seen: Ints, at_once: Bools) -> Ints:  # run = interval · members + member
            return drawn.ns(run, -(-rows // workers), seen, at_once)

        o = simulate_runs(
            arrivals,
            np.repeat(intervals, members),
            cost=cost_of,
            horizon_ns=horizon_ns if isinstance(horizon_ns, int) else np.repeat(horizon_ns, members),
            policy=policy,
            max_rows_per_batch=max_rows_per_batch,
            sample=len(arrivals) if len(arrivals) * len(intervals) * members <= EXACT_ROWS else sample,
            drain=drain,
        )
        shape = (len(intervals), members)
        values = {
            "latency_mean_s": o.mean_s.reshape(shape),
            **{f"latency_{q}_s": o.quantiles_s[:, i].reshape(shape) for i, q in enumerate(("p50", "p95", "p99"))},
            "num_input_rows_mean": o.rows_mean.reshape(shape),
            "num_input_rows_max": o.rows_max.reshape(shape),
            "load": o.load.reshape(shape),
            "backlog_rows": o.left.reshape(shape),
            "throughput": o.throughput.reshape(shape),
        }
        hours = o.duration_s.reshape(shape)[:, 0] / 3600
        money, unit = _cost_sums(o, shape, cost, price)
        return cls(
            intervals,
            values,
            _regimes(o, values["load"]),
            o.batches.reshape(shape)[:, 0] / hours,
            money / hours,
            unit,
            cost.rows_probed[1],
            _sizes(o, shape),
        )

    def middle(self, name: str) -> Floats:
        """Return a measure's median over the members, one an interval; NaN where none has a value."""
        return _quantile(self.values[name], 0.5)

    def band(self, name: str, widen: float = 1.0) -> tuple[Floats, Floats]:
        """Return the 95 % band of a measure.

        Few members say little of the tails, so each end is the farther one of two: their 2.5 % or 97.5 % quantile, and
        middle·exp(∓1.96·sd), with sd that of the members' log. Widening by w takes an end to middle·(end/middle)^w.

        Args:
            name: A measure above 0.
            widen: Factor on the band's half width, as predictions that were checked before have earned it.
        """
        values = self.values[name]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.where(values > 0, values, np.nan))
        known = np.isfinite(logs).sum(axis=1)
        centred = np.where(np.isfinite(logs), logs - _quantile(logs, 0.5)[:, None], 0.0)
        spread = np.sqrt((centred**2).sum(axis=1) / np.maximum(known - 1, 1))
        spread = np.where(np.isfinite(spread), spread, 0.0)
        middle = self.middle(name)
        low = np.fmin(_quantile(values, 0.025), middle * np.exp(-Z95 * spread))
        high = np.fmax(_quantile(values, 0.975), middle * np.exp(Z95 * spread))
        with np.errstate(divide="ignore", invalid="ignore"):
            return (
                np.where(low > 0, middle * (low / middle) ** widen, low),
                np.where(middle > 0, middle * (high / middle) ** widen, high),
            )

    def chance(self, limits: Mapping[str, float], widen: float = 1.0) -> Floats:
        """Return the share of members that keep every limit, one an interval.

        Args:
            limits: Measure → highest value allowed.
            widen: Factor on each member's distance from the middle, on a log scale.
        """
        kept = np.ones(next(iter(self.values.values())).shape, np.bool_)
        for name, limit in limits.items():
            values, middle = self.values[name], self.middle(name)[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                kept &= np.where(middle > 0, middle * (values / middle) ** widen, values) <= limit
        return np.asarray(kept.mean(axis=1), np.float64)

    def table(self, widen: float = 1.0) -> pd.DataFrame:
        """Return the curve: the middle of the members, with `_lo` and `_hi`, largest batch and cost."""
        columns: dict[str, Any] = {"interval_s": self.intervals / NS, "regime": self.regimes}
        columns |= {name: self.middle(name) for name in self.values}
        columns["backlog_rows"] = np.rint(columns["backlog_rows"]).astype(np.int64)
        named = {name: columns[name] for name in CURVE_COLUMNS}
        for name in BANDED:
            named[f"{name}_lo"], named[f"{name}_hi"] = self.band(name, widen)
        named["num_input_rows_max"] = columns["num_input_rows_max"]
        named["batches_per_hour"] = self.batches_per_hour
        named["cost_per_hour"] = self.cost_per_hour
        named["extrapolated"] = self.extrapolated
        return pd.DataFrame(named)

    @property
    def keeps_up(self) -> Bools:
        """Whether an interval's backlog stays bounded and its load below 1."""
        return np.array([r != "unsustainable" for r in self.regimes]) & (self.middle("load") < 1)

    @property
    def extrapolated(self) -> Bools:
        """Whether an interval brings batches a third larger than any that was tried."""
        return np.asarray(self.middle("num_input_rows_max") > 1.3 * self.rows_largest, np.bool_)


def _regimes(o: Outcome, load: Floats) -> list[str]:
    """Return each interval's regime, of one mind with the load that a table shows beside it."""
    found = []
    for i, full in enumerate(_quantile(load, 0.5) >= 1 - ROUNDING):
        regime = o.regime(i * load.shape[1])
        if regime != "unsustainable" and full:
            regime = "self_clocked"
        elif regime == "self_clocked":  # the first member's load is 1 and more, the middle's is not
            regime = "catching_up"
        found.append(regime)
    return found


def _sizes(o: Outcome, shape: tuple[int, int]) -> list[Ints]:
    """Return the rows of each interval's batches in its first member, without empty ones."""
    b, (count, members) = o.batches_of, shape
    found = [b.rows[b.of(i * members)] for i in range(count)]
    return [rows[rows > 0] for rows in found]


def _quantile(values: Floats, q: float) -> Floats:
    """Return a quantile over the members that have a value, NaN where none has."""
    found = np.quantile(values, q, axis=1)
    gaps = np.isnan(found)
    some = gaps & ~np.isnan(values).all(axis=1)
    if some.any():  # nanquantile goes row by row
        found[some] = np.nanquantile(values[some], q, axis=1)
    return np.asarray(found, np.float64)


def _cost_sums(o: Outcome, shape: tuple[int, int], model: CostModel, price: PriceOfRows | None) -> tuple[Floats, str]:
    """Return what each interval's batches cost together, in its first member, and in which unit.

    Money where there is a price. CPU seconds, unless the work is mostly waiting: then what it occupies is time.
    """
    if price is None and model.waits:
        return o.busy_s.reshape(shape)[:, 0], "busy s"
    b, run, (count, members) = o.batches_of, o.batches_of.run, shape
    first = run % members == 0
    rows, which = b.rows[first], run[first] // members
    full = rows > 0
    rows, which = rows[full], which[full]
    if price is None:
        each, unit = model.cpu_s(rows, b.high[first][full] - rows), "CPU s"
    else:
        each, unit = _priced(price, rows), "money"
    return np.bincount(which, weights=each, minlength=count).astype(np.float64), unit


def _priced(price: PriceOfRows, rows: Ints) -> Floats:
    """Return the price of each batch; asked with the array, else batch by batch."""
    ask: Callable[[Any], Any] = price
    try:
        each = np.broadcast_to(np.asarray(ask(rows), np.float64), rows.shape)
    except (TypeError, ValueError):
        each = np.array([float(ask(int(n))) for n in rows])
    if not np.isfinite(each).all() or (each < 0).any():
        raise SettingError("price must give a finite amount, 0 or more, for each batch.")
    return each

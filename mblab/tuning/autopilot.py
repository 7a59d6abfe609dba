"""The interval moved while a run is on: by the law and the rate of arrivals, not by growing and shrinking.

After each batch it asks three questions. Has the rate of arrivals changed? Does a batch cost what the law says? Is
another interval so much better that moving is worth it? Every answer that moves something is noted with its reason.

    engine, records -> cost -> [autopilot] -> the run's interval
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import pandas as pd

from mblab.engine.engine import Engine
from mblab.engine.records import BatchRecord
from mblab.timing.durations import NS, format_s
from mblab.tuning.arrays import Floats, Ints
from mblab.tuning.arrival_rate import RateWatch
from mblab.tuning.cost import CostModel
from mblab.tuning.drift import Drift
from mblab.tuning.target import Target, freshest

__all__ = ["DECISION_COLUMNS", "Autopilot", "Decision", "outlook"]

DECISION_COLUMNS: Final = (
    "at_s", "batch_id", "interval_s", "before_s", "rate", "latency_p95_s", "load", "reason",
)  # fmt: skip
MARGIN: Final = 0.95  # of a latency limit and of the load: room for what the rate does before it is noticed
BRINK: Final = 0.99
DEADBAND: Final = 0.08  # a better interval must differ by this much
REVIEW_NS: Final = 5 * NS  # a plan is looked at again this often even when nothing was noticed
DRAWS: Final = 120  # batches that a share of pauses is drawn among
PHASES: Final = (np.arange(64) + 0.5) / 64


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing the autopilot did.

    Attributes:
        at_s: When, on the run's clock: the end of the batch it followed.
        batch_id: That batch.
        interval_s: The interval from then on.
        before_s: The one before.
        rate: Rows a second it plans for.
        latency_p95_s: What it expects.
        load: What it expects.
        reason: Why, in plain words.
    """

    at_s: float
    batch_id: int
    interval_s: float
    before_s: float
    rate: float
    latency_p95_s: float
    load: float
    reason: str


def outlook(model: CostModel, intervals_s: Floats, rate: float, seen: float = 0.0) -> dict[str, Floats]:
    """Return latency quantiles and load of intervals at a steady rate: a batch of λT rows, a row anywhere in it.

    Args:
        model: The law.
        intervals_s: Seconds.
        rate: Rows a second.
        seen: Rows before.

    >>> law = CostModel.fit(pd.DataFrame({"num_input_rows": [10, 100, 1000], "seconds": [0.102, 0.12, 0.3]}))
    >>> {k: round(float(v[0]), 2) for k, v in outlook(law, np.array([1.0]), 1000.0).items()}
    {'latency_p50_s': 0.8, 'latency_p95_s': 1.25, 'latency_p99_s': 1.29, 'load': 0.3}
    """
    work = model.work_s(np.maximum(rate * intervals_s, 1.0), seen)
    each = work[:, None] * np.quantile(model.scatter, (np.arange(15) + 0.5) / 15) + model.before.wake_s
    pauses = model.pauses
    if pauses.count:
        chance = pauses.count / pauses.tried
        if pauses.per_second:
            chance = float(np.mean(1 - np.exp(-pauses.count / pauses.work_s * work)))
        usual = np.tile(each, math.ceil(DRAWS * (1 - chance) / 15))
        count = max(1, round(DRAWS * chance))
        paused = np.quantile(pauses.seconds, (np.arange(count) + 0.5) / count)
        each = np.concatenate([usual, each.mean(1)[:, None] + paused], axis=1)
    latency = (each[:, :, None] + intervals_s[:, None, None] * PHASES).reshape(len(intervals_s), -1)
    p50, p95, p99 = np.quantile(latency, [0.5, 0.95, 0.99], axis=1)
    return {"latency_p50_s": p50, "latency_p95_s": p95, "latency_p99_s": p99, "load": each.mean(1) / intervals_s}


class Autopilot:
    """Watches one run's batches and moves its interval; called with the engine and each batch's record.

    Args:
        model: What a batch costs.
        target: Limits and objective.
        low_ns: Shortest interval it may set.
        high_ns: Longest.
        move: Called as move(interval_ns, at_ns) to set the interval at a time of the run's clock.
    """

    def __init__(
        self, model: CostModel, target: Target, low_ns: int, high_ns: int, move: Callable[[int, int], None]
    ) -> None:
        self.model, self._target, self._move = model, target, move
        self._grid = np.geomspace(low_ns / NS, high_ns / NS, 160)
        self._engine: weakref.ref[Engine] | None = None  # the first one it is called with; it must not outlive its run
        self._watch = RateWatch()
        self._decisions: list[Decision] = []
        self._start_ns, self._backlog = 0, 0
        self._planned_rate, self._reviewed_ns = 0.0, -REVIEW_NS
        self._drift = Drift()
        self._interval_ns = 0

    @property
    def decisions(self) -> pd.DataFrame:
        """One row a decision: at_s, batch_id, interval_s, before_s, rate, latency_p95_s, load, reason."""
        return pd.DataFrame([asdict(d) for d in self._decisions], columns=list(DECISION_COLUMNS))

    @property
    def latency_s(self) -> float | None:
        """The tightest latency that is to be kept, or None."""
        return self._target.latency_s

    def __call__(self, engine: Engine, record: BatchRecord) -> None:
        """Take a batch's record; it follows the first run that it is called with, and ignores those of other runs."""
        if self._engine is None:
            self._engine = weakref.ref(engine)
        if not self._follows(engine) or record.status == "failed":
            return
        arrived = record.num_input_rows + record.backlog_rows - self._backlog
        self._watch.note(arrived, (record.start_ns - self._start_ns) / NS, record.start_ns)
        self._start_ns, self._backlog = record.start_ns, record.backlog_rows
        self._interval_ns = engine.timetable.interval_ns
        reasons = [f"arrivals {self._watch.stepped}"] if self._watch.stepped else []
        drifted = self._drift.note(record, engine.feed.taken - record.num_input_rows, self.model)
        if drifted is not None:
            self.model = drifted.model
            reasons.append(drifted.reason)
        self._consider(engine, record, reasons, forced=drifted is not None)

    def rests(self, engine: Engine) -> bool:
        """Return whether more batches without rows change nothing: it is used to them, or follows another run."""
        return not self._follows(engine) or self._watch.is_silent(self._start_ns)

    def slept(self, engine: Engine, last: BatchRecord) -> None:
        """Take the last of many batches without rows."""
        if self._follows(engine):
            self._start_ns = last.start_ns

    def _follows(self, engine: Engine) -> bool:
        return self._engine is not None and engine is self._engine()

    def _consider(self, engine: Engine, record: BatchRecord, reasons: list[str], *, forced: bool) -> None:
        rate, now = self._watch.planned(record.end_ns), record.end_ns
        if rate <= 0:
            return
        same = self._planned_rate and abs(rate / self._planned_rate - 1) < 0.03
        if same and not forced and now - self._reviewed_ns < REVIEW_NS:
            return
        self._planned_rate, self._reviewed_ns = rate, now
        best, view, met = self._plan(rate, engine.feed.taken)
        before = self._interval_ns / NS
        if abs(math.log(best / before)) < DEADBAND and not (met and self._breaks(before, rate, engine.feed.taken)):
            if forced:
                self._note(record, before, before, rate, view, "; ".join(reasons))
            return
        if not met:
            reasons.append(f"no interval keeps {self._target} at this rate, so the one with the lowest latency")
        chosen = round(float(f"{best:.3g}") * NS)
        said = "; ".join(reasons) or f"{format_s(best)} is {'cheaper' if best > before else 'fresher'} at this rate"
        self._note(record, chosen / NS, before, rate, view, said)
        self._move(chosen, now)

    def _note(
        self, record: BatchRecord, interval_s: float, before_s: float, rate: float, view: dict[str, float], reason: str
    ) -> None:
        self._decisions.append(
            Decision(
                record.end_ns / NS,
                record.batch_id,
                interval_s,
                before_s,
                rate,
                view["latency_p95_s"],
                view["load"],
                reason,
            )
        )

    def _plan(self, rate: float, seen: int) -> tuple[float, dict[str, float], bool]:
        """Return the best interval at a rate, what to expect of it, and whether it keeps the limits."""
        view = outlook(self.model, self._grid, rate, seen)
        at = self._keeping(view, MARGIN)
        at = at if len(at) else self._keeping(view, 1.0)
        if not len(at):
            full = np.where(view["load"] < MARGIN, view["latency_p95_s"], np.inf)
            best = int(np.argmin(full)) if np.isfinite(full).any() else int(np.argmin(view["load"]))
        elif self._target.objective in ("fastest", "latency"):
            best = int(at[freshest(view[self._target.quantile][at], view["load"][at])])
        elif self._target.objective == "cheapest":
            best = int(at[np.argmin(view["load"][at])])
        else:
            trade = np.log(view["load"][at]) + np.log(view["latency_p95_s"][at])
            best = int(at[np.argmin(trade)])
        return float(self._grid[best]), {k: float(v[best]) for k, v in view.items()}, bool(len(at))

    def _breaks(self, interval_s: float, rate: float, seen: int) -> bool:
        """Return whether an interval breaks a limit, or all but does: then also a small move is worth it."""
        view = outlook(self.model, np.array([interval_s]), rate, seen)
        limits = {"load": 1.0} | {**self._target.limits}
        return any(float(view[name][0]) > BRINK * limit for name, limit in limits.items())

    def _keeping(self, view: dict[str, Floats], margin: float) -> Ints:
        """Return where on the grid every limit is kept, with room to spare."""
        keeps = view["load"] < margin
        for name, limit in self._target.limits.items():
            keeps &= view[name] <= margin * limit
        return np.flatnonzero(keeps)

"""The interval moved while a run is on: by the law and the rate of arrivals, not by growing and shrinking.

After each batch it asks three questions. Has the rate of arrivals changed? Does a batch cost what the law says? Is
another interval so much better that moving is worth it? Every answer that moves something is noted with its reason.

    engine + records -> cost -> [autopilot] -> lab
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import pandas as pd

from mblab.engine.engine import Engine
from mblab.engine.records import BatchRecord
from mblab.timing.durations import NS, format_s
from mblab.tuning.arrays import Floats, Ints
from mblab.tuning.cost import CostModel
from mblab.tuning.target import Target

__all__ = ["DECISION_COLUMNS", "Autopilot", "Decision", "RateWatch", "outlook"]

DECISION_COLUMNS: Final = (
    "at_s", "batch_id", "interval_s", "before_s", "rate", "latency_p95_s", "load", "reason",
)  # fmt: skip
MARGIN: Final = 0.95  # of a latency limit and of the load: room for what the rate does before it is noticed
BRINK: Final = 0.99
DEADBAND: Final = 0.08  # a better interval must differ by this much
REVIEW_NS: Final = 5 * NS  # a plan is looked at again this often even when nothing was noticed
DRAWS: Final = 120  # batches that a share of pauses is drawn among
PHASES: Final = (np.arange(64) + 0.5) / 64
MEMORY_NS: Final = 60 * NS
WINDOWS: Final = 64
FEW_BURSTS: Final = 3  # by which their level is known
SLACK, ALARM = 0.75, 6.0  # of the CUSUM, in standard deviations (E. S. Page, "Continuous inspection schemes", 1954)
WORTH: Final = 0.06  # a cost that is off by less is not worth a correction
FRESH: Final = 40  # batches that a refitted law rests on


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


class RateWatch:
    """The rate of arrivals, batch by batch: steady ones averaged, a step noticed at once, bursts remembered."""

    def __init__(self) -> None:
        self._windows: deque[tuple[float, float]] = deque(maxlen=WINDOWS)  # (rows, seconds) since the last step
        self._odd: list[tuple[float, float]] = []  # windows that are off, and may be the beginning of a step
        self._ups: deque[tuple[int, float]] = deque(maxlen=8)  # when a step up came, and to which rate
        self._calms: deque[float] = deque(maxlen=8)  # the rate before each of them
        self._settling = self._rising = False
        self.stepped = ""

    @property
    def rate(self) -> float:
        """Rows a second since the last step; 0 before there is anything to go by."""
        seconds = sum(s for _, s in self._windows)
        return sum(n for n, _ in self._windows) / seconds if seconds > 0 else 0.0

    def note(self, rows: int, seconds: float, at_ns: int) -> None:
        """Take what arrived between two starts.

        A window that is off by more than chance explains is kept apart; a second one on the same side makes it a step,
        and a window that is off by two fifths does so alone. The first window of a step lies partly before it, so the
        second replaces it.
        """
        self.stepped = ""
        if seconds <= 0:
            return
        usual, window = self.rate, (float(rows), seconds)
        expected = max(usual * seconds, 1.0)
        off, chance = rows / expected - 1, 1 / math.sqrt(expected)
        settled = self._settling
        if self._settling:
            self._settling = False
            if abs(off) > max(0.05, 3 * chance):
                self._windows.clear()
                self.stepped = f"settled at {rows / seconds:,.0f} rows a second"
        elif len(self._windows) >= 2 and abs(off) > max(0.15, 4 * chance):
            self._odd = [*(w for w in self._odd if (w[0] > usual * w[1]) == (off > 0)), window]
            if len(self._odd) >= 2 or abs(off) > 0.4:
                self._step(usual, window, at_ns)
            return
        self._odd = []
        self._windows.append(window)
        if self._rising and self._ups:
            self._ups[-1] = (self._ups[-1][0], self.rate)
            if settled and self._is_new_level():
                self._ups, self._calms = deque([self._ups[-1]], maxlen=8), deque([self._calms[-1]], maxlen=8)

    def _step(self, usual: float, window: tuple[float, float], at_ns: int) -> None:
        found = window[0] / window[1]
        self._windows.clear()
        self._windows.append(window)
        self._odd, self._settling, self._rising = [], True, found > usual
        if self._rising:
            self._ups.append((at_ns, found))
            self._calms.append(usual)
        self.stepped = f"stepped, {usual:,.0f} → {found:,.0f} rows a second"

    def _is_new_level(self) -> bool:
        """Return whether the present rate is neither that of the bursts so far nor of the calm between them.

        Then they are over. Bursts of very different heights have no level of their own, so nothing is new beside them.
        """
        bursts, calms = [rate for _, rate in self._ups][:-1], [*self._calms][:-1]
        if len(bursts) < FEW_BURSTS:
            return False
        off = [abs(math.log(self.rate) - np.log(level).mean()) for level in (bursts, calms)]
        usual = [max(0.25, 4 * float(np.log(level).std())) for level in (bursts, calms)]
        return bool(off[0] > usual[0] and off[1] > usual[1])

    def planned(self, now_ns: int) -> float:
        """Return the rate to plan for: the present one, or that of bursts which keep coming back."""
        recent = [(at, rate) for at, rate in self._ups if now_ns - at <= MEMORY_NS]
        if len(recent) < 2:
            return self.rate
        between = (recent[-1][0] - recent[0][0]) / (len(recent) - 1)
        if now_ns - recent[-1][0] > 3 * between:  # they have stopped
            return self.rate
        return max(self.rate, *(rate for _, rate in recent))


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
        self._drift = _Drift()
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
        """Take a batch's record; a run other than the first one is none of its business."""
        if self._engine is None:
            self._engine = weakref.ref(engine)
        if engine is not self._engine() or record.status == "failed":
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
        elif self._target.objective == "fastest":
            best = int(at[0])
        elif self._target.objective == "cheapest":
            best = int(at[np.argmin(view["load"][at])])
        elif self._target.objective == "latency":
            best = int(at[np.argmin(view["latency_p95_s"][at])])
        else:
            trade = np.log(view["load"][at]) + np.log(view["latency_p95_s"][at])
            best = int(at[np.argmin(trade)])
        return float(self._grid[best]), {k: float(v[best]) for k, v in view.items()}, bool(len(at))

    def _breaks(self, interval_s: float, rate: float, seen: int) -> bool:
        """Return whether an interval breaks a limit, or all but does: then also a small move is worth it."""
        view = outlook(self.model, np.array([interval_s]), rate, seen)
        return any(float(view[name][0]) > BRINK * limit for name, limit in self._target.limits.items())

    def _keeping(self, view: dict[str, Floats], margin: float) -> Ints:
        """Return where on the grid every limit is kept, with room to spare."""
        keeps = np.ones(len(self._grid), np.bool_)
        for name, limit in self._target.limits.items():
            keeps &= view[name] <= margin * limit
        return np.flatnonzero(keeps)


@dataclass(frozen=True, slots=True)
class _Corrected:
    """A law put right."""

    model: CostModel
    reason: str


class _Drift:
    """Whether batches cost what the law says: a two-sided CUSUM over log(actual / law)."""

    def __init__(self) -> None:
        self._up = self._down = 0.0
        self._since: list[float] = []  # log ratios since the sums were last both at 0
        self._batches: deque[tuple[int, int, float, float, float]] = deque(maxlen=FRESH)
        self._scaled_at: int | None = None

    def note(self, record: BatchRecord, seen: int, model: CostModel) -> _Corrected | None:
        """Take a batch; return a law put right once it is clear that the old one no longer holds."""
        rows = record.num_input_rows
        if rows == 0:
            return None
        took = (record.end_ns - record.start_ns - record.wake_ns) / NS
        self._batches.append((rows, seen, took, record.cpu_ns / NS, record.start_ns / NS))
        law = float(model.work_s(np.array([float(rows)]), float(seen))[0])
        if took <= 0 or law <= 0:
            return None
        off, sd = math.log(took / law), max(1.4826 * model.spread, 0.03)
        slack = max(SLACK, WORTH / sd)
        step = min(max(off / sd, -slack - 2.5), slack + 2.5)  # one pause is no drift
        self._up, self._down = max(0.0, self._up + step - slack), max(0.0, self._down - step - slack)
        self._since = [*self._since, off] if self._up or self._down else []
        if max(self._up, self._down) < ALARM or len(self._since) < 3:
            return None
        factor = math.exp(float(np.median(self._since)))
        self._up = self._down = 0.0
        self._since = []
        return self._corrected(record.batch_id, factor, model)

    def _corrected(self, batch_id: int, factor: float, model: CostModel) -> _Corrected:
        """Scale the law; when scaling did not hold and sizes differ enough, fit it anew to the batches since."""
        last, self._scaled_at = self._scaled_at, batch_id
        sizes = [b[0] for b in self._batches]
        said = f"batches take {factor:.2f}× what the law says"
        if last is not None and batch_id - last < FRESH and len(sizes) >= 12 and max(sizes) > 2 * min(sizes):
            names = ["num_input_rows", "seen_rows", "seconds", "cpu_s", "at_s"]
            frame = pd.DataFrame(list(self._batches), columns=names)
            newer = CostModel.fit(frame, before=model.before, host_sd=model.host_sd)
            return _Corrected(newer, f"{said}; fitted anew to the last {len(sizes)} batches")
        return _Corrected(model.scaled(factor), f"{said}; law rescaled")

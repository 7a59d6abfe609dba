"""Many runs at once, batch by batch, without a single batch: each run is a lane, the lanes step together on arrays.

The schedule is the engine's own. What is known of a lane afterwards: every batch's start, end and size, and from them
its records' latencies, exactly for mean and maximum; quantiles are exact up to a number of rows and from that many
evenly chosen ones beyond.

    arrivals + cost + schedule -> [lanes] -> whatif
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mblab.metrics import regime
from mblab.timing.durations import NS
from mblab.timing.schedule import follow

__all__ = ["QUANTILES", "Batches", "Floats", "Ints", "LaneCost", "Outcome", "run_lanes"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
LaneCost = Callable[[Ints, Ints, Ints, Bools], Ints]  # (lane, rows, rows before, at once) -> ns, a batch of each lane
QUANTILES = (0.5, 0.95, 0.99)
CHUNK = 2_000_000  # sampled rows that are held at once
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Batches:
    """Every batch of every lane, lane after lane, each lane's in order.

    Attributes:
        edges: Where each lane's batches begin; one more than there are lanes.
        start: Nominal start, ns.
        end: ns.
        high: Rows taken up to and with this batch.
        rows: Rows of the batch.
        backlog: Rows that were available and left waiting.
    """

    edges: Ints
    start: Ints
    end: Ints
    high: Ints
    rows: Ints
    backlog: Ints

    @property
    def lane(self) -> Ints:
        """Each batch's lane."""
        return np.repeat(np.arange(len(self.edges) - 1), np.diff(self.edges))

    def sum(self, values: npt.NDArray[np.generic]) -> Floats:
        """Return the sum over each lane's batches."""
        return np.bincount(self.lane, weights=values, minlength=len(self.edges) - 1).astype(np.float64)

    def largest(self, values: Ints) -> Ints:
        """Return the largest of each lane's batches, 0 where there are none."""
        found = np.zeros(len(self.edges) - 1, np.int64)
        np.maximum.at(found, self.lane, values)
        return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What each lane came to; float64 arrays, one value a lane, seconds and rows.

    Attributes:
        mean_s: Mean latency; NaN where no row was processed.
        quantiles_s: [lane, 3], latency at 0.5, 0.95 and 0.99.
        rows_mean: Rows of a batch with rows, on average.
        rows_max: Rows of the largest batch.
        load: Σ duration / Σ interval.
        busy_s: Σ duration.
        batches: Batches with rows.
        left: Rows that had arrived by the end and were not taken.
        throughput: Rows a second.
        duration_s: Until the horizon, or the last end.
        horizon_s: Until when rows could come, and batches begin.
        batches_of: The batches themselves.
    """

    mean_s: Floats
    quantiles_s: Floats
    rows_mean: Floats
    rows_max: Floats
    load: Floats
    busy_s: Floats
    batches: Floats
    left: Floats
    throughput: Floats
    duration_s: Floats
    horizon_s: Floats
    batches_of: Batches

    def regime(self, lane: int) -> str:
        """Return on_schedule, self_clocked or unsustainable."""
        b = self.batches_of
        mine = slice(int(b.edges[lane]), int(b.edges[lane + 1]))
        horizon = float(self.horizon_s[lane])
        during = b.start[mine] / NS <= horizon
        done = float(b.rows[mine].sum())
        return regime(
            b.start[mine][during] / NS,
            b.backlog[mine][during].astype(np.float64),
            b.rows[mine][during].astype(np.float64),
            load=float(self.load[lane]),
            arrival_rate=(done + float(self.left[lane])) / horizon if horizon else 0.0,
        )


def _step_all(arrivals: Ints, intervals: Ints, horizon: Ints, policy: str, cap: int | None, cost: LaneCost) -> Batches:
    """Run every lane until its next start (`queue`: grid point) is past its horizon."""
    lane = np.arange(len(intervals))
    due, taken = intervals.copy(), np.zeros(len(intervals), np.int64)
    start, queue, step = due.copy(), policy == "queue", intervals
    steps: list[tuple[Ints, ...]] = []
    while True:
        going = (due if queue else start) <= horizon
        if not going.all():
            lane, due, start, taken = lane[going], due[going], start[going], taken[going]
            step, horizon = step[going], horizon[going]
        if not len(lane):
            break
        available = arrivals.searchsorted(due if queue else start)
        high = available if cap is None else np.minimum(available, taken + cap)
        rows = high - taken
        end = start + cost(lane, rows, taken, start > due)
        backlog = (arrivals.searchsorted(start) if queue else available) - high
        steps.append((lane, start, end, high, rows, backlog))
        due, start = follow(policy, due, start, end, step)
        taken = high
    return _by_lane(steps, len(intervals))


def _by_lane(steps: list[tuple[Ints, ...]], lanes: int) -> Batches:
    """Put what was found step by step into lane order: the k-th step of a lane is its k-th batch."""
    empty = np.empty(0, np.int64)
    lane = np.concatenate([s[0] for s in steps] or [empty])
    edges = np.concatenate([[0], np.cumsum(np.bincount(lane, minlength=lanes))])
    place = np.concatenate([edges[s[0]] + k for k, s in enumerate(steps)] or [empty])
    found = []
    for i in range(1, 6):
        column = np.empty(len(lane), np.int64)
        column[place] = np.concatenate([s[i] for s in steps] or [empty])
        found.append(column)
    return Batches(edges, *found)


def _latency_quantiles(arrivals: Ints, batches: Batches, done: Ints, sample: int) -> Floats:
    """Return [lane, 3] latency quantiles in seconds, linear between records; NaN where there are none."""
    lanes, most = len(done), int(min(sample, done.max(initial=0)))
    found = np.full((lanes, len(QUANTILES)), np.nan)
    if most == 0:
        return found
    counts, lane = np.minimum(done, most), batches.lane
    apart, among = np.maximum(counts - 1, 1), np.maximum(done - 1, 1)
    # The k-th sample is row k·among // apart, which is below high for k < high·apart / among.
    upto = np.minimum(-(-batches.high * apart[lane] // among[lane]), counts[lane])
    upto += (np.cumsum(counts) - counts)[lane]
    share = np.diff(upto, prepend=0)  # samples of each batch
    k = np.arange(most)[None, :]
    for first in range(0, lanes, max(1, CHUNK // most)):
        part = np.arange(first, min(lanes, first + max(1, CHUNK // most)))
        mine = slice(int(batches.edges[first]), int(batches.edges[part[-1] + 1]))
        count = counts[part, None]
        held = k < count
        row = (k * among[part, None] // apart[part, None])[held]
        latency = np.full(held.shape, NEVER)
        latency[held] = np.repeat(batches.end[mine], share[mine]) - arrivals[row]
        latency.sort(axis=1)
        for i, q in enumerate(QUANTILES):
            height = np.maximum(count[:, 0] - 1, 0) * q
            low = height.astype(np.int64)
            lower = np.take_along_axis(latency, low[:, None], 1)[:, 0]
            upper = np.take_along_axis(latency, np.minimum(low + 1, np.maximum(count[:, 0] - 1, 0))[:, None], 1)[:, 0]
            value = (lower + (height - low) * (upper - lower)) / NS
            found[part, i] = np.where(done[part] > 0, value, np.nan)
    return found


def run_lanes(
    arrivals: Ints,
    intervals: Ints,
    *,
    cost: LaneCost,
    horizon_ns: int | Ints,
    policy: str = "asap",
    max_rows_per_batch: int | None = None,
    sample: int = 4096,
) -> Outcome:
    """Run one lane an interval over the same arrivals.

    Args:
        arrivals: ns of the run's clock, ascending.
        intervals: ns, one a lane.
        cost: Asked once a step for all lanes that are still going; `at once` says whether a batch follows the one
            before without waiting for its trigger.
        horizon_ns: Length of the run, one for all lanes or one a lane.
        policy: asap, skip or queue.
        max_rows_per_batch: Cap, or None.
        sample: Of how many rows quantiles are taken at most.
    """
    horizon = np.broadcast_to(np.asarray(horizon_ns, np.int64), intervals.shape)
    b = _step_all(arrivals, intervals, horizon, policy, max_rows_per_batch, cost)
    count = np.diff(b.edges)
    done = b.largest(b.high)
    busy = b.sum((b.end - b.start) / NS)
    full = b.sum(b.rows > 0)
    sums = np.concatenate([[0.0], np.cumsum(arrivals / NS)])
    duration = np.maximum(b.largest(b.end), horizon) / NS
    with np.errstate(invalid="ignore", divide="ignore"):
        return Outcome(
            np.where(done > 0, (b.sum(b.end / NS * b.rows) - sums[done]) / done, np.nan),
            _latency_quantiles(arrivals, b, done, sample),
            np.where(full > 0, done / full, 0.0),
            b.largest(b.rows).astype(np.float64),
            np.where(count > 0, busy / (intervals / NS * count), 0.0),
            busy,
            full,
            np.maximum(0, arrivals.searchsorted(horizon) - done).astype(np.float64),
            np.where(duration > 0, done / duration, np.nan),
            duration,
            horizon / NS,
            b,
        )

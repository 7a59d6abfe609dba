"""Many runs at once, batch by batch, without a single batch: arrays hold one value a run, and all runs step together.

The schedule is the engine's own. What is known of a run afterwards: every batch's start, end and size, and from them
its records' latencies, exactly for mean and maximum; quantiles are exact up to a number of rows and from that many
evenly chosen ones beyond.

    arrival times + cost + schedule -> [simulate] -> ensemble, whatif, diagnosis
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mblab.metrics import behind_rows, regime
from mblab.timing.durations import NS
from mblab.timing.policies import RULES
from mblab.timing.schedule import follow
from mblab.tuning.arrays import Bools, Floats, Ints

__all__ = ["Batches", "CostOfRuns", "Outcome", "simulate_runs"]

CostOfRuns = Callable[[Ints, Ints, Ints, Bools], Ints]  # (run, rows, rows before, at once) -> ns, a batch of each run
QUANTILES: Final = (0.5, 0.95, 0.99)
CHUNK: Final = 2_000_000  # sampled rows that are held at once
NEVER: Final = np.iinfo(np.int64).max
LONG: Final = 1000  # batches without rows, of a silence that is passed over


@dataclass(frozen=True, slots=True)
class Batches:
    """Every batch of every run, run after run, each run's in order.

    Attributes:
        edges: Where each run's batches begin; one more than there are runs.
        start: Nominal start, ns.
        end: ns.
        high: Rows taken up to and with this batch.
        rows: Rows of the batch.
        backlog: Rows that were available and left waiting.
        late: Whether the batch started after it was due, 0 or 1.
        passed: Of each run, how many batches of long silences are not among them: without rows, on time and at no cost.
    """

    edges: Ints
    start: Ints
    end: Ints
    high: Ints
    rows: Ints
    backlog: Ints
    late: Ints
    passed: Ints

    @property
    def run(self) -> Ints:
        """Each batch's run."""
        return np.repeat(np.arange(len(self.edges) - 1), np.diff(self.edges))

    def of(self, run: int) -> slice:
        """Return where the batches of one run are."""
        return slice(int(self.edges[run]), int(self.edges[run + 1]))

    def sum(self, values: npt.NDArray[np.generic]) -> Floats:
        """Return the sum over each run's batches."""
        return np.bincount(self.run, weights=values, minlength=len(self.edges) - 1).astype(np.float64)

    def largest(self, values: Ints) -> Ints:
        """Return the largest of each run's batches, 0 where there are none."""
        found = np.zeros(len(self.edges) - 1, np.int64)
        np.maximum.at(found, self.run, values)
        return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What each run came to; float64 arrays, one value a run, seconds and rows.

    Attributes:
        mean_s: Mean latency; NaN where no row was processed.
        quantiles_s: [run, 3], latency at 0.5, 0.95 and 0.99.
        rows_mean: Rows of a batch with rows, on average.
        rows_max: Rows of the largest batch.
        load: Σ duration / Σ interval.
        busy_s: Σ duration.
        behind_share: Share of the processed rows that waited for an earlier batch or in the backlog.
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
    behind_share: Floats
    batches: Floats
    left: Floats
    throughput: Floats
    duration_s: Floats
    horizon_s: Floats
    batches_of: Batches

    def regime(self, run: int) -> str:
        """Return on_schedule, catching_up, self_clocked or unsustainable."""
        b, mine, horizon = self.batches_of, self.batches_of.of(run), float(self.horizon_s[run])
        during = b.start[mine] / NS <= horizon
        done = float(b.rows[mine].sum())
        return regime(
            b.start[mine][during] / NS,
            b.backlog[mine][during].astype(np.float64),
            b.rows[mine][during].astype(np.float64),
            load=float(self.load[run]),
            behind_share=float(self.behind_share[run]),
            arrival_rate=(done + float(self.left[run])) / horizon if horizon else 0.0,
        )


def _step_all(
    arrivals: Ints, intervals: Ints, horizon: Ints, policy: str, cap: int | None, cost: CostOfRuns, *, drain: bool
) -> Batches:
    """Step every run until its next start (`queue`: grid point) is past its horizon, or all its rows are taken."""
    run = np.arange(len(intervals))
    due, taken = intervals.copy(), np.zeros(len(intervals), np.int64)
    start, queue, step = due.copy(), RULES[policy].every_trigger, intervals
    passed, until = np.zeros(len(intervals), np.int64), np.append(arrivals, NEVER)
    steps: list[tuple[Ints, ...]] = []
    while True:
        going = taken < len(arrivals) if drain else (due if queue else start) <= horizon
        if not going.all():
            run, due, start, taken = run[going], due[going], start[going], taken[going]
            step, horizon = step[going], horizon[going]
        if not len(run):
            break
        available = arrivals.searchsorted(due if queue else start)
        high = available if cap is None else np.minimum(available, taken + cap)
        rows = high - taken
        end = start + cost(run, rows, taken, start > due)
        backlog = (arrivals.searchsorted(start) if queue else available) - high
        steps.append((run, start, end, high, rows, backlog, (start > due).astype(np.int64)))
        idle = (rows == 0) & (end == start)
        due, start = follow(policy, due, start, end, step)
        taken = high
        if idle.any():
            upto: Ints = until[taken] if drain else np.minimum(until[taken], horizon)
            silence: Ints = np.where(idle & (start == due), (upto - due) // step + 1, 0)
            silence[silence < LONG] = 0
            passed[run] += silence
            due, start = due + silence * step, start + silence * step
    return _by_run(steps, passed)


def _by_run(steps: list[tuple[Ints, ...]], passed: Ints) -> Batches:
    """Put what was found step by step into the order of runs: the k-th step of a run is its k-th batch."""
    empty, runs = np.empty(0, np.int64), len(passed)
    run = np.concatenate([s[0] for s in steps] or [empty])
    edges = np.concatenate([[0], np.cumsum(np.bincount(run, minlength=runs))])
    place = np.concatenate([edges[s[0]] + k for k, s in enumerate(steps)] or [empty])
    found = []
    for i in range(1, 7):
        column = np.empty(len(run), np.int64)
        column[place] = np.concatenate([s[i] for s in steps] or [empty])
        found.append(column)
    start, end, high, rows, backlog, late = found
    return Batches(edges, start, end, high, rows, backlog, late, passed)


def _behind_share(b: Batches, done: Ints, *, queue: bool) -> Floats:
    """Return which share of each run's processed rows waited for an earlier batch or in the backlog, 0 without any."""
    left = np.zeros(len(b.rows), np.int64)
    if not queue:
        left[1:] = b.backlog[:-1]
        left[b.edges[:-1][np.diff(b.edges) > 0]] = 0  # before a run's first batch there is none
    return b.sum(behind_rows(b.rows, b.late > 0, left)) / np.maximum(done, 1)


def _latency_quantiles(arrivals: Ints, batches: Batches, done: Ints, sample: int) -> Floats:
    """Return [run, 3] latency quantiles in seconds, linear between records; NaN where there are none.

    Of a run's N processed rows m = min(N, sample) are looked at: sample k is row ⌊k·(N − 1)/(m − 1)⌋, so the first and
    the last row are among them. Batches take rows in order, and high is a whole number, so of the samples

        ⌊k·(N − 1)/(m − 1)⌋ < high  ⟺  k < high·(m − 1)/(N − 1),  which are ⌈high·(m − 1)/(N − 1)⌉,  at most m,

    lie in the batches up to one that ends with row `high`. A sample's latency is its batch's end less its arrival; the
    q-quantile of m sorted ones lies at height (m − 1)·q.
    """
    runs, most = len(done), int(min(sample, done.max(initial=0)))
    found = np.full((runs, len(QUANTILES)), np.nan)
    if most == 0:
        return found
    counts, run = np.minimum(done, most), batches.run
    apart, among = np.maximum(counts - 1, 1), np.maximum(done - 1, 1)  # m − 1 and N − 1
    upto = np.minimum(-(-batches.high * apart[run] // among[run]), counts[run])
    upto += (np.cumsum(counts) - counts)[run]  # now over all runs before, too
    share = np.diff(upto, prepend=0)  # samples of each batch
    k = np.arange(most)[None, :]
    for first in range(0, runs, max(1, CHUNK // most)):
        part = np.arange(first, min(runs, first + max(1, CHUNK // most)))
        mine = slice(int(batches.edges[first]), int(batches.edges[part[-1] + 1]))
        count = counts[part, None]
        held = k < count
        row = (k * among[part, None] // apart[part, None])[held]
        latency = np.full(held.shape, NEVER)  # a run of fewer samples has the rest of its line at the end
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


def simulate_runs(
    arrivals: Ints,
    intervals: Ints,
    *,
    cost: CostOfRuns,
    horizon_ns: int | Ints,
    policy: str = "asap",
    max_rows_per_batch: int | None = None,
    sample: int = 4096,
    drain: bool = False,
) -> Outcome:
    """Simulate one run an interval, all over the same arrivals.

    The mean latency is exact: Σ over rows of (end of its batch − arrival) = Σ over batches end·rows − Σ arrivals.

    Args:
        arrivals: ns of the run's clock, ascending.
        intervals: ns, one a run.
        cost: Asked once a step for all runs that are still going; `at once` says whether a batch follows the one
            before without waiting for its trigger.
        horizon_ns: Length of the runs, one for all or one each.
        policy: asap, skip or queue.
        max_rows_per_batch: Cap, or None.
        sample: Of how many rows quantiles are taken at most.
        drain: Whether a run goes on until it has taken all rows, and ends then; its horizon is where it ended.
    """
    horizon = np.broadcast_to(np.asarray(horizon_ns, np.int64), intervals.shape)
    b = _step_all(arrivals, intervals, horizon, policy, max_rows_per_batch, cost, drain=drain)
    if drain:
        horizon = b.largest(b.end)
    count = np.diff(b.edges) + b.passed
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
            _behind_share(b, done, queue=RULES[policy].every_trigger),
            full,
            np.maximum(0, arrivals.searchsorted(horizon) - done).astype(np.float64),
            np.where(duration > 0, done / duration, np.nan),
            duration,
            horizon / NS,
            b,
        )

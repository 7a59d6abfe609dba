"""DESIGN section 2 once more, in plain integers: what a run must be, to the nanosecond.

Nothing here is imported from the package, and nothing is made to be fast: points of the grid are listed one by one,
rows are looked at one by one. Where the text leaves a choice, the reading stands beside the line that takes it.

    arrivals, settings, costs, changes -> [reference] -> batches, records, what is left over
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

NS = 10**9


@dataclass(frozen=True)
class Knobs:
    """What may be moved while it runs; `speed` is source seconds in one second of the run."""

    interval: int
    policy: str = "asap"
    cap: int | None = None
    speed: Fraction = Fraction(1)


@dataclass(frozen=True)
class Batch:
    """One batch; times in ns, rows by number: it took those from `low` up to, not including, `high`."""

    due: int
    start: int
    end: int
    interval: int
    policy: str
    cap: int | None
    status: str
    low: int
    high: int
    backlog: int
    waiting: int

    @property
    def rows(self) -> int:
        return self.high - self.low


@dataclass(frozen=True)
class Record:
    """One processed row; times in ns."""

    batch: int
    arrival: int
    batching: int
    scheduling: int
    backlog: int
    processing: int
    latency: int


@dataclass(frozen=True)
class Outcome:
    """A whole run.

    Attributes:
        batches: In order.
        records: In order of arrival.
        missed: Triggers up to the run's end that got no batch of their own.
        left: Rows that arrived before the run's end and that no batch took.
        oldest_age: How long the oldest of them had waited then, None without any.
        length: The duration given, else the last end.
    """

    batches: list[Batch]
    records: list[Record]
    missed: int
    left: int
    oldest_age: int | None
    length: int


@dataclass
class _Grid:
    """When batches are due.

    Points of older grids that stay stand in `kept`, each with the interval it was computed with; behind them the
    grid is `origin + j·interval` from the first point later than `after`. `passed` lists, for the count of missed
    triggers, the points of all grids there were, up to the moment at which the next one took over.
    """

    knobs: Knobs
    origin: int = 0
    after: int = 0
    kept: list[tuple[int, int]] = field(default_factory=list)
    since: int = 0
    passed: set[int] = field(default_factory=set)
    taken: set[int] = field(default_factory=set)
    start: int = -1
    end: int = 0

    def points(self, low: int, high: int) -> list[int]:
        """The points of the grid in force with low < point ≤ high."""
        step = self.knobs.interval
        first = self.origin + ((low - self.origin) // step + 1) * step
        return list(range(first, high + 1, step))

    def next(self) -> tuple[int, int]:
        """(due, the interval it was computed with) of the next batch."""
        if self.kept:
            return self.kept[0]
        step = self.knobs.interval
        point = self.origin + ((self.after - self.origin) // step + 1) * step
        if self.knobs.policy == "skip":
            while point < self.end:
                point += step
        return point, step

    def ran(self, due: int, start: int, end: int) -> None:
        """Note the batch that `next` gave."""
        if self.kept:
            self.kept.pop(0)
        else:
            self.origin = due
        self.taken.add(due)
        self.after = max(self.after, due if self.knobs.policy == "queue" else start)
        self.start, self.end = start, end

    def change(self, moment: int, knobs: Knobs) -> None:
        """Let new knobs hold from u = `moment` on."""
        old, waiting = self.knobs, moment >= self.end
        v = moment if waiting else self.end
        # "due times (queue: grid points) of the old grid ≤ v stay": asap and skip have one due time at a time
        stay: list[tuple[int, int]] = []
        if old.policy == "queue":
            last = self.kept[-1][0] if self.kept else self.origin
            stay = [(point, old.interval) for point in self.points(max(self.after, last), v)]
        elif not self.kept and self.next()[0] <= v:
            stay = [self.next()]
        self.kept += stay
        over = v
        if knobs.policy == "skip" and not waiting:
            over = v - 1  # "first point of the new grid ≥ c": c itself may be one
        self.passed.update(self.points(self.since, over))
        self.passed.update(point for point, _ in self.kept)
        self.since = over
        # "o the last due or kept point (0 before the first)"
        if stay:
            self.origin = stay[-1][0]
        if knobs.policy == "skip":
            # "at the first point > s, ≥ c and, when waiting, > u": of what is kept only a point at c itself can be that
            self.kept = [each for each in self.kept[-1:] if each[0] == self.end > self.start]
            self.after = moment if waiting else self.start
        else:
            if knobs.policy == "asap":
                del self.kept[1:]  # "pending ranges merge into the next batch", due when the oldest of them was
            self.after = v
        self.knobs = knobs

    def missed_until(self, length: int) -> int:
        """Triggers ≤ length without a batch of their own; one that `queue` still has to run is none."""
        seen = self.passed | set(self.points(self.since, length))
        if self.knobs.policy == "queue":
            pending = {point for point, _ in self.kept} | set(self.points(self.after, length))
            seen -= pending
        return sum(point <= length and point not in self.taken for point in seen)


def half_even(value: Fraction) -> int:
    """Whole ns, a half to the even one."""
    return round(value)


def cost_ns(seconds: float) -> int:
    """A declared cost, rounded to 1 ns."""
    return half_even(Fraction(seconds) * NS)


def run(
    arrivals: Sequence[int],
    knobs: Knobs,
    cost: Callable[[int], float],
    *,
    duration: int | None = None,
    changes: Sequence[tuple[int, Mapping[str, object]]] = (),
    run_empty: bool = False,
) -> Outcome:
    """What a run under a declared cost must be.

    Args:
        arrivals: ns of the source's clock, ascending.
        knobs: What holds at first.
        cost: Seconds of n rows; called once a batch with rows, in order.
        duration: ns, or None: until the source is drained.
        changes: (u, what changes of interval, policy, cap, speed), ascending; equal u in the order of the calls.
        run_empty: Whether steps are called for a batch without rows.
    """
    arrival = [half_even(Fraction(each) / knobs.speed) for each in arrivals]
    grid, pending = _Grid(knobs), list(changes)
    batches: list[Batch] = []
    records: list[Record] = []
    taken = 0
    first_seen: dict[int, tuple[int, int]] = {}  # row → (due, start) of the first batch that could have had it

    while True:
        due, interval = grid.next()
        start = max(grid.end, due)
        drained = taken == len(arrival)
        if duration is None and drained:
            break
        if pending and pending[0][0] < start:  # "a batch whose nominal start is ≤ u runs first with the old settings"
            u, change = pending.pop(0)
            new = replace(grid.knobs, **change)
            if new.speed != grid.knobs.speed:  # "a future arrival A becomes u + (A − u)·old/new"
                ratio = grid.knobs.speed / new.speed
                arrival = [a if a <= u else u + half_even((a - u) * ratio) for a in arrival]
            if {"interval", "policy"} & set(change):
                grid.change(u, new)
            grid.knobs = new
            continue
        policy, cap = grid.knobs.policy, grid.knobs.cap
        if duration is not None and (due if policy == "queue" else start) > duration:
            break

        cut = due if policy == "queue" else start
        low = high = taken
        while high < len(arrival) and arrival[high] < cut and (cap is None or high - low < cap):
            high += 1
        end = start + (cost_ns(cost(high - low)) if high > low else 0)
        if policy == "queue":
            first_seen.clear()  # "f = k(i)"; and what it leaves is first seen by the batch it is merged into
        else:
            for row in range(low, len(arrival)):
                if arrival[row] >= start:
                    break
                first_seen.setdefault(row, (due, start))
        for row in range(low, high):
            a = arrival[row]
            seen_due, seen = (due, start) if policy == "queue" else first_seen[row]
            waits = (max(0, seen_due - a), seen - max(seen_due, a), start - seen, end - start)
            records.append(Record(len(batches), a, *waits, end - a))
        status = "ok" if high > low or run_empty else "empty"
        backlog = sum(a < start for a in arrival[high:])
        waiting = sum(a < end for a in arrival[high:])
        batches.append(Batch(due, start, end, interval, policy, cap, status, low, high, backlog, waiting))
        taken = high
        grid.ran(due, start, end)

    last = batches[-1].end if batches else 0
    length = last if duration is None else duration
    left = [a for a in arrival[taken:] if a < length]
    age = length - left[0] if left else None
    return Outcome(batches, records, grid.missed_until(length), len(left), age, length)

"""When a batch starts, and which rows it may take.

The grid lives here and nowhere else, and what an overrun does is asked of the policy's rule: the engine, the virtual
clock and the what-if simulator ask the same question of the same functions. Everything counts int64 nanoseconds on the
run's clock; the functions take ints and int64 arrays alike.

    policies -> [schedule] -> trigger -> engine, tuning

With interval T the grid is T, 2T, 3T, …: the first trigger is at T. A batch that is due at d, starts at s and ends at c
is followed by one that is due at d' and starts at s':

    asap    d' = first grid point > s      s' = max(c, d')      late: at once, then back on the grid
    skip    d' = s' = first grid point > s and ≥ c              late: the triggers in between are missed
    queue   d' = d + T                     s' = max(c, d')      late: every trigger keeps its own rows

Availability is half-open: a row is available at s iff its arrival A < s.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from mblab.timing.policies import RULES, Policy

__all__ = ["Timetable", "Trigger", "first_after", "first_from", "follow"]

Ns = TypeVar("Ns", int, npt.NDArray[np.int64])


def first_after(origin: Ns, interval: Ns, time: Ns) -> Ns:
    """Return the first point of `origin + j·interval` that is later than `time`.

    >>> first_after(0, 10, 20), first_after(3, 10, 20)
    (30, 23)
    """
    return origin + ((time - origin) // interval + 1) * interval


def first_from(origin: Ns, interval: Ns, time: Ns) -> Ns:
    """Return the first point of `origin + j·interval` at or after `time`.

    >>> first_from(0, 10, 20), first_from(3, 10, 20)
    (20, 23)
    """
    return origin - (origin - time) // interval * interval


def _later(one: Ns, other: Ns) -> Ns:
    if isinstance(one, int) and isinstance(other, int):
        return max(one, other)
    return np.maximum(one, other)


def follow(policy: str, due: Ns, start: Ns, end: Ns, interval: Ns) -> tuple[Ns, Ns]:
    """Return (due, start) of the batch after one that was `due`, ran from `start` to `end`, on an unchanged grid.

    >>> follow("asap", 100, 100, 230, 100), follow("skip", 100, 100, 230, 100), follow("queue", 100, 100, 230, 100)
    ((200, 230), (300, 300), (200, 230))
    """
    rule = RULES[policy]
    next_due = due + interval if rule.every_trigger else first_after(due, interval, start)
    if rule.on_grid:
        next_due = _later(next_due, first_from(due, interval, end))
        return next_due, next_due
    return next_due, _later(end, next_due)


class Trigger(NamedTuple):
    """The next batch, as the timetable has it.

    Attributes:
        due_ns: When it should start.
        start_ns: When it starts, nominally; rows are cut here (`queue`: at `due_ns`).
        interval_ns: The interval its due time was computed with.
        grid_ns: What decides whether it belongs to a run of given length: the start, under `queue` the grid point.
        cut_ns: Rows with A < cut_ns belong to it, if no earlier batch took them.
    """

    due_ns: int
    start_ns: int
    interval_ns: int
    grid_ns: int
    cut_ns: int


@dataclass(slots=True)
class _Kept:
    """Grid points of an earlier interval that were passed before it changed and are still to be run."""

    first: int
    step: int
    last: int

    def points(self, horizon_ns: int) -> int:
        """Return how many of them are not later than a time."""
        return max(0, (min(self.last, horizon_ns) - self.first) // self.step + 1)


class _Grid(NamedTuple):
    """The points o + T, o + 2T, … of a grid that was in force: those later than `after`, and not later than `upto`."""

    origin: int
    step: int
    after: int
    upto: int

    def points(self, horizon_ns: int) -> int:
        """Return how many of them are not later than a time."""
        last = min(self.upto, horizon_ns)
        return max(0, (last - self.origin) // self.step - (self.after - self.origin) // self.step)

    def holds(self, point: int) -> bool:
        """Return whether a time is one of them."""
        return self.after < point <= self.upto and (point - self.origin) % self.step == 0


class Timetable:
    """The schedule of one run, which may change while it runs.

    `peek` says which batch is next, `taken` that it ended, `change` that a knob moved. After a change the points of the
    old grid up to then stay, and the new interval goes on from the last of them.
    """

    def __init__(self, interval_ns: int, policy: Policy) -> None:
        self.interval_ns = interval_ns
        self.rule = RULES[policy]
        self._passed = 0  # points of the grids there were …
        self._grids: deque[_Grid] = deque()  # … but for these, the newest …
        self._since = 0  # … up to this time
        self._batches = 0
        self._origin = 0  # the grid is origin + j·interval …
        self._floor = 0  # … from the first point after this time on
        self._kept: deque[_Kept] = deque()
        self._due = self._start = -1
        self._end = 0
        self._next: Trigger | None = None

    @property
    def policy(self) -> Policy:
        """The policy by which the next batch starts."""
        return self.rule.name

    def peek(self) -> Trigger:
        """Return the next batch; the same one until `taken` or `change`."""
        if self._next is None:
            self._next = self._plan()
        return self._next

    def _plan(self) -> Trigger:
        end, interval = self._end, self.interval_ns
        if self._kept:
            kept = self._kept[0]
            due, interval = kept.first, kept.step
        else:
            due = first_after(self._origin, interval, self._floor)
            if self.rule.on_grid:
                due = max(due, first_from(self._origin, interval, end))
        start = max(end, due)
        if self.rule.every_trigger:
            return Trigger(due, start, interval, due, due)
        return Trigger(due, start, interval, start, start)

    def taken(self, end_ns: int) -> None:
        """Note that the batch that `peek` gave has run and ended."""
        due, start, _, _, _ = self.peek()
        every = self.rule.every_trigger
        self._batches += 1
        if self._kept:
            kept = self._kept[0]
            if every and kept.first < kept.last:
                kept.first += kept.step
            elif every:
                self._kept.popleft()
            else:
                self._kept.clear()
                self._floor = start
        else:
            self._origin = due
            self._floor = due if every else start
        self._due, self._start, self._end, self._next = due, start, end_ns, None

    def on_time(self, upto_ns: int) -> int:
        """Return how many batches, from the next one on, start on the grid up to a time, if none of them takes any."""
        due, start, interval, _, _ = self.peek()
        return 0 if self._kept or start > due else max(0, (upto_ns - due) // interval + 1)

    def passed(self, count: int) -> None:
        """Note that so many batches have run on time and taken none; see `on_time`."""
        last = self.peek().due_ns + (count - 1) * self.interval_ns
        self._batches += count
        self._origin = self._floor = self._due = self._start = self._end = last
        self._next = None

    @property
    def missed(self) -> int:
        """How many points of the grid up to the start of the last batch got no batch of their own."""
        return self.missed_until(self._start)

    def missed_until(self, horizon_ns: int) -> int:
        """Return how many points of the grids there were, up to a time not before the last due one, got no batch.

        One that `queue` still has to run is not missed.
        """
        seen = self._passed + sum(g.points(horizon_ns) for g in (*self._grids, self._grid(horizon_ns)))
        if self.rule.every_trigger:
            seen -= sum(kept.points(horizon_ns) for kept in self._kept)
            seen -= _Grid(self._origin, self.interval_ns, self._floor, horizon_ns).points(horizon_ns)
        return seen - self._batches

    def change(self, at_ns: int, *, interval_ns: int | None = None, policy: Policy | None = None) -> None:
        """Move a knob at a time that is before the next batch's nominal start.

        With v = u while the engine waits, else v = c, the end of the batch in hand: due times (`queue`: grid points) of
        the old grid ≤ v stay, o is the last due or kept one, and the new grid is o + T', o + 2T', … from the first
        point > v on.

        Args:
            at_ns: When it was asked for.
            interval_ns: The new interval, or None.
            policy: The new policy, or None.
        """
        waiting = at_ns >= self._end
        moment = at_ns if waiting else self._end
        rule = RULES[policy or self.policy]
        self._leave_grid(
            moment - 1 if rule.on_grid and not waiting else moment
        )  # at c there may be one of the new grid
        self._keep_passed(moment)
        if rule.on_grid:
            # the next start is the first point of the new grid > s, ≥ c and, when waiting, > u
            if self._kept and self._kept[-1].last == self._end:
                self._kept = deque([_Kept(self._end, self._kept[-1].step, self._end)])
            else:
                self._kept.clear()
            self._floor = at_ns if waiting else self._end - 1
        else:
            if not rule.every_trigger and self._kept:
                kept = self._kept[0]  # what is pending merges into one batch, due when the oldest was
                self._kept = deque([_Kept(kept.first, kept.step, kept.first)])
            self._floor = moment
        self.interval_ns = interval_ns or self.interval_ns
        self.rule = rule
        self._next = None

    def _grid(self, upto: int) -> _Grid:
        """Return the grid in force; where it begins with a point that the one before ended with, from behind that."""
        grid = _Grid(self._origin, self.interval_ns, self._since, upto)
        first = self._since + 1
        twice = grid.holds(first) and any(before.holds(first) for before in self._grids)
        return grid._replace(after=first) if twice else grid

    def _leave_grid(self, upto: int) -> None:
        """Remember the points of the grid in force for the count of those that are missed."""
        self._grids.append(self._grid(upto))
        self._since = upto
        while self._grids and self._grids[0].upto <= self._due:  # nobody asks about a time before it any more
            self._passed += self._grids.popleft().points(self._due)

    def _keep_passed(self, moment: int) -> None:
        """Keep the due times (`queue`: all grid points) of the old grid that are not later than `moment`."""
        due, _, interval, _, _ = self.peek()
        if not self.rule.every_trigger:
            if due <= moment and not self._kept:
                self._kept.append(_Kept(due, interval, due))
                self._origin = due
            return
        first = first_after(self._origin, self.interval_ns, self._floor)
        if first <= moment:
            last = first + (moment - first) // self.interval_ns * self.interval_ns
            self._kept.append(_Kept(first, self.interval_ns, last))
            self._origin = last

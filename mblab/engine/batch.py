"""One batch on its way through the phases: planned, tried, prepared.

cut, trigger -> [batch] -> engine -> records
"""

from __future__ import annotations

import time
from typing import NamedTuple

import pandas as pd

from mblab.engine.backlog import Group
from mblab.engine.feed import Cut
from mblab.engine.invoke import BatchContext, Saved
from mblab.engine.watermark import Mark
from mblab.sinks.base import Delivery
from mblab.timing.clock import Clock
from mblab.timing.policies import Policy
from mblab.timing.schedule import Trigger

__all__ = ["Planned", "Prepared", "Try"]


class Planned:
    """A batch that is cut but not committed.

    Attributes:
        batch_id: Counted from 0.
        trigger: When it is due and starts.
        policy: The policy that gave the trigger.
        cap: Most rows it might take, or None.
        cut: Its rows.
        mark: Where the watermark stood before it.
        backlog: Rows that had arrived before its start and that it left waiting.
        groups: Its rows by the batch at which they became available; None when all did at this one.
        wake_ns: Actual start − nominal start.
        attempts: How often it was tried.
    """

    __slots__ = ("attempts", "backlog", "batch_id", "cap", "cut", "groups", "mark", "policy", "trigger", "wake_ns")

    def __init__(
        self,
        batch_id: int,
        trigger: Trigger,
        cut: Cut,
        *,
        policy: Policy,
        cap: int | None = None,
        mark: Mark = Mark(),  # noqa: B008  it cannot be changed
        backlog: int = 0,
        groups: tuple[Group, ...] | None = None,
        wake_ns: int = 0,
    ) -> None:
        self.batch_id, self.trigger, self.cut, self.policy, self.cap = batch_id, trigger, cut, policy, cap
        self.mark, self.backlog, self.groups, self.wake_ns = mark, backlog, groups, wake_ns
        self.attempts = 0

    def begin(self, clock: Clock) -> Try:
        """Try it once more; the first try began when the batch woke."""
        self.attempts += 1
        return Try(self.trigger.start_ns + self.wake_ns if self.attempts == 1 else clock.now_ns())

    def context(self, run_id: str) -> BatchContext:
        """Return what the steps may know of it."""
        return BatchContext(self.batch_id, self.attempts, run_id, self.trigger, self.cut, self.mark)


class Try:
    """One try of a batch: when it began, by the run's clock and by those of the machine.

    Attributes:
        at_ns: On the run's clock.
        cpu_ns: CPU time of the thread.
        begun_ns: `time.perf_counter_ns`.
        processed_ns: The same, once the steps were through; 0 before.
    """

    __slots__ = ("at_ns", "begun_ns", "cpu_ns", "processed_ns")

    def __init__(self, at_ns: int) -> None:
        self.at_ns, self.processed_ns = at_ns, 0
        self.cpu_ns = time.thread_time_ns()
        self.begun_ns = time.perf_counter_ns()


class Prepared(NamedTuple):
    """All that a batch leaves behind, put together before any of it is delivered.

    Attributes:
        rows: The output, None for no rows; with a RangeIndex where a sink takes it.
        saved: Snapshots of the states before the batch; the states after it are those that the runner holds.
        delivery: Which result this is.
        cost_ns: What the batch is declared to cost, or None.
    """

    rows: pd.DataFrame | None
    saved: Saved
    delivery: Delivery
    cost_ns: int | None

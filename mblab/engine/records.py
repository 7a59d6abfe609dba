"""The frozen facts of a run: what is noted when a batch is delivered, and nothing that can be computed later.

Writing a record must cost next to nothing, so it holds clock stamps and references; waits, quantiles and rates are
computed by whoever reads (see `metrics`).

    engine -> [records] -> metrics -> charts, run
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Attempt", "BatchRecord", "Control", "Group", "RunStatus", "Status"]

Status = Literal["ok", "empty", "retried", "dead_lettered", "failed"]
RunStatus = Literal["created", "running", "paused", "halted", "stopping", "stopped", "finished"]
ENDED: Final = ("stopped", "finished")


class Group(NamedTuple):
    """Rows of a batch that became available at the same earlier batch, which a cap kept from taking them.

    Attributes:
        rows: How many.
        due_ns: When that batch was due.
        start_ns: When it started.
    """

    rows: int
    due_ns: int
    start_ns: int


class BatchRecord(NamedTuple):
    """What one batch cost, taken when its result was delivered; times in int64 ns of the run's clock.

    A tuple, because it is made in a quarter of the time that a frozen dataclass takes.

    Attributes:
        batch_id: Counted from 0.
        attempt: Which try this was, counted from 1.
        status: ok, empty, retried (ok after a failed try) or failed.
        interval_ns: The interval its due time was computed with.
        policy: asap, skip or queue.
        version: 1 + how often a step had been replaced.
        due_ns: When it should have started.
        start_ns: Its nominal start; rows were cut here.
        wake_ns: Actual start − nominal start, a part of the duration.
        end_ns: When its result was delivered and committed.
        num_input_rows: Rows handed to the first step.
        num_output_rows: Rows delivered.
        backlog_rows: Rows that had arrived before the start and were still untaken.
        processing_ns: All steps.
        sink_ns: All sinks.
        commit_ns: The commit.
        cpu_ns: CPU time of the batch's thread.
        state_bytes: Size of the state, None when it was not sampled.
        error: The message of a failed try, else empty.
        arrival_ns: Arrival of each row; None once they were let go.
        groups: Rows by the batch at which they became available; None when all did at this one.
    """

    batch_id: int
    attempt: int
    status: Status
    interval_ns: int
    policy: str
    version: int
    due_ns: int
    start_ns: int
    wake_ns: int
    end_ns: int
    num_input_rows: int
    num_output_rows: int
    backlog_rows: int
    processing_ns: int
    sink_ns: int
    commit_ns: int
    cpu_ns: int
    state_bytes: int | None
    error: str
    arrival_ns: npt.NDArray[np.int64] | None
    groups: tuple[Group, ...] | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed or successful try of a batch that was tried more than once.

    Attributes:
        batch_id: The batch.
        attempt: Counted from 1.
        start_ns: When the try started, on the run's clock.
        duration_ns: How long it took.
        error: The message, empty for the one that succeeded.
    """

    batch_id: int
    attempt: int
    start_ns: int
    duration_ns: int
    error: str


@dataclass(frozen=True, slots=True)
class Control:
    """A knob that was moved while a run was on.

    Attributes:
        at_ns: When, on the run's clock.
        change: Knob → value, of interval_ns, policy, max_rows_per_batch, speedup.
    """

    at_ns: int
    change: Mapping[str, Any]

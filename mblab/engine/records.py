"""What is noted of a batch when its result is delivered, and nothing that can be computed later.

Writing a record must cost next to nothing, so it holds clock stamps and references; waits, quantiles and rates are
computed by whoever reads (see `metrics`). A field that is a column of `run.batches` as it stands is said in this file
and nowhere else: in `BatchRecord`, in `STAMPED` and in `record_of`.

    batch -> [records] -> metrics -> charts, run
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from mblab.engine.backlog import Group
from mblab.engine.batch import Planned
from mblab.timing.policies import Policy
from mblab.timing.times import Times

__all__ = [
    "DELIVERED", "ENDED", "STAMPED", "STATUSES", "Attempt", "BatchRecord", "Column", "RunStatus", "Status", "record_of",
]  # fmt: skip

Status = Literal["ok", "empty", "retried", "dead_lettered", "failed"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
DELIVERED: Final[tuple[Status, ...]] = ("ok", "retried", "dead_lettered")  # those that a result stands for
RunStatus = Literal["created", "running", "paused", "halted", "stopping", "stopped", "finished"]
ENDED: Final = ("stopped", "finished")


class BatchRecord(NamedTuple):
    """What one batch cost, taken when its result was delivered; times in int64 ns of the run's clock.

    A tuple, because it is made in a quarter of the time that a frozen dataclass takes; its fields are given by name.

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
        waiting_rows: Rows that had arrived before the end and were not delivered then, of those decoded by then.
        max_rows_per_batch: Most rows it might take, None without a cap.
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
    policy: Policy
    version: int
    due_ns: int
    start_ns: int
    wake_ns: int
    end_ns: int
    num_input_rows: int
    num_output_rows: int
    backlog_rows: int
    waiting_rows: int
    max_rows_per_batch: int | None
    processing_ns: int
    sink_ns: int
    commit_ns: int
    cpu_ns: int
    state_bytes: int | None
    error: str
    arrival_ns: Times | None
    groups: tuple[Group, ...] | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `run.batches`.

    Attributes:
        name: As in the frame.
        field: The field of the record it is read from; empty for one that is computed.
        kind: whole (int64), seconds (int64 ns → float64 s), number (float64, NaN for None) or text.
        page: How the live page gets it: exact (all digits: numbers that grow with the run), short (three digits), or
            not at all, because it computes it itself.
    """

    name: str
    field: str = ""
    kind: Literal["whole", "seconds", "number", "text"] = "number"
    page: Literal["exact", "short", "no"] = "short"


STAMPED: Final = (
    Column("batch_id", "batch_id", "whole", "exact"),
    Column("attempt", "attempt", "whole"),
    Column("status", "status", "text"),
    Column("interval_s", "interval_ns", "seconds"),
    Column("policy", "policy", "text"),
    Column("version", "version", "whole"),
    Column("due_s", "due_ns", "seconds", "exact"),
    Column("start_s", "start_ns", "seconds", "exact"),
    Column("wake_delay_s", "wake_ns", "seconds"),
    Column("end_s", "end_ns", "seconds", "exact"),
    Column("num_input_rows", "num_input_rows", "whole", "exact"),
    Column("num_output_rows", "num_output_rows", "whole", "exact"),
    Column("backlog_rows", "backlog_rows", "whole", "exact"),
    Column("waiting_rows", "waiting_rows", "whole"),
    Column("max_rows_per_batch", "max_rows_per_batch", page="no"),
    Column("processing_time_s", "processing_ns", "seconds"),
    Column("sink_time_s", "sink_ns", "seconds"),
    Column("commit_time_s", "commit_ns", "seconds"),
    Column("cpu_time_s", "cpu_ns", "seconds"),
    Column("state_bytes", "state_bytes", page="exact"),
    Column("error", "error", "text", "no"),
)


def record_of(
    planned: Planned,
    status: Status,
    end_ns: int,
    *,
    version: int,
    waiting_rows: int = 0,
    output_rows: int = 0,
    processing_ns: int = 0,
    sink_ns: int = 0,
    commit_ns: int = 0,
    cpu_ns: int = 0,
    state_bytes: int | None = None,
    error: str = "",
) -> BatchRecord:
    """Return the record of a batch that ended; this is the only place where one is made."""
    trigger, arrival = planned.trigger, planned.cut.arrival_ns
    return BatchRecord(
        batch_id=planned.batch_id,
        attempt=planned.attempts or 1,
        status=status,
        interval_ns=trigger.interval_ns,
        policy=planned.policy,
        version=version,
        due_ns=trigger.due_ns,
        start_ns=trigger.start_ns,
        wake_ns=planned.wake_ns,
        end_ns=end_ns,
        num_input_rows=len(arrival),
        num_output_rows=output_rows,
        backlog_rows=planned.backlog,
        waiting_rows=waiting_rows,
        max_rows_per_batch=planned.cap,
        processing_ns=processing_ns,
        sink_ns=sink_ns,
        commit_ns=commit_ns,
        cpu_ns=cpu_ns,
        state_bytes=state_bytes,
        error=error,
        arrival_ns=arrival,
        groups=planned.groups,
    )


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

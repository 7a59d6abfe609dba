"""One batch after the other: cut, call the steps, deliver, note what it cost.

`step(now)` runs the batch that is due and returns its record. There is no thread, no sleep and no display here; drivers
bring those. The clock is only read. A batch that fails stays planned: its state is put back, and the next `step` runs
the same rows again.

    schedule + feed -> [engine]: plan → process → deliver → commit -> records
"""

from __future__ import annotations

import bisect
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mblab.engine.feed import NO_TIMES, Cut, Feed
from mblab.engine.history import History, Remembered
from mblab.engine.invoke import BatchContext, Saved, call_all, put_back
from mblab.engine.pipeline import Pipeline
from mblab.engine.records import Attempt, BatchRecord, Control, Group
from mblab.errors import MblabError, SettingError, SettingTypeError, SinkError, shown
from mblab.sinks.base import Delivery, Savepoint, Sink
from mblab.sources.live.base import refuse_speedup
from mblab.steps.results import tidy
from mblab.steps.state import StateStore, savepoint, size_bytes
from mblab.timing.clock import Clock
from mblab.timing.durations import NS
from mblab.timing.schedule import Timetable, Trigger
from mblab.timing.times import Times

__all__ = ["Cost", "Engine", "check_cost"]

Cost = Callable[[int], float]


def check_cost(cost: object) -> Cost | None:
    """Return a declared cost as a function of n, in seconds; None stays None."""
    if cost is None:
        return None
    if callable(cost):
        return cost
    if isinstance(cost, bool) or not isinstance(cost, int | float | np.number):
        raise SettingTypeError(
            f"cost must be a number of seconds or a function of the batch's rows, got {shown(cost)}."
        )
    fixed = float(cost)
    _cost_ns(lambda _: fixed, 1)
    return lambda _: fixed


def _cost_ns(cost: Cost, rows: int) -> int:
    value = cost(rows)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SettingTypeError(f"cost({rows}) must be a number of seconds, got {shown(value)}.") from None
    if not math.isfinite(number) or number < 0:
        raise SettingError(f"cost({rows}) must be a finite number of seconds, 0 or more, got {shown(value)}.")
    return round(number * NS)


class _Planned:
    """A batch that is cut but not committed."""

    __slots__ = ("attempts", "backlog", "batch_id", "cut", "groups", "trigger", "wake_ns")

    def __init__(
        self, batch_id: int, trigger: Trigger, cut: Cut, backlog: int, groups: tuple[Group, ...] | None, wake_ns: int
    ) -> None:
        self.batch_id, self.trigger, self.cut = batch_id, trigger, cut
        self.backlog, self.groups, self.wake_ns = backlog, groups, wake_ns
        self.attempts = 0


class Engine:
    """The state machine of one run.

    Args:
        pipeline: The recipe; may be replaced while the run is on and takes effect at the next batch.
        clock: Read for end times, never waited on.
        run_id: 12 hex digits.
        note: Called with every record.
        output: The sink the run itself reads its output from.
        duration_ns: Batches whose start (`queue`: grid point) is later are not run; None runs until all is taken.
        cost: Declared cost of n rows in seconds; replaces every measured time.
        controls: Changes scripted beforehand, on the run's clock.
        effects: Whether sinks that reach outside the process take part.
        history: How many of the newest batches can be run again.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        clock: Clock,
        *,
        run_id: str,
        note: Callable[[BatchRecord], None],
        output: Sink,
        duration_ns: int | None = None,
        cost: Cost | None = None,
        controls: tuple[Control, ...] = (),
        effects: bool = True,
        history: int = 0,
    ) -> None:
        self.pipeline = pipeline
        self.clock = clock
        self.run_id = run_id
        self.duration_ns = duration_ns
        self.attempts: list[Attempt] = []
        self.failed: BatchRecord | None = None  # the batch that failed and is still planned
        self.controls: list[Control] = []
        self.states = StateStore()
        self.history = History(history)
        settings = pipeline.settings
        self.timetable = Timetable(settings.interval_ns, settings.policy)
        self.max_rows_per_batch = settings.max_rows_per_batch
        self._note = note
        self._output = output
        self._cost = cost
        self._effects = effects
        self._calls = itertools.count()
        self._pending: list[tuple[int, int, Control]] = []
        for control in sorted(controls, key=lambda c: c.at_ns):
            self._pending.append((control.at_ns, next(self._calls), control))
        self._batch_id = 0
        self._planned: _Planned | None = None
        self._groups: deque[Group] = deque()  # untaken rows by the batch at which they became available
        self._grouped = 0  # rows, from the start of the stream, that `_groups` and earlier batches cover
        self._sinks: tuple[Sink, ...] = ()
        self._adopted: tuple[Sink, ...] = ()  # the pipeline's sinks that `_sinks` was made from
        self._sampled_s = -math.inf
        self.last_end_ns = 0
        if settings.speedup is not None or any("speedup" in c.change for c in controls):
            refuse_speedup(pipeline.source)
        self.feed = Feed(pipeline.source, settings.speedup, None if clock.virtual else clock.now_ns)

    def open(self) -> None:
        """Get the sinks ready; the source's first block is decoded already."""
        self._adopt_sinks()
        self._output.open(self.run_id)

    def close(self) -> None:
        """Close the sinks; the last one is closed even if an earlier one fails."""
        self.feed.close()
        failures = []
        for sink in (*self._sinks, self._output):
            try:
                sink.close()
            except MblabError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    @property
    def batches(self) -> int:
        """How many batches have been committed."""
        return self._batch_id

    @property
    def planned_arrivals(self) -> Times:
        """Arrivals of the rows of a batch that was cut and is not committed, in ns; empty when there is none."""
        return NO_TIMES if self._planned is None else self._planned.cut.arrival_ns

    # -- the schedule ---------------------------------------------------------------------------------------------

    def request(self, change: Mapping[str, Any], at_ns: int | None = None) -> None:
        """Move knobs now; they act at the batch boundary that DESIGN section 2 gives. Safe from any thread.

        Args:
            change: Knob → value.
            at_ns: When, on the run's clock, if not now: what decides on a batch's record moves knobs at its end.
        """
        control = Control(self.clock.now_ns() if at_ns is None else at_ns, dict(change))
        bisect.insort(self._pending, (control.at_ns, next(self._calls), control))

    def next_start_ns(self) -> int | None:
        """Return the nominal start of the next batch, or None when the run is over."""
        if self._planned is not None:
            return self._planned.trigger.start_ns
        trigger = self.timetable.peek()
        while self._pending and self._pending[0][0] < trigger.start_ns:
            if self._is_over(trigger) and self.duration_ns is None:
                return None
            self._apply(self._pending.pop(0)[2])
            trigger = self.timetable.peek()
        return None if self._is_over(trigger) else trigger.start_ns

    def _is_over(self, trigger: Trigger) -> bool:
        if self.duration_ns is not None:
            return trigger.grid_ns > self.duration_ns
        return self.feed.drained

    def _apply(self, control: Control) -> None:
        change = control.change
        speedup = change.get("speedup")
        if speedup is not None and speedup != self.feed.speedup:
            self.feed.change_speed(control.at_ns, speedup)
        policy = change.get("policy")
        if "interval_ns" in change or policy is not None:
            self.timetable.change(control.at_ns, interval_ns=change.get("interval_ns"), policy=policy)
        if "max_rows_per_batch" in change:
            self.max_rows_per_batch = change["max_rows_per_batch"]
        self.controls.append(control)

    def trial(self, rows: int) -> pd.DataFrame:
        """Return what the steps make of the first rows, as one batch; nothing is delivered or remembered."""
        self.feed.hold(rows)
        cut = self.feed.take(min(rows, self.feed.held))
        context = BatchContext(0, 1, self.run_id, self.timetable.peek(), cut, self.feed.event_time)
        result = self.call_steps(cut.rows(), context)
        return pd.DataFrame() if result is None else result

    def call_steps(self, rows: pd.DataFrame, context: BatchContext) -> pd.DataFrame | None:
        """Return what the steps make of some rows; the state is changed as in a run, nothing is delivered.

        Raises:
            BatchError: A step failed; the state is put back.
        """
        saved: Saved = []
        try:
            result = call_all(self.pipeline.steps, rows, self.states, context, saved)
        except BaseException:
            put_back(self.states, saved)
            raise
        return None if result is None else tidy(result)

    def remembered(self, batch_id: int) -> Remembered | None:
        """Return a batch as it was, the one that failed included, or None when it is not kept."""
        planned = self._planned
        if planned is None or planned.batch_id != batch_id:
            return self.history.find(batch_id)
        found = [(s, self.states.of(s.uid, keyed=s.kind == "keyed")) for s in self.pipeline.steps]
        saved = [
            (s, {k: savepoint(v) for k, v in st.items()} if s.kind == "keyed" else savepoint(st)) for s, st in found
        ]
        return Remembered(batch_id, planned.attempts, planned.trigger, planned.cut, saved, None)

    def probe(self, rows: int) -> BatchRecord:
        """Run the next held rows as one batch at once, whatever the time, and keep the state it leaves.

        The tuner tries sizes with it, on a clock and a state of its own: the same way through steps, savepoints and
        sinks as in a run.

        Raises:
            BatchError: A step failed.
        """
        cut = self.feed.take(min(rows, self.feed.held))
        return self._process(_Planned(self._batch_id, self.timetable.peek(), cut, 0, None, 0), self.pipeline)

    # -- one batch ------------------------------------------------------------------------------------------------

    def step(self, now_ns: int) -> BatchRecord | None:
        """Run the batch that is due, if its nominal start is not later than now.

        Raises:
            BatchError: A step raised or returned what no sink takes; the batch stays planned, its state is put back.
            SinkError: A result could not be delivered; the same.
        """
        planned = self._planned
        if planned is None:
            trigger = self.timetable.peek()
            if trigger.start_ns > now_ns:
                return None
            planned = self._plan(trigger, now_ns)
        pipeline = self.pipeline
        if len(planned.cut.arrival_ns) == 0 and not (pipeline.settings.run_empty and pipeline.steps):
            return self._commit(planned, "empty", planned.trigger.start_ns)
        return self._process(planned, pipeline)

    def _plan(self, trigger: Trigger, now_ns: int) -> _Planned:
        feed = self.feed
        available = feed.waiting(trigger.cut_ns)
        cap = self.max_rows_per_batch
        count = available if cap is None or available < cap else cap
        groups = None
        if self.timetable.policy == "queue":
            self._groups.clear()
            self._grouped = feed.taken + count
        elif self._groups or count < available:
            groups = self._group(trigger, count, feed.taken + available)
        else:
            self._grouped = feed.taken + available
        cut = feed.take(count)
        backlog = available - count if trigger.cut_ns == trigger.start_ns else feed.waiting(trigger.start_ns)
        wake = now_ns - trigger.start_ns if self._cost is None else 0
        return _Planned(self._batch_id, trigger, cut, backlog, groups, wake)

    def _group(self, trigger: Trigger, count: int, available: int) -> tuple[Group, ...]:
        """Note at which batch the waiting rows became available, and return that of the `count` oldest."""
        if available > self._grouped:
            self._groups.append(Group(available - self._grouped, trigger.due_ns, trigger.start_ns))
            self._grouped = available
        taken = []
        while count:
            group = self._groups.popleft()
            part = min(count, group.rows)
            taken.append(group._replace(rows=part))
            if part < group.rows:
                self._groups.appendleft(group._replace(rows=group.rows - part))
            count -= part
        return tuple(taken)

    def _process(self, planned: _Planned, pipeline: Pipeline) -> BatchRecord:
        planned.attempts += 1
        self._planned, self.failed = planned, None
        saved: Saved = []
        marks: list[tuple[Sink, Savepoint | None]] = []
        tried_ns = self.clock.now_ns() if planned.attempts > 1 else planned.trigger.start_ns + planned.wake_ns
        cpu = time.thread_time_ns()
        begun = time.perf_counter_ns()
        try:
            batch = planned.cut.rows()
            context = BatchContext(
                planned.batch_id, planned.attempts, self.run_id, planned.trigger, planned.cut, self.feed.event_time
            )
            rows = call_all(pipeline.steps, batch, self.states, context, saved)
            processed = time.perf_counter_ns()
            declared = None if self._cost is None else self._declared_ns(len(planned.cut.arrival_ns))
            if rows is not None:
                self._deliver(rows, planned, marks)
            delivered = time.perf_counter_ns()
        except BaseException as error:
            put_back(self.states, saved)
            for target, mark in marks:
                target.rollback(mark)
            if isinstance(error, Exception):
                self._note_failure(planned, tried_ns, error)
            else:
                planned.attempts -= 1
            raise
        end = self.clock.now_ns()
        processing, sink = processed - begun, delivered - processed
        if declared is not None:
            processing, sink = declared, 0
            end = planned.trigger.start_ns + declared
        elif end < planned.trigger.start_ns + planned.wake_ns:
            end = planned.trigger.start_ns + planned.wake_ns
        self.history.keep(Remembered(planned.batch_id, planned.attempts, planned.trigger, planned.cut, saved, rows))
        if planned.attempts > 1:
            self.attempts.append(Attempt(planned.batch_id, planned.attempts, tried_ns, end - tried_ns, ""))
        return self._commit(
            planned,
            "retried" if planned.attempts > 1 else "ok",
            end,
            output_rows=0 if rows is None else len(rows),
            processing_ns=processing,
            sink_ns=sink,
            cpu_ns=time.thread_time_ns() - cpu,
        )

    def _declared_ns(self, rows: int) -> int:
        assert self._cost is not None
        return _cost_ns(self._cost, rows) if rows else 0

    def _commit(
        self,
        planned: _Planned,
        status: Any,
        end_ns: int,
        *,
        output_rows: int = 0,
        processing_ns: int = 0,
        sink_ns: int = 0,
        cpu_ns: int = 0,
    ) -> BatchRecord:
        timetable, trigger = self.timetable, planned.trigger
        arrival = planned.cut.arrival_ns
        record = BatchRecord(
            planned.batch_id, planned.attempts or 1, status, trigger.interval_ns, timetable.policy,
            self.pipeline.version, trigger.due_ns, trigger.start_ns, planned.wake_ns, end_ns, len(arrival),
            output_rows, planned.backlog, processing_ns, sink_ns, 0, cpu_ns, self._sample_state(), "", arrival,
            planned.groups,
        )  # fmt: skip
        timetable.taken(end_ns)
        self._planned = None
        self._batch_id += 1
        self.last_end_ns = end_ns
        self._note(record)
        return record

    def _note_failure(self, planned: _Planned, tried_ns: int, error: Exception) -> None:
        ended = max(tried_ns, self.clock.now_ns())
        self.attempts.append(Attempt(planned.batch_id, planned.attempts, tried_ns, ended - tried_ns, str(error)))
        trigger = planned.trigger
        self.failed = BatchRecord(
            planned.batch_id, planned.attempts, "failed", trigger.interval_ns, self.timetable.policy,
            self.pipeline.version, trigger.due_ns, trigger.start_ns, planned.wake_ns, ended,
            len(planned.cut.arrival_ns), 0, planned.backlog, ended - tried_ns, 0, 0, 0, None, str(error),
            planned.cut.arrival_ns, planned.groups,
        )  # fmt: skip

    def _sample_state(self) -> int | None:
        now = time.monotonic()
        if now - self._sampled_s < 1.0:
            return None
        self._sampled_s = now
        return size_bytes(self.states.everything())

    # -- sinks ----------------------------------------------------------------------------------------------------

    def _adopt_sinks(self) -> None:
        wanted = tuple(s for s in self.pipeline.sinks if self._effects or not s.effects)
        for sink in self._sinks:
            if sink not in wanted:
                sink.close()
        for sink in wanted:
            if sink not in self._sinks:
                sink.open(self.run_id)
        self._sinks, self._adopted = wanted, self.pipeline.sinks

    def _deliver(self, rows: pd.DataFrame, planned: _Planned, marks: list[tuple[Sink, Savepoint | None]]) -> None:
        if self.pipeline.sinks is not self._adopted:
            self._adopt_sinks()
        delivery = Delivery(self.run_id, planned.batch_id, "", planned.attempts > 1, len(planned.cut.arrival_ns))
        if self._sinks:
            rows = tidy(rows)
        for sink in self._sinks:
            marks.append((sink, sink.savepoint()))
            try:
                sink.deliver(rows, delivery)
            except MblabError:
                raise
            except Exception as error:
                raise SinkError(
                    f"{sink.target} refused batch {planned.batch_id}: {type(error).__name__}: {error}"
                ) from error
        self._output.deliver(rows, delivery)

"""One batch after the other, each in five phases.

    PLAN      cut the rows that belong to the batch that is due
    PROCESS   call the steps on them; one that fails undoes what the steps did to the state
    PREPARE   put output, new state and what becomes of them together; from here on the steps are not needed again
    DELIVER   hand the output to every sink; one that refuses makes all of them give it back, and undoes the state
    COMMIT    note what it cost, and go on to the next

`step(now)` takes the batch that is due through them and returns its record. There is no thread, no sleep and no display
here; drivers bring those. The clock is only read. A batch that fails in any phase stays planned, and the next `step`
runs the same rows again.

    schedule + feed -> [engine] -> records
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from mblab.engine.backlog import Backlog
from mblab.engine.batch import Planned, Prepared, Try
from mblab.engine.changes import Changes
from mblab.engine.cost import Cost, cost_ns
from mblab.engine.delivery import DeliverySet
from mblab.engine.feed import NO_TIMES, Feed
from mblab.engine.history import History, Remembered
from mblab.engine.paths import refuse_meeting
from mblab.engine.pipeline import Pipeline
from mblab.engine.records import Attempt, BatchRecord, record_of
from mblab.engine.runner import Called, StepsRunner
from mblab.engine.settings import Control, CurrentSettings
from mblab.engine.watermark import Watermark
from mblab.sinks.base import Delivery, Sink
from mblab.sources.live.base import refuse_speedup
from mblab.steps.state import StateStore, size_bytes
from mblab.timing.clock import Clock
from mblab.timing.durations import NS
from mblab.timing.schedule import Timetable, Trigger
from mblab.timing.times import LATEST_NS, Times, out_of_reach

__all__ = ["Engine"]

FEW_BATCHES: Final = 100  # without rows, which are run as fast as they are passed over


class Engine:
    """The state machine of one run.

    Args:
        pipeline: The recipe; may be replaced while the run is on and takes effect at the next batch.
        clock: Read for end times, never waited on.
        run_id: 12 hex digits.
        note: Called with every record.
        note_alike: Called with the record of the first of many batches without rows, one an interval, and with how many
            they are; None lets every batch be noted by itself.
        output: The sink the run itself reads its output from.
        current: The settings that changes move, where somebody else shows them; None makes its own of the pipeline's.
        duration_ns: Batches whose start (`queue`: grid point) is later are not run; None runs until all is taken.
        cost: Declared cost of n rows in seconds; replaces every measured time.
        controls: Changes scripted beforehand, on the run's clock; they do not move `current`.
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
        note_alike: Callable[[BatchRecord, int], None] | None = None,
        output: Sink,
        current: CurrentSettings | None = None,
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
        self.history = History(history)
        settings = pipeline.settings
        self.changes = Changes(CurrentSettings(settings) if current is None else current, clock, controls)
        self.timetable = Timetable(settings.interval_ns, settings.policy)
        self._cap = settings.max_rows_per_batch  # of the next batch, as interval and policy are in the timetable
        self._note, self._note_alike = note, note_alike
        self._cost = cost
        self._batch_id = 0
        self._planned: Planned | None = None
        self._backlog = Backlog()
        self._runner = StepsRunner(pipeline.steps)
        self._deliveries = DeliverySet(run_id, output, effects=effects)
        self._sample_ns = 0  # when the state is weighed next
        self.last_end_ns = 0
        if settings.speedup is not None or any("speedup" in c.change for c in controls):
            refuse_speedup(pipeline.source)
        self.feed = Feed(pipeline.source, settings.speedup, None if clock.virtual else clock.now_ns)
        self._watermark = Watermark()

    def open(self) -> None:
        """Get the sinks ready; the source's first block is decoded already.

        Raises:
            SettingError: One would write what the source reads; nothing has been written.
            SinkError: One cannot be opened.
        """
        if self._deliveries.effects:
            refuse_meeting(self.pipeline.source, self.pipeline.sinks)
        self._deliveries.open(self.pipeline.sinks)

    def close(self) -> None:
        """Stop listening and close the sinks."""
        self.feed.close()
        self._deliveries.close()

    @property
    def states(self) -> StateStore:
        """What the steps remember."""
        return self._runner.states

    @property
    def batches(self) -> int:
        """How many batches have been committed."""
        return self._batch_id

    @property
    def planned_arrivals(self) -> Times:
        """Arrivals of the rows of a batch that was cut and is not committed, in ns; empty when there is none."""
        return NO_TIMES if self._planned is None else self._planned.cut.arrival_ns

    def remembered(self, batch_id: int) -> Remembered | None:
        """Return a batch as it was, the one that failed included, or None when it is not kept."""
        planned = self._planned
        if planned is None or planned.batch_id != batch_id:
            return self.history.find(batch_id)
        saved = [(step, self.states.snapshot(step)) for step in self.pipeline.steps]
        return Remembered.of(planned, saved, None)

    # -- the schedule ---------------------------------------------------------------------------------------------

    def next_start_ns(self) -> int | None:
        """Return the nominal start of the next batch, or None when the run is over."""
        if self._planned is not None:
            return self._planned.trigger.start_ns
        trigger = self.timetable.peek()
        while self.changes.pending and self.changes.before(trigger.start_ns):
            if self._is_over(trigger) and self.duration_ns is None:
                return None
            self._apply(self.changes.take())
            trigger = self.timetable.peek()
        if self._is_over(trigger):
            return None
        if trigger.start_ns > LATEST_NS:
            raise out_of_reach(trigger.start_ns)
        return trigger.start_ns

    def _is_over(self, trigger: Trigger) -> bool:
        if self.duration_ns is not None:
            return trigger.grid_ns > self.duration_ns
        return self.feed.drained

    def _apply(self, control: Control) -> None:
        change = control.change
        speedup = change.get("speedup")
        if speedup is not None and speedup != self.feed.speedup:
            self.feed.change_speed(control.at_ns, speedup)
        interval, policy = change.get("interval_ns"), change.get("policy")
        if interval is not None or policy is not None:
            self.timetable.change(control.at_ns, interval_ns=interval, policy=policy)
        if "max_rows_per_batch" in change:
            self._cap = change["max_rows_per_batch"]
        self.controls.append(control)

    # -- one batch ------------------------------------------------------------------------------------------------

    def step(self, now_ns: int) -> BatchRecord | None:
        """Run the batch that is due, if its nominal start is not later than now.

        Raises:
            BatchError: A step raised or returned what no sink takes; the batch stays planned, its state is as before.
            SinkError: A result could not be delivered; the same.
        """
        planned, pipeline = self._planned or self._plan(now_ns), self.pipeline
        if planned is None:
            return None
        if not len(planned.cut.arrival_ns) and not self._runs_empty(pipeline):
            end = planned.trigger.start_ns
            return self._commit(record_of(
                planned, "empty", end, version=pipeline.version, waiting_rows=self.feed.arrived(end),
                state_bytes=self._sample_state(time.perf_counter_ns()),
            ))  # fmt: skip
        self._planned, self.failed = planned, None
        tried = planned.begin(self.clock)
        try:
            self._deliveries.settle(planned.batch_id, pipeline.sinks)
            called = self._process(planned, pipeline, tried)
            prepared = self._prepare(planned, pipeline, called)
            self._deliver(prepared)
        except Exception as error:
            self._fail(planned, pipeline, tried, error)
            raise
        return self._finish(planned, pipeline, prepared, tried)

    def _runs_empty(self, pipeline: Pipeline) -> bool:
        """Return whether the steps are called for a batch without rows."""
        return bool(pipeline.settings.run_empty and pipeline.steps and self.feed.columns_known)

    def pass_silence(self) -> BatchRecord | None:
        """Commit, after a batch without rows, all that follow it before a row arrives or a knob moves, as if run.

        The clock moves on to the last of them, whose record is returned; None where they are few, or must be run one by
        one.
        """
        feed, timetable, pipeline = self.feed, self.timetable, self.pipeline
        arrives, moves = feed.next_ns, self.changes.next_ns
        if self._note_alike is None or self._planned is not None or self._runs_empty(pipeline):
            return None
        if arrives is None and (self.duration_ns is None or not feed.drained):
            return None
        upto = min(each for each in (arrives, moves, self.duration_ns, LATEST_NS) if each is not None)
        count, trigger = timetable.on_time(upto), timetable.peek()
        last_ns = trigger.due_ns + (count - 1) * trigger.interval_ns
        if count < FEW_BATCHES or not self.changes.jump(last_ns):
            return None
        first = record_of(
            Planned(self._batch_id, trigger, feed.take(0), policy=timetable.policy, cap=self._cap), "empty",
            trigger.start_ns, version=pipeline.version,
        )  # fmt: skip
        timetable.passed(count)
        self._batch_id += count
        self.last_end_ns = last_ns
        self._note_alike(first, count)
        return first._replace(batch_id=first.batch_id + count - 1, due_ns=last_ns, start_ns=last_ns, end_ns=last_ns)

    def _plan(self, now_ns: int) -> Planned | None:
        """PLAN: cut the rows that belong to the next batch; None when it is not due yet."""
        trigger, feed, cap = self.timetable.peek(), self.feed, self._cap
        if trigger.start_ns > now_ns or self.changes.before(trigger.start_ns):
            return None
        rule, available = self.timetable.rule, feed.waiting(trigger.cut_ns)
        count = available if cap is None or available < cap else cap
        groups = self._backlog.take(trigger, count, feed.taken, available, merge=rule.every_trigger)
        cut = feed.take(count)
        backlog = available - count if trigger.cut_ns == trigger.start_ns else feed.waiting(trigger.start_ns)
        return Planned(
            self._batch_id, trigger, cut, policy=rule.name, cap=cap, mark=self._watermark.follow(cut),
            backlog=backlog, groups=groups, wake_ns=now_ns - trigger.start_ns if self._cost is None else 0,
        )  # fmt: skip

    def _process(self, planned: Planned, pipeline: Pipeline, tried: Try) -> Called:
        """PROCESS: call the steps."""
        self._runner.steps = pipeline.steps
        called = self._runner.call(planned.cut.rows(), planned.context(self.run_id))
        tried.processed_ns = time.perf_counter_ns()
        return called

    def _prepare(self, planned: Planned, pipeline: Pipeline, called: Called) -> Prepared:
        """PREPARE: put together what the batch leaves behind, before any of it is delivered.

        It is held in memory. Where a checkpoint holds it, here it is written, and from then on neither the rows nor the
        steps are needed again.
        """
        rows, count = called.result, len(planned.cut.arrival_ns)
        try:
            cost = None if self._cost is None else cost_ns(self._cost, count)
            if cost and planned.trigger.start_ns + cost > LATEST_NS:
                raise out_of_reach(planned.trigger.start_ns + cost)
            if rows is not None:
                rows = called.rows if self._deliveries.adopt(pipeline.sinks) else rows
        except BaseException:
            self._runner.undo(called.saved)
            raise
        delivery = Delivery(self.run_id, planned.batch_id, "", planned.attempts > 1, count)
        return Prepared(rows, called.saved, delivery, cost)

    def _deliver(self, prepared: Prepared) -> None:
        """DELIVER: hand the output to every sink, or to none."""
        if prepared.rows is None:
            return
        try:
            self._deliveries.deliver(prepared.rows, prepared.delivery)
        except BaseException:
            self._runner.undo(prepared.saved)
            raise

    def _finish(self, planned: Planned, pipeline: Pipeline, prepared: Prepared, tried: Try) -> BatchRecord:
        """Take the stamps of a batch that was delivered, remember it, and commit it."""
        delivered, end, rows = time.perf_counter_ns(), self.clock.now_ns(), prepared.rows
        attempts, began = planned.attempts, planned.trigger.start_ns + planned.wake_ns
        processing, sink = tried.processed_ns - tried.begun_ns, delivered - tried.processed_ns
        if prepared.cost_ns is not None:
            processing, sink, end = prepared.cost_ns, 0, planned.trigger.start_ns + prepared.cost_ns
        elif end < began:
            end = began
        self.history.keep(Remembered.of(planned, prepared.saved, rows))
        if attempts > 1:
            self.attempts.append(Attempt(planned.batch_id, attempts, tried.at_ns, end - tried.at_ns, ""))
        return self._commit(record_of(
            planned, "retried" if attempts > 1 else "ok", end, version=pipeline.version,
            waiting_rows=self.feed.arrived(end), output_rows=0 if rows is None else len(rows), processing_ns=processing,
            sink_ns=sink, cpu_ns=time.thread_time_ns() - tried.cpu_ns, state_bytes=self._sample_state(delivered),
        ))  # fmt: skip

    def _commit(self, record: BatchRecord) -> BatchRecord:
        """COMMIT: from here on the batch has been."""
        self.timetable.taken(record.end_ns)
        self._planned = None
        self._batch_id += 1
        self.last_end_ns = record.end_ns
        self._note(record)
        return record

    def _fail(self, planned: Planned, pipeline: Pipeline, tried: Try, error: Exception) -> None:
        """Note a try that failed; its batch stays planned, and none of its rows is delivered."""
        ended = max(tried.at_ns, self.clock.now_ns())
        took = ended - tried.at_ns
        said = "; ".join([str(error), *getattr(error, "__notes__", [])])
        self.attempts.append(Attempt(planned.batch_id, planned.attempts, tried.at_ns, took, said))
        self.failed = record_of(
            planned, "failed", ended, version=pipeline.version, processing_ns=took, error=said,
            waiting_rows=self.feed.arrived(ended) + len(planned.cut.arrival_ns),
        )  # fmt: skip

    def _sample_state(self, now_ns: int) -> int | None:
        if now_ns < self._sample_ns:
            return None
        self._sample_ns = now_ns + NS
        return size_bytes(self.states.everything())

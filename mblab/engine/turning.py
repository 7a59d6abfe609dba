"""One engine turned until its run is over; on real, virtual or manual time.

The loop is the same for all: ask for the next nominal start, wait for it on the run's clock, run the batch. It stands
in whichever thread calls it, and looks at the orders between two batches and whenever they wake it.

    engine + clock, orders -> [turning] -> listeners
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

from mblab.engine.engine import Engine
from mblab.engine.interrupts import Caught
from mblab.engine.listeners import Listeners, Row
from mblab.engine.orders import Orders
from mblab.engine.records import BatchRecord, RunStatus
from mblab.engine.switching import brisk
from mblab.errors import MblabError
from mblab.timing.clock import Clock

__all__ = ["Turning"]

SPIN_BELOW_NS: Final = 20_000_000

logger = logging.getLogger("mblab")


class Turning:
    """The loop of one run.

    Args:
        engine: What is turned.
        clock: The run's clock.
        orders: What is asked of the run.
        listeners: Whom to call after every batch; held weakly.
        progress: Returns the newest row of `run.batches`, for listeners.

    Attributes:
        horizon_ns: The run's length, once it has ended.
        tick: Called after every batch.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        orders: Orders,
        listeners: Listeners | None,
        progress: Callable[[], Row | None],
    ) -> None:
        self._engine, self._clock, self._orders = engine, clock, orders
        self._listeners = None if listeners is None else weakref.ref(listeners)  # they may hold the lab
        self._progress = progress
        self.horizon_ns: int | None = None
        self.tick: Callable[[], None] | None = None

    def turn(self, caught: Caught | None = None) -> None:
        """Turn the engine in this thread, which has claimed it or was passed it, until the run ends or halts.

        Raises:
            BaseException: What ended a run that blocks its caller; in a thread of its own it is only kept.
        """
        orders, caught = self._orders, Caught() if caught is None else caught
        orders.take_over()
        try:
            with brisk():
                try:
                    caught.abortable = True
                    self._loop()
                finally:
                    caught.abortable = False
        except BaseException as error:
            orders.error = error
            if isinstance(error, Exception):
                logger.exception("run %s ended by an error", self._engine.run_id)
            self.end("stopped")
            if orders.blocking:
                raise
        finally:
            orders.release()

    def _loop(self) -> None:
        engine, clock, orders, wake = self._engine, self._clock, self._orders, self._orders.wake
        if orders.stopped:
            pass
        elif orders.status == "created":
            clock.start()
        elif not orders.paused:
            clock.thaw()
        while True:
            wake.clear()
            if not self._ready():
                if orders.inside:
                    self.end("stopped")
                return
            try:
                start = engine.next_start_ns()
                if start is None:
                    if self._wait_for_end():
                        self.end("finished")
                        return
                    continue
                engine.feed.reach(start)
                stepping = orders.steps > 0  # an order that comes during the batch is about the ones after it
                if stepping:
                    if not (orders.take_in_hand() and engine.changes.jump(start)):
                        continue
                    clock.thaw()
                    clock.wait_until(start, threading.Event())
                elif not clock.wait_until(start, wake, spin=engine.timetable.interval_ns <= SPIN_BELOW_NS):
                    continue
                record = engine.step(clock.now_ns())
            except MblabError as error:
                self._halt(error)
                continue
            if record is not None:
                self._after_batch(record, stepping)

    def _ready(self) -> bool:
        """Hold while paused or halted; return False to leave the loop."""
        orders = self._orders
        orders.put_down()
        if orders.stopped:
            return False
        if orders.halted:  # whatever became of the status meanwhile: the clock stands
            return self._hold()
        if orders.paused and not orders.steps:
            self._clock.freeze()
            self._set_status("paused")
            return self._hold()
        if orders.status not in ("running", "paused"):
            self._set_status("running")
        return True

    def _hold(self) -> bool:
        if not self._orders.stand():
            return False
        if not self._orders.steps:
            self._clock.thaw()
            self._set_status("running")
        return True

    def _wait_for_end(self) -> bool:
        """Let a run of given length last that long; return False when an order came in meanwhile."""
        duration, changes = self._engine.duration_ns, self._engine.changes
        if duration is None:
            return True
        if self._orders.steps:
            return changes.jump(duration)
        past = self._clock.now_ns() >= duration or self._clock.wait_until(duration, self._orders.wake)
        return past and not changes.before(duration)

    def _after_batch(self, record: BatchRecord, stepping: bool) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            self.log(
                logging.DEBUG, "batch %d %s: %d rows in, %d out, %.6f s",
                record.batch_id, record.status, record.num_input_rows, record.num_output_rows,
                (record.end_ns - record.start_ns) / 1e9,
            )  # fmt: skip
        if self._clock.virtual:
            self._clock.jump(record.end_ns)  # where it stands while they are called
        listeners = None if self._listeners is None else self._listeners()
        if listeners is not None:
            listeners.call(self._engine, record, self._progress)
        if self.tick is not None:
            self.tick()
        if stepping:
            self._orders.count_step(record, self._clock.freeze)
        elif record.status == "empty" and self._clock.virtual:
            self._pass_silence(listeners)

    def _pass_silence(self, listeners: Listeners | None) -> None:
        """Pass over the batches without rows that follow one, where nobody wants to hear of each."""
        engine, orders = self._engine, self._orders
        if orders.stopped or orders.paused or logger.isEnabledFor(logging.DEBUG):
            return
        last = engine.pass_silence() if listeners is None or listeners.rest(engine) else None
        if last is not None and listeners is not None:
            listeners.slept(engine, last)

    def _halt(self, error: MblabError) -> None:
        self._clock.freeze()
        self._orders.halt(error)
        self.log(logging.ERROR, "halted: %s", error)

    def end(self, status: RunStatus) -> None:
        """Settle how long the run was, freeze its clock and close the engine, unless it has ended."""
        engine, orders = self._engine, self._orders
        if orders.ended:
            return
        if status == "finished" and engine.duration_ns is not None:
            self.horizon_ns = engine.duration_ns
        elif status == "finished":
            self.horizon_ns = engine.last_end_ns
        else:
            self.horizon_ns = self._so_far_ns()
        self._clock.freeze()
        try:
            engine.close()
        except MblabError as error:
            orders.error = orders.error or error
        self._set_status(status)

    def end_in_child(self) -> None:
        """Be over in a forked child, where the sinks are the parent's: nothing is closed, and nobody is told."""
        if not self._orders.ended:
            self.horizon_ns = self._so_far_ns()
            self._orders.status = "stopped"

    def _so_far_ns(self) -> int:
        return max(self._clock.now_ns(), self._engine.last_end_ns)

    def _set_status(self, status: RunStatus) -> None:
        if self._orders.set_status(status):
            self.log(logging.INFO, "%s", status)

    def log(self, level: int, text: str, *values: Any) -> None:
        """Log what becomes of the run, by its number and its pipeline's name."""
        engine = self._engine
        logger.log(level, "run %s of %s: " + text, engine.run_id, engine.pipeline.settings.name, *values)

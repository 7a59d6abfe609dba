"""What turns the engine: a thread of its own, or the caller's; on real, virtual or manual time.

The loop is the same for all: ask for the next nominal start, wait for it on the run's clock, run the batch. Orders come
from any thread through one door: one at a time, and the loop, which waits on one event, looks at them at once when it
waits and else at the next boundary. Who turns the engine is settled under the same lock, so it is one thread or none.
In the run's own thread, where a step or `on_batch` is called, an order is left at the door, and what would wait for the
run is refused. A forked child has its parent's runs as if they had been stopped.

    engine + clock, orders -> [driver] -> lab
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from mblab.engine import forks
from mblab.engine.engine import Engine
from mblab.engine.interrupts import Caught, interrupts
from mblab.engine.listeners import Listeners, Row
from mblab.engine.pipeline import Pipeline
from mblab.engine.records import ENDED, BatchRecord, RunStatus
from mblab.engine.settings import Change
from mblab.errors import MblabError, SettingError
from mblab.steps.chain import names_of
from mblab.timing.clock import Clock
from mblab.timing.durations import format_s

__all__ = ["Driver"]

SWITCH_S = 0.0005  # beside a busy Python thread each wake is late by this much, by as much for each run; default 5 ms
SPIN_BELOW_NS = 20_000_000

logger = logging.getLogger("mblab")


class _Switching:
    """How fast threads hand over the interpreter: faster while a run is on, as it was when the last run ends."""

    def __init__(self) -> None:
        self._renew()
        forks.in_child(self, _Switching._in_child)

    def _renew(self) -> None:
        self._lock, self._runs, self._usual = threading.Lock(), 0, 0.0

    def _in_child(self) -> None:
        if self._runs:
            sys.setswitchinterval(self._usual)
        self._renew()

    @contextlib.contextmanager
    def brisk(self) -> Iterator[None]:
        """Let them hand over faster."""
        with self._lock:
            if self._runs == 0:
                self._usual = sys.getswitchinterval()
            self._runs += 1
            self._set()
        try:
            yield
        finally:
            with self._lock:
                if self._runs:  # 0 in a forked child, in which it is as it was
                    self._runs -= 1
                    self._set()

    def _set(self) -> None:
        """Share the hand-overs out: two hundred threads that each want one every half millisecond do nothing else."""
        sys.setswitchinterval(min(SWITCH_S * self._runs, self._usual) if self._runs else self._usual)


_switching = _Switching()


class Driver:
    """Turns one engine until its run is over, and takes orders from other threads meanwhile.

    Attributes:
        status: created, running, paused, halted, stopping, stopped or finished.
        error: What halted the run, or ended it against its will.
        horizon_ns: The run's length, once it has ended.
        recipes: The pipelines it turned, one each time the steps changed, oldest first.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        listeners: Listeners | None = None,
        progress: Callable[[], Row | None] = lambda: None,
    ) -> None:
        self.engine = engine
        self.recipes = [engine.pipeline]
        self.clock = clock
        self.status: RunStatus = "created"
        self.error: BaseException | None = None
        self.horizon_ns: int | None = None
        self._listeners = None if listeners is None else weakref.ref(listeners)  # they may hold the lab
        self._progress = progress
        self._stop = False
        self._paused = False
        self._steps = 0
        self._stepped: list[BatchRecord] = []
        self._in_hand = False  # whether a batch of step() is on its way
        self._holding = False  # whether the loop stands, paused or halted
        self._halted = False  # whether a batch failed and the loop has not gone on since
        self._blocking = True
        self._ticks: Callable[[], None] | None = None
        self._renew()
        forks.in_child(self, Driver._in_child)

    def _renew(self) -> None:
        """Begin with no thread, and with locks that nobody holds."""
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._stepping = threading.Lock()  # one step() at a time
        self._turner: int | None = None  # number of the thread that turns the engine, which may be the caller's
        self._thread: threading.Thread | None = None

    def _in_child(self) -> None:
        """Be a run that has been stopped: in a forked child nobody turns it, and its sinks are the parent's."""
        self._renew()
        self._stop = True
        if not self.ended:
            self.horizon_ns = max(self.clock.now_ns(), self.engine.last_end_ns)
            self.status = "stopped"

    # -- orders, from any thread ------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the run is over for good."""
        return self.status in ENDED

    @property
    def idle(self) -> bool:
        """Whether no thread is turning the engine."""
        return self._turner is None

    def refuse_inside(self, verb: str) -> None:
        """Refuse a verb in the run's own thread.

        Raises:
            SettingError: It would wait for the very run that it is called in.
        """
        if self._is_driver_thread():
            raise SettingError(
                f"{verb}() would wait for the run it is called in, from a step or on_batch; call it from a cell or "
                "another thread. In here stop(), pause() and the knobs act at the next batch."
            )

    @contextlib.contextmanager
    def _door(self) -> Iterator[None]:
        """Take an order: one at a time, and the loop looks at what it left at the next boundary."""
        with self._changed:
            yield
            self._changed.notify_all()
        self._wake.set()

    def change(self, change: Change, at_ns: int | None = None) -> None:
        """Move knobs now, or at a time of the run's clock that has passed.

        Raises:
            SettingError: What the change would leave breaks a rule; nothing has moved.
        """
        with self._door():
            self.engine.changes.accept(change, at_ns)
        self._log(logging.INFO, "moved %s", change)

    def adopt(self, pipeline: Pipeline) -> None:
        """Go on with another recipe from the next batch on."""
        with self._door():
            self.engine.pipeline = pipeline
            replaced = pipeline.steps != self.recipes[-1].steps
            if replaced:
                self.recipes.append(pipeline)
        if replaced:
            self._log(logging.INFO, "steps are now %s (version %d)", names_of(pipeline.steps), pipeline.version)

    def stop(self, *, wait: bool = True) -> None:
        """End the run after the batch in hand; in its own thread, and without `wait`, return before that."""
        with self._door():
            self._stop = True
            if not self.ended and self.status != "created":
                self.status = "stopping"
        if self._claim():  # nobody turns it, so whoever stops it ends it
            try:
                self._end("stopped")
            finally:
                self._release()
        elif wait and not self._is_driver_thread():
            self._join()

    def pause(self) -> None:
        """Freeze the run's clock after the batch in hand, and return then; in its own thread return before that.

        Raises:
            SettingError: It is called in the thread of a run that blocks its caller.
        """
        inside = self._is_driver_thread()
        if inside and self._blocking:
            raise SettingError(
                "pause() inside a run that blocks its cell would wait for a resume() that cannot come; begin the run "
                "with lab.start(), or end it here with lab.stop()."
            )
        with self._door():
            if not self.ended and self.status != "halted":
                self._paused = True
                self._steps = 0
        if not inside:
            with self._changed:
                self._changed.wait_for(lambda: not self._paused or self._holding or self.idle)

    def resume(self) -> None:
        """End a pause or a halt; the batch that failed is run again."""
        with self._door():
            self._paused = False
            if not self.ended:
                self.error = None
            if self.status in ("paused", "halted"):
                self.status = "running"
        if self.idle and not self.ended:
            self.run()

    def step(self, count: int) -> list[BatchRecord]:
        """Run the next `count` batches at once, one after the other, and pause again; return their records.

        Ctrl-C and `pause` end it after the batch in hand.

        Raises:
            MblabError: What halted it.
            SettingError: It is called in the run's own thread.
            KeyboardInterrupt: After Ctrl-C; a second one does not wait for the batch in hand.
        """
        self.refuse_inside("step")
        with self._stepping, interrupts(self._end_stepping, self._end_soon) as caught:
            self._run_batches(count, caught)
        caught.answer()
        if self.error is not None:
            raise self.error
        return self._stepped

    def _run_batches(self, count: int, caught: Caught) -> None:
        with self._door():
            self._paused = True
            self._stepped = []
            if caught.first is None:
                self._steps = count
            if not self.ended:
                self.error = None
            if not self.ended and not self._stop:
                self.status = "paused"
        if self.idle:
            self.start()
        caught.abortable = True
        with self._changed:
            self._changed.wait_for(
                lambda: (self._steps == 0 and not self._in_hand) or self.ended or self.error is not None
            )
        caught.abortable = False

    def _end_stepping(self) -> None:
        with self._door():
            self._steps = 0

    def _end_soon(self) -> None:
        self.stop(wait=False)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return True when the run has ended, False when the time is up or the run halted.

        Raises:
            SettingError: It is called in the run's own thread.
        """
        self.refuse_inside("wait")
        with self._changed:
            self._changed.wait_for(lambda: self.ended or self.status == "halted", timeout_s)
        if self.ended:
            self._join()
        return self.ended

    # -- turning ----------------------------------------------------------------------------------------------------

    def _claim(self) -> bool:
        """Become who turns the engine, or return False: another does, or the run is over."""
        with self._changed:
            if self._turner is not None or self.ended:
                return False
            self._turner = threading.get_ident()
            return True

    def _release(self) -> None:
        with self._changed:
            if self._is_driver_thread():
                self._leave()

    def _leave(self) -> None:
        self._turner, self._in_hand = None, False
        self._changed.notify_all()

    def start(self) -> None:
        """Turn the engine in a daemon thread of its own."""
        if not self._claim():
            return
        self._blocking = False
        self._thread = threading.Thread(target=self._turn, name=f"mblab-{self.engine.run_id}", daemon=True)
        self._turner = -1  # nobody's number: the thread puts its own here
        try:
            self._thread.start()
        except BaseException:
            if self._thread.ident is None:
                with self._changed:
                    self._leave()
            raise

    def run(self, tick: Callable[[], None] | None = None) -> None:
        """Turn the engine in the calling thread until the run ends or halts.

        Args:
            tick: Called after every batch.

        Raises:
            MblabError: What halted it.
            KeyboardInterrupt: After Ctrl-C, which lets the batch in hand finish; a second one aborts it.
        """
        with interrupts(self._end_soon, self._end_soon) as caught:
            if self._claim():
                self._blocking, self._ticks = True, tick
                self._turn(caught)
            self._join()  # with whoever turns it, also when another thread resumed it after a halt
        caught.answer()
        if self.error is not None:
            raise self.error

    def _turn(self, caught: Caught | None = None) -> None:
        caught = Caught() if caught is None else caught
        self._turner = threading.get_ident()
        try:
            with _switching.brisk():
                try:
                    caught.abortable = True
                    self._loop()
                finally:
                    caught.abortable = False
        except BaseException as error:
            self.error = error
            if isinstance(error, Exception):
                logger.exception("run %s ended by an error", self.engine.run_id)
            self._end("stopped")
            if self._blocking:
                raise
        finally:
            self._release()

    def _loop(self) -> None:
        engine, clock, wake = self.engine, self.clock, self._wake
        if self._stop:
            pass
        elif self.status == "created":
            clock.start()
        elif not self._paused:
            clock.thaw()
        while True:
            wake.clear()
            if not self._ready():
                if self._is_driver_thread():
                    self._end("stopped")
                return
            try:
                start = engine.next_start_ns()
                if start is None:
                    if self._wait_for_end():
                        self._end("finished")
                        return
                    continue
                engine.feed.reach(start)
                stepping = self._steps > 0  # an order that comes during the batch is about the ones after it
                if stepping:
                    if not (self._take_in_hand() and engine.changes.jump(start)):
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

    def _wait_for_end(self) -> bool:
        """Let a run of given length last that long; return False when an order came in meanwhile."""
        duration, changes = self.engine.duration_ns, self.engine.changes
        if duration is None:
            return True
        if self._steps:
            return changes.jump(duration)
        past = self.clock.now_ns() >= duration or self.clock.wait_until(duration, self._wake)
        return past and not changes.before(duration)

    def _after_batch(self, record: BatchRecord, stepping: bool) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            self._log(
                logging.DEBUG, "batch %d %s: %d rows in, %d out, %.6f s",
                record.batch_id, record.status, record.num_input_rows, record.num_output_rows,
                (record.end_ns - record.start_ns) / 1e9,
            )  # fmt: skip
        if self.clock.virtual:
            self.clock.jump(record.end_ns)  # where it stands while they are called
        listeners = None if self._listeners is None else self._listeners()
        if listeners is not None:
            listeners.call(self.engine, record, self._progress)
        if self._ticks is not None:
            self._ticks()
        if stepping:
            with self._changed:
                self._stepped.append(record)
                self._steps -= self._steps > 0
                if self._steps == 0:
                    self.clock.freeze()
        elif record.status == "empty" and self.clock.virtual:
            self._pass_silence(listeners)

    def _pass_silence(self, listeners: Listeners | None) -> None:
        """Pass over the batches without rows that follow one, where nobody wants to hear of each."""
        engine = self.engine
        if self._stop or self._paused or logger.isEnabledFor(logging.DEBUG):
            return
        last = engine.pass_silence() if listeners is None or listeners.rest(engine) else None
        if last is not None and listeners is not None:
            listeners.slept(engine, last)

    def _take_in_hand(self) -> bool:
        """Begin with a batch of step(), or return False: the stepping has been ended meanwhile."""
        with self._changed:
            self._in_hand = self._steps > 0
            return self._in_hand

    def _ready(self) -> bool:
        """Hold while paused or halted; return False to leave the loop."""
        if self._in_hand:
            with self._changed:
                self._in_hand = False
                self._changed.notify_all()
        if self._stop:
            return False
        if self._halted:  # whatever became of the status meanwhile: the clock stands
            return self._hold()
        if self._paused and not self._steps:
            self.clock.freeze()
            self._set_status("paused")
            return self._hold()
        if self.status not in ("running", "paused"):
            self._set_status("running")
        return True

    def _hold(self) -> bool:
        with self._changed:
            if self._halted and self._blocking and self.error is not None:  # its caller gets the error, and may resume
                self._leave()
                return False
            self._holding = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stop or self._steps > 0 or (not self._paused and self.error is None))
            self._holding = self._halted = False
        if self._stop:
            return False
        if not self._steps:
            self.clock.thaw()
            self._set_status("running")
        return True

    def _halt(self, error: MblabError) -> None:
        self.clock.freeze()
        with self._changed:
            self.error = error
            self._steps = 0
            self._halted = True
            self.status = "halted"
            self._changed.notify_all()
        self._log(logging.ERROR, "halted: %s", error)

    def _end(self, status: RunStatus) -> None:
        engine = self.engine
        if self.ended:
            return
        if status == "finished" and engine.duration_ns is not None:
            self.horizon_ns = engine.duration_ns
        elif status == "finished":
            self.horizon_ns = engine.last_end_ns
        else:
            self.horizon_ns = max(self.clock.now_ns(), engine.last_end_ns)
        self.clock.freeze()
        try:
            engine.close()
        except MblabError as error:
            self.error = self.error or error
        self._set_status(status)

    def _set_status(self, status: RunStatus) -> None:
        with self._changed:
            changed = self.status != status and (self.status != "stopping" or status in ENDED)
            if changed:
                self.status = status
            self._changed.notify_all()
        if changed:
            self._log(logging.INFO, "%s", status)

    def _log(self, level: int, text: str, *values: Any) -> None:
        engine = self.engine
        logger.log(level, "run %s of %s: " + text, engine.run_id, engine.pipeline.settings.name, *values)

    def _is_driver_thread(self) -> bool:
        return self._turner == threading.get_ident()

    def _join(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turner is None)
        if self._thread is not None:
            self._thread.join()

    def __repr__(self) -> str:
        return f"Driver({self.status}, {format_s(self.clock.now_ns() / 1e9)})"

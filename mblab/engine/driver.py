"""What turns the engine: a thread of its own, or the caller's; on real, virtual or manual time.

The loop is the same for all: ask for the next nominal start, wait for it on the run's clock, run the batch. Orders come
from any thread through one door: one at a time, and the loop, which waits on one event, looks at them at once when it
waits and else at the next boundary. Only this file knows threads and signals.

    engine + clock, orders -> [driver] -> lab
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from mblab.engine.engine import Engine
from mblab.engine.listeners import Listeners, Row
from mblab.engine.pipeline import Pipeline
from mblab.engine.records import ENDED, BatchRecord, RunStatus
from mblab.engine.settings import Change
from mblab.errors import MblabError
from mblab.steps.chain import names_of
from mblab.support import jupyter
from mblab.timing.clock import Clock
from mblab.timing.durations import format_s

__all__ = ["Driver"]

SWITCH_S = 0.0005  # beside a busy Python thread each wake is late by this much; Python's default is 5 ms
SPIN_BELOW_NS = 20_000_000

logger = logging.getLogger("mblab")

_switching = threading.Lock()
_switched = 0
_usual = 0.0


@contextlib.contextmanager
def _brisk_switching() -> Iterator[None]:
    """Let threads hand over the interpreter faster while a run is on; restored when the last run ends."""
    global _switched, _usual  # noqa: PLW0603
    with _switching:
        if _switched == 0:
            _usual = sys.getswitchinterval()
            sys.setswitchinterval(min(SWITCH_S, _usual))
        _switched += 1
    try:
        yield
    finally:
        with _switching:
            _switched -= 1
            if _switched == 0:
                sys.setswitchinterval(_usual)


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
        self._listeners = listeners
        self._progress = progress
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._stop = False
        self._paused = False
        self._steps = 0
        self._stepped: list[BatchRecord] = []
        self._blocking = True
        self._turner: int | None = None  # number of the thread that turns the engine, which may be the caller's
        self._thread: threading.Thread | None = None
        self._ticks: Callable[[], None] | None = None

    # -- orders, from any thread ------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the run is over for good."""
        return self.status in ENDED

    @property
    def idle(self) -> bool:
        """Whether no thread is turning the engine."""
        return self._turner is None

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
        """End the run after the batch in hand."""
        with self._door():
            self._stop = True
            if not self.ended and self.status != "created":
                self.status = "stopping"
        if self.idle:
            self._end("stopped")
        elif wait and not self._is_driver_thread():
            self._join()

    def pause(self) -> None:
        """Freeze the run's clock after the batch in hand."""
        with self._door():
            if not self.ended and self.status != "halted":
                self._paused = True

    def resume(self) -> None:
        """End a pause or a halt; the batch that failed is run again."""
        with self._door():
            self._paused = False
            self.error = None
            if not self.ended:
                self.status = "running"
        if self.idle and not self.ended:
            self.run()

    def step(self, count: int) -> list[BatchRecord]:
        """Run the next `count` batches at once, one after the other, and pause again; return their records."""
        with self._door():
            self._paused = True
            self._stepped = []
            self._steps = count
            self.error = None
            if not self.ended:
                self.status = "paused"
        if self.idle:
            self.start()
        with self._changed:
            self._changed.wait_for(lambda: self._steps == 0 or self.ended or self.error is not None)
            self._steps = 0
        if self.error is not None:
            raise self.error
        return self._stepped

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return True when the run has ended, False when the time is up or the run halted."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or self.status == "halted", timeout_s)
        if self.ended and not self._is_driver_thread():
            self._join()
        return self.ended

    # -- turning ----------------------------------------------------------------------------------------------------

    def start(self, *, paused: bool = False) -> None:
        """Turn the engine in a daemon thread of its own."""
        self._blocking = False
        self._paused = self._paused or paused
        self._thread = threading.Thread(target=self._turn, name=f"mblab-{self.engine.run_id}", daemon=True)
        self._turner = -1  # from here on it is not idle; the thread puts its own number here
        self._thread.start()

    def run(self, tick: Callable[[], None] | None = None) -> None:
        """Turn the engine in the calling thread until the run ends or halts.

        Args:
            tick: Called after every batch.

        Raises:
            MblabError: What halted it.
            KeyboardInterrupt: After Ctrl-C, which lets the batch in hand finish; a second one aborts it.
        """
        self._blocking, self._ticks = True, tick
        with self._signals() as interrupted:
            self._turn()
        if interrupted == ["SIGINT"]:
            raise KeyboardInterrupt
        if interrupted == ["SIGTERM"]:
            raise SystemExit(0)
        if self.error is not None:
            raise self.error

    @contextlib.contextmanager
    def _signals(self) -> Iterator[list[str]]:
        """Let Ctrl-C and SIGTERM end the run after the batch in hand, where they are ours to take."""
        seen: list[str] = []
        if threading.current_thread() is not threading.main_thread():
            yield seen
            return

        def interrupt(*_: object) -> None:
            if seen:
                raise KeyboardInterrupt
            seen.append("SIGINT")
            self._stop_from_handler()

        def terminate(*_: object) -> None:
            seen[:] = ["SIGTERM"]
            self._stop_from_handler()

        handlers: dict[int, Any] = {}
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if usual or jupyter.in_kernel():
            handlers[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            handlers[signal.SIGTERM] = signal.signal(signal.SIGTERM, terminate)
        try:
            yield seen
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _stop_from_handler(self) -> None:
        # not from the handler itself: the thread it interrupts may hold the very lock that stop() needs
        threading.Thread(target=self.stop, kwargs={"wait": False}, daemon=True).start()

    def _turn(self) -> None:
        self._turner = threading.get_ident()
        try:
            with _brisk_switching():
                self._loop()
        except BaseException as error:
            self.error = error
            if isinstance(error, Exception):
                logger.exception("run %s ended by an error", self.engine.run_id)
            self._end("stopped")
            if self._blocking:
                raise
        finally:
            with self._changed:
                self._turner = None
                self._changed.notify_all()

    def _loop(self) -> None:
        engine, clock, wake = self.engine, self.clock, self._wake
        if self.status == "created":
            clock.start()
        elif not self._paused:
            clock.thaw()
        while True:
            wake.clear()
            if not self._ready():
                if self.status != "halted" or self._stop:
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
                    if not engine.changes.jump(start):
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
        if self._listeners is not None:
            self._listeners.call(self.engine, record, self._progress)
        if self._ticks is not None:
            self._ticks()
        if stepping:
            with self._changed:
                self._stepped.append(record)
                self._steps -= 1
                if self._steps == 0:
                    self.clock.freeze()
                    self._changed.notify_all()

    def _ready(self) -> bool:
        """Hold while paused or halted; return False to leave the loop."""
        if self._stop:
            return False
        if self.status == "halted":
            return self._hold()
        if self._paused and not self._steps:
            self.clock.freeze()
            self._set_status("paused")
            return self._hold()
        if self.status not in ("running", "paused"):
            self._set_status("running")
        return True

    def _hold(self) -> bool:
        if self.status == "halted" and self._blocking:
            return False
        with self._changed:
            self._changed.wait_for(lambda: self._stop or self._steps > 0 or (not self._paused and self.error is None))
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

"""A run in hand: begun in a thread of its own or in the caller's, and told what to do from any thread.

In the run's own thread, where a step or `on_batch` is called, an order is left at the door, and what would wait for the
run is refused. A forked child has its parent's runs as if they had been stopped.

    engine + clock -> [driver]: orders -> turning -> lab
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from mblab.engine import forks
from mblab.engine.engine import Engine
from mblab.engine.interrupts import Caught, interrupts
from mblab.engine.listeners import Listeners, Row
from mblab.engine.orders import Orders
from mblab.engine.pipeline import Pipeline
from mblab.engine.records import BatchRecord, RunStatus
from mblab.engine.settings import Change
from mblab.engine.turning import Turning
from mblab.errors import SettingError
from mblab.steps.chain import names_of
from mblab.timing.clock import Clock
from mblab.timing.durations import format_s

__all__ = ["Driver"]


class Driver:
    """Takes the orders of one run, and has its engine turned until it is over.

    Attributes:
        engine: What is turned.
        clock: The run's clock.
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
        self._orders = Orders()
        self._turning = Turning(engine, clock, self._orders, listeners, progress)
        self._renew()
        forks.in_child(self, Driver._in_child)

    def _renew(self) -> None:
        """Begin with no thread, and with a lock that nobody holds."""
        self._stepping = threading.Lock()  # one step() at a time
        self._thread: threading.Thread | None = None

    def _in_child(self) -> None:
        """Be a run that has been stopped: in a forked child nobody turns it, and its sinks are the parent's."""
        self._orders.renew()
        self._renew()
        self._orders.stopped = True
        self._turning.end_in_child()

    # -- how it stands ----------------------------------------------------------------------------------------------

    @property
    def status(self) -> RunStatus:
        """Created, running, paused, halted, stopping, stopped or finished."""
        return self._orders.status

    @property
    def error(self) -> BaseException | None:
        """What halted the run, or ended it against its will."""
        return self._orders.error

    @property
    def horizon_ns(self) -> int | None:
        """The run's length, once it has ended."""
        return self._turning.horizon_ns

    @property
    def ended(self) -> bool:
        """Whether the run is over for good."""
        return self._orders.ended

    @property
    def idle(self) -> bool:
        """Whether no thread is turning the engine."""
        return self._orders.idle

    def __repr__(self) -> str:
        return f"Driver({self.status}, {format_s(self.clock.now_ns() / 1e9)})"

    # -- begin ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Turn the engine in a daemon thread of its own."""
        if not self._orders.claim():
            return
        self._orders.blocking = False
        self._thread = threading.Thread(target=self._turn, name=f"mblab-{self.engine.run_id}", daemon=True)
        self._orders.pass_on()
        try:
            self._thread.start()
        except BaseException:
            if self._thread.ident is None:
                self._orders.leave()
            raise

    def _turn(self) -> None:
        """Turn it in the thread, which so holds the driver: only a driver that lives ends itself in a forked child."""
        self._turning.turn()

    def run(self, tick: Callable[[], None] | None = None) -> None:
        """Turn the engine in the calling thread until the run ends or halts.

        Args:
            tick: Called after every batch.

        Raises:
            MblabError: What halted it.
            KeyboardInterrupt: After Ctrl-C, which lets the batch in hand finish; a second one aborts it.
        """
        with interrupts(self._end_soon, self._end_soon) as caught:
            if self._orders.claim():
                self._orders.blocking, self._turning.tick = True, tick
                self._turning.turn(caught)
            self._join()  # with whoever turns it, also when another thread resumed it after a halt
        caught.answer()
        if self.error is not None:
            raise self.error

    # -- orders, from any thread ------------------------------------------------------------------------------------

    def change(self, change: Change, at_ns: int | None = None) -> None:
        """Move knobs now, or at a time of the run's clock that has passed.

        Raises:
            SettingError: What the change would leave breaks a rule; nothing has moved.
        """
        with self._orders.door():
            self.engine.changes.accept(change, at_ns)
        self._turning.log(logging.INFO, "moved %s", change)

    def adopt(self, pipeline: Pipeline) -> None:
        """Go on with another recipe from the next batch on."""
        with self._orders.door():
            self.engine.pipeline = pipeline
            replaced = pipeline.steps != self.recipes[-1].steps
            if replaced:
                self.recipes.append(pipeline)
        if replaced:
            names, version = names_of(pipeline.steps), pipeline.version
            self._turning.log(logging.INFO, "steps are now %s (version %d)", names, version)

    def stop(self, *, wait: bool = True) -> None:
        """End the run after the batch in hand; in its own thread, and without `wait`, return before that."""
        self._orders.stop()
        if self._orders.claim():  # nobody turns it, so whoever stops it ends it
            try:
                self._turning.end("stopped")
            finally:
                self._orders.release()
        elif wait and not self._orders.inside:
            self._join()

    def _end_soon(self) -> None:
        self.stop(wait=False)

    def pause(self) -> None:
        """Freeze the run's clock after the batch in hand, and return then; in its own thread return before that.

        Raises:
            SettingError: It is called in the thread of a run that blocks its caller.
        """
        inside = self._orders.inside
        if inside and self._orders.blocking:
            raise SettingError(
                "pause() inside a run that blocks its cell would wait for a resume() that cannot come; begin the run "
                "with lab.start(), or end it here with lab.stop()."
            )
        self._orders.pause()
        if not inside:
            self._orders.wait_until_standing()

    def resume(self) -> None:
        """End a pause or a halt; the batch that failed is run again."""
        self._orders.resume()
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
        with self._stepping, interrupts(self._orders.end_stepping, self._end_soon) as caught:
            self._run_batches(count, caught)
        caught.answer()
        if self.error is not None:
            raise self.error
        return self._orders.stepped

    def _run_batches(self, count: int, caught: Caught) -> None:
        self._orders.step(count, caught)
        if self.idle:
            self.start()
        caught.abortable = True
        self._orders.wait_until_stepped()
        caught.abortable = False

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return True when the run has ended, False when the time is up or the run halted.

        Raises:
            SettingError: It is called in the run's own thread.
        """
        self.refuse_inside("wait")
        self._orders.wait_until_over(timeout_s)
        if self.ended:
            self._join()
        return self.ended

    def _join(self) -> None:
        self._orders.wait_until_idle()
        if self._thread is not None:
            self._thread.join()

    def refuse_inside(self, verb: str) -> None:
        """Refuse a verb in the run's own thread.

        Raises:
            SettingError: It would wait for the very run that it is called in.
        """
        if self._orders.inside:
            raise SettingError(
                f"{verb}() would wait for the run it is called in, from a step or on_batch; call it from a cell or "
                "another thread. In here stop(), pause() and the knobs act at the next batch."
            )

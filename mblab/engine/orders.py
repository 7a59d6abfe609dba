"""What is asked of a run and how it stands: all that several threads touch, under one lock.

Orders come from any thread through one door, one at a time; who turns the engine waits on one event, so it looks at
them at once when it waits and else at the next boundary. Who turns is settled under the same lock, so it is one thread
or none.

    hands -> [orders] <- turning
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Final

from mblab.engine.interrupts import Caught
from mblab.engine.records import ENDED, BatchRecord, RunStatus
from mblab.errors import MblabError

__all__ = ["Orders"]

NOBODY: Final = -1  # no thread's number


class Orders:
    """The orders of one run, and what became of them.

    Attributes:
        status: created, running, paused, halted, stopping, stopped or finished.
        error: What halted the run, or ended it against its will.
        stopped: Whether it is to end.
        paused: Whether it is to stand.
        steps: How many batches it is to run before it stands again.
        stepped: The records of those that it ran so.
        halted: Whether a batch failed and the run has not gone on since.
        blocking: Whether its caller turns it, and waits for it.
        wake: Set by every order.
    """

    def __init__(self) -> None:
        self.status: RunStatus = "created"
        self.error: BaseException | None = None
        self.stopped = False
        self.paused = False
        self.steps = 0
        self.stepped: list[BatchRecord] = []
        self.halted = False
        self.blocking = True
        self._in_hand = False  # whether a batch of step() is on its way
        self._holding = False  # whether the run stands, paused or halted
        self.renew()

    def renew(self) -> None:
        """Begin with nobody who turns, and with a lock that nobody holds."""
        self.wake = threading.Event()
        self._changed = threading.Condition()
        self._turner: int | None = None  # number of the thread that turns the engine, which may be the caller's

    # -- how it stands ----------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the run is over for good."""
        return self.status in ENDED

    @property
    def idle(self) -> bool:
        """Whether no thread is turning the engine."""
        return self._turner is None

    @property
    def inside(self) -> bool:
        """Whether it is asked in the thread that turns the engine."""
        return self._turner == threading.get_ident()

    # -- orders, from any thread ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def door(self) -> Iterator[None]:
        """Take an order: one at a time, and who turns looks at what it left at the next boundary."""
        with self._changed:
            yield
            self._changed.notify_all()
        self.wake.set()

    def stop(self) -> None:
        """End after the batch in hand."""
        with self.door():
            self.stopped = True
            if not self.ended and self.status != "created":
                self.status = "stopping"

    def pause(self) -> None:
        """Stand after the batch in hand."""
        with self.door():
            if not self.ended and self.status != "halted":
                self.paused = True
                self.steps = 0

    def resume(self) -> None:
        """Go on after a pause or a halt."""
        with self.door():
            self.paused = False
            if not self.ended:
                self.error = None
            if self.status in ("paused", "halted"):
                self.status = "running"

    def step(self, count: int, caught: Caught) -> None:
        """Run the next `count` batches and stand again; none of them when a signal has come meanwhile."""
        with self.door():
            self.paused = True
            self.stepped = []
            if caught.first is None:
                self.steps = count
            if not self.ended:
                self.error = None
            if not self.ended and not self.stopped:
                self.status = "paused"

    def end_stepping(self) -> None:
        """Stand after the batch in hand, however many more were asked for."""
        with self.door():
            self.steps = 0

    # -- what whoever gave one waits for ----------------------------------------------------------------------------

    def wait_until_standing(self) -> None:
        """Wait until it stands after a pause, goes on, or nobody turns it."""
        with self._changed:
            self._changed.wait_for(lambda: not self.paused or self._holding or self.idle)

    def wait_until_stepped(self) -> None:
        """Wait until the batches of `step` are done, or nothing more will come of them."""
        with self._changed:
            self._changed.wait_for(
                lambda: (self.steps == 0 and not self._in_hand) or self.ended or self.error is not None
            )

    def wait_until_over(self, timeout_s: float | None) -> None:
        """Wait until it has ended or halted, or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or self.status == "halted", timeout_s)

    def wait_until_idle(self) -> None:
        """Wait until no thread turns the engine."""
        with self._changed:
            self._changed.wait_for(lambda: self._turner is None)

    # -- who turns the engine ---------------------------------------------------------------------------------------

    def claim(self) -> bool:
        """Become who turns the engine, or return False: another does, or the run is over."""
        with self._changed:
            if self._turner is not None or self.ended:
                return False
            self._turner = threading.get_ident()
            return True

    def pass_on(self) -> None:
        """Leave what was claimed to a thread that is about to start, which takes it over."""
        self._turner = NOBODY

    def take_over(self) -> None:
        """Be who turns the engine, as claimed here or passed on by who claimed it."""
        self._turner = threading.get_ident()

    def leave(self) -> None:
        """Let nobody turn the engine."""
        with self._changed:
            self._turner, self._in_hand = None, False
            self._changed.notify_all()

    def release(self) -> None:
        """Turn the engine no more, unless it was left already."""
        with self._changed:
            if self.inside:
                self.leave()

    # -- what becomes of them, in the thread that turns -------------------------------------------------------------

    def take_in_hand(self) -> bool:
        """Begin with a batch of `step`, or return False: the stepping has been ended meanwhile."""
        with self._changed:
            self._in_hand = self.steps > 0
            return self._in_hand

    def put_down(self) -> None:
        """Say that no batch of `step` is on its way any more."""
        if self._in_hand:
            with self._changed:
                self._in_hand = False
                self._changed.notify_all()

    def count_step(self, record: BatchRecord, freeze: Callable[[], None]) -> None:
        """Keep the record of a batch of `step`; after the last one freeze the clock before anyone hears of it."""
        with self._changed:
            self.stepped.append(record)
            self.steps -= self.steps > 0
            if self.steps == 0:
                freeze()

    def stand(self) -> bool:
        """Wait while paused or halted; return False to turn no more."""
        with self._changed:
            if self.halted and self.blocking and self.error is not None:  # its caller gets the error, and may resume
                self.leave()
                return False
            self._holding = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.stopped or self.steps > 0 or (not self.paused and self.error is None))
            self._holding = self.halted = False
        return not self.stopped

    def halt(self, error: MblabError) -> None:
        """Note what halted the run; it stands until it is resumed."""
        with self._changed:
            self.error = error
            self.steps = 0
            self.halted = True
            self.status = "halted"
            self._changed.notify_all()

    def set_status(self, status: RunStatus) -> bool:
        """Note how the run stands, and return whether that is new; one that is to stop only ends."""
        with self._changed:
            changed = self.status != status and (self.status != "stopping" or status in ENDED)
            if changed:
                self.status = status
            self._changed.notify_all()
        return changed

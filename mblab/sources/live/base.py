"""Streams that are under way: a row arrives when the lab can first see it.

A lookout is asked over and over what is new, in a thread of its own, for looking may take its time. What it finds is
stamped with the run's clock and waits; the feed takes what is there and never waits for more. While a run is paused its
clock stands, the lookout goes on, and what it finds arrives at the time of the pause.

    watch, poll -> [live] -> feed
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd

from mblab.errors import MblabError, SettingError, SourceError
from mblab.sources.base import Block, Exportable, Position, Source

__all__ = ["ROWS_AHEAD", "Find", "Listener", "Live", "Lookout", "refuse_ahead", "refuse_speedup"]

FIRST_LOOK_S: Final = 5.0  # how long opening waits for the first look, so that what is there already arrives at 0
ROWS_AHEAD: Final = 1_000_000  # rows in memory that nobody has taken; the lookout rests until there are fewer


@dataclass(slots=True)
class Find:
    """Something new.

    Attributes:
        what: What the lookout needs to read it.
        rows: How many of its rows are in memory already.
        given: How many of its rows were given out.
    """

    what: Any
    rows: int = 0
    given: int = 0


class Lookout(Protocol):
    """Looks for what is new, and reads it."""

    @property
    def over(self) -> bool:
        """Whether nothing new will ever come."""
        ...

    @property
    def rest(self) -> float:
        """How many times longer than a look the rest after it is at least; it matters when looking takes long."""
        ...

    def look(self) -> Sequence[Find | SourceError]:
        """Return what is new since the last look, in order; called in the listener's thread.

        An error among the finds halts the run in its place, and looking goes on. One that is raised halts it behind
        what was found before; the next look is when the run goes on.
        """
        ...

    def read(self, find: Find) -> Iterator[tuple[pd.DataFrame, Position]]:
        """Return the rows of a find from row `find.given` on, in pieces; called in the engine's thread."""
        ...


class Live(Exportable):
    """A source that cannot be read ahead of time."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name for displays."""

    @property
    @abstractmethod
    def every_s(self) -> float:
        """Seconds of real time from one look to the next."""

    @property
    @abstractmethod
    def event_time(self) -> str | None:
        """Column with the time things happened, or None."""

    @property
    def speedup(self) -> float:
        """Source seconds that pass in one second of a run: 1, for nobody can hurry what is under way."""
        return 1.0

    @property
    def endless(self) -> bool:
        """Whether it never ends by itself: nobody knows."""
        return True

    @abstractmethod
    def lookout(self, position: Position | None = None) -> Lookout:
        """Return what looks for rows, from a position on."""

    @abstractmethod
    def describe(self) -> str:
        """Return one line for people."""

    def open(self, position: Position | None = None) -> Iterator[Block]:
        """Return the blocks that are there at one look, with arrivals of 0; a run listens instead."""
        lookout = self.lookout(position)
        for find in lookout.look():
            if isinstance(find, SourceError):
                raise find
            for rows, where in lookout.read(find):
                yield Block(rows, np.zeros(len(rows), np.int64), where)

    def listen(self, now_ns: Callable[[], int], position: Position | None = None) -> Listener:
        """Begin to look; arrivals are told by `now_ns`, the clock of a run."""
        return Listener(self.lookout(position), self.every_s, now_ns)


class Listener:
    """What one run hears of a live source.

    Args:
        lookout: Finds rows.
        every_s: Seconds of real time from one look to the next.
        now_ns: Tells the time on the run's clock; it never goes back.
    """

    def __init__(self, lookout: Lookout, every_s: float, now_ns: Callable[[], int]) -> None:
        self._lookout, self._every_s, self._now_ns = lookout, every_s, now_ns
        self._lock = threading.Lock()
        self._finds: deque[tuple[int, Find | Exception]] = deque()
        self._rows = 0  # in memory
        self._last_ns = 0
        self._over = False
        self._closed = False
        self._broken: Exception | None = None  # why the first find cannot be read
        self._failed = False  # the last look failed and was told; the next one is when somebody asks again
        self._looked, self._nudge, self._again = threading.Event(), threading.Event(), threading.Event()
        self._reading: Iterator[tuple[pd.DataFrame, Position]] | None = None
        threading.Thread(target=self._look_out, name="mblab-lookout", daemon=True).start()
        self._looked.wait(FIRST_LOOK_S)

    @property
    def over(self) -> bool:
        """Whether everything there will ever be has been given out."""
        return self._over and not self._finds

    def next(self, *, quiet: bool = False) -> Block | None:
        """Return the next block that is there, or None when there is none now.

        Args:
            quiet: Whether to return None instead of raising; the failure is kept until somebody asks in earnest.

        Raises:
            SourceError: The lookout failed, or what it found cannot be read; asked again it tries again, and no row is
                lost or given twice.
        """
        if self._failed:
            self._failed = False
            self._again.set()
        while True:
            with self._lock:  # a stamp is put down before or after this moment, never across it
                if not self._finds:
                    return None
                at_ns, find = self._finds[0]
                if isinstance(find, Exception):
                    if quiet:
                        return None
                    self._finds.popleft()
                    self._failed = True
                    raise find
            if self._broken is None:
                block = self._read(at_ns, find)
                if block is not None:
                    return block
            if self._broken is not None:
                if quiet:
                    return None
                error, self._broken = self._broken, None
                raise error

    def close(self) -> None:
        """Stop looking; what was found can still be read."""
        with self._lock:
            self._closed = True
            self._again.set()
        self._nudge.set()

    def _read(self, at_ns: int, find: Find) -> Block | None:
        """Return the next piece of a find, or None after its last one."""
        if self._reading is None:
            self._reading = self._lookout.read(find)
        try:
            rows, position = next(self._reading)
        except StopIteration:
            self._reading = None
            with self._lock:
                self._finds.popleft()
                self._rows -= find.rows
            return None
        except Exception as error:
            self._reading = None  # the find stays; it is read on from the first row that was not given out
            self._broken = error
            return None
        find.given += len(rows)
        return Block(rows, np.full(len(rows), at_ns, np.int64), position)

    def _look_out(self) -> None:
        while not self._closed:
            began = time.perf_counter()
            found: list[Find | Exception] = []
            try:
                found += self._lookout.look()
                failed = False
            except BaseException as error:  # a SystemExit too, or the thread would end without a word
                said = f"{type(error).__name__}: {' '.join(str(error).split())}"
                found.append(error if isinstance(error, MblabError) else SourceError(said))
                failed = True
            took_s = time.perf_counter() - began
            with self._lock:
                self._last_ns = at_ns = max(self._last_ns, self._now_ns())
                self._finds.extend((at_ns, find) for find in found)
                if failed and not self._closed:
                    self._again.clear()
                self._rows += sum(find.rows for find in found if isinstance(find, Find))
                self._over = self._lookout.over
            self._looked.set()
            if self._over:
                return
            if failed:
                self._again.wait()
                continue
            self._nudge.wait(max(self._every_s - took_s, self._lookout.rest * took_s))
            while self._rows > ROWS_AHEAD and not self._closed:
                self._nudge.wait(self._every_s)


def refuse_ahead(source: Source) -> None:
    """Raise when a source is live and its rows are needed ahead of time."""
    if isinstance(source, Live):
        raise SettingError(
            f"{source.name} is live, so its rows cannot be had ahead of time, as the virtual clock, predict and "
            "calibrate need them; record it with mblab.record(source, path, duration), then replay the recording."
        )


def refuse_speedup(source: Source) -> None:
    """Raise when a source is live, for its speed is not ours to set."""
    if isinstance(source, Live):
        raise SettingError(
            f"speedup cannot be set for {source.name}, which is live: its rows arrive when they arrive; record it with "
            "mblab.record(source, path, duration), then replay the recording at any speed."
        )

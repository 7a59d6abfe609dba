"""Streams that are under way: a row arrives when the lab can first see it.

A poller is asked over and over what is new, in a thread of its own, for asking may take its time. A collector stamps
what it finds with the run's clock and keeps it; the feed takes what is there and never waits for more. While a run is
paused its clock stands, the poller goes on, and what it finds arrives at the time of the pause.

    watch, poll -> poller -> [live] -> feed

A new kind of live source is one file beside this one: a `Live` with its poller, and the function that makes it.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
import pandas as pd

from mblab.errors import MblabError, SettingError, SourceError
from mblab.sources.base import Block, Exportable, Position, Source

__all__ = ["ROWS_AHEAD", "Arrival", "Collector", "Live", "Poller", "refuse_ahead", "refuse_speedup"]

FIRST_POLL_S: Final = 5.0  # how long opening waits for the first poll, so that what is there already arrives at 0
ROWS_AHEAD: Final = 1_000_000  # rows in memory that nobody has taken; the poller rests until there are fewer


What = TypeVar("What")


@dataclass(slots=True)
class Arrival(Generic[What]):
    """Something new.

    Attributes:
        what: What the poller needs to read it.
        rows: How many of its rows are in memory already.
        given: How many of its rows were given out.
    """

    what: What
    rows: int = 0
    given: int = 0


class Poller(Protocol[What]):
    """Finds what is new, and reads it."""

    @property
    def over(self) -> bool:
        """Whether nothing new will ever come."""
        ...

    @property
    def rest(self) -> float:
        """How many times longer than a poll the rest after it is at least; it matters when polling takes long."""
        ...

    def poll(self) -> Sequence[Arrival[What] | SourceError]:
        """Return what is new since the last poll, in order; called in the collector's thread.

        An error among the arrivals halts the run in its place, and polling goes on. One that is raised halts it behind
        what was found before; the next poll is when the run goes on.
        """
        ...

    def read(self, arrival: Arrival[What]) -> Iterator[tuple[pd.DataFrame, Position]]:
        """Return the rows of an arrival from row `arrival.given` on, in pieces; called in the engine's thread.

        They have the source's `beside` column too, if there is one.
        """
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
        """Seconds of real time from one poll to the next."""

    @property
    @abstractmethod
    def event_time(self) -> str | None:
        """Column with the time things happened, or None."""

    @property
    def beside(self) -> str | None:
        """The event-time column where the rows are not to have it, else None."""
        return None

    @property
    def speedup(self) -> float:
        """Source seconds that pass in one second of a run: 1, for nobody can hurry what is under way."""
        return 1.0

    @property
    def endless(self) -> bool:
        """Whether it never ends by itself: nobody knows."""
        return True

    @abstractmethod
    def poller(self, position: Position | None = None) -> Poller[Any]:
        """Return what finds rows, from a position on."""

    @abstractmethod
    def describe(self) -> str:
        """Return one line for people."""

    def open(self, position: Position | None = None) -> Iterator[Block]:
        """Return the blocks that are there at one poll, with arrivals of 0; a run collects instead."""
        poller = self.poller(position)
        for arrival in poller.poll():
            if isinstance(arrival, SourceError):
                raise arrival
            for rows, where in poller.read(arrival):
                yield block_of(rows, 0, where, self.beside)

    def collect(self, now_ns: Callable[[], int], position: Position | None = None) -> Collector:
        """Begin to poll; what is found arrives at `now_ns`, by the clock of a run."""
        return Collector(self.poller(position), self.every_s, now_ns, self.beside)


def block_of(rows: pd.DataFrame, at_ns: int, position: Position, beside: str | None) -> Block:
    """Return rows that all arrive at once as a block, with the event times taken out of them if they stand beside."""
    times = None if beside is None else rows[beside]
    kept = rows if beside is None else rows.drop(columns=beside)
    return Block(kept, np.full(len(rows), at_ns, np.int64), position, times)


class Collector:
    """What has arrived from a live source for one run.

    Args:
        poller: Finds rows.
        every_s: Seconds of real time from one poll to the next.
        now_ns: Tells the time on the run's clock; it never goes back.
        beside: The event-time column where the rows are not to have it, else None.
    """

    def __init__(
        self, poller: Poller[Any], every_s: float, now_ns: Callable[[], int], beside: str | None = None
    ) -> None:
        self._beside = beside
        self._poller, self._every_s, self._now_ns = poller, every_s, now_ns
        self._lock = threading.Lock()
        self._arrived: deque[tuple[int, Arrival[Any] | Exception]] = deque()
        self._rows = 0  # in memory
        self._last_ns = 0
        self._over = False
        self._closed = False
        self._broken: Exception | None = None  # why the first arrival cannot be read
        self._failed = False  # the last poll failed and was told; the next one is when somebody asks again
        self._polled, self._wake, self._again = threading.Event(), threading.Event(), threading.Event()
        self._reading: Iterator[tuple[pd.DataFrame, Position]] | None = None
        threading.Thread(target=self._poll, name="mblab-poller", daemon=True).start()
        try:
            self._polled.wait(FIRST_POLL_S)
        except BaseException:  # Ctrl-C: nobody will have this collector, so nobody else can close it
            self.close()
            raise

    @property
    def over(self) -> bool:
        """Whether everything there will ever be has been given out."""
        return self._over and not self._arrived

    def next(self, *, quiet: bool = False) -> Block | None:
        """Return the next block that is there, or None when there is none now.

        Args:
            quiet: Whether to return None instead of raising; the failure is kept until somebody asks in earnest.

        Raises:
            SourceError: The poller failed, or what it found cannot be read; asked again it tries again, and no row is
                lost or given twice.
        """
        if self._failed:
            self._failed = False
            self._again.set()
        while True:
            with self._lock:  # a stamp is put down before or after this moment, never across it
                if not self._arrived:
                    return None
                at_ns, arrival = self._arrived[0]
                if isinstance(arrival, Exception):
                    if quiet:
                        return None
                    self._arrived.popleft()
                    self._failed = True
                    raise arrival
            if self._broken is None:
                block = self._read(at_ns, arrival)
                if block is not None:
                    return block
            if self._broken is not None:
                if quiet:
                    return None
                error, self._broken = self._broken, None
                raise error

    def close(self) -> None:
        """Stop polling; what was found can still be read."""
        with self._lock:
            self._closed = True
            self._again.set()
        self._wake.set()

    def _read(self, at_ns: int, arrival: Arrival[Any]) -> Block | None:
        """Return the next piece of an arrival, or None after its last one."""
        if self._reading is None:
            self._reading = self._poller.read(arrival)
        try:
            rows, position = next(self._reading)
        except StopIteration:
            self._reading = None
            with self._lock:
                self._arrived.popleft()
                self._rows -= arrival.rows
            return None
        except Exception as error:
            self._reading = None  # the arrival stays; it is read on from the first row that was not given out
            self._broken = error
            return None
        arrival.given += len(rows)
        return block_of(rows, at_ns, position, self._beside)

    def _poll(self) -> None:
        while not self._closed:
            began = time.perf_counter()
            found: list[Arrival[Any] | Exception] = []
            try:
                found += self._poller.poll()
                failed = False
            except BaseException as error:  # a SystemExit too, or the thread would end without a word
                said = f"{type(error).__name__}: {' '.join(str(error).split())}"
                found.append(error if isinstance(error, MblabError) else SourceError(said))
                failed = True
            took_s = time.perf_counter() - began
            with self._lock:
                self._last_ns = at_ns = max(self._last_ns, self._now_ns())
                self._arrived.extend((at_ns, new) for new in found)
                if failed and not self._closed:
                    self._again.clear()
                self._rows += sum(new.rows for new in found if isinstance(new, Arrival))
                self._over = self._poller.over
            self._polled.set()
            if self._over:
                return
            if failed:
                self._again.wait()
                continue
            self._wake.wait(max(self._every_s - took_s, self._poller.rest * took_s))
            while self._rows > ROWS_AHEAD and not self._closed:
                self._wake.wait(self._every_s)


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

"""Between the blocks a source decodes and the batches the engine cuts: decode big, cut small.

The feed turns source time into the run's time (`A = round(arrival / speedup)`), holds the rows that are decoded but not
taken, and cuts the next n of them. Cutting is `searchsorted` on arrival times and one slice of a frame, whatever
the batch's size. Event times are handed on as they are: how far they have come is the watermark's.

    sources -> [feed] -> cut -> watermark, engine
"""

from __future__ import annotations

import contextlib
import copy
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from mblab.errors import MblabError
from mblab.sources.base import Block, Source, SourceWarning
from mblab.sources.live.base import ROWS_AHEAD, Collector, Live, refuse_ahead
from mblab.support.frames import cut
from mblab.tables.rows import stacked
from mblab.tables.timestamps import dates_as_numbers, plain_times
from mblab.timing.times import Times, scale_ns

__all__ = ["Cut", "Feed"]

DECODE_S = 1.0
NO_TIMES: Times = np.empty(0, np.int64)
NESTED = frozenset({list, dict, set, bytearray, np.ndarray})


Piece: TypeAlias = tuple[pd.DataFrame, int, int, "pd.Series | None"]


@dataclass(slots=True)
class _Held:
    """A block on the run's clock, with the row from which on it is untaken."""

    rows: pd.DataFrame
    arrival_ns: Times
    times: pd.Series | None  # event times
    taken: int = 0


def _nested_columns(rows: pd.DataFrame) -> frozenset[int]:
    """Return the numbers of the columns that hold something that can be changed in place."""
    loose = [i for i, kind in enumerate(rows.dtypes) if isinstance(kind, np.dtype) and kind.hasobject]
    return frozenset(i for i in loose if not NESTED.isdisjoint(map(type, rows.iloc[:, i])))


class Cut(NamedTuple):
    """The rows of one batch; asked again it gives them again, whatever a step did to the first ones.

    Attributes:
        arrival_ns: int64, one a row, on the run's clock.
        first: Number of the first row, counted from the start of the stream.
        pieces: (frame, low, high, event times of the frame or None): where the rows stand in what was decoded.
        nested: Numbers of the columns that hold lists, dicts or arrays, which a step might change.
    """

    arrival_ns: Times
    first: int
    pieces: tuple[Piece, ...]
    nested: frozenset[int] = frozenset()

    def rows(self) -> pd.DataFrame:
        """Return the rows with the source's dtypes and a fresh RangeIndex."""
        rows = self._rows()
        for i in self.nested:
            cells = np.empty(len(rows), object)
            for k, value in enumerate(rows.iloc[:, i]):
                cells[k] = copy.deepcopy(value)
            rows.isetitem(i, cells)
        return rows

    def _rows(self) -> pd.DataFrame:
        if len(self.pieces) == 1:
            frame, low, high, _ = self.pieces[0]
            return cut(frame, low, high)
        return stacked([frame.iloc[low:high] for frame, low, high, _ in self.pieces])

    def event_times(self) -> pd.Series | None:
        """Return when the rows happened, None where nobody knows."""
        times = [times.iloc[low:high] for _, low, high, times in self.pieces if times is not None]
        return pd.concat(times, ignore_index=True) if times else None


class Feed:
    """The rows of one run, in arrival order, on the run's clock.

    Args:
        source: Where rows come from.
        speedup: Source seconds in one second of the run; None leaves it to the source.
        now_ns: Tells the time on the run's clock, by which a live source's rows arrive; None on a virtual one.

    Raises:
        SettingError: The source is live, and the clock is not.
    """

    def __init__(self, source: Source, speedup: float | None = None, now_ns: Callable[[], int] | None = None) -> None:
        self.taken = 0
        self._event_time = source.event_time
        self.speedup = speedup or source.speedup
        self._pace = self.speedup
        self._changes: list[tuple[int, float, float]] = []
        self._collector: Collector | None = None
        self._spent_s = 0.0  # decoding what a live source brought, since the last batch was taken
        self._held: deque[_Held] = deque()
        self._decoded = 0  # rows decoded so far, taken ones included
        self._last_ns = -1  # arrival of the newest decoded row
        self._over = False
        self._failure: Exception | None = None
        self._empty: pd.DataFrame | None = None
        self._nested: frozenset[int] = frozenset()
        self._blocks: Iterator[Block] = iter(())
        try:
            if now_ns is None:
                refuse_ahead(source)
            if now_ns is not None and isinstance(source, Live):
                self._collector = source.collect(now_ns)
            else:
                self._blocks = source.open()
            self._decode()
        except BaseException:
            self.close()
            raise

    def _decode(self) -> bool:
        """Decode the next block; return False at the end of the source, or when a live one has none now."""
        while not self._over:
            block = self._next_block()
            if block is None:
                self._over = self._collector is None or self._collector.over
                return False
            if self._empty is None:
                self._empty = block.rows.iloc[:0].reset_index(drop=True)
            if len(block.rows):
                times = self._event_times(block)
                self._nested |= _nested_columns(block.rows)
                arrival = scale_ns(block.arrival_ns, 1.0, self._pace)
                for at, old, new in self._changes:
                    arrival = _rescaled(arrival, at, old, new)
                self._held.append(_Held(block.rows, arrival, times))
                self._decoded += len(arrival)
                self._last_ns = int(arrival[-1])
                return True
        return False

    def _event_times(self, block: Block) -> pd.Series | None:
        """Return when a block's rows happened; what is no time is refused before any of them is taken."""
        times = block.event_times
        if times is None and self._event_time in block.rows:
            times = block.rows[self._event_time]
        if times is None:
            return None
        if self._collector is not None and self._decoded == 0 and (said := dates_as_numbers(times)):
            warnings.warn(said, SourceWarning, stacklevel=2)
        return plain_times(times, self._decoded)

    def _next_block(self) -> Block | None:
        if self._collector is not None:
            # a folder full of files must not be decoded at once: memory would not hold it, and stop() not be noticed
            if self.held >= ROWS_AHEAD or self._spent_s > DECODE_S:
                return None
            begun = time.perf_counter()
            try:
                return self._collector.next(quiet=bool(self._held))  # rows that came before a failure are taken first
            finally:
                self._spent_s += time.perf_counter() - begun
        if self._failure is not None:  # a generator that raised looks exhausted: that would lose rows silently
            raise self._failure
        try:
            return next(self._blocks, None)
        except Exception as error:
            self._failure = error
            raise

    def close(self) -> None:
        """Stop polling a live source; what it brought can still be taken."""
        if self._collector is not None:
            self._collector.close()

    def reach(self, time_ns: int) -> None:
        """Decode until every row with A < time_ns is held."""
        while self._last_ns < time_ns and self._decode():
            pass

    @property
    def held(self) -> int:
        """How many rows are decoded and untaken."""
        return self._decoded - self.taken

    def hold(self, rows: int) -> None:
        """Decode until this many untaken rows are held, or the source is exhausted."""
        while self.held < rows and self._decode():
            pass

    def waiting(self, time_ns: int) -> int:
        """Return how many untaken rows have A < time_ns."""
        if self._last_ns < time_ns:
            self.reach(time_ns)
        return self._count(time_ns)

    def arrived(self, time_ns: int) -> int:
        """Return how many untaken rows have A < time_ns, of those that are decoded by now."""
        held = self._held
        if not held or held[0].arrival_ns[held[0].taken] >= time_ns:  # a look is cheaper than a search
            return 0
        return self._count(time_ns)

    def _count(self, time_ns: int) -> int:
        count = 0
        for held in self._held:
            arrival = held.arrival_ns
            upto = int(arrival.searchsorted(time_ns))
            count += upto - held.taken
            if upto < len(arrival):
                break
        return count

    @property
    def next_ns(self) -> int | None:
        """Arrival of the oldest row that is decoded and untaken, or None."""
        return int(self._held[0].arrival_ns[self._held[0].taken]) if self._held else None

    @property
    def columns_known(self) -> bool:
        """Whether any block was decoded, so that it is known what columns rows have."""
        return self._empty is not None

    @property
    def drained(self) -> bool:
        """Whether every row there will ever be has been taken."""
        return not self._held and not self._decode() and self._over

    def take(self, count: int) -> Cut:
        """Take the next `count` rows; they must be held (see `waiting`)."""
        self._spent_s = 0.0
        first, held = self.taken, self._held[0] if self._held else None
        if count == 0 or held is None:
            empty = self._empty if self._empty is not None else pd.DataFrame()
            return Cut(NO_TIMES, first, ((empty, 0, 0, None),))
        self.taken += count
        low, high = held.taken, held.taken + count
        if high <= len(held.arrival_ns):
            self._note_taken(held, high)
            return Cut(held.arrival_ns[low:high], first, ((held.rows, low, high, held.times),), self._nested)
        pieces, arrivals = [], []
        while count:
            held = self._held[0]
            low, high = held.taken, min(held.taken + count, len(held.arrival_ns))
            pieces.append((held.rows, low, high, held.times))
            arrivals.append(held.arrival_ns[low:high])
            count -= high - low
            self._note_taken(held, high)
        return Cut(np.concatenate(arrivals), first, tuple(pieces), self._nested)

    def _note_taken(self, held: _Held, upto: int) -> None:
        held.taken = upto
        if upto == len(held.arrival_ns):
            self._held.popleft()

    def change_speed(self, at_ns: int, speedup: float) -> None:
        """Let a future arrival A become `at + (A − at)·old/new`."""
        old, self.speedup = self.speedup, speedup
        self._changes.append((at_ns, old, speedup))
        for held in self._held:
            held.arrival_ns = _rescaled(held.arrival_ns, at_ns, old, speedup)
            self._last_ns = int(held.arrival_ns[-1])

    def left(self, time_ns: int) -> Times:
        """Return the arrivals of the untaken rows with A < time_ns, as far as they can be read."""
        with contextlib.suppress(MblabError):
            self.reach(time_ns)
        held = [h.arrival_ns[h.taken : int(h.arrival_ns.searchsorted(time_ns))] for h in self._held]
        return np.concatenate([NO_TIMES, *held])


def _rescaled(arrival: Times, at_ns: int, old: float, new: float) -> Times:
    first = int(arrival.searchsorted(at_ns, side="right"))
    return np.concatenate([arrival[:first], at_ns + scale_ns(arrival[first:] - at_ns, old, new)])

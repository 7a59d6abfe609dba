"""A function that is asked, over and over, for new rows.

fn -> [poll] -> live -> feed
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

from mblab.errors import SettingError, SourceError, missing_column, shown
from mblab.sources.base import Position
from mblab.sources.live.base import Arrival, Live
from mblab.sources.mending import check_live_times
from mblab.support.arguments import column_name, flag, function, plain
from mblab.tables.base import DECODE_ROWS, each_once
from mblab.tables.flat import flat_frame
from mblab.tables.rows import as_frame
from mblab.timing.durations import Duration, duration_ns, format_s, seconds

__all__ = ["Poll", "poll"]


@dataclass(frozen=True, repr=False)
class Poll(Live):
    """A function that brings rows; made by `poll`.

    Attributes:
        fn: Called as fn() or fn(position).
        every: Seconds of real time from one call to the next.
        time_column: Column with the time things happened, or None.
        flatten: Whether what stands in objects are columns, such as `device.id`.
    """

    fn: Callable[..., Any]
    every: float
    time_column: str | None = None
    flatten: bool = False

    @property
    def name(self) -> str:
        """The function's name."""
        return str(getattr(self.fn, "__name__", type(self.fn).__name__))

    @property
    def every_s(self) -> float:
        """Seconds of real time from one call to the next."""
        return self.every

    @property
    def event_time(self) -> str | None:
        """Column with the time things happened, or None."""
        return self.time_column

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The function that brings the rows."""
        return (self.fn,)

    def poller(self, position: Position | None = None) -> _Caller:
        """Return what calls the function."""
        start = position or {"position": None, "row": 0}
        return _Caller(self, start["position"], int(start["row"]))

    def describe(self) -> str:
        """Return one line for people."""
        return f"live: {self.name}() every {format_s(self.every)}"

    def code(self, input: str) -> str:  # noqa: A002, ARG002  it reads nothing
        """Return the Python expression that makes this source again; the function goes by its name."""
        return f"mblab.{self!r}"

    def __repr__(self) -> str:
        """Return the call that made it."""
        event_time = f", event_time={self.time_column!r}" if self.time_column else ""
        flatten = ", flatten=True" if self.flatten else ""
        return f"poll({self.name}, every={plain(self.every)}{event_time}{flatten})"


Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"  # what a position may be
_Rows: TypeAlias = Arrival[tuple[pd.DataFrame, Position]]  # of one call, with the position before it


class _Caller:
    """Calls the function, and remembers how far it came."""

    def __init__(self, source: Poll, position: Json, row: int) -> None:
        self._source = source
        self._takes_position = takes_position(source.fn)
        self._position = position
        self._row = row  # rows of the first call that were given out before
        self._columns: list[Hashable] | None = None
        self.over = False
        self.rest = 0.0  # a call mostly waits for somebody else

    def poll(self) -> Sequence[_Rows]:
        """Call the function once.

        Raises:
            SourceError: It failed, or returned something else than rows; the next call has the same position.
        """
        name = self._source.name
        try:
            got = self._source.fn(self._position) if self._takes_position else self._source.fn()
        except StopIteration:
            self.over = True
            return []
        except Exception as error:
            said = " ".join(str(error).split())
            raise SourceError(f"{name}() failed with {type(error).__name__}: {said}") from error
        rows, position = self._parted(got)
        frame = as_frame(rows, name, unnamed_times=self._source.event_time is not None)
        if len(frame):
            frame = self._in_columns(frame)
        before, self._position = self._position, position
        row, self._row = self._row, 0
        return [Arrival((frame, {"position": before}), len(frame), row)] if len(frame) else []

    def read(self, arrival: _Rows) -> Iterator[tuple[pd.DataFrame, Position]]:
        """Return the rows, in pieces of 100,000."""
        frame, position = arrival.what
        check_live_times(frame, self._source.event_time, 0, "", f" in {self._source.name}().")
        for low in range(arrival.given, len(frame), DECODE_ROWS):
            yield frame.iloc[low : low + DECODE_ROWS].reset_index(drop=True), {**position, "row": low}

    def _parted(self, got: object) -> tuple[object, Json]:
        """Return rows and the position after them."""
        pair = got if isinstance(got, tuple) and len(got) == 2 else None
        if not self._takes_position:
            if pair is not None:
                raise SourceError(
                    f"{self._source.name}() returned a pair, but takes no position; define it as "
                    f"{self._source.name}(position) to return (rows, position)."
                )
            return got, None
        if got is None:
            return None, self._position
        if pair is None:
            raise SourceError(
                f"{self._source.name}(position) must return (rows, position), or None when there is nothing new, got "
                f"{shown(got)} ({type(got).__name__})."
            )
        rows, position = pair
        try:
            json.dumps(position, allow_nan=False)
        except (TypeError, ValueError):
            raise SourceError(
                f"{self._source.name}(position) must return a position of plain values (numbers, text, lists, dicts), "
                f"got {shown(position)} ({type(position).__name__})."
            ) from None
        return rows, position

    def _in_columns(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self._source.flatten:
            frame = flat_frame(frame, f"{self._source.name}()")
            if self._columns is not None:  # an object need not have all names
                frame = frame.reindex(columns=[*dict.fromkeys([*self._columns, *frame.columns])])
        columns: list[Hashable] = [*frame.columns]
        each_once(columns, f"{self._source.name}()")
        self._columns = self._columns or columns
        event_time = self._source.event_time
        if set(columns) != set(self._columns):
            raise SourceError(
                f"{self._source.name}() must return the same columns each time, {shown(self._columns)} before, got "
                f"{shown(columns)}; fill in what is missing."
            )
        if event_time is not None and event_time not in columns:
            raise missing_column("event_time", event_time, columns)
        return frame[[*self._columns]]


def takes_position(fn: Callable[..., Any]) -> bool:
    """Return whether a function is called as fn(position); one with defaults for all its parameters is not."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except ValueError:  # some built-in functions have none
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(needed) > 1 or any(p.kind not in places for p in needed):
        name = getattr(fn, "__name__", type(fn).__name__)
        raise SettingError(f"fn must take nothing or (position), but {name}{inspect.signature(fn)} does not.")
    return bool(needed)


def poll(
    fn: Callable[..., Any], *, every: Duration = "1s", event_time: str | None = None, flatten: bool = False
) -> Poll:
    """Return a live source that asks a function for new rows.

    Args:
        fn: Called as fn() and returns new rows (see below), or as fn(position) and returns (rows, position): it is
            handed the position it returned last, None at first, so that it is told from where to go on. None is no new
            rows, `StopIteration` ends the stream. Rows are a DataFrame, an Arrow table, a list of dicts, or a dict of
            columns. It is called in a thread of its own and may take its time; while a million rows wait in memory it
            is not called.
        every: Real time from the beginning of one call to that of the next, at least 1 ms; a call that takes longer is
            followed by the next at once. A paused run goes on asking.
        event_time: Column that tells when a row happened.
        flatten: Make columns such as `device.id` of what stands in objects, as `replay` does; a name that was there
            before and is missing is null.

    When `fn` raises, the run halts with a `SourceError` after the rows that came before; `lab.resume()` calls it again
    with the same position, so nothing is lost. All rows of a call arrive when it returns.

    Raises:
        SettingError: An argument is out of its range.

    >>> prices = iter([{"price": [1, 2]}, {"price": [3]}])
    >>> source = poll(lambda: next(prices), every="10ms")
    >>> [len(block.rows) for block in source.open()]
    [2]
    """
    function(fn, "fn", "fn() or fn(position) that returns rows")
    if any(kind(fn) for kind in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)):
        raise SettingError(
            f"fn must return rows each time it is called, but {getattr(fn, '__name__', 'it')} is async or a generator; "
            "return the rows, or poll lambda: next(made), with made = fn()."
        )
    takes_position(fn)
    every_s = seconds(duration_ns(every, "every", minimum_ns=1_000_000))
    return Poll(fn, every_s, column_name(event_time, "event_time"), flag(flatten, "flatten"))

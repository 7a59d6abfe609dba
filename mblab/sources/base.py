"""What a source is: rows in blocks, each row with the time the lab could first see it.

A source is a frozen description; opening it gives blocks in arrival order. Opened again it gives the same rows with the
same times, which is what makes a run repeatable. Times here are *source time*: int64 nanoseconds from the start of the
stream, before any speed-up (the engine's feed divides by `speedup`).

    arrivals -> [sources] -> feed -> engine
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from mblab.timing.times import Times

__all__ = ["Block", "Exportable", "Position", "Source", "SourceWarning"]

Position = Mapping[str, Any]


class SourceWarning(UserWarning):
    """A source was used otherwise than it came, such as sorted, or may be meant otherwise than it is taken."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that were decoded together; the engine cuts batches out of it.

    Attributes:
        rows: The rows with the source's own dtypes and a RangeIndex.
        arrival_ns: int64, one a row, never decreasing, also not from one block to the next: nanoseconds of source time
            since the start of the stream.
        position: JSON-able; `source.open(position)` gives this same block again as its first one.
        event_times: When each row happened, where the rows themselves do not hold the source's event-time column; else
            None.
    """

    rows: pd.DataFrame
    arrival_ns: Times
    position: Position
    event_times: pd.Series | None = None


@runtime_checkable
class Source(Protocol):
    """Where rows come from.

    Attributes:
        name: Short name for displays, such as `nyc_flights.parquet`.
        speedup: Source seconds that pass in one second of a run.
        endless: Whether it never ends by itself.
        event_time: Column with the time things happened, or None.
    """

    @property
    def name(self) -> str: ...
    @property
    def speedup(self) -> float: ...
    @property
    def endless(self) -> bool: ...
    @property
    def event_time(self) -> str | None: ...

    def open(self, position: Position | None = None) -> Iterator[Block]:
        """Return the blocks from a position on (None: the start), in arrival order; empty blocks are allowed.

        Raises:
            SourceError: The data cannot be read, or is out of order.
        """
        ...

    def describe(self) -> str:
        """Return one line for people: what it is, how many rows if known, at which pace."""
        ...


@runtime_checkable
class Exportable(Source, Protocol):
    """A source that a script can make again; a class of one's own inherits it and adds `code`.

    Attributes:
        input_path: The file, or path with wildcards, that the rows come from, or None; a script takes it as `--input`.
        frame: The frame that the rows come from, with all its columns in arrival order, or None; a script has it in a
            file beside it.
        functions: The user's functions that it calls; a script has them by name.
    """

    @property
    def input_path(self) -> Path | None:
        return None

    @property
    def frame(self) -> pd.DataFrame | None:
        return None

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        return ()

    @abstractmethod
    def code(self, input: str) -> str:  # noqa: A002  the word of the script's options
        """Return the Python expression that makes this source again.

        Args:
            input: Expression for the file or frame it reads; a source that needs none ignores it.
        """

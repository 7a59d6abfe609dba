"""What it takes to begin again: how long a round is, and how far its times move.

rows of one round -> [looping] -> replay
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import pandas as pd

from mblab.errors import SourceError
from mblab.tables.base import Dtype
from mblab.tables.timestamps import UNITS
from mblab.timing.times import Times

__all__ = ["Extent", "Measure", "moved"]


Step: TypeAlias = float | pd.Timedelta  # what is added to a column of numbers, or of times


@dataclass(frozen=True, slots=True)
class Extent:
    """What one round of a loop measures.

    Attributes:
        rows: How many there are.
        period_ns: By how much the arrivals of a round are later than those of the one before; 0 with `rate`.
        moved: Column of times to what is added to it in each round, in the column's own unit.
    """

    rows: int
    period_ns: int
    moved: dict[str, Step]


class Looped(Protocol):
    """What counts of a replay; see `Replay`."""

    @property
    def name(self) -> str: ...
    @property
    def rate(self) -> float | None: ...
    @property
    def event_time(self) -> str | None: ...
    @property
    def clock_column(self) -> str | None: ...
    @property
    def unit(self) -> str: ...
    @property
    def timed(self) -> list[str]: ...


class Measure:
    """Measures a round while it is read.

    Args:
        source: The replay.
    """

    def __init__(self, source: Looped) -> None:
        self._source = source
        self._rows = 0
        self._first = self._last = 0
        self._low: Any = None
        self._high: Any = None
        self._frame: pd.DataFrame | None = None

    def add(self, frame: pd.DataFrame, times: Times) -> None:
        """Take in rows and their arrivals."""
        source = self._source
        if not self._rows:
            self._first, self._frame = int(times[0]), frame.iloc[:0]
        self._rows, self._last = self._rows + len(times), int(times[-1])
        if source.rate is not None and source.event_time in frame.columns:
            happened = frame[source.event_time]
            if _is_time(happened.dtype) and happened.notna().any():
                low, high = happened.min(), happened.max()
                self._low = low if self._low is None else min(low, self._low)
                self._high = high if self._high is None else max(high, self._high)

    def extent(self) -> Extent:
        """Return what was measured.

        Raises:
            SourceError: There are no two different times, so no gap to leave between rounds.
        """
        source, frame = self._source, self._frame
        if frame is None or (source.rate is None and self._first == self._last):
            raise SourceError(
                f"{source.name} has only one time of arrival, so loop=True cannot tell how long to wait before it "
                "begins again; give rate= instead."
            )
        names = dict.fromkeys(c for c in (source.event_time, source.clock_column) if c in source.timed)
        units = {c: _unit_ns(frame[c].dtype, source.unit) for c in names if _is_time(frame[c].dtype)}
        if source.rate is None:
            span = self._last - self._first
            gap = max(1, round(span / (self._rows - 1)))
            # ⌈(span + gap)/unit⌉·unit with the coarsest unit, so that every column moves by a whole number of its own
            coarsest = max([1, *units.values()])
            period = -(-(span + gap) // coarsest) * coarsest
            return Extent(self._rows, period, {c: _step(frame[c].dtype, period, source.unit) for c in units})
        if self._low is None or self._low == self._high:
            return Extent(self._rows, 0, {})
        span = self._high - self._low
        gap = span / max(1, self._rows - 1)
        return Extent(self._rows, 0, {c: span + (gap if frame[c].dtype.kind != "i" else round(gap)) for c in units})


def _is_time(dtype: Dtype) -> bool:
    return getattr(dtype, "kind", "O") in "Mmiuf"


def _unit_of(dtype: Dtype) -> Literal["s", "ms", "us", "ns"]:
    unit: Literal["s", "ms", "us", "ns"]
    if isinstance(dtype, pd.ArrowDtype):
        unit = dtype.pyarrow_dtype.unit
    else:
        unit = getattr(dtype, "unit", None) or np.datetime_data(dtype)[0]  # type: ignore
    return unit


def _unit_ns(dtype: Dtype, unit: str) -> int:
    if dtype.kind in "Mm":
        return UNITS[_unit_of(dtype)]
    return 1 if dtype.kind == "f" else UNITS[unit]


def _step(dtype: Dtype, period_ns: int, unit: str) -> Step:
    if dtype.kind in "Mm":
        return pd.Timedelta(period_ns, "ns")
    return period_ns / UNITS[unit] if dtype.kind == "f" else period_ns // UNITS[unit]


def moved(rows: pd.DataFrame, by: Mapping[str, Step], turn: int) -> pd.DataFrame:
    """Return rows with their times moved on by so many rounds; dtypes stay."""
    later = {}
    for name, step in by.items():
        column, shift = rows[name], step * turn
        if isinstance(shift, pd.Timedelta):
            shift = shift.as_unit(_unit_of(column.dtype))
        later[name] = column + shift
    return rows.assign(**later) if later else rows

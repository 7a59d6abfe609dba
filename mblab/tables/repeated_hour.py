"""The hour that comes twice where clocks are set back, told apart by the order of the rows.

A local time of that hour stands for two moments. Rows in order of time step back once within it, where its second pass
begins; before that they are in its first, in summer time.

    local times -> [repeated_hour] -> timestamps, replay
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.errors import SettingError, SourceError, shown
from mblab.timing.times import Times

__all__ = ["AMBIGUOUS", "Ambiguous", "First", "check_ambiguous", "firsts", "second_passes"]

Ambiguous: TypeAlias = Literal["raise", "infer"] | bool
First: TypeAlias = "bool | npt.NDArray[np.bool_] | None"  # whether times that come twice are the first; None: who knows
AMBIGUOUS: Final = ("raise", "infer", True, False)
HALF_A_DAY_NS: Final = 12 * 3600 * 10**9


def check_ambiguous(value: str | bool, tz: str | None, sort: bool) -> Ambiguous:
    """Return what is to become of local times that come twice, or raise `SettingError`."""
    known: dict[object, Ambiguous] = {"raise": "raise", "infer": "infer"}
    found = value if isinstance(value, bool) else known.get(value) if isinstance(value, str) else None
    if found is None:
        raise SettingError(
            "ambiguous must be 'raise', 'infer' (by the order of the rows), or True or False (the first or the second "
            f"time that it is that late), as in pandas, got {shown(value)}."
        )
    if found != "raise" and tz is None:
        raise SettingError(f"ambiguous={value!r} is about local times that come twice, so name their zone, tz=.")
    if found == "infer" and sort:
        raise SettingError(
            "ambiguous='infer' takes the rows to be in order of time, so sort=True cannot hold; leave one out."
        )
    return found


def second_passes(pieces: Iterable[pd.Series], tz: str) -> tuple[tuple[int, int], ...]:
    """Return the rows, from a number up to another, that are in the second pass of an hour that comes twice.

    Args:
        pieces: Local times without a zone, piece by piece, in the order of the rows.
        tz: The zone.

    Raises:
        SourceError: The rows do not step back in such an hour, or more than once; so it cannot be told.

    >>> times = pd.to_datetime(["2026-10-25 01:30", "2026-10-25 02:30", "2026-10-25 02:00", "2026-10-25 03:00"])
    >>> second_passes([pd.Series(times)], "Europe/Berlin")
    ((2, 3),)
    """
    rows, local, name, first = [np.empty(0, np.int64)], [np.empty(0, np.int64)], None, 0
    for column in pieces:
        if not isinstance(column.dtype, np.dtype) or column.dtype.kind != "M":
            return ()  # whoever reads the times refuses them
        known = column.dt.tz_localize(tz, ambiguous="NaT", nonexistent="shift_forward").notna()
        twice = np.flatnonzero(column.notna().to_numpy() & ~known.to_numpy())
        rows.append(first + twice)
        local.append(column.iloc[twice].astype("datetime64[us]").to_numpy().view(np.int64) * 1_000)
        name, first = column.name, first + len(column)
    return tuple(_of_column(np.concatenate(rows), np.concatenate(local), str(name), tz))


def _of_column(rows: Times, local: Times, name: str, tz: str) -> Iterable[tuple[int, int]]:
    """Yield the second pass of each such hour, from all rows that are in one and their local times."""
    apart = (np.diff(rows) > 1) | (np.abs(np.diff(local)) > HALF_A_DAY_NS)
    edges = [0, *(np.flatnonzero(apart) + 1).tolist(), len(rows)]
    seen: set[int] = set()
    for low, high in itertools.pairwise(edges):
        if low == high:
            return
        day = int(local[low] // (2 * HALF_A_DAY_NS))
        step = np.diff(local[low:high])
        begins = np.flatnonzero(step < 0)
        if not len(begins):
            begins = np.flatnonzero(step == 0)  # an hourly series has each time twice
        if len(begins) != 1 or day in seen:
            how = "not" if not (len(begins) or day in seen) else "more than once"
            raise SourceError(
                f"column {name!r} holds times that come twice in {tz} in rows {rows[low]} to {rows[high - 1]}, from "
                f"{pd.Timestamp(int(local[low]))} on, but the rows do {how} step back or repeat there, so their order "
                "does not tell the first from the second; pass ambiguous=True for the first, in summer time, or False "
                "for the second, or give the times in UTC."
            )
        seen.add(day)
        yield int(rows[low + int(begins[0]) + 1]), int(rows[high - 1]) + 1


def firsts(second: tuple[tuple[int, int], ...], row: int, count: int) -> npt.NDArray[np.bool_]:
    """Return whether rows, from a number on, are in the first pass wherever their time comes twice."""
    first = np.ones(count, np.bool_)
    for low, high in second:
        first[max(0, low - row) : max(0, high - row)] = False
    return first

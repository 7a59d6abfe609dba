"""What modifiers draw, and their durations given as one or as (lo, hi).

A row's draw depends on the seed, the kind of draw and the row's number alone, not on how rows were cut into blocks.

    seed, row numbers -> [draws] -> timing, gaps, poison
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mblab.arrivals import BLOCK
from mblab.errors import SettingError, shown
from mblab.support.arguments import plain
from mblab.timing.durations import Duration, duration_ns, format_s, seconds

__all__ = ["Draws", "Range", "draws", "plain_range", "range_ns", "range_s", "told_range"]

Draws = npt.NDArray[np.float64]
Range: TypeAlias = float | tuple[float, float]  # seconds, or lo and hi of them


def range_s(value: Duration | tuple[Duration, Duration], knob: str) -> Range:
    """Return a duration, or (lo, hi) of two, in seconds."""
    lo, hi = value if isinstance(value, tuple | list) and len(value) == 2 else (value,) * 2
    lo_ns, hi_ns = duration_ns(lo, knob), duration_ns(hi, knob)
    if lo_ns > hi_ns or hi_ns == 0:
        raise SettingError(f"{knob} must be above 0, or (lo, hi) with lo at most hi, got {shown(value)}.")
    return seconds(lo_ns) if lo_ns == hi_ns else (seconds(lo_ns), seconds(hi_ns))


def range_ns(value: Range) -> tuple[int, int]:
    """Return a range as lo and hi in ns."""
    lo, hi = value if isinstance(value, tuple) else (value, value)
    return duration_ns(lo), duration_ns(hi)


def told_range(value: Range) -> str:
    """Return a range for people."""
    return " to ".join(format_s(seconds(ns)) for ns in sorted(set(range_ns(value))))


def plain_range(value: Range) -> str:
    """Return a range as code, in seconds."""
    lo, hi = (plain(seconds(ns)) for ns in range_ns(value))
    return lo if lo == hi else f"({lo}, {hi})"


def draws(seed: int, key: int, first: int, length: int) -> Draws:
    """Return two uniform numbers for each of `length` rows from number `first` on; shape (2, length)."""
    # rows first … first + length − 1 lie in blocks ⌊first/BLOCK⌋ … ⌊(first + length − 1)/BLOCK⌋, each drawn as a whole
    begin, end = first // BLOCK, (first + length - 1) // BLOCK + 1
    blocks = [_rng(seed, key, block).random((2, BLOCK)) for block in range(begin, max(end, begin + 1))]
    return np.concatenate(blocks, axis=1)[:, first - begin * BLOCK :][:, :length]


def _rng(seed: int, key: int, block: int) -> np.random.Generator:
    """Return the generator of a block of draws."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key, block)))

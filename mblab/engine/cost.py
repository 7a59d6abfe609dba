"""What a batch is declared to cost: a function of its rows that replaces every measured time.

what a cell typed -> [cost] -> engine, tuning
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mblab.errors import MblabError, SettingError, SettingTypeError, shown
from mblab.timing.durations import MAX_NS, NS, seconds

__all__ = ["Cost", "check_cost", "cost_ns"]

Cost = Callable[[int], float]


def check_cost(cost: Callable[..., Any] | float | None) -> Cost | None:
    """Return a declared cost as a function of n, in seconds; None stays None."""
    if cost is None:
        return None
    if callable(cost):
        return cost
    if isinstance(cost, bool) or not isinstance(cost, int | float | np.number):
        raise SettingTypeError(
            f"cost must be a number of seconds or a function of the batch's rows, got {shown(cost)}."
        )
    fixed = float(cost)
    cost_ns(lambda _: fixed, 1)
    return lambda _: fixed


def cost_ns(cost: Cost, rows: int) -> int:
    """Return what some rows cost, in ns; no rows cost nothing, and the function is not asked.

    Raises:
        SettingError: It failed, or gave no number of seconds from 0 to 146 years.
    """
    if not rows:
        return 0
    value = _asked(cost, rows)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SettingTypeError(f"cost({rows}) must be a number of seconds, got {shown(value)}.") from None
    except OverflowError:
        number = math.inf
    if not 0 <= number < seconds(MAX_NS):  # NaN is neither
        raise SettingError(
            f"cost({rows}) must be a finite number of seconds, 0 or more and below 146 years, got {shown(value)}."
        )
    return round(number * NS)


def _asked(cost: Cost, rows: int) -> float:
    """Return what a cost function says of a batch of some rows; where it fails, it is named."""
    try:
        return cost(rows)
    except MblabError:
        raise
    except Exception as error:
        raise SettingError(f"cost({rows}) failed: {type(error).__name__}: {error}") from error

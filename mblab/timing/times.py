"""Arrays of times, and what a change of speed makes of them.

source time -> [times] -> the run's time
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mblab.errors import SettingError
from mblab.timing.durations import NS, format_s

__all__ = ["LATEST_NS", "Times", "out_of_reach", "scale_ns", "whole_ns"]

Times = npt.NDArray[np.int64]  # nanoseconds
LATEST_NS: Final = 2**63 - 1024  # the last time of a run's clock, after 292 years, which a float holds too


def whole_ns(seconds: npt.NDArray[np.float64]) -> Times:
    """Return times in seconds as whole nanoseconds; what lies beyond 292 years is at their end, where no run comes."""
    ns: Times = np.minimum(np.rint(seconds * NS), float(LATEST_NS)).astype(np.int64)
    return ns


def out_of_reach(start_ns: int) -> SettingError:
    """Return the error for a batch that no clock comes to.

    >>> print(out_of_reach(2**63))
    a run's clock ends after 292 years, and the next batch would start or end at 106751 d 23 h; let rows arrive sooner or shorten the interval or the cost.
    """  # noqa: E501
    return SettingError(
        f"a run's clock ends after 292 years, and the next batch would start or end at {format_s(start_ns / NS)}; let "
        "rows arrive sooner or shorten the interval or the cost."
    )


def scale_ns(times: Times, old: float, new: float) -> Times:
    """Return `round(times·old/new)`, half to even, without leaving 64 bits of precision where the machine has them."""
    if old == new:
        return times
    exact = times.astype(np.longdouble) * np.longdouble(old) / np.longdouble(new)
    if exact.size and abs(exact[-1]) >= 2**63:
        raise SettingError(
            f"speedup must let the rows arrive within 292 years of a run, got {new:g} for rows over "
            f"{format_s(times[-1] / NS)} of source time."
        )
    scaled: Times = np.rint(exact).astype(np.int64)
    return scaled

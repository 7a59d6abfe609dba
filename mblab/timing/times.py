"""Arrays of times, and what a change of speed makes of them.

source time -> [times] -> the run's time
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mblab.errors import SettingError
from mblab.timing.durations import NS, format_s

__all__ = ["Times", "scale_ns"]

Times = npt.NDArray[np.int64]  # nanoseconds


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

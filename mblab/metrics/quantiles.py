"""Quantiles of latencies: exact ones of sorted rows, and log buckets for more values than anyone keeps.

latencies -> [quantiles] -> batches, log
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Ints", "LogBuckets", "batch_quantiles"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class LogBuckets:
    """Counts of positive values in buckets of equal ratio: quantiles of any number of values, under 1 % off.

    >>> buckets = LogBuckets()
    >>> buckets.add(np.linspace(1, 2, 1001))
    >>> abs(buckets.quantile(0.5) / 1.5 - 1) < 0.01
    True
    """

    lowest = 1e-9
    per_octave = 64

    def __init__(self) -> None:
        self.counts: Ints = np.zeros(64 * self.per_octave, np.int64)

    def add(self, values: Floats) -> None:
        """Count some values."""
        level = np.log2(np.maximum(values, self.lowest) / self.lowest) * self.per_octave
        index = np.minimum(level.astype(np.int64), len(self.counts) - 1)
        self.counts += np.bincount(index, minlength=len(self.counts))

    def quantile(self, q: float) -> float:
        """Return the middle of the bucket that holds the q-quantile; NaN when empty."""
        below = np.cumsum(self.counts)
        if not below[-1]:
            return float("nan")
        index = int(np.searchsorted(below, q * (below[-1] - 1), side="right"))
        return float(self.lowest * 2.0 ** ((index + 0.5) / self.per_octave))


def batch_quantiles(arrival: Ints, count: Ints, end: Ints, q: float) -> Floats:
    """Return each batch's latency quantile in ns: rows are in order of arrival, so latencies are sorted already."""
    if not len(arrival):
        return np.full(len(count), np.nan)
    above = np.maximum(count - 1, 0)
    height = above * q
    low = height.astype(np.int64)
    high = np.minimum(low + 1, above)
    newest = np.minimum(np.cumsum(count) - count + above, len(arrival) - 1)
    small = (end - arrival[newest - low]).astype(np.float64)
    large = (end - arrival[newest - high]).astype(np.float64)
    between: Floats = small + (height - low) * (large - small)
    return between

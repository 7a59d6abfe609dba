"""Where else the same rows could have been cut.

A coarse cut into a few ranges is the reference. Every other cut splits these ranges further, so that all share the ends
of the ranges, and one takes all rows as a single batch, which shares the last end.

    # rows     0 1 2 3 4 5 6 7 8 9
    # coarse   [       )[        )     2 ranges
    # thirds   [  )[   )[  )[    )
    # singles  [)[)[)[ )[)[)[)[  )
    # one      [                 )

    arrivals -> [cuts] -> recut
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from mblab.timing.times import Times

__all__ = ["ONE", "Cuts", "cuts_of"]

RANGES: Final = 8
OWN_BATCHES: Final = 64
SINGLES: Final = 3
ONE: Final = "in one batch"


@dataclass(frozen=True, slots=True)
class Cuts:
    """Several cuts of the same rows.

    Attributes:
        ends: Where the ranges end that the cuts share; the last is how many rows there are.
        others: What a cut is called → where its batches end.
    """

    ends: list[int]
    others: dict[str, list[int]]

    @property
    def rows(self) -> int:
        """How many rows are cut."""
        return self.ends[-1]


def cuts_of(arrival_ns: Times, interval_ns: int) -> Cuts:
    """Return cuts of the first rows: at most 64 batches of the given interval, in at most 8 ranges.

    Args:
        arrival_ns: At least 2 rows, never decreasing.
        interval_ns: The lab's own interval; its batches are the ranges when there are 3 to 8 of them.

    >>> cuts_of(np.arange(10) * 10**9, 2 * 10**9).ends
    [2, 4, 6, 8, 10]
    """
    slots = arrival_ns // interval_ns
    own = [*(np.flatnonzero(np.diff(slots)) + 1).tolist(), len(arrival_ns)][:OWN_BATCHES]
    rows = own[-1]
    parts = min(RANGES, max(1, rows // 2))
    if len(own) >= 3:
        ends = sorted({own[i] for i in np.linspace(0, len(own), min(parts, len(own)) + 1).astype(int)[1:] - 1})
    else:
        ends = sorted(set(np.linspace(0, rows, parts + 1).astype(int)[1:].tolist()))
    rng = np.random.default_rng(0)
    ranges = list(zip([0, *ends[:-1]], ends, strict=True))
    others = {
        "in batches a third and two thirds as long": [
            at for low, high in ranges for at in (low + (high - low) // 3, high) if at > low
        ],
        "in batches of random length": sorted(
            {int(at) for low, high in ranges for at in (*rng.integers(low + 1, high + 1, 3), high)}
        ),
        "with single rows as batches": sorted(
            {at for low, high in ranges for at in (*range(low + 1, min(low + SINGLES, high) + 1), high)}
        ),
    }
    if len(own) > len(ends):
        others["in the lab's own batches"] = own
    return Cuts(ends, others | {ONE: [rows]})

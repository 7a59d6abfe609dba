"""A source for tests: rows at chosen times.

times -> [sources] -> engine
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.errors import SettingError, shown
from mblab.sources.base import Block, Position
from mblab.timing.times import Times, whole_ns

__all__ = ["RowsAt", "rows_at"]


class RowsAt:
    """A source whose rows arrive at given times; see `rows_at`."""

    name = "rows_at"
    speedup = 1.0
    endless = False
    event_time = None

    def __init__(self, arrival_ns: Times, rows: pd.DataFrame) -> None:
        self._arrival_ns, self._rows = arrival_ns, rows

    def open(self, position: Position | None = None) -> Iterator[Block]:
        """Return all rows as one block."""
        first = int((position or {}).get("row", 0))
        rows = self._rows.iloc[first:].reset_index(drop=True)
        yield Block(rows, self._arrival_ns[first:], {"row": first})

    def describe(self) -> str:
        """Return one line for people."""
        return f"rows_at: {len(self._rows):,} rows"


def rows_at(times: Sequence[float], **columns: npt.ArrayLike) -> RowsAt:
    """Return a source with one row at each time; the times are kept as given, not shifted.

    Args:
        times: Arrivals in seconds of the run's clock, ascending.
        **columns: Values, one a row; without any there is a column `row` = 0, 1, 2, ….

    >>> from mblab import Lab
    >>> run = Lab(rows_at([0.0, 1.0, 2.0]), interval="1s").run("3s", clock="virtual", cost=0)
    >>> list(run.batches.num_input_rows)
    [1, 1, 1]
    """
    arrival = whole_ns(np.asarray(times, np.float64))
    if arrival.ndim != 1 or (np.diff(arrival) < 0).any() or (len(arrival) and arrival[0] < 0):
        raise SettingError(f"times must be ascending seconds from 0 on, got {shown(times)}.")
    rows = pd.DataFrame(columns or {"row": np.arange(len(arrival))})
    if len(rows) != len(arrival):
        raise SettingError(f"times has {len(arrival)} values but the columns have {len(rows)}; make them equal.")
    return RowsAt(arrival, rows)

"""The records that took longest, and the batch that each of them waited for.

run.records, run.batches -> [slowest] -> run
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Slowest", "slowest_of"]


class Slowest(pd.DataFrame):
    """The records that took longest: a frame that shows itself as a waterfall of their four waits."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame  # a part of it is a plain frame

    def waterfall(self) -> alt.VConcatChart:
        """Return the waits of each record as an Altair chart."""
        from mblab import charts

        return charts.waterfall_chart(pd.DataFrame(self))

    def _repr_html_(self) -> str:
        from mblab import charts

        return charts.html_fragment(self.waterfall()) + str(pd.DataFrame(self).to_html(index=False))


def slowest_of(records: pd.DataFrame, batches: pd.DataFrame, n: int = 10) -> Slowest:
    """Return the n records that took longest, slowest first, each with the batch that was in its way.

    A record could first have been taken when its batching wait was over. The batch that was running then is in its way,
    provided that the record had to wait for its end.

    Args:
        records: As `run.records`.
        batches: As `run.batches`.
        n: How many.
    """
    worst = records.nlargest(n, "latency_s").reset_index(drop=True)
    if not len(batches):
        return Slowest(worst.assign(blocked_by=np.full(len(worst), -1, np.int64)))
    ready = (worst.arrival_s + worst.batching_wait_s).to_numpy()
    before = batches.start_s.searchsorted(ready, side="left") - 1  # the newest batch that had started
    started = np.maximum(before, 0)
    running = (before >= 0) & (batches.end_s.to_numpy()[started] > ready) & (worst.scheduling_wait_s.to_numpy() > 0)
    return Slowest(worst.assign(blocked_by=np.where(running, batches.batch_id.to_numpy()[started], np.int64(-1))))

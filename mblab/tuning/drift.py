"""Whether batches still cost what the law says, and the law put right when they do not.

batches of a run, cost -> [drift] -> autopilot
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from mblab.engine.records import BatchRecord
from mblab.timing.durations import NS
from mblab.tuning.cost import CostModel

__all__ = ["Corrected", "Drift"]

SLACK, ALARM = 0.75, 6.0  # of the CUSUM, in standard deviations (E. S. Page, "Continuous inspection schemes", 1954)
WORTH: Final = 0.06  # a cost that is off by less is not worth a correction
FRESH: Final = 40  # batches that a refitted law rests on


@dataclass(frozen=True, slots=True)
class Corrected:
    """A law put right."""

    model: CostModel
    reason: str


class Drift:
    """Whether batches cost what the law says: a two-sided CUSUM over z = log(actual / law) / sd.

    Each batch moves up to max(0, up + z − slack) and down to max(0, down − z − slack); past `ALARM` the law is off by
    the median ratio of the batches since both were 0.
    """

    def __init__(self) -> None:
        self._up = self._down = 0.0
        self._since: list[float] = []  # log ratios since the sums were last both at 0
        self._batches: deque[tuple[int, int, float, float, float]] = deque(maxlen=FRESH)
        self._scaled_at: int | None = None

    def note(self, record: BatchRecord, seen: int, model: CostModel) -> Corrected | None:
        """Take a batch; return a law put right once it is clear that the old one no longer holds."""
        rows = record.num_input_rows
        if rows == 0:
            return None
        took = (record.end_ns - record.start_ns - record.wake_ns) / NS
        self._batches.append((rows, seen, took, record.cpu_ns / NS, record.start_ns / NS))
        law = float(model.work_s(np.array([float(rows)]), float(seen))[0])
        if took <= 0 or law <= 0:
            return None
        off, sd = math.log(took / law), max(1.4826 * model.spread, 0.03)
        slack = max(SLACK, WORTH / sd)
        step = min(max(off / sd, -slack - 2.5), slack + 2.5)  # one pause is no drift
        self._up, self._down = max(0.0, self._up + step - slack), max(0.0, self._down - step - slack)
        self._since = [*self._since, off] if self._up or self._down else []
        if max(self._up, self._down) < ALARM or len(self._since) < 3:
            return None
        factor = math.exp(float(np.median(self._since)))
        self._up = self._down = 0.0
        self._since = []
        return self._corrected(record.batch_id, factor, model)

    def _corrected(self, batch_id: int, factor: float, model: CostModel) -> Corrected:
        """Scale the law; when scaling did not hold and sizes differ enough, fit it anew to the batches since."""
        last, self._scaled_at = self._scaled_at, batch_id
        sizes = [b[0] for b in self._batches]
        said = f"batches take {factor:.2f}× what the law says"
        if last is not None and batch_id - last < FRESH and len(sizes) >= 12 and max(sizes) > 2 * min(sizes):
            names = ["num_input_rows", "seen_rows", "seconds", "cpu_s", "at_s"]
            frame = pd.DataFrame(list(self._batches), columns=names)
            newer = CostModel.fit(frame, before=model.before, host_sd=model.host_sd)
            return Corrected(newer, f"{said}; fitted anew to the last {len(sizes)} batches")
        return Corrected(model.scaled(factor), f"{said}; law rescaled")

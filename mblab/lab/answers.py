"""What a run is asked and rooms behind it answer: handed to each run as plain functions.

run, tuning -> [answers] -> workbench
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mblab.runs.run import Run
from mblab.timing.schedule import check_cap, check_policy

if TYPE_CHECKING:
    from mblab.tuning.whatif import Curve

__all__ = ["Description", "diagnosed", "what_if"]


class Description(str):
    """Text that shows itself as it reads."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def what_if(run: Run, interval: Any, *, policy: str | None, max_rows_per_batch: int | None) -> Curve:
    """Return the curve of a run's own arrivals and costs: what `run.what_if` calls."""
    from mblab.tuning.sweep import check_intervals
    from mblab.tuning.trace import trace_of_run
    from mblab.tuning.whatif import CostTable, curve_of

    batches, trace = run.batches, trace_of_run(run)
    rule = check_policy(policy or (batches.policy.iloc[-1] if len(batches) else "asap"))
    return curve_of(
        trace.arrival_ns,
        check_intervals(interval if isinstance(interval, list | tuple | np.ndarray) else [interval]),
        cost=CostTable.of(batches),
        horizon_ns=trace.horizon_ns,
        policy=rule,
        max_rows_per_batch=check_cap(max_rows_per_batch, rule),
    )


def diagnosed(run: Run) -> Description:
    """Return why a run falls behind, or not: what `run.diagnose` calls."""
    from mblab.tuning.diagnosis import diagnosis

    return Description(diagnosis(run))

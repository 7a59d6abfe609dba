"""What a lab is asked about its steps and its runs: would they do otherwise, what was in a batch, why is it late?

Each function takes what it looks at, the recipe, the driver of the newest run or a run, and moves nothing.

    pipeline, driver, run -> [inspect] -> checks, tuning -> answer
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.engine.driver import Driver
from mblab.engine.listeners import Listeners
from mblab.engine.pipeline import Pipeline
from mblab.engine.settings import check_cap, check_policy
from mblab.errors import SettingError
from mblab.runs.run import Run
from mblab.sources.live.base import Live
from mblab.steps.chain import Chain
from mblab.support.arguments import whole
from mblab.timing.durations import Duration, duration_ns, format_s, seconds
from mblab.timing.policies import RULES

if TYPE_CHECKING:
    from mblab.checks.inspection import Inspection
    from mblab.checks.recut import CutCheck
    from mblab.checks.rerun import Rerun
    from mblab.checks.shadow import Shadow
    from mblab.checks.trial import Recording
    from mblab.tuning.curve import Curve
    from mblab.tuning.spectrum import Spectrum

__all__ = [
    "Description", "check", "describe", "diagnose", "inspect", "rerun", "shadow", "spectrum", "try_batch", "what_if",
]  # fmt: skip


class Description(str):
    """Text that shows itself as it reads."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


# -- the lab ----------------------------------------------------------------------------------------------------------


def describe(pipeline: Pipeline, last_run: Run | None) -> Description:
    """Return a recipe and its newest run in words."""
    s = pipeline.settings
    cap = "no cap" if s.max_rows_per_batch is None else f"at most {s.max_rows_per_batch:,} rows a batch"
    speedup = s.speedup or pipeline.source.speedup
    speed = "" if speedup == 1 else f", speed-up {speedup:g}"
    lines = [f"lab {s.name!r}: every {format_s(seconds(s.interval_ns))}, policy {s.policy}, {cap}{speed}"]
    lines.append(f"  source  {pipeline.source.describe()}")
    for step in pipeline.steps:
        key = f" by {', '.join(step.key)}" if step.key else ""
        lines.append(f"  step    {step.name} ({step.kind}{key}, version {step.version})")
    lines += [f"  sink    {sink.describe()}" for sink in pipeline.sinks]
    if not pipeline.sinks:
        lines.append("  sink    memory: run.output")
    if last_run is not None:
        lines.append(f"  run     {last_run!r}")
    return Description("\n".join(lines))


# -- its steps --------------------------------------------------------------------------------------------------------


def try_batch(pipeline: Pipeline, n: int) -> pd.DataFrame:
    """Return what the steps make of the source's first n rows, from an empty state."""
    from mblab.checks.trial import try_first

    return try_first(pipeline, whole(n, "n", least=1))


def rerun(pipeline: Pipeline, driver: Driver | None, k: int) -> Rerun:
    """Run batch k of the newest run again, with the steps of a recipe."""
    from mblab.checks.rerun import check_batch_id, run_again

    if driver is None:
        raise SettingError("rerun() needs a run to take the batch from; begin one with lab.run() or lab.start().")
    return run_again(pipeline, driver.engine, check_batch_id(k))


def inspect(driver: Driver | None, run: Run | None, k: int | None) -> Inspection:
    """Return batch k of the newest run opened; without k its newest batch."""
    from mblab.checks.inspection import inspect_batch
    from mblab.checks.rerun import check_batch_id

    if driver is None or run is None:
        raise SettingError("inspect() needs a run to look into; begin one with lab.step() or lab.run().")
    wanted = None if k is None else check_batch_id(k, "inspect")
    return inspect_batch(driver.engine, run.batches, run.error, wanted)


def check(pipeline: Pipeline, driver: Driver | None, rows: int) -> CutCheck:
    """Return whether the result depends on where the batches are cut."""
    from mblab.checks.recut import check_cuts

    return check_cuts(pipeline, _recorded(pipeline, driver, rows, "check"))


def spectrum(pipeline: Pipeline, driver: Driver | None, rows: int, budget: Duration) -> Spectrum:
    """Measure batches of every size."""
    from mblab.tuning.spectrum import measure_spectrum

    length_s = seconds(duration_ns(budget, "budget", minimum_ns=1))
    return measure_spectrum(pipeline, _recorded(pipeline, driver, rows, "spectrum"), length_s)


def shadow(
    chain: Chain,
    recipe_now: Callable[[], Pipeline | None],
    listeners: Listeners,
    fn: Callable[..., Any],
    beside: str | None,
) -> Shadow:
    """Run a new version of a step beside the old one.

    Args:
        chain: The steps.
        recipe_now: Returns the recipe as it stands, None once its lab is gone.
        listeners: Where to hear of batches.
        fn: The new version.
        beside: Name of the step, or None.
    """
    from mblab.checks.shadow import Shadow

    old = chain.meant(fn, beside)
    new = chain.version_of(old, fn)

    def recipe() -> Pipeline | None:
        pipeline = recipe_now()
        if pipeline is None or all(step.name != old.name for step in pipeline.steps):
            return None
        return replace(pipeline, steps=tuple(new if s.name == old.name else s for s in pipeline.steps))

    return Shadow(old.name, recipe, listeners, lambda: chain.add(new))


def _recorded(pipeline: Pipeline, driver: Driver | None, rows: int, verb: str) -> Recording:
    """Return rows to try things on: the source's first, or what a run of a live one still remembers."""
    from mblab.checks.trial import recall, record

    most = whole(rows, "rows", least=1)
    if not isinstance(pipeline.source, Live):
        return record(pipeline.source, most, pipeline.settings.speedup)
    if driver is None or not driver.engine.history.ids:
        raise SettingError(
            f"{pipeline.source.name} is live, so {verb}() looks at the batches of a run; begin one first, with "
            "lab.start()."
        )
    return recall(driver.engine, most)


# -- its runs ---------------------------------------------------------------------------------------------------------


def what_if(
    run: Run,
    interval: Duration | Sequence[Duration] | npt.NDArray[Any],
    *,
    policy: str | None,
    max_rows_per_batch: int | Literal["same"] | None,
) -> Curve:
    """Return the curve of a run's own arrivals and costs: what `run.what_if` calls."""
    from mblab.tuning.arrival_times import arrival_times_of_run
    from mblab.tuning.cost import CostModel
    from mblab.tuning.intervals import check_intervals
    from mblab.tuning.whatif import curve_of

    batches, arrivals = run.batches, arrival_times_of_run(run)
    rule = check_policy(policy or (batches.policy.iloc[-1] if len(batches) else "asap"))
    most = max_rows_per_batch
    if most == "same":
        last = batches.max_rows_per_batch.iloc[-1] if len(batches) else np.nan
        most = None if np.isnan(last) or not RULES[rule].caps else int(last)
    return curve_of(
        arrivals.arrival_ns,
        check_intervals(interval if isinstance(interval, list | tuple | np.ndarray) else [interval]),
        cost=CostModel.of(batches),
        horizon_ns=arrivals.horizon_ns,
        policy=rule,
        max_rows_per_batch=check_cap(most, rule),
        drain=arrivals.whole,
    )


def diagnose(run: Run) -> Description:
    """Return why a run falls behind, or not: what `run.diagnose` calls."""
    from mblab.tuning.diagnosis import diagnosis

    return Description(diagnosis(run))

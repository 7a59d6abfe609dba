"""What a lab can be asked about its steps without a run being touched: would they do otherwise, and at what price?

workbench, checks -> [questions] -> handle
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from mblab.engine.engine import Engine
from mblab.engine.pipeline import Pipeline
from mblab.engine.settings import whole_number
from mblab.errors import SettingError
from mblab.lab.workbench import Workbench
from mblab.sinks.memory import MemorySink
from mblab.sources.live.base import Live
from mblab.timing.clock import VirtualClock, WallClock
from mblab.timing.durations import Duration, duration_ns, seconds

if TYPE_CHECKING:
    from mblab.checks.inspection import Inspection
    from mblab.checks.recut import CutCheck
    from mblab.checks.rerun import Rerun
    from mblab.checks.shadow import Shadow
    from mblab.checks.trial import Recording
    from mblab.tuning.spectrum import Spectrum

__all__ = ["Questions"]


class Questions(Workbench):
    """The part of a lab that answers questions about its steps."""

    def try_batch(self, n: int = 100) -> pd.DataFrame:
        """Return what the steps make of the first n rows, as one batch, from an empty state; nothing else happens."""
        rows = whole_number(n, "n")
        pipeline = replace(self.pipeline, sinks=())
        clock = WallClock() if isinstance(self._source, Live) else VirtualClock()
        engine = Engine(pipeline, clock, run_id="0" * 12, note=lambda _: None, output=MemorySink(1))
        try:
            return engine.trial(rows)
        finally:
            engine.feed.close()

    def rerun(self, k: int) -> Rerun:
        """Run batch k of the newest run again, with today's steps and the state it had; return both and their diff.

        Nothing is delivered and no state changes. The batch that halted a run can be tried like this before
        `resume()`. The newest 200 batches are kept (`history=`).

        Raises:
            HistoryGone: Batch k is no longer kept.
            SettingError: There was no such batch, or it was empty.
        """
        from mblab.checks.rerun import check_batch_id, run_again

        if self._driver is None:
            raise SettingError("rerun() needs a run to take the batch from; begin one with lab.run() or lab.start().")
        return run_again(self.pipeline, self._driver.engine, check_batch_id(k))

    def inspect(self, k: int | None = None) -> Inspection:
        """Return batch k of the newest run opened: rows in, rows out, what each step remembered before, its error.

        Without k the newest batch, which is the one that halted the run if one did. It shows itself in a notebook. The
        newest 200 batches are kept (`history=`).

        Raises:
            HistoryGone: Batch k is no longer kept.
            SettingError: There was no such batch, or it was empty.
        """
        from mblab.checks.inspection import inspect_batch
        from mblab.checks.rerun import check_batch_id

        if self._driver is None:
            raise SettingError("inspect() needs a run to look into; begin one with lab.step() or lab.run().")
        wanted = None if k is None else check_batch_id(k, "inspect")
        run = self._runs[-1]
        return inspect_batch(self._driver.engine, run.batches, run.error, wanted)

    def check(self, rows: int = 5_000) -> CutCheck:
        """Return whether the result depends on where the batches are cut, in words and as a table.

        The source's first rows (of a live source: those of the newest run) are put through the steps in several cuts,
        from an empty state; nothing is delivered or remembered, but effects of the functions' own do happen. A result
        may pass in one of four ways: the same rows (row-wise functions), the same running result at every row where two
        cuts both end a batch (functions with state), numbers that add up (a count a batch), or, without output, the
        same state.

        Args:
            rows: How many rows to record at most; of these at most the first 64 batches are used.

        Raises:
            BatchError: A step fails on these rows however they are cut.
        """
        from mblab.checks.recut import check_cuts

        return check_cuts(self.pipeline, self._recorded(rows, "check"))

    def spectrum(self, rows: int = 20_000, *, budget: Duration = "3s") -> Spectrum:
        """Measure batches of every size, from row at a time to one batch of all rows; return cost and latency of each.

        The source's first rows (of a live source: those of the newest run) are used, from an empty state; nothing is
        delivered or remembered.

        Args:
            rows: How many rows to record at most; the largest batch holds them all.
            budget: How long to measure, in real time.

        Raises:
            BatchError: A step fails on one of the sizes.
        """
        from mblab.tuning.spectrum import measure_spectrum

        length = seconds(duration_ns(budget, "budget", minimum_ns=1))
        return measure_spectrum(self.pipeline, self._recorded(rows, "spectrum"), length)

    def shadow(self, fn: Callable[..., Any], *, beside: str | None = None) -> Shadow:
        """Run a new version of a step beside the old one on the same batches, before switching; return the handle.

        `.report()` says how its output differs and what it costs, `.stop()` ends it, `.adopt()` switches. It has a
        state of its own, which begins as a copy of the run's; the run's output, state and sinks never see it, and later
        runs of this lab are shadowed too until it is stopped.

        Args:
            fn: The new version, called as the old one is (same kind, same key).
            beside: Name of the step; None takes the function's namesake, or the only step.

        Raises:
            SettingError: It is not clear which step is meant.
        """
        from mblab.checks.shadow import Shadow

        old = self._chain.meant(fn, beside)
        new = self._chain.version_of(old, fn)

        def recipe() -> Pipeline | None:
            pipeline = self.pipeline
            if all(step.name != old.name for step in pipeline.steps):
                return None
            return replace(pipeline, steps=tuple(new if s.name == old.name else s for s in pipeline.steps))

        return Shadow(old.name, recipe, self._listeners, lambda: self._chain.add(new))

    def _recorded(self, rows: int, question: str) -> Recording:
        """Return rows to try things on: the source's first, or what a run of a live one still remembers."""
        from mblab.checks.trial import recall, record

        most = whole_number(rows, "rows")
        if not getattr(self._source, "live", False):
            return record(self._source, most, self._settings.speedup)
        if self._driver is None or not self._driver.engine.history.ids:
            raise SettingError(
                f"{self._source.name} is live, so {question}() looks at the batches of a run; begin one first, with "
                "lab.start()."
            )
        return recall(self._driver.engine, most)

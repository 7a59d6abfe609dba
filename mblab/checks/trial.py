"""The steps on rows that are at hand, with a state of their own; nothing is delivered, no run is touched.

pipeline + rows -> runner -> [trial] -> recut, rerun, shadow, spectrum
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from mblab.engine.engine import Engine
from mblab.engine.feed import Feed
from mblab.engine.history import Remembered
from mblab.engine.invoke import BatchContext
from mblab.engine.pipeline import Pipeline
from mblab.engine.runner import StepsRunner
from mblab.engine.watermark import Mark, Watermark
from mblab.sources.base import Block, Position, Source
from mblab.sources.live.base import Live
from mblab.steps.state import State
from mblab.steps.step import Step
from mblab.timing.clock import WallClock
from mblab.timing.schedule import Timetable, Trigger
from mblab.timing.times import Times

__all__ = ["Recording", "Trial", "call_again", "recall", "record", "try_first"]

NO_RUN: Final = "0" * 12  # what steps see as `ctx.run_id` where there is no run


@dataclass(frozen=True)
class Recording:
    """Rows taken from a source, with their arrivals on the run's clock: a source that is all in memory.

    Attributes:
        rows: The rows, with a RangeIndex.
        arrival_ns: int64, one a row, never decreasing.
        event_time: Column with the time things happened, or None.
        name: Of the source they came from.
        event_times: When each row happened, where the rows do not hold it.
    """

    rows: pd.DataFrame
    arrival_ns: Times
    event_time: str | None = None
    name: str = "recording"
    speedup: float = 1.0
    endless: bool = False
    event_times: pd.Series | None = None

    def open(self, position: Position | None = None) -> Iterator[Block]:  # noqa: ARG002
        """Return all rows as one block."""
        yield Block(self.rows, self.arrival_ns, {}, self.event_times)

    def describe(self) -> str:
        """Return one line for people."""
        return f"{self.name}: {len(self.rows):,} recorded rows"


def record(source: Source, rows: int, speedup: float | None = None) -> Recording:
    """Return the first rows of a source, fewer when it ends before."""
    feed = Feed(source, speedup)
    try:
        feed.hold(rows)
        cut = feed.take(min(rows, feed.held))
        return Recording(cut.rows(), cut.arrival_ns, source.event_time, source.name, event_times=cut.event_times())
    finally:
        feed.close()


def recall(engine: Engine, rows: int) -> Recording:
    """Return the oldest rows that a run still remembers, fewer when it remembers fewer."""
    cuts = [batch.cut for batch in engine.history.batches]
    frame = pd.concat([cut.rows() for cut in cuts], ignore_index=True).iloc[:rows]
    arrival = np.concatenate([cut.arrival_ns for cut in cuts])[:rows]
    times = [each for cut in cuts if (each := cut.event_times()) is not None]
    happened = pd.concat(times, ignore_index=True).iloc[:rows] if times else None
    source = engine.pipeline.source
    return Recording(frame, arrival, source.event_time, source.name, event_times=happened)


def try_first(pipeline: Pipeline, rows: int) -> pd.DataFrame:
    """Return what the steps make of a source's first rows, as one batch, from an empty state.

    Raises:
        BatchError: A step failed.
    """
    settings, source = pipeline.settings, pipeline.source
    feed = Feed(source, settings.speedup, WallClock().now_ns if isinstance(source, Live) else None)
    try:
        feed.hold(rows)
        cut = feed.take(min(rows, feed.held))
        trigger = Timetable(settings.interval_ns, settings.policy).peek()
        context = BatchContext(0, 1, NO_RUN, trigger, cut, Mark())
        found = StepsRunner(pipeline.steps).call(cut.rows(), context).rows
        return pd.DataFrame() if found is None else found
    finally:
        feed.close()


def call_again(runner: StepsRunner, batch: Remembered, run_id: str, attempt: int) -> pd.DataFrame | None:
    """Return what steps make of a batch that a run remembers, None for no rows.

    Raises:
        BatchError: A step failed; the runner's state is as before.
    """
    context = BatchContext(batch.batch_id, attempt, run_id, batch.trigger, batch.cut, batch.mark)
    return runner.call(batch.cut.rows(), context).rows


class Trial:
    """The steps of a pipeline, called batch by batch on a recording, from an empty state.

    Args:
        pipeline: The recipe; its source and sinks are left alone.
        recording: The rows.
    """

    def __init__(self, pipeline: Pipeline, recording: Recording) -> None:
        self._feed, self._watermark = Feed(recording), Watermark()
        self._runner = StepsRunner(pipeline.steps)
        self._interval_ns = pipeline.settings.interval_ns
        self._batches = 0

    def next(self, rows: int) -> pd.DataFrame | None:
        """Return what the steps make of the next rows as one batch, None for no rows.

        Raises:
            BatchError: A step failed; the state is as before.
        """
        cut, interval = self._feed.take(rows), self._interval_ns
        start = (int(cut.arrival_ns[-1]) // interval + 1) * interval if rows else interval
        trigger = Trigger(start, start, interval, start, start)
        context = BatchContext(self._batches, 1, NO_RUN, trigger, cut, self._watermark.follow(cut))
        found = self._runner.call(cut.rows(), context).rows
        self._batches += 1
        return found

    def state(self, step: Step) -> State:
        """Return a copy of what a step remembers."""
        return self._runner.states.snapshot(step)

"""The steps on rows that are at hand, with a state of their own; nothing is delivered, no run is touched.

pipeline + rows -> [trial] -> recut, rerun, shadow, spectrum
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mblab.engine.engine import Engine
from mblab.engine.feed import Cut, Feed
from mblab.engine.invoke import BatchContext
from mblab.engine.pipeline import Pipeline
from mblab.sinks.memory import MemorySink
from mblab.sources.base import Block, Position, Source
from mblab.timing.clock import VirtualClock
from mblab.timing.schedule import Trigger
from mblab.timing.times import Times

__all__ = ["Recording", "Trial", "recall", "record"]


@dataclass(frozen=True)
class Recording:
    """Rows taken from a source, with their arrivals on the run's clock: a source that is all in memory.

    Attributes:
        rows: The rows, with a RangeIndex.
        arrival_ns: int64, one a row, never decreasing.
        event_time: Column with the time things happened, or None.
        name: Of the source they came from.
    """

    rows: pd.DataFrame
    arrival_ns: Times
    event_time: str | None = None
    name: str = "recording"
    speedup: float = 1.0
    endless: bool = False

    def open(self, position: Position | None = None) -> Iterator[Block]:  # noqa: ARG002
        """Return all rows as one block."""
        yield Block(self.rows, self.arrival_ns, {})

    def describe(self) -> str:
        """Return one line for people."""
        return f"{self.name}: {len(self.rows):,} recorded rows"


def record(source: Source, rows: int, speedup: float | None = None) -> Recording:
    """Return the first rows of a source, fewer when it ends before."""
    feed = Feed(source, speedup)
    try:
        feed.hold(rows)
        cut = feed.take(min(rows, feed.held))
        return Recording(cut.rows(), cut.arrival_ns, source.event_time, source.name)
    finally:
        feed.close()


def recall(engine: Engine, rows: int) -> Recording:
    """Return the oldest rows that a run still remembers, fewer when it remembers fewer."""
    cuts = [batch.cut for batch in engine.history.batches]
    frame = pd.concat([cut.rows() for cut in cuts], ignore_index=True).iloc[:rows]
    arrival = np.concatenate([cut.arrival_ns for cut in cuts])[:rows]
    return Recording(frame, arrival, engine.feed.event_time, engine.pipeline.source.name)


class Trial:
    """The steps of a pipeline, called batch by batch on a recording.

    Args:
        pipeline: The recipe; its source and sinks are left alone.
        recording: The rows.
        run_id: What the steps see as `ctx.run_id`.
    """

    def __init__(self, pipeline: Pipeline, recording: Recording, run_id: str = "0" * 12) -> None:
        self._recording = recording
        self.engine = Engine(
            self._recipe(pipeline), VirtualClock(), run_id=run_id, note=lambda _: None, output=MemorySink(1)
        )
        self._batches = 0

    def _recipe(self, pipeline: Pipeline) -> Pipeline:
        settings = replace(pipeline.settings, speedup=None)  # the recording is on the run's clock already
        return replace(pipeline, source=self._recording, sinks=(), settings=settings)

    def adopt(self, pipeline: Pipeline) -> None:
        """Go on with another recipe's steps."""
        if pipeline.steps != self.engine.pipeline.steps:
            self.engine.pipeline = self._recipe(pipeline)

    def next(self, rows: int) -> pd.DataFrame | None:
        """Return what the steps make of the next rows as one batch, None for no rows.

        Raises:
            BatchError: A step failed; the state is as before.
        """
        cut = self.engine.feed.take(rows)
        interval = self.engine.pipeline.settings.interval_ns
        start = (int(cut.arrival_ns[-1]) // interval + 1) * interval if rows else interval
        trigger = Trigger(start, start, interval, start, start)
        result = self.call(cut, trigger, self._batches, 1)
        self._batches += 1
        return result

    def call(self, cut: Cut, trigger: Trigger, batch_id: int, attempt: int) -> pd.DataFrame | None:
        """Return what the steps make of a batch that was cut elsewhere."""
        engine = self.engine
        context = BatchContext(batch_id, attempt, engine.run_id, trigger, cut, engine.feed.event_time)
        return engine.call_steps(cut.rows(), context)

"""When a pipeline's rows arrive, without the rows where that can be known.

sources, run.records -> [arrival_times] -> whatif, tuner
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from mblab.arrivals import Arrivals
from mblab.errors import SettingTypeError, shown
from mblab.runs.run import Run
from mblab.sources.base import Source
from mblab.sources.live.base import refuse_ahead
from mblab.sources.simulate import Simulation
from mblab.timing.durations import NS
from mblab.timing.times import scale_ns, whole_ns
from mblab.tuning.arrays import Ints

__all__ = ["ArrivalTimes", "arrival_times_of", "arrival_times_of_run"]

ROWS_LIMIT: Final = 3_000_000


@dataclass(frozen=True, slots=True)
class ArrivalTimes:
    """Arrivals on a run's clock.

    Attributes:
        arrival_ns: Ascending.
        horizon_ns: Up to when they are known.
        whole: Whether no more rows come after that.
    """

    arrival_ns: Ints
    horizon_ns: int
    whole: bool

    @property
    def rate(self) -> float:
        """Rows a second, on average."""
        return len(self.arrival_ns) / self.horizon_ns * NS if self.horizon_ns else 0.0

    def at_load(self, factor: float) -> ArrivalTimes:
        """Return the same rows coming `factor` times as fast."""
        if factor == 1:
            return self
        return ArrivalTimes(
            np.rint(self.arrival_ns / factor).astype(np.int64), round(self.horizon_ns / factor), self.whole
        )


def arrival_times_of(
    source: Arrivals | Source,
    horizon_ns: int,
    *,
    seed: int = 0,
    speedup: float | None = None,
    within_s: float | None = None,
) -> ArrivalTimes:
    """Return the arrivals with A < horizon.

    Args:
        source: Arrivals, or a source, of which only the arrival times are kept.
        horizon_ns: On the run's clock.
        seed: Of arrivals that are random; a source has its own.
        speedup: Source seconds in one second of the run; None leaves it to the source.
        within_s: Stop reading a source after this many seconds of real time, and know less.
    """
    if isinstance(source, Arrivals):
        return _cut(whole_ns(source.times(horizon_ns / NS, seed)), horizon_ns, not source.endless)
    if not isinstance(source, Source):
        raise SettingTypeError(
            f"predict needs arrivals or a source, got {shown(source, 40)}; "
            "for measured times use mblab.arrivals.trace(times)."
        )
    refuse_ahead(source)
    pace = speedup or source.speedup
    parts: list[Ints] = []
    rows, ended, limit = 0, True, time.perf_counter() + (within_s or 1e9)
    for arrival in _blocks(source, horizon_ns * pace):
        scaled = scale_ns(arrival, 1.0, pace)
        parts.append(scaled)
        rows += len(scaled)
        if len(scaled) and scaled[-1] >= horizon_ns:
            ended = False
            break
        if within_s is not None and (rows > ROWS_LIMIT or time.perf_counter() > limit):
            found = np.concatenate(parts)
            return ArrivalTimes(found, int(found[-1]) + 1 if len(found) else 0, False)
    return _cut(np.concatenate(parts or [np.empty(0, np.int64)]), horizon_ns, ended)


def arrival_times_of_run(run: Run) -> ArrivalTimes:
    """Return when the rows of a run arrived, as far as its records are kept, on a clock that begins with the first.

    What was still waiting at its end arrived too. While it is on, nobody can say when: the trace ends before it.
    """
    rows, standing, waiting = run.summary()["rows"], run.standing, run.waiting
    records = np.rint(run.records.arrival_s.to_numpy() * NS).astype(np.int64)
    since = int(records[0]) if len(records) < rows else 0  # of a long run only the newest records are kept
    arrivals = np.concatenate([records, np.rint(waiting * NS).astype(np.int64)])
    end = round(standing.horizon_s * NS)
    if standing.backlog_rows > len(waiting) and len(arrivals):
        end = int(arrivals[-1]) + 1
    return ArrivalTimes(arrivals - since, end - since, whole=standing.drained)


def _cut(arrivals: Ints, horizon_ns: int, whole: bool) -> ArrivalTimes:
    kept = arrivals[: arrivals.searchsorted(horizon_ns)]
    return ArrivalTimes(kept, horizon_ns, whole and len(kept) == len(arrivals))


def _blocks(source: Source, end_ns: float) -> Iterator[Ints]:
    """Yield arrivals in source time, block by block; a simulation's rows are not made for it."""
    if isinstance(source, Simulation):
        last = min(end_ns / NS * (1 + 1e-9) + 1, source.duration if source.duration is not None else np.inf)
        for times in source.arrivals.blocks(source.seed):
            kept = times[: np.searchsorted(times, last)]
            yield whole_ns(kept)
            if len(kept) < len(times):
                return
        return
    for block in source.open():
        yield block.arrival_ns

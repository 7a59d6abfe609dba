"""A few seconds of trying: batches of many sizes, on real rows, through the real steps, with nothing left behind.

pipeline + rows -> runner, delivery -> [probe] -> cost
"""

from __future__ import annotations

import functools
import gc
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.checks.trial import NO_RUN
from mblab.engine.batch import Planned
from mblab.engine.delivery import DeliverySet
from mblab.engine.feed import Feed
from mblab.engine.invoke import BatchContext
from mblab.engine.pipeline import Pipeline
from mblab.engine.records import record_of
from mblab.engine.runner import StepsRunner
from mblab.engine.watermark import Watermark
from mblab.errors import SettingError
from mblab.sinks.base import Delivery
from mblab.sinks.memory import MemorySink
from mblab.steps.state import StateStore
from mblab.timing.durations import NS
from mblab.timing.schedule import Timetable

try:
    import resource
except ImportError:  # pragma: no cover  not a POSIX system
    resource = None  # type: ignore[assignment]

__all__ = ["Prober", "ladder", "rows_wanted", "wake_lateness_s"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RUNGS = 9
FEW = 3  # probes a rung before any gets more
WARM_CALLS = 6
AHEAD_S, AHEAD_ROWS, REST_S = 0.08, 500_000, 0.05
IDLE_SHARE, IDLE_S = 0.15, 0.03  # some probes come after a rest, as a batch does that waited for its trigger


def wake_lateness_s(times: int = 20) -> tuple[float, float]:
    """Return how late a timed wait wakes on this machine just now, in seconds: mean and standard deviation."""
    late, event = [], threading.Event()
    for _ in range(times):
        begun = time.perf_counter()
        event.wait(0.002)
        late.append(max(0.0, time.perf_counter() - begun - 0.002))
    return float(np.mean(late)), float(np.std(late))


def rows_wanted(arrivals: Ints, low_ns: int, high_ns: int) -> tuple[int, int]:
    """Return the smallest and largest batch worth trying for intervals between two, from when rows arrive.

    The largest is a tenth more than what the busiest `high_ns` brings, bursts included.
    """
    if len(arrivals) < 2:
        return 1, max(1, len(arrivals))
    rate = (len(arrivals) - 1) / max(int(arrivals[-1] - arrivals[0]), 1)
    busiest = int((arrivals.searchsorted(arrivals + high_ns) - np.arange(len(arrivals))).max())
    low = max(1, int(0.4 * rate * low_ns))
    return low, max(low + 1, round(1.1 * busiest))


def ladder(low: int, high: int, rungs: int = RUNGS) -> list[int]:
    """Return batch sizes of equal ratio that cover the range.

    >>> ladder(1, 1000, 4)
    [1, 10, 100, 1000]
    """
    sizes = sorted({round(float(size)) for size in np.geomspace(max(1, low), max(high, low + 1), rungs)})
    assert sizes[0] <= max(1, low), sizes  # a ladder that misses a size predicts nonsense there
    assert sizes[-1] >= high, sizes
    return sizes


class _Collections:
    """Seconds that Python spends on collecting garbage while it is open."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._since = 0.0

    def _note(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._since = time.perf_counter()
        else:
            self.total_s += time.perf_counter() - self._since

    def __enter__(self) -> _Collections:
        gc.callbacks.append(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.callbacks.remove(self._note)


def _switches() -> int:
    """Return how often the processor was taken from this process so far."""
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw) if resource is not None else 0


@dataclass(slots=True)
class _Rung:
    """One size of the ladder."""

    size: int
    count: int = 0
    spent_s: float = 0.0

    @property
    def mean_s(self) -> float:
        return self.spent_s / self.count


class Prober:
    """Tries batches with the steps and sinks of a pipeline, as a run would; a context manager.

    Rows come from the beginning of the source, one slice after the other, and from its beginning again when they run
    out; the state grows from probe to probe as in a run.

    Args:
        pipeline: The recipe.
        states: State to begin with; None begins with an empty one.
        seen_rows: Rows that state has seen.
        effects: Whether sinks that reach outside the process take part.
        seed: Of the jitter in sizes and rests.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        states: StateStore | None = None,
        seen_rows: int = 0,
        effects: bool = False,
        seed: int = 0,
    ) -> None:
        self._steps = tuple(replace(s, fn=self._counting(s.fn)) if s.kind == "keyed" else s for s in pipeline.steps)
        self._pipeline, self._states, self._begin_rows = pipeline, states, seen_rows
        self._trigger = Timetable(pipeline.settings.interval_ns, pipeline.settings.policy).peek()
        self._deliveries = DeliverySet(NO_RUN, MemorySink(10_000), effects=effects)
        self._keyed_calls = 0
        self._ahead = 0  # rows to decode at once: as many as take a moment
        self._rng = np.random.default_rng(seed)
        self._probes: list[tuple[float, ...]] = []
        self._turns: list[float] = []
        self._read_rows, self._read_s = 0, 0.0
        self._longest_s = 0.0
        self._collections = _Collections()
        self.warm_s: list[float] = []
        self.truncated = False
        self.spent_s = 0.0
        self.reached: list[int] = []
        self._begin_again()

    def __enter__(self) -> Prober:
        self._deliveries.open(self._pipeline.sinks)
        self._collections.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._collections.__exit__(kind, error, trace)
        self._feed.close()
        self._deliveries.close()

    def _counting(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return a keyed step's function that counts how often it is called: once a key and batch."""

        @functools.wraps(fn)
        def counted(*roles: Any) -> Any:
            self._keyed_calls += 1
            return fn(*roles)

        return counted

    def _begin_again(self) -> None:
        """Go back to the first row and the state of the beginning."""
        self._rewind()
        self._runner = StepsRunner(self._steps, self._states.copy() if self._states is not None else None)
        self.seen_rows = self._begin_rows

    def _rewind(self) -> None:
        self._feed = Feed(self._pipeline.source, self._pipeline.settings.speedup)
        self._watermark = Watermark()

    def probe(self, rows: int, rest_s: float = 0.0) -> float:
        """Run the next rows as one batch, note it, and return its seconds."""
        begun = time.perf_counter()
        self._decode(rows)
        if not self._feed.held:
            raise SettingError(f"{self._pipeline.source.name} has no rows, so there is nothing to try.")
        if rest_s:
            time.sleep(rest_s)
        collected, calls = self._collections.total_s, self._keyed_calls
        switches, cpu = _switches(), time.process_time()
        started = time.perf_counter()
        planned, output_rows = self._run(rows)
        ended = time.perf_counter()
        record_of(planned, "ok", round((ended - started) * NS), version=1, output_rows=output_rows)
        self._turns.append(time.perf_counter() - ended)
        cpu, switches = time.process_time() - cpu, _switches() - switches
        collected = self._collections.total_s - collected
        taken, took = len(planned.cut.arrival_ns), ended - started
        keys = self._keyed_calls - calls
        self._probes.append((taken, self.seen_rows, took, cpu, collected, switches, rest_s, begun, keys))
        self.seen_rows += taken
        self._longest_s = max(self._longest_s, took)
        self.spent_s += time.perf_counter() - begun
        return took

    def _run(self, rows: int) -> tuple[Planned, int]:
        """Take the next rows through steps and sinks; return them as a batch, and how many rows came out."""
        cut = self._feed.take(min(rows, self._feed.held))
        mark, policy = self._watermark.follow(cut), self._pipeline.settings.policy
        planned = Planned(self.count, self._trigger, cut, policy=policy, mark=mark)
        called = self._runner.call(cut.rows(), BatchContext(self.count, 1, NO_RUN, self._trigger, cut, mark))
        result = called.rows if self._deliveries.adopt(self._pipeline.sinks) else called.result
        if result is None:
            return planned, 0
        try:
            self._deliveries.deliver(result, Delivery(NO_RUN, self.count, input_rows=len(cut.arrival_ns)))
        except BaseException:
            self._runner.undo(called.saved)
            raise
        return planned, len(result)

    @property
    def count(self) -> int:
        """How many probes there are."""
        return len(self._probes)

    @property
    def turn_s(self) -> float:
        """Seconds that the engine needs from one batch to the next, as a median."""
        return float(np.median(self._turns)) if self._turns else 0.0

    @property
    def read_s(self) -> float:
        """Seconds that reading a row took."""
        return self._read_s / self._read_rows if self._read_rows else 0.0

    def _decode(self, rows: int) -> None:
        """Let the feed hold so many rows, from the source's beginning where its end is too near.

        Decoding comes in large portions with a rest after each, as in a run, where it is done while waiting: a process
        that has just computed is woken later by a busy machine, and that would be taken for the step's own time.
        """
        if self._feed.held >= rows:
            return
        begun, before = time.perf_counter(), self._feed.held
        self._feed.hold(max(rows, self._ahead))
        if self._feed.held < rows and self._feed.taken:
            self._rewind()
            before = 0
            self._feed.hold(max(rows, self._ahead))
        took, decoded = time.perf_counter() - begun, self._feed.held - before
        self._read_rows, self._read_s = self._read_rows + decoded, self._read_s + took
        self._ahead = min(AHEAD_ROWS, int(decoded / took * AHEAD_S)) if took > 0 else AHEAD_ROWS
        time.sleep(min(took, REST_S))

    def warm_up(self, rows: int, budget_s: float) -> None:
        """Call the steps until two calls agree within 30 %, and forget it: first calls compile, load and cache."""
        end = self.spent_s + budget_s
        for _ in range(WARM_CALLS):
            self.warm_s.append(self.probe(rows))
            if len(self.warm_s) >= FEW and abs(self.warm_s[-1] / self.warm_s[-2] - 1) < 0.3:
                break
            if self.spent_s >= end:
                break
        self._probes.clear()
        self._begin_again()

    def climb(
        self,
        sizes: Sequence[int],
        budget_s: float,
        tick: Callable[[], None] = lambda: None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Try each size, then spend the rest of the budget where the law is known least, or until there is enough.

        A size that is likely to take more than a quarter of the budget is left out, with all above it.
        """
        end, rungs = self.spent_s + budget_s, list[_Rung]()
        for size in sizes:
            if rungs:
                likely = rungs[-1].mean_s * (size / rungs[-1].size) ** 1.3
                if likely > 0.25 * budget_s or likely > 0.6 * (end - self.spent_s):
                    self.truncated = True
                    break
            rungs.append(_Rung(size, 1, self.probe(size)))
            tick()
        self.reached = [r.size for r in rungs]
        while True:
            left = end - self.spent_s
            open_ = [r for r in rungs if r.mean_s < 0.8 * left]
            if left <= 0.01 or not open_:
                return
            if min(r.count for r in rungs) > 1 and enough():
                return
            rung = self._next_rung(open_)
            size = max(1, round(rung.size * self._rng.uniform(0.85, 1.15)))
            rest = IDLE_S * self._rng.uniform(0.3, 1.7) if self._rng.random() < IDLE_SHARE else 0.0
            rung.spent_s += self.probe(size, min(rest, left / 4))
            rung.count += 1
            tick()

    def _next_rung(self, rungs: list[_Rung]) -> _Rung:
        dear = max(r.mean_s for r in rungs) / 3  # of those two are enough: they would eat the budget
        few = [r for r in rungs if r.count < (FEW if r.mean_s < dear else 2)]
        if few:
            return few[-1] if self._rng.random() < 0.5 else few[int(self._rng.integers(len(few)))]
        worth = [r.count * np.sqrt(r.mean_s) * self._rng.uniform(0.7, 1.3) for r in rungs]
        return rungs[int(np.argmin(worth))]

    def refine(self, sizes: Ints, budget_s: float, tick: Callable[[], None] = lambda: None) -> None:
        """Try sizes drawn from those a candidate interval would bring, until the budget is spent."""
        end = self.spent_s + budget_s
        for _ in range(400):
            if self.spent_s >= end or not len(sizes):
                return
            self.probe(int(max(1, self._rng.choice(sizes))))
            tick()

    def frame(self) -> pd.DataFrame:
        """Return the probes: what `CostModel.fit` takes."""
        names = ["num_input_rows", "seen_rows", "seconds", "cpu_s", "collected_s", "switches", "idle_s", "at_s", "keys"]
        frame = pd.DataFrame(self._probes, columns=names).astype({"num_input_rows": "int64", "seen_rows": "int64"})
        if len(frame):
            frame["at_s"] -= frame["at_s"].iloc[0]
        return frame

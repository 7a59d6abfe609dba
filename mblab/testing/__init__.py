"""A kit for tests, yours and ours: rows at chosen times, a list as sink, claims about sinks and cuts, a clock to move.

[testing] -> your pytest
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mblab.errors import SettingError, shown
from mblab.sinks.base import Delivery, Savepoint
from mblab.sources.base import Block, Position
from mblab.testing.claims import assert_cut_invariant, assert_same_as_batch
from mblab.testing.sink_laws import SINK_LAWS, check_sink
from mblab.timing.durations import NS, Duration, duration_ns
from mblab.timing.times import Times

__all__ = [
    "SINK_LAWS", "ListSink", "ManualClock", "RowsAt", "assert_cut_invariant", "assert_same_as_batch", "check_sink",
    "rows_at",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers


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


def rows_at(times: Sequence[float], **columns: Any) -> RowsAt:
    """Return a source with one row at each time; the times are kept as given, not shifted.

    Args:
        times: Arrivals in seconds of the run's clock, ascending.
        **columns: Values, one a row; without any there is a column `row` = 0, 1, 2, ….

    >>> from mblab import Lab
    >>> run = Lab(rows_at([0.0, 1.0, 2.0]), interval="1s").run("3s", clock="virtual", cost=0)
    >>> list(run.batches.num_input_rows)
    [1, 1, 1]
    """
    arrival = np.rint(np.asarray(times, np.float64) * NS).astype(np.int64)
    if arrival.ndim != 1 or (np.diff(arrival) < 0).any() or (len(arrival) and arrival[0] < 0):
        raise SettingError(f"times must be ascending seconds from 0 on, got {shown(times)}.")
    rows = pd.DataFrame(columns or {"row": np.arange(len(arrival))})
    if len(rows) != len(arrival):
        raise SettingError(f"times has {len(arrival)} values but the columns have {len(rows)}; make them equal.")
    return RowsAt(arrival, rows)


class ListSink:
    """A sink that keeps each batch's rows in a list.

    Attributes:
        batches: (batch_id, rows) in order of delivery.
    """

    target = "list"
    guarantee = "exactly once, within the process"
    effects = False

    def __init__(self) -> None:
        self.batches: list[tuple[int, pd.DataFrame]] = []
        self._last: Delivery | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """All rows so far, in order."""
        return pd.concat([rows for _, rows in self.batches], ignore_index=True) if self.batches else pd.DataFrame()

    def open(self, run_id: str) -> None:  # noqa: ARG002
        """Forget earlier runs."""
        self.batches, self._last = [], None

    def savepoint(self) -> Savepoint | None:
        """Return how many batches there are."""
        return {"batches": len(self.batches)}

    def rollback(self, savepoint: Savepoint | None) -> None:
        """Forget the batches since."""
        del self.batches[int((savepoint or {"batches": 0})["batches"]) :]

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Keep the rows."""
        self.batches.append((delivery.batch_id, rows))
        self._last = delivery

    def last(self) -> Delivery | None:
        """Return the newest delivery."""
        return self._last

    def close(self) -> None:
        """Do nothing."""

    def describe(self) -> str:
        """Return one line for people."""
        return f"list: {len(self.batches)} batches"


class ManualClock:
    """A clock that stands still until a test moves it: `lab.start("5s", clock=clock, cost=0.1)`, then `advance`."""

    virtual = False

    def __init__(self) -> None:
        self._now = 0
        self._moved = threading.Condition()
        self._waiting_for: int | None = None
        self._started = False
        self._frozen = False

    def start(self) -> None:
        """Make now t = 0."""
        with self._moved:
            self._now, self._started, self._frozen = 0, True, False

    def now_ns(self) -> int:
        """Return nanoseconds since the start."""
        return self._now

    def wait_until(self, deadline_ns: int, wake: threading.Event, *, spin: bool = False) -> bool:  # noqa: ARG002
        """Wait for a test to move the clock to the deadline, or for `wake`."""
        with self._moved:
            while self._now < deadline_ns:
                if wake.is_set():
                    return False
                self._waiting_for = deadline_ns
                self._moved.notify_all()
                self._moved.wait(0.005)  # `wake` is set without telling this condition
            self._waiting_for = None
        return not wake.is_set()

    def freeze(self) -> None:
        """Tell a waiting `advance` that the run stands still."""
        with self._moved:
            self._frozen = True
            self._moved.notify_all()

    def thaw(self) -> None:
        """Undo `freeze`."""
        with self._moved:
            self._frozen = False

    def jump(self, to_ns: int) -> None:
        """Move to a later time at once."""
        with self._moved:
            self._now = max(self._now, to_ns)
            self._moved.notify_all()

    def advance(self, by: Duration, timeout_s: float = 30.0) -> None:
        """Move the clock on, and return when the run waits for a later time, stands still or has ended."""
        with self._moved:
            self._now += duration_ns(by, "by")
            self._moved.notify_all()
            self.settle(timeout_s)

    def settle(self, timeout_s: float = 30.0) -> None:
        """Return when the run waits for a later time, stands still or has ended.

        Raises:
            TimeoutError: It did not within `timeout_s` seconds of real time.
        """
        with self._moved:
            done = self._moved.wait_for(
                lambda: self._frozen or (self._waiting_for is not None and self._waiting_for > self._now), timeout_s
            )
        if not done:
            raise TimeoutError(f"the run did not settle at {self._now / NS} s")

"""Results kept in memory: what `run.output` reads.

Delivering is one append; frames are made tidy and put together when somebody looks. A frame takes more room than its
rows, and all of its batch's while it is a view of it, so in a long run the older ones are joined, some at a time.

    engine -> [memory] -> run.output
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.sinks.base import Delivery, Mode, Savepoint
from mblab.sinks.deliveries import is_held
from mblab.steps.results import tidy
from mblab.support.arguments import whole
from mblab.tables.rows import joined_rows, stacked

__all__ = ["MemorySink", "memory"]

LOOSE = 8_192  # of the newest frames stay as they came: joining takes longer than all else a small batch costs
JOINED = 256  # frames at a time
INPUT_ROWS = 2_000_000  # rows of batches that loose frames may keep alive


class _Held(NamedTuple):
    """The rows of one batch, or of several that follow each other.

    Attributes:
        last: The newest of their deliveries.
        batch_ids: One a batch; int64 arrays where there are many.
        counts: Rows of each batch.
        rows: Theirs, in order.
    """

    last: Delivery
    batch_ids: Sequence[int] | npt.NDArray[np.int64]
    counts: Sequence[int] | npt.NDArray[np.int64]
    rows: pd.DataFrame


def memory(limit: int = 1_000_000) -> MemorySink:
    """Return a sink that keeps the newest rows in memory; `.frame()` gives them, `.dropped` counts the others.

    Args:
        limit: How many rows it keeps.

    Raises:
        SettingError: `limit` is no whole number, or below 1.

    >>> import pandas as pd
    >>> sink = memory(limit=2)
    >>> sink.open("0123456789ab")
    >>> sink.deliver(pd.DataFrame({"value": [1, 2, 3]}), Delivery("0123456789ab", batch_id=0))
    >>> sink.frame(), sink.dropped
    (   batch_id  value
     0         0      2
     1         0      3, 1)
    """
    return MemorySink(limit)


class MemorySink:
    """Keeps the newest `limit` rows; safe to read from another thread while it is delivered to.

    Attributes:
        limit: How many rows `frame` gives at most.
    """

    target = "memory"
    guarantee = "exactly once, within the process"
    effects = False
    mode: Mode = "replace"
    path = None
    functions: tuple[Callable[..., object], ...] = ()

    def __init__(self, limit: int = 1_000_000) -> None:
        self.limit = whole(limit, "limit", least=1, of="rows")
        self._clear("")

    def _clear(self, run_id: str) -> None:
        self._run_id = run_id
        self._held: deque[_Held] = deque()
        self._joined = 0  # how many of them, from the oldest on, are joined
        self._input_rows = 0  # of the batches of all others
        self._let_go = 0  # rows of batches that are no longer held
        self._rows = 0  # rows of those that are
        self._batches = 0  # delivered since the run began
        self._last: Delivery | None = None

    @property
    def dropped(self) -> int:
        """Rows delivered in this run that `frame` no longer gives."""
        return self._let_go + max(0, self._rows - self.limit)

    def open(self, run_id: str) -> None:
        """Forget earlier runs; what this run delivered before stays."""
        if run_id != self._run_id:
            self._clear(run_id)

    def savepoint(self) -> Savepoint | None:
        """Return how many batches were delivered."""
        return {"batches": self._batches}

    def rollback(self, savepoint: Savepoint | None) -> None:
        """Forget the batches delivered since."""
        while savepoint is not None and self._batches > savepoint["batches"] and self._held:
            gone = self._held.pop()
            self._rows -= len(gone.rows)
            self._input_rows -= gone.last.input_rows
            self._batches -= 1
        self._last = self._held[-1].last if self._held else None

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Keep the rows, without a copy."""
        last = self._last
        if last is not None and delivery.batch_id <= last.batch_id and is_held(last, delivery, self.target):
            return
        self._held.append(_Held(delivery, [delivery.batch_id], [len(rows)], rows))
        self._last = delivery
        self._batches += 1
        self._rows += len(rows)
        self._input_rows += delivery.input_rows
        while self._rows - len(self._held[0].rows) >= self.limit:
            gone = self._held.popleft()
            self._rows -= len(gone.rows)
            self._let_go += len(gone.rows)
            if self._joined:
                self._joined -= 1
            else:
                self._input_rows -= gone.last.input_rows
        loose = len(self._held) - self._joined
        if loose >= LOOSE + JOINED:
            self._join(JOINED)
        elif self._input_rows > INPUT_ROWS and loose > 1:
            self._join(min(loose // 2, JOINED))

    def _join(self, count: int) -> None:
        """Join the oldest frames that are still as they came."""
        held = list(self._held)
        done, chosen, newer = held[: self._joined], held[self._joined :][:count], held[self._joined + count :]
        joined = _Held(
            chosen[-1].last,
            np.concatenate([h.batch_ids for h in chosen]),
            np.concatenate([h.counts for h in chosen]),
            _as_one([tidy(h.rows) for h in chosen]),
        )
        self._held = deque([*done, joined, *newer])  # at once: somebody may be reading the old one
        self._joined += 1
        self._input_rows -= sum(h.last.input_rows for h in chosen)

    def last(self) -> Delivery | None:
        """Return the newest delivery of this run."""
        return self._last

    def close(self) -> None:
        """Do nothing: the rows stay readable."""

    def frame(self) -> pd.DataFrame:
        """Return the newest `limit` rows in batch order, with a RangeIndex.

        `batch_id` (int64) comes first; a column of that name in the rows themselves becomes `batch_id.1`.
        """
        held = list(self._held)  # one C call: no delivery can come between
        if not held:
            return pd.DataFrame({"batch_id": np.empty(0, np.int64)})
        rows = stacked([tidy(h.rows) for h in held])
        if "batch_id" in rows.columns:
            rows = rows.rename(columns={"batch_id": "batch_id.1"})
        ids = np.concatenate([h.batch_ids for h in held])
        counts = np.concatenate([h.counts for h in held])
        rows.insert(0, "batch_id", np.repeat(ids, counts))
        return rows.tail(self.limit).reset_index(drop=True)

    def describe(self) -> str:
        """Return one line for people: kind, mode, guarantee."""
        return f"memory: the last {self.limit:,} rows, {self.mode}, {self.guarantee}"

    def code(self, output: str | None = None) -> str:  # noqa: ARG002 - it writes to no path
        """Return the expression that makes this sink again."""
        return f"mblab.sinks.memory(limit={self.limit})"

    def __repr__(self) -> str:
        return self.code()


def _as_one(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return frames as one that holds nothing but its own rows: joined, texts would still be slices of the batches."""
    rows = joined_rows(frames).copy()
    for column, dtype in enumerate(rows.dtypes):
        if isinstance(dtype, pd.api.extensions.ExtensionDtype):
            rows.isetitem(column, rows.iloc[:, column].array.take(np.arange(len(rows))))
    return rows

"""Results kept in memory: what `run.output` reads.

Delivering is one append; frames are put together when somebody looks.

    engine -> [memory] -> run.output
"""

from __future__ import annotations

from collections import deque

import numpy as np
import pandas as pd

from mblab.errors import SettingError, SettingTypeError, shown
from mblab.sinks.base import Delivery, Mode, Savepoint
from mblab.sinks.files import is_held

__all__ = ["MemorySink"]


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

    def __init__(self, limit: int = 1_000_000) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise SettingTypeError(f"limit must be a whole number of rows, got {shown(limit)}.")
        if limit < 1:
            raise SettingError(f"limit must be at least 1 row, got {limit}.")
        self.limit = limit
        self._clear("")

    def _clear(self, run_id: str) -> None:
        self._run_id = run_id
        self._held: deque[tuple[Delivery, pd.DataFrame, int]] = deque()
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
            self._rows -= self._held.pop()[2]
            self._batches -= 1
        self._last = self._held[-1][0] if self._held else None

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Keep the rows as they are, without a copy."""
        last = self._last
        if last is not None and delivery.batch_id <= last.batch_id and is_held(last, delivery, self.target):
            return
        count = len(rows)
        self._held.append((delivery, rows, count))
        self._last = delivery
        self._batches += 1
        self._rows += count
        while self._rows - self._held[0][2] >= self.limit:
            count = self._held.popleft()[2]
            self._rows -= count
            self._let_go += count

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
        rows = pd.concat([r for _, r, _ in held], ignore_index=True)
        if "batch_id" in rows.columns:
            rows = rows.rename(columns={"batch_id": "batch_id.1"})
        rows.insert(0, "batch_id", np.repeat([d.batch_id for d, _, _ in held], [n for _, _, n in held]))
        return rows.tail(self.limit).reset_index(drop=True)

    def describe(self) -> str:
        """Return one line for people: kind, mode, guarantee."""
        return f"memory: the last {self.limit:,} rows, {self.mode}, {self.guarantee}"

    def code(self, output: str | None = None) -> str:  # noqa: ARG002 - it writes to no path
        """Return the expression that makes this sink again."""
        return f"mblab.sinks.memory(limit={self.limit})"

    def __repr__(self) -> str:
        return self.code()

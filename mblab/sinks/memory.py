"""Results kept in memory: what `run.output` reads.

    engine -> [memory] -> run.output
"""

from __future__ import annotations

from collections import deque

import pandas as pd

from mblab.sinks.base import Delivery, Savepoint

__all__ = ["MemorySink"]


class MemorySink:
    """Keeps the newest `limit` rows."""

    target = "memory"
    guarantee = "exactly once, within the process"
    effects = False

    def __init__(self, limit: int = 1_000_000) -> None:
        self.limit = limit
        self.dropped = 0
        self._held: deque[tuple[int, pd.DataFrame]] = deque()
        self._rows = 0
        self._last: Delivery | None = None

    def open(self, run_id: str) -> None:
        self._held.clear()

    def savepoint(self) -> Savepoint | None:
        return None

    def rollback(self, savepoint: Savepoint | None) -> None:
        pass

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        self._held.append((delivery.batch_id, rows))
        self._rows += len(rows)

    def last(self) -> Delivery | None:
        return self._last

    def close(self) -> None:
        pass

    def describe(self) -> str:
        return "memory"

    def frame(self) -> pd.DataFrame:
        frames = []
        for batch_id, rows in list(self._held):
            f = rows.copy(deep=False)
            f.insert(0, "batch_id", batch_id)
            frames.append(f)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"batch_id": pd.Series(dtype="int64")})

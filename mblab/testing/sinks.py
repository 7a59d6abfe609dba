"""A sink for tests: each batch's rows in a list.

engine -> [sinks] -> a list
"""

from __future__ import annotations

import pandas as pd

from mblab.sinks.base import Delivery, Savepoint

__all__ = ["ListSink"]


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

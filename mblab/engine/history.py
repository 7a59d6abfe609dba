"""What a run can still do again: the newest batches with their rows, the state they found, and what came of them.

Nothing is copied for it: rows stay where they were decoded, and the snapshot of a step's state that is taken before it
is called is kept instead of dropped. Memory is bounded three ways, by batches, rows and the bytes of the snapshots.

    engine -> [history] -> checks
"""

from __future__ import annotations

import time
from collections import deque
from typing import Final, NamedTuple

import pandas as pd

from mblab.engine.batch import Planned
from mblab.engine.feed import Cut
from mblab.engine.invoke import Saved
from mblab.engine.watermark import Mark
from mblab.steps.results import tidy
from mblab.steps.state import State, StateStore, size_bytes
from mblab.timing.schedule import Trigger

__all__ = ["History", "Remembered"]

ROWS_LIMIT: Final = 1_000_000
BYTES_LIMIT: Final = 256_000_000
LARGE_BYTES: Final = 1_000_000  # snapshots of this size are weighed one by one, smaller ones once a second


class Remembered(NamedTuple):
    """One batch as it was.

    Attributes:
        batch_id: Its number.
        attempt: Which try it was.
        trigger: When it was due and started.
        cut: Its rows.
        mark: Where the watermark stood before it.
        saved: (step, snapshot of its state before the batch); of a keyed step key → state, None for a new key.
        result: What the last step gave, None for no rows.
    """

    batch_id: int
    attempt: int
    trigger: Trigger
    cut: Cut
    mark: Mark
    saved: Saved
    result: pd.DataFrame | None

    @classmethod
    def of(cls, planned: Planned, saved: Saved, result: pd.DataFrame | None) -> Remembered:
        """Return what is kept of a batch."""
        return cls(planned.batch_id, planned.attempts, planned.trigger, planned.cut, planned.mark, saved, result)

    @property
    def states(self) -> dict[str, State]:
        """A copy of what the steps that were called remembered before it, by their names."""
        return {step.name: StateStore.copied(step, state) for step, state in self.saved}

    @property
    def output(self) -> pd.DataFrame | None:
        """The rows that were delivered, None for no rows."""
        return None if self.result is None else tidy(self.result)


class History:
    """The newest batches of a run; written by the thread that turns the engine, read by any.

    Args:
        batches: How many are kept at most; 0 keeps none.
    """

    def __init__(self, batches: int) -> None:
        self._most = batches
        self._held: deque[tuple[Remembered, int, int]] = deque()  # (batch, its rows, bytes of its snapshots)
        self._rows = 0
        self._bytes = 0
        self._each = 0
        self._weigh_s = 0.0

    def keep(self, batch: Remembered) -> None:
        """Take the newest batch, and let go of what exceeds the bounds; the newest always stays."""
        if self._most == 0:
            return
        now, held, rows = time.monotonic(), self._held, len(batch.cut.arrival_ns)
        if now >= self._weigh_s or self._each >= LARGE_BYTES:
            self._each, self._weigh_s = sum(size_bytes(state) for _, state in batch.saved), now + 1.0
        held.append((batch, rows, self._each))
        all_rows, all_bytes, count = self._rows + rows, self._bytes + self._each, len(held)
        while count > 1 and (count > self._most or all_rows > ROWS_LIMIT or all_bytes > BYTES_LIMIT):
            _, rows, size = held.popleft()
            all_rows, all_bytes, count = all_rows - rows, all_bytes - size, count - 1
        self._rows, self._bytes = all_rows, all_bytes

    def find(self, batch_id: int) -> Remembered | None:
        """Return a batch, or None when it is not kept (an empty one never is)."""
        return next((batch for batch, _, _ in reversed(list(self._held)) if batch.batch_id == batch_id), None)

    @property
    def batches(self) -> list[Remembered]:
        """The batches that are kept, oldest first."""
        return [batch for batch, _, _ in list(self._held)]

    @property
    def ids(self) -> list[int]:
        """Numbers of the batches that are kept, oldest first."""
        return [batch.batch_id for batch in self.batches]

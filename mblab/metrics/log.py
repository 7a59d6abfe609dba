"""What a run has noted so far, in bounded memory.

The engine notes records; they are kept as columns, a few hundred batches at a time, and computed with when somebody
asks. Held are the last `batches_limit` batches, and the last million records whether their batches are held or not; of
the rows before them only their latencies, for exact quantiles of up to five million; of all before those a count in log
buckets (under 1 % off).

    batches -> [log] -> summary, run
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from mblab.engine import forks
from mblab.engine.records import BatchRecord
from mblab.metrics.batches import BATCH_COLUMNS, Chunk, Columns, batch_frame, chunk_alike, chunk_of
from mblab.metrics.quantiles import Floats, Ints, LogBuckets
from mblab.metrics.summary import Totals, totals_between
from mblab.metrics.waits import Rows
from mblab.tables.values import as_python
from mblab.timing.durations import NS

__all__ = ["EXACT_LIMIT", "RECORD_COLUMNS", "RunLog"]

CHUNK_BATCHES = 256
CHUNK_ROWS = 1_048_576
RECORDS_LIMIT = 1_000_000
EXACT_LIMIT = 5_000_000

RECORD_COLUMNS: Final = (
    "batch_id", "arrival_s", "batching_wait_s", "scheduling_wait_s", "backlog_wait_s", "processing_wait_s", "latency_s",
)  # fmt: skip


class _View(NamedTuple):
    """All that is held at one moment.

    Attributes:
        chunks: The batches that are kept, oldest first, with their rows as far as these are.
        loose: Rows of batches before them, of which only the numbers are left.
        older: Latencies in ns of rows before those.
        sketch: Of the latencies of all rows before those, or None.
        totals: Of the whole run.
    """

    chunks: list[Chunk]
    loose: list[Chunk]
    older: list[Ints]
    sketch: LogBuckets | None
    totals: Totals

    @property
    def rows(self) -> list[Rows]:
        """All rows that are held as records, oldest first."""
        return [c.rows for c in (*self.loose, *self.chunks) if c.rows is not None]


class RunLog:
    """What a run has noted so far; written by one thread, read by any.

    Args:
        batches_limit: How many of the newest batches are kept.
    """

    def __init__(self, batches_limit: int = 100_000) -> None:
        self._limit = batches_limit
        self._renew()
        forks.in_child(self, RunLog._renew)
        self._fresh: list[BatchRecord] = []
        self._fresh_rows = 0
        self._chunks: deque[Chunk] = deque()
        self._batches = 0
        self._rows = 0  # whose latencies are held
        self._records = 0  # those of them that are held as records
        self._last_start_ns = 0
        self._totals = Totals()
        self._sketch: LogBuckets | None = None  # of the rows that were let go
        self._loose: deque[Chunk] = deque()  # rows of batches that were let go, of which only the numbers are left
        self._older: deque[Ints] = deque()  # latencies in ns of rows before those

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def note(self, record: BatchRecord) -> None:
        """Take a record; costs a list append, and every few hundred batches their columns."""
        with self._lock:
            self._fresh.append(record)
            self._fresh_rows += record.num_input_rows
            if len(self._fresh) >= CHUNK_BATCHES or self._fresh_rows >= CHUNK_ROWS:
                self._settle()

    def note_alike(self, first: BatchRecord, count: int) -> None:
        """Take the records of many batches without rows, each an interval after the one before, of which none cost.

        Args:
            first: The first of them; it is not the first of the run.
            count: How many they are; only the newest are held.
        """
        with self._lock:
            if self._fresh:
                self._settle()
            chunk = chunk_alike(first, count, min(count, self._limit), self._last_start_ns)
            self._last_start_ns = first.start_ns + (count - 1) * first.interval_ns
            self._totals.add_alike(count, first.interval_ns / NS)
            self._keep(chunk)

    def _settle(self) -> None:
        chunk = chunk_of(self._fresh, self._last_start_ns)
        self._last_start_ns = self._fresh[-1].start_ns
        self._fresh, self._fresh_rows = [], 0
        self._totals.add(chunk.columns)
        self._keep(chunk)

    def _keep(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self._batches += len(chunk)
        self._rows += chunk.row_count
        self._records += chunk.row_count
        while self._batches - len(self._chunks[0]) >= self._limit and len(self._chunks) > 1:
            gone = self._chunks.popleft()
            self._batches -= len(gone)
            if gone.row_count:
                self._loose.append(Chunk({"batch_id": gone.columns["batch_id"]}, gone.rows))
        while self._loose and self._records - self._loose[0].row_count >= RECORDS_LIMIT:
            self._older.append(self._oldest_records())
        while self._rows > EXACT_LIMIT:
            oldest = self._older.popleft() if self._older else self._oldest_records()
            self._rows -= len(oldest)
            self._sketch = self._sketch or LogBuckets()
            self._sketch.add(oldest / NS)

    def _oldest_records(self) -> Ints:
        """Let go of the oldest records that are held, and return their latencies in ns."""
        chunk = self._loose.popleft() if self._loose else next(c for c in self._chunks if c.rows is not None)
        rows, chunk.rows = chunk.rows, None
        assert rows is not None
        self._records -= len(rows)
        return rows.latencies_ns()

    def _view(self, last: BatchRecord | None) -> _View:
        """Return all there is; what is not settled yet, and the batch that failed, if one did, is one chunk more."""
        with self._lock:
            chunks, loose = ([Chunk(c.columns, c.rows) for c in held] for held in (self._chunks, self._loose))
            older = list(self._older)
            fresh, start = list(self._fresh), self._last_start_ns
            totals, sketch = Totals(**{f: getattr(self._totals, f) for f in Totals.__slots__}), None
            if self._sketch is not None:
                sketch = LogBuckets()
                sketch.counts += self._sketch.counts
        if last is not None:
            fresh.append(last)
        if fresh:
            chunk = chunk_of(fresh, start)
            totals.add(chunk.columns)
            chunks.append(chunk)
        return _View(chunks, loose, older, sketch, totals)

    def batches(self, last: BatchRecord | None = None) -> pd.DataFrame:
        """Return one row a batch, the newest `batches_limit`; `last` is a batch that failed and is still planned."""
        return batch_frame(self._view(last).chunks).iloc[-self._limit :].reset_index(drop=True)

    def records(self) -> pd.DataFrame:
        """Return one row a processed record, the newest million, in order of arrival."""
        view = self._view(None)
        parts: list[dict[str, Any]] = []
        count = 0
        for chunk in reversed([*view.loose, *view.chunks]):
            if chunk.rows is None or count >= RECORDS_LIMIT:
                break
            waits = chunk.rows.waits_ns()
            part: dict[str, Any] = {"batch_id": chunk.columns["batch_id"][chunk.rows.index]}
            parts.insert(0, part | {name: waits[name] / NS for name in RECORD_COLUMNS[1:]})
            count += chunk.row_count
        empty: dict[str, Any] = {"batch_id": np.empty(0, np.int64)} | {n: np.empty(0) for n in RECORD_COLUMNS[1:]}
        joined = {name: np.concatenate([p[name] for p in parts] or [empty[name]]) for name in RECORD_COLUMNS}
        return pd.DataFrame(joined).iloc[-RECORDS_LIMIT:].reset_index(drop=True)

    def last(self) -> dict[str, Any] | None:
        """Return the newest batch as a dict of `run.batches`' columns, or None."""
        with self._lock:
            fresh = self._fresh[-2:]
            chunk = self._chunks[-1] if self._chunks else None
            start = fresh[0].start_ns if len(fresh) == 2 else self._last_start_ns
        if fresh:
            chunk = chunk_of(fresh[-1:], start)
        if chunk is None:
            return None
        return {name: as_python(chunk.columns[name][-1]) for name in BATCH_COLUMNS}

    def after(self, batch_id: int, last: BatchRecord | None = None) -> Columns:
        """Return the columns of the batches behind one, oldest first; costs by their number, not by the run's length.

        Args:
            batch_id: The newest batch that is known already; -1 returns all that are kept.
            last: A batch that failed and is still planned.
        """
        with self._lock:
            chunks = [c for c in self._chunks if c.columns["batch_id"][-1] > batch_id]
            fresh = list(self._fresh)
            skip = next((i for i, r in enumerate(fresh) if r.batch_id > batch_id), len(fresh))
            start = fresh[skip - 1].start_ns if skip else self._last_start_ns
        rest = [*fresh[skip:], *([last] if last is not None and last.batch_id > batch_id else [])]
        parts = [c.columns for c in chunks] + ([chunk_of(rest, start).columns] if rest else [])
        columns = {name: np.concatenate([p[name] for p in parts] or [np.empty(0)]) for name in BATCH_COLUMNS}
        first = int(np.searchsorted(columns["batch_id"], batch_id, side="right"))
        return {name: values[first:] for name, values in columns.items()}

    def share_over(self, latency_ns: int) -> float:
        """Return the share of the held records that took longer; NaN when there are none."""
        view = self._view(None)
        over, total = sum(int((each > latency_ns).sum()) for each in view.older), sum(map(len, view.older))
        for rows in view.rows:
            over, total = over + rows.count_over(latency_ns), total + len(rows)
        return over / total if total else float("nan")

    def summary_parts(
        self, from_s: float | None, to_s: float | None, last: BatchRecord | None = None
    ) -> tuple[pd.DataFrame, Totals, Floats, LogBuckets | None]:
        """Return (batches, totals, latencies in s, sketch of those let go) of the batches with from ≤ start < to."""
        view = self._view(last)
        latencies = [np.empty(0)]
        if from_s is None and to_s is None:
            latencies += [each / NS for each in (*view.older, *(rows.latencies_ns() for rows in view.rows))]
            return batch_frame(view.chunks), view.totals, np.concatenate(latencies), view.sketch
        low, high = -np.inf if from_s is None else from_s, np.inf if to_s is None else to_s
        for chunk in view.chunks:
            start = chunk.columns["start_s"]
            if chunk.rows is not None:
                inside = (start >= low) & (start < high)
                latencies.append(chunk.rows.latencies_ns()[inside[chunk.rows.index]] / NS)
        frame = batch_frame(view.chunks)
        frame, some = totals_between(frame, low, high)
        return frame, some, np.concatenate(latencies), None

"""Facts become frames: waits, quantiles, rates, the summary and its regime.

The engine notes records; this room keeps them as columns, a few hundred batches at a time, and computes what they mean
when somebody asks. Memory is bounded: the last `batches_limit` batches, the last million records, exact quantiles up to
five million records and log buckets (under 1 % off) beyond.

    records -> [metrics] -> charts, run
"""

from __future__ import annotations

import operator
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.durations import NS
from mblab.records import BatchRecord

__all__ = ["BATCH_COLUMNS", "RECORD_COLUMNS", "LogBuckets", "RunLog", "regime", "summarise"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CHUNK_BATCHES = 256
CHUNK_ROWS = 1_048_576
RECORDS_LIMIT = 1_000_000
EXACT_LIMIT = 5_000_000

BATCH_COLUMNS: Final = (
    "batch_id", "attempt", "status", "interval_s", "policy", "version", "due_s", "start_s", "wake_delay_s", "end_s",
    "num_input_rows", "num_output_rows", "backlog_rows", "scheduling_delay_s", "processing_time_s", "sink_time_s",
    "commit_time_s", "batch_duration_s", "latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s",
    "latency_max_s", "batching_wait_s", "scheduling_wait_s", "backlog_wait_s", "freshness_s", "input_rows_per_second",
    "processed_rows_per_second", "load", "cpu_time_s", "state_bytes", "error",
)  # fmt: skip
RECORD_COLUMNS: Final = (
    "batch_id", "arrival_s", "batching_wait_s", "scheduling_wait_s", "backlog_wait_s", "processing_wait_s", "latency_s",
)  # fmt: skip
TEXTS: Final = ("status", "policy", "error")
INTEGERS: Final = ("batch_id", "attempt", "version", "num_input_rows", "num_output_rows", "backlog_rows")


class LogBuckets:
    """Counts of positive values in buckets of equal ratio: quantiles of any number of values, under 1 % off.

    >>> buckets = LogBuckets()
    >>> buckets.add(np.linspace(1, 2, 1001))
    >>> abs(buckets.quantile(0.5) / 1.5 - 1) < 0.01
    True
    """

    lowest = 1e-9
    per_octave = 64

    def __init__(self) -> None:
        self.counts: Ints = np.zeros(64 * self.per_octave, np.int64)

    def add(self, values: Floats) -> None:
        """Count some values."""
        level = np.log2(np.maximum(values, self.lowest) / self.lowest) * self.per_octave
        index = np.minimum(level.astype(np.int64), len(self.counts) - 1)
        self.counts += np.bincount(index, minlength=len(self.counts))

    def quantile(self, q: float) -> float:
        """Return the middle of the bucket that holds the q-quantile; NaN when empty."""
        below = np.cumsum(self.counts)
        if not below[-1]:
            return float("nan")
        index = int(np.searchsorted(below, q * (below[-1] - 1), side="right"))
        return float(self.lowest * 2.0 ** ((index + 0.5) / self.per_octave))


@dataclass(frozen=True, slots=True)
class _Rows:
    """The delivered rows of some consecutive batches, in parts that became available at the same batch.

    A batch is one part, unless a cap left some of its rows waiting at earlier batches. Only arrivals are kept a row:
    waits are made when somebody asks for them.

    Attributes:
        arrival_ns: One a row, never decreasing.
        batch: Index of each part's batch within the chunk.
        count: Rows of each part.
        due_ns: When the batch was due at which the part became available.
        first_ns: When that batch started.
        start_ns: When the part's own batch started.
        end_ns: When it ended.
    """

    arrival_ns: Ints
    batch: Ints
    count: Ints
    due_ns: Ints
    first_ns: Ints
    start_ns: Ints
    end_ns: Ints

    def __len__(self) -> int:
        return len(self.arrival_ns)

    @property
    def index(self) -> Ints:
        """Each row's batch within the chunk."""
        return np.repeat(self.batch, self.count)

    def latencies_ns(self) -> Ints:
        """Return end - arrival of each row."""
        return np.repeat(self.end_ns, self.count) - self.arrival_ns

    def waits_ns(self) -> dict[str, Ints]:
        """Return the columns of `run.records` but the batch's; the four waits sum to the latency."""
        arrival, due, first, start, end = (
            self.arrival_ns,
            *(np.repeat(each, self.count) for each in (self.due_ns, self.first_ns, self.start_ns, self.end_ns)),
        )
        return {
            "arrival_s": arrival,
            "batching_wait_s": np.maximum(due - arrival, 0),
            "scheduling_wait_s": first - np.maximum(due, arrival),
            "backlog_wait_s": start - first,
            "processing_wait_s": end - start,
            "latency_s": end - arrival,
        }

    def sums_ns(self, batches: int) -> dict[str, Floats]:
        """Return each batch's sum of latency, batching, scheduling and backlog wait.

        Arrivals are sorted, so a part falls into the rows before its due time and those after, and every sum follows
        from the two sums of their ages.
        """
        high = np.cumsum(self.count)
        low = high - self.count
        split = np.clip(self.arrival_ns.searchsorted(self.due_ns), low, high)
        early, late = split - low, high - split
        edges = np.column_stack([low, split, high])
        ages = _sums_of_ages(self.arrival_ns, edges[:, :2].ravel(), edges[:, 1:].ravel(), np.repeat(self.start_ns, 2))
        early_age, late_age = ages[::2], ages[1::2]
        due, first, start, end = self.due_ns, self.first_ns, self.start_ns, self.end_ns
        sums = {
            "latency": early_age + late_age + self.count * (end - start).astype(np.float64),
            "batching": early_age - early * (start - due).astype(np.float64),
            "scheduling": early * (first - due).astype(np.float64)
            + late_age
            - late * (start - first).astype(np.float64),
            "backlog": self.count * (start - first).astype(np.float64),
        }
        return {
            name: np.asarray(np.bincount(self.batch, weights=each, minlength=batches), np.float64)
            for name, each in sums.items()
        }


@dataclass(slots=True)
class _Chunk:
    """Some consecutive batches, and their rows until these are let go.

    Attributes:
        columns: One array a column of `run.batches`.
        rows: Their rows; None once let go.
    """

    columns: dict[str, Any]
    rows: _Rows | None

    def __len__(self) -> int:
        return len(self.columns["batch_id"])

    @property
    def row_count(self) -> int:
        return 0 if self.rows is None else len(self.rows)


@dataclass(slots=True)
class Totals:
    """Sums over all batches of a run, those that are no longer kept included."""

    batches: int = 0
    empty: int = 0
    rows: int = 0
    latency_sum_s: float = 0.0
    latency_max_s: float = float("nan")
    scheduling_sum_s: float = 0.0
    processing_sum_s: float = 0.0
    duration_sum_s: float = 0.0
    interval_sum_s: float = 0.0
    staleness_max_s: float = float("nan")
    last_delivery_s: float = float("nan")

    def add(self, columns: Mapping[str, Any]) -> None:
        """Add some batches, in order."""
        ran = np.isin(columns["status"], ("ok", "retried"))
        rows = columns["num_input_rows"]
        full = ran & (rows > 0)
        self.batches += len(rows)
        self.empty += int((columns["status"] == "empty").sum())
        self.rows += int(rows[full].sum())
        self.latency_sum_s += float((columns["latency_mean_s"][full] * rows[full]).sum())
        self.scheduling_sum_s += float(columns["scheduling_delay_s"].sum())
        self.processing_sum_s += float(columns["processing_time_s"][full].sum())
        self.duration_sum_s += float(columns["batch_duration_s"].sum())
        self.interval_sum_s += float(columns["interval_s"].sum())
        if full.any():
            self.latency_max_s = float(np.fmax(self.latency_max_s, columns["latency_max_s"][full].max()))
            ends = np.concatenate([[self.last_delivery_s], columns["end_s"][full]])
            gaps = np.diff(ends)
            gaps = gaps[~np.isnan(gaps)]
            if len(gaps):
                self.staleness_max_s = float(np.fmax(self.staleness_max_s, gaps.max()))
            self.last_delivery_s = float(ends[-1])


STAMPS: Final = (
    "batch_id", "attempt", "interval_ns", "version", "due_ns", "start_ns", "wake_ns", "end_ns", "num_input_rows",
    "num_output_rows", "backlog_rows", "processing_ns", "sink_ns", "commit_ns", "cpu_ns",
)  # fmt: skip
_stamps = operator.attrgetter(*STAMPS)


def _sums_of_ages(arrival: Ints, low: Ints, high: Ints, start: Ints) -> Floats:
    """Return the sum of start − arrival over the rows from low to high of each part.

    One pass over the rows as they are, in integers: a sum of arrivals may wrap around, that of their ages comes out
    right all the same unless it is itself beyond 64 bits, and then it is taken row by row.
    """
    count = high - low
    some = np.flatnonzero(count)
    ages = np.zeros(len(count))
    if len(some):
        edges = np.column_stack([low[some], high[some]]).ravel()
        within = edges[:-1] if edges[-1] == len(arrival) else edges  # reduceat sums the last part to the end by itself
        sums = np.add.reduceat(arrival, within)[::2]
        ages[some] = count[some] * start[some] - sums
        for i in some[count[some] * (start[some] - arrival[low[some]]).astype(np.float64) > 2.0**62]:
            ages[i] = (start[i] - arrival[low[i] : high[i]]).sum(dtype=np.float64)
    return ages


def _rows_of(records: Sequence[BatchRecord], stamps: Mapping[str, Ints], full: npt.NDArray[np.bool_]) -> _Rows:
    """Return the rows of those batches that delivered any."""
    batch = np.flatnonzero(full)
    due, first, count = stamps["due_ns"][batch], stamps["start_ns"][batch], stamps["num_input_rows"][batch]
    if any(r.groups for r in records):
        parts = [
            (i, *part)
            for i in batch.tolist()
            for part in records[i].groups or [(records[i].num_input_rows, records[i].due_ns, records[i].start_ns)]
        ]
        batch, count, due, first = np.array(parts, np.int64).reshape(-1, 4).T
    arrivals = [r.arrival_ns for r, wanted in zip(records, full, strict=True) if wanted and r.arrival_ns is not None]
    arrival: Ints = np.concatenate(arrivals or [np.empty(0, np.int64)])
    return _Rows(arrival, batch, count, due, first, stamps["start_ns"][batch], stamps["end_ns"][batch])


def _quantiles(arrival: Ints, count: Ints, end: Ints, q: float) -> Floats:
    """Return each batch's latency quantile in ns: rows are in order of arrival, so latencies are sorted already."""
    if not len(arrival):
        return np.full(len(count), np.nan)
    above = np.maximum(count - 1, 0)
    height = above * q
    low = height.astype(np.int64)
    high = np.minimum(low + 1, above)
    newest = np.minimum(np.cumsum(count) - count + above, len(arrival) - 1)
    small = (end - arrival[newest - low]).astype(np.float64)
    large = (end - arrival[newest - high]).astype(np.float64)
    between: Floats = small + (height - low) * (large - small)
    return between


def _chunk_of(records: Sequence[BatchRecord], previous_start_ns: int) -> _Chunk:
    """Turn records into columns; `previous_start_ns` is the start of the batch before them, 0 before the first."""
    ns = dict(zip(STAMPS, np.array([_stamps(r) for r in records], np.int64).T.copy(), strict=True))
    count, start, end = ns["num_input_rows"], ns["start_ns"], ns["end_ns"]
    status = np.array([r.status for r in records], dtype=object)
    full = (count > 0) & (status != "failed")  # a failed batch delivered nothing: its rows have no latency
    rows = _rows_of(records, ns, full)
    sums = rows.sums_ns(len(records))
    delivered = np.where(full, count, 0)
    duration = end - start
    gap = np.diff(np.concatenate([[previous_start_ns], start]))

    def latency(values: Floats) -> Floats:
        return np.where(full, values, np.nan) / NS

    def mean(name: str) -> Floats:
        return latency(sums[name] / count)

    def quantile(q: float) -> Floats:
        return latency(_quantiles(rows.arrival_ns, delivered, end, q))

    with np.errstate(invalid="ignore", divide="ignore"):
        columns: dict[str, Any] = {
            "batch_id": ns["batch_id"],
            "attempt": ns["attempt"],
            "status": status,
            "interval_s": ns["interval_ns"] / NS,
            "policy": np.array([r.policy for r in records], dtype=object),
            "version": ns["version"],
            "due_s": ns["due_ns"] / NS,
            "start_s": start / NS,
            "wake_delay_s": ns["wake_ns"] / NS,
            "end_s": end / NS,
            "num_input_rows": count,
            "num_output_rows": ns["num_output_rows"],
            "backlog_rows": ns["backlog_rows"],
            "scheduling_delay_s": (start - ns["due_ns"]) / NS,
            "processing_time_s": ns["processing_ns"] / NS,
            "sink_time_s": ns["sink_ns"] / NS,
            "commit_time_s": ns["commit_ns"] / NS,
            "batch_duration_s": duration / NS,
            "latency_mean_s": mean("latency"),
            "latency_p50_s": quantile(0.50),
            "latency_p95_s": quantile(0.95),
            "latency_p99_s": quantile(0.99),
            "latency_max_s": quantile(1.0),
            "batching_wait_s": mean("batching"),
            "scheduling_wait_s": mean("scheduling"),
            "backlog_wait_s": mean("backlog"),
            "freshness_s": quantile(0.0),
            "input_rows_per_second": np.where(gap > 0, count / np.maximum(gap, 1) * NS, np.nan),
            "processed_rows_per_second": np.where(count > 0, count / (duration / NS), np.nan),
            "load": duration / ns["interval_ns"],
            "cpu_time_s": ns["cpu_ns"] / NS,
            "state_bytes": np.array([np.nan if r.state_bytes is None else r.state_bytes for r in records]),
            "error": np.array([r.error for r in records], dtype=object),
        }
    return _Chunk(columns, rows)


class RunLog:
    """What a run has noted so far; written by one thread, read by any.

    Args:
        batches_limit: How many of the newest batches are kept.
    """

    def __init__(self, batches_limit: int = 100_000) -> None:
        self._limit = batches_limit
        self._lock = threading.Lock()
        self._fresh: list[BatchRecord] = []
        self._fresh_rows = 0
        self._chunks: deque[_Chunk] = deque()
        self._batches = 0
        self._rows = 0
        self._last_start_ns = 0
        self._totals = Totals()
        self._sketch: LogBuckets | None = None  # of the rows that were let go
        self._older: deque[_Rows] = deque()  # rows of batches that were let go themselves

    def note(self, record: BatchRecord) -> None:
        """Take a record; costs a list append, and every few hundred batches their columns."""
        with self._lock:
            self._fresh.append(record)
            self._fresh_rows += record.num_input_rows
            if len(self._fresh) >= CHUNK_BATCHES or self._fresh_rows >= CHUNK_ROWS:
                self._settle()

    def _settle(self) -> None:
        chunk = _chunk_of(self._fresh, self._last_start_ns)
        self._last_start_ns = self._fresh[-1].start_ns
        self._fresh, self._fresh_rows = [], 0
        self._totals.add(chunk.columns)
        self._chunks.append(chunk)
        self._batches += len(chunk)
        self._rows += chunk.row_count
        while self._batches - len(self._chunks[0]) >= self._limit and len(self._chunks) > 1:
            gone = self._chunks.popleft()
            self._batches -= len(gone)
            if gone.rows is not None and gone.row_count:
                self._older.append(gone.rows)
        while self._rows > EXACT_LIMIT:
            oldest = self._oldest_rows()
            self._rows -= len(oldest)
            self._sketch = self._sketch or LogBuckets()
            self._sketch.add(oldest.latencies_ns() / NS)

    def _oldest_rows(self) -> _Rows:
        """Take the oldest rows that are held."""
        if self._older:
            return self._older.popleft()
        chunk = next(c for c in self._chunks if c.rows is not None)
        rows, chunk.rows = chunk.rows, None
        assert rows is not None
        return rows

    def _view(self, last: BatchRecord | None) -> tuple[list[_Chunk], Totals, LogBuckets | None, list[_Rows]]:
        """Return all chunks, with what is not settled yet and the batch that failed, if one did, as one more.

        Behind them: the totals, the sketch of rows let go, and the rows of batches let go.
        """
        with self._lock:
            chunks, older = list(self._chunks), list(self._older)
            fresh, start = list(self._fresh), self._last_start_ns
            totals, sketch = Totals(**{f: getattr(self._totals, f) for f in Totals.__slots__}), None
            if self._sketch is not None:
                sketch = LogBuckets()
                sketch.counts += self._sketch.counts
        if last is not None:
            fresh.append(last)
        if fresh:
            chunk = _chunk_of(fresh, start)
            totals.add(chunk.columns)
            chunks.append(chunk)
        return chunks, totals, sketch, older

    def batches(self, last: BatchRecord | None = None) -> pd.DataFrame:
        """Return one row a batch, the newest `batches_limit`; `last` is a batch that failed and is still planned."""
        chunks, _, _, _ = self._view(last)
        return _batch_frame(chunks).iloc[-self._limit :].reset_index(drop=True)

    def records(self) -> pd.DataFrame:
        """Return one row a processed record, the newest million, in order of arrival."""
        chunks, _, _, _ = self._view(None)
        parts: list[dict[str, Any]] = []
        count = 0
        for chunk in reversed(chunks):
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
            chunk = _chunk_of(fresh[-1:], start)
        if chunk is None:
            return None
        return {name: _plain(chunk.columns[name][-1]) for name in BATCH_COLUMNS}

    def after(self, batch_id: int, last: BatchRecord | None = None) -> dict[str, Any]:
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
        parts = [c.columns for c in chunks] + ([_chunk_of(rest, start).columns] if rest else [])
        columns = {name: np.concatenate([p[name] for p in parts] or [np.empty(0)]) for name in BATCH_COLUMNS}
        first = int(np.searchsorted(columns["batch_id"], batch_id, side="right"))
        return {name: values[first:] for name, values in columns.items()}

    def share_over(self, latency_ns: int) -> float:
        """Return the share of the held records that took longer; NaN when there are none."""
        chunks, _, _, older = self._view(None)
        over = total = 0
        for rows in (*older, *(c.rows for c in chunks if c.rows is not None)):
            high = np.cumsum(rows.count)
            low = high - rows.count
            late = np.clip(rows.arrival_ns.searchsorted(rows.end_ns - latency_ns), low, high)
            over, total = over + int((late - low).sum()), total + len(rows)
        return over / total if total else float("nan")

    def summary_parts(
        self, from_s: float | None, to_s: float | None, last: BatchRecord | None = None
    ) -> tuple[pd.DataFrame, Totals, Floats, LogBuckets | None]:
        """Return (batches, totals, latencies in s, sketch of those let go) of the batches with from ≤ start < to."""
        chunks, totals, sketch, older = self._view(last)
        latencies = [np.empty(0)]
        if from_s is None and to_s is None:
            held = [*older, *(c.rows for c in chunks if c.rows is not None)]
            latencies += [rows.latencies_ns() / NS for rows in held]
            return _batch_frame(chunks), totals, np.concatenate(latencies), sketch
        low, high = -np.inf if from_s is None else from_s, np.inf if to_s is None else to_s
        for chunk in chunks:
            start = chunk.columns["start_s"]
            if chunk.rows is not None:
                inside = (start >= low) & (start < high)
                latencies.append(chunk.rows.latencies_ns()[inside[chunk.rows.index]] / NS)
        frame = _batch_frame(chunks)
        frame = frame[(frame.start_s >= low) & (frame.start_s < high)]
        some = Totals()
        some.add({name: frame[name].to_numpy() for name in BATCH_COLUMNS})
        return frame, some, np.concatenate(latencies), None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _batch_frame(chunks: Sequence[_Chunk]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name in BATCH_COLUMNS:
        parts = [c.columns[name] for c in chunks]
        if name in TEXTS:
            columns[name] = pd.Series(np.concatenate(parts) if parts else np.empty(0, object), dtype="str")
        else:
            kind = np.int64 if name in INTEGERS else np.float64
            columns[name] = np.concatenate(parts) if parts else np.empty(0, kind)
    return pd.DataFrame(columns)


def _theil_sen(x: Floats, y: Floats, most: int = 300) -> float:
    """Return the median of the slopes between all pairs of points (Theil 1950, Sen 1968), of evenly chosen points."""
    if len(x) > most:
        chosen = np.linspace(0, len(x) - 1, most).astype(np.int64)
        x, y = x[chosen], y[chosen]
    i, j = np.triu_indices(len(x), 1)
    apart = x[j] > x[i]
    slopes = (y[j] - y[i])[apart] / (x[j] - x[i])[apart]
    return float(np.median(slopes)) if len(slopes) else 0.0


def regime(start_s: Floats, backlog: Floats, rows: Floats, *, load: float, arrival_rate: float) -> str:
    """Return on_schedule, self_clocked or unsustainable.

    Args:
        start_s: Start of each batch, in seconds.
        backlog: Rows each batch left waiting.
        rows: Rows each batch took.
        load: Σ batch duration / Σ interval.
        arrival_rate: Rows a second.
    """
    if len(start_s) > 2:
        half = start_s >= (start_s[0] + start_s[-1]) / 2
        slope = _theil_sen(start_s[half], backlog[half]) if backlog[half].any() else 0.0
        grown = slope * (start_s[-1] - start_s[half][0])
        some = rows[half][rows[half] > 0]
        batch = float(some.mean()) if len(some) else 1.0
        if slope > 0.01 * arrival_rate and grown > batch:
            return "unsustainable"
    return "self_clocked" if load >= 1 else "on_schedule"


def summarise(
    frame: pd.DataFrame,
    totals: Totals,
    latencies_s: Floats,
    sketch: LogBuckets | None,
    facts: Mapping[str, Any],
) -> pd.Series[Any]:
    """Return the summary of a run, or of a part of it.

    Args:
        frame: The batches, as in `run.batches`.
        totals: Their sums; may cover more batches than the frame still holds.
        latencies_s: Latencies of the records that are held.
        sketch: Those of the records that are not, or None.
        facts: run_id, triggers_missed, duration_s, horizon_s, backlog_rows, oldest_backlog_age_s, failures.
    """
    if sketch is None:
        held = np.quantile(latencies_s, [0.5, 0.95, 0.99]) if len(latencies_s) else np.full(3, np.nan)
    else:
        sketch.add(latencies_s)
        held = np.array([sketch.quantile(q) for q in (0.5, 0.95, 0.99)])
    full = totals.batches - totals.empty
    duration = facts["duration_s"]
    load = totals.duration_sum_s / totals.interval_sum_s if totals.interval_sum_s else 0.0
    wake = frame["wake_delay_s"].to_numpy()
    during = frame[frame["start_s"] <= facts["horizon_s"]]  # what queue runs after the end only shrinks the backlog
    values = {
        "run_id": facts["run_id"],
        "rows": totals.rows,
        "batches": totals.batches,
        "batches_empty": totals.empty,
        "triggers_missed": facts["triggers_missed"],
        "duration_s": duration,
        "latency_mean_s": totals.latency_sum_s / totals.rows if totals.rows else float("nan"),
        "latency_p50_s": float(held[0]),
        "latency_p95_s": float(held[1]),
        "latency_p99_s": float(held[2]),
        "latency_max_s": totals.latency_max_s,
        "scheduling_delay_mean_s": totals.scheduling_sum_s / totals.batches if totals.batches else float("nan"),
        "processing_time_mean_s": totals.processing_sum_s / full if full else float("nan"),
        "wake_delay_p99_s": float(np.quantile(wake, 0.99)) if len(wake) else float("nan"),
        "load": load,
        "throughput": totals.rows / duration if duration else float("nan"),
        "backlog_rows": facts["backlog_rows"],
        "oldest_backlog_age_s": facts["oldest_backlog_age_s"],
        "staleness_max_s": totals.staleness_max_s,
        "regime": regime(
            during["start_s"].to_numpy(),
            during["backlog_rows"].to_numpy().astype(np.float64),
            during["num_input_rows"].to_numpy().astype(np.float64),
            load=load,
            arrival_rate=(totals.rows + facts["backlog_rows"]) / duration if duration else 0.0,
        ),
        "failures": facts["failures"],
        "quantiles": "exact" if sketch is None else "sketch",
    }
    return pd.Series(values, name="summary", dtype=object)

"""Facts become frames: waits, quantiles, rates, the summary and its regime.

The engine notes records; this room keeps them as columns, a few hundred batches at a time, and computes what they mean
when somebody asks. Memory is bounded: the last `batches_limit` batches, the last million records, exact quantiles up to
five million records and log buckets (under 1 % off) beyond.

    records -> [metrics] -> charts, run
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.durations import NS
from mblab.records import BatchRecord, Group

__all__ = ["BATCH_COLUMNS", "RECORD_COLUMNS", "LogBuckets", "RunLog", "regime", "summarise"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CHUNK_BATCHES = 256
CHUNK_ROWS = 16_384
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


@dataclass(slots=True)
class _Rows:
    """The processed rows of some consecutive batches: 8 bytes a row, all else follows from it.

    Attributes:
        arrival_ns: Arrival of each row.
        count: Rows of each batch.
        due_ns, start_ns, end_ns: Of each batch.
        groups: (due, start), one a row, of the batch at which it became available; None when that was its own.
    """

    arrival_ns: Ints
    count: Ints
    due_ns: Ints
    start_ns: Ints
    end_ns: Ints
    groups: tuple[Ints, Ints] | None

    def __len__(self) -> int:
        return len(self.arrival_ns)

    @property
    def index(self) -> Ints:
        """Which of the batches each row belongs to."""
        return np.repeat(np.arange(len(self.count)), self.count)

    def latencies_ns(self) -> Ints:
        """Return end - arrival of each row."""
        return np.repeat(self.end_ns, self.count) - self.arrival_ns

    def waits_ns(self) -> dict[str, Ints]:
        """Return the columns of `run.records` in ns; the four waits sum to the latency."""
        arrival, start = self.arrival_ns, np.repeat(self.start_ns, self.count)
        due, first = self.groups or (np.repeat(self.due_ns, self.count), start)
        latency = self.latencies_ns()
        return {
            "arrival_s": arrival,
            "batching_wait_s": np.maximum(due - arrival, 0),
            "scheduling_wait_s": first - np.maximum(due, arrival),
            "backlog_wait_s": start - first,
            "processing_wait_s": latency - (start - arrival),
            "latency_s": latency,
        }

    def quantiles_ns(self, q: float) -> Floats:
        """Return each batch's latency quantile: rows are in order of arrival, so latencies are sorted already."""
        last = np.maximum(self.count - 1, 0)
        if not len(self.arrival_ns):
            return np.full(len(self.count), np.nan)
        height = last * q
        low = np.floor(height).astype(np.int64)
        newest = np.minimum(np.cumsum(self.count) - self.count + last, len(self) - 1)
        small = (self.end_ns - self.arrival_ns[newest - low]).astype(np.float64)
        large = (self.end_ns - self.arrival_ns[newest - np.minimum(low + 1, last)]).astype(np.float64)
        between: Floats = small + (height - low) * (large - small)
        return between


@dataclass(slots=True)
class _Chunk:
    """Some consecutive batches as columns of `run.batches`, and their rows until these are let go."""

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


def _array(records: Sequence[BatchRecord], name: str) -> Ints:
    return np.fromiter((getattr(r, name) for r in records), np.int64, len(records))


def _rows_of(records: Sequence[BatchRecord], ns: Mapping[str, Ints]) -> _Rows:
    done = [r for r in records if r.arrival_ns is not None and r.status != "failed"]  # a failed batch delivered nothing
    count = np.array([0 if r.status == "failed" else r.num_input_rows for r in records], np.int64)
    arrivals = [r.arrival_ns for r in done if r.arrival_ns is not None and len(r.arrival_ns)]
    arrival: Ints = np.concatenate(arrivals) if arrivals else np.empty(0, np.int64)
    groups = None
    if any(r.groups for r in done):
        each = [g for r in done for g in r.groups or (Group(r.num_input_rows, r.due_ns, r.start_ns),)]
        sizes = np.array([g.rows for g in each], np.int64)
        groups = tuple(
            np.repeat(np.array(v, np.int64), sizes) for v in zip(*((g.due_ns, g.start_ns) for g in each), strict=True)
        )
    return _Rows(arrival, count, ns["due_ns"], ns["start_ns"], ns["end_ns"], groups)  # type: ignore[arg-type]


def _chunk_of(records: Sequence[BatchRecord], previous_start_ns: int) -> _Chunk:
    """Turn records into columns; `previous_start_ns` is the start of the batch before them, 0 before the first."""
    names = (
        "batch_id", "attempt", "interval_ns", "version", "due_ns", "start_ns", "wake_ns", "end_ns", "num_input_rows",
        "num_output_rows", "backlog_rows", "processing_ns", "sink_ns", "commit_ns", "cpu_ns",
    )  # fmt: skip
    ns = {name: _array(records, name) for name in names}
    count, start, end = ns["num_input_rows"], ns["start_ns"], ns["end_ns"]
    rows = _rows_of(records, ns)
    status = np.array([r.status for r in records], dtype=object)
    full = rows.count > 0
    waits, index = rows.waits_ns(), rows.index
    duration = end - start
    gap = np.diff(np.concatenate([[previous_start_ns], start]))

    def latency(values: Floats) -> Floats:
        return np.where(full, values, np.nan) / NS

    def mean(name: str) -> Floats:
        return latency(np.bincount(index, weights=waits[name], minlength=len(count)) / count)

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
            "latency_mean_s": mean("latency_s"),
            "latency_p50_s": latency(rows.quantiles_ns(0.50)),
            "latency_p95_s": latency(rows.quantiles_ns(0.95)),
            "latency_p99_s": latency(rows.quantiles_ns(0.99)),
            "latency_max_s": latency(rows.quantiles_ns(1.0)),
            "batching_wait_s": mean("batching_wait_s"),
            "scheduling_wait_s": mean("scheduling_wait_s"),
            "backlog_wait_s": mean("backlog_wait_s"),
            "freshness_s": latency(rows.quantiles_ns(0.0)),
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
        while self._rows > EXACT_LIMIT:
            oldest = next(c for c in self._chunks if c.rows is not None)
            assert oldest.rows is not None
            self._rows -= oldest.row_count
            self._sketch = self._sketch or LogBuckets()
            self._sketch.add(oldest.rows.latencies_ns() / NS)
            oldest.rows = None
        while self._batches - len(self._chunks[0]) >= self._limit and len(self._chunks) > 1:
            gone = self._chunks.popleft()
            self._batches -= len(gone)
            if gone.rows is not None and gone.row_count:
                self._rows -= gone.row_count
                self._sketch = self._sketch or LogBuckets()
                self._sketch.add(gone.rows.latencies_ns() / NS)

    def _view(self, last: BatchRecord | None) -> tuple[list[_Chunk], Totals, LogBuckets | None]:
        """Return all chunks, with what is not settled yet and the batch that failed, if one did, as one more."""
        with self._lock:
            chunks = list(self._chunks)
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
        return chunks, totals, sketch

    def batches(self, last: BatchRecord | None = None) -> pd.DataFrame:
        """Return one row a batch, the newest `batches_limit`; `last` is a batch that failed and is still planned."""
        chunks, _, _ = self._view(last)
        return _batch_frame(chunks).iloc[-self._limit :].reset_index(drop=True)

    def records(self) -> pd.DataFrame:
        """Return one row a processed record, the newest million, in order of arrival."""
        chunks, _, _ = self._view(None)
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

    def summary_parts(
        self, from_s: float | None, to_s: float | None, last: BatchRecord | None = None
    ) -> tuple[pd.DataFrame, Totals, Floats, LogBuckets | None]:
        """Return (batches, totals, latencies in s, sketch of those let go) of the batches with from ≤ start < to."""
        chunks, totals, sketch = self._view(last)
        latencies = [np.empty(0)]
        if from_s is None and to_s is None:
            latencies += [c.rows.latencies_ns() / NS for c in chunks if c.rows is not None]
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
        slope = _theil_sen(start_s[half], backlog[half])
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

"""Records of some hundred batches become columns: one array a column of `run.batches`.

records -> waits -> [batches] -> log
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from mblab.engine.records import BatchRecord
from mblab.metrics.quantiles import Floats, batch_quantiles
from mblab.metrics.waits import Rows, rows_of
from mblab.timing.durations import NS

__all__ = ["BATCH_COLUMNS", "Chunk", "batch_frame", "chunk_of"]

BATCH_COLUMNS: Final = (
    "batch_id", "attempt", "status", "interval_s", "policy", "version", "due_s", "start_s", "wake_delay_s", "end_s",
    "num_input_rows", "num_output_rows", "backlog_rows", "scheduling_delay_s", "processing_time_s", "sink_time_s",
    "commit_time_s", "batch_duration_s", "latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s",
    "latency_max_s", "batching_wait_s", "scheduling_wait_s", "backlog_wait_s", "freshness_s", "input_rows_per_second",
    "processed_rows_per_second", "load", "cpu_time_s", "state_bytes", "error",
)  # fmt: skip
TEXTS: Final = ("status", "policy", "error")
INTEGERS: Final = ("batch_id", "attempt", "version", "num_input_rows", "num_output_rows", "backlog_rows")
STAMPS: Final = (
    "batch_id", "attempt", "interval_ns", "version", "due_ns", "start_ns", "wake_ns", "end_ns", "num_input_rows",
    "num_output_rows", "backlog_rows", "processing_ns", "sink_ns", "commit_ns", "cpu_ns",
)  # fmt: skip
_stamps = operator.attrgetter(*STAMPS)


@dataclass(slots=True)
class Chunk:
    """Some consecutive batches, and their rows until these are let go.

    Attributes:
        columns: One array a column of `run.batches`.
        rows: Their rows; None once let go.
    """

    columns: dict[str, Any]
    rows: Rows | None

    def __len__(self) -> int:
        return len(self.columns["batch_id"])

    @property
    def row_count(self) -> int:
        """How many rows are held."""
        return 0 if self.rows is None else len(self.rows)


def chunk_of(records: Sequence[BatchRecord], previous_start_ns: int) -> Chunk:
    """Turn records into columns; `previous_start_ns` is the start of the batch before them, 0 before the first."""
    ns = dict(zip(STAMPS, np.array([_stamps(r) for r in records], np.int64).T.copy(), strict=True))
    count, start, end = ns["num_input_rows"], ns["start_ns"], ns["end_ns"]
    status = np.array([r.status for r in records], dtype=object)
    full = (count > 0) & (status != "failed")  # a failed batch delivered nothing: its rows have no latency
    rows = rows_of(records, ns, full)
    sums = rows.sums_ns(len(records))
    delivered = np.where(full, count, 0)
    duration = end - start
    gap = np.diff(np.concatenate([[previous_start_ns], start]))

    def latency(values: Floats) -> Floats:
        return np.where(full, values, np.nan) / NS

    def mean(name: str) -> Floats:
        return latency(sums[name] / count)

    def quantile(q: float) -> Floats:
        return latency(batch_quantiles(rows.arrival_ns, delivered, end, q))

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
    return Chunk(columns, rows)


def batch_frame(chunks: Sequence[Chunk]) -> pd.DataFrame:
    """Return the frame `run.batches` of some chunks, in order."""
    columns: dict[str, Any] = {}
    for name in BATCH_COLUMNS:
        parts = [c.columns[name] for c in chunks]
        if name in TEXTS:
            columns[name] = pd.Series(np.concatenate(parts) if parts else np.empty(0, object), dtype="str")
        else:
            kind = np.int64 if name in INTEGERS else np.float64
            columns[name] = np.concatenate(parts) if parts else np.empty(0, kind)
    return pd.DataFrame(columns)

"""Records of some hundred batches become columns: one array a column of `run.batches`.

What a record holds becomes a column as `records.STAMPED` says; what is computed of it is said here, in `DERIVED`.

    records -> waits -> [batches] -> log
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.engine.records import DELIVERED, STAMPED, BatchRecord, Column
from mblab.metrics.quantiles import Floats, Ints, batch_quantiles
from mblab.metrics.waits import Rows, rows_of
from mblab.timing.durations import NS

__all__ = ["BATCH_COLUMNS", "COLUMNS", "Chunk", "Columns", "batch_frame", "chunk_alike", "chunk_of"]

Columns = dict[str, npt.NDArray[Any]]  # of `run.batches`, by name
INTEGERS: Final = tuple(c.field for c in STAMPED if c.kind in ("whole", "seconds"))
_integers = operator.attrgetter(*INTEGERS)


class _Stamps:
    """The records of a chunk as arrays, and what several columns are computed of."""

    def __init__(self, records: Sequence[BatchRecord], previous_start_ns: int) -> None:
        table = np.array([_integers(r) for r in records], np.int64)
        self.ns: dict[str, Ints] = dict(zip(INTEGERS, table.T.copy(), strict=True))
        self.start, self.end, self.count = self.ns["start_ns"], self.ns["end_ns"], self.ns["num_input_rows"]
        self.duration = self.end - self.start
        self.gap = np.diff(np.concatenate([[previous_start_ns], self.start]))
        # a failed batch delivered nothing: its rows have no latency
        self.full = (self.count > 0) & np.array([r.status in DELIVERED for r in records])
        self.rows = rows_of(records, self.ns, self.full)
        self._sums = self.rows.sums_ns(len(records))
        self._delivered = np.where(self.full, self.count, 0)

    def mean(self, name: str) -> Floats:
        """Return the mean latency of each batch's records, or that of one of their waits."""
        return self._latency(self._sums[name] / self.count)

    def quantile(self, q: float) -> Floats:
        """Return a quantile of their latencies."""
        return self._latency(batch_quantiles(self.rows.arrival_ns, self._delivered, self.end, q))

    def _latency(self, values: Floats) -> Floats:
        return np.where(self.full, values, np.nan) / NS


@dataclass(frozen=True, slots=True)
class _Derived:
    """A column that is computed, and how."""

    column: Column
    of: Callable[[_Stamps], Floats]


def _derived(name: str, of: Callable[[_Stamps], Floats], *, on_page: bool = True) -> _Derived:
    return _Derived(Column(name, page="short" if on_page else "no"), of)


# by the stamped column that they stand before
DERIVED: Final[Mapping[str, tuple[_Derived, ...]]] = {
    "processing_time_s": (
        _derived("scheduling_delay_s", lambda s: (s.start - s.ns["due_ns"]) / NS, on_page=False),
    ),
    "cpu_time_s": (
        _derived("batch_duration_s", lambda s: s.duration / NS, on_page=False),
        _derived("latency_mean_s", lambda s: s.mean("latency")),
        _derived("latency_p50_s", lambda s: s.quantile(0.50)),
        _derived("latency_p95_s", lambda s: s.quantile(0.95)),
        _derived("latency_p99_s", lambda s: s.quantile(0.99)),
        _derived("latency_max_s", lambda s: s.quantile(1.0)),
        _derived("batching_wait_s", lambda s: s.mean("batching")),
        _derived("scheduling_wait_s", lambda s: s.mean("scheduling")),
        _derived("backlog_wait_s", lambda s: s.mean("backlog")),
        _derived("freshness_s", lambda s: s.quantile(0.0)),
        _derived(
            "input_rows_per_second", lambda s: np.where(s.gap > 0, s.count / np.maximum(s.gap, 1) * NS, np.nan)
        ),
        _derived(
            "processed_rows_per_second", lambda s: np.where(s.count > 0, s.count / (s.duration / NS), np.nan),
            on_page=False,
        ),
        _derived("load", lambda s: s.duration / s.ns["interval_ns"], on_page=False),
    ),
}  # fmt: skip


def _in_order() -> Iterator[Column]:
    for stamped in STAMPED:
        yield from (each.column for each in DERIVED.get(stamped.name, ()))
        yield stamped


COLUMNS: Final = {column.name: column for column in _in_order()}
BATCH_COLUMNS: Final = tuple(COLUMNS)


@dataclass(slots=True)
class Chunk:
    """Some consecutive batches, and their rows until these are let go.

    Attributes:
        columns: One array a column of `run.batches`.
        rows: Their rows; None once let go.
    """

    columns: Columns
    rows: Rows | None

    def __len__(self) -> int:
        return len(self.columns["batch_id"])

    @property
    def row_count(self) -> int:
        """How many rows are held."""
        return 0 if self.rows is None else len(self.rows)


def chunk_of(records: Sequence[BatchRecord], previous_start_ns: int) -> Chunk:
    """Turn records into columns; `previous_start_ns` is the start of the batch before them, 0 before the first."""
    stamps = _Stamps(records, previous_start_ns)
    columns: Columns = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for stamped in STAMPED:
            columns |= {each.column.name: each.of(stamps) for each in DERIVED.get(stamped.name, ())}
            columns[stamped.name] = _stamped(stamped, records, stamps)
    return Chunk(columns, stamps.rows)


def chunk_alike(first: BatchRecord, count: int, held: int, previous_start_ns: int) -> Chunk:
    """Return the newest of many batches without rows, each an interval after the one before and at no cost.

    Args:
        first: Record of the first of all.
        count: How many they are.
        held: How many of the newest are in the chunk.
        previous_start_ns: Start of the batch before them.
    """
    one = chunk_of([first], previous_start_ns)
    columns: Columns = {name: np.broadcast_to(values, held) for name, values in one.columns.items()}
    number = np.arange(count - held, count)
    columns["batch_id"] = first.batch_id + number
    for name, ns in (("due_s", first.due_ns), ("start_s", first.start_ns), ("end_s", first.end_ns)):
        columns[name] = (ns + number * first.interval_ns) / NS
    return Chunk(columns, one.rows)


def _stamped(column: Column, records: Sequence[BatchRecord], stamps: _Stamps) -> npt.NDArray[Any]:
    """Return a field of the records as a column."""
    if column.kind == "whole":
        return stamps.ns[column.field]
    if column.kind == "seconds":
        return stamps.ns[column.field] / NS
    values = map(operator.attrgetter(column.field), records)
    if column.kind == "text":
        return np.array(list(values), dtype=object)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def batch_frame(chunks: Sequence[Chunk]) -> pd.DataFrame:
    """Return the frame `run.batches` of some chunks, in order."""
    columns: dict[str, npt.NDArray[Any] | pd.Series[str]] = {}
    for name, column in COLUMNS.items():
        parts = [c.columns[name] for c in chunks]
        if column.kind == "text":
            columns[name] = pd.Series(np.concatenate(parts) if parts else np.empty(0, object), dtype="str")
        else:
            kind = np.int64 if column.kind == "whole" else np.float64
            columns[name] = np.concatenate(parts) if parts else np.empty(0, kind)
    return pd.DataFrame(columns)

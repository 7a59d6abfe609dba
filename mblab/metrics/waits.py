"""How long each row waited, and for what: made from its batch's stamps when somebody asks.

records -> [waits] -> batches, log
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mblab.engine.records import BatchRecord
from mblab.metrics.quantiles import Floats, Ints

__all__ = ["Rows", "rows_of"]


@dataclass(frozen=True, slots=True)
class Rows:
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

    def count_over(self, latency_ns: int) -> int:
        """Return how many rows took longer; arrivals are in order, so it is one search a part."""
        high = np.cumsum(self.count)
        low = high - self.count
        late = np.clip(self.arrival_ns.searchsorted(self.end_ns - latency_ns), low, high)
        return int((late - low).sum())

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

        Arrivals are sorted, so a part falls into `early` rows with A < d and `late` ones, with d the due time of the
        batch at which the part became available, f its start, and s, c start and end of the part's own batch. Every sum
        follows from the two sums of ages Σ(s − A), as s and d and f are the same for all rows of a part:

            latency      Σ(c − A)            = early_age + late_age + n·(c − s)
            batching     Σ max(0, d − A)     = early_age − early·(s − d)
            scheduling   Σ(f − max(d, A))    = early·(f − d) + late_age − late·(s − f)
            backlog      Σ(s − f)            = n·(s − f)
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


def _sums_of_ages(arrival: Ints, low: Ints, high: Ints, start: Ints) -> Floats:
    """Return the sum of start − arrival over the rows from low to high of each part: n·start − Σ arrival.

    One pass over the rows as they are, in integers modulo 2⁶⁴: both terms may wrap around, their difference comes out
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


def rows_of(records: Sequence[BatchRecord], stamps: Mapping[str, Ints], full: npt.NDArray[np.bool_]) -> Rows:
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
    return Rows(arrival, batch, count, due, first, stamps["start_ns"][batch], stamps["end_ns"][batch])

"""A kit for tests, yours and ours: rows at chosen times, a list as sink, claims, a clock and a disk.

[testing] -> your pytest
"""

from __future__ import annotations

from mblab.testing.claims import assert_cut_invariant, assert_same_as_batch
from mblab.testing.clock import ManualClock
from mblab.testing.disk import MemoryDisk
from mblab.testing.sink_laws import SINK_LAWS, check_sink
from mblab.testing.sinks import ListSink
from mblab.testing.sources import RowsAt, rows_at

__all__ = [
    "SINK_LAWS", "ListSink", "ManualClock", "MemoryDisk", "RowsAt", "assert_cut_invariant", "assert_same_as_batch",
    "check_sink", "rows_at",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers

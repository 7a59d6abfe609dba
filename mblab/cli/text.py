"""The figures of a run and of a sweep: as plain values for JSON, and as aligned text for a terminal or a page.

run.summary(), sweep.table -> [text] -> job, demo_job, each verb
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import pandas as pd

from mblab.tables.values import as_json
from mblab.timing.durations import format_s

__all__ = ["SWEEP_HEAD", "aligned", "metric_rows", "summary_values", "sweep_rows", "sweep_values"]

SWEEP_HEAD: Final = ("interval", "rows a batch", "latency p50", "latency p95", "load", "regime")
ABSENT: Final = "–"


class Tabled(Protocol):
    """A sweep or a curve: one row an interval."""

    @property
    def table(self) -> pd.DataFrame: ...


def summary_values(summary: pd.Series[Any]) -> dict[str, Any]:
    """Return a run's summary as JSON holds it."""
    return {str(name): as_json(value) for name, value in summary.items()}


def sweep_values(sweep: Tabled) -> list[dict[str, Any]]:
    """Return the table of a sweep or a curve as JSON holds it, one dict an interval."""
    return [{str(name): as_json(value) for name, value in row.items()} for row in sweep.table.to_dict("records")]


def metric_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a run's figures as label and text, from its plain values."""
    s = summary
    return [
        ("rows", f"{s['rows']:,}"),
        ("batches", f"{s['batches']:,} ({s['batches_empty']:,} empty)"),
        ("duration", _time(s["duration_s"])),
        ("latency mean", _time(s["latency_mean_s"])),
        ("latency p50", _time(s["latency_p50_s"])),
        ("latency p95", _time(s["latency_p95_s"])),
        ("latency p99", _time(s["latency_p99_s"])),
        ("latency max", _time(s["latency_max_s"])),
        ("processing time mean", _time(s["processing_time_mean_s"])),
        ("load", _number(s["load"], ".2f")),
        ("behind", _number(s["behind_share"], ".1%", " of the rows waited for an earlier batch or in the backlog")),
        ("throughput", _number(s["throughput"], ",.0f", " rows/s")),
        ("regime", str(s["regime"]).replace("_", " ")),
    ]


def sweep_rows(table: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Return a sweep's figures as text, one row an interval, from its plain values."""
    return [
        [
            _time(row["interval_s"]),
            _number(row["num_input_rows_mean"], ",.0f"),
            _time(row["latency_p50_s"]),
            _time(row["latency_p95_s"]),
            _number(row["load"], ".2f"),
            str(row["regime"]).replace("_", " "),
        ]
        for row in table
    ]


def _time(value: float | None) -> str:
    return ABSENT if value is None else format_s(value)


def _number(value: float | None, form: str, unit: str = "") -> str:
    return ABSENT if value is None else f"{value:{form}}{unit}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text in columns, indented by two spaces."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join("  " + line.rstrip() for line in lines)

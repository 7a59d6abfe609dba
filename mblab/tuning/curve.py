"""Latency, load and backlog against the interval: a table that draws itself.

whatif, sweep -> [curve] -> advice, lab
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from mblab.charts.display import Shown
from mblab.errors import SettingError, shown
from mblab.runs.run import Tabulated
from mblab.timing.durations import format_s

if TYPE_CHECKING:
    import altair as alt

__all__ = ["CURVE_COLUMNS", "Curve", "points_of"]

CURVE_COLUMNS: Final = (
    "interval_s", "latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "num_input_rows_mean", "load",
    "backlog_rows", "regime", "throughput",
)  # fmt: skip
SETTINGS: Final = ("policy", "max_rows_per_batch", "load_factor")


def points_of(measured: Tabulated | pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the points that are drawn over a curve."""
    return measured if measured is None or isinstance(measured, pd.DataFrame) else measured.table


@dataclass(frozen=True)
class Curve(Shown):
    """Latency, load and backlog against the interval, as predicted.

    Attributes:
        table: One row an interval, ascending: interval_s, latency_mean_s, latency_p50_s, latency_p95_s, latency_p99_s,
            num_input_rows_mean, load, throughput (float64), backlog_rows (int64), regime (str). With bands also
            latencies and load with `_lo` and `_hi`, num_input_rows_max, batches_per_hour, cost_per_hour (CPU seconds;
            busy seconds where the work is mostly waiting) and extrapolated (whether batches would be a third larger
            than any that was tried).
    """

    table: pd.DataFrame

    def only(self, **settings: str | float | None) -> Curve:
        """Return the part of a curve of several settings, such as `curve.only(policy="skip", load_factor=2)`.

        Raises:
            SettingError: A setting or its value is not in the table.
        """
        table = self.table
        for name, value in settings.items():
            if name not in SETTINGS or name not in table.columns:
                have = [n for n in SETTINGS if n in table.columns]
                raise SettingError(f"only({name}=…): the curve holds one of it; there are {have} to choose from.")
            same = table[name].isna() if value is None else table[name] == value
            if not same.fillna(value=False).any():
                raise SettingError(f"only({name}={shown(value)}): there are {table[name].drop_duplicates().tolist()}.")
            table = table[same.fillna(value=False)]
        return Curve(table.reset_index(drop=True))

    def plot(self, measured: Tabulated | pd.DataFrame | None = None) -> alt.VConcatChart:
        """Return latency and load against the interval as an Altair chart.

        Args:
            measured: A sweep, or a table such as `sweep.table`, drawn as rings over the curve.
        """
        from mblab import charts

        if self.table.interval_s.duplicated().any():
            raise SettingError("a chart shows one setting; choose with curve.only(policy=…, max_rows_per_batch=…, …).")
        return charts.curve_chart(self.table, measured=points_of(measured), title="Predicted latency against interval")

    def __repr__(self) -> str:
        best = self.table.dropna(subset=["latency_p95_s"]).nsmallest(1, "latency_p95_s")
        found = [
            f"lowest p95 {format_s(p)} at {format_s(i)}"
            for i, p in zip(best.interval_s, best.latency_p95_s, strict=True)
        ]
        return f"Curve({len(self.table)} intervals: {found[0] if found else 'no rows'})"

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, Any]:
        if self.table.interval_s.duplicated().any():
            return {"text/plain": repr(self), "text/html": self.table.to_html(index=False)}
        return super()._repr_mimebundle_(include, exclude)

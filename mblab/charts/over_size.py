"""The spectrum over the batch's size, from row at a time to one batch: latency, the cost of a row, load.

lab.spectrum -> frames -> style -> [over_size] -> render
"""

from __future__ import annotations

from typing import Final

import pandas as pd

from mblab.charts.frames import checked_frame, largest
from mblab.charts.quick import alt
from mblab.charts.style import (
    BLUE,
    GREEN,
    GREY,
    PINK,
    PLAIN,
    RECORD,
    VERMILION,
    dressed,
    height_axis,
    keyed,
    panel,
    stacked,
)  # fmt: skip

__all__ = ["spectrum_chart"]

LATENCY: Final = {
    "latency_mean_s": ("mean", BLUE, [1, 0]),
    "latency_p95_s": ("p95", GREEN, [6, 3]),
    "batch_duration_s": ("processing", GREY, [2, 2]),
}
COLUMNS: Final = ("batch_rows", "interval_s", *LATENCY, "row_cost_s", "overhead", "load", "regime")
SHAPES: Final = {"on_schedule": "circle", "unsustainable": "cross"}
SHORT: Final = (
    "datum.value < 1e-3 ? format(datum.value * 1e6, ',~g') + ' µs' : "
    "datum.value < 1 ? format(datum.value * 1000, ',~g') + ' ms' : format(datum.value, ',~g') + ' s'"
)


def spectrum_chart(table: pd.DataFrame, *, title: str | None = None) -> alt.VConcatChart:
    """Draw latency, the cost of a row and load against the rows of a batch, all but load on logarithmic axes.

    Args:
        table: A frame such as `lab.spectrum().table`, one row a size. Sizes that cannot keep up get a cross.
        title: Above the chart; long ones are wrapped.

    Raises:
        ColumnError: The table has no column batch_rows.
    """
    frame = checked_frame(table, "table", "batch_rows", COLUMNS).sort_values("batch_rows", ignore_index=True)
    frame = frame[frame["batch_rows"] > 0].reset_index(drop=True)
    ends = [float(frame["batch_rows"].min()), float(frame["batch_rows"].max())] if len(frame) else [1.0, 10.0]
    scale = alt.Scale(type="log", domain=[ends[0] / 1.3, ends[1] * 1.3], nice=False)
    ticks = {"values": frame["batch_rows"].tolist()}
    x = alt.X("batch_rows:Q", scale=scale, axis=alt.Axis(labels=False, ticks=False, title=None, **ticks))
    named = "rows of a batch (log): row at a time on the left, one batch on the right"
    x_named = alt.X("batch_rows:Q", scale=scale, axis=alt.Axis(labelExpr=PLAIN, title=named, **ticks))
    panels = [
        panel("Latency of a record, and what processing takes of it", 220, _latency(frame, x)),
        panel("Cost of a row: batch duration / rows", 110, _cost(frame, x)),
        panel("Load: work / time for the rows to arrive, where 1 is full", 90, _load(frame, x_named)),
    ]
    return dressed(stacked(panels, frame), title, "" if len(frame) else "no sizes yet")


def _log(field: str, title: str, frame: pd.DataFrame, columns: list[str]) -> alt.Y:
    values = frame[columns].to_numpy()
    values = values[values > 0]
    domain = (float(values.min()), float(values.max())) if len(values) else (1e-3, 1.0)
    return height_axis(field, title, domain, log=True, label=SHORT)


def _latency(frame: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    y = _log("value", "time (log)", frame, list(LATENCY))
    folded = (
        alt.Chart()
        .transform_fold(list(LATENCY), as_=["measure", "value"])
        .transform_filter("isValid(datum.value) && datum.value > 0")
        .encode(x=x, y=y, **keyed("measure", LATENCY))
    )
    shapes = alt.Shape("regime:N", scale=alt.Scale(domain=list(SHAPES), range=list(SHAPES.values())), legend=None)
    dots = folded.mark_point(filled=True, size=45, opacity=1, tooltip=RECORD).encode(
        shape=shapes, strokeDash=alt.value([1, 0])
    )
    return [folded.mark_line(strokeWidth=1.8), dots]


def _cost(frame: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    y = _log("row_cost_s", "a row (log)", frame, ["row_cost_s"])
    base = alt.Chart().transform_filter("datum.row_cost_s > 0").encode(x=x, y=y, color=alt.value(PINK))
    return [base.mark_line(strokeWidth=1.6), base.mark_point(filled=True, size=40, opacity=1, tooltip=RECORD)]


def _load(frame: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    top = min(4.0, max(1.2, largest(frame, ["load"], 1.0)))  # row at a time may be a thousand times too slow
    y = height_axis("load", "load", (0, top), label=PLAIN)
    full = alt.Chart(alt.InlineData([{"load": 1}])).mark_rule(color=VERMILION, strokeDash=[6, 3]).encode(y=y)
    base = alt.Chart().transform_filter("isValid(datum.load)").encode(x=x, y=y)
    line = base.mark_line(color=GREY, strokeWidth=1, clip=True)
    return [full, line, base.mark_point(filled=True, size=40, opacity=1, clip=True, color=BLUE, tooltip=RECORD)]

"""A run over its own time: latency, batch size, throughput, backlog and load, one above the other.

A batch stands at its nominal start in every panel, the time by which `run.summary(from_s, to_s)` selects batches too.

    run.batches -> frames -> style -> [over_time] -> render
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mblab.charts.frames import MARK_COLUMNS, MARK_KINDS, checked_frame, drawn_rows, largest, marks_of, placed
from mblab.charts.quick import alt
from mblab.charts.style import (
    BLUE,
    GREEN,
    GREY,
    GUTTER,
    PINK,
    PLAIN,
    RECORD,
    VERMILION,
    WIDTH,
    dressed,
    height_axis,
    keyed,
    panel,
    rules,
    stacked,
    strip,
    time_unit,
)  # fmt: skip
from mblab.metrics import BATCH_COLUMNS

__all__ = ["run_chart"]

FEW = 60  # up to so many batches each is a dot on its line
SPARSE = 150  # beyond so many batches only those with load >= 1 get a symbol
LOG_RATIO = 50  # rates further apart than this share a logarithmic axis
LATENCY = {
    "latency_p50_s": ("p50", BLUE, [1, 0]),
    "latency_p95_s": ("p95", GREEN, [6, 3]),
    "latency_p99_s": ("p99", VERMILION, [2, 2]),
    "interval_s": ("interval", GREY, [1, 0]),
}
QUANTILES = [name for name in LATENCY if name != "interval_s"]
THROUGHPUT = {
    "input_rows_per_second": ("in", BLUE, [1, 0]),
    "processed_rows_per_second": ("out", GREEN, [6, 3]),
}
TIME = "start of the batch (s since the run began)"


def run_chart(
    batches: pd.DataFrame, *, title: str | None = None, marks: pd.DataFrame | None = None, max_points: int = 2000
) -> alt.VConcatChart:
    """Draw a run: five panels over one time axis, with marks where something changed or failed.

    Throughput is as in `run.batches`: *in* counts a batch's rows over the time since the start before it, *out* over
    the batch's own duration, which is what the function can do while it works. When they lie far apart their axis is
    logarithmic. Lines break at empty and failed batches, which have
    no latency; a batch alone between them is a dot.

    Args:
        batches: A frame such as `run.batches`: one row a batch, times in seconds on the run's clock. No rows, one row
            and missing values are fine.
        title: Above the chart; long ones are wrapped.
        marks: Moments to mark, as from `marks_of`; None finds them in the batches.
        max_points: How many batches are drawn at most; of more, the peaks are kept and a line says so.

    Raises:
        ColumnError: A frame has no column start_s.
        SettingError: `max_points` is below 10.
    """
    found = marks_of(batches) if marks is None else checked_frame(marks, "marks", "start_s", MARK_COLUMNS)
    frame, total = drawn_rows(batches, "batches", "start_s", BATCH_COLUMNS, max_points)
    scale = _time_scale(frame)
    at = _scaled(found[found["kind"].isin(MARK_KINDS)], scale)
    bare = alt.X("start_s:Q", scale=scale)
    x = alt.X("start_s:Q", scale=scale, axis=alt.Axis(labels=False, ticks=False, title=None, tickCount=8))
    x_named = alt.X("start_s:Q", scale=scale, axis=alt.Axis(labelExpr=PLAIN, title=TIME, tickCount=8))
    changes = at[at["kind"].isin(["interval", "version"])]
    across = [rules(changes, bare)] if len(changes) else []
    panels = [
        panel("Latency of a record, and the band p50 to p99", 170, [*_latency(frame, x), *across]),
        panel("Batch size", 80, [_size(frame, x), *across]),
        panel("Throughput: arriving, and processed while a batch works", 90, [_throughput(frame, x), *across]),
        panel("Backlog", 70, [*_backlog(frame, x), *across]),
        panel("Load: batch duration / interval, where 1 is full", 90, [*_load(frame, x_named), *across]),
    ]
    names = [strip(at, bare.axis(None))] if len(at) else []
    return dressed(stacked([*names, *panels], frame), title, _note(len(frame), total))


def _note(drawn: int, total: int) -> str:
    """Return the line under the title: what a reader could not see from the panels."""
    if not total:
        return "no batches yet"
    return "" if drawn == total else f"{drawn:,} of {total:,} batches drawn, every peak among them"


def _time_scale(frame: pd.DataFrame) -> alt.Scale:
    """Return the scale of the time axis: from 0 unless the frame starts within the run."""
    first, last = 0.0, 1.0
    if len(frame):
        first = float(frame["start_s"].min()) if frame["batch_id"].iloc[0] > 0 else 0.0
        last = max(largest(frame, ["start_s", "end_s"], 1.0), first + 0.001)
    margin = 0.012 * (last - first)
    return alt.Scale(domain=[first - (margin if first else 0.0), last + margin], nice=False, zero=False)


def _scaled(marks: pd.DataFrame, scale: alt.Scale) -> pd.DataFrame:
    """Return the marks with a place for their labels."""
    first, last = scale["domain"]
    return placed(marks, (marks["start_s"] - first) / (last - first) * WIDTH, WIDTH + GUTTER)


def _lines(
    x: alt.X, y: alt.Y, styles: dict[str, Any], fields: list[str], *, log: bool = False, **line: Any
) -> alt.Chart:
    """Return one line a field; it breaks where a batch has no value."""
    value = "datum.value > 0 ? datum.value : null" if log else "datum.value"
    return (
        alt.Chart()
        .transform_fold(fields, as_=["measure", "value"])
        .transform_calculate(value=value)
        .mark_line(strokeWidth=1.6, **line)
        .encode(x=x, y=y, **keyed("measure", styles))
    )


def _dots(frame: pd.DataFrame) -> dict[str, Any] | bool:
    """Return dots on a line, one a batch, while there are few or while one stands alone and has no line."""
    known = frame["latency_p50_s"].notna().to_numpy()
    beside = np.concatenate([[False], known, [False]])
    alone = known & ~beside[:-2] & ~beside[2:]
    return {"size": 16, "filled": True, "tooltip": RECORD} if len(frame) <= FEW or alone.any() else False


def _latency(frame: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    top = largest(frame, list(LATENCY), 1.0)
    unit, label = time_unit(top)
    title = f"latency ({unit})"
    y = height_axis("value", title, (0, top), label=label)
    low = height_axis("latency_p50_s", title, (0, top), label=label)
    band = alt.Chart().mark_area(color=BLUE, opacity=0.16).encode(x=x, y=low, y2="latency_p99_s:Q")
    steps = _lines(x, y, LATENCY, ["interval_s"], interpolate="step-after")
    return [band, steps, _lines(x, y, LATENCY, QUANTILES, point=_dots(frame))]


def _size(frame: pd.DataFrame, x: alt.X) -> alt.Chart:
    y = height_axis("num_input_rows", "rows", (0, largest(frame, ["num_input_rows"], 1.0)))
    bars = alt.Chart().mark_bar(size=_bar_px(frame, x), color=GREEN, opacity=0.85, tooltip=RECORD)
    return bars.encode(x=x, y=y)


def _bar_px(frame: pd.DataFrame, x: alt.X) -> float:
    """Return a width at which nearly all bars stand apart, 1 to 14 px."""
    first, last = x["scale"]["domain"]
    gaps = np.diff(frame["start_s"].to_numpy())
    gap = float(np.quantile(gaps, 0.1)) if len(gaps) else np.inf
    return round(float(np.clip(0.7 * gap / (last - first) * WIDTH, 1, 14)), 1)


def _throughput(frame: pd.DataFrame, x: alt.X) -> alt.Chart:
    rates = frame[list(THROUGHPUT)].to_numpy()
    rates = rates[rates > 0]
    log = bool(len(rates)) and bool(rates.max() > LOG_RATIO * rates.min())
    domain = (float(rates.min()), float(rates.max())) if log else (0.0, largest(frame, list(THROUGHPUT), 1.0))
    y = height_axis("value", "rows/s (log)" if log else "rows/s", domain, log=log)
    return _lines(x, y, THROUGHPUT, list(THROUGHPUT), log=log, point=_dots(frame))


def _backlog(frame: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    y = height_axis("backlog_rows", "rows", (0, largest(frame, ["backlog_rows"], 1.0)))
    base = alt.Chart().encode(x=x, y=y, color=alt.value(PINK))
    area = base.mark_area(opacity=0.4, interpolate="step-after")
    return [area, base.mark_line(strokeWidth=1.6, interpolate="step-after", point=_dots(frame))]


def _load(frame: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    y = height_axis("load", "load", (0, max(1.2, largest(frame, ["load"], 1.0))), label=PLAIN)
    full = alt.Chart(alt.InlineData([{"load": 1}])).mark_rule(color=VERMILION, strokeDash=[6, 3]).encode(y=y)
    line = alt.Chart().mark_line(color=GREY, strokeWidth=1)
    drawn = "isValid(datum.load)" if len(frame) <= SPARSE else "datum.load >= 1"
    names = ["below 1", "1 or more"]
    legend = alt.Legend(title=None, symbolSize=60)
    symbols = (
        alt.Chart()
        .transform_filter(drawn)
        .transform_calculate(fit=f"datum.load >= 1 ? '{names[1]}' : '{names[0]}'")
        .mark_point(filled=True, size=26, opacity=1, tooltip=RECORD)
        .encode(
            x=x,
            y=y,
            color=alt.Color("fit:N", scale=alt.Scale(domain=names, range=[BLUE, VERMILION]), legend=legend),
            shape=alt.Shape("fit:N", scale=alt.Scale(domain=names, range=["circle", "triangle-up"]), legend=legend),
        )
    )
    return [full, line.encode(x=x, y=y), symbols]

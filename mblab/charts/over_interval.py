"""A curve over intervals: what each costs in latency, and whether the work fits into it.

sweep.table -> frames -> style -> [over_interval] -> render
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mblab.charts.frames import checked_frame, largest, placed
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
    data,
    dressed,
    height_axis,
    keyed,
    log_ticks,
    panel,
    rules,
    stacked,
    strip,
    time_unit,
)  # fmt: skip

__all__ = ["curve_chart"]

FEW = 16  # so many intervals are ticks of the axis themselves
LOG_RATIO = 30  # latencies further apart than this stand on a logarithmic axis

LATENCY = {
    "latency_mean_s": ("mean", GREY, [8, 2, 2, 2]),
    "latency_p50_s": ("p50", BLUE, [1, 0]),
    "latency_p95_s": ("p95", GREEN, [6, 3]),
    "latency_p99_s": ("p99", VERMILION, [2, 2]),
}
REGIMES = {
    "on_schedule": ("on schedule", "circle", BLUE),
    "catching_up": ("catching up", "diamond", GREEN),
    "self_clocked": ("self-clocked", "triangle-up", VERMILION),
    "unsustainable": ("unsustainable", "cross", PINK),
}
COLUMNS = (
    "interval_s", *LATENCY, "num_input_rows_mean", "load", "backlog_rows", "regime", "throughput",
    *(f"{name}{end}" for name in LATENCY for end in ("_lo", "_hi")),
)  # fmt: skip
SHORT = "datum.value < 1 ? format(datum.value * 1000, ',~g') + ' ms' : format(datum.value, ',~g') + ' s'"


def curve_chart(
    table: pd.DataFrame,
    *,
    marks: Sequence[tuple[float, str]] = (),
    measured: pd.DataFrame | None = None,
    title: str | None = None,
) -> alt.VConcatChart:
    """Draw latency and load against the interval, on a logarithmic interval axis.

    Args:
        table: A frame such as `sweep.table`, one row an interval, durations in seconds. A column `latency_p95_s_lo`
            with its `_hi` (likewise for mean, p50 and p99) is drawn as a band.
        marks: (interval in seconds, label) pairs, each a vertical rule: T*, the interval in use, an advised one.
        measured: A frame of the same columns whose points are drawn as rings over the curve: what runs brought.
        title: Above the chart; long ones are wrapped.

    Raises:
        ColumnError: The table has no column interval_s.
    """
    frame = checked_frame(table, "table", "interval_s", COLUMNS).sort_values("interval_s", ignore_index=True)
    frame = frame[frame["interval_s"] > 0].reset_index(drop=True)
    points = checked_frame(frame.head(0) if measured is None else measured, "measured", "interval_s", COLUMNS)
    pins = _pins(marks)
    scale = _interval_scale([*frame["interval_s"], *points["interval_s"], *pins["interval_s"]])
    at = _scaled(pins, scale)
    bare = alt.X("interval_s:Q", scale=scale)
    values = frame["interval_s"].tolist() if len(frame) <= FEW else log_ticks(*scale["domain"])
    ticks = {"values": values} if len(frame) else {}
    named = {"labelExpr": SHORT, "labelOverlap": "greedy", "labelSeparation": 6, "title": "interval (log)"}
    x = alt.X("interval_s:Q", scale=scale, axis=alt.Axis(labels=False, ticks=False, title=None, **ticks))
    x_named = alt.X("interval_s:Q", scale=scale, axis=alt.Axis(**named, **ticks))
    across = [rules(at, bare)] if len(at) else []
    panels = [
        panel("Latency of a record", 240, [*across, *_latency(frame, x, points)]),
        panel("Load: work / interval, where 1 is full", 110, [*across, *_load(frame, x_named)]),
    ]
    names = [strip(at, bare.axis(None))] if len(at) else []
    return dressed(stacked([*names, *panels], frame), title, "" if len(frame) else "no intervals yet")


def _pins(marks: Sequence[tuple[float, str]]) -> pd.DataFrame:
    """Return the marks that have a place on the axis, from left to right."""
    rows = sorted((float(at), str(label), "advice") for at, label in marks if np.isfinite(at) and at > 0)
    return pd.DataFrame(rows, columns=["interval_s", "label", "kind"])


def _interval_scale(intervals: list[float]) -> alt.Scale:
    """Return a logarithmic scale that reaches a little further than what is shown."""
    domain = [min(intervals) / 1.25, max(intervals) * 1.25] if intervals else [0.1, 10.0]
    return alt.Scale(type="log", domain=domain, nice=False)


def _scaled(pins: pd.DataFrame, scale: alt.Scale) -> pd.DataFrame:
    """Return the marks with a place for their labels."""
    first, last = np.log(scale["domain"])
    at_px = (np.log(pins["interval_s"].astype(float)) - first) / (last - first) * WIDTH
    return placed(pins, at_px, WIDTH + GUTTER)


def _latency(frame: pd.DataFrame, x: alt.X, points: pd.DataFrame) -> list[alt.Chart]:
    ends = [name for name in COLUMNS if name.startswith("latency") and frame[name].notna().any()]
    both = pd.concat([frame[ends], points[ends]]) if len(points) else frame[ends]
    top = largest(both, ends, 1.0) if ends else 1.0
    values = both.to_numpy()
    low = values[values > 0].min() if (values > 0).any() else top
    log = bool(top > LOG_RATIO * low)
    unit, label = time_unit(top)
    title, domain = (f"latency ({unit}, log)", (float(low), top)) if log else (f"latency ({unit})", (0.0, top))

    def y(field: str) -> alt.Y:
        return height_axis(field, title, domain, log=log, label=label)

    bands = [
        alt.Chart().mark_area(color=colour, opacity=0.16).encode(x=x, y=y(f"{name}_lo"), y2=f"{name}_hi:Q")
        for name, (_, colour, _) in LATENCY.items()
        if {f"{name}_lo", f"{name}_hi"} <= set(ends)
    ]
    folded = (
        alt.Chart()
        .transform_fold(list(LATENCY), as_=["measure", "value"])
        .transform_filter(f"isValid(datum.value) && datum.value > {0 if log else -1}")
        .encode(x=x, y=y("value"), **keyed("measure", LATENCY))
    )
    shapes = alt.Shape("regime:N", scale=_regimes(1), legend=None)
    dots = folded.mark_point(filled=True, size=40 if len(frame) <= FEW else 12, opacity=1, tooltip=RECORD).encode(
        shape=shapes, strokeDash=alt.value([1, 0])
    )
    rings = []
    if len(points):
        placed = alt.Chart(data(points[["interval_s", *LATENCY, "load", "regime"]]))
        rings = [
            placed.transform_fold(list(LATENCY), as_=["measure", "value"])
            .transform_filter("isValid(datum.value) && datum.value > 0")
            .mark_point(filled=False, size=110, strokeWidth=2, opacity=1, tooltip=RECORD)
            .encode(x=x, y=y("value"), **{k: v for k, v in keyed("measure", LATENCY).items() if k == "color"})
        ]
    return [*bands, folded.mark_line(strokeWidth=1.8), dots, *rings]


def _regimes(part: int) -> alt.Scale:
    return alt.Scale(domain=list(REGIMES), range=[regime[part] for regime in REGIMES.values()])


def _load(frame: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    y = height_axis("load", "load", (0, max(1.2, largest(frame, ["load"], 1.0))), label=PLAIN)
    labels = ", ".join(f"'{name}': '{label}'" for name, (label, _, _) in REGIMES.items())
    legend = alt.Legend(title=None, labelExpr=f"{{{labels}}}[datum.value]", symbolSize=60)
    base = alt.Chart().transform_filter("isValid(datum.load)").encode(x=x, y=y)
    full = alt.Chart(alt.InlineData([{"load": 1}])).mark_rule(color=VERMILION, strokeDash=[6, 3]).encode(y=y)
    dots = base.mark_point(filled=True, size=60 if len(frame) <= FEW else 20, opacity=1, tooltip=RECORD).encode(
        color=alt.Color("regime:N", scale=_regimes(2), legend=legend),
        shape=alt.Shape("regime:N", scale=_regimes(1), legend=legend),
    )
    return [full, base.mark_line(color=GREY, strokeWidth=1), dots]

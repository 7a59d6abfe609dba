"""What a prediction is worth: latency against cost, and what was measured against what was predicted.

curve, verification -> frames -> style -> [over_cost] -> render
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.charts.frames import checked_frame, largest
from mblab.charts.quick import alt
from mblab.charts.style import (
    BLUE,
    GREEN,
    GREY,
    PLAIN,
    RECORD,
    VERMILION,
    data,
    dressed,
    height_axis,
    panel,
    stacked,
    time_unit,
)  # fmt: skip
from mblab.timing.durations import format_s

__all__ = ["cost_chart", "decisions_chart", "ribbon_chart", "unbeaten"]

COST_COLUMNS = ("interval_s", "latency_p95_s", "latency_p95_s_lo", "latency_p95_s_hi", "cost_per_hour", "load")
DECISION_COLUMNS = ("at_s", "batch_id", "interval_s", "before_s", "rate", "latency_p95_s", "load", "reason")
RIBBON_COLUMNS = ("arrival_s", "predicted_s", "predicted_s_lo", "predicted_s_hi", "measured_s")


def unbeaten(cost: npt.ArrayLike, latency: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return which points no other one beats in both (Pareto).

    >>> unbeaten([1.0, 2.0, 3.0], [3.0, 1.0, 2.0]).tolist()
    [True, True, False]
    """
    price, delay = np.asarray(cost, np.float64), np.asarray(latency, np.float64)
    order = np.lexsort((delay, price))
    best = np.minimum.accumulate(delay[order])
    found = np.zeros(len(price), np.bool_)
    found[order] = delay[order] < np.concatenate([[np.inf], best[:-1]])
    return found


def cost_chart(
    table: pd.DataFrame, *, advised_s: float | None = None, unit: str = "CPU s", title: str | None = None
) -> alt.LayerChart:
    """Draw p95 latency against what an hour costs, one point an interval.

    Args:
        table: A banded curve: interval_s, latency_p95_s, cost_per_hour, load.
        advised_s: The advised interval, marked.
        unit: Of cost_per_hour.
        title: Above the chart.

    Raises:
        ColumnError: The table has no column cost_per_hour.
    """
    frame = checked_frame(table, "table", "cost_per_hour", COST_COLUMNS).dropna(subset=["latency_p95_s"])
    frame = frame[(frame.cost_per_hour > 0) & (frame.latency_p95_s > 0)].reset_index(drop=True)
    front = unbeaten(frame.cost_per_hour, frame.latency_p95_s)
    labels = [format_s(s) for s in frame.interval_s]
    advised = np.zeros(len(frame), np.bool_) if advised_s is None else np.isclose(frame.interval_s, advised_s)
    kinds = np.where(advised, "advised", np.where(front, "unbeaten", "beaten"))
    frame = frame.assign(kind=kinds, label=np.where(advised, labels, ""))
    top = largest(frame, ["latency_p95_s"], 1.0)
    name, label = time_unit(top)
    low = float(frame.latency_p95_s.min()) if len(frame) else 0.1
    y = height_axis("latency_p95_s", f"p95 latency ({name}, log)", (low, top), log=True, label=label)
    scale = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X(
        "cost_per_hour:Q", scale=scale, axis=alt.Axis(labelExpr=PLAIN, tickCount=6), title=f"{unit} an hour (log)"
    )
    names = ["advised", "unbeaten", "beaten"]
    legend = alt.Legend(title=None, symbolSize=70)
    points = (
        alt.Chart()
        .mark_point(filled=True, size=60, opacity=1, tooltip=RECORD)
        .encode(
            x=x,
            y=y,
            color=alt.Color("kind:N", scale=alt.Scale(domain=names, range=[VERMILION, BLUE, GREY]), legend=legend),
            shape=alt.Shape(
                "kind:N", scale=alt.Scale(domain=names, range=["diamond", "circle", "cross"]), legend=legend
            ),
        )
    )
    line = alt.Chart().transform_filter("datum.kind != 'beaten'").mark_line(color=BLUE, strokeWidth=1).encode(x=x, y=y)
    text = alt.Chart().mark_text(dy=-12, color=GREY, fontSize=11).encode(x=x, y=y, text="label:N")
    chart = panel("Latency against cost: below and left is better", 260, [line, points, text]).properties(
        data=data(frame)
    )
    return dressed(chart, title, "" if len(frame) else "no intervals yet")


def ribbon_chart(ribbon: pd.DataFrame, *, limit_s: float | None = None, title: str | None = None) -> alt.LayerChart:
    """Draw the measured p95 of a run over the ribbon in which it was predicted.

    Args:
        ribbon: arrival_s, predicted_s, predicted_s_lo, predicted_s_hi, measured_s, all in seconds.
        limit_s: A latency that was to be kept, or None.
        title: Above the chart.

    Raises:
        ColumnError: There is no column arrival_s.
    """
    frame = checked_frame(ribbon, "ribbon", "arrival_s", RIBBON_COLUMNS)
    top = max(largest(frame, RIBBON_COLUMNS[1:], 1.0), limit_s or 0.0)
    unit, label = time_unit(top)

    def y(field: str) -> alt.Y:
        return height_axis(field, f"p95 latency ({unit})", (0.0, top), label=label)

    x = alt.X("arrival_s:Q", title="arrival of the rows (s)", scale=alt.Scale(nice=False))
    band = alt.Chart().mark_area(color=BLUE, opacity=0.22).encode(x=x, y=y("predicted_s_lo"), y2="predicted_s_hi:Q")
    names = {"predicted_s": ("predicted", BLUE, [6, 3]), "measured_s": ("measured", GREEN, [1, 0])}
    lines = [
        alt.Chart()
        .transform_filter(f"isValid(datum.{field})")
        .transform_calculate(line=f"'{label}'")
        .mark_line(strokeWidth=1.8, point={"size": 16, "filled": True} if field == "measured_s" else False)
        .encode(
            x=x,
            y=y(field),
            color=alt.Color(
                "line:N",
                scale=alt.Scale(domain=[n for n, _, _ in names.values()], range=[c for _, c, _ in names.values()]),
                legend=alt.Legend(title=None, symbolType="stroke", symbolSize=400),
            ),
            strokeDash=alt.value(dash),
        )
        for field, (label, _, dash) in names.items()
    ]
    limit = []
    if limit_s is not None:
        at = alt.Chart(alt.InlineData([{"limit": limit_s}]))
        limit = [at.mark_rule(color=VERMILION, strokeDash=[6, 3]).encode(y=y("limit"))]
    chart = panel("p95 latency, by when rows arrived", 240, [*limit, band, *lines]).properties(data=data(frame))
    return dressed(chart, title, "" if len(frame) else "no rows yet")


def decisions_chart(
    batches: pd.DataFrame, decisions: pd.DataFrame, *, limit_s: float | None = None, title: str | None = None
) -> alt.VConcatChart:
    """Draw what an autopilot did: the interval over time with its decisions, and below it the latency that came of it.

    Args:
        batches: A frame such as `run.batches`.
        decisions: A frame such as `run.decisions`; its reasons are in the tooltips.
        limit_s: The latency that was to be kept, or None.
        title: Above the chart.
    """
    frame = checked_frame(batches, "batches", "start_s", ("start_s", "interval_s", "latency_p95_s"))
    made = checked_frame(
        decisions if len(decisions) else pd.DataFrame(columns=["at_s"]), "decisions", "at_s", DECISION_COLUMNS
    )
    end = float(frame.start_s.max()) if len(frame) else 1.0

    def x(field: str, *, named: bool) -> alt.X:
        axis = alt.Axis(title="time of the run (s)") if named else alt.Axis(labels=False, ticks=False, title=None)
        return alt.X(f"{field}:Q", scale=alt.Scale(domain=[0, end], nice=False), axis=axis)

    longest = max(largest(frame, ["interval_s"], 1.0), largest(made, ["interval_s"], 0.001))
    unit, label = time_unit(longest)
    y = height_axis("interval_s", f"interval ({unit})", (0.0, longest), label=label)
    steps = alt.Chart().mark_line(color=BLUE, interpolate="step-after", strokeWidth=1.8)
    marks = alt.Chart(data(made)).mark_point(
        filled=True, size=70, shape="diamond", color=VERMILION, opacity=1, tooltip=RECORD
    )
    top = max(largest(frame, ["latency_p95_s"], 1.0), limit_s or 0.0)
    unit_below, label_below = time_unit(top)

    def below(field: str) -> alt.Y:
        return height_axis(field, f"p95 ({unit_below})", (0.0, top), label=label_below)

    limit = []
    if limit_s is not None:
        at = alt.Chart(alt.InlineData([{"limit": limit_s}]))
        limit = [at.mark_rule(color=VERMILION, strokeDash=[6, 3]).encode(y=below("limit"))]
    latency = alt.Chart().mark_line(color=GREEN, strokeWidth=1.5)
    panels = [
        panel(
            "Interval; a diamond is a decision",
            150,
            [
                steps.encode(x=x("start_s", named=False), y=y),
                marks.encode(x=alt.X("at_s:Q", scale=alt.Scale(domain=[0, end], nice=False)), y=y),
            ],
        ),
        panel(
            "p95 latency of each batch", 130,
            [*limit, latency.encode(x=x("start_s", named=True), y=below("latency_p95_s"))],
        ),
    ]  # fmt: skip
    return dressed(stacked(panels, frame), title, "" if len(frame) else "no batches yet")

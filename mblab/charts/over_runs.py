"""Two runs over the same time: latency, batch size, backlog and load, one colour and dash a run.

run.batches of each -> frames -> style -> [over_runs] -> render
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from mblab.charts.frames import drawn_rows, largest
from mblab.charts.quick import alt
from mblab.charts.style import BLUE, PLAIN, VERMILION, data, dressed, height_axis, panel, time_unit
from mblab.metrics import BATCH_COLUMNS

__all__ = ["overlay_chart"]

POINTS: Final = 1000  # of each run
TIME: Final = "start of the batch (s since its run began)"


def overlay_chart(runs: Mapping[str, pd.DataFrame], *, title: str | None = None) -> alt.VConcatChart:
    """Draw two runs over one time axis that begins when each began.

    Args:
        runs: What a run is called → a frame such as `run.batches`; two of them.
        title: Above the chart; long ones are wrapped.

    Raises:
        ColumnError: A frame has no column start_s.
    """
    parts = []
    for label, batches in runs.items():
        frame, _ = drawn_rows(batches, "batches", "start_s", BATCH_COLUMNS, POINTS)
        parts.append(frame.assign(label=label))
    both = pd.concat(parts, ignore_index=True)
    last = max(1.0, largest(both, ["start_s"], 1.0))
    scale = alt.Scale(domain=[0, last * 1.02], nice=False)
    x = alt.X("start_s:Q", scale=scale, axis=alt.Axis(labels=False, ticks=False, title=None, tickCount=8))
    x_named = alt.X("start_s:Q", scale=scale, axis=alt.Axis(labelExpr=PLAIN, title=TIME, tickCount=8))
    names = list(runs)
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolSize=400, labelLimit=600, columns=1)
    colour = alt.Color("label:N", legend=legend, scale=alt.Scale(domain=names, range=[BLUE, VERMILION]))
    dash = alt.StrokeDash("label:N", legend=legend, scale=alt.Scale(domain=names, range=[[1, 0], [6, 3]]))

    def drawn(field: str, across: alt.X, unit: str, top: float, **axis: Any) -> list[alt.Chart]:
        line = alt.Chart().transform_filter(f"isValid(datum.{field})").mark_line(strokeWidth=1.6)
        y = height_axis(field, unit, (0, top), **axis)
        return [line.encode(x=across, y=y, color=colour, strokeDash=dash)]

    top = largest(both, ["latency_p95_s"], 1.0)
    unit, label = time_unit(top)
    load = max(1.2, largest(both, ["load"], 1.0))
    panels = [
        panel(
            "Latency p95 of a batch's records", 170, drawn("latency_p95_s", x, f"latency ({unit})", top, label=label)
        ),
        panel("Batch size", 90, drawn("num_input_rows", x, "rows", largest(both, ["num_input_rows"], 1.0))),
        panel("Backlog", 80, drawn("backlog_rows", x, "rows", largest(both, ["backlog_rows"], 1.0))),
        panel(
            "Load: batch duration / interval, where 1 is full", 90, drawn("load", x_named, "load", load, label=PLAIN)
        ),
    ]
    columns = ["start_s", "label", "batch_id", "latency_p95_s", "num_input_rows", "backlog_rows", "load"]
    chart = alt.vconcat(*panels, data=data(both[columns]), spacing=10).resolve_scale(x="shared")
    return dressed(chart, title, "" if len(both) else "no batches yet")

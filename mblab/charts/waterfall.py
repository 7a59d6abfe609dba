"""The records that took longest: what each of their seconds was spent on, one bar a record.

run.slowest -> style -> [waterfall] -> render
"""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from mblab.charts.frames import checked_frame, largest
from mblab.charts.quick import alt
from mblab.charts.style import BLUE, GREY, PINK, VERMILION, WIDTH, dressed, panel, time_unit

__all__ = ["waterfall_chart"]

ROW_PX: Final = 22
WAITS: Final = {
    "batching_wait_s": ("waits for the trigger", GREY),
    "scheduling_wait_s": ("waits for a batch that overran", VERMILION),
    "backlog_wait_s": ("waits behind older rows (cap)", PINK),
    "processing_wait_s": ("its batch is processed", BLUE),
}
COLUMNS: Final = ("batch_id", "arrival_s", *WAITS, "latency_s", "blocked_by")


def waterfall_chart(slowest: pd.DataFrame, *, title: str | None = None) -> alt.VConcatChart:
    """Draw each record's latency as its four waits, one after the other, and name the batch that blocked it.

    Args:
        slowest: A frame such as `run.slowest()`, one bar a row, in its order.
        title: Above the chart; long ones are wrapped.

    Raises:
        ColumnError: The frame has no column latency_s.
    """
    frame = checked_frame(slowest, "slowest", "latency_s", COLUMNS)
    top = largest(frame, ["latency_s"], 1.0)
    y = alt.Y("place:O", axis=None, scale=alt.Scale(paddingInner=0.25))
    layers = [_bars(frame, y, top), *_labels(frame, y)]
    height = ROW_PX * max(1, len(frame))
    chart = alt.vconcat(panel("Where the slowest records' time went", height, layers).properties(width=WIDTH - 80))
    return dressed(chart, title, "" if len(frame) else "no records yet")


def _bars(frame: pd.DataFrame, y: alt.Y, top_s: float) -> alt.Chart:
    """Return each record's waits as bars, one after the other."""
    unit, label = time_unit(top_s)
    x = alt.X(
        "from_s:Q",
        title=f"since the record arrived ({unit})",
        scale=alt.Scale(domain=[0, top_s * 1.05], nice=False),
        axis=alt.Axis(labelExpr=label, tickCount=8),
    )
    colours = alt.Scale(domain=[what for what, _ in WAITS.values()], range=[colour for _, colour in WAITS.values()])
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=300)
    return (
        alt.Chart(alt.InlineData(_parts(frame) or [{"place": 0, "from_s": 0, "to_s": 0}]))
        .transform_filter("datum.to_s > datum.from_s")
        .mark_bar(tooltip=alt.TooltipContent("data"))
        .encode(x=x, x2="to_s:Q", y=y, color=alt.Color("part:N", scale=colours, legend=legend))
    )


def _parts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row a wait of a record: where it stands, from when to when, and all that is known of the record."""
    parts = []
    for place, row in enumerate(frame.to_dict("records")):
        begin = 0.0
        for name, (what, _) in WAITS.items():
            length = row[name] if row[name] > 0 else 0.0
            part = {"place": place, "part": what, "from_s": begin, "to_s": begin + length, "wait_s": length}
            parts.append(part | {str(column): value for column, value in row.items()})
            begin += length
    return parts


def _labels(frame: pd.DataFrame, y: alt.Y) -> list[alt.Chart]:
    """Return the texts beside the bars: which record it is, and the batch in its way."""
    names = [
        {
            "place": place,
            "who": f"arrived {row['arrival_s']:.4g} s, batch {row['batch_id']:.0f}",
            "latency_s": row["latency_s"],
            "blocked": f"behind batch {row['blocked_by']:.0f}" if row["blocked_by"] >= 0 else "",
        }
        for place, row in enumerate(frame.to_dict("records"))
    ]
    base = alt.Chart(alt.InlineData(names or [{"place": 0, "who": "no records yet", "latency_s": 0, "blocked": ""}]))
    who = base.mark_text(align="right", x=-6, color=GREY, fontSize=11).encode(y=y, text="who:N")
    behind = base.transform_filter("datum.blocked != ''").mark_text(align="left", dx=5, color=GREY, fontSize=11)
    return [who, behind.encode(x="latency_s:Q", y=y, text="blocked:N")]

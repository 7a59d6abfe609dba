"""How every chart looks: colours, sizes, units, and its data embedded once.

Colours are Okabe and Ito's, each with 3:1 contrast or more on white and on JupyterLab's dark page, and never alone: a
dash or a shape says the same. Text is a grey with 4.5:1 on white and on black. The background is transparent. A spec
keeps to what Vega-Lite 5.6 knows, because that is what JupyterLab 4 carries.

    frames -> [style] -> over_time, over_interval

Source: Okabe and Ito, "Color Universal Design" (2008); contrast as in WCAG 2.1.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, TypeVar

import pandas as pd

from mblab.charts.frames import TEXTS, csv_text, harmless
from mblab.charts.offline import offline
from mblab.charts.quick import alt

__all__ = [
    "BLUE", "GREEN", "GREY", "GUTTER", "PINK", "PLAIN", "RECORD", "VERMILION", "WIDTH", "data", "dressed",
    "height_axis", "keyed", "log_ticks", "panel", "rules", "stacked", "strip", "time_unit",
]  # fmt: skip

BLUE, GREEN, VERMILION, PINK = "#0072B2", "#009E73", "#D55E00", "#CC79A7"
GREY = "#767676"

WIDTH = 590  # of the plots; axis on the left and legend on the right make it 760
AXIS = 46  # room for tick labels: the same in every panel, so that the panels align
GUTTER = 95  # right of the plots, for legends

LANE_PX = 15
TITLE_CHARACTERS = 100

TopLevel = TypeVar("TopLevel", alt.LayerChart, alt.VConcatChart)

MARKS = {
    "interval": ("triangle-right", GREY),
    "version": ("diamond", BLUE),
    "failed": ("cross", VERMILION),
    "retried": ("triangle-up", GREEN),
    "dead_lettered": ("square", PINK),
    "advice": ("triangle-down", GREY),
}

THOUSANDS = "format(datum.value, datum.value < 1 ? '~g' : '~s')"  # 10k; an axis's own format would write 0k too
PLAIN = "format(datum.value, ',~g')"
THOUSANDTHS = "format(datum.value * 1000, ',~g')"


RECORD = alt.TooltipContent("data")  # the whole record, under the names of `run.batches`


def data(frame: pd.DataFrame) -> alt.InlineData:
    """Return a frame as inline CSV, a quarter of the size of JSON rows; equal frames are embedded once a chart.

    Columns that hold nothing are left out.
    """
    drawn = frame.loc[:, (frame.notna() & (frame != "")).any() | (frame.columns == frame.columns[0])]
    parse = {name: "string" if name in TEXTS else "number" for name in drawn.columns}
    return alt.InlineData(values=csv_text(drawn), format=alt.CsvDataFormat(type="csv", parse=parse))


def time_unit(top_s: float) -> tuple[str, str]:
    """Return the unit for durations up to `top_s` and the label expression that shows seconds in it.

    >>> time_unit(0.8)
    ('ms', "format(datum.value * 1000, ',~g')")
    """
    return ("ms", THOUSANDTHS) if top_s < 1 else ("s", PLAIN)


def height_axis(field: str, title: str, domain: Sequence[float], *, log: bool = False, label: str = THOUSANDS) -> alt.Y:
    """Return a y axis with a fixed domain, so that no rows, or only zeros, still make a chart.

    Args:
        field: Column or folded value.
        title: What it is, with its unit.
        domain: Lowest and highest value drawn; the axis reaches a little further.
        log: Whether the scale is logarithmic.
        label: Vega expression for the tick labels.
    """
    low, high = (domain[0] / 1.2, domain[1] * 1.2) if log else (domain[0], domain[1] * 1.05)
    ticks: dict[str, Any] = {"values": log_ticks(low, high)} if log else {"tickCount": 4}
    if title == "rows" and high < 5:
        ticks = {"values": list(range(int(high) + 1))}  # there are no half rows
    scale = alt.Scale(type="log" if log else "linear", domain=[low, high], nice=False, zero=not log)
    return alt.Y(
        f"{field}:Q", title=title, scale=scale, axis=alt.Axis(minExtent=AXIS, maxExtent=AXIS, labelExpr=label, **ticks)
    )


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two positive ones: 1, 2, 5, 10 and so on, over many decades powers of ten only.

    >>> log_ticks(0.15, 12)
    [0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    return [tick for power in powers for step in steps if low <= (tick := float(f"{step}e{power}")) <= high]


def keyed(field: str, styles: dict[str, tuple[str, str, list[int]]]) -> dict[str, Any]:
    """Return colour and dash encodings of folded lines, with one legend for both.

    Args:
        field: The column that names the line.
        styles: Name in the data → label in the legend, colour, dash.
    """
    labels = ", ".join(f"'{name}': '{label}'" for name, (label, _, _) in styles.items())
    legend = alt.Legend(title=None, labelExpr=f"{{{labels}}}[datum.value]", symbolType="stroke", symbolSize=400)
    colours = alt.Scale(domain=list(styles), range=[colour for _, colour, _ in styles.values()])
    dashes = alt.Scale(domain=list(styles), range=[dash for _, _, dash in styles.values()])
    return {
        "color": alt.Color(f"{field}:N", scale=colours, legend=legend),
        "strokeDash": alt.StrokeDash(f"{field}:N", scale=dashes, legend=legend),
    }


def strip(marks: pd.DataFrame, x: alt.X) -> alt.LayerChart:
    """Return the strip above the panels that names the marks, so that no label lies on the data.

    Args:
        marks: From `placed`, with the column of `x`.
        x: The x channel of the panels, without an axis.
    """
    lanes = int(marks["lane"].max()) + 1
    y = alt.Y("lane:Q", scale=alt.Scale(domain=[lanes - 0.5, -0.5], nice=False, zero=False), axis=None)
    base = alt.Chart(data(marks)).encode(x=x, y=y)
    shapes = alt.Scale(domain=list(MARKS), range=[shape for shape, _ in MARKS.values()])
    colours = alt.Scale(domain=list(MARKS), range=[colour for _, colour in MARKS.values()])
    symbols = base.mark_point(filled=True, size=45, opacity=1, tooltip=RECORD).encode(
        shape=alt.Shape("kind:N", scale=shapes, legend=None), color=alt.Color("kind:N", scale=colours, legend=None)
    )
    labels = [
        base.transform_filter(f"datum.label && datum.side == '{side}'")
        .mark_text(color=GREY, align=align, dx=dx, baseline="middle", fontSize=11)
        .encode(text="label:N")
        for side, align, dx in (("right", "left", 7), ("left", "right", -7))
    ]
    return alt.LayerChart(layer=[symbols, *labels]).properties(width=WIDTH, height=LANE_PX * lanes)


def rules(marks: pd.DataFrame, x: alt.X) -> alt.Chart:
    """Return thin vertical rules through a panel, one a mark."""
    return alt.Chart(data(marks)).mark_rule(color=GREY, strokeDash=[2, 3]).encode(x=x)


def panel(title: str, height: int, layers: Sequence[alt.Chart]) -> alt.LayerChart:
    """Return layers as one panel of the house's width."""
    layered = alt.LayerChart(layer=list(layers))
    return layered.properties(title=alt.TitleParams(title, offset=4), width=WIDTH, height=height)


def stacked(panels: Sequence[alt.LayerChart], frame: pd.DataFrame) -> alt.VConcatChart:
    """Return panels above each other on one x axis, over one copy of the data."""
    chart = alt.vconcat(*panels, data=data(frame), spacing=10)
    return chart.resolve_scale(x="shared", color="independent", shape="independent", strokeDash="independent")


def dressed(chart: TopLevel, title: str | None, note: str = "") -> TopLevel:
    """Return the chart with the house's title, greys and transparent background, which shows itself offline."""
    title, note = harmless(title or ""), harmless(note)
    if title:
        chart = chart.properties(description=title)
    if title or note:
        lines = textwrap.wrap(title, TITLE_CHARACTERS) or [""]
        chart = chart.properties(title=alt.TitleParams(lines, subtitle=note, fontSize=14, offset=10))
    words: dict[str, Any] = {"labelColor": GREY, "titleColor": GREY, "labelFontSize": 11, "titleFontSize": 11}
    rules: dict[str, Any] = {"tickColor": GREY, "domainColor": GREY, "gridColor": GREY, "gridOpacity": 0.18}
    chart = chart.configure(
        aria=False,  # thousands of marks read out one by one help nobody; the description stays
        background="transparent",
        padding=6,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(**words, **rules, titleFontWeight="normal"),
        legend=alt.LegendConfig(**words, offset=10, labelLimit=GUTTER),
        title=alt.TitleConfig(color=GREY, subtitleColor=GREY, anchor="start", frame="group", fontSize=12, limit=760),
    )
    return offline(chart)

"""The chart that moves: the panels of a run as a spec without rows, compiled once, fed by whoever shows it.

Rows and axis limits come from outside while it is on screen: rows into the named data `batches`, `marks` and `guides`,
limits as the parameters in `PARAMETERS`. So nothing here is made again when a batch ends. Headings and keys of the
panels are in the spec's `usermeta`, for the page to write; the plots have no text of their own but axis labels.

    style -> [live] -> dashboard
"""

from __future__ import annotations

from typing import Any, Final

from mblab.charts.quick import alt
from mblab.charts.style import BLUE, GREEN, GREY, MARKS, PINK, VERMILION

__all__ = ["PARAMETERS", "live_spec"]

# limits of the axes, the ticks of the logarithmic one, and the width of a bar in px
PARAMETERS: Final[dict[str, Any]] = {
    "x0": 0.0, "x1": 10.0, "latency1": 1.0, "rows1": 1.0, "rate0": 1.0, "rate1": 1000.0, "rates": [1.0, 1000.0],
    "backlog1": 1.0, "load1": 1.2, "bar": 4.0,
}  # fmt: skip

AXIS = 54
SPACING = 28  # between panels: the heading stands there
LANES = 2

LATENCY = (
    ("latency_p50_s", "p50", BLUE, [1, 0]),
    ("latency_p95_s", "p95", GREEN, [6, 3]),
    ("latency_p99_s", "p99", VERMILION, [2, 2]),
)
THROUGHPUT = (
    ("input_rows_per_second", "arriving", BLUE, [1, 0]),
    ("processed_rows_per_second", "processed while working", GREEN, [6, 3]),
)

SECONDS = "latency1 < 1 ? format(datum.value * 1000, ',~g') + ' ms' : format(datum.value, ',~g') + ' s'"
CLOCK = (
    "x1 < 600 ? format(datum.value, ',~g') + ' s' : "
    "floor(datum.value / 60) + ':' + format(datum.value - 60 * floor(datum.value / 60), '02.0f')"
)
COUNT = "datum.value % 1 ? '' : datum.value < 1000 ? format(datum.value, '~g') : format(datum.value, '~s')"


def _limit(name: str) -> alt.ExprRef:
    return alt.ExprRef(name)


def _height(field: str, top: str, label: str, **axis: Any) -> alt.Y:
    scale = alt.Scale(domain=[0, _limit(top)], nice=False, zero=True, clamp=True)
    return alt.Y(f"{field}:Q", scale=scale, title=None, axis=_axis(label, **{"tickCount": 3, **axis}))


def _axis(label: str, **more: Any) -> alt.Axis:
    return alt.Axis(labelExpr=label, minExtent=AXIS, maxExtent=AXIS, title=None, **more)


def _line(x: alt.X, y: alt.Y, colour: str, dash: list[int], **more: Any) -> alt.Chart:
    return alt.Chart().mark_line(color=colour, strokeDash=dash, strokeWidth=1.7, clip=True, **more).encode(x=x, y=y)


def _rules(x: alt.X) -> alt.Chart:
    """Return the moments that something changed, as vertical rules through a panel."""
    return alt.Chart(alt.NamedData("marks")).mark_rule(color=GREY, strokeDash=[2, 3], clip=True).encode(x=x)


def _latency(x: alt.X) -> list[alt.Chart]:
    def y(field: str) -> alt.Y:
        return _height(field, "latency1", SECONDS, tickCount=4)

    band = alt.Chart().mark_area(color=BLUE, opacity=0.16, clip=True)
    band = band.encode(x=x, y=y("latency_p50_s"), y2="latency_p99_s:Q")
    guides = alt.Chart(alt.NamedData("guides")).encode(y=y("level_s"), color=alt.Color("colour:N", scale=None))
    dashes = alt.Scale(domain=["target", "p50", "p95", "p99"], range=[[1, 0], [1, 0], [6, 3], [2, 2]])
    lines = guides.mark_rule(strokeWidth=3, opacity=0.5, clip=True)
    lines = lines.encode(strokeDash=alt.StrokeDash("kind:N", scale=dashes, legend=None))
    steps = _line(x, y("interval_s"), GREY, [1, 0], interpolate="step-after")
    return [band, steps, *(_line(x, y(f), colour, dash) for f, _, colour, dash in LATENCY), lines]


def _throughput(x: alt.X) -> list[alt.Chart]:
    def y(field: str) -> alt.Y:
        scale = alt.Scale(type="log", domain=[_limit("rate0"), _limit("rate1")], nice=False, clamp=True)
        return alt.Y(f"{field}:Q", scale=scale, title=None, axis=_axis(COUNT, values=_limit("rates")))

    return [_line(x, y(f), colour, dash) for f, _, colour, dash in THROUGHPUT]


def _load(x: alt.X) -> list[alt.Chart]:
    y = _height("load", "load1", "format(datum.value, '~g')")
    full = alt.Chart(alt.InlineData([{"load": 1}])).mark_rule(color=VERMILION, strokeDash=[6, 3]).encode(y=y)
    over = alt.Chart().transform_filter("datum.load >= 1")
    over = over.mark_point(filled=True, shape="triangle-up", size=34, opacity=1, color=VERMILION, clip=True)
    return [full, _line(x, y, BLUE, [1, 0]), over.encode(x=x, y=y)]


def _strip(x: alt.X) -> alt.LayerChart:
    """Return the strip that names the marks; who feeds it gives each a lane and a side, so that no labels touch."""
    scale = alt.Scale(domain=[LANES - 0.5, -0.5], nice=False, zero=False)
    y = alt.Y("lane:Q", scale=scale, axis=_axis("''", ticks=False, grid=False))
    base = alt.Chart(alt.NamedData("marks")).encode(x=x, y=y)
    kinds = list(MARKS)
    shapes = alt.Scale(domain=kinds, range=[shape for shape, _ in MARKS.values()])
    colours = alt.Scale(domain=kinds, range=[colour for _, colour in MARKS.values()])
    symbols = base.mark_point(filled=True, size=46, opacity=1).encode(
        shape=alt.Shape("kind:N", scale=shapes, legend=None), color=alt.Color("kind:N", scale=colours, legend=None)
    )
    labels = [
        base.transform_filter(f"datum.label && datum.side === '{side}'")
        .mark_text(align=align, dx=dx, baseline="middle", fontSize=11)
        .encode(text="label:N")
        for side, align, dx in (("right", "left", 7), ("left", "right", -7))
    ]
    return alt.LayerChart(layer=[symbols, *labels])


def live_spec() -> dict[str, Any]:
    """Return the spec of the live chart: its named data are empty, its plots 600 px wide until the page says otherwise.

    Data `batches` has the columns of `run.batches`; `marks` has start_s, kind, label, lane (0 or 1) and side (left or
    right); `guides` has kind (target, p50, p95 or p99), level_s and colour.
    """
    scale = alt.Scale(domain=[_limit("x0"), _limit("x1")], nice=False, zero=False, padding=0)  # bars would widen it
    quiet = alt.X("start_s:Q", scale=scale, axis=alt.Axis(labels=False, ticks=False, title=None, tickCount=6))
    clock = alt.Axis(
        labelExpr=CLOCK, title=None, tickCount=6, labelFlush=True, labelOverlap="greedy", labelSeparation=8
    )
    named = alt.X("start_s:Q", scale=scale, axis=clock)
    strip = _strip(alt.X("start_s:Q", scale=scale, axis=None))
    size = _height("num_input_rows", "rows1", COUNT)
    backlog = _height("backlog_rows", "backlog1", COUNT)
    bars = alt.Chart().mark_bar(size=alt.ExprRef("bar"), color=GREEN, opacity=0.85, clip=True)
    area = alt.Chart().mark_area(color=PINK, opacity=0.4, interpolate="step-after", clip=True)
    edge = _line(quiet, backlog, PINK, [1, 0], interpolate="step-after")
    key = [{"label": label, "colour": colour, "dash": dash} for _, label, colour, dash in LATENCY]
    pace = {"label": "interval", "colour": GREY, "dash": [1, 0]}
    full = {"label": "1 or more", "colour": VERMILION, "shape": "▲"}
    rates = [{"label": label, "colour": colour, "dash": dash} for _, label, colour, dash in THROUGHPUT]
    layers: list[tuple[str, int, list[dict[str, Any]], list[alt.Chart]]] = [
        ("Latency of a record", 132, [*key, pace], [*_latency(quiet), _rules(quiet)]),
        ("Batch size, rows", 54, [], [bars.encode(x=quiet, y=size), _rules(quiet)]),
        ("Throughput, rows/s", 62, rates, [*_throughput(quiet), _rules(quiet)]),
        ("Backlog, rows", 46, [], [area.encode(x=quiet, y=backlog), edge, _rules(quiet)]),
        ("Load, where 1 is full", 54, [full], [*_load(named), _rules(named)]),
    ]  # fmt: skip
    panels = [strip.properties(width=600, height=15 * LANES)]
    panels += [alt.LayerChart(layer=own).properties(width=600, height=height) for _, height, _, own in layers]
    chart = alt.vconcat(*panels, data=alt.NamedData("batches"), spacing=SPACING, bounds="flush")
    chart = chart.resolve_scale(x="independent", y="independent")
    spec: dict[str, Any] = chart.to_dict()
    spec.pop("config", None)
    spec["params"] = [{"name": name, "value": value} for name, value in PARAMETERS.items()]  # altair takes a second
    spec["usermeta"] = {"panels": [{"title": title, "key": key} for title, _, key, _ in layers]}
    spec["padding"] = {"left": 4, "top": 4, "right": 14, "bottom": 4}
    return spec

"""A metrics frame in, an Altair chart out; and the chart as something a page shows without a network.

run.batches, sweep.table -> facts -> style -> over_time, over_interval, over_runs, over_size, waterfall -> render
"""

from mblab.charts.facts import MARK_COLUMNS, marks_of, thinned
from mblab.charts.over_cost import cost_chart, decisions_chart, ribbon_chart
from mblab.charts.over_interval import curve_chart
from mblab.charts.over_runs import overlay_chart
from mblab.charts.over_size import spectrum_chart
from mblab.charts.over_time import run_chart
from mblab.charts.render import enable, html_fragment, mimebundle, png_bytes, svg_text
from mblab.charts.waterfall import waterfall_chart

__all__ = [
    "MARK_COLUMNS",
    "cost_chart",
    "curve_chart",
    "decisions_chart",
    "enable",
    "html_fragment",
    "marks_of",
    "mimebundle",
    "overlay_chart",
    "png_bytes",
    "ribbon_chart",
    "run_chart",
    "spectrum_chart",
    "svg_text",
    "thinned",
    "waterfall_chart",
]


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers

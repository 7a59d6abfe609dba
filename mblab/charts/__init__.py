"""A metrics frame in, an Altair chart out; and the chart as something a page shows without a network.

Altair is imported when the first chart is drawn: what shows itself, and the HTML of tables, do without it.

    run.batches, sweep.table -> frames -> style -> over_time, over_interval, over_runs, over_size, over_cost, waterfall
    over_… -> render -> vega -> notebook, page
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mblab.errors import extra

if TYPE_CHECKING:
    from mblab.charts.frames import MARK_COLUMNS, marks_of, thinned
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

_FILES = {
    "frames": ("MARK_COLUMNS", "marks_of", "thinned"),
    "over_cost": ("cost_chart", "decisions_chart", "ribbon_chart"),
    "over_interval": ("curve_chart",),
    "over_runs": ("overlay_chart",),
    "over_size": ("spectrum_chart",),
    "over_time": ("run_chart",),
    "render": ("enable", "html_fragment", "mimebundle", "png_bytes", "svg_text"),
    "waterfall": ("waterfall_chart",),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module 'mblab.charts' has no attribute {name!r}")
    with extra("a chart"):
        file = importlib.import_module(f"mblab.charts.{_FILE_OF[name]}")
    value = globals()[name] = getattr(file, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers

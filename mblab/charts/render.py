"""A chart as what a page can show without a network: a notebook's bundle, an image, inline SVG.

JupyterLab 4 renders Vega-Lite 5 by itself and nothing newer, so the spec goes out under that mime type; the PNG beside
it is for whatever cannot draw a spec (GitHub, nbconvert, a mail).

    over_time, over_interval -> [render] -> notebook, report page
"""

from __future__ import annotations

import base64
import contextlib
import html
import re
import zlib
from typing import Any

from altair.typing import ChartType

from mblab.charts import vega
from mblab.charts.quick import alt

__all__ = ["MIME", "SCHEMA", "enable", "html_fragment", "mimebundle", "png_bytes", "svg_text"]

MIME = "application/vnd.vegalite.v5+json"
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"

SVG_IDS = re.compile(r'(\bid="|url\(#)((?:clip|gradient)_?\d+)')


def mimebundle(chart: ChartType, text: str) -> dict[str, Any]:
    """Return what a notebook displays: the spec for JupyterLab, a PNG for the rest, and text.

    Without vl-convert, or when it cannot draw the chart, the PNG is left out.

    Args:
        chart: ChartType Altair chart.
        text: What a terminal shows.
    """
    return _bundle(chart.to_dict(), text)


def _bundle(spec: dict[str, Any], text: str) -> dict[str, Any]:
    bundle: dict[str, Any] = {MIME: {**spec, "$schema": SCHEMA}, "text/plain": text}
    with contextlib.suppress(Exception):  # a notebook without the image is still a notebook with the chart
        bundle["image/png"] = base64.b64encode(vega.png(spec)).decode("ascii")
    return bundle


def enable() -> None:
    """Make Altair show every chart of this session as mblab shows its own: offline, in JupyterLab as elsewhere."""

    def show(spec: dict[str, Any], **_: Any) -> dict[str, Any]:
        return _bundle(spec, "<Altair chart>")

    alt.renderers.register("mblab", show)
    alt.renderers.enable("mblab")


def png_bytes(chart: ChartType) -> bytes:
    """Return a chart as a PNG, one pixel a unit, on white.

    Raises:
        MissingExtra: vl-convert-python cannot be imported.
    """
    return vega.png(chart.to_dict())


def svg_text(chart: ChartType) -> str:
    """Return a chart as an SVG document that refers to nothing outside itself.

    Raises:
        MissingExtra: vl-convert-python cannot be imported.
    """
    return vega.svg(chart.to_dict())


def html_fragment(chart: ChartType) -> str:
    """Return a chart as a `<figure>` with inline SVG, for a page that opens offline and runs no script.

    The chart's description, which is its title, is what a screen reader says. Ids inside the SVG are made this
    figure's own, since several share a page.

    Raises:
        MissingExtra: vl-convert-python cannot be imported.
    """
    spec = chart.to_dict()
    svg = vega.svg(spec)
    own = f"c{zlib.crc32(svg.encode()):08x}"
    inline = SVG_IDS.sub(rf"\g<1>{own}-\g<2>", svg)
    named = spec.get("description", "chart").replace("‹", "<")  # here it is escaped, so it may say what it is
    return f'<figure class="mblab-chart" role="img" aria-label="{html.escape(named)}">{inline}</figure>'

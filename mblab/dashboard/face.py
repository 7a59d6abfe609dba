"""What a cell shows: the dashboard where somebody sits before it, a chart and a table where nobody does.

A dashboard is nothing without its kernel, so a still picture stands beside it in the notebook, hidden while the
dashboard lives and renewed whenever a run comes to rest.

    lab -> [face] -> panel, or charts
"""

from __future__ import annotations

import base64
import html
import logging
import secrets
from collections import deque
from typing import Any

from IPython.display import display, update_display

from mblab.charts import vega
from mblab.dashboard.panel import Panel
from mblab.errors import MblabError
from mblab.lab import Lab

__all__ = ["bundle", "close_panels", "panel_of"]

WIDGET = "application/vnd.jupyter.widget-view+json"
STILLS_KEPT = 5
# where the picture stands in for a dashboard, JupyterLab's own line that the widget is missing helps nobody
NO_WIDGET = ".jp-OutputArea:has(.mblab-still img) .jupyter-widgets:not(:has(*)) { display: none; }"

TABLE = [
    "rows", "batches", "latency_p50_s", "latency_p95_s", "latency_p99_s", "load", "throughput", "backlog_rows",
    "regime",
]  # fmt: skip

logger = logging.getLogger("mblab")

_panels: dict[str, tuple[Panel, deque[str]]] = {}


def panel_of(lab: Lab) -> Panel:
    """Return the lab's panel; that of an earlier lab of the same name is closed, and its page says so."""
    return _known(lab)[0]


def _known(lab: Lab) -> tuple[Panel, deque[str]]:
    known = _panels.get(lab.name)
    if known is not None and known[0].lab is lab and known[0].alive:
        return known
    if known is not None:
        known[0].close("This lab was made again; show the new one to see its dashboard.")
    stills: deque[str] = deque(maxlen=STILLS_KEPT)
    known = _panels[lab.name] = Panel(lab, lambda resting: _renew(resting, stills)), stills
    return known


def close_panels() -> None:
    """Stop every panel; their pages say that it was asked for."""
    while _panels:
        _panels.popitem()[1][0].close("mblab was unloaded; show the lab again to see its dashboard.")


def bundle(lab: Lab) -> dict[str, Any]:
    """Return the mime bundle of a lab, after the still picture or the table that goes before it."""
    if lab.headless:
        return _printed(lab)
    panel, stills = _known(lab)
    stills.append(f"mblab-still-{secrets.token_hex(8)}")
    display({"text/html": _still(None, ""), "text/plain": ""}, raw=True, display_id=stills[-1])
    panel.look_again()
    view = {"version_major": 2, "version_minor": 0, "model_id": panel.view.model_id}
    return {WIDGET: view, "text/plain": str(lab.describe())}


def _printed(lab: Lab) -> dict[str, Any]:
    """Return the static chart of the newest run, after a table of its figures."""
    run = lab.last_run
    if run is None or run.last_progress is None:
        return {"text/plain": str(lab.describe())}
    display(run.summary()[TABLE].to_frame(run.run_id).T)
    return run._repr_mimebundle_()


def _still(png: bytes | None, text: str) -> str:
    """Return the picture as HTML that the page can hide while a dashboard lives beside it."""
    if png is None:
        return '<div class="mblab-still"></div>'
    data = base64.b64encode(png).decode("ascii")
    picture = f'<img alt="{html.escape(text)}" src="data:image/png;base64,{data}">'
    return f'<div class="mblab-still"><style>{NO_WIDGET}</style>{picture}</div>'


def _renew(lab: Lab, stills: deque[str]) -> None:
    """Put a picture of the newest run into the notebook; without one the notebook is as good as before."""
    run = lab.last_run
    if run is None or run.last_progress is None:
        return
    text = repr(run)
    try:
        png = vega.picture(run.plot().to_dict())
    except MblabError as error:
        logger.warning("no still picture of %s: %s", text, error)
        return
    for still in tuple(stills):
        update_display({"text/html": _still(png, text), "text/plain": text}, raw=True, display_id=still)

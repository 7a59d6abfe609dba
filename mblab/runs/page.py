"""A page that stands alone: charts, tables and code in one HTML file that opens without a network.

Everything the page needs is inside it, and its policy (CSP) lets it fetch nothing and run no script but its own two,
known by their hash. Names, values and code are escaped, and the page's script writes them as text only.

    charts, frames, texts -> [page] -> run_page, demo
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import html
import json
import math
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from mblab.charts import vega
from mblab.tables.values import as_python

if TYPE_CHECKING:
    from altair.typing import ChartType

__all__ = ["Page", "figure_text", "plain", "script_json", "table_of"]

HERE: Final = Path(__file__).parent
ROWS_SHOWN: Final = 20_000
COLUMNS_SHOWN: Final = 100
CELLS_SHOWN: Final = 1_000_000
LETTERS_SHOWN: Final = 1_000  # of a text in a cell


class Page:
    """A page in the making; `text()` gives it.

    Args:
        title: Its heading, and the name of its tab.
        head: More markup for its head, taken as it is.
    """

    def __init__(self, title: str, head: str = "") -> None:
        self._title, self._head = title, head
        self._body: list[str] = []
        self._data: dict[str, str] = {}

    def heading(self, text: str, note: str = "") -> None:
        """Begin a section."""
        self._body.append(f"<h2>{html.escape(text)}</h2>")
        if note:
            self.paragraph(note)

    def paragraph(self, text: str, kind: str = "") -> None:
        """Add a paragraph; `kind` found sets it apart and keeps its line breaks."""
        self._body.append(f'<p class="{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>")

    def links(self, names: Iterable[str]) -> None:
        """Add links to files beside the page."""
        items = "".join(f'<li><a href="{html.escape(name)}">{html.escape(name)}</a></li>' for name in names)
        self._body.append(f"<ul>{items}</ul>")

    def tiles(self, tiles: Iterable[tuple[str, str]]) -> None:
        """Add (figure, what it is) pairs as tiles."""
        items = "".join(f"<li><b>{html.escape(v)}</b> {html.escape(what)}</li>" for v, what in tiles)
        self._body.append(f'<ul class="tiles">{items}</ul>')

    def card(self, markup: str) -> None:
        """Add markup, taken as it is, in a frame that scrolls."""
        self._body.append(f'<div class="card">{markup}</div>')

    def code(self, text: str, title: str = "") -> None:
        """Add code."""
        named = f"<h3>{html.escape(title)}</h3>" if title else ""
        self.card(f"{named}<pre><code>{html.escape(text)}</code></pre>")

    def chart(self, chart: ChartType) -> None:
        """Add an Altair chart that answers to the pointer."""
        self.card(f'<div data-chart="{self._embed("chart", chart.to_dict())}"></div>')

    def rows(self, frame: pd.DataFrame) -> None:
        """Add a table to sort, search and save.

        Of more than 20 000 rows, or a million values, the newest rows are there, of more than 100 columns the first
        ones, with a line that says so; of a longer text a thousand letters.
        """
        count, width = frame.shape
        shown = frame.iloc[-min(ROWS_SHOWN, CELLS_SHOWN // max(1, min(width, COLUMNS_SHOWN))) :, :COLUMNS_SHOWN]
        name = self._embed("rows", table_of(shown))
        left = [f"the newest {len(shown):,} of {count:,} rows"] if len(shown) < count else []
        left += [f"the first {COLUMNS_SHOWN:,} of {width:,} columns"] if width > COLUMNS_SHOWN else []
        if left:
            said = " and ".join(left)
            self.paragraph(f"{said[0].upper()}{said[1:]}.")
        self._body.append(f'<div class="card rows" data-rows="{name}"></div>')

    def _embed(self, kind: str, value: Mapping[str, Any]) -> str:
        name = f"{kind}-{len(self._data) + 1}"
        self._data[name] = script_json(value)
        return name

    def text(self) -> str:
        """Return the page.

        Raises:
            MissingExtra: It has charts that answer to the pointer, and vl-convert-python is not installed.
        """
        scripts = [(HERE / "page.js").read_text(encoding="utf-8")] if self._data else []
        if any(name.startswith("chart") for name in self._data):
            scripts.insert(0, vega.page_code())
        hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
        evaluates = (
            " 'unsafe-eval'" if len(scripts) > 1 else ""
        )  # Vega compiles the charts' expressions, which are ours
        policy = (
            f"default-src 'none'; script-src {hashes}{evaluates}; style-src 'unsafe-inline'; img-src data: blob:; "
            "base-uri 'none'; form-action 'none'"
        )
        held = [f'<script type="application/json" id="{name}">{text}</script>' for name, text in self._data.items()]
        template = string.Template((HERE / "page.html").read_text(encoding="utf-8"))
        return template.substitute(
            head=f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">{self._head}',
            title=html.escape(self._title),
            heading=html.escape(self._title),
            body="\n".join(self._body),
            scripts="\n".join([*held, *(f"<script>{script}</script>" for script in scripts)]),
        )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def script_json(value: Mapping[str, Any]) -> str:
    r"""Return a value as JSON that may stand inside a script element, whatever texts it holds.

    >>> script_json({"a": "</script>"})
    '{"a": "\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def table_of(frame: pd.DataFrame) -> dict[str, Any]:
    """Return a frame as JSON-able columns and rows; what is missing is None, what is no number, text."""
    values = [[plain(value) for value in frame.iloc[:, i].tolist()] for i in range(frame.shape[1])]
    return {"columns": [str(c) for c in frame.columns], "rows": [list(row) for row in zip(*values, strict=True)]}


def plain(value: object) -> bool | float | str | None:
    """Return a value as JSON knows it: a finite number, a truth value, text, or None for what is missing."""
    value = as_python(value)  # a scalar of NumPy's
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    return value.isoformat(sep=" ") if isinstance(value, dt.datetime) else _cut(str(value))


def _cut(text: str) -> str:
    """Return a text as far as a cell shows it, and how long it is where that is not all."""
    if len(text) <= LETTERS_SHOWN:
        return text
    return f"{text[:LETTERS_SHOWN]}… ({len(text):,} letters)"


def figure_text(value: object) -> str:
    """Return a setting or a figure as text.

    >>> figure_text(0.25), figure_text(None), figure_text({"interval": "1s"})
    ('0.25', '–', "{'interval': '1s'}")
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, Mapping):
        return str(dict(value))
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)

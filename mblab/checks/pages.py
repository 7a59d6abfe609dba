"""Tables and states as HTML for a cell's output: nothing in it is run, whatever a column, a value or an error says.

frames, states, texts -> [pages] -> inspection, rerun
"""

from __future__ import annotations

import html
import traceback
from collections.abc import Iterable, Mapping
from typing import Final

import pandas as pd

from mblab.errors import shown

__all__ = [
    "block", "cell", "difference_html", "error_block", "error_text", "page", "plain", "state_html", "table_html",
]  # fmt: skip

ROWS: Final = 8
COLUMNS: Final = 20
ENTRIES: Final = 20
LETTERS: Final = 200
EDGE: Final = "1px solid var(--jp-border-color2, #ccc)"
WARN: Final = "#d55e00"
NO_MATH: Final = "tex2jax_ignore mathjax_ignore"  # else a page typesets `$…$` in data, links and all


def cell(value: object) -> str:
    """Return a value as escaped text of bounded length."""
    return html.escape(value if isinstance(value, str) and len(value) <= LETTERS else shown(value, LETTERS))


def table_html(frame: pd.DataFrame, rows: int = ROWS) -> str:
    """Return the first and last rows of a frame as a table, or a word where there are none."""
    if not len(frame):
        return "<p>no rows</p>"
    try:
        return frame.to_html(max_rows=rows, max_cols=COLUMNS, border=0, escape=True, show_dimensions=False)
    except Exception as error:  # a value whose own text fails
        return f"<p>cannot be shown: {cell(f'{type(error).__name__}: {error}')}</p>"


def entries_html(pairs: Iterable[tuple[object, object]], count: int) -> str:
    """Return the first of some pairs as a table of two columns."""
    lines = []
    for (name, value), _ in zip(pairs, range(ENTRIES), strict=False):
        text = (
            table_html(value, 4)
            if isinstance(value, pd.DataFrame)
            else f"<code>{html.escape(shown(value, LETTERS))}</code>"
        )
        lines.append(f'<tr><th style="text-align:left">{cell(name)}</th><td style="text-align:left">{text}</td></tr>')
    more = f"<p>and {count - ENTRIES:,} more</p>" if count > ENTRIES else ""
    return f'<table class="dataframe">{"".join(lines)}</table>{more}'


def state_html(state: object) -> str:
    """Return what a step remembers as a table, or a word where it is nothing."""
    if isinstance(state, Mapping):
        return entries_html(state.items(), len(state)) if state else "<p>nothing yet</p>"
    if isinstance(state, pd.DataFrame):
        return table_html(state)
    return f"<p><code>{html.escape(shown(state, LETTERS))}</code></p>"


def error_block(text: str) -> str:
    """Return an error's text, its lines kept."""
    style = f"border-left:3px solid {WARN};padding:6px 10px;white-space:pre-wrap;overflow-wrap:anywhere"
    return f'<pre style="{style}">{html.escape(text)}</pre>'


def block(title: str, body: str, *, unfolded: bool = True) -> str:
    """Return a part that can be folded away; the body is HTML already."""
    head = f'<summary style="cursor:pointer;font-weight:600">{html.escape(title)}</summary>'
    inside = f'{head}<div style="overflow-x:auto">{body}</div>'
    return f'<details{" open" if unfolded else ""} style="margin:6px 0">{inside}</details>'


def page(title: str, about: str, parts: Iterable[str]) -> str:
    """Return parts under a heading and a line of figures."""
    head = f'<div style="font-weight:600;font-size:110%">{html.escape(title)}</div><div>{html.escape(about)}</div>'
    box = f"border:{EDGE};border-radius:4px;padding:8px 12px"
    return f'<div class="mblab-page {NO_MATH}" style="{box}">{head}{"".join(parts)}</div>'


def difference_html(diff: pd.DataFrame, rows: int = 40) -> str:
    """Return cells that differ (row, column, recorded, output) as a table, what was beside what is."""
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in ("row", "column", "recorded", "today"))
    lines = []
    for row, column, was, now in diff.head(rows).itertuples(index=False):
        old = f'<del style="color:{WARN}">{_side(was)}</del>'
        new = f'<ins style="text-decoration:none;font-weight:600">{_side(now)}</ins>'
        values = (f"{row:,}", cell(column), old, new)
        lines.append("<tr>" + "".join(f'<td style="text-align:left">{value}</td>' for value in values) + "</tr>")
    more = f"<p>and {len(diff) - rows:,} more</p>" if len(diff) > rows else ""
    return f'<table class="dataframe"><tr>{head}</tr>{"".join(lines)}</table>{more}'


def _side(value: object) -> str:
    return "–" if value is None else cell(value)


def error_text(error: BaseException) -> str:
    """Return an error as a notebook shows it: the sentence, and the user's own lines."""
    own = getattr(error, "_render_traceback_", None)
    return "\n".join(own() if own else traceback.format_exception_only(error))


def plain(value: object) -> str:
    """Return a value as one bounded line of text."""
    return shown(value, 4 * LETTERS)

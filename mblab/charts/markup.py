"""Tables, states and errors as HTML: nothing in it is run, whatever a column, a value or an error says.

Without Altair, so what shows itself as a table needs none.

    frames, states, texts -> [markup] -> cell output of checks, page of a run
"""

from __future__ import annotations

import html
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import pandas as pd

from mblab.errors import shown

__all__ = ["difference_html", "error_html", "folded", "framed", "rows_html", "state_html", "table_html"]

ROWS: Final = 8
COLUMNS: Final = 20
ENTRIES: Final = 20
LETTERS: Final = 200
EDGE: Final = "1px solid var(--jp-border-color2, #ccc)"
WARN: Final = "#d55e00"  # the charts' vermilion
NO_MATH: Final = "tex2jax_ignore mathjax_ignore"  # else a page typesets `$…$` in data, links and all


def _cell(value: object) -> str:
    """Return a value as escaped text of bounded length."""
    return html.escape(value if isinstance(value, str) and len(value) <= LETTERS else shown(value, LETTERS))


def table_html(frame: pd.DataFrame, rows: int = ROWS) -> str:
    """Return the first and last rows of a frame as a table, or a word where there are none."""
    if not len(frame):
        return "<p>no rows</p>"
    try:
        return frame.to_html(max_rows=rows, max_cols=COLUMNS, border=0, escape=True, show_dimensions=False)
    except Exception as error:  # a value whose own text fails
        return f"<p>cannot be shown: {_cell(f'{type(error).__name__}: {error}')}</p>"


def rows_html(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Return rows of text as a table; the first text of a row names it.

    >>> rows_html([("a", "<1 s")])
    '<table><tr><th scope="row">a</th><td>&lt;1 s</td></tr></table>'
    """
    top = "<tr>" + "".join(f'<th scope="col">{html.escape(text)}</th>' for text in head) + "</tr>" if head else ""
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>' + "".join(f"<td>{html.escape(t)}</td>" for t in rest) + "</tr>"
        for first, *rest in rows
    )
    return f"<table>{top}{body}</table>"


def _entries(pairs: Iterable[tuple[object, object]], count: int) -> str:
    """Return the first of some pairs as a table of two columns."""
    lines = []
    for (name, value), _ in zip(pairs, range(ENTRIES), strict=False):
        text = (
            table_html(value, 4)
            if isinstance(value, pd.DataFrame)
            else f"<code>{html.escape(shown(value, LETTERS))}</code>"
        )
        lines.append(f'<tr><th style="text-align:left">{_cell(name)}</th><td style="text-align:left">{text}</td></tr>')
    more = f"<p>and {count - ENTRIES:,} more</p>" if count > ENTRIES else ""
    return f'<table class="dataframe">{"".join(lines)}</table>{more}'


def state_html(state: object) -> str:
    """Return what a step remembers as a table, or a word where it is nothing."""
    if isinstance(state, Mapping):
        return _entries(state.items(), len(state)) if state else "<p>nothing yet</p>"
    if isinstance(state, pd.DataFrame):
        return table_html(state)
    return f"<p><code>{html.escape(shown(state, LETTERS))}</code></p>"


def error_html(error: BaseException) -> str:
    """Return an error as a notebook shows it: the sentence, and the user's own lines."""
    own = getattr(error, "_render_traceback_", None)
    text = "\n".join(own() if own else traceback.format_exception_only(error))
    style = f"border-left:3px solid {WARN};padding:6px 10px;white-space:pre-wrap;overflow-wrap:anywhere"
    return f'<pre style="{style}">{html.escape(text)}</pre>'


def folded(title: str, body: str, *, unfolded: bool = True) -> str:
    """Return a part that can be folded away; the body is HTML already."""
    head = f'<summary style="cursor:pointer;font-weight:600">{html.escape(title)}</summary>'
    inside = f'{head}<div style="overflow-x:auto">{body}</div>'
    return f'<details{" open" if unfolded else ""} style="margin:6px 0">{inside}</details>'


def framed(title: str, about: str, parts: Iterable[str]) -> str:
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
        values = (f"{row:,}", _cell(column), old, new)
        lines.append("<tr>" + "".join(f'<td style="text-align:left">{value}</td>' for value in values) + "</tr>")
    more = f"<p>and {len(diff) - rows:,} more</p>" if len(diff) > rows else ""
    return f'<table class="dataframe"><tr>{head}</tr>{"".join(lines)}</table>{more}'


def _side(value: object) -> str:
    return "–" if value is None else _cell(value)

"""A run as a page: what happened, batch by batch, and what it was made of.

view + charts -> page -> [run_page] -> run.to_html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mblab.charts.markup import rows_html
from mblab.errors import SettingError
from mblab.runs.page import Page, figure_text
from mblab.runs.slowest import slowest_of
from mblab.runs.view import RunView, headline
from mblab.support.files import says_within, write_whole
from mblab.timing.durations import format_s

if TYPE_CHECKING:
    from altair.typing import ChartType

__all__ = ["run_page", "write_page"]

GENERATOR: Final = '<meta name="generator" content="mblab run">'
STATE_CHARACTERS: Final = 20_000
ENTRIES: Final = 1_000  # of a state, or of a part of it


def write_page(view: RunView, chart: ChartType, path: Path) -> Path:
    """Write the page, in place of an earlier one of mblab's.

    Args:
        view: The run.
        chart: The run over time.
        path: Of the file.

    Raises:
        SettingError: The path is a folder, or a file that mblab did not write.
    """
    if path.is_dir():
        raise SettingError(f"to_html needs the name of a file such as 'run.html', but {str(path)!r} is a folder.")
    if path.exists() and not says_within(path, GENERATOR, 4096):
        raise SettingError(f"to_html writes over its own pages only, but {str(path)!r} holds something else.")
    text = run_page(view, chart)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    return path


def run_page(view: RunView, chart: ChartType) -> str:
    """Return the page."""
    page, s, made = Page(f"{view.name} · run {view.run_id}", GENERATOR), view.summary(), view.provenance()
    page.paragraph(f"{view.status}: {headline(s)}")
    page.tiles(
        [
            (f"{s.rows:,}", "rows"),
            (f"{s.batches:,}", "batches"),
            (format_s(s.duration_s), f"on the {made['clock']} clock"),
            (format_s(s.latency_p95_s) if s.rows else "–", "latency p95"),
            (f"{s.load:.2f}", "load"),
            (str(s.regime).replace("_", " "), "regime"),
        ]
    )
    page.heading("What happened")
    page.chart(chart)
    page.heading("The slowest records", "The four waits that each latency is the sum of, and the batch in the way.")
    batches, records, attempts = view.batches(), view.records(), view.attempts()
    page.chart(slowest_of(records, batches).waterfall())
    page.heading("Figures")
    page.card(rows_html([(str(name), figure_text(value)) for name, value in s.items()]))
    frames = {"Batches": batches, "Attempts that failed": attempts[attempts.error != ""]}
    for title, frame in (frames | {"Records": records, "Output": view.output()}).items():
        page.heading(title)
        page.rows(frame)
    _add_state(page, view.state())
    _add_settings(page, made, view.controls())
    _add_code(page, made["code"])
    page.heading("Packages")
    page.card(rows_html(list(made["packages"].items())))
    return page.text()


def _add_state(page: Page, states: Mapping[str, Any]) -> None:
    page.heading("State at the end")
    for name, state in states.items():
        page.code(_state_text(state), name)
    if not states:
        page.paragraph("No step was there to keep one.")


def _add_settings(page: Page, made: Mapping[str, Any], controls: Mapping[str, Mapping[str, Any]]) -> None:
    page.heading("Settings", "As they were at the start; knobs moved since then stand below.")
    rows = [("source", made["source"]), *(("sink", sink) for sink in made["sinks"] or ["memory: run.output"])]
    rows += [(name, figure_text(value)) for name, value in made["settings"].items()]
    rows += [("clock", made["clock"]), ("duration_s", figure_text(made["duration_s"]))]
    rows += [(f"moved at {at}", figure_text(change)) for at, change in controls.items()]
    page.card(rows_html(rows))


def _add_code(page: Page, code: Sequence[Mapping[str, Any]]) -> None:
    page.heading("Code")
    for step in code:
        key = f" by {', '.join(step['key'])}" if step["key"] else ""
        page.code(step["text"], f"{step['name']} ({step['kind']}{key}, version {step['version']})")
    if not code:
        page.paragraph("No step: the source's rows went through as they came.")


def _state_text(state: Mapping[Any, Any]) -> str:
    text = json.dumps(_tidy(state), indent=1, default=str, ensure_ascii=False)
    return text if len(text) <= STATE_CHARACTERS else text[:STATE_CHARACTERS] + "\n… and more"


def _tidy(state: object) -> object:
    """Return a state with keys that JSON can hold; of many entries the first ones, and how many more there are."""
    if isinstance(state, Mapping):
        first = {str(key): _tidy(value) for key, value in islice(state.items(), ENTRIES)}
        return first | ({"…": f"and {len(state) - ENTRIES:,} more"} if len(state) > ENTRIES else {})
    if isinstance(state, list | tuple) and len(state) > ENTRIES:
        return [*state[:ENTRIES], f"… and {len(state) - ENTRIES:,} more"]
    return state

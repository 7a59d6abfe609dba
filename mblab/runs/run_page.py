"""A run as a page: what happened, batch by batch, and what it was made of.

facts + charts -> page -> [run_page] -> run.to_html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from mblab.charts.markup import rows_html
from mblab.errors import SettingError
from mblab.runs.page import Page, figure_text
from mblab.timing.durations import format_s

__all__ = ["RunParts", "run_page", "write_page"]

GENERATOR: Final = '<meta name="generator" content="mblab run">'
STATE_CHARACTERS: Final = 20_000


@dataclass(frozen=True, slots=True)
class RunParts:
    """What the page shows of a run.

    Attributes:
        title: Its heading.
        headline: One sentence of figures.
        summary: As `run.summary()`.
        frames: Heading → table.
        chart: The run over time.
        waterfall: The slowest records.
        provenance: As `run.provenance`.
        controls: As `run.controls`.
        state: As `run.state`.
    """

    title: str
    headline: str
    summary: pd.Series[Any]
    frames: Mapping[str, pd.DataFrame]
    chart: Any
    waterfall: Any
    provenance: Mapping[str, Any]
    controls: Mapping[str, Any]
    state: Mapping[str, Any]


def write_page(parts: RunParts, path: Path) -> Path:
    """Write the page, in place of an earlier one of mblab's.

    Raises:
        SettingError: The path is a folder, or a file that mblab did not write.
    """
    if path.is_dir():
        raise SettingError(f"to_html needs the name of a file such as 'run.html', but {str(path)!r} is a folder.")
    if path.exists() and GENERATOR not in path.read_text(encoding="utf-8", errors="replace")[:4096]:
        raise SettingError(f"to_html writes over its own pages only, but {str(path)!r} holds something else.")
    text = run_page(parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def run_page(parts: RunParts) -> str:
    """Return the page."""
    page, s, made = Page(parts.title, GENERATOR), parts.summary, parts.provenance
    page.paragraph(parts.headline)
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
    page.chart(parts.chart)
    page.heading("The slowest records", "The four waits that each latency is the sum of, and the batch in the way.")
    page.chart(parts.waterfall)
    page.heading("Figures")
    page.card(rows_html([(str(name), figure_text(value)) for name, value in s.items()]))
    for title, frame in parts.frames.items():
        page.heading(title)
        page.rows(frame)
    page.heading("State at the end")
    for name, state in parts.state.items():
        page.code(_state_text(state), name)
    if not parts.state:
        page.paragraph("No step was there to keep one.")
    page.heading("Settings", "As they were at the start; knobs moved since then stand below.")
    settings = [("source", made["source"]), *(("sink", sink) for sink in made["sinks"] or ["memory: run.output"])]
    settings += [(name, figure_text(value)) for name, value in made["settings"].items()]
    settings += [("clock", made["clock"]), ("duration_s", figure_text(made["duration_s"]))]
    settings += [(f"moved at {at}", figure_text(change)) for at, change in parts.controls.items()]
    page.card(rows_html(settings))
    page.heading("Code")
    for step in made["code"]:
        key = f" by {', '.join(step['key'])}" if step["key"] else ""
        page.code(step["text"], f"{step['name']} ({step['kind']}{key}, version {step['version']})")
    if not made["code"]:
        page.paragraph("No step: the source's rows went through as they came.")
    page.heading("Packages")
    page.card(rows_html(list(made["packages"].items())))
    return page.text()


def _state_text(state: Any) -> str:
    text = json.dumps(_tidy(state), indent=1, default=str, ensure_ascii=False)
    return text if len(text) <= STATE_CHARACTERS else text[:STATE_CHARACTERS] + "\n… and more"


def _tidy(state: Any) -> Any:
    """Return a state with keys that JSON can hold."""
    return {str(key): _tidy(value) for key, value in state.items()} if isinstance(state, Mapping) else state

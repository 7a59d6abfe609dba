"""The whole job once, without a person: replay real flights, measure, find the interval, deliver, export, report.

A month of flights passes in seven seconds. The first run is on the real clock and its interval is moved while it runs;
the sweep is on the virtual clock; what is delivered is cut by the schedule alone, so that the exported script, run in a
process of its own, must deliver exactly the same rows.

    datasets, notebooks -> [demo_job] -> report.html, 01_quickstart.ipynb, pipeline.py
"""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from mblab import datasets
from mblab.cli.notebooks import notebooks_folder
from mblab.cli.text import SWEEP_HEAD, aligned, metric_rows, summary_values, sweep_rows, sweep_values
from mblab.errors import MblabError, SettingError
from mblab.lab import Lab
from mblab.runs.page import Page
from mblab.runs.run import Run
from mblab.sinks import parquet
from mblab.sources import replay
from mblab.support.files import says_within, write_whole
from mblab.tables.values import as_json
from mblab.timing.durations import format_s
from mblab.tuning.sweep import Sweep

__all__ = ["DemoResult", "flights_lab", "late_by_carrier", "run_demo"]

SPEEDUP: Final = 360_000  # a hundred hours a second: 28 days in 6.7 s
INTERVALS: Final = ("5ms", "10ms", "20ms", "50ms", "100ms", "200ms")
NOTEBOOK: Final = "01_quickstart.ipynb"
GENERATOR: Final = '<meta name="generator" content="mblab demo">'


def late_by_carrier(batch: pd.DataFrame, state: dict[str, int]) -> dict[str, Any]:
    """Return how many of one carrier's departures there were so far, and how many were over 15 minutes late."""
    departed = batch[batch["event"] == "departed"]
    state["departed"] = state.get("departed", 0) + len(departed)
    state["late"] = state.get("late", 0) + int((departed["dep_delay"] > 15).sum())
    return {"carrier": batch["carrier"].iloc[0], "departed": state["departed"], "late": state["late"]}


def flights_lab() -> Lab:
    """Return the demo's pipeline: the flights at a hundred hours a second, and late departures by carrier."""
    flights = replay(datasets.path("nyc_flights"), arrival="reported_at", event_time="event_time", speedup=SPEEDUP)
    lab = Lab(flights, interval="200ms", name="flights")
    lab.batch(key="carrier")(late_by_carrier)
    return lab


@dataclass(frozen=True)
class DemoResult:
    """What the demo found, and where it wrote it.

    Attributes:
        folder: Where everything lies.
        run: The run on the real clock.
        sweep: The intervals that were compared.
        interval_s: The freshest of them, used for what was delivered.
        delivered_rows: Rows that the lab and the exported script delivered, and that are the same.
        took_s: How long the demo took.
    """

    folder: Path
    run: Run
    sweep: Sweep
    interval_s: float
    delivered_rows: int
    took_s: float

    @property
    def report(self) -> Path:
        """The page to open first."""
        return self.folder / "report.html"

    @property
    def files(self) -> dict[str, Path]:
        """What was written, by what it is."""
        return {
            "report": self.report,
            "notebook": self.folder / NOTEBOOK,
            "script": self.folder / "pipeline.py",
            "results": self.folder / "results",
        }

    def values(self) -> dict[str, Any]:
        """Return everything as JSON-able values; what is not a number is None."""
        return {
            "summary": summary_values(self.run.summary()),
            "sweep": sweep_values(self.sweep),
            "shortest_interval_s": as_json(self.sweep.shortest_s),
            "interval_s": self.interval_s,
            "script_same_rows": self.delivered_rows,
            "took_s": round(self.took_s, 3),
            "files": {k: str(v) for k, v in self.files.items()},
        }

    def text(self) -> str:
        """Return the figures and the paths for a terminal."""
        parts = [
            "A month of flights in seven seconds\n" + aligned(metric_rows(summary_values(self.run.summary()))),
            "Which interval?\n" + aligned([SWEEP_HEAD, *sweep_rows(sweep_values(self.sweep))]),
            _found(self),
            aligned([(what, str(path)) for what, path in self.files.items()]),
        ]
        return "\n\n".join(parts)


def run_demo(folder: Path, note: Callable[[str], None]) -> DemoResult:
    """Do the whole job and write it into a folder.

    Args:
        folder: A new or empty folder, or one that an earlier demo wrote.
        note: Called with a line when the next part begins.

    Raises:
        SettingError: The folder holds something else.
        MblabError: The exported script or the notebook failed, or the script delivered other rows.
    """
    began = time.monotonic()
    claim(folder)
    lab = flights_lab()
    note("1/4 replaying 28 days of flights in 7 s, on the real clock")
    run = lab.run(controls={"4s": {"interval": "100ms"}})
    note(f"2/4 comparing {len(INTERVALS)} intervals, on the virtual clock")
    sweep = lab.sweep(INTERVALS, "1s", clock="virtual")
    interval_s = max(sweep.table.interval_s) if math.isnan(sweep.freshest_s) else sweep.freshest_s
    note(f"3/4 delivering at {format_s(interval_s)}, proving the exported script, running the notebook beside it")
    lab.interval = interval_s
    with ThreadPoolExecutor(1) as beside:  # nothing is measured any more, so both cores may work
        notebook = beside.submit(run_notebook, folder)
        rows = deliver_and_prove(lab, folder)
        notebook.result()
    note("4/4 writing the report")
    result = DemoResult(folder, run, sweep, interval_s, rows, time.monotonic() - began)
    write_whole(result.report, report_page(result).encode())
    return result


def claim(folder: Path) -> None:
    """Make the folder, or refuse one that holds what no demo wrote."""
    report = folder / "report.html"
    ours = report.is_file() and says_within(report, GENERATOR, 4096)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not ours)):
        raise SettingError(
            f"--out must be a new folder or an earlier demo's, but {str(folder)!r} holds something else."
        )
    folder.mkdir(parents=True, exist_ok=True)
    report.write_text(GENERATOR, encoding="utf-8")  # so that a demo cut short can be repeated


def deliver_and_prove(lab: Lab, folder: Path) -> int:
    """Deliver the month to Parquet, export the script, run it, and return how many rows both delivered.

    Raises:
        MblabError: The script failed, or delivered something else.
    """
    lab.to(parquet(folder / "results"))
    lab.run(clock="virtual", cost=0)
    script = lab.export(folder / "pipeline.py")
    _run_python([script.name, "--output", "results-of-script"], folder)
    ours, theirs = (pd.read_parquet(folder / name) for name in ("results", "results-of-script"))
    if not ours.equals(theirs):
        raise MblabError(f"{script.name} delivered {len(theirs):,} rows that differ from the lab's {len(ours):,}.")
    return len(ours)


def run_notebook(folder: Path) -> Path:
    """Run the quickstart with papermill in a folder, and return the executed copy.

    Raises:
        MblabError: A cell failed.
    """
    source, executed = notebooks_folder() / NOTEBOOK, folder / NOTEBOOK
    _run_python(["-m", "papermill", "--no-progress-bar", str(source.resolve()), NOTEBOOK], folder)
    return executed


def _run_python(arguments: Sequence[str], folder: Path) -> None:
    """Run a fresh Python in a folder; the end of its stderr is in the message when it fails."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise MblabError(f"{shlex.join(arguments)} failed with exit code {done.returncode}: {last[0]}")


# -- the figures as text --------------------------------------------------------------------------------------------


def _found(result: DemoResult) -> str:
    shortest = result.sweep.shortest_s
    star = "" if math.isnan(shortest) else f"The work fits into intervals from T* = {format_s(shortest)} on. "
    return (
        f"{star}Of those that keep up, {format_s(result.interval_s)} has the lowest p95.\n"
        f"The exported script ran in a process of its own and delivered the same {result.delivered_rows:,} rows."
    )


# -- the report -----------------------------------------------------------------------------------------------------


def report_page(result: DemoResult) -> str:
    """Return the page: charts as SVG inside, no script, nothing fetched."""
    from mblab.charts.markup import rows_html
    from mblab.charts.render import html_fragment

    page = Page("A month of flights in seven seconds", GENERATOR)
    s, shortest = result.run.summary(), result.sweep.shortest_s
    page.paragraph(
        "Departures, landings and cancellations at New York's airports in February 2013, replayed at a hundred hours a "
        "second. Rows collect for an interval, the batch is processed with state by carrier, the result is delivered."
    )
    page.tiles(
        [
            (f"{s.rows:,}", "rows, 28 days of flights"),
            (format_s(s.duration_s), "on the real clock"),
            (format_s(s.latency_p95_s), "latency p95"),
            (f"{s.load:.2f}", "load"),
            ("–" if math.isnan(shortest) else format_s(shortest), "T*, the shortest interval that fits"),
        ]
    )
    page.heading(
        "The run, on the real clock",
        "Latency is counted for every row, from its arrival to the delivery of its result. At 4 s the interval was "
        "moved from 200 to 100 ms while it ran.",
    )
    page.card(html_fragment(result.run.plot()))
    page.heading("Its figures")
    page.card(rows_html(metric_rows(summary_values(s))))
    page.heading(
        "Which interval?",
        "The same pipeline on the virtual clock: the function really runs, its measured time moves the clock, waiting "
        "is skipped. A long interval makes rows wait; one shorter than T* leaves no room for the work.",
    )
    page.card(html_fragment(result.sweep.plot()))
    page.card(rows_html(sweep_rows(sweep_values(result.sweep)), SWEEP_HEAD))
    page.paragraph(_found(result), "found")
    page.heading("The pipeline, as it was exported")
    page.code((result.folder / "pipeline.py").read_text(encoding="utf-8"))
    page.heading("Files")
    page.links(path.name for what, path in result.files.items() if what != "report")
    page.paragraph(f"Made by mblab demo in {format_s(result.took_s)}.")
    return page.text()

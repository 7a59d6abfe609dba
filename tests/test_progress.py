"""How far a run is, told to those who cannot see a bar."""

import os
import re
import subprocess
import sys

import nbformat
import pytest

import mblab
from mblab.support import jupyter, progress
from mblab.support.progress import Progress
from mblab.testing import rows_at

from .conftest import shared_cache

RUN = """
import mblab
lab = mblab.Lab(mblab.simulate.sensors(devices=5, rate=200, seed=7), interval="200ms", name="flow")
lab.batch(len, name="count")
lab.start("2500ms")
"""
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def in_a_log(monkeypatch):
    """A kernel that nobody sits before, and a clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(jupyter, "in_kernel", lambda: True)
    monkeypatch.setattr(jupyter, "headless", lambda ui=None: True)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_five_seconds_and_a_last_one(in_a_log, capsys):
    """However often the run says how far it is; the last line tells how long it took."""
    done = 0.0
    with Progress("flow", 12, "s", lambda: done) as told:
        for _ in range(96):
            in_a_log[0] += 0.125
            done += 0.125
            told.tick()

    assert capsys.readouterr().err.splitlines() == [
        "flow: 1 of 12 s after 1 s", "flow: 6 of 12 s after 6 s", "flow: 11 of 12 s after 11 s", "flow: 12 of 12 s after 12 s, ended",
    ]  # fmt: skip


def test_a_run_that_blocks_says_how_far_it_is_after_its_batches(in_a_log, capsys):
    """On the run's clock; the seconds that it takes are those of the log's reader."""
    lab = mblab.Lab(rows_at([0.5 + i for i in range(12)]), interval="1s", name="flow")

    @lab.batch
    def takes_its_time(batch):
        in_a_log[0] += 1

    lab.run("12s", clock="virtual", cost=0)

    assert capsys.readouterr().err.splitlines() == [
        "flow: 1 of 12 s after 1 s", "flow: 6 of 12 s after 6 s", "flow: 11 of 12 s after 11 s", "flow: 12 of 12 s after 12 s, ended",
    ]  # fmt: skip


def test_a_short_run_writes_nothing(in_a_log, capsys):
    """What is over before a second has passed needs no line."""
    with Progress("flow", None, "rows", lambda: 5) as told:
        in_a_log[0] += 0.5
        told.tick()

    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A notebook whose last cell shows the dashboard of a run that it started."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text.strip()) for text in (RUN, "lab")])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path_factory.mktemp("books") / "in.ipynb"
    nbformat.write(book, path)
    return path


@pytest.mark.kernel
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            ("papermill", "in.ipynb", "out.ipynb", "--no-progress-bar", "--log-level", "ERROR"), marks=pytest.mark.slow
        ),
        pytest.param(
            ("nbconvert", "--to", "notebook", "--execute", "in.ipynb", "--output", "out.ipynb", "--log-level=ERROR"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["papermill", "nbconvert"],
)
def test_a_notebook_run_without_a_person_has_text_chart_and_table(book, command):
    """No widget that nobody could fill, and nothing that waits for somebody."""
    subprocess.run(
        [sys.executable, "-m", *command],
        cwd=book.parent,
        env=os.environ | shared_cache(),
        check=True,
        capture_output=True,
        timeout=240,
    )
    ran = nbformat.read(book.parent / "out.ipynb", 4)
    outputs = [output for cell in ran.cells for output in cell.outputs]
    lines = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stderr").splitlines()
    shown = [set(o.data) for o in ran.cells[-1].outputs if "data" in o]
    tables = [o.data["text/html"] for o in ran.cells[-1].outputs if "text/html" in o.get("data", {})]

    assert [re.sub(r"[\d.]+ (?=of)|[\d.]+ s(?=$|,)", "N ", line) for line in lines] == [
        "flow: N of 2 s after N ", "flow: N of 2 s after N , ended",
    ]  # fmt: skip
    assert shown[-1] == {"application/vnd.vegalite.v5+json", "image/png", "text/plain"}
    assert "latency_p95_s" in tables[0]
    assert not any(WIDGET in o.get("data", {}) for o in outputs)
    assert "widgets" not in ran.metadata

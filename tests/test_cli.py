"""The terminal's door: what it prints, what it writes, how it ends."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from mblab import demo

COMMAND = [sys.executable, "-c", "from mblab.cli import main; main()"]


def mblab(*arguments, cwd, **environment):
    """Run the command in a process of its own, in a folder, with an empty home."""
    home = cwd / "home"
    home.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON", "MBLAB", "XDG"))}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env={**kept, "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def the_demo(tmp_path_factory):
    """One demo for all tests of this file: (finished process, the folder it wrote)."""
    cwd = tmp_path_factory.mktemp("demo")
    done = mblab("demo", "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done, cwd / "mblab-demo"


class Page(HTMLParser):
    """Collects what a page would fetch, and the links that it offers."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.fetched = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if tag == "a" and name == "href":
                self.links.append(value)
            elif name in ("src", "href", "xlink:href", "srcset", "data") and not value.startswith("#"):
                self.fetched.append((tag, value))


def test_the_demo_writes_what_it_says(the_demo):
    """Every path it prints is there."""
    done, folder = the_demo
    files = json.loads(done.stdout)["files"]

    assert [Path(p) for p in files.values()] == [
        Path("mblab-demo", name) for name in ("report.html", "01_quickstart.ipynb", "pipeline.py", "results")
    ]
    assert all((folder.parent / p).exists() for p in files.values())


def test_the_demo_replays_every_flight_with_real_latencies(the_demo):
    """48 562 rows in, and a latency that is at least the work and at most what a busy machine makes of it."""
    summary = json.loads(the_demo[0].stdout)["summary"]

    assert summary["rows"] == 48_562
    assert summary["backlog_rows"] == 0
    assert 0 < summary["latency_p50_s"] <= summary["latency_p95_s"] <= summary["latency_max_s"]


def test_the_demo_compares_six_intervals_and_finds_the_shortest(the_demo):
    """T* is positive, the load falls with the interval, and the interval taken is one of those compared."""
    facts = json.loads(the_demo[0].stdout)
    table = facts["sweep"]

    assert [row["interval_s"] for row in table] == [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
    assert table[0]["load"] > table[-1]["load"]
    assert facts["shortest_interval_s"] > 0
    assert facts["interval_s"] in [row["interval_s"] for row in table]


def test_the_script_delivered_what_the_lab_delivered(the_demo):
    """The demo compares the two itself, and says how many rows."""
    assert json.loads(the_demo[0].stdout)["script_same_rows"] > 100


def test_progress_goes_to_stderr_only(the_demo):
    """Stdout is the result and nothing else, so that it can be piped; stderr says what is going on, and no warning."""
    done, _ = the_demo

    assert [line[:11] for line in done.stderr.splitlines()] == [f"mblab: {n}/4 " for n in range(1, 5)]


def test_the_report_opens_without_a_network(the_demo):
    """No script, no frame, nothing fetched."""
    page = Page((the_demo[1] / "report.html").read_text(encoding="utf-8"))

    assert page.fetched == []
    assert not page.tags & {"script", "iframe", "img", "link", "object", "embed"}


def test_the_report_holds_both_charts_the_figures_and_the_code(the_demo):
    """What the brief reader looks for first."""
    text = (the_demo[1] / "report.html").read_text(encoding="utf-8")

    assert text.count("<svg") == 2
    assert "T*" in text
    assert "48,562" in text
    assert "def late_by_carrier" in text
    assert "$" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)  # no placeholder was left


def test_the_links_of_the_report_lead_somewhere(the_demo):
    """Relative, so the folder can be moved."""
    folder = the_demo[1]
    links = Page((folder / "report.html").read_text(encoding="utf-8")).links

    assert links
    assert all((folder / link).exists() for link in links)


def test_the_notebook_of_the_demo_was_executed(the_demo):
    """Every code cell has run, and charts came out of it."""
    notebook = nbformat.read(the_demo[1] / "01_quickstart.ipynb", 4)
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]

    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 3


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    """Exit code 2, one sentence, and the file is still there."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "report.html").write_text("mine")
    done = mblab("demo", "--out", "thesis", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr == (
        "mblab: --out must be a new folder or an earlier demo's, but 'thesis' holds something else.\n"
    )
    assert (tmp_path / "thesis" / "report.html").read_text() == "mine"


def test_a_demo_of_another_day_may_be_replaced(tmp_path):
    """A report that a demo wrote marks the folder as its own; so does one that was cut short."""
    demo.claim(tmp_path / "out")

    demo.claim(tmp_path / "out")


def test_figures_are_shown_as_aligned_text():
    """The columns of the metric table start at the same place in every line."""
    lines = demo.aligned([("rows", "48,562"), ("latency p95", "210 ms")]).splitlines()

    assert lines == ["  rows         48,562", "  latency p95  210 ms"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "--fast"], "No such option"),
        (["dmo"], "No such command"),
        (["lab", "--port", "many"], "--port"),
        (["lab", "--port", "0"], "--port"),
        (["demo", "elsewhere"], "unexpected extra argument"),
    ],
)
def test_wrong_use_is_exit_code_2(tmp_path, arguments, says):
    """It says what is wrong on stderr, prints nothing else and writes nothing."""
    done = mblab(*arguments, cwd=tmp_path)

    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""
    assert os.listdir(tmp_path) == ["home"]


def test_the_version_is_that_of_the_package(tmp_path):
    """`mblab --version` names the program and the version."""
    import mblab as package

    assert mblab("--version", cwd=tmp_path).stdout == f"mblab {package.__version__}\n"


def test_help_lists_what_is_built_and_nothing_else(tmp_path):
    """Two verbs; a verb whose room is not built yet is absent."""
    text = mblab("--help", cwd=tmp_path).stdout

    assert re.findall(r"^  (\w+) {2,}\S", text.split("Commands:")[1], re.MULTILINE) == ["demo", "lab"]


def test_lab_opens_copies_of_the_notebooks(tmp_path):
    """The shipped ones are never edited in place; what follows `--` goes to JupyterLab."""
    done = mblab("lab", "--print-command", "--port", "8890", "--", "--no-browser", cwd=tmp_path)

    assert done.stdout.split()[1:] == ["-m", "jupyterlab", "mblab-notebooks", "--ServerApp.port=8890", "--no-browser"]
    assert [f.name for f in (tmp_path / "mblab-notebooks").iterdir()] == ["01_quickstart.ipynb"]


def test_lab_keeps_a_notebook_that_was_changed(tmp_path):
    """It says so, so that nobody wonders where the new edition is."""
    kept = tmp_path / "mblab-notebooks" / "01_quickstart.ipynb"
    kept.parent.mkdir()
    shutil.copyfile(demo.notebooks_folder() / kept.name, kept)
    kept.write_text(kept.read_text(encoding="utf-8").replace("200ms", "300ms"), encoding="utf-8")
    mine = kept.read_bytes()
    done = mblab("lab", "--print-command", cwd=tmp_path)

    assert kept.read_bytes() == mine
    assert "01_quickstart.ipynb differs from the shipped one and was left as it is" in done.stderr


def test_the_shortest_interval_with_room_is_chosen():
    """Load ≤ 0.7; when nothing fits, the longest."""
    import pandas as pd

    table = pd.DataFrame({"interval_s": [0.1, 0.2, 0.4], "load": [0.9, 0.8, 0.75]})

    assert demo.choose_interval_s(table) == 0.4
    assert demo.choose_interval_s(table.assign(load=[1.5, 0.7, 0.3])) == 0.2

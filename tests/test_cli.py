"""The terminal's door: what it prints, what it writes, how it ends."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from mblab.cli import demo_job as demo
from mblab.cli.notebooks import notebooks_folder

from .conftest import shared_cache

COMMAND = [sys.executable, "-c", "from mblab.cli import main; main()"]


# Waits for command lines and forks for each, so that what takes seconds is imported once; what a command does to its
# process, nobody else sees.
FORKS = """
import contextlib, io, json, os, sys, traceback
import altair, nbclient, papermill, pyarrow.json, pyarrow.parquet
import mblab.cli.job, mblab.cli.target, mblab.cli.demo_job, mblab.export, mblab.tuning.tuner
from mblab.cli import main
from mblab.cli.app import app

with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
    app(["run"], prog_name="mblab")  # imports what reads a command line

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(asked["cwd"])
            os.environ.clear()
            os.environ.update(asked["environment"])
            for number, name in enumerate((os.devnull, asked["out"], asked["err"])):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
            sys.argv = ["mblab", *asked["arguments"]]
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def forks():
    """The process that forks, for all tests of this file."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        mblab.process = process
        yield
        process.stdin.close()


def in_an_empty_home(cwd, **more):
    """The environment of somebody who has set nothing, but has shown a chart before."""
    home = cwd / "home"
    home.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON", "MBLAB", "XDG"))}
    return {**kept, **shared_cache(), "HOME": str(home), **more}


def mblab(*arguments, cwd, **environment):
    """Run the command in a forked process, in a folder, with an empty home."""
    out, err = (cwd / "home" / name for name in ("out", "err"))
    asked = {"cwd": str(cwd), "environment": in_an_empty_home(cwd, **environment), "out": str(out), "err": str(err)}
    mblab.process.stdin.write(json.dumps({**asked, "arguments": arguments}) + "\n")
    mblab.process.stdin.flush()
    code = int(mblab.process.stdout.readline())
    said = [name.read_text(encoding="utf-8") for name in (out, err)]
    out.unlink(), err.unlink()
    return subprocess.CompletedProcess(arguments, code, *said)


def fresh(*arguments, cwd, **environment):
    """Run the command as a user does, in a process that imports all it needs."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=in_an_empty_home(cwd, **environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def the_demo(tmp_path_factory):
    """One demo for all tests of this file: (finished process, the folder it wrote)."""
    cwd = tmp_path_factory.mktemp("demo")
    done = fresh("demo", "--json", cwd=cwd)
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


def test_the_demo_compares_six_intervals_and_takes_the_freshest(the_demo):
    """T* is positive where the costs give one, the load falls with the interval, and the lowest p95 is taken."""
    facts = json.loads(the_demo[0].stdout)
    table = facts["sweep"]

    assert [row["interval_s"] for row in table] == [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
    assert table[0]["load"] > table[-1]["load"]
    assert facts["shortest_interval_s"] is None or facts["shortest_interval_s"] > 0  # a busy machine may hide the law
    chosen = next(row for row in table if row["interval_s"] == facts["interval_s"])
    steady = [row["latency_p95_s"] for row in table if row["regime"] == "on_schedule"]

    assert chosen["latency_p95_s"] <= 1.05 * min(steady, default=math.inf)


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


WRONG = [
    (["demo", "--fast"], "No such option"),
    (["dmo"], "No such command"),
    (["lab", "--port", "many"], "--port"),
    (["lab", "--port", "0"], "--port"),
    (["demo", "elsewhere"], "unexpected extra argument"),
    (["runn"], "Did you mean 'run'?"),
    (["run"], "Missing argument 'FILE'"),
    (["run", "absent.py"], "'absent.py' is not there"),
    (["run", "home"], "'home' is a folder; name a script or notebook in it.\n"),
    (["run", "x.py", "--interval", "0ms"], "--interval must be at least 1 ms, got '0ms'"),
    (["run", "x.py", "--duration", "soon"], "--duration='soon' is no duration"),
    (["run", "x.py", "--policy", "queu"], "'queu' is not one of 'asap', 'skip', 'queue'"),
    (["run", "x.py", "--policy", "queue", "--max-rows-per-batch", "5"], "cannot hold"),
    (["run", "x.py", "--interval", "5"], "--interval='5' has no unit; write '5s'.\n"),
    (["run", "x.py", "--speedup", "fast"], "'--speedup': 'fast' is no number."),
    (["run", "x.py", "--max-rows-per-batch", "0"], "'0' is no whole number of rows, 1 or more; leave it out"),
    (["export", "x.py", "-o", "x.ipynb"], "--out must name a script, such as pipeline.py, got 'x.ipynb'"),
    (["export", "x.py", "-o", "."], "--out must name a script"),
    (["sweep", "x.py", "--interval", "1s,5"], "--interval='5' has no unit; write '5s'.\n"),
    (["tune", "x.py", "--budget", "1ms"], "--budget must be at least 50 ms, got '1ms'"),
    (["tune", "x.py", "--load", "much"], "'--load': 'much' is no number."),
    (["sweep", "x.py"], "Missing option '--interval'"),
    (["tune", "x.py", "--p95", "soon"], "--p95='soon' is no duration"),
    (["tune", "x.py", "--load", "3"], "load must be a finite number above 0 and at most 1"),
    (["sweep", "x.py", "--interval", ","], "at least one interval"),
    (["datasets", "path"], "needs a name"),
    (["datasets", "path", "flights"], "did you mean 'nyc_flights'"),
]


def each_of(cases, cwd):
    """Give several command lines, and return (arguments, exit code, stdout, stderr) of each."""
    done = [mblab(*arguments, cwd=cwd) for arguments, _ in cases]
    return [(one.args, one.returncode, one.stdout, one.stderr) for one in done]


def test_wrong_use_is_exit_code_2(tmp_path):
    """It says what is wrong on stderr, prints nothing else and writes nothing."""
    for (arguments, code, out, said), (_, says) in zip(each_of(WRONG, tmp_path), WRONG, strict=True):
        assert code == 2, arguments
        assert says in said, arguments
        assert "Traceback" not in said, arguments
        assert out == "", arguments
    assert os.listdir(tmp_path) == ["home"]


def test_the_version_is_that_of_the_package(tmp_path):
    """`mblab --version` names the program and the version."""
    import mblab as package

    assert fresh("--version", cwd=tmp_path).stdout == f"mblab {package.__version__}\n"


def test_help_lists_what_is_built_and_nothing_else(tmp_path):
    """A verb whose room is not built yet is absent, and each one's line is whole."""
    listed = mblab("--help", cwd=tmp_path).stdout.split("Commands:")[1]

    assert {"demo", "lab", "run", "sweep", "tune", "export", "datasets", "doctor"} <= set(
        re.findall(r"^  (\w+) {2,}\S", listed, re.MULTILINE)
    )
    assert "..." not in listed


def test_lab_opens_copies_of_the_notebooks(tmp_path):
    """The shipped ones are never edited in place; what follows `--` goes to JupyterLab."""
    done = mblab("lab", "--print-command", "--port", "8890", "--", "--no-browser", cwd=tmp_path)

    assert done.stdout.split()[1:] == ["-m", "jupyterlab", "mblab-notebooks", "--ServerApp.port=8890", "--no-browser"]
    shipped = {f.name for f in notebooks_folder().glob("*.ipynb")}
    assert {f.name for f in (tmp_path / "mblab-notebooks").iterdir()} == shipped


def test_lab_keeps_a_notebook_that_was_changed(tmp_path):
    """It says so, so that nobody wonders where the new edition is."""
    kept = tmp_path / "mblab-notebooks" / "01_quickstart.ipynb"
    kept.parent.mkdir()
    shutil.copyfile(notebooks_folder() / kept.name, kept)
    kept.write_text(kept.read_text(encoding="utf-8").replace("200ms", "300ms"), encoding="utf-8")
    mine = kept.read_bytes()
    done = mblab("lab", "--print-command", cwd=tmp_path)

    assert kept.read_bytes() == mine
    assert "01_quickstart.ipynb differs from the shipped one and was left as it is" in done.stderr


# -- run, sweep, export -------------------------------------------------------------------------------------------

PIPELINE = """
import sys
import mblab
from mblab.testing import rows_at

lab = mblab.Lab(mblab.simulate.sensors(devices=3, rate=100, duration="20s", seed=1), interval="1s", name="sensors")

@lab.batch
def counted(batch, state):
    state["n"] = state.get("n", 0) + len(batch)
    return {"n": state["n"], "said": " ".join(sys.argv[1:])}

lab.to(mblab.sinks.jsonl("out.jsonl"))
if __name__ == "__main__":
    run = lab.run(clock="virtual", cost=0)
    print("printed by the script")
"""


@pytest.fixture
def pipeline(tmp_path):
    """A script that makes a lab, delivers into out.jsonl and runs itself; (its folder)."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return tmp_path


def test_a_script_runs_as_it_is_written(pipeline):
    """What it prints and delivers is its own; then comes a summary. What follows -- is its own command line."""
    done = fresh("run", "pipeline.py", "--", "--region", "eu", cwd=pipeline)
    lines = [json.loads(line) for line in (pipeline / "out.jsonl").read_text().splitlines()]

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("printed by the script\nsensors, finished\n  rows ")
    assert len(lines) == 20
    assert lines[0]["said"] == "--region eu"


def test_options_win_over_what_a_script_says(pipeline):
    """Interval, duration and the like, with JSON alone on stdout."""
    done = mblab("run", "pipeline.py", "--interval", "500ms", "--duration", "5s", "--json", cwd=pipeline)
    (run,) = json.loads(done.stdout)["runs"]

    assert (run["lab"], run["status"], run["batches"], run["duration_s"]) == ("sensors", "finished", 10, 5.0)
    assert done.stderr == "printed by the script\n"


def test_a_script_that_only_makes_a_lab_has_it_run(tmp_path):
    """The file need not say run; with two labs it must be said which."""
    (tmp_path / "labs.py").write_text(
        "import mblab\nfrom mblab.testing import rows_at\n"
        "one, two = (mblab.Lab(rows_at([0.0, 1.0]), name=n) for n in ('one', 'two'))\n"
    )
    unclear = mblab("run", "labs.py", "--clock", "virtual", cwd=tmp_path)
    clear = mblab("run", "labs.py", "--clock", "virtual", "--lab", "two", "--json", cwd=tmp_path)

    assert unclear.returncode == 2
    assert unclear.stderr == "mblab: labs.py makes 2 labs, ['one', 'two']; say which one with --lab.\n"
    assert [run["lab"] for run in json.loads(clear.stdout)["runs"]] == ["two"]


def test_a_stream_without_end_needs_a_duration(tmp_path):
    """Where the file begins no run of its own, the way on is an option."""
    (tmp_path / "x.py").write_text(
        "import mblab\nlab = mblab.Lab(mblab.simulate(lambda n, rng, t: {'x': t}, arrivals=mblab.arrivals.constant(9)))\n"
    )
    cases = [(["run", "x.py"], ""), (["sweep", "x.py", "--interval", "1s"], "")]

    for arguments, code, out, said in each_of(cases, tmp_path):
        assert (code, out) == (2, ""), arguments
        assert said.endswith("never ends by itself; say how long, such as --duration 30s.\n")


def test_a_sweep_without_a_batch_is_an_empty_table(pipeline):
    """No interval fits into the duration: no figures, and no warning of a library's."""
    done = mblab(
        "sweep", "pipeline.py", "--interval", "20s", "--duration", "5s", "--clock", "virtual", "--json", cwd=pipeline
    )

    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["sweep"][0]["latency_p95_s"] is None


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("def f():\n    return 1 / 0\nf()\n", 1, 'Traceback (most recent call last):\n  File "x.py", line 3'),
        ("import sys\nsys.exit(3)\n", 3, ""),
        ("print('hi')\n", 2, "mblab: x.py makes no lab"),
        (
            "import mblab\nlab = mblab.Lab(mblab.simulate.sensors(duration='1s'))\nlab.map(lambda rows: rows['colour'])\nlab.start()\n",
            1,
            "reads column 'colour'",
        ),
    ],
)
def test_a_script_that_fails_ends_with_its_own_code(tmp_path, text, code, says):
    """A traceback begins in the user's file; what mblab raised, also in the background, is its sentence."""
    (tmp_path / "x.py").write_text(text)
    done = mblab("run", "x.py", cwd=tmp_path)

    assert done.returncode == code
    assert says in done.stderr
    assert "cli" not in done.stderr


def test_ctrl_c_ends_a_run_with_130(tmp_path):
    """The batch in hand is finished, one line says so."""
    (tmp_path / "x.py").write_text(
        "import mblab\nlab = mblab.Lab(mblab.simulate.sensors(rate=100, duration='10min'), interval='50ms')\n"
        "lab.to(mblab.sinks.call(lambda rows: print('batch', flush=True)))\n"
    )
    child = subprocess.Popen(
        [*COMMAND, "run", "x.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)

    assert child.returncode == 130
    assert said == "mblab: interrupted; what was written stays\n"


def test_a_sweep_takes_the_place_of_the_first_run(pipeline):
    """A table with T*, nothing delivered, nothing else executed; JSON has the same rows."""
    done = mblab("sweep", "pipeline.py", "--interval", "100ms, 1s", "--clock", "virtual", "--json", cwd=pipeline)
    found = json.loads(done.stdout)

    assert [row["interval_s"] for row in found["sweep"]] == [0.1, 1.0]
    assert found["lab"] == "sensors"
    assert not (pipeline / "out.jsonl").exists()
    assert "printed by the script" not in done.stderr


def test_a_sweep_lasts_as_long_and_costs_as_much_as_the_run_in_its_place(tmp_path):
    """Duration, clock and declared cost of the run are the sweep's; on the wall a declared cost cannot hold."""
    (tmp_path / "x.py").write_text(
        "import mblab\n"
        "lab = mblab.Lab(mblab.simulate.sensors(rate=1000, seed=1), interval='1s')\n"
        "lab.batch(len)\n"
        "lab.run('3s', clock='virtual', cost=lambda n: 0.1 + 2e-4 * n)\n"
    )
    command = ("sweep", "x.py", "--interval", "100ms,1s", "--json")
    as_written = json.loads(mblab(*command, cwd=tmp_path).stdout)
    on_the_wall = json.loads(mblab(*command, "--clock", "wall", "--duration", "1s", cwd=tmp_path).stdout)

    assert as_written["clock"] == "virtual"
    assert as_written["sweep"][1]["load"] == pytest.approx(0.3, abs=0.01)
    assert as_written["sweep"][0]["regime"] == "self_clocked"
    assert on_the_wall["clock"] == "wall"
    assert on_the_wall["sweep"][1]["load"] != as_written["sweep"][1]["load"]


def test_tune_and_sweep_agree_on_a_file_that_declares_its_cost(tmp_path):
    """One program, one answer: what the tuner predicts for an interval is what the sweep measures at it."""
    (tmp_path / "x.py").write_text(
        "import mblab\n"
        "lab = mblab.Lab(mblab.simulate.sensors(rate=1000, seed=1), interval='1s')\n"
        "lab.batch(len)\n"
        "lab.run('60s', clock='virtual', cost=lambda n: 0.1 + 2e-4 * n)\n"
    )
    tuned = json.loads(mblab("tune", "x.py", "--json", cwd=tmp_path).stdout)
    chosen = f"{tuned['interval_s'] * 1000:.6f}ms"
    swept = json.loads(mblab("sweep", "x.py", "--interval", chosen, "--json", cwd=tmp_path).stdout)["sweep"][0]
    predicted = next(row for row in tuned["curve"] if row["interval_s"] == tuned["interval_s"])
    table = mblab("tune", "x.py", cwd=tmp_path).stdout.split("\n\n")[0]

    assert tuned["verdict"] == "trusted"
    assert swept["latency_p95_s"] == pytest.approx(predicted["latency_p95_s"], rel=0.02)
    assert swept["load"] == pytest.approx(predicted["load"], rel=0.02)
    assert f"{tuned['interval_s'] * 1000:.3g} ms" in table


def test_tuning_takes_the_place_of_the_first_run(pipeline):
    """An interval with its reasons, nothing delivered; JSON has the curve."""
    done = mblab("tune", "pipeline.py", "--p95", "2s", "--budget", "500ms", "--json", cwd=pipeline)
    found = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    assert 0.5 < found["interval_s"] < 2.2
    assert found["verdict"] in ("trusted", "check")
    assert "A batch takes" in found["law"]
    assert len(found["curve"]) > 20
    assert not (pipeline / "out.jsonl").exists()


def test_a_tuner_that_refuses_says_why_and_ends_with_1(pipeline):
    """No interval keeps a millisecond when a batch costs two."""
    script = pipeline / "pipeline.py"
    script.write_text(re.sub(r"cost=[\d.]+", "cost=0.002", PIPELINE))
    done = mblab("tune", "pipeline.py", "--p95", "1ms", "--budget", "300ms", cwd=pipeline)

    assert done.returncode == 1
    assert "No interval is advised for p95" in done.stdout


def test_an_exported_script_delivers_what_the_file_delivers(pipeline):
    """Exporting delivers nothing; the script stands alone, and `mblab run` takes it too."""
    exported = mblab("export", "pipeline.py", "-o", "alone.py", cwd=pipeline)
    nothing = not (pipeline / "out.jsonl").exists()
    mblab("run", "pipeline.py", cwd=pipeline)
    ours = (pipeline / "out.jsonl").read_text()
    (pipeline / "out.jsonl").unlink()
    (pipeline / ".out.jsonl.mblab.json").unlink()
    alone = mblab("run", "alone.py", "--json", cwd=pipeline)

    assert exported.stdout == "alone.py\n", exported.stderr
    assert nothing
    assert json.loads(alone.stdout)["runs"][0]["batches"] == 20, alone.stderr
    assert (pipeline / "out.jsonl").read_text() == ours


def notebook(folder, *cells):
    """Write a notebook; a cell that begins with `# parameters` gets the tag."""
    made = nbformat.v4.new_notebook(metadata={})
    for source in cells:
        tags = ["parameters"] if source.startswith("# parameters") else []
        made.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
    nbformat.write(made, folder / "x.ipynb")


NOTEBOOK = (
    "# parameters\ninterval = '1s'\nfactor = 2",
    "import mblab\nimport pandas as pd\nrows = mblab.replay(pd.DataFrame({'x': range(20)}), rate=10)",
    "lab = mblab.Lab(rows, interval=interval)",
    "@lab.batch\ndef times(batch):\n    return {'n': len(batch) * factor}",
    "lab.run('2s', clock='virtual', cost=0).output",
)


@pytest.mark.kernel
def test_a_notebook_runs_with_its_parameters(tmp_path):
    """-p and an option of the same name go into the parameters cell; the executed copy has the results and no more."""
    notebook(tmp_path, *NOTEBOOK)
    done = mblab("run", "x.ipynb", "-p", "factor=5", "--interval", "500ms", "--json", cwd=tmp_path)
    executed = nbformat.read(tmp_path / "x-run.ipynb", 4)
    shown = executed.cells[-1].outputs[0]["data"]["text/plain"].split()

    assert json.loads(done.stdout)["runs"][0]["batches"] == 4, done.stderr
    assert shown.count("25") == 4
    assert len(executed.cells) == len(NOTEBOOK) + 1
    assert 'interval = "500ms"' in executed.cells[1].source
    assert done.stderr == "mblab: the executed notebook is x-run.ipynb\n"


@pytest.mark.kernel
def test_a_notebook_is_swept_and_exported(tmp_path):
    """In a kernel of its own, where a function's text is found as in JupyterLab."""
    notebook(tmp_path, *NOTEBOOK, "lab.policy = 'skip'")
    swept = mblab("sweep", "x.ipynb", "--interval", "200ms,1s", "--clock", "virtual", "--json", cwd=tmp_path)
    exported = mblab("export", "x.ipynb", "-p", "factor=7", cwd=tmp_path)
    text = (tmp_path / "pipeline.py").read_text()

    assert len(json.loads(swept.stdout)["sweep"]) == 2, swept.stderr
    assert exported.stdout == "pipeline.py\n"
    assert "factor = 7" in text
    assert "policy='skip'" in text


NO_PARAMETER = [
    (
        ["-p", "factr=5"],
        "x.ipynb has no parameter 'factr', there are ['interval', 'factor']: did you mean 'factor'?",
    ),
    (["-p", "factor=many"], "-p factor=many must be a number, like 2 in the notebook."),
    (["-p", "factor"], "-p needs name=value, got 'factor'."),
    (["-p", "factor=1", "-p", "factor=2"], "given twice"),
    (["-p", "interval=1s", "--interval", "2s"], "interval is given twice"),
    (["-p", "x=__import__('os').system('touch pwned')"], "no parameter 'x'"),
    (["--out", "x.ipynb"], "is the notebook itself"),
    (["--", "--region"], "a notebook takes parameters"),
]


def test_a_parameter_that_a_notebook_does_not_have_is_refused(tmp_path):
    """Before anything is executed, and nothing of a name or a value ever is."""
    notebook(tmp_path, *NOTEBOOK)
    cases = [(["run", "x.ipynb", *arguments], says) for arguments, says in NO_PARAMETER]
    for (arguments, code, _, said), (_, says) in zip(each_of(cases, tmp_path), cases, strict=True):
        assert code == 2, arguments
        assert says in said, arguments
    assert sorted(os.listdir(tmp_path)) == ["home", "x.ipynb"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "'x.ipynb' is no notebook that can be read"),
        ("", "'x.ipynb' is no notebook that can be read"),
        (
            '{"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": {"language_info": {"name": "R"}}}',
            "x.ipynb is written in R, and mblab runs notebooks in Python.",
        ),
    ],
)
def test_what_is_no_notebook_of_python_is_refused(text, says, tmp_path):
    """Before a kernel is started."""
    (tmp_path / "x.ipynb").write_text(text)
    done = mblab("run", "x.ipynb", cwd=tmp_path)

    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.kernel
def test_a_kernel_that_is_not_here_is_replaced_and_one_that_dies_is_told(tmp_path):
    """A notebook often names the environment of whoever wrote it."""
    notebook(tmp_path, "import os\nos._exit(3)")
    made = nbformat.read(tmp_path / "x.ipynb", 4)
    made.metadata["kernelspec"] = {"name": "hers", "language": "python", "display_name": "Hers"}
    nbformat.write(made, tmp_path / "x.ipynb")
    done = mblab("run", "x.ipynb", cwd=tmp_path)

    assert done.returncode == 1
    assert "x.ipynb asks for the kernel 'hers', which is not installed here, so python3 runs it\n" in done.stderr
    assert "mblab: x.ipynb: its kernel died, as when memory runs out" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_result_that_cannot_be_written_names_the_place(tmp_path):
    """Not the number that the system has for it."""
    done = mblab("demo", "--out", "/proc/demo", cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr == "mblab: /proc/demo cannot be written: No such file or directory.\n"


@pytest.mark.kernel
def test_a_cell_that_fails_is_named(tmp_path):
    """With its number as in the notebook, and where to look."""
    notebook(tmp_path, "x = 1", "1 / 0")
    done = mblab("run", "x.ipynb", cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr == "mblab: x.ipynb in cell 2: ZeroDivisionError: division by zero; see x-run.ipynb\n"
    assert (tmp_path / "x-run.ipynb").exists()


# -- datasets, completion -----------------------------------------------------------------------------------------


def test_datasets_are_listed_and_found(tmp_path):
    """For people in columns, for programs as JSON with the path; one path alone for $(…)."""
    listed = json.loads(mblab("datasets", "--json", cwd=tmp_path).stdout)
    path = mblab("datasets", "path", "earthquakes", cwd=tmp_path).stdout

    assert [d["name"] for d in listed] == ["nyc_flights", "nyc_weather", "earthquakes"]
    assert all(Path(d["path"]).is_file() for d in listed)
    assert path == listed[2]["path"] + "\n"


def test_the_shell_completes_verbs_and_names(tmp_path):
    """Completion asks the command itself; `--install-completion` only tells the shell to ask."""
    asked = {"_MBLAB_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "mblab d"}
    verbs = mblab(cwd=tmp_path, **asked).stdout.split()
    names = mblab(cwd=tmp_path, **asked | {"COMP_CWORD": "3", "COMP_WORDS": "mblab datasets path e"}).stdout.split()

    assert verbs == ["demo", "datasets", "doctor"]
    assert names == ["earthquakes"]
    assert "--install-completion" in mblab("--help", cwd=tmp_path).stdout

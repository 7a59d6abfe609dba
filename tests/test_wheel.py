"""The wheel holds everything that a user needs, and works where there is no checkout; alone it is light."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .conftest import shared_cache

ROOT = Path(__file__).parents[1]
UV = os.environ.get("UV") or shutil.which("uv")
pytestmark = pytest.mark.skipif(UV is None, reason="uv is not on this machine; run the tests with `uv run pytest`")

LOOK = """
import json
import mblab
from mblab import charts
from mblab.cli import demo_job as demo
from mblab.cli.notebooks import notebooks_folder

flights = mblab.replay(mblab.datasets.path("nyc_flights"), arrival="reported_at", speedup=36_000, limit=2_000)
lab = mblab.Lab(flights, interval="500ms")

@lab.batch
def count(batch, state):
    state["rows"] = state.get("rows", 0) + len(batch)
    return state["rows"]

run = lab.run(clock="virtual", cost=0.1)
print(json.dumps({
    "file": mblab.__file__,
    "data": {name: len(mblab.datasets.load(name)) for name in mblab.datasets.list().name},
    "rows": int(run.output["count"].iloc[-1]),
    "svg": charts.html_fragment(run.plot()).count("<svg"),
    "notebooks": sorted(f.name for f in notebooks_folder().glob("*.ipynb")),
    "page": run.to_html("run.html").stat().st_size,
}))
"""


LIGHT = """
import json
import sqlite3
import mblab

def sentence(face):
    try:
        face()
    except mblab.MissingExtra as missing:
        return str(missing)

lab = mblab.Lab(mblab.replay(mblab.datasets.path("nyc_flights"), arrival="reported_at", speedup=36_000, limit=500))

@lab.batch
def count(batch, state):
    state["rows"] = state.get("rows", 0) + len(batch)
    return {"rows": state["rows"]}

lab.to(mblab.sinks.sqlite("out.db", table="counts"))
run = lab.run(clock="virtual", cost=0.1)
curve = mblab.predict(mblab.arrivals.poisson(200), ["100ms", "1s"], cost=lambda n: 0.05 + 1e-4 * n, duration="20s")
lab.export("pipeline.py")
print(json.dumps({
    "rows": int(run.summary()["rows"]),
    "delivered": sqlite3.connect("out.db").execute("SELECT max(rows) FROM counts").fetchone()[0],
    "predicted": len(curve.table),
    "sentences": {
        "run.plot()": sentence(run.plot),
        "mblab.charts.run_chart": sentence(lambda: mblab.charts.run_chart),
        "showing a run": sentence(run._repr_mimebundle_),
        "showing a lab": sentence(lab._repr_mimebundle_),
        "%load_ext mblab": sentence(lambda: mblab.load_ipython_extension(None)),
    },
}))
"""


def uv(*arguments, **options):
    """Run uv, and return what it said; it fails loudly."""
    done = subprocess.run(
        [UV, *map(str, arguments)], capture_output=True, text=True, timeout=280, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from this checkout."""
    out = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--wheel", "--out-dir", str(out), str(ROOT))
    (built,) = out.glob("*.whl")
    return built


def process(*command, cwd, **environment):
    """Run a command that knows nothing of the checkout."""
    alone = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        command, cwd=cwd, env=alone | environment, capture_output=True, text=True, timeout=120, check=False
    )


def look(python, program, cwd, **environment):
    """Run a program and return what it printed as JSON."""
    (cwd / "look.py").write_text(program)
    done = process(python, "look.py", cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def light(wheel, tmp_path_factory):
    """What is found where there is the wheel and what itself requires, in the locked versions."""
    there = tmp_path_factory.mktemp("light")
    locked, python = there / "locked.txt", there / "venv" / "bin" / "python"
    uv("export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "-o", locked, cwd=ROOT)
    uv("venv", "--quiet", "--python", sys.executable, there / "venv")
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", "-r", locked, wheel)
    facts = look(python, LIGHT, there)
    script = process(python, "pipeline.py", "--json", cwd=there)
    command = process(python.parent / "mblab", "demo", cwd=there)
    return facts | {"script": script, "command": command}


@pytest.fixture(scope="module")
def found(wheel, tmp_path_factory):
    """What is found where there is the wheel and every extra: in our own Python, whose checkout the wheel hides."""
    there = tmp_path_factory.mktemp("found")
    uv("pip", "install", "--quiet", "--no-deps", "--target", there / "site", wheel)
    return look(sys.executable, LOOK, there, PYTHONPATH=str(there / "site"), **shared_cache())


def test_the_wheel_holds_package_data_and_notebooks_only(wheel):
    """No tests, no project files, no outputs of builds."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}

    assert tops == {"mblab", wheel.name.split("-py3")[0] + ".dist-info"}
    assert not [n for n in names if "test_" in n or "/tests/" in n or n.endswith((".pyc", ".ipynb_checkpoints"))]


def test_the_wheel_holds_the_dashboards_page_and_no_drawing_library(wheel):
    """What the browser draws with is made on the user's computer, by a package of the extra `lab`."""
    names = zipfile.ZipFile(wheel).namelist()
    page = {name.rpartition("/")[2] for name in names if name.startswith("mblab/dashboard/page/")}

    assert page == {file.name for file in (ROOT / "mblab" / "dashboard" / "page").iterdir()}
    assert not [name for name in names if "vega" in name and not name.endswith(".py")]


def test_the_wheel_is_small_enough_to_install_anywhere(wheel):
    """The data are the largest part of it."""
    assert wheel.stat().st_size < 3_000_000


def test_it_is_the_installed_package_that_was_looked_at(found):
    """Otherwise the tests below would say nothing."""
    assert ROOT not in Path(found["file"]).parents


def test_the_data_sets_are_found(found):
    """All three, whole."""
    assert found["data"] == {"nyc_flights": 48_562, "nyc_weather": 2_010, "earthquakes": 1_707}


def test_a_lab_runs(found):
    """Every row in, every row out."""
    assert found["rows"] == 2_000


def test_charts_are_drawn(found):
    """Without a network, and without anything but the packages of the extra `lab`."""
    assert found["svg"] == 1


def test_the_notebooks_of_the_demo_are_found(found):
    """`mblab demo` and `mblab lab` work from a wheel."""
    assert found["notebooks"] == sorted(f.name for f in (ROOT / "notebooks").glob("*.ipynb"))


def test_a_run_is_written_as_a_page(found):
    """Its template and script are in the wheel, and the bundle that draws is made without a network."""
    assert found["page"] > 500_000


def test_alone_it_requires_no_more_than_a_script_needs(wheel):
    """A production host gets neither JupyterLab nor a drawing library; to add to this list is a decision."""
    (about,) = (n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".dist-info/METADATA"))
    lines = zipfile.ZipFile(wheel).read(about).decode().splitlines()
    required = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]

    assert sorted(r for r in required if "extra ==" not in r) == ["numpy>=2", "pandas>=3", "pyarrow>=18", "tqdm>=4.66"]


def test_alone_it_runs_a_pipeline_delivers_it_and_predicts(light):
    """Source, steps, a database and the what-if need no notebook."""
    assert (light["rows"], light["delivered"], light["predicted"]) == (500, 500, 2)


def test_alone_an_exported_script_runs(light):
    """It needs what the wheel requires, and its header asks for nothing else."""
    assert light["script"].returncode == 0, light["script"].stderr
    assert json.loads(light["script"].stdout)["rows"] == 500


@pytest.mark.parametrize(
    ("face", "start"),
    [
        ("run.plot()", "a chart needs altair, "),
        ("mblab.charts.run_chart", "a chart needs altair, "),
        ("showing a run", "a chart needs altair, "),
        ("showing a lab", "a chart needs altair, "),
        ("%load_ext mblab", "%load_ext mblab needs IPython, "),
    ],
)
def test_alone_a_face_says_which_extra_brings_it(light, face, start):
    """One sentence with the command, and no traceback into a package that nobody asked for."""
    sentence = light["sentences"][face]

    assert sentence.startswith(start)
    assert sentence.endswith("install it with: pip install 'mblab[lab]'")


def test_alone_the_command_says_which_extra_brings_it(light):
    """The wheel installs the command, but not what reads its command line."""
    done = light["command"]

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "mblab: the command mblab needs typer, which cannot be imported; install it with: pip install 'mblab[lab]'\n"
    )

"""The wheel holds everything that a user needs, and works where there is no checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


def uv(*arguments, **options):
    """Run uv, and return what it said; it fails loudly."""
    done = subprocess.run([UV, *arguments], capture_output=True, text=True, timeout=280, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from this checkout."""
    out = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--wheel", "--out-dir", str(out), str(ROOT))
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def found(wheel, tmp_path_factory):
    """What a process finds that has the wheel and the locked packages, and knows nothing of the checkout."""
    there = tmp_path_factory.mktemp("there")
    locked = there / "locked.txt"
    uv("export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "-o", str(locked), cwd=ROOT)
    uv("venv", "--quiet", "--python", sys.executable, str(there / "venv"))
    python = there / "venv" / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", str(python), "--no-deps", "-r", str(locked), str(wheel))
    alone = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    look = [python, "-c", LOOK]
    done = subprocess.run(look, cwd=there, env=alone, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_wheel_holds_package_data_and_notebooks_only(wheel):
    """No tests, no project files, no outputs of builds."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}

    assert tops == {"mblab", wheel.name.split("-py3")[0] + ".dist-info"}
    assert not [n for n in names if "test_" in n or "/tests/" in n or n.endswith((".pyc", ".ipynb_checkpoints"))]


def test_the_wheel_holds_the_dashboards_page_and_no_drawing_library(wheel):
    """What the browser draws with is made on the user's computer, by a package that is required anyway."""
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
    """Without a network, and without anything but the required packages."""
    assert found["svg"] == 1


def test_the_notebooks_of_the_demo_are_found(found):
    """`mblab demo` and `mblab lab` work from a wheel."""
    assert found["notebooks"] == sorted(f.name for f in (ROOT / "notebooks").glob("*.ipynb"))


def test_a_run_is_written_as_a_page(found):
    """Its template and script are in the wheel, and the bundle that draws is made without a network."""
    assert found["page"] > 500_000

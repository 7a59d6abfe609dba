"""`mblab doctor` on this machine, and on machines that are broken on purpose; nothing is mocked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mblab.cli import doctor_checks as checks

from .conftest import shared_cache

COMMAND = [sys.executable, "-c", "from mblab.cli import main; main()", "doctor"]


def doctor(cwd, *arguments, **environment):
    """Run the command in a process of its own; a value of None takes a variable out."""
    changed = {**os.environ, **shared_cache(), "HOME": str(cwd), **environment}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=changed, capture_output=True, text=True, timeout=300, check=False
    )


def package(folder, name, version, module=None, text="raise ImportError('libbroken.so.1: not found')"):
    """Put a package of a version before the installed one, and a module that does what `text` says."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if module is not None:
        (folder / module).mkdir()
        (folder / module / "__init__.py").write_text(text)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """The checks of this machine."""
    done = doctor(tmp_path_factory.mktemp("healthy"), "--json")
    return done, {check["name"]: check for check in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """One machine with much that is wrong: an old package, a forbidden one, one that does not load, a kernel that is gone."""
    folder = tmp_path_factory.mktemp("broken")
    shadow = folder / "shadow"
    package(shadow, "ipykernel", "7.0.1")
    package(shadow, "papermill", "1.2.1")
    package(shadow, "vl-convert-python", "1.9.0", "vl_convert")
    kernel = folder / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(
        json.dumps({"argv": ["/opt/gone/python", "-m", "ipykernel"], "display_name": "x", "language": "python"})
    )
    environment = {"PYTHONPATH": str(shadow), "JUPYTER_PATH": str(folder / "jupyter")}
    done = doctor(folder, **environment)
    return done.returncode, done.stdout


def test_this_machine_is_well(healthy):
    """Every check that does not depend on how busy the machine is; exit code 0 when all are."""
    done, found = healthy
    bad = {name: check for name, check in found.items() if not check["ok"] and name != "clock"}

    assert bad == {}
    assert done.returncode == (0 if found["clock"]["ok"] else 1)
    assert done.stderr == ""


def test_it_looks_at_every_package_that_the_project_needs(healthy):
    """What a script needs and what the extra `lab` brings; the floors are read from the installed metadata."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    needed = {Requirement(r).name for r in requires("mblab") if 'extra == "all"' not in r.replace("'", '"')}

    assert needed <= set(healthy[1])
    assert {"numpy", "altair"} <= needed


def test_nothing_is_left_behind(tmp_path):
    """The files it tries are gone."""
    for look in (checks._sqlite, checks._locks):
        look()
    os.chdir(tmp_path)
    checks._sqlite()

    assert os.listdir(tmp_path) == []


def remedy_of(text, name):
    """The line of a check and, below it, the remedy."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"BAD  {name}"))
    return lines[at], lines[at + 1].strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "found", "remedy"),
    [
        ("ipykernel", "7.0.1, but mblab needs", '→ pip install "ipykernel!=7.0.*,>=6.29"'),
        ("papermill", "1.2.1, but mblab needs >=2.6", '→ pip install "papermill>=2.6"'),
        ("vl-convert-python", "libbroken.so.1: not found", '→ pip install --force-reinstall "vl-convert-python>=1.8"'),
        ("charts as PNG", "libbroken.so.1", '→ pip install --force-reinstall "vl-convert-python>=1.8"'),
        ("kernel", "/opt/gone/python", "-m ipykernel install --sys-prefix"),
    ],
)
def test_what_is_broken_is_red_with_its_remedy(broken, name, found, remedy):
    """A line for what was seen, a line for what to do."""
    line, below = remedy_of(broken[1], name)

    assert found in line
    assert remedy in below


@pytest.mark.slow
def test_a_broken_machine_ends_with_1_and_the_rest_is_still_looked_at(broken):
    """One bad package does not hide the others; no colour where stdout is no terminal."""
    code, text = broken

    assert code == 1
    assert "  ok   pandas" in text
    assert "  ok   SQLite" in text
    assert text.splitlines()[-1].endswith("checks need attention.")
    assert "\033" not in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_a_package_that_is_not_there_is_red(tmp_path):
    """A Python without tqdm and pandas: the doctor itself still runs. The site is a copy without them."""
    site = tmp_path / "site"
    site.mkdir()
    for folder in {Path(p) for p in sys.path if p.endswith("site-packages")}:
        for entry in folder.iterdir():
            left_out = entry.name.lower().startswith(("pandas", "tqdm")) or entry.name == "mblab"
            if not left_out and entry.suffix != ".pth":
                (site / entry.name).symlink_to(entry)
    (site / "mblab").symlink_to(Path(checks.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-S", "-c", "from mblab.cli import main; main()", "doctor"],
        cwd=tmp_path, env={**os.environ, **shared_cache(), "PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (1, "")
    assert remedy_of(done.stdout, "pandas") == (
        "  BAD  pandas               not installed",
        '→ pip install "pandas>=3"',
    )
    assert remedy_of(done.stdout, "tqdm")[1] == '→ pip install "tqdm>=4.66"'

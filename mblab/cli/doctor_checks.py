"""What `mblab doctor` looks at; each check does the real thing, and a failing one names its remedy.

Nothing here may need what it checks: every import of an installed package stands inside the check of it.

this machine, this installation -> [doctor_checks] -> doctor
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["Check", "run_checks"]

REINSTALL: Final = "install mblab again: pip install --force-reinstall mblab, or uv sync in a checkout"
IMPORTED: Final = {
    "altair": "altair", "anywidget": "anywidget", "ipykernel": "ipykernel", "ipywidgets": "ipywidgets",
    "jupyterlab": "jupyterlab", "numpy": "numpy", "pandas": "pandas", "papermill": "papermill",
    "pyarrow": "pyarrow.parquet", "tqdm": "tqdm", "typer": "typer", "vl-convert-python": "vl_convert",
}  # fmt: skip
WIDGETS: Final = ("@jupyter-widgets/jupyterlab-manager", "anywidget")
OLDEST_SQLITE: Final = (3, 35)  # DROP COLUMN, which a rolled-back batch may need
LATE_S: Final = 0.05
FREE_BYTES: Final = 500_000_000
WAIT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table.

    Attributes:
        name: What was looked at.
        ok: Whether it will do.
        found: What was seen.
        remedy: What to do; empty when it is well.
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""


class _Bad(Exception):
    """A check that failed: what was found, and what to do."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy


def run_checks() -> Iterator[Check]:
    """Yield every check when it is done, in the order in which problems are best solved."""
    yield _checked("python", _python, "use another Python")
    for name, requirement, look in _packages():
        yield _checked(name, look, f"pip install {requirement!r}")
    for name, look, remedy in ENVIRONMENT:
        yield _checked(name, look, remedy)


def _checked(name: str, look: Callable[[], str], remedy: str) -> Check:
    try:
        return Check(name, True, look())
    except _Bad as bad:
        return Check(name, False, bad.found, bad.remedy)
    except Exception as error:  # a broken package may raise anything
        said = (str(error).splitlines() or [""])[0]
        return Check(name, False, f"{type(error).__name__}: {said}", remedy)


# -- Python and packages ------------------------------------------------------------------------------------------


def _python() -> str:
    from packaging.specifiers import SpecifierSet

    found = ".".join(map(str, sys.version_info[:3]))
    needed = metadata.metadata("mblab")["Requires-Python"] or ">=3.11"
    if found not in SpecifierSet(needed):
        raise _Bad(f"{found}, but mblab needs {needed}", f"install a Python {needed} and mblab in it")
    return f"{found}, {sys.executable}"


def _packages() -> Iterator[tuple[str, str, Callable[[], str]]]:
    """Yield (name, requirement, check) for what mblab and its extra `lab` need; other extras are not needed."""
    try:
        from packaging.requirements import Requirement

        needed = [Requirement(text) for text in metadata.requires("mblab") or []]
    except (ImportError, metadata.PackageNotFoundError) as error:
        yield "packages", "mblab", partial(_raise, _Bad(f"{type(error).__name__}: {error}", REINSTALL))
        return
    for requirement in needed:
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", "lab")):
            yield requirement.name, str(requirement), partial(_package, requirement)


def _raise(error: Exception) -> str:
    raise error


def _package(requirement: Requirement) -> str:
    """Compare the version with the floor, and import it."""
    remedy = f'pip install "{requirement.name}{requirement.specifier}"'
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        raise _Bad("not installed", remedy) from None
    if not requirement.specifier.contains(found, prereleases=True):
        raise _Bad(f"{found}, but mblab needs {requirement.specifier}", remedy)
    module = IMPORTED.get(requirement.name)
    try:
        if module is not None:
            importlib.import_module(module)
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        again = f'pip install --force-reinstall "{requirement.name}{requirement.specifier}"'
        raise _Bad(f"{found}, but it cannot be imported ({type(error).__name__}: {said})", again) from None
    return f"{found} ({requirement.specifier})"


# -- JupyterLab ---------------------------------------------------------------------------------------------------


def _jupyterlab() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "jupyterlab", "--version"], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise _Bad(f"it does not start ({said})", 'pip install --force-reinstall "jupyterlab>=4.4"')
    return f"starts, {done.stdout.strip()}"


def _kernel() -> str:
    """Find what JupyterLab would start for a notebook, and ask it for mblab."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    remedy = f"{sys.executable} -m ipykernel install --sys-prefix"
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        raise _Bad("there is no kernel python3", remedy) from None
    program = shutil.which(_program(spec.argv)) if spec.argv else None
    if program is None:
        raise _Bad(f"kernel python3 in {spec.resource_dir} starts {spec.argv[:1]}, which is not there", remedy)
    done = subprocess.run(  # noqa: S603
        [program, "-c", "import ipykernel, mblab.lab"],
        capture_output=True, text=True, timeout=WAIT_S, check=False, env={**os.environ, **spec.env},
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise _Bad(f"kernel python3 is {program}, where mblab cannot be imported ({said})", remedy)
    return f"kernel python3 is {program}"


def _program(argv: list[str]) -> str:
    """Return what a kernel is started with; to Jupyter a plain `python` is the one it runs in."""
    major, minor = sys.version_info[:2]
    plain = ("python", f"python{major}", f"python{major}.{minor}")
    return sys.executable if argv[0] in plain else argv[0]


def _widgets() -> str:
    """Look for what the browser needs beside the packages."""
    from jupyter_core.paths import jupyter_path

    found = []
    for name in WIDGETS:
        files = [Path(folder, name, "package.json") for folder in jupyter_path("labextensions")]
        there = next((file for file in files if file.is_file()), None)
        if there is None:
            raise _Bad(
                f"JupyterLab does not have {name}",
                'pip install --force-reinstall "ipywidgets>=8.1" jupyterlab_widgets anywidget',
            )
        found.append(f"{name} {json.loads(there.read_text(encoding='utf-8')).get('version', '')}")
    return ", ".join(found)


# -- charts -------------------------------------------------------------------------------------------------------


def _chart() -> Any:
    import altair as alt
    import pandas as pd

    return alt.Chart(pd.DataFrame({"x": [1, 2], "y": [3, 4]})).mark_line().encode(x="x:Q", y="y:Q")


def _png() -> str:
    import vl_convert

    png = vl_convert.vegalite_to_png(_chart().to_json())
    if not png.startswith(b"\x89PNG"):
        raise _Bad("vl-convert made something that is no PNG", 'pip install --force-reinstall "vl-convert-python>=1.8"')
    return f"a chart is a PNG of {len(png):,} bytes"


def _renderer() -> str:
    from mblab.charts.render import mimebundle

    data = mimebundle(_chart(), "chart")
    kinds = sorted(data[0] if isinstance(data, tuple) else data)
    missing = [kind for kind in ("image/png", "text/plain") if kind not in kinds]
    if missing:
        raise _Bad(f"a chart has no {' and no '.join(missing)}", REINSTALL)
    return ", ".join(kinds)


def _live_charts() -> str:
    """Make what the dashboard is drawn with, unless this computer has it already."""
    from mblab.charts import vega

    was_kept = vega.is_kept()
    made = vega.warm()
    return made if was_kept else f"{made}, made just now"


# -- files, clock, network ----------------------------------------------------------------------------------------


def _sqlite() -> str:
    """Write a database in this folder the way sinks and checkpoints do."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise _Bad(
            f"{sqlite3.sqlite_version}, but mblab needs {needed}", "use a newer Python, which brings its own SQLite"
        )
    with tempfile.TemporaryDirectory(dir=".", prefix=".mblab-doctor-") as folder:
        connection = sqlite3.connect(Path(folder, "try.db"))
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            connection.execute("CREATE TABLE t (x)")
            connection.commit()
        finally:
            connection.close()
    if mode != "wal":
        raise _Bad(f"{sqlite3.sqlite_version}, without WAL in {Path.cwd()}", "work in a folder on a local disk")
    return f"{sqlite3.sqlite_version}, WAL works here"


def _locks() -> str:
    """Lock a file twice; the second must be refused."""
    try:
        import fcntl
    except ImportError:
        raise _Bad("this system has no kernel file locks", "use Linux or macOS") from None
    with tempfile.NamedTemporaryFile(dir=".", prefix=".mblab-doctor-") as one, Path(one.name).open() as two:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"a lock holds in {Path.cwd()}"
    raise _Bad(f"a locked file in {Path.cwd()} can be locked again", "work in a folder on a local disk")


def _folder() -> str:
    here = Path.cwd()
    if not os.access(here, os.W_OK):
        raise _Bad(f"{here} cannot be written to", "work in a folder of your own")
    free = shutil.disk_usage(here).free
    if free < FREE_BYTES:
        raise _Bad(f"{free / 1e6:,.0f} MB left in {here}", f"make room; {FREE_BYTES / 1e6:,.0f} MB are little enough")
    return f"{free / 1e9:,.1f} GB left in {here}"


def _clock() -> str:
    """Wait twenty times for 10 ms, and see how late one wakes."""
    resolution = time.get_clock_info("perf_counter").resolution
    late = []
    for _ in range(20):
        due = time.perf_counter() + 0.01
        time.sleep(0.01)
        late.append(time.perf_counter() - due)
    median, worst = statistics.median(late), max(late)
    found = f"{resolution * 1e9:.0f} ns, timers {median * 1e3:.2f} ms late, at worst {worst * 1e3:.1f} ms"
    if resolution > 1e-6 or median > LATE_S:
        raise _Bad(found, "end what keeps this machine busy, or take intervals of a second and more")
    return found


def _datasets() -> str:
    from mblab import datasets

    return ", ".join(name for name in datasets.KNOWN if datasets.path(name))


def _notebooks() -> str:
    from mblab.cli.notebooks import notebooks_folder

    found = [f.name for f in sorted(notebooks_folder().glob("*.ipynb"))]
    if not found:
        raise _Bad(f"none in {notebooks_folder()}", REINSTALL)
    return ", ".join(found)


def _port() -> str:
    """Take a port as JupyterLab does."""
    taken = []
    for port in (*range(8888, 8894), 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(port)
                continue
            used = f", {', '.join(map(str, taken))} taken" if taken else ""
            return f"127.0.0.1:{probe.getsockname()[1]} is free{used}"
    raise _Bad("no port of 127.0.0.1 can be taken", "allow this program to listen on 127.0.0.1")


ENVIRONMENT: Final[tuple[tuple[str, Callable[[], str], str], ...]] = (
    ("start JupyterLab", _jupyterlab, 'pip install --force-reinstall "jupyterlab>=4.4"'),
    ("kernel", _kernel, "python -m ipykernel install --sys-prefix"),
    ("widgets", _widgets, 'pip install --force-reinstall "ipywidgets>=8.1" jupyterlab_widgets anywidget'),
    ("charts as PNG", _png, 'pip install --force-reinstall "vl-convert-python>=1.8"'),
    ("charts in notebooks", _renderer, 'pip install --force-reinstall "altair>=6"'),
    ("live charts", _live_charts, "mblab lab, which makes what they are drawn with"),
    ("SQLite", _sqlite, "work in a folder on a local disk that you may write to"),
    ("file locks", _locks, "work in a folder on a local disk that you may write to"),
    ("folder", _folder, "work in a folder of your own"),
    ("clock", _clock, "use another machine"),
    ("data sets", _datasets, REINSTALL),
    ("notebooks", _notebooks, REINSTALL),
    ("port", _port, "allow this program to listen on 127.0.0.1"),
)

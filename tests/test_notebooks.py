"""Every shipped notebook runs from top to bottom, without a person, and is committed clean."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from .conftest import shared_cache

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def code_cells(path):
    """The code cells, in order."""
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def test_there_is_a_notebook_to_start_with():
    """An empty folder would make the tests below pass for nothing."""
    assert NOTEBOOKS[0].name == "01_quickstart.ipynb"


@pytest.mark.kernel
@pytest.mark.parametrize(
    "path",
    # the demo runs the first one too; the third tries the clock's time
    [pytest.param(p, marks=[] if p == NOTEBOOKS[1] else [pytest.mark.slow]) for p in NOTEBOOKS],
    ids=lambda p: p.stem,
)
def test_it_runs_from_top_to_bottom(path, tmp_path):
    """Papermill, in an empty folder, in a process of its own; every code cell has been executed."""
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(path), "out.ipynb"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | shared_cache(), capture_output=True, text=True, timeout=240, check=False
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert all(
        cell.execution_count for cell in code_cells(tmp_path / "out.ipynb") if "injected" not in str(cell.metadata)
    )


@each_notebook
def test_papermill_knows_its_kernel_and_language(path):
    """Papermill refuses a notebook that lacks either."""
    metadata = nbformat.read(path, 4).metadata

    assert metadata.kernelspec.name == "python3"
    assert metadata.kernelspec.language == "python"


@each_notebook
def test_it_has_one_cell_of_parameters(path):
    """Papermill puts other values right below it."""
    tagged = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]

    assert len(tagged) == 1


@each_notebook
def test_its_first_code_cell_is_short(path):
    """Nobody starts with a wall of set-up: at most three lines."""
    assert len(code_cells(path)[0].source.splitlines()) <= 3


@each_notebook
def test_it_is_committed_without_outputs(path):
    """Outputs belong to whoever runs it."""
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(path))


@each_notebook
def test_prose_comes_first_and_often(path):
    """It opens with prose, and at least every third cell is prose."""
    kinds = [cell.cell_type for cell in nbformat.read(path, 4).cells]

    assert kinds[0] == "markdown"
    assert kinds.count("markdown") * 3 >= len(kinds)


@each_notebook
def test_it_is_written_for_every_machine(path):
    """No absolute path of the machine it was written on."""
    text = path.read_text(encoding="utf-8")

    assert not any(f"{root}/" in text for root in ("/work", "/root", "/home", "/tmp"))

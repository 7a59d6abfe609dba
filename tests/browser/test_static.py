"""What a notebook shows without a widget, as JupyterLab draws it offline."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

SMALL = """
import mblab
src = mblab.simulate.sensors(devices=20, rate=400, duration="20s", seed=7)
lab = mblab.Lab(src, interval="500ms", ui=False)
@lab.batch
def mean_by_device(batch, state):
    state["rows"] = state.get("rows", 0) + len(batch)
    return batch.groupby("device", as_index=False)["temperature"].mean()
run = lab.run("20s", clock="virtual", cost=lambda n: 0.05 + 1e-4 * n, controls={"10s": {"interval": "250ms"}})
"""

LONG = """
import mblab
lab = mblab.Lab(mblab.simulate.sensors(devices=20, rate=400, seed=7), interval="500ms")
run = lab.run("2.2s")
"""


def drawn(sheet, cell: int) -> None:
    """Wait until JupyterLab has drawn a chart in a cell's output."""
    sheet.output(cell).locator(".vega-embed canvas, .vega-embed svg").first.wait_for()
    sheet.page.wait_for_timeout(300)


@pytest.mark.slow
def test_charts_of_a_run_and_a_sweep_render_offline(sheet):
    """JupyterLab draws the spec itself, in both themes, and asks no other machine for anything."""
    book = sheet([SMALL, "run", "lab.sweep(['100ms', '200ms', '500ms'], '5s', clock='virtual', cost=.1)", "lab"])
    book.run_all()
    for cell in (1, 2, 3):
        drawn(book, cell)
    book.shot("static-light")
    book.shot("static-run-light", cell=1)
    book.shot("static-sweep-light", cell=2)
    book.theme("JupyterLab Dark")
    book.shot("static-run-dark", cell=1)
    book.shot("static-sweep-dark", cell=2)
    book.page.set_viewport_size({"width": 760, "height": 900})
    book.shot("static-narrow")


@pytest.mark.slow
def test_a_bar_goes_when_the_run_is_over(sheet):
    """A run that takes longer than a second has a bar meanwhile; one that ended well leaves none behind."""
    book = sheet([LONG])
    book.press(0)
    bar = book.output(0).locator(".widget-hprogress, .jupyter-widget-hprogress")
    bar.wait_for()
    book.until("run.status == 'finished'")
    bar.wait_for(state="hidden")


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_each_notebook_runs_from_top_to_bottom(sheet, path):
    """Cell after cell, as a newcomer presses them; no cell fails, and nothing is asked of another machine."""
    book = sheet(path)
    for cell in book.code():
        book.run(cell)
        if book.keeps_shots:
            book.output(cell).scroll_into_view_if_needed()
            book.shot(f"{path.stem}-{cell:02}")


BAND = """image => {
    const canvas = Object.assign(document.createElement('canvas'), {width: image.width, height: image.height});
    const draw = canvas.getContext('2d');
    draw.drawImage(image, 0, 0);
    const p = draw.getImageData(0, 0, canvas.width, canvas.height).data;
    let blue = 0;
    for (let i = 0; i < p.length; i += 4)
        blue += Math.abs(p[i] - 214) < 4 && Math.abs(p[i + 1] - 232) < 4 && Math.abs(p[i + 2] - 243) < 4;
    return blue;
}"""  # pixels of the band from p50 to p99: blue at 16 % on white


@pytest.mark.slow
def test_an_executed_notebook_as_html_opens_offline_with_its_charts(page, watch, shots, tmp_path):
    """`jupyter nbconvert --to html --execute`: the charts are pictures, drawn where no network is."""
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in (SMALL, "run", "lab")]
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "run.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "run.ipynb", "--log-level=ERROR"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=240, capture_output=True)
    page.goto((tmp_path / "run.html").as_uri(), wait_until="domcontentloaded")
    pictures = page.locator("img").evaluate_all("all => all.map(i => [i.src.slice(0, 15), i.naturalWidth > 300])")
    page.screenshot(path=shots / "nbconvert.png", full_page=True)

    assert pictures == [["data:image/png;", True]] * 2
    assert page.locator("img").first.evaluate(BAND) > 5_000
    assert all("cdnjs.cloudflare.com" in url for url in watch.outside)  # nbconvert's own template asks for MathJax

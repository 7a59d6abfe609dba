"""The dashboard under a person's hands: in a real JupyterLab, with a real kernel, and nothing from outside."""

import ast
import subprocess
import sys

import pytest

LAB = """
import mblab
source = mblab.simulate.sensors(devices=20, rate=1000, seed=7)
lab = mblab.Lab(source, interval="200ms", name="live")
"""
STEP = """
@lab.batch
def hottest(batch, state):
    state["rows"] = state.get("rows", 0) + len(batch)
    return batch.groupby("device", as_index=False)["temperature"].max()
"""
SEEN = """
window.__texts = new Set();
const fill = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
    window.__texts.add(String(text));
    return fill.call(this, text, ...rest);
};
"""  # every text that a chart has drawn


class Dashboard:
    """A lab's dashboard below a cell, and what can be done with it."""

    def __init__(self, sheet, cell: int) -> None:
        self.sheet, self.page, self.cell = sheet, sheet.page, cell

    @property
    def root(self):
        return self.sheet.output(self.cell).locator("section.mblab").first

    def ready(self) -> None:
        self.root.locator("canvas").first.wait_for()

    def data(self, name: str) -> str:
        return self.root.evaluate("(e, n) => e.dataset[n] ?? ''", name)

    def wait(self, claim: str, arg=None, patience_s: float = 60) -> None:
        """Wait until a claim about the dashboard's element `e` is true."""
        handle = self.root.element_handle()
        self.page.wait_for_function(f"([e, arg]) => {claim}", arg=[handle, arg], timeout=patience_s * 1000)

    def status(self, word: str) -> None:
        self.wait("e.dataset.status === arg", word)

    def batches(self, more: int) -> int:
        """Wait until that many more batches are drawn; return the newest's number."""
        now = int(self.data("last") or -1)
        self.wait("Number(e.dataset.last || -1) >= arg", now + more)
        return int(self.data("last"))

    def press(self, verb: str) -> None:
        self.root.locator(f'button[data-verb="{verb}"]').click()

    def drag(self, left: int) -> None:
        """Move the interval's slider by the keyboard, and let go."""
        slider = self.root.locator('input[type="range"][data-verb="interval"]')
        slider.focus()
        for _ in range(abs(left)):
            slider.press("PageDown" if left > 0 else "PageUp")

    def log(self) -> list[str]:
        return self.root.locator(".mb-log code").all_inner_texts()

    def drew(self, part: str) -> None:
        """Wait until a chart has drawn a text that holds this."""
        self.page.wait_for_function("(part) => [...window.__texts].some(t => t.includes(part))", arg=part)


@pytest.fixture
def live(page, sheet):
    """Open a notebook with a lab, its step and its dashboard; more cells may follow."""
    page.add_init_script(SEEN)

    def make(*more: str, lab: str = LAB, step: str = STEP):
        book = sheet([lab, step, "lab", *more])
        for cell in (0, 1, 2):
            book.run(cell)
        board = Dashboard(book, 2)
        board.ready()
        return book, board

    return make


def test_a_person_runs_a_stream_and_moves_its_interval(live):
    """Play, charts grow, slide, the mark is drawn and batches shrink; swap, pause, step, stop, export."""
    book, board = live("lab.last_run.controls")
    board.press("play")
    board.status("running")
    board.batches(8)
    board.drag(2)
    board.drew(" → ")
    board.batches(8)
    book.shot("live-light")
    sizes = book.value("lab.last_run.batches.groupby('interval_s').num_input_rows.median().sort_index().tolist()")

    assert len(sizes) >= 2
    assert sizes[0] < sizes[-1] * 0.8
    assert list(book.value("list(lab.last_run.controls.values())")[-1]) == ["interval"]

    book.write(1, STEP.replace(".max()", ".min()"))
    book.run(1)
    board.drew("v2")
    board.press("pause")
    board.status("paused")
    still = book.value("len(lab.last_run.batches)")
    board.press("step")
    book.until(f"len(lab.last_run.batches) == {still + 1}")
    board.status("paused")
    board.press("play")
    board.batches(3)
    board.press("stop")
    board.status("stopped")
    board.press("export")
    book.until("__import__('pathlib').Path('live.py').exists()")
    script = book.server.work / "live.py"
    board.wait("[...e.querySelectorAll('.mb-log code')].some(c => c.textContent.includes('export'))")

    assert [line.partition("(")[0] for line in board.log() if "=" not in line] == [
        "lab.start", "lab.pause", "lab.step", "lab.resume", "lab.stop", "lab.export",
    ]  # fmt: skip
    assert any(line.startswith("lab.interval = ") for line in board.log())
    assert 'groupby("device", as_index=False)["temperature"].min()' in script.read_text()
    ast.parse(script.read_text())
    done = subprocess.run(
        [sys.executable, script, "--duration", "1s"], cwd=script.parent, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    book.theme("JupyterLab Dark")
    board.ready()
    book.page.wait_for_timeout(1000)
    book.shot("live-dark")
    book.page.set_viewport_size({"width": 760, "height": 1500})
    book.page.wait_for_timeout(1500)
    book.shot("live-narrow-dark")
    book.theme("JupyterLab Light")
    book.page.wait_for_timeout(1000)
    book.shot("live-narrow")


BROKEN = STEP.replace('state["rows"] =', 'batch["humidty"].mean()\n    state["rows"] =')


def test_an_error_is_shown_mended_and_resumed(live):
    """The pill says halted, the box shows the cell's own line; the mended function goes on with the same batch."""
    book, board = live()
    board.press("play")
    board.batches(3)
    book.write(1, BROKEN.strip())
    book.run(1)
    board.status("halted")
    box = board.root.locator(".mb-error")
    box.wait_for()
    said = box.inner_text()
    failed = book.value("int(lab.last_run.batches.batch_id.max())")
    board.drew("failed")
    book.shot("live-error")

    assert "halted" in board.root.locator(".mb-pill").inner_text()
    assert "hottest reads column 'humidty' at line 3" in said
    assert "did you mean 'humidity'?" in said
    assert 'batch["humidty"].mean()' in said

    book.write(1, STEP.strip())
    book.run(1)
    board.press("play")
    board.status("running")
    board.batches(3)
    box.wait_for(state="hidden")

    assert book.value(f"lab.last_run.batches.status[{failed}]") == "retried"
    assert "lab.resume()" in board.log()


@pytest.mark.slow
def test_the_tab_is_closed_and_opened_again_and_a_second_view_keeps_step(live):
    """The kernel holds the history: whoever comes back, or looks twice, sees all of it."""
    book, board = live()
    board.press("play")
    board.batches(10)
    book.save()
    book.page.goto("about:blank")
    book.page.wait_for_timeout(1000)
    ran_on = book.server.ask("sessions")
    book.open()
    board.ready()
    board.status("running")
    board.batches(5)
    drawn = board.root.evaluate("e => e.dataset.last")

    assert len(ran_on) == 1
    assert book.value("lab.last_run.status") == "running"
    assert int(drawn) >= 15

    book.page.evaluate(
        """(i) => { const panel = jupyterapp.shell.currentWidget;
                    panel.content.activeCellIndex = i;
                    void jupyterapp.commands.execute('notebook:create-output-view'); }""",
        board.cell,
    )
    book.page.wait_for_function("() => document.querySelectorAll('section.mblab[data-last] canvas').length === 2")
    board.batches(5)
    last = book.page.evaluate("() => [...document.querySelectorAll('section.mblab')].map(e => Number(e.dataset.last))")
    book.shot("live-two-views")

    assert len(last) == 2
    assert abs(last[0] - last[1]) <= 2


@pytest.mark.slow
def test_a_restarted_kernel_leaves_a_note_and_a_picture(live):
    """The panel greys out and says what to do; the saved notebook shows a picture where no kernel is."""
    book, board = live()
    board.press("play")
    board.batches(5)
    board.press("stop")
    board.status("stopped")
    still = book.output(2).locator(".mblab-still img")
    still.wait_for(state="attached")
    alive = still.is_visible()
    board.press("play")
    board.batches(3)
    book.save()
    book.page.evaluate("() => void jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    board.wait("e.dataset.life === 'stopped'", patience_s=60)
    book.shot("live-restarted")

    assert not alive  # a picture beside charts that live would only be in the way
    assert not still.is_visible()
    assert "run this cell again" in board.root.locator(".mb-banner").inner_text()
    assert board.root.locator(".mb-pill").inner_text() == "no answer"
    assert board.root.locator(".mb-body").get_attribute("inert") is not None

    for cell in (0, 1, 2):
        book.run(cell)
    board.ready()
    board.press("play")
    board.batches(3)
    board.press("pause")
    board.status("paused")
    book.page.wait_for_function("() => document.querySelectorAll('.mblab-still img').length > 0")
    book.save()
    book.server.end_sessions()
    book.open()
    picture = book.output(2).locator(".mblab-still img")
    picture.wait_for()
    book.shot("live-no-kernel")

    assert picture.evaluate("image => image.naturalWidth > 300")
    assert "rows in" in picture.get_attribute("alt")
    book.watch.red.clear()  # JupyterLab itself reports a widget whose kernel is gone


@pytest.mark.slow
def test_a_busy_kernel_is_named_when_a_button_waits(live):
    """While a cell runs, charts go on; a click that nobody answers says why, and acts when the cell ends."""
    book, board = live("import time; time.sleep(6)")
    board.press("play")
    board.batches(2)
    book.press(3)
    board.batches(5)
    board.press("pause")
    board.wait("e.innerText.includes('buttons act when the running cell ends')")
    book.shot("live-busy")
    board.status("paused")
    board.wait("!e.innerText.includes('buttons act when the running cell ends')")


@pytest.mark.slow
def test_notebook_7_shows_the_same_dashboard(page, notebook_server, sheet):
    """Another front end, the same widget: play, charts grow, the interval moves, stop."""
    page.add_init_script(SEEN)
    book = sheet([LAB, STEP, "lab"], notebook_server)
    for cell in (0, 1, 2):
        book.run(cell)
    board = Dashboard(book, 2)
    board.ready()
    board.press("play")
    board.batches(5)
    board.drag(2)
    board.drew(" → ")
    book.shot("notebook-7")
    board.press("stop")
    board.status("stopped")
    book.watch.red = [text for text in book.watch.red if "(reading 'schema')" not in text]  # Notebook's own settings

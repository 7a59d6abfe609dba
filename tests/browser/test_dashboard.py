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


AUDIT = """
(root) => {
    const dot = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = (css) => {
        dot.clearRect(0, 0, 1, 1);
        dot.fillStyle = css;
        dot.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = dot.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const laid = (top, under) => under.map((v, i) => top[i] * top[3] + v * (1 - top[3]));
    const ground = (e) => {
        const layers = [];
        for (let n = e; n; n = n.parentElement) layers.push(rgba(getComputedStyle(n).backgroundColor));
        return layers.reverse().reduce((under, top) => laid(top, under), [255, 255, 255]);
    };
    const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const contrast = (e) => {
        const under = ground(e);
        const [a, b] = [light(laid(rgba(getComputedStyle(e).color), under)), light(under)];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    };
    const said = [], whole = root.getBoundingClientRect(), texts = [];
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const e = walk.currentNode.parentElement, name = walk.currentNode.textContent.trim().slice(0, 40);
        if (!name || e.closest('.mb-sr, [hidden], .vega-embed, option, script, style')) continue;
        const range = document.createRange();
        range.selectNodeContents(walk.currentNode);
        const box = range.getBoundingClientRect();
        if (!box.width || !box.height) continue;
        if (!e.closest('[aria-disabled="true"]') && contrast(e) < (/[a-z0-9]/i.test(name) ? 4.5 : 3)) said.push('faint: ' + name);
        if (box.right > whole.right + 1 || box.left < whole.left - 1) said.push('outside: ' + name);
        let scrolls = false;
        for (let n = e; n !== root; n = n.parentElement) {
            const how = getComputedStyle(n).overflowX, r = n.getBoundingClientRect();
            scrolls ||= ['auto', 'scroll'].includes(how);
            const cut = box.right > r.right + 1 || box.left < r.left - 1 || box.bottom > r.bottom + 2 || box.top < r.top - 2;
            if (!scrolls && ['hidden', 'clip'].includes(how) && cut) said.push('clipped: ' + name);
        }
        if (!scrolls) texts.push([box, name]);
    }
    texts.forEach(([a, one], i) => texts.slice(i + 1).forEach(([b, other]) => {
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 2 && high > 4) said.push(`overlap: ${one} | ${other}`);
    }));
    return said;
}
"""  # what of a dashboard's text is faint, cut off, or runs into another


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

    def flaws(self) -> list[str]:
        """Return what of its text cannot be read."""
        return self.root.evaluate(AUDIT)

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
    flaws = {"light": board.flaws()}
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
    flaws["dark"] = board.flaws()
    book.page.set_viewport_size({"width": 760, "height": 1500})
    book.page.wait_for_timeout(1500)
    book.shot("live-narrow-dark")
    flaws["dark, 760 px"] = board.flaws()
    book.theme("JupyterLab Light")
    book.page.wait_for_timeout(1000)
    book.shot("live-narrow")
    flaws["light, 760 px"] = board.flaws()

    assert flaws == dict.fromkeys(flaws, [])


@pytest.mark.slow
def test_every_control_is_reached_by_the_keyboard_and_has_a_name(live):
    """Tab goes through buttons, sliders, fields and charts in order; each says what it is, and shows that it is meant."""
    book, board = live()
    board.press("play")
    board.batches(3)
    board.press("pause")
    board.status("paused")
    wanted = board.root.evaluate(
        "e => [...e.querySelectorAll('button, input, select, [tabindex=\"0\"]')].filter(n => n.offsetParent).length"
    )
    board.root.locator("button").first.focus()
    book.page.keyboard.press("Tab")
    book.page.keyboard.press("Shift+Tab")  # a hand at the keyboard, so that the ring is shown
    reached = []
    for _ in range(wanted):
        reached.append(
            board.root.evaluate(
                """e => { const n = document.activeElement, s = getComputedStyle(n);
                          return e.contains(n) && [n.ariaLabel || n.title || n.innerText || n.labels?.[0]?.innerText || '',
                                                   s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2]; }"""
            )
        )
        book.page.keyboard.press("Tab")

    assert all(reached), reached
    assert all(name.strip() and outlined for name, outlined in reached), reached


@pytest.mark.slow
def test_a_drag_predicts_and_tune_and_diagnose_answer_in_words(live):
    """The ghost is there before the hand lets go; advice can be used with a click; what cannot be kept is refused."""
    book, board = live()
    board.press("play")
    board.batches(8)
    slider = board.root.locator('input[type="range"][data-verb="interval"]')
    at = slider.bounding_box()
    book.page.mouse.move(at["x"] + at["width"] * 0.5, at["y"] + at["height"] / 2)
    book.page.mouse.down()
    book.page.mouse.move(at["x"] + at["width"] * 0.7, at["y"] + at["height"] / 2, steps=4)
    board.wait("e.querySelector('.mb-heads').innerText.includes('predicted at')")
    hint = board.root.locator(".mb-hint").inner_text()
    before = book.value("lab.interval")
    book.shot("live-ghost")
    flaws = board.flaws()
    book.page.mouse.up()
    book.until(f"lab.interval != {before}")

    assert before == 0.2
    assert "p95" in hint
    assert flaws == []

    board.press("diagnose")
    board.wait("e.querySelector('.mb-advice').innerText.includes('load')")
    target = board.root.locator('input[data-verb="target"]')
    target.fill("400ms")
    target.press("Enter")
    board.press("tune")
    use = board.root.locator(".mb-advice button", has_text="Use ")
    use.wait_for(timeout=60_000)
    book.shot("live-tuned")
    flaws = board.flaws()
    advised = use.inner_text()
    now = book.value("lab.interval")
    use.click()
    book.until(f"lab.interval != {now}")

    assert flaws == []
    assert advised.endswith(("ms", " s"))
    assert 0.1 < book.value("lab.interval") < 0.45

    board.root.evaluate(AT_ONCE, "1ms")  # the shortest interval there is takes that long
    board.wait("e.querySelector('.mb-advice').innerText.includes('No interval')", patience_s=60)

    assert board.root.locator(".mb-advice button", has_text="Use ").count() == 0


AT_ONCE = """
(e, typed) => {
    const target = e.querySelector('input[data-verb="target"]');
    target.value = typed;
    target.dispatchEvent(new Event('change'));
    e.querySelector('button[data-verb="tune"]').click();
}
"""  # type a target and press Tune before the kernel can have heard of it
BROKEN = STEP.replace('state["rows"] =', 'batch["humidty"].mean()\n    state["rows"] =')


@pytest.mark.slow
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
def test_buttons_act_while_a_cell_runs(live):
    """The kernel hears the page on a line of its own, so nobody waits for a cell to pause a run."""
    book, board = live("import time; time.sleep(600)")
    board.press("play")
    board.batches(2)
    book.press(3)
    board.batches(5)
    board.press("pause")
    board.status("paused")
    still = book.page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets[3].model.executionState")

    assert still == "running"


@pytest.mark.slow
def test_a_busy_kernel_is_named_when_a_button_waits(live):
    """Where the page has no line of its own, charts go on; a click that nobody answers says why, and acts in the end."""
    book, board = live("import time; time.sleep(6)")
    kernel = "jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    book.page.evaluate(f"() => {{ {kernel}.commsOverSubshells = 'disabled'; }}")
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

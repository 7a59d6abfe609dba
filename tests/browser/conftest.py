"""A real JupyterLab in a real Chromium, with a person's hands.

One server and one browser serve all tests of this folder; each test has a notebook and a kernel of its own. Whatever the
page does, it may talk to this machine only, say nothing in the console's red, and never run what a table holds.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest

from ..conftest import shared_cache

PATIENCE_S = 120.0  # a busy machine takes 50 s until a notebook is ready
HERE = ("127.0.0.1", "localhost")
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
SHOTS = os.environ.get("MBLAB_SHOTS")  # a folder that keeps every picture; without it only pytest's own has them

SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}  # fmt: skip

HARMLESS = ("ResizeObserver loop",)  # a browser's own remark, not an error of the page


def pytest_collection_modifyitems(items):
    """Skip what needs a browser where there is none, and say how to get one."""
    mine = [item for item in items if Path(item.fspath).parent == Path(__file__).parent]
    for item in mine:
        item.add_marker(pytest.mark.browser)
        if CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium on this machine: `apt-get install chromium`, as root"))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A JupyterLab with a home of its own."""

    def __init__(self, home: Path, *, app: str = "jupyterlab") -> None:
        self.home, self.work, self.port = home, home / "work", free_port()
        self.door = "notebooks" if app == "notebook" else "doc/tree"
        self.url = f"http://127.0.0.1:{self.port}"
        folders = {
            name: home / name.lower()
            for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
                         "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
        }  # fmt: skip
        for folder in (self.work, *folders.values()):
            folder.mkdir(parents=True)
        for plugin, values in SETTINGS.items():
            package, _, name = plugin.rpartition("/")
            file = folders["JUPYTERLAB_SETTINGS_DIR"] / package / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        options = ["--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}", "--expose-app-in-browser",
                   "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password=", "--allow-root",
                   "--LabApp.news_url=None", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={self.work}"]  # fmt: skip
        self._log = (home / "server.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", app, *options], cwd=self.work, stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=subprocess.STDOUT, env={**os.environ, **shared_cache(), **{k: str(v) for k, v in folders.items()}},
        )  # fmt: skip

    def log(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")

    def ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/api/status", timeout=5):
                    return
            except OSError:
                assert self._process.poll() is None, self.log()[-2000:]
                assert time.monotonic() < deadline, self.log()[-2000:]
                time.sleep(0.1)

    def ask(self, path: str, method: str = "GET") -> object:
        request = urllib.request.Request(f"{self.url}/api/{path}", method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def end_sessions(self) -> None:
        for session in self.ask("sessions"):
            self.ask(f"sessions/{session['id']}", "DELETE")

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class Watch:
    """What a page did that it should not have done."""

    def __init__(self, page) -> None:
        self.page = page
        self.outside: list[str] = []
        self.red: list[str] = []
        self.dialogs: list[str] = []
        page.route("**/*", self._route)
        page.on("websocket", lambda ws: self._seen(ws.url))
        page.on("console", lambda m: self._said(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self._said(str(e)))
        page.on("dialog", self._dialog)

    def _seen(self, url: str) -> bool:
        parts = urlsplit(url)
        ours = parts.scheme in ("data", "blob", "file", "about") or parts.hostname in HERE
        if not ours:
            self.outside.append(url)
        return ours

    def _route(self, route) -> None:
        if self._seen(route.request.url):
            route.continue_()
        else:
            route.abort()

    def _said(self, text: str) -> None:
        if not any(known in text for known in HARMLESS):
            self.red.append(text)

    def _dialog(self, dialog) -> None:
        if dialog.type != "beforeunload":
            self.dialogs.append(dialog.message)
        dialog.dismiss() if dialog.type != "beforeunload" else dialog.accept()

    def clean(self) -> None:
        """Nothing was asked of another machine, nothing was red, and nothing that a table holds was run."""
        ran = [frame.evaluate("window.__ran ?? null") for frame in self.page.frames if not frame.is_detached()]

        assert self.outside == []
        assert self.red == []
        assert self.dialogs == []
        assert [r for r in ran if r is not None] == []


class Sheet:
    """A notebook that is open in JupyterLab."""

    def __init__(self, page, server: Server, path: str, shots: Path) -> None:
        self.page, self.server, self.path, self.shots = page, server, path, shots
        self.watch = Watch(page)
        self.open()

    @property
    def keeps_shots(self) -> bool:
        """Whether somebody asked for pictures, beyond the ones a failure leaves."""
        return bool(SHOTS)

    def open(self) -> None:
        """Go to the notebook as a single document, and wait until its kernel is ready."""
        self.page.goto(f"{self.server.url}/{self.server.door}/{self.path}")
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.content?.widgets?.length"
            " && window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'"
        )

    def cell(self, index: int):
        return self.page.locator(".jp-Notebook > .jp-Cell, .jp-WindowedPanel-viewport > .jp-Cell").nth(index)

    def output(self, index: int):
        return self.cell(index).locator(".jp-OutputArea").first

    def write(self, index: int, source: str) -> None:
        """Put another text into a cell."""
        self.page.evaluate(
            "([i, s]) => jupyterapp.shell.currentWidget.content.widgets[i].model.sharedModel.setSource(s)",
            [index, source],
        )

    def press(self, index: int) -> None:
        """Run a cell, and do not wait for it."""
        self.page.evaluate(
            """(i) => { const panel = jupyterapp.shell.currentWidget;
                        panel.content.activeCellIndex = i; panel.content.deselectAll();
                        void jupyterapp.commands.execute('notebook:run-cell'); }""",
            index,
        )
        self.page.wait_for_timeout(300)

    def run(self, index: int, patience_s: float = PATIENCE_S) -> str:
        """Run a cell that must not fail, and return what can be read in its output."""
        text = self.fail(index, patience_s)

        assert not self.failed(index), text
        return text

    def fail(self, index: int, patience_s: float = PATIENCE_S) -> str:
        """Run a cell that may fail, wait until it has ended, and return what can be read in its output."""
        self.page.evaluate(
            "(i) => { jupyterapp.shell.currentWidget.content.widgets[i].model.executionCount = null; }", index
        )
        self.press(index)
        self.page.wait_for_function(
            "(i) => { const m = jupyterapp.shell.currentWidget.content.widgets[i].model;"
            " return m.executionCount !== null && m.executionState !== 'running'; }",
            arg=index, timeout=patience_s * 1000,
        )  # fmt: skip
        return self.text(index)

    def run_all(self, patience_s: float = PATIENCE_S) -> None:
        """Run every code cell in turn."""
        for index in self.code():
            self.run(index, patience_s)

    def code(self) -> list[int]:
        kinds = self.page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.map(w => w.model.type)")
        return [i for i, kind in enumerate(kinds) if kind == "code"]

    def text(self, index: int) -> str:
        return self.output(index).inner_text()

    def failed(self, index: int) -> bool:
        return self.page.evaluate(
            "(i) => jupyterapp.shell.currentWidget.content.widgets[i].model.outputs.toJSON()"
            ".some(o => o.output_type === 'error')", index
        )  # fmt: skip

    def value(self, expression: str):
        """Return what an expression is in the kernel, asked beside the cells."""
        return self.page.evaluate(
            """async (code) => {
                const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const name = 'answer';
                const future = kernel.requestExecute(
                    {code: '', silent: true, user_expressions: {[name]: `__import__("json").dumps(${code})`}});
                const reply = (await future.done).content.user_expressions[name];
                if (reply.status !== 'ok') throw new Error(reply.ename + ': ' + reply.evalue);
                const text = reply.data['text/plain'];
                return JSON.parse((0, eval)(text));
            }""",
            expression,
        )

    def until(self, expression: str, patience_s: float = PATIENCE_S):
        """Ask the kernel until an expression is true, and return it."""
        deadline = time.monotonic() + patience_s
        while not (found := self.value(expression)):
            assert time.monotonic() < deadline, f"{expression} stayed {found!r}"
            self.page.wait_for_timeout(200)
        return found

    def theme(self, name: str) -> None:
        """Change the theme: `JupyterLab Light` or `JupyterLab Dark`."""
        light = "true" if "Light" in name else "false"
        self.page.evaluate("(theme) => void jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.wait_for_function("(light) => document.body.dataset.jpThemeLight === light", arg=light)
        self.page.wait_for_timeout(500)

    def save(self) -> None:
        self.page.evaluate("() => void jupyterapp.commands.execute('docmanager:save')")
        self.page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")

    def shot(self, name: str, *, cell: int | None = None) -> Path:
        """Take a picture of the page, or of one cell's output."""
        file = self.shots / f"{name}.png"
        if cell is None:
            self.page.screenshot(path=file)
        else:
            self.output(cell).screenshot(path=file)
        return file


@pytest.fixture(scope="package")
def server(tmp_path_factory) -> Iterator[Server]:
    here = Server(tmp_path_factory.mktemp("jupyter"))
    try:
        here.ready()
        yield here
    finally:
        here.close()


@pytest.fixture
def notebook_server(tmp_path) -> Iterator[Server]:
    """Jupyter Notebook 7 in place of JupyterLab."""
    here = Server(tmp_path / "notebook", app="notebook")
    try:
        here.ready()
        yield here
    finally:
        here.close()


@pytest.fixture(scope="package")
def browser():
    from playwright.sync_api import sync_playwright

    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-dev-shm-usage", *root])
        try:
            yield chromium
        finally:
            chromium.close()


@pytest.fixture
def shots(tmp_path, request) -> Path:
    """Where this test's pictures go."""
    folder = Path(SHOTS) if SHOTS else tmp_path / "shots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(browser, request, shots):
    """An empty page of 1366 × 900, a common laptop's."""
    context = browser.new_context(viewport={"width": 1366, "height": 900})
    context.set_default_timeout(PATIENCE_S * 1000)
    new = context.new_page()
    try:
        yield new
    finally:
        if getattr(request.node, "failed_call", False):
            new.screenshot(path=shots / f"FAILED-{request.node.name}.png")
        context.close()


@pytest.fixture
def watch(page) -> Watch:
    """Who looks at a page that is no notebook in JupyterLab."""
    return Watch(page)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.failed_call = report.failed
    return report


@pytest.fixture
def sheet(page, server, shots, request) -> Iterator[Callable[..., Sheet]]:
    """Open a notebook: a list of code cells, or a notebook's file. What the page did is judged when the test ends."""
    opened: list[Sheet] = []

    def make(cells: list[str] | Path, server: Server = server) -> Sheet:
        name = f"{request.node.name.split('[')[0][:40]}-{len(opened)}.ipynb"
        if isinstance(cells, Path):
            book = nbformat.read(cells, 4)
        else:
            book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text.strip()) for text in cells])
            book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        nbformat.write(book, server.work / name)
        opened.append(Sheet(page, server, name, shots))
        return opened[-1]

    yield make
    if not getattr(request.node, "failed_call", False):
        for one in opened:
            one.watch.clean()
    server.end_sessions()

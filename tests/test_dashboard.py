"""A lab's dashboard without a browser: a real kernel, and a page that speaks its messages over the wire."""

from __future__ import annotations

import gzip
import json
import math
import queue
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import mblab
from mblab.charts import vega
from mblab.dashboard import face
from mblab.dashboard.orders import order_of
from mblab.dashboard.widget import SCRIPTS
from mblab.dashboard.wire import CODES, COLUMNS, EXACT, error_text, parts_of, state_of
from mblab.testing import rows_at

PATIENCE_S = 60.0
PAGE = Path(mblab.__file__).parent / "dashboard" / "page"
WIDGET = "application/vnd.jupyter.widget-view+json"

HELPERS = """
import gc, math

def panels():
    return [t.name for t in threading.enumerate() if t.name.startswith("mblab-panel") and "aside" not in t.name]
"""

KEEP = """
@lab.batch
def keep(batch, state):
    state["n"] = state.get("n", 0) + len(batch)
    return batch
"""


class Page:
    """A notebook's page: it runs cells, and it is the other end of one widget."""

    def __init__(self, client) -> None:
        self.client, self.model, self.count = client, "", 0
        self.heard: list[dict] = []  # what the widget was told, with the bytes it took and the buffers

    def send(self, code: str, *, stdin: bool = True) -> str:
        content = {
            "code": textwrap.dedent(code).strip(), "silent": False, "store_history": True,
            "user_expressions": {}, "allow_stdin": stdin, "stop_on_error": False,
        }  # fmt: skip
        message = self.client.session.msg("execute_request", content)
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def take(self, timeout: float) -> dict | None:
        """Take one message of the kernel; what is for the widget is kept."""
        try:
            message = self.client.get_iopub_msg(timeout=timeout)
        except queue.Empty:
            return None
        content = message["content"]
        if message["msg_type"] == "comm_msg" and content["data"].get("method") == "custom":
            told = dict(content["data"]["content"])
            parts = [message[part] for part in ("header", "parent_header", "metadata", "content")]
            buffers = [bytes(b) for b in message["buffers"]]
            told["bytes"] = sum(len(json.dumps(p, default=str)) for p in parts) + sum(map(len, buffers))
            told["buffers"] = buffers
            self.heard.append(told)
        return message

    def finish(self, sent: str) -> tuple[str, list[dict], str]:
        """Wait for a cell; return its text, what it showed, and the error."""
        text, shown, error, end = "", [], "", time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            message = self.take(1.0)
            if message is None or message["parent_header"].get("msg_id") != sent:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                text += content["text"]
            elif kind in ("execute_result", "display_data"):
                shown.append(content["data"])
            elif kind == "error":
                error = "\n".join(content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                return text, shown, error
        raise TimeoutError(sent)

    def run(self, code: str, *, stdin: bool = True) -> tuple[str, list[dict]]:
        text, shown, error = self.finish(self.send(code, stdin=stdin))
        assert not error, error
        return text, shown

    def value(self, expression: str):
        return json.loads(self.run(f"print(json.dumps({expression}))")[0])

    def say(self, *, subshell: str | None = None, **message) -> None:
        """Send what page/store.js would send, over a subshell as JupyterLab does."""
        content = {"comm_id": self.model, "data": {"method": "custom", "content": message}}
        told = self.client.session.msg("comm_msg", content)
        if subshell is not None:
            told["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(told)

    def control(self, kind: str, **content) -> dict:
        """Ask the kernel on its control channel, and return the answer."""
        sent = self.client.session.msg(f"{kind}_request", content)
        self.client.control_channel.send(sent)
        while True:
            answer = self.client.get_control_msg(timeout=PATIENCE_S)
            if answer["parent_header"].get("msg_id") == sent["header"]["msg_id"]:
                return answer["content"]

    def press(self, verb: str, arg=None) -> dict:
        """Use a control, and return what came of it."""
        self.count += 1
        number = f"page-{self.count}"
        self.say(k="do", id=number, verb=verb, arg=arg)
        self.until(lambda m: m["k"] == "ack" and m["id"] == number)
        return self.until(lambda m: m["k"] == "done" and m["id"] == number)

    def until(self, claim: Callable[[dict], bool], patience_s: float = PATIENCE_S) -> dict:
        """Return the first message that was or will be heard for which the claim is true."""
        end, seen = time.monotonic() + patience_s, 0
        while True:
            for message in self.heard[seen:]:
                if claim(message):
                    return message
            seen = len(self.heard)
            assert time.monotonic() < end, [m for m in self.heard if m["k"] != "beat"][-5:]
            self.take(0.2)

    def listen(self, seconds: float) -> list[dict]:
        """Return what is heard from now on for some seconds."""
        start, end = len(self.heard), time.monotonic() + seconds
        while time.monotonic() < end:
            self.take(0.05)
        return self.heard[start:]

    def open(self) -> dict:
        """Show the lab, ask for what there is as a page does, and return the first rows message."""
        _, shown = self.run("lab")
        self.model = next(bundle[WIDGET]["model_id"] for bundle in shown if WIDGET in bundle)
        self.heard.clear()
        self.say(k="sync")
        first = self.until(lambda m: m["k"] == "rows" and m.get("reset"))
        self.until(lambda m: m["k"] == "state" and m.get("whole"))
        return first

    @property
    def state(self) -> dict:
        """What the page knows."""
        known: dict = {}
        for message in self.heard:
            if message["k"] == "state":
                known = message["state"] if message.get("whole") else known | message["state"]
        return known

    @staticmethod
    def block(message: dict) -> np.ndarray:
        """One row a column, as page/store.js reads them."""
        bits, n = message["buffers"][0], message["n"]
        exact = np.frombuffer(bits, np.float64, len(EXACT) * n)
        short = np.frombuffer(bits, np.float32, offset=exact.nbytes)
        return np.concatenate([exact, short]).reshape(len(COLUMNS), n)

    def rows(self) -> dict[str, np.ndarray]:
        """The rows that the page holds, column by column."""
        parts: list[np.ndarray] = []
        for message in self.heard:
            if message["k"] == "rows":
                parts = [] if message.get("reset") else parts
                if message["n"]:
                    parts.append(self.block(message))
        block = np.concatenate(parts, axis=1) if parts else np.empty((len(COLUMNS), 0))
        return dict(zip(COLUMNS, block, strict=True))


@pytest.fixture(scope="module")
def client(kernel):
    """A client of a kernel that knows the helpers of every test and those of this file."""
    _, client = kernel
    Page(client).run(HELPERS)
    return client


@pytest.fixture
def page(client) -> Iterator[Page]:
    new = Page(client)
    yield new
    new.run("lab.stop(); lab.reset()")


def made(page: Page, source: str = "rows(600)", interval: str = "100ms", **knobs: str) -> None:
    more = "".join(f", {k}={v}" for k, v in knobs.items())
    page.run(f"lab = mblab.Lab({source}, interval={interval!r}, name='panel'{more})")
    page.run(KEEP)


# -- what is shown --------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_the_still_picture_is_a_png():
    """It is drawn in a process of its own, since drawing holds the kernel for a while."""
    from mblab import charts
    from mblab.charts import vega
    from mblab.testing import rows_at

    run = mblab.Lab(rows_at([0.5, 1.5]), interval="1s").run(clock="virtual", cost=0.1)

    assert vega.picture(run.plot().to_dict()) == charts.png_bytes(run.plot())


def test_a_lab_shows_a_widget_and_leaves_room_for_a_still_picture(page):
    """The view, words beside it, and a place for a picture that is there when the kernel is not."""
    made(page)
    _, shown = page.run("lab")

    assert [set(bundle) for bundle in shown] == [{"text/html", "text/plain"}, {WIDGET, "text/plain"}]
    assert shown[0]["text/html"] == '<div class="mblab-still"></div>'
    assert shown[1]["text/plain"].startswith("lab 'panel': every 100 ms")


@pytest.mark.kernel
def test_a_run_that_is_on_shows_the_dashboard_and_an_ended_one_its_chart(page):
    """`lab.start()` as the last line of a cell is enough to see it run."""
    made(page)
    _, (_, on) = page.run("lab.start()")
    _, (ended,) = page.run("lab.stop(); lab.last_run")

    assert set(on) == {WIDGET, "text/plain"}
    assert "application/vnd.vegalite.v5+json" in ended


@pytest.mark.kernel
def test_unloading_leaves_no_thread(page):
    """`%unload_ext mblab` ends the panels too; a lab that is shown again has a new one."""
    made(page)
    page.run("%load_ext mblab")
    page.run("lab.start()")
    page.run("%unload_ext mblab")
    page.run("until(lambda: not panels())")
    page.run("lab")

    assert page.value("panels()") == ["mblab-panel-panel"]


@pytest.mark.kernel
def test_without_a_person_a_lab_shows_a_table_and_a_chart(page):
    """Papermill gets no widget: the figures as a table, then the chart with its picture."""
    made(page, "rows(1)")
    page.run("lab.run(clock='virtual')")
    _, (table, chart) = page.run("lab", stdin=False)

    assert set(table) == {"text/html", "text/plain"}
    assert "latency_p95_s" in table["text/html"]
    assert set(chart) == {"application/vnd.vegalite.v5+json", "image/png", "text/plain"}


@pytest.mark.kernel
def test_the_page_holds_what_run_batches_holds(page):
    """Every column of every batch arrives, whether it came in the first message or later: times and counts to the
    last bit, other figures to seven digits."""
    made(page, "rows(2)", "50ms")
    page.open()
    page.run("run = lab.start(); run.wait()")
    page.until(lambda m: m["k"] == "state" and m["state"].get("status") == "finished")
    page.listen(0.5)
    told, kept = page.rows(), page.value("run.batches.to_json(orient='columns')")
    wanted = {name: list(column.values()) for name, column in json.loads(kept).items()}

    assert told["batch_id"].tolist() == list(range(40)) == wanted["batch_id"]
    for name in COLUMNS:
        values = [CODES[name][int(v)] for v in told[name]] if name in CODES else told[name].tolist()
        for here, there in zip(values, wanted[name], strict=True):
            close = {"rel_tol": 1e-9 if name in EXACT else 1e-6, "abs_tol": 1e-9}
            same = here == there if isinstance(there, str) else math.isclose(here, there or 0, **close)
            assert same or (there is None and math.isnan(here)), name


@pytest.mark.kernel
@pytest.mark.parametrize("interval", [pytest.param("100ms", marks=pytest.mark.slow), "20ms"])
def test_only_new_rows_travel_in_less_than_two_kilobytes(page, interval):
    """However long the run has been going on, and however late the pump comes, no update is large."""
    made(page, interval=interval)
    page.open()
    page.press("play")
    page.run("until(lambda: (lab.last_run.last_progress or {}).get('batch_id', 0) > 20)")
    page.listen(0.5)  # what the long cell kept waiting
    heard = [m for m in page.listen(3.0) if m["k"] == "rows"]

    assert sum(m["n"] for m in heard) >= 20
    assert not any(m.get("reset") for m in heard)
    assert max(m["bytes"] for m in heard) <= 2000


def columns_with(errors: list[str]) -> dict[str, np.ndarray]:
    lab = mblab.Lab(rows_at(np.arange(len(errors)) / 10), interval="100ms")
    columns = lab.run(clock="virtual", cost=0.01).batches_after()
    return {name: values[: len(errors)] for name, values in columns.items()} | {"error": np.array(errors, object)}


@pytest.mark.parametrize(("rows", "text"), [(1, ""), (30, ""), (20, "x" * 500)])
def test_many_batches_at_once_travel_in_small_parts(rows, text):
    """After a stall all of them come, in order, none twice; an error's words count as much as figures."""
    parts = list(parts_of(columns_with([text] * rows)))
    sizes = [len(part["batch_id"]) * 144 + sum(min(len(e), 300) for e in part["error"]) for part in parts]

    assert np.concatenate([part["batch_id"] for part in parts]).tolist() == list(range(rows))
    assert max(sizes) <= 900


def test_who_is_far_behind_gets_everything_at_once():
    """Hundreds of messages in a row would cost more than they spare."""
    assert [len(part["batch_id"]) for part in parts_of(columns_with([""] * 200))] == [200]


@pytest.mark.kernel
def test_a_page_that_opens_later_gets_everything_at_once(page):
    """A closed and reopened tab asks, and has the newest batches of the window."""
    made(page, "rows(60)", "20ms")
    page.run("lab.start('4s', clock='virtual', cost=0.001).wait()")
    first = page.open()
    page.run("mblab.dashboard.face.panel_of(lab).view.window = 50")
    page.say(k="sync")
    second = page.until(lambda m: m["k"] == "rows" and m.get("reset") and m is not first)

    assert first["n"] == 200
    assert second["n"] == 50
    assert page.rows()["batch_id"].tolist() == list(range(150, 200))


@pytest.mark.kernel
def test_a_page_that_opens_while_a_run_is_on_is_heard_though_the_subshell_that_spoke_last_is_gone(page):
    """JupyterLab speaks over subshells that end with their page; a kernel that sends all the while still hears the next."""
    made(page, "rows(600)", "50ms")
    page.open()
    page.run("lab.start()")
    earlier, later = page.control("create_subshell"), page.control("create_subshell")
    assert earlier["status"] == "ok", "the kernel has no subshells"
    page.heard.clear()
    page.say(k="sync", subshell=earlier["subshell_id"])
    page.until(lambda m: m["k"] == "rows" and m.get("reset"))
    page.listen(0.5)
    page.control("delete_subshell", subshell_id=earlier["subshell_id"])
    page.heard.clear()
    page.say(k="sync", subshell=later["subshell_id"])
    page.until(lambda m: m["k"] == "rows" and m.get("reset"), patience_s=30)

    assert page.press("pause")["code"] == "lab.pause()"


# -- controls -------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_each_control_calls_the_lab_and_shows_its_line(page):
    """What a learner reads in the panel is what he could have typed, with the notebook's own name for the lab."""
    made(page)
    page.run("mine = lab; del lab; lab = mine; del mine; stream = lab")
    page.open()
    lines = [page.press(*use)["code"] for use in (
        ("play",), ("pause",), ("interval", "250ms"), ("policy", "skip"), ("max_rows_per_batch", "1,000"),
        ("max_rows_per_batch", None), ("speedup", "2"), ("target", "300ms"), ("step",), ("play",), ("stop",),
    )]  # fmt: skip
    knobs = page.value("[lab.interval, lab.policy, lab.max_rows_per_batch, lab.speedup, lab.last_run.status]")

    assert lines == [
        "lab.start()", "lab.pause()", "lab.interval = '250ms'", "lab.policy = 'skip'", "lab.max_rows_per_batch = 1000",
        "lab.max_rows_per_batch = None", "lab.speedup = 2", "lab.last_run.share_over('300ms')", "lab.step()",
        "lab.resume()", "lab.stop()",
    ]  # fmt: skip
    assert knobs == [0.25, "skip", None, 2.0, "stopped"]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("verb", "typed", "sentence"),
    [
        ("interval", "5", "interval='5' has no unit; write '5s' or a plain number of seconds."),
        ("interval", None, "interval needs a value."),
        ("speedup", "fast", "speedup must be a number, got 'fast'."),
        ("max_rows_per_batch", "0", "max_rows_per_batch must be a whole number of rows, at least 1"),
        ("target", "soon", "p95 target='soon' is no duration"),
        ("pause", None, "pause() needs a run that is on"),
        ("plai", None, "'plai' is no control: did you mean 'play'?"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(page, verb, typed, sentence):
    """A slip in the panel changes nothing and says the rule."""
    made(page)
    page.open()
    done = page.press(verb, typed)

    assert done["error"]
    assert done["text"].startswith(sentence)
    assert page.value("[lab.interval, lab.speedup, lab.max_rows_per_batch]") == [0.1, 1.0, None]


@pytest.mark.kernel
def test_a_failing_function_shows_the_cells_line_and_goes_on_when_mended(page):
    """The pill says halted, the box shows the line with an arrow; the mended cell and Resume run the same batch."""
    made(page)
    page.open()
    page.press("play")
    page.run("until(lambda: len(lab.last_run.batches) >= 2)")
    page.run("@lab.batch\ndef keep(batch, state):\n    return batch['<b>delay</b>']\n")
    page.until(lambda m: m["k"] == "state" and m["state"].get("status") == "halted")
    error = page.state["error"]
    page.run(KEEP)
    done = page.press("play")
    page.until(lambda m: m["k"] == "state" and m["state"].get("status") == "running" and m is not page.heard[0])
    page.run("until(lambda: 'retried' in set(lab.last_run.batches.status))")
    page.listen(0.5)
    rows = page.rows()
    tried = rows["batch_id"][rows["status"] == CODES["status"].index("retried")]

    assert "----> 3     return batch['<b>delay</b>']" in error
    assert "site-packages" not in error
    assert done["code"] == "lab.resume()"
    assert page.state["error"] is None
    assert rows["batch_id"].tolist().count(tried[0]) == 2  # as failed, then as retried with a higher attempt
    assert rows["attempt"][rows["batch_id"] == tried[0]].tolist() == [1, 2]


@pytest.mark.kernel
def test_the_ghost_is_what_what_if_says(page):
    """The line under the slider is the run's own prediction; without a run it says what is missing."""
    made(page, "rows(2)")
    page.open()
    page.say(k="ghost", interval=0.3)
    before = page.until(lambda m: m["k"] == "ghost")
    page.run("run = lab.run('2s', clock='virtual', cost=0.01)")
    page.say(k="ghost", interval=0.3)
    after = page.until(lambda m: m["k"] == "ghost" and m is not before)
    quantiles = ("p50", "p95", "p99")
    asked = page.value(f"[float(run.what_if(0.3).table[f'latency_{{q}}_s'].iloc[0]) for q in {quantiles}]")
    page.run("trace, law = mblab.arrivals.trace(run.records.arrival_s.to_numpy()), mblab.CostModel.of(run.batches)")
    page.run("t = mblab.predict(trace, [0.3], cost=law, duration=run.summary().duration_s).table")
    predicted = page.value(f"[float(t[f'latency_{{q}}_s'].iloc[0]) for q in {quantiles}]")

    assert before["text"] == "a prediction needs a run to learn from; press Play first."
    assert [after[q] for q in quantiles] == asked == predicted  # to the last bit
    assert after["text"].startswith("At 300 ms it would be: p50 ")


def test_how_a_lab_hooks_into_the_notebook_is_not_public():
    """What Tab lists after `lab.` is for its users."""
    assert not [name for name in dir(mblab.Lab) if not name.startswith("_") and "hook" in name]


def test_a_live_source_has_no_speed_to_set(tmp_path):
    """The panel hides the control that could only refuse."""
    (tmp_path / "a.csv").write_text("x\n1\n")
    live = mblab.Lab(mblab.watch(tmp_path / "*.csv"), interval="1s", name="watched")
    replayed = mblab.Lab(rows_at([0.0]), interval="1s", name="replayed")

    assert state_of(live, None)["speedup"] is None
    assert state_of(replayed, None)["speedup"] == 1.0


# -- robust ---------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_charts_go_on_while_a_cell_is_busy_and_buttons_act_when_it_ends(page):
    """Rows are sent from a thread of their own; a click waits for the cell, and is not lost."""
    made(page)
    page.open()
    page.press("play")
    busy = page.send("time.sleep(2.5)")
    page.say(k="do", id="late", verb="pause", arg=None)
    meanwhile = page.listen(2.0)
    page.finish(busy)
    page.until(lambda m: m["k"] == "done" and m["id"] == "late")
    page.until(lambda m: m["k"] == "state" and m["state"].get("status") == "paused")

    assert sum(m["n"] for m in meanwhile if m["k"] == "rows") >= 10


@pytest.mark.kernel
def test_a_paused_lab_says_every_second_that_it_is_there(page):
    """Else the page would take it for a stopped kernel."""
    made(page)
    page.open()
    page.press("play")
    page.press("pause")
    heard = page.listen(3.5)

    assert len([m for m in heard if m["k"] in ("beat", "state")]) >= 2


@pytest.mark.kernel
def test_there_is_one_sending_thread_a_lab(page):
    """Shown again it is the same; made again the old one ends, and its page is told so."""
    made(page)
    page.open()
    page.run("lab; lab")
    once = page.value("panels()")
    old = page.model
    made(page)
    page.run("lab")
    page.run("until(lambda: len(panels()) == 1)")

    assert once == ["mblab-panel-panel"] == page.value("panels()")
    assert any("made again" in m["state"].get("gone", "") for m in page.heard if m["k"] == "state")
    assert page.run("lab")[1][1][WIDGET]["model_id"] != old


@pytest.mark.kernel
def test_the_chart_is_compiled_once(page):
    """A second lab's dashboard costs no second compilation."""
    made(page)
    page.run("lab")
    page.run("other = mblab.Lab(rows(1), interval='1s', name='other')")
    page.run("other")

    assert page.value("mblab.dashboard.panel.spec_once.cache_info().misses") == 1


# -- the page's code ------------------------------------------------------------------------------------------------

SCRIPT = "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)


def test_the_page_asks_nobody_for_anything():
    """No address, no fetch: the drawing library comes from the kernel."""
    without_names = SCRIPT.replace("http://www.w3.org/2000/svg", "")  # a namespace, not an address

    assert not re.findall(r"https?:|//cdn|fetch\(|XMLHttpRequest|importScripts|sendBeacon|WebSocket", without_names)


def test_the_page_makes_no_markup_of_data():
    """Whatever came from data is written as text."""
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", SCRIPT)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not on this machine")
def test_the_page_is_valid_javascript(tmp_path):
    """All scripts together, as the browser gets them."""
    file = tmp_path / "page.mjs"
    file.write_text(SCRIPT)

    assert subprocess.run(["node", "--check", str(file)], capture_output=True, text=True).stderr == ""


# -- the still picture ----------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_a_run_that_comes_to_rest_leaves_a_picture_in_the_notebook(page):
    """What was an empty place becomes an image, which a notebook without its kernel still shows."""
    made(page, "rows(1)", "200ms")
    page.open()
    page.run("lab.start().wait()")
    end, update = time.monotonic() + PATIENCE_S, None
    while update is None and time.monotonic() < end:
        message = page.take(0.5)
        update = message if message and message["msg_type"] == "update_display_data" else None
    markup = update["content"]["data"]["text/html"]

    assert update["content"]["transient"]["display_id"].startswith("mblab-still-")
    assert re.search(r'<img alt="Run\(panel \w{12}, finished: [^"]*" src="data:image/png;base64,iVBOR', markup)


@pytest.mark.kernel
def test_a_lab_that_nobody_holds_ends_its_panel(page):
    """The panel holds it weakly; its page is told."""
    made(page)
    page.run("other = mblab.Lab(rows(60), interval='1s', name='dropped'); mblab.dashboard.show(other);")
    page.run("del other; gc.collect(); until(lambda: 'mblab-panel-dropped' not in panels())")
    page.until(lambda m: m["k"] == "state" and "This lab is gone" in m["state"].get("gone", ""))


SCRIPT_OF_A_USER = """
import sys
import mblab
from mblab.testing import rows_at
lab = mblab.Lab(rows_at([0.0, 0.5]), interval="1s")
lab.batch(len)
lab.start("1s").wait()
print([name for name in sys.modules if name.startswith(("mblab.dashboard", "ipywidgets", "IPython", "anywidget"))])
"""


def test_a_script_never_imports_the_dashboard():
    """What runs without a notebook pays nothing for one."""
    done = subprocess.run([sys.executable, "-c", SCRIPT_OF_A_USER], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


# -- what vl-convert makes ------------------------------------------------------------------------------------------


@pytest.fixture
def workshop(monkeypatch, tmp_path):
    """The drawing code's maker with an empty cache, and a quick hand instead of vl-convert; counts what it made."""
    made = []

    def run(program, *arguments, stdin=b""):
        made.append(arguments)
        return gzip.compress(b"export const vegaEmbed = 1;", mtime=0)

    monkeypatch.setattr(vega, "_made", None)
    monkeypatch.setattr(vega, "_run", run)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return made


def test_the_drawing_code_is_made_once_a_computer(workshop, monkeypatch):
    """A second process finds it in the cache; its name holds both versions."""
    first = vega.drawing_code()
    monkeypatch.setattr(vega, "_made", None)
    second = vega.drawing_code()
    (file,) = vega.cache_folder().iterdir()

    assert first == second == file.read_bytes()
    assert len(workshop) == 1
    assert re.fullmatch(r"vega-6\.4-vlc[\d.]+(post\d+)?\.js\.gz", file.name)


@pytest.mark.parametrize("rest", [b"", b"not gzip", "half"])
def test_a_broken_cache_is_made_again(workshop, monkeypatch, rest):
    """A full disk or a killed process leaves no charts that never come."""
    whole = vega.drawing_code()
    (file,) = vega.cache_folder().iterdir()
    file.write_bytes(whole[:-6] if rest == "half" else rest)
    monkeypatch.setattr(vega, "_made", None)

    assert vega.drawing_code() == whole == file.read_bytes()


def test_a_cache_that_cannot_be_written_costs_only_time(workshop, monkeypatch, tmp_path):
    """A home that is read-only still has charts."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert gzip.decompress(vega.drawing_code()) == b"export const vegaEmbed = 1;"


def test_what_fails_in_the_other_process_is_one_sentence(monkeypatch):
    """The page shows it where the charts would be."""
    with pytest.raises(mblab.MblabError, match=r"^vl-convert failed \(\w+Error: .*\)\.$"):
        vega.picture({"mark": object.__name__, "data": {"values": "nothing"}, "$schema": 3})


# -- hostile names --------------------------------------------------------------------------------------------------

HOSTILE = [
    '<img src=x onerror="alert(1)">', "<script>alert(1)</script>", '"><svg onload=alert(1)>', "' onmouseover='alert(1)",
    "../../etc/passwd", "a\nb", "\x00", "{{constructor}}", "${alert(1)}", "`", "\u202etxt.exe", "con", "", "\ud83d\ude00",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_still_picture_is_one_image_whatever_the_lab_is_called(name):
    """Its words are an attribute's text and nothing else."""
    seen = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append((tag, sorted(key for key, _ in attrs)))

    Reader().feed(face._still(b"png", f"Run({name} 0123, finished)"))

    assert seen == [("div", ["class"]), ("style", []), ("img", ["alt", "src"])]


@pytest.mark.parametrize("name", HOSTILE)
def test_an_export_stays_in_the_folder_whatever_the_lab_is_called(name, tmp_path, monkeypatch):
    """The file's name is made of letters, digits and underscores."""
    monkeypatch.chdir(tmp_path)
    lab = mblab.Lab(rows_at([0.0]), interval="1s", name=name or "-")
    code = order_of(lab, "lab", "export", None).code

    assert re.fullmatch(r"lab\.export\('\w+\.py'\)", code, re.ASCII)


def test_an_errors_text_is_cut_before_it_floods_the_page():
    """A message may hold a whole frame's repr."""
    text = error_text(ValueError("x" * 1_000_000))

    assert len(text) < 4100
    assert text.startswith("ValueError: xxx")

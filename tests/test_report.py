"""A run as one page: it opens offline, asks nobody for anything, and runs nothing that a name or a value says."""

import http.server
import json
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import Lab, SettingError
from mblab.runs.page import Page, script_json, table_of
from mblab.runs.run_page import _state_text, _tidy
from mblab.testing import rows_at

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARK = "document.documentElement.setAttribute('data-pwned','1')"
HOSTILE = [
    f"<script>{MARK}</script>",
    f"</script><script>{MARK}</script>",
    f"</SCRIPT ><ScRiPt>{MARK}</sCrIpT>",
    f"<!--<script>{MARK}//--></script>",
    f"--><script>{MARK}</script>",
    f"]]><script>{MARK}</script>",
    f'"><img src=x onerror="{MARK}">',
    f"'><img src=x onerror={MARK}>",
    f"<svg onload={MARK}>",
    f"</svg><svg/onload={MARK}>",
    f"<body onload={MARK}>",
    f"</pre></code><iframe srcdoc='<script>parent.{MARK}</script>'>",
    f"</title><script>{MARK}</script>",
    f"</style><script>{MARK}</script>",
    f"</textarea><script>{MARK}</script>",
    f"<a href=\"javascript:{MARK}\" autofocus onfocus=\"{MARK}\">click</a>",
    f"javascript:{MARK}",
    f"<details open ontoggle={MARK}>",
    f"<input autofocus onfocus={MARK}>",
    f"`${{{MARK}}}`",
    f"{{{{constructor.constructor(\"{MARK}\")()}}}}",
    f"'+({MARK})+'",
    f"\\u003cscript\\u003e{MARK}\\u003c/script\\u003e",
    f"&lt;script&gt;{MARK}&lt;/script&gt;",
    f"\u2028<script>{MARK}</script>\u2029",
    f"<meta http-equiv=refresh content=\"0;url=javascript:{MARK}\">",
    f"<math><mi//xlink:href=\"data:x,<script>{MARK}</script>\">",
    f"$title $body ${{scripts}} <script>{MARK}</script>",
]  # fmt: skip


class Elements(HTMLParser):
    """What a browser makes of the page: elements with attributes, and the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self.inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)

    def handle_endtag(self, tag):
        self.inside = None


def hostile_run(extra=()):
    """A run whose every text is hostile: names of lab, step and columns, values, state, and the code below."""
    remark = "</code></pre><script>document.documentElement.setAttribute('data-pwned','1')</script>"
    words = [*HOSTILE, *extra]
    lab = Lab(rows_at(np.arange(len(words)) / 4, word=words), name=words[1])

    @lab.batch(name=words[6])
    def step(batch, state):
        for word in [*batch["word"], remark]:
            state[word] = [word]
        return batch.assign(**{words[k]: batch["word"] for k in range(len(words))})

    return lab.run(clock="virtual", cost=0.1, controls={"1s": {"interval": "2s"}})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The hostile run's page, with payloads that would call home too; (path, paths that were asked for)."""
    asked = []

    class Home(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Home)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}"
    calls = [
        f"<img src={home}/image>",
        f"<link rel=stylesheet href={home}/style>",
        f"<script src={home}/script></script>",
        f"<iframe src={home}/frame></iframe>",
        f"<object data={home}/object></object>",
        f"url({home}/url)",
        f"{home}/plain",
    ]
    folder = tmp_path_factory.mktemp("page")
    path = hostile_run(extra=calls).to_html(folder / "run.html")
    yield path, asked, home
    server.shutdown()
    server.server_close()


def opened(path, folder):
    """The page as Chromium leaves it after five seconds of its own time."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_no_hostile_text_becomes_an_element(page):
    """To a parser the page holds its own scripts and nothing with a handler, a source or a link."""
    elements = Elements(page[0].read_text(encoding="utf-8"))
    tags = [tag for tag, _ in elements.found]

    assert not {"img", "iframe", "object", "embed", "svg", "link", "details", "math", "base"} & set(tags)
    kinds = [a.get("type") for tag, a in elements.found if tag == "script"]
    assert kinds.count(None) == 2
    assert set(kinds) == {None, "application/json"}
    assert not [a for _, a in elements.found if any(k.startswith("on") or k in ("src", "href", "srcdoc") for k in a)]


def test_every_hostile_text_is_there_to_be_read(page):
    """Escaped is not lost: each value stands in the page's data, and the name in its heading."""
    elements = Elements(page[0].read_text(encoding="utf-8"))
    tables = [json.loads(s) for s in elements.scripts if s.startswith('{"columns"')]
    output = tables[-1]

    assert {row[output["columns"].index("word")] for row in output["rows"]} >= set(HOSTILE)
    assert set(HOSTILE) <= set(output["columns"])


def test_its_own_policy_forbids_every_request_and_every_other_script(page):
    """Whatever got past the escaping: nothing is fetched, and a script needs one of two hashes."""
    text = page[0].read_text(encoding="utf-8")
    policy = next(a["content"] for tag, a in Elements(text).found if a.get("http-equiv") == "Content-Security-Policy")

    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    assert "http" not in policy


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install -y chromium")
def test_in_a_real_browser_nothing_hostile_runs_and_nothing_is_asked_for(page, tmp_path):
    """28 payloads in names, columns, values, state and code; charts and tables are drawn all the same."""
    path, asked, _ = page
    dom = opened(path, tmp_path)

    assert "data-pwned" not in dom[: dom.index("<head")]
    assert asked == []
    assert dom.count('class="marks"') == 2
    assert dom.count("<nav>") == 4
    assert "35 rows, page 1 of 2" in dom


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install -y chromium")
def test_the_browser_would_have_told(page, tmp_path):
    """The same payloads on a page without our care do run and do call home."""
    _, asked, home = page
    naive = tmp_path / "naive.html"
    naive.write_text(f"<html><body>{HOSTILE[0]}<img src={home}/naive></body></html>")
    dom = opened(naive, tmp_path)

    assert "data-pwned" in dom
    assert asked.pop() == "/naive"


def test_the_page_tells_what_the_run_was_made_of(tmp_path):
    """Code of every version, settings, knobs that moved, packages."""
    lab = Lab(rows_at(np.arange(60) / 10), interval="1s", name="told")

    @lab.batch
    def first_version(batch, state):
        state["n"] = state.get("n", 0) + len(batch)
        return np.median(batch["row"])

    def second(progress):
        if progress["batch_id"] == 2:

            @lab.batch(name="first_version")
            def second_version(batch, state):
                return -1.0

    lab.on_batch(second)
    run = lab.run(clock="virtual", cost=0.1, controls={"3500ms": {"interval": "500ms"}})
    text = run.to_html(tmp_path / "run.html").read_text()
    made = run.provenance

    assert [(c["name"], c["version"]) for c in made["code"]] == [("first_version", 1), ("first_version", 2)]
    assert made["settings"]["interval_s"] == 1.0
    assert made["clock"] == "virtual"
    assert {"python", "mblab", "numpy", "pandas"} <= set(made["packages"])
    for needed in ("def first_version(", "def second_version(", "moved at 3500ms", "rows_at: 60 rows", pd.__version__):
        assert needed in text
    assert run.summary().run_id in text


def test_a_saved_run_has_the_same_page(tmp_path):
    """Provenance is saved with it."""
    lab = Lab(rows_at(np.arange(60) / 10), name="saved")

    @lab.batch
    def count(batch, state):
        state["n"] = state.get("n", 0) + len(batch)
        return state["n"]

    run = lab.run(clock="virtual", cost=0.1)
    run.save(tmp_path / "run")
    again = mblab.load_run(tmp_path / "run")

    assert again.provenance == run.provenance
    ours, theirs = (r.to_html(tmp_path / f"{i}.html").read_text() for i, r in enumerate((run, again)))
    assert re.sub(r"\s+", "", ours) == re.sub(r"\s+", "", theirs)


def test_an_empty_run_has_a_page_too(tmp_path):
    """No rows, no steps, no state."""
    text = Lab(rows_at([])).run("2s", clock="virtual", cost=0).to_html(tmp_path / "sub" / "run.html").read_text()

    assert "No step" in text


def test_a_file_that_is_not_mblab_s_is_left_alone(tmp_path):
    """An own page is replaced; a folder or somebody's thesis is not."""
    run = Lab(rows_at([0.5])).run(clock="virtual", cost=0)
    mine = tmp_path / "thesis.html"
    mine.write_text("<html>mine</html>")
    with pytest.raises(SettingError, match="holds something else"):
        run.to_html(mine)
    with pytest.raises(SettingError, match="is a folder"):
        run.to_html(tmp_path)
    run.to_html(tmp_path / "run.html")
    run.to_html(tmp_path / "run.html")

    assert mine.read_text() == "<html>mine</html>"


def test_any_value_of_a_frame_becomes_json():
    """Missing is null, what JSON has no word for is text, whole numbers stay exact."""
    frame = pd.DataFrame(
        {
            "a": [1, 2**60],
            "b": [np.nan, np.inf],
            "c": [pd.NaT, pd.Timestamp("2026-01-01", tz="UTC")],
            "d": [[1], {"x": 2}],
            "e": pd.array([True, None], dtype="boolean"),
        }
    )

    assert table_of(frame)["rows"] == [
        [1, None, None, "[1]", True],
        [str(2**60), "inf", "2026-01-01 00:00:00+00:00", "{'x': 2}", None],
    ]
    assert "<" not in script_json({"</script>": "<!--"})


def test_of_many_columns_and_long_texts_the_first_are_shown():
    """B18: 5 000 columns are not a page of 62 MB, and the page says what it leaves out."""
    page = Page("wide")
    frame = pd.DataFrame(np.zeros((30, 5_000)), columns=[f"c{i}" for i in range(5_000)]).assign(c1="x" * 5_000)
    page.rows(frame[["c0", "c1", *[f"c{i}" for i in range(2, 5_000)]]])
    text = page.text()

    assert "The first 100 of 5,000 columns." in text
    assert len(text) < 300_000
    assert "c99" in text
    assert '"c100"' not in text
    assert f"{'x' * 1_000}… (5,000 letters)".replace("…", "\\u2026") in text


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (20_001, 2, "The newest 20,000 of 20,001 rows."),
        (12_000, 101, "The newest 10,000 of 12,000 rows and the first 100 of 101 columns."),
        (20_000, 50, None),
    ],
)
def test_a_table_in_a_page_is_bounded_and_says_so(rows, columns, said, monkeypatch):
    """B18: by rows, by columns and by values."""
    monkeypatch.setattr("mblab.runs.page.table_of", lambda frame: {"columns": [], "rows": [], "shape": frame.shape})
    page = Page("bounded")
    page.rows(pd.DataFrame(np.zeros((rows, columns), np.int8)))
    text = page.text()

    assert (said in text) if said else ("The newest" not in text and "The first" not in text)


def test_of_a_large_state_the_first_entries_are_shown():
    """B18's sibling: a million keys are not written out to be cut off."""
    text = _state_text({"seen": dict.fromkeys(range(1_000_000), 1), "list": [*range(5_000)]})

    assert "and 999,000 more" in _tidy(dict.fromkeys(range(1000000), 1))["…"]
    assert _tidy([*range(5_000)])[-1] == "… and 4,000 more"
    assert len(text) < 21_000

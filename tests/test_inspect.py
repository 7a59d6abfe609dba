"""A batch opened, and a rerun's difference, as data, as text and as a page that runs nothing."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from mblab import BatchError, Lab, SettingError
from mblab.charts.markup import ENTRIES, difference_html, state_html, table_html
from mblab.checks.rerun import difference
from mblab.testing import rows_at

ARRIVALS = [0.1, 0.2, 1.1, 1.2, 1.3, 3.5]


def counting(**settings):
    lab = Lab(
        rows_at(ARRIVALS, value=[1, 2, 3, 4, 5, 6], kind=list("abaabb")), interval="1s", name="opened", **settings
    )

    @lab.batch
    def total(batch, state):
        state["sum"] = state.get("sum", 0) + int(batch["value"].sum())
        return {"sum": state["sum"], "rows": len(batch)}

    return lab


def test_a_batch_is_opened_as_it_was():
    """Rows in, with their arrivals, rows out, and the state it found, whatever came later."""
    lab = counting()
    lab.run(clock="virtual", cost=0.1)
    seen = lab.inspect(1)

    assert seen.rows["value"].tolist() == [3, 4, 5]
    assert seen.arrival_s.tolist() == [1.1, 1.2, 1.3]
    assert seen.output.to_dict("records") == [{"sum": 15, "rows": 3}]
    assert seen.state_before == {"total": {"sum": 3}}
    assert (seen.facts["status"], seen.facts["start_s"], seen.error) == ("ok", 2.0, None)


def test_what_is_done_to_an_inspection_reaches_nothing_else():
    """Its state and its frames are copies."""
    lab = counting()
    lab.run(clock="virtual", cost=0)
    seen = lab.inspect(1)
    seen.state_before["total"]["sum"] = -1
    seen.output["sum"] = -1
    seen.rows["value"] = -1
    again = lab.inspect(1)

    assert again.state_before == {"total": {"sum": 3}}
    assert again.output["sum"].tolist() == [15]
    assert again.rows["value"].tolist() == [3, 4, 5]
    assert lab.rerun(1).same


def test_a_keyed_step_shows_the_state_of_the_keys_of_the_batch():
    """None for a key that it had not seen before."""
    lab = Lab(rows_at(ARRIVALS, kind=list("abaacb")), interval="1s")

    @lab.batch(key="kind")
    def count(batch, state):
        state["n"] = state.get("n", 0) + len(batch)
        return state["n"]

    lab.run(clock="virtual", cost=0)

    assert lab.inspect(1).state_before == {"count": {"a": {"n": 1}, "c": None}}


def test_without_a_number_it_is_the_newest_batch_or_the_one_that_failed():
    """Step mode: step, look, step."""
    lab = counting()
    lab.step()
    first = lab.inspect().batch_id
    lab.step()
    second = lab.inspect().batch_id

    @lab.batch
    def total(batch, state):
        return batch["valu"]

    lab.step()  # no rows
    with pytest.raises(BatchError):
        lab.step()
    failed = lab.inspect()
    lab.stop()

    assert (first, second, failed.batch_id) == (0, 1, 3)
    assert isinstance(failed.error, BatchError)
    assert failed.rows["value"].tolist() == [6]
    assert len(failed.output) == 0
    assert failed.state_before == {"total": {"sum": 15}}
    assert "did you mean &#x27;value&#x27;?" in failed._repr_html_()


@pytest.mark.parametrize(
    ("k", "sentence"),
    [
        (2, "inspect(2): that batch was empty; it had no rows."),
        (9, "inspect(9): there is no such batch; the newest is 3."),
        ("x", "inspect needs the number of a batch, 0 or more, got 'x'."),
        (-1, "inspect needs the number of a batch, 0 or more, got -1."),
    ],
)
def test_a_batch_that_is_not_there_is_said(k, sentence):
    """Empty, not yet run, or no number."""
    lab = counting()
    lab.run(clock="virtual", cost=0)

    with pytest.raises(SettingError, match=re.escape(sentence)):
        lab.inspect(k)


def test_before_any_run_there_is_nothing_to_open():
    """The sentence says how to begin one."""
    with pytest.raises(SettingError, match=r"inspect\(\) needs a run to look into; begin one with lab.step\(\)"):
        counting().inspect()


def test_the_text_reads_by_itself():
    """A terminal shows the same as the page."""
    lab = counting()
    lab.run(clock="virtual", cost=0.1)
    text = repr(lab.inspect(1))

    assert text.startswith(
        "batch 1: ok, 3 rows in, 1 out\nstarted at 2.000 s, took 100 ms, latency p50 900 ms, p95 990 ms"
    )
    assert "total remembered before:\n  {'sum': 3}" in text


def test_a_rerun_shows_what_was_beside_what_is():
    """The cells that differ come first; both outputs are folded away below."""
    lab = counting()
    lab.run(clock="virtual", cost=0)

    @lab.batch
    def total(batch, state):
        return {"sum": 0, "rows": len(batch)}

    page = lab.rerun(1)._repr_html_()

    assert "batch 1: 1 of 1 rows differ, in sum" in page
    assert re.search(r"<td[^>]*>sum</td><td[^>]*><del[^>]*>15</del></td><td[^>]*><ins[^>]*>0</ins>", page)
    assert ">3</" not in difference_html(lab.rerun(1).diff)
    assert "<del" not in lab.rerun(0)._repr_html_() or lab.rerun(0).diff.shape[0] == 1


def test_a_rerun_that_fails_says_so_once():
    """A short heading; the sentence stands with the user's lines below it."""
    lab = counting()
    lab.run(clock="virtual", cost=0)

    @lab.batch
    def total(batch, state):
        return batch["valu"]

    page = lab.rerun(1)._repr_html_()

    assert "batch 1 fails today" in page
    assert page.count("reads column") == 1


def test_a_large_state_is_cut():
    """A page stays a page."""
    page = state_html({f"key {i}": list(range(1000)) for i in range(500)})

    assert page.count("<tr>") == ENTRIES
    assert "and 480 more" in page
    assert len(page) < 20_000


# -- what a page must not run ---------------------------------------------------------------------------------------

HOSTILE = [
    "<script>window.__ran = 1</script>", "<img src=x onerror='window.__ran=1'>", "<svg onload=window.__ran=1>",
    "</table><script>window.__ran=1</script>", "<!-- --><b>bold</b>", "<style>*{display:none}</style>",
    "javascript:window.__ran=1", "<a href=\"javascript:window.__ran=1\">x</a>", "\"><img src=x onerror=alert(1)>",
    "'><body onload=alert(1)>", "</pre><iframe srcdoc='<script>parent.__ran=1</script>'></iframe>", "{{7*7}}", "${7*7}",
    "&lt;script&gt;", "&amp;", "$$\\href{javascript:window.__ran=1}{x}$$", "\\(x\\)", "<math><mi>x</mi></math>",
    "\u202eright to left", "zero\u200bwidth", "new\nline", "tab\tbed", "nul-\x01-ctrl", "é🙂", " ", "a" * 5000,
    "<details open ontoggle=window.__ran=1>", "<input autofocus onfocus=window.__ran=1>", "<object data=x></object>",
    "<form><button formaction=javascript:window.__ran=1>", "<base href=//example.org>", "<link rel=stylesheet href=//example.org>",
    "<meta http-equiv=refresh content='0;url=//example.org'>", "`${window.__ran=1}`", "](javascript:window.__ran=1)",
]  # fmt: skip
ALLOWED = {"div", "details", "summary", "p", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "del", "ins"}


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_that_a_user_s_data_says_becomes_markup(text):
    """As a column, a value, a key, a step's name, an error: 35 texts that try."""
    lab = Lab(rows_at([0.1, 0.2], **{text: [text, text], "kind": [text, "x"]}), interval="1s")

    def remember(batch, state):
        state[text] = batch
        state["text"] = text
        return batch

    def fail(batch, state):
        raise ValueError(text)

    lab.batch(remember, name=text.strip() or "blank")
    lab.run(clock="virtual", cost=0)
    pages = [lab.inspect(0)._repr_html_(), lab.rerun(0)._repr_html_()]
    lab.batch(fail, name=text.strip() or "blank")
    pages.append(lab.rerun(0)._repr_html_())
    pages.append(difference_html(difference(pd.DataFrame({text: [text]}), pd.DataFrame({text: ["x"]}))))
    with pytest.raises(BatchError):
        lab.run(clock="virtual", cost=0)
    pages.append(lab.inspect()._repr_html_())

    for page in pages:
        found = Tags(page)
        assert found.tags <= ALLOWED
        assert found.attributes <= {"style", "class", "open", "border", "colspan", "halign", "valign"}


def test_a_value_whose_text_fails_is_shown_as_such():
    """Nobody loses the page for it."""

    class Bad:
        def __repr__(self):
            raise RuntimeError("no text")

    assert "cannot be shown" in table_html(pd.DataFrame({"x": [Bad()]})) or "repr" in state_html({"x": Bad()})
    assert "whose repr() fails" in state_html({"x": Bad()})

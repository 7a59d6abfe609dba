"""Column names, values, keys, errors and file names that try to be markup: in no view does any of them run."""

import pytest

TEXTS = [
    "<script>window.__ran = 1</script>", "<img src=x onerror='window.__ran=1'>", "<svg onload=window.__ran=1>",
    "</table><script>window.__ran=1</script>", "<!-- --><b id=hostile>bold</b>", "<style id=hostile>*{display:none}</style>",
    "javascript:window.__ran=1", '<a href="javascript:window.__ran=1">x</a>', '"><img src=x onerror=alert(1)>',
    "'><body onload=alert(1)>", "</pre><iframe srcdoc='<script>parent.__ran=1</script>'></iframe>", "{{7*7}}", "${7*7}",
    "&lt;script&gt;", "&amp;", "$$\\href{javascript:window.__ran=1}{x}$$", "\\(x\\)", "<math><mi>x</mi></math>",
    "\u202eright to left", "zero\u200bwidth", "new\nline", "tab\tbed", "nul-\x01-ctrl", "é🙂", " x ", "a" * 3000,
    "<details open ontoggle=window.__ran=1>", "<input autofocus onfocus=window.__ran=1>", "<object data=x></object>",
    "<form><button formaction=javascript:window.__ran=1>", "<base href=//example.org>",
    "<link rel=stylesheet href=//example.org>", "<meta http-equiv=refresh content='0;url=//example.org'>",
    "`${window.__ran=1}`", "](javascript:window.__ran=1)", "datum.x); window.__ran=1; (", "%3Cscript%3E", "\\u003cscript\\u003e",
]  # fmt: skip
FILE = "<img src=x onerror=window.__ran=1>.csv"

MAKE = f"""
import mblab, pathlib
import pandas as pd
TEXTS = {TEXTS!r}
rows = pd.DataFrame({{text: TEXTS for text in TEXTS}})
rows.insert(0, "at", [i / 10 for i in range(len(TEXTS))])
lab = mblab.Lab(mblab.replay(rows, arrival="at"), interval="200ms", name=TEXTS[1])
lab.to(mblab.sinks.csv({FILE!r}))
def keep(batch, state):
    state[TEXTS[0]] = batch
    for text in TEXTS:
        state[text] = text
    return batch
lab.batch(keep, name=TEXTS[2])
"""
FAIL = """
def fail(batch):
    raise ValueError("".join(TEXTS))
lab.batch(fail, name=TEXTS[2])
lab.start()
"""
VIEWS = [
    "lab", "lab.start('3s')", "lab.last_run.wait()", "lab.last_run", "lab.last_run.output", "lab.describe()", "lab.steps",
    "lab.inspect(2)", "lab.rerun(2)", "lab.step(); lab.inspect()", "%load_ext mblab\n%mblab",
    "lab.try_batch(5)", "lab.sweep(['200ms', '500ms'], '2s', clock='virtual')",
]  # fmt: skip


@pytest.mark.slow
def test_no_view_runs_what_the_data_says(sheet):
    """38 texts as columns, values, keys, names of a lab, a step and a file, and as an error, in every view at once."""
    book = sheet([MAKE, *VIEWS, FAIL])
    for cell in book.code():
        book.run(cell)
    board = book.output(1).locator("section.mblab").first
    board.locator(".mb-error").wait_for()
    board.locator(".mb-glass").focus()
    for key in ("ArrowLeft", "ArrowLeft", "Home", "End"):
        board.locator(".mb-glass").press(key)
    board.locator('button[data-verb="export"]').click()
    board.locator('input[type="text"][data-verb="interval"]').fill(TEXTS[1])
    board.locator('input[type="text"][data-verb="interval"]').press("Enter")
    board.locator('input[type="text"][data-verb="target"]').fill(TEXTS[0])
    board.locator('input[type="text"][data-verb="target"]').press("Enter")
    book.page.wait_for_timeout(2000)
    book.shot("hostile", cell=1)
    for cell in (4, 8, 9, 10):
        book.shot(f"hostile-{cell}", cell=cell)

    assert book.page.locator("#hostile").count() == 0
    assert book.page.locator('img[src="x"]').count() == 0
    assert book.page.locator(".mblab-page mjx-container, .mblab-page a, section.mblab mjx-container").count() == 0
    assert book.page.locator(".mblab-page").count() == 3
    assert TEXTS[1] in board.inner_text()


def test_a_saved_page_runs_nothing(page, watch, tmp_path):
    """`run.to_html`: the same texts in a page of its own."""
    import mblab
    from mblab.testing import rows_at

    lab = mblab.Lab(
        rows_at([i / 10 for i in range(len(TEXTS))], **dict.fromkeys(TEXTS, TEXTS)), interval="1s", name=TEXTS[1]
    )

    def keep(batch, state):
        state[TEXTS[0]] = TEXTS[1]
        return batch

    def fail(batch):
        raise ValueError("".join(TEXTS))

    lab.batch(keep, name=TEXTS[2])
    lab.run("2s", clock="virtual", cost=0.1)
    lab.batch(fail, name=TEXTS[2])
    with pytest.raises(mblab.BatchError):
        lab.run("4s", clock="virtual", cost=0.1)
    for run in lab.runs:
        path = tmp_path / f"{run.run_id}.html"
        run.to_html(path)
        page.goto(path.as_uri())
        page.wait_for_timeout(300)

        assert page.locator("#hostile, img[src=x]").count() == 0
        watch.clean()

"""`%load_ext mblab`: cells that are batch functions, as text and in a real kernel."""

import re
import subprocess
import sys

import pytest

from mblab.dashboard.cells import Options, read_cell, read_options
from mblab.errors import SettingError

# -- the line -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("", Options()),
        ("--name late", Options(name="late")),
        ("--name=late --on flights", Options(name="late", on="flights")),
        ("--key carrier --key 'tail number'", Options(key=("carrier", "tail number"))),
    ],
)
def test_options_are_read(line, options):
    """In any order, with `=` or a space, quoted where a column's name needs it."""
    assert read_options(line) == options


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--nme late", "%%batch has no option --nme: did you mean '--name'?"),
        ("-x", "%%batch has no option -x; it is %%batch [--name NAME] [--key COLUMN] [--on LAB]."),
        ("late", "%%batch takes no 'late' by itself; write --name late, or:"),
        ("--name", "%%batch needs a value after --name:"),
        ("--name --key k", "%%batch needs a value after --name:"),
        ("--on a --on b", "%%batch takes --on once, got 'a' and 'b'."),
        ("--key 'open", '%%batch cannot read "--key \'open": No closing quotation.'),
    ],
)
def test_a_wrong_option_is_one_sentence(line, sentence):
    """It says which, and the way on."""
    with pytest.raises(SettingError, match=re.escape(sentence)) as caught:
        read_options(line)

    assert "\n" not in str(caught.value)


# -- the cell -------------------------------------------------------------------------------------------------------


def called(body, *arguments, name=None):
    """What the cell's step gives for arguments."""
    text = read_cell(body, name, name or "step")
    space = {}
    exec(text.text, space)
    return space[text.function](*arguments)


@pytest.mark.parametrize(
    ("body", "given", "result"),
    [
        ("batch + 1\n", (1,), 2),
        ("a = batch + 1; a * 2\n", (1,), 4),
        ("state['n'] = batch\nlen(state)\n", (5, {}), 1),
        ("# only the context\n(batch,\n ctx)\n", (1, 2), (1, 2)),
        ("ctx\n", (1, 2), 2),
        ("if batch > 1:\n    return 'many'\n\n'few'\n", (2,), "many"),
        ("text = '''a\n  b\nc'''\nbatch, text\n", (1,), (1, "a\n  b\nc")),
        ("text = f'''a\n  {batch}\nc'''\ntext\n", (1,), "a\n  1\nc"),
        ("text = ('é'\n  'ü'); text + batch\n", ("x",), "éüx"),
        ("def twice(x):\n    return 2 * x\n\ntwice(batch)\n", (3,), 6),
        ("batch = batch * 2\nbatch += 1\nbatch\n", (3,), 7),
        ("import math\nmath.sqrt(batch);\n", (4,), 2.0),
        ("state['last'] = batch\n", (1, {}), None),
    ],
)
def test_a_cell_without_a_function_is_one(body, given, result):
    """Its names are batch, state, ctx; what its last line says is the result; text in quotes stays as it is."""
    assert called(body, *given) == result


def test_every_line_of_such_a_function_keeps_its_number():
    """Line 1 is the one with %%batch, so line 3 of the cell is line 3 of a traceback."""
    text = read_cell("a = batch\nb = a / 0\nb\n", None, "step").text

    assert text.splitlines()[2] == "    b = a / 0"


@pytest.mark.parametrize(
    ("body", "name", "function"),
    [
        ("def f(batch): ...\n", None, "f"),
        ("def helper(x): ...\ndef f(batch): ...\n", None, "f"),
        ("def f(batch): ...\ndef helper(x): ...\n", "f", "f"),
        ("def f(batch): ...\n", "other", "f"),
        ("def f(batch): ...\nLIMIT = 3\n", None, "f"),
        ("batch = load()\nf = 1\ndef g(batch): ...\n", None, "g"),
    ],
)
def test_a_cell_with_functions_has_one_that_is_the_step(body, name, function):
    """The last, or the one that --name calls."""
    text = read_cell(body, name, name or "step")

    assert (text.function, text.whole) == (function, False)
    assert text.text == "\n" + body


@pytest.mark.parametrize("body", ["", "x = 1\n", "# nothing\n", "f = lambda batch: batch\n"])
def test_a_cell_that_is_no_function_is_refused(body):
    """Nothing reads the batch."""
    with pytest.raises(SettingError, match="needs a function of the batch below it, or code that reads `batch`"):
        read_cell(body, None, "step")


def test_a_result_that_is_forgotten_is_said():
    """A last line such as `out = …` is allowed, since a step may only keep state, but rarely meant."""
    assert "gives no rows" in read_cell("out = batch.sum()\n", None, "step").hint
    assert read_cell("state['n'] = 1\nNone\n", None, "step").hint == ""


# -- in a notebook --------------------------------------------------------------------------------------------------

LATE = """%%batch --name late
state["n"] = state.get("n", 0) + len(batch)
batch.assign(half=batch["row"] / 2)
"""


@pytest.fixture
def loaded(notebook):
    """A notebook with the extension and a lab that stands still."""
    notebook.run("%reload_ext mblab")
    notebook.run("for name in ('other', 'rate'): globals().pop(name, None)")
    notebook.run("lab = mblab.Lab(rows(60), interval='1s')", "lab")
    return notebook


@pytest.mark.kernel
def test_a_cell_becomes_a_step_and_running_it_again_swaps_it(loaded, with_ids):
    """Same rules as @lab.batch: in place, version up, the state lives on, also under a new name."""
    loaded.run(LATE, "cell")
    loaded.run("lab.step(2); run = lab.last_run")
    loaded.run(LATE.replace("late", "later"), "cell")
    loaded.run("lab.step(1);")
    chain = loaded.value("[[s.name, s.version, s.kind] for s in lab.steps]")

    assert chain == ([["later", 2, "batch"]] if with_ids else [["late", 1, "batch"], ["later", 1, "batch"]])
    assert loaded.value("run.state['later']['n']") == (3000 if with_ids else 1000)
    assert loaded.value("'half' in run.output and 'late' not in globals()")


@pytest.mark.kernel
def test_a_cell_with_a_function_defines_it_as_usual(loaded):
    """Helpers and constants of the cell are the notebook's, and --key keeps a state for each key."""
    loaded.run(
        "%%batch --key kind\nrate = 3\n\ndef per_kind(batch, state):\n    return {'n': len(batch) * rate}", "cell"
    )

    assert loaded.value("[rate, per_kind.__name__, lab.steps[0].kind, lab.steps[0].key]") == [
        3,
        "per_kind",
        "keyed",
        ["kind"],
    ]


@pytest.mark.kernel
def test_two_cells_without_names_are_two_steps(loaded, with_ids):
    """Where the front end tells cells apart; without ids the second is the first one again."""
    for cell in ("one", "two", "one"):
        loaded.run("%%batch\nbatch.head(5)", cell)

    assert loaded.value("[s.name for s in lab.steps]") == (["step", "step_2"] if with_ids else ["step"])


@pytest.mark.kernel
@pytest.mark.parametrize("with_ids", [True], ids=[""], indirect=True)
def test_an_error_shows_the_users_own_line(loaded):
    """Number and text are the cell's, and nothing of mblab or IPython stands in between."""
    loaded.run("%%batch\nwide = batch\nwide['delay'].sum()", "cell")
    outcome = loaded.fail("lab.run(clock='virtual')")
    trace = re.sub(r"\x1b\[[0-9;]*m", "", outcome.trace)

    assert outcome.error == "BatchError"
    assert "step reads column 'delay' at line 3, but batch 0 holds ['row']" in trace
    assert re.search(r"Cell In\[\d+\], line 3, in step", trace)
    assert re.search(r"-> 3 +(return )?wide\['delay'\]", trace)
    assert "magics.py" not in trace


@pytest.mark.kernel
@pytest.mark.parametrize("with_ids", [True], ids=[""], indirect=True)
def test_a_cell_that_does_not_compile_leaves_the_old_function(loaded):
    """The run that is on goes on with what it has."""
    loaded.run(LATE, "cell")
    outcome = loaded.fail("%%batch --name late\nlen(batch))", "cell")

    assert outcome.error == "SyntaxError"
    assert "line 2" in outcome.trace
    assert loaded.value("[[s.name, s.version] for s in lab.steps]") == [["late", 1]]


@pytest.mark.kernel
@pytest.mark.parametrize("with_ids", [True], ids=[""], indirect=True)
@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("%%batch --nme x\nbatch", "%%batch has no option --nme: did you mean '--name'?"),
        ("%%batch --on lba\nbatch", "--on lba: no lab is called 'lba': did you mean 'lab'?"),
        ("%%batch --on json\nbatch", "--on json: json is <module 'json' from"),
        ("%%batch --name 'a b'\nbatch", "--name must be a name in Python when the cell is the function, got 'a b'."),
        (
            "%%batch\n@lab.batch(key='k')\ndef f(batch): ...",
            "f stands under %%batch and under @lab.batch(key='k'); take",
        ),
        ("%%batch\nasync def f(batch): ...", "f is async; a step is a plain function that returns its rows."),
        ("%mblab please", "%mblab takes no options, got 'please'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(loaded, cell, sentence):
    """No traceback through IPython and mblab."""
    outcome = loaded.fail(cell, "cell")

    assert sentence in outcome.trace
    assert outcome.trace.count("\n") == 0
    assert loaded.value("list(lab.steps)") == []


@pytest.mark.kernel
@pytest.mark.parametrize("with_ids", [True], ids=[""], indirect=True)
def test_among_several_labs_the_cell_says_which(loaded):
    """No guess: the sentence names them."""
    loaded.run("other = mblab.Lab(rows(1), name='other')")
    refused = loaded.fail("%%batch\nbatch", "cell")
    loaded.run("%%batch --on other\nbatch", "cell")

    assert "does not know which of the labs ['lab', 'other']: say it with --on lab" in refused.trace
    assert loaded.value("[len(lab.steps), len(other.steps)]") == [0, 1]
    loaded.run("del other")


@pytest.mark.kernel
@pytest.mark.parametrize("with_ids", [True], ids=[""], indirect=True)
def test_the_status_line_says_how_it_goes(loaded):
    """Before a run, and after it."""
    loaded.run(LATE, "cell")
    before = loaded.run("%mblab").text
    loaded.run("lab.run('3s', clock='virtual', cost=.1)")
    after = loaded.run("%mblab").text

    assert before == "lab: no run yet, every 1 s, asap, late\n"
    assert after.startswith("lab: finished, every 1 s, asap, late; 3,000 rows in 3 batches, latency p50 600 ms, p95 ")
    assert after.endswith("load 0.10, backlog 0, on schedule\n")


@pytest.mark.kernel
@pytest.mark.parametrize("with_ids", [True], ids=[""], indirect=True)
def test_the_export_carries_the_cell_as_a_plain_function(loaded):
    """A script that runs without a notebook, with the text as it was typed."""
    loaded.run(
        "lab = mblab.Lab(mblab.replay(mblab.datasets.path('nyc_flights'), arrival='reported_at', speedup=36_000), interval='1s')"
    )
    loaded.run(
        "%%batch --name late\nclass Limit:\n    minutes = 15\n\ndef is_late(rows):\n    return rows['dep_delay'] > Limit.minutes\n\ndef late(batch, state):\n    state['n'] = state.get('n', 0) + int(is_late(batch).sum())\n    return state['n']"
    )
    loaded.run("%%batch --name twice\n# two of each\nbatch['late'] * 2")
    loaded.run("path = str(lab.export('pipeline.py').resolve()); lab.run('3s', clock='virtual', cost=.1)")
    script = loaded.value("open(path).read()")
    expected = loaded.value("lab.last_run.output['late'].tolist()")
    done = subprocess.run(
        [sys.executable, loaded.value("path"), "--duration", "3s"], capture_output=True, text=True, timeout=120
    )

    assert "def twice(batch):\n    # two of each\n    return batch['late'] * 2\n" in script
    assert "%%batch" not in script
    assert done.returncode == 0, done.stderr
    assert f"{expected[-1]}" in done.stdout


@pytest.mark.kernel
@pytest.mark.parametrize("with_ids", [True], ids=[""], indirect=True)
def test_the_extension_can_be_loaded_again_and_taken_away(loaded):
    """Twice is once; without it no run is on and the magics are gone."""
    loaded.run(LATE, "cell")
    loaded.run("run = lab.start(); until(lambda: run.status == 'running')")
    loaded.run("%unload_ext mblab")
    gone = loaded.fail("%mblab")
    status, busy = loaded.value("[run.status, threads()]")
    loaded.run("%load_ext mblab\n%load_ext mblab\n%reload_ext mblab")
    loaded.run(LATE, "cell")

    assert (status, busy) == ("stopped", [])
    assert "mblab" in gone.trace + gone.text
    assert loaded.value("[s.version for s in lab.steps]") == [2]

"""What a lab does under a person's hands: every promise of the life cycle in a real Jupyter kernel, nothing mocked."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

pytestmark = pytest.mark.kernel

KEEP = """
@lab.batch
def keep(batch, state):
    state["n"] = state.get("n", 0) + len(batch)
    return batch
"""


def every_row_once(notebook) -> int:
    """Return how many rows came out, having seen that each came out once and in order."""
    rows = notebook.value("run.output.row.tolist()")

    assert rows == list(range(len(rows)))
    assert sum(notebook.frame("run.batches")["num_input_rows"]) == len(rows)
    return len(rows)


# -- live hands -----------------------------------------------------------------------------------------------------


def test_the_interval_moves_while_a_run_is_on(notebook):
    """The old grid ends at its last point, the new one goes on from there, and batches carry the new interval."""
    notebook.run("lab = mblab.Lab(rows(60), interval='50ms')", "lab")
    notebook.run(KEEP, "step")
    notebook.run("""
        run = lab.start()
        until(lambda: len(run.batches) >= 3)
        lab.interval = "20ms"
        until(lambda: (run.batches.interval_s == 0.02).sum() >= 5)
        lab.stop()
    """)
    batches = notebook.frame("run.batches[['interval_s', 'due_s', 'start_s', 'end_s']]")
    controls = notebook.value("run.controls")
    due = [round(d * 1e9) for d in batches["due_s"]]
    first = batches["interval_s"].index(0.02)
    old, new = due[:first], due[first:]
    asked = int(next(iter(controls)).removesuffix("ns"))
    settled = max(asked, round(batches["end_s"][first - 1] * 1e9))

    assert list(controls.values()) == [{"interval": "20ms"}]
    assert set(batches["interval_s"][first:]) == {0.02}
    assert all(d % 50_000_000 == 0 for d in old)
    assert new[0] > asked
    assert new[0] - 20_000_000 <= max(settled, old[-1])
    assert all((b - a) % 20_000_000 == 0 for a, b in pairwise(new))
    assert (new[0] - 20_000_000 * round((new[0] - old[-1]) / 20_000_000)) % 50_000_000 == 0
    assert every_row_once(notebook) > 0


def test_running_the_cell_again_swaps_the_function(notebook):
    """Version 2 takes over at a batch boundary, the state lives on, and no row is lost or doubled."""
    notebook.run("lab = mblab.Lab(rows(60), interval='20ms')", "lab")
    notebook.run(KEEP, "step")
    notebook.run("run = lab.start(); until(lambda: len(run.batches) >= 3)")
    notebook.run(KEEP.replace("return batch", "return batch.assign(half=batch.row / 2)"), "step")
    notebook.run("until(lambda: (run.batches.version == 2).sum() >= 3); lab.stop()")
    batches = notebook.frame("run.batches[['version', 'batch_id']]")
    swapped = notebook.value("run.output.groupby('batch_id').half.count().gt(0).tolist()")

    assert sorted(batches["version"]) == batches["version"]
    assert set(batches["version"]) == {1, 2}
    assert swapped == [v == 2 for v in batches["version"]]
    assert notebook.value("[s.version for s in lab.steps]") == [2]
    assert every_row_once(notebook) == notebook.value("run.state['keep']['n']")


def test_a_run_can_be_paused_stepped_resumed_and_stopped(notebook):
    """A pause freezes the run's clock, step goes straight to the next starts, resume goes on, stop ends it."""
    notebook.run("lab = mblab.Lab(rows(600), interval='100ms')", "lab")
    notebook.run(KEEP, "step")
    notebook.run("""
        run = lab.start()
        until(lambda: len(run.batches) >= 1)
        lab.pause()
        until(lambda: run.status == "paused")
        before = len(run.batches)
        time.sleep(0.25)
        still = len(run.batches) - before
        stepped = lab.step(20)
        after = run.status
        lab.resume()
        until(lambda: len(run.batches) >= before + 21)
        lab.stop()
    """)
    starts = notebook.value("run.batches.start_s.round(6).tolist()")

    assert notebook.value("still") == 0
    assert notebook.value("stepped.batch_id.tolist()") == notebook.value("list(range(before, before + 20))")
    assert notebook.value("after") == "paused"
    assert notebook.value("run.status") == "stopped"
    assert starts == sorted(starts)
    assert every_row_once(notebook) > 0


def test_a_step_on_a_lab_not_started_begins_a_paused_run(notebook):
    """`lab.step(2)` runs two batches at once and leaves the run paused."""
    notebook.run("lab = mblab.Lab(rows(10), interval='1s')", "lab")
    notebook.run(KEEP, "step")
    notebook.run("stepped = lab.step(2); run = lab.last_run")

    assert notebook.value("stepped.num_input_rows.tolist()") == [1000, 1000]
    assert notebook.value("run.status") == "paused"


# -- cells and steps ------------------------------------------------------------------------------------------------


def chain(notebook) -> list[list]:
    return notebook.value("[[s.name, s.version] for s in lab.steps]")


def two(first: str, second: str) -> str:
    """Return a cell that defines two counting steps; an empty name leaves one out."""
    body = "\ndef {}(batch, state):\n    state['n'] = state.get('n', 0) + 1\n    return batch\n"
    return "\n".join("@lab.batch" + body.format(name) for name in (first, second) if name)


@pytest.fixture
def paused(notebook):
    """A notebook whose lab has run two batches through the steps `a` and `b` of one cell, and a third of another."""
    notebook.run("lab = mblab.Lab(rows(60), interval='1s')", "lab")
    notebook.run(two("a", "b"), "steps")
    notebook.run(two("z", ""), "last")
    notebook.run("lab.step(2); run = lab.last_run")
    return notebook


def test_a_second_step_prints_the_chain(notebook):
    """Whoever adds a step sees the order in which they are called."""
    notebook.run("lab = mblab.Lab(rows(1), interval='1s')", "lab")
    first, second = notebook.run(two("a", ""), "one"), notebook.run(two("b", ""), "two")

    assert first.text == ""
    assert second.text == "steps: a → b\n"


def test_a_renamed_step_keeps_its_place_and_its_state(paused, with_ids):
    """One of two is renamed: the cell id tells that it is the same one; without ids it is a further step."""
    paused.run(two("a", "better"), "steps")
    paused.run("lab.step(1);")
    counts = paused.value("{k: v['n'] for k, v in run.state.items()}")

    if with_ids:
        assert chain(paused) == [["a", 2], ["better", 2], ["z", 1]]
        assert counts == {"a": 3, "better": 3, "z": 3}
    else:
        assert chain(paused) == [["a", 2], ["b", 1], ["z", 1], ["better", 1]]
        assert counts == {"a": 3, "b": 3, "z": 3, "better": 1}


def test_a_single_renamed_step_keeps_its_state(paused, with_ids):
    """The commonest rename: a cell with one function."""
    paused.run(two("total", ""), "last")
    paused.run("lab.step(1);")

    assert paused.value("run.state['total']['n']") == (3 if with_ids else 1)
    assert [name for name, _ in chain(paused)] == (["a", "b", "total"] if with_ids else ["a", "b", "z", "total"])


def test_a_step_added_before_another_stands_before_it(paused, with_ids):
    """The chain follows the cell's order, and the ones that were there keep their state."""
    paused.run(two("clean", "a") + two("b", ""), "steps")
    paused.run("lab.step(1);")
    counts = paused.value("{k: v['n'] for k, v in run.state.items()}")

    assert [name for name, _ in chain(paused)] == (["clean", "a", "b", "z"] if with_ids else ["a", "b", "z", "clean"])
    assert counts == {"a": 3, "b": 3, "z": 3, "clean": 1}


def test_a_step_that_moves_to_another_cell_keeps_its_place(paused):
    """What stands between the steps of one cell stays between them."""
    paused.run(two("a", "z"), "last")

    assert chain(paused) == [["a", 2], ["b", 1], ["z", 2]]


def test_a_step_deleted_from_its_cell_is_gone(paused, with_ids):
    """What the cell no longer defines is no longer called; without ids nobody can know."""
    paused.run(two("b", ""), "steps")

    assert chain(paused) == ([["b", 2], ["z", 1]] if with_ids else [["a", 1], ["b", 2], ["z", 1]])


def test_a_step_deleted_before_the_same_cell_starts_a_run_is_not_called(paused, with_ids):
    """The cell's steps so far are what the run gets, and a later one in the cell still finds its own state."""
    paused.run(two("b", "") + "\nwithout = [s.name for s in lab.steps]\n" + two("a", ""), "steps")
    paused.run("lab.step(1);")

    assert paused.value("without") == (["b", "z"] if with_ids else ["a", "b", "z"])
    assert paused.value("run.state['a']['n']") == 3


def test_a_cell_that_fails_half_way_keeps_the_old_steps(paused):
    """What it redefined is taken; what it had not come to stays; what may be a rename waits for a whole run."""
    failed = paused.fail(two("a", "") + "\n1 / 0\n" + two("b", ""), "steps")

    assert failed.error == "ZeroDivisionError"
    assert chain(paused) == [["a", 2], ["b", 1], ["z", 1]]


def test_a_rename_in_a_cell_that_fails_waits_until_it_runs_through(paused, with_ids):
    """Half a cell cannot tell a rename from an addition, so the state stays where it is, and one line says so."""
    failed = paused.fail(two("new", "") + "\n1 / 0\n" + two("b", ""), "steps")
    names = [name for name, _ in chain(paused)]
    paused.run(two("new", "b"), "steps")
    paused.run("lab.step(1);")

    if with_ids:
        assert names == ["a", "b", "z"]
        assert "run it again to take in new" in failed.text
        assert [name for name, _ in chain(paused)] == ["new", "b", "z"]
        assert paused.value("run.state['new']['n']") == 3
    else:
        assert names == ["a", "b", "z", "new"]


def test_a_step_that_a_failing_cell_took_out_again_is_not_waited_for(paused):
    """What was asked for meanwhile stands, and nothing is left to take in."""
    extra = "lab.batch(lambda batch: batch, name='extra')\nlab.remove('extra')\n1 / 0"
    failed = paused.fail(two("a", "") + "\n" + extra, "steps")

    assert failed.error == "ZeroDivisionError"
    assert "take in" not in failed.text
    assert "extra" not in [name for name, _ in chain(paused)]


def test_another_kind_of_step_starts_fresh_and_says_so(paused):
    """A state per key cannot be made from a state of the whole."""
    said = paused.run("@lab.batch(key='row')\ndef z(batch, state):\n    state['n'] = 1\n    return batch", "last")
    paused.run("lab.step(1);")

    assert said.text == "z is now a keyed step by row: its state starts fresh.\n"
    assert paused.value("len(run.state['z'])") == 1000


# -- errors ---------------------------------------------------------------------------------------------------------

BROKEN = """
def mean(values):
    return values.sum() / 0 if len(values) == 0 else values.mean()

@lab.batch
def late(batch, state):
    state["n"] = state.get("n", 0) + len(batch)
    if state["n"] > 40:
        batch["delay"]
    return batch
"""
MENDED = BROKEN.replace('batch["delay"]', "pass")


def test_a_failing_function_halts_and_resumes_with_the_mended_one(notebook):
    """The same batch runs again, with the same start and the state it had; the message names the cell's own line."""
    notebook.run("lab = mblab.Lab(rows(1, per_second=100), interval='100ms')", "lab")
    notebook.run(BROKEN, "step")
    notebook.run("run = lab.start(); ended = run.wait('30s')")
    halted = notebook.frame("run.batches")
    error = notebook.value("[type(run.error).__name__, str(run.error), run.error.line, run.error.batch_id]")
    status = notebook.value("[run.status, ended]")
    notebook.run(MENDED, "step")
    notebook.run("lab.resume(); ended = run.wait('30s')")
    batches = notebook.frame("run.batches")

    assert status == ["halted", False]
    assert error[0] == "BatchError"
    assert error[2:] == [8, 4]
    assert "late reads column 'delay' at line 8, but batch 4 holds ['row']" in error[1]
    assert 'batch["delay"]' in error[1]
    assert halted["status"][-1] == "failed"
    assert notebook.value("[run.status, ended]") == ["finished", True]
    assert (batches["status"][4], batches["attempt"][4], batches["version"][4]) == ("retried", 2, 2)
    assert batches["start_s"][: len(halted["start_s"])] == halted["start_s"]
    assert len(notebook.value("run.attempts.error.tolist()")) == len(batches["batch_id"]) + 1
    assert every_row_once(notebook) == 100 == notebook.value("run.state['late']['n']")


def test_a_blocking_run_shows_the_users_lines_and_nothing_of_mblab(notebook):
    """The notebook shows the sentence, and the lines around the failing one with an arrow."""
    notebook.run("lab = mblab.Lab(rows(1, per_second=100), interval='100ms')", "lab")
    notebook.run(BROKEN, "step")
    failed = notebook.fail("run = lab.run(clock='virtual')")
    notebook.run("run = lab.last_run; halted = run.status")
    notebook.run(MENDED, "step")
    notebook.run("lab.resume();")
    lines = failed.trace.splitlines()

    assert failed.error == "BatchError"
    assert lines[0] == "BatchError: late reads column 'delay' at line 8, but batch 4 holds ['row']."
    assert lines[1].startswith("Cell In[")
    assert lines[1].endswith("], line 8, in late")
    assert lines[2:] == [
        '      6     state["n"] = state.get("n", 0) + len(batch)',
        '      7     if state["n"] > 40:',
        '----> 8         batch["delay"]',
        "      9     return batch",
    ]
    assert notebook.value("[halted, run.status]") == ["halted", "finished"]
    assert every_row_once(notebook) == 100


def test_the_error_shows_every_own_frame_on_the_way(notebook):
    """A helper of the user's that the step calls is shown too, pandas' inside is not."""
    notebook.run("lab = mblab.Lab(rows(1), interval='100ms')", "lab")
    notebook.run("def column(batch):\n    return batch['x']", "helper")
    notebook.run("@lab.batch\ndef use(batch):\n    return column(batch)", "step")
    failed = notebook.fail("lab.run(clock='virtual')")

    assert failed.trace.count("Cell In[") == 2
    assert "----> 3     return column(batch)" in failed.trace
    assert "----> 2     return batch['x']" in failed.trace
    assert "site-packages" not in failed.trace
    assert "mblab" not in failed.trace
    assert "pandas" not in failed.trace


def test_a_result_that_is_no_rows_shows_the_sentence(notebook):
    """No line of the cell raised, so the line that asked for the run is shown."""
    notebook.run("lab = mblab.Lab(rows(1), interval='100ms')", "lab")
    notebook.run("@lab.batch\ndef odd(batch):\n    return object", "step")
    failed = notebook.fail("lab.run(clock='virtual')")
    lines = failed.trace.splitlines()

    assert lines[0].startswith("BatchError: batch 0: odd returned <class 'object'>, of type type; return a DataFrame")
    assert lines[2:] == ["----> 1 lab.run(clock='virtual')"]


def test_a_refused_setting_shows_the_cells_line(notebook):
    """A knob's mistake is one sentence and the line that made it."""
    notebook.run("lab = mblab.Lab(rows(1), interval='100ms')", "lab")
    failed = notebook.fail("x = 1\nlab.interval = '5'\n")
    lines = failed.trace.splitlines()

    assert failed.error == "SettingError"
    assert lines[0] == "SettingError: interval='5' has no unit; write '5s' or a plain number of seconds."
    assert lines[2:] == ["      1 x = 1", "----> 2 lab.interval = '5'"]


# -- runs and labs --------------------------------------------------------------------------------------------------


def test_a_second_run_is_a_new_run(notebook):
    """Fresh state and a new id; the earlier run stays as it was; the active one is stopped, and one line says so."""
    notebook.run("lab = mblab.Lab(rows(60), interval='20ms', name='twice')", "lab")
    notebook.run(KEEP, "step")
    notebook.run("first = lab.start(); until(lambda: len(first.batches) >= 3)")
    said = notebook.run("run = lab.start(); frozen = len(first.batches)")
    notebook.run("until(lambda: len(run.batches) >= 2); lab.stop()")

    assert said.text == "mblab: stopped the run of 'twice' that was on.\n"
    assert notebook.value("first.status") == "stopped"
    assert notebook.value("len(first.batches) == frozen == len(first.output.batch_id.unique())")
    assert notebook.value("first.run_id != run.run_id and lab.runs == [first, run]")
    assert notebook.value("run.batches.batch_id.tolist()[0]") == 0
    assert notebook.value("run.state['keep']['n']") == every_row_once(notebook)


def test_a_lab_that_is_created_again_stops_the_old_ones_run(notebook):
    """Running the cell that makes the lab again leaves no thread of the old one behind, and says so."""
    make = "lab = mblab.Lab(rows(60), interval='20ms', name='again')\n" + KEEP
    notebook.run(make, "lab")
    notebook.run("run = lab.start(); until(lambda: len(run.batches) >= 2)")
    said = notebook.run(make, "lab")

    assert said.text == "mblab: stopped the run of the earlier lab 'again'.\n"
    assert notebook.value("[run.status, threads()]") == ["stopped", []]
    assert every_row_once(notebook) > 0


def test_a_dropped_lab_ends_its_thread(notebook):
    """`del lab` is enough: the thread ends at its next boundary, and what the run found stays."""
    notebook.run("lab = mblab.Lab(rows(60), interval='20ms')", "lab")
    notebook.run(KEEP, "step")
    notebook.run("run = lab.start(); until(lambda: len(run.batches) >= 2)")
    notebook.run("del lab; until(lambda: not threads(), 10); status = run.status")

    assert notebook.value("status") == "stopped"
    assert every_row_once(notebook) > 0
    notebook.run("lab = mblab.Lab(rows(1))")


@pytest.mark.parametrize("with_ids", [True], ids=[""], indirect=True)
def test_the_oldest_runs_are_let_go(notebook):
    """A lab keeps its newest 20 runs; an older one that nobody holds frees its rows."""
    notebook.run("lab = mblab.Lab(rows(1), interval='1s')", "lab")
    notebook.run("""
        import gc, weakref
        lab.run(clock="virtual")
        oldest = weakref.ref(lab._control.driver)
        for _ in range(20):
            lab.run(clock="virtual")
        gc.collect()
    """)

    assert notebook.value("[len(lab.runs), oldest() is None]") == [20, True]


def test_a_kernel_without_stdin_is_headless(notebook):
    """Nobody can press a button under papermill, so start() is run(): it returns when the run is over."""
    notebook.run("lab = mblab.Lab(rows(1), interval='100ms')", "lab")
    notebook.run(KEEP, "step")
    notebook.run("run = lab.start('200ms'); status = run.status; busy = threads()", stdin=False)

    assert notebook.value("[status, busy]") == ["finished", []]
    assert every_row_once(notebook) == 200


# -- interrupts -----------------------------------------------------------------------------------------------------

SLOW = """
@lab.batch
def slow(batch, state):
    state["n"] = state.get("n", 0) + len(batch)
    begun.set()
    end = time.monotonic() + nap
    while time.monotonic() < end:
        time.sleep(0.01)
    return batch
"""


def interrupted(notebook, nap: float, code: str = "lab.run()", *, twice: bool = False):
    """Run a slow lab, press stop while its first batch is in hand, and return what the cell left."""
    notebook.run("lab = mblab.Lab(rows(30), interval='50ms'); begun = threading.Event()", "lab")
    notebook.run(f"nap = {nap}\n" + SLOW, "step")
    notebook.run("""
        import pathlib
        flag = pathlib.Path("begun")
        flag.unlink(missing_ok=True)
        threading.Thread(target=lambda: (begun.wait(30), flag.touch()), daemon=True).start()
        where = str(flag.absolute())
    """)
    begun = notebook.value("where")
    sent = notebook.send(code)
    wait_for_file(begun)
    notebook.interrupt()
    if twice:
        time.sleep(0.3)
        notebook.interrupt()
    return notebook.finish(sent)


def wait_for_file(path: str) -> None:
    from pathlib import Path

    deadline = time.monotonic() + 60
    while not Path(path).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("code", ["lab.run()", "import asyncio; await asyncio.sleep(0); lab.run()"])
def test_an_interrupt_finishes_the_batch_in_hand(notebook, code):
    """Ctrl-C in a blocking run is KeyboardInterrupt with the whole run in `lab.last_run`, and the kernel lives on."""
    outcome = interrupted(notebook, 0.4, code)
    notebook.run("run = lab.last_run")

    assert outcome.error == "KeyboardInterrupt"
    assert notebook.value("run.status") == "stopped"
    assert notebook.value("run.batches.status.tolist()") == ["ok"]
    assert every_row_once(notebook) == 50 == notebook.value("run.state['slow']['n']")


def test_a_second_interrupt_aborts_the_batch(notebook):
    """Whoever presses stop twice does not wait; the batch in hand leaves no trace, not even in the state."""
    outcome = interrupted(notebook, 3600, twice=True)
    notebook.run("run = lab.last_run")

    assert outcome.error == "KeyboardInterrupt"
    assert notebook.value("run.status") == "stopped"
    assert notebook.value("[len(run.output), run.state['slow']]") == [0, {}]
    assert notebook.value("1 + 1") == 2


# -- looking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_ids", [True], ids=[""], indirect=True)
def test_a_run_and_a_lab_without_a_person_show_a_chart(notebook):
    """The last line of a cell gives a chart that renders offline, a picture of it, and text; a lab a table before it."""
    notebook.run("lab = mblab.Lab(rows(1), interval='100ms')", "lab")
    notebook.run(KEEP, "step")
    notebook.run("run = lab.run(clock='virtual')")
    of_run = notebook.run("run").shown
    table, of_lab = notebook.run("lab", stdin=False).shown

    assert "latency_p95_s" in table["text/html"]
    for bundle in (of_lab, *of_run):
        assert set(bundle) == {"application/vnd.vegalite.v5+json", "image/png", "text/plain"}
        assert bundle["application/vnd.vegalite.v5+json"]["$schema"].endswith("/vega-lite/v5.json")
    assert of_run[0]["text/plain"].startswith("Run(lab ")


@pytest.mark.parametrize("name", ["lab", "run", "mblab"])
def test_tab_offers_the_public_names_and_nothing_else(notebook, name):
    """What a person sees after a dot and Tab is what the thing is for."""
    notebook.run(
        """
lab = mblab.Lab(rows(60), interval='10s')
lab.batch(len)
run = lab.run(clock='virtual', cost=0.01)
"""
    )
    reply = notebook.client.complete(f"{name}.", len(name) + 1, reply=True, timeout=60)
    offered = {text.rpartition(".")[2] for text in reply["content"]["matches"]}

    assert offered == set(notebook.value(f"[n for n in dir({name}) if not n.startswith('_')]"))

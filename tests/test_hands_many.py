"""Hands on many labs, and many times on one: what a process had before, it has afterwards; and Ctrl-C at any moment."""

from __future__ import annotations

import random

import pytest

from .test_hands_faults import script

MANY = """
import gc, os, threading, time
import numpy as np, pandas as pd
from mblab.testing import rows_at

def has():
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return threading.active_count(), len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE") / 2**20

def until(claim, seconds=60):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)

def work(batch, state):
    state["rows"] = state.get("rows", 0) + len(batch)
    return batch

def lab_of(name, interval="100ms"):
    lab = mblab.Lab(mblab.simulate(lambda n, rng, t: pd.DataFrame({"x": t}), arrivals=mblab.arrivals.constant(50)),
                    interval=interval, name=name)
    lab.batch(work)
    return lab
"""

AT_ONCE = (
    MANY
    + """
def once(count):
    labs = [lab_of(f"lab{i}", "1s") for i in range(count)]
    runs = [lab.start() for lab in labs]
    until(lambda: all(len(run.batches_after(0)["batch_id"]) >= 2 for run in runs))
    for lab in labs:
        lab.pause()
    for lab in labs:
        lab.resume()
    for lab in labs:
        lab.stop()
    assert all(run.status == "stopped" for run in runs), {run.status for run in runs}

count = int(sys.argv[1])
once(count)
before = has()
once(count)
after = has()
print(after[0] - before[0], after[1] - before[1], after[2] - before[2])
"""
)

IN_A_ROW = (
    MANY
    + """
import tempfile
folder = tempfile.mkdtemp()

def one(lab, turn):
    kind = turn % 4
    if kind == 0:
        assert lab.run("300ms", clock="virtual", cost=0).status == "finished"
    elif kind == 1:
        run = lab.start()
        until(lambda: len(run.batches_after(-1)["batch_id"]))
        lab.stop()
        assert run.status == "stopped"
    elif kind == 2:
        lab.step(2)
        lab.reset()
    else:
        lab.batch(lambda batch: 1 / 0, name="work")
        try:
            lab.run("300ms", clock="virtual", cost=0)
        except mblab.BatchError:
            lab.batch(work)
            lab.resume()
        assert lab.last_run.status == "finished"

lab = lab_of("one")
lab.to(mblab.sinks.csv(folder + "/rows.csv"))
count = int(sys.argv[1])
for turn in range(24):  # as many runs as a lab keeps
    one(lab, turn)
before = has()
for turn in range(count):
    one(lab, turn)
after = has()
print(after[0] - before[0], after[1] - before[1], after[2] - before[2])
"""
)


def assert_nothing_is_left(said: str) -> None:
    threads, descriptors, mib = said.split()

    assert (int(threads), int(descriptors)) == (0, 0)
    assert float(mib) <= 20


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_many_labs_at_once_leave_nothing_behind(count):
    """Threads and open files are what they were, memory within 20 MiB."""
    assert_nothing_is_left(script(AT_ONCE, str(count), hang_s=240))


@pytest.mark.parametrize("count", [12, pytest.param(300, marks=pytest.mark.slow)])
def test_many_runs_of_one_lab_leave_nothing_behind(count):
    """Finished, stopped, stepped, halted and mended: the same."""
    assert_nothing_is_left(script(IN_A_ROW, str(count), hang_s=240))


# -- Ctrl-C in a real kernel ----------------------------------------------------------------------------------------

SET_UP = """
import signal, sys, os, tempfile
import pandas as pd
os.chdir(tempfile.mkdtemp())
usual = signal.getsignal(signal.SIGINT), sys.getswitchinterval()

def made(work_s=0.004):
    global lab, got
    got = []
    lab = mblab.Lab(rows(60, 200), interval="20ms", name="hands")
    @lab.batch
    def work(batch, state):
        time.sleep(work_s)
        got.extend(batch["row"])
        state["n"] = state.get("n", 0) + len(batch)
        return batch
    lab.to(mblab.sinks.csv("rows.csv"))

def sound():
    'What is not as it should be.'
    wrong, run = [], lab.last_run
    lab.stop()
    until(lambda: not threads())
    if (signal.getsignal(signal.SIGINT), sys.getswitchinterval()) != usual:
        wrong.append("the handler or the switch interval")
    if run is not None:
        out = run.output["row"].tolist() if len(run.output) else []
        if run.status not in ("stopped", "finished"):
            wrong.append(f"status {run.status}")
        if out != list(range(len(out))):
            wrong.append("rows out of order, lost or doubled")
        if os.path.exists("rows.csv") and len(out):
            file = pd.read_csv("rows.csv")["row"].tolist()
            if file != out:
                wrong.append(f"the file holds {len(file)} rows, the output {len(out)}")
        if int(run.batches.num_input_rows.sum()) != len(out) and run.batches.status.iloc[-1] != "failed":
            wrong.append("records and output differ")
    lab.change(interval="20ms", policy="asap")
    again = lab.run("100ms", clock="virtual", cost=0)
    if again.status != "finished" or len(again.output) != 20:
        wrong.append(f"the next run: {again.status}, {len(again.output)} rows")
    return wrong
made()
"""

VERBS = {
    "run": "lab.run('1500ms')",
    "virtual run": "lab.run('3s', clock='virtual')",
    "step": "lab.step(60)",
    "wait": "lab.start('1500ms').wait()",
    "sweep": "lab.sweep(['20ms', '50ms'], '700ms')",
    "tune": "lab.tune(p95='400ms', budget='1s')",
    "calibrate": "lab.calibrate('1s', intervals=('20ms', '100ms'))",
    "check": "lab.check()",
    "spectrum": "lab.spectrum(budget='1s')",
    "autotune": "lab.autotune('1500ms', p95='400ms', budget='300ms').wait()",
    "record": "mblab.record(mblab.poll(lambda: pd.DataFrame({'x': [1]}), every='20ms'), 'kept.parquet', '1500ms')",
}


def interrupted(notebook, verb: str, after_s: float) -> str:
    """What was wrong after Ctrl-C so long after a verb began; empty when all was sound."""
    import time

    notebook.run("made()")
    sent = notebook.send(VERBS[verb])
    time.sleep(after_s)
    notebook.interrupt()
    outcome = notebook.finish(sent)
    if outcome.error not in ("", "KeyboardInterrupt"):
        return f"{outcome.error}: {outcome.trace[-300:]}"
    time.sleep(0.05)  # one that came when the cell had ended is the kernel's own affair
    wrong = notebook.fail("wrong = sound()")
    if wrong.error:
        return f"afterwards {wrong.error}: {wrong.trace[-1500:]}"
    return "; ".join(notebook.value("wrong"))


@pytest.mark.kernel
@pytest.mark.parametrize("with_ids", [True], indirect=True, ids=["ids"])
@pytest.mark.parametrize("count", [5, pytest.param(121, marks=pytest.mark.slow)])
def test_ctrl_c_at_any_moment_leaves_a_lab_that_is_sound(notebook, count, with_ids):
    """In every verb that blocks: KeyboardInterrupt or the verb's end, all rows in their place, and the next run goes."""
    draw, verbs = random.Random(11 if count == 5 else None), list(VERBS)
    notebook.run(SET_UP)
    found = {}
    for turn in range(count):
        verb, after_s = verbs[(turn * 3 if count == 5 else turn) % len(verbs)], draw.uniform(0.0, 1.2)
        if wrong := interrupted(notebook, verb, after_s):
            found[f"{verb} after {after_s:.3f} s"] = wrong

    assert found == {}

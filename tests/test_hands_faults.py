"""Any verb, at any moment, from any thread: the faults that were found, each with the right outcome.

Whoever may hang runs in a process of its own, or in a thread that is given up on: a hang fails, it does not hang.
"""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import Lab, SettingError
from mblab.arrivals import constant
from mblab.testing import rows_at
from mblab.timing.durations import duration_ns

HANG_S = 60.0  # a script takes one or two seconds; a busy machine many


def script(text: str, *arguments: str, hang_s: float = HANG_S) -> str:
    """Run a program in a process of its own, and return what it printed; a hang fails with all its stacks."""
    head = f"import faulthandler, mblab, sys; faulthandler.dump_traceback_later({hang_s}, exit=True)\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(text), *arguments],
        capture_output=True, text=True, timeout=hang_s + 20, env={k: v for k, v in os.environ.items() if k != "MBLAB_UI"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


def within(seconds, call, *arguments, **named):
    """Return what a call returns, or raise what it raises; fail when it takes longer, and leave it behind."""
    found = {}

    def body():
        try:
            found["value"] = call(*arguments, **named)
        except BaseException as error:
            found["error"] = error

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"{getattr(call, '__name__', call)} did not return within {seconds} s"
    if "error" in found:
        raise found["error"]
    return found["value"]


def until(claim, seconds=10.0):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def stream(rate, length=None):
    """A simulated source of one column x, the arrival in seconds."""
    return mblab.simulate(lambda n, rng, t: pd.DataFrame({"x": t}), arrivals=constant(rate), duration=length)


@pytest.fixture
def labs():
    """Makes labs of their own names, and stops them afterwards, if they let themselves be stopped."""
    made = []

    def make(source, **knobs):
        made.append(Lab(source, name=f"hands{len(made)}", **knobs))
        return made[-1]

    yield make
    for lab in made:
        threading.Thread(target=lab.stop, daemon=True).start()
    time.sleep(0.02)


# -- A01: workers forked inside a step ------------------------------------------------------------------------------

FORKED = """
import mblab, multiprocessing as mp, sys, time
from mblab.testing import rows_at

def work(batch):
    p = mp.get_context("fork").Process(target=time.sleep, args=(60,))
    p.start()
    time.sleep(0.2)
    p.terminate()
    p.join(5)
    code = p.exitcode
    p.kill()
    p.join()
    return {"exit": str(code)}

lab = mblab.Lab(rows_at([0.01]), interval="50ms")
lab.batch(work)
if sys.argv[1] == "run":
    run = lab.run(clock="virtual")
else:
    run = lab.start()
    run.wait()
print(run.output.exit.tolist())
"""


@pytest.mark.parametrize("verb", ["run", "start"])
def test_a_worker_forked_inside_a_step_can_be_terminated(verb):
    """A01: the run's own handlers are not its children's."""
    assert script(FORKED, verb) == "['-15']"


POOL = """
import mblab, multiprocessing as mp
from mblab.testing import rows_at

def work(batch):
    with mp.get_context("fork").Pool(2) as pool:
        return {"sum": sum(pool.map(abs, range(8)))}

lab = mblab.Lab(rows_at([i * 0.01 for i in range(20)]), interval="10ms")
lab.batch(work)
print(lab.run(clock="virtual", cost=0).output["sum"].tolist() == [28] * 20)
"""


@pytest.mark.slow
def test_a_pool_of_forked_workers_in_a_step_ends():
    """A01: twenty batches with a pool of their own each."""
    assert script(POOL) == "True"


# -- A02, A09: verbs from the run's own thread ----------------------------------------------------------------------

OWN_THREAD = """
import json, mblab, os, sys, tempfile, threading, time
from mblab.testing import rows_at

def outcome(verb, place):
    lab = mblab.Lab(rows_at([i * 0.01 for i in range(30)]), interval="20ms", name=verb)
    path = os.path.join(tempfile.mkdtemp(), "o.csv")
    lab.to(mblab.sinks.csv(path))
    said = []

    def call():
        if said:
            return
        said.append("")
        try:
            {
                "start": lambda: lab.start("1s"),
                "run": lambda: lab.run("1s"),
                "step": lab.step,
                "wait": lambda: run.wait(),
                "reset": lab.reset,
                "sweep": lambda: lab.sweep(["20ms"], "50ms", clock="virtual", cost=0),
                "tune": lambda: lab.tune(budget="50ms"),
                "verify": lambda: advice.verify("50ms"),
            }[verb]()
            said[0] = "done"
        except mblab.SettingError as error:
            said[0] = "refused" if verb in str(error) else str(error)

    def work(batch, state, ctx):
        if place == "step" and ctx.batch_id >= 2 and trying:
            call()
        return batch

    trying = []
    lab.batch(work)
    if verb == "verify":
        advice = lab.tune(budget="100ms", intervals=("10ms", "50ms"))
    trying.append(1)
    if place == "on_batch":
        lab.on_batch(lambda row: row["batch_id"] == 2 and call())
    run = lab.start()
    ended = run.wait(2)
    status = run.status
    thread = threading.Thread(target=lab.stop, daemon=True)
    thread.start()
    thread.join(0.5)
    if thread.is_alive() or not said or not said[0]:
        return "hangs"
    if not ended or status != "finished":
        return f"{said[0]}, and the run is {status}"
    written = len(open(path).readlines()) - 1
    return said[0] if written == len(run.output) == 30 else f"{said[0]}, and {written} rows stand in the file"

print(json.dumps({verb: outcome(verb, sys.argv[1]) for verb in sys.argv[2:]}))
sys.stdout.flush()
os._exit(0)
"""
WAITING_VERBS = ["start", "run", "step", "wait", "reset", "sweep", "tune", "verify"]


@pytest.mark.parametrize("place", ["step", "on_batch"])
def test_verbs_that_would_wait_for_the_run_are_refused_in_its_own_thread(place):
    """A02, A09: a sentence that names the verb; the run goes on, its file is whole, and stop() returns."""
    found = json.loads(script(OWN_THREAD, place, *WAITING_VERBS))

    assert found == dict.fromkeys(WAITING_VERBS, "refused")


@pytest.mark.parametrize("place", ["step", "on_batch"])
@pytest.mark.parametrize("verb", ["stop", "pause", "interval"])
def test_verbs_that_wait_for_nothing_are_taken_at_the_next_boundary(labs, verb, place):
    """A02's siblings: from a step or on_batch, stop, pause and setters are queued."""
    lab, done = labs(rows_at(np.arange(20_000) / 1000), interval="10ms"), []
    verbs = {"stop": lab.stop, "pause": lab.pause, "interval": lambda: setattr(lab, "interval", "30ms")}

    @lab.batch
    def work(batch, state, ctx):
        if place == "step" and not done and ctx.batch_id >= 2:
            done.append(ctx.batch_id)
            verbs[verb]()
        return len(batch)

    if place == "on_batch":
        lab.on_batch(lambda row: row["batch_id"] == 2 and verbs[verb]())
    run = lab.start()
    ends = {"stop": lambda: run.status == "stopped", "pause": lambda: run.status == "paused"}
    until(ends.get(verb, lambda: len(run.batches) > 5))
    batches = run.batches

    assert (verb == "interval") == (batches.interval_s.iloc[-1] == 0.03)
    assert verb == "interval" or len(batches) == 1 + (done or [2])[0]
    within(10, lab.stop)


def test_a_pause_inside_a_blocking_run_is_refused():
    """From its own thread, nobody could press resume: a SettingError, and the run goes on."""
    text = """
    import mblab
    from mblab.testing import rows_at
    lab = mblab.Lab(rows_at([i * 0.01 for i in range(20)]), interval="20ms")
    said = []
    @lab.batch
    def work(batch, state, ctx):
        if not said:
            said.append(None)
            try:
                lab.pause()
            except mblab.SettingError as error:
                said[0] = str(error)
        return len(batch)
    run = lab.run(clock="virtual", cost=0)
    print(run.status, said[0] is not None)
    """

    assert script(text, hang_s=15) == "finished True"


# -- A03: two starts at once ----------------------------------------------------------------------------------------


def slow_to_open(n, rng, times):
    time.sleep(0.2)
    return pd.DataFrame({"x": times})


def test_two_starts_at_once_leave_one_run(labs):
    """A03: a button and a cell; the later one ends the earlier one's run, and stop() leaves none."""
    lab, calls = labs(mblab.simulate(slow_to_open, arrivals=constant(500)), interval="20ms"), []
    lab.batch(lambda batch: calls.append(1) or len(batch))
    starters = [threading.Thread(target=lab.start, daemon=True) for _ in range(2)]
    for thread in starters:
        thread.start()
    for thread in starters:
        thread.join(20)
    assert not any(thread.is_alive() for thread in starters)
    within(20, lab.stop)
    statuses = [run.status for run in lab.runs]
    seen = len(calls)
    time.sleep(0.3)

    assert len(calls) == seen
    assert statuses == ["stopped", "stopped"]


# -- A05, A06: what is noted is what ran ----------------------------------------------------------------------------


def test_a_knob_moved_while_step_moves_on_acts_before_the_jump(labs):
    """A05a: `run.controls` says 0.507 s, so the batch after it is the first of the new grid."""
    blocks = []

    def rows(n, rng, times):  # the second block is made while step() moves to 1.0 s
        blocks.append(1)
        if len(blocks) == 2:
            lab.interval = "100ms"
        return pd.DataFrame({"x": times})

    lab = labs(mblab.simulate(rows, arrivals=constant(8000)), interval="500ms")
    lab.batch(len, name="rows")
    stepped = within(30, lab.step, 4)
    controls = lab.last_run.controls
    again = labs(stream(8000), interval="500ms")
    again.batch(len, name="rows")
    virtual = again.run("2s", clock="virtual", cost=0, controls=controls)

    assert stepped.start_s.tolist() == [0.5, 0.6, 0.7, 0.8]
    assert virtual.batches.start_s.tolist()[:4] == stepped.start_s.tolist()


class HeldUp:
    """A wall clock on which one thread, once it has read the time, is held up until the next batch has begun."""

    virtual = False

    def __init__(self, who, begun):
        self._who, self._begun, self._origin, self._frozen = who, begun, time.perf_counter_ns(), 0

    def start(self):
        self._origin, self._frozen = time.perf_counter_ns(), None

    def now_ns(self):
        now = time.perf_counter_ns() - self._origin if self._frozen is None else self._frozen
        if threading.get_ident() == self._who:
            self._begun.wait(0.8)  # where reading and noting are one act, it cannot begin meanwhile
        return now

    def wait_until(self, deadline_ns, wake, *, spin=False):
        while (left := deadline_ns + self._origin - time.perf_counter_ns()) > 0:
            if wake.wait(left / 1e9):
                return False
        return not wake.is_set()

    def freeze(self):
        self._frozen = time.perf_counter_ns() - self._origin if self._frozen is None else self._frozen

    def thaw(self):
        if self._frozen is not None:
            self._origin, self._frozen = time.perf_counter_ns() - self._frozen, None

    def jump(self, to_ns):
        self._origin -= max(0, to_ns - (time.perf_counter_ns() - self._origin))


def test_the_time_of_a_change_is_read_and_noted_in_one_act(labs):
    """A05b: a thread that is held up between the two notes no time that lies before a batch that ran without it."""
    lab, begun = labs(stream(500), interval="500ms"), threading.Event()
    lab.batch(lambda batch: begun.set() or len(batch), name="rows")
    run = lab.start(clock=HeldUp(threading.get_ident(), begun))
    until(lambda: len(run.batches) == 2)
    begun.clear()
    lab.interval = "200ms"
    until(lambda: len(run.batches) >= 7)
    lab.stop()
    controls, due = run.controls, run.batches.due_s.tolist()
    again = labs(stream(500), interval="500ms")
    again.batch(len, name="rows")
    virtual = again.run("8s", clock="virtual", cost=0, controls=controls)

    assert len(controls) == 1
    assert (
        virtual.batches.due_s.tolist()[:4] == due[:4]
    )  # the batch that was kept waiting is late, and so are those after


def test_a_declared_cost_is_deterministic_when_on_batch_moves_a_knob(labs):
    """A06: now in on_batch is the end of the batch, however long the function takes."""

    def go(nap):
        lab = labs(rows_at([i * 0.001 for i in range(100)]), interval="5ms")
        lab.batch(len, name="rows")
        lab.on_batch(lambda row: (time.sleep(nap), row["batch_id"] == 2 and lab.change(interval="20ms")))
        run = lab.run(clock="virtual", cost=0.001)
        return run.batches.start_s.tolist(), run.controls

    quick, slow = go(0), go(0.01)

    assert quick[1] == {"16ms": {"interval": "20ms"}}
    assert quick[0][:5] == [0.005, 0.01, 0.015, 0.035, 0.055]
    assert slow == quick


def test_a_declared_cost_is_deterministic_when_a_step_moves_a_knob(labs):
    """A06's sibling: now in a step is the start of its batch."""

    def go(nap):
        lab = labs(rows_at([i * 0.001 for i in range(100)]), interval="5ms")

        @lab.batch
        def work(batch, state, ctx):
            time.sleep(nap)
            if ctx.batch_id == 2:
                lab.interval = "20ms"
            return len(batch)

        run = lab.run(clock="virtual", cost=0.001)
        return run.batches.start_s.tolist(), run.controls

    quick, slow = go(0), go(0.01)

    assert quick == slow
    assert list(quick[1]) == ["15ms"]


def test_two_changes_at_the_same_moment_are_both_noted(labs):
    """DESIGN 5: the second is noted one ns later, so that `controls=` does them in the same order."""
    lab = labs(rows_at([i * 0.001 for i in range(100)]), interval="5ms")
    lab.batch(len, name="rows")

    def twice(row):
        if row["batch_id"] == 2:
            lab.policy = "skip"
            lab.policy = "queue"

    lab.on_batch(twice)
    run = lab.run(clock="virtual", cost=0.007)
    lab.remove("twice")
    lab.policy = "asap"
    again = lab.run(clock="virtual", cost=0.007, controls=run.controls)
    first, second = map(duration_ns, run.controls)

    assert second - first == 1
    assert again.batches.start_s.tolist() == run.batches.start_s.tolist()
    assert again.batches.policy.tolist() == run.batches.policy.tolist()


def test_a_knob_that_would_break_a_rule_when_a_scripted_change_comes_is_refused(labs):
    """Setters check against what is pending: else the run would do what `run(controls=run.controls)` refuses."""
    lab, said = labs(rows_at(np.arange(100) / 1000), interval="5ms"), []
    lab.batch(len, name="rows")

    def cap(row):
        if row["batch_id"] in (2, 12):  # before the scripted change and after it
            with pytest.raises(SettingError, match="queue") as caught:
                lab.max_rows_per_batch = 5
            said.append(caught.value)

    lab.on_batch(cap)
    run = lab.run(clock="virtual", cost=0, controls={"40ms": {"policy": "queue"}})

    assert len(said) == 2
    assert run.controls == {"40ms": {"policy": "queue"}}
    assert lab.max_rows_per_batch is None


def test_what_is_moved_while_the_source_is_being_opened_acts_from_the_start(labs):
    """A knob and a step of another thread, between `start()` and t = 0, are neither late nor lost."""
    opening, go = threading.Event(), threading.Event()

    def rows(n, rng, times):
        opening.set()
        go.wait(20)
        return pd.DataFrame({"x": times})

    lab = labs(mblab.simulate(rows, arrivals=constant(100), duration="1s"), interval="500ms")
    lab.batch(lambda batch: {"v": 1}, name="rows")
    starter = threading.Thread(target=lambda: lab.start(clock="virtual", cost=0), daemon=True)
    starter.start()
    assert opening.wait(20)
    lab.interval = "100ms"
    lab.batch(lambda batch: {"v": 2}, name="rows")
    go.set()
    starter.join(20)
    run = lab.last_run
    run.wait(20)

    assert run.batches.start_s.tolist()[:3] == [0.1, 0.2, 0.3]
    assert set(run.output.v) == {2}


class Stubborn:
    """A sink that takes no batch back, or refuses all of them."""

    effects = False
    guarantee = "at least once"

    def __init__(self, target, *, refuses=False, gives_back=True):
        self.target, self.refuses, self.gives_back, self.rows = target, refuses, gives_back, 0

    def open(self, run_id): ...
    def close(self): ...
    def last(self): ...

    def describe(self):
        return self.target

    def savepoint(self):
        return {"rows": self.rows}

    def rollback(self, savepoint):
        if not self.gives_back:
            raise OSError("no way back")
        self.rows = savepoint["rows"]

    def deliver(self, rows, delivery):
        if self.refuses:
            raise OSError("not now")
        self.rows += len(rows)


def test_a_sink_that_does_not_give_a_batch_back_halts_the_run_and_is_noted(labs):
    """Also then the other sinks give it back, and the try stands in `run.attempts`."""
    lab = labs(rows_at([0.5, 1.5]), interval="1s")
    lab.map(lambda batch: batch, name="same")
    sinks = [Stubborn("first", gives_back=False), Stubborn("second"), Stubborn("third", refuses=True)]
    for sink in sinks:
        lab.to(sink)
    with pytest.raises(mblab.SinkError, match="third refused batch 0: OSError: not now") as caught:
        lab.run(clock="virtual", cost=0)
    run = lab.last_run

    assert run.status == "halted"
    assert [sink.rows for sink in sinks] == [1, 0, 0]
    assert caught.value.__notes__ == ["and first does not give back batch 0: OSError: no way back"]
    assert run.attempts[["batch_id", "attempt"]].to_numpy().tolist() == [[0, 1]]
    assert "not now; and first does not give back batch 0: OSError: no way back" in run.attempts.error[0]


# -- A07: Ctrl-C in step(n) -----------------------------------------------------------------------------------------

CTRL_C_IN_STEP = """
import mblab, os, pandas as pd, signal, sys, threading, time
lab = mblab.Lab(mblab.simulate(lambda n, rng, t: pd.DataFrame({"x": t}), arrivals=mblab.arrivals.constant(100)),
                interval="20ms")
lab.batch(lambda b: time.sleep(0.05) or len(b))
stepping = threading.Event()
lab.on_batch(lambda row: row["batch_id"] >= 3 and stepping.set())
def press():
    stepping.wait(30)
    if sys.argv[1] == "ctrl-c":
        os.kill(os.getpid(), signal.SIGINT)
    else:
        lab.pause()
threading.Thread(target=press, daemon=True).start()
raised = False
try:
    lab.step(60)
except KeyboardInterrupt:
    raised = True
time.sleep(0.15)
seen = len(lab.last_run.batches)
time.sleep(0.6)
print(raised, seen < 20, len(lab.last_run.batches) - seen, lab.last_run.status)
sys.stdout.flush()
os._exit(0)
"""


def test_ctrl_c_in_step_ends_the_stepping():
    """A07: the batch in hand is finished, then it stands, and KeyboardInterrupt is raised."""
    assert script(CTRL_C_IN_STEP, "ctrl-c") == "True True 0 paused"


def test_a_pause_ends_the_stepping_of_another_thread():
    """A07: `step(n)` returns after the batch in hand."""
    assert script(CTRL_C_IN_STEP, "pause") == "False True 0 paused"


# -- a resume that comes while the run is halting -------------------------------------------------------------------


class Hasty(logging.Handler):
    """Resumes from another thread as soon as it is said that the run is halted, before the loop stands."""

    def __init__(self, lab):
        super().__init__(logging.ERROR)
        self.lab, self.waiting = lab, []

    def emit(self, record):
        if "halted" in record.getMessage() and not self.waiting:
            self.waiting.append(threading.Thread(target=self.lab.resume, daemon=True))
            self.waiting[0].start()
            until(lambda: self.lab.last_run.status == "running")


@pytest.mark.parametrize("verb", ["start", "run"])
def test_a_resume_that_comes_while_the_run_is_halting_lets_it_go_on(labs, verb):
    """The clock stands for a halt, and goes on with the run, whichever of the two threads is first."""
    tries = []

    def work(batch):
        tries.append(len(batch))
        if len(tries) == 2:
            raise ValueError("once")
        return batch

    lab = labs(rows_at(np.arange(10) / 100), interval="20ms")
    lab.batch(work)
    hasty, logger = Hasty(lab), logging.getLogger("mblab")
    logger.addHandler(hasty)
    try:
        if verb == "start":
            run = lab.start()
            until(lambda: run.status == "finished", 30)  # wait() returns at the halt
        else:
            within(30, lab.run)
    finally:
        logger.removeHandler(hasty)
    hasty.waiting[0].join(30)

    assert (lab.last_run.status, len(lab.last_run.output), lab.last_run.error) == ("finished", 10, None)


# -- A08: what_if ---------------------------------------------------------------------------------------------------


def run_of(labs, interval, policy, cost, rate=1000, length="60s", **knobs):
    lab = labs(stream(rate, "60s"), interval=interval, policy=policy, **knobs)
    lab.batch(len, name="rows")
    return lab.run(length, clock="virtual", cost=cost)


def spread(n):
    """What n rows take, by a law that is found exactly from batches of several sizes."""
    return 0.1 + 2e-4 * n


@pytest.mark.parametrize(
    ("interval", "policy", "cost", "length", "knobs"),
    [
        pytest.param("100ms", "queue", lambda n: 0.15 + 2e-4 * n, "60s", {}, id="queue, behind"),
        pytest.param("1s", "queue", 0.01, "4.4s", {}, id="queue, rows left over"),
        pytest.param("1s", "asap", 0.01, "4.4s", {}, id="asap, rows left over"),
        pytest.param("300ms", "skip", spread, "20.1s", {}, id="skip"),
        pytest.param("500ms", "asap", spread, "20s", {"max_rows_per_batch": 400}, id="cap"),
    ],
)
def test_what_if_at_the_run_s_own_interval_is_the_run(labs, interval, policy, cost, length, knobs):
    """A08 a–c: load, latency, throughput, backlog and regime, whatever the policy, the cap and the length."""
    run = run_of(labs, interval, policy, cost, length=length, **knobs)
    row, s = run.what_if(interval).table.iloc[0], run.summary()
    figures = ["load", "latency_mean_s", "latency_p95_s", "throughput", "backlog_rows"]

    assert row[figures].tolist() == pytest.approx(s[figures].tolist(), rel=1e-6)
    assert row.regime == s.regime


@pytest.mark.parametrize(
    ("interval", "cost", "rate"),
    [("1s", spread, 1000), ("333ms", lambda n: 0.010 if n == 333 else 0.011, 1001)],
    ids=["one size", "two sizes"],
)
def test_what_if_of_batches_of_one_or_two_sizes_gives_a_band_or_refuses(labs, interval, cost, rate):
    """A08d: what a batch of another size costs is not known; a number without a band says it is."""
    run = run_of(labs, interval, "asap", cost, rate=rate)
    truth = mblab.predict(constant(rate), ["150ms", "10s"], cost=cost).table.load.tolist()
    try:
        table = run.what_if(["150ms", "10s"]).table
    except SettingError as error:  # refused, with the way on
        said = str(error)
        assert "tune" in said  # noqa: PT017
        return

    assert (table.load_lo <= truth).all()
    assert (table.load_hi >= truth).all()


# -- A10: a dropped lab ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["plain", "autotune", "shadow", "on_batch"])
def test_a_dropped_lab_s_thread_ends_whatever_watches_it(then):
    """A10: whoever watches a run keeps neither it nor its lab alive."""
    calls = []

    def make():
        lab = Lab(stream(200), interval="20ms", name=f"dropped {then}")
        lab.batch(lambda batch: calls.append(1) or len(batch), name="rows")
        if then == "on_batch":
            lab.on_batch(lambda row: lab.interval)
        if then == "autotune":
            lab.autotune(p95="80ms", budget="0.1s")
        else:
            lab.start()
        if then == "shadow":
            lab.shadow(lambda batch: len(batch) + 1)
        until(lambda: calls)

    make()
    for _ in range(5):  # a function that is being called just then is held until it returns
        gc.collect()
        time.sleep(0.06)
    seen = len(calls)
    time.sleep(0.4)
    more = len(calls) - seen
    for left in [each for each in gc.get_objects() if isinstance(each, Lab) and each.name == f"dropped {then}"]:
        left.stop()

    assert more == 0


# -- A11, A13: what is noted is what ran ----------------------------------------------------------------------------


def test_a_batch_is_noted_with_the_version_that_ran(labs):
    """A11: a cell that is run again while a batch is in hand."""
    lab = labs(rows_at([0.01, 0.06, 0.11]), interval="50ms")
    entered, go = threading.Event(), threading.Event()

    @lab.batch
    def f(batch):
        entered.set()
        go.wait(20)
        return {"v": 1}

    run = lab.start()
    assert entered.wait(20)

    @lab.batch
    def f(batch):  # noqa: F811
        return {"v": 2}

    go.set()
    assert run.wait(20)

    assert run.output.v.tolist()[0] == 1
    assert set(run.output.v) == {1, 2}
    assert run.batches.version.tolist() == run.output.v.tolist()


def test_records_have_a_limit_of_their_own(labs):
    """A13: `batches_limit=` is about batches; the last million records stay."""
    lab = labs(rows_at([i * 0.1 for i in range(20_000)]), interval="1s", batches_limit=300)
    lab.batch(len, name="rows")
    run = lab.run(clock="virtual", cost=0)

    assert len(run.batches) == 300
    assert len(run.records) == run.summary().rows == 20_000


# -- A15, A16: messages ---------------------------------------------------------------------------------------------


CONFIG, SERIES, FRAME = {"a": 1}, pd.Series({"a": 1}), pd.DataFrame({"a": [1]})


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda b: {"n": len(b) * CONFIG["factor"]}, "failed on batch 0 at line {line}: KeyError: 'factor'"),
        (lambda b: {"n": len(b) * SERIES["factor"]}, "failed on batch 0 at line {line}: KeyError: 'factor'"),
        (lambda b: b["row"].map(lambda row: CONFIG["factor"]), "failed on batch 0 at line {line}: KeyError: 'factor'"),
        (lambda b: b.set_index("row").loc["factor"], "failed on batch 0 at line {line}: KeyError: 'factor'"),
        (lambda b: b["factor"], "reads column 'factor' at line {line}, but batch 0 holds ['row']."),
        (lambda b: b.apply(lambda row: row["factor"], axis=1), "at line {line}, but batch 0 holds ['row']."),
        (lambda b: b.merge(FRAME, on="factor"), "at line {line}, but batch 0 holds ['row']."),
        (lambda b: b.sort_values("factor"), "at line {line}, but batch 0 holds ['row']."),
        (
            lambda b: b.assign(n=1)["row_"],
            "at line {line}, but the frame there holds ['row', 'n']: did you mean 'row'?",
        ),
        (lambda b: b.loc[:, "factor"], "reads column 'factor' at line {line}, but batch 0 holds ['row']."),
        (lambda b: FRAME["factor"], "reads column 'factor' at line {line}, but the frame there holds ['a']."),
    ],
    ids=["dict", "series", "map", "label", "column", "row", "merge", "sort", "derived", "loc", "other frame"],
)
def test_a_key_error_is_taken_for_a_missing_column_only_where_a_frame_was_asked(labs, work, said):
    """A15: and what is listed is what that frame holds."""
    lab = labs(rows_at([0.5]))
    lab.batch(work, name="f")

    with pytest.raises(mblab.BatchError) as caught:
        lab.run(clock="virtual", cost=0)

    assert caught.value.line is not None
    assert said.format(line=caught.value.line) in str(caught.value)


def pair(seconds):
    return mblab.simulate(lambda n, rng, t: {"x": t}, arrivals=mblab.arrivals.trace([0, seconds]))


@pytest.mark.parametrize(
    ("source", "interval", "cost"),
    [
        (lambda: pair(9.3e9), "9000d", 0),
        (lambda: pair(9.22e9), "9000d", 0),  # within them, but not the batch that takes it
        (lambda: rows_at([0, 9.3e9]), "9000d", 0),
        (lambda: mblab.replay(pd.DataFrame({"x": range(3)}), rate=2e-10), "9000d", 0),
        (lambda: rows_at([0, 4.6e9]), "9000d", 4.5e9),
    ],
    ids=["simulated", "batch", "rows_at", "rate", "cost"],
)
def test_what_is_beyond_292_years_is_refused_in_a_sentence(labs, source, interval, cost):
    """A16: as a speed-up says it; rows that come before are delivered."""
    lab = labs(source(), interval=interval)
    with pytest.raises(SettingError, match="292 years"):
        lab.run(clock="virtual", cost=cost)

    assert len(lab.last_run.output) < 3
    assert lab.last_run.status == "halted"


def test_rows_that_no_clock_reaches_do_not_keep_a_shorter_run_from_its_end(labs):
    """A16: nobody asked for them."""
    run = labs(pair(9.3e9), interval="1d").run("10d", clock="virtual", cost=0)

    assert (run.status, len(run.output), run.summary().backlog_rows) == ("finished", 1, 0)


@pytest.mark.parametrize(
    "cost",
    [
        pytest.param(lambda n: 1 / 0, id="raises"),
        pytest.param(lambda n: 1e300, id="overflows"),
        pytest.param(lambda n: {}["n"], id="KeyError"),
    ],
)
def test_a_cost_function_that_raises_or_overflows_is_named(labs, cost):
    """Point 6 of the issue: a SettingError that says cost."""
    lab = labs(rows_at([0.5]))
    lab.batch(len, name="rows")

    with pytest.raises(SettingError, match=r"cost\(1\)"):
        within(20, lab.run, clock="virtual", cost=cost)
    with pytest.raises(SettingError, match=r"cost\(\d+\)"):
        mblab.predict(constant(100), ["1s"], cost=cost)


# -- point 2: a run of another process ------------------------------------------------------------------------------


def _look(lab, run, answers):
    answers.put((run.status, run.wait(1)))
    lab.stop()
    answers.put("stopped")


def test_in_a_forked_child_the_parent_s_run_counts_as_ended(labs):
    """DESIGN 5: wait and stop return there, and the parent's run goes on."""
    lab = labs(stream(500), interval="20ms")
    lab.batch(len, name="rows")
    run = lab.start()
    until(lambda: len(run.batches) > 2)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_look, args=(lab, run, answers), daemon=True)
    child.start()
    child.join(5)
    hung = child.is_alive()
    child.kill()
    seen = len(run.batches)
    until(lambda: len(run.batches) > seen)
    lab.stop()

    assert not hung
    assert answers.get(timeout=5) == ("stopped", True)

"""What no test saw: each sentence here was once broken in a copy, and every other test stayed green."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import mblab
from mblab import BatchError, Lab, SettingError, SinkError, arrivals
from mblab.sinks import Delivery, csv, parquet
from mblab.sources.base import Block
from mblab.support import files
from mblab.testing import ListSink, RowsAt, rows_at

# -- a batch that is tried again --------------------------------------------------------------------------------------


def test_a_keyed_step_that_fails_at_its_second_key_forgets_the_first_key_s_try():
    """Counts by key are 1 1 2 2; with the first key's state left as it was they would be 1 1 3 2."""
    lab = Lab(rows_at([0.1, 0.2, 1.1, 1.2], key=list("abab")), interval="1s", name="unseen")
    fails = [True]

    @lab.batch(key="key")
    def count(batch, state, ctx):
        state["n"] = state.get("n", 0) + len(batch)
        if ctx.batch_id == 1 and batch["key"].iloc[0] == "b" and fails:
            fails.clear()
            raise ValueError("at the second key")
        return state["n"]

    with pytest.raises(BatchError):
        lab.run(clock="virtual", cost=0)
    run = lab.resume()

    assert run.output["count"].tolist() == [1, 1, 2, 2]


class Attentive(ListSink):
    """Notes what it is given, refuses batch 1 once, and may not want to be closed."""

    effects = True

    def __init__(self, target="attentive", *, refuses=False, unclosable=False):
        super().__init__()
        self.target, self.refuses, self.unclosable = target, refuses, unclosable
        self.replays, self.closed = [], 0

    def deliver(self, rows, delivery):
        self.replays.append((delivery.batch_id, delivery.replay))
        if self.refuses and delivery.batch_id == 1:
            self.refuses = False
            raise OSError("not now")
        super().deliver(rows, delivery)

    def close(self):
        self.closed += 1
        if self.unclosable:
            raise SinkError("the results could not be made durable")


def same_on(source, **knobs):
    lab = Lab(source, **{"interval": "1s", "name": "unseen", **knobs})
    lab.map(lambda batch: batch, name="same")
    return lab


def test_a_sink_that_refused_a_batch_is_told_that_it_comes_again():
    """`delivery.replay`: what a sink of the user's own decides by whether to look for traces of the first try."""
    lab, sink = same_on(rows_at([0.5, 1.5, 2.5])), Attentive(refuses=True)
    lab.to(sink)
    with pytest.raises(SinkError, match="not now"):
        lab.run(clock="virtual", cost=0)
    lab.resume()

    assert sink.replays == [(0, False), (1, False), (1, True), (2, False)]


def test_a_step_knows_that_it_is_the_second_try():
    """`ctx.attempt` and `ctx.replay`."""
    lab, seen = Lab(rows_at([0.5, 1.5]), interval="1s", name="unseen"), []

    @lab.batch
    def note(batch, state, ctx):
        seen.append((ctx.batch_id, ctx.attempt, ctx.replay))
        if len(seen) == 2:
            raise ValueError("once")

    with pytest.raises(BatchError):
        lab.run(clock="virtual", cost=0)
    lab.resume()

    assert seen == [(0, 1, False), (1, 1, False), (1, 2, True)]


# -- the end of a run -------------------------------------------------------------------------------------------------


def test_a_sink_that_cannot_be_closed_is_the_run_s_error():
    """What was delivered may not be durable, so `run()` does not return as if it were."""
    lab = same_on(rows_at([0.5]))
    lab.to(Attentive(unclosable=True))

    with pytest.raises(SinkError, match="could not be made durable"):
        lab.run(clock="virtual", cost=0)
    assert lab.last_run.status == "finished"


def test_a_sink_that_is_replaced_while_the_run_is_on_is_closed():
    """At the next batch; the new one is closed at the end."""
    lab = same_on(rows_at([0.5, 1.5, 2.5]))
    old, new = Attentive("here"), Attentive("here")
    lab.to(old)
    closed = []
    lab.on_batch(lambda row: (row["batch_id"] == 0 and lab.to(new), closed.append(old.closed)))
    lab.run(clock="virtual", cost=0)

    assert [i for i, _ in old.batches] == [0]
    assert [i for i, _ in new.batches] == [1, 2]
    assert closed == [0, 1, 1]
    assert new.closed == 1


def test_wait_without_a_time_returns_when_the_run_halts():
    """False: it has not ended, and nobody would ever wake a cell that went on waiting."""
    lab = Lab(rows_at([0.01]), interval="20ms", name="unseen")
    lab.batch(lambda batch: 1 / 0, name="broken")
    run, answers = lab.start(), []
    waiter = threading.Thread(target=lambda: answers.append(run.wait()), daemon=True)
    waiter.start()
    waiter.join(20)
    status = run.status
    lab.stop()

    assert answers == [False]
    assert status == "halted"


def test_a_cost_that_is_no_cost_is_refused_before_anything_is_stopped_for_it():
    """The run that is on goes on, and its output stays."""
    lab = same_on(rows_at(np.arange(1000) / 100), interval="20ms")
    run = lab.start()
    with pytest.raises(mblab.SettingError, match=r"cost\(1\)"):
        lab.start(cost=-1)
    on, last = run.status, lab.last_run
    lab.stop()

    assert on == "running"
    assert last is run


def test_a_child_that_is_forked_amid_an_import_can_import_the_same(tmp_path, monkeypatch):
    """A thread's first sweep imports much; a worker forked meanwhile would wait for ever for what nobody goes on with."""
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.3)\nREADY = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    ours = {"__name__": "mblab.lab.lazy"}
    thread = threading.Thread(target=exec, args=("import slow_to_import", ours))
    thread.start()
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        exec("import slow_to_import; ready = slow_to_import.READY", ours)
        os._exit(0 if ours["ready"] else 1)
    thread.join(30)
    assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_switches_threads_as_before_the_run():
    """Only where the run is on do threads hand over faster."""
    usual, lab = sys.getswitchinterval(), same_on(rows_at(np.arange(1000) / 100), interval="20ms")
    lab.start()
    during = sys.getswitchinterval()
    child = os.fork()
    if child == 0:
        os._exit(0 if sys.getswitchinterval() == usual else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lab.stop()

    assert during < usual
    assert code == 0


def test_stopping_a_run_that_nobody_turns_ends_it_and_closes_its_sinks():
    """One that blocked its cell and halted, or whose cell was left while it stood paused."""
    sink = Attentive()
    lab = Lab(rows_at([0.01]), interval="20ms", name="unseen")
    lab.batch(lambda batch: 1 / 0, name="broken")
    lab.to(sink)
    with pytest.raises(mblab.BatchError):
        lab.run(clock="virtual", cost=0)
    run = lab.last_run
    assert (run.status, sink.closed) == ("halted", 0)
    lab.stop()

    assert (run.status, sink.closed) == ("stopped", 1)


def test_resuming_a_run_that_was_started_does_not_block_its_caller():
    """It halted in its own thread, which goes on; only a run that blocked its cell blocks it again."""
    lab = Lab(rows_at(np.arange(200) / 100), interval="20ms", name="unseen")
    lab.batch(lambda batch: 1 / 0, name="step")
    run = lab.start()
    assert not run.wait()
    lab.batch(lambda batch: batch, name="step")
    began = time.perf_counter()
    lab.resume()
    took = time.perf_counter() - began
    status = run.status
    ended = run.wait()

    assert (status, ended) == ("running", True)
    assert took < run.summary().duration_s  # it did not wait for the end


def dawdles(frame, event, argument):
    """Lets a thread take its time between its last act and its end."""
    if event == "return" and frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "threading":
        time.sleep(0.1)


@pytest.mark.parametrize("key", [["a", 1], [None, "a"], [1]], ids=str)
def test_a_key_of_several_columns_has_their_names_only(key):
    """One that is no name makes the whole no key."""
    with pytest.raises(SettingError, match="key must be a column name or a list of them"):
        same_on(rows_at([0.1]), interval="1s").batch(key=key)(lambda batch, state: None)


@pytest.mark.parametrize(
    "fn", [lambda rows, batch: rows, lambda state, batch: batch, lambda ctx: None], ids=["second", "state first", "ctx"]
)
def test_a_step_whose_batch_does_not_come_first_is_refused(fn):
    """It would get another thing by that name."""
    with pytest.raises(mblab.StepError, match="the batch comes first"):
        same_on(rows_at([0.1]), interval="1s").batch(fn)


def test_a_step_that_was_taken_out_is_not_called():
    """By its name, also while a run is on."""
    lab, called = same_on(rows_at([0.1, 1.1]), interval="1s"), []
    lab.batch(lambda batch: called.append(len(batch)), name="last")
    lab.step(1)
    lab.remove("last")
    run = lab.resume()
    run.wait(30)

    assert [step.name for step in lab.steps] == ["same"]
    assert called == [1]


@pytest.mark.parametrize(
    "value", ["x" * 100_000, b"x" * 100_000, ["x" * 50_000] * 2, {"a": {"b": "x" * 100_000}}], ids=type
)
def test_the_weight_of_a_state_is_that_of_what_it_holds(value):
    """In bytes, whatever the values are."""
    lab = Lab(rows_at([0.1]), interval="1s", name="unseen")
    lab.batch(lambda batch, state: state.update(value=value), name="keep")

    assert 100_000 <= lab.run(clock="virtual", cost=0).batches.state_bytes[0] < 200_000


def test_a_run_that_is_being_stopped_says_so_until_it_is():
    """Also when somebody asks for a step meanwhile."""
    begun, go = threading.Event(), threading.Event()
    lab = Lab(rows_at(np.arange(100) / 100), interval="20ms", name="unseen")
    lab.batch(lambda batch: (begun.set(), go.wait(30), batch)[-1])
    run = lab.start()
    assert begun.wait(30)
    hands = [threading.Thread(target=hand) for hand in (lab.stop, lambda: lab.step(1))]
    hands[0].start()
    while run.status != "stopping":
        time.sleep(0.001)
    hands[1].start()
    time.sleep(0.1)
    said = run.status
    go.set()
    for hand in hands:
        hand.join(30)

    assert (said, run.status) == ("stopping", "stopped")


def test_what_ends_a_background_run_that_is_no_error_of_mblab_s_is_its_error():
    """A step may leave by sys.exit; nobody waits there to get it."""
    lab = Lab(rows_at([0.01]), interval="20ms", name="unseen")
    lab.batch(lambda batch: sys.exit("enough"))
    run = lab.start(clock="virtual")

    assert run.wait(30)
    assert run.status == "stopped"
    assert isinstance(run.error, SystemExit)


def test_a_drained_run_of_given_length_goes_on_after_a_pause():
    """It still waits for its end."""
    lab = same_on(rows_at([0.01]), interval="20ms")
    run = lab.start("600ms")
    while not len(run.output):
        time.sleep(0.001)
    lab.pause()
    lab.resume()

    assert run.wait(30)
    assert run.status == "finished"


def test_a_shorter_interval_reaches_a_run_that_would_have_had_no_batch_before_its_end():
    """It waits for its end only, and takes the change in meanwhile."""
    lab = same_on(rows_at([0.01]), interval="10s")
    run = lab.start("500ms")
    lab.interval = "50ms"

    assert run.wait(10)
    assert len(run.output) == 1


def test_an_interval_that_moves_while_a_source_is_read_for_step_acts_on_that_batch():
    """Reading ahead may take long; the batch is the one of the new interval, and the next one comes after it."""

    def make_rows(n, rng, times):
        if times[0] > 0:  # not the first block, which is read before the run begins
            lab.interval = "500ms"
        return {"n": [1] * n}

    lab = same_on(mblab.simulate(make_rows, arrivals=arrivals.constant(8192), duration="2s", seed=1), ui=True)
    first, second = lab.step(1), lab.step(1)
    lab.stop()

    assert [*first.start_s, *second.start_s] == [0.5, 1.0]


def test_a_change_at_the_moment_of_a_scripted_one_is_noted_a_nanosecond_later():
    """No two have the same time, and none comes later than it must."""
    lab = same_on(rows_at([0.5, 1.5, 2.5]))
    lab.on_batch(lambda row: row["batch_id"] == 0 and setattr(lab, "interval", "500ms"))
    run = lab.run(clock="virtual", cost=0, controls={"1s": {"policy": "skip"}})

    assert [pd.Timedelta(at).value for at in run.controls] == [10**9, 10**9 + 1]


def test_what_is_remembered_is_weighed_in_an_empty_batch_too():
    """The first batch of a run is, whatever it holds."""
    run = same_on(rows_at([1.5]), interval="1s").run(clock="virtual", cost=0)

    assert run.batches.status.tolist() == ["empty", "ok"]
    assert run.batches.state_bytes.notna().tolist() == [True, False]
    assert run.batches.processing_time_s[0] == 0


class Pieces(RowsAt):
    """Rows that come in many blocks, as those of small files do."""

    size = 1

    def open(self, position=None):
        (block,) = super().open(position)
        for first in range(0, len(block.rows), self.size):
            part = slice(first, first + self.size)
            yield Block(block.rows.iloc[part].reset_index(drop=True), block.arrival_ns[part], {"row": first})


@pytest.mark.parametrize("cap", [None, 3, 5])
@pytest.mark.parametrize("speedup", [None, 0.5, 4])
@pytest.mark.parametrize("size", [1, 30])
def test_a_batch_takes_its_rows_out_of_all_blocks_that_hold_some(size, speedup, cap):
    """However the source comes in pieces, what arrived before the trigger is in; also once rows come faster."""
    whole = rows_at(np.arange(80) / 40, v=np.arange(80))
    pieces = Pieces(whole._arrival_ns, whole._rows)
    pieces.size = size
    knobs = {"interval": "100ms", "max_rows_per_batch": cap}
    runs = []
    for source in (whole, pieces):
        lab = same_on(source, **knobs)
        if speedup is not None:
            lab.on_batch(lambda row, lab=lab: lab.change(speedup=speedup) if row["batch_id"] == 0 else None)
        runs.append(lab.run(clock="virtual", cost=0))

    pd.testing.assert_frame_equal(runs[0].output, runs[1].output)
    assert runs[0].batches.num_input_rows.tolist() == runs[1].batches.num_input_rows.tolist()


def test_a_batch_whose_cost_fails_leaves_its_steps_state_as_it_was():
    """It is tried again, and would count its rows twice."""
    lab, fails = Lab(rows_at([0.1, 1.1]), interval="1s", name="unseen"), [True]

    @lab.batch
    def count(batch, state):
        state["rows"] = state.get("rows", 0) + len(batch)
        return {"rows": state["rows"]}

    def cost(rows):
        if fails:
            fails.clear()
            raise ValueError("not yet known")
        return 0.0

    with pytest.raises(mblab.MblabError, match="not yet known"):
        lab.run(clock="virtual", cost=cost)

    assert lab.resume().output["rows"].tolist() == [1, 2]


def test_rows_that_came_after_the_last_batch_wait_though_nothing_has_read_them_yet():
    """A run of 250 ms has its last batch at 200 ms; what came between is told to whoever predicts from it."""
    whole = rows_at(np.arange(80) / 40, v=np.arange(80))
    pieces = Pieces(whole._arrival_ns, whole._rows)

    waiting = [same_on(s, interval="100ms").run("250ms", clock="virtual", cost=0).waiting for s in (whole, pieces)]

    assert waiting[0].tolist() == waiting[1].tolist() == [0.2, 0.225]


def test_after_wait_no_thread_of_the_run_is_alive():
    """Also not for a moment: what a script does next may be to fork."""
    lab = same_on(rows_at([0.001]), interval="1ms")
    threading.setprofile(dawdles)
    try:
        run = lab.start(clock="virtual")
        assert run.wait()
    finally:
        threading.setprofile(None)
    alive = [t for t in threading.enumerate() if run.run_id in t.name]

    assert alive == []


def test_a_run_of_given_length_lasts_that_long_also_when_its_source_is_drained_at_once():
    """On the wall clock, also behind the last trigger; whoever looks for silence needs it."""
    lab = same_on(rows_at([0.001]), interval="300ms")
    began = time.perf_counter()
    run = lab.run("800ms")

    assert time.perf_counter() - began >= 0.8
    assert run.summary().duration_s == pytest.approx(0.8)
    assert run.batches.num_input_rows.tolist() == [1, 0]


def test_the_interpreter_switches_threads_afterwards_as_it_did_before():
    """While runs are on it switches faster; the last one to end puts back what was there."""
    usual = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.004)
        one, other = (same_on(rows_at(np.arange(1000) / 1000), name=f"unseen {i}", interval="5ms") for i in range(2))
        one.start()
        other.start()
        during = sys.getswitchinterval()
        one.stop()
        still = sys.getswitchinterval()
        other.stop()
        after = sys.getswitchinterval()
    finally:
        sys.setswitchinterval(usual)

    assert during == pytest.approx(0.001)  # they share it
    assert still == pytest.approx(0.0005)
    assert after == pytest.approx(0.004)


# -- state ------------------------------------------------------------------------------------------------------------


def test_the_state_is_weighed_at_most_once_a_second():
    """Fifty batches within a second: one figure, else NaN; weighing a large state takes longer than most batches."""
    lab = Lab(rows_at((np.arange(50) + 0.5) / 10), interval="100ms", name="unseen")

    @lab.batch
    def count(batch, state):
        state["n"] = state.get("n", 0) + len(batch)

    began = time.perf_counter()
    run = lab.run(clock="virtual", cost=0)
    took = time.perf_counter() - began

    assert len(run.batches) == 50
    assert 1 <= run.batches.state_bytes.notna().sum() <= 1 + took
    assert run.batches.state_bytes.notna().iloc[0]


@pytest.mark.parametrize(
    ("value", "change"),
    [
        pytest.param(lambda: ([1], 2), lambda v: v[0].append(9), id="a list in a tuple"),
        pytest.param(lambda: {"deep": (0, ([1],))}, lambda v: v["deep"][1][0].append(9), id="deeper"),
        pytest.param(lambda: np.array([[1], None], dtype=object), lambda v: v[0].append(9), id="a list in an array"),
    ],
)
def test_what_a_failed_try_changed_inside_a_value_is_undone(value, change):
    """A savepoint is out of reach of a change in place, wherever in the state it happens."""
    lab, seen = Lab(rows_at([0.5, 1.5]), interval="1s", name="unseen"), []

    @lab.batch
    def work(batch, state, ctx):
        held = state.setdefault("held", value())
        seen.append(repr(held))
        if ctx.batch_id == 1 and ctx.attempt == 1:
            change(held)
            raise ValueError("after the change")

    with pytest.raises(BatchError, match="after the change"):
        lab.run(clock="virtual", cost=0)
    lab.resume()

    assert len(seen) == 3
    assert len(set(seen)) == 1


class Grows:
    """A value in a state that grows while somebody else copies it, once."""

    def __init__(self, state, mine):
        self.state, self.mine, self.times = state, mine, 0

    def __deepcopy__(self, memo):
        if threading.get_ident() != self.mine and self.times == 0:
            self.times += 1
            self.state["new"] = 1
        return self


def test_a_state_that_grows_while_it_is_copied_is_copied_again():
    """`calibrate` takes a copy of the live run's state, whose thread goes on meanwhile."""
    lab, held = Lab(rows_at(np.arange(4000) / 1000), interval="20ms", name="unseen"), []

    @lab.batch
    def work(batch, state):
        if not held:
            held.append(Grows(state, threading.get_ident()))
            state["grows"], state["after"] = held[0], 1
        return len(batch)

    lab.start()
    end = time.monotonic() + 20
    while not held or not lab.last_run.batches.shape[0]:
        assert time.monotonic() < end
        time.sleep(0.002)
    model = lab.calibrate("100ms")
    lab.stop()

    assert held[0].times == 1
    assert model is not None


def test_a_step_gets_a_fresh_index_whatever_the_step_before_it_returned():
    """DESIGN 6: a RangeIndex from 0, also behind `batch[1:]`."""
    lab, seen = Lab(rows_at([0.1, 0.2, 0.3]), interval="1s", name="unseen"), []
    lab.map(lambda batch: batch[1:], name="tail")
    lab.batch(lambda batch: seen.append(batch.index), name="look")
    lab.run(clock="virtual", cost=0)

    assert isinstance(seen[0], pd.RangeIndex)
    assert list(seen[0]) == [0, 1]


def test_a_keyed_step_by_another_key_starts_fresh_and_says_so(capsys):
    """The states of the old keys mean nothing to the new ones, though the keys may be equal."""
    lab = Lab(rows_at([0.1, 1.1], one=["a", "a"], other=["a", "a"]), interval="1s", name="unseen")

    def count(batch, state):
        state["n"] = state.get("n", 0) + len(batch)
        return state["n"]

    lab.batch(key="one")(count)
    lab.step()
    capsys.readouterr()
    lab.batch(key="other")(count)
    said = capsys.readouterr().err
    lab.step()
    lab.stop()

    assert "count is now a keyed step by other: its state starts fresh" in said
    assert lab.last_run.state == {"count": {"a": {"n": 1}}}


# -- sinks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [["v", "w"], ["w"], ["v", "x", "w"]], ids=str)
def test_a_csv_does_not_leave_out_a_column_that_a_later_batch_brings(later, tmp_path):
    """Its header stands already; JSON lines and a table have a place for it."""
    lab = Lab(rows_at([0.1, 1.1]), interval="1s", name="unseen")
    lab.batch(lambda batch, state, ctx: pd.DataFrame({name: [1] for name in (later if ctx.batch_id else "v")}))
    lab.to(csv(tmp_path / "out.csv"))

    with pytest.raises(SinkError, match="adds .*'w'"):
        lab.run(clock="virtual", cost=0)


def test_rows_in_memory_that_were_taken_back_count_no_longer():
    """Else rows would be let go of before the limit is reached."""
    sink = mblab.sinks.memory(limit=5)
    sink.open("0" * 12)
    sink.deliver(pd.DataFrame({"v": [0, 1]}), Delivery("0" * 12, 0))
    mark = sink.savepoint()
    for _ in range(2):
        sink.deliver(pd.DataFrame({"v": [2, 3]}), Delivery("0" * 12, 1))
        sink.rollback(mark)
    sink.deliver(pd.DataFrame({"v": [2, 3]}), Delivery("0" * 12, 1))

    assert sink.dropped == 0
    assert sink.frame()["v"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "sqlite"])
def test_a_folder_is_no_file_to_write_to(kind, tmp_path):
    """The sentence says so, and what would be a path."""
    with pytest.raises(SinkError, match=f"is a folder; {kind} needs the path of a file, such as rows"):
        getattr(mblab.sinks, kind)(tmp_path).open("0" * 12)


def test_times_without_a_zone_are_one_kind_however_pandas_holds_them(tmp_path):
    """A column of datetimes goes on where one of datetime64 has begun."""
    at = datetime(2026, 1, 2, 3, 4, 5)
    lab = Lab(rows_at([0.1, 1.1]), interval="1s", name="unseen")
    lab.batch(lambda batch, state, ctx: pd.DataFrame({"at": pd.Series([at], dtype=object if ctx.batch_id else None)}))
    lab.to(mblab.sinks.sqlite(tmp_path / "out.db", table="rows"))

    assert lab.run(clock="virtual", cost=0).status == "finished"


def test_a_csv_that_was_replaced_by_another_of_the_same_length_is_refused(tmp_path):
    """Its length says nothing: another file stands there, and ours has no name any more."""
    path = tmp_path / "o.csv"
    lab = same_on(rows_at([0.5, 1.5, 2.5]))
    lab.to(csv(path))

    def replace(row):
        if row["batch_id"] == 0:
            other = tmp_path / "other"
            other.write_bytes(b"x" * path.stat().st_size)
            os.replace(other, path)

    lab.on_batch(replace)
    with pytest.raises(SinkError, match="changed by something else"):
        lab.run(clock="virtual", cost=0)

    assert set(path.read_bytes()) == {ord("x")}
    assert lab.last_run.batches.status.tolist() == ["ok", "failed"]  # at the very next batch, before rows are lost


class Killed(BaseException):
    """From here on the process is gone."""


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_process_killed_in_a_rollback_leaves_a_file_that_the_next_run_takes(mode, tmp_path, monkeypatch):
    """Between the marker and the cut: the file still has the rows that the marker takes back."""
    path, usual = tmp_path / "o.csv", os.ftruncate
    sink = csv(path, mode=mode)
    sink.open("a" * 12)
    sink.deliver(pd.DataFrame({"x": [1]}), Delivery("a" * 12, 0, ""))
    before = sink.savepoint()
    sink.deliver(pd.DataFrame({"x": [2]}), Delivery("a" * 12, 1, ""))

    def killed(descriptor, length):
        raise Killed

    monkeypatch.setattr(os, "ftruncate", killed)
    with pytest.raises(Killed):
        sink.rollback(before)
    monkeypatch.setattr(os, "ftruncate", usual)
    for lock in [*files._held]:  # the kernel takes them from a process that is gone
        lock.forget()
    next_run = csv(path, mode=mode)
    next_run.open("b" * 12)
    next_run.deliver(pd.DataFrame({"x": [3]}), Delivery("b" * 12, 0, ""))
    next_run.close()
    found = pd.read_csv(path)["x"].tolist()

    assert found in ([[1, 3], [1, 2, 3]] if mode == "append" else [[3]])


def test_a_second_run_that_appends_to_a_parquet_folder_meanwhile_is_noticed(tmp_path):
    """Neither run would know whose parts are whose."""
    folder = tmp_path / "out"
    lab = same_on(rows_at([0.5, 1.5, 2.5]))
    lab.to(parquet(folder, mode="append"))

    def other_run(row):
        if row["batch_id"] == 0:
            other = same_on(rows_at([0.5]), name="other")
            other.to(parquet(folder, mode="append"))
            other.run(clock="virtual", cost=0)

    lab.on_batch(other_run)
    with pytest.raises(SinkError, match="another run"):
        lab.run(clock="virtual", cost=0)

    assert len(pd.read_parquet(folder)) == 2


def test_a_part_of_empty_lists_has_no_null_type(tmp_path):
    """A list of nulls is what many readers refuse, and what no later list can be put beside."""
    lab = Lab(rows_at([0.5, 1.5]), interval="1s", name="unseen")
    lab.batch(lambda batch: pd.DataFrame({"v": [[]], "w": [[[]]], "s": [{"in": []}]}), name="empty")
    lab.to(parquet(tmp_path / "out"))
    lab.run(clock="virtual", cost=0)
    parts = sorted((tmp_path / "out").glob("*.parquet"))

    assert len(parts) == 2
    for part in parts:
        assert "null" not in "".join(str(field.type) for field in pq.read_schema(part))


# -- export -----------------------------------------------------------------------------------------------------------

AT = pd.Timestamp("2026-01-01 12:00:00").as_unit("ns")
WAIT = pd.Timedelta(1500, "ms").as_unit("ms")


def timed(batch):
    return batch.assign(at=AT, wait=WAIT)


def test_times_come_back_from_a_script_with_their_unit(tmp_path):
    """What a column's dtype becomes hangs on it."""
    frame = pd.DataFrame({"at_s": [0.5, 1.5], "row": [0, 1]})
    lab = Lab(mblab.replay(frame, arrival="at_s"), interval="1s", name="unseen")
    lab.batch(timed)
    found = runpy.run_path(str(lab.export(tmp_path / "p.py")))

    assert (found["AT"], found["AT"].unit) == (AT, "ns")
    assert (found["WAIT"], found["WAIT"].unit) == (WAIT, "ms")


HASHED = """
import math, os, re, sys
import pandas as pd
import mblab

WORDS = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"}
FROZEN = frozenset({"one", "two", "three", "four", "five"})
LIMIT, SCALE, NAMES = 3, 1.5, ["a", "b"]

def helper(x):
    return x in WORDS or x in FROZEN or re.match("a", x)

def other(x):
    return math.floor(x * SCALE) + LIMIT + len(NAMES)

def work(batch):
    return batch.assign(word=[helper(str(r)) is not None for r in batch["row"]], n=other(2), up=os.sep)

frame = pd.DataFrame({"at_s": [0.5, 1.5], "row": [0, 1]})
lab = mblab.Lab(mblab.replay(frame, arrival="at_s"), interval="1s")
lab.batch(work)
lab.export(sys.argv[1])
"""


def test_two_exports_under_different_hash_seeds_are_the_same_bytes(tmp_path):
    """So that a script under version control changes only when the pipeline does."""
    (tmp_path / "make.py").write_text(HASHED)
    written = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        subprocess.run(
            [sys.executable, tmp_path / "make.py", folder / "p.py"], check=True, timeout=120,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        written.append((folder / "p.py").read_bytes())

    assert written[0] == written[1]


def test_once_takes_everything_in_one_batch_also_where_a_cap_is_set(tmp_path):
    """`--once` is one batch with everything there is."""
    frame = pd.DataFrame({"at_s": np.arange(20) / 10, "row": np.arange(20)})
    lab = Lab(mblab.replay(frame, arrival="at_s"), interval="1s", max_rows_per_batch=3, policy="skip", name="unseen")
    lab.batch(timed)
    path = lab.export(tmp_path / "p.py")
    done = subprocess.run(
        [sys.executable, path, "--once", "--json"], capture_output=True, text=True, timeout=120, check=True
    )
    facts = json.loads(done.stdout)

    assert (facts["rows"], facts["batches"]) == (20, 1)

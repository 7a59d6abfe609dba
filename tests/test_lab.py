"""The user's handle: lifecycle, knobs, what is kept and what is forgotten, in a plain process."""

import gc
import os
import signal
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
from mblab.testing import ListSink, ManualClock, rows_at


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("mblab-")]


def wait_for(claim, seconds=60.0):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def counting_lab(name, rate=1000, seconds=30, interval="20ms"):
    lab = Lab(rows_at((np.arange(rate * seconds) + 0.5) / rate), interval=interval, name=name)

    @lab.batch
    def count(batch, state):
        state["n"] = state.get("n", 0) + len(batch)
        return {"first": int(batch["row"].iloc[0]), "rows": len(batch), "n": state["n"]}

    return lab


def assert_nothing_lost(run):
    out = run.output

    assert out["first"].tolist() == [0, *out["rows"].cumsum().tolist()[:-1]]


def test_a_started_run_goes_on_in_a_thread_of_its_own_and_ends_with_it():
    """start returns at once; wait; no thread stays behind."""
    lab = counting_lab("started")
    run = lab.start("150ms")
    assert run.status == "running"
    assert run.wait("60s")

    assert run.status == "finished"
    assert len(run.batches) == 7
    assert threads() == []
    assert_nothing_lost(run)


def test_the_interval_moves_while_the_run_is_on():
    """From the next grid point on, noted in `run.controls`, nothing lost; the same script gives the same grid."""
    lab = counting_lab("live", interval="200ms")
    run = lab.start("1500ms")
    wait_for(lambda: len(run.batches) >= 2)
    lab.interval = "300ms"
    wait_for(lambda: len(run.batches) >= 4)
    lab.interval = 0.1
    run.wait()
    virtual = counting_lab("live2", interval="200ms").run("1500ms", clock="virtual", cost=0, controls=run.controls)

    assert [*dict.fromkeys(run.batches.interval_s)] == [0.2, 0.3, 0.1]
    assert lab.interval == 0.1
    assert_nothing_lost(run)
    assert virtual.batches.start_s.tolist() == run.batches.start_s.tolist()
    assert virtual.batches.num_input_rows.tolist() == run.batches.num_input_rows.tolist()


def test_what_a_lab_shows_is_what_its_run_goes_by():
    """The knobs are held once: whoever moves them, and where a change is refused nothing has moved."""
    lab, clock = counting_lab("once"), ManualClock()
    run = lab.start("400ms", clock=clock, cost=0)
    lab.change(interval="40ms", policy="skip")
    lab._control.driver.change({"interval_ns": 50_000_000})
    with pytest.raises(SettingError, match="policy='queue' gives each trigger exactly its own rows"):
        lab.change(interval="10ms", policy="queue", max_rows_per_batch=3)
    assert (lab.interval, lab.policy, lab.max_rows_per_batch) == (0.05, "skip", None)
    while not run.wait(0.001):
        clock.advance(0.01)

    assert {*run.batches.interval_s} == {lab.interval}
    assert {*run.batches.policy} == {lab.policy}


def test_a_wall_run_cuts_at_the_nominal_start_however_late_it_wakes():
    """`start_s` is on the grid to the nanosecond; the lateness stands in `wake_delay_s` and in the latency."""
    run = counting_lab("nominal", interval="200ms").run("1s")
    b, r = run.batches, run.records

    assert b.start_s.tolist() == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert b.num_input_rows.tolist() == [200] * 5
    assert (b.wake_delay_s >= 0).all()
    assert (b.batch_duration_s >= b.wake_delay_s + b.processing_time_s + b.sink_time_s).all()
    waits = r.filter(like="_wait_s").sum(axis=1)
    assert np.allclose(waits, r.latency_s, atol=1e-9)


def test_pause_freezes_the_clock_and_resume_goes_on_without_a_gap():
    """Time that stood still is no latency."""
    lab = counting_lab("paused", interval="100ms")
    began = time.monotonic()
    run = lab.start("600ms")
    wait_for(lambda: len(run.batches) >= 2)
    lab.pause()
    wait_for(lambda: run.status == "paused")
    count = len(run.batches)
    time.sleep(0.25)
    assert len(run.batches) == count
    lab.resume()
    run.wait()

    assert len(run.batches) == 6
    assert run.batches.end_s.iloc[-1] <= time.monotonic() - began - 0.25
    assert_nothing_lost(run)


def test_step_runs_the_next_batches_at_once_and_freezes_again():
    """On a lab that was not started it begins a paused run; starts are those of the grid."""
    lab = counting_lab("stepped", rate=1, seconds=20_000, interval="1h")
    first, more = lab.step(2), lab.step()

    assert first.start_s.tolist() == [3600.0, 7200.0]
    assert more.start_s.tolist() == [10_800.0]
    assert first.num_input_rows.tolist() == [3600, 3600]
    assert lab.last_run.status == "paused"
    lab.stop()
    assert lab.last_run.status == "stopped"
    assert threads() == []


def test_step_past_the_end_returns_what_there_was():
    """A drained source ends the run."""
    lab = Lab(rows_at([0.1, 1.1]), interval="1s", name="short")

    assert len(lab.step(5)) == 2
    assert lab.last_run.status == "finished"


def test_stop_finishes_the_batch_in_hand():
    """Status stopped; the horizon is the moment of stopping."""
    lab = Lab(rows_at(np.arange(1000) / 1000), interval="50ms", name="stopped")
    entered = threading.Event()

    @lab.batch
    def slow(batch):
        entered.set()
        time.sleep(0.1)
        return len(batch)

    run = lab.start()
    entered.wait(60)
    lab.stop()

    assert run.status == "stopped"
    assert len(run.output) == len(run.batches) >= 1
    assert run.batches.processing_time_s.iloc[-1] >= 0.1
    assert run.summary().duration_s >= run.batches.end_s.iloc[-1]
    assert threads() == []


def test_every_run_begins_anew_and_earlier_ones_stay_valid():
    """Source rewound, state {}, batch_id 0, a new run_id of 12 hex digits."""
    lab = counting_lab("again", seconds=1)
    one = lab.run("200ms", clock="virtual", cost=0)
    two = lab.run("200ms", clock="virtual", cost=0)

    assert one.run_id != two.run_id
    assert len(one.run_id) == 12
    assert int(one.run_id, 16) >= 0
    assert one.state == two.state == {"count": {"n": 200}}
    pd.testing.assert_frame_equal(one.output, two.output)
    assert lab.runs == [one, two]
    assert lab.last_run is two


def test_a_new_run_stops_the_one_that_is_on_and_says_so(capsys):
    """One line."""
    lab = counting_lab("busy")
    first = lab.start()
    second = lab.start("50ms")
    second.wait()

    assert first.status == "stopped"
    assert capsys.readouterr().err == "mblab: stopped the run of 'busy' that was on.\n"
    assert threads() == []


def test_a_new_lab_of_the_same_name_stops_the_old_one_s_run_and_says_so(capsys):
    """What happens when the cell that makes the lab is run again."""
    old = counting_lab("twin")
    run = old.start()
    counting_lab("twin")

    assert run.status == "stopped"
    assert capsys.readouterr().err == "mblab: stopped the run of the earlier lab 'twin'.\n"
    assert threads() == []


def test_a_dropped_lab_s_thread_ends_at_its_next_boundary():
    """No orphan threads."""
    lab = counting_lab("dropped")
    run = lab.start()
    del lab
    gc.collect()

    assert run.wait("5s")
    assert run.status == "stopped"


def test_a_hot_swap_takes_effect_at_the_next_batch_and_keeps_the_state():
    """version 2 from there on; every row in exactly one batch."""
    lab = counting_lab("swap")
    run = lab.start("400ms")
    wait_for(lambda: len(run.batches) >= 5)

    @lab.batch
    def count(batch, state):
        state["n"] = state.get("n", 0) + len(batch)
        return {"first": int(batch["row"].iloc[0]), "rows": len(batch), "n": -state["n"]}

    run.wait()
    b, out = run.batches, run.output

    assert [*dict.fromkeys(b.version)] == [1, 2]
    assert b.version.is_monotonic_increasing
    assert out.n.abs().tolist() == out["rows"].cumsum().tolist()
    assert ((out.n < 0) == (b.version == 2)).all()
    assert_nothing_lost(run)


def test_an_error_halts_the_thread_and_a_mended_function_goes_on_with_the_same_batch():
    """Same start, one row a batch, every try in `attempts`; the clock stood still meanwhile."""
    lab = counting_lab("mend", interval="100ms")

    @lab.batch
    def count(batch, state):
        return batch["nothing"]

    began = time.monotonic()
    run = lab.start("500ms")
    wait_for(lambda: run.status == "halted")
    assert "reads column 'nothing' at line" in str(run.error)
    assert run.batches.status.tolist() == ["failed"]
    time.sleep(0.3)

    @lab.batch
    def count(batch, state):  # noqa: F811
        return {"first": int(batch["row"].iloc[0]), "rows": len(batch)}

    assert run.status == "halted"
    lab.resume()
    run.wait()

    assert run.status == "finished"
    assert run.batches.status.tolist() == ["retried"] + ["ok"] * 4
    assert run.batches.start_s.iloc[0] == 0.1
    assert run.batches.end_s.iloc[-1] <= time.monotonic() - began - 0.3
    assert run.batches.version.tolist() == [2 + 0] * 5 or run.batches.version.min() >= 2
    assert_nothing_lost(run)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda b: b.groupby("row")["valu"].sum(), "broken reads column 'valu' at line"),
        (lambda b: b[["row", "valu"]], "that batch 0 does not hold: ['valu'] not in index; it holds ['row', 'value']"),
        (lambda b: b[["valu"]], "in the [columns]; it holds ['row', 'value']"),
        (lambda b: b.groupby("row")[["valu", "value"]].sum(), "does not hold: Columns not found: 'valu'; it holds ['row', 'value']"),
    ],
)  # fmt: skip
def test_a_missing_column_is_named_however_pandas_words_it(read, said):
    """A frame, a grouped frame and a list of columns each say it in another way."""
    lab = Lab(rows_at([0.5], value=[1]), interval="1s")

    @lab.batch
    def broken(batch):
        return read(batch)

    with pytest.raises(mblab.BatchError) as caught:
        lab.run(clock="virtual", cost=0)

    assert said in str(caught.value)


def test_sinks_get_every_batch_and_one_with_the_same_target_is_replaced():
    """Also while the run is on: from the next batch."""
    lab = counting_lab("sinks")
    first, second = ListSink(), ListSink()
    second.target = "other"
    lab.to(first)
    run = lab.start("400ms")
    wait_for(lambda: len(run.batches) >= 4)
    lab.to(second)
    run.wait()
    third = ListSink()
    lab.to(third)

    assert [b for b, _ in first.batches] == run.batches.batch_id.tolist()
    assert 0 < len(second.batches) < len(first.batches)
    assert lab.sinks == (second, third)
    lab.remove("other")
    assert lab.sinks == (third,)


def test_reset_forgets_runs_and_keeps_the_pipeline():
    """Steps, sinks and settings stay."""
    lab = counting_lab("reset")
    lab.start()
    lab.reset()

    assert lab.last_run is None
    assert lab.runs == []
    assert [s.name for s in lab.steps] == ["count"]
    assert threads() == []


def test_try_batch_shows_the_result_and_touches_nothing():
    """The first n rows as one batch, from an empty state."""
    lab = counting_lab("try")
    sink = ListSink()
    lab.to(sink)
    out = lab.try_batch(500)

    assert out.to_dict("records") == [{"first": 0, "rows": 500, "n": 500}]
    assert lab.try_batch(500).equals(out)
    assert sink.batches == []
    assert lab.last_run is None


def test_describe_says_it_all_in_words():
    """Source, steps with kind and version, sinks, settings."""
    lab = counting_lab("words")
    text = str(lab.describe())

    for word in (
        "lab 'words'",
        "every 20 ms",
        "policy asap",
        "no cap",
        "rows_at",
        "count (batch, version 1)",
        "memory",
    ):
        assert word in text
    assert repr(lab.describe()) == text


def test_a_sweep_tabulates_every_interval_and_finds_the_shortest_that_fits():
    """T* = a/(1 − bλ) from the batches' own costs; nothing is delivered."""
    lab = Lab(rows_at((np.arange(20_000) + 0.5) / 1000), name="swept")
    sink = ListSink()
    sink.effects = True
    lab.to(sink)
    sweep = lab.sweep(["100ms", "250ms", "500ms", "1s"], "20s", clock="virtual", cost=lambda n: 0.1 + 2e-4 * n)
    t = sweep.table

    assert t.interval_s.tolist() == [0.1, 0.25, 0.5, 1.0]
    assert sweep.shortest_s == pytest.approx(0.125)
    assert sweep.freshest_s == 0.25  # p95 = .95·T + .1 + .2·T
    assert t.regime.tolist() == ["self_clocked"] + ["on_schedule"] * 3
    assert t.latency_p50_s.iloc[3] == pytest.approx(0.8, abs=1e-3)
    assert t.load.iloc[3] == pytest.approx(0.3)
    assert sink.batches == []
    assert lab.runs == []


def test_a_saved_run_comes_back_as_it_was(tmp_path):
    """Frames, summary (also of a part), state, controls; nothing pickled."""
    lab = counting_lab("saved", seconds=2, interval="100ms")
    run = lab.run("2s", clock="virtual", cost=0.01, controls={"1s": {"interval": "200ms"}})
    back = mblab.load_run(run.save(tmp_path / "run"))

    pd.testing.assert_frame_equal(back.batches, run.batches)
    pd.testing.assert_frame_equal(back.records, run.records)
    pd.testing.assert_frame_equal(back.output, run.output)
    pd.testing.assert_frame_equal(back.attempts, run.attempts)
    pd.testing.assert_series_equal(back.summary(), run.summary(), check_dtype=False)
    part = back.summary("500ms", "1s"), run.summary("500ms", "1s")
    assert part[0].drop("triggers_missed").equals(part[1].drop("triggers_missed"))
    assert (back.state, back.controls, back.run_id) == (run.state, run.controls, run.run_id)
    assert {p.suffix for p in (tmp_path / "run").iterdir()} == {".json", ".parquet"}
    with pytest.raises(SettingError, match=r"holds no run\.json"):
        mblab.load_run(tmp_path)
    with pytest.raises(SettingError, match="something else"):
        run.save(tmp_path)


def test_old_batches_are_let_go_but_the_summary_covers_all():
    """`batches_limit`; memory stays flat, sums go on."""
    lab = Lab(rows_at((np.arange(3000) + 0.5) / 100), interval="10ms", batches_limit=500, name="limited")
    run = lab.run("30s", clock="virtual", cost=0.001)

    assert len(run.batches) == 500
    assert run.batches.batch_id.tolist() == list(range(2500, 3000))
    assert run.summary()[["rows", "batches", "batches_empty"]].tolist() == [3000, 3000, 0]
    assert run.summary().latency_p50_s == pytest.approx(0.006, rel=0.02)


def test_output_is_bounded_too():
    """`output_limit` keeps the newest rows."""
    lab = Lab(rows_at(np.arange(100) / 10), interval="1s", output_limit=25, name="bounded")
    lab.map(lambda batch: batch, name="same")
    out = lab.run(clock="virtual", cost=0).output

    assert out["row"].iloc[-1] == 99
    assert len(out) <= 35


def test_overload_never_looks_better_than_it_is():
    """A function longer than the interval: lateness counts from the grid, missed triggers are counted, load exceeds 1."""
    lab = Lab(rows_at(np.arange(400) / 1000), interval="20ms", name="late")

    @lab.batch
    def slow(batch):
        time.sleep(0.05)

    run = lab.run("400ms")
    b, s = run.batches, run.summary()

    assert s.load > 2
    assert (b.scheduling_delay_s.iloc[1:] > 0.02).all()
    assert s.triggers_missed + len(b) == 20
    assert (np.diff(b.start_s) >= 0.05).all()
    assert s.latency_max_s >= 0.09


def test_live_changes_by_hand_on_a_manual_clock_are_noted_to_the_nanosecond():
    """`run.controls` holds whole ns, and round-trips."""
    lab, clock = counting_lab("exact", interval="100ms"), ManualClock()
    run = lab.start("1s", clock=clock, cost=0)
    clock.advance("333333333ns")
    lab.change(interval="50ms", max_rows_per_batch=7)
    clock.settle()
    clock.advance("2s")
    run.wait()

    assert run.controls == {"333333333ns": {"interval": "50ms", "max_rows_per_batch": 7}}
    assert run.batches.start_s.tolist()[:5] == [0.1, 0.2, 0.3, 0.35, 0.4]


SCRIPT = """
import time
from mblab import Lab
from mblab.testing import rows_at
import numpy as np

lab = Lab(rows_at(np.arange(100_000) / 1000), interval="50ms")

@lab.batch
def slow(batch):
    print("in", flush=True)
    time.sleep(0.3)
    print("out", flush=True)

try:
    lab.run("60s")
except KeyboardInterrupt:
    print("interrupted", lab.last_run.status, len(lab.last_run.batches) >= 1, flush=True)
"""


@pytest.mark.parametrize(
    ("signals", "expected", "code"),
    [
        ([signal.SIGINT], ["in", "out", "interrupted stopped True"], 0),
        ([signal.SIGTERM], ["in", "out"], 0),
        ([signal.SIGINT, signal.SIGINT], ["in", "interrupted stopped False"], 0),
    ],
)
def test_signals_end_a_blocking_run_after_the_batch_in_hand(signals, expected, code):
    """Ctrl-C: KeyboardInterrupt with lab.last_run set; a second one aborts the batch. SIGTERM: exit 0."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout.readline().strip() == "in"
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05)
    rest = process.communicate(timeout=60)[0].split("\n")

    assert ["in", *[line for line in rest if line]] == expected
    assert process.returncode == code


def test_a_step_ordered_during_a_batch_is_the_one_after_it():
    """The batch in hand finishes first, as for a pause; its rows are not among those that step returns."""
    lab = Lab(rows_at(np.arange(1000) / 1000), interval="100ms", name="midway")
    entered = threading.Event()

    @lab.batch
    def slow(batch):
        entered.set()
        time.sleep(0.15)
        return len(batch)

    run = lab.start()
    assert entered.wait(60)
    stepped = lab.step()

    assert stepped.batch_id.tolist() == [1]
    assert run.status == "paused"
    assert run.batches.batch_id.tolist() == [0, 1]
    lab.stop()

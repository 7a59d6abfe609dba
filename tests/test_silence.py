"""A long silence on the virtual clock costs next to nothing, and leaves behind what a run of every batch would."""

import logging
import time

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import Lab, replay
from mblab.engine import engine
from mblab.engine.changes import Changes
from mblab.metrics import RunLog
from mblab.testing import rows_at
from mblab.tuning import simulate
from mblab.tuning.cost import CostModel

from .test_reference import assert_agree

DAY = 86_400.0


@pytest.fixture
def every_stretch(monkeypatch):
    """Batches without rows are passed over wherever there is one behind another."""
    monkeypatch.setattr(engine, "FEW_BATCHES", 1)


def one_by_one(monkeypatch):
    monkeypatch.setattr(engine, "FEW_BATCHES", 10**18)


def quiet_lab(times, interval="100ms", **settings):
    lab = Lab(rows_at(times), interval=interval, name="silence", **settings)

    @lab.batch
    def count(batch, state):
        state["seen"] = state.get("seen", 0) + len(batch)
        return {"n": len(batch), "seen": state["seen"]}

    return lab


def assert_same(one, other):
    """All that a run leaves behind, but for what is measured of the machine."""
    measured = ["cpu_time_s", "state_bytes", "processing_time_s", "sink_time_s", "commit_time_s", "wake_delay_s"]
    pd.testing.assert_frame_equal(one.batches.drop(columns=measured), other.batches.drop(columns=measured))
    pd.testing.assert_frame_equal(one.records, other.records)
    pd.testing.assert_frame_equal(one.output, other.output)
    ours, theirs = (run.summary().drop(["run_id", "wake_delay_p99_s"]) for run in (one, other))
    pd.testing.assert_series_equal(ours, theirs, rtol=1e-12)
    assert one.controls == other.controls
    assert one.status == other.status


def test_a_silence_of_a_month_costs_about_nothing():
    """B09: 26 784 000 triggers, of which one run one by one takes 8 µs and all of them minutes."""
    source = replay(pd.DataFrame({"t": pd.to_datetime(["2026-01-01", "2026-02-01"])}), arrival="t")
    lab = Lab(source, interval="100ms", name="silence")
    lab.batch(lambda batch: {"n": len(batch)})
    began = time.process_time()
    run = lab.run(clock="virtual", cost=0)
    took = time.process_time() - began
    summary = run.summary()

    assert took < 1
    assert (summary.batches, summary.batches_empty, summary.triggers_missed) == (26_784_001, 26_783_999, 0)
    assert summary.duration_s == 31 * DAY + 0.1
    assert run.batches.start_s.iloc[[0, -2, -1]].tolist() == [2_668_400.2, 31 * DAY, 31 * DAY + 0.1]
    assert run.batches.num_input_rows.iloc[-2:].tolist() == [0, 1]
    assert run.batches.batch_id.iloc[-1] == run.output.batch_id.iloc[-1] == 26_784_000


@pytest.mark.usefixtures("every_stretch")
def test_runs_with_silences_passed_over_are_what_the_design_says():
    """Due, start, waits, missed triggers and leftovers of drawn runs, with changes of knobs while there are no rows."""
    assert_agree(range(30))


@pytest.mark.slow
@pytest.mark.usefixtures("every_stretch")
@pytest.mark.parametrize("part", range(5))
def test_thousands_of_runs_with_silences_passed_over_are_what_the_design_says(part):
    """Other cases than those of the reference's own test."""
    assert_agree(range(100_000 + 1_000 * part, 101_000 + 1_000 * part))


CASES = {
    "asap": ({}, {}),
    "skip": ({"policy": "skip"}, {}),
    "queue": ({"policy": "queue"}, {}),
    "a cap": ({"max_rows_per_batch": 2}, {}),
    "few batches kept": ({"batches_limit": 300}, {}),
    "steps called for every batch": ({"run_empty": True, "interval": "500ms"}, {}),
    "a duration": ({}, {"duration": "150s"}),
    "a duration within the silence": ({}, {"duration": "70s"}),
    "knobs moved in the silence": (
        {},
        {
            "controls": {
                "30s": {"interval": "70ms"}, "30.01s": {"policy": "skip"}, "50s": {"policy": "queue"},
                "60s": {"policy": "asap", "interval": "110ms"}, "70s": {"max_rows_per_batch": 1}, "80s": {"speedup": 2},
            }
        },
    ),
    "a knob moved behind the last row": ({}, {"duration": "200s", "controls": {"170s": {"interval": "1s"}}}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_passes_over_a_silence_is_the_run_of_every_batch(case, monkeypatch):
    """Frames, summary, output and controls; long batches before and after the silence."""
    settings, how = CASES[case]
    times = [0.01, 0.02, 0.03, 0.35, 100.03, 100.04, 100.05, 130.0]

    def run():
        return quiet_lab(times, **settings).run(how.get("duration"), clock="virtual", cost=0.25, **without(how))

    def without(given):
        return {k: v for k, v in given.items() if k != "duration"}

    passed = run()
    one_by_one(monkeypatch)

    assert_same(passed, run())


@pytest.mark.parametrize("target", [{"p95": "1s"}, {"p95": "1s", "objective": "cheapest"}], ids=["fastest", "cheapest"])
def test_an_autopilot_decides_the_same_over_a_silence(target, monkeypatch):
    """It hears of batches without rows until they change nothing for it, and of the rows behind them."""
    times = np.concatenate([np.arange(start, start + 5, 0.02) for start in (0, 8, 16, 300, 420)])
    sizes = np.tile([10, 30, 100, 300, 1000], 4)
    law = CostModel.fit(pd.DataFrame({"num_input_rows": sizes, "seconds": 0.05 + 1e-4 * sizes}), host_sd=0.0)

    def run():
        lab = quiet_lab(times, interval="500ms")
        run = lab.autotune(clock="virtual", cost=lambda n: 0.05 + 1e-4 * n, model=law, **target)
        run.wait()
        return run

    noted = []
    monkeypatch.setattr(RunLog, "note_alike", noting(noted))
    passed = run()
    one_by_one(monkeypatch)
    other = run()

    assert sum(noted) > 200
    assert_same(passed, other)
    pd.testing.assert_frame_equal(passed.decisions, other.decisions)


def noting(counts, note=RunLog.note_alike):
    """What notes alike batches, and how many they are."""

    def note_alike(self, first, count):
        counts.append(count)
        note(self, first, count)

    return note_alike


def test_who_wants_to_hear_of_every_batch_does():
    """on_batch is called for each of them, and a shadow, which compares rows only, for none."""
    heard = []
    lab = quiet_lab([0.01, 15.0])
    lab.on_batch(lambda row: heard.append((row["batch_id"], row["num_input_rows"])))
    run = lab.run(clock="virtual", cost=0)

    assert heard == list(zip(run.batches.batch_id, run.batches.num_input_rows, strict=True))
    assert len(heard) == 151


def test_a_shadow_lets_a_silence_pass(monkeypatch):
    """And compares the batches with rows on both sides of it."""
    noted = []
    monkeypatch.setattr(RunLog, "note_alike", noting(noted))
    lab = Lab(rows_at([0.01, 60.0]), interval="100ms", name="silence")

    @lab.batch
    def count(batch):
        return len(batch)

    with lab.shadow(lambda batch: len(batch) + 1) as shadow:
        lab.run(clock="virtual", cost=0)
        report = shadow.report()

    assert report.table.batch_id.tolist() == [0, 600]
    assert sum(noted) > 500


def test_a_log_that_tells_of_every_batch_still_does(caplog):
    """Debugging is slow, and complete."""
    caplog.set_level(logging.DEBUG, "mblab")
    quiet_lab([0.01, 30.0]).run(clock="virtual", cost=0)

    assert sum(" empty: 0 rows in" in line for line in caplog.messages) == 299


def test_steps_are_counted_by_batches_also_in_a_silence():
    """lab.step(300) runs 300 batches, and the run goes on from there."""
    lab = quiet_lab([0.01, 1_000.0])
    run = lab.start(clock="virtual", cost=0, controls={"1ms": {"interval": "100ms"}})
    run.wait()
    stepped = quiet_lab([0.01, 1_000.0])

    assert run.summary().batches == 10_001
    assert len(stepped.step(300)) == 300
    assert stepped.last_run.batches.start_s.iloc[-1] == pytest.approx(30.0)
    stepped.stop()


def test_a_change_that_comes_while_a_silence_is_passed_over_is_not_run_past(monkeypatch):
    """It comes in between the look at what is pending and the move of the clock: the batches behind it are not passed."""
    noted, jump = [], Changes.jump
    monkeypatch.setattr(RunLog, "note_alike", noting(noted))

    def late(self, to_ns):
        if not self.pending and self._last_ns < 0:
            self.accept({"interval_ns": 50_000_000}, 5_000_000_000)
        return jump(self, to_ns)

    monkeypatch.setattr(Changes, "jump", late)
    run = quiet_lab([0.01, 60.0]).run(clock="virtual", cost=0)

    assert run.controls == {"5s": {"interval": "50ms"}}
    assert run.batches.start_s[run.batches.start_s > 4.85].head(4).round(3).tolist() == [4.9, 5.0, 5.05, 5.1]
    assert len(noted) == 1
    again = quiet_lab([0.01, 60.0]).run(clock="virtual", cost=0, controls=run.controls)
    assert again.batches.start_s.equals(run.batches.start_s)


def test_a_silence_is_passed_over_where_time_is_measured_too(monkeypatch):
    """Batches start on the grid, and none that has no rows takes any time."""
    noted = []
    monkeypatch.setattr(RunLog, "note_alike", noting(noted))
    batches = quiet_lab([0.01, 60.0]).run("90s", clock="virtual").batches

    assert batches.start_s.round(9).tolist() == [round(0.1 * (i + 1), 9) for i in range(900)]
    assert batches.num_input_rows[batches.num_input_rows > 0].index.tolist() == [0, 600]
    assert (batches.end_s[batches.status == "empty"] == batches.start_s[batches.status == "empty"]).all()
    assert sum(noted) > 800


@pytest.mark.parametrize("policy", ["asap", "skip", "queue"])
def test_what_would_have_been_passes_over_a_silence_too(policy, monkeypatch):
    """predict and run.what_if look at the batches with rows, and count the others."""
    times = [0.01, 0.02, 0.35, 300.03, 300.04, 450.0]
    trace = mblab.arrivals.trace(times)

    def predicted():
        return mblab.predict(trace, ["100ms", "170ms"], cost=0.25, duration="500s", policy=policy).table

    passed = predicted()
    ran = quiet_lab(times, policy=policy).run("500s", clock="virtual", cost=0.25).summary()
    monkeypatch.setattr(simulate, "LONG", 10**9)

    pd.testing.assert_frame_equal(passed, predicted())
    assert passed.load.iloc[0] == pytest.approx(ran.load)
    assert passed.latency_p95_s.iloc[0] == pytest.approx(ran.latency_p95_s)


def test_a_month_of_silence_is_predicted_in_a_moment():
    """As it is run in a moment."""
    source = replay(pd.DataFrame({"t": pd.to_datetime(["2026-01-01", "2026-02-01"])}), arrival="t")
    lab = Lab(source, interval="100ms", name="silence")
    lab.batch(lambda batch: {"n": len(batch)})
    began = time.process_time()
    run = lab.run(clock="virtual", cost=0.01)
    table = mblab.predict(source, ["100ms", "1s"], cost=0.01, duration="31d").table
    said = run.what_if("100ms").table

    assert time.process_time() - began < 3
    assert table.load.iloc[0] == pytest.approx(0.01 / (31 * DAY), rel=0.01)
    assert said.load.iloc[0] == pytest.approx(run.summary().load, rel=0.01)

"""What a run can say of itself, meanwhile and afterwards."""

import logging

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import BatchError, CostModel, Lab, SettingError
from mblab.engine.records import BatchRecord
from mblab.metrics import EXACT_LIMIT, LogBuckets, RunLog
from mblab.runs.slowest import Slowest
from mblab.testing import ManualClock, rows_at


def record(k, arrival_ns, end_ns, start_ns=None):
    n = len(arrival_ns)
    start = end_ns if start_ns is None else start_ns
    return BatchRecord(
        batch_id=k, attempt=1, status="ok", interval_ns=10**9, policy="asap", version=1, due_ns=start, start_ns=start,
        wake_ns=0, end_ns=end_ns, num_input_rows=n, num_output_rows=n, backlog_rows=0, waiting_rows=0,
        max_rows_per_batch=None, processing_ns=0, sink_ns=0, commit_ns=0, cpu_ns=0, state_bytes=None, error="",
        arrival_ns=arrival_ns, groups=None,
    )  # fmt: skip


def test_what_if_replays_the_run_s_own_arrivals_and_costs_elsewhere():
    """At its own interval it says what was measured; at another what a run there measures."""
    times = np.sort(np.random.default_rng(4).uniform(0, 30, 3000))

    def at(interval):
        return Lab(rows_at(times), interval=interval).run("30s", clock="virtual", cost=lambda n: 0.05 + 1e-3 * n)

    run, other = at("1s"), at("300ms")
    t = run.what_if(["300ms", "1s"]).table.set_index("interval_s")

    assert t.latency_p95_s[1.0] == pytest.approx(run.summary().latency_p95_s, rel=0.02)
    assert t.latency_p95_s[0.3] == pytest.approx(other.summary().latency_p95_s, rel=0.05)
    assert t.load[0.3] == pytest.approx(other.summary().load, rel=0.05)
    assert len(run.what_if("500ms", policy="skip").table) == 1
    with pytest.raises(SettingError, match="policy='queue'"):
        run.what_if("1s", policy="queue", max_rows_per_batch=3)


def test_what_if_is_the_prediction_by_the_law_of_the_run_s_batches():
    """One law of cost: the curve is that of `predict` to the last bit, and a batch that raised is left out of it."""
    times = np.arange(800) / 100
    lab = Lab(rows_at(times), interval="1s", name="one_law")

    @lab.batch
    def fails_at_last(batch, state):
        state["batches"] = state.get("batches", 0) + 1
        if state["batches"] == 8:
            raise ValueError

    with pytest.raises(BatchError):
        lab.run("8s", clock="virtual", cost=0.043)
    run = lab.last_run
    arrivals = mblab.arrivals.trace(np.concatenate([run.records.arrival_s, run.waiting]))
    until = run.standing.horizon_s
    table = run.what_if(["500ms", "1s"], policy="skip", max_rows_per_batch=70).table

    assert run.batches.status.tolist() == ["ok"] * 7 + ["failed"]
    assert (len(run.records), len(run.waiting)) == (700, 100)
    assert run.batches.batch_duration_s.iloc[-1] < 0.02
    assert run.what_if("1s").table.load[0] == pytest.approx(0.043, rel=1e-4)
    pd.testing.assert_frame_equal(
        table,
        mblab.predict(
            arrivals, ["500ms", "1s"], cost=CostModel.of(run.batches), duration=until, policy="skip",
            max_rows_per_batch=70,
        ).table,
        check_exact=True,
    )  # fmt: skip


def test_what_if_of_an_overloaded_run_does_not_mistake_unprocessed_rows_for_silence():
    """Only processed rows have a noted arrival; the prediction ends with them instead of seeing the stream dry up."""
    run = Lab(rows_at(np.arange(6000) / 100), max_rows_per_batch=50).run(
        "60s", clock="virtual", cost=lambda n: 0.01 * n
    )
    row = run.what_if("1s", max_rows_per_batch=50).table.iloc[0]

    assert run.summary().backlog_rows == 3000
    assert row.regime == "unsustainable"
    assert row.throughput == pytest.approx(50, rel=0.05)


def test_the_slowest_records_name_the_batch_that_blocked_them():
    """A=[0,.4,1,1.2,3.1] T=1: the row at 1.2 waits for batch 0 until 2.3; 3.1 waits for batch 1."""
    run = Lab(rows_at([0, 0.4, 1, 1.2, 3.1])).run("5s", clock="virtual", cost=lambda n: 0.3 + 0.5 * n)
    s = run.slowest(3)

    assert s.latency_s.tolist() == pytest.approx([2.6, 2.4, 2.3])
    assert s.blocked_by.tolist() == [0, 0, -1]
    waits = s.filter(like="_wait_s").sum(axis=1)
    assert waits.tolist() == pytest.approx(s.latency_s.tolist())
    with pytest.raises(SettingError, match="at least 1"):
        run.slowest(0)


def test_the_slowest_show_themselves_as_a_waterfall_and_stay_a_frame():
    """Four segments a record that end at its latency; the batch in the way is written beside the bar."""
    run = Lab(rows_at([0, 0.4, 1, 1.2, 3.1])).run("5s", clock="virtual", cost=lambda n: 0.3 + 0.5 * n)
    slowest = run.slowest(2)
    spec = slowest.waterfall().to_dict()
    bars, names = (list(spec["datasets"].values()) if "datasets" in spec else [
        layer["data"]["values"] for layer in spec["vconcat"][0]["layer"][:2]
    ])  # fmt: skip
    html = slowest._repr_html_()

    assert isinstance(slowest, Slowest)
    assert type(slowest.head(1)) is pd.DataFrame
    assert [p["to_s"] for p in bars][3::4] == pytest.approx([2.6, 2.4])
    assert [p["wait_s"] for p in bars][:4] == pytest.approx([1.0, 0.3, 0.0, 1.3])
    assert [n["blocked"] for n in names] == ["behind batch 0", "behind batch 0"]
    assert "<svg" in html
    assert "blocked_by" in html


def test_a_run_without_records_has_an_empty_waterfall():
    """Nothing has to be asked first."""
    slowest = Lab(rows_at([])).run("1s", clock="virtual", cost=0).slowest()

    assert len(slowest) == 0
    assert "no records yet" in slowest._repr_html_()


# -- what it keeps -------------------------------------------------------------------------------------------------


def test_quantiles_are_exact_to_five_million_records_and_within_one_percent_beyond():
    """The boundary itself: 5 000 000 records are exact; one batch more is a sketch under 1 % off."""
    log, size, rng = RunLog(), 50_000, np.random.default_rng(1)
    every = []
    for k in range(EXACT_LIMIT // size + 1):
        latency = np.sort((rng.lognormal(0, 1.5, size) * 1e9).astype(np.int64))[::-1]
        end = 10**15 + k * 10**9
        if k == EXACT_LIMIT // size:
            _, totals, held, sketch = log.summary_parts(None, None)
            assert sketch is None
            assert totals.rows == len(held) == EXACT_LIMIT
            assert np.quantile(held, 0.95) == pytest.approx(np.quantile(np.concatenate(every), 0.95), rel=1e-12)
        every.append(latency / 1e9)
        log.note(record(k, end - latency, end))
    for k in range(10):  # enough for the log to settle and let the oldest go
        every.append(latency / 1e9)
        log.note(record(EXACT_LIMIT // size + 1 + k, end - latency, end))
    _, totals, held, sketch = log.summary_parts(None, None)

    assert totals.rows == EXACT_LIMIT + 11 * size
    assert len(held) <= EXACT_LIMIT + 262_144
    assert sketch is not None
    sketch.add(held)
    whole = np.concatenate(every)
    for q in (0.5, 0.95, 0.99):
        assert sketch.quantile(q) == pytest.approx(np.quantile(whole, q), rel=0.01)


def test_quantiles_stay_exact_when_many_small_batches_are_let_go():
    """`batches_limit` bounds the batches, not the exactness: that ends at five million records."""
    log, latencies = RunLog(batches_limit=300), []
    for k in range(3000):
        end = (k + 1) * 10**9
        arrival = end - np.array([900_000_000 - k, 100_000 + k])
        latencies += [0.9 - k / 1e9, (100_000 + k) / 1e9]
        log.note(record(k, arrival, end))
    frame, totals, held, sketch = log.summary_parts(None, None)

    assert len(log.batches()) == 300
    assert len(frame) < 900
    assert totals.batches == 3000
    assert sketch is None
    assert np.sort(held) == pytest.approx(np.sort(latencies))


@pytest.mark.parametrize("value", [1e-9, 1e-6, 0.001, 1.0, 3600.0, 1e7])
def test_a_log_bucket_is_under_one_percent_off_anywhere(value):
    """From a nanosecond to months."""
    buckets = LogBuckets()
    buckets.add(np.array([value]))

    assert buckets.quantile(0.5) == pytest.approx(value, rel=0.01)


def test_batches_limit_bounds_the_frame_and_the_summary_still_covers_all():
    """The newest batches stay."""
    lab = Lab(rows_at(np.arange(2000) + 0.5), batches_limit=100)
    run = lab.run(clock="virtual", cost=0.25)

    assert run.batches.batch_id.tolist() == list(range(1900, 2000))
    assert run.summary().batches == 2000
    assert run.summary().latency_max_s == pytest.approx(0.75)
    assert run.summary().quantiles == "exact"


def test_freshness_staleness_and_cpu_time_are_what_they_are_called():
    """Freshness: end − newest arrival; staleness: the longest time between two deliveries; CPU: the thread's own."""
    lab = Lab(rows_at([0.2, 0.9, 1.5, 4.75]))

    @lab.batch
    def work(batch):
        return int(sum(i * i for i in range(200_000)))

    declared = lab.run("6s", clock="virtual", cost=0.1)
    b = declared.batches[declared.batches.status == "ok"]

    assert b.freshness_s.tolist() == pytest.approx([0.2, 0.6, 0.35])
    assert declared.summary().staleness_max_s == pytest.approx(3.0)
    assert declared.batches.freshness_s.isna().sum() == 3
    measured = lab.run("6s", clock="virtual").batches.query("status == 'ok'")
    assert (measured.cpu_time_s > 0.001).all()
    assert (measured.cpu_time_s <= measured.processing_time_s + 0.01).all()


def test_every_try_of_a_batch_is_an_attempt():
    """A batch that failed twice has three rows, the others one; empty batches none."""
    lab = Lab(rows_at([0.1, 1.1, 3.1]), name="tries")
    fails = [True, True]

    @lab.batch
    def shaky(batch):
        if batch["row"].iloc[0] == 1 and fails:
            fails.pop()
            raise ValueError("not yet")
        return batch

    with pytest.raises(BatchError):
        lab.run("4s", clock="virtual", cost=0.1)
    with pytest.raises(BatchError):
        lab.resume()
    run = lab.resume()
    tries = run.attempts

    assert tries.batch_id.tolist() == [0, 1, 1, 1, 3]
    assert tries.attempt.tolist() == [1, 1, 2, 3, 1]
    assert ["not yet" in e for e in tries.error] == [False, True, True, False, False]
    assert run.batches.status.tolist() == ["ok", "retried", "empty", "ok"]
    assert run.summary().failures == 2


# -- who hears of it -----------------------------------------------------------------------------------------------


def test_on_batch_is_called_with_each_batch_s_row_and_may_move_a_knob():
    """A dict as in `run.batches`; an automatic hand on the interval is three lines."""
    lab, seen = Lab(rows_at(np.arange(100) / 10), interval="1s", name="hook"), []

    @lab.on_batch
    def slower(progress):
        seen.append(progress)
        if progress["batch_id"] == 2:
            lab.interval = "2s"

    run = lab.run("9s", clock="virtual", cost=0)

    assert [p["batch_id"] for p in seen] == run.batches.batch_id.tolist()
    assert str(seen[-1]) == str(run.last_progress)
    assert run.batches.interval_s.tolist() == [1, 1, 1, 2, 2, 2]


def test_a_failing_hook_is_logged_and_the_run_goes_on(caplog):
    """The other hooks are called, every batch is processed."""
    lab, seen = Lab(rows_at([0.1, 1.1, 2.1]), name="bad hook"), []

    @lab.on_batch
    def broken(progress):
        raise RuntimeError("dashboard is gone")

    @lab.on_batch
    def fine(progress):
        seen.append(progress["batch_id"])

    with caplog.at_level(logging.ERROR, "mblab"):
        run = lab.run(clock="virtual", cost=0)

    assert run.status == "finished"
    assert seen == [0, 1, 2]
    assert [r.levelname for r in caplog.records] == ["ERROR"] * 3
    assert "broken failed on batch 0" in caplog.text
    assert "dashboard is gone" in caplog.text


def test_a_hook_of_the_same_name_replaces_the_earlier_one_and_remove_takes_it_out():
    """A cell that is run again does not make the hook fire twice."""
    lab, seen = Lab(rows_at([0.1, 1.1]), name="hooks"), []
    for mark in "ab":

        def note(progress, mark=mark):
            seen.append(mark)

        lab.on_batch(note)
    lab.run(clock="virtual", cost=0)
    lab.remove("note")
    lab.run(clock="virtual", cost=0)

    assert seen == ["b", "b"]
    with pytest.raises(SettingError, match="on_batch needs a function"):
        lab.on_batch(3)


def test_the_log_has_a_line_for_every_event_and_batch(caplog):
    """Lifecycle at INFO, batches at DEBUG, what halts at ERROR; each names the run and the lab."""
    lab = Lab(rows_at([0.1, 1.1]), name="logged")
    broken = [True]

    @lab.batch
    def f(batch):
        if broken and batch["row"].iloc[0] == 1:
            raise ValueError("no")

    with caplog.at_level(logging.DEBUG, "mblab"):
        with pytest.raises(BatchError):
            lab.run(clock="virtual", cost=0)
        broken.clear()
        run = lab.resume()
    lines = [(r.levelname, r.getMessage()) for r in caplog.records]

    assert [level for level, _ in lines] == ["INFO", "DEBUG", "ERROR", "DEBUG", "INFO"]
    assert all(f"run {run.run_id} of logged" in text for _, text in lines)
    assert lines[0][1].endswith("running")
    assert "batch 0 ok: 1 rows in, 0 out" in lines[1][1]
    assert "f failed on batch 1" in lines[2][1]
    assert lines[4][1].endswith("finished")


def test_without_a_handler_nothing_is_printed(capfd):
    """A library does not talk unasked, not even of a failing hook."""
    lab = Lab(rows_at([0.1]), name="quiet")
    lab.on_batch(lambda progress: 1 / 0)
    lab.run(clock="virtual", cost=0)

    assert capfd.readouterr() == ("", "")


def test_with_lab_stops_the_run_when_the_block_ends():
    """Also when it ends by an error."""
    clock = ManualClock()
    with pytest.raises(ZeroDivisionError), Lab(rows_at(np.arange(100)), name="block") as lab:
        run = lab.start(clock=clock)
        1 / 0  # noqa: B018

    assert run.status == "stopped"

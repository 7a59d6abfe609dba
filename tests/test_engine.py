"""The laws of a run: every row in exactly one batch, waits that add up, the same run again from the same seed."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab import BatchError, Lab, SinkError
from mblab.testing import ListSink, ManualClock, rows_at

from .laws import examples

laws = examples(500)
times = st.lists(st.integers(0, 2500).map(lambda ms: ms / 1000), max_size=40).map(sorted)
intervals = st.integers(50, 900).map(lambda ms: ms / 1000)
policies = st.sampled_from(["asap", "skip", "queue"])
costs = st.tuples(st.integers(0, 700), st.integers(0, 40)).map(lambda ab: lambda n: ab[0] / 1000 + ab[1] / 1000 * n)


def lab_on(arrivals, interval, policy="asap", cap=None):
    lab = Lab(rows_at(arrivals), interval=interval, policy=policy, max_rows_per_batch=cap)
    lab.batch(lambda batch: batch, name="same")
    return lab


def assert_every_row_is_in_exactly_one_batch_in_order(run, count):
    output, records = run.output, run.records
    batches = run.batches.set_index("batch_id")
    start = batches.start_s.reindex(records.batch_id).to_numpy()

    assert (output["row"].tolist() if len(output) else []) == list(range(count))
    assert output.batch_id.is_monotonic_increasing
    assert batches.num_input_rows.sum() == len(records) == count
    assert (records.arrival_s.to_numpy() < start).all()


def assert_the_four_waits_sum_to_the_latency(run):
    r, b = run.records, run.batches
    waits = r[["batching_wait_s", "scheduling_wait_s", "backlog_wait_s", "processing_wait_s"]]
    ends = b.set_index("batch_id").end_s.reindex(r.batch_id).to_numpy()
    full = b[b.num_input_rows > 0]
    per_batch = full.batching_wait_s + full.scheduling_wait_s + full.backlog_wait_s + full.batch_duration_s

    assert np.allclose(waits.sum(axis=1), r.latency_s, atol=1e-9, rtol=0)
    assert (waits >= -1e-12).all().all()
    assert np.allclose(ends - r.arrival_s, r.latency_s, atol=1e-9, rtol=0)
    assert np.allclose(per_batch, full.latency_mean_s, atol=1e-9, rtol=0)


def assert_who_waited_for_others_is_counted(run):
    """`behind_share` is the share of the records with a scheduling or a backlog wait, of the whole run and of its parts."""
    records, half = run.records, float(run.batches.start_s.median())
    waited = (records.scheduling_wait_s > 0) | (records.backlog_wait_s > 0)
    starts = records.batch_id.map(run.batches.set_index("batch_id").start_s)
    for summary, part in (
        (run.summary(), starts >= 0), (run.summary(None, half), starts < half), (run.summary(half, None), starts >= half),
    ):  # fmt: skip
        assert summary.behind_share == (waited[part].mean() if part.any() else 0.0)
        if summary.regime in ("on_schedule", "catching_up"):
            assert (summary.regime == "catching_up") == (summary.behind_share > 0.05)


def assert_quantiles_are_numpy_s(run):
    by_batch, summary = run.records.groupby("batch_id"), run.summary()
    full = run.batches[run.batches.num_input_rows > 0].set_index("batch_id")

    assert np.allclose(by_batch.latency_s.mean(), full.latency_mean_s, atol=1e-9)
    for q, column in ((0.5, "latency_p50_s"), (0.95, "latency_p95_s"), (0.99, "latency_p99_s"), (1, "latency_max_s")):
        assert np.allclose(by_batch.latency_s.quantile(q), full[column], atol=1e-9)
        assert run.records.latency_s.quantile(q) == pytest.approx(summary[column], abs=1e-9)
    assert np.allclose(full.end_s - by_batch.arrival_s.max(), full.freshness_s, atol=1e-9)


@given(times, intervals, policies, st.one_of(st.none(), st.integers(1, 20)), costs)
@laws
def test_a_drained_run_keeps_its_books(arrivals, interval, policy, cap, cost):
    """Any arrivals, interval, policy, cap and cost: rows, waits and quantiles, per record, per batch and in all."""
    cap = None if policy == "queue" else cap
    run = lab_on(arrivals, interval, policy, cap).run(clock="virtual", cost=cost)

    assert_every_row_is_in_exactly_one_batch_in_order(run, len(arrivals))
    assert_the_four_waits_sum_to_the_latency(run)
    if arrivals:
        assert_quantiles_are_numpy_s(run)
        assert_who_waited_for_others_is_counted(run)
    if cap:
        assert (run.batches.num_input_rows <= cap).all()


@given(times, intervals, costs, st.integers(1, 20))
@laws
def test_the_backlog_is_what_arrived_and_was_not_taken(arrivals, interval, cost, cap):
    """`backlog_rows` of a batch, and the rows that no batch took at the end of a run of given length."""
    run = lab_on(arrivals, interval, "asap", cap).run("2s", clock="virtual", cost=cost)
    b, s = run.batches, run.summary()
    taken = b.num_input_rows.cumsum()
    arrived = np.searchsorted(np.rint(np.array(arrivals) * 1e9), np.rint(b.start_s * 1e9))

    assert (b.backlog_rows == arrived - taken).all()
    left = [a for a in arrivals if a < 2.0][s.rows :]
    assert s.backlog_rows == len(left)
    assert s.oldest_backlog_age_s == pytest.approx(2.0 - left[0]) if left else math.isnan(s.oldest_backlog_age_s)


@given(times, intervals, policies, st.one_of(st.none(), st.integers(1, 20)), costs)
@laws
def test_waiting_rows_are_what_arrived_and_was_not_delivered_at_a_batch_s_end(arrivals, interval, policy, cap, cost):
    """Under any policy and cap: rows with A < end_s less those of this batch and the ones before."""
    cap = None if policy == "queue" else cap
    b = lab_on(arrivals, interval, policy, cap).run("2s", clock="virtual", cost=cost).batches
    arrived = np.searchsorted(np.rint(np.array(arrivals) * 1e9), np.rint(b.end_s * 1e9))

    assert (b.waiting_rows == arrived - b.num_input_rows.cumsum()).all()
    assert b.max_rows_per_batch.tolist() == ([cap] * len(b) if cap else pytest.approx([math.nan] * len(b), nan_ok=True))


def test_the_rows_of_a_failed_batch_wait():
    """They have arrived and are not delivered, though no later batch will cut them."""
    lab = Lab(rows_at([0.1, 0.2, 1.1, 5.0]), interval="1s")
    lab.batch(lambda batch: 1 / 0, name="broken")
    with pytest.raises(BatchError):
        lab.run("3s", clock="virtual")

    assert lab.last_run.batches[["status", "num_input_rows", "backlog_rows", "waiting_rows"]].to_numpy().tolist() == [
        ["failed", 2, 0, 2]
    ]


def test_a_batch_names_the_version_that_made_it():
    """A step that is replaced while a batch is in hand makes the batches after it."""
    lab = Lab(rows_at([0.5, 1.5]), interval="1s")

    @lab.batch
    def one(batch):
        lab.batch(lambda batch: 2, name="one")
        return 1

    run = lab.run(clock="virtual", cost=0)

    assert run.output.one.tolist() == [1, 2]
    assert run.batches.version.tolist() == [1, 2]


@given(st.integers(0, 2**32), intervals, intervals)
@laws
def test_rows_do_not_depend_on_the_interval(seed, one, other):
    """A simulated stream is the same however it is cut, and the same again from the same seed."""

    def rows(n, rng, times):
        return {"value": rng.normal(size=n)}

    def output(interval):
        source = mblab.simulate(rows, arrivals=mblab.arrivals.poisson(20), duration="3s", seed=seed)
        lab = Lab(source, interval=interval)
        lab.map(lambda batch: batch, name="same")
        return lab.run(clock="virtual", cost=0).output

    first = output(one)

    pd.testing.assert_frame_equal(first, output(one))
    pd.testing.assert_frame_equal(first.drop(columns="batch_id"), output(other).drop(columns="batch_id"))


KEYS = st.lists(
    st.tuples(st.integers(0, 3000), st.sampled_from(["a", "b", None, "c"]), st.integers(-9, 9)), max_size=40
)


@given(KEYS, intervals)
@laws
def test_a_keyed_step_sees_each_key_s_rows_alone_in_order(rows, interval):
    """Running totals per key equal pandas' own, whatever the cut; a missing key is a key; state is per key."""
    rows = sorted(rows, key=lambda r: r[0])
    source = rows_at([r[0] / 1000 for r in rows], key=[r[1] for r in rows], value=[r[2] for r in rows])
    lab = Lab(source, interval=interval)

    @lab.batch(key="key")
    def running(batch, state):
        assert batch["key"].nunique(dropna=False) == 1
        assert list(batch.index) == list(range(len(batch)))
        total = batch["value"].cumsum() + state.get("total", 0)
        state["total"] = int(total.iloc[-1])
        return batch.assign(total=total)

    run = lab.run(clock="virtual", cost=0)
    frame = pd.DataFrame(rows, columns=["at", "key", "value"])
    if not rows:
        assert run.output.empty
        return
    expected = frame.assign(total=frame.groupby("key", dropna=False).value.cumsum())
    for key, part in run.output.groupby("key", dropna=False):
        mine = expected[expected.key.isna() if pd.isna(key) else expected.key == key]
        assert part.total.tolist() == mine.total.tolist()
    last = expected.groupby("key", dropna=False).total.last()
    assert {str(k): v["total"] for k, v in run.state["running"].items()} == {str(k): v for k, v in last.items()}


@given(times, intervals, intervals)
@laws
def test_row_wise_steps_do_not_see_the_cut(arrivals, one, other):
    """Batching, then concatenating, equals running whole."""

    def doubled(interval):
        lab = lab_on(arrivals, interval)
        lab.map(lambda batch: batch.assign(twice=batch["row"] * 2), name="twice")
        return lab.run(clock="virtual", cost=0).output.drop(columns="batch_id")

    pd.testing.assert_frame_equal(doubled(one), doubled(other))


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 2900),
        st.one_of(
            st.integers(1, 500).map(lambda ms: {"interval": f"{ms}ms"}),
            st.sampled_from([{"policy": "skip"}, {"policy": "asap"}, {"policy": "queue", "max_rows_per_batch": None}]),
            st.integers(1, 8).map(lambda f: {"speedup": f / 2}),
            st.sampled_from([{"policy": "asap", "max_rows_per_batch": 3}, {"max_rows_per_batch": None}]),
        ),
    ),
    max_size=4,
    unique_by=lambda c: c[0],
).map(lambda changes: sorted(changes, key=lambda c: c[0]))


def cuts(run):
    return run.batches[["due_s", "start_s", "end_s", "interval_s", "num_input_rows", "policy", "backlog_rows"]]


@given(times, intervals, policies, costs, CHANGES)
@laws
def test_scripted_changes_lose_nothing_and_repeat_themselves(arrivals, interval, policy, cost, changes):
    """Under any script every row is in exactly one batch, waits add up, and `run.controls` gives the same run again."""
    controls = {f"{at}ms": knobs for at, knobs in changes}
    run = lab_on(arrivals, interval, policy).run(clock="virtual", cost=cost, controls=controls)
    again = lab_on(arrivals, interval, policy).run(clock="virtual", cost=cost, controls=run.controls)

    assert_every_row_is_in_exactly_one_batch_in_order(run, len(arrivals))
    assert_the_four_waits_sum_to_the_latency(run)
    if arrivals:
        assert_who_waited_for_others_is_counted(run)
    pd.testing.assert_frame_equal(cuts(run), cuts(again))


@given(
    st.lists(st.integers(0, 900).map(lambda ms: ms / 1000), max_size=20).map(sorted),
    st.integers(20, 400).map(lambda ms: ms / 1000),
    policies,
    st.integers(0, 300).map(lambda ms: ms / 1000),
    st.lists(st.tuples(st.integers(1, 30), st.integers(20, 300)), max_size=2, unique_by=lambda c: c[0]).map(sorted),
)
@laws
def test_the_wall_driver_cuts_exactly_as_the_virtual_one(arrivals, interval, policy, cost, changes):
    """A thread turned by a manual clock, its knobs moved by hand, gives the batches of the virtual run with `controls=`."""
    lab, clock = lab_on(arrivals, interval, policy), ManualClock()
    run = lab.start("1.2s", clock=clock, cost=cost)
    now = 0
    for at, ms in changes:
        clock.advance((at * 37 - now) / 1000)
        now = at * 37
        lab.interval = f"{ms}ms"
        clock.settle()
    clock.advance((60_000 - now) / 1000)
    assert run.wait("20s")
    controls = {f"{at * 37}ms": {"interval": f"{ms}ms"} for at, ms in changes}
    virtual = lab_on(arrivals, interval, policy).run("1.2s", clock="virtual", cost=cost, controls=controls)

    pd.testing.assert_frame_equal(cuts(run), cuts(virtual))


def test_state_and_rows_of_a_failed_batch_are_as_if_it_had_not_run():
    """Whatever the step changed in place before it raised, the next try starts from the savepoint."""
    lab = Lab(rows_at([0.1, 0.2, 1.1, 1.2], value=[1, 2, 3, 4]), interval="1s")
    broken = True

    @lab.batch
    def total(batch, state):
        state["sum"] = state.get("sum", 0) + int(batch["value"].sum())
        state.setdefault("seen", []).append(len(batch))
        batch["value"] = -1
        if broken and state["sum"] > 3:
            raise ValueError("bad luck")
        return state["sum"]

    with pytest.raises(BatchError, match=r"total failed on batch 1 at line \d+: ValueError: bad luck"):
        lab.run("2s", clock="virtual", cost=0.25)
    assert lab.last_run.status == "halted"
    assert lab.last_run.state["total"] == {"sum": 3, "seen": [2]}
    assert lab.last_run.batches.status.tolist() == ["ok", "failed"]
    assert np.isnan(lab.last_run.batches.latency_mean_s.iloc[1])
    assert lab.last_run.summary().backlog_rows == 2

    broken = False
    run = lab.resume()

    assert run.status == "finished"
    assert run.output.total.tolist() == [3, 10]
    assert run.state["total"] == {"sum": 10, "seen": [2, 2]}
    assert run.batches.status.tolist() == ["ok", "retried"]
    assert run.batches.start_s.tolist() == [1, 2]
    assert run.attempts[["batch_id", "attempt"]].to_numpy().tolist() == [[0, 1], [1, 1], [1, 2]]
    assert run.summary().failures == 1


def test_a_later_step_s_failure_restores_the_state_of_the_earlier_ones():
    """The chain is one batch: all of it or nothing."""
    lab = Lab(rows_at([0.1, 1.1]), interval="1s")
    lab.batch(lambda batch, state: state.update(n=state.get("n", 0) + 1) or batch, name="first")
    lab.batch(lambda batch: 1 / 0 if batch["row"].iloc[0] else batch, name="second")

    with pytest.raises(BatchError):
        lab.run("2s", clock="virtual", cost=0)

    assert lab.last_run.state == {"first": {"n": 1}, "second": {}}


def test_a_sink_that_fails_halts_the_run_and_gets_the_batch_again():
    """What the first sink had taken of the batch is rolled back; the second try delivers once."""

    class Moody(ListSink):
        target = "moody"
        fails = True

        def deliver(self, rows, delivery):
            if self.fails and delivery.batch_id == 1:
                raise OSError("disk on fire")
            super().deliver(rows, delivery)

    lab = lab_on([0.1, 1.1, 2.1], "1s")
    good, moody = ListSink(), Moody()
    lab.to(good)
    lab.to(moody)
    with pytest.raises(SinkError, match="moody refused batch 1: OSError: disk on fire"):
        lab.run(clock="virtual", cost=0)
    assert [b for b, _ in good.batches] == [0]
    moody.fails = False
    lab.resume()

    assert [b for b, _ in good.batches] == [b for b, _ in moody.batches] == [0, 1, 2]


def test_empty_batches_cost_nothing_and_are_not_called_unless_asked_for():
    """`run_empty=True` calls the steps with an empty frame of the source's columns and dtypes."""
    calls = []

    def note(batch):
        calls.append((len(batch), list(batch.columns), str(batch.dtypes.iloc[0])))

    for run_empty, expected in ((False, [1, 1]), (True, [1, 0, 1])):
        calls.clear()
        lab = Lab(rows_at([0.5, 2.5], value=[1.5, 2.5]), interval="1s", run_empty=run_empty)
        lab.batch(note)
        run = lab.run("3s", clock="virtual", cost=0.1)

        assert [n for n, _, _ in calls] == expected
        assert {(tuple(c), d) for _, c, d in calls} == {(("value",), "float64")}
        assert run.batches.num_input_rows.tolist() == [1, 0, 1]
        assert run.batches.batch_duration_s.tolist() == pytest.approx([0.1, 0, 0.1])
    assert run.batches.status.tolist() == ["ok", "ok", "ok"]


def test_without_duration_a_run_ends_when_the_source_is_drained():
    """No trailing empty batch; with a duration there are as many as fit."""
    assert lab_on([0.5, 3.2], "1s").run(clock="virtual", cost=0).batches.num_input_rows.tolist() == [1, 0, 0, 1]
    assert len(lab_on([0.5], "1s").run("4s", clock="virtual", cost=0).batches) == 4
    assert len(lab_on([], "1s").run(clock="virtual", cost=0).batches) == 0


def test_a_declared_cost_is_asked_once_per_batch_with_rows_in_order():
    """So a stateful cost function gives the same run again."""
    asked = []
    lab_on([0.5, 0.6, 2.5], "1s").run("4s", clock="virtual", cost=lambda n: asked.append(n) or 0.1)

    assert asked == [2, 1]


def test_a_measured_virtual_run_moves_the_clock_by_what_the_function_took():
    """Idle time is skipped, work is not: the batch's duration is the sleep's."""
    import time

    lab = Lab(rows_at(np.arange(20) * 3600), interval="10h")
    lab.batch(lambda batch: time.sleep(0.02), name="sleepy")
    run = lab.run(clock="virtual")

    assert (run.batches.processing_time_s >= 0.02).all()
    assert np.allclose(run.batches.end_s - run.batches.start_s, run.batches.batch_duration_s)
    assert (run.batches.batch_duration_s >= run.batches.processing_time_s).all()
    assert run.batches.start_s.iloc[-1] >= 20 * 3600 - 1


def test_the_context_knows_the_batch():
    """ctx: batch_id, attempt, run_id, interval_s, start_s, arrivals aligned with the rows, watermark, replay."""
    at = pd.to_datetime(["2026-01-01 00:00:05", "2026-01-01 00:00:01", "2026-01-01 00:00:09"])
    frame = pd.DataFrame({"event_time": at, "seen": [0.25, 0.75, 1.25]})
    lab = Lab(mblab.replay(frame, arrival="seen", event_time="event_time"), interval="500ms")
    seen = []

    @lab.batch
    def note(batch, state, ctx):
        seen.append(
            (ctx.batch_id, ctx.attempt, ctx.interval_s, ctx.start_s, ctx.arrivals.tolist(), ctx.watermark, ctx.replay)
        )
        assert ctx.arrivals.dtype == np.float64
        assert len(ctx.run_id) == 12

    lab.run(clock="virtual", cost=0)

    assert seen == [
        (0, 1, 0.5, 0.5, [0.0], None, False),
        (1, 1, 0.5, 1.0, [0.5], pd.Timestamp("2026-01-01 00:00:05"), False),
        (2, 1, 0.5, 1.5, [1.0], pd.Timestamp("2026-01-01 00:00:05"), False),
    ]


def test_a_change_of_speed_moves_only_future_arrivals():
    """A future arrival A becomes u + (A − u)·old/new."""
    run = lab_on([0.1, 1.0, 3.0, 5.0], "100ms").run(clock="virtual", cost=0, controls={"1s": {"speedup": 2}})

    assert run.records.arrival_s.tolist() == [0.1, 1.0, 2.0, 3.0]


def test_leaving_queue_merges_what_is_pending_into_one_batch():
    """queue falls behind; switched to asap the pending ranges are one batch, due when the oldest was."""
    arrivals = (np.arange(100) + 0.5) / 10
    run = lab_on(arrivals, "1s", "queue").run("10s", clock="virtual", cost=2.5, controls={"4s": {"policy": "asap"}})
    b = run.batches

    # grid 1 → start 1 … 3.5, grid 2 → start 3.5 … 6 (its start is ≤ u = 4), then everything that arrived before 6
    assert b.start_s.tolist() == [1, 3.5, 6, 8.5]
    assert b.num_input_rows.tolist() == [10, 10, 40, 25]
    assert b.due_s.tolist()[:3] == [1, 2, 3]
    assert b.policy.tolist() == ["queue", "queue", "asap", "asap"]


def test_entering_queue_takes_all_that_waits_first():
    """The first range takes every untaken row with A < its grid point, a capped backlog included."""
    arrivals = (np.arange(100) + 0.5) / 10
    lab = lab_on(arrivals, "1s", "asap", 4)
    run = lab.run("6s", clock="virtual", cost=0, controls={"3.5s": {"policy": "queue", "max_rows_per_batch": None}})

    assert run.batches.num_input_rows.tolist() == [4, 4, 4, 28, 10, 10]
    assert (run.records.tail(48).backlog_wait_s == 0).all()


def test_a_source_that_breaks_half_way_halts_the_run_instead_of_ending_it():
    """A generator that raised looks exhausted; the rows behind the break must not be forgotten silently."""
    source = rows_at(np.arange(10) / 10)

    class Breaks:
        name, speedup, endless, event_time = "breaks", 1.0, False, None

        def open(self, position=None):
            yield from source.open(position)
            raise mblab.SourceError("row 11 of breaks.csv is ragged")

        def describe(self):
            return "breaks"

    lab = Lab(Breaks(), interval="300ms")
    with pytest.raises(mblab.SourceError, match="row 11"):
        lab.run(clock="virtual", cost=0)
    assert lab.last_run.status == "halted"
    with pytest.raises(mblab.SourceError, match="row 11"):
        lab.resume()


def test_what_a_step_returned_is_out_of_its_hands():
    """A frame that it also keeps and changes in place later is not changed in the output, nor in a later step's input."""
    lab = Lab(rows_at([0.1, 1.1, 2.1]), interval="1s")

    @lab.batch
    def keeps(batch, state):
        if "last" in state:
            state["last"]["row"] = -1
        state["last"] = batch
        return batch

    @lab.batch
    def spoils(batch):
        result = batch.copy()
        batch["row"] = -2
        return result

    run = lab.run(clock="virtual", cost=0)

    assert run.output["row"].tolist() == [0, 1, 2]
    assert run.state["keeps"]["last"]["row"].tolist() == [2]


def test_a_row_without_event_time_does_not_take_the_watermark_back():
    """The newest event time of all earlier batches, also when the row before the cut has none."""
    at = pd.to_datetime(["2026-01-01 00:00:05", None, "2026-01-01 00:00:03", None, "2026-01-01 00:00:09"])
    frame = pd.DataFrame({"seen": [0.1, 0.2, 1.1, 1.2, 2.1], "event_time": at})
    lab = Lab(mblab.replay(frame, arrival="seen", event_time="event_time"), interval="1s")
    marks = []
    lab.batch(lambda batch, state, ctx: marks.append(ctx.watermark), name="watch")
    lab.run(clock="virtual", cost=0)

    assert marks == [None, at[0], at[0]]


def test_an_aborted_batch_s_rows_stay_in_the_books():
    """A second Ctrl-C aborts the batch in hand: its rows were taken by no batch, so the summary counts them as waiting."""
    lab = Lab(rows_at([0.1, 0.2, 1.1, 1.2, 1.3]), interval="1s")

    @lab.batch
    def interrupted(batch):
        if len(batch) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.run("3s", clock="virtual", cost=0)
    summary = lab.last_run.summary()

    assert lab.last_run.status == "stopped"
    assert (summary.rows, summary.backlog_rows) == (2, 3)
    assert summary.oldest_backlog_age_s == pytest.approx(0.9, abs=0.2)


def test_rows_read_before_a_source_broke_are_counted_once():
    """The run ends with what could be read: rows that batches took are no backlog."""

    def broken(n, rng, times):
        if times[0] > 1:
            raise ValueError("no more")
        return {"x": np.zeros(n)}

    lab = Lab(mblab.simulate(broken, arrivals=mblab.arrivals.constant(1000), duration="60s"), interval="1s")
    lab.batch(len, name="rows")
    with pytest.raises(mblab.SourceError, match="no more"):
        lab.run("10s", clock="virtual", cost=0)

    summary = lab.last_run.summary()

    assert summary.rows == 4000
    assert summary.backlog_rows <= 96

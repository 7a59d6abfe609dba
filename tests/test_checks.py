"""What the steps would do otherwise: cut elsewhere, run again."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab import BatchError, HistoryGone, Lab, SettingError
from mblab.checks.cuts import ONE, cuts_of
from mblab.checks.equality import same_value
from mblab.testing import ListSink, assert_cut_invariant, assert_same_as_batch, rows_at
from mblab.tuning.spectrum import latencies_s

from .laws import examples

N = 400


def readings():
    """400 readings of 5 devices in 20 s, the same each time."""
    rng = np.random.default_rng(3)
    return rows_at(
        np.sort(rng.uniform(0, 20, N)),
        row=np.arange(N),
        delay=rng.normal(10, 3, N),
        device=rng.integers(0, 5, N),
        carrier=rng.choice(["UA", "AA", "DL", "B6"], N),
    )


def lab_of(fn, **knobs):
    lab = Lab(readings(), name="checked")
    lab.batch(fn, **knobs)
    return lab


# -- functions whose result depends on the cut ---------------------------------------------------------------------


def mean_of_means(batch):
    return {"mean_delay": batch["delay"].mean()}


def mean_of_means_in_state(batch, state):
    state.setdefault("means", []).append(batch["delay"].mean())
    return {"mean_delay": float(np.mean(state["means"]))}


def last_value(batch):
    return {"last": batch["delay"].iloc[-1]}


def distinct_count(batch):
    return {"devices": batch["device"].nunique()}


def sum_of_distinct_counts(batch, state):
    state["n"] = state.get("n", 0) + batch["device"].nunique()
    return {"devices": state["n"]}


def first_row(batch):
    return batch.iloc[[0]]


def first_row_flag(batch):
    return batch.assign(is_first=batch.index == 0)


def rank(batch):
    return batch.assign(place=batch["delay"].rank())


def centred(batch):
    return batch.assign(above=batch["delay"] - batch["delay"].mean())


def standardised(batch):
    return batch.assign(z=(batch["delay"] - batch["delay"].mean()) / batch["delay"].std())


def median(batch):
    return {"median": batch["delay"].median()}


def top_three(batch):
    return batch.nlargest(3, "delay")


def deduplicated(batch):
    return batch[["carrier"]].drop_duplicates()


def differences(batch):
    return batch.assign(step=batch["delay"].diff())


def batch_cumsum(batch):
    return batch.assign(total=batch["delay"].cumsum())


def above_the_mean(batch):
    return batch[batch["delay"] > batch["delay"].mean()]


def mean_by_carrier(batch):
    return batch.groupby("carrier")["delay"].mean().reset_index()


def most_frequent(batch):
    return {"mode": batch["carrier"].mode()[0]}


def smoothed(batch, state):
    state["level"] = 0.9 * state.get("level", 0.0) + 0.1 * batch["delay"].mean()
    return state["level"]


def how_many_batches(batch, state):
    state["batches"] = state.get("batches", 0) + 1
    return state["batches"]


def only_in_state(batch, state):
    state["level"] = (state.get("level", 0.0) + batch["delay"].mean()) / 2


DEPENDENT = [
    mean_of_means, mean_of_means_in_state, last_value, distinct_count, sum_of_distinct_counts, first_row, first_row_flag,
    rank, centred, standardised, median, top_three, deduplicated, differences, batch_cumsum, above_the_mean,
    mean_by_carrier, most_frequent, smoothed, how_many_batches, only_in_state,
]  # fmt: skip


# -- functions whose result does not -------------------------------------------------------------------------------


def row_wise(batch):
    return batch.assign(hours=batch["delay"] / 60)


def filtered(batch):
    return batch[batch["delay"] > 10]


def renamed(batch):
    return batch[["row", "delay"]].rename(columns={"delay": "minutes"})


def count(batch):
    return {"n": len(batch), "minutes": batch["delay"].sum()}


def count_by_carrier(batch):
    return batch.groupby("carrier")["delay"].agg(["count", "sum"]).reset_index()


def running_sum(batch, state):
    state["sum"] = state.get("sum", 0.0) + batch["delay"].sum()
    return state["sum"]


def running_mean(batch, state):
    state["sum"] = state.get("sum", 0.0) + batch["delay"].sum()
    state["n"] = state.get("n", 0) + len(batch)
    return {"mean_delay": state["sum"] / state["n"]}


def distinct_in_state(batch, state):
    state.setdefault("seen", set()).update(batch["device"].tolist())
    return {"devices": len(state["seen"])}


def totals_table(batch, state):
    for carrier, minutes in batch.groupby("carrier")["delay"].sum().items():
        state[carrier] = state.get(carrier, 0.0) + minutes
    return pd.DataFrame({"carrier": list(state), "minutes": list(state.values())})


def top_three_so_far(batch, state):
    known = pd.concat([state["top"], batch]) if "top" in state else batch
    state["top"] = known.nlargest(3, "delay").reset_index(drop=True)
    return state["top"]


def carried_cumsum(batch, state):
    total = batch["delay"].cumsum() + state.get("total", 0.0)
    state["total"] = float(total.iloc[-1])
    return batch.assign(total=total)


def deduplicated_in_state(batch, state):
    seen = state.setdefault("seen", set())
    new = batch[~batch["device"].isin(seen)].drop_duplicates("device")
    seen.update(new["device"])
    return new


def largest_so_far(batch, state):
    state["max"] = max(state.get("max", -np.inf), batch["delay"].max())
    return {"max": state["max"]}


def welford(batch, state):
    n, mean, squares = state.get("n", 0), state.get("mean", 0.0), state.get("squares", 0.0)
    for x in batch["delay"]:
        n += 1
        d = x - mean
        mean += d / n
        squares += d * (x - mean)
    state.update(n=n, mean=mean, squares=squares)
    return {"mean": mean, "variance": squares / n}


def kept_in_state_only(batch, state):
    state["n"] = state.get("n", 0) + len(batch)
    state["last"] = float(batch["delay"].iloc[-1])


def nothing(batch):
    return None


INVARIANT = [
    row_wise, filtered, renamed, count, count_by_carrier, running_sum, running_mean, distinct_in_state, totals_table,
    top_three_so_far, carried_cumsum, deduplicated_in_state, largest_so_far, welford, kept_in_state_only, nothing,
]  # fmt: skip


@pytest.mark.parametrize("fn", DEPENDENT, ids=lambda f: f.__name__)
def test_check_finds_a_function_that_depends_on_the_cut(fn):
    """A planted one; the sentence names a column and the way on."""
    check = lab_of(fn).check()

    assert not check.ok
    assert "with the batch cut; " in check.text
    assert check.table.verdict.eq("changes").any()


@pytest.mark.parametrize("fn", INVARIANT, ids=lambda f: f.__name__)
def test_check_passes_a_function_that_does_not(fn):
    """Row-wise, adding up, or with what it needs in state."""
    check = lab_of(fn).check()

    assert check.ok, check.table.to_string()
    assert "does not depend on the batch cut" in check.text


def test_the_sentence_is_the_one_a_teacher_would_say():
    """Column, what happens, what to do."""
    assert lab_of(mean_of_means).check().text == "mean_delay changes with the batch cut; keep sum and count in state"
    assert "keep the set of values seen in state" in lab_of(distinct_count).check().text
    assert lab_of(top_three).check().text.startswith("row, delay, device and carrier change with the batch cut")


def test_the_table_shows_where_it_differs_and_both_values():
    """The first shared end at which the cuts disagree, as the function gave it there."""
    row = lab_of(mean_of_means_in_state).check().table.iloc[0]
    lab = lab_of(mean_of_means_in_state)

    assert row.column == "mean_delay"
    assert 0 < row.after_row <= N
    assert float(row.reference) != float(row.other)
    assert lab.check().rows == N


def total_by_device(batch, state):
    state["total"] = state.get("total", 0.0) + batch["delay"].sum()
    return {"device": batch["device"].iloc[0], "total": state["total"]}


def test_a_keyed_running_total_passes_and_a_mean_by_key_does_not():
    """The newest row of each key is what counts; keyed rows come in the order of their keys."""
    good, bad = (lab_of(fn, key="device").check() for fn in (total_by_device, mean_of_means))
    rows = lab_of(carried_cumsum, key="device").check()

    assert good.ok
    assert not bad.ok
    assert rows.ok
    assert "same rows, another order" in rows.table.verdict.tolist()


def test_in_a_chain_the_step_that_starts_it_is_named():
    """Later steps only pass it on."""
    lab = Lab(readings(), name="chain")
    lab.map(row_wise)
    lab.batch(mean_by_carrier)
    lab.map(lambda batch: batch.assign(twice=batch["delay"] * 2), name="doubled")
    text = lab.check().text

    assert text == "delay and twice change with the batch cut (from mean_by_carrier on); keep sum and count in state"


def test_a_function_that_fails_on_small_batches_is_told_with_its_error():
    """Cutting elsewhere must not break it either."""

    def quarters(batch):
        if len(batch) < 2:
            raise ValueError("too few rows")
        return batch

    check = lab_of(quarters).check()

    assert not check.ok
    assert "quarters fails with single rows as batches, on a batch of 1 row" in check.text
    assert "too few rows" in check.text


def test_a_random_result_is_not_blamed_on_the_cut():
    """It changes with the same cut already."""
    rng = np.random.default_rng()
    check = lab_of(lambda batch: batch.assign(noise=rng.random(len(batch)))).check()

    assert not check.ok
    assert check.text.startswith("noise changes each time the same batches are run")


def test_check_delivers_nothing_and_touches_no_run():
    """Sinks stay empty, a run that is paused keeps its state and output."""
    lab, sink = lab_of(running_sum), ListSink()
    lab.step(3)
    lab.to(sink)
    state, output = lab.last_run.state, lab.last_run.output
    lab.check()

    assert lab.last_run.state == state
    assert lab.last_run.output.equals(output)
    assert sink.batches == []
    lab.stop()


def test_what_cannot_be_checked_is_said():
    """No step, too few rows, a step that fails on any rows, a wrong argument."""
    with pytest.raises(SettingError, match="needs a step"):
        Lab(readings()).check()
    few = Lab(rows_at([0.1, 0.2]))
    few.batch(nothing)
    with pytest.raises(SettingError, match="at least 4 rows"):
        few.check()
    with pytest.raises(BatchError, match="reads column 'dellay'"):
        lab_of(lambda batch: batch["dellay"]).check()
    with pytest.raises(SettingError, match="rows must be a whole number"):
        lab_of(count).check(rows="all")


def test_a_live_source_is_checked_on_what_a_run_remembers():
    """Its rows cannot be had ahead of time; the newest run's are there."""
    answers = iter([{"v": list(range(k, k + 5))} for k in range(0, 100, 5)])
    lab = Lab(mblab.poll(lambda: next(answers), every="5ms"), interval="10ms", name="live check")
    lab.batch(lambda batch: {"mean_v": batch["v"].mean()})
    with pytest.raises(SettingError, match=r"is live, so check\(\) looks at the batches of a run"):
        lab.check()
    lab.run("2s")

    assert lab.check().rows == 100
    assert lab.check().text == "mean_v changes with the batch cut; keep sum and count in state"
    assert lab.spectrum(budget="50ms").table.batch_rows.iloc[-1] == 100


def test_a_check_shows_itself_and_lets_no_value_act():
    """Values of the user's are text in it."""
    lab = Lab(rows_at(np.arange(40) / 4, x=["<script>alert(1)</script>"] * 20 + ["<b>"] * 20), name="html")
    lab.batch(lambda batch: {"x": batch["x"].iloc[-1] + str(len(batch))})
    html = lab.check()._repr_html_()

    assert "x changes with the batch cut" in html
    assert "<script>" not in html


class Opaque:
    """An object that does not say when it is equal."""

    def __init__(self, n):
        self.n = n


def odd_state(batch, state):
    state["model"] = Opaque(state["model"].n + len(batch) if "model" in state else len(batch))
    state["fn"] = lambda: None
    state[("a", 1)] = iter([1])


ODD = {
    "columns twice": (lambda b: pd.concat([b, b], axis=1), True),
    "numbers as names": (lambda b: pd.DataFrame({0: b["row"], 1: b["delay"]}), True),
    "a list in a cell": (lambda b: pd.DataFrame({"l": [[int(r)] for r in b["row"]]}), True),
    "a list a batch": (lambda b: [{"l": b["row"].tolist()}], False),
    "an array a batch": (lambda b: [{"a": np.arange(len(b))}], False),
    "a dict in a cell": (lambda b: [{"d": {"a": int(b["row"].iloc[0])}}], False),
    "spans add up": (lambda b: {"span": pd.Timedelta(seconds=len(b))}, True),
    "complex": (lambda b: {"z": complex(len(b), 1)}, False),
    "categories": (lambda b: b.assign(c=pd.Categorical(b["carrier"])), True),
    "missing whole numbers": (lambda b: b.assign(i=b["row"].astype("Int64").where(b["row"] % 3 > 0)), True),
    "columns that come and go": (lambda b: {f"c{len(b) % 3}": len(b)}, False),
    "text": (lambda b: "x" * len(b), False),
    "infinite": (lambda b: {"m": np.inf, "n": -np.inf}, True),
    "no rows": (lambda b: b.iloc[:0], True),
    "opaque state": (odd_state, True),
}


@pytest.mark.parametrize("odd", list(ODD), ids=lambda n: n.replace(" ", "_"))
def test_whatever_a_step_returns_can_be_checked_run_again_and_shadowed(odd):
    """Any values, names and states; also by key."""
    fn, ok = ODD[odd]
    lab = lab_of(fn)
    keyed = lab_of(fn, key="carrier")
    shadow = lab.shadow(fn)
    lab.run("10s", clock="virtual", cost=0)

    assert lab.check().ok is ok, lab.check().text
    assert keyed.check().text
    assert lab.rerun(3).same
    assert shadow.report().table.same.all()


@given(
    st.lists(st.integers(0, 10**10), min_size=2, max_size=200).map(sorted),
    st.integers(10**6, 10**10),
)
@examples(200)
def test_every_cut_takes_each_row_once_and_shares_the_ends(arrivals, interval):
    """Whatever the arrivals: ends ascend to the last row, other cuts only split the ranges further."""
    cuts = cuts_of(np.array(arrivals), interval)

    assert cuts.ends == sorted(set(cuts.ends))
    for name, ends in cuts.others.items():
        assert ends == sorted(set(ends))
        assert ends[0] > 0
        assert ends[-1] == cuts.rows
        assert name == ONE or set(cuts.ends) <= set(ends)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1.0, 1.0 + 1e-12, True),
        (1.0, 1.0 + 1e-6, False),
        (float("nan"), None, True),
        ({"a": [1, 2.0]}, {"a": [1, 2]}, True),
        ({1, 2}, {2, 1}, True),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), True),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), False),
        ("1", 1, False),
    ],
)
def test_values_are_the_same_within_rounding(one, other, same):
    """Inside containers too."""
    assert same_value(one, other) is same


# -- claims for a pytest of your own -------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", [row_wise, running_mean, count_by_carrier, totals_table], ids=lambda f: f.__name__)
def test_the_claim_holds_for_what_does_not_depend_on_the_cut(fn):
    """No arrivals needed, any index."""
    frame = readings()._rows.set_index("row", drop=False)

    assert_cut_invariant(fn, frame)


def test_a_broken_claim_says_column_reason_and_values():
    """What pytest prints is what to mend."""
    with pytest.raises(AssertionError) as error:
        assert_cut_invariant(mean_of_means, readings()._rows)

    assert "mean_delay changes with the batch cut; keep sum and count in state" in str(error.value)
    assert "after_row" in str(error.value)


def test_the_same_as_a_batch_job_is_stricter_than_adding_up():
    """Counts a batch add up, but they are not the count of all; a running result ends as the batch job's."""
    frame = readings()._rows
    assert_cut_invariant(count, frame)
    assert_same_as_batch(running_mean, frame)
    assert_same_as_batch(carried_cumsum, frame, key="carrier")
    with pytest.raises(AssertionError, match="n and minutes change"):
        assert_same_as_batch(count, frame)


def test_a_claim_about_no_frame_is_refused():
    """One sentence."""
    with pytest.raises(SettingError, match="assert_cut_invariant needs a DataFrame"):
        assert_cut_invariant(row_wise, [1, 2, 3])
    with pytest.raises(SettingError, match="at least 4 rows, |at least 4 rows to cut"):
        assert_same_as_batch(row_wise, readings()._rows.head(3))


# -- a batch again -------------------------------------------------------------------------------------------------


def summing_lab(name, **knobs):
    lab = Lab(rows_at(np.arange(100) / 10), name=name, **knobs)

    @lab.batch
    def total(batch, state):
        state["sum"] = state.get("sum", 0) + int(batch["row"].sum())
        return {"rows": len(batch), "sum": state["sum"]}

    return lab


def test_a_rerun_of_the_same_steps_gives_what_was_recorded():
    """With the state the batch had, not the one there is now."""
    lab = summing_lab("again")
    lab.run(clock="virtual", cost=0)
    again = lab.rerun(4)

    assert again.same
    assert again.error is None
    assert again.output["sum"].tolist() == [sum(range(50))]
    assert again.output.equals(again.recorded)
    assert "the same 1 rows as recorded" in repr(again)


def test_a_rerun_uses_today_s_steps_and_shows_every_cell_that_differs():
    """A new version under the old name gets the old state; sink, output and state stay as they are."""
    lab, sink = summing_lab("today"), ListSink()
    lab.to(sink)
    run = lab.run(clock="virtual", cost=0)
    delivered, output, state = len(sink.batches), run.output, run.state

    @lab.batch
    def total(batch, state):
        state["sum"] = state.get("sum", 0) - 1
        return {"rows": len(batch), "sum": state["sum"]}

    again = lab.rerun(4)

    assert not again.same
    assert again.diff.to_dict("records") == [
        {"row": 0, "column": "sum", "recorded": sum(range(50)), "output": sum(range(40)) - 1}
    ]
    assert "1 of 1 rows differ, in sum" in repr(again)
    assert (len(sink.batches), run.state) == (delivered, state)
    assert run.output.equals(output)
    assert lab.rerun(4).diff.equals(again.diff)


def test_a_rerun_of_a_keyed_step_has_each_key_s_state():
    """Also that a key was new then."""
    times = np.arange(30) / 10
    lab = Lab(rows_at(times, k=["a", "b", "c"] * 10, v=range(30)), name="keyed again")
    lab.batch(key="k")(lambda batch, state: state.update(n=state.get("n", 0) + len(batch)) or {"n": state["n"]})
    lab.run(clock="virtual", cost=0)

    assert [sorted(lab.rerun(k).output["n"]) for k in (0, 1, 2)] == [[3, 3, 4], [6, 7, 7], [10, 10, 10]]
    assert all(lab.rerun(k).same for k in (0, 1, 2))


def test_what_a_rerun_raises_is_in_its_error():
    """It does not halt anything."""
    lab = summing_lab("fails now")
    lab.run(clock="virtual", cost=0)

    @lab.batch
    def total(batch, state):
        return batch["rwo"]

    again = lab.rerun(1)

    assert isinstance(again.error, BatchError)
    assert "reads column 'rwo'" in str(again.error)
    assert again.output.empty
    assert len(again.recorded) == 1
    assert "fails" in repr(again)


def running_total(batch, state):
    state["sum"] = state.get("sum", 0) + int(batch["row"].sum())
    return {"sum": state["sum"]}


def test_the_batch_that_halted_can_be_tried_before_it_is_resumed():
    """The mended function on the very rows and state that broke it, without consequences."""
    lab = summing_lab("halts")

    @lab.batch
    def total(batch, state):
        state["sum"] = state.get("sum", 0) + int(batch["row"].sum())
        if len(batch) and batch["row"].iloc[0] == 20:
            raise ValueError("no")
        return {"sum": state["sum"]}

    with pytest.raises(BatchError):
        lab.run(clock="virtual", cost=0)
    assert isinstance(lab.rerun(2).error, BatchError)

    lab.batch(name="total")(running_total)

    assert lab.rerun(2).output["sum"].tolist() == [sum(range(30))]
    assert lab.rerun(2).recorded.empty
    assert lab.resume().output["sum"].tolist()[2] == sum(range(30))


def test_history_is_bounded_and_says_what_is_gone():
    """`history=` batches; an older one, one that never was and an empty one have a sentence each."""
    lab = summing_lab("bounded", history=3)
    lab.run("12s", clock="virtual", cost=0)
    for k in (7, 8, 9):
        assert lab.rerun(k).same
    with pytest.raises(HistoryGone, match="batch 6 is no longer kept, the oldest is 7"):
        lab.rerun(6)
    with pytest.raises(SettingError, match="no such batch; the newest is 11"):
        lab.rerun(99)
    with pytest.raises(SettingError, match="that batch was empty"):
        lab.rerun(10)
    with pytest.raises(SettingError, match="number of a batch"):
        lab.rerun(-1)
    with pytest.raises(SettingError, match="needs a run"):
        summing_lab("not run").rerun(0)
    with pytest.raises(SettingError, match="history must be a whole number, at least 1"):
        Lab(rows_at([0]), history=0)


def test_history_does_not_keep_large_states_two_hundred_times():
    """256 MB of savepoints at most, however many batches are asked for."""
    lab = Lab(rows_at(np.arange(100) / 10), interval="100ms", name="heavy")

    @lab.batch
    def remember(batch, state):
        state["block"] = np.zeros(2_000_000) + len(batch)

    lab.run(clock="virtual", cost=0)

    assert 10 <= len(lab._control.driver.engine.history.ids) <= 18
    assert lab.rerun(99).error is None


def test_the_error_is_at_the_front_door():
    """A script catches it by name."""
    assert issubclass(mblab.HistoryGone, mblab.MblabError)


# -- the spectrum --------------------------------------------------------------------------------------------------


def lindley(arrival, size, cost):
    """The latencies of batches of fixed size, one batch after the other."""
    done, found = 0.0, []
    for low in range(0, len(arrival), size):
        part = arrival[low : low + size]
        done = max(done, part[-1]) + cost
        found += [done - a for a in part]
    return found


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60).map(sorted), st.integers(1, 70), st.integers(0, 500))
@examples(200)
def test_the_latency_of_batches_of_fixed_size_is_that_of_a_queue(millis, size, cost):
    """Any arrivals, sizes and costs, against the recursion row by row."""
    size, arrival = min(size, len(millis)), np.array(millis) * 10**6
    found = latencies_s(arrival, size, cost / 1000)

    assert found.tolist() == pytest.approx(lindley([m / 1000 for m in millis], size, cost / 1000), abs=1e-9)


def test_the_spectrum_reaches_from_row_at_a_time_to_one_batch():
    """Fixed cost makes single rows dear and one batch late; somewhere between is best."""
    rng = np.random.default_rng(0)
    lab = Lab(rows_at(np.sort(rng.uniform(0, 4, 4000)), value=rng.normal(size=4000)), name="spectrum")

    @lab.batch
    def work(batch, state):
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass
        state["n"] = state.get("n", 0) + len(batch)
        return state["n"]

    found = lab.spectrum(budget="500ms")
    t = found.table

    assert t.batch_rows.tolist() == [1, 3, 10, 32, 100, 316, 1000, 4000]
    assert (t.calls >= 3).all()
    assert t.regime.tolist()[0] == "unsustainable"
    assert t.regime.tolist()[-1] == "on_schedule"
    assert 1 < found.best.batch_rows < 4000
    assert t.overhead.iloc[0] > 0.99
    assert t.overhead.iloc[-1] < 0.5
    assert t.latency_mean_s.iloc[-1] > 1.8
    assert "row at a time" in repr(found)
    assert found._repr_mimebundle_()["image/png"]
    assert lab.last_run is None


def test_what_has_no_spectrum_is_said():
    """No step, one row, a budget of nothing."""
    with pytest.raises(SettingError, match="needs a step"):
        Lab(readings()).spectrum()
    one = Lab(rows_at([0.5]))
    one.batch(count)
    with pytest.raises(SettingError, match="at least 2 rows"):
        one.spectrum()
    with pytest.raises(SettingError, match="budget must be"):
        lab_of(count).spectrum(budget=0)


# -- a shadow ------------------------------------------------------------------------------------------------------


def counting(batch, state):
    state["n"] = state.get("n", 0) + len(batch)
    return {"n": state["n"], "first": int(batch["row"].iloc[0])}


def doubled(batch, state):
    state["n"] = state.get("n", 0) + 2 * len(batch)
    return {"n": state["n"], "first": int(batch["row"].iloc[0])}


def same_but_slower(batch, state):
    time.sleep(0.002)
    return counting(batch, state)


def shadowed(name="shadowed", **knobs):
    lab = Lab(rows_at(np.arange(100) / 10), name=name, **knobs)
    lab.batch(name="count")(counting)
    return lab


def test_a_shadow_tells_how_the_new_version_differs_and_changes_nothing():
    """Output, state and sinks of the run are those of a run without it."""
    plain = shadowed("plain").run(clock="virtual", cost=0)
    lab, sink = shadowed(), ListSink()
    lab.to(sink)
    with lab.shadow(doubled) as shadow:
        run = lab.run(clock="virtual", cost=0)
    report = shadow.report()

    assert run.output.equals(plain.output)
    assert run.state == plain.state
    assert len(sink.batches) == 10
    assert run.batches.processing_time_s.eq(0).all()
    assert report.table.same.tolist() == [False] * 10
    assert report.table["columns"].unique().tolist() == ["n"]
    assert report.diff.old.tolist() == [10 * k for k in range(1, 11)]
    assert report.diff.new.tolist() == [20 * k for k in range(1, 11)]
    assert report.text.startswith("the new count differs in 10 of 10 batches, in n; it takes")


def test_a_shadow_that_is_the_same_says_so_and_what_it_costs():
    """The cost of both, measured on the same batches."""
    lab = shadowed()
    shadow = lab.shadow(same_but_slower)
    lab.run(clock="virtual")
    report = shadow.report()

    assert report.table.same.all()
    assert report.cost_ratio > 1.5
    assert (report.table.new_s >= 0.002).all()
    assert "gives the same in all 10 batches" in repr(shadow)
    assert report._repr_html_().startswith("<p>the new count gives the same")


def test_a_shadow_joins_a_run_that_is_on_with_the_state_of_then():
    """It begins with the state before its first batch, and ends when it is stopped."""
    lab = shadowed()
    lab.step(3)
    shadow = lab.shadow(doubled)
    lab.step(2)
    shadow.stop()
    lab.step(1)
    lab.stop()

    assert shadow.report().table.batch_id.tolist() == [3, 4]
    assert shadow.report().diff.new.tolist() == [30 + 20, 30 + 40]


def test_adopting_a_shadow_switches_and_keeps_the_run_s_state():
    """As if the cell had been run again."""
    lab = shadowed()
    lab.step(3)
    shadow = lab.shadow(doubled)
    lab.step(2)
    shadow.adopt()
    lab.step(2)
    lab.stop()
    run = lab.last_run

    assert run.output["n"].tolist() == [10, 20, 30, 40, 50, 70, 90]
    assert run.batches.version.tolist() == [1] * 5 + [2] * 2
    assert len(shadow.report().table) == 2
    assert lab.steps[0].version == 2


def test_a_failing_shadow_fails_alone():
    """Its error stands in the table; the run goes on."""

    def broken(batch, state):
        return batch["rwo"]

    lab = shadowed()
    shadow = lab.shadow(broken)
    run = lab.run(clock="virtual", cost=0)
    report = shadow.report()

    assert run.status == "finished"
    assert "reads column 'rwo'" in report.table.error[0]
    assert "fails on 10 of them" in report.text


def test_a_keyed_step_is_shadowed_by_key():
    """The new version is called as the old one, with a state by key."""
    lab = Lab(rows_at(np.arange(40) / 10, k=["a", "b"] * 20), name="keyed shadow")

    @lab.batch(key="k")
    def total(batch, state):
        state["n"] = state.get("n", 0) + len(batch)
        return {"k": batch["k"].iloc[0], "n": state["n"]}

    def other(batch, state):
        state["n"] = state.get("n", 0) + len(batch)
        return {"k": batch["k"].iloc[0], "n": state["n"] + (batch["k"].iloc[0] == "b")}

    shadow = lab.shadow(other)
    lab.run(clock="virtual", cost=0)

    assert set(zip(shadow.report().diff.row, shadow.report().diff.column)) == {(1, "n")}
    assert len(shadow.report().table) == 4


def test_which_step_is_meant_must_be_clear():
    """The namesake, the only one, or `beside=`."""
    lab = shadowed()
    lab.map(row_count := (lambda batch: batch.assign(twice=2 * batch["n"])), name="twice")
    assert row_count
    with pytest.raises(SettingError, match="no step is called 'doubled'"):
        lab.shadow(doubled)
    with pytest.raises(SettingError, match="no step is called 'cuont'"):
        lab.shadow(doubled, beside="cuont")
    assert lab.shadow(doubled, beside="count").name == "count"
    assert "has seen no batch" in repr(lab.shadow(doubled, beside="count"))

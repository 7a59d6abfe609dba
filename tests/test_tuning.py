"""The tuner: batches tried in seconds, the law they give, and what it says of intervals that were not tried."""

import math
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab import Lab, SettingError, predict
from mblab.errors import BatchError, ColumnError
from mblab.testing import ListSink, rows_at
from mblab.tuning.cost import CostModel
from mblab.tuning.delays import Before
from mblab.tuning.ensemble import Ensemble
from mblab.tuning.fit import nonnegative
from mblab.tuning.probe import ladder, rows_wanted

from .laws import examples

RATE = 1000.0


def probes(law, *, count=60, noise=0.0, seed=0, low=20, high=5000):
    """Batches of jittered sizes up a ladder, with seconds = law(n, rows seen before)."""
    rng = np.random.default_rng(seed)
    rows = np.rint(np.geomspace(low, high, 9)[rng.permutation(np.arange(count) % 9)] * rng.uniform(0.85, 1.15, count))
    seen = np.cumsum(rows) - rows
    seconds = np.array([law(n, r) for n, r in zip(rows, seen, strict=True)]) * np.exp(rng.normal(0, noise, count))
    frame = {"num_input_rows": rows, "seen_rows": seen, "seconds": seconds, "at_s": np.cumsum(seconds)}
    return pd.DataFrame(frame)


AFFINE = CostModel.fit(probes(lambda n, r: 0.1 + 2e-4 * n), host_sd=0.0)


# -- the fit ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
@examples(200)
def test_the_non_negative_optimum_has_no_better_neighbour(count, seed):
    """Kuhn and Tucker: the slope is 0 where a coefficient is positive, and points up where it is 0."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 1, (20, count)), rng.normal(0, 1, 20)
    found = nonnegative((x.T @ x)[None], (x.T @ y)[None])[0]
    slope = x.T @ (x @ found - y)

    assert (found >= 0).all()
    assert slope[found > 0] == pytest.approx(0, abs=1e-6)
    assert (slope[found == 0] > -1e-6).all()


LAWS = {
    "affine": lambda n, r: 0.04 + 1e-5 * n,
    "quadratic": lambda n, r: 0.03 + 1e-6 * n + 2e-8 * n * n,
    "affine, growing": lambda n, r: 0.03 + 8e-6 * n + 5e-7 * r,
    "n log n": lambda n, r: 0.01 + 2e-6 * n * np.log1p(n / 50),
}


@pytest.mark.parametrize("form", LAWS)
def test_the_form_of_a_law_is_recognised(form):
    """With 3 % of noise, in at least nine of ten calibrations; n·log n may pass for a straight line."""
    found = [CostModel.fit(probes(LAWS[form], noise=0.03, seed=seed)).form for seed in range(20)]
    near = {form, "affine"} if form == "n log n" else {form}

    assert sum(f in near for f in found) >= 18, found


@pytest.mark.parametrize("form", LAWS)
def test_a_law_is_right_at_sizes_between_those_it_was_tried_at(form):
    """Within 4 %, from 60 batches with 3 % of noise."""
    model = CostModel.fit(probes(LAWS[form], noise=0.03, seed=5))
    sizes = np.geomspace(30, 4500, 40)

    assert model(sizes) == pytest.approx([LAWS[form](n, 0) for n in sizes], rel=0.04)


def test_pauses_are_told_from_work():
    """A tenth of the batches stalls for 0.5 s: the law stays that of the others, and the mean includes the stalls."""
    rng = np.random.default_rng(1)
    frame = probes(LAWS["affine"], count=80, noise=0.02)
    stalled = rng.permutation(80) < 8
    frame["seconds"] += 0.5 * stalled
    model = CostModel.fit(frame)

    assert model.pauses.count == 8
    assert model.work_s(np.array([1000.0]))[0] == pytest.approx(0.05, rel=0.05)
    assert model(1000) == pytest.approx(0.05 + 0.05, rel=0.06)


def test_a_wide_cost_is_not_a_row_of_pauses():
    """When more than a quarter stand out, the cost itself is this wide."""
    frame = probes(LAWS["affine"], count=60)
    frame["seconds"] *= np.where(np.arange(60) % 5 < 2, 4.0, 1.0)

    assert CostModel.fit(frame).pauses.count == 0


def test_the_law_is_a_sentence_with_units():
    """What a reader checks first."""
    assert AFFINE.explain() == "A batch takes 100 ms + 200 ms per 1,000 rows, ±0.1% (60 batches of 17 to 5,702 rows)."


def test_a_law_needs_batches_with_rows():
    """One sentence, and which column is missing."""
    with pytest.raises(SettingError, match="none yet"):
        CostModel.fit(pd.DataFrame({"num_input_rows": [0], "seconds": [0.1]}))
    with pytest.raises(ColumnError, match="seconds"):
        CostModel.fit(pd.DataFrame({"num_input_rows": [5]}))


def test_every_live_batch_is_a_free_probe():
    """A run's own batches give its law."""
    source = mblab.simulate(lambda n, rng, t: {"x": rng.random(n)}, arrivals=mblab.arrivals.diurnal(
        mean=500, amplitude=0.9, period="20s"), duration="20s")  # fmt: skip
    run = Lab(source, interval="500ms").run("20s", clock="virtual", cost=lambda n: 0.02 + 3e-4 * n)
    model = CostModel.of(run.batches)

    assert model.form == "affine"
    assert model.coefficients[:2] == pytest.approx([0.02, 3e-4], rel=1e-4)


def test_several_runs_teach_one_law():
    """A run begins with an empty state, so rows of the run before it are none that were seen."""
    runs = [
        Lab(rows_at(np.arange(0, 20, 0.002)), interval=every, name="taught").run(
            "20s", clock="virtual", cost=CostModel.fit(probes(lambda n, r: 0.02 + 1e-5 * n + 2e-6 * r), host_sd=0.0)
        )
        for every in ("500ms", "2s")
    ]
    model = CostModel.of(*(run.batches for run in runs))

    assert model.probes.seen_rows.tolist().count(0) == 2
    assert model.work_s(np.array([1000.0]), 5000.0)[0] == pytest.approx(0.04, rel=0.05)


@pytest.mark.parametrize(("slope", "rate"), [(2e-4, 1000), (2e-4, 4500), (0.0, 1000)])
def test_the_shortest_interval_that_fits_is_the_closed_form_s(slope, rate):
    """T* = a/(1 − bλ)."""
    law = CostModel.fit(probes(lambda n, r: 0.1 + slope * n), host_sd=0.0)

    assert law.shortest_interval_s(rate) == pytest.approx(0.1 / (1 - slope * rate), rel=1e-6)


def test_no_shortest_interval_is_told_where_none_fits_or_one_size_was_seen():
    """bλ ≥ 1: the work outgrows every interval; of one size nobody knows what another costs."""
    one_size = CostModel.fit(pd.DataFrame({"num_input_rows": [50, 50], "seconds": [0.1, 0.1]}))

    assert math.isnan(AFFINE.shortest_interval_s(5001))
    assert math.isnan(AFFINE.shortest_interval_s(float("nan")))
    assert math.isnan(one_size.shortest_interval_s(10))


# -- what it predicts ---------------------------------------------------------------------------------------------


def test_the_closed_forms_come_out_of_a_fitted_law():
    """Constant rate, affine cost (DESIGN section 2): load = a/T + bλ, p_q = S + qT, mean = T/2 + a + bλT."""
    table = predict(mblab.arrivals.constant(RATE), [0.05, 0.2, 0.5, 1.0, 2.0], cost=AFFINE).table

    assert table.regime.tolist() == ["self_clocked"] + ["on_schedule"] * 4
    for row in table.tail(4).itertuples():
        cost = 0.1 + 2e-4 * RATE * row.interval_s
        assert row.load == pytest.approx(cost / row.interval_s, rel=0.01)
        assert row.latency_p95_s == pytest.approx(cost + 0.95 * row.interval_s, rel=0.01)
        assert row.latency_mean_s == pytest.approx(cost + row.interval_s / 2, rel=0.01)
    shortest = 0.1 / (1 - 2e-4 * RATE)
    assert table.latency_p50_s[0] == pytest.approx(1.5 * shortest, rel=0.02)


def test_bands_hold_the_truth_as_often_as_they_say():
    """Of 24 calibrations with 5 % noise, at least nine tenths of the bands hold the value of the exact law."""
    exact = predict(mblab.arrivals.poisson(RATE), [0.2, 1.0], cost=lambda n: 0.04 + 1e-5 * n, duration="20s").table
    inside = []
    for seed in range(24):
        model = CostModel.fit(probes(LAWS["affine"], noise=0.05, seed=seed, count=40))
        table = predict(mblab.arrivals.poisson(RATE), [0.2, 1.0], cost=model, duration="20s", seed=0).table
        for name in ("latency_mean_s", "latency_p95_s", "load"):
            inside += list((table[f"{name}_lo"] <= exact[name]) & (exact[name] <= table[f"{name}_hi"]))

    assert np.mean(inside) >= 0.9


def test_a_growing_state_shows_in_the_prediction():
    """Each batch costs more than the one before, as it would in the run."""

    def law(n, seen):
        return 0.02 + 1e-5 * n + 2e-6 * seen

    model = CostModel.fit(probes(law))
    table = predict(mblab.arrivals.constant(RATE), [1.0], cost=model, duration="60s").table

    assert model.grows
    assert table.load[0] == pytest.approx(0.03 + 2e-6 * RATE * 29.5, rel=0.02)


def test_pauses_reach_the_tail_and_not_the_middle():
    """One batch in twenty stalls for 2 s: p50 stays, p99 moves by seconds."""
    frame = probes(LAWS["affine"], count=200)
    frame.loc[::20, "seconds"] += 2.0
    calm = predict(mblab.arrivals.constant(RATE), [0.5], cost=CostModel.fit(probes(LAWS["affine"]))).table
    table = predict(mblab.arrivals.constant(RATE), [0.5], cost=CostModel.fit(frame)).table

    assert table.latency_p50_s[0] == pytest.approx(calm.latency_p50_s[0], rel=0.25)
    assert table.latency_p99_s[0] > calm.latency_p99_s[0] + 1.0


def test_timers_that_wake_late_widen_the_bands():
    """A busy machine adds to every batch, by luck: the load's band is wider, and its middle higher."""
    calm, late = (CostModel.fit(probes(LAWS["affine"]), before=Before(s, s), host_sd=0.0) for s in (0.0, 0.01))
    tables = [predict(mblab.arrivals.constant(RATE), [0.1], cost=model).table.iloc[0] for model in (calm, late)]

    assert tables[0].load_hi - tables[0].load_lo < 0.01
    assert tables[1].load_hi - tables[1].load_lo > 0.05
    assert tables[1].load == pytest.approx(tables[0].load + 0.1, abs=0.05)


def test_a_batch_that_follows_at_once_reads_its_rows_first():
    """Below T* nothing is read while waiting: the law's T* grows by the turn and the reading, above it nothing does."""
    bare, reading = (
        CostModel.fit(probes(LAWS["affine"]), before=before, host_sd=0.0)
        for before in (Before(), Before(turn_s=0.002, read_s=2e-6))
    )
    tables = [predict(mblab.arrivals.constant(RATE), [0.01, 1.0], cost=model).table for model in (bare, reading)]
    shortest = [row.load * row.interval_s for row in (table.iloc[0] for table in tables)]
    b = 1e-5 * RATE

    assert shortest[1] / shortest[0] == pytest.approx((0.042 / (1 - 1.2 * b)) / (0.04 / (1 - b)), rel=0.02)
    assert tables[1].load[1] == pytest.approx(tables[0].load[1], rel=1e-9)


def test_a_run_tells_what_comes_before_its_batches():
    """Late timers are told by batches that waited, turn and reading by those that followed at once."""
    batches = pd.DataFrame(
        {
            "num_input_rows": [100, 100, 0, 50, 50, 200],
            "scheduling_delay_s": [0.0, 0.0, 0.0, 0.3, 0.3, 0.3],
            "wake_delay_s": [0.001, 0.003, 0.9, 0.01, 0.01, 0.02],
        }
    )
    before = Before.of(batches)

    assert (before.wake_s, before.wake_sd_s) == pytest.approx((0.002, 0.001))
    assert before.turn_s == pytest.approx(0.01)
    assert before.turn_s + before.read_s * 100 == pytest.approx(0.0133, rel=0.02)


def test_a_law_is_sure_of_itself_as_far_as_its_probes_agree():
    """By that probing ends early: no doubt without scatter, and with it less the more probes there are."""
    sizes = np.array([20.0, 300.0, 5000.0])
    exact, few, many = (
        CostModel.fit(probes(LAWS["affine"], noise=noise, count=count)).doubt(sizes)
        for noise, count in ((0.0, 60), (0.1, 40), (0.1, 640))
    )

    assert exact.max() < 1e-6
    assert 0.01 < few.max() < 0.1
    assert many.max() < 0.5 * few.max()


def test_a_law_drives_a_run_on_the_virtual_clock():
    """`cost=model` asks it once a batch; a state that grows, grows."""
    source = rows_at(np.arange(0, 10, 0.001))
    lab = Lab(source, interval="1s")
    flat = lab.run("10s", clock="virtual", cost=AFFINE)
    growing = lab.run("10s", clock="virtual", cost=CostModel.fit(probes(lambda n, r: 0.05 + 1e-5 * r)))

    assert flat.batches.processing_time_s.to_numpy() == pytest.approx(0.3, rel=1e-3)
    assert growing.batches.processing_time_s.diff()[1:].to_numpy() == pytest.approx(0.01, rel=1e-2)


def test_batches_a_third_larger_than_any_tried_are_marked():
    """What lies beyond is not known, however good the fit."""
    table = predict(mblab.arrivals.constant(RATE), [1.0, 10.0], cost=AFFINE).table

    assert table.extrapolated.tolist() == [False, True]


def test_a_price_makes_the_cost_axis_money():
    """Batches an hour times what one costs."""
    arrivals = np.arange(0, 60 * 10**9, 10**6)
    intervals = np.array([1, 2]) * 10**9
    law = CostModel.fit(probes(LAWS["affine"]))
    ensemble = Ensemble.of(arrivals, intervals, cost=law, horizon_ns=60 * 10**9, price=lambda n: 0.01 + 0 * n)

    assert ensemble.cost_unit == "money"
    assert ensemble.cost_per_hour == pytest.approx([36.0, 18.0], rel=2e-3)


# -- trying batches -----------------------------------------------------------------------------------------------


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(2, 12))
def test_a_ladder_covers_what_was_asked_for(low, high, rungs):
    """From at most the lowest size to at least the highest, ascending."""
    low, high = sorted((low, high))
    sizes = ladder(low, high, rungs)

    assert sizes[0] <= low
    assert sizes[-1] >= high
    assert sizes == sorted(set(sizes))


def test_bursts_and_not_the_mean_rate_decide_on_the_largest_batch():
    """Half a million rows a second for a tenth of a second, then silence."""
    burst = np.arange(0, 100_000_000, 2_000)
    arrivals = np.concatenate([burst, burst + 10 * 10**9])

    assert rows_wanted(arrivals, 10**8, 10**9)[1] == pytest.approx(55_000, rel=0.01)


def service(law, rate=2000, **knobs):
    """A lab whose function sleeps as long as a law says, with a state that counts rows."""
    source = mblab.simulate(lambda n, rng, t: {"x": rng.random(n)}, arrivals=mblab.arrivals.poisson(rate), seed=3)
    lab = Lab(source, interval="200ms", **knobs)

    @lab.batch
    def serve(batch, state):
        seen = state.get("rows", 0)
        state["rows"] = seen + len(batch)
        time.sleep(law(len(batch), seen))
        return len(batch)

    return lab


def test_calibration_finds_the_law_of_the_users_function():
    """A sleeping service, tried for less than a second; the machine adds what it adds."""
    model = service(lambda n, seen: 0.02 + 1e-5 * n).calibrate("1s", intervals=("50ms", "1s"))

    assert model.rows_probed[0] <= 0.4 * 2000 * 0.05 * 1.2
    assert model.rows_probed[1] >= 0.9 * 2000
    assert model(1000) > 0.029


def test_calibration_leaves_nothing_behind():
    """No run, no state, no delivery; the rows begin at the first one afterwards."""
    lab = service(lambda n, seen: 0.001)
    sink = ListSink()
    sink.effects = True
    lab.to(sink)
    lab.calibrate("200ms")

    assert lab.last_run is None
    assert sink.batches == []
    assert lab.run("1s", clock="virtual", cost=0).state["serve"]["rows"] == pytest.approx(2000, rel=0.1)


def test_sinks_take_part_when_asked():
    """`effects=True` delivers for real."""
    lab = service(lambda n, seen: 0.001)
    sink = ListSink()
    sink.effects = True
    lab.to(sink)
    lab.calibrate("200ms", effects=True)

    assert len(sink.batches) > 3


def test_calibration_beside_a_live_run_begins_with_its_state():
    """And the live run goes on with its own."""
    seen = []
    lab = service(lambda n, before: seen.append(before) or 0.0005)
    run = lab.start("3s")
    while not len(run.batches):
        time.sleep(0.01)
    before = len(seen)
    model = lab.calibrate("300ms")
    lab.stop()

    assert len(model.probes) > 3
    assert model.probes.seen_rows.min() >= 100
    assert min(seen[before:]) >= 100
    assert run.state["serve"]["rows"] == run.batches.num_input_rows.sum()


def test_keys_are_part_of_the_law():
    """A keyed step is called once a key: what a batch costs follows its keys."""
    source = mblab.simulate(
        lambda n, rng, t: {"k": rng.integers(0, 40, n)}, arrivals=mblab.arrivals.constant(500), duration="20s"
    )
    lab = Lab(source, interval="100ms")

    @lab.batch(key="k")
    def serve(batch, state):
        time.sleep(0.0005)

    model = lab.calibrate("1500ms", intervals=("10ms", "2s"))

    assert model.form.startswith("per key")
    assert model.probes["keys"].max() == 40


def test_a_failing_function_fails_the_calibration_with_its_own_error():
    """The sentence names step and line."""
    lab = Lab(rows_at(np.arange(100) / 10), interval="1s")

    @lab.batch
    def broken(batch):
        return 1 / 0

    with pytest.raises(BatchError, match="broken failed"):
        lab.calibrate("200ms")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"budget": "1ms"}, "budget must be at least 50 ms"),
        ({"intervals": "1s"}, "pair of durations"),
        ({"intervals": ["1s"]}, "span a range"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(arguments, sentence):
    """Which knob, the rule, the value."""
    with pytest.raises(SettingError, match=sentence):
        service(lambda n, seen: 0.0).calibrate(**arguments)


def test_a_source_without_rows_cannot_be_tuned_by():
    """The sentence says how many rows it brings."""
    with pytest.raises(SettingError, match="brings 0 rows"):
        Lab(rows_at([]), interval="1s").calibrate("100ms")


def test_a_source_shorter_than_a_batch_is_gone_through_again():
    """Three rows are enough to try with, at the sizes there are."""
    model = Lab(rows_at([0.0, 0.5, 1.0]), interval="1s").calibrate("100ms")

    assert model.rows_probed[1] <= 3
    assert not math.isnan(model(2))

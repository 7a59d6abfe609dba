"""Prediction is the engine without the batches: the same schedule, so the same figures."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mblab
from mblab import Lab, SettingError
from mblab.testing import rows_at
from mblab.tuning.cost import CostModel
from mblab.tuning.simulate import simulate_runs
from mblab.tuning.whatif import predict

from .laws import examples

EXACT = [
    "latency_mean_s",
    "latency_p50_s",
    "latency_p95_s",
    "latency_p99_s",
    "load",
    "throughput",
    "num_input_rows_mean",
]


@example([0.0, 1.5], [0.05], "skip", None, 0.485, 0.04)  # a load of exactly 1
@given(
    st.lists(st.integers(0, 2500).map(lambda ms: ms / 1000), max_size=40).map(sorted),
    st.lists(st.integers(50, 900).map(lambda ms: ms / 1000), min_size=1, max_size=3, unique=True),
    st.sampled_from(["asap", "skip", "queue"]),
    st.one_of(st.none(), st.integers(1, 15)),
    st.integers(0, 700).map(lambda ms: ms / 1000),
    st.integers(0, 40).map(lambda ms: ms / 1000),
)
@examples(1000)
def test_a_prediction_equals_the_engine(times, intervals, policy, cap, base, slope):
    """Any arrivals, intervals, policy, cap and affine cost, empty batches included."""
    cap = None if policy == "queue" else cap

    def cost(n):
        return base + slope * n

    source = rows_at(times)
    table = predict(source, intervals, cost=cost, duration="2s", policy=policy, max_rows_per_batch=cap).table
    for row in table.itertuples():
        lab = Lab(source, interval=row.interval_s, policy=policy, max_rows_per_batch=cap)
        run = lab.run("2s", clock="virtual", cost=cost)
        s = run.summary()
        full = s.batches - s.batches_empty
        measured = [s.get(name, s.rows / full if full else 0.0) for name in EXACT]

        assert [getattr(row, name) for name in EXACT] == pytest.approx(measured, abs=1e-8, nan_ok=True)
        assert row.backlog_rows == s.backlog_rows
        assert row.regime == s.regime


def test_a_last_batch_that_ends_late_does_not_change_the_predicted_regime():
    """As measured: cap 995 of 1000 rows/s falls behind by 0.5 % of the arrivals, whenever the last batch ends."""
    arrivals = (np.arange(600_000) * 2 + 1) * 500_000

    def regime_of(last_ns):
        def cost(run, rows, seen, at_once):
            return np.where(seen >= 599 * 995, last_ns, 80_000_000)

        return simulate_runs(
            arrivals, np.array([10**9]), cost=cost, horizon_ns=600 * 10**9, max_rows_per_batch=995
        ).regime(0)

    assert [regime_of(80_000_000), regime_of(6000 * 10**9)] == ["catching_up", "self_clocked"]


@pytest.mark.parametrize("policy", ["asap", "skip", "queue"])
def test_each_interval_may_be_looked_at_for_a_time_of_its_own(policy):
    """The tuner looks at short intervals for a shorter time; each comes out as if it were alone."""
    arrivals = np.sort(np.random.default_rng(7).integers(0, 20 * 10**9, 4000))
    intervals, horizons = np.array([20, 300, 1000]) * 10**6, np.array([2, 12, 20]) * 10**9

    def cost(run, rows, seen, at_once):
        return 30_000_000 + 100_000 * rows

    together = simulate_runs(arrivals, intervals, cost=cost, horizon_ns=horizons, policy=policy)
    for i, (interval, horizon) in enumerate(zip(intervals, horizons, strict=True)):
        alone = simulate_runs(arrivals, np.array([interval]), cost=cost, horizon_ns=int(horizon), policy=policy)
        for name in ("mean_s", "quantiles_s", "load", "left", "throughput", "duration_s", "rows_mean"):
            assert getattr(together, name)[i] == pytest.approx(getattr(alone, name)[0], rel=1e-12), name
        assert together.regime(i) == alone.regime(0)


def test_the_closed_forms_come_out_of_a_prediction():
    """Constant rate, affine cost: p_q = S + qT; T* = a/(1 − bλ) divides the regimes."""
    intervals = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    t = predict(mblab.arrivals.constant(1000), intervals, cost=lambda n: 0.1 + 2e-4 * n).table

    assert t.regime.tolist() == ["self_clocked"] * 2 + ["on_schedule"] * 4
    for row in t.tail(4).itertuples():
        cost = 0.1 + 0.2 * row.interval_s
        assert row.latency_p95_s == pytest.approx(cost + 0.95 * row.interval_s, abs=5e-3)
        assert row.load == pytest.approx(0.1 / row.interval_s + 0.2, rel=1e-3)


def test_a_sample_of_the_rows_gives_the_quantiles_of_all():
    """Beyond 4 096 rows quantiles come from evenly chosen ones: within half a percent of the interval."""
    source = mblab.arrivals.poisson(2000)
    t = predict(source, ["500ms"], cost=lambda n: 0.05 + 1e-4 * n, seed=3).table.iloc[0]
    times = source.times("60s", seed=3)
    run = Lab(rows_at(times), interval="500ms").run("60s", clock="virtual", cost=lambda n: 0.05 + 1e-4 * n)
    s = run.summary()

    assert t.latency_mean_s == pytest.approx(s.latency_mean_s, abs=1e-9)
    for q in ("latency_p50_s", "latency_p95_s", "latency_p99_s"):
        assert t[q] == pytest.approx(s[q], abs=0.0025)


def test_a_cost_may_be_a_number_a_function_of_one_n_or_measured_batches():
    """A function that cannot take an array is asked row by row."""
    arrivals, intervals = mblab.arrivals.constant(100), ["1s"]
    fixed = predict(arrivals, intervals, cost=0.25).table
    by_one = predict(arrivals, intervals, cost=lambda n: 0.25 if n > 0 else 0.0).table
    batches = pd.DataFrame({"num_input_rows": [50, 100, 0], "batch_duration_s": [0.15, 0.25, 0.0]})
    measured = predict(arrivals, intervals, cost=batches).table

    pd.testing.assert_frame_equal(fixed, by_one)
    pd.testing.assert_frame_equal(measured[fixed.columns], fixed, rtol=0.01)  # quantiles of a band are of 384 rows
    pd.testing.assert_frame_equal(measured, predict(arrivals, intervals, cost=CostModel.of(batches)).table)
    assert CostModel.of(batches)(np.array([25, 75, 200])).tolist() == pytest.approx([0.1, 0.2, 0.45])


def test_a_batch_that_raised_is_no_cheap_one():
    """Seven batches of 43 ms and one that failed after 0.3 ms: a batch takes 43 ms, not the mean of eight, 37.7 ms."""
    batches = pd.DataFrame(
        {"num_input_rows": [100] * 8, "batch_duration_s": [0.043] * 7 + [0.0003], "status": ["ok"] * 7 + ["failed"]}
    )
    table = predict(mblab.arrivals.constant(100), ["1s"], cost=batches).table

    assert CostModel.of(batches)(100) == pytest.approx(0.043, rel=1e-9)
    assert table.load[0] == pytest.approx(0.043, rel=1e-4)
    assert table.latency_mean_s[0] == pytest.approx(0.543, rel=1e-4)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"intervals": []}, "at least one interval"),
        ({"intervals": "1s"}, "intervals must be a list"),
        ({"cost": None}, "cost must be a number of seconds, a function of n or a run's batches"),
        ({"cost": -1}, "0 or more"),
        ({"cost": lambda n: float("nan")}, "finite number of seconds"),
        ({"cost": pd.DataFrame({"num_input_rows": [], "batch_duration_s": []})}, "there are none yet"),
        ({"duration": 0}, "duration must be above 0"),
        ({"policy": "never"}, "policy must be"),
        ({"policy": "queue", "max_rows_per_batch": 3}, "policy='queue'"),
        ({"workers": 0}, "workers must be a whole number, at least 1, got 0"),
        ({"workers": 1.5}, "workers must be a whole number, got 1.5"),
        ({"arrivals": 5}, "predict needs arrivals or a source, got 5"),
    ],
)
def test_a_refused_argument_is_named(knobs, message):
    """One sentence, the way on."""
    good = {"arrivals": mblab.arrivals.constant(10), "intervals": ["1s"], "cost": 0.1}
    knobs = good | knobs
    with pytest.raises(SettingError, match=message):
        predict(knobs.pop("arrivals"), knobs.pop("intervals"), **knobs)


@pytest.mark.parametrize("policy", ["asap", "skip", "queue"])
def test_workers_share_each_batch_and_the_largest_share_decides(policy):
    """w workers with cost S(n) are the engine with cost S(⌈n/w⌉), whatever the policy."""
    times = np.sort(np.random.default_rng(9).uniform(0, 5, 600))

    def cost(n):
        return 0.05 + 4e-3 * n

    t = predict(rows_at(times), ["200ms"], cost=cost, duration="5s", policy=policy, workers=3).table.iloc[0]
    run = Lab(rows_at(times), interval="200ms", policy=policy).run(
        "5s", clock="virtual", cost=lambda n: cost(-(-n // 3))
    )
    s = run.summary()

    assert [t.latency_mean_s, t.latency_p95_s, t.load] == pytest.approx([s.latency_mean_s, s.latency_p95_s, s.load])
    assert t.backlog_rows == s.backlog_rows


def test_more_workers_take_an_overloaded_interval_back_to_schedule():
    """1.2 ms a row at 1 000 rows/s outgrows one worker and fits two (T = 600 ms)."""
    lambdas = mblab.arrivals.constant(1000)
    one, two = (predict(lambdas, ["600ms"], cost=lambda n: 1.2e-3 * n, workers=w).table.iloc[0] for w in (1, 2))

    assert one.latency_p95_s > 10
    assert two.regime == "on_schedule"
    assert two.latency_p95_s == pytest.approx(0.36 + 0.95 * 0.6, abs=5e-3)


def test_policies_caps_and_loads_come_in_one_table():
    """Every combination that can be run, each as if it were predicted alone."""
    cost = lambda n: 0.1 + 2e-4 * n
    arrivals = mblab.arrivals.poisson(500)
    curve = predict(
        arrivals, ["200ms", "1s"], cost=cost, policy=["asap", "skip", "queue"], max_rows_per_batch=[None, 300],
        load_factor=[1, 2], duration="20s",
    )  # fmt: skip
    alone = predict(arrivals, ["200ms", "1s"], cost=cost, policy="skip", max_rows_per_batch=300, duration="20s").table
    part = curve.only(policy="skip", max_rows_per_batch=300, load_factor=1)

    assert len(curve.table) == 2 * (2 * 2 + 1) * 2
    assert part.table[alone.columns].equals(alone)
    assert part.plot().to_dict()


def test_twice_the_load_is_twice_the_rows():
    """The same stream, twice as fast."""
    table = predict(mblab.arrivals.constant(500), ["1s"], cost=0.1, load_factor=[1, 2]).table

    assert table.num_input_rows_mean.tolist() == pytest.approx([500, 1000])


def test_a_curve_of_several_settings_asks_which_one_to_draw():
    """And names what there is to choose from."""
    curve = predict(mblab.arrivals.constant(500), ["1s"], cost=0.1, policy=["asap", "skip"])
    with pytest.raises(SettingError, match="a chart shows one setting"):
        curve.plot()
    with pytest.raises(SettingError, match=r"there are \['asap', 'skip'\]"):
        curve.only(policy="queue")

    assert "asap" in curve._repr_mimebundle_()["text/html"]


def test_regime_and_load_of_a_curve_with_bands_are_of_one_mind():
    """Beside a load of 1 or more stands self_clocked, also where members differ about it."""
    rng = np.random.default_rng(7)
    rows = np.rint(np.geomspace(20, 2000, 40))
    seconds = (0.04 + 2e-4 * rows) * np.exp(rng.normal(0, 0.1, 40))
    model = CostModel.fit(pd.DataFrame({"num_input_rows": rows, "seconds": seconds, "at_s": np.arange(40.0)}))
    table = predict(mblab.arrivals.poisson(1000), np.linspace(0.04, 0.06, 40).tolist(), cost=model).table

    assert {"self_clocked"} < set(table.regime) <= {"on_schedule", "catching_up", "self_clocked"}
    assert ((table.load >= 1 - 1e-9) == (table.regime == "self_clocked")).all()

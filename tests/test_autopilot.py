"""The autopilot: the interval moved by the law, within a few batches, with its reasons, and no more often than it must."""

import time

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import Lab, SettingError, predict
from mblab.arrivals import bursts, poisson
from mblab.testing import rows_at
from mblab.tuning.arrival_rate import RateWatch
from mblab.tuning.autopilot import outlook
from mblab.tuning.cost import CostModel


def affine(n):
    """100 ms and 200 ms per 1 000 rows."""
    return 0.1 + 2e-4 * n


def steps(rates, each=40.0, seed=0):
    """A source whose rate steps every `each` seconds."""
    times = [i * each + poisson(rate).times(each, seed=seed + i) for i, rate in enumerate(rates)]
    return rows_at(np.concatenate(times))


def oracle(rate, p95, load=0.8):
    """The longest interval that keeps the target at a steady rate, in closed form (DESIGN section 2)."""
    longest = (p95 - 0.1) / (0.95 + 2e-4 * rate)
    shortest = 0.1 / (load - 2e-4 * rate)
    return longest if longest >= shortest else float("nan")


def flown(source, duration=None, cost=affine, interval="500ms", **target):
    """A run with the autopilot on the virtual clock."""
    lab = Lab(source, interval=interval)  # held: the run of a lab that is dropped ends
    run = lab.autotune(duration, clock="virtual", cost=cost, **target)
    run.wait()
    return run


@pytest.mark.parametrize("seed", [0, 10, 20])
def test_it_is_near_the_oracle_within_five_batches_of_a_step(seed):
    """The load doubles, halves and halves again; ±20 %."""
    rates = [1000, 2000, 1000, 500]
    batches = flown(steps(rates, seed=seed), "160s", p95="1s").batches
    for i, rate in enumerate(rates):
        after = batches[batches.start_s > 40 * i + 0.01].head(6)

        assert after.interval_s.iloc[-1] == pytest.approx(oracle(rate, 1.0), rel=0.2)


@pytest.mark.parametrize("seed", range(4))
def test_it_stays_where_it_is_at_constant_load(seed):
    """At most one change of direction a minute, in three minutes of Poisson arrivals."""
    decisions = flown(steps([800], each=180.0, seed=seed), "180s", p95="1s").decisions
    moved = np.sign(np.diff(np.log(np.concatenate([[0.5], decisions.interval_s]))))

    assert (np.diff(moved[moved != 0]) != 0).sum() <= 3
    assert len(decisions) <= 5


def test_the_fastest_is_followed_too():
    """More rows a second need a longer interval: a/(u − bλ), with room to spare, and 5 % of latency for less load."""
    batches = flown(steps([500, 1500]), "80s", load=0.7, objective="fastest").batches

    assert 1 <= batches.interval_s[batches.start_s < 40].iloc[-1] / (0.1 / (0.7 - 0.1)) <= 1.3
    assert 1 <= batches.interval_s.iloc[-1] / (0.1 / (0.7 - 0.3)) <= 1.3


def test_bursts_that_come_back_are_planned_for():
    """After the second burst it holds the interval that the burst needs, and the third one is within the target."""
    source = mblab.simulate(
        lambda n, rng, t: {"x": t}, arrivals=bursts(on=4, off=8, rate_on=2500, rate_off=300), duration="96s"
    )
    run = flown(source, p95="1s")
    later = run.records[run.records.arrival_s > 36]

    assert later.latency_s.quantile(0.95) <= 1.0
    assert len(run.decisions[run.decisions.at_s > 40]) <= 2


def test_a_cost_that_drifts_is_noticed_and_the_law_put_right():
    """After 40 s a batch takes twice as long: noticed within ten batches, and said."""
    calls = iter(range(10**6))

    def drifting(n):
        return affine(n) * (1 if next(calls) < 60 else 2)

    lab = Lab(steps([800], each=120.0), interval="500ms")
    law = CostModel.fit(
        pd.DataFrame({"num_input_rows": np.geomspace(10, 3000, 30), "seconds": affine(np.geomspace(10, 3000, 30))})
    )
    run = lab.autotune("120s", clock="virtual", cost=drifting, model=law, p95="1s")
    run.wait()
    drifts = run.decisions[run.decisions.reason.str.contains("what the law says")]

    assert 60 <= drifts.batch_id.iloc[0] <= 70
    assert "2.00× what the law says" in drifts.reason.iloc[0]
    assert run.batches.interval_s.iloc[-1] == pytest.approx((1.0 - 0.2) / (0.95 + 4e-4 * 800), rel=0.2)


def test_every_move_is_in_the_controls_and_replays():
    """The decisions, scripted, give the same run."""
    source = steps([1000, 2000])
    run = flown(source, "80s", p95="1s")
    again = Lab(source, interval="500ms").run("80s", clock="virtual", cost=affine, controls=run.controls)

    assert len(run.controls) == len(run.decisions) > 1
    assert again.batches.start_s.tolist() == run.batches.start_s.tolist()
    assert again.batches.interval_s.tolist() == run.batches.interval_s.tolist()


def test_decisions_are_saved_with_their_run(tmp_path):
    """And are gone from a folder that an ordinary run was saved over."""
    run = flown(steps([1000, 2000]), "80s", p95="1s")
    back = mblab.load_run(run.save(tmp_path / "run"))

    pd.testing.assert_frame_equal(back.decisions, run.decisions)
    assert back.plot_decisions().to_dict() == run.plot_decisions().to_dict()
    assert mblab.load_run(back.save(tmp_path / "again")).decisions.equals(run.decisions)

    plain = Lab(steps([1000], each=2.0)).run("2s", clock="virtual", cost=affine)
    assert mblab.load_run(plain.save(tmp_path / "run")).decisions.empty


def test_a_target_out_of_reach_gets_the_lowest_latency_and_says_so():
    """A p95 of 200 ms where a batch alone takes 125 ms."""
    decisions = flown(steps([1000], each=20.0), "20s", p95="200ms", interval="1s").decisions

    assert decisions.reason.str.contains("no interval keeps p95 ≤ 200 ms").any()


def test_an_ordinary_run_has_no_decisions():
    """And an autopilot ends with its run."""
    lab = Lab(steps([1000], each=20.0), interval="500ms")
    flown_run = lab.autotune("20s", clock="virtual", cost=affine, p95="1s")
    flown_run.wait()
    count = len(flown_run.decisions)
    plain = lab.run("20s", clock="virtual", cost=affine)

    assert plain.decisions.empty
    assert len(flown_run.decisions) == count
    assert plain.batches.interval_s.nunique() == 1


def test_wrong_arguments_are_refused_before_anything_starts():
    """As for tune."""
    lab = Lab(steps([1000], each=5.0))
    with pytest.raises(SettingError, match="objective must be 'fastest'"):
        lab.autotune("5s", clock="virtual", cost=affine, objective="best")

    assert lab.last_run is None


def test_the_outlook_is_the_curve_at_a_steady_rate():
    """Closed form against the simulated lanes: p95 and load within 2 %."""
    rows = np.geomspace(10, 5000, 30)
    law = CostModel.fit(pd.DataFrame({"num_input_rows": rows, "seconds": affine(rows)}), host_sd=0.0)
    intervals = np.array([0.3, 0.8, 2.0])
    table = predict(mblab.arrivals.constant(1000), list(intervals), cost=law).table
    view = outlook(law, intervals, 1000.0)

    assert view["latency_p95_s"] == pytest.approx(table.latency_p95_s.to_numpy(), rel=0.02)
    assert view["load"] == pytest.approx(table.load.to_numpy(), rel=0.02)


def test_chance_is_not_a_step():
    """Ten thousand Poisson windows of a hundred rows: the rate steps in fewer than one of five hundred."""
    rng = np.random.default_rng(0)
    watch, stepped = RateWatch(), 0
    for i, rows in enumerate(rng.poisson(100, 10_000)):
        watch.note(int(rows), 1.0, i * 10**9)
        stepped += watch.stepped.startswith("stepped")

    assert stepped < 20


def windows_of(watch, stretches, seed=7, each_s=0.5):
    """Feed stretches of (rate, seconds) with the chance of a Poisson stream; return the planned rate after each window."""
    rng, now, planned = np.random.default_rng(seed), 0, []
    for rate, length in stretches:
        for _ in range(round(length / each_s)):
            now += round(each_s * 1e9)
            watch.note(int(rng.poisson(rate * each_s)), each_s, now)
            planned.append(watch.planned(now))
    return np.array(planned)


@pytest.mark.parametrize("seed", range(5))
def test_bursts_are_over_once_the_rate_is_neither_theirs_nor_the_calm_between(seed):
    """While they come back it plans for them; a third level ends that within five windows."""
    bursts = [(300, 8), (2500, 4)] * 5
    planned = windows_of(RateWatch(), [*bursts, (300, 8), (1000, 20)], seed)
    calm = planned[-56:-40]  # the last calm between bursts

    assert calm == pytest.approx(2500, rel=0.1)
    assert planned[-36:] == pytest.approx(1000, rel=0.15)


def test_bursts_of_different_heights_are_not_over_because_one_is_lower():
    """They have no level of their own, so a lower one is one more of them."""
    bursts = [part for high in (2500, 1200, 1900, 3000, 1500) for part in ((300, 8), (high, 4))]
    planned = windows_of(RateWatch(), [*bursts, (300, 8), (1000, 4), (300, 8)])

    assert planned[-16:].min() > 2000


def test_a_live_source_is_flown_by_what_its_last_run_taught():
    """There are no rows to try with beforehand: it asks for a run, and learns from that."""
    source = mblab.poll(lambda: pd.DataFrame({"x": np.arange(20)}), every="20ms")
    lab = Lab(source, interval="100ms")

    @lab.batch
    def serve(batch):
        return len(batch)

    with pytest.raises(SettingError, match="run it for a while first"):
        lab.autotune("1s", p95="400ms")
    lab.run("1500ms")
    run = lab.autotune("1500ms", p95="400ms")
    run.wait()

    assert run.decisions.interval_s.iloc[-1] > 0.2
    assert run.batches.interval_s.iloc[-1] == run.decisions.interval_s.iloc[-1]


def test_a_live_source_is_tuned_by_what_its_last_run_taught():
    """Its batches were probes and its arrivals are known; the advice can be applied and verified like any other."""
    source = mblab.poll(lambda: pd.DataFrame({"x": np.arange(20)}), every="20ms")
    lab = Lab(source, interval="100ms")

    @lab.batch
    def serve(batch):
        time.sleep(0.01)
        return len(batch)

    with pytest.raises(SettingError, match=r"run it for a while first, and tune\(\) learns from that run"):
        lab.tune(p95="400ms")
    lab.run("2s", controls={"800ms": {"interval": "400ms"}})  # only sizes that were seen are advised
    advice = lab.tune(p95="400ms")
    check = advice.verify("1500ms")

    assert 0.25 < advice.interval < 0.42
    assert advice.model(200) > 0.01  # a sleep takes at least as long as it says, within what was seen
    assert check.run.batches.interval_s.iloc[-1] == pytest.approx(advice.interval)
    assert check.run.summary().latency_p95_s == pytest.approx(check.ribbon.predicted_s.median(), rel=0.5)

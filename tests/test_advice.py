"""The tuner's answer: which interval, how sure, and what it refuses to promise."""

import re
import time

import numpy as np
import pandas as pd
import pytest

import mblab
import mblab.timing.durations
from mblab import Lab, SettingError, charts
from mblab.arrivals import bursts, constant, poisson
from mblab.testing import ListSink
from mblab.tuning.arrival_times import ArrivalTimes, arrival_times_of
from mblab.tuning.confidence import doubts, refusal
from mblab.tuning.cost import CostModel
from mblab.tuning.decision import Search, find_by_batches
from mblab.tuning.ensemble import Ensemble
from mblab.tuning.intervals import Span
from mblab.tuning.target import Target, choose
from mblab.tuning.track_record import Checked, TrackRecord
from mblab.tuning.verification import verified

A, B, RATE = 0.1, 2e-4, 1000.0


def law(count=60, *, a=A, b=B, q=0.0, noise=0.0, pause=0, seed=0, high=20_000, host_sd=0.0):
    """A model fitted to batches of exactly known cost, some of which stall."""
    rng = np.random.default_rng(seed)
    rows = np.rint(np.geomspace(20, high, count)[rng.permutation(count)])
    seconds = (a + b * rows + q * rows**2) * np.exp(rng.normal(0, noise, count))
    seconds[:pause] += 1.0
    frame = {"num_input_rows": rows, "seconds": seconds, "at_s": np.cumsum(seconds)}
    return CostModel.fit(pd.DataFrame(frame), host_sd=host_sd)


def ensemble_of(model, *, arrivals=None, low="20ms", high="10s", count=60, seconds=60.0):
    """The ensemble of a range of intervals over a minute at 1 000 rows a second."""
    span = Span(mblab.timing.durations.interval_ns(low), mblab.timing.durations.interval_ns(high))
    known = arrival_times_of(arrivals or constant(RATE), round(seconds * 1e9))
    return Ensemble.of(known.arrival_ns, np.array(span.grid(count)), cost=model, horizon_ns=known.horizon_ns), known


def chosen_s(model, target, **kwargs):
    """The interval that is chosen, in seconds; None on refusal."""
    ensemble, _ = ensemble_of(model, **kwargs)
    index = choose(ensemble, target).index
    return None if index is None else ensemble.intervals[index] / 1e9


def advised(model, target, **kwargs):
    """The sentence of the advice by a law alone."""
    _, known = ensemble_of(model, **kwargs)
    pipeline = Lab(mblab.simulate.sensors(rate=RATE, duration="60s"), interval="1s").pipeline
    found = find_by_batches(model, Search(target, known, pipeline), Span(20_000_000, 10_000_000_000))
    return found.advice(target, widen=1.0, now_s=1.0, took_s=0.0, do_apply=print, do_verify=print).why


# -- the decision -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.5, 0.7, 0.9])
def test_the_fastest_interval_is_the_closed_form(load):
    """T = a/(u − bλ): the shortest with load ≤ u; the grid is 11 % apart."""
    exact = A / (load - B * RATE)

    assert exact <= chosen_s(law(), Target.of(None, None, load, "fastest")) * 1.005 <= exact * 1.12


@pytest.mark.parametrize("objective", ["fastest", "latency"])
@pytest.mark.parametrize("costs", [{}, {"pause": 4}, {"noise": 0.3}, {"q": 2e-7}], ids=lambda c: "-".join(c) or "exact")
def test_the_freshest_has_the_lowest_p95_and_of_its_equals_the_lowest_load(objective, costs):
    """Among the intervals that keep the limits; the shortest of them is no answer of its own."""
    ensemble, _ = ensemble_of(law(**costs), arrivals=poisson(RATE))
    target = Target.of(None, None, None, objective)
    choice = choose(ensemble, target)
    table = ensemble.table(1.0)
    fit = table[(choice.chance >= 0.8) & ensemble.keeps_up & ~ensemble.extrapolated]
    same = fit[fit.latency_p95_s <= 1.05 * fit.latency_p95_s.min()]

    assert table.interval_s[choice.index] == same.interval_s[same.load.idxmin()]
    assert ("load" in target.limits) == (objective == "fastest")


def test_work_that_pauses_is_freshest_far_above_the_shortest_that_fits():
    """Near T* each pause leaves a queue that takes long to go: the shortest with load ≤ .7 has a p95 40 % higher."""
    ensemble, _ = ensemble_of(law(a=0.02, pause=2), arrivals=poisson(RATE))
    choice = choose(ensemble, Target.of(None, None, None, "fastest"))
    p95 = ensemble.middle("latency_p95_s")
    shortest = int(np.flatnonzero((choice.chance >= 0.8) & ensemble.keeps_up)[0])

    assert ensemble.intervals[choice.index] > 2 * ensemble.intervals[shortest]
    assert p95[choice.index] < p95[shortest] / 1.2


def test_a_limit_of_load_that_costs_freshness_says_so():
    """T* is 125 ms; a load of .5 needs 333 ms, and the sentence says what it would be without the limit."""
    told = advised(law(), Target.of(None, None, 0.5, "fastest"))

    assert re.search(r"Without the limit of load it would be 1\d\d ms, p95 \d+ ms at load 0\.9\d\.", told), told
    assert "Without the limit" not in advised(law(), Target.of("1s", None, 0.9, "cheapest"))


def test_without_any_limit_the_sentence_still_says_what_was_kept():
    """objective="latency" has no limit of load of its own."""
    told = advised(law(), Target.of(None, None, None, "latency"))

    assert "of the intervals that keep up with at least 80% probability" in told
    assert "it is the one with the lowest p95" in told


@pytest.mark.parametrize("p95", [0.5, 1.0, 3.0])
def test_the_cheapest_interval_is_the_closed_form(p95):
    """T = (L − a)/(0.95 + bλ): the longest with p95 ≤ L, because every batch saves its fixed cost."""
    exact = (p95 - A) / (0.95 + B * RATE)
    found = chosen_s(law(), Target.of(f"{p95}s", None, None, None))

    assert exact / 1.13 <= found <= exact * 1.005


def test_a_quadratic_cost_has_an_upper_limit_too():
    """Batches of ever longer intervals outgrow them: T ≤ (1 + √(1 − 4aqλ²))/(2qλ²)."""
    q = 2e-7
    ensemble, _ = ensemble_of(law(a=0.1, b=0.0, q=q))
    load = ensemble.middle("load")
    exact = (1 + np.sqrt(1 - 4 * 0.1 * q * RATE**2)) / (2 * q * RATE**2)
    last = ensemble.intervals[np.flatnonzero(load < 1)[-1]] / 1e9

    assert exact / 1.12 <= last <= exact
    assert chosen_s(law(a=0.1, b=0.0, q=q), Target.of("8s", None, None, None)) < exact


def test_uncertainty_asks_for_a_margin():
    """With a machine whose speed wanders by 10 %, the fastest interval is longer than the exact one."""
    target = Target.of(None, None, 0.7, "fastest")

    assert chosen_s(law(host_sd=0.1), target) > 1.08 * A / (0.7 - B * RATE)


def test_bursts_and_not_the_mean_rate_decide():
    """Half the time twice the rate: an interval that fits the mean rate would miss the target in every burst."""
    target = Target.of("1s", None, None, None)
    steady = chosen_s(law(b=4e-4), target)
    bursty = chosen_s(law(b=4e-4), target, arrivals=bursts(on="4s", off="4s", rate_on=2 * RATE - 1, rate_off=1))

    assert bursty < 0.85 * steady


def test_the_knee_lies_between_the_fastest_and_the_cheapest():
    """The best trade is neither end."""
    limits = {"p95": "5s", "p99": None, "load": 0.9}
    fastest, knee, cheapest = (
        chosen_s(law(), Target.of(*limits.values(), objective)) for objective in ("fastest", "knee", "cheapest")
    )

    assert fastest < knee < cheapest


# -- refusing -----------------------------------------------------------------------------------------------------


def refused(model, target, **kwargs):
    """The sentence of a refusal."""
    ensemble, known = ensemble_of(model, **kwargs)
    choice = choose(ensemble, target)

    assert choice.index is None
    return refusal(ensemble, choice, model, known)


def test_work_that_outgrows_every_interval_is_refused():
    """bλ = 1.5: no interval helps, and the sentence says what would."""
    assert "need 1.5 seconds of work a second" in refused(law(b=1.5e-3), Target.of("1s", None, None, None))


def test_a_target_below_what_any_interval_can_do_is_refused():
    """p95 under T* alone is out of reach; the nearest is named."""
    assert "the nearest, " in refused(law(), Target.of("150ms", None, None, None))


def test_sizes_that_were_not_tried_are_not_promised():
    """Only intervals whose batches are larger than any probe would do: the cure is a larger budget."""
    text = refused(law(b=1e-6, high=200), Target.of(None, None, 0.05, "fastest"), low="1s")

    assert "a larger budget= reaches further" in text


def test_every_doubt_is_a_sentence_with_its_figure():
    """No pause in 30 probes, noise of 30 %, a cliff that is near."""
    p99 = Target.of(None, "5s", None, None)
    quiet, noisy = law(count=30), law(count=30, noise=0.3)
    pipeline = Lab(mblab.simulate(lambda n, rng, t: {"x": t}, arrivals=constant(10)), interval="1s").pipeline

    def said(model, at=40):
        ensemble, _ = ensemble_of(model, count=48)
        return " ".join(doubts(ensemble, p99, at, model, pipeline, effects=False))

    assert said(quiet) == "No pause seen in 30 probes: p99 is not promised."
    assert "differ by" in said(noisy)
    assert "The cliff is near" in said(law(host_sd=0.1), at=12)
    assert "2 of 60 probes paused for 1 s: too few to know" in said(law(pause=2))


def test_a_target_is_checked_in_one_sentence():
    """Which knob, the rule, the value."""
    for arguments, sentence in [
        (("0ms", None, None, None), "p95 must be at least 1 ms"),
        ((None, None, 1.2, None), "load must be a finite number above 0 and at most 1"),
        ((None, None, "high", None), "load must be a finite number"),
        ((None, None, None, "cheepest"), "did you mean 'cheapest'"),
    ]:
        with pytest.raises(SettingError, match=sentence):
            Target.of(*arguments)


def test_a_latency_asks_for_the_cheapest_and_nothing_for_the_fastest():
    """The defaults of the contract."""
    assert Target.of("1s", None, None, None).objective == "cheapest"
    assert Target.of(None, None, None, None).objective == "fastest"
    assert str(Target.of("1s", None, None, None)) == "p95 ≤ 1 s and load ≤ 0.8"


# -- the whole way ------------------------------------------------------------------------------------------------


def service(base=0.02, slope=1e-5, rate=2000, **knobs):
    """A lab whose function sleeps base + slope·n seconds."""
    source = mblab.simulate(lambda n, rng, t: {"x": rng.random(n)}, arrivals=poisson(rate), duration="60s", seed=3)
    lab = Lab(source, interval="1s", **knobs)

    @lab.batch
    def serve(batch):
        time.sleep(base + slope * len(batch))
        return len(batch)

    return lab


def test_tune_advises_applies_and_proves():
    """A sleeping service: the answer is what the closed form allows, and a real run says how near it came.

    How near, and how soon, a quiet machine is asked by the campaign in tests/benchmarks.
    """
    lab = service()
    advice = lab.tune(p95="300ms", budget="1500ms")
    exact = (0.3 - 0.02) / (0.95 + 1e-5 * 2000)

    assert advice.verdict in ("trusted", "check")
    assert 0 < advice.interval < 1.01 * exact
    assert lab.interval == 1.0
    advice.apply()
    assert lab.interval == pytest.approx(advice.interval)
    check = advice.verify("3s")
    p95 = check.table.set_index("measure").loc["latency_p95_s"]
    assert p95.measured > 0.02
    assert p95.predicted <= 0.3
    assert len(lab.ledger) == 5
    assert check.run.status == "finished"


def test_a_verification_counts_every_row_and_says_by_how_much_it_was_missed():
    """The law is exact, so a prediction is what the run brings, within the rounding; a slower run is named as such."""
    source = mblab.simulate.sensors(rate=200, duration="20s", seed=5)
    lab = Lab(source, interval="1s")
    lab.map(lambda batch: batch, name="same")

    def held(cost):
        run = lab.run("20s", clock="virtual", cost=cost)
        known, target = arrival_times_of(source, 20_000_000_000), Target.of(None, None, None, None)
        return verified(run, law(), target, known, 1_000_000_000, lab.pipeline.settings, 1.0)

    exact, slow = held(lambda n: A + B * n), held(lambda n: 0.01 + A + B * n)

    assert exact.table.error.abs().max() < 1e-4
    assert "outside the band: mean by 1.6 %" in repr(slow)  # 10 ms of 640 ms
    assert "load by 7.1 %" in repr(slow)  # 10 ms of 140 ms


def test_advice_shows_itself():
    """A chart and the sentence, headless too; the sentence holds interval, band, objective and law."""
    advice = service().tune(p95="300ms", budget="600ms")
    bundle = advice._repr_mimebundle_()

    assert charts.render.MIME in bundle
    assert "A batch takes" in bundle["text/plain"]
    assert "Verdict: " in bundle["text/plain"]
    assert "it is the cheapest" in advice.why
    assert advice.plot_cost().to_dict()["layer"]
    assert {"latency_p95_s_lo", "cost_per_hour"} <= set(advice.curve.table.columns)


def test_a_declared_cost_is_believed_and_nothing_is_tried():
    """The closed form to the grid's step, no word of pauses that were not seen, and the step is not called."""
    lab, called = Lab(mblab.simulate.sensors(rate=RATE, seed=1), interval="1s"), []
    lab.map(lambda rows: called.append(1), name="seen")
    advice = lab.tune(p95="1s", cost=lambda n: A + B * n)
    exact = (1 - A) / (0.95 + B * RATE)

    assert exact / 1.13 <= advice.interval <= exact * 1.005
    assert advice.verdict == "trusted"
    assert "as declared for batches of 1 to" in advice.explain()
    assert "by the declared cost" in advice.explain()
    assert "paus" not in advice.explain()
    assert called == []
    with pytest.raises(SettingError, match="cost"):
        lab.tune(cost=-1)


def test_a_refused_advice_applies_nothing():
    """interval is None, apply and verify raise with the reason, and the chart still shows the curve."""
    lab = service(base=0.0, slope=1e-3)
    advice = lab.tune(p95="100ms", budget="600ms")

    assert advice.interval is None
    assert advice.verdict == "refuse"
    with pytest.raises(SettingError, match="none was advised"):
        advice.apply()
    with pytest.raises(SettingError, match="none was advised"):
        advice.verify()
    assert lab.interval == 1.0
    assert advice.plot().to_dict()


def test_a_dry_sink_is_a_reason_to_check():
    """Its time is not in the figures."""
    lab = service()
    sink = ListSink()
    sink.effects = True
    lab.to(sink)
    advice = lab.tune(p95="300ms", budget="500ms")

    assert advice.verdict == "check"
    assert "list stayed dry" in advice.why
    assert "stayed dry" not in lab.tune(p95="300ms", budget="500ms", effects=True).why


def test_a_source_judged_in_part_says_so():
    """A stream longer than a minute is judged by its first minute; a duration of one's own moves that."""
    source = mblab.simulate(lambda n, rng, t: {"x": t}, arrivals=constant(50), duration="10min")
    advice = Lab(source).tune(budget="200ms", duration="20s")

    assert any("first 20 s" in note for note in advice.notes)


def test_an_interval_that_the_trace_is_too_short_for_is_not_looked_at():
    """A target of an hour on a stream of ten seconds: at most half of it, and the note says what would show more."""
    source = mblab.simulate(lambda n, rng, t: {"x": t}, arrivals=constant(200), duration="10s")
    advice = Lab(source).tune(p95="1h", budget="500ms")

    assert 3.4 < advice.interval < 6.0
    assert any("A longer interval might do too" in note for note in advice.notes)


# -- the track record ------------------------------------------------------------------------------------------------


def test_misses_widen_the_bands_and_hits_narrow_them():
    """A conformal factor, with a dozen checks' worth of belief in the bands as they are."""
    missed, hit = TrackRecord(), TrackRecord()
    missed.add([Checked(1.0, "load", 0.5, 0.45, 0.55, 0.7)] * 4)
    hit.add([Checked(1.0, "load", 0.5, 0.45, 0.55, 0.501)] * 200)

    assert missed.widen > 1.5
    assert hit.widen < 0.8
    assert TrackRecord().widen == 1.0


def test_a_track_record_outlives_its_lab(tmp_path):
    """Kept in a file of JSON lines; what it holds already is taken in."""
    first, second = TrackRecord(), TrackRecord()
    first.keep(tmp_path / "tuning.jsonl")
    first.add([Checked(1.0, "load", 0.5, 0.45, 0.55, 0.7)])
    second.add([Checked(2.0, "load", 0.5, 0.45, 0.55, 0.7)])
    second.keep(tmp_path / "tuning.jsonl")

    assert list(second.table.interval_s) == [1.0, 2.0]
    assert len((tmp_path / "tuning.jsonl").read_text().splitlines()) == 2


def test_a_file_of_something_else_is_no_track_record(tmp_path):
    """It is named with the line, and left alone."""
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n")
    with pytest.raises(SettingError, match="line 1 of"):
        TrackRecord().keep(path)

    assert path.read_text() == "buy milk\n"


def test_a_worse_track_record_means_wider_bands():
    """The factor acts on the half width, on a log scale, and leaves the middle."""
    ensemble, _ = ensemble_of(law(noise=0.05, host_sd=0.05), count=8)
    usual, wide = ensemble.table(), ensemble.table(widen=2.0)

    assert (wide.latency_p95_s == usual.latency_p95_s).all()
    assert np.log(wide.load_hi / wide.load).to_numpy() == pytest.approx(2 * np.log(usual.load_hi / usual.load))


# -- the arrivals -------------------------------------------------------------------------------------------------


def test_a_simulations_trace_is_what_its_run_sees():
    """Same law, same seed, same nanoseconds, without making a row."""
    source = mblab.simulate(
        lambda n, rng, t: {"x": t}, arrivals=bursts(on=1, off=2, rate_on=900, rate_off=10), duration="9s", seed=4
    )
    run = Lab(source, interval="500ms").run("10s", clock="virtual", cost=0)
    known = arrival_times_of(source, 10 * 10**9)

    assert (known.arrival_ns / 1e9).tolist() == run.records.arrival_s.tolist()
    assert known.whole


def test_more_load_is_the_same_rows_sooner():
    """Twice the load: half the time."""
    known = ArrivalTimes(np.array([10, 20, 40]), 100, True).at_load(2)

    assert known.arrival_ns.tolist() == [5, 10, 20]
    assert known.horizon_ns == 50


def test_a_short_interval_is_judged_by_a_number_of_batches_and_says_so():
    """A cheap function on a long source: thousands of batches tell as much as all, and the words say which."""
    lab = Lab(mblab.simulate.sensors(rate=1000, duration="60s"), interval="1s")
    search = Search(Target.of(None, None, 0.5, None), arrival_times_of(lab.source, 60 * 10**9), lab.pipeline)
    found = find_by_batches(law(a=1e-4, b=1e-6), search, Span(2 * 10**6, 2 * 10**9))

    looked_s = 3000 * float(found.ensemble.intervals[found.choice.nearest]) / 1e9
    said = f"An interval this short was judged by 3,000 batches, the first {mblab.timing.durations.format_s(looked_s)}."

    assert looked_s < 10
    assert said in found.notes

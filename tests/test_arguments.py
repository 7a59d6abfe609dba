"""Every public argument of the lab, with what a tired user may put there: one clear sentence each, and nothing changed."""

import math

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import Lab, SettingError
from mblab.testing import rows_at

SOURCE = rows_at([0.1, 1.1])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (
            {"interval": "0ms"},
            "interval must be at least 1 ms, got '0ms'; for a batch per row use max_rows_per_batch=1",
        ),
        ({"interval": -1}, "interval must not be negative, got -1"),
        ({"interval": math.nan}, "interval must be a finite duration, got nan"),
        ({"interval": "1"}, "interval='1' has no unit; write '1s'"),
        ({"interval": None}, "interval must be a string with a unit"),
        ({"interval": True}, "interval must be a duration"),
        ({"policy": "asp"}, "policy must be 'asap', 'skip' or 'queue', got 'asp': did you mean 'asap'"),
        ({"policy": 3}, "policy must be 'asap', 'skip' or 'queue', got 3"),
        ({"max_rows_per_batch": 0}, "max_rows_per_batch must be a whole number of rows, at least 1, got 0"),
        ({"max_rows_per_batch": -5}, "max_rows_per_batch must be a whole number of rows, at least 1, got -5"),
        ({"max_rows_per_batch": 2.5}, "max_rows_per_batch must be a whole number of rows, got 2.5"),
        ({"max_rows_per_batch": math.nan}, "max_rows_per_batch must be a whole number"),
        ({"max_rows_per_batch": True}, "max_rows_per_batch must be a whole number"),
        ({"name": ""}, "name must not be empty"),
        ({"name": 3}, "name must be a string, got 3"),
        ({"on_error": "ignore"}, "on_error must be 'halt', got 'ignore'"),
        ({"on_error": None}, "on_error must be 'halt', got None"),
        ({"run_empty": 1}, "run_empty must be True or False, got 1"),
        ({"batches_limit": 0}, "batches_limit must be a whole number, at least 1, got 0"),
        ({"output_limit": "many"}, "output_limit must be a whole number, got 'many'"),
        ({"ui": "yes"}, "ui must be True or False, got 'yes'"),
    ],
)
def test_a_lab_refuses_a_knob_in_one_sentence(knobs, message):
    """Which knob, the rule, the value seen, the way on."""
    with pytest.raises(SettingError) as caught:
        Lab(SOURCE, **knobs)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (pd.DataFrame({"a": [1]}), "wrap the data: mblab.replay(data, arrival=…)"),
        ("flights.parquet", "wrap the data: mblab.replay(data, arrival=…)"),
        (None, "source must be a source of rows, got None"),
        (3, "source must be a source of rows, got 3"),
    ],
)
def test_a_lab_needs_a_source(source, message):
    """And says how to make one of what it was given."""
    with pytest.raises(TypeError) as caught:
        Lab(source)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration": 0}, "duration must be above 0, got 0."),
        ({"duration": "10"}, "duration='10' has no unit"),
        ({"duration": -1}, "duration must not be negative"),
        ({"duration": math.inf}, "duration must be a finite duration"),
        ({"clock": "real"}, "clock must be 'wall' or 'virtual', got 'real'"),
        ({"clock": 3}, "clock must be 'wall', 'virtual' or a clock, got 3"),
        ({"cost": "1s", "clock": "virtual"}, "cost must be a number of seconds or a function"),
        (
            {"cost": -1, "clock": "virtual"},
            "cost(1) must be a finite number of seconds, 0 or more and below 146 years, got -1",
        ),
        ({"cost": math.nan, "clock": "virtual"}, "cost(1) must be a finite number of seconds"),
        ({"cost": True, "clock": "virtual"}, "cost must be a number of seconds"),
        ({"cost": 0.1}, "add clock='virtual'"),
        ({"cost": lambda n: "much", "clock": "virtual"}, "cost(1) must be a number of seconds, got 'much'"),
        (
            {"cost": lambda n: -n, "clock": "virtual"},
            "cost(1) must be a finite number of seconds, 0 or more and below 146 years, got -1",
        ),
        ({"controls": ["20s"]}, "controls must be a dict such as"),
        ({"controls": {"20": {"interval": "1s"}}}, "controls='20' has no unit"),
        ({"controls": {"1s": {"interal": "1s"}}}, "'interal' is no knob; there are ['interval', 'policy', 'max_rows"),
        ({"controls": {"1s": "500ms"}}, "a change must be a dict of knobs"),
        ({"controls": {"1s": {"policy": "queue", "max_rows_per_batch": 3}}}, "policy='queue' gives each trigger"),
        (
            {"controls": {"1s": {"max_rows_per_batch": 3}, "2s": {"policy": "queue"}}},
            "policy='queue' gives each trigger",
        ),
        ({"controls": {"1s": {"speedup": 0}}}, "speedup must be a finite number above 0, got 0"),
    ],
)
def test_a_run_refuses_an_argument_in_one_sentence(arguments, message):
    """Before anything moves, or as a halt; never a bare traceback."""
    lab = Lab(SOURCE, name="arguments")
    with pytest.raises(SettingError) as caught:
        lab.run(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("interval", "0s", "at least 1 ms"),
        ("policy", "later", "must be 'asap', 'skip' or 'queue'"),
        ("max_rows_per_batch", 0, "whole number of rows, at least 1"),
        ("speedup", -1, "above 0"),
        ("speedup", "fast", "must be a finite number above 0"),
        ("speedup", math.nan, "finite"),
    ],
)
def test_a_refused_live_change_leaves_the_knob_where_it_was(knob, value, message):
    """Nothing is half changed."""
    lab = Lab(SOURCE, name="knobs")
    before = getattr(lab, knob)
    with pytest.raises(SettingError, match=message):
        setattr(lab, knob, value)
    assert getattr(lab, knob) == before


def test_what_cannot_be_done_now_says_what_can():
    """Pause without a run, an unknown step, a sink that is none, an endless run."""
    lab = Lab(SOURCE, name="now")
    lab.batch(len, name="count")
    with pytest.raises(SettingError, match=r"pause\(\) needs a run that is on; begin one with lab.start"):
        lab.pause()
    with pytest.raises(SettingError, match=r"no such step or sink; there are \['count'\]: did you mean 'count'"):
        lab.remove("cout")
    with pytest.raises(SettingError, match=r"name the format: mblab.sinks.parquet\(path\)"):
        lab.to("out.parquet")
    with pytest.raises(SettingError, match=r"wrap the function: mblab.sinks.call\(fn\)"):
        lab.to(print)
    with pytest.raises(SettingError, match="n must be a whole number, at least 1, got 0"):
        lab.step(0)
    with pytest.raises(SettingError, match="n must be a whole number"):
        lab.try_batch(1.5)
    with pytest.raises(SettingError, match="intervals must be a list of durations"):
        lab.sweep("1s")
    with pytest.raises(SettingError, match="at least one interval"):
        lab.sweep([])
    endless = Lab(mblab.simulate(lambda n, rng, times: {"v": rng.normal(size=n)}, arrivals=mblab.arrivals.constant(5)))
    with pytest.raises(
        SettingError, match=r"never ends by itself, so run\(\) needs a duration, such as lab.run\('30s'\)"
    ):
        endless.run()
    with pytest.raises(SettingError, match=r"never ends by itself, so sweep\(\) needs a duration"):
        endless.sweep(["1s"])
    run = lab.run(clock="virtual", cost=0)
    with pytest.raises(SettingError, match="from_s must be before to_s"):
        run.summary(3, 2)


def test_a_cost_that_turns_nonsense_half_way_halts_without_harm():
    """State and rows of that batch are put back; the sentence names the batch's rows."""
    lab = Lab(rows_at([0.1, 1.1, 1.2]), name="nonsense")
    lab.batch(lambda batch, state: state.update(n=state.get("n", 0) + 1) or len(batch), name="count")
    with pytest.raises(SettingError, match=r"cost\(2\) must be a finite number"):
        lab.run(clock="virtual", cost=lambda n: np.inf if n == 2 else 0.1)

    assert lab.last_run.state == {"count": {"n": 1}}
    assert lab.last_run.output["count"].tolist() == [1]


def test_a_mistyped_knob_is_refused_instead_of_forgotten():
    """Python would make a new attribute of it, and the lab would go on at the old interval."""
    lab = Lab(SOURCE, name="mistyped")

    with pytest.raises(SettingError, match="'intervall' is no knob of a lab.*did you mean 'interval'"):
        lab.intervall = "2s"
    assert lab.interval == 1.0

"""The laws of arrivals: exact where they can be, right on average where they are random, refused when nonsense."""

import copy
import datetime as dt
import pickle
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mblab import arrivals
from mblab.errors import SettingError, SettingTypeError

LAWS = [
    arrivals.constant(70),
    arrivals.poisson(70),
    arrivals.bursts(on="2s", off="5s", rate_on=200, rate_off=3),
    arrivals.bursts(on="2s", off="5s", rate_on=200),
    arrivals.bursts(on="2s", off="5s", rate_on=0, rate_off=90),
    arrivals.diurnal(mean=70, amplitude=1, period="1min"),
    arrivals.ramp(start=0, end=200, over="1min"),
    arrivals.ramp(start=200, end=10, over="1min"),
    arrivals.ramp(start=200, end=0, over="1min"),
    arrivals.trace(np.arange(0, 90, 0.013)),
]
laws = pytest.mark.parametrize("law", LAWS, ids=repr)


@laws
def test_a_shorter_time_is_the_beginning_of_a_longer_one(law):
    """`times(d)` is the part of the stream with t < d, whatever d."""
    whole = np.concatenate(list(islice(law.blocks(seed=3), 4)))

    for end in (0, 0.1, 17, 60, 80):
        assert law.times(end, seed=3).tolist() == whole[whole < end].tolist()


@laws
def test_times_are_float_seconds_in_order_from_0_on(law):
    """Arrivals never step back and are never negative."""
    times = law.times("100s", seed=5)

    assert times.dtype == np.float64
    assert times.min() >= 0
    assert (np.diff(times) >= 0).all()


@laws
def test_blocks_hold_4096_arrivals(law):
    """Blocks have the same length whatever the law throws away, lose nothing; only a finite law ends shorter."""
    blocks = list(islice(law.blocks(seed=1), 3))
    joined = np.concatenate(blocks)

    assert joined.tolist() == np.concatenate(list(islice(law.chunks(seed=1), 9)))[: len(joined)].tolist()
    assert all(len(b) == 4096 for b in (blocks if law.endless else blocks[:-1]))


@laws
def test_the_code_of_a_law_makes_it_again(law):
    """`code()` is a Python expression of the public API, exact to the last bit."""
    again = eval(law.code(), {"mblab": type("mblab", (), {"arrivals": arrivals})})

    assert again == law
    assert again.times("70s", 9).tolist() == law.times("70s", 9).tolist()


@laws
def test_a_law_is_a_value(law):
    """Laws can be copied, pickled, compared and hashed."""
    assert pickle.loads(pickle.dumps(law)) == law == copy.deepcopy(law)
    assert len({law, copy.copy(law)}) == 1


@given(rate=st.floats(1e-3, 1e6))
def test_a_constant_rate_puts_row_i_at_i_plus_a_half_over_the_rate(rate):
    """The constant law is exact."""
    first = next(arrivals.constant(rate).blocks())

    assert first.tolist() == [(i + 0.5) / rate for i in range(4096)]


@given(start=st.floats(0, 1000), end=st.floats(0.1, 1000), over=st.floats(0.1, 1000))
def test_a_ramp_puts_row_i_where_the_integrated_rate_is_i_plus_a_half(start, end, over):
    """The ramp is exact, on the slope and after it."""
    ramp = arrivals.ramp(start=start, end=end, over=over)
    t = next(ramp.blocks())
    slope = np.minimum(t, ramp.over)
    integrated = start * slope + (end - start) * slope**2 / (2 * ramp.over) + end * (t - slope)

    np.testing.assert_allclose(integrated, np.arange(4096) + 0.5, rtol=1e-6)


def test_a_ramp_down_to_0_ends():
    """With end=0 the rows on the slope are all there are."""
    times = arrivals.ramp(start=100, end=0, over=10).times("1h")

    assert len(times) == 500
    assert times[-1] < 10


def test_a_poisson_process_has_independent_exponential_gaps():
    """Mean and spread of the gaps are 1/rate, and counts a second have a variance equal to their mean."""
    times = arrivals.poisson(50).times(4000, seed=11)
    gaps = np.diff(times)
    counts = np.histogram(times, np.arange(4001))[0]

    assert gaps.mean() == pytest.approx(1 / 50, rel=0.01)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.02)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.01
    assert counts.var() == pytest.approx(50, rel=0.1)


def test_bursts_start_on_and_alternate():
    """Rows per second are rate_on within a burst and rate_off between bursts."""
    times = arrivals.bursts(on=2, off=3, rate_on=100, rate_off=10).times(5000, seed=2)
    on = np.mod(times, 5) < 2

    assert on.sum() / 2000 == pytest.approx(100, rel=0.02)
    assert (~on).sum() / 3000 == pytest.approx(10, rel=0.04)


def test_silence_between_bursts_is_silent_and_costs_no_time():
    """A day of silence after each second of rows is drawn at once."""
    times = next(arrivals.bursts(on="1s", off="1day", rate_on=100).blocks(seed=2))

    assert np.mod(times, 86_401).max() < 1
    assert times[-1] > 20 * 86_401


def test_a_diurnal_law_swings_around_its_mean():
    """rate(t) = mean·(1 + amplitude·sin(2πt/period))."""
    times = arrivals.diurnal(mean=100, amplitude=0.8, period=10).times(2000, seed=4)
    counts = np.histogram(np.mod(times, 10), 20)[0] / 200 / 0.5
    middle = np.arange(0.25, 10, 0.5)

    np.testing.assert_allclose(counts, 100 * (1 + 0.8 * np.sin(2 * np.pi * middle / 10)), atol=6)


def test_seeds_give_different_sequences():
    """Another seed is another sequence; the same one the same."""
    law = arrivals.poisson(10)

    assert law.times(10, 1).tolist() == law.times(10, 1).tolist() != law.times(10, 2).tolist()


def test_arrivals_do_not_share_draws_with_the_row_function():
    """default_rng(seed) is default_rng([seed, 0]), the rows' first generator; arrivals must not use it."""
    gaps = np.diff(arrivals.poisson(1).times(100, seed=7), prepend=0)

    assert not np.isclose(gaps[0], np.random.default_rng([7, 0]).standard_exponential(1000)).any()


@pytest.mark.parametrize(
    "times",
    [
        [0, 0.5, 2],
        (0.0, 0.5, 2.0),
        np.array([0, 0.5, 2]),
        pd.Series([0, 0.5, 2], index=[7, 8, 9]),
        pd.to_timedelta(["0s", "500ms", "2s"]),
        [dt.timedelta(0), dt.timedelta(seconds=0.5), dt.timedelta(seconds=2)],
        pd.to_datetime(["2026-01-01 10:00", "2026-01-01 10:00:00.5", "2026-01-01 10:00:02"], format="ISO8601"),
        [dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, 0, 0, 0, 500_000), dt.datetime(2026, 1, 1, 0, 0, 2)],
    ],
    ids=lambda times: type(times).__name__,
)
def test_a_trace_takes_seconds_timedeltas_and_datetimes(times):
    """Whatever times are written in, they are seconds; datetimes count from the first."""
    assert arrivals.trace(times).times(100).tolist() == [0, 0.5, 2]


def test_a_trace_is_kept_as_given():
    """A trace does not start at 0 unless its first time is 0."""
    assert arrivals.trace([3, 3, 4.5]).times(4.5).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([], "at least one"),
        ([1, 0], "entry 1 (0 s) is before entry 0 (1 s)"),
        ([0, float("nan")], "entry 1 is null"),
        ([0, float("inf")], "finite"),
        ([-1, 0], "from 0 on"),
        (["1s"], "got '1s' (str)"),
        ([True], "bool"),
        ("0 1 2", "got '0 1 2'"),
        (5, "got 5"),
    ],
)
def test_a_trace_that_is_no_list_of_times_in_order_is_refused(times, said):
    """The message names the entry."""
    with pytest.raises(SettingError) as caught:
        arrivals.trace(times)

    assert "times must be" in str(caught.value)
    assert said in str(caught.value)


BURSTS = {"on": 1, "off": 1, "rate_on": 5, "rate_off": 1}
DIURNAL = {"mean": 5, "amplitude": 0.5, "period": 60}
RAMP = {"start": 1, "end": 5, "over": 10}


@pytest.mark.parametrize(
    ("law", "good", "knob", "bad"),
    [
        *[(arrivals.constant, {}, "rate", bad) for bad in (0, -1, float("nan"), float("inf"), True, "5", None, 1j)],
        *[(arrivals.poisson, {}, "rate", bad) for bad in (0, -1, float("nan"), False, "5")],
        *[(arrivals.bursts, BURSTS, "on", bad) for bad in (0, -1, "5", True, float("nan"))],
        *[(arrivals.bursts, BURSTS, "off", bad) for bad in (0, "0s", "1 fortnight", None)],
        *[(arrivals.bursts, BURSTS, "rate_on", bad) for bad in (-1, "x", True)],
        *[(arrivals.bursts, BURSTS, "rate_off", bad) for bad in (-1, float("inf"))],
        *[(arrivals.diurnal, DIURNAL, "mean", bad) for bad in (0, "x")],
        *[(arrivals.diurnal, DIURNAL, "amplitude", bad) for bad in (-0.1, 1.1, float("nan"), True)],
        *[(arrivals.diurnal, DIURNAL, "period", bad) for bad in (0, "60")],
        *[(arrivals.ramp, RAMP, "start", bad) for bad in (-1, "x")],
        *[(arrivals.ramp, RAMP, "end", bad) for bad in (-1, None)],
        *[(arrivals.ramp, RAMP, "over", bad) for bad in (0, -5)],
    ],
)
def test_an_argument_out_of_its_range_is_refused_by_name(law, good, knob, bad):
    """Zero, negative, NaN, bool and the wrong type: the message begins with the knob."""
    with pytest.raises(SettingError) as caught:
        law(**{**good, knob: bad})

    assert str(caught.value).startswith(knob)


def test_a_wrong_type_is_also_a_type_error():
    """`SettingTypeError` is a TypeError."""
    with pytest.raises(TypeError):
        arrivals.poisson("5")

    assert issubclass(SettingTypeError, TypeError)


@pytest.mark.parametrize(
    "make",
    [
        lambda: arrivals.bursts(on=1, off=1, rate_on=0),
        lambda: arrivals.ramp(start=0, end=0, over=10),
        lambda: arrivals.ramp(start=0.05, end=0, over=10),
    ],
)
def test_a_law_under_which_no_row_ever_arrives_is_refused(make):
    """A rate of 0 is fine only beside one that is not."""
    with pytest.raises(SettingError, match=r"no row"):
        make()


@pytest.mark.parametrize(("duration", "seed"), [("5", 0), (-1, 0), (1, -1), (1, 0.5), (1, True)])
def test_times_checks_duration_and_seed(duration, seed):
    """A duration needs a unit, a seed is a whole number from 0 on."""
    with pytest.raises(SettingError):
        arrivals.poisson(5).times(duration, seed)


def test_a_trace_is_known_by_its_times_and_keeps_them():
    """Two traces of the same times are the same, and an array that changes later does not change a trace."""
    times = np.array([0.0, 0.4, 1.0])
    trace = arrivals.trace(times)
    times[1] = 0.9

    assert trace == arrivals.trace([0, 0.4, 1])
    assert len({trace, arrivals.trace(pd.Series([0, 0.4, 1], index=[7, 8, 9]))}) == 1
    assert trace != arrivals.trace(times)
    assert trace.times("2s").tolist() == [0, 0.4, 1]

"""Simulated rows: made for fixed blocks from a seed, so nothing but the seed decides what they are."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest

from mblab import arrivals
from mblab.errors import SettingError, SourceError
from mblab.sources import Source, simulate
from mblab.sources.modifiers.modified import Modifiable


def prices(n, rng, times):
    return {"price": rng.integers(0, 1000, n), "at": times}


def rows_of(source):
    return pd.concat([block.rows for block in source.open()], ignore_index=True)


def arrival_ns(source):
    return np.concatenate([block.arrival_ns for block in source.open()])


def test_the_row_function_is_called_on_blocks_of_4096_with_a_generator_of_their_own():
    """rng = default_rng([seed, block]), times in source seconds, whatever is asked of the source."""
    calls = []

    def make_rows(n, rng, times):
        calls.append((n, rng.random(), times.dtype, float(times[0])))
        return {"x": np.zeros(n)}

    list(simulate(make_rows, arrivals=arrivals.constant(1000), duration="9s", seed=5).open())

    assert calls == [
        (4096, np.random.default_rng([5, b]).random(), np.float64, (4096 * b + 0.5) / 1000) for b in range(3)
    ]


def test_rows_end_before_the_duration():
    """Rows with t < duration, exactly."""
    source = simulate(prices, arrivals=arrivals.trace([0, 0.5, 1, 1.5]), duration=1)

    assert arrival_ns(source).tolist() == [0, 500_000_000]
    assert not source.endless


def test_a_shorter_simulation_is_the_beginning_of_a_longer_one():
    """What lies beyond the duration is made and cut off, so the draws are the same."""
    long = rows_of(simulate(prices, arrivals=arrivals.poisson(700), duration="20s", seed=3))
    short = rows_of(simulate(prices, arrivals=arrivals.poisson(700), duration="7s", seed=3))

    assert 4096 < len(short) < len(long)
    pd.testing.assert_frame_equal(short, long.iloc[: len(short)])


def test_times_are_kept_as_they_are():
    """A simulation does not begin at 0 unless its arrivals do; arrivals are rounded to 1 ns."""
    times = arrivals.poisson(50).times(30, seed=4)
    source = simulate(prices, arrivals=arrivals.poisson(50), duration=30, seed=4)

    assert arrival_ns(source).tolist() == np.rint(times * 1e9).astype(np.int64).tolist()
    assert rows_of(source)["at"].tolist() == times.tolist()


def test_an_event_time_is_added_when_there_is_none():
    """start + times, first column, naive UTC with nanoseconds."""
    source = simulate(prices, arrivals=arrivals.trace([0.25, 3]), start="2026-05-01 12:00")
    rows = rows_of(source)

    assert list(rows.columns) == ["event_time", "price", "at"]
    assert rows["event_time"].dtype == "datetime64[ns]"
    assert rows["event_time"].tolist() == [
        pd.Timestamp("2026-05-01 12:00:00.25"),
        pd.Timestamp("2026-05-01 12:00:03"),
    ]
    assert source.event_time == "event_time"


def test_the_users_event_time_stays():
    """It may well differ from the arrival."""
    source = simulate(lambda n, rng, times: {"event_time": times - 5}, arrivals=arrivals.trace([7, 8]))

    assert rows_of(source)["event_time"].tolist() == [2, 3]


@pytest.mark.parametrize("start", ["2026-01-01T02:00+02:00", pd.Timestamp("2026-01-01"), np.datetime64("2026-01-01")])
def test_start_is_a_point_in_utc(start):
    """With a time zone it is converted."""
    source = simulate(prices, arrivals=arrivals.trace([0]), start=start)

    assert rows_of(source)["event_time"].tolist() == [pd.Timestamp("2026-01-01")]


def test_without_a_duration_it_is_endless_except_for_what_ends():
    """A trace ends with its last time, a ramp to 0 with its last row."""
    ramp = arrivals.ramp(start=10, end=0, over=10)

    assert simulate(prices, arrivals=arrivals.poisson(5)).endless
    assert not simulate(prices, arrivals=arrivals.trace([0, 1])).endless
    assert len(rows_of(simulate(prices, arrivals=arrivals.trace([0, 1])))) == 2
    assert len(rows_of(simulate(prices, arrivals=ramp))) == 50


def test_a_very_slow_law_ends_where_nanoseconds_do():
    """Behind 292 years nothing comes."""
    source = simulate(prices, arrivals=arrivals.constant(1e-8))

    assert (arrival_ns(source) > 0).all()


def test_a_position_gives_its_block_again():
    """Also through JSON."""
    source = simulate(prices, arrivals=arrivals.poisson(1000), duration="15s", seed=3)
    blocks = list(source.open())

    assert len(blocks) == 4
    for block in blocks:
        again = next(source.open(json.loads(json.dumps(block.position))))

        pd.testing.assert_frame_equal(again.rows, block.rows)
        assert again.arrival_ns.tolist() == block.arrival_ns.tolist()
        assert again.position == block.position


def test_another_seed_gives_other_rows():
    """Arrivals and values both come from the seed."""
    one, two = (simulate(prices, arrivals=arrivals.poisson(50), duration=5, seed=s) for s in (1, 2))

    pd.testing.assert_frame_equal(rows_of(one), rows_of(one))
    assert rows_of(one)["price"].tolist()[:50] != rows_of(two)["price"].tolist()[:50]
    assert arrival_ns(one).tolist() != arrival_ns(two).tolist()


@pytest.mark.parametrize(
    "made",
    [
        lambda n, rng, times: pd.DataFrame({"x": np.arange(n), "y": "a"}),
        lambda n, rng, times: pd.DataFrame({"x": np.arange(n), "y": "a"}, index=np.arange(n) + 7),
        lambda n, rng, times: {"x": np.arange(n), "y": "a"},
        lambda n, rng, times: {"x": pd.Series(np.arange(n), index=np.arange(n) + 7), "y": ["a"] * n},
    ],
)
def test_a_frame_or_a_dict_of_columns_makes_rows(made):
    """By place; an index means nothing, a single value fills its column."""
    (block,) = simulate(made, arrivals=arrivals.trace([0, 1, 2])).open()

    assert block.rows["x"].tolist() == [0, 1, 2]
    assert block.rows["y"].tolist() == ["a"] * 3
    assert block.rows.index.equals(pd.RangeIndex(3))


def test_a_frame_that_the_function_keeps_is_not_changed():
    """The event time is added to a copy."""
    mine = pd.DataFrame({"x": [1, 2]})
    rows_of(simulate(lambda n, rng, times: mine, arrivals=arrivals.trace([0, 1])))

    assert list(mine.columns) == ["x"]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "returned None"),
        (5, "returned 5 (int)"),
        ([1, 2, 3], "returned [1, 2, 3] (list)"),
        (pd.DataFrame({"x": [1]}), "a frame of 1 rows"),
        ({"x": [1, 2]}, "make no frame"),
        ({"x": pd.Series([1, 2])}, "make no frame"),
    ],
)
def test_nonsense_from_the_row_function_is_named(returned, said):
    """What came back, and what should have."""
    with pytest.raises(SourceError) as caught:
        rows_of(simulate(lambda n, rng, times: returned, arrivals=arrivals.trace([0, 1, 2])))

    assert "must return a DataFrame or a dict of columns with n=3 rows" in str(caught.value)
    assert said in str(caught.value)


def test_a_row_function_that_fails_keeps_its_error():
    """The block is named, the original is the cause."""

    def broken(n, rng, times):
        return {"x": 1 / 0}

    with pytest.raises(SourceError, match=r"broken\(\) failed in block 0 with ZeroDivisionError") as caught:
        rows_of(simulate(broken, arrivals=arrivals.trace([0])))

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"make_rows": 5}, "make_rows must be a function"),
        ({"make_rows": lambda n: n}, "make_rows must take (n, rng, times)"),
        ({"arrivals": 200}, "arrivals must be a law"),
        ({"arrivals": [0, 1]}, "arrivals must be a law"),
        ({"duration": 0}, "duration must be above 0"),
        ({"duration": "10"}, "has no unit"),
        ({"duration": -1}, "duration must not be negative"),
        ({"duration": True}, "duration must be a duration"),
        ({"start": "someday"}, "start must be"),
        ({"start": 5}, "start must be"),
        ({"start": pd.NaT}, "start must be"),
        ({"start": "2250-01-01"}, "start must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 0.5}, "seed must be"),
        ({"seed": True}, "seed must be"),
    ],
)
def test_an_argument_out_of_its_range_is_refused_by_name(knobs, said):
    """Wrong type, zero, negative, without unit."""
    given = {"make_rows": prices, "arrivals": arrivals.trace([0]), **knobs}

    with pytest.raises(SettingError) as caught:
        simulate(given.pop("make_rows"), **given)

    assert said in str(caught.value)


# Sensors


def test_sensors_have_the_columns_they_promise():
    """Five columns, documented dtypes."""
    rows = rows_of(simulate.sensors(devices=12, duration="1min"))

    assert {c: str(t) for c, t in rows.dtypes.items()} == {
        "event_time": "datetime64[ns]",
        "device": "str",
        "temperature": "float64",
        "humidity": "float64",
        "status": "str",
    }
    assert rows["device"].nunique() == 12
    assert set(rows["status"]) == {"ok", "warn", "fault"}
    assert len(rows) == pytest.approx(200 * 60, rel=0.05)


def test_a_sensor_keeps_its_character():
    """Devices differ from each other far more than a device from itself."""
    rows = rows_of(simulate.sensors(devices=20, duration="2min"))
    fine = rows[rows["status"] == "ok"]
    first, second = (half.groupby("device")["temperature"].mean() for half in (fine.iloc[:9000], fine.iloc[9000:]))

    assert (first - second).abs().max() < 0.3
    assert first.std() > 2


def test_sensors_take_any_law_of_arrivals():
    """`rate` is a number (Poisson) or a law."""
    source = simulate.sensors(rate=arrivals.constant(10), duration="1s")

    assert arrival_ns(source).tolist() == [int((i + 0.5) * 1e8) for i in range(10)]
    assert simulate.sensors(duration=None).endless


@pytest.mark.parametrize("knobs", [{"devices": 0}, {"devices": 2.5}, {"rate": 0}, {"rate": "x"}, {"seed": -1}])
def test_sensors_check_their_arguments(knobs):
    """By name."""
    with pytest.raises(SettingError, match=next(iter(knobs))):
        simulate.sensors(**knobs)


# Orders, clicks, requests


@pytest.mark.parametrize(
    ("source", "dtypes"),
    [
        (
            simulate.orders(),
            {"event_time": "datetime64[ns]", "order_id": "str", "customer": "str", "country": "str", "product": "str",
             "quantity": "int64", "price": "float64"},
        ),
        (
            simulate.clicks(),
            {"event_time": "datetime64[ns]", "user": "str", "page": "str", "action": "str", "dwell_ms": "int64"},
        ),
        (
            simulate.requests(),
            {"event_time": "datetime64[ns]", "tenant": "str", "model": "str", "prompt_tokens": "int64",
             "output_tokens": "int64"},
        ),
    ],
)  # fmt: skip
def test_a_shape_has_the_columns_it_promises(source, dtypes):
    """Documented dtypes, no nulls, the same rows each time and others from another seed."""
    rows = rows_of(source)

    assert {c: str(t) for c, t in rows.dtypes.items()} == dtypes
    assert not rows.isna().any().any()
    pd.testing.assert_frame_equal(rows, rows_of(source))
    other = getattr(simulate, source.name)(seed=8)
    assert not rows_of(other).equals(rows)
    assert other.event_time == "event_time"


def test_few_products_and_customers_make_most_of_the_orders():
    """Zipf: the best of 200 products sells a sixth; ids do not repeat; a customer stays in one country."""
    rows = rows_of(simulate.orders(rate=200))

    assert 0.13 < (rows["product"] == "product-000").mean() < 0.21
    assert rows["order_id"].is_unique
    assert rows.groupby("customer")["country"].nunique().max() == 1
    assert rows.groupby("product")["price"].nunique().max() == 1
    assert rows["quantity"].min() == 1
    assert rows["quantity"].mean() == pytest.approx(1 / 0.7, rel=0.02)


def test_orders_swing_by_the_day():
    """Six hours in, more come than on average; eighteen hours in, fewer."""
    by_hour = rows_of(simulate.orders(rate=1, duration="1 day"))["event_time"].dt.hour.value_counts()

    assert by_hour[5:7].sum() > 2 * by_hour.loc[[17, 18]].sum()


def test_half_of_the_clicks_step_back_by_at_most_59_s():
    """As in a web server's log that is shipped every minute."""
    blocks = list(simulate.clicks().open())
    rows = pd.concat([b.rows for b in blocks])
    arrival = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.concatenate([b.arrival_ns for b in blocks]))
    behind_s = (
        (arrival - rows["event_time"]).dt.total_seconds()
        if hasattr(arrival, "dt")
        else (pd.Series(arrival) - rows["event_time"].reset_index(drop=True)).dt.total_seconds()
    )

    assert behind_s.between(0, 59).all()
    assert (rows["event_time"].diff().dt.total_seconds() < 0).mean() == pytest.approx(0.49, abs=0.02)
    assert rows["action"].value_counts(normalize=True)["buy"] == pytest.approx(0.01, abs=0.003)


def test_requests_come_in_bursts_of_the_mean_rate():
    """2.6 a second over all, with gaps whose coefficient of variation is about 13, and token counts with a long tail."""
    source = simulate.requests(duration="1 day")
    at, rows = arrival_ns(source) / 1e9, rows_of(source)
    gaps = np.diff(at)

    assert len(at) / 86_400 == pytest.approx(2.6, rel=0.05)
    assert 11 < gaps.std() / gaps.mean() < 15
    assert rows["prompt_tokens"].mean() > 1.3 * rows["prompt_tokens"].median()
    assert rows["output_tokens"].between(1, 8_000).all()
    assert (rows["model"] == "large").mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("shape", "knobs"),
    [
        *[(s, {"rate": r}) for s in ("orders", "clicks", "requests") for r in (0, -1, "x", float("nan"), True)],
        *[(s, {"seed": -1}) for s in ("orders", "clicks", "requests")],
        ("orders", {"products": 0}),
        ("orders", {"customers": 1.5}),
        ("clicks", {"users": "many"}),
        ("clicks", {"pages": -3}),
        ("requests", {"tenants": None}),
        ("requests", {"duration": 0}),
    ],
)
def test_a_shape_checks_its_arguments(shape, knobs):
    """By name."""
    with pytest.raises(SettingError, match=next(iter(knobs))):
        getattr(simulate, shape)(**knobs)


# What it says of itself


def test_the_code_of_a_simulation_makes_it_again():
    """The function goes by its name."""
    source = simulate(prices, arrivals=arrivals.poisson(5), duration="1min", start="2026-05-01", seed=3)
    module = type("mblab", (), {"simulate": simulate, "arrivals": arrivals})

    assert source.code("unused") == (
        "mblab.simulate(prices, arrivals=mblab.arrivals.poisson(rate=5), duration=60, "
        "start='2026-05-01 00:00:00', seed=3)"
    )
    assert eval(source.code(""), {"mblab": module, "prices": prices}) == source
    for shape in (
        simulate.sensors(), simulate.sensors(duration=None, rate=arrivals.constant(3)),
        simulate.orders(products=9), simulate.clicks(users=7, pages=3), simulate.requests(tenants=2, duration=None),
    ):  # fmt: skip
        assert eval(shape.code(""), {"mblab": module}) == shape


def test_a_simulation_says_what_it_is():
    """Name, repr and description."""
    source = simulate(prices, arrivals=arrivals.poisson(5), duration="1min", seed=3)

    assert source.name == "prices"
    assert source.describe() == "simulation of prices: poisson(rate=5), 1 min, seed 3"
    assert repr(source) == "simulate(prices, arrivals=poisson(rate=5), duration=60, seed=3)"
    assert source.input_path is None
    assert source.frame is None


def test_a_simulation_is_a_source_and_a_value():
    """It follows the protocol, and can be pickled, compared and hashed."""
    source = simulate.sensors()

    assert isinstance(source, Source)
    assert isinstance(source, Modifiable)
    assert pickle.loads(pickle.dumps(source)) == source
    assert len({source, simulate.sensors()}) == 1

"""How people write a duration."""

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mblab import SettingError
from mblab.timing.durations import duration_ns, exact_text, format_s, interval_ns


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        ("500ms", 500_000_000), ("1.5 s", 1_500_000_000), ("2m", 120_000_000_000), ("2min", 120_000_000_000),
        ("1h30m", 5_400_000_000_000), ("1 day", 86_400_000_000_000), ("7us", 7_000), ("7µs", 7_000), ("3ns", 3),
        ("PT5S", 5_000_000_000), ("pt0.5s", 500_000_000), ("P1DT2H", 93_600_000_000_000), ("1e-3 s", 1_000_000),
        (2, 2_000_000_000), (0.25, 250_000_000), (np.float64(0.1), 100_000_000), (np.int64(3), 3_000_000_000),
        (dt.timedelta(milliseconds=20), 20_000_000), (pd.Timedelta("5ns"), 5), (np.timedelta64(3, "ms"), 3_000_000),
        ("0.5ns", 0), ("1.5ns", 2), ("2.5ns", 2), ("0s", 0), (0, 0),
    ],
)  # fmt: skip
def test_durations_are_read_as_people_write_them(value, ns):
    """Number and unit, ISO 8601, timedelta, or seconds; rounded half to even to 1 ns, once."""
    assert duration_ns(value) == ns


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("5", "no unit; write '5s'"), ("", "no duration"), ("s", "no duration"), ("5 parsecs", "no duration"),
        ("1s 2", "no duration"), ("P", "no duration"), ("PT", "no duration"), ("-1s", "must not be negative"),
        (-1, "must not be negative"), (True, "must be a duration"), (np.True_, "must be a duration"),
        (math.nan, "finite"), (math.inf, "finite"), (pd.NaT, "NaT"), (np.timedelta64("NaT", "ns"), "NaT"),
        (None, "NoneType"), ([1], "list"), (b"1s", "bytes"), (1 + 2j, "complex"), ("1e400 s", "out of range"),
        (1e300, "out of range"), ("-0.2ns", "must not be negative"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_sentence(value, message):
    """Which knob, the rule, the value seen."""
    with pytest.raises(SettingError, match=message) as caught:
        duration_ns(value, "budget")
    assert str(caught.value).startswith("budget")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [True, None, [1], b"1s"])
def test_a_wrong_type_is_a_type_error_too(value):
    """SettingError(ValueError; for a wrong type also TypeError)."""
    with pytest.raises(TypeError):
        duration_ns(value)


def test_an_interval_is_at_least_a_millisecond():
    """And the message names the other knob."""
    assert interval_ns("1ms") == 1_000_000
    for value in ("0ms", 0, "999us", 1e-9):
        with pytest.raises(SettingError, match="interval must be at least 1 ms, got .*max_rows_per_batch=1"):
            interval_ns(value)


@given(st.integers(0, 10**18))
def test_exact_text_reads_back_exactly(ns):
    """`run.controls` is written with it."""
    assert duration_ns(exact_text(ns)) == ns


@given(st.integers(0, 10**16))
def test_seconds_as_a_float_keep_their_nanoseconds(ns):
    """Getters return float seconds; setting them again changes nothing (to 116 days)."""
    assert duration_ns(ns / 1e9) == pytest.approx(ns, abs=1)


@given(st.floats(0, 1e7))
def test_shown_durations_are_near_the_value(value):
    """At least two digits right, always with a unit."""
    text = format_s(value)

    assert text.split()[-1] in {"s", "ms", "µs", "min", "h", "d"}
    assert duration_ns(text) / 1e9 == pytest.approx(value, rel=0.05, abs=1e-8)

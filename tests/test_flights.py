"""Real data through the public API: every flight in the window where an independent count puts it."""

import json

import pytest

import mblab
from mblab import Lab

EXPECTED = json.loads((mblab.datasets.path("nyc_flights").parent.parent / "EXPECTED.json").read_text())


ENDS = [(1, 60, "queue"), (1000, 60, "asap"), (1, 300, "asap"), (1000, 300, "queue")]


def cases():
    for speedup in (1, 10, 100, 1000):
        for window in (60, 300, 3600):
            for policy in ("queue", "asap"):
                between = window < 3600 and (speedup, window, policy) not in ENDS  # up to 40 244 batches each
                yield pytest.param(speedup, window, policy, marks=[pytest.mark.slow] if between else [])


@pytest.mark.parametrize(("speedup", "window", "policy"), list(cases()))
def test_flights_fall_into_the_expected_windows(speedup, window, policy):
    """interval × speed-up is the window: half-open, from the first arrival on, at any speed."""
    expected = EXPECTED["nyc_flights"]["windows"][f"{window}s"]
    source = mblab.replay(
        mblab.datasets.path("nyc_flights"), arrival="reported_at", columns=["flight"], speedup=speedup
    )
    run = Lab(source, interval=window / speedup, policy=policy).run(clock="virtual", cost=0)
    rows = run.batches.num_input_rows

    assert rows.sum() == EXPECTED["nyc_flights"]["rows"]
    assert (rows > 0).sum() == expected["non_empty"]
    assert rows.max() == expected["max_rows"]
    assert len(rows) == expected["total_windows"]


def test_earthquakes_fall_into_the_expected_windows():
    """A second data set, with sub-second arrivals."""
    source = mblab.replay(mblab.datasets.path("earthquakes"), arrival="updated", event_time="event_time", speedup=300)
    rows = Lab(source, interval="200ms").run(clock="virtual", cost=0).batches.num_input_rows
    expected = EXPECTED["earthquakes"]["windows"]["60s"]

    assert (rows.sum(), (rows > 0).sum(), rows.max()) == (1707, expected["non_empty"], expected["max_rows"])

"""The tuner's pictures: latency against cost, a prediction against what came, and an autopilot's decisions."""

import numpy as np
import pandas as pd
import pytest

from mblab import charts
from mblab.charts.over_cost import unbeaten
from mblab.errors import ColumnError

CURVE = pd.DataFrame(
    {
        "interval_s": [0.1, 0.2, 0.5, 1.0],
        "latency_p50_s": [0.12, 0.15, 0.3, 0.6],
        "latency_p95_s": [0.2, 0.25, 0.6, 1.1],
        "latency_p99_s": [0.3, 0.28, 0.62, 1.2],
        "latency_mean_s": [0.12, 0.15, 0.3, 0.6],
        "load": [0.9, 0.5, 0.3, 0.2],
        "regime": ["on_schedule"] * 4,
        "cost_per_hour": [3000.0, 1800.0, 1000.0, 700.0],
    }
)
RIBBON = pd.DataFrame(
    {
        "arrival_s": [0.5, 1.5, 2.5],
        "predicted_s": [0.5, 0.6, 0.5],
        "predicted_s_lo": [0.4, 0.5, 0.4],
        "predicted_s_hi": [0.6, 0.7, 0.6],
        "measured_s": [0.52, np.nan, 0.51],
    }
)
BATCHES = pd.DataFrame({"start_s": [1.0, 2.0, 2.5], "interval_s": [1.0, 1.0, 0.5], "latency_p95_s": [1.1, 1.2, 0.7]})
DECISIONS = pd.DataFrame(
    {
        "at_s": [2.1],
        "batch_id": [1],
        "interval_s": [0.5],
        "before_s": [1.0],
        "rate": [100.0],
        "latency_p95_s": [0.7],
        "load": [0.4],
        "reason": ["arrivals stepped, 50 → 100 rows a second"],
    }
)


def drawn(chart):
    """The spec as text, and proof that it can be drawn."""
    assert charts.png_bytes(chart)[:4] == b"\x89PNG"
    return chart.to_json()


def test_the_front_of_latency_and_cost_is_what_nothing_beats():
    """A point that is dearer and slower than another is beaten; of two equal ones the first stays."""
    assert unbeaten([1, 2, 3, 3], [3, 2, 2.5, 1]).tolist() == [True, True, False, True]


def test_the_advised_interval_is_named_on_the_cost_chart():
    """And no other."""
    text = drawn(charts.cost_chart(CURVE, advised_s=0.5, unit="CPU s"))

    assert "500 ms" in text
    assert "200 ms" not in text
    assert "CPU s an hour" in text


def test_a_ribbon_has_room_for_its_limit_and_for_gaps():
    """A stretch without rows leaves a gap, and the limit is on the chart."""
    assert '"limit": 0.9' in drawn(charts.ribbon_chart(RIBBON, limit_s=0.9))


def test_decisions_carry_their_reasons():
    """In the tooltip, under the names of `run.decisions`."""
    text = drawn(charts.decisions_chart(BATCHES, DECISIONS, limit_s=1.0))

    assert "arrivals stepped" in text


@pytest.mark.parametrize(
    "chart",
    [
        lambda: charts.cost_chart(CURVE.head(0)),
        lambda: charts.ribbon_chart(RIBBON.head(0)),
        lambda: charts.decisions_chart(BATCHES.head(0), DECISIONS.head(0)),
        lambda: charts.decisions_chart(BATCHES, pd.DataFrame()),
    ],
)
def test_nothing_still_makes_a_chart(chart):
    """Without intervals, rows or decisions."""
    drawn(chart())


def test_measured_points_stand_over_the_curve():
    """A sweep's rings, also outside the curve's own intervals."""
    measured = CURVE.assign(interval_s=CURVE.interval_s * 3)
    text = drawn(charts.curve_chart(CURVE, measured=measured))

    assert '"filled": false' in text


def test_a_missing_column_is_named():
    """Which one, and what there is."""
    with pytest.raises(ColumnError, match="cost_per_hour"):
        charts.cost_chart(CURVE.drop(columns="cost_per_hour"))

"""G14: predicting many intervals at once."""

import numpy as np
import pytest

from mblab import arrivals, predict

from .harness import cpu_s, take_turns

pytestmark = pytest.mark.bench


def test_predicting_200_intervals_takes_no_time(report):
    """200 intervals over 60 s at 20,000 rows/s: 1.2 million records in 200 ways."""
    intervals = np.geomspace(0.05, 10, 200).tolist()
    law = arrivals.poisson(20_000)
    times = arrivals.trace(law.times(60))

    def work(what):
        predict(what, intervals, cost=lambda n: 0.01 + 2e-5 * n, duration="60s")

    took = take_turns(7, lambda what: cpu_s(lambda: work(what)) * 1e3, law=law, times=times)

    report.judge(
        "G14",
        "predict, 200 intervals × 60 s at 20,000 rows/s, CPU",
        np.median(took["times"]),
        at_most=150,
        fails=400,
        unit="ms",
        took=took["times"],
    )
    report.judge("G14", "the same with the arrivals drawn from a law", np.median(took["law"]), unit="ms")

"""The tuner's arithmetic: a curve with bands, and what `tune` takes beyond its budget."""

import time

import numpy as np
import pandas as pd
import pytest

from mblab import Lab, simulate
from mblab.arrivals import poisson
from mblab.tuning.cost import CostModel
from mblab.tuning.ensemble import Ensemble

from .harness import cpu_s, take_turns
from .twins import LAWS, twin

pytestmark = pytest.mark.bench


def test_a_curve_with_bands_takes_half_a_second(report):
    """200 intervals over 60 s at 20,000 rows/s in 20 members: a million batches, 24 million records."""
    rng = np.random.default_rng(0)
    rows = np.rint(np.geomspace(300, 60_000, 60))
    seconds = (0.04 + 1e-5 * rows) * np.exp(rng.normal(0, 0.02, 60))
    model = CostModel.fit(pd.DataFrame({"num_input_rows": rows, "seconds": seconds, "at_s": np.arange(60.0)}))
    arrivals = np.rint(poisson(20_000).times("60s") * 1e9).astype(np.int64)
    intervals = np.rint(np.geomspace(0.05, 5, 200) * 1e9).astype(np.int64)

    def work(members):
        Ensemble.of(arrivals, intervals, cost=model, horizon_ns=60 * 10**9, members=members).table()

    took = take_turns(5, lambda members: cpu_s(lambda: work(members)) * 1e3, banded=20, bare=1)

    report.judge(
        "G14",
        "predict with bands, 200 intervals × 60 s × 20 lanes, CPU",
        np.median(took["banded"]),
        at_most=500,
        fails=1500,
        unit="ms",
        took=took["banded"],
    )
    report.judge("G14", "the same with a single lane", np.median(took["bare"]), unit="ms")


def test_tune_ends_with_its_budget(report):
    """Seconds beyond budget and longest call, over four twins and a function that takes no time to speak of."""
    cheap = Lab(simulate.sensors(devices=50, rate=20_000, duration="60s", seed=7))
    cheap.batch(lambda batch: batch.groupby("device").temperature.mean(), name="mean")
    over = []
    for lab in [*(twin(LAWS[name], "bursts", 11) for name in ("affine", "paged", "pausing", "growing")), cheap]:
        begun = time.perf_counter()
        advice = lab.tune(p95="700ms", budget="5s")
        over.append(time.perf_counter() - begun - 5 - float(advice.model.probes.seconds.max()))

    report.judge(
        "G14", "tune beyond budget + longest call, worst of five", max(over), at_most=1, fails=5, unit="s", over=over
    )

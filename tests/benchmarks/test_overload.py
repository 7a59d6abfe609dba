"""G13: a run that cannot keep up says so: lateness counts from the grid, missed triggers are counted."""

import time

import numpy as np
import pytest

from mblab import Lab
from mblab.testing import rows_at

pytestmark = pytest.mark.bench

INTERVAL_S, COST_S, DURATION_S, RATE = 0.05, 0.12, 3.0, 1000


def overloaded(policy):
    lab = Lab(
        rows_at((np.arange(int(RATE * DURATION_S)) + 0.5) / RATE), interval=INTERVAL_S, policy=policy, name="overload"
    )
    seen = []

    @lab.batch
    def slow(batch):
        time.sleep(COST_S)
        seen.append((time.perf_counter(), batch["row"].to_numpy()))

    lab.start(DURATION_S).wait("1min")
    return lab.last_run, seen


@pytest.mark.parametrize("policy", ["asap", "skip", "queue"])
def test_under_overload_the_report_does_not_lie(report, policy):
    """What the lab reports as latency is what a stop-watch outside of it shows, from the rows' own arrival times on."""
    run, seen = overloaded(policy)
    b, s = run.batches, run.summary()
    full = b[b.num_input_rows > 0]

    # one stop-watch time and one reported end a batch: they may differ by a constant, where the watch began
    zero = np.median([at - end for (at, _), end in zip(seen, full.end_s, strict=True)])
    watched = np.concatenate([at - zero - (rows + 0.5) / RATE for at, rows in seen])
    off_ms = abs(np.quantile(watched, 0.99) - s.latency_p99_s) * 1e3
    due_points = b.due_s / INTERVAL_S

    assert np.allclose(due_points, np.rint(due_points), atol=1e-6)
    report.judge(
        "G13", f"{policy}: reported p99 of record latency off a stop-watch's", off_ms, at_most=2, fails=20, unit="ms"
    )
    report.judge(
        "G13",
        f"{policy}: grid points without a batch that are not counted as missed",
        0
        if policy == "queue"
        else abs(round(DURATION_S / INTERVAL_S) - len(set(np.rint(due_points))) - s.triggers_missed),
        at_most=0,
        fails=0,
        unit="",
    )
    report.judge("G13", f"{policy}: load reported for a function of 2.4 intervals", s.load, unit="")

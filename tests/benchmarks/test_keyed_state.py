"""G7: a running table by key, as a keyed step of the lab and as the concat that most people write.

The lab has keyed steps (a call and a state a key), and no vectorised helper for a running table: the keyed step is what
is measured, beside `concat` and beside a table in numpy columns that only touched keys are written to.
"""

import numpy as np
import pandas as pd
import pytest

from mblab import Lab, replay

from .harness import cpu_s, stream, take_turns

pytestmark = pytest.mark.bench

ROWS, BATCHES = 10_000, 10


def by_concat(batch, state):
    part = batch.groupby("device", sort=False)["value"].agg(["sum", "count"])
    old = state.get("table")
    state["table"] = part if old is None else pd.concat([old, part]).groupby(level=0, sort=False).sum()


def by_key(batch, state):
    state["sum"] = state.get("sum", 0.0) + batch["value"].sum()
    state["count"] = state.get("count", 0) + len(batch)


@pytest.mark.parametrize("keys", [10, 1_000])
def test_a_keyed_step_beside_concat(report, keys):
    """CPU of the whole run; the keyed step is a Python call a key, so it pays where keys are few or the work is big."""
    frame = stream(ROWS * BATCHES, devices=keys)

    def run(step, **options):
        lab = Lab(replay(frame, rate=ROWS), interval="1s", name="keyed")
        lab.batch(name="step", **options)(step)
        return lab.run(clock="virtual").state["step"]

    table, states = run(by_concat)["table"], run(by_key, key="device")
    assert {k: s["count"] for k, s in states.items()} == table["count"].to_dict()

    took = take_turns(5, cpu_s, concat=lambda: run(by_concat), keyed=lambda: run(by_key, key="device"))

    report.judge(
        "G7",
        f"concat ÷ keyed step, {keys:,} keys a batch of {ROWS:,}",
        np.median(took["concat"] / took["keyed"]),
        **took,
    )
    report.judge(
        "G7",
        f"keyed step, {keys:,} keys: CPU a key and batch",
        np.median(took["keyed"]) / BATCHES / keys * 1e6,
        unit="µs",
    )

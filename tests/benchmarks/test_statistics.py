"""G10: what the figures of a batch cost, and how much of a week is remembered."""

import numpy as np
import psutil
import pytest

from mblab import Lab, arrivals, replay, simulate
from mblab.lab.control import RunRequest
from mblab.metrics import RunLog

from .harness import cpu_s, stream, take_turns

pytestmark = pytest.mark.bench


def records_of(batches, rows):
    """The records of a run, and how many rows they hold."""
    lab = Lab(replay(stream(batches * rows), rate=rows), interval="1s", name="records")
    lab.batch(lambda batch: None, name="nothing")
    noted = []
    driver, _ = lab._control.prepare(lab.pipeline, RunRequest(clock="virtual"))
    driver.engine._note = noted.append
    driver.run()
    return noted


@pytest.mark.parametrize("rows", [1_000, 10_000, 100_000])
def test_per_batch_statistics_cost_little(report, rows):
    """Mean, four waits and exact quantiles of every batch, read at the end; per 10,000 rows."""
    total = 4_000_000
    noted = records_of(total // rows, rows)

    def figures(_):
        log = RunLog()
        for record in noted:
            log.note(record)
        assert log.batches().num_input_rows.sum() == total

    took = take_turns(7, lambda work: cpu_s(lambda: work(None)) / total * 10_000 * 1e6, lab=figures)["lab"]

    report.judge(
        "G10",
        f"statistics of 10,000 rows, in batches of {rows:,}",
        np.median(took),
        at_most=None if rows < 10_000 else 60,
        fails=None if rows < 10_000 else 150,
        unit="µs",
        took=took,
    )


def test_a_week_in_flat_memory(report):
    """7 days, a batch every 30 s, 20 rows/s: 20,160 batches, each with a result, 12 M rows; memory day by day."""
    days, day_s, rate, process, resident = 7, 86_400, 20, psutil.Process(), []
    source = simulate(lambda n, rng, times: {"value": rng.random(n)}, arrivals=arrivals.constant(rate), seed=7)
    lab = Lab(source, interval="30s", name="week")

    @lab.batch
    def mean(batch, state, ctx):
        state["n"] = state.get("n", 0) + len(batch)
        if (ctx.batch_id + 1) % (day_s // 30) == 0:
            resident.append(process.memory_info().rss / 2**20)
        return batch["value"].mean()

    seconds = cpu_s(lambda: lab.run(days * day_s, clock="virtual", cost=0.01))
    run = lab.last_run

    assert run.summary().rows == days * day_s * rate
    assert len(resident) == days
    report.judge(
        "G10",
        "resident memory after 7 days ÷ after 4 days",
        resident[-1] / resident[3],
        at_most=1.05,
        fails=1.5,
        resident_mb=resident,
    )
    report.judge("G10", "resident memory after 7 days", resident[-1], unit="MB")
    report.judge("G10", "CPU of the simulated week, a batch", seconds / (days * day_s // 30) * 1e6, unit="µs")

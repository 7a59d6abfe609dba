"""G4 and G5: how far from the grid a batch starts, beside the best loop that Python can do.

The bare loop runs in the same process at the same time, half an interval behind the lab: what the neighbours do to the
one they do to the other. Each block of ticks gives one pair of p99s; the ratio of the medians is judged.
"""

import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from mblab import Lab
from mblab.testing import rows_at

pytestmark = pytest.mark.bench

BRISK_S = 0.0005  # the switch interval that a run sets for its own time


def bare_grid(interval_s, ticks, behind_s, spin_s, late):
    """Wait for each point of one absolute grid, and note how late it is."""
    wake = threading.Event()
    zero = time.perf_counter() + behind_s
    for k in range(1, ticks + 1):
        deadline = zero + k * interval_s
        while (left := deadline - time.perf_counter() - spin_s) > 0:
            wake.wait(left)
        while spin_s and time.perf_counter() < deadline:
            pass
        late.append(time.perf_counter() - deadline)


def paced(interval_s, ticks, spin_s=0.0):
    """Run the lab and the bare loop side by side; return their latenesses in s, and the lab's run."""
    lab = Lab(rows_at(np.arange(int(ticks * interval_s * 1000)) / 1000), interval=interval_s, name="paced")
    lab.batch(len, name="count")
    late = []
    loop = threading.Thread(target=bare_grid, args=(interval_s, ticks, interval_s / 2, spin_s, late))
    run = lab.start(ticks * interval_s)
    loop.start()
    assert run.wait("5min")
    loop.join()
    b = run.batches
    return (b.scheduling_delay_s + b.wake_delay_s).to_numpy(), np.array(late), run


@contextmanager
def busy_thread():
    """A thread that never lets go of the interpreter by itself; the switch interval is the one of a run throughout."""
    stop, usual = threading.Event(), sys.getswitchinterval()

    def count():
        n = 0
        while not stop.is_set():
            n += 1

    thread = threading.Thread(target=count)
    sys.setswitchinterval(BRISK_S)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(usual)


def judge(report, goal, what, blocks, fails):
    lab, bare = [
        np.array([np.quantile(late, 0.99) for late in side]) * 1e3 for side in list(zip(*blocks, strict=True))[:2]
    ]
    report.judge(
        goal,
        f"p99 off the grid, {what}, ÷ bare absolute-grid loop",
        np.median(lab) / np.median(bare),
        at_most=1.25,
        fails=fails,
        lab_ms=lab,
        bare_ms=bare,
    )
    report.judge(goal, f"p99 off the grid, {what}", np.median(lab), unit="ms")
    due = [run.batches.due_s / run.batches.interval_s for _, _, run in blocks]
    lost = sum(run.summary().triggers_missed for _, _, run in blocks)
    lost_by_bare = sum(int((late > run.batches.interval_s.iloc[0]).sum()) for _, late, run in blocks)

    assert all(np.allclose(d, np.rint(d), atol=1e-6) for d in due), "the grid drifted"
    report.judge(
        goal,
        f"triggers that came a whole interval late, {what}, beyond the bare loop's",
        lost - lost_by_bare,
        at_most=0,
        fails=5,
        unit="",
    )


def test_pacing_at_100_ms_is_the_bare_loop_s(report):
    """Event.wait to an absolute deadline, nothing more."""
    judge(report, "G4", "100 ms", [paced(0.1, 100) for _ in range(5)], fails=2.5)


def test_pacing_at_20_ms_is_the_bare_loop_s_and_costs_little(report):
    """The last 0.2 ms are spun."""
    began, cpu = time.perf_counter(), time.process_time()
    blocks = [paced(0.02, 250, spin_s=0.0002) for _ in range(5)]
    share = (time.process_time() - cpu) / (time.perf_counter() - began)

    judge(report, "G4", "20 ms with a spun tail", blocks, fails=4)
    report.judge("G4", "CPU of lab and bare loop together at 20 ms", share * 100, at_most=6, fails=20, unit="%")


def test_pacing_beside_a_busy_thread_is_the_bare_loop_s(report):
    """Each wake waits for the interpreter, at most a switch interval."""
    with busy_thread():
        blocks = [paced(0.1, 60) for _ in range(5)]

    judge(report, "G5", "100 ms beside a busy thread", blocks, fails=2.5)

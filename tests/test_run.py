"""What a run can say of itself afterwards."""

import numpy as np
import pytest

from mblab import Lab, SettingError
from mblab.testing import rows_at


def test_what_if_replays_the_run_s_own_arrivals_and_costs_elsewhere():
    """At its own interval it says what was measured; at another what a run there measures."""
    times = np.sort(np.random.default_rng(4).uniform(0, 30, 3000))

    def at(interval):
        return Lab(rows_at(times), interval=interval).run("30s", clock="virtual", cost=lambda n: 0.05 + 1e-3 * n)

    run, other = at("1s"), at("300ms")
    t = run.what_if(["300ms", "1s"]).table.set_index("interval_s")

    assert t.latency_p95_s[1.0] == pytest.approx(run.summary().latency_p95_s, rel=0.02)
    assert t.latency_p95_s[0.3] == pytest.approx(other.summary().latency_p95_s, rel=0.05)
    assert t.load[0.3] == pytest.approx(other.summary().load, rel=0.05)
    assert len(run.what_if("500ms", policy="skip").table) == 1
    with pytest.raises(SettingError, match="policy='queue'"):
        run.what_if("1s", policy="queue", max_rows_per_batch=3)


def test_the_slowest_records_name_the_batch_that_blocked_them():
    """A=[0,.4,1,1.2,3.1] T=1: the row at 1.2 waits for batch 0 until 2.3; 3.1 waits for batch 1."""
    run = Lab(rows_at([0, 0.4, 1, 1.2, 3.1])).run("5s", clock="virtual", cost=lambda n: 0.3 + 0.5 * n)
    s = run.slowest(3)

    assert s.latency_s.tolist() == pytest.approx([2.6, 2.4, 2.3])
    assert s.blocked_by.tolist() == [0, 0, -1]
    waits = s.filter(like="_wait_s").sum(axis=1)
    assert waits.tolist() == pytest.approx(s.latency_s.tolist())
    with pytest.raises(SettingError, match="at least 1"):
        run.slowest(0)

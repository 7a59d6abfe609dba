"""The oracle cases of the design, through the public API, and the laws of the timetable."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mblab import Lab, SettingError
from mblab.testing import rows_at
from mblab.timing.policies import POLICIES
from mblab.timing.schedule import Timetable, first_after, first_from, follow

from .laws import examples

NS = 10**9
laws = examples(500)


def constant(rate, seconds):
    """A_i = (i + ½)/λ."""
    return (np.arange(int(rate * seconds)) + 0.5) / rate


def run(times, duration, cost, **knobs):
    return Lab(rows_at(times), **knobs).run(duration, clock="virtual", cost=cost)


def assert_latencies(run, mean, p50, p95, p99, largest, **window):
    s = run.summary(**window)
    got = [s.latency_mean_s, s.latency_p50_s, s.latency_p95_s, s.latency_p99_s, s.latency_max_s]

    assert got == pytest.approx([mean, p50, p95, p99, largest], abs=1e-9)


def test_on_schedule_latency_is_uniform_from_the_cost_to_cost_plus_interval():
    """asap T=1 H=60 a=.1 b=2e-4."""
    r = run(constant(1000, 61), "60s", lambda n: 0.1 + 2e-4 * n, interval=1)

    assert_latencies(r, 0.8, 0.8, 1.24955, 1.28951, 1.2995)
    assert r.summary().load == pytest.approx(0.3)
    assert list(r.batches.num_input_rows) == [1000] * 60
    assert r.summary().regime == "on_schedule"


def test_asap_below_the_shortest_interval_clocks_itself():
    """asap T=.1 a=.2 b=5e-4: n = 400, S = .4, load 4, scheduling delay .3."""
    r = run(constant(1000, 201), "200.5s", lambda n: 0.2 + 5e-4 * n, interval=0.1)
    some = r.batches[(r.batches.start_s >= 100) & (r.batches.start_s <= 200)]

    assert_latencies(r, 0.6, 0.6, 0.77955, 0.79551, 0.7995, from_s=100, to_s="200.000000001s")
    assert set(some.num_input_rows) == {400}
    assert np.allclose(some.batch_duration_s, 0.4, atol=1e-9)
    assert np.allclose(some.load, 4)
    assert np.allclose(some.scheduling_delay_s, 0.3, atol=1e-9)
    assert r.summary().regime == "self_clocked"


def test_skip_waits_for_the_grid_and_counts_the_triggers_it_missed():
    """skip T=.25, same cost: T_eff .5, n = 500, S = .45, load 1.8; every second trigger is missed."""
    r = run(constant(1000, 201), "200.5s", lambda n: 0.2 + 5e-4 * n, interval=0.25, policy="skip")
    some = r.batches[(r.batches.start_s >= 100) & (r.batches.start_s <= 200)]

    assert_latencies(r, 0.7, 0.7, 0.92455, 0.94451, 0.9495, from_s=100, to_s="200.000000001s")
    assert set(some.num_input_rows) == {500}
    assert np.allclose(np.diff(some.start_s), 0.5)
    assert np.allclose(some.batch_duration_s, 0.45, atol=1e-9)
    assert r.summary().load == pytest.approx(1.8, rel=0.01)
    assert r.summary().triggers_missed + len(r.batches) == 802


def test_queue_below_the_shortest_interval_falls_behind_without_end():
    """queue T=.1 H=60 a=.15 b=2e-4: S = .17, load 1.7, ends at 102.1."""
    r = run(constant(1000, 61), "60s", lambda n: 0.15 + 2e-4 * n, interval=0.1, policy="queue")
    s = r.summary()

    assert s.load == pytest.approx(1.7)
    assert s.scheduling_delay_mean_s == pytest.approx(20.965, abs=1e-9)
    assert [s.latency_mean_s, s.latency_p95_s, s.latency_max_s] == pytest.approx([21.185, 40.08455, 42.1995], abs=1e-9)
    assert r.batches.end_s.max() == 102.1
    assert s.regime == "unsustainable"


def test_a_cap_below_the_arrivals_lets_the_backlog_grow():
    """asap cap 800, T=1 a=0 b=1e-4 H=60: backlog at the last start 12000."""
    r = run(constant(1000, 61), "60s", lambda n: 1e-4 * n, interval=1, max_rows_per_batch=800)
    s = r.summary()

    assert set(r.batches.num_input_rows) == {800}
    assert np.allclose(r.batches.batch_duration_s, 0.08)
    assert r.batches.backlog_rows.iloc[-1] == 12_000
    assert [s.latency_mean_s, s.latency_p95_s] == pytest.approx([6.58, 11.97955], abs=1e-9)
    assert s.regime == "unsustainable"


def test_a_last_batch_that_ends_late_does_not_change_the_regime():
    """Cap 995 of 1000 rows/s: the backlog grows by 0.5 % of the arrivals, which is less than 1 %, however long it ends."""

    def regime_of(last_s):
        calls = itertools.count(1)
        r = run(constant(1000, 600), "600s", lambda _: last_s if next(calls) == 600 else 0.08, interval=1, **capped)
        assert r.batches.end_s.max() == pytest.approx(600 + last_s)
        return r.summary().regime

    capped = {"max_rows_per_batch": 995}

    assert regime_of(0.08) == "catching_up"  # most rows wait behind the cap
    assert regime_of(6000.0) == "self_clocked"  # load 10, and no more of a backlog than before


def test_a_late_batch_starts_at_once_and_the_grid_is_kept():
    """A=[0,.4,1,1.2,3.1] T=1 H=5 a=.3 b=.5, asap: to the nanosecond."""
    # seconds  0   .4        1 1.2              3.1
    # batches  [0: a b ]     1 -> 2.3   2.3 -> 3.6   3.6 -> 4.4   4.4 empty   5 empty
    r = run([0, 0.4, 1, 1.2, 3.1], "5s", lambda n: 0.3 + 0.5 * n, interval=1)

    assert list(r.batches.start_s) == [1, 2.3, 3.6, 4.4, 5]
    assert list(r.batches.end_s) == [2.3, 3.6, 4.4, 4.4, 5]
    assert list(r.batches.num_input_rows) == [2, 2, 1, 0, 0]
    assert r.summary().latency_mean_s == pytest.approx(2.1, abs=1e-9)


def test_a_row_on_the_grid_belongs_to_the_next_batch():
    """Availability is half-open, A < s: A=[0,1,2,3] T=1 S=.1 H=4."""
    r = run([0, 1, 2, 3], "4s", 0.1, interval=1)

    assert list(r.batches.num_input_rows) == [1, 1, 1, 1]
    assert r.records.latency_s.tolist() == pytest.approx([1.1] * 4, abs=1e-9)


@pytest.mark.parametrize("interval", ["300ms", "500ms", "2s"])
def test_the_closed_forms_hold_on_schedule(interval):
    """p_q = S + qT, mean = T/2 + a + bλT, load = a/T + bλ for any T ≥ T* = a/(1 − bλ)."""
    a, b, rate = 0.05, 2e-4, 1000
    r = run(constant(rate, 61), "60s", lambda n: a + b * n, interval=interval)
    t = Lab(rows_at([0.0]), interval=interval).interval
    cost = a + b * rate * t
    s = r.summary()

    assert s.load == pytest.approx(a / t + b * rate)
    assert s.latency_mean_s == pytest.approx(t / 2 + cost, abs=1e-6)
    for q in (50, 95, 99):
        assert s[f"latency_p{q}_s"] == pytest.approx(cost + q / 100 * t, abs=1.5 / rate)


def test_grid_points_are_found_for_ints_and_arrays_alike():
    """The what-if simulator asks the same functions with arrays."""
    ends = np.array([100, 130, 230, 300])

    for policy in POLICIES:
        due, start = follow(policy, np.full(4, 100), np.full(4, 100), ends, np.full(4, 100))
        one_by_one = [follow(policy, 100, 100, int(end), 100) for end in ends]

        assert list(zip(due.tolist(), start.tolist(), strict=True)) == one_by_one


@given(st.integers(0, 10**12), st.integers(1, 10**10), st.integers(0, 10**12))
@laws
def test_grid_points_are_the_nearest_ones(origin, interval, time):
    """`first_after` is later than the time, `first_from` is not earlier, and neither by more than one interval."""
    after, at = first_after(origin, interval, time), first_from(origin, interval, time)

    assert time < after <= time + interval
    assert time <= at < time + interval
    assert (after - origin) % interval == (at - origin) % interval == 0


def by_the_book(policy, interval, horizon, costs):
    """The table of DESIGN section 2, written down once more, without a timetable."""
    if policy == "queue":
        rows, end, j = [], 0, 1
        while j * interval <= horizon:
            start = max(j * interval, end)
            end = start + costs[len(rows) % len(costs)]
            rows.append((j * interval, start, end))
            j += 1
        return rows
    rows, start, due = [], interval, interval
    while start <= horizon:
        end = start + costs[len(rows) % len(costs)]
        rows.append((due, start, end))
        grid = (start // interval + 1) * interval
        if policy == "asap":
            due, start = grid, max(end, grid)
        else:
            due = start = interval * max(start // interval + 1, -(-end // interval))
    return rows


def drive(table, horizon, costs, changes=()):
    rows, changes = [], list(changes)
    while True:
        trigger = table.peek()
        if changes and changes[0][0] < trigger.start_ns:
            at, knobs = changes.pop(0)
            table.change(at, **knobs)
            continue
        if trigger.grid_ns > horizon:
            return rows
        end = trigger.start_ns + costs[len(rows) % len(costs)]
        rows.append((trigger.due_ns, trigger.start_ns, end))
        table.taken(end)


policies = st.sampled_from(POLICIES)
intervals = st.integers(1, 50)
cost_lists = st.lists(st.integers(0, 160), min_size=1, max_size=8)


@given(policies, intervals, cost_lists, st.integers(1, 600))
@laws
def test_the_timetable_follows_the_table_of_the_design(policy, interval, costs, horizon):
    """Due, start and end of every batch, for every policy and any costs."""
    assert drive(Timetable(interval, policy), horizon, costs) == by_the_book(policy, interval, horizon, costs)


@given(intervals, st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 600))
@laws
def test_policies_agree_while_no_batch_is_longer_than_the_interval(interval, costs, horizon):
    """Overrun policies differ only in overruns."""
    fitting = [min(c, interval) for c in costs]
    asap, skip, queue = (drive(Timetable(interval, p), horizon, fitting) for p in POLICIES)

    assert asap == skip == queue


@given(policies, intervals, cost_lists, st.lists(st.integers(0, 700), max_size=4))
@laws
def test_a_change_to_the_same_interval_alters_nothing(policy, interval, costs, times):
    """Moving a knob to where it stands is no change, whenever it happens."""
    changes = [(at, {"interval_ns": interval}) for at in sorted(times)]

    assert drive(Timetable(interval, policy), 600, costs, changes) == drive(Timetable(interval, policy), 600, costs)


@given(policies, intervals, intervals, cost_lists, st.integers(0, 600))
@laws
def test_a_change_never_adds_delay(policy, old, new, costs, at):
    """The next start is never later than without the change or one new interval, whichever is later."""
    plain = drive(Timetable(old, policy), 900, costs)
    changed = drive(Timetable(old, policy), 900, costs, [(at, {"interval_ns": new})])
    done = sum(start <= at for _, start, _ in plain)
    if done >= len(plain) or done >= len(changed):
        return
    moment = max(at, plain[done - 1][2] if done else 0)

    assert changed[:done] == plain[:done]
    assert changed[done][1] <= max(plain[done][1], moment + new)


@given(policies, policies, intervals, intervals, cost_lists, st.lists(st.integers(0, 600), min_size=1, max_size=5))
@laws
def test_starts_never_overlap_or_go_back_whatever_changes(policy, other, old, new, costs, times):
    """Through any changes of interval and policy: start ≥ due, start ≥ the end before it, time goes on."""
    knobs = [{"interval_ns": new}, {"policy": other}, {"interval_ns": old}, {"policy": policy, "interval_ns": new}]
    rows = drive(Timetable(old, policy), 600, costs, [(at, knobs[i % 4]) for i, at in enumerate(sorted(times))])

    for (due, start, end), (next_due, next_start, _) in zip(rows, rows[1:], strict=False):
        assert start >= due
        assert next_start >= end
        assert next_due > due


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        # the last due was 300 (asap: started at 300, ended 340): 300 + 50j > 360
        ("asap", [(100, 100), (200, 200), (300, 300), (400, 400), (450, 450), (500, 500)]),
        ("skip", [(100, 100), (200, 200), (300, 300), (400, 400), (450, 450), (500, 500)]),
        ("queue", [(100, 100), (200, 200), (300, 300), (400, 400), (450, 450), (500, 500)]),
    ],
)
def test_a_change_while_waiting_goes_on_from_the_last_due_time(policy, expected):
    """Asked at 360 while the engine waits; T 100 → 50."""
    rows = drive(Timetable(100, policy), 500, [40], [(360, {"interval_ns": 50})])

    assert [(due, start) for due, start, _ in rows] == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        # asap: due 200 ≤ c = 330 stays; then 200 + 50j > 330
        ("asap", [(100, 100), (200, 330), (350, 560)]),
        # skip: first point of 100 + 50j that is ≥ 330
        ("skip", [(100, 100), (350, 350), (600, 600)]),
        # queue: 200 and 300 stay, 350 … follow
        ("queue", [(100, 100), (200, 330), (300, 560), (350, 790), (400, 1020), (450, 1250), (500, 1480), (550, 1710),
                   (600, 1940)]),
    ],
)  # fmt: skip
def test_a_change_during_a_batch_acts_when_it_ends(policy, expected):
    """Asked at 150 while the batch 100 – 330 runs; T 100 → 50."""
    rows = drive(Timetable(100, policy), 600, [230], [(150, {"interval_ns": 50})])

    assert [(due, start) for due, start, _ in rows] == expected


def test_a_batch_whose_start_has_come_runs_with_the_old_settings():
    """A change asked for at exactly the nominal start belongs to the batch after it."""
    changed = drive(Timetable(100, "asap"), 400, [10], [(200, {"interval_ns": 70})])

    assert [start for _, start, _ in changed] == [100, 200, 270, 340]


def test_missed_triggers_are_those_without_a_batch_of_their_own():
    """T=100 S=230: 6 of the 10 triggers up to 1000 get no batch under asap and skip; queue keeps them all."""
    for policy, missed in (("asap", 6), ("skip", 6), ("queue", 0)):
        table = Timetable(100, policy)
        rows = drive(table, 1000, [230])

        assert table.missed_until(1000) == missed
        assert len(rows) + missed == 10


@pytest.mark.parametrize(
    ("policy", "end", "changes", "start", "missed"),
    [
        # the first batch runs from 1000; triggers 2000 and 3000 pass meanwhile
        ("skip", 3500, [(2000, {"interval_ns": 500})], 3500, 2),
        ("skip", 3500, [(2000, {"interval_ns": 500}), (2500, {"interval_ns": 250})], 3500, 2),
        ("skip", 3500, [(3600, {"interval_ns": 700})], 3800, 2),
        ("skip", 3000, [(2000, {"interval_ns": 500})], 3000, 1),
        ("asap", 3500, [(2000, {"policy": "skip"})], 4000, 2),
        ("asap", 3500, [(1500, {"interval_ns": 500}), (2000, {"policy": "skip"})], 3500, 2),
        ("queue", 3500, [(2000, {"policy": "skip"})], 4000, 2),
        ("queue", 3000, [(2000, {"policy": "skip"})], 3000, 1),
    ],
)
def test_a_change_to_skip_counts_each_trigger_that_passed_once(policy, end, changes, start, missed):
    """The points of the old grid up to the end of the batch in hand, and none of the new one before it."""
    table = Timetable(1000, policy)
    table.taken(end)
    for at, change in changes:
        table.change(at, **change)
    found = table.peek().start_ns
    table.taken(found)

    assert (found, table.missed) == (start, missed)


def test_a_cap_and_the_queue_policy_exclude_each_other():
    """The message says the way on."""
    with pytest.raises(SettingError, match=r"policy='queue'.*max_rows_per_batch=5"):
        Lab(rows_at([0.0]), policy="queue", max_rows_per_batch=5)
    lab = Lab(rows_at([0.0]), max_rows_per_batch=5)
    with pytest.raises(SettingError, match="same change"):
        lab.policy = "queue"

    assert (lab.policy, lab.max_rows_per_batch) == ("asap", 5)
    lab.change(policy="queue", max_rows_per_batch=None)
    assert (lab.policy, lab.max_rows_per_batch) == ("queue", None)

"""The engine against an independent statement of DESIGN section 2 (`tests/reference.py`), to the nanosecond."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import pytest

import mblab
from mblab.testing import rows_at

from . import reference
from .reference import Knobs

NS, MS = 10**9, 10**6
POLICIES = ("asap", "skip", "queue")


@dataclass(frozen=True)
class Case:
    """One run, drawn: all times in ns."""

    arrivals: list[int]
    interval: int
    policy: str
    cap: int | None
    fixed: list[int]  # cost of the k-th batch with rows, over and over
    per_row: int
    duration: int | None
    changes: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    run_empty: bool = False
    speed: float = 1.0

    def cost(self) -> Callable[[int], float]:
        calls = iter(range(10**9))
        return lambda n: (self.fixed[next(calls) % len(self.fixed)] + self.per_row * n) / NS


def drawn(seed: int) -> Case:
    """One case of a seed.

    Half of them live on a grid of whole ms, where arrivals, ends, changes and triggers coincide; the others do not.
    """
    rng = random.Random(seed)
    unit = MS if rng.random() < 0.5 else rng.choice([1, 1_000, 250_000])
    span = rng.randint(20, 300) * MS

    def moment(high: int) -> int:
        return rng.randint(0, high // unit) * unit

    def interval() -> int:
        return max(MS, rng.randint(1, rng.choice([4, 20, 60])) * MS // unit * unit + (moment(MS) if unit < MS else 0))

    policy = rng.choice(POLICIES)
    cap = None if policy == "queue" or rng.random() < 0.5 else rng.randint(1, 12)
    rows = rng.choice([0, 1, 5, 20, 60])
    arrivals = sorted(moment(span) for _ in range(rows))
    if rng.random() < 0.2 and rows:
        arrivals = sorted([arrivals[0]] * (rows // 2) + arrivals[: rows - rows // 2])
    fixed = [moment(rng.choice([0, 5, 30, 120]) * MS) for _ in range(rng.randint(1, 4))]
    duration = None if rng.random() < 0.35 else max(1, moment(span))
    return Case(
        arrivals, interval(), policy, cap, fixed, moment(MS) if rng.random() < 0.4 else 0, duration,
        _changes(rng, moment, interval, span, policy, cap), rng.random() < 0.15, rng.choice([1, 1, 1, 0.5, 2, 3, 1.5]),
    )  # fmt: skip


def _changes(rng, moment, interval, span, policy, cap):
    """Up to six changes at different times, each allowed after those before it; two thirds of them come in bursts."""
    count = rng.randint(0, 6)
    near = moment(span)
    times = {moment(span) if rng.random() < 0.4 else near + moment(30 * MS) for _ in range(count)}
    changes = []
    for at in sorted(times):
        change: dict[str, object] = {}
        kind = rng.random()
        if kind < 0.5:
            change["interval"] = interval()
        if 0.35 < kind < 0.8:
            policy = change["policy"] = rng.choice(POLICIES)
        if policy == "queue" and cap is not None:
            cap = change["cap"] = None
        elif policy != "queue" and (kind > 0.9 or rng.random() < 0.15):
            cap = change["cap"] = rng.choice([None, rng.randint(1, 12)])
        if kind > 0.8 or rng.random() < 0.1:
            change["speed"] = rng.choice([0.5, 1, 2, 3, 1.5, 0.1, 7.25])
        if change:
            changes.append((at, change))
    return changes


NAMES = {"interval": "interval", "policy": "policy", "cap": "max_rows_per_batch", "speed": "speedup"}


def written(change):
    """A change as `controls=` takes it."""
    return {NAMES[k]: f"{v}ns" if k == "interval" else v for k, v in change.items()}


def run_of(case: Case) -> mblab.Run:
    lab = mblab.Lab(
        rows_at([a / NS for a in case.arrivals]), interval=f"{case.interval}ns", policy=case.policy,
        max_rows_per_batch=case.cap, run_empty=case.run_empty, name="reference",
    )  # fmt: skip
    if case.speed != 1:
        lab.speedup = case.speed
    lab.batch(lambda batch: batch, name="same")
    controls = {f"{at}ns": written(change) for at, change in case.changes}
    length = None if case.duration is None else f"{case.duration}ns"
    return lab.run(length, clock="virtual", cost=case.cost(), controls=controls)


def expected_of(case: Case) -> reference.Outcome:
    exact = [(at, c | ({"speed": Fraction(c["speed"])} if "speed" in c else {})) for at, c in case.changes]
    knobs = Knobs(case.interval, case.policy, case.cap, Fraction(case.speed))
    return reference.run(
        case.arrivals, knobs, case.cost(), duration=case.duration, changes=exact, run_empty=case.run_empty
    )


def ns(column) -> list[int]:
    return np.rint(np.asarray(column, float) * NS).astype(np.int64).tolist()


class Columns(dict):
    """Columns of `run.batches`, by attribute: a frame of them takes longer than the run."""

    __getattr__ = dict.__getitem__


def difference(case: Case) -> str:
    """What the run and the reference disagree about; empty when they agree."""
    want = expected_of(case)
    try:
        run = run_of(case)
    except mblab.MblabError as error:
        return f"raised {error}"
    b, r, s, batches = Columns(run.batches_after()), run.records, run.summary(), want.batches
    pairs = [
        ("due", ns(b.due_s), [x.due for x in batches]),
        ("start", ns(b.start_s), [x.start for x in batches]),
        ("end", ns(b.end_s), [x.end for x in batches]),
        ("interval", ns(b.interval_s), [x.interval for x in batches]),
        ("policy", b.policy.tolist(), [x.policy for x in batches]),
        ("status", b.status.tolist(), [x.status for x in batches]),
        ("rows", b.num_input_rows.tolist(), [x.rows for x in batches]),
        ("backlog_rows", b.backlog_rows.tolist(), [x.backlog for x in batches]),
        ("record's batch", r.batch_id.tolist(), [x.batch for x in want.records]),
        ("arrival", ns(r.arrival_s), [x.arrival for x in want.records]),
        ("batching wait", ns(r.batching_wait_s), [x.batching for x in want.records]),
        ("scheduling wait", ns(r.scheduling_wait_s), [x.scheduling for x in want.records]),
        ("backlog wait", ns(r.backlog_wait_s), [x.backlog for x in want.records]),
        ("processing wait", ns(r.processing_wait_s), [x.processing for x in want.records]),
        ("latency", ns(r.latency_s), [x.latency for x in want.records]),
        ("triggers missed", s.triggers_missed, want.missed),
        ("rows left over", s.backlog_rows, want.left),
        ("age of the oldest", _age(s.oldest_backlog_age_s), want.oldest_age),
        ("length", round(s.duration_s * NS), max([want.length, *(x.end for x in batches)])),
        ("output", run.output["row"].tolist() if len(run.output) else [], list(range(len(want.records)))),
    ]
    if "waiting_rows" in b and not any("speed" in change for _, change in case.changes):
        pairs.append(("waiting_rows", b.waiting_rows.tolist(), [x.waiting for x in batches]))
    if "max_rows_per_batch" in b:
        caps = [None if x != x else int(x) for x in b.max_rows_per_batch.astype(float)]
        pairs.append(("cap", caps, [x.cap for x in batches]))
    return "; ".join(f"{name}: run {got}, reference {right}" for name, got, right in pairs if got != right)


def _age(seconds: float) -> int | None:
    return None if seconds != seconds else round(seconds * NS)


def minimal(case: Case, differs: Callable[[Case], str] = difference) -> Case:
    """The same disagreement with as few changes, rows and costs as can be, one taken out after the other."""
    parts = {"changes": len, "arrivals": len, "fixed": len}
    shrunk = True
    while shrunk:
        shrunk = False
        for name in parts:
            for i in reversed(range(len(getattr(case, name)))):
                rest = [x for j, x in enumerate(getattr(case, name)) if j != i]
                smaller = replace(case, **{name: rest})
                if (rest or name != "fixed") and _still(smaller, differs):
                    case, shrunk = smaller, True
        for plain in ({"per_row": 0}, {"run_empty": False}, {"speed": 1.0}, {"cap": None}, {"duration": None}):
            smaller = replace(case, **plain)
            if smaller != case and _still(smaller, differs):
                case, shrunk = smaller, True
    return case


def _still(case: Case, differs: Callable[[Case], str]) -> bool:
    found = differs(case)
    return bool(found) and not found.startswith("raised")


def assert_agree(seeds: range, differs: Callable[[Case], str] = difference) -> None:
    for seed in seeds:
        if differs(drawn(seed)):
            case = minimal(drawn(seed), differs)
            pytest.fail(f"seed {seed}: {case}\n{differs(case)}")


def test_a_run_is_what_the_design_says():
    """Due, start, end, rows, waits, latencies and leftovers of 200 drawn runs with up to six changes of knobs."""
    assert_agree(range(200))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_a_thousand_more_runs_are_what_the_design_says(part):
    """Ten thousand cases in all; half a minute to a minute each thousand."""
    assert_agree(range(1_000 * (part + 1), 1_000 * (part + 2)))


def test_the_reference_gives_the_oracle_cases_of_the_design():
    """So that it is not the engine that the reference was written after."""

    def by(arrivals, knobs, cost, duration):
        return reference.run([round(a * NS) for a in arrivals], knobs, cost, duration=duration * NS)

    late = by([0, 0.4, 1, 1.2, 3.1], Knobs(NS), lambda n: 0.3 + 0.5 * n, 5)
    edge = by([0, 1, 2, 3], Knobs(NS), lambda n: 0.1, 4)
    constant = [(i + 0.5) / 1000 for i in range(61_000)]
    queue = by(constant[:10_000], Knobs(NS // 10, "queue"), lambda n: 0.15 + 2e-4 * n, 5)
    capped = by(constant[:20_000], Knobs(NS, cap=800), lambda n: 1e-4 * n, 10)

    assert [b.start for b in late.batches] == [NS, 2_300_000_000, 3_600_000_000, 4_400_000_000, 5 * NS]
    assert [b.rows for b in late.batches] == [2, 2, 1, 0, 0]
    assert sum(r.latency for r in late.records) / 5 == 2.1 * NS
    assert [b.rows for b in edge.batches] == [1] * 4
    assert {r.latency for r in edge.records} == {1_100_000_000}
    assert {b.end - b.start for b in queue.batches} == {170_000_000}
    assert queue.batches[-1].end == 100_000_000 + 50 * 170_000_000
    assert capped.batches[-1].backlog == 200 * 10


def test_a_disagreement_is_shown_as_small_as_it_can_be():
    """The shrinker keeps what disagrees and drops the rest."""
    case = replace(drawn(3), arrivals=[1, 2, 3, 4], changes=[(5, {"interval": MS}), (6, {"policy": "skip"})])
    found = minimal(case, lambda c: "yes" if 3 in c.arrivals and any("policy" in x for _, x in c.changes) else "")

    assert found.arrivals == [3]
    assert found.changes == [(6, {"policy": "skip"})]

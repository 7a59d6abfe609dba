"""Every field of a batch's record comes from the right place and goes into the right column: no two can be swapped."""

import ast
import inspect
import itertools
import re
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab.engine import batch, engine
from mblab.engine.backlog import Group
from mblab.engine.batch import Planned
from mblab.engine.engine import Engine
from mblab.engine.feed import Cut
from mblab.engine.pipeline import Pipeline
from mblab.engine.records import STAMPED, BatchRecord, record_of
from mblab.engine.settings import Settings
from mblab.errors import BatchError
from mblab.metrics import BATCH_COLUMNS, batches
from mblab.sinks.memory import MemorySink
from mblab.steps.step import make_step
from mblab.testing import rows_at
from mblab.timing.schedule import Trigger

S = 10**9
ARRIVALS = np.array([1, 2, 4, 8]) * S // 10
# each field has a value of its own, also in seconds
RECORD = {
    "batch_id": 11, "attempt": 2, "status": "retried", "interval_ns": 5 * S // 2, "policy": "skip", "version": 5,
    "due_ns": 60 * S, "start_ns": 61 * S, "wake_ns": S // 4, "end_ns": 70 * S, "num_input_rows": 4,
    "num_output_rows": 29, "backlog_rows": 13, "waiting_rows": 17, "max_rows_per_batch": 19, "processing_ns": 6 * S,
    "sink_ns": S // 2, "commit_ns": S // 8, "cpu_ns": S // 16, "state_bytes": 23, "error": "once", "groups": None,
}  # fmt: skip
LATENCY = 70 - ARRIVALS / S
COLUMNS = {
    "batch_id": 11, "attempt": 2, "status": "retried", "interval_s": 2.5, "policy": "skip", "version": 5, "due_s": 60.0,
    "start_s": 61.0, "wake_delay_s": 0.25, "end_s": 70.0, "num_input_rows": 4, "num_output_rows": 29, "backlog_rows": 13,
    "waiting_rows": 17, "max_rows_per_batch": 19.0, "scheduling_delay_s": 1.0, "processing_time_s": 6.0,
    "sink_time_s": 0.5, "commit_time_s": 0.125, "batch_duration_s": 9.0, "latency_mean_s": LATENCY.mean(),
    "latency_p50_s": np.quantile(LATENCY, 0.5), "latency_p95_s": np.quantile(LATENCY, 0.95),
    "latency_p99_s": np.quantile(LATENCY, 0.99), "latency_max_s": LATENCY.max(),
    "batching_wait_s": (10 - ARRIVALS / S).mean(), "scheduling_wait_s": 1.5, "backlog_wait_s": 49.5,
    "freshness_s": LATENCY.min(), "input_rows_per_second": 4 / 51, "processed_rows_per_second": 4 / 9, "load": 9 / 2.5,
    "cpu_time_s": 0.0625, "state_bytes": 23.0, "error": "once",
}  # fmt: skip
GROUPS = (Group(4, 10 * S, 10 * S + 3 * S // 2),)


def swapped(function, callee):
    """(names, the function with two of the keyword arguments of its call of `callee` swapped), for each pair."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == callee]
    for one, other in itertools.combinations(call.keywords, 2):
        one.value, other.value = other.value, one.value
        made = dict(inspect.getmodule(function).__dict__)
        exec(compile(tree, "<swapped>", "exec"), made)
        yield f"{one.arg} ↔ {other.arg}", made[function.__name__]
        one.value, other.value = other.value, one.value


def uncaught(mutants, check):
    """The mutants that a check does not notice."""
    missed = []
    for name, mutant in mutants:
        try:
            check(mutant)
        except Exception:  # noqa: S112, BLE001  however it fails, it fails
            continue
        missed.append(name)
    return missed


# -- from the batch to the record -----------------------------------------------------------------------------------


def assert_the_builder_fills_every_field(build):
    trigger = Trigger(60 * S, 61 * S, 5 * S // 2, 62 * S, 63 * S)
    cut = Cut(ARRIVALS, 0, ())
    planned = Planned(11, trigger, cut, policy="skip", cap=19, backlog=13, groups=GROUPS, wake_ns=S // 4)
    planned.attempts = 2
    made = build(
        planned, "retried", 70 * S, version=5, waiting_rows=17, output_rows=29, processing_ns=6 * S, sink_ns=S // 2,
        commit_ns=S // 8, cpu_ns=S // 16, state_bytes=23, error="once",
    )  # fmt: skip

    assert made.arrival_ns is ARRIVALS
    assert made._replace(arrival_ns=None)._asdict() == RECORD | {"arrival_ns": None, "groups": GROUPS}


def test_a_record_says_of_its_batch_what_there_was():
    """Every field, by its name."""
    assert_the_builder_fills_every_field(record_of)


def test_no_two_fields_of_a_record_can_be_swapped_where_it_is_made():
    """All pairs of keyword arguments of the one place that makes records."""
    assert uncaught(swapped(record_of, "BatchRecord"), assert_the_builder_fills_every_field) == []


class Still:
    """A clock that stands where it was put."""

    virtual = False

    def __init__(self):
        self.at = 0

    def now_ns(self):
        return self.at


class FakeTime:
    """The machine's clocks: perf_counter goes on by 1, 2, 4, … ms from call to call, thread time by 7 ms."""

    def __init__(self):
        self.calls, self.cpu = 0, 0

    def perf_counter_ns(self):
        self.calls += 1
        return (1 << self.calls) * 10**6

    def thread_time_ns(self):
        self.cpu += 7 * 10**6
        return self.cpu

    def monotonic(self):
        return time.monotonic()


def assert_the_engine_stamps_every_field(_mutant=None):
    """Two batches; the second is late, capped, fails once, and rows come while it runs."""
    arrivals = [0.5, 1.1, 1.2, 1.3, 1.4, 2.0, 2.1, 2.4, 2.6, 2.7, 2.8, 2.9, 3.6]
    broken = True

    def doubled(rows, state, ctx):
        state["n"] = state.get("n", 0) + len(rows)
        if broken and ctx.batch_id == 1:
            raise ValueError("once")
        return pd.concat([rows, rows])

    step = replace(make_step(doubled, "batch"), uid=0)
    clock, noted = Still(), []
    pipeline = Pipeline(rows_at(arrivals), (step,), (), Settings(S, "asap", 3), version=4)
    made = Engine(pipeline, clock, run_id="0" * 12, note=noted.append, output=MemorySink(10))
    made.open()
    clock.at = 5 * S // 2
    made.step(S)
    clock.at = 3 * S
    with pytest.raises(BatchError):
        made.step(5 * S // 2 + 10**6)
    failed = made.failed
    broken, clock.at = False, 7 * S // 2
    made.step(clock.at)
    first, second = noted

    assert (first.batch_id, first.attempt, first.status, first.due_ns, first.start_ns, first.end_ns) == (
        0, 1, "ok", S, S, 5 * S // 2,
    )  # fmt: skip
    assert (first.num_input_rows, first.num_output_rows, first.backlog_rows, first.waiting_rows) == (1, 2, 0, 7)
    assert (first.processing_ns, first.sink_ns, first.commit_ns, first.cpu_ns) == (2 * 10**6, 4 * 10**6, 0, 7 * 10**6)
    assert (first.wake_ns, first.version, first.max_rows_per_batch, first.error) == (0, 4, 3, "")
    assert first.state_bytes > 100
    assert first.groups is None
    assert failed.error.startswith("doubled failed on batch 1")
    assert failed[:19] == (
        1, 1, "failed", S, "asap", 4, 2 * S, 5 * S // 2, 10**6, 3 * S, 3, 0, 4, 11,
        3, 3 * S - 5 * S // 2 - 10**6, 0, 0, 0,
    )  # fmt: skip
    assert second[:17] == (
        1, 2, "retried", S, "asap", 4, 2 * S, 5 * S // 2, 10**6, 7 * S // 2, 3, 6, 4, 8, 3, second.processing_ns,
        2 * second.processing_ns,
    )  # fmt: skip
    assert second.groups == (Group(3, 2 * S, 5 * S // 2),)


@pytest.fixture
def fake_time(monkeypatch):
    """Clocks of a machine on which each stamp has a value of its own."""

    def begin():
        clocks = FakeTime()
        monkeypatch.setattr(engine, "time", clocks)
        monkeypatch.setattr(batch, "time", clocks)

    return begin


def test_the_engine_stamps_what_happened(fake_time):
    """A batch on time, one that fails, and one that is tried again: with the clocks in the test's hand."""
    fake_time()

    assert_the_engine_stamps_every_field()


@pytest.mark.parametrize(("phase", "callee"), [("_plan", "Planned"), ("_finish", "record_of"), ("_fail", "record_of")])
def test_no_two_stamps_can_be_swapped_where_the_engine_takes_them(phase, callee, monkeypatch, fake_time):
    """All pairs of what the phases hand over."""

    def check(mutant):
        fake_time()
        monkeypatch.setattr(Engine, phase, mutant)
        # the mutant sees a copy of the module, with real clocks
        mutant.__globals__["time"] = engine.time
        assert_the_engine_stamps_every_field()

    assert uncaught(swapped(getattr(Engine, phase), callee), check) == []


# -- from the record to the columns -----------------------------------------------------------------------------------


def chunk():
    return batches.chunk_of([BatchRecord(**RECORD | {"arrival_ns": ARRIVALS, "groups": GROUPS})], 10 * S)


def assert_every_column_holds_its_value(found):
    assert set(found) == set(COLUMNS)
    for name, value in COLUMNS.items():
        (is_there,) = found[name]
        assert is_there == value or abs(is_there / value - 1) < 1e-12, name


def test_every_column_says_what_its_record_does():
    """All of `run.batches`, `commit_time_s` among them, in the order of the design."""
    frame = batches.batch_frame([chunk()])
    assert_every_column_holds_its_value(frame)
    assert tuple(frame) == tuple(COLUMNS) == BATCH_COLUMNS
    assert len({v for v in COLUMNS.values() if not isinstance(v, str)}) == len(COLUMNS) - 3


def test_no_two_columns_can_be_swapped(monkeypatch):
    """All pairs of what is read off a record, and all pairs of what is computed of it."""

    def stamped():
        for i, j in itertools.combinations(range(len(STAMPED)), 2):
            mutant = list(STAMPED)
            mutant[i], mutant[j] = (
                replace(STAMPED[i], field=STAMPED[j].field), replace(STAMPED[j], field=STAMPED[i].field),
            )  # fmt: skip
            yield f"{STAMPED[i].name} ↔ {STAMPED[j].name}", ("STAMPED", mutant)

    def derived():
        places = [(key, i) for key, parts in batches.DERIVED.items() for i in range(len(parts))]
        for one, other in itertools.combinations(places, 2):
            mutant = {key: list(parts) for key, parts in batches.DERIVED.items()}
            first, second = mutant[one[0]][one[1]], mutant[other[0]][other[1]]
            mutant[one[0]][one[1]] = replace(first, of=second.of)
            mutant[other[0]][other[1]] = replace(second, of=first.of)
            yield f"{first.column.name} ↔ {second.column.name}", ("DERIVED", mutant)

    def check(change):
        with monkeypatch.context() as patch:
            patch.setattr(batches, *change)
            assert_every_column_holds_its_value(chunk().columns)

    assert uncaught(itertools.chain(stamped(), derived()), check) == []


def test_every_field_of_a_record_is_a_column_or_says_why_not():
    """Arrivals and groups are a row each, not a batch; a new field needs its place in the table."""
    assert [column.field for column in STAMPED] == [f for f in BatchRecord._fields if f not in ("arrival_ns", "groups")]


def test_a_record_is_made_in_one_place():
    """Nothing else in the package builds one."""
    package = Path(mblab.__file__).parent
    made = [f.name for f in package.rglob("*.py") if re.search(r"\bBatchRecord\(\n", f.read_text(encoding="utf-8"))]

    assert made == ["records.py"]

"""Any verb, at any moment, from any thread: nothing hangs, no row is lost, and what is noted is what ran.

A lab is moved by several hands at once: the cell's thread, a second one, a timer, the step and `on_batch` in the run's
own thread, a forked child. What they do and in which order is drawn; what must hold is the same for all of it.
"""

from __future__ import annotations

import faulthandler
import itertools
import json
import os
import queue
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import mblab
from mblab.testing import ListSink, rows_at

HANG_S = 30.0
ROWS, SPACING_S = 240, 0.001
COST_S = 0.002  # of a batch, where it is declared

PLACES = ("cell", "second", "timer", "step", "on_batch", "child")
OWN = ("step", "on_batch")
BEGIN = ("start", "run", "step", "reset", "sweep", "autotune")
SETTERS = ("interval", "policy", "cap", "speedup", "change")
VERBS = (*SETTERS, *BEGIN, "stop", "pause", "resume", "wait", "read", "swap", "fail")


MOVES = [(place, verb) for place in PLACES for verb in VERBS]
MOVES += [("cell", verb) for verb in ("start", "start", "start", "run", "step", "pause")]  # else little would run


class Hand:
    """A thread that does one thing after the other, and says what it has not got done."""

    def __init__(self, name: str) -> None:
        self.doing: str | None = None
        self._orders: queue.Queue[tuple[str, Callable[[], None]] | None] = queue.Queue()
        self._left = 0
        self._done = threading.Condition()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def do(self, label: str, call: Callable[[], None]) -> None:
        with self._done:
            self._left += 1
        self._orders.put((label, call))

    def _work(self) -> None:
        for label, call in iter(self._orders.get, None):
            self.doing = label
            call()
            with self._done:
                self.doing, self._left = None, self._left - 1
                self._done.notify_all()

    def end(self) -> None:
        self._orders.put(None)

    def free(self, timeout_s: float) -> bool:
        with self._done:
            return self._done.wait_for(lambda: self._left == 0, timeout_s)


def all_stacks() -> str:
    """What every thread of this process is doing."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read()


class OwnList(ListSink):
    """Rows in a list that is the lab's own runs' alone: a sweep, which takes sinks without effects along, leaves it."""

    effects = True


class Files:
    """A sink of each kind, and the rows that stand in it."""

    KINDS = ("none", "list", "csv", "jsonl", "sqlite", "parquet")

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.path = kind, folder / f"out.{kind}"
        makers = {name: getattr(mblab.sinks, name) for name in self.KINDS[2:]}
        self.sink = None if kind == "none" else OwnList() if kind == "list" else makers[kind](self.path)

    def rows(self) -> list[int] | None:
        """The column `row` of what was delivered, in order; None where nothing is kept."""
        if self.kind == "none":
            return None
        if self.kind == "list":
            frame = self.sink.frame
            return frame["row"].tolist() if len(frame) else []
        if not self.path.exists() or (self.path.is_file() and self.path.stat().st_size == 0):
            return []
        if self.kind == "csv":
            return pd.read_csv(self.path)["row"].tolist()
        if self.kind == "jsonl":
            return [json.loads(line)["row"] for line in self.path.read_text().splitlines()]
        if self.kind == "parquet":
            parts = sorted(self.path.glob("*.parquet"))
            return [row for part in parts for row in pd.read_parquet(part)["row"].tolist()]
        with sqlite3.connect(self.path) as connection:
            tables = [
                name
                for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
                if not name.startswith(("_", "mblab", "sqlite"))
            ]
            found = [row for t in tables for (row,) in connection.execute(f'select "row" from "{t}" order by rowid')]
        connection.close()
        return found


class HandsOnALab(RuleBasedStateMachine):
    """One lab, several hands."""

    clock = "virtual"
    names = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.cell, self.second = Hand("hands-cell"), Hand("hands-second")
        self.timers: list[threading.Timer] = []
        self.waiting: dict[str, list[tuple[str, int]]] = {"step": [], "on_batch": []}
        self.surprises: list[str] = []
        self.runs: list[mblab.Run] = []
        self.failing = False

    @initialize(
        policy=st.sampled_from(["asap", "skip", "queue"]),
        interval=st.sampled_from(["4ms", "10ms", "25ms"]),
        kind=st.sampled_from(Files.KINDS),
        begin=st.sampled_from(["start", "start", "run", "step", "read"]),
        pick=st.integers(0, 9),
    )
    def make_the_lab(self, policy, interval, kind, begin, pick):
        lab = self.lab = mblab.Lab(
            rows_at(np.arange(ROWS) * SPACING_S),
            interval=interval,
            policy=policy,
            name=f"hands {next(self.names)}",
        )
        self.files = Files(kind, self.folder)
        if self.files.sink is not None:
            lab.to(self.files.sink)
        self._define(1)
        lab.on_batch(self._on_batch)
        self.cell.do(f"cell: {begin} {pick}", lambda: self._try("cell", begin, pick))
        self._finish(self.cell)

    def _define(self, version: int) -> None:
        def work(batch, state, ctx):
            self._own_thread("step")
            state["rows"] = state.get("rows", 0) + len(batch)
            if self.failing:
                self.failing = False
                raise ValueError(f"version {version} fails once")
            return batch

        self.lab.batch(work)

    def _on_batch(self, row):
        self._own_thread("on_batch")

    def _own_thread(self, place: str) -> None:
        if self.waiting[place]:
            self._try(place, *self.waiting[place].pop(0))

    # -- the hands ----------------------------------------------------------------------------------------------------

    @rule(move=st.sampled_from(MOVES), pick=st.integers(0, 9), nap_ms=st.sampled_from([0, 0, 1, 3, 8]))
    def move(self, move, pick, nap_ms):
        time.sleep(nap_ms / 1000)
        place, verb = move
        label = f"{place}: {verb} {pick}"
        if place in OWN:
            self.waiting[place].append((verb, pick))
        elif place == "child":
            self._in_a_child(verb, pick)
        elif place == "timer":
            timer = threading.Timer(pick / 300, self._try, (place, verb, pick))
            timer.daemon = True
            self.timers.append(timer)
            timer.start()
        elif place == "second":
            self.second.do(label, lambda: self._try(place, verb, pick))
        else:
            self.cell.do(label, lambda: self._try(place, verb, pick))
            self._finish(self.cell)

    def _try(self, place: str, verb: str, pick: int) -> None:
        """Do one thing; only what mblab raises on purpose may be raised."""
        try:
            self._do(verb, pick)
        except mblab.MblabError:
            pass
        except BaseException as error:
            self.surprises.append(f"{place}: {verb} {pick} raised {type(error).__name__}: {error}")

    def _do(self, verb: str, pick: int) -> None:
        lab, last = self.lab, self.lab.last_run
        if verb in SETTERS:
            knobs = {
                "interval": {"interval": f"{(2, 3, 5, 8, 10, 15, 20, 30, 50, 100)[pick]}ms"},
                "policy": {"policy": ("asap", "skip", "queue")[pick % 3]},
                "cap": {"max_rows_per_batch": (None, 1, 5, 20)[pick % 4]},
                "speedup": {"speedup": (0.5, 1, 2, 3)[pick % 4]},
                "change": {"interval": f"{2 + pick}ms", "policy": "queue", "max_rows_per_batch": None},
            }[verb]
            lab.change(**knobs)
        elif verb in ("start", "run", "autotune"):
            length = (None, "60ms", "150ms", "400ms")[pick % 4]
            cost = COST_S if self.clock == "virtual" else None
            extra = {"p95": "60ms", "model": None} if verb == "autotune" else {}
            if verb == "autotune" and cost is None:
                extra["budget"] = "60ms"
            self.runs.append(getattr(lab, verb)(length, clock=self.clock, cost=cost, **extra))
        elif verb == "step":
            lab.step(1 + pick % 4)
        elif verb == "sweep":
            lab.sweep(["5ms", "50ms"], "100ms", clock="virtual", cost=COST_S)
        elif verb == "wait":
            if last is not None:
                last.wait(0.02 * pick)
        elif verb == "read":
            if last is not None:
                s, batches = last.summary(), last.batches
                assert batches.batch_id.is_unique, "a batch is noted twice"
                assert s.batches >= 0
                _ = (
                    last.records,
                    last.output,
                    last.state,
                    last.attempts,
                    last.controls,
                    last.last_progress,
                    repr(last),
                )
                _ = lab.describe()
        elif verb == "swap":
            self._define(2 + pick)
        elif verb == "fail":
            self.failing = True
        else:
            getattr(lab, verb)()
        if lab.last_run is not None and lab.last_run not in self.runs:
            self.runs.append(lab.last_run)

    def _in_a_child(self, verb: str, pick: int) -> None:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if self.files.sink is not None:  # a run of the child's own would write over its parent's file
                    self.lab.remove(self.files.sink.target)
                self._try("child", verb, pick)
                code = len(self.surprises) and 2
            finally:
                os._exit(code)
        end = time.monotonic() + HANG_S
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.kill(child, 9)
                os.waitpid(child, 0)
                raise AssertionError(f"child: {verb} {pick} hangs")
            time.sleep(0.002)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def _finish(self, hand: Hand) -> None:
        """Wait for a hand; press resume where it waits for a run that stands, as a person would; a hang has its stacks."""
        end = time.monotonic() + HANG_S
        while not hand.free(0.05):
            run = self.lab.last_run
            if run is not None and run.status in ("paused", "halted"):
                self.lab.resume() if run.status == "paused" else self.lab.stop()
            if time.monotonic() > end:
                raise AssertionError(f"{hand.doing} hangs; surprises {self.surprises}\n{all_stacks()}")

    def teardown(self):
        if not hasattr(self, "lab"):
            return
        try:
            for timer in self.timers:
                timer.join(HANG_S)
            self._finish(self.second)
            self.cell.do("stop at the end", self.lab.stop)
            self._finish(self.cell)
            self._hold()
        finally:
            self.cell.end()
            self.second.end()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _hold(self) -> None:
        assert not self.surprises, self.surprises
        names = {f"mblab-{run.run_id}" for run in self.runs}
        left = [t.name for t in threading.enumerate() if t.name in names and (t.join(2) or t.is_alive())]
        assert not left, f"threads of ended runs: {left}"
        for run in self.runs:
            self._keeps_its_books(run)
            if run.provenance["clock"] == "virtual":
                self._is_the_same_again(run)
        delivered = self.files.rows()
        if delivered is not None and self.runs and self.lab.last_run is self.runs[-1]:
            out = self.runs[-1].output
            assert delivered == (out["row"].tolist() if len(out) else []), "files = output"

    def _keeps_its_books(self, run: mblab.Run) -> None:
        """Rows in = rows out + what no batch took, in order, each once; batches do not overlap."""
        assert run.status in ("finished", "stopped"), run.status
        summary, batches, out = run.summary(), run.batches, run.output
        done = batches[batches.status != "failed"]
        assert (out["row"].tolist() if len(out) else []) == list(range(int(done.num_input_rows.sum())))
        assert len(run.records) == summary.rows == done.num_input_rows.sum()
        assert batches.batch_id.tolist() == list(range(len(batches)))
        assert (done.start_s.to_numpy()[1:] >= done.end_s.to_numpy()[:-1] - 1e-9).all()
        waits = run.records.filter(like="_wait_s").sum(axis=1)
        assert np.allclose(waits, run.records.latency_s, atol=1e-9)
        if run.status == "finished" and run.provenance["duration_s"] is None:
            assert len(out) == ROWS
        assert run.state.get("work", {}).get("rows", 0) == len(out), "state is of the rows that were delivered"

    def _is_the_same_again(self, run: mblab.Run) -> None:
        """`run(controls=run.controls)` of a declared cost gives due, start, end, rows and settings to the nanosecond."""
        about = run.provenance
        s = about["settings"]
        lab = mblab.Lab(
            rows_at(np.arange(ROWS) * SPACING_S), interval=s["interval_s"], policy=s["policy"],
            max_rows_per_batch=s["max_rows_per_batch"], name="the same again",
        )  # fmt: skip
        if s["speedup"] != 1:
            lab.speedup = s["speedup"]
        length = about["duration_s"]
        if run.status == "stopped":
            length = max(run.summary().duration_s, 1e-9)
        again = lab.run(length, clock="virtual", cost=COST_S, controls=run.controls)
        columns = ["due_s", "start_s", "end_s", "interval_s", "policy", "num_input_rows"]
        mine = run.batches
        mine = mine[mine.status != "failed"][columns].reset_index(drop=True)
        if run.status == "stopped":
            pd.testing.assert_frame_equal(mine, again.batches[columns].iloc[: len(mine)])
        else:
            pd.testing.assert_frame_equal(mine, again.batches[columns])


class HandsOnTheWall(HandsOnALab):
    """The same, where a batch takes real time."""

    clock = "wall"


def campaign(machine, examples: int, steps: int, *, fixed: bool):
    """Run so many sequences of a machine; a failure shows its sequence, and is not made smaller: moments differ."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, database=None, derandomize=fixed,
            phases=[Phase.generate], print_blob=False, report_multiple_bugs=False,
        ),
    )  # fmt: skip


def test_hands_on_a_virtual_lab():
    """80 drawn sequences of verbs from every place."""
    campaign(HandsOnALab, 80, 8, fixed=True)


def test_hands_on_a_wall_lab():
    """8 of them where a batch takes real time."""
    campaign(HandsOnTheWall, 8, 8, fixed=True)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_more_hands_on_a_virtual_lab(part):
    """2 000 sequences, longer ones, drawn anew each time."""
    campaign(HandsOnALab, 100, 14, fixed=False)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_more_hands_on_a_wall_lab(part):
    """200 sequences."""
    campaign(HandsOnTheWall, 20, 14, fixed=False)

"""One lab's dashboard in the kernel: it receives what the page asks, gives orders to the lab, and sends what is new.

One thread a lab sends, ten times a second at most; the thread that computes batches never does. What the page asks for
is done at once when it is short, else in a thread of its own.

    page -> [panel] -> orders -> lab;  run -> wire -> [panel] -> page
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from mblab.charts import vega
from mblab.charts.live import live_spec
from mblab.dashboard.orders import Argument, Order, order_of
from mblab.dashboard.widget import LiveView
from mblab.dashboard.wire import finite, load_of, parts_of, progress_of, rows_message, state_of
from mblab.engine.records import ENDED
from mblab.errors import MblabError
from mblab.lab import Lab
from mblab.metrics import behind_of, regime
from mblab.runs.run import Run
from mblab.timing.durations import NS, duration_ns, format_s
from mblab.tuning.advice import Advice

__all__ = ["Panel", "name_in_notebook"]

PERIOD_S = 0.1
IDLE_S = 0.5
BEAT_S = 1.0
REGIME_BATCHES = 300
LOAD_BATCHES = 30
REST = ("paused", "halted", *ENDED)

spec_once = cache(live_spec)


def name_in_notebook(lab: Lab) -> str:
    """Return the variable that holds the lab in the notebook, `lab` when there is none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    names = [name for name, value in dict(getattr(shell, "user_ns", {})).items() if value is lab]
    return next((name for name in names if not name.startswith("_")), "lab")


class _Recent:
    """What load and regime are computed from: the newest batches that were sent."""

    def __init__(self) -> None:
        self._rows: deque[tuple[float, ...]] = deque(maxlen=REGIME_BATCHES)
        self._left = 0

    def add(self, columns: dict[str, Any]) -> None:
        names = ("start_s", "backlog_rows", "num_input_rows", "batch_duration_s", "interval_s")
        behind, self._left = behind_of(columns, self._left)
        newest = [columns[name][-REGIME_BATCHES:].tolist() for name in names]
        self._rows.extend(zip(*newest, behind[-REGIME_BATCHES:].tolist(), strict=True))

    def figures(self) -> dict[str, Any]:
        """Return load of the newest 30 batches and the regime of the newest 300, None without batches."""
        if not self._rows:
            return {"load": None, "regime": None}
        start, backlog, rows, durations, intervals, behind = np.array(self._rows, np.float64).T
        span = start[-1] - start[0]
        load = load_of(durations[-LOAD_BATCHES:].tolist(), intervals[-LOAD_BATCHES:].tolist())
        rate = rows.sum() / span if span > 0 else 0.0
        share = behind.sum() / max(rows.sum(), 1.0)
        return {
            "load": None if load is None else round(load, 3),
            "regime": regime(start, backlog, rows, load=load or 0.0, behind_share=share, arrival_rate=rate),
        }


class Panel:
    """The dashboard of one lab.

    Args:
        lab: Held weakly: a lab that nobody else holds ends, and its panel says so.
        on_rest: Called, in a thread of its own, when a run pauses, halts or ends, and when one at rest is first seen.
    """

    def __init__(self, lab: Lab, on_rest: Callable[[Lab], None] = lambda _: None) -> None:
        self._lab = weakref.ref(lab)
        self._on_rest = on_rest
        self.view = LiveView(spec=spec_once())
        self.view.on_msg(self._receive)
        self._wake = threading.Event()
        self._closed = False
        self._resync = True
        self._run: Run | None = None
        self._known = -1
        self._last_failed = False
        self._sent: dict[str, Any] = {}
        self._spoke = self._looked = 0.0
        self._target: str | None = None
        self._advice: Advice | None = None
        self._rest: tuple[Any, Any] = (None, None)
        self._recent = _Recent()
        self._busy: set[str] = set()
        self._wish: Any = None
        self._ghosting = threading.Lock()
        self._thread = threading.Thread(target=self._send_until_closed, name=f"mblab-panel-{lab.name}", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    # -- sending ----------------------------------------------------------------------------------------------------

    def close(self, why: str = "") -> None:
        """Stop sending; the page is told why."""
        self._closed = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(2.0)
        atexit.unregister(self.close)
        if why:
            self._send({"k": "state", "state": {"gone": why}})

    def look_again(self) -> None:
        """Take a run that is at rest for a new one: its picture is wanted once more."""
        self._rest = (None, None)
        self._wake.set()

    @property
    def lab(self) -> Lab | None:
        """The lab, or None when it is gone."""
        return self._lab()

    @property
    def alive(self) -> bool:
        """Whether the thread that sends is there."""
        return self._thread.is_alive()

    def _send(self, message: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        self._spoke = time.monotonic()
        with contextlib.suppress(Exception):  # a page that went away, or a kernel that is going
            self.view.send(message, buffers)

    def _send_until_closed(self) -> None:
        idle = False
        while not self._closed:
            self._wake.wait(IDLE_S if idle else PERIOD_S)
            self._wake.clear()
            lab = self._lab()
            if lab is None:
                self._send({"k": "state", "state": {"gone": "This lab is gone; run its cell again."}})
                atexit.unregister(self.close)
                return
            if not self._closed:
                try:
                    idle = self._tick(lab)
                except Exception as error:
                    self._resync = True  # the next whole state takes the message away
                    self._send(
                        {"k": "state", "state": {"error": f"the dashboard failed: {type(error).__name__}: {error}"}}
                    )
            del lab  # not held while waiting

    def _tick(self, lab: Lab) -> bool:
        """Send what is new; return whether nothing moves."""
        run, now = lab.last_run, time.monotonic()
        whole = self._resync
        self._resync = False
        state = state_of(lab, run)  # before the rows, so that a run that is told to have ended has told all of them
        self._send_rows(run, reset=whole or run is not self._run)
        if whole or now - self._looked >= BEAT_S or state["status"] != self._sent.get("status"):
            self._looked = now
            state |= progress_of(lab, run) | self._recent.figures() | self._over(run)
        self._send_state(state, whole=whole)
        rest = (state["run"], state["status"])
        if rest != self._rest and state["status"] in REST:
            self._in_thread(lambda: self._on_rest(lab))
        self._rest = rest
        if time.monotonic() - self._spoke >= BEAT_S:
            self._send({"k": "beat"})
        return state["status"] not in ("running", "stopping")

    def _send_rows(self, run: Run | None, *, reset: bool) -> None:
        if reset:
            self._run, self._known, self._last_failed, self._recent = run, -1, False, _Recent()
        if run is None:
            if reset:
                self._send(*rows_message({}, None, reset=True, ended_ms=None))
            return
        columns = run.batches_after(self._known - 1 if self._last_failed else self._known)
        count = len(columns["batch_id"])
        if self._last_failed and count == 1 and columns["status"][0] == "failed":
            count = 0  # it is still the same batch that failed
        if not count and not reset:
            return
        if len(columns["batch_id"]) > self.view.window:
            columns = {name: values[-self.view.window :] for name, values in columns.items()}
        ended = None
        if count:
            self._known = int(columns["batch_id"][-1])
            self._last_failed = columns["status"][-1] == "failed"
            self._recent.add(columns)
            ended = (time.time() - max(0.0, run.how_far.now_s - float(columns["end_s"][-1]))) * 1000
        for part in [columns] if reset else parts_of(columns):
            self._send(*rows_message(part, run.run_id, reset=reset, ended_ms=ended))

    def _send_state(self, state: dict[str, Any], *, whole: bool) -> None:
        known = {} if whole else self._sent
        changed = {k: v for k, v in state.items() if k not in known or known[k] != v}
        self._sent = self._sent | state
        if whole:
            self._send({"k": "state", "whole": True, "state": self._sent})
        elif changed:
            self._send({"k": "state", "state": changed})

    def _over(self, run: Run | None) -> dict[str, Any]:
        """Return the p95 target and the share of records over it."""
        if self._target is None:
            return {"target": None, "target_s": None, "over": None}
        share = None if run is None else finite(run.share_over(self._target))
        return {
            "target": self._target,
            "target_s": duration_ns(self._target, "p95 target") / NS,
            "over": None if share is None else round(share, 5),
        }

    # -- receiving --------------------------------------------------------------------------------------------------

    def _receive(self, _view: LiveView, message: dict[str, Any], _buffers: Sequence[memoryview]) -> None:
        """Take a message of the page; may be called from any thread, and is done in a moment."""
        kind = message.get("k")
        if kind == "sync":
            self._resync = True
            self._wake.set()
        elif kind == "need-vega":
            self._in_thread(self._give_library)
        elif kind == "ghost":
            self._wish = message.get("interval")
            self._in_thread(self._ghost)
        elif kind == "do":
            self._do(str(message.get("id")), str(message.get("verb")), message.get("arg"))

    @staticmethod
    def _in_thread(work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="mblab-panel-aside", daemon=True).start()

    def _give_library(self) -> None:
        try:
            self._send({"k": "vega"}, [vega.drawing_code()])
        except MblabError as error:
            self._send({"k": "vega", "error": str(error)})

    def _do(self, number: str, verb: str, arg: Argument) -> None:
        self._send({"k": "ack", "id": number})
        lab = self._lab()
        if lab is None or self._closed:
            self._send({"k": "done", "id": number})
            return
        if verb in self._busy:  # pressed twice: once is enough
            self._send({"k": "done", "id": number})
            return
        try:
            order = order_of(lab, name_in_notebook(lab), verb, self._advice if verb == "apply" else arg)
        except MblabError as error:
            self._send({"k": "done", "id": number, "code": verb, "text": str(error), "error": True})
            return
        if verb == "target":
            self._target = None if arg is None else str(arg)
            self._looked = 0.0
        self._busy.add(verb)
        if order.slow:
            self._in_thread(lambda: self._carry_out(number, verb, order))
        else:
            self._carry_out(number, verb, order)

    def _carry_out(self, number: str, verb: str, order: Order) -> None:
        done: dict[str, Any] = {"k": "done", "id": number, "code": order.code}
        try:
            answer = order.call()
            done["text"] = answer.text
            if answer.advice is not None:
                self._advice = answer.advice
                done["apply"] = answer.advice.interval
        except Exception as error:
            text = str(error) if isinstance(error, MblabError) else f"{type(error).__name__}: {error}"
            done |= {"text": text.splitlines()[0] if text else type(error).__name__, "error": True}
        finally:
            self._busy.discard(verb)
        if verb in ("summary", "tune", "diagnose") and "error" not in done:
            done["shows"] = verb
        self._send(done)
        self._wake.set()

    def _ghost(self) -> None:
        """Predict for the interval wished last; while one is predicted the ones between are skipped."""
        with self._ghosting:
            interval, self._wish = self._wish, None
            lab = self._lab()
            run = None if lab is None else lab.last_run
            if interval is None or lab is None:
                return
            message: dict[str, Any] = {"k": "ghost", "interval": interval}
            try:
                if run is None:
                    raise MblabError("a prediction needs a run to learn from; press Play first.")
                row = run.what_if(
                    float(interval), policy=lab.policy, max_rows_per_batch=lab.max_rows_per_batch
                ).table.iloc[0]
                message |= {q: finite(row[f"latency_{q}_s"]) for q in ("p50", "p95", "p99")}
                message["text"] = (
                    f"At {format_s(float(interval))} it would be: p50 {format_s(row.latency_p50_s)}, "
                    f"p95 {format_s(row.latency_p95_s)}, load {row.load:.2f}, {row.regime.replace('_', ' ')}"
                )
            except (MblabError, ValueError, TypeError) as error:
                message |= {"error": True, "text": str(error)}
            self._send(message)

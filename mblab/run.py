"""What happened, and what is happening: a run to look at while it goes on, afterwards, and from disk.

engine, metrics -> [run] -> tuning, lab
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from mblab.drivers import Driver
from mblab.durations import NS, Duration, duration_ns, exact_text, format_s, seconds
from mblab.engine import Engine
from mblab.errors import MblabError, SettingError, shown
from mblab.metrics import BATCH_COLUMNS, RunLog, Totals, summarise
from mblab.records import Control, RunStatus
from mblab.sinks.memory import MemorySink
from mblab.state import savepoint

__all__ = ["HowFar", "LiveFacts", "Run", "Slowest", "read_run", "written_controls"]

FORMAT = 1
ATTEMPT_COLUMNS = ("batch_id", "attempt", "start_s", "duration_s", "error")


def written_controls(controls: list[Control]) -> dict[str, dict[str, Any]]:
    """Return knobs that were moved in the form `controls=` takes, with times to the nanosecond."""
    written: dict[str, dict[str, Any]] = {}
    for control in controls:
        change = dict(control.change)
        if "interval_ns" in change:
            change["interval"] = exact_text(change.pop("interval_ns"))
        written.setdefault(exact_text(control.at_ns), {}).update(change)
    return written


class HowFar(NamedTuple):
    """How far a run is.

    Attributes:
        now_s: Time on the run's clock.
        length_s: The length asked for, or None.
        rows: Rows that batches have taken.
    """

    now_s: float
    length_s: float | None
    rows: int


class _Facts(Protocol):
    """Where a run's figures come from: the engine that turns it, or a folder."""

    run_id: str
    name: str

    @property
    def status(self) -> RunStatus: ...
    @property
    def error(self) -> BaseException | None: ...
    def batches(self) -> pd.DataFrame: ...
    def records(self) -> pd.DataFrame: ...
    def output(self) -> pd.DataFrame: ...
    def state(self) -> dict[str, Any]: ...
    def attempts(self) -> pd.DataFrame: ...
    def controls(self) -> dict[str, dict[str, Any]]: ...
    def last(self) -> dict[str, Any] | None: ...
    def summary(self, from_s: float | None, to_s: float | None) -> pd.Series[Any]: ...
    def wait(self, timeout_s: float | None) -> bool: ...
    def after(self, batch_id: int) -> dict[str, Any]: ...
    def share_over(self, latency_ns: int) -> float: ...
    def how_far(self) -> HowFar: ...


class LiveFacts:
    """The figures of a run of this process."""

    def __init__(self, name: str, engine: Engine, driver: Driver, log: RunLog, output: MemorySink) -> None:
        self.run_id, self.name = engine.run_id, name
        self._engine, self._driver, self._log, self._output = engine, driver, log, output
        self._end: tuple[int, int] | None = None  # rows waiting at the end, arrival of the oldest

    @property
    def status(self) -> RunStatus:
        return self._driver.status

    @property
    def error(self) -> BaseException | None:
        return self._driver.error

    def batches(self) -> pd.DataFrame:
        return self._log.batches(self._engine.failed)

    def records(self) -> pd.DataFrame:
        return self._log.records()

    def output(self) -> pd.DataFrame:
        return self._output.frame()

    def state(self) -> dict[str, Any]:
        found = {}
        for step in self._engine.pipeline.steps:
            state = self._engine.states.of(step.uid, keyed=step.kind == "keyed")
            found[step.name] = {k: savepoint(v) for k, v in state.items()} if step.kind == "keyed" else savepoint(state)
        return found

    def attempts(self) -> pd.DataFrame:
        """Return every try: those of batches that took several, and the only one of each other batch."""
        extra = list(self._engine.attempts)
        several = {a.batch_id for a in extra}
        rows = [(a.batch_id, a.attempt, a.start_ns / NS, a.duration_ns / NS, a.error) for a in extra]
        frame = self._log.batches()
        once = frame[(frame.status != "empty") & ~frame.batch_id.isin(several)]
        rows += list(zip(once.batch_id, once.attempt, once.start_s, once.batch_duration_s, once.error, strict=True))
        tries = pd.DataFrame(rows, columns=list(ATTEMPT_COLUMNS))
        tries = tries.astype(
            {"batch_id": "int64", "attempt": "int64", "start_s": float, "duration_s": float, "error": "str"}
        )
        return tries.sort_values(["batch_id", "attempt"], ignore_index=True)

    def controls(self) -> dict[str, dict[str, Any]]:
        return written_controls(self._engine.controls)

    def last(self) -> dict[str, Any] | None:
        return self._log.last()

    def summary(self, from_s: float | None, to_s: float | None) -> pd.Series[Any]:
        engine, driver = self._engine, self._driver
        failed = engine.failed
        horizon = driver.horizon_ns if driver.horizon_ns is not None else driver.clock.now_ns()
        whole = from_s is None and to_s is None
        frame, totals, latencies, sketch = self._log.summary_parts(from_s, to_s, failed)
        waiting, oldest = self._waiting(horizon)
        tries = [a for a in engine.attempts if a.error]
        if not whole:
            waiting, oldest = (int(frame.backlog_rows.iloc[-1]) if len(frame) else 0), None
            chosen = set(frame.batch_id)
            tries = [a for a in tries if a.batch_id in chosen]
        facts = {
            "run_id": self.run_id,
            "triggers_missed": engine.timetable.missed_until(horizon)
            if driver.horizon_ns is not None
            else engine.timetable.missed,
            "duration_s": _length_s(frame, from_s, to_s, horizon),
            "horizon_s": horizon / NS,
            "backlog_rows": waiting,
            "oldest_backlog_age_s": (horizon - oldest) / NS if oldest is not None else float("nan"),
            "failures": len(tries),
        }
        return summarise(frame, totals, latencies, sketch, facts)

    def _waiting(self, horizon_ns: int) -> tuple[int, int | None]:
        """Return (rows with A < horizon that no batch took, arrival of the oldest)."""
        engine, failed = self._engine, self._engine.failed
        if not self._driver.idle:  # the feed belongs to the thread that turns the engine
            last = self._log.last()
            return (int(last["backlog_rows"]) if last else 0), None
        count = engine.feed.waiting(horizon_ns)
        oldest = engine.feed.oldest_waiting_ns(horizon_ns)
        if failed is not None and failed.arrival_ns is not None and len(failed.arrival_ns):
            count, oldest = count + len(failed.arrival_ns), int(failed.arrival_ns[0])
        return count, oldest

    def wait(self, timeout_s: float | None) -> bool:
        return self._driver.wait(timeout_s)

    def after(self, batch_id: int) -> dict[str, Any]:
        return self._log.after(batch_id, self._engine.failed)

    def share_over(self, latency_ns: int) -> float:
        return self._log.share_over(latency_ns)

    def how_far(self) -> HowFar:
        engine, horizon = self._engine, self._driver.horizon_ns
        now = horizon if horizon is not None else self._driver.clock.now_ns()
        return HowFar(now / NS, None if engine.duration_ns is None else engine.duration_ns / NS, engine.feed.taken)


def _length_s(frame: pd.DataFrame, from_s: float | None, to_s: float | None, horizon_ns: int) -> float:
    end = float(frame.end_s.max()) if len(frame) else 0.0
    length = max(horizon_ns / NS, end)
    if from_s is None and to_s is None:
        return length
    return max(0.0, min(length, to_s if to_s is not None else length) - max(0.0, from_s or 0.0))


class SavedFacts:
    """The figures of a run that `save` wrote."""

    status: RunStatus = "finished"
    error = None

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if about.get("format") != FORMAT:
            raise SettingError(
                f"{str(folder)!r} holds a run in format {about.get('format')!r}; this mblab reads format {FORMAT}."
            )
        self.run_id, self.name, self.status = about["run_id"], about["name"], about["status"]
        self._about = about
        self._frames = {
            n: pd.read_parquet(folder / f"{n}.parquet") for n in ("batches", "records", "output", "attempts")
        }

    def batches(self) -> pd.DataFrame:
        return self._frames["batches"]

    def records(self) -> pd.DataFrame:
        return self._frames["records"]

    def output(self) -> pd.DataFrame:
        return self._frames["output"]

    def attempts(self) -> pd.DataFrame:
        return self._frames["attempts"]

    def state(self) -> dict[str, Any]:
        return dict(self._about["state"])

    def controls(self) -> dict[str, dict[str, Any]]:
        return dict(self._about["controls"])

    def last(self) -> dict[str, Any] | None:
        rows = self._frames["batches"].tail(1).to_dict("records")
        return dict(rows[0]) if rows else None  # type: ignore[arg-type]

    def summary(self, from_s: float | None, to_s: float | None) -> pd.Series[Any]:
        whole = {k: float("nan") if v is None else v for k, v in self._about["summary"].items()}
        if from_s is None and to_s is None:
            return pd.Series(whole, name="summary", dtype=object)
        frame, records = self._frames["batches"], self._frames["records"]
        frame = frame[(frame.start_s >= (from_s or 0.0)) & (frame.start_s < (np.inf if to_s is None else to_s))]
        totals = Totals()
        totals.add({name: frame[name].to_numpy() for name in BATCH_COLUMNS})
        latencies = records.latency_s[records.batch_id.isin(frame.batch_id)].to_numpy()
        tries = self._frames["attempts"]
        facts = {
            "run_id": self.run_id,
            "triggers_missed": whole["triggers_missed"],
            "duration_s": _length_s(frame, from_s, to_s, round(whole["duration_s"] * NS)),
            "horizon_s": whole["duration_s"],
            "backlog_rows": int(frame.backlog_rows.iloc[-1]) if len(frame) else 0,
            "oldest_backlog_age_s": float("nan"),
            "failures": int(((tries.error != "") & tries.batch_id.isin(frame.batch_id)).sum()),
        }
        return summarise(frame, totals, latencies, None, facts)

    def wait(self, timeout_s: float | None) -> bool:  # noqa: ARG002
        return True

    def after(self, batch_id: int) -> dict[str, Any]:
        frame = self._frames["batches"]
        behind = frame[frame.batch_id > batch_id]
        return {name: behind[name].to_numpy() for name in BATCH_COLUMNS}

    def share_over(self, latency_ns: int) -> float:
        latency = self._frames["records"].latency_s
        return float((latency > latency_ns / NS).mean()) if len(latency) else float("nan")

    def how_far(self) -> HowFar:
        summary = self._about["summary"]
        return HowFar(summary["duration_s"], summary["duration_s"], int(summary["rows"]))


class Slowest(pd.DataFrame):
    """The records that took longest: a frame that shows itself as a waterfall of their four waits."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame  # a part of it is a plain frame

    def waterfall(self) -> Any:
        """Return the waits of each record as an Altair chart."""
        from mblab import charts

        return charts.waterfall_chart(pd.DataFrame(self))

    def _repr_html_(self) -> str:
        from mblab import charts

        return charts.html_fragment(self.waterfall()) + str(pd.DataFrame(self).to_html(index=False))


class Run:
    """One run of a lab: its figures so far, its output, its state.

    Frames are made when they are asked for; times in seconds of the run's clock.
    """

    def __init__(self, facts: _Facts, what_if: Callable[..., Any]) -> None:
        self._facts = facts
        self._what_if = what_if

    @property
    def run_id(self) -> str:
        """12 hex digits."""
        return self._facts.run_id

    @property
    def name(self) -> str:
        """The lab's name."""
        return self._facts.name

    @property
    def status(self) -> RunStatus:
        """created, running, paused, halted, stopping, stopped or finished."""
        return self._facts.status

    @property
    def error(self) -> BaseException | None:
        """What halted the run, or None."""
        return self._facts.error

    @property
    def batches(self) -> pd.DataFrame:
        """One row a batch, the newest 100 000 (`batches_limit=`).

        Columns: batch_id, attempt, version, num_input_rows, num_output_rows, backlog_rows (int64); status, policy,
        error (str); all others float64, those ending in `_s` in seconds of the run's clock. Latency columns of empty
        and failed batches are NaN.
        """
        return self._facts.batches()

    @property
    def records(self) -> pd.DataFrame:
        """One row a processed record, the newest million, in order of arrival.

        Columns: batch_id (int64); arrival_s, batching_wait_s, scheduling_wait_s, backlog_wait_s, processing_wait_s and
        latency_s (float64, seconds): the four waits sum to the latency.
        """
        return self._facts.records()

    @property
    def output(self) -> pd.DataFrame:
        """The last step's rows in batch order, `batch_id` first; the newest million rows (`output_limit=`)."""
        return self._facts.output()

    @property
    def state(self) -> dict[str, Any]:
        """A copy of what each step remembers: step's name → its state, or key → state of a keyed step."""
        return self._facts.state()

    @property
    def attempts(self) -> pd.DataFrame:
        """One row a try of a batch: batch_id, attempt (from 1), start_s, duration_s, error (empty on success)."""
        return self._facts.attempts()

    @property
    def controls(self) -> dict[str, dict[str, Any]]:
        """Knobs moved while it ran, in the form that `lab.run(controls=…)` takes."""
        return self._facts.controls()

    @property
    def last_progress(self) -> dict[str, Any] | None:
        """The newest row of `batches` as a dict, or None."""
        return self._facts.last()

    def summary(self, from_s: Duration | None = None, to_s: Duration | None = None) -> pd.Series[Any]:
        """Return the run in one column of figures.

        Args:
            from_s: Only batches with start ≥ this, in seconds of the run's clock.
            to_s: Only batches with start < this.
        """
        low = None if from_s is None else seconds(duration_ns(from_s, "from_s"))
        high = None if to_s is None else seconds(duration_ns(to_s, "to_s"))
        if low is not None and high is not None and low >= high:
            raise SettingError(f"from_s must be before to_s, got {shown(from_s)} and {shown(to_s)}.")
        return self._facts.summary(low, high)

    def batches_after(self, batch_id: int = -1) -> dict[str, Any]:
        """Return the batches behind one as arrays, under the names of `batches`: what a live display polls.

        A batch that failed and is still planned is the last of them; once it has succeeded it comes again.
        """
        return self._facts.after(batch_id)

    def share_over(self, latency: Duration) -> float:
        """Return the share of the records that took longer than `latency`, 0 to 1; NaN without records.

        Of the records that are held, the newest five million.
        """
        return self._facts.share_over(duration_ns(latency, "latency"))

    @property
    def how_far(self) -> HowFar:
        """Time on the run's clock, the length asked for, and the rows taken so far."""
        return self._facts.how_far()

    def wait(self, timeout: Duration | None = None) -> bool:
        """Wait until it has ended; return False when it halted or the time is up first."""
        return self._facts.wait(None if timeout is None else seconds(duration_ns(timeout, "timeout")))

    def what_if(self, interval: Any, *, policy: str | None = None, max_rows_per_batch: int | None = None) -> Any:
        """Return a `Curve`: this run's arrivals and costs, at another interval (or a list of them), without running.

        Args:
            interval: A duration, or a list of them.
            policy: asap, skip or queue; None keeps that of the newest batch.
            max_rows_per_batch: Cap, or None.
        """
        return self._what_if(self, interval, policy=policy, max_rows_per_batch=max_rows_per_batch)

    def slowest(self, n: int = 10) -> Slowest:
        """Return the n records that took longest, slowest first, with what each of their seconds was spent on.

        It is a DataFrame that shows itself as a waterfall of the four waits; `.waterfall()` returns that chart.

        Columns: those of `records`, and `blocked_by`: the batch that was running when the record could first have been
        taken (int64; -1 when it waited for nothing but the trigger), the culprit of its scheduling wait.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise SettingError(f"n must be a whole number of records, at least 1, got {shown(n)}.")
        worst = self.records.nlargest(n, "latency_s").reset_index(drop=True)
        batches = self.batches
        ready = (worst.arrival_s + worst.batching_wait_s).to_numpy()
        before = batches.start_s.searchsorted(ready, side="left") - 1
        running = (
            (before >= 0) & (batches.end_s.to_numpy()[np.maximum(before, 0)] > ready) if len(batches) else before >= 0
        )
        running &= worst.scheduling_wait_s.to_numpy() > 0
        blocked = np.where(running, batches.batch_id.to_numpy()[np.maximum(before, 0)] if len(batches) else -1, -1)
        return Slowest(worst.assign(blocked_by=blocked.astype(np.int64)))

    def plot(self) -> Any:
        """Return latency, batch size, throughput, backlog and load over time as an Altair chart."""
        from mblab import charts

        return charts.run_chart(self.batches, title=f"{self.name} · {self._headline()}")

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the run into a folder (Parquet and JSON, nothing pickled) that `mblab.load_run` reads.

        Raises:
            SettingError: The folder holds something else.
        """
        target = Path(folder)
        if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / "run.json").exists())):
            raise SettingError(
                f"save needs a new folder or one with an earlier run, but {str(target)!r} holds something else."
            )
        target.mkdir(parents=True, exist_ok=True)
        frames = {"batches": self.batches, "records": self.records, "output": self.output, "attempts": self.attempts}
        for name, frame in frames.items():
            frame.to_parquet(target / f"{name}.parquet", index=False)
        state, left_out = _json_states(self.state)
        summary = {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in self.summary().items()}
        about = {
            "format": FORMAT, "run_id": self.run_id, "name": self.name, "status": self.status, "summary": summary,
            "controls": self.controls, "state": state, "state_left_out": left_out,
        }  # fmt: skip
        partial = target / ".run.json.part"
        partial.write_text(json.dumps(about, indent=1, default=_plain), encoding="utf-8")
        partial.replace(target / "run.json")
        return target

    def _headline(self) -> str:
        s = self.summary()
        latency = f", latency p50 {format_s(s.latency_p50_s)}, p95 {format_s(s.latency_p95_s)}" if s.rows else ""
        return f"{s.rows:,} rows in {s.batches:,} batches{latency}, load {s.load:.2f}, {s.regime.replace('_', ' ')}"

    def __repr__(self) -> str:
        return f"Run({self.name} {self.run_id}, {self.status}: {self._headline()})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:  # noqa: ARG002
        from mblab import charts

        return charts.mimebundle(self.plot(), repr(self))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value).__name__)


def _json_states(states: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the states that JSON can hold, and the names of the steps whose state it cannot."""
    kept, left_out = {}, []
    for name, state in states.items():
        try:
            if not all(isinstance(k, str) for k in state):
                raise TypeError(name)
            kept[name] = json.loads(json.dumps(state, default=_plain))
        except (TypeError, ValueError):
            left_out.append(name)
    return kept, left_out


def read_run(folder: str | os.PathLike[str], what_if: Callable[..., Any]) -> Run:
    """Return a run that `run.save` wrote.

    Raises:
        SettingError: The folder holds no run, or one that cannot be read.
    """
    source = Path(folder)
    if not (source / "run.json").is_file():
        raise SettingError(f"load_run needs a folder that run.save() wrote, but {str(source)!r} holds no run.json.")
    try:
        return Run(SavedFacts(source), what_if)
    except MblabError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise SettingError(f"the run in {str(source)!r} cannot be read: {error}") from None

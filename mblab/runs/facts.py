"""Where a run's figures come from: the engine that turns it, or the folder it was saved into.

engine, metrics, provenance -> [facts] -> run
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from mblab.engine.driver import Driver
from mblab.engine.engine import Engine
from mblab.engine.records import Control, RunStatus
from mblab.errors import SettingError
from mblab.metrics import BATCH_COLUMNS, RunLog, Totals, summarise
from mblab.runs.provenance import provenance_of
from mblab.sinks.memory import MemorySink
from mblab.steps.state import savepoint
from mblab.timing.durations import NS, exact_text

__all__ = ["Facts", "HowFar", "LiveFacts", "SavedFacts", "write_run", "written_controls"]

FORMAT = 2
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


class Facts(Protocol):
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
    def provenance(self) -> dict[str, Any]: ...
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

    def provenance(self) -> dict[str, Any]:
        return provenance_of(self._driver)

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
        engine = self._engine
        if not self._driver.idle:  # the feed belongs to the thread that turns the engine
            last = self._log.last()
            return (int(last["backlog_rows"]) if last else 0), None
        count, oldest = engine.feed.left(horizon_ns)
        planned = engine.planned_arrivals  # cut, but failed or aborted
        if len(planned):
            count, oldest = count + len(planned), int(planned[0])
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


class SavedPilot(NamedTuple):
    """What an autopilot decided in a run that `save` wrote.

    Attributes:
        decisions: As in `run.decisions`.
        latency_s: The tightest latency that was to be kept, or None.
    """

    decisions: pd.DataFrame
    latency_s: float | None


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
        self._about, self._folder = about, folder
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

    def provenance(self) -> dict[str, Any]:
        return dict(self._about["provenance"])

    def pilot(self) -> SavedPilot | None:
        """Return what moved the run's interval, None where nothing did."""
        about = self._about.get("pilot")
        if about is None:
            return None
        return SavedPilot(pd.read_parquet(self._folder / "decisions.parquet"), about["latency_s"])

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


def write_run(
    target: Path, frames: Mapping[str, pd.DataFrame], about: Mapping[str, Any], figures: pd.Series[Any],
    states: Mapping[str, Any],
) -> Path:  # fmt: skip
    """Write a run into a folder that `SavedFacts` reads.

    Raises:
        SettingError: The folder holds something else.
    """
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / "run.json").exists())):
        raise SettingError(
            f"save needs a new folder or one with an earlier run, but {str(target)!r} holds something else."
        )
    target.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        frame.to_parquet(target / f"{name}.parquet", index=False)
    state, left_out = _json_states(states)
    summary = {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in figures.items()}
    whole = {"format": FORMAT, **about, "summary": summary, "state": state, "state_left_out": left_out}
    partial = target / ".run.json.part"
    partial.write_text(json.dumps(whole, indent=1, default=_plain), encoding="utf-8")
    partial.replace(target / "run.json")
    return target


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

"""A run on disk: written into a folder as Parquet and JSON, and read again.

view -> [saved] -> folder -> [saved] -> view -> run
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.engine.records import RunStatus
from mblab.errors import SettingError
from mblab.metrics import BATCH_COLUMNS, Totals
from mblab.runs.view import HowFar, Measured, RunView, Standing
from mblab.support.files import write_whole
from mblab.tables.values import as_python
from mblab.timing.durations import NS

__all__ = ["Pilot", "SavedPilot", "SavedRun", "write_run"]

FORMAT: Final = 4
FRAMES: Final = ("batches", "records", "output", "attempts", "waiting")


class Pilot(Protocol):
    """What moved a run's interval, as far as a run knows it."""

    @property
    def decisions(self) -> pd.DataFrame: ...
    @property
    def latency_s(self) -> float | None: ...


class SavedPilot(NamedTuple):
    """What an autopilot decided in a run that `save` wrote.

    Attributes:
        decisions: As in `run.decisions`.
        latency_s: The tightest latency that was to be kept, or None.
    """

    decisions: pd.DataFrame
    latency_s: float | None


class SavedRun:
    """A run that `write_run` wrote, as a `RunView`; it has ended, and the summary is the one it ended with.

    Raises:
        SettingError: The folder was written by another version of mblab.
    """

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
        self._frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in FRAMES}
        self._summary = _with_nan(about["summary"])
        self._standing = Standing(**_with_nan(about["standing"]))

    def batches(self) -> pd.DataFrame:
        return self._frames["batches"]

    def records(self) -> pd.DataFrame:
        return self._frames["records"]

    def output(self) -> pd.DataFrame:
        return self._frames["output"]

    def attempts(self) -> pd.DataFrame:
        return self._frames["attempts"]

    def failures(self) -> Sequence[int]:
        tries = self._frames["attempts"]
        return tries.batch_id[tries.error != ""].tolist()

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

    def after(self, batch_id: int) -> dict[str, Any]:
        frame = self._frames["batches"]
        behind = frame[frame.batch_id > batch_id]
        return {name: behind[name].to_numpy() for name in BATCH_COLUMNS}

    def share_over(self, latency_ns: int) -> float:
        latency = self._frames["records"].latency_s
        return float((latency > latency_ns / NS).mean()) if len(latency) else float("nan")

    def summary(self) -> pd.Series[Any]:
        return pd.Series(self._summary, name="summary", dtype=object)

    def measured(self, from_s: float | None, to_s: float | None) -> Measured:
        batches, records = self._frames["batches"], self._frames["records"]
        low, high = from_s or 0.0, np.inf if to_s is None else to_s
        batches = batches[(batches.start_s >= low) & (batches.start_s < high)]
        totals = Totals()
        totals.add({name: batches[name].to_numpy() for name in BATCH_COLUMNS})
        return Measured(batches, totals, records.latency_s[records.batch_id.isin(batches.batch_id)].to_numpy())

    def standing(self) -> Standing:
        return self._standing

    def waiting(self) -> npt.NDArray[np.float64]:
        return self._frames["waiting"].arrival_s.to_numpy()

    def how_far(self) -> HowFar:
        length = self._summary["duration_s"]
        return HowFar(length, length, int(self._summary["rows"]))

    def wait(self, timeout_s: float | None) -> bool:  # noqa: ARG002
        return True


def write_run(view: RunView, pilot: Pilot | None, target: Path) -> Path:
    """Write a run into a folder that `SavedRun` reads.

    Args:
        view: The run; one that is on is written as far as it is.
        pilot: What moved its interval, or None.
        target: A new folder, or one with an earlier run.

    Raises:
        SettingError: The folder holds something else.
    """
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / "run.json").exists())):
        raise SettingError(
            f"save needs a new folder or one with an earlier run, but {str(target)!r} holds something else."
        )
    target.mkdir(parents=True, exist_ok=True)
    frames = {"batches": view.batches(), "records": view.records(), "output": view.output()}
    frames |= {"attempts": view.attempts(), "waiting": pd.DataFrame({"arrival_s": view.waiting()})}
    frames |= {} if pilot is None else {"decisions": pilot.decisions}
    for name, frame in frames.items():
        frame.to_parquet(target / f"{name}.parquet", index=False)
    write_whole(target / "run.json", json.dumps(_about(view, pilot), indent=1, default=_plain).encode())
    return target


def _about(view: RunView, pilot: Pilot | None) -> dict[str, Any]:
    """Return what `run.json` holds: all of a run that is no frame."""
    state, left_out = _json_states(view.state())
    return {
        "format": FORMAT, "run_id": view.run_id, "name": view.name, "status": view.status, "controls": view.controls(),
        **({} if pilot is None else {"pilot": {"latency_s": pilot.latency_s}}),
        "provenance": view.provenance(), "summary": _without_nan(view.summary()),
        "standing": _without_nan(asdict(view.standing())), "state": state, "state_left_out": left_out,
    }  # fmt: skip


def _without_nan(figures: Mapping[str, Any] | pd.Series[Any]) -> dict[str, Any]:
    """Return figures with None for NaN, which JSON does not know."""
    return {str(k): None if isinstance(v, float) and np.isnan(v) else v for k, v in figures.items()}


def _with_nan(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {k: float("nan") if v is None else v for k, v in figures.items()}


def _plain(value: object) -> object:
    """Return a scalar of NumPy's as Python's own, and refuse what else JSON does not know."""
    plain: object = as_python(value)
    if plain is value:
        raise TypeError(type(value).__name__)
    return plain


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

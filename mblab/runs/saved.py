"""A run on disk: written into a folder as Parquet and JSON, and read again.

view -> [saved] -> folder -> [saved] -> view -> run
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.engine.records import RunStatus
from mblab.errors import SettingError
from mblab.metrics import BATCH_COLUMNS, totals_between
from mblab.runs.shape import wrong_about, wrong_frame, wrong_together
from mblab.runs.stored import read_frame, write_frame
from mblab.runs.view import HowFar, Measured, RunView, Standing
from mblab.support import jupyter
from mblab.support.files import beside, write_whole
from mblab.tables.exact import Unholdable, decode, exact_json
from mblab.tables.values import as_python
from mblab.timing.durations import NS

__all__ = ["Pilot", "SavedPilot", "SavedRun", "write_run"]

FORMAT: Final = 5
OF_RUN: Final = ("batches", "records", "output", "attempts", "waiting")
OURS: Final = frozenset({"run.json", "decisions.parquet", *(f"{name}.parquet" for name in OF_RUN)})


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
        SettingError: The folder was written by another version of mblab, or is damaged; the message says where.
    """

    status: RunStatus = "finished"
    error = None

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            found = about.get("format") if isinstance(about, dict) else type(about).__name__
            raise SettingError(f"{str(folder)!r} holds a run in format {found!r}; this mblab reads format {FORMAT}.")
        if wrong := wrong_about(about):
            raise SettingError(f"the run in {str(folder)!r} cannot be read: {wrong}.")
        self.run_id, self.name, self.status = about["run_id"], about["name"], about["status"]
        self._about, self._pilot = about, None
        self._frames = {name: _read(folder, name) for name in OF_RUN}
        if wrong := wrong_together(about, self._frames):
            raise SettingError(f"the run in {str(folder)!r} cannot be read: {wrong}.")
        if about.get("pilot") is not None:
            self._pilot = SavedPilot(_read(folder, "decisions"), about["pilot"]["latency_s"])
        self._state = _states_of(about["state"], folder)
        self._summary = _with_nan(about["summary"])
        self._standing = Standing(**_with_nan({name: about["standing"][name] for name in Standing.__slots__}))

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
        return copy.deepcopy(self._state)

    def controls(self) -> dict[str, dict[str, Any]]:
        return dict(self._about["controls"])

    def provenance(self) -> dict[str, Any]:
        return dict(self._about["provenance"])

    def pilot(self) -> SavedPilot | None:
        """Return what moved the run's interval, None where nothing did."""
        return self._pilot

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
        batches, totals = totals_between(batches, low, high)
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
    """Write a run into a folder that `SavedRun` reads: all of it, or nothing.

    Args:
        view: The run; one that is on is written as far as it is.
        pilot: What moved its interval, or None.
        target: A new folder, or one with an earlier run; what else stands in that one stays.

    Raises:
        SettingError: The folder holds something else, cannot be written, or a column holds what no file can give back.
    """
    if target.exists() and not _holds_a_run(target):
        raise SettingError(
            f"save needs a new folder or one with an earlier run, but {str(target)!r} holds something else."
        )
    about = json.dumps(_about(view, pilot), indent=1, default=_plain).encode()  # first: a run that is on goes on
    frames = {"batches": view.batches(), "records": view.records(), "output": view.output()}
    frames |= {"attempts": view.attempts(), "waiting": pd.DataFrame({"arrival_s": view.waiting()})}
    frames |= {} if pilot is None else {"decisions": pilot.decisions}
    aside = beside(target)
    try:
        aside.mkdir(parents=True)
        for name, frame in frames.items():
            write_frame(name, frame, aside / f"{name}.parquet")
        write_whole(aside / "run.json", about)
        _put_in_place(aside, target)
    except OSError as error:
        raise SettingError(f"{str(target)!r} cannot be written: {error.strerror}; choose another folder.") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _holds_a_run(folder: Path) -> bool:
    """Return whether a folder is empty, or holds a run that we wrote."""
    if not folder.is_dir():
        return False
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return not any(folder.iterdir())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(about, dict) and {"format", "run_id", "summary"} <= about.keys()


def _put_in_place(aside: Path, target: Path) -> None:
    """Let a folder take the place of another, whose files that are not ours move along."""
    if not target.exists():
        aside.replace(target)
        return
    before = beside(target)
    target.replace(before)
    try:
        aside.replace(target)
    except OSError:
        before.replace(target)
        raise
    for other in [*before.iterdir()]:
        if other.name not in OURS:
            other.replace(target / other.name)
    shutil.rmtree(before, ignore_errors=True)


def _read(folder: Path, name: str) -> pd.DataFrame:
    """Return a frame of a saved run, looked at."""
    try:
        frame = read_frame(folder / f"{name}.parquet")
    except Exception as error:  # Arrow's, and what damaged notes lead to
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SettingError(
            f"the run in {str(folder)!r} cannot be read: its {name}.parquet is damaged ({said})."
        ) from None
    if wrong := wrong_frame(name, frame):
        raise SettingError(f"the run in {str(folder)!r} cannot be read: {wrong}.")
    return frame


def _about(view: RunView, pilot: Pilot | None) -> dict[str, Any]:
    """Return what `run.json` holds: all of a run that is no frame."""
    state, left_out = _json_states(view.state())
    for name, what in left_out.items():
        jupyter.say(
            f"mblab: the saved run lacks the state of step {name!r}, which holds {what}; keep plain values, arrays or "
            "frames in it to have it saved."
        )
    return {
        "format": FORMAT, "run_id": view.run_id, "name": view.name, "status": view.status, "controls": view.controls(),
        **({} if pilot is None else {"pilot": {"latency_s": pilot.latency_s}}),
        "provenance": view.provenance(), "summary": _without_nan(view.summary()),
        "standing": _without_nan(asdict(view.standing())), "state": state, "state_left_out": sorted(left_out),
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


def _states_of(codes: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the states that `_json_states` wrote."""
    try:
        return {name: decode(code) for name, code in codes.items()}
    except Exception as error:  # what damaged codes lead to
        raise SettingError(f"the run in {str(folder)!r} cannot be read: its state is damaged ({error}).") from None


def _json_states(states: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the states as JSON from which they come back, and of those that do not what they hold."""
    kept, left_out = {}, {}
    for name, state in states.items():
        try:
            kept[name] = json.loads(exact_json(state))
        except Unholdable as what:
            left_out[name] = str(what)
    return kept, left_out

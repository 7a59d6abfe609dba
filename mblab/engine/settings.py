"""What may be set on a lab, checked before anything moves: the knobs, scripted changes, clocks.

what a cell typed -> [knobs] -> lab
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mblab.engine.pipeline import Settings, check_speedup
from mblab.engine.records import Control
from mblab.errors import SettingError, SettingTypeError, did_you_mean, shown
from mblab.timing.clock import Clock, VirtualClock, WallClock
from mblab.timing.durations import duration_ns, interval_ns
from mblab.timing.schedule import check_cap, check_policy

__all__ = ["checked_change", "checked_controls", "clock_of", "settings_after", "whole_number"]

KNOBS: Final = ("interval", "policy", "max_rows_per_batch", "speedup")


def whole_number(value: object, knob: str) -> int:
    """Return a whole number of at least 1, or raise `SettingError`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SettingTypeError(f"{knob} must be a whole number, got {shown(value)}.")
    if value < 1:
        raise SettingError(f"{knob} must be at least 1, got {value}.")
    return value


def clock_of(clock: object) -> Clock:
    """Return the clock that `wall`, `virtual` or an object stands for."""
    if isinstance(clock, str):
        if clock not in ("wall", "virtual"):
            raise SettingError(
                f"clock must be 'wall' or 'virtual', got {shown(clock)}{did_you_mean(clock, ('wall', 'virtual'))}"
            )
        return WallClock() if clock == "wall" else VirtualClock()
    if not hasattr(clock, "wait_until"):
        raise SettingTypeError(f"clock must be 'wall', 'virtual' or a clock, got {shown(clock)}.")
    return clock  # type: ignore[return-value]


def checked_change(knobs: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return knobs in the engine's units, checked together against the settings they would leave."""
    if not isinstance(knobs, Mapping):
        raise SettingTypeError(f"a change must be a dict of knobs such as {{'interval': '500ms'}}, got {shown(knobs)}.")
    unknown = [k for k in knobs if k not in KNOBS]
    if unknown:
        raise SettingError(f"{shown(unknown[0])} is no knob; there are {list(KNOBS)}{did_you_mean(unknown[0], KNOBS)}")
    change: dict[str, Any] = {}
    if "interval" in knobs:
        change["interval_ns"] = interval_ns(knobs["interval"])
    policy = settings.policy
    if "policy" in knobs:
        policy = change["policy"] = check_policy(knobs["policy"])
    cap = knobs.get("max_rows_per_batch", settings.max_rows_per_batch)
    checked = check_cap(cap, policy)
    if "max_rows_per_batch" in knobs:
        change["max_rows_per_batch"] = checked
    if "speedup" in knobs:
        change["speedup"] = check_speedup(knobs["speedup"])
    return change


def settings_after(settings: Settings, change: Mapping[str, Any]) -> Settings:
    """Return the settings that a change in the engine's units leaves."""
    return replace(settings, **change)


def checked_controls(controls: object, settings: Settings) -> tuple[Control, ...]:
    """Return scripted changes in order of time, each checked against the settings the ones before it leave."""
    if controls is None:
        return ()
    if not isinstance(controls, Mapping):
        raise SettingTypeError(
            f"controls must be a dict such as {{'20s': {{'interval': '500ms'}}}}, got {shown(controls)}."
        )
    timed = sorted(((duration_ns(at, "controls"), knobs) for at, knobs in controls.items()), key=lambda pair: pair[0])
    checked = []
    for at, knobs in timed:
        change = checked_change(knobs, settings)
        settings = settings_after(settings, change)
        checked.append(Control(at, change))
    return tuple(checked)

"""What may be set on a lab, checked before anything moves: settings, the knobs among them, scripted changes, clocks.

The knobs are held once, in `CurrentSettings`: the lab shows what the run that is on goes by from its next boundary on.
Each value of a change is checked when it is typed, and all together when the change is accepted, against what it would
leave.

    what a cell typed -> [settings] -> pipeline, lab, engine
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypedDict

from mblab.engine import forks
from mblab.errors import SettingError, SettingTypeError, did_you_mean, shown
from mblab.support import arguments
from mblab.timing.clock import Clock, VirtualClock, WallClock
from mblab.timing.durations import Duration, duration_ns, interval_ns
from mblab.timing.policies import POLICIES, RULES, Policy

__all__ = [
    "KNOBS", "ON_ERROR", "Change", "Control", "CurrentSettings", "OnError", "Settings", "change_between",
    "check_cap", "check_policy", "check_speedup", "checked_change", "checked_controls", "clock_of",
]  # fmt: skip

OnError = Literal["halt"]
ON_ERROR: Final[tuple[OnError, ...]] = ("halt",)
KNOBS: Final = ("interval", "policy", "max_rows_per_batch", "speedup")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a pipeline is run with.

    Attributes:
        interval_ns: Time between two triggers, in nanoseconds of the run's clock.
        policy: What an overrun does: asap, skip or queue.
        max_rows_per_batch: Cap on a batch's rows, or None.
        name: The lab's name.
        on_error: What a failing step does: "halt".
        run_empty: Whether steps are called for a batch with no rows.
        speedup: Source seconds in one second of the run; None leaves it to the source.
    """

    interval_ns: int
    policy: Policy = "asap"
    max_rows_per_batch: int | None = None
    name: str = "lab"
    on_error: OnError = "halt"
    run_empty: bool = False
    speedup: float | None = None

    def __post_init__(self) -> None:
        check_policy(self.policy)
        check_cap(self.max_rows_per_batch, self.policy)
        arguments.name(self.name, hint="; it is what a re-created lab is recognised by")
        arguments.one_of(self.on_error, "on_error", ON_ERROR)
        arguments.flag(self.run_empty, "run_empty")
        if self.speedup is not None:
            check_speedup(self.speedup)


class Change(TypedDict, total=False):
    """Knobs that move at the same moment, checked and in the engine's units; those that are left out stay."""

    interval_ns: int
    policy: Policy
    max_rows_per_batch: int | None
    speedup: float


@dataclass(frozen=True, slots=True)
class Control:
    """A change of knobs on a run's clock.

    Attributes:
        at_ns: When.
        change: What moves.
    """

    at_ns: int
    change: Change


class CurrentSettings:
    """The settings as they stand, held once for a lab and the run that is on; any thread may move them.

    Attributes:
        settings: What the run goes by from its next boundary on.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._renew()
        forks.in_child(self, CurrentSettings._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def move(self, change: Change) -> None:
        """Move some knobs.

        Raises:
            SettingError: What the change would leave breaks a rule; nothing has moved.
        """
        with self._lock:
            self.settings = replace(self.settings, **change)


def change_between(before: Settings, after: Settings) -> Change:
    """Return the change of knobs that leads from one to the other.

    >>> change_between(Settings(5, "skip"), Settings(7, "skip"))
    {'interval_ns': 7}
    """
    change: Change = {}
    if after.interval_ns != before.interval_ns:
        change["interval_ns"] = after.interval_ns
    if after.policy != before.policy:
        change["policy"] = after.policy
    if after.max_rows_per_batch != before.max_rows_per_batch:
        change["max_rows_per_batch"] = after.max_rows_per_batch
    if after.speedup is not None and after.speedup != before.speedup:
        change["speedup"] = after.speedup
    return change


def check_policy(value: str) -> Policy:
    """Return the policy, or raise `SettingError`.

    >>> check_policy("asap")
    'asap'
    """
    return arguments.one_of(value, "policy", POLICIES)


def check_cap(value: int | None, policy: Policy = "asap") -> int | None:
    """Return `max_rows_per_batch`, or raise `SettingError`, also where the policy gives each trigger its own rows."""
    if value is None:
        return None
    cap = arguments.whole(value, "max_rows_per_batch", least=1, of="rows", hint="; None means no cap")
    if not RULES[policy].caps:
        raise SettingError(
            f"policy={policy!r} gives each trigger exactly its own rows, so max_rows_per_batch={cap} cannot hold; "
            "use policy='asap' or set max_rows_per_batch=None in the same change."
        )
    return cap


def check_speedup(value: float) -> float:
    """Return a speed-up as a float, or raise `SettingError`."""
    return arguments.number(value, "speedup", hint="; 60 plays an hour in a minute")


def checked_change(knobs: Mapping[str, Any]) -> Change:
    """Return knobs in the engine's units, each checked on its own.

    >>> checked_change({"interval": "500ms", "max_rows_per_batch": None})
    {'interval_ns': 500000000, 'max_rows_per_batch': None}
    """
    if not isinstance(knobs, Mapping):
        raise SettingTypeError(f"a change must be a dict of knobs such as {{'interval': '500ms'}}, got {shown(knobs)}.")
    unknown = [k for k in knobs if k not in KNOBS]
    if unknown:
        raise SettingError(f"{shown(unknown[0])} is no knob; there are {list(KNOBS)}{did_you_mean(unknown[0], KNOBS)}")
    change: Change = {}
    if "interval" in knobs:
        change["interval_ns"] = interval_ns(knobs["interval"])
    if "policy" in knobs:
        change["policy"] = check_policy(knobs["policy"])
    if "max_rows_per_batch" in knobs:
        change["max_rows_per_batch"] = check_cap(knobs["max_rows_per_batch"])
    if "speedup" in knobs:
        change["speedup"] = check_speedup(knobs["speedup"])
    return change


def checked_controls(controls: Mapping[Duration, Mapping[str, Any]] | None, settings: Settings) -> tuple[Control, ...]:
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
        change = checked_change(knobs)
        settings = replace(settings, **change)
        checked.append(Control(at, change))
    return tuple(checked)


def clock_of(clock: str | Clock, *, measures: bool) -> Clock:
    """Return the clock that `wall`, `virtual` or an object stands for.

    Args:
        clock: A name, or a clock.
        measures: Whether a batch takes what is measured; False where it is declared.
    """
    if isinstance(clock, str):
        clock = WallClock() if arguments.one_of(clock, "clock", ("wall", "virtual")) == "wall" else VirtualClock()
    elif not hasattr(clock, "wait_until"):
        raise SettingTypeError(f"clock must be 'wall', 'virtual' or a clock, got {shown(clock)}.")
    if isinstance(clock, VirtualClock):
        clock.measures = measures
    return clock

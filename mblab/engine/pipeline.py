"""The recipe: source, steps, sinks and settings, frozen.

Engine, tuner, export and Spark all take this and nothing else; `Lab` is the hand that changes it.

    source, steps, sinks -> [pipeline] -> engine, export
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Final, Literal

from mblab.errors import SettingError, SettingTypeError, did_you_mean, shown
from mblab.sinks.base import Sink
from mblab.sources.base import Source
from mblab.steps.step import Step
from mblab.timing.schedule import Policy, check_cap, check_policy

__all__ = ["ON_ERROR", "OnError", "Pipeline", "Settings", "check_speedup"]

OnError = Literal["halt"]
ON_ERROR: Final[tuple[str, ...]] = ("halt",)


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
        if not isinstance(self.name, str):
            raise SettingTypeError(f"name must be a string, got {shown(self.name)}.")
        if not self.name.strip():
            raise SettingError("name must not be empty; it is what a re-created lab is recognised by.")
        if not isinstance(self.on_error, str):
            raise SettingTypeError(f"on_error must be 'halt', got {shown(self.on_error)}.")
        if self.on_error not in ON_ERROR:
            raise SettingError(
                f"on_error must be 'halt', got {shown(self.on_error)}{did_you_mean(self.on_error, ON_ERROR)}"
            )
        if not isinstance(self.run_empty, bool):
            raise SettingTypeError(f"run_empty must be True or False, got {shown(self.run_empty)}.")
        if self.speedup is not None:
            check_speedup(self.speedup)


def check_speedup(value: object) -> float:
    """Return a speed-up as a float, or raise `SettingError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise SettingTypeError(f"speedup must be a number, got {shown(value)}.")
    number = float(value)
    if not math.isfinite(number) or number <= 0:
        raise SettingError(
            f"speedup must be a finite number above 0, got {shown(value)}; 60 plays an hour in a minute."
        )
    return number


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything that says what is computed; nothing of how far it has come.

    Attributes:
        source: Where rows come from.
        steps: The functions, in order.
        sinks: Where the last step's rows go.
        settings: Interval, policy and the like.
        version: 1 + how often a step was replaced.
    """

    source: Source
    steps: tuple[Step, ...]
    sinks: tuple[Sink, ...]
    settings: Settings
    version: int = 1

"""What is laid over a file's own runs from outside, without a change to the file: `mblab run x.py --interval 2s`.

terminal -> [overrides] -> lab.run, lab.start
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Overrides", "StoppedHere", "begin", "lay", "lift"]


class StoppedHere(BaseException):  # no Exception: a file's own `except Exception` must not go on after it
    """The file has reached its first run, and what was wanted of it has been done."""


@dataclass(slots=True)
class Overrides:
    """What holds for every run that begins from now on.

    Attributes:
        knobs: Interval, policy, max_rows_per_batch and speedup that win over the lab's.
        duration: Wins over the one given to `run`; None leaves it.
        clock: Wins over the one given to `run`; None leaves it. On the wall a declared cost is left out.
        effects: Whether sinks take part.
        instead: Called with the lab, and with the duration, clock and cost of its first run, in that run's place; this
            ends the file.
        begun: The labs whose runs were begun, each once, in order.
    """

    knobs: Mapping[str, Any] = field(default_factory=dict)
    duration: Any = None
    clock: str | None = None
    effects: bool = True
    instead: Callable[[Any, Any, Any, Any], None] | None = None
    begun: list[Any] = field(default_factory=list)


_laid: Overrides | None = None


def lay(overrides: Overrides) -> None:
    """Let these hold for every run of this process that begins from now on."""
    global _laid  # noqa: PLW0603
    _laid = overrides


def lift() -> None:
    """Let runs begin as their code says again."""
    global _laid  # noqa: PLW0603
    _laid = None


def begin(lab: Any, duration: Any, clock: Any, cost: Any) -> tuple[Any, Any, Any, bool]:
    """Return (duration, clock, cost, effects) of a run that begins; knobs are moved on the lab itself.

    Raises:
        StoppedHere: Something else was done instead.
    """
    laid = _laid
    if laid is None:
        return duration, clock, cost, True
    if laid.knobs:
        lab.change(**laid.knobs)
    if laid.instead is not None:
        laid.instead(lab, duration, clock, cost)
        raise StoppedHere
    if all(lab is not known for known in laid.begun):
        laid.begun.append(lab)
    if laid.clock == "wall":
        cost = None
    return laid.duration if laid.duration is not None else duration, laid.clock or clock, cost, laid.effects

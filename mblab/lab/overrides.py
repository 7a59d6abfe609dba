"""What is put over a file's own runs from outside, without a change to the file: `mblab run x.py --interval 2s`.

terminal -> [overrides] -> lab.run, lab.start
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from mblab.lab.control import ClockName, Knobs, RunRequest
from mblab.lab.lab import Lab
from mblab.timing.durations import Duration

__all__ = ["Overrides", "StoppedHere", "apply", "clear", "overriding"]


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
        instead: Called with the lab and the request of its first run, in that run's place; this ends the file.
        begun: The labs whose runs were begun, each once, in order.
    """

    knobs: Knobs = field(default_factory=Knobs)
    duration: Duration | None = None
    clock: ClockName | None = None
    effects: bool = True
    instead: Callable[[Lab, RunRequest], None] | None = None
    begun: list[Lab] = field(default_factory=list)

    def request(self, lab: Lab, asked: RunRequest) -> RunRequest:
        """Return how a run begins that was asked for otherwise; knobs are moved on the lab itself.

        Raises:
            StoppedHere: Something else was done instead.
        """
        if self.knobs:
            lab.change(**self.knobs)
        if self.instead is not None:
            self.instead(lab, asked)
            raise StoppedHere
        if all(lab is not known for known in self.begun):
            self.begun.append(lab)
        return replace(
            asked,
            duration=asked.duration if self.duration is None else self.duration,
            clock=self.clock or asked.clock,
            cost=None if self.clock == "wall" else asked.cost,
            effects=self.effects,
        )


@contextlib.contextmanager
def overriding(overrides: Overrides) -> Iterator[Overrides]:
    """Let overrides hold for the runs that begin in a block."""
    apply(overrides)
    try:
        yield overrides
    finally:
        clear()


def apply(overrides: Overrides) -> None:
    """Let overrides hold until `clear`: for a notebook, whose cells are no block."""
    Lab._request_hook = overrides.request


def clear() -> None:
    """Let runs begin as their code says again."""
    Lab._request_hook = None

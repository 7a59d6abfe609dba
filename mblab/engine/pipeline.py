"""The recipe: source, steps, sinks and settings, frozen.

Engine, tuner, export and Spark all take this and nothing else; `Lab` is the hand that changes it.

    source, steps, sinks, settings -> [pipeline] -> engine, export
"""

from __future__ import annotations

from dataclasses import dataclass

from mblab.engine.settings import Settings
from mblab.sinks.base import Sink
from mblab.sources.base import Source
from mblab.steps.step import Step

__all__ = ["Pipeline"]


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

"""Rows with arrival times: a real data set, or made-up rows, what goes wrong on the way, and streams under way.

A live source is a file of `live/` with a function of the file's own name, which makes it; so a new kind is one file,
loaded when it is first asked for.

arrivals -> [sources] -> feed -> engine
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from mblab.sources import live
from mblab.sources.base import Block, Exportable, Source
from mblab.sources.csv import csv
from mblab.sources.live.base import Live
from mblab.sources.replay import SourceWarning, replay
from mblab.sources.simulate import simulate

if TYPE_CHECKING:  # what editors and type checkers know without running this
    from mblab.sources.live.poll import poll as poll
    from mblab.sources.live.watch import watch as watch

KINDS = sorted(file.name for file in pkgutil.iter_modules(live.__path__) if file.name != "base")
__all__ = ["Block", "Exportable", "Live", "Source", "SourceWarning", "csv", "replay", "simulate", *KINDS]  # noqa: PLE0604 - names are strings


def __getattr__(name: str) -> Any:
    if name not in KINDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.live.{name}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers

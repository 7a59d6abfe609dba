"""Where results go.

A sink gets the last step's rows of every batch: `lab.to(mblab.sinks.parquet("out/"))`. Each kind is a file of this
folder with a function of the file's own name, which makes it; so a new kind is one new file, and imports what is heavy
inside its functions.

    engine -> [sinks] -> memory, a file, a folder, a database, a function
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from mblab.sinks.base import Delivery, Sink

if TYPE_CHECKING:  # what editors and type checkers know without running this
    from mblab.sinks.call import call as call
    from mblab.sinks.csv import csv as csv
    from mblab.sinks.jsonl import jsonl as jsonl
    from mblab.sinks.memory import memory as memory
    from mblab.sinks.parquet import parquet as parquet
    from mblab.sinks.sqlite import sqlite as sqlite


def _kinds() -> dict[str, Callable[..., Sink]]:
    """Return the functions that make sinks, by name: those that stand in a file of the same name."""
    names = sorted(file.name for file in pkgutil.iter_modules(__path__))
    found = {name: getattr(importlib.import_module(f"{__name__}.{name}"), name, None) for name in names}
    return {name: make for name, make in found.items() if make is not None}


KINDS = _kinds()
__all__ = ["Delivery", "Sink", *KINDS]  # noqa: PLE0604 - names are strings
globals().update(KINDS)  # after the last import, for an import gives the file itself the name


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers

"""Who wants to hear of every batch: functions of the user's, and shadows.

They are called in the thread that turns the run, after the batch is delivered and before the next one, so what they
read stands still. One that raises is logged and called again next time; the run goes on.

    driver -> [listeners] -> the user's function
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from mblab.engine.engine import Engine
from mblab.engine.records import BatchRecord
from mblab.errors import SettingTypeError, shown

__all__ = ["Listeners", "Row", "Watcher"]

Row = dict[str, Any]  # of `run.batches`
logger = logging.getLogger("mblab")


class Watcher(Protocol):
    """Something of the lab's own that hears of every batch."""

    def __call__(self, engine: Engine, record: BatchRecord) -> None:
        """Take a batch's record."""
        ...

    def rests(self, engine: Engine) -> bool:
        """Return whether more batches like the last one, without rows and an interval later, would change nothing."""
        ...

    def slept(self, engine: Engine, last: BatchRecord) -> None:
        """Take the last of many such batches, of which it was not told."""
        ...


class Listeners:
    """The functions to call after each batch of a lab's runs, by name."""

    def __init__(self) -> None:
        self._functions: dict[Hashable, Callable[[Row], object]] = {}
        self._watchers: tuple[Watcher, ...] = ()

    def add(self, fn: Callable[[Row], object]) -> None:
        """Take a function of a batch's figures; a namesake is replaced, so a cell that is run again adds nothing."""
        if not callable(fn):
            raise SettingTypeError(f"on_batch needs a function of a batch's figures, got {shown(fn)}.")
        name = getattr(fn, "__name__", "<lambda>")
        self._functions = {**self._functions, (fn if name == "<lambda>" else name): fn}

    def remove(self, name: str) -> bool:
        """Drop the function of a name; return whether it was there."""
        there = name in self._functions
        self._functions = {k: fn for k, fn in self._functions.items() if k != name}
        return there

    def watch(self, watcher: Watcher) -> None:
        """Call a watcher with the engine and the record of each batch."""
        self._watchers = (*self._watchers, watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Stop calling it."""
        self._watchers = tuple(w for w in self._watchers if w != watcher)

    def rest(self, engine: Engine) -> bool:
        """Return whether nobody need hear of the batches without rows that follow one."""
        return not self._functions and all(watcher.rests(engine) for watcher in self._watchers)

    def slept(self, engine: Engine, last: BatchRecord) -> None:
        """Tell of the last of many batches without rows that nobody heard of."""
        for watcher in self._watchers:
            watcher.slept(engine, last)

    def call(self, engine: Engine, record: BatchRecord, progress: Callable[[], Row | None]) -> None:
        """Call everyone.

        Args:
            engine: What ran the batch.
            record: What it cost.
            progress: Returns them as a row of `run.batches`; made only if a function wants it.
        """
        for watcher in self._watchers:
            watcher(engine, record)
        if not self._functions:
            return
        row = progress() or {}
        for fn in list(self._functions.values()):
            try:
                fn(dict(row))
            except Exception:
                logger.exception("on_batch: %s failed on batch %d", getattr(fn, "__name__", fn), record.batch_id)

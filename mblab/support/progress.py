"""How far a run is, for people who wait for it.

A live notebook gets a bar, a terminal gets one on stderr, a notebook without a person gets a line on stderr every few
seconds, anything else gets nothing. Short runs show none.

    drivers -> [progress] -> lab, tuning
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from mblab.support import jupyter
from mblab.timing.durations import format_s

__all__ = ["Progress"]

EVERY_S = 0.1
LINE_EVERY_S = 5.0


class _Lines:
    """A bar for a log: now and then a line, and one when it is done."""

    def __init__(self, label: str, total: float | None, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._began_s = time.monotonic() - 1.0  # it is made a second after the beginning
        self._next_s = 0.0
        self.n: float = 0.0

    def refresh(self) -> None:
        """Write a line, if the last one is old enough."""
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + LINE_EVERY_S
            self._write("")

    def close(self) -> None:
        """Write the last line."""
        self._write(", ended")

    def _write(self, end: str) -> None:
        of = "" if self._total is None else f" of {self._total:,.0f}"
        took = format_s(round(time.monotonic() - self._began_s, 1))
        sys.stderr.write(f"{self._label}: {self.n:,.0f}{of} {self._unit} after {took}{end}\n")
        sys.stderr.flush()


class Progress:
    """A bar over a known total, or a count without one; a context manager.

    Args:
        label: What is under way.
        total: Where it ends, in `unit`; None when nobody knows.
        unit: Of the total and of what `done` returns.
        done: Returns how far it is.
    """

    def __init__(self, label: str, total: float | None, unit: str, done: Callable[[], float]) -> None:
        self._label, self._total, self._unit, self._done = label, total, unit, done
        self._bar: Any = None
        self._next_s = time.monotonic() + 1.0  # what takes less than a second needs no bar

    def __enter__(self) -> Progress:
        return self

    def tick(self) -> None:
        """Move the bar, at most ten times a second."""
        now = time.monotonic()
        if now < self._next_s:
            return
        self._next_s = now + EVERY_S
        if self._bar is None:
            self._bar = self._make()
        done = self._done()
        self._bar.n = done if self._total is None else min(done, self._total)
        self._bar.refresh()

    def _make(self) -> Any:
        if jupyter.in_kernel() and jupyter.headless():
            return _Lines(self._label, self._total, self._unit)
        from tqdm import auto, std

        kind = auto.tqdm if jupyter.in_kernel() else std.tqdm
        count = "{n:.0f}" if self._total is None else "{n:.0f}/{total:.0f}"
        form = "{desc}: " + count if self._total is None else "{l_bar}{bar}| " + count
        return kind(
            desc=self._label,
            total=self._total,
            unit=self._unit,
            disable=None,  # off where stderr is no terminal
            leave=False,
            bar_format=form + f" {self._unit} [{{elapsed}}]",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is None:
            return
        if kind is None and self._total is not None:
            self._bar.n = self._total  # a notebook's bar that closes before its end stays, in red
        self._bar.close()

"""Everything mblab raises on purpose.

    MblabError
    ├── SettingError (ValueError)         a knob or an argument
    │   └── SettingTypeError (TypeError)  the same, when the type is wrong
    ├── SourceError                       rows or their arrival times
    │   ├── ColumnError (KeyError)        a column that is not there
    │   └── SourceChanged                 the data is not what it was
    ├── StepError                         the user's function, or what it returned
    │   └── BatchError                    it raised: which step, batch and line
    ├── SinkError                         a place results go to
    ├── ExportError                       a pipeline that cannot be written as a script
    └── MissingExtra (ImportError)        an optional package

Every message is one sentence: which knob or column, the rule, the value seen, the way on. This room imports nothing of
mblab, so every other one may raise from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BatchError",
    "ColumnError",
    "ExportError",
    "MblabError",
    "MissingExtra",
    "SettingError",
    "SettingTypeError",
    "SinkError",
    "SourceChanged",
    "SourceError",
    "StepError",
    "did_you_mean",
    "missing_column",
    "shown",
]


class MblabError(Exception):
    """Base of everything mblab raises on purpose."""


class SettingError(MblabError, ValueError):
    """A knob or an argument has a value that its rule does not allow."""


class SettingTypeError(SettingError, TypeError):
    """A knob or an argument has the wrong type; also a `SettingError`."""


class SourceError(MblabError):
    """Rows, or their arrival times, cannot be used as they are."""


class ColumnError(SourceError, KeyError):
    """A column that is asked for is not in the data."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # KeyError would show the repr, quotes and all


class SourceChanged(SourceError):
    """The data behind a source is not what it was when it was planned or read before."""


class StepError(MblabError):
    """A step cannot be called as it is written, or returned what no sink could take."""


class BatchError(StepError):
    """The user's function raised; the original error is `__cause__`.

    Attributes:
        step: Name of the step that failed.
        batch_id: The batch it failed on; that batch stays planned.
        line: Line in the user's cell or file, counted from 1; None when it is not known.
    """

    def __init__(self, message: str, *, step: str, batch_id: int, line: int | None = None) -> None:
        super().__init__(message)
        self.step = step
        self.batch_id = batch_id
        self.line = line


class SinkError(MblabError):
    """A sink cannot be written, or holds what mblab did not write."""


class ExportError(MblabError):
    """The pipeline cannot be written as a script that stands alone."""


class MissingExtra(MblabError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""


def shown(value: object, limit: int = 80) -> str:
    """Return a short repr for a message, never longer than `limit` characters and never raising."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__} whose repr() fails>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return `: did you mean 'x'?` for the nearest known name, or an empty string.

    >>> did_you_mean("carier", ["carrier", "flight"])
    ": did you mean 'carrier'?"
    """
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f": did you mean {near[0]!r}?" if near else ""


def missing_column(knob: str, name: object, columns: Iterable[object]) -> ColumnError:
    """Return the error for a column that is not there, listing what is.

    >>> print(missing_column("arrival", "reported", ["reported_at", "flight"]))
    arrival='reported' is no column of the data, which holds ['reported_at', 'flight']: did you mean 'reported_at'?
    """
    have = list(columns)
    listed = shown([str(c) for c in have], 160)
    return ColumnError(f"{knob}={name!r} is no column of the data, which holds {listed}{did_you_mean(name, have)}")

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
    ├── HistoryGone                       a batch that is no longer kept
    ├── ExportError                       a pipeline that cannot be written as a script
    └── MissingExtra (ImportError)        an optional package

Every message is one sentence: which knob or column, the rule, the value seen, the way on. This room imports nothing of
mblab, so every other one may raise from it.
"""

from __future__ import annotations

import difflib
import linecache
import sys
import sysconfig
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

__all__ = [
    "BatchError",
    "ColumnError",
    "ExportError",
    "HistoryGone",
    "MblabError",
    "MissingExtra",
    "SettingError",
    "SettingTypeError",
    "SinkError",
    "SourceChanged",
    "SourceError",
    "StepError",
    "did_you_mean",
    "extra",
    "missing_column",
    "missing_package",
    "shown",
]


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers


class MblabError(Exception):
    """Base of everything mblab raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: the sentence, and the user's own lines on the way to it; nothing of mblab's."""
        cause = self.__cause__
        frames = list(_own_frames(cause.__traceback__)) if cause else []
        frames = frames or list(_own_frames(self.__traceback__))[-1:]
        text, (sentence, _, code) = str(self), str(self).rpartition("\n    ")
        if sentence and any(code in frame for frame in frames):
            text = sentence  # the line that failed stands below, among its neighbours
        return [f"{type(self).__name__}: {text}", *frames]


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


class HistoryGone(MblabError):
    """A batch is no longer kept, so it cannot be run again."""


class ExportError(MblabError):
    """The pipeline cannot be written as a script that stands alone."""


class MissingExtra(MblabError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""


SHOWN_AROUND = 2


def _own_frames(trace: TracebackType | None) -> Iterator[str]:
    """Give the lines around each frame that is the user's: not mblab's, an installed package's or Python's own."""
    libraries = [Path(__file__).parent, *(Path(sysconfig.get_path(p)) for p in ("stdlib", "purelib", "platlib"))]
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        compiled = name.endswith(".pyx") or not linecache.getlines(name)
        magic = linecache.getline(name, trace.tb_lineno).startswith("get_ipython().run_")  # what IPython makes of %%
        if not compiled and not magic and not any(Path(name).is_relative_to(folder) for folder in libraries):
            yield _lines_around(name, trace.tb_lineno, trace.tb_frame.f_code.co_name)
        trace = trace.tb_next


def _lines_around(filename: str, line: int, function: str) -> str:
    """Return the lines around one of them, with an arrow, headed by where they stand."""
    lines = linecache.getlines(filename)
    first = max(1, line - SHOWN_AROUND)
    inside = "" if function == "<module>" else f", in {function}"
    text = [f"{_place(filename)}, line {line}{inside}"]
    for number, code in enumerate(lines[first - 1 : line + SHOWN_AROUND], first):
        mark = f"> {number}".rjust(7, "-") if number == line else f"{number:7}"
        text.append(f"{mark} {code.rstrip()}")
    return "\n".join(text)


def _place(filename: str) -> str:
    """Return the name of a file as a reader of a notebook knows it: `Cell In[3]`, or the file's own."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    cell = getattr(getattr(shell, "compile", None), "format_code_name", lambda _: None)(filename)
    return " ".join(cell) if cell else Path(filename).name


def shown(value: object, limit: int = 80) -> str:
    """Return a short repr for a message: one line, never longer than `limit` characters and never raising."""
    try:
        text = repr(value)
        text = " ".join(text.split()) if "\n" in text else text
    except Exception:
        text = f"<{type(value).__name__} whose repr() fails>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def did_you_mean(name: Hashable, known: Iterable[Hashable], otherwise: str = ".") -> str:
    """Return how a sentence about an unknown name ends: `: did you mean 'x'?` for the nearest known one, or otherwise.

    >>> did_you_mean("carier", ["carrier", "flight"])
    ": did you mean 'carrier'?"
    """
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f": did you mean {near[0]!r}?" if near else otherwise


def missing_column(knob: str, name: Hashable, columns: Iterable[Hashable]) -> ColumnError:
    """Return the error for a column that is not there, listing what is.

    >>> print(missing_column("arrival", "reported", ["reported_at", "flight"]))
    arrival='reported' is no column of the data, which holds ['reported_at', 'flight']: did you mean 'reported_at'?
    """
    have = list(columns)
    listed = shown([str(c) for c in have], 160)
    other = next((c for c in have if str(c) == name), None)
    if other is not None:
        hint = f": its name is {other!r} ({type(other).__name__}) and must be text; use rows.rename(columns=str)."
    else:
        hint = did_you_mean(name, have)
    return ColumnError(f"{knob}={name!r} is no column of the data, which holds {listed}{hint}")


def missing_package(face: str, package: str, extra: str = "lab") -> MissingExtra:
    """Return the error for a package that is not installed, with the command that brings it.

    >>> print(missing_package("a chart", "altair"))
    a chart needs altair, which cannot be imported; install it with: pip install 'mblab[lab]'
    """
    return MissingExtra(
        f"{face} needs {package}, which cannot be imported; install it with: pip install 'mblab[{extra}]'"
    )


@contextmanager
def extra(face: str, name: str = "lab") -> Iterator[None]:
    """Say which extra brings what cannot be imported inside.

    Args:
        face: What the user asked for, as the subject of a sentence.
        name: The extra.

    Raises:
        MissingExtra: A package is not installed.

    >>> with extra("a chart"):
    ...     import no_such_package
    Traceback (most recent call last):
    mblab.errors.MissingExtra: a chart needs no_such_package, which cannot be imported; install it with: pip install ...
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        if package == "mblab":  # a mistake of ours, which no extra mends
            raise
        raise missing_package(face, package, name) from None

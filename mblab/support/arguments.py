"""What people hand over, checked: whole numbers, numbers, flags, words, names, functions, paths, columns.

Each takes the value and what its knob is called, and returns it as the rooms inside want it, or raises one sentence:
the knob, the rule, the value seen. Durations are checked where they are understood, in `mblab.timing.durations`.

    what a cell typed -> [arguments] -> every room that takes it
"""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mblab.errors import SettingError, SettingTypeError, did_you_mean, shown

__all__ = [
    "column_name", "column_names", "flag", "function", "is_number", "is_whole", "name", "number", "one_of", "plain",
    "user_path", "whole",
]  # fmt: skip

Word = TypeVar("Word", bound=str)


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number, of Python's or NumPy's; True and False are none.

    >>> is_whole(3), is_whole(3.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether a value is a real number, of Python's or NumPy's; True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def whole(value: object, knob: str, *, least: int = 0, of: str = "", hint: str = "") -> int:
    """Return a whole number of at least `least`.

    Args:
        value: What was given.
        knob: What it is called.
        least: The smallest that is allowed.
        of: What it counts, such as "rows".
        hint: The way on, behind the value, such as "; None means no cap".

    >>> whole(7, "seed")
    7
    """
    what = f"a whole number of {of}" if of else "a whole number"
    if not is_whole(value):
        raise SettingTypeError(f"{knob} must be {what}, got {shown(value)} ({type(value).__name__}){hint}.")
    if value < least:  # type: ignore[operator]
        raise SettingError(f"{knob} must be {what}, at least {least}, got {shown(value)}{hint}.")
    return int(value)  # type: ignore[call-overload, no-any-return]


def number(value: object, knob: str, *, zero: bool = False, most: float = math.inf, hint: str = "") -> float:
    """Return a finite number above 0 (or from 0 on), at most `most`, as a float.

    Raises:
        SettingError: Not finite, negative, too large, or 0 where 0 makes no sense.
        SettingTypeError: Not a real number; bool is refused.

    >>> number(200, "rate")
    200.0
    """
    rule = f"{knob} must be a finite number {'from 0 on' if zero else 'above 0'}"
    rule += f" and at most {plain(most)}" if most < math.inf else ""
    if not is_number(value):
        raise SettingTypeError(f"{rule}, got {shown(value)} ({type(value).__name__}){hint}.")
    found = float(value)  # type: ignore[arg-type]
    if not math.isfinite(found) or found < 0 or (found == 0 and not zero) or found > most:
        raise SettingError(f"{rule}, got {shown(value)}{hint}.")
    return found


def plain(number: float) -> str:
    """Return a number as a person types it, exact.

    >>> plain(200.0), plain(0.25)
    ('200', '0.25')
    """
    return str(int(number)) if float(number).is_integer() and abs(number) < 2**53 else repr(float(number))


def flag(value: object, knob: str) -> bool:
    """Return True or False, of Python's or NumPy's; nothing else stands for them."""
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    if not isinstance(value, bool):
        raise SettingTypeError(f"{knob} must be True or False, got {shown(value)}.")
    return value


def one_of(value: object, knob: str, words: Sequence[Word]) -> Word:
    """Return the value when it is one of some words.

    >>> one_of("skip", "policy", ("asap", "skip", "queue"))
    'skip'
    """
    said = [repr(word) for word in words]
    rule = f"{knob} must be {' or '.join([', '.join(said[:-1]), said[-1]] if len(said) > 1 else said)}"
    if not isinstance(value, str):
        raise SettingTypeError(f"{rule}, got {shown(value)}.")
    for word in words:
        if value == word:
            return word
    raise SettingError(f"{rule}, got {shown(value)}{did_you_mean(value, words) or '.'}")


def name(value: object, knob: str = "name", *, hint: str = "") -> str:
    """Return a text that is not blank."""
    if not isinstance(value, str):
        raise SettingTypeError(f"{knob} must be a string, got {shown(value)}.")
    if not value.strip():
        raise SettingError(f"{knob} must not be empty{hint}.")
    return value


def function(value: object, knob: str, form: str) -> Callable[..., Any]:
    """Return a function; `form` says how it is called, such as "fn(rows, batch_id)"."""
    if not callable(value):
        raise SettingTypeError(f"{knob} must be a function {form}, got {shown(value)}.")
    return value


def user_path(value: object, knob: str) -> Path:
    """Return the path that a user wrote, with a leading `~` made a home.

    Args:
        value: Text or a Path; it may hold wildcards.
        knob: What the message calls it.

    Raises:
        SettingError: It is no text or Path, empty, a URL, or one that this machine could never hold.

    >>> user_path("in/*.parquet", "path").name
    '*.parquet'
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise SettingTypeError(f"{knob} must be a string or a Path, got {shown(value)} ({type(value).__name__}).")
    text = os.fspath(value)
    if not text.strip() or "\0" in text:
        raise SettingError(f"{knob} must name a file or folder, got {shown(text)}.")
    if re.match(r"[a-z][a-z0-9+.-]+:/", text):  # a Path has made one slash of two
        raise SettingError(f"{knob} must be a path on this machine, got the URL {shown(text)}; copy it here first.")
    try:
        path = Path(text).expanduser()
        path.exists()
    except RuntimeError:
        raise SettingError(f"{knob}={shown(text)} begins with the home of a user this machine does not know.") from None
    except OSError as error:
        raise SettingError(f"{knob}={shown(text)} cannot be looked up: {error.strerror}.") from None
    return path


def column_name(value: object, knob: str) -> str | None:
    """Return the name of a column, or None."""
    if value is not None and not isinstance(value, str):
        raise SettingTypeError(f"{knob} must be the name of a column, got {shown(value)} ({type(value).__name__}).")
    return value


def column_names(values: object) -> tuple[str, ...] | None:
    """Return the names of columns, at least one and each once, or None."""
    if values is None:
        return None
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise SettingTypeError(f"columns must be a list of column names, got {shown(values)}.")
    names = tuple(column_name(value, "columns") or "" for value in values)
    if not names or len(set(names)) < len(names):
        raise SettingError(f"columns must name at least one column, each once, got {shown(list(names))}.")
    return names

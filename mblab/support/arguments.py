"""What people write where a path or a column is expected, checked.

what a cell typed -> [arguments] -> every room that takes it
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from mblab.errors import SettingError, SettingTypeError, shown

__all__ = ["column_name", "column_names", "user_path"]


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

"""What people write where a path is expected.

arguments -> [paths] -> sources, sinks
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mblab.errors import SettingError, SettingTypeError, shown

__all__ = ["user_path"]


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

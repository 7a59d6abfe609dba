"""Arguments that name columns, checked.

arguments -> [columns] -> replay, watch, poll
"""

from __future__ import annotations

from collections.abc import Iterable

from mblab.errors import SettingError, SettingTypeError, shown

__all__ = ["column_name", "column_names"]


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

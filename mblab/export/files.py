"""Where an export may be written, and how: whole or not at all, and never over what is not an export.

script -> [files] -> pipeline.py and the tables beside it
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from mblab.errors import ExportError, SettingTypeError, shown
from mblab.export.capture import Table
from mblab.support.files import write_whole

__all__ = ["MARK", "checked_target", "refuse_foreign", "replace_file", "save_table"]

MARK = "a micro-batch pipeline, exported from mblab"


def checked_target(path: object) -> Path:
    """Return the path that an export goes to.

    Raises:
        ExportError: It is a folder, lies in none, or is a file that is no export.
        SettingTypeError: It is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise SettingTypeError(f"path must be the path of a script such as 'pipeline.py', got {shown(path)}.")
    target = Path(path)
    try:
        os.fsencode(target)
        if "\0" in str(target):
            raise ValueError("it contains a NUL")
        if target.is_dir():
            raise ExportError(f"{str(path)!r} is a folder; name a file in it, such as 'pipeline.py'.")
        if not target.parent.is_dir():
            raise ExportError(
                f"{str(path)!r} lies in the folder {str(target.parent)!r}, which does not exist; create it first."
            )
        if target.exists() and not _is_export(target):
            raise ExportError(f"{str(path)!r} exists and was not exported by mblab; choose another path, or remove it.")
    except (OSError, ValueError) as problem:  # a name too long, a NUL in it
        raise ExportError(f"{shown(str(path))} is no path to write to ({problem}).") from None
    return target


def _is_export(target: Path) -> bool:
    head = target.read_bytes()[:20_000].decode("utf-8", "replace")
    return head.startswith("# /// script\n") and MARK in head


def refuse_foreign(path: Path, *, known: bool) -> None:
    """Raise `ExportError` when a table would take the place of what the script before did not name."""
    if path.exists() and not known:
        raise ExportError(
            f"{str(path)!r} exists and belongs to no exported script here; remove it, or export under another name."
        )


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the same folder, then put it in place in one move."""
    try:
        write_whole(path, write)
    except OSError as problem:
        raise ExportError(f"{str(path)!r} cannot be written ({problem.strerror or problem}).") from None


def save_table(table: Table, name: str, path: Path) -> None:
    """Write a table and make sure that it reads back the same.

    Raises:
        ExportError: It does not; the message names the file it was for, and the column.
    """
    if isinstance(table, np.ndarray):
        with path.open("wb") as file:
            np.save(file, table, allow_pickle=False)
        return
    frame = table if isinstance(table, pd.DataFrame) else table.to_frame("values")
    try:
        frame.to_parquet(path)
        again = pd.read_parquet(path)
        changed = [c for c in frame.columns if again[c].dtype != frame[c].dtype]
        if changed:
            column = changed[0]
            problem = f"column {column!r} is {frame[column].dtype} and comes back as {again[column].dtype}"
            raise ExportError(f"{name!r} cannot hold the table it is for: {problem}; convert it first.")
        pd.testing.assert_frame_equal(again, frame, check_freq=False)
    except (OSError, ExportError):
        raise
    except Exception as problem:
        reason = str(problem).split("\n", 1)[0]
        raise ExportError(
            f"{name!r} cannot hold the table it is for: {reason}; give it columns of one type each."
        ) from None

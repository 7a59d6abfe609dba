"""Where an export may be written, and how: whole or not at all, and never over what is not an export.

script -> [files] -> pipeline.py and the tables beside it
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mblab.errors import ExportError, SettingTypeError, shown
from mblab.export.capture import Table
from mblab.support.files import beside, move_into_place
from mblab.tables.parquet import ParquetTable
from mblab.tables.same import difference, same

__all__ = ["MARK", "SERIES", "checked_target", "frequency_of", "refuse_foreign", "replace_files", "save_table"]

SERIES = "values"  # the column of a series in its file
MARK = "a micro-batch pipeline, exported from mblab"


def checked_target(path: str | os.PathLike[str]) -> Path:
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


def replace_files(writes: Mapping[Path, Callable[[Path], object]]) -> None:
    """Let each function fill a temporary file beside its own, and put all in place once none has refused."""
    done: dict[Path, Path] = {}
    try:
        for path, write in writes.items():
            done[path] = beside(path)
            with _said_of(path):
                write(done[path])
        for path, temporary in done.items():
            with _said_of(path):
                move_into_place(temporary, path)
    finally:
        for temporary in done.values():
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    """Say in one sentence what the system has against writing a file."""
    try:
        yield
    except OSError as problem:
        raise ExportError(f"{str(path)!r} cannot be written ({problem.strerror or problem}).") from None


def save_table(table: Table, name: str, path: Path, *, as_input: bool = False) -> None:
    """Write a table and make sure that it reads back the same: names, dtypes, index, and every value with its type.

    Args:
        table: What a function reads, or the rows of the source.
        name: Of the file it is for.
        path: Where it is written, and looked at.
        as_input: Whether the script replays it, and so reads it as `mblab.replay` does.

    Raises:
        ExportError: It does not; the message names the column.
    """
    if isinstance(table, np.ndarray):
        with path.open("wb") as file:
            np.save(file, table, allow_pickle=False)
        said = None if same(np.load(path), table) else f"an array of {table.dtype} comes back otherwise"
    else:
        frame = table if isinstance(table, pd.DataFrame) else table.to_frame(SERIES)
        try:
            with warnings.catch_warnings(action="ignore"):  # what it warns of is looked at below
                frame.to_parquet(path)
            said = _replayed_otherwise(frame, path) if as_input else _loaded_otherwise(table, path)
        except OSError:
            raise
        except Exception as problem:  # Arrow's, and whatever the values' own methods raise
            said = _column_refused(frame, str(problem).split("\n", 1)[0].rstrip("."))
    if said:
        raise ExportError(
            f"{name!r} cannot hold the table it is for: {said}; convert it first, or read a file instead."
        )


def _replayed_otherwise(frame: pd.DataFrame, path: Path) -> str | None:
    """Return how the rows that a script replays are others than the lab's, or None."""
    table, row = ParquetTable(path), 0
    for piece in table.read(table.names):
        before = frame.iloc[row : row + len(piece)].reset_index(drop=True)
        if said := difference(before, piece):
            return said
        row += len(piece)
    return None if row == len(frame) else f"{len(frame):,} rows come back as {row:,}"


def _loaded_otherwise(table: pd.DataFrame | pd.Series[Any], path: Path) -> str | None:
    """Return how a table that a script loads is another one than the function's, or None."""
    again: Any = pd.read_parquet(path)
    if frequency_of(table) is not None:
        again.index.freq = frequency_of(table)  # as the script says it
    if isinstance(table, pd.DataFrame):
        return difference(table, again)
    again = again[SERIES].rename(table.name)
    said = difference(table.to_frame(SERIES), again.to_frame(SERIES))
    return said if said or same(table, again) else f"a {type(table).__name__} comes back otherwise"


def frequency_of(table: pd.DataFrame | pd.Series[Any]) -> str | None:
    """Return the frequency of an index of times, which no file keeps; None where it has none."""
    index = table.index
    return index.freqstr if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) else None


def _column_refused(frame: pd.DataFrame, problem: str) -> str:
    """Return which column it is that cannot be written."""
    for name in frame.columns if frame.columns.is_unique else ():
        try:
            frame[[name]].reset_index(drop=True).to_parquet(io.BytesIO())
        except Exception as error:
            return f"column {shown(name)} cannot be written ({str(error).splitlines()[0].rstrip('.')})"
    return f"the table cannot be written ({problem})"

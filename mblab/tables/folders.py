"""Columns out of the names of folders, as Hive, Spark, pandas and DuckDB lay out files: `region=eu/year=2026/x.csv`.

paths of files -> [folders] -> files, watch
"""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["fixed_part", "is_whole", "key_column", "keys_of"]

NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"


def fixed_part(path: Path) -> Path:
    """Return the folder that a path with wildcards lies in.

    >>> str(fixed_part(Path("in/day=*/part-*.csv")))
    'in'
    """
    folder = path.parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return folder


def keys_of(path: Path, root: Path) -> dict[str, str | None]:
    """Return the keys and values in the names of a file's folders; None is the value that stands for none.

    Args:
        path: The file.
        root: Folder that it was looked for in; keys in this one's own path count where they end it.

    >>> keys_of(Path("in/region=eu/day=2026%2D01/x.csv"), Path("in"))
    {'region': 'eu', 'day': '2026-01'}
    """
    below = list(path.parent.relative_to(root).parts) if path.is_relative_to(root) else []
    above = []
    for name in reversed(root.parts):
        if "=" not in name:
            break
        above.append(name)
    found: dict[str, str | None] = {}
    for name in (*reversed(above), *below):
        key, equals, value = name.partition("=")
        if equals and key:
            found[unquote(key)] = None if value == NO_VALUE else unquote(value)
    return found


def is_whole(value: str | None) -> bool:
    """Return whether a key's value is read as a whole number: 32 bits of it, as pyarrow does."""
    return value is not None and re.fullmatch(r"[+-]?\d{1,10}", value) is not None and -(2**31) <= int(value) < 2**31


def key_column(values: Sequence[str | None]) -> pa.DictionaryArray:
    """Return a key's value of each file as categories: whole numbers where all of them are, else text.

    >>> key_column(["2025", "2026", None]).to_pylist(), key_column(["1", "x"]).to_pylist()
    ([2025, 2026, None], ['1', 'x'])
    """
    import pyarrow as pa

    if all(value is None or is_whole(value) for value in values) and any(values):
        return pa.array([None if v is None else int(v) for v in values], pa.int32()).dictionary_encode()
    return pa.array(values, pa.string()).dictionary_encode()

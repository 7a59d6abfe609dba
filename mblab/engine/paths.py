"""What a pipeline reads and what it writes must not meet: nothing that mblab did not write is lost, or read as new.

source, sinks -> [paths] -> engine, record, lab
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from mblab.errors import SettingError
from mblab.sinks.base import Sink
from mblab.sources.base import Source

__all__ = ["is_read_by", "refuse_meeting"]

PART: Final = "part-0-000000.parquet"  # as a sink that writes a folder names its files


def refuse_meeting(source: Source, sinks: Sequence[Sink]) -> None:
    """Refuse sinks that would write what the source reads, or into the folder of another one.

    Raises:
        SettingError: One would; nothing has been written.
    """
    folders = [sink for sink in sinks if _writes_folder(sink)]
    for sink in sinks:
        target = _file_of(sink)
        if target is None:
            continue
        if is_read_by(source, target, folder=_writes_folder(sink)):
            raise SettingError(
                f"{sink.target} is among what {source.name} reads, and a run would write over it or read its own rows; "
                "give the sink a path of its own, or move what is read away."
            )
        for other in folders:
            home = _file_of(other)
            if other is not sink and home is not None and home in target.parents:
                raise SettingError(
                    f"{sink.target} lies in the folder of another sink, {other.target}, which no reader could take "
                    "then; give each sink a path of its own."
                )


def is_read_by(source: Source, target: Path, *, folder: bool = False) -> bool:
    """Return whether a file, or files in a folder, are among what a source reads: by name, by a link, by wildcards."""
    read = getattr(source, "input_path", None)
    if read is None:
        return False
    text = os.path.abspath(read)  # noqa: PTH100  with its links, behind which wildcards mean something else
    if Path(text).is_dir() and target.is_relative_to(Path(text).resolve()):
        return True
    if any(_is_same(file, target) or (folder and target in file.parents) for file in _files(text)):
        return True
    written = target / PART if folder else target
    return glob.has_magic(text) and _matches(text, written)


def _writes_folder(sink: Sink) -> bool:
    return bool(getattr(sink, "writes_folder", False))


def _file_of(sink: Sink) -> Path | None:
    """Return where a sink writes, absolute and without links; None when that is no path."""
    path: Path | None = getattr(sink, "path", None)
    return None if path is None else Path(path).resolve()


def _files(pattern: str) -> Iterator[Path]:
    """Yield what a path with or without wildcards names, without links."""
    names = glob.iglob(pattern, recursive=True) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207  text, and links
    yield from (Path(name).resolve() for name in names)


def _is_same(file: Path, target: Path) -> bool:
    if file == target:
        return True
    try:
        return file.samefile(target)  # one file under two names
    except OSError:
        return False


def _matches(pattern: str, file: Path) -> bool:
    """Return whether a path that need not be there yet fits wildcards, of which `**` stands for any folders.

    >>> _matches("/in/**/*.csv", Path("/in/a/b/rows.csv")), _matches("/in/*.csv", Path("/in/a/rows.csv"))
    (True, False)
    """
    fixed = Path(pattern)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    home = fixed.resolve()
    return file.is_relative_to(home) and _fits(Path(pattern).relative_to(fixed).parts, file.relative_to(home).parts)


def _fits(parts: Sequence[str], names: Sequence[str]) -> bool:
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_fits(parts[1:], names[i:]) for i in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], parts[0]) and _fits(parts[1:], names[1:])

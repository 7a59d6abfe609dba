"""A file as it is now: what tells it from others, and whether it is whole.

name -> [files] -> finding, watch
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from mblab.tables.dialects import PACKED, opened
from mblab.tables.files import kind_of
from mblab.tables.jsonl import JsonlTable

__all__ = ["Identity", "digest_of", "ends_whole", "has_footer", "identity_of"]

ENDS_BYTES: Final = 1 << 16  # of each end of a file, for its digest


class Identity(NamedTuple):
    """What tells one file from another, and from itself after it was written to."""

    device: int
    inode: int
    size: int
    changed_ns: int


def identity_of(name: str) -> Identity | None:
    """Return what a file is now; None when it is gone, or no file."""
    try:
        found = os.stat(name)  # noqa: PTH116  asked often
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def digest_of(name: str, size: int) -> str:
    """Return a digest of both ends of a file and its size; empty when it is gone."""
    try:
        with Path(name).open("rb") as file:
            ends = file.read(ENDS_BYTES)
            file.seek(max(0, size - ENDS_BYTES))
            return hashlib.blake2b(ends + file.read() + str(size).encode(), digest_size=16).hexdigest()
    except OSError:
        return ""


def has_footer(name: str, size: int) -> bool:
    """Return whether a Parquet file is complete: its footer, written last, can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if size < 12:
        return False
    try:
        with Path(name).open("rb") as file:
            file.seek(-4, os.SEEK_END)
            if file.read() != b"PAR1":
                return False
        pq.read_metadata(name)
    except (OSError, pa.ArrowException):
        return False
    return True


def _end(path: Path, size: int) -> bytes:
    """Return the end of a file, unpacked; a packed one has to be read from its beginning."""
    if path.suffix.lower() not in PACKED:
        with path.open("rb") as file:
            file.seek(max(0, size - ENDS_BYTES))
            return file.read()
    end = b""
    with opened(path) as packed:
        while part := packed.read(ENDS_BYTES):
            end = (end + part)[-ENDS_BYTES:]
    return end


def ends_whole(name: str, size: int) -> bool:
    """Return whether a text file ends with a newline, or with a whole JSON object."""
    if size == 0:
        return False
    try:
        end = _end(Path(name), size)
    except OSError:  # also of a packed file that is not complete
        return False
    if end.endswith(b"\n"):
        return True
    if kind_of(Path(name)) is not JsonlTable:
        return False
    try:
        return isinstance(json.loads(end.rpartition(b"\n")[2]), dict)
    except ValueError:
        return False

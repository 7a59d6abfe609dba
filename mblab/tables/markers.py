"""What is kept beside a text file of our own: up to where it is whole, and what its columns are.

A hidden file, the marker, is written by the sink before each batch. While the file's length and digest are those that
it names, whoever reads the file knows its columns by it and need not find them out.

    sink -> rows.csv, .rows.csv.mblab.json -> [markers] -> sink, own
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from mblab.support.files import DISK, Disk

__all__ = ["Mark", "Marker", "crc_of", "marker_file", "read_marker"]

FORMAT: Final = 1
READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Mark:
    """A point up to which the file is known.

    Attributes:
        bytes: Its length.
        crc: CRC-32 of all of them.
        run_id: The run of the last delivery before it; empty when there is none.
        batch_id: That delivery's batch.
        input_hash: That delivery's input hash.
    """

    bytes: int = 0
    crc: int = 0
    run_id: str = ""
    batch_id: int = -1
    input_hash: str = ""


@dataclass(frozen=True, slots=True)
class Marker:
    """What is kept beside the file.

    Attributes:
        run_id: The run that wrote last.
        columns: The header's names; empty before the first batch.
        begin: Length of the file when that run began.
        before: Where the file ends without the batch that is being written.
        after: Where it ends with it; the same as `before` when none is.
        types: What its columns are, as `notes` packs it; None when that is not known.
    """

    run_id: str
    columns: tuple[str, ...] = ()
    begin: int = 0
    before: Mark = Mark()
    after: Mark = Mark()
    types: str | None = None

    def settled(self, size: int) -> Mark | None:
        """Return the mark that a file of this length has reached, or None when mblab did not leave it like that."""
        if size == self.after.bytes:
            return self.after
        return self.before if self.before.bytes <= size < self.after.bytes else None

    def text(self) -> bytes:
        """Return it as it is kept."""
        return json.dumps({"mblab": FORMAT, **asdict(self)}).encode()


def marker_file(file: Path) -> Path:
    """Return where the marker of a file is."""
    return file.with_name(f".{file.name}.mblab.json")


def read_marker(file: Path, disk: Disk = DISK) -> Marker | None:
    """Return what a marker says; None when it is none of ours, so the file is not either."""
    try:
        kept = json.loads(disk.content(file))
        before, after = Mark(**kept["before"]), Mark(**kept["after"])
        marker = Marker(kept["run_id"], tuple(kept["columns"]), kept["begin"], before, after, kept.get("types"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return marker if _is_whole(marker) else None


def _is_whole(marker: Marker) -> bool:
    """Return whether all that a marker says is of the kind that it should be; anybody may have written to it."""
    marks = [(getattr(mark, f.name), type(f.default)) for mark in (marker.before, marker.after) for f in fields(Mark)]
    texts = [marker.run_id, *marker.columns, *([] if marker.types is None else [marker.types])]
    return all(type(value) is kind for value, kind in (*marks, (marker.begin, int), *((text, str) for text in texts)))


def crc_of(read: Callable[[int, int], bytes], size: int) -> int:
    """Return the CRC-32 of the first bytes of a file, or of all that there are.

    Args:
        read: read(size, at) gives bytes from an offset on, none at the end.
        size: How many.
    """
    crc, at = 0, 0
    while at < size and (piece := read(min(READ_BYTES, size - at), at)):
        crc, at = zlib.crc32(piece, crc), at + len(piece)
    return crc

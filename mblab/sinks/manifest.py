"""What stands in a folder of parts: the manifest's lines, and what a part says of itself.

folder -> [manifest] -> parquet
"""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mblab.errors import SinkError
from mblab.sinks.base import Delivery
from mblab.sinks.deliveries import delivery_of, facts_of
from mblab.support.files import Disk

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMAT", "KEY", "MANIFEST", "Manifest", "Part", "read_manifest", "read_part", "stored_schema"]

FORMAT: Final = 1
MANIFEST: Final = "_mblab_manifest.jsonl"
OURS: Final = b'{"'  # how its lines begin
KEY: Final = b"mblab"  # of a part's metadata


@dataclass(frozen=True, slots=True)
class Part:
    """A file that stands in the folder.

    Attributes:
        name: File name.
        bytes: Its size.
        rows: How many rows it has.
        delivery: What it is.
    """

    name: str
    bytes: int
    rows: int
    delivery: Delivery

    def line(self) -> dict[str, str | int]:
        """Return its line of the manifest."""
        return {"part": self.name, "bytes": self.bytes, "rows": self.rows, **facts_of(self.delivery)}


@dataclass(slots=True)
class Manifest:
    """What the manifest says.

    Attributes:
        bytes: Length of its whole lines; a torn last line is not read.
        run_id: The run that opened the folder last; empty when none did.
        begin: Where that run's lines begin.
        schema: Arrow schema of the next part, null where no value was seen yet; None before the first.
        parts: By name, in order of delivery.
        is_rewriting: Whether parts were being written again with another schema, and it is not said that all were.
    """

    bytes: int = 0
    run_id: str = ""
    begin: int = 0
    schema: pa.Schema | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    is_rewriting: bool = False

    @classmethod
    def read(cls, file: Path, disk: Disk, until: int | None = None) -> Manifest:
        """Return what a manifest says, or said when it was `until` bytes long."""
        found = cls()
        try:
            text = disk.content(file)[:until]
        except FileNotFoundError:
            return found
        for line in text.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                if not OURS.startswith(line[: len(OURS)].rstrip(b"\0")):
                    raise ValueError("no line of ours, not even the beginning of one")
                break
            found._take(json.loads(line))
            found.bytes += len(line)
        return found

    def _take(self, said: Mapping[str, Any]) -> None:
        if "part" in said:
            part = Part(said["part"], said["bytes"], said["rows"], delivery_of(said))
            self.parts[part.name] = part  # a part written again with another schema keeps its place
        elif "schema" in said:
            self.schema, self.is_rewriting = _schema_of(said["schema"]), False
        elif "rewriting" in said:
            self.is_rewriting = True
        else:
            self.run_id, self.begin = said["run_id"], self.bytes


def read_manifest(file: Path, path: Path, disk: Disk) -> Manifest:
    """Return what a folder's manifest says; `path` is the folder's for the message.

    Raises:
        SinkError: It cannot be read.
    """
    try:
        return Manifest.read(file, disk)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SinkError(
            f"{path} has a {MANIFEST} that mblab cannot read; delete that file, the parts also say whose they are."
        ) from None


def read_part(file: Path, disk: Disk) -> Part | None:
    """Return what a file says of itself, or None when it is none of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = disk.stat(file)
        if not stat.S_ISREG(found.st_mode) or file.suffix != ".parquet":
            return None
        with disk.reader(file) as opened:
            footer = pq.read_metadata(opened)
        delivery = delivery_of(json.loads(footer.metadata[KEY]))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return Part(file.name, found.st_size, footer.num_rows, delivery)


def stored_schema(file: Path, disk: Disk) -> pa.Schema:
    """Return the schema of a part, without what it says of itself."""
    import pyarrow.parquet as pq

    with disk.reader(file) as opened:
        schema = pq.read_schema(opened)
    return schema.with_metadata({k: v for k, v in (schema.metadata or {}).items() if k != KEY})


def _schema_of(text: str) -> pa.Schema:
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))

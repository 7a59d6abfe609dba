"""What stands in a folder of parts: the manifest's lines, and what a part says of itself.

folder -> [manifest] -> parquet
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mblab.errors import SinkError
from mblab.sinks.base import Delivery

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMAT", "KEY", "MANIFEST", "Manifest", "Part", "facts_of", "read_manifest", "read_part", "stored_schema"]

FORMAT: Final = 1
MANIFEST: Final = "_mblab_manifest.jsonl"
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

    def line(self) -> dict[str, Any]:
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
    """

    bytes: int = 0
    run_id: str = ""
    begin: int = 0
    schema: Any = None
    parts: dict[str, Part] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, until: int | None = None) -> Manifest:
        """Return what a manifest says, or said when it was `until` bytes long."""
        found = cls()
        for line in file.read_bytes()[:until].splitlines(keepends=True) if file.exists() else []:
            if not line.endswith(b"\n"):
                break
            found._take(json.loads(line))
            found.bytes += len(line)
        return found

    def _take(self, said: dict[str, Any]) -> None:
        if "part" in said:
            part = Part(said["part"], said["bytes"], said["rows"], _delivery(said))
            self.parts[part.name] = part  # a part written again with another schema keeps its place
        elif "schema" in said:
            self.schema = _schema_of(said["schema"])
        else:
            self.run_id, self.begin = said["run_id"], self.bytes


def facts_of(delivery: Delivery) -> dict[str, Any]:
    """Return what a line, or a part's metadata, say of a delivery."""
    return {"run_id": delivery.run_id, "batch_id": delivery.batch_id, "input_hash": delivery.input_hash}


def _delivery(facts: dict[str, Any]) -> Delivery:
    return Delivery(facts["run_id"], facts["batch_id"], facts["input_hash"])


def read_manifest(file: Path, path: Path) -> Manifest:
    """Return what a folder's manifest says.

    Raises:
        SinkError: It cannot be read.
    """
    try:
        return Manifest.read(file)
    except (ValueError, KeyError, TypeError):
        raise SinkError(
            f"{path} has a {MANIFEST} that mblab cannot read; delete that file, the parts also say whose they are."
        ) from None


def read_part(file: Path) -> Part | None:
    """Return what a file says of itself, or None when it is none of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file() or file.suffix != ".parquet":
        return None
    try:
        footer = pq.read_metadata(file)
        delivery = _delivery(json.loads(footer.metadata[KEY]))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return Part(file.name, file.stat().st_size, footer.num_rows, delivery)


def stored_schema(file: Path) -> Any:
    """Return the schema of a part, without what it says of itself."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(file)
    return schema.with_metadata({k: v for k, v in (schema.metadata or {}).items() if k != KEY})


def _schema_of(text: str) -> Any:
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))

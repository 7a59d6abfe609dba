"""Results as a folder of Parquet files, one a batch.

A part is written beside its place, synced, then renamed, so it is there whole or not at all; its metadata say which run
and batch it is. The manifest, one line of JSON a part, says quickly which files are ours and what their schema is. All
parts have one schema: what `pandas.read_parquet(folder)` reads is what was delivered.

    engine -> [parquet] -> out/part-<run>-<batch>.parquet, out/_mblab_manifest.jsonl
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pandas as pd

from mblab.errors import SinkError, shown
from mblab.sinks.base import Delivery, Mode, Savepoint
from mblab.sinks.deliveries import facts_of, is_held
from mblab.sinks.files import FileSink, aligned, named, writing
from mblab.sinks.manifest import (
    FORMAT,
    KEY,
    MANIFEST,
    Manifest,
    Part,
    read_manifest,
    read_part,
    stored_schema,
)
from mblab.sinks.schemas import arrow_table, cast_table, decided_schema, first_line, merged_schema
from mblab.support.files import write_all, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ParquetSink", "parquet"]

LEFT_OVER: Final = re.compile(r"\.part-[0-9a-f]+-\d{6,}\.parquet\.[0-9a-f]{8}\.tmp")  # what `beside` names, killed


def parquet(folder: str | os.PathLike[str], mode: Mode | None = None) -> ParquetSink:
    """Return a sink that writes one Parquet file a batch into a folder; exactly once, also after a power cut.

    `pandas.read_parquet(folder)` reads it all. A column has the type of its first value: a later batch's type is cast
    when no value changes by it and refused otherwise; a batch in which the column is all null decides nothing.

    Args:
        folder: The folder; it is made when it is not there. Files with a leading dot are left alone.
        mode: What happens to an earlier run's files: "replace" (None means that), "append" or "error". Files that mblab
            did not write are never touched: the run's start raises `SinkError` and names them.

    Raises:
        SettingError: `folder` is empty, or `mode` is none of these.

    >>> parquet("out/")
    mblab.sinks.parquet('out')
    """
    return ParquetSink(folder, mode)


class ParquetSink(FileSink):
    """Writes one Parquet file a batch into a folder.

    A column's type is that of its first value; a later batch's type is cast if no value changes, and refused otherwise.
    Parts written while a column was all null are rewritten once, when its type is known. Categories come back as one
    categorical. Files sort by run, then by batch.
    """

    kind = "parquet"
    writes_folder = True
    guarantee = "exactly once"

    def __init__(self, path: str | os.PathLike[str], mode: Mode | None = None) -> None:
        super().__init__(path, mode)
        self._manifest_file = self.file / MANIFEST
        self._descriptor: int | None = None
        self._run_id = ""
        self._size = 0  # of the manifest
        self._inode = 0
        self._schema: pa.Schema | None = None
        self._last: Delivery | None = None

    def open(self, run_id: str) -> None:
        """Get ready for a run; a run that was here before goes on.

        Raises:
            SinkError: The folder holds what mblab did not write, or cannot be written.
        """
        import pyarrow.parquet as pq  # noqa: F401 - 0.1 s, here and not in the first batch

        self.close()
        with writing(self.path):
            if (kind := self._kind()) and not stat.S_ISDIR(kind):
                raise SinkError(f"{self.path} is a file; parquet needs a folder, one file a batch goes into it.")
            self._make_folder(self.file)
            manifest, unlisted = self._survey()
            begins = self._beginning(
                same_run=manifest.run_id == run_id or any(part.delivery.run_id == run_id for part in unlisted),
                stands=bool(manifest.parts or unlisted),
                already="holds results already; use another folder",
            )
            if begins == "anew":
                self._clear([*manifest.parts, *(part.name for part in unlisted)])
                manifest, unlisted = Manifest(), []
            self._begin(run_id, manifest, unlisted)

    def _begin(self, run_id: str, manifest: Manifest, unlisted: list[Part]) -> None:
        self._descriptor = self.disk.open(self._manifest_file)
        self._inode = self.disk.stat(self._descriptor).st_ino
        self._run_id, self._size, self._schema = run_id, manifest.bytes, manifest.schema
        self.disk.truncate(self._descriptor, self._size)
        mine = [part.line() for part in unlisted if part.delivery.run_id == run_id]
        of_others = [part.line() for part in unlisted if part.delivery.run_id != run_id]
        begin: Mapping[str, str | int] = {"mblab": FORMAT, "run_id": run_id}
        self._note(*of_others, *([] if manifest.run_id == run_id else [begin]), *mine)
        self.disk.sync_folder(self.file)
        parts = [*manifest.parts.values(), *unlisted]
        is_mixed = manifest.is_rewriting
        if parts and self._schema is None:
            self._schema, is_mixed = stored_schema(self.file / parts[-1].name, self.disk), True
        if is_mixed and self._schema is not None:  # a killed run has left parts of two schemas
            self._rewrite(decided_schema(self._schema))
            self._note_schema(self._schema)
        self._last = parts[-1].delivery if parts else None

    def _survey(self) -> tuple[Manifest, list[Part]]:
        """Return the manifest, and our parts that a killed run did not get to list there.

        Raises:
            SinkError: Something in the folder is not ours.
        """
        manifest = read_manifest(self._manifest_file, self.path, self.disk)
        unlisted, foreign = [], []
        for name in self.disk.names(self.file):
            if name.startswith(".") or name == MANIFEST:
                continue
            listed = manifest.parts.get(name)
            if listed and self.disk.stat(self.file / name).st_size == listed.bytes:
                continue
            part = read_part(self.file / name, self.disk)
            if part is None:
                foreign.append(name)
            elif listed is None:
                unlisted.append(part)
        if foreign:
            more = f" and {len(foreign) - 3:,} more" if len(foreign) > 3 else ""
            raise SinkError(
                f"{self.path} holds {', '.join(map(shown, foreign[:3]))}{more}, which mblab did not write and leaves "
                "as it is; move that away or use another folder."
            )
        return manifest, sorted(unlisted, key=lambda part: part.delivery.batch_id)

    def _clear(self, parts: Iterable[str]) -> None:
        ours = set(parts)
        for name in self.disk.names(self.file):
            if name in ours or LEFT_OVER.fullmatch(name):
                self.disk.remove(self.file / name)
        with suppress(FileNotFoundError):
            self.disk.remove(self._manifest_file)

    def savepoint(self) -> Savepoint | None:
        """Return how long the manifest is."""
        return {"manifest_bytes": self._size}

    def rollback(self, savepoint: Savepoint | None) -> None:
        """Remove the parts of this run that were delivered since.

        Raises:
            SinkError: Another run wrote in between, or the manifest is not the one the savepoint was taken of.
        """
        if savepoint is None:
            return
        descriptor, size = self._opened(), int(savepoint["manifest_bytes"])
        kept = Manifest.read(self._manifest_file, self.disk, size)
        if kept.bytes != size or Manifest.read(self._manifest_file, self.disk).begin >= size:
            raise SinkError(f"{self.path} cannot go back: another run wrote there since; use another folder.")
        with writing(self.path):
            mine = f"part-{self._run_id}-"
            for name in self.disk.names(self.file):
                if name.startswith(mine) and name.endswith(".parquet") and name not in kept.parts:
                    self.disk.remove(self.file / name)
            if kept.schema is not None and kept.schema != self._schema:
                self._note_schema(kept.schema)  # should the process be killed, that is what the parts come to have
                self._rewrite(decided_schema(kept.schema))
            self.disk.truncate(descriptor, size)
            self.disk.sync_folder(self.file)
        self._size, self._schema = size, kept.schema
        self._last = list(kept.parts.values())[-1].delivery if kept.parts else None

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Write a batch as one part, which then also survives a power cut.

        Raises:
            SinkError: Other columns or types than before, a value Parquet cannot hold, a second writer or a full disk.
        """
        self._opened()
        if is_held(self._last, delivery, str(self.path)):
            return
        rows = named(rows, self.path, delivery.batch_id)
        if self._schema is not None:
            rows = aligned(rows, self._schema.names, self.path, delivery.batch_id)
        table = arrow_table(rows, self.path, delivery.batch_id)
        schema = merged_schema(self._schema, table, self.path, delivery.batch_id)
        table = cast_table(table, decided_schema(schema), self.path, delivery.batch_id)
        self._refuse_second_writer()
        name = f"part-{delivery.run_id}-{delivery.batch_id:06d}.parquet"
        data = self._encoded(table, delivery)
        with writing(self.path):
            self._adopt(schema)
            self._write_part(Part(name, len(data), len(rows), delivery), data)
        self._last = delivery

    def _adopt(self, schema: pa.Schema) -> None:
        """Make a schema that of all parts."""
        if self._schema is not None and schema.equals(self._schema):
            return
        if self._schema is not None and not decided_schema(schema).equals(decided_schema(self._schema)):
            self._rewrite(decided_schema(schema))
        self._note_schema(schema)
        self._schema = schema

    def _note_schema(self, schema: pa.Schema) -> None:
        self._note({"schema": base64.b64encode(schema.serialize().to_pybytes()).decode()})

    def _rewrite(self, schema: pa.Schema) -> None:
        """Write the parts again that have other types: where they differ there are only nulls, or fields to add.

        A process that is killed meanwhile leaves parts of two schemas, which no reader takes; the next run sees by the
        manifest that it has to go on with it.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._note({"rewriting": 1})
        self.disk.sync(self._opened())
        there = set(self.disk.names(self.file))
        for part in Manifest.read(self._manifest_file, self.disk).parts.values():
            file = self.file / part.name
            if part.name not in there or stored_schema(file, self.disk).equals(schema):
                continue
            with self.disk.reader(file) as opened:
                old = pq.ParquetFile(opened).read()
            columns = [
                old[f.name] if old[f.name].type == f.type else pa.array(old[f.name].to_pylist(), f.type) for f in schema
            ]
            data = self._encoded(pa.Table.from_arrays(columns, schema=schema), part.delivery)
            self._write_part(replace(part, bytes=len(data)), data)

    def _encoded(self, table: pa.Table, delivery: Delivery) -> bytes:
        """Return a table as a Parquet file that says what it is."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        marked = {**(table.schema.metadata or {}), KEY: json.dumps(facts_of(delivery)).encode()}
        buffer = pa.BufferOutputStream()
        try:
            pq.write_table(table.replace_schema_metadata(marked), buffer)
        except pa.ArrowException as error:
            name = next((name for name in table.column_names if not _takes(table.schema.field(name))), None)
            what = "" if name is None else f"column {name!r} of "
            raise SinkError(
                f"{self.path} cannot take {what}batch {delivery.batch_id}: {first_line(error)}; give it another "
                "type in the step."
            ) from None
        return buffer.getvalue().to_pybytes()  # type: ignore[no-any-return]

    def _write_part(self, part: Part, data: bytes) -> None:
        write_whole(self.file / part.name, data, durable=True, disk=self.disk)
        self._note(part.line())

    def _note(self, *lines: Mapping[str, str | int]) -> None:
        """Append lines to the manifest; a power cut may take the last ones, but the parts say the same."""
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        try:
            write_all(self._opened(), data, self._size, self.disk)
        except OSError:
            with suppress(OSError):
                self.disk.truncate(self._opened(), self._size)
            raise
        self._size += len(data)

    def _refuse_second_writer(self) -> None:
        found = self._stat(self._manifest_file)
        if found.st_size != self._size or found.st_ino != self._inode:
            raise SinkError(f"{self.path} was written to by another run; give each lab a folder of its own.")

    def last(self) -> Delivery | None:
        """Return the newest delivery that stands in the folder, or None."""
        if self._descriptor is None and stat.S_ISDIR(self._kind()):
            manifest, unlisted = self._survey()
            parts = [*manifest.parts.values(), *unlisted]
            return parts[-1].delivery if parts else None
        return self._last if self._descriptor is not None else None

    def close(self) -> None:
        """Let go; each part was made durable when it was delivered."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with writing(self.path):
                self.disk.close(descriptor)

    def _opened(self) -> int:
        if self._descriptor is None:
            raise self._not_open()
        return self._descriptor


def _takes(field: pa.Field) -> bool:
    """Return whether Parquet has a type for a column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.write_table(pa.schema([field]).empty_table(), pa.BufferOutputStream())
    except pa.ArrowException:
        return False
    return True

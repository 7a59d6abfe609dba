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
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from mblab.errors import SinkError, shown
from mblab.sinks.base import Delivery, Mode, Savepoint
from mblab.sinks.files import (
    FileSink,
    aligned,
    is_held,
    make_folder,
    named,
    replace_file,
    sync_folder,
    write_all,
    writing,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pandas as pd

__all__ = ["ParquetSink"]

FORMAT: Final = 1
MANIFEST: Final = "_mblab_manifest.jsonl"
KEY: Final = b"mblab"  # of a part's metadata
LEFT_OVER: Final = re.compile(r"\.part-[0-9a-f]+-\d{6,}\.parquet\.tmp")


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
        return {"part": self.name, "bytes": self.bytes, "rows": self.rows, **_facts(self.delivery)}


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


class ParquetSink(FileSink):
    """Writes one Parquet file a batch into a folder.

    A column's type is that of its first value; a later batch's type is cast if no value changes, and refused otherwise.
    Parts written while a column was all null are rewritten once, when its type is known. Categories come back as one
    categorical. Files sort by run, then by batch.
    """

    kind = "parquet"
    guarantee = "exactly once"

    def __init__(self, path: str | os.PathLike[str], mode: Mode | None = None) -> None:
        super().__init__(path, mode)
        self._manifest_file = self.file / MANIFEST
        self._descriptor: int | None = None
        self._run_id = ""
        self._size = 0  # of the manifest
        self._inode = 0
        self._schema: Any = None
        self._last: Delivery | None = None

    def open(self, run_id: str) -> None:
        """Get ready for a run; a run that was here before goes on.

        Raises:
            SinkError: The folder holds what mblab did not write, or cannot be written.
        """
        import pyarrow.parquet as pq  # noqa: F401 - 0.1 s, here and not in the first batch

        self.close()
        if self.file.exists() and not self.file.is_dir():
            raise SinkError(f"{self.path} is a file; parquet needs a folder, one file a batch goes into it.")
        with writing(self.path):
            make_folder(self.file, self.path)
            manifest, unlisted = self._survey()
            if manifest.run_id != run_id and self.mode == "error" and (manifest.parts or unlisted):
                raise SinkError(
                    f"{self.path} holds results already; use another folder, or mode='replace' or 'append'."
                )
            if manifest.run_id != run_id and self.mode == "replace":
                self._clear([*manifest.parts, *(part.name for part in unlisted)])
                manifest, unlisted = Manifest(), []
            self._begin(run_id, manifest, unlisted)

    def _begin(self, run_id: str, manifest: Manifest, unlisted: list[Part]) -> None:
        self._descriptor = os.open(self._manifest_file, os.O_RDWR | os.O_CREAT, 0o666)
        self._inode = os.fstat(self._descriptor).st_ino
        self._run_id, self._size, self._schema = run_id, manifest.bytes, manifest.schema
        os.ftruncate(self._descriptor, self._size)
        new_run = [] if manifest.run_id == run_id else [{"mblab": FORMAT, "run_id": run_id}]
        self._note(*(part.line() for part in unlisted), *new_run)
        sync_folder(self.file)
        parts = [*manifest.parts.values(), *unlisted]
        if parts and self._schema is None:
            self._schema = _stored_schema(self.file / parts[-1].name)
        self._last = parts[-1].delivery if parts else None

    def _survey(self) -> tuple[Manifest, list[Part]]:
        """Return the manifest, and our parts that a killed run did not get to list there.

        Raises:
            SinkError: Something in the folder is not ours.
        """
        manifest = _read_manifest(self._manifest_file, self.path)
        unlisted, foreign = [], []
        for entry in sorted(self.file.iterdir()):
            if entry.name.startswith(".") or entry == self._manifest_file:
                continue
            listed = manifest.parts.get(entry.name)
            if listed and entry.stat().st_size == listed.bytes:
                continue
            part = _read_part(entry)
            if part is None:
                foreign.append(entry.name)
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
        for entry in list(self.file.iterdir()):
            if entry.name in ours or LEFT_OVER.fullmatch(entry.name):
                entry.unlink()
        self._manifest_file.unlink(missing_ok=True)

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
        kept = Manifest.read(self._manifest_file, size)
        if kept.bytes != size or Manifest.read(self._manifest_file).begin >= size:
            raise SinkError(f"{self.path} cannot go back: another run wrote there since; use another folder.")
        with writing(self.path):
            for file in self.file.glob(f"part-{self._run_id}-*.parquet"):
                if file.name not in kept.parts:
                    file.unlink()
            if kept.schema is not None and kept.schema != self._schema:
                self._rewrite(_decided(kept.schema))
            os.ftruncate(descriptor, size)
            sync_folder(self.file)
        self._size, self._schema = size, kept.schema
        self._last = list(kept.parts.values())[-1].delivery if kept.parts else None

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Write a batch as one part, which then also survives a power cut.

        Raises:
            SinkError: Other columns or types than before, a value Parquet cannot hold, a second writer or a full disk.
        """
        self._opened()
        if is_held(self._last, delivery, self.path):
            return
        rows = named(rows, self.path, delivery.batch_id)
        if self._schema is not None:
            rows = aligned(rows, self._schema.names, self.path, delivery.batch_id)
        table = _table(rows, self.path, delivery.batch_id)
        schema = _merged(self._schema, table, self.path, delivery.batch_id)
        table = _cast(table, _decided(schema), self.path, delivery.batch_id)
        self._refuse_second_writer()
        name = f"part-{delivery.run_id}-{delivery.batch_id:06d}.parquet"
        data = self._encoded(table, delivery)
        with writing(self.path):
            self._adopt(schema)
            self._write_part(Part(name, len(data), len(rows), delivery), data)
        self._last = delivery

    def _adopt(self, schema: Any) -> None:
        """Make a schema that of all parts."""
        if self._schema is not None and schema.equals(self._schema):
            return
        if self._schema is not None and not _decided(schema).equals(_decided(self._schema)):
            self._rewrite(_decided(schema))
        self._note({"schema": base64.b64encode(schema.serialize().to_pybytes()).decode()})
        self._schema = schema

    def _rewrite(self, schema: Any) -> None:
        """Write the parts again that have other types: where they differ there are only nulls, or fields to add."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for part in Manifest.read(self._manifest_file).parts.values():
            file = self.file / part.name
            if not file.exists() or _stored_schema(file).equals(schema):
                continue
            old = pq.ParquetFile(file).read()
            columns = [
                old[f.name] if old[f.name].type == f.type else pa.array(old[f.name].to_pylist(), f.type) for f in schema
            ]
            data = self._encoded(pa.Table.from_arrays(columns, schema=schema), part.delivery)
            self._write_part(replace(part, bytes=len(data)), data)

    def _encoded(self, table: Any, delivery: Delivery) -> bytes:
        """Return a table as a Parquet file that says what it is."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        marked = {**(table.schema.metadata or {}), KEY: json.dumps(_facts(delivery)).encode()}
        buffer = pa.BufferOutputStream()
        try:
            pq.write_table(table.replace_schema_metadata(marked), buffer)
        except pa.ArrowException as error:
            raise SinkError(f"{self.path} cannot take batch {delivery.batch_id}: {_first_line(error)}.") from None
        return buffer.getvalue().to_pybytes()  # type: ignore[no-any-return]

    def _write_part(self, part: Part, data: bytes) -> None:
        replace_file(self.file / part.name, data, durable=True)
        self._note(part.line())

    def _note(self, *lines: dict[str, Any]) -> None:
        """Append lines to the manifest; a power cut may take the last ones, but the parts say the same."""
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        try:
            write_all(self._opened(), data, self._size)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._opened(), self._size)
            raise
        self._size += len(data)

    def _refuse_second_writer(self) -> None:
        try:
            found = self._manifest_file.stat()
        except OSError:
            raise SinkError(f"{self.path} was moved or deleted during the run; start the run again.") from None
        if found.st_size != self._size or found.st_ino != self._inode:
            raise SinkError(f"{self.path} was written to by another run; give each lab a folder of its own.")

    def last(self) -> Delivery | None:
        """Return the newest delivery that stands in the folder, or None."""
        if self._descriptor is None and self.file.is_dir():
            manifest, unlisted = self._survey()
            parts = [*manifest.parts.values(), *unlisted]
            return parts[-1].delivery if parts else None
        return self._last if self._descriptor is not None else None

    def close(self) -> None:
        """Let go; each part was made durable when it was delivered."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with writing(self.path):
                os.close(descriptor)

    def _opened(self) -> int:
        if self._descriptor is None:
            raise SinkError(f"{self.path} is not open; a run opens its sinks before it delivers.")
        return self._descriptor


# -- what stands in the folder ------------------------------------------------------------------------------------


def _facts(delivery: Delivery) -> dict[str, Any]:
    return {"run_id": delivery.run_id, "batch_id": delivery.batch_id, "input_hash": delivery.input_hash}


def _delivery(facts: dict[str, Any]) -> Delivery:
    return Delivery(facts["run_id"], facts["batch_id"], facts["input_hash"])


def _read_manifest(file: Path, path: Path) -> Manifest:
    try:
        return Manifest.read(file)
    except (ValueError, KeyError, TypeError):
        raise SinkError(
            f"{path} has a {MANIFEST} that mblab cannot read; delete that file, the parts also say whose they are."
        ) from None


def _read_part(file: Path) -> Part | None:
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


def _stored_schema(file: Path) -> Any:
    import pyarrow.parquet as pq

    schema = pq.read_schema(file)
    return schema.with_metadata({k: v for k, v in (schema.metadata or {}).items() if k != KEY})


def _schema_of(text: str) -> Any:
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


# -- types --------------------------------------------------------------------------------------------------------


def _table(rows: pd.DataFrame, path: Path, batch_id: int) -> Any:
    """Return rows as an Arrow table.

    Dictionaries get one index type, for the number of categories changes; one without values is null.
    """
    import pyarrow as pa

    try:
        table = pa.Table.from_pandas(rows, preserve_index=False)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError) as error:
        name, reason = _culprit(rows) or ("", _first_line(error))
        raise SinkError(
            f"{path} cannot take column {name!r} of batch {batch_id}: {reason}; give it one type in the step."
        ) from None
    for at, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            coded = pa.dictionary(pa.int32(), column.type.value_type, column.type.ordered)
            plain = pa.nulls(len(column)) if column.null_count == len(column) else column.cast(coded)
            table = table.set_column(at, table.field(at).name, plain)
    return table


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")


def _culprit(rows: pd.DataFrame) -> tuple[str, str] | None:
    """Return (column, reason) of the first column that Arrow cannot take."""
    import pyarrow as pa

    for name, column in rows.items():
        try:
            pa.Array.from_pandas(column)
        except (pa.ArrowException, OverflowError, UnicodeError, TypeError) as error:
            return str(name), _first_line(error)
    return None


def _merged(pinned: Any, table: Any, path: Path, batch_id: int) -> Any:
    """Return the schema of earlier parts with what this batch tells of columns that were all null."""
    import pyarrow as pa

    if pinned is None or pinned.equals(table.schema):
        return table.schema if pinned is None else pinned
    fields = []
    for old, new in zip(pinned, table.schema, strict=True):
        try:
            fields.append(pa.unify_schemas([pa.schema([old]), pa.schema([new])]).field(0))
        except pa.ArrowTypeError:
            if not _is_same_kind(old.type, new.type):
                raise _misfit(path, old.name, old.type, new.type, batch_id, "") from None
            fields.append(old)
    merged = pa.schema(fields, pinned.metadata)
    return pinned if merged.equals(pinned) else merged.with_metadata(table.schema.metadata)


def _cast(table: Any, schema: Any, path: Path, batch_id: int) -> Any:
    import pyarrow as pa

    columns = []
    for column, wanted in zip(table.columns, schema, strict=True):
        try:
            columns.append(column if column.type == wanted.type else _cast_column(column, wanted.type))
        except pa.ArrowException as error:
            reason = f" ({_first_line(error)})"
            raise _misfit(path, wanted.name, wanted.type, column.type, batch_id, reason) from None
    return pa.Table.from_arrays(columns, schema=schema)


def _cast_column(column: Any, kind: Any) -> Any:
    import pyarrow as pa

    return pa.nulls(len(column), kind) if pa.types.is_null(column.type) else column.cast(kind)


def _misfit(path: Path, name: str, old: Any, new: Any, batch_id: int, reason: str) -> SinkError:
    return SinkError(
        f"{path} has column {name!r} as {old} but batch {batch_id} brings {new}{reason}; "
        "give it one type in the step, for example with .astype."
    )


def _decided(schema: Any) -> Any:
    """Return a schema that every reader takes: text where no value was seen yet."""
    import pyarrow as pa

    return pa.schema([f.with_type(_decided_type(f.type)) for f in schema], schema.metadata)


def _decided_type(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_null(kind):
        return pa.large_string()
    if pa.types.is_struct(kind):
        return pa.struct([f.with_type(_decided_type(f.type)) for f in _fields(kind)])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_decided_type(kind.value_type)))
    return kind


def _fields(kind: Any) -> Iterator[Any]:
    return (kind.field(i) for i in range(kind.num_fields))


def _is_same_kind(old: Any, new: Any) -> bool:
    """Return whether values of one type are values of the other, so that a safe cast changes none of them."""
    import pyarrow as pa

    t = pa.types
    if t.is_list(old) and t.is_list(new):
        return _is_same_kind(old.value_type, new.value_type)
    if t.is_struct(old) and t.is_struct(new):
        known = {f.name: f.type for f in _fields(old)}
        return all(f.name in known and _is_same_kind(known[f.name], f.type) for f in _fields(new))
    if t.is_dictionary(old) or t.is_dictionary(new):
        return _is_same_kind(*(k.value_type if t.is_dictionary(k) else k for k in (old, new)))
    if t.is_timestamp(old) and t.is_timestamp(new):
        return (old.tz is None) == (new.tz is None)
    kinds = (
        lambda k: t.is_integer(k) or t.is_floating(k) or t.is_decimal(k),
        lambda k: t.is_string(k) or t.is_large_string(k),
        lambda k: t.is_binary(k) or t.is_large_binary(k),
        t.is_duration,
        t.is_date,
    )
    return old == new or t.is_null(new) or any(is_kind(old) and is_kind(new) for is_kind in kinds)

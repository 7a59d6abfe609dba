"""Results appended to one text file; how a batch reads as text is the format's business.

A hidden file beside it, the marker, says before each batch where the file ends now and where it will end. So a process
that is killed at any moment leaves a file that is whole up to a known batch, and a file that somebody else wrote or
changed is told from ours.

    engine -> csv, jsonl -> [appended] -> results.csv, .results.csv.mblab.json
"""

from __future__ import annotations

import os
import weakref
import zlib
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, ClassVar, Final

import pandas as pd

from mblab.errors import SettingError, SinkError, shown
from mblab.sinks.base import Delivery, Mode, Savepoint
from mblab.sinks.deliveries import is_held
from mblab.sinks.files import FileSink, aligned, named, writing
from mblab.support.files import left_over, write_all, write_whole
from mblab.tables.markers import Mark, Marker, crc_of, marker_file, read_marker
from mblab.tables.notes import is_settled, joined, noted, packed, unpacked

__all__ = ["AppendedFile"]

PACKED: Final = (".gz", ".bz2", ".zip", ".xz", ".zst", ".tar")


class AppendedFile(FileSink, ABC):
    """Appends each batch's text to a file; a format says how it reads.

    Attributes:
        same_columns: Whether every batch must have the columns of the first, in its order.
        text_holds_all: Whether what any value is written as can stand in a column of text.
    """

    same_columns: ClassVar[bool]
    text_holds_all: ClassVar[bool]
    guarantee = "exactly once as sole writer"

    def __init__(self, path: str | os.PathLike[str], mode: Mode | None = None) -> None:
        super().__init__(path, mode)
        self._names_a_file(path, f"add one: out/rows.{self.kind}")
        if (suffix := self.file.suffix).lower() in PACKED:
            raise SettingError(f"{self.kind} writes plain text, got {shown(os.fspath(path))}; leave out {suffix!r}.")
        self._marker_file = marker_file(self.file)
        self._descriptor: int | None = None
        self._unlock: weakref.finalize[..., Any] | None = None  # lets go of the lock on the file
        self._inode = 0
        self._marker = Marker("")
        self._at = Mark()
        self._known = _Known()
        self._writing = b""  # a batch whose bytes may stand there in part

    def open(self, run_id: str) -> None:
        """Get ready for a run; a run that was here before goes on after its last whole batch.

        Raises:
            SinkError: The file holds what mblab did not write, cannot be written, or is being written by another run.
        """
        if self._unlock is not None and run_id != self._marker.run_id:
            raise self._in_use()
        self.close()
        with writing(self.path):
            self._make_folder(self.file.parent)
            self._refuse_other_kinds(f"rows.{self.kind}")
            lock = self.disk.lock(self.file, noted=False)
            if lock is None:
                raise self._in_use()
            self._unlock = weakref.finalize(self, lock.release)  # a lab that nobody has any more holds no file
            try:
                self._open(run_id)
            except BaseException:
                self._let_go()
                raise

    def _open(self, run_id: str) -> None:
        descriptor = self.disk.open(self.file)
        try:
            self._marker = self._begin(descriptor, run_id)
            self._at = self._marker.after
            self._known = _Known(self._marker.types)
            self.disk.truncate(descriptor, self._at.bytes)
            for left in left_over(self._marker_file, self.disk):
                self.disk.remove(left)
            self._write_marker(self._marker, durable=False)
        except BaseException:
            self.disk.close(descriptor)
            raise
        self._descriptor, self._inode = descriptor, self.disk.stat(descriptor).st_ino

    def _in_use(self) -> SinkError:
        marker = self._read_marker()
        by = f"run {marker.run_id}" if marker else "another run"
        return SinkError(
            f"{self.path} is being written by {by}, here or in another process; stop that run, or give each run a path "
            "of its own."
        )

    def _let_go(self) -> None:
        unlock, self._unlock = self._unlock, None
        if unlock is not None:
            unlock()

    def _begin(self, descriptor: int, run_id: str) -> Marker:
        """Return the marker to start from, by what stands there and the mode."""
        size = self.disk.stat(descriptor).st_size
        marker = self._read_marker()
        same_run = marker is not None and marker.run_id == run_id
        if size == 0 and not (same_run and marker and marker.begin + marker.before.bytes):
            return Marker(run_id)
        begins = self._beginning(same_run=same_run, stands=True, already="is there already; use another path")
        mark = marker.settled(size) if marker else None
        if marker is None or mark is None or (begins == "anew" and self._crc(descriptor, mark) != mark.crc):
            did = "was not written by mblab" if marker is None else "was changed since mblab wrote it"
            raise SinkError(f"{self.path} {did}, so it is left as it is; move it away or use another path.")
        if begins == "go on":
            return replace(marker, before=mark, after=mark)
        if begins == "anew":
            return Marker(run_id)
        return Marker(run_id, marker.columns, mark.bytes, mark, mark, marker.types)

    def savepoint(self) -> Savepoint | None:
        """Return the file's length, and what is needed to go on from there."""
        return {**asdict(self._at), "types": self._marker.types}

    def rollback(self, savepoint: Savepoint | None) -> None:
        """Cut off what was delivered since; what others wrote stays, and so does all before it.

        Raises:
            SinkError: The file is shorter than it was, or something else wrote in between.
        """
        if savepoint is None:
            return
        types, descriptor = savepoint.get("types"), self._opened()
        mark = Mark(**{name: kept for name, kept in savepoint.items() if name != "types"})
        size = self.disk.stat(descriptor).st_size
        if size > self._at.bytes and not self._is_ours(descriptor, size):
            if mark == self._at:  # nothing of ours stands behind it
                return
            raise self._changed()
        if not self._marker.begin <= mark.bytes <= size:
            raise SinkError(
                f"{self.path} cannot go back to its first {mark.bytes:,} bytes: it has {size:,}, "
                f"and those before {self._marker.begin:,} belong to earlier runs; use another path."
            )
        with writing(self.path):
            self._marker = replace(self._marker, before=mark, after=self._at)  # true before the cut and after it
            self._write_marker(self._marker, durable=True)
            self.disk.truncate(descriptor, mark.bytes)
            self.disk.sync(descriptor)
        self._at, self._known = mark, _Known(types)
        self._marker = replace(self._marker, types=types)

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Append a batch; with a checkpoint, which shows in `input_hash`, it then also survives a power cut.

        Raises:
            SinkError: Other columns than before, a file that something else has changed, or a full disk.
        """
        descriptor, batch_id = self._opened(), delivery.batch_id
        if is_held(_delivery_at(self._at), delivery, str(self.path)):
            return
        rows = named(rows, self.path, batch_id)
        first = self._at.bytes == 0
        columns = tuple(rows.columns) if first else self._marker.columns
        if self.same_columns:
            rows = aligned(rows, columns, self.path, batch_id)
        data = self._encoded(rows, batch_id, first=first)
        types = self._known.types_with(rows, first=first, as_text=self.text_holds_all)
        end, crc = self._at.bytes + len(data), zlib.crc32(data, self._at.crc)
        after = Mark(end, crc, delivery.run_id, batch_id, delivery.input_hash)
        self._refuse_second_writer(self._at.bytes)
        self._writing = data
        durable = bool(delivery.input_hash)
        with writing(self.path):
            try:
                self._marker = replace(self._marker, columns=columns, before=self._at, after=after, types=types)
                self._write_marker(self._marker, durable=durable)
                write_all(descriptor, data, self._at.bytes, self.disk)
                self._refuse_second_writer(end)
                if durable:
                    self.disk.sync(descriptor)
            except OSError:
                with suppress(OSError):
                    if self._is_ours(descriptor, self.disk.stat(descriptor).st_size):
                        self.disk.truncate(descriptor, self._at.bytes)
                raise
        self._at, self._writing = after, b""

    @abstractmethod
    def _text(self, rows: pd.DataFrame, *, first: bool) -> str:
        """Return a batch as text that ends with a line's end.

        Args:
            rows: At least one, with names that are strings.
            first: Whether nothing stands before it.
        """

    def _encoded(self, rows: pd.DataFrame, batch_id: int, *, first: bool) -> bytes:
        try:
            return self._text(rows, first=first).encode()
        except UnicodeEncodeError as error:
            raise SinkError(
                f"{self.path} cannot take batch {batch_id}: {shown(error.object[error.start : error.end])} is half a "
                "character and has no UTF-8; clean the text in the step."
            ) from None

    def _refuse_second_writer(self, size: int) -> None:
        found = self._stat(self.file)
        if found.st_size != size or found.st_ino != self._inode:
            raise self._changed()

    def _changed(self) -> SinkError:
        return SinkError(
            f"{self.path} was changed by something else during the run, and is left as it is; give each writer a path "
            "of its own."
        )

    def _is_ours(self, descriptor: int, size: int) -> bool:
        """Return whether what stands behind the last batch is the beginning of the one that was being written."""
        behind = size - self._at.bytes
        if behind > len(self._writing):
            return False
        return self.disk.read(descriptor, behind, self._at.bytes) == self._writing[:behind]

    def last(self) -> Delivery | None:
        """Return the newest delivery that stands in the file, or None."""
        if self._descriptor is not None:
            return _delivery_at(self._at)
        marker = self._read_marker()
        try:
            mark = marker.settled(self.disk.stat(self.file).st_size) if marker else None
        except FileNotFoundError:
            return None
        return _delivery_at(mark) if mark else None

    def close(self) -> None:
        """Make the file survive a power cut and let go."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with writing(self.path):
                try:
                    self.disk.sync(descriptor)
                    with suppress(FileNotFoundError):  # moved away: whoever did that has the rows
                        self._write_marker(replace(self._marker, before=self._at, after=self._at), durable=False)
                finally:
                    self.disk.close(descriptor)
                    self._let_go()

    def _opened(self) -> int:
        if self._descriptor is None:
            raise self._not_open()
        return self._descriptor

    def _read_marker(self) -> Marker | None:
        return read_marker(self._marker_file, self.disk)

    def _write_marker(self, marker: Marker, *, durable: bool) -> None:
        write_whole(self._marker_file, marker.text(), durable=durable, disk=self.disk)

    def _crc(self, descriptor: int, mark: Mark) -> int:
        """Return the CRC-32 of the file up to a mark."""
        return crc_of(lambda size, at: self.disk.read(descriptor, size, at), mark.bytes)


class _Known:
    """What is known of the columns of a file, from one batch to the next.

    Args:
        types: As a marker has it; None when nothing is known of them.
    """

    def __init__(self, types: str | None = None) -> None:
        self._notes = unpacked(types)
        self._types = None if self._notes is None else types
        self._dtypes: pd.Series[Any] | None = None  # of the last batch, where they alone say what its columns are

    def types_with(self, rows: pd.DataFrame, *, first: bool, as_text: bool) -> str | None:
        """Return what is known of them with one more batch; of a file that began without notes nothing is."""
        if self._notes is None and not first:
            return None
        if self._notes is not None and not first and self._dtypes is not None and rows.dtypes.equals(self._dtypes):
            return self._types
        more = noted(rows, in_json=not as_text)
        notes = more if first or self._notes is None else joined(self._notes, more, as_text=as_text)
        if notes != self._notes:
            self._notes, self._types = notes, packed(notes)
        self._dtypes = rows.dtypes if is_settled(rows) else None
        return self._types


def _delivery_at(mark: Mark) -> Delivery | None:
    """Return the last delivery before a mark."""
    return Delivery(mark.run_id, mark.batch_id, mark.input_hash) if mark.run_id else None

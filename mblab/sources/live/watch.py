"""Files that appear in a folder, each read once when it is complete.

A file is complete when it cannot be half of one: Parquet when its footer can be read, which is written last; text when
it has not been written to for a while and its last line is whole. So what a writer left behind when it crashed is never
read. Files are known by name and identity (inode, size, time of change, and a digest of both ends once one is read).

    folder -> [watch] -> live -> feed
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import pandas as pd

from mblab.errors import SettingError, SourceChanged, SourceError, missing_column
from mblab.sources.base import Position
from mblab.sources.csv import CsvFiles
from mblab.sources.live.base import Arrival, Live
from mblab.support.arguments import column_name, column_names, flag, plain, user_path
from mblab.tables.base import FileTable, each_once
from mblab.tables.dialects import PACKED, opened, unpacked
from mblab.tables.files import KINDS, NAMED, PARTED, kind_of, natural, open_table, schema_difference, settled
from mblab.tables.folders import fixed_part, is_whole, keys_of
from mblab.tables.given import Given, given_types, types_code
from mblab.tables.jsonl import JsonlTable
from mblab.timing.durations import Duration, duration_ns, format_s, seconds

__all__ = ["Watch", "watch"]

ENDS_BYTES: Final = 1 << 16  # of each end of a file, for its digest
STUCK_S: Final = 30.0

logger = logging.getLogger("mblab")


class _Identity(NamedTuple):
    """What tells one file from another, and from itself after it was written to."""

    device: int
    inode: int
    size: int
    changed_ns: int


@dataclass(slots=True)
class _Known:
    """A file that was seen.

    Attributes:
        identity: What it was when it was last looked at.
        since_s: When it became that, on the monotonic clock.
        found: Whether it was complete, and is read or about to be.
        digest: Of both its ends, once reading began; empty before.
        refused: Whether this identity is known to be incomplete.
        told: Whether it was said that it waits.
    """

    identity: _Identity
    since_s: float
    found: bool = False
    digest: str = ""
    refused: bool = False
    told: bool = False


@dataclass(frozen=True, repr=False)
class Watch(Live):
    """Files that appear; made by `watch`.

    Attributes:
        pattern: Path with wildcards.
        every: Seconds of real time from one poll to the next.
        settle: Seconds for which a text file must not have been written to.
        columns: Columns the rows keep; None means all.
        time_column: Column with the time things happened, or None.
        existing: Whether files that are there at the start are read.
        flatten: Whether what stands in objects are columns, such as `device.id`.
        types: Types that columns shall have, by name.
        form: How CSV files are written, where that was said.
    """

    pattern: Path
    every: float
    settle: float
    columns: tuple[str, ...] | None = None
    time_column: str | None = None
    existing: bool = True
    flatten: bool = False
    types: Mapping[str, Given] = field(default_factory=dict)
    form: CsvFiles | None = None

    @property
    def name(self) -> str:
        """The pattern, without its folder."""
        return self.pattern.name

    @property
    def every_s(self) -> float:
        """Seconds of real time from one poll to the next."""
        return self.every

    @property
    def event_time(self) -> str | None:
        """Column with the time things happened, or None."""
        return self.time_column

    @property
    def beside(self) -> str | None:
        """The event-time column where the rows are not to have it, else None."""
        return None if self.columns is None or self.time_column in self.columns else self.time_column

    @property
    def input_path(self) -> Path:
        """The path with wildcards."""
        return self.pattern

    def poller(self, position: Position | None = None) -> _Folder:
        """Return what looks into the folder."""
        return _Folder(self, position)

    def describe(self) -> str:
        """Return one line for people."""
        return f"live: new files {self.pattern}, looked for every {format_s(self.every)}"

    def code(self, input: str) -> str:  # noqa: A002
        """Return the Python expression that makes this source again from `input`, a path with wildcards."""
        return f"mblab.{self._call(input)}"

    def __repr__(self) -> str:
        """Return the call that made it."""
        return self._call(repr(str(self.pattern)))

    def _call(self, path: str) -> str:
        given = {
            "every": plain(self.every),
            "settle": plain(self.settle),
            "columns": self.columns and repr(list(self.columns)),
            "event_time": self.time_column and repr(self.time_column),
            "existing": None if self.existing else "False",
            "flatten": "True" if self.flatten else None,
            "types": types_code(self.types) if self.types and self.form is None else None,
        }
        files = path if self.form is None else self.form.code(path)
        return f"watch({', '.join([files, *(f'{k}={v}' for k, v in given.items() if v is not None)])})"


_File: TypeAlias = Arrival[tuple[str, _Identity] | None]  # None once it is given up


class _Folder:
    """Looks into the folder, and reads what is complete.

    Its position holds the files that were read wholly (`done`: name, identity and digest of those still there), the
    file being read, and the row it was read from.
    """

    over = False
    rest = 9.0  # a poll is work, and took/(took + 9·took) is at most a tenth of a core

    def __init__(self, source: Watch, position: Position | None) -> None:
        self._source = source
        self._books = threading.Lock()  # files are found in the poller's thread and read in the engine's
        self._known: dict[str, _Known] = {}
        self._done: list[list[Any]] = []
        self._skip = not source.existing and position is None
        self._names: list[str] | None = None  # columns of the first file
        self._types: dict[str, Given] = dict(source.types)  # and those that a file has settled
        self._whole: dict[str, bool] = {}  # whether a key in the names of folders holds whole numbers
        self._resume: tuple[list[Any], int] | None = None
        if position is not None:
            self._done = [*position["done"]]
            self._known = {e[0]: _Known(_Identity(*e[1:5]), 0.0, True, e[5]) for e in self._done}
            self._resume = (position["file"], int(position["row"]))

    def poll(self) -> Sequence[_File | SourceError]:
        """Return the files that have become complete, oldest first, and what has changed that was read before."""
        now_s, there = time.monotonic(), self._list()
        with self._books:
            gone = [self._known.pop(name) for name in [*self._known] if name not in there]
            if gone:
                self._done = [e for e in self._done if e[0] in there]
            # by identity, not by name: what is gone may be there again under another name
            read = {k.identity: k.digest for k in (*gone, *self._known.values()) if k.found}
        arrived: list[_File | SourceError] = []
        if self._resume is not None:
            arrived.append(self._resumed(there))
        for name in sorted(there, key=lambda n: (there[n].changed_ns, natural(n))):
            identity, known = there[name], self._known.get(name)
            if known is None:
                # one that moved, or a second name of it: its rows have been read
                known = self._known[name] = _Known(identity, now_s, self._skip or identity in read)
                known.digest = read.get(identity, "")
            elif known.found:
                if identity != known.identity and (changed := self._changed(name, known, identity)):
                    arrived.append(changed)
                continue
            elif identity != known.identity:
                known = self._known[name] = _Known(identity, now_s, told=known.told)
            if not known.found and self._is_complete(name, known, now_s):
                known.found = True
                arrived.append(Arrival((name, identity)))
        self._skip = False
        return arrived

    def read(self, arrival: _File) -> Iterator[tuple[pd.DataFrame, Position]]:
        """Return the rows of a file from the first one that was not given out.

        Raises:
            SourceError: It cannot be read; asked again it is read again, as it is then.
            SourceChanged: It was written to while it was read.
        """
        if arrival.what is None:  # given up
            return
        name, identity = arrival.what
        row, digest = arrival.given, _digest(name, identity.size)
        pieces = self._pieces(name, row) if _identity(name) == identity else iter(())
        while True:
            try:
                rows = next(pieces, None)
            except SourceChanged:
                if _identity(name) == identity:
                    raise
                rows = None
            if _identity(name) != identity:
                self._lose(arrival, name, row)
                return
            if rows is None:
                break
            yield rows, {"done": self._done, "file": [name, *identity, digest], "row": row}
            row += len(rows)
        with self._books:
            self._done = [*self._done, [name, *identity, digest]]
            if (known := self._known.get(name)) is not None:
                known.digest = digest

    def _pieces(self, name: str, row: int) -> Iterator[pd.DataFrame]:
        table = self._open(name)
        if table.num_rows == 0:  # it settles nothing
            return
        keys = self._keys(name, table.names)
        columns = self._columns(name, [*table.names, *keys], may_lack=isinstance(table, JsonlTable))
        there = [c for c in columns if c in table.names]
        self._types |= settled(table, [c for c in there if c not in self._types])
        for rows in table.read(there or table.names[:1], row):
            known = {k: pd.Series(v, rows.index, dtype) for k, (v, dtype) in keys.items() if k in columns}
            whole = rows.assign(**known)
            yield whole if list(whole.columns) == columns else whole.reindex(columns=columns)

    def _open(self, name: str) -> FileTable:
        """Return the table of a file, with the types that are known; a type of nested values is none to hold on to."""
        dialect = None if self._source.form is None else self._source.form.dialect
        return open_table(Path(name), self._types, dialect, flatten=self._source.flatten)

    def _keys(self, name: str, names: list[str]) -> dict[str, tuple[str | int | None, str]]:
        """Return what the names of a file's folders say, with its dtype; the first file settles which are numbers."""
        found = keys_of(Path(name), fixed_part(self._source.pattern))
        kept: dict[str, tuple[str | int | None, str]] = {}
        for key, value in found.items():
            if key in names:
                continue
            if value is not None:
                self._whole.setdefault(key, is_whole(value))
            if self._whole.get(key) and value is not None and not is_whole(value):
                raise SourceError(
                    f"{name} has {key}={value} in the name of a folder, where those before have whole numbers; "
                    "give all of them a form such as 2026, or leave the column out."
                )
            if not self._whole.get(key):
                kept[key] = value, "str"
            else:
                kept[key] = (None, "float64") if value is None else (int(value), "int32")
        return kept

    def _lose(self, arrival: _File, name: str, row: int) -> None:
        """Give a file up that was removed or rewritten before all of it was read."""
        arrival.what = None
        if row == 0:  # nothing of it was given out: what is there now is seen anew
            with self._books:
                self._known.pop(name, None)
            return
        found = _identity(name)
        if found is not None:
            known = _Known(found, 0.0, found=True, digest=_digest(name, found.size))
            with self._books:
                self._known[name] = known
        raise SourceChanged(
            f"{name} was {'removed' if found is None else 'rewritten'} while it was read, after {row:,} of its rows; "
            "the rest of it is left out, and lab.resume() goes on with the other files."
        )

    def _list(self) -> dict[str, _Identity]:
        """Return the files that match, with their identities; a leading dot or underscore is a writer's own."""
        pattern, parted = self._source.pattern, self._source.form is not None
        if glob.has_magic(str(pattern.parent)):
            paths = glob.glob(str(pattern), recursive=True)  # noqa: PTH207  names as text, many and often
            return {
                p: identity
                for p in paths
                if _is_rows(Path(p).name, pattern, parted=parted) and (identity := _identity(p))
            }
        there = {}
        try:
            with os.scandir(pattern.parent) as entries:
                for entry in entries:
                    if _is_rows(entry.name, pattern, parted=parted) and fnmatch.fnmatchcase(entry.name, pattern.name):
                        identity = _identity(entry.path)
                        if identity is not None:
                            there[entry.path] = identity
        except OSError as error:
            raise SourceError(f"{pattern.parent} cannot be looked into: {error.strerror}.") from None
        return there

    def _resumed(self, there: dict[str, _Identity]) -> _File | SourceError:
        assert self._resume is not None
        entry, row = self._resume
        self._resume = None
        name, identity = entry[0], _Identity(*entry[1:5])
        found = there.get(name)
        if found is None or (found != identity and _digest(name, found.size) != entry[5]):
            what = "is gone" if found is None else "was rewritten"
            return SourceChanged(f"{name} {what} since its first {row:,} row(s) were read, so it cannot be read on.")
        self._known[name] = _Known(found, 0.0, found=True)
        return Arrival((name, found), given=row)

    def _changed(self, name: str, known: _Known, identity: _Identity) -> SourceChanged | None:
        """Return what to say about a file that was written to after it was found; nothing when it holds the same."""
        if not known.digest:  # not read yet; reading it will notice
            return None
        known.identity, before = identity, known.identity
        digest = _digest(name, identity.size)
        if digest in (known.digest, ""):
            return None
        known.digest = digest
        return SourceChanged(
            f"{name} was rewritten after its rows were read (it had {before.size:,} bytes, now {identity.size:,}), and "
            "its new rows are left out; write new rows into new files. lab.resume() goes on with the other files."
        )

    def _is_complete(self, name: str, known: _Known, now_s: float) -> bool:
        waited_s = now_s - known.since_s
        if name.lower().endswith(".parquet"):
            if not known.refused:
                known.refused = not _has_footer(name, known.identity.size)
            whole = not known.refused
            why = "it has no footer yet"
        else:
            # nobody has written to it for `settle`: by our own clock since it was seen so, or by the file's own stamp
            still = max(waited_s, time.time() - known.identity.changed_ns / 1e9) >= self._source.settle
            if still and not known.refused:
                known.refused = not _last_line_is_whole(name, known.identity.size)
            whole = still and not known.refused
            why = "its last line is unfinished"
        if not whole and waited_s > STUCK_S and not known.told:
            known.told = True
            logger.warning("%s has not been complete for %s: %s.", name, format_s(STUCK_S), why)
        return whole

    def _columns(self, name: str, names: list[str], *, may_lack: bool) -> list[str]:
        """Return the columns to read, checked against those of the first file; a JSONL file may lack some."""
        source = self._source
        asked = [("event_time", source.time_column), *(("columns", c) for c in source.columns or ())]
        asked += [("types", c) for c in source.types]
        if self._names is None:
            for knob, column in asked:
                if column is not None and column not in names:
                    raise missing_column(knob, column, names)
            self._names = names
        needed = None if source.columns is None else {*source.columns, source.time_column}
        names, before = ([n for n in some if needed is None or n in needed] for some in (names, self._names))
        each_once(names, name)
        # asked for: names = first, as sets; where columns may be missing, names ⊆ first
        if said := schema_difference([c for c in before if not may_lack or c in names], names):
            raise SourceError(f"{name} {said}; all files must have the columns of the first one.")
        beside = [] if source.beside is None else [source.beside]
        return [*(source.columns or self._names), *beside]


def _is_rows(name: str, pattern: Path, *, parted: bool) -> bool:
    """Return whether a name is that of a file to read; `.json` is one only where the pattern says so.

    Where it was said how values are `parted`, the pattern decides, and in a whole folder the ending.
    """
    if parted:
        return not name.startswith((".", "_")) and (pattern.name != "*" or unpacked(Path(name)) in PARTED)
    kinds = NAMED if pattern.name.lower().endswith(tuple(NAMED)) else KINDS
    return not name.startswith((".", "_")) and name.lower().endswith(tuple(kinds))


def _identity(name: str) -> _Identity | None:
    """Return what a file is now; None when it is gone, or no file."""
    try:
        found = os.stat(name)  # noqa: PTH116  asked often
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return _Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _digest(name: str, size: int) -> str:
    """Return a digest of both ends of a file and its size; empty when it is gone."""
    try:
        with Path(name).open("rb") as file:
            ends = file.read(ENDS_BYTES)
            file.seek(max(0, size - ENDS_BYTES))
            return hashlib.blake2b(ends + file.read() + str(size).encode(), digest_size=16).hexdigest()
    except OSError:
        return ""


def _has_footer(name: str, size: int) -> bool:
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


def _last_line_is_whole(name: str, size: int) -> bool:
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


def watch(
    path: str | Path | CsvFiles,
    *,
    every: Duration = "500ms",
    settle: Duration = "1s",
    columns: Sequence[str] | None = None,
    event_time: str | None = None,
    existing: bool = True,
    flatten: bool = False,
    types: Mapping[str, Any] | None = None,
) -> Watch:
    """Return a live source of the files that appear in a folder, each row once.

    Args:
        path: Path with wildcards, such as `"in/*.parquet"`; `**` takes folders below too. Parquet, CSV and JSONL are
            read, told by their endings (text also packed as .csv.gz, .zst or .bz2; `mblab.sources.csv("in/*.txt",
            sep=";")` for CSV that is written otherwise); names with a leading dot or underscore are left alone, so a
            writer can use one and rename. Files that become complete between two polls are read in the order of their
            last change. Keys in the names of folders, such as `region=eu`, are columns too, unless the files have such
            a column.
        every: Real time from one poll to the next, at least 1 ms; when one takes long, nine times as long as it.
        settle: How long a CSV or JSONL file must not have been written to before it is read, if its last line is whole
            too; 0 when all writers rename their files into place. Parquet is read as soon as its footer is there.
        columns: Columns that the rows keep; None means all.
        event_time: Column that tells when a row happened.
        existing: Whether files that are there at the start are read; they arrive at 0.
        flatten: Make columns such as `device.id` of what stands in objects, as `replay` does.
        types: Types that columns shall have, {column: dtype}, by a dtype of pandas, NumPy or Arrow or its name. Of
            other columns the first file that has a value in them decides whether they are text, numbers, times or
            truth, and a later file that does not fit is a `SourceError`.

    All rows of a file arrive when the lab found it complete. Before a batch, files are decoded for a second at most,
    and until a million rows wait in memory; what is left over keeps its arrival and belongs to the next batch. A file
    that is removed, renamed or written again with the same content after it was read changes nothing; one that was read
    and then has other content halts the run with `SourceChanged`. A file that cannot be read halts it too; mend or
    remove it and call `lab.resume()`.

    Raises:
        SettingError: An argument is out of its range.
        SourceError: The folder does not exist, or files of that ending are not read.
    """
    form = path if isinstance(path, CsvFiles) else None
    pattern = user_path(path if form is None else form.path, "path")
    if form is not None and form.types and types is not None:
        raise SettingError("types must be given once, to mblab.sources.csv or to watch; leave one out.")
    if pattern.is_dir() and form is not None:
        pattern = pattern / "*"
    if pattern.is_dir():
        raise SourceError(f"{pattern} is a folder; say which files in it, such as {str(pattern / '*.parquet')!r}.")
    fixed = fixed_part(pattern)
    if not fixed.is_dir():
        raise SourceError(f"{fixed} is no folder, so nothing can appear in it; create it first.")
    if form is None and pattern.suffix and not glob.has_magic(pattern.suffix) and kind_of(pattern) is None:
        raise SourceError(f"{pattern} must end in one of {[kind for kind in KINDS if kind.count('.') == 1]}.")
    if form is not None and types is not None:
        form = replace(form, types=given_types(types))
    return Watch(
        pattern,
        seconds(duration_ns(every, "every", minimum_ns=1_000_000)),
        seconds(duration_ns(settle, "settle")),
        column_names(columns),
        column_name(event_time, "event_time"),
        flag(existing, "existing"),
        flag(flatten, "flatten"),
        given_types(types) if form is None else form.types,
        form,
    )

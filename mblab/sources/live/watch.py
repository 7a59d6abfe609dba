"""Files that appear in a folder, each read once when it is complete.

finding, reading -> [watch] -> live -> feed
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mblab.errors import SettingError, SourceChanged, SourceError
from mblab.sources.base import Position
from mblab.sources.csv import CsvFiles
from mblab.sources.live.base import Live
from mblab.sources.watching.files import digest_of, identity_of
from mblab.sources.watching.finding import FileArrival, Finder
from mblab.sources.watching.reading import Reader
from mblab.support.arguments import column_name, column_names, flag, plain, user_path
from mblab.tables.files import KINDS, kind_of
from mblab.tables.folders import fixed_part
from mblab.tables.given import Given, given_types, types_code, types_said
from mblab.timing.durations import Duration, duration_ns, format_s, seconds

__all__ = ["Watch", "watch"]


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
    types: Mapping[str, Given] = field(default_factory=dict, hash=False)
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
        if self.form is not None:
            return f"mblab.{self._call(self.form.code(input), '')}"
        return f"mblab.{self._call(input, types_code(self.types))}"

    def __repr__(self) -> str:
        """Return the call that made it."""
        return self._call(repr(str(self.pattern) if self.form is None else self.form), types_said(self.types))

    def _call(self, files: str, types: str) -> str:
        given = {
            "every": plain(self.every),
            "settle": plain(self.settle),
            "columns": self.columns and repr(list(self.columns)),
            "event_time": self.time_column and repr(self.time_column),
            "existing": None if self.existing else "False",
            "flatten": "True" if self.flatten else None,
            "types": types if self.types and self.form is None else None,
        }
        return f"watch({', '.join([files, *(f'{k}={v}' for k, v in given.items() if v is not None)])})"


class _Folder:
    """Looks into the folder, and reads what is complete.

    Its position holds the files that were read wholly (`done`: name, identity and digest of those still there), the
    file being read, and the row it was read from.
    """

    over = False
    rest = 9.0  # a poll is work, and took/(took + 9·took) is at most a tenth of a core

    def __init__(self, source: Watch, position: Position | None) -> None:
        self._finder = Finder(
            source.pattern, source.settle, position, existing=source.existing, parted=source.form is not None
        )
        self._reader = Reader(source)

    def poll(self) -> Sequence[FileArrival | SourceError]:
        """Return the files that have become complete, oldest first, and what has changed that was read before."""
        return self._finder.poll()

    def read(self, arrival: FileArrival) -> Iterator[tuple[pd.DataFrame, Position]]:
        """Return the rows of a file from the first one that was not given out.

        Raises:
            SourceError: It cannot be read; asked again it is read again, as it is then.
            SourceChanged: It was written to while it was read.
        """
        if arrival.what is None:  # given up
            return
        name, identity = arrival.what
        row, digest = arrival.given, digest_of(name, identity.size)
        pieces = self._reader.pieces(name, row) if identity_of(name) == identity else iter(())
        while True:
            try:
                rows = next(pieces, None)
            except SourceChanged:
                if identity_of(name) == identity:
                    raise
                rows = None
            if identity_of(name) != identity:
                arrival.what = None
                self._finder.lose(name, row)
                return
            if rows is None:
                break
            yield rows, {"done": self._finder.done, "file": [name, *identity, digest], "row": row}
            row += len(rows)
        self._finder.finish(name, identity, digest)


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
        SettingError: An argument is out of its range, a type has no such name, or types are given twice.
        SourceError: The folder does not exist, it is a folder without a pattern, or files of that ending are not read.

    What only reading a file tells halts the run: a `ColumnError` where the first file lacks a column that is asked for,
    a `SourceError` where a file cannot be read, or does not go with the first one.
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

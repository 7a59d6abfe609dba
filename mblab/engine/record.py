"""A stream kept as a file: its rows, and when each of them arrived.

    any source -> [record] -> .parquet -> replay

Replayed without a word about columns, a recording gives the rows again at the times at which they arrived, so a live
stream can be run on the virtual clock, at any speed, as often as one likes.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mblab.engine.paths import is_read_by
from mblab.errors import MblabError, SettingError, SettingTypeError, SourceError, shown
from mblab.sources.base import Block, Source
from mblab.sources.csv import CsvFiles
from mblab.sources.live.base import Live
from mblab.sources.recording import ARRIVAL, MARK, Recording, recording_in
from mblab.sources.replay import replay
from mblab.support.arguments import user_path
from mblab.support.files import make_beside, move_into_place
from mblab.tables.arrow import as_arrow, json_columns, lost_field
from mblab.tables.base import DECODE_ROWS, each_once
from mblab.timing.clock import WallClock
from mblab.timing.durations import NS, Duration, duration_ns, format_s
from mblab.timing.times import Times, scale_ns

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["record"]

LOOK_S: Final = 0.02
KEEP_S: Final = 10.0  # rows of a slow stream are written at least this often


def record(source: Source | CsvFiles, path: str | Path, duration: Duration | None = None) -> Path:
    """Write a source's rows and their arrivals into a Parquet file, which `replay(path)` gives again; return its path.

    A live source is listened to for that long; any other is read as fast as it can be. Arrivals are written as on the
    clock of a run, a source's speed-up included. The file appears when it is complete; Ctrl-C completes it too. An
    earlier recording is replaced, any other file never.

    Args:
        source: What to record. Of `mblab.sources.csv(…)`, which tells of no arrivals, rows arrive 1 ns apart, in order.
        path: A file ending in .parquet.
        duration: How long, on the run's clock; None until the source ends, which a live one does on Ctrl-C.

    Raises:
        SettingError: An argument breaks its rule, or an endless source is given no duration.
        SourceError: The source failed, and what came before is in the file; or nothing arrived, and there is none.

    >>> import tempfile
    >>> from mblab.sources import replay, simulate
    >>> path = Path(tempfile.mkdtemp(), "readings.parquet")
    >>> recorded = replay(record(simulate.sensors(duration="5s"), path))
    >>> recorded.event_time, len(next(recorded.open()).rows)
    ('event_time', 1057)
    """
    if isinstance(source, CsvFiles):
        source = replay(source, rate=NS)
    if not isinstance(source, Source):
        raise SettingTypeError(f"source must be a source of rows such as mblab.watch(…), got {shown(source, 40)}.")
    target = _checked_target(path)
    if is_read_by(source, target.resolve()):
        raise SettingError(f"path={str(path)!r} is what {source.name} reads; record into another file.")
    length = None if duration is None else duration_ns(duration, minimum_ns=1)
    if length is None and source.endless and not isinstance(source, Live):
        raise SettingError(f"{source.name} never ends by itself, so record() needs a duration, such as '1min'.")
    writer = _Writer(source, target)
    heard = _heard(source, length) if isinstance(source, Live) else _read(source, length)
    try:
        with contextlib.closing(heard):  # whatever ends it: what was polling must not go on
            for block in heard:
                writer.add(block)
        if writer.rows:
            return writer.finish()
    except KeyboardInterrupt:
        writer.finish()
        raise
    except MblabError as error:
        if isinstance(error, _Unwritable):
            writer.drop()
            raise SourceError(str(error)) from None
        if not writer.rows:
            raise
        writer.finish()
        raise SourceError(f"{error} What came before, {writer.rows:,} row(s), is recorded in {target}.") from error
    except BaseException:
        writer.drop()
        raise
    within = "" if length is None else f" within {format_s(length / NS)}"
    raise SourceError(f"nothing arrived from {source.name}{within}, so there is nothing to record.")


class _Unwritable(SourceError):
    """Rows that no file of this kind can hold."""


def _checked_target(path: str | os.PathLike[str]) -> Path:
    target = user_path(path, "path")
    if target.suffix.lower() != ".parquet":
        raise SettingError(f"path must end in .parquet, got {str(path)!r}.")
    if not target.parent.is_dir():
        raise SettingError(f"path={str(path)!r} lies in a folder that does not exist; create it first.")
    if target.exists() and not _is_recording(target):
        raise SettingError(f"path={str(path)!r} exists and is no recording; choose another, or remove it.")
    return target


def _is_recording(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return path.is_file() and recording_in(pq.read_schema(path)) is not None
    except (OSError, pa.ArrowException):
        return False


def _read(source: Source, length: int | None) -> Generator[Block]:
    """Yield the rows of a source that can be read ahead, with arrivals on the run's clock."""
    for block in source.open():
        arrival_ns = scale_ns(block.arrival_ns, 1.0, source.speedup)
        kept = len(arrival_ns) if length is None else int(arrival_ns.searchsorted(length))
        times = None if block.event_times is None else block.event_times.iloc[:kept]
        yield Block(block.rows.iloc[:kept], arrival_ns[:kept], block.position, times)
        if kept < len(arrival_ns):
            return


def _heard(source: Live, length: int | None) -> Generator[Block]:
    """Yield the rows of a live source as they come."""
    clock = WallClock()
    collector = source.collect(clock.now_ns)
    try:
        clock.start()
        while True:
            over = length is not None and clock.now_ns() >= length  # asked before the block, which is stamped
            block: Block | None = collector.next()
            if block is not None:
                if length is not None and len(block.arrival_ns) and block.arrival_ns[0] >= length:
                    return
                yield block
            elif over or collector.over:
                return
            else:
                time.sleep(LOOK_S)
    finally:
        collector.close()


class _Writer:
    """Writes blocks as row groups of a file that appears when it is finished."""

    def __init__(self, source: Source, target: Path) -> None:
        self.rows = 0
        self._beside = False  # whether event times stand beside the rows
        self._source, self._target = source, target
        self._temporary: Path | None = None
        self._held: list[tuple[pd.DataFrame, Times]] = []
        self._as_json: frozenset[str] = frozenset()  # columns of lists and dicts that Arrow would change
        self._held_rows = 0
        self._since_s = time.monotonic()
        self._file: Any = None
        self._schema: Any = None

    def add(self, block: Block) -> None:
        """Take in rows, their arrivals, and their event times where these stand beside them."""
        rows, arrival_ns = block.rows, block.arrival_ns
        if not len(rows):
            return
        each_once(map(str, rows.columns), self._source.name)
        if ARRIVAL in rows.columns:
            raise _Unwritable(f"column {ARRIVAL!r} is what a recording notes arrivals in; rename it.")
        if block.event_times is not None:
            self._beside = True
            rows = rows.assign(**{str(self._source.event_time): block.event_times.array})
        self._held.append((rows, np.asarray(arrival_ns, np.int64)))
        self._held_rows += len(rows)
        self.rows += len(rows)
        if self._held_rows >= DECODE_ROWS or (self._file and time.monotonic() - self._since_s > KEEP_S):
            self._write()

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._schema is None:
            self._as_json = json_columns([rows for rows, _ in self._held])
        tables = [self._table(rows, arrival_ns) for rows, arrival_ns in self._held]
        if self._schema is None:
            self._schema = self._noted(tables)
            try:
                self._temporary = make_beside(self._target)
                self._file = pq.ParquetWriter(self._temporary, self._schema)
            except OSError as error:
                raise self._no_place(error) from None
        try:
            parts = [t.select(self._schema.names).replace_schema_metadata(None) for t in tables]
            plain = self._schema.remove_metadata()
            self._refuse_lost_fields(parts, plain)
            whole = pa.concat_tables([part.cast(plain) for part in parts])
        except (pa.ArrowException, KeyError, ValueError) as error:
            said = str(error).splitlines()[0]
            raise _Unwritable(
                f"the rows of {self._source.name} change their columns or dtypes on the way, which one file cannot "
                f"hold: {said}."
            ) from None
        try:
            self._file.write_table(whole.replace_schema_metadata(self._schema.metadata))
        except OSError as error:
            raise self._no_place(error) from None
        self._held, self._held_rows, self._since_s = [], 0, time.monotonic()

    def _refuse_lost_fields(self, parts: Sequence[pa.Table], schema: pa.Schema) -> None:
        """Refuse dicts with a name that the ones before did not have: the file has no place for it."""
        for field in schema:
            for part in parts:
                name = lost_field(part.schema.field(field.name).type, field.type)
                if name is not None:
                    raise ValueError(f"dicts in column {field.name!r} have {name!r}, which none had before")

    def _no_place(self, error: OSError) -> _Unwritable:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return _Unwritable(f"{self._target} cannot be written: {reason}; make room or choose another path.")

    def _table(self, rows: pd.DataFrame, arrival_ns: Times) -> pa.Table:
        import pyarrow as pa

        try:
            table = as_arrow(rows, as_json=self._as_json)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            said = "; ".join(str(part).rstrip(".") for part in error.args)
            raise _Unwritable(
                f"the rows of {self._source.name} cannot be recorded: {said}; a column must hold one kind of value."
            ) from None
        return table.append_column(ARRIVAL, pa.array(arrival_ns))

    def _noted(self, tables: Sequence[pa.Table]) -> pa.Schema:
        """Return the schema of the first tables, with what a recording says of itself."""
        import pyarrow as pa

        source = self._source
        try:
            schema = pa.unify_schemas([t.schema for t in tables], promote_options="permissive")
        except pa.ArrowException:
            schema = tables[0].schema  # the write says which column it is
        facts = asdict(Recording(ARRIVAL, source.event_time, source.describe(), self._beside))
        return schema.with_metadata({**(tables[0].schema.metadata or {}), MARK: json.dumps(facts).encode()})

    def finish(self) -> Path:
        """Put the file in place."""
        try:
            if self._held:
                self._write()
            if self._file is not None and self._temporary is not None:
                self._file.close()
                move_into_place(self._temporary, self._target)
        finally:
            self._remove_temporary()
        return self._target

    def drop(self) -> None:
        """Forget the file."""
        if self._file is not None:
            self._file.close()
        self._remove_temporary()

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)

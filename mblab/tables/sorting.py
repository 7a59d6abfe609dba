"""Rows of a file in order of arrival, however large the file: sorted runs on disk, merged.

    table -> [sorting] -> replay

Up to a million rows are sorted in memory. Beyond that, runs of a million rows are sorted and put into a temporary
folder (as Arrow files, about the size of the decoded data), and merged a hundred thousand rows of each at a time. The
order is stable: rows of the same arrival stay in the order of the file.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mblab.errors import SourceError
from mblab.tables.base import DECODE_ROWS, ArrowTable, as_pandas, recut
from mblab.tables.given import Given
from mblab.tables.timestamps import epoch_ns
from mblab.timing.times import Times

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SortedTable"]

RUN_ROWS: Final = 1_000_000


@dataclass(frozen=True)
class SortedTable(ArrowTable):
    """A table in order of arrival (stable).

    Attributes:
        table: The rows as they come.
        clock: Column with the arrival times.
        tz: Where naive arrival times were taken.
        unit: What numeric arrival times count in.
        kept: Columns that are read; None means all.
        first: Whether local times that come twice are the first; None refuses them.
    """

    table: ArrowTable
    clock: str
    tz: str | None
    unit: str
    kept: Sequence[str] | None = None
    first: bool | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self.table, self.clock, self.tz, self.unit, self.kept, self.first)  # without what was sorted already
        return SortedTable, given

    @property
    def given(self) -> Mapping[str, Given]:
        """Return the types that columns shall have, by name."""
        return self.table.given

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema that fits every row."""
        return self.table.schema

    @property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes."""
        return self.table.sample

    @property
    def names(self) -> list[str]:
        """Return the names of all columns."""
        return self.table.names

    @property
    def num_rows(self) -> int | None:
        """Return how many rows there are; None when only reading them tells."""
        return self.table.num_rows

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere."""
        return self.table.holes(column)

    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one anywhere that float64 cannot."""
        return self.table.wide(column)

    def look(self, columns: Sequence[str]) -> None:
        """Find what will be asked of some columns in one pass."""
        self.table.look(columns)

    def dictionaries(self, column: str) -> Iterator[pa.Array]:
        """Return the categories of a dictionary column, piece by piece."""
        return self.table.dictionaries(column)

    def arrow(
        self,
        columns: Sequence[str],
        start: int = 0,
        types: Mapping[str, pa.DataType] | None = None,  # noqa: ARG002
    ) -> Iterator[pa.Table]:
        """Return the sorted rows from number `start` on in tables that end at multiples of 100,000 rows."""
        runs = [_batches(run, [self._key, *columns]) for run in self._runs.found]
        yield from recut((b for table in _merged(runs) for b in table.select(list(columns)).to_batches()), 0, start)

    @property
    def _key(self) -> str:
        """Name of the column with the arrival times, which no column has."""
        return "arrival" + "_" * max(map(len, self.names), default=0)

    @cached_property
    def _runs(self) -> _Runs:
        import pyarrow as pa

        runs, held, row = _Runs(), [], 0
        try:
            names = self.table.schema.names if self.kept is None else dict.fromkeys([self.clock, *self.kept])
            for table in self.table.arrow([*names]):
                held.append(table)
                if sum(t.num_rows for t in held) >= RUN_ROWS:
                    run = self._sorted(pa.concat_tables(held), row)
                    runs.write(run)
                    held, row = [], row + run.num_rows
            if held:
                run = self._sorted(pa.concat_tables(held), row)
                runs.write(run) if runs.found else runs.found.append(run)
        except OSError as error:
            raise SourceError(
                f"sort=True needs room for a copy of the rows in {tempfile.gettempdir()}, but "
                f"{error.strerror or error}; make room, or set TMPDIR to a larger disk."
            ) from None
        return runs

    def _sorted(self, table: pa.Table, row: int) -> pa.Table:
        """Return rows in order, with their arrival times; `row` is the number of the first one."""
        import pyarrow as pa

        clock = as_pandas(table.select([self.clock]))[self.clock]
        times = epoch_ns(clock, tz=self.tz, unit=self.unit, row=row, first=self.first)
        order = np.argsort(times, kind="stable")
        plain = pa.table([_takeable(c) for c in table.columns], names=table.column_names)
        return plain.take(order).append_column(self._key, pa.array(times[order]))


def _takeable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column in a type of the same values that Arrow can put in order and that runs can share."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return column.cast(views[column.type]) if column.type in views else column


class _Runs:
    """Sorted runs in a temporary folder, which goes with them; a single one is kept in memory."""

    def __init__(self) -> None:
        self.found: list[Path | pa.Table] = []  # paths, or one table
        self._folder: str | None = None

    def write(self, run: pa.Table) -> None:
        """Put a run into a file of its own."""
        import pyarrow as pa

        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="mblab-sort-")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = Path(self._folder, f"{len(self.found)}.arrow")
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, run.schema) as writer:
            writer.write_table(run, max_chunksize=DECODE_ROWS)
        self.found.append(path)


def _batches(run: Path | pa.Table, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield a run's batches; a file is mapped into memory."""
    import pyarrow as pa

    if not isinstance(run, Path):
        yield from run.select(columns).combine_chunks().to_batches()
        return
    with pa.memory_map(str(run)) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number).select(columns)


def _merged(runs: list[Iterator[pa.RecordBatch]]) -> Iterator[pa.Table]:
    """Merge sorted runs of record batches, by their first column; on a tie an earlier run goes first."""
    import pyarrow as pa

    heads: dict[int, tuple[pa.RecordBatch, Times]] = {}
    for number, run in enumerate(runs):
        _advance(heads, number, run)
    while heads:
        # all rows up to the lowest last key are at hand: that run's batch, and of later runs what is below its key
        last, lowest = min((int(keys[-1]), number) for number, (_, keys) in heads.items())
        parts = []
        for number in sorted(heads):
            batch, keys = heads[number]
            upto = int(keys.searchsorted(last, side="right" if number <= lowest else "left"))
            if upto:
                parts.append(batch.slice(0, upto))
            if upto == len(keys):
                _advance(heads, number, runs[number])
            else:
                heads[number] = batch.slice(upto), keys[upto:]
        table = pa.Table.from_batches(parts)
        keys = table.column(0).to_numpy()
        yield table if len(parts) == 1 else table.take(np.argsort(keys, kind="stable"))


def _advance(heads: dict[int, tuple[pa.RecordBatch, Times]], number: int, run: Iterator[pa.RecordBatch]) -> None:
    heads.pop(number, None)
    batch = next(run, None)
    if batch is not None:
        heads[number] = batch, batch.column(0).to_numpy()

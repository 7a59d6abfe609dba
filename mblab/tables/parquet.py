"""Rows out of a Parquet file.

.parquet -> [parquet] -> files
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mblab.errors import SourceError
from mblab.tables.base import (
    DECODE_ROWS,
    EXACT,
    FileTable,
    has_wide,
    plain_index,
    reading,
    recut,
    sample_of,
    unnamed_times,
)
from mblab.tables.fitting import fitted
from mblab.tables.flat import flat_schema, flat_table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["ParquetTable"]

NS_REACH_S = (2**63 - 1) // 10**9  # how far from 1970 int64 nanoseconds reach, in seconds
US_REACH_S = (2**63 - 1) // 10**6


class _Int96(NamedTuple):
    """What reading a column of INT96 times tells: the first row, from 0, where that is so, or None.

    Attributes:
        finer: It has digits below a microsecond.
        beyond_ns: Int64 nanoseconds do not hold it.
        beyond_us: Int64 microseconds do not hold it either.
    """

    finer: int | None = None
    beyond_ns: int | None = None
    beyond_us: int | None = None


@dataclass(frozen=True)
class ParquetTable(FileTable):
    """A Parquet file.

    Attributes:
        flatten: Whether what stands in structs are columns, such as `device.id`.
    """

    flatten: bool = False

    @cached_property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema, without the index that pandas may have put in."""
        with reading(self.path):
            found = plain_index(self._open().schema_arrow)
            return self.as_given(flat_schema(found) if self.flatten else found)

    @cached_property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes."""
        return sample_of(self.schema)

    @property
    def names(self) -> list[str]:
        """Return the names of all columns."""
        return list(self.schema.names)

    @cached_property
    def num_rows(self) -> int:
        """Return the number of rows, from the file's footer."""
        with reading(self.path):
            return int(self._file("ns").metadata.num_rows)

    @property
    def has_unnamed_times(self) -> bool:
        """Return whether the file has an index of times that has no name, so that it is no column."""
        with reading(self.path):
            return unnamed_times(self._file("ns").schema_arrow)

    def arrow(
        self, columns: Sequence[str], start: int = 0, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Return the rows from `start` on in tables that end at multiples of 100,000 rows."""
        return self.unchanged(self._read(columns, start, types))

    def _read(self, columns: Sequence[str], start: int, types: Mapping[str, pa.DataType] | None) -> Iterator[pa.Table]:
        import pyarrow as pa

        with reading(self.path):
            file = self._open()
            self._refuse_lossy(columns)
            group_rows = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            begins = np.concatenate([[0], np.cumsum(group_rows)]).astype(int)
            first = int(np.searchsorted(begins, start, side="right")) - 1
            groups = list(range(first, len(group_rows)))
            wanted = pa.schema([(c, (types or {}).get(c, self.schema.field(c).type)) for c in columns])
            if groups:
                batches = file.iter_batches(DECODE_ROWS, row_groups=groups, columns=self._tops(columns))
                for table in recut(batches, int(begins[first]), start):
                    chosen = (flat_table(table) if self.flatten else table).select(list(columns))
                    yield fitted(chosen, wanted, self.types, self.path) if types or self.types else chosen

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere: from the footer, else by reading it."""
        if self.is_converted(column):
            return super().holes(column)
        with reading(self.path):
            found = self._noted(column, "has_null_count")
            if found is not None:
                return any(noted.null_count for noted in found)
            return any(values.null_count for values in self._pieces(column))

    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one that float64 cannot: from the footer, else by reading."""
        if self.is_converted(column):
            return super().wide(column)
        with reading(self.path):
            found = self._noted(column, "has_min_max")
            if found is not None:
                return any(max(-noted.min, noted.max) > EXACT for noted in found)
            return any(has_wide(values) for values in self._pieces(column))

    def _noted(self, column: str, fact: str) -> list[Any] | None:
        """Return the footer's statistics of a column, one a row group; None when one lacks a fact."""
        file = self._open()
        paths = [file.schema.column(i).path for i in range(len(file.schema))]
        if paths.count(column) != 1:
            return None
        at = paths.index(column)
        found = [file.metadata.row_group(g).column(at).statistics for g in range(file.num_row_groups)]
        return found if all(noted and getattr(noted, fact) for noted in found) else None

    def _pieces(self, column: str) -> Iterator[pa.ChunkedArray]:
        """Yield the values of a column piece by piece."""
        import pyarrow as pa

        for batch in self._open().iter_batches(columns=self._tops([column])):
            table = pa.Table.from_batches([batch])
            yield (flat_table(table) if self.flatten else table).column(column)

    def _tops(self, columns: Sequence[str]) -> list[str]:
        """Return the columns of the file that columns are in."""
        return list(dict.fromkeys(self._top[c] for c in columns)) if self.flatten else list(columns)

    @cached_property
    def _top(self) -> dict[str, str]:
        """The column of the file that each flat column is in."""
        import pyarrow as pa

        return {name: f.name for f in self._open().schema_arrow for name in flat_schema(pa.schema([f])).names}

    def _open(self) -> pq.ParquetFile:
        return self._file(self._int96_unit)

    def _file(self, int96_unit: str) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        # with pre_buffer, iter_batches keeps all it has read
        return pq.ParquetFile(self.path, pre_buffer=False, coerce_int96_timestamp_unit=int96_unit)

    @cached_property
    def _int96_unit(self) -> str:
        """The unit that holds the file's INT96 times: that of Spark, which writes them, or a finer one if need be."""
        found = self._int96.values()
        return "ns" if any(c.finer is not None for c in found) and all(c.beyond_ns is None for c in found) else "us"

    @cached_property
    def _int96(self) -> dict[str, _Int96]:
        """What is known of columns with INT96 times, which are a day and nanoseconds of it: more than int64 holds."""
        one, other = self._file("us").schema_arrow, self._file("ns").schema_arrow
        return {a.name: self._looked_at(a.name) for a, b in zip(one, other, strict=True) if a.type != b.type}

    def _looked_at(self, column: str) -> _Int96:
        row, found = 0, _Int96()
        read = (self._file(unit).iter_batches(DECODE_ROWS, columns=[column]) for unit in ("s", "us", "ns"))
        for parts in zip(*read, strict=True):
            for s, us, ns in zip(*(_times_in(part.column(0)) for part in parts), strict=True):
                far = np.abs(s)
                # ns and us wrap around where they do not reach, and so does their difference, to what it should be
                marks = (ns - us * 1000 != 0, far > NS_REACH_S, far > US_REACH_S)
                nested = len(s) != parts[0].num_rows
                firsts = (row + (0 if nested else int(m.argmax())) if m.any() else None for m in marks)
                found = _Int96(*(new if old is None else old for old, new in zip(found, firsts, strict=True)))
            row += parts[0].num_rows
        return found

    def _refuse_lossy(self, columns: Sequence[str]) -> None:
        """Raise when one of some columns holds INT96 times that the unit of the file does not keep."""
        for name in self._tops(columns):
            known = self._int96.get(name, _Int96())
            row = known.beyond_us if known.beyond_us is not None or self._int96_unit == "ns" else known.finer
            if row is not None:
                what = (
                    "is beyond int64 microseconds" if known.beyond_us is not None else "has digits below a microsecond"
                )
                raise SourceError(
                    f"{self.path} has an INT96 time in column {name!r} that {what}, in row {row} (from 0) or soon "
                    "after, while its times must share a unit; write timestamps of one unit, or leave the column out."
                )


def _times_in(column: pa.Array) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the numbers behind all timestamps in a column, also in nested ones; 0 for those that are missing."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind):
        return [column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)]
    if pa.types.is_map(kind):
        return [*_times_in(column.keys), *_times_in(column.items)]
    if pa.types.is_struct(kind):
        return [times for inner in column.flatten() for times in _times_in(inner)]
    return _times_in(column.flatten()) if pa.types.is_nested(kind) else []

"""Rows out of a Parquet file.

.parquet -> [parquet] -> files
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mblab.tables.base import DECODE_ROWS, EXACT, FileTable, as_pandas, cast, has_wide, plain_index, reading, recut

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["ParquetTable"]


@dataclass(frozen=True)
class ParquetTable(FileTable):
    """A Parquet file."""

    @cached_property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema, without the index that pandas may have put in."""
        with reading(self.path):
            return plain_index(self._open().schema_arrow)

    @cached_property
    def sample(self) -> pd.DataFrame:
        """Return no rows, with columns and dtypes."""
        return as_pandas(self.schema.empty_table())

    @property
    def names(self) -> list[str]:
        """Return the names of all columns."""
        return list(self.schema.names)

    @cached_property
    def num_rows(self) -> int:
        """Return the number of rows, from the file's footer."""
        with reading(self.path):
            return int(self._open().metadata.num_rows)

    def arrow(
        self, columns: Sequence[str], start: int = 0, types: Mapping[str, pa.DataType] | None = None
    ) -> Iterator[pa.Table]:
        """Return the rows from `start` on in tables that end at multiples of 100,000 rows."""
        return self.unchanged(self._read(columns, start, types))

    def _read(self, columns: Sequence[str], start: int, types: Mapping[str, pa.DataType] | None) -> Iterator[pa.Table]:
        import pyarrow as pa

        with reading(self.path):
            file = self._open()
            group_rows = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            begins = np.concatenate([[0], np.cumsum(group_rows)]).astype(int)
            first = int(np.searchsorted(begins, start, side="right")) - 1
            groups = list(range(first, len(group_rows)))
            wanted = pa.schema([(c, (types or {}).get(c, self.schema.field(c).type)) for c in columns])
            if groups:
                batches = file.iter_batches(DECODE_ROWS, row_groups=groups, columns=list(columns))
                for table in recut(batches, int(begins[first]), start):
                    chosen = table.select(list(columns))
                    yield cast(chosen, wanted, self.path) if types else chosen

    def holes(self, column: str) -> bool:
        """Return whether the column has nulls anywhere: from the footer, else by reading it."""
        with reading(self.path):
            found = self._noted(column, "has_null_count")
            if found is not None:
                return any(noted.null_count for noted in found)
            return any(batch.column(0).null_count for batch in self._open().iter_batches(columns=[column]))

    def wide(self, column: str) -> bool:
        """Return whether a column of whole numbers holds one that float64 cannot: from the footer, else by reading."""
        with reading(self.path):
            found = self._noted(column, "has_min_max")
            if found is not None:
                return any(max(-noted.min, noted.max) > EXACT for noted in found)
            return any(has_wide(batch.column(0)) for batch in self._open().iter_batches(columns=[column]))

    def _noted(self, column: str, fact: str) -> list[Any] | None:
        """Return the footer's statistics of a column, one a row group; None when one lacks a fact."""
        file = self._open()
        paths = [file.schema.column(i).path for i in range(len(file.schema))]
        if paths.count(column) != 1:
            return None
        at = paths.index(column)
        found = [file.metadata.row_group(g).column(at).statistics for g in range(file.num_row_groups)]
        return found if all(noted and getattr(noted, fact) for noted in found) else None

    def dictionaries(self, column: str) -> Iterator[pa.Array]:
        """Return the categories of the column, piece by piece."""
        with reading(self.path):
            yield from (batch.column(0).dictionary for batch in self._open().iter_batches(columns=[column]))

    def _open(self) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self.path, pre_buffer=False)  # with it, iter_batches keeps all it has read

"""Files read one after the other as one table: with the columns of the first one, and the types that are settled.

name -> [reading] -> rows
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

import pandas as pd

from mblab.errors import SourceError, missing_column
from mblab.sources.csv import CsvFiles
from mblab.sources.mending import check_live_times
from mblab.tables.base import FileTable, NullTable, each_once
from mblab.tables.files import kind_of, open_table, schema_difference, settled
from mblab.tables.folders import fixed_part, is_whole, keys_of
from mblab.tables.given import Given
from mblab.tables.jsonl import JsonlTable

__all__ = ["Reader"]

IN_STEP: Final = " in the step, and leave event_time= out."


class Asked(Protocol):
    """What is asked of the rows; see `Watch`."""

    @property
    def pattern(self) -> Path: ...
    @property
    def columns(self) -> tuple[str, ...] | None: ...
    @property
    def time_column(self) -> str | None: ...
    @property
    def beside(self) -> str | None: ...
    @property
    def flatten(self) -> bool: ...
    @property
    def types(self) -> Mapping[str, Given]: ...
    @property
    def form(self) -> CsvFiles | None: ...


class Reader:
    """Reads files so that all of them have the same columns.

    Args:
        source: What is asked of the rows.
    """

    def __init__(self, source: Asked) -> None:
        self._source = source
        self._names: list[str] | None = None  # columns of the first file
        self._types: dict[str, Given] = dict(source.types)  # and those that a file has settled
        self._whole: dict[str, bool] = {}  # whether a key in the names of folders holds whole numbers

    def pieces(self, name: str, row: int) -> Iterator[pd.DataFrame]:
        """Return the rows of a file from number `row` on, in pieces.

        Raises:
            ColumnError: A column that is asked for is not in the first file.
            SourceError: It cannot be read, or does not go with the files before it.
        """
        table = self._open(name)
        if table.num_rows == 0:  # it settles nothing
            return
        keys = self._keys(name, table.names)
        columns = self._columns(name, [*table.names, *keys], may_lack=kind_of(Path(name)) is JsonlTable)
        there = [c for c in columns if c in table.names]
        self._types |= settled(table, [c for c in there if c not in self._types])
        for rows in table.read(there or table.names[:1], row):
            check_live_times(rows, self._source.time_column, row, f"{name}: ", IN_STEP)
            row += len(rows)
            known = {k: pd.Series(v, rows.index, dtype) for k, (v, dtype) in keys.items() if k in columns}
            lacks = [c for c in columns if c not in there and c not in keys]
            if lacks:
                known |= {str(c): nulls for c, nulls in self._nulls(lacks, len(rows)).items()}
            yield rows.assign(**known)[columns] if list(rows.columns) != columns else rows

    def _nulls(self, names: list[str], rows: int) -> pd.DataFrame:
        """Return columns that a file lacks, with the dtypes that nulls have in the other files."""
        return next(NullTable(names, self._types, rows).read(names))

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

"""CSV files that are written otherwise than with commas and points in UTF-8, as the data of a source.

path, dialect, types -> [csv] -> replay, watch, record
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mblab.support.arguments import user_path
from mblab.tables.dialects import Dialect, checked
from mblab.tables.given import Given, given_types, types_code, types_said

if TYPE_CHECKING:
    import os

__all__ = ["CsvFiles", "csv"]


@dataclass(frozen=True, repr=False)
class CsvFiles:
    """CSV files and how they are written; made by `csv`.

    Attributes:
        path: The file, a folder, or a path with wildcards.
        dialect: What parts values and decimals, the encoding, and what stands for nothing.
        types: Types that columns shall have, by name.
    """

    path: Path
    dialect: Dialect
    types: Mapping[str, Given] = field(default_factory=dict, hash=False)

    def code(self, path: str) -> str:
        """Return the Python expression that makes it again from the expression of a path.

        Raises:
            ExportError: A type was given that has no name.
        """
        return self._call(path, types_code(self.types))

    def __repr__(self) -> str:
        """Return the call that made it."""
        return self._call(repr(str(self.path)), types_said(self.types))

    def _call(self, path: str, types: str) -> str:
        said = {
            "sep": None if self.dialect.sep == "," else repr(self.dialect.sep),
            "decimal": None if self.dialect.decimal == "." else repr(self.dialect.decimal),
            "encoding": None if self.dialect.encoding is None else repr(self.dialect.encoding),
            "na_values": repr([*self.dialect.na_values]) if self.dialect.na_values else None,
            "types": types if self.types else None,
        }
        return f"mblab.sources.csv({', '.join([path, *(f'{k}={v}' for k, v in said.items() if v is not None)])})"


def csv(
    path: str | os.PathLike[str],
    *,
    sep: str = ",",
    decimal: str = ".",
    encoding: str | None = None,
    na_values: str | Sequence[str] | None = None,
    types: Mapping[str, Any] | None = None,
) -> CsvFiles:
    """Return CSV files that say how they are written, for `replay`, `watch` and `record` to take as their data.

    The arguments are named as those of `pd.read_csv`. A first line such as Excel's `sep=;` is passed over.

    Args:
        path: A file of any ending, also packed (.gz, .zst, .bz2); a path with wildcards; or a folder: of it `replay`
            takes the .csv, .tsv, .txt or .dat files in it and below, which must be of one of these endings, and `watch`
            those of any of these endings in it.
        sep: What stands between two values: one character.
        decimal: What stands before the fraction of a number: one character.
        encoding: Name of the encoding, such as 'latin-1'; None: UTF-8, or UTF-16 where a byte order mark says so.
        na_values: What stands for nothing in all columns, such as '?' or ['-', 'missing'], besides empty values, NA,
            NaN, null and their like; as these, it is text where it stands in quotes in a column of text.
        types: Types that columns shall have, {column: dtype}, by a dtype of pandas, NumPy or Arrow or its name; of
            other columns all rows decide. A value that does not fit is a `SourceError`.

    Raises:
        SettingError: An argument breaks its rule.

    >>> csv("export.csv", sep=";", decimal=",", types={"plz": "str"})
    mblab.sources.csv('export.csv', sep=';', decimal=',', types={'plz': 'str'})
    """
    return CsvFiles(user_path(path, "path"), checked(sep, decimal, encoding, na_values), given_types(types))

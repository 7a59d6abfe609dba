"""A batch as CSV: a header once, then a line a row.

engine -> [csv] -> appended -> results.csv
"""

from __future__ import annotations

import os
from csv import QUOTE_NONNUMERIC
from typing import Any

import numpy as np
import pandas as pd

from mblab.sinks.appended import AppendedFile
from mblab.sinks.base import Mode
from mblab.tables.values import arrow_to_numpy, is_nested, iso, json_text

__all__ = ["CsvSink", "csv"]


def csv(path: str | os.PathLike[str], mode: Mode | None = None) -> CsvSink:
    """Return a sink that appends each batch to one CSV file, with a header once; exactly once as sole writer.

    Floats read back exactly; times are ISO 8601, those of a time zone in UTC; lists and dicts are JSON; missing values
    are empty. All batches have the columns of the first. A hidden `.<name>.mblab.json` beside the file says that it is
    mblab's.

    Args:
        path: The file; its folder is made when it is not there.
        mode: What happens to an earlier run's rows: "replace" (None means that), "append" or "error". A file that mblab
            did not write, or that was changed since, is never touched: the run's start raises `SinkError`.

    Raises:
        SettingError: `path` is empty, a folder or packed (.gz), or `mode` is none of these.

    >>> csv("results/late.csv", mode="append").describe()
    'csv: results/late.csv, append, exactly once as sole writer'
    """
    return CsvSink(path, mode)


class CsvSink(AppendedFile):
    """Appends to a CSV file: UTF-8, commas, Unix line ends, a header once.

    Floats are written so that they read back exactly; times in ISO 8601 with the digits of their unit, those of a time
    zone in UTC; lists and dicts as JSON; missing values as nothing.
    """

    kind = "csv"
    same_columns = True

    def _text(self, rows: pd.DataFrame, *, first: bool) -> str:
        varying = {str(name): _plain(column) for name, column in rows.items() if _varies(column.dtype)}
        plain = rows.assign(**varying)
        text = plain.to_csv(index=False, header=first, lineterminator="\n")
        if "\r" in text:  # left unquoted when it does not end lines, yet readers end a line there
            text = plain.to_csv(index=False, header=first, lineterminator="\n", quoting=QUOTE_NONNUMERIC)
        return text


def _varies(dtype: np.dtype[Any] | pd.api.extensions.ExtensionDtype) -> bool:
    """Return whether the text that `to_csv` gives a value depends on the others of its batch, or is no data."""
    return dtype.kind in "MO" and not isinstance(dtype, pd.CategoricalDtype | pd.StringDtype | pd.PeriodDtype)


def _plain(column: pd.Series[Any]) -> Any:
    """Return a column in values that `to_csv` writes the same way in every batch.

    Of times it leaves out what is zero in all rows of a batch, and then no reader finds one format for the column.
    """
    if column.dtype.kind == "O":
        return column.map(lambda value: json_text(value) if is_nested(value) else value).astype(object)
    return iso(arrow_to_numpy(column))

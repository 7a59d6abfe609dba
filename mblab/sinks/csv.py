"""A batch as CSV: a header once, then a line a row.

engine -> [csv] -> appended -> results.csv
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pandas as pd

from mblab.sinks.appended import AppendedFile
from mblab.sinks.base import Mode
from mblab.tables.casting import NULLS
from mblab.tables.texts import LONE, plain_times
from mblab.tables.values import arrow_to_numpy, as_python, is_nested, iso, json_text, spans

__all__ = ["CsvSink", "csv"]

QUOTE: Final = '"'
PARTS: Final = re.compile(r'[",\r\n]').search
TAKEN_FOR_NULL: Final = frozenset((*NULLS, "<NA>", "None"))  # the last two by pandas


def csv(path: str | os.PathLike[str], mode: Mode | None = None) -> CsvSink:
    """Return a sink that appends each batch to one CSV file, with a header once; exactly once as sole writer.

    Floats read back exactly; times are ISO 8601, those of a time zone in UTC; lists and dicts are JSON; bytes are
    base64; missing values are empty, and a text that readers take for a missing value, such as NA or an empty one,
    stands in quotes. All batches have the columns of the first. A hidden `.<name>.mblab.json` beside the file says that
    it is mblab's, and what its columns are: as long as the two stand together and the file is as the sink left it,
    `mblab.replay` and `mblab.watch` give its rows as they were delivered.

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
    text_holds_all = True

    def _text(self, rows: pd.DataFrame, *, first: bool) -> str:
        columns = [_texts(column) for _, column in rows.items()]
        line = ",".join(["%s"] * len(columns)) + "\n"
        lines = [line % tuple(_quoted([str(name) for name in rows]))] if first else []
        if len(columns) == 1:
            columns = [[text or LONE for text in columns[0]]]
        lines += map(line.__mod__, zip(*columns, strict=True))
        return "".join(lines)


def _texts(column: pd.Series[Any]) -> list[str]:
    """Return each value of a column as it stands in a line; a missing one is nothing."""
    column = plain_times(arrow_to_numpy(column))
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = [*_texts(pd.Series(column.cat.categories)), ""]
        return [known[code] for code in column.cat.codes.tolist()]
    if isinstance(column.dtype, pd.SparseDtype):
        column = pd.Series(np.asarray(column))
    kind = column.dtype.kind
    if kind == "M" and not isinstance(column.dtype, pd.PeriodDtype):
        return ["" if text is None else text for text in iso(column).tolist()]
    if kind == "m":
        return ["" if text is None else text for text in spans(column)]
    if kind in "iub":
        return ["" if v is pd.NA else str(v) for v in column.tolist()]
    if kind == "f":
        values = column.array.tolist() if column.dtype == "float64" else [*column.array]
        return ["" if gone else str(v) for v, gone in zip(values, column.isna().tolist(), strict=True)]
    values, missing = column.tolist(), column.isna().tolist()
    if isinstance(column.dtype, pd.StringDtype):
        return _quoted([None if gone else value for value, gone in zip(values, missing, strict=True)])
    return _quoted([None if gone else _cell(value) for value, gone in zip(values, missing, strict=True)])


def _cell(value: object) -> str:
    if is_nested(value):
        return json_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    return str(as_python(value))


def _quoted(texts: Iterable[str | None]) -> list[str]:
    """Return texts as they stand in a line: in quotes where a reader would take them for something else."""
    return ["" if text is None else _in_quotes(text) if _is_special(text) else text for text in texts]


def _is_special(text: str) -> bool:
    return bool(PARTS(text)) or text.strip() in TAKEN_FOR_NULL


def _in_quotes(text: str) -> str:
    return f'"{text.replace(QUOTE, QUOTE * 2)}"'

"""A batch as JSON lines: one object a row.

Each column becomes a list of JSON texts, and one template puts them into lines; that is several times as fast as an
encoder that looks at every value anew.

    engine -> [jsonl] -> appended -> results.jsonl
"""

from __future__ import annotations

import json
import math
import os
from json.encoder import encode_basestring
from typing import Any

import pandas as pd

from mblab.sinks.appended import AppendedFile
from mblab.sinks.base import Mode
from mblab.tables.texts import plain_times
from mblab.tables.values import arrow_to_numpy, iso, json_text

__all__ = ["JsonlSink", "jsonl"]


def jsonl(path: str | os.PathLike[str], mode: Mode | None = None) -> JsonlSink:
    """Return a sink that appends each batch to one JSON lines file, an object a row; exactly once as sole writer.

    Every line is strict JSON. Floats read back exactly; NaN, None, NaT and the infinities are null; times are ISO 8601,
    those of a time zone in UTC; time spans are ISO 8601 durations; lists and dicts stay what they are; bytes are
    base64. A later batch may have other columns: a line has those of its own batch. A hidden `.<name>.mblab.json`
    beside the file says that it is mblab's, and what its columns are: as long as the two stand together and the file is
    as the sink left it, `mblab.replay` and `mblab.watch` give its rows as they were delivered, the infinities as NaN.

    Args:
        path: The file; its folder is made when it is not there.
        mode: What happens to an earlier run's rows: "replace" (None means that), "append" or "error". A file that mblab
            did not write, or that was changed since, is never touched: the run's start raises `SinkError`.

    Raises:
        SettingError: `path` is empty, a folder or packed (.gz), or `mode` is none of these.

    >>> jsonl("results/late.jsonl").describe()
    'jsonl: results/late.jsonl, replace, exactly once as sole writer'
    """
    return JsonlSink(path, mode)


class JsonlSink(AppendedFile):
    """Appends to a JSON lines file: UTF-8, an object a row, its keys in the order of the columns.

    Every line is strict JSON. Floats read back exactly; NaN, None, NaT and the infinities are null; times are ISO 8601,
    those of a time zone in UTC; time spans are ISO 8601 durations; bytes are base64; decimals are text. Batches may
    differ in their columns: each line has its own.
    """

    kind = "jsonl"
    same_columns = False
    text_holds_all = False

    def _text(self, rows: pd.DataFrame, *, first: bool) -> str:  # noqa: ARG002 - there is no header
        names = [encode_basestring(str(name)).replace("%", "%%") for name in rows]
        template = "{" + ", ".join(f"{name}: %s" for name in names) + "}\n"
        return "".join(map(template.__mod__, zip(*(_texts(column) for _, column in rows.items()), strict=True)))


def _texts(column: pd.Series[Any]) -> list[str]:
    """Return each value of a column as JSON."""
    column = plain_times(arrow_to_numpy(column))
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = _texts(pd.Series(column.cat.categories))
        return [known[code] if code >= 0 else "null" for code in column.cat.codes.tolist()]
    kind = column.dtype.kind
    if kind == "M":
        return ["null" if text is None else f'"{text}"' for text in iso(column).tolist()]
    if kind in "biu":
        values = column.astype(object).tolist()
        return [json.dumps(v) if v is not pd.NA else "null" for v in values]
    if kind == "f":
        values = column.array.tolist() if column.dtype == "float64" else [*column.array]
        return [str(v) if v is not pd.NA and math.isfinite(v) else "null" for v in values]
    if isinstance(column.dtype, pd.StringDtype):
        return [encode_basestring(v) if isinstance(v, str) else "null" for v in column.tolist()]
    return [json_text(value) for value in column.tolist()]

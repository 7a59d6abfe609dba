"""Where results go.

A sink gets the last step's rows of every batch: `lab.to(mblab.sinks.parquet("out/"))`.

    engine -> [sinks] -> memory, a file, a folder, a database, a function
"""

from __future__ import annotations

import os
from collections.abc import Callable

from mblab.sinks.base import Delivery, Mode, Sink
from mblab.sinks.call import CallSink
from mblab.sinks.csv import CsvSink
from mblab.sinks.jsonl import JsonlSink
from mblab.sinks.memory import MemorySink
from mblab.sinks.parquet import ParquetSink
from mblab.sinks.sqlite import SqliteSink

__all__ = ["Delivery", "Sink", "call", "csv", "jsonl", "memory", "parquet", "sqlite"]


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers


def memory(limit: int = 1_000_000) -> MemorySink:
    """Return a sink that keeps the newest rows in memory; `.frame()` gives them, `.dropped` counts the others.

    Args:
        limit: How many rows it keeps.

    Raises:
        SettingError: `limit` is no whole number, or below 1.

    >>> import pandas as pd
    >>> sink = memory(limit=2)
    >>> sink.open("0123456789ab")
    >>> sink.deliver(pd.DataFrame({"value": [1, 2, 3]}), Delivery("0123456789ab", batch_id=0))
    >>> sink.frame(), sink.dropped
    (   batch_id  value
     0         0      2
     1         0      3, 1)
    """
    return MemorySink(limit)


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


def jsonl(path: str | os.PathLike[str], mode: Mode | None = None) -> JsonlSink:
    """Return a sink that appends each batch to one JSON lines file, an object a row; exactly once as sole writer.

    Every line is strict JSON. Floats read back exactly; NaN, None, NaT and the infinities are null; times are ISO 8601,
    those of a time zone in UTC; time spans are ISO 8601 durations; lists and dicts stay what they are; bytes are
    base64. A later batch may have other columns: a line has those of its own batch. A hidden `.<name>.mblab.json`
    beside the file says that it is mblab's.

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


def sqlite(path: str | os.PathLike[str], table: str | None = None, mode: Mode | None = None) -> SqliteSink:
    """Return a sink that writes each batch into a table of a SQLite database, in one transaction; exactly once.

    A batch's rows and the line in `_mblab_deliveries` that says which batch they are come in together or not at all.
    Integers, floats and booleans are numbers (true is 1); times are ISO 8601 text such as `2026-01-01 08:00:00.000000`,
    those of a time zone in UTC with `+00:00`; time spans are seconds; lists and dicts are JSON; missing values and NaN
    are NULL. A later batch's new columns are added to the table, columns it lacks are NULL; another type is refused,
    except where no value changes by it.

    Args:
        path: The database; it and its folder are made when they are not there. Other tables in it are left alone.
        table: The table's name; None means "output".
        mode: What happens to an earlier run's rows: "replace" (None means that; the table is made anew), "append" or
            "error". A table that mblab did not make, or that was changed since, is never touched: the run's start
            raises `SinkError` and names it.

    Raises:
        SettingError: `path` is empty or no file's, `table` is no name, or `mode` is none of these.

    >>> sqlite("results.db", "late").describe()
    "sqlite: results.db, table 'late', replace, exactly once"
    """
    return SqliteSink(path, table, mode)


def parquet(folder: str | os.PathLike[str], mode: Mode | None = None) -> ParquetSink:
    """Return a sink that writes one Parquet file a batch into a folder; exactly once, also after a power cut.

    `pandas.read_parquet(folder)` reads it all. A column has the type of its first value: a later batch's type is cast
    when no value changes by it and refused otherwise; a batch in which the column is all null decides nothing.

    Args:
        folder: The folder; it is made when it is not there. Files with a leading dot are left alone.
        mode: What happens to an earlier run's files: "replace" (None means that), "append" or "error". Files that mblab
            did not write are never touched: the run's start raises `SinkError` and names them.

    Raises:
        SettingError: `folder` is empty, or `mode` is none of these.

    >>> parquet("out/")
    mblab.sinks.parquet('out')
    """
    return ParquetSink(folder, mode)


def call(fn: Callable[..., object]) -> CallSink:
    """Return a sink that calls a function with each batch's rows; at least once.

    The function is called as f(rows), f(rows, batch_id) or f(rows, batch_id, run_id), by the number of its positional
    parameters; one that has a default keeps it. (run_id, batch_id) is the same when a batch is delivered again, so it
    tells. What the function returns is ignored; when it raises, the batch is delivered again on `lab.resume()`. It is
    known by its module and name, so running its cell again replaces it.

    Args:
        fn: The function; the rows are its own to change.

    Raises:
        SettingError: It is no function, takes other arguments, or is async or a generator.

    >>> import pandas as pd
    >>> def publish(rows, batch_id):
    ...     print(batch_id, len(rows))
    >>> call(publish).deliver(pd.DataFrame({"value": [1, 2]}), Delivery("0123456789ab", batch_id=7))
    7 2
    """
    return CallSink(fn)

"""Sentences that mend rows: where the rows are in files, the line that mends them begins with the one that reads them.

It reads them by `replay` itself, so that they are what a replay of the files has: ids keep their digits. The rows of a
live source come one by one, so they are mended where they pass.

    sentence -> [mending] -> watch, poll, replay
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pandas as pd

from mblab.errors import SourceError
from mblab.tables.timestamps import plain_times

__all__ = ["check_live_times", "read_first", "rows_read_first"]

READ: Final = "rows = pd.concat((b.rows for b in mblab.replay(data, rate=1).open()), ignore_index=True); "
FRAME: Final = " and replay the frame."
MENDS: Final = re.compile(r"\brows(?=\[.*?\] = | = rows\.)")


def check_live_times(rows: pd.DataFrame, column: str | None, row: int, whose: str, way: str) -> None:
    """Refuse event times of a live source that are none, with a way on that there is for it.

    Args:
        rows: Some of its rows.
        column: The column with the event times, or None.
        row: Number of the first row.
        whose: How the sentence begins: where the rows are from.
        way: Where a line that mends rows belongs.

    Raises:
        SourceError: They are neither times nor numbers.
    """
    if column not in rows or getattr(rows[column].dtype, "kind", "O") not in "OU":
        return
    try:
        plain_times(rows[column], row)
    except SourceError as error:
        raise SourceError(whose + str(error).replace(FRAME, way)) from None


def read_first(sentence: str) -> str:
    """Return a sentence with the line that reads `data`, which is no frame, before its first line that mends rows."""
    return MENDS.sub(lambda found: READ + found[0], sentence, count=1)


@contextmanager
def rows_read_first() -> Iterator[None]:
    """Let a sentence that mends rows begin with reading them."""
    try:
        yield
    except SourceError as error:
        sentence = read_first(str(error))
        if sentence == str(error):
            raise
        raise SourceError(sentence) from None

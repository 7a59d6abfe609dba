"""Sentences that mend rows: where the rows are in files, the line that mends them begins with the one that reads them.

It reads them by `replay` itself, so that they are what a replay of the files has: ids keep their digits.

    sentence -> [mending] -> replay
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mblab.errors import SourceError

__all__ = ["read_first", "rows_read_first"]

READ: Final = "rows = pd.concat((b.rows for b in mblab.replay(data, rate=1).open()), ignore_index=True); "
MENDS: Final = re.compile(r"\brows(?=\[.*?\] = | = rows\.)")


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

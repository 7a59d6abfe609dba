"""How a text file seems to be written, told by its first lines, for sentences that say how to read it.

Nothing is read by what is found here; a person takes it up, or does not.

    lines -> [sniffing] -> dialects, files
"""

from __future__ import annotations

import csv
import re
from typing import Final, NamedTuple

__all__ = ["SEPARATORS", "Seems", "decimal_of", "knobs_of", "line_that_reads", "seems"]

SEPARATORS: Final = (",", ";", "\t", "|")
MOST_LINES: Final = 40
NUMBER: Final = re.compile(r"[+-]?\d[\d.,:/-]*")
COMMA: Final = re.compile(r"[+-]?[\d.]*,\d+")
POINT: Final = re.compile(r"[+-]?\d*\.\d+")


class Seems(NamedTuple):
    """How a text file seems to be written.

    Attributes:
        sep: What stands between two values.
        decimal: What stands before the fraction of a number.
        notes: Lines before the header.
    """

    sep: str
    decimal: str
    notes: int


def seems(lines: list[str]) -> Seems | None:
    """Return how some first lines seem to be written; None when they are no table with a header.

    >>> seems(["https://example.org", "unix,open,close", "1,2.5,3.5", "2,3.5,4.5"])
    Seems(sep=',', decimal='.', notes=1)
    """
    found = [(sep, _parted(lines[:MOST_LINES], sep)) for sep in SEPARATORS]
    tables = [(len(rows[0]), sep, notes, rows) for sep, (notes, rows) in found if rows]
    if not tables:
        return None
    _, sep, notes, rows = max(tables, key=lambda table: table[0])
    return Seems(sep, decimal_of(rows[1:], sep), notes)


def line_that_reads(found: Seems) -> str:
    """Return the call that reads a file written like this, which is named `path`."""
    given = "" if found.sep == "," else knobs_of(found.sep, found.decimal)
    return f"pd.read_csv(path{given}, skiprows={found.notes})" if found.notes else f"mblab.sources.csv(path{given})"


def knobs_of(sep: str, decimal: str) -> str:
    """Return how a call goes on that says how a file is written.

    >>> knobs_of(";", ",")
    ", sep=';', decimal=','"
    """
    return f", sep={sep!r}" + ("" if decimal == "." else f", decimal={decimal!r}")


def _parted(lines: list[str], sep: str) -> tuple[int, list[list[str]]]:
    """Return how many notes come first, and the rows below them, header first; none where they are not alike."""
    rows = [next(csv.reader([line], delimiter=sep), []) for line in lines]
    width = len(rows[-1]) if rows else 0
    notes = next((i for i, row in enumerate(rows) if len(row) == width), 0)
    notes = max(notes, _remarks(lines))
    below = [row for row in rows[notes:] if row]
    if width < 2 or len(below) < 2 or any(len(row) != width for row in below) or NUMBER.fullmatch(below[0][0]):
        return 0, []
    before = [len(row) for row in rows[:notes] if not "".join(row).startswith("#")]
    if any(2 * columns >= width for columns in before) and [] not in rows[:notes]:
        return 0, []  # a header that lacks a name, not a note
    return notes, below


def _remarks(lines: list[str]) -> int:
    """Return how many lines at the beginning are marked as remarks; one alone may be the header."""
    marked = next((i for i, line in enumerate(lines) if not line.startswith("#")), 0)
    return marked if marked > 1 else 0


def decimal_of(rows: list[list[str]], sep: str) -> str:
    """Return how decimals seem to be written in the values of some rows."""
    values = [value.strip() for row in rows for value in row]
    comma = any(map(COMMA.fullmatch, values)) and not any(map(POINT.fullmatch, values))
    return "," if comma and sep != "," else "."

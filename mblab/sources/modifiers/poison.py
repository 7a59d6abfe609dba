"""Spoiled values: what a broken sender puts into a column.

    draws -> [poison] -> modified

Rows and arrivals stay; a value is drawn by its row's number, and the column has the same dtype in every block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from mblab.errors import SourceError, missing_column, shown
from mblab.sources.base import Block
from mblab.sources.modifiers.draws import draws
from mblab.sources.modifiers.modifier import Flags, History, Rows, ledger_rows
from mblab.support.arguments import column_name, number, one_of, plain, whole

__all__ = ["Poison", "PoisonKind"]

POISON_KEY = 9
PoisonKind = Literal["type", "null", "range"]
KINDS: tuple[PoisonKind, ...] = get_args(PoisonKind)
WORD, NUMBER = "poison", -1  # what stands where a number, or a text, should


@dataclass(frozen=True, slots=True)
class Poison:
    """Spoiled values in one column.

    Attributes:
        fraction: Share of the rows, from 0 to 1.
        column: The column; None: the first one that holds numbers.
        kind: What the values are: type, null or range.
        seed: Seed of the draws.
    """

    fraction: float
    column: str | None
    kind: PoisonKind
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "fraction", number(self.fraction, "fraction", zero=True, most=1))
        column_name(self.column, "column")
        one_of(self.kind, "kind", KINDS)
        object.__setattr__(self, "seed", whole(self.seed, "seed"))

    def apply(self, rows: Rows) -> Rows:
        """Return the rows with some values spoiled.

        Raises:
            ColumnError: There is no such column.
            SourceError: No column holds numbers, or the column cannot be spoiled in this way.
        """
        hit = draws(self.seed, POISON_KEY, int(rows.number[0]), len(rows.number))[0] < self.fraction
        name = self._target(rows.frame)
        return rows._replace(frame=rows.frame.assign(**{name: _spoil(rows.frame[name], hit, self.kind)}), touched=hit)

    def _target(self, rows: pd.DataFrame) -> str:
        """Return the column that is spoiled."""
        if self.column is not None:
            if self.column not in rows.columns:
                raise missing_column("column", self.column, rows.columns)
            return self.column
        for name, dtype in rows.dtypes.items():
            if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype):
                return str(name)
        raise SourceError(f"with_poison() found no column of numbers in {shown(list(rows.columns))}; name column=.")

    def ledger(self, given: Iterator[Block], made: History) -> pd.DataFrame:
        """Return the spoiled rows with the values they had."""
        columns: list[str] = []
        originals: list[object] = []
        row = 0
        for block in given:
            hit = made.touched[row : row + len(block.rows)]
            if hit.any():
                name = self._target(block.rows)
                columns += [name] * int(hit.sum())
                originals += block.rows[name][hit].tolist()
            row += len(hit)
        return ledger_rows(np.flatnonzero(made.touched), "poison").assign(
            column=pd.Series(columns, dtype="str"), original=pd.Series(originals, dtype=object)
        )

    def describe(self) -> str:
        """Return what goes wrong, in a phrase for people."""
        where = "the first column of numbers" if self.column is None else repr(self.column)
        return f"{100 * self.fraction:.3g} % of {where} spoiled ({self.kind})"

    def code(self) -> str:
        """Return the call that modifies a source."""
        return f".with_poison({plain(self.fraction)}, {self.column!r}, {self.kind!r}, seed={self.seed})"


def _spoil(values: pd.Series[Any], touched: Flags, kind: PoisonKind) -> pd.Series[Any]:
    """Return a column with some values spoiled; its dtype does not depend on which, nor on whether any."""
    if kind == "type":
        text = values.dtype == "str" or isinstance(values.dtype, pd.StringDtype | pd.CategoricalDtype)
        return values.astype(object).mask(touched, NUMBER if text else WORD)
    if kind == "null":
        if values.dtype.kind in "iu" and not pd.api.types.is_extension_array_dtype(values.dtype):
            values = values.astype(np.float64)
        elif values.dtype == np.bool_:
            return values.astype(object).mask(touched, None)
        return values.mask(touched)
    return values.mask(touched, _far_outside(values))


def _far_outside(values: pd.Series[Any]) -> float | pd.Timestamp:
    """Return a value of the column's own dtype that no sound row holds."""
    dtype = getattr(values.dtype, "numpy_dtype", values.dtype)
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return pd.Timestamp(0, tz=values.dtype.tz)
    kind = getattr(dtype, "kind", "O")
    if kind == "M":
        return pd.Timestamp(0)
    if kind in "iu":
        info = np.iinfo(dtype)
        return info.min if kind == "i" else info.max
    if kind == "f":
        return float(np.finfo(dtype).min)
    raise SourceError(
        f"column {values.name!r} is {values.dtype}, which has no range to leave; use kind='null' or kind='type'."
    )

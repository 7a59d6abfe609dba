"""Spoiled values: what a broken sender puts into a column.

    replay, simulate -> [poison] -> feed

Rows and arrivals stay; a value is drawn by its row's number, and the column has the same dtype in every block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from mblab.errors import SettingError, SettingTypeError, SourceError, did_you_mean, missing_column, shown
from mblab.sources.base import Block, Position
from mblab.sources.modifiers.draws import Draws, check_seed, draws
from mblab.sources.modifiers.modified import Around, Flags, deeds
from mblab.support.arguments import number, plain

__all__ = ["Poison", "PoisonKind"]

POISON_KEY = 9
PoisonKind = Literal["type", "null", "range"]
KINDS = get_args(PoisonKind)
WORD, NUMBER = "poison", -1  # what stands where a number, or a text, should


@dataclass(frozen=True, repr=False)
class Poison(Around):
    """Spoiled values in one column; made by `source.with_poison`.

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
        if self.column is not None and not isinstance(self.column, str):
            raise SettingTypeError(f"column must be the name of a column, got {shown(self.column)}.")
        rule = f"kind must be one of {list(KINDS)}, got {shown(self.kind)}"
        if not isinstance(self.kind, str):
            raise SettingTypeError(f"{rule}.")
        if self.kind not in KINDS:
            raise SettingError(f"{rule}{did_you_mean(self.kind, KINDS)}")
        if self.kind == "type" and self.column is not None and self.column == self.event_time:
            raise SettingError(
                f"column={self.column!r} is the event time, which must stay a time; use kind='null' or kind='range'."
            )
        check_seed(self)

    def open(self, position: Position | None = None) -> Iterator[Block]:
        """Return the blocks from a position {"source": …, "row": n} on.

        Raises:
            ColumnError: There is no such column.
            SourceError: No column holds numbers, or the column cannot be spoiled in this way.
        """
        start = position or {"source": None, "row": 0}
        row = int(start["row"])
        for block in self.source.open(start["source"]):
            spoiled = self._spoiled(block.rows, self._touched(row, len(block.rows)))
            yield Block(spoiled, block.arrival_ns, {"source": block.position, "row": row})
            row += len(block.rows)
            self._read[0] = max(self._read[0], row)

    def describe(self) -> str:
        """Return one line for people."""
        where = "the first column of numbers" if self.column is None else repr(self.column)
        return f"{self.source.describe()}, {100 * self.fraction:.3g} % of {where} spoiled ({self.kind})"

    def _call(self) -> str:
        return f".with_poison({plain(self.fraction)}, {self.column!r}, {self.kind!r}, seed={self.seed})"

    def _touched(self, row: int, length: int) -> Flags:
        chances: Draws = draws(self.seed, POISON_KEY, row, length)[0]
        return chances < self.fraction

    def _target(self, rows: pd.DataFrame) -> str:
        if self.column is not None:
            if self.column not in rows.columns:
                raise missing_column("column", self.column, rows.columns)
            return self.column
        for name, dtype in rows.dtypes.items():
            if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype):
                return str(name)
        raise SourceError(f"with_poison() found no column of numbers in {shown(list(rows.columns))}; name column=.")

    def _spoiled(self, rows: pd.DataFrame, touched: Flags) -> pd.DataFrame:
        name = self._target(rows)
        return rows.assign(**{name: _spoil(rows[name], touched, self.kind)})

    def _ledger(self, rows: int | None) -> pd.DataFrame:
        found = [deeds(np.empty(0, np.int64), "poison", np.empty(0))]
        row = 0
        for block in self.source.open() if rows != 0 else ():
            upto = len(block.rows) if rows is None else min(len(block.rows), rows - row)
            at = np.flatnonzero(self._touched(row, len(block.rows))[:upto])
            if len(block.rows):
                mine = deeds(row + at, "poison", np.zeros(len(at)))
                name = self._target(block.rows)
                mine["column"] = pd.Series([name] * len(at), dtype="str")
                mine["original"] = pd.Series(block.rows[name].iloc[at].tolist(), dtype=object)
                found.append(mine)
            row += len(block.rows)
            if rows is not None and row >= rows:
                break
        known = [self.source._ledger(rows), *found]  # noqa: SLF001  its own class
        return pd.concat(known).sort_values("row", kind="stable", ignore_index=True)


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


def _far_outside(values: pd.Series[Any]) -> Any:
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

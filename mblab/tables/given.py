"""Types that somebody names for columns: a user by `types=`, a watched folder by its first file, a sink by its marker.

    types -> [given] -> csv, jsonl, parquet, files

What is named holds: a value that does not fit is an error, never another type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionDtype

from mblab.errors import ExportError, SettingError, SettingTypeError, shown

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Dtype", "Given", "given_types", "types_code"]

Dtype: TypeAlias = np.dtype[Any] | ExtensionDtype  # of a column


@dataclass(frozen=True, slots=True)
class Given:
    """The type that a column shall have.

    Attributes:
        kind: Arrow type that its values are read as.
        dtype: Its dtype in a frame; None: what pandas makes of the Arrow type, so nulls make whole numbers float64.
        settled: Whether a file before settled it, and nobody named it: numbers are then numbers of any kind, and times
            of any unit, but not text.
    """

    kind: pa.DataType
    dtype: Dtype | None = None
    settled: bool = False

    @property
    def is_loose(self) -> bool:
        """Whether it is settled only that the column holds numbers, or times."""
        return self.settled and (_is_number(self.kind) or _is_time(self.kind))

    def for_own(self, own: pa.DataType) -> pa.DataType:
        """Return the Arrow type of a column that has a type of its own: this one, or one that goes with it."""
        import pyarrow as pa

        if self.is_loose and _is_time(self.kind) and _is_time(own) and _zoned(self.kind) == _zoned(own):
            return own
        if not self.is_loose or not _is_number(self.kind) or not _is_number(own):
            return self.kind
        both = [pa.schema([("number", kind)]) for kind in (self.kind, own)]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type

    def __str__(self) -> str:
        """Return its name for a message."""
        return str(self.kind if self.dtype is None else self.dtype)


def given_types(types: Mapping[str, Any] | None, knob: str = "types") -> dict[str, Given]:
    """Return the types that are named for columns.

    Args:
        types: Column to a dtype of pandas or NumPy, an Arrow type, or the name of any of them, as in pd.read_csv.
        knob: What the message calls it.

    Raises:
        SettingError: A name is none of a type.

    >>> given_types({"id": "str", "n": "Int64"})["n"].dtype
    Int64Dtype()
    """
    if types is None:
        return {}
    if not isinstance(types, Mapping) or not all(isinstance(column, str) for column in types):
        raise SettingTypeError(
            f"{knob} must be a dict of column to dtype, such as {{'id': 'str'}}, got {shown(types)}."
        )
    return {column: _given(kind, f"{knob}[{column!r}]") for column, kind in types.items()}


def types_code(types: Mapping[str, Given]) -> str:
    """Return the Python expression of given types, by their names.

    Raises:
        ExportError: One has no name that says all of it, such as that of some categories.
    """
    names = {column: str(given) for column, given in types.items()}
    for column, given in types.items():
        try:
            same = given_types({column: names[column]})[column] == given
        except SettingError:
            same = False
        if not same:
            raise ExportError(
                f"types[{column!r}] must be given by a name to be written as code, such as 'str', got {given}."
            )
    return repr(names)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_time(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _zoned(kind: pa.DataType) -> bool:
    return getattr(kind, "tz", None) is not None


def _given(kind: Any, knob: str) -> Given:
    import pyarrow as pa

    if isinstance(kind, Given):
        return kind
    if isinstance(kind, pa.DataType):
        return Given(kind)
    try:
        dtype = pd.api.types.pandas_dtype(kind)
    except (TypeError, ValueError, NotImplementedError):
        try:
            return Given(pa.type_for_alias(kind))
        except (TypeError, ValueError, KeyError, AttributeError):
            raise SettingError(
                f"{knob} must be a dtype of pandas, NumPy or Arrow, such as 'str', 'Int64', 'float64' or "
                f"'datetime64[ns]', got {shown(kind)}."
            ) from None
    return Given(_arrow_type(dtype), dtype)


def _arrow_type(dtype: Dtype) -> pa.DataType:
    """Return the Arrow type that a column is read as before it becomes of a dtype; text where Arrow has none."""
    import pyarrow as pa

    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        return pa.timestamp(dtype.unit, str(dtype.tz))
    if isinstance(dtype, pd.CategoricalDtype):
        held = pa.string() if dtype.categories is None else _arrow_type(dtype.categories.dtype)
        return pa.dictionary(pa.int32(), held, bool(dtype.ordered))
    plain = getattr(dtype, "numpy_dtype", dtype)  # of Int64, boolean and their like
    if isinstance(plain, np.dtype) and plain.kind in "iufbMm":
        return pa.from_numpy_dtype(plain)
    return pa.string()

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
from mblab.tables.arrow import is_nested_kind, kind_said
from mblab.tables.casting import UNITS, is_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Dtype", "Given", "given_types", "made", "types_code", "types_said"]

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

    @property
    def is_open(self) -> bool:
        """Whether it is one of categories that are left to the rows."""
        return isinstance(self.dtype, pd.CategoricalDtype) and self.dtype.categories is None

    def for_own(self, own: pa.DataType) -> pa.DataType:
        """Return the Arrow type of a column that has a type of its own: this one, or one that goes with it."""
        import pyarrow as pa

        if (
            isinstance(own, pa.ExtensionType) and own.to_pandas_dtype() == self.dtype
        ):  # of periods, as pandas keeps them
            return own
        if self.dtype == object and is_nested_kind(own):  # of which it holds each value as it is
            return own
        if self.is_open and not pa.types.is_nested(own) and not is_text(own):
            return own if pa.types.is_dictionary(own) else pa.dictionary(pa.int32(), own)
        if self.is_loose and _is_time(self.kind) and _is_time(own) and _zoned(self.kind) == _zoned(own):
            return own
        if not self.is_loose or not _is_number(self.kind) or not _is_number(own):
            return self.kind
        both = [pa.schema([("number", kind)]) for kind in (self.kind, own)]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type

    def goes_with(self, kind: pa.DataType) -> bool:
        """Return whether a type holds numbers where it is settled that the column does, or times where it does."""
        is_alike = _is_number if _is_number(self.kind) else _is_time
        return is_alike(kind)

    def keeps(self, values: pa.Array) -> bool:
        """Return whether its dtype holds values of its Arrow type as they are, and does not make nulls of one."""
        if self.dtype is None or not self._is_narrow:
            return True
        try:
            made(pd.Series(values.drop_null().to_pandas()), self.dtype)
        except (ValueError, TypeError, OverflowError):
            return False
        return True

    @property
    def _is_narrow(self) -> bool:
        """Whether its dtype does not hold all that its Arrow type does: as certain categories, or periods, do not."""
        if isinstance(self.dtype, pd.CategoricalDtype):
            return not self.is_open
        holds_text = isinstance(self.dtype, pd.StringDtype | pd.ArrowDtype) or self.dtype == object
        return is_text(self.kind) and not holds_text

    def __str__(self) -> str:
        """Return its name for a message."""
        return kind_said(self.kind) if self.dtype is None else str(self.dtype)


def made(column: pd.Series[Any], dtype: Dtype) -> pd.Series[Any]:
    """Return a column as one of a dtype.

    Raises:
        ValueError: The dtype does not hold one of its values: none of its categories, or longer than its texts are.
        TypeError: It holds no values of that kind.
    """
    found = _of_categories(column, dtype) if isinstance(dtype, pd.CategoricalDtype) else column.astype(dtype)
    lost = found.isna().to_numpy() != column.isna().to_numpy()
    if isinstance(dtype, np.dtype) and dtype.kind in "SU" and dtype.itemsize:
        letter = np.dtype(f"{dtype.kind}1").itemsize  # of ASCII a byte each, else `astype` has raised
        lost |= column.str.len().to_numpy(float, na_value=np.inf) * letter > dtype.itemsize
    if lost.any():
        raise ValueError(f"{shown(column[lost].iloc[0])} is none of it")
    return found


def _of_categories(column: pd.Series[Any], dtype: pd.CategoricalDtype) -> pd.Series[Any]:
    """Return a column as one of categories; null where it has none of them."""
    held = dtype.categories.dtype
    if not isinstance(column.dtype, pd.CategoricalDtype) or column.cat.categories.dtype != held:
        known = column.dropna().astype(object).astype(held)
        column = known.astype("category").reindex(column.index)
    return column.cat.set_categories(dtype.categories, ordered=bool(dtype.ordered))


def given_types(types: Mapping[str, Any] | None, knob: str = "types") -> dict[str, Given]:
    """Return the types that are named for columns.

    Args:
        types: Column to a dtype of pandas or NumPy, an Arrow type, or the name of any of them, as in pd.read_csv.
        knob: What the message calls it.

    Raises:
        SettingError: A name is none of a type, or of one that no column of a frame has.

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


def types_said(types: Mapping[str, Given]) -> str:
    """Return given types for people, as `types_code` writes them, also where one has no name.

    >>> types_said(given_types({"id": "str", "size": pd.CategoricalDtype(["S", "L"])}))
    "{'id': 'str', 'size': <category of ['S', 'L']>}"
    """
    return "{" + ", ".join(f"{column!r}: {_in_words(given)}" for column, given in types.items()) + "}"


def _in_words(given: Given) -> str:
    if isinstance(given.dtype, pd.CategoricalDtype) and given.dtype.categories is not None:
        return f"<{given.dtype} of {shown(given.dtype.categories.tolist())}>"
    return repr(str(given))


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
        if kind is None:
            raise TypeError("float64 for NumPy")
        dtype = pd.api.types.pandas_dtype(kind)
    except (TypeError, ValueError, NotImplementedError):
        try:
            return Given(pa.type_for_alias(kind))
        except (TypeError, ValueError, KeyError, AttributeError):
            raise SettingError(
                f"{knob} must be a dtype of pandas, NumPy or Arrow, such as 'str', 'Int64', 'float64' or "
                f"'datetime64[ns]', got {shown(kind)}."
            ) from None
    _refuse_unread(dtype, knob)
    return Given(_arrow_type(dtype), dtype)


def _refuse_unread(dtype: Dtype, knob: str) -> None:
    """Raise for a dtype that no column has in pandas, or that no text says."""
    held = dtype.categories.dtype if isinstance(dtype, pd.CategoricalDtype) and dtype.categories is not None else dtype
    plain = getattr(held, "subtype", held) if isinstance(held, pd.SparseDtype) else held
    if isinstance(plain, pd.IntervalDtype):
        raise SettingError(f"{knob} must be of values that a text says, which intervals are not; name it 'str'.")
    if not isinstance(plain, np.dtype):
        return
    unit: Any = np.datetime_data(plain)[0] if plain.kind in "mM" else "s"  # type: ignore[arg-type]
    if unit not in UNITS:
        name = "datetime64" if plain.kind == "M" else "timedelta64"
        raise SettingError(
            f"{knob} must have a unit that pandas has, {', '.join(UNITS)}, got {shown(str(plain))}; for example "
            f"'{name}[ns]'."
        )
    if plain.kind == "V":
        raise SettingError(f"{knob} must be of single values, got {shown(str(plain))}; name it 'str'.")


def _arrow_type(dtype: Dtype) -> pa.DataType:
    """Return the Arrow type that a column is read as before it becomes of a dtype; text where Arrow has none."""
    import pyarrow as pa

    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        return pa.timestamp(dtype.unit, str(dtype.tz))
    if isinstance(dtype, pd.SparseDtype):
        return _arrow_type(dtype.subtype)
    if isinstance(dtype, pd.CategoricalDtype):
        held = pa.string() if dtype.categories is None else _arrow_type(dtype.categories.dtype)
        return pa.dictionary(pa.int32(), held, bool(dtype.ordered))
    plain = getattr(dtype, "numpy_dtype", dtype)  # of Int64, boolean and their like
    if isinstance(plain, np.dtype) and plain.kind in "iufbMm" and plain != np.longdouble:
        return pa.from_numpy_dtype(plain)
    return pa.string()

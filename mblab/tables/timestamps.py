"""What a column of times means, in int64 nanoseconds.

Naive timestamps are UTC unless a time zone is named; numbers are seconds unless a unit is. This room reads one column
and knows no files and no rows around it.

    column -> [timestamps] -> replay
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from mblab.errors import SettingError, SettingTypeError, SourceError, did_you_mean, shown
from mblab.tables.time_forms import parsing_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mblab.tables.repeated_hour import First
    from mblab.timing.times import Times

__all__ = ["UNITS", "check_tz", "dates_as_numbers", "epoch_ns", "misfit", "plain_times"]

UNITS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1, "min": 60 * 10**9, "h": 3600 * 10**9}
COMPACT: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # forms of dates that are written as whole numbers


def check_tz(tz: str | None) -> str | None:
    """Return the name of a time zone, or None."""
    if tz is None:
        return None
    if not isinstance(tz, str):
        raise SettingTypeError(f"tz must be the name of a time zone such as 'America/New_York', got {shown(tz)}.")
    try:
        pd.Timestamp(0).tz_localize(tz)
    except (ValueError, KeyError, OSError):
        hint = did_you_mean(tz, zoneinfo.available_timezones(), ", such as America/New_York.")
        raise SettingError(f"tz={shown(tz)} is no time zone known here{hint}") from None
    return tz


def epoch_ns(column: pd.Series, *, tz: str | None = None, unit: str = "s", row: int = 0, first: First = None) -> Times:
    """Return a column of times as nanoseconds since 1970-01-01 UTC, or since whatever numbers count from.

    Args:
        column: datetime64 of any unit, with or without a time zone; timedelta64; or numbers.
        tz: Where naive timestamps were taken; None means UTC.
        unit: What numbers count in: s ms us ns min h.
        row: Row number of the first value, for messages.
        first: Whether local times that come twice, where clocks are set back, are the first; an array says it of each
            row, and None refuses them.

    Raises:
        SourceError: Nulls, infinities, text, or local times that do not exist, or come twice and nobody says which.
        SettingError: `tz` is named, but the times are no naive timestamps.

    >>> epoch_ns(pd.Series([0.5, 1.25])).tolist()
    [500000000, 1250000000]
    """
    name, column = column.name, _plain(column)
    _refuse_nulls(column, row)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return _from_timestamps(column, tz, row, first)
    if tz is not None:
        raise SettingError(
            f"tz={tz!r} is for timestamps without a time zone, but column {name!r} is {column.dtype}; leave tz out."
        )
    if pd.api.types.is_timedelta64_dtype(column.dtype):
        return _whole_ns(column, "timedelta64[ns]", row)
    if pd.api.types.is_any_real_numeric_dtype(column.dtype):
        return _from_numbers(column, UNITS[unit], row)
    if len(column) or column.dtype != object:
        raise _no_times(column, row)
    return np.empty(0, np.int64)


def plain_times(column: pd.Series, row: int = 0) -> pd.Series:
    """Return a column of times or numbers in NumPy's dtypes, however it is held; nulls are fine.

    Args:
        column: datetime64, timedelta64 or numbers, also as categories or as Arrow's.
        row: Row number of the first value, for messages.

    Raises:
        SourceError: It holds something else, such as text.
    """
    if isinstance(column.dtype, np.dtype | pd.DatetimeTZDtype) and getattr(column.dtype, "kind", "O") in "Mmiu":
        return column
    plain = _plain(column)
    if getattr(plain.dtype, "kind", "O") == "f" and bool((endless := np.isinf(plain.to_numpy(np.float64))).any()):
        at = int(endless.argmax())
        raise SourceError(
            f"column {column.name!r} must hold finite times, got {plain.iloc[at]} in row {row + at}; leave such rows "
            "out, or leave their times empty."
        )
    known = pd.api.types.is_datetime64_any_dtype(plain.dtype) or pd.api.types.is_timedelta64_dtype(plain.dtype)
    if known or pd.api.types.is_any_real_numeric_dtype(plain.dtype) or not column.notna().any():
        return plain
    raise _no_times(plain, row)


def dates_as_numbers(column: pd.Series, unit: str = "s") -> str | None:
    """Return what is to be said of a column of whole numbers that look like dates, or None.

    >>> print(dates_as_numbers(pd.Series([20260131, 20260201], name="day")))
    column 'day' looks like dates, such as 20260131, but numbers are taken for times in s; if they are dates, make times of them first, rows['day'] = pd.to_datetime(rows['day'].astype(str), format='%Y%m%d').
    >>> dates_as_numbers(pd.Series([20260131, 20260132], name="id"))
    """  # noqa: E501
    form = _compact_form(column)
    if form is None:
        return None
    return (
        f"column {column.name!r} looks like dates, such as {int(column.dropna().iloc[0])}, but numbers are taken for "
        f"times in {unit}; if they are dates, make times of them first, {_dated(column, form)}."
    )


def _compact_form(column: pd.Series) -> str | None:
    """Return the form, such as %Y%m%d, in which every whole number of a column is a date from 1900 to 2199, or None."""
    plain = _plain(column).dropna()
    if not len(plain) or getattr(plain.dtype, "kind", "O") not in "iuf":
        return None
    form = COMPACT.get(len(str(int(plain.iloc[0])))) if np.isfinite(plain.iloc[0]) else None
    values = plain.to_numpy()
    if form is None or not bool(((values >= 19 * 10**6) & (values < 22 * 10**12) & (values % 1 == 0)).all()):
        return None
    days = values // 10 ** (len(str(int(plain.iloc[0]))) - 8)
    months, of_month = days // 100 % 100, days % 100
    if not bool(((months >= 1) & (months <= 12) & (of_month >= 1) & (of_month <= 31)).all()):
        return None  # so that of millions of other numbers none is parsed
    texts = pd.Series(values.astype(np.int64)).astype(str)
    years = texts.str[:4].astype(int)
    dates = pd.to_datetime(texts, format=form, errors="coerce")
    return form if bool((dates.notna() & years.between(1900, 2199)).all()) else None


def _dated(column: pd.Series, form: str) -> str:
    """Return the line that makes times of whole numbers which are dates."""
    it = f"rows[{column.name!r}]"
    whole = "" if getattr(column.dtype, "kind", "O") in "iu" else ".astype('int64')"
    return f"{it} = pd.to_datetime({it}{whole}.astype(str), format={form!r})"


def _plain(column: pd.Series) -> pd.Series:
    """Return a column in NumPy's dtypes where it is held otherwise: by Arrow, as categories, as objects."""
    if isinstance(column.dtype, pd.ArrowDtype):
        column = _from_arrow(column)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    column = column.infer_objects()
    if column.dtype == np.float16:  # which has no cumulative maximum
        return column.astype(np.float32)
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) == "date":
        with suppress(ValueError, TypeError):  # some have a time zone
            return pd.Series(pd.to_datetime(column))
    return column


def _from_arrow(column: pd.Series) -> pd.Series:
    import pyarrow as pa

    held: Any = column.array
    values = held.__arrow_array__()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return pd.Series(values.to_pandas(date_as_object=False), index=column.index, name=column.name)


def _no_times(column: pd.Series, row: int) -> SourceError:
    """Return the error for a column that holds something else than times, with a way to make times of it."""
    kind, it = pd.api.types.infer_dtype(column, skipna=True), f"rows[{column.name!r}]"
    way = {
        "date": f"make moments of all of them first, {it} = pd.to_datetime({it}, utc=True),",
        "datetime": f"bring them into one time zone first, {it} = pd.to_datetime({it}, utc=True),",
        "time": f"add the day first, for example {it} = pd.to_datetime('2026-01-01 ' + {it}.astype(str)),",
        "decimal": f"make them floats first, {it} = {it}.astype(float),",
        "period": f"take their beginnings first, {it} = {it}.dt.to_timestamp(),",
        "bytes": f"make texts of them first, {it} = {it}.str.decode('utf-8'),",
        "integer": "they are beyond 64 bits; name another column,",
    }.get(kind)
    if way is None:
        way = _way_to_parse(column) if kind in ("string", "mixed", "mixed-integer") else "name another column,"
    at = _odd_one(column, kind)
    held = f"{shown(column.iloc[at])} in row {row + at}" if len(column) else f"dtype {column.dtype}"
    return SourceError(f"column {column.name!r} must hold times or numbers, got {held}; {way} and replay the frame.")


def _odd_one(column: pd.Series, kind: str) -> int:
    """Return where the first value stands that is to be shown: one that is unlike those before it, else the first."""
    known = np.flatnonzero(column.notna().to_numpy())
    if not len(known):
        return 0
    values = column.iloc[known].tolist()
    if kind == "integer":
        odd = [abs(v) >= 2**63 for v in values]
    elif kind == "datetime":
        odd = [v.tzinfo != values[0].tzinfo for v in values]
    elif kind in ("mixed-integer", "mixed") and not isinstance(values[0], str):
        odd = [not isinstance(v, int | float | dt.datetime) or isinstance(v, bool) for v in values]
        odd = odd if True in odd else [type(v) is not type(values[0]) for v in values]
    else:
        odd = []
    return int(known[odd.index(True)] if True in odd else known[0])


def _way_to_parse(column: pd.Series) -> str:
    values = column.dropna()
    if len(values) and isinstance(values.iloc[0], dict):
        inside = next((str(key) for key in values.iloc[0]), "…")
        return f"name what is in it with flatten=True, such as {f'{column.name}.{inside}'!r}, or name another column,"
    if not all(isinstance(value, str | dt.date) for value in values):
        return "make all of them times, or all of them numbers,"
    line = parsing_line(column)
    if line is None:
        return "make times of it first, with pd.to_datetime and the format its texts have,"
    return f"parse it first, for example {line},"


def misfit(pieces: Iterable[pd.Series]) -> SourceError | None:
    """Return the error that names the first text which is no number, or no time, where the first of all is one.

    Args:
        pieces: A column of text, piece by piece; None is returned where it is text from its beginning.
    """
    parse: Callable[[pd.Series], pd.Series] | None = None
    row = 0
    for column in pieces:
        texts = column.dropna()
        if parse is None and len(texts):
            parse = next((way for way in (_as_numbers, _as_times) if way(texts.iloc[:1]).notna().all()), None)
            if parse is None:
                return None
        bad: Any = np.flatnonzero(column.notna().to_numpy() & parse(column).isna().to_numpy()) if parse else []
        if len(bad):
            others = "numbers" if parse is _as_numbers else "times"
            return SourceError(
                f"column {column.name!r} must hold times or numbers, got {shown(column.iloc[bad[0]])} in row "
                f"{row + bad[0]} (from 0), where those before are {others}; mend it, or leave the row out."
            )
        row += len(column)
    return None


def _as_numbers(column: pd.Series) -> pd.Series:
    return pd.Series(pd.to_numeric(column, errors="coerce"))


def _as_times(column: pd.Series) -> pd.Series:
    return pd.Series(pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True))


def _refuse_nulls(column: pd.Series, row: int) -> None:
    nulls = np.flatnonzero(column.isna().to_numpy())
    if nulls.size:
        raise SourceError(
            f"column {column.name!r} must tell when each row arrives, but has {nulls.size:,} null(s) among rows "
            f"{row} to {row + len(column) - 1}, the first in row {row + nulls[0]} (counted from 0); drop "
            f"them, for example rows = rows.dropna(subset=[{column.name!r}]), or fill them, and replay the frame."
        )


def _whole_ns(column: pd.Series, dtype: Literal["datetime64[ns]", "timedelta64[ns]"], row: int) -> Times:
    try:
        return np.asarray(column.astype(dtype).to_numpy()).view(np.int64)
    except (pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta):
        low, high = (
            pd.Timestamp(each) if dtype[0] == "d" else pd.Timedelta(each) for each in (-(2**63) + 1, 2**63 - 1)
        )
        at = int(((column < low) | (column > high)).to_numpy().argmax())
        raise SourceError(
            f"column {column.name!r} must hold times that int64 nanoseconds can, of the years 1678 to 2261, got "
            f"{column.iloc[at]} in row {row + at}; leave such rows out, or put a time in its place."
        ) from None


def _from_timestamps(column: pd.Series, tz: str | None, row: int, first: First) -> Times:
    aware = getattr(column.dtype, "tz", None) is not None or getattr(column.dt, "tz", None) is not None
    if aware and tz is not None:
        raise SettingError(
            f"tz={tz!r} is for timestamps without a time zone, but column {column.name!r} is {column.dtype}; "
            "leave tz out."
        )
    if aware:
        column = column.dt.tz_convert(None)
    elif tz is not None:
        ambiguous: Any = "NaT" if first is None else np.broadcast_to(np.asarray(first), len(column)).copy()
        local = column.dt.tz_localize(tz, ambiguous=ambiguous, nonexistent="NaT")
        bad = np.flatnonzero(local.isna().to_numpy())
        if bad.size:
            raise _no_moment(column.iloc[bad], row + bad, tz)
        column = local.dt.tz_convert(None)
    return _whole_ns(column, "datetime64[ns]", row)


def _no_moment(column: pd.Series, rows: Times, tz: str) -> SourceError:
    """Return the error for local times that do not exist, or else for those that come twice."""
    twice = column.dt.tz_localize(tz, ambiguous="NaT", nonexistent="shift_forward").isna().to_numpy()
    never, it = ~twice, f"rows[{column.name!r}]"
    if never.any():
        column, rows = column[never], rows[never]
        what = f"do not exist in {tz}, where clocks are set forward"
        way = (
            "if they are of another zone, name it (UTC: leave tz out); else move them on first, "
            f"{it} = {it}.dt.tz_localize({tz!r}, nonexistent='shift_forward'), and replay the frame without tz."
        )
    else:
        what = f"come twice in {tz}, where clocks are set back"
        way = (
            "pass ambiguous='infer' where the rows are in order of time, else ambiguous=True for the first, in summer "
            "time, or False for the second, or give them in UTC."
        )
    return SourceError(
        f"column {column.name!r} holds {len(rows):,} time(s) that {what}: rows {rows[:5].tolist()}, the first "
        f"{column.iloc[0]}; {way}"
    )


def _from_numbers(column: pd.Series, scale: int, row: int) -> Times:
    values = column.to_numpy()
    with np.errstate(over="ignore"):
        reach = values.astype(np.float64) * scale
    bad = np.flatnonzero(~(np.abs(reach) < 2**62))
    if bad.size:
        form = _compact_form(column)
        fits = [unit for unit in ("ms", "us", "ns") if abs(float(values[bad[0]])) * UNITS[unit] < 2**62]
        way = f"name the unit it counts in, such as unit={fits[0] if fits else 'ms'!r}."
        if not np.isfinite(float(values[bad[0]])):
            way = "leave such rows out, or put a time in its place."
        elif form is not None:
            way = f"it looks like dates, so make times of them first, {_dated(column, form)}, and replay the frame."
        raise SourceError(
            f"column {column.name!r} must hold finite times within 146 years of 0, got {values[bad[0]]} in row "
            f"{row + bad[0]}; {way}"
        )
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int64) * scale
    whole = np.floor(values.astype(np.float64))
    rest = np.rint((values.astype(np.float64) - whole) * scale)  # apart: 1.7e9 s as ns is beyond what a float holds
    return whole.astype(np.int64) * scale + rest.astype(np.int64)

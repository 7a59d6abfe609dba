"""A value as JSON from which it comes back as it was, type and all: tuples, times, decimals, arrays, frames.

What JSON has no word for is `{"$": its kind, "of": what it is made of}`. Nothing is run to read it: only the kinds
listed here are made. What is of any other class, such as an object of the user's, is refused.

    states, columns that Parquet does not hold -> [exact] -> JSON -> [exact] -> the same values
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from mblab.errors import shown
from mblab.support.json import Json
from mblab.tables.same import same

__all__ = ["Code", "Unholdable", "column_code", "column_of", "decode", "encode", "exact_json"]

Code: TypeAlias = dict[str, Any]  # what a value of many parts is written as
TAG: Final = "$"
OF: Final = "of"
FACTORIES: Final[dict[str, Any]] = {k.__name__: k for k in (int, float, str, list, dict, set, tuple, bool)}
SIMPLE: Final = "biufcSUmM"  # kinds of NumPy's dtypes that are bytes and nothing else


class Unholdable(TypeError):
    """A value that JSON cannot give back as it was; the message says which."""


class _Kind(NamedTuple):
    """How values of one class are written and made again."""

    of: type
    write: Callable[[Any], Any]
    make: Callable[[Any], Any]


def exact_json(value: Any) -> str:
    """Return a value as JSON, once it was seen that it comes back.

    Raises:
        Unholdable: It does not.

    >>> exact_json({"seen": (1, 2.5), 3: None})
    '{"$": "dict", "of": [["seen", {"$": "tuple", "of": [1, 2.5]}], [3, null]]}'
    """
    try:
        text = json.dumps(encode(value), allow_nan=False)
        equal = same(value, decode(json.loads(text)))
    except Unholdable:
        raise
    except Exception:  # whatever the values' own methods raise
        equal = False
    if not equal:
        raise Unholdable(_named(value))
    return text


def encode(value: Any) -> Any:
    """Return what JSON has for a value.

    Raises:
        Unholdable: It has nothing.
    """
    kind = type(value)
    if value is None or kind in (bool, str) or (kind is int and abs(value) < 2**63):
        return value
    if kind is float and math.isfinite(value):
        return value
    if kind is list:
        return [encode(inner) for inner in value]
    if kind is dict and TAG not in value and all(type(key) is str for key in value):
        return {key: encode(inner) for key, inner in value.items()}
    name = kind.__name__
    if name in KINDS and KINDS[name].of is kind:
        return {TAG: name, OF: KINDS[name].write(value)}
    for name, base in (("numpy", np.generic), ("index", pd.Index)):
        if isinstance(value, base):
            return {TAG: name, OF: KINDS[name].write(value)}
    for single, name in ((pd.NaT, "NaT"), (pd.NA, "NA")):
        if value is single:
            return {TAG: name, OF: None}
    raise Unholdable(_named(value))


def decode(code: Json) -> Any:
    """Return the value that JSON stands for.

    Raises:
        ValueError: It is none that `encode` writes; or KeyError, TypeError.
    """
    if isinstance(code, list):
        return [decode(inner) for inner in code]
    if not isinstance(code, dict):
        return code
    if TAG not in code:
        return {key: decode(inner) for key, inner in code.items()}
    kind = code[TAG]
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"there is no kind {shown(kind)} of value")
    return KINDS[kind].make(code[OF])


def _named(value: Any) -> str:
    return f"{shown(value, 60)} ({type(value).__name__})"


# -- columns --------------------------------------------------------------------------------------------------------


def column_code(values: pd.Series[Any] | pd.Index) -> tuple[Any, Sequence[Any]]:
    """Return what says a column's dtype, and one thing JSON has for each of its values."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = pd.Categorical(values).codes
        return {"categories": encode(dtype.categories), "ordered": bool(dtype.ordered)}, codes.tolist()
    if isinstance(dtype, pd.StringDtype):
        known = [None if missing else text for text, missing in zip(values, pd.isna(values), strict=True)]
        return {"text": dtype.storage, "na": dtype.na_value is pd.NA}, known
    if isinstance(dtype, pd.SparseDtype):
        about = {"sparse": str(dtype.subtype), "fill": encode(dtype.fill_value)}
        return about, [encode(value) for value in np.asarray(values).tolist()]
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype.itemsize <= 8:
        return str(dtype), [encode(value) for value in values.to_numpy().tolist()]
    if isinstance(dtype, np.dtype) and dtype.kind in "mM":
        return str(dtype), values.to_numpy().astype(np.int64).tolist()
    return str(dtype), [encode(value) for value in values]


def column_of(dtype: str | Code, codes: Sequence[Any]) -> Any:
    """Return the array that `column_code` wrote."""
    if isinstance(dtype, dict) and "text" in dtype:
        kind: Any = pd.StringDtype(dtype["text"], na_value=pd.NA if dtype["na"] else np.nan)
        return pd.array(list(codes), dtype=kind)
    if isinstance(dtype, dict) and "sparse" in dtype:
        dense = np.array([decode(code) for code in codes], dtype=np.dtype(dtype["sparse"]))
        return pd.arrays.SparseArray(dense, dtype=pd.SparseDtype(dense.dtype, decode(dtype["fill"])))
    if isinstance(dtype, dict):
        return pd.Categorical.from_codes(list(codes), decode(dtype["categories"]), ordered=dtype["ordered"])
    kind = pd.api.types.pandas_dtype(dtype)
    if isinstance(kind, np.dtype) and kind.kind in "mM":
        return np.array(codes, np.int64).view(kind)
    values = [decode(code) for code in codes]
    if not isinstance(kind, np.dtype):
        return pd.array(values, dtype=kind)
    if kind.hasobject:
        made = np.empty(len(values), dtype=object)
        made[:] = values
        return made
    return np.array(values, dtype=kind)


def _write_column(values: pd.Series[Any] | pd.Index) -> Any:
    if not isinstance(values.dtype, pd.ArrowDtype):
        return list(column_code(values))
    import pyarrow as pa

    table = pa.table({"column": pa.chunked_array(pa.array(values.array))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return {"arrow": base64.b64encode(sink.getvalue()).decode()}


def _make_column(code: list[Any] | Code) -> Any:
    if isinstance(code, list):
        dtype, values = code
        return column_of(dtype, values)
    import pyarrow as pa

    column = pa.ipc.open_stream(base64.b64decode(code["arrow"])).read_all().column(0)
    return pd.array(column, dtype=pd.ArrowDtype(column.type))


# -- arrays, indexes and frames --------------------------------------------------------------------------------------


def _write_array(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.hasobject and array.dtype.kind == "O":
        return {"shape": list(array.shape), "values": [encode(value) for value in array.ravel().tolist()]}
    if array.dtype.kind not in SIMPLE:
        raise Unholdable(f"an array of {array.dtype}")
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    data = base64.b64encode(array.tobytes(order=order)).decode()  # type: ignore[arg-type]
    return {"shape": list(array.shape), "dtype": array.dtype.str, "order": order, "bytes": data}


def _make_array(code: Code) -> np.ndarray[Any, Any]:
    if "values" in code:
        made = np.empty(len(code["values"]), dtype=object)
        made[:] = [decode(value) for value in code["values"]]
        return made.reshape(code["shape"])
    flat = np.frombuffer(base64.b64decode(code["bytes"]), _dtype_of(code["dtype"])).copy()
    return flat.reshape(code["shape"], order="F" if code["order"] == "F" else "C")


def _dtype_of(name: str) -> np.dtype[Any]:
    dtype = np.dtype(str(name))
    if dtype.kind not in SIMPLE:
        raise ValueError(f"there is no array of {shown(name)} in JSON")
    return dtype


def _write_scalar(value: np.generic) -> Any:
    if value.dtype.kind not in SIMPLE:
        raise Unholdable(_named(value))
    return [value.dtype.str, base64.b64encode(value.tobytes()).decode()]


def _write_index(index: pd.Index) -> Any:
    names = [encode(name) for name in index.names]
    if isinstance(index, pd.RangeIndex):
        return {"names": names, "range": [index.start, index.stop, index.step]}
    levels = [index.get_level_values(i) for i in range(index.nlevels)]
    freq = getattr(index, "freq", None) if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) else None
    many = isinstance(index, pd.MultiIndex)
    return {"names": names, "levels": [_write_column(level) for level in levels], "many": many,
            "freq": None if freq is None else freq.freqstr}  # fmt: skip


def _make_index(code: Code) -> pd.Index:
    names = [decode(name) for name in code["names"]]
    if "range" in code:
        start, stop, step = code["range"]
        return pd.RangeIndex(start, stop, step, name=names[0])
    levels = [_make_column(level) for level in code["levels"]]
    if code["many"]:
        return pd.MultiIndex.from_arrays(levels, names=names)
    index: Any = pd.Index(levels[0], name=names[0], dtype=levels[0].dtype, tupleize_cols=False)
    if code["freq"] is not None:
        index.freq = code["freq"]
    made: pd.Index = index
    return made


def _write_series(series: pd.Series[Any]) -> Any:
    about = {"name": encode(series.name), "index": encode(series.index), "attrs": encode(series.attrs)}
    return {**about, "values": _write_column(series)}


def _make_series(code: Code) -> pd.Series[Any]:
    values = _make_column(code["values"])
    series: pd.Series[Any] = pd.Series(
        values, index=decode(code["index"]), name=decode(code["name"]), dtype=values.dtype
    )
    series.attrs.update(decode(code["attrs"]))
    return series


def _write_frame(frame: pd.DataFrame) -> Any:
    columns = [_write_column(frame.iloc[:, at]) for at in range(frame.shape[1])]
    about = {"names": encode(frame.columns), "index": encode(frame.index), "attrs": encode(frame.attrs)}
    return {**about, "columns": columns}


def _make_frame(code: Code) -> pd.DataFrame:
    index = decode(code["index"])
    columns = [_make_column(column) for column in code["columns"]]
    made = {at: pd.Series(values, index=index, dtype=values.dtype) for at, values in enumerate(columns)}
    frame = pd.DataFrame(made, index=index)
    frame.columns = decode(code["names"])
    frame.attrs.update(decode(code["attrs"]))
    return frame


# -- single values ---------------------------------------------------------------------------------------------------


def _write_zone(zone: dt.tzinfo | None) -> Any:
    if zone is None or zone is dt.UTC:
        return None if zone is None else "UTC"
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        return {"name": zone.key}
    if type(zone) is dt.timezone:
        return zone.utcoffset(None).total_seconds()
    raise Unholdable(_named(zone))


def _make_zone(code: str | float | Code | None) -> dt.tzinfo | None:
    if code is None or code == "UTC":
        return None if code is None else dt.UTC
    if isinstance(code, dict):
        return zoneinfo.ZoneInfo(code["name"])
    return dt.timezone(dt.timedelta(seconds=float(code)))


def _write_moment(value: dt.datetime | dt.time) -> Any:
    return [value.replace(tzinfo=None).isoformat(), value.fold, _write_zone(value.tzinfo)]


def _make_moment(of: type[dt.datetime | dt.time], code: list[Any]) -> dt.datetime | dt.time:
    text, fold, zone = code
    return of.fromisoformat(text).replace(fold=fold, tzinfo=_make_zone(zone))


def _make_timestamp(code: list[Any]) -> pd.Timestamp:
    count, unit, zone = code
    naive = pd.Timestamp(np.datetime64(count, unit))
    return naive if zone is None else naive.tz_localize("UTC").tz_convert(_make_zone(zone))


def _pairs(value: Mapping[Any, Any]) -> list[Any]:
    return [[encode(key), encode(inner)] for key, inner in value.items()]


def _from_pairs(code: list[list[Any]]) -> list[tuple[Any, Any]]:
    return [(decode(key), decode(inner)) for key, inner in code]


def _write_defaultdict(value: defaultdict[Any, Any]) -> Any:
    factory = None if value.default_factory is None else getattr(value.default_factory, "__name__", "")
    if factory is not None and FACTORIES.get(factory) is not value.default_factory:
        raise Unholdable(_named(value))
    return [factory, _pairs(value)]


def _make_defaultdict(code: list[Any]) -> defaultdict[Any, Any]:
    return defaultdict(None if code[0] is None else FACTORIES[code[0]], _from_pairs(code[1]))


def _many(value: Iterable[Any]) -> list[Any]:
    return [encode(inner) for inner in value]


KINDS: Final[dict[str, _Kind]] = {
    "int": _Kind(int, hex, lambda c: int(c, 16)),
    "float": _Kind(float, str, float),
    "complex": _Kind(complex, lambda v: _many([v.real, v.imag]), lambda c: complex(decode(c[0]), decode(c[1]))),
    "dict": _Kind(dict, _pairs, lambda c: dict(_from_pairs(c))),
    "OrderedDict": _Kind(OrderedDict, _pairs, lambda c: OrderedDict(_from_pairs(c))),
    "Counter": _Kind(Counter, _pairs, lambda c: Counter(dict(_from_pairs(c)))),
    "defaultdict": _Kind(defaultdict, _write_defaultdict, _make_defaultdict),
    "tuple": _Kind(tuple, _many, lambda c: tuple(map(decode, c))),
    "set": _Kind(set, _many, lambda c: set(map(decode, c))),
    "frozenset": _Kind(frozenset, _many, lambda c: frozenset(map(decode, c))),
    "deque": _Kind(deque, lambda v: [_many(v), v.maxlen], lambda c: deque(map(decode, c[0]), c[1])),
    "range": _Kind(range, lambda v: [v.start, v.stop, v.step], lambda c: range(*c)),
    "bytes": _Kind(bytes, lambda v: base64.b64encode(v).decode(), base64.b64decode),
    "bytearray": _Kind(bytearray, lambda v: base64.b64encode(v).decode(), lambda c: bytearray(base64.b64decode(c))),
    "Decimal": _Kind(Decimal, str, Decimal),
    "Fraction": _Kind(Fraction, str, Fraction),
    "UUID": _Kind(uuid.UUID, str, uuid.UUID),
    "date": _Kind(dt.date, dt.date.isoformat, dt.date.fromisoformat),
    "datetime": _Kind(dt.datetime, _write_moment, lambda c: _make_moment(dt.datetime, c)),
    "time": _Kind(dt.time, _write_moment, lambda c: _make_moment(dt.time, c)),
    "timedelta": _Kind(dt.timedelta, lambda v: [v.days, v.seconds, v.microseconds], lambda c: dt.timedelta(*c)),
    "Timestamp": _Kind(
        pd.Timestamp, lambda v: [int(v.asm8.astype(np.int64)), v.unit, _write_zone(v.tzinfo)], _make_timestamp
    ),
    "Timedelta": _Kind(
        pd.Timedelta,
        lambda v: [int(v.asm8.astype(np.int64)), v.unit],
        lambda c: pd.Timedelta(np.timedelta64(c[0], c[1])),
    ),
    "Period": _Kind(
        pd.Period, lambda v: [v.ordinal, v.freqstr], lambda c: pd.Period(ordinal=c[0], freq=c[1])
    ),
    "Interval": _Kind(
        pd.Interval,
        lambda v: [encode(v.left), encode(v.right), v.closed],
        lambda c: pd.Interval(decode(c[0]), decode(c[1]), closed=c[2]),
    ),
    "NaT": _Kind(type(pd.NaT), lambda _: None, lambda _: pd.NaT),
    "NA": _Kind(type(pd.NA), lambda _: None, lambda _: pd.NA),
    "numpy": _Kind(np.generic, _write_scalar, lambda c: np.frombuffer(base64.b64decode(c[1]), _dtype_of(c[0]))[0]),
    "ndarray": _Kind(np.ndarray, _write_array, _make_array),
    "index": _Kind(pd.Index, _write_index, _make_index),
    "Series": _Kind(pd.Series, _write_series, _make_series),
    "DataFrame": _Kind(pd.DataFrame, _write_frame, _make_frame),
}  # fmt: skip

"""How a value is written so that Python reads it back equal.

Only exact types are written: a subclass brings its own `__repr__`, and that is code of somebody else. Everything passes
through `repr` of plain values, so no text of a user's can end a string and go on as code.

    a global of the user's -> [values] -> its text in the script
"""

from __future__ import annotations

import ast
import dataclasses
import datetime as dt
import functools
import logging
import math
import pathlib
import re
import sys
import types
import uuid
import zoneinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mblab.errors import shown
from mblab.tables.same import same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["MAX_TEXT", "SMALL_ARRAY", "Unwritable", "ValueWriter", "class_of", "is_method"]

MAX_TEXT = 200_000  # characters of one constant; beyond that it is data and belongs into a file
SMALL_ARRAY = 32  # values that still read well in a line of code

Container = tuple[Any, ...] | list[Any] | set[Any] | frozenset[Any] | dict[Any, Any]


def is_method(value: object) -> bool:
    """Return whether a value is a method that is bound to an object or a class, and no module's function."""
    if not isinstance(value, types.MethodType | types.BuiltinMethodType):
        return False
    return not (value.__self__ is None or isinstance(value.__self__, types.ModuleType))


def class_of(function: Callable[..., Any]) -> type | None:
    """Return the class in whose body a function stands, when it can be reached; None for any other."""
    owner = getattr(function, "__objclass__", None)
    if owner is None and not is_method(function):
        owner = sys.modules.get(str(getattr(function, "__module__", None)))
        for part in str(getattr(function, "__qualname__", "")).split(".")[:-1]:
            owner = getattr(owner, part, None)
    name = getattr(function, "__name__", "")
    return owner if isinstance(owner, type) and getattr(owner, name, None) is function else None


class Unwritable(Exception):
    """A value that no text stands for; the message says what it is."""


class Call(NamedTuple):
    """`module.function(*args, **kwargs)`; an empty module is Python's own."""

    module: str
    function: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}


def _set_only(**kwargs: Any) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if value}


def _pattern(value: re.Pattern[Any]) -> Call:
    flags = int(value.flags & ~re.UNICODE if isinstance(value.pattern, str) else value.flags)
    return Call("re", "compile", (value.pattern, flags) if flags else (value.pattern,))


def _moment(value: dt.datetime | dt.time) -> Call:
    """Write a date with time, or a time, without the zeros at its end."""
    day = (value.year, value.month, value.day) if isinstance(value, dt.datetime) else ()
    parts = [*day, value.hour, value.minute, value.second, value.microsecond]
    while parts[-1] == 0 and len(parts) > len(day):
        parts.pop()
    return Call("datetime", type(value).__name__, tuple(parts), _set_only(tzinfo=value.tzinfo, fold=value.fold))


def _timedelta(value: dt.timedelta) -> Call:
    parts = _set_only(days=value.days, seconds=value.seconds, microseconds=value.microseconds)
    return Call("datetime", "timedelta", (), parts)


REBUILT: dict[type, Callable[[Any], Call]] = {
    Decimal: lambda v: Call("decimal", "Decimal", (str(v),)),
    Fraction: lambda v: Call("fractions", "Fraction", (str(v),)),
    dt.date: lambda v: Call("datetime", "date", (v.year, v.month, v.day)),
    dt.datetime: _moment,
    dt.time: _moment,
    dt.timedelta: _timedelta,
    dt.timezone: lambda v: Call("datetime", "timezone", (v.utcoffset(None),)),
    zoneinfo.ZoneInfo: lambda v: Call("zoneinfo", "ZoneInfo", (v.key,)),
    uuid.UUID: lambda v: Call("uuid", "UUID", (str(v),)),
    type(pathlib.Path()): lambda v: Call("pathlib", "Path", (str(v),)),
    pathlib.PurePosixPath: lambda v: Call("pathlib", "PurePosixPath", (str(v),)),
    pathlib.PureWindowsPath: lambda v: Call("pathlib", "PureWindowsPath", (str(v),)),
    re.Pattern: _pattern,
    logging.Logger: lambda v: Call("logging", "getLogger", (v.name,)),
    functools.partial: lambda v: Call("functools", "partial", (v.func, *v.args), v.keywords),
    range: lambda v: Call("", "range", (v.start, v.stop, v.step)),
    slice: lambda v: Call("", "slice", (v.start, v.stop, v.step)),
    bytearray: lambda v: Call("", "bytearray", (bytes(v),)),
}
SINGLETONS: tuple[tuple[object, str, str], ...] = (
    (dt.UTC, "datetime", "timezone.utc"),
    (pd.NaT, "pandas", "NaT"),
    (pd.NA, "pandas", "NA"),
)


class ValueWriter:
    """Writes values as expressions.

    Attributes:
        module: Gives the name under which the script knows a module, importing it when it does not.
        named: Gives the expression for a function, a class or a module, and None for anything else.
    """

    def __init__(self, module: Callable[[str], str], named: Callable[[Any], str | None]) -> None:
        self.module = module
        self.named = named
        self._open: list[int] = []  # containers being written: one that holds itself has no text

    def code(self, value: Any) -> str:
        """Return an expression that gives the value again.

        Raises:
            Unwritable: It has none.
        """
        if id(value) in self._open:
            raise Unwritable(f"a {type(value).__name__} that contains itself")
        self._open.append(id(value))
        try:
            text = self._code(value)
        finally:
            self._open.pop()
        if len(text) > MAX_TEXT:
            raise Unwritable(f"a {type(value).__name__} that takes {len(text):,} characters to write")
        return text

    def _code(self, value: Any) -> str:
        kind = type(value)
        if value is None or value is ... or kind in (bool, int, str, bytes):
            return self._repr(value)
        if kind is float or kind is complex:
            return self._number(value)
        if kind in (tuple, list, set, frozenset, dict):
            return self._container(value)
        for single, module, attribute in SINGLETONS:
            if value is single:
                return f"{self.module(module)}.{attribute}"
        if kind in REBUILT:
            return self._call(REBUILT[kind](value))
        if kind is pd.Timestamp or kind is pd.Timedelta:
            return self._pandas_time(value)
        if kind in (types.GenericAlias, types.UnionType):
            return self._alias(value)
        if isinstance(value, np.generic | np.dtype | np.ndarray):
            return self._numpy(value)
        return self._member(value) if isinstance(value, Enum) else self._object(value)

    def _object(self, value: Any) -> str:
        """Write what has a name, a method, or an object of a class of the user's."""
        named = self.named(value)
        if named is not None:
            return named
        return self._method(value) if is_method(value) else self._record(value)

    def _repr(self, value: bool | int | str | bytes | types.EllipsisType | None) -> str:
        try:
            return repr(value)
        except ValueError:  # an int beyond sys.get_int_max_str_digits()
            raise Unwritable("an int with thousands of digits") from None

    def _number(self, value: complex) -> str:
        parts = (value.real, value.imag)
        if all(math.isfinite(p) for p in parts):
            return repr(value)
        if isinstance(value, float):
            return f"float({str(value)!r})"
        return f"complex({self._number(parts[0])}, {self._number(parts[1])})"

    def _container(self, value: Container) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{self.code(k)}: {self.code(v)}" for k, v in value.items()) + "}"
        items = [self.code(v) for v in value]
        if isinstance(value, list):
            return f"[{', '.join(items)}]"
        if isinstance(value, tuple):
            return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
        inside = (
            "{" + ", ".join(sorted(items)) + "}" if items else ""
        )  # sorted: the order of a set changes from run to run
        return f"frozenset({inside})" if isinstance(value, frozenset) else inside or "set()"

    def _call(self, call: Call) -> str:
        args = [*map(self.code, call.args), *(f"{k}={self.code(v)}" for k, v in call.kwargs.items())]
        prefix = f"{self.module(call.module)}." if call.module else ""
        return f"{prefix}{call.function}({', '.join(args)})"

    def _alias(self, value: types.GenericAlias | types.UnionType) -> str:
        """Write a type such as `dict[str, int]` or `int | None`."""
        args = ["None" if a is type(None) else self.code(a) for a in value.__args__]
        return (
            " | ".join(args)
            if isinstance(value, types.UnionType)
            else f"{self.code(value.__origin__)}[{', '.join(args)}]"
        )

    def _pandas_time(self, value: pd.Timestamp | pd.Timedelta) -> str:
        written = value.isoformat() if isinstance(value, pd.Timestamp) else str(value)
        text = f"{self.module('pandas')}.{type(value).__name__}({written!r})"
        if type(value)(written).unit != value.unit:
            text += f".as_unit({value.unit!r})"
        zone = getattr(value, "tzinfo", None)
        return text if zone is None else f"{text}.tz_convert({self.code(zone)})"

    def _numpy(self, value: np.generic | np.dtype[Any] | np.ndarray) -> str:
        numpy = self.module("numpy")
        if isinstance(value, np.ndarray):
            if (
                type(value) is np.ndarray
                and value.ndim == 1
                and value.size <= SMALL_ARRAY
                and value.dtype.kind in "biuf"
            ):
                return f"{numpy}.array({self.code(value.tolist())}, dtype={str(value.dtype)!r})"
            raise Unwritable(f"an array of {value.size} values within another value")
        if isinstance(value, np.dtype):
            return f"{numpy}.dtype({value.str!r})"
        if isinstance(value, np.datetime64 | np.timedelta64):
            unit, step = np.datetime_data(value.dtype)
            whole = "NaT" if np.isnat(value) else int(value.astype("int64"))
            written = str(value) if isinstance(value, np.datetime64) else whole
            return f"{numpy}.{type(value).__name__}({written!r}, {((unit, step) if step != 1 else unit)!r})"
        if isinstance(value, np.longdouble | np.clongdouble | np.void):
            raise Unwritable(f"a numpy.{type(value).__name__}")
        return f"{numpy}.{type(value).__name__}({self.code(value.item())})"

    def _member(self, value: Enum) -> str:
        owner = self.named(type(value))
        if owner is None:
            raise Unwritable(f"a member of {type(value).__name__}")
        single = type(value).__members__.get(str(value.name)) is value
        return f"{owner}.{value.name}" if single else f"{owner}({self.code(value.value)})"

    def _method(self, value: Any) -> str:
        """Write a method of a value that has a text, such as `"abc".upper`, or of a class."""
        owner, name = value.__self__, value.__name__
        if getattr(owner, name, None) != value:
            raise Unwritable(f"a method {name} that its {type(owner).__name__} no longer has")
        text = self.code(owner)
        plain = isinstance(ast.parse(text, mode="eval").body, ast.Name | ast.Attribute | ast.Call)
        return f"{text}.{name}" if plain or text.startswith(("'", '"')) else f"({text}).{name}"

    def _record(self, value: Any) -> str:
        """Write an instance of a dataclass or named tuple of the user's."""
        fields: Iterable[str]
        if dataclasses.is_dataclass(value):
            fields = [f.name for f in dataclasses.fields(value) if f.init]
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            fields = value._fields
        else:
            raise Unwritable(f"a {type(value).__module__}.{type(value).__qualname__}: {shown(value, 40)}")
        owner = self.named(type(value))
        if owner is None:
            raise Unwritable(f"a {type(value).__qualname__}")
        more = vars(value).keys() - set(fields) if hasattr(value, "__dict__") else set()
        if more and not same(vars(type(value)(**{name: getattr(value, name) for name in fields})), vars(value)):
            raise Unwritable(f"a {type(value).__qualname__} with {min(more)!r} beside its fields")
        return f"{owner}({', '.join(f'{name}={self.code(getattr(value, name))}' for name in fields)})"

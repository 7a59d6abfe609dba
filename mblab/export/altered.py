"""Whether the text of a function or class still gives what the notebook has; a script has only the text.

Defaults, class attributes, methods and attributes can be other ones by now: changed in place, replaced, or made of
names that mean something else today. What plain expressions say is evaluated and compared; a call of the user's own is
not, for it may take long or do something.

    function or class, its text -> [altered] -> None, or what is different in words -> capture
"""

from __future__ import annotations

import abc
import ast
import builtins
import datetime as dt
import enum
import functools
import inspect
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

import numpy as np
import pandas as pd

from mblab.errors import shown
from mblab.export.texts import does_the_same, within
from mblab.tables.same import same

__all__ = ["altered"]

PLAIN: Final = (
    ast.Constant, ast.Name, ast.Attribute, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp,
    ast.Subscript, ast.Slice, ast.keyword, ast.expr_context, ast.operator, ast.unaryop, ast.Call,
)  # fmt: skip
MAKERS: Final = (
    bool, bytes, complex, dict, float, frozenset, int, list, range, set, str, tuple, len, max, min, round, sorted, sum,
    dt.date, dt.datetime, dt.time, dt.timedelta, Decimal, Fraction, pd.Timestamp, pd.Timedelta, np.array, np.float64,
    np.int64,
)  # fmt: skip
USUAL: Final = (staticmethod, classmethod, property, functools.cached_property, functools.cache, abc.abstractmethod)
MISSING: Final = object()
Arguments = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def altered(value: Callable[..., Any], text: str, world: Mapping[str, Any]) -> str | None:
    """Return how a function or class is another one than its text gives, such as "whose default k is [3], not [9]".

    Args:
        value: The function or class.
        text: Its definition.
        world: The names it sees from outside.
    """
    try:
        tree = ast.parse(text.strip())
    except SyntaxError:
        return None
    if isinstance(value, type):
        body = next((n for n in tree.body if isinstance(n, ast.ClassDef)), None)
        return None if body is None else _altered_class(value, body, world)
    plain = inspect.unwrap(value)
    made = next((n for n in ast.walk(tree) if isinstance(n, Arguments)), None)
    if not isinstance(plain, FunctionType) or made is None:
        return None
    if said := _altered_defaults(plain, made, world):
        return said
    if others := _registered(value):
        return f"for which others are registered ({', '.join(others)})"
    more = _attributes_of(value) if _keeps_attributes(made, world) else {}
    return f"with the attribute {next(iter(more))!r}, which its text does not set" if more else None


def _attributes_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the attributes that somebody gave to a function."""
    own, before = vars(function), vars(getattr(function, "__wrapped__", function))
    kept = () if before is own else [n for n, v in before.items() if own.get(n) is v]
    return {n: v for n, v in own.items() if n not in kept and n != "cache_parameters" and not n.startswith("__")}


def _keeps_attributes(made: Arguments, world: Mapping[str, Any]) -> bool:
    """Return whether no decorator can have set attributes: none but a lab's, and those of functools."""
    for decorator in getattr(made, "decorator_list", []):
        method = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(method, ast.Attribute) and method.attr in ("batch", "map"):
            continue
        if _evaluated(method, world) not in (functools.cache, functools.lru_cache, staticmethod):
            return False
    return True


def _registered(value: Any) -> list[str]:
    """Return the types that a function made by singledispatch has functions for besides object."""
    kinds = getattr(value, "registry", {}) if hasattr(value, "dispatch") else {}
    return [k.__name__ for k in kinds if k is not object]


# -- defaults -----------------------------------------------------------------------------------------------------


def _altered_defaults(function: FunctionType, made: Arguments, world: Mapping[str, Any]) -> str | None:
    places = [*made.args.posonlyargs, *made.args.args]
    written: dict[str, ast.expr] = {
        **{a.arg: d for a, d in zip(places[len(places) - len(made.args.defaults) :], made.args.defaults, strict=True)},
        **{a.arg: d for a, d in zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True) if d is not None},
    }
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    given = function.__defaults__ or ()
    there = {**dict(zip(names[len(names) - len(given) :], given, strict=True)), **(function.__kwdefaults__ or {})}
    if written.keys() != there.keys():
        return "whose defaults are not those of its text"
    for name, expression in written.items():
        if said := _otherwise(expression, there[name], world):
            return f"whose default {name} {said}"
    return None


def _otherwise(expression: ast.expr, value: Any, world: Mapping[str, Any]) -> str | None:
    """Return how a value is another one than what a plain expression says; None also for any other expression."""
    again = _evaluated(expression, world)
    if again is MISSING or again is value or same(again, value):
        return None
    return f"is {shown(value, 40)} now, while its text says {shown(again, 40)}"


def _evaluated(expression: ast.expr, world: Mapping[str, Any]) -> Any:
    for node in ast.walk(expression):
        if not isinstance(node, PLAIN):
            return MISSING
        if isinstance(node, ast.Call) and not any(_evaluated(node.func, world) is maker for maker in MAKERS):
            return MISSING
    try:
        return eval(ast.unparse(expression), {"__builtins__": builtins}, world)  # noqa: S307 - the user's own text
    except Exception:
        return MISSING


# -- classes ------------------------------------------------------------------------------------------------------


def _altered_class(cls: type, made: ast.ClassDef, world: Mapping[str, Any]) -> str | None:
    own, written = vars(cls), dict(_written(made))
    world = ChainMap(dict(own), world)  # type: ignore[arg-type]
    codes, plain = _codes_in(made, cls), _makes_nothing_else(cls, made, world)
    for name, node in written.items():
        value = own.get(name, MISSING)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            said = _altered_method(name, value, node, codes.get(name), world)
        elif isinstance(node, ast.ClassDef):
            inner = _altered_class(value, node, world) if isinstance(value, type) else None
            said = inner and f"in which {name} is a class {inner}"
        else:
            said = _altered_value(name, value, node, world, plain=plain)
        if said:
            return said
    more = [name for name in own if plain and name not in written and _is_added(name, own[name], cls)]
    if plain and issubclass(cls, enum.Enum):
        more += [name for member in cls for name in _given_to(member)]
    return f"with the attribute {more[0]!r}, which its text does not set" if more else None


def _makes_nothing_else(cls: type, made: ast.ClassDef, world: Mapping[str, Any]) -> bool:
    """Return whether no decorator, metaclass or base can have added to a class what its body does not say."""
    for kind in inspect.getmro(type(cls)):
        if kind not in (type, object, enum.EnumMeta, _ABC) and not vars(kind).keys().isdisjoint(
            ("__new__", "__init__")
        ):
            return False
    return not issubclass(cls, tuple) and all(_is_dataclass(d, world) for d in made.decorator_list)


def _altered_value(name: str, value: Any, node: ast.AST, world: Mapping[str, Any], *, plain: bool) -> str | None:
    if not isinstance(node, ast.expr) or hasattr(type(value), "__get__") or isinstance(value, enum.Enum):
        return None
    if value is MISSING:
        return f"whose {name} is gone" if plain and _evaluated(node, world) is not MISSING else None
    said = _otherwise(node, value, world)
    return said and f"whose {name} {said}"


def _given_to(member: enum.Enum) -> list[str]:
    """Return what somebody set on a member, unless its class does when it makes one."""
    makes = any(
        "__init__" in vars(kind) for kind in type(member).__mro__ if kind is not object and kind is not enum.Enum
    )
    return [] if makes else [name for name in vars(member) if not name.startswith("_")]


_ABC: Final = type(Mapping)


def _written(made: ast.ClassDef) -> Iterator[tuple[str, ast.AST]]:
    """Yield what a class body binds: a name and its definition, its expression, or whatever else binds it."""
    for node in made.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) for t in node.targets):
            yield from ((t.id, node.value) for t in node.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if node.value is not None:
                yield node.target.id, node.value
        else:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    yield inner.id, node
                elif isinstance(inner, ast.alias):
                    yield (inner.asname or inner.name).partition(".")[0], node
                elif isinstance(inner, ast.FunctionDef | ast.ClassDef):
                    yield inner.name, node


def _is_dataclass(decorator: ast.expr, world: Mapping[str, Any]) -> bool:
    made = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(_evaluated(made, world), "__module__", None) == "dataclasses"


def _codes_in(made: ast.ClassDef, cls: type) -> dict[str, CodeType]:
    """Return the code of each method that a class's text defines, by name; the last one of a name."""
    inside = [_function_in(v) for v in vars(cls).values()]
    outside = sorted({n for f in inside if f for n in f.__code__.co_freevars} - {"__class__"})
    try:
        code = within(made, outside)
    except (SyntaxError, ValueError):
        return {}
    body = next((c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == made.name), None)
    return {c.co_name: c for c in body.co_consts if isinstance(c, CodeType)} if body else {}


def _function_in(value: Any) -> FunctionType | None:
    """Return the function behind a method of any kind."""
    for inner in ("__func__", "fget", "func"):
        value = getattr(value, inner, value)
    plain = inspect.unwrap(value) if callable(value) else value
    return plain if isinstance(plain, FunctionType) else None


def _altered_method(
    name: str, value: Any, node: ast.FunctionDef | ast.AsyncFunctionDef, code: CodeType | None, world: Mapping[str, Any]
) -> str | None:
    if value is MISSING:
        return f"whose {name} is gone"
    function = _function_in(value)
    usual = all(_evaluated(d, world) in USUAL for d in node.decorator_list)
    if function is None or code is None or not usual:  # such as a setter, of which the getter has the name as well
        return None
    rewritten = any(n.startswith("@py") for n in function.__code__.co_names)  # by pytest, which changes assertions
    if not rewritten and not does_the_same(function.__code__, code):
        return f"whose {name} was replaced"
    return _altered_default_of(name, function, node, world)


def _altered_default_of(
    name: str, function: FunctionType, node: ast.FunctionDef | ast.AsyncFunctionDef, world: Mapping[str, Any]
) -> str | None:
    said = _altered_defaults(function, node, world)
    return said and f"in which {name} is a function {said}"


def _is_added(name: str, value: Any, cls: type) -> bool:
    """Return whether nobody but the user can have put this into a class."""
    if issubclass(cls, enum.Enum) or isinstance(value, GetSetDescriptorType | MemberDescriptorType):
        return False
    if name.startswith("__") and name.endswith("__"):
        function = _function_in(value)
        made = function is None or function.__code__.co_filename == "<string>"  # by dataclass, say
        return not made and getattr(function, "__module__", None) == cls.__module__
    return not name.startswith("_abc_") and name not in ("_is_protocol", "_is_runtime_protocol")

"""What a function reads, and what a script must say so that it reads the same there.

Starting from the user's text, every name it reads is looked up where the function lives: modules and what comes from
them become imports, the user's own functions and classes their text, plain values `NAME = ...`, tables a file beside
the script. What has no text (an open file, a lock, a model in memory) is refused, with the line that reads it.

    step.fn, step.text -> [capture] -> imports, constants, definitions, tables
"""

from __future__ import annotations
import __future__

import ast
import builtins
import inspect
import sys
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mblab.errors import ExportError, did_you_mean, shown
from mblab.export.altered import altered
from mblab.export.texts import Definition, Read, definition_of, names_read, without_decorators, world_of
from mblab.export.values import SMALL_ARRAY, Unwritable, ValueWriter, class_of, is_method

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MAX_TABLE_BYTES", "Capture", "Reader", "Table", "refuse_altered", "table_bytes"]

MAX_TABLE_BYTES = 50_000_000
MODULE_NAMES = frozenset({"__name__", "__file__", "__doc__", "__builtins__", "__spec__", "__package__", "__loader__"})
USUAL_NAMES = {"pandas": "pd", "numpy": "np"}
MUTABLE = (list, dict, set, bytearray, pd.DataFrame, pd.Series, np.ndarray)
Table = pd.DataFrame | pd.Series | np.ndarray


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads names: for messages, and for looking them up.

    Attributes:
        label: The function or class.
        world: What it sees from outside.
        line: Line of its text's first line in the user's cell or file.
    """

    label: str
    world: Mapping[str, Any]
    line: int

    def where(self, name: str, line: int) -> str:
        """Return who reads a name, and in which line; `line` counts from 1 in the text."""
        return f"{self.label} reads {name!r} in line {self.line + line - 1}"


@dataclass(frozen=True, slots=True)
class Node:
    """A statement of the script.

    Attributes:
        text: The statement.
        early: Names it needs when it is executed.
        reads: Names it needs then or later.
    """

    text: str
    early: frozenset[str]
    reads: frozenset[str]


@dataclass(slots=True)
class Capture:
    """Collects what functions read.

    Attributes:
        own: Modules whose functions and classes are written out, not imported: the notebook, or the pipeline's file.
        provided: Names that the script defines by itself.
        bound: What each name of the script stands for.
        imports: Name to (module, attribute or None).
        submodules: Modules that a text reaches through their package, such as `xml.etree.ElementTree`.
        modules: Every module that is needed, and who needs it.
        tables: Frames, series and arrays to write beside the script.
        constants: Assignments of values.
        definitions: Functions and classes, each after those it reads.
        future: Whether annotations are not evaluated (`from __future__ import annotations`).
    """

    own: frozenset[str]
    provided: frozenset[str] = frozenset()
    bound: dict[str, Any] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    submodules: set[str] = field(default_factory=set)
    modules: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    constants: dict[str, Node] = field(default_factory=dict)
    definitions: dict[str, Node] = field(default_factory=dict)
    future: bool = False
    _waiting: list[tuple[str, Any, Mapping[str, Any], str]] = field(default_factory=list)

    def read(self, text: str, reader: Reader) -> Node:
        """Take in everything a text reads.

        Raises:
            ExportError: A name is not defined, or stands for what a script cannot hold.
        """
        try:
            reads = names_read(text)
        except SyntaxError as error:
            raise ExportError(
                f"the text of {reader.label} does not compile by itself ({error.msg}, line {error.lineno}); "
                "define it at the top of a cell, and keep what it remembers in `state`."
            ) from None
        self.future = self.future or reader.world.get("annotations") is __future__.annotations
        self._imports_inside(text, reader)
        for name, read in reads.items():
            if name not in self.provided and name not in MODULE_NAMES:
                self._look_up(name, read, reader)
        self._packages_within(text)
        return Node(text, frozenset(n for n, r in reads.items() if r.early), frozenset(reads))

    def define(self, value: Callable[..., Any], name: str, world: Mapping[str, Any], where: str) -> str:
        """Take in a function or class of the user's; return the name its text defines.

        Raises:
            ExportError: It has no text.
        """
        found = definition_of(value, name, world)
        if found is None:
            kind = "class" if isinstance(value, type) else "function"
            raise ExportError(
                f"{where}, a {kind} ({shown(value, 60)}) whose text cannot be found; "
                f"define it with {'class' if kind == 'class' else 'def'} in a cell or a file."
            )
        if found.name != name and not self.bind(found.name, value, where):
            return found.name
        inner = inspect.unwrap(value).__name__ in (found.name, "<lambda>")
        reader = Reader(found.name, world_of(value, world) if inner else world, found.line)
        text = _as_wrapped(value, found, where) if inner else found.text
        if inner:
            refuse_altered(value, text, reader.world, where)
        self.definitions[found.name] = self.read(text, reader)
        return found.name

    def bind(self, name: str, value: Any, where: str) -> bool:
        """Give a name its meaning; return whether it is new.

        Raises:
            ExportError: It already means something else.
        """
        if name not in self.bound:
            self.bound[name] = value
            return True
        known = self.bound[name]
        if known is value or (callable(known) and callable(value) and inspect.unwrap(known) is inspect.unwrap(value)):
            return False
        if type(known) is type(value) and isinstance(value, bool | int | float | str) and known == value:
            return False
        raise ExportError(
            f"{where}, but elsewhere in the script {name!r} is {shown(known, 40)}, not {shown(value, 40)}; "
            "give one of them another name."
        )

    def module(self, module: str) -> str:
        """Return the name under which the script knows a module, importing it when it does not."""
        value = sys.modules[module]
        for name, bound in self.bound.items():
            if bound is value:
                return name
        name = self.free(USUAL_NAMES.get(module, module.rpartition(".")[2]))
        self.bound[name] = value
        self._import(name, module, None, f"a value of the pipeline needs {module}")
        return name

    def take(self, name: str, value: Any, world: Mapping[str, Any], where: str) -> None:
        """Take in what a name stands for.

        Raises:
            ExportError: A script cannot hold it, or the name is taken.
        """
        if self.bind(name, value, where):
            self._place(name, value, world, where)

    def free(self, name: str) -> str:
        """Return a name that nothing else has, as near to the wish as can be."""
        while name in self.bound or name in self.provided:
            name += "_"
        return name

    def expression(self, value: Any, world: Mapping[str, Any], where: str) -> str:
        """Return the text of a value.

        Raises:
            Unwritable: It has none.
        """
        return ValueWriter(self.module, lambda part: self._named(part, world, where)).code(value)

    def finish(self) -> None:
        """Write the values, now that all names are known.

        Raises:
            ExportError: One has no text.
        """
        while self._waiting:
            self._assign(*self._waiting[0])
            self._waiting.pop(0)

    def in_order(self, later: frozenset[str]) -> list[str]:
        """Return the names of constants and definitions, each after all it needs when it is executed.

        Args:
            later: Names the script defines after them: its steps.

        Raises:
            ExportError: One of them needs a step.
        """
        nodes = {**self.constants, **self.definitions}
        needs = {name: self._needs(name, nodes) for name in nodes}
        for name, needed in needs.items():
            if step := next(iter(needed & later), None):
                raise ExportError(f"{name!r} needs the step {step!r} to be made; put what they share into a function.")
        ordered: list[str] = []
        left = dict.fromkeys(nodes)
        while left:
            ready = next((n for n in left if not (needs[n] & left.keys()) - {n}), next(iter(left)))
            del left[ready]
            ordered.append(ready)
        return ordered

    def _needs(self, name: str, nodes: Mapping[str, Node]) -> set[str]:
        """Return what must stand before a statement: what it reads when it is executed, and what that calls."""
        needed: set[str] = set()
        ahead = set(nodes[name].early)
        while ahead:
            at = ahead.pop()
            if at not in needed:
                needed.add(at)
                ahead |= nodes[at].reads if at in nodes else set()
        return needed

    def _look_up(self, name: str, read: Read, reader: Reader) -> None:
        where = reader.where(name, read.line)
        if name in reader.world:
            self.take(name, reader.world[name], reader.world, where)
            return
        lazy = self.future or sys.version_info >= (3, 14)
        if hasattr(builtins, name) or (read.annotation and lazy):
            return
        public = [n for n in reader.world if not n.startswith("_")]
        raise ExportError(
            f"{where}, which is not defined{did_you_mean(name, public, '; define it before you export.')}"
        )

    def _place(self, name: str, value: Any, world: Mapping[str, Any], where: str) -> None:
        """Decide what a name becomes: an import, a definition, a table or, later, a value."""
        if _is_builtin(value) and name == value.__name__:
            return
        other = next((n for n, b in self.bound.items() if b is value and n != name), None)
        if other is not None and isinstance(value, MUTABLE):  # what is done to one of them is seen in the other
            self.constants[name] = Node(f"{name} = {other}", frozenset({other}), frozenset({other}))
        elif isinstance(value, ModuleType):
            self._import(name, value.__name__, None, where)
        elif type(value) in (pd.DataFrame, pd.Series, np.ndarray) and not is_short_array(value):
            self._take_table(name, value, where)
        elif _is_named(value) and (origin := self._origin(value, name)):
            self._import(name, *origin, where)
        elif not _is_definition(value):
            self._waiting.append((name, value, world, where))
        elif (defined := self.define(value, name, world, where)) != name:
            self.constants[name] = Node(f"{name} = {defined}", frozenset({defined}), frozenset({defined}))

    def _import(self, name: str, module: str, attribute: str | None, where: str) -> None:
        self.imports[name] = module, attribute
        self.modules.setdefault(module, where)

    def _take_table(self, name: str, value: Table, where: str) -> None:
        size = table_bytes(value)
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            raise ExportError(f"{where}, an array of Python objects; make it an array of numbers or a DataFrame.")
        if size > MAX_TABLE_BYTES:
            raise ExportError(
                f"{where}, a {type(value).__name__} of {size / 1e6:,.0f} MB; at most 50 MB go beside a script: "
                "read it from a file inside the function."
            )
        self.tables[name] = value

    def _assign(self, name: str, value: Any, world: Mapping[str, Any], where: str) -> None:
        """Write a value as an assignment and try it, or import it when it is a module's own object."""
        try:
            text = self.expression(value, world, where)
            names = frozenset(n.id for n in ast.walk(ast.parse(text, mode="eval")) if isinstance(n, ast.Name))
            known_names = {n: self.bound[n] for n in names if n in self.bound}
            again = eval(text, known_names)  # noqa: S307 - the text was made above, from plain values
            if self.expression(again, world, where) != text:
                raise Unwritable(f"a {type(value).__name__} that is another one when it is written and read again")
        except (Unwritable, SyntaxError, RecursionError, MemoryError, TypeError, ValueError) as problem:
            if origin := self._origin(value, name):
                self._import(name, *origin, where)
                return
            what = (
                str(problem)
                if isinstance(problem, Unwritable)
                else f"a {type(value).__name__} that cannot be written as text"
            )
            raise ExportError(
                f"{where}, {what}: a script cannot hold it; create it inside the function, "
                "or make it there from plain values."
            ) from None
        self.constants[name] = Node(f"{name} = {text}", names, names)

    def _named(self, value: Any, world: Mapping[str, Any], where: str) -> str | None:
        """Return the expression for a function, a class or a module within a value; None for anything else."""
        unwritten = {name for name, *_ in self._waiting}
        known = next((n for n, b in self.bound.items() if b is value and _is_named(value) and n not in unwritten), None)
        if known or not _is_named(value):
            return known
        if isinstance(value, ModuleType):
            return self.module(value.__name__)
        name = value.__name__
        if _is_builtin(value) and name not in self.bound:
            return str(name)
        if origin := self._origin(value, name):
            return f"{self.module(origin[0])}.{origin[1]}"
        if is_method(value):
            held = next((n for n, b in self.bound.items() if b is value.__self__ and isinstance(b, MUTABLE)), None)
            return None if held is None else f"{held}.{name}"
        if owner := class_of(value):
            return f"{self.expression(owner, world, where)}.{name}"
        if not _is_definition(value) or not name.isidentifier():
            raise Unwritable(f"a value that holds {shown(value, 60)}")
        if self.bind(name, value, where):
            self._place(name, value, world, where)
        return str(name)

    def _origin(self, value: Any, name: str) -> tuple[str, str] | None:
        """Return (module, attribute) from which exactly this object can be imported; None for the user's own."""
        home = getattr(value, "__module__", None)
        if home in self.own or home == "__main__" or _is_builtin(value):
            return None
        parts = home.split(".") if isinstance(home, str) else []
        near = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        public = [m for m in near if not any(p.startswith("_") for p in m.split("."))]
        others = sorted(sys.modules, key=lambda m: (m.startswith("_"), "._" in m, m.count("."), m))
        for module in [*public, *near, *others]:
            inside = getattr(sys.modules.get(module), "__dict__", {})
            for attribute in (name, getattr(value, "__name__", name)):
                if module not in self.own and module != "__main__" and inside.get(attribute) is value:
                    return module, attribute
        return None

    def _imports_inside(self, text: str, reader: Reader) -> None:
        """Note the modules that a text imports by itself."""
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            line = reader.line + node.lineno - 1
            if isinstance(node, ast.ImportFrom) and node.level:
                raise ExportError(
                    f"{reader.label} imports relatively in line {line}, and a script is in no package; "
                    "name the module in full."
                )
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            for module in found:
                self.modules.setdefault(module, f"{reader.label} imports {module!r} in line {line}")

    def _packages_within(self, text: str) -> None:
        """Note modules reached through a package imported under its own name, such as `xml.etree.ElementTree`."""
        for node in ast.walk(ast.parse(text)):
            path = _dotted(node) if isinstance(node, ast.Attribute) else None
            root = path.partition(".")[0] if path else ""
            if path and self.imports.get(root) == (root, None) and _is_submodule(path):
                self.submodules.add(path)


def refuse_altered(value: Callable[..., Any], text: str, world: Mapping[str, Any], where: str) -> None:
    """Raise when a function or class is another one than its text gives.

    Raises:
        ExportError: It is; the message says what is different.
    """
    if said := altered(value, text, world):
        kind = "class" if isinstance(value, type) else "function"
        raise ExportError(
            f"{where}, a {kind} {said}; a script has only its text, so write that there and run the cell again."
        )


def _as_wrapped(value: Callable[..., Any], found: Definition, where: str) -> str:
    """Return the text of a function that a decorator wraps without functools.wraps: without its decorators.

    Raises:
        ExportError: Whether it is wrapped cannot be told.
    """
    node = ast.parse(found.text).body[0]
    if not isinstance(value, FunctionType) or not isinstance(node, ast.FunctionDef) or hasattr(value, "__wrapped__"):
        return found.text
    others = [d for d in node.decorator_list if getattr(getattr(d, "func", d), "attr", None) not in ("batch", "map")]
    public = value.__globals__.get(found.name)
    if not others or public is value or "<lambda>" in value.__qualname__:
        return found.text
    if public is None:
        raise ExportError(
            f"{where}, a function under @{ast.unparse(others[-1])}; let that decorator use functools.wraps, or define "
            "it at the top of a cell."
        )
    return without_decorators(found.text, node.decorator_list)


def is_short_array(value: Table) -> bool:
    """Return whether an array reads well as a line of code."""
    return type(value) is np.ndarray and value.ndim == 1 and value.size <= SMALL_ARRAY and value.dtype.kind in "biuf"


def table_bytes(table: Table) -> int:
    """Return the memory a table takes, strings included."""
    if isinstance(table, np.ndarray):
        return table.nbytes
    return int(np.sum(table.memory_usage(deep=True)))


def _is_builtin(value: Any) -> bool:
    return getattr(builtins, getattr(value, "__name__", ""), None) is value


def _is_definition(value: Any) -> bool:
    """Return whether a value is a Python function (also wrapped) or a class, other than Python's own."""
    if _is_builtin(value):
        return False
    return isinstance(value, type) or (callable(value) and isinstance(inspect.unwrap(value), FunctionType))


def _is_named(value: Any) -> bool:
    return isinstance(value, type | ModuleType | np.ufunc) or inspect.isroutine(value) or _is_definition(value)


def _is_submodule(path: str) -> bool:
    return path in sys.modules and hasattr(sys.modules.get(path.rpartition(".")[0]), "__path__")


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    before = _dotted(node.value) if isinstance(node, ast.Attribute) else None
    return f"{before}.{node.attr}" if before and isinstance(node, ast.Attribute) else None

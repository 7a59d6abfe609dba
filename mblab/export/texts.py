"""The user's text: where that of a function or class stands, which names it reads, and the world it reads them in.

function -> [texts] -> definition, names, world -> capture
"""

from __future__ import annotations

import ast
import functools
import inspect
import symtable
import sys
import textwrap
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

__all__ = [
    "Definition",
    "Read",
    "cell_with",
    "definition_of",
    "does_the_same",
    "find_statement",
    "lambda_in",
    "moved_left",
    "names_read",
    "within",
    "without_decorators",
    "world_of",
]

COMPREHENSIONS = frozenset({"listcomp", "setcomp", "dictcomp", "genexpr"})


# -- which names a text reads -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """A name that a text takes from outside itself.

    Attributes:
        line: The first line of the text that mentions it, counted from 1.
        early: Whether it is read when the text is executed (decorator, default, base class), not when it is called.
        annotation: Whether only annotations read it.
    """

    line: int
    early: bool
    annotation: bool


class _Simplify(ast.NodeTransformer):
    """Takes annotations out, keeping their names, and shows that `x += 1` reads x."""

    def __init__(self) -> None:
        self.annotations: list[ast.expr] = []

    def _take(self, node: ast.expr | None) -> None:
        if node is not None:
            self.annotations.append(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self._take(node.returns)
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's name

    def visit_arg(self, node: ast.arg) -> ast.AST:
        self._take(node.annotation)
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self._take(node.annotation)
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.target, ast.Name):
            return node
        value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
        return ast.Assign([node.target], value, lineno=node.lineno)


def _globals_of(table: symtable.SymbolTable, *, early: bool) -> Iterator[tuple[str, bool]]:
    """Yield (name, early) for what a scope and those within it read from the module or from Python."""
    at_module = str(table.get_type()) == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (at_module or symbol.is_global()):
            yield symbol.get_name(), early
    for child in table.get_children():
        is_call = str(child.get_type()) == "function" and child.get_name() not in COMPREHENSIONS
        yield from _globals_of(child, early=early and not is_call)


def names_read(text: str) -> dict[str, Read]:
    r"""Return the names that a definition reads from outside, in the order they appear.

    Raises:
        SyntaxError: The text does not compile by itself.

    >>> list(names_read("def f(batch, by=KEY):\n    return [len(x) for x in batch if x > LIMIT]"))
    ['KEY', 'len', 'LIMIT']
    """
    tree = ast.parse(text)
    lines: dict[str, int] = {}
    for name in sorted((n for n in ast.walk(tree) if isinstance(n, ast.Name)), key=lambda n: (n.lineno, n.col_offset)):
        lines.setdefault(name.id, name.lineno)
    simplify = _Simplify()
    plain = ast.unparse(ast.fix_missing_locations(simplify.visit(tree)))
    reads: dict[str, bool] = {}
    for found, early in _globals_of(symtable.symtable(plain, "<text>", "exec"), early=True):
        reads[found] = reads.get(found, False) or early
    notes = {n.id for note in simplify.annotations for n in ast.walk(note) if isinstance(n, ast.Name)}
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return {
        name: Read(line, early=name in notes or reads[name], annotation=name not in reads)
        for name, line in lines.items()
        if (name in reads or name in notes) and name not in defined
    }


# -- the text of a function or class ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Definition:
    """A statement that defines a function or a class.

    Attributes:
        name: What it defines.
        text: The statement, from its first decorator on.
        line: Its first line in the user's cell or file.
    """

    name: str
    text: str
    line: int


def find_statement(source: str, name: str) -> Definition | None:
    """Return the last top-level statement that defines a function or class: def, class, a lambda, or a call.

    A call is how `namedtuple("Point", "x y")` and `Enum("Color", "RED")` make a class.
    """
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return None
    for node in reversed(body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found = node.name == name
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        else:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found = isinstance(value, ast.Lambda | ast.Call) and [getattr(t, "id", None) for t in targets] == [name]
            first = node.lineno
        if found:
            return Definition(name, "\n".join(source.split("\n")[first - 1 : node.end_lineno]), first)
    return None


def moved_left(source: str) -> str | None:
    """Return an indented text without its indentation; None when that would change a string of several lines."""
    text = textwrap.dedent(source)
    if not source[:1].isspace():
        return text
    try:
        (inside,) = ast.parse("if True:\n" + source).body
        same = [ast.dump(n) for n in ast.parse(text).body] == [ast.dump(n) for n in getattr(inside, "body", [])]
    except (SyntaxError, ValueError):
        return None
    return text if same else None


def _below_magic(cell: str) -> str:
    """Return the text of a cell; of one with magics such as %%batch what stands below, in the lines it has there."""
    call = cell.strip()
    if not call.startswith("get_ipython().run_cell_magic("):
        return cell
    try:
        parsed = ast.parse(call, mode="eval").body
        body = str(ast.literal_eval(parsed.args[2])) if isinstance(parsed, ast.Call) else ""
    except (SyntaxError, ValueError, IndexError):
        return cell
    lines = ["", *body.split("\n")]
    at = 1
    while at < len(lines) and lines[at].startswith("%%"):  # one magic below the other
        lines[at] = ""
        at += 1
    return "\n".join(lines)


def _cells(names: Mapping[str, Any]) -> list[str]:
    """Return the texts in which a name may be defined, newest first: a notebook's cells, or the module's file."""
    cells = names.get("In")
    if isinstance(cells, list):
        return [_below_magic(c) for c in reversed(cells) if isinstance(c, str)]
    try:
        return [inspect.getsource(sys.modules[str(names.get("__name__"))])]
    except (KeyError, OSError, TypeError):
        return []


def _in_cells(name: str, names: Mapping[str, Any]) -> Definition | None:
    return next((d for d in (find_statement(cell, name) for cell in _cells(names)) if d is not None), None)


def definition_of(value: Callable[..., Any], name: str, names: Mapping[str, Any]) -> Definition | None:
    """Return the text of a user's function or class, or None when it cannot be found.

    Args:
        value: The function or class.
        name: The name it is read under.
        names: The world it is read in; classes and wrapped functions are looked up in its cells or its file.
    """
    plain = inspect.unwrap(value)
    if not isinstance(plain, FunctionType):
        return _in_cells(value.__name__, names)
    own = name if plain.__name__ == "<lambda>" else plain.__name__
    public = names.maps[-1] if isinstance(names, ChainMap) else names
    if own != name and public.get(name) is value:
        decorated = _in_cells(name, names)  # by what makes no use of functools.wraps: its text is the outer one
        if decorated and decorated.text.lstrip().startswith("@"):
            return decorated
    try:
        lines, first = inspect.getsourcelines(plain)
    except (OSError, TypeError):  # run by a magic such as %%time, which keeps no text
        return cell_with(plain)
    text = moved_left("".join(lines))
    found = find_statement(text, own) if text else None
    return found and Definition(own, found.text, max(first, 1) + found.line - 1)


def cell_with(function: FunctionType) -> Definition | None:
    """Return the text of a function in a notebook's cells: the newest that compiles to its code; None without."""
    code = function.__code__
    for cell in _cells(function.__globals__) if "In" in function.__globals__ else []:
        if code.co_name == "<lambda>":
            if text := lambda_in(cell, code):
                return Definition(code.co_name, text, code.co_firstlineno)
            continue
        found = find_statement(cell, code.co_name)
        if found and does_the_same(code, _code_in(ast.parse(found.text).body[0], code)):
            return found
    return None


# -- the code that a text gives -----------------------------------------------------------------------------------


def within(node: ast.stmt | ast.Lambda, outside: Iterable[str]) -> CodeType:
    """Compile a definition within a function that has these names, so that it takes them from there; return that one.

    Raises:
        SyntaxError: It does not compile there.
    """
    outer_names = list(outside)
    outer = ast.arguments(
        posonlyargs=[], args=[ast.arg(n) for n in outer_names], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    if isinstance(node, ast.Lambda):
        around: ast.Module | ast.Expression = ast.Expression(ast.Lambda(outer, node))
    else:
        made = ast.parse("def around(): pass")
        (function,) = made.body
        name = getattr(node, "name", "")  # at the top of a text a definition's name is a global, in itself too
        before = [ast.Global([name])] if name not in outer_names else []
        function.args, function.body = outer, [*before, node]  # type: ignore[attr-defined]
        around = made
    whole = compile(ast.fix_missing_locations(around), "<text>", "eval" if isinstance(node, ast.Lambda) else "exec")
    return next(c for c in whole.co_consts if isinstance(c, CodeType))


def _code_in(node: ast.stmt | ast.Lambda, like: CodeType) -> CodeType | None:
    """Return the code of a function that a text defines where `like` was compiled, or None."""
    try:
        outer = within(node, like.co_freevars)
    except (SyntaxError, ValueError):
        return None
    return next((c for c in outer.co_consts if isinstance(c, CodeType) and c.co_name == like.co_name), None)


def lambda_in(text: str, code: CodeType) -> str | None:
    """Return the text of a lambda that was registered where it was written, when only one there has its code."""
    for source in (text, text.strip() + ")", "(" + text.strip()):  # inspect may cut a statement of several lines
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        lambdas = [n for n in ast.walk(tree) if isinstance(n, ast.Lambda)]
        texts = {ast.get_source_segment(source, n) for n in lambdas if does_the_same(code, _code_in(n, code))}
        return texts.pop() if len(texts) == 1 else None
    return None


def does_the_same(one: CodeType, other: CodeType | None) -> bool:
    """Return whether two code objects do the same; where they stand does not matter."""
    if other is None:
        return False
    same = (one.co_code, one.co_names, one.co_varnames) == (other.co_code, other.co_names, other.co_varnames)
    if not same or len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        does_the_same(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else repr(a) == repr(b)
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def without_decorators(text: str, decorators: Iterable[ast.expr]) -> str:
    """Return a definition's text without the lines of some of its decorators."""
    gone = {line for d in decorators for line in range(d.lineno, (d.end_lineno or d.lineno) + 1)}
    return "\n".join(line for number, line in enumerate(text.split("\n"), 1) if number not in gone)


def _closure_of(function: FunctionType) -> dict[str, Any]:
    closure = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            closure[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    closure.pop("__class__", None)
    return closure


def world_of(value: Callable[..., Any], names: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a function or class sees from outside: its closure and its module; `names` when that is unknown."""
    plain = inspect.unwrap(value)
    if isinstance(plain, functools.partial):
        return world_of(plain.func, names)
    if isinstance(plain, MethodType):
        return world_of(plain.__func__, names)
    if isinstance(plain, FunctionType):
        return ChainMap(_closure_of(plain), plain.__globals__)
    if not isinstance(plain, type):  # an object that can be called
        plain = type(plain)
    members = [
        inspect.unwrap(f) for m in getattr(plain, "__dict__", {}).values() if callable(f := getattr(m, "__func__", m))
    ]
    typed = [m for m in members if isinstance(m, FunctionType) and m.__code__.co_filename != "<string>"]
    methods = [m for m in typed if m.__module__ == plain.__module__]  # neither inherited nor made by @dataclass
    return ChainMap(*map(_closure_of, methods), methods[0].__globals__) if methods else names

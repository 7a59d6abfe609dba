"""All single changes of a module that a reader might make by mistake: one operator, constant or statement each.

source text -> syntax tree -> [changes] -> a text with one change, over and over
"""

from __future__ import annotations

import ast
import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARED = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
COMPUTED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
CALLED = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "append": "extend",
    "popleft": "pop",
    "pop": "popleft",
}
UNSEEN_CALLS = {"_log", "debug", "info", "warning", "error", "exception", "log"}  # of a logger: nothing depends on them


@dataclass(frozen=True)
class Change:
    """One change of one module.

    Attributes:
        file: Path of the module, relative to the folder that holds the package.
        where: Qualified name of the function or class it stands in; empty at the top.
        kind: What was done.
        line: Line of the original.
        before: The whole module as it was.
        after: The whole module with the change.
    """

    file: str
    where: str
    kind: str
    line: int
    before: str
    after: str

    @property
    def lines(self) -> range:
        """The lines of the innermost statement around it; of a compound one those of its head."""
        found = range(self.line, self.line + 1)
        for node in ast.walk(ast.parse(self.before)):
            if isinstance(node, ast.stmt) and node.lineno <= self.line <= (node.end_lineno or node.lineno):
                body = getattr(node, "body", None)
                end = max(body[0].lineno, node.lineno + 1) if body else (node.end_lineno or node.lineno) + 1
                if self.line < end:
                    found = range(node.lineno, end)
        return found

    @property
    def diff(self) -> str:
        """The lines that differ."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=0)
        return "\n".join(line for line in list(lines)[2:] if not line.startswith("@@"))

    @property
    def name(self) -> str:
        """What it is known by as long as the lines it touches stand where they are said to: 12 hex digits."""
        told = "\n".join([self.file, self.where, self.kind, self.diff])
        return hashlib.sha256(told.encode()).hexdigest()[:12]


def changes_of(root: Path, file: str) -> list[Change]:
    """Return every change of a module, in the order of the text, none of them twice and each one that compiles."""
    text = (root / file).read_text("utf-8")
    found: dict[str, Change] = {}
    for where, kind, line, after in _Changer(text).all():
        if after != text and after not in found:
            try:
                compile(after, file, "exec", dont_inherit=True)
            except SyntaxError:
                continue
            found[after] = Change(file, where, kind, line, text, after)
    return list(found.values())


class _Changer:
    def __init__(self, text: str) -> None:
        self.text, self.lines = text, text.splitlines(keepends=True)
        self.tree = ast.parse(text)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line.encode()))
        self.bytes = text.encode()

    def all(self) -> Iterator[tuple[str, str, int, str]]:
        yield from self._of(self.tree, "")

    def _of(self, node: ast.AST, where: str) -> Iterator[tuple[str, str, int, str]]:
        for child in ast.iter_child_nodes(node):
            if self._is_left_out(node, child):
                continue
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            inner = f"{where}.{child.name}".lstrip(".") if named else where
            for kind, spot, code in self._changes(node, child):
                yield where if not named else inner, kind, spot.lineno, self._with(spot, code)
            yield from self._of(child, inner)

    def _is_left_out(self, parent: ast.AST, child: ast.AST) -> bool:
        if isinstance(
            child, ast.Import | ast.ImportFrom | ast.Raise | ast.Assert | ast.arg | ast.Global | ast.Nonlocal
        ):
            return True  # what a message says is held by tests of messages; annotations by the type checker
        if isinstance(child, ast.JoinedStr):
            return True  # a message, and Python before 3.12 does not know where its parts stand
        if isinstance(child, ast.expr) and child in (
            getattr(parent, "annotation", None),
            getattr(parent, "returns", None),
        ):
            return True
        if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and isinstance(child, ast.expr):
            return True  # decorators, bases
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            return True
        if isinstance(child, ast.FunctionDef) and (
            child.name in ("__repr__", "__dir__", "describe") or _is_stub(child)
        ):
            return True
        if isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) in ("__all__", "__slots__"):
            return True
        return isinstance(child, ast.Expr) and (_is_text(child.value) or _called(child.value) in UNSEEN_CALLS)

    def _changes(self, parent: ast.AST, node: ast.AST) -> Iterator[tuple[str, ast.AST, str]]:
        if isinstance(node, ast.Compare):
            for i, op in enumerate(node.ops):
                for other in COMPARED.get(type(op), ()):
                    yield "comparison", node, _code(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
        elif (
            isinstance(node, ast.BinOp)
            and type(node.op) in COMPUTED
            and not _holds_text(node)
            or isinstance(node, ast.AugAssign)
            and type(node.op) in COMPUTED
        ):
            yield "arithmetic", node, _code(node, op=COMPUTED[type(node.op)]())
        elif isinstance(node, ast.BoolOp):
            yield "and/or", node, _code(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            for i in range(len(node.values)):
                rest = node.values[:i] + node.values[i + 1 :]
                yield (
                    "part of a condition",
                    node,
                    _code(node, values=rest) if len(rest) > 1 else f"({ast.unparse(rest[0])})",
                )
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield "not", node, f"({ast.unparse(node.operand)})"
        elif isinstance(node, ast.Constant):
            yield from self._constants(node)
        elif isinstance(node, ast.Call):
            yield from self._calls(node)
        elif isinstance(node, ast.IfExp):
            yield "choice", node, f"({ast.unparse(node.body)})"
            yield "choice", node, f"({ast.unparse(node.orelse)})"
        if isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.UnaryOp | ast.Constant):
            yield "condition", node.test, f"not ({ast.unparse(node.test)})"
        if isinstance(node, ast.stmt):
            yield from self._statements(parent, node)

    @staticmethod
    def _constants(node: ast.Constant) -> Iterator[tuple[str, ast.AST, str]]:
        if isinstance(node.value, bool):
            yield "constant", node, str(not node.value)
        elif isinstance(node.value, int | float):
            yield "constant", node, repr(node.value + 1)
            yield "constant", node, repr(node.value - 1)

    @staticmethod
    def _calls(node: ast.Call) -> Iterator[tuple[str, ast.AST, str]]:
        called = _called(node)
        if called in CALLED:
            func = ast.unparse(node.func)
            other = func[: len(func) - len(called)] + CALLED[called]
            yield "call", node.func, other
        if len(node.args) > 1 and not any(isinstance(a, ast.Starred) for a in node.args[:2]):
            yield "swapped arguments", node, _code(node, args=[node.args[1], node.args[0], *node.args[2:]])
        if node.keywords and called not in ("field", "dataclass"):
            yield "argument left out", node, _code(node, keywords=node.keywords[:-1])

    @staticmethod
    def _statements(parent: ast.AST, node: ast.stmt) -> Iterator[tuple[str, ast.AST, str]]:
        inside = not isinstance(parent, ast.Module | ast.ClassDef)
        if (
            isinstance(node, ast.Expr | ast.AugAssign | ast.Delete)
            and inside
            or isinstance(node, ast.Assign | ast.AnnAssign)
            and inside
            and isinstance(_target(node), ast.Attribute | ast.Subscript)
        ):
            yield "statement", node, "pass"
        elif isinstance(node, ast.Break):
            yield "statement", node, "continue"
        elif isinstance(node, ast.Continue):
            yield "statement", node, "break"
        elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
            yield "return", node, "return None"
        elif isinstance(node, ast.Return):
            yield "return", node, "pass"
        elif isinstance(node, ast.FunctionDef) and not _is_stub(node):
            first = next((s for s in node.body if not (isinstance(s, ast.Expr) and _is_text(s.value))), None)
            if first is not None and not isinstance(
                first, ast.Return | ast.With | ast.For | ast.If | ast.Try | ast.While | ast.FunctionDef
            ):
                yield "early return", first, "return"

    def _with(self, node: ast.AST, code: str) -> str:
        """The text with the piece of a node replaced."""
        low = self.starts[node.lineno - 1] + node.col_offset
        high = self.starts[node.end_lineno - 1] + node.end_col_offset
        return (self.bytes[:low] + code.encode() + self.bytes[high:]).decode()


def _code(node: ast.AST, **parts: object) -> str:
    """A node's code with some of its parts replaced; in brackets where it is part of something larger."""
    copy = type(node)(**{name: getattr(node, name, None) for name in node._fields} | parts)
    code = ast.unparse(ast.fix_missing_locations(ast.copy_location(copy, node)))
    return f"({code})" if isinstance(node, ast.Compare | ast.BinOp | ast.BoolOp) else code


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _target(node: ast.Assign | ast.AnnAssign) -> ast.AST:
    return node.targets[0] if isinstance(node, ast.Assign) else node.target


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _holds_text(node: ast.BinOp) -> bool:
    return any(_is_text(n) for n in ast.walk(node))


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_stub(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    body = [s for s in node.body if not (isinstance(s, ast.Expr) and (_is_text(s.value) or s.value is ...))]
    return all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) for s in body)

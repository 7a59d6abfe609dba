"""A `%%batch` cell as Python: which of its functions is the step, or the cell itself as a function.

Every line stays in the place it has in the cell, line 1 being the one with `%%batch`, so that a traceback, the export
and the debugger all speak of the user's own lines.

    line, cell's text -> [cells] -> options, module text or function text -> magics
"""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from mblab.errors import SettingError, did_you_mean, shown

__all__ = ["CellText", "Options", "read_cell", "read_options"]

OPTIONS = ("--name", "--key", "--on")
USAGE = "%%batch [--name NAME] [--key COLUMN] [--on LAB]"
PARAMETERS = ("batch", "state", "ctx")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Options:
    """What stands behind `%%batch`.

    Attributes:
        name: Name of the step, or None.
        key: Columns of a keyed step; empty for one call a batch.
        on: Variable that holds the lab, or None.
    """

    name: str | None = None
    key: tuple[str, ...] = ()
    on: str | None = None


def read_options(line: str) -> Options:
    """Return the options of a `%%batch` line.

    Raises:
        SettingError: One is unknown, given twice (`--key` may be), or lacks its value.

    >>> read_options("--name late --key carrier --key 'tail number'")
    Options(name='late', key=('carrier', 'tail number'), on=None)
    """
    try:
        words = shlex.split(line)
    except ValueError as problem:
        raise SettingError(f"%%batch cannot read {shown(line.strip())}: {problem}.") from None
    given: dict[str, list[str]] = {option: [] for option in OPTIONS}
    while words:
        option, is_pair, value = words.pop(0).partition("=")
        if option not in given:
            if not option.startswith("-"):
                raise SettingError(f"%%batch takes no {shown(option)} by itself; write --name {option}, or: {USAGE}.")
            raise SettingError(f"%%batch has no option {option}{did_you_mean(option, OPTIONS, f'; it is {USAGE}.')}")
        if not is_pair:
            value = words.pop(0) if words and not words[0].startswith("--") else ""
        if not value:
            raise SettingError(f"%%batch needs a value after {option}: {USAGE}.")
        if given[option] and option != "--key":
            raise SettingError(f"%%batch takes {option} once, got {shown(given[option][0])} and {shown(value)}.")
        given[option].append(value)
    name, on = (given[option][0] if given[option] else None for option in ("--name", "--on"))
    return Options(name, tuple(given["--key"]), on)


@dataclass(frozen=True, slots=True)
class CellText:
    """A cell as Python that defines its step.

    Attributes:
        text: What to execute; its first line stands for the line with `%%batch`.
        function: Name of the function in it that is the step.
        whole: Whether the cell itself is the function: nothing of it belongs into the notebook's names.
        hint: A line for the user about something that is allowed and rarely meant, or empty.
    """

    text: str
    function: str
    whole: bool
    hint: str = ""


def read_cell(body: str, name: str | None, whole_name: str) -> CellText:
    """Return a cell as Python: the function that it defines is its step, or all of it is.

    It is a function as a whole when it ends otherwise than with a `def` and reads `batch` outside of one. Among several
    functions the step is the one called `name`, else the last.

    Args:
        body: The cell below its first line, as Python.
        name: Wished name of the step, or None.
        whole_name: Name of a cell that is the function itself.

    Raises:
        SettingError: It holds neither.
        SyntaxError: It is no Python.
    """
    statements = ast.parse(body).body
    functions = [node for node in statements if isinstance(node, Function)]
    others = [node for node in statements if not isinstance(node, Function | ast.ClassDef)]
    read = {found for node in others for found in _reads(node)}
    ends_with_function = bool(statements) and isinstance(statements[-1], Function)
    if "batch" in read and not ends_with_function:
        return _as_function(body, statements, whole_name)
    if not functions:
        if read & {"state", "ctx"}:
            return _as_function(body, statements, whole_name)
        raise SettingError("%%batch needs a function of the batch below it, or code that reads `batch`.")
    names = [f.name for f in functions]
    return CellText("\n" + body, name if name in names else names[-1], whole=False)


def _as_function(body: str, statements: list[ast.stmt], name: str) -> CellText:
    if not name.isidentifier():
        raise SettingError(f"--name must be a name in Python when the cell is the function, got {shown(name)}.")
    read = {found for node in statements for found in _reads(node)}
    takes = [p for p in PARAMETERS if p in read or p == "batch"]
    lines, last, hint = body.splitlines(), statements[-1], ""
    if isinstance(last, ast.Expr):
        at = last.lineno - 1
        code = lines[at].encode()
        lines[at] = (code[: last.col_offset] + b"return " + code[last.col_offset :]).decode()
    elif isinstance(last, ast.Assign | ast.AugAssign | ast.AnnAssign):
        hint = f"mblab: {name} ends with an assignment, so it gives no rows; end the cell with what it should give."
    inside = {n for node in ast.walk(ast.Module(statements, [])) for n in _string_lines(node)}
    indented = [line if number in inside or not line.strip() else "    " + line for number, line in enumerate(lines, 1)]
    return CellText("\n".join([f"def {name}({', '.join(takes)}):", *indented, ""]), name, whole=True, hint=hint)


def _string_lines(node: ast.AST) -> Iterator[int]:
    """Yield the lines that begin inside a string: indenting them would change it."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)):
        yield from range(node.lineno + 1, (node.end_lineno or node.lineno) + 1)


def _reads(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement reads and that are not parameters of a function within it."""
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Store):
            yield node.id
        return
    own: set[str] = set()
    if isinstance(node, Function | ast.Lambda):
        a = node.args
        own = {p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if p}
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        yield node.target.id
    for child in ast.iter_child_nodes(node):
        yield from (name for name in _reads(child) if name not in own)

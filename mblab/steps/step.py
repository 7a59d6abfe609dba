"""The user's function: what it is, which cell wrote it, and what it may take.

a function in a cell -> [step] -> chain -> pipeline
"""

from __future__ import annotations

import functools
import inspect
import linecache
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mblab.errors import SettingError, SettingTypeError, StepError, shown
from mblab.support import arguments, jupyter

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["Kind", "Step", "make_step", "user_line"]

Kind = Literal["batch", "keyed", "map"]


@dataclass(frozen=True, slots=True)
class Step:
    """One function of the pipeline, as it stands now.

    Attributes:
        name: The function's name; names the output column of a scalar.
        fn: The function itself.
        kind: batch (one call a batch), keyed (one call a key and batch, state per key), map (rows are independent).
        key: Column or columns of a keyed step.
        text: Its source text as the user typed it, dedented, with decorators; None when it cannot be found.
        cell: The notebook cell that defined it; None outside a notebook.
        version: 1 + how often it was replaced.
        parameters: What it takes, of "batch", "state", "ctx", in this order.
        filename: Where it was compiled: a path, or the cell's name in a traceback.
        first_line: Its first line there, counted from 1.
        uid: The same through all versions: what its state is kept under.
    """

    name: str
    fn: Callable[..., Any]
    kind: Kind
    key: tuple[str, ...] | None
    text: str | None
    cell: str | None
    version: int
    parameters: tuple[str, ...]
    filename: str
    first_line: int
    uid: int = -1

    def __repr__(self) -> str:
        key = f", key={self.key[0] if len(self.key) == 1 else list(self.key)!r}" if self.key else ""
        return f"Step({self.name}, {self.kind}{key}, version {self.version})"


def _code_of(fn: Callable[..., Any]) -> CodeType | None:
    fn = inspect.unwrap(fn)
    fn = getattr(fn, "func", fn)  # functools.partial
    fn = getattr(fn, "__func__", fn)
    code = getattr(fn, "__code__", None)
    if code is None:  # an object that can be called
        code = getattr(getattr(type(fn), "__call__"), "__code__", None)  # noqa: B004, B009
    return code if inspect.iscode(code) else None


def _text_of(fn: Callable[..., Any]) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(fn))
    except (OSError, TypeError):
        return None


def _name_of(fn: Callable[..., Any], name: str | None) -> str:
    if name is not None:
        return arguments.name(name, hint="; leave it out to use the function's own name")
    own = getattr(getattr(fn, "func", fn), "__name__", type(fn).__name__)
    return own if own.isidentifier() else "step"


def _key_of(key: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if key is None:
        return None
    names = (key,) if isinstance(key, str) else tuple(key) if isinstance(key, list | tuple) else None
    if names is None or not all(isinstance(n, str) for n in names):
        raise SettingTypeError(f"key must be a column name or a list of them, got {shown(key)}.")
    if not names or len(set(names)) < len(names):
        raise SettingError(f"key must name at least one column, each once, got {shown(key)}.")
    return names


def _parameters_of(fn: Callable[..., Any], kind: Kind, name: str) -> tuple[str, ...]:
    """Return what to pass, by position; a parameter called `ctx` always gets the context."""
    takes = "f(batch) or f(batch, ctx)" if kind == "map" else "f(batch), f(batch, state) or f(batch, state, ctx)"
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return ("batch",)
    positional, variadic = [], False
    for p in signature.parameters.values():
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            positional.append(p)
        elif p.kind is p.VAR_POSITIONAL:
            variadic = True
        elif p.kind is p.KEYWORD_ONLY and p.default is p.empty:
            raise StepError(f"{name} needs the keyword {p.name!r}, which no one can pass; a step is {takes}.")
    required = [p for p in positional if p.default is p.empty]
    if not positional and not variadic:
        raise StepError(f"{name} takes no argument, but a step gets the batch; write {takes}.")
    names = [p.name for p in required] or [p.name for p in positional[:1]] or ["batch"]
    if names[1:2] in (["batch_id"], ["epoch_id"]):
        raise StepError(
            f"{name} takes {names[1]!r} second, as Spark's foreachBatch does; here it is f(batch, state, ctx), "
            "with ctx.batch_id."
        )
    if names[0] in ("state", "ctx") or "batch" in names[1:]:
        raise StepError(f"{name} takes ({', '.join(names)}), but the batch comes first: a {kind} step is {takes}.")
    roles = ["batch"] + ["ctx" if kind == "map" or n == "ctx" else "state" for n in names[1:2]]
    roles += ["ctx" for _ in names[2:3]]
    limit = 2 if kind == "map" else 3
    if len(names) > limit or len(set(roles)) < len(roles):
        raise StepError(f"{name} takes {len(names)} arguments ({', '.join(names)}); a {kind} step is {takes}.")
    if kind == "map" and names[1:2] == ["state"]:
        raise StepError(
            f"{name} takes a state, but the rows of a map step are independent; use @lab.batch to keep state."
        )
    return tuple(roles)


def make_step(
    fn: Callable[..., object], kind: Kind, *, key: str | Sequence[str] | None = None, name: str | None = None
) -> Step:
    """Check a function and describe it as a step.

    Raises:
        StepError: It takes what no step is given, or is async or a generator.
        SettingTypeError: It is not callable.
    """
    if not callable(fn):
        raise SettingTypeError(f"a step must be a function of a batch, got {shown(fn)}.")
    if isinstance(fn, type):
        raise SettingTypeError(f"a step must be a function of a batch, got the class {fn.__name__}.")
    label = _name_of(fn, name)
    called = fn if inspect.isroutine(fn) or isinstance(fn, functools.partial) else type(fn).__call__
    if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
        raise StepError(f"{label} is async; a step is a plain function that returns its rows.")
    if inspect.isgeneratorfunction(called):
        raise StepError(f"{label} is a generator; a step returns its rows at once, for example as a list of dicts.")
    code = _code_of(fn)
    cell = jupyter.current_cell()
    keys = _key_of(key)
    return Step(
        name=label,
        fn=fn,
        kind="keyed" if kind == "batch" and keys else kind,
        key=keys,
        text=_text_of(fn),
        cell=cell.cell if cell else None,
        version=1,
        parameters=_parameters_of(fn, kind, label),
        filename=code.co_filename if code else "",
        first_line=code.co_firstlineno if code else 0,
    )


def user_line(error: BaseException, step: Step) -> tuple[int | None, str]:
    """Return (line, its text): where in the user's own file or cell the error came from, (None, "") if unknown."""
    found: tuple[int | None, str] = (None, "")
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == step.filename:
            found = at.tb_lineno, linecache.getline(step.filename, at.tb_lineno).strip()
        at = at.tb_next
    return found

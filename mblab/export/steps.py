"""How a step stands in a script: its text, and whether the text's own decorator registers it.

step -> [steps] -> script
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from mblab.errors import ExportError, shown
from mblab.export.capture import Capture
from mblab.export.texts import world_of
from mblab.export.values import Unwritable
from mblab.steps.step import Step, make_step

__all__ = ["StepText", "step_text"]


@dataclass(frozen=True, slots=True)
class StepText:
    """How a step stands in the script.

    Attributes:
        text: The user's text; empty when `function` says it all.
        function: Name or expression to register after the text; None when the text's own decorator does it.
        name: What the text defines, or None.
        default_name: What the lab would call the step.
        lab: The lab's name in the decorator that stays, or None.
    """

    text: str
    function: str | None
    name: str | None
    default_name: str
    lab: str | None


def _lab_of(decorator: ast.expr, world: Mapping[str, Any]) -> str | None:
    """Return what stands before `.batch` or `.map` in a decorator that registers a step, or None for any other."""
    method = decorator.func if isinstance(decorator, ast.Call) else decorator
    if not isinstance(method, ast.Attribute) or method.attr not in ("batch", "map"):
        return None
    if not isinstance(method.value, ast.Name):
        return ast.unparse(method.value)
    value = world.get(method.value.id)
    is_lab = value is None or any(c.__name__ == "Lab" for c in type(value).__mro__)
    return method.value.id if is_lab and method.value.id != "mblab" else None


def _says(decorator: ast.expr, step: Step, world: Mapping[str, Any]) -> bool:
    """Return whether a decorator registers exactly this step."""
    method = decorator.func if isinstance(decorator, ast.Call) else decorator
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    try:
        given = {k.arg: eval(ast.unparse(k.value), dict(world)) for k in keywords}  # noqa: S307 - the user's own text
    except Exception:
        return False
    key = given.get("key")
    keys = (key,) if isinstance(key, str) else None if key is None else tuple(key)
    default = getattr(step.fn, "__name__", None)
    named = (given.get("name") or default) == step.name
    return (
        isinstance(method, ast.Attribute)
        and (method.attr == "map") == (step.kind == "map")
        and keys == step.key
        and named
    )


def _without(text: str, decorators: Iterable[ast.expr]) -> str:
    gone = {line for d in decorators for line in range(d.lineno, (d.end_lineno or d.lineno) + 1)}
    return "\n".join(line for number, line in enumerate(text.split("\n"), 1) if number not in gone)


def _lambda_in(text: str, step: Step) -> str | None:
    """Return the text of a lambda that was registered where it was written, when only one there has its code."""
    code = getattr(step.fn, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    for source in (text, text.strip() + ")", "(" + text.strip()):  # inspect may cut a statement of several lines
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        lambdas = [n for n in ast.walk(tree) if isinstance(n, ast.Lambda)]
        texts = {ast.get_source_segment(source, n) for n in lambdas if _compiles_to(n, code)}
        return texts.pop() if len(texts) == 1 else None
    return None


def _compiles_to(node: ast.Lambda, code: CodeType) -> bool:
    outer = ast.arguments(
        posonlyargs=[], args=[ast.arg(n) for n in code.co_freevars], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    around = ast.fix_missing_locations(ast.Expression(ast.Lambda(outer, node)))  # so that its closure is one here too
    outermost = compile(around, "<lambda>", "eval").co_consts[0]
    made = next(c for c in outermost.co_consts if isinstance(c, CodeType))
    return _is_same(made, code)


def _is_same(one: CodeType, other: CodeType) -> bool:
    """Return whether two code objects do the same; where they stand does not matter."""
    same = (one.co_code, one.co_names, one.co_varnames) == (other.co_code, other.co_names, other.co_varnames)
    if not same or len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _is_same(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else repr(a) == repr(b)
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def step_text(step: Step, capture: Capture) -> StepText:
    """Find out how a step is written.

    Raises:
        ExportError: It has no text.
    """
    where = f"step {step.name!r}"
    default = make_step(step.fn, "map" if step.kind == "map" else "batch").name
    world = world_of(step.fn, {})
    if step.text is None:
        try:
            return StepText("", capture.expression(step.fn, world, where), None, default, None)
        except Unwritable:
            raise ExportError(
                f"{where} is {shown(step.fn, 60)}, whose text cannot be found; define it with def in a cell or a file."
            ) from None
    text = step.text.strip("\n")
    try:
        body = ast.parse(text).body
    except SyntaxError:
        body = []
    first = body[0] if len(body) == 1 else None
    if isinstance(first, ast.FunctionDef):
        labs = [(d, lab) for d in first.decorator_list if (lab := _lab_of(d, world)) is not None]
        if len(labs) == 1 and labs[0][1].isidentifier() and _says(labs[0][0], step, world):
            return StepText(text, None, first.name, default, labs[0][1])
        return StepText(_without(text, [d for d, _ in labs]), first.name, first.name, default, None)
    if isinstance(first, ast.Assign) and isinstance(first.value, ast.Lambda) and isinstance(first.targets[0], ast.Name):
        return StepText(text, first.targets[0].id, first.targets[0].id, default, None)
    if inline := _lambda_in(text, step):
        return StepText("", inline, None, default, None)
    raise ExportError(f"{where} has no text that stands by itself; define it with def at the top of a cell.")

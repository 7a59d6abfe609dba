"""How a step stands in a script: its text, and whether the text's own decorator registers it.

step -> [steps] -> script
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import CodeType, FunctionType, MethodType
from typing import Any

from mblab.errors import ExportError, shown
from mblab.export.capture import Capture
from mblab.export.needs import Installed
from mblab.export.texts import cell_with, lambda_in, without_decorators, world_of
from mblab.export.values import Unwritable, class_of
from mblab.steps.step import Step, make_step

__all__ = ["StepText", "as_written", "step_text"]


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


def as_written(step: Step, installed: Installed) -> Step:
    """Return the step with the text to go by: none for a method, whose class is written, and for what is imported.

    What a magic such as %%time ran has its text in the notebook's cells.
    """
    imported = isinstance(step.fn, FunctionType) and installed.holds(step.fn.__module__)
    imported = imported and not step.fn.__module__.startswith("mblab.")  # what the demo shows is no name to import
    if isinstance(step.fn, MethodType) or class_of(step.fn) or (imported and "<locals>" not in step.fn.__qualname__):
        return replace(step, text=None)
    if step.text is not None or not isinstance(step.fn, FunctionType):
        return step
    found = cell_with(step.fn)
    return step if found is None else replace(step, text=found.text, first_line=found.line)


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
        except Unwritable as problem:
            raise ExportError(
                f"{where} is {shown(step.fn, 60)}, which a script cannot hold ({problem}); define it with "
                "def in a cell or a file."
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
        return StepText(without_decorators(text, [d for d, _ in labs]), first.name, first.name, default, None)
    if isinstance(first, ast.Assign) and isinstance(first.value, ast.Lambda) and isinstance(first.targets[0], ast.Name):
        return StepText(text, first.targets[0].id, first.targets[0].id, default, None)
    code = getattr(step.fn, "__code__", None)
    if isinstance(code, CodeType) and (inline := lambda_in(text, code)):
        return StepText("", inline, None, default, None)
    raise ExportError(f"{where} has no text that stands by itself; define it with def at the top of a cell.")

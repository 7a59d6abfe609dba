"""The script's text: what a user would have written by hand, with the pipeline in it.

Header, imports, constants, helpers, options, lab, steps, sinks, in this order. Paths, names and values get into it
through `repr` alone, the user's functions as they were typed, and the whole is parsed before a byte is written.

    pipeline, capture, steps, needs, parts, layout -> [compose] -> pipeline.py and the tables beside it
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from types import MethodType
from typing import Any

from mblab.engine.pipeline import Pipeline
from mblab.errors import ExportError, shown
from mblab.export.capture import Capture, Reader, refuse_altered
from mblab.export.files import MARK, checked_target, refuse_foreign, replace_files, save_table
from mblab.export.layout import Block, call, import_lines, joined, prelude
from mblab.export.needs import Installed, header
from mblab.export.parts import (
    Beside,
    Names,
    after_lab,
    interval_text,
    settings_code,
    sinks_code,
    source_code,
    step_block,
    table_line,
)
from mblab.export.secrets import looks_secret, secrets_in
from mblab.export.steps import StepText, as_written, step_text
from mblab.export.texts import world_of
from mblab.sinks.base import ExportableSink
from mblab.sources.base import Exportable
from mblab.steps.step import Step
from mblab.support import jupyter

__all__ = ["write_script"]

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,80}")


def write_script(pipeline: Pipeline, path: str | os.PathLike[str]) -> Path:
    """Write the pipeline as a Python script that runs without the notebook, and return its path.

    A frame that the source or a function reads is written beside it, at most 50 MB in memory each; a larger one that
    is the source makes `--input` required. A script that mblab exported before is replaced, anything else never.

    Raises:
        ExportError: A function reads what a script cannot hold, or the path cannot be written.
        SettingTypeError: The path is no path.
    """
    target = checked_target(path)
    before = target.read_text("utf-8", "replace") if target.exists() else ""
    text, files, secrets = _compose(pipeline, target)
    for name in files:
        refuse_foreign(target.with_name(name), known=repr(name) in before)
    writes = {
        target.with_name(name): partial(save_table, kept.table, name, as_input=kept.as_input)
        for name, kept in files.items()
    }
    replace_files({**writes, target: lambda temporary: temporary.write_text(text, "utf-8", newline="\n")})
    if secrets:
        name = secrets[0] if secrets[0].isidentifier() else "PASSWORD"
        jupyter.say(
            f"mblab: {target.name} holds {', '.join(secrets)} in clear; read os.environ[{name!r}] inside the function "
            "that needs it, and export again."
        )
    return target


def _compose(pipeline: Pipeline, target: Path) -> tuple[str, dict[str, Beside], list[str]]:
    """Return the script, parsed once to be sure that it is one, the tables beside it, and what is secret in it."""
    installed = Installed()
    pipeline = replace(pipeline, steps=tuple(as_written(step, installed) for step in pipeline.steps))
    capture, steps = _read(pipeline, installed)
    labs = list(dict.fromkeys(s.lab for s in steps if s.lab))
    names = Names(labs[0] if labs else capture.free("lab"), capture.free("options"), capture.free("script"))
    settings = settings_code(pipeline.settings, names, capture)
    capture.imports[names.script] = "mblab", "script"

    files: dict[str, Beside] = {}
    tables = [table_line(name, table, target, files, names, capture) for name, table in capture.tables.items()]
    given, source = source_code(pipeline, target, files, names)
    output, sinks = sinks_code(pipeline, names)
    title = [f"name={pipeline.settings.name!r}", f"interval={interval_text(pipeline.settings.interval_ns)!r}"]
    blocks = [
        Block("\n".join(import_lines(capture))),
        Block("\n".join(tables)),
        *prelude(capture, frozenset(s.name for s in steps if s.name)),
        Block(call(f"{names.options} = {names.script}.options", ["__name__", *title, *given, *output])),
        Block("\n".join([call(f"{names.lab} = mblab.Lab", [source, *settings]), *after_lab(pipeline, labs, names)])),
        *(step_block(step, text, names) for step, text in zip(pipeline.steps, steps, strict=True)),
        Block("\n".join(f"{names.lab}.to({sink})" for sink in sinks)),
        Block(f'if __name__ == "__main__":\n    raise SystemExit({names.options}.run({names.lab}))'),
    ]
    body = joined(blocks) + "\n"
    needs = installed.needs({**capture.modules, "mblab": "the script imports mblab"}, target)
    future = ["from __future__ import annotations\n"] if capture.future else []
    text = "\n".join([header(needs, _python_for(body)), _docstring(pipeline, target), *future, body])
    _check(text, target)
    secrets = secrets_in({name: capture.bound[name] for name in capture.constants})
    secrets += [what for what, code in (("its source", [source]), ("its sinks", sinks)) if any(map(looks_secret, code))]
    return text, files, secrets


def _read(pipeline: Pipeline, installed: Installed) -> tuple[Capture, list[StepText]]:
    """Return everything that the pipeline's functions read, and how each step is written."""
    called = _user_functions(pipeline)
    homes = {str(world_of(f, {}).get("__name__", "__main__")) for f in [*(s.fn for s in pipeline.steps), *called]}
    capture = Capture(own=frozenset(home for home in homes if not installed.holds(home)))
    front_door = sys.modules["mblab"]  # loaded before any room; importing it from one would walk backwards
    capture.take("mblab", front_door, {}, "the script reads 'mblab'")
    steps = [step_text(step, capture) for step in pipeline.steps]
    capture.provided = frozenset(s.lab for s in steps if s.lab)
    _read_functions(pipeline.steps, steps, called, capture)
    capture.finish()
    return capture, steps


def _user_functions(pipeline: Pipeline) -> list[Callable[..., Any]]:
    """Return what the source and the sinks call of the user's."""
    found = [f for sink in pipeline.sinks if sink.effects and isinstance(sink, ExportableSink) for f in sink.functions]
    if isinstance(pipeline.source, Exportable):
        found.extend(pipeline.source.functions)
    return [f for f in found if not type(f).__module__.startswith("mblab.")]


def _read_functions(
    steps: Iterable[Step], texts: Iterable[StepText], called: Iterable[Callable[..., Any]], capture: Capture
) -> None:
    """Take in all that steps, source and sinks read; first the names of the steps, for they may call each other."""
    pairs = list(zip(steps, texts, strict=True))
    for step, text in pairs:
        if text.name is not None:
            capture.bind(text.name, step.fn, f"step {step.name!r} defines {text.name!r}")
    for step, text in pairs:
        if step.text is not None:
            removed = step.text.strip("\n").count("\n") - text.text.count("\n") if text.text else 0
            reader = Reader(step.name, world_of(step.fn, {}), step.first_line + removed)
            refuse_altered(
                step.fn, text.text or str(text.function), reader.world, f"step {step.name!r} calls {shown(step.fn, 40)}"
            )
            capture.read(text.text or str(text.function), reader)
    for function in called:
        name = getattr(function, "__name__", "")
        if not name.isidentifier() or isinstance(function, MethodType):
            raise ExportError(
                f"{shown(function, 60)} has no name of its own; define it with def, so that a script can."
            )
        capture.take(name, function, {}, f"the pipeline calls {name!r}")


def _docstring(pipeline: Pipeline, target: Path) -> str:
    """Return the script's docstring; a name stands in it only when it is plain, for in here a quote could end it."""
    name, file = pipeline.settings.name, target.name
    title = name if PLAIN_NAME.fullmatch(name) else "A lab"
    script = file if PLAIN_NAME.fullmatch(file) else "this-script.py"
    return (
        f'"""{title}: {MARK} {metadata.version("mblab")}.\n\n'
        f"Run it with `uv run {script}`, or with `python {script}` where the packages above are installed;\n"
        f'`-h` shows the options.\n"""\n'
    )


def _python_for(text: str) -> str:
    """Return the oldest Python that reads a text, 3.11 or, for newer syntax, the one that runs now."""
    try:
        ast.parse(text, feature_version=(3, 11))
    except SyntaxError:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    return "3.11"


def _check(text: str, target: Path) -> None:
    try:
        compile(text, target.name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as problem:
        raise ExportError(
            f"{str(target)!r} would be no script that Python reads ({problem}); define each step with def."
        ) from None

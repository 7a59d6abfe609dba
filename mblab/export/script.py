"""The script's text: what a user would have written by hand, with the pipeline in it.

Header, imports, constants, helpers, options, lab, steps, sinks, in this order. Paths, names and values get into it
through `repr` alone, the user's functions as they were typed, and the whole is parsed before a byte is written.

    pipeline, capture, steps, needs -> [script] -> pipeline.py and the tables beside it
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from importlib import metadata
from itertools import groupby
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pandas as pd

from mblab.engine.pipeline import Pipeline
from mblab.engine.settings import Settings
from mblab.errors import ExportError, shown
from mblab.export.capture import (
    MAX_TABLE_BYTES,
    Capture,
    Reader,
    Table,
    table_bytes,
)
from mblab.export.files import MARK, checked_target, refuse_foreign, replace_file, save_table
from mblab.export.needs import Installed, header
from mblab.export.steps import StepText, step_text
from mblab.export.texts import world_of
from mblab.sinks.base import ExportableSink
from mblab.sources.base import Exportable
from mblab.steps.step import Step
from mblab.timing.durations import UNIT_NS

__all__ = ["write_script"]

WIDTH = 100
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
    text, files = _compose(pipeline, target)
    for name, table in files.items():
        refuse_foreign(target.with_name(name), known=repr(name) in before)
        replace_file(target.with_name(name), partial(save_table, table, name))
    replace_file(target, lambda temporary: temporary.write_text(text, "utf-8", newline="\n"))
    return target


@dataclass(frozen=True, slots=True)
class _Block:
    """A piece of the script; a definition has two empty lines around it, any other piece one."""

    text: str
    defines: bool = False


@dataclass(frozen=True, slots=True)
class _Names:
    """What the script calls its own things, so that none of the user's names is hidden."""

    lab: str
    options: str
    runtime: str


def _joined(blocks: Iterable[_Block]) -> str:
    text, before = "", _Block("")
    for block in blocks:
        if block.text:
            text += ("\n" * (3 if before.defines or block.defines else 2) if text else "") + block.text
            before = block
    return text


def _call(function: str, arguments: Iterable[str]) -> str:
    """Return a call on one line, or with an argument a line when that is too long."""
    given = list(arguments)
    line = f"{function}({', '.join(given)})"
    return line if len(line) <= WIDTH else f"{function}(\n" + "".join(f"    {a},\n" for a in given) + ")"


def _compose(pipeline: Pipeline, target: Path) -> tuple[str, dict[str, Table]]:
    """Return the script, parsed once to be sure that it is one, and the tables to write beside it by file name."""
    installed = Installed()
    called = _user_functions(pipeline)
    homes = {str(world_of(f, {}).get("__name__", "__main__")) for f in [*(s.fn for s in pipeline.steps), *called]}
    capture = Capture(own=frozenset(home for home in homes if not installed.holds(home)))
    front_door = sys.modules["mblab"]  # loaded before any room; importing it from one would walk backwards
    capture.take("mblab", front_door, {}, "the script reads 'mblab'")
    steps = [step_text(step, capture) for step in pipeline.steps]
    labs = list(dict.fromkeys(s.lab for s in steps if s.lab))
    capture.provided = frozenset(labs)
    _read_functions(pipeline.steps, steps, called, capture)
    capture.finish()
    names = _Names(labs[0] if labs else capture.free("lab"), capture.free("options"), capture.free("script"))
    settings = _settings(pipeline.settings, names, capture)
    capture.imports[names.runtime] = "mblab", "script"

    files: dict[str, Table] = {}
    tables = [_table_line(name, table, target, files, names, capture) for name, table in capture.tables.items()]
    given, source = _source(pipeline, target, files, names)
    output, sinks = _sinks(pipeline, names)
    title = [f"name={pipeline.settings.name!r}", f"interval={_interval(pipeline.settings.interval_ns)!r}"]
    blocks = [
        _Block("\n".join(_import_lines(capture))),
        _Block("\n".join(tables)),
        *_prelude(capture, frozenset(s.name for s in steps if s.name)),
        _Block(_call(f"{names.options} = {names.runtime}.options", ["__name__", *title, *given, *output])),
        _Block("\n".join([_call(f"{names.lab} = mblab.Lab", [source, *settings]), *_after(pipeline, labs, names)])),
        *(_step_block(step, text, names) for step, text in zip(pipeline.steps, steps, strict=True)),
        _Block("\n".join(f"{names.lab}.to({sink})" for sink in sinks)),
        _Block(f'if __name__ == "__main__":\n    raise SystemExit({names.options}.run({names.lab}))'),
    ]
    body = _joined(blocks) + "\n"
    needs = installed.needs({**capture.modules, "mblab": "the script imports mblab"}, target)
    text = "\n".join(
        [
            header(needs, _python_for(body)),
            _docstring(pipeline, target),
            *(["from __future__ import annotations\n"] if capture.future else []),
            body,
        ]
    )
    _check(text, target)
    return text, files


def _user_functions(pipeline: Pipeline) -> list[Callable[..., Any]]:
    """Return what the source and the sinks call of the user's."""
    sinks = [sink for sink in pipeline.sinks if sink.effects and isinstance(sink, ExportableSink)]
    found: list[Callable[..., Any] | None] = [function for sink in sinks for function in sink.functions]
    if isinstance(pipeline.source, Exportable):
        found.extend(pipeline.source.functions)
    return [f for f in found if callable(f) and not type(f).__module__.startswith("mblab.")]


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
            capture.read(text.text or str(text.function), reader)
    for function in called:
        name = getattr(function, "__name__", "")
        if not name.isidentifier() or isinstance(function, MethodType):
            raise ExportError(
                f"{shown(function, 60)} has no name of its own; define it with def, so that a script can."
            )
        capture.take(name, function, {}, f"the pipeline calls {name!r}")


def _import_lines(capture: Capture) -> list[str]:
    """Return the imports: Python's own, then the others."""
    lines: dict[bool, set[str]] = {False: set(), True: set()}
    packages = {s.partition(".")[0] for s in capture.submodules}
    attributes: dict[str, list[str]] = {}
    for name, (module, attribute) in capture.imports.items():
        own = module.partition(".")[0] in sys.stdlib_module_names
        if attribute is not None:
            attributes.setdefault(module, []).append(attribute if attribute == name else f"{attribute} as {name}")
        elif name == module and name not in packages:
            lines[own].add(f"import {module}")
        elif name != module:
            lines[own].add(f"import {module} as {name}")
    for module in capture.submodules:
        if any(other.startswith(f"{module}.") for other in capture.submodules):
            continue  # the deeper import brings it along
        lines[module.partition(".")[0] in sys.stdlib_module_names].add(f"import {module}")
    for module, found in attributes.items():
        own = module.partition(".")[0] in sys.stdlib_module_names
        lines[own].add(f"from {module} import {', '.join(sorted(found))}")
    first, second = (sorted(lines[own], key=lambda line: (line.startswith("from"), line)) for own in (True, False))
    return [*first, *([""] if first and second else []), *second]


def _prelude(capture: Capture, later: frozenset[str]) -> Iterator[_Block]:
    """Yield constants and definitions, each after what it needs; constants that follow each other stay together."""
    for defines, names in groupby(capture.in_order(later), key=lambda name: name in capture.definitions):
        texts = [(capture.definitions if defines else capture.constants)[name].text for name in names]
        yield from (_Block(t, defines=True) for t in texts) if defines else [_Block("\n".join(texts))]


def _table_line(name: str, table: Table, target: Path, files: dict[str, Table], names: _Names, capture: Capture) -> str:
    """Note a table to be written, and return the line that loads it."""
    file = f"{target.stem}_{name}{'.npy' if isinstance(table, np.ndarray) else '.parquet'}"
    files[file] = table
    path = f"{names.runtime}.beside(__file__, {file!r})"
    if isinstance(table, np.ndarray):
        return f"{name} = {capture.module('numpy')}.load({path})"
    load = f"{capture.module('pandas')}.read_parquet({path})"
    return (
        f"{name} = {load}" if isinstance(table, pd.DataFrame) else f"{name} = {load}['values'].rename({table.name!r})"
    )


def _source(pipeline: Pipeline, target: Path, files: dict[str, Table], names: _Names) -> tuple[list[str], str]:
    """Return the argument that says where rows are read from, if any, and the expression that makes the source."""
    source = pipeline.source
    if not isinstance(source, Exportable):
        raise ExportError(
            f"the source {shown(source, 60)} cannot be written as code; use mblab.replay or mblab.simulate."
        )
    path, frame = source.input_path, source.frame
    given = []
    if path is not None:
        given = [f"input={_path_code(Path(path), target, names)}"]
    elif frame is not None and table_bytes(frame) > MAX_TABLE_BYTES:
        given = ["input=None"]
    elif frame is not None:
        file = f"{target.stem}_input.parquet"
        files[file] = frame.reset_index(drop=True)
        given = [f"input={names.runtime}.beside(__file__, {file!r})"]
    return given, str(source.code(f"{names.options}.input"))


def _path_code(path: Path, target: Path, names: _Names) -> str:
    """Return a path that holds wherever the script is started: relative to the script when it lies below its folder."""
    whole, folder = Path(os.path.abspath(path)), Path(os.path.abspath(target)).parent  # noqa: PTH100 - links stay
    if whole.is_relative_to(folder):
        return f"{names.runtime}.beside(__file__, {str(whole.relative_to(folder))!r})"
    return repr(str(whole))


def _sinks(pipeline: Pipeline, names: _Names) -> tuple[list[str], list[str]]:
    """Return the argument that says where rows are written to, if there is one such place, and the sinks' code."""
    sinks: list[ExportableSink] = []
    for sink in (sink for sink in pipeline.sinks if sink.effects):
        if not isinstance(sink, ExportableSink):
            raise ExportError(f"the sink {sink.target!r} cannot be written as code; use one of mblab.sinks.")
        sinks.append(sink)
    paths = [sink.path for sink in sinks if sink.path is not None]
    if len(paths) != 1:
        return [], [sink.code() for sink in sinks]
    output = f"{names.options}.output"
    code = [sink.code(output if sink.path is not None else None) for sink in sinks]
    return [f"output={str(paths[0])!r}"], code


def _settings(settings: Settings, names: _Names, capture: Capture) -> list[str]:
    """Return the lab's arguments that are not the defaults."""
    given = [f"interval={names.options}.interval"]
    for knob in fields(Settings):
        value = getattr(settings, knob.name)
        if knob.name not in ("interval_ns", "speedup") and value != knob.default:
            given.append(f"{knob.name}={capture.expression(value, {}, f'the setting {knob.name!r}')}")
    return given


def _after(pipeline: Pipeline, labs: list[str], names: _Names) -> list[str]:
    """Return the lines after the lab: other names the steps know it by, and a speed-up that was moved by hand."""
    lines = [f"{other} = {names.lab}" for other in labs[1:]]
    if pipeline.settings.speedup is not None:
        lines.append(f"{names.lab}.speedup = {float(pipeline.settings.speedup)!r}")
    return lines


def _step_block(step: Step, text: StepText, names: _Names) -> _Block:
    if text.function is None:
        return _Block(text.text, defines=True)
    method = f"{names.lab}.{'map' if step.kind == 'map' else 'batch'}"
    given = []
    if step.key is not None:
        given.append(f"key={step.key[0] if len(step.key) == 1 else list(step.key)!r}")
    if step.name != text.default_name:
        given.append(f"name={step.name!r}")
    line = f"{method}({', '.join(given)})({text.function})" if given else f"{method}({text.function})"
    return _Block(f"{text.text}\n\n\n{line}" if text.text else line, defines=bool(text.text))


def _interval(ns: int) -> str:
    """Return an interval as text, to the nanosecond.

    >>> _interval(1_500_000_000), _interval(120_000_000_000), _interval(1_000_001)
    ('1500ms', '2min', '1000001ns')
    """
    unit = next(u for u in ("d", "h", "min", "s", "ms", "us", "ns") if ns % UNIT_NS[u] == 0)
    return f"{ns // UNIT_NS[unit]}{unit}"


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

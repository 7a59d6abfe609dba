"""The script's text: what a user would have written by hand, with the pipeline in it.

Header, imports, constants, helpers, options, lab, steps, sinks, in this order. Paths, names and values get into it
through `repr` alone, the user's functions as they were typed, and the whole is parsed before a byte is written.

    pipeline, capture -> [script] -> pipeline.py and the tables beside it
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from importlib import metadata
from itertools import groupby
from pathlib import Path
from types import MethodType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname
from uuid import uuid4

import numpy as np
import pandas as pd

from mblab.durations import UNIT_NS
from mblab.errors import ExportError, SettingTypeError, shown
from mblab.export.capture import (
    MAX_TABLE_BYTES,
    Capture,
    Reader,
    Table,
    table_bytes,
    world_of,
)
from mblab.export.values import Unwritable
from mblab.pipeline import Pipeline, Settings
from mblab.steps import Step, make_step

__all__ = ["MARK", "write_script"]

MARK = "a micro-batch pipeline, exported from mblab"
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
    target = _checked_target(path)
    before = target.read_text("utf-8", "replace") if target.exists() else ""
    text, files = _compose(pipeline, target)
    for name, table in files.items():
        _refuse_foreign(target.with_name(name), known=repr(name) in before)
        _replace(target.with_name(name), partial(_save_table, table, name))
    _replace(target, lambda temporary: temporary.write_text(text, "utf-8", newline="\n"))
    return target


# -- files --------------------------------------------------------------------------------------------------------


def _checked_target(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise SettingTypeError(f"path must be the path of a script such as 'pipeline.py', got {shown(path)}.")
    target = Path(path)
    try:
        os.fsencode(target)
        if "\0" in str(target):
            raise ValueError("it contains a NUL")
        if target.is_dir():
            raise ExportError(f"{str(path)!r} is a folder; name a file in it, such as 'pipeline.py'.")
        if not target.parent.is_dir():
            raise ExportError(
                f"{str(path)!r} lies in the folder {str(target.parent)!r}, which does not exist; create it first."
            )
        if target.exists() and not _is_export(target):
            raise ExportError(f"{str(path)!r} exists and was not exported by mblab; choose another path, or remove it.")
    except (OSError, ValueError) as problem:  # a name too long, a NUL in it
        raise ExportError(f"{shown(str(path))} is no path to write to ({problem}).") from None
    return target


def _is_export(target: Path) -> bool:
    head = target.read_bytes()[:20_000].decode("utf-8", "replace")
    return head.startswith("# /// script\n") and MARK in head


def _refuse_foreign(path: Path, *, known: bool) -> None:
    if path.exists() and not known:
        raise ExportError(
            f"{str(path)!r} exists and belongs to no exported script here; remove it, or export under another name."
        )


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the same folder, then put it in place in one move."""
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as problem:
        raise ExportError(f"{str(path)!r} cannot be written ({problem.strerror or problem}).") from None
    finally:
        temporary.unlink(missing_ok=True)


def _save_table(table: Table, name: str, path: Path) -> None:
    """Write a table and make sure that it reads back the same.

    Raises:
        ExportError: It does not; the message names the file it was for, and the column.
    """
    if isinstance(table, np.ndarray):
        with path.open("wb") as file:
            np.save(file, table, allow_pickle=False)
        return
    frame = table if isinstance(table, pd.DataFrame) else table.to_frame("values")
    try:
        frame.to_parquet(path)
        again = pd.read_parquet(path)
        changed = [c for c in frame.columns if again[c].dtype != frame[c].dtype]
        if changed:
            column = changed[0]
            problem = f"column {column!r} is {frame[column].dtype} and comes back as {again[column].dtype}"
            raise ExportError(f"{name!r} cannot hold the table it is for: {problem}; convert it first.")
        pd.testing.assert_frame_equal(again, frame, check_freq=False)
    except (OSError, ExportError):
        raise
    except Exception as problem:
        reason = str(problem).split("\n", 1)[0]
        raise ExportError(
            f"{name!r} cannot hold the table it is for: {reason}; give it columns of one type each."
        ) from None


# -- steps --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _StepText:
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
    for source in (text, text.strip() + ")", "(" + text.strip()):  # inspect may cut a statement of several lines
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        lambdas = [n for n in ast.walk(tree) if isinstance(n, ast.Lambda)]
        texts = {ast.get_source_segment(source, n) for n in lambdas if _compiles_to(n, code)}
        return texts.pop() if len(texts) == 1 else None
    return None


def _compiles_to(node: ast.Lambda, code: Any) -> bool:
    outer = ast.arguments(
        posonlyargs=[], args=[ast.arg(n) for n in code.co_freevars], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    around = ast.fix_missing_locations(ast.Expression(ast.Lambda(outer, node)))  # so that its closure is one here too
    made = next(c for c in compile(around, "<lambda>", "eval").co_consts[0].co_consts if hasattr(c, "co_code"))
    return _is_same(made, code)


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two code objects, or two of their constants, do the same; where they stand does not matter."""
    if not (hasattr(one, "co_code") and hasattr(other, "co_code")):
        return repr(one) == repr(other)
    same = (one.co_code, one.co_names, one.co_varnames) == (other.co_code, other.co_names, other.co_varnames)
    return same and len(one.co_consts) == len(other.co_consts) and all(map(_is_same, one.co_consts, other.co_consts))


def _step_text(step: Step, capture: Capture) -> _StepText:
    """Find out how a step is written.

    Raises:
        ExportError: It has no text.
    """
    where = f"step {step.name!r}"
    default = make_step(step.fn, "map" if step.kind == "map" else "batch").name
    world = world_of(step.fn, {})
    if step.text is None:
        try:
            return _StepText("", capture.expression(step.fn, world, where), None, default, None)
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
            return _StepText(text, None, first.name, default, labs[0][1])
        return _StepText(_without(text, [d for d, _ in labs]), first.name, first.name, default, None)
    if isinstance(first, ast.Assign) and isinstance(first.value, ast.Lambda) and isinstance(first.targets[0], ast.Name):
        return _StepText(text, first.targets[0].id, first.targets[0].id, default, None)
    if inline := _lambda_in(text, step):
        return _StepText("", inline, None, default, None)
    raise ExportError(f"{where} has no text that stands by itself; define it with def at the top of a cell.")


# -- what it needs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be installed for a script to run.

    Attributes:
        pins: Requirements with their versions, sorted.
        origins: Distribution to the TOML table of where it comes from, when that is no registry.
    """

    pins: list[str]
    origins: dict[str, str]


class _Installed:
    """Which distribution a module comes from."""

    def __init__(self) -> None:
        self._of = metadata.packages_distributions()

    def distributions(self, module: str) -> list[str]:
        """Return the distributions that hold a module, none for the standard library and for the user's own files."""
        top = module.partition(".")[0]
        if top in self._of:
            return sorted(set(self._of[top]))
        try:
            return [str(metadata.distribution(top).metadata["Name"])]  # an editable install lists no modules
        except (metadata.PackageNotFoundError, ValueError):
            return []

    def holds(self, module: str) -> bool:
        """Return whether a module need not lie beside the script."""
        return module.partition(".")[0] in sys.stdlib_module_names or bool(self.distributions(module))

    def needs(self, modules: Mapping[str, str], target: Path) -> Needs:
        """Return what a script that imports these modules needs.

        Args:
            modules: Module to who reads it.
            target: The script; a module of the user's must lie in its folder.

        Raises:
            ExportError: One of them would not be found by the script.
        """
        found: set[str] = set()
        for module, where in modules.items():
            if not self.holds(module):
                _check_beside(module, where, target)
            found.update(self.distributions(module))
        pins = sorted(f"{name}=={metadata.version(name).partition('+')[0]}" for name in found)
        origins = {name: origin for name in sorted(found) if (origin := _origin_of(name))}
        return Needs(pins or ["mblab"], origins)


def _check_beside(module: str, where: str, target: Path) -> None:
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    folder = Path(file).parent if file else None
    if folder is not None and Path(str(file)).name == "__init__.py":
        folder = folder.parent
    if folder is None or folder.resolve() != target.parent.resolve():
        raise ExportError(
            f"{where}, and {top!r} is neither installed nor beside {str(target)!r}; "
            "export into its folder, or make it a package and install it."
        )


def _origin_of(distribution: str) -> str | None:
    """Return where a distribution was installed from (PEP 610) as an inline TOML table, or None for a registry."""
    text = metadata.distribution(distribution).read_text("direct_url.json")
    if text is None:
        return None
    facts = json.loads(text)
    url, is_file = str(facts["url"]), str(facts["url"]).startswith("file:")
    place = url2pathname(urlsplit(url).path) if is_file else url
    if "vcs_info" in facts:
        table = {"git": url, "rev": facts["vcs_info"]["commit_id"]}
    elif facts.get("dir_info", {}).get("editable"):
        table = {"path": place, "editable": True}
    else:
        table = {"path" if is_file else "url": place}
    return "{ " + ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()) + " }"


def _header(needs: Needs, python: str) -> str:
    """Return the PEP 723 block: with it, `uv run` installs what the script needs."""
    lines = ["/// script", f'requires-python = ">={python}"', "dependencies = ["]
    lines += [f"    {json.dumps(pin)}," for pin in needs.pins] + ["]"]
    if needs.origins:
        lines += ["", "[tool.uv.sources]", *(f"{name} = {table}" for name, table in needs.origins.items())]
    return "\n".join(f"# {line}".rstrip() for line in [*lines, "///"])


# -- the script ---------------------------------------------------------------------------------------------------


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
    installed = _Installed()
    called = _user_functions(pipeline)
    homes = {str(world_of(f, {}).get("__name__", "__main__")) for f in [*(s.fn for s in pipeline.steps), *called]}
    capture = Capture(own=frozenset(home for home in homes if not installed.holds(home)))
    front_door = sys.modules["mblab"]  # loaded before any room; importing it from one would walk backwards
    capture.take("mblab", front_door, {}, "the script reads 'mblab'")
    steps = [_step_text(step, capture) for step in pipeline.steps]
    labs = list(dict.fromkeys(s.lab for s in steps if s.lab))
    capture.provided = frozenset(labs)
    _read_functions(pipeline.steps, steps, called, capture)
    capture.finish()
    names = _Names(labs[0] if labs else capture.free("lab"), capture.free("options"), capture.free("runtime"))
    settings = _settings(pipeline.settings, names, capture)
    capture.imports[names.runtime] = "mblab.export", "runtime"

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
            _header(needs, _python_for(body)),
            _docstring(pipeline, target),
            *(["from __future__ import annotations\n"] if capture.future else []),
            body,
        ]
    )
    _check(text, target)
    return text, files


def _user_functions(pipeline: Pipeline) -> list[Callable[..., Any]]:
    """Return what the source and the sinks call of the user's."""
    parts: list[Any] = [sink for sink in pipeline.sinks if sink.effects]
    source: Any = pipeline.source
    while source is not None:
        parts.append(source)
        source = getattr(source, "source", None)
    found = [getattr(part, name, None) for part in parts for name in ("make_rows", "fn")]
    return [f for f in found if callable(f) and not type(f).__module__.startswith("mblab.")]


def _read_functions(
    steps: Iterable[Step], texts: Iterable[_StepText], called: Iterable[Callable[..., Any]], capture: Capture
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
    source: Any = pipeline.source
    code = getattr(source, "code", None)
    if code is None:
        raise ExportError(
            f"the source {shown(source, 60)} cannot be written as code; use mblab.replay or mblab.simulate."
        )
    path, frame = getattr(source, "input_path", None), getattr(source, "frame", None)
    given = []
    if path is not None:
        given = [f"input={_path_code(Path(path), target, names)}"]
    elif frame is not None and table_bytes(frame) > MAX_TABLE_BYTES:
        given = ["input=None"]
    elif frame is not None:
        file = f"{target.stem}_input.parquet"
        files[file] = frame.reset_index(drop=True)
        given = [f"input={names.runtime}.beside(__file__, {file!r})"]
    return given, str(code(f"{names.options}.input"))


def _path_code(path: Path, target: Path, names: _Names) -> str:
    """Return a path that holds wherever the script is started: relative to the script when it lies below its folder."""
    whole, folder = Path(os.path.abspath(path)), Path(os.path.abspath(target)).parent  # noqa: PTH100 - links stay
    if whole.is_relative_to(folder):
        return f"{names.runtime}.beside(__file__, {str(whole.relative_to(folder))!r})"
    return repr(str(whole))


def _sinks(pipeline: Pipeline, names: _Names) -> tuple[list[str], list[str]]:
    """Return the argument that says where rows are written to, if there is one such place, and the sinks' code."""
    sinks: list[Any] = [sink for sink in pipeline.sinks if sink.effects]
    for sink in sinks:
        if not hasattr(sink, "code"):
            raise ExportError(f"the sink {sink.target!r} cannot be written as code; use one of mblab.sinks.")
    paths = [sink.path for sink in sinks if getattr(sink, "path", None) is not None]
    if len(paths) != 1:
        return [], [sink.code(None) for sink in sinks]
    output = f"{names.options}.output"
    code = [sink.code(output if getattr(sink, "path", None) is not None else None) for sink in sinks]
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


def _step_block(step: Step, text: _StepText, names: _Names) -> _Block:
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

"""The parts of a pipeline as code: where rows come from and go to, what is set, and the steps.

pipeline, capture, steps -> [parts] -> compose
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mblab.engine.pipeline import Pipeline
from mblab.engine.settings import Settings
from mblab.errors import ExportError, shown
from mblab.export.capture import MAX_TABLE_BYTES, Capture, Table, table_bytes
from mblab.export.files import SERIES, frequency_of
from mblab.export.layout import Block
from mblab.export.steps import StepText
from mblab.sinks.base import ExportableSink, Sink
from mblab.sources.base import Exportable
from mblab.steps.step import Step
from mblab.timing.durations import UNIT_NS

__all__ = [
    "Beside",
    "Names",
    "after_lab",
    "interval_text",
    "settings_code",
    "sinks_code",
    "source_code",
    "step_block",
    "table_line",
]

INPUT = "input"  # in the name of the file with the source's rows


@dataclass(frozen=True, slots=True)
class Names:
    """What the script calls its own things, so that none of the user's names is hidden.

    Attributes:
        lab: The lab.
        options: What the command line said.
        script: The module `mblab.script`.
    """

    lab: str
    options: str
    script: str


class Beside(NamedTuple):
    """A table to write beside the script.

    Attributes:
        table: The table.
        as_input: Whether it holds the source's rows.
    """

    table: Table
    as_input: bool


def table_line(name: str, table: Table, target: Path, files: dict[str, Beside], names: Names, capture: Capture) -> str:
    """Note a table to be written, and return what loads it."""
    own = f"{name}_" if name == INPUT else name
    file = f"{target.stem}_{own}{'.npy' if isinstance(table, np.ndarray) else '.parquet'}"
    files[file] = Beside(table, as_input=False)
    path = f"{names.script}.beside(__file__, {file!r})"
    if isinstance(table, np.ndarray):
        return f"{name} = {capture.module('numpy')}.load({path})"
    load = f"{name} = {capture.module('pandas')}.read_parquet({path})"
    if isinstance(table, pd.Series):
        title = capture.expression(table.name, {}, f"the name of the series {name!r}")
        load += f"[{SERIES!r}].rename({title})"
    frequency = frequency_of(table)
    return load if frequency is None else f"{load}\n{name}.index.freq = {frequency!r}"


def source_code(pipeline: Pipeline, target: Path, files: dict[str, Beside], names: Names) -> tuple[list[str], str]:
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
        file = f"{target.stem}_{INPUT}.parquet"
        files[file] = Beside(frame.reset_index(drop=True), as_input=True)
        given = [f"input={names.script}.beside(__file__, {file!r})"]
    return given, str(source.code(f"{names.options}.input"))


def _path_code(path: Path, target: Path, names: Names) -> str:
    """Return a path that holds wherever the script is started: relative to the script when it lies below its folder."""
    whole, folder = Path(os.path.abspath(path)), Path(os.path.abspath(target)).parent  # noqa: PTH100 - links stay
    if whole.is_relative_to(folder):
        return f"{names.script}.beside(__file__, {str(whole.relative_to(folder))!r})"
    return repr(str(whole))


def sinks_code(pipeline: Pipeline, names: Names) -> tuple[list[str], list[str]]:
    """Return the argument that says where rows are written to, if there is one such place, and the sinks' code."""
    sinks = [_exportable(sink) for sink in pipeline.sinks if sink.effects]
    paths = [sink.path for sink in sinks if sink.path is not None]
    if len(paths) != 1:
        return [], [sink.code(None) for sink in sinks]
    output = f"{names.options}.output"
    return [f"output={str(paths[0])!r}"], [sink.code(None if sink.path is None else output) for sink in sinks]


def _exportable(sink: Sink) -> ExportableSink:
    if not isinstance(sink, ExportableSink):
        raise ExportError(f"the sink {sink.target!r} cannot be written as code; use one of mblab.sinks.")
    return sink


def settings_code(settings: Settings, names: Names, capture: Capture) -> list[str]:
    """Return the lab's arguments that are not the defaults."""
    given = [f"interval={names.options}.interval"]
    for knob in fields(Settings):
        value = getattr(settings, knob.name)
        if knob.name not in ("interval_ns", "speedup") and value != knob.default:
            given.append(f"{knob.name}={capture.expression(value, {}, f'the setting {knob.name!r}')}")
    return given


def after_lab(pipeline: Pipeline, labs: list[str], names: Names) -> list[str]:
    """Return the lines after the lab: other names the steps know it by, and a speed-up that was moved by hand."""
    lines = [f"{other} = {names.lab}" for other in labs[1:]]
    if pipeline.settings.speedup is not None:
        lines.append(f"{names.lab}.speedup = {float(pipeline.settings.speedup)!r}")
    return lines


def step_block(step: Step, text: StepText, names: Names) -> Block:
    """Return a step: its text, and the line that registers it when no decorator does."""
    if text.function is None:
        return Block(text.text, defines=True)
    method = f"{names.lab}.{'map' if step.kind == 'map' else 'batch'}"
    given = []
    if step.key is not None:
        given.append(f"key={step.key[0] if len(step.key) == 1 else list(step.key)!r}")
    if step.name != text.default_name:
        given.append(f"name={step.name!r}")
    line = f"{method}({', '.join(given)})({text.function})" if given else f"{method}({text.function})"
    return Block(f"{text.text}\n\n\n{line}" if text.text else line, defines=bool(text.text))


def interval_text(ns: int) -> str:
    """Return an interval as text, to the nanosecond.

    >>> interval_text(1_500_000_000), interval_text(120_000_000_000), interval_text(1_000_001)
    ('1500ms', '2min', '1000001ns')
    """
    unit = next(u for u in ("d", "h", "min", "s", "ms", "us", "ns") if ns % UNIT_NS[u] == 0)
    return f"{ns // UNIT_NS[unit]}{unit}"

"""What the files of a saved run must hold so that all that a run can be asked has its answer.

run.json, frames -> [shape] -> None, or what is wrong with them -> saved
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeGuard, get_args

import numpy as np
import pandas as pd

from mblab.engine.records import ENDED, RunStatus
from mblab.metrics import RECORD_COLUMNS, Totals, summarise
from mblab.metrics.batches import batch_frame
from mblab.runs.live import ATTEMPT_TYPES
from mblab.support.json import Json
from mblab.timing.durations import NS

__all__ = ["wrong_about", "wrong_frame", "wrong_together"]

Check = Callable[[Json], bool]


def _is_number(value: Json) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _is_figure(value: Json) -> bool:
    return value is None or _is_number(value)  # None stands for NaN


def _is_length(value: Json) -> bool:
    return _is_number(value) and 0 <= value * NS < 2**63


def _is_count(value: Json) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


def _is_texts(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _is_plain(value: Json) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _table_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _has(fields: Mapping[str, Check]) -> Check:
    return lambda value: isinstance(value, dict) and all(k in value and check(value[k]) for k, check in fields.items())


def _is_code(value: Json) -> bool:
    texts = dict.fromkeys(("name", "kind", "text"), _is_text)
    step = _has({**texts, "version": _is_count, "key": lambda key: key is None or _is_texts(key)})
    return isinstance(value, list) and all(map(step, value))


TEXTS: Final = ("run_id", "regime", "quantiles")  # in a summary
COUNTS: Final = ("rows", "batches", "batches_empty", "triggers_missed", "backlog_rows", "failures")


@cache
def _parts() -> dict[str, Check]:
    """Return what each part of `run.json` must be; what a summary holds is read off an empty one."""
    about = ("run_id", "triggers_missed", "duration_s", "horizon_s", "backlog_rows", "oldest_backlog_age_s", "failures")
    summary = summarise(batch_frame([]), Totals(), np.empty(0), None, dict.fromkeys(about, 0))
    figures = dict.fromkeys(map(str, summary.index), _is_figure)
    return {
        "run_id": _is_text,
        "name": _is_text,
        "status": lambda value: isinstance(value, str) and value in get_args(RunStatus),
        "state": lambda value: isinstance(value, dict),
        "controls": _table_of(_table_of(_is_plain)),
        "summary": _has({
            **figures, **dict.fromkeys(TEXTS, _is_text), "duration_s": _is_length, "load": _is_number,
            **dict.fromkeys(COUNTS, _is_count),
        }),
        "standing": _has({
            "horizon_s": _is_length, "triggers_missed": _is_count, "backlog_rows": _is_count,
            "oldest_backlog_age_s": _is_figure, "drained": lambda value: isinstance(value, bool),
        }),
        "provenance": _has({
            "source": _is_text, "sinks": _is_texts, "settings": _table_of(_is_plain), "clock": _is_text,
            "duration_s": _is_figure, "code": _is_code, "packages": _table_of(_is_text),
        }),
    }  # fmt: skip


@cache
def _columns() -> dict[str, dict[str, str]]:
    """Return the columns that each frame has at least, with their dtypes."""
    batches = {str(name): str(dtype) for name, dtype in batch_frame([]).dtypes.items()}
    floats = ("at_s", "interval_s", "before_s", "rate", "latency_p95_s", "load")
    return {
        "batches": batches,
        "records": {"batch_id": "int64", **dict.fromkeys(RECORD_COLUMNS[1:], "float64")},
        "output": {"batch_id": "int64"},
        "attempts": dict(ATTEMPT_TYPES),
        "waiting": {"arrival_s": "float64"},
        "decisions": {"batch_id": "int64", "reason": "str", **dict.fromkeys(floats, "float64")},
    }


def wrong_about(about: Mapping[str, Any]) -> str | None:
    """Return what is wrong with what `run.json` holds, or None."""
    for part, check in _parts().items():
        if part not in about:
            return f"its run.json has no {part}"
        if not check(about[part]):
            return f"the {part} in its run.json is not of the form that save writes"
    summary, pilot = about["summary"], about.get("pilot")
    if summary["rows"] and not all(_is_number(v) for name, v in summary.items() if name.startswith("latency_")):
        return f"the summary in its run.json lacks a latency, but tells of {summary['rows']} rows"
    if pilot is not None and not _has({"latency_s": _is_figure})(pilot):
        return "the pilot in its run.json is not of the form that save writes"
    return None


def wrong_together(about: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> str | None:
    """Return what the summary says otherwise than the frames, or None; of a long run these hold the newest part."""
    if about["status"] not in ENDED:  # the frames of one that went on are older than its summary
        return None
    for figure, name in (("batches", "batches"), ("rows", "records")):
        said, held = about["summary"][figure], len(frames[name])
        if held > said or (said and not held):
            return f"the summary in its run.json tells of {said} {figure}, but its {name}.parquet holds {held}"
    return None


def wrong_frame(name: str, frame: pd.DataFrame) -> str | None:
    """Return what is wrong with a frame, or None."""
    expected = _columns()[name]
    lacks = [column for column in expected if column not in frame.columns]
    if lacks:
        return f"its {name}.parquet lacks {lacks}"
    for column, dtype in expected.items():
        found = frame.loc[:, [c == column for c in frame.columns]]
        if found.shape[1] > 1 or (len(frame) and str(found.iloc[:, 0].dtype) != dtype):
            other = "there twice" if found.shape[1] > 1 else str(found.iloc[:, 0].dtype)
            return f"column {column!r} of its {name}.parquet must be {dtype}, but is {other}"
    return None

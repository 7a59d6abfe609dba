"""What travels to the page: new batches as one binary column after the other, and the state as small JSON.

lab, run -> [wire] -> panel -> page/store.js
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from mblab.engine.records import ENDED, STATUSES
from mblab.errors import MblabError
from mblab.lab import Lab
from mblab.metrics import COLUMNS as BATCHES
from mblab.runs.run import Run
from mblab.sources.live.base import Live
from mblab.sources.replay import Replay
from mblab.timing.policies import POLICIES

__all__ = ["CODES", "COLUMNS", "EXACT", "error_text", "parts_of", "rows_message", "state_of"]

CODES: Final[dict[str, tuple[str, ...]]] = {"status": STATUSES, "policy": POLICIES}
EXACT: Final = tuple(name for name, column in BATCHES.items() if column.page == "exact")
COLUMNS: Final = (*EXACT, *(name for name, column in BATCHES.items() if column.page == "short"))
ROW_BYTES: Final = 8 * len(EXACT) + 4 * (len(COLUMNS) - len(EXACT))
PART_BYTES = 900  # what else is in a message takes about as much, and 2 kB are the measure
PARTS = 10  # who is further behind than so many messages gets one that holds all
ERROR_CHARACTERS = 4000
DETAIL_CHARACTERS = 300


def parts_of(columns: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut batches into parts of some hundred bytes each, so that no message stands long in another's way."""
    bounds, size = [0], 0
    for i, text in enumerate(columns["error"]):
        cost = ROW_BYTES + min(len(text or ""), DETAIL_CHARACTERS)
        if size and size + cost > PART_BYTES:
            bounds.append(i)
            size = 0
        size += cost
    bounds.append(len(columns["error"]))
    if len(bounds) > PARTS + 1:
        bounds = [0, bounds[-1]]
    for low, high in itertools.pairwise(bounds):
        yield {name: values[low:high] for name, values in columns.items()}


def rows_message(
    columns: Mapping[str, Any], run_id: str | None, *, reset: bool, ended_ms: float | None
) -> tuple[dict[str, Any], list[bytes]]:
    """Return (message, buffers) for some batches, the columns as from `run.batches_after`.

    Args:
        columns: Column → values, oldest batch first.
        run_id: The run they belong to; None when there is none.
        reset: Whether the page forgets what it had.
        ended_ms: When the newest of them ended, in ms since 1970; None when that cannot be said.
    """
    count = len(columns["batch_id"]) if columns else 0
    message: dict[str, Any] = {"k": "rows", "run": run_id, "n": count}
    if reset:
        message["reset"] = True
    if ended_ms is not None:
        message["ended"] = round(ended_ms)
    if not count:
        return message, []
    errors = {
        str(int(i)): text[:DETAIL_CHARACTERS]
        for i, text in zip(columns["batch_id"], columns["error"], strict=True)
        if text
    }
    if errors:
        message["errors"] = errors
    exact = np.array([columns[name] for name in EXACT], np.float64)
    short = np.array(
        [
            [CODES[name].index(v) for v in columns[name]] if name in CODES else columns[name]
            for name in COLUMNS[len(EXACT) :]
        ],
        np.float32,
    )
    return message, [exact.tobytes() + short.tobytes()]


def error_text(error: BaseException | None) -> str | None:
    """Return what halted a run as the notebook would show it: the sentence, and the user's own lines with an arrow."""
    if error is None:
        return None
    render = getattr(error, "_render_traceback_", None)
    lines = render() if isinstance(error, MblabError) and render else [f"{type(error).__name__}: {error}"]
    text = "\n".join(lines)
    return text if len(text) <= ERROR_CHARACTERS else text[:ERROR_CHARACTERS] + " …"


def state_of(lab: Lab, run: Run | None) -> dict[str, Any]:
    """Return what the panel shows of a lab and its newest run, but its batches."""
    return {
        "name": lab.name,
        "steps": [step.name for step in lab.steps],
        "version": lab.pipeline.version,
        "interval_s": lab.interval,
        "policy": lab.policy,
        "cap": lab.max_rows_per_batch,
        "speedup": None if isinstance(lab.source, Live) else lab.speedup,  # rows of a live source come when they come
        "status": "none" if run is None else run.status,
        "run": None if run is None else run.run_id,
        "error": None if run is None else error_text(run.error),
    }


def progress_of(lab: Lab, run: Run | None) -> dict[str, Any]:
    """Return now_s, length_s, share (0 to 1) and left_s (seconds to go), each None when it cannot be told."""
    if run is None:
        return {"now_s": None, "length_s": None, "share": None, "left_s": None}
    now, length, rows = run.how_far
    share = None
    if length:
        share = min(1.0, now / length)
    elif (known := rows_known(lab)) is not None:
        share = rows / known if known else 1.0
    if run.status in ENDED and share is not None and run.status == "finished":
        share = 1.0
    left = None
    if length:
        left = max(0.0, length - now)
    elif share:
        left = now * (1 - share) / share
    return {
        "now_s": round(now, 1),
        "length_s": length,
        "share": None if share is None else round(share, 3),
        "left_s": None if left is None else round(left),
    }


def rows_known(lab: Lab) -> int | None:
    """Return how many rows the source has, if it says so."""
    return lab.source.num_rows if isinstance(lab.source, Replay) else None


def finite(value: float) -> float | None:
    """Return a number that JSON can hold, or None."""
    return float(value) if math.isfinite(value) else None


def load_of(durations_s: Sequence[float], intervals_s: Sequence[float]) -> float | None:
    """Return Σ duration / Σ interval, None without batches."""
    whole = sum(intervals_s)
    return sum(durations_s) / whole if whole else None

"""Frames made ready for charts: checked, thinned, with the moments worth a mark, and as text inside a spec.

Plain frames in, plain frames out; nothing here knows Altair.

    run.batches -> [frames] -> over_time, over_interval
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.errors import SettingTypeError, missing_column, shown
from mblab.metrics import COLUMNS
from mblab.support.arguments import whole
from mblab.timing.durations import format_s

__all__ = [
    "MARK_COLUMNS",
    "MARK_KINDS",
    "checked_frame",
    "csv_text",
    "drawn_rows",
    "harmless",
    "largest",
    "marks_of",
    "placed",
    "thinned",
]

Floats = npt.NDArray[np.float64]

MARK_KINDS: Final = ("interval", "version", "failed", "retried", "dead_lettered")
MARK_COLUMNS: Final = ("start_s", "batch_id", "kind", "label", "detail")
PEAKS: Final = ("latency_p99_s", "num_input_rows", "backlog_rows", "load")
TEXTS: Final = (
    *(name for name, column in COLUMNS.items() if column.kind == "text"),
    "regime", "kind", "label", "detail", "side", "reason",
)  # fmt: skip
COUNTS: Final = tuple(name for name, column in COLUMNS.items() if column.kind == "whole")
TIMES: Final = ("due_s", "start_s", "end_s")

OPENS: Final = re.compile(r"<(?=[A-Za-z/!?])")  # what a page may take for markup

MIN_POINTS = 10
DETAIL_CHARACTERS = 120
CHARACTER_PX = 6.0  # a wide guess for 11 px sans-serif
SYMBOL_PX = 9.0


def _numbers(values: pd.Series[Any]) -> Floats:
    """Return float64 with NaN for whatever is no finite number."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _first_lines(values: pd.Series[Any]) -> npt.NDArray[Any]:
    """Return texts as `_first_line` has them, each different one looked at once: of millions, few differ."""
    try:
        codes, different = pd.factorize(values)
    except TypeError:  # something that cannot be told apart by its hash
        return np.array([_first_line(v) for v in values], dtype=object)
    return np.array([*map(_first_line, different), ""], dtype=object)[codes]


def _first_line(value: object) -> str:
    """Return a text's first line, cut to what a tooltip holds; empty for a missing value."""
    if not isinstance(value, str):
        return ""
    line = value.strip().partition("\n")[0]
    return line if len(line) <= DETAIL_CHARACTERS else line[: DETAIL_CHARACTERS - 1] + "…"


def harmless(text: str) -> str:
    """Return a title that no page takes for markup, whoever puts it there.

    >>> harmless("x</script><script>"), harmless("p95 < 2 s")
    ('x‹/script>‹script>', 'p95 < 2 s')
    """
    return OPENS.sub("‹", text)


def checked_frame(frame: object, knob: str, needed: str, columns: Iterable[str]) -> pd.DataFrame:
    """Return the frame with these columns in this order: finite float64 or NaN, texts of one line.

    Args:
        frame: What the user handed in.
        knob: The argument's name, for the message.
        needed: The column that places a row on the x axis; rows without it are left out.
        columns: The columns wanted; one that is not there comes back empty.

    Raises:
        SettingTypeError: Not a DataFrame.
        ColumnError: The needed column is not there.
    """
    if not isinstance(frame, pd.DataFrame):
        raise SettingTypeError(f"{knob} must be a DataFrame, got {shown(frame)} ({type(frame).__name__}).")
    if needed not in frame.columns:
        raise missing_column(knob, needed, frame.columns)
    have = set(frame.columns)
    clean = {
        name: _first_lines(frame[name]) if name in TEXTS else _numbers(frame[name]) for name in columns if name in have
    }
    whole = pd.DataFrame(clean, index=pd.RangeIndex(len(frame))).reindex(columns=list(columns))
    return whole[whole[needed].notna()].reset_index(drop=True)


def largest(frame: pd.DataFrame, columns: Sequence[str], default: float) -> float:
    """Return the largest finite value of some columns; the default when there is none above 0.

    >>> largest(pd.DataFrame({"a": [1.0, float("nan")], "b": [3.0, 2.0]}), ["a", "b"], 1.0)
    3.0
    """
    values = np.concatenate([_numbers(frame[name]) for name in columns])
    values = values[np.isfinite(values)]
    top = float(values.max()) if len(values) else 0.0
    return top if top > 0 else default


def marks_of(batches: pd.DataFrame) -> pd.DataFrame:
    """Return the moments worth a mark: changed intervals, new versions, batches that failed or were tried again.

    Args:
        batches: A frame such as `run.batches`; reads start_s, batch_id, interval_s, version, status, error.

    Returns:
        One row a mark, by start_s: start_s (float64 s on the run's clock, the batch's nominal start), batch_id
        (float64), kind (interval, version, failed, retried or dead_lettered), label (what the chart writes) and detail
        (first line of the error, else empty). The first batch changes nothing, and a missing value is no change.

    >>> frame = pd.DataFrame({"start_s": [1.0, 2.0, 2.5], "interval_s": [1.0, 1.0, 0.5], "version": [1, 2, 2]})
    >>> marks_of(frame)[["start_s", "kind", "label"]].values.tolist()
    [[2.0, 'version', 'v2'], [2.5, 'interval', '1 s → 500 ms']]
    """
    columns = ("start_s", "batch_id", "interval_s", "version", "status", "error")
    frame = checked_frame(batches, "batches", "start_s", columns)
    found = [_interval_marks(frame), _version_marks(frame), _status_marks(frame)]
    marks = pd.concat(found, ignore_index=True).sort_values("start_s", kind="stable", ignore_index=True)
    return marks[list(MARK_COLUMNS)]


def _marked(
    frame: pd.DataFrame, where: pd.Series[bool], kind: str | pd.Series[str], label: Sequence[str],
    detail: str | pd.Series[str] = "",
) -> pd.DataFrame:  # fmt: skip
    """Return the rows where something happened as marks."""
    rows: pd.DataFrame = frame.loc[where, ["start_s", "batch_id"]]
    return rows.assign(kind=kind, label=label, detail=detail)


def _interval_marks(frame: pd.DataFrame) -> pd.DataFrame:
    before = frame["interval_s"].ffill().shift()
    moved = frame["interval_s"].notna() & before.notna() & ((frame["interval_s"] - before).abs() > 1e-9)
    pairs = zip(before[moved], frame["interval_s"][moved], strict=True)
    return _marked(frame, moved, "interval", [f"{format_s(old)} → {format_s(new)}" for old, new in pairs])


def _version_marks(frame: pd.DataFrame) -> pd.DataFrame:
    before = frame["version"].ffill().shift()
    swapped = frame["version"].notna() & before.notna() & (frame["version"] != before)
    return _marked(frame, swapped, "version", [f"v{version:.0f}" for version in frame["version"][swapped]])


def _status_marks(frame: pd.DataFrame) -> pd.DataFrame:
    troubled = frame["status"].isin(MARK_KINDS)
    status = frame["status"][troubled]
    label = [text.replace("_", " ") for text in status]
    return _marked(frame, troubled, status, label, frame["error"][troubled].fillna("").astype(str))


def placed(marks: pd.DataFrame, at_px: Iterable[float], width_px: float, lanes: int = 3) -> pd.DataFrame:
    """Return the marks with a lane and a side for each label, so that no two labels lie on each other.

    A mark of the same kind within 2 px of the one before is left out; a label that fits into no lane is blanked, and
    its symbol goes into a lane below them.

    Args:
        marks: With columns kind and label, from left to right.
        at_px: Where each stands.
        width_px: How far a label may reach.
        lanes: How many lanes there are for labels.

    >>> marks = pd.DataFrame({"kind": ["version"] * 3, "label": ["v2", "v3", "v4"]})
    >>> placed(marks, [0, 10, 595], 600)[["label", "lane", "side"]].values.tolist()
    [['v2', 0, 'right'], ['v3', 1, 'right'], ['v4', 0, 'left']]
    """
    ends = [-np.inf] * lanes
    newest: dict[str, float] = {}
    rows = []
    for mark, at in zip(marks.to_dict("records"), at_px, strict=True):
        if at - newest.get(mark["kind"], -np.inf) < 2:
            continue
        newest[mark["kind"]] = at
        length = SYMBOL_PX + CHARACTER_PX * len(mark["label"])
        right = at + length <= width_px
        first, last = (at - SYMBOL_PX, at + length) if right else (at - length, at + SYMBOL_PX)
        lane = next((k for k, end in enumerate(ends) if first > end), None)
        if lane is None:
            rows.append(mark | {"label": "", "lane": lanes, "side": "right"})
        else:
            ends[lane] = last
            rows.append(mark | {"lane": lane, "side": "right" if right else "left"})
    return pd.DataFrame(rows, columns=[*marks.columns, "lane", "side"])


def thinned(batches: pd.DataFrame, max_points: int) -> pd.DataFrame:
    """Return at most `max_points` of the batches, whole rows in order, such that every peak is among them.

    The batches are cut into bins of equal count; of each bin stay its first row and the rows with its largest p99
    latency, size, backlog and load. The newest batch always stays, and evenly spaced ones fill what is left.

    Args:
        batches: A frame such as `run.batches`, also an empty one.
        max_points: How many rows may stay, at least 10.

    Raises:
        SettingError: `max_points` is below 10.
        SettingTypeError: `max_points` is no whole number.
    """
    max_points = whole(max_points, "max_points", least=MIN_POINTS)
    count = len(batches)
    if count <= max_points:
        return batches
    bins = (max_points - 1) // (len(PEAKS) + 1)
    edges = [-(-k * count // bins) for k in range(bins + 1)]
    kept = np.zeros(count, np.bool_)
    kept[[*edges[:-1], count - 1]] = True
    for name in PEAKS:
        if name in batches.columns:
            heights = np.nan_to_num(_numbers(batches[name]), nan=-np.inf)
            for low, high in itertools.pairwise(edges):
                kept[high - 1 - int(heights[low:high][::-1].argmax())] = True  # the newest of equals
    rest = np.flatnonzero(~kept)
    kept[rest[np.linspace(0, len(rest) - 1, max_points - int(kept.sum())).astype(np.int64)]] = True
    return batches.iloc[np.flatnonzero(kept)]


def drawn_rows(
    frame: pd.DataFrame, knob: str, needed: str, columns: Iterable[str], most: int
) -> tuple[pd.DataFrame, int]:
    """Return what `checked_frame` and `thinned` make of a frame, and how many rows it has.

    Raises:
        SettingTypeError: Not a DataFrame, or `most` is no whole number.
        ColumnError: The needed column is not there.
        SettingError: `most` is below 10.
    """
    most = whole(most, "max_points", least=MIN_POINTS)
    if isinstance(frame, pd.DataFrame) and needed in frame.columns and len(frame) > most:
        placed = np.isfinite(_numbers(frame[needed]))
        some = thinned(frame if placed.all() else frame[placed], most)
        return checked_frame(some, knob, needed, columns), int(placed.sum())
    checked = checked_frame(frame, knob, needed, columns)
    return thinned(checked, most), len(checked)


def csv_text(frame: pd.DataFrame) -> str:
    r"""Return a frame as CSV text: counts exact, times to 0.1 ms, the rest to five digits, nothing for NaN.

    >>> csv_text(pd.DataFrame({"start_s": [1.00004, 2.5], "num_input_rows": [1234567, 2], "load": [1 / 3, np.nan]}))
    'start_s,num_input_rows,load\n1,1234567,0.33333\n2.5,2,\n'
    """
    return str(pd.DataFrame({name: _texts(name, frame[name]) for name in frame.columns}).to_csv(index=False))


def _texts(name: str, values: pd.Series[Any]) -> list[str]:
    if name in TEXTS:
        return ["" if pd.isna(v) else str(v) for v in values]
    numbers = _numbers(values)
    digits = 5
    if name in COUNTS or name in TIMES:
        numbers, digits = np.round(numbers, 4), 15
    return ["" if math.isnan(v) else f"{v:.{digits}g}" for v in numbers.tolist()]

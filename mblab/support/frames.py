"""Some rows of a frame, and another frame on the same values: what every batch needs, in half of pandas' time.

These are the only private names of pandas that mblab uses. Each stands beside the public way, which says what it does;
the first time they are needed both are tried on a frame of every kind of column, and wherever the private one fails or
gives something else, the public one is taken. `MBLAB_PANDAS=public` takes it in any case.

    pandas -> [frames] -> feed, steps
"""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pandas as pd

__all__ = ["cut", "shallow", "uses_private_names"]

FORCED: Final = "MBLAB_PANDAS"

logger = logging.getLogger("mblab")


_FRAME: Any = pd.DataFrame  # with the names that nobody promised
_INDEX: Any = pd.RangeIndex


class _Cut(Protocol):
    def __call__(self, frame: pd.DataFrame, low: int, high: int) -> pd.DataFrame: ...


class _Shallow(Protocol):
    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame: ...


class _Ways(NamedTuple):
    cut: _Cut
    shallow: _Shallow


def cut(frame: pd.DataFrame, low: int, high: int) -> pd.DataFrame:
    """Return rows low to high, without the last, with a RangeIndex; values are copied when someone writes into them."""
    return _ways().cut(frame, low, high)


def shallow(frame: pd.DataFrame) -> pd.DataFrame:
    """Return another frame on the same values, which are copied when somebody writes into one of the two."""
    return _ways().shallow(frame)


def uses_private_names() -> bool:
    """Return whether pandas' private names are used, as they do here what the public ones do."""
    return _ways().cut is _cut


@cache
def _ways() -> _Ways:
    public = _Ways(_public_cut, _public_shallow)
    if os.environ.get(FORCED) == "public":
        return public
    try:
        if _agree(_sample()):
            return _Ways(_cut, _shallow)
    except Exception:  # whatever has become of names that nobody promised
        logger.debug("pandas %s has other private names", pd.__version__, exc_info=True)
    return public


# -- the public ways ------------------------------------------------------------------------------------------------


def _public_cut(frame: pd.DataFrame, low: int, high: int) -> pd.DataFrame:
    rows = frame.iloc[low:high]
    rows.index = pd.RangeIndex(high - low)
    rows.columns = frame.columns.view()  # one of its own: a user may give it a name
    return rows


def _public_shallow(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.copy(deep=False)


# -- the private ones -----------------------------------------------------------------------------------------------


def _is_plain(frame: pd.DataFrame) -> bool:
    """Return whether a frame is nothing but its columns: what else there may be, the public ways take along."""
    return type(frame) is pd.DataFrame and not frame.attrs and frame.flags.allows_duplicate_labels


def _cut(frame: pd.DataFrame, low: int, high: int) -> pd.DataFrame:
    if not _is_plain(frame):
        return _public_cut(frame, low, high)
    made: Any = frame._mgr.get_slice(slice(low, high), 1, _INDEX._simple_new(range(high - low)))
    made.axes[0] = made.axes[0].view()
    rows: pd.DataFrame = _FRAME._from_mgr(made, made.axes)
    return rows


def _shallow(frame: pd.DataFrame) -> pd.DataFrame:
    if not _is_plain(frame):
        return _public_shallow(frame)
    old: Any = frame._mgr
    axes = [axis.view() for axis in old.axes]
    blocks = tuple([block.copy(deep=False) for block in old.blocks])
    other: pd.DataFrame = _FRAME._from_mgr(type(old)(blocks, axes, verify_integrity=False), axes)
    return other


# -- whether they agree ---------------------------------------------------------------------------------------------


def _sample() -> pd.DataFrame:
    """Return a frame with a column of every kind that pandas keeps in its own way, and two of one kind."""
    return pd.DataFrame(
        {
            "whole": np.arange(6),
            "number": np.arange(6) / 2,
            "other": np.arange(6) * 2.0,
            "text": pd.array(list("abcdef"), dtype="str"),
            "kind": pd.Categorical(list("xyxyxy")),
            "at": pd.date_range("2026-01-01", periods=6, tz="UTC"),
            "day": pd.date_range("2026-01-01", periods=6),
            "maybe": pd.array([1, None, 3, 4, 5, 6], dtype="Int64"),
            "any": pd.Series([[1], {"a": 2}, None, "x", 5, 6.0], dtype=object),
        },
        index=pd.RangeIndex(6),
    )


def _agree(frame: pd.DataFrame) -> bool:
    """Return whether the private ways give what the public ones give, and writing into one leaves the others alone."""
    before = frame.copy(deep=True)
    pairs = [
        (_cut(frame, 1, 4), _public_cut(frame, 1, 4)),
        (_cut(frame, 2, 2), _public_cut(frame, 2, 2)),
        (_shallow(frame), _public_shallow(frame)),
        (_shallow(_cut(frame, 1, 4)), _public_shallow(_public_cut(frame, 1, 4))),
    ]
    for mine, theirs in pairs:
        if not (_same(mine, theirs) and type(mine.index) is type(theirs.index) and mine.columns is not frame.columns):
            return False
        if len(mine):
            mine.loc[0, "whole"], mine.loc[0, "number"], mine.loc[0, "text"] = -1, -1.0, "z"
        mine["new"] = 1
        mine.columns.name = "mine"
        if not _same(frame, before) or frame.columns.name is not None:
            return False
    other = _shallow(frame)
    frame.loc[1, "whole"] = -1
    return _same(other, before) and not _same(frame, before)


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return one.equals(other) and one.dtypes.equals(other.dtypes) and one.index.equals(other.index)

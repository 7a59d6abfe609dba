"""Cutting rows and copying a frame: the quick ways give what pandas' public ones give, and give way where they do not."""

import contextlib
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mblab.support import frames

from .laws import examples

KINDS = {
    "int64": np.arange,
    "int8": lambda n: np.arange(n, dtype="int8"),
    "float64": lambda n: np.arange(n) / 3,
    "bool": lambda n: np.arange(n) % 2 == 0,
    "str": lambda n: pd.array([f"t{i}" for i in range(n)], dtype="str"),
    "object": lambda n: pd.Series([[i] for i in range(n)], dtype=object),
    "category": lambda n: pd.Categorical([str(i % 3) for i in range(n)]),
    "datetime": lambda n: pd.date_range("2026-01-01", periods=n),
    "zoned": lambda n: pd.date_range("2026-01-01", periods=n, tz="Europe/Berlin"),
    "timedelta": lambda n: pd.to_timedelta(np.arange(n), unit="s"),
    "Int64": lambda n: pd.array([None if i % 4 == 0 else i for i in range(n)], dtype="Int64"),
    "arrow": lambda n: pd.array([[i] for i in range(n)], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    "period": lambda n: pd.period_range("2026-01", periods=n, freq="M"),
    "sparse": lambda n: pd.arrays.SparseArray(np.arange(n) % 3),
}


@st.composite
def frame(draw):
    """A frame of some kinds of columns, some twice, some under the same name."""
    rows = draw(st.integers(0, 12))
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=6))
    made = (
        pd.concat([pd.Series(KINDS[kind](rows), name=kind) for kind in kinds], axis=1)
        if kinds
        else pd.DataFrame(index=range(rows))
    )
    if draw(st.booleans()):
        made.index = pd.Index(range(100, 100 + rows), name="label")
    return made


def same(one, other):
    pd.testing.assert_frame_equal(one, other, check_column_type=True)
    assert type(one.index) is type(other.index)


@given(frame(), st.data())
@examples(1_000)
def test_the_quick_ways_give_what_the_public_ones_give(whole, data):
    """Values, dtypes, names, index; rows of nothing too, and columns of the same name."""
    low = data.draw(st.integers(0, len(whole)))
    high = data.draw(st.integers(low, len(whole)))

    same(frames._cut(whole, low, high), frames._public_cut(whole, low, high))
    same(frames._shallow(whole), frames._public_shallow(whole))
    same(frames._shallow(frames._cut(whole, low, high)), frames._public_cut(whole, low, high))


@given(frame(), st.data())
@examples(500)
def test_who_writes_into_one_leaves_the_others_alone(whole, data):
    """In place, whatever the column is; and a new column, a name of the index or of the columns."""
    if not len(whole) or not whole.shape[1]:
        return
    before = whole.copy(deep=True)
    part, other = frames.cut(whole, 0, len(whole)), frames.shallow(whole)
    column = data.draw(st.integers(0, whole.shape[1] - 1))
    part.isetitem(column, part.iloc[::-1, column].array)
    for mine in (part, other):
        with contextlib.suppress(TypeError, ValueError):  # some arrays cannot be written into
            mine.iloc[0, column] = whole.iloc[-1, column]
    part.index.name, part.columns.name, other.columns.name = "row", "mine", "theirs"
    part["new"], other["newer"] = 1, 2

    same(whole, before)


def test_what_a_frame_is_besides_goes_along():
    """Attributes, flags and a class of one's own are pandas' affair."""

    class Own(pd.DataFrame):
        @property
        def _constructor(self):
            return Own

    noted = pd.DataFrame({"a": [1, 2, 3]})
    noted.attrs["unit"] = "m"
    strict = pd.DataFrame({"a": [1, 2, 3]}).set_flags(allows_duplicate_labels=False)

    assert frames.shallow(noted).attrs == frames.cut(noted, 1, 2).attrs == {"unit": "m"}
    assert not frames.shallow(strict).flags.allows_duplicate_labels
    assert type(frames.shallow(Own({"a": [1]}))) is Own


def test_here_the_private_names_do_what_they_should():
    """Else every batch would take the longer way without a word."""
    assert frames.uses_private_names() or os.environ.get(frames.FORCED) == "public"


@pytest.mark.parametrize(
    "broken",
    [
        "frames._cut = lambda frame, low, high: 1 / 0",
        "frames._cut = lambda frame, low, high: frame.iloc[low:high]",
        "frames._cut = lambda frame, low, high: frames._public_cut(frame, low, high + 1)",
        "frames._shallow = lambda frame: frame",
        "frames._shallow = lambda frame: frame.astype('str')",
        "frames._FRAME = object",
        "frames._INDEX = pd.Index",
    ],
)
def test_where_a_private_name_is_gone_or_does_something_else_the_public_way_is_taken(broken):
    """The next pandas may have others: nothing breaks, and what a batch holds is the same."""
    program = f"""
import pandas as pd
from mblab.support import frames
{broken}
print(frames.uses_private_names(), frames.cut(pd.DataFrame({{"a": [1, 2, 3]}}), 1, 3).to_dict("list"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)

    assert done.stdout.strip() == "False {'a': [2, 3]}", done.stderr[-2000:]


def test_the_public_way_can_be_asked_for(monkeypatch):
    """For whoever wants to know whether it is the private one's fault."""
    monkeypatch.setenv(frames.FORCED, "public")
    frames._ways.cache_clear()
    try:
        assert not frames.uses_private_names()
    finally:
        monkeypatch.undo()
        frames._ways.cache_clear()

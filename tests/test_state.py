"""What a savepoint must be: out of reach of any later change in place."""

import numpy as np
import pandas as pd
import pytest

from mblab.state import NAN, StateStore, savepoint, size_bytes, tidy_key


def poke_frame(f):
    f.loc[0, "n"] = 99
    f["m"] = 1


VALUES = {
    "list": ([1], lambda v: v.append(2)),
    "dict": ({"a": 1}, lambda v: v.update(a=2)),
    "nested": ({"a": {"b": [1]}}, lambda v: v["a"]["b"].append(2)),
    "set": ({1}, lambda v: v.add(2)),
    "array": (np.zeros(3), lambda v: v.__setitem__(0, 9)),
    "objects": (np.array([[1], [2]], dtype=object), lambda v: v.__setitem__((0, 0), 9)),
    "frame": (pd.DataFrame({"n": [1, 2]}), poke_frame),
    "series": (pd.Series([1, 2]), lambda v: v.__setitem__(0, 9)),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_savepoint_is_out_of_reach_of_later_changes(name):
    """Every kind of value, changed in place after the save."""
    value, poke = VALUES[name]
    state = {"n": 1, "value": value}
    kept = savepoint(state)
    before = repr(kept)
    poke(state["value"])
    state["n"] = 2

    assert repr(kept) == before
    assert repr(state) != before


@pytest.mark.parametrize("key", [None, float("nan"), pd.NA, pd.NaT, np.float64("nan")])
def test_every_missing_key_is_the_same_key(key):
    """So that a dict finds its state again."""
    assert tidy_key(key) is NAN


def test_states_of_single_keys_are_put_back_alone():
    """A failed batch restores its own keys; a key that was new is gone again."""
    store = StateStore()
    store.keyed(1).update(a={"n": 1}, b={"n": 2})
    saved = store.save_keys(1, ["a", "c"])
    store.keyed(1)["a"]["n"] = 10
    store.keyed(1)["b"]["n"] = 20
    store.keyed(1)["c"] = {"n": 30}
    store.restore_keys(1, saved)

    assert store.keyed(1) == {"a": {"n": 1}, "b": {"n": 20}}


def test_sizes_are_of_the_right_order():
    """A million bytes of array is a million bytes; a large dict is judged by a sample."""
    assert 8_000_000 <= size_bytes({"a": np.zeros(1_000_000)}) < 8_100_000
    large = {i: float(i) for i in range(100_000)}
    assert 4_000_000 < size_bytes(large) < 30_000_000

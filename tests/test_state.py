"""What a savepoint must be: out of reach of any later change in place."""

import sqlite3
import threading
from collections import Counter, defaultdict, deque
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mblab.errors import StepError
from mblab.steps.state import NAN, StateStore, savepoint, size_bytes, tidy_key
from mblab.steps.step import make_step


def poke_frame(f):
    f.loc[0, "n"] = 99
    f["m"] = 1


VALUES = {
    "list": ([1], lambda v: v.append(2)),
    "dict": ({"a": 1}, lambda v: v.update(a=2)),
    "nested": ({"a": {"b": [1]}}, lambda v: v["a"]["b"].append(2)),
    "set": ({1}, lambda v: v.add(2)),
    "set of pairs": ({(1, "a")}, lambda v: v.add((2, "b"))),
    "deque": (deque([1], maxlen=3), lambda v: v.append(2)),
    "deque of lists": (deque([[1]]), lambda v: v[0].append(2)),
    "counter": (Counter("aab"), lambda v: v.update("b")),
    "default dict": (defaultdict(list, a=[1]), lambda v: v["a"].append(2)),
    "list of dicts": ([{"a": 1}], lambda v: v[0].update(a=2)),
    "tuple of lists": (([1],), lambda v: v[0].append(2)),
    "object": (SimpleNamespace(a=[1]), lambda v: v.a.append(2)),
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
    assert type(kept["value"]) is type(value)


def test_one_object_under_two_names_stays_one_object():
    """A state put back after a failure behaves as before, also one that holds itself."""
    shared, table = [[1]], np.zeros(3)
    state = {"best": shared, "all": {"by name": shared}, "table": table, "same": table, "deep": [shared, {"t": table}]}
    state["me"] = state
    kept = savepoint(state)

    assert kept["best"] is kept["all"]["by name"]
    assert kept["best"] is kept["deep"][0]
    assert kept["table"] is kept["same"]
    assert kept["table"] is kept["deep"][1]["t"]
    assert kept["me"] is kept
    assert kept["best"] is not shared


def test_a_defaultdict_keeps_its_factory_and_a_deque_its_length():
    """A copy is of the same kind in every respect."""
    kept = savepoint({"d": defaultdict(int, a=1), "q": deque([1, 2], maxlen=2)})
    kept["q"].append(3)

    assert kept["d"]["new"] == 0
    assert list(kept["q"]) == [2, 3]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(sqlite3.connect(":memory:"), "Connection"), (threading.Lock(), "lock"), ([threading.Lock()], "list")],
)
def test_what_cannot_be_copied_is_named_with_its_key(value, kind):
    """It is the state's fault, not the function's, and the way on is said."""
    with pytest.raises(StepError, match=rf"state\['c'\] holds a {kind}, which cannot be copied .* outside of it\.$"):
        savepoint({"n": 1, "c": value})


@pytest.mark.parametrize("key", [None, float("nan"), pd.NA, pd.NaT, np.float64("nan")])
def test_every_missing_key_is_the_same_key(key):
    """So that a dict finds its state again."""
    assert tidy_key(key) is NAN


def test_states_of_single_keys_are_put_back_alone():
    """A failed batch restores its own keys; a key that was new is gone again."""
    store, step = StateStore(), make_step(lambda batch, state: None, "batch", key="device")
    store.of(step).update(a={"n": 1}, b={"n": 2})
    saved = store.snapshot(step, ["a", "c"])
    store.of(step)["a"]["n"] = 10
    store.of(step)["b"]["n"] = 20
    store.of(step)["c"] = {"n": 30}
    store.restore(step, saved)

    assert store.of(step) == {"a": {"n": 1}, "b": {"n": 20}}


@pytest.mark.parametrize("key", [None, "device"])
def test_a_snapshot_can_be_gone_back_to_again(key):
    """What is done after `restore` does not reach the snapshot, of one dict or of one a key."""
    store, step = StateStore(), make_step(lambda batch, state: None, "batch", key=key)
    store.of(step)["a"] = {"seen": [1]}
    saved = store.snapshot(step)
    for _ in range(2):
        store.restore(step, saved)
        store.of(step)["a"]["seen"].append(2)
        assert store.of(step) == {"a": {"seen": [1, 2]}}
    store.restore(step, saved)

    assert store.of(step) == saved == {"a": {"seen": [1]}}


def test_sizes_are_of_the_right_order():
    """A million bytes of array is a million bytes; a large dict is judged by a sample."""
    assert 8_000_000 <= size_bytes({"a": np.zeros(1_000_000)}) < 8_100_000
    large = {i: float(i) for i in range(100_000)}
    assert 4_000_000 < size_bytes(large) < 30_000_000

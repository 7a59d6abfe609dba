"""What a step may take and return, and how one is replaced."""

import functools

import numpy as np
import pandas as pd
import pytest

from mblab import Lab, SettingError, StepError
from mblab.steps.results import as_rows, joined, part_of, tidy
from mblab.steps.step import make_step
from mblab.testing import rows_at


def rows_of(result):
    made = as_rows(result, "step")
    frame = None if made is None else tidy(made)
    return None if frame is None else frame.to_dict("list")


INDEXED = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["a", "b"], name="carrier"))


@pytest.mark.parametrize(
    ("result", "rows"),
    [
        (pd.DataFrame({"n": [1, 2]}), {"n": [1, 2]}),
        (pd.DataFrame({"n": [1, 2]}, index=[7, 9]), {"n": [1, 2]}),
        (INDEXED, {"carrier": ["a", "b"], "n": [1, 2]}),
        (
            pd.DataFrame({"n": [1]}, index=pd.MultiIndex.from_tuples([("a", 1, "x")], names=["p", None, "q"])),
            {"p": ["a"], "q": ["x"], "n": [1]},
        ),
        (INDEXED["n"], {"carrier": ["a", "b"], "n": [1, 2]}),
        (pd.Series([1, 2], name="n"), {"n": [1, 2]}),
        (pd.Series([1, 2]), {"step": [1, 2]}),
        (pd.Series({"late": 3, "all": 9}), {"late": [3], "all": [9]}),
        (pd.Series([5, 6, 7], index=[2, 4, 6]), {"2": [5], "4": [6], "6": [7]}),
        ({"late": 3, "all": 9}, {"late": [3], "all": [9]}),
        ({"n": [1, 2], "m": np.array([3, 4])}, {"n": [1, 2], "m": [3, 4]}),
        ([{"n": 1}, {"n": 2}], {"n": [1, 2]}),
        (3, {"step": [3]}),
        (2.5, {"step": [2.5]}),
        (np.int64(4), {"step": [4]}),
        ("late", {"step": ["late"]}),
        (True, {"step": [True]}),
        (pd.Timestamp("2026-01-01"), {"step": [pd.Timestamp("2026-01-01")]}),
        (None, None),
        (pd.DataFrame({"n": []}), None),
        (pd.DataFrame(), None),
        ([], None),
        ({}, None),
        ({"n": []}, None),
    ],
)
def test_every_return_shape_becomes_rows(result, rows):
    """The table of DESIGN section 6, shape by shape."""
    assert rows_of(result) == rows
    if rows is not None:
        assert isinstance(tidy(as_rows(result, "step")).index, pd.RangeIndex)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([1, 2], r"step returned \[1, 2\], of type list"),
        (np.arange(3), "of type ndarray"),
        ({1, 2}, "of type set"),
        (object(), "of type object"),
        ((x for x in "ab"), "of type generator"),
        (lambda: 1, "of type function"),
        ({"n": [1, 2], "m": [1]}, "differ in length"),
        (pd.DataFrame({"carrier": ["a"]}, index=pd.Index(["b"], name="carrier")), "'carrier' twice"),
        (pd.DataFrame({("v", "mean"): [1.0]}), "2 levels"),
        ({"s": pd.Series([1, 2]), "n": 2}, "a Series in 's' beside single values"),
    ],
)
def test_anything_else_is_refused_with_the_way_on(result, message):
    """One sentence: what came back, what may come back; nothing of the batch is kept."""
    with pytest.raises(StepError, match=message):
        as_rows(result, "step")
    lab = Lab(rows_at([0.1]))
    lab.batch(lambda batch: result, name="step")
    with pytest.raises(StepError, match=message):
        lab.run(clock="virtual", cost=0)
    assert lab.last_run.status == "halted"


def test_what_a_step_returned_is_not_changed_by_making_rows_of_it():
    """The user's own frame keeps its index."""
    kept = INDEXED.copy()
    as_rows(INDEXED, "step")

    pd.testing.assert_frame_equal(INDEXED, kept)


@pytest.mark.parametrize(
    "results",
    [
        [{"k": 1, "v": 1.5}, {"k": 2, "v": 2}, {"k": 3, "w": "x"}],
        [{"k": 1}, None, pd.DataFrame({"k": [2, 3]}), {"k": 4}, 7, "text"],
        [{"k": [1, 2]}, {"k": 3}, {"k": 4}, [{"k": 5}, {"k": 6}], {}],
        [pd.Series([1, 2], name="k"), {"k": pd.Timestamp("2026-01-01")}, {"k": 3}],
        [None, None],
    ],
)
def test_what_keys_give_is_joined_as_if_each_had_made_a_frame(results):
    """Single rows are put together before they become a frame, which is three times as fast."""
    parts = [part for result in results if (part := part_of(result, "step")) is not None]
    frames = [tidy(rows) for result in results if (rows := as_rows(result, "step")) is not None]
    found = joined(parts)

    if not frames:
        assert found is None
    else:
        pd.testing.assert_frame_equal(found, pd.concat(frames, ignore_index=True), check_dtype=False)


def test_a_dict_that_a_keyed_step_gives_may_change_afterwards():
    """Most return their state: each key's row is as it was when it was returned."""
    lab = Lab(rows_at([0.1, 0.2, 0.3], key=["a", "b", "a"]), interval="1s")
    shared = {"calls": 0}

    @lab.batch(key="key")
    def counted(batch):
        shared["calls"] += 1
        return shared

    assert lab.run(clock="virtual", cost=0).output["calls"].tolist() == [1, 2]


def test_an_array_without_dimensions_is_a_single_value():
    """What NumPy's reductions give may stand in a dict."""
    assert as_rows({"n": np.array(5), "m": np.float64(2)}, "step").to_dict("records") == [{"n": 5, "m": 2.0}]


@pytest.mark.parametrize(
    ("fn", "kind", "parameters"),
    [
        (lambda batch: 0, "batch", ("batch",)),
        (lambda batch, state: 0, "batch", ("batch", "state")),
        (lambda batch, memory: 0, "batch", ("batch", "state")),
        (lambda batch, state, ctx: 0, "batch", ("batch", "state", "ctx")),
        (lambda batch, ctx: 0, "batch", ("batch", "ctx")),
        (lambda batch, ctx: 0, "map", ("batch", "ctx")),
        (lambda batch, limit=3: 0, "batch", ("batch",)),
        (lambda *args: 0, "batch", ("batch",)),
        (functools.partial(lambda extra, batch: 0, 1), "batch", ("batch",)),
        (len, "batch", ("batch",)),
    ],
)
def test_a_step_is_given_what_it_takes(fn, kind, parameters):
    """By position; `ctx` by its name; parameters with a default keep it."""
    assert make_step(fn, kind).parameters == parameters


async def coroutine(batch): ...


class Coroutine:
    async def __call__(self, batch): ...


def generator(batch):
    yield batch


@pytest.mark.parametrize(
    ("fn", "kind", "message"),
    [
        (lambda: 0, "batch", "takes no argument"),
        (lambda a, b, c, d: 0, "batch", "takes 4 arguments"),
        (lambda a, b, c: 0, "map", "takes 3 arguments"),
        (lambda batch, state: 0, "map", "independent"),
        (lambda batch, *, limit: 0, "batch", "keyword 'limit'"),
        (lambda df, batch_id: 0, "batch", "foreachBatch"),
        (lambda batch, ctx, other: 0, "batch", "takes 3 arguments"),
        (lambda state, batch: 0, "batch", r"takes \(state, batch\), but the batch comes first"),
        (lambda ctx, rows: 0, "map", "the batch comes first"),
        (Coroutine(), "batch", "async"),
        (coroutine, "batch", "async"),
        (generator, "batch", "generator"),
        (3, "batch", "must be a function"),
        (dict, "batch", "the class dict"),
    ],
)
def test_a_function_that_no_one_can_call_is_refused_when_it_is_defined(fn, kind, message):
    """Not at the first batch."""
    lab = Lab(rows_at([0.1]))
    with pytest.raises((StepError, SettingError), match=message):
        (lab.map if kind == "map" else lab.batch)(fn)
    assert lab.steps == ()


def test_a_function_defined_again_replaces_the_old_one_in_place():
    """Same name, outside a notebook: same place in the chain, state kept, version counted."""
    lab = Lab(rows_at([0.1, 1.1, 2.1]), interval="1s")
    lab.batch(lambda batch, state: state.update(n=state.get("n", 0) + 1) or batch, name="count")
    lab.batch(lambda batch: batch.assign(by="old"), name="label")
    lab.batch(lambda batch, state: state.update(n=state.get("n", 0) + 100) or batch, name="count")

    assert [(s.name, s.version) for s in lab.steps] == [("count", 2), ("label", 1)]
    assert lab.pipeline.version == 2


def test_the_decorator_gives_the_function_back():
    """It can be called and tested like any other."""
    lab = Lab(rows_at([0.1]))

    @lab.batch
    def plain(batch):
        return len(batch)

    @lab.batch(key="row")
    def by_row(batch):
        return len(batch)

    @lab.map(name="same")
    def anything(batch):
        return batch

    assert plain([1, 2]) == by_row([1, 2]) == 2
    assert [(s.name, s.kind, s.key) for s in lab.steps] == [
        ("plain", "batch", None),
        ("by_row", "keyed", ("row",)),
        ("same", "map", None),
    ]


def test_a_second_step_prints_the_chain(capsys):
    """So that a cell run twice under two names is noticed."""
    lab = Lab(rows_at([0.1]))
    lab.map(lambda batch: batch, name="clean")
    assert capsys.readouterr().err == ""
    lab.batch(len, name="count")

    assert capsys.readouterr().err == "steps: clean → count\n"


def test_a_new_kind_or_key_starts_with_a_fresh_state_and_says_so(capsys):
    """A whole state means nothing to a keyed step."""
    lab = Lab(rows_at([0.1, 1.1], key=["a", "b"]), interval="1s")

    def count(batch, state):
        state["n"] = state.get("n", 0) + len(batch)
        return state["n"]

    lab.batch(count)
    lab.step()
    lab.batch(key="key")(count)
    assert "count is now a keyed step by key: its state starts fresh" in capsys.readouterr().err
    lab.step()
    lab.stop()

    assert lab.last_run.state == {"count": {"b": {"n": 1}}}


def test_keys_may_be_several_columns_and_missing():
    """State by tuple; None, NaN and NaT are one key each time."""
    lab = Lab(rows_at([0.1, 0.2, 0.3, 1.1], a=["x", None, "x", None], b=[1.0, np.nan, 1.0, np.nan]), interval="1s")

    @lab.batch(key=["a", "b"])
    def count(batch, state):
        state["n"] = state.get("n", 0) + len(batch)
        return {"rows": len(batch)}

    run = lab.run(clock="virtual", cost=0)

    assert run.output["rows"].tolist() == [2, 1, 1]
    assert {str(k): v["n"] for k, v in run.state["count"].items()} == {"('x', 1.0)": 2, "(nan, nan)": 2}


def test_a_key_that_is_no_column_is_named_with_its_neighbour():
    """Which step, which batch, which column, did you mean."""
    lab = Lab(rows_at([0.1], carrier=["UA"]))
    lab.batch(key="carier")(lambda batch: None)
    with pytest.raises(
        StepError, match=r"reads column 'carier', but batch 0 holds \['carrier'\]: did you mean 'carrier'"
    ):
        lab.run(clock="virtual", cost=0)

"""What is saved comes back as it was, dtype and type of each value, or one sentence says what does not."""

import collections
import datetime as dt
import decimal
import enum
import fractions
import json
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab import Lab, MblabError, SettingError, replay
from mblab.runs.stored import read_frame, write_frame
from mblab.sinks.base import Delivery
from mblab.tables.exact import decode, exact_json
from mblab.tables.same import difference, same

from .laws import examples
from .test_export_equal import ANY, columns


def objects(*values):
    return pd.Series(values, dtype=object)


def run_of(*frames):
    """A run whose n-th batch gives the n-th frame."""
    lab = Lab(replay(pd.DataFrame({"v": range(len(frames))}), rate=1), interval="1s", name="saved")
    lab.batch(lambda batch: frames[int(batch["v"].iloc[0])], name="out")
    return lab.run(clock="virtual", cost=0)


def one(values, **more):
    return pd.DataFrame({"t": values, **more})


class Color(enum.Enum):
    RED = 1


OUTPUTS = {
    # B09: two batches whose columns are of different types
    "null, then nanoseconds": [one([None]), one([pd.Timestamp(1, unit="ns")])],
    "a date, then a datetime": [one([dt.date(2026, 1, 1)]), one([dt.datetime(2026, 1, 1, 5)])],
    "bytes, then text": [one([b"a"]), one(["a"])],
    "nanoseconds, then seconds": [one([pd.Timestamp(1, unit="ns")]), one(pd.Series(["2026"], dtype="datetime64[s]"))],
    "two zones": [one([pd.Timestamp("2026", tz="UTC")]), one([pd.Timestamp("2026", tz="Europe/Berlin")])],
    "true, then one": [one([True]), one([1])],
    "whole, then halves": [one(objects(1)), one(objects(1.5))],
    "a list, then a tuple": [one([[1]]), one(objects((1,)))],
    # B10, S11
    "int, then text": [one([1]), one(["a"])],
    "tuples": [one(objects((1, "a")))],
    "complex": [one([1j])],
    "sparse": [one(pd.arrays.SparseArray([0, 0, 1]))],
    "two axes": [one(objects(np.zeros((2, 2))))],
    "big ints": [one(objects(2**70)), one(objects(2**63))],
    "own batch_id": [one([1], batch_id=7)],
    "own batch_id.1": [one([1], **{"batch_id.1": 7})],
    "both": [one([1], **{"batch_id": 6, "batch_id.1": 7})],
    "one name twice": [pd.DataFrame([[1, "a"]], columns=["t", "t"])],
    "half a character": [one(objects("\ud800"))],
    "half a character as a name": [pd.DataFrame([[1]], columns=pd.Index(["\ud800"], dtype=object))],
    "intervals": [one(pd.cut([1, 2], [0, 1, 2])), one(pd.interval_range(0, 2))],
    "sets and dicts": [one(objects({1, 2}, {1: 2})), one(objects({"a": 1}, {"b": [None]}))],
    "decimals": [one(objects(decimal.Decimal("1.10"), decimal.Decimal("NaN"), decimal.Decimal("1E+30")))],
    "missing ones": [one(objects(None, float("nan"), pd.NaT, pd.NA))],
    "NumPy's scalars": [one(objects(np.int8(1), np.float32(0.1), np.datetime64("2026", "D")))],
    "Python's times": [one(objects(dt.timedelta(1), dt.time(1, fold=1), dt.datetime(9999, 1, 1)))],
    "seconds": [one(pd.Series(["2026"], dtype="datetime64[s]"), d=pd.Series([5], dtype="timedelta64[s]"))],
    "uuids and fractions": [one(objects(uuid.UUID(int=1), fractions.Fraction(1, 3)))],
    "mixed categories": [one(pd.Categorical([1, "a"], ordered=True))],
    "Arrow's lists": [one(pd.Series([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))))],
    "Arrow's decimals": [one(pd.Series([decimal.Decimal(1)], dtype=pd.ArrowDtype(pa.decimal128(5, 2))))],
    "text kept by Python": [one(pd.array(["a", None], dtype="string[python]"))],
    "more digits": [one(np.array([1], dtype="longdouble"), f=np.array([1], dtype="float16"))],
    "frames in cells": [one(objects(pd.DataFrame({"a": [1]}), pd.Series([1.5], name=3)))],
    "other names": [pd.DataFrame([[1, 2, 3, 4]], columns=pd.Index([1, ("a", 1), None, pd.Timestamp("2026")], tupleize_cols=False))],
    "the columns' name": [one([1]).rename_axis(columns="kind")],
}  # fmt: skip


def output_of(frames):
    """What `run.output` is of such batches."""
    sink = mblab.sinks.memory()
    sink.open("0123456789ab")
    for batch_id, rows in enumerate(frames):
        sink.deliver(rows, Delivery("0123456789ab", batch_id))
    return sink.frame()


@pytest.mark.parametrize("kind", OUTPUTS)
def test_an_output_of_any_kind_comes_back_as_it_was(kind, tmp_path):
    """S11, B09, B10: names, dtypes and values."""
    output = output_of(OUTPUTS[kind])
    write_frame("output", output, tmp_path / "output.parquet")

    assert difference(output, read_frame(tmp_path / "output.parquet")) is None


@pytest.mark.parametrize("kind", ["null, then nanoseconds", "a date, then a datetime", "bytes, then text", "intervals"])
def test_the_output_of_a_run_comes_back_as_it_was(kind, tmp_path):
    """S11, B09: the whole way, and nothing beside it."""
    run = run_of(*OUTPUTS[kind])

    assert difference(run.output, mblab.load_run(run.save(tmp_path / "kept")).output) is None
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_a_run_that_was_loaded_can_be_saved_again(tmp_path):
    """With the same output, also where it stands as JSON."""
    run = run_of(*OUTPUTS["int, then text"], *OUTPUTS["complex"])
    back = mblab.load_run(run.save(tmp_path / "kept"))

    assert difference(mblab.load_run(back.save(tmp_path / "again")).output, run.output) is None


@pytest.mark.parametrize(
    "value", [Color.RED, ValueError("x"), object(), len, type("S", (str,), {})("a")], ids=lambda v: type(v).__name__
)
def test_what_no_file_gives_back_is_named(value, tmp_path):
    """S11: one sentence that names the column, nothing left behind, and the next save takes the folder."""
    run = run_of(one(objects(value), other=[1]))
    with pytest.raises(SettingError, match="run.output cannot be saved: column 't' holds") as caught:
        run.save(tmp_path / "kept")

    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert run_of(one([1])).save(tmp_path / "kept").is_dir()


@examples(1000)
@given(data=st.data())
def test_any_frame_comes_back_or_is_refused(tmp_path_factory, data):
    """The law, over every dtype that pandas and Arrow know, and every kind of object."""
    rows = data.draw(st.integers(0, 4))
    names = data.draw(st.lists(st.sampled_from(["a", "a.1", "", "\ud800", 1, None, ("a", 1)]), min_size=1, max_size=3))
    frame = pd.concat([data.draw(columns(rows)) for _ in names], axis=1)
    frame.columns = pd.Index(names, dtype=object, tupleize_cols=False)
    frame.attrs["unit"] = data.draw(ANY)
    path = tmp_path_factory.mktemp("stored") / "x.parquet"
    try:
        write_frame("output", frame, path)
    except SettingError as refused:
        assert "ValueError" in str(refused) or " holds " in str(refused)  # noqa: PT017
    else:
        assert difference(frame, read_frame(path)) is None


def test_a_frame_is_a_file_like_any_other(tmp_path):
    """Other programs read it: what Parquet does not hold is JSON."""
    run = run_of(one(objects(1, "a", (1,))))
    run.save(tmp_path / "kept")
    found = pd.read_parquet(tmp_path / "kept" / "output.parquet")

    assert found.columns.tolist() == ["batch_id", "t"]
    assert [json.loads(text) for text in found["t"]] == [1, "a", {"$": "tuple", "of": [1]}]


# -- states -----------------------------------------------------------------------------------------------------------

FRAME = pd.DataFrame(
    {"a": [1, None], "t": pd.to_datetime(["2026", None], utc=True)}, index=pd.Index(["x", "y"], name="k")
)
STATES = {
    "a batch": pd.DataFrame({"v": [1, 2]}),
    "frames": [FRAME, FRAME["t"], FRAME.index, pd.date_range("2026", periods=3, freq="h"), pd.MultiIndex.from_tuples([(1, "a")])],
    "arrays": [np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(2, 3)), np.array(5.0), np.array(["a", None], dtype=object)],
    "keys of any kind": {1: "a", (1, 2): "b", None: "c", "$": 1, dt.date(2026, 1, 1): 2},
    "collections": [collections.Counter("aab"), collections.OrderedDict(a=1), collections.deque([1], 3), {1, (2,)}, frozenset(),
                    collections.defaultdict(list, a=[1])],
    "times": [pd.Timestamp("2026-10-25 01:30", tz="UTC").tz_convert("Europe/Berlin"), pd.Timedelta(1, "ns"), dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
              dt.datetime(2026, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1), pd.Period("2026-01", "M"),
              dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=2)))],
    "numbers": [2**80, -0.0, float("nan"), float("-inf"), complex(1, float("nan")), np.float32(0.1), decimal.Decimal("1.10"), True],
    "Arrow's": pd.Series([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "key"), [*((kind, None) for kind in STATES), ("times", "v")])
def test_a_state_of_any_kind_comes_back_as_it_was(kind, key, tmp_path, capsys):
    """B11: of a step, and by key."""
    lab = Lab(replay(pd.DataFrame({"v": [1, 2]}), rate=1), interval="9s", name="saved")

    @lab.batch(key=key)
    def keep(batch, state):
        state["last"] = STATES[kind]

    run = lab.run(clock="virtual", cost=0)
    back = mblab.load_run(run.save(tmp_path / "kept"))

    assert same(back.state, run.state)
    assert "lacks" not in capsys.readouterr().err
    back.state.clear()
    assert same(back.state, run.state)  # a copy was cleared


@pytest.mark.parametrize(
    "value", [object(), len, Color.RED, ValueError("x"), (loop := [])], ids=lambda v: type(v).__name__
)
def test_a_state_that_cannot_be_kept_is_said_by_save(value, tmp_path, capsys):
    """B11: in one line that names the step; the rest is saved."""
    loop[:] = [loop]
    lab = Lab(replay(pd.DataFrame({"v": [1]}), rate=1), interval="9s", name="saved")

    @lab.batch
    def keep(batch, state):
        state["last"] = value

    lab.batch(lambda batch, state: state.setdefault("n", 1), name="other")
    back = mblab.load_run(lab.run(clock="virtual", cost=0).save(tmp_path / "kept"))
    said = [line for line in capsys.readouterr().err.splitlines() if "lacks" in line]

    assert len(said) == 1
    assert said[0].startswith("mblab: the saved run lacks the state of step 'keep', which holds ")
    assert back.state == {"other": {}} or back.state == {"other": {"n": 1}}


nested = st.recursive(
    ANY.filter(lambda value: not isinstance(value, Exception)) | st.floats() | st.integers() | st.datetimes() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@examples(500)
@given(nested)
def test_a_value_comes_back_from_json(value):
    """Whatever it is made of."""
    assert same(decode(json.loads(exact_json(value))), value)


@pytest.mark.parametrize(
    "code", [{"$": "os"}, {"$": 1, "of": 2}, {"$": "numpy", "of": ["O8", ""]}, {"$": "tuple", "of": 3}, {"$": "range"}]
)
def test_what_is_no_code_makes_no_value(code):
    """Nothing but the kinds that are written is made."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode(code)


# -- damaged ones -----------------------------------------------------------------------------------------------------


def asked_of(run):
    """Everything that a run can be asked; a chart only where there is a batch."""
    run.summary(), run.summary(0, "2s"), run.state, run.controls, run.provenance, run.decisions, run.last_progress
    run.batches, run.records, run.output, run.attempts, run.standing, run.waiting, run.how_far, repr(run)
    run.slowest(3), run.diagnose(), run.share_over("1s"), run.batches_after(0), mblab.compare(run, run).settings
    run.what_if("2s")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    lab = Lab(replay(pd.DataFrame({"v": range(12)}), rate=4), interval="1s", name="saved")
    lab.batch(lambda batch, state: {"n": len(batch)}, name="count")
    return lab.run("2.5s", clock="virtual", cost=0.1).save(tmp_path_factory.mktemp("damaged") / "kept")


def places(value, at=()):
    """Every place in a JSON value."""
    yield at
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


OTHERS = st.sampled_from(
    [None, True, -1, 10**30, 10**400, 1.5, float("nan"), float("-inf"), "x", "", [], [[]], {}, {"a": 1}, {"$": "x"}]
)


@pytest.mark.slow
@examples(400)
@given(data=st.data())
def test_a_damaged_run_json_is_refused_or_all_can_be_asked(saved, data):
    """B11: what is wrong is said when it is loaded, never by a bare error from what is asked later."""
    file = saved / "run.json"
    text = file.read_text()
    about = json.loads(text)
    *way, last = data.draw(st.sampled_from([at for at in places(about) if at]))
    inside = about
    for key in way:
        inside = inside[key]
    if data.draw(st.booleans()) and isinstance(inside, dict):
        del inside[last]
    else:
        inside[last] = data.draw(OTHERS)
    file.write_text(json.dumps(about))
    try:
        asked_of(mblab.load_run(saved))
    except MblabError as refused:
        assert "\n" not in str(refused)  # noqa: PT017
    finally:
        file.write_text(text)


@pytest.mark.slow
@examples(100)
@given(data=st.data())
def test_a_damaged_frame_is_refused_or_all_can_be_asked(saved, data):
    """B11: a column gone, of another type, or there twice; bytes that are others."""
    file = saved / f"{data.draw(st.sampled_from(['batches', 'records', 'output', 'attempts', 'waiting']))}.parquet"
    content = file.read_bytes()
    rows = pd.read_parquet(file)
    column = data.draw(st.sampled_from(list(rows.columns)))
    how = data.draw(st.sampled_from(["gone", "text", "float", "null", "cut", "flipped", "no rows"]))
    if how in ("cut", "flipped"):
        at = data.draw(st.integers(0, len(content) - 1))
        file.write_bytes(
            content[:at] if how == "cut" else content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]
        )
    else:
        kinds = {"text": "str", "float": "float64", "null": object, "no rows": rows[column].dtype}
        try:
            changed = rows.drop(columns=column) if how == "gone" else rows.astype({column: kinds[how]})
        except ValueError:
            changed = rows.drop(columns=column)
        if how == "null":
            changed[column] = None
        (changed.iloc[:0] if how == "no rows" else changed).to_parquet(file)
    try:
        asked_of(mblab.load_run(saved))
    except MblabError as refused:
        assert "\n" not in str(refused)  # noqa: PT017
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize(
    ("part", "value"),
    [("summary", {}), ("provenance", {}), ("standing", {}), ("controls", []), ("status", "gone"), ("status", []), ("run_id", 3),
     ("name", None), ("pilot", {}), ("state", {"f": {"$": "os"}})],
)  # fmt: skip
def test_a_part_of_another_form_is_named(part, value, tmp_path):
    """B11: the part, in one sentence."""
    folder = run_of(one([1])).save(tmp_path / "kept")
    about = json.loads((folder / "run.json").read_text()) | {part: value}
    (folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(SettingError, match=rf"cannot be read: .*{part}"):
        mblab.load_run(folder)


def test_a_run_saved_before_is_still_read(tmp_path):
    """Files without the notes of today, and states without tags."""
    folder = run_of(one([1])).save(tmp_path / "kept")
    pd.DataFrame({"batch_id": [0], "t": ["old"]}).to_parquet(folder / "output.parquet")
    about = json.loads((folder / "run.json").read_text()) | {"state": {"f": {"n": 1, "l": [1, {"a": None}]}}}
    (folder / "run.json").write_text(json.dumps(about))
    back = mblab.load_run(folder)

    assert (back.output["t"].tolist(), back.state) == (["old"], {"f": {"n": 1, "l": [1, {"a": None}]}})

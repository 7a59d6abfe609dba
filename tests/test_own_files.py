"""What a sink wrote in text is read by what it noted of it, while the file is as it left it."""

import shutil

import numpy as np
import pandas as pd
import pytest

from mblab import Lab, replay
from mblab.sinks import Delivery, csv, jsonl
from mblab.tables.files import open_table
from mblab.tables.given import given_types

RUN = "0123456789ab"
SINKS = {"csv": csv, "jsonl": jsonl}
WORDS = ["NA", "DE", "null", "", "nan", "None", "#N/A", " NA ", "007", "1e5", "True", "2026-01-01", None]


def written(kind, folder, *batches, mode=None, run=RUN):
    """Deliver batches, and return the file."""
    path = folder / f"rows.{kind}"
    sink = SINKS[kind](path, mode)
    sink.open(run)
    for batch_id, batch in enumerate(batches):
        sink.deliver(batch, Delivery(run, batch_id))
    sink.close()
    return path


def rows_of(path, **knobs):
    return pd.concat([block.rows for block in replay(path, rate=1, **knobs).open()], ignore_index=True)


def test_a_text_that_looks_like_nothing_comes_back(tmp_path):
    """S14, the script of the case."""
    path = tmp_path / "rows.csv"
    lab = Lab(replay(pd.DataFrame({"country": ["NA", "DE", "null"]}), rate=1), interval="9s", name="own")
    lab.batch(lambda batch: batch)
    lab.to(csv(path))
    lab.run(clock="virtual", cost=0)

    assert rows_of(path).country.tolist() == ["NA", "DE", "null"]


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("kind", SINKS)
def test_texts_that_look_like_something_else_come_back(kind, alone, tmp_path):
    """S14's siblings: numbers, times, truth, blanks; also the only column, whose missing values would leave no line."""
    frame = pd.DataFrame({"t": pd.Series(WORDS, dtype="str")})
    frame = frame if alone else frame.assign(n=range(len(frame)))
    path = written(kind, tmp_path, frame.iloc[:5].reset_index(drop=True), frame.iloc[5:].reset_index(drop=True))

    pd.testing.assert_frame_equal(rows_of(path), frame)


@pytest.mark.parametrize("alone", [True, False])
def test_null_words_come_back_also_where_the_note_is_gone(alone, tmp_path):
    """S14: they stand in quotes, so that other readers and a copy without the hidden file tell them from nothing."""
    frame = pd.DataFrame({"t": pd.Series([w for w in WORDS if w is None or not w[:1].isdigit()], dtype="str")})
    frame = frame if alone else frame.assign(n=range(len(frame)))
    path = written("csv", tmp_path, frame)
    copy = shutil.copy(path, tmp_path / "copy.csv")

    assert rows_of(copy).t.isna().tolist() == frame.t.isna().tolist()
    assert rows_of(copy).t.dropna().str.strip().tolist() == frame.t.dropna().str.strip().tolist()


@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize("change", ["longer", "other bytes", "no marker", "broken marker"])
def test_a_file_that_is_not_as_the_sink_left_it_is_read_as_any(kind, change, tmp_path):
    """By length and digest; and nothing is refused for it."""
    path = written(kind, tmp_path, pd.DataFrame({"id": ["007", "008"]}))
    assert rows_of(path).id.tolist() == ["007", "008"]
    marker = tmp_path / f".rows.{kind}.mblab.json"
    text = path.read_text()
    if change == "longer":
        path.write_text(text + ("9\n" if kind == "csv" else '{"id": "9"}\n'))
    elif change == "other bytes":
        path.write_text(text.replace("7", "6"))
    elif change == "no marker":
        marker.unlink()
    else:
        marker.write_text(marker.read_text().replace('"types": "', '"types": "AAAA'))
    back = rows_of(path).id

    assert len(back) == 2 + (change == "longer")
    assert [str(v).lstrip("0") for v in back][1] == "8"


@pytest.mark.parametrize("kind", SINKS)
def test_what_is_named_by_hand_holds_against_the_note(kind, tmp_path):
    """Of one column; the others are as they were noted."""
    frame = pd.DataFrame({"id": [7, 8], "other": ["07", "NA"]})
    table = open_table(written(kind, tmp_path, frame), given_types({"id": "float64"}))
    back = next(table.read(["id", "other"]))

    assert back.id.dtype == "float64"
    assert back.other.tolist() == ["07", "NA"]


@pytest.mark.parametrize("kind", SINKS)
def test_notes_of_several_runs_are_joined(kind, tmp_path):
    """Appended to: the same types hold, another one makes the column any file's, or text where one is text."""
    written(kind, tmp_path, pd.DataFrame({"id": ["007"], "n": pd.array([1], dtype="Int8"), "x": [1]}), mode="append")
    more = pd.DataFrame({"id": ["NA"], "n": pd.array([None], dtype="Int8"), "x": [2.5]})
    path = written(kind, tmp_path, more, mode="append", run="cdef01234567")
    back = rows_of(path)

    assert back.id.tolist() == ["007", "NA"]
    assert str(back.n.dtype) == "Int8"
    assert back.x.tolist() == [1.0, 2.5]


@pytest.mark.parametrize("kind", SINKS)
def test_a_batch_that_was_taken_back_leaves_no_note(kind, tmp_path):
    """The step was mended and returns another type: that is the column's."""
    sink = SINKS[kind](tmp_path / f"rows.{kind}")
    sink.open(RUN)
    sink.deliver(pd.DataFrame({"v": pd.array([1], dtype="Int16")}), Delivery(RUN, 0))
    mark = sink.savepoint()
    sink.deliver(pd.DataFrame({"v": ["text"]}), Delivery(RUN, 1))
    sink.rollback(mark)
    sink.deliver(pd.DataFrame({"v": pd.array([2], dtype="Int16")}), Delivery(RUN, 1))
    sink.close()

    assert str(rows_of(sink.file).v.dtype) == "Int16"


def test_columns_of_json_that_come_later_are_missing_before(tmp_path):
    """Whole numbers are float64 then, as in any file."""
    path = written("jsonl", tmp_path, pd.DataFrame({"a": ["NA"]}), pd.DataFrame({"a": ["b"], "n": [1]}))
    back = rows_of(path)

    assert back.a.tolist() == ["NA", "b"]
    assert back.n.isna().tolist() == [True, False]


@pytest.mark.parametrize("kind", SINKS)
def test_several_own_files_are_one_stream(kind, tmp_path):
    """By wildcards, with categories, years beyond nanoseconds and zeros in front, and from a row on."""
    frame = pd.DataFrame(
        {
            "id": ["007", "NA"],
            "c": pd.Categorical(["x", None], categories=["y", "x"]),
            "at": np.array(["0001-01-01", "9999-12-31"], "datetime64[s]"),
        }
    )
    for name in "ab":
        (tmp_path / name).mkdir()
        path = written(kind, tmp_path / name, frame)
        path.rename(tmp_path / f"{name}.{kind}")
        (tmp_path / name / f".rows.{kind}.mblab.json").rename(tmp_path / f".{name}.{kind}.mblab.json")
    source = replay(tmp_path / f"*.{kind}", rate=1)
    rest = pd.concat([block.rows for block in source.open({"row": 3})], ignore_index=True)

    pd.testing.assert_frame_equal(rows_of(tmp_path / f"*.{kind}"), pd.concat([frame, frame], ignore_index=True))
    assert rest.id.tolist() == ["NA"]


@pytest.mark.parametrize(
    ("first", "then"),
    [([0], ["a"]), (["a"], [1.5]), ([[1]], ["x"]), ([{"k": 1}], [2]), ([True], ["x"]), (["007"], [{"k": None}])],
)
def test_a_column_may_hold_other_things_in_another_batch(first, then, tmp_path):
    """JSON tells them apart, so they come back as they were; a CSV has text for all of them."""
    batches = [pd.DataFrame({"v": values, "n": [0]}) for values in (first, then)]
    back = {kind: rows_of(written(kind, tmp_path, *batches)).v.tolist() for kind in SINKS}

    assert back["jsonl"] == [*first, *then]
    assert all(isinstance(value, str) for value in back["csv"])

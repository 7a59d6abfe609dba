"""Files of every kind and number: JSONL, wildcards, loops, and sorting what does not fit into memory."""

import json
import pickle
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mblab import Lab
from mblab.errors import ColumnError, SettingError, SourceChanged, SourceError
from mblab.sources import replay
from mblab.tables import base as tables
from mblab.tables import jsonl, parquet, sorting

from .laws import examples

S = 10**9


@pytest.fixture
def small_pieces(monkeypatch):
    """Decode files four rows, or 64 bytes, at a time, and sort seven at a time."""
    monkeypatch.setattr(tables, "DECODE_ROWS", 4)
    monkeypatch.setattr(parquet, "DECODE_ROWS", 4)
    monkeypatch.setattr(sorting, "DECODE_ROWS", 4)
    monkeypatch.setattr(sorting, "RUN_ROWS", 7)
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 64)


def whole(source, blocks=None):
    """All rows with their arrival in ns."""
    found = list(islice(source.open(), blocks))
    rows = pd.concat([b.rows for b in found], ignore_index=True)
    return rows.assign(arrival_ns=np.concatenate([b.arrival_ns for b in found]))


def assert_resumable(source, blocks=None):
    """Every position, also through JSON, gives its block and all that follow again."""
    found = list(islice(source.open(), blocks))
    for i, block in enumerate(found):
        again = list(islice(source.open(json.loads(json.dumps(block.position))), len(found) - i))
        assert [a.arrival_ns.tolist() for a in again] == [b.arrival_ns.tolist() for b in found[i:]]
        for one, other in zip(again, found[i:], strict=True):
            pd.testing.assert_frame_equal(one.rows, other.rows)


# JSONL


def jsonl_file(folder, *lines, name="rows.jsonl"):
    path = folder / name
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


def test_jsonl_has_the_types_a_reader_expects(tmp_path):
    """Whole numbers, fractions, text, truth, times with and without zone; what is missing is null."""
    path = jsonl_file(
        tmp_path,
        '{"n": 1, "x": 1.5, "name": "a", "ok": true, "at": "2026-01-01T10:00:00.25", "z": "2026-01-01T10:00:00Z"}',
        '{"n": 2, "x": 2, "name": null, "ok": false, "at": "2026-01-01 10:00:01", "z": "2026-01-01T12:00:01+02:00"}',
        '{"name": "2026-01-01", "at": "2026-01-02", "n": 3, "x": 3, "ok": true, "z": "2026-01-01T10:00:02Z", "e": 1}',
    )
    rows = whole(replay(path, arrival="z"))

    assert {c: str(t) for c, t in rows.dtypes.items()} == {
        "n": "int64", "x": "float64", "name": "str", "ok": "bool", "at": "datetime64[ns]", "z": "datetime64[ns, UTC]",
        "e": "float64", "arrival_ns": "int64",
    }  # fmt: skip
    assert rows["arrival_ns"].tolist() == [0, S, 2 * S]
    assert rows["name"].fillna("-").tolist() == ["a", "-", "2026-01-01"]
    assert rows["e"].tolist()[2] == 1
    assert str(rows["at"].iloc[2]) == "2026-01-02 00:00:00"


@pytest.mark.parametrize(
    ("first", "last", "dtype"),
    [
        ("1", "2", "int64"),
        ("1", "2.5", "float64"),
        ("1", "null", "float64"),
        ("null", "7", "float64"),
        ("true", "false", "bool"),
        ("true", "null", "object"),
        ('"a"', "null", "str"),
        ("null", '"a"', "str"),
        ("null", "null", "object"),
        ('"2026-01-01"', '"2026-01-02T10:00:00.5"', "datetime64[ns]"),
        ('"2026-01-01"', '"2026-01-02T10:00:00Z"', "str"),
        ('"2026-01-01"', '"tomorrow"', "str"),
        ('"2026-01-01T00:00:00Z"', '"2026-01-02T10:00:00.5+01:00"', "datetime64[ns, UTC]"),
        ('"1"', '"2"', "str"),
        ("9223372036854775807", "1", "int64"),
        ("1", "9223372036854775808", "float64"),
    ],
)
def test_a_jsonl_column_has_the_one_dtype_that_fits_all_of_it(first, last, dtype, tmp_path, small_pieces):
    """Also when only the last of many lines tells: the reader sees 64 bytes at a time."""
    lines = [f'{{"t": {i}, "v": {first}}}' for i in range(20)]
    source = replay(jsonl_file(tmp_path, *lines, f'{{"t": 20, "v": {last}}}'), arrival="t")

    assert {str(b.rows["v"].dtype) for b in source.open()} == {dtype}
    assert len(list(source.open())) == 6


def test_jsonl_is_read_on_from_any_row(tmp_path, small_pieces):
    """A column that appears late is null before; blank lines and a missing last newline do not count."""
    path = tmp_path / "rows.ndjson"
    lines = [f'{{"t": {i}}}' for i in range(19)] + ["", '{"late": "x", "t": 20}']
    path.write_text("\n".join(lines))
    source = replay(path, arrival="t")

    assert whole(source)["t"].tolist() == [*range(19), 20]
    assert whole(source)["late"].tolist()[-1] == "x"
    assert_resumable(source)


json_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)


@examples(60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "i": st.integers(-(2**63), 2**63 - 1),
                "x": st.floats(allow_nan=False, allow_infinity=False),
                "s": st.text(),
            },
            optional={"b": st.booleans()},
        ),
        min_size=1,
        max_size=30,
    )
)
def test_what_json_wrote_is_read_as_it_was(tmp_path_factory, rows):
    """Numbers to the last bit, any text."""
    path = tmp_path_factory.mktemp("j") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8", newline="\n")
    got = whole(replay(path, rate=1))

    assert got["i"].tolist() == [row["i"] for row in rows]
    assert got["x"].tolist() == [row["x"] for row in rows]
    if got["s"].dtype == "str":  # text that is a time throughout becomes one
        assert got["s"].tolist() == [row["s"] for row in rows]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"t": 3, "v": {"a": 1}}', "line 8, has a nested value in column 'v': {'a': 1}; flatten it"),
        ('{"t": 3, "v": [1]}', "line 8, has a nested value in column 'v': [1]; flatten it"),
        (
            '{"t": 3, "v": "x"}',
            "line 8, has text in column 'v', which holds numbers before: 'x'; a column must hold one kind",
        ),
        ('{"t": 3, "v": true}', "line 8, has true or false in column 'v', which holds numbers before"),
        ('{"t": 3, "v": ', "line 8, is no JSON"),
        ("t,v", "line 8, is no JSON (Expecting value: line 1 column 1 (char 0)): 't,v'"),
        ("[1, 2]", "line 8, must be one JSON object, got [1, 2]"),
        ("7", "line 8, must be one JSON object, got 7"),
    ],
)
@pytest.mark.parametrize("blocks", [64, 1 << 23])
def test_a_bad_line_is_named(line, said, blocks, tmp_path, monkeypatch):
    """File, line, what is wrong, the way on; wherever the reader's blocks end."""
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", blocks)
    path = jsonl_file(tmp_path, *[f'{{"t": {i}, "v": {i}}}' for i in range(6)], "", line, '{"t": 9, "v": 9}')
    with pytest.raises(SourceError) as caught:
        whole(replay(path, arrival="t"))

    assert f"{path}, {said}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_jsonl_that_is_no_text_is_named(tmp_path):
    """Latin-1 is no UTF-8."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"t": 1}\n{"t": 2, "v": "\xe9"}\n')
    with pytest.raises(SourceError, match="line 2, must be UTF-8 text"):
        whole(replay(path, arrival="t"))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"{}"])
def test_a_jsonl_file_without_rows_or_columns(content, tmp_path):
    """Empty is said to be empty; an object without names has no column to replay by."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises((SourceError, ColumnError), match="no rows|no column"):
        replay(path, arrival="t")


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.csv.gz", "rows.csv.zst", "rows.ndjson.bz2"])
def test_a_file_that_is_not_packed_as_its_name_says_is_refused(name, tmp_path):
    """In a sentence."""
    (tmp_path / name).write_bytes(b"t\n1\n")
    with pytest.raises(SourceError, match=r"is not packed by (gzip|zstd|bz2), as its name says: it begins with b't"):
        replay(tmp_path / name, rate=1)


# Wildcards


def save(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)


ROWS = pd.DataFrame({"t": np.arange(30), "v": np.arange(30) / 4, "name": pd.Series(list("abcde") * 6, dtype="str")})


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_many_files_are_one_stream_in_order_of_their_first_arrivals(ending, tmp_path, small_pieces):
    """Whatever their names; pieces and positions do not show where a file ends."""
    for name, part in zip("cab", (ROWS[:11], ROWS[11:13], ROWS[13:]), strict=True):
        save(part, tmp_path / f"{name}.{ending}")
    save(ROWS, tmp_path / f"_{ending}.{ending}")
    source = replay(tmp_path / f"*.{ending}", arrival="t")

    pd.testing.assert_frame_equal(whole(source).drop(columns="arrival_ns"), ROWS)
    assert [len(b.rows) for b in source.open()] == [4] * 7 + [2]
    assert_resumable(source)


def test_with_a_rate_many_files_come_by_name_as_people_count(tmp_path):
    """part-2 before part-10."""
    for i in (10, 2, 1):
        save(pd.DataFrame({"part": [i]}), tmp_path / f"part-{i}.csv")

    assert whole(replay(f"{tmp_path}/part-*.csv", rate=1))["part"].tolist() == [1, 2, 10]
    assert whole(replay(f"{tmp_path}/**/*.csv", rate=1))["part"].tolist() == [1, 2, 10]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_column_has_one_dtype_over_all_files(ending, tmp_path):
    """A fraction or a null in the second file makes the numbers of the first one floats."""
    save(pd.DataFrame({"t": [1], "n": [1], "m": [1]}), tmp_path / f"a.{ending}")
    save(pd.DataFrame({"t": [2], "n": [1.5], "m": [None]}), tmp_path / f"b.{ending}")
    save(pd.DataFrame({"m": [3], "n": [1], "t": [3]}), tmp_path / f"c.{ending}")
    source = replay(tmp_path / f"*.{ending}", arrival="t")

    assert [{c: str(t) for c, t in b.rows.dtypes.items()} for b in source.open()] == [
        {"t": "int64", "n": "float64", "m": "float64"}
    ]
    assert whole(source)["n"].tolist() == [1, 1.5, 1]


def test_of_json_columns_may_be_missing(tmp_path, small_pieces):
    """Also from a whole file, and from the first one; they are null there."""
    jsonl_file(tmp_path, *[f'{{"t": {i}}}' for i in range(9)], name="a.jsonl")
    jsonl_file(tmp_path, '{"t": 9, "v": 1, "w": "x"}', '{"t": 10, "w": null}', name="b.jsonl")
    rows = whole(replay(tmp_path / "*.jsonl", arrival="t", columns=["v", "t", "w"]))

    assert list(rows.columns) == ["v", "t", "w", "arrival_ns"]
    assert rows["v"].fillna(-1).tolist() == [-1.0] * 9 + [1, -1]
    assert rows["w"].fillna("-").tolist() == ["-"] * 9 + ["x", "-"]
    assert_resumable(replay(tmp_path / "*.jsonl", arrival="t"))


def test_csv_files_of_different_kinds_become_text(tmp_path):
    """As within one file, and "007" stays what it was."""
    (tmp_path / "a.csv").write_text("t,v\n1,007\n")
    (tmp_path / "b.csv").write_text("t,v\n2,x\n")

    assert whole(replay(tmp_path / "*.csv", arrival="t"))["v"].tolist() == ["007", "x"]


@pytest.mark.parametrize(
    ("names", "other", "said"),
    [
        (
            "*.parquet",
            {"t": [2], "w": [1]},
            "b.parquet lacks columns ['v'] and has ['w'] besides; all files must have the same",
        ),
        ("*.parquet", {"t": [2], "v": ["x"]}, "b.parquet holds column 'v' as"),
        ("*.jsonl", {"t": [2], "v": ["x"]}, "b.jsonl holds column 'v' as string, but"),
        ("*.csv", {"t": [2], "w": [1]}, "b.csv lacks columns ['v']"),
    ],
)
def test_files_that_do_not_go_together_are_named(names, other, said, tmp_path):
    """Which file, which column."""
    ending = names[1:]
    save(pd.DataFrame({"t": [1], "v": [1]}), tmp_path / f"a{ending}")
    save(pd.DataFrame(other), tmp_path / f"b{ending}")
    with pytest.raises(SourceError) as caught:
        whole(replay(tmp_path / names, arrival="t"))

    assert said in str(caught.value)


def test_patterns_that_cannot_be_read_are_refused(tmp_path):
    """Nothing there, several kinds, all empty; a file that was changed since."""
    with pytest.raises(SourceError, match=r"matches no file"):
        replay(tmp_path / "*.parquet", rate=1)
    save(ROWS, tmp_path / "a.csv")
    save(ROWS, tmp_path / "b.jsonl")
    with pytest.raises(SourceError, match=r"several kinds, \['.csv', '.jsonl'\]; name one, such as '\*.csv'"):
        replay(tmp_path / "*", rate=1)
    with pytest.raises(ColumnError, match="did you mean 'name'"):
        replay(tmp_path / "*.csv", arrival="t", columns=["nam"])
    source = replay(tmp_path / "*.csv", arrival="t")
    save(ROWS[:3], tmp_path / "a.csv")
    with pytest.raises(SourceChanged, match="a.csv has changed since"):
        whole(source)
    save(ROWS[:0], tmp_path / "a.csv")
    with pytest.raises(SourceError, match="has no rows"):
        replay(tmp_path / "*.csv", arrival="t")


def test_files_that_overlap_say_so_and_can_be_sorted(tmp_path):
    """One after the other they step back; sorted, they interleave."""
    save(ROWS[::2], tmp_path / "a.csv")
    save(ROWS[1::2], tmp_path / "b.csv")
    with pytest.raises(SourceError, match="must not step back, but row 15.*pass sort=True"):
        whole(replay(tmp_path / "*.csv", arrival="t"))

    assert whole(replay(tmp_path / "*.csv", arrival="t", sort=True))["t"].tolist() == list(range(30))


# Sorting


@examples(60)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.sampled_from(["csv", "parquet", "jsonl"]))
def test_a_file_is_sorted_as_a_frame_would_be(tmp_path_factory, times, ending):
    """Stable, in runs of seven rows, resumable at every block."""
    patch = pytest.MonkeyPatch()
    for room, name, value in (
        (tables, "DECODE_ROWS", 4),
        (parquet, "DECODE_ROWS", 4),
        (sorting, "DECODE_ROWS", 3),
        (sorting, "RUN_ROWS", 7),
    ):
        patch.setattr(room, name, value)
    frame = pd.DataFrame({"t": times, "i": np.arange(len(times))})
    path = tmp_path_factory.mktemp("s") / f"rows.{ending}"
    save(frame, path)
    source = replay(path, arrival="t", sort=True)
    try:
        pd.testing.assert_frame_equal(
            whole(source).drop(columns="arrival_ns"), frame.sort_values("t", kind="stable", ignore_index=True)
        )
        assert_resumable(source)
    finally:
        patch.undo()


def test_a_sorted_file_keeps_its_dtypes_and_can_be_sent_elsewhere(tmp_path, small_pieces):
    """Categories, zones, strings and holes; a pickle carries no sorted rows."""
    frame = pd.DataFrame(
        {
            "t": pd.to_datetime(np.arange(20)[::-1], unit="s", utc=True),
            "kind": pd.Categorical(list("ba") * 10),
            "name": pd.Series(["x", None] * 10, dtype="str"),
            "n": pd.array([1, None] * 10, dtype="Int64"),
        }
    )
    save(frame, tmp_path / "rows.parquet")
    source = replay(tmp_path / "rows.parquet", arrival="t", sort=True)

    pd.testing.assert_frame_equal(
        whole(source).drop(columns="arrival_ns"),
        whole(replay(frame, arrival="t", sort=True)).drop(columns="arrival_ns"),
        check_categorical=False,
    )
    assert whole(pickle.loads(pickle.dumps(source)))["arrival_ns"].tolist() == [i * S for i in range(20)]


def test_sorted_runs_go_when_the_source_does(tmp_path, monkeypatch, small_pieces):
    """The temporary folder is removed, and a full disk is said to be full."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    save(ROWS[::-1], tmp_path / "rows.csv")
    source = replay(tmp_path / "rows.csv", arrival="t", sort=True)
    whole(source)

    assert list(tmp_path.glob("mblab-sort-*"))
    del source
    assert not list(tmp_path.glob("mblab-sort-*"))
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(SourceError, match=r"sort=True needs room .* No space left on device; make room, or set TMPDIR"):
        whole(replay(tmp_path / "rows.csv", arrival="t", sort=True))


# Loops


@pytest.mark.parametrize("kind", ["frame", "csv", "parquet", "jsonl"])
def test_a_loop_begins_again_one_gap_after_its_end(kind, tmp_path, small_pieces):
    """Arrivals, arrival times and event times move on together; nothing steps back."""
    # arrivals  0  1  3  4  | 5.33 → the mean gap is 4/3 s, and the times count in whole seconds: 6 s a round
    frame = pd.DataFrame(
        {"t": [100, 101, 103, 104], "e": pd.to_datetime([90, 95, 99, 98], unit="s"), "v": [1, 2, 3, 4]}
    )
    if kind != "frame":
        save(frame.assign(e=frame["e"].astype("str")) if kind == "jsonl" else frame, tmp_path / f"rows.{kind}")
    source = replay(frame if kind == "frame" else tmp_path / f"rows.{kind}", arrival="t", event_time="e", loop=True)
    rows = whole(source, 3)

    assert source.endless
    assert (rows["arrival_ns"] / S).tolist() == [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16]
    assert rows["t"].tolist() == [100, 101, 103, 104, 106, 107, 109, 110, 112, 113, 115, 116]
    assert rows["t"].dtype == "int64"
    assert rows["v"].tolist() == [1, 2, 3, 4] * 3
    assert (rows["e"].astype("datetime64[ns]").astype("int64") // S).tolist()[4:8] == [96, 101, 105, 104]
    assert rows["e"].dtype == whole(replay(source.data, arrival="t", event_time="e"))["e"].dtype
    assert_resumable(source, 4)


def test_a_loop_with_a_rate_goes_on_evenly(tmp_path):
    """Row i at i/rate for ever; event times move on by their own span and one gap."""
    frame = pd.DataFrame({"e": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]), "v": [1, 2, 3]})
    source = replay(frame, rate=10, event_time="e", loop=True)
    rows = whole(source, 3)

    assert rows["arrival_ns"].tolist() == [i * S // 10 for i in range(9)]
    assert rows["e"].dt.day.tolist() == list(range(1, 10))
    assert_resumable(source, 3)


def test_a_loop_ends_at_its_limit():
    """And is then not endless; the limit counts rows of all rounds."""
    source = replay(pd.DataFrame({"t": [0, 1, 2]}), arrival="t", loop=True, limit=7)
    run = Lab(source, interval="1s").run(clock="virtual", cost=0)

    assert not source.endless
    assert run.summary().rows == 7
    assert run.output["t"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(SettingError, match="never ends by itself"):
        Lab(replay(pd.DataFrame({"t": [0, 1, 2]}), arrival="t", loop=True)).run(clock="virtual")


def test_local_times_move_on_in_a_loop():
    """Zoned, naive with tz=, float seconds, timedeltas: the dtype stays."""
    for values in (
        pd.to_datetime([0, 1], unit="s", utc=True).tz_convert("Europe/Berlin"),
        pd.Series([0.5, 1.75]),
        pd.to_timedelta([0, 1], unit="s"),
    ):
        frame = pd.DataFrame({"t": values})
        rows = whole(replay(frame, arrival="t", loop=True), 2)
        assert rows["t"].dtype == frame["t"].dtype
        assert rows["t"].is_monotonic_increasing
        assert rows["t"].is_unique


def test_one_time_cannot_loop_without_a_rate():
    """How long would it wait?"""
    with pytest.raises(SourceError, match="only one time of arrival, so loop=True cannot tell.*give rate= instead"):
        whole(replay(pd.DataFrame({"t": [5, 5]}), arrival="t", loop=True), 2)
    assert whole(replay(pd.DataFrame({"t": [5]}), rate=2, loop=True), 3)["arrival_ns"].tolist() == [0, S // 2, S]


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_loop_must_be_true_or_false(value):
    """One sentence."""
    with pytest.raises(SettingError, match="loop must be True or False"):
        replay(ROWS, arrival="t", loop=value)


def test_a_loop_is_written_as_code():
    """And says so in words."""
    source = replay(ROWS, arrival="t", loop=True)

    assert source.code("rows") == "mblab.replay(rows, arrival='t', loop=True)"
    assert source.describe().endswith("over and over")

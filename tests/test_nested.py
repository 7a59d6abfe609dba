"""Values in values: lists and objects as cells, or as columns with flatten=True; columns that are not kept."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mblab
from mblab import ColumnError, Lab, SourceError, replay
from mblab.tables import jsonl

BIG = 2**53 + 1
ROWS = [
    {"ts": 1, "device": {"id": "a", "fw": {"v": BIG}}, "gps": [9.1, 48.2], "tags": ["x", 1, None]},
    {"ts": 2, "device": {"id": "b", "fw": {"v": None}, "on": True}, "gps": [], "tags": [{"k": [1]}]},
    {"ts": 3, "device": None, "gps": None},
    {"ts": 4, "device": {"id": "d"}, "gps": [1.5], "tags": []},
]


def first(source):
    return next(iter(source.open())).rows


def lines(tmp_path, *rows, name="rows.jsonl"):
    path = tmp_path / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def cells(column):
    return [None if not isinstance(v, list | dict) and pd.isna(v) else v for v in column]


READERS = {
    "replay": lambda path, **knobs: replay(path, arrival="ts", **knobs),
    "sorted": lambda path, **knobs: replay(path, arrival="ts", sort=True, **knobs),
    "glob": lambda path, **knobs: replay(path.parent / f"*{path.suffix}", arrival="ts", **knobs),
    "watch": lambda path, **knobs: mblab.watch(path.parent / f"*{path.suffix}", settle=0, **knobs),
}


@pytest.mark.parametrize("blocks", [64, 1 << 23])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "rows.json"])
@pytest.mark.parametrize("reader", READERS)
def test_nested_values_of_json_are_dicts_and_lists_as_they_are_written(reader, name, blocks, tmp_path, monkeypatch):
    """S26: also of several kinds in one list, which Arrow has no type for; wherever the reader's blocks end."""
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", blocks)
    found = first(READERS[reader](lines(tmp_path, *ROWS, name=name)))

    assert list(found.columns) == ["ts", "device", "gps", "tags"]
    for column in ("device", "gps", "tags"):
        assert cells(found[column]) == [row.get(column) for row in ROWS]


@pytest.mark.parametrize("blocks", [64, 1 << 23])
@pytest.mark.parametrize("reader", READERS)
def test_objects_of_json_are_columns_with_flatten(reader, blocks, tmp_path, monkeypatch):
    """S26: lists stay in a cell; types are found as for any column."""
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", blocks)
    found = first(READERS[reader](lines(tmp_path, *ROWS), flatten=True))

    assert sorted(found.columns) == ["device.fw.v", "device.id", "device.on", "gps", "tags", "ts"]
    assert cells(found["device.id"]) == ["a", "b", None, "d"]
    assert cells(found["device.fw.v"]) == [BIG, None, None, None]
    assert str(found["device.fw.v"].dtype) == "Int64"
    assert cells(found["gps"]) == [row.get("gps") for row in ROWS]


@pytest.mark.parametrize("reader", READERS)
def test_structs_of_parquet_are_columns_with_flatten(reader, tmp_path):
    """S26: level by level; lists and maps stay in a cell."""
    device = pa.struct([("id", pa.string()), ("fw", pa.struct([("v", pa.int64())]))])
    given = [r["device"] and {"id": r["device"]["id"], "fw": r["device"].get("fw")} for r in ROWS]
    table = {
        "ts": [1, 2, 3, 4],
        "device": pa.array(given, device),
        "kind": pa.array(
            [{"of": "p"}, {"of": "q"}, None, {"of": "p"}], pa.struct([("of", pa.dictionary(pa.int8(), pa.string()))])
        ),
        "m": pa.array([[("k", 1)], [], None, []], pa.map_(pa.string(), pa.int64())),
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    found = first(READERS[reader](tmp_path / "rows.parquet", flatten=True))

    assert list(found.columns) == ["ts", "device.id", "device.fw.v", "kind.of", "m"]
    assert cells(found["device.fw.v"]) == [BIG, None, None, None]
    assert cells(found["kind.of"]) == ["p", "q", None, "p"]
    assert cells(found["m"]) == [[("k", 1)], [], None, []]


FORMS = {
    "dicts": lambda: pd.DataFrame(ROWS),
    "arrow": lambda: pd.DataFrame(
        {
            "device": pd.array(
                [r["device"] for r in ROWS], dtype=pd.ArrowDtype(pa.array([r["device"] for r in ROWS]).type)
            )
        }
    ),
    "table": lambda: pa.table({"device": [r["device"] for r in ROWS]}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reader", ["replay", "poll"])
def test_objects_in_a_frame_are_columns_with_flatten(reader, form):
    """S26: replayed, or polled."""
    source = (
        replay(FORMS[form](), rate=1, flatten=True) if reader == "replay" else mblab.poll(FORMS[form], flatten=True)
    )
    found = first(source)

    assert {"device.id", "device.fw.v", "device.on"} <= {*found.columns}
    assert "device" not in found.columns
    assert cells(found["device.fw.v"]) == [BIG, None, None, None]
    assert cells(found["device.on"]) == [None, True, None, None]


def test_an_answer_may_lack_a_name_in_its_objects():
    """As a line of JSON may; a new one is refused, as any column is."""
    answers = iter([[{"d": {"id": 1, "v": 2}}], [{"d": {"id": 3}}], [{"d": {"id": 3, "new": 4}}]])
    lab = Lab(mblab.poll(lambda: next(answers), every="1ms", flatten=True), interval="50ms", name="answers")
    lab.batch(lambda batch: batch, name="same")
    with pytest.raises(SourceError, match="must return the same columns each time.*'d.new'"):
        lab.run("2s")

    assert cells(lab.last_run.output["d.v"]) == [2, None]


@pytest.mark.parametrize("form", ["json", "parquet", "frame"])
def test_two_columns_of_one_name_are_refused_where_flatten_makes_them(form, tmp_path):
    """A name that holds the point already."""
    rows = [{"ts": 1, "a.b": 1, "a": {"b": 2}}]
    data = {"json": tmp_path / "rows.jsonl", "parquet": tmp_path / "rows.parquet", "frame": pd.DataFrame(rows)}[form]
    if form == "json":
        lines(tmp_path, *rows)
    elif form == "parquet":
        pq.write_table(pa.table({"ts": [1], "a.b": [1], "a": [{"b": 2}]}), data)
    with pytest.raises(SourceError, match="twice|more than once"):
        first(replay(data, arrival="ts", flatten=True))


def test_a_name_may_hold_a_value_in_one_row_and_an_object_in_the_next_with_flatten(tmp_path):
    """They are two columns then; without it the line is named, with this way on."""
    path = lines(tmp_path, {"ts": 1, "v": 5}, {"ts": 2, "v": {"a": 6}})
    with pytest.raises(SourceError, match=r"line 2, has a nested value in column 'v': .* flatten it with flatten=True"):
        first(replay(path, arrival="ts"))
    found = first(replay(path, arrival="ts", flatten=True))

    assert cells(found["v"]) == [5, None]
    assert cells(found["v.a"]) == [None, 6]


def test_a_replay_that_flattens_says_so_in_its_call(tmp_path):
    """What a script makes again."""
    path = lines(tmp_path, *ROWS)

    assert eval(repr(replay(path, arrival="ts", flatten=True)), {"replay": replay}).kept[1:3] == [
        "device.id",
        "device.fw.v",
    ]
    assert "flatten=True" in repr(mblab.watch(tmp_path / "*.jsonl", flatten=True))
    assert "flatten=True" in repr(mblab.poll(lambda: None, flatten=True))


def test_a_recording_keeps_flat_columns(tmp_path):
    """And nested ones where they have one form."""
    path = lines(tmp_path, *[{"ts": i, "d": {"id": i}, "l": [i]} for i in range(3)])
    flat = replay(mblab.record(replay(path, arrival="ts", flatten=True), tmp_path / "flat.parquet"))
    deep = replay(mblab.record(replay(path, arrival="ts"), tmp_path / "deep.parquet"))

    assert first(flat)["d.id"].tolist() == [0, 1, 2]
    assert first(deep)["d"].tolist() == [{"id": 0}, {"id": 1}, {"id": 2}]
    assert first(deep)["l"].tolist() == [[0], [1], [2]]


# -- columns that are not kept -----------------------------------------------------------------------------------------

UNKEPT = {
    "nested": [{"ts": 1, "x": [1, "a"]}, {"ts": 2, "x": {"a": 1}}],
    "mixed": [{"ts": 1, "x": 1}, {"ts": 2, "x": "a"}],
    "mixed in an object": [{"ts": 1, "x": {"y": 1}}, {"ts": 2, "x": {"y": "a"}}],
    "deep": ['{"ts": 1, "x": ' + "[" * 500 + "]" * 500 + "}", '{"ts": 2}'],
    "digits": ['{"ts": 1, "x": ' + "7" * 5000 + "}", '{"ts": 2}'],
    "no unicode": ['{"ts": 1, "x": "\\ud800"}', '{"ts": 2}'],
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", UNKEPT)
def test_a_column_of_json_that_is_not_kept_refuses_no_file(kind, reader, tmp_path):
    """S26: whatever stands in it."""
    path = lines(tmp_path, *UNKEPT[kind])

    assert first(READERS[reader](path, columns=["ts"]))["ts"].tolist() == [1, 2]


@pytest.mark.parametrize("where", [1, 2])
def test_a_number_of_thousands_of_digits_names_its_line(where, tmp_path):
    """B13: as one that neither int64 nor float64 holds."""
    rows = ['{"t": 1, "v": 1}', '{"t": 2, "v": 2}']
    rows[where - 1] = '{"t": 3, "v": ' + "7" * 5_000 + "}"
    with pytest.raises(
        SourceError, match=f"line {where}, has 777.*… in column 'v', which neither int64 nor float64 holds"
    ):
        first(replay(lines(tmp_path, *rows), arrival="t"))


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("text", ['[{"t": 1}, {"t": 2}]', '[\n{"t": 1},\n{"t": 2}\n]', '  [\n  {"t": 1}, {"t": 2}]'])
def test_an_array_of_objects_is_refused_with_the_way_on_however_it_is_broken(text, name, tmp_path):
    """B06: and the way works."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SourceError, match=r"replay pd.read_json\(path\)"):
        replay(path, arrival="t")

    assert len(first(replay(pd.read_json(path), arrival="t"))) == 2


def test_an_object_over_several_lines_is_told_so(tmp_path):
    """As an editor makes it."""
    with pytest.raises(SourceError, match="line 1, is no JSON .*an object must stand on one line"):
        replay(lines(tmp_path, '{\n  "t": 1\n}', name="rows.json"), arrival="t")


def test_a_column_of_json_may_be_nested_in_one_file_and_missing_in_the_next(tmp_path):
    """And of two kinds in two files it is refused by name."""
    lines(tmp_path, {"ts": 1, "v": [1, "a"]}, name="a.jsonl")
    lines(tmp_path, {"ts": 2}, name="b.jsonl")
    assert cells(first(replay(tmp_path / "*.jsonl", arrival="ts"))["v"]) == [[1, "a"], None]
    lines(tmp_path, {"ts": 3, "v": "text"}, name="c.jsonl")

    with pytest.raises(SourceError, match="c.jsonl holds column 'v' as string"):
        first(replay(tmp_path / "*.jsonl", arrival="ts"))
    assert len(first(replay(tmp_path / "*.jsonl", arrival="ts", columns=["ts"]))) == 3


def test_an_object_may_be_missing_from_all_of_a_file_with_flatten(tmp_path):
    """It leaves no column behind that is always null."""
    lines(tmp_path, {"ts": 1, "d": None}, name="a.jsonl")
    lines(tmp_path, {"ts": 2, "d": {"x": 5}}, name="b.jsonl")
    found = first(replay(tmp_path / "*.jsonl", arrival="ts", flatten=True))

    assert list(found.columns) == ["ts", "d.x"]
    assert cells(found["d.x"]) == [None, 5]


def test_a_column_is_asked_for_by_its_flat_name(tmp_path):
    """As arrival, in columns, and with a hint where it is missing."""
    path = lines(tmp_path, {"at": {"s": 1}, "v": 1}, {"at": {"s": 3}, "v": 2})
    source = replay(path, arrival="at.s", columns=["v"], flatten=True)

    assert next(source.open()).arrival_ns.tolist() == [0, 2_000_000_000]
    with pytest.raises(ColumnError, match=r"at\.s"):
        replay(path, arrival="at.t", flatten=True)


RECORDED = {
    "names that differ": [{"a": 1}, {"b": 2}, None],
    "kinds that differ": [[1, "x"], [], None],
    "objects in lists": [[{"a": 1}, {"b": [None]}], [{"a": "x"}], None],
    "one form": [{"a": [1]}, {"a": []}, None],
    "numbers": [[2**53 + 1, None], [1], None],
}


@pytest.mark.parametrize("kind", RECORDED)
@pytest.mark.parametrize("live", [False, True])
def test_a_recording_gives_nested_values_again_as_they_were(live, kind, tmp_path):
    """Also where Arrow would give every dict the names of all, or take no list of numbers and texts."""
    cells = RECORDED[kind]
    answers = iter([[{"t": i, "v": cell} for i, cell in enumerate(cells)]])
    frame = pd.DataFrame({"t": range(3), "v": pd.Series(cells, dtype=object)})
    source = mblab.poll(lambda: next(answers), every="1ms") if live else replay(frame, arrival="t")
    found = first(replay(mblab.record(source, tmp_path / "kept.parquet")))

    assert found["v"].tolist() == cells

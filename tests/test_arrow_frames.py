"""Frames that speak Arrow, whatever library they are of, and what Arrow and Parquet hold that pandas does not."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mblab
from mblab import BatchError, Lab, SettingError, SourceError, replay
from mblab.errors import SettingTypeError

TABLE = pa.table({"a": [1, 2], "b": ["x", None]})
FAR = [dt.datetime(2026, 1, 1), dt.datetime(9999, 12, 31)]


class Stream:
    """A frame of a library that mblab does not know."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class Batch:
    """Rows of a library that has record batches only."""

    def __init__(self, batch):
        self.batch = batch

    def __arrow_c_array__(self, requested_schema=None):
        return self.batch.__arrow_c_array__(requested_schema)


FRAMES = {
    "table": lambda: TABLE,
    "batch": lambda: TABLE.to_batches()[0],
    "reader": lambda: pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches()),
    "stream": lambda: Stream(TABLE),
    "array": lambda: Batch(TABLE.to_batches()[0]),
}


def first(source):
    return next(iter(source.open())).rows


def values(rows):
    """Rows as plain values, None for a missing one."""
    return [
        tuple(None if not isinstance(v, list) and pd.isna(v) else v for v in row) for row in rows.to_numpy().tolist()
    ]


@pytest.mark.parametrize("form", FRAMES)
def test_a_frame_that_speaks_arrow_is_taken_wherever_a_frame_of_pandas_is(form):
    """B07: replayed, polled, returned by a step or made for a simulation."""
    expected = [(1, "x"), (2, None)]
    lab = Lab(replay(pd.DataFrame({"t": [1]}), rate=1), interval="9s", name="speaks")
    lab.batch(lambda batch: FRAMES[form](), name="give")
    made = mblab.simulate(lambda n, rng, times: FRAMES[form](), arrivals=mblab.arrivals.trace([0.0, 1.0]))

    assert values(first(replay(FRAMES[form](), rate=1))) == expected
    assert values(first(mblab.poll(FRAMES[form]))) == expected
    assert values(lab.run(clock="virtual", cost=0).output[["a", "b"]]) == expected
    assert values(first(made)[["a", "b"]]) == expected


@pytest.mark.parametrize("form", FRAMES)
def test_a_keyed_step_may_return_a_frame_that_speaks_arrow(form):
    """B07's sibling: once a key."""
    lab = Lab(replay(pd.DataFrame({"key": ["p", "q"]}), rate=1), interval="9s", name="speaks")
    lab.batch(key="key")(lambda batch, state: FRAMES[form]())

    assert len(lab.run(clock="virtual", cost=0).output) == 4


@pytest.mark.parametrize("column", [TABLE["a"], TABLE["a"].chunk(0), Stream(TABLE["a"]), pd.Series([1])])
def test_a_column_alone_is_no_frame(column):
    """It speaks Arrow too."""
    with pytest.raises(SettingTypeError, match="data must be a DataFrame"):
        replay(column, rate=1)
    if not isinstance(column, pd.Series):
        with pytest.raises(SourceError, match="must return rows"):
            first(mblab.poll(lambda: column))


def test_a_reader_that_breaks_off_is_told():
    """A cursor whose connection is gone, where it is replayed, polled or returned."""

    def batches():
        yield TABLE.to_batches()[0]
        raise OSError("connection lost")

    def broken():
        return pa.RecordBatchReader.from_batches(TABLE.schema, batches())

    lab = Lab(replay(pd.DataFrame({"t": [1]}), rate=1), interval="9s", name="speaks")
    lab.batch(lambda batch: broken(), name="give")
    for failing in (lambda: replay(broken(), rate=1), lambda: first(mblab.poll(broken))):
        with pytest.raises(SourceError, match="rows of RecordBatchReader cannot be read: .*connection lost"):
            failing()
    with pytest.raises(BatchError, match="give returned a RecordBatchReader that makes no frame: .*connection lost"):
        lab.run(clock="virtual", cost=0)


# -- an index of times without a name ---------------------------------------------------------------------------------

QUOTES = pd.DataFrame({"price": [1.0]}, index=pd.DatetimeIndex(["2026-01-01 10:00"]))


@pytest.mark.parametrize("rows", [QUOTES, pa.Table.from_pandas(QUOTES), QUOTES.set_index(pd.TimedeltaIndex(["1h"]))])
def test_an_index_of_times_without_a_name_is_not_dropped_without_a_word(rows):
    """B12: polled as replayed."""
    with pytest.raises(SourceError, match=r"index holds times but has no name.*rename_axis\('time'\)"):
        first(mblab.poll(lambda: rows))
    with pytest.raises(SettingError, match=r"index holds times but has no name.*rename_axis\('time'\)"):
        replay(rows)


def test_an_index_of_times_with_a_name_is_a_column_and_others_are_dropped():
    """B12: as the sentence says."""
    named = QUOTES.rename_axis("time")

    assert list(first(mblab.poll(lambda: named)).columns) == ["time", "price"]
    assert list(first(mblab.poll(lambda: QUOTES.reset_index(drop=True))).columns) == ["price"]
    assert list(first(mblab.poll(lambda: QUOTES.set_axis([7]))).columns) == ["price"]


@pytest.mark.parametrize("files", ["one", "many"])
def test_a_parquet_file_whose_index_of_times_has_no_name_says_so(files, tmp_path):
    """S25: and the way on works."""
    path = tmp_path / "prices.parquet"
    QUOTES.to_parquet(path)
    QUOTES.to_parquet(tmp_path / "quotes.parquet")
    with pytest.raises(SettingError, match="index in .*parquet holds times but has no name") as caught:
        replay(path if files == "one" else tmp_path / "*.parquet")
    advised = eval(str(caught.value).partition("name it, ")[2].rstrip("."), {"replay": replay, "pd": pd, "path": path})

    assert first(advised)["time"].tolist() == [pd.Timestamp("2026-01-01 10:00")]


def test_an_index_that_holds_no_times_is_no_hint(tmp_path):
    """S25's sibling: an unnamed index of text."""
    QUOTES.set_axis(["x"]).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(SettingError, match="columns that hold times"):
        replay(tmp_path / "x.parquet")


# -- INT96 ------------------------------------------------------------------------------------------------------------


def spark(tmp_path, **columns):
    table = pa.table({"t": range(len(next(iter(columns.values())))), **columns})
    pq.write_table(table, tmp_path / "spark.parquet", use_deprecated_int96_timestamps=True)
    return tmp_path / "spark.parquet"


READERS = {
    "replay": lambda path: replay(path, arrival="t"),
    "sorted": lambda path: replay(path, arrival="t", sort=True),
    "glob": lambda path: replay(path.parent / "*.parquet", arrival="t"),
    "watch": lambda path: mblab.watch(path.parent / "*.parquet"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("times", "dtype"),
    [
        (pa.array(FAR, pa.timestamp("us")), "datetime64[us]"),
        (
            pa.array([dt.datetime(1, 1, 1), None, dt.datetime(1600, 1, 1, 1, 2, 3, 4)], pa.timestamp("us")),
            "datetime64[us]",
        ),
        (pa.array([1, 1001, -1, None], pa.timestamp("ns")), "datetime64[ns]"),
    ],
    ids=["far", "early", "fine"],
)
def test_int96_is_read_in_a_unit_that_holds_it(times, dtype, reader, tmp_path):
    """S04: Spark writes 9999-12-31 for no end."""
    column = first(READERS[reader](spark(tmp_path, until=times)))["until"]

    assert column.dtype == dtype
    assert column.tolist() == [pd.NaT if v is None else pd.Timestamp(v) for v in times.to_pylist()] or times.null_count
    assert column.dropna().tolist() == [pd.Timestamp(v) for v in times.to_pylist() if v is not None]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([FAR, None, []], pa.list_(pa.timestamp("us"))),
        ([{"a": FAR[1]}, None, {"a": None}], pa.struct([("a", pa.timestamp("us"))])),
        ([[("k", FAR[1])], None, []], pa.map_(pa.string(), pa.timestamp("us"))),
    ],
    ids=["list", "struct", "map"],
)
def test_int96_inside_of_others_is_read_too(values, kind, tmp_path):
    """S04's siblings: a time in a list, a struct, a map."""
    assert first(replay(spark(tmp_path, v=pa.array(values, kind)), arrival="t"))["v"].tolist() == values


def test_int96_that_no_unit_holds_names_column_and_row_where_it_is_read(tmp_path):
    """S04: digits below a microsecond in one column, the year 9999 in another."""
    path = spark(tmp_path, far=pa.array(FAR, pa.timestamp("us")), fine=pa.array([0, 1], pa.timestamp("ns")))
    with pytest.raises(SourceError, match=r"INT96 time in column 'fine' that has digits below .* row 1 "):
        first(replay(path, arrival="t"))

    assert first(replay(path, arrival="t", columns=["far"]))["far"].tolist() == [pd.Timestamp(v) for v in FAR]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("reader", READERS)
def test_times_beyond_nanoseconds_are_kept_whatever_their_unit(unit, reader, tmp_path):
    """S04: also where they are no INT96, and inside of lists."""
    path = tmp_path / "rows.parquet"
    lists = pa.array([[v] for v in FAR], pa.list_(pa.timestamp(unit)))
    pq.write_table(pa.table({"t": [1, 2], "until": pa.array(FAR, pa.timestamp(unit)), "all": lists}), path)
    rows = first(READERS[reader](path))

    assert rows["until"].tolist() == [pd.Timestamp(v) for v in FAR]
    assert rows["all"].tolist() == [[v] for v in FAR]


# -- nested values of Arrow's ------------------------------------------------------------------------------------------

BIG = 2**53 + 1
NESTED = {
    "lists": ([["a"], [], None], pa.list_(pa.string())),
    "whole": ([[BIG, None], [1], None], pa.list_(pa.int64())),
    "large": ([[1, 2], [], None], pa.large_list(pa.int64())),
    "fixed": ([["a", "b"], ["c", None], None], pa.list_(pa.string(), 2)),
    "structs": (
        [{"id": BIG, "fw": "2"}, {"id": None, "fw": None}, None],
        pa.struct([("id", pa.int64()), ("fw", pa.string())]),
    ),
    "deep": ([[{"a": [1]}], [], None], pa.list_(pa.struct([("a", pa.list_(pa.int64()))]))),
    "maps": ([[("a", BIG), ("b", None)], [], None], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("noted", [False, True], ids=["plain", "noted by pandas"])
@pytest.mark.parametrize("kind", NESTED)
def test_nested_values_are_lists_and_dicts_exactly_as_they_are(kind, noted, tmp_path):
    """S18: pandas' own note of a column of Arrow's lists is not followed, nor do whole numbers become floats."""
    cells, arrow = NESTED[kind]
    path = tmp_path / "rows.parquet"
    if noted:
        pd.DataFrame({"t": [1, 2, 3], "v": pd.array(cells, dtype=pd.ArrowDtype(arrow))}).to_parquet(path)
    else:
        pq.write_table(pa.table({"t": [1, 2, 3], "v": pa.array(cells, arrow)}), path)
    for source in (
        replay(path, arrival="t"),
        replay(path, arrival="t", sort=True),
        replay(pq.read_table(path), arrival="t"),
    ):
        assert first(source)["v"].tolist() == cells
    assert first(mblab.watch(tmp_path / "*.parquet"))["v"].tolist() == cells
    assert first(mblab.poll(lambda: pq.read_table(path)))["v"].tolist() == cells


def test_a_list_of_floats_is_an_array(tmp_path):
    """An embedding takes an eighth of the room."""
    pq.write_table(pa.table({"v": pa.array([[1.5, None]], pa.list_(pa.float32()))}), tmp_path / "x.parquet")
    cell = first(replay(tmp_path / "x.parquet", rate=1))["v"][0]

    assert isinstance(cell, np.ndarray)
    assert cell.dtype == np.float32


@pytest.mark.parametrize(
    "dtype", [pa.decimal128(30, 2), pa.timestamp("us"), pa.time64("us"), pa.duration("ms"), pa.date32()]
)
def test_pandas_notes_that_pandas_cannot_read_stop_nobody(dtype, tmp_path):
    """S18's siblings: other types of Arrow's that pandas writes a note of."""
    cells = pa.array([1, None], pa.int32() if dtype == pa.date32() else pa.int64()).cast(dtype)
    pd.DataFrame({"v": pd.array(cells, dtype=pd.ArrowDtype(dtype))}).to_parquet(tmp_path / "x.parquet")

    assert first(replay(tmp_path / "x.parquet", rate=1))["v"].notna().tolist() == [True, False]


@pytest.mark.parametrize(
    "notes", [b"{nope", b"[]", b"{}", b'{"columns": [{"name": "t"}], "index_columns": [null]}', b'{"columns": 3}']
)
def test_damaged_notes_of_pandas_stop_nobody(notes, tmp_path):
    """S18's sibling: a file of a writer that got them wrong, and a table in memory."""
    table = pa.table({"t": [1], "v": [["a"]]}).replace_schema_metadata({b"pandas": notes})
    pq.write_table(table, tmp_path / "x.parquet")

    assert first(replay(tmp_path / "x.parquet", arrival="t")).to_dict("list") == {"t": [1], "v": [["a"]]}
    assert first(replay(table, arrival="t")).to_dict("list") == {"t": [1], "v": [["a"]]}


@pytest.mark.parametrize("kind", NESTED)
def test_a_saved_run_with_nested_values_is_loaded_again(kind, tmp_path):
    """S18: what a step returned."""
    cells, arrow = NESTED[kind]
    lab = Lab(replay(pd.DataFrame({"v": pd.array(cells, dtype=pd.ArrowDtype(arrow))}), rate=1), interval="9s", name="x")
    lab.batch(lambda batch: batch, name="same")
    run = lab.run(clock="virtual", cost=0)
    back = mblab.load_run(run.save(tmp_path / "kept")).output["v"]

    assert back.dtype == run.output["v"].dtype
    assert [None if cell is pd.NA else cell for cell in back.tolist()] == cells


DEEP = {
    **NESTED,
    "maps of lists": ([[("a", [1, None])], None, [("b", [])]], pa.map_(pa.string(), pa.list_(pa.int64()))),
    "lists of maps": ([[[("a", 1)], None], [], None], pa.list_(pa.map_(pa.string(), pa.int64()))),
    "maps in structs": (
        [{"m": [("a", True)]}, {"m": None}, None],
        pa.struct([("m", pa.map_(pa.string(), pa.bool_()))]),
    ),
    "maps of structs": ([[("a", {"b": 1})], [], None], pa.map_(pa.string(), pa.struct([("b", pa.int64())]))),
}


@pytest.mark.parametrize("way", ["parquet", "record"])
@pytest.mark.parametrize("kind", DEEP)
def test_nested_values_are_written_as_they_are_read(kind, way, tmp_path):
    """Impala's and Spark's maps too, however deep: a list of pairs is a map again."""
    cells, arrow = DEEP[kind]
    pq.write_table(pa.table({"t": [1, 2, 3], "v": pa.array(cells, arrow)}), tmp_path / "rows.parquet")
    source = replay(tmp_path / "rows.parquet", arrival="t")
    path = tmp_path / "out" / "*.parquet"
    if way == "record":
        path = mblab.record(source, tmp_path / "kept.parquet")
    else:
        lab = Lab(source, interval="9s", name="x")
        lab.batch(lambda batch: batch, name="same")
        lab.to(mblab.sinks.parquet(path.parent))
        lab.run(clock="virtual", cost=0)

    assert first(replay(path, rate=1))["v"].tolist() == cells


@pytest.mark.parametrize("cells", [[[], [("a", 1)]], [[("a", 1)], []], [[], [1]], [{"a": None}, {"a": 1}]], ids=str)
def test_a_batch_of_empty_cells_settles_no_type(cells, tmp_path):
    """What is empty in one batch may be a list or a map in another."""
    rows = pd.DataFrame({"t": [1, 5], "v": cells})
    lab = Lab(replay(rows, arrival="t"), interval="1s", name="empty")
    lab.batch(lambda batch: batch, name="same")
    lab.to(mblab.sinks.parquet(tmp_path / "out"))
    lab.run(clock="virtual", cost=0)

    assert first(replay(tmp_path / "out" / "*.parquet", rate=1))["v"].tolist() == cells


# -- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ["0", "1", "2"])
@pytest.mark.parametrize("columns", [{"t": [], "v": []}, {}], ids=["columns", "none"])
def test_a_part_without_rows_settles_no_type(columns, empty, tmp_path):
    """B10: wherever it stands, and where its frame had no columns either."""
    for name in "012":
        rows = pd.DataFrame(columns) if name == empty else pd.DataFrame({"t": [int(name)], "v": ["x"]})
        rows.to_parquet(tmp_path / f"{name}.parquet")

    assert first(replay(tmp_path / "*.parquet", arrival="t"))["v"].tolist() == ["x", "x"]
    assert [v for b in mblab.watch(tmp_path / "*.parquet").open() for v in b.rows.get("v", [])] == ["x", "x"]


def test_a_column_that_is_not_kept_refuses_no_file(tmp_path):
    """Of two types in two files, of a type that pandas lacks, or twice in one."""
    zone = pa.array([0], pa.timestamp("us", "Mars/Phobos"))
    pq.write_table(
        pa.table([[1], [1], zone, [1], [2]], names=["t", "v", "zone", "twice", "twice"]), tmp_path / "a.parquet"
    )
    pq.write_table(
        pa.table([[2], ["x"], zone, [1], [2]], names=["t", "v", "zone", "twice", "twice"]), tmp_path / "b.parquet"
    )

    assert len(first(replay(tmp_path / "a.parquet", arrival="t", columns=["t", "v"]))) == 1
    assert len(first(replay(tmp_path / "*.parquet", arrival="t", columns=["t"]))) == 2
    assert [len(b.rows) for b in mblab.watch(tmp_path / "*.parquet", columns=["t"]).open()] == [1, 1]
    with pytest.raises(SourceError, match="b.parquet holds column 'v' as string"):
        replay(tmp_path / "*.parquet", arrival="t", columns=["v"]).open().__next__()


# -- a dict of values or columns, and rows as dicts: one rule for polls and steps ----------------------------------------


class Series:
    """A column of a library that mblab does not know."""

    def __array__(self, dtype=None, copy=None):
        return np.array([1, 2])


def polled(answer):
    return first(mblab.poll(lambda: answer))


def stepped(answer):
    lab = Lab(replay(pd.DataFrame({"t": [1]}), rate=1), interval="9s", name="gives")
    lab.batch(lambda batch: answer, name="give")
    return lab.run(clock="virtual", cost=0).output.drop(columns="batch_id")


@pytest.mark.parametrize("taken", [polled, stepped])
@pytest.mark.parametrize(
    ("answer", "rows"),
    [
        ({"a": np.float64(1.5), "b": np.int64(2)}, [{"a": 1.5, "b": 2}]),
        ({"a": np.array(1.5), "b": 2}, [{"a": 1.5, "b": 2}]),
        ({"a": 1, "tags": ["x", "y"], "d": {"k": 1}}, [{"a": 1, "tags": ["x", "y"], "d": {"k": 1}}]),
        ({"d": {"k": 1}, "e": {"k": 2}}, [{"d": {"k": 1}, "e": {"k": 2}}]),
        ({"a": pa.array([1, 2]), "b": pa.chunked_array([[3, 4]])}, [{"a": 1, "b": 3}, {"a": 2, "b": 4}]),
        ({"a": Series(), "b": (3, 4)}, [{"a": 1, "b": 3}, {"a": 2, "b": 4}]),
        ({"a": pd.Series([1, 2], index=[5, 6]), "b": pd.Series([3, 4])}, [{"a": 1, "b": 3}, {"a": 2, "b": 4}]),
        ([{"id": BIG, "v": 1}, {"id": None, "v": 2}], [{"id": BIG, "v": 1}, {"id": None, "v": 2}]),
        ({"id": [BIG, None]}, [{"id": BIG}, {"id": None}]),
        ([{"id": 2**64 - 1}, {"id": None}], [{"id": 2**64 - 1}, {"id": None}]),
    ],
)
def test_a_dict_is_taken_by_one_rule_where_it_is_polled_or_returned(answer, rows, taken):
    """S09: single values make a row, columns of any library a frame by place, and no null makes floats of large numbers."""
    found = taken(answer).astype(object)

    assert found.where(found.notna(), None).to_dict("records") == rows


@pytest.mark.parametrize("answer", [{"a": np.ones((2, 2)), "b": [1, 2]}, {"a": [1, 2], "b": [1]}])
def test_columns_that_make_no_frame_are_refused_in_a_sentence(answer):
    """Of two dimensions, or of different lengths."""
    with pytest.raises(SourceError, match="make no frame"):
        polled(answer)
    with pytest.raises(BatchError, match="make no frame|differ in length"):
        stepped(answer)


def test_large_numbers_of_a_keyed_step_are_kept_beside_nulls():
    """S09's sibling: the rows of all keys become one frame."""
    lab = Lab(replay(pd.DataFrame({"key": ["p", "q"]}), rate=1), interval="9s", name="keyed")
    lab.batch(key="key")(lambda batch, state: {"id": BIG if batch.key.iloc[0] == "p" else None})

    assert lab.run(clock="virtual", cost=0).output["id"].tolist() == [BIG, pd.NA]


def test_columns_with_an_index_of_times_are_not_stripped_of_it_where_they_are_polled():
    """B12's sibling: a dict of series."""
    with pytest.raises(SourceError, match="index holds times but has no name"):
        polled({"price": QUOTES["price"]})

    assert list(polled({"price": QUOTES.rename_axis("time")["price"]}).columns) == ["time", "price"]


@pytest.mark.parametrize("second", [{"id": None}, {"v": 1}, [{"id": 1}, {"id": None}]])
def test_large_numbers_are_kept_where_a_later_batch_has_none(second):
    """S09's sibling: in a run's output, and in a batch of the rows of several polls."""
    lab = Lab(replay(pd.DataFrame({"i": [0, 1]}), rate=1), interval="1s", name="later")
    lab.batch(lambda batch: {"id": BIG} if batch.i.iloc[0] == 0 else second, name="give")

    assert lab.run(clock="virtual", cost=0).output["id"].tolist()[0] == BIG


def test_large_numbers_of_one_poll_are_kept_beside_the_nulls_of_the_next():
    """In one batch."""
    answers = iter([[{"id": BIG}], [{"id": 1}, {"id": None}]])
    lab = Lab(mblab.poll(lambda: next(answers), every="1ms"), interval="300ms", name="polls")
    lab.batch(lambda batch: batch, name="same")
    run = lab.run("1s")

    assert run.output["id"].tolist() == [BIG, 1, pd.NA]

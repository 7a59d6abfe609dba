"""What real files and frames hold: each is read exactly as it is, or refused in one sentence, and never half read."""

import datetime as dt
import gzip
import json
import os
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mblab import Lab, sinks
from mblab.engine.record import record
from mblab.errors import MblabError, SettingError, SinkError, SourceChanged, SourceError
from mblab.sources import replay
from mblab.sources.live.poll import poll
from mblab.sources.live.watch import watch
from mblab.tables import base as tables
from mblab.tables import csv, jsonl, parquet

BIG = 2**53 + 1  # the first whole number that float64 cannot hold


def rows_of(data, **knobs):
    """All rows, put together."""
    return pd.concat([block.rows for block in replay(data, **knobs).open()], ignore_index=True)


def refusal(data, **knobs):
    """What is said, and that it is one sentence of mblab's own, without a traceback of others behind it."""
    with pytest.raises(MblabError) as caught:
        rows_of(data, **({} if "rate" in knobs or not knobs.get("arrival", "t") else {"arrival": "t"}) | knobs)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


def file(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Text that is not what its ending says


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", "t,v\n1,é\n".encode("utf-16-le"), "is UTF-16 or UTF-32 text"),
        ("rows.jsonl", '{"t": 1}\n'.encode("utf-16"), "is UTF-16 text"),
        ("rows.csv", "t,v\n1,e\n2,é\n".encode("latin-1"), "line 3, must be UTF-8 text, but is not in column 'v'"),
        ("rows.csv", "t,é\n1,e\n".encode("latin-1"), "line 1, must be UTF-8 text, but is not in the header"),
        ("rows.csv", gzip.compress(b"t,v\n1,2\n", mtime=0), "is packed by gzip; unpack it first"),
        ("rows.jsonl", b"PK\x03\x04rest", "is packed by zip"),
        ("rows.csv", b"\x28\xb5\x2f\xfdrest", "is packed by zstd"),
        ("rows.csv", b"PAR1rest", "is a Parquet file; let its name end in .parquet"),
        ("rows.parquet", b"t,v\n1,2\n", "is no Parquet file: it begins with b't,v"),
        ("rows.parquet", b"PAR1" + bytes(100), "breaks off: a Parquet file ends with a footer"),
        ("rows.parquet", b"", "is empty"),
        ("rows.csv", b"", "is empty: it has no rows, and names no columns"),
        ("rows.csv", b"\n\n\n", "has no rows: it must have a header"),
        ("rows.csv", b"t,v", "has no rows"),
        ("rows.csv", b"t,v\n", "has no rows to replay; it has the columns ['t', 'v']"),
        ("rows.jsonl", b"", "has no rows to replay"),
        ("rows.csv", b"t;v\n1;2\n", "its header 't;v' seems to use ';'; save it with commas, or replay pd.read_csv(path,"),
        ("rows.csv", b"t\tv\n1\t2\n", "sep='\\t'"),
        ("rows.csv", b"t,v,v\n1,2,3\n", "more than once; rename them"),
        ("rows.csv", b"t,v\n1,2,\n", "line 2, must have 2 values like the header, got 3"),
        ("rows.csv", b"# by hand\nt,v\n1,2\n", "line 2 seems to be the header; replay pd.read_csv(path, skiprows=1)"),
        ("rows.csv", b"t,v\n10:00:00,1\n", "add the day first"),
        ("rows.csv", b"t,v\n2026-01-01T00:00:00Z,1\n2026-01-01T00:00:01,2\n", "parse it first"),
    ],
)  # fmt: skip
def test_a_file_that_is_something_else_is_told_by_what_it_holds(name, content, said, tmp_path):
    """Which file, what it is, the way on; whatever its ending says."""
    path = file(tmp_path, name, content)
    message = refusal(path)

    assert said in message
    assert name in message or "column" in message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('t,v\n1,a\n2,"b\n3,c\n4,d\n', 3),
        ('t,v\n1,"x\ny"\n2,"b\n3,c', 4),
    ],
)
def test_a_quote_that_is_never_closed_swallows_no_rows(text, line, tmp_path):
    """Arrow takes all that follows for one value."""
    assert f"line {line}, opens a quote that is never closed" in refusal(file(tmp_path, "rows.csv", text))


@pytest.mark.parametrize("text", ['t,v\n1,a\n2,"b\nc"\n', 't,v\n1,a\n2,"b\nc"', 't,v\n1,a\n2,"b\nc"\r\n\n'])
def test_a_quoted_line_break_at_the_end_is_a_value(text, tmp_path):
    """The quote before the end tells it from one that is not closed."""
    assert rows_of(file(tmp_path, "rows.csv", text), arrival="t")["v"].tolist() == ["a", "b\nc"]


def test_a_row_too_long_to_parse_is_named(tmp_path, monkeypatch):
    """A quote opened early in a large file reads like one endless row."""
    monkeypatch.setattr(csv, "PARSE_BYTES", 1 << 10)
    path = file(tmp_path, "rows.csv", "t,v\n" + "1,a\n" * 500 + '2,"b\n' + "3,c\n" * 1000)

    assert "line 502, begins a row of more than" in refusal(path)


def test_latin_1_far_into_a_large_file_ends_with_its_line(tmp_path, monkeypatch):
    """The search for a type that fits comes to an end."""
    monkeypatch.setattr(csv, "PARSE_BYTES", 1 << 10)
    path = file(tmp_path, "rows.csv", b"t,v\n" + b"".join(b"%d,abc\n" % i for i in range(2000)) + b"2000,\xe9\n")

    assert "line 2002, must be UTF-8 text, but is not in column 'v'" in refusal(path)


@pytest.mark.parametrize(
    ("name", "content", "values"),
    [
        ("rows.csv", "\ufefft,v\n1,a\n", ["a"]),
        ("rows.jsonl", '\ufeff{"t": 1, "v": "a"}\n', ["a"]),
        ("rows.csv", "t,v\r\n1,a\r\n", ["a"]),
        ("rows.csv", "t,v\r1,a\r2,b\r", ["a", "b"]),
        ("rows.CSV", "t,v\n1,a\n2,b", ["a", "b"]),
        ("rows.jsonl", '{"t": 1, "v": "a"}\r\n{"t": 2, "v": "\\u0000b"}', ["a", "\0b"]),
        ("rows.csv", 't,v\n1,"a\n""b"", c"\n', ['a\n"b", c']),
        ("a[1] é 😀.csv", "t,v\n1,a\n", ["a"]),
    ],
)
def test_marks_and_line_ends_of_other_systems_are_no_part_of_a_value(name, content, values, tmp_path):
    """BOM, CRLF, CR, no line end at the end, quotes in quotes, wildcards in a name."""
    assert rows_of(file(tmp_path, name, content), arrival="t")["v"].tolist() == values


# JSON that takes the reader down, or that it misreads


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('null\n{"t": 1}\n', "line 1, must be one JSON object, got None"),
        ('{"t": 1}\n  null\n', "line 2, must be one JSON object"),
        ('{"t": 1, "v": ' + "[" * 100_000 + "]" * 100_000 + "}\n", "line 1, holds values that are nested too deeply"),
        ('{"v": ' * 100_000 + "1" + "}" * 100_000 + "\n", "line 1, holds values that are nested too deeply"),
        ('{"t": 1, "v": 1, "v": 2}\n', "line 1, has column 'v' twice"),
        ('{"t": 1, "v": "\\ud800"}\n', "line 1, has text in column 'v' that is no Unicode"),
        ('{\n "t": 1\n}\n', "line 1, is no JSON"),
        ('[{"t": 1},\n{"t": 2}]\n', "line 1, is no JSON"),
        ('{"t": 1}\n{"t": 2, "v', "line 2, is no JSON"),
        ('{"t": 1, "v": 18446744073709551615}\n', "line 1, has 18446744073709551615 in column 'v'"),
    ],
)
def test_json_that_is_no_table_is_refused_before_it_can_do_harm(text, said, tmp_path):
    """In a process of its own, for Arrow ends the process on some of these."""
    path = file(tmp_path, "rows.jsonl", text)
    code = (
        "import sys, mblab\n"
        "try:\n    list(mblab.replay(sys.argv[1], arrival='t').open())\n"
        "except mblab.errors.SourceError as error:\n    print(error)"
    )
    if text.startswith(("null", '{"v": {"v"', '{"t": 1, "v": [[')):
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    assert said in refusal(path)


def test_brackets_in_text_are_text(tmp_path):
    """Thousands of them; only those outside quotes nest."""
    text = "[{" * 5000 + '\\"['
    path = file(tmp_path, "rows.jsonl", json.dumps({"t": 1, "v": text}) + "\n" + json.dumps({"t": 2, "v": "]"}) + "\n")

    assert rows_of(path, arrival="t")["v"].tolist() == [text, "]"]


def test_objects_without_names_are_no_rows(tmp_path):
    """A row has at least one column."""
    assert "has no columns" in refusal(file(tmp_path, "rows.jsonl", "{}\n{}\n"), rate=1)
    assert "has no columns" in refusal(pd.DataFrame(index=range(3)), rate=1)


# Numbers that float64 would change


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize("late", [False, True])
def test_whole_numbers_stay_whole_beside_nulls(name, late, tmp_path, monkeypatch):
    """Ids beyond 2**53 are kept as Int64; smaller numbers are float64, as ever; also when the last row tells."""
    for room, constant, value in (
        (tables, "DECODE_ROWS", 50), (parquet, "DECODE_ROWS", 50), (csv, "PARSE_BYTES", 256), (jsonl, "BLOCK_BYTES", 256)
    ):  # fmt: skip
        monkeypatch.setattr(room, constant, value)
    ids = [7] * 200 + [None, BIG, -BIG]
    ids = ids if late else ids[::-1]
    path = tmp_path / name
    if name.endswith("csv"):
        path.write_text(
            "t,id,n\n" + "".join(f"{i},{'' if v is None else v},{i % 2 or ''}\n" for i, v in enumerate(ids))
        )
    elif name.endswith("jsonl"):
        path.write_text("".join(json.dumps({"t": i, "id": v, "n": i % 2 or None}) + "\n" for i, v in enumerate(ids)))
    else:
        table = {"t": range(len(ids)), "id": ids, "n": [i % 2 or None for i in range(len(ids))]}
        pq.write_table(pa.table({c: pa.array(v, pa.int64()) for c, v in table.items()}), path, row_group_size=60)
    blocks = list(replay(path, arrival="t").open())
    sorted_rows = rows_of(path, arrival="t", sort=True)

    assert {str(b.rows["id"].dtype) for b in blocks} == {"Int64"}
    assert {str(b.rows["n"].dtype) for b in blocks} == {"float64"}
    assert [None if pd.isna(v) else int(v) for b in blocks for v in b.rows["id"]] == ids
    assert [None if pd.isna(v) else int(v) for v in sorted_rows["id"]] == ids


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (["18446744073709551615", "1"], "uint64", [2**64 - 1, 1]),
        (["18446744073709551615", "-1"], "str", ["18446744073709551615", "-1"]),
        (["123456789012345678901234567890", "007"], "str", ["123456789012345678901234567890", "007"]),
        (["12345678901234567000", "1"], "float64", [1.2345678901234567e19, 1.0]),  # as JavaScript writes a float
        (["18446744073709551615", "0.5"], "float64", [2.0**64, 0.5]),  # a measurement
        (["1e300", "inf"], "float64", [1e300, np.inf]),
    ],
)
def test_digits_of_a_csv_that_no_float_holds_are_kept(values, dtype, expected, tmp_path):
    """Hashes and account numbers: unsigned if they fit, else text."""
    rows = rows_of(file(tmp_path, "rows.csv", "v\n" + "\n".join(values) + "\n"), rate=1)

    assert str(rows["v"].dtype) == dtype
    assert rows["v"].tolist() == expected


def test_files_that_cannot_share_a_type_without_loss_name_the_column(tmp_path):
    """Large whole numbers in one, fractions in the next."""
    pq.write_table(pa.table({"t": [1], "v": [BIG]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"t": [2], "v": [0.5]}), tmp_path / "b.parquet")

    assert "a.parquet holds column 'v' as int64" in refusal(tmp_path / "*.parquet")


# Parquet


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([Decimal("1.10"), None], pa.decimal128(10, 2), [Decimal("1.10"), None]),
        ([[1, 2], []], pa.list_(pa.int64()), [[1, 2], []]),
        ([{"a": 1}, {"a": 2}], pa.struct([("a", pa.int64())]), [{"a": 1}, {"a": 2}]),
        ([[("a", 1)], []], pa.map_(pa.string(), pa.int64()), [[("a", 1)], []]),
        (["a", "b"], pa.large_string(), ["a", "b"]),
        (["a", "b"], pa.string_view(), ["a", "b"]),
        (["a", "b"], pa.dictionary(pa.int8(), pa.string()), ["a", "b"]),
        ([b"a", b"\xff"], pa.binary(), [b"a", b"\xff"]),
        ([2**64 - 1, 0], pa.uint64(), [2**64 - 1, 0]),
        ([True, None], pa.bool_(), [True, None]),
        ([None, None], pa.null(), [None, None]),
        ([dt.datetime(9999, 1, 1)] * 2, pa.timestamp("us"), [pd.Timestamp("9999-01-01")] * 2),
        ([dt.time(10), None], pa.time64("us"), [dt.time(10), None]),
    ],
)
@pytest.mark.parametrize("sort", [False, True])
def test_every_kind_of_parquet_column_is_kept(values, kind, expected, sort, tmp_path):
    """Also through a sort."""
    times = [2, 1] if sort else [1, 2]
    pq.write_table(
        pa.table({"t": times, "a.b 😀": pa.array(values, kind), "__arrival": [1, 2]}), tmp_path / "x.parquet"
    )
    got = rows_of(tmp_path / "x.parquet", arrival="t", sort=sort)["a.b 😀"]
    got = [v.tolist() if isinstance(v, np.ndarray) else v for v in got]

    assert (got[::-1] if sort else got) == expected


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["2026-01-01"]).dictionary_encode(), "got '2026-01-01' in row 0; parse it first"),
        (pa.array([Decimal("1.5")]), "make them floats first"),
        (pa.array([dt.time(10)]), "add the day first"),
        (pa.array([2**63 + 1], pa.uint64()), "within 146 years"),
        (pa.array([0], pa.timestamp("us", "Mars/Phobos")), "column 't' is timestamp[us, tz=Mars/Phobos], which pandas"),
        (pa.array([dt.datetime(9999, 1, 1)]), "1678 to 2261"),
        (pa.array([[1]]), "must hold times or numbers"),
    ],
)
def test_a_parquet_column_that_holds_no_times_is_refused(column, said, tmp_path):
    """Column, value, and a way to make times of it."""
    pq.write_table(pa.table({"t": column}), tmp_path / "x.parquet")

    assert said in refusal(tmp_path / "x.parquet")


def test_names_of_any_kind_are_text_in_a_file(tmp_path):
    """Numbers and levels of names come back as pandas wrote them into the file."""
    pd.DataFrame({0: [1, 2], 1: [3, 4]}).to_parquet(tmp_path / "x.parquet")
    pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])).to_parquet(
        tmp_path / "y.parquet"
    )

    assert list(rows_of(tmp_path / "x.parquet", arrival="0").columns) == ["0", "1"]
    assert list(rows_of(tmp_path / "y.parquet", rate=1).columns) == ["('a', 'b')", "('a', 'c')"]


def test_a_column_may_be_categories_in_one_file_and_text_in_the_next(tmp_path):
    """Writers choose by what they see."""
    pq.write_table(pa.table({"t": [1], "d": pa.array(["a"]).dictionary_encode()}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"t": [2], "d": ["b"]}), tmp_path / "b.parquet")

    assert rows_of(tmp_path / "*.parquet", arrival="t")["d"].tolist() == ["a", "b"]


def test_a_later_file_with_a_name_twice_is_refused(tmp_path):
    """Not only the first one."""
    file(tmp_path, "a.csv", "t,v\n1,2\n")
    file(tmp_path, "b.csv", "t,v,v\n2,1,2\n")

    assert "b.csv must name each column once" in refusal(tmp_path / "*.csv")


# Frames


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([pd.Timestamp("2026-01-01", tz="UTC"), pd.Timestamp("2026-01-02", tz="Europe/Berlin")], "utc=True"),
        ([pd.Timestamp("2026-01-01", tz="UTC"), pd.Timestamp("2026-01-02")], "utc=True"),
        ([pd.Timestamp("2026-01-01", tz="UTC"), "x"], "got 'x' in row 1"),
        ([1, "2"], "got '2' in row 1"),
        ([dt.time(9, 0), dt.time(10, 0)], "add the day first"),
        ([10**30, 10**31], "beyond 64 bits"),
        ([1 + 0j, 2 + 0j], "must hold times or numbers"),
        (pd.period_range("2026-01", periods=2, freq="M"), "dt.to_timestamp()"),
        (pd.interval_range(0, 2), "must hold times or numbers"),
        (np.array(["1700-01-01", "2200-01-01"], "datetime64[s]"), "must span less than 292 years"),
        (pd.array([1, None], dtype="Int64"), "1 null(s)"),
        ([0.0, -np.inf], "got -inf in row 1"),
    ],
)
def test_a_frame_whose_times_are_none_shows_the_first_that_is_not(column, said):
    """The value at fault, its row, and the line that mends it."""
    assert said in refusal(pd.DataFrame({"t": column}))


@pytest.mark.parametrize(
    "column",
    [
        pd.array([1, 2], dtype="int64[pyarrow]"),
        pd.array([dt.date(1970, 1, 1), dt.date(1970, 1, 2)], dtype=pd.ArrowDtype(pa.date32())),
        pd.array([1, 2], dtype=pd.ArrowDtype(pa.duration("s"))),
        pd.array([1, 2], dtype=pd.ArrowDtype(pa.timestamp("s", "UTC"))),
        pd.Categorical(pd.to_datetime([1, 2], unit="s")),
        pd.Series([1, 2.0], dtype=object),
        pd.arrays.SparseArray([1, 2]),
        np.array([1, 2], np.float16),
    ],
)
def test_times_are_times_however_pandas_holds_them(column):
    """By Arrow, as categories, as objects, sparsely; the rows keep their dtype."""
    frame = pd.DataFrame({"t": column})
    block = next(replay(frame, arrival="t").open())
    day = isinstance(frame["t"].iloc[0], dt.date) and not isinstance(frame["t"].iloc[0], dt.datetime)

    assert block.arrival_ns.tolist() == [0, (86400 if day else 1) * 10**9]
    assert block.rows["t"].dtype == frame["t"].dtype


def test_any_frame_that_speaks_arrow_can_be_replayed():
    """Polars, DuckDB, a reader of record batches: what matters is what it can be asked."""

    class Stranger:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table({"t": [1, 2], "v": ["a", "b"]}).__arrow_c_stream__(requested_schema)

    assert rows_of(Stranger(), arrival="t")["v"].tolist() == ["a", "b"]


def test_columns_in_levels_and_names_that_are_no_text_are_explained():
    """Before the run, and with the call that mends them."""
    assert "join them" in refusal(pd.DataFrame({("a", "b"): [1]}), rate=1)
    assert "its name is 0 (int) and must be text; use rows.rename(columns=str)" in refusal(
        pd.DataFrame({0: [1]}), arrival="0"
    )


def test_an_index_of_times_without_a_name_is_pointed_to():
    """It would be dropped, and the times with it."""
    with pytest.raises(SettingError, match="the index holds times but has no name"):
        replay(pd.DataFrame({"v": [1]}, index=pd.DatetimeIndex(["2026-01-01"])))


def test_a_speedup_that_nobody_would_live_to_see_is_refused():
    """Times beyond 64 bits of nanoseconds would wrap."""
    source = replay(pd.DataFrame({"t": pd.to_datetime(["2000-01-01", "2026-01-01"])}), arrival="t", speedup=1e-6)
    with pytest.raises(SettingError, match="speedup must let the rows arrive within 292 years"):
        Lab(source, interval="1h").run(clock="virtual", cost=0)


# Paths


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("https://example.com/x.csv", "must be a path on this machine, got the URL 'https://example.com/x.csv'"),
        ("s3://bucket/*.parquet", "got the URL"),
        ("file:///x.csv", "got the URL"),
        ("", "must name a file or folder, got ''"),
        ("a\0.csv", "must name a file or folder, got 'a\\x00.csv'"),
        ("a" * 5000 + ".csv", "cannot be looked up: File name too long"),
        ("~nobody-of-that-name/x.csv", "the home of a user this machine does not know"),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        replay,
        watch,
        lambda path: record(replay(pd.DataFrame({"a": [1]}), rate=1), path),
        sinks.csv,
        sinks.jsonl,
        sinks.sqlite,
        sinks.parquet,
    ],
    ids=["replay", "watch", "record", "csv", "jsonl", "sqlite", "parquet"],
)
def test_what_is_no_path_is_refused(use, data, said, tmp_path, monkeypatch):
    """Before anything is read or made; a URL is no folder of that name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError) as caught:
        use(data)

    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_refused(tmp_path):
    """A link to nothing, a folder, a pipe; none of them hangs."""
    (tmp_path / "link.csv").symlink_to("gone.csv")
    (tmp_path / "folder.parquet").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")

    assert "is a link to gone.csv, which does not exist" in refusal(tmp_path / "link.csv")
    assert "is a folder" in refusal(tmp_path / "folder.parquet")
    assert "is no file" in refusal(tmp_path / "pipe.csv")


def test_a_file_without_permission_is_refused(tmp_path):
    """Also for the administrator, who is somebody else for a moment."""
    path = file(tmp_path, "x.csv", "t\n1\n")
    path.chmod(0)
    user = os.geteuid()
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if user == 0:
            folder.chmod(folder.stat().st_mode | 0o055)
    try:
        if user == 0:
            os.seteuid(65534)
        said = refusal(path)
    finally:
        os.seteuid(user)

    assert "Permission denied" in said


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_a_file_that_is_written_to_while_it_is_read_gives_no_row_of_a_mixture(name, tmp_path, monkeypatch):
    """Also when the new content has as many rows."""
    for room in (tables, parquet):
        monkeypatch.setattr(room, "DECODE_ROWS", 10)
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 64)

    def save(value):
        frame = pd.DataFrame({"t": range(40), "v": value})
        if name.endswith("csv"):
            frame.to_csv(tmp_path / name, index=False)
        elif name.endswith("jsonl"):
            frame.to_json(tmp_path / name, orient="records", lines=True)
        else:
            frame.to_parquet(tmp_path / name)
        os.utime(tmp_path / name, ns=(0, value))

    save(1)
    blocks = replay(tmp_path / name, arrival="t").open()
    assert next(blocks).rows["v"].tolist() == [1] * 10
    save(2)
    with pytest.raises(SourceChanged, match="has changed since"):
        list(blocks)


def test_a_refusal_comes_before_the_run_or_ends_it_as_a_source_error(tmp_path):
    """A lab says the same as the source."""
    path = file(tmp_path, "rows.csv", 't,v\n1,"a\n2,b\n')
    with pytest.raises(SourceError, match="opens a quote that is never closed"):
        Lab(replay(path, arrival="t"), interval="1s").run(clock="virtual", cost=0)


# Live


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "t,t\n1,2\n", "more than once"),
        ("a.csv", 't,v\n1,"a\n2,b\n', "opens a quote that is never closed"),
        ("a.csv", "t;v\n1;2\n", "must part columns by commas"),
        ("a.csv", b"\x1f\x8b1234\n", "is packed by gzip"),
        ("a.jsonl", "null\n", "must be one JSON object"),
        ("a.jsonl", '{"t": ' + "[" * 10_000 + "]" * 10_000 + "}\n", "nested too deeply"),
    ],
)
def test_a_hostile_file_that_appears_halts_with_its_name(name, content, said, tmp_path):
    """As a replay of it would be refused."""
    path = file(tmp_path, name, content)
    with pytest.raises(SourceError) as caught:
        list(watch(tmp_path / "*", settle=0).open())

    assert said in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "must name each column once"),
        (pa.table([[1], [2]], names=["a", "a"]), "must name each column once"),
        (pd.DataFrame({("a", "b"): [1]}), "join them"),
        (pa.table({"t": pa.array([0], pa.timestamp("us", "Mars/Phobos"))}), "which pandas cannot hold"),
    ],
)
def test_rows_of_a_function_are_checked_like_a_file(rows, said):
    """Column names and types."""
    with pytest.raises(SourceError, match=said):
        list(poll(lambda: rows).open())


def test_columns_of_a_polled_frame_may_be_numbers():
    """As in a frame that is replayed."""
    assert next(poll(lambda: pd.DataFrame({0: [7]})).open()).rows[0].tolist() == [7]


def test_a_function_that_makes_no_rows_when_called_is_refused_at_once():
    """A coroutine or a generator would give the same nothing each time."""

    async def later():
        return {"a": [1]}

    def made():
        yield {"a": [1]}

    for fn in (later, made):
        with pytest.raises(SettingError, match="is async or a generator"):
            poll(fn)


def test_a_function_that_exits_halts_the_run_in_one_line():
    """SystemExit in a thread would end it without a word; an error of many lines is told in one."""

    def leave():
        raise SystemExit("bye\nbye")

    with pytest.raises(SourceError, match="SystemExit: bye bye"):
        Lab(poll(leave, every="10ms"), interval="20ms").run("10s")


# What cannot be written


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"a": [1, "x"]}), "column a"),
        (pd.DataFrame({"a": [10**30]}), "too large"),
        (pd.DataFrame({1: [1], "1": [2]}), "must name each column once"),
        (pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object)}), "surrogates not allowed"),
    ],
)
def test_rows_that_no_recording_holds_are_a_source_error(frame, said, tmp_path):
    """And no file is left."""
    with pytest.raises(SourceError, match=said) as caught:
        record(replay(frame, rate=1), tmp_path / "x.parquet")

    assert type(caught.value).__name__ in ("SourceError", "ColumnError")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_file_is_named(tmp_path):
    """The folder is there, and nothing can be made in it."""
    with pytest.raises(SourceError, match="cannot be written"):
        record(replay(pd.DataFrame({"a": [1]}), rate=1), "/proc/x.parquet")


@pytest.mark.parametrize(
    ("sink", "frame", "said"),
    [
        (
            sinks.sqlite,
            pd.DataFrame({f"c{i}": [1] for i in range(2000)}),
            "it has 2,000 columns and SQLite takes 1,999",
        ),
        (sinks.parquet, pd.DataFrame({"a": pd.arrays.SparseArray([1])}), "cannot take column 'a' of batch 0"),
        (sinks.parquet, pd.DataFrame({"a": [1, "x"]}), "cannot take column 'a' of batch 0"),
        (sinks.sqlite, pd.DataFrame({"a": [2**64]}), "an integer of SQLite has 64 bits"),
        (sinks.csv, pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object)}), "half a character"),
    ],
)
def test_rows_that_no_sink_of_a_kind_holds_name_the_column(sink, frame, said, tmp_path):
    """The batch stays planned, and the sentence says what to change in the step."""
    lab = Lab(replay(pd.DataFrame({"i": [0]}), rate=1), interval="1s")
    lab.batch(lambda batch: frame)
    lab.to(sink(tmp_path / "out"))
    with pytest.raises(SinkError, match=said):
        lab.run(clock="virtual", cost=0)

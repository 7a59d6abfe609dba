"""What is written in a text file is what is read: types of all of a column, dialects, encodings, packed files."""

import bz2
import gzip
import math
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import mblab
from mblab.errors import ColumnError, SettingError, SourceError
from mblab.sources import replay
from mblab.sources.replay import Replay
from mblab.tables import base, csv, jsonl
from mblab.tables.files import open_path
from mblab.tables.given import given_types


def written(folder, text, name="rows.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(data, **knobs):
    source = data if isinstance(data, Replay) else replay(data, **({"rate": 1} | knobs))
    return pd.concat([block.rows for block in source.open()], ignore_index=True)


def values_of(folder, values):
    """What a column of these texts becomes: dtype, and values."""
    column = read(written(folder, "v,w\n" + "".join(f"{value},x\n" for value in values)))["v"]
    return str(column.dtype), [None if pd.isna(value) else value for value in column]


# -- null words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (['"5"', '""', '"7"'], "float64", [5, None, 7]),
        (["5", '"NA"', "7"], "float64", [5, None, 7]),
        (['"0.5"', '"null"'], "float64", [0.5, None]),
        (['"true"', '""'], "object", [True, None]),
        (['"2026-01-01"', '""'], "datetime64[ms]", [pd.Timestamp("2026-01-01"), None]),
        (['"NA"', '"DE"', '""'], "str", ["NA", "DE", ""]),
        (["NA", '"DE"', ""], "str", [None, "DE", None]),
        (['""', '""'], "object", [None, None]),
        (['"9007199254740993"', '""'], "Int64", [2**53 + 1, None]),
        ([" 5", "6 "], "int64", [5, 6]),
        ([" 5", '"n/a"', " 0.5"], "float64", [5, None, 0.5]),
    ],
)
@pytest.mark.parametrize("block", [32, 1 << 22])
def test_a_null_word_in_quotes_is_null_unless_the_column_is_text(values, dtype, expected, block, tmp_path, monkeypatch):
    """S05: as pandas reads it, wherever Arrow's blocks end."""
    monkeypatch.setattr(csv, "PARSE_BYTES", block)

    assert values_of(tmp_path, values * 9) == (dtype, expected * 9)


# -- digits that a number does not keep ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["081109", "203615"], "str"),
        (["000309", "203615"], "str"),
        (["1", "-01"], "str"),
        (["00", "1"], "str"),
        (["01.5", "2.5"], "str"),
        (["0x1F", "1"], "str"),
        (["+4915112345678", "+4930123456"], "str"),
        (["+5", "6"], "str"),
        (["1_000", "2"], "str"),
        (["1225717802.1679841607", "1225717802.1679841699"], "str"),
        (["7.5", "1225717802.1679841607"], "str"),
        (["1225717802.1679841", "1.5"], "str"),
        (["0", "1", "-0"], "int64"),
        (["0", "0.5", "-0.25", "00012"[3:]], "float64"),
        (["+0.5", "-3"], "float64"),
        (["0.10", "1.", ".5", "1e-5", "0e0"], "float64"),
        (["1.000000000000000056e-01", "2.5"], "float64"),  # as NumPy's savetxt writes 0.1
        (["0.30000000000000004", "52.520006599999995"], "float64"),
        (["3.1415926535897931", "inf", "nan"], "float64"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_a_column_is_text_when_a_number_would_not_keep_what_is_written(values, dtype, order, tmp_path, monkeypatch):
    """S13, B13: dates, times and phone numbers, ids with a point; in either order, also a block apart."""
    monkeypatch.setattr(csv, "PARSE_BYTES", 64)
    values = values[::order]
    texts = [v for value in values for v in [value] * 9]
    found, kept = values_of(tmp_path, texts)

    assert found == dtype
    assert found != "str" or kept == texts


def test_floats_are_floats_however_many_digits_their_writer_gives(tmp_path):
    """The shortest digits, seventeen, NumPy's nineteen, and all of them."""
    numbers = np.random.default_rng(7).normal(size=400) * 10.0 ** np.arange(-20, 20).repeat(10)
    for form in (repr, "{:.17g}".format, "{:.18e}".format, "{:.20f}".format, "{:.3f}".format):
        texts = [form(float(number)) for number in numbers]
        dtype, values = values_of(tmp_path, texts)

        assert dtype == "float64"
        assert values == [float(text) for text in texts]


# -- one column, one type -----------------------------------------------------------------------------------------------

PARTS = {
    "digits and letters": (["001", "X02"], "str"),
    "whole and halves": (["1", "2.5"], "float64"),
    "days and hours": (["2026-01-01", "2026-01-01 10:00:00.5"], "datetime64[ns]"),
    "far and fine": (["9999-12-31 00:00:00", "2026-01-01 10:00:00.5"], "datetime64[us]"),
    "days and zones": (["2026-01-01", "2026-01-01T10:00:00Z"], "str"),
    "hours and zones": (["2026-01-01 10:00:00", "2026-01-01T10:00:00+02:00"], "str"),
    "ids beyond 63 bits": (["7", "18446744073709551615"], "uint64"),
    "ids below zero": (["-7", "18446744073709551615"], "str"),
    "truth by digits": (["0", "true"], "bool"),
    "truth and five": (["5", "true"], "str"),
    "nothing and one": (["", "1"], "float64"),
    "numbers and times": (["1", "2026-01-01"], "str"),
    "clock times": (["10:00", "11:30:15"], "object"),
}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("kind", PARTS)
def test_a_type_depends_neither_on_the_cut_nor_on_which_file_is_first(kind, order, tmp_path, monkeypatch):
    """S22, S06: one file, in one block or in many; two files."""
    texts, dtype = PARTS[kind]
    texts = texts[::order]
    one, other = (f"{text},x\n" * 40 for text in texts)
    whole = read(written(tmp_path, "v,w\n" + one + other, "whole.csv"))
    written(tmp_path, "v,w\n" + one, "part-1.csv")
    written(tmp_path, "v,w\n" + other, "part-2.csv")
    parts = read(tmp_path / "part-*.csv")
    monkeypatch.setattr(csv, "PARSE_BYTES", 64)
    cut = read(tmp_path / "whole.csv")

    assert str(whole["v"].dtype) == dtype
    pd.testing.assert_frame_equal(parts, whole)
    pd.testing.assert_frame_equal(cut, whole)
    assert dtype != "str" or whole["v"].tolist() == [text for text in texts for _ in range(40)]


def test_what_is_kept_of_a_small_file_changes_nothing(tmp_path, monkeypatch):
    """Read again or not; from any row on."""
    path = written(tmp_path, "t,v\n" + "".join(f"{i},{i / 4}\n" for i in range(1000)))
    monkeypatch.setattr(csv, "PARSE_BYTES", 256)
    small, large = open_path(path), csv.CsvTable(path, kept_bytes=0)
    for start in (0, 1, 999, 1000):
        one, other = list(small.read(["v", "t"], start)), list(large.read(["v", "t"], start))

        assert len(one) == len(other)
        assert all(a.equals(b) for a, b in zip(one, other, strict=True))


# -- given types ----------------------------------------------------------------------------------------------------------

GIVEN = {
    "text of digits": ("str", ["7", "8.0"], ["7", "8.0"]),
    "pandas' integers": ("Int64", ["7", ""], [7, None]),
    "small integers": ("int8", ["7", "-8"], [7, -8]),
    "floats of 32 bits": ("float32", ["0.5", ""], [0.5, math.nan]),
    "categories": ("category", ["a", "b", "a"], ["a", "b", "a"]),
    "times in ms": ("datetime64[ms]", ["2026-01-01", "2026-01-01 10:00"], None),
    "times of a zone": ("datetime64[us, Europe/Berlin]", ["2026-01-01T10:00:00+01:00"], None),
    "spans": ("timedelta64[ms]", ["0 days 00:00:01", "1 days 00:00:00.5"], None),
    "Arrow's": (pa.decimal128(6, 2), ["1.10", "2.25"], None),
    "Arrow's, by name": ("timestamp[us]", ["9999-12-31", ""], None),
    "months": ("period[M]", ["2026-01", "2026-02"], None),
    "leading zeros as numbers": ("int64", ["007", "08"], [7, 8]),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_a_column_has_the_type_that_is_given_for_it(kind, tmp_path):
    """dtypes of pandas, NumPy and Arrow, by name or themselves."""
    dtype, texts, expected = GIVEN[kind]
    path = written(tmp_path, "v,w\n" + "".join(f"{text},x\n" for text in texts))
    rows = pd.concat(open_path(path, given_types({"v": dtype})).read(["v"]))
    wanted = dtype if isinstance(dtype, str) and not dtype.startswith("timestamp") else None

    assert wanted is None or rows["v"].dtype == wanted
    assert expected is None or rows["v"].astype(object).where(rows["v"].notna(), None).tolist() == [
        None if value is None or value != value else value for value in expected
    ]


@pytest.mark.parametrize(
    ("dtype", "text", "said"),
    [
        ("int64", "x", r"line 4, has 'x' in column 'v', which must be int64.*types=\{'v': 'str'\}"),
        ("int64", "1.5", r"line 4, has '1.5' in column 'v', which must be int64"),
        ("int8", "300", r"line 4, has '300' in column 'v', which must be int8"),
        ("int64", "", r"column 'v' must be int64, but has nulls.*types=\{'v': 'Int64'\}"),
        ("bool", "maybe", r"line 4, has 'maybe' in column 'v', which must be bool"),
        ("datetime64[ns]", "9999-12-31", r"line 4, has '9999-12-31' in column 'v', which must be datetime64\[ns\]"),
        ("timedelta64[ns]", "soon", r"line 4, has 'soon'"),
    ],
)
def test_a_value_that_does_not_fit_the_given_type_is_named(dtype, text, said, tmp_path):
    """File, line, column, value, the way on."""
    good = {"bool": "true", "datetime64[ns]": "2026-01-01", "timedelta64[ns]": "1 days"}.get(dtype, "1")
    path = written(tmp_path, f"v,w\n{good},x\n{good},x\n{text},x\n")
    with pytest.raises(SourceError, match=said):
        list(open_path(path, given_types({"v": dtype})).read(["v"]))


@pytest.mark.parametrize("types", [{"v": "nonsense"}, {"v": 3.5}, ["str"], {3: "str"}])
def test_a_type_that_is_none_is_refused(types):
    """One sentence."""
    with pytest.raises(SettingError, match="types.* must be a d"):
        given_types(types)


# -- packed -----------------------------------------------------------------------------------------------------------------


def packed(data, ending):
    if ending == ".zst":
        return pa.compress(data, codec="zstd", asbytes=True)
    return gzip.compress(data) if ending == ".gz" else bz2.compress(data)


@pytest.mark.parametrize("ending", [".gz", ".zst", ".bz2"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "ndjson"])
def test_a_packed_text_file_is_read_like_the_plain_one(kind, ending, tmp_path, monkeypatch):
    """Also beside plain ones, and from any row on."""
    monkeypatch.setattr(base, "DECODE_ROWS", 100)
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 256)
    rows = pd.DataFrame({"t": range(550), "v": ["a", "b"] * 275})
    text = rows.to_csv(index=False) if kind == "csv" else rows.to_json(orient="records", lines=True)
    path = written(tmp_path, packed(text.encode(), ending), f"rows.{kind}{ending}")
    source = replay(path, arrival="t")

    pd.testing.assert_frame_equal(read(path, arrival="t", rate=None), read(written(tmp_path, text, f"plain.{kind}")))
    assert next(source.open({"row": 401})).rows["t"].iloc[0] == 401
    assert len(read(f"{tmp_path}/*.{kind}*")) == 1100


@pytest.mark.parametrize("ending", [".gz", ".zst", ".bz2"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_packed_file_that_breaks_off_is_refused_in_a_sentence(kind, ending, tmp_path):
    """Not read for as far as it goes."""
    text = "t\n" + "\n".join(map(str, range(9999))) if kind == "csv" else '{"t": 1}\n' * 9999
    data = packed(text.encode(), ending)
    path = written(tmp_path, data[: len(data) * 2 // 3], f"rows.{kind}{ending}")
    with pytest.raises(SourceError, match=r"rows.\w+.\w+ cannot be read"):
        read(path)


# -- dialects ---------------------------------------------------------------------------------------------------------------

GERMAN = "Zeit;Wert\n2026-01-01 00:00:00;1,5\n2026-01-01 00:00:01;2,5\n"


def way_in(error):
    """What the sentence says to call, for the path at fault."""
    return re.search(r"mblab\.sources\.csv\(path[^)]*\)", str(error))[0]


@pytest.mark.parametrize(
    ("text", "ways", "expected"),
    [
        (GERMAN, "sep=';', decimal=','", [1.5, 2.5]),
        ("Zeit;Wert, in kW\n2026-01-01;1,5\n2026-01-02;2,5\n", "sep=';', decimal=','", [1.5, 2.5]),
        ("t;v\n1;2\n", "sep=';'", [2]),
        ("t\tv\n1\t2.5\n2\t3\n", "sep='\\t'", [2.5, 3]),
        ("t|v\n1|a, b\n", "sep='|'", ["a, b"]),
        ("sep=;\nt;v\n1;2\n2;3\n", "sep=';'", [2, 3]),
        ('"sep=;"\nt;v\n1;2,5\n', "sep=';', decimal=','", [2.5]),
        ("sep=\t\nt\tv\n1\t2\n", "sep='\\t'", [2]),
    ],
)
def test_another_separator_is_named_with_the_lines_that_read_the_file(text, ways, expected, tmp_path):
    """S23, B03: pandas' line and ours, and both work."""
    path = written(tmp_path, text)
    with pytest.raises(SourceError, match="seems to use|Excel's note") as caught:
        replay(path, rate=1)
    rows = read(eval(way_in(caught.value), {"mblab": mblab, "path": path}))
    line = re.search(r"pd\.read_csv\(path[^)]*\)", str(caught.value))[0]

    assert ways in way_in(caught.value)
    assert rows.iloc[:, 1].tolist() == expected
    assert eval(line, {"pd": pd, "path": path}).shape == rows.shape


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252"])
@pytest.mark.parametrize("packing", ["", ".gz"])
def test_a_file_of_any_encoding_is_read_when_it_is_named_or_marked(encoding, packing, tmp_path):
    """UTF-8 and byte order marks are found, others are said."""
    data = "t;ä\n1;ü\n".encode(encoding)
    path = written(tmp_path, gzip.compress(data) if packing else data, f"rows.txt{packing}")
    named = encoding if encoding in ("utf-16-le", "latin-1", "cp1252") else None
    rows = read(mblab.sources.csv(path, sep=";", encoding=named))

    assert rows.to_dict("list") == {"t": [1], "ä": ["ü"]}
    if named:
        with pytest.raises(SourceError, match=r"mblab.sources.csv\(path, encoding="):
            read(mblab.sources.csv(path, sep=";"))
    if encoding == "latin-1":
        with pytest.raises(SourceError, match="must be text in utf-16, but is not; name another encoding="):
            read(mblab.sources.csv(path, sep=";", encoding="utf-16"))


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"sep": ";;"}, "sep must be one character"),
        ({"sep": ""}, "sep must be one character"),
        ({"sep": None}, "sep must be one character"),
        ({"sep": '"'}, "sep must be one character"),
        ({"decimal": "1"}, "decimal must be one character"),
        ({"decimal": ","}, "sep and decimal must differ"),
        ({"encoding": "klingon"}, "encoding must be one that Python knows"),
        ({"encoding": "base64"}, "encoding must be one that Python knows"),
        ({"encoding": 8}, "encoding must be the name of one"),
        ({"types": ["a"]}, "types must be a dict"),
    ],
)
def test_a_dialect_that_is_none_is_refused(knobs, said):
    """One sentence, at once."""
    with pytest.raises(SettingError, match=said):
        mblab.sources.csv("rows.csv", **knobs)


def test_a_csv_table_is_data_for_replay_watch_and_record(tmp_path):
    """Of one file, wildcards or a folder; and written as code."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 2):
        written(folder, GERMAN.replace("2026", f"202{number}"), f"{number}.txt")
    written(tmp_path, "no table", "README.md")
    for data in (folder, folder / "*.txt"):
        table = mblab.sources.csv(data, sep=";", decimal=",", types={"Wert": "float32"})
        source = replay(table, arrival="Zeit")
        live = mblab.watch(table, settle=0)
        recorded = replay(mblab.record(table, tmp_path / "rows.parquet"), arrival="Zeit")
        again = eval(source.code("data"), {"mblab": mblab, "data": data})

        assert again == source
        assert eval(live.code("data"), {"mblab": mblab, "data": data}).form == source.data == table
        for rows in (read(source, rate=None), read(recorded, rate=None), pd.concat(b.rows for b in live.open())):
            assert rows["Wert"].tolist() == [1.5, 2.5, 1.5, 2.5]
            assert str(rows["Wert"].dtype) == "float32"
    with pytest.raises(ColumnError, match="types='wert' is no column of the data.*did you mean 'Wert'"):
        replay(mblab.sources.csv(folder, sep=";", types={"wert": "str"}), rate=1)


@pytest.mark.slow
def test_a_script_reads_the_dialect_that_the_lab_read(tmp_path):
    """`--input` is the path, how it is written stays."""
    path = written(tmp_path, GERMAN)
    lab = mblab.Lab(replay(mblab.sources.csv(path, sep=";", decimal=","), arrival="Zeit"), name="german")
    lab.batch(total)
    lab.to(mblab.sinks.jsonl(tmp_path / "out.jsonl"))
    script = lab.export(tmp_path / "job.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert (
        '"total": 4.0' in (tmp_path / "out.jsonl").read_text() or '"total": 1.5' in (tmp_path / "out.jsonl").read_text()
    )


def total(batch):
    return {"total": batch["Wert"].sum()}


# -- a header -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1001,2026-01-01 00:00:00,5.5\n1002,2026-01-01 00:00:01,5.6\n",
        "AAPL,2026-01-01,5.5\nMSFT,2026-01-01,7\n".replace("7\n", "7.5\n"),
        "AAPL,189.5,100\nMSFT,5.25,7\n",
        "10:00:00,a\n10:00:01,b\n",
        "5\n6\n7\n",
        "5,7\n8,9\n",
        "0.25,0.5,0.125\n0.5,1.5,2.5\n",
    ],
)
def test_a_file_without_a_header_is_refused_with_the_way_on(text, tmp_path):
    """B01: no header names look like that."""
    path = written(tmp_path, text)
    with pytest.raises(SourceError, match=r"line 1, must be a header, but .* are values like those below") as caught:
        read(path)

    assert "pd.read_csv(path, header=None, names=[…])" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "country,2019,2020,2021\nDE,1,2,3\n",
        "0,1,2\n5,6,7\n",
        ",0,1\n0,5,6\n",
        "model,0.05,0.5,0.95\na,1.5,2.5,3.5\n",
        "2019,2020\n1,2\n",
        "Country,1/22/20,1/23/20\nDE,0,1\n",
        "2026-01-01,2026-01-02\n1,2\n",
        "t,v\n2026-01-01,1\n",
        "name\nvalue\n",
        "t,v\n",
    ],
)
def test_numbers_that_name_columns_are_names(text, tmp_path):
    """Years, quantiles, and what pandas calls columns without names."""
    assert open_path(written(tmp_path, text)).names == text.splitlines()[0].split(",")


# -- watched files ---------------------------------------------------------------------------------------------------------------


def watched(folder, *files, **knobs):
    """The rows of files that come one after the other."""
    poller = mblab.watch(folder / "*", settle=0, **knobs).poller()
    found = []
    for name, text in files:
        if isinstance(text, pd.DataFrame):
            text.to_parquet(folder / name)
        else:
            written(folder, text, name)
        for arrival in poller.poll():
            found += [rows for rows, _ in poller.read(arrival)]
    return found


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (("a.csv", "id,v\n001,1\n"), ("b.csv", "id,v\n002,3\n003,007\n"), "b.csv, line 3, has '007' in column 'v', which must be int64 as before"),
        (("a.csv", "v\n7\n"), ("b.csv", "v\n8\nX02\n"), r"b.csv, line 3, has 'X02' in column 'v'.*types=\{'v': 'str'\}"),
        (("a.csv", "v\ntrue\n"), ("b.csv", "v\nmaybe\n"), "b.csv, line 2, has 'maybe'"),
        (("a.csv", "v\n2026-01-01\n"), ("b.csv", "v\nsoon\n"), "b.csv, line 2, has 'soon'"),
        (("a.csv", "v\n1.5\n"), ("b.csv", "v\n2\n+49\n1225717802.1679841607\n"), "b.csv, line 4, has '1225717802.1679841607'"),
        (("a.jsonl", '{"v": 1}\n'), ("b.jsonl", '{"v": "1.5"}\n'), "b.jsonl has '1.5' in column 'v', which must be int64 as before"),
        (("a.jsonl", '{"v": "x"}\n'), ("b.jsonl", '{"v": 5}\n'), "b.jsonl has 5 in column 'v', which must be string as before"),
        (("a.parquet", pd.DataFrame({"v": [1]})), ("b.parquet", pd.DataFrame({"v": [True]})), "b.parquet has True in column 'v'"),
        (("a.parquet", pd.DataFrame({"v": [1]})), ("b.parquet", pd.DataFrame({"v": ["007"]})), "b.parquet has '007' in column 'v'"),
        (("a.csv", "v\n1\n"), ("b.jsonl", '{"v": "001"}\n'), "b.jsonl has '001' in column 'v', which must be int64 as before"),
        (("a.jsonl", '{"v": 1}\n'), ("b.csv", "v\nX\n"), "b.csv, line 2, has 'X' in column 'v'"),
        (("a.parquet", pd.DataFrame({"v": [1]})), ("b.csv", "v\n0.5\n0,5\n".replace(",", "/")), "b.csv, line 3, has '0/5' in column 'v'"),
    ],
)  # fmt: skip
def test_the_first_file_settles_the_types_of_a_watched_folder(one, other, said, tmp_path):
    """S06: of any formats; a later file that does not fit is named, with the way on."""
    with pytest.raises(SourceError, match=said):
        watched(tmp_path, one, other)


@pytest.mark.parametrize(
    ("files", "dtype", "expected"),
    [
        ([("a.csv", "v\n001\n"), ("b.csv", "v\n7\n")], "str", ["001", "7"]),
        ([("a.csv", "v\n1.5\n"), ("b.csv", "v\n2\n")], "float64", [1.5, 2]),
        ([("a.csv", "v\n1\n"), ("b.csv", "v\n2.5\n"), ("c.csv", "v\n3\n")], None, [1, 2.5, 3]),
        ([("a.parquet", pd.DataFrame({"v": [1]})), ("b.parquet", pd.DataFrame({"v": [2.5]}))], None, [1, 2.5]),
        ([("a.parquet", pd.DataFrame({"v": np.float32([0.5])})), ("b.parquet", pd.DataFrame({"v": [0.1]}))], None, [0.5, 0.1]),
        ([("a.jsonl", '{"v": 1}\n'), ("b.jsonl", '{"v": 2.5}\n')], None, [1, 2.5]),
        ([("a.csv", "v,w\n,1\n"), ("b.csv", "v,w\nx,1\n"), ("c.csv", "v,w\n7,1\n")], None, [None, "x", "7"]),
        ([("a.csv", "v\n"), ("b.csv", "v\nx\n"), ("c.csv", "v\n7\n")], "str", ["x", "7"]),
        ([("a.csv", "v,w\n1,1\n"), ("b.csv", "v,w\n,1\n")], None, [1, None]),
        ([("a.csv", "v\n2026-01-01\n"), ("b.csv", "v\n2026-01-01 10:00:00.5\n"), ("c.csv", "v\n2026-01-02\n")], None, [pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-01 10:00:00.5"), pd.Timestamp("2026-01-02")]),
        ([("a.csv", "v\n9999-12-31\n"), ("b.csv", "v\n2026-01-01\n")], None, None),
        ([("a.parquet", pd.DataFrame({"v": [1.5]})), ("b.csv", "v\n2\n"), ("c.jsonl", '{"v": 3}\n')], "float64", [1.5, 2, 3]),
        ([("a.jsonl", '{"v": "2026-01-01T00:00:00"}\n'), ("b.csv", "v\n2026-01-02\n")], "datetime64[ns]", None),
    ],
)  # fmt: skip
def test_a_later_file_that_fits_has_the_types_of_the_first(files, dtype, expected, tmp_path):
    """S06: text stays text, whole numbers are floats, a column without a value settles nothing."""
    found = watched(tmp_path, *files)
    values = [value for rows in found for value in rows["v"].astype(object).where(rows["v"].notna(), None)]

    assert dtype is None or {str(rows["v"].dtype) for rows in found} == {dtype}
    assert expected is None or values == expected


def test_types_are_named_for_a_watched_folder(tmp_path):
    """For those who know; also as code."""
    files = [("a.csv", "v,t\n1,2026-01-01\n"), ("b.csv", "v,t\nX02,2026-01-02\n")]
    found = watched(tmp_path, *files, types={"v": "str", "t": "datetime64[s]"})

    assert [rows["v"].tolist() for rows in found] == [["1"], ["X02"]]
    assert {str(rows["t"].dtype) for rows in found} == {"datetime64[s]"}
    assert "types={'v': 'str'}" in mblab.watch(tmp_path / "*.csv", types={"v": "str"}).code("input")
    with pytest.raises(ColumnError, match="types='w' is no column of the data"):
        watched(tmp_path, ("c.csv", "v,t\n1,2026-01-01\n"), types={"w": "str"})
    with pytest.raises(SettingError, match="types must be given once"):
        mblab.watch(mblab.sources.csv(tmp_path / "*.csv", types={"v": "str"}), types={"v": "str"})


@pytest.mark.parametrize("ending", [".gz", ".zst", ".bz2"])
def test_a_packed_file_is_watched_until_it_is_complete(ending, tmp_path):
    """Half of it is not read."""
    data = packed(("v\n" + "1\n" * 5000).encode(), ending)
    poller = mblab.watch(tmp_path / f"*.csv{ending}", settle=0).poller()
    path = written(tmp_path, data[:-12], f"a.csv{ending}")

    assert poller.poll() == []
    path.write_bytes(data)
    assert [len(rows) for arrival in poller.poll() for rows, _ in poller.read(arrival)] == [5000]


# -- cost ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [2, 40])
def test_a_file_is_gone_through_once_however_many_columns_move(columns, tmp_path, monkeypatch):
    """S22: half of the values of the last row make floats of all columns."""
    rows = "0," * (columns - 1) + "0\n"
    path = written(tmp_path, ",".join(f"s{i}" for i in range(columns)) + "\n" + rows * 400 + rows.replace("0", "0.5"))
    monkeypatch.setattr(csv, "PARSE_BYTES", 4096)
    opened, usual = [], csv.CsvTable._open
    monkeypatch.setattr(csv.CsvTable, "_open", lambda *a, **k: opened.append(a[2]) or usual(*a, **k))
    found = read(path)

    assert set(found.dtypes.astype(str)) == {"float64"}
    assert opened.count(4096) == 1

"""What is written in a text file is what is read: types of all of a column, dialects, encodings, packed files."""

import bz2
import gzip
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mblab.errors import SettingError, SourceError
from mblab.sources import replay
from mblab.tables import base, csv, jsonl
from mblab.tables.files import open_path
from mblab.tables.given import given_types


def written(folder, text, name="rows.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path, **knobs):
    return pd.concat([block.rows for block in replay(path, **({"rate": 1} | knobs)).open()], ignore_index=True)


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

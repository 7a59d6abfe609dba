"""Types that are named for columns: a value is kept as it is, or refused with column, value and the way on."""

import datetime as dt
import json
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import mblab
from mblab import SettingError, SourceError, replay
from mblab.tables.files import open_table
from mblab.tables.given import given_types

FORMS = ("csv", "jsonl", "parquet")


def written(folder, form, values):
    """A file with a column `t` of some values; in CSV as their text."""
    path = folder / f"rows.{form}"
    rows = pd.DataFrame({"n": range(len(values)), "t": values})
    if form == "csv":
        rows.to_csv(path, index=False)
    elif form == "parquet":
        rows.to_parquet(path)
    else:
        path.write_text("".join(json.dumps({"n": i, "t": v}) + "\n" for i, v in enumerate(values)))
    return path


def read(folder, form, values, kind):
    table = open_table(written(folder, form, values), given_types({"t": kind}))
    return pd.concat(table.read(["t"]))["t"]


DAYS = pd.CategoricalDtype(pd.to_datetime(["2026-01-01", "2026-01-02"]))
MONTHS = pd.CategoricalDtype(pd.period_range("2026-01", periods=2, freq="M"))
MISFITS = {
    "categories": (pd.CategoricalDtype(["a", "b"]), ["a", "c"]),
    "ordered categories": (pd.CategoricalDtype(["a", "b"], ordered=True), ["b", "c"]),
    "categories of numbers": (pd.CategoricalDtype([1, 2]), ["2", "3"]),
    "categories of small numbers": (pd.CategoricalDtype(np.array([1, 2], "int8")), ["1", "300"]),
    "categories of fractions": (pd.CategoricalDtype([1.5]), ["1.5", "2.5"]),
    "categories of truth": (pd.CategoricalDtype([True]), ["true", "false"]),
    "categories of days": (DAYS, ["2026-01-02", "2026-01-03"]),
    "categories of months": (MONTHS, ["2026-02", "2027-02"]),
    "categories of objects": (pd.CategoricalDtype(pd.Index([1, "a"], dtype=object)), ["a", "1"]),
    "no categories": (pd.CategoricalDtype([]), ["x", "x"]),
    "two bytes": ("S2", ["ab", "abc"]),
    "two bytes, of ASCII": ("S2", ["ab", "ä"]),
    "two letters": ("U2", ["äb", "abc"]),
    "half a float": ("float16", ["1.5", "70000"]),
    "a short float": ("float32", ["1.5", "1e39"]),
    "a float": ("float64", ["1.5", "46E85123"]),
    "a short nullable float": ("Float32", ["1.5", "1e39"]),
    "whole seconds": ("timedelta64[s]", ["1 days", "0 days 00:00:00.5"]),
    "whole milliseconds": ("timedelta64[ms]", ["1 days", "1us"]),
    "Arrow's whole seconds": (pa.duration("s"), ["0 days 00:00:01", "0 days 00:00:00.000001"]),
    "whole seconds of times": ("datetime64[s]", ["2026-01-01", "2026-01-01 00:00:00.5"]),
    "complex numbers": ("complex128", ["1+2j", "x"]),
    "long doubles": ("longdouble", ["1.5", "x"]),
    "months": ("period[M]", ["2026-01", "x"]),
    "sparse": ("Sparse[int]", ["0", "x"]),
    "sparse truth": ("Sparse[bool]", ["true", "2"]),
    "sparse short floats": ("Sparse[float32]", ["1.5", "1e39"]),
    "decimals": (pa.decimal128(4, 2), ["1.25", "1.255"]),
    "dictionaries": (pa.dictionary(pa.int32(), pa.int64()), ["1", "x"]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", MISFITS)
def test_a_value_that_a_dtype_does_not_hold_is_refused(kind, form, tmp_path):
    """None becomes null, is cut off or is infinite without a word; the first value fits."""
    dtype, (good, bad) = MISFITS[kind]
    if good != bad:
        assert read(tmp_path, form, [good], dtype).notna().all()
    with pytest.raises(SourceError) as caught:
        read(tmp_path, form, [good, bad], dtype)

    assert re.search(
        rf"{'line [23], ' if form == 'csv' else ''}.*has {bad!r} in column 't', which must be", str(caught.value)
    )
    assert "types={'t': " in str(caught.value)


def test_the_categories_are_named_and_so_is_the_way_on(tmp_path):
    """Where a dtype has no name of its own."""
    path = written(tmp_path, "csv", ["a", "c"])
    with pytest.raises(SourceError) as caught:
        next(replay(mblab.sources.csv(path, types={"t": pd.CategoricalDtype(["a", "b"])}), rate=1).open())

    assert "line 3, has 'c' in column 't', which must be one of the categories ['a', 'b'];" in str(caught.value)
    assert "types={'t': 'category'}" in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["bool", "int8", "S4", "U4"])
def test_a_null_is_no_value_of_a_dtype_that_has_none(kind, form, tmp_path):
    """An empty text is not False, and not the text nan."""
    good = {"bool": "true", "int8": "1"}.get(kind, "ab")
    if kind[0] in "SU" and form != "csv":  # there an empty text is one
        assert [*map(len, read(tmp_path, form, [good, ""], kind))] == [2, 0]
        values = [good, None]
    else:
        values = [good, ""]
    with pytest.raises(SourceError, match=r"column 't' must be .*, but has nulls, .*types=\{'t': "):
        read(tmp_path, form, values, kind)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("values", "kind", "came"),
    [
        (["x", "y", "x"], "category", ["x", "y", "x"]),
        ([3, 5, 3], "category", [3, 5, 3]),
        (["1", "2"], pa.dictionary(pa.int8(), pa.int64()), [1, 2]),
        ([3, 5], pd.CategoricalDtype([3, 5]), [3, 5]),
        (["true", "0"], "bool", [True, False]),
        (["true", "false", "0"], "Sparse[bool]", [True, False, False]),
        ([0, 7], "Sparse[int8]", [0, 7]),
        (["true", ""], "boolean", [True, pd.NA]),
        (["1 days", "2 days"], "timedelta64[s]", [pd.Timedelta("1D"), pd.Timedelta("2D")]),
        (["10:00:00"], pa.time64("us"), [dt.time(10)]),
        (["9007199254740993", None], pa.int64(), [2**53 + 1, pd.NA]),
    ],
)
def test_values_of_json_and_parquet_become_what_is_named(values, kind, came, form, tmp_path):
    """Also where pandas noted in the file that they are text, and where the rows decide the categories."""
    found = read(tmp_path, form, values, kind)

    assert found.tolist() == came or [*map(str, found)] == [*map(str, came)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([5, 1], "bool"),
        ([1.5], pa.bool_()),
        ([pd.Timestamp("2026-01-01 10:00")], pa.date32()),
        ([pd.Timestamp("2026-01-01 10:00")], pd.ArrowDtype(pa.date64())),
        ([1e39], "float32"),
        ([70000.0], "float16"),
        ([1.255], pa.decimal128(4, 2)),
        ([{"a": 1, "b": 2}], pa.struct([("a", pa.int64())])),
        ([Decimal("1.5")], "int64"),
    ],
)
def test_a_value_of_parquet_says_as_much_as_before_or_is_refused(values, kind, tmp_path):
    """Arrow takes 5 for true, a moment for its day, and leaves out fields."""
    with pytest.raises(SourceError, match=r"rows.parquet has .* in column 't', which must be .*types=\{'t': '"):
        read(tmp_path, "parquet", values, kind)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("values", [[[1, 2], [3]], [{"a": 1}, {"a": None}], [[{"a": [1.5]}]]])
def test_lists_and_objects_are_kept_where_object_is_named(values, form, tmp_path):
    """It is the way on where another type does not hold them."""
    assert read(tmp_path, form, values, "object").tolist() == values
    with pytest.raises(SourceError, match=r"in column 't', which must be int64; .*|nested"):
        read(tmp_path, form, values, "int64")
    if form == "parquet":
        with pytest.raises(SourceError, match=r"types=\{'t': 'object'\}"):
            read(tmp_path, form, values, "str")


def test_periods_of_parquet_are_no_numbers(tmp_path):
    """They come back as what they are, and as nothing else."""
    months = pd.period_range("2026-01", periods=2, freq="M")

    assert read(tmp_path, "parquet", months, "period[M]").tolist() == list(months)
    for kind in ("str", "int64", "datetime64[s]"):
        with pytest.raises(SourceError, match="has 672 in column 't', which must be|has .* in column 't'"):
            read(tmp_path, "parquet", months, kind)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("datetime64", r"must have a unit that pandas has, s, ms, us, ns, got 'datetime64'; .*'datetime64\[ns\]'"),
        ("timedelta64", r"must have a unit .* 'timedelta64\[ns\]'"),
        ("datetime64[D]", "must have a unit"),
        ("M8[ps]", "must have a unit"),
        (np.datetime64, "must have a unit"),
        (pd.CategoricalDtype(pd.interval_range(0, 2)), "intervals"),
        ("interval[int64, right]", "intervals"),
        ("V2", "must be of single values"),
        (np.dtype([("a", "i4")]), "must be of single values"),
        (np.dtype("(2,)i4"), "must be of single values"),
        (None, "must be a dtype of pandas, NumPy or Arrow"),
        (dt.date, "must be a dtype of pandas, NumPy or Arrow"),
        (float("nan"), "must be a dtype of pandas, NumPy or Arrow"),
    ],
)
def test_a_type_that_no_column_has_is_refused_where_it_is_named(kind, said):
    """In a sentence with the way on, not by what NumPy or Arrow says of it."""
    with pytest.raises(SettingError, match=rf"types\['t'\] .*{said}"):
        mblab.sources.csv("rows.csv", types={"t": kind})


def sources(folder, kind):
    (folder / "a.csv").write_text("n,t\n1,\n")
    table = mblab.sources.csv(folder / "a.csv", sep=";" if kind is None else ",", types={"t": kind})
    return [
        table,
        replay(table, rate=1),
        replay(table, rate=1).with_late(0.5, 1, seed=1),
        mblab.watch(mblab.sources.csv(folder / "*.csv", types={"t": kind})),
        mblab.watch(mblab.sources.csv(folder / "*.csv"), types={"t": kind}),
        mblab.watch(folder / "*.csv", types={"t": kind}),
    ]


NAMELESS = {
    "some categories": (pd.CategoricalDtype(["S", "L"]), "<category of ['S', 'L']>"),
    "Arrow's times": (pa.timestamp("us", "Europe/Berlin"), "'timestamp[us, tz=Europe/Berlin]'"),
    "Arrow's decimals": (pd.ArrowDtype(pa.decimal128(4, 2)), "'decimal128(4, 2)[pyarrow]'"),
}


@pytest.mark.parametrize("kind", NAMELESS)
def test_a_source_with_a_nameless_type_shows_itself(kind, tmp_path):
    """A script of it is refused in a sentence; whoever looks at it in a cell sees what it is."""
    dtype, said = NAMELESS[kind]
    for source, other in zip(sources(tmp_path, dtype), sources(tmp_path, dtype), strict=True):
        assert f"types={{'t': {said}}}" in repr(source)
        assert source == other
        assert len({source, other}) == 1
        with pytest.raises(mblab.ExportError, match=r"types\['t'\] must be given by a name"):
            source.code("'data'")


@pytest.mark.parametrize("kind", ["str", "Int64", "category", "datetime64[s]", pa.date32(), "string[pyarrow]"])
def test_sources_of_one_description_are_one_in_a_set(kind, tmp_path):
    """And those of other types are others."""
    for source, other, odd in zip(*(sources(tmp_path, k) for k in (kind, kind, "float32")), strict=True):
        assert source == other != odd
        assert {source: 1}[other] == 1
        assert "types={'t': " in source.code("'data'")

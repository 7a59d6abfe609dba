"""An export is equal: the script reads the rows and tables that the lab has, or there is an ExportError."""

import datetime as dt
import decimal
import runpy
from importlib import metadata

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab import ExportError, Lab
from mblab.tables.same import difference, same

from .laws import examples


@pytest.fixture(autouse=True, scope="module")
def installed():
    """Look once which packages there are: that takes longer than all else here."""
    found = metadata.packages_distributions()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "packages_distributions", lambda: found)
        yield


def objects(*values):
    return pd.Series(values, dtype=object)


def with_attrs(rows, **attrs):
    rows.attrs.update(attrs)
    return rows


def lab_of(rows, **more):
    lab = Lab(mblab.replay(rows, **(more or {"rate": 1})), interval="9s", name="equal")
    lab.batch(lambda batch: batch, name="rows")
    return lab


def source_of(script):
    return next(v for v in runpy.run_path(str(script)).values() if isinstance(v, Lab)).source


def first_difference(lab, script):
    mine, its = ([block.rows for block in source.open()] for source in (lab.source, source_of(script)))
    if len(mine) != len(its):
        return f"{len(mine)} and {len(its)} blocks"
    return next((said for pair in zip(mine, its, strict=True) if (said := difference(*pair))), None)


# -- the rows of the source -------------------------------------------------------------------------------------------

OTHERWISE = {
    "dates": ({"day": [dt.date(2026, 1, 1)] * 2}, "column 'day' is object and comes back as datetime64"),
    "arrays": ({"day": objects(np.array([1]), np.zeros((2, 2)))}, "column 'day' (holds|cannot be written)"),
    "tuples": ({"day": objects((1,))}, "column 'day' holds .*tuple"),
    "other digits": ({"day": objects(decimal.Decimal("1.0"), decimal.Decimal("2.25"))}, "Decimal"),
    "dicts": ({"day": [{"a": 1}, {"b": 1}]}, "column 'day' holds"),
    "bytearrays": ({"day": objects(bytearray(b"a"))}, "column 'day' holds"),
    "numbers as names": ({1: [1], 2: [2]}, "column 1 comes back as '1'"),
    "a time as a name": ({pd.Timestamp("2026-01-01"): [1]}, "comes back as"),
    "Python's datetimes": ({"day": objects(dt.datetime(2026, 1, 1))}, "column 'day' is object"),
    "text as objects": ({"day": objects("a", "b")}, "column 'day' is object and comes back as str"),
    "two kinds of missing": ({"day": objects("a", None, float("nan"))}, "column 'day'"),
    "mixed": ({"day": objects(1, "a")}, "column 'day' cannot be written"),
    "complex": ({"day": [1j]}, "column 'day' cannot be written"),
    "sparse": ({"day": pd.arrays.SparseArray([0, 1])}, "column 'day' cannot be written"),
    "beyond 64 bits": ({"day": objects(2**70)}, "column 'day' cannot be written"),
    "half a character": ({"day": objects("\ud800")}, "column 'day' cannot be written"),
    "numbers as categories": ({"day": pd.Categorical([1, 2])}, "column 'day' is category"),
    "whole seconds": ({"day": pd.Series(["2026-01-01"], dtype="datetime64[s]")}, "column 'day' is datetime64"),
    "a name that Arrow uses": ({"__index_level_0__": [1], "b": [1]}, "'__index_level_0__' does not come back"),
    "the name of the columns": (pd.DataFrame({"day": [1]}).rename_axis(columns="kind"), "the name of its columns, 'kind'"),
    "a frame of another class": (type("Sub", (pd.DataFrame,), {"_constructor": property(type)})({"a": [1]}), "a Sub"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERWISE)
def test_rows_that_a_script_would_read_otherwise_are_refused(kind, tmp_path):
    """S12: one sentence with the column, and nothing is written."""
    rows, said = OTHERWISE[kind]
    with pytest.raises(ExportError, match=said) as caught:
        lab_of(rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)).export(tmp_path / "p.py")

    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


EQUAL = {
    "an index with a name": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "attrs": with_attrs(pd.DataFrame({"a": [1]}), unit="m"),
    "categories in their order": pd.DataFrame({"a": pd.Categorical(["b", "a"], ["b", "c", "a"], ordered=True)}),
    "zones": pd.DataFrame({"a": pd.date_range("2026-10-25", periods=3, freq="h", tz="Europe/Berlin")}),
    "nullable": pd.DataFrame({"a": pd.array([2**63 - 1, None], "Int64"), "b": pd.array([True, None], "boolean")}),
    "Arrow's own": pd.DataFrame({"a": pd.array([dt.date(2026, 1, 1)], pd.ArrowDtype(pa.date32()))}),
    "periods and intervals": pd.DataFrame({"a": pd.period_range("2026", periods=2), "b": pd.interval_range(0, 2)}),
    "times of day": pd.DataFrame({"a": objects(dt.time(1, 2), None), "b": objects(b"a", None)}),
    "lists": pd.DataFrame({"a": [[1], [2]]}),
    "nothing at all": pd.DataFrame({"a": objects(None, None), "b": [np.nan, -0.0]}),
}


@pytest.mark.parametrize("kind", EQUAL)
def test_rows_that_come_back_equal_are_written(kind, tmp_path):
    """Names, dtypes, values and attrs."""
    lab = lab_of(EQUAL[kind])

    assert first_difference(lab, lab.export(tmp_path / "p.py")) is None


DTYPES = [
    "int8", "uint64", "float16", "float64", "bool", "str", "object", "category", "datetime64[s]", "datetime64[ms]",
    "datetime64[ns]", "datetime64[us, Europe/Berlin]", "timedelta64[s]", "timedelta64[ns]", "Int64", "UInt8", "Float32",
    "boolean", "string", "string[python]", "complex128", "Sparse[int64]", "period[D]", "interval[int64, right]",
    "int32[pyarrow]", "string[pyarrow]", "timestamp[ns][pyarrow]", "date32[day][pyarrow]", "large_binary[pyarrow]",
]  # fmt: skip
ANY = st.sampled_from([
    None, True, 1, 1.5, float("nan"), -0.0, "a", "", "\ud800", b"a", 2**70, 1j, (1,), [1, None], {"a": 1}, {1: 2}, {1},
    pd.NaT, pd.NA, dt.date(2026, 1, 1), dt.datetime(2026, 1, 1), dt.time(1), dt.timedelta(1), decimal.Decimal("1.10"),
    np.int8(1), np.float32(0.1), np.array([1, 2]), np.zeros((2, 2)), pd.Timestamp("2026", tz="UTC"), ValueError("x"),
])  # fmt: skip
NAMES = st.one_of(st.sampled_from(["a", "day", "__index_level_0__", "values", "ü", "", "é\n'"]), st.integers(0, 3))


@st.composite
def columns(draw, rows):
    dtype = draw(st.sampled_from(DTYPES))
    if dtype == "object":
        return pd.Series(draw(st.lists(ANY, min_size=rows, max_size=rows)), dtype=object)
    if dtype == "category":
        values = draw(st.lists(st.sampled_from(["a", "b", None]), min_size=rows, max_size=rows))
        return pd.Series(pd.Categorical(values, draw(st.permutations(["a", "b"])), ordered=draw(st.booleans())))
    numbers = draw(st.lists(st.integers(0, 100), min_size=rows, max_size=rows))
    if dtype.startswith("period"):
        return pd.Series([pd.Period(ordinal=n, freq="D") for n in numbers], dtype=dtype)
    if dtype.startswith("interval"):
        return pd.Series(pd.IntervalIndex.from_tuples([(n, n + 1) for n in numbers]))
    if dtype.startswith(("datetime64", "timestamp", "date32")):
        days = pd.Series(pd.to_datetime(numbers, unit="D"))
        return (days.dt.tz_localize("UTC") if "Berlin" in dtype else days).astype(dtype)
    if dtype.startswith("timedelta"):
        return pd.Series(pd.to_timedelta(numbers, unit="s")).astype(dtype)
    if dtype.startswith(("str", "large")):
        return pd.Series([str(n) if dtype.startswith("str") else str(n).encode() for n in numbers], dtype=dtype)
    made = pd.Series([n % 2 for n in numbers] if dtype == "boolean" else numbers).astype(dtype)
    return made.mask(pd.Series(numbers) > 90) if isinstance(made.dtype, pd.api.extensions.ExtensionDtype) else made


@st.composite
def frames(draw):
    rows = draw(st.integers(1, 4))
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    made = pd.concat([draw(columns(rows)) for _ in names], axis=1)
    made.columns = pd.Index(names) if draw(st.booleans()) else pd.Index(names, dtype=object)
    if draw(st.booleans()):
        made.attrs["unit"] = draw(st.sampled_from(["m", 1, [1, 2], {"a": (1,)}]))
    return made


@examples(1000)
@given(rows=frames(), sort=st.booleans())
def test_the_script_replays_what_the_lab_replays_or_there_is_none(tmp_path_factory, rows, sort):
    """The law of S12, over every dtype that pandas and Arrow know."""
    folder = tmp_path_factory.mktemp("equal")
    knobs = {"rate": 1}
    if sort:
        rows = rows.assign(at=range(len(rows), 0, -1))
        knobs = {"arrival": "at", "sort": True}
    lab = lab_of(rows, **knobs)
    try:
        script = lab.export(folder / "p.py")
    except ExportError as refused:
        assert "\n" not in str(refused)  # noqa: PT017
        assert list(folder.iterdir()) == []
    else:
        assert first_difference(lab, script) is None


# -- the tables that functions read -----------------------------------------------------------------------------------

CALENDAR = pd.DataFrame({"open": [True, False]}, index=pd.date_range("2026-01-01", periods=2, freq="D"))
HOURS = pd.Series([1, 2], index=pd.timedelta_range(0, periods=2, freq="h", name="at"), name=pd.Timestamp("2026-01-01"))
LEVELS = pd.DataFrame({"n": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", None]))
input = pd.DataFrame({"n": [7]})
FORTRAN = np.asfortranarray(np.arange(6).reshape(2, 3))


def exported_table(table, folder, name="TABLE"):
    from mblab.export.capture import Capture
    from mblab.export.files import save_table
    from mblab.export.parts import Names, table_line

    capture, files = Capture(own=frozenset()), {}
    line = table_line(name, table, folder / "p.py", files, Names("lab", "options", "script"), capture)
    ((file, kept),) = files.items()
    save_table(kept.table, file, folder / file)
    world = {"script": mblab.script, "pd": pd, "np": np, "pandas": pd, "numpy": np, "__file__": str(folder / "p.py")}
    exec(line, world)
    return world[name], file


@pytest.mark.parametrize("table", [CALENDAR, LEVELS, FORTRAN, np.array(5.0), np.array(["2026"], "M8[D]")],
                         ids=["freq", "levels", "fortran", "no axis", "days"])  # fmt: skip
def test_a_table_comes_back_with_its_index_and_frequency(table, tmp_path):
    """Also what no file keeps is said by the script."""
    assert same(exported_table(table, tmp_path)[0], table)


def test_a_series_comes_back_with_a_name_of_any_kind(tmp_path):
    """Its name is written as any value is."""
    assert same(exported_table(HOURS, tmp_path)[0], HOURS)


def test_a_table_called_input_is_not_taken_for_the_source(tmp_path):
    """Two tables of one file's name: the function's gets another one."""
    assert exported_table(input, tmp_path, "input")[1] == "p_input_.parquet"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.DataFrame({"d": [[1]]}), "column 'd' holds"),
        (pd.DataFrame({1: [1], pd.Timestamp("2026"): [2]}), "column 1 comes back as '1'"),
        (pd.DataFrame({"d": [1]}, index=objects((1, 2)).array), "its index"),
        (pd.Series(["a"], dtype=object), "'values' is object"),
    ],
    ids=["lists", "names", "index", "series"],
)
def test_a_table_that_would_come_back_otherwise_is_refused(table, said, tmp_path):
    """S12's siblings: the tables beside a script."""
    with pytest.raises(ExportError, match=said):
        exported_table(table, tmp_path)


def test_a_refused_table_leaves_those_before_it_unwritten(tmp_path):
    """All or none: also when the second of two tables is refused."""
    lab = lab_of(pd.DataFrame({"v": [1]}))
    lab.batch(lambda batch: batch.assign(n=len(CALENDAR), m=len(LISTS)), name="two")
    with pytest.raises(ExportError, match="column 'd' holds"):
        lab.export(tmp_path / "p.py")

    assert list(tmp_path.iterdir()) == []


LISTS = pd.DataFrame({"d": [[1], [2]]})

"""What a sink wrote is read again as it was, or as a table says: every dtype of pandas and Arrow, by every file sink.

The table is mblab/sinks/DTYPES.md, made of the kinds below, which the law goes by; to write it anew:
`python tests/test_what_comes_back.py`.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab import SinkError, replay, watch
from mblab.sinks import Delivery
from mblab.tables.same import column_difference

try:
    from .laws import examples
except ImportError:  # run as a script
    examples = lambda number: lambda law: law

TABLE = Path(__file__).parents[1] / "mblab" / "sinks" / "DTYPES.md"
RUN = "0123456789ab"
SINKS = ("csv", "jsonl", "parquet", "sqlite")

# -- what may become of a column ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What comes back: the same, or what `as_` makes of it, or nothing, for the sink refuses it with `refusal`."""

    said: str
    as_: Callable[[pd.Series], pd.Series] | None = None
    refusal: str = ""


SAME = Verdict("same", lambda column: column)


def widened(how: str, as_: Callable[[pd.Series], pd.Series]) -> Verdict:
    return Verdict(f"widened: {how}", as_)


def refused(why: str, refusal: str = "cannot take") -> Verdict:
    return Verdict(f"refused: {why}", None, refusal)


@dataclass(frozen=True)
class Kind:
    """A kind of column.

    Attributes:
        name: What it is called in the table.
        value: What one value may be.
        hold: Values, None for a missing one, as a column.
        nulls: Whether a value may be missing.
        verdicts: By sink.
        stored: A value as SQLite has it.
    """

    name: str
    value: st.SearchStrategy
    hold: Callable[[list], pd.Series]
    nulls: bool
    verdicts: dict[str, Verdict]
    stored: Callable[[Any], Any] | None = field(default=None)


KINDS: dict[str, Kind] = {}


def kind(
    name, values, hold, *, nulls=True, csv=SAME, jsonl=SAME, parquet=SAME, sqlite=None, stored=lambda value: value
):
    """Put a kind into the table; `sqlite` says what its column is there, and `stored` what a value is."""
    hold = (lambda dtype: lambda v: pd.Series(v, dtype=dtype))(hold) if isinstance(hold, str) else hold
    in_base = sqlite if isinstance(sqlite, Verdict) else Verdict(f"{sqlite}", lambda column: column)
    assert name not in KINDS
    KINDS[name] = Kind(
        name, values, hold, nulls, {"csv": csv, "jsonl": jsonl, "parquet": parquet, "sqlite": in_base}, stored
    )


def arrow(type_, values, *, name=None, **verdicts):
    """Put a kind of an Arrow type into the table."""
    hold = lambda v: pd.Series(pd.arrays.ArrowExtensionArray(pa.array(v, type_)))
    kind(f"Arrow {name or type_}", values, hold, **verdicts)


def as_dtype(dtype):
    return lambda column: column.astype(dtype)


def objects(values):
    return pd.Series(np.fromiter(values, dtype=object, count=len(values)), dtype=object)


def each(change):
    """A change of every value, in a column of objects."""
    return lambda column: objects([None if is_missing(v) else change(v) for v in column])


def is_missing(value):
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def finite(column):
    """The infinities are missing."""
    return column.where(~np.isinf(column.astype("float64").to_numpy(na_value=np.nan)))


NO_INFINITY = widened("the infinities are missing", finite)
WORDS = [
    "NA",
    "null",
    "",
    "nan",
    "None",
    "007",
    "1e5",
    "-1",
    "True",
    "2026-01-01",
    " x ",
    "a,b",
    '"q"',
    "l\nm",
    "c\rd",
    "ä€😀",
]
texts = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
moments = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
far_moments = st.datetimes()  # years 1 to 9999
pauses = st.timedeltas(dt.timedelta(days=-90_000), dt.timedelta(days=90_000))


def iso(moment):
    return str(np.datetime64(moment, "us")).replace("T", " ")


def whole(bits, *, signed=True):
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


# -- numpy's dtypes -------------------------------------------------------------------------------------------------

kind("bool", st.booleans(), "bool", nulls=False, sqlite="0 and 1", stored=int)
for bits in (8, 16, 32, 64):
    kind(f"int{bits}", whole(bits), f"int{bits}", nulls=False, sqlite="INTEGER")
    big = refused("an integer of SQLite has 64 bits, of which one is the sign", "64 bits")
    kind(f"uint{bits}", whole(bits, signed=False), f"uint{bits}", nulls=False, sqlite="INTEGER" if bits < 64 else big)
for bits in (16, 32, 64):
    numbers = st.floats(width=bits)
    make = (lambda d: lambda v: pd.Series([np.nan if x is None else x for x in v], dtype=d))(f"float{bits}")
    kind(f"float{bits}", numbers, make, jsonl=NO_INFINITY, sqlite="REAL", stored=float)
text_of = lambda column: objects([str(v) for v in column]).astype("str")
as_float = as_dtype("float64")
no_arrow = refused("Arrow has no such numbers")
kind("complex128", st.complex_numbers(allow_nan=False), "complex128", nulls=False, csv=widened("text", text_of),
     jsonl=widened("text", text_of), parquet=no_arrow, sqlite="text", stored=str)  # fmt: skip
kind("longdouble", st.floats(-1e9, 1e9), "longdouble", nulls=False, csv=widened("float64", as_float),
     jsonl=widened("float64", as_float), parquet=no_arrow, sqlite="REAL", stored=float)  # fmt: skip
for unit, digits in (("s", 0), ("ms", 3), ("us", 6), ("ns", 9)):
    moment = moments if unit == "ns" else far_moments
    fits = lambda unit: (
        lambda v: pd.Series(np.array([np.datetime64(x or "NaT", unit) for x in v], f"datetime64[{unit}]"))
    )
    no_seconds = widened("milliseconds", as_dtype("datetime64[ms]"))
    kind(f"datetime64[{unit}]", moment, fits(unit), parquet=no_seconds if unit == "s" else SAME, sqlite="text in ISO 8601",
         stored=iso)  # fmt: skip
    pause = lambda unit: (
        lambda v: pd.Series(
            np.array([np.timedelta64("NaT") if x is None else np.timedelta64(x) for x in v], "timedelta64[us]").astype(
                f"timedelta64[{unit}]"
            )
        )
    )
    kind(f"timedelta64[{unit}]", pauses, pause(unit), sqlite="seconds, REAL", stored=lambda v: v.total_seconds())
for zone in ("UTC", "Europe/Berlin", "UTC+05:30"):
    tz = dt.timezone(dt.timedelta(hours=5, minutes=30)) if "+" in zone else zone
    make = (
        lambda tz: (
            lambda v: pd.Series(
                pd.to_datetime(pd.Series(v, dtype="datetime64[us]")).dt.tz_localize("UTC").dt.tz_convert(tz)
            )
        )
    )(tz)
    kind(
        f"datetime64[us, {zone}]",
        moments,
        make,
        sqlite="text in ISO 8601, UTC",
        stored=lambda v: f"{iso(v.tz_convert('UTC').tz_localize(None))}+00:00",
    )

# -- pandas' own ----------------------------------------------------------------------------------------------------

kind("str", texts, "str", sqlite="TEXT")
one_storage = widened("string[pyarrow]", as_dtype("string[pyarrow]"))
kind("string[python]", texts, "string[python]", parquet=one_storage, sqlite="TEXT")
kind("string[pyarrow]", texts, "string[pyarrow]", sqlite="TEXT")
kind("boolean", st.booleans(), "boolean", sqlite="0 and 1", stored=int)
for bits in (8, 16, 32, 64):
    kind(f"Int{bits}", whole(bits), f"Int{bits}", sqlite="INTEGER")
    kind(f"UInt{bits}", whole(bits, signed=False), f"UInt{bits}", sqlite="INTEGER" if bits < 64 else big)
for bits in (32, 64):
    kind(
        f"Float{bits}",
        st.floats(width=bits, allow_nan=False),
        f"Float{bits}",
        jsonl=NO_INFINITY,
        sqlite="REAL",
        stored=float,
    )


def categories(values, *, ordered=False, index=None):
    """A column of categories: all of them, also those that do not occur."""
    dtype = pd.CategoricalDtype(pd.Index(values, dtype=index), ordered=ordered)
    return st.sampled_from(values), lambda v: pd.Series(pd.Categorical(v, dtype=dtype))


def plain(column):
    """Values of categories."""
    return column.astype(column.cat.categories.dtype)


kind("category of text", *categories(["NA", "b", "", "7", "unused"]), sqlite="its values", stored=lambda v: v)
kind("category of text, ordered", *categories(["lo", "mid", "hi"], ordered=True), sqlite="its values")
values_only = "its values, since Parquet has categories of text only"
kind("category of numbers", *categories([1.5, -2.0, 1e300]), parquet=widened(values_only, plain), sqlite="its values")
kind("category of times", *categories([pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-02 10:00")], index="datetime64[ns]"),
     parquet=widened(values_only, plain), sqlite="its values", stored=None)  # fmt: skip
days = st.integers(0, 20_000).map(lambda n: pd.Period(ordinal=n, freq="D"))
kind("period[D]", days, "period[D]", sqlite="text", stored=str)
weeks = st.integers(0, 3000).map(lambda n: pd.Period(ordinal=n, freq="W"))
period_text = lambda column: objects([None if is_missing(v) else str(v) for v in column]).astype("str")
kind("period[W-SUN]", weeks, "period[W-SUN]", sqlite="text", stored=str)
spans = st.integers(-9, 9).map(lambda n: pd.Interval(n, n + 1))
kind("interval[int64, right]", spans, "interval[int64, right]", nulls=False, csv=widened("text", period_text),
     jsonl=widened("text", period_text), sqlite="text", stored=str)  # fmt: skip
dense = widened("its values", lambda column: pd.Series(np.asarray(column)))
kind("Sparse[int64]", st.integers(0, 2), lambda v: pd.Series(pd.arrays.SparseArray(v, dtype=pd.SparseDtype("int64", 0))), nulls=False,
     csv=dense, jsonl=dense, parquet=refused("Arrow has no sparse columns"), sqlite="its values", stored=int)  # fmt: skip

# -- Python's objects -----------------------------------------------------------------------------------------------


def inferred(column):
    """What pandas makes of numbers and nothing: float64, where there is nothing."""
    missing = [v is None for v in column]
    return pd.Series([np.nan if v is None else v for v in column], dtype="float64" if any(missing) else None)


def of_objects(name, values, **verdicts):
    kind(f"object of {name}", values, objects, **verdicts)


both = lambda verdict: {"csv": verdict, "jsonl": verdict}
every = lambda verdict: {"csv": verdict, "jsonl": verdict, "parquet": verdict}
of_objects("str", texts, **every(widened("str", as_dtype("str"))), sqlite="TEXT")
of_objects("bytes", st.binary(max_size=4), sqlite="BLOB")
money = st.decimals(-1000, 1000, places=2)
of_objects("Decimal", money, sqlite="text", stored=str)
of_objects(
    "date",
    st.dates(),
    **every(widened("datetime64[ms]", lambda c: pd.Series(np.array(c, "datetime64[ms]")))),
    sqlite="text in ISO 8601",
    stored=str,
)
of_objects("time", st.times().map(lambda t: t.replace(fold=0)), sqlite="text", stored=str)
of_objects(
    "datetime",
    far_moments,
    **every(widened("datetime64[us]", lambda c: pd.Series(np.array(c, "datetime64[us]")))),
    sqlite="text in ISO 8601",
    stored=iso,
)
of_objects(
    "timedelta",
    pauses,
    **every(widened("timedelta64[us]", lambda c: pd.Series(np.array(c, "timedelta64[us]")))),
    sqlite="seconds, REAL",
    stored=lambda v: v.total_seconds(),
)
of_objects("bool", st.booleans(), sqlite="0 and 1", stored=int,
           **every(widened("bool where none is missing", lambda c: c if any(v is None for v in c) else c.astype(bool))))  # fmt: skip
of_objects(
    "int", st.integers(-9, 9), **every(widened("int64, or float64 where one is missing", inferred)), sqlite="INTEGER"
)
of_objects(
    "float", st.floats(allow_nan=False, allow_infinity=False), **every(widened("float64", as_float)), sqlite="REAL"
)
huge = st.integers(2**70, 2**80)
of_objects("int beyond 64 bits", huge, csv=widened("text", lambda c: objects([None if v is None else str(v) for v in c]).astype("str")),
           parquet=refused("Arrow has no such numbers"), sqlite=big)  # fmt: skip
each_text = lambda c: objects([None if v is None else str(v) for v in c]).astype("str")
cells = st.lists(st.integers(-9, 9) | st.none(), max_size=3)
of_objects("list", cells, sqlite="JSON", stored=json.dumps)
pairs = st.fixed_dictionaries({"a": st.integers(-9, 9)}, optional={"b": texts})
keys = lambda column: sorted({key for v in column if v is not None for key in v})
of_objects("dict", pairs, parquet=widened("each has the keys of all, a missing one is None", lambda c: each(lambda v: {k: v.get(k) for k in keys(c)})(c)),
           sqlite="JSON", stored=lambda v: json.dumps(v, ensure_ascii=False))  # fmt: skip
of_objects(
    "tuple",
    cells.map(tuple),
    **every(widened("lists", each(list))),
    sqlite="JSON",
    stored=lambda v: json.dumps(list(v)),
)
of_objects(
    "array",
    st.lists(st.integers(-9, 9), max_size=3).map(lambda v: np.array(v, dtype=int)),
    **every(widened("lists", each(lambda v: [int(x) for x in v]))),
    sqlite="JSON",
    stored=lambda v: json.dumps(v.astype(int).tolist()),
)
mixed = st.integers(-9, 9) | st.sampled_from(["a", "7"])
mixes = refused("a column has one type")


def of_both(as_):
    """What becomes of numbers and text, where there are both."""
    kinds = lambda c: {type(v) for v in c if v is not None}
    return lambda c: as_(c) if len(kinds(c)) == 2 else c.astype("str") if kinds(c) == {str} else inferred(c)


of_objects(
    "numbers and text",
    st.just(0) | st.sampled_from(["a", "7"]),
    csv=widened("text", of_both(each_text)),
    jsonl=Verdict("same", of_both(lambda c: c)),
    parquet=mixes,
    sqlite=refused("a column has one type", "mixes"),
)

# -- Arrow's types --------------------------------------------------------------------------------------------------


def of_arrow_s_dictionary(column):
    """Categories that occur, in order of appearance."""
    there = list(dict.fromkeys(v for v in column if not is_missing(v)))
    return (
        pd.Series(pd.Categorical(column.tolist(), categories=there))
        if there
        else pd.Series([None] * len(column), dtype="str")
    )


a = {"sqlite": "as its counterpart of pandas", "stored": None}
arrow(pa.null(), st.none(), parquet=widened("text", lambda c: pd.Series([None] * len(c), dtype="str")), **a)
arrow(pa.bool_(), st.booleans(), **a)
for bits in (8, 16, 32, 64):
    arrow(getattr(pa, f"int{bits}")(), whole(bits), **a)
    arrow(getattr(pa, f"uint{bits}")(), whole(bits, signed=False) if bits < 64 else whole(63, signed=False), **a)
arrow(pa.float16(), st.floats(width=16, allow_nan=False).map(np.float16), jsonl=NO_INFINITY, **a)
arrow(pa.float32(), st.floats(width=32, allow_nan=False), jsonl=NO_INFINITY, **a)
arrow(pa.float64(), st.floats(allow_nan=False), jsonl=NO_INFINITY, **a)
arrow(pa.string(), texts, parquet=widened("string[pyarrow] of pandas", as_dtype("string[pyarrow]")), **a)
arrow(pa.large_string(), texts, **a)
arrow(pa.string_view(), texts, **a)
for type_ in (pa.binary(), pa.large_binary(), pa.binary_view()):
    arrow(type_, st.binary(max_size=4), **a)
python = widened("Python's values", each(lambda v: v))
arrow(pa.binary(2), st.binary(min_size=2, max_size=2), parquet=python, **a)
arrow(pa.date32(), st.dates(), **a)
arrow(pa.date64(), st.dates(), **a)
for unit in ("s", "ms"):
    arrow(pa.time32(unit), st.times().map(lambda t: t.replace(microsecond=0)), **a)
arrow(pa.time64("us"), st.times(), **a)
arrow(pa.time64("ns"), st.integers(0, 86_399 * 10**9), **a)
for unit in ("s", "ms", "us", "ns"):
    arrow(
        pa.timestamp(unit),
        moments.map(lambda m: m.replace(microsecond=0))
        if unit == "s"
        else moments.map(lambda m: m.replace(microsecond=1000)),
        parquet=SAME,
        **a,
    )
    arrow(pa.duration(unit), st.integers(-(2**40), 2**40), **a)
arrow(pa.timestamp("us", "Europe/Berlin"), moments, **a)
for type_ in (pa.decimal32(7, 2), pa.decimal64(9, 2), pa.decimal128(9, 2), pa.decimal256(50, 2)):
    arrow(type_, money, parquet=python, **a)
numbers = st.lists(st.integers(-9, 9) | st.none(), max_size=3)
for type_ in (pa.list_(pa.int64()), pa.large_list(pa.int64())):
    arrow(type_, numbers, parquet=python, **a)
arrow(pa.list_view(pa.int64()), numbers, **every(python), **a)
arrow(pa.list_(pa.int64(), 2), st.lists(st.integers(-9, 9), min_size=2, max_size=2), parquet=python, **a)
arrow(pa.list_(pa.timestamp("ns")), st.lists(st.integers(0, 2**62), max_size=2), parquet=python, **a)
record = pa.struct([("a", pa.int64()), ("b", pa.binary()), ("c", pa.list_(pa.decimal128(9, 2)))])
records = st.fixed_dictionaries(
    {"a": st.integers(-9, 9) | st.none(), "b": st.binary(max_size=2), "c": st.lists(money, max_size=2)}
)
arrow(record, records, name="struct", parquet=python, **a)
maps = st.dictionaries(texts, st.integers(-9, 9), max_size=2).map(lambda d: list(d.items()))
arrow(
    pa.map_(pa.string(), pa.int64()),
    maps,
    **both(widened("lists of lists", each(lambda v: [list(p) for p in v]))),
    parquet=python,
    **a,
)
arrow(
    pa.dictionary(pa.int32(), pa.string()),
    st.sampled_from(["a", "NA"]),
    parquet=widened("category, or str where all are missing", of_arrow_s_dictionary),
    **a,
)
gaps = st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9)).map(pa.MonthDayNano)
arrow(
    pa.month_day_nano_interval(),
    gaps,
    **both(widened("lists of months, days and nanoseconds", each(list))),
    parquet=refused("Parquet has no such type"),
    **a,
)
runs = pa.run_end_encoded(pa.int32(), pa.int64())
kind("Arrow run_end_encoded", st.integers(-9, 9), lambda v: pd.Series(pd.arrays.ArrowExtensionArray(pa.compute.run_end_encode(pa.array(v, pa.int64())))),
     **both(widened("its values", lambda c: pd.Series(pd.array(c.tolist(), dtype="int64[pyarrow]")))), parquet=refused("Parquet has no such type"), **a)  # fmt: skip


# -- the law ----------------------------------------------------------------------------------------------------------


def taken_by(sink):
    """The kinds that a sink takes."""
    return [name for name, k in KINDS.items() if k.verdicts[sink].as_]


@st.composite
def frames(draw, sink, names=None):
    """A frame whose columns the sink takes, and where it is cut into batches."""
    names = names or draw(st.lists(st.sampled_from(taken_by(sink)), min_size=1, max_size=4))
    rows = draw(st.integers(1, 6))
    columns = {}
    for i, name in enumerate(names):
        k = KINDS[name]
        value = st.none() | k.value if k.nulls else k.value
        values = draw(st.lists(value, min_size=rows, max_size=rows))
        if name.startswith("object") and all(v is None for v in values):
            values[draw(st.integers(0, rows - 1))] = draw(k.value)
        columns[f"{i} {name}"] = k.hold(values)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, rows - 1)), max_size=2)))
    return pd.DataFrame(columns), [c for c in cuts if c < rows]


def sink_at(sink, folder):
    if sink == "sqlite":
        return mblab.sinks.sqlite(folder / "out.sqlite", "out")
    return getattr(mblab.sinks, sink)(folder / "out" if sink == "parquet" else folder / f"out.{sink}")


def delivered(sink, folder, frame, cuts):
    """Deliver the parts of a frame as batches."""
    to = sink_at(sink, folder)
    to.open(RUN)
    try:
        for batch_id, (low, high) in enumerate(zip([0, *cuts], [*cuts, len(frame)], strict=True)):
            to.deliver(frame.iloc[low:high].reset_index(drop=True), Delivery(RUN, batch_id))
    finally:
        to.close()
    return folder / "out" / "*.parquet" if sink == "parquet" else folder / f"out.{sink}"


def replayed(path):
    return pd.concat([block.rows for block in replay(path, rate=1).open()], ignore_index=True)


def watched(path):
    folder = watch(path, settle=0).poller()
    return pd.concat([rows for found in folder.poll() for rows, _ in folder.read(found)], ignore_index=True)


def as_the_table_says(sink, frame, cuts):
    """Deliver, read, and hold each column against its verdict."""
    with tempfile.TemporaryDirectory() as folder:
        path = delivered(sink, Path(folder), frame, cuts)
        found = {read: read(path) for read in (replayed, watched)}
    for read, back in found.items():
        assert list(back.columns) == list(frame.columns)
        for name in frame:
            k = KINDS[name.partition(" ")[2]]
            expected, came = k.verdicts[sink].as_(frame[name]), back[name]
            if sink == "parquet" and read is watched and "categor" in f"{expected.dtype}":  # each part has its own
                expected, came = expected.astype(object), came.astype(object)
            if sink == "parquet" and k.name == "object of dict":  # whose keys have one order
                expected, came = (each(lambda v: dict(sorted(v.items())))(c) for c in (expected, came))
            assert column_difference(expected, came) is None, (read.__name__, name, cuts)


@pytest.mark.parametrize("sink", ["csv", "jsonl", "parquet"])
@given(data=st.data())
@examples(1000)
def test_what_a_sink_wrote_comes_back_as_the_table_says(sink, data):
    """However the rows were cut into batches, replayed and watched; each column by its verdict, and nothing else."""
    as_the_table_says(sink, *data.draw(frames(sink)))


@given(data=st.data())
@examples(1000)
def test_a_database_holds_what_the_table_says(data):
    """A database has whole numbers, numbers, text and bytes; what pandas reads of it can be replayed."""
    frame, cuts = data.draw(frames("sqlite"))
    with tempfile.TemporaryDirectory() as folder:
        path = delivered("sqlite", Path(folder), frame, cuts)
        with closing(sqlite3.connect(path)) as base:
            rows = base.execute("SELECT * FROM out").fetchall()
            read = pd.read_sql("SELECT * FROM out", base)
    back = next(replay(read, rate=1).open()).rows

    assert back.equals(read)
    for at, name in enumerate(frame):
        k, values = KINDS[name.partition(" ")[2]], frame[name].tolist()
        found = [row[at] for row in rows]
        assert [v is None for v in found] == [is_missing(v) for v in values], name
        if k.stored is not None:
            assert [v for v in found if v is not None] == [k.stored(v) for v in values if not is_missing(v)], name


SAMPLES = {
    "uint64": [2**64 - 1], "UInt64": [2**64 - 1, None], "complex128": [1j], "longdouble": [1.5], "Sparse[int64]": [0, 1],
    "object of int beyond 64 bits": [2**70], "object of numbers and text": [0, "a"],
    "Arrow month_day_nano_interval": [pa.MonthDayNano((1, 2, 3))], "Arrow run_end_encoded": [1, 1],
}  # fmt: skip
REFUSED = [(sink, name) for sink in SINKS for name, k in KINDS.items() if k.verdicts[sink].refusal]


@pytest.mark.parametrize(("sink", "name"), REFUSED)
def test_what_the_table_refuses_is_refused_in_one_sentence_before_anything_is_written(sink, name, tmp_path):
    """With the column's name; and then the sink takes what it can take."""
    to = sink_at(sink, tmp_path)
    to.open(RUN)
    with pytest.raises(SinkError, match=KINDS[name].verdicts[sink].refusal) as caught:
        to.deliver(
            pd.DataFrame({"fine": [1] * len(SAMPLES[name]), "x": KINDS[name].hold(SAMPLES[name])}), Delivery(RUN, 0)
        )
    assert not list(tmp_path.rglob("*.parquet"))
    to.deliver(pd.DataFrame({"fine": [1]}), Delivery(RUN, 0))
    to.close()
    if sink == "sqlite":
        with closing(sqlite3.connect(tmp_path / "out.sqlite")) as base:
            rows = base.execute("SELECT * FROM out").fetchall()
    else:
        rows = [tuple(row) for row in replayed(tmp_path / "out" / "*.parquet").to_numpy().tolist()]

    assert "'x'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert rows == [(1,)]


def table():
    """The kinds as a table for people."""
    lines = [
        "# What comes back",
        "",
        "What a column is when `mblab.replay` or `mblab.watch` reads what a sink of `mblab.sinks` wrote, by dtype. For CSV",
        "and JSON lines it holds as long as the hidden file beside the rows is there and the rows are as the sink left",
        "them; without it they are read as any file. A database is read by `pd.read_sql`, so the last column says what it",
        "holds. Whatever is not `same` is said here; what is refused is refused in one sentence before a row is written.",
        "Made by `python tests/test_what_comes_back.py`, whose law goes by it.",
        "",
        "| dtype | csv | jsonl | parquet | sqlite |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {' | '.join([name.replace('|', '/'), *(k.verdicts[s].said for s in SINKS)])} |" for name, k in KINDS.items()
    ]
    return "\n".join(lines) + "\n"


def test_the_table_is_the_one_that_the_law_goes_by():
    """`python tests/test_what_comes_back.py` writes it again."""
    assert TABLE.read_text(encoding="utf-8") == table()


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")

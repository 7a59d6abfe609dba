"""What columns that stand side by side hold is what each of them holds alone; and a wide file costs little."""

import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab.tables import csv
from mblab.tables.inference import Column, parsed, taken_in
from mblab.tables.together import all_taken_in

from .laws import examples

ODD = (
    *("007", "+5", "-0", "-05", "0x1F", "-0X1F", "1e5", "1E5", "46E85123", "46.0E85123", "1.5e400", "inf", "-inf"),
    *("nan", "NA", "", " 5", "5 ", "true", "0", "1", "1.", "+0.5", ".5", "-.5", "00.5", "0.0", "-0.0", "1,5", "1_000"),
    *("9007199254740993", "-9007199254740993", "9223372036854775808", "18446744073709551615", "9" * 20, "9" * 310),
    *("0.1000000000000000056", "1225717802.1679841607", "0.10000000000000001", "9" * 310 + ".5", "1" * 5000),
    *("2026-01-01", "12:30", "2026-01-01T10:00:00", "abc", "٣", "-", "+", "1-2"),
)
WRITTEN = {
    "whole": st.integers(-1000, 1000).map(str),
    "wide": st.integers(-(2**65), 2**65).map(str),
    "fractions": st.floats(allow_nan=False, allow_infinity=False).map(repr),
    "decimals": st.decimals(-1000, 1000, places=20).map("{:f}".format),
    "commas": st.integers(0, 99).map("{},5".format),
    "odd": st.sampled_from(ODD),
}


@st.composite
def column(draw, rows):
    """Draw texts mostly of one kind, with nulls and now and then something odd."""
    kind = WRITTEN[draw(st.sampled_from(sorted(WRITTEN)))]
    cell = draw(st.sampled_from([kind, st.none() | kind, kind | st.sampled_from(ODD)]))
    return draw(st.lists(cell, min_size=rows, max_size=rows))


@given(
    st.data(),
    st.lists(st.sampled_from([0, 1, 2, 5, 30]), min_size=1, max_size=3),
    st.integers(1, 5),
    st.sampled_from(".,"),
)
@examples(2000)
def test_columns_together_are_what_each_is_alone(data, blocks, width, decimal):
    """All facts, block after block, of texts that stand anywhere in a block; values are those that reading gives."""
    alone = together = [Column(pa.null())] * width
    for rows in blocks:
        before = data.draw(st.integers(0, 2))
        texts = [pa.array(data.draw(column(before + rows)), pa.string())[before:] for _ in range(width)]
        alone = [taken_in(known, text, decimal) for known, text in zip(alone, texts, strict=True)]
        together, values = all_taken_in(together, texts, decimal)

        assert together == alone
        for text, found in zip(texts, values, strict=True):
            assert repr(found.to_pylist()) == repr(parsed(text, found.type, decimal).to_pylist())


@pytest.mark.parametrize(
    ("odd", "dtype"),
    {
        "7": "float64",
        "007.5": "str",
        "46.0E85123": "str",
        "1225717802.1679841607": "str",
        "": "float64",
        "1" * 310: "str",
        "-" + "1" * 5000: "str",
    }.items(),
)
def test_one_odd_number_says_what_its_column_is_and_no_other(odd, dtype, tmp_path):
    """In the middle of a hundred columns; digits beyond any float64 were a bare error of Python's."""
    path = tmp_path / "wide.csv"
    rows = [",".join(f"{row}.{i}" for i in range(100)) for row in range(5)]
    path.write_text(",".join(f"c{i}" for i in range(100)) + "\n" + "\n".join(rows) + "\n")
    path.write_text(path.read_text().replace(",3.50,", f",{odd},"))
    found = pd.concat([batch.rows for batch in mblab.replay(path, rate=1).open()])

    assert found.pop("c50").dtype == dtype
    assert set(found.dtypes.astype(str)) == {"float64"}


@pytest.mark.parametrize("digits", ["1" * 310, "-" + "1" * 5000, "9" * 309])
def test_a_whole_number_beyond_any_float_is_text(digits, tmp_path):
    """Alone in its column."""
    path = tmp_path / "ids.csv"
    path.write_text(f"t,v\n1,{digits}\n2,5\n")
    found = pd.concat([batch.rows for batch in mblab.replay(path, arrival="t").open()])

    assert found["v"].tolist() == [digits, "5"]


@pytest.mark.parametrize(
    ("first", "rest", "kind"),
    [
        ("NA", "5", "int64"),
        (" n/a ", "0.5", "double"),
        ("missing", "5", "int64"),
        ("missing", "2026-01-01", "date32[day]"),
        ("TRUE", "false", "bool"),
        ("-inf", "1.5", "double"),
        ("Infinity", "1e5", "double"),
        ("information", "5", "string"),
        ("12 Main St", "5", "string"),
        ("missing us", "5", "string"),
        ("2026-01-01 10:00Z", "2026-01-01T10:00:00+02:00", "timestamp[s, tz=UTC]"),
        ("2026-01-01", "2026-01-01 10:00:00.5", "timestamp[ns]"),
        ("12:30", "2026-01-01", "string"),
    ],
)
def test_what_a_column_begins_with_is_a_look_and_no_more(first, rest, kind):
    """Words that stand for nothing, also one's own, begin columns of any kind; text is told by its letters."""
    found = taken_in(Column(pa.null()), pa.array([first, rest]), nulls=("NA", "n/a", "missing"))

    assert str(found.type) == kind


@pytest.mark.parametrize("kept_bytes", [0, 3000, 1 << 26])
def test_what_is_kept_are_values_of_the_type_that_the_column_has_in_the_end(kept_bytes, tmp_path, monkeypatch):
    """A zero with a minus stays one when whole numbers become floats in a later block, and digits when they are text."""
    path = tmp_path / "rows.csv"
    path.write_text("t,f,s\n" + "".join(f"{i},-0,{i}\n" for i in range(200)) + "200,0.5,a\n")
    monkeypatch.setattr(csv, "PARSE_BYTES", 256)
    table = csv.CsvTable(path, kept_bytes=kept_bytes)
    found = pd.concat(table.read(["t", "f", "s"]))

    assert np.signbit(found["f"][:200]).all()
    assert found["s"].tolist() == [*map(str, range(200)), "a"]
    assert found["t"].dtype == "int64"


def test_a_wide_file_costs_a_few_times_what_pandas_takes(tmp_path):
    """Measured 3 times, on a quiet machine; here only what is far off fails, as a hundred looks at each column were."""
    path = tmp_path / "wide.csv"
    pd.DataFrame(np.random.default_rng(1).normal(size=(1000, 100))).rename(columns=str).to_csv(path, index=False)

    def cost(read):
        began = time.process_time()
        read(path)
        return time.process_time() - began

    ours = min(cost(lambda path: list(mblab.replay(path, rate=1e6).open())) for _ in range(5))

    assert ours < 10 * min(cost(pd.read_csv) for _ in range(5))

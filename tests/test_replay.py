"""Replay: rows as they are, arriving when they arrived; and every way in which data cannot be replayed."""

import json
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mblab import Lab
from mblab.errors import ColumnError, MblabError, SettingError, SettingTypeError, SourceChanged, SourceError
from mblab.sources import Source, SourceWarning, replay
from mblab.tables import base as tables
from mblab.tables import csv, parquet

from .laws import examples

TIMES = pd.to_datetime(
    ["2026-01-01 10:00", "2026-01-01 10:00:00.25", "2026-01-01 10:00:00.25", "2026-01-01 10:01"], format="ISO8601"
)
TRIPS = pd.DataFrame({"seen": TIMES, "km": [1, 2, 3, 4], "city": ["a", "b", None, "d"]})
ARRIVALS = [0, 250_000_000, 250_000_000, 60_000_000_000]


def arrival_ns(source):
    return [int(a) for block in source.open() for a in block.arrival_ns]


def rows_of(source):
    return pd.concat([block.rows for block in source.open()], ignore_index=True)


@pytest.fixture
def save(tmp_path):
    """Write a frame as a file and return its path."""

    def save(frame, name="trips.parquet", **options):
        path = tmp_path / name
        if name.endswith(".csv"):
            frame.to_csv(path, index=False)
        else:
            pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, **options)
        return path

    return save


@pytest.fixture
def small_pieces(monkeypatch):
    """Decode files four rows at a time."""
    monkeypatch.setattr(tables, "DECODE_ROWS", 4)
    monkeypatch.setattr(parquet, "DECODE_ROWS", 4)


# What a replay gives


@pytest.mark.parametrize("kind", ["frame", "table", "record batch", "parquet", "csv", "str path"])
def test_every_kind_of_data_gives_the_same_rows_and_arrivals(kind, save):
    """Arrival is the time since the first row, in ns; rows are untouched."""
    table = pa.Table.from_pandas(TRIPS)
    data = {
        "frame": lambda: TRIPS,
        "table": lambda: table,
        "record batch": lambda: table.to_batches()[0],
        "parquet": lambda: save(TRIPS),
        "csv": lambda: save(TRIPS, "trips.csv"),
        "str path": lambda: str(save(TRIPS)),
    }[kind]()
    source = replay(data, arrival="seen")

    assert arrival_ns(source) == ARRIVALS
    pd.testing.assert_frame_equal(rows_of(source), TRIPS, check_dtype=kind != "csv")
    assert isinstance(source, Source)
    assert not source.endless


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("tz", [None, "UTC", "Asia/Kolkata"])
def test_timestamps_of_any_unit_and_zone_are_understood(unit, tz):
    """Only differences count, exactly."""
    times = (
        pd.Series(pd.to_datetime(["2026-01-01 10:00:00", "2026-01-01 10:00:07"])).dt.tz_localize(tz).dt.as_unit(unit)
    )
    source = replay(pd.DataFrame({"t": times}), arrival="t")

    assert arrival_ns(source) == [0, 7_000_000_000]
    assert rows_of(source)["t"].dtype == times.dtype


@pytest.mark.parametrize(
    ("unit", "ns"), [("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1), ("min", 60 * 10**9), ("h", 3600 * 10**9)]
)
@pytest.mark.parametrize(
    "dtype", ["int64", "int32", "uint8", "float64", "float32", "Int64", "Float64", "int64[pyarrow]"]
)
def test_numbers_count_in_the_unit(unit, ns, dtype):
    """Numbers of any numeric dtype are seconds unless `unit` says otherwise."""
    source = replay(pd.DataFrame({"t": pd.Series([5, 7, 100], dtype=dtype)}), arrival="t", unit=unit)

    assert arrival_ns(source) == [0, 2 * ns, 95 * ns]


def test_float_epoch_seconds_keep_what_a_float_holds():
    """1.7e9 s as a float still tells quarters of a second exactly."""
    source = replay(pd.DataFrame({"t": [1.7e9, 1.7e9 + 0.25, 1.7e9 + 1.5]}), arrival="t")

    assert arrival_ns(source) == [0, 250_000_000, 1_500_000_000]


def test_timedeltas_and_arrow_timestamps_are_times_too():
    """Whatever dtype holds a time will do."""
    waited = pd.Series(pd.to_timedelta(["5s", "7s"]))
    arrow = pd.Series(TIMES[:2]).astype("timestamp[us, UTC][pyarrow]")
    objects = pd.Series(list(TIMES[:2]), dtype=object)

    assert arrival_ns(replay(pd.DataFrame({"t": waited}), arrival="t")) == [0, 2_000_000_000]
    assert arrival_ns(replay(pd.DataFrame({"t": arrow}), arrival="t")) == ARRIVALS[:2]
    assert arrival_ns(replay(pd.DataFrame({"t": objects}), arrival="t")) == ARRIVALS[:2]


def test_event_time_serves_when_there_is_no_arrival():
    """One column of times is enough."""
    source = replay(TRIPS, event_time="seen")

    assert arrival_ns(source) == ARRIVALS
    assert source.event_time == "seen"


@pytest.mark.parametrize("rate", [500, 3, 0.1])
def test_a_rate_spaces_rows_evenly_from_0(rate):
    """Row i arrives at i/rate, rounded to 1 ns."""
    source = replay(pd.DataFrame({"km": range(1000)}), rate=rate)

    assert arrival_ns(source) == [round(i * 1e9 / rate) for i in range(1000)]
    assert source.speedup == 1


def test_speedup_is_carried_not_applied():
    """Arrivals are source time; the feed divides."""
    source = replay(TRIPS, arrival="seen", speedup=600)

    assert source.speedup == 600
    assert arrival_ns(source) == ARRIVALS


def test_columns_are_projected_and_may_leave_out_the_arrival():
    """The arrival column is read, but need not be in the rows."""
    source = replay(TRIPS, arrival="seen", columns=["city", "km"])

    assert list(rows_of(source).columns) == ["city", "km"]
    assert arrival_ns(source) == ARRIVALS


@pytest.mark.parametrize("name", ["trips.parquet", "trips.csv"])
def test_columns_of_a_file_are_projected_too(name, save):
    """The same from a file, in the order asked for."""
    source = replay(save(TRIPS, name), arrival="seen", columns=["city", "km"])

    assert list(rows_of(source).columns) == ["city", "km"]
    assert arrival_ns(source) == ARRIVALS


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 99])
def test_a_limit_ends_the_replay(limit, save, small_pieces):
    """At most `limit` rows, from frame and file alike."""
    trips = pd.concat([TRIPS.assign(seen=TIMES + pd.Timedelta(hours=i)) for i in range(3)])

    for data in (trips, save(trips), save(trips, "trips.csv")):
        source = replay(data, arrival="seen", limit=limit)

        assert rows_of(source)["km"].tolist() == trips["km"].tolist()[:limit]


def test_a_frame_is_one_block_with_a_range_index():
    """In memory nothing is cut or copied before the engine does."""
    (block,) = replay(TRIPS.set_index(pd.Index([9, 8, 7, 6])), arrival="seen").open()

    assert block.rows.index.equals(pd.RangeIndex(4))
    assert np.shares_memory(block.rows["km"].to_numpy(), TRIPS["km"].to_numpy())


def test_a_named_index_becomes_a_column():
    """A frame indexed by time can be replayed by it."""
    source = replay(TRIPS.set_index("seen"), arrival="seen")

    assert arrival_ns(source) == ARRIVALS
    assert list(rows_of(source).columns) == ["seen", "km", "city"]


def test_later_changes_to_the_users_frame_do_not_show():
    """A replay repeats what it was given."""
    trips = TRIPS.copy()
    source = replay(trips, arrival="seen")
    trips.loc[0, "km"] = 99
    trips["new"] = 1

    pd.testing.assert_frame_equal(rows_of(source), TRIPS)


def test_changes_to_a_block_do_not_show_in_the_next_run():
    """Opened again it gives the same rows."""
    source = replay(TRIPS, arrival="seen")
    rows = next(source.open()).rows
    rows.loc[0, "km"] = 99

    assert rows_of(source)["km"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_naive_times_are_localised(zone):
    """Local times across the end of summer time are an hour further apart."""
    local = pd.to_datetime(["2024-11-02 12:00", "2024-11-03 12:00"])
    source = replay(pd.DataFrame({"t": local}), arrival="t", tz=zone)

    assert arrival_ns(source)[1] == (25 if zone == "America/New_York" else 24) * 3600 * 10**9


# Files


def wide(n=23):
    return pd.DataFrame(
        {
            "t": np.arange(n) * 0.5,
            "whole": np.arange(n),
            "holes": pd.array([None if i == n - 1 else i for i in range(n)], dtype="Int64"),
            "kind": pd.Categorical([["a", "b", "c"][i * 3 // n] for i in range(n)]),
            "late_text": ["7"] * (n - 1) + ["x"],
        }
    )


@pytest.mark.parametrize("row_group_size", [3, 4, 10, 100])
@pytest.mark.parametrize("name", ["wide.parquet", "wide.csv"])
def test_pieces_end_at_the_same_rows_whatever_the_file_is_made_of(name, row_group_size, save, small_pieces):
    """Blocks are cut at multiples of the decode size, so a position finds its block again."""
    blocks = list(replay(save(wide(), name, row_group_size=row_group_size), arrival="t").open())

    assert [len(b.rows) for b in blocks] == [4, 4, 4, 4, 4, 3]
    assert [b.position for b in blocks] == [{"row": i} for i in range(0, 23, 4)]
    assert all(b.rows.index.equals(pd.RangeIndex(len(b.rows))) for b in blocks)


@pytest.mark.parametrize("name", ["wide.parquet", "wide.csv"])
@pytest.mark.parametrize("row_group_size", [3, 100])
def test_a_position_gives_its_block_again(name, row_group_size, save, small_pieces):
    """The rest of a stream from any position is what it was, also through JSON."""
    source = replay(save(wide(), name, row_group_size=row_group_size), arrival="t")
    blocks = list(source.open())

    for i, block in enumerate(blocks):
        again = list(source.open(json.loads(json.dumps(block.position))))

        for found, wanted in zip(again, blocks[i:], strict=True):
            pd.testing.assert_frame_equal(found.rows, wanted.rows)
            assert found.arrival_ns.tolist() == wanted.arrival_ns.tolist()
            assert found.position == wanted.position


@given(row=st.integers(0, 4))
def test_a_frame_is_resumed_at_any_row(row):
    """Arrivals still count from the first row of all."""
    assert [a for b in replay(TRIPS, arrival="seen").open({"row": row}) for a in b.arrival_ns] == ARRIVALS[row:]
    assert [a for b in replay(TRIPS, rate=2).open({"row": row}) for a in b.arrival_ns] == [
        i * 500_000_000 for i in range(row, 4)
    ]


def test_a_parquet_column_has_one_dtype_in_all_pieces(save, small_pieces):
    """Nulls in the last piece only make the first ones float too, and categories are the whole file's."""
    frame = wide().assign(flag=[True] * 22 + [None])
    table = pa.Table.from_pandas(frame).replace_schema_metadata(None)
    path = save(frame)
    for options in ({}, {"write_statistics": False}, {"use_dictionary": False}):
        pq.write_table(table, path, row_group_size=5, **options)
        blocks = list(replay(path, arrival="t").open())

        assert {str(b.rows["holes"].dtype) for b in blocks} == {"float64"}
        assert {str(b.rows["whole"].dtype) for b in blocks} == {"int64"}
        assert {str(b.rows["flag"].dtype) for b in blocks} == {"object"}
        assert all(list(b.rows["kind"].cat.categories) == ["a", "b", "c"] for b in blocks)


def test_rows_of_a_parquet_file_are_what_pandas_reads(save, small_pieces):
    """Nullable and categorical dtypes come back as they were saved."""
    path = save(wide(), row_group_size=5)

    pd.testing.assert_frame_equal(rows_of(replay(path, arrival="t")), pd.read_parquet(path))


def test_a_parquet_file_is_read_in_flat_memory(save):
    """What was given out is let go: half the file is never in memory at once."""
    path = save(pd.DataFrame({"t": np.arange(1_500_000.0)}), row_group_size=25_000, use_dictionary=False)
    blocks = replay(path, arrival="t").open()
    before, most = pa.total_allocated_bytes(), 0
    for _ in blocks:
        most = max(most, pa.total_allocated_bytes() - before)

    assert most < path.stat().st_size / 2


def test_a_saved_index_is_no_trouble(tmp_path):
    """A named index is a column, an unnamed one is left out."""
    TRIPS.set_index("seen").to_parquet(tmp_path / "named.parquet")
    TRIPS.set_index(pd.Index(list("abcd"))).to_parquet(tmp_path / "unnamed.parquet")

    assert arrival_ns(replay(tmp_path / "named.parquet", arrival="seen")) == ARRIVALS
    assert list(rows_of(replay(tmp_path / "unnamed.parquet", arrival="seen")).columns) == ["seen", "km", "city"]


@pytest.mark.parametrize(
    ("first", "last", "dtype"),
    [
        ("1", "2", "int64"),
        ("1", "2.5", "float64"),
        ("1", "", "float64"),
        ("", "7.5", "float64"),
        ("1", "x", "str"),
        ("true", "false", "bool"),
        ("true", "maybe", "str"),
        ("2026-01-01", "2026-01-02 10:00:00.5", "datetime64[ns]"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "datetime64[ns, UTC]"),
        ("2026-01-01", "01/02/2026", "str"),
        ('""', "x", "str"),
    ],
)
def test_a_csv_column_has_the_one_dtype_that_fits_all_of_it(first, last, dtype, tmp_path, small_pieces, monkeypatch):
    """Also when only the last of many rows tells: the reader sees 64 bytes at a time."""
    monkeypatch.setattr(csv, "PARSE_BYTES", 64)
    (tmp_path / "long.csv").write_text("t,v\n" + f"0,{first}\n" * 100 + f"0,{last}\n")
    dtypes = [str(b.rows["v"].dtype) for b in replay(tmp_path / "long.csv", arrival="t").open()]

    assert dtypes == [dtype] * 26


def test_a_file_that_was_written_to_is_not_read_as_the_old_one(save):
    """A replay repeats, so a changed file must be named again."""
    path = save(TRIPS)
    source = replay(path, arrival="seen")
    os.utime(path, ns=(1, 1))

    with pytest.raises(SourceChanged, match="has changed since replay"):
        list(source.open())


# Order


def test_a_frame_out_of_order_is_sorted_with_one_warning():
    """Stable: equal arrivals keep their order."""
    mixed = TRIPS.iloc[[3, 1, 0, 2]]
    with pytest.warns(SourceWarning, match="'seen' steps back in 2 row") as caught:
        source = replay(mixed, arrival="seen")

    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert arrival_ns(source) == ARRIVALS
    assert rows_of(source)["km"].tolist() == [1, 2, 3, 4]


def test_sort_true_sorts_a_frame_without_a_word():
    """The user said so."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = replay(TRIPS.iloc[::-1], arrival="seen", sort=True)

    assert rows_of(source)["km"].tolist() == [1, 3, 2, 4]


@pytest.mark.parametrize("name", ["trips.parquet", "trips.csv"])
@pytest.mark.parametrize(("order", "row"), [([0, 3, 1, 2], 2), ([0, 1, 2, 3, 0], 4)])
def test_a_file_out_of_order_is_refused_at_its_first_such_row(name, order, row, save, small_pieces):
    """Row and both values are named, also from one piece to the next."""
    source = replay(save(TRIPS.iloc[order], name), arrival="seen")

    with pytest.raises(SourceError, match=rf"row {row} .* after 2026-01-01 10:01:00.*sort=True"):
        list(source.open())


@pytest.mark.parametrize("name", ["trips.parquet", "trips.csv"])
def test_a_file_is_sorted_in_memory_on_request(name, save, small_pieces):
    """sort=True gives what the sorted frame gives."""
    mixed = pd.concat([TRIPS.iloc[[3, 1]], TRIPS.iloc[[0, 2]], TRIPS])
    source = replay(save(mixed, name), arrival="seen", sort=True, limit=5)

    assert rows_of(source)["km"].tolist() == [1, 1, 2, 3, 2]
    assert rows_of(source)["km"].tolist() == rows_of(replay(mixed, arrival="seen", sort=True, limit=5))["km"].tolist()


@examples(50)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_arrivals_never_step_back_and_no_row_is_lost(times):
    """Whatever the order, the rows come back sorted and complete."""
    frame = pd.DataFrame({"t": times, "n": range(len(times))})
    source = replay(frame, arrival="t", sort=True)

    assert arrival_ns(source) == [(t - min(times)) * 10**9 for t in sorted(times)]
    assert rows_of(source)["n"].tolist() == sorted(range(len(times)), key=times.__getitem__)


# What is refused


def refused(kind, data, **knobs):
    with pytest.raises(kind) as caught:
        list(replay(data, **knobs).open())
    assert caught.value.__suppress_context__ or caught.value.__context__ is None  # no traceback of pandas or Arrow
    return str(caught.value)


def test_nothing_to_take_arrival_times_from_lists_the_columns_that_hold_times(save):
    """The message shows the way on."""
    for data in (TRIPS, save(TRIPS), save(TRIPS, "trips.csv")):
        assert "['seen']" in refused(SettingError, data)


@pytest.mark.parametrize("knob", ["arrival", "event_time", "columns"])
def test_an_unknown_column_is_named_with_the_nearest_one(knob, save):
    """Did you mean."""
    knobs = {"arrival": "seen", knob: ["sen"] if knob == "columns" else "sen"}

    for data in (TRIPS, save(TRIPS), save(TRIPS, "trips.csv")):
        assert "did you mean 'seen'?" in refused(ColumnError, data, **knobs)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"arrival": 5}, "arrival must be the name of a column, got 5"),
        ({"event_time": ["seen"]}, "event_time must be"),
        ({"speedup": 0}, "speedup must be a finite number above 0, got 0"),
        ({"speedup": -1}, "speedup"),
        ({"speedup": float("nan")}, "speedup"),
        ({"speedup": True}, "speedup"),
        ({"speedup": "600"}, "speedup"),
        ({"limit": 0}, "limit must be a whole number, at least 1"),
        ({"limit": 1.5}, "limit must be a whole number"),
        ({"limit": True}, "limit"),
        ({"columns": "seen"}, "columns must be a list"),
        ({"columns": []}, "at least one column"),
        ({"columns": ["km", "km"]}, "each once"),
        ({"columns": [["km"]]}, "columns must be"),
        ({"columns": 3}, "columns must be a list"),
        ({"sort": "yes"}, "sort must be True or False"),
        ({"tz": "Mars/Olympus"}, "tz='Mars/Olympus' is no time zone"),
        ({"tz": "America/New_Yrok"}, "did you mean 'America/New_York'?"),
        ({"tz": 5}, "tz must be the name"),
        ({"unit": "fortnight"}, "unit must be 's', 'ms', 'us', 'ns', 'min' or 'h'"),
        ({"unit": 5}, "unit must be 's', 'ms', 'us', 'ns', 'min' or 'h'"),
    ],
)
def test_an_argument_out_of_its_range_is_refused_by_name(knobs, said):
    """Wrong type, zero, negative, NaN."""
    assert said in refused(SettingError, TRIPS, **{"arrival": "seen", **knobs})


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"rate": 0}, "rate must be a finite number above 0"),
        ({"rate": True}, "rate"),
        ({"rate": "5"}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"rate": 5, "speedup": 2}, "so speedup= cannot hold"),
        ({"rate": 5, "arrival": "seen"}, "so arrival= cannot hold"),
        ({"rate": 5, "sort": True}, "so sort= cannot hold"),
    ],
)
def test_a_rate_stands_alone(knobs, said):
    """Rows that are spaced evenly have no speed-up and no arrival times."""
    assert said in refused(SettingError, TRIPS, **knobs)


@pytest.mark.parametrize(
    "data", [None, 5, [1, 2], {"a": [1]}, TRIPS["km"], np.zeros(3)], ids=lambda d: type(d).__name__
)
def test_what_is_no_data_is_refused(data):
    """The message says what would do."""
    assert "data must be a DataFrame, an Arrow table, or the path" in refused(SettingTypeError, data, rate=1)


def test_empty_data_is_refused_at_once(save):
    """No rows is a mistake, and it shows before a run."""
    empty = TRIPS.iloc[:0]
    for data in (empty, save(empty), save(empty, "trips.csv")):
        with pytest.raises(SourceError, match="no rows to replay"):
            replay(data, arrival="seen")


def test_columns_of_one_name_are_refused(tmp_path):
    """They could not be told apart."""
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    (tmp_path / "twice.csv").write_text("a,b,a\n1,2,3\n")

    for data in (twice, pa.table([[1], [2]], names=["a", "a"]), tmp_path / "twice.csv"):
        assert "['a'] more than once" in refused(ColumnError, data, rate=1)


@pytest.mark.parametrize("name", ["trips.parquet", "trips.csv"])
@pytest.mark.parametrize("column", [TIMES.to_series().to_numpy(), [1.0, 2.0, 3.0, 4.0]])
def test_null_arrivals_are_counted_and_the_first_is_named(name, column, save):
    """Count and first row."""
    frame = pd.DataFrame({"t": pd.Series(column).where([True, False, True, False]), "x": 1})

    for data in (frame, save(frame, name)):
        said = refused(SourceError, data, arrival="t")

        assert "2 null(s)" in said
        assert "the first in row 1" in said


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["10:00", "10:01"], "got '10:00'"),
        (["01/02/2026", "02/02/2026"], "format='%d/%m/%Y') where the day comes first, else with format='%m/%d/%Y'"),
        ([True, False], "must hold times"),
        ([b"x", b"y"], "must hold times"),
        (pd.Categorical(["a", "b"]), "must hold times"),
        ([0.0, float("inf")], "got inf in row 1"),
        ([1e30, 2e30], "within 146 years"),
        ([2**62, 2**62 + 1], "name the unit"),
        (np.array(["0001-01-01", "2026-01-01"], "datetime64[s]"), "1678 to 2261"),
    ],
)
def test_a_column_that_holds_no_usable_times_is_refused(column, said):
    """Text is never guessed at."""
    assert said in refused(SourceError, pd.DataFrame({"t": column}), arrival="t")


def test_text_in_a_csv_column_is_refused_with_the_remedy(tmp_path):
    """Only ISO 8601 is read as a time."""
    (tmp_path / "trips.csv").write_text("t,x\n01/02/2026,1\n02/02/2026,2\n")

    assert "pd.to_datetime" in refused(SourceError, tmp_path / "trips.csv", arrival="t")


@pytest.mark.parametrize("time", ["2024-03-10 02:30", "2024-11-03 01:30"])
def test_local_times_that_never_were_or_were_twice_are_named(time):
    """Impossible or ambiguous where the clock was changed."""
    frame = pd.DataFrame({"t": pd.to_datetime(["2024-01-01 00:00", time])})

    assert "rows [1], the first " + time in refused(SourceError, frame, arrival="t", tz="America/New_York")


@pytest.mark.parametrize(
    "times", [pd.Series(TIMES).dt.tz_localize("UTC"), pd.Series([1, 2, 3, 4])], ids=["aware", "numbers"]
)
def test_a_zone_for_times_that_need_none_is_refused(times):
    """`tz` never moves a time that already says when it was."""
    assert "leave tz out" in refused(SettingError, pd.DataFrame({"t": times}), arrival="t", tz="Europe/Berlin")


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    """Missing, a folder, another kind, corrupt, empty."""
    (tmp_path / "flights.parquet").write_bytes(b"PAR1 nonsense")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "rows.xlsx").write_text("")
    (tmp_path / "coded.csv").write_bytes(b"t,x\n1,\xff\xfe\n")

    assert "did you mean 'flights.parquet'?" in refused(SourceError, tmp_path / "flihgts.parquet", rate=1)
    assert "there is no folder" in refused(SourceError, tmp_path / "no" / "flights.parquet", rate=1)
    assert "is a folder" in refused(SourceError, tmp_path, rate=1)
    assert "must end in .parquet, .csv, .jsonl or .ndjson" in refused(SourceError, tmp_path / "rows.xlsx", rate=1)
    assert "breaks off" in refused(SourceError, tmp_path / "flights.parquet", rate=1)
    assert "is empty" in refused(SourceError, tmp_path / "empty.csv", rate=1)
    assert "UTF-8" in refused(SourceError, tmp_path / "coded.csv", rate=1)


def test_a_parquet_file_that_breaks_off_is_refused_in_one_sentence(save):
    """Damage that only decoding finds is a `SourceError` too."""
    path = save(pd.DataFrame({"t": np.arange(50_000.0)}), compression="none", use_dictionary=False)
    whole = bytearray(path.read_bytes())
    whole[4:40] = b"\xff" * 36
    path.write_bytes(whole)

    assert "cannot be read" in refused(SourceError, path, arrival="t")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n3\n", "line 3, must have 2 values like the header, got 1: '3'"),
        ("a,b\n1,2\n\n3,4,5\n", "line 4, must have 2 values like the header, got 3: '3,4,5'"),
        ('a,b\n"x\ny",2\n3\n', "line 4, must have 2 values like the header, got 1"),
    ],
)
def test_a_ragged_csv_line_is_named(text, said, tmp_path):
    """File, line of the file, and both counts."""
    (tmp_path / "ragged.csv").write_text(text)

    assert said in refused(SourceError, tmp_path / "ragged.csv", rate=1)
    assert "ragged.csv" in refused(SourceError, tmp_path / "ragged.csv", rate=1)


def test_every_refusal_is_an_mblab_error(tmp_path):
    """One `except` catches them."""
    for kind in (SettingError, SettingTypeError, SourceError, SourceChanged, ColumnError):
        assert issubclass(kind, MblabError)


# What it says of itself


def test_the_code_of_a_replay_makes_it_again(save):
    """`code()` names only what is not a default, and the input by its expression."""
    source = replay(save(TRIPS), arrival="seen", event_time="seen", speedup=600, columns=["km"], limit=3, sort=True)

    assert source.code("options.input") == (
        "mblab.replay(options.input, arrival='seen', event_time='seen', speedup=600, "
        "columns=['km'], limit=3, sort=True)"
    )
    assert eval(source.code("path"), {"mblab": type("m", (), {"replay": replay}), "path": source.input_path}) == source
    assert replay(TRIPS, rate=2.5).code("rows") == "mblab.replay(rows, rate=2.5)"
    assert (
        replay(TRIPS.assign(n=range(4)), arrival="n", unit="ms").code("rows")
        == "mblab.replay(rows, arrival='n', unit='ms')"
    )


def test_the_frame_for_an_export_is_in_arrival_order_with_all_columns():
    """Saved as a file it can be replayed without sort=True."""
    source = replay(TRIPS.iloc[::-1], arrival="seen", columns=["km"], sort=True)

    assert source.input_path is None
    assert list(source.frame.columns) == ["seen", "km", "city"]
    assert source.frame["seen"].is_monotonic_increasing


def test_a_replay_says_what_it_is(save):
    """Name, repr and description are short and contain no data."""
    source = replay(save(TRIPS), arrival="seen", speedup=60)

    assert source.name == "trips.parquet"
    assert source.describe() == "replay of trips.parquet: 4 rows, by seen, 60 times real speed"
    assert repr(replay(TRIPS, rate=5)) == "replay(<DataFrame, 4 rows>, rate=5)"
    assert source.input_path == Path(source.data)
    assert source.frame is None


def test_replays_of_one_file_are_equal_and_can_be_pickled(save):
    """By value for files; a frame is equal to itself only."""
    path = save(TRIPS)
    source = replay(path, arrival="seen")

    assert source == replay(path, arrival="seen") != replay(path, arrival="seen", speedup=2)
    assert hash(source) == hash(replay(path, arrival="seen"))
    assert arrival_ns(pickle.loads(pickle.dumps(source))) == ARRIVALS
    assert arrival_ns(pickle.loads(pickle.dumps(replay(TRIPS, arrival="seen")))) == ARRIVALS
    assert replay(TRIPS, arrival="seen") != replay(TRIPS, arrival="seen")


def test_a_step_that_changes_lists_in_place_does_not_change_the_source():
    """Every run begins from the same rows, and so does a batch that is run again."""
    frame = pd.DataFrame({"t": [0.1, 0.2, 1.1], "tags": [["a"], ["b"], {"c": [1]}]})
    lab = Lab(replay(frame, arrival="t"), interval="500ms")

    @lab.batch
    def label(batch):
        for tags in batch["tags"]:
            (tags if isinstance(tags, list) else tags["c"]).append("x")
        return {"longest": max(len(t if isinstance(t, list) else t["c"]) for t in batch["tags"])}

    first, again = (lab.run(clock="virtual", cost=0).output for _ in range(2))

    assert first["longest"].tolist() == [2, 2]
    pd.testing.assert_frame_equal(first, again)
    assert lab.rerun(0).output["longest"].tolist() == [2]
    assert frame["tags"].tolist() == [["a"], ["b"], {"c": [1]}]

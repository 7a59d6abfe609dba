"""How often a file is gone through: not before a run needs it, and once for all that is asked of its columns."""

import json

import pandas as pd
import pytest

import mblab
from mblab import replay
from mblab.sinks import Delivery, csv, jsonl
from mblab.tables import own
from mblab.tables.files import open_path, open_table
from mblab.tables.given import given_types
from mblab.tables.parquet import ParquetTable

RUN = "0123456789ab"


def written(path, *batches):
    sink = (csv if path.suffix == ".csv" else jsonl)(path)
    sink.open(RUN)
    for batch_id, batch in enumerate(batches):
        sink.deliver(batch, Delivery(RUN, batch_id))
    sink.close()
    return path


@pytest.fixture
def calls(monkeypatch):
    """How often own files were gone through, and for how many columns each time."""
    made = []

    def counted(name, size):
        before = getattr(own.OwnTable, name)

        def counting(self, *args):
            made.append(size(*args))
            return before(self, *args)

        monkeypatch.setattr(own.OwnTable, name, counting)

    counted("_noted", lambda known, _: len(known))
    before = own.crc_of
    monkeypatch.setattr(own, "crc_of", lambda read, size: made.append("digest") or before(read, size))
    return made


TWO = [
    pd.DataFrame({f"c{i}": pd.Series([2**53 + 1, 5], dtype="int64") for i in range(6)}),
    pd.DataFrame({f"c{i}": pd.Series([2**53 + 1, None], dtype="Int64") for i in range(6)}),
]
CATEGORIES = [
    pd.DataFrame({f"c{i}": pd.Series([f"k{n}-{m}" for m in range(700)], dtype="category") for i in range(3)})
    for n in range(2)
]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(("batches", "width"), [(TWO, 6), (CATEGORIES, 3)], ids=["two integer dtypes", "categories"])
def test_an_own_file_is_parsed_once_for_all_its_columns_and_once_for_its_rows(batches, width, kind, calls, tmp_path):
    """It was parsed twice for each column whose batches had two dtypes."""
    table = open_table(written(tmp_path / f"rows.{kind}", *batches))
    found = pd.concat(table.read(table.names), ignore_index=True)

    assert [n for n in calls if n != "digest"] == [width, width]
    assert calls.count("digest") == 1
    whole = pd.concat(batches, ignore_index=True)
    assert all(found[c].astype(str).tolist() == whole[c].astype(str).tolist() for c in whole)


@pytest.mark.parametrize("sort", [True, False])
def test_sorted_and_several_own_files_are_parsed_as_often_as_one(sort, calls, tmp_path):
    """What is asked of all columns together is asked of each file once."""
    for part in range(2):
        written(tmp_path / f"part-{part}.csv", *(batch.assign(t=range(2)) for batch in TWO))
    data = tmp_path / "part-*.csv"
    source = replay(data, arrival="t", sort=True) if sort else replay(data, rate=1)
    rows = pd.concat([block.rows for block in source.open()])

    assert (rows.c0.dtype, len(rows)) == ("Int64", 8)
    assert len([n for n in calls if n != "digest" and n > 1]) <= 6


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_named_types_are_looked_at_together(form, monkeypatch, tmp_path):
    """Whether text that becomes numbers has nulls is asked of all columns in one pass."""
    rows = pd.DataFrame({f"c{i}": ["1", "2"] for i in range(5)})
    path = tmp_path / f"rows.{form}"
    rows.to_parquet(path) if form == "parquet" else rows.to_json(path, orient="records", lines=True)
    table = open_path(path, given_types(dict.fromkeys(rows, "int64")))
    made, before = [], type(table)._read
    monkeypatch.setattr(type(table), "_read", lambda *args: made.append(args[1]) or before(*args))

    assert pd.concat(table.read(table.names)).c4.tolist() == [1, 2]
    assert len(made) == 2


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_replay_of_an_own_file_reads_it_when_it_is_opened(kind, calls, tmp_path):
    """The digest is that of a large file, too."""
    path = written(tmp_path / f"rows.{kind}", pd.DataFrame({"t": [1, 2], "id": ["007", "008"]}))
    source = replay(path, arrival="t")
    assert calls == []

    assert next(source.open()).rows.id.tolist() == ["007", "008"]
    assert calls.count("digest") == 1


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(("old", "new"), [("007", "7.5"), ("008", "abc"), ("id", "ix"), ("\n", "\r")])
def test_an_own_file_that_others_changed_to_the_same_length_is_read_as_any(old, new, kind, tmp_path):
    """Nothing of the note holds then, not the names either."""
    path = written(tmp_path / f"rows.{kind}", pd.DataFrame({"t": [1, 2], "id": ["007", "008"]}))
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    if new == "\r" and kind == "jsonl":
        return  # one line of several objects
    copy = tmp_path / "copy" / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    rows, other = (pd.concat([b.rows for b in replay(p, rate=1).open()]) for p in (path, copy))

    pd.testing.assert_frame_equal(rows, other)


def test_a_column_that_others_wrote_into_a_later_line_is_not_lost(tmp_path):
    """The length is the same, and the first line too."""
    path = written(tmp_path / "rows.jsonl", pd.DataFrame({"t": [1, 2], "idx": ["00007", "00008"]}))
    path.write_bytes(path.read_bytes().replace(b'"idx": "00008"', b'"i": "8","j":1'))
    assert len(path.read_bytes().splitlines()[0]) == len(path.read_bytes().splitlines()[1])
    rows = pd.concat([b.rows for b in replay(path, arrival="t").open()])

    assert rows.j.tolist()[1] == 1
    assert rows.idx.tolist()[0] == "00007"


# -- the hour that comes twice -----------------------------------------------------------------------------------------

LOCAL = ["2026-10-25 01:30", "2026-10-25 02:30", "2026-10-25 02:00", "2026-10-25 03:00"]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "glob"])
def test_the_hour_that_comes_twice_is_looked_for_when_a_run_needs_it(form, monkeypatch, tmp_path):
    """All rows say which pass they are in, so all are read: once, and not by replay()."""
    rows = pd.DataFrame({"t": pd.to_datetime(LOCAL)})
    path = tmp_path / f"rows.{'parquet' if form == 'glob' else form}"
    if form == "csv":
        rows.to_csv(path, index=False)
    elif form == "jsonl":
        path.write_text("".join(json.dumps({"t": t.replace(" ", "T") + ":00"}) + "\n" for t in LOCAL))
    else:
        rows.to_parquet(path)
    asked = []
    before = mblab.sources.replayed.second_passes
    monkeypatch.setattr(mblab.sources.replayed, "second_passes", lambda *args: asked.append(1) or before(*args))
    read, whole = [], ParquetTable._read
    monkeypatch.setattr(ParquetTable, "_read", lambda *args: read.append(1) or whole(*args))
    source = replay(
        tmp_path / "rows*.parquet" if form == "glob" else path, arrival="t", tz="Europe/Berlin", ambiguous="infer"
    )
    assert (asked, read) == ([], [])

    assert [t / 60e9 for block in source.open() for t in block.arrival_ns] == [0, 60, 90, 150]
    assert [t / 60e9 for block in source.open() for t in block.arrival_ns] == [0, 60, 90, 150]
    assert asked == [1]


def test_an_hour_that_cannot_be_told_is_refused_when_the_rows_are_read(tmp_path):
    """As other faults that only reading tells."""

    pd.DataFrame({"t": pd.to_datetime(["2026-10-25 02:10", "2026-10-25 02:20"])}).to_parquet(tmp_path / "rows.parquet")
    source = replay(tmp_path / "rows.parquet", arrival="t", tz="Europe/Berlin", ambiguous="infer")
    with pytest.raises(mblab.SourceError, match="come twice in Europe/Berlin in rows 0 to 1"):
        list(source.open())

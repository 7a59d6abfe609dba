"""Columns in the names of folders, whoever laid them out, and folders as data."""

import os

import pandas as pd
import pytest

import mblab
from mblab import Lab, SettingError, SourceError, replay
from mblab.tables.folders import NO_VALUE

ROWS = pd.DataFrame({"t": [1, 2, 3], "v": 5, "region": ["eu", "us", "eu"], "year": [2025, 2026, 2026]})


def everything(source):
    return pd.concat([block.rows for block in source.open()], ignore_index=True)


def laid_out(tmp_path, *folders, ending="parquet", rows=None):
    """A file in each of some folders, its row numbered."""
    for i, folder in enumerate(folders):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame({"t": [i], "v": 5}) if rows is None else rows
        path = tmp_path / folder / f"part-0.{ending}"
        if ending == "parquet":
            frame.to_parquet(path)
        elif ending == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_json(path, orient="records", lines=True)
    return tmp_path


@pytest.mark.parametrize("data", ["", "**/*.parquet", "region=*/*/*.parquet"], ids=["folder", "glob", "by level"])
@pytest.mark.parametrize("sort", [False, True])
def test_keys_of_folders_are_columns_of_the_types_that_pandas_gives(data, sort, tmp_path):
    """S27: at the end, in the order of the folders."""
    ROWS.to_parquet(tmp_path, partition_cols=["region", "year"])
    expected = pd.read_parquet(tmp_path).sort_values("t", ignore_index=True)
    found = everything(replay(tmp_path / data, arrival="t", sort=sort))

    assert list(found.columns) == ["t", "v", "region", "year"]
    assert found["region"].tolist() == ["eu", "us", "eu"]
    assert found["year"].tolist() == [2025, 2026, 2026]
    assert found.dtypes.astype(str).tolist() == expected.dtypes.astype(str).tolist()


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize(
    ("folders", "values"),
    [
        (["k=a%20b%2Fc", "k=%C3%BC"], ["a b/c", "ü"]),
        (["k=1", f"k={NO_VALUE}"], [1, None]),
        (["k=x", f"k={NO_VALUE}"], ["x", None]),
        (["k=1", "k=x"], ["1", "x"]),
        (["k=01", "k=12"], [1, 12]),
        (["k=99999999999", "k=1"], ["99999999999", "1"]),
        (["k=2026-01-01", "k=2026-01-02"], ["2026-01-01", "2026-01-02"]),
        (["plain/k=a=b", "plain/k=c"], ["a=b", "c"]),
        (["k=a/plain", "other"], ["a", None]),
    ],
)
def test_a_key_is_read_as_it_was_meant(folders, values, ending, tmp_path):
    """S27: URL codes, no value, numbers only where all are, folders without one; in files of every kind."""
    laid_out(tmp_path, *folders, ending=ending)
    found = everything(replay(tmp_path / f"**/*.{ending}", arrival="t"))["k"]

    assert [None if pd.isna(v) else v for v in found] == values


@pytest.mark.parametrize("reader", ["replay", "watch"])
def test_a_key_that_is_in_the_file_too_is_the_file_s(reader, tmp_path):
    """S27: once, and in its place."""
    laid_out(tmp_path, "v=7", "v=8")
    pattern = tmp_path / "**/*.parquet"
    found = everything(replay(pattern, arrival="t") if reader == "replay" else mblab.watch(pattern))

    assert list(found.columns) == ["t", "v"]
    assert found["v"].tolist() == [5, 5]


def test_keys_are_asked_for_as_any_column(tmp_path):
    """As arrival, event time, and alone."""
    laid_out(tmp_path, "at=20", "at=10")
    pattern = tmp_path / "*/*.parquet"

    assert everything(replay(pattern, arrival="at", columns=["t"]))["t"].tolist() == [1, 0]
    assert everything(replay(pattern, rate=1, columns=["at"]))["at"].tolist() == [10, 20]
    assert replay(pattern, arrival="t", event_time="at").event_time == "at"
    with pytest.raises(SourceError, match="did you mean 'at'"):
        replay(pattern, arrival="t", columns=["aat"])


def test_a_path_into_one_of_the_folders_keeps_its_key(tmp_path):
    """Nothing is lost when only a part is read."""
    ROWS.to_parquet(tmp_path, partition_cols=["region", "year"])

    assert everything(replay(tmp_path / "region=eu" / "**/*.parquet", arrival="t"))["region"].tolist() == ["eu", "eu"]
    assert everything(replay(tmp_path / "region=eu", arrival="t"))["region"].tolist() == ["eu", "eu"]


def test_keys_of_folders_that_are_watched_are_columns(tmp_path):
    """S27: live; the first file settles what is a number."""
    laid_out(tmp_path, "region=eu/year=2026", f"region={NO_VALUE}/year=2027")
    found = everything(mblab.watch(tmp_path / "**/*.parquet"))

    assert list(found.columns) == ["t", "v", "region", "year"]
    assert [None if pd.isna(v) else v for v in found["region"]] == ["eu", None]
    assert found["year"].tolist() == [2026, 2027]
    assert found["year"].dtype == "int32"
    assert everything(mblab.watch(tmp_path / "**/*.parquet", columns=["year"]))["year"].tolist() == [2026, 2027]
    laid_out(tmp_path, "region=eu/year=later")
    with pytest.raises(SourceError, match="year=later in the name of a folder, where those before have whole numbers"):
        everything(mblab.watch(tmp_path / "**/*.parquet"))


def test_a_recording_has_the_keys_of_folders(tmp_path):
    """S27: as columns of its own."""
    laid_out(tmp_path / "in", "k=a", "k=b")
    found = everything(replay(mblab.record(replay(tmp_path / "in", arrival="t"), tmp_path / "kept.parquet")))

    assert found["k"].tolist() == ["a", "b"]


def test_what_a_writer_left_in_a_folder_is_no_data(tmp_path):
    """Marks, notes, and files that are being written."""
    laid_out(tmp_path, "k=a", "_temporary/k=b", ".staging/k=c")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "notes.txt").write_text("by hand")

    for data in (tmp_path, tmp_path / "**/*.parquet"):
        assert everything(replay(data, arrival="t"))["k"].tolist() == ["a"]


def test_a_folder_without_files_or_of_several_kinds_is_refused(tmp_path):
    """With what to say instead."""
    with pytest.raises(SourceError, match="is a folder; say which files in it"):
        replay(tmp_path, arrival="t")
    laid_out(tmp_path, "a")
    laid_out(tmp_path, "b", ending="csv")

    with pytest.raises(
        SourceError, match=r"is a folder with files of several kinds, \['.csv', '.parquet'\]; say which"
    ):
        replay(tmp_path, arrival="t")


def test_a_sink_inside_a_folder_that_is_read_is_refused(tmp_path):
    """S01's sibling: nothing is written over, nor read again."""
    laid_out(tmp_path / "in", "k=a")
    lab = Lab(replay(tmp_path / "in", arrival="t"), interval="1s", name="inside")
    lab.batch(lambda batch: batch, name="same")
    for sink in (
        mblab.sinks.parquet(tmp_path / "in"),
        mblab.sinks.parquet(tmp_path / "in/out"),
        mblab.sinks.csv(tmp_path / "in/x.csv"),
    ):
        with pytest.raises(SettingError, match="is among what in reads"):
            lab.to(sink)
            lab.run(clock="virtual", cost=0)


def test_what_a_sink_wrote_is_replayed_by_its_folder(tmp_path):
    """Parts and all."""
    lab = Lab(replay(ROWS, arrival="t"), interval="1s", name="writes")
    lab.batch(lambda batch: batch, name="same")
    lab.to(mblab.sinks.parquet(tmp_path / "out"))
    lab.run(clock="virtual", cost=0)

    found = everything(replay(tmp_path / "out", arrival="t"))

    assert found[["t", "region"]].to_dict("list") == ROWS[["t", "region"]].to_dict("list")


def test_a_folder_of_csv_files_is_taken_as_its_docstring_says(tmp_path):
    """By replay all below of one ending, by watch those in it of each of the endings."""
    for name in ("a.csv", "b.txt", "below/c.csv", "d.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"t;v\n0;{name}\n")
    table = mblab.sources.csv(tmp_path, sep=";")
    with pytest.raises(SourceError, match=r"with files of several kinds, \['.csv', '.txt'\]"):
        mblab.replay(table, arrival="t")
    found = mblab.watch(table, settle=0).poller()
    watched = sorted(value for file in found.poll() for rows, _ in found.read(file) for value in rows.v)
    assert watched == ["a.csv", "b.txt"]

    (tmp_path / "b.txt").unlink()
    assert sorted(v for block in mblab.replay(table, rate=1).open() for v in block.rows.v) == ["a.csv", "below/c.csv"]


@pytest.mark.parametrize(("values", "dtypes"), [(("1", "2"), {"int32"}), (("a", "1"), {"str"})])
def test_keys_of_watched_folders_are_numbers_or_text_by_the_first_value(values, dtypes, tmp_path):
    """As the changelog says."""
    for i, value in enumerate(values):
        (tmp_path / f"k={value}").mkdir()
        (tmp_path / f"k={value}" / "x.csv").write_text("t\n0\n")
        os.utime(tmp_path / f"k={value}" / "x.csv", (1e9 + i, 1e9 + i))
    found = mblab.watch(tmp_path / "k=*" / "*.csv", settle=0).poller()

    assert {str(rows.k.dtype) for file in found.poll() for rows, _ in found.read(file)} == dtypes

"""What stands for nothing in a CSV file, in words of one's own: null as the usual words are, wherever the file is read."""

import datetime as dt
import os

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import Lab, SettingError, SourceError, replay

TEXT = 'n;m;t;w\n1;1,5;2026-01-01;a\n-;?;-;-\n" ? ";"-";?;"?"\n 3 ;2,5;2026-01-03;NA\n'


def table(path, **knobs):
    return mblab.sources.csv(path, sep=";", decimal=",", na_values=["?", "-"], **knobs)


def rows_by(way, folder, text=TEXT, **knobs):
    path = folder / "rows.txt"
    path.write_text(text)
    if way == "watch":
        found = mblab.watch(table(path, **knobs), settle=0).poller()
        return pd.concat([rows for file in found.poll() for rows, _ in found.read(file)])
    if way == "record":
        mblab.record(replay(table(path, **knobs), rate=1), folder / "rows.parquet")
        return next(replay(folder / "rows.parquet").open()).rows
    data = folder / "row*.txt" if way == "glob" else path
    return next(replay(table(data, **knobs), rate=1).open()).rows


WAYS = ("replay", "glob", "watch", "record")


@pytest.mark.parametrize("way", WAYS)
def test_words_of_ones_own_stand_for_nothing(way, tmp_path):
    """Of numbers, times and text; in quotes they are text where the column is."""
    rows = rows_by(way, tmp_path)

    assert rows.n.tolist()[::3] == [1, 3]
    assert rows.m.tolist()[::3] == [1.5, 2.5]
    assert (rows.n.dtype.kind, rows.m.dtype.kind, rows.t.dtype.kind) == ("f", "f", "M")
    assert rows[["n", "m", "t"]].isna().sum(axis=1).tolist() == [0, 3, 3, 0]
    assert [None if pd.isna(w) else w for w in rows.w] == ["a", None, "?", None]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "dtype"), [("Int64", "Int64"), ("float32", "float32"), ("category", "category")])
def test_words_of_ones_own_are_nothing_in_columns_with_named_types(kind, dtype, way, tmp_path):
    """As the usual words are."""
    rows = rows_by(way, tmp_path, types={"n": kind})

    assert rows.n.dtype == dtype
    assert rows.n.isna().tolist() == [False, True, kind != "category", False]


def test_without_being_named_they_make_text_of_a_column(tmp_path):
    """And nobody takes a dash for nothing that was not told so."""
    (tmp_path / "rows.csv").write_text("n,m\n1,-\n?,2\n")
    rows = next(replay(tmp_path / "rows.csv", rate=1).open()).rows

    assert rows.to_dict("list") == {"n": ["1", "?"], "m": ["-", "2"]}


def test_another_word_is_named_as_a_misfit(tmp_path):
    """By its line."""
    with pytest.raises(SourceError, match="line 3, has 'none' in column 'n', which must be int8"):
        rows_by("replay", tmp_path, "n;m\n1;2\nnone;-\n", types={"n": "int8"})


def test_numbers_may_stand_for_nothing(tmp_path):
    """As -999 does in many files; and they are then no extremes of a column."""
    (tmp_path / "rows.csv").write_text("t,v\n0,1\n1,-999\n2,3\n")
    rows = next(replay(mblab.sources.csv(tmp_path / "rows.csv", na_values="-999"), arrival="t").open()).rows

    assert rows.v.fillna(0).tolist() == [1, 0, 3]


def test_a_later_file_with_nothing_but_such_words_settles_nothing(tmp_path):
    """Nor does a first one."""
    for i, value in enumerate(["-", "5", "?"]):
        (tmp_path / f"part-{i}.csv").write_text(f"v\n{value}\n")
        os.utime(tmp_path / f"part-{i}.csv", (1e9 + i, 1e9 + i))
    found = mblab.watch(mblab.sources.csv(tmp_path / "*.csv", na_values={"?", "-"}), settle=0).poller()
    values = [value for file in found.poll() for rows, _ in found.read(file) for value in rows.v]

    assert [None if pd.isna(value) else value for value in values] == [None, 5, None]


def test_they_are_part_of_what_a_table_is(tmp_path):
    """Of its code, of what it shows, of its equality; once each, and without those that stand for nothing anyway."""
    (tmp_path / "rows.txt").write_text(TEXT)
    known = table(tmp_path / "rows.txt")
    again = mblab.sources.csv(tmp_path / "rows.txt", sep=";", decimal=",", na_values=("?", "- ", "NA", "?"))

    assert "na_values=['?', '-']" in repr(known)
    assert eval(known.code(repr(str(tmp_path / "rows.txt")))) == known == again
    assert hash(known) == hash(again)
    assert known != mblab.sources.csv(tmp_path / "rows.txt", sep=";", decimal=",")
    for source in (replay(known, rate=1), mblab.watch(known)):
        assert "na_values=['?', '-']" in source.code("input_path")
        assert "na_values=['?', '-']" in repr(source)


def test_a_script_reads_them_too(tmp_path, monkeypatch):
    """It has the words that the lab has."""
    (tmp_path / "rows.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    lab = Lab(replay(table(tmp_path / "rows.txt"), rate=1), interval="1s", name="nulls")

    @lab.batch
    def nulls(batch):
        return {"n": int(batch.n.isna().sum())}

    lab.export(tmp_path / "script.py")

    assert "na_values=['?', '-']" in (tmp_path / "script.py").read_text()


@pytest.mark.parametrize("value", [5, ["?", 5], {"v": "?"}, b"?", [None], np.array([1]), dt.date(2026, 1, 1), [["?"]]])
def test_what_is_no_list_of_texts_is_refused(value):
    """In a sentence with one that is."""
    with pytest.raises(SettingError, match=r"na_values must be a text or a list of texts, such as \['\?', '-'\]"):
        mblab.sources.csv("rows.csv", na_values=value)


@pytest.mark.parametrize("value", [None, [], "", ["NA"]])
def test_nothing_new_is_nothing_to_show(value):
    """The words that everybody knows need not be named."""
    assert repr(mblab.sources.csv("rows.csv", na_values=value)) == "mblab.sources.csv('rows.csv')"

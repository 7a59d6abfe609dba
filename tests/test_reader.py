"""What a reader of the code found: each was a loss or a refusal that nobody had tried."""

import json

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import Lab, SourceError, replay
from mblab.sources.base import Block
from mblab.testing import RowsAt, rows_at


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Blocks(RowsAt):
    """Rows that come in blocks of ten, as those of a long file do."""

    def open(self, position=None):
        (block,) = super().open(position)
        for first in range(0, len(block.rows), 10):
            part = slice(first, first + 10)
            yield Block(block.rows.iloc[part].reset_index(drop=True), block.arrival_ns[part], {"row": first})


@pytest.mark.parametrize("first", [{"a": 1}, {"a": [1, "x"]}], ids=["struct", "json"])
@pytest.mark.parametrize(
    "later",
    [{"a": 1, "b": 2}, {"c": 3}, {"a": {"x": 1}}, [{"a": 1}], "text", 7, {1: 2}, None, {"a": None}],
    ids=["more", "other", "deeper", "list", "text", "number", "number as name", "nothing", "empty"],
)
def test_a_recording_does_not_lose_what_later_dicts_have_besides(later, first, tmp_path, monkeypatch):
    """The first rows settle what the file has a place for; what it has none for is refused, never left out."""
    monkeypatch.setattr("mblab.engine.record.DECODE_ROWS", 10)
    rows = [*[first] * 20, later]
    whole = rows_at(range(21))
    cells = pd.Series(rows, dtype=object)
    said = ""
    try:
        path = mblab.record(Blocks(whole._arrival_ns, pd.DataFrame({"d": cells})), tmp_path / "r.parquet")
    except SourceError as error:
        said = str(error)
    back = [] if said else pd.concat([block.rows for block in replay(path).open()])["d"].tolist()

    assert back == rows or "cannot be recorded" in said or "change their columns" in said
    assert len(said) < 300


def test_times_in_watched_json_lines_are_times_in_every_file(tmp_path):
    """JSON has texts for them, which are read as the first file's were."""
    for n in (1, 2, 3):
        lines(tmp_path / f"{n}.jsonl", [{"at": f"2026-01-01T00:00:0{n}", "n": n}])
    run = watched(mblab.watch(tmp_path / "*.jsonl", every="20ms", settle=0))

    assert run["n"].tolist() == [1, 2, 3]
    assert run["at"].dt.second.tolist() == [1, 2, 3]


def watched(source):
    """The rows of the files that are there."""
    lab = Lab(source, interval="50ms", name="reader")
    lab.batch(lambda batch: batch)
    run = lab.start("5s")
    while len(run.output) < 3 and run.status == "running":
        run.wait(0.05)
    lab.stop()
    assert run.error is None, run.error
    return run.output.drop(columns="batch_id")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_own_files_are_watched_as_they_were_written_also_after_the_first(kind, tmp_path):
    """Their notes count in every file."""
    at = pd.Timestamp("2026-01-01 10:00", tz="Europe/Berlin")
    for n in (1, 2, 3):
        rows = pd.DataFrame({"b": [b"x"], "i": pd.array([n], "Int64"), "k": np.array([n], "int8"), "at": [at]})
        lab = Lab(rows_at([0.1]), interval="1s", name="own")
        lab.batch(lambda batch, rows=rows: rows)
        lab.to(getattr(mblab.sinks, kind)(tmp_path / f"{n}.{kind}"))
        lab.run(clock="virtual", cost=0)
    found = watched(mblab.watch(tmp_path / f"*.{kind}", every="20ms", settle=0))

    assert found["b"].tolist() == [b"x"] * 3
    assert found["i"].tolist() == found["k"].tolist() == [1, 2, 3]
    assert (str(found["i"].dtype), str(found["k"].dtype)) == ("Int64", "int8")
    assert str(found["at"].dt.tz) == "Europe/Berlin"


def test_types_that_watch_is_given_beside_a_csv_form_are_in_its_code(tmp_path):
    """An exported script reads ids as the lab did."""
    (tmp_path / "a.csv").write_text("a;b\n001;2\n")
    source = mblab.watch(mblab.sources.csv(tmp_path / "*.csv", sep=";"), types={"a": "str"})

    assert "types={'a': 'str'}" in repr(source)


@pytest.mark.parametrize(
    "number", [2**60 + 1, np.int64(2**60 + 1), np.uint64(2**63 + 1)], ids=["int", "int64", "uint64"]
)
def test_whole_numbers_beside_nothing_keep_their_digits_whoever_made_them(number):
    """As a column's largest is NumPy's."""
    lab = Lab(rows_at([0.1]), interval="1s", name="reader")
    lab.batch(lambda batch: [{"id": number}, {"id": None}])

    assert int(lab.run(clock="virtual", cost=0).output["id"][0]) == int(number)

"""A batch stands in every sink or in none: what a sink cannot take back at once it takes back before the next try."""

import contextlib
import sqlite3

import pandas as pd
import pytest

import mblab
from mblab import Lab
from mblab.testing import rows_at


class Jammed:
    """Two sinks on files, of which the first cannot go back for some tries, and a function that refuses batch 1 once."""

    def __init__(self, folder, kind, jams, monkeypatch):
        self.file, self.jams, usual = folder / f"rows.{kind}", jams, getattr(mblab.sinks, kind)
        self.first, self.other = usual(self.file), mblab.sinks.sqlite(folder / "rows.db", "rows")
        rollback = type(self.first).rollback

        def jammed(sink, savepoint):
            if sink is self.first and self.jams:
                self.jams -= 1
                raise mblab.SinkError("no space left")
            rollback(sink, savepoint)

        monkeypatch.setattr(type(self.first), "rollback", jammed)
        refuse = [1]

        def third(rows, batch_id):
            if batch_id == 1 and refuse:
                refuse.clear()
                raise ValueError("refused")

        self.lab = Lab(rows_at([0.5, 1.5, 2.5]), interval="1s", name="rollbacks")
        self.work(1)
        for sink in (self.first, self.other, mblab.sinks.call(third)):
            self.lab.to(sink)
        with pytest.raises(mblab.SinkError, match="third failed on batch 1: ValueError: refused"):
            self.lab.run(clock="virtual", cost=0)

    def work(self, version):
        self.lab.batch(lambda batch: batch.assign(version=version) if version else None, name="f")

    @property
    def versions(self):
        """What stands in the first file, and in the table."""
        rows = pd.read_csv(self.file) if self.file.suffix == ".csv" else pd.read_json(self.file, lines=True)
        with contextlib.closing(sqlite3.connect(self.other.file)) as base:
            return rows.version.tolist(), [v for (v,) in base.execute("SELECT version FROM rows")]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("jams", [1, 3])
def test_what_could_not_be_taken_back_is_taken_back_before_the_batch_is_tried_again(kind, jams, tmp_path, monkeypatch):
    """B02: the first error is told, each failure is an attempt, and nothing stands there twice."""
    made = Jammed(tmp_path, kind, jams, monkeypatch)
    lab = made.lab
    assert made.versions == ([1, 1], [1])
    made.work(2)
    for _ in range(jams - 1):
        with pytest.raises(mblab.SinkError, match="no space left"):
            lab.resume()
    lab.resume()

    assert made.versions == ([1, 2, 2], [1, 2, 2])
    assert lab.last_run.output.version.tolist() == [1, 2, 2]
    errors = lab.last_run.attempts.query("batch_id == 1").error.tolist()
    assert "refused" in errors[0]
    assert "no space left" in errors[0]
    assert ["no space left" in e for e in errors] == [True] * jams + [False]


@pytest.mark.parametrize("how", ["no rows", "removed", "stopped"])
def test_what_is_owed_is_taken_back_whatever_becomes_of_the_batch(how, tmp_path, monkeypatch):
    """B02's siblings: the step returns nothing now, the sink takes part no longer, or the run ends."""
    made = Jammed(tmp_path, "csv", 1, monkeypatch)
    if how == "no rows":
        made.work(0)
    elif how == "removed":
        made.lab.remove(made.first.target)
    if how == "stopped":
        made.lab.stop()
    else:
        made.lab.resume()

    assert made.versions[0] == [1]


def test_a_sink_that_is_full_for_good_can_be_replaced(tmp_path, monkeypatch, caplog):
    """B02's sibling: what it keeps is said, and the run goes on without it."""
    made = Jammed(tmp_path, "csv", 99, monkeypatch)
    made.lab.remove(made.first.target)
    made.lab.resume()

    assert made.versions == ([1, 1], [1, 1, 1])
    assert "keeps a batch that was not delivered everywhere: no space left" in caplog.text

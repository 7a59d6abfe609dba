"""The laws that every sink is held to, and that the laws themselves can fail."""

import re
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab.errors import SettingError
from mblab.sinks import Delivery, call, csv, jsonl, memory, parquet, sqlite
from mblab.testing import SINK_LAWS, ListSink, check_sink

NOTHING = pd.DataFrame({"at": np.empty(0, np.int64)})


def read_csv(sink):
    if not sink.file.exists() or not sink.file.stat().st_size:
        return NOTHING
    return pd.read_csv(sink.file, na_values=[""], keep_default_na=False, lineterminator="\n")


def read_jsonl(sink):
    if not sink.file.exists() or not sink.file.stat().st_size:
        return NOTHING
    import json

    return pd.DataFrame([json.loads(line) for line in sink.file.read_text(encoding="utf-8").split("\n") if line])


def read_parquet(sink):
    return pd.read_parquet(sink.file) if list(sink.file.glob("*.parquet")) else NOTHING


def read_sqlite(sink):
    with sqlite3.connect(f"file:{sink.file}?mode=ro", uri=True) as connection:
        there = connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'late'").fetchone()[0]
        cursor = connection.execute("SELECT * FROM late") if there else None
        rows = pd.DataFrame(cursor.fetchall(), columns=[d[0] for d in cursor.description]) if cursor else NOTHING
    connection.close()
    return rows


class Called:
    """What functions were called with, by folder, as a broker would keep it."""

    def __init__(self):
        self.got = {}

    def make(self, folder):
        got = self.got.setdefault(str(folder), [])

        def publish(rows):
            got.append(rows)

        sink = call(publish)
        sink.got = got
        return sink

    def read(self, sink):
        return pd.concat(sink.got, ignore_index=True) if sink.got else NOTHING


def foreign_file(name):
    def put(folder):
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine\n")
        return file.read_bytes

    return put


def foreign_table(folder):
    def all_rows():
        with sqlite3.connect(folder / "out.db") as connection:
            found = connection.execute("SELECT * FROM LATE").fetchall()
        connection.close()
        return found

    with sqlite3.connect(folder / "out.db") as connection:
        connection.executescript("CREATE TABLE LATE (at INTEGER); INSERT INTO LATE VALUES (7);")
    connection.close()
    return all_rows


@dataclass(frozen=True)
class Case:
    make: object
    read: object
    foreign: object = None


CASES = {
    "memory": Case(lambda folder: memory(), lambda sink: sink.frame().drop(columns="batch_id")),
    "csv": Case(lambda folder, mode=None: csv(folder / "out.csv", mode), read_csv, foreign_file("out.csv")),
    "jsonl": Case(lambda folder, mode=None: jsonl(folder / "out.jsonl", mode), read_jsonl, foreign_file("out.jsonl")),
    "parquet": Case(
        lambda folder, mode=None: parquet(folder / "out", mode), read_parquet, foreign_file("out/mine.txt")
    ),
    "sqlite": Case(lambda folder, mode=None: sqlite(folder / "out.db", "late", mode), read_sqlite, foreign_table),
    "call": Case((called := Called()).make, called.read),
}


@pytest.mark.parametrize("law", SINK_LAWS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_sink_keeps_every_law(case, law):
    """A sink that comes later is added to CASES, and has to pass all of this."""
    assert check_sink(case.make, case.read, foreign=case.foreign, laws=[law]) == [law]


# -- the laws can fail --------------------------------------------------------------------------------------------


class Sloppy(ListSink):
    """A sink of a user's, exactly once in words only."""

    def describe(self):
        return f"list: {self.guarantee}"


class AppendsTwice(Sloppy):
    def open(self, run_id):
        pass


class ForgetsToUndo(Sloppy):
    def rollback(self, savepoint):
        pass


class ChangesRows(Sloppy):
    def deliver(self, rows, delivery):
        rows["seen"] = True
        super().deliver(rows, delivery)


class Reverses(Sloppy):
    def deliver(self, rows, delivery):
        super().deliver(rows.iloc[::-1], delivery)


class LosesEmptyText(Sloppy):
    def deliver(self, rows, delivery):
        super().deliver(rows.dropna(), delivery)


class SaysTooMuch(Sloppy):
    def describe(self):
        return "list:\nof batches"


@pytest.mark.parametrize(
    ("sink", "law"),
    [
        (Sloppy, "a_batch_delivered_again_stands_there_once"),
        (Sloppy, "a_batch_made_of_other_input_is_refused"),
        (AppendsTwice, "a_new_run_follows_the_mode"),
        (ForgetsToUndo, "rollback_undoes_what_was_delivered_since"),
        (ChangesRows, "delivering_leaves_the_rows_alone"),
        (Reverses, "a_reader_finds_all_rows_in_order"),
        (LosesEmptyText, "special_values_keep_their_rows"),
        (SaysTooMuch, "it_says_what_it_is"),
    ],
)
def test_a_sink_that_breaks_a_law_is_told_which(sink, law):
    """The message names the sink and the law, and what was found."""
    held = {}
    make = lambda folder: held.setdefault(str(folder), sink())

    with pytest.raises(AssertionError, match=re.escape(f"{sink.__name__} breaks the law that {law.replace('_', ' ')}")):
        check_sink(make, lambda s: s.frame, laws=[law])


class PlainAppend(Sloppy):
    """A file that is appended to, in two writes, and that believes its own length."""

    guarantee = "exactly once"

    def __init__(self, file):
        super().__init__()
        self.file = file

    def open(self, run_id):
        self.run_id = run_id

    def deliver(self, rows, delivery):
        for half in (rows["at"][:5], rows["at"][5:]):
            with self.file.open("a") as file:
                file.writelines(f"{at}\n" for at in half)
            time.sleep(0.01)

    def last(self):
        return Delivery(self.run_id, len(self.file.read_text().split()) // 10 - 1)


def test_a_plain_append_does_not_survive_a_kill():
    """The control: a law that a naive sink passes would prove nothing."""

    def read(sink):
        return pd.read_csv(sink.file, names=["at"])

    with pytest.raises(AssertionError, match=r"a killed process leaves whole batches: rows after"):
        check_sink(lambda folder: PlainAppend(folder / "x"), read, laws=["a_killed_process_leaves_whole_batches"])


def test_a_misspelt_law_is_guessed():
    """Did you mean."""
    with pytest.raises(SettingError, match="did you mean 'it_says_what_it_is'"):
        check_sink(lambda folder: memory(), lambda s: s.frame(), laws=["it_says_what_is"])


# -- a run through them -------------------------------------------------------------------------------------------


def test_one_run_delivers_the_same_to_all(tmp_path):
    """The same rows in a file, a folder and a database, by a real run on a background thread."""
    from mblab.testing import rows_at

    lab = mblab.Lab(rows_at(np.arange(50) / 100, at=np.arange(50)), interval="100ms", ui=True)

    @lab.batch
    def doubled(batch):
        return batch.assign(twice=batch["at"] * 2)

    sinks = {n: CASES[n].make(tmp_path) for n in ("csv", "jsonl", "parquet", "sqlite")}
    for sink in sinks.values():
        lab.to(sink)
    run = lab.start()
    run.wait(timeout=60)

    expected = run.output.drop(columns="batch_id")
    assert len(expected) == 50
    for name, sink in sinks.items():
        pd.testing.assert_frame_equal(CASES[name].read(sink), expected, check_dtype=False, obj=name)


def test_two_tables_of_one_database_are_two_sinks(tmp_path):
    """`lab.to` keeps both; the same table in other letters is the same."""
    sinks = [sqlite(tmp_path / "a.db", "one"), sqlite(tmp_path / "a.db", "two"), sqlite(tmp_path / "a.db", "ONE")]

    assert len({s.target for s in sinks}) == 2
    for number, sink in enumerate(sinks[:2]):
        sink.open("0123456789ab")
        sink.deliver(pd.DataFrame({"x": [number]}), Delivery("0123456789ab", 0))
        sink.close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert connection.execute("SELECT one.x, two.x FROM one, two").fetchall() == [(0, 1)]
    connection.close()
    assert Path(sinks[0].file) == tmp_path.resolve() / "a.db"

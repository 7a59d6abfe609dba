"""Results in a SQLite database: what a reader of the table finds, what is refused, what a crash leaves."""

import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab.errors import SettingError, SinkError
from mblab.sinks import Delivery, sqlite
from mblab.testing import rows_at

from .laws import examples

RUN, LATER_RUN = "0123456789ab", "cdef01234567"


def query(file, sql):
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql).fetchall()


def through(file, *batches, **given):
    with closing(sqlite(file, **given)) as sink:
        sink.open(RUN)
        for batch_id, batch in enumerate(batches):
            sink.deliver(batch, Delivery(RUN, batch_id))
    return query(file, f'SELECT * FROM "{sink.table}"')


def test_types_are_what_sql_expects(tmp_path):
    """Numbers are numbers, true is 1, times are text that SQLite's date functions read, missing is NULL."""
    batch = pd.DataFrame(
        {
            "n": pd.array([2**60 + 1, None], dtype="Int64"),
            "f": [0.1, np.nan],
            "b": pd.array([True, None], dtype="boolean"),
            "s": pd.Series(["ä", None], dtype="str"),
            "t": pd.Series(["2026-01-01 08:00", None]).astype("datetime64[s]"),
            "z": pd.to_datetime(["2026-07-01 12:00", None]).tz_localize("Europe/Berlin"),
            "d": pd.to_timedelta(["1500ms", None]),
            "c": pd.Categorical([7, None]),
            "j": [{"a": [1, None]}, None],
            "o": [b"\x00", None],
            "day": [pd.Timestamp("2026-02-03").date(), None],
        }
    )
    (first, second) = through(tmp_path / "a.db", batch)

    assert first == (
        2**60 + 1, 0.1, 1, "ä", "2026-01-01 08:00:00.000000", "2026-07-01 10:00:00.000000+00:00", 1.5, 7,
        '{"a": [1, null]}', b"\x00", "2026-02-03",
    )  # fmt: skip
    assert second == (None,) * 11
    assert query(tmp_path / "a.db", "SELECT datetime(z, '+1 hour'), strftime('%Y', t) FROM output LIMIT 1") == [
        ("2026-07-01 11:00:00", "2026")
    ]
    declared = query(tmp_path / "a.db", "SELECT type FROM pragma_table_info('output')")
    assert [d for (d,) in declared] == [
        "INTEGER", "REAL", "BOOLEAN", "TEXT", "TIMESTAMP", "TIMESTAMP", "REAL", "INTEGER", "JSON", "BLOB", "DATE",
    ]  # fmt: skip


def test_pandas_reads_times_back(tmp_path):
    """`parse_dates` is all a reader needs, also where some times have nanoseconds."""
    at = pd.to_datetime(["2026-01-01", "2026-01-01 00:00:00.000000001", "2026-01-02"], format="ISO8601")
    through(tmp_path / "a.db", pd.DataFrame({"t": at[:1]}), pd.DataFrame({"t": at[1:]}))
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        back = pd.read_sql("SELECT t FROM output ORDER BY t", connection)

    assert pd.to_datetime(back["t"], format="ISO8601").tolist() == at.tolist()


def test_arrow_dtypes_are_taken(tmp_path):
    """Integers with gaps stay whole."""
    batch = pd.DataFrame(
        {
            "i": pd.array([2**60 + 1, None], dtype="int64[pyarrow]"),
            "s": pd.array(["x", None], dtype="string[pyarrow]"),
            "t": pd.array([pd.Timestamp("2026-01-01"), None], dtype="timestamp[us][pyarrow]"),
            "b": pd.array([False, None], dtype="bool[pyarrow]"),
        }
    )

    assert through(tmp_path / "a.db", batch) == [
        (2**60 + 1, "x", "2026-01-01 00:00:00.000000", 0),
        (None, None, None, None),
    ]


def test_new_columns_are_added_and_missing_ones_are_null(tmp_path):
    """In the order in which they came; letters' case makes no other column."""
    found = through(
        tmp_path / "a.db", pd.DataFrame({"a": [1]}), pd.DataFrame({"b": ["x"], "A": [2]}), pd.DataFrame({"b": ["y"]})
    )

    assert found == [(1, None), (2, "x"), (None, "y")]


def test_a_column_of_nulls_takes_the_type_of_its_first_value(tmp_path):
    """Nothing is decided by a batch that says nothing, and whole floats do not make integers floats."""
    nothing = pd.DataFrame({"x": [None], "y": [1.5]})
    found = through(
        tmp_path / "a.db", nothing, pd.DataFrame({"x": [1], "y": [2]}), pd.DataFrame({"x": [2.0], "y": [np.nan]})
    )

    assert found == [(None, 1.5), (1, 2.0), (2, None)]
    assert query(tmp_path / "a.db", "SELECT typeof(x) FROM output") == [("null",), ("integer",), ("integer",)]


@pytest.mark.parametrize(
    ("first", "then", "says"),
    [
        ([1], [1.5], "integer in the table but real"),
        ([1], ["1"], "integer in the table but text"),
        (["1"], [1], "text in the table but integer"),
        ([1.5], [2**53 + 1], "real in the table but integer"),
        ([True], [1], "boolean in the table but integer"),
        (
            [pd.Timestamp("2026-01-01")],
            [pd.Timestamp("2026-01-01", tz="UTC")],
            "timestamp in the table but timestamp utc",
        ),
        ([{"a": 1}], ["a"], "json in the table but text"),
    ],
)
def test_a_type_that_does_not_fit_names_the_column_and_both(first, then, says, tmp_path):
    """SQLite would take anything anywhere; a reader would not."""
    with pytest.raises(SinkError, match=f"batch 1: column 'x' is {says}"):
        through(tmp_path / "a.db", pd.DataFrame({"x": first}), pd.DataFrame({"x": then}))
    assert len(query(tmp_path / "a.db", "SELECT * FROM output")) == 1


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (pd.DataFrame({"x": [1, "a"]}), "mixes integer and text"),
        (pd.DataFrame({"x": np.array([2**63], np.uint64)}), "64 bits"),
        (pd.DataFrame({"x": ["\ud800"]}, dtype=object), "half a character"),
        (pd.DataFrame([[1, 2]], columns=["Name", "name"]), "'Name' and 'name' for one"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "more than once"),
        (pd.DataFrame({"a\0b": [1]}), "NUL in its name"),
        (pd.DataFrame({"rowid": [1], "OID": [1], "_rowid_": [1]}), "rename one"),
        (pd.DataFrame([range(3000)], columns=[f"c{i}" for i in range(3000)]), "SQLite takes 1,999; return fewer"),
        (pd.DataFrame(index=range(2)), "no columns"),
    ],
)
def test_what_sqlite_cannot_hold_is_refused_in_one_sentence(batch, says, tmp_path):
    """Nothing of it stands there, and the sink goes on."""
    sink = sqlite(tmp_path / "a.db")
    sink.open(RUN)
    with pytest.raises(SinkError, match=says) as caught:
        sink.deliver(batch, Delivery(RUN, 0))
    assert "\n" not in str(caught.value)
    sink.deliver(pd.DataFrame({"fine": [1]}), Delivery(RUN, 0))
    sink.close()

    assert query(tmp_path / "a.db", "SELECT * FROM output") == [(1,)]


@examples(60)
@given(
    values=st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)) | st.none(), min_size=1, max_size=20),
    texts=st.text(st.characters(codec="utf-8"), max_size=20),
    cut=st.integers(0, 20),
)
def test_integers_and_text_come_back_however_the_rows_were_cut(tmp_path_factory, values, texts, cut):
    """Every 64-bit integer and every text, with the gaps where they were."""
    folder = tmp_path_factory.mktemp("db")
    rows = pd.DataFrame({"n": pd.array(values, dtype="Int64"), "s": pd.Series([texts] * len(values), dtype="str")})
    batches = [part for part in (rows[:cut], rows[cut:]) if len(part)]

    assert through(folder / "a.db", *batches) == [(v, texts) for v in values]


# -- whose table it is --------------------------------------------------------------------------------------------


def test_other_tables_of_the_database_are_left_alone(tmp_path):
    """Also views, triggers and what has a similar name; the journal mode stays what it was."""
    with closing(sqlite3.connect(tmp_path / "mine.db")) as connection:
        connection.executescript("CREATE TABLE outputs (x); INSERT INTO outputs VALUES (1); CREATE VIEW v AS SELECT 1;")
    for _ in range(2):
        through(tmp_path / "mine.db", pd.DataFrame({"a": [1]}), mode="replace")

    assert query(tmp_path / "mine.db", "SELECT * FROM outputs") == [(1,)]
    assert query(tmp_path / "mine.db", "PRAGMA journal_mode") == [("delete",)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("DROP TABLE late; CREATE TABLE late (a)", "was changed since mblab made it"),
        ("ALTER TABLE late ADD COLUMN mine", "was changed since mblab made it"),
        ("INSERT INTO late VALUES (5)", "with 2 rows, of which mblab wrote 1"),
        ("DROP TABLE _mblab_tables", "was not made by mblab"),
    ],
)
def test_a_table_that_somebody_changed_is_not_replaced(change, says, tmp_path):
    """The message names it, and it is as it was."""
    file = tmp_path / "a.db"
    through(file, pd.DataFrame({"a": [1]}), table="late")
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(change)
    before = query(file, "SELECT * FROM late")
    sink = sqlite(file, "late")

    with pytest.raises(SinkError, match=f"'late' .*{says}"):
        sink.open(LATER_RUN)
    assert query(file, "SELECT * FROM late") == before


def test_a_table_that_was_dropped_is_made_again(tmp_path):
    """Nothing of ours is left there, so nothing can be lost."""
    through(tmp_path / "a.db", pd.DataFrame({"a": [1]}))
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("DROP TABLE output")

    assert through(tmp_path / "a.db", pd.DataFrame({"b": [2]}), mode="append") == [(2,)]


def test_two_runs_may_append_to_one_table_at_once(tmp_path):
    """A database has what a file lacks; undoing one run's batch leaves the other's."""
    first, second = (sqlite(tmp_path / "a.db", mode="append") for _ in range(2))
    first.open(RUN)
    second.open(LATER_RUN)
    first.deliver(pd.DataFrame({"x": [0]}), Delivery(RUN, 0))
    kept = first.savepoint()
    first.deliver(pd.DataFrame({"x": [1], "y": ["a"]}), Delivery(RUN, 1))
    second.deliver(pd.DataFrame({"x": [2], "y": ["b"]}), Delivery(LATER_RUN, 0))
    first.rollback(kept)
    first.deliver(pd.DataFrame({"x": [3]}), Delivery(RUN, 1))
    first.close()
    second.close()

    assert query(tmp_path / "a.db", "SELECT x, y FROM output") == [(0, None), (2, "b"), (3, None)]


def test_a_database_that_is_deleted_during_the_run_is_noticed(tmp_path):
    """Rows must not go into a file that no name leads to."""
    sink = sqlite(tmp_path / "a.db")
    sink.open(RUN)
    (tmp_path / "a.db").rename(tmp_path / "b.db")

    with pytest.raises(SinkError, match="moved or deleted during the run"):
        sink.deliver(pd.DataFrame({"x": [1]}), Delivery(RUN, 0))
    sink.close()


# -- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_locked_database_is_one_sentence_and_the_batch_can_be_tried_again(tmp_path, monkeypatch):
    """Another program holds the write lock; when it lets go, the run resumes and nothing is doubled."""
    monkeypatch.setattr(sys.modules["mblab.sinks.sqlite"], "BUSY_S", 0.05)
    file = tmp_path / "a.db"
    lab = mblab.Lab(rows_at([0.0, 1.0, 2.0]), interval="1s")
    lab.to(sqlite(file))
    blocker, tried = sqlite3.connect(file, isolation_level=None), []

    @lab.batch
    def locks_once(batch, state):
        state["n"] = state.get("n", 0) + 1
        if state["n"] == 2 and not tried:
            tried.append(blocker.execute("BEGIN IMMEDIATE"))
        return batch

    with pytest.raises(SinkError, match=r"a\.db is locked by another program; let it finish"):
        lab.run(clock="virtual", cost=0)
    blocker.execute("ROLLBACK")
    blocker.close()
    run = lab.resume()

    assert run.status == "finished"
    assert query(file, "SELECT * FROM output") == [(0,), (1,), (2,)]


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    """One sentence, and not a byte is changed."""
    file = tmp_path / "notes.txt"
    file.write_text("remember the milk\n" * 100)

    with pytest.raises(SinkError, match="is no SQLite database, so it is left as it is"):
        sqlite(file).open(RUN)
    assert file.read_text() == "remember the milk\n" * 100


def test_a_full_disk_is_one_sentence_and_leaves_whole_batches(tmp_path):
    """SQLite says so when the file may not grow; the batch comes again when there is room."""
    sink = sqlite(tmp_path / "a.db")
    sink.open(RUN)
    sink.deliver(pd.DataFrame({"s": ["x"]}), Delivery(RUN, 0))
    pages = sink._connection.execute("PRAGMA page_count").fetchone()[0]
    sink._connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    big = pd.DataFrame({"s": ["y" * 4000] * 100})

    with pytest.raises(SinkError, match="cannot be written: database or disk is full; make room"):
        sink.deliver(big, Delivery(RUN, 1))
    sink._connection.execute("PRAGMA max_page_count = 1000000")
    sink.deliver(big, Delivery(RUN, 1))
    sink.close()
    assert query(tmp_path / "a.db", "SELECT COUNT(*) FROM output") == [(101,)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_database_that_is_read_only_says_so(tmp_path):
    """One sentence with the way on."""
    through(tmp_path / "a.db", pd.DataFrame({"a": [1]}))
    (tmp_path / "a.db").chmod(0o444)

    with pytest.raises(SinkError, match="read-only"):
        sqlite(tmp_path / "a.db").open(RUN)


@pytest.mark.parametrize("table", ["", "  ", "a\0b", 5, b"t", "sqlite_x", "_mblab_tables", "SQLITE_x"])
def test_a_table_that_cannot_be_is_refused_at_once(table):
    """When the cell is run."""
    with pytest.raises(SettingError, match="table must"):
        sqlite("a.db", table)


@pytest.mark.parametrize(
    ("path", "says"), [(":memory:", "mblab.sinks.memory"), ("out/", "the folder"), ("", "path must")]
)
def test_a_path_that_is_no_file_is_refused_at_once(path, says):
    """With the way on."""
    with pytest.raises(SettingError, match=says):
        sqlite(path)


HOSTILE = ['a"b', "a'b", "x; DROP TABLE precious; --", "select", "a b", "größe", "日本", "[x]", "`x`", "a" * 300]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_table_names_are_names(name, tmp_path):
    """Quoted everywhere: made, appended to, rolled back, replaced; the precious table stays."""
    file = tmp_path / "a.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("CREATE TABLE precious (x); INSERT INTO precious VALUES (1);")
    sink = sqlite(file, name)
    for run in (RUN, LATER_RUN):
        sink.open(run)
        sink.deliver(pd.DataFrame({name: [1]}), Delivery(run, 0))
        kept = sink.savepoint()
        sink.deliver(pd.DataFrame({"other": [1]}), Delivery(run, 1))
        sink.rollback(kept)
        sink.close()
    quoted = name.replace('"', '""')

    assert query(file, f'SELECT "{quoted}" FROM "{quoted}"') == [(1,)]
    assert query(file, "SELECT * FROM precious") == [(1,)]
    assert eval(sink.code(), {"mblab": mblab}).target == sink.target


# -- readers beside the writer, and kills -------------------------------------------------------------------------


def test_a_reader_beside_the_writer_sees_whole_batches_and_never_waits(tmp_path):
    """100 batches of 7 rows; every count a reader gets is a multiple of 7, and none is refused."""
    file, counts, done = tmp_path / "a.db", [], threading.Event()
    sink = sqlite(file)
    sink.open(RUN)
    sink.deliver(pd.DataFrame({"x": range(7)}), Delivery(RUN, 0))

    def read():
        with closing(sqlite3.connect(file, timeout=0)) as connection:
            while not done.is_set():
                counts.append(connection.execute("SELECT COUNT(*) FROM output").fetchone()[0])
                time.sleep(0.0005)

    reader = threading.Thread(target=read)
    reader.start()
    for batch_id in range(1, 100):
        sink.deliver(pd.DataFrame({"x": range(7)}), Delivery(RUN, batch_id))
    done.set()
    reader.join()
    sink.close()

    assert len(set(counts)) > 3
    assert {n % 7 for n in counts} == {0}
    assert counts == sorted(counts)


def test_statements_of_a_delivery_are_one_transaction(tmp_path):
    """The batch's line comes first; then its rows; a process that ends in between leaves neither."""
    sink, said = sqlite(tmp_path / "a.db"), []
    sink.open(RUN)
    sink._connection.set_trace_callback(lambda sql: said.append(sql.split("(")[0].split("VALUES")[0].strip()))
    sink.deliver(pd.DataFrame({"x": [1]}), Delivery(RUN, 0))
    writes = [s for s in said if not s.startswith(("SELECT", "--"))]
    sink.close()

    assert writes[0] == "BEGIN IMMEDIATE"
    assert writes[1] == "INSERT INTO _mblab_deliveries"
    assert writes[-1] == "COMMIT"
    assert sum("BEGIN" in w or "COMMIT" in w for w in writes) == 2


def test_a_commit_waits_for_the_disk_only_with_a_checkpoint(tmp_path):
    """Without one no run comes back after a power cut."""
    sink = sqlite(tmp_path / "a.db")
    sink.open(RUN)
    seen = []
    for batch_id, input_hash in enumerate(["", "h", ""]):
        sink.deliver(pd.DataFrame({"x": [1]}), Delivery(RUN, batch_id, input_hash))
        seen.append(sink._connection.execute("PRAGMA synchronous").fetchone()[0])
    sink.close()

    assert seen == [1, 2, 1]  # NORMAL, FULL, NORMAL


CHILD = """
    import sys, pandas as pd
    from mblab.sinks import Delivery, sqlite
    sink = sqlite(sys.argv[1], mode="append")
    sink.open("0123456789ab")
    last = sink.last()
    for batch_id in range(last.batch_id + 1 if last else 0, 1_000_000):
        sink.deliver(pd.DataFrame({"at": range(batch_id * 10, batch_id * 10 + 10)}), Delivery("0123456789ab", batch_id, "h"))
        print(batch_id, flush=True)
"""


@pytest.mark.slow
def test_two_hundred_kills_lose_and_double_nothing(tmp_path):
    """SIGKILL at 200 random moments, each time going on from `last()`: the numbers are 0 … n without a gap."""
    file, reported, rng = tmp_path / "a.db", -1, np.random.default_rng(7)
    for _ in range(200):
        command = [sys.executable, "-c", textwrap.dedent(CHILD), str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            child.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            child.kill()
            reported = max([reported, *map(int, child.communicate()[0].split())])
    at = [v for (v,) in query(file, "SELECT at FROM output ORDER BY rowid")]

    assert at == list(range(len(at)))
    assert len(at) // 10 - 1 >= reported
    print(f"{len(at):,} rows, {reported + 1:,} batches reported, 200 kills")

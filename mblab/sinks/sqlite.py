"""Results as a table of a SQLite database: a batch's rows and the line that says which batch they are, together.

Every delivery is one transaction that holds the write lock from its first statement on. It writes its line into
`_mblab_deliveries` first and the rows after it, so a process killed at any moment leaves whole batches, and a batch
that comes again finds its line.

    engine -> [sqlite] -> results.db: the table, and the lines of marker_tables
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import pandas as pd

from mblab.errors import SettingError, SinkError, shown
from mblab.sinks.base import Delivery, Mode, Savepoint
from mblab.sinks.columns import DECLARED, UNKNOWN, column_kind, column_values, fitted
from mblab.sinks.deliveries import is_held
from mblab.sinks.files import FileSink, named
from mblab.sinks.marker_tables import OWN, Known, MarkerTables
from mblab.support import arguments

__all__ = ["SqliteSink", "sqlite"]

BUSY_S: Final = 5.0  # how long a locked database is waited for
MOST_COLUMNS: Final = 2000 - 1  # of its own default limit one is the number of the row
ROW_NUMBERS: Final = ("_rowid_", "rowid", "oid")  # SQLite's names for it; a column of the user's hides its own


def sqlite(path: str | os.PathLike[str], table: str | None = None, mode: Mode | None = None) -> SqliteSink:
    """Return a sink that writes each batch into a table of a SQLite database, in one transaction; exactly once.

    A batch's rows and the line in `_mblab_deliveries` that says which batch they are come in together or not at all.
    Integers, floats and booleans are numbers (true is 1); times are ISO 8601 text such as `2026-01-01 08:00:00.000000`,
    those of a time zone in UTC with `+00:00`; time spans are seconds; lists and dicts are JSON; missing values and NaN
    are NULL. A later batch's new columns are added to the table, columns it lacks are NULL; another type is refused,
    except where no value changes by it.

    Args:
        path: The database; it and its folder are made when they are not there. Other tables in it are left alone.
        table: The table's name; None means "output".
        mode: What happens to an earlier run's rows: "replace" (None means that; the table is made anew), "append" or
            "error". A table that mblab did not make, or that was changed since, is never touched: the run's start
            raises `SinkError` and names it.

    Raises:
        SettingError: `path` is empty or no file's, `table` is no name, or `mode` is none of these.

    >>> sqlite("results.db", "late").describe()
    "sqlite: results.db, table 'late', replace, exactly once"
    """
    return SqliteSink(path, table, mode)


class SqliteSink(FileSink):
    """Writes each batch into one table, in a transaction of its own; other tables are left alone.

    Several labs may write to one database, and with mode="append" to one table. A reader sees whole batches only. With
    a checkpoint a delivery survives a power cut; without one it survives the process.

    Attributes:
        table: The table's name.
    """

    kind = "sqlite"
    guarantee = "exactly once"

    def __init__(self, path: str | os.PathLike[str], table: str | None = None, mode: Mode | None = None) -> None:
        super().__init__(path, mode)
        if os.fspath(path).strip() == ":memory:":
            raise SettingError("sqlite needs a file, and ':memory:' is none; use mblab.sinks.memory().")
        self._names_a_file(path, "add one, as in out/rows.db")
        self._given_table = _checked_table(table)
        self.table = self._given_table or "output"
        self._quoted, self._key = _quote(self.table), self.table.lower()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._run_id = ""
        self._made_by = ""
        self._durable = False

    @property
    def target(self) -> str:
        """The absolute path and the table, whose name SQLite takes in any case."""
        return f"{self.file}:{self._key}"

    def describe(self) -> str:
        """Return one line for people: kind, target, mode, guarantee."""
        return f"{self.kind}: {self.path}, table {self.table!r}, {self.mode}, {self.guarantee}"

    def _more_code(self) -> str:
        return "" if self._given_table is None else f", {self._given_table!r}"

    # -- a run's begin and end ----------------------------------------------------------------------------------------

    def open(self, run_id: str) -> None:
        """Get ready for a run; a run that was here before goes on.

        Raises:
            SinkError: The table is not mblab's, the file is no database, or it cannot be written.
        """
        self.close()
        self._refuse_other_kinds("rows.db")
        with self._says_why():
            self._make_folder(self.file.parent)
            is_new = not self.file.exists() or self.file.stat().st_size == 0
            self._connection = _connect(self.file)
            try:
                if is_new:  # then readers never wait for a writer; a database that is there keeps its ways
                    self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._durable = False
                with self._transaction():
                    self._begin(run_id)
            except BaseException:
                self.close()
                raise
        self._run_id, self._inode = run_id, self.file.stat().st_ino

    def _begin(self, run_id: str) -> None:
        """Find or make the table's line, by what stands there and the mode."""
        self._markers.set_up()
        known, sql = self._markers.known(), self._sql()
        if sql is not None and (known is None or known.sql != sql):
            did = "was not made by mblab" if known is None or known.sql is None else "was changed since mblab made it"
            raise SinkError(
                f"{self.path} holds a table {self.table!r} that {did}, so it is left as it is; name another table."
            )
        if known is not None and known.sql != sql:
            known = None  # somebody dropped it: nothing of ours is left
            self._markers.forget()
        if known is not None:
            same_run = self._markers.is_in(run_id)
            already = f"holds a table {self.table!r} already; name another"
            if self._beginning(same_run=same_run, stands=sql is not None, already=already) == "anew":
                self._drop(is_there=sql is not None)
                known = None
        self._made_by = (known or self._markers.add(run_id)).made_by

    def _drop(self, *, is_there: bool) -> None:
        """Take out what earlier runs wrote.

        Raises:
            SinkError: There are rows of others between ours.
        """
        if is_there:
            rows, delivered = self._one(f"SELECT COUNT(*) FROM {self._quoted}")[0], self._markers.num_rows()
            if rows != delivered:
                raise SinkError(
                    f"{self.path} holds a table {self.table!r} with {rows:,} rows, of which mblab wrote "
                    f"{delivered:,}, so it is left as it is; name another table."
                )
            self._opened().execute(f"DROP TABLE {self._quoted}")
        self._markers.forget()

    def close(self) -> None:
        """Let go; what the last delivery left in the write-ahead log goes into the database."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with self._says_why():
                connection.close()

    # -- batches ------------------------------------------------------------------------------------------------------

    def savepoint(self) -> Savepoint | None:
        """Return the number of the last delivery to this table, and its columns."""
        with self._says_why():
            known = self._markers.known()
            return {"seq": self._markers.last_seq(), "columns": known.columns if known else {}}

    def rollback(self, savepoint: Savepoint | None) -> None:
        """Take out what this run delivered since, and the columns that came with it; rows of other runs stay.

        Raises:
            SinkError: The table was replaced or changed meanwhile.
        """
        if savepoint is None:
            return
        if dict(savepoint) == self.savepoint():
            return  # what failed left nothing, and a locked database need not be waited for
        seq = int(savepoint["seq"])
        with self._says_why(), self._transaction():
            known = self._still_ours()
            if known.sql is not None:
                number = _row_number(known.columns)
                for rows in self._markers.rows_since(seq, self._run_id):
                    self._opened().execute(f"DELETE FROM {self._quoted} WHERE {number} BETWEEN ? AND ?", rows)
            if self._markers.undo(seq, self._run_id):
                self._narrow(known, dict(savepoint["columns"]))

    def _narrow(self, known: Known, columns: dict[str, str]) -> None:
        """Make the table's columns those of a savepoint."""
        if known.sql is None or known.columns == columns:
            return
        if not columns:
            self._opened().execute(f"DROP TABLE {self._quoted}")
        for name in [name for name in known.columns if name not in columns] if columns else []:
            self._opened().execute(f"ALTER TABLE {self._quoted} DROP COLUMN {_quote(name)}")
        self._markers.remember(columns, self._sql())

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Write a batch and its line in one transaction.

        Raises:
            SinkError: A type that does not fit, a value SQLite cannot hold, a locked database, a table that somebody
                changed, or a full disk; nothing of the batch stands there.
        """
        self._opened()
        rows = named(rows, self.path, delivery.batch_id)
        self._check_names(list(rows.columns), delivery.batch_id)
        if self._stat(self.file).st_ino != self._inode:
            raise self._moved()
        with self._says_why(delivery.batch_id):
            self._set_durable(bool(delivery.input_hash))
            with self._transaction():
                known = self._still_ours()
                if is_held(self._markers.held(delivery), delivery, f"{self.path} table {self.table!r}"):
                    return
                self._markers.note(delivery)
                self._insert(rows, known, delivery)

    def _insert(self, rows: pd.DataFrame, known: Known, delivery: Delivery) -> None:
        """Write the rows behind the table's last, adding columns where needed, and note where they stand."""
        stand = {name.lower(): name for name in known.columns}
        columns, values = dict(known.columns), []
        for name, column in rows.items():
            here = stand.get(str(name).lower(), str(name))
            where = f"{self.path} cannot take batch {delivery.batch_id}: column {here!r}"
            kind = column_kind(column, where)
            before = columns.get(here, UNKNOWN)
            columns[here] = fitted(before, kind, column, where)
            values.append((here, column_values(column, columns[here], where)))
        if known.sql is None:
            declared = ", ".join(f"{_quote(name)} {DECLARED[kind]}".rstrip() for name, kind in columns.items())
            self._opened().execute(f"CREATE TABLE {self._quoted} ({declared})")
        else:
            for name in [name for name in columns if name not in known.columns]:
                declared = f"{_quote(name)} {DECLARED[columns[name]]}".rstrip()
                self._opened().execute(f"ALTER TABLE {self._quoted} ADD COLUMN {declared}")
        if columns != known.columns:
            self._markers.remember(columns, self._sql())
        number = _row_number(columns)
        last = self._one(f"SELECT COALESCE(MAX({number}), 0) FROM {self._quoted}")[0]
        into = ", ".join([number, *(_quote(name) for name, _ in values)])
        marks = ", ".join("?" * (len(values) + 1))
        self._opened().executemany(
            f"INSERT INTO {self._quoted} ({into}) VALUES ({marks})",
            zip(range(last + 1, last + 1 + len(rows)), *(v for _, v in values), strict=True),
        )
        self._markers.place(delivery, last + 1, last + len(rows))

    def _check_names(self, columns: list[str], batch_id: int) -> None:
        if len(columns) > MOST_COLUMNS:
            raise SinkError(
                f"{self.path} cannot take batch {batch_id}: it has {len(columns):,} columns and SQLite takes "
                f"{MOST_COLUMNS:,}; return fewer, or use parquet."
            )
        lower: dict[str, str] = {}
        for name in columns:
            if "\0" in name:
                raise SinkError(f"{self.path} cannot take batch {batch_id}: column {name!r} has a NUL in its name.")
            if other := lower.get(name.lower()):
                raise SinkError(
                    f"{self.path} cannot take batch {batch_id}: SQLite takes the columns {other!r} and {name!r} "
                    "for one; rename one of them."
                )
            lower[name.lower()] = name

    def last(self) -> Delivery | None:
        """Return the newest delivery that stands in the table, or None."""
        if self._connection is not None:
            with self._says_why():
                return self._newest()
        if not self.file.is_file():
            return None
        with self._says_why():
            self._connection = _connect(self.file)
            try:
                return self._newest()
            finally:
                self.close()

    def _newest(self) -> Delivery | None:
        ours = "SELECT COUNT(*) FROM sqlite_master WHERE name IN ('_mblab_deliveries', ?) COLLATE NOCASE"
        return self._markers.newest() if self._one(ours, self.table)[0] >= 2 else None

    # -- the database -------------------------------------------------------------------------------------------------

    @property
    def _markers(self) -> MarkerTables:
        return MarkerTables(self._opened().execute, self._key)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise self._not_open()
        return self._connection

    def _one(self, sql: str, *values: str | int) -> Any:
        return self._opened().execute(sql, values).fetchone()

    def _sql(self) -> str | None:
        """Return the definition of what has the table's name; a view has one too."""
        found = self._one("SELECT sql FROM sqlite_master WHERE name = ? COLLATE NOCASE", self.table)
        return str(found[0]) if found else None

    def _still_ours(self) -> Known:
        known = self._markers.known()
        if known is None or known.made_by != self._made_by:
            raise SinkError(
                f"{self.path} table {self.table!r} was replaced by another run; give each lab a table of its own."
            )
        if known.sql != self._sql():
            raise SinkError(
                f"{self.path} table {self.table!r} was changed by something else during the run; name another."
            )
        return known

    def _set_durable(self, wanted: bool) -> None:
        """Make a commit wait for the disk, or not; without a checkpoint no run comes back after a power cut."""
        if wanted != self._durable:
            self._opened().execute(f"PRAGMA synchronous = {'FULL' if wanted else 'NORMAL'}")
            self._durable = wanted

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Hold the write lock, and commit at the end or change nothing."""
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if connection.in_transaction:  # SQLite has undone it by itself when the disk is full
                    connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _says_why(self, batch_id: int | None = None) -> Iterator[None]:
        """Turn what SQLite says into one sentence, with its error as the cause."""
        try:
            yield
        except UnicodeEncodeError as error:
            half = shown(error.object[error.start : error.end])
            raise SinkError(
                f"{self.path} cannot take batch {batch_id}: {half} is half a character and has no UTF-8; clean the "
                "text in the step."
            ) from None
        except (sqlite3.Error, OSError) as error:
            raise SinkError(f"{self._why(error, batch_id)}.") from error

    def _why(self, error: Exception, batch_id: int | None) -> str:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"{self.path} is locked by another program; let it finish there, then run again or resume"
        if primary == sqlite3.SQLITE_NOTADB:
            return f"{self.path} is no SQLite database, so it is left as it is; move it away or use another path"
        if primary == sqlite3.SQLITE_READONLY:
            return f"{self.path} cannot be written: it is read-only; change its permissions or use another path"
        if primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) or isinstance(
            error, OSError
        ):
            reason = getattr(error, "strerror", None) or str(error)
            return f"{self.path} cannot be written: {reason}; make room or choose another path"
        what = f"cannot take batch {batch_id}" if batch_id is not None else "cannot be used"
        return f"{self.path} {what}: {error}"


def _connect(file: os.PathLike[str]) -> sqlite3.Connection:
    # a run may be opened in one thread and turned in another, but never in two at once
    return sqlite3.connect(file, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _quote(name: str) -> str:
    """Return a name as SQL; a quote in it is doubled, and a NUL was refused before."""
    return '"' + name.replace('"', '""') + '"'


def _row_number(columns: dict[str, str]) -> str:
    hidden = {name.lower() for name in columns}
    free = [name for name in ROW_NUMBERS if name not in hidden]
    if not free:
        raise SinkError(
            f"columns {list(ROW_NUMBERS)} hide all of SQLite's names for a row's number; rename one of them."
        )
    return free[0]


def _checked_table(table: str | None) -> str | None:
    if table is None:
        return None
    if "\0" in arguments.name(table, "table"):
        raise SettingError(f"table must be a name, got {shown(table)}.")
    if table.lower().startswith(("sqlite_", OWN)):
        raise SettingError(f"table must not begin with 'sqlite_' or {OWN!r}, which are taken, got {shown(table)}.")
    return table

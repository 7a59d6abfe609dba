"""What a database keeps of deliveries: which tables are ours and how we left them, and one line a delivery.

The line of a delivery is written before its rows, in the same transaction, so they are there together or not at all,
and a second writer of the same batch waits, then finds it.

    deliveries -> [marker_tables] -> _mblab_tables, _mblab_deliveries
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mblab.sinks.base import Delivery

__all__ = ["OWN", "Known", "MarkerTables"]

OWN: Final = "_mblab_"
SET_UP: Final = (
    """CREATE TABLE IF NOT EXISTS _mblab_tables
    (name TEXT PRIMARY KEY, made_by TEXT NOT NULL, columns TEXT NOT NULL, sql TEXT)""",
    """CREATE TABLE IF NOT EXISTS _mblab_deliveries
    (seq INTEGER PRIMARY KEY, name TEXT NOT NULL, run_id TEXT NOT NULL, batch_id INTEGER NOT NULL,
    input_hash TEXT NOT NULL, first_row INTEGER, last_row INTEGER, UNIQUE (name, run_id, batch_id))""",
)
FORGET: Final = ("DELETE FROM _mblab_tables WHERE name = ?", "DELETE FROM _mblab_deliveries WHERE name = ?")


class Answer(Protocol):
    """What a statement gives."""

    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Known:
    """What `_mblab_tables` says of the table.

    Attributes:
        made_by: The run that made it.
        columns: Name to kind, in the table's order; empty while there is no table.
        sql: The table's definition as mblab left it; None while there is none.
    """

    made_by: str
    columns: dict[str, str]
    sql: str | None


class MarkerTables:
    """The lines of one table; each method is one or two statements, in the caller's transaction.

    Args:
        execute: Runs a statement with its values.
        name: The table's, as the database compares it.
    """

    def __init__(self, execute: Callable[[str, tuple[str | int | None, ...]], Answer], name: str) -> None:
        self._execute, self._name = execute, name

    def _one(self, sql: str, *values: str | int | None) -> Any:
        return self._execute(sql, values).fetchone()

    def set_up(self) -> None:
        """Make both tables where they are not there."""
        for statement in SET_UP:
            self._execute(statement, ())

    # -- the table ----------------------------------------------------------------------------------------------------

    def known(self) -> Known | None:
        """Return what is known of the table, or None."""
        found = self._one("SELECT made_by, columns, sql FROM _mblab_tables WHERE name = ?", self._name)
        return Known(found[0], json.loads(found[1]), found[2]) if found else None

    def add(self, run_id: str) -> Known:
        """Note a table that a run is going to make."""
        self._execute("INSERT INTO _mblab_tables VALUES (?, ?, '{}', NULL)", (self._name, run_id))
        return Known(run_id, {}, None)

    def remember(self, columns: Mapping[str, str], sql: str | None) -> None:
        """Note how the table stands now."""
        change = "UPDATE _mblab_tables SET columns = ?, sql = ? WHERE name = ?"
        self._execute(change, (json.dumps(columns), sql, self._name))

    def forget(self) -> None:
        """Take out the table's line and those of its deliveries."""
        for statement in FORGET:
            self._execute(statement, (self._name,))

    def is_in(self, run_id: str) -> bool:
        """Return whether a run was here before: it made the table or delivered to it."""
        made = self._one("SELECT COUNT(*) FROM _mblab_tables WHERE name = ? AND made_by = ?", self._name, run_id)
        wrote = "SELECT COUNT(*) FROM _mblab_deliveries WHERE name = ? AND run_id = ?"
        return bool(made[0] or self._one(wrote, self._name, run_id)[0])

    # -- deliveries ---------------------------------------------------------------------------------------------------

    def note(self, delivery: Delivery) -> None:
        """Write a delivery's line: the first thing in the transaction that brings its rows."""
        self._execute(
            "INSERT INTO _mblab_deliveries (name, run_id, batch_id, input_hash) VALUES (?, ?, ?, ?)",
            (self._name, delivery.run_id, delivery.batch_id, delivery.input_hash),
        )

    def place(self, delivery: Delivery, first: int, last: int) -> None:
        """Note in a delivery's line which rows it brought."""
        self._execute(
            "UPDATE _mblab_deliveries SET first_row = ?, last_row = ? WHERE name = ? AND run_id = ? AND batch_id = ?",
            (first, last, self._name, delivery.run_id, delivery.batch_id),
        )

    def held(self, delivery: Delivery) -> Delivery | None:
        """Return this batch if it stands there already, else the newest of its run."""
        find = (
            "SELECT batch_id, input_hash FROM _mblab_deliveries WHERE name = ? AND run_id = ?"
            " ORDER BY batch_id = ? DESC, batch_id DESC LIMIT 1"
        )
        found = self._one(find, self._name, delivery.run_id, delivery.batch_id)
        return Delivery(delivery.run_id, *found) if found else None

    def newest(self) -> Delivery | None:
        """Return the newest delivery to the table, of whatever run."""
        newest = "SELECT run_id, batch_id, input_hash FROM _mblab_deliveries WHERE name = ? ORDER BY seq DESC LIMIT 1"
        found = self._one(newest, self._name)
        return Delivery(*found) if found else None

    def num_rows(self) -> int:
        """Return how many rows all deliveries brought."""
        rows = "SELECT COALESCE(SUM(last_row - first_row + 1), 0) FROM _mblab_deliveries WHERE name = ?"
        return int(self._one(rows, self._name)[0])

    # -- going back ---------------------------------------------------------------------------------------------------

    def last_seq(self) -> int:
        """Return the number of the last delivery, 0 without one."""
        return int(self._one("SELECT COALESCE(MAX(seq), 0) FROM _mblab_deliveries WHERE name = ?", self._name)[0])

    def rows_since(self, seq: int, run_id: str) -> list[tuple[int, int]]:
        """Return (first, last) of the rows that a run delivered since."""
        since = "SELECT first_row, last_row FROM _mblab_deliveries WHERE name = ? AND seq > ? AND run_id = ?"
        return self._execute(since, (self._name, seq, run_id)).fetchall()

    def undo(self, seq: int, run_id: str) -> bool:
        """Take out a run's lines since, and return whether no other run's are left there."""
        where = "FROM _mblab_deliveries WHERE name = ? AND seq > ?"
        self._execute(f"DELETE {where} AND run_id = ?", (self._name, seq, run_id))
        return not self._one(f"SELECT COUNT(*) {where}", self._name, seq)[0]

"""Rows that a cap made wait: at which batch they became available, so that their waits can be told apart.

feed, schedule -> [backlog] -> batch -> records -> metrics
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from mblab.timing.schedule import Trigger

__all__ = ["Backlog", "Group"]


class Group(NamedTuple):
    """Rows of a batch that became available at the same earlier batch, which a cap kept from taking them.

    Attributes:
        rows: How many.
        due_ns: When that batch was due.
        start_ns: When it started.
    """

    rows: int
    due_ns: int
    start_ns: int


class Backlog:
    """The untaken rows of a stream, grouped by the batch at which they became available."""

    def __init__(self) -> None:
        self._groups: deque[Group] = deque()
        self._grouped = 0  # rows, from the start of the stream, that `_groups` and earlier batches cover

    def take(
        self, trigger: Trigger, count: int, taken: int, available: int, *, merge: bool = False
    ) -> tuple[Group, ...] | None:
        """Return the groups of a batch's rows, which are the oldest; None when all became available at this batch.

        Args:
            trigger: The batch's.
            count: Rows it takes.
            taken: Rows that batches before it took.
            available: Untaken rows that it might take.
            merge: Whether its rows count as available at this batch, whenever they arrived.
        """
        if merge:
            self._groups.clear()
            self._grouped = taken + count
            return None
        if not self._groups and count == available:
            self._grouped = taken + available
            return None
        if taken + available > self._grouped:
            self._groups.append(Group(taken + available - self._grouped, trigger.due_ns, trigger.start_ns))
            self._grouped = taken + available
        found = []
        while count:
            group = self._groups.popleft()
            part = min(count, group.rows)
            found.append(group._replace(rows=part))
            if part < group.rows:
                self._groups.appendleft(group._replace(rows=group.rows - part))
            count -= part
        return tuple(found)

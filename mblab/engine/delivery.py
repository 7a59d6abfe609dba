"""All sinks of a run as one: a batch is delivered to each of them, or to none.

engine -> prepared rows -> [delivery] -> sinks, run.output
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pandas as pd

from mblab.errors import MblabError, SinkError
from mblab.sinks.base import Delivery, Savepoint, Sink

__all__ = ["DeliverySet"]

logger = logging.getLogger("mblab")


@contextlib.contextmanager
def _explained(sink: Sink, what: str, batch_id: int) -> Iterator[None]:
    """Let an error of a sink's own name the sink and the batch."""
    try:
        yield
    except MblabError:
        raise
    except Exception as error:
        raise SinkError(f"{sink.target} {what} batch {batch_id}: {type(error).__name__}: {error}") from error


class DeliverySet:
    """The sinks of a run, and the one that the run itself reads its output from.

    Args:
        run_id: 12 hex digits.
        output: The run's own output; it takes rows as the last step gave them.
        effects: Whether sinks that reach outside the process take part.
    """

    def __init__(self, run_id: str, output: Sink, *, effects: bool) -> None:
        self._run_id, self._output, self.effects = run_id, output, effects
        self._sinks: tuple[Sink, ...] = ()
        self._adopted: tuple[Sink, ...] = ()  # what `_sinks` was made from
        self._owed: list[tuple[Sink, Savepoint | None]] = []  # marks of the batch in hand that were not taken back yet

    def open(self, sinks: tuple[Sink, ...]) -> None:
        """Get ready for a run."""
        self.adopt(sinks)
        self._output.open(self._run_id)

    def adopt(self, sinks: tuple[Sink, ...]) -> bool:
        """Go on with these sinks: those that are gone are closed, new ones opened; return whether one takes part.

        Raises:
            SinkError: One cannot be opened.
        """
        if sinks is self._adopted:
            return bool(self._sinks)
        wanted = tuple(s for s in sinks if self.effects or not s.effects)
        for sink in self._sinks:
            if sink not in wanted:
                self._forgive(sink)
                sink.close()
        for sink in wanted:
            if sink not in self._sinks:
                sink.open(self._run_id)
        self._sinks, self._adopted = wanted, sinks
        return bool(wanted)

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Deliver a batch to every sink, in order.

        Raises:
            SinkError: One refused it; those that had taken it have given it back, or notes of the error say which did
                not.
        """
        try:
            for sink in self._sinks:
                with _explained(sink, "refused", delivery.batch_id):
                    mark = sink.savepoint()
                self._owed.append((sink, mark))
                with _explained(sink, "refused", delivery.batch_id):
                    sink.deliver(rows, delivery)
            self._output.deliver(rows, delivery)
        except BaseException as error:
            for failure in self._take_back(delivery.batch_id, self._sinks):
                error.add_note(f"and {failure}")
            raise
        self._owed = []

    def settle(self, batch_id: int, sinks: tuple[Sink, ...]) -> None:
        """Take back what an earlier try of the batch left in one of these sinks, which did not give it back then.

        Raises:
            SinkError: One still does not; further ones are in the notes of the error.
        """
        failures = self._take_back(batch_id, sinks)
        for failure in failures[1:]:
            failures[0].add_note(f"and {failure}")
        if failures:
            raise failures[0]

    def _take_back(self, batch_id: int, sinks: tuple[Sink, ...]) -> list[MblabError]:
        """Undo a batch in every sink that took it, and return why some did not give it back; those owe it still."""
        failures = []
        for sink, mark in [owed for owed in self._owed if owed[0] in sinks]:
            try:
                with _explained(sink, "does not give back", batch_id):
                    sink.rollback(mark)
            except MblabError as error:
                failures.append(error)
            else:
                self._owed = [(other, kept) for other, kept in self._owed if other is not sink]
        return failures

    def _forgive(self, sink: Sink) -> None:
        """Let a sink go that takes part no longer, or not for now, with what it can still give back."""
        for mark in [mark for other, mark in self._owed if other is sink]:
            try:
                sink.rollback(mark)
            except Exception as error:  # whatever its kind: it is let go
                logger.warning("%s keeps a batch that was not delivered everywhere: %s", sink.target, error)
        self._owed = [(other, mark) for other, mark in self._owed if other is not sink]

    def close(self) -> None:
        """Close all; the last one is closed even if an earlier one fails."""
        failures = []
        for sink in (*self._sinks, self._output):
            self._forgive(sink)
            try:
                sink.close()
            except MblabError as error:
                failures.append(error)
        if failures:
            raise failures[0]

"""All sinks of a run as one: a batch is delivered to each of them, or to none.

engine -> prepared rows -> [delivery] -> sinks, run.output
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pandas as pd

from mblab.errors import MblabError, SinkError
from mblab.sinks.base import Delivery, Savepoint, Sink

__all__ = ["DeliverySet"]


@contextlib.contextmanager
def _explained(sink: Sink, what: str, delivery: Delivery) -> Iterator[None]:
    """Let an error of a sink's own name the sink and the batch."""
    try:
        yield
    except MblabError:
        raise
    except Exception as error:
        raise SinkError(f"{sink.target} {what} batch {delivery.batch_id}: {type(error).__name__}: {error}") from error


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
                sink.close()
        for sink in wanted:
            if sink not in self._sinks:
                sink.open(self._run_id)
        self._sinks, self._adopted = wanted, sinks
        return bool(wanted)

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Deliver a batch to every sink, in order.

        Raises:
            SinkError: One refused it; those that had taken it have given it back, or the message says which did not.
        """
        marks: list[tuple[Sink, Savepoint | None]] = []
        try:
            for sink in self._sinks:
                with _explained(sink, "refused", delivery):
                    marks.append((sink, sink.savepoint()))
                    sink.deliver(rows, delivery)
            self._output.deliver(rows, delivery)
        except BaseException:
            self._take_back(marks, delivery)
            raise

    @staticmethod
    def _take_back(marks: list[tuple[Sink, Savepoint | None]], delivery: Delivery) -> None:
        """Undo a batch in every sink that took it, also where an earlier one does not give it back."""
        failures = []
        for sink, mark in marks:
            try:
                with _explained(sink, "does not give back", delivery):
                    sink.rollback(mark)
            except MblabError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Close all; the last one is closed even if an earlier one fails."""
        failures = []
        for sink in (*self._sinks, self._output):
            try:
                sink.close()
            except MblabError as error:
                failures.append(error)
        if failures:
            raise failures[0]

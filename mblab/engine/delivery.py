"""All sinks of a run as one: a batch is delivered to each of them, or to none.

engine -> prepared rows -> [delivery] -> sinks, run.output
"""

from __future__ import annotations

import pandas as pd

from mblab.errors import MblabError, SinkError
from mblab.sinks.base import Delivery, Savepoint, Sink

__all__ = ["DeliverySet"]


class DeliverySet:
    """The sinks of a run, and the one that the run itself reads its output from.

    Args:
        run_id: 12 hex digits.
        output: The run's own output; it takes rows as the last step gave them.
        effects: Whether sinks that reach outside the process take part.
    """

    def __init__(self, run_id: str, output: Sink, *, effects: bool = True) -> None:
        self._run_id, self._output, self._effects = run_id, output, effects
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
        wanted = tuple(s for s in sinks if self._effects or not s.effects)
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
            SinkError: One refused it; those that had taken it have given it back.
        """
        marks: list[tuple[Sink, Savepoint | None]] = []
        try:
            for sink in self._sinks:
                marks.append((sink, sink.savepoint()))
                self._hand_over(sink, rows, delivery)
            self._output.deliver(rows, delivery)
        except BaseException:
            for sink, mark in marks:
                sink.rollback(mark)
            raise

    @staticmethod
    def _hand_over(sink: Sink, rows: pd.DataFrame, delivery: Delivery) -> None:
        try:
            sink.deliver(rows, delivery)
        except MblabError:
            raise
        except Exception as error:
            raise SinkError(
                f"{sink.target} refused batch {delivery.batch_id}: {type(error).__name__}: {error}"
            ) from error

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

"""What a sink is, and the seam on which exactly-once delivery stands.

One batch goes savepoint -> deliver -> (the run commits). `deliver` is idempotent by (run id, batch id, input hash): a
sink that already holds the batch keeps it. After a crash the run asks for `last()` and hands `savepoint` back to
`rollback`, so nothing is lost and nothing stands there twice.

    engine -> [sinks] -> the outside world
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import pandas as pd

__all__ = ["Delivery", "ExportableSink", "Mode", "Savepoint", "Sink"]

Mode = Literal["replace", "append", "error"]
Savepoint = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Which result this is.

    Attributes:
        run_id: 12 hex digits.
        batch_id: Counted from 0 within the run.
        input_hash: Hash of the batch's input; empty without a checkpoint.
        replay: Whether this batch may have been delivered before.
        input_rows: Rows of the batch it was made of, which the result may be a view of; 0 when unknown.
    """

    run_id: str
    batch_id: int
    input_hash: str = ""
    replay: bool = False
    input_rows: int = field(default=0, compare=False)


@runtime_checkable
class Sink(Protocol):
    """Where results go.

    Attributes:
        target: What it writes to, absolute; `lab.to` with the same target replaces the sink.
        guarantee: What a reader may rely on after crashes, in words.
        effects: False when nothing leaves the process (memory): such sinks also take part in sweeps.
    """

    @property
    def target(self) -> str: ...
    @property
    def guarantee(self) -> str: ...
    @property
    def effects(self) -> bool: ...

    def open(self, run_id: str) -> None:
        """Get ready for a run: what an earlier run left is replaced, appended to or refused, by the sink's mode.

        Raises:
            SinkError: The target holds what mblab did not write, or cannot be written.
        """
        ...

    def savepoint(self) -> Savepoint | None:
        """Return what `rollback` needs to undo the next delivery; JSON-able."""
        ...

    def rollback(self, savepoint: Savepoint | None) -> None:
        """Undo whatever was delivered since the savepoint."""
        ...

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Take a batch's result; never called with no rows.

        Raises:
            SinkError: It could not be written; nothing of the batch stands there, or `rollback` removes it.
        """
        ...

    def last(self) -> Delivery | None:
        """Return the newest delivery the target itself knows of, or None."""
        ...

    def close(self) -> None:
        """Flush and let go; calling it twice is fine."""
        ...

    def describe(self) -> str:
        """Return one line for people: kind, target, mode, guarantee."""
        ...


@runtime_checkable
class ExportableSink(Sink, Protocol):
    """A sink that an exported script can make again. One of your own need not be; its lab then cannot be exported.

    Attributes:
        path: Where it writes, as it was given, when that is one path for which another can stand; else None.
        functions: Functions of the user's that it calls, which the script has to define.
    """

    @property
    def path(self) -> Path | None: ...
    @property
    def functions(self) -> tuple[Callable[..., object], ...]: ...

    def code(self, output: str | None = None) -> str:
        """Return the expression that makes this sink again.

        Args:
            output: Expression to stand where the path is, such as `options.output`; without effect when there is none.
        """
        ...

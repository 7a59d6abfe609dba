"""What a target tells of earlier deliveries, and what follows from it: one rule for every kind of target.

A target says by itself that it is ours, which run wrote last and what that run's newest batch was, so that a batch that
comes again is seen, and what somebody else wrote is left alone. Text keeps that in a hidden file beside it, a folder in
its manifest and in the parts, a database in two tables, written first in the transaction that brings the rows. A
checkpoint will ask the same of all of them: `last()`, and whether a batch is held.

    what stands there + mode + run -> [deliveries] -> go on, add, begin anew, or one sentence
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mblab.errors import SinkError
from mblab.sinks.base import Delivery, Mode

__all__ = ["Beginning", "beginning", "delivery_of", "facts_of", "is_held"]

Beginning = Literal["go on", "add", "anew"]


def beginning(mode: Mode, *, same_run: bool, stands: bool, refusal: str) -> Beginning:
    """Return how a run begins at a target that is ours.

    Args:
        mode: The sink's.
        same_run: Whether this run was here before; then it goes on, whatever the mode.
        stands: Whether results of another run stand there.
        refusal: What mode="error" says to that.

    Raises:
        SinkError: The mode is "error" and there are results.

    >>> beginning("replace", same_run=True, stands=True, refusal="out holds results already.")
    'go on'
    """
    if same_run:
        return "go on"
    if stands and mode == "error":
        raise SinkError(refusal)
    return "add" if mode == "append" else "anew"


def is_held(last: Delivery | None, delivery: Delivery, where: str) -> bool:
    """Return whether a delivery stands there already: batches of a run come in order, so up to the last one they do.

    Args:
        last: The newest delivery of the run, or, where each one can be looked up, this one.
        delivery: What is to be delivered.
        where: The target, for the message.

    Raises:
        SinkError: It does, but made of other input, or nothing tells of what: a checkpoint that went back in time.
    """
    if last is None or last.run_id != delivery.run_id or delivery.batch_id > last.batch_id:
        return False
    known = last.input_hash if last.batch_id == delivery.batch_id else ""
    if delivery.input_hash != known:
        raise SinkError(
            f"{where} holds the batches of run {last.run_id} up to {last.batch_id}, but batch {delivery.batch_id} now "
            "comes from other input; restore the newer checkpoint, or write to another path."
        )
    return True


def facts_of(delivery: Delivery) -> dict[str, str | int]:
    """Return what a target keeps of a delivery."""
    return {"run_id": delivery.run_id, "batch_id": delivery.batch_id, "input_hash": delivery.input_hash}


def delivery_of(facts: Mapping[str, Any]) -> Delivery:
    """Return the delivery of which a target kept this.

    Raises:
        KeyError: It did not.
    """
    return Delivery(facts["run_id"], facts["batch_id"], facts["input_hash"])

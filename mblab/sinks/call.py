"""Results handed to a function of the user's: a message broker, a web service, a database by hand.

What the function does cannot be undone, so a batch that is tried again is handed over again.

    engine -> [call] -> fn(rows), fn(rows, batch_id) or fn(rows, batch_id, run_id)
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Final

import pandas as pd

from mblab.errors import ExportError, SettingError, SinkError, shown
from mblab.sinks.base import Delivery, Mode, Savepoint
from mblab.support import jupyter
from mblab.support.arguments import function

__all__ = ["CallSink", "call"]

DOES_NOTHING: Final = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def call(fn: Callable[..., object]) -> CallSink:
    """Return a sink that calls a function with each batch's rows; at least once.

    The function is called as f(rows), f(rows, batch_id) or f(rows, batch_id, run_id), by the number of its positional
    parameters; one that has a default keeps it. (run_id, batch_id) is the same when a batch is delivered again, so it
    tells. What the function returns is ignored; when it raises, the batch is delivered again on `lab.resume()`. It is
    known by its module and name, so running its cell again replaces it.

    Args:
        fn: The function; the rows are its own to change.

    Raises:
        SettingError: It is no function, takes other arguments, or is async or a generator.

    >>> import pandas as pd
    >>> def publish(rows, batch_id):
    ...     print(batch_id, len(rows))
    >>> call(publish).deliver(pd.DataFrame({"value": [1, 2]}), Delivery("0123456789ab", batch_id=7))
    7 2
    """
    return CallSink(fn)


class CallSink:
    """Calls a function with each batch's rows.

    Attributes:
        fn: The function.
        num_arguments: How many of (rows, batch_id, run_id) it is called with.
    """

    guarantee = "at least once"
    effects = True
    mode: Mode = "append"
    path = None

    def __init__(self, fn: Callable[..., object]) -> None:
        self.fn = function(fn, "fn", "of a batch's rows, such as fn(rows) or fn(rows, batch_id)")
        self.num_arguments = _num_arguments(fn)
        self._target = _place(fn)

    @property
    def functions(self) -> tuple[Callable[..., object], ...]:
        """The function."""
        return (self.fn,)

    @property
    def target(self) -> str:
        """`module:qualified name`; a lambda's also says where it stands."""
        return self._target

    def open(self, run_id: str) -> None:
        """Do nothing: what the function did before cannot be known."""

    def savepoint(self) -> Savepoint | None:
        """Return None: a call cannot be undone."""
        return None

    def rollback(self, savepoint: Savepoint | None) -> None:
        """Do nothing: a call cannot be undone."""

    def deliver(self, rows: pd.DataFrame, delivery: Delivery) -> None:
        """Call the function; it may change its rows, they are its own.

        Raises:
            SinkError: It raised; the original error is `__cause__`.
        """
        arguments = (rows.copy(deep=False), delivery.batch_id, delivery.run_id)[: self.num_arguments]
        try:
            self.fn(*arguments)
        except Exception as error:
            raise SinkError(
                f"{_name(self.fn)} failed on batch {delivery.batch_id}: {type(error).__name__}: {error}"
            ) from error

    def last(self) -> Delivery | None:
        """Return None: a function remembers nothing that mblab could ask for."""
        return None

    def close(self) -> None:
        """Do nothing."""

    def describe(self) -> str:
        """Return one line for people: kind, target, mode, guarantee."""
        return f"call: {self.target}, {self.mode}, {self.guarantee}"

    def code(self, output: str | None = None) -> str:  # noqa: ARG002 - it writes to no path
        """Return the expression that makes this sink again; the function's own text is not in it.

        Raises:
            ExportError: It is a lambda, a method or another object without a name of its own.
        """
        name, owner = getattr(self.fn, "__name__", ""), getattr(self.fn, "__self__", None)
        if not name.isidentifier() or not (owner is None or inspect.ismodule(owner)):
            raise ExportError(f"{self!r} cannot be exported: write the function with def and a name.")
        return f"mblab.sinks.call({name})"

    def __repr__(self) -> str:
        return f"mblab.sinks.call({_name(self.fn)})"


def _num_arguments(fn: Callable[..., object]) -> int:
    """Return how many positional parameters without a default there are; one that has a default keeps it."""
    if any(is_kind(_body(fn)) for is_kind in DOES_NOTHING):
        raise SettingError(
            f"call needs a plain function; {_name(fn)} is async or a generator: calling it does nothing."
        )
    try:
        parameters = inspect.signature(fn).parameters.values()
    except ValueError:  # some builtins do not say
        return 1
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p.name for p in positional if p.default is p.empty]
    unmet = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    takes_rows = positional or any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(needed) > 3 or unmet or not takes_rows:
        raise SettingError(
            "call needs f(rows), f(rows, batch_id) or f(rows, batch_id, run_id), "
            f"but {_name(fn)} takes {[*needed, *unmet]}."
        )
    return max(1, len(needed))


def _body(fn: Callable[..., object]) -> Callable[..., object]:
    """Return the function that runs when `fn` is called."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn if inspect.isroutine(fn) else type(fn).__call__


def _name(fn: Callable[..., object]) -> str:
    return str(getattr(fn, "__qualname__", "") or shown(fn))


def _place(fn: Callable[..., object]) -> str:
    """Return what stays the same when the cell that made the function is run again."""
    if isinstance(fn, functools.partial):
        bound = ", ".join([*(shown(a) for a in fn.args), *(f"{k}={shown(v)}" for k, v in fn.keywords.items())])
        return f"{_place(fn.func)}({bound})"
    owner = fn if hasattr(fn, "__qualname__") else type(fn)
    place = f"{getattr(owner, '__module__', None) or 'builtins'}:{owner.__qualname__}"
    written = getattr(fn, "__code__", None)
    if written is not None and fn.__name__ == "<lambda>":
        cell = jupyter.current_cell()
        where = (cell and cell.cell) or written.co_filename  # in a notebook the file name changes with the text
        return f"{place} at {where}:{written.co_firstlineno}"
    return place

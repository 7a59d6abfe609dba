"""Ctrl-C and SIGTERM while a verb blocks the main thread: first the order to end, and when it is done the exception.

signal -> [interrupts] -> driver
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal

from mblab.engine import forks
from mblab.support import jupyter

__all__ = ["Caught", "interrupts"]


class Caught:
    """The signals that came, and whether another Ctrl-C may raise where the main thread stands.

    Attributes:
        first: The one to answer, or None.
        abortable: Whether a second Ctrl-C aborts.
    """

    def __init__(self) -> None:
        self.first: Literal["SIGINT", "SIGTERM"] | None = None
        self.abortable = False

    def answer(self) -> None:
        """Raise what the caller is to see.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: After SIGTERM.
        """
        if self.first == "SIGINT":
            raise KeyboardInterrupt
        if self.first == "SIGTERM":
            raise SystemExit(0)


class _Handlers:
    """What was there before; a forked child, which nobody asked to wait for a batch, has it back."""

    def __init__(self) -> None:
        self._before: list[tuple[int, Any]] = []
        forks.in_child(self, lambda handlers: handlers.restore(0))

    def __len__(self) -> int:
        return len(self._before)

    def put(self, number: int, handler: Callable[..., None]) -> None:
        self._before.append((number, signal.getsignal(number)))
        signal.signal(number, handler)

    def restore(self, upto: int) -> None:
        while len(self._before) > upto:
            signal.signal(*self._before[-1])
            self._before.pop()


_handlers = _Handlers()


@contextlib.contextmanager
def interrupts(end: Callable[[], None], terminate: Callable[[], None]) -> Iterator[Caught]:
    """Take Ctrl-C and SIGTERM where they are ours to take; afterwards the handlers are what they were.

    Args:
        end: Called at Ctrl-C, in a thread of its own: the thread that is interrupted may hold the very lock it needs.
        terminate: Called at SIGTERM, likewise.
    """
    caught, before = Caught(), len(_handlers)
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def on_ctrl_c(*_: object) -> None:
        if caught.first is None:
            caught.first = "SIGINT"
            _thread.start_new_thread(end, ())
        elif caught.abortable:
            raise KeyboardInterrupt

    def on_sigterm(*_: object) -> None:
        caught.first = "SIGTERM"
        _thread.start_new_thread(terminate, ())

    try:
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if usual or jupyter.in_kernel():
            _handlers.put(signal.SIGINT, on_ctrl_c)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            _handlers.put(signal.SIGTERM, on_sigterm)
        try:
            yield caught
        finally:
            caught.abortable = False
    finally:
        _handlers.restore(before)

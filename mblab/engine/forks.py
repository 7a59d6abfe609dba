"""What a forked child makes of what its parent held.

A child has one thread, the one that forked. Locks that another thread held at that moment stay locked in it for ever,
and what another thread did is done by nobody. Whoever holds such things says here how a child's copy goes on. The lock
of a module that another thread is importing cannot be mended there, so a fork waits until an import of ours is over.

    os.fork -> [forks] -> locks, runs, signal handlers
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

__all__ = ["in_child"]

IMPORT_S = 5.0  # so long a fork waits for an import at most
IMPORT_CODE = "<frozen importlib._bootstrap>"

T = TypeVar("T")
_acts: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def in_child(owner: T, act: Callable[[T], None]) -> None:
    """Call `act(owner)` in every child that is forked while `owner` lives; the owner is held weakly."""
    _acts[owner] = act


def _after_fork() -> None:
    for owner, act in list(_acts.items()):
        act(owner)


def _before_fork() -> None:
    end = time.monotonic() + IMPORT_S
    while _another_imports() and time.monotonic() < end:
        time.sleep(0.001)


def _another_imports() -> bool:
    """Whether another thread is within an import that a module of this package began."""
    me = threading.get_ident()
    return any(_imports(frame) for thread, frame in sys._current_frames().items() if thread != me)  # noqa: SLF001


def _imports(frame: FrameType | None) -> bool:
    importing = False
    while frame is not None:
        inner, importing = importing, frame.f_code.co_filename == IMPORT_CODE
        if inner and frame.f_globals.get("__name__", "").startswith("mblab."):
            return True
        frame = frame.f_back
    return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)

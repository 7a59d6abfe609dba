"""What a forked child makes of what its parent held.

A child has one thread, the one that forked. Locks that another thread held at that moment stay locked in it for ever,
and what another thread did is done by nobody. Whoever holds such things says here how a child's copy goes on.

    os.fork -> [forks] -> locks, runs, signal handlers
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["in_child"]

T = TypeVar("T")
_acts: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def in_child(owner: T, act: Callable[[T], None]) -> None:
    """Call `act(owner)` in every child that is forked while `owner` lives; the owner is held weakly."""
    _acts[owner] = act


def _after_fork() -> None:
    for owner, act in list(_acts.items()):
        act(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

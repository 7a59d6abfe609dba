"""What a step remembers between batches, and how to go back to what it remembered.

A batch step has one dict, a keyed step one dict a key; only the store knows which. Before a step is called the store
takes a snapshot of its state; when the batch fails it goes back to that, so the same batch can be run again as if
nothing had happened. A snapshot shares what cannot change: numbers, texts, frames (copy on write); containers of such
values are copied as a whole, anything else in depth.

    batch -> steps + [state] -> sinks
"""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import itertools
import sys
import time
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from mblab.errors import StepError, shown
from mblab.steps.step import Step
from mblab.support.frames import shallow

__all__ = ["NAN", "State", "StateStore", "savepoint", "size_bytes", "tidy_key"]

COPY_TRIES = 20
NAN = float("nan")  # one object for every missing key, so that a dict finds it again
PLAIN = frozenset(
    {
        int, float, str, bool, bytes, complex, type(None), pd.Timestamp, pd.Timedelta, type(pd.NaT), type(pd.NA),
        np.bool_, np.int32, np.int64, np.float32, np.float64, np.datetime64, np.timedelta64, np.str_,
        dt.datetime, dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID,
    }
)  # fmt: skip
DICTS = frozenset({dict, Counter, OrderedDict, defaultdict})
LISTS = frozenset({list, set, deque})
State = dict[Any, Any]  # what a step remembers, under names or keys of its own
Memo = dict[int, Any]  # id → copy, of one savepoint: what was one object before is one afterwards


def _is_fixed(value: Any) -> bool:
    """Return whether a value can never change."""
    kind = type(value)
    return kind in PLAIN or (kind in (tuple, frozenset) and all(map(_is_fixed, value)))


def _all_fixed(values: Iterable[Any]) -> bool:
    kinds = set(map(type, values))
    return kinds <= PLAIN or (kinds <= PLAIN | {tuple, frozenset} and all(map(_is_fixed, values)))


def _copy(value: Any, memo: Memo) -> Any:
    kind = type(value)
    if kind in PLAIN:
        return value
    if (known := memo.get(id(value))) is not None:
        return known
    if kind is pd.DataFrame:
        made: Any = shallow(value)
    elif isinstance(value, pd.DataFrame | pd.Series | pd.Index):
        made = value.copy(deep=False)  # pandas 3 copies on write: a later change in place leaves this one alone
    elif kind is np.ndarray and value.dtype.hasobject is False:
        made = value.copy()
    elif kind in (tuple, frozenset) and _is_fixed(value):
        made = value
    elif (kind in LISTS and _all_fixed(value)) or (kind in DICTS and _all_fixed(value.values())):
        made = value.copy()
    elif kind is dict:
        made = memo[id(value)] = {}  # known before its values are: they may hold it
        made.update((k, _copy(v, memo)) for k, v in value.items())
    else:
        return copy.deepcopy(value, memo)
    memo[id(value)] = made
    return made


def savepoint(state: State) -> State:
    """Return a copy of a state that later changes in place do not reach.

    Raises:
        StepError: It holds something that cannot be copied, such as a connection.

    >>> state = {"n": 1, "seen": [1]}
    >>> kept = savepoint(state)
    >>> state["seen"].append(2)
    >>> kept
    {'n': 1, 'seen': [1]}
    """
    if PLAIN.issuperset(map(type, state.values())):
        return dict(state)
    made: State = {}
    memo: Memo = {id(state): made}
    for key, value in state.items():
        try:
            made[key] = _copy(value, memo)
        except (TypeError, copy.Error) as error:
            raise StepError(
                f"state[{shown(key)}] holds a {type(value).__name__}, which cannot be copied ({error}); a state is "
                "copied before each batch, so keep connections, locks and clients outside of it."
            ) from error
    return made


def tidy_key(key: Any) -> Any:
    """Return a key as a plain Python value; every missing one is the same NaN.

    >>> tidy_key(np.int64(5)), tidy_key("UA"), tidy_key(pd.NA)
    (5, 'UA', nan)
    """
    if isinstance(key, tuple):
        return tuple(tidy_key(k) for k in key)
    if key is None or key is pd.NA or key is pd.NaT or (isinstance(key, float) and key != key):  # noqa: PLR0124
        return NAN
    return key.item() if isinstance(key, np.generic) and not isinstance(key, np.datetime64 | np.timedelta64) else key


def size_bytes(value: Any, depth: int = 4) -> int:
    """Estimate how many bytes a value takes; large containers are judged by their first 1 000 items.

    >>> size_bytes(np.zeros(1000)) >= 8000
    True
    """
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(index=True).sum())
    if isinstance(value, pd.Series | pd.Index):
        return int(value.memory_usage())
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    own = sys.getsizeof(value, 64)
    if depth == 0 or not isinstance(value, dict | list | tuple | set | frozenset) or not value:
        return own
    sizes = [size_bytes(item, depth - 1) for item in itertools.islice(value, 1000)]
    if isinstance(value, dict):
        sizes = [key + size_bytes(held, depth - 1) for key, held in zip(sizes, value.values(), strict=False)]
    return own + sum(sizes) * len(value) // len(sizes)


class StateStore:
    """The state of every step of a run, by the step's uid."""

    def __init__(self) -> None:
        self._whole: dict[int, State] = {}
        self._keyed: dict[int, dict[Any, State]] = {}

    def of(self, step: Step) -> State:
        """Return a step's state as it stands, the same dict every time: its own, or key → dict of a keyed step."""
        held = self._keyed if step.kind == "keyed" else self._whole
        try:
            return held[step.uid]
        except KeyError:
            return held.setdefault(step.uid, {})

    def snapshot(self, step: Step, keys: Iterable[Hashable] | None = None) -> State:
        """Return a copy of a step's state, which `restore` takes back.

        Args:
            step: Whose.
            keys: Of a keyed step only these; None stands for a key that is new.
        """
        state = self.of(step)
        if step.kind != "keyed":
            return savepoint(state)
        return {k: savepoint(state[k]) if k in state else None for k in (list(state) if keys is None else keys)}

    def restore(self, step: Step, saved: State) -> None:
        """Go back to a snapshot, which stays as it is and can be gone back to again."""
        kept = self.copied(step, saved)
        if step.kind != "keyed":
            self._whole[step.uid] = kept
            return
        states = self.of(step)
        for key, state in kept.items():
            if state is None:
                states.pop(key, None)
            else:
                states[key] = state

    @staticmethod
    def copied(step: Step, saved: State) -> State:
        """Return a copy of a snapshot, for whoever looks at it and may change it."""
        if step.kind != "keyed":
            return savepoint(saved)
        return {key: None if state is None else savepoint(state) for key, state in saved.items()}

    def copy(self) -> StateStore:
        """Return a store that later changes in place do not reach, for trying a batch without consequences.

        A batch that runs meanwhile in another thread may grow a dict while it is read; then it is read again.
        """
        for _ in range(COPY_TRIES):
            try:
                return self._copied()
            except RuntimeError:  # dictionary changed size during iteration
                time.sleep(0.005)
        return self._copied()

    def _copied(self) -> StateStore:
        other = StateStore()
        other._whole = {uid: savepoint(state) for uid, state in list(self._whole.items())}
        other._keyed = {
            uid: {key: savepoint(state) for key, state in list(states.items())}
            for uid, states in list(self._keyed.items())
        }
        return other

    def everything(self) -> list[State]:
        """Return the states of all steps, for judging their size."""
        return [*self._whole.values(), *self._keyed.values()]

"""The steps of a lab in order, and how a cell that is run again replaces its own.

A pipeline is a chain of steps; each gets what the one before it returned. A step belongs to the notebook cell that
defined it: running the cell again replaces it in place, also under a new name, and its state lives on.

    steps -> [chain] -> pipeline
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mblab.errors import SettingError, shown
from mblab.steps.step import Step, make_step
from mblab.support import jupyter

__all__ = ["Chain", "names_of"]


@dataclass(slots=True)
class _Execution:
    """One execution of one cell: the steps it found as its own, and those it has defined so far."""

    execution: str
    old: list[Step]
    new: list[Step] = field(default_factory=list)
    dirty: bool = False  # `new` holds what the chain does not
    watched: bool = False  # `_end` will be called

    def define(self, step: Step, namesake: Step | None) -> None:
        """Take a step; a namesake that stands in the chain is what it will replace, whichever cell wrote that one."""
        if namesake is not None:
            known = {s.uid: s for s in self.old}
            known[namesake.uid] = namesake
            self.old = list(known.values())
        names = [s.name for s in self.new]
        if step.name in names:
            self.new[names.index(step.name)] = step
        else:
            self.new.append(step)
        self.dirty = True


def _replaced(old: Sequence[Step], new: Sequence[Step]) -> dict[int, Step]:
    """Return uid of a new step → the old one it replaces: its namesake, else the one between the same neighbours."""
    by_name, names = {s.name: s for s in old}, {s.name for s in new}
    found = {s.uid: by_name[s.name] for s in new if s.name in by_name}
    match = difflib.SequenceMatcher(None, [s.name for s in old], [s.name for s in new], autojunk=False)
    for tag, old_from, old_to, new_from, new_to in match.get_opcodes():
        if tag == "replace":
            gone = [s for s in old[old_from:old_to] if s.name not in names]
            come = [s for s in new[new_from:new_to] if s.name not in by_name]
            found.update((step.uid, was) for step, was in zip(come, gone, strict=False))
    return found


def _successor(step: Step, old: Step | None) -> Step:
    """Return a step as the next version of an old one; another kind or key starts with a state of its own."""
    if old is None or old is step:
        return step
    keeps_state = (old.kind, old.key) == (step.kind, step.key)
    return replace(step, uid=old.uid if keeps_state else step.uid, version=old.version + 1)


def _put(chain: Sequence[Step], mine: Container[int], steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the chain with a cell's steps, known by uid, replaced by others in their own order."""
    places = [i for i, s in enumerate(chain) if s.uid in mine] or [len(chain)]
    after: list[Step] = []
    coming = iter(steps)
    for i, step in enumerate(chain):
        if i not in places:
            after.append(step)
        elif i != places[-1]:
            after.extend(itertools.islice(coming, 1))
        else:
            after.extend(coming)
    return (*after, *coming)


class Chain:
    """The steps of a lab in order, and the rule by which a cell that is run again replaces its own.

    Outside a notebook a step of the same name replaces the old one at once. In a notebook the steps of one execution
    take the place of those of the cell's last one together: when the cell ends, or when the steps are first asked for.
    A new name between the same neighbours is a rename; what the cell no longer defines goes. When a cell fails, what
    it had not come to define again stays.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.swaps = 0
        self._steps: tuple[Step, ...] = ()
        self._uids = itertools.count()
        self._on_change = on_change
        self._cells: dict[str, _Execution] = {}

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in order, with what the running cell has defined so far."""
        for run in list(self._cells.values()):
            self._settle(run)
        return self._steps

    def add(self, step: Step) -> None:
        """Take a new definition; in a notebook it stands in the chain when the cell ends, elsewhere at once."""
        step = replace(step, uid=next(self._uids))
        namesake = next((s for s in self._steps if s.name == step.name), None)
        cell = jupyter.current_cell()
        if cell is None or cell.cell is None:
            run = _Execution("", [])
            run.define(step, namesake)
            self._settle(run)
            return
        found = self._cells.get(cell.cell)
        if found is None or found.execution != cell.execution:
            found = _Execution(cell.execution, [s for s in self._steps if s.cell == cell.cell])
            self._cells[cell.cell] = found
        run = found
        run.define(step, namesake)
        if not run.watched:
            run.watched = jupyter.on_cell_end(lambda succeeded: self._end(run, succeeded))

    def meant(self, fn: Callable[..., Any], name: str | None) -> Step:
        """Return the step a new version is meant for: the named one, the function's namesake, or the only one."""
        steps = self.steps
        wanted = getattr(fn, "__name__", None) if name is None else name
        found = next((s for s in steps if s.name == wanted), None)
        if found is None and name is None and len(steps) == 1:
            found = steps[0]
        if found is None:
            have = [s.name for s in steps]
            raise SettingError(f"no step is called {shown(wanted)}; there are {have}; say which with beside='name'.")
        return found

    @staticmethod
    def version_of(old: Step, fn: Callable[..., Any]) -> Step:
        """Return a function in a step's place: same name, kind and key, and so the same state."""
        key = None if old.key is None else list(old.key)
        step = make_step(fn, "map" if old.kind == "map" else "batch", key=key, name=old.name)
        return replace(step, uid=old.uid)

    def remove(self, name: str) -> bool:
        """Take a step out by name; return whether it was there."""
        keep = tuple(s for s in self.steps if s.name != name)
        if len(keep) == len(self._steps):
            return False
        self._steps = keep
        self._on_change()
        return True

    def _end(self, run: _Execution, succeeded: bool) -> None:
        """Settle what a cell defined; of one that failed, only what replaces a namesake."""
        run.watched = False
        standing, defined = {s.name for s in self._steps}, {s.name: s for s in run.new}
        if run.dirty and not succeeded and any(s.name not in defined for s in run.old):
            waiting = [name for name in defined if name not in standing]
            names = {s.name for s in run.old}
            run.new = [defined.get(s.name, s) for s in run.old if s.name in standing]
            run.new += [s for name, s in defined.items() if name in standing and name not in names]
            if waiting:
                jupyter.say(f"mblab: the cell failed before its end; run it again to take in {', '.join(waiting)}.")
        self._settle(run)

    def _settle(self, run: _Execution) -> None:
        """Put what an execution has defined where the cell's steps stand, in the cell's order."""
        if not run.dirty:
            return
        run.dirty = False
        replaced = _replaced(run.old, run.new)
        steps = [_successor(s, replaced.get(s.uid)) for s in run.new]
        swapped = [(s, replaced[n.uid]) for s, n in zip(steps, run.new, strict=True) if n.uid in replaced]
        before, mine = self._steps, {s.uid for s in (*run.old, *run.new)}
        self._steps = _put(before, mine, steps)
        self.swaps += sum(step not in before for step, _ in swapped)
        self._say_what_changed(before, [(step, old) for step, old in swapped if step not in before])
        self._on_change()

    def _say_what_changed(self, before: Sequence[Step], swapped: Sequence[tuple[Step, Step]]) -> None:
        for step, old in swapped:
            if step.uid != old.uid:
                by = f" by {', '.join(step.key)}" if step.key else ""
                jupyter.say(f"{step.name} is now a {step.kind} step{by}: its state starts fresh.")
        if max(len(before), len(self._steps)) > 1 and [s.name for s in before] != [s.name for s in self._steps]:
            jupyter.say(f"steps: {names_of(self._steps)}")


def names_of(steps: Sequence[Step]) -> str:
    """Return the chain as people read it.

    >>> names_of([])
    '(no step)'
    """
    return " → ".join(s.name for s in steps) or "(no step)"

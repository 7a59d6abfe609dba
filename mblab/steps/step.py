"""The user's function: what it is, which cell wrote it, and what it may take and return.

A pipeline is a chain of steps; each gets what the one before it returned. A step belongs to the notebook cell that
defined it: running the cell again replaces it in place, also under a new name, and its state lives on.

    source -> schedule -> batch -> [steps] + state -> sinks
"""

from __future__ import annotations

import difflib
import functools
import inspect
import itertools
import linecache
import numbers
import textwrap
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from mblab.errors import SettingError, SettingTypeError, StepError, shown
from mblab.support import jupyter

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["Chain", "Kind", "Part", "Step", "as_rows", "joined", "make_step", "part_of", "tidy", "user_line"]

Kind = Literal["batch", "keyed", "map"]


@dataclass(frozen=True, slots=True)
class Step:
    """One function of the pipeline, as it stands now.

    Attributes:
        name: The function's name; names the output column of a scalar.
        fn: The function itself.
        kind: batch (one call a batch), keyed (one call a key and batch, state per key), map (rows are independent).
        key: Column or columns of a keyed step.
        text: Its source text as the user typed it, dedented, with decorators; None when it cannot be found.
        cell: The notebook cell that defined it; None outside a notebook.
        version: 1 + how often it was replaced.
        parameters: What it takes, of "batch", "state", "ctx", in this order.
        filename: Where it was compiled: a path, or the cell's name in a traceback.
        first_line: Its first line there, counted from 1.
        uid: The same through all versions: what its state is kept under.
    """

    name: str
    fn: Callable[..., Any]
    kind: Kind
    key: tuple[str, ...] | None
    text: str | None
    cell: str | None
    version: int
    parameters: tuple[str, ...]
    filename: str
    first_line: int
    uid: int = -1

    def __repr__(self) -> str:
        key = f", key={self.key[0] if len(self.key) == 1 else list(self.key)!r}" if self.key else ""
        return f"Step({self.name}, {self.kind}{key}, version {self.version})"


def _code_of(fn: Callable[..., Any]) -> CodeType | None:
    fn = inspect.unwrap(fn)
    fn = getattr(fn, "func", fn)  # functools.partial
    fn = getattr(fn, "__func__", fn)
    code = getattr(fn, "__code__", None)
    if code is None:  # an object that can be called
        code = getattr(getattr(type(fn), "__call__"), "__code__", None)  # noqa: B004, B009
    return code if inspect.iscode(code) else None


def _text_of(fn: Callable[..., Any]) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(fn))
    except (OSError, TypeError):
        return None


def _name_of(fn: Callable[..., Any], name: object) -> str:
    if name is not None:
        if not isinstance(name, str):
            raise SettingTypeError(f"name must be a string, got {shown(name)}.")
        if not name.strip():
            raise SettingError("name must not be empty; leave it out to use the function's own name.")
        return name
    own = getattr(getattr(fn, "func", fn), "__name__", type(fn).__name__)
    return own if own.isidentifier() else "step"


def _key_of(key: object) -> tuple[str, ...] | None:
    if key is None:
        return None
    names = (key,) if isinstance(key, str) else tuple(key) if isinstance(key, list | tuple) else None
    if names is None or not all(isinstance(n, str) for n in names):
        raise SettingTypeError(f"key must be a column name or a list of them, got {shown(key)}.")
    if not names or len(set(names)) < len(names):
        raise SettingError(f"key must name at least one column, each once, got {shown(key)}.")
    return names


def _parameters_of(fn: Callable[..., Any], kind: Kind, name: str) -> tuple[str, ...]:
    """Return what to pass, by position; a parameter called `ctx` always gets the context."""
    takes = "f(batch) or f(batch, ctx)" if kind == "map" else "f(batch), f(batch, state) or f(batch, state, ctx)"
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return ("batch",)
    positional, variadic = [], False
    for p in signature.parameters.values():
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            positional.append(p)
        elif p.kind is p.VAR_POSITIONAL:
            variadic = True
        elif p.kind is p.KEYWORD_ONLY and p.default is p.empty:
            raise StepError(f"{name} needs the keyword {p.name!r}, which no one can pass; a step is {takes}.")
    required = [p for p in positional if p.default is p.empty]
    if not positional and not variadic:
        raise StepError(f"{name} takes no argument, but a step gets the batch; write {takes}.")
    names = [p.name for p in required] or [p.name for p in positional[:1]] or ["batch"]
    if names[1:2] in (["batch_id"], ["epoch_id"]):
        raise StepError(
            f"{name} takes {names[1]!r} second, as Spark's foreachBatch does; here it is f(batch, state, ctx), "
            "with ctx.batch_id."
        )
    if names[0] in ("state", "ctx") or "batch" in names[1:]:
        raise StepError(f"{name} takes ({', '.join(names)}), but the batch comes first: a {kind} step is {takes}.")
    roles = ["batch"] + ["ctx" if kind == "map" or n == "ctx" else "state" for n in names[1:2]]
    roles += ["ctx" for _ in names[2:3]]
    limit = 2 if kind == "map" else 3
    if len(names) > limit or len(set(roles)) < len(roles):
        raise StepError(f"{name} takes {len(names)} arguments ({', '.join(names)}); a {kind} step is {takes}.")
    if kind == "map" and names[1:2] == ["state"]:
        raise StepError(
            f"{name} takes a state, but the rows of a map step are independent; use @lab.batch to keep state."
        )
    return tuple(roles)


def make_step(fn: object, kind: Kind, *, key: object = None, name: object = None) -> Step:
    """Check a function and describe it as a step.

    Raises:
        StepError: It takes what no step is given, or is async or a generator.
        SettingTypeError: It is not callable.
    """
    if not callable(fn):
        raise SettingTypeError(f"a step must be a function of a batch, got {shown(fn)}.")
    if isinstance(fn, type):
        raise SettingTypeError(f"a step must be a function of a batch, got the class {fn.__name__}.")
    label = _name_of(fn, name)
    called = fn if inspect.isroutine(fn) or isinstance(fn, functools.partial) else type(fn).__call__
    if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
        raise StepError(f"{label} is async; a step is a plain function that returns its rows.")
    if inspect.isgeneratorfunction(called):
        raise StepError(f"{label} is a generator; a step returns its rows at once, for example as a list of dicts.")
    code = _code_of(fn)
    cell = jupyter.current_cell()
    keys = _key_of(key)
    return Step(
        name=label,
        fn=fn,
        kind="keyed" if kind == "batch" and keys else kind,
        key=keys,
        text=_text_of(fn),
        cell=cell.cell if cell else None,
        version=1,
        parameters=_parameters_of(fn, kind, label),
        filename=code.co_filename if code else "",
        first_line=code.co_firstlineno if code else 0,
    )


def user_line(error: BaseException, step: Step) -> tuple[int | None, str]:
    """Return (line, its text): where in the user's own file or cell the error came from, (None, "") if unknown."""
    found: tuple[int | None, str] = (None, "")
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == step.filename:
            found = at.tb_lineno, linecache.getline(step.filename, at.tb_lineno).strip()
        at = at.tb_next
    return found


# -- what a step returns ------------------------------------------------------------------------------------------


def _frame_rows(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a frame of our own with the same rows and index, checked so that `tidy` will take it."""
    if isinstance(frame.columns, pd.MultiIndex):
        raise StepError(
            f"{name} returned columns in {frame.columns.nlevels} levels ({shown(list(frame.columns)[:2])}); "
            "give each column one name."
        )
    levels = [n for n in frame.index.names if n is not None]
    twice = [n for n in levels if n in frame.columns] + [n for i, n in enumerate(levels) if n in levels[:i]]
    if twice:
        raise StepError(
            f"{name} returned {twice[0]!r} twice, as an index level and as a column; "
            "drop one, e.g. with .reset_index(drop=True)."
        )
    return frame.copy(deep=False)  # the function may keep the frame and change it later, in place


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what a step gave with a RangeIndex: named index levels become columns, other indexes are dropped.

    It takes longer than the rest of a small batch, so it is done for those who read the rows: the next step, a sink,
    whoever looks at `run.output`.

    >>> tidy(pd.DataFrame({"n": [3]}, index=pd.Index(["UA"], name="carrier"))).to_dict("records")
    [{'carrier': 'UA', 'n': 3}]
    """
    index = rows.index
    if type(index) is pd.RangeIndex and index.start == 0 and index.step == 1 and index.name is None:
        return rows
    named = [i for i, name in enumerate(index.names) if name is not None]
    if not named:
        return rows.reset_index(drop=True)
    if index.nlevels == 1:
        plain = rows.copy(deep=False)
        plain.index = pd.RangeIndex(len(plain))
        plain.insert(0, index.name, index.array, allow_duplicates=False)
        return plain
    for level in reversed(range(index.nlevels)):
        if index.names[level] is None:
            rows = rows.droplevel(level)
    return rows.reset_index()


def _series_rows(series: pd.Series[Any], name: str) -> pd.DataFrame:
    if all(n is None for n in series.index.names) and not isinstance(series.index, pd.RangeIndex):
        return pd.DataFrame([series.to_list()], columns=[str(label) for label in series.index])
    return _frame_rows(series.to_frame(name if series.name is None else series.name), name)


def _is_column(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray | pd.Series | pd.Index | pd.api.extensions.ExtensionArray)


def _is_pandas(value: object) -> bool:
    return isinstance(value, pd.DataFrame | pd.Series | pd.Index)


def _dict_rows(row: Mapping[Any, Any], name: str) -> pd.DataFrame | None:
    if not row:
        return None
    row = {k: v.item() if isinstance(v, np.ndarray) and v.ndim == 0 else v for k, v in row.items()}
    columns = [v for v in row.values() if _is_column(v)]
    if len(columns) < len(row):
        whole = [k for k, v in row.items() if _is_pandas(v)]
        if whole:
            raise StepError(
                f"{name} returned a dict with a {type(row[whole[0]]).__name__} in {whole[0]!r} beside single values; "
                "return one figure each, or a frame, such as batch.assign(n=len(batch))."
            )
        return pd.DataFrame([row])
    lengths = {str(k): len(v) for k, v in row.items()}
    if len(set(lengths.values())) > 1:
        raise StepError(f"{name} returned a dict of columns that differ in length ({shown(lengths)}); make them equal.")
    return pd.DataFrame({k: v.array if isinstance(v, pd.Series) else v for k, v in row.items()})


def as_rows(result: object, name: str) -> pd.DataFrame | None:
    """Return what a step gave as a frame for `tidy`, or None for no rows.

    A DataFrame: itself. A Series: with a named or range index one column, with any other one row. A dict: one row, or a
    frame of equal lists. A list of dicts: rows. A scalar: one row, in a column called after the step.

    Raises:
        StepError: Anything else.

    >>> as_rows({"n": 3, "late": 1}, "count").to_dict("records")
    [{'n': 3, 'late': 1}]
    """
    rows: pd.DataFrame | None
    if result is None:
        return None
    if isinstance(result, pd.DataFrame):
        rows = _frame_rows(result, name)
    elif isinstance(result, pd.Series):
        rows = _series_rows(result, name)
    elif isinstance(result, Mapping):
        rows = _dict_rows(result, name)
    elif isinstance(result, list) and all(isinstance(r, Mapping) for r in result):
        rows = pd.DataFrame([dict(r) for r in result]) if result else None
    elif isinstance(
        result, str | bytes | numbers.Number | np.generic | pd.Timestamp | pd.Timedelta
    ) or pd.api.types.is_scalar(result):
        rows = pd.DataFrame({name: [result]})
    else:
        kind = type(result).__name__
        raise StepError(
            f"{name} returned {shown(result, 60)}, of type {kind}; return a DataFrame, a Series, "
            "a dict, a list of dicts, a number or text, or None for no rows."
        )
    return rows if rows is not None and len(rows) else None


Part = dict[Any, Any] | pd.DataFrame


def part_of(result: object, name: str) -> Part | None:
    """Return what a keyed step gave for one key, of our own: a dict for a row of single values, else a tidy frame.

    >>> part_of({"n": 3}, "count"), part_of(3, "count")
    ({'n': 3}, {'count': 3})
    """
    if isinstance(result, dict) and result and not any(_is_column(v) or _is_pandas(v) for v in result.values()):
        return dict(result)
    if isinstance(result, numbers.Number | str):
        return {name: result}
    rows = as_rows(result, name)
    return None if rows is None else tidy(rows)


def joined(parts: Sequence[Part]) -> pd.DataFrame | None:
    """Return the parts of all keys as one frame, in order; None for no rows.

    Dicts that follow each other become one frame at once: a frame for each would take longer than most work.
    """
    frames: list[pd.DataFrame] = []
    for kind, group in itertools.groupby(parts, type):
        held: list[Any] = list(group)
        frames += [pd.DataFrame(held)] if kind is dict else held
    if len(frames) < 2:
        return frames[0] if frames else None
    return pd.concat(frames, ignore_index=True)


# -- the chain ------------------------------------------------------------------------------------------------------


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

    def meant(self, fn: object, name: str | None) -> Step:
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
    def version_of(old: Step, fn: object) -> Step:
        """Return a function as the next version of a step: same name, kind and key, and so the same state."""
        key = None if old.key is None else list(old.key)
        step = make_step(fn, "map" if old.kind == "map" else "batch", key=key, name=old.name)
        return replace(step, uid=old.uid, version=old.version + 1)

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

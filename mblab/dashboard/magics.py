"""What `%load_ext mblab` adds to a notebook: `%%batch`, a cell that is the batch function, and `%mblab`, how it goes.

cell -> cells -> [magics] -> lab.batch
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from typing import Any, Protocol

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from mblab.dashboard.cells import CellText, Options, read_cell, read_options
from mblab.errors import SettingError, did_you_mean, shown
from mblab.lab import Lab
from mblab.lab.control import stop_all
from mblab.runs.view import headline
from mblab.steps.chain import names_of
from mblab.support import jupyter
from mblab.timing.durations import format_s

__all__ = ["LabMagics", "load", "unload"]

NAMES = {"cell": ("batch",), "line": ("mblab",)}


class Registry(Protocol):
    """What keeps the magics of a shell."""

    magics: dict[str, dict[str, Any]]


class Shell(Protocol):
    """What is used of IPython's shell to load and unload."""

    magics_manager: Registry

    def register_magics(self, *magics: type[Magics]) -> None: ...


def load(shell: Shell) -> None:
    """Add the magics to a shell; again puts the same ones in place."""
    shell.register_magics(LabMagics)


def unload(shell: Shell) -> None:
    """Take the magics away, and end every run that is on: no thread is left."""
    for kind, names in NAMES.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    stop_all()
    face = sys.modules.get("mblab.dashboard.face")  # not there when no lab was ever shown
    if face is not None:
        face.close_panels()


def labs_in(names: dict[str, Any]) -> dict[str, Lab]:
    """Return the labs among a notebook's variables; one with several names comes under the first."""
    found: dict[int, tuple[str, Lab]] = {}
    for name, value in list(names.items()):
        if isinstance(value, Lab) and not name.startswith("_"):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def lab_called(wish: str | None, names: dict[str, Any]) -> Lab:
    """Return the lab that `--on` names, or the only one there is.

    Raises:
        SettingError: There is none of that name, or none at all, or several and no wish.
    """
    labs = labs_in(names)
    if wish is not None:
        value = names.get(wish)
        if isinstance(value, Lab):
            return value
        if wish in names:
            raise SettingError(f"--on {wish}: {wish} is {shown(value, 40)}, not a lab.")
        others = f"; there are {list(labs)}." if labs else "; make one with mblab.Lab(source)."
        raise SettingError(f"--on {wish}: no lab is called {wish!r}{did_you_mean(wish, labs, others)}")
    if not labs:
        raise SettingError("%%batch needs a lab: run a cell with lab = mblab.Lab(source) before this one.")
    if len(labs) > 1:
        raise SettingError(
            f"%%batch does not know which of the labs {list(labs)}: say it with --on {next(iter(labs))}."
        )
    return next(iter(labs.values()))


@magics_class
class LabMagics(Magics):  # type: ignore[misc]  # IPython has no types that mypy could follow
    """The magics of mblab."""

    @cell_magic  # type: ignore[untyped-decorator]
    def batch(self, line: str, cell: str) -> None:
        """Make this cell the batch function of a lab: %%batch [--name NAME] [--key COLUMN] [--on LAB].

        The function that the cell defines (the last, or the one called NAME) is called once a batch, with --key once
        for each key in it. A cell without one is the function itself, of `batch`, `state` and `ctx`, and what its last
        line says is the result. Running the cell again replaces the step at the next batch and keeps its state.
        """
        __tracebackhide__ = True
        options = read_options(line)
        names = self.shell.user_ns
        lab = lab_called(options.on, names)
        whole_name = options.name or _free_name(lab)
        body = self.shell.transform_cell(cell)
        try:
            text = read_cell(body, options.name, whole_name)
        except SyntaxError:
            text = CellText("\n" + body, "", whole=False)  # which compiling it will say, with the cell's own line
        filename = self.shell.compile.cache(text.text, self.shell.execution_count)
        code = compile(self.shell.compile.ast_parse(text.text, filename=filename), filename, "exec")
        self._refuse_decorated(text, names)
        space: dict[str, Any] = {} if text.whole else names
        exec(code, names, space)  # noqa: S102 - it is the user's cell
        self._define(lab, space[text.function], text, options)

    @staticmethod
    def _define(lab: Lab, function: Callable[..., Any], text: CellText, options: Options) -> None:
        key = list(options.key) if len(options.key) > 1 else options.key[0] if options.key else None
        lab.batch(key=key, name=options.name)(function)
        if text.hint:
            jupyter.say(text.hint)

    @staticmethod
    def _refuse_decorated(text: CellText, names: dict[str, Any]) -> None:
        """Refuse a step that registers itself as well: twice the same with two sets of options."""
        for node in ast.parse(text.text).body:
            if not isinstance(node, ast.FunctionDef) or node.name != text.function:
                continue
            for decorator in node.decorator_list:
                method = decorator.func if isinstance(decorator, ast.Call) else decorator
                owner = method.value if isinstance(method, ast.Attribute) else None
                if isinstance(owner, ast.Name) and isinstance(names.get(owner.id), Lab):
                    said = ast.unparse(decorator)
                    raise SettingError(f"{node.name} stands under %%batch and under @{said}; take one of them away.")

    @line_magic  # type: ignore[untyped-decorator]
    def mblab(self, line: str) -> None:
        """Say in a line for each lab of this notebook how it is doing."""
        if line.strip():
            raise SettingError(f"%mblab takes no options, got {shown(line.strip())}; it says how each lab is doing.")
        labs = labs_in(self.shell.user_ns)
        for name, lab in labs.items():
            jupyter.say(f"{name}: {status_of(lab)}")
        if not labs:
            jupyter.say("no lab yet: lab = mblab.Lab(source, interval='1s')")


def status_of(lab: Lab) -> str:
    """Return how a lab is doing, in one line."""
    said = f"every {format_s(lab.interval)}, {lab.policy}, {names_of(lab.steps)}"
    run = lab.last_run
    if run is None:
        return f"no run yet, {said}"
    error = f"; {str(run.error).splitlines()[0]}" if run.error else ""
    return f"{run.status}, {said}; {headline(run.summary(), backlog=True)}{error}"


def _free_name(lab: Lab) -> str:
    """Return a name for a cell that is a function and has none: its own when it is run again, else one not taken."""
    cell = jupyter.current_cell()
    mine = cell.cell if cell else None
    others = {step.name for step in lab.steps if mine is not None and step.cell != mine}
    return next(name for n in range(1, len(others) + 2) if (name := "step" if n == 1 else f"step_{n}") not in others)

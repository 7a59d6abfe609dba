"""A user's file, executed: a script in this process, a notebook by papermill in a kernel of its own.

script or notebook -> [target] -> job -> plain values
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import difflib
import json
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from mblab.cli.common import Failed, print_note
from mblab.cli.job import Execution, Job
from mblab.errors import MblabError, SettingError, extra, shown
from mblab.lab.control import Knobs
from mblab.lab.overrides import StoppedHere, overriding

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from papermill.exceptions import PapermillExecutionError

__all__ = ["check_target", "execute"]

TAG: Final = "mblab"  # of the cells that are put into a copy of the notebook
QUIET: Final = ["--IPKernelApp.log_level=50"]  # a kernel warns of its own transport on stderr
NOTHING: Final = object()


def check_target(target: Path) -> None:
    """Refuse what is neither a script nor a notebook.

    Raises:
        SettingError: It is not there, or of another kind.
    """
    if not target.is_file():
        folder = target.parent
        there = [f.name for f in folder.iterdir() if f.suffix in (".py", ".ipynb")] if folder.is_dir() else []
        near = difflib.get_close_matches(target.name, there, n=1, cutoff=0.5)
        hint = f": did you mean {str(folder / near[0])!r}?" if near else "."
        if target.is_dir():
            raise SettingError(f"{str(target)!r} is a folder; name a script or notebook in it.")
        raise SettingError(f"{str(target)!r} is not there{hint}")
    if target.suffix not in (".py", ".ipynb"):
        raise SettingError(f"{str(target)!r} must be a script (.py) or a notebook (.ipynb).")


def execute(
    target: Path, job: Job, *, parameters: Sequence[str], arguments: Sequence[str], quiet: bool, out: Path | None = None
) -> dict[str, Any]:
    """Execute a file, and return what came out of it.

    Args:
        target: A script or a notebook.
        job: What is wanted.
        parameters: `name=value`, for a notebook's parameters cell.
        arguments: For a script's own command line.
        quiet: Whether what a script prints goes to stderr, because stdout is for JSON.
        out: Where the executed notebook goes; None keeps none.

    Raises:
        SettingError: A parameter that the notebook does not have, a file without a lab.
        MblabError: A cell failed, or a run halted.
        Failed: The script failed, and its traceback stands on stderr.
    """
    check_target(target)
    if target.suffix == ".ipynb":
        if arguments:
            raise SettingError(f"a notebook takes parameters, such as -p name=value, not {' '.join(arguments)!r}.")
        return _run_notebook(target, job, parameters, out)
    if parameters:
        raise SettingError(
            f"-p {parameters[0]} is for a notebook's parameters cell; a script gets arguments of its own after --."
        )
    return _run_script(target, job, arguments, quiet=quiet)


# -- scripts ------------------------------------------------------------------------------------------------------


def _run_script(target: Path, job: Job, arguments: Sequence[str], *, quiet: bool) -> dict[str, Any]:
    """Execute a script as `python target` would, in this process."""
    execution = Execution(job)
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=str(target), __builtins__=builtins)
    printed = contextlib.redirect_stdout(sys.stderr if quiet else sys.stdout)
    with overriding(execution.overrides), _as_main(main, target, arguments), printed:
        if _executed(target, vars(main)):
            execution.finish(vars(main))
    return execution.found


def _executed(target: Path, names: dict[str, Any]) -> bool:
    """Execute a script's text, and return whether it came to its end; False when it was stopped at its first run.

    Raises:
        Failed: It raised what is not mblab's, or ended with an exit code.
    """
    try:
        exec(compile(target.read_bytes(), str(target), "exec", dont_inherit=True), names)  # noqa: S102 - it is what was asked
    except StoppedHere:
        return False
    except SystemExit as end:
        if end.code not in (None, 0):
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
            raise Failed(end.code if isinstance(end.code, int) else 1) from None
    except (MblabError, KeyboardInterrupt):
        raise
    except BaseException as error:
        _show(error, target)
        raise Failed(1) from None
    return True


def _show(error: BaseException, target: Path) -> None:
    """Print a traceback that begins in the user's file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != str(target):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


@contextlib.contextmanager
def _as_main(main: types.ModuleType, target: Path, arguments: Sequence[str]) -> Iterator[None]:
    """Give a script the name, the command line and the path that it would have by itself."""
    argv, path, hook, ours = sys.argv, sys.path[:], sys.excepthook, sys.modules["__main__"]
    sys.modules["__main__"] = main
    sys.argv = [str(target), *arguments]
    sys.path.insert(0, str(target.resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:], sys.excepthook, sys.modules["__main__"] = argv, path, hook, ours


# -- notebooks ----------------------------------------------------------------------------------------------------


def _run_notebook(target: Path, job: Job, parameters: Sequence[str], out: Path | None) -> dict[str, Any]:
    with extra("running a notebook"):
        import nbformat
        import papermill  # noqa: F401  it will execute it

    try:
        notebook = nbformat.read(target, 4)
    except (ValueError, KeyError, AttributeError, TypeError, nbformat.ValidationError) as problem:
        raise SettingError(
            f"{str(target)!r} is no notebook that can be read ({str(problem).splitlines()[0]})."
        ) from None
    known = _known_parameters(notebook)
    given = _given_parameters(parameters, known, target)
    job, moved = _into_parameters(job, known, given)
    with tempfile.TemporaryDirectory() as folder:
        return _execute(notebook, target, job, given | moved, out, Path(folder))


def _execute(
    notebook: NotebookNode, target: Path, job: Job, given: Mapping[str, Any], out: Path | None, folder: Path
) -> dict[str, Any]:
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    _settle_kernel(notebook, target)
    copy, executed, found = folder / target.name, folder / "executed.ipynb", folder / "answer.json"
    job = replace(job, answer=str(found))
    notebook.cells.insert(0, _cell(f"import mblab.cli.job\n\nmblab.cli.job.begin({job.code()})"))
    notebook.cells.append(_cell("mblab.cli.job.finish(globals())"))
    nbformat.write(notebook, copy)
    try:
        papermill.execute_notebook(
            str(copy), str(executed), dict(given), progress_bar=sys.stderr.isatty(), extra_arguments=QUIET
        )
    except PapermillExecutionError as error:
        if error.ename != "StoppedHere":
            seen = _keep(executed, out)
            raise _cell_failed(error, target, seen) from None
    except DeadKernelError:
        seen = _keep(executed, out)
        raise MblabError(
            f"{target}: its kernel died, as when memory runs out or a cell ends the process{seen}."
        ) from None
    _keep(executed, out)
    return dict(json.loads(found.read_text(encoding="utf-8")))


def _settle_kernel(notebook: NotebookNode, target: Path) -> None:
    """See to it that the notebook names a Python kernel that is installed here.

    Raises:
        SettingError: It is written in another language.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    spec = notebook.metadata.setdefault("kernelspec", {})
    language = spec.get("language") or notebook.metadata.get("language_info", {}).get("name", "python")
    if str(language).lower() != "python":
        raise SettingError(f"{target} is written in {language}, and mblab runs notebooks in Python.")
    name = spec.setdefault("name", "python3")
    if name not in KernelSpecManager().find_kernel_specs():
        print_note(f"{target} asks for the kernel {name!r}, which is not installed here, so python3 runs it")
        spec["name"] = "python3"
    spec.setdefault("language", "python")
    spec.setdefault("display_name", "Python 3")


def _cell(source: str) -> Any:
    import nbformat

    return nbformat.v4.new_code_cell(source, metadata={"tags": [TAG], "jupyter": {"source_hidden": True}})


def _keep(executed: Path, out: Path | None) -> str:
    """Put the executed notebook where it is wanted, without the cells that were put into it; say where to look."""
    import nbformat

    if out is None or not executed.exists():
        return ""
    notebook = nbformat.read(executed, 4)
    notebook.cells = [cell for cell in notebook.cells if TAG not in cell.metadata.get("tags", [])]
    out.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out)
    return f"; see {out}"


def _cell_failed(error: PapermillExecutionError, target: Path, seen: str) -> MblabError:
    count = error.exec_count if isinstance(error.exec_count, int) else 0
    own = count > 1 and "mblab.cli.job.finish(" not in error.source
    where = f"{target} in cell {count - 1}: " if own else f"{target}: " * (str(target) not in error.evalue)
    kind = error.ename
    known = MblabError.__subclasses__()
    while known and all(k.__name__ != kind for k in known):
        known = [s for k in known for s in k.__subclasses__()]
    what = error.evalue if known else f"{kind}: {error.evalue}"
    sentence, line, code = what.partition("\n    ")  # a step's line of code comes last
    message = f"{where}{sentence.rstrip('.')}{seen}{line}{code}"
    return SettingError(message) if kind in ("SettingError", "SettingTypeError") else MblabError(message)


def _known_parameters(notebook: NotebookNode) -> dict[str, Any]:
    """Return the names that the parameters cell sets, with their values where they are plain."""
    known: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", []):
            with contextlib.suppress(SyntaxError):
                for node in ast.parse(cell.source).body:
                    known |= _assigned(node)
    return known


def _assigned(node: ast.stmt) -> dict[str, Any]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    value: Any = NOTHING
    with contextlib.suppress(ValueError):
        value = ast.literal_eval(node.value)  # type: ignore[attr-defined]  # an assignment has one
    return {target.id: value for target in targets if isinstance(target, ast.Name)}


def _given_parameters(parameters: Sequence[str], known: Mapping[str, Any], target: Path) -> dict[str, Any]:
    """Return `name=value` as names and values of the type that the notebook has.

    Raises:
        SettingError: No `=`, a name that the notebook does not have, or another type.
    """
    given: dict[str, Any] = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"-p needs name=value, got {text!r}.")
        if name not in known:
            if not known:
                raise SettingError(f"-p {text}: {target} has no cell tagged 'parameters', so it takes none.")
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f": did you mean {near[0]!r}?" if near else "."
            raise SettingError(f"-p {text}: {target} has no parameter {name!r}, there are {[*known]}{hint}")
        if name in given:
            raise SettingError(f"-p {name}=… is given twice.")
        given[name] = _typed(name, value, known[name])
    return given


def _typed(name: str, text: str, default: object) -> Any:
    """Return a value as the type that the parameter has in the notebook; text stays text."""
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval({"true": "True", "false": "False", "null": "None"}.get(text, text))
    except (ValueError, SyntaxError):
        value = text
    if default is NOTHING or default is None or value is None:
        return value
    number = isinstance(default, int | float) and not isinstance(default, bool)
    fits = (
        isinstance(value, int | float) and not isinstance(value, bool) if number else isinstance(value, type(default))
    )
    if not fits:
        what = "a number" if number else f"a {type(default).__name__}"
        raise SettingError(f"-p {name}={text} must be {what}, like {shown(default)} in the notebook.")
    return value


def _into_parameters(job: Job, known: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[Job, dict[str, Any]]:
    """Move options whose name is a parameter's into it, so that the executed notebook says what it was run with."""
    if job.verb != "run":
        return job, {}
    options = {**job.knobs, "duration": job.duration, "clock": job.clock}
    moved = {name: value for name, value in options.items() if value is not None and name in known}
    for name in moved:
        if name in given:
            raise SettingError(f"{name} is given twice, by -p and by --{name}; leave one out.")
    kept = cast("Knobs", {k: v for k, v in job.knobs.items() if k not in moved})
    duration = None if "duration" in moved else job.duration
    return replace(job, knobs=kept, duration=duration, clock=None if "clock" in moved else job.clock), moved

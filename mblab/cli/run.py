"""`mblab run`: a script or a notebook as it is written, with knobs moved from outside.

terminal -> [run] -> target -> summaries
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mblab.cli.common import (
    AsJson,
    Cap,
    Clock,
    Duration,
    LabName,
    Parameters,
    Policy,
    Speedup,
    Target,
    checked_duration,
    checked_knobs,
    print_note,
    print_result,
    reported_errors,
)

__all__ = ["run"]


def run(
    context: typer.Context,
    file: Target,
    interval: Annotated[str | None, typer.Option(metavar="TIME", help="Time between two batches, as 500ms.")] = None,
    duration: Duration = None,
    clock: Clock = None,
    policy: Policy = None,
    max_rows_per_batch: Cap = None,
    speedup: Speedup = None,
    parameter: Parameters = None,
    lab: LabName = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the executed notebook goes; default: NAME-run.ipynb.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a script or notebook as it is written, with what you give here in place of what it says.

    The options hold for every run that the file begins, in place of its own; a file that makes a lab and begins no run
    has it run here. In a notebook an option whose name is in its parameters cell goes in there. What follows `--` is a
    script's own command line.
    """
    with reported_errors():
        from mblab.cli.job import Job
        from mblab.cli.target import execute

        knobs = checked_knobs(interval, policy, max_rows_per_batch, speedup)
        job = Job("run", str(file), knobs, checked_duration(duration), clock, lab)
        executed = _executed_notebook(file, out)
        found = execute(file, job, parameters=parameter or [], arguments=context.args, quiet=as_json, out=executed)
        if executed is not None:
            found["notebook"] = str(executed)
            print_note(f"the executed notebook is {executed}")
        print_result(found, lambda: _text(found["runs"]), as_json=as_json)


def _executed_notebook(file: Path, out: Path | None) -> Path | None:
    """Return where the executed notebook goes; None for a script.

    Raises:
        SettingError: It would take the place of the notebook itself, or there is none.
    """
    from mblab.errors import SettingError

    if file.suffix != ".ipynb":
        if out is not None:
            raise SettingError(f"--out is for an executed notebook, and {str(file)!r} is a script.")
        return None
    executed = out or Path(f"{file.stem}-run.ipynb")
    if executed.exists() and file.exists() and executed.samefile(file):
        raise SettingError(f"--out {executed} is the notebook itself; name another file.")
    return executed


def _text(runs: list[dict[str, Any]]) -> str:
    from mblab.cli.text import aligned, metric_rows

    parts = []
    for number, run in enumerate(runs, 1):
        which = f", run {number} of {len(runs)}" if len(runs) > 1 else ""
        parts.append(f"{run['lab']}{which}, {run['status']}\n{aligned(metric_rows(run))}")
    return "\n\n".join(parts)

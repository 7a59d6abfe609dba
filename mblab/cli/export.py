"""`mblab export`: a script's or notebook's lab as a script that stands alone.

terminal -> [export] -> target -> pipeline.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mblab.cli.common import AsJson, LabName, Parameters, Target, print_result, reported_errors

__all__ = ["export"]


def export(
    context: typer.Context,
    file: Target,
    out: Annotated[Path, typer.Option("--out", "-o", help="The script to write.")] = Path("pipeline.py"),
    parameter: Parameters = None,
    lab: LabName = None,
    as_json: AsJson = False,
) -> None:
    """Write the lab of a script or notebook as a script that runs without it.

    The file is executed to its end, with its runs on the virtual clock and nothing delivered; the lab is exported as it
    stands then.
    """
    with reported_errors():
        from mblab.cli.job import Job
        from mblab.cli.target import execute
        from mblab.errors import SettingError

        if out.exists() and file.exists() and out.samefile(file):
            raise SettingError(f"--out {out} is the file itself; name another.")
        if out.suffix != ".py":
            raise SettingError(f"--out must name a script, such as pipeline.py, got {str(out)!r}.")
        job = Job("export", str(file), lab=lab, out=str(out))
        found = execute(file, job, parameters=parameter or [], arguments=context.args, quiet=True)
        print_result(found, lambda: str(found["path"]), as_json=as_json)

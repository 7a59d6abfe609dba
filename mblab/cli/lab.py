"""`mblab lab`: JupyterLab on copies of the notebooks.

terminal -> [lab] -> JupyterLab
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mblab.cli.common import AsJson, print_note, print_result, reported_errors
from mblab.errors import MblabError, missing_package

__all__ = ["lab"]


def lab(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the server; JupyterLab chooses.")] = None,
    folder: Annotated[Path, typer.Option(help="Where your copies of the notebooks lie.")] = Path("mblab-notebooks"),
    print_command: Annotated[
        bool, typer.Option("--print-command", help="Copy the notebooks, print the command, and start nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Open JupyterLab on your own copies of the notebooks; what follows `--` goes to JupyterLab."""
    with reported_errors():
        from mblab.cli.notebooks import copy_notebooks

        if importlib.util.find_spec("jupyterlab") is None:
            raise missing_package("mblab lab", "jupyterlab")
        for name in copy_notebooks(folder):
            print_note(f"{folder / name} differs from the shipped one and was left as it is")
        command = [sys.executable, "-m", "jupyterlab", str(folder)]
        command += [f"--ServerApp.port={port}"] if port is not None else []
        command += context.args
        if print_command or as_json:
            print_result({"folder": str(folder), "command": command}, lambda: shlex.join(command), as_json=as_json)
            return
        if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in context.args:
            print_note("JupyterLab does not start as root unless it is told to, by: mblab lab -- --allow-root")
        _warm()
        sys.stdout.flush()
        os.execv(command[0], command)  # noqa: S606  JupyterLab takes this process's place, and so its Ctrl-C


def _warm() -> None:
    """Make what the live charts are drawn with, which takes some seconds the first time on a computer."""
    from mblab.charts import vega

    if not vega.is_kept():
        print_note("preparing the live charts, once on this computer …")
    try:
        vega.warm()
    except MblabError as problem:
        print_note(str(problem))  # the first dashboard will try again, and say so

"""The command `mblab` and its verbs.

verbs -> [app] -> main
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from mblab.cli.datasets import datasets
from mblab.cli.demo import demo
from mblab.cli.doctor import doctor
from mblab.cli.export import export
from mblab.cli.lab import lab
from mblab.cli.run import run
from mblab.cli.sweep import sweep
from mblab.cli.tune import tune

__all__ = ["app"]

app = typer.Typer(
    name="mblab",
    help="A lab for micro-batch processing: replay or simulate a stream, find the right interval, export the pipeline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
ARGUMENTS = {"allow_extra_args": True}
app.command(short_help="See the whole job once, with a report.")(demo)
app.command(short_help="Open JupyterLab on the notebooks.", context_settings=ARGUMENTS)(lab)
app.command(short_help="Run a script or notebook.", context_settings=ARGUMENTS)(run)
app.command(short_help="Compare intervals for a script or notebook.", context_settings=ARGUMENTS)(sweep)
app.command(short_help="Find the interval for a script or notebook.", context_settings=ARGUMENTS)(tune)
app.command(short_help="Write a pipeline as a script that stands alone.", context_settings=ARGUMENTS)(export)
app.command(short_help="List the shipped data sets.")(datasets)
app.command(short_help="Check this machine and this installation.")(doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mblab {version('mblab')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A lab for micro-batch processing: replay or simulate, find the interval, export."""

"""`mblab demo`: the whole job once.

terminal -> [demo] -> report, notebook, script
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mblab.cli.common import AsJson, print_note, print_result, reported_errors

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report; an earlier demo's is replaced.")] = Path(
        "mblab-demo"
    ),
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the report in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a month of real flights, find the interval, export the pipeline, and write a report."""
    with reported_errors():
        from mblab.cli.demo_job import run_demo

        result = run_demo(out, print_note)
        print_result(result.values(), result.text, as_json=as_json)
        if show:
            typer.launch(result.report.resolve().as_uri())

"""The terminal's door: `mblab demo` shows the whole job once, `mblab lab` opens JupyterLab on the notebooks.

Results go to stdout, progress and complaints to stderr. Exit codes: 0 done, 1 it failed, 2 wrong use, 130 interrupted.

    terminal -> [cli] -> demo, JupyterLab
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from mblab.errors import MblabError, SettingError

__all__ = ["app", "main"]

app = typer.Typer(
    name="mblab",
    help="A lab for micro-batch processing: replay or simulate a stream, find the right interval, export the pipeline.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; the entry point of `mblab`."""
    app()


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what went wrong into one line on stderr and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        _tell("interrupted; what was written stays")
        raise typer.Exit(130) from None
    except SettingError as error:
        _tell(str(error))
        raise typer.Exit(2) from None
    except (MblabError, OSError) as error:
        _tell(str(error))
        raise typer.Exit(1) from None


def _tell(line: str) -> None:
    print(f"mblab: {line}", file=sys.stderr, flush=True)


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


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report; an earlier demo's is replaced.")] = Path(
        "mblab-demo"
    ),
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the report in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures and the paths as JSON.")] = False,
) -> None:
    """Replay a month of real flights, find the interval, export the pipeline, and write a report."""
    with _one_sentence():
        from mblab.demo import run_demo

        result = run_demo(out, _tell)
        print(json.dumps(result.facts(), indent=1) if as_json else result.text())
        if show:
            typer.launch(result.report.resolve().as_uri())


@app.command(context_settings={"allow_extra_args": True})
def lab(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the server; JupyterLab chooses.")] = None,
    folder: Annotated[Path, typer.Option(help="Where your copies of the notebooks lie.")] = Path("mblab-notebooks"),
    print_command: Annotated[
        bool, typer.Option("--print-command", help="Copy the notebooks, print the command, and start nothing.")
    ] = False,
) -> None:
    """Open JupyterLab on your own copies of the notebooks; what follows `--` goes to JupyterLab."""
    with _one_sentence():
        from mblab.demo import copy_notebooks

        for name in copy_notebooks(folder):
            _tell(f"{folder / name} differs from the shipped one and was left as it is")
        command = [sys.executable, "-m", "jupyterlab", str(folder)]
        command += [f"--ServerApp.port={port}"] if port is not None else []
        command += context.args
        if print_command:
            print(shlex.join(command))
            return
        sys.stdout.flush()
        os.execv(command[0], command)  # noqa: S606  JupyterLab takes this process's place, and so its Ctrl-C

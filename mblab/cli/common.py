"""What the verbs share: how they end, what they print, and the options that several of them have.

verb -> [common] -> stdout, stderr, exit code
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from mblab.errors import MblabError, SettingError
from mblab.timing import policies

if TYPE_CHECKING:
    from mblab.lab.control import Knobs

__all__ = [
    "AsJson",
    "Cap",
    "Clock",
    "Duration",
    "Failed",
    "LabName",
    "Parameters",
    "Policy",
    "Speedup",
    "Target",
    "checked_duration",
    "checked_knobs",
    "number",
    "print_note",
    "print_result",
    "reported_errors",
]


def number(text: str) -> float:
    """Return an option's value as a number."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number.") from None


def _rows(text: str) -> int:
    """Return an option's value as a number of rows."""
    try:
        rows = int(text)
    except ValueError:
        rows = 0
    if rows < 1:
        raise typer.BadParameter(f"{text!r} is no whole number of rows, 1 or more; leave it out for no cap.")
    return rows


AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Target = Annotated[Path, typer.Argument(metavar="FILE", help="A script (.py) or a notebook (.ipynb).")]
Duration = Annotated[str | None, typer.Option(metavar="TIME", help="How long, such as 20s; default: as it is written.")]
Clock = Annotated[Literal["wall", "virtual"] | None, typer.Option(help="The real clock, or one that skips idle time.")]
Policy = Annotated[policies.Policy | None, typer.Option(help="What an overrun does.")]
Cap = Annotated[
    int | None, typer.Option("--max-rows-per-batch", parser=_rows, metavar="ROWS", help="Cap on a batch's rows.")
]
Speedup = Annotated[
    float | None, typer.Option(parser=number, metavar="FACTOR", help="Source seconds in one second of the run.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A notebook's parameter; repeatable."),
]
LabName = Annotated[str | None, typer.Option("--lab", metavar="NAME", help="Which lab, where the file makes several.")]


class Failed(MblabError):
    """A user's file failed by itself, and has said so; its exit code is the command's.

    Attributes:
        code: What the process ends with.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"it ended with exit code {code}")
        self.code = code


def print_note(line: str) -> None:
    """Print one line on stderr."""
    print(f"mblab: {line}", file=sys.stderr, flush=True)


def print_result(
    result: Mapping[str, Any] | Sequence[Mapping[str, Any]], text: Callable[[], str], *, as_json: bool
) -> None:
    """Print the result on stdout; whoever reads, such as `head`, may stop early."""
    try:
        print(json.dumps(result, indent=1, ensure_ascii=False) if as_json else text(), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def reported_errors() -> Iterator[None]:
    """Turn what went wrong into one line on stderr and an exit code."""
    try:
        yield
    except KeyboardInterrupt:
        print_note("interrupted; what was written stays")
        raise typer.Exit(130) from None
    except Failed as failed:
        raise typer.Exit(failed.code) from None
    except SettingError as error:
        print_note(str(error))
        raise typer.Exit(2) from None
    except MblabError as error:
        print_note(str(error))
        raise typer.Exit(1) from None
    except OSError as error:
        print_note(f"{error.filename or 'the result'} cannot be written: {error.strerror or error}.")
        raise typer.Exit(1) from None


def checked_knobs(interval: str | None, policy: Policy, max_rows_per_batch: int | None, speedup: float | None) -> Knobs:
    """Return the knobs that were given, checked before anything is executed.

    Raises:
        SettingError: One breaks its rule.
    """
    from mblab.engine.settings import check_speedup
    from mblab.timing.durations import interval_ns

    if interval is not None:
        interval_ns(interval, "--interval")
    if speedup is not None:
        check_speedup(speedup)
    if policy is not None and max_rows_per_batch is not None and not policies.RULES[policy].caps:
        raise SettingError(
            f"--policy {policy} gives each trigger exactly its own rows, so --max-rows-per-batch {max_rows_per_batch} "
            "cannot hold; leave one of them out."
        )
    given = {"interval": interval, "policy": policy, "max_rows_per_batch": max_rows_per_batch, "speedup": speedup}
    return cast("Knobs", {name: value for name, value in given.items() if value is not None})


def checked_duration(duration: str | None) -> str | None:
    """Return a duration as it was given.

    Raises:
        SettingError: It is none.
    """
    from mblab.timing.durations import duration_ns

    if duration is not None:
        duration_ns(duration, "--duration", minimum_ns=1)
    return duration

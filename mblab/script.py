"""What an exported script calls: its command line, one run, a line of result, an exit code.

`lab.export` writes these lines; a script by hand may have them too:

    options = script.options(__name__, name="flights", interval="1s", input="flights.parquet", output="late/")
    lab = mblab.Lab(mblab.replay(options.input, arrival="reported_at"), interval=options.interval)
    lab.to(mblab.sinks.parquet(options.output))
    if __name__ == "__main__":
        raise SystemExit(options.run(lab))

Run, it reads `sys.argv`; imported, it has its defaults and runs nothing. The summary goes to stdout, progress and one
sentence for what failed to stderr. Nothing heavy is imported here: a script starts as fast as the loop one would write.

    pipeline.py -> [script] -> lab.run -> summary
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mblab.errors import MblabError, SettingError
from mblab.sources.live.base import Live
from mblab.tables.values import as_json
from mblab.timing.durations import duration_ns, format_s, interval_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    import pandas as pd

    from mblab.lab import Lab
    from mblab.runs.run import Run

__all__ = ["FAILED", "INTERRUPTED", "OK", "USAGE", "Options", "beside", "options", "parse"]

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
EVERYTHING: Final = "36500 days"  # the interval of --once: one batch takes all there is
SHOWN_ROWS: Final = 20
ABSENT: Final = ""
EPILOG: Final = """\
drain reads as fast as the batches complete and cuts them where the interval says; replay waits for each row's arrival,
as a live source always does, which runs until it is stopped (Ctrl-C, SIGTERM) or for --duration.
Exit codes: 0 done, 1 a step, the source or a sink failed, 2 wrong use, 130 interrupted. Progress goes to stderr."""


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said.

    Attributes:
        name: The pipeline's name, for the summary.
        interval: Time between two batches, as text with a unit.
        duration: How long to run on the run's clock, as text with a unit; None runs until the source is drained.
        input: Path the source reads; empty when it reads none.
        output: Path the sink writes; empty when there is not exactly one such sink.
        pace: "drain" or "replay".
        once: One batch with everything there is, or with what arrives within `duration`.
        json: The summary as one JSON object.
    """

    name: str
    interval: str
    duration: str | None = None
    input: str | None = ABSENT
    output: str = ABSENT
    pace: str = "drain"
    once: bool = False
    json: bool = False

    def run(self, lab: Lab) -> int:
        """Run the lab once, print the summary on stdout and return the exit code; problems are one line on stderr."""
        try:
            run = self._start(lab)
        except KeyboardInterrupt:
            _complain("interrupted; what was delivered stays")
            return INTERRUPTED
        except SettingError as error:
            _complain(str(error))
            return USAGE
        except MblabError as error:
            _complain(str(error))
            return FAILED
        try:
            self._report(run, live=isinstance(lab.source, Live))
            sys.stdout.flush()
        except BrokenPipeError:  # whoever reads, such as `head`, has seen enough; the results stand
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK

    def _start(self, lab: Lab) -> Run:
        live = isinstance(lab.source, Live)
        if self.duration is None and lab.source.endless and (self.once or not live):
            raise SettingError("this source never ends by itself: give --duration, for example --duration 10min.")
        if self.once:
            lab.policy, lab.max_rows_per_batch = "asap", None
        if live:  # until somebody stops it; what was delivered stays
            return lab.run(self.duration or EVERYTHING)
        if self.pace == "replay":
            return lab.run(self.duration)
        return lab.run(self.duration, clock="virtual", cost=0)

    def _report(self, run: Run, *, live: bool) -> None:
        summary = {k: as_json(v) for k, v in run.summary().items()}
        if self.json:
            facts = {"name": self.name, "status": run.status, "output": self.output or None, **summary}
            _say(json.dumps(facts))
            return
        paced = self.pace == "replay" or live
        waits = f", p95 latency {format_s(summary['latency_p95_s'] or 0)}" if paced else ""
        target = f" → {self.output}" if self.output else ""
        rows, batches = (_counted(summary[what], what) for what in ("rows", "batches"))
        _say(_one_line(f"{self.name}: {rows} in {batches}{waits}{target}"))
        if not self.output:
            _say(_head(run.output))


def options(
    module: str,
    *,
    name: str,
    interval: str,
    input: str | None = ABSENT,  # noqa: A002 - the word of the command line
    output: str = ABSENT,
) -> Options:
    """Return the command line when the script is run, and the defaults when it is imported.

    Args:
        module: The script's `__name__`.
        name: The pipeline's name.
        interval: Time between two batches.
        input: Path the source reads; left out, there is no `--input`; None makes `--input` required.
        output: Path the sink writes; left out, there is no `--output`.
    """
    defaults = Options(name=name, interval=interval, input=input, output=output)
    if module != "__main__":
        return defaults
    sys.excepthook = _one_sentence(sys.excepthook)
    return parse(sys.argv[1:], defaults)


def beside(script: str, name: str) -> str:
    """Return the path of a file in the script's folder."""
    return os.path.join(os.path.dirname(os.path.abspath(script)), name)  # noqa: PTH100, PTH118, PTH120 - pathlib is slower


def parse(arguments: Sequence[str], defaults: Options) -> Options:
    """Return the defaults with what a command line changes; exits with 2 on wrong use."""
    parser = argparse.ArgumentParser(
        description="Run this pipeline.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--interval", type=_checked(interval_ns), default=defaults.interval, metavar="TIME",
        help=f"time between two batches, such as 500ms or 2min (default: {defaults.interval})")  # fmt: skip
    add(
        "--duration",
        type=_checked(duration_ns),
        metavar="TIME",
        help="stop after this time on the run's clock (default: when the source is drained)",
    )
    if defaults.input != ABSENT:
        shown = "required" if defaults.input is None else f"default: {defaults.input}"
        add(
            "--input",
            type=_readable,
            default=defaults.input,
            required=defaults.input is None,
            metavar="PATH",
            help=_literal(f"what to read ({shown})"),
        )
    if defaults.output != ABSENT:
        add(
            "--output",
            default=defaults.output,
            metavar="PATH",
            help=_literal(f"where to write (default: {defaults.output})"),
        )
    add(
        "--pace",
        choices=("drain", "replay"),
        default="drain",
        help="as fast as batches complete, or at the pace of arrival (default: drain)",
    )
    add(
        "--once", action="store_true", help="one batch with everything there is, or with what arrives within --duration"
    )
    add("--json", action="store_true", help="print the summary as JSON")
    given = vars(parser.parse_args(arguments))
    if given["once"]:
        if given["pace"] == "replay":
            parser.error("argument --once: there is nothing to wait for, so it does not go with --pace replay")
        given["interval"] = given["duration"] or EVERYTHING
    return Options(**{"name": defaults.name, **given})


def _checked(rule: Callable[[str], int]) -> Callable[[str], str]:
    """Return an argparse type that keeps the text of a duration."""

    def duration(text: str) -> str:
        try:
            rule(text)
        except SettingError:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no time of 1 ms or more, such as 500ms, 2s or 1min"
            ) from None
        return text

    return duration


def _readable(path: str) -> str:
    if not os.path.exists(path) and not glob.has_magic(path):  # noqa: PTH110 - the text is passed on as it was given
        raise argparse.ArgumentTypeError(f"there is no file {path!r}")
    return path


def _literal(text: str) -> str:
    return text.replace("%", "%%")  # argparse formats its help texts with %


def _one_sentence(hook: Callable[..., Any]) -> Callable[..., None]:
    """Return an excepthook that shows what mblab raised on purpose as its sentence; `hook` shows the rest."""

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, MblabError):
            _complain(str(error))
        else:
            hook(kind, error, traceback)

    return show


def _complain(sentence: str) -> None:
    sys.stderr.write(f"error: {sentence}\n")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _counted(number: int, what: str) -> str:
    one = {"rows": "row", "batches": "batch"}[what]
    return f"{number:,} {one if number == 1 else what}"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _head(output: pd.DataFrame) -> str:
    rows = output.head(SHOWN_ROWS).to_string(index=False) if len(output) else "(no rows)"
    left = len(output) - SHOWN_ROWS
    return rows + (f"\n… and {left:,} more rows" if left > 0 else "")

"""`mblab sweep`: a script's or notebook's lab at several intervals.

terminal -> [sweep] -> target -> table
"""

from __future__ import annotations

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
    print_result,
    reported_errors,
)

__all__ = ["sweep"]


def sweep(
    context: typer.Context,
    file: Target,
    interval: Annotated[str, typer.Option(metavar="TIMES", help="Intervals to compare, as 100ms,500ms,1s.")],
    duration: Duration = None,
    clock: Clock = None,
    policy: Policy = None,
    max_rows_per_batch: Cap = None,
    speedup: Speedup = None,
    parameter: Parameters = None,
    lab: LabName = None,
    as_json: AsJson = False,
) -> None:
    """Run the lab of a script or notebook once at each interval, and print the table.

    The file is executed up to its first run; the sweep takes that run's place, and nothing is delivered. On the virtual
    clock the functions really run and idle time is skipped.
    """
    with reported_errors():
        from mblab.cli.job import Job
        from mblab.cli.target import execute
        from mblab.errors import SettingError
        from mblab.tuning.intervals import check_intervals

        intervals = [part.strip() for part in interval.split(",") if part.strip()]
        if not intervals:
            raise SettingError(f"--interval needs at least one interval, such as 100ms,500ms,1s, got {interval!r}.")
        check_intervals(intervals, "--interval")
        knobs = checked_knobs(None, policy, max_rows_per_batch, speedup)
        job = Job("sweep", str(file), knobs, checked_duration(duration), clock, lab, intervals)
        found = execute(file, job, parameters=parameter or [], arguments=context.args, quiet=True)
        print_result(found, lambda: _text(found), as_json=as_json)


def _text(found: dict[str, Any]) -> str:
    from mblab.cli.text import SWEEP_HEAD, aligned, sweep_rows
    from mblab.timing.durations import format_s

    table = aligned([SWEEP_HEAD, *sweep_rows(found["sweep"])])
    best, star = found["freshest_interval_s"], found["shortest_interval_s"]
    said = [
        "" if best is None else f"Of those that keep up, {format_s(best)} has the lowest p95.",
        "" if star is None else f"The work fits into intervals from T* = {format_s(star)} on.",
    ]
    text = "\n".join(filter(None, said))
    return f"{found['lab']}, on the {found['clock']} clock\n{table}" + (f"\n\n{text}" if text else "")

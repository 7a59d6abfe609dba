"""`mblab tune`: the interval for a script's or notebook's lab, from a few seconds of trying.

terminal -> [tune] -> target -> advice
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from mblab.cli.common import (
    AsJson,
    Duration,
    LabName,
    Parameters,
    Policy,
    Target,
    checked_duration,
    checked_knobs,
    number,
    print_result,
    reported_errors,
)

__all__ = ["tune"]


def tune(
    context: typer.Context,
    file: Target,
    p95: Annotated[str | None, typer.Option(metavar="TIME", help="Latency that 95 % of the rows must keep.")] = None,
    p99: Annotated[str | None, typer.Option(metavar="TIME", help="Latency that 99 % of the rows must keep.")] = None,
    load: Annotated[
        float | None, typer.Option(parser=number, metavar="SHARE", help="Largest share of an interval to work.")
    ] = None,
    objective: Annotated[
        Literal["fastest", "cheapest", "latency", "knee"] | None,
        typer.Option(help="Default: the cheapest that keeps a latency, else the fastest."),
    ] = None,
    budget: Annotated[str, typer.Option(metavar="TIME", help="How long batches are tried.")] = "5s",
    duration: Duration = None,
    policy: Policy = None,
    parameter: Parameters = None,
    lab: LabName = None,
    as_json: AsJson = False,
) -> None:
    """Find the interval for the lab of a script or notebook: try batches, predict every interval, say which and why.

    The file is executed up to its first run; the tuner takes that run's place, and nothing is delivered. The exit code
    is 1 when no interval can be advised.
    """
    with reported_errors():
        from mblab.cli.job import Job
        from mblab.cli.target import execute
        from mblab.lab.tune import MIN_BUDGET_NS
        from mblab.timing.durations import MIN_INTERVAL_NS, duration_ns
        from mblab.tuning.target import Target as Wanted

        for option, limit in (("--p95", p95), ("--p99", p99)):
            if limit is not None:
                duration_ns(limit, option, minimum_ns=MIN_INTERVAL_NS)
        Wanted.of(p95, p99, load, objective)
        duration_ns(budget, "--budget", minimum_ns=MIN_BUDGET_NS)
        wanted = {"p95": p95, "p99": p99, "load": load, "objective": objective, "budget": budget}
        knobs = checked_knobs(None, policy, None, None)
        given = {name: value for name, value in wanted.items() if value is not None}
        job = Job("tune", str(file), knobs, checked_duration(duration), lab=lab, wanted=given)
        found = execute(file, job, parameters=parameter or [], arguments=context.args, quiet=True)
        print_result(found, lambda: _text(found), as_json=as_json)
        if found["verdict"] == "refuse":
            raise typer.Exit(1)


def _text(found: dict[str, Any]) -> str:
    from mblab.cli.text import SWEEP_HEAD, aligned, sweep_rows

    every = max(1, len(found["curve"]) // 12)
    told = [row for at, row in enumerate(found["curve"]) if at % every == 0 or row["interval_s"] == found["interval_s"]]
    table = aligned([SWEEP_HEAD, *sweep_rows(told)])
    return f"{found['lab']}, predicted\n{table}\n\n{found['explained']}"

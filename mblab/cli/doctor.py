"""`mblab doctor`: one table that says whether this machine and this installation will do.

terminal -> [doctor] -> checks -> table
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

import typer

from mblab.cli.common import AsJson, print_result, reported_errors
from mblab.cli.doctor_checks import Check, run_checks

__all__ = ["doctor"]

GREEN, RED, PLAIN = "\033[32m", "\033[31m", "\033[0m"
NAME_WIDTH = 19


def doctor(as_json: AsJson = False) -> None:
    """Check Python, packages, JupyterLab, charts, clock, files and data; exit code 1 when something will not work."""
    with reported_errors():
        checks = []
        for check in run_checks():
            checks.append(check)
            if not as_json:
                print("\n".join(_lines(check)), flush=True)  # one by one, for some take a second
        bad = sum(not check.ok for check in checks)
        print_result([asdict(check) for check in checks], lambda: f"\n{_verdict(bad, len(checks))}", as_json=as_json)
        if bad:
            raise typer.Exit(1)


def _lines(check: Check) -> list[str]:
    """Return a check as a line, and a failed one's remedy as a second."""
    mark = "ok " if check.ok else "BAD"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        mark = f"{GREEN if check.ok else RED}{mark}{PLAIN}"
    line = f"  {mark}  {check.name.ljust(NAME_WIDTH)}  {check.found}"
    return [line] if check.ok else [line, f"       {' ' * NAME_WIDTH}  → {check.remedy}"]


def _verdict(bad: int, all_of_them: int) -> str:
    if not bad:
        return "All is well."
    return f"{bad} of {all_of_them} checks {'needs' if bad == 1 else 'need'} attention."

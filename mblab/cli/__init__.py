"""The terminal's door: one verb a file, and the rules that hold for all of them.

Results go to stdout, progress and complaints to stderr. Exit codes: 0 done, 1 it failed, 2 wrong use, 130 interrupted.

    terminal -> [cli] -> demo, JupyterLab, a user's script or notebook
"""

from __future__ import annotations

from mblab.errors import MissingExtra, extra

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of `mblab`."""
    try:
        with extra("the command mblab"):
            from mblab.cli.app import app
    except MissingExtra as missing:
        raise SystemExit(f"mblab: {missing}") from None
    app(prog_name="mblab")

"""The notebook face: a lab as live charts and a control panel, the only room that knows widgets.

Everything here calls public methods of the lab and draws what the run already knows; a pipeline runs the same without
it. The front door imports this room when a live kernel first asks for `Lab`; widgets are imported when one is shown.

    lab, run -> orders, wire -> [dashboard] -> widget -> page/*.js
"""

from __future__ import annotations

from typing import Any

from mblab.engine.records import ENDED
from mblab.errors import extra
from mblab.lab import Lab, known_labs
from mblab.runs.run import Run

__all__ = ["show", "show_run"]


def show(lab: Lab) -> dict[str, Any]:
    """Return what a notebook displays for a lab: its dashboard; in a notebook run without a person chart and table."""
    with extra("the dashboard"):
        from mblab.dashboard import face

    return face.bundle(lab)


def show_run(run: Run) -> dict[str, Any] | None:
    """Return the dashboard for a run that is on, as `lab.start()` at the end of a cell gives it; None for any other."""
    if run.status in ENDED:
        return None
    return next((show(lab) for lab in known_labs() if lab.last_run is run and not lab.headless), None)


Lab._display_hook = show
Run._display_hook = show_run

"""The notebook face: a lab as live charts and a control panel, the only room that knows widgets.

Everything here calls public methods of the lab and draws what the run already knows; a pipeline runs the same without
it. The front door imports this room when a live kernel first asks for `Lab`; widgets are imported when one is shown.

    lab, run -> orders, wire -> [dashboard] -> widget -> page/*.js
"""

from __future__ import annotations

from typing import Any

from mblab.lab import Lab

__all__ = ["show"]


def show(lab: Lab) -> dict[str, Any]:
    """Return what a notebook displays for a lab: its dashboard; in a notebook run without a person chart and table."""
    from mblab.dashboard import face

    return face.bundle(lab)


Lab.display_hook = show

"""The widget itself: what is synchronised with the page, and nothing that thinks.

panel -> [widget] -> page/*.js
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from mblab.charts.live import PARAMETERS
from mblab.dashboard.wire import CODES, COLUMNS, EXACT

__all__ = ["WINDOW", "LiveView"]

PAGE = Path(__file__).parent / "page"
WINDOW = 600
SCRIPTS = ("words", "store", "marks", "chart", "panel", "live")


class LiveView(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget has no types that mypy could follow
    """Charts and controls of one lab; every view of it in the page shows the same.

    Attributes:
        spec: The live chart, without rows.
        window: How many of the newest batches are drawn.
    """

    _esm = "\n".join((PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    _css = (PAGE / "live.css").read_text(encoding="utf-8")

    spec: Any = traitlets.Dict().tag(sync=True)
    window: Any = traitlets.Int(WINDOW, min=10, max=10_000).tag(sync=True)
    columns: Any = traitlets.List(list(COLUMNS)).tag(sync=True)
    exact: Any = traitlets.Int(len(EXACT)).tag(sync=True)
    codes: Any = traitlets.Dict(CODES).tag(sync=True)
    limits: Any = traitlets.Dict(dict(PARAMETERS)).tag(sync=True)

    @traitlets.observe("comm")
    def _hear_every_page(self, change: traitlets.Bunch) -> None:
        """Let what a page says go to the subshell it was addressed to.

        ipykernel 7.4 sends it to the one whose message was the kernel's last when the widget spoke. A dashboard speaks
        all the while, and that subshell may have gone with an earlier page: then nobody hears the page any more.
        """
        if change["new"] is not None:
            change["new"]._reply_subshell_for = lambda _data, addressed: addressed  # noqa: SLF001  no public way

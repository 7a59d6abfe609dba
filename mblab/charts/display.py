"""What a notebook shows for an object that has a chart.

Altair is imported when it is shown, so a headless script that only makes such objects needs none.

    plot(), text -> [display] -> render -> a cell's output
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from altair.typing import ChartType

__all__ = ["Shown"]


class Shown(ABC):
    """Shows itself in a notebook as its chart, in a terminal as its text."""

    __slots__ = ()

    @abstractmethod
    def plot(self) -> ChartType:
        """Return the chart that shows it."""

    def _text(self) -> str:
        """Return what a terminal shows."""
        return repr(self)

    def _repr_mimebundle_(
        self,
        include: Container[str] | None = None,  # noqa: ARG002  IPython picks from the bundle itself
        exclude: Container[str] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        chart = self.plot()  # without Altair this says which extra brings it
        from mblab.charts.render import mimebundle

        return mimebundle(chart, self._text())

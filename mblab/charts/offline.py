"""Charts that show themselves without a network, and run nothing that a name or a value says.

Altair's own way to a page fetches its library from a server and writes a chart's texts into a script as they are. What
mblab draws shows itself as mblab's bundle instead, and a page that Altair makes of it has its texts escaped.

    chart -> [offline] -> render -> notebook, page
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from mblab.charts.quick import alt
from mblab.charts.render import mimebundle

__all__ = ["offline"]

TopLevel = TypeVar("TopLevel", alt.Chart, alt.VConcatChart)


class _Escaping(json.JSONEncoder):
    """JSON that may stand inside a script."""

    def encode(self, o: Any) -> str:
        return super().encode(o).replace("<", "\\u003c")


class _Offline:
    """What a chart of mblab's does otherwise than one of Altair's."""

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> dict[str, Any]:
        return mimebundle(self, repr(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled as Altair's, for a class that is made while the program runs has no place to be found at."""
        return _again, (next(kind for kind in type(self).__mro__[1:] if kind is not _Offline), dict(self.__dict__))

    def to_html(self, *args: Any, **how: Any) -> str:
        """Return a page as Altair makes it, with all texts escaped; `inline=True` needs no network."""
        page: str = super().to_html(*args, **_escaped(how))  # type: ignore[misc]
        return page

    def save(self, *args: Any, **how: Any) -> None:
        """Save it as Altair does, with all texts escaped."""
        super().save(*args, **_escaped(how))  # type: ignore[misc]


def _escaped(how: dict[str, Any]) -> dict[str, Any]:
    return {**how, "json_kwds": {"cls": _Escaping, **(how.get("json_kwds") or {})}}


def offline(chart: TopLevel) -> TopLevel:
    """Return the chart, which from now on shows itself offline; copies of it do so too."""
    object.__setattr__(chart, "__class__", _kind(type(chart)))
    return chart


def _again(kind: type[Any], state: dict[str, Any]) -> Any:
    """Return a chart that was pickled."""
    chart: Any = object.__new__(kind)
    chart.__dict__.update(state)
    return offline(chart)


def _kind(kind: type) -> type:
    """Return the class of Altair's, with what mblab's charts do otherwise."""
    if not issubclass(kind, _Offline) and kind not in _kinds:
        _kinds[kind] = type(kind.__name__, (_Offline, kind), {"__doc__": kind.__doc__})
    return _kinds.get(kind, kind)


_kinds: dict[type, type] = {}

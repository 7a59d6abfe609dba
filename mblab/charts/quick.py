"""Altair, without the seconds that its import takes beside JupyterLab.

Altair checks charts with jsonschema, which compiles a grammar of international addresses as soon as it is imported: 2.7
of 3.5 seconds of CPU, during which no step runs. No chart holds such an address, so it is compiled when one is checked.

    altair -> [quick] -> style, over_…, render
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Final

__all__ = ["alt"]

GRAMMAR: Final = "rfc3987_syntax"


def _put_off() -> None:
    """Let jsonschema find a module that becomes the real one when it is first asked."""
    if "jsonschema" in sys.modules or GRAMMAR in sys.modules or importlib.util.find_spec(GRAMMAR) is None:
        return
    later = ModuleType(GRAMMAR)

    def is_valid_syntax(term: str, value: str) -> bool:
        if sys.modules.get(GRAMMAR) is later:
            del sys.modules[GRAMMAR]
        return bool(importlib.import_module(GRAMMAR).is_valid_syntax(term, value))

    later.is_valid_syntax = is_valid_syntax  # type: ignore[attr-defined]
    sys.modules[GRAMMAR] = later


_put_off()

import altair as alt  # noqa: E402

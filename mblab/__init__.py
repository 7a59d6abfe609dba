"""mblab: a Jupyter-native lab for micro-batch processing.

    >>> import mblab
    >>> from mblab.testing import rows_at
    >>> lab = mblab.Lab(rows_at([0.0, 0.4, 1.2], value=[1, 2, 3]), interval="1s")
    >>> @lab.batch
    ... def total(batch, state):
    ...     state["sum"] = state.get("sum", 0) + int(batch["value"].sum())
    ...     return state["sum"]
    >>> lab.run(clock="virtual", cost=0).output
       batch_id  total
    0         0      3
    1         1      6

This is the front door: what a notebook types is listed in `__all__`, loaded when it is first used.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from mblab import arrivals, charts, datasets, errors, sinks, sources, testing
    from mblab.engine.record import record
    from mblab.errors import (
        BatchError,
        ColumnError,
        ExportError,
        HistoryGone,
        MblabError,
        MissingExtra,
        SettingError,
        SinkError,
        SourceChanged,
        SourceError,
        StepError,
    )
    from mblab.lab import Lab, load_run
    from mblab.runs.comparison import compare
    from mblab.runs.run import Run
    from mblab.sources import replay, simulate
    from mblab.sources.live.poll import poll
    from mblab.sources.live.watch import watch
    from mblab.tuning.cost import CostModel
    from mblab.tuning.whatif import predict

__version__ = "0.1.0"

logging.getLogger("mblab").addHandler(logging.NullHandler())  # who wants to read it adds a handler of their own

__all__ = [
    "BatchError",
    "ColumnError",
    "CostModel",
    "ExportError",
    "HistoryGone",
    "Lab",
    "MblabError",
    "MissingExtra",
    "Run",
    "SettingError",
    "SinkError",
    "SourceChanged",
    "SourceError",
    "StepError",
    "arrivals",
    "charts",
    "compare",
    "datasets",
    "errors",
    "load_run",
    "poll",
    "predict",
    "record",
    "replay",
    "simulate",
    "sinks",
    "sources",
    "testing",
    "watch",
]

_ROOM_OF = {
    "CostModel": "mblab.tuning.cost",
    "Lab": "mblab.lab",
    "Run": "mblab.runs.run",
    "compare": "mblab.runs.comparison",
    "load_run": "mblab.lab",
    "poll": "mblab.sources",
    "predict": "mblab.tuning.whatif",
    "record": "mblab.engine.record",
    "replay": "mblab.sources",
    "simulate": "mblab.sources",
    "watch": "mblab.sources",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mblab' has no attribute {name!r}")
    if name in ("arrivals", "charts", "datasets", "errors", "sinks", "sources", "testing"):
        return importlib.import_module(f"mblab.{name}")
    value = getattr(importlib.import_module(_ROOM_OF.get(name, "mblab.errors")), name)
    if name == "Lab" and importlib.import_module("mblab.support.jupyter").in_kernel():
        importlib.import_module("mblab.dashboard")  # a lab shows itself as a dashboard; elsewhere as a chart
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add `%%batch` and `%mblab` to a notebook: `%load_ext mblab`.

    Raises:
        MissingExtra: There is no IPython.
    """
    from mblab.errors import extra

    with extra("%load_ext mblab"):
        magics = importlib.import_module("mblab.dashboard.magics")
    magics.load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take them away, and end the runs that are on."""
    importlib.import_module("mblab.dashboard.magics").unload(shell)

"""Who is looking: a live notebook, a notebook run without a person, or a plain process.

This room only looks at what the process has already imported; it never imports IPython itself, so a script that runs
mblab headless pays nothing for notebooks.

    IPython, if it is there -> [host] -> steps (which cell?), lab (headless? whom to tell?)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mblab.errors import SettingError, shown

__all__ = ["Cell", "current_cell", "headless", "in_kernel", "on_cell_end", "say"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One execution of one notebook cell.

    Attributes:
        cell: The front end's id of the cell, the same each time it is run; None when the front end sends none.
        execution: Changes with every execution.
    """

    cell: str | None
    execution: str


class _Result(Protocol):
    """What IPython says of a cell that has ended."""

    success: bool


def _shell() -> Any | None:
    module = sys.modules.get("IPython")
    get = getattr(module, "get_ipython", None)
    return get() if get is not None else None


def _kernel() -> Any | None:
    return getattr(_shell(), "kernel", None)


def in_kernel() -> bool:
    """Return whether this process is a Jupyter kernel."""
    return _kernel() is not None


def current_cell() -> Cell | None:
    """Return the cell that is being executed, or None outside a kernel."""
    shell = _shell()
    if shell is None or _kernel() is None:
        return None
    try:
        parent = shell.get_parent()
    except (AttributeError, LookupError):
        return None
    header, metadata = parent.get("header", {}), parent.get("metadata", {})
    return Cell(cell=metadata.get("cellId"), execution=str(header.get("msg_id")))


def on_cell_end(callback: Callable[[bool], None]) -> bool:
    """Call `callback(succeeded)` once, when the cell being executed ends; return False outside a kernel."""
    shell = _shell()
    if shell is None or _kernel() is None:
        return False

    def once(result: _Result | None = None) -> None:
        shell.events.unregister("post_run_cell", once)
        callback(result is not None and result.success)

    shell.events.register("post_run_cell", once)
    return True


def headless(ui: bool | None = None) -> bool:
    """Return whether nobody can press a button: a kernel without stdin (papermill, nbclient), or told so.

    Args:
        ui: True or False decides; None asks `MBLAB_UI` (on, off), then the kernel. A plain Python process is not
            headless in this sense: it has threads and whoever wrote it decides.

    Raises:
        SettingError: `MBLAB_UI` is neither on, off nor auto.
    """
    if ui is not None:
        return not ui
    wish = os.environ.get("MBLAB_UI", "auto").strip().lower() or "auto"
    if wish not in ("on", "off", "auto"):
        raise SettingError(f"MBLAB_UI must be on, off or auto, got {shown(wish)}.")
    if wish != "auto":
        return wish == "off"
    kernel = _kernel()
    return kernel is not None and getattr(kernel, "_allow_stdin", True) is False


def say(text: str) -> None:
    """Tell the user one line: in the cell's output in a notebook, on stderr elsewhere."""
    stream = sys.stdout if in_kernel() else sys.stderr
    stream.write(text + "\n")
    stream.flush()

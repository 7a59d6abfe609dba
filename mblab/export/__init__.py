"""Writes a pipeline as a script that stands alone: what its functions read, the text, and what that text calls.

pipeline -> texts, capture, steps, needs -> [script] -> pipeline.py -> [runtime] -> lab
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from mblab.engine.pipeline import Pipeline

__all__ = ["write_script"]


def write_script(pipeline: Pipeline, path: str | PathLike[str]) -> Path:
    """Write the pipeline as a script; see `mblab.export.script.write_script`."""
    from mblab.export import script  # an exported script imports this room for `runtime` alone, and starts fast

    return script.write_script(pipeline, path)

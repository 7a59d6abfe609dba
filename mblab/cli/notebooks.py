"""The notebooks that come with mblab: where they lie, and copies to work in.

wheel or checkout -> [notebooks] -> demo, lab, doctor
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

__all__ = ["copy_notebooks", "notebooks_folder"]

PACKAGE: Final = Path(__file__).parent.parent


def notebooks_folder() -> Path:
    """Return where the shipped notebooks lie, in a wheel or a checkout; they are for reading only."""
    inside = PACKAGE / "_data" / "notebooks"
    return inside if inside.is_dir() else PACKAGE.parent / "notebooks"


def copy_notebooks(folder: Path) -> list[str]:
    """Copy the shipped notebooks into a folder of the user's, and return those that were left as they are.

    A notebook that is there already and differs is the user's work, so it stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for source in sorted(notebooks_folder().glob("*.ipynb")):
        target = folder / source.name
        if not target.exists():
            shutil.copyfile(source, target)
        elif target.read_bytes() != source.read_bytes():
            kept.append(source.name)
    return kept

"""What must be installed for a script to run, and the header that says so.

modules -> [needs] -> PEP 723 header -> script
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mblab.errors import ExportError

__all__ = ["Installed", "Needs", "header"]


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be installed for a script to run.

    Attributes:
        pins: Requirements with their versions, sorted.
        origins: Distribution to the TOML table of where it comes from, when that is no registry.
    """

    pins: list[str]
    origins: dict[str, str]


class Installed:
    """Which distribution a module comes from."""

    def __init__(self) -> None:
        self._of = metadata.packages_distributions()

    def distributions(self, module: str) -> list[str]:
        """Return the distributions that hold a module, none for the standard library and for the user's own files."""
        top = module.partition(".")[0]
        if top in self._of:
            return sorted(set(self._of[top]))
        try:
            return [str(metadata.distribution(top).metadata["Name"])]  # an editable install lists no modules
        except (metadata.PackageNotFoundError, ValueError):
            return []

    def holds(self, module: str) -> bool:
        """Return whether a module need not lie beside the script."""
        return module.partition(".")[0] in sys.stdlib_module_names or bool(self.distributions(module))

    def needs(self, modules: Mapping[str, str], target: Path) -> Needs:
        """Return what a script that imports these modules needs.

        Args:
            modules: Module to who reads it.
            target: The script; a module of the user's must lie in its folder.

        Raises:
            ExportError: One of them would not be found by the script.
        """
        found: set[str] = set()
        for module, where in modules.items():
            if not self.holds(module):
                _check_beside(module, where, target)
            found.update(self.distributions(module))
        pins = sorted(f"{name}=={metadata.version(name).partition('+')[0]}" for name in found)
        origins = {name: origin for name in sorted(found) if (origin := _origin_of(name))}
        return Needs(pins or ["mblab"], origins)


def _check_beside(module: str, where: str, target: Path) -> None:
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    folder = Path(file).parent if file else None
    if folder is not None and Path(str(file)).name == "__init__.py":
        folder = folder.parent
    if folder is None or folder.resolve() != target.parent.resolve():
        raise ExportError(
            f"{where}, and {top!r} is neither installed nor beside {str(target)!r}; "
            "export into its folder, or make it a package and install it."
        )


def _origin_of(distribution: str) -> str | None:
    """Return where a distribution was installed from (PEP 610) as an inline TOML table, or None for a registry."""
    text = metadata.distribution(distribution).read_text("direct_url.json")
    if text is None:
        return None
    facts = json.loads(text)
    url, is_file = str(facts["url"]), str(facts["url"]).startswith("file:")
    place = url2pathname(urlsplit(url).path) if is_file else url
    if "vcs_info" in facts:
        table = {"git": url, "rev": facts["vcs_info"]["commit_id"]}
    elif facts.get("dir_info", {}).get("editable"):
        table = {"path": place, "editable": True}
    else:
        table = {"path" if is_file else "url": place}
    return "{ " + ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()) + " }"


def header(needs: Needs, python: str) -> str:
    """Return the PEP 723 block: with it, `uv run` installs what the script needs."""
    lines = ["/// script", f'requires-python = ">={python}"', "dependencies = ["]
    lines += [f"    {json.dumps(pin)}," for pin in needs.pins] + ["]"]
    if needs.origins:
        lines += ["", "[tool.uv.sources]", *(f"{name} = {table}" for name, table in needs.origins.items())]
    return "\n".join(f"# {line}".rstrip() for line in [*lines, "///"])

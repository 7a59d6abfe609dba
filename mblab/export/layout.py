"""How the pieces of a script stand on the page: empty lines, long calls, the order of imports and definitions.

capture -> [layout] -> compose
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from mblab.export.capture import Capture

__all__ = ["Block", "call", "import_lines", "joined", "prelude"]

WIDTH = 100


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the script; a definition has two empty lines around it, any other piece one."""

    text: str
    defines: bool = False


def joined(blocks: Iterable[Block]) -> str:
    """Return the pieces as one text, with the empty lines that belong between them."""
    text, before = "", Block("")
    for block in blocks:
        if block.text:
            text += ("\n" * (3 if before.defines or block.defines else 2) if text else "") + block.text
            before = block
    return text


def call(function: str, arguments: Iterable[str]) -> str:
    """Return a call on one line, or with an argument a line when that is too long."""
    given = list(arguments)
    line = f"{function}({', '.join(given)})"
    return line if len(line) <= WIDTH else f"{function}(\n" + "".join(f"    {a},\n" for a in given) + ")"


def import_lines(capture: Capture) -> list[str]:
    """Return the imports: Python's own, then the others."""
    lines: dict[bool, set[str]] = {False: set(), True: set()}
    packages = {s.partition(".")[0] for s in capture.submodules}
    attributes: dict[str, list[str]] = {}
    for name, (module, attribute) in capture.imports.items():
        own = module.partition(".")[0] in sys.stdlib_module_names
        if attribute is not None:
            attributes.setdefault(module, []).append(attribute if attribute == name else f"{attribute} as {name}")
        elif name == module and name not in packages:
            lines[own].add(f"import {module}")
        elif name != module:
            lines[own].add(f"import {module} as {name}")
    for module in capture.submodules:
        if any(other.startswith(f"{module}.") for other in capture.submodules):
            continue  # the deeper import brings it along
        lines[module.partition(".")[0] in sys.stdlib_module_names].add(f"import {module}")
    for module, found in attributes.items():
        own = module.partition(".")[0] in sys.stdlib_module_names
        lines[own].add(f"from {module} import {', '.join(sorted(found))}")
    first, second = (sorted(lines[own], key=lambda line: (line.startswith("from"), line)) for own in (True, False))
    return [*first, *([""] if first and second else []), *second]


def prelude(capture: Capture, later: frozenset[str]) -> Iterator[Block]:
    """Yield constants and definitions, each after what it needs; constants that follow each other stay together."""
    for defines, names in groupby(capture.in_order(later), key=lambda name: name in capture.definitions):
        texts = [(capture.definitions if defines else capture.constants)[name].text for name in names]
        yield from (Block(t, defines=True) for t in texts) if defines else [Block("\n".join(texts))]

"""What a run was made of: source, sinks, settings, the code of every version, the packages.

driver -> [provenance] -> live -> comparison, page of a run
"""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any, Final

from mblab.engine.driver import Driver
from mblab.engine.pipeline import Pipeline
from mblab.steps.step import Step
from mblab.timing.durations import NS

__all__ = ["provenance_of"]

ALWAYS: Final = ("mblab", "numpy", "pandas", "pyarrow", "altair")


def provenance_of(driver: Driver) -> dict[str, Any]:
    """Return what a run was made of, as JSON-able values.

    Keys: source and sinks (texts), settings (knob → value, as they were at the start), clock (wall or virtual),
    duration_s, code (every version of every step, in the order they were taken up: name, kind, key, version, text),
    packages (name → version).
    """
    engine, first = driver.engine, driver.recipes[0]
    s = first.settings
    return {
        "source": first.source.describe(),
        "sinks": [sink.describe() for sink in first.sinks],
        "settings": {
            "interval_s": s.interval_ns / NS,
            "policy": s.policy,
            "max_rows_per_batch": s.max_rows_per_batch,
            "speedup": s.speedup or first.source.speedup,
            "on_error": s.on_error,
            "run_empty": s.run_empty,
        },
        "clock": "virtual" if driver.clock.virtual else "wall",
        "duration_s": None if engine.duration_ns is None else engine.duration_ns / NS,
        "code": _code_of(driver.recipes),
        "packages": _packages_of(step for recipe in driver.recipes for step in recipe.steps),
    }


def _code_of(recipes: Iterable[Pipeline]) -> list[dict[str, Any]]:
    """Return every version of every step, in the order they were taken up: name, kind, key, version, text."""
    seen: dict[tuple[int, int, int], dict[str, Any]] = {}
    for recipe in recipes:
        for step in recipe.steps:
            seen.setdefault(
                (step.uid, step.version, id(step.fn)),
                {
                    "name": step.name,
                    "kind": step.kind,
                    "key": None if step.key is None else list(step.key),
                    "version": step.version,
                    "text": step.text or "(its text could not be found)",
                },
            )
    return list(seen.values())


def _packages_of(steps: Iterable[Step]) -> dict[str, str]:
    """Return Python and the packages that matter to a run: mblab's own, and those whose modules the steps name."""
    names = set(ALWAYS)
    for step in steps:
        fn = inspect.unwrap(step.fn)
        code = getattr(fn, "__code__", None)
        known = getattr(fn, "__globals__", {})
        for name in getattr(code, "co_names", ()):
            module = inspect.getmodule(known[name]) if name in known else None
            if module is not None:
                names.add(module.__name__.partition(".")[0])
    versions = {"python": platform.python_version()}
    owners = metadata.packages_distributions() if names - set(ALWAYS) - set(sys.stdlib_module_names) else {}
    for name in sorted(names - set(sys.stdlib_module_names) - {"__main__"}):
        for distribution in owners.get(name, [name]):
            try:
                versions[distribution] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue  # a module of the user's own
    return versions

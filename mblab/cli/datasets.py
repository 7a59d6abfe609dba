"""`mblab datasets`: the shipped data sets, and where they lie.

terminal -> [datasets] -> names, paths
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mblab.cli.common import AsJson, print_result, reported_errors

__all__ = ["datasets"]


def _names(incomplete: str) -> list[str]:
    from mblab.datasets import KNOWN

    return [name for name in KNOWN if name.startswith(incomplete)]


def datasets(
    what: Annotated[Literal["list", "path"], typer.Argument(help="list, or path NAME")] = "list",
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", autocompletion=_names, help="Of a data set.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the shipped data sets, or print the path of one: `mblab datasets path nyc_flights`."""
    with reported_errors():
        from mblab import datasets as shipped
        from mblab.cli.text import aligned
        from mblab.errors import SettingError

        if what == "path":
            if name is None:
                raise SettingError(f"datasets path needs a name, one of {[*shipped.KNOWN]}.")
            path = str(shipped.path(name))
            print_result({"name": name, "path": path}, lambda: path, as_json=as_json)
            return
        if name is not None:
            raise SettingError(f"datasets list takes no name; for the path of one it is: mblab datasets path {name}")
        known = [{str(k): v for k, v in row.items()} for row in shipped.list().to_dict("records")]
        found = [row | {"path": str(shipped.path(row["name"]))} for row in known]
        head = ("name", "rows", "arrival", "event time", "licence", "what")
        rows = [(d["name"], f"{d['rows']:,}", d["arrival"], d["event_time"], d["licence"], d["what"]) for d in found]
        print_result(found, lambda: aligned([head, *rows]), as_json=as_json)

"""Rows walk one way: a file imports only files before it, in its own room and in the rooms before, also in functions.

`HOUSE` below is the order, said once; the table in CONTRIBUTING is made of it: `python tests/test_directions.py`.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mblab"
CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"
BEGIN, END = "<!-- the house: begin -->\n", "<!-- the house: end -->\n"

# The rooms in order, each with its files in order. A folder's own `__init__` comes last: it may gather what is in it.
HOUSE = {
    "errors": "",
    "timing": "clock durations policies schedule times",
    "support": "json arguments files frames jupyter progress",
    "arrivals": "",
    "tables": (
        "same arrow casting given base flat folders inference together fitting sniffing dialects csv json_rows jsonl parquet values texts "
        "notes markers own files rows time_forms repeated_hour timestamps sorting exact"
    ),
    "datasets": "",
    "steps": "results step chain state",
    "sources": (
        "base csv mending live.base live.poll watching.files watching.finding watching.reading live.watch looping "
        "modifiers.draws modifiers.modifier modifiers.gaps modifiers.poison modifiers.timing modifiers.modified "
        "recording replayed replay shapes simulate"
    ),
    "sinks": (
        "base call columns deliveries files appended csv jsonl manifest marker_tables memory schemas parquet sqlite"
    ),
    "engine": (
        "backlog cost delivery feed forks interrupts paths record settings changes pipeline watermark invoke "
        "batch history records runner engine listeners orders switching turning driver"
    ),
    "metrics": "quantiles summary waits batches log",
    "charts": (
        "frames markup quick vega render offline style live over_cost over_interval over_runs over_size over_time display "
        "waterfall"
    ),
    "runs": "page provenance slowest view live run_page stored shape saved run comparison",
    "checks": "cuts equality trial rerun inspection shadow verdict recut",
    "tuning": (
        "arrays arrival_rate arrival_times curve delays fit intervals probe sampling cost drift "
        "simulate ensemble spectrum target sweep autopilot confidence track_record verification advice "
        "decision whatif diagnosis tuner"
    ),
    "export": "needs texts altered values capture secrets files layout steps parts compose",
    "lab": "inspect control tune lab overrides",
    "script": "",
    "testing": "claims clock disk sink_laws sinks sources",
    "dashboard": "cells magics orders wire widget panel face",
    "cli": (
        "common notebooks doctor_checks doctor lab text datasets demo_job demo job target export run sweep tune app"
    ),
}
HOUSE = {room: files.split() for room, files in HOUSE.items()}


def module_of(file):
    """`mblab/sources/live/base.py` → `sources.live.base`; the `__init__` of a folder is the folder."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(f): f for f in sorted(PACKAGE.rglob("*.py")) if "_data" not in f.parts}
DOORS = ("", "__main__")  # the front door, and `python -m mblab`
ORDER = [f"{room}.{file}" if file else room for room, files in HOUSE.items() for file in files or [""]]


def place_of(module):
    """Where a file stands in the order; the `__init__` of a folder stands behind all that is in it."""
    inside = [i for i, known in enumerate(ORDER) if known == module or known.startswith(f"{module}.")]
    return (max(inside, default=len(ORDER)), module not in ORDER)


def imports_of(text):
    """(line, module) of every import of mblab in a text, wherever it stands; the front door is the module ""."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            whole = [f"{node.module}.{a.name}" for a in node.names]
            names = [n if n.removeprefix("mblab.") in FILES else node.module for n in whole]
        elif isinstance(node, ast.ImportFrom):
            names = ["mblab." + "." * node.level]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("import_module", "__import__"):
            names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        else:
            continue
        found += [(node.lineno, n.removeprefix("mblab").lstrip(".") if ".." not in n else n) for n in names
                  if n == "mblab" or n.startswith("mblab.")]  # fmt: skip
    return found


def wrong_way(module):
    """The imports of a file that do not lead to a file before it."""
    here, imports = place_of(module), imports_of(FILES[module].read_text(encoding="utf-8"))
    return [f"{module}:{n} imports {other or 'the front door'}" for n, other in imports if place_of(other) >= here]


def sentence_of(room):
    """What a room says of itself: the first line of its docstring."""
    return ast.get_docstring(ast.parse(FILES[room].read_text(encoding="utf-8"))).splitlines()[0]


def map_of_the_house():
    """The table in CONTRIBUTING: what each room is, its files in order, and the rooms it imports."""
    lines = ["| room | what it is | its files, in order | imports |", "|---|---|---|---|"]
    for room, files in HOUSE.items():
        modules = [m for m in FILES if m.split(".")[0] == room]
        used = {o.split(".")[0] for m in modules for _, o in imports_of(FILES[m].read_text(encoding="utf-8"))} - {room}
        walk = " ".join(r for r in HOUSE if r in used)
        lines.append(f"| `{room}` | {sentence_of(room)} | {' '.join(files)} | {walk} |")
    return "\n".join(lines) + "\n"


def test_every_file_has_its_place_in_the_order():
    """A new room or file is put into the order here, on purpose."""
    folders = [m for m, f in FILES.items() if f.name == "__init__.py"]

    assert sorted(ORDER) == sorted(m for m in FILES if m not in (*DOORS, *folders))


@pytest.mark.parametrize("module", [m for m in FILES if m not in DOORS])
def test_imports_lead_to_files_before(module):
    """No exception, also inside functions, for type checkers, by name, and inside a folder."""
    assert wrong_way(module) == []


def test_an_import_inside_a_function_is_seen():
    """The test itself looks where a forbidden import would hide."""
    text = "def f():\n    from mblab import lab, Lab\n    import mblab.runs.run as r\n    importlib.import_module('mblab.cli')\n"

    assert imports_of(text) == [(2, "lab"), (2, ""), (3, "runs.run"), (4, "cli")]


def test_the_map_shows_the_house_as_it_stands():
    """`python tests/test_directions.py` writes it again."""
    text = CONTRIBUTING.read_text(encoding="utf-8")

    assert text.partition(BEGIN)[2].partition(END)[0] == map_of_the_house()


if __name__ == "__main__":
    old = CONTRIBUTING.read_text(encoding="utf-8")
    head, _, rest = old.partition(BEGIN)
    CONTRIBUTING.write_text(head + BEGIN + map_of_the_house() + END + rest.partition(END)[2], encoding="utf-8")

"""Rows walk one way: a room imports only rooms before it, also inside functions."""

import ast
from pathlib import Path

import pytest

import mblab

PACKAGE = Path(mblab.__file__).parent
FRONT_DOOR = "__init__"

# The order of the house. A folder is one room, and its files may import each other.
HOUSE = [
    "errors",
    "timing",
    "support",
    "arrivals",
    "tables",
    "datasets",
    "steps",
    "sources",
    "sinks",
    "engine",
    "metrics",
    "charts",
    "runs",
    "checks",
    "tuning",
    "export",
    "lab",
    "script",
    "testing",
    "dashboard",
    "cli",
]


def room_of(file):
    """The room a file belongs to: its folder inside the package, or itself."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [f for f in sorted(PACKAGE.rglob("*.py")) if "_data" not in f.parts]
ROOMS = {room_of(f) for f in FILES} - {FRONT_DOOR}


def imports_of(text):
    """(line, room) of every import of mblab in a text, wherever it stands; the front door is a room too."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "mblab":
            names = [f"mblab.{a.name}" for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["mblab." + "." * node.level] if node.level else [node.module or ""]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("import_module", "__import__"):
            names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "mblab":
                room = rest.split(".")[0]
                found.append((node.lineno, room if room in ROOMS or rest.startswith(".") else FRONT_DOOR))
    return found


def wrong_way(file):
    """The imports of a file that do not lead to a room before its own, or to its own folder."""
    room = room_of(file)
    own = {room} if file.parent != PACKAGE else set()
    before = set(HOUSE[: HOUSE.index(room)]) | own
    imports = imports_of(file.read_text(encoding="utf-8"))
    return [f"{file.name}:{line} {room} imports {other}" for line, other in imports if other not in before]


def test_every_room_has_its_place_in_the_order():
    """A new room is put into the order here, on purpose."""
    assert set(HOUSE) == ROOMS


@pytest.mark.parametrize(
    "file", [f for f in FILES if room_of(f) != FRONT_DOOR], ids=lambda f: str(f.relative_to(PACKAGE))
)
def test_imports_lead_to_rooms_before(file):
    """No exception, also inside functions and for type checkers."""
    assert wrong_way(file) == []


def test_an_import_inside_a_function_is_seen():
    """The test itself looks where a forbidden import would hide."""
    text = "def f():\n    from mblab import lab, Lab\n    import mblab.runs as r\n"

    assert imports_of(text) == [(2, "lab"), (2, FRONT_DOOR), (3, "runs")]

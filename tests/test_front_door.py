"""The front door: what a notebook types is there, and importing it costs nothing."""

import json
import subprocess
import sys

import pytest

import mblab

NAMES = [
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
HEAVY = ["altair", "IPython", "ipywidgets", "pyarrow.parquet", "pyspark", "typer", "tqdm", "vl_convert", "papermill"]

LOOK = """
import json, socket, sys, threading

opened = []
sys.addaudithook(lambda event, _: opened.append(event) if event.startswith("socket.") else None)
import mblab

print(json.dumps({"modules": list(sys.modules), "threads": threading.active_count(), "sockets": opened}))
"""


@pytest.fixture(scope="module")
def fresh_import():
    """What a fresh process holds after `import mblab`."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_front_door_lists_exactly_what_a_notebook_types():
    """A name is added here on purpose or not at all."""
    assert mblab.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_resolves(name):
    """The lazy loader knows where each name lives."""
    assert getattr(mblab, name) is not None


def test_a_name_that_is_not_listed_is_an_attribute_error():
    """What is not built yet is absent, and so is a typing error."""
    with pytest.raises(AttributeError, match="predikt"):
        mblab.predikt


def test_completion_offers_the_listed_names():
    """dir() shows the front door, not its hinges."""
    assert dir(mblab) == sorted([*NAMES, "__version__"])


@pytest.mark.parametrize("room", ["arrivals", "charts", "datasets", "errors", "sinks", "sources", "testing"])
def test_completion_in_a_room_offers_what_it_lists(room):
    """Tab behind `mblab.sinks.` shows sinks, not what the file imports."""
    module = getattr(mblab, room)

    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("module", HEAVY)
def test_importing_mblab_does_not_import(fresh_import, module):
    """`import mblab` is light: what draws, talks or parses files waits until it is used."""
    assert module not in fresh_import["modules"]


def test_importing_mblab_starts_no_thread(fresh_import):
    """Threads belong to a run."""
    assert fresh_import["threads"] == 1


def test_importing_mblab_opens_no_socket(fresh_import):
    """Nothing is fetched, nobody is told."""
    assert fresh_import["sockets"] == []

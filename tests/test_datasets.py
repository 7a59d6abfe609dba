"""The shipped data sets: found, described, and exactly what they are said to be."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mblab import datasets
from mblab.errors import ColumnError, SettingError, SourceError
from mblab.sources import replay

EXPECTED = Path(datasets.path("earthquakes")).parent.parent / "EXPECTED.json"
expected = json.loads(EXPECTED.read_text())
NAMES = ["nyc_flights", "nyc_weather", "earthquakes"]


@pytest.mark.parametrize("name", NAMES)
def test_the_list_tells_what_a_data_set_is(name):
    """Rows and columns in the list are those of the file."""
    known = datasets.list().set_index("name").loc[name]
    rows = datasets.load(name)

    assert known["rows"] == len(rows)
    assert {known["arrival"], known["event_time"]} <= set(rows.columns)
    assert rows[known["arrival"]].is_monotonic_increasing


def test_the_list_has_one_row_a_data_set():
    """Columns as documented."""
    listed = datasets.list()

    assert list(listed.columns) == ["name", "rows", "arrival", "event_time", "what", "licence"]
    assert listed["name"].tolist() == NAMES


@pytest.mark.parametrize("name", expected)
def test_a_file_is_the_one_that_was_counted(name):
    """Byte for byte."""
    assert hashlib.sha256(datasets.path(name).read_bytes()).hexdigest() == expected[name]["sha256"]


@pytest.mark.parametrize(
    ("name", "window"), [(name, window) for name, facts in expected.items() for window in facts["windows"]]
)
def test_a_replay_has_the_counted_rows_in_every_window(name, window):
    """Half-open windows from the smallest arrival: a row on an edge belongs to the next window."""
    facts, length = expected[name], pd.Timedelta(window).value
    blocks = list(replay(datasets.path(name), arrival=facts["arrival_column"]).open())
    windows = np.concatenate([b.arrival_ns for b in blocks]) // length
    counts = np.bincount(windows)

    assert len(windows) == facts["rows"]
    assert {
        "non_empty": int((counts > 0).sum()),
        "max_rows": int(counts.max()),
        "total_windows": len(counts),
    } == facts["windows"][window]


@pytest.mark.parametrize("name", expected)
def test_a_replay_has_the_counted_late_rows(name):
    """Rows that are further behind the running maximum of event time than the bound."""
    facts = expected[name]
    rows = pd.concat([b.rows for b in replay(datasets.path(name), arrival=facts["arrival_column"]).open()])
    behind = rows["event_time"].cummax() - rows["event_time"]

    assert {bound: int((behind > pd.Timedelta(bound)).sum()) for bound in facts["late_vs_running_max"]} == facts[
        "late_vs_running_max"
    ]


def test_columns_can_be_chosen():
    """Only these are read, in this order."""
    assert list(datasets.load("nyc_flights", columns=["carrier", "origin"]).columns) == ["carrier", "origin"]


def test_an_unknown_name_or_column_gets_a_hint():
    """Did you mean."""
    with pytest.raises(SettingError, match="did you mean 'nyc_flights'"):
        datasets.load("nyc_flight")
    with pytest.raises(ColumnError, match="did you mean 'carrier'"):
        datasets.load("nyc_flights", columns=["carier"])


@pytest.mark.parametrize("make", [lambda: datasets.path(5), lambda: datasets.load("nyc_flights", columns="carrier")])
def test_a_wrong_type_is_refused(make):
    """Names are text, columns a list."""
    with pytest.raises(TypeError):
        make()


def test_a_wheel_is_looked_into_before_a_checkout(tmp_path, monkeypatch):
    """The build puts the files into mblab/_data/datasets."""
    inside = tmp_path / "_data" / "datasets" / "earthquakes" / "earthquakes.parquet"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"")
    monkeypatch.setattr(datasets, "PACKAGE", tmp_path)

    assert datasets.path("earthquakes") == inside
    with pytest.raises(SourceError, match="install it again"):
        datasets.path("nyc_flights")

"""The shipped data sets, by name.

They are found in a checkout and in an installed wheel alike. This room reads files and knows no streams; a path from
here goes into `replay`.

    datasets/ -> [datasets] -> replay
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from mblab.errors import SettingError, SettingTypeError, SourceError, did_you_mean, missing_column, shown
from mblab.support.arguments import column_names

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["list", "load", "path"]


def __dir__() -> Sequence[str]:
    return sorted(__all__)  # what Tab offers


PACKAGE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is known about a data set.

    Attributes:
        name: What it is loaded by.
        rows: Number of rows, in order of arrival.
        arrival: Column with the arrival time.
        event_time: Column with the event time.
        what: What it is, in a line.
        licence: What it may be used under.
        folder: Where its file lies.
    """

    name: str
    rows: int
    arrival: str
    event_time: str
    what: str
    licence: str
    folder: str


KNOWN: Final = {
    d.name: d
    for d in (
        Dataset(
            "nyc_flights", 48_562, "reported_at", "event_time",
            "departures, landings and cancellations at New York's airports, February 2013; late by minutes to hours",
            "CC0-1.0", "nyc_flights",
        ),
        Dataset(
            "nyc_weather", 2_010, "event_time", "event_time",
            "hourly weather at the same airports and in the same month, to join with the flights",
            "CC0-1.0", "nyc_flights",
        ),
        Dataset(
            "earthquakes", 1_707, "updated", "event_time",
            "one week of the USGS feed, 2018; records are revised, so truly late",
            "US public domain", "earthquakes",
        ),
    )
}  # fmt: skip


def path(name: str) -> Path:
    """Return where a data set's Parquet file lies.

    Raises:
        SettingError: There is none of this name.
        SourceError: Its file is not where this installation should have it.

    >>> path("nyc_flights").name
    'nyc_flights.parquet'
    """
    if not isinstance(name, str):
        raise SettingTypeError(f"name must be the name of a data set, one of {[*KNOWN]}, got {shown(name)}.")
    if name not in KNOWN:
        raise SettingError(f"name={name!r} is no data set, there are {[*KNOWN]}{did_you_mean(name, KNOWN)}")
    inside = Path(KNOWN[name].folder, f"{name}.parquet")
    for root in (PACKAGE / "_data" / "datasets", PACKAGE.parent / "datasets"):  # a wheel, a checkout
        if (root / inside).is_file():
            return root / inside
    raise SourceError(f"{inside} is missing from this installation of mblab; install it again.")


def load(name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a data set as a frame, in order of arrival.

    Args:
        name: nyc_flights, nyc_weather or earthquakes.
        columns: Columns to read; None means all.

    Raises:
        SettingError: There is none of this name.
        ColumnError: It has no such column.

    >>> load("earthquakes", columns=["mag", "place"]).shape
    (1707, 2)
    """
    import pyarrow.parquet as pq

    file = path(name)
    chosen = column_names(columns)
    if chosen is None:
        return pd.read_parquet(file)
    known = pq.read_schema(file).names
    for column in chosen:
        if column not in known:
            raise missing_column("columns", column, known)
    return pd.read_parquet(file, columns=[*chosen])


def list() -> pd.DataFrame:  # noqa: A001  reads as mblab.datasets.list()
    """Return the data sets, one a row: name, rows, arrival, event_time, what, licence."""
    return pd.DataFrame([asdict(d) for d in KNOWN.values()]).drop(columns="folder")

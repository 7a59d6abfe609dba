"""How times are written: the line that reads a column of text, found by the texts."""

import re

import pandas as pd
import pytest

import mblab
from mblab import SourceError, replay
from mblab.tables.time_forms import CLOCKS, DAYS, JOINTS, strptime_forms

SEEN = pd.Series(pd.date_range("2025-11-13 01:02:03.456", periods=40, freq="29h"))
LINES = {
    "day first": (["13.01.2026 09:00"], "pd.to_datetime(rows['at'], format='%d.%m.%Y %H:%M')"),
    "points": (["01.02.24"], "pd.to_datetime(rows['at'], format='%d.%m.%y')"),
    "noon and midnight": (["10/17/2006 12:30:00 AM"], "pd.to_datetime(rows['at'], format='%m/%d/%Y %I:%M:%S %p')"),
    "either": (["01/02/2026"], "format='%d/%m/%Y') where the day comes first, else with format='%m/%d/%Y'"),
    "year or day": (["081109"], "format='%y%m%d') where the year comes first, else with format='%d%m%y'"),
    "web server": (
        ["10/Oct/2000:13:55:36 -0700"],
        "pd.to_datetime(rows['at'], format='%d/%b/%Y:%H:%M:%S %z', utc=True)",
    ),
    "C": (["Sun Dec 04 04:47:44 2005"], "pd.to_datetime(rows['at'], format='%a %b %d %H:%M:%S %Y')"),
    "mail": (["Wed, 02 Oct 2002 13:00:00 GMT"], "pd.to_datetime(rows['at'], format='%a, %d %b %Y %H:%M:%S %Z')"),
    "digits": (["20200101 0005"], "pd.to_datetime(rows['at'], format='%Y%m%d %H%M')"),
    "month": (["Jan 1 2000"], "pd.to_datetime(rows['at'], format='%b %d %Y')"),
    "interval": (
        ["13/01/2024 00:00 - 13/01/2024 01:00"],
        "pd.to_datetime(rows['at'].str.split(' - ').str[0], format='%d/%m/%Y %H:%M')",
    ),
    "hours of a day": (["08:00", "24:10"], "pd.to_timedelta(rows['at'] + ':00')"),
    "a long day": (["08:00:00", "25:10:00"], "pd.to_timedelta(rows['at'])"),
    "fractions and none": (
        ["2026-01-13T09:00:00Z", "2026-01-13T09:00:00.5Z"],
        "pd.to_datetime(rows['at'], format='ISO8601', utc=True)",
    ),
    "days and clocks": (["2026-01-13", "2026-01-13 09:00"], "pd.to_datetime(rows['at'], format='ISO8601')"),
    "offsets": (["2026-01-13T09:00:00+01:00", "2026-01-13T09:00:00.5+02:00"], "format='ISO8601', utc=True)"),
    "summer time": (
        ["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"],
        "pd.to_datetime(rows['at'], format='%Y-%m-%dT%H:%M:%S%z', utc=True)",
    ),
    "zone": (["2026-01-13T09:00:00-0700"], "pd.to_datetime(rows['at'], format='%Y-%m-%dT%H:%M:%S%z', utc=True)"),
    "none": (["soon", "Q1 2020"], "with pd.to_datetime and the format its texts have"),
    "mixed": (["13.01.2026", "2026-01-14"], "with pd.to_datetime and the format its texts have"),
}


@pytest.mark.parametrize("kind", LINES)
def test_a_column_of_text_is_refused_with_the_line_that_reads_it(kind):
    """B04's kind: what stands in the sentence is never a form that the texts do not have."""
    texts, line = LINES[kind]
    rows = pd.DataFrame({"at": texts})
    with pytest.raises(SourceError, match=re.escape(f"got '{texts[0]}' in row 0")) as caught:
        replay(rows, arrival="at")

    assert line in str(caught.value)
    if line.startswith("pd."):
        exec(f"rows['at'] = {line}", {"pd": pd}, {"rows": rows})
        assert len(replay(rows, arrival="at").frame) == len(texts)


@pytest.mark.parametrize("day", [day for day in DAYS if "%d" in day and "%H" not in day])
def test_what_is_written_in_a_form_is_read_in_it(day):
    """Every day with some clocks: the form is found, and the first one gives the times, but for years of two digits."""
    clocks = [clock for clock in CLOCKS if ("%Y" in clock) == ("%y" not in day.lower())]
    at = DAYS.index(day)
    for i, clock in enumerate(clocks[at % 4 :: 4]):
        form = f"{day}{JOINTS[(at + i) % 6]}{clock}"
        texts = SEEN.dt.strftime(form)
        found = strptime_forms(texts)

        assert form in found
        if "%y" not in form:
            assert pd.to_datetime(texts, format=found[0]).equals(pd.to_datetime(texts, format=form))


def test_a_day_that_only_a_late_text_tells_apart_is_told_apart():
    """The forms that fit the first thousand texts are tried on all."""
    texts = pd.Series(["01/02/2026"] * 1_500 + ["13/02/2026"])

    assert strptime_forms(texts) == ["%d/%m/%Y"]


@pytest.mark.parametrize("knob", ["arrival", "event_time"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_of_a_file_the_line_begins_with_reading_it(form, knob, tmp_path):
    """So that it works as it stands, and ids are what a replay of the file has."""
    rows = pd.DataFrame({"n": [1, 2], "id": ["x1", "x2"], "at": ["13.01.2026 09:00", "13.01.2026 09:05"]})
    data = tmp_path / f"rows.{form}"
    if form == "csv":
        rows.to_csv(data, index=False)
    elif form == "jsonl":
        rows.to_json(data, orient="records", lines=True)
    else:
        rows.to_parquet(data)
    with pytest.raises(SourceError) as caught:
        replay(data, **{"arrival": "n", knob: "at"})
    line = re.search("for example (.*), and replay the frame", str(caught.value))[1]
    scope = {"pd": pd, "mblab": mblab, "data": data}
    exec(line, scope)

    block = next(replay(scope["rows"], arrival="at").open())
    assert block.arrival_ns.tolist() == [0, 300 * 10**9]
    assert block.rows["id"].tolist() == ["x1", "x2"]


def test_rows_without_a_time_are_dropped_by_the_line_that_says_so(tmp_path):
    """Elasticsearch's bulk files have an action between two rows, and it works as it stands."""
    data = tmp_path / "bulk.jsonl"
    data.write_text('{"index":{"_id":"1"}}\n{"at":5,"v":1}\n{"index":{"_id":"2"}}\n{"at":6,"v":2}\n')
    with pytest.raises(SourceError, match=r"has 2 null\(s\) among rows 0 to 3") as caught:
        list(replay(data, arrival="at").open())
    scope = {"pd": pd, "mblab": mblab, "data": data}
    exec(re.search("for example (.*), or fill them", str(caught.value))[1], scope)

    assert next(replay(scope["rows"], arrival="at").open()).rows["v"].tolist() == [1, 2]


def test_an_object_is_no_time_but_may_hold_one(tmp_path):
    """Of JSON: what is in it is a column with flatten=True."""
    data = tmp_path / "rows.jsonl"
    data.write_text('{"meta":{"dt":"2026-01-01T00:00:00"}}\n{"meta":{"dt":"2026-01-01T00:00:01"}}\n')
    with pytest.raises(SourceError, match=r"with flatten=True, such as 'meta\.dt'"):
        list(replay(data, arrival="meta").open())

    assert next(replay(data, arrival="meta.dt", flatten=True).open()).arrival_ns.tolist() == [0, 10**9]

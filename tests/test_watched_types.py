"""Columns of watched files: what the first file settles holds for all, also for what a later one lacks."""

import json
import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import mblab
from mblab import Lab, SourceError, replay, sinks


def watched(folder, *texts, ending="csv", **knobs):
    """The rows of each file, in their order."""
    for i, text in enumerate(texts):
        path = folder / f"part-{i}.{ending}"
        path.write_text(text)
        os.utime(path, (1e9 + i, 1e9 + i))
    found = mblab.watch(folder / f"*.{ending}", settle=0, **knobs).poller()
    return [pd.concat([rows for rows, _ in found.read(file)]) for file in found.poll()]


def lines(values):
    return "".join(json.dumps({"t": i, **({} if v is ... else {"v": v})}) + "\n" for i, v in enumerate(values))


@pytest.mark.parametrize("numbers", ["5\n7", "0\n1", "1.5\n2", "\n3"])
@pytest.mark.parametrize("truth", ["true\nfalse", "true\n0", "False\nTrue"])
def test_truth_is_no_number_after_numbers(numbers, truth, tmp_path):
    """As numbers are none after truth: the kind of a column is settled, whichever file comes first."""
    first, second = (f"v,w\n{text.replace(chr(10), ',x' + chr(10))},x\n" for text in (numbers, truth))
    with pytest.raises(SourceError, match=r"part-1.csv, line 2, has '\w+' in column 'v', which must be .* as before"):
        watched(tmp_path, first, second)


@pytest.mark.parametrize("late", [True, False])
def test_one_true_far_down_a_later_file_is_named(late, tmp_path):
    """By its line, and not only where it stands first."""
    rows = ["1"] * 50
    rows[40 if late else 0] = "true"
    with pytest.raises(SourceError, match=rf"part-1.csv, line {42 if late else 2}, has 'true' in column 'v'"):
        watched(tmp_path, "v\n1\n2\n", "v\n" + "\n".join(rows) + "\n")


LACKED = {
    "times": (["2026-01-01T10:00:00"], "datetime64[ns]"),
    "times with a zone": (["2026-01-01T10:00:00Z"], "datetime64[ns, UTC]"),
    "times beyond nanoseconds": (["9999-12-31T00:00:00"], "datetime64[us]"),
    "text": (["a", "b"], "str"),
    "whole numbers": ([1, 2], "float64"),
    "numbers": ([1.5], "float64"),
    "truth": ([True], "object"),
    "lists": ([[1], [2]], "object"),
    "objects": ([{"a": 1}], "object"),
    "nothing": ([None], "object"),
}


@pytest.mark.parametrize("kind", LACKED)
def test_a_column_that_a_later_file_of_json_lacks_has_the_dtype_of_nulls_in_it(kind, tmp_path):
    """The same as of a file that has it, and nulls only; NaN of float64 is no time and no text."""
    values, dtype = LACKED[kind]
    first, lacks, nulls = watched(tmp_path, lines(values), lines([...] * 3), lines([None] * 3), ending="jsonl")

    assert list(lacks.columns) == list(first.columns)
    assert lacks.v.isna().all()
    assert (str(lacks.v.dtype), str(nulls.v.dtype)) == (dtype, dtype)


@pytest.mark.parametrize("kind", ["Int64", "boolean", "category", "datetime64[s]", "string"])
def test_a_column_that_is_lacked_has_the_dtype_that_is_named(kind, tmp_path):
    """And is refused where that has no null."""
    value = {"boolean": True, "Int64": 1, "datetime64[s]": "2026-01-01"}.get(kind, "a")
    _, lacks = watched(tmp_path, lines([value]), lines([...]), ending="jsonl", types={"v": kind})

    assert str(lacks.v.dtype) == kind
    with pytest.raises(SourceError, match=r"column 'v' must be int8, but has nulls, .*types=\{'v': 'Int8'\}"):
        watched(tmp_path, lines([1]), lines([...]), ending="jsonl", types={"v": "int8"})


def test_event_times_that_a_file_lacks_are_no_numbers(tmp_path):
    """A watermark is made of them."""
    (tmp_path / "part-0.jsonl").write_text(lines(["2026-01-01T10:00:00"]))
    (tmp_path / "part-1.jsonl").write_text(lines([...]))
    lab = Lab(
        mblab.watch(tmp_path / "*.jsonl", settle=0, every="10ms", event_time="v"), interval="100ms", name="lacking"
    )
    seen = []
    lab.batch(lambda rows, ctx: seen.extend(map(str, rows.v.tolist())))
    lab.run("400ms")

    assert sorted(seen) == ["2026-01-01 10:00:00", "NaT"]


# -- maps beside what is missing ---------------------------------------------------------------------------------------

MAPS = {
    "NaN": [[("a", 1)], float("nan")],
    "NA": [[("a", 1)], pd.NA],
    "NaT": [pd.NaT, [("a", 1), ("b", 2)]],
    "None": [[("a", 1)], None],
    "NA in a map": [[("a", pd.NA), ("b", 2)]],
    "NaN among numbers of a map": [[("a", float("nan")), ("b", 2.5)]],
    "NaN among texts of a map": [[("a", float("nan")), ("b", "x")]],
    "a map in an object beside NaN": [{"m": [("a", 1)]}, {"m": float("nan")}, float("nan")],
    "maps in a list beside NA": [[[("a", 1)], pd.NA], pd.NA],
}


@pytest.mark.parametrize("way", ["sink", "record"])
@pytest.mark.parametrize("kind", MAPS)
def test_maps_stand_beside_what_is_missing(kind, way, tmp_path):
    """However that is said; what is missing becomes null, and NaN stays a number among numbers."""
    rows = pd.DataFrame({"m": pd.Series(MAPS[kind], dtype=object)})
    if way == "record":
        mblab.record(replay(rows, rate=10), tmp_path / "rows.parquet")
        found = pq.read_table(tmp_path / "rows.parquet").column("m")
    else:
        lab = Lab(replay(rows, rate=10), interval="1s", name="maps")
        lab.batch(lambda batch: batch)
        lab.to(sinks.parquet(tmp_path / "out"))
        lab.run(clock="virtual", cost=0)
        found = pq.read_table(next((tmp_path / "out").glob("*.parquet"))).column("m")

    assert "map<string" in str(found.type)
    assert plain(found.to_pylist()) == plain(MAPS[kind])


def plain(value):
    """A value with None for what is missing, and `nan` for NaN among numbers."""
    if isinstance(value, list | tuple):
        numbers = [v for v in value if isinstance(v, tuple) and isinstance(v[1], float) and not np.isnan(v[1])]
        return ["nan" if numbers and isinstance(v, float) and np.isnan(v) else plain(v) for v in value]
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return None if value is pd.NA or value is pd.NaT or value != value else value


# -- event times that are text -----------------------------------------------------------------------------------------

FORMS = {
    "day first, by points": (["01.02.2026 09:00", "02.01.2026 10:00"], pd.Timestamp("2026-02-01 09:00")),
    "day first, by slashes": (["13/01/2026 10:00:30", "02/02/2026 10:00:30"], pd.Timestamp("2026-01-13 10:00:30")),
    "month first": (["01/13/2026", "02/02/2026"], pd.Timestamp("2026-01-13")),
}


def live_lab(source, step, name):
    lab = Lab(source, interval="50ms", name=name)
    lab.batch(step, name="step")
    return lab


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("form", FORMS)
def test_day_first_times_are_refused_where_they_are_watched_with_a_line_that_the_step_can_have(form, ending, tmp_path):
    """By the rule of replay, file and value, and a way on that there is for a watched folder."""
    texts, first = FORMS[form]
    rows, path = pd.DataFrame({"at": texts}), tmp_path / f"part.{ending}"
    if ending == "csv":
        rows.to_csv(path, index=False)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps({"at": text}) + "\n" for text in texts))
    else:
        rows.to_parquet(path)
    pattern = tmp_path / f"*.{ending}"
    with pytest.raises(
        SourceError, match=f"part.{ending}: column 'at' must hold times .*'{texts[0]}' in row 0"
    ) as caught:
        live_lab(mblab.watch(pattern, settle=0, every="10ms", event_time="at"), len, "day first").run("150ms")
    with pytest.raises(SourceError, match="must hold times or numbers") as replayed:
        replay(rows, arrival="at")
    line = str(caught.value).partition("for example ")[2].partition(", in the step, and leave event_time= out.")[0]
    assert f"for example {line}, and replay the frame." in str(replayed.value)

    seen = []

    def step(rows):
        exec(line, {"pd": pd, "rows": rows})
        seen.extend(rows["at"])

    live_lab(mblab.watch(pattern, settle=0, every="10ms"), step, "day first").run("150ms")
    assert (len(seen), seen[0]) == (2, first)


def test_text_that_is_polled_is_parsed_in_the_function():
    """Which is named."""

    def readings():
        return pd.DataFrame({"at": ["31.12.2026 10:00"]})

    with pytest.raises(SourceError, match=r"format='%d.%m.%Y %H:%M'\), in readings\(\)\.$"):
        live_lab(mblab.poll(readings, every="20ms", event_time="at"), len, "polled").run("300ms")

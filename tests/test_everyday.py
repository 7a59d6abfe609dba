"""Everyday data: cases that people met elsewhere, with the right value; each stands for a kind."""

import datetime as dt
import json
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import mblab
from mblab import BatchError, Lab, SourceError, replay


def first(source):
    return next(iter(source.open())).rows


# -- times: one rule, whoever reads them -----------------------------------------------------------------------------

GERMAN = ["01.02.2026 09:00", "02.01.2026 10:00"]
TEXTS = {
    "day first": (GERMAN, "format='%d.%m.%Y %H:%M')"),
    "month first": (["01/13/2026", "02/02/2026"], "format='%m/%d/%Y')"),
    "day first, by slashes": (["13/01/2026 10:00:30", "02/02/2026 10:00:30"], "format='%d/%m/%Y %H:%M:%S')"),
    "either": (["01/02/2026", "02/02/2026"], "where the day comes first, else with format='%m/%d/%Y'"),
    "words": (["soon", "later"], "got 'soon' in row 0"),
}


@pytest.mark.parametrize("knob", ["arrival", "event_time"])
@pytest.mark.parametrize("form", ["frame", "csv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", TEXTS)
def test_text_is_refused_as_a_time_with_advice_that_gives_the_right_times(kind, form, knob, tmp_path):
    """S07, B04: event_time is checked like arrival, and the advice names the form that the values have."""
    texts, said = TEXTS[kind]
    rows = pd.DataFrame({"a": range(len(texts)), "at": texts})
    data = rows if form == "frame" else tmp_path / f"rows.{form}"
    if form == "csv":
        rows.to_csv(data, index=False)
    elif form == "jsonl":
        rows.to_json(data, orient="records", lines=True)
    elif form == "parquet":
        rows.to_parquet(data)
    with pytest.raises(SourceError, match="column 'at' must hold times or numbers") as caught:
        replay(data, **({"arrival": "at"} if knob == "arrival" else {"arrival": "a", "event_time": "at"}))

    assert said in str(caught.value)
    if "where" not in said and "got" not in said:
        advice = str(caught.value).partition("for example ")[2].partition(", and replay")[0]
        scope = {"pd": pd, "mblab": mblab, "rows": rows, "data": data}
        exec(advice, scope)
        assert pd.api.types.is_datetime64_any_dtype(scope["rows"]["at"].dtype)


def test_the_advice_followed_to_the_letter_takes_the_day_for_the_day(tmp_path):
    """B04: 1 February, not 2 January."""
    rows = pd.DataFrame({"at": GERMAN})
    with pytest.raises(SourceError) as caught:
        replay(rows, arrival="at")
    exec(str(caught.value).partition("for example ")[2].partition(", and replay")[0], {"pd": pd}, {"rows": rows})

    assert rows["at"].tolist() == [pd.Timestamp("2026-02-01 09:00"), pd.Timestamp("2026-01-02 10:00")]


def test_an_event_time_of_text_is_refused_where_it_is_polled(tmp_path):
    """S07's sibling: a live source is checked when its rows come."""
    lab = Lab(
        mblab.poll(lambda: {"at": ["01.02.2026"]}, every="20ms", event_time="at"), interval="50ms", name="everyday"
    )
    lab.batch(len, name="n")
    with pytest.raises(SourceError, match="column 'at' must hold times or numbers, got '01.02.2026'"):
        lab.run("300ms")


@pytest.mark.parametrize(
    "hold",
    [
        pd.Categorical,
        lambda times: pd.array(times.to_pydatetime(), dtype=pd.ArrowDtype(pa.timestamp("us"))),
        lambda times: times.tz_localize("UTC"),
        lambda times: times.astype("datetime64[s]"),
        lambda times: pd.Series(times.to_pydatetime(), dtype=object),
    ],
    ids=["categories", "arrow", "zone", "seconds", "objects"],
)
def test_a_watermark_is_a_time_however_pandas_holds_it(hold):
    """S21: the newest of all earlier batches."""
    times = pd.to_datetime(["2026-01-02", "2026-01-01", "2026-01-03"])
    lab = Lab(replay(pd.DataFrame({"a": range(3), "at": hold(times)}), arrival="a", event_time="at"), interval="2s")
    lab.batch(lambda batch, state, ctx: {"watermark": str(ctx.watermark)[:19]}, name="see")

    assert lab.run(clock="virtual", cost=0).output.watermark.tolist() == ["None", "2026-01-02 00:00:00"]


@pytest.mark.parametrize("dtype", ["us", "ns", "s"])
def test_a_loop_moves_arrow_s_times_on(dtype):
    """S20: times are times however pandas holds them."""
    at = pd.array([dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2)], dtype=pd.ArrowDtype(pa.timestamp(dtype)))
    source = replay(pd.DataFrame({"t": [0.0, 1.0], "at": at}), arrival="t", event_time="at", loop=True, limit=4)
    found = pd.concat([block.rows for block in source.open()])["at"].tolist()

    assert [(b - a).total_seconds() for a, b in zip(found[:2], found[2:], strict=True)] == [2, 2]


@pytest.mark.parametrize("knob", ["arrival", "event_time"])
@pytest.mark.parametrize(("good", "others"), [("{}", "numbers"), ("2026-01-01T00:00:{:02d}", "times")])
def test_the_value_that_makes_text_of_a_column_is_named_wherever_it_stands(good, others, knob, tmp_path):
    """S24: not a fine one in row 0."""
    lines = [good.format(i % 60) for i in range(250_000)]
    lines[240_123] = "Total"
    (tmp_path / "rows.csv").write_text("t,v\n" + "".join(f"{t},{i}\n" for i, t in enumerate(lines)))
    knobs = {"arrival": "t"} if knob == "arrival" else {"arrival": "v", "event_time": "t"}
    with pytest.raises(SourceError, match=f"got 'Total' in row 240123 .*where those before are {others}"):
        list(replay(tmp_path / "rows.csv", **knobs).open())


# -- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["2026-01-01T00:00:00", "9999-12-31T00:00:00"], "datetime64[us]"),
        (["0001-01-01T00:00:00", "2026-01-01T00:00:00.123456"], "datetime64[us]"),
        (["2026-01-01T00:00:00.123456789", "2026-01-01T00:00:00"], "datetime64[ns]"),
        (["9999-12-31T00:00:00Z", "2026-01-01T00:00:00Z"], "datetime64[us, UTC]"),
        (["2026-01-01T00:00:00.123456789", "9999-12-31T00:00:00"], "str"),
    ],
)
def test_times_in_json_have_a_unit_that_holds_them(values, dtype, tmp_path):
    """S15: as the same values in a CSV have one; what no unit holds stays text."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"until": v}) + "\n" for v in values))

    assert str(first(replay(path, rate=1))["until"].dtype) == dtype


def test_columns_of_json_stand_in_the_file_s_order(tmp_path):
    """S16: also those that a later line brings."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "v": 2, "at": "2026-01-01T00:00:00"}\n{"z": 1, "id": 2, "a": "x"}\n')

    assert list(first(replay(path, rate=1)).columns)[:3] == ["id", "v", "at"]


def test_an_array_of_objects_is_refused_with_the_way_on(tmp_path):
    """B06: and the way works."""
    path = tmp_path / "rows.jsonl"
    path.write_text('[{"t": 1}, {"t": 2}]\n')
    with pytest.raises(SourceError, match=r"replay pd.read_json\(path\)"):
        replay(path, arrival="t")

    assert len(first(replay(pd.read_json(path), arrival="t"))) == 2


# -- rows and keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "rows"),
    [
        ({"id": 7, "tags": ["new", "vip"]}, [{"id": 7, "tags": ["new", "vip"]}]),
        ({"id": 7, "at": np.array([1, 2])}, None),
        ({"id": [7, 8], "v": [1, 2]}, [{"id": 7, "v": 1}, {"id": 8, "v": 2}]),
        ({"id": 7, "v": None}, [{"id": 7, "v": None}]),
    ],
)
def test_a_dict_with_a_single_value_is_one_row_where_it_is_polled(answer, rows):
    """S09: as a step's dict is."""
    answers = iter([answer])
    found = first(mblab.poll(lambda: next(answers)))

    assert len(found) == (1 if rows is None else len(rows))
    assert rows is None or found.astype(object).where(found.notna(), None).to_dict("records") == rows


def test_a_dict_with_a_series_beside_a_single_value_is_refused_where_it_is_polled():
    """S09's sibling: which of the two was meant cannot be told."""
    with pytest.raises(SourceError, match="a column in 'v' beside single values"):
        first(mblab.poll(lambda: {"id": 7, "v": pd.Series([1, 2])}))


@pytest.mark.parametrize("key", ["tags", ["v", "tags"]], ids=["one", "two"])
@pytest.mark.parametrize("value", [["a"], {"a": 1}, {1, 2}, np.array([1])], ids=["list", "dict", "set", "array"])
def test_what_cannot_be_a_key_is_named(value, key):
    """B05: the column, what it holds, and the way on."""
    lab = Lab(replay(pd.DataFrame({"v": [1, 1], "tags": [value, value]}), rate=1), interval="5s")
    lab.batch(key=key)(lambda batch, state: {"n": len(batch)})
    with pytest.raises(BatchError, match=f"column 'tags' holds {type(value).__name__}s such as .*cannot be keys"):
        lab.run(clock="virtual", cost=0)


@pytest.mark.parametrize("key", ["tags", ["v", "tags"]], ids=["one", "two"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.list_(pa.string()), ["a"]),
        (pa.struct([("a", pa.int64())]), {"a": 1}),
        (pa.map_(pa.string(), pa.int64()), [("a", 1)]),
        (None, (1, ["a"])),
        (None, pd.Series([1])),
    ],
    ids=["Arrow's list", "Arrow's struct", "Arrow's map", "tuple with a list", "series"],
)
def test_what_cannot_be_a_key_is_named_however_it_is_held(kind, value, key):
    """B05's siblings: Arrow raises another error, and a tuple can be a key only if all in it can."""
    tags = [value, value] if kind is None else pd.array([value, value], dtype=pd.ArrowDtype(kind))
    lab = Lab(replay(pd.DataFrame({"v": [1, 1], "tags": tags}), rate=1), interval="5s", name="everyday")
    lab.batch(key=key)(lambda batch, state: {"n": len(batch)})
    with pytest.raises(BatchError, match="column 'tags' holds .* such as .*cannot be keys"):
        lab.run(clock="virtual", cost=0)


def test_files_with_another_arrival_column_are_refused_before_one_is_read(tmp_path):
    """S17: by name, and not by a KeyError."""
    (tmp_path / "2025.csv").write_text("pickup,fare\n1,2\n")
    (tmp_path / "2026.csv").write_text("pickup_at,fare\n2,3\n")
    with pytest.raises(SourceError, match=r"2026.csv lacks columns \['pickup'\] and has \['pickup_at'\] besides"):
        list(replay(tmp_path / "*.csv", arrival="pickup").open())


def test_a_step_is_not_called_before_any_column_is_known(tmp_path):
    """S19: a live source before its first rows; with rows seen, empty batches have their columns."""
    seen = []
    lab = Lab(mblab.watch(tmp_path / "*.csv", every="10ms", settle=0), interval="40ms", run_empty=True, name="everyday")

    @lab.batch
    def mean(batch):
        seen.append((len(batch), list(batch.columns)))
        return {"mean": batch["v"].mean()}

    lab.run("200ms")
    assert seen == []
    (tmp_path / "a.csv").write_text("v\n1\n")
    lab.run("400ms")

    assert {tuple(columns) for _, columns in seen} == {("v",)}
    assert sum(rows for rows, _ in seen) == 1


def test_a_function_written_in_c_is_exported_or_refused_in_a_sentence(tmp_path):
    """B08: never by a TypeError from inside."""
    lab = Lab(replay(pd.DataFrame({"v": [1]}), rate=1), name="everyday")
    lab.batch(len)
    script = lab.export(tmp_path / "job.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert "1" in done.stdout


@pytest.mark.parametrize(
    "prices", [["9.99", "10.00", "12345.67", "-0.01"], ["0.00", "1.00"], ["1", "123456789012345678901234567890"]]
)
def test_decimals_that_grow_from_batch_to_batch_are_delivered(prices, tmp_path):
    """Arrow's type of the first price has three digits; that a later one has more says nothing about the column."""
    prices = [Decimal(price) for price in prices]
    lab = Lab(replay(pd.DataFrame({"price": prices}), rate=1), interval="1s")
    lab.map(lambda rows: rows, name="same")
    lab.to(mblab.sinks.parquet(tmp_path / "out"))
    lab.run(clock="virtual", cost=0)

    assert pd.read_parquet(tmp_path / "out").price.tolist() == prices
    assert next(replay(tmp_path / "out", rate=1).open()).rows.price.tolist() == prices

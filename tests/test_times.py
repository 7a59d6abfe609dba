"""When rows arrived and when things happened, as data of every kind writes it: read the same way everywhere."""

import datetime as dt
import shutil
import threading
import warnings
import zoneinfo
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import mblab
from mblab import Lab, SettingError, SourceError, replay
from mblab.sources import SourceWarning


def saved(rows, form, folder):
    """The rows as a frame, or in a file of a form."""
    if form == "frame":
        return rows
    path = folder / f"rows.{form}"
    if form == "csv":
        rows.to_csv(path, index=False)
    elif form == "jsonl":
        rows.to_json(path, orient="records", lines=True, date_format="iso")
    else:
        rows.to_parquet(path)
    return path


FORMS = ("frame", "csv", "jsonl", "parquet")


def mended(rows, data, line):
    """The rows once the line of a message was followed to the letter; where they are in a file, it reads them first."""
    names = {"rows": rows, "data": data}
    exec(line, {"pd": pd, "mblab": mblab}, names)
    return names["rows"]


def arrivals_s(source):
    return np.concatenate([block.arrival_ns for block in source.open()]) / 1e9


# -- event times beside the rows ------------------------------------------------------------------------------------

ROWS = pd.DataFrame({"a": range(4), "at": pd.date_range("2026-01-01", periods=4), "v": 1})
MARKS = [("v", "None"), ("v", "2026-01-02 00:00:00")]


def marks(source, interval="2s", **how):
    """The columns that a step sees, and the watermark, batch by batch."""
    lab = Lab(source, interval=interval, name="times")
    lab.batch(lambda batch, state, ctx: {"columns": ",".join(batch), "mark": str(ctx.watermark)}, name="see")
    output = lab.run(**(how or {"clock": "virtual", "cost": 0})).output
    return list(zip(output["columns"], output["mark"], strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_a_watermark_does_not_need_its_column_in_the_rows(form, tmp_path):
    """S08: columns= says what the rows have, and not what is known of them."""
    assert marks(replay(saved(ROWS, form, tmp_path), arrival="a", event_time="at", columns=["v"])) == MARKS


@pytest.mark.parametrize(
    "change",
    [
        lambda source: source.with_late(0.0, "1s"),
        lambda source: source.with_duplicates(0.0).with_gaps("60s", "1s"),
        lambda source: source.with_poison(0.0, "v"),
    ],
    ids=["late", "duplicates and gaps", "poison"],
)
def test_event_times_beside_the_rows_go_through_modifiers(change):
    """S08's siblings: they stay with their rows."""
    assert marks(change(replay(ROWS, arrival="a", event_time="at", columns=["v"]))) == MARKS


def test_event_times_beside_the_rows_stay_with_those_that_come_late_or_twice():
    """As they do where they are in the rows."""
    beside, within = (
        replay(ROWS, arrival="a", event_time="at", columns=columns).with_late(0.5, "3s", seed=3).with_duplicates(0.6)
        for columns in (["v"], ["v", "at"])
    )

    assert [mark for _, mark in marks(beside)] == [mark for _, mark in marks(within)]
    assert len(marks(beside)) > 2


def test_event_times_beside_the_rows_are_recorded_and_replayed(tmp_path):
    """The recording's rows are those of the source."""
    path = mblab.record(replay(ROWS, arrival="a", event_time="at", columns=["v"]), tmp_path / "kept.parquet")

    assert marks(replay(path)) == MARKS
    assert marks(replay(mblab.record(replay(path), tmp_path / "again.parquet"))) == MARKS
    assert marks(replay(path, columns=["at"])) == [("at", "None"), ("at", "2026-01-02 00:00:00")]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_event_times_beside_the_rows_of_watched_files_are_known(form, tmp_path):
    """A live source has them too."""
    path = saved(ROWS, form, tmp_path)
    threading.Timer(0.25, shutil.copy, (path, tmp_path / f"second.{form}")).start()
    source = mblab.watch(tmp_path / f"*.{form}", every="10ms", settle=0, columns=["v"], event_time="at")

    assert marks(source, "100ms", duration="700ms") == [("v", "None"), ("v", "2026-01-04 00:00:00")]


def test_event_times_beside_the_rows_move_on_in_a_loop():
    """By as much as the arrivals, so they do not step back."""
    rows = ROWS.assign(at=pd.date_range("2026-01-01", periods=4, freq="s"))
    source = replay(rows, arrival="a", event_time="at", columns=["v"], loop=True, limit=8)
    times = pd.concat([block.event_times for block in source.open()])

    assert times.tolist() == pd.date_range("2026-01-01", periods=8, freq="s").tolist()
    assert [list(block.rows) for block in source.open()] == [["v"], ["v"]]


def test_an_event_time_that_serves_as_arrival_is_a_watermark_too():
    """Also where it is left out of the rows."""
    assert marks(replay(ROWS, event_time="at", columns=["v"], speedup=86_400)) == MARKS


def test_a_watermark_is_the_newest_time_of_all_blocks_so_far():
    """Not of the first or the last one: the second tells of an earlier day, and the third of a later one."""
    days = [2, 1, 3, 1]

    def make_rows(n, rng, times):
        return {"event_time": [pd.Timestamp(2026, 1, days[int(times[0])])] * n}

    found = marks(mblab.simulate(make_rows, arrivals=mblab.arrivals.constant(4096), duration="4s"), "1s")

    assert [mark[:10] for _, mark in found] == ["None", "2026-01-02", "2026-01-02", "2026-01-03"]


def test_a_batch_is_run_again_with_the_watermark_it_had():
    """lab.rerun and lab.check find event times that stand beside."""
    lab = Lab(replay(ROWS, arrival="a", event_time="at", columns=["v"]), interval="2s", name="times")
    lab.batch(lambda batch, state, ctx: {"mark": str(ctx.watermark)}, name="see")
    lab.run(clock="virtual", cost=0)

    assert lab.rerun(1).output["mark"].tolist() == ["2026-01-02 00:00:00"]
    assert "2026-01-0" in str(lab.spectrum()) or lab.check() is not None


# -- numbers that look like dates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("knob", ["arrival", "event_time"])
def test_whole_numbers_that_look_like_dates_are_told(knob, form, tmp_path):
    """B02: they are taken for seconds, as numbers are; the line in the warning gives the days."""
    rows = pd.DataFrame({"a": [0, 1], "day": [20260131, 20260201]})
    knobs = {"arrival": "day"} if knob == "arrival" else {"arrival": "a", "event_time": "day"}
    with pytest.warns(SourceWarning, match=r"column 'day' looks like dates, such as 20260131, but") as caught:
        arrivals_s(replay(data := saved(rows, form, tmp_path), **knobs))
    rows = mended(rows, data, str(caught[0].message).partition("first, ")[2].rstrip("."))

    assert len(caught) == 1
    assert rows["day"].tolist() == [pd.Timestamp("2026-01-31"), pd.Timestamp("2026-02-01")]
    assert replay(rows, **knobs) is not None


@pytest.mark.parametrize("values", [[20260131.0, 20260201.0], pd.array([20260131, 20260201], dtype="Int64")])
def test_dates_are_seen_in_numbers_of_every_kind(values):
    """Also in float64, which a null makes of whole numbers, and in pandas' own."""
    rows = pd.DataFrame({"a": [0, 1], "day": values})
    with pytest.warns(SourceWarning, match="looks like dates") as caught:
        replay(rows, arrival="a", event_time="day")
    exec(str(caught[0].message).partition("first, ")[2].rstrip("."), {"pd": pd}, {"rows": rows})

    assert rows["day"].tolist() == [pd.Timestamp("2026-01-31"), pd.Timestamp("2026-02-01")]


@pytest.mark.parametrize(("first", "second"), [(202601311200, "12:00:00"), (20260131120005, "12:00:05")])
def test_dates_with_a_time_of_day_are_told_too(first, second):
    """B02's siblings: as seconds they are beyond any clock, as milliseconds they are not, and no unit makes them right."""
    rows = pd.DataFrame({"at": [first, first + 1]})
    with pytest.raises(SourceError, match="it looks like dates, so make times of them first") as caught:
        replay(rows, arrival="at")
    with pytest.warns(SourceWarning, match="numbers are taken for times in us"):
        replay(rows, arrival="at", unit="us")
    exec(str(caught.value).partition("first, ")[2].partition(", and replay")[0], {"pd": pd}, {"rows": rows})

    assert rows["at"].iloc[0] == pd.Timestamp(f"2026-01-31 {second}")


@pytest.mark.parametrize(
    "values",
    [
        [20260131, 20260132],
        [20261301, 20261302],
        [10260131, 10260132],
        [30260101, 30260102],
        [20260131.5, 20260201.5],
        [1767225600, 1767225601],
        [2026, 2027],
        [202601, 202602],
        [0, 20260131],
    ],
)
def test_other_numbers_are_not_taken_for_dates(values):
    """Ids, seconds since 1970, years: one that is no date makes none of them one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replay(pd.DataFrame({"at": values}), arrival="at")


@pytest.mark.parametrize(("scale", "unit"), [(10**3, "ms"), (10**6, "us"), (10**9, "ns")])
def test_numbers_of_another_unit_are_refused_with_that_unit(scale, unit):
    """Numbers are seconds unless unit= says otherwise; the one that is named gives the right times."""
    rows = pd.DataFrame({"at": [1767225600 * scale, 1767225601 * scale]})
    with pytest.raises(SourceError, match=f"such as unit='{unit}'"):
        replay(rows, arrival="at")

    assert arrivals_s(replay(rows, arrival="at", unit=unit)).tolist() == [0, 1]


def test_dates_that_are_polled_are_told():
    """A live source says it when its first rows come."""
    lab = Lab(mblab.poll(lambda: {"day": [20260131]}, every="20ms", event_time="day"), interval="50ms", name="times")
    lab.batch(len, name="n")
    with pytest.warns(SourceWarning, match="column 'day' looks like dates"):
        lab.run("150ms")


# -- the hour that comes twice, and the one that does not come ------------------------------------------------------

BERLIN = "Europe/Berlin"
AUTUMN = ["2026-10-25 01:30", "2026-10-25 02:30", "2026-10-25 02:00", "2026-10-25 03:00"]


@pytest.mark.parametrize("form", FORMS)
def test_the_hour_that_comes_twice_is_told_by_the_order_of_the_rows(form, tmp_path):
    """B08: ambiguous='infer', as in pandas."""
    data = saved(pd.DataFrame({"t": pd.to_datetime(AUTUMN)}), form, tmp_path)
    with pytest.raises(SourceError, match=r"2 time\(s\) that come twice in Europe/Berlin.*rows \[1, 2\]"):
        arrivals_s(replay(data, arrival="t", tz=BERLIN))

    assert (arrivals_s(replay(data, arrival="t", tz=BERLIN, ambiguous="infer")) / 60).tolist() == [0, 60, 90, 150]


@pytest.mark.parametrize(
    ("zone", "day"), [(BERLIN, "2026-10-25"), ("America/New_York", "2026-11-01"), ("America/St_Johns", "2026-11-01")]
)
@pytest.mark.parametrize("freq", ["1h", "30min", "7min", "1s"])
def test_series_of_two_autumns_come_back_as_they_were(freq, zone, day):
    """Hourly, where each time only repeats, and finer, where they step back."""
    year = pd.Timedelta("364D")
    first = pd.date_range(
        pd.Timestamp(day, tz=zone) - pd.Timedelta("1h"), periods=7 * 3600 if freq == "1s" else 200, freq=freq
    )
    true = first.append(first.tz_convert(zone) + year)
    rows = pd.DataFrame({"t": true.tz_localize(None)})
    steps = np.diff(true.as_unit("ns").asi8) / 1e9
    source = replay(rows, arrival="t", tz=zone, ambiguous="infer")

    assert np.allclose(np.diff(arrivals_s(source)), steps)


def test_the_second_pass_may_begin_in_another_piece_of_a_file(tmp_path):
    """Rows are read 100,000 at a time, and the order is that of all of them."""
    true = pd.date_range("2026-10-25 00:00", periods=150_000, freq="100ms", tz="UTC").tz_convert(BERLIN)
    rows = pd.DataFrame({"t": true.tz_localize(None), "v": range(150_000)})
    rows.to_parquet(tmp_path / "rows.parquet")
    source = replay(tmp_path / "rows.parquet", arrival="t", tz=BERLIN, ambiguous="infer")
    position = [block.position for block in source.open()][-1]

    assert np.allclose(arrivals_s(source), np.arange(150_000) / 10)
    assert next(source.open(position)).arrival_ns[0] == position["row"] * 100_000_000


def test_files_of_a_night_follow_each_other(tmp_path):
    """A file that begins in the second pass comes behind the one that begins in the first."""
    true = pd.date_range("2026-10-25 00:00", periods=120, freq="1min", tz="UTC").tz_convert(BERLIN)
    rows = pd.DataFrame({"t": true.tz_localize(None)})
    for i in range(2):
        rows.iloc[60 * i : 60 * i + 60].to_csv(tmp_path / f"part-{i}.csv", index=False)
    source = replay(tmp_path / "part-*.csv", arrival="t", tz=BERLIN, ambiguous="infer")

    assert (arrivals_s(source) / 60).tolist() == list(range(120))


@pytest.mark.parametrize(("first", "minutes"), [(True, [0, 30, 60, 150]), (False, [0, 90, 120, 150])])
@pytest.mark.parametrize("form", FORMS)
def test_all_times_of_such_an_hour_may_be_of_one_pass(form, first, minutes, tmp_path):
    """ambiguous=True takes summer time, False what comes behind it."""
    data = saved(pd.DataFrame({"t": pd.to_datetime(AUTUMN)}), form, tmp_path)
    source = replay(data, arrival="t", tz=BERLIN, ambiguous=first, sort=True)

    assert (arrivals_s(source) / 60).tolist() == minutes
    assert f"ambiguous={first}" in repr(source)


@pytest.mark.parametrize(
    ("times", "how"),
    [
        (["01:30", "02:10", "02:20", "03:00"], "not"),
        (["02:10", "02:10", "02:20", "02:20", "03:00"], "more than once"),
        (["02:30", "02:10", "02:40", "02:20", "03:00"], "more than once"),
    ],
)
def test_an_order_that_does_not_tell_is_refused(times, how):
    """Nothing is guessed: the rows are named, with the way on."""
    rows = pd.DataFrame({"t": pd.to_datetime([f"2026-10-25 {each}" for each in times])})
    with pytest.raises(SourceError, match=f"but the rows do {how} step back or repeat there.*pass ambiguous=True"):
        replay(rows, arrival="t", tz=BERLIN, ambiguous="infer")


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"ambiguous": "infer"}, "name their zone"),
        ({"ambiguous": True}, "name their zone"),
        ({"ambiguous": "infer", "tz": BERLIN, "sort": True}, "sort=True cannot hold"),
        ({"ambiguous": "NaT", "tz": BERLIN}, "ambiguous must be 'raise', 'infer'"),
        ({"ambiguous": None, "tz": BERLIN}, "ambiguous must be 'raise', 'infer'"),
        ({"ambiguous": 1, "tz": BERLIN}, "ambiguous must be 'raise', 'infer'"),
    ],
)
def test_what_cannot_hold_of_such_an_hour_is_refused(knobs, said):
    """Before a row is read."""
    with pytest.raises(SettingError, match=said):
        replay(pd.DataFrame({"t": pd.to_datetime(AUTUMN[:1])}), arrival="t", **knobs)


@pytest.mark.parametrize("form", FORMS)
def test_the_hour_that_does_not_come_is_refused_with_a_way_that_works(form, tmp_path):
    """B08's sibling in spring: the line in the message gives times that can be replayed."""
    rows = pd.DataFrame({"t": pd.to_datetime(["2026-03-29 01:30", "2026-03-29 02:30", "2026-03-29 03:30"])})
    with pytest.raises(SourceError, match=r"1 time\(s\) that do not exist in Europe/Berlin.*rows \[1\]") as caught:
        arrivals_s(replay(data := saved(rows, form, tmp_path), arrival="t", tz=BERLIN))
    rows = mended(rows, data, str(caught.value).partition("on first, ")[2].partition(", and replay")[0])

    assert (arrivals_s(replay(rows, arrival="t")) / 60).tolist() == [0, 30, 60]


def test_a_script_says_the_same_of_the_hour_that_comes_twice(tmp_path):
    """The source's code has the knob."""
    pd.DataFrame({"t": pd.to_datetime(AUTUMN), "v": 1}).to_csv(tmp_path / "rows.csv", index=False)
    source = replay(tmp_path / "rows.csv", arrival="t", tz=BERLIN, ambiguous="infer")
    again = eval(source.code(repr(str(tmp_path / "rows.csv"))), {"mblab": mblab})

    assert again == source
    assert arrivals_s(again).tolist() == arrivals_s(source).tolist()


# -- times of every kind --------------------------------------------------------------------------------------------

DAYS = [dt.date(2026, 1, 1), dt.date(2026, 1, 2), dt.date(2026, 1, 4)]
NAIVE = [dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2), dt.datetime(2026, 1, 4)]
AWARE = [at.replace(tzinfo=dt.UTC) for at in NAIVE]
OFFSETS = [at.astimezone(dt.timezone(dt.timedelta(hours=i))) for i, at in enumerate(AWARE)]
IN_DAYS = [dt.timedelta(days=i) for i in (1, 2, 4)]


def arrow(values, kind):
    """Values held by Arrow as a type."""
    held = pa.array(values)
    held = held.dictionary_encode() if pa.types.is_dictionary(kind) else held.cast(kind)
    return pd.array(held, dtype=pd.ArrowDtype(kind))


def objects(values):
    return pd.Series(values, dtype=object)


KNOWN = {
    "dates": objects(DAYS),
    "dates and naive times": objects([DAYS[0], *NAIVE[1:]]),
    "Arrow's dates": arrow(DAYS, pa.date32()),
    "Arrow's dates in ms": arrow(DAYS, pa.date64()),
    "Arrow's times": arrow(NAIVE, pa.timestamp("s")),
    "Arrow's times in a zone": arrow(AWARE, pa.timestamp("us", "Europe/Berlin")),
    "Arrow's dictionary of times": arrow(NAIVE, pa.dictionary(pa.int32(), pa.timestamp("us"))),
    "Arrow's durations": arrow(IN_DAYS, pa.duration("ms")),
    "categories of times": pd.Categorical(pd.to_datetime(NAIVE)),
    "ordered categories": pd.Categorical(pd.to_datetime(NAIVE), ordered=True),
    "objects of one zone": objects(AWARE),
    "objects without a zone": objects(NAIVE),
    "durations": pd.to_timedelta(IN_DAYS),
    "durations as objects": objects(IN_DAYS),
    "seconds as float16": np.array([0, 1, 3], np.float16),
    "numbers in categories": pd.Categorical([0, 1, 3]),
    "pandas' own numbers": pd.array([0, 1, 3], dtype="UInt16"),
}


@pytest.mark.parametrize("form", ["frame", "parquet"])
@pytest.mark.parametrize("kind", KNOWN)
def test_times_are_times_however_they_are_held(kind, form, tmp_path):
    """S20, S21 and theirs: as arrivals and as event times, with the same gaps between them."""
    rows = pd.DataFrame({"a": [0, 1, 2], "at": KNOWN[kind]})
    try:
        data = saved(rows, form, tmp_path)
    except (pa.ArrowException, NotImplementedError):
        pytest.skip("Parquet has no such type")
    times = arrivals_s(replay(data, arrival="at"))
    seen = marks(replay(data, arrival="a", event_time="at", columns=["a"]))

    assert (times / times[1]).tolist() == [0, 1, 3]
    assert seen[0][1] == "None"
    assert seen[1][1][:10] in ("2026-01-02", "2 days 00:", "1", "1.0")


OTHER = {
    "texts": (["2026-01-01", "2026-01-02", "2026-01-04"], "got '2026-01-01' in row 0"),
    "texts in categories": (pd.Categorical(["2026-01-01", "2026-01-02", "2026-01-04"]), "got '2026-01-01' in row 0"),
    "Arrow's texts": (arrow(["2026-01-01", "2026-01-02", "2026-01-04"], pa.large_string()), "got '2026-01-01' in row 0"),
    "texts with zones": (["2026-01-01T00:00:00Z", "2026-01-02T02:00:00+02:00", "2026-01-04T00:00:00Z"], "in row 0"),
    "texts and times": (objects(["2026-01-01", pd.Timestamp(NAIVE[1]), pd.Timestamp(NAIVE[2])]), "in row 0"),
    "objects of several zones": (objects([AWARE[0], NAIVE[1].replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), AWARE[2]]), "in row 1"),
    "several offsets": (objects(OFFSETS), "in row 1"),
    "some without a zone": (objects([NAIVE[0], *AWARE[1:]]), "in row 1"),
    "dates and times in a zone": (objects([DAYS[0], *AWARE[1:]]), "in row 0"),
    "times of day": (objects([dt.time(1), dt.time(2), dt.time(4)]), "in row 0"),
    "decimals": (objects([Decimal("1.5"), Decimal(2), Decimal(3)]), r"Decimal\('1.5'\) in row 0"),
    "Arrow's decimals": (arrow([Decimal("1.5"), Decimal(2), Decimal(3)], pa.decimal128(9, 2)), "in row 0"),
    "months": (pd.period_range("2026-01", periods=3, freq="M"), "in row 0"),
}  # fmt: skip
NEVER = {
    "yes and no": ([False, True, True], "False_? in row 0"),
    "pandas' yes and no": (pd.array([None, True, True], dtype="boolean"), "True_? in row 1"),
    "Arrow's yes and no": (arrow([True, True, False], pa.bool_()), "True_? in row 0"),
    "complex numbers": ([1j, 2j, 3j], "in row 0"),
    "beyond 64 bits": (objects([1, 2, 2**70]), f"got {2**70} in row 2; they are beyond 64 bits"),
    "lists": ([[1], [2], [3]], r"got \[1\] in row 0"),
    "numbers and times": (objects([pd.Timestamp("2026-01-01"), 2, 3]), "got 2 in row 1"),
    "a yes among numbers": (objects([1, True, 3]), "got True in row 1"),
    "infinite": ([0.0, np.inf, 1.0], "finite times.*got inf in row 1"),
}


@pytest.mark.parametrize("knob", ["arrival", "event_time"])
@pytest.mark.parametrize("kind", OTHER)
def test_what_can_be_made_times_is_refused_with_the_line_that_makes_them(kind, knob):
    """S07, B04 and theirs: followed to the letter, it gives times that can be replayed."""
    values, said = OTHER[kind]
    rows = pd.DataFrame({"a": [0, 1, 2], "at": values})
    knobs = {"arrival": "at"} if knob == "arrival" else {"arrival": "a", "event_time": "at"}
    with pytest.raises(SourceError, match=f"column 'at' must hold times or numbers, (?=.*{said})") as caught:
        replay(rows, **knobs)
    exec("rows[" + str(caught.value).partition("rows[")[2].partition(", and replay")[0], {"pd": pd}, {"rows": rows})

    assert len(arrivals_s(replay(rows, **knobs))) == 3


@pytest.mark.parametrize("knob", ["arrival", "event_time"])
@pytest.mark.parametrize("kind", NEVER)
def test_what_is_no_time_is_refused_with_the_value(kind, knob):
    """By row and value, as an event time as well as an arrival."""
    values, said = NEVER[kind]
    rows = pd.DataFrame({"a": [0, 1, 2], "at": values})
    if kind == "pandas' yes and no" and knob == "arrival":
        said = "1 null"
    with pytest.raises(SourceError, match=said):
        marks(replay(rows, **({"arrival": "at"} if knob == "arrival" else {"arrival": "a", "event_time": "at"})))


@pytest.mark.parametrize("year", [1, 1500, 2300, 9999])
def test_times_beyond_a_clock_are_named_as_arrivals_and_known_as_event_times(year):
    """int64 nanoseconds end in 2262; a watermark has the unit of its column."""
    rows = pd.DataFrame({"a": range(3), "at": pd.to_datetime(NAIVE).astype("datetime64[us]")})
    rows.loc[2, "at"] = pd.Timestamp(dt.datetime(year, 1, 4))
    with pytest.raises(
        SourceError, match=f"years 1678 to 2261, got {year:04}-01-04 00:00:00 in row 2; leave such rows"
    ):
        replay(rows, arrival="at")

    assert marks(replay(rows, arrival="a", event_time="at"), "3s")[0] == ("a,at", "None")
    assert marks(replay(rows[::-1], rate=1, event_time="at"))[1][1] == str(max(rows["at"][1:]))


@pytest.mark.parametrize("nothing", [pd.NaT, None, np.nan])
def test_a_column_of_nothing_but_nulls_is_no_arrival_and_no_watermark(nothing):
    """Nulls are counted as arrivals, and take nothing forward as event times."""
    rows = pd.DataFrame({"a": range(3), "at": [nothing] * 3})
    with pytest.raises(SourceError, match=r"has 3 null\(s\)"):
        replay(rows, arrival="at")

    assert marks(replay(rows, arrival="a", event_time="at")) == [("a,at", "None")] * 2


@pytest.mark.parametrize("values", [["2026-01-01"], [True], [dt.time(1)], [np.inf]], ids=str)
def test_what_is_polled_is_no_other_time(values):
    """A live source's event times are looked at when they come."""
    lab = Lab(mblab.poll(lambda: {"at": values}, every="20ms", event_time="at"), interval="50ms", name="times")
    lab.batch(len, name="n")
    with pytest.raises(SourceError, match="column 'at' must hold"):
        lab.run("150ms")


@pytest.mark.parametrize("kind", ["dates", "Arrow's dictionary of times", "categories of times", "objects of one zone"])
def test_times_are_recorded_and_replayed_however_they_are_held(kind, tmp_path):
    """The watermark of the recording is that of the source."""
    source = replay(pd.DataFrame({"a": [0, 1, 2], "at": KNOWN[kind]}), arrival="a", event_time="at")

    assert marks(replay(mblab.record(source, tmp_path / "kept.parquet"))) == marks(source)

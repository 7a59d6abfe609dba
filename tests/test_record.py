"""Recordings: what arrived, and when, kept in a file that replays without a word about columns."""

import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import mblab
from mblab import Lab, SettingError, SourceError, arrivals
from mblab.testing import rows_at

S = 10**9


def batches(source, duration=None, interval="1s", **options):
    """What a run on the virtual clock cut, and what it gave."""
    run = Lab(source, interval=interval, **options).run(duration, clock="virtual", cost=lambda n: 0.05 + 1e-3 * n)
    return run.batches[["start_s", "end_s", "num_input_rows", "backlog_rows", "latency_max_s"]], run.output


def whole(source):
    found = list(source.open())
    rows = pd.concat([b.rows for b in found], ignore_index=True)
    return rows.assign(arrival_ns=np.concatenate([b.arrival_ns for b in found]))


@pytest.mark.parametrize(
    "source",
    [
        mblab.simulate.sensors(duration="20s"),
        mblab.simulate.orders(duration="30s").with_late(0.2, "5s").with_duplicates(0.1),
        mblab.simulate.clicks(rate=arrivals.bursts(on=2, off=9, rate_on=500), duration="30s"),
        mblab.replay(mblab.datasets.path("earthquakes"), arrival="updated", event_time="event_time", speedup=50_000),
        rows_at([0.5, 0.5, 2.25, 7.0], kind=pd.Categorical(["b", "a", "b", "b"])),
    ],
    ids=["sensors", "disorder", "bursts", "earthquakes", "late start"],
)
def test_recorded_and_replayed_gives_the_same_batches(source, tmp_path):
    """Arrivals are not shifted to 0, the speed-up is in them, and the rows and dtypes are the same."""
    again = mblab.replay(mblab.record(source, tmp_path / "rec.parquet"))

    assert again.event_time == source.event_time
    for options in ({}, {"max_rows_per_batch": 40}, {"policy": "skip"}, {"policy": "queue"}):
        (one, rows), (other, replayed) = batches(source, **options), batches(again, **options)
        pd.testing.assert_frame_equal(one, other)
        pd.testing.assert_frame_equal(rows, replayed)


def test_a_live_run_and_its_recording_agree(tmp_path):
    """What a listener heard at which time is what the replay brings: here with ten calls on a clock of their own."""
    times = iter(range(10))

    def ask():
        return {"n": [next(times)]}

    began = time.monotonic()
    mblab.record(mblab.poll(ask, every="30ms"), tmp_path / "rec.parquet")  # StopIteration ends it
    took = time.monotonic() - began
    rows = whole(mblab.replay(tmp_path / "rec.parquet"))

    assert rows["n"].tolist() == list(range(10))
    assert rows["arrival_ns"][0] == 0
    assert 0.2 < rows["arrival_ns"][9] / S < took
    batch, out = batches(mblab.replay(tmp_path / "rec.parquet"), interval="100ms")
    assert batch["num_input_rows"].sum() == 10
    assert batches(mblab.replay(tmp_path / "rec.parquet"), interval="100ms")[0].equals(batch)


def test_what_came_before_a_failure_is_kept(tmp_path):
    """The error says where, and how much."""
    parts = iter([{"n": [1]}, {"n": [2]}])
    with pytest.raises(
        SourceError, match=r"failed with ZeroDivisionError.* What came before, 2 row\(s\), is recorded in"
    ):
        mblab.record(mblab.poll(lambda: next(parts, None) or 1 / 0, every="1ms"), tmp_path / "rec.parquet")

    assert whole(mblab.replay(tmp_path / "rec.parquet"))["n"].tolist() == [1, 2]


def test_a_recording_plays_at_any_speed(tmp_path):
    """Also evenly, by another column, some columns only, over and over."""
    path = mblab.record(rows_at([0.5, 1.0, 3.0], v=[1, 2, 3], w=[4.0, 5.0, 6.5]), tmp_path / "rec.parquet")

    assert whole(mblab.replay(path))["arrival_ns"].tolist() == [S // 2, S, 3 * S]
    assert Lab(mblab.replay(path, speedup=2)).run(clock="virtual", cost=0).records.arrival_s.tolist() == [
        0.25,
        0.5,
        1.5,
    ]
    assert whole(mblab.replay(path, rate=1)).to_dict("list") == {
        "v": [1, 2, 3], "w": [4, 5, 6.5], "arrival_ns": [0, S, 2 * S],
    }  # fmt: skip
    assert whole(mblab.replay(path, arrival="w"))["arrival_ns"].tolist() == [0, S, 2.5 * S]
    assert list(whole(mblab.replay(path, columns=["w"])).columns) == ["w", "arrival_ns"]
    assert whole(mblab.replay(path, loop=True, limit=5))["arrival_ns"].tolist() == [
        S // 2,
        S,
        3 * S,
        4.25 * S,
        4.75 * S,
    ]
    assert mblab.replay(path).code("x") == "mblab.replay(x)"
    assert "as recorded" in mblab.replay(path).describe()


def test_a_watched_folder_is_recorded_for_a_while(tmp_path):
    """Files of other dtypes included, if one file can hold them."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("n,m\n1,\n2,\n")
    (folder / "b.csv").write_text("m,n\nx,2.5\n")
    path = mblab.record(mblab.watch(folder / "*.csv", every="10ms", settle=0), tmp_path / "rec.parquet", "300ms")
    rows = whole(mblab.replay(path))

    assert rows["n"].tolist() == [1, 2, 2.5]
    assert rows["m"].fillna("-").tolist() == ["-", "-", "x"]
    assert rows["arrival_ns"].tolist() == [0, 0, 0]


def test_a_recording_ends_at_its_duration(tmp_path):
    """Half-open, on the run's clock; an endless source needs one."""
    source = mblab.simulate.sensors(rate=arrivals.constant(10), duration=None)
    path = mblab.record(source, tmp_path / "rec.parquet", "3s")

    assert len(whole(mblab.replay(path))) == 30
    with pytest.raises(SettingError, match="sensors never ends by itself, so record"):
        mblab.record(source, tmp_path / "other.parquet")


def test_a_recording_replaces_only_a_recording(tmp_path):
    """Whole, in one move; nothing is left behind."""
    path = mblab.record(rows_at([0.0, 1.0]), tmp_path / "rec.parquet")
    mblab.record(rows_at([0.0, 1.0, 2.0]), path)
    pd.DataFrame({"mine": [1]}).to_parquet(tmp_path / "mine.parquet")

    assert len(whole(mblab.replay(path))) == 3
    with pytest.raises(SettingError, match="exists and is no recording; choose another"):
        mblab.record(rows_at([0.0]), tmp_path / "mine.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.parquet", "rec.parquet"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([{"n": [1, "x"]}], "cannot be recorded: "),
        ([{"__arrival_ns": [1]}], "column '__arrival_ns' is what a recording notes arrivals in"),
        ([{"n": [1]}, {"n": ["x"]}], "change their columns or dtypes on the way"),
        ([], "nothing arrived from"),
    ],
)
def test_what_no_file_can_hold_is_said_and_leaves_none(parts, said, tmp_path):
    """And the earlier recording stays."""
    left = iter(parts)

    def ask():
        return next(left)

    with pytest.raises(SourceError, match=said):
        mblab.record(mblab.poll(ask, every="1ms"), tmp_path / "rec.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("late", "error"),
    [(lambda n: sys.exit(3), SystemExit), (lambda n: {"n": ["x"] * n}, SourceError)],
    ids=["the program ends", "another type"],
)
def test_a_long_recording_that_is_broken_off_leaves_nothing_behind(late, error, tmp_path):
    """What was written until then is no recording, and lies under a name that nobody would look for."""

    def make_rows(n, rng, times):
        return {"n": np.arange(n)} if times[0] < 1 else late(n)

    source = mblab.simulate(make_rows, arrivals=arrivals.constant(100_000), duration="3s", seed=1)
    with pytest.raises(error):
        mblab.record(source, tmp_path / "rec.parquet")

    assert list(tmp_path.iterdir()) == []


def test_a_long_recording_is_written_in_row_groups(tmp_path):
    """Memory stays flat; a late fraction does not fit whole numbers that are written already."""
    path = mblab.record(mblab.simulate.sensors(rate=100_000, duration="3s"), tmp_path / "rec.parquet")

    assert pq.ParquetFile(path).num_row_groups > 1
    assert len(whole(mblab.replay(path))) == pq.ParquetFile(path).metadata.num_rows


def test_ctrl_c_completes_a_recording(tmp_path):
    """What was heard until then is in the file."""
    script = textwrap.dedent(
        """
        import itertools, sys
        import mblab
        n = itertools.count()
        def ask():
            if next(n) == 9:
                print("on", flush=True)
            return {"n": [0]}
        mblab.record(mblab.poll(ask, every="10ms"), sys.argv[1])
        """
    )
    path = tmp_path / "rec.parquet"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, problems = process.communicate(timeout=30)

    assert b"KeyboardInterrupt" in problems
    assert len(whole(mblab.replay(path))) > 5
    assert [p.name for p in tmp_path.iterdir()] == ["rec.parquet"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *[((x, "r.parquet"), "source must be a source of rows") for x in (None, 3, pd.DataFrame({"a": [1]}), "x.csv")],
        *[((rows_at([0.0]), x), "path must be a string or a Path") for x in (None, 3)],
        ((rows_at([0.0]), "rec.csv"), "path must end in .parquet, got 'rec.csv'"),
        ((rows_at([0.0]), "nowhere/rec.parquet"), "lies in a folder that does not exist; create it first"),
        *[((rows_at([0.0]), "r.parquet", x), "duration") for x in (0, -1, "5", True, float("nan"))],
    ],
)
def test_an_argument_out_of_its_range_is_refused_by_name(arguments, said, tmp_path, monkeypatch):
    """Wrong type, zero, negative, NaN, without unit, not there."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError) as caught:
        mblab.record(*arguments)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)

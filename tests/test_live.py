"""Live sources: every complete row once, never half a file, nothing lost when something fails, and never a run that waits."""

import json
import os
import random
import threading
import time

import numpy as np
import pandas as pd
import pytest

import mblab
from mblab import Lab, SettingError, SourceChanged, SourceError
from mblab.sources import Source
from mblab.sources.live.base import Collector
from mblab.testing import ManualClock


def put(frame, path, ending=None):
    """Write a file under another name and rename it into place, as a good writer does."""
    temporary = path.with_name(f".{path.name}.tmp")
    write(frame, temporary, path.suffix)
    temporary.replace(path)


def write(frame, path, ending=None):
    ending = ending or path.suffix
    if ending == ".parquet":
        frame.to_parquet(path)
    elif ending == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)


def numbers(*n):
    return pd.DataFrame({"n": list(n)})


def until(condition, seconds=60.0):
    """Wait for something that happens in another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def lab_on():
    """Begin a run in the background; it is stopped at the end of the test."""
    labs = []

    def begin(source, interval="20ms", **options):
        lab = Lab(source, interval=interval, name=f"live-{len(labs)}", ui=True)
        labs.append(lab)
        return lab, lab.start(**options)

    yield begin
    for lab in labs:
        lab.stop()


def got(run):
    return run.output["n"].tolist() if len(run.output) else []


def watch(folder, names="*.parquet", **options):
    return mblab.watch(folder / names, **{"every": "10ms", "settle": "50ms", **options})


# Watching a folder


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".ndjson"])
def test_files_are_read_as_they_appear(ending, tmp_path, lab_on):
    """Those that are there already arrive at 0, oldest first; each later one when the lab could first see it."""
    put(numbers(2), tmp_path / f"a{ending}")
    os.utime(tmp_path / f"a{ending}", (1, 2))
    put(numbers(1), tmp_path / f"b{ending}")
    os.utime(tmp_path / f"b{ending}", (1, 1))
    _, run = lab_on(watch(tmp_path, f"*{ending}"))
    until(lambda: len(got(run)) == 2)
    before = run.batches.end_s.iloc[-1]
    put(numbers(3, 4), tmp_path / f"c{ending}")
    until(lambda: len(got(run)) == 4)

    assert got(run) == [1, 2, 3, 4]
    assert run.records.arrival_s.tolist()[:2] == [0, 0]
    assert before - 0.05 < run.records.arrival_s.iloc[2] == run.records.arrival_s.iloc[3]


def test_a_parquet_file_is_read_when_its_footer_is_there(tmp_path, lab_on):
    """Half of it is not, however long it lies; nor is an empty file, or a writer's own temporary one."""
    put(numbers(*range(1000)), tmp_path / "whole.x")
    whole = (tmp_path / "whole.x").read_bytes() if (tmp_path / "whole.x").exists() else b""
    write(numbers(*range(1000)), tmp_path / "made", ".parquet")
    whole = (tmp_path / "made").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.parquet").write_bytes(b"")
    (tmp_path / ".c.parquet").write_bytes(whole)
    (tmp_path / "_d.parquet").write_bytes(whole)
    (tmp_path / "e.parquet").write_bytes(whole[:-4] + b"PAR2")
    _, run = lab_on(watch(tmp_path))
    time.sleep(0.2)

    assert run.output.empty
    with (tmp_path / "a.parquet").open("ab") as file:
        file.write(whole[len(whole) // 2 :])
    until(lambda: len(got(run)) == 1000)


@pytest.mark.parametrize(
    ("ending", "half", "rest"),
    [
        (".csv", "n\n1\n2", "3\n"),
        (".jsonl", '{"n": 1}\n{"n": 2', "3}\n"),
        (".jsonl", '{"n": 1}\n{"n"', ": 23}"),
    ],
)
def test_half_a_line_waits_for_the_other_half(ending, half, rest, tmp_path, lab_on):
    """A text file that a crashed writer left is not read; the last newline of JSON may be missing."""
    path = tmp_path / f"a{ending}"
    path.write_text(half)
    _, run = lab_on(watch(tmp_path, f"*{ending}"))
    time.sleep(0.25)

    assert run.output.empty
    with path.open("a") as file:
        file.write(rest)
    until(lambda: got(run) == [1, 23])


def test_a_text_file_that_is_still_written_to_waits(tmp_path, lab_on):
    """As long as it grows within `settle`, whole lines or not."""
    path = tmp_path / "a.csv"
    _, run = lab_on(watch(tmp_path, "*.csv", settle="300ms"))
    with path.open("w") as file:
        file.write("n\n")
        for i in range(10):
            file.write(f"{i}\n")
            file.flush()
            time.sleep(0.03)
            assert run.output.empty
    until(lambda: got(run) == list(range(10)))


def test_what_happens_to_a_file_after_it_was_read_is_known(tmp_path, lab_on):
    """Removed, renamed, linked, touched, written again with the same content: no row twice, no complaint."""
    for name in "abcde":
        put(numbers(ord(name)), tmp_path / f"{name}.parquet")
    lab, run = lab_on(watch(tmp_path))
    until(lambda: len(got(run)) == 5)
    time.sleep(0.05)
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "b.parquet").rename(tmp_path / "z.parquet")
    os.link(tmp_path / "c.parquet", tmp_path / "y.parquet")
    (tmp_path / "d.parquet").touch()
    put(numbers(ord("e")), tmp_path / "e.parquet")
    time.sleep(0.2)
    put(numbers(7), tmp_path / "new.parquet")
    until(lambda: len(got(run)) == 6)

    assert sorted(got(run)) == [7, *map(ord, "abcde")]
    assert lab.last_run.status == "running"


def test_a_file_with_the_name_of_a_removed_one_is_new(tmp_path, lab_on):
    """Rotation by removal: the second life of a name is read."""
    put(numbers(1), tmp_path / "a.parquet")
    _, run = lab_on(watch(tmp_path))
    until(lambda: got(run) == [1])
    (tmp_path / "a.parquet").unlink()
    time.sleep(0.1)
    put(numbers(2), tmp_path / "a.parquet")
    until(lambda: got(run) == [1, 2])


def test_a_file_that_is_rewritten_after_it_was_read_halts_the_run(tmp_path, lab_on):
    """With a sentence; resumed, the run goes on with the other files."""
    put(numbers(1), tmp_path / "a.parquet")
    lab, run = lab_on(watch(tmp_path))
    until(lambda: got(run) == [1])
    time.sleep(0.05)
    put(numbers(2, 3), tmp_path / "a.parquet")
    until(lambda: run.status == "halted")
    put(numbers(4), tmp_path / "b.parquet")

    with pytest.raises(
        SourceChanged, match=r"a.parquet was rewritten after its rows were read .* lab.resume\(\) goes on"
    ):
        raise lab.last_run.error
    lab.resume()
    until(lambda: got(run) == [1, 4])
    assert run.status == "running"


@pytest.mark.parametrize(
    ("bad", "said"),
    [("n\n1\n2,3\n", "a.csv, line 3, must have 1 values like the header"), ("m\n1\n", "a.csv lacks columns")],
)
def test_a_file_that_cannot_be_read_halts_the_run_until_it_is_mended(bad, said, tmp_path, lab_on):
    """None of its rows was given out, and none is lost or doubled."""
    put(numbers(0), tmp_path / "0.csv")
    lab, run = lab_on(watch(tmp_path, "*.csv"))
    until(lambda: got(run) == [0])
    (tmp_path / ".a").write_text(bad)
    (tmp_path / ".a").rename(tmp_path / "a.csv")
    until(lambda: run.status == "halted")

    assert said in str(lab.last_run.error)
    lab.resume()
    until(lambda: run.status == "halted")
    put(numbers(1, 2), tmp_path / "a.csv")
    lab.resume()
    until(lambda: got(run) == [0, 1, 2])


def test_a_bad_file_can_also_be_removed(tmp_path, lab_on):
    """Then it never was."""
    (tmp_path / "a.csv").write_text("n\n1\n2,3\n")
    os.utime(tmp_path / "a.csv", (1, 1))
    put(numbers(5), tmp_path / "b.csv")
    with pytest.raises(SourceError, match="a.csv, line 3"):
        lab_on(watch(tmp_path, "*.csv"))  # what is there at the start fails at once
    (tmp_path / "a.csv").rename(tmp_path / ".a")
    lab, run = lab_on(watch(tmp_path, "*.csv"))
    until(lambda: got(run) == [5])
    (tmp_path / ".a").rename(tmp_path / "a.csv")
    until(lambda: run.status == "halted")
    (tmp_path / "a.csv").unlink()
    lab.resume()
    put(numbers(6), tmp_path / "c.csv")
    until(lambda: got(run) == [5, 6])


def test_a_large_file_comes_in_pieces_of_one_arrival(tmp_path, monkeypatch):
    """Decoded bit by bit; each position gives its piece again, also in another process."""
    monkeypatch.setattr("mblab.tables.base.DECODE_ROWS", 4)
    monkeypatch.setattr("mblab.tables.parquet.DECODE_ROWS", 4)
    for i in range(3):
        put(numbers(*range(10 * i, 10 * i + 10)), tmp_path / f"{i}.parquet")
        os.utime(tmp_path / f"{i}.parquet", (i, i))
    source = watch(tmp_path)
    collector = source.collect(lambda: 7)
    blocks = []
    until(lambda: (block := collector.next()) is None or blocks.append(block))
    collector.close()

    assert [len(b.rows) for b in blocks] == [4, 4, 2] * 3
    assert {int(a) for b in blocks for a in b.arrival_ns} == {7}
    for i, block in enumerate(blocks):
        again = list(source.open(json.loads(json.dumps(block.position))))
        assert [a.rows["n"].tolist() for a in again] == [b.rows["n"].tolist() for b in blocks[i:]]


def test_a_position_in_a_file_that_changed_is_refused(tmp_path):
    """It cannot be read on."""
    put(numbers(1, 2), tmp_path / "a.parquet")
    source = watch(tmp_path)
    position = next(source.open()).position
    put(numbers(3, 4, 5), tmp_path / "a.parquet")
    with pytest.raises(SourceChanged, match="a.parquet was rewritten since its first 0"):
        list(source.open(position))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(SourceChanged, match="a.parquet is gone since"):
        list(source.open(position))


def test_a_file_that_changes_while_it_is_read_gives_no_row_of_a_mixture(tmp_path, monkeypatch, lab_on):
    """What was given out stays; the rest is left out, with a sentence."""
    monkeypatch.setattr("mblab.tables.base.DECODE_ROWS", 4)
    (tmp_path / "a.csv").write_text("n\n" + "".join(f"{i}\n" for i in range(10)))
    os.utime(tmp_path / "a.csv", (1, 1))
    collector = watch(tmp_path, "*.csv").collect(lambda: 0)
    first = collector.next()
    (tmp_path / "a.csv").write_text("n\n" + "".join(f"{i}\n" for i in range(50, 70)))
    with pytest.raises(SourceChanged, match="was rewritten while it was read, after 4 of its rows; the rest"):
        collector.next()
    put(numbers(99), tmp_path / "b.csv")
    found = []
    until(lambda: (block := collector.next()) is not None and (found.append(block) or True))
    collector.close()

    assert first.rows["n"].tolist() == [0, 1, 2, 3]
    assert found[0].rows["n"].tolist() == [99]


def test_files_that_are_there_can_be_left_alone(tmp_path, lab_on):
    """existing=False: only what comes later."""
    put(numbers(1), tmp_path / "a.parquet")
    _, run = lab_on(watch(tmp_path, existing=False))
    put(numbers(2), tmp_path / "b.parquet")
    until(lambda: got(run) == [2])
    assert got(run) == [2]


def test_folders_below_can_be_watched(tmp_path, lab_on):
    """`**` looks into folders that appear later, too."""
    _, run = lab_on(mblab.watch(f"{tmp_path}/**/*.parquet", every="10ms"))
    (tmp_path / "new" / "deep").mkdir(parents=True)
    put(numbers(1), tmp_path / "new" / "deep" / "a.parquet")
    until(lambda: got(run) == [1])


def test_columns_and_event_time_of_a_watch(tmp_path, lab_on):
    """Chosen columns only; a column that is not there is named, and the watermark follows the event time."""
    put(pd.DataFrame({"n": [1], "at": pd.to_datetime(["2026-01-01"]), "x": [0]}), tmp_path / "a.parquet")
    lab = Lab(watch(tmp_path, columns=["at", "n"], event_time="at"), interval="20ms", name="watermark", ui=True)
    seen = []

    @lab.batch
    def step(batch, state, ctx):
        seen.append((list(batch.columns), ctx.watermark))

    lab.start()
    until(lambda: seen)
    put(pd.DataFrame({"n": [1], "at": pd.to_datetime(["2026-01-02"]), "x": [0]}), tmp_path / "b.parquet")
    until(lambda: len(seen) == 2)
    lab.stop()
    assert seen == [(["at", "n"], None), (["at", "n"], pd.Timestamp("2026-01-01"))]
    with pytest.raises(SourceError, match="columns='m' is no column"):
        next(watch(tmp_path, columns=["m"]).open())


def test_a_folder_that_goes_away_halts_the_run(tmp_path, lab_on):
    """Made again, the run goes on."""
    folder = tmp_path / "in"
    folder.mkdir()
    lab, run = lab_on(watch(folder))
    folder.rmdir()
    until(lambda: run.status == "halted")
    assert "in cannot be looked into: No such file or directory" in str(lab.last_run.error)
    folder.mkdir()
    put(numbers(1), folder / "a.parquet")
    lab.resume()
    until(lambda: got(run) == [1])


def campaign(folder, lab_on, files, seed):
    """Writers that rename, write in place, crash half-way, try again, replace; returns numbers written and read."""
    rng = random.Random(seed)
    _, run = lab_on(watch(folder, "*", settle="20ms"), interval="50ms")
    wanted = []

    def writer(worker):
        mine = random.Random(seed * 100 + worker)
        for i in range(worker, files, 4):
            n = [10 * i + j for j in range(mine.randint(1, 10))]
            ending = mine.choice([".parquet", ".parquet", ".csv", ".jsonl"])
            path = folder / f"{mine.randint(0, 9)}-{i}{ending}"
            fate = mine.random()
            if fate < 0.1:  # crashes in the middle of a line, or before the footer, and leaves half a file
                write(numbers(*n), folder / f".{i}", ending)
                whole = (folder / f".{i}").read_bytes()
                last = str(n[-1]).encode() if ending != ".parquet" else b"PAR1"
                path.write_bytes(whole[: whole.rindex(last) + 1])
                (folder / f".{i}").unlink()
                if mine.random() < 0.5:  # starts again and replaces what it left
                    time.sleep(mine.random() * 0.02)
                    put(numbers(*n), path)
                    wanted.extend(n)
                continue
            if fate < 0.2:  # in place, in one go, which a look may see half of
                write(numbers(*n), path)
            else:
                put(numbers(*n), path)
            wanted.extend(n)
            if fate > 0.95:  # the same again: nothing new
                put(numbers(*n), path)

    threads = [threading.Thread(target=writer, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rng.random()
    until(lambda: len(got(run)) >= len(wanted), 120)
    time.sleep(0.3)
    return sorted(wanted), sorted(got(run)), run


def test_every_complete_row_arrives_once_whatever_writers_do(tmp_path, lab_on):
    """300 files from four writers, of which some crash half-way and some try again."""
    wanted, found, run = campaign(tmp_path, lab_on, 300, 1)

    assert found == wanted
    assert run.status == "running"


@pytest.mark.slow
def test_ten_thousand_files_arrive_once(tmp_path, lab_on):
    """The same with 10,000 files, and the run keeps its pace."""
    began = time.process_time()
    wanted, found, run = campaign(tmp_path, lab_on, 10_000, 2)
    print(
        f"\n{len(wanted):,} rows of 10,000 files, {time.process_time() - began:.1f} s of CPU, {run.summary().to_dict()}"
    )

    assert found == wanted
    assert run.status == "running"


# Asking a function


class Shop:
    """A table with growing ids, asked for what is above one; it can be made to fail."""

    def __init__(self):
        self.rows, self.calls, self.broken, self.lock = 0, [], False, threading.Lock()

    def new(self, position):
        with self.lock:
            self.calls.append(position)
            if self.broken:
                raise ConnectionError("no route to host")
            low, high = position or 0, self.rows
        return pd.DataFrame({"n": np.arange(low, high)}), high


def test_a_function_is_told_from_where_to_go_on(lab_on):
    """None at first, then what it returned last; every row once."""
    shop = Shop()
    shop.rows = 3
    _, run = lab_on(mblab.poll(shop.new, every="5ms"))
    for _ in range(20):
        shop.rows += 7
        time.sleep(0.01)
    until(lambda: len(got(run)) == 143)

    assert got(run) == list(range(143))
    assert shop.calls[0] is None
    assert run.records.arrival_s.tolist()[:3] == [0, 0, 0]


def test_a_failing_function_halts_the_run_and_nothing_is_lost(lab_on):
    """Rows that came before are processed first; resumed, it is asked with the same position."""
    shop = Shop()
    lab, run = lab_on(mblab.poll(shop.new, every="5ms"))
    for _ in range(3):
        shop.rows += 10
        until(lambda: len(got(run)) == shop.rows)
        with shop.lock:
            shop.rows += 5
            shop.broken = True
        until(lambda: run.status == "halted")
        calls = len(shop.calls)
        time.sleep(0.05)
        assert len(shop.calls) == calls  # a run that stands still does not ask
        assert "new() failed with ConnectionError: no route to host" in str(lab.last_run.error)
        shop.broken = False
        lab.resume()
        until(lambda: len(got(run)) == shop.rows)

    assert got(run) == list(range(45))


def test_a_blocking_run_raises_what_the_function_did(tmp_path):
    """A SourceError with its cause; the partial run is there."""
    calls = iter([{"n": [1]}, {"n": [2]}])

    def ask():
        return next(calls, None) or 1 / 0

    lab = Lab(mblab.poll(ask, every="20ms"), interval="50ms")
    with pytest.raises(SourceError, match=r"ask\(\) failed with ZeroDivisionError") as caught:
        lab.run("5s")

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert got(lab.last_run) == [1, 2]
    assert lab.last_run.summary().rows == 2
    lab.stop()


def test_a_function_can_end_its_stream():
    """StopIteration: the run ends when the last row is processed."""
    parts = iter([{"n": [1, 2]}, None, [{"n": 3}], {"n": 4}])
    lab = Lab(mblab.poll(lambda: next(parts), every="2ms"), interval="20ms", ui=True)
    run = lab.start()

    assert run.wait(60)
    assert run.status == "finished"
    assert got(run) == [1, 2, 3, 4]


def test_a_slow_function_never_holds_up_the_run(lab_on):
    """Pause, step and stop act while it takes its time, and the batches keep their grid."""
    entered, leave = threading.Event(), threading.Event()
    calls = iter([{"n": [1]}])

    def ask():
        if (first := next(calls, None)) is not None:
            return first
        entered.set()
        leave.wait()
        return {"n": [2]}

    lab, run = lab_on(mblab.poll(ask, every="1ms"))
    assert entered.wait(60)
    until(lambda: len(run.batches) > 10)
    lab.pause()
    until(lambda: run.status == "paused")
    assert len(lab.step(2)) == 2
    lab.resume()
    lab.stop()  # while the function is still at it
    leave.set()

    assert run.status == "stopped"
    assert got(run) == [1]


def test_calls_begin_every_so_often_however_long_they_take():
    """A call of 60 ms every 100 ms leaves 40 ms; of one of 60 ms every 20 ms the next begins when it has ended."""
    for every, least in (("100ms", 0.095), ("20ms", 0.055)):
        begun = []

        def ask():
            begun.append(time.monotonic())
            time.sleep(0.06)

        collector = mblab.poll(ask, every=every).collect(lambda: 0)
        until(lambda: len(begun) == 6)
        collector.close()
        assert np.diff(begun).min() > least


def test_while_a_run_is_paused_rows_go_on_arriving_at_the_time_of_the_pause(lab_on):
    """The run's clock stands still, so they have waited for nothing when it goes on."""
    shop = Shop()
    lab, run = lab_on(mblab.poll(shop.new, every="2ms"))
    until(lambda: len(run.batches) > 2)
    lab.pause()
    until(lambda: run.status == "paused")
    shop.rows = 50
    until(lambda: shop.calls[-1] == 50)
    time.sleep(0.3)
    resumed = time.monotonic()
    lab.resume()
    until(lambda: len(got(run)) == 50)

    assert run.records.latency_s.max() <= time.monotonic() - resumed


def test_a_row_is_cut_by_its_arrival_however_late_the_batch_is_made():
    """Half-open on the run's clock: what the lab sees at the start of a batch belongs to the next one."""
    shop, clock = Shop(), ManualClock()
    lab = Lab(mblab.poll(shop.new, every="1ms"), interval="1s", ui=True)
    run = lab.start("3s", clock=clock, cost=0)
    for _ in range(3):
        clock.settle()
        calls = len(shop.calls)
        shop.rows += 1
        until(lambda: len(shop.calls) > calls + 2)
        clock.advance("1s")
    run.wait(60)

    assert run.batches.num_input_rows.tolist() == [1, 1, 1]
    assert run.records.arrival_s.tolist() == [0, 1, 2]
    assert run.records.latency_s.tolist() == [1, 1, 1]


def test_nobody_is_asked_while_a_million_rows_wait(monkeypatch):
    """Memory stays bounded while a run is paused; then it goes on where it was."""
    monkeypatch.setattr("mblab.sources.live.base.ROWS_AHEAD", 1000)
    asked = []

    def ask(position):
        asked.append(position)
        return {"n": list(range(400))}, (position or 0) + 1

    collector = mblab.poll(ask, every="1ms").collect(lambda: 0)
    until(lambda: len(asked) == 3)
    time.sleep(0.1)
    assert len(asked) == 3
    while collector.next() is not None:
        pass
    until(lambda: len(asked) > 3)
    collector.close()


def test_a_folder_full_of_files_is_not_decoded_at_once(tmp_path, monkeypatch):
    """Only so many rows are in memory; the others follow batch by batch, with the arrival they had."""
    monkeypatch.setattr("mblab.engine.feed.ROWS_AHEAD", 100)
    for i in range(10):
        put(numbers(*range(60 * i, 60 * i + 60)), tmp_path / f"{i}.parquet")
        os.utime(tmp_path / f"{i}.parquet", (i, i))
    run = Lab(watch(tmp_path), interval="20ms", ui=True).run("300ms")

    assert got(run) == list(range(600))
    assert run.batches.num_input_rows.tolist()[:5] == [120] * 5
    assert set(run.records.arrival_s) == {0}


def test_a_run_that_is_behind_notices_stop_and_pause(tmp_path, monkeypatch):
    """Files are decoded for so long before a batch, not until all of them are: here one file a batch."""
    monkeypatch.setattr("mblab.engine.feed.DECODE_S", 0.0)
    for i in range(5):
        put(numbers(i), tmp_path / f"{i}.parquet")
        os.utime(tmp_path / f"{i}.parquet", (i, i))
    run = Lab(watch(tmp_path), interval="20ms", ui=True).run("300ms")

    assert got(run) == list(range(5))
    assert run.batches.num_input_rows.max() <= 2


def test_a_closed_collector_asks_no_more():
    """Its thread ends, also one that waits for somebody to mend the function."""
    calls = []

    def ask():
        calls.append(1)
        return 1 / 0

    before = threading.active_count()
    collector = mblab.poll(ask, every="1ms").collect(lambda: 0)
    collector.close()
    until(lambda: threading.active_count() <= before)

    assert isinstance(collector, Collector)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (
            lambda: 5,
            "must return rows: a DataFrame, an Arrow table, a list of dicts, a dict of columns, or None, got 5",
        ),
        (lambda: {"a": [1], "b": [1, 2]}, "but the dict's columns make no frame"),
        (lambda: ({"a": [1]}, 3), "returned a pair, but takes no position; define it as <lambda>(position)"),
        (lambda position: {"a": [1]}, "(position) must return (rows, position), or None when there is nothing new"),
        (lambda position: ({"a": [1]}, object()), "must return a position of plain values"),
        (lambda position: ({"a": [1]}, float("nan")), "must return a position of plain values"),
    ],
)
def test_what_a_function_may_return(fn, said):
    """One sentence for anything else."""
    with pytest.raises(SourceError) as caught:
        list(mblab.poll(fn).open())

    assert said in str(caught.value)


def test_a_function_must_return_the_same_columns(lab_on):
    """In any order; otherwise the position stays where it was."""
    parts = iter([{"n": [1], "m": [2]}, {"m": [4], "n": [3]}, {"n": [5]}])
    lab, run = lab_on(mblab.poll(lambda: next(parts), every="5ms"))
    until(lambda: run.status == "halted")

    assert run.output[["n", "m"]].to_numpy().tolist() == [[1, 2], [3, 4]]
    assert "must return the same columns each time, ['n', 'm'] before, got ['n']; fill in" in str(lab.last_run.error)


def test_a_polled_block_can_be_had_again():
    """From the position before it, if the function keeps its word."""
    shop = Shop()
    shop.rows = 5
    source = mblab.poll(shop.new)
    block = next(source.open(json.loads(json.dumps(next(source.open()).position))))

    assert block.rows["n"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_ten_thousand_rows_in_single_calls_arrive_once(lab_on):
    """While the function fails every 500 calls, and the run is resumed each time."""
    state = {"calls": 0, "asked": 0}

    def ask(position):
        state["calls"] += 1
        if state["calls"] % 500 == 0:
            raise TimeoutError("slow")
        state["asked"] = position or 0
        return ({"n": [state["asked"]]}, state["asked"] + 1) if state["asked"] < 10_000 else None

    lab, run = lab_on(mblab.poll(ask, every="1ms"), interval="10ms")
    end = time.monotonic() + 400
    while state["asked"] < 10_000 and time.monotonic() < end:
        if run.status == "halted":
            lab.resume()
        time.sleep(0.05)
    until(lambda: len(got(run)) >= 10_000)
    print(f"\n{state['calls']:,} calls, {run.summary().to_dict()}")

    assert got(run) == list(range(10_000))


# What a live source is not


def test_a_live_source_needs_the_real_clock_and_its_own_speed(tmp_path):
    """Each refusal names the way on: record it, then replay."""
    source = watch(tmp_path)
    lab = Lab(source, interval="20ms")
    record = r"record it with mblab.record\(source, path, duration\), then replay"
    with pytest.raises(SettingError, match=record):
        lab.run("1s", clock="virtual")
    with pytest.raises(SettingError, match=record):
        mblab.predict(source, ["1s"], cost=0.1)
    with pytest.raises(SettingError, match=r"speedup cannot be set for \*.parquet, which is live"):
        lab.speedup = 5
    with pytest.raises(SettingError, match="speedup cannot be set"):
        lab.run("1s", controls={"20ms": {"speedup": 3}})
    with pytest.raises(SettingError, match="never ends by itself, so run"):
        lab.run()
    assert lab.run("50ms").summary().rows == 0
    assert isinstance(source, Source)


def test_a_batch_can_be_tried_on_what_is_there(tmp_path):
    """Without waiting for more, and no thread stays."""
    put(numbers(1, 2, 3), tmp_path / "a.parquet")
    before = threading.active_count()
    lab = Lab(watch(tmp_path), interval="20ms")

    assert lab.try_batch(2)["n"].tolist() == [1, 2]
    until(lambda: threading.active_count() <= before)


def test_an_idle_live_run_sleeps(tmp_path, monkeypatch):
    """No loop is busy: in two seconds of waiting threads wake for the looks and the batches, and hardly else."""
    waits, wait = [], threading.Condition.wait
    monkeypatch.setattr(threading.Condition, "wait", lambda self, s=None: waits.append(s) or wait(self, s))
    Lab(watch(tmp_path, every="100ms"), interval="500ms").run("2s")

    assert 0 < len(waits) < 100


@pytest.mark.parametrize(
    ("make", "said"),
    [
        *[(lambda p, x=x: mblab.watch(x), "path must") for x in (None, 3, "", ["a"], "s3://in/*.csv")],
        (mblab.watch, "is a folder; say which files in it"),
        (
            lambda p: mblab.watch(p / "nowhere" / "*.csv"),
            "nowhere is no folder, so nothing can appear in it; create it",
        ),
        (lambda p: mblab.watch(p / "*.xlsx"), "must end in one of ['.parquet', '.csv', '.jsonl', '.ndjson']"),
        *[(lambda p, x=x: watch(p, every=x), "every") for x in (0, -1, "5", None, True, float("nan"), "1us")],
        *[(lambda p, x=x: watch(p, settle=x), "settle") for x in (-1, "5", None, True, float("nan"))],
        *[(lambda p, x=x: watch(p, columns=x), "columns must") for x in ("n", [], ["n", "n"], 3, [1])],
        *[(lambda p, x=x: watch(p, event_time=x), "event_time must be the name of a column") for x in (1, ["n"])],
        *[(lambda p, x=x: watch(p, existing=x), "existing must be True or False") for x in (None, 1, "yes")],
        *[(lambda p, x=x: mblab.poll(x), "fn must be a function") for x in (None, 3, "f", numbers(1))],
        (lambda p: mblab.poll(lambda a, b: None), "fn must take nothing or (position), but <lambda>(a, b) does not"),
        *[(lambda p, x=x: mblab.poll(lambda: None, every=x), "every") for x in (0, -1, "5", None, True, float("nan"))],
        (lambda p: mblab.poll(lambda: None, event_time=3), "event_time must be the name of a column"),
    ],
)
def test_an_argument_out_of_its_range_is_refused_by_name(make, said, tmp_path):
    """Wrong type, zero, negative, NaN, without unit, not there."""
    with pytest.raises((SettingError, SourceError)) as caught:
        make(tmp_path)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_live_sources_say_what_they_are(tmp_path):
    """In words, and as code that makes them again."""
    source = watch(tmp_path, columns=["n"], event_time="n", existing=False)
    shop = Shop()
    poll = mblab.poll(shop.new, every="2s", event_time="n")

    assert source.code("'in/*.parquet'") == (
        "mblab.watch('in/*.parquet', every=0.01, settle=0.05, columns=['n'], event_time='n', existing=False)"
    )
    assert eval(source.code(repr(str(source.pattern)))) == source
    assert source.describe() == f"live: new files {tmp_path}/*.parquet, looked for every 10 ms"
    assert poll.code("") == "mblab.poll(new, every=2, event_time='n')"
    assert poll.describe() == "live: new() every 2 s"
    assert (poll.endless, poll.speedup, poll.event_time, source.endless) == (True, 1.0, "n", True)

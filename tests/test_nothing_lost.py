"""Nothing that mblab did not write in this run is ever lost: not the source, not another run's rows, not a stranger's."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import mblab
import mblab.testing
from mblab import Lab, SettingError, SinkError, replay
from mblab.sinks import csv, jsonl, parquet, sqlite
from mblab.support import files

SINKS = {"csv": csv, "jsonl": jsonl}


def frame(first=0, count=30):
    return pd.DataFrame({"i": range(first, first + count)})


def written(kind, path, count=30):
    """A file of rows in a kind's own form."""
    if kind == "csv":
        frame(0, count).to_csv(path, index=False)
    elif kind == "jsonl":
        frame(0, count).to_json(path, orient="records", lines=True)
    else:
        frame(0, count).to_parquet(path)
    return path


def lab_of(source, sink, name="lost"):
    lab = Lab(source, interval="200ms", name=name)
    lab.batch(lambda batch: batch, name="same")
    lab.to(sink)
    return lab


# -- S01, S28: the source itself ------------------------------------------------------------------------------------


def links(path, how):
    """The path under another name."""
    other = path.with_name(f"other{path.suffix}")
    if how == "link":
        other.symlink_to(path)
    elif how == "hard link":
        os.link(path, other)
    elif how == "round about":
        return path.parent / "." / "x" / ".." / path.name
    else:
        return path
    return other


@pytest.mark.parametrize("mode", ["replace", "append"])
@pytest.mark.parametrize("how", ["same", "link", "hard link", "round about"])
@pytest.mark.parametrize("kind", SINKS)
def test_a_sink_on_the_file_of_its_source_is_refused_before_a_byte_changes(kind, how, mode, tmp_path):
    """S01: under whatever name."""
    path = written(kind, tmp_path / f"rows.{kind}")
    before = path.read_bytes()
    lab = Lab(replay(path, rate=10), interval="1s")
    (tmp_path / "x").mkdir()
    with pytest.raises(SettingError, match="is among what .* reads"):
        lab.to(SINKS[kind](links(path, how), mode=mode))

    assert path.read_bytes() == before
    assert lab.sinks == ()


@pytest.mark.parametrize(
    ("pattern", "sink"),
    [
        ("*.csv", lambda d: csv(d / "out.csv")),
        ("**/*.csv", lambda d: csv(d / "new" / "deep" / "out.csv")),
        ("day-?.csv", lambda d: csv(d / "day-3.csv")),
        ("day-*/rows-?.csv", lambda d: csv(d / "day-2" / "rows-3.csv")),
        ("*.parquet", parquet),
        ("**/*.parquet", lambda d: parquet(d / "out")),
    ],
)
@pytest.mark.parametrize("live", [False, True], ids=["replay", "watch"])
def test_a_sink_that_a_source_with_wildcards_would_read_is_refused(pattern, sink, live, tmp_path):
    """S01 and S28: also when the file is not there yet, for the next run or poll would take it in."""
    kind = pattern.rpartition(".")[2]
    (tmp_path / "day-1").mkdir()
    written(kind, tmp_path / f"day-1.{kind}")
    written(kind, tmp_path / "day-1" / f"rows-1.{kind}")
    source = mblab.watch(tmp_path / pattern) if live else replay(tmp_path / pattern, rate=10)
    with pytest.raises(SettingError, match="is among what .* reads"):
        Lab(source, interval="1s").to(sink(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "sink"),
    [
        ("day-*.csv", lambda d: csv(d / "out.csv")),
        ("*.csv", lambda d: csv(d / "out" / "out.csv")),
        ("*.csv", lambda d: jsonl(d / "out.jsonl")),
        ("*.csv", lambda d: parquet(d / "out")),
        ("day-1.csv", lambda d: csv(d / "day-2.csv")),
    ],
)
def test_a_sink_beside_what_is_read_is_taken(pattern, sink, tmp_path):
    """Only what meets is refused."""
    written("csv", tmp_path / "day-1.csv")

    assert lab_of(replay(tmp_path / pattern, rate=10), sink(tmp_path)).run(clock="virtual", cost=0).status == "finished"


def test_a_sink_on_what_one_of_several_links_leads_to_is_refused(tmp_path):
    """S01: the wildcards take in a file of another folder, beside those of their own."""
    other = written("csv", tmp_path / "other.csv")
    written("csv", tmp_path / "day-1.csv")
    (tmp_path / "day-2.csv").symlink_to(other)
    lab = Lab(replay(tmp_path / "day-*.csv", rate=10), interval="1s")
    with pytest.raises(SettingError, match="is among what .* reads"):
        lab.to(csv(other))


def test_a_folder_that_holds_the_source_is_no_place_for_parts(tmp_path):
    """S01: a Parquet sink takes the whole folder."""
    path = written("parquet", tmp_path / "rows.parquet")
    with pytest.raises(SettingError, match="is among what"):
        Lab(replay(path, rate=10)).to(parquet(tmp_path))


def test_an_exported_script_refuses_its_own_input_as_output(tmp_path):
    """S01: `--input` and `--output` are typed by hand."""
    path = written("csv", tmp_path / "rows.csv")
    lab = lab_of(replay(path, rate=10), csv(tmp_path / "out.csv"))
    script = lab.export(tmp_path / "job.py")
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, script, "--output", "rows.csv"], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "is among what rows.csv reads" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == before


def test_a_recording_into_its_own_source_is_refused(tmp_path):
    """S01: record() moves its file into place when it is done."""
    path = mblab.record(replay(frame(), rate=10), tmp_path / "rows.parquet")
    before = path.read_bytes()
    with pytest.raises(SettingError, match="record into another file"):
        mblab.record(replay(path), path)

    assert path.read_bytes() == before


@pytest.mark.parametrize("inner", [lambda d: csv(d / "out" / "rows.csv"), lambda d: parquet(d / "out" / "more")])
def test_a_sink_inside_the_folder_of_another_is_refused(inner, tmp_path):
    """B15: the folder would be one that no reader takes."""
    lab = lab_of(replay(frame(), rate=10), parquet(tmp_path / "out"))
    with pytest.raises(SettingError, match="lies in the folder of another sink"):
        lab.to(inner(tmp_path))

    assert len(lab.sinks) == 1


# -- S02, B01: what others wrote ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SINKS)
def test_what_somebody_else_added_stays_whatever_becomes_of_the_run(kind, tmp_path):
    """S02, B01: the run stops and says so; nothing is cut off, also not by a resume or an end."""
    path, foreign = tmp_path / f"rows.{kind}", '{"i": 999}\n' if kind == "jsonl" else "999\n"
    lab = lab_of(replay(frame(), rate=10), SINKS[kind](path))

    def add(row):
        if row["batch_id"] == 1:
            with path.open("a") as file:
                file.write(foreign)

    lab.on_batch(add)
    for _ in range(3):  # tried again it is no better
        with pytest.raises(SinkError, match="was changed by something else during the run, and is left as it is"):
            lab.resume() if lab.last_run else lab.run(clock="virtual", cost=0)
    text = path.read_text()
    lab.stop()

    assert text.endswith(foreign)
    assert path.read_text() == text
    assert text.count("\n") == (kind == "csv") + 2 * 2 + 1  # the header, two batches and the stranger's row


@pytest.mark.parametrize("kind", SINKS)
def test_a_later_sink_that_refuses_does_not_cut_off_what_a_stranger_added(kind, tmp_path):
    """B01's sibling: the rollback of a batch that stands there, with a stranger's row behind it, is refused in words."""
    path, foreign = tmp_path / f"rows.{kind}", "999\n"
    lab = lab_of(replay(frame(), rate=10), SINKS[kind](path))

    def second(rows, batch_id):
        if batch_id == 1:
            with path.open("a") as file:
                file.write(foreign)
            raise ValueError("refused")

    lab.to(mblab.sinks.call(second))
    with pytest.raises(SinkError, match="left as it is"):
        lab.run(clock="virtual", cost=0)
    lab.stop()

    assert path.read_text().endswith(foreign)


# -- S03: two runs on one file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SINKS)
def test_a_second_run_on_a_text_file_is_refused_when_it_starts(kind, tmp_path):
    """S03: the first goes on, and the file holds its rows and nothing else."""
    path = tmp_path / f"rows.{kind}"
    a, b = (lab_of(replay(frame(1000 * i), rate=10), SINKS[kind](path), name=f"lost {i}") for i in range(2))
    a.step(1)
    for _ in range(2):
        with pytest.raises(SinkError, match=r"is being written by run [0-9a-f]{12}, here or in another process"):
            b.step(1)
        a.step(1)
    rows = a.last_run.output.i.tolist()
    a.stop()
    file = pd.read_csv(path) if kind == "csv" else pd.read_json(path, lines=True)

    assert file.i.tolist() == rows == list(range(len(rows)))
    assert b.run(clock="virtual", cost=0).status == "finished"  # nobody writes there any more


OTHER = """
import sys, time, mblab, pandas as pd
lab = mblab.Lab(mblab.replay(pd.DataFrame({"i": range(30)}), rate=10), interval="200ms", name="other")
lab.batch(lambda batch: batch, name="same")
lab.to(mblab.sinks.csv(sys.argv[1]))
try:
    lab.step(1)
except mblab.SinkError as error:
    print(error)
else:
    print("written", flush=True)
    if len(sys.argv) > 2:
        time.sleep(60)
"""


def test_a_run_of_another_process_has_the_file_until_it_ends_or_is_killed(tmp_path):
    """S03: the lock is the kernel's, so it goes with its process."""
    path = tmp_path / "rows.csv"
    first = subprocess.Popen([sys.executable, "-c", OTHER, path, "wait"], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "written\n"
    refused = subprocess.run([sys.executable, "-c", OTHER, path], capture_output=True, text=True, timeout=60)
    with pytest.raises(SinkError, match="is being written by run"):
        lab_of(replay(frame(), rate=10), csv(path)).run(clock="virtual", cost=0)
    first.kill()
    first.communicate()
    again = subprocess.run([sys.executable, "-c", OTHER, path], capture_output=True, text=True, timeout=60)

    assert "is being written by run" in refused.stdout
    assert again.stdout == "written\n"


def test_a_lab_s_next_run_has_the_file_of_its_last(tmp_path):
    """S03: finished, halted, paused or stopped, it is the lab's own."""
    lab = lab_of(replay(frame(), rate=10), csv(tmp_path / "rows.csv"))
    lab.run(clock="virtual", cost=0)
    lab.batch(lambda batch: 1 / 0, name="same")
    with pytest.raises(mblab.BatchError):
        lab.run(clock="virtual", cost=0)
    lab.batch(lambda batch: batch, name="same")
    lab.step(1)

    assert lab.run(clock="virtual", cost=0).status == "finished"
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 30


def test_sqlite_and_folders_are_shared_as_before(tmp_path):
    """They tell runs apart by themselves."""
    labs = [
        lab_of(replay(frame(100 * i), rate=10), sqlite(tmp_path / "rows.db", mode="append"), name=f"l{i}")
        for i in range(2)
    ]
    for lab in labs:
        lab.step(1)
    for lab in labs:
        lab.step(1)
        lab.stop()
    import sqlite3

    with sqlite3.connect(tmp_path / "rows.db") as base:
        table = base.execute(
            "select name from sqlite_master where type = 'table' and name not like '%mblab%'"
        ).fetchone()[0]
        found = sorted(i for (i,) in base.execute(f'select i from "{table}"'))

    assert found == sorted(np.concatenate([lab.last_run.output.i for lab in labs]).tolist())


def test_a_user_s_own_sink_with_the_folder_as_its_path_is_taken(tmp_path):
    """Only one that says it writes a folder of parts would write among what is read."""

    class Log(mblab.testing.ListSink):
        path = tmp_path

    lab = lab_of(replay(written("csv", tmp_path / "rows.csv"), rate=10), sink := Log())
    lab.run(clock="virtual", cost=0)

    assert sink.frame["i"].tolist() == list(range(30))


def test_paths_of_a_user_s_own_source_and_sink_are_none():
    """What says nothing of files is not looked at."""
    lab = Lab(mblab.testing.rows_at([0.1]), interval="1s")
    lab.to(mblab.testing.ListSink())

    assert lab.run(clock="virtual", cost=0).status == "finished"


# -- B14: names that somebody planted -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["link", "hard link", "file", "dangling link"])
@pytest.mark.parametrize("write", ["bytes", "function"])
def test_what_stands_at_a_temporary_name_is_not_written_to(write, what, tmp_path, monkeypatch):
    """B14: the next name is taken; the temporary file is new, and no link is followed."""
    target, precious = tmp_path / "o.csv", tmp_path / "precious"
    if what != "dangling link":
        precious.write_text("precious")
    draws = iter([7, 7, 8])
    monkeypatch.setattr(files._draws, "getrandbits", lambda bits: next(draws))
    planted = files.beside(target)
    if what == "file":
        planted.write_text("precious")
    elif what == "hard link":
        os.link(precious, planted)
    else:
        planted.symlink_to(precious)
    files.write_whole(target, b"rows" if write == "bytes" else lambda path: path.write_bytes(b"rows"))

    assert target.read_bytes() == b"rows"
    assert planted.is_symlink() == ("link" in what and what != "hard link")
    assert precious.exists() == (what != "dangling link")
    assert not precious.exists() or precious.read_text() == "precious"


def test_a_recording_follows_no_link_either(tmp_path, monkeypatch):
    """B14's sibling: the library that writes Parquet would."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    draws = iter([7, 7, 8])
    monkeypatch.setattr(files._draws, "getrandbits", lambda bits: next(draws))
    files.beside(tmp_path / "rows.parquet").symlink_to(precious)
    mblab.record(replay(frame(), rate=10), tmp_path / "rows.parquet")

    assert precious.read_text() == "precious"
    assert len(pd.read_parquet(tmp_path / "rows.parquet")) == 30


@pytest.mark.parametrize("text", ["precious", '{"mblab": 1, "run_id": "0123456789ab"}\n', ""])
def test_a_manifest_that_is_a_link_is_not_followed(text, tmp_path):
    """B14's sibling: it would be cut to what its lines say, and written to."""
    (tmp_path / "out").mkdir()
    precious = tmp_path / "precious"
    precious.write_text(text)
    (tmp_path / "out" / "_mblab_manifest.jsonl").symlink_to(precious)
    with pytest.raises(SinkError, match=r"a link stands there|that mblab cannot read"):
        parquet(tmp_path / "out", mode="append").open("0123456789ab")

    assert precious.read_text() == text


@pytest.mark.parametrize("text", ["precious", "[1, 2]", "a,b\n1,2\n"])
def test_a_manifest_of_somebody_else_s_is_left_as_it_is(text, tmp_path):
    """B14's sibling: half a line is what a killed process of ours leaves, and not everything that has no line's end."""
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "_mblab_manifest.jsonl"
    file.write_text(text)
    with pytest.raises(SinkError, match="that mblab cannot read"):
        parquet(tmp_path / "out").open("0123456789ab")

    assert file.read_text() == text


def test_a_link_put_in_the_place_of_a_sink_s_file_is_not_followed(tmp_path):
    """B14's sibling: a link that was there when the sink was made is the user's, and its target what is written."""
    sink, precious = csv(tmp_path / "o.csv"), tmp_path / "precious"
    precious.write_text("")
    (tmp_path / "o.csv").symlink_to(precious)
    with pytest.raises(SinkError, match="a link stands there"):
        sink.open("0123456789ab")
    csv(tmp_path / "o.csv").open("0123456789ab")

    assert (tmp_path / ".precious.mblab.json").exists()

"""What each sink does in its own way; what all of them promise is in test_sink_contract.py."""

from __future__ import annotations

import datetime as dt
import errno
import functools
import io
import json
import os
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab.sinks
from mblab.errors import ExportError, SettingError, SinkError
from mblab.sinks import Delivery, Sink, call, csv, jsonl, memory, parquet
from mblab.sinks.base import ExportableSink
from mblab.sinks.manifest import MANIFEST
from mblab.support import files
from mblab.testing import ListSink, MemoryDisk

from .laws import examples

RUN, LATER_RUN = "0123456789ab", "cdef01234567"


def no_rows() -> pd.DataFrame:
    return pd.DataFrame({"at": pd.Series([], dtype="int64"), "who": pd.Series([], dtype="str")})


def read_csv(folder: Path) -> pd.DataFrame:
    file = folder / "out" / "rows.csv"
    return pd.read_csv(file) if file.exists() and file.stat().st_size else no_rows()


def read_jsonl(folder: Path) -> pd.DataFrame:
    file = folder / "out" / "rows.jsonl"
    if not file.exists() or not file.stat().st_size:
        return no_rows()
    return pd.DataFrame(list(map(json.loads, file.read_text(encoding="utf-8").split("\n")[:-1])))


def read_parquet(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "out") if list((folder / "out").glob("*.parquet")) else no_rows()


@dataclass(frozen=True)
class Case:
    """A sink under the contract: how to make it in a folder, and how a reader sees its rows."""

    make: Callable[..., Sink]
    read: Callable[[Sink, Path], pd.DataFrame]


FILES = {
    "csv": Case(lambda d, **k: csv(d / "out" / "rows.csv", **k), lambda s, d: read_csv(d)),
    "jsonl": Case(lambda d, **k: jsonl(d / "out" / "rows.jsonl", **k), lambda s, d: read_jsonl(d)),
    "parquet": Case(lambda d, **k: parquet(d / "out", **k), lambda s, d: read_parquet(d)),
}
ALL = {"memory": Case(lambda d: memory(), lambda s, d: s.frame().drop(columns="batch_id")), **FILES}

every_sink = pytest.mark.parametrize("case", ALL.values(), ids=ALL)
every_file_sink = pytest.mark.parametrize("case", FILES.values(), ids=FILES)


def rows(*at: int) -> pd.DataFrame:
    return pd.DataFrame({"at": np.array(at, np.int64), "who": [f"w{a}" for a in at]})


def delivered(sink: Sink, *batches: pd.DataFrame, run: str = RUN, first: int = 0, input_hash: str = "") -> None:
    for batch_id, batch in enumerate(batches, first):
        sink.deliver(batch, Delivery(run, batch_id, input_hash))


def ats(case: Case, sink: Sink, folder: Path) -> list[int]:
    return sorted(case.read(sink, folder)["at"].tolist()) if len(case.read(sink, folder)) else []


# -- all sinks ----------------------------------------------------------------------------------------------------


@every_sink
def test_a_sink_says_what_it_is(case, tmp_path):
    """It meets the protocol, describes itself in one line and gives the code that makes it again."""
    sink = case.make(tmp_path)
    again = eval(sink.code(), {"mblab": mblab})

    assert isinstance(sink, Sink)
    assert sink.guarantee in sink.describe()
    assert sink.mode in sink.describe()
    assert "\n" not in sink.describe()
    assert (again.target, again.mode, repr(again)) == (sink.target, sink.mode, repr(sink))


# -- sinks that write files ---------------------------------------------------------------------------------------


@every_file_sink
def test_append_keeps_the_rows_of_earlier_runs(case, tmp_path):
    """Each run adds its own, with the columns that are there in any order."""
    for run, at in ((RUN, 0), (LATER_RUN, 1)):
        sink = case.make(tmp_path, mode="append")
        sink.open(run)
        delivered(sink, rows(at)[["at", "who"] if run == RUN else ["who", "at"]], run=run)
        sink.close()

    assert ats(case, sink, tmp_path) == [0, 1]
    if case is FILES["jsonl"]:
        return  # a line has the columns of its own batch
    with pytest.raises(SinkError, match=r"lacks \['who'\] and adds \['whom'\]"):
        sink.open(RUN), delivered(sink, rows(2).rename(columns={"who": "whom"}), first=7)


@every_file_sink
def test_error_refuses_what_is_there_but_not_its_own_run(case, tmp_path):
    """mode="error": nothing is there, or the run that wrote it goes on."""
    sink = case.make(tmp_path, mode="error")
    sink.open(RUN)
    delivered(sink, rows(0))
    sink.close()
    sink.open(RUN)
    sink.close()

    with pytest.raises(SinkError, match="already"):
        sink.open(LATER_RUN)
    assert ats(case, sink, tmp_path) == [0]


@every_file_sink
def test_rows_of_another_run_are_never_rolled_back(case, tmp_path):
    """A savepoint from before another run wrote is refused."""
    sink = case.make(tmp_path, mode="append")
    sink.open(RUN)
    old = sink.savepoint()
    delivered(sink, rows(0))
    sink.close()
    sink.open(LATER_RUN)
    delivered(sink, rows(1), run=LATER_RUN)

    for run in (LATER_RUN, RUN):
        sink.close()
        sink.open(run)
        with pytest.raises(SinkError, match="cannot go back"):
            sink.rollback(old)
    assert ats(case, sink, tmp_path) == [0, 1]


@pytest.mark.parametrize("case", [FILES["csv"], FILES["parquet"]], ids=["csv", "parquet"])
def test_another_column_set_says_what_is_missing_and_what_is_new(case, tmp_path):
    """The first batch pins the columns; a refused batch leaves nothing."""
    sink = case.make(tmp_path)
    sink.open(RUN)
    delivered(sink, rows(0))

    with pytest.raises(SinkError, match=r"batch 1 lacks \['who'\] and adds \['whom'\]"):
        delivered(sink, rows(1).rename(columns={"who": "whom"}), first=1)
    assert ats(case, sink, tmp_path) == [0]


@every_file_sink
@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), r"columns \['1'\] are there more than once"),
        (pd.DataFrame(index=range(3)), "3 rows have no columns"),
        (pd.DataFrame({"x": ["\ud800"]}, dtype=object), "UTF-8|surrogates"),
    ],
)
def test_rows_that_no_file_can_hold_are_refused_in_one_sentence(case, tmp_path, batch, says):
    """The message has the path, the batch and the reason."""
    sink = case.make(tmp_path)
    sink.open(RUN)

    with pytest.raises(SinkError, match=says) as caught:
        delivered(sink, batch)
    assert "batch 0" in str(caught.value)


@every_file_sink
@pytest.mark.parametrize("path", ["", " ", "a\0b", 5, None, b"out"])
def test_a_path_that_is_none_is_refused_at_once(case, path):
    """Empty text and other types."""
    make = type(case.make(Path("x")))

    with pytest.raises(SettingError, match="path must"):
        make(path, None)


@every_file_sink
@pytest.mark.parametrize("mode", ["replac", 3, True])
def test_a_mode_that_is_none_is_refused(case, tmp_path, mode):
    """One of three words, or None."""
    with pytest.raises(SettingError, match="mode must be 'replace', 'append' or 'error'"):
        case.make(tmp_path, mode=mode)


def test_a_misspelt_mode_is_guessed():
    """Did you mean."""
    with pytest.raises(SettingError, match="did you mean 'replace'"):
        csv("x.csv", mode="replac")


@every_file_sink
def test_a_place_of_the_wrong_kind_is_refused_when_the_run_starts(case, tmp_path):
    """A folder for csv, a file for parquet, and a parent that is a file."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    make = type(case.make(tmp_path))
    wrong = "file" if case is FILES["parquet"] else "folder"

    with pytest.raises(SinkError, match=f"{wrong} is a {wrong}"):
        make(tmp_path / wrong, None).open(RUN)
    with pytest.raises(SinkError, match="a file stands where a folder is needed"):
        make(tmp_path / "file" / "below", None).open(RUN)


@every_file_sink
def test_what_is_deleted_during_the_run_is_noticed(case, tmp_path):
    """Rows must not go into a file that no name leads to."""
    sink = case.make(tmp_path)
    sink.open(RUN)
    delivered(sink, rows(0))
    (tmp_path / "out").rename(tmp_path / "elsewhere")

    with pytest.raises(SinkError, match="moved or deleted during the run"):
        delivered(sink, rows(1), first=1)


@every_file_sink
def test_a_relative_path_stays_where_it_was_meant(case, tmp_path, monkeypatch):
    """A target is absolute from the start; the code keeps the path as it was given."""
    monkeypatch.chdir(tmp_path)
    sink = case.make(Path())
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    sink.open(RUN)
    delivered(sink, rows(0))
    sink.close()

    assert ats(case, sink, tmp_path) == [0]
    assert Path(sink.target).is_relative_to(tmp_path.resolve())
    assert not sink.path.is_absolute()
    assert sink.code("options.output") == f"mblab.sinks.{sink.kind}(options.output)"


@every_file_sink
def test_code_names_the_mode_only_when_it_was_given(case, tmp_path):
    """Left out it depends on the checkpoint."""
    assert case.make(tmp_path, mode="append").code("p").endswith("(p, mode='append')")
    assert case.make(tmp_path).code("p").endswith("(p)")


# -- crashes ------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing may catch this: from here on the process is gone."""


CALLS = ((os, "pwrite"), (os, "fsync"), (os, "ftruncate"), (Path, "replace"), (Path, "unlink"))


def fail_at(monkeypatch, n: int, failure: BaseException) -> list[int]:
    """Make the n-th call that changes a file fail, a write after half of its bytes; return the counter."""
    count = [0]

    def failing(real, name, *args, **kwargs):
        count[0] += 1
        if count[0] == n:
            if name == "pwrite":
                descriptor, data, at = args
                real(descriptor, bytes(data)[: len(data) // 2], at)
            raise failure
        return real(*args, **kwargs)

    for owner, name in CALLS:
        real = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, functools.partial(failing, real, name) if owner is os else _method(failing, real, name)
        )
    return count


def _method(failing, real, name):
    return lambda self, *args, **kwargs: failing(real, name, self, *args, **kwargs)


def process_dies():
    """Let go of what the kernel takes from a process that is killed: its locks."""
    for lock in [*files._held]:
        lock.forget()


BATCHES = [rows(0, 1), rows(2), rows(3, 4)]


@every_file_sink
@pytest.mark.parametrize("way", ["last", "rollback"])
def test_a_process_killed_at_any_write_loses_and_doubles_nothing(case, way, tmp_path, monkeypatch):
    """For every n: killed at the n-th write, sync or rename; recovered by what the sink holds, or by the savepoint."""
    n, finished = 0, False
    while not finished:
        n += 1
        folder = tmp_path / str(n)
        folder.mkdir()
        sink, savepoint, planned, committed = case.make(folder, mode="append"), None, 0, 0
        with monkeypatch.context() as patched:
            fail_at(patched, n, Killed())
            try:
                sink.open(RUN)
                for planned, batch in enumerate(BATCHES):
                    savepoint = sink.savepoint()
                    sink.deliver(batch, Delivery(RUN, planned, "h"))
                    committed = planned + 1
                sink.close()
                finished = True
            except Killed:
                process_dies()
        again = case.make(folder, mode="append")
        again.open(RUN)
        held = again.last().batch_id if again.last() else -1
        assert committed - 1 <= held <= planned, f"killed at call {n}"
        if way == "rollback":
            again.rollback(savepoint)
        for batch_id in range(planned if way == "rollback" else committed, len(BATCHES)):
            again.deliver(BATCHES[batch_id], Delivery(RUN, batch_id, "h", replay=True))
        again.close()
        assert case.make(folder).last() == Delivery(RUN, 2, "h")
        assert ats(case, again, folder) == [0, 1, 2, 3, 4], f"killed at call {n}"

    assert n > 10


class LosingDisk(MemoryDisk):
    """A disk that loses its power at the n-th call that changes something, a write after half of its bytes."""

    def __init__(self, n: int) -> None:
        super().__init__(Path("/"))
        self.calls, self.n = 0, n

    def count(self) -> None:
        self.calls += 1
        if self.calls == self.n:
            raise Killed

    def write(self, descriptor, data, at):
        self.calls += 1
        if self.calls == self.n:
            super().write(descriptor, data[: len(data) // 2], at)
            raise Killed
        return super().write(descriptor, data, at)

    def sync(self, descriptor):
        self.count()
        super().sync(descriptor)

    def truncate(self, descriptor, size):
        self.count()
        super().truncate(descriptor, size)

    def replace(self, old, new):
        self.count()
        super().replace(old, new)

    def sync_folder(self, folder):
        self.count()
        super().sync_folder(folder)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_batch_with_a_checkpoint_survives_every_power_cut(kind, kept):
    """For every n: the power goes at the n-th call; what `deliver` had returned for is there, and the run goes on.

    Of what was not synced some share comes through, each file and each folder up to some point.
    """
    make = {
        "csv": lambda: csv("/out/rows.csv"),
        "jsonl": lambda: jsonl("/out/rows.jsonl"),
        "parquet": lambda: parquet("/out"),
    }
    n, finished = 0, False
    while not finished:
        n += 1
        disk = LosingDisk(n)
        disk.make_folder(Path("/out"))
        disk.n += 1  # the folder is there for good
        disk.sync_folder(Path("/"))
        sink, committed = make[kind](), 0
        sink.disk = disk
        try:
            sink.open(RUN)
            for batch_id, batch in enumerate(BATCHES):
                sink.deliver(batch, Delivery(RUN, batch_id, "h"))
                committed = batch_id + 1
            sink.close()
            finished = True
        except Killed:
            pass
        disk.n = 0
        disk.cut_power(lambda most: round(kept * most))
        again = make[kind]()
        again.disk = disk
        again.open(RUN)
        held = again.last().batch_id + 1 if again.last() else 0
        assert committed <= held <= committed + 1, f"power cut at call {n}"
        for batch_id, batch in enumerate(BATCHES):
            again.deliver(batch, Delivery(RUN, batch_id, "h" if batch_id >= held - 1 else "", replay=True))
        again.close()
        parts = [disk.content(file) for file in disk.files() if not file.name.startswith(("_", "."))]
        frames = [READ[kind](io.BytesIO(part)) for part in parts if part]
        assert sorted(pd.concat(frames)["at"]) == [0, 1, 2, 3, 4], f"power cut at call {n}"

    assert n > 10


READ = {
    "csv": pd.read_csv,
    "jsonl": functools.partial(pd.read_json, lines=True),
    "parquet": pd.read_parquet,
}


@every_file_sink
def test_a_full_disk_is_one_sentence_and_the_batch_can_be_tried_again(case, tmp_path, monkeypatch):
    """For every n: the n-th write fails; the same sink goes on when there is room again."""
    n, finished = 0, False
    while not finished:
        n += 1
        folder = tmp_path / str(n)
        folder.mkdir()
        sink = case.make(folder)
        with monkeypatch.context() as patched:
            calls = fail_at(patched, n, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            refused = None
            try:
                sink.open(RUN)
                delivered(sink, *BATCHES)
            except SinkError as error:
                refused = error
            finished = calls[0] < n
        assert finished or "No space left on device" in str(refused)
        assert finished or isinstance(refused.__cause__, OSError)
        sink.open(RUN)
        delivered(sink, *BATCHES)
        sink.close()
        assert ats(case, sink, folder) == [0, 1, 2, 3, 4], f"failed at call {n}"

    assert n > 5


@every_file_sink
def test_a_system_that_takes_few_bytes_at_a_time_loses_none(case, tmp_path, monkeypatch):
    """A write may be short without an error."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: real(descriptor, bytes(data)[:7], at))
    sink = case.make(tmp_path)
    sink.open(RUN)
    delivered(sink, *BATCHES)

    assert ats(case, sink, tmp_path) == [0, 1, 2, 3, 4]


@every_file_sink
def test_a_run_killed_while_it_replaces_leaves_a_place_that_can_be_replaced(case, tmp_path, monkeypatch):
    """For every n: killed at the n-th call of opening; the next run starts from nothing."""
    n, finished = 0, False
    while not finished:
        n += 1
        folder = tmp_path / str(n)
        folder.mkdir()
        earlier = case.make(folder)
        earlier.open(LATER_RUN)
        delivered(earlier, rows(7), rows(8), run=LATER_RUN)
        earlier.close()
        with monkeypatch.context() as patched:
            calls = fail_at(patched, n, Killed())
            try:
                case.make(folder).open("0" * 12)
                finished = calls[0] < n
            except Killed:
                process_dies()
        sink = case.make(folder)
        sink.open(RUN)
        delivered(sink, rows(0))
        assert ats(case, sink, folder) == [0], f"killed at call {n}"
        sink.close()

    assert n > 3


# -- memory -------------------------------------------------------------------------------------------------------


def test_memory_keeps_exactly_the_last_rows_and_counts_the_others():
    """The limit may cut a batch in two."""
    sink = memory(limit=3)
    sink.open(RUN)
    delivered(sink, rows(0, 1), rows(2, 3), rows(4))

    assert sink.frame()["at"].tolist() == [2, 3, 4]
    assert sink.frame()["batch_id"].tolist() == [1, 1, 2]
    assert sink.dropped == 2
    delivered(sink, rows(5), first=3)
    assert (sink.frame()["at"].tolist(), sink.dropped) == ([3, 4, 5], 3)


@given(st.lists(st.integers(1, 5), max_size=12), st.integers(1, 9))
def test_memory_holds_the_tail_of_all_rows(sizes, limit):
    """For any batches: frame() is the tail, dropped the rest."""
    sink = memory(limit=limit)
    sink.open(RUN)
    ends = np.cumsum([0, *sizes])
    delivered(sink, *(rows(*range(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True)))

    assert len(sink.frame()) + sink.dropped == sum(sizes)
    assert sink.frame().get("at", pd.Series(dtype=int)).tolist() == list(range(sum(sizes)))[-limit:]


@pytest.mark.parametrize("limit", [700, 100_000])
def test_memory_joins_many_small_results_and_nobody_sees_it(limit, monkeypatch):
    """A week of one-row results must not be a week of frames; rows, ids, the tail and a rollback are as ever."""
    monkeypatch.setattr(sys.modules["mblab.sinks.memory"], "LOOSE", 256)
    sink = memory(limit=limit)
    sink.open(RUN)
    sizes = np.tile([1, 2, 1, 3], 500)
    ends = np.cumsum([0, *sizes])
    delivered(sink, *(rows(*range(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True)))
    frame = sink.frame()

    assert frame["at"].tolist() == list(range(ends[-1]))[-limit:]
    assert frame["batch_id"].tolist() == np.repeat(np.arange(2000), sizes).tolist()[-limit:]
    assert len(sink._held) < 600
    kept = sink.savepoint()
    delivered(sink, rows(ends[-1]), first=2000)
    sink.rollback(kept)
    assert sink.last().batch_id == 1999
    assert sink.frame()["at"].tolist() == frame["at"].tolist()[-len(sink.frame()) :]


def test_memory_lets_go_of_batches_whose_results_are_views_of_them():
    """A step that returns `batch.head(1)` must not keep every batch in memory, neither its numbers nor its texts."""
    sink, n = memory(), 100_000
    sink.open(RUN)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    for k in range(200):
        batch = pd.DataFrame({"at": np.arange(n), "text": pd.Series(["abcdefgh"], dtype="str").take([0] * n)})
        sink.deliver(batch.iloc[k : k + 1], Delivery(RUN, k, input_rows=n))
    texts, numbers = pa.total_allocated_bytes() - before, tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert sink.frame()["at"].tolist() == list(range(200))
    assert numbers < 25 * 16 * n  # of 200 batches those of two million rows: `at`, and the index that `take` made
    assert texts < 25 * 16 * n


def test_memory_without_rows_is_a_frame_with_batch_id():
    """`run.output` before the first batch."""
    frame = memory().frame()

    assert list(frame.columns) == ["batch_id"]
    assert (len(frame), frame.batch_id.dtype) == (0, "int64")


def test_a_column_named_batch_id_is_kept_beside_ours():
    """Production data have batch ids of their own."""
    sink = memory()
    sink.open(RUN)
    delivered(sink, pd.DataFrame({"x": [1], "batch_id": ["LOT-7"]}))

    assert sink.frame().to_dict("list") == {"batch_id": [0], "x": [1], "batch_id.1": ["LOT-7"]}


@pytest.mark.parametrize("limit", [0, -1, 1.5, "10", None, True])
def test_a_memory_limit_is_a_positive_whole_number(limit):
    """Anything else names the knob and the value."""
    with pytest.raises(SettingError, match="limit must be"):
        memory(limit=limit)


# -- csv ----------------------------------------------------------------------------------------------------------


def csv_text(*batches: pd.DataFrame) -> str:
    with tempfile.TemporaryDirectory() as folder:
        sink = csv(Path(folder) / "x.csv")
        sink.open(RUN)
        delivered(sink, *batches)
        sink.close()
        return (Path(folder) / "x.csv").read_bytes().decode()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
times = st.datetimes(min_value=dt.datetime(1700, 1, 1), max_value=dt.datetime(2200, 1, 1))
records_of_rows = st.lists(
    st.tuples(st.floats(allow_nan=False), texts, times, st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=8
)


def frame_of(records: list[tuple]) -> pd.DataFrame:
    number, text, when, whole = zip(*records, strict=True)
    return pd.DataFrame(
        {
            "number": number,
            "text": pd.Series(text, dtype="str"),
            "when": pd.to_datetime(pd.Series(when)).astype("datetime64[us]"),
            "whole": whole,
        }
    ).astype({"number": "float64", "whole": "int64"})


@given(records_of_rows, st.integers(0, 8))
@examples(60)
def test_csv_reads_back_exactly_however_the_rows_were_cut(records, at):
    """One batch or two: the same values come back, times included, whatever the text holds."""
    whole = frame_of(records)
    parts = [p.reset_index(drop=True) for p in (whole.iloc[:at], whole.iloc[at:]) if len(p)]
    text = io.StringIO(csv_text(*parts), newline="")
    back = pd.read_csv(text, parse_dates=["when"], keep_default_na=False, dtype={"text": "str"})

    pd.testing.assert_frame_equal(back.assign(when=back.when.astype("datetime64[us]")), whole)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@examples(30)
def test_csv_keeps_small_floats_exactly(value):
    """float32 reads back as the same float32."""
    back = csv_text(pd.DataFrame({"x": np.array([value], np.float32)})).split()[1]

    assert np.float32(back) == np.float32(value)


def test_csv_writes_one_format_of_time_in_every_batch():
    """pandas leaves the hour out when all of a batch is at midnight; a reader then finds no one format."""
    midnight, later = pd.to_datetime(["2026-01-01"]), pd.to_datetime(["2026-01-01 08:30:00.5"])
    zoned = pd.DatetimeIndex(["2026-07-01 12:00"], tz="Europe/Berlin")
    text = csv_text(*(pd.DataFrame({"a": t.as_unit("us"), "z": zoned.as_unit("s")}) for t in (midnight, later)))

    assert text.splitlines() == [
        "a,z",
        "2026-01-01T00:00:00.000000,2026-07-01T10:00:00+00:00",
        "2026-01-01T08:30:00.500000,2026-07-01T10:00:00+00:00",
    ]


def test_csv_writes_what_cells_may_hold():
    """Nested values as JSON, missing ones as nothing, categories as their values, column numbers as text."""
    batch = pd.DataFrame(
        {
            "list": [[1, np.int64(2)], []],
            "dict": [{"ä": pd.Timestamp("2026-01-01"), "s": {1}}, None],
            "array": [np.array([1.5]), (1, "a")],
            "category": pd.Categorical(["a", None]),
            "int": pd.array([1, None], dtype="Int64"),
            "arrow": pd.Series(["2026-01-01", None], dtype="timestamp[s, tz=Europe/Berlin][pyarrow]"),
            "time": pd.to_datetime(pd.Series([None, "2026-01-01"])).astype("datetime64[s]"),
            7: [True, None],
        }
    )

    assert csv_text(batch).splitlines() == [
        "list,dict,array,category,int,arrow,time,7",
        '"[1, 2]","{""ä"": ""2026-01-01T00:00:00"", ""s"": [1]}",[1.5],a,1,2025-12-31T23:00:00+00:00,,True',
        '[],,"[1, ""a""]",,,,2026-01-01T00:00:00,',
    ]


def test_csv_quotes_a_lone_carriage_return():
    """Python's csv does not when lines end in a newline, and pandas then reads two rows."""
    text = csv_text(pd.DataFrame({"t": ["a\rb", "c"], "n": [1, 2]}))

    assert pd.read_csv(io.StringIO(text, newline="")).to_dict("list") == {"t": ["a\rb", "c"], "n": [1, 2]}


@pytest.mark.parametrize("mode", ["replace", "append", "error"])
def test_a_csv_that_mblab_did_not_write_is_never_touched(mode, tmp_path):
    """The message names it, and not a byte or a file changes."""
    file = tmp_path / "mine.csv"
    file.write_text("precious\n1\n")

    with pytest.raises(SinkError, match="mine.csv"):
        csv(file, mode=mode).open(RUN)
    assert file.read_text() == "precious\n1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.csv"]


@pytest.mark.parametrize("edit", [lambda t: t + "9,w9\n", lambda t: t.replace("w0", "me"), lambda t: t[:-3]])
def test_a_csv_changed_by_hand_is_not_replaced(edit, tmp_path):
    """Longer, shorter, or other bytes of the same number."""
    file = tmp_path / "rows.csv"
    sink = csv(file)
    sink.open(RUN)
    delivered(sink, rows(0))
    sink.close()
    file.write_text(edited := edit(file.read_text()))

    with pytest.raises(SinkError, match="changed since mblab wrote it"):
        sink.open(LATER_RUN)
    assert file.read_text() == edited


def test_an_empty_file_is_nobodys(tmp_path):
    """A temporary file made beforehand can be written to."""
    file = tmp_path / "rows.csv"
    file.touch()
    sink = csv(file, mode="error")
    sink.open(RUN)
    delivered(sink, rows(0))

    assert file.read_text() == "at,who\n0,w0\n"


def test_a_csv_longer_than_it_should_be_stops_the_run(tmp_path):
    """Exactly once holds as sole writer: another writer is noticed at the next batch."""
    file = tmp_path / "rows.csv"
    sink = csv(file)
    sink.open(RUN)
    delivered(sink, rows(0))
    with file.open("a") as other:
        other.write("5,w5\n")

    with pytest.raises(SinkError, match="changed by something else"):
        delivered(sink, rows(1), first=1)


@pytest.mark.parametrize(("path", "says"), [("out/", "names a folder|the folder"), ("rows.csv.gz", "plain text")])
def test_a_csv_path_that_promises_something_else_is_refused(path, says):
    """A trailing slash, or an ending that says it is packed."""
    with pytest.raises(SettingError, match=says):
        csv(path)


def test_a_marker_that_is_broken_makes_the_file_foreign(tmp_path):
    """When in doubt it is not ours."""
    sink = csv(tmp_path / "rows.csv")
    sink.open(RUN)
    delivered(sink, rows(0))
    sink.close()
    (tmp_path / ".rows.csv.mblab.json").write_text("{")

    with pytest.raises(SinkError, match="was not written by mblab"):
        sink.open(LATER_RUN)


# -- parquet ------------------------------------------------------------------------------------------------------


def through_parquet(folder: Path, *batches: pd.DataFrame) -> pd.DataFrame:
    sink = parquet(folder)
    sink.open(RUN)
    delivered(sink, *batches)
    sink.close()
    return pd.read_parquet(folder)


LATE_VALUES = {
    "int": pd.DataFrame({"x": [1, 2]}),
    "float": pd.DataFrame({"x": [1.5, 2.5]}),
    "text": pd.DataFrame({"x": ["a", "b"]}),
    "time": pd.DataFrame({"x": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True)}),
    "category": pd.DataFrame({"x": pd.Categorical(["a", "b"])}),
    "list": pd.DataFrame({"x": [[1], [2, 3]]}),
    "dict": pd.DataFrame({"x": [{"a": 1}, {"a": 2}]}),
    "dict of lists": pd.DataFrame({"x": [[{"a": 1}], []]}),
}


@pytest.mark.parametrize("values", LATE_VALUES.values(), ids=LATE_VALUES)
def test_a_column_that_is_null_in_the_first_batches_gets_its_type_later(values, tmp_path):
    """Arrow calls it null, and readers take the first file's word for all: the parts are written again."""
    empty = pd.DataFrame({"x": pd.Series([None, None], dtype=object)})
    back = through_parquet(tmp_path, empty, empty, values, empty)
    types = {pq.read_schema(f).field("x").type for f in tmp_path.glob("*.parquet")}

    assert len(types) == 1
    assert back["x"].isna().tolist() == [True] * 4 + [False] * 2 + [True] * 2
    assert [plain(v) for v in back["x"].dropna()] == values["x"].tolist()


def plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _one(folder: Path, batch_id: int) -> Path:
    return folder / f"part-{RUN}-{batch_id:06d}.parquet"


def test_a_column_that_is_null_to_the_end_reads_as_nulls(tmp_path):
    """Every reader takes text; few take Arrow's null."""
    back = through_parquet(tmp_path, *[pd.DataFrame({"x": [None], "y": [1]})] * 3)

    assert back["x"].isna().all()
    assert back["y"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("brings", "late", "killed_at", "in_hand", "lost"),
    [
        ([1.5], ["text"], 1, "the batch", False),
        ([1.5], ["text"], 3, "its rollback", False),
        ([{"a": 1}], [{"b": "x"}], 0, "the batch", False),
        ([[1]], [2], 3, "the batch", False),
        ([[1]], [2], 1, "its rollback", False),
        ([1.5], ["text"], 1, "the batch", True),
        ([{"a": 1}], [1], 1, "its rollback", True),
    ],
)
def test_a_run_killed_while_parts_are_written_again_leaves_a_folder_that_can_be_read(
    brings, late, killed_at, in_hand, lost, tmp_path, monkeypatch
):
    """B05: the next run brings the parts to one schema, whatever its batches bring."""
    first = parquet(tmp_path, mode="append")
    first.open(RUN)
    delivered(first, *[pd.DataFrame({"v": [None], "n": [i]}) for i in range(4)])
    mark, write, written = first.savepoint(), type(first)._write_part, [0]

    def killed(sink, part, data):
        if written[0] == killed_at:
            raise Killed
        written[0] += 1
        write(sink, part, data)

    if in_hand == "its rollback":
        delivered(first, pd.DataFrame({"v": brings, "n": [4]}), first=4)
    with monkeypatch.context() as context:
        context.setattr(type(first), "_write_part", killed)
        with pytest.raises(Killed):
            if in_hand == "the batch":
                delivered(first, pd.DataFrame({"v": brings, "n": [4]}), first=4)
            else:
                first.rollback(mark)
    if lost:
        (tmp_path / MANIFEST).unlink()
    later = parquet(tmp_path, mode="append")
    later.open(LATER_RUN)
    kinds = {str(pq.read_schema(f).field("v").type) for f in tmp_path.glob("*.parquet")}
    if not lost:  # without it the parts that were written again may be all that tells a type
        delivered(later, pd.DataFrame({"v": late, "n": [5]}), run=LATER_RUN)
    later.close()
    back = pd.read_parquet(tmp_path).sort_values("n")["v"]

    assert len(kinds) == 1
    assert back.isna().tolist() == [True] * 4 + [False] * (not lost)


def test_nested_values_find_their_fields_over_time(tmp_path):
    """Empty lists first, keys that come later: what is missing is null, nothing is lost."""
    batches = ([{"tags": [], "a": 1}], [{"tags": ["x"], "b": 2.5}], [{"tags": None, "a": 3}])
    back = through_parquet(tmp_path, *(pd.DataFrame({"x": b}) for b in batches))
    got = [{k: plain(v) for k, v in x.items()} for x in back["x"]]

    assert [x["tags"] for x in got] == [[], ["x"], None]
    assert [x["a"] for x in got] == [1, None, 3]
    assert [x["b"] for x in got] == [None, 2.5, None]


def test_rollback_forgets_the_type_that_a_batch_gave_to_a_null_column(tmp_path):
    """The function is fixed and returns another type: that is the first one now."""
    sink = parquet(tmp_path)
    sink.open(RUN)
    delivered(sink, pd.DataFrame({"x": pd.Series([None], dtype=object)}))
    kept = sink.savepoint()
    delivered(sink, pd.DataFrame({"x": [5]}), first=1)
    sink.rollback(kept)
    delivered(sink, pd.DataFrame({"x": pd.Series([None], dtype=object)}), pd.DataFrame({"x": ["five"]}), first=1)

    assert pd.read_parquet(tmp_path)["x"].tolist()[2:] == ["five"]


def test_a_cast_that_changes_no_value_is_made(tmp_path):
    """Whole numbers into floats, floats that are whole into ints, other units of time."""
    back = through_parquet(
        tmp_path,
        pd.DataFrame(
            {"f": [0.5], "i": [1], "t": pd.to_datetime(["2026-01-01"]).as_unit("ns"), "c": pd.Categorical(["a"])}
        ),
        pd.DataFrame(
            {"f": [2], "i": [3.0], "t": pd.to_datetime(["2026-01-02"]).as_unit("s"), "c": pd.Categorical(["b"])}
        ),
        pd.DataFrame({"f": [3], "i": [None], "t": pd.to_datetime(["2026-01-03"]).as_unit("us"), "c": ["c"]}),
    )

    assert back["f"].tolist() == [0.5, 2.0, 3.0]
    assert back["i"].isna().tolist() == [False, False, True]
    assert back["t"].dt.day.tolist() == [1, 2, 3]
    assert back["c"].astype(str).tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("first", "then", "says"),
    [
        ([1], [1.5], "int64 but batch 1 brings double"),
        ([1.5], [2**60 + 1], "double but batch 1 brings int64"),
        ([1], ["1"], "int64 but batch 1 brings large_string"),
        (["1"], [1], "large_string but batch 1 brings int64"),
        ([1], [True], "int64 but batch 1 brings bool"),
        (
            [pd.Timestamp("2026-01-01")],
            [pd.Timestamp("2026-01-01", tz="UTC")],
            "timestamp.* but batch 1 brings timestamp",
        ),
        ([[1]], [["a"]], "list<.*> but batch 1 brings list"),
        ([{"a": 1}], [1], "struct<a: int64> but batch 1 brings int64; give it one type in the step"),
    ],
)
def test_a_type_that_does_not_fit_names_the_column_and_both_types(first, then, says, tmp_path):
    """Nothing is turned into something else in silence, and nothing of the batch stays."""
    with pytest.raises(SinkError, match=rf"column 'x' as {says}"):
        through_parquet(tmp_path, pd.DataFrame({"x": first}), pd.DataFrame({"x": then}))
    assert len(pd.read_parquet(tmp_path)) == 1


SMALL = np.array([1.5], np.float32)


@pytest.mark.parametrize(
    ("first", "then", "says"),
    [
        (SMALL, [0.5, 0.1], "0.1 would become 0.10000000149"),
        (SMALL, [1e300], "1e\\+300 would become inf"),
        ([Decimal("1.1")], [1.25], "1.25 would become 1.2"),
        ([1.5], [Decimal("1.000000000000000000000000000001")], "would become 1.0"),
        ([SMALL], [[0.1]], "0.1 would become"),
        ([[SMALL]], [None, [[], [0.25, 0.1]]], "0.1 would become"),
        ([{"a": SMALL[0]}], [None, {"a": 0.1}], "0.1 would become"),
        ([[{"a": SMALL[0]}]], [[{}, {"a": 1e40}]], "would become inf"),
        (np.array([1.5], np.float16), SMALL / np.float32(7), "0.21428571.* would become 0.214233"),
        ([0.5], [2**53 + 1], "9007199254740993"),
        ([Decimal("1.25")], [Decimal("1.255")], "Rescaling Decimal"),
    ],
)
def test_a_value_that_a_cast_would_change_is_refused(first, then, says, tmp_path):
    """B04: Arrow's casts round floats and decimals in silence, also inside lists and dicts; compared after the cast."""
    with pytest.raises(SinkError, match=rf"column 'x' as .* but batch 1 brings .*{says}"):
        through_parquet(tmp_path, pd.DataFrame({"x": first}), pd.DataFrame({"x": then}))
    assert len(pd.read_parquet(tmp_path)) == 1


@pytest.mark.parametrize(
    ("first", "then", "back"),
    [
        (SMALL, [0.5, np.nan, -np.inf, None], ["0.5", "nan", "-inf", "nan"]),
        ([Decimal("1.10")], [1.25, None], ["1.25", "None"]),
        ([0.5], [Decimal("1.25")], ["1.25"]),
        ([SMALL], [[0.25, np.nan], None, []], ["[0.25, nan]", "None", "[]"]),
        ([{"a": SMALL[0], "b": "x"}], [{"a": 0.25}, None], ["{'a': 0.25, 'b': None}", "None"]),
        ([1], [2.0, np.nan], ["2.0", "nan"]),
        ([{"a": {"b": 0.5, "c": 1}}], [{"a": {"b": 2}}], ["{'a': {'b': 2.0, 'c': None}}"]),
        ([b"x"], pd.array([b"y"], dtype=pd.ArrowDtype(pa.large_binary())), ["b'y'"]),
    ],
)
def test_a_cast_that_changes_no_value_is_made_wherever_the_value_is(first, then, back, tmp_path):
    """B04's other side: also in lists and dicts, beside nothing and beside what is no number."""
    found = through_parquet(tmp_path, pd.DataFrame({"x": first}), pd.DataFrame({"x": then}))["x"].tolist()

    assert [str(plain(v)) for v in found[len(first) :]] == back


@pytest.mark.parametrize("cell", [[1, "a"], [1 + 2j, 2j], [object(), 1], [{1: 2}, {}], [10**30, 1], [{}, {}]])
def test_a_value_that_parquet_cannot_hold_names_its_column(cell, tmp_path):
    """One sentence, without Arrow's traceback."""
    with pytest.raises(SinkError, match="'?x'?") as caught:
        through_parquet(tmp_path, pd.DataFrame({"fine": [1, 2], "x": cell}))
    assert "\n" not in str(caught.value)


def test_dtypes_come_back(tmp_path):
    """Nullable integers, zones, durations, categories, nested values, missing text."""
    batch = pd.DataFrame(
        {
            "n": pd.array([1, None], dtype="Int64"),
            "z": pd.to_datetime(["2026-07-01 12:00", None]).tz_localize("Europe/Berlin"),
            "d": pd.to_timedelta([1, 2], unit="s"),
            "c": pd.Categorical(["a", None]),
            "s": pd.Series(["x", None], dtype="str"),
            "b": [True, False],
            "p": pd.period_range("2026-01", periods=2, freq="M"),
        }
    )
    batch.attrs["not json"] = object()
    back = through_parquet(tmp_path, batch, batch)

    pd.testing.assert_frame_equal(back, pd.concat([batch, batch], ignore_index=True), check_flags=False)


def test_files_of_others_in_the_folder_are_named_and_left(tmp_path):
    """Hidden ones do not count, a part that was overwritten does."""
    through_parquet(tmp_path, rows(0), rows(1))
    (tmp_path / ".DS_Store").write_text("x")
    through_parquet_again = parquet(tmp_path)
    through_parquet_again.open(LATER_RUN)
    delivered(through_parquet_again, rows(2), run=LATER_RUN)
    through_parquet_again.close()
    assert (tmp_path / ".DS_Store").exists()
    rows(9).to_parquet(tmp_path / "mine.parquet")
    ours = next(tmp_path.glob("part-*"))
    rows(3).assign(edited=True).to_parquet(ours)

    with pytest.raises(SinkError, match=f"'mine.parquet', '{ours.name}'"):
        parquet(tmp_path).open("0" * 12)
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_a_lost_manifest_is_no_loss(tmp_path):
    """The parts also say whose they are."""
    through_parquet(tmp_path, rows(0), rows(1))
    (tmp_path / MANIFEST).unlink()
    sink = parquet(tmp_path, mode="append")
    sink.open(RUN)

    assert sink.last() == Delivery(RUN, 1)
    delivered(sink, rows(2), first=2)
    assert pd.read_parquet(tmp_path)["at"].tolist() == [0, 1, 2]


def test_a_manifest_cannot_point_outside_its_folder(tmp_path):
    """A folder from somebody else must not make mblab delete."""
    (tmp_path / "precious.txt").write_text("x")
    folder = tmp_path / "out"
    through_parquet(folder, rows(0))
    line = {"part": "../precious.txt", "bytes": 1, "rows": 1, "run_id": RUN, "batch_id": 1, "input_hash": ""}
    with (folder / MANIFEST).open("a") as manifest:
        manifest.write(json.dumps(line) + "\n")
    parquet(folder).open(LATER_RUN)

    assert (tmp_path / "precious.txt").read_text() == "x"


def test_a_manifest_that_cannot_be_read_says_what_to_do(tmp_path):
    """One sentence."""
    through_parquet(tmp_path, rows(0))
    (tmp_path / MANIFEST).write_text("{}\nnonsense\n")

    with pytest.raises(SinkError, match="delete that file"):
        parquet(tmp_path).open(LATER_RUN)


def test_a_part_is_synced_before_it_gets_its_name_and_the_name_after(tmp_path, monkeypatch):
    """A kill does not show a missing fsync, a power cut would."""
    sink, order = parquet(tmp_path), []
    sink.open(RUN)
    for owner, name in CALLS:
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, real=real, name=name: (order.append(name), real(*a))[1])
    delivered(sink, rows(0))
    schema_line, manifest_line = "pwrite", "pwrite"

    assert order == [schema_line, "pwrite", "fsync", "replace", "fsync", manifest_line]


def test_csv_waits_for_the_disk_only_with_a_checkpoint(tmp_path, monkeypatch):
    """Without one no run comes back after a power cut; closing syncs what there is."""
    sink, synced = csv(tmp_path / "rows.csv"), []
    sink.open(RUN)
    monkeypatch.setattr(os, "fsync", synced.append)
    delivered(sink, rows(0))
    assert synced == []
    delivered(sink, rows(1), first=1, input_hash="h")
    assert len(synced) == 3  # marker, folder, rows
    sink.close()

    assert len(synced) == 4


def test_the_manifest_lists_each_part_once_with_its_rows(tmp_path):
    """Its lines are for people and programs."""
    through_parquet(tmp_path, rows(0, 1), rows(2))
    lines = [json.loads(line) for line in (tmp_path / MANIFEST).read_text().splitlines()]

    assert [(x["part"], x["batch_id"], x["rows"]) for x in lines if "part" in x] == [
        (_one(tmp_path, 0).name, 0, 2),
        (_one(tmp_path, 1).name, 1, 1),
    ]


# -- call ---------------------------------------------------------------------------------------------------------


def test_call_passes_as_much_as_the_function_takes():
    """rows; rows and batch_id; rows, batch_id and run_id."""
    seen = []
    functions = [
        lambda r: seen.append((len(r),)),
        lambda r, b: seen.append((len(r), b)),
        lambda r, b, run: seen.append((len(r), b, run)),
        lambda r, table="t": seen.append((len(r), table)),
        lambda *a: seen.append((len(a[0]), len(a))),
        functools.partial(lambda prefix, r, b: seen.append((prefix, len(r), b)), "p"),
    ]
    for fn in functions:
        call(fn).deliver(rows(0, 1), Delivery(RUN, 4))

    assert seen == [(2,), (2, 4), (2, 4, RUN), (2, "t"), (2, 1), ("p", 2, 4)]


def test_call_hands_over_rows_that_the_function_may_change():
    """`run.output` holds the same frame."""
    batch = rows(0, 1)
    call(lambda r: r.insert(0, "new", 1)).deliver(batch, Delivery(RUN, 0))
    call(lambda r: r.__setitem__("at", 7)).deliver(batch, Delivery(RUN, 0))

    pd.testing.assert_frame_equal(batch, rows(0, 1))


def test_a_function_that_raises_says_which_and_on_what():
    """Its own error is the cause."""

    def publish(rows):
        raise ConnectionError("broker gone")

    with pytest.raises(SinkError, match=r"publish failed on batch 3: ConnectionError: broker gone") as caught:
        call(publish).deliver(rows(0), Delivery(RUN, 3))
    assert isinstance(caught.value.__cause__, ConnectionError)


async def waits(rows): ...


def yields(rows):
    yield


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (3, "fn must be a function"),
        ("print", "fn must be a function"),
        (lambda: None, r"takes \[\]"),
        (lambda a, b, c, d: None, r"takes \['a', 'b', 'c', 'd'\]"),
        (lambda r, *, key: None, r"takes \['r', 'key'\]"),
        (waits, "waits is async or a generator"),
        (functools.partial(yields), "is async or a generator"),
    ],
)
def test_what_cannot_take_rows_is_refused_at_once(fn, says):
    """When the cell is run, not in the first batch."""
    with pytest.raises(SettingError, match=says):
        call(fn)


def test_a_function_is_known_by_its_name():
    """Defining it again is the same target; other functions are other targets."""

    def make():
        def publish(rows): ...

        return publish

    assert call(make()).target == call(make()).target
    assert call(make()).target.endswith(":test_a_function_is_known_by_its_name.<locals>.make.<locals>.publish")
    a, b = call(lambda r: 1), call(lambda r: 2)
    assert call(print).target == "builtins:print"
    assert a.target != call(print).target
    assert call(functools.partial(print, "a")).target != call(functools.partial(print, "b")).target
    assert b.target.rsplit(":", 1)[1].isdigit()


def test_a_call_that_has_a_name_can_be_exported_and_a_lambda_cannot():
    """The script names the function."""
    assert call(yields_nothing).code() == "mblab.sinks.call(yields_nothing)"
    for fn in (lambda r: None, [].append, functools.partial(print)):
        with pytest.raises(ExportError, match="def and a name"):
            call(fn).code()


def yields_nothing(rows): ...


def test_call_promises_at_least_once():
    """It keeps nothing, undoes nothing and meets the protocol."""
    sink = call(yields_nothing)
    sink.open(RUN)
    sink.rollback(sink.savepoint())
    sink.close()

    assert isinstance(sink, Sink)
    assert (sink.last(), sink.guarantee, sink.effects, sink.path) == (None, "at least once", True, None)
    assert "at least once" in sink.describe()


# -- the room -----------------------------------------------------------------------------------------------------


def test_each_kind_of_sink_is_a_file_with_a_function_of_its_name():
    """So a new kind is one new file."""
    folder = Path(mblab.sinks.__file__).parent

    assert set(mblab.sinks.__all__) - {"Delivery", "Sink"} == {"call", "csv", "jsonl", "memory", "parquet", "sqlite"}
    for name in mblab.sinks.KINDS:
        assert (folder / f"{name}.py").is_file()
        assert getattr(mblab.sinks, name) is mblab.sinks.KINDS[name]
        assert not isinstance(getattr(mblab.sinks, name), type(sys))  # an import makes it the file


@pytest.mark.parametrize(
    "sink", [csv("a.csv"), jsonl("a.jsonl"), parquet("a"), mblab.sinks.sqlite("a.db"), memory(), call(print)]
)
def test_every_sink_of_ours_can_be_exported(sink):
    """It says its path, its functions and its code; one of a user's own need not."""
    assert isinstance(sink, ExportableSink)
    assert not isinstance(ListSink(), ExportableSink)
    assert isinstance(ListSink(), Sink)

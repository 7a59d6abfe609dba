"""What every sink must keep, as laws that can be run against yours: `mblab.testing.check_sink`.

A law gets fresh, empty places from `make` and looks at them through `read`, as a reader of the results would. What
holds follows from what the sink promises: one that says "exactly once" must have each batch once after any crash, one
that says "at least once" must not lose any.

    your sink -> [sink_laws] -> nothing, or the law it breaks
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, cast, get_args

import numpy as np
import pandas as pd

from mblab.errors import SettingError, SinkError, did_you_mean, shown
from mblab.sinks.base import Delivery, Mode, Sink

__all__ = ["SINK_LAWS", "check_sink"]

S = TypeVar("S", bound=Sink)

RUN, LATER_RUN, LAST_RUN = "0123456789ab", "cdef01234567", "89abcdef0123"
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
ROWS_KILLED: Final = 10  # a batch, where the process is killed
BATCHES_BEFORE_KILL: Final = 5
HOSTILE_NAMES: Final = (
    "", " ", "select", "a b", "a,b", 'a"b', "a'b", "a;DROP TABLE output;--", "%s", "{x}", "<script>", "größe", "日本",
    "x\ny", "__proto__", "rowid", "batch_id", "=1+1", "a" * 200,
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A sink under test.

    Attributes:
        make: The sink again, as another process would make it.
        read: Its rows, as a reader sees them.
        folder: A folder of its own.
        foreign: Puts something there that the sink did not write, and returns what tells whether it is unharmed; None
            when the sink has no such thing.
    """

    make: Callable[..., Sink]
    read: Callable[[Sink], pd.DataFrame]
    folder: Path
    foreign: Callable[[Path], Callable[[], object]] | None

    def sink(self, mode: Mode | None = None) -> Sink:
        """Return a new handle on the place."""
        return self.make(self.folder) if mode is None else self.make(self.folder, mode=mode)

    @property
    def has_modes(self) -> bool:
        """Whether `make` takes a mode."""
        return "mode" in inspect.signature(self.make).parameters

    def is_once(self, sink: Sink) -> bool:
        """Return whether the sink promises that nothing stands there twice."""
        return "exactly once" in sink.guarantee

    def survives(self, sink: Sink) -> bool:
        """Return whether anything is left when the process is gone."""
        return "within the process" not in sink.guarantee

    def at(self, sink: Sink) -> list[int]:
        """Return the numbers in the column `at`, in the reader's order; none when there is nothing."""
        rows = self.read(sink)
        return [int(v) for v in rows["at"]] if len(rows) else []


def _rows(*at: int) -> pd.DataFrame:
    return pd.DataFrame({"at": np.array(at, np.int64), "who": pd.Series([f"w{a}" for a in at], dtype="str")})


def _deliver(sink: Sink, *batches: pd.DataFrame, run: str = RUN, first: int = 0, input_hash: str = "") -> None:
    for batch_id, batch in enumerate(batches, first):
        sink.deliver(batch, Delivery(run, batch_id, input_hash))


Found = TypeVar("Found")


def _same(found: Found, expected: Found, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{what}: expected {shown(expected, 160)}, found {shown(found, 160)}")


@contextmanager
def _refused(what: str) -> Iterator[None]:
    try:
        yield
    except SinkError as error:
        if "\n" in str(error):
            raise AssertionError(f"{what}: its SinkError is more than one line: {error}") from error
    else:
        raise AssertionError(f"{what}: no SinkError was raised")


# -- the laws -----------------------------------------------------------------------------------------------------


def it_says_what_it_is(place: Place) -> None:
    """It has the protocol's methods, a target that stays, and one line that names its guarantee."""
    sink, again = place.sink(), place.sink()
    _same(isinstance(sink, Sink), True, "is a Sink")
    _same(again.target, sink.target, "target of the same place")
    _same(bool(sink.target) and bool(sink.guarantee), True, "target and guarantee are words")
    _same(
        sink.guarantee in sink.describe() and "\n" not in sink.describe(),
        True,
        "describe() is a line with the guarantee",
    )


def a_reader_finds_all_rows_in_order(place: Place) -> None:
    """N rows in, n rows out, with their names and values."""
    sink = place.sink()
    sink.open(RUN)
    _deliver(sink, _rows(0, 1), _rows(2), _rows(3, 4))
    sink.close()
    found = place.read(sink)
    _same([str(c) for c in found.columns], ["at", "who"], "columns")
    _same([int(v) for v in found["at"]], [0, 1, 2, 3, 4], "column at")
    _same([str(v) for v in found["who"]], ["w0", "w1", "w2", "w3", "w4"], "column who")


def a_run_without_results_leaves_no_rows(place: Place) -> None:
    """Opened and closed, nothing is there, and nothing is known; closing twice is fine."""
    sink = place.sink()
    sink.open(RUN)
    _same(sink.last(), None, "last() of a run that delivered nothing")
    sink.close()
    sink.close()
    _same(place.at(sink), [], "rows of a run that delivered nothing")


def what_was_delivered_can_be_read_at_once(place: Place) -> None:
    """Every batch is there when `deliver` has returned, while the run goes on."""
    sink = place.sink()
    sink.open(RUN)
    for batch_id in range(3):
        sink.deliver(_rows(batch_id), Delivery(RUN, batch_id))
        _same(place.at(sink), list(range(batch_id + 1)), f"rows after batch {batch_id}")
    sink.close()


def a_batch_delivered_again_stands_there_once(place: Place) -> None:
    """Idempotent by run and batch: the last batch, and one before it; also through a new handle."""
    sink = place.sink()
    sink.open(RUN)
    _deliver(sink, _rows(0), _rows(1))
    _deliver(sink, _rows(0), _rows(1))
    if place.survives(sink):
        sink.close()
        sink = place.sink()
        sink.open(RUN)
        _deliver(sink, _rows(1), first=1)
    sink.close()
    found = place.at(sink)
    _same(found if place.is_once(sink) else sorted(set(found)), [0, 1], "rows of two batches that came again")


def a_batch_made_of_other_input_is_refused(place: Place) -> None:
    """The hash is compared, not only the id: else a checkpoint that went back in time loses rows in silence."""
    sink = place.sink()
    if not place.is_once(sink):
        return
    sink.open(RUN)
    _deliver(sink, _rows(0), _rows(1), input_hash="before")
    for batch_id in (0, 1):
        with _refused(f"batch {batch_id} again, made of other input"):
            sink.deliver(_rows(9), Delivery(RUN, batch_id, "after"))
    _same(place.at(sink), [0, 1], "rows after the refusal")
    sink.close()


def last_names_the_newest_delivery(place: Place) -> None:
    """Run, batch and hash; also asked of a new handle."""
    sink = place.sink()
    sink.open(RUN)
    _deliver(sink, _rows(0), _rows(1), input_hash="h")
    if place.is_once(sink):
        _same(_key(sink.last()), (RUN, 1, "h"), "last()")
    sink.close()
    if place.is_once(sink) and place.survives(sink):
        _same(_key(place.sink().last()), (RUN, 1, "h"), "last() of a new handle")


def _key(last: Delivery | None) -> object:
    return last and (last.run_id, last.batch_id, last.input_hash)


def a_run_that_opens_again_goes_on(place: Place) -> None:
    """The same run continues, whatever the mode."""
    sink = place.sink()
    for first in (0, 1, 2):
        sink.open(RUN)
        _deliver(sink, _rows(first), first=first)
        sink.close()
    _same(place.at(sink), [0, 1, 2], "rows of a run that was opened three times")


def rollback_undoes_what_was_delivered_since(place: Place) -> None:
    """Also the first batch, after which other columns may come; a savepoint survives JSON."""
    sink = place.sink()
    if not place.is_once(sink):
        sink.rollback(sink.savepoint())
        return
    sink.open(RUN)
    start = json.loads(json.dumps(sink.savepoint()))
    _deliver(sink, _rows(0).assign(typo=1))
    sink.rollback(start)
    _same(sink.last(), None, "last() when the only batch is undone")
    _deliver(sink, _rows(0))
    kept = json.loads(json.dumps(sink.savepoint()))
    _deliver(sink, _rows(1), _rows(2), first=1)
    sink.rollback(kept)
    _same(_key(sink.last()), (RUN, 0, ""), "last() when two batches are undone")
    _deliver(sink, _rows(3), first=1)
    sink.close()
    _same(place.at(sink), [0, 3], "rows after a rollback")
    _same([str(c) for c in place.read(sink).columns], ["at", "who"], "columns after a rollback")


def a_new_run_follows_the_mode(place: Place) -> None:
    """`replace` takes the earlier run's rows away, `append` keeps them, `error` refuses and touches nothing."""
    first = place.sink()
    first.open(RUN)
    _deliver(first, _rows(0))
    first.close()
    if place.has_modes:
        refusing = place.sink(mode="error")
        with _refused("another run with mode='error'"):
            refusing.open(LATER_RUN)
        refusing.close()
        _same(place.at(first), [0], "rows after mode='error'")
        adding = place.sink(mode="append")
        adding.open(LATER_RUN)
        _deliver(adding, _rows(1), run=LATER_RUN)
        adding.close()
        _same(place.at(adding), [0, 1], "rows after mode='append'")
    if place.is_once(first):
        again = place.sink("replace" if place.has_modes else None) if place.survives(first) else first
        again.open(LAST_RUN)
        _same(again.last(), None, "last() when a new run has replaced the old one's rows")
        _deliver(again, _rows(2).assign(more=1.5), run=LAST_RUN)
        again.close()
        _same(place.at(again), [2], "rows after mode='replace'")


def delivering_leaves_the_rows_alone(place: Place) -> None:
    """The same frame goes to every sink and into `run.output`."""
    batch = pd.DataFrame({0: [1.5], "when": pd.to_datetime(["2026-01-01"]), "list": [[1, 2]]})
    before = batch.copy(deep=True)
    sink = place.sink()
    sink.open(RUN)
    _deliver(sink, batch)
    sink.close()
    pd.testing.assert_frame_equal(batch, before)


def special_values_keep_their_rows(place: Place) -> None:
    """Missing, infinite, huge, zoned and hostile values: every row is there, and text and integers are exact."""
    text = ["", 'a,b\n"c"', "ä 日本 🙂", "NULL", "'; DROP TABLE output; --"]
    n = len(text)
    batch = pd.DataFrame(
        {
            "at": np.array([0, -1, 2**53 + 1, 2**63 - 1, -(2**63)], np.int64),
            "text": pd.Series(text, dtype="str"),
            "missing": pd.Series([None, "x", None, "y", None], dtype="str"),
            "number": [1.5, np.nan, np.inf, -np.inf, 1e-300],
            "whole": pd.array([1, None, 3, None, 2**62], dtype="Int64"),
            "flag": [True, False, True, False, True],
            "when": pd.Series(["2026-01-01", None, "1970-01-01", "2262-04-11", "2026-06-01 12:00:00.000001"]).astype(
                "datetime64[us]"
            ),
            "zoned": pd.to_datetime(["2026-07-01 12:00"] * n).tz_localize("Europe/Berlin"),
            "lasts": pd.to_timedelta([1, 2, 3, 4, 5], unit="s"),
            "group": pd.Categorical(["a", "b", None, "a", "b"]),
            "nested": [[1], [], None, [2, 3], [4]],
            "never": pd.Series([None] * n, dtype=object),
        }
    )
    sink = place.sink()
    sink.open(RUN)
    _deliver(sink, batch, batch)
    sink.close()
    found = place.read(sink)
    _same([str(c) for c in found.columns], [str(c) for c in batch.columns], "columns")
    _same([int(v) for v in found["at"]], [*batch["at"]] * 2, "64-bit integers")
    _same(found["text"].tolist()[1:n], text[1:], "text")  # an empty text is a missing value in some formats
    _same(found["missing"].isna().tolist(), batch["missing"].isna().tolist() * 2, "which texts are missing")
    _same(found["number"].tolist()[0], 1.5, "a float")
    _same(found["never"].isna().all().item(), True, "a column that is always missing")


def hostile_column_names_do_no_harm(place: Place) -> None:
    """Each name comes back as it was, or the batch is refused in one sentence and nothing of it stands there."""
    sink = place.sink()
    sink.open(RUN)
    _deliver(sink, _rows(0))
    sink.close()
    for number, name in enumerate(HOSTILE_NAMES):
        folder = place.folder / f"name{number}"
        folder.mkdir()
        one = Place(place.make, place.read, folder, place.foreign)
        other = one.sink()
        other.open(RUN)
        batch = pd.DataFrame([[1, 7]], columns=["at", name])
        try:
            _deliver(other, batch)
        except SinkError as error:
            _same("\n" in str(error), False, f"refusal of column {name!r} is one line")
            continue
        finally:
            other.close()
        found = one.read(other)
        _same(len(found), 1, f"rows with a column {name[:20]!r}")
        _same(int(found["at"].iloc[0]), 1, f"the column beside {name[:20]!r}")
    if place.survives(sink):
        _same(place.at(sink), [0], "rows that stood there before")


def a_batch_with_other_columns_is_taken_or_refused(place: Place) -> None:
    """Schema drift is either written so that old and new rows are there, or refused with nothing of the batch left."""
    sink = place.sink()
    sink.open(RUN)
    _deliver(sink, _rows(0))
    kept = sink.savepoint()
    try:
        _deliver(sink, _rows(1).rename(columns={"who": "whom"}), first=1)
        expected = [0, 1]
    except SinkError as error:
        _same("\n" in str(error), False, "the refusal is one line")
        sink.rollback(kept)
        expected = [0]
    _same(place.at(sink), expected, "rows after a batch with other columns")
    _deliver(sink, _rows(2), first=2)
    sink.close()
    _same(place.at(sink), [*expected, 2], "rows after it")


def two_runs_at_once_do_not_mix_up_batches(place: Place) -> None:
    """A second run is refused when it begins, or makes the first one stop; no row of either is lost in silence."""
    first, second = place.sink(), place.sink()
    if not (place.is_once(first) and place.survives(first)):
        return
    first.open(RUN)
    _deliver(first, _rows(0))
    try:
        second.open(LATER_RUN)
    except SinkError:
        _deliver(first, _rows(1), first=1)
        _same(place.at(first), [0, 1], "rows of the run that was first")
        first.close()
        return
    _deliver(second, _rows(5, 6), run=LATER_RUN)
    with _refused("a batch of a run that another has replaced"):
        _deliver(first, _rows(1), first=1)
    _same(place.at(second), [5, 6], "rows of the run that is on")
    first.close()
    second.close()


def what_others_wrote_is_never_touched(place: Place) -> None:
    """Whatever the mode, a run does not even start."""
    if place.foreign is None:
        return
    fingerprint = place.foreign(place.folder)
    before = fingerprint()
    for mode in MODES if place.has_modes else (None,):
        sink = place.sink(mode)
        with _refused(f"a place that holds what others wrote (mode={mode!r})"):
            sink.open(RUN)
        sink.close()
        _same(fingerprint(), before, "what others wrote")


def no_descriptor_stays_open(place: Place) -> None:
    """Opening again and closing give every file back; a closed sink takes nothing."""
    held = Path("/proc/self/fd")
    place.sink().close()
    for run in (RUN, LATER_RUN, RUN):
        sink = place.sink()
        sink.open(run)
        before = len(list(held.iterdir())) if held.is_dir() else 0
        sink.open(run)
        _deliver(sink, _rows(0), run=run)
        _same(
            (len(list(held.iterdir())) if held.is_dir() else 0) <= before + 3,
            True,
            "a sink opened twice holds its files once",
        )
        sink.close()
    if place.is_once(sink) and place.survives(sink):
        with _refused("a delivery to a closed sink"):
            _deliver(sink, _rows(1), first=1)


def a_killed_process_leaves_whole_batches(place: Place) -> None:
    """Kill -9 while batches are delivered: all that were reported are there, and the run goes on without a gap."""
    sink = place.sink()
    if not (place.is_once(sink) and place.survives(sink)) or not hasattr(os, "fork"):
        return
    mode: Mode | None = "append" if place.has_modes else None
    reported = _deliver_until_killed(lambda: place.sink(mode))
    sink = place.sink(mode)
    sink.open(RUN)
    newest = sink.last()
    last = newest.batch_id if newest else -1
    _same(last in (reported, reported + 1), True, f"last() is {last}, the process reported {reported}")
    _same(place.at(sink), list(range((last + 1) * ROWS_KILLED)), "rows after kill -9")
    for batch_id in (last, last + 1):
        sink.deliver(_batch(batch_id), Delivery(RUN, batch_id, "h", replay=True))
    sink.close()
    _same(place.at(sink), list(range((last + 2) * ROWS_KILLED)), "rows after the run went on")


def _batch(batch_id: int) -> pd.DataFrame:
    return _rows(*range(batch_id * ROWS_KILLED, (batch_id + 1) * ROWS_KILLED))


def _deliver_until_killed(make: Callable[[], Sink]) -> int:
    """Deliver in a forked process, kill it with SIGKILL a moment after the fifth batch; return the last it reported."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # a fork of a process with threads; the child uses none of them
        child = os.fork()
    if child == 0:
        try:
            sink = make()
            sink.open(RUN)
            for batch_id in range(100_000):
                sink.deliver(_batch(batch_id), Delivery(RUN, batch_id, "h"))
                os.write(writes, f"{batch_id}\n".encode())
        finally:
            os._exit(1)  # neither atexit nor a test runner may go on in here
    os.close(writes)
    with os.fdopen(reads, "rb") as lines:
        reported = [int(line) for _, line in zip(range(BATCHES_BEFORE_KILL), lines, strict=False)]
        time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reported += [int(line) for line in lines if line.endswith(b"\n")]
    return max(reported, default=-1)


SINK_LAWS: Final[dict[str, Callable[[Place], None]]] = {
    law.__name__: law
    for law in (
        it_says_what_it_is, a_reader_finds_all_rows_in_order, a_run_without_results_leaves_no_rows,
        what_was_delivered_can_be_read_at_once, a_batch_delivered_again_stands_there_once,
        a_batch_made_of_other_input_is_refused, last_names_the_newest_delivery, a_run_that_opens_again_goes_on,
        rollback_undoes_what_was_delivered_since, a_new_run_follows_the_mode, delivering_leaves_the_rows_alone,
        special_values_keep_their_rows, hostile_column_names_do_no_harm, a_batch_with_other_columns_is_taken_or_refused,
        two_runs_at_once_do_not_mix_up_batches, what_others_wrote_is_never_touched, no_descriptor_stays_open,
        a_killed_process_leaves_whole_batches,
    )
}  # fmt: skip


def check_sink(
    make: Callable[..., S],
    read: Callable[[S], pd.DataFrame],
    *,
    foreign: Callable[[Path], Callable[[], object]] | None = None,
    laws: Sequence[str] | None = None,
) -> list[str]:
    """Run the laws of a sink against yours, and return the names of those it was held to.

    Args:
        make: make(folder) returns the sink that writes into a folder, the same place each time; make(folder, mode) when
            it has modes. For a database, take a table or a schema named after the folder.
        read: read(sink) returns what a reader finds there, in order of delivery; a frame without rows when nothing is.
        foreign: foreign(folder) puts something that your sink did not write where it would write, and returns a
            function that gives it back, by which the law sees that it was not touched.
        laws: Names out of `SINK_LAWS`; None means all.

    Raises:
        AssertionError: A law is broken; it says which, what was expected and what was found.

    >>> from mblab import sinks
    >>> len(check_sink(lambda folder: sinks.memory(), lambda sink: sink.frame().drop(columns="batch_id"))) > 10
    True
    """
    chosen = [*SINK_LAWS] if laws is None else [*laws]
    for name in chosen:
        if name not in SINK_LAWS:
            raise SettingError(f"{name!r} is no law of a sink; there are {[*SINK_LAWS]}{did_you_mean(name, SINK_LAWS)}")
        with tempfile.TemporaryDirectory() as folder:
            place = Place(make, cast("Callable[[Sink], pd.DataFrame]", read), Path(folder), foreign)
            try:
                SINK_LAWS[name](place)
            except Exception as broken:
                what = str(broken) if isinstance(broken, AssertionError) else f"{type(broken).__name__}: {broken}"
                broke = f"{type(place.sink()).__name__} breaks the law that {name.replace('_', ' ')}"
                raise AssertionError(f"{broke}: {what}") from broken
    return chosen

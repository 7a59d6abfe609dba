"""What goes wrong on the way: drawn by row number, in order again, written down, and never dependent on the blocks."""

import json
import pickle
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mblab import arrivals
from mblab.errors import ColumnError, SettingError, SourceError
from mblab.sources import Block, Source, replay, simulate
from mblab.sources.modifiers.modified import Modifiable

from .laws import examples

S = 10**9


@dataclass(frozen=True)
class Cut(Modifiable):
    """Whole seconds as arrivals, in blocks of the given lengths."""

    times: tuple
    lengths: tuple

    name, speedup, endless, event_time = "cut", 1.0, False, "event_time"

    def open(self, position=None):
        ends = np.cumsum(self.lengths).tolist()
        for start, end in zip([0, *ends], ends, strict=False):
            if start >= (position or {"row": 0})["row"]:
                times = np.array(self.times[start:end], np.int64)
                rows = pd.DataFrame({"id": np.arange(start, start + len(times)), "event_time": times})
                yield Block(rows, times * S, {"row": start})

    def describe(self):
        return "cut"

    def code(self, input):
        return input


def whole(source):
    """All rows with their arrival in ns."""
    blocks = list(source.open())
    if not blocks:  # every row was dropped
        return pd.DataFrame({"id": [], "arrival_ns": []})
    rows = pd.concat([b.rows for b in blocks], ignore_index=True)
    return rows.assign(arrival_ns=np.concatenate([b.arrival_ns for b in blocks]))


TICKS = replay(pd.DataFrame({"t": np.arange(10_000) / 10, "id": np.arange(10_000)}), arrival="t")

keeping = st.one_of(
    st.tuples(st.just("with_late"), st.sampled_from([0, 0.3, 1]), st.sampled_from([1, 7, (0, 5), (2, 30)])),
    st.tuples(st.just("with_duplicates"), st.sampled_from([0, 0.3, 1]), st.sampled_from([0, 1, 9])),
    st.tuples(st.just("with_gaps"), st.sampled_from([5, 9]), st.sampled_from([1, (0, 4)]), st.just("delay")),
)
dropping = st.tuples(st.just("with_gaps"), st.sampled_from([5, 9]), st.sampled_from([1, (0, 4)]), st.just("drop"))
spoiling = st.tuples(
    st.just("with_poison"),
    st.sampled_from([0, 0.3, 1]),
    st.sampled_from([None, "id"]),
    st.sampled_from(["null", "type"]),
)
modifiers = st.lists(keeping, min_size=1, max_size=3)
any_modifiers = st.one_of(modifiers, st.tuples(keeping, spoiling), st.tuples(dropping, keeping, spoiling))


@st.composite
def cuts(draw):
    """The same rows cut into blocks in two ways; ties across a cut are common, empty blocks happen."""
    times = tuple(sorted(draw(st.lists(st.integers(0, 15), min_size=1, max_size=25))))
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=12))
    return times, (len(times),), (*lengths, max(0, len(times) - sum(lengths)))


def modified(source, chain):
    for method, *arguments in chain:
        source = getattr(source, method)(*arguments)
    return source


@examples(150)
@given(cuts(), any_modifiers)
def test_the_blocks_of_the_source_do_not_show_in_the_result(cut, chain):
    """Rows, arrivals and ledger are the same from one block as from many."""
    times, one, many = cut
    a, b = modified(Cut(times, one), chain), modified(Cut(times, many), chain)

    pd.testing.assert_frame_equal(whole(a), whole(b))
    pd.testing.assert_frame_equal(a.ledger, b.ledger)


@examples(100)
@given(cuts(), any_modifiers)
def test_a_position_gives_its_block_and_all_that_follow_again(cut, chain):
    """Also through JSON, whatever is held back, and through a chain."""
    times, _, many = cut
    source = modified(Cut(times, many), chain)
    blocks = list(source.open())

    for i, block in enumerate(blocks):
        again = list(source.open(json.loads(json.dumps(block.position))))

        for found, wanted in zip(again, blocks[i:], strict=True):
            pd.testing.assert_frame_equal(found.rows, wanted.rows)
            assert found.arrival_ns.tolist() == wanted.arrival_ns.tolist()
            assert found.position == wanted.position


@examples(100)
@given(cuts(), modifiers)
def test_the_stream_is_in_order_and_nothing_is_lost(cut, chain):
    """Every row is there once, and once more for each duplicate in the ledger; event times stay."""
    times, _, many = cut
    source = modified(Cut(times, many), chain)
    rows = whole(source)

    assert rows["arrival_ns"].is_monotonic_increasing
    assert set(rows["id"]) == set(range(len(times)))
    assert len(rows) == len(times) + (source.ledger["kind"] == "duplicate").sum()
    assert rows["event_time"].tolist() == [times[i] for i in rows["id"]]


@examples(100)
@given(cuts(), st.sampled_from([0, 0.3, 1]), st.sampled_from([1, (0, 5)]))
def test_the_ledger_explains_every_late_arrival(cut, fraction, delay):
    """New arrival = old arrival + delay_s in the ledger; rows that are not in it are on time."""
    times, _, many = cut
    source = Cut(times, many).with_late(fraction, delay)
    rows = whole(source)
    added = source.ledger.set_index("row")["delay_s"].reindex(range(len(rows)), fill_value=0.0)

    np.testing.assert_allclose(rows["arrival_ns"] / S, rows["event_time"] + added, atol=1e-9)


def test_late_rows_go_behind_what_overtook_them():
    """A row is inserted at its new arrival, before later rows of the same time."""
    # seconds   0  1  2  3  4  5
    # rows      a  b  c  d  e  f       all of them 2 s late: the same order, 2 s later
    rows = whole(Cut((0, 1, 2, 3, 4, 5), (2, 4)).with_late(1, 2))

    assert rows["id"].tolist() == [0, 1, 2, 3, 4, 5]
    assert (rows["arrival_ns"] // S).tolist() == [2, 3, 4, 5, 6, 7]


def test_on_a_tie_the_row_that_was_sent_first_arrives_first():
    """Stable: a late row of number 0 stands before number 2, which arrives at the same time."""
    seed = next(s for s in range(99) if Cut((0, 1, 2), (3,)).with_late(0.5, 2, seed=s).ledger["row"].tolist() == [1])
    rows = whole(Cut((0, 1, 2), (1, 1, 1)).with_late(0.5, 2, seed=seed))

    assert rows["id"].tolist() == [1, 0, 2]


def test_a_duplicate_follows_its_original():
    """With no delay at once, else when its time comes."""
    assert whole(Cut((0, 0, 1), (3,)).with_duplicates(1))["id"].tolist() == [0, 0, 1, 1, 2, 2]
    assert whole(Cut((0, 0, 1), (3,)).with_duplicates(1, 1))["id"].tolist() == [0, 1, 0, 1, 2, 2]


def test_the_share_and_the_delay_are_what_was_asked_for():
    """5 % of 10,000 rows, evenly between 10 and 20 s."""
    ledger = TICKS.with_late(0.05, ("10s", "20s")).ledger

    assert len(ledger) == pytest.approx(500, abs=70)
    assert ledger["delay_s"].between(10, 20).all()
    assert ledger["delay_s"].mean() == pytest.approx(15, abs=0.5)


def test_late_rows_are_drawn_apart_from_each_other():
    """Whether a row is late says nothing about the next one, nor does the delay about the chance."""
    late = np.zeros(10_000)
    ledger = TICKS.with_late(0.5, (0, 1e-3)).ledger
    late[ledger["row"]] = 1

    assert abs(np.corrcoef(late[1:], late[:-1])[0, 1]) < 0.05
    assert ledger["delay_s"].mean() == pytest.approx(0.5e-3, rel=0.05)


def test_the_ledger_has_its_columns_and_dtypes():
    """Also when nothing was done."""
    dtypes = {"row": "int64", "kind": "str", "delay_s": "float64", "column": "str", "original": "object"}

    for source in (TICKS, TICKS.with_late(0, 1), TICKS.with_late(0.1, 1), TICKS.with_late(0.1, 1).with_duplicates(0.1)):
        assert {c: str(t) for c, t in source.ledger.dtypes.items()} == dtypes
        assert source.ledger.index.equals(pd.RangeIndex(len(source.ledger)))
    assert not len(TICKS.ledger)


def test_a_chain_has_one_ledger_in_the_rows_of_the_result():
    """What the first modifier did is found where the second one put it."""
    inner = TICKS.with_late(0.1, 5)
    source = inner.with_duplicates(0.1, 3)
    late = source.ledger.query("kind == 'late'")
    was = whole(inner)["id"].to_numpy()[inner.ledger["row"]]

    assert sorted(whole(source)["id"].to_numpy()[late["row"]]) == sorted(was)
    assert source.ledger["row"].is_monotonic_increasing


def test_the_ledger_of_an_endless_source_covers_what_was_read():
    """It grows as the source is read, and is a beginning of the same longer ledger."""
    source = simulate.sensors(devices=3, duration=None).with_duplicates(0.1).with_late(0.2, "30s").with_late(0.1, "9s")
    before = len(source.ledger)
    read = sum(len(b.rows) for b in islice(source.open(), 2))
    ledger = source.ledger
    list(islice(source.open(), 4))

    assert before == 0
    assert read - 20 < ledger["row"].max() < read
    assert set(ledger["kind"]) == {"late", "duplicate"}
    pd.testing.assert_frame_equal(source.ledger.iloc[: len(ledger)], ledger)


def test_an_endless_source_holds_back_only_what_is_still_to_come():
    """A late row is given out with the first block that passes it, so memory stays flat."""
    source = simulate.sensors(devices=3, rate=arrivals.constant(1000), duration=None).with_late(0.5, "6s")
    blocks = list(islice(source.open(), 12))

    for number, block in enumerate(blocks):
        passed = ((number + 1) * 4096 - 0.5) / 1000
        assert block.arrival_ns[-1] <= passed * S
        assert (number + 1) * 4096 - sum(len(b.rows) for b in blocks[: number + 1]) <= 3300
    assert blocks[-1].position["row"] >= 9 * 4096  # a resume reads two old blocks, not all


def test_the_same_code_gives_the_same_rows_and_another_seed_others():
    """Seeds that are not given come from the chain."""
    pd.testing.assert_frame_equal(whole(TICKS.with_late(0.1, 5)), whole(TICKS.with_late(0.1, 5)))

    assert TICKS.with_late(0.1, 5).with_duplicates(0.1).seed == 2
    assert simulate.sensors(seed=7).with_late(0.1, 5).seed == 8
    assert TICKS.with_late(0.1, 5, seed=3).ledger["row"].tolist() != TICKS.with_late(0.1, 5).ledger["row"].tolist()


def test_modifiers_of_one_seed_draw_apart():
    """Rows that are late are not the ones that come twice."""
    late = set(TICKS.with_late(0.5, 1e-9, seed=1).ledger["row"])
    twice = set(whole(TICKS)["id"][TICKS.with_duplicates(0.5, seed=1).ledger["row"] // 2])

    assert 2000 < len(late & twice) < 4000


def test_a_modified_source_is_still_the_same_source():
    """Name, speed-up, event time and input are the source's; the protocol holds."""
    inner = replay(pd.DataFrame({"t": [0, 1]}), event_time="t", speedup=60)
    source = inner.with_late(0.5, 1).with_duplicates(0.5)

    assert isinstance(source, Source)
    assert (source.name, source.speedup, source.endless, source.event_time) == ("DataFrame", 60, False, "t")
    assert source.frame is inner.frame
    assert source.input_path is None
    assert pickle.loads(pickle.dumps(simulate.sensors().with_late(0.5, 1))) == simulate.sensors().with_late(0.5, 1)
    assert source == inner.with_late(0.5, 1).with_duplicates(0.5) != inner.with_duplicates(0.5)


def test_the_code_of_a_modified_source_makes_it_again():
    """Every modifier is written with its seed, in order."""
    source = TICKS.with_late(0.05, ("10s", "1min")).with_duplicates(0.01, "2s").with_late(1, 3, seed=9)

    assert source.code("rows") == (
        "mblab.replay(rows, arrival='t').with_late(0.05, (10, 60), seed=1)"
        ".with_duplicates(0.01, 2, seed=2).with_late(1, 3, seed=9)"
    )
    again = eval(source.code("rows"), {"mblab": type("m", (), {"replay": replay}), "rows": TICKS.frame})
    pd.testing.assert_frame_equal(whole(again), whole(source))


def test_a_modified_source_says_what_was_done():
    """In one line each."""
    source = TICKS.with_late(0.05, (10, 60)).with_duplicates(0.01)

    assert source.describe().endswith(", 5 % of its rows late by 10 s to 1 min, 1 % of its rows twice")
    assert repr(source).endswith(".with_late(0.05, (10, 60), seed=1).with_duplicates(0.01, 0, seed=2)")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        *[(lambda s, f=f: s.with_late(f, 1), "fraction must be") for f in (-0.1, 1.1, float("nan"), True, "5%", None)],
        *[(lambda s, f=f: s.with_duplicates(f), "fraction must be") for f in (-0.1, 5, False)],
        *[
            (lambda s, d=d: s.with_late(0.1, d), "delay")
            for d in (0, "5", -1, True, None, (5, 1), (1, 2, 3), (0, 0), ())
        ],
        *[(lambda s, d=d: s.with_duplicates(0.1, d), "delay") for d in ("5", -1, None, (1, 2))],
        *[(lambda s, x=x: s.with_late(0.1, 1, seed=x), "seed must be") for x in (-1, 0.5, True, "x")],
        *[(lambda s, x=x: s.with_gaps(x, 1), "every") for x in (0, "5", -1, True, None, float("nan"))],
        *[(lambda s, x=x: s.with_gaps(9, x), "length") for x in (0, "5", -1, True, None, (5, 1), 9, (1, 10))],
        *[(lambda s, x=x: s.with_gaps(9, 1, x), "rows must be 'delay' or 'drop'") for x in (None, "lose", True, 1)],
        (lambda s: s.with_gaps(9, 1, "dealy"), "did you mean 'delay'?"),
        *[(lambda s, f=f: s.with_poison(f), "fraction must be") for f in (-0.1, 1.1, float("nan"), True, "5%", None)],
        (lambda s: s.with_poison(0.1, 3), "column must be the name of a column, got 3"),
        *[
            (lambda s, x=x: s.with_poison(0.1, "id", x), "kind must be 'type', 'null' or 'range'")
            for x in (None, "bad", 1)
        ],
        (lambda s: s.with_poison(0.1, "id", "rnage"), "did you mean 'range'?"),
        (lambda s: s.with_poison(0.1, "id", seed=-1), "seed must be"),
        (lambda s: replay(s.frame, event_time="t").with_poison(0.1, "t"), "is the event time, which must stay a time"),
    ],
)
def test_an_argument_out_of_its_range_is_refused_by_name(make, said):
    """Wrong type, zero, negative, NaN, without unit."""
    with pytest.raises(SettingError) as caught:
        make(TICKS)

    assert said in str(caught.value)


# Gaps


def seconds_of(source):
    return (whole(source)["arrival_ns"] / S).tolist()


def test_each_stretch_has_one_silence_and_no_row_in_it():
    """The k-th silence lies wholly within the k-th stretch, wherever the seed puts it."""
    source = TICKS.with_gaps(every=60, length=(5, 20))
    silences = [source.modifiers[0].silences(k) for k in range(17)]
    arrival = whole(source)["arrival_ns"]

    for k, (begin, end) in enumerate(silences):
        assert k * 60 * S <= begin < begin + 5 * S <= end <= (k + 1) * 60 * S
        assert end - begin <= 20 * S
        assert not ((begin <= arrival) & (arrival < end)).any()
    assert len({begin % (60 * S) for begin, _ in silences}) == 17


def test_after_an_outage_of_the_line_its_rows_arrive_at_once():
    """Held up, in their order, and the ledger says by how much."""
    source = TICKS.with_gaps(every="100s", length="10s")
    rows, ledger = whole(source), source.ledger
    begin, end = source.modifiers[0].silences(0)

    assert rows["id"].tolist() == list(range(10_000))
    assert (rows["arrival_ns"] == end).sum() == pytest.approx(100, abs=2)
    assert set(ledger["kind"]) == {"delayed"}
    late = rows.iloc[ledger["row"]].reset_index(drop=True)
    np.testing.assert_allclose(late["arrival_ns"] / S - ledger["delay_s"], late["t"])


def test_after_an_outage_of_the_sender_its_rows_are_lost():
    """A tenth of them, and each is in the ledger with its old number, before the row that came next."""
    source = TICKS.with_gaps(every="100s", length="10s", rows="drop")
    rows, ledger = whole(source), source.ledger
    following = rows["id"].reindex(ledger["row"]).fillna(10_000).to_numpy()

    assert len(ledger) == pytest.approx(1000, abs=20)
    assert sorted([*rows["id"], *ledger["original"]]) == list(range(10_000))
    assert (following > ledger["original"].to_numpy(int)).all()
    assert set(ledger["kind"]) == {"dropped"}


def test_a_dropped_row_stays_in_the_ledger_of_a_chain():
    """Also the last ones, after which nothing comes."""
    source = TICKS.with_gaps(every="100s", length="99s", rows="drop")
    dropped = source.with_late(0.5, 1).ledger.query("kind == 'dropped'")

    assert len(dropped) == len(source.ledger) > 9_000


def test_the_ledger_of_an_endless_source_with_gaps_grows_as_it_is_read():
    """Dropped rows are in it only once the stream has passed them."""
    source = simulate.sensors(rate=arrivals.constant(100), duration=None).with_gaps("30s", "3s", "drop")
    read = sum(len(block.rows) for block in islice(source.open(), 3))

    assert len(source.ledger) + read == pytest.approx(3 * 4096, abs=300)
    assert source.ledger["original"].is_monotonic_increasing


# Poison

VALUES = pd.DataFrame(
    {
        "t": np.arange(200),
        "name": pd.Series(["a"] * 200, dtype="str"),
        "n": np.arange(200),
        "x": np.arange(200) / 2,
        "ok": True,
        "small": np.arange(200, dtype=np.int8),
        "at": pd.date_range("2026-01-01", periods=200, freq="s"),
        "zoned": pd.date_range("2026-01-01", periods=200, freq="s", tz="Europe/Berlin"),
        "group": pd.Categorical(["u", "v"] * 100),
    }
)


@pytest.mark.parametrize(
    ("column", "kind", "dtype", "value"),
    [
        ("n", "type", "object", "poison"),
        ("x", "type", "object", "poison"),
        ("name", "type", "object", -1),
        ("group", "type", "object", -1),
        ("at", "type", "object", "poison"),
        ("n", "null", "float64", None),
        ("x", "null", "float64", None),
        ("name", "null", "str", None),
        ("ok", "null", "object", None),
        ("at", "null", "datetime64[us]", None),
        ("group", "null", "category", None),
        ("n", "range", "int64", np.iinfo(np.int64).min),
        ("small", "range", "int8", -128),
        ("x", "range", "float64", np.finfo(np.float64).min),
        ("at", "range", "datetime64[us]", pd.Timestamp(0)),
        ("zoned", "range", "datetime64[us, Europe/Berlin]", pd.Timestamp(0, tz="Europe/Berlin")),
    ],
)
def test_a_column_is_spoiled_as_its_kind_says(column, kind, dtype, value):
    """One dtype for the column whether or not a row is hit; the other rows and columns are untouched."""
    source = replay(VALUES, arrival="t").with_poison(0.2, column, kind)
    rows, ledger = whole(source), source.ledger
    hit = rows[column].iloc[ledger["row"]]

    assert str(rows[column].dtype) == dtype
    assert str(whole(replay(VALUES, arrival="t").with_poison(0, column, kind))[column].dtype) == dtype
    assert 20 < len(ledger) < 60
    assert hit.isna().all() if value is None else (hit == value).all()
    assert ledger["original"].tolist() == VALUES[column].iloc[ledger["row"]].tolist()
    assert set(ledger["column"]) == {column}
    assert set(ledger["kind"]) == {"poison"}
    untouched = rows.drop(index=ledger["row"])
    assert untouched[column].tolist() == VALUES[column].iloc[untouched.index].tolist()
    pd.testing.assert_frame_equal(rows.drop(columns=[column, "arrival_ns"]), VALUES.drop(columns=column))


def test_without_a_column_the_first_one_of_numbers_is_spoiled():
    """And where there is none, or no such column, one sentence says so when the source is opened."""
    assert set(replay(VALUES, arrival="t").with_poison(0.2).ledger["column"]) == {"t"}
    with pytest.raises(SourceError, match="no column of numbers in .*name column="):
        whole(replay(VALUES[["name", "at"]], arrival="at").with_poison(0.2))
    with pytest.raises(ColumnError, match="column='nam' is no column .*did you mean 'name'"):
        whole(replay(VALUES, arrival="t").with_poison(0.2, "nam"))
    with pytest.raises(SourceError, match="column 'name' is str, which has no range to leave; use kind='null'"):
        whole(replay(VALUES, arrival="t").with_poison(0.2, "name", "range"))


def test_poison_and_lateness_share_one_ledger():
    """Values that were spoiled first are found where the rows went."""
    inner = TICKS.with_poison(0.05, "id", "range")
    source = inner.with_late(0.3, 60)
    poison = source.ledger.query("kind == 'poison'")

    assert sorted(poison["original"]) == sorted(inner.ledger["original"])
    assert (whole(source)["id"].iloc[poison["row"]] == np.iinfo(np.int64).min).all()


def test_gaps_and_poison_are_written_as_code_and_in_words():
    """Seeds and all; the description is one line."""
    source = TICKS.with_gaps("1min", ("2s", "5s"), "drop").with_poison(0.01, "id", "null")

    assert source.code("rows") == (
        "mblab.replay(rows, arrival='t').with_gaps(60, (2, 5), 'drop', seed=1).with_poison(0.01, 'id', 'null', seed=2)"
    )
    assert source.describe().endswith("silent for 2 s to 5 s every 1 min, the rows lost, 1 % of 'id' spoiled (null)")
    again = eval(source.code("rows"), {"mblab": type("m", (), {"replay": replay}), "rows": TICKS.frame})
    pd.testing.assert_frame_equal(whole(again), whole(source))
    assert pickle.loads(pickle.dumps(simulate.sensors().with_gaps(9, 1).with_poison(0.1))).seed == 9

"""What a live display reads of a run: only what is new, and the share of records that took too long."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mblab
from mblab.testing import rows_at

from .laws import examples


def ran(seconds=5, per_second=100, interval="100ms", cost=0.02, **knobs):
    lab = mblab.Lab(rows_at((np.arange(seconds * per_second) + 0.5) / per_second), interval=interval, **knobs)

    @lab.batch
    def keep(batch):
        return None

    return lab.run(clock="virtual", cost=cost)


@examples(30)
@given(known=st.integers(-1, 60), seconds=st.integers(1, 40))
def test_what_comes_after_a_batch_is_the_rest_of_run_batches(known, seconds):
    """Also across the blocks the log keeps batches in, where a rate needs the start of the batch before."""
    run = ran(seconds)
    behind = pd.DataFrame(run.batches_after(known))
    whole = run.batches
    rest = whole[whole.batch_id > known].reset_index(drop=True)

    assert list(behind.columns) == list(whole.columns)
    pd.testing.assert_frame_equal(behind.astype(whole.dtypes), rest)


def test_a_batch_that_failed_comes_last_and_again_when_it_has_succeeded():
    """The same batch_id, with a higher attempt."""
    lab = mblab.Lab(rows_at([0.05, 0.15, 0.25]), interval="100ms", name="failing")
    broken = True

    @lab.batch
    def maybe(batch):
        if broken and len(batch) and lab.last_run.last_progress is not None:
            raise ValueError("broken")

    with pytest.raises(mblab.BatchError):
        lab.run(clock="virtual")
    failed = lab.last_run.batches_after(0)
    broken = False
    lab.resume()
    mended = lab.last_run.batches_after(0)

    assert (failed["batch_id"].tolist(), failed["status"].tolist(), failed["attempt"].tolist()) == (
        [1],
        ["failed"],
        [1],
    )
    assert mended["batch_id"].tolist() == [1, 2]
    assert (mended["status"][0], mended["attempt"][0]) == ("retried", 2)


@examples(30)
@given(limit_ms=st.integers(0, 400), cap=st.sampled_from([None, 7, 12]), cost=st.sampled_from([0.0, 0.03, 0.15]))
def test_the_share_over_a_latency_is_that_of_the_records(limit_ms, cap, cost):
    """Counted without looking at each record, and the same; also where a cap spreads a batch's rows."""
    run = ran(4, cost=cost, max_rows_per_batch=cap)
    late = np.rint(run.records.latency_s.to_numpy() * 1e9) > limit_ms * 1_000_000

    assert run.share_over(limit_ms / 1000) == pytest.approx(late.mean())


def test_no_records_have_no_share():
    """NaN, not 0: nothing is known."""
    lab = mblab.Lab(rows_at([]), interval="1s")

    assert np.isnan(lab.run("2s", clock="virtual").share_over("1s"))


def test_a_saved_run_answers_the_same(tmp_path):
    """What was read live can be read from the folder."""
    run = ran(3)
    saved = mblab.load_run(run.save(tmp_path / "run"))

    assert saved.share_over("60ms") == pytest.approx(run.share_over("60ms"))
    assert saved.batches_after(20)["batch_id"].tolist() == run.batches_after(20)["batch_id"].tolist()
    assert (saved.how_far.now_s, saved.how_far.rows) == (run.how_far.now_s, run.how_far.rows)


def test_how_far_a_run_is():
    """Time, the length asked for, and the rows that batches have taken."""
    lab = mblab.Lab(rows_at((np.arange(1000) + 0.5) / 100), interval="1s")
    run = lab.run("4s", clock="virtual", cost=0)

    assert tuple(run.how_far) == (4.0, 4.0, 400)

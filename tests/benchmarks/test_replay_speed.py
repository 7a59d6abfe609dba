"""G8: replaying a Parquet file in small batches, beside decoding it in small batches."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from mblab import Lab, replay
from mblab.engine.feed import Feed

from .harness import cpu_s, stream, take_turns

pytestmark = pytest.mark.bench

ROWS, TOTAL = 1_000, 1_000_000


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("replay") / "stream.parquet"
    stream(TOTAL).to_parquet(file, row_group_size=100_000, index=False)
    return file


def by_arrow(path):
    assert sum(len(batch.to_pandas()) for batch in pq.ParquetFile(path).iter_batches(ROWS)) == TOTAL


def by_feed(path):
    """The rows of each batch, without a run around them: like for like."""
    feed = Feed(replay(path, rate=ROWS))
    rows = 0
    for second in range(1, TOTAL // ROWS + 2):
        cut = feed.take(feed.waiting(second * 10**9))
        rows += len(cut.rows())
    assert rows == TOTAL


def by_run(path):
    """A whole run with everything recorded."""
    lab = Lab(replay(path, rate=ROWS), interval="1s", name="replayed")
    lab.batch(lambda batch: None, name="nothing")
    assert lab.run(clock="virtual").summary().rows == TOTAL


def test_replaying_small_batches_is_far_cheaper_than_decoding_them(report, path):
    """Decode big, cut small."""
    took = take_turns(5, lambda work: cpu_s(lambda: work(path)), arrow=by_arrow, feed=by_feed, run=by_run)

    report.judge(
        "G8",
        "iter_batches(1k).to_pandas() ÷ replay, rows of 1k batches",
        np.median(took["arrow"] / took["feed"]),
        at_least=4,
        fails=2,
        **took,
    )
    report.judge(
        "G8", "iter_batches(1k).to_pandas() ÷ a whole run with full metrics", np.median(took["arrow"] / took["run"])
    )

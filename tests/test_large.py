"""Files and streams that do not fit into memory: how much of it a run takes, and how fast it goes."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

GROUP = 1_000_000

REPLAY = """
import gc, json, sys, time
import psutil, pyarrow.parquet as pq
import mblab

path, rows, marks, turns = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
process, seen, rss = psutil.Process(), [0], {}

# 1,000 rows a second of source time, so 1,000 a batch
lab = mblab.Lab(mblab.replay(path, arrival="at"), interval="1s")

@lab.batch
def total(batch):
    seen[0] += len(batch)
    while marks and seen[0] >= marks[0]:
        rss[marks.pop(0)] = process.memory_info().rss / 1e6
    return None

def timed(work):
    cpu = time.process_time()
    work()
    return time.process_time() - cpu

def by_hand(rows):
    left = rows
    for batch in pq.ParquetFile(path).iter_batches(1000):
        batch.to_pandas()
        left -= batch.num_rows
        if left <= 0:
            return

facts = {}
facts["lab_s"] = timed(lambda: facts.update(run=lab.run(clock="virtual", cost=0)))
run = facts.pop("run")
facts |= {"rss_mb": rss, "rows": int(run.summary().rows), "batches": int(run.summary().batches)}
if not turns:
    print(json.dumps(facts))
    sys.exit()
few = mblab.replay(path, arrival="at", limit=min(rows, 2_000_000))

def blocks_cut(source):
    from mblab.engine.feed import Feed
    feed, at = Feed(source), 0
    while not feed.drained:
        at += 10**9
        feed.take(feed.waiting(at)).rows()

pairs = [(timed(lambda: blocks_cut(few)), timed(lambda: by_hand(min(rows, 2_000_000)))) for _ in range(turns)]
ratios = sorted(hand / ours for ours, hand in pairs)
facts["replay_over_iter_batches"] = ratios[turns // 2]
facts["ratios"] = [round(r, 1) for r in ratios]
lab_pairs = []
for _ in range(turns):
    short = mblab.Lab(few, interval="1s", name="short")
    short.batch(lambda batch: None, name="nothing")
    lab_pairs.append(timed(lambda: by_hand(min(rows, 2_000_000))) / timed(lambda: short.run(clock="virtual", cost=0)))
facts["lab_over_iter_batches"] = sorted(lab_pairs)[turns // 2]
print(json.dumps(facts))
"""


def generate(path, rows):
    """A file with a row each millisecond, a million rows a group."""
    rng = np.random.default_rng(0)
    schema = pa.schema([("at", pa.timestamp("ms")), ("device", pa.int32()), ("value", pa.float64())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, GROUP):
            n = min(GROUP, rows - first)
            at = pa.array(np.arange(first, first + n), pa.int64()).cast(pa.timestamp("ms"))
            value = np.round(rng.normal(20, 4, n), 2)
            writer.write_table(pa.table([at, rng.integers(0, 50, n).astype(np.int32), value], schema=schema))


def measured(code, *arguments):
    """What a fresh process prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_file_is_replayed_in_flat_memory(tmp_path):
    """Five million rows take no more than one million do."""
    generate(tmp_path / "rows.parquet", 5_000_000)
    facts = measured(REPLAY, tmp_path / "rows.parquet", 5_000_000, "[1000000, 5000000]", 0)

    assert facts["rows"] == 5_000_000
    assert facts["batches"] == 5_000
    assert facts["rss_mb"]["5000000"] < facts["rss_mb"]["1000000"] + 60


@pytest.mark.long
def test_a_hundred_million_rows_are_replayed_in_flat_memory(tmp_path):
    """RSS at 10 and at 100 million rows, and the speed against `iter_batches(1000)` (goal G8: 4 times)."""
    path = tmp_path / "rows.parquet"
    generate(path, 100_000_000)
    facts = measured(REPLAY, path, 100_000_000, "[1000000, 10000000, 50000000, 100000000]", 5)
    print(f"\n{path.stat().st_size / 1e9:.1f} GB: {facts}")
    path.unlink()

    assert facts["rows"] == 100_000_000
    assert facts["rss_mb"]["100000000"] < facts["rss_mb"]["10000000"] + 60
    assert facts["replay_over_iter_batches"] >= 4


WEEK = """
import json, sys
import psutil
import mblab

seconds, rate, results = map(int, sys.argv[1:])
process, rss, batches = psutil.Process(), [], [0]
lab = mblab.Lab(mblab.simulate.sensors(rate=rate, duration=seconds), interval="1s")

@lab.batch
def newest(batch, state):
    batches[0] += 1
    state["n"] = state.get("n", 0) + len(batch)
    if batches[0] % (seconds // 14) == 0:
        rss.append(round(process.memory_info().rss / 1e6))
    return batch[["device", "temperature"]].iloc[-results:]

run = lab.run(clock="virtual", cost=0.01)
s = run.summary()
print(json.dumps({"rss_mb_every_12_h": rss, "rows": int(s.rows), "batches": int(s.batches), "results": len(run.output),
                  "n": run.state["newest"]["n"], "quantiles": s.quantiles, "p50_s": s.latency_p50_s}))
"""


@pytest.mark.long
def test_a_week_at_one_second_is_level_once_every_bound_is_reached():
    """50 rows/s: five million latencies on day 2, a million rows of output on day 4; from then on nothing grows."""
    facts = measured(WEEK, 7 * 86_400, 50, 3)
    print(f"\n{facts}")
    rss = facts["rss_mb_every_12_h"]

    assert facts["batches"] == 7 * 86_400
    assert facts["n"] == facts["rows"]
    assert facts["results"] == 1_000_000
    assert facts["quantiles"] == "sketch"
    assert facts["p50_s"] == pytest.approx(0.51, rel=0.01)
    assert max(rss[7:]) - min(rss[7:]) < 0.03 * rss[7]


@pytest.mark.long
def test_a_week_at_one_second_grows_little_before_its_bounds():
    """5 rows/s, a row of output each: what is kept a row, 8 bytes a latency and the output, and nothing a batch."""
    facts = measured(WEEK, 7 * 86_400, 5, 1)
    print(f"\n{facts}")
    rss = facts["rss_mb_every_12_h"]

    assert facts["batches"] == 7 * 86_400
    assert facts["quantiles"] == "exact"
    assert rss[-1] - rss[4] < 60


def test_an_unsorted_file_is_sorted_in_bounded_memory(tmp_path):
    """Three million rows in reverse: sorted on disk, with no more in memory than a few runs take."""
    n = 3_000_000
    pd.DataFrame({"t": np.arange(n)[::-1], "v": np.arange(n) / 7}).to_parquet(tmp_path / "rows.parquet")
    facts = measured(
        """
        import json, sys
        import numpy as np, psutil
        import mblab
        process = psutil.Process()
        source = mblab.replay(sys.argv[1], arrival="t", sort=True)
        rows, in_order, peak = 0, True, 0
        for block in source.open():
            in_order &= bool((block.rows["t"].to_numpy() == np.arange(rows, rows + len(block.rows))).all())
            rows += len(block.rows)
            peak = max(peak, process.memory_info().rss / 1e6)
        print(json.dumps({"rows": rows, "in_order": in_order, "peak_mb": peak}))
        """,
        tmp_path / "rows.parquet",
    )

    assert facts["rows"] == n
    assert facts["in_order"]

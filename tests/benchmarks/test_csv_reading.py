"""Issue of everyday data: replaying a CSV file costs at most three times what pandas' `read_csv` takes, also a wide one.

All of a replay counts: looking at the file, the pass that finds the types, and the rows in the batches of a run. Types are
found by all rows and digits are kept, which `read_csv` does not do.
"""

import csv

import numpy as np
import pandas as pd
import pytest

from mblab import Lab, replay

from .harness import SEED, cpu_s, take_turns

pytestmark = pytest.mark.bench

ROUNDS = 7


def numbered(values):
    return pd.DataFrame(values).rename(columns="c{}".format)


def floats(rng):
    return numbered(rng.normal(size=(2600, 100)))


def short_floats(rng):
    return numbered(rng.normal(size=(8000, 100)).round(3))


def floats_with_holes(rng):
    values = rng.normal(size=(6000, 100)).round(6)
    return numbered(np.where(rng.random(values.shape) < 0.1, np.nan, values))


def whole_numbers(rng):
    return numbered(rng.integers(0, 100_000, size=(9000, 100)))


def mixed(rng):
    kinds = [
        lambda: rng.normal(size=5000),
        lambda: rng.integers(0, 1000, 5000),
        lambda: rng.choice(["ok", "warn", "fail"], 5000),
        lambda: rng.random(5000) < 0.5,
        lambda: pd.date_range("2026-01-01", periods=5000, freq="s").strftime("%Y-%m-%d %H:%M:%S"),
    ]
    return pd.DataFrame({f"c{i}": kinds[i % 5]() for i in range(100)})


def quoted(rng):
    return numbered(rng.choice(["alpha beta", "gamma, delta", 'the "end"'], (4000, 100)))


def moving(_rng):
    values = np.full((110_001, 20), "0", dtype=object)
    values[-1] = "0.5"
    return numbered(values)


def tall(rng):
    rows = 1_000_000
    return pd.DataFrame(
        {"t": np.arange(rows), "device": rng.integers(0, 1000, rows), "value": rng.gamma(2.0, 10.0, rows)}
    )


KINDS = {
    "floats × 100 columns": floats,
    "floats of three places × 100 columns": short_floats,
    "floats with holes × 100 columns": floats_with_holes,
    "whole numbers × 100 columns": whole_numbers,
    "numbers, texts, truth and times × 100 columns": mixed,
    "quoted texts × 100 columns": quoted,
    "zeros × 20 columns, the last row of 0.5": moving,
    "1 M rows × 3 columns": tall,
}


def by_run(path):
    """A whole run with everything recorded, with `asap` on the virtual clock, in batches of 100,000 rows."""
    lab = Lab(replay(path, rate=1e5), interval="1s", name="read")
    lab.batch(lambda batch: None, name="nothing")
    assert lab.run(clock="virtual").summary().rows > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_of_csv_costs_at_most_three_times_read_csv(kind, report, tmp_path):
    """CPU time in turns, in one process."""
    path = tmp_path / "rows.csv"
    quoting = csv.QUOTE_ALL if KINDS[kind] is quoted else csv.QUOTE_MINIMAL
    KINDS[kind](np.random.default_rng(SEED)).to_csv(path, index=False, quoting=quoting)
    took = take_turns(ROUNDS, lambda work: cpu_s(lambda: work(path)), pandas=pd.read_csv, replay=by_run)

    report.judge(
        "G15",
        f"replay of CSV ÷ read_csv, {kind}, {path.stat().st_size / 1e6:.1f} MB",
        np.median(took["replay"] / took["pandas"]),
        at_most=3,
        fails=6,
        **took,
    )

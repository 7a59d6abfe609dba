"""How right the tuner is on real pandas functions, where the machine is quiet enough to ask.

    uv run python -m tests.benchmarks.campaign_pandas       # about four minutes

A function that computes takes as long as the machine lets it, so a comparison means something only while wall and CPU time
agree: cases with wall/CPU of 1.3 or more, in the probes or in the run, are printed and skipped.
"""

import json
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import mblab
from mblab.arrivals import poisson
from mblab.tuning.arrival_times import arrival_times_of
from mblab.tuning.ensemble import Ensemble

RATE, INTERVALS, LENGTH_S, BUDGET = 20_000, (0.2, 0.5, 1.0), 8, "5s"
QUIET = 1.3
OTHER = pd.DataFrame({"device": np.arange(5000), "weight": np.random.default_rng(0).random(5000)})


def make_rows(n, rng, times):
    return {
        "device": rng.integers(0, 5000, n),
        "value": rng.gamma(2.0, 10.0, n),
        "text": np.char.add(np.char.add('{"a": ', rng.integers(0, 9, n).astype(str)), ', "b": [1, 2]}'),
    }


def groupby_state(batch, state):
    """A running table by key."""
    part = batch.groupby("device")["value"].agg(["sum", "count"])
    old = state.get("table")
    state["table"] = part if old is None else pd.concat([old, part]).groupby(level=0).sum()


def merge(batch):
    """Joined with a table of 5 000 rows."""
    return batch.merge(OTHER, on="device")[["device", "value", "weight"]]


def sort(batch):
    """By two columns."""
    return batch.sort_values(["device", "value"])[["device", "value"]]


def json_parse(batch):
    """Text to numbers."""
    return pd.DataFrame({"a": [json.loads(t)["a"] for t in batch["text"]]})


def sqlite_write(folder):
    """Rows into a table of its own."""
    connection = sqlite3.connect(Path(folder) / "rows.db", check_same_thread=False)
    connection.execute("create table rows (device int, value real)")

    def write(batch):
        with connection:
            connection.executemany("insert into rows values (?, ?)", batch[["device", "value"]].itertuples(index=False))

    return write


def ratio(wall, cpu):
    """How many times its CPU time a batch takes."""
    return float(np.median(wall / np.maximum(cpu, 1e-6)))


def main():
    """Calibrate, run, compare, write down."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        steps = [groupby_state, merge, sort, json_parse, sqlite_write(folder)]
        for step in steps:
            source = mblab.simulate(make_rows, arrivals=poisson(RATE), duration="30s", seed=1)
            lab = mblab.Lab(source, name=step.__name__)
            lab.batch(step)
            model = lab.calibrate(BUDGET, intervals=(INTERVALS[0], INTERVALS[-1]))
            probed = ratio(model.probes.seconds, model.probes.cpu_s)
            horizon = LENGTH_S * 10**9
            arrivals = arrival_times_of(source, horizon).arrival_ns
            table = Ensemble.of(
                arrivals, np.array([round(t * 1e9) for t in INTERVALS]), cost=model, horizon_ns=horizon
            ).table()
            for i, interval in enumerate(INTERVALS):
                lab.interval = interval
                run = lab.run(f"{LENGTH_S}s")
                s, b = run.summary(), run.batches[run.batches.num_input_rows > 0]
                ran = ratio(b.processing_time_s, b.cpu_time_s)
                fact = {
                    "function": step.__name__,
                    "interval_s": interval,
                    "wall/CPU probed": probed,
                    "wall/CPU run": ran,
                }
                for m in ("latency_p50_s", "latency_p95_s", "latency_p99_s", "load"):
                    fact[m] = float(table[m][i] / s[m] - 1)
                fact["skipped"] = max(probed, ran) >= QUIET
                rows.append(fact)
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in fact.items()}, flush=True)
    found = pd.DataFrame(rows)
    kept = found[~found.skipped]
    said = f"{len(kept)} of {len(found)} runs were quiet enough (wall/CPU < {QUIET})."
    if len(kept):
        errors = kept[["latency_p50_s", "latency_p95_s", "latency_p99_s", "load"]].abs().median()
        said += " Median error: " + ", ".join(f"{n} {100 * v:.1f} %" for n, v in errors.items()) + "."
    everything = found[["latency_p50_s", "latency_p95_s", "latency_p99_s", "load"]].abs().median()
    said += " All runs: " + ", ".join(f"{n} {100 * v:.1f} %" for n, v in everything.items()) + "."
    print(said)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    text = f"# The tuner on real pandas functions\n\n{said}\n\n{found.round(3).to_string(index=False)}\n"
    (results / "campaign-pandas.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

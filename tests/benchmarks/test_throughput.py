"""G1 and G2: what the lab costs beside a loop that a user writes by hand."""

import numpy as np
import pandas as pd
import pytest

from mblab import Lab, replay

from .harness import cpu_s, stream, take_turns

pytestmark = pytest.mark.bench


def summed(batch, state):
    """Filter, group by device, merge into the running table: what most users write."""
    ok = batch[batch["status"] == "ok"]
    part = ok.groupby("device", sort=False)["value"].agg(["sum", "max", "count"])
    old = state.get("table")
    both = part if old is None else pd.concat([old, part]).groupby(level=0, sort=False)
    state["table"] = both if old is None else both.agg({"sum": "sum", "max": "max", "count": "sum"})
    return pd.DataFrame({"max": part["max"], "mean": part["sum"] / part["count"]})


def same(batch, state):
    return batch


def by_hand(frame, rows, step):
    """Slice, call, keep the result."""
    state, kept = {}, []
    for low in range(0, len(frame), rows):
        kept.append(step(frame.iloc[low : low + rows], state))
    return state


def by_lab(frame, rows, step):
    """The same on a virtual clock: idle time is skipped, everything is recorded, the result is kept."""
    lab = Lab(replay(frame, rate=rows), interval="1s", name="bench")
    lab.batch(step, name="step")
    run = lab.run(clock="virtual")
    assert len(run.batches) == -(-len(frame) // rows)
    return run.state["step"]


def by_streamz(frame, rows, step):
    from streamz import Stream

    def keeping(state, batch):
        return state, step(batch, state)

    state, kept = {}, []
    source = Stream()
    source.accumulate(keeping, start=state, returns_state=True).sink(kept.append)
    for low in range(0, len(frame), rows):
        source.emit(frame.iloc[low : low + rows])
    return state


def with_streamz():
    try:
        import streamz  # noqa: F401
    except ImportError:
        print("\n(no streamz: run with `uv run --with streamz pytest …` to compare with it)")
        return {}
    return {"streamz": by_streamz}


@pytest.mark.parametrize(
    ("rows", "total", "goal"), [(1_000, 400_000, 0.97), (10_000, 2_000_000, 0.97), (100_000, 4_000_000, 0.99)]
)
def test_throughput_is_the_hand_loop_s(report, rows, total, goal):
    """Rows a second of filter, groupby and merge, with full metrics, against the loop without any."""
    frame = stream(total)
    contenders = {"hand": by_hand, "lab": by_lab} | with_streamz()
    tables = {name: loop(frame, rows, summed)["table"] for name, loop in contenders.items()}
    for table in tables.values():
        pd.testing.assert_frame_equal(table, tables["hand"])

    took = take_turns(7, lambda loop: cpu_s(lambda: loop(frame, rows, summed)), **contenders)
    rate = {name: total / seconds for name, seconds in took.items()}

    for other in [name for name in contenders if name != "lab"]:
        report.judge(
            "G1",
            f"rows/s at {rows:,} rows a batch, with full metrics / {other} loop",
            np.median(rate["lab"] / rate[other]),
            at_least=goal if other == "hand" else 1.0,
            fails=0.8,
            lab=rate["lab"],
            **{other: rate[other]},
        )


def test_a_batch_of_one_row_costs_little_more_than_by_hand(report):
    """What the lab adds to a batch: cut, savepoint, context, delivery, record."""
    count = 10_000
    frame = stream(count)

    took = take_turns(
        7, lambda loop: cpu_s(lambda: loop(frame, 1, same)) / count * 1e6, hand=by_hand, lab=by_lab, **with_streamz()
    )

    report.judge(
        "G2",
        "fixed cost of a 1-row batch, everything recorded, above the hand loop",
        np.median(took["lab"] - took["hand"]),
        at_most=30,
        fails=60,
        unit="µs",
        **took,
    )

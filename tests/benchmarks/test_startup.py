"""G11: how long it takes until something happens."""

import numpy as np
import pandas as pd
import pytest

from mblab import Lab, replay, sinks

from .harness import fresh_process_s, stream, take_turns

pytestmark = pytest.mark.bench

BY_HAND = """
import sys, time
import pandas as pd, pyarrow.parquet

def summed(batch, state):
    part = batch.groupby("device", sort=False)["value"].sum()
    state["total"] = state.get("total", 0.0) + part.sum()
    return part.reset_index()

state, kept = {}, []
frame = pyarrow.parquet.ParquetFile(sys.argv[1]).read().to_pandas()
for low in range(0, len(frame), 1000):
    kept.append(summed(frame.iloc[low : low + 1000], state))
pd.concat(kept).to_csv(sys.argv[2], index=False)
"""


def test_importing_mblab_takes_little_longer_than_importing_pandas(report):
    """In a process of its own each time; the interpreter's own start is in both."""

    def importing(code):
        return fresh_process_s("-c", code)

    importing("import mblab; mblab.Lab, mblab.replay")  # once, so that everything is compiled
    took = take_turns(9, importing, pandas="import pandas", mblab="import mblab; mblab.Lab, mblab.replay")
    bare = take_turns(5, importing, mblab="import mblab")["mblab"]

    report.judge(
        "G11",
        "import mblab ÷ import pandas",
        np.median(bare) / np.median(took["pandas"]),
        at_most=1.15,
        fails=1.6,
        mblab_s=bare,
        pandas_s=took["pandas"],
    )
    report.judge(
        "G11",
        "import mblab and everything a script uses ÷ import pandas",
        np.median(took["mblab"] / took["pandas"]),
        at_most=1.15,
        fails=1.6,
        mblab_s=took["mblab"],
        pandas_s=took["pandas"],
    )


def test_an_exported_script_starts_soon(report, tmp_path):
    """The whole process, 20 batches from Parquet into CSV, against the same loop by hand."""
    data, out = tmp_path / "data.parquet", tmp_path / "out.csv"
    stream(20_000).drop(columns="status").to_parquet(data)
    lab = Lab(replay(data, rate=1000), interval="1s", name="exported")

    @lab.batch
    def summed(batch, state):
        part = batch.groupby("device", sort=False)["value"].sum()
        state["total"] = state.get("total", 0.0) + part.sum()
        return part.reset_index()

    lab.to(sinks.csv(out))
    lab.export(tmp_path / "pipeline.py")
    (tmp_path / "by_hand.py").write_text(BY_HAND)

    def seconds(command):
        return fresh_process_s(*command, cwd=tmp_path)

    seconds(["pipeline.py"])  # once, so that everything is compiled
    took = take_turns(9, seconds, hand=["by_hand.py", data, tmp_path / "hand.csv"], script=["pipeline.py"])

    assert pd.read_csv(out).filter(["device", "value"]).equals(pd.read_csv(tmp_path / "hand.csv"))
    report.judge(
        "G11",
        "exported script, start to end, above the same loop by hand",
        np.median(took["script"] - took["hand"]) * 1e3,
        at_most=50,
        fails=300,
        unit="ms",
        hand_s=took["hand"],
        script_s=took["script"],
    )

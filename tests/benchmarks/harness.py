"""What every bench shares: contenders that take turns, one line a figure, results in a file.

Only ratios taken in one run mean anything, so contenders alternate within each round and the median over the rounds is
judged. CPU time of the process is compared, not wall time, unless waiting is the point.

    contenders -> [harness]: take turns → compare → judge -> table on the terminal, results/<date>.json
"""

import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

RESULTS = Path(__file__).parent / "results"
SEED = 20261125


def stream(rows, devices=1000, seed=SEED):
    """A frame of sensor readings: device (int64), value (float64), status (category of ok 80 %, warn 15 %, fail 5 %)."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(3, size=rows, p=[0.8, 0.15, 0.05]).astype("int8")
    return pd.DataFrame(
        {
            "device": rng.integers(0, devices, rows),
            "value": rng.gamma(2.0, 10.0, rows),
            "status": pd.Categorical.from_codes(codes, ["ok", "warn", "fail"]),
        }
    )


def cpu_s(work):
    """CPU seconds of this process that a call takes."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def take_turns(rounds, measure, **contenders):
    """Measure each contender once a round, in turning order, after a round that does not count.

    Returns a dict of arrays, one value a round, which belong together by their index.
    """
    names = list(contenders)
    for name in names:
        measure(contenders[name])
    found = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(measure(contenders[name]))
    return {name: np.array(values) for name, values in found.items()}


def facts():
    """What the figures depend on."""
    load = os.getloadavg()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} × {_processor()}",
        "load_average": f"{load[0]:.1f} {load[1]:.1f} {load[2]:.1f}",
        "versions": f"Python {platform.python_version()}, pandas {pd.__version__}, numpy {np.__version__}, pyarrow {pa.__version__}",
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


class Report:
    """The table of one session: prints a line a figure, fails where one is far off, writes all of them at the end."""

    def __init__(self):
        self.facts = facts()
        self.lines = []
        self.open = False

    def judge(self, goal, what, measured, *, at_most=None, at_least=None, fails=None, unit="×", **figures):
        """Print and keep one figure against its goal.

        Args:
            goal: Its number, such as "G1".
            what: What is compared with what.
            measured: The median.
            at_most: The goal, where small is good; or `at_least`, where large is good. Neither: for information only.
            fails: Where the bench fails: far enough off to be a regression and not the neighbours.
            unit: Of the measured value and its goal.
            figures: What it was computed from; kept in the results.
        """
        bound, sign = (at_most, "≤") if at_most is not None else (at_least, "≥")
        met = None if bound is None else measured <= bound if sign == "≤" else measured >= bound
        verdict = {None: "", True: "met", False: "missed"}[met]
        if met is False:
            verdict += f" by {abs(measured / bound - 1):.0%}"
        wish = "" if bound is None else f"{sign} {bound:g} {unit}"
        if not self.open:
            self.open = True
            print("\n\n" + "\n".join(f"{name}: {value}" for name, value in self.facts.items()) + "\n")
            print(f"{'':4} {'what':<74} {'goal':>12} {'measured':>14}")
        print(f"{goal:<4} {what:<74} {wish:>12} {measured:>11.4g} {unit:<4} {verdict}", flush=True)
        self.lines.append(
            {"goal": goal, "what": what, "wanted": wish, "measured": _short(measured), "unit": unit, "verdict": verdict}
            | {name: _short(value) for name, value in figures.items()}
        )
        assert fails is None or (measured <= fails if sign == "≤" else measured >= fails), (
            f"{goal}, {what}: {measured:.4g} {unit} is far from {wish}; a regression is assumed beyond {fails:g}"
        )

    def write(self):
        """Put the figures into results/<date>.json; those of benches that did not run stay as they are."""
        if not self.lines:
            return
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.facts['date'][:10]}.json"
        old = json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else []
        new = {(line["goal"], line["what"]) for line in self.lines}
        kept = [line for line in old if (line["goal"], line["what"]) not in new]
        figures = sorted(kept + self.lines, key=lambda line: int(line["goal"][1:]))
        text = json.dumps(self.facts | {"figures": figures}, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


def _short(value):
    """A figure as it is worth keeping: four digits."""
    if isinstance(value, str):
        return value
    if np.ndim(value):
        return [_short(each) for each in value]
    return float(f"{float(value):.4g}")


def fresh_process_s(*arguments, cwd=None):
    """Wall seconds of a Python process of its own, with compiled modules kept as on any machine but some test hosts."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "mblab-bench-bytecode")
    command = [sys.executable, *arguments]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment, cwd=cwd)
    return time.perf_counter() - began

"""How right the tuner is: predictions and decisions against real runs, beside the difference of two real runs.

    uv run python -m tests.benchmarks.campaign_tuner run --processes 4    # about a quarter of an hour
    uv run python -m tests.benchmarks.campaign_tuner report

Each law × arrivals × seed is calibrated once, for 5 s, and then really run at six intervals with *another* seed, so the
prediction knows neither the arrivals nor the scatter of the run it is held against. Two seeds of the same law and
interval are two repeats: their difference is the noise floor. Facts go into results/campaign-tuner.jsonl.
"""

import argparse
import json
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from mblab.tuning.arrival_times import arrival_times_of
from mblab.tuning.ensemble import Ensemble
from mblab.tuning.target import SURE
from tests.benchmarks.twins import ARRIVALS, HELD_OUT, INTERVALS, LAWS, RATE, twin

RESULTS = Path(__file__).parent / "results"
FACTS = RESULTS / "campaign-tuner.jsonl"
LENGTH_S, BUDGET_S = 12, 5
MEASURES = ("latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "load", "num_input_rows_mean")
LIMITS = (0.4, 0.7, 1.0, 1.5, 2.5)


def cases():
    """(kind, law, arrivals, seed) of everything that is run."""
    yield from (("main", *c) for c in product(LAWS, ARRIVALS, (1, 2)))
    yield from (("held out", *c) for c in product(HELD_OUT, ARRIVALS, (3,)))
    yield from (("tune", law, arrivals, 4) for law in LAWS for arrivals in ("poisson", "bursts"))


def textbook(probes, rate):
    """Least squares a + b·n on the same probes, and the closed forms at the mean rate."""
    b, a = np.polyfit(probes.num_input_rows, probes.seconds, 1)
    out = []
    for t in INTERVALS:
        s = a + b * rate * t
        if s <= t:
            p50, p95, p99, load = s + 0.5 * t, s + 0.95 * t, s + 0.99 * t, s / t
        else:
            own = a / (1 - b * rate) if b * rate < 1 else np.inf
            p50, p95, p99, load = 1.5 * own, 1.95 * own, 1.99 * own, own / t
        out.append({"latency_p50_s": p50, "latency_p95_s": p95, "latency_p99_s": p99, "load": load})
    return out


def run_matrix(kind, law, arrivals, seed):
    """Calibrate once, predict six intervals, run all six for real."""
    laws = LAWS | HELD_OUT
    lab = twin(laws[law], arrivals, seed)
    begun = time.perf_counter()
    model = lab.calibrate(f"{BUDGET_S}s", intervals=(INTERVALS[0], INTERVALS[-1]))
    took = time.perf_counter() - begun
    real = twin(laws[law], arrivals, seed + 100)
    horizon = LENGTH_S * 10**9
    own = arrival_times_of(lab.source, horizon).arrival_ns  # of the calibrated source, not of the run
    grid = np.array([round(t * 1e9) for t in INTERVALS])
    ensemble = Ensemble.of(own, grid, cost=model, horizon_ns=horizon)
    table, formula = ensemble.table(), textbook(model.probes, RATE)
    for i, interval in enumerate(INTERVALS):
        real.interval = interval
        s = real.run(f"{LENGTH_S}s").summary()
        full = s.batches - s.batches_empty
        measured = {m: float(s[m]) for m in MEASURES[:-1]} | {"num_input_rows_mean": s.rows / full if full else 0.0}
        row = table.iloc[i]
        chances = {str(limit): float(ensemble.chance({"latency_p95_s": limit, "load": 0.8})[i]) for limit in LIMITS}
        chances["fastest"] = float(ensemble.chance({"load": 0.7})[i])
        yield {
            "kind": kind, "law": law, "arrivals": arrivals, "seed": seed, "interval_s": interval, "form": model.form,
            "probes": len(model.probes), "calibrated_s": took, "regime": s.regime, "regime_predicted": row.regime,
            "measured": measured, "predicted": {m: float(row[m]) for m in MEASURES},
            "lo": {m: float(row[f"{m}_lo"]) for m in MEASURES[:-1]},
            "hi": {m: float(row[f"{m}_hi"]) for m in MEASURES[:-1]},
            "formula": formula[i], "extrapolated": bool(row.extrapolated), "pauses": model.pauses.count,
            "near": bool(row.load_lo < 1 < row.load_hi), "chances": chances, "wake_p99_s": float(s.wake_delay_p99_s),
        }  # fmt: skip


def run_tune(kind, law, arrivals, seed):
    """The user's way: tune, then verify."""
    lab = twin(LAWS[law], arrivals, seed)
    begun = time.perf_counter()
    advice = lab.tune(p95="700ms", budget=f"{BUDGET_S}s")
    took = time.perf_counter() - begun
    fact = {
        "kind": kind, "law": law, "arrivals": arrivals, "seed": seed, "took_s": took, "verdict": advice.verdict,
        "interval_s": advice.interval, "why": advice.why, "longest_s": float(advice.model.probes.seconds.max()),
    }  # fmt: skip
    if advice.interval is not None:
        check = advice.verify(f"{LENGTH_S}s")
        fact |= {"kept": check.kept, "inside": int(check.table.inside.sum()), "of": len(check.table)}
        fact["error_p95"] = float(check.table.set_index("measure").error["latency_p95_s"])
    yield fact


def work(part, parts):
    """Every parts-th case, one line a fact."""
    for number, (kind, *case) in enumerate(cases()):
        if number % parts == part:
            for fact in (run_tune if kind == "tune" else run_matrix)(kind, *case):
                with FACTS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(fact) + "\n")


def run(processes):
    """Start the workers, and wait."""
    RESULTS.mkdir(exist_ok=True)
    FACTS.unlink(missing_ok=True)
    begun = time.time()
    command = [sys.executable, "-m", "tests.benchmarks.campaign_tuner", "work"]
    running = [subprocess.Popen([*command, f"--part={i}", f"--parts={processes}"]) for i in range(processes)]
    failed = [p.wait() for p in running]
    print(f"{time.time() - begun:.0f} s, exit codes {failed}")


# -- the report -----------------------------------------------------------------------------------------------------


def _errors(frame, by="predicted"):
    out = {}
    for m in ("latency_p50_s", "latency_p95_s", "latency_p99_s", "load"):
        said = np.array([f[m] for f in frame[by]])
        came = np.array([f[m] for f in frame.measured])
        error = np.abs(said / came - 1)
        out[m] = (np.nanmedian(error), np.nanquantile(error, 0.9))
    return out


def _floor(frame):
    """The difference of two real runs that differ by their seed only."""
    pairs = frame.pivot_table(
        index=["law", "arrivals", "interval_s"], columns="seed", values="measured", aggfunc="first"
    )
    out = {}
    for m in ("latency_p50_s", "latency_p95_s", "latency_p99_s", "load"):
        one, two = (np.array([r[m] for r in pairs[seed]]) for seed in (1, 2))
        error = np.abs(one / two - 1)
        out[m] = (np.nanmedian(error), np.nanquantile(error, 0.9))
    return out


def _line(name, errors):
    cells = " | ".join(f"{100 * a:.1f} / {100 * b:.0f}" for a, b in errors.values())
    return f"| {name} | {cells} |"


def _decide(group, objective, said):
    """(index chosen, index that exhaustive search finds) on the grid of intervals; None where there is none."""
    load = np.array([f["load"] for f in group.measured])
    p95 = np.array([f["latency_p95_s"] for f in group.measured])
    limit = np.inf if objective == "fastest" else objective
    room = 0.7 if objective == "fastest" else 0.8
    truly = np.flatnonzero((p95 <= limit) & (load <= room))
    if said == "formula":
        own_load = np.array([f["load"] for f in group.formula])
        fit = np.flatnonzero((np.array([f["latency_p95_s"] for f in group.formula]) <= limit) & (own_load <= room))
    else:
        own_load = np.array([f["load"] for f in group.predicted])
        chance = np.array([c["fastest" if objective == "fastest" else str(objective)] for c in group.chances])
        fit = np.flatnonzero((chance >= SURE) & ~group.extrapolated.to_numpy())
    pick = (lambda at, cost: int(at[0])) if objective == "fastest" else (lambda at, cost: int(at[np.argmin(cost[at])]))
    chosen = pick(fit, own_load) if len(fit) else None
    best = pick(truly, load) if len(truly) else None
    broken = chosen is not None and (p95[chosen] > 1.05 * limit or load[chosen] > 1.05 * room)
    regret = load[chosen] / load[best] - 1 if chosen is not None and best is not None and not broken else np.nan
    return chosen, best, broken, regret


def _decisions(frame, said):
    found = []
    for _, group in frame.groupby(["law", "arrivals", "seed"]):
        ordered = group.sort_values("interval_s")
        found += [(o, *_decide(ordered, o, said)) for o in (*LIMITS, "fastest")]
    table = pd.DataFrame(found, columns=["objective", "chosen", "best", "broken", "regret"])
    cheapest, fastest = table[table.objective != "fastest"], table[table.objective == "fastest"]
    lines = []
    for name, part in (("cheapest, p95 ≤ 0.4 to 2.5 s", cheapest), ("fastest, load ≤ 0.7", fastest)):
        could, answered = part.best.notna(), part.chosen.notna()
        same = float((part.chosen == part.best)[could & answered].mean())
        refused = float((~answered)[could].mean())
        regret = part.regret[could & answered]
        lines.append(
            f"| {said}: {name} | {int(could.sum())} | {100 * same:.0f} % | {100 * part.broken[answered].mean():.1f} % | "
            f"{100 * max(0.0, regret.mean()):.1f} % | {100 * refused:.1f} % |"
        )
    return lines


def report():
    """Print every acceptance figure beside the noise floor, and write it down."""
    facts = pd.DataFrame([json.loads(line) for line in FACTS.read_text(encoding="utf-8").splitlines()])
    main, held, tuned = (facts[facts.kind == k] for k in ("main", "held out", "tune"))
    quiet = main[main.wake_p99_s <= 0.003]
    main = main.astype({"near": bool, "extrapolated": bool, "seed": int})
    lines = [
        "# The tuner against real runs of sleeping twins", "",
        (f"{len(main)} runs of {LENGTH_S} s from {len(main) // len(INTERVALS)} calibrations of {BUDGET_S} s; "
        f"the calibrated seed is never the one that is run. Wake delay p99: median "
        f"{1e3 * main.wake_p99_s.median():.1f} ms, largest {1e3 * main.wake_p99_s.max():.0f} ms."), "",
        "Relative error in %, median / p90:", "",
        "| | p50 | p95 | p99 | load |", "|---|---|---|---|---|",
        _line("tuner", _errors(main)),
        _line("noise floor (two real runs)", _floor(main)),
        _line(f"tuner, the {len(quiet)} runs with wake delay p99 ≤ 3 ms", _errors(quiet)),
        _line("textbook formula, same probes", _errors(main, "formula")),
        *(_line(f"tuner, {law}", _errors(main[main.law == law])) for law in LAWS),
        *(_line(f"tuner, {a}", _errors(main[main.arrivals == a])) for a in ARRIVALS),
    ]  # fmt: skip
    if len(held):
        lines += [_line(f"held out: {law}", _errors(held[held.law == law])) for law in HELD_OUT]
    inside = {
        m: np.mean([lo[m] <= f[m] <= hi[m] for lo, hi, f in zip(main.lo, main.hi, main.measured, strict=True)])
        for m in MEASURES[:-1]
    }
    covered = ", ".join(f"{m.removeprefix('latency_').removesuffix('_s')} {100 * v:.0f} %" for m, v in inside.items())
    right = (main.regime == main.regime_predicted).mean()
    away = main[~main.near]
    forms = main.drop_duplicates(["law", "arrivals", "seed"]).groupby("law").form.value_counts()
    lines += [
        "", f"95 % bands hold: {covered}; all together {100 * np.mean(list(inside.values())):.0f} %.",
        (f"Regime right: {100 * right:.1f} % of all runs; {100 * (away.regime == away.regime_predicted).mean():.1f} % of "
        f"those not flagged as near the cliff ({100 * main.near.mean():.0f} % are flagged)."),
        f"Calibration took {main.calibrated_s.median():.2f} s (median), {main.calibrated_s.max():.2f} s at most.", "",
        "| decisions | possible | same as exhaustive search | broken by > 5 % | mean regret | refused |",
        "|---|---|---|---|---|---|", *_decisions(main, "tuner"), *_decisions(main, "formula"), "",
        "Forms found: " + "; ".join(f"{law} as {form} {n}×" for (law, form), n in forms.items()) + ".",
    ]  # fmt: skip
    if len(tuned):
        over = (tuned.took_s - BUDGET_S - tuned.longest_s).max()
        verdicts = ", ".join(f"{v} {n}" for v, n in tuned.verdict.value_counts().items())
        kept = tuned[tuned.interval_s.notna()]
        lines += [
            "", (f"tune(p95=0.7 s), then verify: {len(tuned)} cases, {verdicts}; target kept in {int(kept.kept.sum())} of "
            f"{len(kept)}, {int(kept.inside.sum())} of {int(kept['of'].sum())} figures inside their band, p95 error median "
            f"{100 * kept.error_p95.abs().median():.1f} %; at most {over:.2f} s over budget + longest call. "
            f"Median {tuned.took_s.median():.2f} s: {6 * LENGTH_S / tuned.took_s.median():.0f}× faster than six runs of "
            f"{LENGTH_S} s by hand, {200 * LENGTH_S / tuned.took_s.median():.0f}× than a curve of 200."),
        ]  # fmt: skip
    text = "\n".join(lines)
    print(text)
    (RESULTS / "campaign-tuner.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "work", "report"])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    given = parser.parse_args()
    if given.verb == "run":
        run(given.processes)
    elif given.verb == "work":
        work(given.part, given.parts)
    if given.verb in ("run", "report"):
        report()

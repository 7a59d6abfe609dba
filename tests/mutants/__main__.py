"""Plant one mistake after the other and see whether a test notices.

    uv run python -m tests.mutants --seed 7 --count 300                     # engine, driver, steps and sinks
    uv run python -m tests.mutants --seed 7 --count 40 --only mblab/engine  # a part of it
    uv run python -m tests.mutants --seed 7 --again                         # those that survived, if they still stand

What is known already is not tried again, so it can be stopped at any time. The table is written into
`tests/benchmarks/results/`. A change that nobody can see has its reason in `tests/mutants/unseen.json`, under its name.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
from collections import Counter
from pathlib import Path

from .changes import Change, changes_of
from .workshop import Job, Workshop

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results"
UNSEEN = Path(__file__).with_name("unseen.json")
DEFAULT = ["mblab/engine", "mblab/steps", "mblab/sinks"]

# The tests that are about a module; of those only the ones that get to the changed lines are run. The longest prefix counts.
TESTS = {
    "mblab/timing": ["test_durations", "test_reference", "test_schedule", "test_engine", "test_hands_unseen"],
    "mblab/engine": [
        "test_reference", "test_hands_unseen", "test_run", "test_engine", "test_schedule", "test_lab", "test_sink_contract",
        "test_checks", "test_hands", "test_hands_faults", "test_live", "test_silence", "test_rollbacks", "test_nothing_lost",
        "test_times", "test_everyday", "test_arguments", "test_progress", "test_record", "test_disorder",
    ],
    "mblab/steps": [
        "test_steps", "test_state", "test_hands_unseen", "test_engine", "test_lab", "test_magics", "test_checks",
        "test_arrow_frames", "test_nested", "test_kernel",
    ],
    "mblab/sinks": [
        "test_hands_unseen", "test_sink_contract", "test_sinks", "test_sqlite", "test_export", "test_rollbacks",
        "test_nothing_lost", "test_what_comes_back", "test_arrow_frames",
    ],
}  # fmt: skip


def tests_of(file: str) -> tuple[str, ...]:
    """The test files that are about a module."""
    fits = [prefix for prefix in TESTS if file.startswith(prefix)]
    names = TESTS[max(fits, key=len)] if fits else ["test_engine", "test_lab"]
    return tuple(f"tests/{name}.py" for name in names)  # one that is not there ends the whole, in a sentence


def drawn(only: list[str], seed: int, count: int) -> list[Change]:
    """So many of all changes of some modules, by a seed, in the order in which they stand."""
    every = _every(only)
    chosen = random.Random(seed).sample(range(len(every)), min(count, len(every)))
    print(f"{len(chosen)} of {len(every)} changes", file=sys.stderr)
    return [every[i] for i in sorted(chosen)]


def survivors(only: list[str], known: dict[str, dict]) -> list[Change]:
    """Those known to have survived; where the line is another one by now, that is noted instead."""
    left = {name for name, fact in known.items() if fact["outcome"] in ("survived", "gone")}
    there = [change for change in _every(only) if change.name in left]
    for name in left:
        known[name]["outcome"] = "gone"
    for change in there:
        known[change.name]["outcome"] = "survived"
    return there


def _every(only: list[str]) -> list[Change]:
    files = sorted({f.relative_to(ROOT).as_posix() for part in only for f in _modules(ROOT / part)})
    return [change for file in files for change in changes_of(ROOT, file)]


def _modules(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--only", nargs="+", default=DEFAULT, metavar="PATH", help="modules or folders")
    parser.add_argument("--tests", nargs="+", metavar="PATH", help="test files instead of those of the map")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="try those that survived once more")
    parser.add_argument("--list", action="store_true", help="show the changes and try none")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves no copies behind
    where = "all" if given.only == DEFAULT else "-".join(Path(p).with_suffix("").name for p in given.only)
    notes = RESULTS / f"mutants-{where}-seed{given.seed}.jsonl"
    known = _read(notes)
    changes = survivors(given.only, known) if given.again else drawn(given.only, given.seed, given.count)
    if given.list:
        for change in changes:
            print(f"{change.name} {change.file}:{change.line} {change.where} ({change.kind})\n{change.diff}")
        return 0

    todo = [c for c in changes if (given.again and c.name not in _reasons()) or c.name not in known]
    by_name = {change.name: change for change in todo}
    jobs = [Job(c.name, c.file, c.lines, c.after, tuple(given.tests or ()) or tests_of(c.file)) for c in todo]
    workshop = Workshop(ROOT, given.workers)
    try:
        for done, verdict in enumerate(workshop.verdicts(jobs), 1):
            change = by_name[verdict.job.name]
            known[change.name] = {
                "name": change.name, "file": change.file, "line": change.line, "where": change.where,
                "kind": change.kind, "outcome": verdict.outcome, "by": verdict.by, "seconds": round(verdict.seconds, 1),
                "diff": change.diff,
            }  # fmt: skip
            notes.write_text("".join(json.dumps(fact) + "\n" for fact in known.values()), "utf-8")
            print(f"{done}/{len(jobs)} {verdict.outcome:8} {verdict.seconds:5.1f} s {change.file}:{change.line} {verdict.by}",
                  file=sys.stderr)  # fmt: skip
    finally:
        workshop.close()
        facts = list(known.values()) if given.again else [known[c.name] for c in changes if c.name in known]
        notes.with_suffix(".md").write_text(_table(facts, " ".join(sys.argv[1:])), "utf-8")
    unexplained = [f for f in facts if f["outcome"] == "survived" and f["name"] not in _reasons()]
    print(
        f"{dict(Counter(f['outcome'] for f in facts))}; {len(unexplained)} survived without a reason", file=sys.stderr
    )
    return 1 if unexplained else 0


def _read(notes: Path) -> dict[str, dict]:
    lines = notes.read_text("utf-8").splitlines() if notes.exists() else []
    return {fact["name"]: fact for fact in map(json.loads, lines)}


def _reasons() -> dict[str, str]:
    return json.loads(UNSEEN.read_text("utf-8")) if UNSEEN.exists() else {}


def _table(facts: list[dict], command: str) -> str:
    reasons, counts = _reasons(), Counter(fact["outcome"] for fact in facts)
    head = (
        f"`python -m tests.mutants {command}`: {len(facts)} tried, {counts['killed']} killed, {counts['hangs']} noticed by a "
        f"hang, {counts['survived']} survived, {counts['gone']} are gone since."
    )
    lines = ["# Planted changes", "", head, ""]
    for outcome in ("survived", "gone", "hangs", "killed"):
        some = [fact for fact in facts if fact["outcome"] == outcome]
        lines += [f"## {outcome} ({len(some)})", ""] if some else []
        for fact in some:
            why = reasons.get(fact["name"]) if outcome == "survived" else fact["by"] or "another line by now"
            lines += [
                f"`{fact['name']}` {fact['file']}:{fact['line']} {fact['where']} ({fact['kind']}): {why or 'no reason yet'}",
                "```diff", fact["diff"], "```",
            ]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

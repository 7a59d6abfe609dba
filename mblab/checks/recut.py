"""Does the result depend on where the batches are cut?

The first rows of the source are recorded and put through the steps several times, cut elsewhere each time, from an
empty state. What came out is compared at the rows where two cuts both end a batch (see `verdict`): rows of a row-wise
function one by one, a running result where it was last emitted, counts and sums added up. A column that is the same
throughout does not depend on the cut. Steps that return nothing are judged by their state.

    recording -> cuts -> trial -> verdict -> [recut] -> lab, testing
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pandas as pd

from mblab.checks.cuts import ONE, Cuts, cuts_of
from mblab.checks.equality import same_value
from mblab.checks.trial import Recording, Trial
from mblab.checks.verdict import CHANGES, SAME, Emissions, Verdict, compare_emissions, worst
from mblab.engine.pipeline import Pipeline
from mblab.errors import BatchError, SettingError, shown
from mblab.steps.chain import names_of
from mblab.steps.step import Step
from mblab.tables.values import as_python

__all__ = ["CutCheck", "check_cuts", "same_as_batch"]

FAILS: Final = "fails"
RANDOM: Final = "another result each time"
TABLE: Final = ("column", "verdict", "cut", "after_row", "reference", "other")

# What a function's text (or a column's name) says about why it depends on the cut, and the way on.
HINTS: Final = (
    (r"nunique|unique\(|distinct|drop_duplicates|duplicated|set\(", "keep the set of values seen in state"),
    (r"median|quantile|percentile|p\d\d\b|qcut", "quantiles cannot be merged: keep the values, or a sketch, in state"),
    (r"ewm|decay|smooth", "weigh by rows or by time instead of by batch"),
    (r"\.(std|var|sem)\(|zscore", "keep count, sum and sum of squares in state"),
    (r"\bmean|avg|average|describe", "keep sum and count in state"),
    (r"rank|nlargest|nsmallest|sort_values|top|argsort", "keep the best rows so far in state"),
    (r"diff|shift|pct_change|rolling|expanding|cumsum|cumcount|cummax|cummin", "carry the last rows over in state"),
    (r"\bfirst|head\(|iloc\[0\]|iloc\[\[0\]\]|iloc\[:1\]|index == 0", "note in state that the first row was seen"),
    (r"\blast|tail\(|iloc\[-1\]|iloc\[\[-1\]\]|iloc\[-1:\]", "keep the last value in state and return it from there"),
    (r"\.(min|max)\(|idxmax|idxmin", "keep the extreme so far in state"),
    (r"len\(|\.sum\(|\.count\(|size|value_counts|cumprod", "keep the running total in state"),
)  # fmt: skip
OTHERWISE: Final = "keep what it needs of earlier batches in state"


@dataclass(frozen=True)
class CutCheck:
    """Whether a result depends on where the batches are cut; shows itself in words.

    Attributes:
        ok: Whether it does not.
        text: One sentence a column that changes, or one that says what was found to be the same.
        table: One row a column of the output (of the state, where there is no output): column, verdict (same rows, same
            rows in another order, same running result, adds up, changes, fails), cut (where it first differed),
            after_row (int64, 0 where it did not), reference and other (the two values, where single ones can be shown).
        rows: How many rows were recorded.
        cuts: What the cuts are called.
    """

    ok: bool
    text: str
    table: pd.DataFrame
    rows: int
    cuts: tuple[str, ...] = field(repr=False, default=())

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.text.splitlines())
        return lines + (str(self.table.to_html(index=False)) if len(self.table) else "")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one cut gave.

    Attributes:
        emissions: The output of each batch that had any.
        states: Row → state of each step after it, at the ends that all cuts share.
        error: What a step raised, if one did.
        at: Rows taken when it did.
        size: Rows of the batch it failed on.
    """

    emissions: Emissions
    states: dict[int, dict[str, Any]]
    error: BatchError | None = None
    at: int = 0
    size: int = 0


def _outcome(pipeline: Pipeline, recording: Recording, ends: Sequence[int], shared: Sequence[int]) -> _Outcome:
    """Return what the steps give on batches that end at some rows, with their states at those that all cuts share."""
    trial = Trial(pipeline, recording)
    emissions: list[tuple[int, pd.DataFrame]] = []
    states: dict[int, dict[str, Any]] = {}
    low, common = 0, set(shared)
    for end in ends:
        try:
            rows = trial.next(end - low)
        except BatchError as error:
            return _Outcome(emissions, states, error, low, end - low)
        if rows is not None:
            emissions.append((end, rows.copy(deep=False)))
        if end in common:
            states[end] = {s.name: trial.state(s) for s in pipeline.steps if "state" in s.parameters}
        low = end
    return _Outcome(emissions, states)


def check_cuts(pipeline: Pipeline, recording: Recording) -> CutCheck:
    """Return whether the pipeline's result depends on the cut.

    Args:
        pipeline: The recipe; its steps are called some hundred times, its sinks are not.
        recording: Rows from the start of the source.

    Raises:
        SettingError: There is no step, or there are too few rows to cut.
        BatchError: A step fails on the reference cut already.
    """
    if not pipeline.steps:
        raise SettingError("check needs a step to look at; define one with @lab.batch first.")
    if len(recording.rows) < 4:
        raise SettingError(f"check needs at least 4 rows to cut in several ways, got {len(recording.rows)}.")
    cuts = cuts_of(recording.arrival_ns, pipeline.settings.interval_ns)
    found = _compare_cuts(pipeline, recording, cuts)
    step = _first_that_depends(pipeline, recording, cuts) if _broken(found) else pipeline.steps[-1]
    return _concluded(pipeline, cuts, found, step, ("in a few ranges", *cuts.others))


def same_as_batch(pipeline: Pipeline, recording: Recording) -> CutCheck:
    """Return whether, after the last row, every cut has given what a single batch of all rows gives.

    Sums of emissions do not count here: a batch job's consumer reads its result as it is.
    """
    cuts = cuts_of(recording.arrival_ns, pipeline.settings.interval_ns)
    whole = Cuts([cuts.rows], {"in a few ranges": cuts.ends} | {k: v for k, v in cuts.others.items() if k != ONE})
    found = _compare_cuts(pipeline, recording, whole, adds=False)
    return _concluded(pipeline, whole, found, pipeline.steps[-1])


def _broken(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the table that speak against the pipeline."""
    return [row for row in found if row["verdict"] in (CHANGES, FAILS, RANDOM)]


def _concluded(
    pipeline: Pipeline, cuts: Cuts, found: list[dict[str, Any]], step: Step, called: tuple[str, ...] = ()
) -> CutCheck:
    """Return what was found as a check; `step` is the one that its words are about."""
    table = pd.DataFrame(found, columns=list(TABLE)).astype({"after_row": "int64"})
    return CutCheck(not _broken(found), _in_words(pipeline, cuts, found, step), table, cuts.rows, called)


def _first_that_depends(pipeline: Pipeline, recording: Recording, cuts: Cuts) -> Step:
    """Return the first step whose own output depends on the cut."""
    for count in range(1, len(pipeline.steps)):
        part = replace(pipeline, steps=pipeline.steps[:count])
        if _broken(_compare_cuts(part, recording, cuts)):
            return pipeline.steps[count - 1]
    return pipeline.steps[-1]


def _compare_cuts(pipeline: Pipeline, recording: Recording, cuts: Cuts, *, adds: bool = True) -> list[dict[str, Any]]:
    """Return the rows of the table: the reference cut against itself once more, then against every other cut."""
    reference = _outcome(pipeline, recording, cuts.ends, cuts.ends)
    if reference.error is not None:
        raise reference.error
    again = _outcome(pipeline, recording, cuts.ends, cuts.ends)
    running = any("state" in s.parameters for s in pipeline.steps)
    key = next((s.key for s in reversed(pipeline.steps) if s.kind != "map"), None) or ()

    def verdicts(other: _Outcome, ends: Sequence[int]) -> dict[str, Verdict]:
        if reference.emissions or other.emissions:
            return compare_emissions(reference.emissions, other.emissions, ends, running=running, key=key, adds=adds)
        return _states(reference, other, ends)

    twice = verdicts(again, cuts.ends)
    unsteady = [name for name, v in twice.items() if v.how == CHANGES]
    if unsteady:
        return [_row(name, twice[name], "", RANDOM) for name in unsteady]
    every: dict[str, list[tuple[Verdict, str]]] = {name: [] for name in twice}
    failures = []
    for called, ends in cuts.others.items():
        shared = [cuts.rows] if called == ONE else cuts.ends
        other = _outcome(pipeline, recording, ends, shared)
        if other.error is not None:
            first_line = str(other.error).partition("\n")[0]
            what = f"a batch of {other.size:,} {'row' if other.size == 1 else 'rows'}: {first_line}"
            failures.append(
                {"column": "", "verdict": FAILS, "cut": called, "after_row": other.at, "reference": "", "other": what}
            )
            continue
        for name, verdict in verdicts(other, shared).items():
            every.setdefault(name, []).append((verdict, called))
    rows = failures
    for name, results in every.items():
        most = worst(v for v, _ in results) if results else Verdict(SAME)
        rows.append(_row(name, most, next((cut for v, cut in results if v is most), "")))
    return rows


def _row(name: str, verdict: Verdict, cut: str, how: str | None = None) -> dict[str, Any]:
    differs = verdict.how == CHANGES
    return {
        "column": name,
        "verdict": how or verdict.how,
        "cut": cut if differs else "",
        "after_row": verdict.at,
        "reference": "" if verdict.one is None or not differs else shown(as_python(verdict.one), 40),
        "other": "" if verdict.other is None or not differs else shown(as_python(verdict.other), 40),
    }


def _states(one: _Outcome, other: _Outcome, ends: Sequence[int]) -> dict[str, Verdict]:
    """Compare what the steps remember, entry by entry, at the shared ends."""
    found: dict[str, Verdict] = {}
    for end in ends:
        for step in one.states.get(end, {}):
            a, b = one.states[end][step], other.states[end][step]
            for entry in dict.fromkeys([*a, *b]):
                name = f"state of {step}: {entry}"
                same = entry in a and entry in b and same_value(a[entry], b[entry])
                if name not in found or found[name].how != CHANGES:
                    found[name] = Verdict(SAME) if same else Verdict(CHANGES, end, a.get(entry), b.get(entry))
    return found


def _in_words(pipeline: Pipeline, cuts: Cuts, found: list[dict[str, Any]], step: Step) -> str:
    broken = _broken(found)
    if not broken:
        kinds = ", ".join(dict.fromkeys(r["verdict"] for r in found))
        return (
            f"the result of {names_of(pipeline.steps)} does not depend on the batch cut "
            f"({cuts.rows:,} rows cut in {1 + len(cuts.others)} ways: {kinds or 'no output, no state'})"
        )
    where = f" (from {step.name} on)" if len(pipeline.steps) > 1 else ""
    lines = [f"{step.name} fails {r['cut']}, on {r['other']}" for r in broken if r["verdict"] == FAILS]
    random = [r["column"] for r in broken if r["verdict"] == RANDOM]
    if random:
        way = "take random numbers from a seed in state, and times from the rows"
        lines.append(f"{_listed(random, 'changes')} each time the same batches are run{where}; {way}")
    changed: dict[str, list[str]] = {}
    for row in broken:
        if row["verdict"] == CHANGES:
            changed.setdefault(_hint(row["column"], step), []).append(row["column"])
    lines += [f"{_listed(names, 'changes')} with the batch cut{where}; {hint}" for hint, names in changed.items()]
    return "\n".join(lines)


def _listed(names: Sequence[str], verb: str) -> str:
    """Return names as the subject of a sentence.

    >>> _listed(["a"], "changes"), _listed(["a", "b", "c"], "changes")
    ('a changes', 'a, b and c change')
    """
    if len(names) == 1:
        return f"{names[0]} {verb}"
    return f"{', '.join(names[:-1])} and {names[-1]} {verb.removesuffix('s')}"


def _hint(column: str, step: Step) -> str:
    """Return the way on: what the column's name suggests, else what the function's text does."""
    for text in (column, step.text or ""):
        for pattern, hint in HINTS:
            if re.search(pattern, text):
                return hint
    return OTHERWISE

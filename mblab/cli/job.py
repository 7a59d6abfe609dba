"""What happens in the process that executes a user's file: a script's is ours, a notebook's is its kernel.

`begin` lays the command line's options over the file's runs; `finish` looks at the labs that the file has made, does
what is left to do, and returns plain facts.

job -> [inside]: begin, the file itself, finish -> facts
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mblab.cli.text import plain, plain_facts, sweep_facts
from mblab.errors import MblabError, SettingError, did_you_mean
from mblab.lab import Lab, overrides

__all__ = ["Job", "begin", "facts", "finish"]


@dataclass(frozen=True)
class Job:
    """What is wanted of a file; JSON-able, for a notebook's kernel is another process.

    Attributes:
        verb: run: as it is written; sweep, tune: up to its first run, and then that; export: to its end, runs on the
            virtual clock and without effects, and then the script.
        file: The file, for messages.
        knobs: What wins over the labs' own knobs.
        duration: What wins over the runs' own duration, or None.
        clock: wall, virtual or None.
        lab: Name of the lab that is meant, or None where there is one.
        intervals: Of a sweep.
        wanted: What `tune` is asked for: p95, p99, load, objective, budget.
        out: Where an exported script goes.
        facts: JSON file into which a notebook's kernel writes what it found; empty in this process.
    """

    verb: Literal["run", "sweep", "tune", "export"]
    file: str
    knobs: dict[str, Any] = field(default_factory=dict)
    duration: str | None = None
    clock: str | None = None
    lab: str | None = None
    intervals: list[str] = field(default_factory=list)
    wanted: dict[str, Any] = field(default_factory=dict)
    out: str = ""
    facts: str = ""

    def code(self) -> str:
        """Return the expression that makes it again, for a notebook's cell."""
        given = {k: v for k, v in asdict(self).items() if v}
        return f"mblab.cli.job.Job({', '.join(f'{k}={v!r}' for k, v in given.items())})"


_facts: dict[str, Any] = {}
_laid = overrides.Overrides()


def begin(job: Job) -> None:
    """Lay the options over every run that begins from now on."""
    global _laid  # noqa: PLW0603
    _facts.clear()
    if job.verb in ("sweep", "tune"):
        _laid = overrides.Overrides(job.knobs, instead=lambda lab, *run: _instead_if_meant(job, lab, *run))
    elif job.verb == "export":
        _laid = overrides.Overrides(clock="virtual", effects=False)
    else:
        _laid = overrides.Overrides(job.knobs, job.duration, job.clock)
    overrides.lay(_laid)


def finish(job: Job, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return what came out of a file that has been executed.

    Args:
        job: What was wanted.
        names: The file's globals.

    Raises:
        SettingError: It made no lab, or several and none was named.
        MblabError: A run of it halted.
    """
    try:
        made = [value for value in names.values() if isinstance(value, Lab)]
        if job.verb == "run":
            _found(job, {"runs": _runs(job, made)})
        elif job.verb in ("sweep", "tune") and not _facts:
            lab = _chosen(job, made)
            lab.change(**job.knobs)
            _instead(job, lab)
        elif job.verb == "export":
            lab = _chosen(job, made or _laid.begun)
            _found(job, {"lab": lab.name, "path": str(lab.export(job.out))})
        return facts()
    finally:
        overrides.lift()


def facts() -> dict[str, Any]:
    """Return what was found so far."""
    return dict(_facts)


def _found(job: Job, found: Mapping[str, Any]) -> None:
    """Keep what was found, also for the process that waits for this one."""
    _facts.update(found)
    if job.facts:
        Path(job.facts).write_text(json.dumps(_facts), encoding="utf-8")


def _chosen(job: Job, labs: Iterable[Any]) -> Any:
    """Return the one lab, or the one that is meant."""
    by_name = {lab.name: lab for lab in labs}
    if not by_name:
        raise SettingError(f"{job.file} makes no lab; it needs a line such as lab = mblab.Lab(source).")
    if job.lab is not None:
        if job.lab not in by_name:
            hint = did_you_mean(job.lab, by_name)
            raise SettingError(f"--lab {job.lab}: {job.file} makes no lab of that name, there are {[*by_name]}{hint}")
        return by_name[job.lab]
    if len(by_name) > 1:
        raise SettingError(f"{job.file} makes {len(by_name)} labs, {[*by_name]}; say which one with --lab.")
    return next(iter(by_name.values()))


def _runs(job: Job, made: list[Any]) -> list[dict[str, Any]]:
    """Return a summary of every run; a file that began none has its lab run here."""
    if not _laid.begun:
        lab = _chosen(job, made)
        _check_end(lab, job.duration)
        lab.run()
    labs = [lab for lab in _laid.begun if job.lab in (None, lab.name)] or [_chosen(job, _laid.begun)]
    for lab in labs:
        try:
            lab.last_run.wait()
        except KeyboardInterrupt:
            lab.stop()
            raise
        if lab.last_run.status == "halted":
            raise lab.last_run.error or MblabError(f"the run of {lab.name!r} halted.")
    return [{"lab": lab.name, "status": run.status, **plain_facts(run.summary())} for lab in labs for run in lab.runs]


def _instead_if_meant(job: Job, lab: Any, *run: Any) -> None:
    if job.lab is not None and job.lab != lab.name:
        raise SettingError(f"--lab {job.lab}: the first run in {job.file} is that of {lab.name!r}; leave --lab out.")
    _instead(job, lab, *run)


def _check_end(lab: Any, duration: Any) -> None:
    """Refuse a stream without end that nothing ends."""
    if lab.source.endless and duration is None:
        raise SettingError(f"{lab.source.name} never ends by itself; say how long, such as --duration 30s.")


def _instead(job: Job, lab: Any, duration: Any = None, clock: Any = "wall", cost: Any = None) -> None:
    """Do what is wanted in place of a run: for its duration, on its clock, at its cost, where nothing else is said."""
    length = duration if job.duration is None else job.duration
    if job.verb == "tune":
        _tune(job, lab, length)
    else:
        _sweep(job, lab, length, job.clock or clock, None if job.clock == "wall" else cost)


def _tune(job: Job, lab: Any, duration: Any) -> None:
    advice = lab.tune(duration=duration, **job.wanted)
    _found(
        job,
        {
            "lab": lab.name,
            "interval_s": advice.interval,
            "verdict": advice.verdict,
            "why": advice.why,
            "explained": advice.explain(),
            "law": advice.model.explain(),
            "headroom": plain(advice.headroom),
            "curve": sweep_facts(advice.curve),
        },
    )


def _sweep(job: Job, lab: Any, duration: Any, clock: Any, cost: Any) -> None:
    _check_end(lab, duration)
    swept = lab.sweep(job.intervals, duration, clock=clock, cost=cost)
    shortest = plain(swept.shortest_s)
    _found(job, {"lab": lab.name, "clock": swept.clock, "shortest_interval_s": shortest, "sweep": sweep_facts(swept)})

"""What is wanted of a user's file, and what happens in the process that executes it.

A script's process is ours, a notebook's is its kernel. The command line's options hold for the file's runs; when the
file is at its end, its labs are looked at, and what is left to do is done.

    options -> [job]: overrides, the file itself, finish -> plain values
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mblab.cli.text import summary_values, sweep_values
from mblab.errors import MblabError, SettingError, did_you_mean
from mblab.lab import Lab, overrides
from mblab.lab.control import ClockName, Knobs, RunRequest
from mblab.lab.overrides import Overrides
from mblab.tables.values import as_json
from mblab.timing.durations import Duration

__all__ = ["Execution", "Job", "begin", "finish"]


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
        answer: JSON file into which a notebook's kernel writes what it found; empty in this process.
    """

    verb: Literal["run", "sweep", "tune", "export"]
    file: str
    knobs: Knobs = field(default_factory=Knobs)
    duration: str | None = None
    clock: ClockName | None = None
    lab: str | None = None
    intervals: list[str] = field(default_factory=list)
    wanted: dict[str, Any] = field(default_factory=dict)
    out: str = ""
    answer: str = ""

    def code(self) -> str:
        """Return the expression that makes it again, for a notebook's cell."""
        given = {k: v for k, v in asdict(self).items() if v}
        return f"mblab.cli.job.Job({', '.join(f'{k}={v!r}' for k, v in given.items())})"


class Execution:
    """A job while its file is executed: what is put over the file's runs, and what was found.

    Attributes:
        job: What is wanted.
        overrides: What holds for the file's runs.
        found: Plain values for the terminal, empty until there is something.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.found: dict[str, Any] = {}
        if job.verb in ("sweep", "tune"):
            self.overrides = Overrides(job.knobs, instead=self._instead_of_first_run)
        elif job.verb == "export":
            self.overrides = Overrides(clock="virtual", effects=False)
        else:
            self.overrides = Overrides(job.knobs, job.duration, job.clock)

    def finish(self, names: Mapping[str, object]) -> None:
        """Look at the labs of a file that came to its end, and do what is left to do.

        Args:
            names: The file's globals.

        Raises:
            SettingError: It made no lab, or several and none was named.
            MblabError: A run of it halted.
        """
        made = [value for value in names.values() if isinstance(value, Lab)]
        if self.job.verb == "run":
            self._keep({"runs": self._runs(made)})
        elif self.job.verb == "export":
            lab = self._chosen(made or self.overrides.begun)
            self._keep({"lab": lab.name, "path": str(lab.export(self.job.out))})
        elif not self.found:
            lab = self._chosen(made)
            lab.change(**self.job.knobs)
            self._sweep_or_tune(lab, RunRequest())

    def _keep(self, found: Mapping[str, Any]) -> None:
        """Keep what was found, also for the process that waits for this one."""
        self.found.update(found)
        if self.job.answer:
            Path(self.job.answer).write_text(json.dumps(self.found), encoding="utf-8")

    def _chosen(self, labs: Iterable[Lab]) -> Lab:
        """Return the one lab, or the one that is meant."""
        job, by_name = self.job, {lab.name: lab for lab in labs}
        if not by_name:
            raise SettingError(f"{job.file} makes no lab; it needs a line such as lab = mblab.Lab(source).")
        if job.lab is not None:
            if job.lab not in by_name:
                hint = did_you_mean(job.lab, by_name)
                raise SettingError(
                    f"--lab {job.lab}: {job.file} makes no lab of that name, there are {[*by_name]}{hint}"
                )
            return by_name[job.lab]
        if len(by_name) > 1:
            raise SettingError(f"{job.file} makes {len(by_name)} labs, {[*by_name]}; say which one with --lab.")
        return next(iter(by_name.values()))

    def _runs(self, made: Sequence[Lab]) -> list[dict[str, Any]]:
        """Return a summary of every run; a file that began none has its lab run here."""
        begun = self.overrides.begun
        if not begun:
            lab = self._chosen(made)
            _check_end(lab, self.job.duration)
            lab.run()
        labs = [lab for lab in begun if self.job.lab in (None, lab.name)] or [self._chosen(begun)]
        for lab in labs:
            _wait_for(lab)
        return [
            {"lab": lab.name, "status": run.status, **summary_values(run.summary())} for lab in labs for run in lab.runs
        ]

    def _instead_of_first_run(self, lab: Lab, request: RunRequest) -> None:
        job = self.job
        if job.lab is not None and job.lab != lab.name:
            raise SettingError(
                f"--lab {job.lab}: the first run in {job.file} is that of {lab.name!r}; leave --lab out."
            )
        self._sweep_or_tune(lab, request)

    def _sweep_or_tune(self, lab: Lab, request: RunRequest) -> None:
        """Do what is wanted in place of a run: for its duration, on its clock, at its cost, if nothing else is said."""
        job = self.job
        duration = request.duration if job.duration is None else job.duration
        if job.verb == "tune":
            self._keep(_tuned(lab, replace(request, duration=duration), job.wanted))
            return
        cost = None if job.clock == "wall" else request.cost
        self._keep(_swept(lab, job.intervals, replace(request, duration=duration, cost=cost), job.clock))


def _check_end(lab: Lab, duration: Duration | None) -> None:
    """Refuse a stream without end that nothing ends."""
    if lab.source.endless and duration is None:
        raise SettingError(f"{lab.source.name} never ends by itself; say how long, such as --duration 30s.")


def _wait_for(lab: Lab) -> None:
    """Wait until the newest run of a lab has ended.

    Raises:
        MblabError: It halted.
    """
    run = lab.last_run
    if run is None:  # the file has reset its lab
        return
    try:
        run.wait()
    except KeyboardInterrupt:
        lab.stop()
        raise
    if run.status == "halted":
        raise run.error or MblabError(f"the run of {lab.name!r} halted.")


def _tuned(lab: Lab, request: RunRequest, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tuner's advice as plain values, by the cost that the file's run declares if it declares one."""
    advice = lab.tune(duration=request.duration, cost=request.cost, **wanted)
    return {
        "lab": lab.name,
        "interval_s": advice.interval,
        "verdict": advice.verdict,
        "why": advice.why,
        "explained": advice.explain(),
        "law": advice.model.explain(),
        "headroom": as_json(advice.headroom),
        "curve": sweep_values(advice.curve),
    }


def _swept(lab: Lab, intervals: Sequence[str], request: RunRequest, clock: ClockName | None) -> dict[str, Any]:
    """Return a sweep as plain values."""
    _check_end(lab, request.duration)
    swept = lab.sweep(intervals, request.duration, clock=clock or request.clock, cost=request.cost)
    return {
        "lab": lab.name,
        "clock": swept.clock,
        "freshest_interval_s": as_json(swept.freshest_s),
        "shortest_interval_s": as_json(swept.shortest_s),
        "sweep": sweep_values(swept),
    }


# -- in a notebook's kernel, where two cells stand around those of the user ------------------------------------------

_execution: Execution | None = None


def begin(job: Job) -> None:
    """Put a job's options over every run that begins from now on: the first cell."""
    global _execution  # noqa: PLW0603
    _execution = Execution(job)
    overrides.apply(_execution.overrides)


def finish(names: Mapping[str, object]) -> None:
    """Do what is left to do, and let runs begin as their code says again: the last cell."""
    assert _execution is not None
    try:
        _execution.finish(names)
    finally:
        overrides.clear()

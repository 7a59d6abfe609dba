"""The user's handle on a pipeline: all that can be done with it, and how it shows itself.

workbench -> intervals, questions -> [handle]
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from mblab.engine.settings import KNOBS
from mblab.errors import SettingError, did_you_mean
from mblab.lab.answers import Description, diagnosed, what_if
from mblab.lab.intervals import Intervals
from mblab.lab.questions import Questions
from mblab.lab.workbench import workbenches
from mblab.runs.run import Run, read_run
from mblab.steps.chain import names_of
from mblab.timing.durations import format_s

__all__ = ["Lab", "known_labs", "load_run"]


def known_labs() -> list[Lab]:
    """Return the labs of this process, the newest of each name."""
    return [lab for lab in workbenches() if isinstance(lab, Lab)]


class Lab(Intervals, Questions):
    """A micro-batch pipeline under your hands.

    Args:
        source: Where rows come from: `mblab.replay(…)`, `mblab.simulate(…)`.
        interval: Time between two triggers: a string with a unit, a `timedelta`, or seconds; at least 1 ms.
        policy: What a batch that overruns its interval does to the next: `asap`, `skip` or `queue`.
        max_rows_per_batch: Cap on a batch's rows (oldest first, the rest waits), or None. Not with `queue`.
        name: What the lab is known by: a new lab of the same name stops the old one's run.
        on_error: What a failing step does: `halt` keeps the batch, and `resume()` runs it again.
        run_empty: Whether steps are called for a batch with no rows.
        batches_limit: How many of the newest batches `run.batches` keeps.
        output_limit: How many of the newest rows `run.output` keeps.
        history: How many of the newest batches `rerun` can run again (and at most a million rows of them).
        ui: False makes `start()` behave as in a notebook run without a person; None asks `MBLAB_UI` and the kernel.

    Raises:
        SettingError: A knob breaks its rule; the message says which, and the way on.
    """

    _display_hook: ClassVar[Callable[[Lab], Any] | None] = None

    def describe(self) -> Description:
        """Return the lab in words: source, steps, sinks with what they guarantee, settings."""
        s = self._settings
        cap = "no cap" if s.max_rows_per_batch is None else f"at most {s.max_rows_per_batch:,} rows a batch"
        speed = "" if self.speedup == 1 else f", speed-up {self.speedup:g}"
        lines = [f"lab {s.name!r}: every {format_s(self.interval)}, policy {s.policy}, {cap}{speed}"]
        lines.append(f"  source  {self._source.describe()}")
        for step in self.steps:
            key = f" by {', '.join(step.key)}" if step.key else ""
            lines.append(f"  step    {step.name} ({step.kind}{key}, version {step.version})")
        lines += [f"  sink    {sink.describe()}" for sink in self._sinks]
        if not self._sinks:
            lines.append("  sink    memory: run.output")
        if self.last_run is not None:
            lines.append(f"  run     {self.last_run!r}")
        return Description("\n".join(lines))

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the pipeline as a script that runs without the notebook; returns its path.

        Raises:
            ExportError: A name the steps read cannot be carried along; the message says which, and where.
        """
        from mblab.export import write_script

        return write_script(self.pipeline, Path(path))

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise SettingError(f"{name!r} is no knob of a lab; there are {[*KNOBS]}{did_you_mean(name, KNOBS)}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        steps = names_of(self.steps)
        return f"Lab({self.name!r}: {self._source.name} → {steps}, every {format_s(self.interval)}, {self.policy})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if Lab._display_hook is not None:
            return Lab._display_hook(self)
        if self.last_run is None or self.last_run.last_progress is None:
            return {"text/plain": str(self.describe())}
        return self.last_run._repr_mimebundle_(include, exclude)


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Return a run that `run.save` wrote.

    Raises:
        SettingError: The folder holds no run, or one that cannot be read.
    """
    return read_run(folder, what_if, diagnosed)

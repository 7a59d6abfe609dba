"""What happened, and what is happening: a run to look at while it goes on, afterwards, and from disk.

This is what the user holds. It asks one view, live or saved, and rooms behind this one answer through it: what another
interval would have brought, and why a run falls behind.

    view, charts, page -> [run] -> checks, tuning, lab
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.charts.display import Shown
from mblab.errors import MblabError, SettingError, shown
from mblab.runs.saved import Pilot, SavedRun, write_run
from mblab.runs.slowest import Slowest, slowest_of
from mblab.runs.view import HowFar, RunView, Standing, headline, summary_of
from mblab.support.arguments import whole
from mblab.timing.durations import Duration, duration_ns, seconds

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Intervals", "Prediction", "Run", "Tabulated", "WhatIf", "read_run"]

Intervals: TypeAlias = Duration | Sequence[Duration] | npt.NDArray[np.float64]


class Tabulated(Protocol):
    """What holds measured points in the columns of a curve, as a sweep does."""

    @property
    def table(self) -> pd.DataFrame:
        """One row an interval."""
        ...


class Prediction(Protocol):
    """What `what_if` returns, as far as a run knows it: a `Curve` of the tuning room."""

    @property
    def table(self) -> pd.DataFrame:
        """One row an interval."""
        ...

    def only(self, **settings: Any) -> Prediction:
        """Return the part of a curve of several settings."""
        ...

    def plot(self, measured: Tabulated | pd.DataFrame | None = None) -> alt.VConcatChart:
        """Return latency and load against the interval, with measured points over them."""
        ...


class WhatIf(Protocol):
    """Predicts what a run would have been at other intervals."""

    def __call__(
        self, run: Run, interval: Intervals, *, policy: str | None, max_rows_per_batch: int | Literal["same"] | None
    ) -> Prediction:
        """Return the curve over one interval or several."""
        ...


class Run(Shown):
    """One run of a lab: its figures so far, its output, its state.

    Frames are made when they are asked for; times in seconds of the run's clock.
    """

    _display_hook: ClassVar[Callable[[Run], dict[str, Any] | None] | None] = None

    def __init__(self, view: RunView, what_if: WhatIf, diagnose: Callable[[Run], str]) -> None:
        self._view = view
        self._what_if, self._diagnose = what_if, diagnose
        self._pilot: Pilot | None = None

    @property
    def run_id(self) -> str:
        """12 hex digits."""
        return self._view.run_id

    @property
    def name(self) -> str:
        """The lab's name."""
        return self._view.name

    @property
    def status(self) -> str:  # not RunStatus, for the reason that Lab.policy is not a Policy
        """created, running, paused, halted, stopping, stopped or finished."""
        return self._view.status

    @property
    def error(self) -> BaseException | None:
        """What halted the run, or None."""
        return self._view.error

    @property
    def batches(self) -> pd.DataFrame:
        """One row a batch, the newest 100 000 (`batches_limit=`).

        Columns: batch_id, attempt, version, num_input_rows, num_output_rows, backlog_rows (int64); status, policy,
        error (str); all others float64, those ending in `_s` in seconds of the run's clock. Latency columns of empty
        and failed batches are NaN.
        """
        return self._view.batches()

    @property
    def records(self) -> pd.DataFrame:
        """One row a processed record, the newest million, in order of arrival.

        Columns: batch_id (int64); arrival_s, batching_wait_s, scheduling_wait_s, backlog_wait_s, processing_wait_s and
        latency_s (float64, seconds): the four waits sum to the latency.
        """
        return self._view.records()

    @property
    def output(self) -> pd.DataFrame:
        """The last step's rows in batch order, `batch_id` first; the newest million rows (`output_limit=`)."""
        return self._view.output()

    @property
    def state(self) -> dict[str, Any]:
        """A copy of what each step remembers: step's name → its state, or key → state of a keyed step."""
        return self._view.state()

    @property
    def attempts(self) -> pd.DataFrame:
        """One row a try of a batch: batch_id, attempt (from 1), start_s, duration_s, error (empty on success)."""
        return self._view.attempts()

    @property
    def controls(self) -> dict[str, dict[str, Any]]:
        """Knobs moved while it ran, in the form that `lab.run(controls=…)` takes."""
        return self._view.controls()

    @property
    def provenance(self) -> dict[str, Any]:
        """What it was made of: source, sinks, settings, clock, duration_s, code (every version), packages."""
        return self._view.provenance()

    @property
    def decisions(self) -> pd.DataFrame:
        """What an autopilot did, one row a decision; without one there are no rows.

        Columns: at_s (float64, end of the batch it followed), batch_id (int64), interval_s, before_s, rate (rows a
        second it planned for), latency_p95_s, load (what it expected), reason (str).
        """
        return pd.DataFrame() if self._pilot is None else self._pilot.decisions

    def plot_decisions(self) -> alt.VConcatChart:
        """Return the interval over time with the autopilot's decisions, above the latency they led to."""
        from mblab import charts

        limit = None if self._pilot is None else self._pilot.latency_s
        title = f"{self.name}: {len(self.decisions)} decisions"
        return charts.decisions_chart(self.batches, self.decisions, limit_s=limit, title=title)

    def follow(self, pilot: Pilot) -> None:
        """Take the decisions of an autopilot as this run's."""
        self._pilot = pilot

    @property
    def last_progress(self) -> dict[str, Any] | None:
        """The newest row of `batches` as a dict, or None."""
        return self._view.last()

    def summary(self, from_s: Duration | None = None, to_s: Duration | None = None) -> pd.Series[Any]:
        """Return the run in one column of figures.

        Args:
            from_s: Only batches with start ≥ this, in seconds of the run's clock.
            to_s: Only batches with start < this.
        """
        low = None if from_s is None else seconds(duration_ns(from_s, "from_s"))
        high = None if to_s is None else seconds(duration_ns(to_s, "to_s"))
        if low is not None and high is not None and low >= high:
            raise SettingError(f"from_s must be before to_s, got {shown(from_s)} and {shown(to_s)}.")
        return self._view.summary() if low is None and high is None else summary_of(self._view, low, high)

    def batches_after(self, batch_id: int = -1) -> dict[str, Any]:
        """Return the batches behind one as arrays, under the names of `batches`: what a live display polls.

        A batch that failed and is still planned is the last of them; once it has succeeded it comes again.
        """
        return self._view.after(batch_id)

    def share_over(self, latency: Duration) -> float:
        """Return the share of the records that took longer than `latency`, 0 to 1; NaN without records.

        Of the records that are held, the newest five million.
        """
        return self._view.share_over(duration_ns(latency, "latency"))

    @property
    def how_far(self) -> HowFar:
        """Time on the run's clock, the length asked for, and the rows taken so far."""
        return self._view.how_far()

    def wait(self, timeout: Duration | None = None) -> bool:
        """Wait until it has ended; return False when it halted or the time is up first."""
        return self._view.wait(None if timeout is None else seconds(duration_ns(timeout, "timeout")))

    @property
    def standing(self) -> Standing:
        """How it stands now, or stood when it ended: its length, triggers missed, and the rows that no batch took."""
        return self._view.standing()

    @property
    def waiting(self) -> npt.NDArray[np.float64]:
        """Arrivals of the rows that came within the run and that no batch took: float64 seconds, oldest first.

        Empty while it is on.
        """
        return self._view.waiting()

    def what_if(
        self,
        interval: Intervals,
        *,
        policy: str | None = None,
        max_rows_per_batch: int | Literal["same"] | None = "same",
    ) -> Prediction:
        """Return a `Curve`: this run's arrivals and costs, at another interval (or a list of them), without running.

        At the run's own interval it says what the run was. What batches of another size cost is read off those that
        ran; where they were all of one size, the bands reach from a cost that is the same for any batch to one that
        grows with every row.

        Args:
            interval: A duration, or a list of them.
            policy: asap, skip or queue; None keeps that of the newest batch.
            max_rows_per_batch: Cap, None for none; "same" keeps that of the newest batch.
        """
        return self._what_if(self, interval, policy=policy, max_rows_per_batch=max_rows_per_batch)

    def diagnose(self) -> str:
        """Return in one paragraph why the run falls behind, or not, and what would help.

        It judges the newest stretch under the same settings: where its rows spend their time, what a batch costs, and
        which interval, cap or faster function would make it fit.
        """
        return self._diagnose(self)

    def slowest(self, n: int = 10) -> Slowest:
        """Return the n records that took longest, slowest first, with what each of their seconds was spent on.

        It is a DataFrame that shows itself as a waterfall of the four waits; `.waterfall()` returns that chart.

        Columns: those of `records`, and `blocked_by`: the batch that was running when the record could first have been
        taken (int64; -1 when it waited for nothing but the trigger), the culprit of its scheduling wait.
        """
        return slowest_of(self.records, self.batches, whole(n, "n", least=1, of="records"))

    def plot(self) -> alt.VConcatChart:
        """Return latency, batch size, throughput, backlog and load over time as an Altair chart."""
        from mblab import charts

        return charts.run_chart(self.batches, title=f"{self.name} · {headline(self.summary())}")

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the run as one interactive page that opens without a network; return its path.

        It holds the charts, the summary, tables of batches, records and output to sort, search and save (the newest
        20 000 rows each), the state, the settings, the code of every version of every step, and the packages' versions.
        Whatever names and values say, they are shown as text.

        Raises:
            SettingError: The path is a folder, or the file is not one that mblab wrote.
        """
        from mblab.runs.run_page import write_page

        return write_page(self._view, self.plot(), Path(path))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the run into a folder (Parquet and JSON, nothing pickled) that `mblab.load_run` reads.

        What comes back is what there was: names, dtypes, every value with its type; a column that Parquet would give
        back otherwise stands in its file as JSON text. A step's state that holds what JSON cannot give back, such as
        an object of a class of your own, is left out, and a line says so.

        Raises:
            SettingError: The folder holds something else, or the output a value that no file can give back; nothing is
                written then.
        """
        return write_run(self._view, self._pilot, Path(folder))

    def __repr__(self) -> str:
        return f"Run({self.name} {self.run_id}, {self.status}: {headline(self.summary())})"

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, Any]:
        dashboard = None if Run._display_hook is None else Run._display_hook(self)
        return super()._repr_mimebundle_(include, exclude) if dashboard is None else dashboard


def read_run(folder: str | os.PathLike[str], what_if: WhatIf, diagnose: Callable[[Run], str]) -> Run:
    """Return a run that `run.save` wrote.

    Raises:
        SettingError: The folder holds no run, or one that cannot be read.
    """
    source = Path(folder)
    if not (source / "run.json").is_file():
        raise SettingError(f"load_run needs a folder that run.save() wrote, but {str(source)!r} holds no run.json.")
    try:
        view = SavedRun(source)
        pilot = view.pilot()
    except MblabError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingError(f"the run in {str(source)!r} cannot be read: {said}") from None
    run = Run(view, what_if, diagnose)
    if pilot is not None:
        run.follow(pilot)
    return run

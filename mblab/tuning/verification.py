"""A prediction put to the test: a real run at the advised interval, held against the band it was given.

ensemble, run -> [verification] -> track_record, advice
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from mblab.charts.display import Shown
from mblab.engine.settings import Settings
from mblab.runs.run import Run
from mblab.timing.durations import NS, format_s
from mblab.tuning.arrays import Floats, Ints
from mblab.tuning.arrival_times import ArrivalTimes
from mblab.tuning.cost import CostModel
from mblab.tuning.ensemble import BANDED, MEMBERS, POINTS, Ensemble
from mblab.tuning.simulate import simulate_runs
from mblab.tuning.target import NAMES, Target
from mblab.tuning.track_record import Checked

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Verification", "verified"]

EXACT: Final = 100_000  # rows a run whose quantiles are exact here: one interval can afford what a curve cannot
BINS: Final = 60  # stretches of a run that its ribbon is drawn by
RIBBON_COLUMNS: Final = ("arrival_s", "predicted_s", "predicted_s_lo", "predicted_s_hi", "measured_s")


@dataclass(frozen=True)
class Verification(Shown):
    """What was predicted for one interval, and what a real run brought.

    Attributes:
        interval: Seconds.
        table: One row a measure: measure, predicted, lo, hi, measured, error (relative), inside (of the band).
        kept: Whether the run kept every limit of the target.
        run: The run itself.
        ribbon: p95 latency of the rows by when they arrived: arrival_s, predicted_s with _lo and _hi, measured_s.
        target: What was asked for.
        checked: The figures as the track record takes them.
    """

    interval: float
    table: pd.DataFrame
    kept: bool
    run: Run
    ribbon: pd.DataFrame
    target: Target
    checked: list[Checked]

    @property
    def inside(self) -> bool:
        """Whether every measure lies in its band."""
        return bool(self.table.inside.all())

    def plot(self) -> alt.LayerChart:
        """Return the measured p95 over the predicted ribbon as an Altair chart."""
        from mblab import charts

        return charts.ribbon_chart(self.ribbon, limit_s=self.target.latency_s, title=self._headline())

    def _headline(self) -> str:
        by_name = self.table.set_index("measure")
        p95 = by_name.loc["latency_p95_s", ["predicted", "lo", "hi", "measured"]].astype(float).to_dict()
        inside = "inside the band" if self.inside else "outside the band: " + ", ".join(
            f"{NAMES[m]} by {off:.2g} %" for m, off in self._misses()
        )  # fmt: skip
        kept = "target kept" if self.kept else f"target missed ({self.target})"
        return (
            f"Every {format_s(self.interval)}: measured p95 {format_s(p95['measured'])}, predicted "
            f"{format_s(p95['predicted'])} ({format_s(p95['lo'])} to {format_s(p95['hi'])}); {inside}, {kept}"
        )

    def _misses(self) -> list[tuple[str, float]]:
        """Return each measure outside its band, and by how many percent of the band's nearer end."""
        missed = self.table[~self.table.inside]
        nearer = missed.measured.clip(missed.lo, missed.hi)
        return list(zip(missed.measure, (missed.measured / nearer - 1).abs() * 100, strict=True))

    def __repr__(self) -> str:
        return f"Verification({self._headline()})"


def verified(
    run: Run,
    model: CostModel,
    target: Target,
    arrivals: ArrivalTimes,
    interval_ns: int,
    settings: Settings,
    widen: float,
) -> Verification:
    """Hold a finished run against what the model says of the same stretch of the source."""
    ensemble = Ensemble.of(
        arrivals.arrival_ns,
        np.array([interval_ns]),
        cost=model,
        horizon_ns=arrivals.horizon_ns,
        policy=settings.policy,
        max_rows_per_batch=settings.max_rows_per_batch,
        sample=EXACT,
    )
    summary = run.summary()
    rows, checked = [], []
    for name in BANDED:
        middle, measured = float(ensemble.middle(name)[0]), float(summary[name])
        lo, hi = (float(end[0]) for end in ensemble.band(name, widen))
        low, high = (float(end[0]) for end in ensemble.band(name))
        rows.append((name, middle, lo, hi, measured, measured / middle - 1, lo <= measured <= hi))
        checked.append(Checked(interval_ns / NS, name, middle, low, high, measured))
    table = pd.DataFrame(rows, columns=["measure", "predicted", "lo", "hi", "measured", "error", "inside"])
    kept = all(float(summary[name]) <= limit for name, limit in target.limits.items())
    ribbon = _ribbon(run, model, arrivals, interval_ns, settings)
    return Verification(interval_ns / NS, table, kept, run, ribbon, target, checked)


def _ribbon(run: Run, model: CostModel, arrivals: ArrivalTimes, interval_ns: int, settings: Settings) -> pd.DataFrame:
    """Return p95 by stretch of arrival, as measured, and middle, least and most of the members."""
    outcome = simulate_runs(
        arrivals.arrival_ns,
        np.full(MEMBERS, interval_ns),
        cost=model.drawn(MEMBERS, points=POINTS).ns,
        horizon_ns=arrivals.horizon_ns,
        policy=settings.policy,
        max_rows_per_batch=settings.max_rows_per_batch,
    )
    edges = np.linspace(0, arrivals.horizon_ns / NS, min(BINS, max(4, int(arrivals.horizon_ns / interval_ns / 2))) + 1)
    by_member = []
    for member in range(MEMBERS):
        b, mine = outcome.batches_of, outcome.batches_of.of(member)
        done = int(b.high[mine][-1]) if mine.stop > mine.start else 0
        rows: Ints = np.unique(np.linspace(0, max(done - 1, 0), min(done, 8192)).astype(np.int64))[: max(done, 0)]
        ends = b.end[mine][np.minimum(b.high[mine].searchsorted(rows, side="right"), len(b.high[mine]) - 1)]
        by_member.append(_p95_by(arrivals.arrival_ns[rows] / NS, (ends - arrivals.arrival_ns[rows]) / NS, edges))
    predicted = np.array(by_member)
    records = run.records
    measured = _p95_by(records.arrival_s.to_numpy(), records.latency_s.to_numpy(), edges)
    some = ~np.isnan(predicted).all(axis=0)
    found = np.full((3, len(edges) - 1), np.nan)
    found[:, some] = np.nanquantile(predicted[:, some], [0.5, 0.0, 1.0], axis=0)
    middles = (edges[:-1] + edges[1:]) / 2
    return pd.DataFrame(dict(zip(RIBBON_COLUMNS, (middles, *found, measured), strict=True)))


def _p95_by(at: Floats, latency: Floats, edges: Floats) -> Floats:
    """Return the p95 of the latencies in each stretch, NaN where there are none; `at` ascends."""
    cuts = at.searchsorted(edges)
    return np.array([np.quantile(latency[a:b], 0.95) if b > a else np.nan for a, b in itertools.pairwise(cuts)])

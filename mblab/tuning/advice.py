"""Which interval, how sure, and why: the answer of the tuner, in words and as a chart.

decision -> [advice] -> lab, dashboard
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mblab.charts.display import Shown
from mblab.errors import SettingError
from mblab.runs.run import Tabulated
from mblab.timing.durations import Duration, format_s
from mblab.tuning.confidence import Verdict
from mblab.tuning.cost import CostModel
from mblab.tuning.curve import Curve, points_of
from mblab.tuning.target import NAMES, SURE, Target
from mblab.tuning.verification import Verification

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Advice"]

MEANT: Final = {
    "fastest": "the one with the lowest {quantile}",
    "cheapest": "the cheapest",
    "latency": "the one with the lowest {quantile}",
    "knee": "the best trade of latency against cost",
}


@dataclass(frozen=True)
class Advice(Shown):
    """An interval, and why.

    Attributes:
        interval: Seconds; None when the tuner refuses.
        verdict: trusted; check (it is the best guess, and a reason says what may be wrong with it); refuse.
        reasons: What speaks against trusting it, in plain words.
        notes: What else is good to know.
        held_up: What the limit of load costs in latency, in a sentence; empty where it costs none.
        target: What was asked for.
        curve: Every interval that was looked at, with bands.
        model: The law it rests on.
        chance: Probability that every limit is kept.
        predicted: The curve's row at the interval (when refused: at the one that comes nearest).
        fits: Shortest and longest interval the work fits into; infinite where no end was seen.
        headroom: How many times as many rows it would still keep up with; NaN when refused.
        cost_unit: Of cost_per_hour: CPU s, busy s or money.
        now_s: The lab's interval when it was asked, in seconds.
        seconds: How long the tuner took.
    """

    interval: float | None
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    held_up: str
    target: Target
    curve: Curve
    model: CostModel
    chance: float
    predicted: pd.Series[Any]
    fits: tuple[float, float]
    headroom: float
    cost_unit: str
    now_s: float
    seconds: float
    do_apply: Callable[[float], None]
    do_verify: Callable[[Advice, Duration], Verification]

    @property
    def why(self) -> str:
        """The decision in a sentence or two, with what speaks against it."""
        p = self.predicted
        if self.interval is None:
            return f"No interval is advised for {self.target}: {' '.join(self.reasons)}"
        best = MEANT[self.target.objective].format(quantile=NAMES[self.target.quantile])
        kept = f"keep {self.target}" if self.target.limits else "keep up"
        text = (
            f"Every {format_s(self.interval)}: p95 {_banded(p, 'latency_p95_s')}, load {_banded(p, 'load', '')}, "
            f"{_amount(p.cost_per_hour)} {self.cost_unit} an hour; of the intervals that {kept} with at least "
            f"{SURE:.0%} probability (this one: {self.chance:.0%}) it is {best}."
        )
        return " ".join([text, *filter(None, [self.held_up]), *self.reasons])

    def explain(self) -> str:
        """Return the whole reasoning: the law, the range that fits, headroom, and every reason and note."""
        lines = [self.why, self.model.explain()]
        low, high = self.fits
        if np.isfinite(low):
            end = "" if np.isinf(high) else f" to {format_s(high)}"
            lines.append(f"The work fits into intervals from {format_s(low)}{end or ' on'}.")
        if np.isfinite(self.headroom):
            most = "more than 16" if self.headroom >= 16 else f"{self.headroom:.1f}"
            lines.append(f"There is headroom: {most}× the load before it falls behind.")
        lines += self.notes
        tried = f"after {format_s(self.seconds)} and {len(self.model.probes)} batches tried"
        lines.append(f"Verdict: {self.verdict}, {'by the declared cost' if self.model.declared else tried}.")
        return "\n".join(lines)

    def plot(self, measured: Tabulated | pd.DataFrame | None = None) -> alt.VConcatChart:
        """Return the curve with bands as an Altair chart: the advised interval, the one in use, and T* marked.

        Args:
            measured: A sweep, or a table such as `sweep.table`, drawn as rings over the curve.
        """
        from mblab import charts

        marks = [(self.now_s, f"now {format_s(self.now_s)}")]
        if np.isfinite(self.fits[0]):
            marks.append((self.fits[0], f"T* {format_s(self.fits[0])}"))
        if self.interval is not None:
            marks.append((self.interval, f"advised {format_s(self.interval)}"))
        points = points_of(measured)
        return charts.curve_chart(self.curve.table, marks=marks, measured=points, title=self._headline())

    def plot_cost(self) -> alt.LayerChart:
        """Return latency against cost as an Altair chart, with the intervals nothing beats, and the advised one."""
        from mblab import charts

        return charts.cost_chart(self.curve.table, advised_s=self.interval, unit=self.cost_unit, title=self._headline())

    def apply(self) -> None:
        """Set the lab's interval.

        Raises:
            SettingError: The tuner refused.
        """
        self.do_apply(self._given("apply"))

    def verify(self, duration: Duration = "20s") -> Verification:
        """Run the pipeline at the interval on the real clock, and hold what comes against what was predicted.

        Sinks stay dry. The figures go into `lab.ledger`, which widens or narrows the bands of later advice.

        Args:
            duration: Of the run.

        Raises:
            SettingError: The tuner refused.
        """
        self._given("verify")
        return self.do_verify(self, duration)

    def _given(self, verb: str) -> float:
        if self.interval is None:
            raise SettingError(f"{verb}() needs an interval, and none was advised: {' '.join(self.reasons)}")
        return self.interval

    def _headline(self) -> str:
        if self.interval is None:
            return f"No interval advised for {self.target}"
        return f"Advised: every {format_s(self.interval)} for {self.target} ({self.verdict})"

    def __repr__(self) -> str:
        if self.interval is None:
            return f"Advice(refuse: {self.why})"
        return f"Advice({format_s(self.interval)}, {self.verdict}: {self.why})"

    def _text(self) -> str:
        return self.explain()


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _banded(row: pd.Series[Any], name: str, unit: str = "s") -> str:
    """Return a value with its band: `1.9 s (1.8 s to 2 s)`."""
    write = format_s if unit else (lambda v: f"{v:.2f}" if v >= 0.1 else f"{v:.2g}")
    return f"{write(row[name])} ({write(row[f'{name}_lo'])} to {write(row[f'{name}_hi'])})"

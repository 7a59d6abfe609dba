"""Two runs side by side: their figures, what they were made of, and both over one time axis.

run, run -> [comparison]
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mblab.charts.display import Shown
from mblab.errors import SettingTypeError, shown
from mblab.runs.run import Run
from mblab.timing.durations import format_s

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Comparison", "compare"]

TABLE: Final = ("measure", "a", "b", "difference", "ratio")
SETTINGS: Final = ("setting", "a", "b")


@dataclass(frozen=True)
class Comparison(Shown):
    """Two runs side by side.

    Attributes:
        a: The first run, the one that differences start from.
        b: The other.
        table: One row a figure of `run.summary()`: measure (str), a, b, difference = b − a and ratio = b / a (float64,
            NaN where there is none).
        settings: One row for each thing that differs between how they were made: setting, a, b (str). Interval, policy,
            source, sinks, clock, knobs that moved, packages, regime.
        code: The steps' texts as a unified diff, empty when they are the same.
    """

    a: Run
    b: Run
    table: pd.DataFrame
    settings: pd.DataFrame
    code: str

    def plot(self) -> alt.VConcatChart:
        """Return latency, batch size, backlog and load of both runs over one time axis as an Altair chart."""
        from mblab import charts

        one, other = (f"{side}: {run.name} {run.run_id}" for side, run in (("a", self.a), ("b", self.b)))
        return charts.overlay_chart({one: self.a.batches, other: self.b.batches}, title=self._headline())

    def _headline(self) -> str:
        found = self.table.set_index("measure")
        parts = []
        for name, what in (("latency_p50_s", "latency p50"), ("latency_p95_s", "p95")):
            a, b = (float(found[side][name]) for side in ("a", "b"))
            if np.isfinite([a, b]).all():
                parts.append(f"{what} {format_s(a)} → {format_s(b)}")
        parts.append(f"load {found.a['load']:.2f} → {found.b['load']:.2f}")
        parts.append(f"{found.a['throughput']:,.0f} → {found.b['throughput']:,.0f} rows/s")
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"Comparison({self.a.name} {self.a.run_id} → {self.b.name} {self.b.run_id}: {self._headline()})"

    def _text(self) -> str:
        return f"{self!r}\n{self.table.to_string(index=False)}"


def compare(a: Run, b: Run) -> Comparison:
    """Return two runs side by side; they may go on still, or come from `mblab.load_run`.

    Args:
        a: A run.
        b: Another.

    >>> from mblab import Lab
    >>> from mblab.testing import rows_at
    >>> a, b = (Lab(rows_at([0.0, 0.5, 1.0]), interval=t).run(clock="virtual", cost=0.1) for t in ("1s", "500ms"))
    >>> compare(a, b).settings
                setting    a    b
    0        interval_s  1.0  0.5
    """
    for side, run in (("first", a), ("second", b)):
        if not isinstance(run, Run):
            raise SettingTypeError(f"compare needs two runs, got {shown(run, 40)} as the {side}.")
    return Comparison(a, b, _table(a.summary(), b.summary()), _settings(a, b), _code(a, b))


def _table(a: pd.Series[Any], b: pd.Series[Any]) -> pd.DataFrame:
    rows = []
    for name in a.index:
        if isinstance(a[name], str) or isinstance(b.get(name), str):
            continue
        one, other = float(a[name]), float(b[name])
        ratio = other / one if one else float("nan")
        rows.append((str(name), one, other, other - one, ratio))
    return pd.DataFrame(rows, columns=list(TABLE))


def _settings(a: Run, b: Run) -> pd.DataFrame:
    one, other = _made_of(a), _made_of(b)
    rows = [
        (name, one.get(name, ""), other.get(name, ""))
        for name in dict.fromkeys([*one, *other])
        if one.get(name, "") != other.get(name, "")
    ]
    return pd.DataFrame(rows, columns=list(SETTINGS), dtype="str")


def _made_of(run: Run) -> dict[str, str]:
    made, summary = run.provenance, run.summary()
    found = {"source": made["source"], "sinks": ", ".join(made["sinks"]), "clock": made["clock"]}
    found |= {name: str(value) for name, value in made["settings"].items()}
    found |= {f"moved at {at}": str(change) for at, change in run.controls.items()}
    found |= {name: str(summary[name]) for name in ("regime", "quantiles")}
    return found | {f"package {name}": version for name, version in made["packages"].items()}


def _code(a: Run, b: Run) -> str:
    one, other = ([line for step in r.provenance["code"] for line in (*step["text"].splitlines(), "")] for r in (a, b))
    lines = difflib.unified_diff(one, other, f"{a.name} {a.run_id}", f"{b.name} {b.run_id}", lineterm="")
    return "\n".join(lines)

"""What a batch of n rows costs: a law fitted to probes, with what it does not know said as a spread.

probes, run.batches -> fit, delays -> [cost] -> sampling -> ensemble, whatif, autopilot
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Final, overload

import numpy as np
import pandas as pd

from mblab.errors import SettingError, missing_column
from mblab.timing.durations import format_s
from mblab.tuning.arrays import Bools, Floats, Ints
from mblab.tuning.delays import Before, Pauses
from mblab.tuning.fit import FORMS, SEEN, choose_form, design, local_ratio, robust
from mblab.tuning.sampling import LOG_ROWS, DrawnCosts, Sampler, normal_quantiles

__all__ = ["HOST_SD", "CostModel"]

HOST_SD: Final = 0.06  # how far a machine's speed wanders from one minute to the next; see tests/benchmarks/results
PROBED: Final = ("num_input_rows", "seconds")
PROBED_BESIDES: Final = ("seen_rows", "cpu_s", "collected_s", "switches", "idle_s", "at_s", "keys")
MEASURED: Final = ("num_input_rows", "batch_duration_s")
MEASURED_BESIDES: Final = ("scheduling_delay_s", "wake_delay_s", "cpu_time_s", "start_s")
LONGEST_S: Final = 1e5  # no T* is looked for beyond


@dataclass(frozen=True)
class CostModel:
    """Seconds of work for a batch of n rows; call it with n.

    With r rows of earlier batches and k keys in the batch, the law is

        S = c·(1, n, n·log(1 + n/50), n², k, r) · exp(correction(log n)) · scatter + pause

    where the c ≥ 0 are a robust regression, the correction is the median of what it misses at sizes of about n, scatter
    is drawn from batches of about that size, and a pause comes with a probability, by batch or by second of work.

    `lab.calibrate()` makes one from probes, `CostModel.of(run.batches)` from a run. It may stand wherever a cost is
    asked for: `lab.run(clock="virtual", cost=model)`, `mblab.predict(..., cost=model)`.

    Attributes:
        form: affine, n log n, quadratic or per key; with ", growing" when it costs more the more rows came before.
            fixed, when all batches were of about one size: then what others cost is not known.
        coefficients: Seconds per 1, row, row·log(1 + row/50), row², key, row seen before.
        probes: The measured batches: num_input_rows, seen_rows, seconds, cpu_s, collected_s, switches, idle_s, at_s,
            keys.
        scores: Each form's error at a size it had not seen, as |log ratio|.
        pauses: Batches that took longer than work explains.
        before: What passes before the work itself.
        host_sd: Relative spread of the machine's speed that the bands allow for.
    """

    form: str
    coefficients: Floats
    probes: pd.DataFrame
    scores: dict[str, float]
    pauses: Pauses
    before: Before
    host_sd: float
    knots: Floats  # log n …
    heights: Floats  # … and the correction there
    scatter_at: Floats  # log n of the batches that did not pause, ascending …
    scatter: Floats  # … and actual / law of each
    cpu_coefficients: Floats
    keys_at: tuple[Floats, Floats]  # log n → distinct keys
    truncated: bool = False
    warm_s: tuple[float, ...] = ()
    declared: bool = False  # it was said what a batch costs, not measured

    @classmethod
    def fit(
        cls,
        probes: pd.DataFrame,
        *,
        before: Before | None = None,
        host_sd: float = HOST_SD,
        truncated: bool = False,
        warm_s: tuple[float, ...] = (),
    ) -> CostModel:
        """Return the law behind some measured batches.

        Args:
            probes: One row a batch: num_input_rows, seconds; optionally seen_rows, cpu_s, collected_s, switches,
                idle_s, at_s, keys.
            before: What passes before the work itself; None: nothing.
            host_sd: Relative spread of the machine's speed.
            truncated: Whether larger batches were wanted than the budget could try.
            warm_s: Seconds of the calls that came first and are not counted.

        Raises:
            SettingError: There is no batch with rows to learn from.
        """
        frame = _completed(probes, "probes", PROBED, PROBED_BESIDES)
        frame = frame[frame.num_input_rows > 0].reset_index(drop=True)
        if frame.empty:
            raise SettingError(
                "a cost can only be read off batches with rows, and there are none yet; run a while first."
            )
        rows, seen, keys = (frame[c].to_numpy(np.float64) for c in ("num_input_rows", "seen_rows", "keys"))
        actual = np.maximum(frame.seconds.to_numpy(np.float64), 1e-7)
        x, even = design(rows, seen, keys), np.ones((1, len(rows)))
        form, scores = choose_form(x, actual, keyed=bool(keys.any()))
        coefficients = robust(x, actual, even, FORMS[form])[0]
        law = np.maximum(x @ coefficients, 1e-9)
        knots, heights = local_ratio(rows, actual / law)
        expected = law * np.exp(np.interp(np.log(rows), knots, heights))
        pauses = Pauses.found_in(actual, expected, frame.collected_s.to_numpy(np.float64))
        usual = ~pauses.paused
        order = np.argsort(rows[usual], kind="stable")
        by_size = np.argsort(rows, kind="stable")
        cpu = np.maximum(frame.cpu_s.to_numpy(np.float64), 1e-7)
        return cls(
            form,
            coefficients,
            frame,
            scores,
            pauses,
            before or Before(),
            host_sd,
            knots,
            heights,
            np.log(rows[usual][order]),
            (actual / expected)[usual][order],
            robust(x, cpu, even, FORMS[form])[0],
            (np.log(rows[by_size]), np.maximum.accumulate(keys[by_size])),
            truncated,
            warm_s,
        )

    @classmethod
    def of(cls, *runs: pd.DataFrame, host_sd: float = HOST_SD) -> CostModel:
        """Return the law behind the batches of a run, or of several: every live batch is a free probe.

        A failed batch tells nothing, for it ended early.

        Args:
            runs: Frames such as `run.batches`, each with the batches of one run from its beginning. `num_input_rows`
                and `batch_duration_s` suffice; `wake_delay_s`, `scheduling_delay_s`, `cpu_time_s` and `start_s` tell
                more.
            host_sd: Relative spread of the machine's speed.

        Raises:
            ColumnError: One of the two columns is not there.
            SettingError: There is no batch with rows to learn from.

        >>> frame = pd.DataFrame({"num_input_rows": [100, 200, 400], "batch_duration_s": [0.12, 0.14, 0.18]})
        >>> round(CostModel.of(frame)(300), 6)
        0.16
        """
        complete = [_completed(batches, "batches", MEASURED, MEASURED_BESIDES) for batches in runs]
        ended = [frame[frame.status != "failed"] if "status" in frame.columns else frame for frame in complete]
        probes = pd.concat([_as_probes(batches) for batches in ended], ignore_index=True)
        return cls.fit(probes, before=Before.of(pd.concat(ended)), host_sd=host_sd)

    # -- what it says -----------------------------------------------------------------------------------------------

    @overload
    def __call__(self, n: float, seen: float = 0) -> float: ...
    @overload
    def __call__(self, n: Ints | Floats, seen: Ints | Floats | float = 0) -> Floats: ...
    def __call__(self, n: Ints | Floats | float, seen: Ints | Floats | float = 0) -> Floats | float:
        """Return the mean cost of n rows in seconds, pauses included; n may be an array.

        Args:
            n: Rows of the batch.
            seen: Rows of all batches before it.
        """
        rows = np.asarray(n, np.float64)
        work = self.work_s(rows, np.asarray(seen, np.float64)) * float(self.scatter.mean())
        cost = np.where(rows > 0, work + self.pauses.chance(work) * self._mean_pause_s, 0.0)
        return float(cost) if cost.ndim == 0 else cost

    def work_s(self, rows: Floats, seen: Floats | float = 0.0) -> Floats:
        """Return the usual cost of batches without pauses, in seconds."""
        size = np.log(np.maximum(rows, 1.0))
        x = design(rows, np.broadcast_to(seen, rows.shape).astype(np.float64), self.keys(size))
        cost: Floats = np.maximum(x @ self.coefficients, 0.0) * np.exp(np.interp(size, self.knots, self.heights))
        return cost

    def shortest_interval_s(self, rows_per_second: float) -> float:
        """Return T*, the shortest interval T that a batch of the λT rows it brings fits into: S(λT) ≤ T, in seconds.

        NaN when no interval does, or when nothing tells the cost of other sizes, as only one was seen. For
        S(n) = a + b·n it is a / (1 − bλ).

        Args:
            rows_per_second: λ.

        Source: T. Das et al., "Adaptive stream processing using dynamic batch sizing" (2014).

        >>> law = CostModel.of(pd.DataFrame({"num_input_rows": [100, 200], "batch_duration_s": [0.12, 0.14]}))
        >>> round(law.shortest_interval_s(1000), 6)
        0.125
        """
        low, high = self.rows_probed
        if low == high or not rows_per_second > 0:
            return float("nan")

        def fits(interval_s: Floats) -> Bools:
            return np.asarray(self(rows_per_second * interval_s) + self.before.wake_s <= interval_s, np.bool_)

        within = np.geomspace(1e-6, LONGEST_S, 1000)
        if not fits(within).any():
            return float("nan")
        while within[-1] > within[0] * (1 + 1e-12):  # the first of 1 000 that fits, then of 1 000 below it, …
            first = int(np.argmax(fits(within)))
            within = np.linspace(within[max(first - 1, 0)], within[first], 1000)
        return float(within[-1])

    def cpu_s(self, rows: Ints | Floats, seen: Ints | Floats) -> Floats:
        """Return the CPU seconds of batches of some rows, after so many of earlier batches."""
        count = np.asarray(rows, np.float64)
        x = design(count, np.asarray(seen, np.float64), self.keys(np.log(count + 1)))
        return np.where(count > 0, x @ self.cpu_coefficients, 0.0)

    def keys(self, size: Floats) -> Floats:
        """Return how many distinct keys batches of log n rows hold; zeros where no step is keyed."""
        return np.interp(size, *self.keys_at)

    @property
    def rows_probed(self) -> tuple[int, int]:
        """Smallest and largest batch it has seen."""
        rows = self.probes.num_input_rows
        return int(rows.min()), int(rows.max())

    @property
    def sizes_alike(self) -> bool:
        """Whether all batches were of one size, or of two that hardly differ: then it only knows what those cost."""
        return self.form == "fixed"

    @property
    def grows(self) -> bool:
        """Whether a batch costs more the more rows came before it."""
        return self.growth_s > 0

    @property
    def growth_s(self) -> float:
        """Seconds that every row of earlier batches adds to a batch."""
        return float(self.coefficients[SEEN])

    @property
    def spread(self) -> float:
        """Return the median |log(actual / law)| of batches that did not pause: 0.03 is 3 %."""
        return float(np.median(np.abs(np.log(self.scatter)))) if len(self.scatter) else 0.0

    @property
    def unsteadiness(self) -> float:
        """Return how much the machine's speed changed from one stretch of probing to the next, as a relative sd."""
        at = self.probes.at_s.to_numpy(np.float64)
        stretches = max(2, min(6, len(at) // 5))
        if len(at) < 2 * stretches or at[0] == at[-1]:
            return 0.0
        rows, seen, seconds = (self.probes[c].to_numpy(np.float64) for c in ("num_input_rows", "seen_rows", "seconds"))
        off = np.log(np.maximum(seconds, 1e-7) / np.maximum(self.work_s(rows, seen), 1e-9))
        edges = np.quantile(at, np.linspace(0, 1, stretches + 1))
        return float(np.std([np.median(off[(at >= a) & (at <= b)]) for a, b in itertools.pairwise(edges)], ddof=1))

    @property
    def waits(self) -> bool:
        """Whether a batch spends most of its time waiting for something else than this machine's processor."""
        return bool(self.probes.cpu_s.sum() < 0.5 * self.probes.seconds.sum()) and not self._crowded

    @property
    def contention(self) -> float:
        """Return wall over CPU time where other programs took the processor away meanwhile; else 1."""
        cpu, wall = self.probes.cpu_s, self.probes.seconds
        return float((wall / cpu.clip(lower=1e-7)).median()) if self._crowded and cpu.sum() > 0.1 * wall.sum() else 1.0

    @property
    def _crowded(self) -> bool:
        return float(self.probes.switches.median()) >= 1

    @property
    def _mean_pause_s(self) -> float:
        return float(self.pauses.seconds.mean()) if self.pauses.count else 0.0

    def scaled(self, factor: float) -> CostModel:
        """Return the same law on a machine that takes `factor` times as long."""
        return replace(
            self,
            coefficients=self.coefficients * factor,
            cpu_coefficients=self.cpu_coefficients * factor,
            probes=self.probes.assign(seconds=self.probes.seconds * factor, cpu_s=self.probes.cpu_s * factor),
        )

    def explain(self) -> str:
        """Return the law in a sentence, with units, and how it was measured."""
        c, spoken = self.coefficients, []
        if c[0] > 0 or not c.any():
            spoken.append(format_s(c[0]))
        if c[1] > 0:
            spoken.append(f"{format_s(c[1] * 1000)} per 1,000 rows")
        if c[2] > 0:
            at = 10_000 * math.log1p(200)
            spoken.append(f"work that grows as n·log n ({format_s(c[2] * at)} at 10,000 rows)")
        if c[3] > 0:
            spoken.append(f"{format_s(c[3] * 1e6)} per (1,000 rows)²")
        if c[4] > 0:
            spoken.append(f"{format_s(c[4])} per key")
        if c[5] > 0:
            spoken.append(f"{format_s(c[5] * 10_000)} for every 10,000 rows seen before")
        low, high = self.rows_probed
        if self.sizes_alike:
            text = f"A batch of {high:,} rows takes {format_s(float(self.work_s(np.array([high]))[0]))}"
            text += (
                f", ±{max(self.spread, 0.001):.1%} ({len(self.probes)} batches; how it grows with the rows is unknown)"
            )
        else:
            text = f"A batch takes {' + '.join(spoken)}, "
            text += (
                f"as declared for batches of {low:,} to {high:,} rows"
                if self.declared
                else f"±{max(self.spread, 0.001):.1%} ({len(self.probes)} batches of {low:,} to {high:,} rows)"
            )
        if self.pauses.count:
            unit = f"a second of work pauses {self.pauses.count / self.pauses.work_s:.2g} times"
            each = f"{self.pauses.count} of {self.pauses.tried} batches paused"
            text += f"; {unit if self.pauses.per_second else each}, for {format_s(self._mean_pause_s)} on average"
        return text + "."

    def __repr__(self) -> str:
        return f"CostModel({self.form}: {self.explain()})"

    # -- drawing from it --------------------------------------------------------------------------------------------

    def _redrawn(self, draws: int, rng: np.random.Generator) -> Floats:
        """Return [draw, 6] coefficients, as the probes might also have come out (Rubin 1981: Bayesian bootstrap)."""
        frame = self.probes
        rows, seen, keys = (frame[c].to_numpy(np.float64) for c in ("num_input_rows", "seen_rows", "keys"))
        weights = rng.standard_exponential((draws, len(rows)))
        actual = np.maximum(frame.seconds.to_numpy(np.float64), 1e-7)
        return robust(design(rows, seen, keys), actual, weights, FORMS[self.form], 3)

    def _shared_out(self, draws: int) -> Floats:
        """Return [draw, 6] coefficients, from a cost that is the same for any size to one that grows with every row."""
        rows = float(self.probes.num_input_rows.mean())
        fixed, drawn = np.linspace(1.0, 0.0, draws), np.zeros((draws, len(self.coefficients)))
        drawn[:, 0], drawn[:, 1] = fixed * self.coefficients[0], (1 - fixed) * self.coefficients[0] / rows
        return drawn

    def doubt(self, rows: Floats, draws: int = 16) -> Floats:
        """Return how unsure the law is of batches of some sizes, as a relative standard deviation."""
        drawn = self._redrawn(draws, np.random.default_rng(0))
        work = design(rows, np.zeros_like(rows), self.keys(np.log(rows))) @ drawn.T
        sd: Floats = work.std(axis=1) / np.maximum(work.mean(axis=1), 1e-9)
        return sd

    def drawn(self, count: int, *, seed: int = 0, points: int = 0) -> DrawnCosts:
        """Return the costs of many laws at once, each as the probes might also have come out.

        Args:
            count: How many laws.
            seed: Of the draws.
            points: How many of them, the first, are the best guess itself.
        """
        rng = np.random.default_rng(seed)
        others = count - points
        coefficients = np.tile(self.coefficients, (count, 1))
        speed, late = np.ones(count), np.full(count, self.before.wake_s)
        pausing = np.full(count, float(self.pauses.count > 0))
        if others > 0:
            coefficients[points:] = self._shared_out(others) if self.sizes_alike else self._redrawn(others, rng)
            # evenly chosen quantiles instead of draws: few laws, and still a fair picture
            z = normal_quantiles(others)[rng.permutation(others)]
            speed[points:] = np.exp(z * math.hypot(self.unsteadiness, self.host_sd))
            late[points:] += normal_quantiles(others)[rng.permutation(others)] * self.before.wake_sd_s
            late = np.maximum(late, 0.0)
            seen, tried = self.pauses.count, self.pauses.tried
            if seen:  # Jeffreys' posterior of the share that pauses, over the share that was seen to
                pausing[points:] = rng.beta(seen + 0.5, tried - seen + 0.5, others) / (seen / tried)
        sizes = np.exp(LOG_ROWS)
        x = design(sizes, np.zeros_like(sizes), self.keys(LOG_ROWS))
        correction = np.exp(np.interp(LOG_ROWS, self.knots, self.heights))
        return DrawnCosts(
            work=np.maximum(coefficients @ x.T, 0.0) * speed[:, None] * correction,
            growth=coefficients[:, SEEN] * speed,
            correction=correction,
            scatter_at=self.scatter_at,
            scatter=self.scatter,
            pauses=self.pauses,
            pausing=pausing,
            before=self.before,
            late=late,
            rng=rng,
        )

    def sampler(self, seed: int = 0) -> Sampler:
        """Return a cost for one run: scatter and pauses drawn, the state grown from batch to batch."""
        return Sampler(self.drawn(1, seed=seed, points=1))


def _completed(frame: pd.DataFrame, what: str, needed: tuple[str, ...], besides: tuple[str, ...]) -> pd.DataFrame:
    """Return a frame that has the columns needed, with 0 for what nobody noted besides."""
    for name in needed:
        if name not in frame.columns:
            raise missing_column(what, name, frame.columns)
    columns = list(dict.fromkeys([*needed, *besides, *frame.columns]))
    return frame.reindex(columns=columns).fillna(dict.fromkeys(besides, 0.0)).dropna(subset=list(needed))


def _as_probes(batches: pd.DataFrame) -> pd.DataFrame:
    """Return a run's batches as `CostModel.fit` takes them."""
    rows = batches.num_input_rows
    return pd.DataFrame(
        {
            "num_input_rows": rows,
            "seen_rows": rows.cumsum() - rows,
            "seconds": batches.batch_duration_s - batches.wake_delay_s,
            "cpu_s": batches.cpu_time_s,
            "at_s": batches.start_s,
        }
    )

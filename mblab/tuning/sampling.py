"""Costs of batches drawn from laws: a batch of each of many simulated runs at once, or one run's, batch after batch.

cost, delays -> [sampling] -> ensemble, simulate, a run on the virtual clock
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np

from mblab.timing.durations import NS
from mblab.tuning.arrays import Bools, Floats, Ints
from mblab.tuning.delays import Before, Pauses

__all__ = ["LOG_ROWS", "DrawnCosts", "Sampler", "normal_quantiles"]

LOG_ROWS: Final = np.linspace(0.0, math.log(1e9), 1025)  # log n at which a law is kept, linear in n between two points
ROWS: Final = np.exp(LOG_ROWS)


def normal_quantiles(count: int) -> Floats:
    """Return `count` evenly spaced quantiles of the standard normal distribution.

    >>> normal_quantiles(2).round(3).tolist()
    [-0.674, 0.674]
    """
    return np.array([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)])


class DrawnCosts:
    """What batches cost under many laws at once; scatter, pauses and late timers are drawn anew for every batch.

    Args:
        work: [law, size], seconds of work at `LOG_ROWS`; between them it is read off a line.
        growth: [law], seconds that each row seen before adds, before it is corrected …
        correction: … by this factor, at `LOG_ROWS`.
        scatter_at: log n of the batches that scatter was seen in, ascending.
        scatter: actual / law of each; a batch gets that of one of similar size.
        pauses: Which pauses there are.
        pausing: [law], how many times as frequent they are.
        before: What passes before the work.
        late: [law], how late a timer wakes, in seconds on average.
        rng: What everything is drawn from.
    """

    def __init__(
        self,
        *,
        work: Floats,
        growth: Floats,
        correction: Floats,
        scatter_at: Floats,
        scatter: Floats,
        pauses: Pauses,
        pausing: Floats,
        before: Before,
        late: Floats,
        rng: np.random.Generator,
    ) -> None:
        self._work, self._growth, self._correction, self._scatter = work, growth, correction, scatter
        count = len(scatter)
        near = max(3, int(0.6 * math.sqrt(count)))
        self._first = np.clip(np.searchsorted(scatter_at, LOG_ROWS) - near, 0, max(count - 2 * near, 0))
        self._window = min(2 * near, count)
        self._pauses, self._pausing = pauses, pausing
        self._before, self._late, self._rng, self._laws = before, late, rng, len(work)

    def ns(self, law: Ints, rows: Ints, seen: Ints, at_once: Bools) -> Ints:
        """Return what one batch under each law costs, in ns; 0 for an empty one.

        Args:
            law: Number of the law, modulo how many there are.
            rows: Rows of the batch.
            seen: Rows of the batches before it.
            at_once: Whether it follows the batch before without waiting.
        """
        law, rng = law % self._laws, self._rng
        place = np.log(np.maximum(rows, 1)) * ((len(LOG_ROWS) - 1) / LOG_ROWS[-1])
        low = np.minimum(place.astype(np.int64), len(LOG_ROWS) - 2)
        work = self._work[law, low]
        work += (self._work[law, low + 1] - work) * ((np.maximum(rows, 1) - ROWS[low]) / (ROWS[low + 1] - ROWS[low]))
        if self._growth.any():
            work += self._growth[law] * seen * self._correction[low]
        draw = (rng.random(len(rows)) * self._window).astype(np.int64)
        work *= self._scatter[self._first[low] + draw]
        if self._pauses.count:
            paused = np.flatnonzero(rng.random(len(rows)) < self._pauses.chance(work, self._pausing[law]))
            work[paused] += self._pauses.seconds[rng.integers(0, self._pauses.count, len(paused))]
        if self._late.any():  # a late timer is a matter of luck, batch by batch
            work += np.where(at_once, 0.0, self._late[law] * rng.standard_exponential(len(rows)))
        if self._before.turn_s or self._before.read_s:
            work += np.where(at_once, self._before.turn_s + self._before.read_s * rows, 0.0)
        cost: Ints = np.rint(work * NS).astype(np.int64)
        cost[rows == 0] = 0
        return cost


class Sampler:
    """A cost that is asked once a batch, in order, as `lab.run(cost=…)` asks; each is taken to have waited."""

    def __init__(self, costs: DrawnCosts) -> None:
        self._costs, self._seen = costs, 0

    def __call__(self, n: int) -> float:
        """Return seconds of the next batch, of n rows."""
        one = np.array([n], np.int64)
        cost = self._costs.ns(np.zeros(1, np.int64), one, np.array([self._seen], np.int64), np.zeros(1, np.bool_))
        self._seen += int(n)
        return float(cost[0]) / NS

"""What a batch's time holds besides its work: what comes before it, and pauses that work does not explain.

probes, run.batches -> [delays] -> cost
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mblab.tuning.arrays import Bools, Floats

__all__ = ["Before", "Pauses"]


@dataclass(frozen=True, slots=True)
class Before:
    """What a batch's time begins with, before its own work.

    One that waited for its trigger has a timer that wakes late. One that follows its predecessor at once has the turn
    from one to the next, and its rows are still to be read, which otherwise is done while waiting.

    Attributes:
        wake_s: How late a timer wakes, in seconds, on average.
        wake_sd_s: Its standard deviation, by which batches may be shorter or longer another time.
        turn_s: From the end of a batch to the start of one that follows at once, in seconds.
        read_s: Reading, in seconds a row.
    """

    wake_s: float = 0.0
    wake_sd_s: float = 0.0
    turn_s: float = 0.0
    read_s: float = 0.0

    @classmethod
    def of(cls, batches: pd.DataFrame) -> Before:
        """Return what came before the work of some batches (`wake_delay_s`, `scheduling_delay_s`)."""
        some = batches[batches.num_input_rows > 0]
        at_once = some[some.scheduling_delay_s > 0]
        delay = some.wake_delay_s[some.scheduling_delay_s <= 0]
        wake, wake_sd = (float(delay.mean()), float(delay.std(ddof=0))) if len(delay) else (0.0, 0.0)
        if at_once.empty:
            return cls(wake, wake_sd)
        gap = at_once.wake_delay_s.to_numpy(np.float64)
        gap = np.minimum(gap, np.quantile(gap, 0.98))  # one stall tells nothing of rows
        turn = float(np.median(gap))
        read = max(0.0, float(gap.mean()) - turn) / float(at_once.num_input_rows.mean())
        return cls(wake, wake_sd, turn, read)


@dataclass(frozen=True)
class Pauses:
    """Batches that took longer than work explains: collections of garbage, stalled calls, a busy neighbour.

    Attributes:
        seconds: How much longer, one a pause.
        tried: Batches that were looked at.
        work_s: Seconds of work in them.
        per_second: Whether pauses come with seconds of work rather than with batches.
        paused: Which batches; for whoever fits the rest.
    """

    seconds: Floats
    tried: int
    work_s: float
    per_second: bool
    paused: Bools

    @property
    def count(self) -> int:
        """How many were seen."""
        return len(self.seconds)

    def chance(self, work_s: Floats, factor: Floats | float = 1.0) -> Floats | float:
        """Return with which probability batches of so much work pause, when pauses are `factor` times as frequent."""
        if self.per_second:
            return np.asarray(1 - np.exp(-self.count / self.work_s * factor * work_s), np.float64)
        return self.count / self.tried * factor

    @classmethod
    def found_in(cls, actual: Floats, expected: Floats, collected: Floats) -> Pauses:
        """Tell pauses from a law's usual scatter.

        With e = log(actual / expected) and σ = 1.4826·median |e − median e|, a batch paused when e > max(4.5·σ, 1/4)
        and it took 4 ms longer than expected, or when collecting garbage explains what it took longer.

        Whether pauses come with batches or with seconds of work is decided by likelihood: each batch pauses with
        probability c/N, or with 1 − exp(−c/W·expected), where c of N batches with W seconds of work paused.

        Args:
            actual: Seconds each batch took.
            expected: Seconds the law gives.
            collected: Seconds in which Python collected garbage meanwhile.
        """
        off = np.log(actual / expected)
        spread = max(1.4826 * float(np.median(np.abs(off - np.median(off)))), 0.01)
        excess = actual - expected
        paused = (off > max(4.5 * spread, 0.25)) & (excess > 0.004)
        paused |= (collected > 0.2 * actual) & (collected > 0.004) & (excess > 0.5 * collected)
        if paused.mean() > 0.25:  # not pauses: the cost itself is this wide
            paused[:] = False
        count, tried, work = int(paused.sum()), len(actual), float(expected.sum())
        per_second = False
        if count >= 4:
            each = np.clip(np.full(tried, count / tried), 1e-9, 1 - 1e-9)
            with_work = np.clip(1 - np.exp(-count / work * expected), 1e-9, 1 - 1e-9)

            def likelihood(chance: Floats) -> float:
                return float(np.where(paused, np.log(chance), np.log(1 - chance)).sum())

            per_second = likelihood(with_work) > likelihood(each) + 1
        return cls(excess[paused], tried, work, per_second, paused)

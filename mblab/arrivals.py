"""When rows arrive.

A law says at which seconds of source time rows come: constant, Poisson, bursts, diurnal, ramp or a trace. It knows no
rows, clocks or intervals; everything random comes from a seed.

    [arrivals] -> sources -> feed -> engine

Every law is one endless sequence (a trace, or a ramp down to 0, ends), produced in blocks of 4,096 that do not depend
on who reads them: `times(10)` is the beginning of `times(20)`.
"""

from __future__ import annotations

import datetime as dt
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import count
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.errors import SettingError, SettingTypeError, shown
from mblab.support.arguments import number, plain, whole
from mblab.timing.durations import NS, Duration, duration_ns, seconds

__all__ = ["Arrivals", "bursts", "constant", "diurnal", "poisson", "ramp", "trace"]


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers


BLOCK = 4096  # arrivals that are made together; part of the contract with `simulate`
SEED_KEY = 1  # a spawn key: default_rng(seed) equals default_rng([seed, 0]), which is the row function's first block

Seconds = npt.NDArray[np.float64]
Moment: TypeAlias = float | dt.timedelta | dt.datetime | np.timedelta64 | np.datetime64  # in a trace


class Arrivals(ABC):
    """A law of arrivals."""

    __slots__ = ()

    @property
    def endless(self) -> bool:
        """Whether rows come for ever."""
        return True

    @abstractmethod
    def chunks(self, seed: int) -> Iterator[Seconds]:
        """Yield the sequence in pieces of the law's own size, sorted; part of every law, used by `blocks`."""

    def blocks(self, seed: int = 0) -> Iterator[Seconds]:
        """Yield the whole sequence in blocks of 4,096 arrivals, in float64 seconds; only the last may be shorter."""
        held = np.empty(0)
        for chunk in self.chunks(seed):
            held = np.concatenate([held, chunk])
            while len(held) >= BLOCK:
                yield held[:BLOCK]
                held = held[BLOCK:]
        if len(held):
            yield held

    def times(self, duration: Duration, seed: int = 0) -> Seconds:
        """Return the arrivals with 0 ≤ t < duration.

        Args:
            duration: Length in source time.
            seed: Whole number; another one gives another sequence of the same law.

        Returns:
            float64 seconds, never decreasing.

        >>> constant(4).times("1s").tolist()
        [0.125, 0.375, 0.625, 0.875]
        """
        end_s = seconds(duration_ns(duration))
        kept = [np.empty(0)]
        for block in self.blocks(whole(seed, "seed")):
            kept.append(block[: np.searchsorted(block, end_s)])
            if len(kept[-1]) < len(block):
                break
        return np.concatenate(kept)

    def code(self) -> str:
        """Return the Python expression that makes this law again."""
        return f"mblab.arrivals.{self!r}"

    def __repr__(self) -> str:
        """Return the call that makes it, with durations in seconds.

        >>> bursts(on="2s", off="1min", rate_on=500)
        bursts(on=2, off=60, rate_on=500, rate_off=0)
        """
        given = (f"{f.name}={plain(getattr(self, f.name))}" for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__.lower()}({', '.join(given)})"

    def _set(self, **values: float | Seconds) -> None:
        """Store checked values; only construction calls it."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _length_s(value: Duration, knob: str) -> float:
    return seconds(duration_ns(value, knob, minimum_ns=1))


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SEED_KEY,)))


def _candidates(rng: np.random.Generator, rate: float) -> Iterator[Seconds]:
    """Yield an endless Poisson process of one rate."""
    last = 0.0
    while True:
        times = last + np.cumsum(rng.standard_exponential(BLOCK) / rate)
        last = times[-1]
        yield times


def _indices() -> Iterator[npt.NDArray[np.int64]]:
    return (np.arange(start, start + BLOCK) for start in count(0, BLOCK))


@dataclass(frozen=True, slots=True, repr=False)
class Constant(Arrivals):
    """Evenly spaced rows: row i at (i + ½)/rate.

    Attributes:
        rate: Rows per second of source time.

    >>> constant(2).times(2).tolist()
    [0.25, 0.75, 1.25, 1.75]
    """

    rate: float

    def __post_init__(self) -> None:
        self._set(rate=number(self.rate, "rate"))

    def chunks(self, seed: int) -> Iterator[Seconds]:  # noqa: ARG002  nothing here is random
        """Yield the sequence."""
        return (np.asarray((i + 0.5) / self.rate, np.float64) for i in _indices())


@dataclass(frozen=True, slots=True, repr=False)
class Poisson(Arrivals):
    """Independent rows: the gaps are exponential with mean 1/rate.

    Attributes:
        rate: Mean number of rows per second of source time.

    >>> poisson(100).times("10s", seed=7).size
    1057
    """

    rate: float

    def __post_init__(self) -> None:
        self._set(rate=number(self.rate, "rate"))

    def chunks(self, seed: int) -> Iterator[Seconds]:
        """Yield the sequence."""
        return _candidates(_rng(seed), self.rate)


@dataclass(frozen=True, slots=True, repr=False, init=False, kw_only=True)
class Bursts(Arrivals):
    """Poisson rows that come and go: `on` at one rate, then `off` at another, over and over; starts on.

    Attributes:
        on: Length of a burst, in seconds.
        off: Length of the time between bursts, in seconds.
        rate_on: Rows per second within a burst.
        rate_off: Rows per second between bursts; 0 for silence.

    Source: time change of a Poisson process (E. Çinlar, 1975). It is the same process as thinning gives, but a long
    silence costs no draws.
    """

    on: float
    off: float
    rate_on: float
    rate_off: float

    def __init__(self, *, on: Duration, off: Duration, rate_on: float, rate_off: float = 0) -> None:
        self._set(
            on=_length_s(on, "on"),
            off=_length_s(off, "off"),
            rate_on=number(rate_on, "rate_on", zero=True),
            rate_off=number(rate_off, "rate_off", zero=True),
        )
        if self.rate_on == self.rate_off == 0:
            raise SettingError("rate_on and rate_off must not both be 0: no row would ever arrive.")

    def chunks(self, seed: int) -> Iterator[Seconds]:
        """Yield the sequence."""
        rows_on, rows_off = self.on * self.rate_on, self.off * self.rate_off
        # row times of rate 1 are the integrated rate at which rows come: Λ(t) = e, so t = Λ⁻¹(e), cycle by cycle:
        # t = cycle·(on + off) + rows/rate_on                        while rows < on·rate_on, else
        # t = cycle·(on + off) + on + (rows − on·rate_on)/rate_off
        for expected in _candidates(_rng(seed), 1.0):
            cycle, rows = np.divmod(expected, rows_on + rows_off)
            burst = np.minimum(rows, rows_on) / (self.rate_on or math.inf)
            burst = np.where(rows < rows_on, burst, self.on)
            pause = np.minimum(np.maximum(rows - rows_on, 0) / (self.rate_off or math.inf), self.off)
            yield cycle * (self.on + self.off) + burst + pause


@dataclass(frozen=True, slots=True, repr=False, init=False, kw_only=True)
class Diurnal(Arrivals):
    """Poisson rows with a daily swing: rate(t) = mean·(1 + amplitude·sin(2πt/period)).

    Attributes:
        mean: Rows per second, averaged over a period.
        amplitude: Relative swing, from 0 (none) to 1 (down to silence).
        period: Length of a day, in seconds.

    Source: thinning, P. A. W. Lewis and G. S. Shedler (1979): draw at the highest rate, keep each with rate(t)/highest.
    """

    mean: float
    amplitude: float
    period: float

    def __init__(self, *, mean: float, amplitude: float, period: Duration) -> None:
        self._set(
            mean=number(mean, "mean"),
            amplitude=number(amplitude, "amplitude", zero=True, most=1),
            period=_length_s(period, "period"),
        )

    def chunks(self, seed: int) -> Iterator[Seconds]:
        """Yield the sequence."""
        rng, highest = _rng(seed), 1 + self.amplitude
        for times in _candidates(rng, self.mean * highest):
            swing = 1 + self.amplitude * np.sin(2 * np.pi / self.period * times)
            yield times[rng.random(BLOCK) * highest < swing]


@dataclass(frozen=True, slots=True, repr=False, init=False, kw_only=True)
class Ramp(Arrivals):
    """Evenly growing (or shrinking) load: the rate goes from `start` to `end` and stays there.

    Row i arrives when the integrated rate is i + ½.

    Attributes:
        start: Rows per second at t = 0.
        end: Rows per second from `over` on; with 0 the rows come to an end.
        over: Length of the ramp, in seconds.

    >>> ramp(start=0, end=2, over="2s").times("3s").round(3).tolist()
    [1.0, 1.732, 2.25, 2.75]
    """

    start: float
    end: float
    over: float

    def __init__(self, *, start: float, end: float, over: Duration) -> None:
        self._set(
            start=number(start, "start", zero=True),
            end=number(end, "end", zero=True),
            over=_length_s(over, "over"),
        )
        if self.end == 0 and self._rows_on_ramp() <= 0.5:
            raise SettingError(
                f"end=0 lets no row arrive after the ramp, and the ramp brings {self._rows_on_ramp():g} of a row; "
                "raise start or over."
            )

    @property
    def endless(self) -> bool:
        """Whether rows come for ever: not when the rate ends at 0."""
        return self.end > 0

    def _rows_on_ramp(self) -> float:
        return (self.start + self.end) / 2 * self.over

    def chunks(self, seed: int) -> Iterator[Seconds]:  # noqa: ARG002  nothing here is random
        """Yield the sequence."""
        on_ramp, slope, last = self._rows_on_ramp(), (self.end - self.start) / self.over, 0.0
        for i in _indices():
            rows = i + 0.5
            early = rows[rows < on_ramp]
            # the root of start·t + slope·t²/2 = rows, in the form that cancels nothing
            root = np.sqrt(np.maximum(self.start**2 + 2 * slope * early, 0))
            times = np.minimum(2 * early / (self.start + root), self.over)
            if self.end > 0:
                times = np.concatenate([times, self.over + (rows[len(early) :] - on_ramp) / self.end])
            elif not len(early):
                return
            times = np.maximum.accumulate(np.maximum(times, last))  # rounding must not step back
            last = times[-1]
            yield times


@dataclass(frozen=True, slots=True, repr=False, eq=False, init=False)
class Trace(Arrivals):
    """Rows at given times, once.

    Attributes:
        times_s: float64 seconds of source time, as given, read-only; datetimes count from the first one, timedeltas
            from 0.

    >>> trace([0, 0.4, 1, 1.2])
    trace(4 times, 0 to 1.2 s)
    """

    times_s: Seconds

    def __init__(self, times_s: Iterable[Moment]) -> None:
        self._set(times_s=_trace_seconds(times_s))

    @property
    def endless(self) -> bool:
        """Whether rows come for ever: never."""
        return False

    def chunks(self, seed: int) -> Iterator[Seconds]:  # noqa: ARG002  nothing here is random
        """Yield the sequence."""
        yield self.times_s

    def code(self) -> str:
        """Return the Python expression that makes this trace again, every time written out."""
        return f"mblab.arrivals.trace([{', '.join(map(plain, self.times_s))}])"

    def __repr__(self) -> str:
        """Return a short form; `code` writes every time."""
        return f"trace({len(self.times_s):,} times, {plain(self.times_s[0])} to {plain(self.times_s[-1])} s)"

    def __eq__(self, other: object) -> bool:
        """Return whether the other is a trace of the same times."""
        return isinstance(other, Trace) and np.array_equal(self.times_s, other.times_s)

    def __hash__(self) -> int:
        """Return a number that equal traces share."""
        return hash(self.times_s.tobytes())


def _trace_seconds(times: Iterable[Moment]) -> Seconds:
    """Return a trace's times as seconds, checked."""
    rule = "times must be a list or column of seconds, timedeltas or datetimes in order"
    if isinstance(times, str | bytes) or not isinstance(times, Iterable):
        raise SettingTypeError(f"{rule}, got {shown(times)}.")
    column = isinstance(times, pd.Series | pd.Index) or (isinstance(times, np.ndarray) and times.ndim == 1)
    values = pd.Series(times if column else list(times)).infer_objects()
    if not len(values):
        raise SettingError(f"{rule}; it must hold at least one time.")
    if values.isna().any():
        raise SettingError(f"{rule}, but entry {int(values.isna().to_numpy().argmax())} is null.")
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        values = values - values.iloc[0]
    if pd.api.types.is_timedelta64_dtype(values.dtype):
        found = values.to_numpy().astype("timedelta64[ns]").astype(np.int64) / NS
    elif pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        found = values.to_numpy(np.float64)
    else:
        raise SettingTypeError(f"{rule}, got {shown(values.iloc[0])} ({type(values.iloc[0]).__name__}).")
    if not np.isfinite(found).all() or found.min() < 0:
        raise SettingError(f"{rule}, from 0 on and finite, got {shown(found.tolist())}.")
    if (back := np.flatnonzero(np.diff(found) < 0)).size:
        at = int(back[0]) + 1
        raise SettingError(f"{rule}, but entry {at} ({found[at]:g} s) is before entry {at - 1} ({found[at - 1]:g} s).")
    kept: Seconds = found.copy()  # the caller's array may change
    kept.setflags(write=False)
    return kept


constant = Constant
poisson = Poisson
bursts = Bursts
diurnal = Diurnal
ramp = Ramp
trace = Trace

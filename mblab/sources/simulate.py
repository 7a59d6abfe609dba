"""Made-up rows as a stream: a law says when they arrive, a function what they hold.

Rows are made for fixed blocks of 4,096 arrivals from the seed and the block's number, so they depend neither on the
interval nor on who reads them, and a shorter simulation is the beginning of a longer one.

    arrivals, shapes -> [simulate] -> modifiers -> feed
"""

from __future__ import annotations

import datetime as dt
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mblab.arrivals import Arrivals, bursts, diurnal, poisson
from mblab.errors import SettingError, SettingTypeError, SourceError, shown
from mblab.sources.base import Block, Position
from mblab.sources.modifiers.modified import Modifiable
from mblab.sources.shapes import START, Clicks, Orders, Requests, Sensors, Shape
from mblab.support.arguments import function, number, plain, whole
from mblab.tables.rows import ArrowStream, frame_of_any
from mblab.timing.durations import MAX_NS, Duration, duration_ns, format_s, seconds
from mblab.timing.times import LATEST_NS, whole_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Simulation", "simulate"]

MakeRows = Callable[[int, np.random.Generator, npt.NDArray[np.float64]], pd.DataFrame | ArrowStream | Mapping[str, Any]]
DAILY_SWING = 0.7  # of a shop's orders, around their mean
BURST_S, LULL_S = 32, 88  # of requests: with no row in a lull, the gaps' coefficient of variation is about 13


@dataclass(frozen=True, repr=False)
class Simulation(Modifiable):
    """Rows made by a function; made by `simulate`.

    Attributes:
        make_rows: Called as make_rows(n, rng, times) for each block of arrivals.
        arrivals: When rows arrive.
        duration: Length in seconds of source time; None: as long as the arrivals come.
        start: Event time at source time 0, naive UTC.
        seed: Seed of arrivals and rows.
    """

    make_rows: MakeRows
    arrivals: Arrivals
    duration: float | None = None
    start: pd.Timestamp = pd.Timestamp(START)  # noqa: RUF009  immutable
    seed: int = 0

    @property
    def name(self) -> str:
        """The function's name, or that of the shape, such as `sensors`."""
        return self.make_rows.label if isinstance(self.make_rows, Shape) else function_name(self.make_rows)

    @property
    def speedup(self) -> float:
        """Source seconds that pass in one second of a run: 1."""
        return 1.0

    @property
    def endless(self) -> bool:
        """Whether it never ends by itself."""
        return self.duration is None and self.arrivals.endless

    @property
    def event_time(self) -> str:
        """Column with the time things happened."""
        return "event_time"

    @property
    def functions(self) -> tuple[MakeRows, ...]:
        """The function that makes the rows, unless it is one of mblab's own."""
        return () if isinstance(self.make_rows, Shape) else (self.make_rows,)

    def open(self, position: Position | None = None) -> Iterator[Block]:
        """Return the blocks from a position {"block": b} on.

        Raises:
            SourceError: `make_rows` failed, or returned something else than rows.
        """
        return self._blocks(0 if position is None else int(position["block"]))

    def describe(self) -> str:
        """Return one line for people."""
        length = (
            "endless" if self.endless else "to the last arrival" if self.duration is None else format_s(self.duration)
        )
        return f"simulation of {self.name}: {self.arrivals!r}, {length}, seed {self.seed}"

    def code(self, input: str) -> str:  # noqa: A002, ARG002  it reads nothing
        """Return the Python expression that makes this source again; the function goes by its name."""
        return f"mblab.{self._call(self.arrivals.code())}"

    def __repr__(self) -> str:
        """Return the call that made it."""
        return self._call(repr(self.arrivals))

    def _call(self, arrivals: str) -> str:
        if isinstance(self.make_rows, Shape):
            own = "".join(f"{knob}={value}, " for knob, value in self.make_rows.options().items())
            return f"simulate.{self.name}({own}rate={arrivals}{self._length()}, seed={self.seed})"
        start = "" if self.start == pd.Timestamp(START) else f", start={str(self.start)!r}"
        length = "" if self.duration is None else self._length()
        return f"simulate({self.name}, arrivals={arrivals}{length}{start}, seed={self.seed})"

    def _length(self) -> str:
        return f", duration={None if self.duration is None else plain(self.duration)}"

    def _blocks(self, first: int) -> Iterator[Block]:
        end_s = math.inf if self.duration is None else self.duration
        for block, times in zip(count(first), islice(self.arrivals.blocks(self.seed), first, None), strict=False):
            kept = int(np.searchsorted(times, end_s))
            if kept:
                rows = self._rows(block, times).iloc[:kept]
                arrival_ns = whole_ns(times[:kept])
                if "event_time" not in rows.columns:
                    rows = rows.copy(deep=False)
                    rows.insert(0, "event_time", self.start.to_datetime64() + arrival_ns.astype("timedelta64[ns]"))
                yield Block(rows.reset_index(drop=True), arrival_ns, {"block": block})
            if kept < len(times) or arrival_ns[-1] == LATEST_NS:  # behind that no clock comes
                return

    def _rows(self, block: int, times: npt.NDArray[np.float64]) -> pd.DataFrame:
        """Return the rows of a whole block, checked."""
        rng = np.random.default_rng([self.seed, block])
        try:
            made = self.make_rows(len(times), rng, times.copy())
        except Exception as error:
            raise SourceError(f"{self.name}() failed in block {block} with {type(error).__name__}: {error}") from error
        return checked_rows(made, len(times), self.name)


def checked_rows(made: object, n: int, name: str) -> pd.DataFrame:
    """Return what a row function gave as a frame of n rows."""
    rule = f"{name}() must return a DataFrame or a dict of columns with n={n} rows"
    frame = frame_of_any(made)
    if frame is not None:
        if len(frame) != n:
            raise SourceError(f"{rule}, but returned a frame of {len(frame)} rows.")
        return frame
    if not isinstance(made, Mapping):
        raise SourceError(f"{rule}, but returned {shown(made)} ({type(made).__name__}).")
    columns = {c: v.array if isinstance(v, pd.Series) else v for c, v in made.items()}  # by place, not by index
    try:
        return pd.DataFrame(columns, index=range(n))
    except (ValueError, TypeError) as error:
        raise SourceError(f"{rule}, but the dict's columns make no frame: {error}.") from None


def function_name(fn: Callable[..., Any]) -> str:
    """Return a function's name for messages and code."""
    return str(getattr(fn, "__name__", type(fn).__name__))


class Simulate:
    """Make sources of made-up rows: `simulate(...)` from a function; sensors, orders, clicks, requests ready to use."""

    def __call__(
        self,
        make_rows: MakeRows,
        *,
        arrivals: Arrivals,
        duration: Duration | None = None,
        start: str | dt.datetime = START,
        seed: int = 0,
    ) -> Simulation:
        """Return a source whose rows a function makes.

        Args:
            make_rows: Called as make_rows(n, rng, times) for fixed blocks of 4,096 arrivals (the last one of a trace is
                shorter; what lies beyond `duration` is cut off afterwards): rng = np.random.default_rng([seed, block]),
                times = float64 seconds of source time. Returns a DataFrame or a dict of columns with n rows.
            arrivals: When rows arrive, such as `mblab.arrivals.poisson(200)`; the times are kept as they are.
            duration: Length in source time: rows with t < duration. None: as long as the arrivals come, for ever or to
                the end of a trace.
            start: Event time at source time 0; naive is UTC. Without a column `event_time` in the rows one is put
                first: start + times, datetime64[ns].
            seed: Whole number; the same one gives the same rows.

        Raises:
            SettingError: An argument is out of its range.

        >>> from mblab.arrivals import constant
        >>> def make_rows(n, rng, times):
        ...     return {"price": rng.integers(1, 9, n)}
        >>> source = simulate(make_rows, arrivals=constant(100), duration="1s", seed=7)
        >>> [(len(block.rows), list(block.rows.columns)) for block in source.open()]
        [(100, ['event_time', 'price'])]
        """
        check_make_rows(make_rows)
        if not isinstance(arrivals, Arrivals):
            raise SettingTypeError(
                f"arrivals must be a law such as mblab.arrivals.poisson(200), got {shown(arrivals)}."
            )
        length = None if duration is None else seconds(duration_ns(duration, minimum_ns=1))
        return Simulation(make_rows, arrivals, length, start_time(start), whole(seed, "seed"))

    def sensors(
        self,
        *,
        devices: int = 50,
        rate: float | Arrivals = 200,
        duration: Duration | None = "10min",
        seed: int = 7,
    ) -> Simulation:
        """Return readings of weather sensors, each with a stable character of its own.

        Columns: `event_time` (datetime64[ns], UTC, when it was read), `device` (str), `temperature` (float64, °C),
        `humidity` (float64, %), `status` (str: ok, warn or fault).

        Args:
            devices: Number of sensors.
            rate: Readings per second over all devices, as a Poisson process; or any law of arrivals.
            duration: Length in source time; None is endless.
            seed: Whole number; the same one gives the same sensors and readings.
        """
        make_rows = Sensors(whole(seed, "seed"), whole(devices, "devices", least=1))
        arrivals = rate if isinstance(rate, Arrivals) else poisson(rate)
        return self(make_rows, arrivals=arrivals, duration=duration, seed=seed)

    def orders(
        self,
        *,
        products: int = 200,
        customers: int = 5_000,
        rate: float | Arrivals = 20,
        duration: Duration | None = "10min",
        seed: int = 7,
    ) -> Simulation:
        """Return a shop's orders: few products sell most, and the evening is busier than the night.

        Columns: `event_time` (datetime64[ns], UTC, when it was placed and arrives), `order_id` (str, 16 hex
        digits), `customer` (str), `country` (str: DE, FR, GB, IT, NL, PL or US, where the customer lives), `product`
        (str), `quantity` (int64, from 1), `price` (float64, of one piece).

        Args:
            products: Number of products; the k-th sells in proportion to 1/k.
            customers: Number of customers; the k-th buys in proportion to 1/√k.
            rate: Orders per second, averaged over a day that swings by 70 %; or any law of arrivals.
            duration: Length in source time; None is endless.
            seed: Whole number; the same one gives the same shop and orders.
        """
        make_rows = Orders(
            whole(seed, "seed"), whole(products, "products", least=1), whole(customers, "customers", least=1)
        )
        law = (
            rate
            if isinstance(rate, Arrivals)
            else diurnal(mean=number(rate, "rate"), amplitude=DAILY_SWING, period="1 day")
        )
        return self(make_rows, arrivals=law, duration=duration, seed=seed)

    def clicks(
        self,
        *,
        users: int = 2_000,
        pages: int = 100,
        rate: float | Arrivals = 100,
        duration: Duration | None = "10min",
        seed: int = 7,
    ) -> Simulation:
        """Return a web shop's page views, as its log brings them: half of the rows step back in event time.

        Columns: `event_time` (datetime64[ns], UTC, evenly 0 to 59 s before the arrival), `user` (str), `page` (str),
        `action` (str: view, click, cart or buy), `dwell_ms` (int64, how long the page was looked at).

        Args:
            users: Number of users; the k-th comes in proportion to 1/√k.
            pages: Number of pages; the k-th is seen in proportion to 1/k.
            rate: Views per second as a Poisson process; or any law of arrivals.
            duration: Length in source time; None is endless.
            seed: Whole number; the same one gives the same site and views.
        """
        make_rows = Clicks(whole(seed, "seed"), whole(users, "users", least=1), whole(pages, "pages", least=1))
        law = rate if isinstance(rate, Arrivals) else poisson(rate)
        return self(make_rows, arrivals=law, duration=duration, seed=seed)

    def requests(
        self,
        *,
        tenants: int = 20,
        rate: float | Arrivals = 2.6,
        duration: Duration | None = "10min",
        seed: int = 7,
    ) -> Simulation:
        """Return requests to an inference service: they come in bursts, and a few are very long.

        Columns: `event_time` (datetime64[ns], UTC, when it was sent, which is when it arrives), `tenant` (str), `model`
        (str: small or large), `prompt_tokens` and `output_tokens` (int64; log-normal, so the mean is no typical one).

        Args:
            tenants: Number of tenants; the k-th asks in proportion to 1/k.
            rate: Requests per second on average, in bursts of 32 s at 3.75 times that with 88 s of silence between; or
                any law of arrivals.
            duration: Length in source time; None is endless.
            seed: Whole number; the same one gives the same tenants and requests.
        """
        make_rows = Requests(whole(seed, "seed"), whole(tenants, "tenants", least=1))
        law = (
            rate
            if isinstance(rate, Arrivals)
            else bursts(on=BURST_S, off=LULL_S, rate_on=number(rate, "rate") * (BURST_S + LULL_S) / BURST_S)
        )
        return self(make_rows, arrivals=law, duration=duration, seed=seed)

    def __repr__(self) -> str:
        """Return how it is used."""
        return "simulate(make_rows, arrivals=...), simulate.sensors(), .orders(), .clicks() or .requests()"


def check_make_rows(make_rows: MakeRows) -> None:
    """Raise unless the function can be called as make_rows(n, rng, times)."""
    fn = function(make_rows, "make_rows", "make_rows(n, rng, times)")
    try:
        signature = inspect.signature(fn)
    except ValueError:  # some built-in functions have none
        return
    try:
        signature.bind(0, None, None)
    except TypeError:
        name = function_name(fn)
        raise SettingError(
            f"make_rows must take (n, rng, times), but {name}{signature} does not; change its parameters."
        ) from None


def start_time(start: str | dt.datetime) -> pd.Timestamp:
    """Return the event time at source time 0 as naive UTC with nanoseconds."""
    if not isinstance(start, str | dt.date | np.datetime64):
        raise SettingTypeError(f"start must be a date and time such as {START!r}, got {shown(start)}.")
    try:
        found = pd.Timestamp(start)
        if pd.isna(found):
            raise ValueError
        naive = found if found.tz is None else found.tz_convert(None)
        (naive + pd.Timedelta(MAX_NS)).as_unit("ns")  # the latest row
        return naive.as_unit("ns")
    except (ValueError, OverflowError, pd.errors.OutOfBoundsDatetime):
        raise SettingError(
            f"start must be a date and time from 1678 to 2116 such as {START!r}, got {shown(start)}."
        ) from None


simulate = Simulate()

"""Rows that look like real traffic: sensor readings, orders, clicks, requests.

Each shape is a row function with stable characters behind it (devices, products, users, tenants), drawn once from its
seed. No open data set of these kinds is small and freely licensed, so they are made up, fitted to traces seen.

    seed -> [shapes] -> simulate
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["START", "Clicks", "Orders", "Requests", "Sensors", "Shape"]

START = "2026-01-01"
DAY_S = 86_400
BEHIND_S = 59  # a web server's log is shipped every minute: half of its lines step back, none further than this
# spawn keys: characters are drawn apart from rows and arrivals; 1, 3 and 4 are taken by arrivals and modifiers
SENSORS_KEY, ORDERS_KEY, CLICKS_KEY, REQUESTS_KEY = 2, 5, 6, 7

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape(ABC):
    """A row function of mblab's own; `simulate.<label>(...)` makes its source.

    Attributes:
        seed: Seed of the characters.
    """

    label: ClassVar[str]
    key: ClassVar[int]

    seed: int

    def options(self) -> dict[str, Any]:
        """Return the arguments of `simulate.<label>` that are this shape's own."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "seed"}

    def rng(self) -> np.random.Generator:
        """Return the generator of the characters."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.key,)))

    @abstractmethod
    def __call__(self, n: int, rng: np.random.Generator, times: Times) -> pd.DataFrame:
        """Return n rows."""


def _names(prefix: str, count: int) -> pd.Series[str]:
    width = len(str(count - 1))
    return pd.Series([f"{prefix}-{i:0{width}}" for i in range(count)], dtype="str")


def _words(*words: str) -> pd.Series[str]:
    return pd.Series(words, dtype="str")


def _popularity(count: int, exponent: float) -> Times:
    """Return Zipf's law over `count` ranks as a cumulative distribution (G. K. Zipf, 1949)."""
    weight = np.arange(1, count + 1) ** -exponent
    total: Times = np.cumsum(weight) / weight.sum()
    return total


def _drawn(cumulative: Times, rng: np.random.Generator, n: int) -> npt.NDArray[np.intp]:
    """Return n ranks drawn from a cumulative distribution."""
    return np.minimum(np.searchsorted(cumulative, rng.random(n), side="right"), len(cumulative) - 1)


@dataclass(frozen=True)
class Sensors(Shape):
    """Readings of weather sensors, each with a character of its own.

    Attributes:
        devices: How many there are.
    """

    label, key = "sensors", SENSORS_KEY

    devices: int = 50

    @cached_property
    def character(self) -> pd.DataFrame:
        """Return one row a device: name, usual temperature (°C) and humidity (%), noise (°C), and chance of a fault."""
        rng = self.rng()
        return pd.DataFrame(
            {
                "device": _names("sensor", self.devices),
                "temperature": rng.normal(20, 4, self.devices),
                "humidity": rng.uniform(35, 65, self.devices),
                "noise": rng.uniform(0.1, 0.8, self.devices),
                "fault": rng.beta(1, 60, self.devices),
            }
        )

    def __call__(self, n: int, rng: np.random.Generator, times: Times) -> pd.DataFrame:
        """Return n readings; a faulty one is 15 °C too high, and one above the device's usual by 2 noises a warning."""
        device = self.character.iloc[rng.integers(0, self.devices, n)].reset_index(drop=True)
        swing = np.sin(2 * np.pi * times / DAY_S)
        off = rng.standard_normal(n)
        faulty = rng.random(n) < device["fault"]
        temperature = device["temperature"] + 3 * swing + off * device["noise"] + 15 * faulty
        humidity = device["humidity"] - 5 * swing + rng.normal(0, 1.5, n)
        return pd.DataFrame(
            {
                "device": device["device"],
                "temperature": temperature.round(2),
                "humidity": humidity.clip(0, 100).round(1),
                "status": pd.Series(np.where(faulty, "fault", np.where(off > 2, "warn", "ok")), dtype="str"),
            }
        )


@dataclass(frozen=True)
class Orders(Shape):
    """A shop's orders: few products sell most, few customers buy most.

    Attributes:
        products: How many there are; the k-th sells in proportion to 1/k.
        customers: How many there are; the k-th buys in proportion to 1/√k.
    """

    label, key = "orders", ORDERS_KEY

    products: int = 200
    customers: int = 5_000

    @cached_property
    def _catalogue(self) -> tuple[pd.Series[str], Times, Times]:
        rng = self.rng()
        price: Times = np.exp(rng.normal(3, 0.8, self.products)).round(2)  # a median of 20
        return _names("product", self.products), price, _popularity(self.products, 1.0)

    @cached_property
    def _buyers(self) -> tuple[pd.Series[str], npt.NDArray[np.intp], Times]:
        rng = self.rng()
        home = _drawn(np.cumsum(COUNTRY_SHARES), rng, self.customers)
        return _names("customer", self.customers), home, _popularity(self.customers, 0.5)

    def __call__(self, n: int, rng: np.random.Generator, times: Times) -> pd.DataFrame:  # noqa: ARG002
        """Return n orders of one product each."""
        product, price, sold = self._catalogue
        customer, home, buys = self._buyers
        what, who = _drawn(sold, rng, n), _drawn(buys, rng, n)
        number = rng.integers(0, 2**63, n)
        return pd.DataFrame(
            {
                "order_id": pd.Series([f"{i:016x}" for i in number.tolist()], dtype="str"),
                "customer": customer.take(who).array,
                "country": COUNTRIES.take(home[who]).array,
                "product": product.take(what).array,
                "quantity": rng.geometric(0.7, n).astype(np.int64),
                "price": price[what],
            }
        )


COUNTRIES = _words("DE", "FR", "GB", "IT", "NL", "PL", "US")
COUNTRY_SHARES = np.array([0.22, 0.15, 0.14, 0.09, 0.07, 0.06, 0.27])


@dataclass(frozen=True)
class Clicks(Shape):
    """A web shop's page views, as its log brings them: up to 59 s late and out of order.

    Attributes:
        users: How many there are; the k-th comes in proportion to 1/√k.
        pages: How many there are; the k-th is seen in proportion to 1/k.
    """

    label, key = "clicks", CLICKS_KEY

    users: int = 2_000
    pages: int = 100

    @cached_property
    def _site(self) -> tuple[pd.Series[str], Times, Times, pd.Series[str], Times]:
        dwell = np.exp(self.rng().normal(np.log(8_000), 0.6, self.pages))  # ms; a page holds readers by its nature
        pages = pd.Series([f"/{name}" for name in _names("page", self.pages)], dtype="str")
        return pages, _popularity(self.pages, 1.0), dwell, _names("user", self.users), _popularity(self.users, 0.5)

    def __call__(self, n: int, rng: np.random.Generator, times: Times) -> pd.DataFrame:
        """Return n views; event_time lies up to 59 s before the arrival."""
        page, seen, dwell, user, comes = self._site
        which = _drawn(seen, rng, n)
        behind_ns = np.rint((times - rng.uniform(0, BEHIND_S, n)) * 1e9).astype(np.int64)
        return pd.DataFrame(
            {
                "event_time": np.datetime64(START, "ns") + behind_ns.astype("timedelta64[ns]"),
                "user": user.take(_drawn(comes, rng, n)).array,
                "page": page.take(which).array,
                "action": ACTIONS.take(_drawn(ACTION_SHARES, rng, n)).array,
                "dwell_ms": np.rint(dwell[which] * rng.exponential(1, n)).astype(np.int64),
            }
        )


ACTIONS = _words("view", "click", "cart", "buy")
ACTION_SHARES = np.cumsum([0.8, 0.15, 0.04, 0.01])


@dataclass(frozen=True)
class Requests(Shape):
    """Requests to an inference service: long prompts are rare and dear.

    Attributes:
        tenants: How many there are; the k-th asks in proportion to 1/k.
    """

    label, key = "requests", REQUESTS_KEY

    tenants: int = 20

    @cached_property
    def _tenants(self) -> tuple[pd.Series[str], Times, Times]:
        typical = np.exp(self.rng().normal(np.log(600), 0.5, self.tenants))  # tokens of a tenant's usual prompt
        return _names("tenant", self.tenants), typical, _popularity(self.tenants, 1.0)

    def __call__(self, n: int, rng: np.random.Generator, times: Times) -> pd.DataFrame:  # noqa: ARG002
        """Return n requests; the model that is asked is the large one for a fifth of them."""
        tenant, typical, asks = self._tenants
        who, large = _drawn(asks, rng, n), rng.random(n) < 0.2
        prompt = typical[who] * np.exp(rng.normal(0, 0.8, n))
        output = np.exp(rng.normal(np.log(150), 0.9, n)) * np.where(large, 2, 1)
        return pd.DataFrame(
            {
                "tenant": tenant.take(who).array,
                "model": MODELS.take(large.astype(np.intp)).array,
                "prompt_tokens": np.clip(np.rint(prompt), 1, 128_000).astype(np.int64),
                "output_tokens": np.clip(np.rint(output), 1, 8_000).astype(np.int64),
            }
        )


MODELS = _words("small", "large")

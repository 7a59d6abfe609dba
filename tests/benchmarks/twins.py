"""Twins of real services: a function that sleeps as long as a known law says, on a real clock, with real rows.

Everything is real but the work, so accuracy can be told from the noise of a busy machine. The laws of HELD_OUT were not
looked at while the tuner was made.

    laws + arrivals -> [twins] -> campaign_tuner, race_autopilot
"""

import math
import time

import numpy as np

import mblab
from mblab.arrivals import bursts, poisson, trace

RATE = 20_000
INTERVALS = (0.05, 0.12, 0.3, 0.6, 1.0, 2.0)


def affine(n, seen, rng):
    """A fixed cost and one per row."""
    return 0.040 + 1e-5 * n


def quadratic(n, seen, rng):
    """Rows compared with each other; there is an upper limit too, near 4 s."""
    return 0.030 + 2e-6 * n + 3e-10 * n * n * 2


def growing(n, seen, rng):
    """A state that is copied with every batch."""
    return 0.030 + 8e-6 * n + 2e-7 * seen


def pausing(n, seen, rng):
    """One call in twenty stalls, for a quarter of a second on average."""
    return 0.040 + 8e-6 * n + (rng.exponential(0.25) if rng.random() < 0.05 else 0.0)


def paged(n, seen, rng):
    """A remote call for every 2 000 rows."""
    return 0.020 + 0.030 * math.ceil(n / 2000)


def saturating(n, seen, rng):
    """Compression gets better with size: n to the 0.7."""
    return 0.020 + 4e-4 * n**0.7


def kinked(n, seen, rng):
    """What fits into the cache is cheap; 10 % of noise on top."""
    return (0.030 + 4e-6 * n + 1.2e-5 * max(0, n - 12_000)) * math.exp(0.1 * rng.standard_normal())


LAWS = {f.__name__: f for f in (affine, quadratic, growing, pausing, paged)}
HELD_OUT = {f.__name__: f for f in (saturating, kinked)}


def recorded(seconds=60.0):
    """One recorded day of clicks, the same for everyone: a log-normal AR(1) rate in cells of 100 ms, some silent."""
    rng, cells = np.random.default_rng(7), math.ceil(seconds * 10)
    level = np.zeros(cells)
    for i in range(1, cells):
        level[i] = 0.93 * level[i - 1] + rng.normal(0, 0.25)
    rate = np.where(rng.random(cells) < 0.01, 0.0, np.exp(level))
    counts = rng.poisson(rate / rate.mean() * RATE / 10)
    return np.sort(np.repeat(np.arange(cells) / 10, counts) + rng.uniform(0, 0.1, counts.sum()))


def arrivals_of(kind):
    """The three patterns, 20 000 rows a second on average each."""
    if kind == "poisson":
        return poisson(RATE)
    if kind == "bursts":
        return bursts(on="1s", off="3s", rate_on=RATE * 2.667, rate_off=RATE * 0.4444)
    return trace(recorded())


ARRIVALS = ("poisson", "bursts", "recorded")


def make_rows(n, rng, times):
    """Two columns of numbers."""
    return {"x": rng.random(n), "device": rng.integers(0, 50, n)}


def twin(law, arrivals, seed, interval=0.2):
    """A lab whose step sleeps as the law says; arrivals, rows and pauses from the seed."""
    source = mblab.simulate(make_rows, arrivals=arrivals_of(arrivals), duration="60s", seed=seed)
    lab = mblab.Lab(source, interval=interval, name=f"{law.__name__}-{arrivals}-{seed}")
    rng = np.random.default_rng([seed, 99])

    @lab.batch
    def serve(batch, state):
        seen = state.get("rows", 0)
        state["rows"] = seen + len(batch)
        time.sleep(law(len(batch), seen, rng))

    return lab

"""The regression behind a cost law: non-negative, robust, on relative error, and which form of law to trust.

Everything fits L weightings of the same batches at once: the best guess is one weighting, a bootstrap twenty, leaving
out one size after the other as many as there are sizes.

    probes -> [fit] -> cost
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np

from mblab.tuning.arrays import Floats, Ints

__all__ = ["COLUMNS", "FORMS", "SEEN", "choose_form", "design", "local_ratio", "nonnegative", "robust"]

COLUMNS: Final = ("fixed", "rows", "rows_log", "rows_squared", "keys", "seen")
KEYS, SEEN = COLUMNS.index("keys"), COLUMNS.index("seen")
FORMS: Final[dict[str, tuple[int, ...]]] = {
    "fixed": (0,),  # where all batches are of one size, so that nothing tells how it grows
    "affine": (0, 1),
    "n log n": (0, 1, 2),
    "quadratic": (0, 1, 3),
    "per key": (0, 1, 4),
    "affine, growing": (0, 1, 5),
    "n log n, growing": (0, 1, 2, 5),
    "quadratic, growing": (0, 1, 3, 5),
    "per key, growing": (0, 1, 4, 5),
}
ALIKE: Final = 1.25  # the larger of two sizes is at most this many times the smaller
BEND_ROWS: Final = 50.0  # below this many rows n·log n is a straight line
TINY: Final = 1e-12


def design(rows: Floats, seen: Floats, keys: Floats) -> Floats:
    """Return the regressors, one row a batch, one column each of `COLUMNS`.

    Args:
        rows: Rows of the batch.
        seen: Rows of all batches before it: what a state may have grown with.
        keys: Distinct keys in it; zeros where no step is keyed.
    """
    return np.stack([np.ones_like(rows), rows, rows * np.log1p(rows / BEND_ROWS), rows * rows, keys, seen], -1)


def nonnegative(gram: Floats, moment: Floats) -> Floats:
    """Return the c ≥ 0 that minimise c'Gc − 2c'm, for each of L problems of at most five unknowns.

    The optimum is the plain least-squares solution on its own support, so the best of all supports with a non-negative
    solution is exact.

    Args:
        gram: [L, k, k], X'WX.
        moment: [L, k], X'Wy.

    Source: C. L. Lawson and R. J. Hanson, "Solving Least Squares Problems" (1974), chapter 23.

    >>> nonnegative(np.array([[[2.0, 0.0], [0.0, 1.0]]]), np.array([[4.0, -1.0]])).round(6).tolist()
    [[2.0, 0.0]]
    """
    problems, count = moment.shape
    best, lowest = np.zeros((problems, count)), np.zeros(problems)
    size = np.maximum(np.sqrt(np.einsum("lii->li", gram)), TINY)  # equal scale, so that a ridge means the same to all
    scaled = gram / (size[:, :, None] * size[:, None, :]) + 1e-10 * np.eye(count)
    wanted = moment / size
    for length in range(1, count + 1):
        for support in map(list, itertools.combinations(range(count), length)):
            part = scaled[:, support][:, :, support]
            found = np.linalg.solve(part, wanted[:, support, None])[:, :, 0]
            value = -(found * wanted[:, support]).sum(1)
            better = (found >= 0).all(1) & (value < lowest - TINY)
            lowest[better] = value[better]
            best[better] = 0.0
            best[np.ix_(better, support)] = found[better]
    found_all: Floats = best / size
    return found_all


def robust(x: Floats, y: Floats, weights: Floats, columns: tuple[int, ...], rounds: int = 6) -> Floats:
    """Return non-negative coefficients of all `COLUMNS` (0 where not in `columns`), [L, 6], on relative error.

    Each round minimises Σ w·h·((y − x·c)/y)² over c ≥ 0. Huber's weights h keep single slow batches from bending the
    law: with e = log(y / x·c) of the round before and σ = 1.4826·median |e − median e|, h = min(1, 1.5·σ/|e|).

    Args:
        x: From `design`, [N, 6].
        y: Seconds, [N].
        weights: [L, N], 0 leaves a batch out.
        columns: The regressors to use.
        rounds: Of reweighting.

    Source: P. J. Huber, "Robust estimation of a location parameter" (1964).
    """
    part, huber = x[:, columns], np.ones_like(weights)
    for _ in range(rounds):
        heavy = weights * huber / y**2
        gram = np.einsum("ln,ni,nj->lij", heavy, part, part, optimize=True)
        found = nonnegative(gram, (heavy * y) @ part)
        off = np.log(y / np.maximum(found @ part.T, TINY))
        middle = np.median(off, axis=1, keepdims=True)
        scale = np.maximum(1.4826 * np.median(np.abs(off - middle), axis=1, keepdims=True), 0.005)
        huber = np.minimum(1.0, 1.5 * scale / np.maximum(np.abs(off), TINY))
    coefficients = np.zeros((len(weights), len(COLUMNS)))
    coefficients[:, columns] = found
    return coefficients


def _size_blocks(rows: Floats, most: int = 7) -> Ints:
    """Return each batch's block of similar sizes."""
    edges = np.unique(np.quantile(rows, np.linspace(0, 1, most + 1)))
    return np.clip(np.searchsorted(edges, rows, "right") - 1, 0, max(len(edges) - 2, 0))


def choose_form(x: Floats, y: Floats, *, keyed: bool) -> tuple[str, dict[str, float]]:
    """Return the form that predicts a left-out size best, and every form's error.

    The error is the |median log(actual / predicted)| of each left-out block of sizes, averaged. A form with more terms
    must beat the best simpler one by a tenth (growth by a fifth: it is what drift looks like) and by half a percent.
    One size, or two that hardly differ, tell nothing but what those cost.

    Args:
        x: From `design`.
        y: Seconds.
        keyed: Whether the number of keys is known.
    """
    rows, seen = x[:, 1], x[:, SEEN]
    sizes = np.unique(rows)
    if len(sizes) <= 2 and sizes[-1] <= ALIKE * sizes[0]:
        return "fixed", {"fixed": float("nan")}
    blocks = _size_blocks(rows)
    labels = np.unique(blocks)
    if len(labels) < 3 or len(y) < 8:
        return "affine", {"affine": float("nan")}
    weights = (blocks[None, :] != labels[:, None]).astype(np.float64)
    # what one can tell from the order in time: does the same size cost more when more rows were seen before?
    late = seen > np.median(seen)
    if 4 <= late.sum() <= len(y) - 4:
        weights = np.concatenate([weights, [(~late).astype(np.float64)]])
    scores: dict[str, float] = {}
    best = "affine"
    for form, columns in FORMS.items():
        if form == "fixed" or (KEYS in columns and not keyed):
            continue
        off = np.log(y / np.maximum(robust(x, y, weights, columns, 3) @ x.T, TINY))
        scores[form] = float(np.mean([abs(np.median(off[i, weights[i] == 0])) for i in range(len(weights))]))
        gain = 0.8 if SEEN in columns and SEEN not in FORMS[best] else 0.9
        if scores[form] < gain * scores[best] - 0.005:
            best = form
    return best, scores


def local_ratio(rows: Floats, ratio: Floats) -> tuple[Floats, Floats]:
    """Return (log n, log ratio) knots of a smooth correction: what the law misses at each size.

    At a knot it is the median log ratio of the k batches of about that size, times k/(k + 3): shrunk towards none.
    """
    size = np.log(rows)
    count = max(2, round(np.sqrt(len(rows))) - 1)
    knots = np.unique(np.quantile(size, np.linspace(0, 1, min(9, count))))
    width = max(0.25, (knots[-1] - knots[0]) / 14)
    heights = []
    for knot in knots:
        near = np.log(ratio[np.abs(size - knot) < width])
        heights.append(float(np.median(near)) * len(near) / (len(near) + 3.0) if len(near) else 0.0)
    return knots, np.array(heights)

"""What the standardised basis is made of: columns of X, their mean and scale, from all rows or from a sample."""

from __future__ import annotations

import math
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from ..kernels import kernels_for
from ..kernels.losses import namespace
from ..protocols import Array

#: Most rows in one block of the sample that estimates a curvature, and how many blocks there are at least.
SAMPLE_BLOCK, MIN_BLOCKS = 64, 16
#: Rows up to which a sample is all of them.
SAMPLE_ALL = 2000
#: Weight of a row relative to their mean up to which a sample of the rows may speak for all, and the share of the
#: rows that must count: the square of the sum of the weights over that of their squares.
HEAVIEST, LIVE = 20.0, 0.2


def widened(spread: Any, strength: Array | float) -> Any:
    """Return sqrt(spread^2 + strength), shape (d,), without overflow and underflow; 1 where that is 0."""
    xp = namespace(spread)
    if xp is np and np.maximum.reduce(spread, axis=None, initial=0.0) < 1e140:
        plain = np.sqrt(spread * spread + strength)
        if np.minimum.reduce(plain, axis=None, initial=1.0) > 1e-140:
            return plain
    ridge = xp.sqrt(strength + xp.zeros_like(spread))
    top = xp.maximum(spread, ridge)
    unit = xp.where(top > 0.0, top, xp.ones_like(top))
    return xp.where(top > 0.0, unit * xp.sqrt((spread / unit) ** 2 + (ridge / unit) ** 2), unit)


def take_columns(X: Any, columns: Any) -> Any:
    """Return some columns of X, shape (n, len(columns)), in the storage of X."""
    if hasattr(X, "indptr"):
        take = getattr(kernels_for(X), "csr_columns", None)
        return X[:, columns] if take is None else take(X, columns)
    xp = array_namespace(X)
    if isinstance(X, np.ndarray) and X.flags.f_contiguous:
        return np.take(X.T, columns, axis=0).T
    return xp.take(X, columns, axis=1)


def take_rows(X: Any, rows: Any) -> Any:
    """Return some rows of a dense X, shape (len(rows), d); `take` copies all of an array in another order than C."""
    if isinstance(X, np.ndarray) and not X.flags.c_contiguous:
        return X[rows]
    return array_namespace(X).take(X, rows, axis=0)


def without_outliers(X: Any, weights: Any, mean: Any, spread: Any, reach: Any, centre: bool) -> tuple[Any, Any]:
    """Return mean and spread with those of the bulk for columns that a few far outliers dominate.

    With an entry 1e10 times the others, mean and standard deviation make the others a constant to ten digits, and
    the problem singular in double precision. Where one row holds more than a hundredth of a column's variance,
    median (the upper one) and median absolute deviation of at most 4096 rows are looked at; they replace mean and
    standard deviation where these are over 1000 times the latter. Any centre and scale give an equivalent basis, so
    nothing but rounding depends on the choice.

    Parameters
    ----------
    X : array of shape (n, d)
    weights : Array of shape (n,) or (1,)
    mean, spread, reach : Array of shape (d,)
        As `kernels.reference.moments` returns them.
    centre : bool
        Whether columns are centred; else deviations are from zero.
    """
    xp = namespace(spread)
    wide = spread * math.sqrt(0.01 / float(xp.max(weights)))
    suspects = xp.nonzero((reach > wide) & (spread > 0.0))[0]
    if not suspects.shape[0]:
        return mean, spread
    xp = array_namespace(spread)
    # Most suspects are plain columns of few rows: the middle half of some 64 rows tells, at a fraction of the price.
    if weights.shape[0] == 1:
        active = None
        few = X[:: max(1, X.shape[0] // 64), ...]
    else:
        active = xp.nonzero(weights > 0.0)[0]
        few = take_rows(X, active[:: max(1, active.shape[0] // 64)])
    few = few if suspects.shape[0] == X.shape[1] else xp.take(few, suspects, axis=1)
    few = xp.astype(few, xp.float64, copy=False)
    # A quarter of them on either side of the mean, well away from it, makes that sure without sorting.
    middle, apart = xp.take(mean, suspects), 0.051 * xp.take(spread, suspects)
    fewest = xp.minimum(_counted(few < middle - apart, xp), _counted(few > middle + apart, xp))
    rest = xp.nonzero(fewest <= few.shape[0] // 4)[0]
    if not rest.shape[0]:
        return mean, spread
    active = xp.arange(X.shape[0], device=device(spread)) if active is None else active
    suspects, few = suspects[rest], xp.sort(xp.take(few, rest, axis=1), axis=0)
    low, high = few[few.shape[0] // 4, :], few[few.shape[0] - 1 - few.shape[0] // 4, :]
    suspects = suspects[~(0.5 * high - 0.5 * low > 0.05 * xp.take(spread, suspects))]
    if not suspects.shape[0]:
        return mean, spread
    rows = active[:: max(1, active.shape[0] // 4096)]
    mean, spread = xp.asarray(mean, copy=True), xp.asarray(spread, copy=True)
    for j in map(int, suspects):
        column = xp.sort(xp.astype(xp.take(X[:, j], rows), xp.float64))
        middle = float(column[column.shape[0] // 2]) if centre else 0.0
        deviation = 1.4826 * float(xp.sort(xp.abs(column - middle))[column.shape[0] // 2])
        # 1e30: beyond that the squares of the outlier would overflow in the basis of the bulk.
        if 1e-30 * float(spread[j]) < deviation < 1e-3 * float(spread[j]):
            mean[j], spread[j] = middle, deviation
    return mean, spread


def _counted(flags: Any, xp: Any) -> Any:
    """Return how many entries of each column are true."""
    return np.add.reduce(flags, axis=0) if type(flags) is np.ndarray else xp.sum(xp.astype(flags, xp.int64), axis=0)


def moments_of_sample(
    rows: Any, centre: bool, kernels: ModuleType | None = None, weights: Any = None, numbers: Any = None
) -> tuple[Any, Any] | None:
    """Return mean and deviation of the columns of a sample of rows, None where they might say little about the others.

    That is where a column is constant, or one row holds more than a twentieth of its variance (an indicator that is
    true in fewer than twenty rows, an outlier); or where an entry is not finite. `kernels` are those for all rows,
    `weights` too, in which the sample has the `numbers`: where few rows have most of the weight it says little as well.
    """
    m, s = rows.shape[0], np.array([1.0 / rows.shape[0]])
    if weights is not None and weights.shape[0] > 1:
        xp = array_namespace(weights)
        s = xp.take(weights, numbers)
        total, squares = float(xp.sum(s)), float(xp.sum(s * s))  # no thread of BLAS is woken
        heaviest = float(xp.max(weights)) * weights.shape[0]
        if not (heaviest <= HEAVIEST and total * total >= LIVE * m * squares > 0.0):
            return None
        s = s / total
    mean, spread, reach = (kernels or kernels_for(rows)).moments(rows, s, centre)
    far = reach * reach * float(s.max()) > 0.05 * spread * spread
    if bool(far.any()) and bool((spread > 0.0).all()):  # reach is a bound, up to three times the farthest entry
        xp = array_namespace(mean)
        (columns,) = xp.nonzero(far)
        reach = xp.max(xp.abs(xp.take(rows, columns, axis=1) - mean[columns]), axis=0)
        far = reach * reach * float(s.max()) > 0.05 * spread[columns] ** 2
    return (mean, spread) if bool((spread > 0.0).all()) and not bool(far.any()) else None


def sample_blocks(n: int, fraction: float, seed: int = 0) -> list[tuple[int, int]] | None:
    """Return row ranges that cover about `fraction` of n rows, one at random in each of equally long strata.

    Spread over the rows because files come sorted; random within a stratum because they come periodic.

    Parameters
    ----------
    n : int
    fraction : float
        In (0, 1].
    seed : int, default=0

    Returns
    -------
    list of (start, stop) or None
        In increasing order, disjoint. None for all rows: where the fraction is 1, or n so small that a sample would
        save nothing.
    """
    if fraction >= 1.0 or n <= SAMPLE_ALL:
        return None
    size = min(SAMPLE_BLOCK, max(1, int(fraction * n) // MIN_BLOCKS))
    total = -(-n // size)
    count = min(total, max(1, round(fraction * total)))
    edges = np.linspace(0, total, count + 1).astype(int)
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(a, b)) for a, b in pairwise(edges)]
    return [(k * size, min((k + 1) * size, n)) for k in chosen]


def sampled_sum(h: Any, blocks: list[tuple[int, int]]) -> float:
    """Return the sum of the entries of h, shape (n,), in row ranges; a device is waited for once, not for each."""
    if isinstance(h, np.ndarray):
        return sum(float(np.sum(h[a:b], dtype=np.float64)) for a, b in blocks)
    xp = array_namespace(h)
    rows = xp.asarray(np.concatenate([np.arange(a, b) for a, b in blocks]), device=device(h))
    return float(xp.sum(xp.take(h, rows)))


def lifted(H: Array, K: int, d: int) -> Array:
    """Return a matrix with curvature along the same change of all K outputs, for each of d columns and the intercept.

    The curvature of softmax is zero there, or the rounding of far larger numbers. What is added is as much as the
    diagonal has on the average of the outputs; it acts on sums over the outputs alone, so that steps from a gradient
    whose sums are zero stay what they are.

    Parameters
    ----------
    H : Array of shape (p, p)
        Of parameters (K, d), then K intercepts if p > K d.
    K, d : int
    """
    if type(H) is np.ndarray:
        own, H, edge = H.diagonal() / K**2, H.copy(), K * d
        tiles = H[:edge, :edge].reshape(K, d, K, d)
        np.einsum("kjlj->klj", tiles)[...] += np.add.reduce(own[:edge].reshape(K, d), axis=0)  # a view of diagonals
        H[edge:, edge:] += np.add.reduce(own[edge:])
        return H
    xp = array_namespace(H)
    column, height = heights(xp.linalg.diagonal(H), K, d)
    return H + xp.where(column[:, None] == column[None, :], height[:, None], xp.zeros_like(H))


def balanced(v: Array, K: int, d: int) -> Array:
    """Return a gradient or product of softmax, shape (p,), less its means over the outputs: they are rounding."""
    if type(v) is np.ndarray:
        v, edge = v.copy(), K * d
        rows = v[:edge].reshape(K, d)
        rows -= np.add.reduce(rows, axis=0) / K
        v[edge:] -= np.add.reduce(v[edge:]) / K
        return v
    xp = array_namespace(v)
    parts = [xp.reshape(v[: K * d], (K, d)), *([xp.reshape(v[K * d :], (K, 1))] if v.shape[0] > K * d else [])]
    return xp.concat([xp.reshape(part - xp.sum(part, axis=0) / K, (-1,)) for part in parts])


def heights(own: Array, K: int, d: int) -> tuple[Array, Array]:
    """Return the column of each parameter and what `lifted` adds there, shape (p,) each, from the diagonal of H."""
    xp, p = array_namespace(own), own.shape[0]
    place = xp.arange(p, device=device(own))
    column = xp.where(place < K * d, place % max(d, 1), xp.full_like(place, d))
    means = xp.sum(xp.reshape(own[: K * d], (K, d)), axis=0) / K
    if p > K * d:
        means = xp.concat([means, xp.reshape(xp.sum(own[K * d :]) / K, (1,))])
    return column, xp.take(means, column) / K

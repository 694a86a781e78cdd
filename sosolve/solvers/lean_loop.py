"""The algorithm of `sosolve.solvers.lean` for exact derivatives, in the few words of Python that become machine code.

`sosolve.curves.machine_code` reads the text of these functions: floats, whole numbers, arrays of floats, `if`, `while`,
`for` over a range, calls of one another, and constants. They run as Python too.

Symmetric matrices are packed by rows of their lower half: element (i, j), j <= i, is at i (i + 1) / 2 + j. `sums` is
[J r]'[J r], row p of which is J'r, then r'r. All derivatives being exact, S learns from sums alone: along a step h
J'r changes by (J'J + S) h, with J'J in the mean of both ends; what J'J leaves is S h to third order.
"""

from __future__ import annotations

from collections.abc import Callable
from math import fabs, inf, sqrt

import numpy as np

from .lean import (
    ACCEPT,
    AFTER,
    BOLD,
    BRAVE,
    LARGEST,
    LAST,
    LEARN,
    LEAST_PIVOT,
    LEVEL,
    MOST_DAMPING,
    MOST_STEPS,
    MU_0,
    NOISE,
    REJECT,
    ROUNDING,
    SMALLEST,
    SURE,
    TINY,
    TURN,
)

Array = np.ndarray


def room(size: int) -> Array:
    """Return an array of zeros; in machine code it is on the stack, and `size` a number written out."""
    return np.zeros(size)


def minimise(
    rows: Callable, x: Array, y: Array, s: Array, n: int, c: float, p: int, level: float, theta: Array, inverse: Array
) -> float:
    """Write theta and (J'J)^-1, shape (p, p), at the minimum, and return r'r; -1 where the full solver must find it.

    `rows(x, y, s, n, c, theta, sums)` writes the sums; `level` is y'y. There is room for 10 parameters.
    """
    sums, other, D, S, L, h, trial = room(66), room(66), room(10), room(55), room(55), room(10), room(10)
    rows(x, y, s, n, c, theta, sums)
    last = p * (p + 3) // 2
    cost, rounding = sums[last], ROUNDING * ROUNDING * level
    mu, nu, before = MU_0, 2.0, 1.0
    if not cost < inf or not widened(sums, p, D):
        return -1.0
    for _ in range(MOST_STEPS):
        predicted, value = inf, inf
        least = factorised(sums, p, D, S, mu, L)
        if least > 0.0:
            predicted = step(sums, p, D, mu, L, h)
            if predicted <= max(LAST * cost, rounding):  # noqa: SIM102 machine code evaluates both sides of an `and`
                if last_step(sums, p, D, S, L, trial, rounding, before):
                    for k in range(p):
                        theta[k] += trial[k]
                    rows(x, y, s, n, c, theta, sums)
                    return end_of(sums, p, D, L, inverse)
            for k in range(p):
                trial[k] = theta[k] + h[k]
            rows(x, y, s, n, c, trial, other)
            value = other[last]
        actual = cost - value
        if predicted <= LEVEL * cost and fabs(actual) <= LEVEL * cost:
            actual = predicted
        if actual > ACCEPT * predicted:
            ratio, nu = actual / predicted, 2.0
            if fabs(ratio - 1.0) < SURE:
                mu = mu / BOLD if mu < 0.1 * least else mu / BRAVE
            else:
                bend = 2.0 * ratio - 1.0
                mu *= max(1.0 / 3.0, 1.0 - bend * bend * bend)
            before, cost = max(predicted / cost, NOISE), value
            for k in range(p):
                theta[k] = trial[k]
            sums, other = other, sums
            if before < LEARN:
                learn(sums, other, p, D, h, S, trial)
            if not widened(sums, p, D):
                return -1.0
        else:
            mu, nu = max(mu * nu, REJECT * least), 2.0 * nu
            if mu > MOST_DAMPING:
                return -1.0
    return -1.0


def last_step(sums: Array, p: int, D: Array, S: Array, L: Array, h: Array, rounding: float, before: float) -> bool:
    """Write the undamped step, and return whether it is the last one.

    `before` is the relative reduction of the step before; L is room.
    """
    predicted, plain, other = inf, inf, room(10)
    if factorised(sums, p, D, room(55), 0.0, L) > 0.0:
        plain = step(sums, p, D, 0.0, L, other)
    if factorised(sums, p, D, S, 0.0, L) > 0.0:
        predicted = step(sums, p, D, 0.0, L, h)
    predicted, cost = max(predicted, plain), sums[p * (p + 3) // 2]
    if cost <= rounding:
        return predicted < inf
    part = predicted / cost
    return part <= LAST and part * min(1.0, part / before) <= AFTER


def end_of(sums: Array, p: int, D: Array, L: Array, inverse: Array) -> float:
    """Write (J'J)^-1, shape (p, p), and return r'r, or -1 where J is close to singular."""
    if not widened(sums, p, D) or not factorised(sums, p, D, room(55), 0.0, L) > LEAST_PIVOT:
        return -1.0
    invert(L, p, D, inverse)
    return sums[p * (p + 3) // 2]


def widened(sums: Array, p: int, D: Array) -> bool:
    """Widen the scale D, the running maximum of |J_k|; return whether all sums of squares are ordinary numbers."""
    for i in range(p):
        square = sums[i * (i + 3) // 2]
        if not (square > SMALLEST and square < LARGEST):
            return False
        D[i] = max(D[i], sqrt(square))
    return True


def factorised(sums: Array, p: int, D: Array, S: Array, mu: float, L: Array) -> float:
    """Write the Cholesky factor of J'J + S in units of D plus mu, its diagonal inverted.

    Returns the least squared pivot, 0 where one is rounding.
    """
    least = inf
    for i in range(p):
        row = i * (i + 1) // 2
        for j in range(i + 1):
            column = j * (j + 1) // 2
            value = (sums[row + j] + S[row + j]) / D[i] / D[j]
            for k in range(j):
                value -= L[row + k] * L[column + k]
            if j < i:
                L[row + j] = value * L[column + j]
            else:
                value += mu
                if not value > TINY:
                    return 0.0
                least = min(least, value)
                L[row + i] = 1.0 / sqrt(value)
    return least


def step(sums: Array, p: int, D: Array, mu: float, L: Array, h: Array) -> float:
    """Write the step h = -(L L')^-1 J'r, and return the reduction of r'r that its model predicts."""
    gain, square, gradient = 0.0, 0.0, p * (p + 1) // 2
    for i in range(p):
        row = i * (i + 1) // 2
        value = -sums[gradient + i] / D[i]
        for k in range(i):
            value -= L[row + k] * h[k]
        h[i] = value * L[row + i]
        gain += h[i] * h[i]
    for back in range(p):
        i = p - 1 - back
        value = h[i]
        for k in range(i + 1, p):
            value -= L[k * (k + 1) // 2 + i] * h[k]
        h[i] = value * L[i * (i + 3) // 2]
        square += h[i] * h[i]
    for i in range(p):
        h[i] /= D[i]
    return gain + mu * square


def learn(sums: Array, old: Array, p: int, D: Array, h: Array, S: Array, t: Array) -> None:
    """Add the symmetric rank-one update to S, after which S h is what J'J leaves of the change of J'r; t is room.

    S stays as it is where that is rounding, or would outweigh J'J.
    """
    along, size, gradient = 0.0, 0.0, p * (p + 1) // 2
    for i in range(p):
        value = sums[gradient + i] - old[gradient + i]
        for j in range(p):
            at = i * (i + 1) // 2 + j if j < i else j * (j + 1) // 2 + i
            value -= (S[at] + 0.5 * (sums[at] + old[at])) * h[j]
        t[i] = value
        along += value * h[i]
        size += value * value / D[i] / D[i]
    if size < TURN * TURN * sums[gradient + p] or not size < fabs(along):
        return
    for i in range(p):
        for j in range(i + 1):
            S[i * (i + 1) // 2 + j] += t[i] * t[j] / along


def invert(L: Array, p: int, D: Array, inverse: Array) -> None:
    """Write D^-1 (L L')^-1 D^-1, shape (p, p), over L."""
    for i in range(p):
        row = i * (i + 1) // 2
        for j in range(i):
            value = 0.0
            for k in range(j, i):
                value -= L[row + k] * L[k * (k + 1) // 2 + j]
            inverse[i * p + j] = value * L[row + i]
        for j in range(i):
            L[row + j] = inverse[i * p + j]
    for i in range(p):
        for j in range(i + 1):
            value = 0.0
            for k in range(i, p):
                row = k * (k + 1) // 2
                value += L[row + i] * L[row + j]
            inverse[i * p + j] = value / D[i] / D[j]
            inverse[j * p + i] = inverse[i * p + j]

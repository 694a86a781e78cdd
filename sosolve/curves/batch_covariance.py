"""The inverse of J'J at the end of a fit, compiled, and what of it the data do not determine."""

from __future__ import annotations

import math

import numpy as np

from .batch_kernels import EPS, cholesky_solve, fill, part, pivoted_qr
from .batch_steps import EXTRA, FACTOR, HELD, LOWER, PARAMS, RHS, SCALE, SUMS, UPPER, entry, factorise, load_rows

WELL = 1e-7  # squared pivot of the scaled J'J above which its Cholesky factor is good to nine digits
RANK, RANK_OF_DIFFERENCES = 1e-12, 1e-8  # relative size of a pivot of R that counts as 0
SHARE = 1e-6  # a null vector touches a parameter by more than this
DROWNED = 1e-13  # length of a column, relative to the longest it was, at which it may be rounding


@part
def covariance_of(model, points, v, m, B, C, order):
    """Fill C (p, p) with the inverse of J'J over the free parameters.

    NaN where a parameter lies on a bound, or is not determined: alone, where its column has come to be rounding as in
    a*exp(-b*x) with a of 1e-16, or with others. By Cholesky of the scaled J'J where its pivots are large; else by
    pivoted QR of the scaled J.
    """
    p = model.p
    for k in range(p):
        fill(C, k, np.nan)
        norm2, value = m[SUMS, entry(k, k)], v[PARAMS, k]
        drowned = norm2 * v[SCALE, k] ** 2 <= DROWNED**2 and norm2 * value**2 <= points.n * (16.0 * EPS) ** 2
        v[HELD, k] = 1.0 if drowned or value <= v[LOWER, k] or value >= v[UPPER, k] else 0.0
        v[SCALE, k] = 1.0 / math.sqrt(norm2) if norm2 > 0.0 else 1.0
    if not factorise(v, m, 0.0) > WELL:
        _by_qr(model, points, v, B, C, order)
        return
    for j in range(p):
        if v[HELD, j] == 0.0:
            for i in range(p):
                v[RHS, i] = 1.0 if i == j else 0.0
            cholesky_solve(m, FACTOR, p, v, RHS)
            for i in range(p):
                if v[HELD, i] == 0.0:
                    C[i, j] = v[RHS, i] * v[SCALE, i] * v[SCALE, j]


@part
def _by_qr(model, points, v, B, C, order):
    """Do the same from the rows of J."""
    n, free = points.n, 0
    load_rows(model, points, v, B)
    for k in range(model.p):
        if v[HELD, k] == 0.0:
            for i in range(n):
                B[i, free] = B[i, k] * v[SCALE, k]
            v[EXTRA, free] = k
            free += 1
    pivoted_qr(B, n, free, order)
    rank = _rank(B, free, RANK_OF_DIFFERENCES if model.differences else RANK)
    _mark_undetermined(B, v, rank, free)
    for j in range(rank):  # column j of R^-1 goes to the row n + j of the room
        for i in range(rank - 1, -1, -1):
            t = 1.0 if i == j else 0.0
            for k in range(i + 1, rank):
                t -= B[i, k] * B[n + j, k]
            B[n + j, i] = t / B[i, i]
    for a in range(rank):
        for b in range(rank):
            if v[RHS, a] == 0.0 and v[RHS, b] == 0.0:
                total = 0.0
                for j in range(rank):
                    total += B[n + j, a] * B[n + j, b]
                i, k = int(v[EXTRA, order[a]]), int(v[EXTRA, order[b]])
                C[i, k] = total * v[SCALE, i] * v[SCALE, k]


@part
def _rank(B, free, tolerance):
    """Return the number of pivots of R that are not negligible."""
    rank = 0
    while rank < free and abs(B[rank, rank]) > tolerance * abs(B[0, 0]):
        rank += 1
    return rank


@part
def _mark_undetermined(B, v, rank, free):
    """Set RHS to 1.0 at the columns of R that a null vector (-R11^-1 R12 over 1) touches, to 0.0 at the others."""
    for k in range(free):
        v[RHS, k] = 1.0 if k >= rank else 0.0
    for dependent in range(rank, free):
        for i in range(rank - 1, -1, -1):  # the solution overwrites R12
            t = B[i, dependent]
            for k in range(i + 1, rank):
                t -= B[i, k] * B[k, dependent]
            B[i, dependent] = t / B[i, i]
            if abs(B[i, dependent]) > SHARE:
                v[RHS, i] = 1.0

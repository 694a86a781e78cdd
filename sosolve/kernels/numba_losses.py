"""Losses on one block of rows, with exp and log1p that vectorise; inlined into the chunks."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from .cache import jit

LOG2_E = 1.4426950408889634
LN2_HI, LN2_LO = 0.693145751953125, 1.42860682030941723e-06  # ln 2 split so that k * LN2_HI is exact for |k| < 2^20
EXACT = frozenset({"contract"})  # reassociation would merge the split above


@intrinsic
def power_of_two(typingctx, k):
    """Return 2.0 ** k for an int64 k in -1022 .. 1023 by writing its exponent bits."""

    def codegen(context, builder, signature, args):
        double = context.get_value_type(types.float64)
        (value,) = args
        bias, shift = (value.type(number) for number in (1023, 52))
        return builder.bitcast(builder.shl(builder.add(value, bias), shift), double)

    return types.float64(types.int64), codegen


@jit(fastmath=EXACT, cached=False)
def exp_rest(x, k):
    """Return exp(x) / 2^k to 1 ulp for the whole number k nearest to x / ln(2): Taylor to degree 13."""
    r = (x - k * LN2_HI) - k * LN2_LO
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p


@jit(fastmath=EXACT, cached=False)
def exp_negative(x):
    """Return exp(x) for x <= 0 to 1 ulp, exp(-708) below that."""
    x = -708.0 if x < -708.0 else x
    k = np.floor(x * LOG2_E + 0.5)
    return exp_rest(x, k) * power_of_two(np.int64(np.int32(k)))


@jit(fastmath=EXACT, cached=False)
def log1p_unit(e):
    """Return log(1 + e) for 0 <= e <= 1 to a few ulp: 2 artanh(e / (2 + e)), 16 terms of its series."""
    s = e / (2.0 + e)
    q = s * s
    p = 1.0 / 33.0
    p = p * q + 1.0 / 31.0
    p = p * q + 1.0 / 29.0
    p = p * q + 1.0 / 27.0
    p = p * q + 1.0 / 25.0
    p = p * q + 1.0 / 23.0
    p = p * q + 1.0 / 21.0
    p = p * q + 1.0 / 19.0
    p = p * q + 1.0 / 17.0
    p = p * q + 1.0 / 15.0
    p = p * q + 1.0 / 13.0
    p = p * q + 1.0 / 11.0
    p = p * q + 1.0 / 9.0
    p = p * q + 1.0 / 7.0
    p = p * q + 1.0 / 5.0
    p = p * q + 1.0 / 3.0
    p = p * q + 1.0
    return 2.0 * s * p


@jit(cached=False)
def take_weights(s, start, stop, out):
    """Copy the weights of a block; shape (1,) stands for the same weight everywhere."""
    # loops: Numba takes seconds to compile the assignment of a slice
    if s.shape[0] == 1:
        for i in range(stop - start):
            out[i] = s[0]
    else:
        for i in range(stop - start):
            out[i] = s[start + i]


@jit(cached=False)
def logistic_block(y, s, z, h, r):
    """Return (sum s l, sum r, sum h) of one block, and write row curvatures to h and gradients to r."""
    total, total_r, total_h = 0.0, 0.0, 0.0
    for i in range(z.shape[0]):
        size = abs(z[i])
        e = exp_negative(-size)
        near = 1.0 / (1.0 + e)
        far = e * near
        up = z[i] >= 0.0
        p = near if up else far
        q = far if up else near
        wrong = 1.0 - y[i] if up else y[i]
        total += s[i] * (wrong * size + log1p_unit(e))
        ri = s[i] * ((1.0 - y[i]) * p - y[i] * q)
        r[i] = ri
        total_r += ri
        hi = s[i] * (p * q)
        h[i] = hi
        total_h += hi
    return total, total_r, total_h


@jit(cached=False)
def logistic_columns_block(y, s, offset, b, z, loss, values, totals):
    """Replace the predictors z of a block, a column for each b, by gradients; add losses and gradients up."""
    rows, q = z.shape
    for i in range(rows):
        sign = 1.0 - 2.0 * y[i]
        for k in range(q):
            z[i, k] = sign * (z[i, k] + (b[k] + offset[i]))
    flat, losses = z.reshape(rows * q), loss.reshape(loss.shape[0] * q)
    for t in range(flat.shape[0]):
        m = flat[t]
        e = exp_negative(-abs(m))
        near = 1.0 / (1.0 + e)
        flat[t] = near if m >= 0.0 else e * near
        losses[t] = max(m, 0.0) + log1p_unit(e)
    for i in range(rows):
        weight = s[i] * (1.0 - 2.0 * y[i])
        for k in range(q):
            values[k] += s[i] * loss[i, k]
            z[i, k] *= weight
            totals[k] += z[i, k]


@jit(cached=False)
def squared_block(y, s, z, h, r):
    """Return (sum s l, sum r, sum h) of one block, and write row curvatures to h and gradients to r."""
    total, total_r, total_h = 0.0, 0.0, 0.0
    for i in range(z.shape[0]):
        gap = z[i] - y[i]
        total += 0.5 * s[i] * gap * gap
        r[i] = s[i] * gap
        total_r += r[i]
        h[i] = s[i]
        total_h += s[i]
    return total, total_r, total_h


@jit(cached=False)
def softmax_block(y, s, z, P, r, reference):
    """Return sum s l of one block, and write probabilities to P and gradients to r; as `reference.softmax_rows`.

    r may be z itself, and P of single precision.
    """
    total = 0.0
    rows, K = z.shape
    top, gap, largest = np.empty(rows), np.empty(rows), np.empty(rows, dtype=np.int64)
    for i in range(rows):
        best, where = (0.0, K) if reference else (z[i, 0], 0)
        for k in range(K):
            if z[i, k] > best:
                best, where = z[i, k], k
        true = int(y[i])
        top[i], largest[i] = best, where
        gap[i] = best - (0.0 if true == K else z[i, true])
        for k in range(K):
            r[i, k] = z[i, k] - best
    flat = r[:rows].reshape(rows * K)
    for t in range(flat.shape[0]):
        flat[t] = exp_negative(flat[t])
    for i in range(rows):
        where, true = largest[i], int(y[i])
        last = exp_negative(-top[i]) if reference else 0.0
        others = 0.0 if where == K else last
        wrong = 0.0 if true == K else last
        for k in range(K):
            e = r[i, k]
            others += 0.0 if k == where else e
            wrong += 0.0 if k == true else e
        total += s[i] * (np.log1p(others) + gap[i])
        inverse = 1.0 / (1.0 + others)
        for k in range(K):
            p = r[i, k] * inverse
            P[i, k] = p
            r[i, k] = s[i] * p
        if true < K:
            r[i, true] = -s[i] * wrong * inverse
    return total


@jit(cached=False)
def softmax_mv_block(P, s, u, whole):
    """Replace u by s (P (sum P) u - P (P . u)), row by row; without `whole` the sum is taken for 1.

    With the sum the row's matrix is sum_kl P_k P_l (e_k - e_l)(e_k - e_l)' / 2, whose relative error is that of P.
    """
    for i in range(u.shape[0]):
        mean, total = 0.0, 0.0
        for k in range(u.shape[1]):
            mean += P[i, k] * u[i, k]
            total += P[i, k]
        total = total if whole else 1.0
        for k in range(u.shape[1]):
            u[i, k] = s[i] * P[i, k] * (total * u[i, k] - mean)

"""Losses row by row in plain array-API code: a part of `reference`, whose conventions hold."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace, device

#: Rows at a time of one output: all that is formed on the way stays in the second-level cache, and small beside X.
BLOCK = 8192


def namespace(a):
    """Return the namespace of an array; NumPy's own at once, for a small fit looks it up dozens of times."""
    return np if type(a) is np.ndarray else array_namespace(a)


def logistic_rows(y, z, s):
    """Return (sum s l, s l', s l'') of l = log(1 + e^z) - y z for y in [0, 1].

    With low = min(z, 0), high = max(z, 0) and e = exp(low) exp(-high) = exp(-|z|), one factor of which is exactly 1:
    sigmoid(z) = exp(low) / (1 + e) and sigmoid(-z) = exp(-high) / (1 + e), so that neither overflow nor cancellation
    occurs for any finite z, also where the loss is far below eps.
    """
    xp = namespace(z)
    if xp is np and z.shape[0] > BLOCK:
        return _by_blocks(logistic_rows, y, z, s)
    low = np.minimum(z, 0.0) if xp is np else 0.5 * z - 0.5 * xp.abs(z)
    high = z - low
    p, q = xp.exp(low), xp.exp(-high)
    total, e, other = p + q, p * q, 1.0 - y
    p /= total
    q /= total
    # softplus(z) - y z = (1 - y) softplus(z) + y softplus(-z)
    loss = xp.log1p(e)
    loss += high * other
    loss -= low * y
    r = p * other
    r -= q * y
    r *= s
    p *= q
    p *= s
    return _weighted_sum(loss, s, xp), r, p


def _weighted_sum(loss, s, xp):
    """Return sum s l; the weights are of shape (n,), or (1,) where all rows weigh the same."""
    if xp is np:
        return float(np.add.reduce(loss)) * float(s[0]) if s.shape[0] == 1 else float(np.add.reduce(loss * s))
    return float(xp.sum(s * loss))


def _by_blocks(rows, y, z, s):
    """Return (value, slopes, curvatures) of a loss of one output, a block of the rows after the other."""
    value, r, h = 0.0, np.empty(z.shape), np.empty(z.shape)
    for start in range(0, z.shape[0], BLOCK):
        part = slice(start, start + BLOCK)
        found, r[part], h[part] = rows(y[part], z[part], s if s.shape[0] == 1 else s[part])
        value += found
    return value, r, h


def squared_rows(y, z, s):
    """Return (sum s l, s l', s l'') of l = (z - y)^2 / 2."""
    xp = namespace(z)
    r = z - y
    return float(xp.sum(0.5 * s * r * r)), s * r, s * xp.ones_like(z)


def softmax_rows(y, z, s, reference):
    """Return (sum s l, s dl/dz, P) of l = log(sum_k e^z_k) - z_y for classes y in 0 .. K - 1.

    With `reference`, z has one column less than there are classes and the last class has z = 0. Sums over the other
    classes are formed without the largest (for l) and without the true one (for the gradient), so that a loss far
    below eps keeps its relative accuracy.
    """
    xp = namespace(z)
    if xp is np:
        return _softmax_rows(y, z, s, reference)
    n, columns = z.shape
    if reference:
        z = xp.concat([z, xp.zeros((n, 1), dtype=z.dtype, device=device(z))], axis=1)
    classes = xp.arange(z.shape[1], dtype=xp.int64, device=device(z))[None, :]
    true = classes == xp.astype(y, xp.int64)[:, None]
    top = xp.max(z, axis=1)
    largest = classes == xp.argmax(z, axis=1)[:, None]
    e = xp.exp(z - top[:, None])
    zeros = xp.zeros_like(e)
    others = xp.sum(xp.where(largest, zeros, e), axis=1)
    wrong = xp.sum(xp.where(true, zeros, e), axis=1)
    total = 1.0 + others
    P = e / total[:, None]
    z_true = xp.sum(xp.where(true, z, zeros), axis=1)
    value = float(xp.sum(s * (xp.log1p(others) + (top - z_true))))
    r = s[:, None] * xp.where(true, -(wrong / total)[:, None] + zeros, P)
    return value, r[:, :columns], P[:, :columns]


def _softmax_rows(y, z, s, reference):
    """Return `softmax_rows` of NumPy arrays: places are looked up, masks of n x K would take as many calls again."""
    n, columns = z.shape
    Z = np.concatenate([z.T, np.zeros((1, n))]) if reference else z.T
    at = np.arange(n)
    true, largest, top = y.astype(np.intp), np.argmax(Z, axis=0), np.maximum.reduce(Z, axis=0)
    e = Z - top
    np.exp(e, out=e)
    e[largest, at] = 0.0
    others = np.add.reduce(e, axis=0)
    e[largest, at] = 1.0
    own = e[true, at]
    e[true, at] = 0.0
    wrong = np.add.reduce(e, axis=0)
    e[true, at] = own
    total = 1.0 + others
    loss = np.log1p(others) + (top - Z[true, at])
    e /= total
    r = e * s
    r[true, at] = wrong / total * -s
    return _weighted_sum(loss, s, np), r[:columns].T, e[:columns].T


def softmax_curv_mv(P, s, U):
    """Return s (diag(P_i) - P_i P_i') U_i row by row, shape (n, K)."""
    xp = namespace(P)
    mean = xp.sum(P * U, axis=1)
    return s[:, None] * P * (U - mean[:, None])

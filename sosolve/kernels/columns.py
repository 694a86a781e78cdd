"""The logistic loss at many parameter vectors at once, in plain NumPy: matrix products in place of passes."""

from __future__ import annotations

import numpy as np

#: Bytes of the predictors of one block of rows.
BLOCK_BYTES = 128 * 1024


def logistic_columns(X, y, s, offset, W, b):
    """Return values (q,), X' R as (q, d) and the sums of R (q,) for z = X W' + b + offset, in one pass.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        float64.
    y : (n,)
        0 or 1.
    s, offset : (n,) or (1,)
    W, b : (q, d), (q,)

    Notes
    -----
    log(1 + e^z) - y z = log(1 + e^-z) + (1 - y) z. Its rounding is that of z, and where e^-z overflows the value is
    not finite: good for a search that trusts no value without its gradient.
    """
    n, q = X.shape[0], W.shape[0]
    values, G, totals = np.zeros(q), np.zeros(W.shape), np.zeros(q)
    rows = max(64, BLOCK_BYTES // (8 * max(q, 1)))
    for start in range(0, n, rows):
        block = slice(start, min(start + rows, n))
        A, label = X[block], y[block]
        weight = np.broadcast_to(s if s.shape[0] == 1 else s[block], label.shape)
        z = A @ W.T
        z += b
        z += (offset if offset.shape[0] == 1 else offset[block])[:, None]
        values += ((1.0 - label) * weight) @ z
        np.negative(z, out=z)
        np.exp(z, out=z)
        z += 1.0
        values += weight @ np.log(z)
        np.reciprocal(z, out=z)
        z -= label[:, None]
        z *= weight[:, None]
        G += z.T @ A
        totals += z.sum(axis=0)
    return values, G, totals

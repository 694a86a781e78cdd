"""Every kernel in plain array-API code: the oracle for the fast ones, and the path of small problems.

Conventions shared by all kernel modules
----------------------------------------
X : (n, d) dense array of any array library, or scipy.sparse CSR; float32 or float64.
w, b : (d,) and float for one output; (K, d) and (K,) for K outputs. Always float64.
z, r, h : (n,) or (n, K) rows in sample space. Always float64.
s : (n,) sample weights that sum to 1, or shape (1,) where all rows weigh the same.
One call of a kernel that takes X is one pass: X is traversed once, in row blocks that stay in the cache while both
X v and X' r are formed.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse
from array_api_compat import device, is_numpy_array

from .columns import logistic_columns as logistic_columns
from .losses import logistic_rows, namespace, softmax_rows, squared_rows
from .losses import softmax_curv_mv as softmax_curv_mv

#: Bytes of X in a row block: half of a common L2 cache; on other devices a call costs more than what a cache saves.
BLOCK_BYTES, DEVICE_BLOCK_BYTES = 512 * 1024, 64 * 1024 * 1024


def row_blocks(X):
    """Yield (start, stop, rows of X) over cache-sized blocks; a CSR matrix is one block, slicing would copy it."""
    n = X.shape[0]
    if scipy.sparse.issparse(X):
        yield 0, n, X
        return
    size = BLOCK_BYTES if is_numpy_array(X) else DEVICE_BLOCK_BYTES
    rows = max(1, size // max(1, 8 * X.shape[1]))
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        yield start, stop, X[start:stop, :]


def _to_double(X):
    """Return X with float64 entries: a block at most, never a copy of a float64 array."""
    if type(X) is np.ndarray or scipy.sparse.issparse(X) or is_numpy_array(X):
        return X if X.dtype.itemsize == 8 else X.astype("float64")
    xp = namespace(X)
    return xp.astype(X, xp.float64, copy=False)


def _forward(X, w, b):
    z = X @ (w.T if w.ndim == 2 else w)
    return z if b is None else z + b


def _back(X, r):
    """Return (X' r, sum r), shapes (d,) and () or (K, d) and (K,)."""
    total = np.add.reduce(r, axis=0) if type(r) is np.ndarray else namespace(r).sum(r, axis=0)
    if r.ndim == 1:
        return X.T @ r, total
    product = X.T @ r
    return product.T, total


def _accumulate(X, rows_of):
    """Return (sum of X_b' r_b, sum of r_b) over row blocks with r_b = rows_of(block, start, stop)."""
    g = total = None
    for start, stop, block in row_blocks(X):
        block = _to_double(block)
        part, part_total = _back(block, rows_of(block, start, stop))
        g, total = (part, part_total) if g is None else (g + part, total + part_total)
    return g, total


def _rows(s, start, stop):
    """Return the weights of a block."""
    return s if s.shape[0] == 1 else s[start:stop]


def linear(X, w, b, rows=None):
    """Return z = X w' + b, shape (n,) or (n, K); of a range (start, stop) of the rows where one is given."""
    X = X if rows is None else X[rows[0] : rows[1], ...]
    xp = namespace(w)
    parts = [_forward(_to_double(block), w, b) for _, _, block in row_blocks(X)]
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def transposed(X, r, rows=None):
    """Return (X' r, sum of r over rows), shapes (d,) and () or (K, d) and (K,); r of a range of the rows if given."""
    X = X if rows is None else X[rows[0] : rows[1], ...]
    return _accumulate(X, lambda block, start, stop: r[start:stop, ...])


def normal_mv(X, h, v, v0):
    """Return (X' u, sum u) with u = h * (X v + v0), one output."""
    return _accumulate(X, lambda block, start, stop: h[start:stop] * _forward(block, v, v0))


def softmax_normal_mv(X, P, s, v, v0):
    """Return (X' U, sum U) with U = softmax_curv_mv(P, s, X v' + v0), K outputs."""

    def rows_of(block, start, stop):
        return softmax_curv_mv(P[start:stop, :], _rows(s, start, stop), _forward(block, v, v0))

    return _accumulate(X, rows_of)


def _fused(rows, X, y, s, w, b):
    """Return (value, z, curvature rows, X' r, sum r): the composition that every fused kernel must equal.

    Without a constant b (None) X is one block of doubles, and the sum of r is not formed: a small fit is made of such
    calls.
    """
    if b is None:
        z = (w @ X.T).T
        value, r, curv = rows(y, z, s)
        return value, z, curv, r.T @ X, None
    xp = namespace(w)
    value, z_parts, curv_parts = 0.0, [], []

    def rows_of(block, start, stop):
        nonlocal value
        z = _forward(block, w, b)
        part, r, curv = rows(y[start:stop], z, _rows(s, start, stop))
        value += part
        z_parts.append(z)
        curv_parts.append(curv)
        return r

    g, total = _accumulate(X, rows_of)
    if len(z_parts) == 1:
        return value, z_parts[0], curv_parts[0], g, total
    return value, xp.concat(z_parts), xp.concat(curv_parts), g, total


def logistic_linear(X, y, s, w, b):
    """Return (value, z, h, X' r, sum r) of the logistic loss of z = X w + b, in one pass."""
    return _fused(logistic_rows, X, y, s, w, b)


def logistic_gradient(X, y, s, w, b):
    """Return (value, sum h, X' r, sum r) of the logistic loss of z = X w + b, in one pass."""
    value, _, h, g, total = _fused(logistic_rows, X, y, s, w, b)
    return value, namespace(h).sum(h), g, total


def squared_linear(X, y, s, w, b):
    """Return (value, z, h, X' r, sum r) of the squared loss of z = X w + b, in one pass."""
    return _fused(squared_rows, X, y, s, w, b)


def softmax_linear(X, y, s, w, b, reference):
    """Return (value, z, P, X' r, sum r) of the softmax loss of z = X w' + b, in one pass."""
    return _fused(lambda y, z, s: softmax_rows(y, z, s, reference), X, y, s, w, b)


def gram(X, h, mean, scale, blocks=None):
    """Return the weighted Gram matrix of the standardised columns.

    With x~ = (x - mean) / scale: sum_i h_i x~_i x~_i', shape (d, d), and sum_i h_i x~_i, shape (d,).

    Parameters
    ----------
    X : (n, d)
    h : (n,)
        Of any sign, but all of one sign is twice as fast.
    mean, scale : (d,)
    blocks : list of (start, stop), optional
        Row ranges to sum over; all rows where None.
    """
    xp = namespace(h)
    if scipy.sparse.issparse(X):
        return _gram_sparse(X, h, mean, scale, blocks)
    negative, positive = bool(xp.any(h < 0.0)), bool(xp.any(h > 0.0))
    sign = -1.0 if negative and not positive else 1.0
    G = g = None
    for start, stop in row_ranges(X, blocks):
        A = (_to_double(X[start:stop, :]) - mean) / scale
        weights = sign * h[start:stop]
        if negative and positive:
            B, part = weights[:, None] * A, None
            part, first = A.T @ B, xp.sum(B, axis=0)
        else:
            root = xp.sqrt(weights)
            A = root[:, None] * A
            part, first = A.T @ A, root @ A
        G, g = (part, first) if G is None else (G + part, g + first)
    return sign * G, sign * g


def longest_range(n, d):
    """Return how many rows make a matrix product fast: a thousand, or 1 MB up to a 32nd of n, but not above 4 MB."""
    return max(64, min(BLOCK_BYTES // max(1, d), max(1024, min(n // 32, BLOCK_BYTES // max(4, 4 * d)))))


def row_ranges(X, blocks):
    """Return `blocks`, cut to `longest_range` rows."""
    longest = longest_range(*X.shape)
    ranges = [(0, X.shape[0])] if blocks is None else blocks
    return [(k, min(k + longest, stop)) for start, stop in ranges for k in range(start, stop, longest)]


def _gram_sparse(X, h, mean, scale, blocks):
    """Return `gram` for CSR through X'HX and the algebra of centring; X itself is never centred."""
    if blocks is not None:
        X = scipy.sparse.vstack([X[a:b] for a, b in blocks], format="csr")
        xp = namespace(h)
        h = xp.concat([h[a:b] for a, b in blocks])
    X = _to_double(X)
    weighted = X.copy()
    weighted.data = weighted.data * h.repeat(X.indptr[1:] - X.indptr[:-1])
    product = X.T @ weighted
    product = product.toarray()
    return centred_gram(product, X.T @ h, float(h.sum()), mean, scale)


def centred_gram(product, first, total, mean, scale):
    """Return what `gram` does from X'HX, X'h and sum h."""
    product = product / scale[:, None]
    product /= scale[None, :]
    ratio = mean / scale
    cross = ratio[:, None] * ((first - (0.5 * total) * mean) / scale)[None, :]
    product -= cross
    product -= cross.T
    return product, (first - total * mean) / scale


def diagonal(X, h, mean, scale):
    """Return (sum_i h_ik x~_ij^2, sum_i h_ik) for h of shape (n, K): shapes (K, d) and (K,), in one pass."""
    xp = namespace(h)
    totals = xp.sum(h, axis=0)
    if scipy.sparse.issparse(X):
        scaled = _to_double(X).copy()
        scaled.data = scaled.data / scale[scaled.indices]
        first = scaled.T @ h
        scaled.data = scaled.data**2
        ratio = (mean / scale)[:, None]
        return centred_squares(scaled.T @ h, first, ratio, totals[None, :]).T, totals
    out = None
    for start, stop, block in row_blocks(X):
        part = xp.matrix_transpose(h[start:stop, :]) @ ((_to_double(block) - mean) / scale) ** 2
        out = part if out is None else out + part
    return out, totals


def centred_squares(squares, first, ratio, totals):
    """Return sum h (x - m)^2 from sum h x^2, sum h x, m and sum h, at least 1e-14 of the first: below is rounding."""
    xp = namespace(squares)
    return xp.maximum(squares - 2.0 * ratio * first + ratio**2 * totals, 1e-14 * squares)


def moments(X, s, centre):
    """Return weighted mean, root of the weighted mean square deviation, and reach of the columns, each (d,).

    The reach bounds the largest deviation from the mean to a factor of two. Deviations are from the mean where
    `centre`, else from zero (then the mean returned is zero). Each column is first shifted by its entry in the row of
    largest weight and divided by its largest absolute deviation: the shift keeps a large mean from cancelling the
    variance (its own weight bounds the loss by n eps), the division keeps the squares from overflow and underflow for
    any finite column.
    """
    xp = namespace(s)
    n, d = X.shape
    weights = s if s.shape[0] == n else xp.broadcast_to(s, (n,))
    if scipy.sparse.issparse(X):
        return _moments_sparse(_to_double(X), weights, centre)
    zeros = xp.zeros(d, dtype=xp.float64, device=device(s))
    shift = zeros
    if centre:
        heaviest = int(xp.argmax(weights))
        shift = _to_double(X[heaviest : heaviest + 1, :])[0, :]
    top = zeros
    for start, stop, block in row_blocks(X):
        # halves: the difference of two finite numbers may overflow
        deviation = xp.abs(0.5 * _to_double(block) - 0.5 * shift)
        active = weights[start:stop, None] > 0.0
        top = xp.maximum(top, xp.max(xp.where(active, deviation, xp.zeros_like(deviation)), axis=0))
    unit = xp.where(top > 0.0, top, xp.ones_like(top))
    first, second = zeros, zeros
    for start, stop, block in row_blocks(X):
        deviation = (0.5 * _to_double(block) - 0.5 * shift) / unit
        active = weights[start:stop, None] > 0.0
        deviation = xp.where(active, deviation, xp.zeros_like(deviation))
        first = first + weights[start:stop] @ deviation
        second = second + weights[start:stop] @ deviation**2
    return finish_moments(shift, 2.0 * unit, first, second, top / unit, centre)


def finish_moments(shift, unit, first, second, top, centre):
    """Return what `moments` does from the moments of (x - shift) / unit and its largest absolute value."""
    xp = namespace(shift)
    if not centre:
        return xp.zeros_like(first), unit * xp.sqrt(second), unit * top
    variance = second - first**2
    # Below n eps of the second moment the variance is rounding: the column is constant.
    floor = 64.0 * float(xp.finfo(second.dtype).eps) * second
    deviation = xp.sqrt(xp.where(variance > floor, variance, xp.zeros_like(variance)))
    return shift + unit * first, unit * deviation, unit * (top + xp.abs(first))


def _moments_sparse(X, weights, centre):
    """Return `moments` of CSR; the shift is zero, which the zeros of a sparse column make harmless."""
    xp = namespace(weights)
    top = xp.zeros(X.shape[1])
    np.maximum.at(top, X.indices, np.abs(X.data))  # a fifth of the time that SciPy takes for the same
    unit = xp.where(top > 0.0, top, xp.ones_like(top))
    scaled = X.copy()
    scaled.data = X.data / unit[X.indices]
    first = scaled.T @ weights
    scaled.data = scaled.data**2
    return finish_moments(xp.zeros_like(unit), unit, first, scaled.T @ weights, top / unit, centre)


# ---------------------------------------------------------------------- parameters: quadratic models


def coordinate_sweep(H, r, u, strengths, lower, upper):
    """Return (u, r) after one sweep of coordinate descent on a quadratic plus sum_j strengths_j |u_j| in a box.

    One parameter after the other is set to its minimiser with the others fixed, where it is not there already; r, the
    gradient of the quadratic at u, follows.

    Parameters
    ----------
    H : (p, p)
        Symmetric and positive semidefinite. A parameter without curvature goes to zero if it is penalised.
    r, u, strengths, lower, upper : (p,)
    """
    xp = namespace(r)
    u, r = xp.asarray(u, copy=True), xp.asarray(r, copy=True)
    moving = xp.nonzero((u != 0.0) | (xp.abs(r) > strengths))[0]
    for j in moving.tolist():
        a, old = float(H[j, j]), float(u[j])
        new = coordinate_minimiser(a, float(r[j]), old, float(strengths[j]), float(lower[j]), float(upper[j]))
        if new != old:
            r += (new - old) * H[j, :]
            u[j] = new
    return u, r


def coordinate_minimiser(a, r, u, strength, low, high):
    """Return the minimiser x in [low, high] of a (x - u)^2 / 2 + r (x - u) + strength |x|."""
    if not a > 0.0:
        return min(max(0.0, low), high) if strength > 0.0 else u
    z = a * u - r
    x = math.copysign(max(abs(z) - strength, 0.0) / a, z)
    return min(max(x, low), high)


def cost_of(X):
    """Return the number of stored entries of X, in units of which thresholds are given."""
    return X.nnz if scipy.sparse.issparse(X) else math.prod(X.shape)

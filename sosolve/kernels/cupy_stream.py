"""The kernels of `cupy_gpu` for `StreamedRows`: the same on each block of rows, results added in the order of the rows.

Vectors over the rows (z, h, y, weights) stay on the device; only X passes through.
"""

from __future__ import annotations

import cupy
import numpy as np

from . import cupy_gpu, reference

# losses in sample space never see X
from .cupy_gpu import logistic_rows, part, softmax_curv_mv, softmax_rows, squared_rows

__all__ = [
    "diagonal",
    "gram",
    "linear",
    "logistic_linear",
    "logistic_rows",
    "moments",
    "normal_mv",
    "softmax_curv_mv",
    "softmax_linear",
    "softmax_normal_mv",
    "softmax_rows",
    "squared_linear",
    "squared_rows",
    "transposed",
]


def _added(X, products):
    """Return the sums over the blocks of the arrays in products(block, start, stop)."""
    sums = None
    for start, stop, block in X.blocks():
        found = products(block, start, stop)
        sums = found if sums is None else tuple(a + b for a, b in zip(sums, found, strict=True))
    return sums


def linear(X, w, b):
    """Return z = X w' + b, shape (n,) or (n, K)."""
    z = cupy.empty(X.shape[:1] if w.ndim == 1 else (X.shape[0], w.shape[0]))
    for start, stop, block in X.blocks():
        z[start:stop] = cupy_gpu.linear(block, w, b)
    return z


def transposed(X, r):
    """Return (X' r, sum of r over rows), shapes (d,) and () or (K, d) and (K,)."""
    return _added(X, lambda block, a, b: cupy_gpu.transposed(block, r[a:b]))


def normal_mv(X, h, v, v0):
    """Return (X' u, sum u) with u = h * (X v + v0), one output."""
    return _added(X, lambda block, a, b: cupy_gpu.normal_mv(block, h[a:b], v, v0))


def softmax_normal_mv(X, P, s, v, v0):
    """Return (X' U, sum U) with U = softmax_curv_mv(P, s, X v' + v0), K outputs."""
    return _added(X, lambda block, a, b: cupy_gpu.softmax_normal_mv(block, P[a:b], part(s, a, b), v, v0))


def _fused(X, shape, products):
    """Return (value, z, curvature rows, X' r, sum r) of blocks, with the value as a float at the end."""
    z, curv = cupy.empty(shape), cupy.empty(shape)

    def summed(block, start, stop):
        value, z[start:stop], curv[start:stop], g, total = products(block, start, stop)
        return value, g, total

    value, g, total = _added(X, summed)
    return float(value), z, curv, g, total


def logistic_linear(X, y, s, w, b):
    """Return (value, z, h, X' r, sum r) of the logistic loss of z = X w + b, in one pass."""
    return _one_output("logistic", X, y, s, w, b)


def squared_linear(X, y, s, w, b):
    """Return (value, z, h, X' r, sum r) of the squared loss of z = X w + b, in one pass."""
    return _one_output("squared", X, y, s, w, b)


def _one_output(loss, X, y, s, w, b):
    def products(block, start, stop):
        return cupy_gpu.one_output(loss, block, y[start:stop], part(s, start, stop), w, b)

    return _fused(X, X.shape[:1], products)


def softmax_linear(X, y, s, w, b, reference):
    """Return (value, z, P, X' r, sum r) of the softmax loss of z = X w' + b, in one pass."""

    def products(block, start, stop):
        return cupy_gpu.outputs(block, y[start:stop], part(s, start, stop), w, b, reference)

    return _fused(X, (X.shape[0], b.shape[0]), products)


def gram(X, h, mean, scale, blocks=None):
    """Return the weighted Gram matrix of the standardised columns and their weighted sum; see `reference.gram`."""
    if blocks is None:
        return _added(X, lambda block, a, b: cupy_gpu.gram(block, h[a:b], mean, scale))
    rows = np.concatenate([np.arange(a, b) for a, b in blocks])
    return cupy_gpu.gram(X.gathered(rows), h[cupy.asarray(rows)], mean, scale)


def diagonal(X, h, mean, scale):
    """Return (sum_i h_ik x~_ij^2, sum_i h_ik) for h of shape (n, K): shapes (K, d) and (K,), in one pass."""
    return _added(X, lambda block, a, b: cupy_gpu.diagonal(block, h[a:b], mean, scale))


def moments(X, s, centre):
    """Return weighted mean, spread and reach of the columns, each (d,), in one pass; see `reference.moments`."""
    n, d = X.shape
    shift = cupy.zeros(d)
    if centre:
        heaviest = int(cupy.argmax(s)) if s.shape[0] == n else 0
        shift = cupy.asarray(X.host[heaviest].astype(np.float64))
    first, second, top = cupy.zeros(d), cupy.zeros(d), cupy.zeros(d)
    for start, stop, block in X.blocks():
        one, two, largest = cupy_gpu.column_sums(block, part(s, start, stop), shift)
        first, second, top = first + one, second + two, cupy.maximum(top, largest)
    if not cupy_gpu.in_range(second, top):
        return tuple(cupy.asarray(a) for a in reference.moments(X.host, cupy.asnumpy(s), centre))
    return reference.finish_moments(shift, cupy.ones(d), first, second, top, centre)

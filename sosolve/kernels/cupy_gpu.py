"""The kernels of `reference` on an NVIDIA device; same names, same meaning, arrays of CuPy in and out.

Five ways of running a pass, by the shape of X alone:

- one output and C order, up to some thousands of columns: one launch that reads X once (`cuda/rows.cu`);
- one output and F order, up to 256 columns: likewise (`cuda/strips.cu`);
- wider F order, or up to 16 outputs, for some hundreds of columns: the same through shared memory (`cuda/tiles.cu`);
- any other dense X: cuBLAS on chunks of rows in double precision, with the losses in kernels of our own;
- CSR: products of our own, X' r by a transposed copy that is made once for each matrix (`cuda/sparse.cu`).

Nothing here waits for the device but the value of a loss, the signs in `gram` and the ranges in `moments`. Partial sums
lie in slots whose number follows from the shape of X and are added in order: no atomics, the same bits in every run.
"""

from __future__ import annotations

import cupy
import numpy as np
from cupy.cublas import syrk

from . import cupy_products, reference
from .cupy_launch import BLOCK_ENTRIES, THREADS, added, c_type, doubles, grid_of, one_weight, plan_for, power_of_two
from .cupy_products import Dense, products, transposed_pieces
from .device import kernel

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


#: Columns from which a Gram matrix is formed by syrk, which for narrow ones divides the sums among few blocks.
SYRK_COLUMNS = 512
#: Most columns of a dense X whose moments have a kernel: in F order each has a row of blocks, 65 535 at most.
MOST_COLUMNS = 65_535


def part(s, start, stop):
    """Return the weights of some rows; one weight stands for all."""
    return s if s.shape[0] == 1 else s[start:stop]


def _fused(loss, X, y, s, w, b, reference=False):
    """Return (value, z, curvature rows, X' r, sum r) for w of shape (K, d), with the value still on the device."""
    (n, d), K = X.shape, w.shape[0]
    plan = plan_for(X, K)
    if plan is not None:
        return plan.fused(loss, y, s, w, b, reference)
    plan, w, b = products(X, K), doubles(w), doubles(b).reshape(K)
    y, s = doubles(y), doubles(s)
    z, curv, values = cupy.empty((n, K)), cupy.empty((n, K)), []

    def rows_of(chunk, start, stop):
        z[start:stop] = plan.forward(chunk, w, b)
        arguments = (y[start:stop], z[start:stop], part(s, start, stop))
        if K == 1:
            value, r = _sample(loss, *arguments, curv[start:stop])
        else:
            value, r = _softmax_sample(*arguments, reference, curv[start:stop])
        values.append(value)
        return r

    g, total = plan.passes(K, d, rows_of)
    return cupy.concatenate(values).sum(), z, curv, g, total


# ---------------------------------------------------------------------- products


def linear(X, w, b):
    """Return z = X w' + b, shape (n,) or (n, K)."""
    W = doubles(w).reshape(-1, X.shape[1])
    plan = plan_for(X, W.shape[0])
    if plan is not None:
        z = plan.linear(W, b)
    else:
        plan, b, z = products(X, W.shape[0]), doubles(b).reshape(W.shape[0]), cupy.empty((X.shape[0], W.shape[0]))
        for start, stop in plan.chunks:
            z[start:stop] = plan.forward(plan.doubles(start, stop), W, b)
    return z[:, 0] if w.ndim == 1 else z


def transposed(X, r):
    """Return (X' r, sum of r over rows), shapes (d,) and () or (K, d) and (K,)."""
    two = doubles(r).reshape(r.shape[0], -1)
    plan = plan_for(X, two.shape[1])
    if plan is not None:
        g, total = plan.transposed(two)
    else:
        g, total = products(X, two.shape[1]).passes(
            two.shape[1], X.shape[1], lambda chunk, start, stop: two[start:stop]
        )
    return (g[0], total[0]) if r.ndim == 1 else (g, total)


def normal_mv(X, h, v, v0):
    """Return (X' u, sum u) with u = h * (X v + v0), one output."""
    plan = plan_for(X, 1)
    if plan is not None:
        g, total = plan.normal(h, h[:1], v, v0)
    else:
        plan, h = products(X), doubles(h)[:, None]
        V, v0 = doubles(v)[None, :], doubles(v0).reshape(1)
        g, total = plan.passes(1, X.shape[1], lambda chunk, a, b: h[a:b] * plan.forward(chunk, V, v0))
    return g[0], total[0]


def softmax_normal_mv(X, P, s, v, v0):
    """Return (X' U, sum U) with U = softmax_curv_mv(P, s, X v' + v0), K outputs."""
    plan = plan_for(X, v.shape[0])
    if plan is not None and v.shape[0] > 1:
        return plan.normal(P, s, v, v0)
    plan, v, v0 = products(X, v.shape[0]), doubles(v), doubles(v0)
    P, s = doubles(P), doubles(s)

    def rows_of(chunk, a, b):
        return softmax_curv_mv(P[a:b], part(s, a, b), plan.forward(chunk, v, v0))

    return plan.passes(v.shape[0], X.shape[1], rows_of)


def logistic_linear(X, y, s, w, b):
    """Return (value, z, h, X' r, sum r) of the logistic loss of z = X w + b, in one pass."""
    value, *rest = one_output("logistic", X, y, s, w, b)
    return float(value), *rest


def squared_linear(X, y, s, w, b):
    """Return (value, z, h, X' r, sum r) of the squared loss of z = X w + b, in one pass."""
    value, *rest = one_output("squared", X, y, s, w, b)
    return float(value), *rest


def one_output(loss, X, y, s, w, b):
    """Return what the fused kernel of the loss of that name returns, with the value still on the device."""
    value, z, h, g, total = _fused(loss, X, y, s, w[None, :], b)
    return value, z[:, 0], h[:, 0], g[0], total[0]


def softmax_linear(X, y, s, w, b, reference):
    """Return (value, z, P, X' r, sum r) of the softmax loss of z = X w' + b, in one pass."""
    value, *rest = outputs(X, y, s, w, b, reference)
    return float(value), *rest


def outputs(X, y, s, w, b, reference):
    """Return what `softmax_linear` returns, with the value still on the device."""
    return _fused("logistic", X, y, s, w.reshape(b.shape[0], X.shape[1]), b, reference)


# ---------------------------------------------------------------------- matrices and moments


def gram(X, h, mean, scale, blocks=None):
    """Return the weighted Gram matrix of the standardised columns and their weighted sum; see `reference.gram`.

    Chunks of standardised and weighted rows, with sqrt(|h|) as one more column, are multiplied by cuBLAS: one triangle
    alone (syrk) where that is wide enough to fill the device.
    """
    h, mean, scale = doubles(h), doubles(mean), doubles(scale)
    lowest, highest = cupy.stack([h.min(), h.max()]).tolist()
    if lowest < 0.0 < highest:  # differences of two matrices of one sign each
        zero = cupy.zeros_like(h)
        G, g = gram(X, cupy.maximum(h, zero), mean, scale, blocks)
        H, k = gram(X, cupy.maximum(-h, zero), mean, scale, blocks)
        return G - H, g - k
    sign = -1.0 if lowest < 0.0 else 1.0
    d = X.shape[1]
    if hasattr(X, "indptr"):
        X, h = _sampled_rows(X, h, blocks)
        blocks = None
    rows, G, half = int(max(64, cupy_products.CHUNK_BYTES // (8 * (d + 1)))), None, d >= SYRK_COLUMNS
    for start, stop in _merged(blocks, X.shape[0], rows):
        A = _standardised(X, start, stop, d + 1, h, mean, scale)
        if G is None:  # in the order of A, or syrk would copy it
            G = cupy.zeros((d + 1, d + 1), order="F" if A.strides[0] < A.strides[1] else "C")
        if half:
            syrk("T", A, out=G, alpha=1.0, beta=1.0, lower=True)
        else:
            G += A.T @ A
    G = cupy.tril(G) + cupy.tril(G, -1).T if half else G
    return sign * G[:d, :d], sign * G[:d, d]


def _sampled_rows(X, h, blocks):
    """Return the rows of a CSR matrix in `blocks`, and their weights."""
    if blocks is None:
        return X, h
    chosen = cupy.asarray(np.concatenate([np.arange(a, b) for a, b in blocks]))
    return X[chosen], h[chosen]


def _merged(blocks, n, longest):
    """Yield the row ranges of `blocks`, all n rows where None, cut to `longest`.

    Ranges of a sample are short; a launch for each would cost more than its work, so they become index arrays.
    """
    if blocks is None:
        yield from ((k, min(k + longest, n)) for k in range(0, n, longest))
        return
    rows = np.concatenate([np.arange(a, b) for a, b in blocks])
    for k in range(0, len(rows), longest):
        yield cupy.asarray(rows[k : k + longest]), None


def _standardised(X, start, stop, width, h, mean, scale, squares=False):
    """Return sqrt(|h_i|) (x_i - mean) / scale with ones in columns from d on, (rows, width); see cuda/columns.cu.

    `start` may be an index array (then `stop` is None): those rows are gathered first.
    """
    if stop is None:
        X, h = X[start], None if h is None else h[start]
        start, stop = 0, X.shape[0]
    if hasattr(X, "indptr"):
        X = X[start:stop].toarray()
        h = None if h is None else h[start:stop]
        start, stop = 0, X.shape[0]
    d, rows_are_fast = X.shape[1], int(X.strides[0] < X.strides[1])
    A = cupy.empty((width, stop - start) if rows_are_fast else (stop - start, width), dtype=cupy.float64)
    itemsize = X.dtype.itemsize
    strides = np.int64(X.strides[0] // itemsize), np.int64(X.strides[1] // itemsize)
    arguments = (X, *strides, np.int64(start), np.int64(stop), np.int32(d), np.int32(width), h, mean, scale)
    columns = kernel("columns", "standardised", T=c_type(X.dtype), ROWS_ARE_FAST=rows_are_fast)
    columns(grid_of(A.size), (THREADS,), (*arguments, np.int32(squares), A))
    return A.T if rows_are_fast else A


def diagonal(X, h, mean, scale):
    """Return (sum_i h_ik x~_ij^2, sum_i h_ik) for h of shape (n, K): shapes (K, d) and (K,), in one pass."""
    h, mean, scale = doubles(h), doubles(mean), doubles(scale)
    totals, d = h.sum(axis=0), X.shape[1]
    if hasattr(X, "indptr"):
        columns = transposed_pieces(X)
        first = columns.product(h) / scale[:, None]
        squares = columns.product(h, unit=scale)
        return reference.centred_squares(squares, first, (mean / scale)[:, None], totals[None, :]).T, totals
    out = cupy.zeros((h.shape[1], d))
    for start, stop in Dense(X).chunks:
        out += h[start:stop].T @ _standardised(X, start, stop, d, None, mean, scale, squares=True)
    return out, totals


def moments(X, s, centre):
    """Return weighted mean, spread and reach of the columns, each (d,), in one pass; see `reference.moments`.

    The columns are shifted but not divided; where squares could leave the range of doubles they are divided first.
    """
    n, d = X.shape
    s = doubles(s)
    if hasattr(X, "indptr"):
        return _moments_sparse(X, s, centre)
    if d > MOST_COLUMNS:
        return reference.moments(X, s, centre)
    shift = cupy.zeros(d)
    if centre and n:
        heaviest = cupy.argmax(s) if s.shape[0] == n else cupy.zeros((), dtype=cupy.int64)
        shift = X[heaviest[None], :][0].astype(cupy.float64)
    first, second, top = column_sums(X, s, shift)
    if not in_range(second, top):
        return reference.moments(X, s, centre)
    return reference.finish_moments(shift, cupy.ones(d), first, second, top, centre)


def in_range(second, top) -> bool:
    """Return whether the squares of the columns neither overflowed nor vanished; waits for the device."""
    return bool((((top == 0.0) | ((top > 1e-140) & (top < 1e140))) & cupy.isfinite(second)).all())


def column_sums(X, s, shift):
    """Return the weighted sums of x - shift and of its square, and its largest absolute value, each (d,)."""
    n, d = X.shape
    rows_are_fast = int(X.strides[0] < X.strides[1])
    wide = d if rows_are_fast else -(-d // 32)
    slots = int(max(1, min(1024, n * d // (BLOCK_ENTRIES * wide))))
    partial = cupy.empty((3 * d, slots), dtype=cupy.float64)
    itemsize = X.dtype.itemsize
    strides = np.int64(X.strides[0] // itemsize), np.int64(X.strides[1] // itemsize)
    arguments = (X, *strides, np.int64(n), np.int32(d), s, one_weight(s), shift, partial)
    columns = kernel("columns", "moments", T=c_type(X.dtype), ROWS_ARE_FAST=rows_are_fast)
    columns((slots, wide), (THREADS,), arguments)
    sums = added(partial[: 2 * d])
    return sums[:d], sums[d:], partial[2 * d :].max(axis=1)


def _moments_sparse(X, s, centre):
    """Return `moments` of CSR; the shift is zero, which the zeros of a sparse column make harmless."""
    n, d = X.shape
    weights = cupy.broadcast_to(s, (n,))
    pieces = transposed_pieces(X)
    top = pieces.largest()
    unit = cupy.where(top > 0.0, top, cupy.ones_like(top))
    two = cupy.ascontiguousarray(weights)[:, None]
    first = pieces.product(two)[:, 0] / unit
    second = pieces.product(two, unit=unit)[:, 0]
    return reference.finish_moments(cupy.zeros(d), unit, first, second, top / unit, centre)


# ---------------------------------------------------------------------- rows: losses in sample space


def _sample(loss, y, z, s, h):
    """Return (partial values, s l') of a loss of one output and write s l'' to h; z and h are (n,) or (n, 1)."""
    y, z, s = doubles(y), doubles(z), doubles(s)
    n = z.shape[0]
    r, grid = cupy.empty(z.shape), grid_of(n)
    partial = cupy.empty(grid[0], dtype=cupy.float64)
    arguments = (y, z, s, one_weight(s), np.int64(n), r, h, partial)
    kernel("sample", f"{loss}_sample", L=32)(grid, (THREADS,), arguments)
    return partial, r


def _softmax_sample(y, z, s, reference, P):
    """Return (partial values, s dl/dz) of the softmax loss and write the probabilities to P."""
    y, z, s = doubles(y), doubles(z), doubles(s)
    n, K = z.shape
    lanes = power_of_two(-(-K // 2))
    r, grid = cupy.empty((n, K)), grid_of(n * lanes)
    partial = cupy.empty(grid[0], dtype=cupy.float64)
    arguments = (y, z, s, one_weight(s), np.int64(n), np.int32(K), np.int32(reference), r, P, partial)
    kernel("sample", "softmax_sample", L=lanes)(grid, (THREADS,), arguments)
    return partial, r


def logistic_rows(y, z, s):
    """Return (sum s l, s l', s l'') of the logistic loss; see `reference.logistic_rows`."""
    h = cupy.empty(z.shape[0])
    partial, r = _sample("logistic", y, z, s, h)
    return float(added(partial[None, :])[0]), r, h


def squared_rows(y, z, s):
    """Return (sum s l, s l', s l'') of the squared loss; see `reference.squared_rows`."""
    h = cupy.empty(z.shape[0])
    partial, r = _sample("squared", y, z, s, h)
    return float(added(partial[None, :])[0]), r, h


def softmax_rows(y, z, s, reference):
    """Return (sum s l, s dl/dz, P) of the softmax loss; see `reference.softmax_rows`."""
    P = cupy.empty(z.shape)
    partial, r = _softmax_sample(y, z, s, reference, P)
    return float(added(partial[None, :])[0]), r, P


def softmax_curv_mv(P, s, U):
    """Return s (diag(P_i) - P_i P_i') U_i row by row, shape (n, K)."""
    P, s, U = doubles(P), doubles(s), doubles(U)
    n, K = P.shape
    lanes = power_of_two(-(-K // 2))
    out = cupy.empty((n, K))
    arguments = (P, s, one_weight(s), U, np.int64(n), np.int32(K), out)
    kernel("sample", "softmax_curvature", L=lanes)(grid_of(n * lanes), (THREADS,), arguments)
    return out

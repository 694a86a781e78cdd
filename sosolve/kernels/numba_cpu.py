"""The kernels of `reference` compiled by Numba, over row blocks on threads; same names, same meaning.

Layout of a pass: the rows are cut into chunks by the shape of X alone; threads take chunks from a counter; each
chunk is worked off in blocks that stay in the first-level cache while X_b v and X_b' r are formed, and writes to
its own slot, and the slots are added in order. So the bits of a result do not depend on the number of threads.

The storage of X (C order, F order, CSR) is known to `numba_storage` alone.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from . import numba_chunks as chunks
from . import numba_coordinates as coordinates
from . import reference
from .numba_pass import CHUNK_ENTRIES, MAX_CHUNKS, Pass, doubles, read_only
from .pool import run
from .reference import softmax_curv_mv, squared_rows

__all__ = [
    "coordinate_sweep",
    "csr_columns",
    "diagonal",
    "gram",
    "linear",
    "logistic_columns",
    "logistic_gradient",
    "logistic_into",
    "logistic_linear",
    "logistic_rows",
    "moments",
    "normal_mv",
    "normal_mv_of",
    "sampled_gram",
    "softmax_curv_mv",
    "softmax_into",
    "softmax_linear",
    "softmax_normal_mv",
    "softmax_rows",
    "squared_linear",
    "squared_rows",
    "transposed",
]

#: Most columns of a CSR matrix whose Gram matrix is added up in dense ones: four of 8 MB.
GRAM_COLUMNS = 1_000
#: Parts of a sample with a Gram matrix each: two are no more than the threads that there are, and take 16 MB at most.
SAMPLE_PARTS = 2
#: Bytes of a block of rows, its predictors and its losses where BLAS forms the products of many columns.
COLUMNS_BYTES = 256 * 1024


def linear(X, w, b, rows=None):
    """Return z = X w' + b, shape (n,) or (n, K); of a range (start, stop) of the rows where one is given."""
    plan = Pass(X, 1 if w.ndim == 1 else w.shape[0], rows)
    first, last = plan.rows
    if w.ndim == 1:
        z, (w,), b = np.empty(last - first), doubles(w), float(b)
        plan.run(lambda k, lo, hi: chunks.linear_chunk(plan.storage, w, b, lo, hi, plan.block, first, z))
        return z
    z, (b,), w = np.empty((last - first, w.shape[0])), doubles(b), plan.weights(w)
    plan.run(lambda k, lo, hi: chunks.linear_chunk_k(plan.storage, w, b, lo, hi, plan.block, first, z))
    return z


def transposed(X, r, rows=None):
    """Return (X' r, sum of r over rows), shapes (d,) and () or (K, d) and (K,); r of a range of the rows if given."""
    (r,) = doubles(r)
    plan = Pass(X, 1 if r.ndim == 1 else r.shape[1], rows)
    first, _ = plan.rows
    if r.ndim == 1:
        g, _ = plan.slots(X.shape[1])
        totals = plan.run(lambda k, lo, hi: chunks.transposed_chunk(plan.storage, r, lo, hi, plan.block, first, g[k]))
        return g.sum(axis=0), np.float64(sum(totals))
    g = plan.gradient_slots(r.shape[1], X.shape[1])
    plan.run(lambda k, lo, hi: chunks.transposed_chunk_k(plan.storage, r, lo, hi, plan.block, first, g[k]))
    return plan.gradient(g), r.sum(axis=0)


def normal_mv(X, h, v, v0):
    """Return (X' u, sum u) with u = h * (X v + v0), one output."""
    plan = Pass(X)
    g, _ = plan.slots(X.shape[1])
    h, (v,), v0 = _as_is(h), doubles(v), float(v0)
    totals = plan.run(lambda k, lo, hi: chunks.normal_mv_chunk(plan.storage, h, v, v0, lo, hi, plan.block, g[k]))
    return g.sum(axis=0), np.float64(sum(totals))


def normal_mv_of(X, rows, h, v, v0):
    """Return (X_r' u, sum u) with u = h * (X_r v + v0) for the given rows r of a dense X; the others are not read.

    The rows are cut into chunks by their number and the shape of X.
    """
    plan = Pass(X)
    count = max(1, min(len(plan.chunks), len(rows)))
    plan.chunks = list(pairwise(len(rows) * k // count for k in range(count + 1)))
    g, _ = plan.slots(X.shape[1])
    (h, v), v0, rows = doubles(h, v), float(v0), read_only(rows)
    totals = plan.run(
        lambda k, lo, hi: chunks.normal_mv_of_chunk(plan.storage, rows, h, v, v0, lo, hi, plan.block, g[k])
    )
    return g.sum(axis=0), np.float64(sum(totals))


def softmax_normal_mv(X, P, s, v, v0):
    """Return (X' U, sum U) with U = softmax_curv_mv(P, s, X v' + v0), K outputs; P as `softmax_into` makes it too."""
    K = v.shape[0]
    plan = Pass(X, K)
    g, (total, _) = plan.gradient_slots(K, X.shape[1]), plan.slots(K)
    whole = P.dtype == np.float32
    (s, v0), v, P = doubles(s, v0), plan.weights(v), _as_is(P)
    plan.run(
        lambda k, lo, hi: chunks.softmax_normal_mv_chunk(
            plan.storage, P, whole, s, v, v0, lo, hi, plan.block, g[k], total[k]
        )
    )
    return plan.gradient(g), total.sum(axis=0)


def _as_is(a):
    """Return a read-only array in C order: single precision stays, anything else becomes double."""
    return read_only(a) if a.dtype == np.float32 and a.flags.c_contiguous else doubles(a)[0]


def _offsets(offset, *shape):
    """Return the offset as the chunks take it: empty for none."""
    return doubles(np.empty((0, *shape)) if offset is None else offset)[0]


def _fused(loss, X, y, s, w, b, z, h, offset=None):
    """Return (value, sum h, X' r, sum r) of a loss of one output; z and h are written where they are not empty."""
    plan = Pass(X)
    g, _ = plan.slots(X.shape[1])
    y = read_only(y) if y.dtype == np.int8 else doubles(y)[0]
    (s, w), b, offset = doubles(s, w), float(b), _offsets(offset)
    found = plan.run(
        lambda k, lo, hi: chunks.fused_chunk(plan.storage, y, s, offset, w, b, loss, lo, hi, plan.block, z, h, g[k])
    )
    value, total, total_h = (sum(numbers) for numbers in zip(*found, strict=True))
    return value, np.float64(total_h), g.sum(axis=0), np.float64(total)


def _rows_kept(loss, X, y, s, w, b):
    z, h = np.empty(X.shape[0]), np.empty(X.shape[0])
    value, _, g, total = _fused(loss, X, y, s, w, b, z, h)
    return value, z, h, g, total


def logistic_linear(X, y, s, w, b):
    """Return (value, z, h, X' r, sum r) of the logistic loss of z = X w + b, in one pass; y may be int8."""
    return _rows_kept(chunks.LOGISTIC, X, y, s, w, b)


def logistic_gradient(X, y, s, w, b, offset=None):
    """Return (value, sum h, X' r, sum r) of the logistic loss of z = X w + b, in one pass that keeps no rows."""
    return _fused(chunks.LOGISTIC, X, y, s, w, b, np.empty(0), np.empty(0, np.float32), offset)


def logistic_into(X, y, s, w, b, h, offset=None, keeps=False):
    """Return what `logistic_linear` does of z = X w + b + offset, the curvatures in h, float32 or float64.

    None for the predictors but where it `keeps` them.
    """
    z = np.empty(X.shape[0] if keeps else 0)
    value, _, g, total = _fused(chunks.LOGISTIC, X, y, s, w, b, z, h, offset)
    return value, z if keeps else None, h, g, total


def logistic_columns(X, y, s, offset, W, b):
    """Return values, X' R and sums of R at many parameter vectors, in one pass; see `columns.logistic_columns`.

    The products are BLAS's, called by each thread of the pool: limit BLAS to one thread around it.
    """
    q, d = W.shape
    plan = Pass(X, q)
    columns = 0 if plan.is_csr else d
    block = 256 if plan.is_csr else 64 * min(16, max(1, COLUMNS_BYTES // (512 * (d + 2 * q))))
    g, (values, _), (totals, _) = plan.gradient_slots(q, d), plan.slots(q), plan.slots(q)
    (y, s, offset, b), W = doubles(y, s, offset, b), plan.weights(W)
    plan.run(
        lambda k, lo, hi: chunks.logistic_columns_chunk(
            plan.storage, y, s, offset, W, b, lo, hi, block, columns, g[k], values[k], totals[k]
        )
    )
    return values.sum(axis=0), plan.gradient(g), totals.sum(axis=0)


def squared_linear(X, y, s, w, b):
    """Return (value, z, h, X' r, sum r) of the squared loss of z = X w + b, in one pass."""
    return _rows_kept(chunks.SQUARED, X, y, s, w, b)


def softmax_linear(X, y, s, w, b, reference):
    """Return (value, z, P, X' r, sum r) of the softmax loss of z = X w' + b, in one pass."""
    z, P = np.empty((X.shape[0], b.shape[0])), np.empty((X.shape[0], b.shape[0]))
    value, g, total = _softmax(X, y, s, w, b, reference, z, P)
    return value, z, P, g, total


def softmax_into(X, y, s, w, b, reference, P, offset=None, keeps=False):
    """Return what `softmax_linear` does of z = X w' + b + offset, the probabilities in P, float32 or float64.

    Those of all classes may be rounded: see `numba_losses.softmax_mv_block`. None for the predictors but where it
    `keeps` them.
    """
    z = np.empty((X.shape[0] if keeps else 0, b.shape[0]))
    value, g, total = _softmax(X, y, s, w, b, reference, z, P, offset)
    return value, z if keeps else None, P, g, total


def _softmax(X, y, s, w, b, reference, z, P, offset=None):
    """Return (value, X' r, sum r); z may be empty."""
    K, d = b.shape[0], X.shape[1]
    plan = Pass(X, K)
    g, (total, _) = plan.gradient_slots(K, d), plan.slots(K)
    (s, b), w, offset = doubles(s, b), plan.weights(w.reshape(K, d)), _offsets(offset, K)
    y = read_only(y) if y.dtype == np.intp else doubles(y)[0]
    found = plan.run(
        lambda k, lo, hi: chunks.softmax_chunk(
            plan.storage, y, s, offset, w, b, reference, lo, hi, plan.block, z, P, g[k], total[k]
        )
    )
    return sum(found), plan.gradient(g), total.sum(axis=0)


def moments(X, s, centre):
    """Return weighted mean, spread and reach of the columns, each (d,), in one pass; see `reference.moments`.

    The columns are shifted but not divided; where squares could leave the range of doubles the reference is used.
    """
    n, d = X.shape
    plan = Pass(X)
    shift = np.zeros(d)
    if centre and not plan.is_csr:
        heaviest = int(np.argmax(s)) if s.shape[0] == n else 0
        shift = X[heaviest].astype(np.float64)
    first, second, top = (plan.slots(d)[0] for _ in range(3))
    s_all, shift_all = doubles(s, shift)
    plan.run(
        lambda k, lo, hi: chunks.moments_chunk(
            plan.storage, s_all, shift_all, lo, hi, plan.block, first[k], second[k], top[k]
        )
    )
    largest = top.max(axis=0)
    safe = (largest == 0.0) | ((largest > 1e-140) & (largest < 1e140))
    if not (safe.all() and np.isfinite(second).all()):
        return reference.moments(X, s, centre)
    return reference.finish_moments(shift, np.ones(d), first.sum(axis=0), second.sum(axis=0), largest, centre)


def diagonal(X, h, mean, scale):
    """Return (sum_i h_ik x~_ij^2, sum_i h_ik) for h of shape (n, K): shapes (K, d) and (K,), in one pass."""
    K, d = h.shape[1], X.shape[1]
    plan = Pass(X, 2 * K)
    out, first = plan.slots(K, d)[0], plan.slots(K, d if plan.is_csr else 1)[0]
    h, (mean, inverse) = _as_is(h), doubles(mean, 1.0 / scale)
    plan.run(lambda k, lo, hi: chunks.diagonal_chunk(plan.storage, h, mean, inverse, lo, hi, out[k], first[k]))
    squares, totals = out.sum(axis=0), h.sum(axis=0, dtype=np.float64)
    if plan.is_csr:
        squares = reference.centred_squares(squares, first.sum(axis=0), mean * inverse, totals[:, None])
    return squares, totals


def gram(X, h, mean, scale, blocks=None):
    """Return the weighted Gram matrix of the standardised columns and their weighted sum; see `reference.gram`.

    The standardised and weighted rows of a few megabytes are written by the threads, with sqrt(h) as one more
    column, and one symmetric product by BLAS (outside the threads) yields matrix and sum together.
    """
    lowest, highest = float(h.min()), float(h.max())
    if hasattr(X, "indptr") and blocks is None and X.shape[1] <= GRAM_COLUMNS:
        return _gram_csr(X, h, mean, scale)
    if hasattr(X, "indptr") or lowest < 0.0 < highest:
        return reference.gram(X, h, mean, scale, blocks)
    sign = -1.0 if lowest < 0.0 else 1.0
    d, storage = X.shape[1], read_only(X)
    h, (mean, inverse) = _as_is(h[:1] if h.strides == (0,) else h), doubles(mean, 1.0 / scale)
    G = np.zeros((d + 1, d + 1))
    longest, ranges = reference.longest_range(*X.shape), reference.row_ranges(X, blocks)
    buffer = np.empty((min(longest, sum(stop - start for start, stop in ranges)), d + 1))
    for group in _groups(ranges, longest):
        # (first row, row after the last, row of the buffer) for each piece
        pieces = [(lo, hi, at) for (a, b), at in group for lo, hi, at in _cut(a, b, at, max(64, CHUNK_ENTRIES // d))]
        many = -(-len(pieces) // MAX_CHUNKS)

        def fill(k, pieces=pieces, many=many):
            for lo, hi, at in pieces[k * many : (k + 1) * many]:
                chunks.fill_chunk(storage, h, sign, mean, inverse, lo, hi, lo - at, buffer)

        run(fill, -(-len(pieces) // many))
        A = buffer[: group[-1][1] + group[-1][0][1] - group[-1][0][0]]
        G += A.T @ A
    return sign * G[:d, :d], sign * G[:d, d]


def sampled_gram(X, h, mean, scale, blocks):
    """Return `gram` of some ranges of rows for a preconditioner: of a dense X with products in single precision.

    The products are BLAS's, called by each thread of the pool: limit BLAS to one thread around it.
    """
    if hasattr(X, "indptr") or float(h.min()) < 0.0:
        return gram(X, h, mean, scale, blocks)
    d, storage = X.shape[1], read_only(X)
    h, (mean, inverse) = _as_is(h[:1] if h.strides == (0,) else h), doubles(mean, 1.0 / scale)
    longest, ranges = reference.longest_range(*X.shape), reference.row_ranges(X, blocks)
    G = np.zeros((SAMPLE_PARTS, d + 1, d + 1))

    def add(k):
        own = ranges[len(ranges) * k // SAMPLE_PARTS : len(ranges) * (k + 1) // SAMPLE_PARTS]
        buffer = np.empty((min(longest, sum(stop - start for start, stop in own)), d + 1), dtype=np.float32)
        for group in _groups(own, longest) if own else ():
            for (start, stop), at in group:
                chunks.fill_chunk(storage, h, 1.0, mean, inverse, start, stop, start - at, buffer)
            A = buffer[: group[-1][1] + group[-1][0][1] - group[-1][0][0]]
            G[k] += A.T @ A

    run(add, SAMPLE_PARTS)
    total = G.sum(axis=0)
    return total[:d, :d], total[:d, d]


def _groups(ranges, longest):
    """Yield lists of ((start, stop), row of the buffer), at most `longest` rows in each (or one range)."""
    group, at = [], 0
    for start, stop in ranges:
        if group and at + stop - start > longest:
            yield group
            group, at = [], 0
        group.append(((start, stop), at))
        at += stop - start
    yield group


def _cut(start, stop, at, rows):
    """Return (start, stop, at) for pieces of at most `rows` rows."""
    return [(k, min(k + rows, stop), at + k - start) for k in range(start, stop, rows)]


def _gram_csr(X, h, mean, scale):
    """Return `gram` of CSR with few columns: the products of each row's entries, added up, then centred."""
    d = X.shape[1]
    plan = Pass(X)
    plan.chunks = list(pairwise(X.shape[0] * k // 4 for k in range(5)))  # each has a d x d matrix of its own
    (G, _), (g, _), (values, _) = plan.slots(d, d), plan.slots(d), plan.slots(d)
    places = np.zeros(values.shape, dtype=np.uint32)
    (h,) = doubles(h)
    plan.run(lambda k, lo, hi: chunks.gram_csr_chunk(plan.storage, h, lo, hi, G[k], g[k], values[k], places[k]))
    half, first, total = G.sum(axis=0), g.sum(axis=0), float(h.sum())
    product = half + half.T  # of two different columns one half has the sum, of one column both
    np.fill_diagonal(product, half.diagonal())
    return reference.centred_gram(product, first, total, mean, scale)


def csr_columns(X, columns):
    """Return X[:, columns] of a CSR matrix for increasing columns, on threads."""
    n, d = X.shape
    plan = Pass(X)
    place = np.full(d, -1, dtype=X.indices.dtype)
    place[columns] = np.arange(len(columns), dtype=place.dtype)
    indptr = np.zeros(n + 1, dtype=X.indptr.dtype)
    plan.run(lambda k, lo, hi: chunks.csr_lengths_chunk(plan.storage, place, lo, hi, indptr[1:]))
    np.cumsum(indptr, out=indptr)
    data, indices = np.empty(indptr[-1], dtype=X.dtype), np.empty(indptr[-1], dtype=place.dtype)
    plan.run(lambda k, lo, hi: chunks.csr_columns_chunk(plan.storage, place, lo, hi, indptr, data, indices))
    return type(X)((data, indices, indptr), shape=(n, len(columns)))


def logistic_rows(y, z, s):
    """Return (sum s l, s l', s l'') of the logistic loss; see `reference.logistic_rows`."""
    plan = Pass(z[:, None])
    h, r = np.empty(z.shape[0]), np.empty(z.shape[0])
    y, s, z = doubles(y, s, z)
    found = plan.run(lambda k, lo, hi: chunks.logistic_rows_chunk(y, s, z, lo, hi, plan.block, h, r))
    return sum(found), r, h


def softmax_rows(y, z, s, reference):
    """Return (sum s l, s dl/dz, P) of the softmax loss; see `reference.softmax_rows`."""
    plan = Pass(z)
    P, r = np.empty(z.shape), np.empty(z.shape)
    y, s, z = doubles(y, s, z)
    found = plan.run(lambda k, lo, hi: chunks.softmax_rows_chunk(y, s, z, reference, lo, hi, plan.block, P, r))
    return sum(found), r, P


def coordinate_sweep(H, r, u, strengths, lower, upper):
    """Return (u, r) after one sweep of coordinate descent on a quadratic model; see `reference.coordinate_sweep`."""
    u, r = np.array(u, dtype=np.float64), np.array(r, dtype=np.float64)
    coordinates.sweep(read_only(H), r, u, *doubles(strengths, lower, upper))
    return u, r

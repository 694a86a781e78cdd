"""One chunk of rows of each kernel: compiled, called once a chunk by a thread, without the GIL.

Every function walks from `lo` to `hi` in blocks of `block` rows, small enough for the cache, and writes to arrays
that no other chunk writes to.
"""

from __future__ import annotations

import numpy as np

from .cache import jit
from .numba_losses import (
    logistic_block,
    logistic_columns_block,
    softmax_block,
    softmax_mv_block,
    squared_block,
    take_weights,
)
from .numba_storage import (
    add_rows,
    add_rows_at,
    add_rows_k,
    diagonal_rows,
    dot_rows,
    dot_rows_at,
    dot_rows_k,
    many_dots,
    many_sums,
    moment_rows,
)

#: Losses of one output that `fused_chunk` knows.
SQUARED, LOGISTIC = 0, 1


@jit()
def linear_chunk(X, w, b, lo, hi, block, first, z):
    """Write the predictors of row i to z[i - first]."""
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = z[start - first : stop - first]
        dot_rows(X, w, start, stop, part)
        for i in range(part.shape[0]):
            part[i] += b


@jit()
def linear_chunk_k(X, w, b, lo, hi, block, first, z):
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = z[start - first : stop - first]
        dot_rows_k(X, w, start, stop, part)
        for i in range(part.shape[0]):
            for k in range(b.shape[0]):
                part[i, k] += b[k]


@jit()
def transposed_chunk(X, r, lo, hi, block, first, g):
    """Add the products with r[i - first] of row i to g, and return the sum of r."""
    total = 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = r[start - first : stop - first]
        add_rows(X, part, start, stop, g)
        for i in range(part.shape[0]):
            total += part[i]
    return total


@jit()
def transposed_chunk_k(X, r, lo, hi, block, first, g):
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        add_rows_k(X, r[start - first : stop - first], start, stop, g)


@jit()
def normal_mv_chunk(X, h, v, v0, lo, hi, block, g):
    u = np.empty(block)
    total = 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = u[: stop - start]
        dot_rows(X, v, start, stop, part)
        for i in range(part.shape[0]):
            part[i] = h[start + i] * (part[i] + v0)
            total += part[i]
        add_rows(X, part, start, stop, g)
    return total


@jit()
def normal_mv_of_chunk(X, rows, h, v, v0, lo, hi, block, g):
    u = np.empty(block)
    total = 0.0
    for start in range(lo, hi, block):
        some = rows[start : min(start + block, hi)]
        part = u[: some.shape[0]]
        dot_rows_at(X, v, some, part)
        for i in range(part.shape[0]):
            part[i] = h[start + i] * (part[i] + v0)
            total += part[i]
        add_rows_at(X, part, some, g)
    return total


@jit()
def softmax_normal_mv_chunk(X, P, whole, s, v, v0, lo, hi, block, g, total):
    u = np.empty((block, v0.shape[0]))
    weights = np.empty(block)
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = u[: stop - start]
        dot_rows_k(X, v, start, stop, part)
        for i in range(part.shape[0]):
            for k in range(v0.shape[0]):
                part[i, k] += v0[k]
        take_weights(s, start, stop, weights)
        softmax_mv_block(P[start:stop], weights, part, whole)
        for i in range(part.shape[0]):
            for k in range(v0.shape[0]):
                total[k] += part[i, k]
        add_rows_k(X, part, start, stop, g)


@jit()
def fused_chunk(X, y, s, offset, w, b, loss, lo, hi, block, z, h, g):
    """Return (value, sum r, sum h) of one output, `loss` being LOGISTIC or SQUARED; offset, z and h may be empty."""
    r, weights, own_z, own_h = np.empty(block), np.empty(block), np.empty(block), np.empty(block)
    value, total, total_h = 0.0, 0.0, 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = z[start:stop] if z.shape[0] > 0 else own_z[: stop - start]
        curv = own_h[: stop - start]
        dot_rows(X, w, start, stop, part)
        for i in range(part.shape[0]):
            part[i] += b
        if offset.shape[0] > 0:
            for i in range(part.shape[0]):
                part[i] += offset[start + i]
        take_weights(s, start, stop, weights)
        if loss == LOGISTIC:
            found = logistic_block(y[start:stop], weights, part, curv, r)
        else:
            found = squared_block(y[start:stop], weights, part, curv, r)
        value += found[0]
        total += found[1]
        total_h += found[2]
        if h.shape[0] > 0:
            for i in range(part.shape[0]):
                h[start + i] = curv[i]
        add_rows(X, r, start, stop, g)
    return value, total, total_h


@jit()
def logistic_columns_chunk(X, y, s, offset, w, b, lo, hi, block, columns, g, values, totals):
    r, loss = np.empty((block, b.shape[0])), np.empty((block, b.shape[0]))
    rows, G = np.empty((block, columns)), np.empty(g.shape)
    weights, shifts = np.empty(block), np.empty(block)
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part, dense = r[: stop - start], rows[: stop - start]
        many_dots(X, w, start, stop, dense, part)
        take_weights(s, start, stop, weights)
        take_weights(offset, start, stop, shifts)
        logistic_columns_block(y[start:stop], weights, shifts, b, part, loss, values, totals)
        many_sums(X, part, start, stop, dense, G, g)


@jit()
def softmax_chunk(X, y, s, offset, w, b, reference, lo, hi, block, z, P, g, total):
    """Return the value; offset and z may be empty: without z the block of gradients holds the predictors first."""
    r, weights = np.empty((block, b.shape[0])), np.empty(block)
    value = 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = z[start:stop] if z.shape[0] > 0 else r[: stop - start]
        dot_rows_k(X, w, start, stop, part)
        for i in range(part.shape[0]):
            for k in range(b.shape[0]):
                part[i, k] += b[k]
        if offset.shape[0] > 0:
            for i in range(part.shape[0]):
                for k in range(b.shape[0]):
                    part[i, k] += offset[start + i, k]
        take_weights(s, start, stop, weights)
        value += softmax_block(y[start:stop], weights, part, P[start:stop], r, reference)
        for i in range(part.shape[0]):
            for k in range(b.shape[0]):
                total[k] += r[i, k]
        add_rows_k(X, r, start, stop, g)
    return value


@jit()
def moments_chunk(X, s, shift, lo, hi, block, first, second, top):
    weights = np.empty(block)
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        take_weights(s, start, stop, weights)
        moment_rows(X, weights, shift, start, stop, first, second, top)


@jit()
def diagonal_chunk(X, h, mean, inverse, lo, hi, out, first):
    diagonal_rows(X, h, mean, inverse, lo, hi, out, first)


@jit()
def fill_chunk(X, h, sign, mean, inverse, lo, hi, first, A):
    """Write sqrt(|h_i|) ((x_i - mean) inverse, 1) to row i - first of A for lo <= i < hi; h of shape (1,) is all."""
    d = X.shape[1]
    for i in range(lo, hi):
        root = np.sqrt(sign * h[i if h.shape[0] > 1 else 0])
        row = A[i - first]
        for j in range(d):
            row[j] = root * ((X[i, j] - mean[j]) * inverse[j])
        row[d] = root


@jit()
def gram_csr_chunk(X, h, lo, hi, G, g, values, places):
    """Add h_i x_ij x_ik to G[j, k] or to G[k, j], and h_i x_i to g for lo <= i < hi.

    A row has no column twice: four sums are read before they are written. `values` and `places` hold one row.
    """
    data, indices, indptr = X
    for i in range(lo, hi):
        weight, first, m = h[i], indptr[i], indptr[i + 1] - indptr[i]
        for t in range(m):
            values[t], places[t] = data[first + t], np.uint32(indices[first + t])
        for t in range(m):
            x, row = weight * values[t], G[places[t]]
            g[places[t]] += x
            fours = (t + 1) - (t + 1) % 4
            for s in range(0, fours, 4):
                k0, k1, k2, k3 = places[s], places[s + 1], places[s + 2], places[s + 3]
                a0, a1, a2, a3 = row[k0], row[k1], row[k2], row[k3]
                row[k0] = a0 + x * values[s]
                row[k1] = a1 + x * values[s + 1]
                row[k2] = a2 + x * values[s + 2]
                row[k3] = a3 + x * values[s + 3]
            for s in range(fours, t + 1):
                row[places[s]] += x * values[s]


@jit()
def csr_lengths_chunk(X, place, lo, hi, lengths):
    """Write how many entries of row i are in columns with a place, for lo <= i < hi."""
    _, indices, indptr = X
    for i in range(lo, hi):
        kept = 0
        for t in range(indptr[i], indptr[i + 1]):
            kept += place[indices[t]] >= 0
        lengths[i] = kept


@jit()
def csr_columns_chunk(X, place, lo, hi, starts, data_out, indices_out):
    """Write the entries of the rows lo <= i < hi in columns with a place, row i from starts[i] on."""
    data, indices, indptr = X
    for i in range(lo, hi):
        at, last = starts[i], starts[i + 1]
        for t in range(indptr[i], indptr[i + 1]):
            if at == last:
                break
            k = place[indices[t]]
            data_out[at], indices_out[at] = data[t], k  # written over by the next one where it has no place
            at += k >= 0


@jit()
def logistic_rows_chunk(y, s, z, lo, hi, block, h, r):
    weights = np.empty(block)
    value = 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        take_weights(s, start, stop, weights)
        value += logistic_block(y[start:stop], weights, z[start:stop], h[start:stop], r[start:stop])[0]
    return value


@jit()
def softmax_rows_chunk(y, s, z, reference, lo, hi, block, P, r):
    weights = np.empty(block)
    value = 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        take_weights(s, start, stop, weights)
        value += softmax_block(y[start:stop], weights, z[start:stop], P[start:stop], r[start:stop], reference)
    return value

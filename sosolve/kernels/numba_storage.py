"""The only functions that know how X is stored: C order, F order or CSR; Numba picks one by the type of X.

A CSR matrix is the tuple (data, indices, indptr). For CSR the weights and gradients of K outputs are (d, K), so that
the inner loop over outputs is contiguous; for dense X they are (K, d).
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from .cache import FAST, jit


def dot_rows(X, w, lo, hi, z):
    """Write x_i . w for lo <= i < hi to z[0 : hi - lo]."""


def add_rows(X, r, lo, hi, g):
    """Add sum_i r[i - lo] x_i for lo <= i < hi to g."""


def dot_rows_k(X, w, lo, hi, z):
    """Write x_i . w_k to z[i - lo, k]; w is (K, d), for CSR (d, K)."""


def add_rows_k(X, r, lo, hi, g):
    """Add sum_i r[i - lo, k] x_i to g; g is (K, d), for CSR (d, K)."""


def many_dots(X, w, lo, hi, A, z):
    """Write x_i . w_k to z[i - lo, k] for many k, and dense rows to A; w is (K, d), for CSR (d, K)."""


def many_sums(X, r, lo, hi, A, G, g):
    """Add sum_i r[i - lo, k] x_i to g for many k; dense rows are in A, and G, of the shape of g, is overwritten."""


def moment_rows(X, s, shift, lo, hi, first, second, top):
    """Add s_i (x_i - shift) and its square to first and second, and widen top, the largest |x_i - shift|."""


def diagonal_rows(X, h, mean, inverse, lo, hi, out, first):
    """Add h_ik ((x_ij - mean_j) inverse_j)^2 to out[k, j]; for CSR uncentred, with the first moments in first."""


#: Without reassociation: sums of gathered numbers are vectorised with it, which takes twice as long.
IN_ORDER = frozenset({"contract"})


@jit(IN_ORDER, cached=False)
def _gathered(data, indices, w, first, last):
    total = 0.0
    for t in range(first, last):
        total += data[t] * w[indices[t]]
    return total


@jit(cached=False)
def _clear(z, rows):
    for i in range(rows):
        for k in range(z.shape[1]):
            z[i, k] = 0.0


def _dot_rows_c(X, w, lo, hi, z):
    for i in range(lo, hi):
        x = X[i]
        total = 0.0
        for j in range(x.shape[0]):
            total += x[j] * w[j]
        z[i - lo] = total


def _dot_rows_f(X, w, lo, hi, z):
    for i in range(hi - lo):
        z[i] = 0.0
    for j in range(X.shape[1]):
        wj = w[j]
        for i in range(lo, hi):
            z[i - lo] += X[i, j] * wj


def _dot_rows_csr(X, w, lo, hi, z):
    data, indices, indptr = X
    for i in range(lo, hi):
        z[i - lo] = _gathered(data, indices, w, indptr[i], indptr[i + 1])


def _add_rows_c(X, r, lo, hi, g):
    # Four rows at once: one load and store of g for four products; a tenth off an evaluation.
    d = X.shape[1]
    fours = hi - (hi - lo) % 4
    for i in range(lo, fours, 4):
        x0, x1, x2, x3 = X[i], X[i + 1], X[i + 2], X[i + 3]
        r0, r1, r2, r3 = r[i - lo], r[i - lo + 1], r[i - lo + 2], r[i - lo + 3]
        for j in range(d):
            g[j] += (x0[j] * r0 + x1[j] * r1) + (x2[j] * r2 + x3[j] * r3)
    for i in range(fours, hi):
        x = X[i]
        ri = r[i - lo]
        for j in range(d):
            g[j] += x[j] * ri


def _add_rows_f(X, r, lo, hi, g):
    for j in range(X.shape[1]):
        total = 0.0
        for i in range(lo, hi):
            total += X[i, j] * r[i - lo]
        g[j] += total


def _add_rows_csr(X, r, lo, hi, g):
    data, indices, indptr = X
    for i in range(lo, hi):
        ri = r[i - lo]
        for t in range(indptr[i], indptr[i + 1]):
            g[indices[t]] += data[t] * ri


@jit(cached=False)
def dot_rows_at(X, w, rows, z):
    # Four rows of a dense X at once: memory far apart is fetched for all of them at the same time.
    m, d = rows.shape[0], X.shape[1]
    for i in range(0, m - m % 4, 4):
        x0, x1, x2, x3 = X[rows[i]], X[rows[i + 1]], X[rows[i + 2]], X[rows[i + 3]]
        z0 = z1 = z2 = z3 = 0.0
        for j in range(d):
            wj = w[j]
            z0 += x0[j] * wj
            z1 += x1[j] * wj
            z2 += x2[j] * wj
            z3 += x3[j] * wj
        z[i], z[i + 1], z[i + 2], z[i + 3] = z0, z1, z2, z3
    for i in range(m - m % 4, m):
        dot_rows(X, w, rows[i], rows[i] + 1, z[i : i + 1])


@jit(cached=False)
def add_rows_at(X, r, rows, g):
    m, d = rows.shape[0], X.shape[1]
    for i in range(0, m - m % 4, 4):
        x0, x1, x2, x3 = X[rows[i]], X[rows[i + 1]], X[rows[i + 2]], X[rows[i + 3]]
        r0, r1, r2, r3 = r[i], r[i + 1], r[i + 2], r[i + 3]
        for j in range(d):
            g[j] += (x0[j] * r0 + x1[j] * r1) + (x2[j] * r2 + x3[j] * r3)
    for i in range(m - m % 4, m):
        add_rows(X, r[i : i + 1], rows[i], rows[i] + 1, g)


def _dot_rows_k_c(X, w, lo, hi, z):
    # Two rows by four outputs: eight sums in registers for six loads, about twice the speed of one sum at a time.
    d, K = X.shape[1], w.shape[0]
    even = hi - (hi - lo) % 2
    for i in range(lo, even, 2):
        x, y = X[i], X[i + 1]
        zx, zy = z[i - lo], z[i - lo + 1]
        for k in range(0, K - 3, 4):
            w0, w1, w2, w3 = w[k], w[k + 1], w[k + 2], w[k + 3]
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
            for j in range(d):
                xj, yj, v0, v1, v2, v3 = x[j], y[j], w0[j], w1[j], w2[j], w3[j]
                a0 += xj * v0
                a1 += xj * v1
                a2 += xj * v2
                a3 += xj * v3
                b0 += yj * v0
                b1 += yj * v1
                b2 += yj * v2
                b3 += yj * v3
            zx[k], zx[k + 1], zx[k + 2], zx[k + 3] = a0, a1, a2, a3
            zy[k], zy[k + 1], zy[k + 2], zy[k + 3] = b0, b1, b2, b3
        for k in range(K - K % 4, K):
            wk = w[k]
            a0 = b0 = 0.0
            for j in range(d):
                a0 += x[j] * wk[j]
                b0 += y[j] * wk[j]
            zx[k], zy[k] = a0, b0
    for i in range(even, hi):
        x = X[i]
        for k in range(K):
            wk = w[k]
            a0 = 0.0
            for j in range(d):
                a0 += x[j] * wk[j]
            z[i - lo, k] = a0


def _dot_rows_k_f(X, w, lo, hi, z):
    _clear(z, hi - lo)
    for j in range(X.shape[1]):
        for i in range(lo, hi):
            x = X[i, j]
            for k in range(w.shape[0]):
                z[i - lo, k] += x * w[k, j]


def _dot_rows_k_csr(X, w, lo, hi, z):
    data, indices, indptr = X
    _clear(z, hi - lo)
    for i in range(lo, hi):
        zi = z[i - lo]
        for t in range(indptr[i], indptr[i + 1]):
            x = np.float64(data[t])
            wj = w[indices[t]]
            for k in range(zi.shape[0]):
                zi[k] += x * wj[k]


def _add_rows_k_c(X, r, lo, hi, g):
    # Four rows at once: one load and store of g for four products.
    d = X.shape[1]
    fours = hi - (hi - lo) % 4
    for i in range(lo, fours, 4):
        x0, x1, x2, x3 = X[i], X[i + 1], X[i + 2], X[i + 3]
        for k in range(g.shape[0]):
            r0, r1, r2, r3 = r[i - lo, k], r[i - lo + 1, k], r[i - lo + 2, k], r[i - lo + 3, k]
            gk = g[k]
            for j in range(d):
                gk[j] += (x0[j] * r0 + x1[j] * r1) + (x2[j] * r2 + x3[j] * r3)
    for i in range(fours, hi):
        x = X[i]
        for k in range(g.shape[0]):
            rk, gk = r[i - lo, k], g[k]
            for j in range(d):
                gk[j] += x[j] * rk


def _add_rows_k_f(X, r, lo, hi, g):
    for j in range(X.shape[1]):
        for i in range(lo, hi):
            x = X[i, j]
            for k in range(g.shape[0]):
                g[k, j] += x * r[i - lo, k]


def _add_rows_k_csr(X, r, lo, hi, g):
    data, indices, indptr = X
    for i in range(lo, hi):
        ri = r[i - lo]
        for t in range(indptr[i], indptr[i + 1]):
            x = np.float64(data[t])
            gj = g[indices[t]]
            for k in range(ri.shape[0]):
                gj[k] += x * ri[k]


def _many_dots_dense(X, w, lo, hi, A, z):
    # BLAS, which gives up the GIL here: from six outputs on twice as fast as the loops above.
    for i in range(lo, hi):
        for j in range(X.shape[1]):
            A[i - lo, j] = X[i, j]
    np.dot(A, w.T, z)


def _many_dots_csr(X, w, lo, hi, A, z):
    dot_rows_k(X, w, lo, hi, z)


def _many_sums_dense(X, r, lo, hi, A, G, g):
    np.dot(r.T, A, G)
    for k in range(g.shape[0]):
        for j in range(g.shape[1]):
            g[k, j] += G[k, j]


def _many_sums_csr(X, r, lo, hi, A, G, g):
    add_rows_k(X, r, lo, hi, g)


def _moment_rows_c(X, s, shift, lo, hi, first, second, top):
    for i in range(lo, hi):
        x = X[i]
        si = s[i - lo]
        if si > 0.0:
            for j in range(x.shape[0]):
                deviation = np.float64(x[j]) - shift[j]
                first[j] += si * deviation
                second[j] += si * deviation * deviation
                top[j] = max(top[j], abs(deviation))


def _moment_rows_f(X, s, shift, lo, hi, first, second, top):
    for j in range(X.shape[1]):
        total, squares, largest = 0.0, 0.0, top[j]
        for i in range(lo, hi):
            si = s[i - lo]
            deviation = np.float64(X[i, j]) - shift[j] if si > 0.0 else 0.0
            total += si * deviation
            squares += si * deviation * deviation
            largest = max(largest, abs(deviation))
        first[j] += total
        second[j] += squares
        top[j] = largest


def _moment_rows_csr(X, s, shift, lo, hi, first, second, top):
    data, indices, indptr = X
    for i in range(lo, hi):
        si = s[i - lo]
        if si > 0.0:
            for t in range(indptr[i], indptr[i + 1]):
                j, x = indices[t], np.float64(data[t])
                first[j] += si * x
                second[j] += si * x * x
                top[j] = max(top[j], abs(x))


def _diagonal_rows_c(X, h, mean, inverse, lo, hi, out, first):
    for i in range(lo, hi):
        x = X[i]
        for k in range(out.shape[0]):
            hk = h[i, k]
            for j in range(x.shape[0]):
                deviation = (x[j] - mean[j]) * inverse[j]
                out[k, j] += hk * deviation * deviation


def _diagonal_rows_f(X, h, mean, inverse, lo, hi, out, first):
    for j in range(X.shape[1]):
        for i in range(lo, hi):
            deviation = (X[i, j] - mean[j]) * inverse[j]
            for k in range(out.shape[0]):
                out[k, j] += h[i, k] * deviation * deviation


def _diagonal_rows_csr(X, h, mean, inverse, lo, hi, out, first):
    data, indices, indptr = X
    for i in range(lo, hi):
        for t in range(indptr[i], indptr[i + 1]):
            j = indices[t]
            x = data[t] * inverse[j]
            for k in range(out.shape[0]):
                first[k, j] += h[i, k] * x
                out[k, j] += h[i, k] * x * x


def _by_storage(stub, in_c, in_f, in_csr):
    """Let Numba replace `stub` by the implementation for the storage of its first argument."""

    def choose(X, *others):
        if isinstance(X, types.BaseTuple):
            return in_csr
        return in_f if X.layout == "F" else in_c

    overload(stub, strict=False, jit_options={"fastmath": set(FAST)})(choose)


_by_storage(dot_rows, _dot_rows_c, _dot_rows_f, _dot_rows_csr)
_by_storage(add_rows, _add_rows_c, _add_rows_f, _add_rows_csr)
_by_storage(dot_rows_k, _dot_rows_k_c, _dot_rows_k_f, _dot_rows_k_csr)
_by_storage(add_rows_k, _add_rows_k_c, _add_rows_k_f, _add_rows_k_csr)
_by_storage(many_dots, _many_dots_dense, _many_dots_dense, _many_dots_csr)
_by_storage(many_sums, _many_sums_dense, _many_sums_dense, _many_sums_csr)
_by_storage(moment_rows, _moment_rows_c, _moment_rows_f, _moment_rows_csr)
_by_storage(diagonal_rows, _diagonal_rows_c, _diagonal_rows_f, _diagonal_rows_csr)

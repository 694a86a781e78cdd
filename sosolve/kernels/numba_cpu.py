"""The kernels of `reference` compiled by Numba, over row blocks on threads; same names, same meaning.

Layout of a pass: the rows are cut into chunks by the shape of X alone; threads take chunks from a counter; each
chunk is worked off in blocks that stay in the first-level cache while X_b v and X_b' r are formed, and writes to
its own slot, and the slots are added in order. So the bits of a result do not depend on the number of threads.

The storage of X (C order, F order, CSR) is known to the functions under "storage" alone; Numba picks one by type.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from . import reference
from .cache import FAST, jit
from .pool import run
from .reference import softmax_curv_mv, squared_rows

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

#: Entries of X in one chunk at least (0.3 ms of work would be 1e6; handing a chunk over costs 2 us), and most chunks.
CHUNK_ENTRIES, MAX_CHUNKS = 65_536, 64
#: Bytes of a block of rows in C order: half of a first-level cache.
L1_BYTES = 16_384

# ---------------------------------------------------------------------- exp and log1p that vectorise

LOG2_E = 1.4426950408889634
LN2_HI, LN2_LO = 0.693145751953125, 1.42860682030941723e-06  # ln 2 split so that k * LN2_HI is exact for |k| < 2^20
EXACT = frozenset({"contract"})  # reassociation would merge the split above


@intrinsic
def _power_of_two(typingctx, k):
    """Return 2.0 ** k for an int64 k in -1022 .. 1023 by writing its exponent bits."""

    def codegen(context, builder, signature, args):
        double = context.get_value_type(types.float64)
        (value,) = args
        bias, shift = (value.type(number) for number in (1023, 52))
        return builder.bitcast(builder.shl(builder.add(value, bias), shift), double)

    return types.float64(types.int64), codegen


@jit(fastmath=EXACT, cached=False)
def exp_negative(x):
    """Return exp(x) for x <= 0 to 1 ulp, exp(-708) below that; Taylor to degree 13 on |r| <= ln(2) / 2."""
    x = -708.0 if x < -708.0 else x
    k = np.floor(x * LOG2_E + 0.5)
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
    return p * _power_of_two(np.int64(np.int32(k)))


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


# ---------------------------------------------------------------------- storage


def _dot_rows(X, w, lo, hi, z):
    """Write x_i . w for lo <= i < hi to z[0 : hi - lo]."""


def _add_rows(X, r, lo, hi, g):
    """Add sum_i r[i - lo] x_i for lo <= i < hi to g."""


def _dot_rows_k(X, w, lo, hi, z):
    """Write x_i . w_k to z[i - lo, k]; w is (K, d), for CSR (d, K)."""


def _add_rows_k(X, r, lo, hi, g):
    """Add sum_i r[i - lo, k] x_i to g; g is (K, d), for CSR (d, K)."""


def _moment_rows(X, s, shift, lo, hi, first, second, top):
    """Add s_i (x_i - shift) and its square to first and second, and widen top, the largest |x_i - shift|."""


def _diagonal_rows(X, h, mean, inverse, lo, hi, out, first):
    """Add h_ik ((x_ij - mean_j) inverse_j)^2 to out[k, j]; for CSR uncentred, with the first moments in first."""


def _dot_rows_c(X, w, lo, hi, z):
    for i in range(lo, hi):
        x = X[i]
        total = 0.0
        for j in range(x.shape[0]):
            total += x[j] * w[j]
        z[i - lo] = total


def _dot_rows_f(X, w, lo, hi, z):
    z[: hi - lo] = 0.0
    for j in range(X.shape[1]):
        wj = w[j]
        for i in range(lo, hi):
            z[i - lo] += X[i, j] * wj


def _dot_rows_csr(X, w, lo, hi, z):
    data, indices, indptr = X
    for i in range(lo, hi):
        total = 0.0
        for t in range(indptr[i], indptr[i + 1]):
            total += data[t] * w[indices[t]]
        z[i - lo] = total


def _add_rows_c(X, r, lo, hi, g):
    for i in range(lo, hi):
        x = X[i]
        ri = r[i - lo]
        for j in range(x.shape[0]):
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


def _dot_rows_k_c(X, w, lo, hi, z):
    for i in range(lo, hi):
        x = X[i]
        for k in range(w.shape[0]):
            wk = w[k]
            total = 0.0
            for j in range(x.shape[0]):
                total += x[j] * wk[j]
            z[i - lo, k] = total


def _dot_rows_k_f(X, w, lo, hi, z):
    z[: hi - lo] = 0.0
    for j in range(X.shape[1]):
        for i in range(lo, hi):
            x = X[i, j]
            for k in range(w.shape[0]):
                z[i - lo, k] += x * w[k, j]


def _dot_rows_k_csr(X, w, lo, hi, z):
    data, indices, indptr = X
    z[: hi - lo] = 0.0
    for i in range(lo, hi):
        zi = z[i - lo]
        for t in range(indptr[i], indptr[i + 1]):
            x = np.float64(data[t])
            wj = w[indices[t]]
            for k in range(zi.shape[0]):
                zi[k] += x * wj[k]


def _add_rows_k_c(X, r, lo, hi, g):
    for i in range(lo, hi):
        x = X[i]
        for k in range(g.shape[0]):
            rk = r[i - lo, k]
            gk = g[k]
            for j in range(x.shape[0]):
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


_by_storage(_dot_rows, _dot_rows_c, _dot_rows_f, _dot_rows_csr)
_by_storage(_add_rows, _add_rows_c, _add_rows_f, _add_rows_csr)
_by_storage(_dot_rows_k, _dot_rows_k_c, _dot_rows_k_f, _dot_rows_k_csr)
_by_storage(_add_rows_k, _add_rows_k_c, _add_rows_k_f, _add_rows_k_csr)
_by_storage(_moment_rows, _moment_rows_c, _moment_rows_f, _moment_rows_csr)
_by_storage(_diagonal_rows, _diagonal_rows_c, _diagonal_rows_f, _diagonal_rows_csr)


# ---------------------------------------------------------------------- losses on one block


@jit(cached=False)
def _take_weights(s, start, stop, out):
    """Copy the weights of a block; shape (1,) stands for the same weight everywhere."""
    if s.shape[0] == 1:
        out[: stop - start] = s[0]
    else:
        out[: stop - start] = s[start:stop]


@jit(cached=False)
def _logistic_block(y, s, z, h, r):
    """Return (sum s l, sum r) of one block, and write row curvatures to h and gradients to r."""
    total, total_r = 0.0, 0.0
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
        h[i] = s[i] * (p * q)
    return total, total_r


@jit(cached=False)
def _squared_block(y, s, z, h, r):
    """Return (sum s l, sum r) of one block, and write row curvatures to h and gradients to r."""
    total, total_r = 0.0, 0.0
    for i in range(z.shape[0]):
        gap = z[i] - y[i]
        total += 0.5 * s[i] * gap * gap
        r[i] = s[i] * gap
        total_r += r[i]
        h[i] = s[i]
    return total, total_r


@jit(cached=False)
def _softmax_block(y, s, z, P, r, reference):
    """Return sum s l of one block, and write probabilities to P and gradients to r; as `reference.softmax_rows`."""
    total = 0.0
    rows, K = z.shape
    top, largest = np.empty(rows), np.empty(rows, dtype=np.int64)
    for i in range(rows):
        best, where = (0.0, K) if reference else (z[i, 0], 0)
        for k in range(K):
            if z[i, k] > best:
                best, where = z[i, k], k
        top[i], largest[i] = best, where
        for k in range(K):
            P[i, k] = z[i, k] - best
    flat = P.reshape(rows * K)
    for t in range(flat.shape[0]):
        flat[t] = exp_negative(flat[t])
    for i in range(rows):
        where, true = largest[i], int(y[i])
        last = exp_negative(-top[i]) if reference else 0.0
        others = 0.0 if where == K else last
        wrong = 0.0 if true == K else last
        for k in range(K):
            e = P[i, k]
            others += 0.0 if k == where else e
            wrong += 0.0 if k == true else e
        z_true = 0.0 if true == K else z[i, true]
        total += s[i] * (np.log1p(others) + (top[i] - z_true))
        inverse = 1.0 / (1.0 + others)
        for k in range(K):
            P[i, k] *= inverse
            r[i, k] = s[i] * P[i, k]
        if true < K:
            r[i, true] = -s[i] * wrong * inverse
    return total


@jit(cached=False)
def _softmax_mv_block(P, s, u):
    """Replace u by s (P u - P (P . u)), row by row."""
    for i in range(u.shape[0]):
        mean = 0.0
        for k in range(u.shape[1]):
            mean += P[i, k] * u[i, k]
        for k in range(u.shape[1]):
            u[i, k] = s[i] * P[i, k] * (u[i, k] - mean)


# ---------------------------------------------------------------------- chunks: compiled, one call a chunk


@jit()
def _linear_chunk(X, w, b, lo, hi, block, z):
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = z[start:stop]
        _dot_rows(X, w, start, stop, part)
        for i in range(part.shape[0]):
            part[i] += b


@jit()
def _linear_chunk_k(X, w, b, lo, hi, block, z):
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = z[start:stop]
        _dot_rows_k(X, w, start, stop, part)
        for i in range(part.shape[0]):
            for k in range(b.shape[0]):
                part[i, k] += b[k]


@jit()
def _transposed_chunk(X, r, lo, hi, block, g):
    total = 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = r[start:stop]
        _add_rows(X, part, start, stop, g)
        for i in range(part.shape[0]):
            total += part[i]
    return total


@jit()
def _transposed_chunk_k(X, r, lo, hi, block, g):
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        _add_rows_k(X, r[start:stop], start, stop, g)


@jit()
def _normal_mv_chunk(X, h, v, v0, lo, hi, block, g):
    u = np.empty(block)
    total = 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = u[: stop - start]
        _dot_rows(X, v, start, stop, part)
        for i in range(part.shape[0]):
            part[i] = h[start + i] * (part[i] + v0)
            total += part[i]
        _add_rows(X, part, start, stop, g)
    return total


@jit()
def _softmax_normal_mv_chunk(X, P, s, v, v0, lo, hi, block, g, total):
    u = np.empty((block, v0.shape[0]))
    weights = np.empty(block)
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = u[: stop - start]
        _dot_rows_k(X, v, start, stop, part)
        for i in range(part.shape[0]):
            for k in range(v0.shape[0]):
                part[i, k] += v0[k]
        _take_weights(s, start, stop, weights)
        _softmax_mv_block(P[start:stop], weights, part)
        for i in range(part.shape[0]):
            for k in range(v0.shape[0]):
                total[k] += part[i, k]
        _add_rows_k(X, part, start, stop, g)


@jit()
def _logistic_chunk(X, y, s, w, b, lo, hi, block, z, h, g):
    r, weights = np.empty(block), np.empty(block)
    value, total = 0.0, 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = z[start:stop]
        _dot_rows(X, w, start, stop, part)
        for i in range(part.shape[0]):
            part[i] += b
        _take_weights(s, start, stop, weights)
        found = _logistic_block(y[start:stop], weights, part, h[start:stop], r)
        value += found[0]
        total += found[1]
        _add_rows(X, r, start, stop, g)
    return value, total


@jit()
def _squared_chunk(X, y, s, w, b, lo, hi, block, z, h, g):
    r, weights = np.empty(block), np.empty(block)
    value, total = 0.0, 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = z[start:stop]
        _dot_rows(X, w, start, stop, part)
        for i in range(part.shape[0]):
            part[i] += b
        _take_weights(s, start, stop, weights)
        found = _squared_block(y[start:stop], weights, part, h[start:stop], r)
        value += found[0]
        total += found[1]
        _add_rows(X, r, start, stop, g)
    return value, total


@jit()
def _softmax_chunk(X, y, s, w, b, reference, lo, hi, block, z, P, g, total):
    r, weights = np.empty((block, b.shape[0])), np.empty(block)
    value = 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        part = z[start:stop]
        _dot_rows_k(X, w, start, stop, part)
        for i in range(part.shape[0]):
            for k in range(b.shape[0]):
                part[i, k] += b[k]
        _take_weights(s, start, stop, weights)
        value += _softmax_block(y[start:stop], weights, part, P[start:stop], r, reference)
        for i in range(part.shape[0]):
            for k in range(b.shape[0]):
                total[k] += r[i, k]
        _add_rows_k(X, r, start, stop, g)
    return value


@jit()
def _moments_chunk(X, s, shift, lo, hi, block, first, second, top):
    weights = np.empty(block)
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        _take_weights(s, start, stop, weights)
        _moment_rows(X, weights, shift, start, stop, first, second, top)


@jit()
def _diagonal_chunk(X, h, mean, inverse, lo, hi, out, first):
    _diagonal_rows(X, h, mean, inverse, lo, hi, out, first)


@jit()
def _fill_chunk(X, h, sign, mean, inverse, lo, hi, first, A):
    """Write sqrt(|h_i|) ((x_i - mean) inverse, 1) to row i - first of A for lo <= i < hi."""
    d = X.shape[1]
    for i in range(lo, hi):
        root = np.sqrt(sign * h[i])
        row = A[i - first]
        for j in range(d):
            row[j] = root * ((X[i, j] - mean[j]) * inverse[j])
        row[d] = root


@jit()
def _logistic_rows_chunk(y, s, z, lo, hi, block, h, r):
    weights = np.empty(block)
    value = 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        _take_weights(s, start, stop, weights)
        value += _logistic_block(y[start:stop], weights, z[start:stop], h[start:stop], r[start:stop])[0]
    return value


@jit()
def _softmax_rows_chunk(y, s, z, reference, lo, hi, block, P, r):
    weights = np.empty(block)
    value = 0.0
    for start in range(lo, hi, block):
        stop = min(start + block, hi)
        _take_weights(s, start, stop, weights)
        value += _softmax_block(y[start:stop], weights, z[start:stop], P[start:stop], r[start:stop], reference)
    return value


# ---------------------------------------------------------------------- the kernels


def _read_only(a):
    """Return a read-only view: read-only is another type to Numba, so that one type serves all callers."""
    view = a.view()
    view.flags.writeable = False
    return view


def _doubles(*arrays):
    """Return the arrays as read-only C-ordered float64."""
    return tuple(_read_only(np.ascontiguousarray(a, dtype=np.float64)) for a in arrays)


class _Pass:
    """How one pass over X is cut: chunks for the threads, blocks for the cache.

    Attributes
    ----------
    storage : array or (data, indices, indptr)
        What the compiled functions take for X.
    chunks : list of (start, stop)
        By the shape of X alone.
    block : int
        Rows of a block.
    """

    def __init__(self, X, n_outputs=1):
        n, d = X.shape
        entries = reference.cost_of(X)
        self.is_csr = hasattr(X, "indptr")
        most = MAX_CHUNKS
        if self.is_csr:
            # A slot has K d numbers to clear and to add: all slots together at most a quarter of the entries.
            most = min(most, max(2, entries // (4 * n_outputs * d)))
            self.storage = tuple(_read_only(a) for a in (X.data, X.indices, X.indptr))
            self.block = 256
        else:
            self.storage = _read_only(X)
            in_c = not X.flags.f_contiguous
            self.block = min(256, max(8, L1_BYTES // (d * X.itemsize))) if in_c else 512
        count = max(1, min(most, entries // CHUNK_ENTRIES, n))
        edges = [n * k // count for k in range(count + 1)]
        self.chunks = list(zip(edges[:-1], edges[1:], strict=True))

    def slots(self, *shape):
        """Return zeros of the given shape for each chunk, each slot on cache lines of its own."""
        size = int(np.prod(shape))
        padded = -(-size // 16) * 16  # 16 doubles are 128 bytes, two lines: prefetchers fetch them in pairs
        flat = np.zeros((len(self.chunks), padded))
        return flat[:, :size].reshape(len(self.chunks), *shape), flat

    def run(self, kernel):
        """Call kernel(number, start, stop) for each chunk over the threads and return the results in order."""
        found = [None] * len(self.chunks)

        def task(number):
            found[number] = kernel(number, *self.chunks[number])

        run(task, len(self.chunks))
        return found

    def weights(self, w):
        """Return (K, d) weights as the storage wants them: read-only, (d, K) for CSR."""
        return _doubles(w.T if self.is_csr else w)[0]

    def gradient_slots(self, K, d):
        """Return slots for (K, d) gradients as the storage wants them."""
        return self.slots(*((d, K) if self.is_csr else (K, d)))[0]

    def gradient(self, slots):
        """Return the sum of the slots as (K, d)."""
        total = slots.sum(axis=0)
        return total.T if self.is_csr else total


def linear(X, w, b):
    """Return z = X w' + b, shape (n,) or (n, K)."""
    plan = _Pass(X, 1 if w.ndim == 1 else w.shape[0])
    if w.ndim == 1:
        z, (w,), b = np.empty(X.shape[0]), _doubles(w), float(b)
        plan.run(lambda k, lo, hi: _linear_chunk(plan.storage, w, b, lo, hi, plan.block, z))
        return z
    z, (b,), w = np.empty((X.shape[0], w.shape[0])), _doubles(b), plan.weights(w)
    plan.run(lambda k, lo, hi: _linear_chunk_k(plan.storage, w, b, lo, hi, plan.block, z))
    return z


def transposed(X, r):
    """Return (X' r, sum of r over rows), shapes (d,) and () or (K, d) and (K,)."""
    (r,) = _doubles(r)
    if r.ndim == 1:
        plan = _Pass(X)
        g, _ = plan.slots(X.shape[1])
        totals = plan.run(lambda k, lo, hi: _transposed_chunk(plan.storage, r, lo, hi, plan.block, g[k]))
        return g.sum(axis=0), np.float64(sum(totals))
    plan = _Pass(X, r.shape[1])
    g = plan.gradient_slots(r.shape[1], X.shape[1])
    plan.run(lambda k, lo, hi: _transposed_chunk_k(plan.storage, r, lo, hi, plan.block, g[k]))
    return plan.gradient(g), r.sum(axis=0)


def normal_mv(X, h, v, v0):
    """Return (X' u, sum u) with u = h * (X v + v0), one output."""
    plan = _Pass(X)
    g, _ = plan.slots(X.shape[1])
    (h, v), v0 = _doubles(h, v), float(v0)
    totals = plan.run(lambda k, lo, hi: _normal_mv_chunk(plan.storage, h, v, v0, lo, hi, plan.block, g[k]))
    return g.sum(axis=0), np.float64(sum(totals))


def softmax_normal_mv(X, P, s, v, v0):
    """Return (X' U, sum U) with U = softmax_curv_mv(P, s, X v' + v0), K outputs."""
    K = v.shape[0]
    plan = _Pass(X, K)
    g, (total, _) = plan.gradient_slots(K, X.shape[1]), plan.slots(K)
    (P, s, v0), v = _doubles(P, s, v0), plan.weights(v)
    plan.run(
        lambda k, lo, hi: _softmax_normal_mv_chunk(plan.storage, P, s, v, v0, lo, hi, plan.block, g[k], total[k])
    )
    return plan.gradient(g), total.sum(axis=0)


def _fused(chunk, X, y, s, w, b):
    plan = _Pass(X)
    g, _ = plan.slots(X.shape[1])
    z, h = np.empty(X.shape[0]), np.empty(X.shape[0])
    (y, s, w), b = _doubles(y, s, w), float(b)
    found = plan.run(lambda k, lo, hi: chunk(plan.storage, y, s, w, b, lo, hi, plan.block, z, h, g[k]))
    return sum(f[0] for f in found), z, h, g.sum(axis=0), np.float64(sum(f[1] for f in found))


def logistic_linear(X, y, s, w, b):
    """Return (value, z, h, X' r, sum r) of the logistic loss of z = X w + b, in one pass."""
    return _fused(_logistic_chunk, X, y, s, w, b)


def squared_linear(X, y, s, w, b):
    """Return (value, z, h, X' r, sum r) of the squared loss of z = X w + b, in one pass."""
    return _fused(_squared_chunk, X, y, s, w, b)


def softmax_linear(X, y, s, w, b, reference):
    """Return (value, z, P, X' r, sum r) of the softmax loss of z = X w' + b, in one pass."""
    K, (n, d) = b.shape[0], X.shape
    w, b = w.reshape(K, d), b
    plan = _Pass(X, K)
    g, (total, _) = plan.gradient_slots(K, d), plan.slots(K)
    z, P = np.empty((n, K)), np.empty((n, K))
    (y, s, b), w = _doubles(y, s, b), plan.weights(w)
    found = plan.run(
        lambda k, lo, hi: _softmax_chunk(
            plan.storage, y, s, w, b, reference, lo, hi, plan.block, z, P, g[k], total[k]
        )
    )
    return sum(found), z, P, plan.gradient(g), total.sum(axis=0)


def moments(X, s, centre):
    """Return the weighted mean and spread of the columns, each (d,), in one pass; see `reference.moments`.

    The columns are shifted but not divided; where squares could leave the range of doubles the reference is used.
    """
    n, d = X.shape
    plan = _Pass(X)
    shift = np.zeros(d)
    if centre and not plan.is_csr:
        heaviest = int(np.argmax(s)) if s.shape[0] == n else 0
        shift = X[heaviest].astype(np.float64)
    first, second, top = (plan.slots(d)[0] for _ in range(3))
    s_all, shift_all = _doubles(s, shift)
    plan.run(
        lambda k, lo, hi: _moments_chunk(
            plan.storage, s_all, shift_all, lo, hi, plan.block, first[k], second[k], top[k]
        )
    )
    largest = top.max(axis=0)
    safe = (largest == 0.0) | ((largest > 1e-140) & (largest < 1e140))
    if not (safe.all() and np.isfinite(second).all()):
        return reference.moments(X, s, centre)
    return reference.finish_moments(shift, np.ones(d), first.sum(axis=0), second.sum(axis=0), centre)


def diagonal(X, h, mean, scale):
    """Return (sum_i h_ik x~_ij^2, sum_i h_ik) for h of shape (n, K): shapes (K, d) and (K,), in one pass."""
    K, d = h.shape[1], X.shape[1]
    plan = _Pass(X, 2 * K)
    out, first = plan.slots(K, d)[0], plan.slots(K, d if plan.is_csr else 1)[0]
    h, mean, inverse = _doubles(h, mean, 1.0 / scale)
    plan.run(lambda k, lo, hi: _diagonal_chunk(plan.storage, h, mean, inverse, lo, hi, out[k], first[k]))
    squares, totals = out.sum(axis=0), h.sum(axis=0)
    if plan.is_csr:
        ratio = mean * inverse
        squares = squares - 2.0 * ratio * first.sum(axis=0) + ratio**2 * totals[:, None]
        squares = np.where(squares > 0.0, squares, 0.0)
    return squares, totals


def gram(X, h, mean, scale, blocks=None):
    """Return the weighted Gram matrix of the standardised columns and their weighted sum; see `reference.gram`.

    The standardised and weighted rows of a few megabytes are written by the threads, with sqrt(h) as one more
    column, and one symmetric product by BLAS (outside the threads) yields matrix and sum together.
    """
    lowest, highest = float(h.min()), float(h.max())
    if hasattr(X, "indptr") or lowest < 0.0 < highest:
        return reference.gram(X, h, mean, scale, blocks)
    sign = -1.0 if lowest < 0.0 else 1.0
    d, storage = X.shape[1], _read_only(X)
    h, mean, inverse = _doubles(h, mean, 1.0 / scale)
    G = np.zeros((d + 1, d + 1))
    buffer = None
    for start, stop in reference.row_ranges(X, blocks):
        rows = stop - start
        if buffer is None or buffer.shape[0] < rows:
            buffer = np.empty((rows, d + 1))
        A = buffer[:rows]
        count = max(1, min(MAX_CHUNKS, rows * d // CHUNK_ENTRIES))
        edges = [start + rows * k // count for k in range(count + 1)]
        run(lambda k: _fill_chunk(storage, h, sign, mean, inverse, edges[k], edges[k + 1], start, A), count)
        G += A.T @ A
    return sign * G[:d, :d], sign * G[:d, d]


def logistic_rows(y, z, s):
    """Return (sum s l, s l', s l'') of the logistic loss; see `reference.logistic_rows`."""
    plan = _Pass(z[:, None])
    h, r = np.empty(z.shape[0]), np.empty(z.shape[0])
    y, s, z = _doubles(y, s, z)
    found = plan.run(lambda k, lo, hi: _logistic_rows_chunk(y, s, z, lo, hi, plan.block, h, r))
    return sum(found), r, h


def softmax_rows(y, z, s, reference):
    """Return (sum s l, s dl/dz, P) of the softmax loss; see `reference.softmax_rows`."""
    plan = _Pass(z)
    P, r = np.empty(z.shape), np.empty(z.shape)
    y, s, z = _doubles(y, s, z)
    found = plan.run(lambda k, lo, hi: _softmax_rows_chunk(y, s, z, reference, lo, hi, plan.block, P, r))
    return sum(found), r, P

"""The kernels of `reference` on an NVIDIA device; same names, same meaning, arrays of CuPy in and out.

Three ways of running a pass, by the shape of X alone:

- one output, C order, up to `WIDEST` columns: one launch that reads X once (`cuda/rows.cu`);
- any other dense X: cuBLAS on chunks of rows in double precision, with the losses in kernels of our own;
- CSR: products of our own, X' r by a transposed copy that is made once for each matrix (`cuda/sparse.cu`).

Nothing here waits for the device but the value of a loss, the signs in `gram` and the ranges in `moments`. Partial sums
lie in slots whose number follows from the shape of X and are added in order: no atomics, the same bits in every run.
"""

from __future__ import annotations

import threading
import weakref

import cupy
import numpy as np

from . import reference
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

#: Threads of a block in every kernel: THREADS in cuda/common.cuh.
THREADS = 256
#: Entries of X a block of the fused pass works off at least, and most blocks: enough to fill any device ten times
#: over, so that the last ones to finish leave little of it idle.
BLOCK_ENTRIES, MAX_BLOCKS = 32_768, 4_096
#: Most columns that a lane keeps in registers, and most of the fused pass: those of 256 lanes.
PER_LANE, WIDEST = 16, 4_096
#: Bytes of a chunk of rows in double precision for cuBLAS. Small enough for the second-level cache of a large device,
#: so that the second product reads it from there; long enough that launches (about 5 us) do not count.
CHUNK_BYTES = 24 * 2**20
#: Entries of a CSR row or column that one group of lanes adds up at most.
PIECE = 4_096


def _doubles(a):
    """Return an array of CuPy in C-ordered float64; numbers become arrays without a dimension."""
    return cupy.ascontiguousarray(cupy.asarray(a, dtype=cupy.float64))


def _grid(count: int) -> tuple[int]:
    """Return the grid of a kernel whose threads walk over `count` items."""
    return (int(min(max(1, -(-count // THREADS)), MAX_BLOCKS)),)


def _one_weight(s) -> np.int32:
    return np.int32(s.shape[0] == 1)


def _power_of_two(count: int, most: int = 32) -> int:
    """Return the least power of two that is not below `count`, at most `most`."""
    return min(most, 1 << max(0, count - 1).bit_length())


def _added(partial):
    """Return the sums of the rows of (m, slots), shape (m,), in the order of the slots."""
    m, slots = partial.shape
    out = cupy.empty(m, dtype=cupy.float64)
    kernel("sample", "add_partials", L=32)((m,), (THREADS,), (partial, np.int64(slots), out))
    return out


# ---------------------------------------------------------------------- one output, C order: one read of X


class _Rows:
    """How the fused pass over a dense X in C order is cut, or None of it where `fits` is false."""

    def __init__(self, X):
        n, d = X.shape
        itemsize, stride = X.dtype.itemsize, X.strides[0]
        aligned = 16 // itemsize
        while aligned > 1 and (d % aligned or stride % (aligned * itemsize) or X.data.ptr % (aligned * itemsize)):
            aligned //= 2
        lanes = _power_of_two(-(-d // aligned))
        team = 1 if d <= 32 * PER_LANE else THREADS // 32
        packs = -(-d // (aligned * lanes * team))
        batch = min(lanes, 8 if packs * aligned <= 4 else 4 if packs * aligned * itemsize <= 64 else 2)
        self.X, self.n, self.d, self.stride = X, n, d, stride // itemsize
        name = "float" if itemsize == 4 else "double"
        self.constants = {"T": name, "V": aligned, "C": packs, "R": batch, "L": lanes, "TEAM": team}
        self.blocks = int(max(1, min(MAX_BLOCKS, n * d // BLOCK_ENTRIES)))
        groups = THREADS // (lanes * team)
        self.shared = 8 * max(groups * (d + 2), 2 * (THREADS // 32) * batch)

    @staticmethod
    def fits(X) -> bool:
        """Return whether X is dense, in C order (columns without gaps) and narrow enough."""
        if hasattr(X, "indptr") or not 0 < X.shape[1] <= WIDEST or not X.shape[0]:
            return False
        return X.shape[1] == 1 or (X.strides[1] == X.dtype.itemsize and X.strides[0] >= X.shape[1] * X.dtype.itemsize)

    def launch(self, function, *arguments) -> None:
        """Launch a kernel of `cuda/rows.cu`, whose arguments begin with X, its stride, n and d."""
        head = (self.X, np.int64(self.stride), np.int64(self.n), np.int32(self.d))
        kernel("rows", function, **self.constants)(
            (self.blocks,), (THREADS,), (*head, *arguments), shared_mem=self.shared
        )

    def slots(self):
        """Return memory for the partial sums of the gradient, the slopes and the value."""
        return cupy.empty((self.d + 2, self.blocks), dtype=cupy.float64)


def _fused_rows(function, X, y, s, w, b):
    plan = _Rows(X)
    z, h, partial = cupy.empty(plan.n), cupy.empty(plan.n), plan.slots()
    y, s, w, b = _doubles(y), _doubles(s), _doubles(w), _doubles(b)
    plan.launch(function, y, s, _one_weight(s), w, b, z, h, partial)
    sums = _added(partial)
    return sums[plan.d + 1], z, h, sums[: plan.d], sums[plan.d]


# ---------------------------------------------------------------------- any other X: chunks of products


class _Dense:
    """Products with a dense X by cuBLAS, on chunks of rows in double precision."""

    def __init__(self, X):
        self.X = X
        n, d = X.shape
        rows = int(max(1, CHUNK_BYTES // (8 * max(1, d))))
        self.chunks = [(k, min(k + rows, n)) for k in range(0, n, rows)]

    def doubles(self, start, stop):
        """Return rows of X in float64: a view where they are, else a copy of the chunk."""
        return self.X[start:stop, :].astype(cupy.float64, copy=False)

    def passes(self, K, d, rows_of):
        """Return (X' r, sum r), shapes (K, d) and (K,), with r = rows_of(chunk, start, stop) of shape (rows, K)."""
        g, total = cupy.zeros((K, d)), cupy.zeros(K)
        for start, stop in self.chunks:
            chunk = self.doubles(start, stop)
            r = rows_of(chunk, start, stop)
            g += r.T @ chunk
            total += r.sum(axis=0)
        return g, total

    @staticmethod
    def forward(chunk, w, b):
        """Return chunk w' + b for w of shape (K, d)."""
        return chunk @ w.T + b


class _Sparse:
    """Products with a CSR matrix; the whole of it is one chunk."""

    def __init__(self, X):
        self.X = X
        self.chunks = [(0, X.shape[0])]
        self.rows = _Pieces(X.data, X.indices, X.indptr, whole=True)

    def passes(self, K, d, rows_of):
        """Return (X' r, sum r), shapes (K, d) and (K,)."""
        r = rows_of(self, 0, self.X.shape[0])
        return _transposed_pieces(self.X).product(r).T, r.sum(axis=0)

    @staticmethod
    def forward(chunk, w, b):
        """Return X w' + b for w of shape (K, d)."""
        return chunk.rows.product(w.T, b)


class _Pieces:
    """The rows of a CSR matrix, cut into pieces of at most `PIECE` entries unless `whole`."""

    def __init__(self, data, indices, indptr, whole=False):
        self.data, self.indices = data, indices
        edges = indptr.astype(cupy.int64)
        if whole:
            self.edges, self.first = edges, None
        else:
            lengths = edges[1:] - edges[:-1]
            counts = cupy.maximum(-(-lengths // PIECE), 1)
            self.first = cupy.concatenate([cupy.zeros(1, dtype=cupy.int64), cupy.cumsum(counts)])
            total = int(self.first[-1])
            if total == counts.shape[0]:
                self.edges, self.first = edges, None
            else:
                number = cupy.arange(total)
                self.owner = cupy.searchsorted(self.first, number, side="right") - 1
                starts = edges[self.owner] + PIECE * (number - self.first[self.owner])
                self.edges = cupy.concatenate([starts, edges[-1:]])
        self.count = int(self.edges.shape[0]) - 1
        self.constants = {
            "T": "float" if data.dtype.itemsize == 4 else "double",
            "INT": "int" if indices.dtype.itemsize == 4 else "long long",
        }

    def product(self, x, constant=None, unit=None):
        """Return the matrix times x, (columns, K), plus `constant`, (K,); entries scaled by 1 / unit and squared."""
        x = _doubles(x)
        K = x.shape[1]
        out = cupy.empty((self.count, K), dtype=cupy.float64)
        constant = None if constant is None else _doubles(constant)
        head = (self.data, self.indices, self.edges, np.int64(self.count), x)
        if unit is not None:
            unit = unit if self.first is None else unit[self.owner]
            arguments, name, lanes = (*head, np.int32(K), unit, out), "squared_product_k", _power_of_two(K)
        elif K == 1:
            mean = int(self.data.shape[0]) // max(1, self.count)
            arguments, name, lanes = (*head, constant, out), "product", _power_of_two(max(1, mean // 2))
        else:
            arguments, name, lanes = (*head, np.int32(K), constant, out), "product_k", _power_of_two(K)
        kernel("sparse", name, L=lanes, **self.constants)(_grid(self.count * lanes), (THREADS,), arguments)
        if self.first is None:
            return out
        columns = int(self.first.shape[0]) - 1
        joined = cupy.empty((columns, K), dtype=cupy.float64)
        arguments = (out, self.first, np.int64(columns), np.int32(K), joined)
        kernel("sparse", "join_pieces", L=32, **self.constants)(_grid(columns * K), (THREADS,), arguments)
        return joined


_transposes: dict[int, tuple[weakref.ref, _Pieces]] = {}
_transposes_lock = threading.Lock()


def _transposed_pieces(X) -> _Pieces:
    """Return X' in CSR form, made once for each matrix and dropped with it."""
    key = id(X)
    with _transposes_lock:
        found = _transposes.get(key)
        if found is not None and found[0]() is X:
            return found[1]
        columns = X.tocsc()
        pieces = _Pieces(columns.data, columns.indices, columns.indptr)
        _transposes[key] = (weakref.ref(X, lambda _: _transposes.pop(key, None)), pieces)
        return pieces


def _products(X):
    return _Sparse(X) if hasattr(X, "indptr") else _Dense(X)


def _as_two(a):
    """Return (n, 1) for (n,), and (n, K) as it is, in float64."""
    a = _doubles(a)
    return a[:, None] if a.ndim == 1 else a


def _part(s, start, stop):
    return s if s.shape[0] == 1 else s[start:stop]


def _fused(rows, X, y, s, w, b):
    """Return what a fused kernel does by products and `rows`, for w of shape (K, d)."""
    plan, (n, d), K = _products(X), X.shape, w.shape[0]
    y, s, w, b = _doubles(y), _doubles(s), _doubles(w), _doubles(b).reshape(K)
    z, curv, values = cupy.empty((n, K)), cupy.empty((n, K)), []

    def rows_of(chunk, start, stop):
        z[start:stop] = plan.forward(chunk, w, b)
        value, r = rows(y[start:stop], z[start:stop], _part(s, start, stop), curv[start:stop])
        values.append(value)
        return r

    g, total = plan.passes(K, d, rows_of)
    return cupy.concatenate(values).sum(), z, curv, g, total


# ---------------------------------------------------------------------- products


def linear(X, w, b):
    """Return z = X w' + b, shape (n,) or (n, K)."""
    n = X.shape[0]
    if w.ndim == 1 and _Rows.fits(X):
        z = cupy.empty(n)
        _Rows(X).launch("linear_rows", _doubles(w), _doubles(b), z)
        return z
    plan, W = _products(X), _doubles(w).reshape(-1, X.shape[1])
    b, z = _doubles(b).reshape(W.shape[0]), cupy.empty((n, W.shape[0]))
    for start, stop in plan.chunks:
        z[start:stop] = plan.forward(plan if hasattr(X, "indptr") else plan.doubles(start, stop), W, b)
    return z[:, 0] if w.ndim == 1 else z


def transposed(X, r):
    """Return (X' r, sum of r over rows), shapes (d,) and () or (K, d) and (K,)."""
    if r.ndim == 1 and _Rows.fits(X):
        plan = _Rows(X)
        partial = plan.slots()
        plan.launch("transposed_rows", _doubles(r), partial)
        sums = _added(partial)
        return sums[: plan.d], sums[plan.d]
    two = _as_two(r)
    g, total = _products(X).passes(two.shape[1], X.shape[1], lambda chunk, start, stop: two[start:stop])
    return (g[0], total[0]) if r.ndim == 1 else (g, total)


def normal_mv(X, h, v, v0):
    """Return (X' u, sum u) with u = h * (X v + v0), one output."""
    if _Rows.fits(X):
        plan = _Rows(X)
        partial = plan.slots()
        plan.launch("normal_rows", _doubles(h), _doubles(v), _doubles(v0), partial)
        sums = _added(partial)
        return sums[: plan.d], sums[plan.d]
    plan, h = _products(X), _as_two(h)
    V, v0 = _doubles(v)[None, :], _doubles(v0).reshape(1)
    g, total = plan.passes(1, X.shape[1], lambda chunk, a, b: h[a:b] * plan.forward(chunk, V, v0))
    return g[0], total[0]


def softmax_normal_mv(X, P, s, v, v0):
    """Return (X' U, sum U) with U = softmax_curv_mv(P, s, X v' + v0), K outputs."""
    plan, v, v0 = _products(X), _doubles(v), _doubles(v0)
    P, s = _doubles(P), _doubles(s)

    def rows_of(chunk, a, b):
        return softmax_curv_mv(P[a:b], _part(s, a, b), plan.forward(chunk, v, v0))

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
    if _Rows.fits(X):
        return _fused_rows(f"{loss}_rows", X, y, s, w, b)

    def rows(y, z, s, h):
        value, r = _sample(loss, y, z[:, 0], s, h[:, 0])
        return value, r[:, None]

    value, z, h, g, total = _fused(rows, X, y, s, _doubles(w)[None, :], b)
    return value, z[:, 0], h[:, 0], g[0], total[0]


def softmax_linear(X, y, s, w, b, reference):
    """Return (value, z, P, X' r, sum r) of the softmax loss of z = X w' + b, in one pass."""
    value, *rest = outputs(X, y, s, w, b, reference)
    return float(value), *rest


def outputs(X, y, s, w, b, reference):
    """Return what `softmax_linear` returns, with the value still on the device."""
    w = w.reshape(b.shape[0], X.shape[1])
    return _fused(lambda y, z, s, P: _softmax_sample(y, z, s, reference, P), X, y, s, w, b)


# ---------------------------------------------------------------------- matrices and moments


def gram(X, h, mean, scale, blocks=None):
    """Return the weighted Gram matrix of the standardised columns and their weighted sum; see `reference.gram`.

    Chunks of standardised and weighted rows, with sqrt(|h|) as one more column, are multiplied by cuBLAS.
    """
    h, mean, scale = _doubles(h), _doubles(mean), _doubles(scale)
    lowest, highest = cupy.stack([h.min(), h.max()]).tolist()
    if lowest < 0.0 < highest:  # differences of two matrices of one sign each
        zero = cupy.zeros_like(h)
        G, g = gram(X, cupy.maximum(h, zero), mean, scale, blocks)
        H, k = gram(X, cupy.maximum(-h, zero), mean, scale, blocks)
        return G - H, g - k
    sign = -1.0 if lowest < 0.0 else 1.0
    d = X.shape[1]
    G = cupy.zeros((d + 1, d + 1))
    if hasattr(X, "indptr"):
        X, h = _sampled_rows(X, h, blocks)
        blocks = None
    rows = int(max(64, CHUNK_BYTES // (8 * (d + 1))))
    for start, stop in _merged(blocks, X.shape[0], rows):
        A = _standardised(X, start, stop, d + 1, h, mean, scale)
        G += A.T @ A
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
    columns = kernel("columns", "standardised", T="float" if itemsize == 4 else "double", ROWS_ARE_FAST=rows_are_fast)
    columns(_grid(A.size), (THREADS,), (*arguments, np.int32(squares), A))
    return A.T if rows_are_fast else A


def diagonal(X, h, mean, scale):
    """Return (sum_i h_ik x~_ij^2, sum_i h_ik) for h of shape (n, K): shapes (K, d) and (K,), in one pass."""
    h, mean, scale = _doubles(h), _doubles(mean), _doubles(scale)
    totals, d = h.sum(axis=0), X.shape[1]
    if hasattr(X, "indptr"):
        columns = _transposed_pieces(X)
        first = columns.product(h) / scale[:, None]
        squares = columns.product(h, unit=scale)
        return reference.centred_squares(squares, first, (mean / scale)[:, None], totals[None, :]).T, totals
    out = cupy.zeros((h.shape[1], d))
    for start, stop in _Dense(X).chunks:
        out += h[start:stop].T @ _standardised(X, start, stop, d, None, mean, scale, squares=True)
    return out, totals


def moments(X, s, centre):
    """Return weighted mean, spread and reach of the columns, each (d,), in one pass; see `reference.moments`.

    The columns are shifted but not divided; where squares could leave the range of doubles they are divided first.
    """
    n, d = X.shape
    s = _doubles(s)
    if hasattr(X, "indptr"):
        return _moments_sparse(X, s, centre)
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
    arguments = (X, *strides, np.int64(n), np.int32(d), s, _one_weight(s), shift, partial)
    columns = kernel("columns", "moments", T="float" if itemsize == 4 else "double", ROWS_ARE_FAST=rows_are_fast)
    columns((slots, wide), (THREADS,), arguments)
    sums = _added(partial[: 2 * d])
    return sums[:d], sums[d:], partial[2 * d :].max(axis=1)


def _moments_sparse(X, s, centre):
    """Return `moments` of CSR; the shift is zero, which the zeros of a sparse column make harmless."""
    n, d = X.shape
    weights = cupy.broadcast_to(s, (n,))
    columns = X.tocsc()
    sizes = abs(columns).max(axis=0).toarray().ravel() if n else cupy.zeros(d)
    top = sizes.astype(cupy.float64)
    unit = cupy.where(top > 0.0, top, cupy.ones_like(top))
    pieces = _transposed_pieces(X)
    two = cupy.ascontiguousarray(weights)[:, None]
    first = pieces.product(two)[:, 0] / unit
    second = pieces.product(two, unit=unit)[:, 0]
    return reference.finish_moments(cupy.zeros(d), unit, first, second, top / unit, centre)


# ---------------------------------------------------------------------- rows: losses in sample space


def _sample(loss, y, z, s, h):
    """Return (partial values, s l') of a loss of one output and write s l'' to h."""
    y, z, s = _doubles(y), _doubles(z), _doubles(s)
    n = z.shape[0]
    out = h if h.flags.c_contiguous else cupy.empty(n)
    r, grid = cupy.empty(n), _grid(n)
    partial = cupy.empty(grid[0], dtype=cupy.float64)
    arguments = (y, z, s, _one_weight(s), np.int64(n), r, out, partial)
    kernel("sample", f"{loss}_sample", L=32)(grid, (THREADS,), arguments)
    if out is not h:
        h[...] = out
    return partial, r


def _softmax_sample(y, z, s, reference, P):
    """Return (partial values, s dl/dz) of the softmax loss and write the probabilities to P."""
    y, z, s = _doubles(y), _doubles(z), _doubles(s)
    n, K = z.shape
    lanes = _power_of_two(-(-K // 2))
    r, grid = cupy.empty((n, K)), _grid(n * lanes)
    partial = cupy.empty(grid[0], dtype=cupy.float64)
    arguments = (y, z, s, _one_weight(s), np.int64(n), np.int32(K), np.int32(reference), r, P, partial)
    kernel("sample", "softmax_sample", L=lanes)(grid, (THREADS,), arguments)
    return partial, r


def logistic_rows(y, z, s):
    """Return (sum s l, s l', s l'') of the logistic loss; see `reference.logistic_rows`."""
    h = cupy.empty(z.shape[0])
    partial, r = _sample("logistic", y, z, s, h)
    return float(_added(partial[None, :])[0]), r, h


def squared_rows(y, z, s):
    """Return (sum s l, s l', s l'') of the squared loss; see `reference.squared_rows`."""
    h = cupy.empty(z.shape[0])
    partial, r = _sample("squared", y, z, s, h)
    return float(_added(partial[None, :])[0]), r, h


def softmax_rows(y, z, s, reference):
    """Return (sum s l, s dl/dz, P) of the softmax loss; see `reference.softmax_rows`."""
    P = cupy.empty(z.shape)
    partial, r = _softmax_sample(y, z, s, reference, P)
    return float(_added(partial[None, :])[0]), r, P


def softmax_curv_mv(P, s, U):
    """Return s (diag(P_i) - P_i P_i') U_i row by row, shape (n, K)."""
    P, s, U = _doubles(P), _doubles(s), _doubles(U)
    n, K = P.shape
    lanes = _power_of_two(-(-K // 2))
    out = cupy.empty((n, K))
    arguments = (P, s, _one_weight(s), U, np.int64(n), np.int32(K), out)
    kernel("sample", "softmax_curvature", L=lanes)(_grid(n * lanes), (THREADS,), arguments)
    return out

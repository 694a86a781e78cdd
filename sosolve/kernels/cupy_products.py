"""Products with a matrix on the device where no fused kernel is: cuBLAS on chunks of rows, and CSR of our own."""

from __future__ import annotations

import threading
import weakref

import cupy
import numpy as np

from .cupy_launch import THREADS, c_type, doubles, grid_of, power_of_two
from .device import kernel

#: Bytes of a chunk of rows in double precision for cuBLAS. Small enough for the second-level cache of a large device,
#: so that the second product reads it from there; long enough that launches (about 5 us) do not count.
CHUNK_BYTES = 24 * 2**20
#: Entries of a CSR row or column that one group of lanes adds up at most.
PIECE = 4_096


class Dense:
    """Products with a dense X by cuBLAS, on chunks of rows in double precision."""

    def __init__(self, X, K: int = 1):
        self.X = X
        n, d = X.shape
        rows = int(max(1, CHUNK_BYTES // (8 * max(1, d + (2 * K if K > 1 else 0)))))
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


class Sparse:
    """Products with a CSR matrix; the whole of it is one chunk."""

    def __init__(self, X):
        self.X = X
        self.chunks = [(0, X.shape[0])]
        self.rows = Pieces(X.data, X.indices, X.indptr, whole=True)

    def passes(self, K, d, rows_of):
        """Return (X' r, sum r), shapes (K, d) and (K,)."""
        r = rows_of(self, 0, self.X.shape[0])
        return transposed_pieces(self.X).product(r).T, r.sum(axis=0)

    def doubles(self, start, stop):
        """Return the one chunk: the products convert entry by entry."""
        return self

    @staticmethod
    def forward(chunk, w, b):
        """Return X w' + b for w of shape (K, d)."""
        return chunk.rows.product(w.T, b)


class Pieces:
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
            "T": c_type(data.dtype),
            "INT": "int" if indices.dtype.itemsize == 4 else "long long",
        }

    def product(self, x, constant=None, unit=None):
        """Return the matrix times x, (columns, K), plus `constant`, (K,); entries scaled by 1 / unit and squared."""
        x = doubles(x)
        K = x.shape[1]
        out = cupy.empty((self.count, K), dtype=cupy.float64)
        constant = None if constant is None else doubles(constant)
        head = (self.data, self.indices, self.edges, np.int64(self.count), x)
        if unit is not None:
            unit = unit if self.first is None else unit[self.owner]
            arguments, name, lanes = (*head, np.int32(K), unit, out), "squared_product_k", power_of_two(K)
        elif K == 1:
            mean = int(self.data.shape[0]) // max(1, self.count)
            arguments, name, lanes = (*head, constant, out), "product", power_of_two(max(1, mean // 2))
        else:
            arguments, name, lanes = (*head, np.int32(K), constant, out), "product_k", power_of_two(K)
        kernel("sparse", name, L=lanes, **self.constants)(grid_of(self.count * lanes), (THREADS,), arguments)
        return out if self.first is None else self._joined(out, K, False)

    def largest(self):
        """Return the largest absolute entry of each row, (columns,); 0 for an empty one."""
        mean = int(self.data.shape[0]) // max(1, self.count)
        out, lanes = cupy.empty((self.count, 1), dtype=cupy.float64), power_of_two(max(1, mean // 2))
        arguments = (self.data, self.edges, np.int64(self.count), out)
        kernel("sparse", "largest", L=lanes, **self.constants)(grid_of(self.count * lanes), (THREADS,), arguments)
        return (out if self.first is None else self._joined(out, 1, True))[:, 0]

    def _joined(self, out, K, largest):
        """Return the sums of the pieces of each row, or the largest of them."""
        columns = int(self.first.shape[0]) - 1
        joined = cupy.empty((columns, K), dtype=cupy.float64)
        arguments = (out, self.first, np.int64(columns), np.int32(K), np.int32(largest), joined)
        kernel("sparse", "join_pieces", L=32, **self.constants)(grid_of(columns * K), (THREADS,), arguments)
        return joined


_transposes: dict[int, tuple[weakref.ref, Pieces]] = {}
_transposes_lock = threading.Lock()


def transposed_pieces(X) -> Pieces:
    """Return X' in CSR form, made once for each matrix and dropped with it."""
    key = id(X)
    with _transposes_lock:
        found = _transposes.get(key)
        if found is not None and found[0]() is X:
            return found[1]
        columns = X.tocsc()
        pieces = Pieces(columns.data, columns.indices, columns.indptr)
        _transposes[key] = (weakref.ref(X, lambda _: _transposes.pop(key, None)), pieces)
        return pieces


def products(X, K: int = 1):
    return Sparse(X) if hasattr(X, "indptr") else Dense(X, K)

"""How one pass over X is cut: chunks for the threads, blocks for the cache, a slot for what each chunk adds up."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from . import reference
from .pool import run

#: Entries of X in one chunk at least (0.3 ms of work would be 1e6; handing a chunk over costs 2 us), and most chunks;
#: of a dense X as many, where their gradients would take a good part of its memory.
CHUNK_ENTRIES, MAX_CHUNKS, LEAST_CHUNKS = 65_536, 64, 8
#: Bytes of a block of rows in C order, and of what number of rows it is a multiple. Small enough that reading the next
#: block overlaps with the arithmetic on this one: 16 kB, which fits the first-level cache too, was a third slower in
#: the Hessian product. Ten rows leave the exponentials unvectorised: sixteen were a fifth faster in the evaluation.
L1_BYTES, L1_ROWS = 6_400, 16


def read_only(a):
    """Return a read-only view: read-only is another type to Numba, so that one type serves all callers."""
    view = a.view()
    view.flags.writeable = False
    return view


def doubles(*arrays):
    """Return the arrays as read-only C-ordered float64."""
    return tuple(read_only(np.ascontiguousarray(a, dtype=np.float64)) for a in arrays)


class Pass:
    """How one pass over X is cut: chunks for the threads, blocks for the cache.

    Attributes
    ----------
    storage : array or (data, indices, indptr)
        What the compiled functions take for X.
    chunks : list of (start, stop)
        By the shape of X alone, and the range of the rows.
    block : int
        Rows of a block.
    rows : (start, stop)
        Those that are read; all where None is given.
    """

    def __init__(self, X, n_outputs=1, rows=None):
        n, d = X.shape
        entries = reference.cost_of(X)
        self.is_csr = hasattr(X, "indptr")
        most = MAX_CHUNKS
        if self.is_csr:
            # A slot has K d numbers to clear and to add: all slots together at most a quarter of the entries.
            most = min(most, max(2, entries // (4 * n_outputs * d)))
            most -= most % 2  # three slots on two threads take as long as four
            self.storage = tuple(read_only(a) for a in (X.data, X.indices, X.indptr))
            self.block = 256
        else:
            # Slots of K d numbers again, at most a 32nd of the entries.
            most = min(most, max(LEAST_CHUNKS, entries // (32 * n_outputs * d)))
            self.storage = read_only(X)
            in_c = not X.flags.f_contiguous
            self.block = L1_ROWS * min(16, max(1, L1_BYTES // (L1_ROWS * d * X.itemsize))) if in_c else 512
        first, last = self.rows = (0, n) if rows is None else rows
        if rows is not None:  # few rows of many outputs are work for more than one thread
            most, entries = min(most, LEAST_CHUNKS // 2), n_outputs * (entries * (last - first) // n)
        count = max(1, min(most, entries // CHUNK_ENTRIES, last - first))
        self.chunks = list(pairwise(first + (last - first) * k // count for k in range(count + 1)))

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
        return doubles(w.T if self.is_csr else w)[0]

    def gradient_slots(self, K, d):
        """Return slots for (K, d) gradients as the storage wants them."""
        return self.slots(*((d, K) if self.is_csr else (K, d)))[0]

    def gradient(self, slots):
        """Return the sum of the slots as (K, d)."""
        total = slots.sum(axis=0)
        return total.T if self.is_csr else total

"""How a fused pass over a dense X is cut and launched: `Rows`, `Strips` and `Tiles`, and what all launches share.

The number of blocks, and with it the order of every sum, follows from the shape of X alone.
"""

from __future__ import annotations

import cupy
import numpy as np

from .device import kernel

#: Threads of a block in every kernel: THREADS in cuda/common.cuh.
THREADS = 256
#: Entries of X a block of the fused pass works off at least, and most blocks: enough to fill any device ten times
#: over, so that the last ones to finish leave little of it idle.
BLOCK_ENTRIES, MAX_BLOCKS = 32_768, 4_096
#: Warps of a block; most columns of `Strips`; most of a warp where two blocks share a multiprocessor; entries that a
#: lane keeps in registers then, twice as many of float32 where one block has the registers alone.
WARPS, WIDEST_STRIPS, FEW_COLUMNS, PER_STRIP = THREADS // 32, 256, 16, 32
#: Numbers in all slots together, where a slot is large.
MAX_SLOTS = 2**22
#: Most columns that a lane keeps in registers, and most of `Rows`: those of 256 lanes.
PER_LANE, WIDEST = 16, 4_096
#: Most outputs of `Tiles`, most sums that a thread keeps in registers, and bytes of shared memory that every device
#: gives a block, less what the kernels hold besides.
MOST_OUTPUTS, PER_THREAD, SHARED_BYTES = 16, 32, 47 * 1024


def doubles(a):
    """Return an array of CuPy in C-ordered float64; numbers become arrays without a dimension."""
    return cupy.ascontiguousarray(cupy.asarray(a, dtype=cupy.float64))


def grid_of(count: int) -> tuple[int]:
    """Return the grid of a kernel whose threads walk over `count` items."""
    return (int(min(max(1, -(-count // THREADS)), MAX_BLOCKS)),)


def blocks_of(X) -> int:
    """Return the blocks of a pass with few sums."""
    return int(max(1, min(MAX_BLOCKS, X.shape[0] * X.shape[1] // BLOCK_ENTRIES)))


def one_weight(s) -> np.int32:
    """Return the flag of weights that are the same for all rows."""
    return np.int32(s.shape[0] == 1)


def power_of_two(count: int, most: int = 32) -> int:
    """Return the least power of two that is not below `count`, at most `most`."""
    return min(most, 1 << max(0, count - 1).bit_length())


def c_type(dtype) -> str:
    """Return the name of a floating type in CUDA."""
    return "float" if dtype.itemsize == 4 else "double"


def added(partial):
    """Return the sums of the rows of (m, slots), shape (m,), in the order of the slots."""
    m, slots = partial.shape
    out = cupy.empty(m, dtype=cupy.float64)
    kernel("sample", "add_partials", L=32)((m,), (THREADS,), (partial, np.int64(slots), out))
    return out


def plan_for(X, K: int) -> Rows | Strips | Tiles | None:
    """Return how to run a fused pass over X for K outputs, None where no kernel of our own does."""
    if hasattr(X, "indptr") or not X.shape[0] or not X.shape[1]:
        return None
    for kind in (Rows, Strips) if K == 1 else ():
        if kind.fits(X):
            return kind(X)
    return Tiles(X, K) if Tiles.fits(X, K) else None


def pack_of(X, stride: int, length: int = 0) -> int:
    """Return how many entries one load of at most 16 bytes takes: it is aligned and ends with a row of `length`."""
    itemsize = X.dtype.itemsize
    entries = 16 // itemsize
    while entries > 1 and (length % entries or (X.data.ptr | stride) % (entries * itemsize)):
        entries //= 2
    return entries


class Plan:
    """What one fused pass over X takes: a file of `cuda/`, its constants, blocks, shared memory and the array."""

    source: str
    head: tuple
    constants: dict
    blocks: int
    shared: int

    def _launch(self, function, *arguments) -> None:
        run = kernel(self.source, function, **self.constants)
        run((self.blocks,), (THREADS,), (*self.head, *arguments), shared_mem=self.shared)


class Rows(Plan):
    """One output and X in C order, through `cuda/rows.cu`: rows live in registers."""

    source = "rows"

    def __init__(self, X):
        n, d = X.shape
        itemsize, stride = X.dtype.itemsize, X.strides[0]
        aligned = pack_of(X, stride, d)
        lanes = power_of_two(-(-d // aligned))
        team = 1 if d <= 32 * PER_LANE else THREADS // 32
        packs = -(-d // (aligned * lanes * team))
        held = packs * aligned * itemsize
        batch = min(lanes, 16 if held <= 8 else 8 if packs * aligned <= 4 else 4 if held <= 64 else 2)
        self.n, self.d = n, d
        self.head = (X, np.int64(stride // itemsize), np.int64(n), np.int32(d))
        self.constants = {"T": c_type(X.dtype), "V": aligned, "C": packs, "R": batch, "L": lanes, "TEAM": team}
        self.blocks = blocks_of(X)
        groups = THREADS // (lanes * team)
        self.shared = 8 * max(groups * (d + 2), 2 * (THREADS // 32) * batch)

    @staticmethod
    def fits(X) -> bool:
        """Return whether X is in C order (columns without gaps) and narrow enough."""
        d, itemsize = X.shape[1], X.dtype.itemsize
        return d <= WIDEST and (d == 1 or (X.strides[1] == itemsize and X.strides[0] >= d * itemsize))

    def _sums(self, function, *arguments):
        """Return (X' r, sum r, value) of a kernel that ends in partial sums, shapes (1, d), (1,) and ()."""
        partial = cupy.empty((self.d + 2, self.blocks), dtype=cupy.float64)
        self._launch(function, *arguments, partial)
        sums = added(partial)
        return sums[None, : self.d], sums[self.d : self.d + 1], sums[self.d + 1]

    def linear(self, w, b):
        """Return z, (n, 1)."""
        z = cupy.empty(self.n)
        self._launch("linear", doubles(w), doubles(b), z)
        return z[:, None]

    def transposed(self, r):
        """Return (X' r, sum r)."""
        return self._sums("transposed", doubles(r))[:2]

    def normal(self, h, s, w, b):
        """Return (X' u, sum u) with u = h * (X w + b)."""
        return self._sums("normal", doubles(h), doubles(w), doubles(b))[:2]

    def fused(self, loss, y, s, w, b, reference):
        """Return (value, z, curvature rows, X' r, sum r)."""
        z, h, s = cupy.empty((self.n, 1)), cupy.empty((self.n, 1)), doubles(s)
        g, total, value = self._sums(loss, doubles(y), s, one_weight(s), doubles(w), doubles(b), z, h)
        return value, z, h, g, total


class Strips(Rows):
    """One output and X in F order, through `cuda/strips.cu`: columns of some rows live in registers."""

    source = "strips"

    def __init__(self, X):
        (n, d), itemsize, stride = X.shape, X.dtype.itemsize, X.strides[1]
        columns = -(-d // WARPS)
        room = PER_STRIP * (2 if columns > FEW_COLUMNS and itemsize == 4 else 1) // columns
        rows = min(pack_of(X, stride), 1 << (room.bit_length() - 1))
        packs = max(1, min(4, 1 << ((room // rows).bit_length() - 1)))
        self.n, self.d, self.blocks = n, d, blocks_of(X)
        self.head = (X, np.int64(stride // itemsize), np.int64(n), np.int32(d))
        self.constants = {"T": c_type(X.dtype), "V": rows, "C": columns, "Q": packs}
        self.shared = 8 * (columns * WARPS + (WARPS + 1) * 32 * packs * rows)

    @staticmethod
    def fits(X) -> bool:
        """Return whether X is in F order (rows without gaps) and narrow enough."""
        return X.strides[0] == X.dtype.itemsize and X.shape[1] <= WIDEST_STRIPS


class Tiles(Plan):
    """Several outputs, or X in F order with more columns, through `cuda/tiles.cu`: rows live in shared memory."""

    source = "tiles"

    def __init__(self, X, K: int):
        n, d = X.shape
        itemsize = X.dtype.itemsize
        is_f = int(X.strides[0] == itemsize and n > 1 and d > 1)
        rows, shares = self._rows(d, K, itemsize), self._shares(d, K)
        self.n, self.d, self.K = n, d, K
        self.head = (X, np.int64(X.strides[1 if is_f else 0] // itemsize), np.int64(n), np.int32(d))
        self.constants = {
            "T": c_type(X.dtype),
            "K": K,
            "ROWS": rows,
            "COLUMNS": -(-(d + 1) // (THREADS // shares)),
            "SHARES": shares,
            "ROWS_ARE_FAST": is_f,
        }
        most = min(MAX_BLOCKS, max(1, MAX_SLOTS // (K * (d + 1))))
        self.blocks = int(max(1, min(most, n * d // BLOCK_ENTRIES)))
        self.shared = max(self._bytes(d, K, itemsize, rows), 8 * shares * K * (d + 1))

    @staticmethod
    def _bytes(d, K, itemsize, rows) -> int:
        return 8 * (d * K + 2 * rows * K) + itemsize * rows * ((d + 1) | 1)

    @classmethod
    def _rows(cls, d, K, itemsize) -> int:
        """Return the rows of a tile, 0 where not even half of them fit."""
        return next((rows for rows in (64, 32) if cls._bytes(d, K, itemsize, rows) <= SHARED_BYTES), 0)

    @staticmethod
    def _shares(d, K) -> int:
        """Return how many threads share the rows of a tile for the same columns.

        A slope that is read from shared memory then serves several columns, up to 4 where the registers suffice.
        """
        shares = 1
        while (
            (columns := -(-(d + 1) // (THREADS // (2 * shares)))) <= 4
            and (columns == 1 or (columns * K <= PER_THREAD and shares < WARPS))
            and 16 * shares * K * (d + 1) <= SHARED_BYTES
        ):
            shares *= 2
        return shares

    @classmethod
    def fits(cls, X, K: int) -> bool:
        """Return whether rows or columns of X have no gaps and a tile and its sums have room."""
        (n, d), itemsize = X.shape, X.dtype.itemsize
        plain = itemsize in X.strides or n == 1 or d == 1
        room = 8 * K * (d + 1) <= SHARED_BYTES and bool(cls._rows(d, K, itemsize))
        return plain and room and K <= MOST_OUTPUTS and -(-(d + 1) // THREADS) * K <= PER_THREAD

    def _sums(self, function, *arguments):
        """Return (X' r, sum r, value) of a kernel that ends in partial sums, shapes (K, d), (K,) and ()."""
        K, d = self.K, self.d
        partial = cupy.empty((K * (d + 1) + 1, self.blocks), dtype=cupy.float64)
        self._launch(function, *arguments, partial)
        sums = added(partial)
        table = sums[: K * (d + 1)].reshape(K, d + 1)
        return cupy.ascontiguousarray(table[:, :d]), cupy.ascontiguousarray(table[:, d]), sums[K * (d + 1)]

    def linear(self, w, b):
        """Return z, (n, K)."""
        z = cupy.empty((self.n, self.K))
        self._launch("linear", doubles(w), doubles(b), z)
        return z

    def transposed(self, r):
        """Return (X' r, sum r)."""
        return self._sums("transposed", doubles(r))[:2]

    def normal(self, a, s, w, b):
        """Return (X' u, sum u) with u = a * (X w + b), or the curvature of the softmax for probabilities a."""
        s = doubles(s)
        return self._sums("normal", doubles(a), s, one_weight(s), doubles(w), doubles(b))[:2]

    def fused(self, loss, y, s, w, b, reference):
        """Return (value, z, curvature rows, X' r, sum r); with several outputs the loss is the softmax loss."""
        z, curv, s = cupy.empty((self.n, self.K)), cupy.empty((self.n, self.K)), doubles(s)
        arguments = (doubles(y), s, one_weight(s), doubles(w), doubles(b), np.int32(reference), z, curv)
        g, total, value = self._sums(loss, *arguments)
        return value, z, curv, g, total

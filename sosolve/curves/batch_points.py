"""The points of many fits on an NVIDIA device, as columns for threads or as rows for warps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..kernels.streamed import to_device
from .batch_data import Ragged


class Points(NamedTuple):
    """The points of some fits on the device, as the kernels take them."""

    x: Any
    y: Any
    s: Any  # None: all weights are 1
    count: Any  # (fits,) int32; None: all fits have `rows`
    rows: np.int64  # points of the longest fit
    width: np.int64  # fits
    own_x: np.int32
    own_s: np.int32

    def taken(self, columns, team: int) -> Points:
        """Return the points of some fits."""
        import cupy

        def take(array):
            return cupy.take(array, columns, axis=1 if team == 1 else 0)

        return self._replace(
            x=take(self.x) if self.own_x else self.x,
            y=take(self.y),
            s=take(self.s) if self.own_s else self.s,
            count=None if self.count is None else cupy.take(self.count, columns),
            width=np.int64(columns.shape[0]),
        )


def spread(rows: np.ndarray, fits: int):
    """Return rows of shape (fits or 1, p) as an array on the device of shape (p, fits)."""
    import cupy

    columns = cupy.asarray(np.ascontiguousarray(rows.T))
    return cupy.ascontiguousarray(cupy.broadcast_to(columns, (rows.shape[1], fits)))


def loaded(points, lo: int, hi: int, team: int) -> Points:
    """Return the points of fits lo .. hi - 1 on the device."""
    import cupy

    x, y, s, count = points.values(lo, hi)
    fits, n, d = hi - lo, points.n, points.d
    ragged = isinstance(points, Ragged)
    there = np.arange(n) < count[:, None] if ragged else None

    def rows(flat, each: int = 1):
        if ragged:
            table = np.zeros((fits, n, each))
            table[there] = flat.reshape(-1, each)
            flat = table.reshape(-1)
        block = flat.reshape(fits, n * each)
        block = block if hasattr(block, "get") else to_device(block)
        return cupy.ascontiguousarray(block.T) if team == 1 else block

    own_s = points.weighted and s.shape[0] != n if not ragged else points.weighted
    return Points(
        x=cupy.asarray(x) if points.x_is_shared else rows(x, d),
        y=rows(y),
        s=(rows(s) if own_s else cupy.asarray(s)) if points.weighted else None,
        count=None if count is None or (count == n).all() else cupy.asarray(count.astype(np.int32)),
        rows=np.int64(n),
        width=np.int64(fits),
        own_x=np.int32(not points.x_is_shared),
        own_s=np.int32(own_s),
    )

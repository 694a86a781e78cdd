"""The rows that hold the bulk of a curvature: where a model is sure of most rows, these hardly bend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..protocols import Array
from .models import LinearModel

if TYPE_CHECKING:
    from .data_term import DataTerm

#: Rows that are sorted, and bytes of X that are read in the time that going to another row takes: measured with rows of
#: 4 and of 16 kB.
SORTED, JUMP = 10_000, 2_000
#: Share of the time of a whole pass up to which one over the bulk pays.
WORTH = 0.9


class Bulk:
    """Products with the curvature of some of the rows, of a linear model and a loss of one output.

    Parameters
    ----------
    term : DataTerm
    rows : ndarray of int, shape (m,)
    h : ndarray of shape (m,)
        The curvature of the loss there.
    """

    def __init__(self, term: DataTerm, rows: Any, h: Any):
        self._term, self._rows, self._h = term, rows, h
        self._read = term.model.n_rows // 2  # rows that no counted pass holds yet: the count is rounded

    def mv(self, v: Array) -> Array:
        """Return J' H J v, shape (p,), for m / n of a pass."""
        model = self._term.model
        self._term.count_product()
        product = model.normal_mv("normal_mv_of", (self._rows, self._h), v)
        passes, self._read = divmod(self._read + len(self._rows), model.n_rows)
        model.counts.n_passes += passes - 1
        return product


def bulk_of(term: DataTerm, h: Any, share: float) -> Bulk | None:
    """Return the curvature without the rows of least h, which hold about the share of its sum, None if it saves little.

    The Newton step on a subset of the rows of Byrd, Chin, Neveitt and Nocedal (2011), algorithm 2.1. Deviation: the
    subset is not random but those rows that bend most, so that the curvature left out is known.

    Parameters
    ----------
    term : DataTerm
    h : Array of shape (n,)
        The curvature of the loss by rows.
    share : float
        In [0, 1). Of many rows it is estimated from evenly spread ones.

    References
    ----------
    Byrd, Chin, Neveitt and Nocedal (2011). On the use of stochastic Hessian information in optimization methods for
    machine learning. SIAM J. Optim. 21(3), 977-995.
    """
    model, X = term.model, cast(Any, term.model.X)
    if type(model) is not LinearModel or h.ndim > 1 or not hasattr(model.kernels, "normal_mv_of"):
        return None
    if hasattr(X, "indptr") or X.flags.f_contiguous:
        return None  # rows are short, or not in one place
    sizes = np.sort(h[:: -(-len(h) // SORTED)])
    sums = np.cumsum(sizes, dtype=np.float64)
    left_out = int(np.searchsorted(sums, share * sums[-1], side="right"))
    relative = (1.0 - left_out / len(sizes)) * (1.0 + JUMP / (model.n_features * X.itemsize))
    if not (left_out < len(sizes) and relative < WORTH and h.min() >= 0.0):
        return None
    rows = np.flatnonzero(h >= sizes[left_out])
    return Bulk(term, rows, h[rows])

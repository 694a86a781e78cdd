"""Predictors a block of the rows after the other, for what needs them once: nothing of size n."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..protocols import Array

#: Predictors in a block: a dozen arrays of them stay in the second-level cache.
NUMBERS = 8_192


def row_ranges(model: Any) -> list[tuple[int, int] | None]:
    """Return ranges of the rows with `NUMBERS` predictors each; None, for all, where X is not in NumPy's memory."""
    n, rows = model.n_rows, max(1, NUMBERS // model.n_outputs)
    entries = model.X if isinstance(model.X, np.ndarray) else getattr(model.X, "data", None)
    if n <= rows or not isinstance(entries, np.ndarray):
        return [None]
    return [(start, min(start + rows, n)) for start in range(0, n, rows)]


def predictors(model: Any, theta: Array, known: Any = None) -> Iterator[tuple[tuple[int, int] | None, Any]]:
    """Yield ranges of the rows with their predictors, shape (m,) or (m, K), in one pass.

    Parameters
    ----------
    model : LinearModel
    theta : Array of shape (p,)
    known : Array of shape (n,) or (n, K), optional
        All of them, where they are at hand: then parts of it, and no pass.
    """
    for rows in row_ranges(model):
        yield rows, model.forward(theta, rows) if known is None else part(known, rows)


def part(a: Any, rows: tuple[int, int] | None) -> Any:
    """Return the rows of an array; itself where all are wanted, or it is the same for all."""
    return a if rows is None or a.shape[0] == 1 else a[rows[0] : rows[1], ...]

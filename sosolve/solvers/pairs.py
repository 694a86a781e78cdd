"""What successive gradients say about the curvature: pairs of a step and the change of the gradient along it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

from ..linalg import dot
from ..protocols import Array

#: (s, y, s'y): a step, the change of the gradient, their product, > 0.
Pair = tuple[Array, Array, float]


def two_loop(
    g: Array, pairs: tuple[Pair, ...], precond: Callable[[Array], Array] | None = None, scaled: bool = True
) -> Array:
    """Return B g for the inverse Hessian B that begins as M^-1 and agrees with the pairs.

    Parameters
    ----------
    g : Array of shape (p,)
    pairs : tuple of Pair
        Oldest first.
    precond : callable, optional
        v -> M^-1 v; the identity where None.
    scaled : bool, default=True
        Whether M^-1 is multiplied by s'y / y'M^-1 y of the last pair first.

    References
    ----------
    Nocedal and Wright (2006), algorithm 7.4 and equation 7.20.
    """
    inner: Callable = dot if type(g) is np.ndarray else operator.matmul  # on a device no scalar is waited for
    add: Callable = _add if type(g) is np.ndarray and g.dtype == np.float64 else _sum
    q, weights = g + 0.0 if add is _add else g, []
    for s, y, sy in reversed(pairs):
        weight = inner(s, q) / sy
        weights.append(weight)
        q = add(q, -weight, y)
    factor: Any = 1.0
    if scaled and pairs:
        _, y, sy = pairs[-1]
        factor = sy / inner(y, precond(y) if precond else y)
    q = factor * (precond(q) if precond else q)
    for (s, y, sy), weight in zip(pairs, reversed(weights), strict=True):
        q = add(q, weight - inner(y, q) / sy, s)
    return q


def _add(q: Any, weight: float, v: Any) -> Any:
    """Return q + weight v in the place of q: without temporaries, which cost as much as the products."""
    return scipy.linalg.blas.daxpy(v, q, a=weight)


def _sum(q: Any, weight: Any, v: Any) -> Any:
    """Return q + weight v in any array library."""
    return q + weight * v

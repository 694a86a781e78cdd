"""A linear model at one theta: what a data term asks of a model there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocols import Array
from .rough import Kronecker

if TYPE_CHECKING:
    from .models import LinearModel


class LinearMap:
    """A `LinearModel` at one theta: z and the products with its Jacobian J (for a linear model the same anywhere)."""

    def __init__(self, model: LinearModel, theta: Array):
        self.model, self.theta = model, theta

    def z(self) -> Array:
        """Return the predictors, shape (n,) or (n, K)."""
        return self.model.forward(self.theta)

    def jvp(self, v: Array) -> Array:
        """Return J v, same shape as z."""
        return self.model.forward(v)

    def vjp(self, r: Array) -> Array:
        """Return J' r, shape (p,)."""
        return self.model.backward(r)

    def gram(self, blocks, rows: float = 1.0) -> Array:
        """Return J' H J, shape (p, p), for H given by its blocks."""
        return self.model.gram(blocks, rows)

    def diagonal(self, h: Array) -> Array:
        """Return the diagonal of J' H J, shape (p,), for H given by its diagonal rows."""
        return self.model.diagonal(h)

    def rough_inverse(self, S: Array, weights: Array, rows: float, ridge: Array | None) -> Kronecker | None:
        """Return a rough inverse of J' H J + diag(ridge), for S the sum of H over the rows."""
        return self.model.rough_inverse(S, weights, rows, ridge)

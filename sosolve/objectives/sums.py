"""A sum of objectives is an objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from ..protocols import Array, Counts, Curvature, Objective, Point, Ray
from .lazy import lazy


class Sum:
    """The sum of objectives of the same parameters.

    Parameters
    ----------
    terms : sequence of Objective
        At least one, all of the same size.

    Raises
    ------
    ValueError
        If there are no terms or their sizes differ.
    """

    def __init__(self, terms: Sequence[Objective]):
        self.terms: tuple[Any, ...] = tuple(terms)
        sizes = {term.size for term in self.terms}
        if len(sizes) != 1:
            raise ValueError(
                f"received terms with {sorted(sizes)} parameters; a sum needs at least one term and the same number "
                "of parameters in all: build the terms for the same model"
            )

    @property
    def size(self) -> int:
        """p, the number of parameters."""
        return self.terms[0].size

    @property
    def counts(self) -> Counts:
        """The work of all terms."""
        return reduce(add, [term.counts for term in self.terms])

    def at(self, theta: Array) -> SumPoint:
        """Return the point at theta."""
        return SumPoint(theta, [term.at(theta) for term in self.terms])

    def closure(self, wanted: Array) -> Array:
        """Return the wanted parameters, booleans of shape (p,), and those which a term cannot separate from them."""
        return reduce(lambda mask, term: term.closure(mask), self.terms, wanted)

    def restricted(self, index: Array) -> Sum:
        """Return the sum as a function of some of the parameters, the others being zero."""
        return Sum([term.restricted(index) for term in self.terms])


class SumPoint:
    """The sum at one theta."""

    def __init__(self, theta: Array, parts: list[Point]):
        self.theta, self.parts = theta, parts

    @lazy
    def value(self) -> float:
        """Sum of the values."""
        total = 0.0
        for part in self.parts:
            total += part.value
        return total

    @lazy
    def grad(self) -> Array:
        """Sum of the gradients, shape (p,)."""
        return reduce(add, [part.grad for part in self.parts])

    @lazy
    def curvature(self) -> SumCurvature:
        """Sum of the curvatures."""
        return SumCurvature([part.curvature for part in self.parts])

    def drift(self, origin: SumPoint) -> float:
        """Return c >= 0 such that the curvature here is at least exp(-c) times that at `origin`; inf if unknown."""
        most = 0.0
        for part, old in zip(self.parts, origin.parts, strict=True):
            change = part.drift(old) if hasattr(part, "drift") else math.inf
            if not change < math.inf:
                return math.inf
            most = max(most, change)
        return most

    def carried(self, objective: Sum, theta: Array) -> SumPoint:
        """Return the point of a sum of the same rows at parameters with the same predictors."""
        pairs: Any = zip(self.parts, objective.terms, strict=True)
        return SumPoint(theta, [part.carried(term, theta) for part, term in pairs])

    def along(self, d: Array) -> SumRay:
        """Return the ray theta + t d."""
        return SumRay([part.along(d) for part in self.parts])


class SumCurvature:
    """The sum of curvatures at one theta."""

    def __init__(self, parts: list[Curvature]):
        self._parts = parts

    @property
    def exact(self) -> bool:
        """Whether all of them are the Hessian itself."""
        return all(part.exact for part in self._parts)

    def mv(self, v: Array) -> Array:
        """Return the sum of the products, shape (p,)."""
        return reduce(add, [part.mv(v) for part in self._parts])

    def diag(self) -> Array:
        """Return the sum of the diagonals, shape (p,)."""
        return reduce(add, [part.diag() for part in self._parts])

    def rough_inverse(self, rows: float = 0.0, ridge: Array | None = None) -> Callable[[Array], Array] | None:
        """Return v -> M^-1 v of the one part that has a rough inverse, the diagonals of the others added as a ridge.

        None where more than one part has, or none.
        """
        rough = [part for part in self._parts if hasattr(part, "rough_inverse")]
        if len(rough) != 1:
            return None
        diagonals = [part.diag() for part in self._parts if part is not rough[0]]
        diagonals += [] if ridge is None else [ridge]
        return rough[0].rough_inverse(rows, reduce(add, diagonals) if diagonals else None)

    def bulk(self, share: float) -> SumCurvature | None:
        """Return the sum with parts that leave out rows, None where none of them does."""
        found: list[Any] = [part.bulk(share) if hasattr(part, "bulk") else None for part in self._parts]
        pairs = zip(found, self._parts, strict=True)
        return SumCurvature([new or old for new, old in pairs]) if any(found) else None

    def dense(self, rows: float = 1.0) -> Array:
        """Return the sum of the matrices, shape (p, p)."""
        return self._total("dense", rows)

    def root(self) -> Any:
        """Return A with A' A what `lifted` returns, shape (m, p), None where a part has none."""
        found: list[Any] = [part.root() if hasattr(part, "root") else None for part in self._parts]
        return None if any(part is None for part in found) else np.concatenate(found)

    def lifted(self) -> Array:
        """Return the sum of the matrices, those that may be singular by construction lifted, see `DataCurvature`."""
        return self._total("lifted")

    def _total(self, name: str, *arguments: float) -> Array:
        """Return the sum of the matrices of the method of that name, or of `dense`; no diagonal is written out."""
        total: Any = None
        for part in self._parts:
            if total is not None and type(total) is np.ndarray and hasattr(part, "added_to"):
                total = part.added_to(total)
            else:
                H = getattr(part, name, part.dense)(*arguments)
                total = H if total is None else total + H
        return total


class SumRay:
    """The sum along theta + t d."""

    def __init__(self, parts: list[Ray]):
        self._parts = parts

    def __call__(self, t: float) -> tuple[float, float]:
        """Return the sums of values and slopes at t."""
        pairs = [part(t) for part in self._parts]
        return sum(value for value, _ in pairs), sum(slope for _, slope in pairs)

    def point(self, t: float) -> SumPoint:
        """Return the point at t."""
        parts = [part.point(t) for part in self._parts]
        return SumPoint(parts[0].theta, parts)

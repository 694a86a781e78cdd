"""Composite: a smooth objective plus a separable part that is not smooth."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ..protocols import Array, Counts, Objective, Point
from .penalties import Separable


class Composite:
    """smooth(theta) + penalty(theta) within the penalty's bounds.

    Its points have a `value` (of both parts) and a `grad`, the subgradient of least size, so that records and
    stopping tests read as for a smooth objective. Solvers for smooth objectives refuse them.

    Parameters
    ----------
    smooth : Objective
    penalty : Separable
        Of the same size.

    Raises
    ------
    ValueError
        If the sizes differ.
    """

    def __init__(self, smooth: Objective, penalty: Separable):
        if smooth.size != penalty.size:
            raise ValueError(
                f"received a smooth part with {smooth.size} parameters and a penalty with {penalty.size}; both must "
                "have the same number: build them for the same model"
            )
        self.smooth, self.penalty = smooth, penalty

    @property
    def size(self) -> int:
        """p, the number of parameters."""
        return self.smooth.size

    @property
    def counts(self) -> Counts:
        """The work of the smooth part."""
        return self.smooth.counts

    def at(self, theta: Array) -> CompositePoint:
        """Return the point at theta, which must be within the bounds."""
        return CompositePoint(self, self.smooth.at(theta))


class CompositePoint:
    """A `Composite` at one theta.

    Attributes
    ----------
    objective : Composite
    smooth : Point
        The smooth part.
    penalty : Separable
    """

    def __init__(self, objective: Composite, smooth: Point):
        self.objective, self.smooth, self.penalty = objective, smooth, objective.penalty

    @property
    def theta(self) -> Any:
        """The parameters, shape (p,)."""
        return self.smooth.theta

    @cached_property
    def value(self) -> float:
        """The sum of both parts."""
        return self.smooth.value + self.penalty.value(self.theta)

    @cached_property
    def grad(self) -> Array:
        """The subgradient of least size, shape (p,)."""
        return self.penalty.subgradient(self.theta, self.smooth.grad)

    def along(self, d: Any) -> CompositeRay:
        """Return the ray theta + t d, for 0 <= t <= 1 within the bounds."""
        return CompositeRay(self, d)

    def carried(self, objective: Composite, theta: Any) -> CompositePoint:
        """Return the point of an objective of the same rows at parameters with the same predictors, see `restricted`.

        That costs a pass less than `at`, the one that forms them.
        """
        smooth: Any = self.smooth
        return CompositePoint(objective, smooth.carried(objective.smooth, theta))

    def restricted(self, wanted: Any) -> tuple[Composite, Any]:
        """Return the objective as a function of some of the parameters, and their indices.

        Parameters
        ----------
        wanted : bool Array of shape (p,)
            True at least where theta is not zero. Parameters that belong to the same columns of the data join them.
        """
        smooth: Any = self.objective.smooth
        index = np.flatnonzero(smooth.closure(wanted))
        return Composite(smooth.restricted(index), self.penalty.restricted(index)), index


class CompositeRay:
    """A `Composite` along theta + t d."""

    def __init__(self, start: CompositePoint, d: Any):
        self._start, self._d = start, d
        self.smooth = start.smooth.along(d)

    def __call__(self, t: float) -> tuple[float, float]:
        """Return the value and the derivative towards larger t."""
        value, slope = self.smooth(t)
        theta, penalty = self._start.theta + t * self._d, self._start.penalty
        signs = np.where(theta != 0.0, np.sign(theta), np.sign(self._d))
        return value + penalty.value(theta), slope + float(penalty.strengths @ (signs * self._d))

    def point(self, t: float) -> CompositePoint:
        """Return the point at t."""
        return CompositePoint(self._start.objective, self.smooth.point(t))

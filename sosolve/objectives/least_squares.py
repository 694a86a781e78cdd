"""Least squares as an objective: residuals of a user's model, their Jacobian, and Gauss-Newton's curvature."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np

from ..protocols import Array, Counts, Objective, Point, PointwiseRay
from .derivatives import Differences
from .robust import RobustLoss, mad_scale

Residuals = Callable[[np.ndarray], np.ndarray]


class LeastSquares:
    """1/2 sum_i r_i(theta)^2, or f_scale^2 / 2 sum_i rho((r_i / f_scale)^2) with a robust loss.

    A residual or Jacobian that is not finite gives the value inf, never an error: solvers reject such a step.
    NumPy float64 only.

    Parameters
    ----------
    fun : callable
        theta of shape (p,) -> residuals of shape (m,), already divided by sigma or multiplied by the square roots
        of weights.
    size : int
        p, the number of parameters.
    jac : callable, optional
        theta -> Jacobian of shape (m, p); from differences of `fun` where None.
    fun_and_jac : callable, optional
        theta -> (residuals, Jacobian) in one evaluation; used where a point's Jacobian is asked for before its
        residual was.
    loss : str or RobustLoss, default="linear"
        "linear", "soft_l1", "huber", "cauchy" or "arctan".
    f_scale : float, optional
        Residual beyond which a robust loss takes hold, > 0, in the units of the residuals; 1.4826 times their
        median absolute deviation at the first point asked for where None.
    derivative : {"auto", "2-point", "3-point", "cs"}, default="auto"
        How Jacobians are made where `jac` is None, see `Differences`.
    lower, upper : ndarray of shape (p,), optional
        Box that differences must not leave.
    offset : ndarray of shape (m,), optional
        What `fun` subtracts from the model, for the rounding error of differences, see `Differences`.

    Attributes
    ----------
    counts : Counts
        n_value counts evaluations of the residuals, those for differences included; n_grad counts Jacobians.
    """

    def __init__(
        self,
        fun: Residuals,
        size: int,
        jac: Residuals | None = None,
        *,
        fun_and_jac: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None,
        loss: str | RobustLoss = "linear",
        f_scale: float | None = None,
        derivative: str = "auto",
        lower: np.ndarray | None = None,
        upper: np.ndarray | None = None,
        offset: np.ndarray | None = None,
    ):
        self.fun, self.size, self.jac, self.fun_and_jac = fun, size, jac, fun_and_jac
        self.loss = RobustLoss.named(loss, f_scale)
        self.differences = None
        if jac is None and fun_and_jac is None:
            self.differences = Differences(fun, derivative, lower=lower, upper=upper, offset=offset)
        self._counts = Counts()

    @property
    def counts(self) -> Counts:
        """The work done so far."""
        if self.differences is None:
            return self._counts
        return self._counts + Counts(n_value=self.differences.n_evaluations)

    def at(self, theta: np.ndarray) -> LeastSquaresPoint:
        """Return the point at theta."""
        return LeastSquaresPoint(self, theta)

    def residual(self, theta: np.ndarray) -> np.ndarray:
        """Return fun(theta) as a float64 array, shape (m,); counted."""
        self._counts.n_value += 1
        with np.errstate(all="ignore"):
            return np.asarray(self.fun(theta), dtype=np.float64)

    def jacobian(self, theta: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """Return the Jacobian at theta, shape (m, p); counted."""
        self._counts.n_grad += 1
        with np.errstate(all="ignore"):
            if self.differences is not None:
                return self.differences(theta, residual)
            if self.jac is not None:
                return np.asarray(self.jac(theta), dtype=np.float64)
            return np.asarray(self.fun_and_jac(theta)[1], dtype=np.float64)  # type: ignore[misc]

    def fused(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return residuals and Jacobian from one call of `fun_and_jac`; counted as one of each."""
        self._counts.n_value += 1
        self._counts.n_grad += 1
        with np.errstate(all="ignore"):
            residual, jac = self.fun_and_jac(theta)  # type: ignore[misc]
            return np.asarray(residual, dtype=np.float64), np.asarray(jac, dtype=np.float64)

    def in_unit(self, unit: float) -> LeastSquares:
        """Return the objective of the residuals divided by a unit, for plain squares; it shares the evaluations."""

        def both(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            point = self.at(theta)
            return point.raw_residual / unit, point.raw_jac / unit

        return LeastSquares(lambda theta: self.residual(theta) / unit, self.size, fun_and_jac=both)

    def scaled_loss(self, residual: np.ndarray) -> RobustLoss | None:
        """Return the robust loss, its scale fixed from these residuals if it has none yet; None for plain squares."""
        if self.loss is not None and self.loss.f_scale is None:
            self.loss = RobustLoss(self.loss.name, mad_scale(residual))
        return self.loss


class LeastSquaresPoint:
    """A `LeastSquares` at one theta; everything is evaluated when first asked for and kept.

    With a robust loss `residual` and `jac` are rescaled by observation so that jac'residual is the gradient and
    jac'jac Gauss-Newton's curvature (see `RobustLoss.root_weights`); `raw_residual` and `raw_jac` are the model's own.
    """

    __slots__ = (
        "_curvature",
        "_grad",
        "_jac",
        "_objective",
        "_raw_jac",
        "_raw_residual",
        "_residual",
        "_value",
        "theta",
    )

    def __init__(self, objective: LeastSquares, theta: np.ndarray):
        self._objective, self.theta = objective, theta
        self._raw_residual: np.ndarray | None = None
        self._raw_jac: np.ndarray | None = None
        self._residual: np.ndarray | None = None
        self._jac: np.ndarray | None = None
        self._value: float | None = None
        self._grad: np.ndarray | None = None
        self._curvature: GaussNewtonCurvature | None = None

    @property
    def raw_residual(self) -> np.ndarray:
        """The residuals, shape (m,)."""
        if self._raw_residual is None:
            self._raw_residual = self._objective.residual(self.theta)
        return self._raw_residual

    @property
    def raw_jac(self) -> np.ndarray:
        """Their Jacobian, shape (m, p)."""
        if self._raw_jac is None:
            if self._raw_residual is None and self._objective.fun_and_jac is not None:
                self._raw_residual, self._raw_jac = self._objective.fused(self.theta)
            else:
                self._raw_jac = self._objective.jacobian(self.theta, self.raw_residual)
        return self._raw_jac

    @property
    def jac_error(self) -> float:
        """Largest relative error of a column of `raw_jac`; 0 where derivatives are no differences."""
        differences = self._objective.differences
        return 0.0 if differences is None else differences.error(self.raw_jac, self.theta, self.raw_residual)

    @property
    def value(self) -> float:
        """The objective; inf where a residual is not finite."""
        if self._value is None:
            r = self.raw_residual
            loss = self._objective.scaled_loss(r)
            with np.errstate(all="ignore"):
                value = 0.5 * float(r @ r) if loss is None else loss.value(r)
            self._value = value if math.isfinite(value) else math.inf
        return self._value

    @property
    def residual(self) -> np.ndarray:
        """The residuals, rescaled by a robust loss, shape (m,)."""
        if self._residual is None:
            loss = self._objective.scaled_loss(self.raw_residual)
            self._residual = self.raw_residual if loss is None else loss.rescaled_residual(self.raw_residual)
        return self._residual

    @property
    def jac(self) -> np.ndarray:
        """The Jacobian, rescaled by a robust loss, shape (m, p)."""
        if self._jac is None:
            raw = self.raw_jac
            loss = self._objective.scaled_loss(self.raw_residual)
            self._jac = raw if loss is None else loss.rescaled_jac(self.raw_residual, raw)
        return self._jac

    @property
    def grad(self) -> np.ndarray:
        """jac'residual, shape (p,)."""
        if self._grad is None:
            with np.errstate(all="ignore"):
                self._grad = self.residual @ self.jac
        return self._grad

    @property
    def curvature(self) -> GaussNewtonCurvature:
        """jac'jac."""
        if self._curvature is None:
            self._curvature = GaussNewtonCurvature(self._objective, self.jac)
        return self._curvature

    def along(self, d: np.ndarray) -> PointwiseRay:
        """Return the ray theta + t d."""
        return PointwiseRay(cast(Objective, self._objective), cast(Point, self), cast(Array, d))

    def at(self, theta: np.ndarray) -> LeastSquaresPoint:
        """Return the point of the same objective at another theta, shape (p,)."""
        return LeastSquaresPoint(self._objective, theta)


class GaussNewtonCurvature:
    """J'J for a dense J of shape (m, p): the Hessian without its second-order term sum_i r_i r_i''."""

    exact = False

    def __init__(self, objective: LeastSquares, jac: np.ndarray):
        self._objective, self._jac = objective, jac

    def mv(self, v: np.ndarray) -> np.ndarray:
        """Return J'(J v), shape (p,)."""
        self._objective._counts.n_mv += 1
        return (self._jac @ v) @ self._jac

    def diag(self) -> np.ndarray:
        """Return the squared column norms of J, shape (p,)."""
        return np.einsum("ij,ij->j", self._jac, self._jac)

    def dense(self, rows: float = 1.0) -> np.ndarray:
        """Return J'J, shape (p, p), or its estimate from the first of every 1 / rows rows."""
        step = max(1, round(1.0 / rows))
        jac = self._jac[::step]
        return (self._jac.shape[0] / max(jac.shape[0], 1)) * (jac.T @ jac)

"""Any smooth function as an objective: what derivatives the caller has not, differences supply."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import LinearOperator

from ..protocols import Array, Counts, Objective, Point, PointwiseRay
from .residual_jacobians import SteppedDifferences

EPS = 2.220446049250313e-16


class FunctionObjective:
    """f(theta) with its gradient, and a Hessian where a solver wants one.

    Parameters
    ----------
    fun : callable
        theta of shape (p,) -> float; or (float, gradient) with `fused`.
    size : int
        p.
    grad : callable, optional
        theta -> gradient, shape (p,); differences of `fun` where None.
    hess : callable, optional
        theta -> Hessian, an array, sparse array or LinearOperator of shape (p, p).
    hessp : callable, optional
        (theta, v) -> Hessian times v. Where neither is given: differences of gradients along v, forward where the
        gradient is exact, central where it comes from differences itself.
    fused : bool, default=False
    second_order : bool, default=True
        Whether points have a curvature.
    scheme : {"2-point", "3-point", "cs"}, default="3-point"
        Of the gradient by differences.
    relative_step : float or ndarray of shape (p,), optional
    lower, upper : ndarray of shape (p,), optional
        Box that no evaluation leaves, those for differences included; the derivative by a parameter with equal bounds
        is 0 then.

    Attributes
    ----------
    counts : Counts
        n_value: evaluations of f, those for differences included. n_grad: gradients. n_mv: products with the Hessian.
    n_hess : int
        Evaluations of `hess`.
    """

    def __init__(
        self,
        fun: Callable,
        size: int,
        grad: Callable | None = None,
        hess: Callable | None = None,
        hessp: Callable | None = None,
        *,
        fused: bool = False,
        second_order: bool = True,
        scheme: str = "3-point",
        relative_step: Any = None,
        lower: np.ndarray | None = None,
        upper: np.ndarray | None = None,
    ):
        self.fun, self.size, self.grad, self.hess, self.hessp = fun, size, grad, hess, hessp
        self.fused, self.second_order, self.n_hess = fused, second_order, 0
        self.counts = Counts()
        self.differences, self.lower, self.upper = None, lower, upper
        if grad is None and not fused:
            self.differences = SteppedDifferences(
                self._vector, scheme, relative_step=relative_step, lower=lower, upper=upper
            )

    def at(self, theta: np.ndarray) -> FunctionPoint:
        """Return the point at theta."""
        return FunctionPoint(self, theta)

    def evaluate(self, theta: np.ndarray) -> tuple[float, np.ndarray | None]:
        """Return f and, where it comes with it, the gradient.

        Raises
        ------
        ValueError
            If f is no single number, or the gradient has another shape.
        """
        self.counts.n_value += 1
        found = self.fun(theta)
        if self.fused and not (isinstance(found, tuple | list) and len(found) == 2):
            raise ValueError(
                f"`fun` must return (value, gradient) with jac=True: received {type(found).__name__}; return both, or "
                "leave jac out"
            )
        value, grad = found if self.fused else (found, None)
        value = np.asarray(value)
        if value.size != 1:
            raise ValueError(
                "The user-provided objective function must return a scalar value: received shape "
                f"{value.shape}; return a float"
            )
        if grad is not None:
            self.counts.n_grad += 1
            grad = self._shaped(grad)
        if value.dtype.kind not in "biufcO" or value.item() is None:
            raise TypeError(
                f"`fun` must return a real number: received {value.item()!r}; return a float, look for a missing return"
            )
        if value.dtype.kind == "c" and value.item().imag != 0.0:
            raise ValueError(f"`fun` must return a real number: received {value.item()!r}; minimise its absolute value")
        number = float(value.item().real)
        return (number if math.isfinite(number) else math.inf), grad

    def gradient(self, theta: np.ndarray, value: float) -> np.ndarray:
        """Return the gradient, shape (p,)."""
        if self.fused:
            return cast(np.ndarray, self.evaluate(theta)[1])
        self.counts.n_grad += 1
        if self.differences is not None:
            return self.differences(theta, np.array([value]))[0]
        return self._shaped(self.grad(theta))  # type: ignore[misc]

    def _vector(self, theta: np.ndarray) -> np.ndarray:
        self.counts.n_value += 1
        return np.atleast_1d(np.asarray(self.fun(theta)))

    def _shaped(self, grad: Any) -> np.ndarray:
        g = np.asarray(grad, dtype=np.float64)
        if g.size != self.size:
            raise ValueError(f"`jac` must return a gradient of shape ({self.size},): received {g.shape}; flatten it")
        return g.reshape(self.size)


class FunctionPoint:
    """A `FunctionObjective` at one theta; everything is evaluated when first asked for and kept."""

    __slots__ = ("_curvature", "_grad", "_objective", "_value", "theta")

    def __init__(self, objective: FunctionObjective, theta: np.ndarray):
        self._objective, self.theta = objective, theta
        self._value: float | None = None
        self._grad: np.ndarray | None = None
        self._curvature: FunctionCurvature | None = None

    @property
    def value(self) -> float:
        """The function; inf where it is not finite."""
        if self._value is None:
            self._value, self._grad = self._objective.evaluate(self.theta)
        return self._value

    @property
    def grad(self) -> np.ndarray:
        """The gradient, shape (p,)."""
        value = self.value
        if self._grad is None:
            self._grad = self._objective.gradient(self.theta, value)
        return self._grad

    @property
    def curvature(self) -> FunctionCurvature | None:
        """The Hessian, None where the objective offers none."""
        if self._curvature is None and self._objective.second_order:
            self._curvature = FunctionCurvature(self._objective, self)
        return self._curvature

    def at(self, theta: np.ndarray) -> FunctionPoint:
        """Return the point of the same objective at another theta, shape (p,)."""
        return self._objective.at(theta)

    def along(self, d: np.ndarray) -> PointwiseRay:
        """Return the ray theta + t d."""
        return PointwiseRay(cast(Objective, self._objective), cast(Point, self), cast(Array, d))


class FunctionCurvature:
    """The Hessian at one point."""

    exact = True

    def __init__(self, objective: FunctionObjective, point: FunctionPoint):
        self._objective, self._point = objective, point
        self._matrix: Any = None

    def _hessian(self) -> Any:
        if self._matrix is None:
            self._objective.n_hess += 1
            H = self._objective.hess(self._point.theta)  # type: ignore[misc]
            known = isinstance(H, LinearOperator) or scipy.sparse.issparse(H)
            self._matrix = H if known else np.atleast_2d(np.asarray(H, dtype=np.float64))
            p = self._objective.size
            if tuple(self._matrix.shape) != (p, p):
                raise ValueError(f"`hess` must return shape {(p, p)}: received {tuple(self._matrix.shape)}")
        return self._matrix

    def mv(self, v: np.ndarray) -> np.ndarray:
        """Return H v, shape (p,)."""
        objective, theta = self._objective, self._point.theta
        objective.counts.n_mv += 1
        if objective.hess is not None:
            return np.asarray(self._hessian() @ v)
        if objective.hessp is not None:
            return np.asarray(objective.hessp(theta, v), dtype=np.float64).reshape(theta.shape)
        length = math.sqrt(float(v @ v))
        if length == 0.0:
            return np.zeros_like(v)
        size = (1.0 + math.sqrt(float(theta @ theta))) / length
        if objective.lower is not None and objective.upper is not None:
            return self._inside(v, EPS ** (0.5 if objective.differences is None else 0.25) * size)
        if objective.differences is None:
            h = EPS**0.5 * size
            return (objective.at(theta + h * v).grad - self._point.grad) / h
        h = EPS**0.25 * size  # gradients by central differences have 10 digits: balance eps^(2/3) / h with h^2
        return (objective.at(theta + h * v).grad - objective.at(theta - h * v).grad) / (2.0 * h)

    def _inside(self, v: np.ndarray, h: float) -> np.ndarray:
        """Return H v from gradients inside the box: (g(theta + h a) - g(theta - h b)) / h with v = a + b.

        a has the components of v that have more room ahead than behind, b the others.
        """
        objective, theta = self._objective, self._point.theta
        up, down = objective.upper - theta, theta - objective.lower
        ahead = np.where(v > 0.0, up, down) >= np.where(v > 0.0, down, up)
        room = np.maximum(up, down)
        moving = (v != 0.0) & (room > 0.0)
        if not moving.any():
            return np.zeros_like(v)
        h = min(h, float((room[moving] / np.abs(v[moving])).min()))
        a, b = np.where(moving & ahead, v, 0.0), np.where(moving & ~ahead, v, 0.0)
        grads = [self._point.grad if not part.any() else objective.at(end).grad for part, end in self._ends(a, b, h)]
        return (grads[0] - grads[1]) / h

    def _ends(self, a: np.ndarray, b: np.ndarray, h: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return (a, theta + h a) and (b, theta - h b), rounded into the box."""
        theta, lower, upper = self._point.theta, self._objective.lower, self._objective.upper
        return [(a, np.clip(theta + h * a, lower, upper)), (b, np.clip(theta - h * b, lower, upper))]

    def dense(self, rows: float = 1.0) -> np.ndarray:
        """Return H, shape (p, p), symmetric; `rows` has no meaning here."""
        if self._objective.hess is not None and not isinstance(self._hessian(), LinearOperator):
            H = self._hessian()
            H = H.toarray() if scipy.sparse.issparse(H) else H
        else:
            H = np.stack([self.mv(e) for e in np.eye(self._objective.size)])
        return 0.5 * (H + H.T)

    def diag(self) -> np.ndarray:
        """Return the diagonal of H, shape (p,)."""
        return np.diagonal(self.dense()).copy()

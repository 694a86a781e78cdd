"""The data of one curve fit and the objectives built from it, in the free parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from ..objectives.least_squares import LeastSquares
from ..objectives.robust import RobustLoss
from ..objectives.variable_projection import VariableProjection
from ..objectives.weighted_robust import WeightedRobustLoss, weighted_mad_scale
from .model import CallableModel, ExactModel, Model

#: Data of this size or smaller, and larger, are divided by a power of two: their squares leave the range of doubles.
SMALLEST, LARGEST = 1e-100, 1e100


@dataclass(frozen=True, eq=False)
class CurveProblem:
    """One output of one fit: r_i = (f(x_i; theta) - y_i) sqrt(w_i) / sigma_i, as a function of the free parameters.

    Attributes
    ----------
    model : Model
    X : ndarray of shape (n, d)
        Read-only.
    y : ndarray of shape (n,)
    precision : ndarray of shape (n,) or None
        1 / sigma.
    frequency : ndarray of shape (n,) or None
        sample_weight: how many observations a row stands for.
    base : ndarray of shape (p,)
        Values of the fixed parameters; the others are ignored.
    free : ndarray of bool, shape (p,)
    lower, upper : ndarray of shape (p,)
        Bounds; -inf and inf where there are none.
    loss : str
    f_scale : float or None
        In the units of y / sigma.
    derivative : str
        How Jacobians of functions are made, see `Differences`.
    unit : float
        Residuals are divided by it.
    scale : ndarray or None
        The solver's parameters are the free ones times these; for solvers that are not free of scale.
    """

    model: Model
    X: np.ndarray
    y: np.ndarray
    base: np.ndarray
    free: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    precision: np.ndarray | None = None
    frequency: np.ndarray | None = None
    loss: str = "linear"
    f_scale: float | None = None
    derivative: str = "auto"
    unit: float = 1.0
    scale: np.ndarray | None = None
    root: np.ndarray = field(init=False)

    def __post_init__(self):
        root = np.full(self.y.shape, 1.0 / self.unit)
        if self.precision is not None:
            root = root * self.precision
        if self.frequency is not None and self.loss == "linear":
            root = root * np.sqrt(self.frequency)
        object.__setattr__(self, "root", root)

    @property
    def total(self) -> float:
        """Number of observations: the sum of the weights."""
        return float(len(self.y)) if self.frequency is None else float(self.frequency.sum())

    @property
    def unit_squared(self) -> float:
        """Square of the residuals' unit; inf beyond the range of doubles."""
        return self.unit * self.unit

    @property
    def is_bounded(self) -> bool:
        """Whether a free parameter has a bound."""
        return bool((np.isfinite(self.lower) | np.isfinite(self.upper))[self.free].any())

    def in_units(self) -> CurveProblem:
        """Return the problem with residuals of a size whose squares are normal numbers."""
        with np.errstate(all="ignore"):
            top = float(np.abs(self.root * self.y).max(initial=0.0))
        if top == 0.0 or SMALLEST < top < LARGEST or not math.isfinite(top):
            return self
        return replace(self, unit=self.unit * 2.0 ** round(math.log2(top)))

    # ------------------------------------------------------------------ parameters

    def pack(self, theta: np.ndarray) -> np.ndarray:
        """Return the solver's parameters, from all of shape (p,)."""
        part = theta[self.free]
        return part if self.scale is None else part * self.scale

    def full(self, z: np.ndarray) -> np.ndarray:
        """Return all parameters, shape (p,), from the solver's; complex ones too."""
        part = z if self.scale is None else z / self.scale
        if self.free.all():
            return part
        theta = self.base.astype(part.dtype)
        theta[self.free] = part
        return theta

    def box(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return lower and upper bounds of the free parameters, None where nothing is bounded."""
        if not self.is_bounded:
            return None, None
        return self.lower[self.free], self.upper[self.free]

    # ------------------------------------------------------------------ functions of the solver's parameters

    def residual(self, z: np.ndarray) -> np.ndarray:
        """Return r, shape (n,)."""
        return self.root * (self._values(self.full(z)) - self.y)

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """Return dr / dz, shape (n, number of free parameters), for models with derivatives of their own."""
        return self._chain(self.model.jacobian(self.X, self.full(z)))  # type: ignore[union-attr]

    def residual_and_jacobian(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both from one evaluation."""
        value, J = self.model.value_and_jacobian(self.X, self.full(z))  # type: ignore[union-attr]
        return self.root * (value - self.y), self._chain(J)

    def _values(self, theta: np.ndarray) -> np.ndarray:
        found = self.model.value(self.X, theta)
        if found.shape != self.y.shape:
            raise ValueError(
                f"the model returned an array of shape {found.shape} at theta={theta}, but {self.y.shape} at the "
                "start; expected one number for each point at any parameters: check its branches"
            )
        return found

    def _chain(self, J: np.ndarray) -> np.ndarray:
        J = J if self.free.all() else J[:, self.free]
        J = self.root[:, None] * J
        return J if self.scale is None else J / self.scale

    # ------------------------------------------------------------------ objectives

    def objective(self) -> LeastSquares:
        """Return the objective in all free parameters."""
        lower, upper = self.box()
        size = int(self.free.sum())
        if isinstance(self.model, ExactModel):
            how = {"fun_and_jac": self.residual_and_jacobian}
        elif self.model.jac is not None:
            how = {"jac": self.jacobian}
        else:
            how = {"derivative": self.derivative, "lower": lower, "upper": upper, "offset": self.root * self.y}
        return LeastSquares(self.residual, size, loss=self.robust() or "linear", **how)

    def robust(self) -> RobustLoss | None:
        """Return the robust loss in the units of the residuals, None for plain squares."""
        if self.loss == "linear":
            return None
        if self.f_scale is None:
            raise ValueError("received a robust loss without f_scale; expected a number: take it from scale_of first")
        f_scale = self.f_scale / self.unit
        if self.frequency is None:
            return RobustLoss(self.loss, f_scale)
        return WeightedRobustLoss(self.loss, f_scale, self.frequency)

    def mad(self, theta: np.ndarray) -> float:
        """Return 1.4826 times the median absolute deviation of the residuals at theta, in the units of y / sigma."""
        r = self.residual(self.pack(theta))
        weights = np.ones_like(r) if self.frequency is None else self.frequency
        return self.unit * weighted_mad_scale(r, weights)

    def splits(self) -> bool:
        """Return whether some free parameters are linear, unbounded and without a robust loss: projection is on."""
        linear = self.linear()
        bounded = np.isfinite(self.lower) | np.isfinite(self.upper)
        return bool(linear.any()) and not bounded[linear].any() and self.loss == "linear"

    def linear(self) -> np.ndarray:
        """Return which of all parameters are free and linear, shape (p,)."""
        if isinstance(self.model, CallableModel):
            return np.zeros(self.free.shape, dtype=bool)
        names = self.model.formula.linear_parameters
        return np.array([name in names for name in self.model.names]) & self.free

    def projected(self) -> Projected:
        """Return the objective in the nonlinear free parameters."""
        return Projected(self)


class Projected:
    """The variable projection of a problem, and how its parameters lie among all.

    Attributes
    ----------
    objective : VariableProjection
    nonlinear : ndarray of bool, shape (p,)
        The free parameters that remain.
    """

    def __init__(self, problem: CurveProblem):
        model = problem.model
        self.problem, self.formula = problem, model.formula  # type: ignore[union-attr]
        self.X = model.select(problem.X)  # type: ignore[union-attr]
        names, base = model.names, problem.base
        self.linear = problem.linear()
        self.nonlinear = problem.free & ~self.linear
        # among the formula's linear and nonlinear parameters: which are free, and the values of the others
        linear_at = [names.index(name) for name in self.formula.linear_parameters]
        self._alpha_at = [names.index(name) for name in self.formula.nonlinear_parameters]
        self._kept = self.linear[linear_at]
        self._constant = base[linear_at][~self._kept]
        self.objective = VariableProjection(
            self._basis, self._basis_and_jacobian, int(self.nonlinear.sum()), problem.y, problem.root
        )

    def start(self, theta: np.ndarray) -> np.ndarray:
        """Return the nonlinear free parameters, from all of shape (p,)."""
        return theta[self.nonlinear]

    def full(self, alpha: np.ndarray) -> np.ndarray:
        """Return all parameters, the linear ones solved for, shape (p,)."""
        theta = self._theta(alpha)
        theta[self.linear] = self.objective.linear(alpha)
        return theta

    def _theta(self, alpha: np.ndarray) -> np.ndarray:
        theta = self.problem.base.copy()
        theta[self.nonlinear] = alpha
        return theta

    def _basis(self, alpha: np.ndarray):
        Phi, offset = self.formula.basis(self.X, self._theta(alpha)[self._alpha_at])
        if self._kept.all():
            return Phi, offset
        return Phi[:, self._kept], offset + Phi[:, ~self._kept] @ self._constant

    def _basis_and_jacobian(self, alpha: np.ndarray):
        parts = self.formula.basis_and_jacobian(self.X, self._theta(alpha)[self._alpha_at])
        Phi, offset, dPhi, doffset = parts
        moving = self.nonlinear[self._alpha_at]
        dPhi, doffset = dPhi[:, :, moving], doffset[:, moving]
        if self._kept.all():
            return Phi, offset, dPhi, doffset
        left = ~self._kept
        offset = offset + Phi[:, left] @ self._constant
        doffset = doffset + np.einsum("nqr,q->nr", dPhi[:, left], self._constant)
        return Phi[:, self._kept], offset, dPhi[:, self._kept], doffset

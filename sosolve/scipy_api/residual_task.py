"""What `least_squares` is asked for: its arguments, checked, and the objective and the watch that follow from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from scipy.optimize import OptimizeResult
from scipy.sparse.linalg import LinearOperator

from ..caller import warn_caller
from ..objectives.residual_jacobians import CustomLoss, ResidualLeastSquares
from ..objectives.robust import RobustLoss
from . import checks
from .outcome import described
from .watch import Watch, user_callback

#: ftol and xtol above this end a fit by themselves; below it they need a small cosine, see `ResidualSolver`.
LOOSE = 1e-7


@dataclass(slots=True, kw_only=True)
class ResidualTask:
    """A least-squares fit to be done; an attribute that is not named here is the argument of `least_squares`.

    Attributes
    ----------
    theta, lower, upper : ndarray of shape (p,)
        The start and the bounds.
    tolerances : dict
        ftol, xtol and gtol; None is off.
    units : ndarray of shape (p,) or None
        x_scale, where it is numbers.
    tr_options : dict
    """

    fun: Callable
    jac: Any
    args: tuple
    kwargs: Mapping | None
    loss: Any
    f_scale: float | None
    theta: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    method: str
    tolerances: dict[str, float | None]
    x_scale: Any
    units: np.ndarray | None
    diff_step: Any
    tr_solver: str | None
    tr_options: dict[str, Any]
    jac_sparsity: Any
    max_nfev: int | None
    verbose: int
    callback: Callable | None
    workers: Any

    @property
    def box(self) -> dict[str, np.ndarray]:
        """Lower and upper bounds by these names, empty where nothing is bounded."""
        bounded = np.isfinite(self.lower).any() or np.isfinite(self.upper).any()
        return {"lower": self.lower, "upper": self.upper} if bounded else {}

    @property
    def is_rough(self) -> bool:
        """Whether derivatives come from differences."""
        return not callable(self.jac) and self.jac in ("2-point", "3-point")

    def divided(self, unit: float) -> ResidualTask:
        """Return the task with residuals and Jacobian divided by a unit."""
        jac = Divided(self.jac, unit) if callable(self.jac) else self.jac
        return replace(self, fun=Divided(self.fun, unit), jac=jac)

    def objective(self) -> ResidualLeastSquares:
        """Return the sum of squares, or of their losses, with the caller's derivatives."""
        derivative = "auto" if self.jac is None or callable(self.jac) else self.jac
        exact = checks.Call(self.jac, self.args, self.kwargs) if callable(self.jac) else None
        call = _Residuals(self.fun, self.args, self.kwargs)
        loss = robust_loss(self.loss, self.f_scale) or "linear"
        return ResidualLeastSquares(call, self.theta.shape[0], exact, loss=loss, derivative=derivative, **self.box)

    def watch(self, objective: ResidualLeastSquares) -> Watch:
        """Return what looks on: the callback, the limit of evaluations, and tolerances that end a fit at once."""
        report = user_callback(self.callback)
        if report is not None and self.method == "lm":
            warn_caller("Callback function specified, but not supported with `lm` method.")
            report = None
        limit = math.inf if self.max_nfev is None else self.max_nfev
        watch = Watch(lambda: objective.n_residuals, limit, report, described, self.verbose == 2)
        # A user who asks for few digits wants to stop early, also where the cosine is not small yet.
        given = (self.tolerances["ftol"], self.tolerances["xtol"])
        watch.ftol, watch.xtol = (t if t is not None and t > LOOSE else 0.0 for t in given)
        return watch


class _Residuals(checks.Call):
    """The user's residuals as an array of at least one dimension, of the same shape everywhere."""

    shape: tuple[int, ...] | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        found = np.atleast_1d(super().__call__(x))
        if found.shape != self.shape:
            if self.shape is not None:
                raise ValueError(
                    f"`fun` must return as many residuals everywhere: received shape {found.shape} after {self.shape} "
                    "at the start; give missing ones as NaN, which rejects the step, or as 0"
                )
            self.shape = found.shape
        return found


def robust_loss(loss: Any, f_scale: float | None) -> RobustLoss | None:
    """Return the loss of a name or of a function z -> (rho, rho', rho''), None for plain squares."""
    if callable(loss):
        return CustomLoss(loss, 1.0 if f_scale is None else float(f_scale))
    return RobustLoss.named(loss, f_scale)


def in_callers_unit(outcome: OptimizeResult, unit: float) -> OptimizeResult:
    """Return the outcome of a fit with residuals and Jacobian divided by a unit in the units of the caller.

    The squares that the fit saw are ordinary numbers, where those of the caller's leave the range of floating point;
    the cost in the outcome may be 0 or inf.
    """
    squares = ("grad", "cost", "optimality")
    with np.errstate(all="ignore"):
        for name in ("fun", "jac", *squares, *squares):  # the square of the unit itself may be 0 or inf
            outcome[name] = outcome[name] * unit
    return outcome


class Divided:
    """A user's function divided by a unit; picklable where the function is.

    Parameters
    ----------
    function : callable
    unit : float
    """

    def __init__(self, function: Callable, unit: float):
        self.function, self.unit = function, unit

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return function(...) / unit."""
        found = self.function(*args, **kwargs)
        if isinstance(found, LinearOperator) or scipy.sparse.issparse(found):
            return found * (1.0 / self.unit)
        return np.asarray(found) / self.unit

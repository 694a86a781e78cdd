"""SciPy's result object from the result of a residual solver."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from ..history import Result, Status
from ..objectives.residual_jacobians import ResidualLeastSquares
from ..solvers.residual import STATIONARY
from ..solvers.residual_trust_region import RegionState
from .watch import Watch

#: SciPy's numbers for the tests that end a fit, and ours for what it has no number for.
CODES = {"gtol": 1, "ftol": 2, "xtol": 3}
STALLED_CODE = -3
#: A cost this much below that of the start is rounding: residuals 1e-14 times the first ones.
VANISHED = 1e-28


def described(record: Any, point: Any) -> dict:
    """Return what the callback learns beside x and nit."""
    return {"fun": point.raw_residual, "cost": point.value, "nfev": record.n_value}


def packed(
    found: Result,
    watch: Watch,
    objective: ResidualLeastSquares,
    lower: np.ndarray,
    upper: np.ndarray,
    gtol: float | None,
    rough: bool = False,
) -> OptimizeResult:
    """Return SciPy's result object for the result of a residual solver.

    Parameters
    ----------
    found : Result
    watch : Watch
        Of that run.
    objective : ResidualLeastSquares
    lower, upper : ndarray of shape (p,)
    gtol : float or None
        Largest free component of the gradient at which a stalled fit still counts as stationary.
    rough : bool, default=False
        Whether derivatives come from differences: then the lowest value decides which point is returned, not the
        slopes that the solver follows at the rounding level.
    """
    point = found.point
    if rough and watch.best is not None and watch.best.value < found.value:
        point = watch.best
    grad, theta = point.grad, point.theta
    mask = np.where(theta <= lower, -1, np.where(theta >= upper, 1, 0))
    held = ((mask < 0) & (grad > 0.0)) | ((mask > 0) & (grad < 0.0))
    optimality = float(np.abs(np.where(held, 0.0, grad)).max(initial=0.0))
    status, reason = _code(found, watch, optimality, gtol)
    if reason == "stalled" and found.status is Status.STALLED and objective.output == "low":
        status, reason = CODES["ftol"], "ftol"  # the rounding level of float32
    return OptimizeResult(
        x=theta.copy(),
        cost=point.value,
        fun=point.raw_residual,
        jac=point.jac,
        grad=grad,
        optimality=optimality,
        active_mask=mask,
        nfev=objective.n_residuals,
        njev=objective.n_jacobians,
        nit=found.n_iter,
        status=status,
        message=_message(found, status, reason),
        success=status > 0,
        reason=reason,
        history=found.history,
    )


def _code(found: Result, watch: Watch, optimality: float, gtol: float | None) -> tuple[int, str]:
    """Return SciPy's status and the name of the test that ended the fit.

    A run that stalled at the rounding level counts as converged where the point is stationary: by the cosine, or by
    the size of its gradient.
    """
    if found.status is Status.CONVERGED:
        return CODES[found.reason], found.reason
    if found.status is Status.MAX_ITER or watch.exhausted:
        return 0, "max_nfev"
    if watch.stopped:
        return -2, "callback"
    if watch.loose:
        return CODES[watch.loose], watch.loose
    if found.status is Status.STALLED:
        if gtol is not None and optimality <= gtol:
            return CODES["gtol"], "gtol"
        if found.value <= VANISHED * found.history[0].value:
            return CODES["ftol"], "ftol"
        if isinstance(found.state, RegionState) and found.state.here.cosine <= STATIONARY:
            return CODES["ftol"], "ftol"
    return STALLED_CODE, "stalled"


def _message(found: Result, status: int, reason: str) -> str:
    """Return one sentence for a status."""
    if status > 0:
        sentence = found.message if found.converged else "nothing more can be won in double precision"
        return f"`{reason}` termination condition is satisfied: {sentence.removeprefix('converged: ')}."
    if status == 0:
        return (
            f"The maximum number of function evaluations is exceeded: the best point of {found.n_iter} steps is kept; "
            "raise max_nfev, or start closer."
        )
    if status == -2:
        return "Stopped because `callback` function raised `StopIteration` or returned `True`."
    return f"Stopped without reaching a stationary point: {found.status.value}."

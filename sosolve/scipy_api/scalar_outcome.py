"""SciPy's result object from the result of a solver of `minimize`."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import LbfgsInvHessProduct, OptimizeResult

from ..history import Result, Status
from ..linalg import max_abs
from ..objectives.function import FunctionObjective
from ..solvers import BFGS
from .watch import Watch

CALLBACK_CODE = 99


def packed_minimum(found: Result, watch: Watch, objective: FunctionObjective, solver: Any) -> OptimizeResult:
    """Return SciPy's result object."""
    status, message = _code(found, watch, solver)
    grad = found.point.grad
    if objective.lower is not None and objective.differences is not None:  # nobody has looked along fixed parameters
        grad = np.where(objective.lower == objective.upper, np.nan, grad)
    outcome = OptimizeResult(
        x=found.theta.copy(),
        fun=found.value,
        jac=grad,
        nfev=objective.counts.n_value,
        njev=objective.counts.n_grad,
        nhev=objective.n_hess if objective.hess is not None else objective.counts.n_mv,
        nit=found.n_iter,
        status=status,
        message=message,
        success=status == 0,
        solver=solver.name,
        history=found.history,
    )
    memory = found.state[0] if isinstance(found.state, tuple) else getattr(found.state, "pairs", None)
    if isinstance(solver, BFGS):
        outcome.hess_inv = np.eye(found.theta.shape[0]) if memory is None else memory
    elif memory:
        outcome.hess_inv = LbfgsInvHessProduct(*(np.stack(part) for part in zip(*(m[:2] for m in memory), strict=True)))
    return outcome


def _code(found: Result, watch: Watch, solver: Any) -> tuple[int, str]:
    """Return SciPy's status and a sentence."""
    lower, upper = getattr(solver, "lower", None), getattr(solver, "upper", None)
    if lower is not None and found.status is not Status.NONFINITE and bool((lower == upper).all()):
        return 0, "All independent variables were fixed by bounds."
    if found.status is Status.CONVERGED:
        return 0, "Optimization terminated successfully: the gradient and the decrement are within the tolerances."
    if watch.stopped:
        return CALLBACK_CODE, "`callback` raised `StopIteration`."
    if watch.exhausted:
        return 1, "Maximum number of function evaluations has been exceeded: the best point is kept; raise maxfev."
    if found.status is Status.NONFINITE:
        return 3, f"NaN or inf at the start: {found.status.value}."
    grad_norm = found.grad_norm if lower is None else max_abs(solver.projected(found.point))
    if grad_norm <= solver.gtol:
        return 0, "Optimization terminated successfully: the gradient is within gtol, no more can be won by rounding."
    if found.status is Status.MAX_ITER or found.status is Status.MAX_TIME:
        return 1, f"Maximum number of iterations has been exceeded: {found.status.value}."
    return 2, f"Desired error not necessarily achieved: {found.status.value}."


def accept_by_value(outcome: OptimizeResult, ftol: float) -> None:
    """Call a run that got no further a success where its last step has won at most ftol of all that it won.

    Not where f is rounded to more than that.
    """
    history = outcome.history
    gains = [record.actual for record in history if record.accepted]
    level = ftol * (history[0].value - outcome.fun)
    if gains and 0.0 <= gains[-1] <= level and np.spacing(abs(outcome.fun)) <= level:
        outcome.success, outcome.status = True, 0
        outcome.message = "Optimization terminated successfully: the relative reduction of f is within ftol."


def refuse_noise(outcome: OptimizeResult) -> None:
    """Call a success no success whose gradient is the rounding of f."""
    if outcome.success:
        outcome.success, outcome.status = False, 2
        outcome.message = (
            "Desired error not necessarily achieved: the gradient is within gtol by chance, differences of "
            f"{outcome.fun:.6g} round to far more; give `jac`, or subtract a constant from the function."
        )

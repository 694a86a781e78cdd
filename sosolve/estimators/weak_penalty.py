"""Whether a minimum owes its place to a tiny penalty alone: the sign of separated classes in a penalised fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..history import Result
from ..objectives.row_blocks import predictors
from ..solvers.newton import Factor
from ..solvers.subproblem import shifted_inverse

if TYPE_CHECKING:
    from .problem import Problem

#: 1 / C up to which a penalty counts as tiny.
TINY = 1e-6
#: Parameters and multiply-adds of a Hessian that is formed for the answer, at most: some hundredths of a second.
MOST_PARAMETERS, WORK = 512, 2e9


def is_tiny(problem: Problem) -> bool:
    """Return whether the penalty is so small that nobody means it to shape the coefficients."""
    return problem.alpha * problem.total <= TINY


def leans_on_penalty(problem: Problem, result: Result, moving: float) -> bool:
    """Return whether the loss alone would go on from the minimum: a Newton step without the penalty moves margins.

    Along a direction that separates some rows both the gradient and the curvature of the loss are those of the same
    small probabilities: the step changes the margins of these rows by about 1, however small the penalty, and whether
    or not the fit has come to its minimum. Elsewhere the gradient of the loss is as small as the penalty.

    Parameters
    ----------
    problem : Problem
        With a smooth penalty.
    result : Result
        With its point.
    moving : float
        Change of a margin from which it counts.

    Returns
    -------
    bool
        False also where the Hessian would cost too much.
    """
    point: Any = result.point
    size = point.theta.shape[0]
    if isinstance(result.state, Factor):
        solve = result.state.solve
    elif size <= MOST_PARAMETERS and problem.model.n_rows * size**2 <= WORK:
        curvature = point.curvature
        solve, shift = shifted_inverse(getattr(curvature, "lifted", curvature.dense)())
        if solve is None or shift > 0.0:
            return True  # singular to rounding: the penalty is all that holds some direction
    else:
        return False
    xp, changes = problem.model.xp, predictors(problem.model, solve(point.parts[0].grad))
    return any(not float(xp.max(xp.abs(z))) < moving for _, z in changes)

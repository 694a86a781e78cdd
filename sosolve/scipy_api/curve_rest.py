"""Ends without a success that are worth returning with a warning: at a kink of the model, and on a slow way down."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import OptimizeResult

from ..linalg import column_norms, norm
from ..objectives.robust import RobustLoss
from .curve_task import CurveTask
from .jacobian_check import dense_jacobian
from .outcome import STALLED_CODE
from .residual_task import robust_loss

#: Relative reduction of the sum of squares that ends SciPy's fits, and steps in a row for which it must not be more.
SLOW, IN_A_ROW = 1.49e-8, 10
#: Steps off the end, in units of what moves the model by the length of the residuals.
STEPS = (1e-3, 1e-5)
#: Keywords by which the caller says when to end.
ENDS = {"ftol", "xtol", "gtol", "max_nfev"}


def why_at_rest(task: CurveTask, outcome: OptimizeResult) -> str:
    """Return why an end without a success may stand, "" where it may not.

    Parameters
    ----------
    task : CurveTask
        With a function as f.
    outcome : OptimizeResult
    """
    if outcome.status == STALLED_CODE and (bent := _bends(task, outcome)):
        what = "sum of squares" if task.keywords.get("loss", "linear") == "linear" else "loss"
        return (
            f"The {what} has a kink at its minimum, where the model bends with parameters {bent}: no errors "
            "hold on both sides of it, those returned are of one"
        )
    if outcome.status == 0 and not ENDS & task.keywords.keys() and _is_slow(outcome):
        return (
            f"The sum of squares goes on falling by less than {SLOW:g} of itself a step, after {outcome.nit} steps: "
            "the parameters may have no finite optimum; fix some, bound them, or start elsewhere"
        )
    return ""


def _is_slow(outcome: OptimizeResult) -> bool:
    """Return whether the last steps would each have ended a fit of SciPy's."""
    last = [record for record in outcome.history if record.accepted][-IN_A_ROW:]
    return len(last) == IN_A_ROW and all(abs(record.actual) <= SLOW * record.value for record in last)


def _bends(task: CurveTask, outcome: OptimizeResult) -> list[int]:
    """Return the parameters along which the objective has the form of a V: slopes that do not fall with the step."""
    theta, r, bent = outcome.x, outcome.fun, []
    loss = robust_loss(task.keywords.get("loss", "linear"), task.keywords.get("f_scale", 1.0))
    with np.errstate(all="ignore"):
        for j, length in enumerate(column_norms(dense_jacobian(outcome.jac)).tolist()):
            steps = [step * norm(r) / length for step in STEPS] if length > 0.0 else []
            rises = [_rise(task, theta, j, step, r, loss) for step in steps] or [0.0]
            if 0.0 < 0.5 * rises[0] <= rises[-1] <= 2.0 * rises[0] < math.inf:
                bent.append(j)
    return bent


def _rise(task: CurveTask, theta: np.ndarray, j: int, step: float, r: np.ndarray, loss: RobustLoss | None) -> float:
    """Return the lesser slope at which r'r, or a robust loss, rises to both sides along a parameter.

    NaN beyond the bounds.
    """
    slopes = []
    for side in (step, -step):
        moved = theta.copy()
        moved[j] += side
        if task.box and not task.box["lower"][j] <= moved[j] <= task.box["upper"][j]:
            return math.nan
        try:
            there = task.data.whitened(task.f(task.data.x, *moved) - task.data.y)
        except Exception:  # the model does not exist there, and nobody asked for that point
            return math.nan
        rise = float((there - r) @ (there + r)) if loss is None else loss.value(there) - loss.value(r)
        slopes.append(rise / step)
    return min(slopes)

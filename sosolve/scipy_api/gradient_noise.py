"""Gradients by differences that drown in the rounding of f: f = 1e9 + g has a last bit of 1e-7.

Usual central differences divide that by a step of 1e-5. Longer steps win digits back; what is left is compared with
the tolerance, so that noise below gtol by chance is no success.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..history import Result, Status
from ..objectives.function import FunctionObjective
from ..objectives.residual_jacobians import STEP_POWER, SteppedDifferences
from .checks import EPS

#: Relative step with which a curvature is measured, and the longest one of differences.
MEASURING, LONGEST = 0.05, 0.1
#: Error of the gradient beside gtol that still is a success; rise of f, in last bits, that is no loss.
FAR, RISE = 100.0, 10.0
#: Ends of a run that another gradient may change.
ENDS = (Status.CONVERGED, Status.STALLED, Status.LINE_SEARCH_FAILED)


def noise_of(value: float, steps: np.ndarray) -> np.ndarray:
    """Return the rounding of central differences of a function with this value, shape (p,)."""
    return 0.5 * np.spacing(abs(value)) / steps


def louder(objective: FunctionObjective, found: Result, gtol: float, again: Callable) -> tuple[Result, bool]:
    """Return the result, or that of `again(theta)` with longer steps, and whether its gradient is noise.

    Parameters
    ----------
    objective : FunctionObjective
        Whose differences are replaced where they are noise.
    found : Result
    gtol : float
    again : callable
        theta -> Result, from there.
    """
    usual: Any = objective.differences
    if usual is None or usual.scheme not in STEP_POWER or found.status not in ENDS or np.ndim(usual.relative_step):
        return found, False
    theta, value = found.theta, found.value
    size = np.where(theta == 0.0, 1.0, np.abs(theta))
    steps = usual.relative_step * size
    if not np.isfinite(value) or noise_of(value, steps).max() <= gtol:
        return found, False
    curvature = _curvature(objective, theta, value, size)
    bit = float(np.spacing(abs(value)))
    longer = np.clip(np.cbrt(bit / np.maximum(curvature * size**2, bit)), EPS ** (1.0 / 3.0), LONGEST)
    if (longer * size > 2.0 * steps).any():
        objective.differences = SteppedDifferences(
            usual.fun, "3-point", relative_step=longer, lower=objective.lower, upper=objective.upper
        )
        other = again(theta.copy())
        if not other.value > value + RISE * bit:
            found, steps = other, longer * size
    if noise_of(found.value, steps).max() > FAR * gtol:
        return found, True
    if objective.differences is usual:
        return found, False
    wide = SteppedDifferences(
        usual.fun, "3-point", relative_step=2.0 * longer, lower=objective.lower, upper=objective.upper
    )
    bend = wide(found.theta, np.array([found.value]))[0] - found.point.grad  # thrice what the steps cut off
    return found, bool(np.abs(bend).max() > 3.0 * FAR * gtol)


def _curvature(objective: FunctionObjective, theta: np.ndarray, value: float, size: np.ndarray) -> np.ndarray:
    """Return the second derivatives along each parameter, shape (p,), 0 where they are not seen."""
    lower, upper = (-np.inf, np.inf) if objective.lower is None else (objective.lower, objective.upper)
    found = np.zeros_like(theta)
    for j, h in enumerate(MEASURING * size):
        high, low = theta.copy(), theta.copy()
        high[j] += h
        low[j] -= h
        if (high <= upper).all() and (low >= lower).all():
            bend = objective.evaluate(high)[0] - 2.0 * value + objective.evaluate(low)[0]
            found[j] = abs(bend) / h**2 if np.isfinite(bend) else 0.0
    return found

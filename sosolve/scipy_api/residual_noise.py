"""Residuals that have lost digits: model and data are far larger than their difference.

A signal of 2 on an offset of 1e9 leaves residuals that are multiples of 1e-7: the last bit of 1e9. The steps of usual
differences change them by less, so that slopes are noise. The last bits of the residuals tell, and longer steps help.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..objectives.residual_jacobians import STEP_POWER, ResidualLeastSquares, SteppedDifferences
from .checks import EPS

#: Last bits, relative to the residuals, that say nothing: those of ordinary numbers, some zeros at their end.
USUAL = 256.0 * EPS
#: Residuals that are enough to see it.
SAMPLE = 1000
#: Digits of a column that differences must have.
LEAST_DIGITS = 1e-4
#: Relative steps: that with which a column is measured, and the longest one.
MEASURING, LONGEST = 1e-3, 0.1
#: Relative shift, no short binary number, after which the last bits are those of rounding alone.
SHIFT = 1.23456789e-6


def last_bit(r: np.ndarray) -> float:
    """Return the median of the last bits that are not 0 in the numbers of r, shape (m,); 0 where r is 0."""
    r = r[:: max(1, r.size // SAMPLE)]
    r = r[(r != 0.0) & np.isfinite(r)]
    if not r.size:
        return 0.0
    mantissa, exponent = np.frexp(r)
    digits = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    return float(np.median(np.ldexp((digits & -digits).astype(np.float64), exponent - 53)))


def is_rounded(r: np.ndarray) -> bool:
    """Return whether the numbers of r, shape (m,), end in more zeros than chance makes."""
    return last_bit(r) > USUAL * float(np.median(np.abs(r)))


def longer_differences(
    objective: ResidualLeastSquares, theta: np.ndarray, r: np.ndarray, scheme: str, box: dict
) -> SteppedDifferences | None:
    """Return central differences with steps for the rounding of the residuals, None where the usual ones do.

    Parameters
    ----------
    objective : ResidualLeastSquares
    theta : ndarray of shape (p,)
    r : ndarray of shape (m,)
        The residuals there.
    scheme : {"2-point", "3-point"}
        Of the differences in use.
    box : dict
        lower and upper, or empty.
    """
    if not is_rounded(r):
        return None
    lower, upper = box.get("lower", -np.inf), box.get("upper", np.inf)

    def at(shift: np.ndarray) -> np.ndarray:
        values = np.asarray(objective.fun(np.clip(theta + shift, lower, upper)), dtype=np.float64)
        return values if values.shape == r.shape else np.full(r.shape, np.nan)

    size = np.where(theta == 0.0, 1.0, np.abs(theta))
    moved = at(SHIFT * size)
    if not np.isfinite(moved).all() or not is_rounded(moved):
        return None
    noise = math.sqrt(r.size) * last_bit(moved)
    changes = np.empty_like(theta)
    for j in range(theta.shape[0]):
        shift = np.zeros_like(theta)
        shift[j] = MEASURING * size[j]
        change = at(shift) - at(-shift)
        changes[j] = math.sqrt(float(change @ change)) / (2.0 * MEASURING)
    if not np.isfinite(changes).all() or not (noise > LEAST_DIGITS * EPS ** STEP_POWER[scheme] * changes).any():
        return None
    steps = np.clip(np.cbrt(noise / np.maximum(changes, noise)), EPS ** (1.0 / 3.0), LONGEST)
    return SteppedDifferences(objective.fun, "3-point", relative_step=steps, **box)


def refined(objective: ResidualLeastSquares, found: Any, jac: Any, box: dict, again: Any) -> Any:
    """Return the result, or that of `again(theta)` from its end with longer differences where rounding asks for them.

    Parameters
    ----------
    objective : ResidualLeastSquares
        Whose differences are replaced.
    found : Result
    jac : object
        What the caller said about derivatives; only "2-point" and "3-point" are looked at.
    box : dict
    again : callable
        theta -> Result.
    """
    usual = isinstance(jac, str) and jac in STEP_POWER and objective.output != "low"
    r = found.point.raw_residual
    if not usual or isinstance(objective.differences, SteppedDifferences) or not found.value < math.inf:
        return found
    with np.errstate(all="ignore"):
        longer = longer_differences(objective, found.theta, r, jac, box)
    if longer is None:
        return found
    objective.differences, objective.output = longer, "low"
    result = again(found.theta.copy())
    result.history.notes["rounding"] = (
        f"the residuals are multiples of {last_bit(r):.2g}: the fit went on from {found.theta.tolist()} with longer "
        "steps of the differences"
    )
    return result

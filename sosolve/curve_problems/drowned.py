"""Exact fits: columns of the Jacobian that are rounding, because the parameter they hang on is 0."""

from __future__ import annotations

import numpy as np

from ..linalg import column_norms, norm
from .problem import CurveProblem

#: Length of residuals that are rounding, relative to y; of a column that is, relative to what it is elsewhere.
EXACT, DROWNED = 16.0 * float(np.finfo(np.float64).eps), 1e-13


def without_drowned(
    problem: CurveProblem, theta: np.ndarray, start: np.ndarray, raw: np.ndarray, jac: np.ndarray
) -> np.ndarray:
    """Return the Jacobian of the free parameters with columns of 0 for those that an exact fit leaves to rounding.

    In a*exp(-b*x) + c of constant data a is 1e-16: what is left of the column of b tells nothing of it. So each
    parameter that adds no more than rounding is tried with a size that would add as much as y; and the columns at the
    start count, which show that of constant data a wide peak in a place of its own is none. Where y is 0 the residuals
    at the start take its place.

    Parameters
    ----------
    problem : CurveProblem
    theta, start : ndarray of shape (p,)
    raw : ndarray of shape (n,)
        Residuals there.
    jac : ndarray of shape (n, number of free parameters)
    """
    size = norm(problem.root * problem.y)
    if not (size == 0.0 or norm(raw) <= EXACT * size) or not np.isfinite(jac).all():
        return jac
    begin = problem.objective().at(problem.pack(start))
    size = size or norm(begin.raw_residual)
    z, (lower, upper) = problem.pack(theta), problem.box()
    lengths = column_norms(jac)
    small = (lengths * np.abs(z) <= EXACT * size) & (lengths > 0.0)
    if not norm(raw) <= EXACT * size or not small.any():
        return jac
    widest, points = lengths.copy(), [begin]
    with np.errstate(all="ignore"):
        for j in np.flatnonzero(small):
            other = z.copy()
            other[j] = np.clip(size / lengths[j], *((lower[j], upper[j]) if lower is not None else (-np.inf, np.inf)))
            points.append(problem.objective().at(other))
        for point in points:
            there = column_norms(point.raw_jac)
            widest = np.fmax(widest, np.where(np.isfinite(there), there, 0.0))
    gone = small & (lengths <= DROWNED * widest)
    return np.where(gone, 0.0, jac) if gone.any() else jac

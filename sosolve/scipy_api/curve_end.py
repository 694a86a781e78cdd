"""The end of a curve fit: the covariance matrix, a second look where that is singular, and what a failure is due to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, OptimizeWarning

from ..caller import warn_caller
from ..inference import Covariance
from ..linalg import column_norms, norm, pivoted_qr
from . import checks
from .curve_data import CurveData
from .jacobian_check import dense_jacobian
from .outcome import CODES, STALLED_CODE

#: Length of residuals that are rounding, relative to y; of a column that is, relative to the longest it was.
EXACT, DROWNED = 16.0 * checks.EPS, 1e-13
#: Singular value of a column-scaled Jacobian, relative to the largest, of a direction that counts as flat.
FLAT = 1e-5
#: Length of a step off a saddle, relative to the parameters, and directions whose signs are tried.
KICK, MOST_SIGNS = 0.1, 3
#: Cosines that are rounding, in units of that of r; and length of such residuals at most, relative to y.
NOISE, SMALL = 16.0, 1e-9
#: Relative steps with which a failed fit is looked at.
PROBE = 1e-3


def is_lower(other: OptimizeResult, outcome: OptimizeResult, data: CurveData) -> bool:
    """Return whether another outcome is better by more than rounding."""
    least = (EXACT * norm(data.whitened(np.broadcast_to(data.y, outcome.fun.shape)))) ** 2
    return bool(other.success and max(other.cost, least) < (1.0 - 1e-8) * outcome.cost)


def cause_of_failure(f: Callable, data: CurveData, start: np.ndarray, outcome: OptimizeResult) -> str:
    """Return the message of a failed fit, without a full stop; where it stalled, with what the model does around there.

    Parameters
    ----------
    f : callable
    data : CurveData
    start : ndarray of shape (p,)
    outcome : OptimizeResult
    """
    message = outcome.message.rstrip(".")
    if outcome.status != STALLED_CODE or not isinstance(outcome.jac, np.ndarray) or not np.isfinite(outcome.jac).all():
        return message
    theta, size = outcome.x, np.maximum(np.abs(outcome.x), PROBE * np.abs(start))
    size = np.where(size == 0.0, 1.0, size)
    with np.errstate(all="ignore"):
        changes = column_norms(outcome.jac) * size
        idle = np.flatnonzero(changes <= checks.EPS * norm(outcome.fun)).tolist()
        downhill = -np.sign(outcome.grad) * PROBE * size
        beyond = [] if idle else [j for j in range(theta.size) if _is_edge(f, data, theta, j, downhill[j])]
    if not idle and not beyond:
        return f"{message}. {noisy}" if (noisy := _noise(f, data, theta)) else message
    at = f"at {theta.tolist()}, a sum of squares of {2.0 * outcome.cost:.6g}"
    if idle:
        return (
            f"Stopped {at}, where the model does not change with parameters {idle} beyond rounding, so that nothing "
            "tells where to go: start where each parameter matters"
        )
    return (
        f"Stopped {at}, at the edge of where the model exists: it is NaN or inf beyond, for parameters {beyond}; bound "
        "them inside of the edge, or start elsewhere"
    )


def _noise(f: Callable, data: CurveData, theta: np.ndarray) -> str:
    """Return a sentence where the model gives other values each time, "" where it does not."""
    try:
        first, second = (np.array(f(data.x, *theta), dtype=np.float64) for _ in range(2))
    except Exception:  # a budget of its own, say: the fit's failure is the news
        return ""
    if first.shape != second.shape or np.array_equal(first, second, equal_nan=True):
        return ""
    return (
        f"The model is random: at the same parameters its values differ by {np.abs(first - second).max():.3g}; draw "
        "its random numbers once, before the fit"
    )


def _is_edge(f: Callable, data: CurveData, theta: np.ndarray, j: int, step: float) -> bool:
    """Return whether the model has no finite values where a step takes parameter j."""
    moved = theta.copy()
    moved[j] += step
    try:
        return not np.isfinite(np.asarray(f(data.x, *moved), dtype=np.float64)).all()
    except Exception:  # a function that cannot be evaluated there has no values there
        return True


def settle_at_rounding(outcome: OptimizeResult, level: float) -> None:
    """Call a stalled fit one that converged where the cosines between r and columns of J are the rounding of r.

    With y of the length `level` r has an error of about eps times that, which is no less than the cosines are where r
    is 1e-12 of y and shorter.
    """
    lengths = column_norms(outcome.jac)
    with np.errstate(all="ignore"):
        cosines = np.abs(outcome.grad) / (lengths * norm(outcome.fun))
    free = (lengths > 0.0) & (outcome.active_mask == 0)
    if (cosines[free] <= NOISE * checks.EPS * level / norm(outcome.fun)).all() and norm(outcome.fun) <= SMALL * level:
        outcome.status, outcome.success, outcome.reason = CODES["ftol"], True, "ftol"
        outcome.message = "`ftol` termination condition is satisfied: nothing more can be won in double precision."


def drop_drowned(outcome: OptimizeResult, size: np.ndarray, widest: np.ndarray, level: float) -> None:
    """Set columns of the Jacobian to 0 that an exact fit has left to rounding.

    Given are sizes of the parameters, the longest that the columns were, and the length of y, or of the first
    residuals where y is 0.

    In a*exp(-b*x) + c of constant data a is 1e-16: what is left of the column of b tells nothing of it.
    """
    level *= EXACT
    if norm(outcome.fun) <= level:
        J = outcome.jac
        length = np.sqrt(np.square(J).sum(axis=0))
        gone = (length <= DROWNED * widest) & (length * size <= level)
        if gone.any():
            outcome.jac = np.where(gone, 0.0, J)


def flat_directions(jac: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis, shape (p, k), of the directions that the column-scaled Jacobian hardly sees.

    Scaled back to the parameters, each of length 1. Rounding keeps a fit that began on a symmetry from lying on it to
    the last digit, so that some of these directions are not quite null vectors.
    """
    lengths = column_norms(jac)
    scale = np.where(lengths > 0.0, lengths, 1.0)
    _, size, right = np.linalg.svd(jac / scale, full_matrices=jac.shape[0] < jac.shape[1])
    weak = np.append(size, np.zeros(right.shape[0] - size.shape[0])) <= FLAT * size[0]
    directions = right[weak].T / scale[:, None]
    return directions / column_norms(directions)


def kicked(theta: np.ndarray, directions: np.ndarray, box: dict) -> list[np.ndarray]:
    """Return points a tenth of theta away along sums of directions that the Jacobian does not see, inside the box.

    A fit that starts on a symmetry of the model (two equal terms), or ends on a bound where the model is flat, has
    its Jacobian singular on the whole way: the residuals have a saddle there, which no first-order model leaves. What
    counts at a saddle is the sign of one direction beside that of another; the points farthest away come first.
    """
    size = np.where(theta == 0.0, 1.0, np.abs(theta))
    points = []
    for signs in itertools.product((1.0, -1.0), repeat=min(directions.shape[1], MOST_SIGNS)):
        with np.errstate(all="ignore"):
            d = directions[:, : len(signs)] @ np.array(signs)
            d = d * (KICK / np.max(np.abs(d) / size))
        points.append(np.clip(theta + d, box["lower"], box["upper"]) if box else theta + d)
    points = [point for point in points if np.isfinite(point).all()]
    return sorted(points, key=lambda point: -float(np.abs((point - theta) / size).sum()))


def shaken(theta: np.ndarray, box: dict) -> np.ndarray:
    """Return a start near theta on no symmetry: parameters moved by up to a tenth, no two by the same share."""
    share = KICK * np.linspace(0.3, 1.0, theta.size) * np.where(np.arange(theta.size) % 2, -1.0, 1.0)
    moved = theta + share * np.where(theta == 0.0, 1.0, np.abs(theta))
    return np.clip(moved, box["lower"], box["upper"]) if box else moved


def matrix_of(found: Covariance, advice: str, formula: Any) -> np.ndarray:
    """Return the covariance, shape (p, p), of inf with a warning where it cannot be estimated."""
    if np.isfinite(found.matrix).all():
        return found.matrix
    lost: list = np.flatnonzero(~found.identifiable).tolist()
    why = "there are as few points as parameters"
    if lost:
        why = f"parameters {lost} are not identifiable"
        if formula is not None:
            names = [formula.parameters[j] for j in lost]
            why = f"{why} ({', '.join(names)}: each name that is no column of x is a parameter)"
    if not lost and math.isfinite(found.variance):
        why = "the loss is flat at the optimum, too many points count as outliers"
        if np.isinf(found.matrix).any():
            why = "its numbers leave the range of floating point, give y and x other units"
    warn_caller(
        f"Covariance of the parameters could not be estimated: {why}; fix parameters, or add points{advice}.",
        OptimizeWarning,
    )
    return np.full(found.matrix.shape, np.inf)


def info_of(outcome: OptimizeResult) -> dict[str, Any]:
    """Return MINPACK's dictionary: fjac holds the columns of R as rows, ipvt counts from 1."""
    m, p = outcome.jac.shape
    factor = pivoted_qr(dense_jacobian(outcome.jac), outcome.fun)
    fjac = np.zeros((p, m))
    fjac[:, : factor.R.shape[0]] = factor.R.T
    return {
        "nfev": outcome.nfev,
        "fvec": outcome.fun,
        "fjac": fjac,
        "ipvt": (factor.perm + 1).astype(np.int32),
        "qtf": factor.qb,
        "result": outcome,
    }

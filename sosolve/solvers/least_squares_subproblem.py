"""Steps of a linearised least-squares problem from its pivoted QR factor: Gauss-Newton, Levenberg-Marquardt, dogleg.

All functions work in scaled and permuted variables z: with J P D^-1 = Q R and q = Q' r the model of the objective
is 1/2 ||R z + q||^2, and the trust region is ||z|| <= radius. NumPy float64 only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.linalg

from ..linalg import PivotedQR, solve_upper

#: How far ||z|| may be from the radius, as a fraction of it; Moré (1978), equation 5.2.
SLACK = 0.1
#: Newton iterations on the secular equation; MINPACK's lmpar has the same cap.
MAX_NEWTON = 10


class ModelStep(NamedTuple):
    """A step in scaled and permuted variables.

    Attributes
    ----------
    z : ndarray of shape (p,)
    length : float
        ||z||.
    damping : float
        The Levenberg-Marquardt parameter lambda; 0 for a Gauss-Newton step, NaN where there is none.
    """

    z: np.ndarray
    length: float
    damping: float


def gauss_newton(qr: PivotedQR) -> np.ndarray:
    """Return the minimiser of ||R z + q||, shape (p,); the shortest one where R is rank deficient or m < p."""
    R, q, rank = qr.R, qr.qb, qr.rank
    p = R.shape[1]
    if rank == p:
        return -solve_upper(R, q)
    if rank == 0:
        return np.zeros(p)
    return np.linalg.lstsq(R[:rank], -q[:rank], rcond=None)[0]


def levenberg_marquardt(qr: PivotedQR, radius: float, damping: float = 0.0) -> ModelStep:
    """Return the minimiser of ||R z + q|| within ||z|| <= radius, to a tenth of the radius.

    The step solves (R'R + lambda I) z = -R'q. The secular equation phi(lambda) = ||z(lambda)|| - radius = 0 is
    solved by Newton's method on 1/||z|| (Hebden's iteration) with Moré's safeguards.

    Parameters
    ----------
    qr : PivotedQR
    radius : float
        > 0.
    damping : float, default=0
        Where to start: the lambda of the step before.

    Returns
    -------
    ModelStep

    Notes
    -----
    Deviations from MINPACK's lmpar: each lambda is tried by a Householder factorisation of [R; sqrt(lambda) I]
    (LAPACK) rather than by Givens rotations, and a rank-deficient R gives the shortest Gauss-Newton step rather
    than a basic one.

    References
    ----------
    Moré, J. J. (1978). The Levenberg-Marquardt algorithm: implementation and theory. LNM 630, algorithm 5.5.
    """
    z = gauss_newton(qr)
    length = math.sqrt(float(z @ z))
    if length - radius <= SLACK * radius:
        return ModelStep(z, length, 0.0)
    low, high = _bracket(qr, z, length, radius)
    damping = min(max(damping, low), high) or (length and float(math.sqrt(qr.qb @ qr.qb)) / radius)
    previous = length - radius
    for _ in range(MAX_NEWTON):
        if damping == 0.0:
            damping = max(1e-300, 1e-3 * high)
        T, z = damped_solve(qr, damping)
        length = math.sqrt(float(z @ z))
        phi = length - radius
        if abs(phi) <= SLACK * radius or (low == 0.0 and phi <= previous < 0.0) or length == 0.0:
            break
        w = solve_upper(T, z / length, transpose=True)
        newton = phi / (radius * float(w @ w))
        low, high = (max(low, damping), high) if phi > 0.0 else (low, min(high, damping))
        damping, previous = max(low, damping + newton), phi
    return ModelStep(z, length, damping)


def _bracket(qr: PivotedQR, z: np.ndarray, length: float, radius: float) -> tuple[float, float]:
    """Return bounds of lambda: phi(0)/phi'(0) where R has full rank (else 0), and ||R'q|| / radius."""
    low = 0.0
    if qr.rank == qr.R.shape[1] and math.isfinite(length):
        w = solve_upper(qr.R, z / length, transpose=True)
        low = (length - radius) / (radius * float(w @ w))
    g = qr.qb @ qr.R
    return low, math.sqrt(float(g @ g)) / radius


def damped_solve(qr: PivotedQR, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor T with T'T = R'R + lambda I, shape (p, p), and z = -(T'T)^-1 R'q, shape (p,)."""
    k, p = qr.R.shape
    stacked = np.zeros((k + p, p + 1), order="F")
    stacked[:k, :p] = qr.R
    stacked[:k, p] = qr.qb
    index = np.arange(p)
    stacked[k + index, index] = math.sqrt(damping)
    packed = scipy.linalg.lapack.dgeqrf(stacked, overwrite_a=1)[0]
    T = packed[:p, :p]
    return T, -solve_upper(T, packed[:p, p])


def dogleg(qr: PivotedQR, radius: float, damping: float = math.nan) -> ModelStep:
    """Return the minimiser of ||R z + q|| along Powell's dogleg path within ||z|| <= radius.

    The path runs from 0 to the Cauchy point -(g'g / ||R g||^2) g, g = R'q, and on to the Gauss-Newton step.

    Parameters
    ----------
    qr : PivotedQR
    radius : float
        > 0.
    damping : float, optional
        Not used; the signature is that of `levenberg_marquardt`.

    Returns
    -------
    ModelStep

    References
    ----------
    Powell, M. J. D. (1970). A hybrid method for nonlinear equations. Nocedal and Wright (2006), equation 4.16.
    """
    newton = gauss_newton(qr)
    nn = float(newton @ newton)
    if nn <= radius * radius:
        return ModelStep(newton, math.sqrt(nn), 0.0)
    g = qr.qb @ qr.R
    Rg = qr.R @ g
    gg, curvature = float(g @ g), float(Rg @ Rg)
    cauchy = (-gg / curvature if curvature > 0.0 else -radius / math.sqrt(gg)) * g
    cc = float(cauchy @ cauchy)
    if cc >= radius * radius or not math.isfinite(nn):
        return ModelStep(cauchy * min(radius / math.sqrt(cc), 1.0), min(radius, math.sqrt(cc)), math.nan)
    leg = newton - cauchy
    along, ll, gap = float(cauchy @ leg), float(leg @ leg), radius * radius - cc
    root = math.sqrt(along * along + ll * gap)
    t = gap / (along + root) if along > 0.0 else (root - along) / ll
    return ModelStep(cauchy + t * leg, radius, math.nan)

"""Box bounds: a projected active set inside the trust region."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..linalg import PivotedQR, norm, pivoted_qr
from .least_squares_subproblem import ModelStep

#: Fraction of the linear decrease that the projected gradient step must keep; Conn, Gould and Toint (2000), 12.2.1.
SUFFICIENT = 0.1


@dataclass(frozen=True, eq=False)
class Box:
    """lower <= theta <= upper, componentwise.

    Parameters
    ----------
    lower, upper : ndarray of shape (p,)
        -inf and inf where there is no bound.
    """

    lower: np.ndarray
    upper: np.ndarray

    @classmethod
    def of(cls, lower: object, upper: object, size: int) -> Box | None:
        """Return the box of two settings (None, a number or p of them), None where nothing is bounded.

        Raises
        ------
        ValueError
            If a bound has the wrong length, is NaN, leaves no finite number, or a lower one exceeds the upper one.
        """
        if lower is None and upper is None:
            return None
        low, high = (
            np.full(size, default) if bound is None else _full(bound, name, size)
            for bound, name, default in ((lower, "lower", -np.inf), (upper, "upper", np.inf))
        )
        bad = np.flatnonzero(~(low <= high))
        if bad.size:
            j = int(bad[0])
            raise ValueError(
                f"received lower={low[j]:g} and upper={high[j]:g} for parameter {j}; expected lower <= upper: "
                "exchange them, or fix the parameter by equal bounds"
            )
        bad = np.flatnonzero((low == np.inf) | (high == -np.inf))
        if bad.size:
            j = int(bad[0])
            raise ValueError(
                f"received lower={low[j]:g} and upper={high[j]:g} for parameter {j}; expected room for a finite "
                "number: use lower=-inf and upper=inf where there is no bound"
            )
        return cls(low, high) if np.isfinite(low).any() or np.isfinite(high).any() else None

    def check_inside(self, theta: np.ndarray) -> None:
        """Raise ValueError where theta, shape (p,), lies outside the box."""
        outside = np.flatnonzero((theta < self.lower) | (theta > self.upper))
        if outside.size:
            j = int(outside[0])
            raise ValueError(
                f"received the starting value {theta[j]:g} for parameter {j}; expected one within "
                f"[{self.lower[j]:g}, {self.upper[j]:g}]: start inside the bounds, or widen them"
            )

    def free(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        """Return where a descent step may move, shape (p,): inside, or on a bound with the gradient pointing out."""
        held_low = (theta <= self.lower) & (grad > 0.0)
        held_high = (theta >= self.upper) & (grad < 0.0)
        return ~(held_low | held_high) & (self.lower < self.upper)

    def clip(self, theta: np.ndarray) -> np.ndarray:
        """Return the nearest point of the box, shape (p,)."""
        return np.minimum(np.maximum(theta, self.lower), self.upper)


def _full(bound: object, name: str, size: int) -> np.ndarray:
    values = np.asarray(bound, dtype=np.float64)
    if values.ndim == 0:
        values = np.full(size, float(values))
    if values.shape != (size,) or np.isnan(values).any():
        raise ValueError(
            f"received {name} of shape {values.shape}; expected {size} numbers, none of them NaN, one per parameter: "
            "use -inf or inf where a parameter has no bound"
        )
    return values


Subproblem = Callable[[PivotedQR, float, float], ModelStep]


def bounded_step(
    theta: np.ndarray,
    residual: np.ndarray,
    jac: np.ndarray,
    scale: np.ndarray,
    box: Box,
    free: np.ndarray,
    radius: float,
    damping: float,
    solve: Subproblem,
) -> tuple[np.ndarray, float, float]:
    """Return a step inside the box and the trust region, its damping and the decrease of the model.

    The subproblem is solved in the free variables; those it drives beyond a bound are set on that bound, and the
    rest is solved again with what remains of the radius, until none leaves the box. The projected gradient step is
    taken instead where its model decrease is larger: that secures convergence.

    Parameters
    ----------
    theta : ndarray of shape (p,)
    residual : ndarray of shape (m,)
    jac : ndarray of shape (m, p)
    scale : ndarray of shape (p,)
        D of the trust region ||D s|| <= radius.
    box : Box
    free : ndarray of shape (p,)
        Variables that may move at first.
    radius : float
    damping : float
        Where the search for lambda starts.
    solve : callable
        (factor, radius, damping) -> ModelStep in scaled and permuted variables.

    Returns
    -------
    target : ndarray of shape (p,)
        theta + s; exactly on a bound where the step ends there.
    damping : float
    predicted : float
        -(g's + ||J s||^2 / 2).
    """
    target, damping, hit = _active_set_target(theta, residual, jac, scale, box, free, radius, damping, solve)
    predicted = _decrease(residual, jac, target - theta)
    if hit:
        other = projected_gradient(
            theta,
            residual @ jac,
            lambda d: float(np.square(jac @ d).sum()),
            lambda s: _decrease(residual, jac, s),
            scale,
            box,
            free,
            radius,
        )
        other_predicted = _decrease(residual, jac, other - theta)
        if not predicted >= other_predicted:
            return other, math.nan, other_predicted
    return target, damping, predicted


def _active_set_target(
    theta: np.ndarray,
    residual: np.ndarray,
    jac: np.ndarray,
    scale: np.ndarray,
    box: Box,
    free: np.ndarray,
    radius: float,
    damping: float,
    solve: Subproblem,
) -> tuple[np.ndarray, float, bool]:
    """Return the target of the active-set iteration, its damping and whether a bound was hit."""
    free, target, hit, left = free.copy(), theta.copy(), False, radius
    while free.any() and left > 0.0:
        rest = residual + jac @ (target - theta) if hit else residual
        factor = pivoted_qr(jac[:, free] / scale[free], rest)
        found = solve(factor, left, damping)
        step = np.empty_like(found.z)
        step[factor.perm] = found.z
        trial = theta.copy()
        trial[free] += step / scale[free]
        damping = found.damping
        clipped = box.clip(trial)
        beyond = free & (clipped != trial)
        if not beyond.any():
            target[free] = trial[free]
            break
        hit = True
        target[beyond] = clipped[beyond]
        free &= ~beyond
        used = scale * (target - theta)
        left = math.sqrt(max(radius * radius - float(used @ used), 0.0)) if math.isfinite(radius) else radius
    return target, damping, hit


def projected_gradient(
    theta: np.ndarray,
    grad: np.ndarray,
    curvature: Callable[[np.ndarray], float],
    decrease: Callable[[np.ndarray], float],
    scale: np.ndarray,
    box: Box,
    free: np.ndarray,
    radius: float,
) -> np.ndarray:
    """Return a point along the projected scaled gradient path with a sufficient decrease of the model.

    Parameters
    ----------
    theta, grad : ndarray of shape (p,)
    curvature : callable
        d -> d'Hd.
    decrease : callable
        s -> -(g's + s'Hs / 2).
    scale, box, free, radius
        See `bounded_step`.
    """
    g = np.where(free, grad, 0.0)
    d = -g / scale**2
    bent, length = curvature(d), norm(scale * d)
    if length == 0.0:
        return theta
    t = -float(g @ d) / bent if bent > 0.0 else math.inf
    t = min(t, radius / length)
    if not math.isfinite(t):
        t = 1.0
    for _ in range(60):
        target = box.clip(theta + t * d)
        s = target - theta
        if decrease(s) >= -SUFFICIENT * float(g @ s):
            return target
        t *= 0.5
    return theta


def _decrease(residual: np.ndarray, jac: np.ndarray, s: np.ndarray) -> float:
    """Return (||r||^2 - ||r + J s||^2) / 2 without the cancellation of that difference."""
    Js = jac @ s
    return -float(residual @ Js) - 0.5 * float(Js @ Js)

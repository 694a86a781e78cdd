"""Box bounds: a projected active set inside the trust region."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..linalg import norm

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


#: (free, r, radius, damping) -> the step in scaled variables, shape (p,), 0 in those that are not free; its damping.
FreeStep = Callable[[np.ndarray, np.ndarray, float, float], tuple[np.ndarray, float]]


class Region(NamedTuple):
    """Where a step from theta may go: inside the box and ||D s|| <= radius.

    Attributes
    ----------
    theta : ndarray of shape (p,)
    scale : ndarray of shape (p,)
        D.
    box : Box
    free : ndarray of shape (p,)
        Variables that may move at first.
    radius : float
    """

    theta: np.ndarray
    scale: np.ndarray
    box: Box
    free: np.ndarray
    radius: float


class Model(Protocol):
    """A quadratic model g's + s'Hs / 2 of how a step s changes the objective."""

    @property
    def g(self) -> np.ndarray:
        """Its gradient at theta, shape (p,)."""

    def curvature(self, d: np.ndarray) -> float:
        """Return d'Hd."""

    def decrease(self, s: np.ndarray) -> float:
        """Return -(g's + s'Hs / 2)."""


class ResidualModel(NamedTuple):
    """The model of 1/2 ||r||^2 by r + J s.

    Attributes
    ----------
    residual : ndarray of shape (m,)
    jac : array, sparse array or LinearOperator of shape (m, p)
    g : ndarray of shape (p,)
        J'r.
    """

    residual: np.ndarray
    jac: Any
    g: np.ndarray

    def curvature(self, d: np.ndarray) -> float:
        """Return ||J d||^2."""
        return float(np.square(self.jac @ d).sum())

    def decrease(self, s: np.ndarray) -> float:
        """Return (||r||^2 - ||r + J s||^2) / 2 without the cancellation of that difference."""
        Js = self.jac @ s
        return -float(self.residual @ Js) - 0.5 * float(Js @ Js)


def bounded_step(
    region: Region, model: ResidualModel, damping: float, solve: FreeStep
) -> tuple[np.ndarray, float, float]:
    """Return a step inside the box and the trust region, its damping and the decrease of the model.

    The subproblem is solved in the free variables; those it drives beyond a bound are set on that bound, and the
    rest is solved again with what remains of the radius, until none leaves the box. The projected gradient step is
    taken instead where its model decrease is larger: that secures convergence.

    Parameters
    ----------
    region : Region
    model : ResidualModel
    damping : float
        Where the search for lambda starts.
    solve : callable
        See `FreeStep`.

    Returns
    -------
    target : ndarray of shape (p,)
        theta + s; exactly on a bound where the step ends there.
    damping : float
    predicted : float
        -(g's + ||J s||^2 / 2).
    """
    target, damping, hit = _active_set_target(region, model, damping, solve)
    predicted = model.decrease(target - region.theta)
    if hit:
        other = projected_gradient(region, model)
        other_predicted = model.decrease(other - region.theta)
        if not predicted >= other_predicted:
            return other, math.nan, other_predicted
    return target, damping, predicted


def _active_set_target(
    region: Region, model: ResidualModel, damping: float, solve: FreeStep
) -> tuple[np.ndarray, float, bool]:
    """Return the target of the active-set iteration, its damping and whether a bound was hit."""
    theta, scale, box, free, radius = region
    free, target, hit, left = free.copy(), theta.copy(), False, radius
    while free.any() and left > 0.0:
        rest = model.residual + model.jac @ (target - theta) if hit else model.residual
        step, damping = solve(free, rest, left, damping)
        trial = np.where(free, theta + step / scale, target)
        clipped = box.clip(trial)
        beyond = free & (clipped != trial)
        if not beyond.any():
            return trial, damping, hit
        hit = True
        target[beyond] = clipped[beyond]
        free &= ~beyond
        used = scale * (target - theta)
        left = math.sqrt(max(radius * radius - float(used @ used), 0.0)) if math.isfinite(radius) else radius
    return target, damping, hit


def projected_gradient(region: Region, model: Model) -> np.ndarray:
    """Return a point along the projected scaled gradient path with a sufficient decrease of the model."""
    theta, scale, box, free, radius = region
    g = np.where(free, model.g, 0.0)
    d = -g / scale**2
    bent, length = model.curvature(d), norm(scale * d)
    if not 0.0 < length < math.inf:
        return theta
    t = -float(g @ d) / bent if bent > 0.0 else math.inf
    t = min(t, radius / length)
    if not math.isfinite(t):
        t = 1.0
    for _ in range(60):
        target = box.clip(theta + t * d)
        s = target - theta
        if model.decrease(s) >= -SUFFICIENT * float(g @ s):
            return target
        t *= 0.5
    return theta

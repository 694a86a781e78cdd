"""The model of proximal Newton, a quadratic plus a separable penalty, minimised by coordinates and faces in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..history import InnerStop
from ..linalg import cholesky, cholesky_solve, max_abs
from ..protocols import Array

#: Most sweeps over the coordinates between two solves on a face.
SWEEPS = 5
#: Gradients below this fraction of the largest component at the start are rounding of the products with H.
ROUNDING = 1e-13
#: Changes of a parameter that are rounding.
EPS = 4e-16
#: Most solves on faces, each with fewer parameters than the one before, between the first sweeps. Where they do not
#: end on a face there are twice as many the next time: with dependent columns sweeps undo what such a chain has begun.
STEPS = 30
#: The same where the model need not be minimised exactly: sweeps drop more parameters at a time.
ROUGH_STEPS = 1


@dataclass(frozen=True, slots=True)
class ModelMinimiser:
    """The (approximate) minimiser u of the model and how it was found.

    Attributes
    ----------
    u : Array of shape (p,)
    linear : float
        g'(u - theta) + h(u) - h(theta), negative unless theta is the minimiser.
    predicted : float
        Decrease of the model from theta to u: half the squared decrement.
    iterations : int
        Sweeps and solves.
    stop : InnerStop
        RESIDUAL, or CAP where the rounds ran out.
    """

    u: Array
    linear: float
    predicted: float
    iterations: int
    stop: InnerStop


def linear_change(g: Any, penalty: Any, theta: Any, d: Any) -> float:
    """Return g'd + h(theta + d) - h(theta), summed by parameters: both parts nearly cancel near the optimum."""
    return float(np.sum(g * d + penalty.strengths * (np.abs(theta + d) - np.abs(theta))))


def minimise_model(
    H: Any,
    g: Any,
    theta: Any,
    penalty: Any,
    *,
    rtol: float = 1e-2,
    exact: bool = True,
    begin: Any | None = None,
    max_rounds: int = 100,
) -> ModelMinimiser:
    """Return the minimiser of g'(u - theta) + (u - theta)'H(u - theta) / 2 + h(u).

    Sweeps of coordinate descent find which parameters are zero or at a bound; a Cholesky solve in the others finds
    the minimiser of that face, however ill-conditioned it is. The step towards it ends where it meets a kink or a
    bound, or beyond it, projected, where that is better. It is over when no parameter wants to leave its place by
    more than `rtol` of the largest subgradient at theta, or when nothing moves.

    Parameters
    ----------
    H : Array of shape (p, p)
        Positive semidefinite.
    g : Array of shape (p,)
        Gradient of the smooth part at theta.
    theta : Array of shape (p,)
    penalty : Separable
        h.
    rtol : float, default=1e-2
        In (0, 1).
    exact : bool, default=True
        Whether the last face must have been solved in full.
    begin : Array of shape (p,), optional
        Where to begin; theta where None.
    max_rounds : int, default=100
        Of sweeps and solves, >= 1.

    Returns
    -------
    ModelMinimiser

    References
    ----------
    Friedman, Hastie and Tibshirani (2010). Regularization paths for generalized linear models via coordinate descent.
    J. Statist. Software 33(1), section 2.6. Faces: Lee, Battle, Raina and Ng (2006). Efficient sparse coding
    algorithms. NIPS 19, algorithm 1.
    """
    u, r = (theta, g) if begin is None else (begin, g + H @ (begin - theta))
    goal = max(rtol * max_abs(penalty.subgradient(theta, g)), ROUNDING * max_abs(g))
    faces = _Faces(H, g, theta, penalty)
    iterations, stop, steps = 0, InnerStop.CAP, STEPS if exact else ROUGH_STEPS
    for _ in range(max_rounds):
        begun = u
        for _ in range(SWEEPS):
            before = penalty.free(u)
            u, r = penalty.descend(H, r, u)
            iterations += 1
            if bool(np.all(before == penalty.free(u))):
                break
        if not exact and max_abs(penalty.subgradient(u, r)) <= goal:
            stop = InnerStop.RESIDUAL
            break
        for _ in range(steps):
            u, r, full = faces.step(u, r)
            iterations += 1
            if full:
                break
        steps *= 1 if full else 2
        still = bool(np.all(np.abs(u - begun) <= EPS * np.abs(u)))
        if still or ((full or not exact) and max_abs(penalty.subgradient(u, r)) <= goal):
            stop = InnerStop.RESIDUAL
            break
    d = u - theta
    linear = linear_change(g, penalty, theta, d)
    return ModelMinimiser(u, linear, -linear - 0.5 * float(d @ (r - g)), iterations, stop)


class _Faces:
    """Steps to the minimiser of the model on the face of an iterate: its zeros and active bounds kept.

    Where H is singular on a face, a multiple of its diagonal is added, the smallest that has been safe so far.
    """

    def __init__(self, H: Any, g: Any, theta: Any, penalty: Any):
        self.H, self.g, self.theta, self.penalty = H, g, theta, penalty
        diagonal = np.diagonal(H)
        self.scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
        self.shift = 0.0

    def step(self, u: Any, r: Any) -> tuple[Any, Any, bool]:
        """Return (u, r) after a step to the minimiser on the face of u, and whether it got there."""
        free = np.flatnonzero(self.penalty.free(u))
        if not len(free):
            return u, r, True
        part, start = self.penalty.restricted(free), u[free]
        face = self.H if len(free) == len(u) else self.H[np.ix_(free, free)]
        s = self._solve(face, self.scale[free], part.subgradient(start, r[free]))
        if s is None:
            return u, r, False
        reach = part.reach(start, s)
        if reach >= 1.0:
            moved = part.project(start + s)
        else:
            moved = part.within_orthant(start, start + reach * s)
            moved[part.hits(start, s, reach)] = 0.0  # rounding aside
            beyond = part.within_orthant(start, start + s)
            if _model(face, r[free], part, start, beyond) < _model(face, r[free], part, start, moved):
                moved = beyond
        u = u.copy()
        u[free] = moved
        return u, self.g + self.H @ (u - self.theta), reach >= 1.0

    def _solve(self, face: Any, scale: Any, r: Any) -> Any:
        """Return -(face + shift diag)^-1 r, None where no shift is safe."""
        scaled = face * scale[:, None]
        scaled *= scale
        diagonal = scaled.diagonal().copy()
        while self.shift < 1.0:
            np.fill_diagonal(scaled, diagonal + self.shift)
            L = cholesky(scaled)
            if L is not None:
                return -scale * cholesky_solve(L, scale * r)
            self.shift = 10.0 * self.shift if self.shift else 10.0 * EPS * len(r)
        return None


def _model(H: Any, r: Any, penalty: Any, u: Any, moved: Any) -> float:
    """Return the change of the model from u, where the gradient of the quadratic is r, to another place."""
    d = moved - u
    return linear_change(r, penalty, u, d) + 0.5 * float(d @ (H @ d))

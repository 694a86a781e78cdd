"""Box bounds for smooth functions: the trust region in the variables that are free to move."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..history import InnerStop
from ..linalg import dot, max_abs, norm
from ..protocols import Point
from .bounds import SUFFICIENT, Box, Region, projected_gradient
from .newton import CGState
from .quasi_newton import SAFE_CURVATURE
from .subproblem import Subproblem, steihaug
from .trust_region import TrustRegion

#: Faces of the box that one step may pass.
MAX_FACES = 20

#: An ndarray of shape (p,).
Vector = Any
Products = Callable[[Vector], Vector]


@dataclass(kw_only=True)
class BoundedTrustRegion(TrustRegion):
    """Trust region within lower <= theta <= upper, on Hessian-vector products; NumPy float64 only.

    Steihaug's CG minimises the model over the variables that are not held by a bound. Where that drives some beyond
    one, the step is bent along the box as far as the model falls, and CG goes on over the rest with what remains of
    the radius. The projected gradient step is taken where the model prefers it. Converged means that the largest
    component of theta - P(theta - g), P the projection on the box, is within gtol, and what the model can still win
    within tol^2 times the value.

    Parameters
    ----------
    lower, upper : float or array-like of shape (p,), optional
        Box that no iterate leaves; the final point may lie exactly on a bound.

    References
    ----------
    Conn, Gould and Toint (1988). Global convergence of a class of trust region algorithms for optimization with
    simple bounds. SIAM J. Numer. Anal. 25, 433-460. Lin and Moré (1999), SIAM J. Optim. 9, 1100-1127, for CG from face
    to face. Deviation: the gradient step is computed only where a bound was met.
    """

    preconditioner: str = "none"
    lower: Any = None
    upper: Any = None

    def box(self, size: int) -> Box:
        """Return the bounds, infinite where there are none."""
        found = Box.of(self.lower, self.upper, size)
        return Box(np.full(size, -np.inf), np.full(size, np.inf)) if found is None else found

    def start(self, point: Any) -> CGState:
        """Return the state with the first radius.

        Raises
        ------
        ValueError
            If the start lies outside the bounds.
        """
        self.box(point.theta.shape[0]).check_inside(point.theta)
        return super().start(point)

    def converged(self, point: Any, half_squared_decrement: float) -> bool:
        """Return whether the point meets `tol` and `gtol`."""
        gtol = self.decrement_tol if self.gtol is None else self.gtol
        return half_squared_decrement <= self.level(point) and max_abs(self.projected(point)) <= gtol

    def projected(self, point: Any) -> Vector:
        """Return theta - P(theta - g), shape (p,): 0 where the point is stationary within the box."""
        return point.theta - self.box(point.theta.shape[0]).clip(point.theta - point.grad)

    def estimate(self, solved: Subproblem) -> float:
        """Return the decrease of the model: on a bound the slope would say too much."""
        return solved.predicted

    def trial(self, point: Any, solved: Subproblem) -> Point:
        """Return the point at the end of the step, exactly on the bounds that it meets."""
        return point.at(self.box(point.theta.shape[0]).clip(point.theta + solved.step))

    def products(self, point: Any, state: Any) -> Products:
        """Return v -> H v."""
        return point.curvature.mv

    def solve(self, point: Any, state: CGState) -> tuple[CGState, Subproblem, float]:
        """Return the next state, the minimiser of the model within radius and box, and NaN: H is not shifted."""
        mv = self.products(point, state)
        box = self.box(point.theta.shape[0])
        free = box.free(point.theta, point.grad)
        size, rtol = self.forcing(point, state)
        model = _Model(mv, point.grad)
        s, count, stop, hit = self._on_faces(point, model, box, free, state.radius, rtol)
        predicted = model.decrease(s)
        if hit:
            region = Region(point.theta, np.ones_like(s), box, free, state.radius)
            other = projected_gradient(region, model) - point.theta
            if not predicted >= (won := model.decrease(other)):
                s, predicted = other, won
        solved = Subproblem(s, dot(point.grad, s), predicted, norm(s), count, stop)
        return replace(state, cg=count, grad_size=size, rtol=rtol), solved, math.nan

    def _on_faces(
        self, point: Any, model: _Model, box: Box, free: Vector, radius: float, rtol: float
    ) -> tuple[Vector, int, InnerStop, bool]:
        """Return a step over some faces, its products, how the last CG ended and whether a bound was met."""
        s, count, stop, hit, left = np.zeros_like(point.theta), 0, InnerStop.NONE, False, radius
        for _ in range(MAX_FACES):
            if not free.any() or not left > 0.0:
                break
            g: Vector = np.where(free, point.grad + model.product(s) if hit else point.grad, 0.0)
            solved = steihaug(
                partial(model.within, free),
                g,
                left,
                rtol=rtol,
                max_iter=self.max_cg,
                level=self.level(point),
            )
            count, stop = count + solved.iterations, solved.stop
            if (box.clip(aim := point.theta + s + solved.step) == aim).all():
                return s + solved.step, count, stop, hit
            hit, s = True, _bent(point.theta, s, solved.step, g, model, box)
            end = point.theta + s
            free = free & (end > box.lower) & (end < box.upper)
            left = math.sqrt(max(radius * radius - dot(s, s), 0.0)) if math.isfinite(radius) else radius
        return s, count, stop, hit


def _bent(theta: Vector, s: Vector, step: Vector, g: Vector, model: _Model, box: Box) -> Vector:
    """Return a step along the projection of s + t step with a sufficient decrease of the model, halving t from 1.

    The last one tried ends at the first bound: up to there the path is straight, and the model falls.
    """
    start, nearest = theta + s, np.where(step > 0.0, box.upper, box.lower)
    with np.errstate(all="ignore"):
        reach = np.where(
            step > 0.0, (box.upper - start) / step, np.where(step < 0.0, (box.lower - start) / step, np.inf)
        )
    first, t, before = float(reach.min()), 1.0, model.decrease(s)
    while t > first:
        bent = box.clip(start + t * step) - theta
        if model.decrease(bent) - before >= -SUFFICIENT * dot(g, bent - s):
            return bent
        t *= 0.5
    bent = start + first * step
    return box.clip(np.where(reach == first, nearest, bent)) - theta  # exactly on that bound


class _Model:
    """g's + s'Hs / 2; the last product is kept."""

    def __init__(self, mv: Products, g: Vector):
        self.mv, self.g = mv, g
        self._last: tuple[Vector, Vector] | None = None

    def product(self, s: Vector) -> Vector:
        """Return H s."""
        if self._last is None or not np.array_equal(self._last[0], s):
            self._last = s, self.mv(s)
        return self._last[1]

    def within(self, free: Vector, v: Vector) -> Vector:
        """Return H v in the free variables, 0 in the others."""
        return np.where(free, self.mv(v), 0.0)

    def curvature(self, d: Vector) -> float:
        """Return d'Hd."""
        return dot(d, self.product(d))

    def decrease(self, s: Vector) -> float:
        """Return -(g's + s'Hs / 2)."""
        return -dot(self.g, s) - 0.5 * self.curvature(s) if s.any() else 0.0


@dataclass(kw_only=True)
class BoundedLBFGS(BoundedTrustRegion):
    """L-BFGS within bounds: the model's Hessian is learnt from the last pairs of steps and changes of the gradient.

    B = (y'y / s'y) I of the last pair, updated by y y'/s'y - B s s'B / s'B s for each pair in turn.

    Parameters
    ----------
    memory : int, default=20
        Pairs kept, >= 1.

    References
    ----------
    Nocedal and Wright (2006), equation 6.19. Burke, Wiegmann and Xu (2008), Limited memory BFGS updating in a trust
    region framework.
    """

    name: ClassVar[str] = "lbfgs"
    memory: int = 20
    _ranges: ClassVar[tuple[tuple[str, float, float], ...]] = (*TrustRegion._ranges, ("memory", 1, math.inf))

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the model asks for: gradients alone."""
        return ("grad",)

    def start(self, point: Any) -> CGState:
        """Return the state without pairs."""
        self.box(point.theta.shape[0]).check_inside(point.theta)
        radius = math.inf if self.radius0 is None else float(self.radius0)
        return CGState("none", None, point.theta, self.rtol_max, radius=radius, pairs=())

    def products(self, point: Any, state: CGState) -> Products:
        """Return v -> B v."""
        if not state.pairs:
            # the first step has length 1 at most, as in a line search
            free = self.box(point.theta.shape[0]).free(point.theta, point.grad)
            size = max(1.0, norm(point.grad[free]))
            return lambda v: size * v
        _, y, sy = state.pairs[-1]
        base = dot(y, y) / sy
        added: list[Vector] = []
        removed: list[Vector] = []

        def product(v: Vector) -> Vector:
            out = base * v
            for a, b in zip(added, removed, strict=True):
                out = out + dot(a, v) * a - dot(b, v) * b
            return out

        for s, y, sy in state.pairs:
            Bs = product(s)
            a, b = y / math.sqrt(sy), Bs / math.sqrt(dot(s, Bs))
            added.append(a)
            removed.append(b)
        return product

    def forcing(self, point: Any, state: CGState) -> tuple[float, float]:
        """Return NaN and the forcing term: the model costs no evaluation, so it is solved well."""
        return math.nan, 1e-3

    def learn(self, point: Any, trial: Any, state: Any) -> CGState:
        """Return the state with the pair of a trial, where that is finite and tells of positive curvature."""
        s, y = trial.theta - point.theta, trial.grad - point.grad
        sy = dot(s, y)
        if not SAFE_CURVATURE * norm(s) * norm(y) < sy < math.inf:
            return state
        return replace(state, pairs=(*(state.pairs or ()), (s, y, sy))[-int(self.memory) :])

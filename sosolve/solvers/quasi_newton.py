"""Quasi-Newton: the inverse Hessian is learnt from successive gradients, densely (BFGS) or from the last few."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from array_api_compat import array_namespace, device

from ..history import Status
from ..linalg import dot, dot_and_norms, norm
from ..protocols import Array, Point
from .base import Solver, Step
from .line_search import ROUNDING, strong_wolfe
from .pairs import Pair, two_loop
from .precondition import Jacobi, Preconditioner, make_preconditioner
from .subproblem import steihaug

#: Relative length of a first step that is lost in rounding.
LOST = 2.3e-16

#: Pairs with s'y below this fraction of |s||y| carry no curvature and are skipped.
SAFE_CURVATURE = 1e-10


class QuasiState(NamedTuple):
    """What the quasi-Newton solvers carry from one iteration to the next.

    Attributes
    ----------
    memory : object
        What was learnt from the pairs; None for nothing.
    try_below : float
        Half the squared decrement from which the next confirmation is tried.
    precond : callable or None
        v -> M^-1 v, the inverse Hessian before any pair.
    age : int
        Iterations since it was built.
    """

    memory: Any = None
    try_below: float = math.inf
    precond: Preconditioner | None = None
    age: int = 0


@dataclass(kw_only=True)
class QuasiNewton(Solver):
    """The iteration that BFGS and L-BFGS share: direction, strong Wolfe search, safeguarded update.

    Where the objective offers a rough inverse of its curvature, that is the inverse Hessian before any pair: the one
    that costs no pass over the data at first, and a better one from a sample of the rows after each `refresh`
    iterations, for most fits end before.

    Parameters
    ----------
    confirm_cg : int, default=20
        Most CG iterations spent on confirming the decrement before the fit ends, >= 0; where the objective has no
        curvature the solver's own estimate decides.
    preconditioner : {"auto", "none"}, default="auto"
        "none" begins with a multiple of the identity.
    refresh : int, default=10
        Iterations, >= 1, after which the preconditioner is built anew.
    sample_rows : float, default=0.05
        Fraction of the data rows for it, in (0, 1].
    dense_size : int, default=512
        Most parameters for which it may be a factorised p x p matrix, >= 0.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    confirm_cg: int = 20
    preconditioner: str = "auto"
    refresh: int = 10
    sample_rows: float = 0.05
    dense_size: int = 512
    _ranges: ClassVar[tuple[tuple[str, float, float], ...]] = (
        ("confirm_cg", 0, math.inf),
        ("refresh", 1, math.inf),
        ("sample_rows", 1e-6, 1.0),
        ("dense_size", 0, math.inf),
    )
    _choices: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = (("preconditioner", ("auto", "none")),)

    def direction(self, g: Array, memory: Any, precond: Preconditioner | None = None) -> Array:
        """Return -B g for the present inverse Hessian B."""
        raise NotImplementedError(f"{type(self).__name__} has no direction: define direction(g, memory, precond)")

    def update(self, memory: Any, s: Array, y: Array, sy: float, precond: Preconditioner | None = None) -> Any:
        """Return the memory after the pair s (step), y (change of the gradient), sy = s'y > 0."""
        raise NotImplementedError(f"{type(self).__name__} has no update: define update(memory, s, y, sy, precond)")

    def start(self, point: Point) -> QuasiState:
        """Return an empty memory, and the preconditioner that costs no pass."""
        return QuasiState(precond=self._built("rough", point))

    def _built(self, kind: str, point: Point) -> Preconditioner | None:
        """Return a preconditioner where the objective offers a rough inverse, else None."""
        make = getattr(getattr(point, "curvature", None), "rough_inverse", None)
        if self.preconditioner == "none" or make is None or (kind == "rough" and make() is None):
            return None
        return make_preconditioner(kind, point.curvature, self.sample_rows, point.theta.shape[0], self.dense_size)

    def _refreshed(self, point: Point, state: QuasiState) -> QuasiState:
        """Return the state with a preconditioner that fits this point, where the time for it has come."""
        if state.precond is None or state.age < self.refresh:
            return state._replace(age=state.age + 1)
        return state._replace(precond=self._built("strong", point), age=1)

    def step(self, point: Point, state: QuasiState) -> Step:
        """Return the outcome of one iteration."""
        state = self._refreshed(point, state)
        memory, try_below, precond, _ = state
        g = point.grad
        d = self.direction(g, memory, precond)
        slope = dot(g, d)
        if not slope < 0.0:
            memory, d = None, -g
            slope = -dot(g, g)
        estimate = -0.5 * slope
        record: dict[str, Any] = dict(predicted=estimate, decrement=math.sqrt(2.0 * estimate))
        known = memory is not None or precond is not None or slope == 0.0
        if known and estimate <= try_below and self.converged(point, estimate):
            estimate, record["inner_iterations"], record["inner_stop"] = self.confirm(point, estimate)
            record["decrement"] = math.sqrt(2.0 * estimate)
            if self.converged(point, estimate):
                return Step(point, state, False, Status.CONVERGED, **record)
            try_below = 0.1 * record["predicted"]
        # Without curvature information the first trial has length 1 at most.
        t0 = 1.0 if memory is not None or precond is not None else _first_step(norm(g), norm(point.theta))
        found = strong_wolfe(point.along(d), point, d, slope, t0=t0)
        if found.point is None:
            if memory is not None or precond is not None:  # once more from steepest descent before giving up
                return Step(point, QuasiState(try_below=try_below), False, **record)
            floor = ROUNDING * abs(point.value)
            status = Status.STALLED if abs(slope) <= floor else Status.LINE_SEARCH_FAILED
            return Step(point, state, False, status, **record)
        s, y = found.step_size * d, found.point.grad - g
        sy, length, change = dot_and_norms(s, y)
        if sy > SAFE_CURVATURE * length * change:
            memory = self.update(memory, s, y, sy, precond)
        record.update(step_size=found.step_size, step_norm=length, actual=found.actual)
        return Step(found.point, state._replace(memory=memory, try_below=try_below), True, **record)

    def confirm(self, point: Point, estimate: float) -> tuple[float, int, Any]:
        """Return half the squared decrement by CG on the curvature, the CG iterations and why they ended.

        CG's value grows with each iteration towards the true one; where it exceeds the tolerance the fit goes on.
        """
        curvature = getattr(point, "curvature", None)
        if curvature is None or not self.confirm_cg:
            return estimate, 0, 0
        precond = Jacobi(curvature.diag())
        solved = steihaug(curvature.mv, point.grad, precond=precond, rtol=0.1, max_iter=self.confirm_cg)
        return -0.5 * solved.slope, solved.iterations, solved.stop


def _first_step(length: float, size: float) -> float:
    """Return the step along a gradient of this length: of length 1 at most, and not lost in a theta of this size."""
    t, size = min(1.0, 1.0 / length), size or 1.0
    return t if t * length > LOST * size else 0.01 * size / length


@dataclass(kw_only=True)
class BFGS(QuasiNewton):
    """BFGS with a dense inverse Hessian (p x p numbers) and a strong Wolfe line search.

    B <- (I - s y'/s'y) B (I - y s'/s'y) + s s'/s'y, from B = (s'y / y'y) I at the first pair.

    References
    ----------
    Nocedal and Wright (2006), algorithm 6.1 with equation 6.20.
    """

    name: ClassVar[str] = "bfgs"

    def _refreshed(self, point: Point, state: QuasiState) -> QuasiState:
        """Return the state that starts from a new preconditioner, where the time for it has come."""
        found = super()._refreshed(point, state)
        return found if found.precond is state.precond else found._replace(memory=None)

    def direction(self, g: Array, memory: Array | None, precond: Preconditioner | None = None) -> Array:
        """Return -B g."""
        if memory is None:
            return -precond(g) if precond else -g
        return -(memory @ g)

    def update(
        self, memory: Array | None, s: Array, y: Array, sy: float, precond: Preconditioner | None = None
    ) -> Array:
        """Return the updated inverse Hessian, shape (p, p)."""
        xp = array_namespace(s)
        if memory is None and precond is not None:
            eye = xp.eye(s.shape[0], dtype=s.dtype, device=device(s))
            B = xp.stack([precond(eye[k, :]) for k in range(s.shape[0])])
            memory = 0.5 * (B + xp.matrix_transpose(B))
        if memory is None:
            yy: Any = y @ y
            memory = (sy / yy) * xp.eye(s.shape[0], dtype=s.dtype, device=device(s))
        B = memory
        By = B @ y
        yBy: Any = y @ By
        factor = (1.0 + yBy / sy) / sy
        outer = By[:, None] * s[None, :]
        return B + factor * (s[:, None] * s[None, :]) - (outer + xp.matrix_transpose(outer)) / sy


@dataclass(kw_only=True)
class LBFGS(QuasiNewton):
    """L-BFGS: the two-loop recursion over the last pairs, and a strong Wolfe line search.

    Parameters
    ----------
    memory : int, default=20
        Pairs kept, >= 1.

    References
    ----------
    Nocedal, J. (1980). Updating quasi-Newton matrices with limited storage. Math. Comp. 35, 773-782.
    Nocedal and Wright (2006), algorithms 7.4 and 7.5.
    """

    name: ClassVar[str] = "lbfgs"
    memory: int = 20
    _ranges: ClassVar[tuple[tuple[str, float, float], ...]] = (*QuasiNewton._ranges, ("memory", 1, math.inf))

    def direction(self, g: Array, memory: tuple[Pair, ...] | None, precond: Preconditioner | None = None) -> Array:
        """Return the two-loop product -B g."""
        return -two_loop(g, memory or (), precond)

    def update(
        self, memory: tuple | None, s: Array, y: Array, sy: float, precond: Preconditioner | None = None
    ) -> tuple:
        """Return the last `memory` pairs."""
        return (*(memory or ()), (s, y, sy))[-int(self.memory) :]

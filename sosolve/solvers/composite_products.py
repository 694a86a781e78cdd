"""The model of proximal Newton minimised by products with its matrix alone: no p x p array is formed."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ..history import InnerStop
from ..linalg import max_abs
from .composite_model import ROUNDING, ModelMinimiser, linear_change
from .subproblem import steihaug

#: How far conjugate gradients reduce the residual on one face, and the most products there.
FACE_RTOL, FACE_PRODUCTS = 0.03, 500
#: How much a bound on the curvature grows beyond what a step has met.
GROWTH = 1.5


def minimise_by_products(
    curvature: Any,
    g: Any,
    theta: Any,
    penalty: Any,
    *,
    rtol: float = 1e-2,
    begin: Any | None = None,
    max_rounds: int = 100,
) -> ModelMinimiser:
    """Return the minimiser of g'(u - theta) + (u - theta)'H(u - theta) / 2 + h(u) from products H v.

    A proximal gradient step in the metric of the diagonal releases zeros and active bounds and finds new ones;
    conjugate gradients then go towards the minimiser on the face that it has found, to the first kink or beyond it,
    projected, where that is better. It is over when no parameter wants to leave its place by more than `rtol` of the
    largest subgradient at theta.

    Parameters
    ----------
    curvature : Curvature
        H, positive semidefinite, by `mv` and `diag`.
    g, theta : Array of shape (p,)
        Gradient of the smooth part at theta, and theta.
    penalty : Separable
        h.
    rtol : float, default=1e-2
        In (0, 1).
    begin : Array of shape (p,), optional
        Where to begin; theta where None.
    max_rounds : int, default=100
        >= 1.

    Returns
    -------
    ModelMinimiser

    References
    ----------
    Chen, Curtis and Robinson (2017). A reduced-space algorithm for minimizing l1-regularized convex functions. SIAM J.
    Optim. 27(3), 1583-1610, algorithm 1; here both kinds of step are taken in every round.
    """
    u, r = (theta, g) if begin is None else (begin, g + curvature.mv(begin - theta))
    goal = max(rtol * max_abs(penalty.subgradient(theta, g)), ROUNDING * max_abs(g))
    diagonal = curvature.diag()
    diagonal = np.where(diagonal > 0.0, diagonal, 1.0)
    steepest, iterations, stop = 1.0, 0, InnerStop.CAP
    for _ in range(max_rounds):
        u, r, steepest = _proximal_step(curvature, diagonal, steepest, penalty, u, r)
        iterations += 1
        if max_abs(penalty.subgradient(u, r)) > goal:
            u, products = _face_step(curvature, diagonal, penalty, u, r)
            r = g + curvature.mv(u - theta)
            iterations += products
        if max_abs(penalty.subgradient(u, r)) <= goal:
            stop = InnerStop.RESIDUAL
            break
    d = u - theta
    linear = linear_change(g, penalty, theta, d)
    return ModelMinimiser(u, linear, -linear - 0.5 * float(d @ (r - g)), iterations, stop)


def _proximal_step(
    curvature: Any, diagonal: Any, steepest: float, penalty: Any, u: Any, r: Any
) -> tuple[Any, Any, float]:
    """Return (u, r) after a proximal gradient step with H <= steepest diag(diagonal) along it, and that bound."""
    while True:
        z = u - r / (steepest * diagonal)
        size = np.maximum(np.abs(z) - penalty.strengths / (steepest * diagonal), 0.0)
        d = penalty.project(np.copysign(size, z)) - u
        Hd = curvature.mv(d)
        length = float(d @ (diagonal * d))
        bend = float(d @ Hd)
        if not bend > steepest * length:
            return u + d, r + Hd, steepest
        steepest = GROWTH * bend / length


def _face_step(curvature: Any, diagonal: Any, penalty: Any, u: Any, r: Any) -> tuple[Any, int]:
    """Return u after a step towards the minimiser on its face, and the products that it took."""
    free = penalty.free(u)
    found = steihaug(
        lambda v: cast(Any, np.where(free, curvature.mv(v), 0.0)),
        cast(Any, np.where(free, penalty.subgradient(u, r), 0.0)),
        precond=lambda v: v / diagonal,
        rtol=FACE_RTOL,
        max_iter=FACE_PRODUCTS,
    )
    s: Any = found.step
    products = found.iterations
    reach = penalty.reach(u, s)
    if reach >= 1.0:
        return penalty.project(u + s), products
    near = penalty.within_orthant(u, u + reach * s)
    near[penalty.hits(u, s, reach)] = 0.0  # rounding aside
    beyond = penalty.within_orthant(u, u + s)
    values = [_change(curvature, penalty, u, r, trial) for trial in (near, beyond)]
    return (beyond if values[1] < values[0] else near), products + 2


def _change(curvature: Any, penalty: Any, u: Any, r: Any, moved: Any) -> float:
    """Return the change of the model from u, where the gradient of the quadratic is r, to another place."""
    d = moved - u
    return linear_change(r, penalty, u, d) + 0.5 * float(d @ curvature.mv(d))

"""Steps that ask for no products with the curvature: the changes of the gradient tell what it is, one pass each."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..history import Status
from ..linalg import dot, norm
from ..protocols import Array, Point
from .base import Step
from .line_search import decrease
from .pairs import two_loop
from .search_step import line_search_step
from .subproblem import steihaug

if TYPE_CHECKING:
    from .newton import CGState, InexactNewton

#: A step with pairs goes on where the squared decrement is that fraction of the one before it at most (conjugate
#: gradients reduce it by 2 to 5 a pass where they are quick), and where the value falls by that share of what the
#: model predicts at least: elsewhere the rough inverse misses the large eigenvalues, and its steps are too long.
GAIN, RATIO = 0.5, 0.7
#: By what factor one step may fall behind that where those before it were ahead, with a factorised Hessian: it takes
#: dense X of one output, whose evaluations cost no more than products.
CREDIT = 4.0
#: Of `secant_step`: by what factor a step must reduce g'M^-1 g for another one, and s'y its
#: pair must have relative to y'M^-1 y; pairs before quotients are trusted, and by what factor they are distrusted.
SAMPLE_GAIN, SAMPLE_CURVATURE = 0.1, 0.1
SURE_PAIRS, SURE_PAIRS_FACTOR = 2, 4.0
#: Relative residual of the conjugate gradients that confirm the end, and pairs that are kept.
CONFIRMED, MOST_PAIRS = 0.1, 20


def learning_step(solver: InexactNewton, point: Point, state: CGState) -> Step | None:
    """Return the step along -B g, None where conjugate gradients are the better way on.

    B is the inverse Hessian that begins as M^-1 at the start and agrees with the pairs so far. Where a fit is well
    conditioned each pass then does what one of conjugate gradients does, and there are none for evaluations besides.
    Where B g says that the fit has converged, conjugate gradients preconditioned by B confirm it, in a product or two.

    Parameters
    ----------
    solver : InexactNewton
    point : Point
    state : CGState
        With the pairs, and in `grad_size` what the decrement of this step is measured by.
    """
    pairs, g = state.pairs or (), point.grad

    def inverse(v: Array) -> Array:
        return two_loop(v, pairs, state.precond, scaled=False)

    d = -inverse(g)
    slope = dot(g, d)
    if not (slope < 0.0 and math.isfinite(slope)):
        return None
    record: dict[str, Any] = dict(inner_iterations=0, predicted=-0.5 * slope)
    if solver.converged(point, -0.5 * slope):
        solved = steihaug(point.curvature.mv, g, precond=inverse, rtol=CONFIRMED, max_iter=solver.max_cg)
        d, slope = solved.step, solved.slope
        record = dict(inner_iterations=solved.iterations, inner_stop=solved.stop, predicted=solved.predicted)
        if solver.converged(point, -0.5 * slope):
            return Step(point, state, False, Status.CONVERGED, decrement=math.sqrt(max(-slope, 0.0)), **record)
    elif pairs and not -slope <= GAIN * state.grad_size**2:
        return None
    trial = point.along(d).point(1.0)
    actual = decrease(point.value, slope, trial.value, dot(trial.grad, d), 1.0)
    if not actual >= RATIO * record["predicted"]:
        return None
    record.update(decrement=math.sqrt(-slope), step_size=1.0, step_norm=norm(d), actual=actual)
    y = trial.grad - g
    pair = (d, y, dot(d, y))
    measure = -slope
    if pairs and state.kind == "cholesky":
        measure = max(measure, min(-CREDIT * slope, GAIN * state.grad_size**2))
    kept = (*pairs, pair)[-MOST_PAIRS:] if pair[2] > 0.0 else None
    state = replace(state, pairs=kept, grad_size=math.nan if kept is None else math.sqrt(measure))
    return Step(trial, state, True, ratio=actual / record["predicted"], **record)


def secant_step(solver: InexactNewton, point: Point, state: CGState) -> Step | None:
    """Return the step along -B g, None where that is no descent: B begins as M^-1, the factor of a sample of the rows.

    The quotients y'M^-1 y / s'y show what M is worth, so that no products need confirm the end.

    Parameters
    ----------
    solver : InexactNewton
    point : Point
    state : CGState
        With the pairs.
    """
    precond, g, pairs = state.precond, point.grad, state.pairs or ()
    d = -two_loop(g, pairs, precond, scaled=False)
    slope = dot(g, d)
    if precond is None or not (slope < 0.0 and math.isfinite(slope)):
        return None
    record: dict[str, Any] = dict(inner_iterations=0, predicted=-0.5 * slope, decrement=math.sqrt(-slope))
    step = line_search_step(point, state, d, slope, **record)
    if not step.accepted:
        return None
    s, y = step.record["step_size"] * d, step.point.grad - g
    sy, yMy = dot(s, y), dot(y, precond(y))
    before, after = (dot(p.grad, precond(p.grad)) for p in (point, step.point))
    good = step.record["step_size"] == 1.0 and after <= SAMPLE_GAIN * before and sy > SAMPLE_CURVATURE * yMy
    if not good:
        step.state = replace(state, pairs=None)
        return step
    flattest = min(state.flattest, yMy / sy)
    step.state = replace(state, pairs=(*pairs, (s, y, sy)), flattest=flattest)
    if len(pairs) + 1 >= SURE_PAIRS and solver.converged(step.point, SURE_PAIRS_FACTOR * 0.5 * after / flattest):
        step.status = Status.CONVERGED
    return step

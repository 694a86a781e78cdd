r"""Small fits that nothing proves, looked at once more with twice the digits.

Outliers of 1e10, means of 1e12 deviations and columns that agree to ten digits leave a fit in double precision without
a proof, and at times without the minimum. Here predictors, gradients, Hessians and Newton steps have 32 digits. Losses
and probabilities have 16, and need no more: their relative errors eps change the gradient by A'e, |e_i| <= eps |r_i|,
and the decrement by at most sqrt(sum e_i^2 / h_i), whatever the condition of A.

The bound is that of the dual point r + H A s behind the Newton step s. With p' its probabilities, its gap is the sum of
KL(p'_i || p_i) and of the penalty of s, at most s'Hs; half of it, times one plus the largest change of a margin, where
that is at most 1. What the dual point must be is feasible: no p' below 0. That asks less than short steps do, for a
row that is predicted perfectly may be moved far.

References
----------
Bach, F. (2010). Self-concordant analysis for logistic regression. Electronic Journal of Statistics 4, 384-414.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._compat import to_host
from ..history import Result, Status
from ..kernels.streamed import StreamedRows
from ..linalg import max_abs
from ..objectives.thin import ThinModel
from .optimality import NEGLIGIBLE, Optimality
from .sharp import At, SharpObjective
from .twofold import Twofold

if TYPE_CHECKING:
    from .problem import Problem

#: Multiply-adds of a Hessian of a fit that is looked at, a tenth of a second; a tenth of them where the proof is good
#: to three digits already; those of all its Hessians; and its parameters.
WORK, MOST_WORK, MOST_PARAMETERS = 2e6, 4e7, 128
#: Iterations, halvings of a step, and the relative bound at which they end.
STEPS, HALVINGS, ENOUGH = 60, 40, 1e-13
#: Pivots, relative to the diagonal: those of rounding in 32 digits; squares of rounding of the data and of what counts
#: as dependent.
RESOLVED, SAME, NEARLY = 1e-29, 1e-26, 1e-18
#: Share by which a gradient must pass its L1 penalty for its coefficient to leave zero.
PASSED = 1e-9
#: Relative bound that proves next to nothing.
LOOSE = 1e-3
EPS = 2.0**-52
#: Ends of a fit that are looked at.
ENDS = (Status.CONVERGED, Status.STALLED, Status.LINE_SEARCH_FAILED, Status.NOT_POSITIVE_DEFINITE)


def to_audit(problem: Problem, result: Result, proof: Optimality, tol: float) -> bool:
    """Return whether a fit is small, at its end and all but unproved."""
    model = problem.model
    work = WORK if proof.relative_bound > LOOSE else 0.1 * WORK
    return (
        result.status in ENDS
        and proof.separation is None
        and not proof.relative_bound <= enough(tol)
        and problem.xp is np
        and not isinstance(model, ThinModel)
        and not isinstance(problem.X, StreamedRows)
        and 0 < model.size <= MOST_PARAMETERS
        and model.n_rows * model.size**2 <= work
        and problem.penalty.box is None
        and model.n_outputs in (1, problem.n_classes)
        and bool((to_host(problem.prior) > 0.0).all())
    )


def enough(tol: float) -> float:
    """Return the relative bound that a fit of this tolerance should prove where it is small."""
    return max(NEGLIGIBLE, 4.0 * tol * tol)


def audited(problem: Problem, result: Result, proof: Optimality, tol: float, names: Sequence) -> Optimality:
    """Return the proof of a small fit in 32 digits; move the solution to the minimum where it is not there.

    Parameters
    ----------
    problem : Problem
    result : Result
        Its `theta` is replaced where a better one is found, its status where the proof says otherwise.
    proof : Optimality
        Of the fit as it is.
    tol : float
    names : sequence
        Of the columns.

    Returns
    -------
    Optimality
    """
    sharp = SharpObjective(problem)
    start = sharp.parameters(*_stored(problem, result.theta))
    low = _lowest(sharp, start, NEARLY if proof.dependent else RESOLVED, enough(tol))
    if low is None:
        return proof
    value = sharp.at(start, low.signs).value
    if low.steps:
        theta = problem.model.theta(*sharp.coefficients(low.at.W, problem.X.dtype))
        moved = sharp.at(sharp.parameters(*_stored(problem, theta)), low.signs).value
        if moved < value - tol * tol * abs(value):
            result.theta, result.value, value = theta, moved, moved
            result.grad_norm = max_abs(problem.objective.at(theta).grad)
    lost = np.flatnonzero((low.pivots <= low.least).any(axis=0))
    known = all(j < sharp.d and names[j] in proof.dependent for j in lost)  # else curvature there may be what is lost
    bound = max(value - low.at.value, 0.0) + low.bound + 8.0 * EPS * value if known else math.inf
    unit, good = problem.unit, bound <= enough(tol) * value
    causes = _told_apart(sharp, low, proof, names)
    if causes:
        bound = math.inf
    elif not good:
        causes = _causes(problem, sharp, low, value, names)
    if causes:
        result.status, result.reason = Status.STALLED, ""
    elif good:
        result.status, result.reason = Status.CONVERGED, "proof"
    notes = (*proof.notes, *causes)
    proof = replace(proof, value=unit * value, grad_norm=result.grad_norm, status=result.status, notes=notes)
    if not unit * bound < proof.bound:
        return replace(proof, bound=min(proof.bound, proof.value))
    kind = "newton" if problem.penalty.is_smooth else "duality"
    return replace(proof, bound=unit * bound, decrement=0.5 * unit * low.square, proof=kind)


@dataclass(frozen=True, eq=False)
class Lowest:
    """Where an audit ended: the point, its bound and s'Hs, the pivots and the least of them, the signs, the steps."""

    at: At
    bound: float
    square: float
    pivots: np.ndarray
    least: float
    signs: np.ndarray
    steps: int


def _lowest(sharp: SharpObjective, start: Twofold, least: float, first: float) -> Lowest | None:
    """Return the minimum, or the start where it is good enough; None where there is no step."""
    signs = np.sign(start.hi) * (sharp.lasso > 0.0)
    here = sharp.at(start, signs)
    for steps in range(int(min(STEPS, MOST_WORK // (sharp.A.hi.size * start.hi.size * start.hi.shape[0]) + 1))):
        free = (signs != 0.0) | (sharp.lasso == 0.0)
        H = sharp.hessian(here)
        step, pivots = sharp.newton(here, H, free, least)
        if step is None:
            return None
        bound, square = sharp.bound(here, step)
        left, passed, where = sharp.passed(here, H, step, free)
        found = Lowest(here, bound + (2.0 * left + passed) * here.value, square, pivots, least, signs, steps)
        wanted = (ENOUGH if steps else first) * here.value
        if found.bound <= wanted:
            break
        if bound <= wanted and passed > PASSED:  # the minimum on this face, but not of all
            signs = signs.copy()
            signs[where] = -np.sign(here.grad.hi[where])
            here = sharp.at(here.W, signs)
            continue
        following, signs = _searched(sharp, here, step, square, signs)
        if following is None:
            break
        here = following
    return found


def _searched(
    sharp: SharpObjective, here: At, step: Twofold, square: float, signs: np.ndarray
) -> tuple[At | None, np.ndarray]:
    """Return the point along the step, None where the value rises, and the signs of its coefficients.

    A coefficient with an L1 penalty that would change its sign stays at zero, and ends the step.
    """
    W, t = here.W, 1.0
    crossed = signs * (W + step).hi < 0.0
    if crossed.any():
        ends = np.where(crossed, -W.hi / np.where(crossed, step.hi, 1.0), math.inf)
        k, j = np.unravel_index(int(ends.argmin()), ends.shape)
        t, signs = float(ends[k, j]), signs.copy()
        signs[k, j] = 0.0
        W = W + step * t
        W.hi[k, j], W.lo[k, j] = 0.0, 0.0
        there = sharp.at(W, signs)
        return (there if there.value <= here.value + 8.0 * EPS * here.value else None), signs
    for _ in range(HALVINGS):
        there = sharp.at(W + step.scaled(t), signs)
        if there.value <= here.value - 1e-4 * t * square + 8.0 * EPS * here.value:
            return there, signs
        t *= 0.5
    return None, signs


def _stored(problem: Problem, theta: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and intercepts of the model, from the attributes as they are stored."""
    found = problem.attributes(theta)
    coef, intercept = (to_host(found[name]).astype(np.float64) for name in ("coef_", "intercept_"))
    return problem.outputs.from_attributes(coef, intercept)


def _causes(problem: Problem, sharp: SharpObjective, low: Lowest, value: float, names: Sequence) -> tuple[str, ...]:
    """Return what keeps a fit from its minimum, as a sentence that names a column and a cure."""
    if value - low.at.value <= 0.5 * low.bound:
        hidden = not low.bound <= LOOSE * value
        return (
            ("that rounding hides the minimum: centre and scale the columns, or drop far outliers",) if hidden else ()
        )
    sizes = (np.abs(sharp.mean / sharp.scale) + sharp.A.hi[:, : sharp.d].std(axis=0)) * np.abs(
        low.at.W.hi[:, : sharp.d]
    )
    column = names[int(sizes.max(axis=0).argmax())]
    lost = 100.0 * (value - low.at.value) / value
    kind = problem.X.dtype
    cure = "subtract means and divide by deviations" + (", or pass float64" if kind != np.float64 else "")
    return (
        f"that coefficients rounded to {kind} are {lost:.2g} % above the minimum, most of all for the column "
        f"{column!r}: {cure}",
    )


def _told_apart(sharp: SharpObjective, low: Lowest, proof: Optimality, names: Sequence) -> tuple[str, ...]:
    """Return a sentence on columns that count as dependent, but differ by more than rounding."""
    if not proof.dependent:
        return ()
    rounding = 100.0 * EPS * float(np.abs(sharp.mean / sharp.scale).max(initial=0.0))
    pivots = low.pivots[:, : sharp.d].min(axis=0)
    apart = [names[j] for j in np.flatnonzero((pivots <= NEARLY) & (pivots > (math.sqrt(SAME) + rounding) ** 2))]
    if not apart:
        return ()
    return (
        f"that the columns {', '.join(map(repr, apart[:8]))} agree with combinations of others to ten digits, and what "
        "tells them apart is not used: subtract what they share, an offset for instance, or drop them",
    )

r"""Upper bounds on the distance of a fit from its minimum, from what the last iteration left behind.

Everything is in the standardised basis and in nats per unit of weight: f(v, c) = data(v, c) + sum_j a_j v_j^2 / 2 with
gradient g, Hessian H = D + diag(a). Three bounds are valid at any point; the smallest one is reported. Equation
numbers are those of the page on theory in the documentation.

Newton: with s the exact Newton step and t the largest change of a margin (for softmax: of a difference of two scores)
along s, t <= 1, the residuals of the quadratic model are dual feasible and f - f* <= (1 + t) lambda^2 / 2. With the
Hessian of another point the same holds but for the factor by which the curvatures differ.

Convexity: f minimised over c is strongly convex in v with moduli a_j, so that f - f* <= sum_j g_j^2 / (2 a_j) where
g_c = 0. Where it is not, the way to that point is bounded by the self-concordance of the loss.

Duality: the gradient rows at the minimum over c are a dual point; the gap holds for any point, see `dual_point`.

References
----------
Bach, F. (2010). Self-concordant analysis for logistic regression. Electronic Journal of Statistics 4, 384-414.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._compat import to_host
from ..history import Result, Status
from ..objectives.row_blocks import predictors
from ..objectives.thin import ThinModel
from ..solvers.newton import Factor
from ..solvers.subproblem import shifted_inverse
from .dual_point import duality
from .identification import MOVING, identify
from .optimality import NEGLIGIBLE, Optimality

if TYPE_CHECKING:
    from .problem import Problem

EPS = 2.0**-52
#: Bound on the relative error of a curvature, which may be in single precision by rows.
SINGLE = 1e-6
#: Passes that a fit has taken when one more, for a better bound, makes no difference to its time.
MANY_PASSES = 100
#: Multiply-adds of a Hessian that costs little: about a millisecond.
SMALL_WORK = 3e6


def certify(problem: Problem, result: Result, names: Sequence | None = None) -> Optimality:
    """Return the certificate of a fit, before its point is dropped.

    Parameters
    ----------
    problem : Problem
    result : Result
        With its point and state. Where the data do not identify the solution, `identify` changes it.
    names : sequence, optional
        Of the columns; their indices where None.

    Returns
    -------
    Optimality
    """
    unit, value = problem.unit, result.value
    found, decrement, change = {"value": value}, _last_decrement(result), math.nan
    known = math.isfinite(value) and result.status is not Status.NONFINITE and result.point is not None
    if known and not problem.penalty.is_smooth:
        found["duality"] = duality(Facts(problem, result.point.smooth), result.value)
    elif known:
        facts = Facts(problem, result.point)
        found["newton"], exact, change = _newton(facts, result)
        decrement = decrement if math.isnan(exact) else exact
        if found["newton"] > NEGLIGIBLE * value:
            found["convexity"] = _convexity(facts)
        worth_a_pass = not result.converged or result.counts.n_passes >= MANY_PASSES
        penalised = problem.penalty.is_plain and problem.alpha > 0.0 and not problem.one_sided
        if worth_a_pass and min(found.values()) > NEGLIGIBLE * value and penalised:
            found["duality"] = duality(facts, value)
        stored = facts.storage()
        found = {name: bound + stored for name, bound in found.items()}
    proof = min(found, key=found.__getitem__)
    identified = identify(problem, result, change, range(problem.X.shape[1]) if names is None else names)
    return Optimality(
        value=unit * value,
        bound=unit * float(found[proof] + (4.0 * EPS * value if proof != "value" else 0.0)),
        decrement=unit * decrement,
        grad_norm=result.grad_norm,
        status=result.status,
        proof=proof,
        **vars(identified),
    )


def _last_decrement(result: Result) -> float:
    """Return half the squared decrement at the final point as the solver knows it, NaN where it moved since."""
    last = result.history[-1]
    return 0.5 * last.decrement**2 if not last.accepted else math.nan


class Facts:
    """The final point in NumPy, the columns' sizes and the rounding of the gradient.

    Attributes
    ----------
    g, theta, ridge : ndarray of shape (K, d)
        Of the coefficients; `gc` of shape (K,) of the intercepts, zeros without them.
    power : ndarray of shape (d,)
        Mean squares of the standardised columns, at least; `reach` their largest absolute values, at least.
    error, error_c : ndarray of shape (K, d), (K,)
        Bounds on the rounding of the gradient.
    """

    def __init__(self, problem: Problem, point: Any):
        self.problem, self.point, self.model = problem, point, problem.model
        model = self.model
        self.K, self.d = model.n_outputs, model.n_features
        self.intercept = model.fit_intercept
        loss = point.parts[0].term.loss
        #: Whether a constant may be added to all intercepts, and which classes have weight.
        self.free = self.K > 1 and loss.n_classes == self.K
        self.live = to_host(problem.prior) > 0.0 if self.free else np.ones(self.K, dtype=bool)
        self.v, self.c = self.split(point.theta)
        self.g, self.gc = self.split(point.grad)
        smooth = getattr(problem.objective, "smooth", problem.objective)
        self.ridge, _ = self.split(smooth.terms[1].strengths)
        centre, spread, reach = (to_host(a) for a in model.raw_moments)
        self.mean, self.scale = to_host(model.mean), to_host(model.scale)
        moved = np.abs(centre - self.mean)
        # A spread of 0 may be rounding of the variance; the reach is never below it.
        self.power = (np.where(spread > 0.0, spread, reach) / self.scale) ** 2 + (moved / self.scale) ** 2
        self.reach = (reach + moved) / self.scale
        self._rounding()

    def split(self, theta: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the coefficients (K, d) and the intercepts (K,) of a flat vector."""
        flat = to_host(theta)
        edge = self.K * self.d
        return flat[:edge].reshape(self.K, self.d), flat[edge:] if self.intercept else np.zeros(self.K)

    def _rounding(self) -> None:
        """Bound the rounding of the margins, and of X'r - mean (1'r).

        Sum |r| is at most the mean loss, since |y - p| = 1 - exp(-l) <= l; twice that for softmax.
        """
        residuals = 2.0 * min(1.0, self.point.value)
        sizes = np.abs(self.mean) / self.scale + np.sqrt(self.power)
        margin = np.abs(self.v) @ sizes + np.abs(self.c)
        if self.problem.offset is not None:
            margin = margin + float(self.model.xp.max(self.model.xp.abs(self.problem.offset)))
        self.margin_error = 4.0 * EPS * margin
        error = 4.0 * EPS * residuals * sizes + 0.5 * np.sqrt(self.power) * self.margin_error.max()
        self.error = error[None, :].repeat(self.K, axis=0)
        self.error_c = 4.0 * EPS * residuals + 0.5 * self.margin_error

    def dual_norm(self, g: np.ndarray) -> float:
        """Return sqrt(sum g_j^2 / a_j), inf where a coefficient has no ridge."""
        if not self.ridge.min() > 0.0:
            return math.inf
        return math.sqrt(float((g * g / self.ridge).sum()))

    def storage(self) -> float:
        """Return what rounding the coefficients to the dtype of X adds to the objective; 0 in double precision."""
        problem, model = self.problem, self.model
        lost = 0.0
        if isinstance(model, ThinModel) and problem.alpha > 0.0:
            heaviest = float(np.max(to_host(problem.weights)))
            lost = 0.5 * model.dropped / problem.alpha * heaviest * min(1.0, self.point.value)
        if problem.xp.finfo(problem.X.dtype).bits == 64:
            return lost
        found = problem.outputs.to_attributes(*model.coefficients(self.point.theta), problem.alpha > 0.0)
        exact = [to_host(a) for a in found]
        changes = [a.astype(np.float32).astype(np.float64) - a for a in exact]
        dw, db = (to_host(a) for a in problem.outputs.from_attributes(*map(problem.array, changes)))
        total_dw = float(np.linalg.norm(dw))
        if isinstance(model, ThinModel):
            length = math.sqrt(float((self.power * self.scale**2).sum()))
            dc = db + dw @ to_host(model.centre)
            change = length * total_dw + np.abs(dc).max()
            slope = float(np.linalg.norm(self.g * self.scale)) * total_dw
        else:
            dv, dc = dw * self.scale, db + dw @ self.mean
            change = (np.sqrt(self.power)[None, :] * np.abs(dv)).sum(axis=1).max() + np.abs(dc).max()
            slope = float((np.abs(self.g) * np.abs(dv)).sum())
        slope += float((np.abs(self.gc) * np.abs(dc)).sum())
        most = 0.25 if self.K == 1 else 0.5 * self.K
        return lost + slope + 0.5 * most * change**2 + 0.5 * float(np.max(problem.penalty.strength)) * total_dw**2


# ---------------------------------------------------------------------- the Newton step


def _newton(facts: Facts, result: Result) -> tuple[float, float, float]:
    """Return the bound from a Newton step, {eq}`newtonbound`, half its squared decrement and its change of margins.

    The factor may be that of an earlier point: its matrix is at most exp(c) times the one here. inf, NaN and NaN where
    there is no factor.
    """
    old = result.state
    found = _by_factor(facts, old) if isinstance(old, Factor) else (math.inf, math.nan, math.nan)
    if found[0] == math.inf and not (isinstance(old, Factor) and old.origin is facts.point):
        fresh = _cheap_factor(facts)
        return _by_factor(facts, fresh) if fresh else found
    return found


def _by_factor(facts: Facts, factor: Factor) -> tuple[float, float, float]:
    """Return what `_newton` does from one factorised Hessian; a bound of inf where the step is too long.

    Likewise where rounding may have added curvature that the Hessian lacks. The decrement is NaN where the rounding of
    the gradient is as large.
    """
    point, origin = facts.point, factor.origin
    exact = facts.K == 1 and not point.parts[0].term.shares_rows
    growth = (1.0 if origin is point else math.exp(point.drift(origin))) * (1.0 if exact else 1.0 + SINGLE)
    step = -factor.solve(point.grad)
    g, s = to_host(point.grad), to_host(step)
    square = max(-float(g @ s), 0.0)
    errors = (facts.error.reshape(-1), facts.error_c) if facts.intercept else (facts.error.reshape(-1),)
    error = facts.problem.array(np.concatenate(errors))
    noise = math.sqrt(max(float(error @ factor.solve(error)), 0.0))
    known = 0.5 * square if noise < math.sqrt(square) else math.nan  # else the gradient is rounding
    moved = _largest_change(facts, step)
    change = growth * moved
    if not (change <= 1.0 and growth < 2.0 and getattr(factor.solve, "is_sound", True)):
        return math.inf, known, moved
    rest = np.abs(g + to_host(origin.curvature.mv(step))) @ np.abs(s)
    bound = 0.5 * (1.0 + change) * growth * (math.sqrt(square) + noise) ** 2 + 2.0 * float(rest)
    return bound, known, moved


def _cheap_factor(facts: Facts) -> Factor | None:
    """Return the factorised Hessian at the final point where it is cheap, None where it is not."""
    p = facts.K * (facts.d + facts.intercept)
    if facts.model.n_rows * p * p > SMALL_WORK:
        return None
    solve, _ = shifted_inverse(facts.point.curvature.dense())
    return None if solve is None else Factor(solve, facts.point)


def _largest_change(facts: Facts, step: Any) -> float:
    """Return a bound on the change of a margin, or of a difference of two scores, along a step.

    From the reach of the columns; from the margins themselves, one pass, where that says too little.
    """
    ds, dc = facts.split(step)
    if facts.K == 1:
        change = float(np.abs(ds[0]) @ facts.reach) + abs(float(dc[0]))
    else:
        if not facts.free:  # a row of zeros: the reference
            ds, dc = np.vstack([ds, np.zeros((1, facts.d))]), np.append(dc, 0.0)
        change = float(np.ptp(ds, axis=0) @ facts.reach) + float(np.ptp(dc))
    if not change > MOVING:
        return change
    loss = facts.point.parts[0].term.loss  # whose drift is this largest change
    return float(np.max([loss.drift(z) for _, z in predictors(facts.model, step)]))


# ---------------------------------------------------------------------- strong convexity, no pass


def _convexity(facts: Facts) -> float:
    """Return the bound from strong convexity, {eq}`convexitybound`; inf where it does not apply."""
    size = facts.dual_norm(facts.g) + facts.dual_norm(facts.error)
    if not math.isfinite(size):
        return math.inf
    if not facts.intercept:
        return 0.5 * size**2
    S = to_host(facts.point.parts[0].total_curvature())
    step, x = _free_step(S, np.abs(facts.gc) + facts.error_c if facts.K == 1 else facts.gc, facts.free)
    if not x < 0.5:
        return math.inf
    # The probabilities move by the integral of J_i(t) delta, with J_i(t) <= J_i / (1 - x) and |J_i| <= 1/4 for one
    # output, 1/2 for softmax; sum s_i delta' J_i delta = delta' S delta <= (step / (1 - x))^2.
    moved = step * math.sqrt((0.25 if facts.K == 1 else 0.5) / (1.0 - x) ** 3)
    columns = float((facts.power[None, :] / facts.ridge).sum()) / facts.K
    return 0.5 * (size + moved * math.sqrt(columns)) ** 2 + step**2 / (2.0 * (1.0 - x))


def _free_step(S: np.ndarray, g: np.ndarray, free: bool) -> tuple[float, float]:
    """Return the decrement over the intercepts and its product with their self-concordance, {eq}`selfconcordance`.

    S is the Hessian by the intercepts; `free` says that it is singular along (1, ..., 1).
    """
    if len(S) == 1 and not free:
        h = float(S[0, 0])
        return (abs(float(g[0])) / math.sqrt(h), abs(float(g[0])) / h) if h > 0.0 else (math.inf, math.inf)
    values, vectors = np.linalg.eigh(S)
    along = vectors.T @ g
    values, along = values[int(free) :], along[int(free) :]
    if not len(values):
        return 0.0, 0.0
    if not values[0] > 0.0:
        return math.inf, math.inf
    step = math.sqrt(float((along**2 / values).sum()))
    return step, step * math.sqrt(2.0 / float(values[0]))

"""The minimum of a curve fit by the full solvers, its covariance, and a second look where that is singular."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from ..inference import Covariance, covariance, sandwich
from ..linalg import norm
from ..objectives.residual_jacobians import ResidualLeastSquares
from ..objectives.robust import mad_scale
from ..solvers import Dogleg, LevenbergMarquardt
from . import checks
from .curve_data import CurveData
from .curve_end import drop_drowned, flat_directions, is_lower, kicked, settle_at_rounding, shaken
from .curve_start import UNBOUNDED, check_points, first_residuals
from .curve_task import CurveTask
from .jacobian_check import dense_jacobian
from .outcome import STALLED_CODE, packed
from .residual_checks import checked_jacobian, choose_differences
from .residual_noise import refined
from .residual_task import robust_loss
from .residuals import least_squares
from .watch import Watch, run

#: Keywords of the fit itself; any other one goes to `least_squares`.
OWN = frozenset({"ftol", "xtol", "gtol", "max_nfev", "factor", "epsfcn"})
#: Keywords by which a fit speaks with the caller, who asked for one fit.
SPOKEN = frozenset({"callback", "verbose"})
#: Tests of a model that works in float32.
LOW_FTOL, LOW_XTOL = 1e-7, 1e-5
#: Where the caller gives no tolerances: those of `sosolve.LevenbergMarquardt`.
TIGHT = {"ftol": 1e-15, "xtol": 1e-12, "gtol": 1e-12}


def minimum(task: CurveTask) -> tuple[OptimizeResult, Covariance]:
    """Return the outcome of a fit, whether or not it is a success, and the covariance of its parameters.

    Parameters
    ----------
    task : CurveTask
        With a function as f, see `CurveTask.as_function`, and the scale of a robust loss, see `with_scale`.
    """
    fit = _fitted
    if not task.keywords.keys() <= OWN:
        fit = _by_least_squares
    outcome = fit(task)
    uncertain = _uncertainty(outcome, task)
    told_to_end = outcome.status == -2 or (outcome.status == 0 and "max_nfev" in task.keywords)
    if uncertain.null_vectors.shape[1] and not told_to_end:
        other = _second_look(fit, task, outcome)
        if other is not None:
            return other, _uncertainty(other, task)
    return outcome, uncertain


def _second_look(fit: Callable, task: CurveTask, outcome: OptimizeResult) -> OptimizeResult | None:
    """Return the outcome of a fit from beside a singular end, or beside its start; None where neither is better."""
    starts = kicked(outcome.x, flat_directions(dense_jacobian(outcome.jac)), task.box)
    with np.errstate(all="ignore"):
        costs = [_cost(task, start) for start in starts]
    best = [starts[int(np.argmin(costs))]] if starts else []
    task = replace(task, keywords={name: value for name, value in task.keywords.items() if name not in SPOKEN})
    for start in (*best, shaken(task.theta, task.box)):
        try:
            other = fit(replace(task, theta=start))
        except Exception:  # the model does not exist there, and nobody asked for that point
            continue
        if is_lower(other, outcome, task.data):
            return other
    return None


def _cost(task: CurveTask, theta: np.ndarray) -> float:
    """Return the length of the residuals, inf where the model does not exist."""
    try:
        length = norm(task.data.whitened(task.f(task.data.x, *theta) - task.data.y))
    except Exception:  # as above
        return math.inf
    return length if length < math.inf else math.inf


def _fitted(task: CurveTask) -> OptimizeResult:
    """Return the outcome of a fit with the solver's own tests."""
    theta, box = task.theta, task.box
    r, low = first_residuals(task.f, task.data, theta)
    if task.method == "lm":
        check_points(theta.size, r.size)  # of one y the model may make many
    objective = _objective(task, r, low)
    limit = task.keywords.get("max_nfev") or math.inf
    solver = _solver(task, limit)
    watch = Watch(lambda: objective.n_residuals, limit)
    if low:  # the rounding of float32 hides smaller reductions
        watch.ftol, watch.xtol = max(LOW_FTOL, low), max(LOW_XTOL, low)
    found = run(solver, objective, theta, watch)
    if not watch.exhausted:
        found = refined(objective, found, task.jac, box, lambda start: run(solver, objective, start, watch.again()))
    lower, upper = (box["lower"], box["upper"]) if box else (-math.inf, math.inf)
    outcome = packed(found, watch, objective, lower, upper, None)
    outcome.solver, outcome.jac_error = solver.name, found.point.jac_error
    level = norm(_whitened_y(task.data, r)) or norm(r)
    if outcome.status == STALLED_CODE:
        settle_at_rounding(outcome, level)
    if outcome.success:
        size = np.maximum(np.abs(theta), np.abs(outcome.x))
        drop_drowned(outcome, size, found.state.scale, level)
    return outcome


def _objective(task: CurveTask, r: np.ndarray, low: float) -> ResidualLeastSquares:
    """Return the objective of a fit with residuals r at the start, after a look at its Jacobian there.

    `low` is the precision of the model where that is less than double, else 0.
    """
    f, jac, data, box = task.f, task.jac, task.data, task.box
    x, y, whitened = data.x, data.y, data.whitened
    plain = data.weights is None and data.factor is None

    def fun(p: np.ndarray) -> np.ndarray:
        return f(x, *p) - y if plain else whitened(f(x, *p) - y)

    def given(p: np.ndarray) -> np.ndarray:
        J = dense_jacobian(jac(x, *p))
        return J if plain else whitened(J)

    exact, derivative, offset = (given, "auto", None) if callable(jac) else (None, jac, _whitened_y(data, r))
    derivative = "auto" if derivative is None else derivative
    checks.one_of("jac", derivative, checks.SCHEMES)
    objective = ResidualLeastSquares(fun, task.theta.shape[0], exact, derivative=derivative, offset=offset, **box)
    first = objective.begin(task.theta, r)
    if low and exact is None:
        objective.output, objective.precision = "low", low
        choose_differences(objective, first, jac, None, None, None, box)
    with np.errstate(all="ignore"):
        checked_jacobian(objective, first, task.method, None, None)
    return objective


def _whitened_y(data: CurveData, r: np.ndarray) -> np.ndarray:
    """Return y in units of sigma, one number for each residual."""
    return data.whitened(np.broadcast_to(data.y, r.shape))


def _solver(task: CurveTask, limit: float) -> LevenbergMarquardt | Dogleg:
    """Return the solver of a method with the caller's tolerances."""
    method, keywords = task.method, task.keywords
    names = ("ftol", "xtol", "gtol")
    settings: dict[str, Any] = dict(task.box)
    if any(name in keywords for name in names):
        given = [keywords.get(name, TIGHT[name]) for name in names]
        given = [None if t is not None and t == 0 else t for t in given] if method == "lm" else given  # as in MINPACK
        settings.update(zip(names, checks.check_tolerances(*given, "trf"), strict=True))
    if limit < math.inf:
        settings["max_iter"] = max(int(limit) - 1, 0)
    if keywords.get("factor") is not None:
        settings["factor"] = keywords["factor"]
    return (Dogleg if method == "dogbox" else LevenbergMarquardt)(**settings)


def _by_least_squares(task: CurveTask) -> OptimizeResult:
    """Return the outcome of `least_squares` with the caller's further arguments."""
    f, jac, data, box = task.f, task.jac, task.data, task.box
    first_residuals(f, data, task.theta)
    settings: dict[str, Any] = {**TIGHT, **{name: value for name, value in task.keywords.items() if name != "epsfcn"}}
    exact = (lambda p: data.whitened(dense_jacobian(jac(data.x, *p)))) if callable(jac) else jac
    settings.update(bounds=(box["lower"], box["upper"]) if box else UNBOUNDED, method=task.method)
    return least_squares(lambda p: data.whitened(f(data.x, *p) - data.y), task.theta, exact, **settings)


def with_scale(task: CurveTask) -> CurveTask:
    """Return the task with the f_scale that `least_squares` would take from the first residuals.

    Parameters
    ----------
    task : CurveTask
        With a function as f.
    """
    keywords = task.keywords
    if keywords.get("f_scale", 1.0) is not None or keywords.get("loss", "linear") == "linear":
        return task
    scale = mad_scale(first_residuals(task.f, task.data, task.theta)[0])
    return replace(task, keywords={**keywords, "f_scale": scale})


def _uncertainty(outcome: OptimizeResult, task: CurveTask) -> Covariance:
    """Return the covariance and what it says of the null space, at the end of a fit."""
    keywords, n_left_out = task.keywords, task.data.n_left_out
    jac = outcome.jac if isinstance(outcome.jac, np.ndarray) else outcome.jac @ np.eye(outcome.x.shape[0])
    loss = robust_loss(keywords["loss"], keywords.get("f_scale", 1.0)) if "loss" in keywords else None
    more: dict = {"jac_error": outcome.get("jac_error", 0.0)}
    if n_left_out:
        more["degrees_of_freedom"] = jac.shape[0] - n_left_out - jac.shape[1]
    with np.errstate(all="ignore"):
        if loss is None:
            return covariance(jac, outcome.fun, absolute_sigma=task.absolute_sigma, **more)
        _, root = loss.root_weights(outcome.fun)
        return sandwich(jac / root[:, None], *loss.influence(outcome.fun), **more)

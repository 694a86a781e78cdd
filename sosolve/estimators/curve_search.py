"""From a start to the optimum: variable projection where it applies, then all parameters, with any solver."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..curve_problems.model import CallableModel, check_output, point_in_words
from ..curve_problems.problem import CurveProblem
from ..history import History, Result, Status, joined
from ..linalg import norm
from ..solvers import LevenbergMarquardt, Solver
from ..solvers.residual import ResidualSolver
from .common import Watcher

#: Fits by which the scale of a robust loss is found: soft_l1 from the start, then once more with a better scale.
SCALE_FITS = 2


class Found(NamedTuple):
    """Where a search ended.

    Attributes
    ----------
    problem : CurveProblem
        With the scale of a robust loss filled in.
    theta : ndarray of shape (p,)
    result : Result
        Of the joined runs; its theta holds all p parameters.
    residual : ndarray of shape (n,)
        At theta, weighted, not rescaled by a robust loss.
    jac : ndarray of shape (n, number of free parameters)
    jac_error : float
        Relative error of its columns, see `sosolve.inference.covariance`.
    """

    problem: CurveProblem
    theta: np.ndarray
    result: Result
    residual: np.ndarray
    jac: np.ndarray
    jac_error: float


class _End(NamedTuple):
    """The last point of a run in scaled parameters, scaled back."""

    theta: np.ndarray
    raw_residual: np.ndarray
    raw_jac: np.ndarray
    jac_error: float


def search(problem: CurveProblem, theta: np.ndarray, solver: Solver, watcher: Watcher | None = None) -> Found:
    """Return the minimiser from a start.

    Parameters
    ----------
    problem : CurveProblem
    theta : ndarray of shape (p,)
        Finite and within the bounds.
    solver : Solver
    watcher : Watcher, optional

    Raises
    ------
    ValueError
        If the model or its derivatives are not finite at the start, or the solver knows no bounds and there are some.
    """
    if isinstance(problem.model, CallableModel):
        check_output(problem.model, problem.X, theta)
    _check_finite(problem, theta)
    if problem.loss != "linear" and problem.f_scale is None:
        problem, theta = _with_scale(problem, theta)
    if isinstance(solver, ResidualSolver):
        result = _by_residuals(problem, theta, solver, watcher)
    else:
        result = _by_gradients(problem, theta, solver, watcher)
    return Found(problem, result.theta, result, *_at_end(problem, result))


def _at_end(problem: CurveProblem, result: Result) -> tuple[np.ndarray, np.ndarray, float]:
    """Return residuals and Jacobian of the free parameters at the end, and its error, from the run's last point.

    Differences of a fresh objective would take their steps from the final values alone, which may be 0 to rounding.
    """
    point = result.point
    if point is None or point.theta.shape[0] != int(problem.free.sum()):  # stopped before the run in all parameters
        point = problem.objective().at(problem.pack(result.theta))
    return point.raw_residual, point.raw_jac, point.jac_error


def _by_residuals(problem: CurveProblem, theta: np.ndarray, solver: ResidualSolver, watcher) -> Result:
    """Return the result of a solver that sees residuals, after variable projection where that applies."""
    if not problem.splits():
        return _in_all(problem, theta, solver, watcher)
    reduced, end = _projected(problem, theta, solver, watcher)
    if reduced.status in (Status.INTERRUPTED, Status.CALLBACK):
        return replace(reduced, theta=end if np.isfinite(end).all() else theta)
    if not np.isfinite(end).all() or reduced.status is Status.NONFINITE:
        return _in_all(problem, theta, solver, watcher)
    result = joined(reduced, _in_all(problem, end, solver, watcher))
    if "second try" in reduced.history.notes or not (reduced.converged or result.converged):
        other = _in_all(problem, theta, solver, watcher)
        result = joined(result, other) if other.value < result.value else result
    first = "iteration" if reduced.n_iter == 1 else f"{reduced.n_iter} iterations"
    result.history.notes["variable projection"] = (
        f"{', '.join(_names(problem, problem.linear()))} solved for at every step of the first {first}; the rest were "
        "in all parameters"
    )
    return result


def _projected(problem: CurveProblem, theta: np.ndarray, solver: ResidualSolver, watcher) -> tuple[Result, np.ndarray]:
    """Return the result in the nonlinear parameters, and all parameters there."""
    projected = replace(problem, base=theta).projected()
    within = projected.nonlinear[problem.free]
    lower, upper = (None if b is None else b[within] for b in problem.box())
    solver = dataclasses.replace(solver, lower=lower, upper=upper)
    _tell(watcher, projected.full)
    start = projected.start(theta)
    result = solver.minimize(projected.objective, start, watcher)
    level = float(np.square(problem.root * problem.y).sum())
    alpha = _like_start(projected.objective, result, start, lower, upper, 1e-20 * level)
    return result, projected.full(alpha)


def _like_start(objective, result: Result, start: np.ndarray, lower, upper, floor: float) -> np.ndarray:
    """Return the optimum, or an equivalent one with the signs and the order of the starting values.

    exp(-(x / b)^2) is the same for b and -b, and a sum of exponentials is the same in any order. Solving for the
    linear parameters forgets the start's choice among these; it is taken again where the value does not change.
    """
    alpha, r = result.theta.copy(), len(start)

    def take(other: np.ndarray) -> np.ndarray:
        inside = (lower is None or (other >= lower).all()) and (upper is None or (other <= upper).all())
        if inside and abs(objective.at(other).value - result.value) <= 1e-9 * result.value + floor:
            return other
        return alpha

    for i in range(r):
        if alpha[i] * start[i] < 0.0:
            other = alpha.copy()
            other[i] = -alpha[i]
            alpha = take(other)
    for i in range(r):
        for j in range(i):
            if (alpha[i] - alpha[j]) * (start[i] - start[j]) < 0.0:
                other = alpha.copy()
                other[[i, j]] = alpha[[j, i]]
                alpha = take(other)
    return alpha


def _in_all(problem: CurveProblem, theta: np.ndarray, solver: ResidualSolver, watcher) -> Result:
    """Return the result in all free parameters; its theta holds all of them."""
    lower, upper = problem.box()
    solver = dataclasses.replace(solver, lower=lower, upper=upper)
    _tell(watcher, problem.full)
    result = solver.minimize(problem.objective(), problem.pack(theta), watcher)
    return replace(result, theta=problem.full(result.theta))


def _by_gradients(problem: CurveProblem, theta: np.ndarray, solver: Solver, watcher) -> Result:
    """Return the result of a solver that sees value, gradient and curvature, in parameters and values of size 1."""
    if problem.is_bounded:
        raise ValueError(
            f"received bounds with the solver {solver.name or type(solver).__name__!r}, which has none; expected a "
            "solver of least squares: use 'lm', 'dogleg' or 'gauss-newton'"
        )
    point = problem.objective().at(problem.pack(theta))
    unit = norm(point.residual) or 1.0
    scale = np.sqrt(np.square(point.jac / unit).sum(axis=0))
    scale = np.where((scale > 0.0) & np.isfinite(scale), scale, 1.0)
    scaled = replace(problem, unit=problem.unit * unit, scale=scale)
    _tell(watcher, scaled.full)
    with np.errstate(all="ignore"):
        result = solver.minimize(scaled.objective(), scaled.pack(theta), watcher)
    back, end = unit * unit, result.point
    jac = unit * end.raw_jac * scale  # type: ignore[union-attr]
    rescaled = _End(end.theta, unit * end.raw_residual, jac, end.jac_error)  # type: ignore[union-attr]
    records = [
        replace(r, value=r.value * back, predicted=r.predicted * back, actual=r.actual * back) for r in result.history
    ]
    history = History(records, result.history.notes)
    value = result.value * back
    return replace(result, theta=scaled.full(result.theta), value=value, history=history, point=rescaled)


def _with_scale(problem: CurveProblem, theta: np.ndarray) -> tuple[CurveProblem, np.ndarray]:
    """Return the problem with f_scale from the residuals of a robust fit, and where that fit ended.

    The residuals at a start say little of the noise. So a fit with soft_l1, scaled by their median absolute
    deviation, is repeated with the scale of its own residuals, and the last residuals give f_scale.
    """
    for _ in range(SCALE_FITS):
        rough = replace(problem, loss="soft_l1", f_scale=problem.mad(theta))
        lower, upper = rough.box()
        result = LevenbergMarquardt(lower=lower, upper=upper, tol=1e-8).minimize(rough.objective(), rough.pack(theta))
        end = rough.full(result.theta)
        theta = end if np.isfinite(end).all() else theta
    return replace(problem, f_scale=problem.mad(theta)), theta


def _tell(watcher, unpack) -> None:
    """Tell a watcher how the parameters of the next run become all parameters."""
    if watcher is not None:
        watcher.unpack = unpack


def _names(problem: CurveProblem, chosen: np.ndarray) -> list[str]:
    return [name for name, wanted in zip(problem.model.names, chosen, strict=True) if wanted]


def _check_finite(problem: CurveProblem, theta: np.ndarray) -> None:
    """Raise ValueError where residuals or derivatives are not finite at the start, with the row."""
    with np.errstate(all="ignore"):
        point = replace(problem, loss="linear").objective().at(problem.pack(theta))
        r, at = point.raw_residual, point_in_words(problem.model.names, theta)
        bad = np.flatnonzero(~np.isfinite(r))
        if bad.size:
            i = int(bad[0])
            raise ValueError(
                f"the model {problem.model.text} is not finite at the starting values {at}: first in row {i}, where "
                f"X is {_shown(problem.X[i])} ({bad.size} of {len(r)} rows); expected finite values at the start: "
                "choose another p0, or leave out these rows"
            )
        J = point.raw_jac
    rows, columns = np.nonzero(~np.isfinite(J))
    if rows.size:
        i, name = int(rows[0]), _names(problem, problem.free)[int(columns[0])]
        raise ValueError(
            f"the derivative of the model {problem.model.text} with respect to {name} is not finite at the starting "
            f"values {at}: first in row {i}, where X is {_shown(problem.X[i])}; expected finite derivatives at the "
            "start: choose another p0"
        )


def _shown(row: np.ndarray) -> str:
    return ", ".join(f"{value:.6g}" for value in row[:6])

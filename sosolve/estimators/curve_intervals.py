"""Intervals: Wald's from the covariance, profiles of the sum of squares, the bootstrap, and bands around a curve."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.stats

from ..caller import warn_caller
from ..curve_problems.problem import CurveProblem
from ..solvers import LevenbergMarquardt
from .curve_search import search
from .curve_summary import FittedCurve

#: Doublings of the distance from the optimum before a profile counts as open, and the accuracy of its ends.
MAX_DOUBLINGS, END_TOLERANCE = 40, 1e-10


def quantile(curve: FittedCurve, level: float) -> float:
    """Return the factor of a standard error: Student's t, the normal distribution's where sigma is absolute."""
    _check_level(level)
    upper = 0.5 * (1.0 + level)
    if curve.absolute_sigma and curve.loss == "linear":
        return float(scipy.stats.norm.ppf(upper))
    return float(scipy.stats.t.ppf(upper, curve.dof)) if curve.dof > 0 else math.nan


def _check_level(level: float) -> None:
    if not (isinstance(level, int | float | np.number) and 0.0 < level < 1.0):
        raise ValueError(f"received level={level!r}; expected a probability between 0 and 1: pass for instance 0.95")


def wald_interval(curve: FittedCurve, level: float) -> np.ndarray:
    """Return theta -+ t stderr, shape (p, 2).

    Parameters
    ----------
    curve : FittedCurve
    level : float
        Coverage, in (0, 1).
    """
    stderr = curve.covariance.stderr
    half = np.where(stderr == 0.0, 0.0, quantile(curve, level) * stderr)  # also where the quantile is NaN
    return np.column_stack([curve.theta - half, curve.theta + half])


def band(curve: FittedCurve, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the curve and its standard error sqrt(j_i' C j_i), both of shape (n,).

    Parameters
    ----------
    curve : FittedCurve
    X : ndarray of shape (n, d)
    """
    n = X.shape[0]
    whole = np.ones(len(curve.theta), dtype=bool)
    infinite = np.full(len(whole), np.inf)
    problem = CurveProblem(curve.model, X, np.zeros(n), curve.theta, whole, -infinite, infinite)
    point = problem.objective().at(curve.theta)
    J, value = point.raw_jac, point.raw_residual
    C = curve.covariance.matrix
    with np.errstate(all="ignore"):
        used = (J != 0.0).any(axis=0)  # an unknown error of a parameter without influence here does no harm
        J, C = J[:, used], C[np.ix_(used, used)]
        variance = np.einsum("ij,jk,ik->i", J, C, J)
    return value, np.sqrt(np.maximum(variance, 0.0))


def profile_interval(curve: FittedCurve, problem: CurveProblem, level: float) -> np.ndarray:
    """Return the ends of the set where the profile of the sum of squares stays within its quantile, shape (p, 2).

    For parameter j with S_j(v) the smallest sum of squares with theta_j = v, the ends solve
    (S_j(v) - S(theta)) / s^2 = t^2. An end is infinite where S_j never rises so far, and the bound where it meets one.

    Parameters
    ----------
    curve : FittedCurve
    problem : CurveProblem
        The data of the fit.
    level : float
        Coverage, in (0, 1).

    References
    ----------
    Bates and Watts (1988). Nonlinear Regression Analysis and Its Applications, section 6.1.2.
    """
    if curve.loss != "linear":
        raise ValueError(
            f"received method='profile' with loss={curve.loss!r}; a profile needs the sum of squares: use "
            "method='bootstrap' or 'wald', or fit with loss='linear'"
        )
    t = quantile(curve, level)
    ends = np.column_stack([curve.theta, curve.theta])
    if curve.noise == 0.0:  # an exact fit: any other value of an identified parameter is infinitely far
        ends[~curve.covariance.identifiable] = -np.inf, np.inf
        return ends
    for j in np.flatnonzero(curve.free):
        if problem.free.sum() == 1:
            rest: Callable = _without_rest(curve, problem, j)
        else:
            rest = _Profile(curve, problem, j)
        ends[j] = [_end(curve, problem, rest, j, t, side) for side in (-1.0, 1.0)]
    return ends


class _Profile:
    """v -> sqrt((S_j(v) - S) / s^2), each fit starting from the nearest one before."""

    def __init__(self, curve: FittedCurve, problem: CurveProblem, j: int):
        free = problem.free.copy()
        free[j] = False
        self.curve, self.j, self.problem = curve, j, replace(problem, free=free)
        self.solver = LevenbergMarquardt(second_try=False)
        self.known = [curve.theta]

    def __call__(self, v: float) -> float:
        theta = min(self.known, key=lambda found: abs(found[self.j] - v)).copy()
        theta[self.j] = v
        problem = replace(self.problem, base=theta)
        lower, upper = problem.box()
        solver = replace(self.solver, lower=lower, upper=upper)
        result = solver.minimize(problem.objective(), problem.pack(theta))
        if not math.isfinite(result.value):
            return math.inf
        self.known.append(problem.full(result.theta))
        return _distance(self.curve, 2.0 * result.value * problem.unit_squared)


def _without_rest(curve: FittedCurve, problem: CurveProblem, j: int) -> Callable[[float], float]:
    """Return v -> sqrt((S(v) - S) / s^2) of a model with one free parameter."""

    def distance(v: float) -> float:
        theta = curve.theta.copy()
        theta[j] = v
        with np.errstate(all="ignore"):
            r = problem.residual(problem.pack(theta))
            value = float(r @ r) * problem.unit_squared
        return _distance(curve, value) if math.isfinite(value) else math.inf

    return distance


def _distance(curve: FittedCurve, rss: float) -> float:
    gain = rss - curve.rss
    if gain < -1e-6 * curve.noise:
        warn_caller(
            f"the profile found a better fit (sum of squares {rss:.8g} instead of {curve.rss:.8g}): fit again from "
            "another p0",
            UserWarning,
        )
    return math.sqrt(max(gain, 0.0) / curve.noise)


def _end(curve: FittedCurve, problem: CurveProblem, rest: Callable, j: int, t: float, side: float) -> float:
    """Return one end of an interval."""
    limit = float(problem.lower[j] if side < 0.0 else problem.upper[j])
    inner = float(curve.theta[j])
    if inner == limit:
        return limit
    error = float(curve.covariance.stderr[j])
    width = t * error if error > 0.0 and math.isfinite(t * error) else 0.1 * max(abs(inner), 1e-3)
    for _ in range(MAX_DOUBLINGS):
        outer = (
            inner + side * width
            if not math.isfinite(limit)
            else side * min(side * (inner + side * width), side * limit)
        )
        found = rest(outer)
        if found >= t:
            break
        if outer == limit:
            return limit
        inner, width = outer, 2.0 * width
    else:
        return side * math.inf
    if found == math.inf:
        outer = _last_finite(rest, inner, outer, t)
    if outer is None:
        return side * math.inf
    return float(scipy.optimize.brentq(lambda v: rest(v) - t, inner, outer, xtol=END_TOLERANCE * width, rtol=1e-13))


def _last_finite(rest: Callable, inner: float, outer: float, t: float) -> float | None:
    """Return a point between where the profile is finite and above t, None where there is none."""
    for _ in range(60):
        middle = 0.5 * (inner + outer)
        found = rest(middle)
        if t <= found < math.inf:
            return middle
        inner, outer = (middle, outer) if found < t else (inner, middle)
    return None


def bootstrap_interval(
    curve: FittedCurve, problem: CurveProblem, solver, level: float, n_resamples: int, rng, n_jobs: int | None
) -> np.ndarray:
    """Return percentiles of the parameters over fits to resampled residuals, shape (p, 2).

    Each sample is f + e* / root, with e* drawn with replacement from the residuals, centred and scaled by
    sqrt(n / (n - p)), and root = sqrt(w) / sigma; each fit starts at theta. Fits that fail are left out. Parameters
    that the data do not determine get NaN, as all do where there are as few points as parameters.

    Parameters
    ----------
    curve : FittedCurve
    problem : CurveProblem
        The data of the fit.
    solver : Solver
    level : float
        Coverage, in (0, 1).
    n_resamples : int
        >= 20.
    rng : RandomState
    n_jobs : int or None
        For joblib.

    References
    ----------
    Efron and Tibshirani (1993). An Introduction to the Bootstrap, sections 9.4 and 13.3. Davison and Hinkley (1997),
    Bootstrap Methods and Their Application, equation 6.12, for the scaling.
    """
    _check_level(level)
    if not n_resamples >= 20:
        raise ValueError(f"received n_resamples={n_resamples!r}; expected at least 20: pass for instance 1000")
    theta, n = curve.theta, len(problem.y)
    free = int(curve.free.sum()) - curve.covariance.null_vectors.shape[1]
    if n <= free:  # the curve passes through the points: no residual tells an error
        return np.where(curve.free[:, None], np.nan, theta[:, None]) * np.ones(2)
    lost = ~curve.covariance.identifiable
    problem = _held(problem, curve)
    r = problem.residual(problem.pack(theta))
    fitted = r / problem.root + problem.y
    r = (r - r.mean()) * math.sqrt(n / (n - free))
    seeds = rng.randint(0, 2**31 - 1, size=n_resamples)  # all draws at once would be n_resamples copies of the data

    def one(seed: int) -> np.ndarray:
        draw = np.random.RandomState(seed).randint(0, n, size=n)
        again = replace(problem, y=fitted - r[draw] / problem.root)
        found = search(again, theta, solver)
        return found.theta if found.result.converged else np.full_like(theta, np.nan)

    if n_jobs is None:
        samples = [one(seed) for seed in seeds]
    else:
        from joblib import Parallel, delayed

        samples = Parallel(n_jobs=n_jobs, prefer="threads")(delayed(one)(seed) for seed in seeds)
    good = np.array([sample for sample in samples if np.isfinite(sample).all()])
    if len(good) < 0.9 * n_resamples:
        warn_caller(
            f"{n_resamples - len(good)} of {n_resamples} bootstrap fits did not converge and were left out: the "
            "intervals may be too short; check the fit, or use method='profile'",
            UserWarning,
        )
    if len(good) < 2:
        return np.full((len(theta), 2), np.nan)
    tail = 0.5 * (1.0 - level)
    ends = np.quantile(good, [tail, 1.0 - tail], axis=0).T
    ends[lost] = np.nan
    return ends


def _held(problem: CurveProblem, curve: FittedCurve) -> CurveProblem:
    """Return the problem with as many parameters held as there are directions in which the curve does not change."""
    null = curve.covariance.null_vectors
    if not null.shape[1]:
        return problem
    free = problem.free.copy()
    free[scipy.linalg.qr(null.T, mode="r", pivoting=True)[1][: null.shape[1]]] = False
    return replace(problem, free=free, base=curve.theta)

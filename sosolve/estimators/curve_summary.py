"""What is kept of a fitted curve: no data, only the optimum, its uncertainty and what the fit has to say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..curve_problems.drowned import without_drowned
from ..curve_problems.model import Model
from ..curve_problems.problem import CurveProblem
from ..history import History, Result, Status
from ..inference import Covariance, covariance, sandwich
from .curve_search import Found

#: Part of the longest one below which a component is left out of the direction that a sentence names.
NO_PART = 1e-6


@dataclass(frozen=True, eq=False)
class FittedCurve:
    """One fitted output.

    Attributes
    ----------
    model : Model
    theta : ndarray of shape (p,)
    start : ndarray of shape (p,)
        Where the search began.
    covariance : Covariance
    free : ndarray of bool, shape (p,)
        Parameters that were fitted.
    bound : tuple of str
        "lower" or "upper" for each parameter that ended on a bound, else "".
    rss : float
        sum_i w_i ((f_i - y_i) / sigma_i)^2.
    tss : float
        The same with the weighted mean of y in place of f.
    n_points : float
        Number of observations: the sum of the weights.
    dof : float
        n_points minus the number of free parameters that are not on a bound.
    noise : float
        Variance of an observation with weight and sigma 1: rss / dof, 1 with absolute_sigma, the square of 1.4826
        times the median absolute deviation of the residuals with a robust loss; NaN where it is unknown.
    loss : str
    f_scale : float or None
    absolute_sigma : bool
    has_sigma : bool
    result : Result
    """

    model: Model
    theta: np.ndarray
    start: np.ndarray
    covariance: Covariance
    free: np.ndarray
    bound: tuple[str, ...]
    rss: float
    tss: float
    n_points: float
    dof: float
    noise: float
    loss: str
    f_scale: float | None
    absolute_sigma: bool
    has_sigma: bool
    result: Result

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self.model.names

    def by_name(self, values) -> dict[str, float]:
        """Return values of shape (p,) as a mapping."""
        return {name: float(value) for name, value in zip(self.names, values, strict=True)}

    def diagnosis(self) -> list[str]:
        """Return what a user should know, one sentence each; the first tells how the fit ended."""
        said = [self.result.message]
        said += [
            f"{name} lies on its {side} bound ({value:.6g}): the errors of the others are those with it held there"
            for name, side, value in zip(self.names, self.bound, self.theta, strict=True)
            if side
        ]
        lost = self.not_identified()
        if lost:
            said.append(lost)
        if self.dof <= 0 and not lost and not self.absolute_sigma:
            said.append(
                f"{self.n_points:g} observations for {int((self.free & ~self._held()).sum())} parameters leave no "
                "degrees of freedom: the standard errors are unknown (give more points, or sigma with "
                "absolute_sigma=True)"
            )
        said += [f"{key}: {note}" for key, note in self.result.history.notes.items()]
        return said

    def not_identified(self) -> str:
        """Return a sentence that names the parameters which the data do not determine, "" where they do."""
        found = self.covariance
        names = [name for name, known in zip(self.names, found.identifiable, strict=True) if not known]
        if not names:
            return ""
        directions = []
        for vector in found.null_vectors.T:
            top = np.abs(vector).max()
            parts = [
                f"{v / top:+.3g} {n}"
                for n, v in zip(self.names, vector, strict=True)
                if n in names and abs(v) > NO_PART * top
            ]
            directions.append(" ".join(parts))
        return (
            f"the data do not determine {', '.join(names)}: the curve does not change along "
            f"{'; '.join(directions)}; their standard errors are NaN: fix one of them (fixed=), or use a simpler model"
        )

    def _held(self) -> np.ndarray:
        return np.array([bool(side) for side in self.bound])


def interim(problem: CurveProblem, theta: np.ndarray) -> FittedCurve:
    """Return a curve with parameters alone: what a callback can predict with before the fit has ended."""
    p, nan = len(theta), float("nan")
    nothing = Covariance(
        np.full((p, p), nan), np.full(p, nan), 0, np.zeros((p, 0)), np.ones(p, dtype=bool), ~problem.free, nan
    )
    result = Result(theta, nan, nan, Status.INTERRUPTED, History())
    return FittedCurve(
        model=problem.model,
        theta=theta,
        start=theta,
        covariance=nothing,
        free=problem.free,
        bound=("",) * p,
        rss=nan,
        tss=nan,
        n_points=problem.total,
        dof=nan,
        noise=nan,
        loss=problem.loss,
        f_scale=problem.f_scale,
        absolute_sigma=False,
        has_sigma=problem.precision is not None,
        result=result,
    )


def summarise(found: Found, start: np.ndarray, absolute_sigma: bool) -> FittedCurve:
    """Return what is kept of a fit.

    Parameters
    ----------
    found : Found
    start : ndarray of shape (p,)
    absolute_sigma : bool
    """
    problem, theta = found.problem, found.theta
    bound = _bounds_reached(problem, theta)
    held = ~problem.free | np.array([bool(side) for side in bound])
    raw, J = found.residual, np.zeros((len(problem.y), len(theta)))
    J[:, problem.free] = without_drowned(problem, theta, start, raw, found.jac)
    dof = problem.total - float((~held).sum())
    with np.errstate(all="ignore"):
        known = _covariance(problem, raw, J, held, dof, absolute_sigma, found.jac_error)
    w = np.ones_like(raw) if problem.frequency is None or problem.loss == "linear" else problem.frequency
    level = problem.root * np.sqrt(w)
    centre = np.average(problem.y, weights=(level / level.max()) ** 2)
    result = found.result
    result.point = result.state = None  # they hold the data
    result.value *= problem.unit_squared
    return FittedCurve(
        model=problem.model,
        theta=theta,
        start=start,
        covariance=known,
        free=problem.free,
        bound=bound,
        rss=float(w @ raw**2) * problem.unit_squared,
        tss=float(np.sum((level * (problem.y - centre)) ** 2)) * problem.unit_squared,
        n_points=problem.total,
        dof=dof,
        noise=_noise(problem, theta, raw, dof, absolute_sigma),
        loss=problem.loss,
        f_scale=problem.f_scale,
        absolute_sigma=absolute_sigma,
        has_sigma=problem.precision is not None,
        result=result,
    )


def _noise(problem: CurveProblem, theta: np.ndarray, raw: np.ndarray, dof: float, absolute_sigma: bool) -> float:
    if problem.loss != "linear":
        return problem.mad(theta) ** 2
    if absolute_sigma:
        return 1.0
    return float(raw @ raw) / dof * problem.unit_squared if dof > 0 else float("nan")


def _bounds_reached(problem: CurveProblem, theta: np.ndarray) -> tuple[str, ...]:
    at_lower, at_upper = problem.free & (theta <= problem.lower), problem.free & (theta >= problem.upper)
    return tuple("lower" if low else "upper" if high else "" for low, high in zip(at_lower, at_upper, strict=True))


def _covariance(
    problem: CurveProblem,
    raw: np.ndarray,
    J: np.ndarray,
    held: np.ndarray,
    dof: float,
    absolute_sigma: bool,
    error: float,
) -> Covariance:
    """Return the covariance of all parameters; in the user's units.

    With a robust loss it is the sandwich of `sosolve.inference.sandwich`, psi = rho' r. Residuals of mixed
    distributions tell their own scale, so absolute_sigma changes nothing then.
    """
    if not np.isfinite(J).all():
        p = len(held)
        nothing = np.full((p, p), np.nan)
        everything = np.zeros(p, dtype=bool)
        return Covariance(nothing, nothing[0].copy(), 0, np.zeros((p, 0)), ~everything, held, np.nan)
    how = {"fixed": held, "degrees_of_freedom": dof, "jac_error": error}
    robust = problem.robust()
    if robust is None:
        scale = problem.unit if absolute_sigma else 1.0  # rows in units of sigma have variance 1
        return covariance(J * scale, raw, absolute_sigma=absolute_sigma, **how)
    psi, slope = robust.influence(raw)
    return sandwich(J, psi, slope, weights=problem.frequency, **how)

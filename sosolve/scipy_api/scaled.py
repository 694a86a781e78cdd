"""The solvers behind `least_squares`, with the user's units of the parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from scipy.optimize import OptimizeResult
from scipy.sparse.linalg import LinearOperator

from ..linalg import PivotedQR, norm
from ..solvers import Dogleg, LevenbergMarquardt
from ..solvers.least_squares_subproblem import ModelStep
from ..solvers.residual_trust_region import RegionState, ResidualTrustRegion
from ..solvers.sparse_least_squares import SparseLevenbergMarquardt


@dataclass(kw_only=True)
class _Units(ResidualTrustRegion):
    """A trust region whose D is 1 / units, shape (p,), where they are given."""

    units: Any = None

    def start(self, point: Any) -> RegionState:
        """Return the state with the first radius."""
        state = super().start(point)
        if self.units is None:
            return state
        scale = 1.0 / self.units
        return state._replace(scale=scale, radius=self.factor * (norm(scale * point.theta) or 1.0))


@dataclass(kw_only=True)
class _UnitsLM(_Units, LevenbergMarquardt):
    """Levenberg-Marquardt with the user's units; a step as long as the radius ends exactly on the sphere."""

    def solve(self, factor: PivotedQR, radius: float, damping: float) -> ModelStep:
        """Return the damped step."""
        found = super().solve(factor, radius, damping)
        if found.damping > 0.0 and abs(found.length - radius) <= 1e-12 * radius:
            return found._replace(z=found.z * (radius / found.length), length=radius)
        return found


@dataclass(kw_only=True)
class _UnitsDogleg(_Units, Dogleg):
    """The dogleg with the user's units."""


@dataclass(kw_only=True)
class _UnitsSparse(_Units, SparseLevenbergMarquardt):
    """The LSMR trust region with the user's units."""


def choose_solver(method, tr_solver, kind, scale, options, settings) -> ResidualTrustRegion:
    """Return the solver for a method and a kind of Jacobian."""
    limit = settings.pop("max_nfev")
    if method != "lm":
        settings["factor"] = 1.0  # the first radius of SciPy's trf and dogbox; MINPACK's is far larger
    settings["max_iter"] = None if limit is None else max(int(limit) - 1, 0)
    if scale is not None:
        settings.update(units=scale, scaling="none")
    if (tr_solver == "lsmr" and method != "lm") or kind in ("sparse", "operator"):
        options = {name: value for name, value in options.items() if name != "show"}
        return _UnitsSparse(**settings, **options)
    return (_UnitsDogleg if method == "dogbox" else _UnitsLM)(**settings)


def least_squares_in_unit(fit: Callable, unit: float, fun: Callable, x0: Any, jac: Any, *given: Any) -> OptimizeResult:
    """Return the outcome of `least_squares` with residuals and Jacobian divided by a unit, in the caller's units.

    Their squares are then ordinary numbers, where those of the caller's leave the range of floating point; the cost
    in the outcome may be 0 or inf.
    """
    exact = Divided(jac, unit) if callable(jac) else jac
    outcome = fit(Divided(fun, unit), x0, exact, *given)
    with np.errstate(all="ignore"):
        for name in ("fun", "jac", "grad", "cost", "optimality", "grad", "cost", "optimality"):
            outcome[name] = outcome[name] * unit
    return outcome


class Divided:
    """A user's function divided by a unit; picklable where the function is.

    Parameters
    ----------
    function : callable
    unit : float
    """

    def __init__(self, function: Callable, unit: float):
        self.function, self.unit = function, unit

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return function(...) / unit."""
        found = self.function(*args, **kwargs)
        if isinstance(found, LinearOperator) or scipy.sparse.issparse(found):
            return found * (1.0 / self.unit)
        return np.asarray(found) / self.unit

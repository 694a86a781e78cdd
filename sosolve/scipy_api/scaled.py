"""The solvers behind `least_squares`, with the user's units of the parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..linalg import PivotedQR, norm
from ..solvers import Dogleg, LevenbergMarquardt
from ..solvers.least_squares_subproblem import ModelStep
from ..solvers.residual_trust_region import RegionState, ResidualTrustRegion
from ..solvers.sparse_least_squares import SparseLevenbergMarquardt
from .residual_task import ResidualTask


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


def choose_solver(task: ResidualTask, kind: str) -> ResidualTrustRegion:
    """Return the solver of a task for a kind of Jacobian, see `residual_checks.checked_jacobian`."""
    settings: dict[str, Any] = {**task.tolerances, **task.box}
    if task.method != "lm":
        settings["factor"] = 1.0  # the first radius of SciPy's trf and dogbox; MINPACK's is far larger
    settings["max_iter"] = None if task.max_nfev is None else max(int(task.max_nfev) - 1, 0)
    if task.units is not None:
        settings.update(units=task.units, scaling="none")
    if (task.tr_solver == "lsmr" and task.method != "lm") or kind in ("sparse", "operator"):
        options = {name: value for name, value in task.tr_options.items() if name != "show"}
        return _UnitsSparse(**settings, **options)
    return (_UnitsDogleg if task.method == "dogbox" else _UnitsLM)(**settings)

"""How an estimator runs its fit: names of solvers, tolerances, callbacks, warnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..caller import warn_caller
from ..history import Record
from ..protocols import Point
from ..solvers import RESIDUAL_SOLVERS, SOLVERS, Solver
from ..solvers.residual import ResidualSolver
from .common import Watcher
from .curve_data import CurveData
from .curve_summary import FittedCurve

#: Solvers by the names that `solver=` accepts.
NAMED_SOLVERS: dict[str, type[Solver]] = {
    **RESIDUAL_SOLVERS,
    **SOLVERS,
    "auto": RESIDUAL_SOLVERS["lm"],
    "dogleg": RESIDUAL_SOLVERS["dogleg-ls"],
    "l-bfgs": SOLVERS["lbfgs"],
}
#: Tolerance of solvers with gradients alone where none is given: a relative gap of 1e-12, parameters to about a
#: millionth of their standard error.
GRADIENT_TOL = 1e-6
GRADIENT_MAX_ITER = 1000


def resolve_solver(estimator) -> Solver:
    """Return the solver to run, with the estimator's tolerance and limit where it has none of its own."""
    solver = estimator.solver if isinstance(estimator.solver, Solver) else NAMED_SOLVERS[estimator.solver]()
    if getattr(solver, "lower", None) is not None or getattr(solver, "upper", None) is not None:
        raise ValueError(
            f"received bounds in the solver {type(solver).__name__}; expected them in the estimator: pass "
            "NonlinearLeastSquares(bounds=...)"
        )
    by_residuals = isinstance(solver, ResidualSolver)
    tol = estimator.tol if estimator.tol is not None or by_residuals else GRADIENT_TOL
    limit = estimator.max_iter if estimator.max_iter is not None or by_residuals else GRADIENT_MAX_ITER
    changes = {"tol": tol, "max_iter": limit}
    return dataclasses.replace(solver, **{k: v for k, v in changes.items() if getattr(solver, k) is None})


def warn_of(estimator, curves: Sequence[FittedCurve]) -> None:
    """Warn of outputs that did not converge, and of parameters that are not determined."""
    for k, curve in enumerate(curves):
        which = f" (output {k})" if len(curves) > 1 else ""
        result = curve.result
        if not result.converged:
            warn_caller(
                f"NonlinearLeastSquares{which} {result.status.name}: {result.message} (after {result.n_iter} "
                f"iterations of {estimator.solver_.name or type(estimator.solver_).__name__}: sum of squares "
                f"{curve.rss:.6g}; the best iterate is kept).",
                ConvergenceWarning,
            )
        lost = curve.not_identified()
        if lost:
            warn_caller(f"NonlinearLeastSquares{which}: {lost}.", ConvergenceWarning)


def check_enough(names: Sequence[str], free: np.ndarray, n: int) -> None:
    """Check that there are at least as many points as parameters.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    p = int(free.sum())
    if n < p:
        chosen = [name for name, wanted in zip(names, free, strict=True) if wanted]
        raise ValueError(
            f"received n_samples={n} (rows with a positive weight) for {p} parameters, {', '.join(chosen)}; expected "
            "at least as many samples as parameters: give more points, or hold parameters with fixed="
        )


class CurveWatcher(Watcher):
    """The loop's callback for curves.

    Parameters
    ----------
    estimator : NonlinearLeastSquares
    data : CurveData

    Attributes
    ----------
    unpack : callable
        From a point of the present run to all parameters; set by who starts the run.
    interim : callable
        From all parameters to a FittedCurve of the present output.
    done : list of FittedCurve
        The outputs before.
    """

    def __init__(self, estimator, data: CurveData):
        super().__init__(estimator, data.X, None)
        self.n_outputs = data.n_outputs
        self.unpack = self.interim = None
        self.done: list[FittedCurve] = []

    def detail(self, record: Record) -> str:
        """Return damping and accepted of an iteration; one that finds the end at hand tries no step."""
        if not (record.accepted or record.damping == record.damping):
            return "no step was needed"
        return f"damping {record.damping:.2e}  {'accepted' if record.accepted else 'rejected'}"

    def attributes(self, point: Point) -> dict:
        """Return what predict needs; outputs that are still to come are shown as the present one."""
        curve = self.interim(self.unpack(point.theta))
        curves = [*self.done, *[curve] * (self.n_outputs - len(self.done))]
        single = self.n_outputs == 1
        params = [curve.by_name(curve.theta) for curve in curves]
        return {
            "curves_": curves,
            "params_": params[0] if single else params,
            "param_names_": curve.names,
            "n_features_in_": self.X.shape[1],
        }

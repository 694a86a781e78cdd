"""Solvers: dataclasses of settings that minimise any `Objective`; choose one by name or make an instance."""

from .base import Solver, Step
from .gauss_newton import GaussNewton
from .levenberg_marquardt import Dogleg, LevenbergMarquardt
from .newton import NewtonCG, NewtonCholesky
from .proximal_newton import ProximalNewton
from .quasi_newton import BFGS, LBFGS
from .trust_region import TrustRegion

#: Solvers by the names that `solver=` accepts.
SOLVERS: dict[str, type[Solver]] = {
    cls.name: cls for cls in (NewtonCG, NewtonCholesky, TrustRegion, BFGS, LBFGS, ProximalNewton)
}
#: Solvers that see residuals and their Jacobian, by name.
RESIDUAL_SOLVERS: dict[str, type[Solver]] = {cls.name: cls for cls in (LevenbergMarquardt, GaussNewton, Dogleg)}

__all__ = [
    "BFGS",
    "LBFGS",
    "RESIDUAL_SOLVERS",
    "SOLVERS",
    "Dogleg",
    "GaussNewton",
    "LevenbergMarquardt",
    "NewtonCG",
    "NewtonCholesky",
    "ProximalNewton",
    "Solver",
    "Step",
    "TrustRegion",
]

"""Solvers: dataclasses of settings that minimise any `Objective`; choose one by name or make an instance."""

from .base import Solver, Step
from .newton import NewtonCG, NewtonCholesky
from .quasi_newton import BFGS, LBFGS
from .trust_region import TrustRegion

#: Solvers by the names that `solver=` accepts.
SOLVERS: dict[str, type[Solver]] = {cls.name: cls for cls in (NewtonCG, NewtonCholesky, TrustRegion, BFGS, LBFGS)}

__all__ = ["BFGS", "LBFGS", "SOLVERS", "NewtonCG", "NewtonCholesky", "Solver", "Step", "TrustRegion"]

"""sosolve: second-order optimisation behind fit and predict."""

from ._version import __version__
from .estimators import LogisticRegression, NonlinearLeastSquares, SoftmaxRegression
from .history import History, Record, Result, Status
from .plotting import ConvergenceDisplay
from .solvers import BFGS, LBFGS, NewtonCG, NewtonCholesky, Solver, Step, TrustRegion

__all__ = [
    "BFGS",
    "LBFGS",
    "ConvergenceDisplay",
    "History",
    "LogisticRegression",
    "NewtonCG",
    "NewtonCholesky",
    "NonlinearLeastSquares",
    "Record",
    "Result",
    "SoftmaxRegression",
    "Solver",
    "Status",
    "Step",
    "TrustRegion",
    "__version__",
]

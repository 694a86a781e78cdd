"""sosolve: second-order optimisation behind fit and predict."""

from ._version import __version__
from .estimators import LogisticRegression, NonlinearLeastSquares, SoftmaxRegression
from .history import History, Record, Result, Status
from .plotting import ConvergenceDisplay
from .plotting_curves import CurveFitDisplay
from .solvers import (
    BFGS,
    LBFGS,
    Dogleg,
    GaussNewton,
    LevenbergMarquardt,
    NewtonCG,
    NewtonCholesky,
    Solver,
    Step,
    TrustRegion,
)

__all__ = [
    "BFGS",
    "LBFGS",
    "ConvergenceDisplay",
    "CurveFitDisplay",
    "Dogleg",
    "GaussNewton",
    "History",
    "LevenbergMarquardt",
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
    "curve_fit",
    "least_squares",
    "minimize",
]

#: Functions that are imported when they are first asked for.
_LAZY = frozenset({"curve_fit", "least_squares", "minimize"})


def __getattr__(name: str):
    """Return a function of `sosolve.scipy_api`, imported now."""
    if name not in _LAZY:
        raise AttributeError(f"module 'sosolve' has no attribute {name!r}")
    from . import scipy_api

    globals().update({function: getattr(scipy_api, function) for function in _LAZY})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

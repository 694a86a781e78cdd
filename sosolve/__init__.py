"""sosolve: second-order optimisation behind fit and predict."""

from ._version import __version__
from .estimators import LogisticRegression, LogisticRegressionCV, NonlinearLeastSquares, Optimality, SoftmaxRegression
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
    ProximalNewton,
    Solver,
    Step,
    TrustRegion,
)
from .warmup import warmup

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
    "LogisticRegressionCV",
    "NewtonCG",
    "NewtonCholesky",
    "NonlinearLeastSquares",
    "Optimality",
    "ProximalNewton",
    "Record",
    "Result",
    "SoftmaxRegression",
    "Solver",
    "Status",
    "Step",
    "TrustRegion",
    "__version__",
    "curve_fit",
    "fit_curves",
    "least_squares",
    "minimize",
    "warmup",
]

#: Functions that are imported when they are first asked for, and where they are.
_LAZY = dict.fromkeys(("curve_fit", "least_squares", "minimize"), "scipy_api") | {"fit_curves": "curves.batch"}


def __getattr__(name: str):
    """Return a function that is imported now."""
    if name not in _LAZY:
        raise AttributeError(f"module 'sosolve' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f".{_LAZY[name]}", __name__)
    globals().update({function: getattr(module, function) for function, at in _LAZY.items() if at == _LAZY[name]})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

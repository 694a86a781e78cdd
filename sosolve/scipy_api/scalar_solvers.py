"""The solvers behind `minimize`: by SciPy's names, with SciPy's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy.optimize import OptimizeWarning

from ..caller import warn_caller
from ..solvers import BFGS, LBFGS, NewtonCG, NewtonCholesky, Solver, TrustRegion
from ..solvers.bounded import BoundedLBFGS, BoundedTrustRegion
from ..solvers.bounds import Box
from . import checks

_KRYLOV = {"preconditioner": "none"}
#: Our solvers and their settings by lower-case names: ours first, then SciPy's.
METHODS: dict[str, tuple[type[Solver], dict[str, Any]]] = {
    "newton-cg": (NewtonCG, _KRYLOV),
    "newton-cholesky": (NewtonCholesky, {}),
    "trust-region": (TrustRegion, _KRYLOV),
    "bfgs": (BFGS, {}),
    "l-bfgs": (LBFGS, {}),
    "lbfgs": (LBFGS, {}),
    "l-bfgs-b": (LBFGS, {}),
    "tnc": (NewtonCG, _KRYLOV),
    "trust-ncg": (TrustRegion, _KRYLOV),
    "trust-krylov": (TrustRegion, _KRYLOV),
    "trust-exact": (TrustRegion, {"subproblem": "dogleg"}),
    "dogleg": (TrustRegion, {"subproblem": "dogleg"}),
}
#: Solvers that see gradients alone.
FIRST_ORDER = (BFGS, LBFGS, BoundedLBFGS)
#: Options that name a setting of ours.
RENAMED = {"maxiter": "max_iter", "maxcor": "memory", "initial_trust_radius": "radius0", "eta": "accept"}
READ = frozenset({"maxfev", "maxfun", "disp", "return_all", "finite_diff_rel_step", "eps", "norm", "iprint", "workers"})
#: Options that steer SciPy's own algorithms: they change nothing here.
FOREIGN = frozenset(
    {"xrtol", "c1", "c2", "hess_inv0", "maxls", "max_trust_radius", "inexact", "subproblem", "scale", "offset"}
    | {"maxCGit", "eta", "stepmx", "accuracy", "minfev", "rescale", "mesg_num"}
)


def kind_of(method: Any, box: Box | None) -> tuple[type[Solver], dict[str, Any]]:
    """Return the solver of a method, which knows bounds where there is a box, and its settings.

    Raises
    ------
    ValueError
        If there is no such method, or it has no bounds and there is a box.
    """
    if not isinstance(method, str) or method.lower() not in METHODS:
        raise ValueError(
            f"Unknown solver: received method={method!r}; expected one of {', '.join(METHODS)}: choose one, or use "
            "scipy.optimize.minimize for a method that needs no derivatives"
        )
    cls, settings = METHODS[method.lower()]
    return (cls, settings) if box is None else (_bounded(cls), {"lower": box.lower, "upper": box.upper})


def _bounded(cls: type[Solver]) -> type[Solver]:
    """Return the solver with bounds that stands for one without.

    Raises
    ------
    ValueError
        If there is none.
    """
    if issubclass(cls, BFGS):
        raise ValueError(
            "received finite `bounds` for the method 'bfgs', which has none; expected another method: use 'l-bfgs', "
            "'trust-region' or 'newton-cg'"
        )
    return BoundedLBFGS if issubclass(cls, LBFGS) else BoundedTrustRegion


def solver_of(cls: type[Solver], settings: dict[str, Any], options: Mapping) -> Any:
    """Return the solver with the settings that the options change; unknown ones give an OptimizeWarning."""
    settings = {"max_iter": 1000 if issubclass(cls, FIRST_ORDER) else 200, **settings}
    if options.get("hess_inv0") is not None:
        checks.check_hess_inv0(options["hess_inv0"])
    solver = cls(**settings)
    known, unknown = solver.get_params(), []
    for name, value in options.items():
        own = RENAMED.get(name, name)
        if own in known and value is not None:
            setattr(solver, own, int(value) if own in ("max_iter", "memory") else value)
        elif own not in known and name not in READ and name not in FOREIGN:
            unknown.append(name)
    if unknown:
        warn_caller(
            f"Unknown solver options: {', '.join(sorted(unknown))}; known are {', '.join([*known, *RENAMED])}",
            OptimizeWarning,
        )
    return solver

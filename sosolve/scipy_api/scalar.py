"""`minimize` with SciPy's signature and result."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import HessianUpdateStrategy, LbfgsInvHessProduct, OptimizeResult, OptimizeWarning

from ..history import Result, Status
from ..linalg import max_abs
from ..objectives.function import FunctionObjective
from ..solvers import BFGS, LBFGS, NewtonCG, NewtonCholesky, Solver, TrustRegion
from ..solvers.bounded import BoundedLBFGS, BoundedTrustRegion
from ..solvers.bounds import Box
from . import checks
from .boxes import box_of, inside
from .gradient_noise import louder
from .residuals import run
from .watch import Watch, user_callback


@dataclass(kw_only=True)
class _Referenced(Solver):
    """A solver whose decrement is compared with what the fit has won so far too, not with |f| alone.

    So a minimum of 0, or one that a constant has moved there, is recognised, and a function in tiny units does not
    end at its start.

    Parameters
    ----------
    reference : float, default=0
        f at the start.
    """

    reference: float = 0.0

    def level(self, point: Any) -> float:
        """Return tol^2 max(|f|, f(x0) - f)."""
        return self.decrement_tol**2 * max(abs(point.value), self.reference - point.value)


@dataclass(kw_only=True)
class _NewtonCG(_Referenced, NewtonCG):
    """See `_Referenced`."""


@dataclass(kw_only=True)
class _NewtonCholesky(_Referenced, NewtonCholesky):
    """See `_Referenced`."""


@dataclass(kw_only=True)
class _TrustRegion(_Referenced, TrustRegion):
    """See `_Referenced`."""


@dataclass(kw_only=True)
class _BFGS(_Referenced, BFGS):
    """See `_Referenced`."""


@dataclass(kw_only=True)
class _LBFGS(_Referenced, LBFGS):
    """See `_Referenced`."""


@dataclass(kw_only=True)
class _BoundedTrustRegion(_Referenced, BoundedTrustRegion):
    """See `_Referenced`."""


@dataclass(kw_only=True)
class _BoundedLBFGS(_Referenced, BoundedLBFGS):
    """See `_Referenced`."""


_KRYLOV = {"preconditioner": "none"}
#: Our solvers and their settings by lower-case names: ours first, then SciPy's.
METHODS: dict[str, tuple[type[Solver], dict[str, Any]]] = {
    "newton-cg": (_NewtonCG, _KRYLOV),
    "newton-cholesky": (_NewtonCholesky, {}),
    "trust-region": (_TrustRegion, _KRYLOV),
    "bfgs": (_BFGS, {}),
    "l-bfgs": (_LBFGS, {}),
    "lbfgs": (_LBFGS, {}),
    "l-bfgs-b": (_LBFGS, {}),
    "tnc": (_NewtonCG, _KRYLOV),
    "trust-ncg": (_TrustRegion, _KRYLOV),
    "trust-krylov": (_TrustRegion, _KRYLOV),
    "trust-exact": (_TrustRegion, {"subproblem": "dogleg"}),
    "dogleg": (_TrustRegion, {"subproblem": "dogleg"}),
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
#: Methods whose `tol` is one for the reduction of f too, and that one where none is given, as in SciPy.
BY_VALUE, USUAL_FTOL = frozenset({"l-bfgs", "lbfgs", "l-bfgs-b", "tnc"}), 2.2e-9
#: Tolerance of the gradient below which noise is not compared with it: nobody expects differences to get there.
LEAST_GTOL = 1e-7
CALLBACK_CODE = 99


def minimize(
    fun: Callable,
    x0: Any,
    args: Any = (),
    method: str | None = None,
    jac: Any = None,
    hess: Any = None,
    hessp: Callable | None = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable | None = None,
    options: Mapping | None = None,
) -> OptimizeResult:
    """Return a local minimiser of a smooth function of several variables.

    Parameters
    ----------
    fun : callable
        `fun(x, *args)` -> float; (float, gradient) with jac=True.
    x0 : array-like of shape (p,)
    args : tuple
        Further arguments of fun, jac, hess and hessp.
    method : str, optional
        "newton-cg", "newton-cholesky", "trust-region", "bfgs" or "l-bfgs", in any case; where None "bfgs", with bounds
        "l-bfgs". SciPy's "L-BFGS-B" is "l-bfgs", "TNC" is "newton-cg", "trust-ncg" and "trust-krylov" are
        "trust-region" (Steihaug), "trust-exact" and "dogleg" are "trust-region" with the dogleg on the dense Hessian.
    jac : callable, True or {"2-point", "3-point", "cs"}, optional
        Gradient; central differences ("3-point", 2 p evaluations) where None.
    hess : callable, optional
        `hess(x, *args)` -> array, sparse array or LinearOperator of shape (p, p).
    hessp : callable, optional
        `hessp(x, v, *args)` -> Hessian times v. Without both, Newton methods take differences of gradients along v.
    bounds : scipy.optimize.Bounds or sequence of p pairs (min, max), optional
        For each method but "bfgs"; None or inf where there is no bound, equal ones fix a parameter. fun is never
        evaluated outside, and the solution may lie exactly on a bound. A projected active set in a trust region:
        with the pairs of L-BFGS for "l-bfgs", with products with the Hessian for the others. x0 is clipped, with an
        OptimizeWarning.
    constraints
        Not available: raise unless there are none.
    tol : float, optional
        Same as the option gtol. For "l-bfgs" and "tnc" a run that gets no further is a success too where its last
        step has won at most tol (the option ftol, 2.2e-9) of all that it won.
    callback : callable, optional
        `callback(intermediate_result)` or `callback(xk)` after each iteration; StopIteration ends the run.
    options : mapping, optional
        gtol (1e-5, largest absolute component of the gradient, of x - P(x - gradient) with P the projection on the
        bounds), maxiter, maxfev or maxfun, maxcor (20, pairs of L-BFGS), initial_trust_radius, eta,
        finite_diff_rel_step or eps, disp, return_all, and settings of the solver by their own names: `tol` (1e-6:
        half the squared decrement is at most tol^2 max(|f|, f(x0) - f)), `max_time`. Those of SciPy's own line
        searches and trust regions (c1, maxls, hess_inv0, ...) are accepted and change nothing.

    Returns
    -------
    OptimizeResult
        x, fun, jac, nfev, njev, nhev, nit, status, message, success; hess_inv for the quasi-Newton methods, hess
        where it is given to another one; besides `solver` (the name of ours that ran) and `history`.
        status: 0 converged, 1 limit, 2 no further progress, 3 not finite at x0, 99 callback.

    Raises
    ------
    ValueError
        If the method is unknown or has no bounds, bounds cross, there are constraints, or fun or jac return another
        shape.

    Examples
    --------
    >>> from sosolve import minimize
    >>> result = minimize(lambda x: (x[0] - 1) ** 2 + 10 * (x[1] + 2) ** 2, [0.0, 0.0], method="newton-cg")
    >>> result.x.round(6)
    array([ 1., -2.])
    """
    _refuse_constraints(constraints)
    if np.ndim(x0) > 1:
        raise ValueError(f"'x0' must only have one dimension: received shape {np.shape(x0)}; pass a flat array")
    theta = checks.start_vector(x0)
    box = box_of(bounds, theta.shape[0])
    name = ("bfgs" if box is None else "l-bfgs") if method is None else method
    if not isinstance(name, str) or name.lower() not in METHODS:
        raise ValueError(
            f"Unknown solver: received method={method!r}; expected one of {', '.join(METHODS)}: choose one, or use "
            "scipy.optimize.minimize for a method that needs no derivatives"
        )
    cls, settings = METHODS[name.lower()]
    if box is not None:
        theta = inside(theta, box)
        cls, settings = _bounded(cls), {"lower": box.lower, "upper": box.upper}
    options = dict(options or {})
    objective = _objective(fun, theta.shape[0], args, jac, hess, hessp, cls, options, box)
    solver = _solver(cls, {"tol": 1e-6, "gtol": 1e-5 if tol is None else tol, **settings}, options)
    limit = options.get("maxfev", options.get("maxfun")) or math.inf
    path: list[np.ndarray] = [theta.copy()]
    watch = Watch(lambda: objective.counts.n_value, limit, user_callback(callback), lambda r, p: {"fun": p.value})
    watch.every = True
    if options.get("return_all"):
        watch.path = path
    with np.errstate(all="ignore"):
        solver.reference = (first := objective.at(theta)).value
        objective.known = first
        found = run(solver, objective, theta, watch)
        is_noise = False
        if not (watch.stopped or watch.exhausted):
            level = max(solver.gtol, LEAST_GTOL)
            found, is_noise = louder(
                objective, found, level, lambda start: run(solver, objective, start, watch.again())
            )
    if not found.converged and first.value < found.value:  # by rounding, where derivatives are wrong
        found = replace(found, point=first, theta=theta, value=first.value)
    outcome = _packed(found, watch, objective, solver)
    if outcome.status in (1, 2) and name.lower() in BY_VALUE and not watch.exhausted:
        _accept_by_value(outcome, options.get("ftol", USUAL_FTOL if tol is None else tol))
    if is_noise and outcome.success:
        outcome.success, outcome.status = False, 2
        outcome.message = (
            "Desired error not necessarily achieved: the gradient is within gtol by chance, differences of "
            f"{found.value:.6g} round to far more; give `jac`, or subtract a constant from the function."
        )
    if callable(hess) and not issubclass(cls, FIRST_ORDER):
        outcome.hess = objective.hess(outcome.x)
    if options.get("return_all"):
        outcome.allvecs = path
    if options.get("disp") and not outcome.success:
        warnings.warn(outcome.message, OptimizeWarning, stacklevel=2)
    elif options.get("disp"):
        sys.stdout.write(
            f"{outcome.message}\n  value {outcome.fun:.6g}, {outcome.nit} iterations, {outcome.nfev} evaluations\n"
        )
    return outcome


def _accept_by_value(outcome: OptimizeResult, ftol: float) -> None:
    """Call a run that got no further a success where its last step has won at most ftol of all that it won.

    Not where f is rounded to more than that.
    """
    history = outcome.history
    gains = [record.actual for record in history if record.accepted]
    level = ftol * (history[0].value - outcome.fun)
    if gains and 0.0 <= gains[-1] <= level and np.spacing(abs(outcome.fun)) <= level:
        outcome.success, outcome.status = True, 0
        outcome.message = "Optimization terminated successfully: the relative reduction of f is within ftol."


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
    return _BoundedLBFGS if issubclass(cls, LBFGS) else _BoundedTrustRegion


def _refuse_constraints(constraints: Any) -> None:
    """Raise ValueError where there are constraints."""
    if constraints is None:
        return
    if isinstance(constraints, Mapping) or not isinstance(constraints, list | tuple) or len(constraints):
        raise ValueError(
            "received `constraints`; expected none, these methods know bounds alone: use scipy.optimize.minimize with "
            "'trust-constr' or 'SLSQP'"
        )


def _objective(fun, size, args, jac, hess, hessp, cls, options, box: Box | None) -> FunctionObjective:
    """Return the objective of the arguments of `minimize`."""
    if not callable(jac) and jac not in (None, False, True):
        checks.one_of("jac", jac, ("2-point", "3-point", "cs", True, False, None))
    if isinstance(hess, HessianUpdateStrategy):
        hess = None  # differences of gradients serve
    if hess is not None and not callable(hess) and hess not in ("2-point", "3-point", "cs"):
        raise ValueError(f"`hess` must be a function or None: received {type(hess).__name__}; pass hess(x) -> (p, p)")
    args = args if isinstance(args, tuple) else (args,)
    product = None if hessp is None else lambda x, v: hessp(x.copy(), v.copy(), *args)
    return StartedFunction(
        checks.Call(fun, args),
        size,
        checks.Call(jac, args) if callable(jac) else None,
        checks.Call(hess, args) if callable(hess) else None,
        product,
        fused=jac is True,
        second_order=not issubclass(cls, FIRST_ORDER),
        scheme=jac if isinstance(jac, str) else "3-point",
        relative_step=options.get("finite_diff_rel_step", options.get("eps")),
        lower=None if box is None else box.lower,
        upper=None if box is None else box.upper,
    )


class StartedFunction(FunctionObjective):
    """A function whose point at the start is kept, so that it is not evaluated twice.

    Attributes
    ----------
    known : FunctionPoint or None
    """

    known: Any = None

    def at(self, theta: np.ndarray) -> Any:
        """Return the point at theta."""
        return self.known if self.known is not None and self.known.theta is theta else super().at(theta)


def _solver(cls: type[Solver], settings: dict[str, Any], options: Mapping) -> Any:
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
        warnings.warn(
            f"Unknown solver options: {', '.join(sorted(unknown))}; known are {', '.join([*known, *RENAMED])}",
            OptimizeWarning,
            stacklevel=3,
        )
    return solver


def _packed(found: Result, watch: Watch, objective: FunctionObjective, solver: Any) -> OptimizeResult:
    """Return SciPy's result object."""
    status, message = _code(found, watch, solver)
    grad = found.point.grad
    if objective.lower is not None and objective.differences is not None:  # nobody has looked along fixed parameters
        grad = np.where(objective.lower == objective.upper, np.nan, grad)
    outcome = OptimizeResult(
        x=found.theta.copy(),
        fun=found.value,
        jac=grad,
        nfev=objective.counts.n_value,
        njev=objective.counts.n_grad,
        nhev=objective.n_hess if objective.hess is not None else objective.counts.n_mv,
        nit=found.n_iter,
        status=status,
        message=message,
        success=status == 0,
        solver=solver.name,
        history=found.history,
    )
    memory = found.state[0] if isinstance(found.state, tuple) else getattr(found.state, "pairs", None)
    if isinstance(solver, BFGS):
        outcome.hess_inv = np.eye(found.theta.shape[0]) if memory is None else memory
    elif memory:
        outcome.hess_inv = LbfgsInvHessProduct(*(np.stack(part) for part in zip(*(m[:2] for m in memory), strict=True)))
    return outcome


def _code(found: Result, watch: Watch, solver: Any) -> tuple[int, str]:
    """Return SciPy's status and a sentence."""
    lower, upper = getattr(solver, "lower", None), getattr(solver, "upper", None)
    if lower is not None and found.status is not Status.NONFINITE and bool((lower == upper).all()):
        return 0, "All independent variables were fixed by bounds."
    if found.status is Status.CONVERGED:
        return 0, "Optimization terminated successfully: the gradient and the decrement are within the tolerances."
    if watch.stopped:
        return CALLBACK_CODE, "`callback` raised `StopIteration`."
    if watch.exhausted:
        return 1, "Maximum number of function evaluations has been exceeded: the best point is kept; raise maxfev."
    if found.status is Status.NONFINITE:
        return 3, f"NaN or inf at the start: {found.status.value}."
    grad_norm = found.grad_norm if lower is None else max_abs(solver.projected(found.point))
    if grad_norm <= solver.gtol:
        return 0, "Optimization terminated successfully: the gradient is within gtol, no more can be won by rounding."
    if found.status is Status.MAX_ITER or found.status is Status.MAX_TIME:
        return 1, f"Maximum number of iterations has been exceeded: {found.status.value}."
    return 2, f"Desired error not necessarily achieved: {found.status.value}."

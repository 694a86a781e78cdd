"""`minimize` with SciPy's signature and result."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import HessianUpdateStrategy, OptimizeResult, OptimizeWarning

from ..caller import warn_caller
from ..history import Result
from ..objectives.function import FunctionObjective
from ..solvers.bounds import Box
from . import checks
from .boxes import box_of, inside
from .gradient_noise import louder
from .scalar_outcome import accept_by_value, packed_minimum, refuse_noise
from .scalar_solvers import FIRST_ORDER, kind_of, solver_of
from .watch import Watch, run, user_callback

#: Methods whose `tol` is one for the reduction of f too, and that one where none is given, as in SciPy.
BY_VALUE, USUAL_FTOL = frozenset({"l-bfgs", "lbfgs", "l-bfgs-b", "tnc"}), 2.2e-9
#: Tolerance of the gradient below which noise is not compared with it: nobody expects differences to get there.
LEAST_GTOL = 1e-7


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
    cls, settings = kind_of(name, box)
    theta = theta if box is None else inside(theta, box)
    options = dict(options or {})
    objective = _objective(fun, theta.shape[0], args, jac, hess, hessp, cls, options, box)
    solver = solver_of(cls, {"tol": 1e-6, "gtol": 1e-5 if tol is None else tol, **settings}, options)
    limit = options.get("maxfev", options.get("maxfun")) or math.inf
    watch = Watch(lambda: objective.counts.n_value, limit, user_callback(callback), lambda r, p: {"fun": p.value})
    watch.every = True
    watch.path = [theta.copy()] if options.get("return_all") else None
    found, is_noise = _minimum(solver, objective, theta, watch)
    outcome = packed_minimum(found, watch, objective, solver)
    if outcome.status in (1, 2) and name.lower() in BY_VALUE and not watch.exhausted:
        accept_by_value(outcome, options.get("ftol", USUAL_FTOL if tol is None else tol))
    if is_noise:
        refuse_noise(outcome)
    if callable(hess) and not issubclass(cls, FIRST_ORDER):
        outcome.hess = objective.hess(outcome.x)
    if watch.path is not None:
        outcome.allvecs = watch.path
    if options.get("disp"):
        _display(outcome)
    return outcome


def _minimum(solver: Any, objective: StartedFunction, theta: np.ndarray, watch: Watch) -> tuple[Result, bool]:
    """Return the result, and whether its gradient is noise."""
    is_noise = False
    with np.errstate(all="ignore"):
        first = objective.known = objective.at(theta)
        solver.reference = first.value
        found = run(solver, objective, theta, watch)
        if not (watch.stopped or watch.exhausted):
            level = max(solver.gtol, LEAST_GTOL)
            found, is_noise = louder(
                objective, found, level, lambda start: run(solver, objective, start, watch.again())
            )
    if not found.converged and first.value < found.value:  # by rounding, where derivatives are wrong
        found = replace(found, point=first, theta=theta, value=first.value)
    return found, is_noise


def _display(outcome: OptimizeResult) -> None:
    """Write how a run has ended, or warn where it is no success."""
    if not outcome.success:
        warn_caller(outcome.message, OptimizeWarning)
        return
    sys.stdout.write(
        f"{outcome.message}\n  value {outcome.fun:.6g}, {outcome.nit} iterations, {outcome.nfev} evaluations\n"
    )


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

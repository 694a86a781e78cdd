"""`least_squares` with SciPy's signature and result."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any
from warnings import warn

import numpy as np
import scipy.sparse
from scipy.optimize import OptimizeResult

from ..history import Result, Status
from ..objectives.residual_jacobians import CustomLoss, ResidualLeastSquares
from ..objectives.robust import RobustLoss
from ..solvers import Solver
from . import checks
from .failures import keep_best
from .jacobian_check import accusation
from .outcome import STALLED_CODE, described, packed
from .residual_checks import checked_jacobian, checked_sparsity, checked_start, choose_differences
from .residual_noise import refined
from .scaled import choose_solver, least_squares_in_unit
from .watch import Watch, user_callback

#: ftol and xtol above this end a fit by themselves; below it they need a small cosine, see `ResidualSolver`.
LOOSE = 1e-7
#: Steps after which a limit that is reached may be the fault of a wrong Jacobian.
MANY_STEPS = 50
#: Residuals whose squares underflow, or overflow to the end of the fit: they get a unit of their own.
TINY, HUGE = 1e-140, 1e150


def least_squares(
    fun: Callable,
    x0: Any,
    jac: Any = "2-point",
    bounds: Any = (-np.inf, np.inf),
    method: str = "trf",
    ftol: float | None = 1e-8,
    xtol: float | None = 1e-8,
    gtol: float | None = 1e-8,
    x_scale: Any = None,
    loss: Any = "linear",
    f_scale: float | None = 1.0,
    diff_step: Any = None,
    tr_solver: str | None = None,
    tr_options: Mapping | None = None,
    jac_sparsity: Any = None,
    max_nfev: int | None = None,
    verbose: int = 0,
    args: tuple = (),
    kwargs: Mapping | None = None,
    callback: Callable | None = None,
    workers: Any = None,
) -> OptimizeResult:
    """Return the minimiser of 1/2 sum_i rho(r_i(x)^2) within box bounds.

    Parameters
    ----------
    fun : callable
        `fun(x, *args, **kwargs)` -> residuals, shape (m,) or a number; x has shape (p,).
    x0 : array-like of shape (p,) or float
        Start, inside the bounds or on them.
    jac : {"2-point", "3-point", "cs", "auto"} or callable, default="2-point"
        How derivatives are made, or `jac(x, *args, **kwargs)` -> array, sparse array or LinearOperator of shape
        (m, p). "auto" (and None) takes complex steps where they agree with differences, else "3-point".
    bounds : (lower, upper) or scipy.optimize.Bounds
        No iterate leaves them, and the solution may lie exactly on one.
    method : {"trf", "dogbox", "lm"}, default="trf"
        "trf" and "lm" are Levenberg-Marquardt in a scaled trust region (with bounds: a projected active set),
        "dogbox" is the dogleg in the same region. "lm" refuses what it refuses in SciPy.
    ftol, xtol, gtol : float or None, default=1e-8
        See `sosolve.solvers.residual.ResidualSolver`; None is off. gtol bounds the largest cosine between the
        residual and a column of the Jacobian, which has no unit.
    x_scale : array-like, float, "jac" or None, default=None
        Typical sizes of the parameters; None and "jac": 1 / running maximum of the Jacobian's column norms.
    loss : {"linear", "huber", "soft_l1", "cauchy", "arctan"} or callable, default="linear"
        A callable takes z of shape (m,) and returns rho, rho', rho'' as an array of shape (3, m).
    f_scale : float or None, default=1.0
        Residual beyond which a loss takes hold, > 0; None takes it from the residuals' median absolute deviation.
    diff_step : array-like or float, optional
        Relative step of the differences.
    tr_solver : {None, "exact", "lsmr"}
        "exact" factorises the Jacobian by QR; "lsmr" only multiplies by it. None decides by kind and size.
    tr_options : mapping, optional
        Options of `scipy.sparse.linalg.lsmr`: atol, btol, conlim, maxiter, damp.
    jac_sparsity : array-like or sparse array of shape (m, p), optional
        Where the Jacobian may differ from 0; differences then shift many parameters at once.
    max_nfev : int, optional
        Evaluations of `fun` allowed, those for differences left out; 2000 steps where None.
    verbose : {0, 1, 2}, default=0
        Write nothing, a final line, or also one line an iteration to the standard output.
    args, kwargs
        Further arguments of `fun` and `jac`.
    callback : callable, optional
        `callback(intermediate_result)` or `callback(x)` after each step; True or StopIteration ends the fit.
    workers : int or map-like, optional
        Evaluate differences in parallel: a number of threads, or a function such as `Pool.map`.

    Returns
    -------
    OptimizeResult
        x, cost, fun, jac, grad, optimality, active_mask, nfev, njev, status, message, success; besides `history`
        (see `sosolve.History`), `reason` (the test that ended the fit) and `solver`.
        status: -3 stalled away from a stationary point, -2 callback, 0 max_nfev, 1 gtol, 2 ftol, 3 xtol.

    Raises
    ------
    ValueError
        If an argument is outside its range, or the residuals or their Jacobian at x0 are of another shape or not
        finite. Exceptions of `fun` pass unchanged, with the best point in a note and as `best_x`.
    TypeError
        If `tr_options` has an unknown name or the callback cannot be called.

    Notes
    -----
    Differences from SciPy: residuals that are not finite at a trial point reject the step; an unsuccessful fit is
    tried once more from the start, see `sosolve.LevenbergMarquardt`; gtol is free of scale for each method.
    """
    checks.check_choices(method, jac, tr_solver, loss, verbose, max_nfev)
    theta = checks.start_vector(x0)
    lower, upper = checks.as_bounds(bounds, theta.shape[0])
    bounded = bool(np.isfinite(lower).any() or np.isfinite(upper).any())
    if method == "lm" and bounded:
        raise ValueError("Method 'lm' doesn't support bounds: received finite ones; use method='trf'")
    checks.check_inside(theta, lower, upper)
    box = {"lower": lower, "upper": upper} if bounded else {}
    settings = dict(zip(("ftol", "xtol", "gtol"), checks.check_tolerances(ftol, xtol, gtol, method), strict=True))
    settings.update(box, max_nfev=max_nfev)
    scale = checks.as_scale(x_scale, theta)
    options = checks.tr_settings(tr_options)
    objective = _objective(fun, theta.shape[0], jac, args, kwargs, loss, f_scale, box)
    with np.errstate(all="ignore"):
        first = checked_start(objective, theta, method)
        size = float(np.abs(first.raw_residual).max())
    given = (x0, jac, bounds, method, ftol, xtol, gtol, x_scale, loss, f_scale, diff_step, tr_solver, tr_options)
    given = (*given, jac_sparsity, max_nfev, verbose, args, kwargs, callback, workers)
    if 0.0 < size < TINY and objective.loss is None:
        return least_squares_in_unit(least_squares, 2.0 ** math.frexp(size)[1], fun, *given)
    pattern = checked_sparsity(jac_sparsity, jac, method, tr_solver, (first.raw_residual.shape[0], theta.shape[0]))
    choose_differences(objective, first, jac, diff_step, pattern, workers, box)
    with np.errstate(all="ignore"):
        kind = checked_jacobian(objective, first, method, tr_solver, x_scale)
    solver = choose_solver(method, tr_solver, kind, scale, options, settings)
    report = user_callback(callback)
    if report is not None and method == "lm":
        warn("Callback function specified, but not supported with `lm` method.", stacklevel=2)
        report = None
    watch = Watch(lambda: objective.n_residuals, math.inf if max_nfev is None else max_nfev, report, described)
    watch.verbose = verbose == 2
    # A user who asks for few digits wants to stop early, also where the cosine is not small yet.
    watch.ftol, watch.xtol = (t if t is not None and t > LOOSE else 0.0 for t in (settings["ftol"], settings["xtol"]))
    found = run(solver, objective, theta, watch)
    if found.status is Status.NONFINITE and size > HUGE and objective.loss is None:
        return least_squares_in_unit(least_squares, 2.0 ** math.frexp(size)[1], fun, *given)
    if not (watch.stopped or watch.exhausted):
        found = refined(objective, found, jac, box, lambda start: run(solver, objective, start, watch.again()))
    rough = not callable(jac) and jac in ("2-point", "3-point")
    outcome = packed(found, watch, objective, lower, upper, settings["gtol"], rough)
    outcome.solver = solver.name
    in_doubt = outcome.status == STALLED_CODE or (outcome.status == 0 and outcome.nit >= MANY_STEPS)
    if callable(jac) and kind == "dense" and (in_doubt or (outcome.nit <= 1 and not outcome.grad.any())):
        _accuse(outcome, objective, theta, box)
    if kind == "densified":
        outcome.jac = scipy.sparse.csr_array(outcome.jac)
    if method == "lm" and not callable(jac):
        outcome.njev = None
    if verbose:
        _write_summary(outcome)
    return outcome


def _accuse(outcome: OptimizeResult, objective: ResidualLeastSquares, theta: np.ndarray, box: dict) -> None:
    """Say in the outcome where the user's Jacobian is wrong; it is a failure then, whatever the tests said."""
    wrong = accusation(objective.fun, objective.jac, theta, box) if outcome.cost > 0.0 else ""
    if wrong:
        outcome.message = f"{outcome.message} {wrong}."
        outcome.status, outcome.success = min(outcome.status, 0) or STALLED_CODE, False


def _write_summary(outcome: OptimizeResult) -> None:
    sys.stdout.write(
        f"{outcome.message}\nFunction evaluations {outcome.nfev}, initial cost {outcome.history[0].value:.4e}, "
        f"final cost {outcome.cost:.4e}, first-order optimality {outcome.optimality:.2e}.\n"
    )


def run(solver: Solver, objective: Any, theta: np.ndarray, watch: Watch) -> Result:
    """Return the solver's result; an exception passes on with the best point."""
    try:
        found = solver.minimize(objective, theta, watch)
        if found.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
    except BaseException as error:
        best = watch.best
        keep_best(error, None if best is None else best.theta, math.nan if best is None else best.value)
        raise
    return found


class _Residuals(checks.Call):
    """The user's residuals as an array of at least one dimension, of the same shape everywhere."""

    shape: tuple[int, ...] | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        found = np.atleast_1d(super().__call__(x))
        if found.shape != self.shape:
            if self.shape is not None:
                raise ValueError(
                    f"`fun` must return as many residuals everywhere: received shape {found.shape} after {self.shape} "
                    "at the start; give missing ones as NaN, which rejects the step, or as 0"
                )
            self.shape = found.shape
        return found


def _objective(fun, size, jac, args, kwargs, loss, f_scale, box) -> ResidualLeastSquares:
    """Return the objective of the arguments of `least_squares`."""
    derivative = "auto" if jac is None or callable(jac) else jac
    exact = checks.Call(jac, args, kwargs) if callable(jac) else None
    call = _Residuals(fun, args, kwargs)
    known = robust_loss(loss, f_scale) or "linear"
    return ResidualLeastSquares(call, size, exact, loss=known, derivative=derivative, **box)


def robust_loss(loss: Any, f_scale: float | None) -> RobustLoss | None:
    """Return the loss of a name or of a function z -> (rho, rho', rho''), None for plain squares."""
    if callable(loss):
        return CustomLoss(loss, 1.0 if f_scale is None else float(f_scale))
    return RobustLoss.named(loss, f_scale)

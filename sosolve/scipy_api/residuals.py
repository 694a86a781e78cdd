"""`least_squares` with SciPy's signature and result."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse
from scipy.optimize import OptimizeResult

from ..history import Status
from ..objectives.residual_jacobians import ResidualLeastSquares
from . import checks
from .jacobian_check import accusation
from .outcome import STALLED_CODE, packed
from .residual_checks import checked_jacobian, checked_sparsity, checked_start, choose_differences
from .residual_noise import refined
from .residual_task import ResidualTask, in_callers_unit
from .scaled import choose_solver
from .watch import run

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
    if method == "lm" and (np.isfinite(lower).any() or np.isfinite(upper).any()):
        raise ValueError("Method 'lm' doesn't support bounds: received finite ones; use method='trf'")
    checks.check_inside(theta, lower, upper)
    tolerances = checks.check_tolerances(ftol, xtol, gtol, method)
    task = ResidualTask(
        fun=fun,
        jac=jac,
        args=args,
        kwargs=kwargs,
        loss=loss,
        f_scale=f_scale,
        theta=theta,
        lower=lower,
        upper=upper,
        method=method,
        tolerances=dict(zip(("ftol", "xtol", "gtol"), tolerances, strict=True)),
        x_scale=x_scale,
        units=checks.as_scale(x_scale, theta),
        diff_step=diff_step,
        tr_solver=tr_solver,
        tr_options=checks.tr_settings(tr_options),
        jac_sparsity=jac_sparsity,
        max_nfev=max_nfev,
        verbose=verbose,
        callback=callback,
        workers=workers,
    )
    return _minimum(task)


def _minimum(task: ResidualTask) -> OptimizeResult:
    """Return the outcome of a fit; residuals of an extreme size are fitted in a unit of their own."""
    objective, theta, box = task.objective(), task.theta, task.box
    with np.errstate(all="ignore"):
        first = checked_start(objective, theta, task.method)
        size = float(np.abs(first.raw_residual).max())
    if 0.0 < size < TINY and objective.loss is None:
        return _in_own_unit(task, size)
    shape = (first.raw_residual.shape[0], theta.shape[0])
    pattern = checked_sparsity(task.jac_sparsity, task.jac, task.method, task.tr_solver, shape)
    choose_differences(objective, first, task.jac, task.diff_step, pattern, task.workers, box)
    with np.errstate(all="ignore"):
        kind = checked_jacobian(objective, first, task.method, task.tr_solver, task.x_scale)
    solver, watch = choose_solver(task, kind), task.watch(objective)
    found = run(solver, objective, theta, watch)
    if found.status is Status.NONFINITE and size > HUGE and objective.loss is None:
        return _in_own_unit(task, size)
    if not (watch.stopped or watch.exhausted):
        found = refined(objective, found, task.jac, box, lambda start: run(solver, objective, start, watch.again()))
    outcome = packed(found, watch, objective, task.lower, task.upper, task.tolerances["gtol"], task.is_rough)
    outcome.solver = solver.name
    if kind == "dense":
        _accuse(outcome, task, objective)
    elif kind == "densified":
        outcome.jac = scipy.sparse.csr_array(outcome.jac)
    if task.method == "lm" and not callable(task.jac):
        outcome.njev = None
    if task.verbose:
        _write_summary(outcome)
    return outcome


def _in_own_unit(task: ResidualTask, size: float) -> OptimizeResult:
    """Return the outcome of a fit with residuals divided by a power of two near their size at the start."""
    unit = 2.0 ** math.frexp(size)[1]
    return in_callers_unit(_minimum(task.divided(unit)), unit)


def _accuse(outcome: OptimizeResult, task: ResidualTask, objective: ResidualLeastSquares) -> None:
    """Say in an outcome that is in doubt where the user's Jacobian is wrong: then the fit is a failure."""
    in_doubt = outcome.status == STALLED_CODE or (outcome.status == 0 and outcome.nit >= MANY_STEPS)
    at_start = outcome.nit <= 1 and not outcome.grad.any()
    if not callable(task.jac) or not (in_doubt or at_start) or not outcome.cost > 0.0:
        return
    wrong = accusation(objective.fun, objective.jac, task.theta, task.box)
    if wrong:
        outcome.message = f"{outcome.message} {wrong}."
        outcome.status, outcome.success = min(outcome.status, 0) or STALLED_CODE, False


def _write_summary(outcome: OptimizeResult) -> None:
    sys.stdout.write(
        f"{outcome.message}\nFunction evaluations {outcome.nfev}, initial cost {outcome.history[0].value:.4e}, "
        f"final cost {outcome.cost:.4e}, first-order optimality {outcome.optimality:.2e}.\n"
    )

"""`least_squares` with SciPy's signature and result."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from warnings import warn

import numpy as np
import scipy.sparse
from scipy.optimize import OptimizeResult
from scipy.sparse.linalg import LinearOperator

from ..history import Result, Status
from ..linalg import PivotedQR, norm
from ..objectives.residual_jacobians import CustomLoss, ResidualLeastSquares, SteppedDifferences
from ..solvers import Dogleg, LevenbergMarquardt
from ..solvers.least_squares_subproblem import ModelStep
from ..solvers.residual import STATIONARY, ResidualSolver
from ..solvers.residual_trust_region import RegionState, ResidualTrustRegion
from ..solvers.sparse_least_squares import SparseLevenbergMarquardt
from . import checks
from .failures import keep_best
from .watch import Watch, user_callback

#: A sparse Jacobian with at most this many entries, zeros included, is factorised as a dense one: LSMR is slower.
DENSE_ENTRIES = 100_000
#: SciPy's numbers for the tests that end a fit, and ours for what it has no number for.
CODES = {"gtol": 1, "ftol": 2, "xtol": 3}
STALLED_CODE = -3
#: ftol and xtol above this end a fit by themselves; below it they need a small cosine, see `ResidualSolver`.
LOOSE = 1e-7


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
        first = _checked_start(objective, theta, method)
    pattern = _checked_sparsity(jac_sparsity, jac, method, tr_solver, (first.raw_residual.shape[0], theta.shape[0]))
    choose_differences(objective, first, jac, diff_step, pattern, workers, box)
    with np.errstate(all="ignore"):
        kind = _checked_jacobian(objective, first, method, tr_solver, x_scale)
    solver = _solver(method, tr_solver, kind, scale, options, settings)
    report = user_callback(callback)
    if report is not None and method == "lm":
        warn("Callback function specified, but not supported with `lm` method.", stacklevel=2)
        report = None
    watch = Watch(lambda: objective.n_residuals, math.inf if max_nfev is None else max_nfev, report, _described)
    watch.verbose = verbose == 2
    # A user who asks for few digits wants to stop early, also where the cosine is not small yet.
    watch.ftol, watch.xtol = (t if t is not None and t > LOOSE else 0.0 for t in (settings["ftol"], settings["xtol"]))
    found = run(solver, objective, theta, watch)
    rough = not callable(jac) and jac in ("2-point", "3-point")
    outcome = packed(found, watch, objective, lower, upper, settings["gtol"], rough)
    outcome.solver = solver.name
    if kind == "densified":
        outcome.jac = scipy.sparse.csr_array(outcome.jac)
    if method == "lm" and not callable(jac):
        outcome.njev = None
    if verbose:
        sys.stdout.write(
            f"{outcome.message}\nFunction evaluations {outcome.nfev}, initial cost {found.history[0].value:.4e}, "
            f"final cost {outcome.cost:.4e}, first-order optimality {outcome.optimality:.2e}.\n"
        )
    return outcome


def run(solver: ResidualSolver, objective: ResidualLeastSquares, theta: np.ndarray, watch: Watch) -> Result:
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
    """The user's residuals as an array of at least one dimension."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.atleast_1d(super().__call__(x))


def _objective(fun, size, jac, args, kwargs, loss, f_scale, box) -> ResidualLeastSquares:
    """Return the objective of the arguments of `least_squares`."""
    if callable(loss):
        loss = CustomLoss(loss, 1.0 if f_scale is None else float(f_scale))
    derivative = "auto" if jac is None or callable(jac) else jac
    exact = checks.Call(jac, args, kwargs) if callable(jac) else None
    call = _Residuals(fun, args, kwargs)
    return ResidualLeastSquares(call, size, exact, loss=loss, f_scale=f_scale, derivative=derivative, **box)


def _checked_start(objective: ResidualLeastSquares, theta: np.ndarray, method: str):
    """Return the point at the start after a look at its residuals.

    Raises
    ------
    ValueError
        If they have two dimensions, are complex, not finite, or too few for the method.
    """
    first = objective.begin(theta)
    f0 = first.raw_residual
    if objective.output == "c":
        raise ValueError(
            "`fun` must return real numbers: received complex residuals; return real and imaginary parts as one array"
        )
    if f0.ndim != 1:
        raise ValueError(f"`fun` must return at most 1-d array_like: received f0.shape: {f0.shape}; flatten it")
    if not f0.size or not np.isfinite(f0).all():
        bad = np.flatnonzero(~np.isfinite(f0))
        received = f"{f0[bad[0]]} in row {bad[0]}, {bad.size} of {f0.size} not finite" if bad.size else "none at all"
        raise ValueError(
            f"Residuals are not finite in the initial point: received {received} at x0 = {theta.tolist()}; start "
            "where the model exists"
        )
    if method == "lm" and f0.shape[0] < theta.shape[0]:
        raise ValueError(
            "Method 'lm' doesn't work when the number of residuals is less than the number of variables: received "
            f"{f0.shape[0]} and {theta.shape[0]}; use method='trf'"
        )
    return first


def _checked_sparsity(jac_sparsity: Any, jac: Any, method: str, tr_solver: str | None, shape: tuple) -> Any:
    """Return the pattern as a sparse array, None where there is none or `jac` makes it needless.

    Raises
    ------
    ValueError
        If its shape is not (m, p), or the method or `tr_solver` cannot use it.
    """
    if jac_sparsity is None or callable(jac):
        return None
    if method == "lm":
        raise ValueError("method='lm' does not support `jac_sparsity`: received one; use method='trf'")
    pattern = scipy.sparse.csc_array(
        jac_sparsity if scipy.sparse.issparse(jac_sparsity) else np.atleast_2d(jac_sparsity)
    )
    if pattern.shape != shape:
        raise ValueError(
            f"`jac_sparsity` has wrong shape: received {pattern.shape}; expected {shape}, a row for each residual"
        )
    if tr_solver == "exact":
        raise ValueError("tr_solver='exact' is incompatible with `jac_sparsity`: use 'lsmr', or leave one of them out")
    return pattern


def choose_differences(objective, first, jac, diff_step, pattern, workers, box) -> None:
    """Replace the objective's differences where the defaults do not do: own steps, a pattern, float32, workers."""
    low = objective.output == "low"
    if callable(jac) or (diff_step is None and pattern is None and not low and workers in (None, 1)):
        return
    scheme = "2-point" if jac in (None, "auto") or (low and jac == "cs") else jac
    objective.differences = SteppedDifferences(
        objective.fun,
        scheme,
        sparsity=pattern,
        relative_step=diff_step,
        precision=float(np.finfo(np.float32).eps) if low else checks.EPS,
        mapping=mapper(workers),
        **box,
    )


def mapper(workers: Any) -> Callable:
    """Return a map-like function: of threads where `workers` is a number, `workers` itself where it is a function.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if workers is None:
        return map
    if callable(workers):
        return workers
    if not isinstance(workers, int | np.integer) or workers == 0 or workers < -1:
        raise ValueError(f"`workers` must be a positive int, -1 or map-like: received {workers!r}; None is serial")

    def threads(function: Callable, points: list) -> list:
        with ThreadPoolExecutor(None if workers == -1 else int(workers)) as pool:
            return list(pool.map(function, points))

    return threads


def _checked_jacobian(objective, first, method: str, tr_solver: str | None, x_scale: Any) -> str:
    """Return "dense", "densified" (small and sparse), "sparse" or "operator" after a look at the first Jacobian.

    Raises
    ------
    ValueError
        If its shape is not (m, p), it is not finite, or the method or an argument does not go with its kind.
    """
    J, shape = first.raw_jac, (first.raw_residual.shape[0], first.theta.shape[0])
    if tuple(J.shape) != shape:
        raise ValueError(
            f"The return value of `jac` has wrong shape: received {tuple(J.shape)}; expected {shape}, a row for each "
            "residual and a column for each parameter"
        )
    if isinstance(J, np.ndarray):
        if not np.isfinite(J).all():
            i, j = np.argwhere(~np.isfinite(J))[0]
            raise ValueError(
                f"The Jacobian is not finite in the initial point: received {J[i, j]} for residual {i}, parameter "
                f"{j}; start where the model has derivatives"
            )
        return "dense"
    for wrong, name in ((method == "lm", "method='lm'"), (tr_solver == "exact", "tr_solver='exact'")):
        if wrong:
            raise ValueError(
                f"{name} works only with dense Jacobian matrices: received a {type(J).__name__}; leave it to "
                "method='trf' and tr_solver='lsmr', or return an array"
            )
    if isinstance(J, LinearOperator):
        if isinstance(x_scale, str):
            raise ValueError(
                "x_scale='jac' can't be used when `jac` returns LinearOperator: it has no columns to measure; pass "
                "numbers or None"
            )
        return "operator"
    if tr_solver is None and shape[0] * shape[1] <= DENSE_ENTRIES:
        objective.densify()
        return "densified"
    return "sparse"


@dataclass(kw_only=True)
class _Units(ResidualTrustRegion):
    """A trust region whose D is 1 / units, shape (p,), where they are given."""

    units: Any = None

    def start(self, point: Any) -> RegionState:
        """Return the state with the first radius."""
        state = super().start(point)
        if self.units is None:
            return state
        scale = 1.0 / self.units
        return state._replace(scale=scale, radius=self.factor * (norm(scale * point.theta) or 1.0))


@dataclass(kw_only=True)
class _UnitsLM(_Units, LevenbergMarquardt):
    """Levenberg-Marquardt with the user's units; a step as long as the radius ends exactly on the sphere."""

    def solve(self, factor: PivotedQR, radius: float, damping: float) -> ModelStep:
        """Return the damped step."""
        found = super().solve(factor, radius, damping)
        if found.damping > 0.0 and abs(found.length - radius) <= 1e-12 * radius:
            return found._replace(z=found.z * (radius / found.length), length=radius)
        return found


@dataclass(kw_only=True)
class _UnitsDogleg(_Units, Dogleg):
    """The dogleg with the user's units."""


@dataclass(kw_only=True)
class _UnitsSparse(_Units, SparseLevenbergMarquardt):
    """The LSMR trust region with the user's units."""


def _solver(method, tr_solver, kind, scale, options, settings) -> ResidualTrustRegion:
    """Return the solver for a method and a kind of Jacobian."""
    limit = settings.pop("max_nfev")
    if method != "lm":
        settings["factor"] = 1.0  # the first radius of SciPy's trf and dogbox; MINPACK's is far larger
    settings["max_iter"] = None if limit is None else max(int(limit) - 1, 0)
    if scale is not None:
        settings.update(units=scale, scaling="none")
    if (tr_solver == "lsmr" and method != "lm") or kind in ("sparse", "operator"):
        options = {name: value for name, value in options.items() if name != "show"}
        return _UnitsSparse(**settings, **options)
    return (_UnitsDogleg if method == "dogbox" else _UnitsLM)(**settings)


def _described(record: Any, point: Any) -> dict:
    """Return what the callback learns beside x and nit."""
    return {"fun": point.raw_residual, "cost": point.value, "nfev": record.n_value}


def packed(
    found: Result,
    watch: Watch,
    objective: ResidualLeastSquares,
    lower: np.ndarray,
    upper: np.ndarray,
    gtol: float | None,
    rough: bool = False,
) -> OptimizeResult:
    """Return SciPy's result object for the result of a residual solver.

    Parameters
    ----------
    found : Result
    watch : Watch
        Of that run.
    objective : ResidualLeastSquares
    lower, upper : ndarray of shape (p,)
    gtol : float or None
        Largest free component of the gradient at which a stalled fit still counts as stationary.
    rough : bool, default=False
        Whether derivatives come from differences: then the lowest value decides which point is returned, not the
        slopes that the solver follows at the rounding level.
    """
    point = found.point
    if rough and watch.best is not None and watch.best.value < found.value:
        point = watch.best
    grad, theta = point.grad, point.theta
    mask = np.where(theta <= lower, -1, np.where(theta >= upper, 1, 0))
    held = ((mask < 0) & (grad > 0.0)) | ((mask > 0) & (grad < 0.0))
    optimality = float(np.abs(np.where(held, 0.0, grad)).max(initial=0.0))
    status, reason = _code(found, watch, optimality, gtol)
    if reason == "stalled" and found.status is Status.STALLED and objective.output == "low":
        status, reason = CODES["ftol"], "ftol"  # the rounding level of float32
    return OptimizeResult(
        x=theta.copy(),
        cost=point.value,
        fun=point.raw_residual,
        jac=point.jac,
        grad=grad,
        optimality=optimality,
        active_mask=mask,
        nfev=objective.n_residuals,
        njev=objective.n_jacobians,
        nit=found.n_iter,
        status=status,
        message=_message(found, status, reason),
        success=status > 0,
        reason=reason,
        history=found.history,
    )


def _code(found: Result, watch: Watch, optimality: float, gtol: float | None) -> tuple[int, str]:
    """Return SciPy's status and the name of the test that ended the fit.

    A run that stalled at the rounding level counts as converged where the point is stationary: by the cosine, or by
    the size of its gradient.
    """
    if found.status is Status.CONVERGED:
        return CODES[found.reason], found.reason
    if found.status is Status.MAX_ITER or watch.exhausted:
        return 0, "max_nfev"
    if watch.stopped:
        return -2, "callback"
    if watch.loose:
        return CODES[watch.loose], watch.loose
    if found.status is Status.STALLED:
        if gtol is not None and optimality <= gtol:
            return CODES["gtol"], "gtol"
        if isinstance(found.state, RegionState) and found.state.here.cosine <= STATIONARY:
            return CODES["ftol"], "ftol"
    return STALLED_CODE, "stalled"


def _message(found: Result, status: int, reason: str) -> str:
    """Return one sentence for a status."""
    if status > 0:
        sentence = found.message if found.converged else "nothing more can be won in double precision"
        return f"`{reason}` termination condition is satisfied: {sentence.removeprefix('converged: ')}."
    if status == 0:
        return (
            f"The maximum number of function evaluations is exceeded: the best point of {found.n_iter} steps is kept; "
            "raise max_nfev, or start closer."
        )
    if status == -2:
        return "Stopped because `callback` function raised `StopIteration` or returned `True`."
    return f"Stopped without reaching a stationary point: {found.status.value}."

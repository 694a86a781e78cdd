"""`curve_fit` with SciPy's signature and result."""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, OptimizeWarning

from ..inference import Covariance, covariance, sandwich
from ..linalg import norm
from ..objectives.residual_jacobians import ResidualLeastSquares
from ..objectives.robust import mad_scale
from ..solvers import Dogleg, LevenbergMarquardt
from . import checks
from .callable_rows import CallableRows
from .compiled import formula_fit
from .curve_data import CurveData, curve_data
from .curve_end import cause_of_failure, drop_drowned, info_of, is_lower, kicked, matrix_of
from .curve_keywords import method_of, translated
from .curve_start import (
    DEFAULT,
    UNBOUNDED,
    check_lm,
    first_residuals,
    found_start,
    is_worse_than_constant,
    start_and_box,
)
from .failures import FitError, evaluated
from .formulas import formula_model, formula_of
from .jacobian_check import accusation, dense_jacobian, is_known, trust
from .lean import is_lean, lean_fit
from .outcome import packed
from .residual_checks import checked_jacobian, choose_differences
from .residual_noise import refined
from .residuals import least_squares, robust_loss, run
from .watch import Watch

#: Keywords of the fit itself; any other one goes to `least_squares`.
OWN = frozenset({"ftol", "xtol", "gtol", "max_nfev", "factor", "epsfcn"})
#: Tests of a model that works in float32.
LOW_FTOL, LOW_XTOL = 1e-7, 1e-5
#: Where the caller gives no tolerances: those of `sosolve.LevenbergMarquardt`.
TIGHT = {"ftol": 1e-15, "xtol": 1e-12, "gtol": 1e-12}


def curve_fit(
    f: Any,
    xdata: Any,
    ydata: Any,
    p0: Any = None,
    sigma: Any = None,
    absolute_sigma: bool = False,
    check_finite: bool | None = None,
    bounds: Any = UNBOUNDED,
    method: str | None = None,
    jac: Any = None,
    *,
    full_output: bool = False,
    nan_policy: str | None = None,
    device: str | None = None,
    **kwargs: Any,
) -> tuple:
    """Return the parameters of y = f(x, *p) + error by least squares, and their covariance.

    Minimises sum_i ((f(x_i, *p) - y_i) / sigma_i)^2, or r' sigma^-1 r for a covariance matrix.

    Parameters
    ----------
    f : callable or str
        `f(x, a, b, ...)` -> values of shape (m,); it gets x read-only. Or a formula such as "a*exp(-b*x) + c", whose
        parameters come in order of appearance and whose Jacobian is exact.
    xdata : array-like of shape (m,) or (k, m), or object
        Lists, tuples and arrays become float64; anything else is handed to f as it is. A formula calls the rows of
        a (k, m) array x0, x1, ..., and the columns of a data frame or the entries of a mapping by their names.
    ydata : array-like of shape (m,)
    p0 : array-like of shape (p,), optional
        Start. Where None, a formula's is searched for as in `NonlinearLeastSquares` (0.05 to 5 s); that of a function
        is ones, or the middle of the bounds, and failures say so.
    sigma : float or array-like of shape (m,) or (m, m), optional
        Standard deviations, or the covariance matrix, of y. A point of infinite standard deviation does not count.
    absolute_sigma : bool, default=False
        Whether sigma is in the units of y, rather than known up to a factor.
    check_finite : bool, optional
        Refuse NaN and inf in x and y; True where None and `nan_policy` is None.
    bounds : (lower, upper) or scipy.optimize.Bounds
    method : {"lm", "trf", "dogbox"}, optional
        "lm" and "trf" are Levenberg-Marquardt, "dogbox" the dogleg; "lm" takes no bounds.
    jac : callable or {"2-point", "3-point", "cs", "auto"}, optional
        `jac(x, a, b, ...)` -> array of shape (m, p). None is "auto": complex steps where they agree with differences
        at the start, else central differences.
    full_output : bool, default=False
    nan_policy : {None, "raise", "omit"}
        What to do with points that have a NaN in x or y.
    device : {None, "auto", "cpu", "cuda"}
        Where to fit a formula: on an NVIDIA device by the solver of `fit_curves` (then y may be an array of CuPy, and
        tolerances and `max_nfev` are all the keywords). None is where y is; "auto" takes a device for a million points
        and more where there is one.
    **kwargs
        ftol (1e-15), xtol and gtol (1e-12), max_nfev or maxfev, factor (10); or arguments of `least_squares`.

    Returns
    -------
    popt : ndarray of shape (p,)
    pcov : ndarray of shape (p, p)
        From a QR factorisation of the column-scaled Jacobian, see `sosolve.inference.covariance`; inf, with an
        OptimizeWarning, where the data do not identify every parameter or m <= p.
    infodict, mesg, ier
        With `full_output`: nfev, fvec, fjac, ipvt, qtf and `result`; the message; 1 (gtol), 2 (ftol) or 3 (xtol).

    Raises
    ------
    ValueError
        If an argument is outside its range, or f is not finite, complex or of another shape at p0.
    TypeError
        If there are fewer points than parameters (method "lm"), or f returns None.
    FitError
        A RuntimeError, where the fit failed; its `result` holds the best point.

    Notes
    -----
    With a robust `loss` the covariance is the sandwich of `sosolve.inference.sandwich`, whatever `absolute_sigma`;
    SciPy takes (J'J)^-1 of the rescaled Jacobian, which is too small where there are outliers.

    Without bounds, keywords and `full_output` a fit goes a short way: the algorithm of `fit_curves` in plain Python,
    with forward differences far from the minimum, see `sosolve.solvers.lean`. Those of a Python function of up to some
    thousand points come from one call with columns of parameters, (p + 1, 1) each, where that gives the numbers of
    single calls; the last derivatives come from single calls. A formula becomes machine code with its fourth fit in a
    process, in less than 0.1 s; `sosolve.warmup` compiles at once. The minimum is the same to about ten digits, and
    what a short way leaves in doubt is fitted from the start by `sosolve.LevenbergMarquardt`.

    Examples
    --------
    >>> import numpy as np
    >>> from sosolve import curve_fit
    >>> x = np.linspace(0, 4, 50)
    >>> popt, pcov = curve_fit("a*exp(-b*x) + c", x, 2.5 * np.exp(-1.3 * x) + 0.5)
    >>> popt.round(6)
    array([2.5, 1.3, 0.5])
    """
    if "args" in kwargs:
        raise ValueError("'args' is not a supported keyword argument: bind further arguments with functools.partial")
    if device is not None or not isinstance(ydata, np.ndarray | list | tuple):
        from . import on_device

        if on_device.is_wanted(f, ydata, device):
            options = {**kwargs, "method": method, "jac": jac, "full_output": full_output or None}
            return on_device.fit_there(
                f, xdata, ydata, p0, sigma, absolute_sigma, check_finite, bounds, nan_policy, options
            )
        xdata, ydata, sigma = on_device.on_host(xdata, ydata, sigma)
    formula = None
    with np.errstate(all="ignore"):
        data = curve_data(xdata, ydata, sigma, check_finite, nan_policy, absolute_sigma)
        if type(f) is not types.FunctionType and (isinstance(f, str) or hasattr(f, "value_and_jacobian")):
            formula, data = formula_of(f, data)
        theta, box = start_and_box(f, p0, bounds, None if formula is None else formula.size)
        if p0 is None and formula is not None:
            theta = found_start(formula, data, theta, box, kwargs.get("loss", "linear"))
        method = method_of(method, box, kwargs)
        if kwargs:
            kwargs, jac = translated(kwargs, jac, method)
        if method == "lm":
            check_lm(box, theta.shape[0], data.y.size)
        usual = not (kwargs or box or full_output or data.n_left_out) and method != "dogbox"
        if usual and is_lean(data, theta.shape[0]):
            found = _short_way(f, formula, jac, data, theta, absolute_sigma, box)
            if found is not None:
                return found
    if formula is not None:
        f, jac = formula_model(formula)
    elif p0 is None:
        data = data._replace(advice=DEFAULT)
    if kwargs.keys() <= OWN:
        fit = _fitted
    else:
        fit = _by_least_squares
        kwargs = _with_scale(kwargs, f, data, theta)
    outcome = fit(f, jac, data, theta, box, method, kwargs)
    uncertain = _uncertainty(outcome, absolute_sigma, kwargs, data.n_left_out)
    if uncertain.null_vectors.shape[1]:
        other = _second_look(fit, outcome, uncertain, (f, jac, data), box, (method, kwargs))
        if other is not None:
            outcome, uncertain = other, _uncertainty(other, absolute_sigma, kwargs, data.n_left_out)
    is_own = callable(jac) and formula is None
    if not outcome.success:
        why = _accusation(f, jac, data, theta, box) if is_own else ""
        cause = cause_of_failure(f, data, theta, outcome)
        raise FitError(f"Optimal parameters not found: {cause}{f'. {why}' if why else data.advice or '.'}", outcome)
    if is_own:
        _check_jac(f, jac, data, outcome.x, box)
    pcov = matrix_of(uncertain, data.advice, formula)
    if data.advice and "loss" not in kwargs and is_worse_than_constant(outcome.fun, data):
        outcome.message += f" The fit is worse than a constant{data.advice}."
    if full_output:
        return outcome.x, pcov, info_of(outcome), outcome.message, outcome.status
    return outcome.x, pcov


def _second_look(
    fit: Callable, outcome: OptimizeResult, uncertain: Covariance, what: tuple, box: dict, how: tuple
) -> OptimizeResult | None:
    """Return the outcome of a fit from a point beside a singular end, None where it is no better or not to be had."""
    start = kicked(outcome.x, uncertain.null_vectors, box)
    if not np.isfinite(start).all():
        return None
    try:
        other = fit(*what, start, box, *how)
    except Exception:  # the model does not exist there, and nobody asked for that point
        return None
    return other if is_lower(other, outcome, what[2]) else None


def _short_way(
    f: Any, formula: Any, jac: Any, data: CurveData, theta: np.ndarray, absolute_sigma: bool, box: dict
) -> tuple | None:
    """Return parameters and covariance by the short way, None where the full solver must find them."""
    if formula is not None:
        return formula_fit(formula, data, theta, absolute_sigma)
    own = jac if callable(jac) else None
    if own is None and not (jac is None or (isinstance(jac, str) and jac == "auto")):
        return None
    found = evaluated(lean_fit, CallableRows(f, data, theta, own), theta, absolute_sigma)
    if found is not None and own is not None:
        _check_jac(f, own, data, found[0], box)
    return found


def _fitted(f, jac, data: CurveData, theta: np.ndarray, box: dict, method: str, kwargs: dict) -> OptimizeResult:
    """Return the outcome of a fit with the solver's own tests."""
    r, low = first_residuals(f, data, theta)
    x, y, whitened = data.x, data.y, data.whitened
    plain = data.weights is None and data.factor is None

    def fun(p: np.ndarray) -> np.ndarray:
        return f(x, *p) - y if plain else whitened(f(x, *p) - y)

    derivative, exact = ("auto" if jac is None else jac), None
    if callable(jac):
        derivative = "auto"

        def exact(p: np.ndarray) -> np.ndarray:
            J = dense_jacobian(jac(x, *p))
            return J if plain else whitened(J)

    else:
        checks.one_of("jac", derivative, checks.SCHEMES)
    offset = None if exact is not None else whitened(np.broadcast_to(y, r.shape))
    objective = ResidualLeastSquares(fun, theta.shape[0], exact, derivative=derivative, offset=offset, **box)
    first = objective.begin(theta, r)
    if low and exact is None:
        objective.output, objective.precision = "low", low
        choose_differences(objective, first, jac, None, None, None, box)
    with np.errstate(all="ignore"):
        checked_jacobian(objective, first, method, None, None)
    limit = kwargs.get("max_nfev") or math.inf
    solver = _solver(method, box, limit, kwargs)
    watch = Watch(lambda: objective.n_residuals, limit)
    if low:  # the rounding of float32 hides smaller reductions
        watch.ftol, watch.xtol = max(LOW_FTOL, low), max(LOW_XTOL, low)
    found = run(solver, objective, theta, watch)
    if not watch.exhausted:
        found = refined(objective, found, jac, box, lambda start: run(solver, objective, start, watch.again()))
    lower, upper = (box["lower"], box["upper"]) if box else (-math.inf, math.inf)
    outcome = packed(found, watch, objective, lower, upper, None)
    outcome.solver, outcome.jac_error = solver.name, found.point.jac_error
    if outcome.success:
        size = np.maximum(np.abs(theta), np.abs(outcome.x))
        drop_drowned(outcome, size, found.state.scale, norm(whitened(np.broadcast_to(y, r.shape))) or norm(r))
    return outcome


def _solver(method: str, box: dict, limit: float, kwargs: dict):
    """Return the solver of a method with the caller's tolerances."""
    names = ("ftol", "xtol", "gtol")
    settings: dict[str, Any] = dict(box)
    if any(name in kwargs for name in names):
        given = [kwargs.get(name, TIGHT[name]) for name in names]
        given = [None if t is not None and t == 0 else t for t in given] if method == "lm" else given  # as in MINPACK
        settings.update(zip(names, checks.check_tolerances(*given, "trf"), strict=True))
    if limit < math.inf:
        settings["max_iter"] = max(int(limit) - 1, 0)
    if kwargs.get("factor") is not None:
        settings["factor"] = kwargs["factor"]
    return (Dogleg if method == "dogbox" else LevenbergMarquardt)(**settings)


def _by_least_squares(f, jac, data: CurveData, theta, box: dict, method: str, kwargs: dict) -> OptimizeResult:
    """Return the outcome of `least_squares` with the caller's further arguments."""
    first_residuals(f, data, theta)
    settings = {**TIGHT, **{name: value for name, value in kwargs.items() if name != "epsfcn"}}
    exact = (lambda p: data.whitened(dense_jacobian(jac(data.x, *p)))) if callable(jac) else jac
    bounds = (box["lower"], box["upper"]) if box else UNBOUNDED
    return least_squares(
        lambda p: data.whitened(f(data.x, *p) - data.y), theta, exact, bounds=bounds, method=method, **settings
    )


def _with_scale(kwargs: dict, f: Any, data: CurveData, theta: np.ndarray) -> dict:
    """Return the keywords with the f_scale that `least_squares` would take from the first residuals."""
    if kwargs.get("f_scale", 1.0) is not None or kwargs.get("loss", "linear") == "linear":
        return kwargs
    return {**kwargs, "f_scale": mad_scale(first_residuals(f, data, theta)[0])}


def _uncertainty(outcome: OptimizeResult, absolute_sigma: bool, kwargs: dict, n_left_out: int) -> Covariance:
    """Return the covariance and what it says of the null space, at the end of a fit."""
    jac = outcome.jac if isinstance(outcome.jac, np.ndarray) else outcome.jac @ np.eye(outcome.x.shape[0])
    loss = robust_loss(kwargs["loss"], kwargs.get("f_scale", 1.0)) if "loss" in kwargs else None
    more: dict = {"jac_error": outcome.get("jac_error", 0.0)}
    if n_left_out:
        more["degrees_of_freedom"] = jac.shape[0] - n_left_out - jac.shape[1]
    with np.errstate(all="ignore"):
        if loss is None:
            return covariance(jac, outcome.fun, absolute_sigma=absolute_sigma, **more)
        _, root = loss.root_weights(outcome.fun)
        return sandwich(jac / root[:, None], *loss.influence(outcome.fun), **more)


def _accusation(f: Any, jac: Any, data: CurveData, theta: np.ndarray, box: dict) -> str:
    """Return a sentence on the wrong columns of the user's Jacobian at theta, "" where there are none."""
    return accusation(lambda p: f(data.x, *p), lambda p: jac(data.x, *p), theta, box)


def _check_jac(f: Any, jac: Any, data: CurveData, theta: np.ndarray, box: dict) -> None:
    """Look at the user's Jacobian at the optimum, once for each function, and warn where it is not that of f."""
    if is_known(jac):
        return
    wrong = _accusation(f, jac, data, theta, box)
    if wrong:
        warnings.warn(f"The fit and its covariance cannot be trusted: {wrong}.", OptimizeWarning, stacklevel=3)
    else:
        trust(jac)

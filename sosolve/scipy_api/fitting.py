"""`curve_fit` with SciPy's signature and result."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, OptimizeWarning

from ..caller import warn_caller
from .callable_rows import CallableRows
from .compiled import formula_fit
from .curve_data import curve_data
from .curve_end import cause_of_failure, info_of, matrix_of
from .curve_minimum import minimum, with_scale
from .curve_rest import why_at_rest
from .curve_start import UNBOUNDED, is_worse_than_constant
from .curve_task import CurveTask, curve_task
from .failures import FitError, evaluated
from .jacobian_check import accusation, is_known, trust
from .lean import is_lean, lean_fit
from .outcome import CODES


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
        A RuntimeError, where the fit failed; its `result` holds the best point. A minimum at a kink of the model (of
        the robust loss, where there is one), and a fit that creeps on where SciPy's would have stopped, are returned
        with an OptimizeWarning.

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
    with np.errstate(all="ignore"):
        data = curve_data(xdata, ydata, sigma, check_finite, nan_policy, absolute_sigma)
        task = curve_task(f, jac, data, p0, bounds, method, kwargs, absolute_sigma)
        found = None if full_output else _short_way(task)
        if found is not None:
            _check_jac(task, found[0])
            return found
    task = with_scale(task.as_function())
    outcome, uncertain = minimum(task)
    if not outcome.success:
        why = "" if _accusation(task, outcome.x) else why_at_rest(task, outcome)
        if not why:
            raise FitError(f"Optimal parameters not found: {_cause(task, outcome)}", outcome)
        outcome.success, outcome.status, outcome.message = True, CODES["ftol"], f"{why}."
        warn_caller(outcome.message, OptimizeWarning)
    _check_jac(task, outcome.x)
    advice = task.data.advice
    pcov = matrix_of(uncertain, advice, task.formula)
    if advice and "loss" not in task.keywords and is_worse_than_constant(outcome.fun, task.data):
        outcome.message += f" The fit is worse than a constant{advice}."
    if full_output:
        return outcome.x, pcov, info_of(outcome), outcome.message, outcome.status
    return outcome.x, pcov


def _short_way(task: CurveTask) -> tuple | None:
    """Return parameters and covariance by the short way, None where the full solver must find them."""
    data, theta, jac = task.data, task.theta, task.jac
    usual = not (task.keywords or task.box or data.n_left_out) and task.method != "dogbox"
    if not usual or not is_lean(data, theta.shape[0]):
        return None
    if task.formula is not None:
        return formula_fit(task.formula, data, theta, task.absolute_sigma)
    if not (jac is None or callable(jac) or (isinstance(jac, str) and jac == "auto")):
        return None
    return evaluated(lean_fit, CallableRows(task.f, data, theta, task.own_jac), theta, task.absolute_sigma)


def _cause(task: CurveTask, outcome: OptimizeResult) -> str:
    """Return why a fit has failed: what the user's Jacobian or start has to do with it."""
    why = _accusation(task, task.theta)
    return f"{cause_of_failure(task.f, task.data, task.theta, outcome)}{f'. {why}' if why else task.data.advice or '.'}"


def _accusation(task: CurveTask, theta: np.ndarray) -> str:
    """Return a sentence on the wrong columns of the user's Jacobian at theta, "" where there are none."""
    f, jac, x = task.f, task.own_jac, task.data.x
    return "" if jac is None else accusation(lambda p: f(x, *p), lambda p: jac(x, *p), theta, task.box)


def _check_jac(task: CurveTask, theta: np.ndarray) -> None:
    """Look at the user's Jacobian at the optimum, once for each function, and warn where it is not that of f."""
    jac = task.own_jac
    if jac is None or is_known(jac):
        return
    wrong = _accusation(task, theta)
    if wrong:
        warn_caller(f"The fit and its covariance cannot be trusted: {wrong}.", OptimizeWarning)
    else:
        trust(jac)

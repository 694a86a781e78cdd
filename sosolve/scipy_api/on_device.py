"""`curve_fit` of a formula on an NVIDIA device."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_cupy_array
from scipy.optimize import OptimizeResult, OptimizeWarning

from ..caller import warn_caller
from ..curves.one_on_device import fit_one, goes_there
from ..inference import covariance
from .curve_data import CurveData, curve_data
from .curve_start import UNBOUNDED, found_start, start_and_box
from .failures import FitError
from .formulas import formula_of

#: Keywords that a fit on the device takes, by their names there.
TAKEN = {"ftol": "ftol", "xtol": "xtol", "gtol": "gtol", "max_nfev": "max_iter", "maxfev": "max_iter"}


def is_wanted(f: Any, ydata: Any, device: str | None) -> bool:
    """Return whether `curve_fit` runs on a device; see `sosolve.curves.one_on_device.goes_there`."""
    there = is_cupy_array(ydata)
    if device is None and not there:
        return False
    is_formula = isinstance(f, str) or hasattr(f, "value_and_jacobian")
    return goes_there(device, is_formula, len(ydata), there)


def on_host(*arrays: Any) -> tuple:
    """Return arrays of CuPy as NumPy's, and anything else as it is."""
    return tuple(a.get() if is_cupy_array(a) else a for a in arrays)


class Given(NamedTuple):
    """The data of a fit on the device and what begins it, as `fit_curves` takes them for one curve."""

    formula: Any
    x: Any
    y: Any
    p0: Any
    sigma: Any
    bounds: Any


def fit_there(
    f: Any,
    xdata: Any,
    ydata: Any,
    p0: Any,
    sigma: Any,
    absolute_sigma: bool,
    check_finite: bool | None,
    bounds: Any,
    nan_policy: str | None,
    options: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Return parameters and covariance, as NumPy arrays; the arguments are those of `curve_fit`.

    Raises
    ------
    ValueError
        If an argument has no meaning on a device.
    FitError
        If the fit did not converge.
    """
    settings = _settings(options)
    if is_cupy_array(ydata):
        x = xdata.T if getattr(xdata, "ndim", 1) == 2 else xdata
        given = Given(f, x, ydata, p0, sigma, None if bounds is UNBOUNDED else bounds)
    else:
        given = _given_on_host(f, curve_data(xdata, ydata, sigma, check_finite, nan_policy), p0, bounds)
    settings.update(p0=given.p0, sigma=given.sigma, bounds=given.bounds, absolute_sigma=bool(absolute_sigma))
    found = fit_one(given.formula, given.x, given.y, **settings)
    _raise_failure(found)
    matrix = _beside_bounds(found, given, absolute_sigma) if found[0].on_bound else found.covariance[0]
    if not np.isfinite(matrix).all():
        warn_caller(
            "Covariance of the parameters could not be estimated: the data do not determine all of them; fix "
            "parameters, or add points.",
            OptimizeWarning,
        )
        matrix = np.full_like(matrix, np.inf)
    return found.params[0], matrix


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of `curve_fit` that are given by their names on the device.

    Raises
    ------
    ValueError
        If one has no meaning there.
    """
    given = {name: value for name, value in options.items() if value is not None}
    refused = [name for name in given if name not in TAKEN]
    if refused:
        raise ValueError(
            f"received {', '.join(refused)} for a fit on a device; expected {', '.join(TAKEN)} at most: leave it out, "
            "or use device='cpu'"
        )
    return {TAKEN[name]: value for name, value in given.items()}


def _given_on_host(f: Any, data: CurveData, p0: Any, bounds: Any) -> Given:
    """Return what goes to the device for data in the host's memory; the start is searched for where there is none.

    Raises
    ------
    ValueError
        If sigma is a covariance matrix.
    """
    formula, data = formula_of(f, data)
    if data.factor is not None:
        raise ValueError(
            "received a covariance matrix as sigma for a fit on a device; expected standard deviations: pass those, or "
            "use device='cpu'"
        )
    start, box = start_and_box(formula, p0, bounds, formula.size)
    if p0 is None:
        start = found_start(formula, data, start, box, "linear")
    sigma = None if data.weights is None else np.broadcast_to(1.0 / data.weights, data.y.shape)
    return Given(formula, data.x, data.y, start, sigma, (box["lower"], box["upper"]) if box else None)


def _raise_failure(found: Any) -> None:
    """Raise FitError where the fit on the device did not converge."""
    fit = found[0]
    if fit.converged:
        return
    outcome = OptimizeResult(
        x=found.params[0], cost=0.5 * fit.rss, success=False, message=fit.message, nit=fit.n_iter, status=0
    )
    raise FitError(f"Optimal parameters not found: on {found.device} the fit {fit.message}", outcome)


def _beside_bounds(found: Any, given: Given, absolute_sigma: bool) -> np.ndarray:
    """Return the covariance as SciPy has it where a parameter lies on a bound: as if there were none."""
    x, y, sigma = on_host(given.x, given.y, given.sigma)
    value, jac = found.model.value_and_jacobian(x, found.params[0])
    unit = 1.0 if sigma is None else 1.0 / np.asarray(sigma)
    return covariance((jac.T * unit).T, unit * (value - y), absolute_sigma=absolute_sigma).matrix

"""`curve_fit` of a formula on an NVIDIA device."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from array_api_compat import is_cupy_array
from scipy.optimize import OptimizeResult, OptimizeWarning

from ..curves.one_on_device import fit_one, goes_there
from ..inference import covariance
from .curve_data import curve_data
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
    refused = [name for name, value in options.items() if value is not None and name not in TAKEN]
    if refused:
        raise ValueError(
            f"received {', '.join(refused)} for a fit on a device; expected {', '.join(TAKEN)} at most: leave it out, "
            "or use device='cpu'"
        )
    settings = {TAKEN[name]: value for name, value in options.items() if value is not None}
    if is_cupy_array(ydata):
        x = xdata.T if getattr(xdata, "ndim", 1) == 2 else xdata
        formula, y, start = f, ydata, p0
        limits = None if bounds is UNBOUNDED else bounds
    else:
        data = curve_data(xdata, ydata, sigma, check_finite, nan_policy)
        formula, data = formula_of(f, data)
        if data.factor is not None:
            raise ValueError(
                "received a covariance matrix as sigma for a fit on a device; expected standard deviations: pass "
                "those, or use device='cpu'"
            )
        x, y = data.x, data.y
        start, box = start_and_box(formula, p0, bounds, formula.size)
        if p0 is None:
            start = found_start(formula, data, start, box, "linear")
        limits = (box["lower"], box["upper"]) if box else None
        sigma = None if data.weights is None else np.broadcast_to(1.0 / data.weights, y.shape)
    found = fit_one(
        formula, x, y, p0=start, sigma=sigma, bounds=limits, absolute_sigma=bool(absolute_sigma), **settings
    )  # fmt: skip
    fit = found[0]
    if not fit.converged:
        outcome = OptimizeResult(
            x=found.params[0], cost=0.5 * fit.rss, success=False, message=fit.message, nit=fit.n_iter, status=0
        )
        raise FitError(f"Optimal parameters not found: on {found.device} the fit {fit.message}", outcome)
    matrix = _beside_bounds(found, x, y, sigma, absolute_sigma) if fit.on_bound else found.covariance[0]
    if not np.isfinite(matrix).all():
        warnings.warn(
            "Covariance of the parameters could not be estimated: the data do not determine all of them; fix "
            "parameters, or add points.",
            OptimizeWarning,
            stacklevel=3,
        )
        matrix = np.full_like(matrix, np.inf)
    return found.params[0], matrix


def _beside_bounds(found: Any, x: Any, y: Any, sigma: Any, absolute_sigma: bool) -> np.ndarray:
    """Return the covariance as SciPy has it where a parameter lies on a bound: as if there were none."""
    x, y, sigma = on_host(x, y, sigma)
    value, jac = found.model.value_and_jacobian(x, found.params[0])
    unit = 1.0 if sigma is None else 1.0 / np.asarray(sigma)
    return covariance((jac.T * unit).T, unit * (value - y), absolute_sigma=absolute_sigma).matrix

"""The data of `curve_fit`: light checks, missing values, and what sigma does to the residuals."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

#: Points from which OpenBLAS gives a dot product to threads: 1 ms and more for a microsecond's work on a busy machine.
THREADED = 8192
#: Sums of squares of y, other than 0, that double precision holds to all its digits.
SQUARES = (1e-303, 1e303)
#: Largest |y| that a unit of its own makes ordinary: beyond it digits, or derivatives, are lost.
RANGE = (1e-290, 1e250)


class CurveData(NamedTuple):
    """Checked data, none of it writable.

    Attributes
    ----------
    x : object
        A float64 array where an array, list or tuple came in; else what came in.
    y : ndarray of shape (m,), or (1,) to be broadcast
    weights : ndarray of shape (m,) or (), or None
        1 / sigma; without sigma 1 / (a unit of y) where squares of y would leave the range of floating point.
    factor : ndarray of shape (m, m), or None
        L with L L' = sigma, where sigma is a covariance matrix.
    advice : str
        Ends the messages of a fit that fails.
    n_left_out : int
        Points of infinite sigma, which do not count.
    """

    x: Any
    y: np.ndarray
    weights: np.ndarray | None
    factor: np.ndarray | None
    advice: str = ""
    n_left_out: int = 0

    def whitened(self, a: np.ndarray) -> np.ndarray:
        """Return residuals of shape (m,), or columns (m, p), in units of sigma."""
        if self.weights is not None:
            return self.weights * a if a.ndim == 1 or self.weights.ndim == 0 else self.weights[:, None] * a
        if self.factor is not None:
            return scipy.linalg.solve_triangular(self.factor, a, lower=True, check_finite=False)
        return a


def curve_data(
    xdata: Any, ydata: Any, sigma: Any, check_finite: bool | None, nan_policy: str | None, absolute: bool = False
) -> CurveData:
    """Return the checked data of `curve_fit`.

    Raises
    ------
    ValueError
        If they are empty, not finite, of wrong shapes, complex, or text; if sigma is not positive (definite).
    """
    if nan_policy is not None and not check_finite:
        xdata, ydata, sigma = _without_nan(xdata, ydata, sigma, nan_policy)
        check_finite = False
    elif check_finite is None:
        check_finite = True
    y = real_array(ydata, "ydata", check_finite)
    if not y.size:
        raise ValueError("`ydata` must not be empty! Received no points; expected at least as many as parameters.")
    if y.ndim > 1:
        raise ValueError(
            f"`ydata` must have at most 1 dimension: received shape {y.shape}; pass ydata.ravel() with a model that "
            "returns as many values"
        )
    x = real_array(xdata, "xdata", check_finite) if isinstance(xdata, list | tuple | np.ndarray) else xdata
    y = y.reshape(1) if y.ndim == 0 else y
    if sigma is None:
        if not SQUARES[0] < sum_of_squares(y) < SQUARES[1] and y.any() and np.isfinite(y).all():
            return CurveData(x, y, np.array(1.0 / unit_of(y, absolute)), None)
        return CurveData(x, y, None, None)
    weights, factor = _transform(sigma, y.size)
    if weights is not None and not SQUARES[0] < sum_of_squares(np.ravel(weights * y)) < SQUARES[1]:
        weights = _in_range(weights, y, absolute)
    n_left_out = 0 if weights is None else weights.size - int(np.count_nonzero(weights))
    return CurveData(x, y, weights, factor, n_left_out=n_left_out)


def _in_range(weights: np.ndarray, y: np.ndarray, absolute: bool) -> np.ndarray:
    """Return weights, in a unit of their own where the squares of y / sigma would leave the range of floating point.

    Raises
    ------
    ValueError
        If the unit of sigma counts, and the covariance would leave that range too.
    """
    top = float(weights.max())
    ratio = float(np.abs(weights / top * y).max())
    if not ratio or math.sqrt(SQUARES[0]) < ratio * top < math.sqrt(SQUARES[1]):
        return weights
    if absolute or not RANGE[0] < ratio < RANGE[1]:
        raise ValueError(
            f"`sigma` must be such that floating point holds the squares of y / sigma: received numbers from "
            f"{1.0 / top:g} on beside y up to {float(np.abs(y).max()):g}; give sigma and y in other units"
        )
    return weights / top / math.ldexp(1.0, math.frexp(ratio)[1])


def real_array(data: Any, name: str, check_finite: bool) -> np.ndarray:
    """Return data as a float64 array that cannot be written to.

    Raises
    ------
    ValueError
        If they are masked, complex, no numbers, or (with `check_finite`) not finite.
    """
    array = np.asarray(data)
    if array.dtype != np.float64:
        if array.dtype.kind not in "biufO":
            raise ValueError(f"`{name}` must hold real numbers: received dtype {array.dtype}; convert it to float64")
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"`{name}` must hold real numbers: received an array of objects that are none; convert it to float64"
            ) from None
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise ValueError(
            f"`{name}` must not be masked: received {int(data.mask.sum())} masked values; pass data[~data.mask]"
        )
    # the sum of squares is finite where every number is, unless huge ones overflow: then the slow test decides
    if check_finite and not math.isfinite(sum_of_squares(array.ravel())) and not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"`{name}` must not contain infs or NaNs: received {array[tuple(bad)]} at {bad.tolist()}; remove such "
            "points, or pass nan_policy='omit'"
        )
    view = array.view()
    view.flags.writeable = False
    return view


def unit_of(y: np.ndarray, absolute: bool) -> float:
    """Return a power of two near the largest |y|: in it the squares of residuals are ordinary numbers.

    Raises
    ------
    ValueError
        If y is too close to the ends of floating point, or its errors are said to be 1 in the units of y.
    """
    top = float(np.abs(y).max())
    if absolute or not RANGE[0] < top < RANGE[1]:
        raise ValueError(
            f"`ydata` must have squares that floating point can hold: received numbers up to {top:g}, expected about "
            "1e-150 to 1e150; give y in other units, or pass sigma"
        )
    return math.ldexp(1.0, math.frexp(top)[1])


def sum_of_squares(a: np.ndarray) -> float:
    """Return a'a for an array of shape (m,)."""
    return float(a.dot(a) if a.shape[0] < THREADED else np.einsum("i,i", a, a))


def _without_nan(xdata: Any, ydata: Any, sigma: Any, nan_policy: str) -> tuple[Any, Any, Any]:
    """Return the data without the points that have a NaN, as `nan_policy` says."""
    if nan_policy == "propagate":
        raise ValueError(
            "`nan_policy='propagate'` is not supported by this function. Expected 'raise', 'omit' or None: choose one."
        )
    if nan_policy not in ("raise", "omit"):
        raise ValueError(f"nan_policy must be one of {{None, 'raise', 'omit'}}: received {nan_policy!r}; choose one")
    y = real_array(ydata, "ydata", False)
    numbers = isinstance(xdata, list | tuple | np.ndarray)
    x = real_array(xdata, "xdata", False) if numbers else xdata
    bad = np.isnan(y)
    if numbers:
        missing = np.isnan(x)
        bad = bad | missing.any(axis=tuple(range(missing.ndim - 1)))
    if not bad.any():
        return x, y, sigma
    if nan_policy == "raise":
        raise ValueError(
            f"The input contains nan values: received {int(bad.sum())} points with one, the first is point "
            f"{int(np.flatnonzero(bad)[0])}; remove them, or pass nan_policy='omit'"
        )
    keep = ~bad
    if sigma is not None:
        sigma = np.asarray(sigma)
        sigma = sigma[keep] if sigma.ndim == 1 else sigma[np.ix_(keep, keep)] if sigma.ndim == 2 else sigma
    return x[..., keep] if numbers else x, y[keep], sigma


def _transform(sigma: Any, size: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return 1 / sigma, or the Cholesky factor of a covariance matrix."""
    errors = real_array(sigma, "sigma", False)
    usual = np.isfinite(errors)
    if not usual.all() and (errors.shape != (size,) or not usual.any() or not (errors[~usual] == np.inf).all()):
        bad = np.argwhere(~usual)[0]
        raise ValueError(
            f"`sigma` must not contain infs or NaNs: received {errors[tuple(bad)]} at {bad.tolist()}; leave such "
            "points out of x, y and sigma (inf as one of several standard deviations does)"
        )
    if errors.size == 1 or errors.shape == (size,):
        if not (errors > 0.0).all():
            raise ValueError(
                f"`sigma` must be positive: received {float(errors.min()):g}; pass standard deviations, and leave out "
                "points of weight 0"
            )
        return 1.0 / (errors.reshape(()) if errors.size == 1 else errors), None
    if errors.shape == (size, size):
        gap = np.abs(errors - errors.T)
        if (gap > 1e-8 * np.abs(errors).max()).any():
            i, j = np.unravel_index(int(gap.argmax()), gap.shape)
            raise ValueError(
                f"`sigma` must be symmetric: received {errors[i, j]:g} in row {i}, column {j} and {errors[j, i]:g} in "
                f"row {j}, column {i}; pass the covariance of the observations"
            )
        try:
            return None, scipy.linalg.cholesky(errors, lower=True)
        except np.linalg.LinAlgError:
            raise ValueError(
                f"`sigma` must be positive definite: received a matrix of shape {errors.shape} that is not; pass the "
                "covariance of the observations"
            ) from None
    raise ValueError(
        f"`sigma` has incorrect shape: received {errors.shape}; expected ({size},), ({size}, {size}) or a number"
    )

"""X, y and what weighs them, checked once for a curve fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.utils.validation import check_consistent_length, validate_data

from .._compat import check_sample_weight
from .inputs import remedied


@dataclass(frozen=True, eq=False)
class CurveData:
    """The checked data of a fit.

    Attributes
    ----------
    X : ndarray of shape (n, d)
        float64, read-only.
    Y : ndarray of shape (n, k)
        float64, one column an output.
    is_single : bool
        Whether y was a vector.
    precision : ndarray of shape (n,) or (n, k), or None
        1 / sigma.
    frequency : ndarray of shape (n,) or None
        sample_weight; rows of weight 0 are left out of all arrays.
    """

    X: np.ndarray
    Y: np.ndarray
    is_single: bool
    precision: np.ndarray | None
    frequency: np.ndarray | None

    @classmethod
    def checked(cls, estimator, X, y, sample_weight, sigma, *, reset: bool = True) -> CurveData:
        """Return the data, checked.

        Parameters
        ----------
        estimator : estimator instance
            Gets n_features_in_ and feature_names_in_ with reset, is compared with them without.
        X, y, sample_weight, sigma : array-like
            As in fit.
        reset : bool, default=True

        Raises
        ------
        ValueError
            If values are not finite, shapes do not match, weights are negative or sigma is not positive.
        """
        for name, given in (("X", X), ("y", y), ("sample_weight", sample_weight), ("sigma", sigma)):
            _refuse_masked(name, given)
        with remedied():
            X, y = validate_data(
                estimator, X, y, reset=reset, dtype=np.float64, multi_output=True, y_numeric=True, ensure_min_samples=1
            )
            y = np.asarray(y, dtype=np.float64)
        is_single = y.ndim == 1
        Y = y.reshape(len(y), -1)
        precision = None if sigma is None else 1.0 / _checked_sigma(sigma, X, y.shape)
        frequency = None if sample_weight is None else check_sample_weight(sample_weight, X)
        if frequency is not None:
            if not frequency.any():
                raise ValueError("received sample_weight of zeros only; expected a positive one: leave it out")
            keep = frequency > 0.0
            if not keep.all():
                X, Y, frequency = X[keep], Y[keep], frequency[keep]
                precision = None if precision is None else precision[keep]
        X = X.view()
        X.flags.writeable = False
        return cls(X, Y, is_single, precision, frequency)

    @property
    def n_outputs(self) -> int:
        """Number of columns of y."""
        return self.Y.shape[1]

    def precision_of(self, k: int) -> np.ndarray | None:
        """Return 1 / sigma of one output, shape (n,)."""
        if self.precision is None or self.precision.ndim == 1:
            return self.precision
        return self.precision[:, k]


def _checked_sigma(sigma, X: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return standard deviations of shape (n,), or (n, k) for k outputs."""
    sigma = np.asarray(sigma, dtype=np.float64)
    if sigma.ndim == 0:
        sigma = np.full(X.shape[0], float(sigma))
    check_consistent_length(X, sigma)
    if sigma.shape not in ((X.shape[0],), shape):
        advice = "a covariance matrix is accepted by sosolve.curve_fit" if sigma.ndim == 2 else "pass one for each row"
        raise ValueError(
            f"received sigma of shape {sigma.shape} for y of shape {shape}; expected a standard deviation for each "
            f"row, shape ({X.shape[0]},): {advice}"
        )
    bad = np.argwhere(~((sigma > 0.0) & np.isfinite(sigma)))
    if bad.size:
        raise ValueError(
            f"received sigma with the value {sigma[tuple(bad[0])]} in row {bad[0][0]}; expected positive finite "
            "standard deviations in the units of y: correct it, or leave the row out with sample_weight=0"
        )
    return sigma


def _refuse_masked(name: str, values: object) -> None:
    """Raise ValueError where values are masked: everything after would use what is behind the mask."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"received {name} with {int(np.ma.getmaskarray(values).sum())} masked values; expected plain arrays: leave "
            "these rows out, data[~data.mask]"
        )

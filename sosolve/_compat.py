"""Every name that scikit-learn keeps private, in one file: what an upgrade may break is here and nowhere else."""

from __future__ import annotations

from sklearn.base import _fit_context as fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from sklearn.utils._param_validation import HasMethods, Hidden, Interval, InvalidParameterError, StrOptions
from sklearn.utils.validation import _check_sample_weight

__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Hidden",
    "Interval",
    "InvalidParameterError",
    "LinearClassifierMixin",
    "SparseCoefMixin",
    "StrOptions",
    "check_sample_weight",
    "effective_threads",
    "fit_context",
]


def effective_threads() -> int:
    """Return the number of threads scikit-learn would use: follows OMP_NUM_THREADS, threadpoolctl and cgroups."""
    return _openmp_effective_n_threads()


def check_sample_weight(sample_weight, X):
    """Return checked float64 sample weights, shape (n,): finite, not negative, not all zero."""
    return _check_sample_weight(sample_weight, X, dtype="float64", ensure_non_negative=True)

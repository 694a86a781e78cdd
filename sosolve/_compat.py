"""Every name that scikit-learn keeps private, in one file: what an upgrade may break is here and nowhere else."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace, is_cupy_array
from sklearn.base import _fit_context as fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.utils._array_api import _bincount, check_same_namespace, get_namespace_and_device, move_to
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from sklearn.utils._param_validation import HasMethods, Hidden, Interval, InvalidParameterError, StrOptions
from sklearn.utils.metadata_routing import _raise_for_params as raise_for_params
from sklearn.utils.metadata_routing import _routing_enabled as routing_enabled
from sklearn.utils.validation import _check_method_params as check_method_params
from sklearn.utils.validation import _check_sample_weight
from sklearn.utils.validation import _deprecate_positional_args as deprecate_positional_args

__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Hidden",
    "Interval",
    "InvalidParameterError",
    "LinearClassifierMixin",
    "SparseCoefMixin",
    "StrOptions",
    "check_method_params",
    "check_same_namespace",
    "check_sample_weight",
    "count",
    "deprecate_positional_args",
    "effective_threads",
    "fit_context",
    "get_namespace_and_device",
    "move_to",
    "raise_for_params",
    "routing_enabled",
    "to_host",
]


#: Codes up to which each has a sum of its own on a device: a histogram there adds up in any order, and all its threads
#: wait for the same few numbers.
FEW_CODES = 32


def effective_threads() -> int:
    """Return the number of threads scikit-learn would use: follows OMP_NUM_THREADS, threadpoolctl and cgroups."""
    return _openmp_effective_n_threads()


def check_sample_weight(sample_weight, X):
    """Return checked float64 weights in the namespace of X, shape (n,): finite, not negative, not all zero."""
    return _check_sample_weight(sample_weight, X, dtype="float64", ensure_non_negative=True)


def to_host(array) -> np.ndarray:
    """Return an array of any library as a NumPy array; one of NumPy's is not copied."""
    if isinstance(array, np.ndarray):
        return array
    # scikit-learn asks CuPy's arrays only while its dispatch is on
    return array.get() if is_cupy_array(array) else move_to(array, xp=np, device="cpu")


def count(codes, weights, size: int) -> np.ndarray:
    """Return the sum of the weights, shape (n,), for each of the codes 0 .. size - 1 as a NumPy array."""
    if isinstance(codes, np.ndarray):
        return np.bincount(codes, weights, size)
    xp = array_namespace(codes)
    if size > FEW_CODES:
        return to_host(_bincount(codes, weights, size, xp=xp))
    none = xp.zeros_like(weights)
    return to_host(xp.stack([xp.sum(xp.where(codes == k, weights, none)) for k in range(size)]))

"""From labels to classes and codes, without sorting labels that are whole numbers."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array
from sklearn.utils.multiclass import check_classification_targets

from .._compat import FEW_CODES, to_host
from ..caller import warn_caller
from ..linalg import floats
from ..protocols import Array

#: Largest range of whole numbers that is counted instead of sorted.
COUNTED = 65_536
#: Labels from which floats are looked at as whole numbers first: scikit-learn's check sorts them.
MANY = 10_000
#: As scikit-learn warns, where there are more than so many labels.
FEW, MANY_CLASSES = (
    20,
    (
        "The number of unique classes is greater than 50% of the number of samples. `y` could represent a regression "
        "problem, not a classification problem."
    ),
)


def classes_and_codes(y: Array) -> tuple[Array, Array]:
    """Return the sorted classes and the index of each label among them, in the namespace and on the device of y.

    Parameters
    ----------
    y : array of shape (n,)
        Codes 0 .. K - 1 of the platform's index type come back as they are, without a copy; of two neighbouring
        whole numbers or two strings the index takes a byte.

    Returns
    -------
    Array of shape (K,)
    Array of shape (n,)

    Raises
    ------
    ValueError
        If the labels are no classes, continuous numbers for instance.
    """
    if not is_numpy_array(y):
        xp = array_namespace(y)
        if xp.isdtype(y.dtype, "integral"):
            found = _of_small_numbers(y, xp)
            if found is not None:
                return found
        check_classification_targets(y)
        return tuple(xp.unique_inverse(y))
    if y.dtype.kind in "biu":  # whole numbers and booleans are always classes
        classes, codes = _of_whole_numbers(y)
        if len(y) > FEW and len(classes) > round(0.5 * len(y)):
            warn_caller(MANY_CLASSES, UserWarning)
        return classes, codes
    if y.dtype.kind == "f" and len(y) >= MANY and np.abs(y).max() < 2**31:  # NaN is not below
        whole = y.astype(np.int64)
        if np.array_equal(whole, y):
            classes, codes = _of_whole_numbers(whole)
            return classes.astype(y.dtype), codes
    try:
        check_classification_targets(y)
        if y.dtype.kind in "SU":  # without an array of their order
            classes = np.unique(y)
            return classes, (y == classes[-1]).view(np.int8) if len(classes) == 2 else np.searchsorted(classes, y)
        return np.unique(y, return_inverse=True)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} {_found(y)}") from None


def _found(y: np.ndarray) -> str:
    """Return what labels there are, what is expected, and what to do, for the end of scikit-learn's message."""
    kinds = sorted({type(label).__name__ for label in y[:1000].tolist()})
    if y.dtype.kind == "f":
        cure = "round them or cut them into classes (np.digitize), or take a regressor"
    else:
        cure = "convert them, y.astype(str) or y.astype(int)"
    return (
        f"(Received y of dtype {y.dtype} with labels of the type {', '.join(kinds)}; expected whole numbers, booleans "
        f"or strings, all of one type: {cure}.)"
    )


def _of_small_numbers(y: Array, xp) -> tuple[Array, Array] | None:
    """Return `classes_and_codes` of integers of any library that lie close together, None where they do not.

    A pass for each number between the smallest and the largest, where sorting takes as long as a fit on a device.
    """
    low, high = floats(xp.min(y), xp.max(y))
    span = int(high) - int(low)
    if span >= FEW_CODES or abs(low) >= 2.0**31:
        return None
    offsets = xp.astype(y, xp.int64) - int(low)
    present = to_host(xp.stack([xp.any(offsets == k) for k in range(span + 1)]))
    where = device(y)
    classes = xp.asarray(np.flatnonzero(present) + int(low), dtype=y.dtype, device=where)
    if present.all():
        return classes, offsets
    return classes, xp.take(xp.asarray(np.cumsum(present) - 1, dtype=xp.int64, device=where), offsets)


def _of_whole_numbers(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `classes_and_codes` of integers or booleans."""
    low, high = y.min(), y.max()
    span = int(high) - int(low)
    if span >= COUNTED or len(y) <= span or abs(int(low)) >= 2**62:
        classes = np.unique(y)
        return classes, np.searchsorted(classes, y)
    if span == 1:
        return np.array([low, high]), y if int(low) == 0 and y.dtype == np.intp else (y == high).view(np.int8)
    offsets = y.astype(np.intp, copy=False)
    offsets = offsets - int(low) if int(low) else offsets
    present = np.bincount(offsets, minlength=span + 1) > 0
    classes = (np.flatnonzero(present) + int(low)).astype(y.dtype)
    return classes, offsets if present.all() else (np.cumsum(present) - 1)[offsets]

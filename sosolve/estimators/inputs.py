"""Checks of what users hand in that scikit-learn leaves out: masks, and index arrays of sparse matrices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data


def checked_data(estimator: BaseEstimator, X: Any, y: Any, xp: Any, look: bool) -> tuple[Any, Any]:
    """Return X and y as scikit-learn checks them for a fit, and set what it sets: `n_features_in_` and names.

    Arrays that it would hand back as they are need no more than a look at their kind and at the sum of X: for a few
    hundred rows all its questions take longer than half the iterations.

    Parameters
    ----------
    estimator : estimator instance
    X, y : array-like
        Without masks.
    xp : module
        Namespace of X.
    look : bool
        Whether to look for NaN and inf in X.

    Raises
    ------
    ValueError
        If an entry is not finite, or the shapes do not match.
    """
    if _is_plain(X, y):
        with np.errstate(all="ignore"):
            known = not look or bool(np.isfinite(np.add.reduce(X, axis=None)))
        if known:
            estimator.n_features_in_ = X.shape[1]
            vars(estimator).pop("feature_names_in_", None)
            return X, y
    with remedied():
        return validate_data(
            estimator,
            X,
            y,
            accept_sparse="csr",
            dtype=[xp.float64, xp.float32],
            accept_large_sparse=True,
            ensure_all_finite=look,
        )


#: Entries of X from which a pass for the check of NaN and inf is saved.
FINITE_LATER = 1_000_000
#: What to do about data that scikit-learn refuses, by words of its message.
REMEDIES = {
    "could not convert string": "Expected numbers: convert dates and text, and encode categories, for instance by a "
    "OneHotEncoder in a ColumnTransformer.",
    "Input y contains": "Expected a value for each row: leave the others out, keep = np.isfinite(y), or for text "
    "~pandas.isna(y).",
    "Input X contains infinity": "Expected finite values: look for a division by zero or a logarithm of it.",
}


@contextlib.contextmanager
def remedied() -> Iterator[None]:
    """Add to scikit-learn's message about the data what to do, where that is known.

    Raises
    ------
    ValueError
        What the block raised, with the remedy.
    """
    try:
        yield
    except ValueError as error:
        for words, remedy in REMEDIES.items():
            if words in str(error):
                raise ValueError(f"{str(error).removesuffix('.')}. {remedy}") from None
        raise


def _is_plain(X: Any, y: Any) -> bool:
    """Return whether these are NumPy arrays of floats and of whole numbers, with rows and columns that match."""
    if type(X) is not np.ndarray or type(y) is not np.ndarray or X.ndim != 2 or y.ndim != 1:
        return False
    floats = X.dtype == np.float64 or X.dtype == np.float32
    return floats and y.dtype.kind in "biu" and 0 < X.shape[0] == y.shape[0] and X.shape[1] > 0


def refuse_masked(array: Any, name: str, caller: str) -> None:
    """Check that no entry is masked: all that follows would read what is under the mask.

    Raises
    ------
    ValueError
        If one is.
    """
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise ValueError(
            f"{caller} received {name} as a masked array with {np.ma.count_masked(array)} masked entries; expected "
            f"none: drop those rows, or fill them in with {name}.filled(...)"
        )


def refuse_missing(y: Any, caller: str) -> None:
    """Check that no label is pandas' NA: a comparison with it is neither true nor false.

    Raises
    ------
    ValueError
        If one is.
    """
    if not (isinstance(y, (list, tuple)) or getattr(getattr(y, "dtype", None), "kind", "") == "O"):
        return
    missing = [k for k, label in enumerate(y) if type(label).__name__ == "NAType"]
    if missing:
        raise ValueError(
            f"{caller} received y with the label NA in {len(missing)} rows (the first is row {missing[0]}); expected a "
            "class for each row: drop those rows, or fill them in"
        )


def check_indices(X: Any) -> None:
    """Check the index arrays of a sparse matrix: through one out of range, foreign memory would be read or written.

    Parameters
    ----------
    X : object
        CSR, CSC, BSR and COO are checked; anything else has no index arrays that could be damaged.

    Raises
    ------
    ValueError
        If an index or a pointer is out of range.
    """
    if not scipy.sparse.issparse(X) or X.ndim != 2:
        return
    if X.format == "coo":
        good = all(_within(index, size) for index, size in zip(X.coords, X.shape, strict=True))
    elif X.format in ("csr", "csc", "bsr"):
        rows, columns = X.shape[::-1] if X.format == "csc" else X.shape
        if X.format == "bsr":
            rows, columns = rows // X.blocksize[0], columns // X.blocksize[1]
        indptr = X.indptr
        good = (
            indptr.shape[0] == rows + 1
            and indptr[0] == 0
            and indptr[-1] <= min(len(X.indices), len(X.data))
            and bool(np.all(indptr[1:] >= indptr[:-1]))
            and _within(X.indices, columns)
        )
    else:
        return
    if not good:
        raise ValueError(
            f"received a sparse X of shape {X.shape} whose index arrays are damaged (indices outside the shape, or "
            f"pointers that decrease); expected a valid {X.format.upper()} matrix: build it again from its rows, "
            "columns and values"
        )


def _within(index: np.ndarray, size: int) -> bool:
    """Return whether all indices are in 0 .. size - 1."""
    return not len(index) or bool(0 <= index.min() <= index.max() < size)


def summed(X: Any) -> Any:
    """Return a CSR matrix without duplicates, for their squares are not additive: itself, or a copy.

    What its arrays hold beyond the last row is left out, in views of them.
    """
    if len(X.data) != len(X.indices) or len(X.data) != X.indptr[-1]:
        end = X.indptr[-1]
        X = type(X)((X.data[:end], X.indices[:end], X.indptr), shape=X.shape)
    if X.has_canonical_format:
        return X
    X = X.copy()
    X.sum_duplicates()
    return X


def may_look_later(X: Any) -> bool:
    """Return whether the first pass finds NaN and inf on its way, so that no pass is spent on them: large data."""
    return isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[0] >= X.shape[1] and X.size >= FINITE_LATER

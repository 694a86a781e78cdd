"""Offsets: known parts of the scores, in fit and in predict."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.utils import check_array

from .._compat import to_host
from ..protocols import Array
from .inputs import refuse_masked


def checked_offset(offset: Any, n: int, n_classes: int) -> np.ndarray:
    """Return an offset in double precision on the host.

    Parameters
    ----------
    offset : array-like of shape (n,) or (n, n_classes)
        One column, for two classes alone: log odds of the second class.
    n : int
        Rows of X.
    n_classes : int

    Returns
    -------
    ndarray of shape (n,) or (n, n_classes)
        As it was given: one column is not made two.

    Raises
    ------
    ValueError
        If the shape does not fit, or a number is not finite.
    """
    found = to_host(offset) if hasattr(offset, "__dlpack__") else offset
    refuse_masked(found, "offset", "the classifier")
    if np.ndim(found):  # a single number is told below
        found = check_array(found, ensure_2d=False, dtype=np.float64, input_name="offset")
    found = np.asarray(found)
    if found.shape == (n, n_classes) or (n_classes == 2 and found.shape == (n,)):
        return found
    expected = f"({n},) or ({n}, 2)" if n_classes == 2 else f"({n}, {n_classes}), a column for each class"
    hint = ", since the same number for all classes changes nothing" if found.ndim == 1 and n_classes > 2 else ""
    raise ValueError(
        f"received offset of shape {found.shape} for {n} rows and {n_classes} classes; expected {expected}{hint}: "
        "pass one number for each row of X (and class)"
    )


def of_each_class(offset: np.ndarray) -> np.ndarray:
    """Return a checked offset with a column for each class."""
    return np.stack([np.zeros(len(offset)), offset], axis=1) if offset.ndim == 1 else offset


def of_second_class(offset: np.ndarray) -> np.ndarray:
    """Return a checked offset of two classes as log odds of the second one, shape (n,)."""
    return offset if offset.ndim == 1 else offset[:, 1] - offset[:, 0]


def with_offset(scores: Array, offset: Any, xp: Any, n_classes: int) -> Array:
    """Return scores of shape (n, rows of coef_) with the offset added, in the dtype and the place of the scores."""
    if offset is None:
        return scores
    found = checked_offset(offset, scores.shape[0], n_classes)
    part = of_each_class(found) if scores.shape[1] > 1 else of_second_class(found)[:, None]
    where = {} if xp is np else {"device": scores.device}
    return scores + xp.asarray(part, dtype=scores.dtype, **where)


def knowing_offset(estimator: Any, offset: Any) -> Any:
    """Return a copy of a fitted estimator for scorers, which predicts rows of that offset; itself where None."""
    if offset is None:
        return estimator
    found = copy.copy(estimator)
    found._offset_of_rows = offset
    return found


def known_offset(estimator: Any, offset: Any) -> Any:
    """Return the offset given to a method of prediction, else that of `knowing_offset`."""
    return vars(estimator).get("_offset_of_rows") if offset is None else offset


class ScoredWithOffset:
    """The accuracy of a classifier whose predictions take an offset."""

    def score(self, X, y, sample_weight=None, offset=None) -> float:
        """Return the accuracy on test data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            As for `decision_function`.

        Returns
        -------
        float
            The share of the samples, or of their weights, that are predicted right.

        Raises
        ------
        NotFittedError, ValueError
            As `predict`.
        """
        if offset is None:
            return super().score(X, y, sample_weight)  # type: ignore[misc]
        return accuracy_score(y, self.predict(X, offset), sample_weight=sample_weight)  # type: ignore[attr-defined]

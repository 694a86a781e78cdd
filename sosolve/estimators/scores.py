"""Scores of linear classifiers, finite where the rows and the coefficients are, and their log-softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from array_api_compat import array_namespace

from ..protocols import Array

#: Power of two by which both factors of an overflowing product are made smaller.
SMALLER = 540
#: Scores in a block: they and what is formed from them stay in the second-level cache.
BLOCK = 16_384


def linear_scores(X: Any, coef: Any, intercept: Array) -> Array:
    """Return X coef' + intercept, shape (n, K), in the dtype and the place of the arguments.

    They are limited to a quarter of the largest number of the dtype, so that differences are finite.
    """
    coef = coef[None, :] if coef.ndim == 1 else coef  # set by hand, for two classes
    with np.errstate(over="ignore", invalid="ignore"):
        scores = X @ coef.T
        scores = scores.toarray() if scipy.sparse.issparse(scores) else scores
        if type(scores) is np.ndarray and np.result_type(scores, intercept) == scores.dtype:
            scores += intercept
        else:
            scores = scores + intercept
    if isinstance(scores, np.ndarray):
        limit = float(np.finfo(scores.dtype).max) / 4.0
        if not (scores.max() <= limit and scores.min() >= -limit):  # nor where one is NaN
            return _limited(scores, limit, X, coef, intercept)
    return scores


def _limited(scores: np.ndarray, limit: float, X: Any, coef: Any, intercept: np.ndarray) -> np.ndarray:
    """Return the scores within the limit as they are, the others computed again from small factors and limited."""
    small = np.float64(2.0**-SMALLER)
    again = (X * small) @ (coef * small).T
    again = (again.toarray() if scipy.sparse.issparse(again) else again) + intercept * small * small
    with np.errstate(over="ignore"):
        again = np.clip(np.ldexp(again, 2 * SMALLER), -limit, limit)
    return np.where(np.abs(scores) <= limit, scores, again).astype(scores.dtype)


def log_softmax(scores: Array) -> Array:
    """Return the logarithms of the probabilities of the classes, shape (n, K), from scores of one column or K.

    NumPy's scores are worked off a block of the rows after the other; K columns are written over.
    """
    if type(scores) is not np.ndarray or scores.size <= BLOCK:
        return _log_softmax(scores)
    n, K = scores.shape
    logs, rows = scores if K > 1 else np.empty((n, 2), dtype=scores.dtype), max(1, BLOCK // K)
    for start in range(0, n, rows):
        logs[start : start + rows] = _log_softmax(scores[start : start + rows])
    return logs


def _log_softmax(scores: Array) -> Array:
    xp = array_namespace(scores)
    if scores.shape[1] == 1:
        scores = xp.concat([xp.zeros_like(scores), scores], axis=1)
    scores = scores - xp.max(scores, axis=1, keepdims=True)
    with np.errstate(under="ignore"):  # whatever the caller has set: a probability of zero is right
        return scores - xp.log(xp.sum(xp.exp(scores), axis=1, keepdims=True))


def probabilities(logs: Array) -> Array:
    """Return exp(logs), with those that are too small for a number as zeros; NumPy's are written over."""
    with np.errstate(under="ignore"):
        return np.exp(logs, out=logs) if type(logs) is np.ndarray else array_namespace(logs).exp(logs)

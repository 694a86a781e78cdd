"""Scores of one fitted model after another on the same test rows: scorers of any kind, with metadata."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer, make_scorer

from .._compat import check_method_params


def default_score(estimator, X, y, sample_weight=None) -> float:
    """Return the accuracy, as `estimator.score` does."""
    return estimator.score(X, y, sample_weight=sample_weight)


def resolve_scorer(scoring, classes: np.ndarray) -> Callable:
    """Return the scorer, one that knows all classes where it takes their labels.

    A fold may miss a class; log loss and the Brier score then need `labels`, and precision `pos_label`.

    Parameters
    ----------
    scoring : str, callable or None
    classes : ndarray of shape (K,)
        Sorted.
    """
    if scoring is None:
        return default_score
    scorer = get_scorer(scoring)
    function = getattr(scorer, "_score_func", None)
    accepted = inspect.signature(function).parameters if function is not None else ()
    if "labels" not in accepted:
        return scorer
    known = {"labels": classes}
    if len(classes) == 2 and "pos_label" in accepted:
        known["pos_label"] = classes[-1]
    return make_scorer(
        function,
        response_method=scorer._response_method,
        greater_is_better=scorer._sign == 1,
        **{**known, **scorer._kwargs},
    )


class TestRows:
    """The test rows of one fold, ready to be scored.

    Parameters
    ----------
    scorer : callable
        scorer(estimator, X, y, **params) -> float.
    X, y : array
        Those of all rows.
    rows : ndarray of int or bool
        The test rows.
    params : mapping
        What the scorer is given besides; arrays with an entry for each row are cut to the test rows.
    """

    __test__ = False  # the name is no test class

    def __init__(self, scorer: Callable, X, y: np.ndarray, rows: np.ndarray, params: Mapping[str, object]):
        self.scorer, self.X, self.y = scorer, X[rows], y[rows]
        self.params = check_method_params(X, params=dict(params), indices=rows)

    def score(self, estimator: BaseEstimator) -> float:
        """Return the score of a fitted estimator."""
        return float(self.scorer(estimator, self.X, self.y, **self.params))


def best_of_all(scores: np.ndarray) -> tuple[int, int]:
    """Return the indices (C, l1_ratio) of the best sum of scores over the folds, the first of several.

    Parameters
    ----------
    scores : ndarray of shape (folds, l1_ratios, Cs)
    """
    return _first_best(scores.sum(axis=0))


def best_of_each(scores: np.ndarray) -> Sequence[tuple[int, int]]:
    """Return the indices (C, l1_ratio) of the best score of each fold."""
    return [_first_best(fold) for fold in scores]


def _first_best(table: np.ndarray) -> tuple[int, int]:
    # scikit-learn looks for the first maximum in the order of C, then l1_ratio
    c, r = np.unravel_index(np.argmax(table.T), table.T.shape)
    return int(c), int(r)

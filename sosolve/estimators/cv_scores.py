"""Scores of one fitted model after another on the same test rows: scorers of any kind, with metadata."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.special
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, get_scorer, log_loss, make_scorer

from .._compat import check_method_params


class DirectScorer:
    """Accuracy or log loss from the predictors: for small folds scikit-learn's checks would cost more than the fits.

    Parameters
    ----------
    metric : {"accuracy", "log_loss"}
    """

    def __init__(self, metric: str):
        self.metric = metric

    def __call__(self, z: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        """Return the score; the higher the better.

        Parameters
        ----------
        z : ndarray of shape (m, 1) or (m, K)
            Log odds of the second of two classes, or a score for each class; float64.
        codes : ndarray of int, shape (m,)
            Index of the class of each row.
        sample_weight : ndarray of shape (m,), optional
        """
        if self.metric == "accuracy":
            predicted = z[:, 0] > 0.0 if z.shape[1] == 1 else z.argmax(axis=1)
            return float(np.average(predicted == codes, weights=sample_weight))
        if z.shape[1] == 1:
            p = scipy.special.expit(z[:, 0])
            p = np.where(codes == 1, p, 1.0 - p)  # as scikit-learn's scorer, which sees the probabilities of one class
        else:
            z = z - z.max(axis=1, keepdims=True)
            p = np.exp(z[np.arange(len(z)), codes]) / np.exp(z).sum(axis=1)
        eps = np.finfo(np.float64).eps  # scikit-learn's bound on probabilities
        return -float(np.average(-np.log(np.clip(p, eps, 1.0 - eps)), weights=sample_weight))


def resolve_scorer(scoring, classes: np.ndarray) -> Callable:
    """Return the scorer, one that knows all classes where it takes their labels.

    A fold may miss a class; log loss and the Brier score then need `labels`, and precision `pos_label`.

    Parameters
    ----------
    scoring : str, callable or None
    classes : ndarray of shape (K,)
        Sorted.
    """
    scorer = get_scorer("accuracy" if scoring is None else scoring)
    function = getattr(scorer, "_score_func", None)
    if type(scorer) is type(get_scorer("accuracy")) and not scorer._kwargs:
        if function is accuracy_score and scorer._sign == 1 and scorer._response_method == "predict":
            return DirectScorer("accuracy")
        if function is log_loss and scorer._sign == -1 and scorer._response_method == "predict_proba":
            return DirectScorer("log_loss")
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


def is_direct(scorer: Callable) -> bool:
    """Return whether the scorer takes predictors."""
    return isinstance(scorer, DirectScorer)


class TestRows:
    """The test rows of one fold, ready to be scored.

    Parameters
    ----------
    scorer : callable
        A `DirectScorer`, or scorer(estimator, X, y, **params) -> float.
    X : array
    classes, codes : ndarray
        The sorted classes, and the index of the class of each row.
    rows : ndarray of int or bool
        The test rows.
    params : mapping
        What the scorer is given besides; arrays with an entry for each row are cut to the test rows.

    Raises
    ------
    ValueError
        If a `DirectScorer` is given weights of these rows that are all zero.
    """

    __test__ = False  # the name is no test class

    def __init__(self, scorer: Callable, X, classes, codes, rows: np.ndarray, params: Mapping[str, object]):
        self.scorer, self.X, self.y = scorer, X[rows], codes[rows] if is_direct(scorer) else classes[codes[rows]]
        found = check_method_params(X, params=dict(params), indices=rows)
        # one weight for all rows changes no average
        self.params = {k: v for k, v in found.items() if k != "sample_weight" or np.ndim(v)}
        if is_direct(scorer) and not np.any(self.params.get("sample_weight", 1.0)):
            raise ValueError(
                f"received a fold whose {len(self.y)} test rows have no weight; expected some in each, there is no "
                "score else: change cv or the weights"
            )

    def score(self, estimator: BaseEstimator, z: np.ndarray | None = None) -> float:
        """Return the score of a fitted estimator, from its predictors of these rows where they are known."""
        if not is_direct(self.scorer):
            return _number(self.scorer(estimator, self.X, self.y, **self.params))
        if z is None:
            z = self.X @ estimator.coef_.T + estimator.intercept_
        return self.scorer(z, self.y, **self.params)


def _number(score: object) -> float:
    """Return what a scorer found as a number: an array of one is one."""
    try:
        return float(score if np.ndim(score) == 0 else np.asarray(score).item())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(
            f"received {score!r} from the scorer; expected a number: return one, the higher the better"
        ) from None


def best_of_all(scores: np.ndarray) -> tuple[int, int]:
    """Return the indices (C, l1_ratio) of the best sum of scores over the folds, the first of several.

    Folds without a score are left out, and what has none in one of the others is not chosen.

    Parameters
    ----------
    scores : ndarray of shape (folds, l1_ratios, Cs)
    """
    return _first_best(scores[~np.isnan(scores).all(axis=(1, 2))].sum(axis=0))


def best_of_each(scores: np.ndarray) -> Sequence[tuple[int, int]]:
    """Return the indices (C, l1_ratio) of the best score of each fold."""
    return [_first_best(fold) for fold in scores]


def _first_best(table: np.ndarray) -> tuple[int, int]:
    # scikit-learn looks for the first maximum in the order of C, then l1_ratio
    c, r = np.unravel_index(np.argmax(np.where(np.isnan(table), -np.inf, table).T), table.T.shape)
    return int(c), int(r)

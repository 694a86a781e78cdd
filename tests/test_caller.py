"""Warnings of the estimators name the line that called them, through scikit-learn's wrappers."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score

from sosolve import LogisticRegression, LogisticRegressionCV, NonlinearLeastSquares, SoftmaxRegression

X, Y = load_iris(return_X_y=True)
T = np.linspace(0.0, 1.0, 9)[:, None]


@pytest.mark.parametrize(
    "call",
    [
        lambda: LogisticRegression(max_iter=1).fit(X, Y),
        lambda: LogisticRegression(n_jobs=2).fit(X, Y),
        lambda: LogisticRegression(penalty="l2").fit(X, Y),
        lambda: SoftmaxRegression().fit(X, np.arange(150)),
        lambda: LogisticRegressionCV(Cs=2, cv=2, max_iter=1, scoring=lambda *_: np.nan).fit(X, Y),
        lambda: NonlinearLeastSquares("a + b + 0*x").fit(T, T[:, 0]),
        lambda: cross_val_score(LogisticRegression(max_iter=1), X, Y, cv=2),
    ],
)
def test_warnings_name_the_line_of_the_caller(call):
    """However deep in the package, and behind how many wrappers, they are given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert {(warning.filename, warning.lineno) for warning in caught} == {(__file__, call.__code__.co_firstlineno)}

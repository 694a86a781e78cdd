"""`optimality_`: a bound that is never below the true distance from the minimum, and what it says."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning
from tables import Data, labels, long_double_value

from sosolve import LogisticRegression, NewtonCholesky, SoftmaxRegression, Status

SOLVERS = ("auto", "newton-cholesky", "newton-cg", "trust-region", "lbfgs", "bfgs")


def random_problem(seed):
    """Return an estimator and its data: everything a problem may vary in is drawn from the seed."""
    rng = np.random.default_rng(seed)
    K = int(rng.choice([2, 2, 2, 3, 5]))
    n, d = int(rng.integers(25, 120)), int(rng.integers(1, 9))
    X = rng.standard_normal((n, d)) + rng.choice([0.0, 1.0, 100.0]) * rng.standard_normal(d)
    X = X * 10.0 ** rng.uniform(-6, 6, d) if rng.random() < 0.5 else X
    signal = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.standard_normal((d, K)) * rng.choice([0.3, 1.0, 5.0])
    y = labels(signal[:, 0] if K == 2 else signal, rng)
    y[:K] = np.arange(K)
    if rng.random() < 0.2:
        X = X.astype(np.float32)
    weights = rng.choice([None, 0, 1])
    if weights is not None:
        weights = rng.random(n) if weights else rng.integers(0, 3, n).astype(float)
        weights[:K] = 1.0
    data = Data(X, y, C=float(10.0 ** rng.uniform(-3, 4)) if rng.random() < 0.85 else np.inf, weights=weights)
    settings = dict(
        C=data.C,
        solver=str(rng.choice(SOLVERS)),
        tol=float(rng.choice([1e-2, 1e-4, 1e-8])),
        fit_intercept=bool(rng.random() < 0.8),
        max_iter=int(rng.choice([0, 1, 2, 3, 5, 200, 200, 200, 200])),
    )
    kind = SoftmaxRegression if rng.random() < 0.2 else LogisticRegression
    if kind is SoftmaxRegression and rng.random() < 0.5:
        settings["reference_class"] = int(rng.integers(K))
    return kind(**settings), data, sp.csr_array(X) if rng.random() < 0.2 else X


def softmax_value(data, clf):
    """Return scikit-learn's objective (the sum of the losses without a penalty) in extended precision."""
    coef, intercept = clf.coef_.astype(np.longdouble), clf.intercept_.astype(np.longdouble)
    mean = long_double_value(data, coef, intercept)
    total = len(data.y) if data.weights is None else data.weights.sum()
    return mean * np.longdouble(total) * (data.C if np.isfinite(data.C) else 1.0)


def check_bound(seed):
    """Fit one random problem and its optimum; return (bound, true gap, value), all in scikit-learn's units."""
    clf, data, X = random_problem(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf.fit(X, data.y, sample_weight=data.weights)
        exact = Data(data.X.astype(float), data.y, data.C, data.weights)
        best = type(clf)(**clf.get_params() | dict(solver=NewtonCholesky(tol=1e-12, gtol=1e-13, max_iter=300)))
        best.fit(exact.X, data.y, sample_weight=data.weights)
    value, minimum = softmax_value(exact, clf), softmax_value(exact, best)
    assert clf.optimality_.value == pytest.approx(float(value), rel=1e-5 if X.dtype == np.float32 else 1e-9)
    return clf, clf.optimality_.bound, float(value - minimum), float(value)


@pytest.mark.parametrize("block", range(10))
def test_the_bound_is_never_below_the_true_gap(block):
    """500 random problems: classes, penalties, weights, units, float32, CSR, solvers, few iterations."""
    useful = 0
    for seed in range(50 * block, 50 * block + 50):
        clf, bound, gap, value = check_bound(seed)
        assert bound >= gap, (seed, clf, bound, gap, repr(clf.optimality_))
        assert 0.0 <= bound <= value * (1 + (1e-4 if clf.coef_.dtype == np.float32 else 1e-12))
        useful += bound < 1e-3 * value
    assert useful >= 15  # of about 28 that converge with a penalty

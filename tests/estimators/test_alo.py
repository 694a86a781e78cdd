"""cv="alo": leave-one-out from one fit, within two per cent of the exact one, or with a warning."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.special
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import scale

from sosolve import LogisticRegression, LogisticRegressionCV
from sosolve.estimators import alo
from sosolve.estimators.cv_folds import _LeftOutPredictions
from sosolve.estimators.problem import Problem

COMMON = dict(Cs=[0.01, 0.1, 1.0, 10.0, 100.0], l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False)


def sets():
    """Return (X, y) by name: binary and softmax, dense, sparse, and with fewer rows than columns."""
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((50, 520))
    sparse = sp.random(90, 30, density=0.1, random_state=0, format="csr")
    total = np.asarray(sparse.sum(axis=1)).ravel()
    cancer, tumour = load_breast_cancer(return_X_y=True)
    flowers, species = load_iris(return_X_y=True)
    wine, grapes = load_wine(return_X_y=True)
    return {
        "iris": (flowers[::2], species[::2]),
        "iris, two columns": (flowers[50:, :2], species[50:]),
        "wine": (scale(wine)[::2], grapes[::2]),
        "breast cancer": (scale(cancer)[::5], tumour[::5]),
        "wide": (wide, (wide[:, :5].sum(axis=1) + rng.standard_normal(50) > 0).astype(int)),
        "sparse": (sparse, (total + 0.5 * rng.standard_normal(90) > total.mean()).astype(int)),
    }


SETS = sets()


@pytest.mark.parametrize("name", sorted(SETS))
def test_log_loss_within_two_per_cent_of_exact(name):
    """For C from strong penalties to near separation; the estimate of the error is of the right size."""
    X, y = SETS[name]
    found = LogisticRegressionCV(**COMMON, cv="alo").fit(X, y)
    exact = LogisticRegressionCV(**COMMON, cv=LeaveOneOut(), tol=1e-6).fit(X, y)
    error = np.abs(found.scores_[0, 0] / exact.scores_.mean(axis=0)[0] - 1.0)
    assert error.max() <= 0.02
    assert (error <= np.maximum(5.0 * found.loo_error_, 1e-3)).all()
    assert found.C_ == exact.C_
    assert (found.n_exact_ < X.shape[0]).all()
    np.testing.assert_allclose(found.coef_, exact.coef_, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [0.5, np.inf])
def test_every_row_against_its_own_fit(n_classes, fit_intercept, C, monkeypatch):
    """One step is right to second order, and an exact fit is exact; with sample weights and without a penalty."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = (X[:, 0] + rng.standard_normal(60) > 0) + (X[:, 1] + rng.standard_normal(60) > 0) * (n_classes == 3)
    y, w = y.astype(int), rng.integers(0, 3, 60).astype(float)
    estimator = LogisticRegression(C=C, fit_intercept=fit_intercept, tol=1e-7)
    problem = Problem(estimator, X, y, w, C)
    solver, result = estimator._solve(problem, None)
    logs = {}
    for target in (np.inf, -1.0):  # none and all of the rows exactly
        monkeypatch.setattr(alo, "TARGET", target)
        left = alo.leave_one_out(problem, solver, result)
        logs[target] = alo._losses(problem.objective.terms[0], left.z)
        assert left.n_exact == (8 if target > 0.0 else np.count_nonzero(w))
    for i in np.flatnonzero(w)[:10]:
        without = w.copy()
        without[i] = 0.0
        other = LogisticRegression(C=C, fit_intercept=fit_intercept, tol=1e-7).fit(X, y, without)
        expected = -other.predict_log_proba(X[i : i + 1])[0, y[i]]
        assert logs[-1.0][i] == pytest.approx(expected, rel=1e-4)
        assert logs[np.inf][i] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("refit", [False, True])
def test_layout(legacy, refit):
    """One fold, whose scores are those of all rows and whose coefficients are those of the fit of all rows."""
    X, y = SETS["iris"]
    settings = dict(COMMON, use_legacy_attributes=legacy, refit=refit, scoring="accuracy")
    found = LogisticRegressionCV(**settings, cv="alo").fit(X, y)
    if legacy:
        assert {key: value.shape for key, value in found.scores_.items()} == dict.fromkeys(range(3), (1, 5, 1))
    else:
        assert found.scores_.shape == (1, 1, 5)
        assert found.coefs_paths_.shape == (1, 1, 5, 3, 5)
        single = LogisticRegression(C=1.0, tol=1e-6).fit(X, y)
        np.testing.assert_allclose(found.coefs_paths_[0, 0, 2, :, :-1], single.coef_, atol=1e-3)
    assert found.predict(X).shape == y.shape
    assert found.n_exact_.shape == found.loo_error_.shape == (5,)


@pytest.mark.parametrize(
    ("scoring", "method", "name"),
    [
        ("roc_auc", "decision_function", "breast cancer"),
        ("neg_brier_score", "predict_proba", "breast cancer"),
        ("f1_macro", "predict", "iris"),
    ],
)
def test_every_kind_of_scorer(scoring, method, name):
    """A scorer sees scores, probabilities or labels of each row by the fit without it."""
    X, y = SETS[name]
    settings = dict(Cs=[0.1], l1_ratios=(0,), scoring=scoring, use_legacy_attributes=False)
    found = LogisticRegressionCV(**settings, cv="alo").fit(X, y)
    left = cross_val_predict(LogisticRegression(C=0.1), X, y, cv=LeaveOneOut(), method=method)
    left = left[:, 1] if left.ndim == 2 else left
    metric = get_scorer(scoring)
    expected = metric._sign * metric._score_func(y, left, **metric._kwargs)
    assert found.scores_[0, 0, 0] == pytest.approx(expected, rel=1e-2)


def test_weights_reach_fit_and_score():
    """Rows of weight zero count neither in the fit nor in the score."""
    X, y = SETS["breast cancer"]
    w = np.ones(len(y))
    w[::4] = 0.0
    weighted = LogisticRegressionCV(**COMMON, cv="alo", tol=1e-7).fit(X, y, sample_weight=w)
    removed = LogisticRegressionCV(**COMMON, cv="alo", tol=1e-7).fit(X[w > 0], y[w > 0])
    np.testing.assert_allclose(weighted.scores_, removed.scores_, rtol=1e-3)
    np.testing.assert_allclose(weighted.coef_, removed.coef_, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_guarded_is_told(monkeypatch):
    """Where the exact fits run out, a warning names the worst C; too many parameters are refused."""
    X, y = SETS["breast cancer"]
    monkeypatch.setattr(alo, "MOST", 8)
    monkeypatch.setattr(alo, "TARGET", 1e-6)
    with pytest.warns(ConvergenceWarning, match=r"at 5 of 5 values of C the leave-one-out log loss .* after 8 exact"):
        LogisticRegressionCV(**COMMON, cv="alo").fit(X, y)
    monkeypatch.setattr(alo, "LARGEST", 20)
    with pytest.raises(ValueError, match=r"received cv='alo' for a problem of 31 parameters; .* use folds, cv=5"):
        LogisticRegressionCV(**COMMON, cv="alo").fit(X, y)


def test_a_row_that_alone_decides():
    """A row whose removal changes everything is fitted exactly: the only one of its class."""
    X, y = SETS["iris, two columns"]
    y = np.where(np.arange(len(y)) == 3, 7, y)
    found = LogisticRegressionCV(**{**COMMON, "Cs": [1.0, 100.0]}, cv="alo").fit(X, y)
    assert np.isfinite(found.scores_).all()
    assert found.scores_[0, 0, 0] < -np.log(3.0) / 10


def test_columns_that_depend_on_others():
    """Without a penalty the Hessian is singular then, and the predictions are those without the spare columns."""
    X, y = SETS["iris, two columns"]
    settings = {**COMMON, "Cs": [np.inf]}
    plain = LogisticRegressionCV(**settings, cv="alo").fit(X, y)
    twice = LogisticRegressionCV(**settings, cv="alo").fit(np.c_[X, X @ [[1.0], [2.0]]], y)
    np.testing.assert_allclose(twice.scores_, plain.scores_, rtol=1e-3)
    with pytest.raises(ValueError, match="not positive definite; leave-one-out needs one: use folds"):
        alo._safe_cholesky(-np.eye(3))


def test_left_out_predictions_may_be_asked_for_twice():
    """Large arrays of scores are written over with probabilities: not those that are kept."""
    estimator = _LeftOutPredictions()
    estimator.classes_, estimator.z_ = np.arange(3), np.random.default_rng(0).standard_normal((6000, 3))
    X = np.zeros((6000, 1))
    once = estimator.predict_proba(X)
    np.testing.assert_array_equal(estimator.predict_proba(X), once)
    np.testing.assert_allclose(once, scipy.special.softmax(estimator.z_, axis=1), rtol=1e-12)

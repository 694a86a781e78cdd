"""Fewer rows than columns: the thin factor has the same optimum, for every solver, dense and sparse."""

import numpy as np
import pytest
import scipy.sparse as sp

import sosolve.estimators.problem as problem
from sosolve import LogisticRegression, SoftmaxRegression
from sosolve.objectives import LinearModel
from sosolve.objectives.thin import ThinModel, pays
from sosolve.testing import check_model

RNG = np.random.default_rng(0)
WIDE = RNG.standard_normal((30, 600)) + 3.0
SPARSE = sp.random(40, 700, density=0.05, format="csr", random_state=0)


def both(monkeypatch, estimator, X, y, weights=None):
    """Return the fit in the row space, and that of Newton-CG in all d variables."""
    thin = estimator.fit(X, y, sample_weight=weights)
    attributes = thin.coef_, thin.intercept_
    assert "thin factor" in thin.history_.notes["solver"] or estimator.solver != "auto"
    monkeypatch.setattr(problem, "pays", lambda X, strength: False)
    plain = estimator.set_params(solver="newton-cg", tol=1e-9).fit(X, y, sample_weight=weights)
    return attributes, (plain.coef_, plain.intercept_)


@pytest.mark.parametrize("solver", ["auto", "newton-cg", "newton-cholesky", "trust-region", "bfgs", "lbfgs"])
@pytest.mark.parametrize("X", [WIDE, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("intercept", [True, False])
def test_same_optimum(monkeypatch, solver, X, K, intercept):
    """Coefficients and intercepts agree with those found in d variables."""
    y = np.arange(X.shape[0]) % K
    weights = np.random.default_rng(1).integers(0, 3, X.shape[0]).astype(float)
    tol = 1e-6 if "bfgs" in solver else 1e-8
    estimator = LogisticRegression(solver=solver, tol=tol, max_iter=5000, fit_intercept=intercept)
    thin, plain = both(monkeypatch, estimator, X, y, weights)
    np.testing.assert_allclose(thin[0], plain[0], atol=20 * tol)
    np.testing.assert_allclose(thin[1], plain[1], atol=200 * tol)


def test_reference_class_and_warm_start(monkeypatch):
    """The map back and forth is exact at the optimum: a warm start ends at once."""
    y = np.arange(30) % 3
    clf = SoftmaxRegression(reference_class=1, warm_start=True, tol=1e-6).fit(WIDE, y)
    assert clf.fit(WIDE, y).n_iter_[0] == 1


def test_model_conformance():
    """It is a linear model in the variables of the thin factor."""
    model = ThinModel(WIDE, np.array([1.0 / 30]), 0.1, 1, True)
    assert model.size <= 31
    check_model(model, np.ones(model.size))
    theta = np.random.default_rng(0).standard_normal(model.size)
    coef, intercept = model.coefficients(theta)
    np.testing.assert_allclose(model.at(theta).z(), WIDE @ coef[0] + intercept[0], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(model.theta(coef, intercept), theta, rtol=1e-7, atol=1e-8)
    ridge = 0.05 * float(theta @ (model.strengths(0.1) / 0.1 * theta))
    assert ridge == pytest.approx(0.05 * float(coef[0] @ coef[0]), rel=1e-9)
    assert not hasattr(LinearModel(WIDE), "back")


@pytest.mark.parametrize(
    ("X", "strength", "expected"),
    [
        (WIDE, 0.1, True),
        (WIDE, 0.0, False),
        (WIDE.T, 0.1, False),
        (WIDE[:, :100], 0.1, False),
        (WIDE * np.geomspace(1e-6, 1e6, 600), 0.1, False),
        (np.zeros((3, 5)), 0.1, False),
        (SPARSE, 0.1, True),
    ],
)
def test_when_it_is_used(X, strength, expected):
    """Only under a ridge, for n < d, and where X X' keeps what the columns hold."""
    assert pays(X, strength) is expected


@pytest.mark.parametrize("shift", [0.0, 30.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_product_is_centred_after_or_before(shift, dtype):
    """Where the means are small X X' is formed without a copy of X, where they are large its columns are centred."""
    X = (WIDE - 3.0 + shift).astype(dtype)
    centred = X.astype(float) - X.astype(float).mean(axis=0)
    found = ThinModel(X, np.array([1.0 / 30]), 0.1, 1, True)._row_gram()
    np.testing.assert_allclose(found, centred @ centred.T, atol=1e-10 * np.trace(found))

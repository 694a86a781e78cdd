"""Offsets: the coefficients of statsmodels and glum, every solver and storage, and metadata routing."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, LeaveOneOut, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sosolve import LogisticRegression, LogisticRegressionCV, SoftmaxRegression, Status
from sosolve.estimators.offsets import knowing_offset


def binary(seed=0, n=300, d=4):
    """Return X, y and an offset that matters."""
    rng = np.random.default_rng(seed)
    X, offset = rng.standard_normal((n, d)) * [1.0, 10.0, 0.1, 1.0][:d], 2.0 * rng.standard_normal(n) - 1.0
    z = X @ ([0.5, -0.05, 4.0, 0.0][:d]) + offset
    return X, (rng.random(n) < 1 / (1 + np.exp(-z))).astype(int), offset


@pytest.mark.parametrize("weighted", [False, True])
def test_as_in_statsmodels(weighted):
    """Without a penalty: the coefficients and probabilities of GLM(Binomial) with the same offset."""
    api = pytest.importorskip("statsmodels.api", reason="statsmodels is a peer, not a dependency")
    X, y, offset = binary()
    w = np.random.default_rng(1).integers(1, 4, len(y)).astype(float) if weighted else None
    clf = LogisticRegression(C=np.inf, tol=1e-9).fit(X, y, sample_weight=w, offset=offset)
    settings = {} if w is None else {"freq_weights": w}
    glm = api.GLM(y, api.add_constant(X), family=api.families.Binomial(), offset=offset, **settings).fit(tol=1e-14)
    np.testing.assert_allclose(np.append(clf.intercept_, clf.coef_[0]), glm.params, rtol=1e-6, atol=1e-8)
    theirs = glm.predict(api.add_constant(X), offset=offset)
    np.testing.assert_allclose(clf.predict_proba(X, offset=offset)[:, 1], theirs, rtol=1e-6)
    assert clf.optimality_.relative_bound < 1e-12


def test_as_in_glum():
    """With a ridge."""
    glum = pytest.importorskip("glum", reason="glum is a peer, not a dependency")
    X, y, offset = binary()
    alpha = 0.01
    clf = LogisticRegression(C=1 / (alpha * len(y)), tol=1e-9).fit(X, y, offset=offset)
    peer = glum.GeneralizedLinearRegressor(family="binomial", alpha=alpha, gradient_tol=1e-10, max_iter=500)
    peer.fit(X, y, offset=offset)
    np.testing.assert_allclose(clf.coef_[0], peer.coef_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(clf.intercept_[0], peer.intercept_, rtol=1e-5)


@pytest.mark.parametrize("solver", ["auto", "newton-cg", "newton-cholesky", "trust-region", "lbfgs", "bfgs"])
@pytest.mark.parametrize("kind", ["dense", "csr", "float32", "wide", "large"])
def test_every_solver_and_storage(solver, kind):
    """A column with the offset as its values and 1 as its coefficient is an offset: compare with that problem."""
    X, y, offset = binary(n=27_000 if kind == "large" else 300, d=4)
    if kind == "wide":
        X = np.random.default_rng(5).standard_normal((300, 600))
    if kind == "large":
        X = np.c_[X, np.random.default_rng(6).standard_normal((len(X), 16))]
    data = {"csr": sp.csr_array, "float32": np.float32}.get(kind, np.asarray)(X)
    clf = LogisticRegression(solver=solver, tol=1e-6, max_iter=1000).fit(data, y, offset=offset)
    assert clf.result_.converged
    X = X.astype(np.float32).astype(float) if kind == "float32" else X

    def value(theta):
        z = X @ theta[1:] + theta[0] + offset
        p = 1 / (1 + np.exp(-z))
        grad = p - y
        return (
            np.logaddexp(0, z).sum() - y @ z + 0.5 * theta[1:] @ theta[1:],
            np.append(grad.sum(), X.T @ grad + theta[1:]),
        )

    theta = np.append(clf.intercept_, clf.coef_[0]).astype(float)
    best = scipy.optimize.minimize(value, theta, jac=True, method="L-BFGS-B", options={"gtol": 1e-10, "ftol": 1e-16})
    assert clf.optimality_.value == pytest.approx(value(theta)[0], rel=1e-6)
    assert value(theta)[0] - best.fun <= clf.optimality_.bound + 1e-12 * best.fun
    np.testing.assert_allclose(clf.decision_function(data, offset), X @ theta[1:] + theta[0] + offset, atol=1e-4)


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("reference", [None, 0, 1])
def test_softmax(K, reference):
    """A column for each class; the same number added to all of them changes nothing, nor does the reference."""
    rng = np.random.default_rng(2)
    X, offset = rng.standard_normal((200, 3)), rng.standard_normal((200, K))
    y = np.argmax(X[:, :K] + offset + rng.gumbel(size=(200, K)), axis=1)
    clf = SoftmaxRegression(C=np.inf, reference_class=reference, tol=1e-9).fit(X, y, offset=offset)
    moved = SoftmaxRegression(C=np.inf, reference_class=reference, tol=1e-9).fit(X, y, offset=offset + X[:, :1])
    np.testing.assert_allclose(clf.coef_, moved.coef_, atol=1e-7)
    base = LogisticRegression(C=np.inf, tol=1e-9).fit(X, y, offset=offset)
    np.testing.assert_allclose(clf.predict_proba(X, offset), base.predict_proba(X, offset), atol=1e-7)
    np.testing.assert_array_equal(clf.predict(X, offset), np.argmax(clf.predict_proba(X, offset), axis=1))
    assert (clf.predict(X, offset) == y).mean() > (clf.predict(X) == y).mean()
    assert np.isfinite(clf.predict_log_proba(X, offset)).all()
    if K == 2:
        one = LogisticRegression(C=np.inf, tol=1e-9).fit(X, y, offset=offset[:, 1] - offset[:, 0])
        np.testing.assert_allclose(one.coef_, base.coef_, atol=1e-9)


def test_a_constant_offset_moves_the_intercept_alone():
    """Also one so large that the start would be far out."""
    X, y, _ = binary()
    plain = LogisticRegression(tol=1e-8).fit(X, y)
    for shift in (3.0, -40.0):
        clf = LogisticRegression(tol=1e-8).fit(X, y, offset=np.full(len(y), shift))
        np.testing.assert_allclose(clf.coef_, plain.coef_, atol=1e-7)
        np.testing.assert_allclose(clf.intercept_ + shift, plain.intercept_, atol=1e-6)
    zero = LogisticRegression(tol=1e-8).fit(X, y, offset=np.zeros(len(y)))
    np.testing.assert_allclose(zero.coef_, plain.coef_, atol=1e-7)


@pytest.mark.parametrize("settings", [{"l1_ratio": 1.0, "C": 0.1}, {"bounds": (0, 1)}, {"C": 0.01, "max_iter": 2}])
def test_the_certificate_with_an_offset(settings):
    """The dual point accounts for it: the bound is above the true gap."""
    X, y, offset = binary()
    ignore = pytest.warns(ConvergenceWarning) if "max_iter" in settings else None
    if ignore:
        with ignore:
            found = LogisticRegression(solver="newton-cg", **settings).fit(X, y, offset=offset).optimality_
    else:
        found = LogisticRegression(**settings).fit(X, y, offset=offset).optimality_
    best = LogisticRegression(**settings | {"tol": 1e-9, "max_iter": 500}).fit(X, y, offset=offset).optimality_
    assert found.bound >= found.value - best.value - 1e-12 * best.value
    assert found.relative_bound < 1e-2


def test_offsets_that_separate_are_no_separation():
    """An offset that predicts y leaves a finite optimum; columns that separate are found behind any offset."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((80, 2))
    y = rng.integers(0, 2, 80)
    clf = LogisticRegression(C=np.inf).fit(X, y, offset=8.0 * (2 * y - 1))
    assert clf.result_.converged
    assert clf.optimality_.separation is None
    split = (X[:, 0] > 0).astype(int)
    X[:, 0] += split
    with pytest.warns(ConvergenceWarning, match="SEPARATED"):
        found = LogisticRegression(C=np.inf).fit(X, split, offset=rng.standard_normal(80)).optimality_
    assert found.separation == "complete"
    assert found.status is Status.SEPARATED


def test_metadata_routing():
    """set_fit_request(offset=True) in a grid search and a pipeline; predict and score have their own requests."""
    X, y, offset = binary()
    with sklearn.config_context(enable_metadata_routing=True):
        clf = LogisticRegression().set_fit_request(offset=True).set_score_request(offset=True)
        search = GridSearchCV(clf, {"C": [0.1, 1.0]}, cv=3).fit(X, y, offset=offset)
        best = search.best_estimator_
        pipe = make_pipeline(StandardScaler(), clf.set_predict_proba_request(offset=True)).fit(X, y, offset=offset)
        routed = pipe.predict_proba(X, offset=offset)
    expected = LogisticRegression(C=best.C).fit(X, y, offset=offset)
    np.testing.assert_allclose(best.coef_, expected.coef_)
    assert search.best_score_ > 0.05 + best.score(X, y)  # which knows of no offset
    scaled = StandardScaler().fit_transform(X)
    np.testing.assert_allclose(routed, LogisticRegression().fit(scaled, y, offset=offset).predict_proba(scaled, offset))


def test_without_one_nothing_changes():
    """The fused path is kept, and predictions equal scikit-learn's."""
    X, y, _ = binary()
    ours = LogisticRegression(tol=1e-8).fit(X, y)
    theirs = SklearnLogisticRegression(tol=1e-10, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(ours.predict(X), ours.predict(X, offset=np.zeros(len(y))))


@pytest.mark.parametrize(
    ("offset", "K", "message"),
    [
        (3.0, 2, r"received offset of shape \(\) for 60 rows and 2 classes; expected \(60,\) or \(60, 2\)"),
        (np.zeros(5), 2, r"received offset of shape \(5,\) for 60 rows and 2 classes; expected \(60,\) or \(60, 2\)"),
        (np.zeros(60), 3, r"expected \(60, 3\), a column for each class, since the same number"),
        (np.zeros((60, 2)), 3, r"received offset of shape \(60, 2\)"),
        (np.full(60, np.nan), 2, "offset contains NaN"),
        (np.zeros((60, 1)), 2, r"received offset of shape \(60, 1\)"),
    ],
)
def test_bad_offsets(offset, K, message):
    """Shape and values are checked, in fit and in predict."""
    X, y = np.random.default_rng(0).standard_normal((60, 2)), np.arange(60) % K
    with pytest.raises(ValueError, match=message):
        LogisticRegression().fit(X, y, offset=offset)
    with pytest.raises(ValueError, match=message):
        LogisticRegression().fit(X, y).predict(X, offset=offset)


@pytest.mark.parametrize("K", [2, 3])
def test_score_with_offset(K):
    """The accuracy of the predictions with it, weighted or not; without one as ever."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), np.arange(60) % K
    offset, w = 3.0 * rng.standard_normal((60, K)), rng.random(60)
    clf = LogisticRegression().fit(X, y, offset=offset)
    right = clf.predict(X, offset=offset) == y
    assert clf.score(X, y, offset=offset) == right.mean()
    assert clf.score(X, y, w, offset) == pytest.approx(np.average(right, weights=w))
    assert clf.score(X, y, w) == pytest.approx(np.average(clf.predict(X) == y, weights=w))


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc"])
def test_cross_validation_with_offset(scoring):
    """Each fold is fitted and scored with the offset of its rows, by a scorer of predictors and by another one."""
    X, y, offset = binary()
    settings = dict(l1_ratios=(0,), scoring=scoring, use_legacy_attributes=False)
    cv = LogisticRegressionCV(Cs=[0.1, 10.0], cv=3, tol=1e-7, **settings).fit(X, y, offset=offset)
    scorer, train, test = get_scorer(scoring), *next(iter(StratifiedKFold(3).split(X, y)))
    single = LogisticRegression(C=0.1, tol=1e-7).fit(X[train], y[train], offset=offset[train])
    expected = scorer(knowing_offset(single, offset[test]), X[test], y[test])
    assert cv.scores_[0, 0, 0] == pytest.approx(expected, rel=1e-6)
    whole = LogisticRegression(C=cv.C_, tol=1e-7).fit(X, y, offset=offset)
    np.testing.assert_allclose(cv.coef_, whole.coef_, rtol=1e-6)
    assert cv.score(X, y, offset=offset) == scorer(knowing_offset(cv, offset), X, y) > cv.score(X, y)


def test_cross_validation_with_offset_of_three_classes():
    """A column for each class; an offset that is the same for all changes nothing."""
    rng = np.random.default_rng(3)
    X, y, part = rng.standard_normal((90, 3)), np.arange(90) % 3, rng.standard_normal((90, 1))
    settings = dict(Cs=[0.1, 1.0], cv=3, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False)
    plain = LogisticRegressionCV(**settings).fit(X, y)
    same = LogisticRegressionCV(**settings).fit(X, y, offset=np.tile(part, 3))
    np.testing.assert_allclose(same.scores_, plain.scores_, rtol=1e-6)


def test_leave_one_out_with_offset():
    """The approximation is that of the rows with their offset: folds of one row give the same scores."""
    X, y, offset = binary(n=60)
    settings = dict(Cs=[0.1], l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False)
    alo = LogisticRegressionCV(cv="alo", **settings).fit(X, y, offset=offset).scores_
    exact = LogisticRegressionCV(cv=LeaveOneOut(), **settings).fit(X, y, offset=offset).scores_
    assert alo.mean() == pytest.approx(exact.mean(), rel=0.02)


def test_routing_to_a_search():
    """set_fit_request reaches the search's own offset."""
    X, y, offset = binary()
    with sklearn.config_context(enable_metadata_routing=True):
        settings = dict(Cs=[0.1, 1.0], l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False)
        cv = LogisticRegressionCV(**settings).set_fit_request(offset=True).set_score_request(offset=True)
        routed = make_pipeline(StandardScaler(), cv).fit(X, y, offset=offset)
        assert routed.score(X, y, offset=offset) > routed.score(X, y)

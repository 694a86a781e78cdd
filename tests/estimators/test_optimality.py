"""`optimality_`: a bound that is never below the true distance from the minimum, and what it says."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning
from tables import Data, labels, long_double_value

from sosolve import LogisticRegression, NewtonCG, NewtonCholesky, SoftmaxRegression, Status
from sosolve.estimators import certificate, second
from sosolve.estimators.optimality import Optimality

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
def test_the_bound_is_never_below_the_true_gap(block, monkeypatch):
    """500 random problems: classes, penalties, weights, units, float32, CSR, solvers, few iterations.

    Half of them as if they were so large that a Hessian is out of the question.
    """
    if block % 2:
        monkeypatch.setattr(certificate, "SMALL_WORK", 0)
        monkeypatch.setattr(certificate, "MANY_PASSES", 20)
    useful = 0
    for seed in range(50 * block, 50 * block + 50):
        clf, bound, gap, value = check_bound(seed)
        assert bound >= gap, (seed, clf, bound, gap, repr(clf.optimality_))
        assert 0.0 <= bound <= value * (1 + (1e-4 if clf.coef_.dtype == np.float32 else 1e-9))
        useful += bound < 1e-3 * value
    assert useful >= 15  # of about 28 that converge with a penalty


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("max_iter", [1, 100])
def test_wide_data(dtype, K, max_iter):
    """The bound holds for the d coefficients although the problem is solved in n variables."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 700)).astype(dtype)
    y = np.arange(60) % K
    data = Data(X.astype(float), y, C=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = LogisticRegression(C=0.1, max_iter=max_iter).fit(X, y)
    best = LogisticRegression(C=0.1, solver=NewtonCG(tol=1e-12, gtol=1e-13)).fit(data.X, y)
    gap = float(softmax_value(data, clf) - softmax_value(data, best))
    assert gap <= clf.optimality_.bound <= clf.optimality_.value * (1 + 1e-6)
    if max_iter == 100:
        assert clf.optimality_.relative_bound < 1e-5


@pytest.mark.parametrize("settings", [{}, {"C": np.inf}, {"solver": "newton-cg"}, {"solver": "lbfgs"}])
def test_stopping_earlier_raises_the_bound(settings):
    """Each iteration from the third-last to the last lowers it, and half the decrement with it."""
    X, y = load_iris(return_X_y=True)
    y = y == 1  # not separable
    last = LogisticRegression(**settings).fit(X, y)
    bounds = [last.optimality_.bound]
    for count in (2, 3):
        with pytest.warns(ConvergenceWarning, match="MAX_ITER"):
            clf = LogisticRegression(**settings, max_iter=int(last.n_iter_[0]) - count).fit(X, y)
        bounds.append(clf.optimality_.bound)
    assert bounds[0] < bounds[1] < bounds[2]
    assert last.optimality_.decrement < bounds[1]


@pytest.mark.parametrize(
    ("settings", "small", "proof"),
    [
        ({"solver": "newton-cholesky"}, 0, "newton"),
        ({"solver": "newton-cg"}, 1e9, "newton"),
        ({"solver": "newton-cg"}, 0, "convexity"),
        ({"solver": "newton-cg", "max_iter": 2}, 0, "duality"),
        ({"solver": "newton-cg", "C": np.inf}, 0, "value"),
        ({"max_iter": 0}, 0, "value"),
    ],
)
def test_every_proof_is_reached(settings, small, proof, monkeypatch):
    """Each of the four ways to know, and its sentence."""
    monkeypatch.setattr(certificate, "SMALL_WORK", small)
    monkeypatch.setattr(second, "LITTLE_WORK", small)
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(**settings).fit(X, y == 1).optimality_
    assert found.proof == proof
    assert ("nothing proves" if proof == "value" else "at most") in str(found)
    assert f"proof={proof!r}" in repr(found)
    assert found.relative_bound == pytest.approx(found.bound / found.value)
    if settings == {"solver": "newton-cg", "C": np.inf}:
        assert "decrement estimates" in found.message


def test_a_newton_step_that_moves_margins_far_is_measured(monkeypatch):
    """Where the reach of the columns says nothing, one pass over X tells how far the margins move."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.standard_normal((80, 3)), [[300.0, 0, 0], [0, -300.0, 0]]])
    for K in (2, 3):
        y = np.arange(82) % K
        data = Data(X, y)
        with pytest.warns(ConvergenceWarning):
            clf = LogisticRegression(max_iter=2, solver="newton-cg").fit(X, y)
        best = LogisticRegression(tol=1e-10).fit(X, y)
        gap = float(softmax_value(data, clf) - softmax_value(data, best))
        assert gap <= clf.optimality_.bound <= clf.optimality_.value * (1 + 1e-12)
        soft = SoftmaxRegression(reference_class=0, max_iter=1, C=1e-3)
        with pytest.warns(ConvergenceWarning):
            assert soft.fit(X * 3, y).optimality_.bound > 0.0


def test_the_warning_tells_the_bound():
    """The message of a fit that was cut short has the bound in it."""
    X, y = load_breast_cancer(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match=r"objective 53\.7946, at most \d\.\de-08 of it above its minimum"):
        clf = LogisticRegression(max_iter=5).fit(X, y)
    assert clf.optimality_.status is Status.MAX_ITER
    assert "ended as MAX_ITER" in str(clf.optimality_)


def test_classes_without_weight():
    """A class of weight zero, and one class with all the weight: the bound holds, and nothing breaks."""
    X, y = load_iris(return_X_y=True)
    w = (y != 1).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for max_iter in (2, 100):
            clf = LogisticRegression(max_iter=max_iter).fit(X, y, sample_weight=w)
            two = SoftmaxRegression(tol=1e-10).fit(X[y != 1], y[y != 1])
            assert clf.optimality_.bound >= clf.optimality_.value - two.optimality_.value
        single = LogisticRegression().fit(X, y, sample_weight=(y == 2).astype(float)).optimality_
    assert single.bound <= single.value * (1 + 1e-12)
    assert single.status is Status.SEPARATED


def test_a_value_that_is_no_number_has_no_relative_bound():
    """NaN is not called 0."""
    lost = Optimality(np.nan, np.nan, np.nan, np.nan, Status.NONFINITE, "value")
    assert np.isnan(lost.relative_bound)
    assert "NONFINITE" in str(lost)


def test_it_survives_pickling_and_shows_in_html():
    """A frozen value without data."""
    clf = LogisticRegression().fit(*load_iris(return_X_y=True))
    again = pickle.loads(pickle.dumps(clf.optimality_))
    assert again.bound == clf.optimality_.bound
    assert "converged" in str(again)
    with pytest.raises(AttributeError):
        clf.optimality_.bound = 0.0


def test_passes_of_the_certificate():
    """One product with the Hessian at most where the fit converged; with conjugate gradients none."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30_000, 20))
    y = (X[:, 0] + rng.standard_normal(30_000) > 0).astype(int)
    counted = []
    original = certificate.certify

    def watched(problem, result, names):
        before = problem.objective.counts.n_passes
        found = original(problem, result, names)
        counted.append(problem.objective.counts.n_passes - before)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sosolve.estimators.base.certify", watched)
        assert LogisticRegression(solver="newton-cholesky").fit(X, y).optimality_.relative_bound < 1e-6
        assert LogisticRegression(solver="newton-cg").fit(X, y).optimality_.relative_bound < 1e-4
        with pytest.warns(ConvergenceWarning):
            LogisticRegression(max_iter=1).fit(X, y)
    assert counted[0] <= 1
    assert counted[1] == 0
    assert counted[2] <= 2


@pytest.mark.parametrize(
    "settings", [{"l1_ratio": 1.0}, {"l1_ratio": 0.5}, {"bounds": (0, 1)}, {"bounds": (0, np.inf)}]
)
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("max_iter", [0, 2, 200])
def test_duality_with_l1_and_bounds(settings, C, K, max_iter):
    """The duality gap is above the true one, and small where the fit converged."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((80, 6)) * 10.0 ** rng.uniform(-2, 2, 6)
    y = labels((X / X.std(axis=0)) @ rng.standard_normal((6, K)), rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(C=C, max_iter=max_iter, **settings).fit(X, y).optimality_
        best = LogisticRegression(C=C, tol=1e-8, max_iter=1000, **settings).fit(X, y).optimality_
    assert found.bound >= found.value - best.value
    if max_iter == 200:
        assert found.proof == "duality"
        assert found.relative_bound < 1e-2


def test_no_proof_from_a_factor_of_rounding():
    """Columns that agree to twelve digits, no intercept: the Hessian is one number four times, and proves nothing."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((300, 4))
    y = (X @ [1.0, -1.0, 0.5, 0.0] + rng.logistic(size=300) > 0).astype(int)
    near = LogisticRegression(C=1e4, fit_intercept=False, tol=1e-6).fit(X + 1e8, y)
    far = LogisticRegression(C=1e4, fit_intercept=False).fit(X + 1e12, y)
    assert near.optimality_.relative_bound < 1e-8
    assert far.optimality_.value - far.optimality_.bound <= near.optimality_.value

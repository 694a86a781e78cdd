"""L1, elastic net, penalty weights and bounds: the optimum, to the last zero."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
from proximal_problems import make_problems, value, violation
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from tables import Data

from sosolve import LogisticRegression, NewtonCG, ProximalNewton, SoftmaxRegression

PROBLEMS = make_problems()
#: Largest violation of the optimality conditions, in the standardised basis of the mean loss; with means of 1e6 a
#: coefficient in the user's units cannot be told from its neighbour more closely, in single precision neither.
LIMITS = {"means of 1e6": 1e-4, "float32": 1e-6}


def fit(data, C, l1_ratio, **params):
    """Return a tightly solved fit."""
    clf = LogisticRegression(C=C, l1_ratio=l1_ratio, tol=1e-7, **params)
    return clf.fit(data.X, data.y, sample_weight=data.weights)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 1e-3])
@pytest.mark.parametrize("name", sorted(set(PROBLEMS) - {"very wide", "digits"}))
def test_optimality_conditions_in_extended_precision(name, l1_ratio):
    """Zero is a subgradient, for strong and weak penalties."""
    data = PROBLEMS[name]
    for factor in (1.0, 1e-3, 1e3):
        clf = fit(data, factor * data.C, l1_ratio)
        assert clf.result_.converged
        assert violation(data, clf.coef_, clf.intercept_, factor * data.C, l1_ratio) < LIMITS.get(name, 1e-7)


@pytest.mark.parametrize("name", ["very wide", "digits"])
def test_optimality_conditions_with_a_working_set(name):
    """The same where most columns are never looked at twice."""
    data = PROBLEMS[name]
    clf = fit(data, data.C, 1.0)
    assert violation(data, clf.coef_, clf.intercept_, data.C, 1.0) < 1e-8
    assert 0 < np.count_nonzero(clf.coef_) < clf.coef_.size // 3


@pytest.mark.parametrize("name", ["dense", "sparse", "weighted", "three classes", "correlated", "iris"])
def test_no_worse_than_saga(name):
    """The objective is at most that of scikit-learn's saga, which has nearly arrived."""
    data = PROBLEMS[name]
    for l1_ratio in (1.0, 0.3):
        ours = fit(data, data.C, l1_ratio)
        theirs = SklearnLogisticRegression(C=data.C, l1_ratio=l1_ratio, solver="saga", tol=1e-9, max_iter=5000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs.fit(data.X, data.y, sample_weight=data.weights)
        mine, other = (value(data, m.coef_, m.intercept_, data.C, l1_ratio) for m in (ours, theirs))
        assert mine <= other * (1 + 1e-12)
        if name != "iris":
            assert other <= mine * (1 + 1e-7)
            np.testing.assert_array_equal(ours.coef_ == 0, np.abs(theirs.coef_) < 1e-6)


def test_same_as_liblinear_without_an_intercept():
    """liblinear penalises the intercept, so that only fits without one can be compared."""
    data = PROBLEMS["correlated"]
    ours = fit(data, data.C, 1.0, fit_intercept=False)
    theirs = SklearnLogisticRegression(
        C=data.C, l1_ratio=1.0, solver="liblinear", tol=1e-10, max_iter=100_000, fit_intercept=False
    ).fit(data.X, data.y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    assert ours.intercept_ == 0.0


@pytest.mark.parametrize("name", ["dense", "weighted", "sparse", "one-hot", "correlated", "wide", "collinear"])
def test_same_objective_and_zeros_as_glum(name):
    """A coordinate-descent solver of another package ends at the same place."""
    glum = pytest.importorskip("glum", reason="glum is a peer, not a dependency")
    data = PROBLEMS[name]
    total = len(data.y) if data.weights is None else data.weights.sum()
    for l1_ratio in (1.0, 0.5):
        ours = fit(data, data.C, l1_ratio)
        theirs = glum.GeneralizedLinearRegressor(
            family="binomial", alpha=1 / (data.C * total), l1_ratio=l1_ratio, gradient_tol=1e-10, max_iter=5000
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of its line search, near rounding
            theirs.fit(data.X, data.y.astype(float), sample_weight=data.weights)
        coef = np.asarray(theirs.coef_)[None, :]
        mine = value(data, ours.coef_, ours.intercept_, data.C, l1_ratio)
        other = value(data, coef, np.array([theirs.intercept_]), data.C, l1_ratio)
        assert abs(mine - other) <= 1e-8 * other
        assert mine <= other * (1 + 1e-13)
        if name != "collinear":
            np.testing.assert_array_equal(ours.coef_ == 0, np.abs(coef) < 1e-7)


def test_everything_is_zero_exactly_when_it_should_be():
    """Below the critical C all coefficients are 0, just above it one is not."""
    X, y = load_breast_cancer(return_X_y=True)
    critical = 1 / np.abs(X.T @ (y - y.mean())).max()
    for solver in ("auto", "saga", "liblinear", "proximal-newton"):
        clf = LogisticRegression(C=0.999 * critical, l1_ratio=1.0, solver=solver).fit(X, y)
        assert np.count_nonzero(clf.coef_) == 0
        np.testing.assert_allclose(clf.intercept_, np.log(y.mean() / (1 - y.mean())), rtol=1e-6)
    assert np.count_nonzero(LogisticRegression(C=1.01 * critical, l1_ratio=1.0).fit(X, y).coef_) == 1
    assert np.count_nonzero(LogisticRegression(C=1e-300, l1_ratio=0.5).fit(X, y).coef_) == 0


def test_huge_c_is_no_penalty():
    """C = 1e12 gives the coefficients of C = inf, which ignores l1_ratio."""
    data = PROBLEMS["dense"]
    free = LogisticRegression(C=np.inf, tol=1e-8).fit(data.X, data.y)
    np.testing.assert_allclose(fit(data, 1e12, 1.0).coef_, free.coef_, rtol=1e-6)
    ignored = LogisticRegression(C=np.inf, l1_ratio=1.0, tol=1e-8).fit(data.X, data.y)
    np.testing.assert_array_equal(ignored.coef_, free.coef_)


def test_a_tight_tolerance_reaches_a_gap_of_1e_10():
    """Newton converges quadratically once the zeros are known: tol=1e-6 leaves nothing visible."""
    data = PROBLEMS["breast cancer"]
    loose, tight = (LogisticRegression(l1_ratio=1.0, tol=tol).fit(data.X, data.y) for tol in (1e-5, 1e-9))
    values = [value(data, m.coef_, m.intercept_, 1.0, 1.0) for m in (loose, tight)]
    assert 0 <= values[0] / values[1] - 1 < 1e-10
    decrements = tight.history_.column("decrement")[-3:]
    assert decrements[1] < 0.05 * decrements[0]
    assert decrements[2] < 1e-2 * decrements[1]


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_weights_are_repetitions(l1_ratio):
    """Integer weights equal repeated rows."""
    data = PROBLEMS["weighted"]
    repeated = np.repeat(np.arange(len(data.y)), data.weights.astype(int))
    omega = np.linspace(0, 2, data.X.shape[1])
    make = LogisticRegression(l1_ratio=l1_ratio, tol=1e-8, penalty_weights=omega)
    weighted = clone(make).fit(data.X, data.y, sample_weight=data.weights)
    np.testing.assert_allclose(weighted.coef_, clone(make).fit(data.X[repeated], data.y[repeated]).coef_, rtol=1e-7)


# ---------------------------------------------------------------------- penalty weights


@pytest.mark.parametrize("l1_ratio", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("name", ["dense", "sparse", "three classes", "wide"])
def test_penalty_weights(name, l1_ratio):
    """Each column has the penalty it was given; 0 leaves it free."""
    data = PROBLEMS[name]
    omega = np.random.default_rng(3).choice([0.5, 1.0, 3.0], data.X.shape[1])
    omega[0] = 0.0
    clf = fit(data, data.C, l1_ratio, penalty_weights=omega)
    assert violation(data, clf.coef_, clf.intercept_, data.C, l1_ratio, omega) < 1e-8
    assert (clf.coef_[:, 0] != 0).all()
    solver = "proximal-newton" if l1_ratio else "newton-cholesky"
    assert clf.solver_.name == solver or l1_ratio == 0.0


def test_equal_penalty_weights_are_a_factor_of_c():
    """Weights of 2 equal half of C."""
    data = PROBLEMS["dense"]
    for l1_ratio in (0.0, 0.5):
        double = fit(data, 1.0, l1_ratio, penalty_weights=np.full(8, 2.0))
        np.testing.assert_allclose(double.coef_, fit(data, 0.5, l1_ratio).coef_, rtol=1e-8)


@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.ones(3), "shape"), (-np.ones(8), "penalty_weights"), (np.full(8, np.nan), "penalty_weights"), (2.0, "array")],
)
def test_wrong_penalty_weights(weights, message):
    """The message names the argument and what to pass."""
    data = PROBLEMS["dense"]
    with pytest.raises(ValueError, match=message):
        LogisticRegression(penalty_weights=weights).fit(data.X, data.y)


# ---------------------------------------------------------------------- bounds


@pytest.mark.parametrize("C", [1.0, np.inf])
@pytest.mark.parametrize("name", ["dense", "sparse", "weighted", "fortran", "correlated"])
def test_bounds_against_lbfgsb(name, C):
    """SciPy's L-BFGS-B finds no lower value within the bounds, and the conditions of optimality hold."""
    data = PROBLEMS[name]
    d = data.X.shape[1]
    lower, upper = np.full(d, -0.2), np.full(d, np.inf)
    lower[::2], upper[1::3] = -np.inf, 0.1
    clf = fit(data, C, 0.0, bounds=(lower, upper))
    assert ((clf.coef_ >= lower) & (clf.coef_ <= upper)).all()
    assert violation(data, clf.coef_, clf.intercept_, C, 0.0, 1.0, lower, upper) < 1e-7
    assert (clf.coef_ == 0.1).any()

    def f(v):
        return float(value(data, v[None, :-1], v[-1:], C, 0.0))

    box = [*zip(lower, upper, strict=True), (None, None)]
    found = scipy.optimize.minimize(f, np.zeros(d + 1), method="L-BFGS-B", bounds=box, options={"maxiter": 300})
    assert f(np.r_[clf.coef_[0], clf.intercept_]) <= found.fun * (1 + 1e-12)


@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
def test_bounds_with_l1(l1_ratio):
    """Coefficients that must not be negative, with an L1 part, binary and per class."""
    for name in ("dense", "three classes", "very wide"):
        data = PROBLEMS[name]
        clf = fit(data, data.C, l1_ratio, bounds=(0, np.inf))
        assert (clf.coef_ >= 0).all()
        assert (clf.coef_ > 0).any()
        assert violation(data, clf.coef_, clf.intercept_, data.C, l1_ratio, 1.0, 0.0) < 1e-7


def test_bounds_without_a_penalty_keep_softmax_within_them():
    """Coefficients of softmax are not centred over the classes where that would leave the bounds."""
    data = PROBLEMS["three classes"]
    clf = fit(data, np.inf, 0.0, bounds=(0.0, 0.3))
    assert ((clf.coef_ >= 0.0) & (clf.coef_ <= 0.3)).all()
    assert violation(data, clf.coef_, clf.intercept_, np.inf, 0.0, 1.0, 0.0, 0.3) < 1e-7
    np.testing.assert_allclose(clf.intercept_.sum(), 0.0, atol=1e-12)


def test_equal_bounds_fix_a_coefficient():
    """lower = upper: the coefficient is that, the others adapt."""
    data = PROBLEMS["dense"]
    lower, upper = np.full(8, -np.inf), np.full(8, np.inf)
    lower[2] = upper[2] = 0.25
    clf = fit(data, 1.0, 0.0, bounds=(lower, upper))
    assert clf.coef_[0, 2] == 0.25
    assert violation(data, clf.coef_, clf.intercept_, 1.0, 0.0, 1.0, lower, upper) < 1e-8


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((1.0, 0.0), "lower"),
        ((0.0,), "pair"),
        ((np.zeros(3), 1.0), "lower"),
        ("ab", "bounds"),
        ((np.inf, np.inf), "expected room for a finite number"),
        ((-np.inf, -np.inf), "expected room for a finite number"),
    ],
)
def test_wrong_bounds(bounds, message):
    """The message names the argument and what to pass."""
    data = PROBLEMS["dense"]
    with pytest.raises(ValueError, match=message):
        LogisticRegression(bounds=bounds).fit(data.X, data.y)


# ---------------------------------------------------------------------- separation and rank


def test_separation_under_bounds():
    """Bounds that hold the coefficients give an optimum; a sign alone does not."""
    X = np.linspace(-1, 1, 40)[:, None]
    y = (X[:, 0] > 0).astype(int)
    held = LogisticRegression(C=np.inf, bounds=(-5, 5), tol=1e-8).fit(X, y)
    assert held.coef_[0, 0] == 5.0
    assert held.result_.converged
    with pytest.warns(ConvergenceWarning, match="SEPARATED"):
        LogisticRegression(C=np.inf, bounds=(0, np.inf)).fit(X, y)


def test_separation_by_a_column_without_a_penalty():
    """A penalty on the other column does not hold the one that separates."""
    rng = np.random.default_rng(0)
    X = np.c_[np.linspace(-1, 1, 40), rng.standard_normal(40)]
    y = (X[:, 0] > 0).astype(int)
    for l1_ratio in (0.0, 0.5):
        with pytest.warns(ConvergenceWarning, match="SEPARATED"):
            LogisticRegression(penalty_weights=[0.0, 1.0], l1_ratio=l1_ratio).fit(X, y)


def test_duplicate_columns():
    """The optimum is not unique under L1, its value is."""
    data = PROBLEMS["dense"]
    twice = Data(np.c_[data.X, data.X, data.X[:, :3]], data.y)
    once, clf = fit(data, 1.0, 1.0), fit(twice, 1.0, 1.0)
    assert violation(twice, clf.coef_, clf.intercept_, 1.0, 1.0) < 1e-8
    assert clf.result_.value == pytest.approx(once.result_.value, rel=1e-12)


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_duplicate_columns_in_other_units(l1_ratio):
    """Copies whose units differ have strengths that differ a little, along directions without curvature."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 25))
    y = (X[:, 0] - X[:, 1] + rng.logistic(size=300) > 0).astype(int)
    units, others = 10.0 ** rng.uniform(-4, 4, 25), 10.0 ** rng.uniform(-3, 3, 25)
    Z = np.c_[X * units, X * units * others, X * units]
    clf = LogisticRegression(C=1e4, l1_ratio=l1_ratio, max_iter=30).fit(Z, y)  # warnings are errors
    assert sum(record.inner_iterations for record in clf.history_) < 600
    assert clf.optimality_.relative_bound < 1e-7
    tight = LogisticRegression(C=1e4, l1_ratio=l1_ratio, max_iter=30, tol=1e-7).fit(Z, y)
    assert clf.result_.value == pytest.approx(tight.result_.value, rel=1e-8)


@pytest.mark.parametrize("storage", [sp.csc_matrix, sp.csr_matrix.toarray])
def test_more_than_ten_thousand_coefficients_that_are_not_zero(storage):
    """No p x p matrix is formed: the memory is that of X and some vectors."""
    rng = np.random.default_rng(0)
    X = storage(sp.random(30, 12_000, 0.2, format="csr", random_state=0))
    y = (rng.standard_normal(30) > 0).astype(int)
    tracemalloc.start()
    clf = LogisticRegression(C=0.1, l1_ratio=1e-4, tol=1e-3, solver=ProximalNewton(dense_size=300)).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.count_nonzero(clf.coef_) > 10_000
    assert peak < 0.8 * 12_000**2
    assert clf.optimality_.bound < 1e-5 * clf.optimality_.value


# ---------------------------------------------------------------------- scikit-learn's contract


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "trust-region", "bfgs", NewtonCG()])
def test_solvers_for_smooth_objectives_refuse(solver):
    """The words that users of scikit-learn match on."""
    data = PROBLEMS["dense"]
    for params in ({"l1_ratio": 1.0}, {"l1_ratio": 0.5}, {"bounds": (0, 1)}):
        with pytest.raises(ValueError, match=r"Solver .* supports only"):
            LogisticRegression(solver=solver, **params).fit(data.X, data.y)


def test_notes_say_what_ran():
    """`solver_` and the notes name proximal Newton, and whom it stands in for."""
    data = PROBLEMS["dense"]
    clf = LogisticRegression(l1_ratio=1.0, solver="saga").fit(data.X, data.y)
    assert clf.solver_ == ProximalNewton(tol=1e-4, max_iter=100)
    assert "stands in for 'saga'" in clf.history_.notes["solver"]
    own = LogisticRegression(l1_ratio=1.0, solver=ProximalNewton(working_set=10, tol=1e-9)).fit(data.X, data.y)
    assert own.solver_.tol == 1e-9
    assert own.history_.notes["solver"] == "given as an instance"


@pytest.mark.parametrize("name", ["dense", "three classes", "very wide"])
def test_warm_start(name):
    """From the optimum nothing moves; from a neighbouring C few iterations are needed."""
    data = PROBLEMS[name]
    clf = LogisticRegression(C=data.C, l1_ratio=1.0, warm_start=True, tol=1e-6).fit(data.X, data.y)
    first, coef = clf.n_iter_[0], clf.coef_
    clf.fit(data.X, data.y)
    assert clf.n_iter_[0] <= 2
    np.testing.assert_allclose(clf.coef_, coef, atol=1e-7)
    cold = LogisticRegression(C=1.2 * data.C, l1_ratio=1.0, tol=1e-6).fit(data.X, data.y)
    clf.set_params(C=1.2 * data.C).fit(data.X, data.y)
    assert clf.n_iter_[0] <= first
    assert clf.result_.value == pytest.approx(cold.result_.value, rel=1e-10)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_dtype_storage_and_pickle(kind):
    """float32 stays; dense, CSR and CSC agree; a fitted classifier survives pickling; sparsify works."""
    data = PROBLEMS["sparse"]
    X = data.X.astype(kind)
    fits = [LogisticRegression(l1_ratio=1.0).fit(form, data.y) for form in (X, sp.csc_matrix(X), X.toarray())]
    for clf in fits:
        assert clf.coef_.dtype == kind
        np.testing.assert_allclose(clf.coef_, fits[0].coef_, rtol=1e-4, atol=1e-6)
    again = pickle.loads(pickle.dumps(fits[0])).sparsify()
    assert again.coef_.nnz == np.count_nonzero(fits[0].coef_)
    np.testing.assert_array_equal(again.predict(X), fits[0].predict(X))


@pytest.mark.parametrize("reference", [None, 1])
def test_softmax_regression(reference):
    """L1, weights and bounds for a row of coefficients for each class, two classes too, and against a reference."""
    for name in ("dense", "three classes"):
        data = PROBLEMS[name]
        omega = np.linspace(0.5, 2.0, 8)
        clf = SoftmaxRegression(
            l1_ratio=1.0, reference_class=reference, penalty_weights=omega, bounds=(-0.5, 0.5), tol=1e-8, C=0.1
        ).fit(data.X, data.y)
        assert (np.abs(clf.coef_) <= 0.5).all()
        assert (clf.coef_ == 0).any()
        if reference is None and data.K > 2:
            assert violation(data, clf.coef_, clf.intercept_, 0.1, 1.0, omega, -0.5, 0.5) < 1e-8
        if reference is not None:
            assert (clf.coef_[reference] == 0).all()


def test_large_problems_begin_on_a_sample():
    """The start on a sample of the rows keeps the penalty, and the optimum does not depend on it."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60_000, 40))
    y = (X[:, :3].sum(axis=1) + rng.logistic(size=60_000) > 0).astype(int)
    clf = LogisticRegression(C=1e-3, l1_ratio=1.0, tol=1e-7).fit(X, y)
    assert "% of the rows" in clf.history_.notes["start"]
    assert np.count_nonzero(clf.coef_) < 20
    saga = LogisticRegression(C=1e-3, l1_ratio=1.0, tol=1e-7, solver="saga").fit(X, y)
    np.testing.assert_allclose(clf.coef_, saga.coef_, atol=1e-6)

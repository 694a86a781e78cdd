"""scikit-learn's array-API dispatch: what comes in as another library's array stays there, and the numbers agree."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.utils.estimator_checks import check_array_api_input_and_values, check_array_api_mixed_inputs
from tables import make_tables

from sosolve import LogisticRegression, LogisticRegressionCV, SoftmaxRegression

xs = pytest.importorskip("array_api_strict", reason="array-api-strict comes with the extra test")

SOLVERS = ["auto", "newton-cg", "newton-cholesky", "trust-region", "bfgs", "lbfgs"]
TABLES = {name: data for name, data in make_tables().items() if isinstance(data.X, np.ndarray)}
#: Not the default one: an array made without naming the device cannot be combined with the others.
DEVICE = xs.Device("device1")


@pytest.fixture(autouse=True)
def dispatch():
    """Turn scikit-learn's dispatch on."""
    with sklearn.config_context(array_api_dispatch=True):
        yield


def strict(a):
    """Return an array of the strict library on its second device."""
    return None if a is None else xs.asarray(np.ascontiguousarray(a), device=DEVICE)


def host(a):
    """Return a NumPy array."""
    return np.asarray(xs.asarray(a, device=xs.Device("CPU_DEVICE")))


def assert_strict(a, dtype=None):
    """Fail where the array has left the library or the device."""
    assert isinstance(a, type(strict(np.zeros(1))))
    assert a.device == DEVICE
    assert dtype is None or a.dtype == dtype


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("solver", ["auto", "newton-cholesky", "lbfgs"])
def test_same_coefficients_as_numpy(name, solver):
    """Every table: the same iterations and coefficients in the library of X as in NumPy."""
    data = TABLES[name]
    with sklearn.config_context(array_api_dispatch=False):
        there = LogisticRegression(C=data.C, solver=solver, max_iter=2000)
        there.fit(data.X, data.y, sample_weight=data.weights)
    here = LogisticRegression(C=data.C, solver=solver, max_iter=2000)
    here.fit(strict(data.X), strict(data.y), sample_weight=strict(data.weights))
    for attribute in ("coef_", "intercept_", "n_iter_", "classes_"):
        assert_strict(getattr(here, attribute))
    scale = np.abs(there.coef_).max()
    np.testing.assert_allclose(host(here.coef_), there.coef_, rtol=1e-5, atol=1e-5 * scale)
    assert here.result_.value == pytest.approx(there.result_.value, rel=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outputs_stay_where_x_is(solver, dtype):
    """Scores, probabilities and labels have the library, device and dtype that scikit-learn gives them."""
    X, y = load_iris(return_X_y=True)
    X = X.astype(dtype)
    with sklearn.config_context(array_api_dispatch=False):
        there = LogisticRegression(solver=solver, max_iter=500).fit(X, y)
        expected = there.predict_proba(X)
    here = LogisticRegression(solver=solver, max_iter=500).fit(strict(X), strict(y))
    for method in ("decision_function", "predict_proba", "predict_log_proba"):
        assert_strict(getattr(here, method)(strict(X)), getattr(xs, np.dtype(dtype).name))
    np.testing.assert_allclose(host(here.predict_proba(strict(X))), expected, atol=1e-5)
    labels = here.predict(strict(X))
    assert_strict(labels, xs.int64)
    np.testing.assert_array_equal(host(labels), there.predict(X))
    assert here.score(strict(X), strict(y)) == there.score(X, y)


def test_labels_elsewhere():
    """Strings, and numbers of another library: classes_ stay with the labels, all else goes with X."""
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    clf = LogisticRegression().fit(strict(X), names)
    assert clf.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert_strict(clf.coef_)
    assert clf.predict(strict(X)).dtype.kind == "U"
    numbers = LogisticRegression().fit(strict(X), y, sample_weight=np.ones(150))
    assert isinstance(numbers.classes_, np.ndarray)
    assert_strict(numbers.predict(strict(X)), xs.int64)
    back = LogisticRegression().fit(X, strict(y), sample_weight=strict(np.ones(150)))
    assert isinstance(back.coef_, np.ndarray)
    assert isinstance(back.predict(X), np.ndarray)
    booleans = LogisticRegression().fit(strict(X), strict(y == 1))
    assert_strict(booleans.predict(strict(X)), xs.bool)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 5.0, 2: 0.5}])
def test_weights(class_weight):
    """Sample weights times class weights, and zero weights."""
    X, y = load_iris(return_X_y=True)
    w = np.random.default_rng(0).integers(0, 3, 150).astype(float)
    here = LogisticRegression(class_weight=class_weight, tol=1e-8).fit(strict(X), strict(y), strict(w))
    there = LogisticRegression(class_weight=class_weight, tol=1e-8).fit(X, y, w)
    np.testing.assert_allclose(host(here.coef_), there.coef_, rtol=1e-6, atol=1e-8)
    with pytest.raises(ValueError, match="Negative values"):
        LogisticRegression().fit(strict(X), strict(y), strict(-w))


@pytest.mark.parametrize("reference", [None, 0, 2])
def test_softmax_regression(reference):
    """A row for each class and a reference class, with a warm start from either library."""
    X, y = load_iris(return_X_y=True)
    there = SoftmaxRegression(reference_class=reference, tol=1e-8).fit(X, y)
    here = SoftmaxRegression(reference_class=reference, tol=1e-8, warm_start=True).fit(strict(X), strict(y))
    assert_strict(here.coef_, xs.float64)
    np.testing.assert_allclose(host(here.coef_), there.coef_, rtol=1e-6, atol=1e-8)
    assert int(here.fit(strict(X), strict(y)).n_iter_[0]) == 1
    assert int(here.fit(X, y).n_iter_[0]) == 1
    assert isinstance(here.coef_, np.ndarray)


def test_two_classes_against_a_reference():
    """One output whose reference is either class."""
    X, y = load_iris(return_X_y=True)
    X, y = X[50:], y[50:]
    for reference in (1, 2):
        there = SoftmaxRegression(reference_class=reference, tol=1e-8).fit(X, y)
        here = SoftmaxRegression(reference_class=reference, tol=1e-8).fit(strict(X), strict(y))
        np.testing.assert_allclose(host(here.coef_), there.coef_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("intercept", [True, False])
def test_wide_data_in_the_row_space(dtype, intercept):
    """Fewer rows than columns: the thin factor is formed in the library of X, the start mapped into it."""
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((60, 2500)) + 3.0).astype(dtype)
    y = (X[:, 0] > 3.0).astype(int) + (X[:, 1] > 3.0)
    there = LogisticRegression(tol=1e-6, fit_intercept=intercept).fit(X, y)
    here = LogisticRegression(tol=1e-6, fit_intercept=intercept, warm_start=True).fit(strict(X), strict(y))
    assert "thin factor" in here.history_.notes["solver"]
    np.testing.assert_allclose(host(here.coef_), there.coef_, rtol=1e-3, atol=1e-6)
    assert int(here.fit(strict(X), strict(y)).n_iter_[0]) <= 2


def test_start_on_a_sample_of_the_rows():
    """Large data begin on a sample that is taken in the library of X."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((250_000, 8))
    y = (X @ rng.standard_normal(8) + rng.logistic(size=250_000) > 0).astype(int)
    w = rng.random(250_000)
    here = LogisticRegression(solver="auto").fit(strict(X), strict(y), strict(w))
    assert "of the rows" in here.history_.notes["start"]
    there = LogisticRegression().fit(X, y, w)
    np.testing.assert_allclose(host(here.coef_), there.coef_, rtol=1e-4, atol=1e-5)


def test_one_far_outlier():
    """The basis follows the bulk of the rows in every library."""
    data = TABLES["dense"]
    X = data.X.copy()
    X[5, 2] = 1e10
    for w in (None, np.ones(300)):
        here = LogisticRegression().fit(strict(X), strict(data.y), strict(w))
        there = LogisticRegression().fit(X, data.y, w)
        np.testing.assert_allclose(host(here.coef_), there.coef_, rtol=1e-6, atol=1e-12)


def test_another_library_at_predict():
    """The message names both libraries and the method."""
    X, y = load_breast_cancer(return_X_y=True)
    clf = LogisticRegression().fit(strict(X), strict(y))
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(ValueError, match=rf"LogisticRegression.{method}\(\) must use the same namespace"):
            getattr(clf, method)(X)


def test_bad_values_are_found():
    """NaN and one class, as with NumPy."""
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="contains NaN"):
        LogisticRegression().fit(strict(np.where(X > 7.8, np.nan, X)), strict(y))
    with pytest.raises(ValueError, match="one class only"):
        LogisticRegression().fit(strict(X), strict(np.zeros(150, dtype=int)))


def test_what_is_for_numpy_alone():
    """Cross-validation and L1: said, with what to do, and not claimed by the tags."""
    X, y = load_iris(return_X_y=True)
    cv = LogisticRegressionCV(Cs=2, cv=2, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False)
    for data, labels in ((strict(X), strict(y)), (strict(X), y), (X, strict(y))):
        with pytest.raises(ValueError, match=r"received X as .*LogisticRegressionCV is for NumPy arrays.*convert them"):
            cv.fit(data, labels)
    with pytest.raises(ValueError, match=r"received X as array_api_strict.*L1 part.*convert X"):
        LogisticRegression(l1_ratio=1.0).fit(strict(X), strict(y))
    assert not any(sklearn.utils.get_tags(e).array_api_support for e in (cv, LogisticRegression(l1_ratio=1.0)))
    assert cv.fit(X, y).score(X, y) > 0.9


def test_pickle_and_separation():
    """A fit on another device is pickled without its data; separation is told as with NumPy."""
    X, y = load_iris(return_X_y=True)
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="SEPARATED"):
        clf = LogisticRegression(C=np.inf).fit(strict(X[:100]), strict(y[:100]))
    assert clf.result_.point is None
    assert clf.optimality_.separation == "complete"
    assert isinstance(clf.optimality_.direction, np.ndarray)
    assert len(pickle.dumps(clf.history_)) > 0


def test_dependent_columns():
    """Without a penalty: the columns are named and the solution is that of least norm, in the library of X."""
    data = TABLES["dense"]
    X = np.c_[data.X, data.X[:, 0] + data.X[:, 1]]
    here = LogisticRegression(C=np.inf, tol=1e-8).fit(strict(X), strict(data.y))
    there = LogisticRegression(C=np.inf, tol=1e-8).fit(X, data.y)
    assert here.optimality_.dependent == there.optimality_.dependent != ()
    assert_strict(here.coef_)
    np.testing.assert_allclose(host(here.coef_), there.coef_, rtol=1e-5, atol=1e-7)


def test_without_dispatch_arrays_are_converted():
    """As in scikit-learn: what NumPy can read becomes a NumPy array."""
    X, y = load_iris(return_X_y=True)
    with sklearn.config_context(array_api_dispatch=False):
        clf = LogisticRegression().fit(xs.asarray(X), xs.asarray(y))
    assert isinstance(clf.coef_, np.ndarray)
    np.testing.assert_array_equal(clf.coef_, LogisticRegression().fit(X, y).coef_)


@pytest.mark.parametrize("estimator", [LogisticRegression(tol=1e-9), SoftmaxRegression(tol=1e-9)], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scikit_learns_check_of_values(estimator, dtype):
    """scikit-learn's check with values and weights, on the strict library."""
    name = type(estimator).__name__
    check_array_api_input_and_values(name, estimator, "array_api_strict", dtype_name=dtype, check_sample_weight=True)


def test_torch_on_the_processor():
    """The same with PyTorch where it is installed, mixed inputs too."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from sklearn.utils._array_api import NamespaceAndDevice

    X, y = load_iris(return_X_y=True)
    for solver in SOLVERS:
        clf = LogisticRegression(solver=solver, max_iter=500).fit(torch.asarray(X), torch.asarray(y))
        there = LogisticRegression(solver=solver, max_iter=500).fit(X, y)
        np.testing.assert_allclose(clf.coef_.numpy(), there.coef_, rtol=1e-5, atol=1e-6)
    check_array_api_mixed_inputs(
        "LogisticRegression",
        LogisticRegression(),
        NamespaceAndDevice("torch", "cpu"),
        NamespaceAndDevice("array_api_strict", "device1"),
    )

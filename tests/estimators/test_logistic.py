"""LogisticRegression and SoftmaxRegression: the same optimum as scikit-learn, and its contract."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ProgressBar
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import Data, long_double_value, make_tables

import sosolve
from sosolve import LBFGS, LogisticRegression, NewtonCG, NewtonCholesky, SoftmaxRegression, Solver, Status, TrustRegion

TABLES = make_tables()
REAL = {
    "breast cancer": load_breast_cancer(return_X_y=True),
    "digits": load_digits(return_X_y=True),
    "wine": load_wine(return_X_y=True),
    "iris": load_iris(return_X_y=True),
}


def tables_and_real():
    """Return all data sets by name."""
    return {**TABLES, **{name: Data(*pair) for name, pair in REAL.items()}}


@pytest.mark.parametrize("name", sorted(tables_and_real()))
def test_default_settings_reach_the_optimum_without_a_warning(name):
    """Relative gap <= 1e-6 at default settings, in extended precision, warnings being errors."""
    data = tables_and_real()[name]
    found = LogisticRegression(C=data.C).fit(data.X, data.y, sample_weight=data.weights)
    best = LogisticRegression(C=data.C, solver=NewtonCholesky(tol=1e-8, gtol=1e-9, max_iter=200))
    best.fit(data.X, data.y, sample_weight=data.weights)
    value = long_double_value(data, found.coef_.astype(float), found.intercept_.astype(float))
    minimum = long_double_value(data, best.coef_.astype(float), best.intercept_.astype(float))
    assert found.result_.converged
    assert value / minimum - 1 <= 1e-6


@pytest.mark.parametrize("name", ["dense", "weighted", "one-hot", "three classes", "ten classes", "wide", "sparse"])
def test_same_coefficients_as_scikit_learn(name):
    """Tightly solved, both give the same coefficients and probabilities."""
    data = TABLES[name]
    ours = LogisticRegression(C=data.C, tol=1e-9).fit(data.X, data.y, sample_weight=data.weights)
    theirs = SklearnLogisticRegression(C=data.C, tol=1e-10, max_iter=10_000, solver="newton-cg")
    theirs.fit(data.X, data.y, sample_weight=data.weights)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-5, atol=1e-6)
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape
    np.testing.assert_allclose(ours.predict_proba(data.X), theirs.predict_proba(data.X), atol=1e-6)
    np.testing.assert_array_equal(ours.predict(data.X), theirs.predict(data.X))
    np.testing.assert_allclose(ours.decision_function(data.X), theirs.decision_function(data.X), atol=1e-5)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 5.0, 2: 0.5}])
def test_class_weight(class_weight):
    """The same as scikit-learn's, with sample weights too."""
    X, y = REAL["iris"]
    w = np.random.default_rng(0).random(150)
    ours = LogisticRegression(class_weight=class_weight, tol=1e-9).fit(X, y, w)
    theirs = SklearnLogisticRegression(class_weight=class_weight, tol=1e-10, max_iter=10_000).fit(X, y, w)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", ["auto", "newton-cg", "newton-cholesky", "trust-region", "bfgs", "lbfgs"])
def test_weights_are_repetitions(solver):
    """Integer weights equal repeated rows, zero weights removed rows, in any units of the weights."""
    rng = np.random.default_rng(0)
    X, y, w = rng.standard_normal((60, 4)), rng.integers(0, 3, 60), rng.integers(0, 4, 60)
    settings = dict(solver=solver, tol=1e-8, max_iter=1000)
    weighted = LogisticRegression(**settings).fit(X, y, sample_weight=w)
    repeated = LogisticRegression(**settings).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-7, atol=1e-9)
    for unit in (1e-200, 1e200):
        scaled = LogisticRegression(**settings, C=1.0 / unit).fit(X, y, sample_weight=w * unit)
        np.testing.assert_allclose(scaled.coef_, weighted.coef_, rtol=1e-6, atol=1e-8)


def test_float32_is_kept_and_solved_to_its_precision():
    """coef_ has the dtype of X; the sums run in double precision."""
    X, y = REAL["breast cancer"]
    single = LogisticRegression().fit(X.astype(np.float32), y)
    double = LogisticRegression().fit(X.astype(np.float32).astype(np.float64), y)
    assert single.coef_.dtype == single.intercept_.dtype == np.float32
    assert single.result_.value == pytest.approx(double.result_.value, rel=1e-12)
    assert single.predict_proba(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("wrap", [np.asfortranarray, lambda a: a[::-1][::-1], lambda a: a.astype(">f8"), list])
def test_memory_layouts(wrap):
    """Layouts, strides and byte orders give the same result, and X is never changed."""
    X, y = REAL["iris"]
    expected = LogisticRegression().fit(X, y).coef_
    wrapped = wrap(X.copy())
    before = copy.deepcopy(wrapped)
    np.testing.assert_allclose(LogisticRegression().fit(wrapped, y).coef_, expected, rtol=1e-8)
    np.testing.assert_array_equal(np.asarray(wrapped), np.asarray(before))


def test_read_only_and_memory_mapped(tmp_path):
    """Neither is written to."""
    X, y = REAL["iris"]
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    fixed = X.copy()
    fixed.flags.writeable = False
    for data in (mapped, fixed):
        assert LogisticRegression().fit(data, y).score(data, y) > 0.95


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array, sp.lil_matrix])
def test_sparse_formats(kind):
    """Every format, with explicit zeros and 64-bit indices, gives the dense result."""
    X, y = REAL["iris"]
    expected = LogisticRegression(tol=1e-8).fit(X, y)
    S = kind(X)
    found = LogisticRegression(tol=1e-8).fit(S, y)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.predict_proba(S), expected.predict_proba(X), atol=1e-8)
    if kind is sp.csr_matrix:
        S.indices, S.indptr = S.indices.astype(np.int64), S.indptr.astype(np.int64)
        S.data[3] = 0.0
        dense = S.toarray()
        wide = LogisticRegression(tol=1e-8).fit(S, y)
        np.testing.assert_allclose(wide.coef_, LogisticRegression(tol=1e-8).fit(dense, y).coef_, rtol=1e-6, atol=1e-8)


def test_damaged_sparse_matrix():
    """Indices out of range are an error, not a crash."""
    X, y = REAL["iris"]
    S = sp.csr_matrix(X)
    S.indices = S.indices.copy()
    S.indices[7] = 1000
    with pytest.raises(ValueError, match="index"):
        LogisticRegression().fit(S, y)


def test_labels_of_any_kind():
    """Strings, booleans, negative and huge numbers; classes_ in sorted order."""
    X, y = REAL["iris"]
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    clf = LogisticRegression().fit(X, names)
    assert clf.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert set(clf.predict(X)) <= set(names)
    assert LogisticRegression().fit(X, y == 1).predict(X).dtype == bool
    far = np.array([-5, 2**60, 7])[y]
    assert LogisticRegression().fit(X, far).classes_.tolist() == [-5, 7, 2**60]


def test_probabilities_of_extreme_scores():
    """Scores of 1e4 give probabilities of 0 and 1 and finite logarithms."""
    for y in ([0, 1, 0, 1], [0, 1, 2, 1]):
        clf = LogisticRegression().fit(np.arange(8.0).reshape(4, 2), y)
        clf.coef_ = clf.coef_ * 1e4 / np.abs(clf.coef_).max()
        X = np.array([[1.0, 1.0], [-1.0, -1.0]])
        P, logs = clf.predict_proba(X), clf.predict_log_proba(X)
        np.testing.assert_allclose(P.sum(axis=1), 1.0)
        assert np.isfinite(logs).all()
        assert logs.min() < -1000


def test_pandas_feature_names():
    """Names are remembered and checked at predict."""
    pandas = pytest.importorskip("pandas")
    X, y = REAL["iris"]
    frame = pandas.DataFrame(X, columns=list("abcd"))
    clf = LogisticRegression().fit(frame, y)
    assert clf.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[list("dcba")])


def test_attributes_and_diagnostics():
    """Shapes and types of LOGISTIC's contract, and ours besides."""
    X, y = REAL["iris"]
    clf = LogisticRegression().fit(X, y)
    assert clf.n_iter_.dtype == np.int32
    assert clf.n_iter_.shape == (1,)
    assert clf.n_iter_[0] == clf.result_.n_iter == len(clf.history_) - 1
    assert isinstance(clf.solver_, Solver)
    assert clf.solver_.tol == 1e-4
    assert "solver" in clf.history_.notes
    assert clf.result_.status is Status.CONVERGED
    assert clf.result_.point is None
    n = len(y)
    data = Data(X, y)
    assert clf.result_.value == pytest.approx(float(long_double_value(data, clf.coef_, clf.intercept_)), rel=1e-12)
    assert n * clf.result_.value > 0
    assert "LogisticRegression" in clf._repr_html_()


def test_constructor_parameters_are_never_changed():
    """fit stores results in attributes with an underscore only."""
    X, y = REAL["iris"]
    solver = TrustRegion(radius0=3.0)
    clf = LogisticRegression(solver=solver, C=2)
    before = {k: repr(v) for k, v in clf.get_params().items()}
    clf.fit(X, y)
    assert {k: repr(v) for k, v in clf.get_params().items()} == before
    assert clf.solver is solver
    assert solver.tol is None
    names = {name for name in vars(clf) if name not in clf.get_params(deep=False)}
    assert all(name.endswith("_") for name in names), names


@pytest.mark.parametrize("name", ["auto", "newton-cg", "newton-cholesky", "trust-region", "bfgs", "lbfgs", "l-bfgs"])
def test_solver_names(name):
    """Names mean what they say, and the estimator's tol and max_iter reach them."""
    X, y = REAL["iris"]
    clf = LogisticRegression(solver=name, tol=1e-3, max_iter=345).fit(X, y)
    assert (clf.solver_.tol, clf.solver_.max_iter) == (1e-3, 345)
    if name != "auto":
        assert clf.solver_.name == name.replace("l-bfgs", "lbfgs")


@pytest.mark.parametrize("name", ["liblinear", "sag", "saga"])
def test_stand_ins(name):
    """scikit-learn's other names run the same objective by our choice, and the note says so."""
    X, y = REAL["breast cancer"]
    clf = LogisticRegression(solver=name).fit(X, y)
    assert name in clf.history_.notes["solver"]
    np.testing.assert_array_equal(clf.coef_, LogisticRegression().fit(X, y).coef_)


def test_settings_of_an_instance_win():
    """An instance keeps what it has, and takes the rest from the estimator."""
    X, y = REAL["iris"]
    clf = LogisticRegression(solver=NewtonCG(tol=1e-7), max_iter=50).fit(X, y)
    assert (clf.solver_.tol, clf.solver_.max_iter) == (1e-7, 50)


def test_users_own_solver():
    """A class of ten lines is a solver."""

    class Descent(Solver):
        name = "descent"

        def step(self, point, state):
            from sosolve import Step

            if self.converged(point, 0.5 * float(point.grad @ point.grad)):
                return Step(point, state, False, Status.CONVERGED)
            return Step(point.along(-1.0 * point.grad).point(1.0), state, True)

    X, y = REAL["iris"]
    clf = LogisticRegression(solver=Descent(tol=1e-3, max_iter=20_000)).fit(X, y)
    assert clf.score(X, y) > 0.95


def test_grid_search_over_solvers_and_their_settings():
    """Names, instances and `solver__radius0` in a grid; processes too."""
    X, y = REAL["iris"]
    grid = {"solver": ["newton-cg", "lbfgs"], "C": [0.1, 1.0]}
    search = GridSearchCV(LogisticRegression(), grid, cv=3, n_jobs=2).fit(X, y)
    assert search.best_score_ > 0.9
    search = GridSearchCV(LogisticRegression(solver=TrustRegion()), {"solver__radius0": [0.1, 10.0]}, cv=3).fit(X, y)
    assert search.best_estimator_.solver.radius0 in (0.1, 10.0)
    named = LogisticRegression(solver="trust-region").set_params(solver__radius0=2.0, C=3.0)
    assert (named.solver.radius0, named.C) == (2.0, 3.0)
    both = LogisticRegression().set_params(solver="lbfgs", solver__memory=5)
    assert both.solver.memory == 5
    with pytest.raises(ValueError, match="received solver__radius0 for solver='auto', which has no settings"):
        LogisticRegression().set_params(solver__radius0=2.0)
    with pytest.raises(ValueError, match=r"received the setting 'radius' for TrustRegion.*radius0"):
        LogisticRegression(solver="trust-region").set_params(solver__radius=2.0)
    assert clone(LogisticRegression(solver=LBFGS(memory=3))).solver.memory == 3


def test_pipeline_cross_validation_and_calibration():
    """The ecosystem works as with scikit-learn's class."""
    X, y = REAL["breast cancer"]
    assert cross_val_score(make_pipeline(StandardScaler(), LogisticRegression()), X, y).mean() > 0.95
    assert CalibratedClassifierCV(LogisticRegression(), cv=3).fit(X, y).score(X, y) > 0.9


def test_metadata_routing():
    """sample_weight is routed through a grid search."""
    X, y = REAL["iris"]
    w = np.random.default_rng(0).random(len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        clf = LogisticRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(clf, {"C": [1.0]}, cv=2).fit(X, y, sample_weight=w)
    expected = LogisticRegression().fit(X, y, w)
    np.testing.assert_allclose(search.best_estimator_.coef_, expected.coef_)


def test_pickle_and_copy(tmp_path):
    """Every protocol, joblib with memory mapping, deepcopy; no data inside."""
    import joblib

    X, y = load_digits(return_X_y=True)
    clf = LogisticRegression().fit(X, y)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        text = pickle.dumps(clf, protocol=protocol)
        assert len(text) < X.nbytes / 10
        np.testing.assert_array_equal(pickle.loads(text).predict(X), clf.predict(X))
    joblib.dump(clf, tmp_path / "clf.joblib")
    mapped = joblib.load(tmp_path / "clf.joblib", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(copy.deepcopy(clf).coef_, clf.coef_)
    assert clf.__getstate__()["_sosolve_version"] == sosolve.__version__


def test_predict_does_not_touch_the_estimator():
    """Nothing is set or changed by predict."""
    X, y = REAL["iris"]
    clf = LogisticRegression().fit(X, y)
    before = dict(vars(clf))
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        getattr(clf, method)(X)
    assert vars(clf) == before


def test_warm_start():
    """A second fit starts at the first one's optimum; a change of the shape is told."""
    X, y = REAL["breast cancer"]
    clf = LogisticRegression(warm_start=True, solver="newton-cg").fit(X, y)
    first = clf.coef_
    clf.fit(X, y)
    assert clf.n_iter_[0] == 1
    np.testing.assert_allclose(clf.coef_, first)
    clf.sparsify().fit(X, y)
    assert clf.n_iter_[0] == 1
    with pytest.raises(
        ValueError, match=r"received warm_start=True with coef_ of shape \(1, 30\).*set warm_start=False"
    ):
        clf.fit(X[:, :5], y)
    assert clf.coef_.shape == (1, 30)
    soft = SoftmaxRegression(warm_start=True, reference_class=1).fit(*REAL["iris"])
    assert soft.fit(*REAL["iris"]).n_iter_[0] == 1


def test_failed_refit_leaves_the_fitted_attributes():
    """coef_, classes_ and n_features_in_ stay together when a refit raises."""
    X, y = REAL["iris"]
    clf = LogisticRegression().fit(X, y)
    before = {k: v for k, v in vars(clf).items() if k.endswith("_")}
    for bad in (lambda: clf.fit(X[:, :2], np.zeros(150)), lambda: clf.fit(X[:, :3] * np.nan, y)):
        with pytest.raises(ValueError):
            bad()
        assert {k: v for k, v in vars(clf).items() if k.endswith("_")} == before
    fresh = LogisticRegression()
    with pytest.raises(ValueError):
        fresh.fit(X, np.zeros(150))
    assert not [k for k in vars(fresh) if k.endswith("_")]


def test_max_iter_warns_with_status_and_cure():
    """The best iterate is kept; the message names status, numbers and what to do."""
    X, y = REAL["breast cancer"]
    with pytest.warns(ConvergenceWarning, match=r"MAX_ITER: reached max_iter.*increase max_iter.*after 2 iterations"):
        clf = LogisticRegression(max_iter=2).fit(X, y)
    assert clf.result_.status is Status.MAX_ITER
    assert clf.result_.value == min(clf.history_.column("value"))
    with pytest.warns(ConvergenceWarning, match="MAX_ITER"):
        assert LogisticRegression(max_iter=0).fit(X, y).n_iter_[0] == 0


def test_warning_points_at_the_users_line():
    """The stack level is that of the call of fit."""
    X, y = REAL["breast cancer"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LogisticRegression(max_iter=1).fit(X, y)
    assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize("solver", ["auto", "newton-cg", "trust-region", "lbfgs", "bfgs", "newton-cholesky"])
@pytest.mark.parametrize("K", [2, 3])
def test_complete_separation_is_told(solver, K):
    """Without a penalty there is no optimum: SEPARATED, a direction that separates, no false alarm with a penalty."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 3))
    y = np.digitize(X[:, 0], [-0.5, 0.5][: K - 1])
    X[:, 0] += y
    with pytest.warns(ConvergenceWarning, match=r"SEPARATED.*no finite optimum.*use a finite C"):
        clf = LogisticRegression(C=np.inf, solver=solver, max_iter=1000).fit(X, y)
    assert clf.score(X, y) == 1.0
    assert LogisticRegression(C=1.0, solver=solver, max_iter=1000).fit(X, y).result_.converged


def test_one_class_has_all_the_weight():
    """The intercept alone separates: told, and finite."""
    X, y = REAL["iris"][0][:100], REAL["iris"][1][:100]
    with pytest.warns(ConvergenceWarning, match="SEPARATED"):
        clf = LogisticRegression().fit(X, y, sample_weight=(y == 0).astype(float))
    assert np.isfinite(clf.coef_).all()
    assert (clf.predict(X[:50]) == 0).all()


def test_unpenalised_softmax_is_centred():
    """The free direction is pinned: rows and intercepts sum to zero over the classes."""
    X, y = TABLES["three classes"].X, TABLES["three classes"].y
    clf = LogisticRegression(C=np.inf, tol=1e-8).fit(X, y)
    np.testing.assert_allclose(clf.coef_.sum(axis=0), 0.0, atol=1e-10)
    np.testing.assert_allclose(clf.intercept_.sum(), 0.0, atol=1e-10)
    reference = SoftmaxRegression(C=np.inf, tol=1e-8, reference_class=2).fit(X, y)
    np.testing.assert_allclose(reference.predict_proba(X), clf.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(clf.coef_ - clf.coef_[2], reference.coef_, atol=1e-5)


def test_softmax_regression():
    """A row for each class, for two classes too; agrees with LogisticRegression where both are the same problem."""
    X, y = TABLES["three classes"].X, TABLES["three classes"].y
    a, b = SoftmaxRegression(tol=1e-8).fit(X, y), LogisticRegression(tol=1e-8).fit(X, y)
    np.testing.assert_allclose(a.coef_, b.coef_, rtol=1e-6, atol=1e-8)
    X, y = TABLES["dense"].X, TABLES["dense"].y
    two = SoftmaxRegression(C=2.0, tol=1e-8).fit(X, y)
    assert two.coef_.shape == (2, 8)
    # two rows +-w/2 share the penalty: |w|^2 / 4 in place of |w|^2 / 2, so C is doubled against one row
    one = LogisticRegression(C=4.0, tol=1e-8).fit(X, y)
    np.testing.assert_allclose(two.coef_[1] - two.coef_[0], one.coef_[0], rtol=1e-5, atol=1e-7)
    assert two.decision_function(X).shape == (len(y),)
    np.testing.assert_allclose(two.decision_function(X), one.decision_function(X), rtol=1e-4, atol=1e-5)
    for reference in (0, 1):
        dropped = SoftmaxRegression(C=3.0, tol=1e-8, reference_class=reference).fit(X, y)
        assert not dropped.coef_[reference].any()
        plain = LogisticRegression(C=3.0, tol=1e-8).fit(X, y)
        np.testing.assert_allclose(dropped.coef_[1] - dropped.coef_[0], plain.coef_[0], rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match=r"received reference_class=7; expected one of the labels"):
        SoftmaxRegression(reference_class=7).fit(X, y)


class Recorder:
    """A scikit-learn callback that notes its tasks, and may ask to stop."""

    def __init__(self, stop_at=None):
        self.stop_at, self.events, self.scores = stop_at, [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.events.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.events.append(("end", context.task_name))
        if context.task_name == "iteration" and fitted_estimator is not None:
            self.scores.append(fitted_estimator.score(X[:10], fitted_estimator.predict(X[:10])))
        return self.stop_at is not None and len(self.scores) >= self.stop_at


@pytest.mark.parametrize("solver", ["auto", "newton-cg", "newton-cholesky", "trust-region", "bfgs", "lbfgs"])
def test_callbacks_on_every_solver(solver):
    """One task an iteration, each begin with its end, an estimator that predicts at each of them."""
    X, y = REAL["iris"]
    recorder = Recorder()
    clf = LogisticRegression(solver=solver, max_iter=500).set_callbacks(recorder).fit(X, y)
    iterations = int(clf.n_iter_[0])
    assert recorder.events.count(("begin", "iteration")) == iterations
    assert recorder.events.count(("end", "iteration")) == iterations
    assert recorder.events[0] == "setup"
    assert recorder.events[-1] == "teardown"
    assert recorder.events.count(("begin", "fit")) == recorder.events.count(("end", "fit")) == 1
    assert recorder.scores == [1.0] * iterations


def test_a_stop_request_is_obeyed():
    """A callback that asks to stop ends the fit with CALLBACK."""
    X, y = REAL["breast cancer"]
    with pytest.warns(ConvergenceWarning, match="CALLBACK: stopped by a callback"):
        clf = LogisticRegression().set_callbacks(Recorder(stop_at=2)).fit(X, y)
    assert clf.n_iter_[0] == 2


@pytest.mark.parametrize("max_iter", [1, 100])
def test_progress_bar(max_iter, capsys):
    """scikit-learn's own ProgressBar runs on it, also when max_iter ends the fit."""
    pytest.importorskip("rich")
    X, y = REAL["iris"]
    clf = LogisticRegression(max_iter=max_iter).set_callbacks(ProgressBar())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf.fit(X, y)
    assert "LogisticRegression" in capsys.readouterr().out


def test_verbose_writes_a_line_an_iteration(capsys):
    """verbose=1 tells the progress."""
    clf = LogisticRegression(verbose=1).fit(*REAL["iris"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == clf.n_iter_[0]
    assert lines[0].startswith("[LogisticRegression] iteration    1  value")
    clf = LogisticRegression(verbose=2).fit(*REAL["iris"])
    assert f"[LogisticRegression] {clf.optimality_} ({len(lines)} iterations, " in capsys.readouterr().out


def test_keyboard_interrupt_keeps_the_best_iterate(monkeypatch):
    """Ctrl-C ends the fit with INTERRUPTED; the estimator predicts."""
    X, y = REAL["breast cancer"]
    calls = []
    original = NewtonCholesky.step

    def step(self, point, state):
        calls.append(point)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, point, state)

    monkeypatch.setattr(NewtonCholesky, "step", step)
    with pytest.warns(ConvergenceWarning, match="INTERRUPTED"):
        clf = LogisticRegression(solver="newton-cholesky").fit(X, y)
    assert clf.n_iter_[0] == 2
    assert clf.score(X, y) > 0.8


def test_callers_state_is_untouched():
    """Error state, random state and warning filters of the caller stay as they are."""
    X, y = TABLES["dense"].X, TABLES["dense"].y
    np.random.seed(3)  # noqa: NPY002  (the legacy generator is the one that a fit might touch)
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    errors, filters = np.geterr(), list(warnings.filters)
    LogisticRegression().fit(X * 1e200, y)
    assert np.random.random() == expected  # noqa: NPY002
    assert np.geterr() == errors
    assert list(warnings.filters) == filters


def test_concurrent_fits_give_the_same_result():
    """Eight threads fit at once, on data large enough for the compiled kernels."""
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(0)
    X = rng.standard_normal((30_000, 20))
    y = (X[:, 0] + rng.standard_normal(30_000) > 0).astype(int)
    expected = LogisticRegression().fit(X, y).coef_
    with ThreadPoolExecutor(8) as executor:
        for coef in executor.map(lambda _: LogisticRegression().fit(X, y).coef_, range(8)):
            np.testing.assert_array_equal(coef, expected)


def test_not_fitted():
    """Every method says so before fit."""
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(LogisticRegression(), method)(np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"C": 0.0}, r"The 'C' parameter .* Got 0.0 instead\. Choose a positive number"),
        ({"C": -1.0}, "Choose a positive number"),
        ({"C": np.nan}, "Choose a positive number"),
        ({"C": "1"}, "Choose a positive number"),
        ({"solver": "newton"}, r"The 'solver' parameter .* Got 'newton' instead\. Choose one of these names"),
        ({"tol": -1e-3}, "Choose a small positive number"),
        ({"max_iter": -1}, "Choose a whole number"),
        ({"max_iter": 1.5}, "Choose a whole number"),
        ({"class_weight": "even"}, "Got 'even' instead"),
        ({"l1_ratio": 2.0}, "Got 2.0 instead"),
        ({"fit_intercept": "yes"}, "Got 'yes' instead"),
    ],
)
def test_invalid_parameters(parameters, message):
    """What was received, what is accepted, what to do."""
    with pytest.raises(ValueError, match=message):
        LogisticRegression(**parameters).fit(*REAL["iris"])


def test_penalties_and_deprecations():
    """scikit-learn's deprecations."""
    X, y = REAL["iris"]
    for penalty, l1_ratio in (("l1", 1.0), ("elasticnet", 0.5)):
        with pytest.warns(FutureWarning, match="'penalty' was deprecated"):
            named = LogisticRegression(penalty=penalty, l1_ratio=l1_ratio).fit(X, y)
        np.testing.assert_array_equal(named.coef_, LogisticRegression(l1_ratio=l1_ratio).fit(X, y).coef_)
    with pytest.warns(FutureWarning, match="n_jobs' has no effect .* received n_jobs=2"):
        LogisticRegression(n_jobs=2).fit(X, y)
    with pytest.warns(FutureWarning, match="l1_ratio=None' was deprecated"):
        LogisticRegression(l1_ratio=None).fit(X, y)
    data = TABLES["unpenalised"]
    with pytest.warns(FutureWarning, match="'penalty' was deprecated .* received penalty=None"):
        none = LogisticRegression(penalty=None).fit(data.X, data.y)
    np.testing.assert_array_equal(none.coef_, LogisticRegression(C=np.inf).fit(data.X, data.y).coef_)
    with pytest.warns(FutureWarning, match="received penalty='l2': leave it out and say l1_ratio=0"):
        LogisticRegression(penalty="l2").fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "bfgs", "l1_ratio": 1}, "Solver bfgs supports only 'l2' or None penalties, got l1 penalty: set"),
        ({"solver": "saga", "dual": True}, "Solver saga supports only dual=False, got dual=True: leave dual out"),
        ({"solver": "liblinear", "l1_ratio": 0.5}, "Only 'saga' solver supports elasticnet penalty"),
        (
            {"solver": "liblinear", "C": np.inf},
            "penalty=None is not supported for the liblinear solver: use a finite C",
        ),
        ({"solver": "liblinear"}, "received 3 classes: use solver='auto', or wrap the estimator"),
    ],
)
def test_names_of_solvers_promise_what_they_do_in_scikit_learn(parameters, message):
    """What a solver of that name cannot do there is refused here; "auto" and "liblinear" take dual=True."""
    X, y = REAL["iris"]
    with pytest.raises(ValueError, match=message):
        LogisticRegression(**parameters).fit(X, y)
    for name in ("liblinear", "auto"):
        assert LogisticRegression(solver=name, dual=True).fit(X[50:], y[50:]).result_.converged


def test_contradictions_of_the_deprecated_penalty():
    """Each is a warning with scikit-learn's words."""
    X, y = TABLES["unpenalised"].X, TABLES["unpenalised"].y
    with (
        pytest.warns(FutureWarning, match="'penalty' was deprecated"),
        pytest.warns(UserWarning, match="Inconsistent values: penalty=l2 with l1_ratio=1"),
    ):
        assert LogisticRegression(penalty="l2", l1_ratio=1).fit(X, y).result_.converged
    with (
        pytest.warns(FutureWarning, match="say l1_ratio="),
        pytest.raises(ValueError, match="received penalty='elasticnet' with l1_ratio=None"),
    ):
        LogisticRegression(penalty="elasticnet", l1_ratio=None).fit(X, y)


@pytest.mark.parametrize(
    ("solver", "opening"),
    [("lbfgs", "lbfgs failed to converge after 1 iter"), ("saga", "The max_iter was reached"), ("bfgs", "LogisticReg")],
)
def test_filters_by_the_words_of_scikit_learn(solver, opening):
    """A warning of too few iterations begins as scikit-learn's does for that solver."""
    with pytest.warns(ConvergenceWarning, match=rf"^{opening}.*MAX_ITER"):
        LogisticRegression(solver=solver, max_iter=1).fit(*REAL["breast cancer"])


@pytest.mark.parametrize(
    ("X", "y", "weights", "message"),
    [
        ([[1.0, np.nan], [0.0, 1.0]], [0, 1], None, "contains NaN"),
        ([[1.0, np.inf], [0.0, 1.0]], [0, 1], None, "contains infinity"),
        ([[1.0, 1j], [0.0, 1.0]], [0, 1], None, "omplex"),
        ([["a", "b"], ["c", "d"]], [0, 1], None, "could not convert string"),
        ([1.0, 2.0], [0, 1], None, "Expected 2D array"),
        (np.zeros((2, 0)), [0, 1], None, "0 feature"),
        (np.zeros((0, 2)), [], None, "0 sample"),
        ([[1.0], [2.0], [3.0]], [0, 1], None, "inconsistent numbers of samples"),
        ([[1.0], [2.0]], [0.5, 1.7], None, "Unknown label type"),
        ([[1.0], [2.0]], [[0, 1], [1, 0]], None, "y should be a 1d array"),
        ([[1.0], [2.0]], [1, 1], None, r"received y with one class only, 1; it needs samples of at least 2 classes"),
        ([[1.0]], [1], None, "one class only"),
        ([[1.0], [2.0]], [0, 1], [1.0, -1.0], "Negative values"),
        ([[1.0], [2.0]], [0, 1], [1.0, np.nan], "contains NaN"),
        ([[1.0], [2.0]], [0, 1], [1.0, np.inf], "infinity"),
        ([[1.0], [2.0]], [0, 1], [0.0, 0.0], "zero"),
        ([[1.0], [2.0]], [0, 1], [1.0], "sample_weight.shape"),
        ([[1.0], [2.0]], [0, 1], [[1.0], [1.0]], "1D|1d"),
    ],
)
def test_bad_data(X, y, weights, message):
    """Bad data is named."""
    with pytest.raises((ValueError, TypeError), match=message):
        LogisticRegression().fit(X, y, sample_weight=weights)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("intercept", [True, False])
def test_bad_values_in_large_data(value, weighted, intercept):
    """The check that large data get on the way to the basis finds what the small ones' finds."""
    X = np.random.default_rng(0).standard_normal((60_000, 20))
    X[41_234, 7] = value
    y = np.arange(60_000) % 2
    weights = np.ones(60_000) if weighted else None
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        LogisticRegression(fit_intercept=intercept).fit(X, y, sample_weight=weights)


def test_wrong_number_of_features_at_predict():
    """The message ends with what to do."""
    clf = LogisticRegression().fit(*REAL["iris"])
    with pytest.raises(ValueError, match=r"X has 2 features, but LogisticRegression is expecting 4 .*Pass the columns"):
        clf.predict(np.zeros((3, 2)))


@pytest.mark.parametrize("unit", [1e-300, 1e-150, 1e-20, 1e-6, 1e6, 1e20, 1e150, 1e300])
@pytest.mark.parametrize("solver", ["auto", "newton-cg", "trust-region", "bfgs", "lbfgs"])
def test_units_of_a_column(unit, solver):
    """A column in any unit: converged, and the optimum of the problem in that unit."""
    data = TABLES["dense"]
    X = data.X.copy()
    X[:, 0] *= unit
    found = LogisticRegression(solver=solver, tol=1e-6, max_iter=1000).fit(X, data.y)
    best = LogisticRegression(solver=NewtonCholesky(tol=1e-10)).fit(X, data.y)
    assert found.result_.converged
    assert found.result_.value / best.result_.value - 1 < 1e-9


@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
@pytest.mark.parametrize("where", ["cell", "row"])
def test_one_outlier_of_1e10(solver, where):
    """Never silently wrong: with warnings as errors the optimum is reached."""
    data = TABLES["dense"]
    X = data.X.copy()
    X[5, 2 if where == "cell" else slice(None)] = 1e10
    found = LogisticRegression(solver=solver, max_iter=1000).fit(X, data.y)
    best = LogisticRegression(solver=NewtonCholesky(tol=1e-9, max_iter=500)).fit(X, data.y)
    case = Data(X, data.y)
    gap = long_double_value(case, found.coef_, found.intercept_) / long_double_value(case, best.coef_, best.intercept_)
    assert gap - 1 < 1e-6


@pytest.mark.parametrize("far", [1e10, 1e12])
@pytest.mark.parametrize("where", [(0, slice(None)), (0, 0)])
def test_one_outlier_with_a_row_for_each_class(far, where):
    """With a row for each class as with a reference class, where nothing cancels."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5))
    y = (X @ rng.standard_normal((5, 3)) + rng.gumbel(size=(300, 3))).argmax(axis=1)
    X[where] *= far
    assert LogisticRegression().fit(X, y).result_.converged
    free = LogisticRegression(C=np.inf).fit(X, y)
    reference = SoftmaxRegression(C=np.inf, reference_class=0).fit(X, y)
    assert free.result_.value == pytest.approx(reference.result_.value, rel=1e-8)


def test_one_outlier_among_many_parameters():
    """With 650 parameters too: a factor of the Hessian instead of products that lose the other rows."""
    X, y = REAL["digits"]
    X = X.copy()
    X[5, 20] = 1e8
    found = LogisticRegression().fit(X, y)
    assert "far outliers" in found.history_.notes["solver"]
    best = LogisticRegression(solver=NewtonCholesky(tol=1e-8)).fit(X, y)
    case = Data(X, y)
    gap = long_double_value(case, found.coef_, found.intercept_) / long_double_value(case, best.coef_, best.intercept_)
    assert gap - 1 < 1e-6
    assert "far outliers" not in LogisticRegression().fit(*REAL["digits"]).history_.notes["solver"]


def test_imbalance_of_1_to_20000():
    """One positive sample among 20 000."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_001, 5))
    y = np.zeros(20_001, dtype=int)
    y[77] = 1
    found = LogisticRegression().fit(X, y)
    best = LogisticRegression(solver=NewtonCholesky(tol=1e-9)).fit(X, y)
    assert found.result_.value / best.result_.value - 1 < 1e-7


def test_many_classes():
    """A hundred classes; every label distinct."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 5))
    clf = LogisticRegression().fit(X, np.arange(600) % 100)
    assert clf.coef_.shape == (100, 5)
    with pytest.warns(UserWarning, match="number of unique classes"):
        assert LogisticRegression().fit(X[:40], np.arange(40)).result_.converged

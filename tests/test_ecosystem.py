"""The classifiers inside scikit-learn's tools: pipelines, searches, ensembles, selection, inspection, routing."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ProgressBar
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_multilabel_classification
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  (makes the next import work)
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import DecisionBoundaryDisplay, partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils.validation import check_is_fitted

from sosolve import LBFGS, LogisticRegression, NewtonCG, SoftmaxRegression, TrustRegion

X, Y = load_iris(return_X_y=True)
XB, YB = load_breast_cancer(return_X_y=True)
BOTH = pytest.mark.parametrize("Estimator", [LogisticRegression, SoftmaxRegression])


@pytest.fixture
def mixed():
    """Return a frame with numbers, categories and a missing value, and two classes."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "age": rng.integers(18, 90, 300),
            "income": rng.lognormal(10, 1, 300),
            "city": rng.choice(["Rome", "Oslo", "Lima"], 300),
            "kind": pandas.Categorical(rng.choice(["a", "b"], 300)),
        }
    )
    y = np.where(frame["age"] / 40 + (frame["city"] == "Oslo") + rng.logistic(size=300) > 2, "yes", "no")
    return frame, y


# ---------------------------------------------------------------------- composition


@BOTH
def test_column_transformer_in_a_pipeline(Estimator, mixed):
    """Numbers scaled, categories one-hot (sparse), strings as labels, a search over both steps."""
    frame, y = mixed
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), make_column_selector(dtype_include="number")),
            ("categories", OneHotEncoder(), make_column_selector(dtype_exclude="number")),
        ],
        sparse_threshold=1.0,
    )
    pipe = Pipeline([("columns", columns), ("clf", Estimator())])
    grid = {"clf__C": [0.1, 10.0], "columns__numbers": [StandardScaler(), "passthrough"]}
    search = GridSearchCV(pipe, grid, cv=3, scoring="neg_log_loss").fit(frame, y)
    assert search.predict(frame.iloc[:5]).tolist() == search.best_estimator_.predict(frame.iloc[:5]).tolist()
    assert search.best_estimator_[:-1].get_feature_names_out().shape == (7,)
    assert search.score(frame, y) > -0.69


def test_set_output_and_feature_union(mixed):
    """Frames between the steps: the coefficients' names are those of the step before."""
    frame, y = mixed
    numbers = frame[["age", "income"]]
    union = FeatureUnion(
        [("plain", StandardScaler()), ("logs", FunctionTransformer(np.log, feature_names_out="one-to-one"))]
    )
    pipe = make_pipeline(union, LogisticRegression()).set_output(transform="pandas").fit(numbers, y)
    assert pipe[-1].feature_names_in_.tolist() == ["plain__age", "plain__income", "logs__age", "logs__income"]


def test_pipeline_with_memory(tmp_path):
    """Cached steps, and the fitted pipeline through joblib."""
    pipe = make_pipeline(StandardScaler(), LogisticRegression(), memory=str(tmp_path / "cache")).fit(XB, YB)
    joblib.dump(pipe, tmp_path / "pipe.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "pipe.joblib").predict_proba(XB), pipe.predict_proba(XB))


# ---------------------------------------------------------------------- searches


@BOTH
def test_grid_search_over_everything(Estimator):
    """C with inf, names, instances and their settings, class weights."""
    grid = [
        {
            "C": [0.1, np.inf],
            "solver": ["auto", "lbfgs", "newton-cg", NewtonCG(max_cg=50)],
            "class_weight": ["balanced"],
        },
        {"solver": [TrustRegion()], "solver__radius0": [0.5, 2.0]},
    ]
    search = GridSearchCV(Estimator(max_iter=1000), grid, cv=3, error_score="raise")
    search.fit(load_wine().data[:, :3], load_wine().target)
    assert len(search.cv_results_["params"]) == 10
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_params_
    assert search.best_estimator_.get_params()["C"] == best.get("C", 1.0)


def test_randomised_and_halving_searches():
    """Distributions, resources, and refit by a metric of several."""
    from scipy.stats import loguniform

    search = RandomizedSearchCV(
        LogisticRegression(), {"C": loguniform(1e-3, 1e3)}, n_iter=5, cv=3, random_state=0,
        scoring=["neg_log_loss", "roc_auc"], refit="neg_log_loss",
    ).fit(XB, YB)  # fmt: skip
    assert search.best_score_ > -0.3
    halving = HalvingGridSearchCV(LogisticRegression(), {"C": [0.01, 0.1, 1.0, 10.0]}, cv=3, random_state=0).fit(XB, YB)
    assert halving.best_estimator_.score(XB, YB) > 0.9


def test_searches_in_processes_and_threads():
    """Two workers give what one gives, digit for digit."""
    alone = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=3).fit(XB, YB)
    for backend in ("loky", "threading"):
        with joblib.parallel_config(backend, n_jobs=2):
            found = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=3).fit(XB, YB)
        np.testing.assert_array_equal(found.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


@BOTH
def test_cross_validation(Estimator):
    """Probabilities, scores of several metrics, estimators of the folds."""
    P = cross_val_predict(Estimator(), X, Y, method="predict_proba", cv=5)
    np.testing.assert_allclose(P.sum(axis=1), 1.0)
    assert (P.argmax(axis=1) == Y).mean() > 0.95
    logs = cross_val_predict(Estimator(), X, Y, method="predict_log_proba", cv=5)
    np.testing.assert_allclose(np.exp(logs), P)
    scores = cross_val_predict(Estimator(), X, Y, method="decision_function", cv=5)
    assert (scores.argmax(axis=1) == P.argmax(axis=1)).all()
    found = cross_validate(Estimator(), X, Y, scoring=["accuracy", "neg_log_loss"], return_estimator=True, cv=3)
    assert len(found["estimator"]) == 3
    assert cross_val_score(Estimator(), X, Y, cv=5).mean() > 0.95


def test_curves_of_scores():
    """learning_curve, validation_curve and permutation_test_score."""
    sizes, _, valid = learning_curve(LogisticRegression(), XB, YB, cv=3, train_sizes=[0.3, 1.0])
    assert valid.shape == (2, 3)
    assert sizes[0] < sizes[1]
    train, valid = validation_curve(LogisticRegression(), XB, YB, param_name="C", param_range=[1e-3, 1.0], cv=3)
    assert train.shape == valid.shape == (2, 3)
    score, _, p = permutation_test_score(LogisticRegression(), X, Y, cv=3, n_permutations=20, random_state=0)
    assert score > 0.9
    assert p < 0.1


# ---------------------------------------------------------------------- ensembles and wrappers


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize("ensemble", [True, False])
def test_calibration(method, ensemble):
    """Every method of calibration, with folds of its own."""
    clf = CalibratedClassifierCV(LogisticRegression(C=100.0), method=method, ensemble=ensemble, cv=3).fit(XB, YB)
    np.testing.assert_allclose(clf.predict_proba(XB).sum(axis=1), 1.0)
    assert clf.score(XB, YB) > 0.93


def test_frozen():
    """A frozen classifier is calibrated and tuned without another fit."""
    fitted = LogisticRegression().fit(XB[:300], YB[:300])
    before = fitted.coef_.copy()
    CalibratedClassifierCV(FrozenEstimator(fitted)).fit(XB[300:], YB[300:])
    FixedThresholdClassifier(FrozenEstimator(fitted), threshold=0.3).fit(XB, YB).predict(XB)
    np.testing.assert_array_equal(fitted.coef_, before)
    tuned = TunedThresholdClassifierCV(LogisticRegression(), scoring="balanced_accuracy", cv=3).fit(XB, YB)
    assert 0.0 < tuned.best_threshold_ < 1.0


@pytest.mark.parametrize("Wrapper", [OneVsRestClassifier, OneVsOneClassifier, OutputCodeClassifier])
@BOTH
def test_multiclass_wrappers(Wrapper, Estimator):
    """Several binary fits; scikit-learn's class in our place gives the same labels."""
    settings = {"random_state": 0} if Wrapper is OutputCodeClassifier else {}
    ours = Wrapper(Estimator(tol=1e-8), **settings).fit(X, Y)
    assert ours.score(X, Y) > 0.7
    if Estimator is LogisticRegression:
        theirs = Wrapper(SklearnLogisticRegression(tol=1e-8, max_iter=5000), **settings).fit(X, Y)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_multilabel():
    """OneVsRest, MultiOutput and a chain on several labels at once."""
    A, B = make_multilabel_classification(n_samples=200, n_classes=3, random_state=0)
    for clf in (
        OneVsRestClassifier(LogisticRegression()),
        MultiOutputClassifier(LogisticRegression(), n_jobs=2),
        ClassifierChain(LogisticRegression(), order="random", random_state=0, cv=3),
    ):
        assert clf.fit(A, B).predict(A).shape == B.shape
        assert clf.score(A, B) > 0.3


@BOTH
def test_ensembles(Estimator):
    """Stacking, soft voting, bagging with two processes, self-training."""
    two = [("weak", Estimator(C=1e-3)), ("strong", Estimator(C=100.0))]
    assert StackingClassifier(two, final_estimator=Estimator(), cv=3).fit(X, Y).score(X, Y) > 0.9
    assert VotingClassifier(two, voting="soft", weights=[1, 2]).fit(X, Y).score(X, Y) > 0.9
    weights = np.random.default_rng(0).random(150)
    bagging = BaggingClassifier(Estimator(), n_estimators=4, n_jobs=2, random_state=0).fit(X, Y, sample_weight=weights)
    assert bagging.score(X, Y) > 0.9
    unlabelled = np.where(np.arange(150) % 3 == 0, Y, -1)
    assert SelfTrainingClassifier(Estimator(), threshold=0.8).fit(X, unlabelled).score(X, Y) > 0.9


# ---------------------------------------------------------------------- selection and inspection


@BOTH
def test_feature_selection(Estimator):
    """Tools that read coef_: by elimination, by size, by cross-validation."""
    assert RFE(Estimator(), n_features_to_select=2).fit(X, Y).support_.sum() == 2
    assert RFECV(Estimator(), cv=3).fit(X, Y).n_features_ >= 1
    chosen = SelectFromModel(Estimator(C=0.1), threshold="median").fit(X, Y)
    assert chosen.get_support().sum() == 2
    sequential = SequentialFeatureSelector(Estimator(), n_features_to_select=1, cv=3).fit(X, Y)
    assert sequential.get_support()[2:].any()


@BOTH
def test_inspection(Estimator):
    """Importance by permutation, partial dependence, decision boundaries of two and three classes."""
    clf = Estimator().fit(X, Y)
    found = permutation_importance(clf, X, Y, n_repeats=3, random_state=0)
    assert found.importances_mean.argmax() in (2, 3)
    averages = partial_dependence(clf, X, features=[2], grid_resolution=5)["average"]
    assert averages.shape == (3, 5)
    assert (np.diff(averages[0]) <= 0).all()
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    for y in (Y, Y == 1):
        display = DecisionBoundaryDisplay.from_estimator(Estimator().fit(X[:, :2], y), X[:, :2], grid_resolution=10)
        assert np.isfinite(display.response).all()
    pyplot.close("all")


# ---------------------------------------------------------------------- routing


def test_sample_weight_is_routed_through_a_pipeline_and_a_search():
    """The weights reach the classifier and the scorer; without a request they are refused."""
    w = np.random.default_rng(0).integers(1, 4, 150)
    with sklearn.config_context(enable_metadata_routing=True):
        clf = LogisticRegression(tol=1e-8).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        search = GridSearchCV(make_pipeline(scaler, clf), {"logisticregression__C": [1.0]}, cv=3)
        search.fit(X, Y, sample_weight=w)
        refused = make_pipeline(StandardScaler(), LogisticRegression())
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            refused.fit(X, Y, sample_weight=w)
        calibrated = CalibratedClassifierCV(clf, cv=3).fit(X, Y, sample_weight=w)
        assert calibrated.score(X, Y) > 0.9
    repeated = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8))
    repeated.fit(np.repeat(X, w, axis=0), np.repeat(Y, w))
    np.testing.assert_allclose(search.best_estimator_[-1].coef_, repeated[-1].coef_, rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------------- the life of an estimator


@BOTH
def test_clone_and_parameters(Estimator):
    """clone keeps parameters and drops the fit; nested settings survive get_params and set_params."""
    original = Estimator(C=3.0, solver=LBFGS(memory=7)).fit(X, Y)
    copied = clone(original)
    assert copied.get_params(deep=False).keys() == original.get_params(deep=False).keys()
    assert (copied.C, copied.solver.memory) == (3.0, 7)
    assert not hasattr(copied, "coef_")
    assert copied.solver is not original.solver
    copied.set_params(solver__memory=9)
    assert original.solver.memory == 7
    pipe = make_pipeline(StandardScaler(), copied)
    step = pipe.steps[-1][0]
    assert pipe.get_params()[f"{step}__solver__memory"] == 9
    assert pipe.set_params(**{f"{step}__solver__memory": 5}).named_steps[step].solver.memory == 5


@BOTH
def test_pickle_joblib_and_copies(Estimator, tmp_path):
    """Fitted with every attribute of ours, through each way of storing."""
    clf = Estimator(solver="trust-region").fit(*load_digits(return_X_y=True))
    joblib.dump(clf, tmp_path / "clf.joblib", compress=3)
    for back in (pickle.loads(pickle.dumps(clf)), joblib.load(tmp_path / "clf.joblib"), copy.deepcopy(clf)):
        check_is_fitted(back)
        np.testing.assert_array_equal(back.coef_, clf.coef_)
        assert back.result_.status is clf.result_.status
        assert back.history_.column("value") == clf.history_.column("value")
        assert back.solver_ == clf.solver_


@BOTH
def test_representations(Estimator):
    """repr and the HTML of notebooks, before and after fit, alone and in a pipeline."""
    assert repr(Estimator(C=2.0)) == f"{Estimator.__name__}(C=2.0)"
    for estimator in (Estimator(), make_pipeline(StandardScaler(), Estimator(solver=TrustRegion()))):
        for fitted in (estimator, clone(estimator).fit(X, Y)):
            html = fitted._repr_html_()
            assert Estimator.__name__ in html
    assert "coef_" in Estimator().fit(X, Y)._repr_html_()


def test_callbacks_through_a_pipeline(capsys):
    """A bar of each estimator in a search is drawn from the iterations of its fit."""
    pytest.importorskip("rich", reason="rich is not installed")
    LogisticRegression(solver="newton-cg").set_callbacks(ProgressBar()).fit(X, Y)
    assert "LogisticRegression" in capsys.readouterr().out

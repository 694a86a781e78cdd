"""LogisticRegressionCV: the same choices, scores and coefficients as scikit-learn's, for less work."""

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV as SklearnLogisticRegressionCV
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from sklearn.preprocessing import scale

from sosolve import LBFGS, LogisticRegression, LogisticRegressionCV
from sosolve.estimators.cv_folds import Search, fit_fold
from sosolve.estimators.cv_scores import TestRows, is_direct, resolve_scorer
from sosolve.estimators.path import Path
from sosolve.estimators.problem import Problem

COMMON = dict(l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False)


def text_like(n=150, d=900, seed=0):
    """Return sparse counts with two topics; fewer rows than columns."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    rates = rng.gamma(0.1, 1.0, d)[None, :] * np.exp(0.4 * np.outer(y - 0.5, rng.standard_normal(d)))
    return sp.csr_matrix(rng.poisson(rates).astype(float)), y


def sets():
    """Return (X, y) by name."""
    X, y = load_breast_cancer(return_X_y=True)
    digits, labels = load_digits(return_X_y=True)
    wine, wines = load_wine(return_X_y=True)
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((80, 600))
    return {
        "breast cancer": (scale(X), y),
        "digits": (digits[:300] / 16.0, labels[:300]),
        "wine": (scale(wine), wines),
        "iris, strings": (load_iris().data, load_iris().target_names[load_iris().target]),
        "wide": (wide, (wide[:, :5].sum(axis=1) + rng.standard_normal(80) > 0).astype(int)),
        "sparse and wide": text_like(),
    }


SETS = sets()


@pytest.mark.parametrize("name", sorted(SETS))
@pytest.mark.parametrize("refit", [True, False])
def test_agrees_with_scikit_learn(name, refit):
    """C_ is the same, scores within 1e-6, coefficients along the paths and of the last fit to the tolerance."""
    X, y = SETS[name]
    settings = dict(COMMON, Cs=np.logspace(-3, 2, 6), cv=4, refit=refit)
    ours = LogisticRegressionCV(**settings, tol=1e-8).fit(X, y)
    theirs = SklearnLogisticRegressionCV(**settings, tol=1e-9, solver="newton-cg", max_iter=10_000).fit(X, y)
    assert ours.C_ == theirs.C_
    np.testing.assert_allclose(ours.scores_, theirs.scores_, atol=1e-6)
    np.testing.assert_allclose(ours.coefs_paths_, theirs.coefs_paths_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("l1_ratios", [None, (0,)])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_layouts(l1_ratios, legacy, refit, n_classes, fit_intercept):
    """Every attribute has scikit-learn's type, shape, keys and values, in both layouts."""
    X, y = load_iris().data[:, :2], load_iris().target
    X, y = (X, y) if n_classes == 3 else (X[50:], y[50:])
    settings = dict(Cs=[0.1, 1.0], cv=3, l1_ratios=l1_ratios, refit=refit, use_legacy_attributes=legacy)
    settings |= dict(scoring="accuracy", fit_intercept=fit_intercept)
    ours = LogisticRegressionCV(**settings, tol=1e-8).fit(X, y)
    theirs = SklearnLogisticRegressionCV(**settings, tol=1e-9, solver="newton-cholesky").fit(X, y)
    for name in ("scores_", "coefs_paths_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        pairs = [(a, b)] if not legacy else [(a[key], b[key]) for key in b]
        assert legacy is False or list(a) == list(b)
        for mine, reference in pairs:
            assert mine.shape == reference.shape
            np.testing.assert_allclose(mine, reference, rtol=1e-5, atol=1e-6)
    for name in ("C_", "l1_ratio_", "l1_ratios_", "Cs_"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert type(a) is type(b)
        assert np.shape(a) == np.shape(b)
        np.testing.assert_array_equal(a, b)
    assert ours.n_iter_.shape == theirs.n_iter_.shape
    assert ours.n_iter_.dtype == np.int32
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-5, atol=1e-6)


def means_and_tops(estimator, X, y):
    """Return a score from two methods of the estimator."""
    return estimator.predict_proba(X)[:, 1].mean() + estimator.decision_function(X).max()


@pytest.mark.parametrize(
    "scoring",
    [None, "accuracy", "roc_auc", "average_precision", "f1", "precision", "neg_brier_score", "balanced_accuracy",
     means_and_tops, make_scorer(lambda y, p: np.mean(y == p))],
)  # fmt: skip
def test_scorers(scoring):
    """Names, callables and scorers that need labels, probabilities or decision values."""
    X, y = SETS["breast cancer"]
    settings = dict(COMMON, Cs=[0.01, 1.0], cv=3, scoring=scoring)
    ours = LogisticRegressionCV(**settings, tol=1e-8).fit(X, y)
    theirs = SklearnLogisticRegressionCV(**settings, tol=1e-9, solver="newton-cholesky").fit(X, y)
    np.testing.assert_allclose(ours.scores_, theirs.scores_, atol=1e-6)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=1e-6)


@pytest.mark.parametrize("name", ["accuracy", "neg_log_loss"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_direct_scores_are_those_of_the_scorers(name, n_classes, weighted):
    """The two metrics that are computed here give scikit-learn's numbers, at certain probabilities too."""
    rng = np.random.default_rng(0)
    X, codes = rng.standard_normal((200, 2)), rng.integers(0, n_classes, 200)
    w = {"sample_weight": rng.random(200)} if weighted else {}
    clf = LogisticRegression(C=1e3).fit(X, codes)
    for size in (0.0, 1.0, 1e3):
        clf.coef_ = size * rng.standard_normal(clf.coef_.shape)
        direct = resolve_scorer(name, clf.classes_)
        assert is_direct(direct)
        rows = TestRows(direct, X, clf.classes_, codes, np.arange(200), w)
        assert rows.score(clf) == pytest.approx(get_scorer(name)(clf, X, codes, **w), rel=1e-13)
    assert not is_direct(resolve_scorer(make_scorer(get_scorer(name)._score_func), clf.classes_)) or name == "accuracy"
    assert not is_direct(resolve_scorer("neg_brier_score", clf.classes_))


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 3.0, 2: 0.5}])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights(class_weight, weighted):
    """Sample weights count in the fits and in the scores, "balanced" over all rows."""
    X, y = load_iris(return_X_y=True)
    w = np.random.default_rng(0).random(150) if weighted else None
    settings = dict(COMMON, Cs=[0.1, 10.0], cv=3, class_weight=class_weight)
    ours = LogisticRegressionCV(**settings, tol=1e-8).fit(X, y, sample_weight=w)
    theirs = SklearnLogisticRegressionCV(**settings, tol=1e-10, solver="newton-cg", max_iter=1000)
    theirs.fit(X, y, sample_weight=w)
    np.testing.assert_allclose(ours.scores_, theirs.scores_, atol=1e-6)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5)
    assert ours.score(X, y, sample_weight=w) == pytest.approx(theirs.score(X, y, sample_weight=w), abs=1e-6)


def test_weights_are_repetitions():
    """Integer weights equal repeated rows, fold by fold."""
    rng = np.random.default_rng(0)
    X, y, w = rng.standard_normal((60, 4)), rng.integers(0, 2, 60), rng.integers(1, 4, 60)
    group = np.arange(60) % 3
    folds = [(np.flatnonzero(group != k), np.flatnonzero(group == k)) for k in range(3)]
    repeated = np.repeat(group, w)
    again = [(repeated != k, repeated == k) for k in range(3)]  # masks serve as well
    one = LogisticRegressionCV(**COMMON, tol=1e-9, cv=folds).fit(X, y, sample_weight=w)
    two = LogisticRegressionCV(**COMMON, tol=1e-9, cv=again).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    np.testing.assert_allclose(one.scores_, two.scores_, rtol=1e-8)
    np.testing.assert_allclose(one.coef_, two.coef_, rtol=1e-6, atol=1e-9)


def test_first_of_equal_scores_wins():
    """The rule for ties is scikit-learn's: the first of the best, in the order in which Cs were given."""
    X, y = SETS["breast cancer"]
    for Cs in ([10.0, 0.1, 1.0], [1.0, 10.0, 0.1]):
        settings = dict(COMMON, Cs=Cs, scoring=lambda estimator, X, y: 1.0, cv=3)
        assert LogisticRegressionCV(**settings).fit(X, y).C_ == SklearnLogisticRegressionCV(**settings).fit(X, y).C_
        settings["refit"] = False
        assert Cs[0] == LogisticRegressionCV(**settings).fit(X, y).C_


def test_cs_in_any_order():
    """Scores and paths stand in the order of Cs, whatever the order of the fits; np.inf is no penalty."""
    X, y = load_iris().data[50:, :2], load_iris().target[50:]
    one = LogisticRegressionCV(**COMMON, Cs=[0.01, 1.0, 100.0, np.inf], tol=1e-8).fit(X, y)
    two = LogisticRegressionCV(**COMMON, Cs=[100.0, np.inf, 0.01, 1.0], tol=1e-8).fit(X, y)
    np.testing.assert_allclose(two.scores_, one.scores_[:, :, [2, 3, 0, 1]], rtol=1e-6)
    single = LogisticRegression(C=np.inf, tol=1e-8).fit(X, y)
    final = LogisticRegressionCV(**COMMON, Cs=[np.inf], tol=1e-8).fit(X, y)
    np.testing.assert_allclose(final.coef_, single.coef_, rtol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_folds_without_a_class(n_classes, fit_intercept):
    """A fold that misses a class is fitted and scored with all classes, without a warning."""
    X = np.random.default_rng(0).standard_normal((30, 3))
    y = np.repeat(np.array(["a", "b", "c"])[:n_classes], 30 // n_classes)
    clf = LogisticRegressionCV(
        **{**COMMON, "scoring": "neg_brier_score"}, cv=KFold(n_classes), fit_intercept=fit_intercept
    )
    clf.fit(X, y)
    assert np.isfinite(clf.scores_).all()
    assert np.isfinite(clf.coefs_paths_).all()
    assert clf.coefs_paths_.shape[3] == (1 if n_classes == 2 else 3)
    theirs = SklearnLogisticRegressionCV(
        **{**COMMON, "scoring": "neg_brier_score"}, cv=KFold(n_classes), fit_intercept=fit_intercept, max_iter=10_000
    ).fit(X, y)
    np.testing.assert_allclose(clf.scores_, theirs.scores_, atol=2e-3)


@pytest.mark.parametrize("make", [lambda X: X.astype(np.float32), lambda X: sp.csr_matrix(X, dtype=np.float32)])
def test_float32_is_kept(make):
    """Coefficients and paths have the dtype of X, and the scores are those in double precision."""
    X, y = SETS["breast cancer"]
    single = LogisticRegressionCV(**COMMON, Cs=4).fit(make(X), y)
    double = LogisticRegressionCV(**COMMON, Cs=4).fit(make(X).astype(np.float64), y)
    assert single.coef_.dtype == single.intercept_.dtype == single.coefs_paths_.dtype == np.float32
    np.testing.assert_allclose(single.scores_, double.scores_, rtol=1e-5)
    average = LogisticRegressionCV(**COMMON, Cs=4, refit=False).fit(make(X), y)
    assert average.coef_.dtype == average.intercept_.dtype == np.float32


def test_wide_data_are_factorised_once():
    """Fewer rows than columns: every fold works on the rows of one factor, and finds the same optimum."""
    X, y = SETS["wide"]
    problem = Problem(LogisticRegression(tol=1e-10), X, y, None, 1.0)
    train = np.arange(60)
    part = problem.of_rows(train)
    assert part.model.X.shape == (60, problem.model.X.shape[1])
    assert part.model.data is X
    found, _, result = Path(LogisticRegression(tol=1e-10), part).solve(0.3)
    alone = LogisticRegression(tol=1e-10, C=0.3).fit(X[train], y[train])
    np.testing.assert_allclose(found.attributes(result.theta)["coef_"], alone.coef_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("n_Cs", "most"), [(10, 3.0), (20, 4.0)])
def test_a_path_costs_few_single_fits(n_Cs, most):
    """Passes over X: ten values of C cost at most three times the dearest single fit, twenty at most four times."""
    for name in ("breast cancer", "wine", "digits"):
        X, y = SETS[name]
        estimator = LogisticRegression()
        problem, Cs = Problem(estimator, X, y, None, 1e4), np.logspace(-4, 4, n_Cs)
        single = max(estimator.set_params(C=C).fit(X, y).result_.counts.n_passes for C in Cs)
        path = Path(estimator, problem)
        passes = [path.solve(C)[2].counts.n_passes for C in Cs]
        assert sum(passes) <= most * single
        assert max(passes) <= single


def test_jobs_do_not_change_the_result():
    """Threads and processes give the same numbers, within limits on threads too."""
    X, y = SETS["wine"]
    one = LogisticRegressionCV(**COMMON).fit(X, y)
    two = LogisticRegressionCV(**COMMON, n_jobs=2).fit(X, y)
    with joblib.parallel_backend("loky", n_jobs=2):
        three = LogisticRegressionCV(**COMMON).fit(X, y)
    for other in (two, three):
        np.testing.assert_array_equal(one.scores_, other.scores_)
        np.testing.assert_array_equal(one.coef_, other.coef_)


def test_metadata_reach_splitter_and_scorer():
    """Groups go to the splitter, weights to the scorer that asks for them."""
    X, y = SETS["breast cancer"]
    groups, w = np.arange(len(y)) % 4, np.random.default_rng(0).random(len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        settings = dict(COMMON, Cs=3, cv=GroupKFold(4), scoring=scorer)
        ours = LogisticRegressionCV(**settings, tol=1e-8).set_fit_request(sample_weight=True)
        ours.fit(X, y, sample_weight=w, groups=groups)
        theirs = SklearnLogisticRegressionCV(**settings, tol=1e-9, solver="newton-cholesky")
        theirs.fit(X, y, sample_weight=w, groups=groups)
        np.testing.assert_allclose(ours.scores_, theirs.scores_, atol=1e-9)
        assert ours.score(X, y, sample_weight=w) == pytest.approx(theirs.score(X, y, sample_weight=w), abs=1e-9)
    with pytest.raises(ValueError, match="only supported if enable_metadata_routing=True"):
        LogisticRegressionCV(**COMMON).fit(X, y, groups=groups)


class Recorder:
    """A scikit-learn callback that notes its tasks."""

    def __init__(self, stop_at=None):
        self.begun, self.ended, self.scores, self.stop_at = [], [], [], stop_at

    def setup(self, estimator, context):
        self.begun.append("setup")

    def teardown(self, estimator, context):
        self.ended.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.ended.append(context.task_name)
        if context.task_name == "iteration":
            self.scores.append(fitted_estimator.predict(X[:5]).shape)
        return self.stop_at is not None and len(self.scores) >= self.stop_at


def test_callbacks():
    """A task for each fold, one for the last fit with its iterations; a request to stop is obeyed there."""
    X, y = SETS["breast cancer"]
    recorder = Recorder()
    clf = LogisticRegressionCV(**COMMON, Cs=3, cv=4).set_callbacks(recorder).fit(X, y)
    iterations = clf.result_.n_iter
    assert recorder.begun == ["setup", "fit", *["fold"] * 4, "refit", *["iteration"] * iterations]
    assert recorder.ended == [*["fold"] * 4, *["iteration"] * iterations, "refit", "fit", "teardown"]
    recorder = Recorder()
    LogisticRegressionCV(**COMMON, Cs=3, cv=4, refit=False).set_callbacks(recorder).fit(X, y)
    assert recorder.ended == [*["fold"] * 4, "fit", "teardown"]
    with pytest.warns(ConvergenceWarning, match="CALLBACK: stopped by a callback"):
        LogisticRegressionCV(**COMMON, Cs=3, cv=4).set_callbacks(Recorder(stop_at=1)).fit(X, y)


def test_verbose(capsys):
    """A line for each fold; from 2 on also for each iteration of the last fit."""
    X, y = SETS["wine"]
    LogisticRegressionCV(**COMMON, cv=3, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"[LogisticRegressionCV] fold {k} of 3" for k in (1, 2, 3)]
    clf = LogisticRegressionCV(**COMMON, cv=3, verbose=2).fit(X, y)
    assert len(capsys.readouterr().out.strip().splitlines()) == 3 + clf.result_.n_iter


@pytest.mark.parametrize(
    ("solver", "opening"), [("lbfgs", "lbfgs failed to conv"), (LBFGS(), "LogisticRegressionCV: ")]
)
def test_one_warning_for_all_folds(solver, opening):
    """Fits that end otherwise than converged are counted by status."""
    X, y = SETS["breast cancer"]
    with pytest.warns(ConvergenceWarning) as caught:
        LogisticRegressionCV(**COMMON, Cs=2, cv=3, max_iter=3, solver=solver, refit=False).fit(X, y)
    assert len(caught) == 1
    assert str(caught[0].message).startswith(opening)
    assert "6 of 6 fits on the folds did not converge (6 MAX_ITER: " in str(caught[0].message)


def test_separation_without_a_penalty_is_told():
    """Folds that are completely separated have no finite optimum without a penalty."""
    X = np.r_[np.linspace(-3, -1, 20), np.linspace(1, 3, 20)][:, None]
    with pytest.warns(ConvergenceWarning, match="2 SEPARATED: the classes are"):
        LogisticRegressionCV(**COMMON, Cs=[np.inf], cv=StratifiedKFold(2), refit=False).fit(X, np.repeat([0, 1], 20))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"Cs": [1.0, -1.0]}, "expected a whole number, or a list of positive numbers"),
        ({"Cs": []}, "expected a whole number, or a list of positive numbers"),
        ({"Cs": 0}, "The 'Cs' parameter"),
        ({"l1_ratios": [0.5, 2.0]}, "l1_ratios must be an array-like of numbers between 0 and 1"),
        ({"l1_ratios": []}, "l1_ratios must be an array-like of numbers between 0 and 1"),
        ({"scoring": "no such score"}, "The 'scoring' parameter"),
        ({"class_weight": {0: 1.0, 1: 1.0, 7: 1.0}}, "must have the class labels as keys; received the keys"),
        ({"solver": "saga", "dual": True}, "Solver saga supports only dual=False"),
        ({"cv": [([0, 1], [2])]}, "training rows have no weight"),
    ],
)
def test_invalid_parameters(parameters, message):
    """What was received, what is accepted, what to do; a failed fit leaves no attributes."""
    X, y = SETS["breast cancer"]
    clf = LogisticRegressionCV(**{**COMMON, **parameters})
    w = np.ones(len(y))
    w[:2] = 0.0
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y, sample_weight=w)
    assert not hasattr(clf, "coef_")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"l1_ratios": "warn"}, "default value for l1_ratios will change"),
        ({"l1_ratios": None}, "'l1_ratios=None' was deprecated"),
        ({"scoring": "warn"}, "default value of the parameter 'scoring' will change"),
        ({"use_legacy_attributes": "warn"}, "default value of use_legacy_attributes will change"),
        ({"penalty": "l2", "l1_ratios": None}, "received penalty='l2': leave it out and say l1_ratios=0"),
    ],
)
def test_deprecations(parameters, message):
    """The words of scikit-learn 1.9 by which filters find them."""
    X, y = SETS["wine"]
    with pytest.warns(FutureWarning, match=message):
        LogisticRegressionCV(**{**COMMON, **parameters}, Cs=2, cv=2).fit(X, y)


def test_processes_need_nothing_but_the_problem():
    """One fold is a function of its arguments: what a worker returns is what the parent stores."""
    X, y = SETS["wine"]
    clf = LogisticRegressionCV(**COMMON, Cs=[0.1, 1.0], cv=3).fit(X, y)
    template = LogisticRegression()
    problem = Problem(template, X, y, None, 1.0)
    template.classes_, template.n_features_in_ = problem.classes, X.shape[1]
    rows = next(iter(StratifiedKFold(3).split(X, y)))
    search = Search(template, problem, np.array([0.1, 1.0]), [0.0], get_scorer("neg_log_loss"), {})
    fold = fit_fold(search, rows, 1)
    np.testing.assert_allclose(fold.scores, clf.scores_[0], rtol=1e-6)
    np.testing.assert_allclose(fold.paths, clf.coefs_paths_[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["breast cancer", "wine", "sparse and wide"])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_the_last_fit_is_the_single_fit(name, l1_ratio):
    """coef_ is that of LogisticRegression with the chosen C: it does not depend on the folds."""
    X, y = SETS[name]
    clf = LogisticRegressionCV(**{**COMMON, "l1_ratios": (l1_ratio,)}, Cs=4, cv=2).fit(X, y)
    single = LogisticRegression(C=clf.C_, l1_ratio=l1_ratio).fit(X, y)
    np.testing.assert_allclose(clf.coef_, single.coef_, rtol=1e-6, atol=1e-9)
    assert clf.result_.n_iter == single.n_iter_[0]


@pytest.mark.parametrize("name", ["wine", "iris, strings"])
@pytest.mark.parametrize("refit", [True, False])
def test_elastic_net_agrees_with_scikit_learn(name, refit):
    """The same choice of C and l1_ratio, the same scores and paths as saga with a tight tolerance."""
    X, y = SETS[name]
    X = scale(X)[::2]
    settings = dict(COMMON, Cs=[0.05, 0.5], l1_ratios=np.array([0.0, 0.5, 1.0]), cv=3, refit=refit)
    ours = LogisticRegressionCV(**settings, tol=1e-7).fit(X, y[::2])
    theirs = SklearnLogisticRegressionCV(**settings, tol=1e-7, solver="saga", max_iter=20_000).fit(X, y[::2])
    assert (ours.C_, ours.l1_ratio_) == (theirs.C_, theirs.l1_ratio_)
    np.testing.assert_allclose(ours.scores_, theirs.scores_, atol=2e-5)
    np.testing.assert_allclose(ours.coefs_paths_, theirs.coefs_paths_, atol=5e-4)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=5e-4)
    assert (ours.coefs_paths_[:, 2] == 0.0).any()
    with pytest.raises(ValueError, match=r"received cv=.* without a fold; expected at least one"):
        LogisticRegressionCV(**{**settings, "cv": []}).fit(X, y[::2])
    with pytest.raises(ValueError, match=r"received cv='alo' with l1_ratios=.* the approximation needs a smooth"):
        LogisticRegressionCV(**{**settings, "cv": "alo"}).fit(X, y[::2])


@pytest.mark.parametrize(
    ("train", "test", "found"),
    [
        (np.arange(100), [], "no test rows in fold 1"),
        (np.arange(100), np.zeros(150, dtype=bool), "no test rows in fold 1"),
        (np.arange(100), [149, 150], r"test rows of fold 1 between 149 and 150, shape \(2,\)"),
        ([0, 149, -151], [1], r"training rows of fold 1 between -151 and 149, shape \(3,\)"),
        (np.ones(149, dtype=bool), [1], r"training rows of fold 1 of dtype bool, shape \(149,\)"),
        ([0.0, 50.0, 100.0], [1], r"training rows of fold 1 of dtype float64, shape \(3,\)"),
    ],
)
def test_folds_that_X_has_not(train, test, found):
    """Rows that are not there, and test sets without any, are named with the number of the fold."""
    X, y = SETS["iris, strings"]
    good = (np.arange(0, 150, 2), np.arange(1, 150, 2))
    with pytest.raises(ValueError, match=rf"received cv with {found}.*; expected "):
        LogisticRegressionCV(**COMMON, Cs=2, cv=[good, (train, test)]).fit(X, y)


def test_test_rows_without_weight():
    """A score of rows without weight is refused with their number, not left to a division by zero."""
    X, y = SETS["iris, strings"]
    weight = np.where(np.arange(150) % 3 == 0, 0.0, 1.0)
    folds = [(np.flatnonzero(weight), np.flatnonzero(weight == 0.0))]
    with pytest.raises(ValueError, match="received a fold whose 50 test rows have no weight; expected some"):
        LogisticRegressionCV(**COMMON, Cs=2, cv=folds).fit(X, y, weight)


def test_nothing_of_an_earlier_fit_stays():
    """A refit with other settings leaves no attribute that it does not set itself; a failed one leaves them all."""
    X, y = SETS["iris, strings"]
    clf = LogisticRegressionCV(**COMMON, Cs=2, cv="alo", tol=1e-3).fit(X, y)
    before = dict(vars(clf))
    assert {"n_exact_", "loo_error_", "optimality_", "result_"} <= set(before)
    with pytest.raises(ValueError, match="no test rows"):
        clf.set_params(cv=[(np.arange(150), [])]).fit(X, y)
    assert {**vars(clf), "cv": "alo"} == before
    clf.set_params(cv=2, refit=False).fit(X, y)
    assert set(vars(clf)) == set(vars(LogisticRegressionCV(**clf.get_params()).fit(X, y)))
    assert not {"n_exact_", "loo_error_", "optimality_", "result_"} & set(vars(clf))


def test_scores_that_are_nan_are_not_chosen():
    """A C without a score is never the best one, and a fold without any says nothing; both are told."""
    X, y = load_iris(return_X_y=True)
    seen = []

    def scorer(estimator, test, labels):
        seen.append(len(seen))
        return np.nan if estimator.C < 1.0 or len(seen) <= 4 else estimator.C

    search = LogisticRegressionCV(
        Cs=[0.1, 1.0, 0.5, 2.0], cv=3, l1_ratios=(0,), scoring=scorer, use_legacy_attributes=False
    )
    with pytest.warns(UserWarning, match="8 of 12 scores on the folds are NaN and were left out of the choice: take"):
        search.fit(X, y)
    assert search.C_ == 2.0

"""Odd things that scikit-learn's classes take or refuse: the same here."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sosolve import LogisticRegression, LogisticRegressionCV

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X) + np.random.default_rng(0).standard_normal(X.shape)
B = (Y == 1).astype(int)
SEARCH = {"Cs": 3, "l1_ratios": (0,), "use_legacy_attributes": False, "scoring": "accuracy", "cv": 3}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "lbfgs", "penalty": "l1", "l1_ratio": 1, "C": np.inf}, "'l2' or None penalties, got l1 penalty"),
        ({"solver": "newton-cg", "penalty": "elasticnet", "l1_ratio": 0}, "got elasticnet penalty"),
        ({"solver": "liblinear", "penalty": "elasticnet", "l1_ratio": 1}, "Only 'saga' solver supports elasticnet"),
        ({"solver": "liblinear", "penalty": "l1", "l1_ratio": 1, "dual": True}, "Unsupported set of arguments"),
        ({"solver": "liblinear", "C": np.inf}, "C=np.inf as well as penalty=None is not supported"),
    ],
)
@pytest.mark.filterwarnings("ignore:'penalty' was deprecated:FutureWarning")
def test_penalties_are_refused_by_their_names(parameters, message):
    """A solver that knows no penalty of that name refuses it, whatever its share of L1 or C."""
    with pytest.raises(ValueError, match=message):
        LogisticRegression(**parameters).fit(X, B)


def test_a_mixture_without_a_penalty_is_told():
    with pytest.warns(UserWarning, match=r"l1_ratio parameter is only used .* Got \(penalty=None\)"):
        LogisticRegression(C=np.inf, l1_ratio=0.5).fit(X, B)


def test_many_classes_are_told():
    """Every row another class: regression, most likely. A few rows may be so."""
    y = np.arange(30)
    with pytest.warns(UserWarning, match="number of unique classes is greater than 50%"):
        LogisticRegression(C=0.01).fit(X[:30], y)
    LogisticRegression(C=0.01).fit(X[:20], y[:20])


@pytest.mark.parametrize("tol", [1e200, np.finfo(float).max])
def test_any_tolerance(tol):
    """A square that overflows is no error."""
    assert LogisticRegression(tol=tol).fit(X, Y).result_.converged
    assert LogisticRegressionCV(tol=tol, **SEARCH).fit(X, B).result_.converged


def test_csr_arrays_with_room_to_spare():
    """Entries behind the last row belong to none."""
    S = sp.random(150, 6, density=0.3, random_state=0, format="csr")
    expected = LogisticRegression().fit(S, Y)
    roomy = S.copy()
    roomy.data, roomy.indices = np.r_[S.data, 9.0, 9.0], np.r_[S.indices, 0, 0]
    clf = LogisticRegression().fit(roomy, Y)
    np.testing.assert_array_equal(clf.coef_, expected.coef_)
    np.testing.assert_array_equal(clf.predict(roomy), expected.predict(S))
    assert len(roomy.data) == S.nnz + 2


def test_warm_start_with_other_labels():
    """Where the shapes agree it is a start like any other."""
    clf = LogisticRegression(warm_start=True, tol=1e-8).fit(X, Y)
    names = np.array(["a", "b", "c"])
    np.testing.assert_allclose(clf.fit(X, names[Y]).coef_, LogisticRegression(tol=1e-8).fit(X, Y).coef_, rtol=1e-6)
    assert clf.classes_.tolist() == names.tolist()


def test_coefficients_set_by_hand_as_a_vector():
    clf = LogisticRegression().fit(X, B)
    P = clf.predict_proba(X)
    clf.coef_ = clf.coef_[0]
    np.testing.assert_array_equal(clf.predict_proba(X), P)


def test_liblinear_has_two_classes_by_its_tags():
    assert not get_tags(LogisticRegression(solver="liblinear")).classifier_tags.multi_class
    assert get_tags(LogisticRegression()).classifier_tags.multi_class


def test_one_class_with_weight_is_named():
    """With a penalty the cure is not a penalty."""
    with pytest.warns(ConvergenceWarning, match="Found that one class alone has weight, so that the intercept may"):
        LogisticRegression().fit(X, Y, (Y == 2).astype(float))


def test_coefficients_beyond_the_largest_number():
    """Without a penalty those of a column of denormals: finite, so that predictions are."""
    tiny = np.column_stack([X, np.random.default_rng(1).standard_normal(150) * 1e-310])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = LogisticRegression(C=np.inf).fit(tiny, B)
    assert np.isfinite(clf.coef_).all()
    assert np.isfinite(clf.decision_function(tiny)).all()


def test_searches_take_one_weight_for_all_rows():
    found = LogisticRegressionCV(**SEARCH).fit(X, Y, sample_weight=2.0)
    expected = LogisticRegressionCV(**SEARCH).fit(X, Y, sample_weight=np.full(150, 2.0))
    np.testing.assert_allclose(found.scores_, expected.scores_)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-6)


def test_what_scorers_return():
    """An array of one number is one; anything else is named."""
    settings = {**SEARCH, "scoring": lambda clf, A, y: np.array([clf.score(A, y)])}
    expected = LogisticRegressionCV(**SEARCH).fit(X, Y)
    np.testing.assert_allclose(LogisticRegressionCV(**settings).fit(X, Y).scores_, expected.scores_)
    for score in (None, "good", {"a": 1.0}):
        with pytest.raises(ValueError, match="from the scorer; expected a number"):
            LogisticRegressionCV(**{**SEARCH, "scoring": lambda clf, A, y, score=score: score}).fit(X, Y)


@pytest.mark.parametrize("Cs", [["a"], [[1.0], [1.0, 2.0]], [-1.0], np.array(3)])
def test_strengths_that_are_none(Cs):
    with pytest.raises(ValueError, match=r"received Cs=.*expected a whole number, or a list of positive numbers"):
        LogisticRegressionCV(**{**SEARCH, "Cs": Cs}).fit(X, Y)


def test_callers_who_raise_for_underflow():
    """Probabilities of zero are no error under np.errstate(all="raise")."""
    with np.errstate(all="raise"):
        for y in (Y, B):
            clf = LogisticRegression().fit(X, y)
            np.testing.assert_allclose(clf.predict_proba(X * 1e200).sum(axis=1), 1.0)
            assert np.isfinite(clf.predict_log_proba(X * 1e200)).all()

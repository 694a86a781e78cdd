"""Separation and dependent columns: classified right, named, and no false alarm."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from quiet_callback import QuietCallback
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from tables import make_tables

from sosolve import LogisticRegression, SoftmaxRegression, Status
from sosolve.estimators import identification, separation, weak_penalty

SEEDS = [*range(40), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(40, 300))]


def overlapping(rng, K, n=24, d=3):
    """Return data in which every point occurs with every class, and some noise: no direction separates."""
    base = rng.standard_normal((n // K + d + 1, d))
    X = np.vstack([np.repeat(base, K, axis=0), rng.standard_normal((n, d))])
    y = np.concatenate([np.tile(np.arange(K), len(base)), rng.integers(0, K, n)])
    return X, y


def fitted(X, y, **settings):
    """Return an unpenalised fit, warnings let through to nobody."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=np.inf, **settings).fit(X, y)


def drawn(seed):
    """Return the generator, the number of classes and the settings of a seed."""
    rng = np.random.default_rng(seed)
    solver = str(rng.choice(["auto", "auto", "newton-cg", "lbfgs", "trust-region"]))
    return rng, int(rng.choice([2, 3])), dict(solver=solver, max_iter=500)


def gap(clf, X, y):
    """Return the gap between the first two classes in the scores along the direction, above 0 where they are apart."""
    D = clf.optimality_.direction
    difference = X @ (D if D.ndim == 1 else D[1] - D[0])
    return difference[y == 1].min() - difference[y == 0].max()


@pytest.mark.parametrize("seed", SEEDS)
def test_complete_separation(seed):
    """Labels from a linear rule: complete, with a direction that separates all rows."""
    rng, K, settings = drawn(seed)
    X = rng.standard_normal((40, 3)) * 10.0 ** rng.uniform(-3, 3, 3)
    if K == 2:
        y = (X @ (rng.standard_normal(3) / X.std(axis=0)) > 0.1).astype(int)
    else:
        y = np.argmax(X @ (rng.standard_normal((3, K)) / X.std(axis=0)[:, None]), axis=1)
    y = np.unique(y, return_inverse=True)[1]
    clf = fitted(X, y, **settings)
    assert clf.result_.status is Status.SEPARATED
    found = clf.optimality_
    assert found.separation == "complete"
    assert "complete separation along the column" in str(found)
    assert found.direction.shape == ((3,) if y.max() == 1 else (y.max() + 1, 3))
    assert gap(clf, X, y) > 0.0


def with_a_rare_level(rng, K):
    """Return data that overlap, and a last column whose few ones are all of one class."""
    X, y = overlapping(rng, K)
    m = int(rng.integers(1, 6))
    level = np.concatenate([np.zeros(len(X)), np.ones(m)])
    X = np.c_[np.vstack([X, rng.standard_normal((m, 3))]), level]
    y = np.append(y, np.full(m, int(rng.integers(K))))
    return X, y


@pytest.mark.parametrize("seed", SEEDS)
def test_quasi_complete_separation(seed):
    """A rare level that predicts its class perfectly, on data that overlap otherwise: the level is named."""
    rng, K, settings = drawn(seed)
    X, y = with_a_rare_level(rng, K)
    if rng.random() < 0.3:
        X = sp.csr_array(X)
    clf = fitted(X, y, **settings)
    assert clf.result_.status is Status.SEPARATED
    assert clf.optimality_.separation == "quasi"
    assert clf.optimality_.separating == (3,)
    assert "quasi-complete separation along the column 3" in str(clf.optimality_)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_separation(seed):
    """Every point with every class: converged, with nothing to tell."""
    rng, K, settings = drawn(seed)
    X, y = overlapping(rng, K)
    clf = LogisticRegression(C=np.inf, **settings).fit(X * 10.0 ** rng.uniform(-3, 3, 3), y)
    found = clf.optimality_
    assert clf.result_.converged
    assert found.separation is None
    assert found.direction is None
    assert found.separating == found.dependent == found.notes == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_dependent_columns(seed):
    """A combination of two columns, a copy or a constant: named; the coefficients have the least norm."""
    rng, K, settings = drawn(seed)
    X, y = overlapping(rng, K)
    extra = [X[:, 0] - 2.0 * X[:, 1], X[:, 2], np.full(len(X), 3.0)][int(rng.integers(3))]
    wide = np.c_[X, extra] * 10.0 ** rng.uniform(-2, 2, 4)
    clf = LogisticRegression(C=np.inf, tol=1e-7, **settings).fit(wide, y)
    assert clf.result_.converged
    assert clf.optimality_.dependent == (3,)
    assert "3 is a" in clf.optimality_.message.replace("constant", "a constant")
    plain = LogisticRegression(C=np.inf, tol=1e-7, **settings).fit(X, y)
    np.testing.assert_allclose(clf.predict_proba(wide), plain.predict_proba(X), atol=1e-4)
    null = np.linalg.svd(wide - wide.mean(axis=0))[2][-1]
    assert np.abs(clf.coef_ @ null).max() <= 1e-9 * np.abs(clf.coef_).max()


def test_no_false_alarm():
    """Data that overlap, rough and unscaled, and nearly collinear ones: nothing is found, nothing warned."""
    X, y = load_breast_cancer(return_X_y=True)
    cases = [(X[:, :4], y), (load_iris().data, load_iris().target == 1), (load_wine().data[:, :2], load_wine().target)]
    tables = make_tables()
    names = ("dense", "float32", "unscaled", "means of 1e6", "three classes", "ten classes", "three classes, sparse")
    cases += [(tables[name].X, tables[name].y) for name in names]
    rng = np.random.default_rng(0)
    near = tables["dense"].X
    cases.append((np.c_[near, near[:, 0] + 1e-6 * rng.standard_normal(len(near))], tables["dense"].y))
    for data, target in cases:
        for solver in ("auto", "newton-cg"):
            found = LogisticRegression(C=np.inf, solver=solver).fit(data, target).optimality_
            assert found.status is Status.CONVERGED
            assert not found.notes, found


def test_real_data():
    """Raw breast cancer, wine and digits are separable; of iris one class is."""
    for load, kind in ((load_breast_cancer, "complete"), (load_wine, "complete"), (load_iris, "quasi")):
        found = fitted(*load(return_X_y=True)).optimality_
        assert found.separation == kind
        assert found.separating
    digits = fitted(*load_digits(return_X_y=True)).optimality_
    assert digits.separation == "complete"
    assert digits.dependent == (0, 32, 39)  # the pixels that are always empty


def test_names_of_a_frame_and_the_warning():
    """Columns by their names, in the warning too."""
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X, y = overlapping(rng, 2, n=200)
    frame = pandas.DataFrame(X, columns=list("abc"))
    frame["city_rare"] = 0.0
    frame.loc[:3, "city_rare"] = 1.0
    y[:4] = 1
    with pytest.warns(
        ConvergenceWarning, match=r"SEPARATED.*Found quasi-complete separation along the column 'city_rare'"
    ):
        clf = LogisticRegression(C=np.inf).fit(frame, y)
    assert clf.optimality_.separating == ("city_rare",)
    assert "separation='quasi'" in repr(clf.optimality_)
    dummies = frame.drop(columns="city_rare").assign(left=frame.a > 0, right=frame.a <= 0)
    plain = LogisticRegression(C=np.inf).fit(dummies, y)
    assert plain.optimality_.dependent == ("right",)
    assert "dependent=['right']" in repr(plain.optimality_)
    assert plain.coef_[0, 3] == pytest.approx(-plain.coef_[0, 4])


@pytest.mark.parametrize("reference", [None, 0, 1, 2])
def test_softmax_with_and_without_a_reference(reference):
    """The same findings however the classes become outputs; centred or against the reference."""
    rng = np.random.default_rng(1)
    for K in (2, 3):
        if reference == 2 and K == 2:
            continue
        X, y = overlapping(rng, K)
        wide = np.c_[X, X[:, 0] + X[:, 1]]
        clf = SoftmaxRegression(C=np.inf, reference_class=reference, tol=1e-8).fit(wide, y)
        assert clf.optimality_.dependent == (3,)
        assert np.abs(clf.coef_ @ [1.0, 1.0, 0.0, -1.0]).max() < 1e-12
        if reference is None:
            np.testing.assert_allclose(clf.coef_.sum(axis=0), 0.0, atol=1e-12)
        level = np.zeros(len(X) + 2)
        level[-2:] = 1.0
        with pytest.warns(ConvergenceWarning, match="SEPARATED"):
            clf.fit(np.c_[np.vstack([X, X[:2]]), level], np.append(y, [1, 1]))
        assert clf.optimality_.separation == "quasi"
        assert clf.optimality_.separating == (3,)


def test_weights_decide_which_rows_count():
    """A row without weight neither separates nor overlaps; a class without weight is no separation."""
    X, y = overlapping(np.random.default_rng(2), 2)
    X = np.c_[X, np.zeros(len(X))]
    X[5, 3] = 1.0
    w = np.ones(len(X))
    w[5] = 0.0
    clf = LogisticRegression(C=np.inf).fit(X, y, sample_weight=w)
    assert clf.optimality_.separation is None
    assert clf.optimality_.dependent == (3,)
    assert clf.coef_[0, 3] == 0.0
    three = np.append(y, [2, 2, 2])
    w = np.append(w, [0.0, 0.0, 0.0])
    X = np.vstack([X, np.zeros((3, 4))])
    found = fitted(X, three).optimality_
    assert found.separation is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(C=np.inf).fit(X, three, sample_weight=w).optimality_
    assert found.separation is None


def test_many_rows(monkeypatch):
    """The programme begins with some comparisons and adds those that its answer violates."""
    rng = np.random.default_rng(0)
    X, y = overlapping(rng, 2, n=2000)
    m = 30
    X = np.c_[np.vstack([X, rng.standard_normal((m, 3))]), np.r_[np.zeros(len(X)), np.ones(m)]]
    y = np.append(y, np.ones(m, dtype=int))
    rounds = []
    original = separation._won
    monkeypatch.setattr(separation, "_won", lambda A: rounds.append(len(A)) or original(A))
    monkeypatch.setattr(separation, "COMPARED", 60)
    found = fitted(X, y).optimality_
    assert found.separation == "quasi"
    assert found.separating == (3,)
    assert len(rounds) > 1
    monkeypatch.setattr(separation, "ROUNDS", 1)
    assert fitted(X, y).optimality_.separation is None  # not proved, not claimed


def test_the_programme_is_skipped_where_it_would_be_large(monkeypatch):
    """Complete separation is read off the margins then; the direction is that of the coefficients."""
    monkeypatch.setattr(separation, "MOST_PARAMETERS", 0)
    X, y = load_wine(return_X_y=True)
    for target in (y, y == 1):
        clf = fitted(X, target)
        assert clf.optimality_.separation == "complete"
        assert clf.optimality_.direction.shape == ((3, 13) if target is y else (13,))
    assert fitted(*load_iris(return_X_y=True)).optimality_.separation is None


def test_collinear_to_1e10_is_not_called_dependent():
    """Columns that differ by 1e-6 of their size are different; by 1e-12 they are the same."""
    X, y = overlapping(np.random.default_rng(0), 2, n=200)
    noise = np.random.default_rng(1).standard_normal(len(X))
    for size, dependent in ((1e-6, ()), (1e-12, (3,))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            assert fitted(np.c_[X, X[:, 0] + size * noise], y).optimality_.dependent == dependent


@pytest.mark.parametrize("K", [2, 3])
def test_columns_that_all_but_agree_keep_what_tells_them_apart(K):
    """Offsets of 1e9 without an intercept: least norm would give up the minimum for the sake of the tenth digit."""
    X, y = overlapping(np.random.default_rng(0), K, n=200)
    X = np.c_[X[:, :2] + 1e9, X[:, 2], X[:, 2]]  # the last one is a copy, and dependent
    clf = LogisticRegression(C=np.inf, fit_intercept=False).fit(X, y)
    loss = -clf.predict_log_proba(X)[np.arange(len(y)), y].sum()
    assert loss == pytest.approx(clf.optimality_.value, rel=1e-4)
    assert clf.optimality_.dependent == (3,)


def test_a_fit_that_was_stopped_is_not_searched(monkeypatch):
    """No linear programme after a stop request: the status stays that of the stop."""
    monkeypatch.setattr(identification, "separation", lambda *_: pytest.fail("searched"))

    class Stop(QuietCallback):
        """Asks to stop at once."""

        def on_fit_task_end(self, estimator, context):
            """Ask to stop."""
            return True

    X, y = load_wine(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="CALLBACK"):
        clf = LogisticRegression(C=np.inf, solver="newton-cg").set_callbacks(Stop()).fit(X, y)
    assert clf.optimality_.separation is None


@pytest.mark.parametrize("C", [1e6, 1e12])
@pytest.mark.parametrize("K", [2, 3])
def test_separation_under_a_tiny_penalty(K, C):
    """Found and named; the fit has a minimum and no warning."""
    rng = np.random.default_rng(K)
    y = np.arange(60) % K
    X = rng.standard_normal((60, 4))
    X[:, 1] = 10.0 * y + rng.random(60)
    clf = LogisticRegression(C=C).fit(X, y)
    found = clf.optimality_
    assert clf.result_.converged
    assert found.separation == "complete"
    assert 1 in found.separating
    assert len(found.separating) < 4
    assert "the penalty alone" in found.message
    assert "no minimum" not in found.message
    if K == 2:
        scores = X @ found.direction
        assert scores[y == 1].min() > scores[y == 0].max()


@pytest.mark.parametrize("seed", SEEDS)
def test_quasi_complete_separation_under_a_tiny_penalty(seed):
    """The rare level is named, with weights too; where it occurs with every class nothing is."""
    rng, K, settings = drawn(seed)
    X, y = with_a_rare_level(rng, K)
    weights = rng.uniform(0.5, 2.0, len(y)) if rng.random() < 0.5 else None
    C = 10.0 ** rng.uniform(6.0, 12.0)
    clf = LogisticRegression(C=C, **settings).fit(sp.csr_array(X) if rng.random() < 0.3 else X, y, weights)
    found = clf.optimality_
    assert clf.result_.converged
    assert found.separation == "quasi"
    assert found.separating == (3,)
    assert "quasi-complete separation along the column 3" in found.message
    assert "the penalty alone" in found.message
    assert "no minimum" not in found.message
    m = int(X[:, 3].sum())
    both, labels = np.vstack([X, *[X[-m:]] * (K - 1)]), np.append(y, np.repeat((y[-1] + np.arange(1, K)) % K, m))
    assert LogisticRegression(C=C, **settings).fit(both, labels).optimality_.separation is None


def test_a_large_hessian_is_not_formed_for_the_question(monkeypatch):
    """Then quasi-complete separation under a tiny penalty is not told."""
    rng = np.random.default_rng(0)
    X, y = overlapping(rng, 2)
    X = np.c_[X, np.arange(len(X)) == np.flatnonzero(y)[0]]
    told = LogisticRegression(C=1e8, solver="newton-cg").fit(X, y).optimality_.separation
    monkeypatch.setattr(weak_penalty, "MOST_PARAMETERS", 4)
    assert LogisticRegression(C=1e8, solver="newton-cg").fit(X, y).optimality_.separation is None
    assert told == "quasi"


@pytest.mark.parametrize("seed", range(10))
def test_no_separation_under_a_tiny_penalty(seed):
    """Nor is anything reported of separated data where the penalty is an ordinary one."""
    rng = np.random.default_rng(seed)
    X, y = overlapping(rng, 2 + seed % 2)
    assert LogisticRegression(C=1e8).fit(X, y).optimality_.separation is None
    X[:, 0] = y
    assert LogisticRegression().fit(X, y).optimality_.separation is None


def test_separation_by_more_columns_than_rows():
    """The problem is stated in its rows: the coefficients themselves are the direction."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 400)), np.arange(20) % 2
    found = LogisticRegression(C=1e8).fit(X, y).optimality_
    assert found.separation == "complete"
    assert found.direction.shape == (400,)
    assert found.status is Status.CONVERGED

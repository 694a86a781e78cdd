"""Small fits at the limits of double precision: looked at with twice the digits, solved, or told."""

import math
import warnings
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sosolve import LogisticRegression
from sosolve.estimators.audit import audited
from sosolve.estimators.certificate import certify
from sosolve.estimators.problem import Problem
from sosolve.estimators.sharp import SharpObjective
from sosolve.estimators.twofold import Twofold, cholesky, solved
from sosolve.solvers import NewtonCholesky, ProximalNewton


def drawn(seed, n=100, d=4, K=2):
    """Return columns of size one and overlapping classes."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, d))
    scores = Z @ rng.standard_normal((d, K)) + rng.gumbel(size=(n, K))
    return Z, scores.argmax(axis=1)


def exact(x):
    """Return the elements as fractions."""
    return [Fraction(float(a)) + Fraction(float(b)) for a, b in zip(np.ravel(x.hi), np.ravel(x.lo), strict=True)]


def test_twofold_numbers_have_32_digits():
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(9) * 10.0 ** rng.uniform(-8, 8, 9) for _ in range(2))
    total = exact((Twofold(a) * b).total(0))[0]
    assert abs(float(total / sum(Fraction(x) * Fraction(y) for x, y in zip(a, b, strict=True)) - 1)) < 1e-30
    for q, x, y in zip(exact(Twofold(a) / b), a, b, strict=True):
        assert abs(float(q * Fraction(y) / Fraction(x) - 1)) < 1e-30
    assert Twofold(np.zeros((0, 2))).total(0).hi.tolist() == [0.0, 0.0]


def test_twofold_factor_of_a_matrix_that_doubles_lose():
    """Columns that agree to ten digits: the condition of their products is 1e20."""
    rng = np.random.default_rng(0)
    B = rng.standard_normal((20, 5))
    B[:, 1] = B[:, 0] + 1e-10 * B[:, 1]
    H = (Twofold(B)[:, :, None] * B[:, None, :]).total(0)
    L, pivots = cholesky(H, 1e-30)
    x = solved(L, Twofold(np.ones(5)))
    left = (H * x[None, :]).total(1) - 1.0
    assert np.abs(left.hi).max() < 1e-10
    assert pivots.argmin() == 1
    L, pivots = cholesky(H, 1e-15)
    assert L.hi[1].tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
    assert cholesky(H, 1e-15, np.full(5, True))[0].hi[1, 1] == pytest.approx(1e-7)


@pytest.mark.parametrize("C", [1.0, np.inf])
@pytest.mark.parametrize("K", [2, 3])
def test_means_of_1e12_deviations(C, K):
    """The intercept absorbs the mean: the same value as without it, and a proof."""
    Z, y = drawn(0, K=K)
    X = Z + 1e12 * np.array([1.0, 0.0, 0.0, 0.0])
    clf = LogisticRegression(C=C).fit(X, y)
    plain = LogisticRegression(C=C).fit(X - X.round(-9), y)
    assert clf.result_.converged
    assert clf.optimality_.relative_bound < 1e-6
    assert clf.optimality_.value == pytest.approx(plain.optimality_.value, rel=1e-6)


def test_offsets_of_1e12_without_an_intercept():
    """What the offsets share is a free intercept; a and -a are what is left of their coefficients."""
    Z, y = drawn(1)
    X = Z + 1e12 * np.array([1.0, 1.0, 0.0, 0.0])
    clf = LogisticRegression(fit_intercept=False).fit(X, y)
    difference = np.c_[X[:, 0] - X[:, 1], Z[:, 2:]]
    same = LogisticRegression(penalty_weights=[2.0, 1.0, 1.0]).fit(difference, y)
    assert clf.result_.converged
    assert clf.optimality_.value == pytest.approx(same.optimality_.value, rel=1e-6)


@pytest.mark.parametrize("C", [1.0, 1e6, np.inf])
@pytest.mark.parametrize(("K", "size"), [(2, 1e8), (2, 1e15), (3, 1e12)])
def test_a_row_far_out_leaves_a_proof(C, K, size):
    """The row is right or wrong whatever the others are; nothing is separated."""
    Z, y = drawn(2, K=K)
    Z[0] *= size
    found = LogisticRegression(C=C).fit(Z, y).optimality_
    assert found.status.name == "CONVERGED"
    assert found.separation is None
    assert found.relative_bound < 1e-6


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("settings", [{"C": 0.3}, {"C": 0.3, "l1_ratio": 1.0}, {"C": 3.0, "l1_ratio": 0.5}])
def test_the_audit_goes_on_to_the_minimum(settings, K):
    """From a first step: coefficients leave zero and come to it."""
    X, y = drawn(3, d=6, K=K)
    clf = LogisticRegression(**settings)
    problem = Problem(clf, X, y, None, settings["C"], settings.get("l1_ratio", 0.0))
    solver = ProximalNewton(max_iter=1) if "l1_ratio" in settings else NewtonCholesky(max_iter=1)
    result = solver.minimize(problem.objective, problem.start(clf))
    with np.errstate(all="ignore"):
        found = audited(problem, result, certify(problem, result), 1e-4, range(6))
    best = LogisticRegression(**settings, tol=1e-8).fit(X, y).optimality_
    assert found.value == pytest.approx(best.value, rel=1e-9)
    assert found.relative_bound < 1e-9
    assert result.converged


def test_a_loose_tolerance_that_is_met_is_no_stall():
    """What is asked for is proved, however little that is."""
    Z, y = drawn(0)
    clf = LogisticRegression(tol=0.05)
    problem = Problem(clf, Z, y, None, 1.0, 0.0)
    result = NewtonCholesky().minimize(problem.objective, problem.start(clf))
    result.theta = 0.93 * result.theta
    proof = replace(certify(problem, result), bound=math.inf)
    found = audited(problem, result, proof, 0.05, range(Z.shape[1]))
    assert 1e-3 < found.relative_bound < 1e-2
    assert result.converged


def test_losses_of_rows_that_are_all_but_certain_keep_their_digits():
    """exp(-40) and less, which one plus it would swallow."""
    Z = np.array([[40.0, 0.0, -1.0], [0.0, 300.0, 1.0]])
    rows = SimpleNamespace(s=np.ones(2), y=np.array([0, 1]))
    losses, *_ = SharpObjective._softmax(rows, Twofold(Z))
    np.testing.assert_allclose(losses, [math.exp(-40.0) + math.exp(-41.0), math.exp(-300.0) + math.exp(-299.0)], 1e-14)


def test_single_precision_that_cannot_hold_the_coefficients():
    """Columns that agree to seven digits have large coefficients of opposite signs: rounded, they miss the minimum."""
    Z, y = drawn(6)
    X = np.c_[Z, Z[:, 0] + 3e-7 * np.random.default_rng(0).standard_normal(100)].astype(np.float32)
    with pytest.warns(ConvergenceWarning, match=r"STALLED.*rounded to float32 are .* % above .*or pass float64"):
        clf = LogisticRegression(C=np.inf).fit(X, y)
    loss = -clf.predict_log_proba(X.astype(np.float64))[np.arange(100), y].sum()
    assert loss - LogisticRegression(C=np.inf).fit(X.astype(np.float64), y).optimality_.value <= clf.optimality_.bound


def test_columns_that_agree_to_twelve_digits_are_named():
    """They count as dependent without a penalty, but what tells them apart may be what matters."""
    Z, y = drawn(5)
    X = Z + 1e12 * np.array([1.0, 1.0, 0.0, 0.0])
    with pytest.warns(ConvergenceWarning, match=r"STALLED.*the columns .* agree with combinations of others"):
        LogisticRegression(C=np.inf, fit_intercept=False).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # copies, and sums of others, are no reason to warn
        LogisticRegression(C=np.inf).fit(np.c_[Z, Z[:, 0] + Z[:, 1], 0.1 * Z[:, 2] + 5.0], y)


@pytest.mark.parametrize("K", [2, 3])
def test_what_a_saturated_row_hides(K):
    """Columns that agree but for one row far out: the minimum is 1e6 steps away, beyond what that row seems to hold."""
    Z, y = drawn(8, K=K)
    Z[:, 1] = Z[:, 0] + 1e-7 * Z[:, 1]
    Z[0, 1] *= 1e8
    found = LogisticRegression(C=np.inf, fit_intercept=False).fit(Z, y).optimality_
    rest = LogisticRegression(C=np.inf, fit_intercept=False).fit(Z[1:], y[1:]).optimality_
    assert found.status.name == "CONVERGED"
    assert found.value - rest.value >= -found.bound - rest.bound
    assert found.relative_bound < 1e-6

"""Several values of C side by side: the minimisers of single fits, for fewer passes over X."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from sosolve import LogisticRegression, LogisticRegressionCV
from sosolve.estimators.path import Path
from sosolve.estimators.problem import Problem
from sosolve.estimators.together import _corrected
from sosolve.objectives import many

CS = np.logspace(-4, 4, 20)


def noisy(n, d, dtype=np.float64, order="C"):
    """Return overlapping classes, columns of several units."""
    rng = np.random.default_rng(d)
    X = rng.standard_normal((n, d)) @ (np.eye(d) + 0.3 * rng.standard_normal((d, d)) / np.sqrt(d))
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-X @ rng.standard_normal(d) * 2.0 / np.sqrt(d) - 0.5))).astype(int)
    return np.asarray(X * np.logspace(-2, 2, d) + 5.0, dtype=dtype, order=order), y


def solved(X, y, Cs, monkeypatch, sample_weight=None, offset=None, **settings):
    """Return the ends, the rounds over all rows, and how often the loop of all solvers ran."""
    rounds, loops = [], []
    at, solve = many.Many.at, Path.solve
    estimator = LogisticRegression(**settings)
    with np.errstate(all="ignore"), monkeypatch.context() as patch:
        patch.setattr(many.Many, "at", lambda self, t: rounds.append(len(self.y)) or at(self, t))
        patch.setattr(Path, "solve", lambda self, C, *rest: loops.append(C) or solve(self, C, *rest))
        problem = Problem(estimator, X, y, sample_weight, float(np.max(Cs)), 0.0, True, offset)
        ends = Path(estimator, problem).solve_all(np.asarray(Cs))
    return ends, sum(n == len(y) for n in rounds), len(loops)


def excess(X, y, C, found, weights=1.0, offset=0.0):
    """Return the relative excess of the objective over that of a tight single fit."""

    def value(coef, intercept):
        w, b = np.asarray(coef, dtype=float).ravel(), float(np.ravel(intercept)[0])
        z = X.astype(float) @ w + b + offset
        return C * np.sum(weights * np.logaddexp(0.0, np.where(y == 1, -z, z))) + 0.5 * w @ w

    given = dict(sample_weight=None if np.isscalar(weights) else weights)
    given |= {} if np.isscalar(offset) else {"offset": offset}
    best = LogisticRegression(C=C, tol=1e-8, max_iter=1000).fit(X, y, **given)
    return value(found["coef_"], found["intercept_"]) / value(best.coef_, best.intercept_) - 1.0


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        ((500, 20), {}),
        ((900, 8), {"fit_intercept": False, "class_weight": "balanced"}),
        ((700, 12, np.float32, "F"), {"solver": "liblinear"}),
    ],
)
def test_small_paths(data, settings, monkeypatch):
    """Each C meets the tolerance of a single fit; all of them come from few passes."""
    X, y = noisy(*data)
    ends, rounds, loops = solved(X, y, CS, monkeypatch, **settings)
    assert (loops, [end.bad for end in ends]) == (0, [None] * 20)
    assert rounds <= 13
    if settings.get("fit_intercept", True):
        for C, end in list(zip(CS, ends, strict=True))[::3]:
            assert excess(X, y, C, end.attributes) < (2e-8 if X.dtype == np.float64 else 1e-6)
    tight = LogisticRegression(**settings, C=CS[9], tol=1e-8).fit(X, y)
    np.testing.assert_allclose(
        ends[9].attributes["coef_"], tight.coef_, rtol=1e-3, atol=1e-3 * np.abs(tight.coef_).max()
    )


def test_weights_and_offsets(monkeypatch):
    """They mean what they mean in a single fit."""
    X, y = noisy(600, 10)
    rng = np.random.default_rng(1)
    weights, offset = rng.integers(0, 3, 600).astype(float), rng.standard_normal(600)
    ends, _, loops = solved(X, y, CS, monkeypatch, sample_weight=weights, offset=offset)
    assert loops == 0
    for k in (0, 10, 19):
        assert excess(X, y, CS[k], ends[k].attributes, weights, offset) < 2e-8


def test_large_data_begin_on_a_sample(monkeypatch):
    """Curvatures and starts come from a sample of the rows; all rows are passed a few times."""
    X, y = noisy(30_000, 6)
    monkeypatch.setattr(many, "WRITTEN", 0)
    term = Problem(LogisticRegression(), X, y, None, 1.0).data
    every, sample = many.many_of(term)
    assert every.A is None
    assert len(sample.y) < 0.1 * len(y)
    theta = np.random.default_rng(0).standard_normal((3, 7))
    values, grads = every.at(theta)
    for k in range(3):
        assert values[k] == pytest.approx(term.at(theta[k]).value, rel=1e-12)
        np.testing.assert_allclose(grads[k], term.at(theta[k]).grad, atol=1e-13)
    rough, exact = sample.curvature(theta[0]), term.at(theta[0]).curvature.dense()
    assert 0.0 < np.abs(rough - exact).max() < 0.3 * np.abs(exact).max()
    ends, rounds, loops = solved(X, y, CS, monkeypatch)
    assert (loops, rounds <= 6) == (0, True)
    for k in (0, 7, 13, 19):
        assert excess(X, y, CS[k], ends[k].attributes) < 2e-8


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_softmax_at_many_parameters(fit_intercept):
    """Values, gradients and the Hessian are those of the term, with weights and offsets."""
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((90, 4)) * 3.0 + 1.0, rng.integers(0, 3, 90)
    offset, weights = rng.standard_normal((90, 3)), rng.integers(1, 4, 90).astype(float)
    term = Problem(LogisticRegression(fit_intercept=fit_intercept), X, y, weights, 1.0, offset=offset).data
    every, sample = many.many_of(term)
    assert every is sample
    theta = rng.standard_normal((4, term.size))
    values, grads = every.at(theta)
    for k in range(4):
        point = term.at(theta[k])
        assert values[k] == pytest.approx(point.value, rel=1e-12)
        np.testing.assert_allclose(grads[k], point.grad, atol=1e-13)
        np.testing.assert_allclose(every.curvature(theta[k]), point.curvature.lifted(), atol=1e-13)


def test_softmax_paths(monkeypatch):
    """Each C of four classes meets the tolerance; a class without a row leaves all of them to the loop."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((300, 6))
    y = np.argmax(X @ rng.standard_normal((6, 4)) + rng.gumbel(size=(300, 4)), axis=1)
    ends, rounds, loops = solved(X, y, CS, monkeypatch)
    assert (loops, [end.bad for end in ends]) == (0, [None] * 20)
    assert rounds <= 15
    for C, end in list(zip(CS, ends, strict=True))[::4]:
        problem = Problem(LogisticRegression(), X, y, None, C)
        tight = LogisticRegression(C=C, tol=1e-8, max_iter=1000).fit(X, y)
        value, best = (
            problem.objective.at(problem.model.theta(found["coef_"], found["intercept_"])).value
            for found in (end.attributes, vars(tight))
        )
        assert value / best - 1.0 < 1e-8
    weights = np.where(y == 3, 0.0, 1.0)
    assert solved(X, y, CS[5:10], monkeypatch, sample_weight=weights)[1:] == (0, 5)


def test_one_curvature_of_all_rows_corrects_those_of_a_sample():
    """Where they differ from it by one change of basis the correction is exact; without a factor there is none."""
    rng = np.random.default_rng(0)
    A, T = rng.standard_normal((3, 40, 4)), np.eye(4) + 0.1 * rng.standard_normal((4, 4))
    true = np.stack([a.T @ a for a in A])
    sampled = np.stack([T @ h @ T.T for h in true])
    np.testing.assert_allclose(_corrected(sampled[:1], sampled[0], true[0], 0.0)[0], true[0], rtol=1e-10)
    for found, wanted, rough in zip(_corrected(sampled, sampled[1], true[1], 0.0), true, sampled, strict=True):
        assert np.abs(found - wanted).max() < 0.5 * np.abs(rough - wanted).max()
    np.testing.assert_array_equal(_corrected(sampled, np.zeros((4, 4)), true[0], 0.0), sampled)


def test_what_does_not_behave_is_left_to_the_loop(monkeypatch):
    """Nearly separated classes: the weakest penalties go through the loop of all solvers, and end converged too."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    ends, _, loops = solved(X, y, np.logspace(-4, 8, 20), monkeypatch)
    assert 0 < loops < 12
    assert all(end.bad is None for end in ends)
    assert excess(X, y, np.logspace(-4, 8, 20)[14], ends[14].attributes) < 2e-8


@pytest.mark.parametrize(
    ("Cs", "settings"),
    [
        ((0.1, 1.0, 10.0, np.inf), {}),
        ((0.1, 1.0, 10.0), {}),
        (CS, {"tol": 1e-9}),
        (CS, {"max_iter": 5}),
        (CS, {"solver": "lbfgs"}),
    ],
)
def test_where_values_are_solved_one_by_one(Cs, settings, monkeypatch):
    """No penalty, few values, a tolerance near rounding, few iterations, another solver by name."""
    X, y = noisy(300, 5)
    _, rounds, loops = solved(X, y, Cs, monkeypatch, **settings)
    assert (rounds, loops) == (0, len(Cs))


def test_order_and_repeats_do_not_matter(monkeypatch):
    """Values in any order, some of them twice."""
    X, y = noisy(400, 6)
    one, _, _ = solved(X, y, [0.01, 0.1, 1.0, 10.0], monkeypatch)
    two, _, _ = solved(X, y, [1.0, 0.01, 10.0, 1.0, 0.1], monkeypatch)
    for k, j in enumerate([2, 0, 3, 2, 1]):
        np.testing.assert_array_equal(two[k].attributes["coef_"], one[j].attributes["coef_"])


def test_a_search_uses_it(monkeypatch):
    """Five folds of twenty values: the passes over a fold's rows are those of few single fits."""
    X, y = noisy(500, 20)
    calls = []
    at = many.Many.at
    monkeypatch.setattr(many.Many, "at", lambda self, t: calls.append(len(t)) or at(self, t))
    search = LogisticRegressionCV(Cs=20, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False).fit(X, y)
    single = LogisticRegression(C=search.C_).fit(X[:400], y[:400]).result_.counts.n_passes
    assert search.n_iter_.min() >= 1
    assert len(calls) <= 5 * 3 * single

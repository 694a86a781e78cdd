"""What large data are spared: the pass for the basis, the check of NaN, the confirmation; and that nothing is lost."""

import tracemalloc

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info, threadpool_limits

from sosolve import LogisticRegression, NewtonCG
from sosolve.estimators import base
from sosolve.estimators.auto import choose, first_state
from sosolve.estimators.problem import SAMPLE_LEAST, Problem
from sosolve.estimators.threads import solver_threads
from sosolve.objectives.basis import moments_of_sample
from sosolve.objectives.models import LinearModel
from sosolve.solvers.newton import SURE_PRODUCTS

N, D = 60_000, 40


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)) * 10.0 ** np.linspace(-2, 2, D) + 3.0
    z = (X - 3.0) @ (rng.standard_normal(D) / 10.0 ** np.linspace(-2, 2, D)) / 3.0
    return X, (rng.random(N) < 1.0 / (1.0 + np.exp(-z))).astype(int)


def test_an_ordinary_sample_gives_the_basis(data):
    """The centre and scale come from `SAMPLE_LEAST` rows, and no pass is spent on them."""
    X, y = data
    problem = Problem(LogisticRegression(), X, y, None, 1.0)
    exact = LinearModel.standardised(X, problem.weights, problem.alpha)
    assert problem._drawn[0].shape[0] >= SAMPLE_LEAST
    assert not np.array_equal(problem.model.scale, exact.scale)
    np.testing.assert_allclose(problem.model.scale, exact.scale, rtol=0.1)


@pytest.mark.parametrize("odd", ["constant", "rare", "outlier", "nan"])
def test_an_odd_sample_does_not(odd):
    rows = np.random.default_rng(0).standard_normal((5000, 3))
    assert moments_of_sample(rows, True) is not None
    if odd == "constant":
        rows[:, 1] = 2.0
    if odd == "rare":
        rows[:, 1] = np.arange(5000) < 5
    if odd == "outlier":
        rows[7, 1] = 1e6
    if odd == "nan":
        rows[7, 1] = np.nan
    assert moments_of_sample(rows, True) is None


def test_the_reach_of_a_sample_is_that_of_its_entries():
    """Its bound by the first row and the mean says too much of a column in which that row is far out."""
    rows = np.random.default_rng(0).standard_normal((1000, 3))
    rows[0, 1] = -4.5
    mean, spread = moments_of_sample(rows, True)
    np.testing.assert_allclose(mean, rows.mean(axis=0))
    np.testing.assert_allclose(spread, rows.std(axis=0))
    rows[0, 1] = -9.0
    assert moments_of_sample(rows, True) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_entries_outside_the_sample_are_found(data, bad):
    X, y = data
    X = X.copy()
    row = np.setdiff1d(np.arange(N), Problem(LogisticRegression(), X, y, None, 1.0)._drawn[0])[0]
    X[row, 3] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        LogisticRegression().fit(X, y)


def test_entries_too_far_for_the_basis_of_a_sample(data):
    """Finite entries that overflow in that basis: the fit begins again with the moments of all rows."""
    X, y = data
    X = X.copy()
    row = np.setdiff1d(np.arange(N), Problem(LogisticRegression(), X, y, None, 1.0)._drawn[0])[0]
    X[row, 3] = 1.7e308
    model = LogisticRegression().fit(X, y)
    assert model.result_.converged
    assert np.isfinite(model.coef_).all()


def test_the_factor_of_the_sample_is_the_preconditioner(data, monkeypatch):
    """A fit of large data: few passes, no product to confirm, the optimum of a tight fit from elsewhere."""
    X, y = data
    states = []
    monkeypatch.setattr(base, "first_state", lambda *a: states.append(first_state(*a)) or states[-1])
    model = LogisticRegression(tol=3e-4).fit(X, y)
    assert states[0].kind == "cholesky"
    assert model.history_[-1].accepted
    assert model.result_.counts.n_passes <= 5
    assert model.result_.counts.n_mv == 0
    tight = LogisticRegression(solver="newton-cg", tol=1e-7).fit(X, y)
    assert 0.0 <= model.result_.value - tight.result_.value < 1e-8 * tight.result_.value


def test_a_factor_that_proves_poor_is_left_for_products(data, monkeypatch):
    """Points keep no rows until the first product asks for them, for one pass more."""
    X, y = data

    def poor(*arguments):
        state = first_state(*arguments)
        return base.dataclasses.replace(state, precond=lambda v: 0.2 * state.precond(v))

    monkeypatch.setattr(base, "first_state", poor)
    model = LogisticRegression().fit(X, y)
    counts = model.result_.counts
    assert model.result_.converged
    assert counts.n_mv > 0
    assert counts.n_passes == counts.n_value + counts.n_mv
    monkeypatch.undo()
    tight = LogisticRegression(solver="newton-cg", tol=1e-7).fit(X, y)
    assert 0.0 <= model.result_.value - tight.result_.value < 1e-8 * tight.result_.value


def test_a_factor_of_sampled_rows_needs_hardly_a_product():
    """From the first step on, with one thread of BLAS while it lasts: a pass a step, and two products at the end."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8_000, 80))
    y = (rng.random(8_000) < 1.0 / (1.0 + np.exp(-X @ rng.standard_normal(80) / 4.0))).astype(int)
    threads = []

    def watch(record, point):
        threads.append({found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"})

    solver = NewtonCG(preconditioner="cholesky", sample_rows=0.2, tol=1e-5)
    problem = Problem(LogisticRegression(), X, y, None, 1.0)
    with threadpool_limits(2, user_api="blas"), solver_threads(solver):
        found = solver.minimize(problem.objective, problem.start(LogisticRegression()), watch)
    assert found.converged
    assert found.counts.n_mv <= 2
    assert found.counts.n_passes <= 14
    assert set.union(*threads) == {1}
    tight = NewtonCG(tol=1e-8).minimize(problem.objective, found.theta)
    assert 0.0 <= found.value - tight.value < 1e-10 * tight.value


def peak_of_a_fit(X, y):
    """Return the bytes that a second fit takes at most."""
    LogisticRegression().fit(X, y)
    tracemalloc.start()
    LogisticRegression().fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_fit_of_large_data_takes_little_memory(data):
    """The sample is a copy of a few hundredths; labels take a byte, and nothing else is of size n."""
    X, y = np.tile(data[0], (2, 1)), np.tile(data[1], 2)
    assert peak_of_a_fit(X, y) < 0.1 * X.nbytes


def test_too_few_products_prove_nothing(data):
    X, y = data
    problem = Problem(LogisticRegression(), X, y, None, 1.0)
    solver = NewtonCG(tol=1e3, preconditioner="cholesky")
    point = problem.objective.at(problem.start(LogisticRegression()))
    state = solver.start(point)
    assert not solver._surely_converged(point, state)
    assert solver._surely_converged(point, base.dataclasses.replace(state, products=SURE_PRODUCTS))


def test_softmax_begins_on_a_sample_too(data):
    """Some sixty rows a column serve every output, and save passes over all rows."""
    X, _ = data
    y = np.argmax(X[:, -3:] / X[:, -3:].std(axis=0) + np.random.default_rng(1).gumbel(size=(N, 3)), axis=1)
    model = LogisticRegression(tol=1e-4).fit(X, y)
    assert "of the rows" in model.history_.notes["start"]
    cold = LogisticRegression(solver="newton-cg", tol=1e-4).fit(X, y)
    assert model.result_.counts.n_passes < cold.result_.counts.n_passes
    assert abs(model.result_.value - cold.result_.value) < 1e-7


def test_many_classes_need_no_matrix_of_all_parameters():
    """p = 5050 parameters: the Hessian would take 204 MB."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((1_000, 100)), np.arange(1_000) % 50
    assert choose(50_000, 500, 100, False)[0].dense_size == 0
    tracemalloc.start()
    with pytest.warns(ConvergenceWarning):
        LogisticRegression(max_iter=1).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6


def test_weighted_rows_are_spared_the_same(data):
    """Ordinary weights leave the basis and the factor to the sample too: no more passes than without them, but one."""
    X, y = data
    weights = np.random.default_rng(1).uniform(0.5, 1.5, N)
    plain = LogisticRegression().fit(X, y).result_.counts
    for model in (LogisticRegression().fit(X, y, weights), LogisticRegression(class_weight="balanced").fit(X, y)):
        assert model.result_.counts.n_mv == plain.n_mv
        assert model.result_.counts.n_passes <= plain.n_passes + 1
    tight = LogisticRegression(tol=1e-7, solver="newton-cholesky").fit(X, y, weights)
    model = LogisticRegression().fit(X, y, weights)
    assert model.optimality_.value <= (1.0 + 1e-7) * tight.optimality_.value


@pytest.mark.parametrize("kind", ["heavy", "few", "none"])
def test_weights_of_which_a_sample_says_little(kind):
    """One far heavier row, few rows that count, a sample without weight: all rows give the basis."""
    rows, numbers = np.random.default_rng(0).standard_normal((3000, 2)), np.arange(3000)
    weights = np.full(60_000, 1.0 / 60_000)
    assert moments_of_sample(rows, True, None, weights, numbers) is not None
    if kind == "heavy":
        weights[50_000] *= 100.0
    if kind == "few":
        weights[:3000] *= np.where(numbers % 10, 1e-3, 1.0)
    if kind == "none":
        weights[:3000] = 0.0
    assert moments_of_sample(rows, True, None, weights / weights.sum(), numbers) is None


def test_entries_that_are_not_finite_are_found_under_weights(data):
    X, y = data[0].copy(), data[1]
    X[17, 3] = np.inf
    weights = np.ones(N)
    weights[17] = 0.0
    with pytest.raises(ValueError, match="infinity"):
        LogisticRegression().fit(X, y, weights)


@pytest.mark.parametrize("storage", ["F order", "strided", "read-only"])
def test_data_in_another_order_are_not_copied(data, storage):
    X, y = np.asfortranarray(data[0]), data[1]
    if storage == "strided":
        X = np.repeat(data[0], 2, axis=0)[::2]
    if storage == "read-only":
        X.flags.writeable = False
    assert peak_of_a_fit(X, y) < 0.1 * X.nbytes

"""Pairs of steps and changes of the gradient: the two-loop recursion, and Newton steps that live on them."""

import numpy as np
import pytest

from sosolve import LogisticRegression, Status
from sosolve.objectives.function import FunctionObjective
from sosolve.solvers.newton import CGState, NewtonCG
from sosolve.solvers.pairs import two_loop

P = 6


@pytest.mark.parametrize("scaled", [True, False])
def test_the_inverse_agrees_with_the_last_pair(scaled):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((P, P))
    H = A @ A.T + np.eye(P)
    steps = rng.standard_normal((3, P))
    pairs = tuple((s, H @ s, float(s @ H @ s)) for s in steps)
    np.testing.assert_allclose(two_loop(pairs[-1][1], pairs, lambda v: 0.5 * v, scaled), pairs[-1][0], atol=1e-12)


def test_without_pairs_it_is_the_preconditioner():
    np.testing.assert_array_equal(two_loop(np.ones(P), (), lambda v: 0.25 * v, False), np.full(P, 0.25))
    np.testing.assert_array_equal(two_loop(np.ones(P), ()), np.ones(P))


def bowl():
    """Return sum of log cosh(theta_j - j) + theta'theta / 2 as an objective, and the inverse Hessian at its start."""
    target = np.arange(P) / P

    def value(t):
        return float(np.log(np.cosh(t - target)).sum() + 0.5 * t @ t)

    def hessian(t):
        return np.diag(1.0 / np.cosh(t - target) ** 2 + 1.0)

    objective = FunctionObjective(value, P, grad=lambda t: np.tanh(t - target) + t, hess=hessian)
    start = 0.3 * np.ones(P)
    return objective, start, np.linalg.inv(hessian(start))


def run(inverse):
    objective, start, _ = bowl()
    solver = NewtonCG(tol=1e-6)
    state = CGState("cholesky", lambda v: inverse @ v, start, solver.rtol_max, pairs=())
    return solver.go_on(objective, objective.at(start), state)


def test_a_good_inverse_needs_no_products():
    *_, inverse = bowl()
    result = run(inverse)
    assert result.status is Status.CONVERGED
    assert result.counts.n_mv == 0
    assert result.grad_norm < 1e-6


@pytest.mark.parametrize("factor", [0.1, 5.0, 1e3])
def test_a_bad_inverse_is_left_for_conjugate_gradients(factor):
    """Steps that are too short, and too long: the line search shrinks these."""
    *_, inverse = bowl()
    result = run(factor * inverse)
    assert result.status is Status.CONVERGED
    assert result.counts.n_mv > 0
    assert result.grad_norm < 1e-6


def test_an_inverse_that_leads_uphill_never_passes_for_converged():
    *_, inverse = bowl()
    assert run(-inverse).status in (Status.STALLED, Status.LINE_SEARCH_FAILED)


def counted(X, **settings):
    """Return the converged result of a fit by Newton-CG to labels drawn from a model with these columns."""
    rng = np.random.default_rng(1)
    y = X @ rng.standard_normal(X.shape[1]) / np.sqrt(X.shape[1]) > rng.logistic(size=X.shape[0])
    result = LogisticRegression(solver=NewtonCG(**settings)).fit(X, y).result_
    assert result.status is Status.CONVERGED
    return result


@pytest.mark.parametrize("kind", ["auto", "cholesky"])
def test_well_conditioned_fits_need_products_at_their_end_only(kind):
    """One pass an iteration with the M of the start, and a product or two that confirm the end."""
    result = counted(np.random.default_rng(0).standard_normal((2_000, 8)), preconditioner=kind, sample_rows=0.5)
    assert 1 <= result.counts.n_mv <= 3
    assert result.counts.n_passes <= result.n_iter + 4 + (kind == "cholesky")
    assert [record.inner_iterations for record in result.history[1:-1]] == [0] * (result.n_iter - 1)


def test_a_step_too_long_for_the_model_is_taken_back():
    """With columns that all say the same a diagonal misses the curvature along their sum: products take over."""
    common = np.random.default_rng(0).standard_normal((300, 1))
    result = counted(common + 0.3 * np.random.default_rng(2).standard_normal((300, 40)), dense_size=0)
    assert result.history[1].inner_iterations > 0
    assert result.history[1].n_passes > 1 + result.history[1].inner_iterations + 1


def test_products_take_over_where_steps_gain_little():
    X = np.random.default_rng(0).standard_normal((400, 30)) + 0.5
    X[:, 1:] += 2.0 * X[:, :-1]
    result = counted(X, dense_size=0)
    inner = [record.inner_iterations for record in result.history[1:]]
    assert inner[0] == 0
    assert max(inner) > 3

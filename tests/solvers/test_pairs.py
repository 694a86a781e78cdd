"""Pairs of steps and changes of the gradient: the two-loop recursion, and Newton steps that live on them."""

import numpy as np
import pytest

from sosolve import Status
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

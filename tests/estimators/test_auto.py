"""The cost model: what it counts, and that its choices change where the prices cross."""

import pytest

from sosolve import NewtonCG, NewtonCholesky
from sosolve.estimators.auto import CALL_READS, CG_PASSES, choose, dense_cost, inexact_cost, start_solver


def test_prices_count_the_work():
    """A pass reads every entry once for each output; a Hessian of twice the columns costs four times the products."""
    assert inexact_cost(1000, 10, 1, False) == CG_PASSES * (10_000 + CALL_READS)
    big, bigger = (dense_cost(10**7, d, 1) for d in (199, 399))
    assert inexact_cost(500_000, 50, 1, True) < inexact_cost(500_000, 50, 1, False)
    assert 3.5 < bigger / big < 4.0
    assert dense_cost(10**7, 10, 4) > 9.0 * dense_cost(10**7, 10, 1)


@pytest.mark.parametrize(
    ("n", "d", "K"), [(569, 30, 1), (150, 4, 3), (200, 15, 5), (600, 50, 1), (6_000, 15, 1), (20_000, 4, 5)]
)
def test_dense_where_matrices_are_small(n, d, K):
    solver, reason = choose(n, d, K, False)
    assert isinstance(solver, NewtonCholesky)
    assert "dense Hessian is cheap" in reason
    assert dense_cost(n, d, K) <= inexact_cost(n, d, K, False)


@pytest.mark.parametrize(("n", "d", "K"), [(500_000, 50, 1), (200_000, 4, 1), (60_000, 100, 10), (600, 150, 5)])
def test_products_where_they_are_not(n, d, K):
    assert isinstance(choose(n, d, K, False)[0], NewtonCG)


def test_dense_hessians_of_sparse_data_are_smaller():
    assert isinstance(choose(200, 150, 1, False)[0], NewtonCholesky)
    assert isinstance(choose(200, 150, 1, True)[0], NewtonCG)
    assert isinstance(choose(200, 20, 1, True)[0], NewtonCholesky)


def test_a_factor_of_sampled_rows_where_it_costs_a_few_passes():
    """Then steps take one pass each; with more columns it is built once conjugate gradients turn out slow."""
    assert choose(50_000, 500, 1, False)[0].preconditioner == "cholesky"
    assert choose(50_000, 600, 1, False)[0].preconditioner == "auto"


def test_a_sample_leaves_its_factor():
    assert isinstance(start_solver(10_000, 50, 1), NewtonCholesky)
    assert isinstance(start_solver(5_000, 100, 10), NewtonCG)

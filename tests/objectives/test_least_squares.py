"""Least squares as an objective: laziness, counts, robust losses, bad luck."""

import numpy as np
import pytest
from scipy.optimize import least_squares as scipy_least_squares

from sosolve.objectives.least_squares import LeastSquares
from sosolve.objectives.robust import RobustLoss, mad_scale
from sosolve.protocols import Objective, Point
from sosolve.solvers import BFGS, LBFGS, Dogleg, GaussNewton, LevenbergMarquardt, NewtonCG, TrustRegion

X = np.linspace(0, 4, 80)
RNG = np.random.default_rng(3)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.05 * RNG.normal(size=X.size)
Y[::9] += RNG.normal(size=Y[::9].size) * 2
START = np.array([2.0, 1.0, 0.3])
LOSSES = ["soft_l1", "huber", "cauchy", "arctan"]


def fun(t):
    return t[0] * np.exp(-t[1] * X) + t[2] - Y


def jac(t):
    e = np.exp(-t[1] * X)
    return np.stack([e, -t[0] * X * e, np.ones_like(X)], axis=1)


def test_it_is_an_objective():
    objective = LeastSquares(fun, 3, jac)
    assert isinstance(objective, Objective)
    assert isinstance(objective.at(START), Point)
    assert not objective.at(START).curvature.exact


@pytest.mark.parametrize("loss", ["linear", *LOSSES])
def test_gradient_and_curvature(loss):
    objective = LeastSquares(fun, 3, jac, loss=loss, f_scale=0.1)
    point = objective.at(START)
    for j in range(3):
        h = np.zeros(3)
        h[j] = 1e-5
        slope = (objective.at(START + h).value - objective.at(START - h).value) / 2e-5
        assert point.grad[j] == pytest.approx(slope, rel=1e-6)
    H = point.curvature.dense()
    v = np.array([1.0, -2.0, 0.5])
    assert np.allclose(H, point.jac.T @ point.jac)
    assert np.allclose(point.curvature.mv(v), H @ v)
    assert np.allclose(point.curvature.diag(), np.diag(H))
    assert np.allclose(point.curvature.dense(0.5), H, rtol=0.5, atol=5)


def test_nothing_is_evaluated_twice_or_before_it_is_asked_for():
    objective = LeastSquares(fun, 3, jac)
    point = objective.at(START)
    assert (objective.counts.n_value, objective.counts.n_grad) == (0, 0)
    assert point.value == point.value
    assert (objective.counts.n_value, objective.counts.n_grad) == (1, 0)
    assert point.grad is point.grad
    assert point.curvature is point.curvature
    assert point.residual is point.residual
    assert (objective.counts.n_value, objective.counts.n_grad) == (1, 1)


def test_residuals_need_no_jacobian_with_a_robust_loss():
    objective = LeastSquares(fun, 3, jac, loss="cauchy", f_scale=1.0)
    assert np.isfinite(objective.at(START).residual).all()
    assert objective.counts.n_grad == 0


def test_fused_evaluation():
    calls = []

    def both(t):
        calls.append(1)
        return fun(t), jac(t)

    objective = LeastSquares(fun, 3, fun_and_jac=both)
    point = objective.at(START)
    assert np.array_equal(point.raw_jac, jac(START))
    assert np.array_equal(point.residual, fun(START))
    assert (len(calls), objective.counts.n_value, objective.counts.n_grad) == (1, 1, 1)
    late = objective.at(2 * START)
    assert np.isfinite(late.value)
    assert np.array_equal(late.raw_jac, jac(2 * START))


def test_evaluations_for_differences_are_counted():
    calls = []
    objective = LeastSquares(lambda t: calls.append(1) or fun(t), 3, derivative="3-point")
    objective.at(START).grad  # noqa: B018
    assert objective.counts.n_value == len(calls) == 7


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("loss", ["linear", "soft_l1"])
def test_a_residual_that_is_not_finite_is_the_value_inf(bad, loss):
    point = LeastSquares(lambda t: np.array([1.0, bad]), 1, loss=loss, f_scale=1.0).at(np.ones(1))
    assert point.value == np.inf or (bad == 1e200 and loss == "soft_l1")


@pytest.mark.parametrize("solver", [NewtonCG, TrustRegion, BFGS, LBFGS, LevenbergMarquardt, Dogleg, GaussNewton])
@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy"])
def test_every_solver_finds_the_robust_optimum_of_scipy(solver, loss):
    peer = scipy_least_squares(fun, START, jac, loss=loss, f_scale=0.1, xtol=1e-15, ftol=1e-15, gtol=1e-12)
    settings = dict(tol=1e-6) if solver in (NewtonCG, TrustRegion, BFGS, LBFGS) else {}
    result = solver(**settings).minimize(LeastSquares(fun, 3, jac, loss=loss, f_scale=0.1), START)
    assert result.value == pytest.approx(peer.cost, rel=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("f_scale", [0.1, 0.5])
def test_robust_cost_agrees_with_scipy(loss, f_scale):
    peer = scipy_least_squares(fun, START, jac, loss=loss, f_scale=f_scale, xtol=1e-15, ftol=1e-15, gtol=1e-12)
    result = LevenbergMarquardt().minimize(LeastSquares(fun, 3, jac, loss=loss, f_scale=f_scale), START)
    assert result.converged
    assert result.value <= peer.cost * (1 + 1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_rho_and_its_derivatives(loss):
    z = np.array([1e-12, 0.1, 0.9, 1.1, 3.0, 1e8])
    rho, first, second = RobustLoss(loss, 1.0).rho(z)
    h = 1e-6 * z
    up, down = RobustLoss(loss, 1.0).rho(z + h), RobustLoss(loss, 1.0).rho(z - h)
    assert np.allclose((up[0] - down[0]) / (2 * h), first, rtol=1e-3, atol=1e-9)
    assert np.allclose(((up[1] - down[1]) / (2 * h))[1:], second[1:], rtol=1e-4, atol=1e-9)
    assert rho[0] == pytest.approx(1e-12, rel=1e-6)
    assert (RobustLoss(loss, 1.0).weights(np.sqrt(z)) <= 1.0).all()


def test_the_scale_comes_from_the_residuals_at_the_first_point():
    objective = LeastSquares(fun, 3, jac, loss="soft_l1")
    objective.at(START).value  # noqa: B018
    assert objective.loss.f_scale == mad_scale(fun(START))
    objective.at(2 * START).value  # noqa: B018
    assert objective.loss.f_scale == mad_scale(fun(START))


def test_mad_scale():
    assert mad_scale(np.random.default_rng(0).normal(3.0, 2.0, 20_000)) == pytest.approx(2.0, rel=0.03)
    assert mad_scale(np.array([0.0, 0.0, 0.0, 4.0])) == 1.0
    assert mad_scale(np.full(5, 7.0)) == 1.0


def test_bad_losses_are_errors():
    with pytest.raises(ValueError, match="tukey"):
        LeastSquares(fun, 3, loss="tukey")
    with pytest.raises(ValueError, match="f_scale"):
        LeastSquares(fun, 3, loss="huber", f_scale=-1.0)
    with pytest.raises(ValueError, match="without f_scale"):
        RobustLoss("huber").value(np.ones(2))
    assert RobustLoss.named(RobustLoss("huber", 2.0)).f_scale == 2.0

"""Proximal Newton: its contract, its model, and every way in which its loops end."""

import dataclasses
import math

import numpy as np
import pytest
from tables import make_objective, make_tables

from sosolve import LBFGS, NewtonCG, NewtonCholesky, ProximalNewton, Status
from sosolve.history import InnerStop
from sosolve.kernels import numba_cpu, reference
from sosolve.objectives import Composite, Separable
from sosolve.solvers.composite_model import minimise_model
from sosolve.solvers.line_search import backtrack_composite
from sosolve.testing import check_solver

TABLES = make_tables()


def composite(name, strength=0.01, **bounds):
    """Return a smooth objective of the tables with an L1 part on its coefficients, the intercepts left free."""
    smooth, model = make_objective(TABLES[name])
    strengths = np.full(model.size, strength)
    strengths[model.n_outputs * model.n_features :] = 0.0
    return Composite(smooth, Separable(strengths, **bounds))


def quadratic(p=12, seed=0, rank=None):
    """Return a random positive semidefinite H and g."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((rank or 2 * p, p))
    return A.T @ A / p, rng.standard_normal(p) if rank is None else A.T @ rng.standard_normal(rank)


def test_contract():
    """On smooth objectives it is Newton's method."""
    check_solver(ProximalNewton())
    objective, model = make_objective(TABLES["dense"])
    ours, newton = (s.minimize(objective, np.zeros(model.size)) for s in (ProximalNewton(), NewtonCholesky()))
    np.testing.assert_allclose(ours.theta, newton.theta, atol=1e-9)


@pytest.mark.parametrize("working_set", [1, 4, 1000])
@pytest.mark.parametrize("name", ["dense", "wide", "sparse", "three classes", "one-hot", "collinear"])
def test_the_value_falls_to_the_minimum_whatever_the_working_set(name, working_set):
    """Every iteration lowers the value; the optimum and the last subgradient do not depend on the working set."""
    objective = composite(name)
    result = ProximalNewton(working_set=working_set, tol=1e-7).minimize(objective, np.zeros(objective.size))
    assert result.converged
    assert result.grad_norm < 1e-6
    values = result.history.column("value")
    assert (np.diff(values) <= 1e-14 * np.abs(values[1:])).all()
    whole = ProximalNewton(working_set=1000, tol=1e-8).minimize(objective, np.zeros(objective.size))
    assert result.value == pytest.approx(whole.value, rel=1e-12)
    assert result.counts.n_passes >= 1


@pytest.mark.parametrize("solver", [NewtonCG(), LBFGS(), NewtonCholesky()])
def test_solvers_for_smooth_objectives_refuse_a_composite(solver):
    """They would follow a subgradient that jumps."""
    objective = composite("dense")
    with pytest.raises(TypeError, match="needs a smooth objective"):
        solver.minimize(objective, np.zeros(objective.size))
    with pytest.raises(ValueError, match="smooth part with 9 parameters and a penalty with 3"):
        Composite(objective.smooth, Separable(np.ones(3)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rank", "exact"), [(None, True), (None, False), (5, True)])
def test_the_model_is_minimised(seed, rank, exact):
    """Subgradients vanish inside, also for singular matrices, boxes, and starts on their edge."""
    H, g = quadratic(seed=seed, rank=rank)
    p = len(g)
    lower, upper = np.full(p, -0.3), np.full(p, np.inf)
    lower[::3] = -np.inf
    penalty = Separable(np.where(np.arange(p) % 4, 0.4, 0.0), lower, upper)
    theta = penalty.project(np.random.default_rng(seed).standard_normal(p))
    found = minimise_model(H, g, theta, penalty, rtol=1e-8, exact=exact)
    assert found.stop is InnerStop.RESIDUAL
    assert found.predicted > 0.0
    assert found.linear < 0.0
    left = penalty.subgradient(found.u, g + H @ (found.u - theta))
    assert np.abs(left).max() < 1e-6
    assert (found.u >= lower).all()


def test_the_model_runs_out_of_rounds():
    """One round on a problem that needs many ends with CAP, and lower than it began."""
    H, g = quadratic(60, seed=1, rank=20)
    found = minimise_model(H, g, np.ones(60), Separable(np.full(60, 0.1)), rtol=1e-12, max_rounds=1)
    assert found.stop is InnerStop.CAP
    assert found.predicted > 0.0


def test_nothing_to_do():
    """At the minimiser the model stays, with a decrease of zero; a box of one point leaves no freedom."""
    H, g = quadratic()
    penalty = Separable(np.full(12, 100.0))
    found = minimise_model(H, g, np.zeros(12), penalty)
    assert found.predicted == 0.0
    assert (found.u == 0.0).all()
    point = np.full(12, 0.5)
    assert (minimise_model(H, g, point, Separable(np.zeros(12), point, point)).u == point).all()


def test_a_parameter_without_curvature():
    """It goes to zero where it is penalised, and stays where it is not."""
    assert reference.coordinate_minimiser(0.0, 1.0, 3.0, 0.5, -math.inf, math.inf) == 0.0
    assert reference.coordinate_minimiser(0.0, 1.0, 3.0, 0.5, 2.0, math.inf) == 2.0
    assert reference.coordinate_minimiser(0.0, 1.0, 3.0, 0.0, -math.inf, math.inf) == 3.0
    assert reference.coordinate_minimiser(2.0, 1.0, 3.0, 0.5, -math.inf, 1.0) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_compiled_sweeps_equal_the_reference(seed):
    """The same u and r, with bounds and a parameter without curvature."""
    H, r = quadratic(30, seed=seed)
    H[3] = H[:, 3] = 0.0
    rng = np.random.default_rng(seed)
    u, strengths = rng.standard_normal(30), rng.uniform(0.0, 1.0, 30) * (np.arange(30) % 5 > 0)
    arguments = (H, r, u, strengths, np.full(30, -0.5), np.full(30, 2.0))
    for ours, expected in zip(
        numba_cpu.coordinate_sweep(*arguments), reference.coordinate_sweep(*arguments), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-13)


def test_the_line_search_shrinks_and_gives_up():
    """A step far beyond the minimum is shortened; one along which the value cannot fall is refused."""
    objective = composite("dense")
    start = objective.at(np.zeros(objective.size))
    far = -200.0 * start.grad
    linear = float(start.smooth.grad @ far) + start.penalty.value(far)
    found = backtrack_composite(start, far, linear)
    assert 0.0 < found.step_size < 1.0
    assert found.point.value < start.value
    assert found.actual == pytest.approx(start.value - found.point.value, rel=1e-9)
    ray = start.along(far)
    value, slope = ray(found.step_size)
    assert value == pytest.approx(found.point.value, rel=1e-12)
    ahead, _ = ray(found.step_size * (1 + 1e-7))
    assert slope == pytest.approx((ahead - value) / (1e-7 * found.step_size), rel=1e-3, abs=1e-3)
    np.testing.assert_allclose(ray.point(found.step_size).theta, found.point.theta)
    refused = backtrack_composite(start, -far, -1.0)
    assert refused.point is None


class Broken:
    """A smooth part whose curvature, or whose gradient, is wrong."""

    def __init__(self, smooth, gradient=1.0, curvature=1.0, error=None):
        self.smooth, self.gradient, self.factor, self.error = smooth, gradient, curvature, error
        self.size, self.counts = smooth.size, smooth.counts

    def at(self, theta):
        point = self.smooth.at(theta)
        broken = dataclasses.make_dataclass("Point", ["theta", "value", "grad", "curvature", "along"])
        return broken(theta, point.value, self.gradient * point.grad, self, point.along)

    def dense(self):
        if self.error is not None:
            raise self.error
        return self.factor * np.eye(self.size)


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        ({"curvature": math.nan}, Status.NOT_POSITIVE_DEFINITE),
        ({"gradient": -1.0}, Status.LINE_SEARCH_FAILED),
        ({"error": KeyboardInterrupt()}, Status.INTERRUPTED),
    ],
)
def test_bad_luck_is_a_status(faults, status):
    """NaN in the curvature, a gradient of the wrong sign, Ctrl-C."""
    smooth = composite("dense").smooth
    objective = Composite(Broken(smooth, **faults), Separable(np.full(smooth.size, 1e-3)))
    assert ProximalNewton().minimize(objective, np.zeros(objective.size)).status is status


def test_limits_of_the_loop():
    """max_iter, and a tolerance of zero that ends at the rounding level."""
    objective = composite("wide")
    assert ProximalNewton(max_iter=1).minimize(objective, np.zeros(objective.size)).status is Status.MAX_ITER
    for working_set in (10, 1000):
        result = ProximalNewton(tol=0.0, working_set=working_set).minimize(objective, np.zeros(objective.size))
        assert result.status in (Status.STALLED, Status.CONVERGED)
        assert result.grad_norm < 1e-12
        assert result.n_iter < 60


def test_a_kept_matrix_is_replaced_where_it_no_longer_fits():
    """From 40 parameters on the curvature of one iteration serves the next, while the decrease keeps falling."""
    objective = composite("wide", 1e-4)
    result = ProximalNewton(tol=1e-8, working_set=1000).minimize(objective, np.zeros(objective.size))
    assert result.converged
    assert result.grad_norm < 1e-7
    grams = result.counts.n_passes - result.counts.n_grad
    assert grams < result.n_iter


@pytest.mark.parametrize("working_set", [10, 1000])
@pytest.mark.parametrize("name", ["dense", "wide", "sparse", "three classes", "collinear"])
def test_too_many_parameters_for_a_matrix(name, working_set):
    """Products alone lead to the same value; bounds and zeros are kept."""
    objective = composite(name, lower=np.full(composite(name).size, -0.4))
    theta0 = np.zeros(objective.size)
    whole = ProximalNewton(tol=1e-7).minimize(objective, theta0)
    objective.smooth.terms[0].model.gram = None  # whoever asks for a matrix fails
    found = ProximalNewton(dense_size=0, working_set=working_set, tol=1e-7).minimize(objective, theta0)
    assert found.converged
    assert found.value == pytest.approx(whole.value, rel=1e-11)
    if name != "collinear":
        np.testing.assert_array_equal(found.theta == 0.0, whole.theta == 0.0)


@pytest.mark.parametrize("setting", [{"working_set": 0}, {"reduction": 2.0}, {"max_rounds": 0}])
def test_settings_out_of_range(setting):
    """The message names the setting."""
    objective = composite("dense")
    with pytest.raises(ValueError, match=next(iter(setting))):
        ProximalNewton(**setting).minimize(objective, np.zeros(objective.size))


@pytest.mark.parametrize("name", ["dense", "three classes", "sparse"])
def test_a_point_carried_to_fewer_columns_and_back(name):
    """The predictors of a working set are those of all columns: same value and gradient, without forming them."""
    objective = composite(name)
    wanted = np.arange(objective.size) % 2 == 0
    part, index = objective.at(np.zeros(objective.size)).restricted(wanted)
    theta = np.zeros(objective.size)
    theta[index] = np.linspace(-1.0, 1.0, len(index))
    start = objective.at(theta)
    assert math.isfinite(start.value)
    objective.smooth.terms[0].model.forward = None  # whoever forms predictors fails
    there = start.carried(part, theta[index])
    back = there.carried(objective, theta)
    fresh = part.at(theta[index])
    for found, expected in ((there, fresh), (back, start)):
        assert found.value == pytest.approx(expected.value, rel=1e-13)
        np.testing.assert_allclose(found.grad, expected.grad, rtol=1e-10, atol=1e-13)

"""Levenberg-Marquardt, dogleg and Gauss-Newton: tests of convergence, policies, bounds and bad luck."""

import itertools
import math
import pickle

import numpy as np
import pytest
from scipy.optimize import least_squares as scipy_least_squares

from sosolve.history import Status
from sosolve.linalg import pivoted_qr
from sosolve.objectives.least_squares import LeastSquares
from sosolve.solvers import BFGS, LBFGS, Dogleg, GaussNewton, LevenbergMarquardt, NewtonCG, TrustRegion
from sosolve.solvers.bounds import Box
from sosolve.solvers.least_squares_subproblem import damped_solve, dogleg, gauss_newton, levenberg_marquardt
from sosolve.solvers.residual_trust_region import next_region

SOLVERS = [LevenbergMarquardt, Dogleg, GaussNewton]
X = np.linspace(0, 4, 60)
RNG = np.random.default_rng(7)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.05 * RNG.normal(size=X.size)


def decay(t):
    return t[0] * np.exp(-t[1] * X) + t[2] - Y


def decay_jac(t):
    e = np.exp(-t[1] * X)
    return np.stack([e, -t[0] * X * e, np.ones_like(X)], axis=1)


def objective(**options):
    return LeastSquares(decay, 3, decay_jac, **options)


@pytest.fixture(scope="module")
def optimum():
    return scipy_least_squares(decay, np.ones(3), decay_jac, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15).x


@pytest.mark.parametrize("solver", [*SOLVERS, lambda: LevenbergMarquardt(geodesic=True)])
def test_reaches_the_optimum(solver, optimum):
    result = solver().minimize(objective(), np.ones(3))
    assert result.converged
    assert np.allclose(result.theta, optimum, rtol=1e-9)
    values = result.history.column("value")
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("solver", [NewtonCG, TrustRegion, BFGS, LBFGS])
def test_general_solvers_reach_the_same_optimum(solver, optimum):
    result = solver(tol=1e-7).minimize(objective(), np.array([2.0, 1.0, 0.3]))
    assert np.allclose(result.theta, optimum, rtol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("test", ["ftol", "xtol", "gtol"])
def test_each_minpack_test_fires_and_is_named(solver, test):
    settings = dict(ftol=None, xtol=None, gtol=None) | {test: 1e-9}
    result = solver(**settings).minimize(objective(), np.ones(3))
    assert (result.status, result.reason) == (Status.CONVERGED, test)
    assert test in result.message


def test_tol_sets_all_three():
    assert LevenbergMarquardt(tol=1e-6).tolerances() == (1e-6, 1e-6, 1e-6)
    assert LevenbergMarquardt(ftol=None).tolerances()[0] == -1.0


def test_all_tests_off_ends_at_the_rounding_level():
    result = LevenbergMarquardt(ftol=None, xtol=None, gtol=None).minimize(objective(), np.ones(3))
    assert result.status in (Status.STALLED, Status.CONVERGED)
    assert result.n_iter < 60


def test_start_at_the_optimum_takes_no_step(optimum):
    result = LevenbergMarquardt(gtol=1e-6).minimize(objective(), optimum)
    assert (result.reason, result.n_iter) == ("gtol", 1)
    assert result.theta is optimum


def test_zero_residual_at_the_start():
    result = LevenbergMarquardt().minimize(LeastSquares(lambda t: t - 1.0, 2), np.ones(2))
    assert result.converged
    assert result.value == 0.0


def test_records_are_filled_in():
    record = LevenbergMarquardt().minimize(objective(), np.ones(3)).history[1]
    for name in ("damping", "radius", "predicted", "actual", "ratio", "step_norm"):
        assert math.isfinite(getattr(record, name)), name


def test_result_pickles_without_state_and_cannot_be_resumed():
    solver = LevenbergMarquardt(max_iter=2, second_try=False)
    result = solver.minimize(objective(), np.ones(3))
    assert result.status is Status.MAX_ITER
    more = LevenbergMarquardt().resume(objective(), result)
    assert more.converged
    copy = pickle.loads(pickle.dumps(result))
    with pytest.raises(ValueError, match="start again"):
        solver.resume(objective(), copy)


# ---------------------------------------------------------------- policies without a problem


@pytest.mark.parametrize(
    ("ratio", "actual", "slope", "blew_up", "expected"),
    [
        (0.9, 1.0, -2.0, False, (6.0, 0.5)),  # twice the step
        (0.5, 1.0, -2.0, False, (2.0, 1.0)),  # kept
        (0.1, 1.0, -2.0, False, (1.0, 2.0)),  # halved
        (-1.0, -2.0, -2.0, False, (0.5, 4.0)),  # parabola: 0.5 * 2 / (2 + 2) = 1/4
        (-1e3, -1e3, -1.0, False, (0.2, 10.0)),  # parabola below a tenth
        (-math.inf, -math.inf, -1.0, True, (0.2, 10.0)),  # not finite
    ],
)
def test_radius_and_damping_follow_the_ratio(ratio, actual, slope, blew_up, expected):
    got = next_region(2.0, 1.0, 3.0, ratio, actual, slope, blew_up)
    assert got == pytest.approx(expected)


def test_a_gauss_newton_step_doubles_its_length_whatever_the_ratio():
    assert next_region(10.0, 0.0, 1.5, 0.3, 1.0, -1.0, False) == (3.0, 0.0)


# ---------------------------------------------------------------- subproblems


def random_factor(m=8, p=3, seed=0):
    rng = np.random.default_rng(seed)
    A, b = rng.normal(size=(m, p)), rng.normal(size=m)
    return A, b, pivoted_qr(A, b)


def unpermuted(qr, z):
    out = np.empty_like(z)
    out[qr.perm] = z
    return out


@pytest.mark.parametrize(("m", "p"), [(8, 3), (3, 3), (2, 4), (5, 1)])
def test_gauss_newton_step_is_the_shortest_least_squares_solution(m, p):
    A, b, qr = random_factor(m, p)
    assert np.allclose(unpermuted(qr, gauss_newton(qr)), -np.linalg.lstsq(A, b, rcond=None)[0])


def test_gauss_newton_step_of_a_rank_deficient_matrix():
    A, b, _ = random_factor()
    A = np.c_[A, A[:, 0] + A[:, 1], np.zeros(8)]
    qr = pivoted_qr(A, b)
    assert qr.rank == 3
    assert np.allclose(unpermuted(qr, gauss_newton(qr)), -np.linalg.lstsq(A, b, rcond=None)[0])
    assert np.array_equal(gauss_newton(pivoted_qr(np.zeros((3, 2)), np.ones(3))), np.zeros(2))


@pytest.mark.parametrize("radius", [1e-6, 1e-2, 0.2, 1e3])
@pytest.mark.parametrize(("m", "p"), [(8, 3), (2, 4)])
@pytest.mark.parametrize("damping", [0.0, 1e-8, 1e8])
def test_levenberg_marquardt_step_meets_the_radius(radius, m, p, damping):
    A, b, qr = random_factor(m, p)
    found = levenberg_marquardt(qr, radius, damping)
    assert found.length <= 1.1 * radius
    assert found.damping == 0.0 or found.length >= 0.9 * radius
    z = unpermuted(qr, found.z)
    assert np.allclose(A.T @ (A @ z + b) + found.damping * z, 0.0, atol=1e-9 * (1 + found.damping))


def test_damped_solve_keeps_the_normal_equations():
    A, b, qr = random_factor()
    T, z = damped_solve(qr, 0.7)
    P = A[:, qr.perm]
    assert np.allclose(np.triu(T).T @ np.triu(T), P.T @ P + 0.7 * np.eye(3))
    assert np.allclose((P.T @ P + 0.7 * np.eye(3)) @ z, -P.T @ b)


@pytest.mark.parametrize("radius", [1e-3, 0.3, 1e3])
def test_dogleg_stays_inside_and_beats_the_cauchy_point(radius):
    A, b, qr = random_factor()
    found = dogleg(qr, radius)
    assert np.linalg.norm(found.z) <= radius * (1 + 1e-12)
    g = A.T @ b
    t = min(g @ g / np.sum((A @ g) ** 2), radius / np.linalg.norm(g))
    assert np.linalg.norm(A @ unpermuted(qr, found.z) + b) <= np.linalg.norm(b - t * (A @ g)) * (1 + 1e-12)


def test_rank_does_not_change_when_a_column_is_rescaled():
    A, b, _ = random_factor()
    assert pivoted_qr(A * np.array([1.0, 1e-150, 1e120]), b).rank == 3


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize("solver", SOLVERS)
def test_optimum_on_a_bound(solver):
    lower, upper = np.array([-np.inf, -np.inf, 0.7]), np.array([np.inf, 1.5, np.inf])
    result = solver(lower=lower, upper=upper).minimize(objective(lower=lower, upper=upper), np.ones(3))
    peer = scipy_least_squares(decay, np.ones(3), decay_jac, bounds=(lower, upper), xtol=1e-15, ftol=1e-15)
    assert result.converged
    assert result.theta[2] == 0.7
    assert result.value <= peer.cost * (1 + 1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
def test_bounds_away_from_the_optimum_change_nothing(solver, optimum):
    result = solver(lower=0.0, upper=100.0).minimize(objective(), np.ones(3))
    assert np.allclose(result.theta, optimum, rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_start_on_a_bound_leaves_it(solver, optimum):
    result = solver(lower=np.array([1.0, 1.0, 0.0])).minimize(objective(), np.array([1.0, 1.0, 0.0]))
    assert np.allclose(result.theta, optimum, rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_iterate_stays_in_the_box(solver):
    seen = []
    lower, upper = np.zeros(3), np.array([2.0, 1.4, 1.0])
    solver(lower=lower, upper=upper).minimize(
        objective(), np.ones(3), lambda _, point: seen.append(point.theta) or None
    )
    assert all((lower <= t).all() and (t <= upper).all() for t in seen)


def test_equal_bounds_fix_a_parameter():
    lower, upper = np.array([-9.0, 1.0, -9.0]), np.array([9.0, 1.0, 9.0])
    result = LevenbergMarquardt(lower=lower, upper=upper).minimize(objective(), np.ones(3))
    assert result.converged
    assert result.theta[1] == 1.0


def test_a_corner_of_the_box():
    result = LevenbergMarquardt(upper=0.1).minimize(objective(), np.full(3, 0.05))
    assert result.converged
    assert (result.theta <= 0.1).all()


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        (2.0, None, "starting value"),
        (1.0, 0.0, "exchange them"),
        (np.zeros(2), None, "3 numbers"),
        (np.nan, None, "NaN"),
    ],
)
def test_bad_bounds_are_errors(lower, upper, message):
    with pytest.raises(ValueError, match=message):
        LevenbergMarquardt(lower=lower, upper=upper).minimize(objective(), np.ones(3))


def test_no_finite_bound_is_no_box():
    assert Box.of(-np.inf, np.inf, 3) is None
    assert Box.of(None, None, 3) is None


# ---------------------------------------------------------------- bad luck


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_region_of_nan_is_a_rejected_step(solver):
    def fun(t):
        return np.sqrt(t - 0.5) * 3 - 1.0 if (t > 0.5).all() else np.full(1, np.nan)

    result = (
        solver(factor=1e3).minimize(LeastSquares(fun, 1), np.array([5.0]))
        if solver is not GaussNewton
        else (solver().minimize(LeastSquares(fun, 1), np.array([5.0])))
    )
    assert result.converged
    assert result.theta == pytest.approx(0.5 + 1 / 9)
    assert solver is GaussNewton or not all(result.history.column("accepted"))


def test_a_jacobian_that_is_not_finite_is_a_rejected_step():
    def jac(t):
        return np.full((1, 1), np.inf if t[0] < 0.9 else 1.0)

    result = LevenbergMarquardt(max_iter=60).minimize(LeastSquares(lambda t: t.copy(), 1, jac), np.ones(1))
    assert np.isfinite(result.theta).all()
    assert result.theta[0] >= 0.9


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_start_that_is_not_finite(solver):
    result = solver().minimize(LeastSquares(lambda t: t * np.nan, 2), np.ones(2))
    assert result.status is Status.NONFINITE


@pytest.mark.parametrize("solver", SOLVERS)
def test_rank_deficient_jacobian(solver):
    result = solver().minimize(LeastSquares(lambda t: (t[0] + t[1]) * X - Y, 2), np.array([1.0, 0.0]))
    assert result.converged
    assert result.theta.sum() == pytest.approx(X @ Y / (X @ X))


@pytest.mark.parametrize("solver", SOLVERS)
def test_fewer_residuals_than_parameters(solver):
    result = solver().minimize(LeastSquares(lambda t: np.array([t[0] ** 2 + t[1] - 3, t[1] * t[2] - 1]), 3), np.ones(3))
    assert result.value < 1e-20


def test_a_parameter_without_influence_stays_where_it_is():
    result = LevenbergMarquardt().minimize(LeastSquares(lambda t: decay(t) + 0.0 * t[3], 4), np.ones(4))
    assert result.converged
    assert result.theta[3] == 1.0


def test_a_wrong_jacobian_is_not_called_success():
    result = LevenbergMarquardt().minimize(LeastSquares(decay, 3, lambda t: -decay_jac(t)), np.ones(3))
    assert not result.converged


def test_second_try_keeps_the_better_and_joins_the_histories():
    def fun(t):
        return np.array([1e4 * t[0] * t[1] - 1, np.exp(-t[0]) + np.exp(-t[1]) - 1.0001])

    start = np.array([0.0, 10.0])
    one = LevenbergMarquardt(second_try=False).minimize(LeastSquares(fun, 2), start)
    two = LevenbergMarquardt().minimize(LeastSquares(fun, 2), start)
    assert two.value <= one.value
    assert two.value < 1e-20
    assert "second try" in two.history.notes
    iterations = two.history.column("iteration")
    assert iterations == sorted(set(iterations))
    assert two.history[-1].n_grad == two.counts.n_grad


def test_units_of_parameters_and_residuals_change_nothing():
    unit = np.array([1e-12, 1e12, 1e3])
    plain = LevenbergMarquardt().minimize(objective(), np.ones(3))
    scaled = LevenbergMarquardt().minimize(
        LeastSquares(lambda t: 1e-9 * decay(t * unit), 3, lambda t: 1e-9 * decay_jac(t * unit) * unit), 1 / unit
    )
    assert scaled.n_iter == plain.n_iter
    assert np.allclose(scaled.theta * unit, plain.theta, rtol=1e-9)


def test_geodesic_acceleration_saves_jacobians():
    def fun(t):
        return np.array([1e3 * (t[1] - t[0] ** 2), 1 - t[0]])

    plain = LevenbergMarquardt().minimize(LeastSquares(fun, 2), np.array([-1.2, 1.0]))
    accelerated = LevenbergMarquardt(geodesic=True).minimize(LeastSquares(fun, 2), np.array([-1.2, 1.0]))
    assert plain.value < 1e-20
    assert accelerated.value < 1e-20
    assert accelerated.counts.n_grad <= plain.counts.n_grad


def test_geodesic_acceleration_skips_a_trial_that_is_not_finite():
    def fun(t):
        return np.log(t) if (t > 0).all() else np.full(1, np.nan)

    result = LevenbergMarquardt(geodesic=True).minimize(LeastSquares(fun, 1), np.array([40.0]))
    assert result.theta == pytest.approx(1.0)


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="scaling"):
        LevenbergMarquardt(scaling="marquardt").minimize(objective(), np.ones(3))
    with pytest.raises(ValueError, match="factor"):
        LevenbergMarquardt(factor=-1.0).minimize(objective(), np.ones(3))


def test_an_objective_without_residuals_is_a_readable_error():
    class Point:
        theta, value, grad, curvature = np.ones(1), 1.0, np.ones(1), None

    class Plain:
        size = 1
        counts = objective().counts

        def at(self, theta):
            return Point()

    with pytest.raises(TypeError, match="residual"):
        LevenbergMarquardt().minimize(Plain(), np.ones(1))


def test_work_is_counted():
    calls = []
    problem = LeastSquares(lambda t: calls.append(1) or decay(t), 3, decay_jac)
    result = LevenbergMarquardt().minimize(problem, np.ones(3))
    assert result.counts.n_value == len(calls)
    assert result.counts.n_grad <= result.n_iter + 1


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("power", [200.0, 300.0])
def test_residuals_whose_squares_overflow(solver, power):
    """Residuals of 1e200 and 1e300 are as good a start as any other finite ones."""
    x = np.linspace(0.5, 1.0, 20)

    def objective(scale=1.0):
        top = power * np.log(10.0)
        return LeastSquares(
            lambda t: scale * (np.exp(top * t[0] * x) - 2.0),
            1,
            lambda t: scale * (top * x * np.exp(top * t[0] * x))[:, None],
        )

    result = solver().minimize(objective(), np.array([0.98]))
    want = solver().minimize(objective(), np.array([0.01]))
    assert result.converged
    assert result.theta == pytest.approx(want.theta, rel=1e-6)
    assert "larger unit" in result.history.notes["overflow"]
    assert result.history[0].value < 1e300


def test_overflow_that_stays_is_nonfinite():
    """Residuals that cannot be lowered, and those of a robust loss, end as before; so do derivatives that stay huge."""
    huge = LeastSquares(lambda t: np.full(3, 1e200) + 0.0 * t, 1, lambda t: np.zeros((3, 1)))
    assert LevenbergMarquardt().minimize(huge, np.ones(1)).status is Status.NONFINITE
    stiff = LeastSquares(lambda t: 1e200 * t, 1, lambda t: np.full((1, 1), 1e200))
    assert LevenbergMarquardt().minimize(stiff, np.ones(1)).status is Status.NONFINITE
    robust = LeastSquares(lambda t: 1e200 * t, 1, lambda t: np.full((1, 1), 1e200), loss="huber", f_scale=1.0)
    assert LevenbergMarquardt().minimize(robust, np.ones(1)).status is Status.NONFINITE

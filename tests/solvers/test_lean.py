"""The algebra of the short way for each number of parameters, what S learns, and when there is no answer."""

import math

import numpy as np
import pytest

from sosolve.solvers.lean import MOST_PARAMETERS, Lean, algebra


def sums_of(p, seed=0):
    """Return sums of random columns of unlike sizes, their units, and the Jacobian and residuals behind them."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((p + 1, 40))
    units = rng.uniform(1.0, 2.0, p) * 10.0 ** rng.integers(-8, 8, p)
    return (rows @ rows.T).tolist(), units.tolist(), rows[:-1].T * units, rows[-1]


@pytest.mark.parametrize("p", range(1, MOST_PARAMETERS + 1))
@pytest.mark.parametrize("mu", [0.0, 0.3])
def test_damped_step(p, mu):
    """The step solves (J'J + S + mu D^2) h = -J'r; the prediction and the inverse are those of dense algebra."""
    sums, units, J, r = sums_of(p)
    widest = [0.0] * p
    T = np.random.default_rng(1).standard_normal((p, p)) * np.sqrt(1e-3 / p)
    S = (T @ T.T) * np.outer(*2 * [np.linalg.norm(J, axis=0)])
    h, predicted, least = algebra(p)[0](sums, units, widest, S.tolist(), mu)
    D = np.linalg.norm(J, axis=0)
    np.testing.assert_allclose(widest, D, rtol=1e-13)
    scaled = (J.T @ J + S) / np.outer(D, D)
    z = np.linalg.solve(scaled + mu * np.eye(p), -(J.T @ r) / D)
    np.testing.assert_allclose(np.array(h) * D, z, rtol=1e-11, atol=1e-13)
    assert predicted == pytest.approx(-2.0 * (r @ J) @ (z / D) - z @ scaled @ z, rel=1e-10)
    pivots = np.diag(np.linalg.cholesky(scaled + mu * np.eye(p))) ** 2
    assert least == pytest.approx(pivots.min(), rel=1e-10)
    found, pivot = algebra(p)[1](sums, units, widest)
    exact = np.linalg.inv(J.T @ J / np.outer(D, D))
    np.testing.assert_allclose(np.array(found) * np.outer(D, D), exact, rtol=1e-10, atol=1e-12)
    assert 0.0 < pivot <= 1.0


def test_scale_is_a_running_maximum():
    """D only grows."""
    sums, units, _, _ = sums_of(2)
    widest = [1e30, 0.0]
    algebra(2)[0](sums, units, widest, [[0.0] * 2] * 2, 0.0)
    assert widest[0] == 1e30
    assert widest[1] > 0.0


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf, 1e-300, 1e300])
def test_no_ordinary_sums(bad):
    """A column of zeros, of NaN, and sums near the ends of the range end the short way."""
    sums, units, _, _ = sums_of(2)
    sums[1][1] = bad
    assert algebra(2)[0](sums, units, [0.0, 0.0], [[0.0] * 2] * 2, 0.0) is None


def test_singular():
    """Equal columns have no step without damping, and no inverse."""
    sums, one = [[1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 0.5, 1.0]], [1.0, 1.0]
    damped, inverse, _ = algebra(2)
    assert damped(sums, one, [0.0, 0.0], [[0.0] * 2] * 2, 0.0) == ((0.0, 0.0), math.inf, 0.0)
    assert damped(sums, one, [0.0, 0.0], [[0.0] * 2] * 2, 0.1)[2] > 0.0
    assert inverse(sums, one, [1.0, 1.0]) == (None, 0.0)


def test_what_s_learns():
    """After an update S h is the turn; noise and turns that outweigh J'J are not learnt."""
    zero, h, D = [[0.0] * 2] * 2, (1e-3, 2e-3), [1.0, 1.0]

    def bent(S, h, turn):
        t, u = turn
        return algebra(2)[2](S, h, D, 1.0, [2.0 * t, u], [1.0, 1.5], [t, u], [1.0, 0.5])

    S = np.array(bent(zero, h, [1e-4, 3e-4]))
    np.testing.assert_allclose(S @ h, [1e-4, 3e-4], rtol=1e-14)
    np.testing.assert_array_equal(S, S.T)
    again = np.array(bent(S.tolist(), (1e-3, -1e-3), [2e-4, -1e-4]))
    np.testing.assert_allclose(again @ (1e-3, -1e-3), [2e-4, -1e-4], rtol=1e-12)
    assert bent(zero, h, [1e-9, 1e-9]) is zero
    assert bent(zero, h, [1.0, -0.49]) is zero


def problem(f, J):
    """Return residual and slopes for `Lean` from functions of theta, and a list that counts both."""
    last, calls = [], []

    def residual(theta, exact):
        calls.append("r")
        r = np.asarray(f(theta), dtype=float)
        return (theta, r), float(r @ r)

    def slopes(at, exact, crossed):
        calls.append("J")
        theta, r = at
        turned = (r @ last[-1]).tolist() if crossed else None
        last.append(np.asarray(J(theta), dtype=float))
        A = np.column_stack([last[-1], r])
        return (A.T @ A).tolist(), [1.0] * len(theta), turned

    return residual, slopes, calls


def run(f, J, theta, level=1.0):
    residual, slopes, calls = problem(f, J)
    at, cost = residual(theta, False)
    fit = Lean(residual, slopes, theta, cost, level)
    return fit.minimise(at, False), fit, calls


def test_large_residuals():
    """Where Gauss-Newton gains a factor of 4 a step, S makes the end superlinear."""
    t = np.linspace(-1.0, 1.0, 21)
    y = 0.35 * np.cos(3.0 * t)

    def f(theta):
        return np.exp(theta[0] * t) - 1.0 - y

    def J(theta):
        return (t * np.exp(theta[0] * t))[:, None]

    found, _, calls = run(f, J, [0.3])
    assert found is not None
    x = found.theta[0]
    assert abs(float(f([x]) @ J([x])[:, 0])) < 1e-9
    assert calls.count("J") <= 12


def test_rosenbrock_and_its_valley():
    """A curved valley is followed to a minimum of 0."""
    found, _, _ = run(
        lambda x: [10.0 * (x[1] - x[0] ** 2), 1.0 - x[0], 1e-3],
        lambda x: [[-20.0 * x[0], 10.0], [-1.0, 0.0], [0.0, 0.0]],
        [-1.2, 1.0],
    )
    np.testing.assert_allclose(found.theta, [1.0, 1.0], rtol=1e-9)
    assert found.cost == pytest.approx(1e-6)


def test_no_answer():
    """No slopes, no damping that helps, no well-conditioned end: None, and the best point stays known."""
    J = [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0 + 1e-6]]
    found, fit, _ = run(lambda x: np.array(J) @ x - [1.0, 2.0, 4.0], lambda x: J, [0.0, 0.0])
    assert found is None
    assert fit.cost <= 21.0
    found, fit, _ = run(lambda x: [1.0, 2.0], lambda x: [[1.0], [1.0]], [0.5])  # slopes of another function
    assert found is None
    assert fit.theta == [0.5]
    assert Lean(lambda x: (None, 1.0), lambda *a: None, [0.0], 1.0, 1.0).minimise(None, True) is None


def test_trial_points_that_do_not_exist_are_rejected():
    """NaN beyond a limit shortens the step."""
    t = np.linspace(1.0, 5.0, 30)

    def f(x):
        with np.errstate(all="ignore"):
            return x[0] * np.sqrt(t - x[1]) - 3.0 * np.sqrt(t - 0.9)

    found, _, _ = run(
        f,
        lambda x: np.column_stack([np.sqrt(t - x[1]), -0.5 * x[0] / np.sqrt(t - x[1])]),
        [20.0, -3.0],
        level=500.0,
    )
    np.testing.assert_allclose(found.theta, [3.0, 0.9], rtol=1e-9)

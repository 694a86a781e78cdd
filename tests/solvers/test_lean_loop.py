"""The loop that becomes machine code, run as Python: the same answers as the lean solver, and every way to none."""

import math

import numpy as np
import pytest

from sosolve.solvers import lean, lean_loop

X = np.linspace(0.0, 4.0, 30)


def packed(A):
    """Return the lower half of the products of the rows of A."""
    return (A @ A.T)[np.tril_indices(A.shape[0])]


class Decays:
    """a exp(-b x) + c and more rows as `rows` and as what `Lean` needs."""

    def __init__(self, y, change=None):
        self.y, self.change, self.n_rows = y, change, 0

    def at(self, theta):
        self.n_rows += 1
        a, b, c = theta[:3]
        e = np.exp(-b * X)
        A = np.stack([e, -a * X * e, np.ones_like(X), a * e + c - self.y])
        return A if self.change is None else self.change(A, self.n_rows, theta)

    def rows(self, x, y, s, n, c, theta, sums):
        sums[:10] = packed(self.at(theta))

    def minimise(self, start):
        theta, inverse = np.array(start), np.empty(9)
        with np.errstate(all="ignore"):
            cost = lean_loop.minimise(self.rows, X, self.y, X, 30, 1.0, 3, float(self.y @ self.y), theta, inverse)
        return cost, theta, inverse.reshape(3, 3)

    def lean(self, start):
        def residual(theta, exact):
            A = self.at(theta)
            return A, float(A[-1] @ A[-1])

        def slopes(A, exact, crossed):
            turned = (self.before[:-1] @ A[-1]).tolist() if crossed else None
            self.before = A
            return (A @ A.T).tolist(), [1.0] * 3, turned

        at, cost = residual(start, False)
        return lean.Lean(residual, slopes, start, cost, float(self.y @ self.y)).minimise(at, False)


NOISE = np.random.default_rng(0).standard_normal(X.size)
DECAY = 2.5 * np.exp(-1.3 * X) + 0.5


@pytest.mark.parametrize(("noise", "start"), [(0.02, [1.0, 1.0, 1.0]), (0.7, [2.0, 3.0, 0.0]), (0.02, [9.0, 9.0, 9.0])])
def test_same_as_lean(noise, start):
    """The minimum, r'r and (J'J)^-1, in as many passes but for the last, also where residuals are large."""
    model = Decays(DECAY + noise * NOISE)
    cost, theta, inverse = model.minimise(start)
    n_rows, model.n_rows = model.n_rows, 0
    end = model.lean(start)
    assert abs(n_rows - 1 - model.n_rows) <= 1
    np.testing.assert_allclose(theta, end.theta, rtol=1e-9)
    assert cost == pytest.approx(end.cost, rel=1e-13)
    np.testing.assert_allclose(inverse, end.inverse, rtol=1e-6)
    A = model.at(theta)[:-1]
    np.testing.assert_allclose(inverse @ (A @ A.T), np.eye(3), atol=1e-10)
    np.testing.assert_array_equal(inverse, inverse.T)


def test_no_noise():
    """Residuals at rounding end a fit, also from a start at the minimum."""
    for start in ([1.0, 1.0, 1.0], [2.5, 1.3, 0.5]):
        cost, theta, _ = Decays(DECAY).minimise(start)
        assert 0.0 <= cost < 1e-28
        np.testing.assert_allclose(theta, [2.5, 1.3, 0.5], rtol=1e-13)


def scaled(factor):
    return lambda A, n, theta: A * np.array([[1.0], [factor], [1.0], [1.0]])


@pytest.mark.parametrize(
    "change",
    [
        lambda A, n, theta: A * math.nan,  # no start
        scaled(0.0),  # nothing depends on b
        lambda A, n, theta: A[[0, 0, 2, 3]],  # one direction: singular where the damping has gone
        lambda A, n, theta: A * (math.inf if n > 1 else 1.0),  # no trial is finite
        lambda A, n, theta: A * (np.array([[0.0], [1.0], [1.0], [1.0]]) if n > 2 else 1.0),  # a column vanishes
        lambda A, n, theta: A + np.array([[0.0], [0.0], [0.0], [0.1 * n]]),  # never the same again
        lambda A, n, theta: A[[0, 1, 2, 3]] * np.array([[1.0], [1e150], [1.0], [1.0]]),  # squares out of range
        lambda A, n, theta: np.stack([A[0], A[0] + 3e-5 * A[1], A[2], A[3]]),  # a condition number of 1e5
    ],
)
def test_no_answer(change):
    """What is out of the ordinary is left to the full solver."""
    assert Decays(DECAY + 0.02 * NOISE, change).minimise([2.0, 1.0, 0.4])[0] == -1.0


@pytest.mark.parametrize("second", [0.0, 3e-6])
def test_columns_that_are_nearly_one(second):
    """A singular J has no last step, a condition number of 1e6 no covariance."""
    columns = np.stack([np.exp(-X), np.exp(-X) + second * X, np.ones_like(X)])
    model = Decays(DECAY + 0.02 * NOISE, lambda A, n, theta: np.stack([*columns, theta[:3] @ columns - DECAY]))
    assert model.minimise([2.0, 1.0, 0.4])[0] == -1.0


def test_steps_run_out():
    """Residuals that shrink by a tenth of themselves, whatever the step, never come to rest."""
    columns = np.stack([np.exp(-X), X, np.ones_like(X)])
    model = Decays(DECAY, lambda A, n, theta: np.stack([*columns, 0.9**n * columns[0]]))
    assert model.minimise([2.0, 1.0, 0.4])[0] == -1.0
    assert model.n_rows == lean.MOST_STEPS + 1


def test_what_s_learns():
    """S h is what J'J in the mean leaves of the change of J'r; rounding, and what would outweigh J'J, is not learnt."""
    rng = np.random.default_rng(1)
    A, B = (packed(rng.standard_normal((4, 9))) for _ in range(2))
    D, h = np.full(3, 1e3), np.array([1e-3, 2e-3, -1e-3])

    def square(M):
        full = np.zeros((3, 3))
        full[np.tril_indices(3)] = M[:6]
        return full + np.tril(full, -1).T

    S = np.zeros(6)
    lean_loop.learn(A, B, 3, D, h, S, np.empty(3))
    turn = A[6:9] - B[6:9] - 0.5 * (square(A) + square(B)) @ h
    np.testing.assert_allclose(square(S) @ h, turn, rtol=1e-12)
    same = S.copy()
    lean_loop.learn(A, B, 3, D, h, S, np.empty(3))
    np.testing.assert_allclose(S, same, rtol=1e-12)
    for scale in (np.full(3, 1e12), np.full(3, 1e-9)):
        S[:] = 0.0
        lean_loop.learn(A, B, 3, scale, h, S, np.empty(3))
        assert not S.any()


@pytest.mark.parametrize("p", [1, 2, 5, 10])
def test_algebra(p):
    """Factor, step and inverse are those of dense algebra, as for the lines of `lean`."""
    rng = np.random.default_rng(p)
    A = rng.standard_normal((p + 1, 40)) * 10.0 ** rng.integers(-8, 8, (p + 1, 1))
    sums, D, S, L, h, inverse = packed(A), np.zeros(p), np.zeros(55), np.zeros(55), np.zeros(10), np.zeros(p * p)
    assert lean_loop.widened(sums, p, D)
    least = lean_loop.factorised(sums, p, D, S, 0.3, L)
    predicted = lean_loop.step(sums, p, D, 0.3, L, h)
    widest, zero = [0.0] * p, [[0.0] * p] * p
    expected = lean.algebra(p)[0]((A @ A.T).tolist(), [1.0] * p, widest, zero, 0.3)
    np.testing.assert_allclose(D, widest, rtol=1e-14)
    np.testing.assert_allclose(h[:p], expected[0], rtol=1e-10)
    assert (predicted, least) == pytest.approx(expected[1:], rel=1e-10)
    assert lean_loop.end_of(sums, p, D, L, inverse) == pytest.approx(A[-1] @ A[-1])
    exact = np.array(lean.algebra(p)[1]((A @ A.T).tolist(), [1.0] * p, widest)[0])
    np.testing.assert_allclose(inverse.reshape(p, p), exact, rtol=1e-10)

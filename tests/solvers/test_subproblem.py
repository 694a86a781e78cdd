"""Steihaug's CG: each exit; the dogleg's legs; shifted solves."""

import math

import numpy as np
import pytest

from sosolve.history import InnerStop
from sosolve.linalg import cholesky
from sosolve.solvers.subproblem import dogleg, solve_shifted, steihaug


def matrix(eigenvalues, seed=0):
    """Return a symmetric matrix with the given eigenvalues."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((len(eigenvalues), len(eigenvalues))))
    return Q @ np.diag(eigenvalues) @ Q.T


G = np.arange(1.0, 7.0)


def model(H, g, s):
    """Return the decrease of the quadratic model."""
    return -(g @ s + 0.5 * s @ H @ s)


def test_exit_residual_solves_the_system():
    """A tight forcing term gives the Newton step, and the reported numbers are those of the step."""
    H = matrix([1.0, 2.0, 3.0, 10.0, 50.0, 100.0])
    found = steihaug(lambda v: H @ v, G, rtol=1e-12)
    assert found.stop is InnerStop.RESIDUAL
    np.testing.assert_allclose(found.step, -np.linalg.solve(H, G), rtol=1e-9)
    assert found.slope == pytest.approx(G @ found.step)
    assert found.predicted == pytest.approx(model(H, G, found.step))
    assert found.norm == pytest.approx(np.linalg.norm(found.step))
    assert found.iterations <= 7


def test_loose_forcing_term_ends_early():
    """The residual is reduced as asked and no more."""
    H = matrix(10.0 ** np.linspace(0, 3, 6))
    found = steihaug(lambda v: H @ v, G, rtol=0.5)
    residual = np.linalg.norm(G + H @ found.step) / np.linalg.norm(G)
    assert residual <= 0.5
    assert found.iterations < steihaug(lambda v: H @ v, G, rtol=1e-10).iterations


def test_level_tightens_the_solve():
    """Below the level of the decrement the residual goes to a tenth."""
    H = matrix(10.0 ** np.linspace(0, 3, 6))
    loose = steihaug(lambda v: H @ v, G, rtol=0.9)
    tight = steihaug(lambda v: H @ v, G, rtol=0.9, level=math.inf)
    assert tight.iterations > loose.iterations
    assert np.linalg.norm(G + H @ tight.step) <= 0.1 * np.linalg.norm(G)


def test_exit_cap():
    """The cap on products is kept."""
    H = matrix(10.0 ** np.linspace(0, 8, 6))
    found = steihaug(lambda v: H @ v, G, rtol=1e-12, max_iter=2)
    assert (found.stop, found.iterations) == (InnerStop.CAP, 2)
    assert found.predicted == pytest.approx(model(H, G, found.step))


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("radius", [1e-3, 0.3, 1.0])
def test_exit_boundary(radius, preconditioned):
    """The step ends on the sphere in the norm of the preconditioner and predicts at least the Cauchy decrease."""
    H = matrix([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    M = np.diag(H) if preconditioned else np.ones(6)
    found = steihaug(lambda v: H @ v, G, radius, (lambda v: v / M) if preconditioned else None, rtol=1e-10)
    assert found.stop is InnerStop.BOUNDARY
    assert found.norm == pytest.approx(radius)
    assert math.sqrt(found.step @ (M * found.step)) == pytest.approx(radius)
    d = -G / M
    t = min(-(G @ d) / (d @ H @ d), radius / math.sqrt(d @ (M * d)))
    assert found.predicted >= model(H, G, t * d) * (1 - 1e-12)
    assert found.predicted == pytest.approx(model(H, G, found.step))


def test_negative_curvature_goes_to_the_boundary():
    """Along a direction of negative curvature the model falls to the radius."""
    H = matrix([-5.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    found = steihaug(lambda v: H @ v, G, radius=7.0, rtol=1e-10)
    assert found.stop is InnerStop.NEGATIVE_CURVATURE
    assert found.norm == pytest.approx(7.0)
    assert found.predicted > 0
    assert found.predicted == pytest.approx(model(H, G, found.step))


@pytest.mark.parametrize("precond", [None, lambda v: v / np.arange(1.0, 7.0)])
def test_negative_curvature_in_the_first_iteration_is_a_descent_direction(precond):
    """Without a radius the step is minus the preconditioned gradient: downhill, never uphill."""
    found = steihaug(lambda v: -v, G, precond=precond)
    assert found.stop is InnerStop.NEGATIVE_CURVATURE
    np.testing.assert_allclose(found.step, -(precond(G) if precond else G))
    assert found.slope < 0


def test_negative_curvature_later_keeps_the_step_so_far():
    """Without a radius CG returns what it had before it met the bad direction."""
    H = np.diag([1.0, 1.0, 1.0, 1.0, 1.0, -1e-3])
    found = steihaug(lambda v: H @ v, G, rtol=1e-12)
    assert found.stop is InnerStop.NEGATIVE_CURVATURE
    assert found.iterations >= 2
    assert found.slope < 0


def test_flat_direction_of_a_singular_matrix_is_left_alone():
    """A gradient in the range of a singular H gives the step of least norm."""
    H = np.diag([1.0, 2.0, 0.0])
    found = steihaug(lambda v: H @ v, np.array([1.0, 1.0, 0.0]), rtol=1e-12)
    np.testing.assert_allclose(found.step, [-1.0, -0.5, 0.0], atol=1e-12)


def test_zero_gradient():
    """Nothing to do: no products."""
    found = steihaug(lambda v: v, np.zeros(3))
    assert found.iterations == 0
    assert not found.step.any()


def test_units_do_not_matter_with_a_jacobi_preconditioner():
    """Rescaled parameters give the same iterations and the rescaled step."""
    H = matrix(10.0 ** np.linspace(0, 2, 6))
    D = 10.0 ** np.linspace(-6, 6, 6)
    a = steihaug(lambda v: H @ v, G, precond=lambda v: v / np.diag(H), rtol=1e-3)
    HD = H * D[:, None] * D[None, :]
    b = steihaug(lambda v: HD @ v, G * D, precond=lambda v: v / np.diag(HD), rtol=1e-3)
    assert a.iterations == b.iterations
    np.testing.assert_allclose(b.step * D, a.step, rtol=1e-8)


@pytest.mark.parametrize("radius", [1e-6, 0.5, 5.0, 1e6])
def test_dogleg(radius):
    """Short radius: steepest descent; long: Newton; between: on the sphere and better than the Cauchy point."""
    H = matrix([1.0, 2.0, 3.0, 10.0, 20.0, 100.0])
    found, shift = dogleg(H, G, radius)
    newton = -np.linalg.solve(H, G)
    assert shift == 0.0
    assert found.predicted == pytest.approx(model(H, G, found.step))
    if np.linalg.norm(newton) <= radius:
        np.testing.assert_allclose(found.step, newton)
        assert found.stop is InnerStop.RESIDUAL
        return
    assert np.linalg.norm(found.step) == pytest.approx(radius)
    assert found.stop is InnerStop.BOUNDARY
    t = min((G @ G) / (G @ H @ G), radius / np.linalg.norm(G))
    assert found.predicted >= model(H, G, -t * G) * (1 - 1e-12)


def test_dogleg_without_a_finite_matrix_takes_the_cauchy_point():
    """NaN on the diagonal: no shift works; the step is along the gradient to the radius."""
    found, shift = dogleg(np.full((6, 6), np.nan), G, 2.0)
    assert math.isnan(shift)
    np.testing.assert_allclose(found.step, -2.0 * G / np.linalg.norm(G))


@pytest.mark.parametrize("place", [(0, 0), (1, 1), (4, 4), (4, 0), (3, 2)])
def test_no_factor_of_a_matrix_with_nan(place):
    """LAPACK reports none but in the first pivot."""
    H = np.eye(5)
    assert cholesky(H) is not None
    H[place] = math.nan
    assert cholesky(H) is None


def test_solve_shifted():
    """No shift where none is needed; the smallest that works where H is singular or indefinite."""
    H = matrix([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    step, shift = solve_shifted(H, G)
    assert shift == 0.0
    np.testing.assert_allclose(step, -np.linalg.solve(H, G))
    v = np.ones(6)
    step, shift = solve_shifted(np.outer(v, v), v)
    assert 0.0 < shift < 1e-10
    assert step.sum() == pytest.approx(-1.0, rel=1e-6)
    indefinite = matrix([-1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    step, shift = solve_shifted(indefinite, G)
    assert shift > 0.1
    assert step @ G < 0
    assert solve_shifted(np.full((2, 2), np.inf), np.ones(2))[0] is None


def test_solve_shifted_is_free_of_units():
    """Columns scaled from 1e-100 to 1e100 need no shift."""
    H = matrix([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    D = 10.0 ** np.linspace(-100, 100, 6)
    step, shift = solve_shifted(H * D[:, None] * D, G * D)
    assert shift == 0.0
    np.testing.assert_allclose(step * D, -np.linalg.solve(H, G), rtol=1e-10)

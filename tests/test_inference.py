"""Covariance from the Jacobian at the optimum."""

import numpy as np
import pytest
from nist_problems import NAMES, load

from sosolve.inference import covariance
from sosolve.objectives.least_squares import LeastSquares
from sosolve.solvers import LevenbergMarquardt

RNG = np.random.default_rng(0)
J = RNG.normal(size=(30, 4))
R = RNG.normal(size=30)


def test_against_the_normal_equations():
    got = covariance(J, R)
    want = np.linalg.inv(J.T @ J) * (R @ R) / 26
    assert np.allclose(got.matrix, want)
    assert np.allclose(got.stderr, np.sqrt(np.diag(want)))
    assert np.allclose(np.diag(got.correlation), 1.0)
    assert (got.rank, got.variance, got.null_vectors.shape) == (4, pytest.approx(R @ R / 26), (4, 0))
    assert got.identifiable.all()


def test_absolute_sigma_and_degrees_of_freedom():
    assert covariance(J, R, absolute_sigma=True).variance == 1.0
    assert covariance(J, R, degrees_of_freedom=10.0).variance == pytest.approx(R @ R / 10)


@pytest.mark.parametrize("unit", [1e-9, 1e9, 1e150, 1e-150])
def test_a_change_of_unit_changes_nothing(unit):
    scale = np.array([1.0, unit, 1.0, 1.0])
    assert np.allclose(covariance(J * scale, R).stderr * scale, covariance(J, R).stderr, rtol=1e-12)


def test_parameters_that_are_not_identifiable():
    A = np.c_[J[:, :2], J[:, 0] - 2 * J[:, 1], J[:, 3]]
    got = covariance(A, R)
    assert got.rank == 3
    assert list(got.identifiable) == [False, False, False, True]
    assert np.isnan(got.stderr[:3]).all()
    assert np.isnan(got.matrix[3, :3]).all()
    assert got.stderr[3] == pytest.approx(covariance(A[:, [0, 1, 3]], R, degrees_of_freedom=26).stderr[2])
    null = got.null_vectors[:, 0]
    assert np.allclose(A @ null, 0.0, atol=1e-12)
    assert np.linalg.norm(null) == pytest.approx(1.0)


def test_a_column_of_zeros():
    got = covariance(np.c_[J[:, :2], np.zeros(30)], R)
    assert np.isnan(got.stderr[2])
    assert np.isfinite(got.stderr[:2]).all()
    assert np.allclose(np.abs(got.null_vectors[:, 0]), [0, 0, 1])


def test_fixed_parameters_get_zero_and_do_not_count():
    got = covariance(J, R, fixed=np.array([False, True, False, False]))
    want = np.linalg.inv(J[:, [0, 2, 3]].T @ J[:, [0, 2, 3]]) * (R @ R) / 27
    assert np.allclose(got.matrix[np.ix_([0, 2, 3], [0, 2, 3])], want)
    assert (got.matrix[1] == 0.0).all()
    assert covariance(J, R, fixed=np.ones(4, dtype=bool)).stderr.tolist() == [0.0] * 4


def test_no_degrees_of_freedom():
    assert np.isnan(covariance(J[:4], R[:4]).stderr).all()
    assert np.isfinite(covariance(J[:4], R[:4], absolute_sigma=True).stderr).all()
    assert np.isnan(covariance(J[:2], R[:2], absolute_sigma=True).stderr).all()


def test_bad_input_is_an_error():
    with pytest.raises(ValueError, match="same parameters"):
        covariance(J, R[:-1])
    with pytest.raises(ValueError, match="row 3, column 1"):
        covariance(np.where((np.arange(30) == 3)[:, None] & (np.arange(4) == 1), np.nan, J), R)


@pytest.mark.parametrize("name", NAMES)
def test_certified_standard_errors(name):
    problem = load(name)
    result = LevenbergMarquardt().minimize(
        LeastSquares(problem.residual, problem.certified.size, derivative="cs"), problem.starts[1]
    )
    got = covariance(result.point.raw_jac, result.point.raw_residual)
    # Lanczos1 has a residual sum of squares of 1.4e-25: its standard errors are rounding
    assert np.allclose(got.stderr, problem.stderr, rtol=1e-3 if name == "Lanczos1" else 1e-6)

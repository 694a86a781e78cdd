"""Covariance from the Jacobian at the optimum."""

import numpy as np
import pytest
from nist_problems import NAMES, load

from sosolve.inference import covariance, sandwich
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


# ---------------------------------------------------------------------- the sandwich

SLOPE = RNG.uniform(0.2, 1.0, 30)


def test_sandwich_against_its_definition():
    """A^-1 B A^-1 with leverages, from explicit inverses."""
    A = np.linalg.inv(J.T @ (SLOPE[:, None] * J))
    u = R / (1.0 - SLOPE * np.einsum("ij,jk,ik->i", J, A, J))
    want = A @ (J.T @ (u[:, None] ** 2 * J)) @ A
    got = sandwich(J, R, SLOPE)
    assert np.allclose(got.matrix, want, rtol=1e-12)
    assert got.variance == pytest.approx(R @ R / 26)


def test_sandwich_is_the_jackknife_to_first_order():
    """For a linear model with plain squares the steps that leave one row out are exact."""
    beta = np.linalg.lstsq(J, R, rcond=None)[0]
    r = J @ beta - R
    drops = np.array([np.linalg.lstsq(np.delete(J, i, 0), np.delete(R, i), rcond=None)[0] - beta for i in range(30)])
    assert np.allclose(sandwich(J, r, np.ones(30)).matrix, drops.T @ drops, rtol=1e-10)


def test_sandwich_weights_are_repeated_rows():
    w = RNG.integers(1, 4, 30)
    again = sandwich(np.repeat(J, w, 0), np.repeat(R, w), np.repeat(SLOPE, w))
    got = sandwich(J, R, SLOPE, weights=w, degrees_of_freedom=w.sum() - 4)
    assert np.allclose(got.matrix, again.matrix, rtol=1e-10)
    none = sandwich(np.r_[J, J[:1]], np.r_[R, 9.0], np.r_[SLOPE, 1.0], weights=np.r_[np.ones(30), 0.0])
    assert np.allclose(none.matrix, sandwich(J, R, SLOPE).matrix)


@pytest.mark.parametrize("unit", [1e-9, 1e9, 1e150])
def test_sandwich_is_free_of_units(unit):
    scale = np.array([1.0, unit, 1.0, 1.0])
    assert np.allclose(sandwich(J * scale, R, SLOPE).stderr * scale, sandwich(J, R, SLOPE).stderr, rtol=1e-12)


def test_sandwich_where_curvature_is_missing():
    """Negative slopes count where A stays positive definite, else as 0; without any curvature errors are NaN."""
    few = SLOPE.copy()
    few[:3] = -0.1
    A = np.linalg.inv(J.T @ (few[:, None] * J))
    u = R / (1.0 - few * np.einsum("ij,jk,ik->i", J, A, J))
    assert np.allclose(sandwich(J, R, few).matrix, A @ (J.T @ (u[:, None] ** 2 * J)) @ A)
    many = np.where(np.arange(30) < 8, -5.0, 0.5)
    assert np.allclose(sandwich(J, R, many).matrix, sandwich(J, R, np.maximum(many, 0.0)).matrix)
    assert np.isnan(sandwich(J, R, -SLOPE).stderr).all()
    assert np.isnan(sandwich(J[:4], R[:4], SLOPE[:4]).stderr).all()


def test_sandwich_of_a_row_that_stands_alone():
    """A parameter that one row determines gets the pooled error of the others."""
    A = np.zeros((30, 2))
    A[:29, 0], A[29, 1] = 1.0, 2.0
    r = np.r_[R[:29], 0.0]
    got = sandwich(A, r, np.ones(30))
    assert got.stderr[1] == pytest.approx(0.5 * np.sqrt(r @ r / 28))


def test_sandwich_leaves_out_fixed_and_lost_parameters():
    A = np.c_[J, J[:, 0]]
    got = sandwich(A, R, SLOPE, fixed=[False, True, False, False, False])
    assert got.stderr[1] == 0.0
    assert np.isnan(got.stderr[[0, 4]]).all()
    assert np.isfinite(got.stderr[[2, 3]]).all()

"""Robust losses with weights: repeated rows, derivatives, medians."""

import numpy as np
import pytest

from sosolve.objectives.least_squares import LeastSquares
from sosolve.objectives.robust import NAMES, RobustLoss, mad_scale
from sosolve.objectives.weighted_robust import WeightedRobustLoss, weighted_mad_scale, weighted_median

RNG = np.random.default_rng(4)
R = RNG.standard_normal(12) * np.array([1.0] * 10 + [30.0, -40.0])
W = np.array([1, 2, 3, 1, 1, 4, 2, 1, 1, 2, 3, 1], dtype=float)


@pytest.mark.parametrize("name", NAMES[1:])
def test_weights_are_repeated_rows(name):
    """Value, gradient and Gauss-Newton's matrix are those of repeated rows."""
    J = RNG.standard_normal((12, 3))
    times = W.astype(int)
    weighted, plain = WeightedRobustLoss(name, 0.7, W), RobustLoss(name, 0.7)
    again, J2 = np.repeat(R, times), np.repeat(J, times, axis=0)
    assert weighted.value(R) == pytest.approx(plain.value(again), rel=1e-13)
    r, A = weighted.rescaled_residual(R), weighted.rescaled_jac(R, J)
    r2, A2 = plain.rescaled_residual(again), plain.rescaled_jac(again, J2)
    np.testing.assert_allclose(A.T @ r, A2.T @ r2, rtol=1e-11)
    np.testing.assert_allclose(A.T @ A, A2.T @ A2, rtol=1e-11)


@pytest.mark.parametrize("name", NAMES[1:])
def test_gradient_is_that_of_the_value(name):
    """The objective's gradient agrees with central differences."""
    x = np.linspace(0.0, 2.0, 12)
    objective = LeastSquares(
        lambda p: p[0] * np.exp(-p[1] * x) - R,
        2,
        lambda p: np.stack([np.exp(-p[1] * x), -p[0] * x * np.exp(-p[1] * x)], axis=1),
        loss=WeightedRobustLoss(name, 0.7, W),
    )
    theta, h = np.array([1.3, 0.6]), 1e-6
    slopes = [(objective.at(theta + h * e).value - objective.at(theta - h * e).value) / (2.0 * h) for e in np.eye(2)]
    np.testing.assert_allclose(objective.at(theta).grad, slopes, rtol=1e-7)


def test_weighted_median_and_deviation():
    """Whole weights repeat values; fractions share; one value stands alone."""
    for _ in range(50):
        values, times = RNG.standard_normal(7), RNG.integers(1, 4, 7)
        again = np.repeat(values, times)
        assert weighted_median(values, times.astype(float)) == pytest.approx(np.median(again))
        assert weighted_mad_scale(values, times / 3.0) == pytest.approx(mad_scale(again))
    assert weighted_median(np.array([5.0]), np.array([0.1])) == 5.0
    assert weighted_mad_scale(np.zeros(3), np.ones(3)) == 1.0

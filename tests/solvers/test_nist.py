"""NIST StRD nonlinear regression from both starts, at default settings."""

import functools

import numpy as np
import pytest
from nist_problems import NAMES, load

from sosolve.objectives.least_squares import LeastSquares
from sosolve.solvers import Dogleg, GaussNewton, LevenbergMarquardt

RUNS = [(name, start) for name in NAMES for start in (0, 1)]


@functools.cache
def fit(name, start, derivative):
    problem = load(name)
    objective = LeastSquares(problem.residual, problem.certified.size, derivative=derivative)
    return LevenbergMarquardt().minimize(objective, problem.starts[start])


def test_there_are_27_problems():
    assert len(NAMES) == 27


def digits(got, certified):
    """Return the smallest number of correct digits, at most 11: as many as are certified."""
    return min(11.0, -np.log10(np.max(np.abs(got / certified - 1)) + 1e-16))


@pytest.mark.parametrize("derivative", ["cs", "auto", "3-point"])
@pytest.mark.parametrize(("name", "start"), RUNS)
def test_six_digits_of_every_parameter(name, start, derivative):
    result = fit(name, start, derivative)
    assert result.converged, result.message
    assert digits(result.theta, load(name).certified) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_certified_residual_sum_of_squares(name):
    problem = load(name)
    r = problem.residual(problem.certified)
    # Lanczos1: 1.4e-25 is the rounding of the data and of the published parameters
    if name != "Lanczos1":
        assert r @ r == pytest.approx(problem.residual_sum_of_squares, rel=1e-9)
        assert (r @ r / (r.size - problem.certified.size)) ** 0.5 == pytest.approx(
            problem.residual_standard_deviation, rel=1e-9
        )


@pytest.mark.parametrize(("derivative", "median"), [("cs", 9.5), ("3-point", 9.0)])
def test_median_digits(derivative, median):
    assert np.median([digits(fit(*run, derivative).theta, load(run[0]).certified) for run in RUNS]) >= median


@pytest.mark.parametrize("solver", [Dogleg, GaussNewton])
def test_the_other_solvers_from_the_near_start(solver):
    got = []
    for name in NAMES:
        problem = load(name)
        objective = LeastSquares(problem.residual, problem.certified.size, derivative="cs")
        result = solver().minimize(objective, problem.starts[1])
        got.append(digits(result.theta, problem.certified) >= 6)
    assert all(got)

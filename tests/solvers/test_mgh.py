"""Levenberg-Marquardt on the Moré-Garbow-Hillstrom problems: 144 runs from x0, 10 x0 and 100 x0."""

import functools
import warnings

import numpy as np
import pytest
from mgh_problems import FACTORS, PROBLEMS
from scipy.optimize import least_squares as scipy_least_squares

from sosolve.objectives.least_squares import LeastSquares
from sosolve.solvers import LevenbergMarquardt

RUNS = [(problem, factor) for problem in PROBLEMS for factor in FACTORS]


@functools.cache
def solved(derivative):
    """Return the results of all runs."""
    return [
        LevenbergMarquardt().minimize(LeastSquares(p.fun, p.x0.size, derivative=derivative), p.start(factor))
        for p, factor in RUNS
    ]


def successes(results):
    return [p.is_solved(2 * r.value) for (p, _), r in zip(RUNS, results, strict=True)]


def test_there_are_48_sized_problems():
    assert len(PROBLEMS) == 48
    assert len({problem.name for problem in PROBLEMS}) == 48


@pytest.mark.parametrize(("derivative", "least"), [("cs", 120), ("3-point", 118), ("auto", 118)])
def test_runs_solved(derivative, least):
    assert sum(successes(solved(derivative))) >= least


@pytest.mark.parametrize("derivative", ["cs", "3-point"])
def test_no_success_is_claimed_away_from_a_stationary_point(derivative):
    for (problem, factor), result in zip(RUNS, solved(derivative), strict=True):
        if not result.converged or problem.is_solved(2 * result.value):
            continue
        point = LeastSquares(problem.fun, problem.x0.size, derivative="cs").at(result.theta)
        norms = np.linalg.norm(point.jac, axis=0)
        size = np.linalg.norm(point.residual)
        # a parameter that moves no residual by more than its rounding is flat, whatever the direction of its column
        seen = norms * np.abs(result.theta) > 1e-12 * size
        cosines = np.where(seen, np.abs(point.grad) / np.where(norms > 0, norms, 1) / size, 0)
        assert cosines.max() <= 1e-5, (problem.name, factor)


@pytest.mark.slow
def test_fewer_function_calls_than_scipy_trf_at_equal_tolerances():
    """Calls for derivatives included: p a Jacobian for the complex step and for trf's forward differences alike."""
    ours = theirs = 0
    for problem, factor in RUNS:
        objective = LeastSquares(problem.fun, problem.x0.size, derivative="cs")
        own = LevenbergMarquardt(tol=1e-8).minimize(objective, problem.start(factor))
        count = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                peer = scipy_least_squares(lambda t, f=problem.fun, c=count: c.append(1) or f(t), problem.start(factor))
            except ValueError:
                continue
        if problem.is_solved(2 * own.value) and problem.is_solved(2 * peer.cost):
            ours, theirs = ours + own.counts.n_value, theirs + len(count)
    assert ours < theirs

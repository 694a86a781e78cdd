"""Further runs of fits that did not come to rest: hopeless starts are settled, neighbours are left alone."""

import numpy as np
import pytest
from nist_problems import load

pytest.importorskip("sympy")
pytest.importorskip("numba")

from sosolve.curves.batch import fit_curves
from sosolve.curves.batch_result import FitStatus


@pytest.mark.parametrize("name", ["BoxBOD", "MGH09", "MGH10", "MGH17"])
def test_hopeless_starts_of_nist(name):
    """The first run ends far away; with the further ones the certified parameters come out."""
    problem = load(name)
    p0 = {f"b{j}": value for j, value in enumerate(problem.starts[0], 1)}
    x, y = problem.x[:, 0], problem.y[None]
    once = fit_curves(problem.formula, x, y, p0=p0, second_try=False)
    assert once.status[0] in (FitStatus.MAX_ITER, FitStatus.STALLED)
    assert once.rss[0] > 2.0 * problem.residual_sum_of_squares
    found = fit_curves(problem.formula, x, y, p0=p0)
    assert found.status[0] > 0
    assert found.rss[0] == pytest.approx(problem.residual_sum_of_squares, rel=1e-6)
    assert found.n_iter[0] > once.n_iter[0]
    assert found.n_evaluations[0] > found.n_iter[0]
    order = [int(name[1:]) - 1 for name in found.names]
    assert np.allclose(found.stderr[0], problem.stderr[order], rtol=1e-4)


@pytest.mark.parametrize("covariance", [True, False])
def test_neighbours_and_bounds(covariance):
    """Among fits that converge at once one goes on; own starts and own bounds stay with their fits."""
    problem = load("BoxBOD")
    x = problem.x[:, 0]
    y = np.stack([problem.y, 100.0 * (1.0 - np.exp(-0.3 * x)), problem.y, problem.y])
    p0 = np.array([[100.0, 0.75], [90.0, 0.2], [1.0, 1.0], [1.0, 1.0]])
    upper = np.full((4, 2), np.inf)
    upper[3, 0] = 150.0
    arguments = dict(p0=p0, bounds=(np.full((4, 2), -np.inf), upper), covariance=covariance)
    once = fit_curves(problem.formula, x, y, second_try=False, **arguments)
    found = fit_curves(problem.formula, x, y, **arguments)
    settled = once.status > 0
    assert settled.tolist()[:3] == [True, True, False]
    for name in ("params", "stderr", "rss", "n_iter", "status"):
        assert np.array_equal(getattr(found, name)[settled], getattr(once, name)[settled], equal_nan=True)
    assert (found.status[:3] > 0).all()
    assert found.params[2] == pytest.approx(found.params[0], rel=1e-8)
    assert found.params[3, 0] == 150.0  # and b2 grows for ever
    assert found.rss[3] <= once.rss[3]
    assert np.isfinite(found.stderr[2]).all()
    assert (found.covariance is None) != covariance


def test_what_no_run_settles_keeps_its_best_point():
    """A curve that falls for ever: the sum of squares of the last run is the smallest, and the status says so."""
    x = np.linspace(0.0, 1.0, 20)
    arguments = dict(p0=[0.1, 1.0], max_iter=5)
    once = fit_curves("1/(1 + a*exp(b))", x, np.zeros((1, 20)), second_try=False, **arguments)
    found = fit_curves("1/(1 + a*exp(b))", x, np.zeros((1, 20)), **arguments)
    assert once.status[0] == FitStatus.MAX_ITER
    assert found.rss[0] < once.rss[0]

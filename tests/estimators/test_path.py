"""Where the fit for the next strength starts: on the line or the cubic through the last optima."""

import numpy as np
import pytest
import scipy.sparse as sp

from sosolve import LogisticRegression
from sosolve.estimators.path import Path
from sosolve.estimators.problem import Problem


def path_of(optimum, logs):
    """Return a path that knows optimum(x) at these logarithms of C."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 2)), np.arange(20) % 2
    estimator = LogisticRegression()
    path = Path(estimator, Problem(estimator, X, y, None, 1.0))
    for x in logs:
        path.add(float(np.exp(x)), optimum(x))
    return path


def cubic(x):
    """Return three components that are cubics in x."""
    return np.array([1.0 + x**3, x - x**2, 2.0 * x])


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_small_steps_follow_a_cubic(way):
    """Four optima in small steps, of five, give the cubic through them, whichever way the path goes."""
    path = path_of(cubic, way * np.array([-1.0, 0.0, 0.9, 2.0, 3.0]))
    np.testing.assert_allclose(path._guess(way * 4.0), cubic(way * 4.0), rtol=1e-9)


@pytest.mark.parametrize(
    ("logs", "at", "line"),
    [
        ([0.0, 2.0, 4.0], 6.0, (2.0, 4.0, 1.0)),  # long steps
        ([0.0, 1.0, 2.0], 3.2 + 1e-9, (1.0, 2.0, 1.2)),  # a step just too long
        ([0.0, 1.0, 0.5], 1.4, (1.0, 0.5, 0.0)),  # back and forth
        ([0.0, 0.1, 0.2], 1.2, (0.1, 0.2, 1.5)),  # too far for what is known
        ([0.0, 1.0], 2.0, (0.0, 1.0, 1.0)),  # two alone
    ],
)
def test_other_steps_follow_a_line(logs, at, line):
    """The line through the last two, at most one and a half steps on and never back."""
    far, near, t = line
    wanted = cubic(near) + t * (cubic(near) - cubic(far))
    np.testing.assert_allclose(path_of(cubic, logs)._guess(at), wanted, rtol=1e-8)


def test_what_has_corners_follows_a_line():
    """Under L1 the path has corners: no cubic."""
    path = path_of(cubic, [0.0, 1.0, 2.0])
    np.testing.assert_allclose(path._guess(3.0, smooth=False), 2.0 * cubic(2.0) - cubic(1.0))


def test_a_cubic_saves_products(monkeypatch):
    """Twenty fits of sparse counts: a tenth fewer passes than from lines."""
    rng = np.random.default_rng(0)
    columns = np.minimum(500 * rng.random((300, 20)) ** 3, 499).astype(int)
    X = sp.csr_matrix((np.ones(6000), columns.ravel(), np.arange(0, 6001, 20)), shape=(300, 500))
    X.sum_duplicates()
    y = (X @ rng.standard_normal(500) + rng.standard_normal(300) > 0.0).astype(int)
    estimator = LogisticRegression(solver="newton-cg")

    def passes():
        path = Path(estimator, Problem(estimator, X, y, None, 1.0))
        return sum(path.solve(C)[2].counts.n_passes for C in np.logspace(-4, 4, 20))

    cubics = passes()
    monkeypatch.setattr(Path, "_near", lambda self, log_C: [])
    assert cubics < 0.9 * passes()

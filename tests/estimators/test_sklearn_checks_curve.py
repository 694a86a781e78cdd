"""scikit-learn's own checks on curve fits in several forms: none is expected to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sosolve import NonlinearLeastSquares


class Line:
    """A line in one column, the only one that tells something in scikit-learn's regression data."""

    def __call__(self, x, a, b):
        return a + b * (x if x.ndim == 1 else x[:, 4 % x.shape[1]])

    def __repr__(self):
        """Return a name without an address: the tests have the same names in every process."""
        return "line"


line = Line()


ESTIMATORS = [
    NonlinearLeastSquares(),
    NonlinearLeastSquares(solver="gauss-newton"),
    NonlinearLeastSquares(solver="trust-region"),
    NonlinearLeastSquares(loss="soft_l1"),
    NonlinearLeastSquares(loss="huber", f_scale=1.0, solver="dogleg"),
    NonlinearLeastSquares(line),
    NonlinearLeastSquares(line, p0=[0.0, 0.0], bounds=(-1e6, 1e6)),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(ESTIMATORS)
def test_sklearn_check(estimator, check):
    """Run one check; convergence warnings are part of some of them (max_iter=1)."""
    check(estimator)

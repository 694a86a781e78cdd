"""scikit-learn's own checks on every estimator and every solver: none is expected to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sosolve import LogisticRegression, NewtonCG, SoftmaxRegression, TrustRegion

ESTIMATORS = [
    LogisticRegression(),
    SoftmaxRegression(),
    LogisticRegression(solver="newton-cg"),
    LogisticRegression(solver="newton-cholesky"),
    LogisticRegression(solver=TrustRegion(subproblem="dogleg")),
    LogisticRegression(solver="bfgs", max_iter=1000),
    LogisticRegression(solver="lbfgs", max_iter=1000),
    LogisticRegression(solver=NewtonCG(preconditioner="cholesky", sample_rows=1.0), C=10.0),
    SoftmaxRegression(solver="trust-region"),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(ESTIMATORS)
def test_sklearn_check(estimator, check):
    """Run one check; convergence warnings are part of some of them (max_iter=1)."""
    check(estimator)

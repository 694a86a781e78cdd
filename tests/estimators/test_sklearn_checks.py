"""scikit-learn's own checks on every estimator and every solver: none is expected to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sosolve import LogisticRegression, LogisticRegressionCV, NewtonCG, SoftmaxRegression, TrustRegion

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
    LogisticRegressionCV(Cs=3, cv=3, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False),
    LogisticRegressionCV(Cs=2, cv=2, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=True, refit=False),
    LogisticRegression(l1_ratio=1.0, C=10.0),
    LogisticRegression(l1_ratio=0.5, bounds=(-2.0, 10.0)),
    SoftmaxRegression(l1_ratio=0.5, C=10.0),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore:The least populated class in y:UserWarning")
@parametrize_with_checks(ESTIMATORS)
def test_sklearn_check(estimator, check):
    """Run one check; convergence warnings are part of some of them (max_iter=1)."""
    check(estimator)

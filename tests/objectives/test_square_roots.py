"""Roots of Hessians: A' A is the Hessian, and steps from A are right where the Hessian has lost its digits."""

import numpy as np
import pytest
import scipy.sparse as sp

from sosolve import LogisticRegression
from sosolve.objectives import L2, DataTerm, LinearModel, LogisticLoss, SoftmaxLoss, SquaredLoss, Sum
from sosolve.solvers.subproblem import inverse_by_root

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4)) + 3.0
WEIGHTS = RNG.dirichlet(np.ones(60))


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(
    "loss",
    [LogisticLoss(), SquaredLoss(), SoftmaxLoss(3), SoftmaxLoss(3, reference=True)],
    ids=lambda k: type(k).__name__,
)
def test_the_square_is_the_hessian(loss, intercept):
    model = LinearModel.standardised(X, WEIGHTS, 0.1, loss.n_outputs, intercept)
    y = np.arange(60) % (2 if loss.n_outputs == 1 else 3)
    term = DataTerm(model, loss, y.astype(float) if loss.n_outputs == 1 else y, WEIGHTS)
    objective = Sum([term, L2(model.strengths(0.1))])
    curvature = objective.at(RNG.standard_normal(model.size)).curvature
    A = curvature.root()
    np.testing.assert_allclose(A.T @ A, curvature.lifted(), atol=1e-13)
    v = RNG.standard_normal(model.size)
    np.testing.assert_allclose(curvature.lifted() @ inverse_by_root(A)(v), v, atol=1e-10)


def test_what_has_no_root():
    """Sparse data, matrices that are large, and directions that the rounding of the data hides."""
    S = sp.csr_array(X)
    for data in (S, np.zeros((100_000, 50))):
        model = LinearModel(data)
        y, w = np.zeros(data.shape[0]), np.array([1.0 / data.shape[0]])
        assert DataTerm(model, LogisticLoss(), y, w).at(np.zeros(model.size)).curvature.root() is None
    assert inverse_by_root(np.column_stack([X, X[:, 0]])) is None
    assert inverse_by_root(X[:3]) is None
    assert inverse_by_root(np.full((5, 2), np.inf)) is None
    solve = inverse_by_root(np.column_stack([X, np.zeros(60)]))
    np.testing.assert_allclose(solve(np.eye(5)[0])[:4], np.linalg.inv(X.T @ X)[0], rtol=1e-8)


@pytest.mark.parametrize("gap", [1e-6, 1e-8])
def test_columns_that_nearly_agree(gap):
    """Without a penalty, and without an intercept on data far from the origin: a few iterations to the optimum."""
    noise = np.random.default_rng(1).standard_normal((200, 3))
    y = (noise[:, 0] + noise[:, 2] + np.random.default_rng(2).logistic(size=200) > 0).astype(int)
    near = np.column_stack([noise[:, :2], noise[:, 0] + gap * noise[:, 2]])
    found = LogisticRegression(C=np.inf).fit(near, y)
    plain = LogisticRegression(C=np.inf, tol=1e-8).fit(noise, y)
    assert found.result_.converged
    assert found.n_iter_[0] < 12
    assert found.result_.value == pytest.approx(plain.result_.value, rel=1e-7)
    far = LogisticRegression(fit_intercept=False).fit(noise + 1.0 / gap, y)
    assert far.result_.converged
    assert far.n_iter_[0] < 12

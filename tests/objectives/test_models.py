"""The linear model: the standardised basis is exactly equivalent; products, matrices and samples of rows."""

import numpy as np
import pytest
import scipy.sparse as sp

from sosolve.objectives import L2, DataTerm, LinearModel, LogisticLoss, Loss, SoftmaxLoss, SquaredLoss, Sum
from sosolve.objectives.basis import sample_blocks, without_outliers
from sosolve.testing import check_model

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 5)) * np.array([1e-3, 1.0, 10.0, 1e3, 1.0]) + np.array([0.0, 5.0, 0.0, 1e4, -2.0])
S = np.array([1.0 / 40])
FORMS = {"dense": X, "fortran": np.asfortranarray(X), "csr": sp.csr_matrix(np.where(X > 0, X, 0.0))}


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("K", [1, 3])
def test_products_agree_with_the_explicit_matrix(form, intercept, K):
    """J of the standardised basis, formed by hand, gives every product the model offers."""
    data = FORMS[form]
    model = LinearModel.standardised(data, S, 0.1, K, intercept)
    dense = data.toarray() if sp.issparse(data) else data
    A = (dense - model.mean) / model.scale
    J1 = np.c_[A, np.ones(40)] if intercept else A
    rng = np.random.default_rng(1)
    theta = rng.standard_normal(model.size)
    d = dense.shape[1]
    v, c = theta[: K * d].reshape(K, d), (theta[K * d :] if intercept else np.zeros(K))
    z = A @ v.T + c
    at = model.at(theta)
    np.testing.assert_allclose(at.z(), z[:, 0] if K == 1 else z, rtol=1e-9, atol=1e-9)
    r = rng.standard_normal((40, K))
    back = np.concatenate([(A.T @ r).T.ravel(), r.sum(axis=0)]) if intercept else (A.T @ r).T.ravel()
    np.testing.assert_allclose(at.vjp(r[:, 0] if K == 1 else r), back, rtol=1e-8, atol=1e-8)
    h = rng.random(40)
    blocks = [(k, m, h * (1.0 if k == m else -0.3)) for k in range(K) for m in range(k, K)]
    H = at.gram(blocks)
    order = [*range(K * d), *range(K * d, model.size)]
    kron = np.kron(np.eye(K) * 1.3 - 0.3, J1.T @ (h[:, None] * J1))
    p1 = J1.shape[1]
    index = [k * p1 + j for k in range(K) for j in range(d)] + ([k * p1 + d for k in range(K)] if intercept else [])
    np.testing.assert_allclose(H[np.ix_(order, order)], kron[np.ix_(index, index)], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(at.diagonal(np.outer(h, np.ones(K))), np.diag(H), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("K", [1, 4])
def test_coefficients_and_theta_are_inverse(K):
    """User's units and internal basis map onto each other."""
    model = LinearModel.standardised(X, S, 0.3, K)
    theta = np.random.default_rng(0).standard_normal(model.size)
    np.testing.assert_allclose(model.theta(*model.coefficients(theta)), theta, rtol=1e-9, atol=1e-9)


def test_penalty_stays_in_the_users_units():
    """The L2 term of theta equals alpha/2 |w|^2 of the user's coefficients; intercepts are free."""
    model = LinearModel.standardised(X, S, 0.3)
    theta = np.random.default_rng(0).standard_normal(model.size)
    coef, _ = model.coefficients(theta)
    penalty = L2(model.strengths(0.3))
    assert penalty.at(theta).value == pytest.approx(0.15 * float(coef[0] @ coef[0]))
    assert penalty.strengths[-1] == 0.0
    per_feature = L2(model.strengths(np.array([0.0, 1.0, 2.0, 0.0, 0.5])))
    expected = 0.5 * float(np.array([0.0, 1.0, 2.0, 0.0, 0.5]) @ coef[0] ** 2)
    assert per_feature.at(theta).value == pytest.approx(expected)


def test_scale_of_degenerate_columns():
    """Constant columns get scale 1, tiny ones under a ridge that of the ridge; nothing overflows."""
    data = np.c_[np.full(40, 0.1), RNG.standard_normal(40) * 1e-250, RNG.standard_normal(40) * 1e250]
    free = LinearModel.standardised(data, S, 0.0)
    assert free.scale[0] == 1.0
    ridge = LinearModel.standardised(data, S, 0.01)
    np.testing.assert_allclose(ridge.scale[:2], 0.1)
    assert np.isfinite(ridge.strengths(0.01)).all()


def test_model_conformance():
    """The public check passes for the linear model in each basis."""
    check_model(LinearModel(X / X.std(axis=0)), np.ones(6))
    check_model(LinearModel.standardised(X, S, 0.1), np.ones(6), rtol=1e-5)


def test_model_conformance_can_fail():
    """A wrong transpose is found."""

    class Broken(LinearModel):
        def backward(self, r):
            return 2.0 * super().backward(r)

    with pytest.raises(AssertionError, match="vjp"):
        check_model(Broken(X), np.ones(6))


@pytest.mark.parametrize("n", [1, 2000, 2001, 12345, 100_000])
@pytest.mark.parametrize("fraction", [1e-6, 0.02, 0.5, 1.0])
def test_sample_blocks(n, fraction):
    """Disjoint, increasing, in range, about the fraction asked for, spread over all rows, the same every time."""
    blocks = sample_blocks(n, fraction)
    if n <= 2000 or fraction == 1.0:
        assert blocks is None
        return
    assert blocks == sample_blocks(n, fraction)
    rows = [i for a, b in blocks for i in range(a, b)]
    assert rows == sorted(set(rows))
    assert rows[0] >= 0
    assert rows[-1] < n
    if fraction >= 0.02:
        assert len(rows) == pytest.approx(fraction * n, rel=0.2, abs=64)
        assert len(blocks) >= 16
        assert rows[0] < 0.1 * n
        assert rows[-1] > 0.9 * n - 64


def test_sampled_curvature_estimates_the_whole():
    """A tenth of the rows gives the matrix to some percent, scaled to the same total weight."""
    rng = np.random.default_rng(0)
    big = rng.standard_normal((20_000, 4))
    model = LinearModel.standardised(big, np.array([1.0 / 20_000]))
    h = rng.random(20_000)
    whole, part = model.gram([(0, 0, h)]), model.gram([(0, 0, h)], 0.1)
    assert np.abs(part - whole).max() < 0.1 * np.abs(whole).max()
    assert part[-1, -1] == pytest.approx(whole[-1, -1])


def test_fused_kernels_equal_the_composition():
    """Value, gradient and products of each fused pair are those of loss and model put together."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 40).astype(float)
    for loss, target in ((LogisticLoss(), (y > 0) * 1.0), (SquaredLoss(), y), (SoftmaxLoss(3), y)):
        model = LinearModel.standardised(X, S, 0.1, loss.n_outputs)
        fused, plain = (DataTerm(model, loss, target, S) for _ in range(2))
        plain.is_fused = plain.has_fused_mv = False
        theta, v = rng.standard_normal(model.size), rng.standard_normal(model.size)
        a, b = fused.at(theta), plain.at(theta)
        assert a.value == pytest.approx(b.value, rel=1e-12)
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(a.curvature.mv(v), b.curvature.mv(v), rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(a.curvature.mv(v), a.curvature.dense() @ v, rtol=1e-8, atol=1e-12)


def test_a_loss_of_five_lines_works_with_every_product():
    """A user's loss has no fused kernel and needs none."""

    class Poisson(Loss):
        def rows(self, y, z, w):
            mu = np.exp(z)
            return float(np.sum(w * (mu - y * z))), w * (mu - y), w * mu

    model = LinearModel.standardised(X, S, 0.1)
    term = DataTerm(model, Poisson(), np.arange(40.0) % 3, S)
    theta = 0.1 * np.random.default_rng(0).standard_normal(model.size)
    point = term.at(theta)
    step = 1e-6 * np.eye(model.size)[2]
    assert point.grad[2] == pytest.approx((term.at(theta + step).value - term.at(theta - step).value) / 2e-6, rel=1e-5)
    assert point.curvature.exact
    assert term.counts.n_passes == 2 + 2


@pytest.mark.parametrize("intercept", [False, True])
def test_a_lifted_curvature_keeps_the_newton_step(intercept):
    """Positive definite, and the same step from a point whose coefficients sum to zero over the classes."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((40, 3)), rng.integers(0, 3, 40).astype(float)
    model = LinearModel.standardised(X, np.full(1, 1 / 40), 0.1, 3, intercept)
    ridge = model.strengths(0.1)
    point = Sum([DataTerm(model, SoftmaxLoss(3), y, np.full(1, 1 / 40)), L2(ridge)]).at(np.zeros(model.size))
    lifted, H = point.curvature.lifted(), point.curvature.dense()
    assert np.linalg.eigvalsh(lifted).min() > 0.1 * np.diagonal(H).min()
    expected = np.linalg.lstsq(H, point.grad, rcond=1e-12)[0]
    np.testing.assert_allclose(np.linalg.solve(lifted, point.grad), expected, atol=1e-12)


def test_sum_adds_everything():
    """Values, gradients, curvatures, rays and counts of a sum are the sums."""
    y = (X[:, 1] > 5) * 1.0
    model = LinearModel.standardised(X, S, 0.1)
    parts = [DataTerm(model, LogisticLoss(), y, S), L2(model.strengths(0.1))]
    total = Sum(parts)
    theta, d = np.random.default_rng(0).standard_normal((2, model.size))
    points = [part.at(theta) for part in parts]
    point = total.at(theta)
    assert point.value == pytest.approx(sum(p.value for p in points))
    np.testing.assert_allclose(point.grad, points[0].grad + points[1].grad)
    np.testing.assert_allclose(point.curvature.diag(), np.diag(point.curvature.dense()), rtol=1e-9)
    phi, dphi = point.along(d)(0.5)
    moved = total.at(theta + 0.5 * d)
    assert phi == pytest.approx(moved.value)
    assert dphi == pytest.approx(float(moved.grad @ d))
    assert total.counts.n_mv == 0
    point.curvature.mv(d)
    assert total.counts.n_mv == 1


def test_sum_of_different_sizes():
    """Terms of different models are misuse."""
    with pytest.raises(ValueError, match=r"received terms with \[2, 3\] parameters"):
        Sum([L2(np.ones(2)), L2(np.ones(3))])
    with pytest.raises(ValueError, match="at least one term"):
        Sum([])


def test_outliers_do_not_make_the_bulk_a_constant():
    """One entry of 1e10: median and MAD of the bulk; heavy tails and rare levels keep mean and deviation."""
    rng = np.random.default_rng(0)
    n = 1000
    s = np.array([1.0 / n])
    data = np.c_[rng.standard_normal(n), np.exp(2 * rng.standard_normal(n)), np.arange(n) == 3, rng.standard_normal(n)]
    data[5, 3] = 1e10
    model = LinearModel.standardised(data, s)
    plain_mean, plain_spread = data.mean(axis=0), data.std(axis=0)
    np.testing.assert_allclose(model.mean[:3], plain_mean[:3], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.scale[:3], plain_spread[:3], rtol=1e-9)
    assert abs(model.mean[3]) < 0.2
    assert model.scale[3] == pytest.approx(1.0, rel=0.1)
    same = without_outliers(data[:, :2], s, plain_mean[:2], plain_spread[:2], np.full(2, 3.0), True)
    np.testing.assert_array_equal(same[1], plain_spread[:2])

"""Terms of several outputs: one array of curvatures, in single precision, goes from point to point."""

import numpy as np
import pytest

from sosolve.kernels import numba_cpu, reference
from sosolve.objectives import DataTerm, LinearModel, SoftmaxLoss

N, D, K = 700, 6, 4


def terms(reference_class=False):
    """Return a term whose points share their curvatures, one whose points keep them, and a direction."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((N, D)), rng.integers(0, K, N)
    made = []
    for kernels in (numba_cpu, reference):
        model = LinearModel(X, K - reference_class)
        model.kernels = kernels
        made.append(DataTerm(model, SoftmaxLoss(K, reference_class), y, np.array([1.0 / N])))
    return *made, rng.standard_normal(made[0].size)


@pytest.mark.parametrize("reference_class", [False, True])
def test_a_shared_point_is_the_same(reference_class):
    shared, kept, theta = terms(reference_class)
    assert shared.shares_rows
    assert not kept.shares_rows
    a, b = shared.at(theta), kept.at(theta)
    v = np.cos(np.arange(theta.size))
    assert a.value == pytest.approx(b.value, rel=1e-13)
    np.testing.assert_allclose(a.grad, b.grad, atol=1e-14)
    np.testing.assert_allclose(a.margins, b.margins, atol=1e-13)
    exact = {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(a.curvature.mv(v), b.curvature.mv(v), **exact)
    np.testing.assert_allclose(a.curvature.diag(), b.curvature.diag(), **exact)
    np.testing.assert_allclose(a.curvature.dense(), b.curvature.dense(), **exact)
    np.testing.assert_allclose(a.total_curvature(), b.total_curvature(), **exact)
    assert a.along(v)(0.3) == pytest.approx(b.along(v)(0.3), rel=1e-10)
    ends = [p.along(v).point(0.3) for p in (a, b)]
    assert ends[0].drift(a) == pytest.approx(ends[1].drift(b), rel=1e-10)


def test_an_older_point_gets_its_curvature_again():
    """A new point takes the array; value and gradient of the old one stay, its curvature costs one evaluation."""
    shared, _, theta = terms()
    old = shared.at(theta)
    value, grad, product = old.value, old.grad, old.curvature.mv(theta)
    new = shared.at(0.5 * theta)
    assert new.value != value
    passes = shared.counts.n_passes
    assert old.value == value
    assert old.grad is grad
    assert shared.counts.n_passes == passes
    np.testing.assert_array_equal(old.curvature.mv(theta), product)
    assert shared.counts.n_passes == passes + 2
    assert "_rows" not in vars(new)


def test_sure_rows_keep_the_digits_of_their_curvature():
    """Where one probability is 1 to single precision the curvature is that of the small ones, to their digits."""
    X, y = np.ones((3, 1)), np.zeros(3, dtype=np.intp)
    model = LinearModel(X, 3, fit_intercept=False)
    model.kernels = numba_cpu
    term = DataTerm(model, SoftmaxLoss(3), y, np.array([1.0 / 3.0]))
    point = term.at(np.array([25.0, 0.0, -1.0]))
    small = np.exp(-25.0)
    v = np.array([0.0, 1.0, 0.0])
    assert v @ point.curvature.mv(v) == pytest.approx(small, rel=1e-6)
    assert point.curvature.dense()[1, 1] == pytest.approx(small, rel=1e-6)
    assert point.total_curvature()[0, 0] == pytest.approx(small * (1.0 + np.exp(-1.0)), rel=1e-6)
    np.testing.assert_allclose(point.curvature.mv(np.ones(3)), 0.0, atol=1e-18)

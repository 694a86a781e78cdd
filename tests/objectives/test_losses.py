"""Losses: the public conformance check, closed forms, and what a broken loss is told."""

import numpy as np
import pytest

from sosolve.objectives import LogisticLoss, Loss, SoftmaxLoss, SquaredLoss
from sosolve.testing import check_loss


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (LogisticLoss(), [0.0, 1.0, 1.0, 0.0, 0.3]),
        (SquaredLoss(), [-1.0, 0.0, 2.5]),
        (SoftmaxLoss(2), [0, 1, 1, 0]),
        (SoftmaxLoss(3), [0, 1, 2, 2]),
        (SoftmaxLoss(7), [0, 6, 3, 3, 1]),
        (SoftmaxLoss(4, reference=True), [0, 1, 2, 3, 3]),
    ],
)
def test_contract(loss, y):
    """Differences, convexity, weights, additivity, extremes."""
    check_loss(loss, y)


def test_closed_forms():
    """Values that can be written down."""
    one = np.ones(1)
    assert LogisticLoss().rows(one, np.zeros(1), one)[0] == pytest.approx(np.log(2.0))
    assert SquaredLoss().rows(one, 3 * one, one)[0] == 2.0
    value, r, P = SoftmaxLoss(4).rows(np.array([2.0]), np.zeros((1, 4)), one)
    assert value == pytest.approx(np.log(4.0))
    np.testing.assert_allclose(P, 0.25)
    np.testing.assert_allclose(r, [[0.25, 0.25, -0.75, 0.25]])


def test_reference_class_is_softmax_with_a_column_of_zeros():
    """Dropping the last class changes nothing but the shape."""
    rng = np.random.default_rng(0)
    z, w, y = rng.standard_normal((6, 2)), rng.random(6), np.array([0.0, 1, 2, 2, 1, 0])
    full = SoftmaxLoss(3).rows(y, np.c_[z, np.zeros(6)], w)
    dropped = SoftmaxLoss(3, reference=True).rows(y, z, w)
    assert dropped[0] == pytest.approx(full[0], rel=1e-14)
    np.testing.assert_allclose(dropped[1], full[1][:, :2], rtol=1e-14)
    np.testing.assert_allclose(dropped[2], full[2][:, :2], rtol=1e-14)


def test_curvature_of_a_sure_row_keeps_its_digits():
    """P (1 - P) near P = 1, from the other probabilities."""
    P = np.array([[1e-18, 1.0, 3e-18]])
    blocks = {(k, m): h[0] for k, m, h in SoftmaxLoss(3).blocks(P, np.ones(1))}
    assert blocks[1, 1] == pytest.approx(4e-18, rel=1e-14)
    assert blocks[1, 1] == pytest.approx(-blocks[0, 1] - blocks[1, 2], rel=1e-14)


def test_two_class_softmax_is_the_logistic_loss():
    """Softmax of (0, z) has the value, gradient and curvature of the logistic loss of z."""
    rng = np.random.default_rng(0)
    z, w, y = rng.standard_normal(6) * 5, rng.random(6), np.array([0.0, 1, 1, 0, 1, 0])
    value, r, P = SoftmaxLoss(2).rows(y, np.c_[np.zeros(6), z], w)
    logistic = LogisticLoss().rows(y, z, w)
    assert value == pytest.approx(logistic[0], rel=1e-14)
    np.testing.assert_allclose(r[:, 1], logistic[1], rtol=1e-12)
    np.testing.assert_allclose(w * P[:, 1] * P[:, 0], logistic[2], rtol=1e-12)


def test_number_of_classes():
    """Fewer than two classes, and two with a reference, are misuse."""
    with pytest.raises(ValueError, match="received n_classes=1; softmax compares at least 2 classes"):
        SoftmaxLoss(1)
    with pytest.raises(ValueError, match="use LogisticLoss"):
        SoftmaxLoss(2, reference=True)
    with pytest.raises(NotImplementedError, match="define rows"):
        Loss().rows(None, None, None)


class WrongGradient(SquaredLoss):
    def rows(self, y, z, w):
        value, r, h = super().rows(y, z, w)
        return value, 2 * r, h


class WrongCurvature(SquaredLoss):
    def rows(self, y, z, w):
        value, r, h = super().rows(y, z, w)
        return value, r, 3 * h


class IgnoresWeights(SquaredLoss):
    def rows(self, y, z, w):
        return super().rows(y, z, np.ones_like(w))


class MixesRows(SquaredLoss):
    def rows(self, y, z, w):
        value, r, h = super().rows(y, z, w)
        return value + np.sum(w * 0.5) * np.sum(w), r, h


class Concave(SquaredLoss):
    def rows(self, y, z, w):
        value, r, h = super().rows(y, z, w)
        return -value, -r, -h


class Overflows(Loss):
    def rows(self, y, z, w):
        with np.errstate(over="ignore"):
            mu = np.exp(z)
        return float(np.sum(w * (mu - y * z))), w * (mu - y), w * mu


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (WrongGradient(), "the gradient along a direction off by"),
        (WrongCurvature(), "the curvature times a direction off by"),
        (IgnoresWeights(), "weights"),
        (MixesRows(), "weights|halves"),
        (Concave(), "convexity"),
        (Overflows(), "numbers that are not finite at z = 10000"),
        (Overflows, "an instance of a class derived from Loss"),
    ],
)
def test_check_loss_finds_what_is_wrong(loss, message):
    """The check can fail, and says where to look."""
    with pytest.raises(AssertionError, match=message):
        check_loss(loss, [1.0, 2.0, 0.0, 4.0])


def test_check_loss_can_leave_out_the_extremes():
    """A loss that truly overflows passes without them."""
    check_loss(Overflows(), [1.0, 2.0, 0.0, 4.0], extreme=None)

"""The copied model of small data is the linear model; curvatures drift no further than they say."""

import numpy as np
import pytest
import scipy.linalg

import sosolve.objectives.losses as losses_module
from sosolve import NewtonCholesky
from sosolve.objectives import L2, DataTerm, LinearModel, LogisticLoss, SoftmaxLoss, SquaredLoss, Sum
from sosolve.objectives.losses import Loss
from sosolve.objectives.small import COPIED, CopiedModel, suits

RNG = np.random.default_rng(3)
X = RNG.standard_normal((60, 5)) * [1.0, 30.0, 1e-3, 1.0, 2.0] + [0.0, 1e3, 0.0, -5.0, 1.0]
EQUAL, UNEQUAL = np.array([1.0 / 60]), RNG.random(60) / 30.0


def losses(K):
    return LogisticLoss() if K == 1 else SoftmaxLoss(K)


def pair(K, intercept, weights=EQUAL, data=X):
    return [kind.standardised(data, weights, 0.01, K, intercept) for kind in (LinearModel, CopiedModel)]


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("weights", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("data", [X, np.asfortranarray(X), X.astype(np.float32)], ids=["C", "F", "float32"])
def test_products_and_passes_equal_those_of_the_linear_model(data, weights, K, intercept):
    plain, copied = pair(K, intercept, weights, data)
    np.testing.assert_allclose(copied.mean, plain.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(copied.scale, plain.scale, rtol=1e-12)
    theta, v = RNG.standard_normal((2, plain.size))
    y = (np.arange(60) % max(K, 2)).astype(float)
    points = [DataTerm(model, losses(K), y, weights).at(theta) for model in (plain, copied)]
    h = RNG.random((60, K)) if K > 1 else RNG.random(60)
    rows = h - 0.5
    for ask in (
        lambda p, m: p.value,
        lambda p, m: p.grad,
        lambda p, m: p.curvature.mv(v),
        lambda p, m: p.curvature.dense(),
        lambda p, m: p.curvature.diag(),
        lambda p, m: m.forward(v),
        lambda p, m: m.backward(rows),
        lambda p, m: m.diagonal(h),
    ):
        expected, found = ask(points[0], plain), ask(points[1], copied)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.max(np.abs(expected)))
    assert copied.counts == plain.counts


@pytest.mark.parametrize("K", [1, 3])
def test_gram_of_more_rows_than_fit_one_product(K):
    """The blocks one by one are what they are together."""
    data = RNG.standard_normal((1000, 30))
    plain, copied = pair(K, True, np.array([1e-3]), data)
    blocks = [(k, other, RNG.random(1000)) for k in range(K) for other in range(k, K)]
    np.testing.assert_allclose(copied.gram(blocks), plain.gram(blocks), rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("reference", [False, True])
def test_blocks_at_once_are_the_blocks(reference, monkeypatch):
    """The weights of the blocks of a Hessian, all in a few calls or one after the other."""
    loss = SoftmaxLoss(4, reference=reference)
    z = 5.0 * RNG.standard_normal((60, loss.n_outputs))
    *_, P = loss.rows(np.arange(60) % 4.0, z, UNEQUAL)
    together = list(loss.blocks(P, UNEQUAL))
    monkeypatch.setattr(losses_module, "AT_ONCE", 0)
    for (k, m, h), (first, second, expected) in zip(together, loss.blocks(P, UNEQUAL), strict=True):
        assert (k, m) == (first, second)
        np.testing.assert_allclose(h, expected, rtol=1e-13)


def test_tiny_and_constant_columns_take_the_careful_moments():
    data = X.copy()
    data[:, 1], data[:, 2] = 7.0, X[:, 2] * 1e-170
    plain, copied = pair(1, True, EQUAL, data)
    np.testing.assert_allclose(copied.scale, plain.scale, rtol=1e-12)


@pytest.mark.parametrize("far", [1e10, 1e16])
def test_an_outlier_in_the_first_row_costs_the_others_no_digits(far):
    """The copy is made from the data where deviations from the first row have lost them."""
    data = RNG.standard_normal((200, 3))
    data[0] = far
    model = CopiedModel.standardised(data, np.array([1.0 / 200]))
    np.testing.assert_allclose(model.A[:, :3], (data - model.mean) / model.scale, rtol=1e-13, atol=1e-14)


def test_what_suits():
    assert suits(X)
    assert not suits(np.full((3, 2), 1e308))
    assert not suits(np.zeros((COPIED + 1, 1)))
    assert not suits(np.array([[np.nan]]))


@pytest.mark.parametrize("loss", [LogisticLoss(), SquaredLoss(), SoftmaxLoss(3), SoftmaxLoss(4, reference=True)])
def test_curvature_drifts_no_further_than_the_bound(loss):
    """H(b) >= exp(-c) H(a): the smallest generalised eigenvalue is above, for short and for long steps."""
    K = loss.n_outputs
    model = CopiedModel.standardised(X, EQUAL, 0.01, K)
    objective = Sum([DataTerm(model, loss, (np.arange(60) % 2).astype(float), EQUAL), L2(np.full(model.size, 0.01))])
    for length in (1e-3, 0.1, 1.0, 3.0):
        a = RNG.standard_normal(model.size)
        start, end = objective.at(a), objective.at(a + length * RNG.standard_normal(model.size))
        ratio = scipy.linalg.eigh(end.curvature.dense(), start.curvature.dense(), eigvals_only=True)[0]
        assert ratio >= np.exp(-end.drift(start)) * (1.0 - 1e-9)
        assert end.drift(start) > 0.0 or isinstance(loss, SquaredLoss)


def test_nothing_is_known_of_other_losses_and_terms():
    class Cubic(Loss):
        def rows(self, y, z, w):
            return float(np.sum(w * abs(z) ** 3)), 3.0 * w * z * abs(z), 6.0 * w * abs(z)

    model = LinearModel(X)
    term = DataTerm(model, Cubic(), np.zeros(60), EQUAL)
    a, b = term.at(np.zeros(6)), term.at(np.ones(6))
    assert b.drift(a) == np.inf


def test_the_last_matrix_is_not_formed():
    """A fit ends on the factor of the step before; towards the end one factor may serve two steps."""
    model = CopiedModel.standardised(X, EQUAL, 0.01)
    y = (np.arange(60) % 3 == 0).astype(float)
    objective = Sum([DataTerm(model, LogisticLoss(), y, EQUAL), L2(model.strengths(0.01))])
    history = NewtonCholesky(tol=1e-4).minimize(objective, np.zeros(model.size)).history
    passes = history.column("n_passes")
    assert history[-1].accepted
    assert passes[-1] == 1 + 2 * (len(history) - 1)
    exact = objective.at(NewtonCholesky(tol=1e-12).minimize(objective, np.zeros(model.size)).theta)
    assert NewtonCholesky(tol=1e-4).minimize(objective, np.zeros(model.size)).value - exact.value < 1e-8
    tols = (1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
    runs = [NewtonCholesky(tol=tol).minimize(objective, np.zeros(model.size)).history for tol in tols]
    assert any(1 in np.diff(run.column("n_passes")) for run in runs)


def test_a_small_fit_is_few_calls():
    """A fit of 569 x 30 costs calls of Python and C, not arithmetic: 10 % above what was counted here fails."""
    import sys

    from sosolve import LogisticRegression

    rng = np.random.default_rng(0)
    data = rng.standard_normal((569, 30))
    y = (data @ rng.standard_normal(30) / 3 + rng.standard_normal(569) > 0).astype(int)
    model = LogisticRegression().fit(data, y)
    calls = [0]

    def count(frame, event, argument):
        calls[0] += event in ("call", "c_call")

    sys.setprofile(count)
    model.fit(data, y)
    sys.setprofile(None)
    assert calls[0] < 1.1 * 1680, calls  # 200 of them for the certificate

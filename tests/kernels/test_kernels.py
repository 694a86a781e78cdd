"""Every compiled kernel against the reference, for each storage, dtype and layout."""

import numpy as np
import pytest
import scipy.sparse as sp
from kernel_calls import CALLS, STORAGES, D, same, vectors

from sosolve import kernels
from sosolve.kernels import losses, numba_cpu, reference


@pytest.fixture(params=sorted(STORAGES))
def X(request):
    """One X after the other."""
    return STORAGES[request.param]


@pytest.mark.parametrize("call", sorted(CALLS))
def test_compiled_equals_reference(X, call):
    """The compiled kernel gives what the reference gives."""
    v = vectors(X.shape[0])
    same(CALLS[call](numba_cpu, X, v), CALLS[call](reference, X, v))


@pytest.mark.parametrize("storage", ["C", "F", "float32", "csr", "one row"])
@pytest.mark.parametrize("weighted", [True, False])
def test_logistic_columns(storage, weighted):
    """Several parameter vectors at once give what the fused kernel gives for each; dense ones in plain NumPy too."""
    X = STORAGES[storage]
    rng = np.random.default_rng(3)
    n, W, b = X.shape[0], rng.standard_normal((5, D)), rng.standard_normal(5)
    y, offset = (rng.random(n) < 0.4).astype(float), rng.standard_normal(n)
    s = rng.random(n) / n if weighted else np.array([1.0 / n])
    for shift in (np.zeros(1), offset):
        values, G, totals = numba_cpu.logistic_columns(X, y, s, shift, W, b)
        if not sp.issparse(X):
            same((values, G, totals), reference.logistic_columns(X, y, s, shift, W, b))
        z = X @ W.T + b + shift[:, None]
        for k in range(5):
            value, r, _ = reference.logistic_rows(y, np.asarray(z)[:, k], s)
            same((values[k], G[k], totals[k]), (value, X.T @ r, r.sum()))


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_moments(X, centre, weighted):
    """Mean, spread and reach agree between the backends and with NumPy's."""
    v = vectors(X.shape[0])
    s = v["s"] / v["s"].sum() if weighted else np.array([1.0 / X.shape[0]])
    found = numba_cpu.moments(X, s, centre)
    same(found[:2], reference.moments(X, s, centre)[:2], 1e-9)
    dense = (X.toarray() if sp.issparse(X) else X).astype(np.float64)
    weights = np.broadcast_to(s, X.shape[:1])
    mean = weights @ dense if centre else np.zeros(D)
    spread = np.sqrt(weights @ (dense - mean) ** 2)
    np.testing.assert_allclose(found[0], mean, atol=1e-12)
    np.testing.assert_allclose(found[1], spread, atol=1e-9)
    reach = np.abs(dense - mean).max(axis=0)
    assert np.all(found[2] >= reach * (1 - 1e-12))


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1.0, 1e160, 1e300])
@pytest.mark.parametrize("kernel", [numba_cpu, reference])
def test_moments_of_extreme_units(kernel, unit):
    """Squares neither overflow nor underflow, and a large mean does not cancel the variance."""
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((200, 3)) + np.array([0.0, 10.0, 1e6])) * unit
    mean, spread, _ = kernel.moments(X, np.array([1.0 / 200]), True)
    np.testing.assert_allclose(mean / unit, (X / unit).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(spread / unit, (X / unit).std(axis=0), rtol=1e-7)


def test_moments_of_a_constant_column_are_exactly_constant():
    """A constant that is no binary fraction has spread zero; a row without weight does not count."""
    X = np.full((50, 2), 0.1)
    X[7, 1] = 1e200
    s = np.full(50, 1.0 / 49)
    s[7] = 0.0
    for kernel in (numba_cpu, reference):
        _, spread, _ = kernel.moments(X, s, True)
        assert spread.tolist() == [0.0, 0.0]


def test_exp_and_log1p_are_accurate():
    """The polynomial exp and log1p stay within 2 ulp over their whole range."""
    import numba

    from sosolve.kernels.numba_losses import exp_negative, log1p_unit

    @numba.vectorize(["float64(float64)"])
    def exp(x):
        return exp_negative(x)

    @numba.vectorize(["float64(float64)"])
    def log1p(x):
        return log1p_unit(x)

    rng = np.random.default_rng(0)
    x = -np.concatenate([700 * rng.random(20_000), 10.0 ** rng.uniform(-300, 0, 2000), [0.0]])
    assert np.abs(exp(x) / np.exp(x) - 1).max() <= 4.5e-16
    assert 0.0 < exp(np.array([-1e4]))[0] < 1e-300
    with np.errstate(invalid="ignore"):
        assert np.isnan(exp(np.array([np.nan]))[0])
    e = np.concatenate([rng.random(20_000), 10.0 ** rng.uniform(-300, 0, 2000), [1.0]])
    assert np.abs(log1p(e) / np.log1p(e) - 1).max() <= 5e-16
    assert log1p(np.array([0.0]))[0] == 0.0


@pytest.mark.parametrize("kernel", [numba_cpu, reference])
def test_losses_at_extreme_predictors(kernel):
    """|z| up to 1e4 gives finite numbers, and a tiny loss keeps its relative accuracy."""
    z = np.array([-1e4, -800.0, -40.0, 0.0, 40.0, 800.0, 1e4] * 2)
    y = np.repeat([0.0, 1.0], 7)
    s = np.full(14, 1.0)
    value, r, h = kernel.logistic_rows(y, z, s)
    assert np.isfinite(value)
    assert np.isfinite(r).all()
    assert np.isfinite(h).all()
    right, r, _ = kernel.logistic_rows(np.array([1.0]), np.array([40.0]), np.array([1.0]))
    assert right == pytest.approx(np.exp(-40.0), rel=1e-12)
    assert r[0] == pytest.approx(-np.exp(-40.0), rel=1e-12)
    Z = np.array([[1e4, 0.0, -1e4], [40.0, 0.0, 0.0], [-1e4, -1e4, -1e4]])
    value, R, _ = kernel.softmax_rows(np.array([2.0, 0.0, 1.0]), Z, np.ones(3), False)
    assert value == pytest.approx(2e4 + np.log(3.0), rel=1e-12)
    assert np.isfinite(R).all()
    tiny, R, _ = kernel.softmax_rows(np.array([0.0]), Z[1:2], np.ones(1), False)
    assert tiny == pytest.approx(2 * np.exp(-40.0), rel=1e-12)
    assert R[0, 0] == pytest.approx(-2 * np.exp(-40.0), rel=1e-12)


@pytest.mark.parametrize("weights", [np.array([0.25]), np.linspace(0.0, 1.0, 20)], ids=["one", "each"])
def test_losses_by_blocks_of_rows(weights, monkeypatch):
    """Rows that are taken in blocks give what all at once do."""
    y, z = np.arange(20.0) % 2.0, np.linspace(-30.0, 30.0, 20)
    whole = reference.logistic_rows(y, z, weights)
    monkeypatch.setattr(losses, "BLOCK", 7)
    value, r, h = reference.logistic_rows(y, z, weights)
    assert value == pytest.approx(whole[0], rel=1e-14)
    np.testing.assert_array_equal(r, whole[1])
    np.testing.assert_array_equal(h, whole[2])


def test_same_bits_for_any_number_of_threads(monkeypatch):
    """The partition depends on the shape alone and slots are added in order."""
    rng = np.random.default_rng(0)
    n, d = 40_000, 20
    X, w, h = rng.standard_normal((n, d)), rng.standard_normal(d), rng.random(n)
    y, s = (rng.random(n) < 0.5).astype(float), np.full(n, 1.0 / n)
    bits = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("SOSOLVE_NUM_THREADS", threads)
        value, z, curv, g, total = numba_cpu.logistic_linear(X, y, s, w, 0.1)
        g2, total2 = numba_cpu.normal_mv(X, h, w, 0.2)
        g3, total3 = numba_cpu.normal_mv_of(X, np.arange(0, n, 2), h[::2], w, 0.2)
        bits.append([np.asarray(a).tobytes() for a in (value, z, curv, g, total, g2, total2, g3, total3)])
    assert bits[0] == bits[1] == bits[2]


@pytest.mark.parametrize("storage", ["C", "float32", "strided", "reversed", "read-only", "one row"])
def test_products_with_some_of_the_rows(storage):
    """They are those of the rows taken out, whatever their number, and the others may hold anything."""
    X = STORAGES[storage]
    n = X.shape[0]
    v = vectors(n)
    for rows in (np.arange(n), np.arange(0, n, 3), np.array([n - 1])):
        dirty = X.copy()
        dirty[np.setdiff1d(np.arange(n), rows)] = np.nan
        expected = reference.normal_mv(X[rows], v["h"][rows], v["w"], 0.3)
        same(numba_cpu.normal_mv_of(dirty, rows, v["h"][rows], v["w"], 0.3), expected)


@pytest.mark.parametrize("storage", ["C", "F", "float32", "csr"])
def test_the_gram_matrix_of_a_sample(storage):
    """It is that of these rows to single precision; of h of both signs it is that of `gram`."""
    X = STORAGES[storage]
    v = vectors(X.shape[0])
    blocks = [(3, 67), (200, 700), (900, 903)]
    for h in (v["h"], v["r"]):
        found = numba_cpu.sampled_gram(X, h, v["mean"], v["scale"], blocks)
        same(found, reference.gram(X, h, v["mean"], v["scale"], blocks), 1e-5)
    one = numba_cpu.sampled_gram(X, v["h"], v["mean"], v["scale"], blocks[:1])
    same(one, reference.gram(X, v["h"], v["mean"], v["scale"], blocks[:1]), 1e-5)


def test_small_and_foreign_arrays_take_the_reference():
    """No compiled code below the threshold, nor for arrays it does not know."""
    assert kernels.kernels_for(np.zeros((500, 30))) is reference
    assert kernels.kernels_for(np.zeros((10_000, 60))) is numba_cpu
    assert kernels.kernels_for(np.zeros((10_000, 60), dtype=np.float16)) is reference
    assert kernels.kernels_for(sp.csr_matrix((10_000, 60))) is reference
    assert kernels.kernels_for(sp.random(1000, 1000, density=0.6, format="csr")) is numba_cpu


def test_reference_row_blocks_cover_x_once(monkeypatch):
    """Blocks of the reference are consecutive and its results do not depend on their length."""
    rng = np.random.default_rng(0)
    X, h, w = rng.standard_normal((100, 5)), rng.random(100), rng.standard_normal(5)
    whole = reference.normal_mv(X, h, w, 0.5)
    fused = reference.logistic_linear(X, (h > 0.5).astype(float), np.full(100, 0.01), w, 0.5)
    monkeypatch.setattr(reference, "BLOCK_BYTES", 8 * 5 * 7)
    assert [(a, b) for a, b, _ in reference.row_blocks(X)] == [(k, min(k + 7, 100)) for k in range(0, 100, 7)]
    same(reference.normal_mv(X, h, w, 0.5), whole)
    same(reference.logistic_linear(X, (h > 0.5).astype(float), np.full(100, 0.01), w, 0.5), fused)
    same(reference.linear(X, w, 0.1), X @ w + 0.1)
    G, _ = reference.gram(X, h, np.zeros(5), np.ones(5))
    np.testing.assert_allclose(G, X.T @ (h[:, None] * X), rtol=1e-12)


def test_the_gradient_alone_is_that_of_the_fused_pass():
    """For labels of one byte too."""
    v = vectors(STORAGES["C"].shape[0])
    X = STORAGES["C"]
    value, _, h, g, total = reference.logistic_linear(X, v["y"], v["s"], v["w"], 0.3)
    expected = (value, h.sum(), g, total)
    for backend in (reference, numba_cpu):
        for y in (v["y"], v["y"].astype(np.int8)):
            same(backend.logistic_gradient(X, y, v["s"], v["w"], 0.3), expected)

"""On a real NVIDIA device: every kernel against the reference, whole fits against the processor, memory, PyTorch."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from kernel_calls import CALLS, STORAGES, same, vectors

from sosolve import LogisticRegression, LogisticRegressionCV, NonlinearLeastSquares, curve_fit, fit_curves
from sosolve.kernels import device, kernels_for, reference


def reason_to_skip() -> str:
    """Return what is missing, in the words that a user would read; "" where nothing is."""
    try:
        device.require("tests/test_gpu.py")
    except (ImportError, RuntimeError) as error:
        return str(error)
    return ""


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "there is one")]


def on_device(value):
    """Return the argument on the device, in its own order."""
    import cupy

    if sp.issparse(value):
        return device.sparse_to_device(sp.csr_matrix(value))
    return cupy.asarray(value.copy(order="K")) if isinstance(value, np.ndarray) else value


def to_host(value):
    """Return NumPy arrays for those of the device."""
    if isinstance(value, tuple):
        return tuple(map(to_host, value))
    return value.get() if hasattr(value, "get") else value


@pytest.mark.parametrize("storage", sorted(STORAGES))
def test_kernels_equal_the_reference(storage):
    """Each kernel for each storage."""
    X = STORAGES[storage]
    v = vectors(X.shape[0])
    there, X_there = {name: on_device(a) for name, a in v.items()}, on_device(X)
    kernels = kernels_for(X_there)
    for call in CALLS.values():
        same(to_host(call(kernels, X_there, there)), call(reference, X, v))


@pytest.mark.parametrize("d", [1, 3, 8, 33, 100, 101, 128, 129, 256, 260, 512, 514, 1030, 4096, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("first", [0, 1])
def test_fused_pass_for_each_plan(d, dtype, order, first):
    """Each width and order, aligned and not, for more rows than one wave of blocks takes; twice the same bits."""
    rng = np.random.default_rng(d)
    n = 8 * (200_000 // d + 1)
    X, w = np.asarray(rng.standard_normal((n, d)), dtype=dtype, order=order), rng.standard_normal(d) / np.sqrt(d)
    y, s, h = (rng.random(n) < 0.5).astype(float), rng.random(n) / n, rng.random(n) / n
    A, X, y, s, h = (a[first:] for a in (on_device(X), X, y, s, h))
    kernels = kernels_for(A)
    found = to_host(kernels.logistic_linear(A, *map(on_device, (y, s, w)), 0.3))
    same(found, reference.logistic_linear(X, y, s, w, 0.3), 1e-11)
    again = to_host(kernels.logistic_linear(A, *map(on_device, (y, s, w)), 0.3))
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    same(to_host(kernels.normal_mv(A, *map(on_device, (h, w)), 0.3)), reference.normal_mv(X, h, w, 0.3), 1e-11)


@pytest.mark.parametrize("storage", ["C", "F", "float32", "csr"])
def test_moments_and_wide_gram_matrices(storage, monkeypatch):
    """Columns' means, spreads and reaches; one triangle by syrk, weights of both signs, some of the rows."""
    from sosolve.kernels import cupy_gpu

    monkeypatch.setattr(cupy_gpu, "SYRK_COLUMNS", 2)
    X = STORAGES[storage]
    n, d = X.shape
    rng = np.random.default_rng(0)
    s, mean, scale = rng.random(n), rng.standard_normal(d), 1.0 + rng.random(d)
    s /= s.sum()
    found = to_host(tuple(cupy_gpu.moments(on_device(X), on_device(s), True)))
    same(found[:2], reference.moments(X, s, True)[:2], 1e-9)
    for h in (s, rng.standard_normal(n)):
        for blocks in (None, [(3, 40), (100, 164)]):
            found = to_host(cupy_gpu.gram(*map(on_device, (X, h, mean, scale)), blocks))
            same(found, reference.gram(X, h, mean, scale, blocks), 1e-11)


@pytest.mark.parametrize("K", [2, 3, 10, 16, 17, 100, 200])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("d", [1, 30, 100, 300])
def test_softmax_for_any_number_of_classes(K, order, d):
    """Tiles and cuBLAS on chunks of rows."""
    rng = np.random.default_rng(K)
    n = 5003
    X = np.asarray(rng.standard_normal((n, d)), dtype=np.float32, order=order)
    y, s, W, B = rng.integers(0, K, n) * 1.0, rng.random(n) / n, rng.standard_normal((K, d)), rng.standard_normal(K)
    kernels = kernels_for(on_device(X))
    found = to_host(kernels.softmax_linear(*map(on_device, (X, y, s, W, B)), False))
    same(found, reference.softmax_linear(X, y, s, W, B, False), 1e-11)
    P = rng.dirichlet(np.ones(K), n)
    found = to_host(kernels.softmax_normal_mv(*map(on_device, (X, P, s, W, B))))
    same(found, reference.softmax_normal_mv(X, P, s, W, B), 1e-11)


def test_sparse_matrices_of_cupy_stay():
    """A CSR matrix on the device; and a search over strengths of the penalty."""
    X = sp.random(20_000, 300, density=0.05, random_state=0, format="csr")
    y = (X @ np.random.default_rng(0).standard_normal(300) > 0.1).astype(int)
    here = LogisticRegression(tol=1e-7).fit(X, y)
    there = LogisticRegression(tol=1e-7).fit(device.sparse_to_device(X), y)
    assert there.device_.startswith("cuda:")
    assert there.result_.value == pytest.approx(here.result_.value, rel=1e-9)
    options = {"Cs": [0.1, 10.0], "cv": 3, "l1_ratios": (0,), "use_legacy_attributes": False, "scoring": "neg_log_loss"}
    for A in (X, X.toarray()):
        here = LogisticRegressionCV(tol=1e-7, **options).fit(A, y)
        there = LogisticRegressionCV(tol=1e-7, device="cuda", **options).fit(A, y)
        assert there.C_ == here.C_
        np.testing.assert_allclose(there.scores_, here.scores_, rtol=1e-6)


def test_arrays_of_cupy_and_few_classes():
    """Labels of the device are counted, not sorted; the results are arrays of the device."""
    import cupy

    rng = np.random.default_rng(0)
    X = rng.standard_normal((5000, 20))
    y = np.argmax(X[:, :3] + rng.gumbel(size=(5000, 3)), axis=1) * 2 - 1
    here = LogisticRegression(tol=1e-8).fit(X, y)
    with sklearn.config_context(array_api_dispatch=True):
        there = LogisticRegression(tol=1e-8).fit(cupy.asarray(X), cupy.asarray(y))
        assert isinstance(there.coef_, cupy.ndarray)
        np.testing.assert_allclose(there.coef_.get(), here.coef_, rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(there.predict(cupy.asarray(X)).get(), here.predict(X))


@pytest.mark.parametrize("shape", [(5_000_001,), (1_500_001, 7)])
def test_transfers_through_pinned_memory(shape):
    """Every number arrives, there and back, for sizes that no buffer divides."""
    from sosolve.kernels.streamed import to_device
    from sosolve.kernels.streamed import to_host as brought

    A = np.random.default_rng(0).standard_normal(shape)
    there, out = to_device(A), np.empty_like(A)
    brought(there, out)
    np.testing.assert_array_equal(out, A)


@pytest.mark.parametrize("n", [3000, 400_000])
def test_one_long_curve(n):
    """A warp, and the whole device: parameters and errors as on the processor."""
    pytest.importorskip("sympy", reason="SymPy is not installed")
    import cupy

    rng = np.random.default_rng(0)
    x = np.linspace(-4.0, 4.0, n)
    y = 3.0 * np.exp(-((x - 0.3) ** 2) / (2.0 * 0.7**2)) + 1.0 + 0.1 * rng.standard_normal(n)
    formula, p0 = "a*exp(-(x - mu)**2/(2*sigma**2)) + c", [2.0, 0.1, 1.0, 0.5]
    here, there = curve_fit(formula, x, y, p0), curve_fit(formula, cupy.asarray(x), cupy.asarray(y), p0)
    np.testing.assert_allclose(there[0], here[0], rtol=1e-8)
    np.testing.assert_allclose(there[1], here[1], rtol=1e-5, atol=1e-6 * here[1].max())
    fitted = NonlinearLeastSquares(formula, p0=p0, device="cuda").fit(x[:, None], y)
    assert fitted.device_.startswith("cuda:")
    np.testing.assert_allclose(fitted.theta_, here[0], rtol=1e-8)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("kind", [np.float32, np.float64, "csr"])
def test_fits_agree(classes, kind):
    """The objective of the processor's fit to 1e-9; NumPy comes back."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 30))
    y = np.argmax(X @ rng.standard_normal((30, classes)) + rng.gumbel(size=(20_000, classes)), axis=1)
    X = sp.random(20_000, 300, density=0.05, random_state=0, format="csr") if kind == "csr" else X.astype(kind)
    for solver in ("auto", "newton-cg", "trust-region", "lbfgs", "newton-cholesky"):
        here = LogisticRegression(tol=1e-7, solver=solver, max_iter=2000).fit(X, y)
        there = LogisticRegression(tol=1e-7, solver=solver, max_iter=2000, device="cuda").fit(X, y)
        assert there.device_.startswith("cuda:")
        assert isinstance(there.coef_, np.ndarray)
        assert there.result_.value == pytest.approx(here.result_.value, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_coefficients_agree(classes, order):
    """In double precision the parameters of the processor's fit to 1e-9."""
    import cupy

    rng = np.random.default_rng(0)
    X = np.asarray(rng.standard_normal((50_000, 40)), order=order)
    y = np.argmax(X[:, :classes] + rng.gumbel(size=(50_000, classes)), axis=1)
    here = LogisticRegression(tol=1e-12).fit(X, y).coef_
    gone = LogisticRegression(tol=1e-12, device="cuda").fit(X, y).coef_
    with sklearn.config_context(array_api_dispatch=True):
        stayed = LogisticRegression(tol=1e-12).fit(cupy.asarray(X, order=order), cupy.asarray(y)).coef_.get()
    for there in (gone, stayed):
        assert np.abs(there - here).max() <= 1e-9 * np.abs(here).max()


def test_streams_of_the_user():
    """Kernels run on the stream that is current: what it has yet to do is done before them."""
    import cupy

    rng = np.random.default_rng(0)
    X, w, h = rng.standard_normal((200_000, 50)), rng.standard_normal(50), rng.random(200_000)
    from sosolve.kernels import cupy_gpu

    with cupy.cuda.Stream(non_blocking=True) as stream:
        A, W, H = map(cupy.asarray, (X, w, h))
        found = to_host(cupy_gpu.normal_mv(2.0 * A, H, W, 0.1))
        stream.synchronize()
    same(found, reference.normal_mv(2.0 * X, h, w, 0.1), 1e-11)


def test_more_entries_than_an_int_counts():
    """More than 2^31 of them, in either order: the last rows and columns are read where they are."""
    import cupy

    if device.memory()[0] < 3 * 2**33:
        pytest.skip(f"{device.memory()[0] / 1e9:.0f} GB are free on the device, which needs 26 for this")
    from sosolve.kernels import cupy_gpu

    n, d = 2**26 + 3, 33
    for order in "CF":
        X = cupy.zeros((n, d), dtype=cupy.float32, order=order)
        X[-1, -1], X[n - 2, 0] = 2.0, 3.0
        h, w = cupy.full(n, 0.5), cupy.ones(d)
        g, total = to_host(cupy_gpu.normal_mv(X, h, w, 0.0))
        assert (g[0], g[-1], total) == (4.5, 2.0, 2.5)
        assert np.count_nonzero(g) == 2
        table = to_host(cupy_gpu.linear(X, w, 0.0))
        assert (table[-1], table[-2], np.count_nonzero(table)) == (2.0, 3.0, 2)
        del X, h
        cupy.get_default_memory_pool().free_all_blocks()


def test_larger_than_the_card(monkeypatch):
    """Streamed in blocks through two buffers."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50_000, 40), dtype=np.float32)
    y = (X[:, 0] + rng.standard_normal(50_000) > 0).astype(int)
    here = LogisticRegression(tol=1e-7).fit(X, y)
    vectors_held = 8 * 50_000 * 12
    monkeypatch.setattr(device, "memory", lambda: (int((vectors_held + 0.8 * X.nbytes) / 0.9) + 2**23, 2**34))
    monkeypatch.setattr("sosolve.estimators.placement.LEAST_BUFFER", 2**16)
    monkeypatch.setattr("sosolve.estimators.placement.SHARE", 0.5)
    there = LogisticRegression(tol=1e-7, device="cuda").fit(X, y)
    assert there.result_.value == pytest.approx(here.result_.value, rel=1e-9)


def test_out_of_memory_leaves_the_pool_usable():
    """A limit on CuPy's pool: the fit fails with the numbers, the next one succeeds."""
    import cupy

    rng = np.random.default_rng(0)
    X = rng.standard_normal((200_000, 40))
    y = (X[:, 0] > 0.1).astype(int) ^ (rng.random(200_000) < 0.1)
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    clf = LogisticRegression(device="cuda")
    pool.set_limit(size=X.nbytes + 2**20)
    try:
        with pytest.raises(MemoryError, match="ran out of memory on the device"):
            clf.fit(X, y)
    finally:
        pool.set_limit(size=0)
    assert not hasattr(clf, "coef_")
    assert clf.fit(X, y).result_.converged


def test_arrays_of_pytorch_are_shared():
    """A tensor on the device is fitted there by CuPy's kernels and answered with tensors."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch has no CUDA")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 10))
    y = (X[:, 0] + rng.standard_normal(2000) > 0).astype(int)
    here = LogisticRegression(tol=1e-8).fit(X, y)
    with sklearn.config_context(array_api_dispatch=True):
        there = LogisticRegression(tol=1e-8).fit(torch.asarray(X, device="cuda"), torch.asarray(y, device="cuda"))
        assert there.coef_.is_cuda
        np.testing.assert_allclose(there.coef_.cpu().numpy(), here.coef_, rtol=1e-5, atol=1e-8)
        assert there.predict(torch.asarray(X, device="cuda")).is_cuda


@pytest.mark.parametrize("n", [50, 2000])
def test_batches_of_curves_agree(n):
    """A thread and a warp for a fit, from host memory and on the device; NaN and hopeless rows among them."""
    pytest.importorskip("sympy", reason="SymPy is not installed")
    import cupy

    rng = np.random.default_rng(0)
    x = np.linspace(-4.0, 4.0, n)
    a, mu, sigma, c = rng.uniform([1.0, -1.0, 0.4, -1.0], [5.0, 1.0, 1.0, 1.0], (500, 4)).T[:, :, None]
    y = a * np.exp(-((x - mu) ** 2) / (2 * sigma**2)) + c + 0.05 * rng.standard_normal((500, n))
    y[3, 4] = np.nan
    for options in ({}, {"p0": [3.0, 0.0, 0.7, 0.0], "bounds": {"offset": (-0.5, 0.5)}, "sigma": 2.0 + np.sin(x)}):
        here = fit_curves("gaussian_offset", x, y, **options)
        for data in (y, cupy.asarray(y)):
            there = fit_curves("gaussian_offset", x, data, device="cuda", **options)
            assert there.device.startswith("cuda:")
            np.testing.assert_array_equal(there.converged, here.converged)
            np.testing.assert_array_equal(there.on_bound, here.on_bound)
            np.testing.assert_allclose(there.params, here.params, rtol=1e-8, atol=1e-9)
            np.testing.assert_allclose(there.stderr, here.stderr, rtol=1e-6)
            np.testing.assert_allclose(there.rss, here.rss, rtol=1e-9)

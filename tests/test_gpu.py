"""On a real NVIDIA device: every kernel against the reference, whole fits against the processor, memory, PyTorch."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from kernel_calls import CALLS, STORAGES, same, vectors

from sosolve import LogisticRegression, fit_curves
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


@pytest.mark.parametrize("d", [1, 3, 8, 33, 100, 101, 260, 512, 514, 1030, 4096, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fused_pass_for_each_plan(d, dtype):
    """Each width, for more rows than one wave of blocks takes; twice the same bits."""
    rng = np.random.default_rng(d)
    n = 2_000_000 // d + 77
    X, w = rng.standard_normal((n, d)).astype(dtype), rng.standard_normal(d) / np.sqrt(d)
    y, s, h = (rng.random(n) < 0.5).astype(float), rng.random(n) / n, rng.random(n) / n
    A = on_device(X)
    kernels = kernels_for(A)
    found = to_host(kernels.logistic_linear(A, *map(on_device, (y, s, w)), 0.3))
    same(found, reference.logistic_linear(X, y, s, w, 0.3), 1e-11)
    again = to_host(kernels.logistic_linear(A, *map(on_device, (y, s, w)), 0.3))
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    same(to_host(kernels.normal_mv(A, *map(on_device, (h, w)), 0.3)), reference.normal_mv(X, h, w, 0.3), 1e-11)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("kind", [np.float32, np.float64, "csr"])
def test_fits_agree(classes, kind):
    """The objective of the processor's fit to 1e-9; NumPy comes back."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 30))
    y = np.argmax(X @ rng.standard_normal((30, classes)) + rng.gumbel(size=(20_000, classes)), axis=1)
    X = sp.random(20_000, 300, density=0.05, random_state=0, format="csr") if kind == "csr" else X.astype(kind)
    for solver in ("auto", "newton-cg", "trust-region", "lbfgs"):
        here = LogisticRegression(tol=1e-7, solver=solver, max_iter=2000).fit(X, y)
        there = LogisticRegression(tol=1e-7, solver=solver, max_iter=2000, device="cuda").fit(X, y)
        assert there.device_.startswith("cuda:")
        assert isinstance(there.coef_, np.ndarray)
        assert there.result_.value == pytest.approx(here.result_.value, rel=1e-9)


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

"""`device=` of the classifiers: fits on a fake device, whose kernels run on the host, and every error on the way."""

import gc
import os
import pickle

import fake_cupy
import host_cuda
import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_iris

from sosolve import LBFGS, LogisticRegression, SoftmaxRegression
from sosolve.estimators import placement
from sosolve.kernels import device
from sosolve.kernels.streamed import StreamedRows, to_device, to_host

on_host = pytest.mark.skipif(bool(host_cuda.reason_not_to_run()), reason=host_cuda.reason_not_to_run() or "can run")
X, Y = load_iris(return_X_y=True)
TWO = (Y == 1).astype(int)
WEIGHTS = np.random.default_rng(0).integers(0, 3, 150).astype(float)


@pytest.fixture
def cupy():
    """Put the fake CuPy in place."""
    with fake_cupy.installed() as module:
        yield module


@pytest.fixture
def no_cupy():
    """Make CuPy a package that is not installed, whether it is or not."""
    with fake_cupy.missing():
        yield


def close(there, here):
    """Assert that two fits have the same coefficients."""
    scale = np.abs(here.coef_).max()
    np.testing.assert_allclose(there.coef_, here.coef_, atol=1e-7 * scale)
    np.testing.assert_allclose(there.intercept_, here.intercept_, atol=1e-7 * np.abs(here.intercept_).max())


@on_host
@pytest.mark.parametrize("solver", ["auto", "newton-cg", "trust-region", "bfgs"])
@pytest.mark.parametrize("labels", [TWO, Y], ids=["two", "three"])
def test_a_fit_goes_there_and_back(cupy, solver, labels):
    """NumPy in, NumPy out, the optimum of the processor, and nothing of the device in a pickle."""
    here = LogisticRegression(tol=1e-8, solver=solver, max_iter=500).fit(X, labels, WEIGHTS)
    there = LogisticRegression(tol=1e-8, solver=solver, max_iter=500, device="cuda").fit(X, labels, WEIGHTS)
    close(there, here)
    assert (there.device_, here.device_) == ("cuda:0", "cpu")
    assert fake_cupy.counts["launches"] > 0
    for name in ("coef_", "intercept_", "classes_", "n_iter_"):
        assert isinstance(getattr(there, name), np.ndarray)
    assert isinstance(there.result_.theta, np.ndarray)
    assert isinstance(there.predict_proba(X), np.ndarray)
    again = pickle.loads(pickle.dumps(there))
    assert again.device == clone(there).device == "cuda"
    assert b"fake_cupy" not in pickle.dumps(there)


@on_host
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_data_go_there_and_back(cupy, dtype):
    """A CSR matrix of SciPy, with the diagonal for Jacobi and the thin factor left alone."""
    S = sp.csr_matrix(np.where(X > 2.0, X, 0.0).astype(dtype))
    for labels in (TWO, Y):
        here = LogisticRegression(tol=1e-7, solver="newton-cg").fit(S, labels)
        there = LogisticRegression(tol=1e-7, solver="newton-cg", device="cuda").fit(S, labels)
        np.testing.assert_allclose(there.coef_, here.coef_, atol=1e-5 * np.abs(here.coef_).max())
        assert there.coef_.dtype == dtype


@on_host
@pytest.mark.parametrize("reference", [None, 1])
def test_softmax_regression_has_the_parameter_too(cupy, reference):
    """With and without a reference class."""
    here = SoftmaxRegression(tol=1e-8, reference_class=reference).fit(X, Y)
    close(SoftmaxRegression(tol=1e-8, reference_class=reference, device="cuda").fit(X, Y), here)


@on_host
def test_wide_data_on_the_device(cupy):
    """Fewer rows than columns: the thin factor is formed there."""
    wide = np.random.default_rng(0).standard_normal((40, 600))
    labels = (wide[:, 0] > 0).astype(int)
    here = LogisticRegression(tol=1e-7).fit(wide, labels)
    there = LogisticRegression(tol=1e-7, device="cuda").fit(wide, labels)
    assert "thin factor" in there.history_.notes["solver"]
    np.testing.assert_allclose(there.coef_, here.coef_, atol=1e-5 * np.abs(here.coef_).max())


@on_host
def test_an_iteration_of_cg_waits_once(cupy):
    """Waits for the device: one for each product with the curvature, and some for each step."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((300, 12)) @ (np.eye(12) + 0.9)
    labels = (A @ rng.standard_normal(12) + 3.0 * rng.standard_normal(300) > 0).astype(int)
    for solver in ("newton-cg", "trust-region"):
        fake_cupy.counts.clear()
        fit = LogisticRegression(tol=1e-9, solver=solver, device="cuda").fit(A, labels)
        steps, products = int(fit.n_iter_[0]), fit.result_.counts.n_mv
        assert products > 3 * steps
        assert fake_cupy.counts["syncs"] <= products + 14 * steps + 20


@on_host
def test_an_iteration_of_lbfgs_waits_for_few_numbers(cupy):
    """The two-loop recursion keeps its scalars on the device: the waits of an iteration do not grow with the memory."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((60, 4)) @ (np.eye(4) + 0.9)
    labels = (A @ rng.standard_normal(4) + 3.0 * rng.standard_normal(60) > 0).astype(int)
    solver = LBFGS(tol=1e-9, preconditioner="none", confirm_cg=0)
    fake_cupy.counts.clear()
    fit = LogisticRegression(solver=solver, device="cuda").fit(A, labels)
    steps, evaluations = int(fit.n_iter_[0]), fit.result_.counts.n_value
    assert steps > 8
    assert fake_cupy.counts["syncs"] <= 5 * steps + 3 * evaluations + 20
    close(fit, LogisticRegression(solver=solver).fit(A, labels))


def test_a_sample_of_rows_waits_once(cupy):
    """The sum over thousands of short row ranges is one number."""
    from sosolve.objectives.basis import sample_blocks, sampled_sum

    h = np.random.default_rng(0).random(50_000)
    blocks = sample_blocks(50_000, 0.1)
    assert len(blocks) > 20
    there = cupy.asarray(h)
    fake_cupy.counts.clear()
    assert sampled_sum(there, blocks) == pytest.approx(sampled_sum(h, blocks), rel=1e-14)
    assert fake_cupy.counts["syncs"] == 1


def test_lengths_of_vectors_wait_once(cupy):
    """Norms safe against overflow, and an inner product with two norms."""
    from sosolve.linalg import dot_and_norms, norm

    for a in ([3.0, 4.0], [3e-200, 4e-200], [3e200, 4e200], [0.0, 0.0], [np.inf, 1.0]):
        fake_cupy.counts.clear()
        assert norm(cupy.asarray(a)) == pytest.approx(norm(np.array(a)), rel=1e-14)
        assert fake_cupy.counts["syncs"] == 1
    assert np.isnan(norm(cupy.asarray([np.nan, 1.0])))
    assert norm(cupy.asarray(np.zeros(0))) == 0.0
    for scale in (1.0, 1e-150):
        a, b = np.array([1.0, 2.0]) * scale, np.array([-1.0, 3.0]) * scale
        fake_cupy.counts.clear()
        assert dot_and_norms(cupy.asarray(a), cupy.asarray(b)) == pytest.approx(dot_and_norms(a, b), rel=1e-14)
        assert fake_cupy.counts["syncs"] == (1 if scale == 1.0 else 3)


@on_host
def test_arrays_of_cupy_stay_where_they_are(cupy):
    """With scikit-learn's dispatch the results are on the device; without it the error says what to do."""
    here = LogisticRegression(tol=1e-8).fit(X, TWO)
    with sklearn.config_context(array_api_dispatch=True):
        there = LogisticRegression(tol=1e-8).fit(cupy.asarray(X), cupy.asarray(TWO))
        assert isinstance(there.coef_, cupy.ndarray)
        assert there.device_ == "cuda:0"
        np.testing.assert_allclose(there.coef_.get(), here.coef_, rtol=1e-6)
        assert isinstance(there.predict(cupy.asarray(X)), cupy.ndarray)
    with pytest.raises(TypeError, match="array_api_dispatch is off"):
        LogisticRegression().fit(cupy.asarray(X), TWO)
    back = LogisticRegression(tol=1e-8, device="cpu").fit(cupy.asarray(X), cupy.asarray(TWO), cupy.asarray(WEIGHTS))
    assert back.device_ == "cpu"
    assert isinstance(back.coef_, np.ndarray)


@on_host
@pytest.mark.parametrize(("labels", "dtype"), [(TWO, np.float32), (Y, np.float64)], ids=["two", "three"])
def test_larger_than_the_card(monkeypatch, labels, dtype):
    """X passes through in blocks: fewer bytes than X on the device, the same optimum."""
    monkeypatch.setattr(placement, "LEAST_BUFFER", 100)
    A = np.hstack([X, np.random.default_rng(0).standard_normal((150, 6))]).astype(dtype)
    here = LogisticRegression(tol=1e-6, solver="newton-cg").fit(A, labels)
    gc.collect()
    vectors = 8 * 150 * placement.ROW_VECTORS * (3 if labels is Y else 1)
    with fake_cupy.installed():
        monkeypatch.setattr(device, "memory", lambda: (int((vectors + 0.8 * A.nbytes) / 0.9), 10**6))
        there = LogisticRegression(tol=1e-6, solver="newton-cg", device="cuda").fit(A, labels)
        assert fake_cupy.counts["event waits"] > 0
    np.testing.assert_allclose(there.coef_, here.coef_, atol=1e-4 * np.abs(here.coef_).max())


def test_no_room_at_all(cupy, monkeypatch):
    """The numbers: what is needed, what is free; a sparse X is not streamed."""
    monkeypatch.setattr(device, "memory", lambda: (20_000, 10**6))
    clf = LogisticRegression(device="cuda")
    with pytest.raises(MemoryError, match=r"needs 1.92e-05 GB, 1.44e-05 GB .* 2e-05 GB free of 0.001 GB; not even"):
        clf.fit(X, TWO)
    with pytest.raises(MemoryError, match="a sparse X cannot be streamed"):
        clf.fit(sp.csr_matrix(X), TWO)
    assert not hasattr(clf, "coef_")


@on_host
def test_out_of_memory_in_the_middle(monkeypatch):
    """An unfitted estimator, freed blocks, no array left on the device, and a message with the numbers."""
    gc.collect()
    clf = LogisticRegression(device="cuda")
    with fake_cupy.installed(memory=14_000):
        monkeypatch.setattr(device, "memory", lambda: (10**6, 10**6))
        with pytest.raises(MemoryError, match=r"ran out of memory on the device \(Out of memory allocating"):
            clf.fit(X, TWO)
        assert fake_cupy.counts["freed"] == 1
        assert fake_cupy._held["bytes"] == 0
        assert not hasattr(clf, "coef_")
    with fake_cupy.installed():
        assert clf.fit(X, TWO).device_ == "cuda:0"
    with pytest.raises(MemoryError, match="somebody else"), device.freed_on_error("f", 0):
        raise MemoryError("somebody else")


def test_auto_follows_the_model(monkeypatch, no_cupy):
    """The processor for small data; the device for large ones where there is one; the processor where there is none."""
    small, large = np.zeros((100, 10)), np.broadcast_to(np.float32(0.0), (10**8, 100))
    assert not placement.pays(small, 1)
    assert placement.pays(large, 1)
    assert not placement.pays(sp.csr_matrix(small), 1)
    monkeypatch.setattr(placement, "pays", lambda X, outputs: True)
    assert LogisticRegression(device="auto").fit(X, TWO).device_ == "cpu"


@on_host
def test_auto_takes_the_device(cupy, monkeypatch):
    """Where the model says so and there is one."""
    monkeypatch.setattr(placement, "pays", lambda X, outputs: True)
    assert LogisticRegression(device="auto").fit(X, TWO).device_ == "cuda:0"


@on_host
def test_no_l1_on_the_device(cupy):
    """A penalty with an L1 part says where it runs."""
    with pytest.raises(ValueError, match="run on the processor alone"):
        LogisticRegression(l1_ratio=1.0, solver="auto", device="cuda").fit(X, TWO)


def test_bad_device():
    """Another word is refused with the allowed ones."""
    with pytest.raises(ValueError, match="'device' parameter"):
        LogisticRegression(device="gpu").fit(X, TWO)


def test_arrays_of_pytorch_are_shared(cupy, monkeypatch):
    """A library whose arrays lie on a CUDA device: CuPy computes on their memory, results go back by DLPack."""
    xs = pytest.importorskip("array_api_strict", reason="array-api-strict comes with the extra test")
    theirs = xs.asarray(X)
    monkeypatch.setattr(placement, "_on_cuda", lambda a: True)
    monkeypatch.setattr(device, "adopted", lambda a: cupy.asarray(np.asarray(a)))
    monkeypatch.setattr(xs, "from_dlpack", lambda a: ("theirs again", a))
    found = placement.placed(theirs, None, 1, "f", xs, theirs.device)
    assert isinstance(found.X, cupy.ndarray)
    assert (found.name, found.home(1.0)) == ("cuda:0", ("theirs again", 1.0))
    monkeypatch.setattr(device, "available", lambda: False)
    assert placement.placed(theirs, None, 1, "f", xs, theirs.device).X is theirs


def test_factors_of_matrices_on_the_device(cupy):
    """An indefinite matrix has no factor there either, though cuSOLVER leaves half of one behind."""
    from sosolve.linalg import cholesky, cholesky_solve, floats

    A = np.array([[4.0, 1.0], [1.0, 3.0]])
    L = cholesky(cupy.asarray(A))
    np.testing.assert_allclose(cholesky_solve(L, cupy.asarray(np.ones(2))).get(), np.linalg.solve(A, np.ones(2)))
    assert cholesky(cupy.asarray(-A)) is None
    fake_cupy.counts.clear()
    assert floats(cupy.asarray(1.0), 2.0, cupy.asarray(3.0)) == (1.0, 2.0, 3.0)
    assert fake_cupy.counts["syncs"] == 1


# ---------------------------------------------------------------------- what is missing, and what to install


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (12040, r'found an NVIDIA driver for CUDA 12.4: pip install "sosolve\[cuda12\]" \(it brings cupy-cuda12x\)'),
        (13010, r'found an NVIDIA driver for CUDA 13.1: pip install "sosolve\[cuda13\]"'),
        (None, "found no NVIDIA driver: install the driver first, then pip install"),
    ],
)
def test_without_cupy(monkeypatch, no_cupy, version, words):
    """The extra follows the driver."""
    monkeypatch.setattr(device, "driver_version", lambda: version)
    clf = LogisticRegression(device="cuda")
    with pytest.raises(ImportError, match=rf"LogisticRegression\(device='cuda'\) needs CuPy, which .* {words}"):
        clf.fit(X, TWO)
    assert not hasattr(clf, "coef_")


@pytest.mark.parametrize(
    ("version", "fault", "words"),
    [
        (None, "cudaErrorInsufficientDriver: too old", "found no NVIDIA driver: install the NVIDIA driver"),
        (11080, "cudaErrorInsufficientDriver: too old", "CUDA 11.8: update the driver, or remove that CuPy and pip"),
        (12090, None, "'cudaErrorNoDevice: no device is visible'; found .* or look at CUDA_VISIBLE_DEVICES"),
    ],
)
def test_without_a_device(monkeypatch, version, fault, words):
    """CuPy is there, but nothing it could use."""
    monkeypatch.setattr(device, "driver_version", lambda: version)
    with (
        fake_cupy.installed(driver=fault, devices=0),
        pytest.raises(RuntimeError, match=rf"CuPy 14.0.0, built for CUDA 12.9, .*{words}"),
    ):
        LogisticRegression(device="cuda").fit(X, TWO)


def test_without_the_libraries_of_cuda():
    """CuPy and a driver, but no compiler: the package that brings all of it."""
    with (
        fake_cupy.installed(libraries="CuPy failed to load libnvrtc.so.12\nmore"),
        pytest.raises(ImportError, match=r'load libnvrtc.so.12\); .* pip install --upgrade "cupy-cuda12x\[ctk\]"'),
    ):
        LogisticRegression(device="cuda").fit(X, TWO)


def test_after_a_fork(cupy, monkeypatch):
    """A process forked from one that used the device is told so."""
    device.require("the parent")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="does not survive a fork"):
        LogisticRegression(device="cuda").fit(X, TWO)


def test_the_version_of_the_driver_here():
    """None without a driver, else a number such as 12040."""
    found = device.driver_version()
    assert found is None or found >= 11000


@on_host
def test_transfer_in_pinned_chunks(cupy, monkeypatch):
    """Every row arrives once, in C and in F order, and for a list of rows."""
    monkeypatch.setattr("sosolve.kernels.streamed.BUFFER_BYTES", 4 * 8 * 4 * 7)
    for A in (X, np.asfortranarray(X)):
        np.testing.assert_array_equal(fake_cupy.to_host(to_device(A)), X)
    rows = np.array([3, 3, 149, 0, 77, 78, 79, 80, 81, 82])
    np.testing.assert_array_equal(fake_cupy.to_host(StreamedRows(X, 8 * 4 * 3).gathered(rows)), X[rows])
    np.testing.assert_array_equal(fake_cupy.to_host(to_device(Y)), Y)


def test_results_arrive_in_pinned_chunks(cupy, monkeypatch):
    """Every number arrives once, in arrays that the buffers divide and others."""
    monkeypatch.setattr("sosolve.kernels.streamed.BUFFER_BYTES", 8 * 8 * 10)
    for A in (X, X[:40, 0].copy(), X[:1], Y.astype(np.int32)):
        out = np.empty_like(A)
        to_host(cupy.asarray(A), out)
        np.testing.assert_array_equal(out, A)

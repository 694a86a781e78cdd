"""The CUDA kernels without a device: compiled by NVRTC for real ones, and run on the host against the reference."""

import fake_cupy
import host_cuda
import numpy as np
import nvrtc
import pytest
import scipy.sparse as sp
from kernel_calls import CALLS, STORAGES, D, same, vectors

from sosolve.kernels import device, kernels_for, reference

#: Columns on both sides of each change of the plan: lanes on a row, packs a lane, warps a row, too wide.
WIDTHS = [1, 3, 4, 8, 15, 33, 64, 100, 101, 130, 260, 512, 514, 1030, 2100]
#: Those of them that the compiler for devices sees: one for each shape of a plan.
COMPILED = [3, 33, 100, 260, 514, 2100]

on_host = pytest.mark.skipif(bool(host_cuda.reason_not_to_run()), reason=host_cuda.reason_not_to_run() or "can run")


@pytest.fixture
def gpu():
    """Put the fake CuPy in place and return the kernels that use it."""
    with fake_cupy.installed():
        from sosolve.kernels import cupy_gpu

        yield cupy_gpu


def on_device(value):
    """Return the argument as an array of the fake device."""
    if sp.issparse(value):
        return fake_cupy.csr_matrix(sp.csr_matrix(value))
    return fake_cupy.ndarray(value.copy(order="K")) if isinstance(value, np.ndarray) else value


def way(X, K=1):
    """Return the CUDA file of the fused pass over an array of the fake device."""
    from sosolve.kernels.cupy_launch import plan_for

    plan = plan_for(X, K)
    return None if plan is None else plan.source


def plans():
    """Return (file, constants) of the fused passes for each width, element type, order and number of outputs."""
    found = {}
    with fake_cupy.installed():
        from sosolve.kernels.cupy_launch import Rows, Strips, Tiles

        for d in COMPILED:
            for dtype in (np.float32, np.float64):
                X = fake_cupy.ndarray(np.zeros((8, d), dtype=dtype))
                made = [("rows", Rows(X).constants)]
                F = fake_cupy.ndarray(np.zeros((8, d), dtype=dtype, order="F"))
                made += [("strips", Strips(F).constants)] if Strips.fits(F) and d in (3, 100) else []
                for K in (1, 16):
                    for A in (X, fake_cupy.ndarray(np.asfortranarray(X._a))):
                        made += [("tiles", Tiles(A, K).constants)] if Tiles.fits(A, K) and d in (33, 260) else []
                for name, constants in made:
                    found[f"{name} " + ",".join(f"{k}={v}" for k, v in constants.items())] = (name, constants)
    return found


def sources():
    """Return every source as (name, constants), by a readable name."""
    found = plans()
    for lanes in (1, 4, 32):
        found[f"sample L={lanes}"] = ("sample", {"L": lanes})
        for T in ("float", "double"):
            for INT in ("int", "long long"):
                found[f"sparse {T}, {INT}, L={lanes}"] = ("sparse", {"T": T, "INT": INT, "L": lanes})
    for T in ("float", "double"):
        for fast in (0, 1):
            found[f"columns {T}, ROWS_ARE_FAST={fast}"] = ("columns", {"T": T, "ROWS_ARE_FAST": fast})
    return found


SOURCES = sources()


@pytest.mark.skipif(nvrtc.library() is None, reason="no libnvrtc: it comes with the extra test-cuda")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", sorted(SOURCES))
def test_nvrtc_compiles_without_a_word(name, architecture):
    """Every source and every plan, for Ampere and Hopper; for one of them as hard as for use."""
    file, constants = SOURCES[name]
    assert nvrtc.compile_cuda(device.source(file, **constants), architecture, quick=architecture == "sm_80") == ""


@on_host
@pytest.mark.parametrize("storage", sorted(STORAGES))
def test_kernels_equal_the_reference(gpu, storage):
    """Each kernel for each storage."""
    X = STORAGES[storage]
    v = vectors(X.shape[0])
    there, X_there = {name: on_device(a) for name, a in v.items()}, on_device(X)
    for call in CALLS.values():
        same(fake_cupy.to_host(call(gpu, X_there, there)), call(reference, X, v))


@on_host
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", WIDTHS)
def test_fused_pass_for_each_plan(gpu, d, dtype):
    """Each width, with a number of rows that no batch divides; threads in descending order."""
    rng = np.random.default_rng(d)
    n = 77
    X, w = rng.standard_normal((n, d)).astype(dtype), rng.standard_normal(d) / np.sqrt(d)
    y, s, h = (rng.random(n) < 0.5).astype(float), rng.random(n), rng.random(n)
    fake_cupy.settings["order"] = 1
    for got, expected in (
        (gpu.logistic_linear(*map(on_device, (X, y, s, w, 0.3))), reference.logistic_linear(X, y, s, w, 0.3)),
        (gpu.normal_mv(*map(on_device, (X, h, w, 0.3))), reference.normal_mv(X, h, w, 0.3)),
    ):
        same(fake_cupy.to_host(got), expected)
    assert way(on_device(X)) == "rows"
    assert fake_cupy.counts["logistic"] == fake_cupy.counts["normal"] == 1


@on_host
@pytest.mark.parametrize(
    ("d", "K", "order", "dtype"),
    [
        (1, 2, "C", "d"),
        (2, 16, "F", "f"),
        (100, 3, "C", "f"),
        (100, 10, "C", "f"),
        (300, 1, "F", "f"),
        (260, 2, "F", "f"),
    ],
)
def test_tiles_for_each_plan(gpu, d, K, order, dtype):
    """Tiles of 64 and of 32 rows, one and several columns a thread; threads in a shuffled order."""
    rng = np.random.default_rng(d)
    n = 150
    X = np.asarray(rng.standard_normal((n, d)), dtype=dtype, order=order)
    w, b, s = rng.standard_normal((K, d)) / np.sqrt(d), rng.standard_normal(K), rng.random(n)
    fake_cupy.settings["order"] = 2
    if K == 1:
        y, h = (rng.random(n) < 0.5) * 1.0, rng.random(n)
        pairs = [
            (
                gpu.logistic_linear(*map(on_device, (X, y, s, w[0], b[0]))),
                reference.logistic_linear(X, y, s, w[0], b[0]),
            ),
            (gpu.normal_mv(*map(on_device, (X, h, w[0], b[0]))), reference.normal_mv(X, h, w[0], b[0])),
        ]
    else:
        y, P = rng.integers(0, K, n) * 1.0, rng.dirichlet(np.ones(K), n)
        pairs = [
            (
                gpu.softmax_linear(*map(on_device, (X, y, s, w, b)), False),
                reference.softmax_linear(X, y, s, w, b, False),
            ),
            (gpu.softmax_normal_mv(*map(on_device, (X, P, s, w, b))), reference.softmax_normal_mv(X, P, s, w, b)),
        ]
    for got, expected in pairs:
        same(fake_cupy.to_host(got), expected)
    assert way(on_device(X), K) == "tiles"
    assert fake_cupy.counts["logistic"] == fake_cupy.counts["normal"] == 1


@on_host
@pytest.mark.parametrize("n", [1, 31, 33])
@pytest.mark.parametrize("storage", ["C", "float32 F", "csr"])
def test_few_rows(gpu, storage, n):
    """Less than a warp, one and one more."""
    X = STORAGES[storage]
    X = X[:n] if sp.issparse(X) else np.asarray(X[:n], order="F" if storage.endswith("F") else "C")
    v = vectors(n)
    there, X_there = {name: on_device(a) for name, a in v.items()}, on_device(X)
    for name, call in CALLS.items():
        if name != "gram, blocks":
            same(fake_cupy.to_host(call(gpu, X_there, there)), call(reference, X, v))


@on_host
@pytest.mark.parametrize(
    ("n", "d", "dtype", "first"),
    [
        (77, 2, "f", 0),
        (1000, 3, "f", 0),
        (641, 7, "d", 0),
        (132, 33, "f", 0),
        (133, 33, "f", 0),
        (134, 33, "f", 0),
        (136, 33, "f", 1),
        (31, 128, "d", 0),
        (66, 129, "f", 0),
        (65, 129, "d", 1),
        (33, 256, "d", 0),
    ],
)
def test_strips_for_each_plan(gpu, monkeypatch, n, d, dtype, first):
    """F order: packs of 1, 2 and 4 rows, ends within a pack, a slice that is not aligned, several blocks."""
    rng = np.random.default_rng(d)
    whole = np.asarray(rng.standard_normal((n + first, d)), dtype=dtype, order="F")
    X, A = whole[first:], on_device(whole)[first:]
    w = rng.standard_normal(d) / np.sqrt(d)
    y, s, h, r = (rng.random(n) < 0.5) * 1.0, rng.random(n), rng.random(n), rng.standard_normal(n)
    for order, entries in ((0, 32_768), (1, 700), (2, 150)):
        monkeypatch.setattr("sosolve.kernels.cupy_launch.BLOCK_ENTRIES", entries)
        fake_cupy.settings["order"] = order
        for name, arguments in (
            ("logistic_linear", (y, s, w, 0.3)),
            ("squared_linear", (y, s[:1], w, 0.3)),
            ("normal_mv", (h, w, 0.3)),
            ("transposed", (r,)),
            ("linear", (w, 0.3)),
        ):
            found = getattr(gpu, name)(A, *map(on_device, arguments))
            same(fake_cupy.to_host(found), getattr(reference, name)(X, *arguments))
    kinds = ("logistic", "squared", "normal", "transposed", "linear")
    assert way(A) == "strips"
    assert [fake_cupy.counts[kind] for kind in kinds] == [3] * 5


@on_host
def test_rows_with_gaps_take_the_fused_pass(gpu):
    """Columns of a wider array: the stride of the rows is not d, and decides on the alignment."""
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((50, 40))
    w, h = rng.standard_normal(12), rng.random(50)
    X = on_device(wide)[:, 3:15]
    same(
        fake_cupy.to_host(gpu.normal_mv(X, on_device(h), on_device(w), 0.1)),
        reference.normal_mv(wide[:, 3:15], h, w, 0.1),
    )
    assert way(X) == "rows"
    assert fake_cupy.counts["normal"] == 1


@on_host
def test_too_wide_for_the_fused_pass(gpu, monkeypatch):
    """Beyond the widest plan cuBLAS takes over, chunk by chunk."""
    monkeypatch.setattr("sosolve.kernels.cupy_launch.WIDEST", 10)
    monkeypatch.setattr("sosolve.kernels.cupy_launch.SHARED_BYTES", 10)
    monkeypatch.setattr("sosolve.kernels.cupy_products.CHUNK_BYTES", 8 * D * 100)
    X = STORAGES["float32"]
    v = vectors(X.shape[0])
    there = {name: on_device(a) for name, a in v.items()}
    for call in CALLS.values():
        same(fake_cupy.to_host(call(gpu, on_device(X), there)), call(reference, X, v))
    assert way(on_device(X)) is None
    assert not fake_cupy.counts["logistic"] + fake_cupy.counts["normal"]


@on_host
def test_long_sparse_columns_are_cut(gpu, monkeypatch):
    """A dense column among short ones: its pieces add up in order."""
    monkeypatch.setattr("sosolve.kernels.cupy_products.PIECE", 16)
    X = sp.random(500, D, density=0.1, random_state=0, format="lil")
    X[:, 3] = 1.0
    X[:, 5] = 0.0
    X = X.tocsr()
    v = vectors(500)
    there, X_there = {name: on_device(a) for name, a in v.items()}, on_device(X)
    for call in CALLS.values():
        same(fake_cupy.to_host(call(gpu, X_there, there)), call(reference, X, v))
    assert fake_cupy.counts["join_pieces"] > 0


@on_host
@pytest.mark.parametrize("K", [2, 3, 7, 33, 200])
def test_softmax_for_any_number_of_classes(gpu, K):
    """Each number of lanes, extreme predictors, ties, the reference class."""
    rng = np.random.default_rng(K)
    n = 40
    z = rng.standard_normal((n, K)) * 10.0 ** rng.integers(-2, 5, (n, 1))
    z[3] = 0.0
    y, s = rng.integers(0, K, n).astype(float), rng.random(n)
    for with_reference in (False, True):
        found = gpu.softmax_rows(on_device(y), on_device(z), on_device(s), with_reference)
        same(fake_cupy.to_host(found), reference.softmax_rows(y, z, s, with_reference))
    P, U = rng.dirichlet(np.ones(K), n), rng.standard_normal((n, K))
    same(
        fake_cupy.to_host(gpu.softmax_curv_mv(on_device(P), on_device(s[:1]), on_device(U))),
        reference.softmax_curv_mv(P, s[:1], U),
    )


@on_host
def test_losses_at_extreme_predictors(gpu):
    """|z| up to 1e4, and a tiny loss with its relative accuracy."""
    z = np.array([-1e4, -800.0, -40.0, 0.0, 40.0, 800.0, 1e4] * 2)
    y, s = np.repeat([0.0, 1.0], 7), np.ones(14)
    for name in ("logistic_rows", "squared_rows"):
        found = getattr(gpu, name)(on_device(y), on_device(z), on_device(s))
        same(fake_cupy.to_host(found), getattr(reference, name)(y, z, s))
    value, _, _ = gpu.logistic_rows(*map(on_device, (np.ones(1), np.array([40.0]), np.ones(1))))
    assert value == pytest.approx(np.exp(-40.0), rel=1e-14)


@on_host
@pytest.mark.parametrize("storage", sorted(STORAGES))
@pytest.mark.parametrize("centre", [True, False])
def test_moments(gpu, storage, centre):
    """Mean, spread and reach for each storage, with and without weights."""
    X = STORAGES[storage]
    n = X.shape[0]
    for s in (vectors(n)["s"], np.array([1.0 / n])):
        s = s / np.broadcast_to(s, (n,)).sum()
        found = fake_cupy.to_host(gpu.moments(on_device(X), on_device(s), centre))
        same(found[:2], reference.moments(X, s, centre)[:2], 1e-9)
        assert (found[2] >= reference.moments(X, s, centre)[2] * 0.5).all()


@on_host
def test_moments_of_very_many_columns(gpu, monkeypatch):
    """Beyond what a grid can hold the reference runs on the device."""
    monkeypatch.setattr(gpu, "MOST_COLUMNS", 3)
    X, s = STORAGES["F"], np.array([1.0 / 1203])
    found = fake_cupy.to_host(gpu.moments(on_device(X), on_device(s), True))
    same(found[:2], reference.moments(X, s, True)[:2], 1e-9)
    assert not fake_cupy.counts["moments"]


@on_host
@pytest.mark.parametrize("unit", [1e-300, 1e160])
def test_moments_of_extreme_units(gpu, unit):
    """Where squares leave the range of doubles the columns are divided first."""
    X = (np.random.default_rng(0).standard_normal((200, 3)) + np.array([0.0, 10.0, 1e6])) * unit
    s = np.array([1.0 / 200])
    found = fake_cupy.to_host(gpu.moments(on_device(X), on_device(s), True))
    same(found[:2], reference.moments(X, s, True)[:2])


@on_host
def test_same_bits_in_any_order_of_the_threads(gpu):
    """No thread reads what another has yet to write: the order in which they run changes nothing."""
    bits = []
    for order in (0, 1, 2, 3):
        fake_cupy.settings["order"] = order
        for storage in ("float32", "F", "csr"):
            X = STORAGES[storage]
            v = {name: on_device(a) for name, a in vectors(X.shape[0]).items()}
            X = on_device(X)
            results = (call(gpu, X, v) for call in CALLS.values())
            bits += [
                np.asarray(a).tobytes()
                for r in results
                for a in (r if isinstance(r, tuple) else (r,))
                for a in [fake_cupy.to_host(a)]
            ]
    quarter = len(bits) // 4
    assert all(bits[k] == bits[k % quarter] for k in range(len(bits)))


@on_host
def test_several_blocks_share_the_rows(gpu, monkeypatch):
    """The partition covers every row once for any number of blocks."""
    for storage in ("C", "F"):
        X = STORAGES[storage]
        v = vectors(X.shape[0])
        for entries in (100, 1000, 7777):
            monkeypatch.setattr("sosolve.kernels.cupy_launch.BLOCK_ENTRIES", entries)
            found = gpu.logistic_linear(*(on_device(a) for a in (X, v["y"], v["s"], v["w"], 0.3)))
            same(fake_cupy.to_host(found), reference.logistic_linear(X, v["y"], v["s"], v["w"], 0.3))


@on_host
@pytest.mark.parametrize("storage", ["C", "F", "csr"])
def test_products_do_not_wait_for_the_device(gpu, storage):
    """A curvature product launches and returns; a loss waits once, for its value."""
    X = STORAGES[storage]
    v, X = {name: on_device(a) for name, a in vectors(X.shape[0]).items()}, on_device(X)
    gpu.transposed(X, v["r"])  # makes the transposed copy of a sparse X
    fake_cupy.counts.clear()
    gpu.normal_mv(X, v["h"], v["w"], v["B"][0])
    gpu.softmax_normal_mv(X, v["P"], v["s"], v["W"], v["B"])
    gpu.linear(X, v["w"], v["B"][0])
    assert fake_cupy.counts["syncs"] == 0
    gpu.logistic_linear(X, v["y"], v["s"], v["w"], v["B"][0])
    assert fake_cupy.counts["syncs"] == 1
    gpu.softmax_linear(X, v["classes"], v["s"], v["W"], v["B"], False)
    assert fake_cupy.counts["syncs"] == 2


def test_arrays_of_the_device_choose_these_kernels(gpu):
    """Dense and sparse ones of CuPy in float32 and float64; anything else takes the reference."""
    assert kernels_for(on_device(np.zeros((3, 2)))) is gpu
    assert kernels_for(on_device(STORAGES["csr"])) is gpu
    assert kernels_for(on_device(np.zeros((3, 2), dtype=np.float16))) is reference
    assert kernels_for(np.zeros((3, 2))) is reference


# ---------------------------------------------------------------------- the emulation finds what it must find

HEAD = "typedef long long i64;\n"
PLANTED = {
    "barrier": (
        'extern "C" __global__ void f(double* a) { if (threadIdx.x < 40) __syncthreads(); a[0] = 1.0; }',
        "a barrier that ended threads never reach",
    ),
    "lanes": (
        'extern "C" __global__ void f(double* a) { if (threadIdx.x > 3) a[threadIdx.x] = '
        "__shfl_xor_sync(0xffffffffu, 1.0, 1); }",
        "a shuffle with ended lanes",
    ),
    "places": (
        'extern "C" __global__ void f(double* a) { if (threadIdx.x > 3) __syncthreads(); else '
        "a[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0, 1); __syncthreads(); }",
        "threads that wait for each other",
    ),
    "mask": (
        'extern "C" __global__ void f(double* a) { a[threadIdx.x] = __shfl_xor_sync(0xffu, 1.0, 1); }',
        "partial mask",
    ),
    "outside": ('extern "C" __global__ void f(double* a) { a[64 + threadIdx.x] = 0.0; }', "outside an array"),
    "shared": (
        'extern "C" __global__ void f(double* a) { DYNAMIC_SHARED(b); b[threadIdx.x] = 0.0; a[0] = b[0]; }',
        "beyond the shared memory",
    ),
}


@on_host
@pytest.mark.parametrize("fault", sorted(PLANTED))
def test_planted_fault_is_found(fault):
    """The emulation can fail."""
    code, message = PLANTED[fault]
    with pytest.raises(RuntimeError, match=message):
        host_cuda.Kernel(HEAD + code, "f")((1,), (64,), (np.zeros(64),))


@on_host
def test_planted_race_is_found():
    """A missing barrier shows in another order of the threads; wrong arguments are refused."""
    code = (
        'extern "C" __global__ void f(double* a) { __shared__ double b[64]; b[threadIdx.x] = threadIdx.x; '
        "a[threadIdx.x] = b[(threadIdx.x + 63) % 64]; }"
    )
    found = []
    for order in (0, 1):
        a = np.zeros(64)
        host_cuda.Kernel(HEAD + code, "f", order)((1,), (64,), (a,))
        found.append(a)
    assert not np.array_equal(*found)
    for wrong in ((), (np.zeros(64), np.int32(1)), (np.int64(1),)):
        with pytest.raises(TypeError, match="f takes p"):
            host_cuda.Kernel(HEAD + code, "f")((1,), (64,), wrong)
    with pytest.raises(RuntimeError, match="refuses"):
        host_cuda.library("nonsense")

"""Many fits by the CUDA kernels: compiled by NVRTC for real devices, and run on the host against the processor's."""

import fake_cupy
import host_cuda
import numpy as np
import nvrtc
import pytest

pytest.importorskip("sympy")
pytest.importorskip("numba")

from sosolve.curves import batch_cuda, batch_whole, library, parse
from sosolve.curves.batch import fit_curves
from sosolve.curves.batch_result import FitStatus
from sosolve.kernels import device

on_host = pytest.mark.skipif(bool(host_cuda.reason_not_to_run()), reason=host_cuda.reason_not_to_run() or "can run")
compiled = pytest.mark.skipif(nvrtc.library() is None, reason="no libnvrtc: it comes with the extra test-cuda")

X = np.linspace(-4.0, 4.0, 40)
#: A kernel that evaluates a model as `iterate` does, and nothing else: what differs from model to model.
PROBE = """
#include "curve_fit.cuh"
extern "C" __global__ void probe(const double* x, const double* y, const double* s, double* sums) {
    const Points points = {x, y, s, 1, 1, 1, 40, 1.0, 40};
    double found[SUMS];
    sums[SUMS] = evaluate(points, sums, found);
    for (int k = 0; k < SUMS; ++k) sums[k] = found[k];
}
"""


def noisy(name, low, high, m=60, x=X, noise=0.05, seed=0):
    """Return y of m curves of a library model with random parameters."""
    rng = np.random.default_rng(seed)
    formula = library.model(name).formula
    rows = rng.uniform(low, high, size=(m, formula.size))
    clean = np.array([formula.value(x, row) for row in rows])
    return clean + noise * rng.standard_normal(clean.shape)


def peaks(m=60, x=X, **options):
    """Return y of m Gaussian peaks on a constant."""
    return noisy("gaussian_offset", [1.0, -1.0, 0.4, -1.0], [5.0, 1.0, 1.0, 1.0], m, x, **options)


def on_fake_device(*args, order=0, memory=1 << 30, **kwargs):
    """Return `fit_curves` with the fake CuPy and what it counted."""
    with fake_cupy.installed(order=order, memory=memory) as cupy:
        args = tuple(cupy.asarray(a._a) if isinstance(a, fake_cupy.ndarray) else a for a in args)
        found = fit_curves(*args, **{"device": "cuda"} | kwargs)
        return found, dict(fake_cupy.counts)


def assert_same(found, expected, rtol=1e-9):
    """Two results agree: to rtol of numbers and errors; statuses, but for the tolerance met first.

    Where two tolerances are met by the same iteration, rounding decides which it is.
    """
    kinds = [np.where(np.isin(r.status, (1, 2, 3)), FitStatus.GTOL, r.status) for r in (found, expected)]
    np.testing.assert_array_equal(*kinds)
    for name in ("n_points", "on_bound"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    spread, rests = np.nan_to_num(expected.stderr), expected.status > 0
    allowed = rtol * (np.abs(np.nan_to_num(expected.params)) + spread)
    rounding = 1e-14 * np.abs(np.nan_to_num(expected.params))  # of an exact curve, whose errors are nothing else
    for name, limit in (("params", allowed), ("stderr", 100.0 * rtol * spread + rounding)):
        a, b = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        gap = np.nan_to_num(np.abs(a - b))
        assert (gap <= limit)[rests].all(), (name, gap[rests].max())
    np.testing.assert_allclose(found.rss[rests], expected.rss[rests], rtol=1e-9, atol=1e-24)
    np.testing.assert_allclose(found.r_squared[rests], expected.r_squared[rests], rtol=1e-9)
    if expected.covariance is not None:
        scale = (spread[:, :, None] + rounding[:, :, None]) * (spread[:, None, :] + rounding[:, None, :])
        gap = np.abs(found.covariance - expected.covariance)
        np.testing.assert_array_equal(np.isnan(gap), np.isnan(expected.covariance))
        assert (np.nan_to_num(gap) <= 1e-7 * scale)[spread.max(axis=1) > 1e-12].all()


# ---------------------------------------------------------------------- the compiler for real devices


@compiled
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", library.names())
def test_nvrtc_compiles_each_model_without_a_word(name, architecture, tmp_path, monkeypatch):
    """The generated source of every library model, as the kernels call it; for Hopper as hard as for use."""
    formula = library.model(name).formula
    (tmp_path / "probe.cu").write_text(PROBE)
    for header in device.SOURCES.glob("*.cuh"):
        (tmp_path / header.name).write_bytes(header.read_bytes())
    monkeypatch.setattr(device, "SOURCES", tmp_path)
    code = device.source("probe", formula.source("cuda"), NP=formula.size, ND=1, TEAM=1, BOX=0)
    assert nvrtc.compile_cuda(code, architecture, quick=architecture == "sm_80") == ""


@compiled
@pytest.mark.parametrize(
    ("text", "team", "box", "tries", "architecture"),
    [
        ("a*exp(-b*x)", 1, 0, 1, "sm_80"),
        ("a*exp(-b*x0) + c*x1", 32, 1, 3, "sm_90"),
        (library.polynomial(11).formula.text, 1, 1, 1, "sm_90"),
    ],
)
def test_nvrtc_compiles_whole_batches_without_a_word(text, team, box, tries, architecture):
    """Every kernel: a thread or a warp for a fit, bounds, several starts, few and many parameters."""
    formula = parse(text, 2 if "x0" in text else 1)
    constants = {"NP": formula.size, "ND": len(formula.predictors), "TEAM": team, "BOX": box, "TRIES": tries}
    assert nvrtc.compile_cuda(device.source("curves", formula.source("cuda"), **constants), architecture) == ""


# ---------------------------------------------------------------------- whole batches on the host


@on_host
@pytest.mark.parametrize("team", [1, 32])
def test_peaks_and_bad_curves(team, monkeypatch):
    """Guessed starts; NaN, zeros, an exact curve, noise alone: each as on the processor, disturbing no neighbour."""
    monkeypatch.setattr(batch_cuda, "LONG", 1 if team == 32 else 512)
    y = peaks()
    y[3, 4], y[7, 0] = np.nan, np.inf
    y[5] = 0.0
    y[6] = library.model("gaussian_offset").formula.value(X, [2.0, 0.3, 0.7, 1.0])
    y[8] = np.random.default_rng(1).standard_normal(40)
    expected = fit_curves("gaussian_offset", X, y)
    found, counts = on_fake_device("gaussian_offset", X, y)
    assert_same(found, expected)
    assert found.device == "cuda:0"
    assert expected.device == "cpu"
    assert found.status[3] == found.status[7] == FitStatus.NONFINITE_DATA
    assert found[6].status == FitStatus.EXACT
    assert counts["search"] == 1


@on_host
def test_bounds_on_some_parameters():
    """Parameters that end on a bound; shared bounds, and bounds of each fit."""
    x = np.linspace(0.0, 5.0, 30)
    y = noisy("exponential_decay_offset", [1.0, 0.3, 0.0], [4.0, 2.0, 1.0], x=x)
    for bounds in (
        {"c": (0.3, 0.6), "b": (0.0, 1.2)},
        ([0.0, 0.0, 0.2], np.linspace([3.0, 1.0, 0.5], [5.0, 2.0, 0.9], 60)),
    ):
        expected = fit_curves("exponential_decay_offset", x, y, bounds=bounds)
        found, _ = on_fake_device("exponential_decay_offset", x, y, bounds=bounds)
        assert_same(found, expected)
        assert expected.on_bound.any()


@on_host
def test_ragged_curves_with_sigma():
    """Lists of different lengths, one of them too short; absolute sigma; no covariance."""
    rng = np.random.default_rng(0)
    p0 = [0.5, 3.0, 1.5, 0.0, 1.2]
    y = noisy("logistic5", [0.0, 2.0, 1.0, -0.5, 0.8], [1.0, 4.0, 2.0, 0.5, 1.5], 40, noise=0.02)
    lengths = rng.integers(32, 41, 40)
    lengths[2] = 4
    rows, points, sigma = ([a[:n] for a, n in zip(table, lengths, strict=True)]
                           for table in (y, np.tile(X, (40, 1)), rng.uniform(0.5, 2.0, y.shape)))  # fmt: skip
    options = {"p0": p0, "sigma": sigma, "absolute_sigma": True, "covariance": False}
    expected = fit_curves("logistic5", points, rows, **options)
    found, _ = on_fake_device("logistic5", points, rows, **options)
    assert_same(found, expected)
    assert found.status[2] == FitStatus.TOO_FEW_POINTS
    assert found.covariance is None


@on_host
def test_weights_of_zero_and_lengths_of_an_array():
    """Points left out may hold anything; weights shared and of each fit; x of each fit; rows cut short."""
    rng = np.random.default_rng(2)
    x = np.sort(rng.uniform(-4.0, 4.0, (30, 40)), axis=1)
    y = np.array([peaks(1, row, seed=k)[0] for k, row in enumerate(x)])
    y[:, 3] = np.nan
    weights = rng.uniform(0.5, 2.0, y.shape)
    weights[:, 3] = 0.0
    for w in (weights, weights[0]):
        options = {"weights": w, "lengths": rng.integers(25, 41, 30)}
        expected = fit_curves("gaussian_offset", x, y, **options)
        assert expected.converged.all()
        assert_same(on_fake_device("gaussian_offset", x, y, **options)[0], expected)


@on_host
@pytest.mark.parametrize("team", [1, 32])
def test_rank_deficient_and_hopeless_fits(team, monkeypatch):
    """Cholesky fails and QR takes over; combinations that no data determine; bad starts; second tries and max_iter."""
    monkeypatch.setattr(batch_cuda, "LONG", 1 if team == 32 else 512)
    x = np.linspace(0.0, 3.0, 24)
    rng = np.random.default_rng(0)
    y = 2.0 * np.exp(-1.3 * x) + 0.01 * rng.standard_normal((20, 24))
    text = "a*exp(-b*x) + c*exp(-d*x)"
    p0 = np.tile([1.0, 1.0, 1.0, 1.0], (20, 1))
    p0[4] = [1.0, 1.0, np.nan, 1.0]
    p0[5] = [1.0, -400.0, 1.0, 1.0]
    y[6] = rng.standard_normal(24)
    for second_try in (True, False):
        expected = fit_curves(text, x, y, p0=p0, max_iter=12, second_try=second_try)
        found, _ = on_fake_device(text, x, y, p0=p0, max_iter=12, second_try=second_try)
        np.testing.assert_array_equal(found.status <= FitStatus.TOO_FEW_POINTS, expected.status <= -2)
        same = found.status == expected.status
        assert same.mean() > 0.7
        rests = (found.status > 0) & (expected.status > 0)
        np.testing.assert_allclose(found.rss[rests], expected.rss[rests], rtol=1e-6)
    assert found.status[4] == FitStatus.NONFINITE_START


@on_host
@pytest.mark.parametrize("team", [1, 32])
def test_undetermined_parameters(team, monkeypatch):
    """Two collinear columns beside one that is determined: the same NaN, the same standard error."""
    monkeypatch.setattr(batch_cuda, "LONG", 1 if team == 32 else 512)
    y = 2.0 * X + 1.0 + 0.1 * np.random.default_rng(0).standard_normal((6, 40))
    p0 = [1.0, 0.5, 0.0]
    expected = fit_curves("a*x + b*x + c", X, y, p0=p0)
    found, _ = on_fake_device("a*x + b*x + c", X, y, p0=p0)
    np.testing.assert_array_equal(np.isnan(found.stderr), [[True, True, False]] * 6)
    np.testing.assert_array_equal(found.undetermined, expected.undetermined)
    np.testing.assert_allclose(found.stderr[:, 2], expected.stderr[:, 2], rtol=1e-9)
    np.testing.assert_allclose(found.rss, expected.rss, rtol=1e-12)
    flat, _ = on_fake_device("a*exp(-b*x) + c", X, np.repeat([[0.0], [3.0]], 40, axis=1), p0=[1.0, 1.0, 1.0])
    np.testing.assert_array_equal(flat.undetermined, [[False, True, False]] * 2)


@on_host
def test_two_predictors_and_several_starts():
    """Points with two coordinates; a formula whose best three candidates are followed to the end."""
    rng = np.random.default_rng(0)
    x2 = rng.uniform(0.0, 2.0, (20, 30, 2))
    y2 = 2.0 * np.exp(-x2[..., 0]) + 0.5 * x2[..., 1] + 0.02 * rng.standard_normal((20, 30))
    options = {"p0": {"a": 1.0, "b": 0.5, "c": 1.0}}
    for x in (x2, x2[0]):
        expected = fit_curves("a*exp(-b*x0) + c*x1", x, y2, **options)
        assert_same(on_fake_device("a*exp(-b*x0) + c*x1", x, y2, **options)[0], expected)
    x = np.linspace(0.0, 4.0, 30)
    y = 2.0 * np.exp(-1.1 * x) + 0.02 * rng.standard_normal((20, 30))
    expected = fit_curves("a*exp(-b*x)", x, y)
    found, counts = on_fake_device("a*exp(-b*x)", x, y)
    assert_same(found, expected)
    assert counts["begin"] == 3


@on_host
def test_compaction_changes_nothing(monkeypatch):
    """Stopping after each iteration, gathering what is left: the same bits as in one launch, in any thread order."""
    y = peaks()
    first, counts = on_fake_device("gaussian_offset", X, y)
    monkeypatch.setattr(batch_cuda, "STEPS", 1)
    for order in (0, 1):
        again, more = on_fake_device("gaussian_offset", X, y, order=order)
        assert more["iterate"] > counts["iterate"]
        for name in ("params", "covariance", "rss", "status", "n_iter", "n_evaluations"):
            assert getattr(again, name).tobytes() == getattr(first, name).tobytes(), name


@on_host
def test_batches_by_memory_and_arrays_of_the_device():
    """A small device takes the fits in several batches; data of CuPy stay there; both give the same bits."""
    y = peaks()
    sigma = np.random.default_rng(0).uniform(0.5, 2.0, y.shape)
    p0 = [3.0, 0.0, 0.7, 0.0]
    whole, one = on_fake_device("gaussian_offset", X, y, p0=p0, sigma=sigma)
    parts, several = on_fake_device("gaussian_offset", X, y, p0=p0, sigma=sigma, memory=100_000)
    assert several["prepare"] > one["prepare"]
    with fake_cupy.installed() as cupy:
        there = cupy.asarray(y)
        fake_cupy.counts.clear()
        stayed = fit_curves("gaussian_offset", X, there, p0=p0, sigma=cupy.asarray(sigma))
        assert fake_cupy.counts["syncs"] == one["syncs"] + 1  # the least sigma, one number
        brought = fit_curves("gaussian_offset", X, there, p0=p0, sigma=cupy.asarray(sigma), device="cpu")
        guessed = fit_curves("gaussian_offset", cupy.asarray(X), there)
    assert stayed.device == "cuda:0"
    assert brought.device == "cpu"
    for other in (parts, stayed):
        assert isinstance(other.params, np.ndarray)
        for name in ("params", "covariance", "rss", "status", "n_iter"):
            assert getattr(other, name).tobytes() == getattr(whole, name).tobytes(), name
    assert_same(guessed, fit_curves("gaussian_offset", X, y))
    with pytest.raises(MemoryError, match=r"fit_curves of \d+ fits at once ran out of memory on the device"):
        on_fake_device("gaussian_offset", X, y, p0=p0, memory=3000)


@on_host
def test_long_fits_one_by_one_on_the_whole_device(monkeypatch):
    """The grid adds up the points of one fit: bounds, weights, QR, a bad row; as on the processor."""
    monkeypatch.setattr(batch_cuda, "LONG", 1)
    monkeypatch.setattr(batch_cuda, "HUGE", 1000)
    monkeypatch.setattr(batch_whole, "BLOCK_POINTS", 300)
    x = np.linspace(-4.0, 4.0, 1101)
    y = peaks(3, x)
    y[2, 700] = np.nan
    options = {"p0": [3.0, 0.0, 0.7, 0.0], "weights": np.where(np.arange(1101) % 7 == 0, 0.0, 1.5 + np.sin(x))}
    for bounds in (None, {"offset": (-0.4, 0.4), "sigma": (0.0, 0.7)}):
        expected = fit_curves("gaussian_offset", x, y, bounds=bounds, **options)
        found, counts = on_fake_device("gaussian_offset", x, y, bounds=bounds, **options)
        assert_same(found, expected)
        assert counts["sums_of_one"] == found.n_iter.sum() + 3
        assert counts["survey_one"] == 2 * counts["prepare_one"] == 6
        assert not {"prepare", "begin", "iterate"} & set(counts)
    assert expected.on_bound.any()
    line = 2.0 * x + 1.0 + 0.1 * np.random.default_rng(0).standard_normal((1, 1101))
    found, _ = on_fake_device("a*x + b*x + c", x, line, p0=[1.0, 0.5, 0.0])
    np.testing.assert_array_equal(found.undetermined, [[True, True, False]])
    again, _ = on_fake_device("a*x + b*x + c", x, line, p0=found.params, gtol=1e-6)
    assert again.n_iter[0] == 0  # at rest where it begins
    assert again.status[0] == FitStatus.GTOL


@on_host
def test_starts_of_long_fits_are_searched_by_the_whole_device(monkeypatch):
    """Candidates of a formula, with and without bounds, the best three followed; as by a warp."""
    monkeypatch.setattr(batch_cuda, "LONG", 1)
    monkeypatch.setattr(batch_whole, "BLOCK_POINTS", 100)
    x = np.linspace(0.0, 4.0, 300)
    y = 2.0 * np.exp(-np.array([[1.1], [0.6]]) * x) + 0.02 * np.random.default_rng(0).standard_normal((2, 300))
    y[1, 7] = np.inf
    for bounds in (None, {"a": (0.0, 1.9)}):
        expected, by_warps = on_fake_device("a*exp(-b*x)", x, y, bounds=bounds)
        monkeypatch.setattr(batch_cuda, "HUGE", 200)
        found, counts = on_fake_device("a*exp(-b*x)", x, y, bounds=bounds)
        monkeypatch.setattr(batch_cuda, "HUGE", 10_000)
        assert_same(found, expected)
        assert by_warps["search"] == 1
        assert counts["rank_one"] == counts["trial_one"] > 0
        assert not {"search", "begin"} & set(counts)
    assert expected.on_bound[0, 0]


def test_where_fits_run(monkeypatch):
    """Names of devices, models without source, no CuPy; "auto" stays here for few points."""
    y = peaks(3)
    with pytest.raises(ValueError, match="received device='gpu'"):
        fit_curves("gaussian_offset", X, y, device="gpu")
    with fake_cupy.installed(), pytest.raises(ValueError, match="expected a formula or a library model"):
        fit_curves(lambda x, a: a * x, X, y, p0=[1.0], device="cuda")
    assert fit_curves("gaussian_offset", X, y, device="auto").device == "cpu"
    monkeypatch.setattr(batch_cuda.device, "driver_version", lambda: None)
    with fake_cupy.missing():
        with pytest.raises(ImportError, match="needs CuPy"):
            fit_curves("gaussian_offset", X, y, device="cuda")
        monkeypatch.setattr(batch_cuda, "AUTO_POINTS", 1)
        assert fit_curves("gaussian_offset", X, y, device="auto").device == "cpu"

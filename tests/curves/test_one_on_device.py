"""One curve on a device through `curve_fit` and `NonlinearLeastSquares`: as on the processor, or refused with words."""

import fake_cupy
import host_cuda
import numpy as np
import pytest

pytest.importorskip("sympy")
pytest.importorskip("numba")

from sosolve import NonlinearLeastSquares, curve_fit
from sosolve.curves import batch_cuda, one_on_device
from sosolve.scipy_api import FitError

pytestmark = pytest.mark.skipif(bool(host_cuda.reason_not_to_run()), reason=host_cuda.reason_not_to_run() or "can run")

FORMULA = "a*exp(-(x - mu)**2/(2*sigma**2)) + c"
X = np.linspace(-4.0, 4.0, 300)
Y = 3.0 * np.exp(-((X - 0.3) ** 2) / (2.0 * 0.7**2)) + 1.0 + 0.1 * np.random.default_rng(0).standard_normal(300)
P0 = [2.0, 0.1, 1.0, 0.5]


@pytest.fixture
def cupy(monkeypatch):
    """Put the fake CuPy in place, and let the whole device share the points of these fits."""
    monkeypatch.setattr(batch_cuda, "LONG", 1)
    monkeypatch.setattr(batch_cuda, "HUGE", 100)
    with fake_cupy.installed() as module:
        yield module


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sigma": 0.1 + 0.01 * np.arange(300), "absolute_sigma": True, "gtol": 1e-12},
        {"p0": P0, "bounds": ([0.0, -1.0, 0.0, 0.0], [5.0, 1.0, 2.0, 0.9])},
    ],
    ids=["plain", "sigma", "bounds"],
)
def test_curve_fit_agrees(cupy, options):
    """Parameters and covariance, with a parameter on its bound too; data on the device stay there."""
    here = curve_fit(FORMULA, X, Y, **options)
    there = curve_fit(FORMULA, X, Y, device="cuda", **options)
    assert fake_cupy.counts["sums_of_one"] > 0
    spread = np.sqrt(np.diag(here[1]))
    assert (np.abs(here[0] - there[0]) <= 1e-6 * spread).all()
    np.testing.assert_allclose(there[1], here[1], atol=1e-6 * spread.max() ** 2)
    if "p0" in options:
        stayed = curve_fit(FORMULA, cupy.asarray(X), cupy.asarray(Y), **options)
        assert (np.abs(here[0] - stayed[0]) <= 1e-6 * spread).all()
        back = curve_fit(FORMULA, cupy.asarray(X), cupy.asarray(Y), device="cpu", **options)
        np.testing.assert_array_equal(back[0], here[0])


def test_curve_fit_says_what_does_not_go_there(cupy):
    """Functions, robust losses, covariance matrices, fits that fail and parameters that the data do not determine."""
    with pytest.raises(ValueError, match="received a Python function with device='cuda'"):
        curve_fit(lambda x, a: a * x, X, Y, device="cuda")
    with pytest.raises(ValueError, match="received loss, full_output for a fit on a device"):
        curve_fit(FORMULA, X, Y, P0, device="cuda", loss="huber", full_output=True)
    with pytest.raises(ValueError, match="received a covariance matrix as sigma"):
        curve_fit(FORMULA, X, Y, P0, np.eye(300), device="cuda")
    with pytest.raises(FitError, match="on cuda:0 the fit reached max_iter") as caught:
        curve_fit(FORMULA, X, Y, [2.0, 2.0, 1.0, 0.5], device="cuda", max_nfev=1)
    assert caught.value.result.x.shape == (4,)
    with pytest.warns(UserWarning, match="the data do not determine all of them"):
        assert np.isinf(curve_fit("a*x + b*x", X, X, [1.0, 0.5], device="cuda")[1]).all()


def test_the_estimator_agrees(cupy):
    """Parameters, errors and predictions; where it ran."""
    for options in ({}, {"bounds": {"c": (0.0, 0.9)}, "p0": dict(zip(["a", "mu", "sigma", "c"], P0, strict=True))}):
        here = NonlinearLeastSquares(FORMULA, **options).fit(X[:, None], Y)
        there = NonlinearLeastSquares(FORMULA, device="cuda", max_iter=50, **options).fit(X[:, None], Y)
        assert (there.device_, here.device_) == ("cuda:0", "cpu")
        assert there.result_.converged
        assert any("iterations on cuda:0" in line for line in there.diagnosis_)
        np.testing.assert_allclose(there.theta_, here.theta_, rtol=1e-7)
        np.testing.assert_allclose(there.covariance_, here.covariance_, atol=1e-9)
        np.testing.assert_allclose(there.predict(X[:3, None]), here.predict(X[:3, None]), rtol=1e-7)
    weights = np.random.default_rng(0).integers(0, 3, 300)
    here = NonlinearLeastSquares(FORMULA).fit(X[:, None], Y, weights)
    there = NonlinearLeastSquares(FORMULA, device="cuda").fit(X[:, None], Y, weights)
    np.testing.assert_allclose(there.theta_, here.theta_, rtol=1e-7)


def test_the_estimator_says_what_does_not_go_there(cupy, monkeypatch):
    """Each obstacle by name; "auto" then stays on the processor."""
    monkeypatch.setattr(one_on_device, "AUTO_SINGLE", 1)
    for options, words in (
        ({"loss": "huber"}, "loss='huber'"),
        ({"fixed": {"c": 1.0}}, "fixed parameters"),
        ({"solver": "dogleg", "tol": 1e-9}, "solver='dogleg', tol=1e-09"),
    ):
        with pytest.raises(ValueError, match=words):
            NonlinearLeastSquares(FORMULA, device="cuda", **options).fit(X[:, None], Y)
        assert NonlinearLeastSquares(FORMULA, device="auto", **options).fit(X[:, None], Y).device_ == "cpu"
    assert NonlinearLeastSquares(FORMULA, device="auto").fit(X[:, None], Y).device_ == "cuda:0"
    with fake_cupy.missing():
        assert NonlinearLeastSquares(FORMULA, device="auto").fit(X[:, None], Y).device_ == "cpu"

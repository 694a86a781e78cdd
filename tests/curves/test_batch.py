"""Many fits at once: each at its own optimum, whatever its neighbours hold, on any number of threads."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.stats import t as student

pytest.importorskip("sympy")
pytest.importorskip("numba")

from sosolve.curves import library, parse
from sosolve.curves.batch import fit_curves
from sosolve.curves.batch_result import CurvesResult, FitStatus
from sosolve.kernels import cache, pool

GAUSS = "a*exp(-(x - mu)**2/(2*sigma**2)) + offset"
X = np.linspace(-5.0, 5.0, 50)


def peaks(m, seed=0, noise=0.1, x=X):
    """Return m noisy Gaussian peaks and the parameters that made them."""
    rng = np.random.default_rng(seed)
    low, high = [1.0, -1.5, 0.5, -1.0], [5.0, 1.5, 1.5, 1.0]
    true = rng.uniform(low, high, size=(m, 4))
    a, mu, sigma, offset = true.T[:, :, None]
    y = a * np.exp(-((x - mu) ** 2) / (2 * sigma**2)) + offset
    return y + noise * rng.standard_normal(y.shape), true


def tight(formula, x, y, p0, sigma=1.0, bounds=(-np.inf, np.inf)):
    """Return SciPy's optimum to the last digits and its covariance from the exact Jacobian."""
    scale = np.broadcast_to(1.0 / np.asarray(sigma), y.shape)
    found = least_squares(
        lambda p: scale * (formula.value(x, p) - y),
        p0,
        jac=lambda p: scale[:, None] * formula.jacobian(x, p),
        bounds=bounds,
        method="lm" if np.isinf(bounds).all() else "trf",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    p = found.x
    for _ in range(10 if np.isinf(bounds).all() else 0):  # SciPy stops at the rounding of the sum, Gauss-Newton below
        p = p - np.linalg.lstsq(scale[:, None] * formula.jacobian(x, p), scale * (formula.value(x, p) - y))[0]
    J, rss = scale[:, None] * formula.jacobian(x, p), np.sum(np.square(scale * (formula.value(x, p) - y)))
    return p, np.linalg.inv(J.T @ J) * rss / (len(y) - len(p)), rss


@pytest.mark.parametrize("automatic", [False, True])
@pytest.mark.parametrize(
    ("name", "true"),
    [
        ("gaussian_offset", [3.0, 0.3, 0.8, 0.5]),
        ("exponential_decay_offset", [3.0, 0.8, 0.4]),
        ("michaelis_menten", [3.0, 2.0]),
        ("logistic4", [0.3, 3.0, 1.5, 2.0]),
        ("power_law", [2.0, 0.7]),
        ("sine", [2.0, 0.31, 0.5, 0.3]),
        ("double_exponential", [3.0, 3.0, 1.0, 0.4]),
        ("lorentzian", [2.0, 2.0, 0.6]),
        ("linear", [1.0, 2.0]),
    ],
)
def test_library_models_reach_the_optimum(name, true, automatic):
    """Parameters, sum of squares and covariance equal those of SciPy at its tightest, from p0 and from a guess."""
    form = library.model(name)
    x = np.linspace(0.1, 6.0, 60)
    y = form.formula.value(x, true) + 0.05 * np.random.default_rng(1).standard_normal((8, 60))
    result = fit_curves(form if automatic else name, x, y, p0=None if automatic else true)
    assert result.converged.all()
    assert result.names == form.parameters
    for k in range(8):
        best, covariance, rss = tight(form.formula, x, y[k], true)
        scale = np.sqrt(np.diag(covariance))
        assert np.abs(result.params[k] - best).max() < 1e-7 * scale.max()
        np.testing.assert_allclose(result.params[k], best, rtol=1e-8)
        np.testing.assert_allclose(result.rss[k], rss, rtol=1e-12)
        np.testing.assert_allclose(
            result.covariance[k], covariance, rtol=1e-5, atol=1e-7 * np.outer(scale, scale).max()
        )
        np.testing.assert_allclose(result.stderr[k], scale, rtol=1e-6)


def callable_gauss(x, a, mu, sigma, offset):
    return a * np.exp(-((x - mu) ** 2) / (2.0 * sigma**2)) + offset


def jac_gauss(x, a, mu, sigma, offset):
    z = (x - mu) / sigma
    e = np.exp(-0.5 * z * z)
    return e, a * e * z / sigma, a * e * z * z / sigma, 1.0


@pytest.mark.parametrize("jac", [None, jac_gauss])
def test_callable_equals_formula(jac):
    """A function that Numba compiles, with differences or its own derivatives."""
    y, true = peaks(30)
    true[:, 1] = np.where(np.arange(30) < 3, 0.0, true[:, 1])  # starts of exactly 0 have no size for a step
    exact = fit_curves(GAUSS, X, y, p0=true)
    found = fit_curves(callable_gauss, X, y, p0=true, jac=jac)
    assert found.converged.all()
    assert found.names == ("a", "mu", "sigma", "offset")
    np.testing.assert_allclose(found.params, exact.params, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found.stderr, exact.stderr, rtol=1e-6)
    np.testing.assert_allclose(found.predict(X), exact.predict(X), rtol=1e-7, atol=1e-7)


def test_callable_that_cannot_be_compiled_or_started():
    """The message has Numba's reason in short; a function has no start of its own."""
    y, _ = peaks(2)

    def written(x, a):
        return float(json.dumps(x)) * a

    with pytest.raises(TypeError, match=r"received the model 'written', which cannot be compiled: .+ expected .+ use"):
        fit_curves(written, X, y, p0=[1.0])
    with pytest.raises(TypeError, match="it returns"):
        fit_curves(lambda x, a: (x, a), X, y, p0=[1.0])
    with pytest.raises(ValueError, match="pass p0"):
        fit_curves(callable_gauss, X, y)
    with pytest.raises(ValueError, match="each by its name"):
        fit_curves(lambda x, *p: x * p[0], X, y, p0=[1.0])
    with pytest.raises(TypeError, match="expected a formula"):
        fit_curves(3.0, X, y)


def test_callable_that_raises_fails_alone():
    """An exception inside compiled code is a model that is not finite there."""

    def picky(x, a, b):
        if b < 0.0:
            raise ValueError("negative")
        return a * np.exp(-b * x)

    x = np.linspace(0.0, 3.0, 30)
    y = np.tile(2.0 * np.exp(-0.7 * x), (3, 1))
    result = fit_curves(picky, x, y, p0=[[1.0, 0.5], [1.0, -0.5], [1.0, 0.5]])
    assert result.status[1] == FitStatus.NONFINITE_START
    np.testing.assert_allclose(result.params[[0, 2]], [[2.0, 0.7]] * 2, rtol=1e-9)


def test_bounds():
    """The optimum on a bound is SciPy's; the bound parameter has no error, the free ones have their own."""
    formula = parse(GAUSS, 1)
    y, true = peaks(20)
    lower, upper = np.array([0.0, -1.0, 0.7, -np.inf]), np.array([4.0, 1.0, np.inf, 0.5])
    start = np.clip(true, lower + 0.01, upper - 0.01)
    result = fit_curves(GAUSS, X, y, p0=start, bounds=(lower, upper))
    named = fit_curves(
        GAUSS, X, y, p0=start, bounds={"a": (0.0, 4.0), "mu": (-1, 1), "sigma": (0.7, np.inf), "offset": (-np.inf, 0.5)}
    )
    np.testing.assert_array_equal(result.params, named.params)
    assert result.converged.all()
    assert result.on_bound.any(axis=0).all()
    for k in range(20):
        _, _, rss = tight(formula, X, y[k], start[k], bounds=(lower, upper))
        assert result.rss[k] <= rss * (1.0 + 1e-9)
        free = ~result.on_bound[k]
        np.testing.assert_array_equal(np.isnan(result.stderr[k]), ~free)
        J = formula.jacobian(X, result.params[k])[:, free]
        own = np.linalg.inv(J.T @ J) * result.rss[k] / 46
        np.testing.assert_allclose(result.covariance[k][np.ix_(free, free)], own, rtol=1e-6, atol=1e-12)
    per_fit = fit_curves(GAUSS, X, y, p0=start, bounds=(np.tile(lower, (20, 1)), upper))
    np.testing.assert_array_equal(result.params, per_fit.params)


def test_sigma_weights_and_own_x():
    """sigma per point and per fit; weights are 1 / sigma^2; absolute_sigma leaves rss out of the covariance."""
    formula, rng = parse(GAUSS, 1), np.random.default_rng(3)
    x = np.sort(rng.uniform(-5.0, 5.0, (10, 50)), axis=1)
    y, true = peaks(10, x=x)
    for sigma in (0.5, rng.uniform(0.05, 0.5, 50), rng.uniform(0.05, 0.5, (10, 50))):
        result = fit_curves(GAUSS, x, y, p0=true, sigma=sigma)
        weighted = fit_curves(GAUSS, x, y, p0=true, weights=1.0 / np.square(sigma))
        absolute = fit_curves(GAUSS, x, y, p0=true, sigma=sigma, absolute_sigma=True)
        np.testing.assert_allclose(result.params, weighted.params, rtol=1e-9)
        for k in range(10):
            s = np.broadcast_to(sigma, (10, 50))[k]
            best, covariance, rss = tight(formula, x[k], y[k], true[k], s)
            np.testing.assert_allclose(result.params[k], best, rtol=1e-8, atol=1e-9)
            np.testing.assert_allclose(result.covariance[k], covariance, rtol=1e-5, atol=1e-10)
            np.testing.assert_allclose(absolute.covariance[k] * rss / 46, covariance, rtol=1e-5, atol=1e-10)


def test_ragged_in_every_form():
    """Lists, lengths and zero weights (over NaN) give the same fits."""
    rng = np.random.default_rng(4)
    y, true = peaks(12)
    lengths = rng.integers(20, 51, 12)
    padded, weights = y.copy(), np.ones_like(y)
    for k, n in enumerate(lengths):
        padded[k, n:] = np.nan
        weights[k, n:] = 0.0
    lists = fit_curves(GAUSS, [X[:n] for n in lengths], [row[:n] for row, n in zip(y, lengths, strict=True)], p0=true)
    by_lengths = fit_curves(GAUSS, X, padded, p0=true, lengths=lengths)
    by_weights = fit_curves(GAUSS, X, padded, p0=true, weights=weights)
    for result in (by_lengths, by_weights):
        np.testing.assert_array_equal(result.n_points, lengths)
        np.testing.assert_allclose(result.params, lists.params, rtol=1e-12)
        np.testing.assert_allclose(result.covariance, lists.covariance, rtol=1e-9)
    one = fit_curves(GAUSS, X[: lengths[5]], y[5:6, : lengths[5]], p0=true[5])
    np.testing.assert_array_equal(one.params[0], lists.params[5])


def test_several_predictors():
    """x of shape (n, d) and (m, n, d)."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((40, 2))
    y = 2.0 * x[:, 0] * np.exp(0.3 * x[:, 1]) + 0.01 * rng.standard_normal((5, 40))
    shared = fit_curves("a*x0*exp(b*x1)", x, y, p0=[1.0, 0.0])
    own = fit_curves("a*x0*exp(b*x1)", np.tile(x, (5, 1, 1)), y, p0=[1.0, 0.0])
    np.testing.assert_array_equal(shared.params, own.params)
    np.testing.assert_allclose(shared.params, [[2.0, 0.3]] * 5, atol=0.02)
    np.testing.assert_allclose(shared.predict(x), own.predict(np.tile(x, (5, 1, 1))), rtol=1e-14)


def test_bad_fits_leave_their_neighbours_alone():
    """NaN, inf, a bad start, huge numbers: a status each, NaN parameters, and the same bits for everybody else."""
    y, true = peaks(40)
    clean = fit_curves(GAUSS, X, y, p0=true)
    bad, start = y.copy(), true.copy()
    bad[3, 7], bad[11, 0] = np.nan, np.inf
    bad[20] = 1e300
    start[30, 2] = np.nan
    start[31, 2] = 0.0
    result = fit_curves(GAUSS, X, bad, p0=start)
    assert result.status[[3, 11]].tolist() == [FitStatus.NONFINITE_DATA] * 2
    assert result.status[[30, 31]].tolist() == [FitStatus.NONFINITE_START] * 2
    assert np.isnan(result.params[[3, 11, 30, 31]]).all()
    assert np.isnan(result.stderr[[3, 11, 30, 31]]).all()
    same = np.setdiff1d(np.arange(40), [3, 11, 20, 30, 31])
    np.testing.assert_array_equal(result.params[same], clean.params[same])
    np.testing.assert_array_equal(result.covariance[same], clean.covariance[same])
    text = result.summary()
    assert "points that are not finite" in text
    assert "not finite at the start" in text
    assert result[3].status is FitStatus.NONFINITE_DATA
    assert "leave this curve out" in result[3].message


def test_degenerate_fits():
    """Constant y, as many points as parameters, fewer, a parameter twice, data without noise, one iteration."""
    x = np.linspace(0.0, 4.0, 30)
    constant = fit_curves("a*exp(-b*x)", x, np.full((1, 30), 2.0), p0=[1.0, 0.5])
    np.testing.assert_allclose(constant.params, [[2.0, 0.0]], atol=1e-10)
    assert np.isnan(constant.r_squared[0])
    zero = fit_curves("a*exp(-b*x)", x, np.zeros((1, 30)), p0=[1.0, 0.5])
    assert zero.rss[0] < 1e-20
    equal = fit_curves("a + b*x", x[:2], np.array([[1.0, 2.0]]), p0=[0.0, 0.0])
    assert equal.converged[0]
    assert np.isnan(equal.stderr).all()
    fewer = fit_curves("a + b*x", x[:1], np.array([[1.0]]), p0=[0.0, 0.0])
    assert fewer.status[0] == FitStatus.TOO_FEW_POINTS
    noise = np.random.default_rng(6).standard_normal(30)
    twice = fit_curves("(a + b)*x + c", x, (3.0 * x + 1.0 + 0.1 * noise)[None], p0=[1.0, 0.0, 0.0])
    assert twice.converged[0]
    np.testing.assert_array_equal(np.isnan(twice.stderr[0]), [True, True, False])
    np.testing.assert_array_equal(twice.undetermined[0], [True, True, False])
    assert np.isfinite(twice.params).all()
    assert "not determined by the data: a in 1, b in 1" in twice.summary()
    exact = fit_curves("a*exp(-b*x)", x, (2.0 * np.exp(-0.3 * x))[None], p0=[1.0, 1.0])
    np.testing.assert_allclose(exact.params, [[2.0, 0.3]], rtol=1e-12)
    once = fit_curves("a*exp(-b*x)", x, (2.0 * np.exp(-0.3 * x))[None], p0=[1.0, 5.0], max_iter=1, second_try=False)
    assert once.status[0] == FitStatus.MAX_ITER
    assert np.isfinite(once.params).all()


@pytest.mark.parametrize("scale", [1e-140, 1e-12, 1e12, 1e140])
def test_units_of_y(scale):
    """Parameters in proportion to y follow its units."""
    y, true = peaks(5)
    units = np.array([scale, 1.0, 1.0, scale])
    plain, scaled = fit_curves(GAUSS, X, y, p0=true), fit_curves(GAUSS, X, scale * y, p0=true * units)
    assert scaled.converged.all()
    np.testing.assert_allclose(scaled.params / units, plain.params, rtol=1e-8, atol=1e-9)


def test_ill_conditioned_fit_is_repaired_by_qr():
    """A polynomial of degree 9 on 0 .. 1: J'J has lost all digits, QR has not."""
    x = np.linspace(0.0, 1.0, 60)
    text = " + ".join(f"c{k}*x**{k}" for k in range(10))
    y = np.sin(6.0 * x) + 0.01 * np.random.default_rng(7).standard_normal((3, 60))
    result = fit_curves(text, x, y, p0=np.zeros(10))
    V = np.vander(x, 10, increasing=True)
    assert result.converged.all()
    for k in range(3):
        best, rss, *_ = np.linalg.lstsq(V, y[k], rcond=None)
        np.testing.assert_allclose(result.params[k], best, rtol=1e-6)
        np.testing.assert_allclose(result.rss[k], rss[0], rtol=1e-10)
        R = np.linalg.qr(V, mode="r")
        inverse = np.linalg.inv(R)
        np.testing.assert_allclose(result.stderr[k], np.sqrt((inverse**2).sum(1) * rss[0] / 50), rtol=1e-6)


def test_any_number_of_threads_gives_the_same_bits():
    """So do float32 data in another memory order, a read-only array and a single fit."""
    y, true = peaks(1500)
    with pool.thread_limit(1):
        one = fit_curves(GAUSS, X, y, p0=true)
    with pool.thread_limit(4):
        four = fit_curves(GAUSS, X, y, p0=true)
    y.flags.writeable = False
    fortran = fit_curves(GAUSS, X, np.asfortranarray(y), p0=true)
    for result in (four, fortran):
        for name in ("params", "covariance", "rss", "status", "n_iter"):
            np.testing.assert_array_equal(getattr(one, name), getattr(result, name))
    np.testing.assert_array_equal(fit_curves(GAUSS, X, y[700:701], p0=true[700]).params[0], one.params[700])
    single = fit_curves(GAUSS, X, y.astype(np.float32), p0=true)
    np.testing.assert_allclose(single.params, one.params, rtol=1e-4, atol=1e-4)


def test_intervals_cover():
    """A 95 % interval covers 93.5 to 96.5 % over 2000 data sets, in one call."""
    formula, true = parse("a*exp(-b*x) + c", 1), np.array([3.0, 0.8, 0.5])
    x = np.linspace(0.0, 6.0, 40)
    y = formula.value(x, true) + 0.1 * np.random.default_rng(8).standard_normal((2000, 40))
    result = fit_curves(formula, x, y)
    assert result.converged.all()
    inside = np.abs(result.params - true) <= student.ppf(0.975, 37) * result.stderr
    assert (inside.mean(axis=0) > 0.935).all()
    assert (inside.mean(axis=0) < 0.965).all()


def test_formula_without_a_start():
    """Candidates over rates, places and widths find the optimum that the truth leads to."""
    y, true = peaks(60)
    guessed, known = fit_curves(GAUSS, X, y), fit_curves(GAUSS, X, y, p0=true)
    np.testing.assert_allclose(guessed.rss, known.rss, rtol=1e-9)
    with pytest.raises(ValueError, match="pass p0"):
        fit_curves("a*exp(-b*x) + c*exp(-d*x**f) + g*sin(h*x)", X, y)


def test_result_as_a_table():
    """DataFrame, one fit, some fits, pickle and predictions."""
    y, true = peaks(6)
    result = fit_curves(GAUSS, X, y, p0=dict(zip(("a", "mu", "sigma", "offset"), true.T, strict=True)))
    frame = result.to_pandas()
    assert list(frame.columns[:5]) == ["a", "mu", "sigma", "offset", "a_stderr"]
    np.testing.assert_array_equal(frame["mu"], result.params[:, 1])
    assert len(result) == 6
    assert set(frame["status"]) <= {"FTOL", "GTOL", "XTOL"}
    one = result[2]
    assert one.converged
    assert one.params["sigma"] == result.params[2, 2]
    assert one.covariance.shape == (4, 4)
    some = result[result.rss > np.median(result.rss)]
    assert isinstance(some, CurvesResult)
    assert len(some) == 3
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again.predict(X), result.predict(X))
    formula = parse(GAUSS, 1)
    np.testing.assert_allclose(result.predict(X)[4], formula.value(X, result.params[4]), rtol=1e-13)
    assert fit_curves(GAUSS, X, y, p0=true, covariance=False).covariance is None
    assert "6 converged" in repr(result)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (dict(y=np.zeros(50)), ValueError, "y of shape"),
        (dict(x=X[:49]), ValueError, "x of shape"),
        (dict(y=np.zeros((2, 50), complex)), TypeError, "complex128"),
        (dict(p0=[1.0, 2.0]), ValueError, "p0 of shape"),
        (dict(p0=[1.0, np.nan, 1.0, 0.0]), ValueError, "finite"),
        (dict(p0={"a": 1.0}), ValueError, "none for mu"),
        (dict(sigma=0.0), ValueError, "positive"),
        (dict(sigma=1.0, weights=1.0), ValueError, "one of them"),
        (dict(weights=np.full(50, -1.0)), ValueError, "not negative"),
        (dict(sigma=np.ones(7)), ValueError, "sigma or weights of shape"),
        (dict(bounds=(0.0, 1.0)), ValueError, "outside its bounds"),
        (dict(bounds={"width": (0, 1)}), ValueError, "unknown names"),
        (dict(bounds={"a": (2, 1)}), ValueError, "lower < upper"),
        (dict(lengths=[1, 99]), ValueError, "lengths"),
        (dict(y=[np.zeros(50), np.zeros(40)], lengths=[50, 40]), ValueError, "lengths with y as a list"),
        (dict(y=[[0.0] * 50] * 2, lengths=[50, 40]), ValueError, "leave lengths out"),
        (dict(max_iter=0), ValueError, "max_iter"),
        (dict(ftol=-1.0), ValueError, "ftol"),
        (dict(jac=jac_gauss), ValueError, "jac with a formula"),
        (dict(model=parse("a*x0 + b*x1", 2)), ValueError, "1 predictors"),
    ],
)
def test_misuse_is_named(change, error, match):
    """What was received, expected, and what to do."""
    given = dict(model=GAUSS, x=X, y=np.zeros((2, 50)), p0=[2.0, 0.1, 1.0, 0.0]) | change
    model, x, y = given.pop("model"), given.pop("x"), given.pop("y")
    with pytest.raises(error, match=match) as caught:
        fit_curves(model, x, y, **given)
    assert "received" in str(caught.value)
    assert "expected" in str(caught.value)


def test_progress_bar(capsys, monkeypatch):
    """A bar on the error stream; without rich, a message."""
    pytest.importorskip("rich")
    y, true = peaks(600)
    fit_curves(GAUSS, X, y, p0=true, progress=True)
    shown = capsys.readouterr()
    assert "600/600" in shown.err
    assert shown.out == ""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(ImportError, match="pip install rich"):
        fit_curves(GAUSS, X, y, p0=true, progress=True)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="the platform has no signals for threads")
def test_interrupt_leaves_the_pool_usable():
    """Ctrl-C in a long run raises within seconds; the next call gives what it gave before."""
    y, true = peaks(300)
    before = fit_curves(GAUSS, X, y, p0=true)
    many = np.tile(y, (1000, 1))
    main, sent = threading.get_ident(), []

    def interrupt():
        time.sleep(0.1)
        sent.append(time.perf_counter())
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        fit_curves(GAUSS, X, many, p0=[2.0, 0.0, 1.0, 0.0])
    assert time.perf_counter() - sent[0] < 5.0
    thread.join()
    np.testing.assert_array_equal(fit_curves(GAUSS, X, y, p0=true).params, before.params)


PROGRAM = """
import json, numpy as np
from sosolve.curves import batch_code, batch_chunk, parse
from sosolve.curves.batch import fit_curves
x = np.linspace(-5, 5, 50)
text = "a*exp(-(x - mu)**2/(2*sigma**2)) + offset"
fit_curves(text, x, np.ones((2, 50)) * np.exp(-x**2), p0=[1.0, 0.1, 1.0, 0.0])
found = [batch_chunk.fit_chunk, *batch_code.passes_of_formula(parse(text, 1)).keep[:2]]
print(json.dumps([sum(f.stats.cache_misses.values()) for f in found]))
"""


@pytest.mark.skipif(cache.folder() is None, reason="the cache is off")
def test_second_process_compiles_nothing():
    """What this process has compiled is found on disk by the next one."""
    y, true = peaks(2)
    fit_curves(GAUSS, X, y, p0=true)
    out = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, env=os.environ)
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout) == [0, 0, 0]


@pytest.mark.slow
def test_a_million_fits():
    """Time and memory in proportion: 1e6 fits of 50 points with p0, y not copied."""
    y, true = peaks(1000)
    many = np.tile(y, (1000, 1))
    result = fit_curves(GAUSS, X, many, p0=np.tile(true, (1000, 1)), covariance=False)
    assert result.converged.all()
    np.testing.assert_array_equal(result.params[-1000:], result.params[:1000])


def test_generated_exponential():
    """The exponential that vectorises: a few ulp over the whole range, 0, inf and NaN where they belong."""
    x = np.concatenate([np.linspace(-706.0, 709.0, 20_001), [-800.0, 800.0, 1e308, -1e308, 0.0, np.nan]])
    result = fit_curves("a*exp(b*x)", np.linspace(0.0, 1.0, 9), np.exp(np.linspace(0.0, 1.0, 9))[None], p0=[1.0, 1.0])
    result.params[:] = 1.0
    with np.errstate(over="ignore"):
        expected = np.exp(x)
    np.testing.assert_allclose(result.predict(x)[0], expected, rtol=1e-15, atol=1e-306)


@pytest.mark.parametrize("name", ["exponential_decay", "lorentzian", "michaelis_menten", "logistic4", "sine"])
def test_success_is_claimed_at_stationary_points_alone(name):
    """Noise as data and starts of any size: what says converged has a gradient of 0 to rounding."""
    rng, formula = np.random.default_rng(9), library.model(name).formula
    m, n, p = 150, 20, formula.size
    x = rng.standard_normal(n)
    y = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-8, 8, (m, 1))
    start = rng.standard_normal((m, p)) * 10.0 ** rng.integers(-4, 4, (m, p))
    result = fit_curves(name, x, y, p0=start)
    assert result.converged.sum() > 20
    for k in np.flatnonzero(result.converged):
        J, r = formula.jacobian(x, result.params[k]), formula.value(x, result.params[k]) - y[k]
        norms = np.linalg.norm(J, axis=0)
        cosines = np.abs(J.T @ r) / np.where(norms > 0.0, norms, np.inf) / np.linalg.norm(r)
        assert cosines.max() < 2e-5

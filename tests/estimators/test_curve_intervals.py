"""Intervals: Wald's, profiles against direct refits, the bootstrap, bands, and how often they cover."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from sklearn.exceptions import ConvergenceWarning

from sosolve import NonlinearLeastSquares, curve_fit
from sosolve.curves import parse

X = np.linspace(0.0, 4.0, 25)[:, None]
TEXT = "a*exp(-b*x) + c"
Y = parse(TEXT, 1).value(X, [3.0, 0.9, 1.0]) + 0.1 * np.random.default_rng(5).standard_normal(25)


def test_wald_is_t_times_the_error():
    """With t of the degrees of freedom; the normal quantile with absolute sigma."""
    est = NonlinearLeastSquares(TEXT).fit(X, Y)
    t = scipy.stats.t.ppf(0.95, 22)
    for name, (low, high) in est.conf_int(0.9).items():
        assert (high - low) / 2.0 == pytest.approx(t * est.stderr_[name])
        assert (high + low) / 2.0 == pytest.approx(est.params_[name])
    est = NonlinearLeastSquares(TEXT, absolute_sigma=True).fit(X, Y, sigma=np.full(25, 0.1))
    low, high = est.conf_int(0.9)["b"]
    assert (high - low) / 2.0 == pytest.approx(scipy.stats.norm.ppf(0.95) * est.stderr_["b"])


@pytest.mark.parametrize(
    ("absolute", "sigma"),
    [(False, None), (False, np.linspace(5.0, 20.0, 25)), (True, np.full(25, 0.1)), (True, np.linspace(0.05, 0.2, 25))],
)
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_profile_agrees_with_a_direct_refit(name, absolute, sigma):
    """At each end the sum of squares of a refit with SciPy, the parameter held, has risen by t^2 s^2: to 1e-6."""
    formula, level, root = parse(TEXT, 1), 0.95, 1.0 if sigma is None else 1.0 / sigma
    est = NonlinearLeastSquares(TEXT, absolute_sigma=absolute).fit(X, Y, sigma=sigma)
    j = est.param_names_.index(name)
    t = scipy.stats.norm.ppf(0.975) if absolute else scipy.stats.t.ppf(0.975, est.dof_)
    level = est.rss_ + t**2 * (1.0 if absolute else est.rss_ / est.dof_)

    def rss(value):
        def r(rest):
            return root * (formula.value(X, np.insert(rest, j, value)) - Y)

        start = np.delete(est.theta_, j)
        return 2.0 * scipy.optimize.least_squares(r, start, xtol=1e-15, ftol=1e-15, gtol=1e-15).cost

    error = est.stderr_[name]
    for end, side in zip(est.conf_int(0.95, "profile", X, Y, sigma=sigma)[name], (-1.0, 1.0), strict=True):
        direct = scipy.optimize.brentq(
            lambda v: rss(v) - level, est.theta_[j], est.theta_[j] + side * 6.0 * error, xtol=1e-12
        )
        assert end == pytest.approx(direct, rel=1e-6)


def test_profile_of_a_straight_line_is_wald():
    """Without curvature both agree, with weights too."""
    w = np.random.default_rng(0).integers(1, 4, 25).astype(float)
    est = NonlinearLeastSquares("a + b*x").fit(X, Y, sample_weight=w)
    profile = est.conf_int(0.9, "profile", X, Y, sample_weight=w)
    for name, ends in est.conf_int(0.9).items():
        np.testing.assert_allclose(profile[name], ends, rtol=1e-7)


def test_profile_ends():
    """One parameter; a bound; a side that never ends; a fixed parameter."""
    one = NonlinearLeastSquares("exp(-b*x)").fit(X, Y / 4.0)
    low, high = one.conf_int(method="profile", X=X, y=Y / 4.0)["b"]
    assert low < one.params_["b"] < high
    bounded = NonlinearLeastSquares(TEXT, bounds={"b": (0.88, 5.0)}, fixed={"c": 1.0}).fit(X, Y)
    ends = bounded.conf_int(method="profile", X=X, y=Y)
    assert ends["b"][0] == 0.88
    assert ends["c"] == (1.0, 1.0)
    # a step between two points: its place is known, its steepness has no upper end
    x = np.arange(10.0)[:, None]
    y = (x[:, 0] > 4.5) + 0.02 * np.random.default_rng(0).standard_normal(10)
    step = NonlinearLeastSquares("expit(k*(x - 4.5))", p0=[5.0], bounds={"k": (0.0, 50.0)}).fit(x, y)
    assert step.conf_int(method="profile", X=x, y=y)["k"][1] == 50.0


def test_bootstrap():
    """Its intervals are near Wald's, the same for the same seed, with threads too, and with a robust loss."""
    est = NonlinearLeastSquares(TEXT, random_state=0).fit(X, Y)
    first = est.conf_int(method="bootstrap", X=X, y=Y, n_resamples=200)
    assert first == est.conf_int(method="bootstrap", X=X, y=Y, n_resamples=200, n_jobs=2)
    for name, (low, high) in est.conf_int().items():
        width = high - low
        assert abs(first[name][0] - low) < 0.35 * width
        assert abs(first[name][1] - high) < 0.35 * width
    robust = NonlinearLeastSquares(TEXT, loss="huber", random_state=0).fit(X, Y)
    assert robust.conf_int(method="bootstrap", X=X, y=Y, n_resamples=30)["b"][0] < robust.params_["b"]


def test_bootstrap_without_what_tells_an_error():
    """Parameters that move together get NaN, the others their interval; so do all without degrees of freedom."""
    y = Y - Y.min()
    with pytest.warns(ConvergenceWarning, match="do not determine a, b"):
        both = NonlinearLeastSquares("a*b*exp(-c*x)", p0=[1.0, 1.0, 1.0], random_state=0).fit(X, y)
    alone = NonlinearLeastSquares("a*exp(-c*x)", p0=[1.0, 1.0], random_state=0).fit(X, y)
    found = both.conf_int(method="bootstrap", X=X, y=y, n_resamples=30)
    want = alone.conf_int(method="bootstrap", X=X, y=y, n_resamples=30)
    assert np.isnan(found["a"] + found["b"]).all()
    assert np.allclose(found["c"], want["c"], rtol=1e-6)
    through = NonlinearLeastSquares("a*exp(-c*x) + d", p0=[1.0, 1.0, 0.0], fixed=["d"]).fit(X[:2], Y[:2])
    for method in ("wald", "bootstrap"):
        ends = through.conf_int(method=method, X=X[:2], y=Y[:2])
        assert np.isnan(ends["a"] + ends["c"]).all()
        assert ends["d"] == (0.0, 0.0)


def test_data_and_methods_are_checked():
    """Data are needed, must be those of the fit; levels and methods have names."""
    est = NonlinearLeastSquares(TEXT).fit(X, Y)
    with pytest.raises(ValueError, match=r"method='profile' without data.*X=X, y=y"):
        est.conf_int(method="profile")
    with pytest.raises(ValueError, match=r"the fit had .*expected the data of the fit"):
        est.conf_int(method="profile", X=X, y=Y + 1.0)
    with pytest.raises(ValueError, match=r"y with 2 columns, where the fit had 1"):
        est.conf_int(method="profile", X=X, y=np.stack([Y, Y], axis=1))
    with pytest.raises(ValueError, match="method='exact'"):
        est.conf_int(method="exact")
    with pytest.raises(ValueError, match="level=95"):
        est.conf_int(95)
    with pytest.raises(ValueError, match="n_resamples=3"):
        est.conf_int(method="bootstrap", X=X, y=Y, n_resamples=3)
    with pytest.raises(ValueError, match="kind='both'"):
        est.predict_interval(X, kind="both")
    robust = NonlinearLeastSquares(TEXT, loss="huber").fit(X, Y)
    with pytest.raises(ValueError, match="profile needs the sum of squares"):
        robust.conf_int(method="profile", X=X, y=Y)


def test_bands():
    """The error of the curve is sqrt(j' C j); a prediction adds the noise; sigma of new rows counts."""
    est = NonlinearLeastSquares(TEXT).fit(X, Y)
    J = parse(TEXT, 1).jacobian(X, est.theta_)
    value, error = est.predict(X, return_std=True)
    np.testing.assert_allclose(value, est.predict(X))
    np.testing.assert_allclose(error, np.sqrt(np.einsum("ij,jk,ik->i", J, est.covariance_, J)))
    t = scipy.stats.t.ppf(0.975, 22)
    low, high = est.predict_interval(X)
    np.testing.assert_allclose((high - low) / 2.0, t * error)
    low, high = est.predict_interval(X, kind="prediction")
    np.testing.assert_allclose((high - low) / 2.0, t * np.sqrt(error**2 + est.rss_ / 22))
    weighted = NonlinearLeastSquares(TEXT).fit(X, Y, sigma=np.full(25, 2.0))
    with pytest.raises(ValueError, match="sigma=None for a prediction after a fit with sigma"):
        weighted.predict_interval(X, kind="prediction")
    again = weighted.predict_interval(X, kind="prediction", sigma=2.0)
    np.testing.assert_allclose(again, (low, high), rtol=1e-7)
    f = NonlinearLeastSquares(lambda x, a, b, c: a * np.exp(-b * x) + c, p0=[1, 1, 1]).fit(X, Y)
    np.testing.assert_allclose(f.predict(X, return_std=True)[1], error, rtol=1e-6)


@pytest.mark.slow
def test_coverage():
    """Over 300 simulated sets, 95 % intervals of parameters, curve and observations cover 92 to 98 %."""
    rng = np.random.default_rng(11)
    formula, theta = parse(TEXT, 1), np.array([3.0, 0.9, 1.0])
    clean, point = formula.value(X, theta), np.array([[1.3]])
    there = formula.value(point, theta)[0]
    est = NonlinearLeastSquares(TEXT, p0=theta).fit(X, clean[:, None] + 0.1 * rng.standard_normal((25, 300)))
    ends = np.array([list(found.values()) for found in est.conf_int()])
    low, high = est.predict_interval(point)
    lowest, highest = est.predict_interval(point, kind="prediction")
    new = there + 0.1 * rng.standard_normal(300)
    inside = [*((ends[..., 0] < theta) & (theta < ends[..., 1])).T, (low < there) & (there < high)]
    covered = np.array([np.mean(found) for found in [*inside, (lowest < new) & (new < highest)]])
    assert covered.shape == (5,)
    assert (np.abs(covered - 0.95) <= 0.03).all(), covered


@pytest.mark.parametrize(("loss", "noise"), [("soft_l1", "contaminated"), ("huber", "heteroscedastic")])
def test_robust_intervals_cover(loss, noise):
    """95 % intervals hold the truth in 95 % of simulated data sets; 2000 of them are in doc/decisions.md."""
    rng = np.random.default_rng(5)
    n, sets, theta = 100, 600, np.array([2.5, 1.3, 0.5])
    x = np.linspace(0.0, 4.0, n)
    e = rng.normal(size=(n, sets))
    if noise == "contaminated":
        e *= 0.1 * np.where(rng.random((n, sets)) < 0.1, 10.0, 1.0)
    else:
        e *= (0.05 + 0.05 * x)[:, None]
    y = (theta[0] * np.exp(-theta[1] * x) + theta[2])[:, None] + e
    fit = NonlinearLeastSquares("a*exp(-b*x) + c", p0=theta, loss=loss).fit(x[:, None], y)
    ends = np.array([[ci[name] for name in "abc"] for ci in fit.conf_int(0.95)])
    covered = ((ends[..., 0] <= theta) & (theta <= ends[..., 1])).mean(axis=0)
    assert (covered > 0.92).all()
    assert (covered < 0.98).all()


def test_curve_fit_and_the_estimator_agree_on_robust_errors():
    """One formula for both; it does not shrink as the rescaled Jacobian's does."""
    rng = np.random.default_rng(3)
    x = np.linspace(0.0, 4.0, 60)
    y = 2.5 * np.exp(-1.3 * x) + 0.5 + rng.normal(0.0, 0.05, 60) * np.where(rng.random(60) < 0.1, 10.0, 1.0)
    text = "a*exp(-b*x) + c"
    est = NonlinearLeastSquares(text, p0=[1.0, 1.0, 1.0], loss="soft_l1", f_scale=0.05).fit(x[:, None], y)
    settings = {"method": "trf", "loss": "soft_l1", "f_scale": 0.05}
    popt, pcov = curve_fit(text, x, y, **settings)
    assert np.allclose(popt, est.theta_, rtol=1e-8)
    assert np.allclose(pcov, est.covariance_, rtol=1e-6)
    assert np.allclose(curve_fit(text, x, y, absolute_sigma=True, **settings)[1], pcov)
    half = curve_fit(text, x, y, sigma=np.full(60, 0.5), **{**settings, "f_scale": 0.1})[1]
    assert np.allclose(half, pcov, rtol=1e-6)
    _, estimated = curve_fit(text, x, y, **{**settings, "f_scale": None})
    assert np.isfinite(estimated).all()
    custom = curve_fit(text, x, y, method="trf", f_scale=0.05, loss=lambda z: [z * 0 + z, z**0, 0 * z])[1]
    plain = curve_fit(text, x, y, method="trf")
    assert np.allclose(np.diag(custom), np.diag(plain[1]), rtol=2.0)

"""curve_fit, least_squares and minimize: the contract, the hard data that fail elsewhere, the best point kept."""

import functools
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from nist_problems import load
from scipy.optimize import Bounds, OptimizeResult, OptimizeWarning, rosen, rosen_der, rosen_hess, rosen_hess_prod
from scipy.sparse.linalg import aslinearoperator

import sosolve
from sosolve.objectives.residual_jacobians import SteppedDifferences, group_columns
from sosolve.scipy_api import FitError, curve_fit, least_squares, minimize

TRUE = np.array([2.5, 1.3, 0.5])
X = np.linspace(0.0, 4.0, 60)


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


Y = decay(X, *TRUE) + 0.05 * np.random.default_rng(0).standard_normal(X.size)


def exact_fit(y=Y, x=X, start=TRUE):
    """Return the optimum and its covariance by Newton's method on the exact Jacobian, to rounding."""
    p = np.array(start, dtype=float)
    for _ in range(50):
        e = np.exp(-p[1] * x)
        J = np.stack([e, -p[0] * x * e, np.ones_like(x)], axis=1)
        r = y - decay(x, *p)
        p = p + np.linalg.lstsq(J, r, rcond=None)[0]
    return p, np.linalg.inv(J.T @ J) * float(r @ r) / (x.size - 3)


# ---------------------------------------------------------------------- curve_fit: the contract


@pytest.mark.parametrize("model", [decay, "a*exp(-b*x) + c", functools.partial(decay)])
@pytest.mark.parametrize("method", [None, "lm", "trf", "dogbox"])
def test_parameters_and_covariance_are_exact(model, method):
    """Each form of a model and each method gives the optimum to ten digits and its covariance to eight."""
    p, C = exact_fit()
    popt, pcov = curve_fit(model, X, Y, method=method)
    np.testing.assert_allclose(popt, p, rtol=1e-9)
    np.testing.assert_allclose(pcov, C, rtol=1e-7)


def test_same_as_scipy_with_sigma():
    """Scalars, vectors and matrices of sigma mean what they mean in SciPy."""
    sigma = np.linspace(0.5, 2.0, X.size)
    for given in (0.3, sigma, np.diag(sigma**2)):
        for absolute in (False, True):
            ours = curve_fit(decay, X, Y, sigma=given, absolute_sigma=absolute)
            theirs = scipy.optimize.curve_fit(decay, X, Y, sigma=given, absolute_sigma=absolute)
            np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
            np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-4)


def test_full_output():
    """The dictionary has MINPACK's entries, and R'R is J'J."""
    popt, _, info, message, ier = curve_fit(decay, X, Y, full_output=True)
    assert ier in (1, 2, 3)
    assert isinstance(message, str)
    R = np.triu(info["fjac"][:, :3].T)
    J = info["result"].jac[:, info["ipvt"] - 1]
    np.testing.assert_allclose(R.T @ R, J.T @ J, rtol=1e-10)
    np.testing.assert_allclose(info["fvec"], decay(X, *popt) - Y, atol=1e-14)
    assert info["result"].history[-1].value == pytest.approx(info["result"].cost)


def test_formula_over_columns():
    """Rows of a (k, m) array are x0, x1, ...; a mapping's columns go by name."""
    t, dose = np.linspace(0.0, 1.0, 20), np.linspace(2.0, 3.0, 20) ** 2
    y = 2.0 * t - 0.5 * dose + 1.0
    for formula, x in (("a*x0 + b*x1 + c", np.stack([t, dose])), ("a*t + b*dose + c", {"t": t, "dose": dose})):
        np.testing.assert_allclose(curve_fit(formula, x, y)[0], [2.0, -0.5, 1.0], rtol=1e-8)


def test_covariance_of_gh4555b_in_forty_digits():
    """The covariance of a case in SciPy's tests, whose reference there has six digits; this one is from mpmath."""
    rng = np.random.default_rng(408113519974467917)
    x = np.linspace(0, 4, 50)
    y = decay(x, 2.5, 1.3, 0.5) + 0.2 * rng.normal(size=x.size)
    exact = [
        [0.01589724566419274, 0.00692070707110299, -0.0007474412119813526],
        [0.00692070707110299, 0.02050577134886417, 0.005399773042372783],
        [-0.0007474412119813526, 0.005399773042372783, 0.002783396227550706],
    ]
    np.testing.assert_allclose(curve_fit(decay, x, y)[1], exact, rtol=1e-8)
    np.testing.assert_allclose(curve_fit(decay, x, y, xtol=1e-12)[1], exact, rtol=1e-9)


def test_keywords_of_least_squares_reach_it():
    """A robust loss resists an outlier; callbacks are called; unknown keywords are refused."""
    y = Y.copy()
    y[5] = 50.0
    seen = []
    popt, _ = curve_fit(decay, X, y, method="trf", loss="cauchy", f_scale=0.05, callback=seen.append)
    np.testing.assert_allclose(popt, TRUE, atol=0.1)
    assert seen
    with pytest.raises(TypeError):
        curve_fit(decay, X, Y, kaboom=1)


# ---------------------------------------------------------------------- curve_fit: hard data


def test_x_rescaled_by_1e9():
    """A change of the unit of x changes the parameters and the covariance by that factor alone."""
    p, C = exact_fit()
    popt, pcov = curve_fit(decay, X * 1e9, Y, p0=[1.0, 1e-9, 1.0])
    unit = np.array([1.0, 1e-9, 1.0])
    np.testing.assert_allclose(popt, p * unit, rtol=1e-8)
    np.testing.assert_allclose(pcov, C * np.outer(unit, unit), rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-12, 1e-150, 1e12])
def test_y_in_other_units(unit):
    """Nothing stops early because numbers are small."""
    p, C = exact_fit()
    popt, pcov = curve_fit(decay, X, Y * unit, p0=[unit, 1.0, unit])
    units = np.array([unit, 1.0, unit])
    np.testing.assert_allclose(popt, p * units, rtol=1e-8)
    np.testing.assert_allclose(pcov / np.outer(units, units), C, rtol=1e-6)


def test_an_offset_of_1e9_under_a_signal_of_2():
    """The signal survives, to the digits that the offset leaves of it."""
    y = decay(X, 2.0, 1.3, 1e9)
    popt, pcov = curve_fit(decay, X, y, p0=[1.0, 1.0, 1e9])
    np.testing.assert_allclose(popt, [2.0, 1.3, 1e9], rtol=1e-5)
    assert np.isfinite(pcov).all()


def test_parameters_equal_to_zero():
    """A start at 0, and an optimum at 0, are ordinary."""
    popt, pcov = curve_fit(decay, X, Y, p0=[0.0, 0.0, 0.0])
    assert np.isfinite(popt).all()
    x = np.linspace(-1.0, 1.0, 20)
    y = 2.0 * x + 0.01 * (x**2 - np.mean(x**2))
    popt, pcov = curve_fit(lambda x, a, b: a * x + b, x, y)
    assert abs(popt[1]) < 1e-15
    np.testing.assert_allclose(pcov, curve_fit(lambda x, a, b: a * x + b, x, y + 5.0)[1], rtol=1e-6, atol=1e-20)


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.float16, ">f8"])
def test_kinds_of_numbers(kind):
    """y and x of any real kind are fitted in double precision."""
    x = np.arange(20).astype(kind)
    y = np.round(100 * np.exp(-0.2 * np.arange(20))).astype(kind)
    popt, pcov = curve_fit(lambda x, a, b: a * np.exp(-b * x), x, y, p0=[50.0, 0.1])
    reference = curve_fit(lambda x, a, b: a * np.exp(-b * x), x.astype(float), y.astype(float), p0=[50.0, 0.1])
    np.testing.assert_allclose(popt, reference[0], rtol=1e-10)
    assert np.isfinite(pcov).all()


def test_model_that_works_in_float32():
    """A model that casts to float32 is differentiated with steps that float32 can see."""
    popt, _ = curve_fit(lambda x, a, b: (a * x + b).astype(np.float32), X, 2.0 * X + 1.0)
    np.testing.assert_allclose(popt, [2.0, 1.0], rtol=1e-4)


def test_nan_for_some_parameters_is_a_rejected_step():
    """A model that does not exist beyond a point is fitted on this side of it."""

    def root(x, a, b):
        return a * np.sqrt(x - b)

    x = np.linspace(1.0, 5.0, 30)
    popt, _ = curve_fit(root, x, 3.0 * np.sqrt(x - 0.9), p0=[1.0, 0.5])
    np.testing.assert_allclose(popt, [3.0, 0.9], rtol=1e-6)


def test_starts_and_data_at_the_edge():
    """An optimal start, data without noise, y = 0, sizes of 1e-12 beside 1e12, a start that overflows."""
    p, _ = exact_fit()
    np.testing.assert_allclose(curve_fit(decay, X, Y, p0=p)[0], p, rtol=1e-9)
    np.testing.assert_allclose(curve_fit(decay, X, decay(X, *TRUE), p0=TRUE)[0], TRUE, rtol=1e-12)
    np.testing.assert_allclose(curve_fit(lambda x, a, b: a * x + b, X, np.zeros(60))[0], 0.0, atol=1e-14)
    x, noise = X + 1.0, 0.01 * np.random.default_rng(1).standard_normal(60)
    popt, _ = curve_fit(lambda x, a, b: a * 1e12 * x + b * 1e-12 * x**2, x, x + x**2 + noise, p0=[1e-13, 1e11])
    np.testing.assert_allclose(popt, [1e-12, 1e12], rtol=0.05)
    popt, _ = curve_fit(lambda x, b: np.exp(b * x), X, np.exp(-0.7 * X), p0=[120.0])
    np.testing.assert_allclose(popt, [-0.7], rtol=1e-9)
    with pytest.raises(FitError, match="not finite at the starting point"):  # residuals shrink, derivatives do not
        curve_fit(lambda x, a, b: a * np.exp(b * x), X, Y, p0=[1.0, 150.0])


def test_start_on_a_symmetry_and_flat_bound():
    """Equal starts of two equal terms, and a bound where the model is flat, are left for the true optimum."""
    x = np.linspace(0.0, 5.0, 80)
    y = np.exp(-0.3 * x) + 2.0 * np.exp(-2.0 * x)
    popt, _ = curve_fit(lambda x, a, b, c, d: a * np.exp(-b * x) + c * np.exp(-d * x), x, y, p0=np.ones(4))
    np.testing.assert_allclose(sorted(popt), [0.3, 1.0, 2.0, 2.0], rtol=1e-5)
    popt, _ = curve_fit(lambda x, c: np.sqrt(x**2 + c**2), x, np.sqrt(x**2 + 9.0), p0=[0.0], bounds=(0, 10))
    np.testing.assert_allclose(popt, [3.0], rtol=1e-6)


def test_what_cannot_be_estimated_is_inf_with_a_warning():
    """A parameter that the model ignores, whatever the scale, and as many points as parameters."""
    for unit in (1e-9, 1.0, 1e9):
        with pytest.warns(OptimizeWarning, match=r"Covariance of the parameters could not be estimated.*\[1\]"):
            popt, pcov = curve_fit(lambda x, a, b, unit=unit: a * x * unit, X, X, p0=[1.0, 1.0])
        assert np.isinf(pcov).all()
        assert popt[0] == pytest.approx(1.0 / unit)
    with pytest.warns(OptimizeWarning):
        curve_fit(lambda x, a, b: a * x + b, [0.0, 1.0], [1.0, 2.0])


# ---------------------------------------------------------------------- curve_fit: bad input


def returns(value):
    return lambda x, a, b: value


def broken(x, a, b):
    raise ZeroDivisionError("mine")


BAD = {
    "p0 outside bounds": (dict(p0=[5.0, 1.0, 1.0], bounds=(0.0, 2.0)), ValueError, "Initial guess is outside"),
    "p0 too long": (dict(p0=[1.0] * 5), TypeError, "positional argument"),
    "p0 text": (dict(p0=["a", "b", "c"]), ValueError, "`p0` must hold numbers"),
    "p0 NaN": (dict(p0=[1.0, np.nan, 1.0]), ValueError, "`p0` must be finite: received nan for parameter 1"),
    "p0 complex": (dict(p0=[1.0, 1j, 1.0]), ValueError, "`p0` must be real"),
    "crossed bounds": (dict(bounds=([1, 1, 1], [2, 0, 2])), ValueError, "strictly less .* parameter 1"),
    "bounds of wrong length": (dict(bounds=([0, 0], [1, 1])), ValueError, "Inconsistent shapes"),
    "NaN bound": (dict(bounds=(np.nan, 1.0)), ValueError, "strictly less"),
    "lm with bounds": (dict(bounds=(0, 9), method="lm"), ValueError, "only works for unconstrained"),
    "sigma of wrong length": (dict(sigma=[1.0, 2.0]), ValueError, "`sigma` has incorrect shape"),
    "sigma zero": (dict(sigma=np.zeros(60)), ValueError, "`sigma` must be positive"),
    "sigma not definite": (dict(sigma=-np.eye(60)), ValueError, "positive definite"),
    "sigma NaN": (dict(sigma=np.full(60, np.nan)), ValueError, "`sigma` must not contain"),
    "unknown method": (dict(method="bfgs"), ValueError, "`method` must be one of"),
    "unknown scheme": (dict(jac="4-point"), ValueError, "`jac` must be one of"),
    "no tolerance": (dict(ftol=None, xtol=None, gtol=None), ValueError, "At least one of the tolerances"),
    "no evaluations": (dict(maxfev=-1), ValueError, "`max_nfev` must be None or positive"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    """Each is refused with its kind of error and a message that names it."""
    kwargs, kind, match = BAD[name]
    with pytest.raises(kind, match=match):
        curve_fit(decay, X, Y, **kwargs)


@pytest.mark.parametrize(
    ("f", "kind", "match"),
    [
        (returns(None), TypeError, "returned None"),
        (returns(np.ones(7)), ValueError, r"received shape \(7,\)"),
        (returns(np.ones((60, 1))), ValueError, "flatten"),
        (returns(np.ones(60) * 1j), ValueError, "must return real numbers"),
        (returns(["a"] * 60), ValueError, "must return real numbers"),
        (returns(np.full(60, np.nan)), ValueError, "not finite in the initial point"),
        (returns(np.full(60, np.inf)), ValueError, "not finite in the initial point"),
        (broken, ZeroDivisionError, "mine"),
        (lambda x: x, ValueError, "Unable to determine number of fit parameters"),
        ("a*__import__('os')", ValueError, "formula|received"),
        ("", ValueError, "formula|received"),
    ],
)
def test_bad_models(f, kind, match):
    """What a model must not do is named; its own exceptions pass."""
    with pytest.raises(kind, match=match):
        curve_fit(f, X, Y)


@pytest.mark.parametrize(
    ("x", "y", "match"),
    [
        ([], [], "must not be empty"),
        (X, np.full(60, np.nan), "`ydata` must not contain infs or NaNs"),
        (np.full(60, np.inf), Y, "`xdata` must not contain"),
        (X, Y * 1j, "`ydata` must hold real numbers"),
        (X, np.array(["a"] * 60), "`ydata` must hold real numbers"),
        (X, np.array([None] * 60), "`ydata`"),
        (X, Y[:, None], "at most 1 dimension"),
        (X, np.ma.masked_less(Y, 1.0), "must not be masked"),
        (X, Y[:-3], "one value for each y"),
    ],
)
def test_bad_data(x, y, match):
    """Data that are not finite real vectors of one length are refused."""
    with pytest.raises(ValueError, match=match):
        curve_fit(decay, x, y)


def test_fewer_points_than_parameters():
    """Refused by lm as in SciPy."""
    with pytest.raises(TypeError, match="The number of func parameters=3 must not"):
        curve_fit(decay, [1.0, 2.0], [1.0, 2.0])


def test_the_model_cannot_write_into_x():
    """x is handed over read-only and the caller's stays writable."""

    def writes(x, a):
        x[0] = 7.0
        return a * x

    x = X.copy()
    with pytest.raises(ValueError, match="read-only"):
        curve_fit(writes, x, Y)
    assert x.flags.writeable
    assert x[0] == X[0]


def test_forms_of_callables():
    """A method, an object, a partial and a numba function are models."""
    import numba

    class Model:
        def __call__(self, x, a, b, c):
            return decay(x, a, b, c)

        def method(self, x, a, b, c):
            return decay(x, a, b, c)

    p, _ = exact_fit()
    compiled = numba.njit(lambda x, a, b, c: a * np.exp(-b * x) + c)
    for f in (Model(), Model().method, functools.partial(decay, c=TRUE[2]), compiled):
        size = 2 if isinstance(f, functools.partial) else 3
        popt, _ = curve_fit(f, X, Y, p0=np.ones(size))
        np.testing.assert_allclose(popt, p[:size], rtol=0.1 if size == 2 else 1e-7)


# ---------------------------------------------------------------------- the best point is never lost


def test_best_point_kept_at_the_limit():
    """The error at the limit of evaluations is a RuntimeError that holds the best point."""
    with pytest.raises(RuntimeError, match="Optimal parameters not found") as caught:
        curve_fit(decay, X, Y, p0=[100.0, 9.0, 50.0], maxfev=4)
    error = caught.value
    assert isinstance(error, FitError)
    assert error.result.nfev <= 4
    assert error.result.cost == min(record.value for record in error.result.history)
    assert error.result.cost < error.result.history[0].value


def test_best_point_kept_at_an_exception_and_an_interrupt():
    """An exception passes unchanged with a note and the best point."""
    for kind in (KeyError, KeyboardInterrupt):
        calls = []

        def f(x, a, b, c, kind=kind, calls=calls):
            calls.append(1)
            if len(calls) > 12:
                raise kind("stop")
            return decay(x, a, b, c)

        with pytest.raises(kind) as caught:
            curve_fit(f, X, Y, p0=[100.0, 9.0, 50.0])
        assert "best point" in caught.value.__notes__[0]
        assert np.isfinite(caught.value.best_x).all()
        assert not np.array_equal(caught.value.best_x, [100.0, 9.0, 50.0])


def test_compiled_solver_gives_the_same():
    """After a few fits a formula runs compiled: the same optimum, and the same refusals."""
    for _ in range(5):
        curve_fit("a*exp(-b*x) + c", X, Y)
    p, C = exact_fit()
    sigma = np.linspace(0.5, 2.0, X.size)
    popt, pcov = curve_fit("a*exp(-b*x) + c", X, Y)
    np.testing.assert_allclose(popt, p, rtol=1e-8)
    np.testing.assert_allclose(pcov, C, rtol=1e-7)
    for absolute in (False, True):
        fast = curve_fit("a*exp(-b*x) + c", X, Y, sigma=sigma, absolute_sigma=absolute)
        slow = curve_fit("a*exp(-b*x) + c", X, Y, sigma=sigma, absolute_sigma=absolute, xtol=1e-12)
        np.testing.assert_allclose(fast[0], slow[0], rtol=1e-8)
        np.testing.assert_allclose(fast[1], slow[1], rtol=1e-6)
    with pytest.warns(OptimizeWarning):
        assert np.isinf(curve_fit("a*x + b - d", X, Y)[1]).all()
    with pytest.raises(ValueError, match="not finite in the initial point"):
        curve_fit("a*log(b*x - 100)", X, Y, p0=[1.0, 1.0])
    plane = np.stack([X, X**2])
    np.testing.assert_allclose(curve_fit("a*x0 + b*x1", plane, 2.0 * X - X**2)[0], [2.0, -1.0], rtol=1e-10)


@pytest.mark.parametrize("name", ["ENSO", "MGH10", "Rat43", "Misra1a"])
def test_formulas_need_no_start(name):
    """Without p0 a formula's start is searched for, with the outcome of the estimator."""
    problem = load(name)
    _, _, info, _, _ = curve_fit(problem.formula, problem.x[:, 0], problem.y, full_output=True)
    assert (info["fvec"] ** 2).sum() == pytest.approx(problem.residual_sum_of_squares, rel=1e-8)


def test_starts_of_formulas_respect_what_is_known():
    """Bounds, sigma in each form, a robust loss and two predictors; without enough points the start is ones."""
    x = np.linspace(0.0, 4.0, 30)
    text, y = "a*exp(-b*x) + c", 3.0 * np.exp(-20.0 * x) + 1.0
    want = [3.0, 20.0, 1.0]
    assert curve_fit(text, x, y, bounds=([0, 0, 0], [10, 50, 5]))[0] == pytest.approx(want)
    assert curve_fit(text, x, y, sigma=np.eye(30))[0] == pytest.approx(want)
    assert curve_fit(text, x, y, sigma=0.5)[0] == pytest.approx(want)
    spoilt = y + np.where(np.arange(30) == 20, 50.0, 0.0)
    assert curve_fit(text, x, spoilt, method="trf", loss="cauchy", f_scale=0.1)[0] == pytest.approx(want, abs=0.01)
    both = np.stack([x, x**2])
    assert curve_fit("a*exp(-b*x0) + c*x1", both, 2 * np.exp(-9 * x) + x**2)[0] == pytest.approx([2.0, 9.0, 1.0])
    with pytest.warns(OptimizeWarning):
        popt, _ = curve_fit(text, x[:2], y[:2], method="trf")
    assert np.isfinite(popt).all()
    with pytest.raises(ValueError, match="found no starting values"):
        curve_fit("a*log(-abs(b)*x - 1)", x, y)


def test_columns_whose_names_the_formula_does_not_use():
    """They are x, or x0 and x1, as for the estimator: not a parameter x beside a column that nothing uses."""
    x = np.linspace(0.1, 4.0, 40)
    y, want = 2.5 * np.exp(-1.3 * x) + 0.5, [2.5, 1.3, 0.5]
    for name in ("time (s)", 0, "a-b", "t"):
        assert curve_fit("a*exp(-b*x) + c", {name: x}, y)[0] == pytest.approx(want)
    assert curve_fit("a*exp(-b*t) + c", {"t": x}, y)[0] == pytest.approx(want)
    assert curve_fit("a*x0 + b*x1", {0: x, "two words": x**2}, 3.0 * x - x**2)[0] == pytest.approx([3.0, -1.0])
    table = {j: np.cos(j * x) for j in range(12)}  # a number in the formula names no column
    assert curve_fit("a*x0 + 10*b*x1", table, 3.0 * table[0] - table[1])[0] == pytest.approx([3.0, -0.1])
    pd = pytest.importorskip("pandas")
    assert curve_fit("a*exp(-b*x) + c", pd.DataFrame({"time (s)": x}), y)[0] == pytest.approx(want)


def test_models_of_the_library_go_by_name():
    """They begin at their own guess, which gives a width its sign; a slip of the pen is no constant."""
    x = np.linspace(0.0, 4.0, 30)
    y = np.exp(-((x - 2.0) ** 2))
    np.testing.assert_allclose(curve_fit("gaussian", x, y)[0], [1.0, 2.0, np.sqrt(0.5)], rtol=1e-7)
    with pytest.raises(ValueError, match=r"did you mean gaussian, .*; a constant is 1\*gausian"):
        curve_fit("gausian", x, y)
    with pytest.raises(ValueError, match="2 columns for the model 'gaussian', a curve over one predictor"):
        curve_fit("gaussian", np.stack([x, x]), y)
    for keywords, advice in (
        (
            {"weights": y},
            "pass sigma=1/sqrt(weights) where they multiply squares (sosolve.fit_curves), sigma=1/weights",
        ),
        ({"sample_weight": y}, "pass sigma=1/sqrt(sample_weight)"),
        ({"kwargs": {"c": 1.0}}, "bind further arguments with functools.partial"),
    ):
        with pytest.raises(TypeError, match=rf"curve_fit\(\) got .* '{min(keywords)}': {re.escape(advice)}"):
            curve_fit("a*x", x, y, **keywords)
    with pytest.raises(TypeError, match="missing 1") as caught:
        curve_fit(lambda x, a, b: a * x + b, x, y, p0=[1.0])
    assert "one starting value for each parameter" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match="interp") as caught:  # the model's own call, not that of the model
        curve_fit(lambda x, a: a * np.interp(x), x, y, p0=[1.0])
    assert not any("starting value" in note for note in getattr(caught.value, "__notes__", ()))


def test_default_starts_of_functions_are_told():
    """A function begins at ones, as in SciPy; what goes wrong from there says so."""
    x = np.linspace(0.0, 4.0, 30)
    with pytest.raises(ValueError, match="p0=None began at 1"):
        curve_fit(lambda x, a, b: a * np.exp(1000.0 * b * x), x, np.exp(-x))
    with pytest.raises(FitError, match="p0=None began at 1"):
        curve_fit(decay, X, Y, max_nfev=2)
    with pytest.raises(FitError) as told:
        curve_fit(decay, X, Y, p0=[1.0, 1.0, 1.0], max_nfev=2)
    assert "p0=None" not in str(told.value)
    with pytest.warns(OptimizeWarning, match="p0=None began at 1"):
        curve_fit(lambda x, a, b: (a + b) * x, x, x)
    far = curve_fit(lambda x, a, b: a * np.sin(b * x), x, np.sin(30.0 * x) + 5.0, full_output=True)
    assert "worse than a constant" in far[3]
    assert "worse than a constant" not in curve_fit(decay, X, Y, full_output=True)[3]


# ---------------------------------------------------------------------- least_squares


def rosenbrock(x):
    return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def test_result_has_scipys_fields():
    """Every field of SciPy's result is there, and the history."""
    ours = least_squares(rosenbrock, [-1.2, 1.0])
    theirs = scipy.optimize.least_squares(rosenbrock, [-1.2, 1.0])
    assert set(theirs) <= set(ours)
    assert isinstance(ours.history, sosolve.History)
    assert ours.success
    np.testing.assert_allclose(ours.x, [1.0, 1.0])


def test_active_mask_and_bounds():
    """The solution may lie exactly on a bound, is reported so, and no evaluation leaves the box."""

    def fun(x):
        assert (x <= [0.5, 9.0]).all()
        return rosenbrock(x)

    for method in ("trf", "dogbox"):
        result = least_squares(fun, [0.2, 1.0], bounds=Bounds([-5.0, -5.0], [0.5, 9.0]), method=method)
        assert result.x[0] == 0.5
        np.testing.assert_array_equal(result.active_mask, [1, 0])
        np.testing.assert_allclose(result.x[1], 0.25, rtol=1e-6)
        assert result.optimality < 1e-6


@pytest.mark.parametrize("loss", ["huber", "soft_l1", "cauchy", "arctan"])
def test_no_success_away_from_a_stationary_point(loss):
    """Outliers whose weights vanish do not hide the gradient of the rest."""
    y = Y.copy()
    y[::7] += 30.0

    def fun(p):
        return decay(X, *p) - y

    ours = least_squares(fun, [1.0, 1.0, 1.0], loss=loss, f_scale=0.05)
    theirs = scipy.optimize.least_squares(fun, [1.0, 1.0, 1.0], loss=loss, f_scale=0.05, ftol=1e-12, xtol=1e-12)
    assert not ours.success or ours.optimality < 1e-4 * max(1.0, np.abs(ours.history[0].grad_norm))
    assert ours.cost <= theirs.cost * (1.0 + 1e-3)


def tridiagonal(x):
    f = (3.0 - 2.0 * x) * x + 1.0
    f[1:] -= x[:-1]
    f[:-1] -= 2.0 * x[1:]
    return f


def tridiagonal_jac(x):
    n = x.size
    return scipy.sparse.diags_array([3.0 - 4.0 * x, -np.ones(n - 1), -2.0 * np.ones(n - 1)], offsets=[0, -1, 1])


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (-2.0, -0.45)])
def test_large_sparse(bounds):
    """2000 variables by LSMR: a sparse Jacobian, an operator and grouped differences agree."""
    n = 2000
    x0 = -np.ones(n)
    pattern = tridiagonal_jac(x0)
    runs = [
        least_squares(tridiagonal, x0, tridiagonal_jac, bounds),
        least_squares(tridiagonal, x0, lambda x: aslinearoperator(tridiagonal_jac(x)), bounds),
        least_squares(tridiagonal, x0, "3-point", bounds, jac_sparsity=pattern),
    ]
    for run in runs:
        assert run.success
        assert run.solver == "lsmr"
        assert run.nfev < 60
        assert run.optimality < 1e-6
        np.testing.assert_allclose(run.x, runs[0].x, atol=1e-6)
    assert scipy.sparse.issparse(runs[0].jac)


def test_columns_are_grouped():
    """A tridiagonal pattern needs three groups, each without a common row, and differences use them."""
    pattern = tridiagonal_jac(np.ones(50))
    groups = group_columns(pattern)
    assert len(groups) == 3
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(50))
    x = np.linspace(-1.0, 1.0, 50)
    for scheme, tolerance in (("2-point", 1e-6), ("3-point", 1e-9), ("cs", 1e-14)):
        differences = SteppedDifferences(tridiagonal, scheme, sparsity=pattern)
        J = differences(x, tridiagonal(x))
        np.testing.assert_allclose(J.toarray(), tridiagonal_jac(x).toarray(), atol=tolerance)
        assert differences.n_evaluations == (6 if scheme == "3-point" else 3)


def test_verbose_writes_only_when_asked(capsys):
    """Silence by default, one line with 1, more with 2."""
    for verbose, low, high in ((0, 0, 0), (1, 2, 2), (2, 3, 99)):
        least_squares(rosenbrock, [-1.2, 1.0], verbose=verbose)
        assert low <= len(capsys.readouterr().out.splitlines()) <= high


def test_global_state_is_left_alone():
    """Error state and warning filters are the caller's."""
    before, filters = np.geterr(), list(warnings.filters)
    curve_fit(decay, X, Y)
    least_squares(rosenbrock, [-1.2, 1.0])
    minimize(rosen, [1.2, 0.8])
    assert np.geterr() == before
    assert warnings.filters == filters


# ---------------------------------------------------------------------- minimize

NAMES = ["newton-cg", "newton-cholesky", "trust-region", "bfgs", "l-bfgs", "BFGS", "L-BFGS-B", "Newton-CG", "trust-ncg"]
NAMES += ["trust-krylov", "trust-exact", "dogleg", None]


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("given", [{}, {"jac": rosen_der}, {"hess": rosen_hess}, {"hessp": rosen_hess_prod}])
def test_minimize_finds_the_minimum_of_rosenbrock(method, given):
    """Each method with each set of derivatives."""
    if given:
        given = {"jac": rosen_der, **given}
    result = minimize(rosen, [1.2, 1.0, 0.8, 1.4], method=method, **given)
    assert result.success
    assert result.status == 0
    np.testing.assert_allclose(result.x, 1.0, atol=1e-5)
    assert result.fun == pytest.approx(rosen(result.x))
    assert {"jac", "nfev", "njev", "nhev", "nit", "message", "solver"} <= set(result)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e8])
@pytest.mark.parametrize("offset", [0.0, -3.0])
def test_minimize_neither_stops_early_nor_goes_on(scale, offset):
    """A minimum of 0 or below, and a function in other units, end at the minimum."""
    result = minimize(lambda x: scale * (rosen(x) + offset), [1.2, 0.8], jac=lambda x: scale * rosen_der(x))
    assert result.success
    assert result.nit < 100
    np.testing.assert_allclose(result.x, 1.0, atol=1e-3)


def test_minimize_jac_true_args_and_inverse_hessian():
    """jac=True evaluates once for both; args reach everything; hess_inv is near the inverse Hessian."""
    H = np.array([[3.0, 1.0], [1.0, 2.0]])
    calls = []

    def both(x, shift):
        calls.append(1)
        return 0.5 * (x - shift) @ H @ (x - shift), H @ (x - shift)

    result = minimize(both, [5.0, 5.0], args=(2.0,), jac=True)
    np.testing.assert_allclose(result.x, 2.0, atol=1e-5)
    assert result.nfev == len(calls)
    np.testing.assert_allclose(result.hess_inv, np.linalg.inv(H), atol=0.1)
    product = minimize(both, [5.0, 5.0], args=(2.0,), jac=True, method="l-bfgs").hess_inv
    assert product.shape == (2, 2)


def test_minimize_callbacks():
    """Both forms of callback, and StopIteration, as in SciPy."""
    seen = []

    def modern(intermediate_result):
        seen.append(intermediate_result)

    def classic(xk):
        seen.append(xk)
        raise StopIteration

    minimize(rosen, [1.2, 0.8], callback=modern)
    assert all(isinstance(state, OptimizeResult) and state.fun == rosen(state.x) for state in seen)
    seen.clear()
    result = minimize(rosen, [1.2, 0.8], callback=classic)
    assert len(seen) == 1
    assert result.status == 99
    assert not result.success


def test_minimize_limits_and_refusals():
    """Limits keep the best point; what is not offered is refused in words."""
    result = minimize(rosen, [-1.2, 1.0], options={"maxiter": 3})
    assert (result.status, result.nit) == (1, 3)
    assert result.fun < rosen(np.array([-1.2, 1.0]))
    assert minimize(rosen, [-1.2, 1.0], options={"maxfev": 20}).status == 1
    assert minimize(lambda x: np.nan, [1.0]).status == 3
    with pytest.raises(ValueError, match="Unknown solver"):
        minimize(rosen, [1.0, 1.0], method="Nelder-Mead")
    with pytest.raises(ValueError, match="constraints"):
        minimize(rosen, [1.0, 1.0], constraints={"type": "eq", "fun": rosen})
    with pytest.raises(ValueError, match="scalar"):
        minimize(lambda x: x, [1.0, 1.0])
    with pytest.warns(OptimizeWarning, match="Unknown solver options: kaboom"):
        minimize(rosen, [1.0, 1.0], options={"kaboom": 1})
    assert minimize(rosen, [1.2, 0.8], bounds=[(None, None), (-np.inf, np.inf)]).success


def test_functions_are_imported_when_asked_for():
    """`import sosolve` does not load scipy_api; the names are there."""
    code = (
        "import sys, sosolve; early = 'sosolve.scipy_api' in sys.modules; sosolve.curve_fit; "
        "print(early, 'curve_fit' in dir(sosolve))"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError):
        getattr(sosolve, "kaboom")  # noqa: B009


@pytest.mark.parametrize(("offset", "method"), [(1e9, "bfgs"), (1e9, "l-bfgs"), (1e8, None)])
def test_minimize_takes_longer_steps_where_differences_drown(offset, method):
    """A last bit of 1e-7 leaves central differences of 1e-5 two digits; longer steps come close to the minimum."""
    found = minimize(lambda x: offset + rosen(x), [-1.2, 1.0], method=method)
    np.testing.assert_allclose(found.x, 1.0, atol=5e-4)


def test_minimize_calls_no_noise_a_success():
    """Where f = 1e15 + g, a gradient of 0 is rounding."""
    found = minimize(lambda x: 1e15 + rosen(x), [0.0, 0.0])
    assert not found.success
    assert found.status == 2
    assert "give `jac`" in found.message
    bounded = minimize(lambda x: 1e15 + rosen(x), [0.0, 0.0], bounds=[(-1.0, 1.0), (0.0, 0.0)])
    assert not bounded.success
    assert minimize(lambda x: 1e15 + x @ x, [1.0], jac=lambda x: 2.0 * x).success


def long_jac(x, a, b, c):
    """Derivatives of `decay` that are 3 % too long, which hides from the fit."""
    return 1.03 * np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones_like(x)], axis=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: curve_fit(decay, X, Y, [2, 1, 1], jac=long_jac),
        lambda: curve_fit(decay, X, Y, [2, 1, 1], jac=long_jac, full_output=True),
        lambda: curve_fit(lambda x, a, b: a + b + 0 * x, X, Y, full_output=True),
        lambda: curve_fit(decay, X, Y, TRUE, ftol=1e-20),
        lambda: least_squares(lambda p: p - 1, [0.0], xtol=1e-20),
        lambda: least_squares(lambda p: p - 1, [0.0], method="lm", callback=print),
        lambda: minimize(rosen, [0.0, 0.0], options={"kaboom": 1}),
        lambda: minimize(rosen, [9.0, 0.0], bounds=[(-2, 2)] * 2),
        lambda: minimize(rosen, [0.0, 0.0], options={"disp": True, "maxiter": 1}),
    ],
)
def test_warnings_name_the_line_of_the_caller(call):
    """However deep in the package they are given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert {(warning.filename, warning.lineno) for warning in caught} == {(__file__, call.__code__.co_firstlineno)}

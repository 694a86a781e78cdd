"""Arguments that a hostile or an unlucky user passes to the functions of SciPy's names: right, or refused by name."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import BFGS, Bounds, OptimizeWarning

from sosolve import curve_fit, fit_curves, least_squares, minimize
from sosolve.curves import parse
from sosolve.scipy_api import FitError, compiled
from sosolve.scipy_api.curve_data import curve_data
from sosolve.scipy_api.jacobian_check import accusation
from sosolve.scipy_api.residual_noise import last_bit

X = np.linspace(0.0, 4.0, 50)
TRUE = np.array([2.5, 1.3, 0.5])


def decay(x, a, b, c):
    """Return a exp(-b x) + c."""
    return a * np.exp(-b * x) + c


def slopes(x, a, b, c):
    """Return the Jacobian of `decay`."""
    return np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones_like(x)], axis=1)


Y = decay(X, *TRUE) + 0.05 * np.random.default_rng(0).standard_normal(50)
BEST, MATRIX = curve_fit(decay, X, Y)
ERRORS = np.sqrt(np.diag(MATRIX))
WRONG = {
    "sign": (lambda *a: -slopes(*a), "columns 0, 1, 2"),
    "sign of one": (lambda *a: slopes(*a) * [1, -1, 1], "column 1"),
    "order": (lambda *a: slopes(*a)[:, [1, 0, 2]], "columns 0, 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_jacobian_is_named_where_the_fit_fails(name):
    jac, columns = WRONG[name]
    with pytest.raises(FitError, match=rf"contradicts differences of the function in {columns} at"):
        curve_fit(decay, X, Y, [1, 1, 1], jac=jac)


def test_a_wrong_jacobian_is_named_where_the_fit_succeeds():
    """A column twice too long finds the minimum, with an error half as large as it is."""
    for kwargs in ({}, {"method": "trf"}):
        with pytest.warns(OptimizeWarning, match="cannot be trusted.*column 1 at"):
            popt, _ = curve_fit(decay, X, Y, [1, 1, 1], jac=lambda *a: slopes(*a) * [1, 2, 1], **kwargs)
        assert np.allclose(popt, BEST, rtol=1e-6)


def test_a_right_jacobian_is_looked_at_once():
    calls = []

    def jac(x, *p):
        calls.append(p)
        return slopes(x, *p)

    curve_fit(decay, X, Y, jac=jac)
    first = len(calls)
    curve_fit(decay, X, Y, jac=jac)
    assert len(calls) == 2 * first - 1


def test_a_right_jacobian_costs_two_evaluations():
    """One direction acquits all columns, whatever their units; a lambda of each call would else pay 4 p."""
    for unit in (1.0, 1e8):
        calls = []

        def model(theta, unit=unit, calls=calls):
            calls.append(theta)
            return decay(X, *(theta * [1.0, unit, 1.0]))

        theta = BEST / [1.0, unit, 1.0]
        right = slopes(X, *BEST) * [1.0, unit, 1.0]
        assert accusation(model, lambda theta, J=right: J, theta, {}) == ""
        assert len(calls) == 2
        for j in range(3):
            wrong = right.copy()
            wrong[:, j] *= 1.05
            assert f"in column {j} at" in accusation(model, lambda theta, J=wrong: J, theta, {})
        assert accusation(model, lambda theta, J=right: J, theta, {"lower": theta, "upper": np.full(3, np.inf)}) == ""


@pytest.mark.parametrize("value", [3.0, 3e9])
def test_constant_data_leave_a_rate_open(value):
    """The amplitude ends at rounding, and the rate has no error: as in SciPy, inf with a warning."""
    y = np.full(X.size, value)
    with pytest.warns(OptimizeWarning, match=r"parameters \[1\] are not identifiable"):
        popt, pcov = curve_fit(decay, X, y, [1.0, 0.5, 2.0])
    assert popt[2] == pytest.approx(value)
    assert np.isinf(pcov).all()
    data = curve_data(X, y, None, None, None, False)
    formula = parse("a*exp(-b*x) + c", 1)
    assert compiled.compiled_fit(compiled.fit_function(formula), data, np.array([1.0, 0.5, 2.0]), False) is None


def test_parameters_that_are_not_identified_are_named():
    """A name near to no column of the data frame is a parameter, and the warning says so."""
    frame = {"t": X, "z": X**2}
    with pytest.warns(OptimizeWarning, match=r"\(b, zz, c: each name that is no column of x is a parameter\)"):
        curve_fit("a*t + b*zz + c", frame, 2.0 * X + X**2, [1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("turn", [scipy.sparse.csr_array, np.ndarray.tolist, np.float32], ids=["sparse", "list", "f4"])
def test_kinds_of_jacobians(turn):
    popt, pcov = curve_fit(decay, X, Y, [1, 1, 1], jac=lambda *a: turn(slopes(*a)))
    assert np.allclose(popt, BEST, rtol=1e-5)
    assert np.allclose(np.sqrt(np.diag(pcov)), ERRORS, rtol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"jac": np.ones((50, 3))}, "`jac` must be one of"),
        ({"jac": lambda *a: slopes(*a) + 0j}, "`jac` must return real numbers: received dtype complex128"),
        ({"max_nfev": 0}, "positive integer: received 0"),
        ({"maxfev": "many"}, "positive integer: received 'many'"),
        ({"maxfev": 0, "method": "trf"}, "positive integer: received 0"),
        ({"diag": [1, -1, 1]}, "`diag` must be positive"),
        ({"bounds": {"a": (0, 1)}}, "`bounds` must contain 2 elements: received {'a'"),
        ({"bounds": ("low", "high")}, "`bounds` must hold numbers: received 'low'"),
        ({"sigma": np.eye(50) + np.eye(50, k=1)}, "`sigma` must be symmetric: received 1 in row 0, column 1 and 0"),
        ({"sigma": np.inf}, "`sigma` must not contain infs or NaNs: received inf at .*leave such points"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused(kwargs, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            curve_fit(decay, X, Y, [1, 1, 1], **kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"bounds": None},
        {"bounds": Bounds(0, 9)},
        {"maxfev": 0},
        {"diag": [1, 2, 3]},
        {"callback": lambda x: None},
        {"jac": lambda *a: slopes(*a).T, "col_deriv": True},
    ],
    ids=lambda value: next(iter(value)),
)
def test_accepted(kwargs):
    popt, pcov = curve_fit(decay, X, Y, **kwargs)
    assert np.allclose(popt, BEST, rtol=1e-6)
    assert np.allclose(np.sqrt(np.diag(pcov)), ERRORS, rtol=1e-5)


def test_a_loss_chooses_the_method():
    named = curve_fit(decay, X, Y, loss="huber", method="trf")[0]
    assert np.array_equal(curve_fit(decay, X, Y, loss="huber")[0], named)


def test_one_point_as_numbers():
    with pytest.warns(OptimizeWarning, match="as few points as parameters"):
        popt, _ = curve_fit(lambda x, a: a * x, 2.0, 3.0)
    assert popt == pytest.approx([1.5])


# ---------------------------------------------------------------------- numbers at the ends of floating point


@pytest.mark.parametrize("unit", [1e-250, 1e-160, 1e160, 1e200])
def test_units_beyond_the_range_of_squares(unit):
    scale, start = np.array([unit, 1.0, unit]), [2.0 * unit, 1.0, unit]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # variances of 1e400
        popt, pcov = curve_fit(decay, X, unit * Y, start)
    assert np.allclose(popt / scale, BEST, rtol=1e-8)
    if unit < 1.0:
        assert np.sqrt(pcov[1, 1]) == pytest.approx(ERRORS[1], rel=1e-6)
    found = least_squares(lambda p: decay(X, *p) - unit * Y, start, jac="3-point", xtol=1e-12)
    assert found.success
    assert np.allclose(found.x / scale, BEST, rtol=1e-6)
    assert np.allclose(found.fun, decay(X, *found.x) - unit * Y, rtol=1e-12, atol=0.0)
    many = fit_curves("a*exp(-b*x) + c", X, unit * Y[None], p0=[start])
    assert many.status[0] < 0
    assert np.isnan(many.params).all()


def test_covariance_of_parameters_in_huge_units():
    """The product of two column norms leaves the range of floating point, the covariance does not."""
    popt, pcov = curve_fit(decay, 1e100 * X, 1e100 * Y, [2e100, 1e-100, 1e100])
    scale = np.array([1e100, 1e-100, 1e100])
    assert np.allclose(popt / scale, BEST, rtol=1e-8)
    assert np.allclose(np.sqrt(np.diag(pcov)) / scale, ERRORS, rtol=1e-6)


@pytest.mark.parametrize("offset", [1e6, 1e9, 1e12])
@pytest.mark.parametrize("jac", ["2-point", "3-point"])
def test_differences_of_residuals_that_lost_digits(offset, jac):
    """A signal of 2 on an offset: the steps of usual differences drown in the rounding of the offset."""
    y = Y + offset
    truth = least_squares(lambda p: decay(X, *p) - y, [1, 1, offset], jac="cs", xtol=1e-14).x
    for kwargs in ({}, {"bounds": ([0, 0, 0], [9, 9, np.inf])}):
        found = least_squares(lambda p: decay(X, *p) - y, [1, 1, offset], jac=jac, **kwargs)
        assert found.success
        assert (np.abs(found.x - truth) < 0.02 * ERRORS).all()
    popt, pcov = curve_fit(decay, X, y, [1, 1, offset], jac=jac)
    assert (np.abs(popt - truth) < 0.02 * ERRORS).all()
    assert np.allclose(np.sqrt(np.diag(pcov)), ERRORS, rtol=0.01)


def test_last_bit():
    assert last_bit(np.array([0.75, -0.25, 3.0, 0.0])) == 0.25
    assert last_bit(np.zeros(3)) == 0.0
    assert last_bit(np.array([1.0 + 2.0**-52, np.nan])) == 2.0**-52


@pytest.mark.parametrize(("dtype", "share"), [(np.float16, 0.05), (np.float32, 0.02)])
def test_models_of_low_precision(dtype, share):
    """A model of three digits leaves less than a twentieth of a standard error."""
    popt, pcov = curve_fit(lambda x, a, b, c: decay(x, a, b, c).astype(dtype), X, Y)
    assert (np.abs(popt - BEST) < share * ERRORS).all()
    assert np.allclose(np.sqrt(np.diag(pcov)), ERRORS, rtol=0.05)


# ---------------------------------------------------------------------- minimize


def test_minimize_takes_what_scipy_takes():
    def f(x):
        return (x[0] - 1.0) ** 2 + 10.0 * (x[1] + 2.0) ** 2

    found = minimize(f, [0.0, 0.0], method="trust-ncg", hess=BFGS(), constraints=None)
    assert np.allclose(found.x, [1.0, -2.0], atol=1e-5)


def test_a_gradient_within_gtol_is_success_at_the_limit_too():
    """The decrement of x^4 shrinks by a constant factor in each step: its gradient is small long before."""
    found = minimize(lambda x: x[0] ** 4, [1e-3], jac=lambda x: 4.0 * x**3, options={"maxiter": 2, "tol": 1e-30})
    assert found.nit == 2
    assert found.success


# ---------------------------------------------------------------------- functions that return something else


def residuals(x):
    """Return those of Rosenbrock."""
    return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def slopes_of_residuals(x):
    """Return their Jacobian."""
    return np.array([[-20.0 * x[0], 10.0], [-1.0, 0.0]])


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
@pytest.mark.parametrize("turn", [np.negative, np.transpose, np.zeros_like], ids=["sign", "transpose", "zeros"])
def test_least_squares_names_the_wrong_columns_of_a_jacobian(turn, method):
    found = least_squares(residuals, [-1.2, 1.0], lambda x: turn(slopes_of_residuals(x)), method=method, max_nfev=100)
    assert not found.success
    assert "`jac` contradicts differences of the function in columns 0, 1 at" in found.message


def test_least_squares_takes_jacobians_that_change_their_kind():
    def jac(x):
        J = slopes_of_residuals(x)
        return J if x[0] == -1.2 else scipy.sparse.coo_array(J)

    assert np.allclose(least_squares(residuals, [-1.2, 1.0], jac).x, 1.0)


@pytest.mark.parametrize(
    ("fun", "kwargs", "error", "message"),
    [
        (lambda x: None, {}, TypeError, "must return real numbers: received None.*missing return"),
        (lambda x: "ab", {}, TypeError, "must return real numbers: received ab"),
        (
            lambda x: residuals(x)[: 2 - (x[0] > -1.1)],
            {},
            ValueError,
            r"received shape \(1,\) after \(2,\) at the start",
        ),
        (residuals, {"jac": lambda x: slopes_of_residuals(x) + 0j}, ValueError, "received complex ones"),
        (residuals, {"diff_step": 0}, ValueError, "`diff_step` must hold numbers other than 0: received 0"),
        (residuals, {"diff_step": [1, 2, 3]}, ValueError, "one for each of the 2 parameters"),
    ],
    ids=["None", "text", "fewer", "complex", "step 0", "steps"],
)
def test_least_squares_refuses(fun, kwargs, error, message):
    with pytest.raises(error, match=message):
        least_squares(fun, [-1.2, 1.0], **kwargs)


@pytest.mark.parametrize(
    ("fun", "kwargs", "error", "message"),
    [
        (lambda x: None, {}, TypeError, "must return a real number: received None"),
        (lambda x: "a", {}, TypeError, "must return a real number: received 'a'"),
        (lambda x: 1j * x[0], {}, ValueError, "must return a real number: received .*j"),
        (lambda x: x[0] ** 2, {"jac": True}, ValueError, r"\(value, gradient\) with jac=True: received float"),
    ],
    ids=["None", "text", "complex", "no gradient"],
)
def test_minimize_refuses(fun, kwargs, error, message):
    with pytest.raises(error, match=message):
        minimize(fun, [1.0], **kwargs)


def test_names_of_the_library_are_models():
    """A lone name would else be a constant, fitted without a word."""
    x = np.linspace(-3.0, 3.0, 40)
    y = 2.0 * np.exp(-0.5 * ((x - 0.3) / 0.7) ** 2)
    popt, _ = curve_fit("gaussian", x, y, [1.0, 0.0, 1.0])
    assert np.allclose(popt, [2.0, 0.3, 0.7], rtol=1e-6)


def test_many_curves_take_no_covariance_matrix():
    with pytest.raises(ValueError, match=r"a covariance matrix; .* by curve_fit"):
        fit_curves("a*x", X, np.stack([Y, Y]), sigma=np.eye(50))

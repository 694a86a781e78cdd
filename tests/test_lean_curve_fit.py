"""The short way of curve_fit: the same minimum as the full solver, or no answer; and few evaluations."""

import functools
import math
import re
import warnings

import numpy as np
import pytest
import scipy.optimize
from nist_problems import NAMES, load
from short_curves import MODELS, decay, line

from sosolve import curve_fit
from sosolve.curves import parse
from sosolve.scipy_api import FitError, callable_rows, compiled, lean
from sosolve.scipy_api.curve_data import curve_data

X = np.linspace(0.0, 4.0, 100)
NOISE = 0.02 * np.random.default_rng(0).standard_normal(X.size)


def data_of(name):
    f, formula, true, start, _ = MODELS[name]
    return f, formula, f(X, *true) + NOISE, np.array(start)


def full(*args, **kwargs):
    """Return what the full solver finds."""
    return curve_fit(*args, xtol=1e-12, **kwargs)


@pytest.fixture
def short(monkeypatch):
    """Return a list of the answers of the short way, None where it had none; nothing is compiled."""
    answers = []
    monkeypatch.setattr(compiled, "FEW", math.inf)
    compiled.account_of.cache_clear()
    real = lean.Lean.minimise

    def minimise(self, *args):
        answers.append(real(self, *args))
        return answers[-1]

    monkeypatch.setattr(lean.Lean, "minimise", minimise)
    return answers


@pytest.mark.parametrize("kind", ["callable", "formula", "jac", "auto"])
@pytest.mark.parametrize("name", MODELS)
def test_same_as_the_full_solver(name, kind, short):
    """Parameters to nine digits of their standard errors, covariances to seven, without the full solver."""
    f, formula, y, p0 = data_of(name)
    given = {}
    if kind == "jac":
        exact = parse(formula, 1)
        given = {"jac": lambda x, *p: exact.jacobian(x, p)}
    elif kind == "auto":
        given = {"jac": "auto", "method": "trf"}
    popt, pcov = curve_fit(formula if kind == "formula" else f, X, y, p0, **given)
    assert short[0] is not None
    p, C = full(f, X, y, p0)
    assert (np.abs(popt - p) <= 1e-8 * np.sqrt(np.diag(C))).all()
    np.testing.assert_allclose(pcov, C, rtol=1e-6, atol=1e-6 * np.sqrt(np.outer(np.diag(C), np.diag(C))).max() * 1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_few_evaluations(name):
    """A fit calls the model about as often as SciPy's does, though it goes on to ten digits."""
    f, _, y, p0 = data_of(name)
    calls = []

    def counted(x, *p):
        calls.append(p)
        return f(x, *p)

    scipy.optimize.curve_fit(counted, X, y, p0)
    theirs = len(calls)
    calls.clear()
    curve_fit(counted, X, y, p0)
    assert len(calls) <= 1.2 * theirs + 6
    columns = {np.shape(value) for p in calls for value in p if isinstance(value, np.ndarray)}
    assert columns == {(p0.size + 1, 1)}
    assert all(type(value) in (np.float64, np.complex128, np.ndarray) for p in calls for value in p)
    calls.clear()
    curve_fit(counted, X, y, p0)
    assert len(calls) <= 1 + theirs / 2


@pytest.mark.parametrize("name", ["decay", "peak", "logistic", "Michaelis-Menten", "line"])
def test_few_evaluations_without_broadcasting(name, short):
    """A function that takes one point a call, and no complex numbers, is called little more often than SciPy does."""
    f, _, y, p0 = data_of(name)
    calls = []

    def single(x, *p):
        calls.append(p)
        return np.array([f(x, *map(float, p))]).ravel()

    scipy.optimize.curve_fit(single, X, y, p0)
    theirs = len(calls)
    curve_fit(single, X, y, p0)
    calls.clear()
    popt, pcov = curve_fit(single, X, y, p0)
    assert len(short) == 2
    assert None not in short
    assert len(calls) <= theirs + 3 * p0.size
    p, _ = full(f, X, y, p0)
    assert (np.abs(popt - p) <= 3e-8 * np.sqrt(np.diag(pcov))).all()


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("kind", ["callable", "formula", "jac"])
def test_sigma(kind, absolute, short):
    """Standard deviations by point and for all points, with each kind of model."""
    f, formula, y, p0 = data_of("decay")
    exact = parse(formula, 1)
    given = {"jac": lambda x, *p: exact.jacobian(x, p)} if kind == "jac" else {}
    for sigma in (0.3, np.linspace(0.5, 2.0, X.size)):
        del short[:]
        found = curve_fit(formula if kind == "formula" else f, X, y, p0, sigma, absolute, **given)
        assert short[0] is not None
        p, C = full(f, X, y, p0, sigma, absolute)
        np.testing.assert_allclose(found[0], p, rtol=1e-8)
        np.testing.assert_allclose(found[1], C, rtol=1e-6)


@pytest.mark.parametrize("points", [20, 1000, 100_000])
def test_other_numbers_of_points(points, short):
    """Few points and many."""
    x = np.linspace(0.0, 4.0, points)
    y = decay(x, 2.5, 1.3, 0.5) + 0.02 * np.random.default_rng(1).standard_normal(points)
    popt, pcov = curve_fit(decay, x, y)
    assert short[0] is not None
    p, C = full(decay, x, y)
    np.testing.assert_allclose(popt, p, rtol=1e-8)
    np.testing.assert_allclose(pcov, C, rtol=1e-6)


def plane(x, a, b, c):
    return a * x[0] + b * x[1] ** 2 + c


def test_two_predictors_and_a_start_at_zero(short):
    """x of shape (2, m), and parameters whose size is unknown, go the short way too."""
    x = np.stack([X, np.cos(X)])
    y = plane(x, 2.0, -1.0, 0.5) + NOISE
    popt, pcov = curve_fit(plane, x, y, [1.0, 0.0, 0.0])
    assert short[0] is not None
    p, C = full(plane, x, y, [1.0, 0.0, 0.0])
    np.testing.assert_allclose(popt, p, rtol=1e-8)
    np.testing.assert_allclose(pcov, C, rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e160, 1e300])
def test_no_start_in_another_unit_is_taken_for_the_minimum(unit):
    """Sums of squares of 1e-400 are 0, and derivatives of 1e-350: either would make any start a minimum."""
    with pytest.raises((ValueError, FitError), match=r"in other units|Optimal parameters not found"):
        curve_fit(decay, X, decay(X, 2.5, 1.3, 0.5) * unit, [2.0, 1.0, 0.5])


@pytest.mark.parametrize(("x_unit", "y_unit"), [(1e9, 1.0), (1.0, 1e-12), (1e-9, 1e12)])
def test_units_change_nothing(x_unit, y_unit, short):
    """Data in other units take the same number of steps to the same digits."""
    units = np.array([y_unit, 1.0 / x_unit, y_unit])
    y = decay(X, 2.5, 1.3, 0.5) + NOISE
    popt, pcov = curve_fit(decay, X * x_unit, y * y_unit, units)
    assert short[0] is not None
    p, C = full(decay, X, y)
    np.testing.assert_allclose(popt / units, p, rtol=1e-8)
    np.testing.assert_allclose(pcov / np.outer(units, units), C, rtol=1e-6)


# ---------------------------------------------------------------------- what is out of the ordinary


def magnitude(x, a, b):
    return np.abs(a) * np.exp(-np.abs(b) * x)


def branch(x, a, b):
    return np.where(x < 1.0, np.real(a * x), a * x + b * (x - 1.0))


def largest(x, a, b):
    return np.maximum(a * x, b * np.ones_like(x)) if np.isrealobj(a * b) else np.abs(a * x)


def one_point(x, a, b):
    y = a * np.exp(-b * x)
    y[50] = np.real(y[50])
    return y


def refuses(x, a, b):
    return a * np.exp(-float(b) * x)


def lists(x, a, b):
    return [a * float(value) + b for value in x]


@pytest.mark.parametrize("f", [magnitude, branch, largest, one_point, refuses, lists])
def test_models_that_are_not_made_for_complex_numbers(f, short):
    """Dropped imaginary parts, comparisons, casts and lists: central differences, without a warning."""
    y = f(X, 2.0, 0.7) + NOISE
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        popt, pcov = curve_fit(f, X, np.asarray(y), [1.5, 0.5])
        p, C = curve_fit(f, X, np.asarray(y), [1.5, 0.5], jac="3-point")
    np.testing.assert_allclose(popt, p, rtol=1e-7)
    np.testing.assert_allclose(pcov, C, rtol=1e-5)


def test_a_function_that_refuses_only_sometimes():
    """Complex numbers once taken may be refused in another fit: central differences then."""
    switch = []

    def moody(x, a, b):
        if switch and np.iscomplexobj(a + b):
            raise TypeError("real numbers only")
        return a * np.exp(-b * x)

    y = moody(X, 2.0, 0.7) + NOISE
    first = curve_fit(moody, X, y)
    switch.append(1)
    second = curve_fit(moody, X, y)
    np.testing.assert_allclose(first[0], second[0], rtol=1e-8)


def test_a_model_that_returns_the_same_array_again():
    """A buffer that is written anew in each call is no change of the model by 0."""
    buffer = np.empty_like(X)

    def reuses(x, a, b):
        buffer[:] = a * np.exp(-b * x)
        return buffer

    y = 2.0 * np.exp(-0.7 * X) + NOISE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        np.testing.assert_allclose(
            curve_fit(reuses, X, y)[0], curve_fit(lambda x, a, b: a * np.exp(-b * x), X, y)[0], rtol=1e-6
        )


PIECES = {
    "where(x < c, a + b*x, a + b*c)": (lambda x, c, a, b: np.where(x < c, a + b * x, a + b * c), [2.1, 1.0, 0.8]),
    "a + b*x + d*maximum(x - c, 0)": (
        lambda x, a, b, d, c: a + b * x + d * np.maximum(x - c, 0.0),
        [1.0, 0.5, -1.2, 2.6],
    ),
    "where(x > t0, a*log(1 + k*(x - t0)), 0) + y0": (
        lambda x, t0, a, k, y0: np.where(x > t0, a * np.log1p(k * np.maximum(x - t0, 0.0)), 0.0) + y0,
        [1.2, 2.0, 0.9, 0.3],
    ),
}


@pytest.mark.parametrize("formula", PIECES)
def test_formulas_in_pieces(formula, short):
    """Their derivatives are those of the piece: NumPy, machine code and the search for starts agree with a function."""
    f, true = PIECES[formula]
    y, p0 = f(X, *true) + NOISE, 1.1 * np.array(true)
    p, C = curve_fit(f, X, y, p0)
    found = [curve_fit(formula, X, y, p0), curve_fit(formula, X, y)]
    assert None not in short
    compiled.compile_now(parse(formula, 1))
    found.append(curve_fit(formula, X, y, p0))
    for popt, pcov in found:
        np.testing.assert_allclose(popt, p, rtol=1e-7)
        np.testing.assert_allclose(np.diag(pcov), np.diag(C), rtol=1e-5)


def test_data_without_noise(short):
    """Residuals at the rounding level end a fit; so does a start at the optimum."""
    for start in ([1.0, 1.0, 1.0], [2.5, 1.3, 0.5]):
        popt, pcov = curve_fit(decay, X, decay(X, 2.5, 1.3, 0.5), start)
        np.testing.assert_allclose(popt, [2.5, 1.3, 0.5], rtol=1e-12)
        assert (np.diag(pcov) < 1e-24).all()
    popt, _ = curve_fit(line, X, np.zeros(100), [0.0, 0.0])
    np.testing.assert_array_equal(popt, 0.0)


@pytest.mark.parametrize(
    ("f", "y", "p0"),
    [
        (lambda x, a, b, c: a + b + 0.0 * c * x, X, [1.0, 1.0, 1.0]),  # nothing identified
        (lambda x, a, b: a * b * x, 2.0 * X + NOISE, [1.0, 1.0]),  # one direction
        (lambda x, a, b: a * np.exp(-b * x), np.full(100, np.nan_to_num(np.inf) ** 0.5), [1.0, 1.0]),  # huge
        (lambda x, a, b: a * x + b + 1e-7 * a * a, 1e-150 * X, [1e-150, 1e-150]),  # tiny
        (lambda x, a, b: np.float32(a) * x + b, 2.0 * X, [1.0, 1.0]),  # parameters in float32
    ],
)
def test_no_answer_where_the_full_solver_knows_better(f, y, p0, short):
    """Then curve_fit returns what it returns with the full solver alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = full(f, X, y, p0)
        except (RuntimeError, ValueError) as error:
            with pytest.raises(type(error)):
                curve_fit(f, X, y, p0)
            return
        found = curve_fit(f, X, y, p0)
    assert all(answer is None for answer in short)
    np.testing.assert_array_equal(found[0], expected[0])


def test_a_model_that_changes_its_kind_is_left_to_the_full_solver(short):
    """Integers, other shapes or complex values on the way are no ordinary answers."""
    calls = []

    def moody(x, a, b):
        calls.append(1)
        z = a * x + b
        return z.astype(np.complex128) if len(calls) == 5 else z

    popt, _ = curve_fit(moody, X, 2.0 * X + 1.0, [1.0, 1.0])
    np.testing.assert_allclose(popt, [2.0, 1.0], rtol=1e-6)


def test_no_state_from_one_fit_to_the_next():
    """The same fit twice gives the same bits, other fits in between or not."""
    f, formula, y, p0 = data_of("decay")
    compiled.compile_now(parse(formula, 1))
    for model in (f, formula):
        first = curve_fit(model, X, y, p0)
        curve_fit(f, X[:50], y[:50], 2.0 * p0)
        again = curve_fit(model, X, y, p0)
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])


def test_formula_over_points_of_another_number():
    """The full solver's message, not that of an array operation."""
    with pytest.raises(ValueError, match="one value for each y"):
        curve_fit("a*x + b", X, X[:-3], [1.0, 1.0])


# ---------------------------------------------------------------------- NIST


def nist(name, start, kind):
    """Return the correct digits of parameters and standard errors, at most 11."""
    problem = load(name)
    x = problem.x[:, 0] if problem.x.shape[1] == 1 else problem.x.T
    order = np.arange(problem.certified.size)
    if kind != "callable":
        text = problem.formula
        if x.ndim == 2:
            text = re.sub(r"\bx2\b", "x1", re.sub(r"\bx1\b", "x0", text))
        model = parse(text, 1 if x.ndim == 1 else 2)
        if kind == "machine code":
            compiled.compile_now(model)
            assert compiled.account_of(model).run is not None
        order = np.array([int(parameter[1:]) - 1 for parameter in model.parameters])
    else:

        def model(x, *theta):
            return problem._replace(x=x[:, None] if x.ndim == 1 else x.T, y=0.0).residual(theta)

    popt, pcov = curve_fit(model, x, problem.y, problem.starts[start][order])
    pairs = (popt, problem.certified[order]), (np.sqrt(np.diag(pcov)), problem.stderr[order])
    return [min(11.0, -np.log10(np.max(np.abs(got / exact - 1.0)) + 1e-16)) for got, exact in pairs]


@pytest.mark.parametrize("kind", ["callable", "formula", "machine code"])
def test_nist(kind):
    """Each of 54 runs has six digits, half of them more than ten; standard errors nine, with exact derivatives ten."""
    compiled.account_of.cache_clear()
    found = np.array([nist(name, start, kind) for name in NAMES for start in (0, 1)])
    assert (found[:, 0] >= 6.0).all()
    assert np.median(found[:, 0]) >= 10.0
    assert np.median(found[:, 1]) >= {"callable": 9.0, "formula": 10.0, "machine code": 10.0}[kind]


def test_scipy_agrees_to_its_own_digits():
    """No other minimum than SciPy's."""
    for name in MODELS:
        f, _, y, p0 = data_of(name)
        theirs = scipy.optimize.curve_fit(f, X, y, p0)
        np.testing.assert_allclose(curve_fit(f, X, y, p0)[0], theirs[0], rtol=1e-5)


def test_rows_agree_with_differences():
    """Sums of forward, central and complex differences and of a formula are one matrix."""
    f, formula, y, p0 = data_of("peak")
    data = curve_data(X, y, 0.5 + X, None, None)
    rows = callable_rows.CallableRows(f, data, p0, None)
    theta, cost = rows.residual(p0.tolist(), False)
    exact = lean.FormulaRows(parse(formula, 1), data)
    A, expected = exact.residual(p0.tolist(), True)
    assert cost == pytest.approx(expected, rel=1e-14)
    right = np.array(exact.slopes(A, True, False)[0])
    ways = [(rows.forward, 1e-6), (rows.central, 1e-9), (rows.imaginary, 1e-13)]
    for find, tolerance in ways:
        sums, units = find(theta)
        scale = np.array([*units, 1.0])
        got = np.array(sums) * np.outer(scale, scale)
        size = np.sqrt(np.outer(np.diag(right), np.diag(right)))
        assert np.max(np.abs(got - right) / size) <= tolerance
    assert rows.wide is not None
    assert rows.at_once(theta)
    sums, _ = rows.found
    np.testing.assert_allclose(sums, rows.forward(theta)[0], rtol=1e-6)


# ---------------------------------------------------------------------- several points in one call


def scaled(x, a, b):
    y = np.exp(-b * x * x)
    return a * y / np.max(y)


def branches(x, a, b):
    return a * np.exp(-b * x) if b > 0.0 else a + 0.0 * x


def in_a_loop(x, a, b):
    return np.array([a * math.exp(-b * value) for value in x])


def interpolates(x, a, b):
    return np.interp(x, [0.0, 2.0, 4.0], [a, b, a])


def warns(x, a, b):
    if np.ndim(a):
        warnings.warn("not a number", UserWarning, stacklevel=1)
    return a * np.exp(-b * x)


@pytest.mark.parametrize("f", [scaled, branches, in_a_loop, interpolates, warns])
def test_functions_of_one_point(f):
    """A function whose rows are not those of single calls is called singly; the user hears nothing of the trial."""
    x = X[1:]
    y = f(x, 2.0, 0.7) + NOISE[1:]
    shapes = []

    def counted(x, a, b):
        shapes.append(np.shape(a))
        return f(x, a, b)

    found = curve_fit(counted, x, y, [1.5, 0.5])
    assert shapes.count((3, 1)) == 1
    assert not callable_rows._broad[counted]
    np.testing.assert_allclose(found[0], full(f, x, y, [1.5, 0.5])[0], rtol=1e-7)
    del shapes[:]
    curve_fit(counted, x, y, [1.5, 0.5])
    assert (3, 1) not in shapes


@pytest.mark.parametrize("way", ["raises", "joins rows"])
def test_a_function_that_takes_several_points_only_sometimes(way):
    """What was tried in one fit may fail in the next: then single calls go on, or correct the end."""
    switch = []

    def moody(x, a, b):
        y = a * np.exp(-b * x)
        if switch and np.ndim(a) and way == "raises":
            raise TypeError("numbers only")
        return y * (y / y).max() if not switch else y / np.max(np.exp(-b * x[0])) * np.exp(-b * x[0])

    x = X + 0.1
    y = 2.0 * np.exp(-0.7 * x) + NOISE
    first = curve_fit(moody, x, y)
    assert callable_rows._broad[moody]
    switch.append(1)
    second = curve_fit(moody, x, y)
    assert callable_rows._broad[moody] == (way == "joins rows")
    np.testing.assert_allclose(first[0], second[0], rtol=1e-9)
    np.testing.assert_allclose(first[1], second[1], rtol=1e-7)


def test_many_points_are_not_joined():
    """Where arithmetic is all that counts, each point has its call; so do callable objects."""
    shapes = []

    def counted(x, a, b):
        shapes.append(np.shape(a))
        return a * x + b

    x = np.linspace(0.0, 1.0, 10_000)
    curve_fit(counted, x, counted(x, 2.0, 1.0), [1.0, 1.0])
    curve_fit(functools.partial(counted), X, counted(X, 2.0, 1.0) + NOISE, [1.0, 1.0])
    assert set(shapes) == {()}

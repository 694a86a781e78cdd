"""Hostile data through every way to fit a curve: the same right answer from each, or a message."""

import warnings

import numpy as np
import pytest

from sosolve import NonlinearLeastSquares, curve_fit, fit_curves, least_squares

pytest.importorskip("sympy")
pytest.importorskip("numba")

TEXT = "a*exp(-b*x) + c"
X = np.linspace(0.1, 4.0, 40)
TRUE = np.array([2.5, 1.3, 0.5])
Y = TRUE[0] * np.exp(-TRUE[1] * X) + TRUE[2] + 0.01 * np.random.default_rng(0).normal(size=40)

#: name -> x, y, start, what the parameters are multiplied by, and added to
CASES = {
    "plain": (X, Y, [1.0, 1.0, 0.0], [1, 1, 1], 0),
    "x times 1e9": (1e9 * X, Y, [1.0, 1e-9, 0.0], [1, 1e-9, 1], 0),
    "y times 1e-12": (X, 1e-12 * Y, [1e-12, 1.0, 0.0], [1e-12, 1, 1e-12], 0),
    "y plus 1e9": (X, Y + 1e9, [1.0, 1.0, 1e9], [1, 1, 1], 1e9),
    "float32": (X, Y.astype(np.float32), [1.0, 1.0, 0.0], [1, 1, 1], 0),
    "unsorted": (X[::-1], Y[::-1], [1.0, 1.0, 0.0], [1, 1, 1], 0),
    "every point twice": (np.repeat(X, 2), np.repeat(Y, 2), [1.0, 1.0, 0.0], [1, 1, 1], 0),
}


def decay(x, a, b, c):
    """Return the model of `TEXT`."""
    return a * np.exp(-b * x) + c


WAYS = {
    "estimator": lambda x, y, p0: NonlinearLeastSquares(TEXT, p0=p0).fit(x[:, None], y).theta_,
    "estimator, no start": lambda x, y, p0: NonlinearLeastSquares(TEXT).fit(x[:, None], y).theta_,
    "estimator, function": lambda x, y, p0: NonlinearLeastSquares(decay, p0=p0).fit(x[:, None], y).theta_,
    "curve_fit": lambda x, y, p0: curve_fit(decay, x, y, p0=p0)[0],
    "curve_fit, formula": lambda x, y, p0: curve_fit(TEXT, x, y)[0],
    "least_squares": lambda x, y, p0: least_squares(lambda p: decay(x, *p) - y, p0, jac="cs", xtol=1e-12).x,
    "fit_curves": lambda x, y, p0: fit_curves(TEXT, x, y[None], p0=p0).params[0],
    "fit_curves, no start": lambda x, y, p0: fit_curves(TEXT, x, y[None]).params[0],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_the_same_answer(case, way):
    """Scaled and shifted data give scaled and shifted parameters, for every way in."""
    x, y, p0, factor, shift = CASES[case]
    want = WAYS["curve_fit"](X, Y, [1.0, 1.0, 0.0])
    got = (WAYS[way](x, y, p0) - np.array([0.0, 0.0, shift])) / factor
    assert np.allclose(got, want, rtol=1e-4 if case == "y plus 1e9" else 1e-6)


@pytest.mark.parametrize("name", ["X", "y", "sample_weight", "sigma"])
def test_masked_data_are_refused(name):
    """What is behind a mask is no datum."""
    data = {"X": X[:, None], "y": Y, "sample_weight": np.ones(40), "sigma": np.ones(40)}
    data[name] = np.ma.array(data[name], mask=(data[name] == data[name].flat[3]))
    with pytest.raises(ValueError, match=rf"{name} with .* masked values"):
        NonlinearLeastSquares(TEXT, p0=TRUE).fit(**data)


@pytest.mark.parametrize("way", WAYS)
def test_y_of_zeros_and_as_many_points_as_parameters(way):
    """a = c = 0 where y is 0; the curve through three points."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that b is not determined, and no errors are known
        zero = WAYS[way](X, np.zeros(40), [1.0, 1.0, 1.0])
        three = WAYS[way](X[[0, 10, 30]], Y[[0, 10, 30]], [1.0, 1.0, 0.0])
    assert np.allclose(zero[[0, 2]], 0.0, atol=1e-12)
    assert np.allclose(decay(X[[0, 10, 30]], *three), Y[[0, 10, 30]], rtol=1e-7)


def test_values_that_do_not_exist_for_some_parameters():
    """sqrt(c) is NaN below 0: such steps are rejected, the data are not blamed."""
    text, p0 = "a*exp(-b*x) + sqrt(c)", [1.0, 1.0, 0.01]
    want = curve_fit(lambda x, a, b, c: a * np.exp(-b * x) + np.sqrt(c), X, Y, p0=p0)[0]
    assert np.allclose(NonlinearLeastSquares(text, p0=p0).fit(X[:, None], Y).theta_, want, rtol=1e-6)
    assert np.allclose(fit_curves(text, X, Y[None], p0=p0).params[0], want, rtol=1e-6)
    assert want[2] == pytest.approx(0.25, abs=0.01)

"""Jacobians by differences and complex steps."""

import numpy as np
import pytest

from sosolve.objectives.derivatives import Differences

X = np.linspace(0.1, 3, 20)


def curve(t):
    return t[0] * np.exp(-t[1] * X) + t[2] * X


def exact(t):
    e = np.exp(-t[1] * X)
    return np.stack([e, -t[0] * X * e, X], axis=1)


@pytest.mark.parametrize(("method", "rtol"), [("2-point", 1e-6), ("3-point", 1e-8), ("cs", 1e-14), ("auto", 1e-14)])
@pytest.mark.parametrize("theta", [[1.0, 2.0, 3.0], [1e-12, 1e2, 1e12], [0.0, 0.0, 0.0], [2.0, 0.0, -1e-9]])
def test_columns_are_right_at_any_scale(method, rtol, theta):
    theta = np.array(theta)
    jac = Differences(curve, method)(theta)
    want = exact(theta)
    # a difference cannot see a column below the rounding of the largest value of f
    noise = 1e-16 * np.abs(curve(theta)).max() / np.where(theta == 0.0, 1.0, np.abs(theta)) * (method != "cs") / 1e-8
    assert (np.abs(jac - want).max(axis=0) <= 10 * rtol * np.abs(want).max(axis=0) + noise).all()


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e9])
def test_a_parameter_equal_to_zero_gets_a_step_of_its_own_scale(scale):
    def fun(t):
        return np.sin(t[0] / scale + X)

    jac = Differences(fun, "3-point")(np.zeros(1))
    assert np.allclose(jac[:, 0] * scale, np.cos(X), rtol=0, atol=1e-6)


def test_zero_with_zero_residual():
    assert np.allclose(Differences(lambda t: t * X, "3-point")(np.zeros(1))[:, 0], X)


def test_evaluations_are_counted():
    for method, first, later in (("2-point", 3, 3), ("3-point", 6, 6), ("cs", 3, 3), ("auto", 6, 3)):
        differences = Differences(curve, method)
        theta = np.array([1.0, 2.0, 3.0])
        differences(theta, curve(theta))
        assert differences.n_evaluations == first, method
        differences(theta, curve(theta))
        assert differences.n_evaluations == first + later, method


def drops_imaginary(t):
    return curve(np.real(t))


def casts(t):
    return curve(np.asarray(t, dtype=np.float64))


def writes_into_real(t):
    out = np.empty(X.size)
    out[:] = curve(t)
    return out


def raises(t):
    if np.iscomplexobj(t):
        raise TypeError("real numbers only")
    return curve(t)


def takes_abs(t):
    return curve(np.array([abs(t[0]), t[1], t[2]]))


def nan_for_complex(t):
    return curve(t) * (np.nan if np.iscomplexobj(t) else 1.0)


@pytest.mark.parametrize("fun", [drops_imaginary, casts, writes_into_real, raises, takes_abs, nan_for_complex])
def test_auto_falls_back_for_good(fun):
    differences = Differences(fun)
    theta = np.array([1.0, 2.0, 3.0])
    assert np.allclose(differences(theta), exact(theta), rtol=1e-7, atol=1e-9)
    assert differences.method == "3-point"


def test_auto_keeps_the_complex_step_where_it_agrees():
    differences = Differences(curve)
    differences(np.array([1.0, 2.0, 3.0]))
    assert differences.method == "cs"


@pytest.mark.parametrize("method", ["2-point", "3-point", "auto"])
@pytest.mark.parametrize("theta", [0.0, 1.0, 1e-13, 1.0 - 1e-13, 0.5])
def test_no_real_evaluation_leaves_the_box(method, theta):
    seen = []

    def fun(t):
        seen.append(float(t[0].real))
        return np.array([np.exp(t[0]), t[0] ** 2 + 1])

    jac = Differences(fun, method, lower=np.zeros(1), upper=np.ones(1))(np.array([theta]))
    assert min(seen) >= 0.0
    assert max(seen) <= 1.0
    assert np.allclose(jac[:, 0], [np.exp(theta), 2 * theta], atol=1e-3 if method == "2-point" else 1e-6)


def test_a_side_where_the_function_is_nan_is_avoided():
    def fun(t):
        return np.sqrt(t) if t[0] <= 1.0 else np.full(1, np.nan)

    assert Differences(fun, "3-point")(np.ones(1))[0, 0] == pytest.approx(0.5, rel=1e-4)


def test_unknown_method():
    with pytest.raises(ValueError, match="4-point"):
        Differences(curve, "4-point")


def test_rounding_is_that_of_the_model():
    """Residuals of a good fit are tiny beside the model: a component of 0 must not be stepped below its rounding."""
    x = np.linspace(1.0, 2.0, 30)
    y = 1e6 * x + 1e-7 * np.sin(50.0 * x)

    def fun(t):
        return 1e6 * x + t[0] * x**2 - y

    theta = np.zeros(1)
    blind = Differences(fun, "3-point")(theta)
    seeing = Differences(fun, "3-point", offset=y)(theta)
    error = [np.abs(J[:, 0] / x**2 - 1.0).max() for J in (blind, seeing)]
    assert error[1] < 1e-6
    assert error[1] < 0.1 * error[0]

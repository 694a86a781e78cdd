"""The library of named models: guesses that are finite for any data, and close enough to recover every curve."""

import pickle
import time

import numpy as np
import pytest
from scipy.optimize import least_squares

pytest.importorskip("sympy", reason="formulas need SymPy")

from sosolve.curves import CurveForm, library, parse

#: Draws true parameters, in the formula's order, for x from 0.05 to 4.
TRUTH = {
    "linear": lambda r: [r.normal(), r.normal()],
    "exponential_decay": lambda r: [sign(r) * r.uniform(1, 5), r.uniform(0.2, 3)],
    "exponential_decay_offset": lambda r: [sign(r) * r.uniform(1, 5), r.uniform(0.3, 3), 3 * r.normal()],
    "double_exponential": lambda r: [r.uniform(1, 5), r.uniform(2, 5), r.uniform(1, 5), r.uniform(0.1, 0.6)],
    "exponential_growth": lambda r: [r.uniform(1, 5), r.uniform(0.1, 2)],
    "saturation": lambda r: [sign(r) * r.uniform(1, 5), r.uniform(0.2, 3)],
    "gaussian": lambda r: [sign(r) * r.uniform(1, 5), r.uniform(0.8, 3.2), r.uniform(0.1, 0.8)],
    "gaussian_offset": lambda r: [sign(r) * r.uniform(1, 5), r.uniform(0.8, 3.2), r.uniform(0.1, 0.8), 5 * r.normal()],
    "lorentzian": lambda r: [sign(r) * r.uniform(1, 5), r.uniform(0.8, 3.2), r.uniform(0.1, 0.8)],
    "lorentzian_offset": lambda r: [r.uniform(1, 5), r.uniform(0.8, 3.2), r.uniform(0.1, 0.8), 5 * r.normal()],
    "pseudo_voigt": lambda r: [
        r.uniform(1, 5), r.uniform(0.2, 0.8), r.uniform(0.8, 3.2), r.uniform(0.15, 0.8), 5 * r.normal()
    ],
    "power_law": lambda r: [sign(r) * r.uniform(1, 5), r.uniform(-2, 3)],
    "power_law_offset": lambda r: [r.uniform(1, 5), sign(r) * r.uniform(0.4, 2), 3 * r.normal()],
    "michaelis_menten": lambda r: [r.uniform(1, 5), r.uniform(0.1, 4)],
    "hill": lambda r: [r.uniform(1, 5), r.uniform(0.7, 6), r.uniform(0.7, 3)],
    "logistic4": lambda r: [r.uniform(-2, 0), r.uniform(1, 3), sign(r) * r.uniform(1.5, 8), r.uniform(1, 3)],
    "logistic5": lambda r: [
        r.uniform(-2, 0), r.uniform(1, 3), sign(r) * r.uniform(2, 6), r.uniform(1, 3), r.uniform(0.5, 2.5)
    ],
    "gompertz": lambda r: [r.uniform(1, 5), r.uniform(1, 5), r.uniform(0.8, 3)],
    "weibull": lambda r: [r.uniform(1, 5), r.uniform(0.7, 4), r.uniform(0.7, 3)],
    "sine": lambda r: [r.uniform(1, 5), r.uniform(0.2, 6), r.uniform(-3, 3), 3 * r.normal()],
    "damped_sine": lambda r: [
        r.uniform(1, 5), r.uniform(0.05, 1.5), r.uniform(0.3, 5), r.uniform(-3, 3), 3 * r.normal()
    ],
}  # fmt: skip

FACTORIES = {
    "polynomial(0)": lambda: library.polynomial(0),
    "polynomial(4)": lambda: library.polynomial(4),
    "rational(1, 1)": lambda: library.rational(1, 1),
    "rational(3, 2)": lambda: library.rational(3, 2),
    "sum": lambda: library.model("gaussian") + library.model("linear"),
    "product": lambda: library.model("exponential_decay") * library.model("sine"),
}


def sign(rng):
    return rng.choice([-1.0, 1.0])


def form_of(name):
    return FACTORIES[name]() if name in FACTORIES else library.model(name)


def fit(formula, x, y, start):
    settings = dict(method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    return least_squares(lambda p: formula.value(x, p) - y, start, jac=lambda p: formula.jacobian(x, p), **settings)


def test_every_model_is_complete_and_tested():
    assert set(library.names()) == set(TRUTH)
    for name in library.names():
        form = library.model(name)
        assert form.name == name
        assert form.formula == parse(form.text, 1)
        assert form.parameters == form.formula.parameters
        assert form.meaning
        assert form.reference
        assert form.domain in ("any x", "x >= 0", "x > 0")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", library.names())
def test_the_guess_leads_to_the_true_curve(name, seed):
    form, rng = library.model(name), np.random.default_rng(seed)
    x, truth = rng.permutation(np.linspace(0.05, 4.0, 80)), np.array(TRUTH[name](rng))
    y = form.formula.value(x, truth)
    found = fit(form.formula, x, y, form.guess(x, y))
    assert abs(found.fun).max() < 1e-8 * np.ptp(y)
    assert found.nfev < 100
    assert np.allclose(found.x, truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", library.names())
def test_the_guess_survives_noise_and_other_units(name, seed):
    form, rng = library.model(name), np.random.default_rng(100 + seed)
    x, truth = np.linspace(0.05, 4.0, 80), np.array(TRUTH[name](rng))
    clean = form.formula.value(x, truth)
    y = clean + 0.02 * np.ptp(clean) * rng.standard_normal(80)
    found = fit(form.formula, x, y, form.guess(x, y))
    assert 2 * found.cost <= np.sum((y - clean) ** 2)  # the optimum is below the truth's own residuals
    scaled = fit(form.formula, x * 1e6, y * 1e-12, form.guess(x * 1e6, y * 1e-12))
    if "power" not in name and "weibull" not in name:
        assert scaled.cost * 1e24 <= found.cost * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("left", "right", "operation"),
    [
        ("gaussian", "linear", "+"),
        ("linear", "gaussian", "+"),
        ("lorentzian", "exponential_decay", "+"),
        ("sine", "linear", "+"),
        ("exponential_decay", "sine", "*"),
    ],
)
def test_guesses_of_sums_and_products_lead_to_the_true_curve(left, right, operation, seed):
    left, right = library.model(left), library.model(right).with_prefix("second_")
    form = left + right if operation == "+" else left * right
    rng, x = np.random.default_rng(seed), np.linspace(0.05, 4.0, 80)
    truth = np.array([*TRUTH[left.name](rng), *TRUTH[right.name](rng)])
    y = form.formula.value(x, truth)
    part = [
        model.formula.value(x, p)
        for model, p in ((left, truth[: left.formula.size]), (right, truth[left.formula.size :]))
    ]
    assert np.allclose(y, part[0] + part[1] if operation == "+" else part[0] * part[1], rtol=1e-13, atol=1e-13)
    assert form.parameters == left.parameters + right.parameters
    assert abs(fit(form.formula, x, y, form.guess(x, y)).fun).max() < 1e-6 * np.ptp(y)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["polynomial(0)", "polynomial(4)", "rational(1, 1)", "rational(3, 2)"])
def test_polynomial_and_rational_guesses_are_the_answer_on_clean_data(name, seed):
    form, rng = form_of(name), np.random.default_rng(seed)
    x, truth = rng.uniform(0.0, 3.0, 40), rng.uniform(0.2, 1.0, form.formula.size)
    y = form.formula.value(x, truth)
    assert np.allclose(form.guess(x, y), truth, rtol=1e-6)
    assert np.allclose(form.with_prefix("q_").guess(x, y), truth, rtol=1e-6)


def odd_data():
    rng, n = np.random.default_rng(0), np.arange(20.0)
    return {
        "constant": (n, np.full(20, 3.0)),
        "zero": (n, np.zeros(20)),
        "one point": ([1.0], [2.0]),
        "two points": ([1.0, 2.0], [2.0, -1.0]),
        "one x": (np.ones(9), np.arange(9.0)),
        "all x zero": (np.zeros(9), np.arange(9.0)),
        "noise": (rng.normal(size=50), rng.normal(size=50)),
        "increasing": (n, n**2),
        "decreasing and negative": (-n, -(n**2)),
        "repeated x": (np.repeat([1.0, 2.0, 3.0], 5), rng.normal(size=15)),
        "huge": (n * 1e300, n * 1e300),
        "tiny": (n * 1e-305, n * 1e-305),
        "the largest doubles": ([-1.7e308, 1.7e308, 0.0], [1.7e308, -1.7e308, 1.0]),
        "far from 0": (1e9 + n, 1e9 + n),
        "one outlier": (n, np.append(np.zeros(19), 1e200)),
        "integers": (np.arange(9), np.arange(9)),
        "nothing": ([], []),
        "nothing finite": ([np.nan, 1.0], [1.0, np.inf]),
    }


@pytest.mark.parametrize("data", odd_data().values(), ids=odd_data().keys())
def test_guesses_are_finite_for_any_data(data):
    with np.errstate(all="raise"):
        for name in (*library.names(), *FACTORIES):
            form = form_of(name)
            guess = form.guess(*data)
            assert guess.shape == (form.formula.size,)
            assert np.isfinite(guess).all(), name


def test_guesses_ignore_order_bad_points_and_what_lies_outside_the_domain():
    form, rng = library.model("power_law"), np.random.default_rng(2)
    x = np.linspace(0.5, 4.0, 30)
    y = 2.0 * x**1.5
    plain = form.guess(x, y)
    mixed = rng.permutation(34)
    dirty_x, dirty_y = np.append(x, [-1.0, 0.0, np.nan, 1.0]), np.append(y, [5.0, 5.0, 5.0, np.inf])
    assert np.array_equal(form.guess(dirty_x[mixed][:, None], dirty_y[mixed]), plain)
    for got in (([1.0, 2.0], [1.0]), (np.ones((3, 2)), np.ones(3))):
        with pytest.raises(ValueError, match=r"received x of shape .*; expected two arrays .*: pass"):
            form.guess(*got)


def test_a_guess_for_many_points_looks_at_few():
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 4.0, 100_000)
    began = time.thread_time()
    for name in ("pseudo_voigt", "sine"):
        y = library.model(name).formula.value(x, np.array(TRUTH[name](rng)))
        found = fit(library.model(name).formula, x[:500], y[:500], library.model(name).guess(x, y))
        assert abs(found.fun).max() < 1e-8
    assert time.thread_time() - began < 5.0


def test_a_falling_logistic_has_a_negative_slope_and_its_top_above():
    x = np.linspace(-3.0, 3.0, 40)
    bottom, top, slope, _ = library.model("logistic4").guess(x, -np.tanh(x))
    assert bottom < top
    assert slope < 0


def test_logistic_stays_finite_far_out():
    x = np.array([-1e4, 0.0, 1e4])
    for name in ("logistic4", "logistic5"):
        form = library.model(name)
        params = np.ones(form.formula.size)
        params[1] = 2.0
        value, J = form.formula.value_and_jacobian(x, params)
        assert np.isfinite(value).all()
        assert np.isfinite(J).all()
        assert value[[0, 2]].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", ["hill", "weibull", "michaelis_menten"])
def test_curves_that_begin_at_zero_have_derivatives_there(name):
    formula = library.model(name).formula
    value, J = formula.value_and_jacobian([0.0], np.array(TRUTH[name](np.random.default_rng(0))))
    assert value.tolist() == [0.0]
    assert J.tolist() == [[0.0] * formula.size]


def test_unknown_names_come_with_close_ones():
    with pytest.raises(ValueError, match=r"received the model name 'gausian'; expected .*: did you mean gaussian"):
        library.model("gausian")
    with pytest.raises(ValueError, match="choose one, or write a formula"):
        library.model("zzz")
    for bad in (-1, 21, 1.5, True):
        with pytest.raises(ValueError, match=r"received degree=.*; expected an integer from 0 to 20: "):
            library.polynomial(bad)
    with pytest.raises(ValueError, match=r"received q=0; expected an integer from 1"):
        library.rational(1, 0)


def test_forms_pickle_compare_rename_and_refuse_collisions():
    peak = library.model("gaussian")
    both = peak + library.model("linear")
    assert both == pickle.loads(pickle.dumps(both)) == peak + library.model("linear")
    assert isinstance(both, CurveForm)
    assert both.name == "gaussian + linear"
    assert both.domain == "any x"
    assert (both + library.model("power_law")).domain == "x > 0"
    x = np.linspace(0.0, 4.0, 30)
    y = peak.formula.value(x, [2.0, 1.5, 0.4])
    assert np.array_equal(pickle.loads(pickle.dumps(peak)).guess(x, y), peak.guess(x, y))
    assert peak.rename({"height": "h"}).parameters == ("h", "center", "sigma")
    assert np.array_equal(peak.with_prefix("a_").guess(x, y), peak.guess(x, y))
    with pytest.raises(ValueError, match="share the parameters height, center, sigma"):
        peak + peak
    with pytest.raises(TypeError):
        peak + 1
    with pytest.raises(TypeError):
        peak * "linear"


def test_two_separate_peaks_are_told_apart():
    form = library.model("gaussian") + library.model("gaussian").with_prefix("second_")
    x = np.linspace(0.0, 4.0, 120)
    truth = np.array([3.0, 1.0, 0.2, 2.0, 2.8, 0.35])
    y = form.formula.value(x, truth)
    found = fit(form.formula, x, y, form.guess(x, y)).x
    assert np.allclose(found, truth, rtol=1e-6) or np.allclose(found, np.roll(truth, 3), rtol=1e-6)

"""Curve fits and minimisations whose ends are easily told wrongly: singular, at an edge, flat, or in odd units."""

import functools
import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import OptimizeResult, OptimizeWarning
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from sosolve import NonlinearLeastSquares, curve_fit, fit_curves, least_squares, minimize
from sosolve.scipy_api.curve_end import flat_directions, kicked, settle_at_rounding, shaken
from sosolve.scipy_api.curve_rest import why_at_rest
from sosolve.scipy_api.failures import FitError

X = np.linspace(0.0, 4.0, 40)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.05 * np.cos(7.0 * X)


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


def test_a_huge_derivative_makes_no_point_stationary():
    x = np.linspace(0.1, 10.0, 60)
    y = 2.0 * np.sqrt(x + 1.0)
    with pytest.raises(FitError, match=r"at the edge of where the model exists: .* for parameters \[1\]"):
        curve_fit(lambda x, a, b: a * np.sqrt(x + b), x, y, [-2.413, 0.183])


def test_a_flat_start_is_called_flat():
    with pytest.raises(FitError, match=r"does not change with parameters \[0, 1, 2\]"):
        curve_fit(lambda x, a, k, m: a / (1.0 + np.exp(-k * (x - m))), X, Y, [7.226, 9.264, 18.644])


@pytest.mark.parametrize(
    ("model", "p0", "lost"),
    [
        (lambda x, a, b, c: a * np.abs(x - b) + c, [1.0, 1.0, 1.0], (False, True, True)),
        (lambda x, a, b, c: np.array([a * math.exp(-(b + c) * t) for t in x]), [1.0, 1.0, 0.3], (False, True, True)),
    ],
    ids=["kink outside", "sum of rates"],
)
def test_noise_of_differences_identifies_nothing(model, p0, lost):
    with pytest.warns(OptimizeWarning, match="not identifiable"):
        _, pcov = curve_fit(model, X, Y, p0)
    assert np.isinf(pcov).all()
    with pytest.warns(ConvergenceWarning, match="do not determine b, c"):
        fit = NonlinearLeastSquares(model, p0=p0).fit(X[:, None], Y)
    assert tuple(np.isnan(list(fit.stderr_.values()))) == lost


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_a_start_on_a_branch_cut(method):
    def helical(p):
        turn = np.arctan2(p[1], p[0]) / (2.0 * np.pi)
        return np.array([10.0 * (p[2] - 10.0 * turn), 10.0 * (np.hypot(p[0], p[1]) - 1.0), p[2]])

    found = least_squares(helical, [-3.9, -0.0, 0.0], method=method)
    assert found.cost < 1e-12 or not found.success


def test_points_of_infinite_sigma_do_not_count():
    sigma = np.r_[np.inf, np.full(39, 0.1)]
    for absolute in (False, True):
        want = curve_fit(decay, X[1:], Y[1:], sigma=sigma[1:], absolute_sigma=absolute)
        got = curve_fit(decay, X, Y, sigma=sigma, absolute_sigma=absolute)
        np.testing.assert_allclose(got[0], want[0], rtol=1e-9)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-6)


@pytest.mark.parametrize("sigma", [1e200, np.full(40, 1e-200)], ids=["huge", "tiny"])
def test_sigma_beyond_the_range_of_squares(sigma):
    want = curve_fit(decay, X, Y)
    got = curve_fit(decay, X, Y, sigma=sigma)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-9)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-6)
    with pytest.raises(ValueError, match="squares of y / sigma"):
        curve_fit(decay, X, Y, sigma=sigma, absolute_sigma=True)


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_a_model_that_writes_into_x_is_told_what_to_do(method):
    def writes(x, a, b):
        x *= -b
        return a * np.exp(x)

    with pytest.raises(ValueError, match="read-only") as caught:
        curve_fit(writes, X, Y, method=method)
    assert any("x = x.copy()" in note for note in caught.value.__notes__)


def test_a_random_model_is_called_random():
    rng = np.random.default_rng(0)
    with pytest.raises(FitError, match="The model is random"):
        curve_fit(lambda x, a, b, c: decay(x, a, b, c) + 1e-7 * rng.normal(size=x.size), X, Y)


def test_forms_of_functions_and_starts():
    @functools.wraps(decay)
    def wrapped(*args):
        return decay(*args)

    want = curve_fit(decay, X, Y)[0]
    np.testing.assert_allclose(curve_fit(wrapped, X, Y)[0], want, rtol=1e-9)
    np.testing.assert_allclose(curve_fit(decay, X, Y, np.ones((1, 3)))[0], want, rtol=1e-9)
    np.testing.assert_allclose(curve_fit(decay, X, Y, ftol=0.0)[0], want, rtol=1e-9)
    for p0 in (None, [1.0]):
        with pytest.raises(TypeError, match="must be a function"):
            curve_fit(3, X, Y, p0)


def test_iterations_are_written_in_scipys_columns(capsys):
    least_squares(lambda p: decay(X, *p) - Y, np.ones(3), verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Iteration", "Total", "nfev", "Cost", "Cost", "reduction", "Step", "norm", "Optimality"]
    assert lines[1].split()[:2] == ["1", "2"]


def test_one_step_for_all_parameters():
    found = least_squares(lambda p: decay(X, *p) - Y, np.ones(3), diff_step=[1e-6])
    np.testing.assert_allclose(found.x, curve_fit(decay, X, Y)[0], rtol=1e-5)


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "TNC", "trust-exact"])
def test_options_of_scipys_algorithms_are_no_strangers(method):
    options = {"c1": 1e-4, "maxls": 20, "max_trust_radius": 100.0, "eta": -1, "stepmx": 1.0, "hess_inv0": np.eye(2)}
    if method == "trust-exact":
        options["eta"] = 0.1
    found = minimize(scipy.optimize.rosen, [1.3, 0.7], method=method, options=options)
    assert found.success


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC"])
def test_tol_counts_for_the_value_too(method):
    found = minimize(scipy.optimize.rosen, [1.3, 0.7], method=method, tol=1e-10)
    assert found.success
    np.testing.assert_allclose(found.x, 1.0, atol=1e-6)
    drowned = minimize(lambda x: 1e9 + scipy.optimize.rosen(x), [-1.2, 1.0], method=method, bounds=[(-3, 3)] * 2)
    assert not drowned.success


@pytest.mark.parametrize(
    ("true", "p0"),
    [
        ([-2.88, 0.86, 2.54, 0.70], [1.0, 2.0, 1.0, 2.0]),  # ends on a saddle with equal rates
        ([1.29, 0.84, 0.54, -2.06], [0.5, 0.5, 0.5, 0.5]),  # a slow second try has to go on
    ],
)
def test_equal_starts_of_two_equal_terms(true, p0):
    def both(x, a, b, c, d):
        return a * np.exp(-b * x) + c * np.exp(-d * x)

    popt, pcov = curve_fit(both, X, both(X, *true), p0)
    order = [2, 3, 0, 1] if abs(popt[0] - true[0]) > 0.1 else [0, 1, 2, 3]
    np.testing.assert_allclose(popt[order], true, rtol=1e-8)
    assert np.sqrt(np.diag(pcov)).max() < 1e-8


def test_noise_in_the_twelfth_digit_is_no_failure():
    """Residuals of 1e-12 have no more digits than the cosines need that would tell a minimum."""
    x = np.linspace(0.0, 4.0, 50)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true = rng.uniform(0.5, 2.0, 3)
        y = true[0] / (1.0 + np.exp(-true[1] * (x - true[2]))) + 1e-12 * rng.standard_normal(50)
        p0 = true * rng.uniform(0.7, 1.3, 3)
        popt, _ = curve_fit(lambda x, a, b, c: a / (1.0 + np.exp(-b * (x - c))), x, y, p0, xtol=1e-12)
        np.testing.assert_allclose(popt, true, rtol=1e-9)


def broken(x, a, b, d, c):
    return a + b * x + d * np.maximum(x - c, 0.0)


@pytest.mark.parametrize("model", [broken, "a + b*x + d*maximum(x - c, 0)"], ids=["function", "formula"])
def test_a_minimum_at_a_kink_is_returned_with_a_warning(model):
    """The best breakpoint is a point of the data, where the sum of squares has the form of a V."""
    x = np.linspace(0.0, 10.0, 40)
    y = broken(x, 1.0, 0.5, -1.2, 6.2) + 0.1 * np.random.default_rng(0).standard_normal(40)
    with pytest.warns(OptimizeWarning, match=r"a kink at its minimum, where the model bends with parameters \[3\]"):
        popt, pcov = curve_fit(model, x, y, [0.0, 1.0, -1.0, 5.0])
    theirs = scipy.optimize.curve_fit(broken, x, y, [0.0, 1.0, -1.0, 5.0])[0]
    assert np.sum((broken(x, *popt) - y) ** 2) <= np.sum((broken(x, *theirs) - y) ** 2)
    assert popt[3] == pytest.approx(x[24], rel=1e-9)
    assert np.isfinite(pcov).all()


@pytest.mark.parametrize(
    ("keywords", "what"),
    [
        ({"jac_sparsity": csr_array(np.ones((40, 4)))}, "sum of squares"),
        ({"loss": "soft_l1", "f_scale": 0.1}, "loss"),
        ({"loss": "soft_l1", "f_scale": None}, "loss"),
    ],
    ids=["sparse", "robust", "scaled"],
)
def test_a_kink_is_seen_whatever_is_minimised(keywords, what):
    """Sparse Jacobians have one too, and a robust loss has a V where the sum of squares may have none."""
    x = np.linspace(0.0, 10.0, 40)
    y = broken(x, 1.0, 0.5, -1.2, 6.2) + 0.1 * np.random.default_rng(0).standard_normal(40)
    with pytest.warns(OptimizeWarning, match=rf"The {what} has a kink at its minimum, .* parameters \[3\]"):
        popt, _, info, *_ = curve_fit(broken, x, y, [0.0, 1.0, -1.0, 5.0], full_output=True, **keywords)
    assert popt[3] == pytest.approx(x[24], rel=1e-6)
    assert info["fjac"].shape == (4, 40)


def test_flat_directions_of_many_points_take_little_memory():
    tracemalloc.start()
    directions = flat_directions(np.ones((20_000, 2)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6
    assert np.abs(directions).ravel() == pytest.approx([math.sqrt(0.5)] * 2, rel=1e-12)
    assert directions[0, 0] == pytest.approx(-directions[1, 0], rel=1e-12)


def test_points_off_a_saddle_stay_inside_of_the_box():
    """The farthest first, a tenth of a parameter away; none where no direction is flat."""
    theta, directions = np.array([1.0, 2.0]), np.array([[1.0], [0.0]])
    assert [point.tolist() for point in kicked(theta, np.zeros((2, 0)), {})] == []
    assert [point.tolist() for point in kicked(theta, directions, {})] == [[1.1, 2.0], [0.9, 2.0]]
    box = {"lower": np.array([0.5, 0.0]), "upper": np.array([1.0, 3.0])}
    assert [point.tolist() for point in kicked(theta, directions, box)] == [[0.9, 2.0], [1.0, 2.0]]


@pytest.mark.parametrize("keywords", [{"callback": True}, {"max_nfev": 8}, {"max_nfev": 8, "f_scale": 1.0}])
def test_a_fit_that_was_told_to_end_gets_no_second_look(keywords):
    """Two equal terms leave the Jacobian singular, and a fit from beside the saddle would be another fit."""
    calls, y = [], np.exp(-X) + 2.0 * np.exp(-3.0 * X)

    def stop(intermediate_result):
        calls.append(intermediate_result.nit)
        raise StopIteration

    def two(x, a, b, c, d):
        two.count += 1
        return a * np.exp(-b * x) + c * np.exp(-d * x)

    two.count = 0
    more = {**keywords, "callback": stop} if "callback" in keywords else keywords
    with pytest.raises(FitError, match=r"callback|maximum number"):
        curve_fit(two, X, y, np.ones(4), **more)
    assert len(calls) == ("callback" in keywords)
    assert two.count <= 50


def test_a_second_look_is_silent(capsys):
    """The caller asked for one fit: one summary is printed, and steps of one fit are reported."""
    steps = []
    popt, _ = curve_fit(
        lambda x, a, b, c, d: a * np.exp(-b * x) + c * np.exp(-d * x),
        X,
        np.exp(-X) + 2.0 * np.exp(-3.0 * X),
        np.ones(4),
        verbose=1,
        callback=lambda intermediate_result: steps.append(intermediate_result.nit),
    )
    assert sorted(popt) == pytest.approx([1.0, 1.0, 2.0, 3.0], rel=1e-6)
    assert capsys.readouterr().out.count("initial cost") == 1
    assert steps == sorted(set(steps))


def test_a_wrong_jacobian_is_no_kink():
    with pytest.raises(FitError, match="jac"):
        curve_fit(decay, X, Y, [1.0, 1.0, 1.0], jac=lambda x, a, b, c: np.stack([x, x**2, x**3 - a], axis=1))


def test_a_fit_without_an_end_is_returned_with_a_warning():
    """Where three points leave a logistic curve's height to infinity, SciPy stops somewhere; so do we, and say so."""

    def logistic(x, a, b, c):
        return a / (1.0 + np.exp(-b * (x - c)))

    x, y = np.array([0.1, 1.0, 3.0]), np.array([3.2, -1.9, 0.4])
    with pytest.warns(OptimizeWarning, match=r"falling by less than 1.49e-08|could not be estimated"):
        popt, _ = curve_fit(logistic, x, y, [1.7, 2.6, 2.7])
    assert np.isfinite(popt).all()
    with pytest.raises(FitError, match="maximum number"):
        curve_fit(logistic, x, y, [1.7, 2.6, 2.7], max_nfev=30)


@pytest.mark.parametrize(
    ("actual", "keywords", "rests"), [(1e-9, {}, True), (1e-9, {"ftol": 0}, False), (1e-7, {}, False)]
)
def test_a_slow_end_rests_where_the_caller_asked_for_nothing_else(actual, keywords, rests):
    step = SimpleNamespace(accepted=True, actual=actual, value=1.0)
    outcome = OptimizeResult(status=0, nit=2000, history=[step] * 10)
    why = why_at_rest(SimpleNamespace(keywords=keywords), outcome)
    assert ("falling by less than 1.49e-08 of itself a step, after 2000 steps" in why) == rests
    assert bool(why) == rests


@pytest.mark.parametrize(("column", "settles"), [([1.0, 1.0], True), ([1.0, 0.0], False)])
def test_a_stalled_fit_settles_where_its_slopes_are_rounding(column, settles):
    """Residuals of 1e-13 of y, whose cosine with the column is 0, or 0.7."""
    fun, jac = np.array([1e-13, -1e-13]), np.array(column)[:, None]
    outcome = OptimizeResult(fun=fun, jac=jac, grad=jac.T @ fun, active_mask=np.zeros(1), success=False)
    settle_at_rounding(outcome, 1.0)
    assert outcome.success == settles


def test_a_shaken_start_lies_on_no_symmetry():
    """Every parameter moves by another share, up to a tenth, and stays inside of the box."""
    assert shaken(np.array([1.0, 1.0, 0.0]), {}) == pytest.approx([1.03, 0.935, 0.1])
    box = {"lower": np.zeros(3), "upper": np.ones(3)}
    assert shaken(np.array([1.0, 1.0, 0.0]), box) == pytest.approx([1.0, 0.935, 0.1])


def test_one_point_and_two_parameters():
    with pytest.raises(TypeError, match="must not exceed the number of data points=1"):
        curve_fit(lambda x, a, b: a * x + b, [1.0], [2.0])


MODELS = {"decay": "a*exp(-b*x) + c", "function": decay, "logistic": "a/(1 + exp(-b*(x - 2))) + c"}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_constant_data_leave_a_rate_open(model):
    with pytest.warns(ConvergenceWarning, match="do not determine b"):
        fit = NonlinearLeastSquares(model).fit(X[1:, None], np.full(39, 3.7))
    assert np.isnan(fit.stderr_["b"])
    if fit.rss_ == 0.0:
        profile = fit.conf_int(method="profile", X=X[1:, None], y=np.full(39, 3.7))
        assert profile["b"] == (-np.inf, np.inf)
        assert profile["c"] == (fit.params_["c"], fit.params_["c"])
    assert fit.stderr_["c"] < 1e-12


@pytest.mark.filterwarnings("ignore:NonlinearLeastSquares STALLED")  # differences of a function that is 1e-60
@pytest.mark.parametrize("model", [MODELS["decay"], decay], ids=["formula", "function"])
@pytest.mark.parametrize("level", [0.0, 3.0])
def test_no_way_of_fitting_knows_a_rate_that_nothing_determines(model, level):
    y, p0 = np.full(40, level), [1.0, 1.0, 1.0]
    with pytest.warns(OptimizeWarning, match=r"parameters \[1\] are not identifiable"):
        popt, pcov = curve_fit(model, X, y, p0)
    assert np.isinf(pcov).all()
    assert popt[2] == pytest.approx(level, abs=1e-12)
    with pytest.warns(ConvergenceWarning, match="do not determine b"):
        fit = NonlinearLeastSquares(model, p0=p0).fit(X[:, None], y)
    assert np.isnan(fit.stderr_["b"])
    if isinstance(model, str):
        np.testing.assert_array_equal(fit_curves(model, X, y[None], p0=p0).undetermined, [[False, True, False]])


def test_the_place_of_a_peak_that_is_no_peak_is_open():
    with pytest.warns(ConvergenceWarning, match="do not determine center, sigma"):
        fit = NonlinearLeastSquares("gaussian", p0=[1.0, 1.0, 1.0]).fit(X[:, None], np.full(40, 3.0))
    assert np.isnan(fit.stderr_["center"])
    assert np.isnan(fit.stderr_["sigma"])
    assert fit.stderr_["height"] < 1e-12


def test_an_offset_of_zero_is_known():
    fit = NonlinearLeastSquares("a*exp(-b*x) + c").fit(X[:, None], 2.0 * np.exp(-X))
    assert max(fit.stderr_.values()) < 1e-12


def test_many_curves_take_every_form_of_bounds():
    curves = np.stack([Y, 2.0 * Y])
    for bounds in (scipy.optimize.Bounds(0.0, 9.0), {"b": (0, None)}, (None, 9.0)):
        assert fit_curves("a*exp(-b*x) + c", X, curves, bounds=bounds).converged.all()
    with pytest.raises(ValueError, match="expected a pair"):
        fit_curves("a*exp(-b*x) + c", X, curves, bounds=[(0, 9)] * 3)


def test_the_hessian_at_the_end():
    rosen, grad, hess = scipy.optimize.rosen, scipy.optimize.rosen_der, scipy.optimize.rosen_hess
    found = minimize(rosen, [1.3, 0.7], method="trust-exact", jac=grad, hess=hess)
    np.testing.assert_array_equal(found.hess, hess(found.x))
    assert "hess" not in minimize(rosen, [1.3, 0.7], method="BFGS", jac=grad)


@pytest.mark.parametrize("scale", [1e-50, 1.0, 1e50])
def test_a_function_in_any_unit(scale):
    found = minimize(
        lambda x: scale * (x[0] - 1.0) ** 2,
        [-1.0],
        jac=lambda x: 2.0 * scale * (x - 1.0),
        method="BFGS",
        options={"gtol": 1e-8 * scale},
    )
    assert found.success
    np.testing.assert_allclose(found.x, 1.0)


def test_ends_of_minimize_as_in_scipy():
    rosen = scipy.optimize.rosen
    found = minimize(rosen, [0.5, 0.2], bounds=[(0.5, 0.5), (0, 1)])
    assert np.isnan(found.jac[0])
    assert np.isfinite(found.jac[1])
    with pytest.warns(OptimizeWarning, match="Maximum number"):
        minimize(rosen, [-1.2, 1.0], method="BFGS", options={"disp": True, "maxiter": 2})
    for given in (-np.eye(2), [[1.0, 0.0], [0.0, 0.0]], "unit"):
        with pytest.raises(ValueError, match="isn't positive definite"):
            minimize(rosen, [1.3, 0.7], options={"hess_inv0": given})
    with pytest.raises(ValueError, match="'x0' must only have one dimension"):
        minimize(rosen, [[1.3, 0.7]])
    wrong = minimize(lambda x: (x[0] - 1.0) ** 2, [2.0], jac=lambda x: -2.0 * x, method="newton-cg")
    assert wrong.fun <= 1.0

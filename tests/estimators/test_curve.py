"""NonlinearLeastSquares: agreement with SciPy, forms of models, weights, bounds, hard scales, several outputs."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from quiet_callback import QuietCallback
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sosolve import NonlinearLeastSquares, TrustRegion
from sosolve.curves import library, parse
from sosolve.solvers import LevenbergMarquardt

#: Formula, range of x, parameters behind the data, start.
MODELS = {
    "decay": ("a*exp(-b*x) + c", (0.0, 4.0), [3.0, 0.5, 1.0], [1.0, 1.0, 1.0]),
    "power": ("a*x**b", (0.5, 5.0), [2.0, 1.5], [1.0, 1.0]),
    "enzyme": ("vmax*x/(km + x)", (0.1, 5.0), [2.0, 0.7], [1.0, 1.0]),
    "peak": ("h*exp(-(x - m)**2/(2*s**2)) + c", (0.0, 4.0), [3.0, 2.2, 0.4, 0.5], [2.0, 2.0, 0.5, 0.0]),
    "growth": ("top/(1 + exp(-k*(x - m)))", (0.0, 8.0), [5.0, 1.3, 4.0], [4.0, 1.0, 3.0]),
    "sine": ("a*sin(w*x + p) + c", (0.0, 9.0), [2.0, 1.1, 0.4, 3.0], [1.0, 1.0, 0.0, 2.0]),
    "straight": ("a + b*x", (0.0, 4.0), [1.0, -2.0], [0.0, 0.0]),
    "nonlinear alone": ("exp(-b*x)", (0.0, 4.0), [0.8], [1.0]),
}
SOLVERS = ["lm", "auto", "gauss-newton", "dogleg", "newton-cg", "newton-cholesky", "trust-region", "bfgs", "lbfgs"]


def data(name, n=60, noise=0.05):
    """Return X, y, the formula, the start and the parameters of a model."""
    text, span, theta, start = MODELS[name]
    x = np.linspace(*span, n)
    clean = parse(text, 1).value(x, theta)
    return x[:, None], clean + noise * np.random.default_rng(1).standard_normal(n), text, start, theta


def function_of(text):
    """Return f(x, *params) of a formula, as a function without derivatives."""
    formula = parse(text, 1)
    scope = {"exp": np.exp, "sin": np.sin}
    exec(f"def f(x, {', '.join(formula.parameters)}):\n    return {text}", scope)  # noqa: S102
    return scope["f"]


@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_scipy(name):
    """Parameters, covariance and standard errors are those of curve_fit with exact derivatives."""
    X, y, text, start, _ = data(name)
    formula = parse(text, 1)
    est = NonlinearLeastSquares(text, p0=start).fit(X, y)
    p, C = scipy.optimize.curve_fit(
        lambda x, *p: formula.value(x, p),
        X[:, 0],
        y,
        p0=start,
        jac=lambda x, *p: formula.jacobian(x, p),
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
    )
    np.testing.assert_allclose(est.theta_, p, rtol=2e-8, atol=1e-9)
    np.testing.assert_allclose(est.covariance_, C, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(list(est.stderr_.values()), np.sqrt(np.diag(C)), rtol=1e-7)
    r = y - est.predict(X)
    assert est.rss_ == pytest.approx(r @ r)
    assert est.dof_ == len(y) - len(p)
    assert est.result_.converged
    assert est.param_names_ == formula.parameters
    assert list(est.params_.values()) == est.theta_.tolist()


@pytest.mark.parametrize("name", MODELS)
def test_function_and_formula_agree(name):
    """The same model as a function without derivatives gives the same digits."""
    X, y, text, start, _ = data(name)
    a = NonlinearLeastSquares(text, p0=start).fit(X, y)
    b = NonlinearLeastSquares(function_of(text), p0=start).fit(X, y)
    np.testing.assert_allclose(b.theta_, a.theta_, rtol=1e-8)
    np.testing.assert_allclose(b.covariance_, a.covariance_, rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", ["decay", "growth", "peak"])
def test_solvers_share_the_optimum(name, solver):
    """Every solver ends at the same sum of squares and says that it converged."""
    X, y, text, start, _ = data(name)
    best = NonlinearLeastSquares(text, p0=start).fit(X, y)
    est = NonlinearLeastSquares(text, p0=start, solver=solver).fit(X, y)
    assert est.result_.converged
    assert est.rss_ == pytest.approx(best.rss_, rel=1e-11)
    np.testing.assert_allclose(est.theta_, best.theta_, rtol=1e-5)


@pytest.mark.parametrize("name", library.names())
def test_starts_of_the_library(name):
    """Without p0, each named model finds parameters that made data with 1 % of noise."""
    form = library.model(name)
    x = np.linspace(0.2, 6.0, 80)
    choice = {
        "center": 2.5, "sigma": 0.5, "hwhm": 0.6, "share": 0.4, "middle": 3.0, "k": 1.7, "b": 0.9, "d": 0.25, "n": 2.0,
        "slope": 1.5, "asymmetry": 0.8, "frequency": 0.5, "phase": 0.4, "decay": 0.2, "bottom": 0.5, "top": 4.0,
    }  # fmt: skip
    theta = np.array([choice.get(p, 2.0) for p in form.parameters])
    clean = form.formula.value(x, theta)
    y = clean + 0.01 * np.ptp(clean) * np.random.default_rng(0).standard_normal(len(x))
    est = NonlinearLeastSquares(name).fit(x[:, None], y)
    true = NonlinearLeastSquares(name, p0=theta).fit(x[:, None], y)
    assert est.rss_ <= true.rss_ * (1.0 + 1e-8)
    assert est.result_.converged


@pytest.mark.parametrize("name", MODELS)
def test_starts_of_formulas_and_functions(name):
    """Without p0, formulas are solved from a search; functions from trials."""
    X, y, text, start, _ = data(name)
    best = NonlinearLeastSquares(text, p0=start).fit(X, y).rss_
    assert NonlinearLeastSquares(text).fit(X, y).rss_ == pytest.approx(best, rel=1e-9)
    assert NonlinearLeastSquares(function_of(text)).fit(X, y).rss_ <= best * (1.0 + 1e-8)


def test_model_forms_agree():
    """A formula, a form, a parsed formula, a sum of forms and a function with jac describe one model."""
    X, y, *_ = data("decay")
    text = "a*exp(-b*x) + c"

    def jac(x, a, b, c):
        return np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones_like(x)], axis=1)

    constant = library.polynomial(0).rename({"c0": "c"})
    forms = [
        "exponential_decay_offset",
        library.model("exponential_decay_offset"),
        parse(text, 1),
        library.model("exponential_decay") + constant,
    ]
    expected = NonlinearLeastSquares(text).fit(X, y)
    for form in forms:
        np.testing.assert_allclose(NonlinearLeastSquares(form).fit(X, y).theta_, expected.theta_, rtol=1e-9)
    for how in (jac, "auto", "cs", "3-point"):
        est = NonlinearLeastSquares(lambda x, a, b, c: a * np.exp(-b * x) + c, jac=how, p0=[1, 1, 1]).fit(X, y)
        np.testing.assert_allclose(est.theta_, expected.theta_, rtol=1e-7)


def test_columns_by_name_and_by_position():
    """A formula finds columns by name where the text uses one, else x0, x1, ... by position."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"dose": rng.uniform(0, 3, 50), "time": rng.uniform(0, 3, 50)})
    y = 2.0 * frame["dose"] * np.exp(-0.7 * frame["time"]) + 0.01 * rng.standard_normal(50)
    a = NonlinearLeastSquares("a*dose*exp(-b*time)").fit(frame, y)
    b = NonlinearLeastSquares("a*x0*exp(-b*x1)").fit(frame, y)
    c = NonlinearLeastSquares(parse("a*dose*exp(-b*time)", ["time", "dose"])).fit(frame, y)
    d = NonlinearLeastSquares(lambda x, a, b: a * x[:, 0] * np.exp(-b * x[:, 1])).fit(frame, y)
    for est in (b, c, d):
        np.testing.assert_allclose(est.theta_, a.theta_, rtol=1e-8)
    assert list(a.feature_names_in_) == ["dose", "time"]
    with pytest.raises(ValueError, match="feature names"):
        a.predict(frame[["time", "dose"]])


# ---------------------------------------------------------------------- weights, bounds, fixed, robust


def test_sigma_is_that_of_curve_fit():
    """Relative and absolute sigma give curve_fit's covariance."""
    X, y, text, start, _ = data("decay")
    sigma = np.linspace(0.02, 0.2, len(y))
    for absolute in (False, True):
        est = NonlinearLeastSquares(text, p0=start, absolute_sigma=absolute).fit(X, y, sigma=sigma)
        p, C = scipy.optimize.curve_fit(
            function_of(text), X[:, 0], y, start, sigma, absolute, ftol=1e-14, xtol=1e-14, gtol=1e-14
        )
        np.testing.assert_allclose(est.theta_, p, rtol=1e-6)
        np.testing.assert_allclose(est.covariance_, C, rtol=1e-4)


@pytest.mark.parametrize("loss", ["linear", "soft_l1", "cauchy"])
def test_weights_are_repeated_rows(loss):
    """Weights of 0, 1, 2 give what removed and repeated rows give: parameters, errors, degrees of freedom, scale."""
    X, y, text, start, _ = data("decay")
    y[::9] += 1.0
    w = np.random.default_rng(2).integers(0, 3, len(y))
    a = NonlinearLeastSquares(text, p0=start, loss=loss).fit(X, y, sample_weight=w)
    b = NonlinearLeastSquares(text, p0=start, loss=loss).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    np.testing.assert_allclose(a.theta_, b.theta_, rtol=1e-7)
    np.testing.assert_allclose(a.covariance_, b.covariance_, rtol=1e-6)
    assert a.dof_ == b.dof_
    assert a.rss_ == pytest.approx(b.rss_)
    if loss != "linear":
        assert a.f_scale_ == pytest.approx(b.f_scale_)


def test_scale_of_relative_sigma_and_of_both_weights():
    """A factor in sigma changes nothing; sigma 1/2 weighs as much as weight 4 does for the parameters."""
    X, y, text, start, _ = data("decay")
    sigma = np.linspace(0.5, 2.0, len(y))
    a = NonlinearLeastSquares(text, p0=start).fit(X, y, sigma=sigma)
    b = NonlinearLeastSquares(text, p0=start).fit(X, y, sigma=1e5 * sigma)
    c = NonlinearLeastSquares(text, p0=start).fit(X, y, sample_weight=sigma**-2)
    np.testing.assert_allclose(b.covariance_, a.covariance_, rtol=1e-8)
    np.testing.assert_allclose(c.theta_, a.theta_, rtol=1e-9)


@pytest.mark.parametrize("solver", ["lm", "dogleg", "gauss-newton"])
def test_bounds_hold_and_are_reported(solver):
    """An optimum on a bound is that of least_squares; it is named, and the others' errors are their own."""
    X, y, text, start, _ = data("decay")
    est = NonlinearLeastSquares(text, bounds={"b": (0.6, 2.0)}, p0=start, solver=solver).fit(X, y)
    other = NonlinearLeastSquares(text, fixed={"b": 0.6}).fit(X, y)
    assert est.params_["b"] == 0.6
    np.testing.assert_allclose(est.theta_, other.theta_, rtol=1e-8)
    np.testing.assert_allclose(est.covariance_, other.covariance_, rtol=1e-6, atol=1e-15)
    assert any("b lies on its lower bound (0.6)" in said for said in est.diagnosis_)
    assert "on its lower bound" in str(est.report())


def test_forms_of_bounds_agree():
    """Lists, a mapping and SciPy's Bounds mean the same; linear parameters may be bounded too."""
    X, y, text, start, _ = data("decay")
    lower, upper = [0.0, 0.0, -np.inf], [2.5, 3.0, np.inf]
    forms = [(lower, upper), {"a": (0.0, 2.5), "b": (0.0, 3.0)}, scipy.optimize.Bounds(lower, upper)]
    fits = [NonlinearLeastSquares(text, bounds=form, p0=start).fit(X, y) for form in forms]
    ref = scipy.optimize.least_squares(
        lambda p: parse(text, 1).value(X, p) - y, start, bounds=(lower, upper), xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    for est in fits:
        np.testing.assert_allclose(est.theta_, ref.x, rtol=1e-6)
        assert est.params_["a"] == 2.5
    assert NonlinearLeastSquares(text, bounds=(0.0, np.inf)).fit(X, y).result_.converged


@pytest.mark.parametrize("fixed", [{"b": 0.5}, {"c": 1.0}, {"a": 3.0, "c": 1.0}])
def test_fixed(fixed):
    """A fixed parameter keeps its value, has no error, and the rest is the fit of the smaller model."""
    X, y, text, start, _ = data("decay")
    est = NonlinearLeastSquares(text, fixed=fixed, p0=dict(zip("abc", start, strict=True))).fit(X, y)
    smaller = text
    for name, value in fixed.items():
        smaller = smaller.replace(f"{name}*", f"{value}*").replace(f"+ {name}", f"+ {value}")
    ref = NonlinearLeastSquares(smaller).fit(X, y)
    for name in "abc":
        assert est.params_[name] == pytest.approx(fixed.get(name, ref.params_.get(name)), rel=1e-9)
        assert est.stderr_[name] == pytest.approx(0.0 if name in fixed else ref.stderr_[name], rel=1e-6)
    assert est.dof_ == ref.dof_
    held = NonlinearLeastSquares(text, fixed=list(fixed), p0=fixed).fit(X, y)
    np.testing.assert_allclose(held.theta_, est.theta_, rtol=1e-8)


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy", "arctan"])
def test_robust_losses(loss):
    """Given f_scale the optimum is least_squares'; without, outliers do little harm."""
    X, y, text, _, theta = data("decay")
    y[::7] += 4.0
    formula = parse(text, 1)
    est = NonlinearLeastSquares(text, loss=loss, f_scale=0.1, p0=theta).fit(X, y)
    ref = scipy.optimize.least_squares(
        lambda p: formula.value(X, p) - y,
        theta,
        lambda p: formula.jacobian(X, p),
        loss=loss,
        f_scale=0.1,
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-12,
    )
    np.testing.assert_allclose(est.theta_, ref.x, rtol=1e-5)
    assert est.result_.value == pytest.approx(ref.cost, rel=1e-9)
    free = NonlinearLeastSquares(text, loss=loss).fit(X, y)
    plain = NonlinearLeastSquares(text).fit(X, y)
    assert 0.03 < free.f_scale_ < 0.15
    assert np.abs(free.theta_ - theta).max() < 0.4 < np.abs(plain.theta_ - theta).max()
    assert max(free.stderr_.values()) < 0.5 * max(plain.stderr_.values())


@pytest.mark.parametrize("form", ["formula", "named"])
def test_one_outlier_of_1e10(form):
    """A robust loss finds its start beside a point that outweighs all others."""
    X, y, text, _, theta = data("decay")
    y[20] = 1e10
    est = NonlinearLeastSquares({"formula": text, "named": "exponential_decay_offset"}[form], loss="soft_l1").fit(X, y)
    np.testing.assert_allclose(est.theta_, theta, atol=0.25)


# ---------------------------------------------------------------------- hard scales


@pytest.mark.parametrize("form", ["formula", "function"])
@pytest.mark.parametrize(
    ("sx", "sy"), [(1e9, 1.0), (1e-9, 1.0), (1.0, 1e-12), (1.0, 1e12), (1.0, 1e-140), (1.0, 1e140)]
)
def test_units_change_nothing(sx, sy, form):
    """x and y in other units give the same fit in other units, errors included."""
    X, y, text, start, _ = data("decay")
    model = text if form == "formula" else function_of(text)
    a = NonlinearLeastSquares(model, p0=start).fit(X, y)
    p0 = [start[0] * sy, start[1] / sx, start[2] * sy]
    b = NonlinearLeastSquares(model, p0=p0).fit(X * sx, y * sy)
    unit = np.array([sy, 1.0 / sx, sy])
    np.testing.assert_allclose(b.theta_ / unit, a.theta_, rtol=1e-8)
    np.testing.assert_allclose(np.array(list(b.stderr_.values())) / unit, list(a.stderr_.values()), rtol=1e-6)
    if form == "formula":
        free = NonlinearLeastSquares(text).fit(X * sx, y * sy)
        np.testing.assert_allclose(free.theta_ / unit, a.theta_, rtol=1e-7)


def test_parameter_that_is_zero():
    """A true value of 0, as a start and as a result, changes neither fit nor errors."""
    x = np.linspace(-1.0, 1.0, 41)
    y = 2.0 * x**2 + 0.01 * np.cos(40.0 * x)
    est = NonlinearLeastSquares("a + b*x + c*x**2", p0=[0, 0, 0]).fit(x[:, None], y)
    C = np.polyfit(x, y, 2, cov=True)[1]
    assert abs(est.params_["b"]) < 1e-12
    np.testing.assert_allclose(list(est.stderr_.values()), np.sqrt(np.diag(C))[::-1], rtol=1e-9)
    f = NonlinearLeastSquares(lambda x, a, b: a * x + b * x**3, p0=[0.0, 0.0]).fit(x[:, None], 1.5 * x)
    np.testing.assert_allclose(f.theta_, [1.5, 0.0], atol=1e-9)


def test_offset_of_1e9_under_a_signal_of_2():
    """The signal is found to the digits that the data still hold: 1e-7 of 2."""
    x = np.linspace(0.0, 4.0, 60)
    y = 1e9 + 2.0 * np.exp(-0.8 * x)
    est = NonlinearLeastSquares("a*exp(-b*x) + c").fit(x[:, None], y)
    np.testing.assert_allclose([est.params_["a"], est.params_["b"]], [2.0, 0.8], rtol=1e-6)
    assert est.params_["c"] == pytest.approx(1e9, rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8, np.float16])
def test_dtypes_of_y_and_x(dtype):
    """y and X of other types are converted, never truncated; the start is not returned."""
    x = np.arange(1, 30).astype(dtype)
    y = (100.0 * np.exp(-0.2 * np.arange(1, 30))).astype(dtype)
    est = NonlinearLeastSquares("a*exp(-b*x)", p0=[50, 1]).fit(x[:, None], y)
    ref = NonlinearLeastSquares("a*exp(-b*x)", p0=[50, 1]).fit(x[:, None].astype(float), y.astype(float))
    np.testing.assert_array_equal(est.theta_, ref.theta_)
    assert est.params_["b"] == pytest.approx(0.2, rel=0.05)


def test_nan_at_some_parameters_is_a_rejected_step():
    """A model that is NaN beyond some parameters is fitted all the same."""
    x = np.linspace(0.1, 3.0, 40)

    def model(x, a, b):
        return a * np.log(x + b) if b > -0.05 else np.full_like(x, np.nan)

    est = NonlinearLeastSquares(model, p0=[0.1, 2.0]).fit(x[:, None], 1.3 * np.log(x + 0.02))
    np.testing.assert_allclose(est.theta_, [1.3, 0.02], rtol=1e-6)


def test_exact_data_and_exact_start():
    """A start at the optimum stays there; a perfect fit has a sum of squares at rounding level."""
    x = np.linspace(0.0, 3.0, 30)
    y = 2.0 * np.exp(-0.5 * x)
    est = NonlinearLeastSquares("a*exp(-b*x)", p0=[2.0, 0.5]).fit(x[:, None], y)
    np.testing.assert_allclose(est.theta_, [2.0, 0.5], rtol=1e-14)
    assert est.n_iter_ >= 1
    assert est.rss_ < 1e-28


# ---------------------------------------------------------------------- scikit-learn


def test_several_outputs():
    """Columns of y are independent curves; attributes become lists and stacks."""
    X, y, text, _, _ = data("decay")
    Y = np.column_stack([y, 3.0 * y + 1.0])
    est = NonlinearLeastSquares(text).fit(X, Y)
    single = [NonlinearLeastSquares(text).fit(X, column) for column in Y.T]
    np.testing.assert_array_equal(est.theta_, [one.theta_ for one in single])
    np.testing.assert_array_equal(est.predict(X), np.column_stack([one.predict(X) for one in single]))
    assert est.params_ == [one.params_ for one in single]
    assert est.covariance_.shape == (2, 3, 3)
    low, high = est.predict_interval(X[:5], kind="prediction")
    assert low.shape == high.shape == (5, 2)
    assert "Output 1" in str(est.report())
    assert len(est.conf_int()) == 2
    value, error = est.predict(X, return_std=True)
    assert value.shape == error.shape == Y.shape


def test_grid_search_pipeline_cross_validation():
    """Formulas, losses and settings of a solver are searched; a pipeline and cross-validation work."""
    X, y, text, _, _ = data("decay")
    grid = GridSearchCV(
        NonlinearLeastSquares(solver=LevenbergMarquardt()),
        {"model": ["a + b*x", text, "michaelis_menten"], "loss": ["linear", "soft_l1"], "solver__factor": [1.0, 10.0]},
        cv=3,
    )
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))
    grid.fit(X[order], y[order])
    assert grid.best_params_["model"] == text
    assert grid.best_score_ > 0.99
    assert cross_val_score(NonlinearLeastSquares(text), X[order], y[order], cv=4).min() > 0.95
    pipe = make_pipeline(StandardScaler(), NonlinearLeastSquares(text)).fit(X, y)
    np.testing.assert_allclose(pipe.predict(X), NonlinearLeastSquares(text).fit(X, y).predict(X), rtol=1e-7)


def test_clone_and_refit_forget_nothing_and_keep_nothing():
    """A clone fits the same; a failed refit leaves the old fit as it was; predict changes nothing."""
    X, y, text, _, _ = data("decay")
    est = NonlinearLeastSquares(text, solver=TrustRegion(radius0=1.0)).fit(X, y)
    np.testing.assert_array_equal(clone(est).fit(X, y).theta_, est.theta_)
    before = dict(vars(est))
    with pytest.raises(ValueError, match="at least as many"):
        est.fit(X[:2], y[:2])
    assert vars(est).keys() == before.keys()
    assert est.n_features_in_ == 1
    est.predict(X)
    assert all(vars(est)[key] is value for key, value in before.items())


def test_no_data_on_the_estimator():
    """No array of the size of the data is kept."""
    n = 5003
    x = np.linspace(0.0, 4.0, n)
    est = NonlinearLeastSquares("a*exp(-b*x) + c").fit(x[:, None], 3.0 * np.exp(-x) + 1.0 + 0.01 * np.sin(99 * x))
    assert len(pickle.dumps(est)) < 20_000


def test_callbacks_see_every_iteration_and_stop():
    """scikit-learn's callbacks get a task an iteration, an estimator that predicts, and may stop the fit."""
    X, y, text, start, _ = data("growth")

    class Watch(QuietCallback):
        def __init__(self):
            self.seen = []

        def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
            if context.task_name == "iteration":
                assert fitted_estimator.predict(X[:2]).shape == (2,)
            self.seen.append(context.task_name)
            return len(self.seen) == 3

    watch = Watch()
    est = NonlinearLeastSquares(text, p0=start).set_callbacks(watch)
    with pytest.warns(ConvergenceWarning, match="CALLBACK"):
        est.fit(X, y)
    assert watch.seen == ["iteration"] * 3 + ["fit"]


@pytest.mark.parametrize("form", [library.polynomial(3), library.rational(1, 2)], ids=lambda form: form.name)
def test_polynomials_and_rational_functions(form):
    """Forms that the library makes bring their starts too."""
    x = np.linspace(0.5, 5.0, 60)
    theta = np.linspace(1.0, 0.4, len(form.parameters))
    y = form.formula.value(x, theta) + 1e-3 * np.cos(17.0 * x)
    est = NonlinearLeastSquares(form).fit(x[:, None], y)
    best = NonlinearLeastSquares(form, p0=theta).fit(x[:, None], y)
    assert est.rss_ == pytest.approx(best.rss_, rel=1e-8)


def test_bounds_with_a_robust_loss_and_weights():
    """All three together agree with SciPy."""
    X, y, text, start, _ = data("decay")
    y[::8] += 2.0
    formula, sigma = parse(text, 1), np.linspace(0.5, 1.5, len(y))
    est = NonlinearLeastSquares(text, p0=start, bounds={"b": (0.6, 3.0)}, loss="soft_l1", f_scale=0.2)
    est.fit(X, y, sigma=sigma)
    ref = scipy.optimize.least_squares(
        lambda p: (formula.value(X, p) - y) / sigma,
        start,
        bounds=([-np.inf, 0.6, -np.inf], [np.inf, 3.0, np.inf]),
        loss="soft_l1",
        f_scale=0.2,
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
    )
    np.testing.assert_allclose(est.theta_, ref.x, rtol=1e-5)
    assert est.result_.value == pytest.approx(ref.cost, rel=1e-9)


@pytest.mark.parametrize("interrupted_at", [1, 3])
def test_keyboard_interrupt_keeps_the_best_iterate(interrupted_at, monkeypatch):
    """Ctrl-C ends the fit with INTERRUPTED; parameters, also the linear ones, are those reached so far."""
    X, y, text, start, _ = data("growth")
    calls = []
    real = LevenbergMarquardt.step

    def step(self, point, state):
        calls.append(1)
        if len(calls) == interrupted_at:
            raise KeyboardInterrupt
        return real(self, point, state)

    monkeypatch.setattr(LevenbergMarquardt, "step", step)
    with pytest.warns(ConvergenceWarning, match="INTERRUPTED"):
        est = NonlinearLeastSquares(text, p0=start).fit(X, y)
    assert np.isfinite(est.theta_).all()
    assert est.score(X, y) > 0.5

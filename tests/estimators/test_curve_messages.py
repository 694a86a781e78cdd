"""What a curve fit says: of models that misbehave, of settings, of starts, of data, of the end, and when pickled."""

import copy
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import Bounds
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import cross_validate
from sklearn.utils import metadata_routing

from sosolve import NonlinearLeastSquares
from sosolve.curves import parse
from sosolve.solvers import LevenbergMarquardt

X = np.linspace(0.0, 4.0, 50)[:, None]
Y = 3.0 * np.exp(-0.5 * X[:, 0]) + 1.0 + 0.05 * np.cos(17.0 * X[:, 0])
TEXT = "a*exp(-b*x) + c"


def decay(x, a, b, c):
    """Return a decay: a model that can be pickled by its name."""
    return a * np.exp(-b * x) + c


def broken(x, a):
    """Raise, as a model with a mistake does."""
    raise KeyError("dose")


def writes(x, a):
    """Write into x."""
    x -= a
    return x


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (lambda x, a: None, TypeError, "returned None at a=1.*lack a return"),
        (lambda x, a: a, ValueError, "returned a single number"),
        (lambda x, a: (a * x)[:, None], ValueError, r"shape \(50, 1\).*ravel"),
        (lambda x, a: a * x * 1j, TypeError, "complex numbers"),
        (lambda x, a: (a * x)[1:], ValueError, r"shape \(49,\).*every row"),
        (lambda x, a: "text", TypeError, "dtype <U4"),
        (lambda x, a: [None] * 50, TypeError, "dtype object"),
        (writes, ValueError, "writes into x.*read-only.*copy"),
        (lambda x, a: a / x, ValueError, "not finite at the starting values a=1: first in row 0, where X is 0"),
    ],
)
def test_models_that_misbehave(model, error, message):
    """Each is named at the start, with parameters and cure."""
    with pytest.raises(error, match=message):
        NonlinearLeastSquares(model, p0=[1.0]).fit(X, Y)


def test_exceptions_of_a_model_reach_the_user():
    """Type and text stay; a note tells the parameters."""
    with pytest.raises(KeyError, match="dose") as caught:
        NonlinearLeastSquares(broken, p0=[1.0]).fit(X, Y)
    assert caught.value.__notes__ == ["raised by the model broken at a=1"]
    with pytest.raises(TypeError) as caught:
        NonlinearLeastSquares(lambda x, a: a * math.exp(x), p0=[1.0]).fit(X, Y)
    assert "numpy.exp(x)" in caught.value.__notes__[-1]

    def late(x, a, b):
        if b > 1.0:
            raise RuntimeError("too steep")
        return a * np.exp(b * x)

    with pytest.raises(RuntimeError, match="too steep"):
        NonlinearLeastSquares(late, p0=[1.0, 0.9]).fit(X, np.exp(2.0 * X[:, 0]))


def test_the_callers_arrays_are_untouched():
    """Data stay writeable and as they were; a model cannot change them."""
    mine, y = X.copy(), Y.copy()
    with pytest.raises(ValueError, match="writes into x"):
        NonlinearLeastSquares(writes, p0=[1.0]).fit(mine, y)
    NonlinearLeastSquares(decay).fit(mine, y).predict(mine)
    assert mine.flags.writeable
    np.testing.assert_array_equal(mine, X)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"p0": [1, 2]}, ValueError, r"p0 of shape \(2,\); expected 3 numbers.*a, b, c"),
        ({"p0": {"z": 1}}, ValueError, "p0 for z; the parameters of the model are a, b, c"),
        ({"p0": [1, np.nan, 2]}, ValueError, "p0 with the value nan for b"),
        ({"p0": [1, 2j, 2]}, TypeError, "p0=.*expected real numbers"),
        ({"p0": "text"}, ValueError, "'p0' parameter.*Pass a mapping"),
        ({"p0": {"a": "x"}}, TypeError, "expected real numbers"),
        ({"bounds": (1, 0)}, ValueError, r"the bounds \[1, 0\] for a; expected lower <= upper"),
        ({"bounds": {"b": (0, 1)}, "p0": [1, 2, 3]}, ValueError, r"p0 with b = 2.*\[0, 1\]: start inside"),
        ({"bounds": ([0, 0], [1, 1])}, ValueError, r"a side of bounds of shape \(2,\)"),
        ({"bounds": {"q": (0, 1)}}, ValueError, "bounds for q; the parameters"),
        ({"bounds": {"a": 3}}, ValueError, r"bounds\['a'\]=3; expected a pair"),
        ({"fixed": {"a": 1, "b": 1, "c": 1}}, ValueError, "values for all parameters"),
        ({"fixed": ["a"]}, ValueError, "without a value for a"),
        ({"fixed": {"k": 1}}, ValueError, "fixed for k"),
        ({"solver": "bfgs", "bounds": (0, 9)}, ValueError, "bounds with the solver 'bfgs'"),
        ({"solver": LevenbergMarquardt(lower=0.0)}, ValueError, "bounds in the solver"),
        ({"solver": "nelder"}, ValueError, "'solver' parameter.*Choose one of these names"),
        ({"solver": "trf"}, ValueError, "'lm' for SciPy's 'trf'"),
        ({"solver": LevenbergMarquardt}, ValueError, r"an instance, solver=LevenbergMarquardt\(\)"),
        ({"model": "a*dose + b"}, ValueError, "a, dose, b and no column of X; expected one of x: use"),
        ({"model": "gausian"}, ValueError, "the model name 'gausian'.*did you mean gaussian"),
        ({"model": "exp(-x)"}, ValueError, "no parameter of the formula.*add it"),
        ({"loss": "l1"}, ValueError, "'loss' parameter"),
        ({"f_scale": -1.0, "loss": "huber"}, ValueError, "'f_scale' parameter"),
        ({"jac": decay}, ValueError, "exact derivatives of their own: leave jac=None"),
        ({"model": 3}, ValueError, "'model' parameter.*Pass a formula"),
        ({"model": "a*open('x')"}, ValueError, "formula"),
        ({"model": "__import__('os')"}, ValueError, "formula"),
        ({"model": ""}, ValueError, "formula"),
        ({"model": lambda x: x}, ValueError, "without parameters"),
        ({"model": lambda x, *p: x}, ValueError, "signature does not tell its parameters, and p0=None"),
        ({"model": lambda x, a: a * np.log(x)}, ValueError, "found no starting values.*pass p0"),
        ({"model": parse("a*u + v", ["u", "v"])}, ValueError, "X with 1 columns for a formula over u, v"),
        (
            {"model": decay, "p0": [1, 1, 1], "jac": lambda x, a, b, c: np.ones((2, 3))},
            ValueError,
            r"expected \(50, 3\)",
        ),
    ],
)
def test_settings(settings, error, message):
    """Each wrong setting raises at fit, with what was received, what is expected and what to do."""
    with pytest.raises(error, match=message):
        NonlinearLeastSquares(**{"model": TEXT, **settings}).fit(X, Y)


def test_bounds_of_scipy_and_names_that_no_formula_can_hold():
    """`Bounds(0, 5)` holds arrays of length 1; a column's name with a blank has to be changed."""
    fit = NonlinearLeastSquares(TEXT, bounds=Bounds(0.0, 5.0)).fit(X, Y)
    assert fit.params_["a"] == pytest.approx(3.0, abs=0.1)
    frame = pd.DataFrame({"the dose": X[:, 0]})
    with pytest.raises(ValueError, match=r"the column .the dose. in the formula.*rename the column"):
        NonlinearLeastSquares("a*the dose").fit(frame, Y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": np.zeros(50)}, "sigma with the value 0.0 in row 0"),
        ({"sigma": np.full(50, np.nan)}, "sigma with the value nan"),
        ({"sigma": np.eye(50)}, "covariance matrix is accepted by sosolve.curve_fit"),
        ({"sigma": np.ones(3)}, "inconsistent numbers of samples"),
        ({"sample_weight": -np.ones(50)}, "Negative values"),
        ({"sample_weight": np.zeros(50)}, "zero"),
        ({"sample_weight": np.r_[1.0, 1.0, np.zeros(48)]}, "n_samples=2 .*3 parameters, a, b, c"),
    ],
)
def test_weights(arguments, message):
    """Weights and standard deviations that mean nothing are refused."""
    with pytest.raises(ValueError, match=message):
        NonlinearLeastSquares(TEXT).fit(X, Y, **arguments)


def test_columns():
    """A curve of one predictor does not take two columns."""
    with pytest.raises(ValueError, match="X with 2 columns for the model 'gaussian'"):
        NonlinearLeastSquares("gaussian").fit(np.c_[X, X], Y)


def test_as_many_points_as_parameters():
    """The curve goes through the points; errors are unknown, and that is said."""
    est = NonlinearLeastSquares(TEXT, p0=[3, 1, 1]).fit([[0.0], [1.0], [2.0]], [4.0, 2.5, 1.8])
    np.testing.assert_allclose(est.predict([[0.0], [1.0], [2.0]]), [4.0, 2.5, 1.8])
    assert np.isnan(est.stderr_["a"])
    assert any("no degrees of freedom" in said for said in est.diagnosis_)


def test_parameters_that_are_not_determined():
    """A product of two parameters: names, direction, NaN errors, and the others keep theirs."""
    with pytest.warns(ConvergenceWarning, match="do not determine a, d: the curve does not change along .* a .* d"):
        est = NonlinearLeastSquares("a*d*exp(-b*x) + c", p0=[1, 0.4, 1, 1]).fit(X, Y)
    good = NonlinearLeastSquares(TEXT).fit(X, Y)
    assert np.isnan([est.stderr_["a"], est.stderr_["d"]]).all()
    assert est.stderr_["b"] == pytest.approx(good.stderr_["b"], rel=0.02)
    assert "not identified" in str(est.report())
    with pytest.warns(ConvergenceWarning, match="do not determine q"):
        NonlinearLeastSquares(lambda x, a, q: a * x, p0=[1.0, 1.0]).fit(X, Y)


def test_ends_are_told():
    """The test that stopped the fit, and a limit that was reached, with the cure."""
    est = NonlinearLeastSquares(TEXT).fit(X, Y)
    assert est.diagnosis_[0].startswith("converged: the ")
    assert any(said.startswith("variable projection: a, c solved for") for said in est.diagnosis_)
    with pytest.warns(ConvergenceWarning, match=r"MAX_ITER: reached max_iter.*increase max_iter.*best iterate is kept"):
        NonlinearLeastSquares(decay, p0=[1, 9, 1], max_iter=1).fit(X, Y)
    bad = np.random.default_rng(0).standard_normal(50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert NonlinearLeastSquares("gaussian").fit(X, bad).result_ is not None


def test_start_that_is_not_finite():
    """The row and the parameters are given."""
    with pytest.raises(ValueError, match="not finite at the starting values a=1, b=-10000: first in row 1, where X is"):
        NonlinearLeastSquares("a*exp(-b*x)", p0={"a": 1, "b": -1e4}).fit(X, Y)
    with pytest.raises(ValueError, match=r"derivative of the model .* with respect to b is not finite"):
        NonlinearLeastSquares("a + sqrt(b)*x", p0={"a": 1, "b": 0}).fit(X, Y)


def test_report_and_html():
    """The report names the model, values, errors and the end, and escapes what it shows."""
    est = NonlinearLeastSquares("a*exp(-b*x) + c", fixed={"c": 1.0}).fit(X, Y)
    text, html = str(est.report()), est.report()._repr_html_()
    for word in ("a*exp(-b*x) + c", "std. error", "fixed", "converged", "degrees of freedom 48", "Correlations"):
        assert word in text
        assert word in html
    strange = NonlinearLeastSquares(lambda x, a: a * x).fit(X, Y).report()._repr_html_()
    assert "&lt;lambda&gt;" in strange
    assert NonlinearLeastSquares("gaussian")._repr_html_()


def test_before_fit():
    """Everything that needs a fit says so."""
    est = NonlinearLeastSquares(TEXT)
    for call in (lambda: est.predict(X), est.conf_int, est.report, lambda: est.predict_interval(X)):
        with pytest.raises(NotFittedError):
            call()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("model", [TEXT, "exponential_decay_offset", parse(TEXT, 1), decay])
def test_pickle(model, protocol):
    """Formulas, names and importable functions come back with the fit and its errors."""
    est = NonlinearLeastSquares(model).fit(X, Y)
    back = pickle.loads(pickle.dumps(est, protocol))
    np.testing.assert_array_equal(back.predict(X, return_std=True), est.predict(X, return_std=True))
    assert back.params_ == est.params_
    assert back.conf_int() == est.conf_int()
    assert str(back.report()) == str(est.report())


def test_a_lambda_cannot_be_pickled_but_copied():
    """The message names the cure; copies and cloudpickle (joblib's processes) take lambdas."""
    est = NonlinearLeastSquares(lambda x, a, b, c: a * np.exp(-b * x) + c).fit(X, Y)
    with pytest.raises(pickle.PicklingError, match="can be imported by name: define it at the top level"):
        pickle.dumps(est)
    cloudpickle = pytest.importorskip("cloudpickle")
    for back in (copy.deepcopy(est), cloudpickle.loads(cloudpickle.dumps(est))):
        np.testing.assert_array_equal(back.predict(X), est.predict(X))
    found = cross_validate(NonlinearLeastSquares(lambda x, a, b: a + b * x), X[::-1], Y, n_jobs=2, cv=3)
    assert np.isfinite(found["test_score"]).all()


def test_metadata_routing():
    """sample_weight and sigma reach fit through a meta-estimator."""
    with sosolve_routing():
        est = NonlinearLeastSquares(TEXT).set_fit_request(sigma=True, sample_weight=True)
        est.set_score_request(sample_weight=False)
        sigma = np.linspace(0.1, 1.0, 50)
        found = cross_validate(
            est, X, Y, params={"sigma": sigma, "sample_weight": np.ones(50)}, cv=2, return_estimator=True
        )
        assert all(one.curves_[0].has_sigma for one in found["estimator"])
        assert metadata_routing.get_routing_for_object(est).fit.requests["sigma"] is True


def sosolve_routing():
    """Return the context in which scikit-learn routes metadata."""
    import sklearn

    return sklearn.config_context(enable_metadata_routing=True)


def test_verbose_writes_a_line_an_iteration(capsys):
    """Progress goes to the terminal, one line an iteration."""
    est = NonlinearLeastSquares(decay, p0=[1, 1, 1], verbose=1).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == est.n_iter_
    assert lines[0].startswith("[NonlinearLeastSquares] iteration    1  value")
    est.set_params(verbose=2).fit(X, Y)
    assert f"[NonlinearLeastSquares] {est.result_.message} (" in capsys.readouterr().out.splitlines()[-1]

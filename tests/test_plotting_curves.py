"""CurveFitDisplay: what is drawn, where, and what is said when it cannot be drawn."""

import builtins

import numpy as np
import pandas as pd
import pytest

from sosolve import CurveFitDisplay, NonlinearLeastSquares

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402  (the backend is chosen first)

X = np.linspace(0.0, 4.0, 30)[:, None]
Y = 3.0 * np.exp(-X[:, 0]) + 1.0 + 0.05 * np.cos(9.0 * X[:, 0])


@pytest.fixture(autouse=True)
def _closed_figures():
    """Close what a test has drawn."""
    yield
    pyplot.close("all")


@pytest.fixture
def fit():
    """Return a fitted decay."""
    return NonlinearLeastSquares("a*exp(-b*x) + c").fit(X, Y)


def test_data_curve_bands_and_residuals(fit):
    """Two panels: points, curve and both bands above, residuals below."""
    display = CurveFitDisplay.from_estimator(fit, X, Y)
    top, bottom = display.figure_.axes
    assert display.ax_ is top
    assert display.residual_ax_ is bottom
    np.testing.assert_allclose(display.line_.get_ydata(), fit.predict(display.grid[:, None]))
    np.testing.assert_allclose(bottom.lines[1].get_ydata(), Y - fit.predict(X))
    np.testing.assert_allclose(display.prediction, fit.predict_interval(display.grid[:, None], kind="prediction"))
    labels = [text.get_text() for text in top.get_legend().get_texts()]
    assert labels == ["data", "fit", "95 % band of the curve", "95 % band of observations"]
    assert (bottom.get_xlabel(), top.get_ylabel()) == ("x", "y")


def test_names_of_a_frame_label_the_axes():
    """Columns of a frame give the labels, and the grid bears the name that fit saw."""
    frame = pd.DataFrame({"hours": X[:, 0], "mass": Y})
    fit = NonlinearLeastSquares("a*exp(-b*hours) + c").fit(frame[["hours"]], frame["mass"])
    display = CurveFitDisplay.from_estimator(fit, frame[["hours"]], frame["mass"], level=0.9, label="decay")
    assert display.residual_ax_.get_xlabel() == "hours"
    assert display.ax_.get_ylabel() == "mass"
    assert display.ax_.get_legend().get_texts()[2].get_text() == "90 % band of the curve"


def test_sigma_gives_bars_and_divides_residuals():
    """With sigma the points have bars, and the band of observations, whose noise is unknown, is left out."""
    sigma = np.linspace(0.05, 0.2, 30)
    fit = NonlinearLeastSquares("a*exp(-b*x) + c").fit(X, Y, sigma=sigma)
    display = CurveFitDisplay.from_estimator(fit, X, Y, sigma=sigma)
    assert display.prediction is None
    assert display.ax_.containers
    np.testing.assert_allclose(display.residual, (Y - fit.predict(X)) / sigma)


def test_where_it_is_drawn(fit):
    """One axes leaves the residuals out, a pair takes both; a new figure may have one panel."""
    ax = pyplot.subplots()[1]
    display = CurveFitDisplay.from_estimator(fit, X, Y, ax=ax, prediction=False)
    assert display.residual_ax_ is None
    assert display.prediction is None
    assert ax.get_xlabel() == "x"
    pair = pyplot.subplots(2, 1)[1]
    assert CurveFitDisplay.from_estimator(fit, X, Y, ax=pair).residual_ax_ is pair[1]
    assert len(CurveFitDisplay.from_estimator(fit, X, Y, residuals=False).figure_.axes) == 1


def test_one_of_several_outputs():
    """`output` chooses a column of y."""
    fit = NonlinearLeastSquares("a*exp(-b*x) + c").fit(X, np.c_[Y, 2.0 * Y])
    display = CurveFitDisplay.from_estimator(fit, X, np.c_[Y, 2.0 * Y], output=1)
    np.testing.assert_allclose(display.curve, fit.predict(display.grid[:, None])[:, 1])


def test_what_cannot_be_drawn(fit, monkeypatch):
    """Several columns, lengths that differ, no matplotlib."""
    with pytest.raises(ValueError, match=r"X of shape \(30, 2\); a curve is drawn over one predictor"):
        CurveFitDisplay.from_estimator(fit, np.c_[X, X], Y)
    with pytest.raises(ValueError, match="X with 30 rows and y with 3"):
        CurveFitDisplay.from_estimator(fit, X, Y[:3])
    with pytest.raises(AttributeError, match="without curves_; expected a fitted NonlinearLeastSquares"):
        CurveFitDisplay.from_estimator(NonlinearLeastSquares("a*x"), X, Y)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="found no matplotlib"):
        CurveFitDisplay.from_estimator(fit, X, Y)
